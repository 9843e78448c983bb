/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The user-space side of the kernel's vhost interface: see vhost.h. */
#include "hw/virtio/vhost.h"

#include <errno.h>
#include <linux/vhost.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "hw/virtio/virtqueue_int.h"
#include "util/log.h"
#include "util/trace.h"

#define BIT(n) (UINT64_C(1) << (n))
/* Bits 26 and 27 are VHOST_F_LOG_ALL and VHOST_NET_F_VIRTIO_NET_HDR there, ANY_LAYOUT (27) in the driver's features. */
#define KERNEL_BITS (BIT(26) | BIT(27))
#define RING_FEATURES                                                                              \
    (BIT(VIRTIO_F_NOTIFY_ON_EMPTY) | BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_RING_F_EVENT_IDX) |  \
     BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_IN_ORDER) | BIT(VIRTIO_F_RING_RESET))
#define LOG_PAGE_SHIFT 12

struct VhostVring {
    VhostDev *dev;
    unsigned index;
    bool served;                  /* set up in the kernel */
    int err_fd;                   /* eventfd: the kernel found it malformed */
    LoopFd *err_source;
};

static VirtQueue *queue_of(const VhostVring *v) { return &v->dev->vdev->queues[v->dev->first + v->index]; }
bool vhost_serves(const VhostDev *dev, unsigned vring) { return dev->vrings[vring].served; }

static bool tell(const VhostDev *dev, unsigned long request, const void *arg, const char *what, GError **err)
{
    const int result = ioctl(dev->fd, request, arg);

    trace(vhost_ioctl, "%s fd %d %s -> %d", dev->kind->name, dev->fd, what, result < 0 ? errno : 0);
    return result >= 0 || error_set_errno(err, errno, "%s: the kernel refuses %s", dev->kind->name, what);
}

/* ---- guest memory ------------------------------------------------------------------------------ */

/* RAM that the guest may write; a screen's memory is watched by other means, and nobody's buffers lie there. */
static bool shared_range(const FlatRange *range)
{
    return range->region->kind == REGION_RAM && !range->readonly && !(range->dirty_log & DIRTY_VGA);
}

static struct vhost_memory *make_table(const FlatView *view)
{
    struct vhost_memory *table = g_malloc0(sizeof *table + view->count * sizeof table->regions[0]);
    struct vhost_memory_region *last = NULL;

    for (unsigned i = 0; i < view->count; i++) {
        const FlatRange *range = &view->ranges[i];
        const uint64_t size = range->end - range->start;
        uint64_t host;

        if (!shared_range(range)) {
            continue;
        }
        host = (uintptr_t)(range->region->ram->host + range->offset);
        if (last && last->guest_phys_addr + last->memory_size == range->start && last->userspace_addr + last->memory_size == host) {
            last->memory_size += size;
        } else {
            last = &table->regions[table->nregions++];
            *last = (struct vhost_memory_region){.guest_phys_addr = range->start, .memory_size = size, .userspace_addr = host};
        }
    }
    return table;
}

static bool same_table(const struct vhost_memory *a, const struct vhost_memory *b)
{
    return a->nregions == b->nregions && !memcmp(a->regions, b->regions, a->nregions * sizeof a->regions[0]);
}

/* ---- the log of written pages -------------------------------------------------------------------- */

static bool wants_log(const FlatView *view)
{
    bool wanted = false;

    for (unsigned i = 0; i < view->count; i++) {
        wanted |= shared_range(&view->ranges[i]) && (view->ranges[i].dirty_log & DIRTY_MIGRATION);
    }
    return wanted;
}

static void mark_page(const FlatView *view, uint64_t addr)
{
    const FlatRange *range = flat_view_find(view, addr);

    if (range && range->region->kind == REGION_RAM) {
        ram_block_set_dirty(range->region->ram, range->offset + (addr - range->start), 1);
    }
}

static void collect_log(const VhostDev *dev)
{
    const FlatView *view = address_space_view(&dev->vdev->dev.vm->memory);

    for (size_t i = 0; i < dev->log_words; i++) {
        uint64_t word = __atomic_load_n(&dev->log[i], __ATOMIC_RELAXED);

        if (!word) {
            continue;
        }
        word = __atomic_exchange_n(&dev->log[i], 0, __ATOMIC_SEQ_CST);
        for (; word; word &= word - 1) {
            mark_page(view, (i * 64 + (unsigned)__builtin_ctzll(word)) << LOG_PAGE_SHIFT);
        }
    }
}

static void sync_dirty(void *opaque) { collect_log(opaque); }

/* The kernel writes to a log that covers the table, and no longer to the one before. */
static bool set_log(VhostDev *dev, const struct vhost_memory *table, GError **err)
{
    uint64_t top = 0, base;
    uint64_t *log;
    size_t words;

    for (unsigned i = 0; i < table->nregions; i++) {
        top = MAX(top, table->regions[i].guest_phys_addr + table->regions[i].memory_size);
    }
    words = (top >> LOG_PAGE_SHIFT) / 64 + 1;
    if (dev->log && words <= dev->log_words) {
        return true;
    }
    log = g_new0(uint64_t, words);
    base = (uintptr_t)log;
    if (!tell(dev, VHOST_SET_LOG_BASE, &base, "the log of written pages", err)) {
        g_free(log);
        return false;
    }
    collect_log(dev);
    g_free(dev->log);
    dev->log = log;
    dev->log_words = words;
    return true;
}

static void drop_log(VhostDev *dev)
{
    collect_log(dev);
    g_clear_pointer(&dev->log, g_free);
    dev->log_words = 0;
}

/* ---- parts of start ------------------------------------------------------------------------------- */

static bool set_features(const VhostDev *dev, GError **err)
{
    const uint64_t driver = dev->vdev->guest_features & dev->features & ~KERNEL_BITS;
    const uint64_t features = driver | dev->own_features | (dev->log ? BIT(VHOST_F_LOG_ALL) : 0);

    return tell(dev, VHOST_SET_FEATURES, &features, "the features", err);
}

static bool set_table(VhostDev *dev, struct vhost_memory *table, GError **err)
{
    if (!tell(dev, VHOST_SET_MEM_TABLE, table, "the map of guest memory", err)) {
        g_free(table);
        return false;
    }
    g_free(dev->table);
    dev->table = table;
    return true;
}

static bool set_addresses(const VhostVring *v, GError **err)
{
    const VirtQueue *vq = queue_of(v);
    const struct vhost_vring_addr addr = {
        .index = v->index,
        .flags = v->dev->log ? BIT(VHOST_VRING_F_LOG) : 0,
        .desc_user_addr = (uintptr_t)vq->areas[0].host,
        .avail_user_addr = (uintptr_t)vq->areas[1].host,
        .used_user_addr = (uintptr_t)vq->areas[2].host,
        .log_guest_addr = vq->used,
    };

    return tell(v->dev, VHOST_SET_VRING_ADDR, &addr, "a ring's addresses", err);
}

static bool set_file(const VhostVring *v, unsigned long request, int fd, const char *what, GError **err)
{
    const struct vhost_vring_file file = {.index = v->index, .fd = fd};

    return tell(v->dev, request, &file, what, err);
}

static bool set_number(const VhostVring *v, unsigned long request, unsigned num, const char *what, GError **err)
{
    const struct vhost_vring_state state = {.index = v->index, .num = num};

    return tell(v->dev, request, &state, what, err);
}

static void on_error(void *opaque, uint32_t events)
{
    const VhostVring *v = opaque;
    uint64_t count;

    if (read(v->err_fd, &count, sizeof count) == sizeof count) {
        virtio_broken(v->dev->vdev, "queue %u: the kernel (%s) finds it malformed", v->dev->first + v->index, v->dev->kind->name);
    }
}

static bool start_vring(VhostVring *v, GError **err)
{
    const VhostDev *dev = v->dev;
    VirtQueue *vq = queue_of(v);

    if (!virtqueue_is_ready(vq)) {
        return true;
    }
    if (!virtqueue_map(vq)) {
        return error_set(err, "%s: the driver set up queue %u wrongly", dev->kind->name, vq->index);
    }
    v->served = vq->kernel = true;
    if (!set_number(v, VHOST_SET_VRING_NUM, vq->num, "a ring's size", err) ||
        !set_number(v, VHOST_SET_VRING_BASE, vq->last_avail, "a ring's position", err) || !set_addresses(v, err) ||
        !set_file(v, VHOST_SET_VRING_CALL, virtio_call_fd(vq), "a ring's interrupt", err) ||
        !set_file(v, VHOST_SET_VRING_ERR, v->err_fd, "a ring's error event", err) ||
        (dev->busyloop_us &&
         !set_number(v, VHOST_SET_VRING_BUSYLOOP_TIMEOUT, dev->busyloop_us, "a ring's busy waiting (poll-us=)", err)) ||
        !set_file(v, VHOST_SET_VRING_KICK, vq->kick_fd, "a ring's notification", err)) {
        return false;
    }
    v->err_source = loop_fd_add(dev->vdev->dev.vm->loop, v->err_fd, EPOLLIN, on_error, v);
    return true;
}

/* The kernel lets go of it, and the queue knows where it is. */
static void stop_vring(VhostVring *v)
{
    const VhostDev *dev = v->dev;
    VirtQueue *vq = queue_of(v);
    struct vhost_vring_state state = {.index = v->index};
    g_autoptr(GError) reason = NULL;

    if (!v->served) {
        return;
    }
    loop_fd_remove(g_steal_pointer(&v->err_source));
    if (!tell(dev, VHOST_GET_VRING_BASE, &state, "to say where a ring is", &reason)) {
        report_warning("%s; buffers that it took from queue %u may be used again", reason->message, vq->index);
        state.num = vq->mapped ? ring_load16(vq->areas[2].host + 2, __ATOMIC_ACQUIRE) : vq->used_idx;
    }
    vq->last_avail = vq->shadow_avail = (uint16_t)state.num;
    vq->used_idx = vq->published = vq->mapped ? ring_load16(vq->areas[2].host + 2, __ATOMIC_ACQUIRE) : vq->last_avail;
    set_file(v, VHOST_SET_VRING_KICK, VHOST_FILE_UNBIND, "no notification", NULL);
    set_file(v, VHOST_SET_VRING_CALL, VHOST_FILE_UNBIND, "no interrupt", NULL);
    set_file(v, VHOST_SET_VRING_ERR, VHOST_FILE_UNBIND, "no error event", NULL);
    v->served = vq->kernel = false;
    virtqueue_unmap(vq);
}

void vhost_stop(VhostDev *dev)
{
    g_autoptr(GError) reason = NULL;

    if (!dev->running) {
        return;
    }
    trace(vhost_stop, "%s fd %d queues from %u", dev->kind->name, dev->fd, dev->first);
    if (!dev->kind->run(dev, false, &reason)) {
        report_warning("%s", reason->message);
    }
    for (unsigned i = 0; i < dev->count; i++) {
        stop_vring(&dev->vrings[i]);
    }
    drop_log(dev);
    g_clear_pointer(&dev->table, g_free);
    dev->running = false;
}

/* ---- changes while it runs -------------------------------------------------------------------------- */

static bool remap_rings(VhostDev *dev, GError **err)
{
    for (unsigned i = 0; i < dev->count; i++) {
        const VhostVring *v = &dev->vrings[i];
        VirtQueue *vq = queue_of(v);
        uint8_t *const before[] = {vq->areas[0].host, vq->areas[1].host, vq->areas[2].host};

        if (!v->served) {
            continue;
        }
        if (!virtqueue_map(vq)) {
            return error_set(err, "%s: queue %u lies no longer in RAM", dev->kind->name, vq->index);
        }
        for (unsigned k = 0; k < G_N_ELEMENTS(before); k++) {
            if (before[k] != vq->areas[k].host) {
                if (!set_addresses(v, err)) {
                    return false;
                }
                break;
            }
        }
    }
    return true;
}

/* Features and rings say whether there is a log; the kernel wants it to be there before and to go after. */
static bool update_log(VhostDev *dev, const FlatView *view, GError **err)
{
    const bool wanted = wants_log(view), was = dev->log != NULL;
    bool ok = !wanted || set_log(dev, dev->table, err);
    uint64_t *log = dev->log;

    if (!ok || wanted == was) {
        return ok;
    }
    dev->log = wanted ? log : NULL;
    ok = set_features(dev, err);
    for (unsigned i = 0; ok && i < dev->count; i++) {
        ok = !dev->vrings[i].served || set_addresses(&dev->vrings[i], err);
    }
    dev->log = log;
    if (!wanted && ok) {
        drop_log(dev);
    }
    return ok;
}

static bool update_map(VhostDev *dev, const FlatView *view, GError **err)
{
    struct vhost_memory *table = make_table(view);

    if (same_table(table, dev->table)) {
        g_free(table);
    } else if (dev->log && !set_log(dev, table, err)) {
        g_free(table);
        return false;
    } else if (!set_table(dev, table, err)) {
        return false;
    }
    return remap_rings(dev, err) && update_log(dev, view, err);
}

static void unref_block(void *block) { ram_block_unref(block); }

/* The kernel writes to rings where it was told to until it is told otherwise: that memory stays so long. */
static void map_changed(void *opaque, const FlatView *old, const FlatView *view)
{
    VhostDev *dev = opaque;
    g_autoptr(GPtrArray) held = g_ptr_array_new_with_free_func(unref_block);
    g_autoptr(GError) reason = NULL;

    if (!dev->running) {
        return;
    }
    for (unsigned i = 0; i < dev->count; i++) {
        const VirtQueue *vq = queue_of(&dev->vrings[i]);

        for (unsigned k = 0; dev->vrings[i].served && k < G_N_ELEMENTS(vq->areas); k++) {
            g_ptr_array_add(held, ram_block_ref(vq->areas[k].block));
        }
    }
    if (!update_map(dev, view, &reason)) {
        vhost_stop(dev);
        virtio_broken(dev->vdev, "%s", reason->message);
    }
}

void vhost_update_calls(VhostDev *dev)
{
    for (unsigned i = 0; dev->running && i < dev->count; i++) {
        const VhostVring *v = &dev->vrings[i];
        g_autoptr(GError) reason = NULL;

        if (v->served && !set_file(v, VHOST_SET_VRING_CALL, virtio_call_fd(queue_of(v)), "a ring's interrupt", &reason)) {
            virtio_broken(dev->vdev, "%s", reason->message);
        }
    }
}

/* ---- start -------------------------------------------------------------------------------------------- */

static bool start_all(VhostDev *dev, GError **err)
{
    const FlatView *view = address_space_view(&dev->vdev->dev.vm->memory);
    struct vhost_memory *table = make_table(view);

    if (wants_log(view) && !set_log(dev, table, err)) {
        g_free(table);
        return false;
    }
    if (!set_table(dev, table, err) || !set_features(dev, err)) {
        return false;
    }
    for (unsigned i = 0; i < dev->count; i++) {
        if (!start_vring(&dev->vrings[i], err)) {
            return false;
        }
    }
    return dev->kind->run(dev, true, err);
}

bool vhost_start(VhostDev *dev, GError **err)
{
    trace(vhost_start, "%s fd %d queues from %u", dev->kind->name, dev->fd, dev->first);
    dev->running = true;
    if (!start_all(dev, err)) {
        vhost_stop(dev);
        return false;
    }
    __atomic_store_n(&dev->vdev->kernel, true, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < dev->count; i++) {
        if (dev->vrings[i].served) {
            virtio_kick(queue_of(&dev->vrings[i])); /* what the driver gave before */
        }
    }
    return true;
}

/* ---- life --------------------------------------------------------------------------------------------- */

uint64_t vhost_offer(const VhostDev *dev, uint64_t features, uint64_t more)
{
    const uint64_t packed = BIT(VIRTIO_F_RING_PACKED);

    return features & ~((RING_FEATURES | more) & ~dev->features) & ~packed;
}

bool vhost_own(int fd, const char *name, GError **err)
{
    return ioctl(fd, VHOST_SET_OWNER, NULL) >= 0 ||
           error_set_errno(err, errno, "%s: descriptor %d cannot be owned (VHOST_SET_OWNER)", name, fd);
}

void vhost_cleanup(VhostDev *dev)
{
    if (!dev->vrings) {
        return;
    }
    address_space_unlisten(&dev->vdev->dev.vm->memory, &dev->listener);
    for (unsigned i = 0; i < dev->count; i++) {
        if (dev->vrings[i].err_fd >= 0) {
            close(dev->vrings[i].err_fd);
        }
    }
    g_clear_pointer(&dev->vrings, g_free);
}

bool vhost_init(VhostDev *dev, const VhostKind *kind, VirtioDevice *vdev, int fd, unsigned first, unsigned count, GError **err)
{
    *dev = (VhostDev){.kind = kind, .vdev = vdev, .fd = fd, .first = first, .count = count};
    dev->listener = (MemoryListener){.changed = map_changed, .dirty_sync = sync_dirty, .opaque = dev};
    if (!tell(dev, VHOST_GET_FEATURES, &dev->features, "to say its features", err)) {
        return false;
    }
    dev->vrings = g_new0(VhostVring, count);
    address_space_listen(&vdev->dev.vm->memory, &dev->listener);
    for (unsigned i = 0; i < count; i++) {
        dev->vrings[i] = (VhostVring){.dev = dev, .index = i, .err_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
        if (dev->vrings[i].err_fd < 0) {
            error_set_errno(err, errno, "%s: cannot make an eventfd", kind->name);
            dev->count = i;
            vhost_cleanup(dev);
            return false;
        }
    }
    return true;
}
