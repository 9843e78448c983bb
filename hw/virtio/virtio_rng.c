/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "virtio-rng-device" (Virtual I/O Device 1.2, 5.4): buffers are filled with random bytes of an rng-* object, at most
 * max-bytes in each period.
 *
 * The queue runs in one of Kiln's own threads, as a guest of the disks and cards there, so a turn is short; rng-builtin and
 * rng-random are read there. rng-egd is behind a character device, which lives in the main loop: to that the queue lends its
 * buffers then. Timers of the guest's time are the main thread's; a message asks for one.
 */
#include "backends/iothread.h"
#include "backends/rng.h"
#include "core/clock.h"
#include "hw/virtio/virtio_pci.h"

#include <sys/epoll.h>

#define QUEUE_SIZE 8
#define REQUEST_MAX (64 * KIB)
#define TURN_NS (NSEC_PER_MSEC / 2) /* then, behind a buffer, the loop's others have their turn */
#define CHUNK 4096
#define LENT_MAX 2 /* one is being filled */

/* Of the thread that has the buffers (the queue's, or the main loop), unless said otherwise. */
typedef struct VirtioRng {
    VirtioDevice vdev;
    VirtQueue *vq;
    Object *rng;              /* property: rng-backend */
    Object *own_rng;          /* made when the user named none */
    uint64_t max_bytes;       /* in a period */
    uint32_t period_ms;
    uint64_t quota;           /* bytes left of this period */
    int64_t period_end;       /* ns of the virtual clock; 0: it begins with the next request */
    int64_t wake_at;          /* atomic; for the main thread's timer */
    bool wake_posted;         /* atomic; the message that says so is on its way */
    Timer timer;              /* VM lock */
    VirtElement *elem;        /* being filled; NULL: none */
    LoopFd *source;           /* its bytes are to come from there; NULL: nowhere */
} VirtioRng;

static VirtioRng *virtio_rng(VirtioDevice *vdev) { return container_of(vdev, VirtioRng, vdev); }
static RngBackend *backend(const VirtioRng *s) { return (RngBackend *)(void *)(s->rng ? s->rng : s->own_rng); }

/* ---- the limit ------------------------------------------------------------------------------------ */

static void wake(void *opaque) { virtqueue_again(((VirtioRng *)opaque)->vq); }

static void arm(VirtioDevice *vdev)
{
    VirtioRng *s = virtio_rng(vdev);

    __atomic_store_n(&s->wake_posted, false, __ATOMIC_SEQ_CST); /* a later end comes with a message of its own */
    timer_arm(&s->timer, __atomic_load_n(&s->wake_at, __ATOMIC_SEQ_CST));
}

/* May bytes be given now? Else the queue is kicked when they may. */
static bool has_quota(VirtioRng *s)
{
    const int64_t now = clock_now(s->vdev.dev.vm, CLOCK_VIRTUAL), period = s->period_ms * NSEC_PER_MSEC;

    if (s->period_end && (now >= s->period_end || s->period_end > now + period)) { /* the latter: a state set the clock back */
        s->quota = s->max_bytes;
        s->period_end = 0;
    }
    if (!s->quota && s->period_end) {
        __atomic_store_n(&s->wake_at, s->period_end, __ATOMIC_SEQ_CST);
        if (!__atomic_exchange_n(&s->wake_posted, true, __ATOMIC_SEQ_CST)) {
            virtio_post_main(&s->vdev, arm);
        }
    }
    if (s->quota && !s->period_end) {
        s->period_end = now + period;
    }
    return s->quota;
}

/* ---- buffers -------------------------------------------------------------------------------------- */

static uint64_t wanted(const VirtioRng *s) { return MIN(MIN(s->elem->in_size, s->quota), REQUEST_MAX); }

static void give(VirtioRng *s, uint64_t len)
{
    s->quota -= len;
    virtqueue_push(g_steal_pointer(&s->elem), len);
}

static void readable(void *opaque, uint32_t events);

/* Reads what there is; what comes may fill the buffer partly, which the driver expects. False: there is none yet. */
static bool fill(VirtioRng *s)
{
    const uint64_t size = wanted(s);
    uint64_t done = 0;
    ssize_t n = 0;
    uint8_t data[CHUNK];

    while (done < size) {
        n = rng_read(backend(s), data, MIN(size - done, sizeof data));
        if (n <= 0) {
            break;
        }
        done += virt_element_write(s->elem, done, data, (size_t)n);
    }
    if (done) {
        give(s, done);
    } else if (n == 0) {
        s->source = loop_fd_add(virtio_queue_loop(s->vq), rng_fd(backend(s)), EPOLLIN, readable, s);
    }
    return done > 0;
}

static void readable(void *opaque, uint32_t events)
{
    VirtioRng *s = opaque;

    loop_fd_remove(g_steal_pointer(&s->source));
    if (fill(s)) {
        virtqueue_again(s->vq); /* there may be more */
    }
}

static void got_bytes(void *opaque, const uint8_t *data, size_t len)
{
    VirtioRng *s = opaque;

    if (s->elem) {
        give(s, virt_element_write(s->elem, 0, data, MIN(len, s->quota)));
        virtqueue_again(s->vq);
    }
}

/* One buffer at a time. */
static void handle(VirtioDevice *vdev, VirtQueue *vq)
{
    VirtioRng *s = virtio_rng(vdev);
    const int64_t end = clock_monotonic_ns() + TURN_NS;

    while (!s->elem && has_quota(s)) {
        s->elem = virtqueue_pop(vq);
        if (!s->elem) {
            return;
        }
        if (!wanted(s)) {
            virtqueue_push(g_steal_pointer(&s->elem), 0);
        } else if (rng_can_read(backend(s))) {
            fill(s);
        } else {
            rng_request(backend(s), wanted(s), got_bytes, s);
        }
        if (clock_monotonic_ns() >= end) { /* buffers may be tiny, have no room at all, and never end */
            virtqueue_again(vq);
            return;
        }
    }
}

/* The buffer goes back unfilled: there is nothing to be kept, and the driver asks again. */
static void give_back(void *opaque)
{
    VirtioRng *s = opaque;

    loop_fd_remove(g_steal_pointer(&s->source));
    if (s->elem && !rng_can_read(backend(s))) {
        rng_cancel(backend(s), s);
    }
    if (s->elem) {
        give(s, 0);
    }
}

static void quiesce(VirtioDevice *vdev, VirtQueue *vq)
{
    VirtioRng *s = virtio_rng(vdev);

    if (rng_can_read(backend(s))) {
        virtio_call(vdev, give_back, s);
    } else {
        give_back(s);
    }
}

/* ---- life ----------------------------------------------------------------------------------------- */

static bool rng_realize(Device *dev, GError **err)
{
    VirtioDevice *vdev = virtio_device(dev);
    VirtioRng *s = virtio_rng(vdev);
    Loop *loop;

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
    loop = iothread_own_guest_loop(dev->vm, err);
    if (!loop) {
        return false;
    }
    virtio_init(vdev, 0);
    vdev->loop = loop;
    s->vq = virtio_add_queue(vdev, QUEUE_SIZE, handle, sizeof(VirtElement));
    if (rng_can_read(backend(s))) {
        virtio_queue_set_lazy(s->vq);
    } else {
        virtio_queue_lend(s->vq, LENT_MAX);
    }
    timer_init(&s->timer, dev->vm, CLOCK_VIRTUAL, wake, s);
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
