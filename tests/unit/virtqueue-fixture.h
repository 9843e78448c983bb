/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A virtio device without a transport, in a VM of 256 KiB of RAM, whose one queue runs in the main loop: for a driver of
 * the test's own, good or bad. The device holds hold buffers back and gives the others at once; it writes their first in
 * bytes.
 */
#ifndef TESTS_UNIT_VIRTQUEUE_FIXTURE_H
#define TESTS_UNIT_VIRTQUEUE_FIXTURE_H

#include "hw/virtio/virtio.h"

#define TOY_RAM (256 * KIB)
#define TOY_DESC 0x10000
#define TOY_AVAIL 0x14000
#define TOY_USED 0x18000
#define TOY_DATA 0x20000

typedef struct ToyDevice {
    VirtioDevice vdev;
    unsigned hold;            /* buffers that are kept for the next time */
    GQueue held;              /* VirtElement * */
    uint64_t popped, pushed;
    unsigned interrupts;
    void (*popping)(void *opaque); /* NULL, or a driver on another processor: while the device takes buffers */
    void *popping_opaque;
} ToyDevice;

typedef struct Toy {
    Vm *vm;
    Region ram;
    uint8_t *host;            /* byte 0 of RAM */
    ToyDevice *dev;
    VirtQueue *vq;
} Toy;

static inline void toy_give(ToyDevice *t)
{
    VirtElement *e = g_queue_pop_head(&t->held);
    uint8_t byte = 0x5a;

    t->pushed++;
    virtqueue_push(e, virt_element_write(e, 0, &byte, 1));
}

static void toy_handle(VirtioDevice *vdev, VirtQueue *vq)
{
    ToyDevice *t = container_of(vdev, ToyDevice, vdev);
    VirtElement *e;

    while ((e = virtqueue_pop(vq))) {
        uint8_t copy[64];

        if (t->popped % 3 == 0) { /* put back, it comes again */
            const uint16_t id = e->id;

            virtqueue_unpop(e);
            e = virtqueue_pop(vq);
            g_assert_cmpuint(e->id, ==, id);
        }
        t->popped++;
        if (t->popping) {
            t->popping(t->popping_opaque);
        }
        virt_element_read(e, 0, copy, sizeof copy);
        g_assert_cmpuint(iov_size(e->out, e->out_count), ==, e->out_size);
        g_assert_cmpuint(iov_size(e->in, e->in_count), ==, e->in_size);
        g_queue_push_tail(&t->held, e);
        while (t->held.length > t->hold) {
            toy_give(t);
        }
    }
}

static void toy_quiesce(VirtioDevice *vdev, VirtQueue *vq)
{
    ToyDevice *t = container_of(vdev, ToyDevice, vdev);

    while (t->held.length) {
        toy_give(t);
    }
}

static bool toy_realize(Device *dev, GError **err)
{
    VirtioDevice *vdev = virtio_device(dev);

    virtio_init(vdev, 0);
    virtio_add_queue(vdev, VIRTQUEUE_MAX_SIZE, toy_handle, sizeof(VirtElement));
    return true;
}

static void toy_unrealize(Device *dev) { virtio_cleanup(virtio_device(dev)); }

static const VirtioOps toy_virtio_ops = {.quiesce = toy_quiesce};

DEVICE_TYPE(toy_device) = {
    .name = "toy-virtio",
    .parent = "virtio-device",
    .size = sizeof(ToyDevice),
    .ops = &toy_virtio_ops,
    .realize = toy_realize,
    .unrealize = toy_unrealize,
};

KILN_TYPE(toy_bus) = {.name = "toy-virtio-bus", .parent = "virtio-bus", .size = sizeof(Bus)};

static void toy_notify(void *opaque, uint16_t vector, bool config) { ((ToyDevice *)opaque)->interrupts++; }
static const VirtioTransport toy_transport = {.notify = toy_notify};

static inline void toy_open(Toy *y, uint64_t features)
{
    GError *err = NULL;
    Device *dev;

    *y = (Toy){.vm = vm_new(NULL)};
    clock_virtual_detach(y->vm);
    g_assert_true(region_init_ram(&y->ram, y->vm, "ram", TOY_RAM, NULL));
    region_add(&y->vm->system_memory, 0, &y->ram);
    y->host = region_host(&y->ram);
    dev = device_new(y->vm, "toy-virtio");
    y->dev = container_of(dev, ToyDevice, vdev.dev);
    g_queue_init(&y->dev->held);
    y->dev->vdev.host_features = features;
    virtio_set_transport(&y->dev->vdev, &toy_transport, y->dev, dev);
    g_assert_true(device_realize(dev, bus_new(y->vm, "toy-virtio-bus", NULL, "toy"), &err));
    y->dev->vdev.vm_running = true;
    y->vq = virtio_queue(&y->dev->vdev, 0);
}

/* The driver's way from reset to DRIVER_OK. */
static inline void toy_start(Toy *y, uint64_t features, unsigned num)
{
    virtio_set_status(&y->dev->vdev, 0);
    virtio_set_status(&y->dev->vdev, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    virtio_set_features(&y->dev->vdev, features);
    virtio_queue_set_num(y->vq, num);
    virtio_queue_enable(y->vq, (VirtQueueAreas){TOY_DESC, TOY_AVAIL, TOY_USED});
    virtio_set_status(&y->dev->vdev, 0xf);
}

/* All that is to be done now. */
static inline void toy_run(Toy *y)
{
    for (unsigned i = 0; i < 100 && loop_run_once(y->vm->loop, 0); i++) {
    }
}

static inline void toy_close(Toy *y)
{
    region_remove(&y->ram);
    region_destroy(&y->ram);
    vm_free(y->vm); /* the device goes with it, and holds no guest memory any more */
}

#endif
