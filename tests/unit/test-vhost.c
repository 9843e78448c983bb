/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vhost against a kernel of the test's own (vhost-fake.h), with vhost-vsock as the device: which calls come in which order
 * and with what, what happens when one is refused, and that rings go on where they were when the kernel takes them over,
 * gives them back, and while memory comes, goes and is watched.
 */
#include "tests/unit/vhost-fake.h"

#include <fcntl.h>
#include <linux/virtio_vsock.h>

#include "hw/virtio/virtio.h"

#define RAM_PART (128 * KIB)
#define DATA 0x14000
#define FAR 0x40000000
#define BIT(n) (UINT64_C(1) << (n))
#define START "table features num base addr call err kick num base addr call err kick running"
#define VRING "num base addr call err kick"
#define START_BUT_RUN "table features num base addr call err kick num base addr call err kick "
#define STOP "running get-base kick call err get-base kick call err"

FAKE_KERNEL

typedef struct Rig {
    Vm *vm;
    Region ram[2];
    uint8_t *host;            /* byte 0 of the first part */
    VirtioDevice *vdev;
    FakeKernel *kernel;
    int calls[2];             /* eventfds that stand for vectors 0 and 1 */
    unsigned interrupts;      /* that Kiln itself made */
    uint16_t avail[3];
} Rig;

static void notify(void *opaque, uint16_t vector, bool config) { ((Rig *)opaque)->interrupts++; }
static int call_fd(void *opaque, uint16_t vector) { return vector < 2 ? ((Rig *)opaque)->calls[vector] : -1; }
static const VirtioTransport transport = {.notify = notify, .call_fd = call_fd};
KILN_TYPE(vhost_test_bus) = {.name = "vhost-test-bus", .parent = "virtio-bus", .size = sizeof(Bus)};

static void add_ram(Rig *r, unsigned part, const char *name, uint64_t addr)
{
    g_assert_true(region_init_ram(&r->ram[part], r->vm, name, RAM_PART, NULL));
    region_add(&r->vm->system_memory, addr, &r->ram[part]);
}

/* False: the device could not be made. The kernel refuses this call (NULL: none) and lacks these features. options: "name=value" ... NULL. */
static bool rig_try(Rig *r, const char *refuse, uint64_t lacks, const char *const *options, GError **err)
{
    const int fd = eventfd(0, EFD_CLOEXEC);
    g_autofree char *number = g_strdup_printf("%d", fd);
    Device *dev;

    *r = (Rig){.vm = vm_new(NULL), .kernel = &fake_kernels[0]};
    clock_virtual_detach(r->vm);
    fake_open(r->kernel, fd);
    r->kernel->refuse = refuse;
    r->kernel->offered &= ~lacks;
    add_ram(r, 0, "low", 0);
    r->host = region_host(&r->ram[0]);
    for (unsigned i = 0; i < 2; i++) {
        r->calls[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    }
    dev = device_new(r->vm, "vhost-vsock-device");
    r->vdev = virtio_device(dev);
    virtio_set_transport(r->vdev, &transport, r, dev);
    r->vdev->host_features |= BIT(VIRTIO_F_VERSION_1);
    object_set_uint(dev, "guest-cid", 77);
    object_set_str(dev, "vhostfd", number);
    for (; *options; options++) {
        g_auto(GStrv) pair = g_strsplit(*options, "=", 2);

        g_assert_true(object_set(&dev->obj, pair[0], pair[1], NULL));
    }
    if (!device_realize(dev, bus_new(r->vm, "vhost-test-bus", NULL, "bus"), err)) {
        object_unref(&dev->obj);
        r->vdev = NULL;
        return false;
    }
    r->vdev->vm_running = true;
    return true;
}

static void rig_open(Rig *r)
{
    static const char *const none[] = {NULL};
    GError *err = NULL;

    rig_try(r, NULL, 0, none, &err);
    g_assert_no_error(err);
    g_free(fake_take(r->kernel));
}

static void rig_run(Rig *r)
{
    for (unsigned i = 0; i < 100 && loop_run_once(r->vm->loop, 0); i++) {
    }
}

static void rig_close(Rig *r)
{
    if (r->vdev) {
        device_unrealize(&r->vdev->dev);
        rig_run(r);
    }
    for (unsigned i = 0; i < 2; i++) {
        if (r->ram[i].kind == REGION_RAM) {
            region_remove(&r->ram[i]);
            region_destroy(&r->ram[i]);
        }
    }
    fake_free_vm(r->vm);
    fake_clear(r->kernel);
    close(r->calls[0]);
    close(r->calls[1]);
}

/* The driver's way up to DRIVER_OK. */
static void drive(Rig *r)
{
    virtio_set_status(r->vdev, 0);
    memset(r->host, 0, 4 * FAKE_RING(0));
    memset(r->avail, 0, sizeof r->avail);
    virtio_set_status(r->vdev, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    virtio_set_features(r->vdev, BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_VSOCK_F_SEQPACKET));
    virtio_set_status(r->vdev, 0xb);
    fake_driver_queues(r->vdev, 3);
    virtio_set_status(r->vdev, 0xf);
    rig_run(r);
}

/* A buffer of one byte at addr for a queue; write: for the device to write. */
static void offer(Rig *r, unsigned queue, uint64_t addr, uint32_t len, bool write)
{
    fake_driver_offer(r->vdev, r->host, &r->avail[queue], queue, addr, len, write);
}

static unsigned used(const Rig *r, unsigned queue) { return fake_driver_used(r->host, queue); }

#define expect_calls(r, wanted)                                                                    \
    do {                                                                                           \
        g_autofree char *calls_ = fake_take((r)->kernel);                                          \
        g_assert_cmpstr(calls_, ==, wanted);                                                       \
    } while (0)

static bool is_broken(const Rig *r) { return r->vdev->broken && (r->vdev->status & VIRTIO_CONFIG_S_NEEDS_RESET); }

/* ---- order and contents -------------------------------------------------------------------------- */

static void test_order(void)
{
    static const char *const none[] = {NULL};
    Rig r;

    g_assert_true(rig_try(&r, NULL, 0, none, NULL));
    expect_calls(&r, "owner get-features cid");
    g_assert_cmpuint(r.kernel->cid, ==, 77);
    g_assert_cmpuint(virtio_config_read(r.vdev, 0, 8), ==, 77);
    drive(&r);
    expect_calls(&r, START);
    g_assert_true(r.kernel->running);
    g_assert_cmphex(r.kernel->features, ==, BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_VSOCK_F_SEQPACKET));
    g_assert_cmpuint(r.kernel->table->nregions, ==, 1);
    g_assert_cmphex(r.kernel->table->regions[0].guest_phys_addr, ==, 0);
    g_assert_cmphex(r.kernel->table->regions[0].memory_size, ==, RAM_PART);
    g_assert_cmphex(r.kernel->table->regions[0].userspace_addr, ==, (uintptr_t)r.host);
    for (unsigned i = 0; i < 2; i++) {
        const FakeVring *v = &r.kernel->vrings[i];

        g_assert_cmpuint(v->num, ==, FAKE_NUM);
        g_assert_cmpuint(v->base, ==, 0);
        g_assert_cmphex(v->addr.flags, ==, 0);
        g_assert_cmphex(v->addr.desc_user_addr, ==, (uintptr_t)r.host + FAKE_RING(i));
        g_assert_cmphex(v->addr.avail_user_addr, ==, (uintptr_t)r.host + FAKE_RING(i) + 0x1000);
        g_assert_cmphex(v->addr.used_user_addr, ==, (uintptr_t)r.host + FAKE_RING(i) + 0x2000);
        g_assert_cmpint(v->kick, ==, virtio_kick_fd(r.vdev, i));
        g_assert_cmpint(v->call, ==, r.calls[i]);
        g_assert_cmpint(v->err, >=, 0);
        g_assert_cmpuint(fake_count(v->kick), ==, 1); /* it looks once, and Kiln does not take the notification */
    }
    virtio_set_status(r.vdev, 0);
    expect_calls(&r, STOP);
    g_assert_false(r.kernel->running);
    g_assert_cmpint(r.kernel->vrings[0].kick, ==, -1);
    g_assert_cmpint(r.kernel->vrings[1].call, ==, -1);
    rig_close(&r);
}

/* Gone while it runs: the kernel lets go of everything. */
static void test_unrealize(void)
{
    Rig r;

    rig_open(&r);
    drive(&r);
    g_free(fake_take(r.kernel));
    device_unrealize(&r.vdev->dev);
    expect_calls(&r, STOP);
    r.vdev = NULL;
    rig_close(&r);
}

/* What the kernel lacks is not offered. */
static void test_features(void)
{
    static const char *const packed[] = {"packed=on", "in_order=on", "seqpacket=off", NULL};
    Rig r;

    g_assert_true(rig_try(&r, NULL, 0, packed, NULL));
    g_assert_cmphex(r.vdev->host_features & (BIT(VIRTIO_F_RING_PACKED) | BIT(VIRTIO_F_IN_ORDER) | BIT(VIRTIO_F_RING_RESET) |
                                             BIT(VIRTIO_VSOCK_F_SEQPACKET)), ==, 0);
    g_assert_cmphex(r.vdev->host_features & BIT(VIRTIO_RING_F_EVENT_IDX), !=, 0);
    rig_close(&r);
}

/* ---- positions -------------------------------------------------------------------------------------- */

static void test_positions(void)
{
    Rig r;
    uint8_t byte;

    rig_open(&r);
    drive(&r);
    for (unsigned round = 0; round < 5; round++) {
        for (unsigned i = 0; i < 3; i++) {
            byte = (uint8_t)(16 * round + i);
            offer(&r, 0, DATA + i, 1, true);
            g_assert_true(fake_serve(r.kernel, 0, &byte));
            g_assert_cmphex(r.host[DATA + i], ==, byte);
        }
        r.host[DATA + 100] = (uint8_t)round;
        offer(&r, 1, DATA + 100, 1, false);
        g_assert_true(fake_serve(r.kernel, 1, &byte));
        g_assert_cmpuint(byte, ==, round);
        g_assert_cmpuint(fake_count(r.calls[0]), ==, 3);
        g_assert_cmpuint(fake_count(r.calls[1]), ==, 1);
        rig_run(&r);
        /* The VM stops and goes on. */
        r.vdev->vm_running = false;
        virtio_update(r.vdev);
        g_assert_false(fake_serve(r.kernel, 0, &byte));
        offer(&r, 0, DATA + 50, 1, true); /* waits */
        r.vdev->vm_running = true;
        virtio_update(r.vdev);
        g_assert_cmpuint(r.kernel->vrings[0].base, ==, 4 * round + 3);
        g_assert_cmpuint(r.kernel->vrings[1].base, ==, round + 1);
        g_assert_true(fake_serve(r.kernel, 0, &byte));
        g_assert_false(fake_serve(r.kernel, 0, &byte));
        g_assert_cmpuint(fake_count(r.calls[0]), ==, 1);
    }
    g_assert_cmpuint(used(&r, 0), ==, 20);
    g_assert_cmpuint(r.interrupts, ==, 0);
    rig_close(&r);
}

/* A kernel that does not say where it is: buffers that it did not give back are taken again. */
static void test_no_position(void)
{
    Rig r;
    uint8_t byte = 1;

    rig_open(&r);
    drive(&r);
    offer(&r, 0, DATA, 1, true);
    offer(&r, 0, DATA + 1, 1, true);
    g_assert_true(fake_serve(r.kernel, 0, &byte));
    r.kernel->refuse = "get-base";
    r.vdev->vm_running = false;
    virtio_update(r.vdev);
    r.vdev->vm_running = true;
    virtio_update(r.vdev);
    g_assert_cmpuint(r.kernel->vrings[0].base, ==, 1);
    rig_close(&r);
}

/* ---- interrupts --------------------------------------------------------------------------------------- */

static void test_vectors(void)
{
    Rig r;

    rig_open(&r);
    drive(&r);
    g_free(fake_take(r.kernel));
    virtio_queue_set_vector(virtio_queue(r.vdev, 0), 1);
    g_assert_cmpint(r.kernel->vrings[0].call, ==, r.calls[1]);
    virtio_queue_set_vector(virtio_queue(r.vdev, 0), VIRTIO_NO_VECTOR);
    g_assert_cmpint(r.kernel->vrings[0].call, ==, -1);
    g_assert_cmpint(r.kernel->vrings[1].call, ==, r.calls[1]);
    /* All change (MSI-X was switched). */
    const int first = r.calls[0];
    r.calls[0] = r.calls[1];
    r.calls[1] = first;
    virtio_call_fds_changed(r.vdev);
    g_assert_cmpint(r.kernel->vrings[1].call, ==, r.calls[1]);
    rig_close(&r);
}

/* ---- the event queue, which is ours --------------------------------------------------------------------- */

static void test_event(void)
{
    Rig r;
    struct virtio_vsock_event *event;

    rig_open(&r);
    drive(&r);
    event = (struct virtio_vsock_event *)(void *)(r.host + DATA);
    event->id = 0xffffffff;
    offer(&r, 2, DATA, sizeof *event, true);
    rig_run(&r);
    g_assert_cmpuint(used(&r, 2), ==, 0); /* nothing to be told */
    r.vdev->ops->take_loaded(r.vdev);
    virtio_kick(virtio_queue(r.vdev, 2));
    rig_run(&r);
    g_assert_cmpuint(used(&r, 2), ==, 1);
    g_assert_cmpuint(event->id, ==, VIRTIO_VSOCK_EVENT_TRANSPORT_RESET);
    g_assert_cmpuint(r.interrupts, ==, 1);
    offer(&r, 2, DATA, sizeof *event, true);
    rig_run(&r);
    g_assert_cmpuint(used(&r, 2), ==, 1); /* once */
    r.vdev->ops->take_loaded(r.vdev);
    virtio_set_status(r.vdev, 0);
    drive(&r);
    offer(&r, 2, DATA, sizeof *event, true);
    rig_run(&r);
    g_assert_cmpuint(used(&r, 2), ==, 0); /* a reset driver has no connections */
    r.vdev->ops->take_loaded(r.vdev);
    offer(&r, 2, DATA, 1, true);
    rig_run(&r);
    g_assert_cmpuint(used(&r, 2), ==, 1);
    r.vdev->ops->take_loaded(r.vdev);
    virtio_kick(virtio_queue(r.vdev, 2));
    rig_run(&r);
    g_assert_true(is_broken(&r)); /* the second buffer is too short */
    rig_close(&r);
}

/* ---- memory ------------------------------------------------------------------------------------------------ */

static void test_map(void)
{
    Rig r;
    uint8_t byte = 9;

    rig_open(&r);
    drive(&r);
    g_free(fake_take(r.kernel));
    add_ram(&r, 1, "far", FAR);
    expect_calls(&r, "table");
    g_assert_cmpuint(r.kernel->table->nregions, ==, 2);
    offer(&r, 0, FAR + 5, 1, true);
    g_assert_true(fake_serve(r.kernel, 0, &byte));
    g_assert_cmpuint(region_host(&r.ram[1])[5], ==, 9);
    /* ROM is not for anybody to write. */
    region_set_readonly(&r.ram[1], true);
    g_assert_cmpuint(r.kernel->table->nregions, ==, 1);
    region_set_readonly(&r.ram[1], false);
    g_assert_cmpuint(r.kernel->table->nregions, ==, 2);
    /* A screen's memory is left out. */
    region_set_dirty_log(&r.ram[1], DIRTY_VGA, true);
    g_assert_cmpuint(r.kernel->table->nregions, ==, 1);
    g_free(fake_take(r.kernel));
    region_remove(&r.ram[1]);
    region_destroy(&r.ram[1]);
    expect_calls(&r, "");
    /* Without the memory of its rings it cannot go on. */
    region_set_enabled(&r.ram[0], false);
    rig_run(&r);
    g_assert_true(is_broken(&r));
    g_assert_false(r.kernel->running);
    region_set_enabled(&r.ram[0], true);
    /* So it is with a map that the kernel does not take. */
    drive(&r);
    g_assert_true(r.kernel->running);
    r.kernel->refuse = "table";
    add_ram(&r, 1, "again", FAR);
    rig_run(&r);
    g_assert_true(is_broken(&r));
    g_assert_false(r.kernel->running);
    rig_close(&r);
}

/* The same address, other memory: the kernel learns the new place of the rings. */
static void test_moved(void)
{
    Rig r;

    rig_open(&r);
    drive(&r);
    g_assert_true(region_init_ram(&r.ram[1], r.vm, "over", RAM_PART, NULL));
    g_free(fake_take(r.kernel));
    region_add_overlap(&r.vm->system_memory, 0, &r.ram[1], 1);
    expect_calls(&r, "table addr addr");
    g_assert_cmphex(r.kernel->vrings[1].addr.desc_user_addr, ==, (uintptr_t)region_host(&r.ram[1]) + FAKE_RING(1));
    g_assert_false(r.vdev->broken);
    rig_close(&r);
}

static bool is_dirty(const Region *region, uint64_t addr) { return region->ram->dirty[0] >> (addr >> 12) & 1; }

static void test_log(void)
{
    Rig r;
    uint8_t byte = 1;

    rig_open(&r);
    drive(&r);
    g_free(fake_take(r.kernel));
    r.ram[0].ram->dirty = g_new0(unsigned long, 2);
    region_set_dirty_log(&r.ram[0], DIRTY_MIGRATION, true);
    expect_calls(&r, "log features addr addr");
    g_assert_cmphex(r.kernel->vrings[1].addr.flags, ==, 1u << VHOST_VRING_F_LOG);
    g_assert_cmphex(r.kernel->vrings[1].addr.log_guest_addr, ==, FAKE_RING(1) + 0x2000);
    offer(&r, 0, DATA, 1, true);
    g_assert_true(fake_serve(r.kernel, 0, &byte));
    g_assert_false(is_dirty(&r.ram[0], DATA));
    address_space_dirty_sync(&r.vm->memory);
    g_assert_true(is_dirty(&r.ram[0], DATA));
    g_assert_true(is_dirty(&r.ram[0], FAKE_RING(0) + 0x2000));
    g_assert_false(is_dirty(&r.ram[0], FAKE_RING(1) + 0x2000));
    g_assert_false(is_dirty(&r.ram[0], DATA + 4096));
    /* The log grows with the memory, and nothing that is in it is lost. */
    r.ram[0].ram->dirty[0] = 0;
    offer(&r, 0, DATA + 4096, 1, true);
    g_assert_true(fake_serve(r.kernel, 0, &byte));
    g_free(fake_take(r.kernel));
    add_ram(&r, 1, "far", FAR);
    expect_calls(&r, "log table");
    offer(&r, 0, FAR + 8192, 1, true);
    g_assert_true(fake_serve(r.kernel, 0, &byte));
    r.ram[1].ram->dirty = g_new0(unsigned long, 2);
    address_space_dirty_sync(&r.vm->memory);
    g_assert_true(is_dirty(&r.ram[0], DATA + 4096));
    g_assert_true(is_dirty(&r.ram[1], 8192));
    /* A stop leaves what was written; a start logs on. */
    r.ram[0].ram->dirty[0] = 0;
    offer(&r, 0, DATA, 1, true);
    g_assert_true(fake_serve(r.kernel, 0, &byte));
    r.vdev->vm_running = false;
    virtio_update(r.vdev);
    g_assert_true(is_dirty(&r.ram[0], DATA));
    r.vdev->vm_running = true;
    g_free(fake_take(r.kernel));
    virtio_update(r.vdev);
    expect_calls(&r, "log " START);
    g_assert_cmphex(r.kernel->features & BIT(VHOST_F_LOG_ALL), !=, 0);
    region_set_dirty_log(&r.ram[0], DIRTY_MIGRATION, false);
    expect_calls(&r, "features addr addr");
    g_assert_cmphex(r.kernel->features & BIT(VHOST_F_LOG_ALL), ==, 0);
    g_clear_pointer(&r.ram[0].ram->dirty, g_free);
    g_clear_pointer(&r.ram[1].ram->dirty, g_free);
    rig_close(&r);
}

/* ---- errors -------------------------------------------------------------------------------------------------- */

static void test_no_device(void)
{
    static const struct {
        const char *refuse, *option, *message;
    } cases[] = {
        {"owner", "guest-cid=77", "VHOST_SET_OWNER"},
        {"get-features", "guest-cid=77", "to say its features"},
        {"cid", "guest-cid=77", "unable to set guest cid 77"},
        {NULL, "guest-cid=2", "guest-cid property must be greater than 2"},
        {NULL, "guest-cid=4294967296", "guest-cid property must be a 32-bit number"},
        {NULL, "vhostfd=999999", "vhostfd=: "},
        {NULL, "vhostfd=name", "vhostfd=: "},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        const char *const options[] = {cases[i].option, NULL};
        g_autoptr(GError) err = NULL;
        Rig r;
        int fd;

        g_assert_false(rig_try(&r, cases[i].refuse, 0, options, &err));
        g_assert_nonnull(strstr(err->message, cases[i].message));
        fd = r.kernel->fd;
        g_assert_cmpint(fcntl(fd, F_GETFD), ==, cases[i].refuse ? -1 : FD_CLOEXEC); /* taken means closed */
        if (!cases[i].refuse) {
            close(fd);
        }
        rig_close(&r);
    }
}

static void test_seqpacket_refused(void)
{
    static const char *const on[] = {"seqpacket=on", NULL};
    g_autoptr(GError) err = NULL;
    Rig r;

    g_assert_false(rig_try(&r, NULL, BIT(VIRTIO_VSOCK_F_SEQPACKET), on, &err));
    g_assert_nonnull(strstr(err->message, "doesn't support seqpacket"));
    rig_close(&r);
}

/* Each call that can be refused while it starts: all is taken back, the driver sees it, and a reset mends it. */
static void test_no_start(void)
{
    static const struct {
        const char *call;
        unsigned index;
        const char *calls;
    } cases[] = {
        {"table", 0, "table running"},
        {"features", 0, "table features running"},
        {"num", 0, "table features num running get-base kick call err"},
        {"base", 0, "table features num base running get-base kick call err"},
        {"addr", 1, "table features num base addr call err kick num base addr " STOP},
        {"call", 0, "table features num base addr call running get-base kick call err"},
        {"err", 0, "table features num base addr call err running get-base kick call err"},
        {"kick", 1, START_BUT_RUN STOP},
        {"running", 0, START " " STOP},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        Rig r;
        uint8_t byte = 3;

        rig_open(&r);
        r.kernel->refuse = cases[i].call;
        r.kernel->refuse_index = cases[i].index;
        drive(&r);
        expect_calls(&r, cases[i].calls);
        g_assert_true(is_broken(&r));
        g_assert_cmpint(r.kernel->vrings[0].kick, ==, -1);
        drive(&r);
        expect_calls(&r, START);
        offer(&r, 0, DATA, 1, true);
        g_assert_true(fake_serve(r.kernel, 0, &byte));
        rig_close(&r);
    }
}

/* The kernel finds a ring malformed. */
static void test_malformed(void)
{
    Rig r;

    rig_open(&r);
    drive(&r);
    eventfd_write(r.kernel->vrings[1].err, 1);
    rig_run(&r);
    g_assert_true(is_broken(&r));
    g_assert_false(r.kernel->running);
    drive(&r);
    g_assert_true(r.kernel->running);
    rig_close(&r);
}

/* Rings that are set up wrongly never reach the kernel. */
static void test_bad_ring(void)
{
    Rig r;

    rig_open(&r);
    virtio_set_status(r.vdev, 3);
    virtio_set_features(r.vdev, BIT(VIRTIO_F_VERSION_1));
    virtio_set_status(r.vdev, 0xb);
    virtio_queue_set_num(virtio_queue(r.vdev, 1), FAKE_NUM);
    virtio_queue_enable(virtio_queue(r.vdev, 1), (VirtQueueAreas){FAR, FAR, FAR});
    virtio_set_status(r.vdev, 0xf);
    expect_calls(&r, "table features running");
    rig_run(&r);
    g_assert_true(is_broken(&r));
    rig_close(&r);
}

/* Queues that a driver sets up late or takes away: all stop, and go on with what there is. */
static void test_late_queue(void)
{
    Rig r;
    VirtQueue *vq;
    uint8_t byte = 4;

    rig_open(&r);
    virtio_set_status(r.vdev, 3);
    virtio_set_features(r.vdev, BIT(VIRTIO_F_VERSION_1));
    virtio_set_status(r.vdev, 0xf);
    expect_calls(&r, "table features");
    for (unsigned i = 2; i--;) {
        vq = virtio_queue(r.vdev, i);
        virtio_queue_set_num(vq, FAKE_NUM);
        virtio_queue_enable(vq, (VirtQueueAreas){FAKE_RING(i), FAKE_RING(i) + 0x1000, FAKE_RING(i) + 0x2000});
        expect_calls(&r, i ? "running table features " VRING : "running get-base kick call err " START);
    }
    virtio_queue_set_num(vq, 2); /* in use: nothing happens */
    g_assert_cmpuint(virtio_queue_num(vq), ==, FAKE_NUM);
    offer(&r, 1, DATA, 1, false);
    g_assert_true(fake_serve(r.kernel, 1, &byte));
    virtio_queue_reset(vq);
    expect_calls(&r, STOP " table features " VRING);
    g_assert_cmpuint(r.kernel->vrings[1].base, ==, 1);
    offer(&r, 1, DATA, 1, false);
    g_assert_false(fake_serve(r.kernel, 1, &byte));
    rig_close(&r);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vhost/order", test_order);
    g_test_add_func("/vhost/unrealize", test_unrealize);
    g_test_add_func("/vhost/features", test_features);
    g_test_add_func("/vhost/positions", test_positions);
    g_test_add_func("/vhost/no-position", test_no_position);
    g_test_add_func("/vhost/vectors", test_vectors);
    g_test_add_func("/vhost/event", test_event);
    g_test_add_func("/vhost/map", test_map);
    g_test_add_func("/vhost/moved", test_moved);
    g_test_add_func("/vhost/log", test_log);
    g_test_add_func("/vhost/no-device", test_no_device);
    g_test_add_func("/vhost/seqpacket-refused", test_seqpacket_refused);
    g_test_add_func("/vhost/no-start", test_no_start);
    g_test_add_func("/vhost/malformed", test_malformed);
    g_test_add_func("/vhost/bad-ring", test_bad_ring);
    g_test_add_func("/vhost/late-queue", test_late_queue);
    return g_test_run();
}
