/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A kernel with vhost for unit tests: linked with --wrap=ioctl, it takes the vhost calls of any descriptor, notes them in
 * order, and can refuse one. It serves a ring when the test says so, with nothing but what it was told: addresses through
 * its map of guest memory, positions, eventfds.
 */
#ifndef TESTS_UNIT_VHOST_FAKE_H
#define TESTS_UNIT_VHOST_FAKE_H

#include <errno.h>
#include <linux/vhost.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/vm.h"
#include "hw/virtio/virtio.h"
#include "net/backend.h"
#include "util/util.h"

#define FAKE_VRINGS 2
#define FAKE_FEATURES                                                                              \
    (UINT64_C(1) << 24 | UINT64_C(1) << 26 | UINT64_C(1) << 27 | UINT64_C(1) << 28 | UINT64_C(1) << 29 | UINT64_C(1) << 32 |  \
     UINT64_C(1) << 1 | UINT64_C(1) << 15)

typedef struct FakeVring {
    unsigned num;
    uint16_t base;
    struct vhost_vring_addr addr;
    int kick, call, err, backend;
    unsigned busyloop;
} FakeVring;

typedef struct FakeKernel {
    int fd;                       /* whose calls these are */
    bool owned, running;
    uint64_t offered, features, cid;
    struct vhost_memory *table;
    uint8_t *log;
    FakeVring vrings[FAKE_VRINGS];
    GString *calls;               /* names, blanks between */
    const char *refuse;           /* the name of a call ... */
    unsigned refuse_index;        /* ... the n-th of this name from now, 0: the next */
} FakeKernel;

extern FakeKernel fake_kernels[4];
int __real_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, ...);

static const struct {
    unsigned long request;
    const char *name;
} fake_names[] = {
    {VHOST_SET_OWNER, "owner"}, {VHOST_GET_FEATURES, "get-features"}, {VHOST_SET_FEATURES, "features"},
    {VHOST_SET_MEM_TABLE, "table"}, {VHOST_SET_LOG_BASE, "log"}, {VHOST_SET_VRING_NUM, "num"}, {VHOST_SET_VRING_ADDR, "addr"},
    {VHOST_SET_VRING_BASE, "base"}, {VHOST_GET_VRING_BASE, "get-base"}, {VHOST_SET_VRING_KICK, "kick"},
    {VHOST_SET_VRING_CALL, "call"}, {VHOST_SET_VRING_ERR, "err"}, {VHOST_SET_VRING_BUSYLOOP_TIMEOUT, "busyloop"},
    {VHOST_NET_SET_BACKEND, "backend"}, {VHOST_VSOCK_SET_GUEST_CID, "cid"}, {VHOST_VSOCK_SET_RUNNING, "running"},
};

static inline void fake_clear(FakeKernel *k)
{
    g_free(k->table);
    if (k->calls) {
        g_string_free(k->calls, true);
    }
    *k = (FakeKernel){.fd = -1};
}

/* Calls of fd are this kernel's. */
static inline void fake_open(FakeKernel *k, int fd)
{
    fake_clear(k);
    *k = (FakeKernel){.fd = fd, .offered = FAKE_FEATURES, .calls = g_string_new(NULL)};
    for (unsigned i = 0; i < FAKE_VRINGS; i++) {
        k->vrings[i] = (FakeVring){.kick = -1, .call = -1, .err = -1, .backend = -1};
    }
}

/* The names of the calls since the last time; the caller frees. */
static inline char *fake_take(FakeKernel *k)
{
    char *text = g_strdup(g_strchomp(k->calls->str));

    g_string_truncate(k->calls, 0);
    return text;
}

/* As the kernel does: with a log, all memory must be in it; positions change only while nothing is served. */
static inline int fake_busy(const FakeKernel *k, unsigned index) { return k->running || k->vrings[index].backend >= 0; }

static inline int fake_vring(FakeKernel *k, unsigned long request, void *arg)
{
    const unsigned index = *(unsigned *)arg;
    struct vhost_vring_state *state = arg;
    struct vhost_vring_file *file = arg;
    FakeVring *v = &k->vrings[index];

    g_assert_cmpuint(index, <, FAKE_VRINGS);
    switch (request) {
    case VHOST_SET_VRING_NUM:
        g_assert_false(fake_busy(k, index));
        v->num = state->num;
        break;
    case VHOST_SET_VRING_BASE:
        g_assert_false(fake_busy(k, index));
        v->base = (uint16_t)state->num;
        break;
    case VHOST_GET_VRING_BASE:
        g_assert_false(fake_busy(k, index));
        state->num = v->base;
        break;
    case VHOST_SET_VRING_ADDR:
        v->addr = *(struct vhost_vring_addr *)arg;
        g_assert_true(!(v->addr.flags & 1) || k->log);
        break;
    case VHOST_SET_VRING_KICK:
        v->kick = file->fd;
        break;
    case VHOST_SET_VRING_CALL:
        v->call = file->fd;
        break;
    case VHOST_SET_VRING_ERR:
        v->err = file->fd;
        break;
    case VHOST_SET_VRING_BUSYLOOP_TIMEOUT:
        v->busyloop = state->num;
        break;
    default:
        g_assert_true(file->fd < 0 || (k->table && k->features && v->num));
        v->backend = file->fd;
    }
    return 0;
}

static inline int fake_device(FakeKernel *k, unsigned long request, void *arg)
{
    const struct vhost_memory *table = arg;

    switch (request) {
    case VHOST_SET_OWNER:
        if (k->owned) {
            errno = EBUSY;
            return -1;
        }
        k->owned = true;
        break;
    case VHOST_GET_FEATURES:
        *(uint64_t *)arg = k->offered;
        break;
    case VHOST_SET_FEATURES:
        k->features = *(uint64_t *)arg;
        g_assert_cmphex(k->features & ~k->offered, ==, 0);
        g_assert_true(!(k->features >> VHOST_F_LOG_ALL & 1) || k->log);
        break;
    case VHOST_SET_MEM_TABLE:
        g_free(k->table);
        k->table = g_memdup2(table, sizeof *table + table->nregions * sizeof table->regions[0]);
        break;
    case VHOST_SET_LOG_BASE:
        k->log = (uint8_t *)(uintptr_t)*(uint64_t *)arg;
        break;
    case VHOST_VSOCK_SET_GUEST_CID:
        k->cid = *(uint64_t *)arg;
        break;
    default:
        k->running = *(int *)arg;
        break;
    }
    return 0;
}

static inline int fake_call(FakeKernel *k, unsigned long request, void *arg)
{
    const char *name = NULL;

    for (unsigned i = 0; i < G_N_ELEMENTS(fake_names); i++) {
        name = fake_names[i].request == request ? fake_names[i].name : name;
    }
    g_assert_nonnull(name);
    g_string_append_printf(k->calls, "%s ", name);
    g_assert_true(k->owned || request == VHOST_SET_OWNER);
    if (k->refuse && !strcmp(k->refuse, name) && !k->refuse_index--) {
        k->refuse = NULL;
        errno = EINVAL;
        return -1;
    }
    switch (request) {
    case VHOST_SET_VRING_NUM:
    case VHOST_SET_VRING_ADDR:
    case VHOST_SET_VRING_BASE:
    case VHOST_GET_VRING_BASE:
    case VHOST_SET_VRING_KICK:
    case VHOST_SET_VRING_CALL:
    case VHOST_SET_VRING_ERR:
    case VHOST_SET_VRING_BUSYLOOP_TIMEOUT:
    case VHOST_NET_SET_BACKEND:
        return fake_vring(k, request, arg);
    default:
        return fake_device(k, request, arg);
    }
}

/* In one file of the program. */
#define FAKE_KERNEL                                                                                \
    FakeKernel fake_kernels[4] = {{.fd = -1}, {.fd = -1}, {.fd = -1}, {.fd = -1}};                 \
    int __wrap_ioctl(int fd, unsigned long request, ...)                                           \
    {                                                                                              \
        va_list ap;                                                                                \
        void *arg;                                                                                 \
                                                                                                   \
        va_start(ap, request);                                                                     \
        arg = va_arg(ap, void *);                                                                  \
        va_end(ap);                                                                                \
        for (unsigned i = 0; _IOC_TYPE(request) == VHOST_VIRTIO && i < G_N_ELEMENTS(fake_kernels); i++) {  \
            if (fake_kernels[i].fd == fd) {                                                        \
                return fake_call(&fake_kernels[i], request, arg);                                  \
            }                                                                                      \
        }                                                                                          \
        return __real_ioctl(fd, request, arg);                                                     \
    }

/* ---- serving ----------------------------------------------------------------------------------- */

/* Host address of guest memory, by the table. */
static inline uint8_t *fake_host(const FakeKernel *k, uint64_t addr, uint64_t len)
{
    for (unsigned i = 0; i < k->table->nregions; i++) {
        const struct vhost_memory_region *r = &k->table->regions[i];

        if (addr >= r->guest_phys_addr && range_fits(addr - r->guest_phys_addr, len, r->memory_size)) {
            return (uint8_t *)(uintptr_t)(r->userspace_addr + (addr - r->guest_phys_addr));
        }
    }
    return NULL;
}

static inline void fake_log(const FakeKernel *k, uint64_t addr, uint64_t len)
{
    if (k->features >> VHOST_F_LOG_ALL & 1) {
        for (uint64_t page = addr >> 12; page <= (addr + len - 1) >> 12; page++) {
            __atomic_or_fetch(&k->log[page / 8], (uint8_t)(1u << page % 8), __ATOMIC_SEQ_CST);
        }
    }
}

/* Takes one buffer of one descriptor, writes byte into it when the driver allows that, gives it back and interrupts. False:
 * there is none; what the buffer's first byte was is left in *byte when it is the driver's. */
static inline bool fake_serve(FakeKernel *k, unsigned index, uint8_t *byte)
{
    FakeVring *v = &k->vrings[index];
    const uint8_t *avail = (const uint8_t *)(uintptr_t)v->addr.avail_user_addr;
    uint8_t *used = (uint8_t *)(uintptr_t)v->addr.used_user_addr;
    const uint16_t used_idx = load16_le(used + 2);
    uint64_t addr;
    uint16_t head;
    bool write;

    if (!fake_busy(k, index) || v->kick < 0 || load16_le(avail + 2) == v->base) {
        return false;
    }
    head = load16_le(avail + 4 + 2 * (v->base++ % v->num));
    const uint8_t *desc = (const uint8_t *)(uintptr_t)v->addr.desc_user_addr + 16 * head;
    addr = load64_le(desc);
    write = load16_le(desc + 12) & 2;
    uint8_t *host = fake_host(k, addr, 1);
    g_assert_nonnull(host);
    if (write) {
        *host = *byte;
        fake_log(k, addr, 1);
    } else {
        *byte = *host;
    }
    store32_le(used + 4 + 8 * (used_idx % v->num), head);
    store32_le(used + 8 + 8 * (used_idx % v->num), write);
    store16_le(used + 2, (uint16_t)(used_idx + 1));
    if (v->addr.flags & 1) {
        fake_log(k, v->addr.log_guest_addr, 4 + 8 * v->num);
    }
    if (v->call >= 0) {
        eventfd_write(v->call, 1);
    }
    return true;
}

/* vm_free, and what net/ keeps as long as the program runs. */
static inline void fake_free_vm(Vm *vm)
{
    NetState *net = vm->net;

    vm_free(vm);
    net_state_free(net);
}

static inline uint64_t fake_count(int fd)
{
    eventfd_t count = 0;

    eventfd_read(fd, &count);
    return count;
}

/* ---- rings of a driver -------------------------------------------------------------------------- */

#define FAKE_NUM 8
/* Of a queue's ring in guest memory: descriptors, available at 0x1000, used at 0x2000. */
#define FAKE_RING(queue) (0x4000u * ((queue) + 1u))

/* Enables the first n queues of vdev with split rings there; a queue's vector is its number. */
static inline void fake_driver_queues(VirtioDevice *vdev, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        const uint64_t at = FAKE_RING(i);

        virtio_queue_set_num(virtio_queue(vdev, i), FAKE_NUM);
        virtio_queue_set_vector(virtio_queue(vdev, i), (uint16_t)i);
        virtio_queue_enable(virtio_queue(vdev, i), (VirtQueueAreas){at, at + 0x1000, at + 0x2000});
    }
}

/* Offers a buffer of guest memory and kicks. ram: guest memory from address 0; avail: the queue's counter; write: for the device to write. */
static inline void fake_driver_offer(VirtioDevice *vdev, uint8_t *ram, uint16_t *avail, unsigned queue, uint64_t addr, uint32_t len,
                                     bool write)
{
    uint8_t *ring = ram + FAKE_RING(queue);
    const unsigned slot = *avail % FAKE_NUM;

    store64_le(ring + 16 * slot, addr);
    store32_le(ring + 16 * slot + 8, len);
    store16_le(ring + 16 * slot + 12, write ? 2 : 0);
    store16_le(ring + 0x1000 + 4 + 2 * slot, (uint16_t)slot);
    store16_le(ring + 0x1000 + 2, ++*avail);
    virtio_kick(virtio_queue(vdev, queue));
}

/* How many buffers of the queue have come back. */
static inline unsigned fake_driver_used(const uint8_t *ram, unsigned queue) { return load16_le(ram + FAKE_RING(queue) + 0x2000 + 2); }

#endif
