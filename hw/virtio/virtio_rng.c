/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "virtio-rng-device" (Virtual I/O Device 1.2, 5.4): buffers are filled with random bytes of an rng-* object, at most
 * max-bytes in each period. Everything is in the main loop, where those objects are; entropy is asked for a few times a
 * second at most.
 */
#include "backends/rng.h"
#include "core/clock.h"
#include "hw/virtio/virtio_pci.h"

#define QUEUE_SIZE 8
#define REQUEST_MAX (64 * KIB)

typedef struct VirtioRng {
    VirtioDevice vdev;
    VirtQueue *vq;
    Object *rng;              /* property: rng-backend */
    Object *own_rng;          /* made when the user named none */
    uint64_t max_bytes;       /* in a period */
    uint32_t period_ms;
    uint64_t quota;           /* bytes left of this period */
    Timer timer;              /* end of the period */
    VirtElement *elem;        /* being filled; NULL: none */
} VirtioRng;

static VirtioRng *virtio_rng(VirtioDevice *vdev) { return container_of(vdev, VirtioRng, vdev); }
static RngBackend *backend(const VirtioRng *s) { return (RngBackend *)(void *)(s->rng ? s->rng : s->own_rng); }

static void got_bytes(void *opaque, const uint8_t *data, size_t len)
{
    VirtioRng *s = opaque;
    VirtElement *elem = g_steal_pointer(&s->elem);

    if (!elem) {
        return;
    }
    len = MIN(len, s->quota);
    s->quota -= len;
    virtqueue_push(elem, virt_element_write(elem, 0, data, len));
    virtio_kick(s->vq); /* there may be more */
}

/* One buffer at a time: what it gets may fill it partly, which the driver expects. */
static void handle(VirtioDevice *vdev, VirtQueue *vq)
{
    VirtioRng *s = virtio_rng(vdev);

    while (!s->elem) {
        uint64_t size;

        if (!s->quota) {
            if (!timer_pending(&s->timer)) {
                timer_arm(&s->timer, clock_now(vdev->dev.vm, CLOCK_VIRTUAL) + s->period_ms * NSEC_PER_MSEC);
            }
            return;
        }
        s->elem = virtqueue_pop(vq);
        if (!s->elem) {
            return;
        }
        size = MIN(MIN(s->elem->in_size, s->quota), REQUEST_MAX);
        if (!size) {
            virtqueue_push(g_steal_pointer(&s->elem), 0);
            continue;
        }
        if (!timer_pending(&s->timer)) {
            timer_arm(&s->timer, clock_now(vdev->dev.vm, CLOCK_VIRTUAL) + s->period_ms * NSEC_PER_MSEC);
        }
        rng_request(backend(s), size, got_bytes, s);
    }
}

static void new_period(void *opaque)
{
    VirtioRng *s = opaque;

    s->quota = s->max_bytes;
    virtio_kick(s->vq);
}

/* The buffer goes back unfilled: there is nothing to be kept, and the driver asks again. */
static void quiesce(VirtioDevice *vdev, VirtQueue *vq)
{
    VirtioRng *s = virtio_rng(vdev);

    if (s->elem) {
        rng_cancel(backend(s), s);
        virtqueue_push(g_steal_pointer(&s->elem), 0);
    }
}

static bool rng_realize(Device *dev, GError **err)
{
    VirtioDevice *vdev = virtio_device(dev);
    VirtioRng *s = virtio_rng(vdev);

    if (!s->period_ms) {
        return error_set(err, "'period' parameter expects a positive integer");
    }
    if (s->max_bytes > INT64_MAX) {
        return error_set(err, "'max-bytes' parameter must be non-negative, and less than 2^63");
    }
    if (!s->rng) {
        s->own_rng = object_new(dev->vm, type_find("rng-builtin"), err);
        if (!s->own_rng) {
            return false;
        }
        object_add_child(&dev->obj, "default-backend", s->own_rng);
        object_unref(s->own_rng);
    }
    virtio_init(vdev, 0);
    s->vq = virtio_add_queue(vdev, QUEUE_SIZE, handle, sizeof(VirtElement));
    virtio_queue_set_lazy(s->vq);
    timer_init(&s->timer, dev->vm, CLOCK_VIRTUAL, new_period, s);
    s->quota = s->max_bytes;
    return true;
}

static void rng_unrealize(Device *dev)
{
    VirtioRng *s = virtio_rng(virtio_device(dev));

    virtio_cleanup(&s->vdev);
    timer_cancel(&s->timer);
}

static const Property rng_props[] = {
    PROP_LINK("rng", VirtioRng, rng, .link_type = "rng-backend", .type = "link<rng-backend>",
              .help = "source of random bytes; default: the kernel's"),
    PROP_U64("max-bytes", VirtioRng, max_bytes, .def = INT64_MAX, .help = "at most so many bytes in a period"),
    PROP_U32("period", VirtioRng, period_ms, .def = 1 << 16, .help = "ms"),
    {}};

static const StateField rng_fields[] = {STATE_VIRTIO(VirtioRng, vdev), {}};
static const StateDesc rng_state = {
    .name = "virtio-rng", .version = 1, .min_version = 1, .fields = rng_fields, .post_load = virtio_post_load};

static const VirtioOps rng_ops = {.device_id = VIRTIO_ID_RNG, .quiesce = quiesce};

DEVICE_TYPE(virtio_rng_device) = {
    .name = "virtio-rng-device",
    .parent = "virtio-device",
    .size = sizeof(VirtioRng),
    .category = "misc",
    .props = rng_props,
    .state = &rng_state,
    .ops = &rng_ops,
    .realize = rng_realize,
    .unrealize = rng_unrealize,
};

VIRTIO_PCI_TYPES(virtio_rng_pci, "virtio-rng", 0x1005, VIRTIO_ID_RNG, PCI_CLASS_OTHERS, "Virtio random number source", "misc",
                 NULL, NULL, NULL)
