/* SPDX-License-Identifier: GPL-2.0-or-later */
/* "virtio-device": status, features, configuration, and when queues run. */
#include "backends/iothread.h"
#include "hw/virtio/virtio.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "hw/virtio/virtqueue_int.h"
#include "util/trace.h"

#define ISR_QUEUE 1
#define ISR_CONFIG 3 /* QEMU sets both */

/* ---- messages to the main thread ------------------------------------------------------------- */

/* Lives as long as its device or a message that names it. */
struct VirtioMailbox {
    VirtioDevice *vdev; /* NULL: it has gone. VM lock */
    int refs;           /* atomic */
};

typedef struct VirtioMessage {
    VirtioMailbox *mailbox;
    void (*fn)(VirtioDevice *vdev);
} VirtioMessage;

static void mailbox_unref(VirtioMailbox *mailbox)
{
    if (g_atomic_int_dec_and_test(&mailbox->refs)) {
        g_free(mailbox);
    }
}

static void take_message(void *opaque)
{
    VirtioMessage *message = opaque;

    if (message->mailbox->vdev) {
        message->fn(message->mailbox->vdev);
    }
    mailbox_unref(message->mailbox);
    g_free(message);
}

void virtio_post_main(VirtioDevice *vdev, void (*fn)(VirtioDevice *vdev))
{
    VirtioMessage *message = g_new(VirtioMessage, 1);

    g_atomic_int_inc(&vdev->mailbox->refs);
    *message = (VirtioMessage){vdev->mailbox, fn};
    loop_post(vdev->dev.vm->loop, take_message, message);
}

void virtio_call_loop(VirtioDevice *vdev, Loop *loop, LoopFn *fn, void *opaque)
{
    if (loop == vdev->dev.vm->loop) {
        fn(opaque);
    } else {
        loop_call_locked(loop, fn, opaque);
    }
}

void virtio_call(VirtioDevice *vdev, LoopFn *fn, void *opaque) { virtio_call_loop(vdev, vdev->loop, fn, opaque); }

typedef void QueueFn(VirtQueue *vq);
typedef struct QueuesCall {
    VirtioDevice *vdev;
    QueueFn *fn;
    const Loop *loop;
} QueuesCall;

static void call_here(void *opaque)
{
    const QueuesCall *call = opaque;

    for (unsigned i = 0; i < call->vdev->n_queues; i++) {
        if (virtio_queue_loop(&call->vdev->queues[i]) == call->loop) {
            call->fn(&call->vdev->queues[i]);
        }
    }
}

/* fn of each queue, in its loop. */
static void call_queues(VirtioDevice *vdev, QueueFn *fn)
{
    const unsigned n = vdev->spread ? vdev->n_queues : MIN(vdev->n_queues, 1u);

    for (unsigned i = 0; i < n; i++) {
        Loop *loop = virtio_queue_loop(&vdev->queues[i]);
        QueuesCall call = {vdev, fn, loop};
        unsigned first = 0;

        while (virtio_queue_loop(&vdev->queues[first]) != loop) {
            first++;
        }
        if (first == i) {
            virtio_call_loop(vdev, loop, call_here, &call);
        }
    }
}

/* ---- interrupts -------------------------------------------------------------------------------- */

void virtio_notify_queue(VirtQueue *vq)
{
    VirtioDevice *vdev = vq->vdev;

    __atomic_or_fetch(&vdev->isr, ISR_QUEUE, __ATOMIC_SEQ_CST);
    vdev->transport->notify(vdev->transport_opaque, __atomic_load_n(&vq->vector, __ATOMIC_RELAXED), false);
}

void virtio_notify_config(VirtioDevice *vdev)
{
    if (!(vdev->status & VIRTIO_CONFIG_S_DRIVER_OK)) {
        return;
    }
    __atomic_or_fetch(&vdev->isr, ISR_CONFIG, __ATOMIC_SEQ_CST);
    vdev->generation++;
    vdev->transport->notify(vdev->transport_opaque, vdev->config_vector, true);
}

void virtio_kick(VirtQueue *vq) { eventfd_write(vq->kick_fd, 1); }

/* ---- broken ------------------------------------------------------------------------------------- */

static void break_in_main(VirtioDevice *vdev)
{
    if (!vdev->broken) {
        return; /* it was reset meanwhile */
    }
    virtio_update(vdev);
    if (virtio_has_feature(vdev, VIRTIO_F_VERSION_1)) {
        vdev->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
        virtio_notify_config(vdev);
    }
}

void virtio_broken(VirtioDevice *vdev, const char *fmt, ...)
{
    char text[200];
    va_list ap;

    if (__atomic_exchange_n(&vdev->broken, true, __ATOMIC_SEQ_CST)) {
        return;
    }
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    guest_error(&vdev->dev, "%s; the device needs a reset", text);
    trace(virtio_broken, "%s %s", vdev->dev.obj.type->name, text);
    virtio_post_main(vdev, break_in_main);
}

/* ---- starting and stopping ------------------------------------------------------------------------ */

static void early_end(VirtioDevice *vdev)
{
    for (unsigned i = 0; i < vdev->n_queues; i++) {
        loop_fd_remove(g_steal_pointer(&vdev->queues[i].early_source));
    }
}

static void early_kick(void *opaque, uint32_t events)
{
    VirtioDevice *vdev = opaque;

    early_end(vdev);
    vdev->started_early = true;
    virtio_update(vdev);
}

/* Old drivers read partitions before they set DRIVER_OK: the first notification starts the device then. */
static void early_begin(VirtQueue *vq)
{
    VirtioDevice *vdev = vq->vdev;

    if (vdev->use_started && !vdev->running && !vq->early_source && !virtio_has_feature(vdev, VIRTIO_F_VERSION_1)) {
        vq->early_source = loop_fd_add(vdev->dev.vm->loop, vq->kick_fd, EPOLLIN, early_kick, vdev);
    }
}

static void stop(VirtioDevice *vdev)
{
    call_queues(vdev, virtqueue_hush); /* nobody takes new buffers; what was taken goes on */
    if (vdev->ops->quiesce) {
        vdev->ops->quiesce(vdev, NULL);
    }
    virtqueue_lent_recall(vdev, NULL);
    call_queues(vdev, virtqueue_stop);
    __atomic_store_n(&vdev->kernel, false, __ATOMIC_RELAXED);
    vdev->running = false;
}

void virtio_update(VirtioDevice *vdev)
{
    const bool ready = (vdev->status & VIRTIO_CONFIG_S_DRIVER_OK) || vdev->started_early;
    const bool run = ready && vdev->vm_running && !vdev->disabled && !vdev->broken;

    if (run == vdev->running) {
        return;
    }
    trace(virtio_run, "%s run %d status 0x%02x", vdev->dev.obj.type->name, run, vdev->status);
    if (!run) {
        stop(vdev);
        return;
    }
    early_end(vdev);
    vdev->running = true;
    if (vdev->ops->start) {
        vdev->ops->start(vdev);
    }
    call_queues(vdev, virtqueue_start);
    if (vdev->ops->started) {
        vdev->ops->started(vdev);
    }
}

static void on_run_state(void *opaque, bool running, RunState state)
{
    VirtioDevice *vdev = opaque;

    if (!running && vdev->running) {
        virtqueue_lent_last_look(vdev);
    }
    vdev->vm_running = running;
    virtio_update(vdev);
}

void virtio_move(VirtioDevice *vdev, Loop *loop, LoopFn *leave, LoopFn *enter, void *opaque)
{
    if (vdev->running) {
        stop(vdev);
    }
    virtio_call(vdev, leave, opaque);
    vdev->loop = loop;
    virtio_call(vdev, enter, opaque);
    virtio_update(vdev);
}

void virtio_stay_in(VirtioDevice *vdev, Loop *loop)
{
    Object *before = vdev->loop_held;

    vdev->loop = loop;
    vdev->loop_held = iothread_hold(vdev->dev.vm, loop);
    object_unref(before);
}

void virtio_stop(VirtioDevice *vdev)
{
    if (vdev->running) {
        stop(vdev);
    }
}

void virtio_restart(VirtioDevice *vdev)
{
    if (vdev->running) {
        stop(vdev);
        virtio_update(vdev);
    }
}

/* ---- features and status --------------------------------------------------------------------------- */

static void show_queues(VirtioDevice *vdev)
{
    if (vdev->ops->count_queues) {
        vdev->n_queues = vdev->ops->count_queues(vdev, vdev->guest_features);
    }
}

void virtio_features_loaded(VirtioDevice *vdev)
{
    show_queues(vdev);
    if (vdev->ops->features_set) {
        vdev->ops->features_set(vdev);
    }
}

/* Requests that wait for a retry were taken under the features of then. */
static bool has_requests(const VirtioDevice *vdev)
{
    bool some = false;

    for (unsigned i = 0; i < vdev->n_queues; i++) {
        some |= vdev->queues[i].in_flight != 0;
    }
    return some;
}

void virtio_set_features(VirtioDevice *vdev, uint64_t features)
{
    if ((vdev->status & VIRTIO_CONFIG_S_FEATURES_OK) || vdev->running || has_requests(vdev)) {
        return; /* too late */
    }
    vdev->guest_features = features & vdev->host_features;
    show_queues(vdev);
    trace(virtio_set_features, "%s 0x%" PRIx64 " of 0x%" PRIx64, vdev->dev.obj.type->name, features, vdev->host_features);
    if (vdev->ops->features_set) {
        vdev->ops->features_set(vdev);
    }
}

void virtio_set_disabled(VirtioDevice *vdev, bool disabled)
{
    vdev->disabled = disabled && vdev->use_disabled_flag;
    if (disabled) {
        vdev->status &= (uint8_t)~VIRTIO_CONFIG_S_DRIVER_OK;
        vdev->started_early = false;
    }
    virtio_update(vdev);
}

void virtio_set_status(VirtioDevice *vdev, uint8_t status)
{
    trace(virtio_set_status, "%s 0x%02x -> 0x%02x", vdev->dev.obj.type->name, vdev->status, status);
    if (!status) {
        virtio_reset(vdev);
        return;
    }
    if (status & VIRTIO_CONFIG_S_DRIVER_OK) {
        vdev->started_early = false;
    }
    vdev->status = status;
    virtio_update(vdev);
}

void virtio_reset(VirtioDevice *vdev)
{
    const bool was_running = vdev->running;

    early_end(vdev);
    vdev->status = 0;
    vdev->started_early = false;
    if (was_running) {
        stop(vdev);
    }
    if (vdev->ops->reset) {
        vdev->ops->reset(vdev);
    }
    vdev->guest_features = 0;
    vdev->broken = vdev->disabled = false;
    vdev->queue_sel = 0;
    vdev->isr = 0;
    vdev->config_vector = VIRTIO_NO_VECTOR;
    vdev->generation = 0;
    for (unsigned i = 0; i < vdev->n_added; i++) {
        virtqueue_reset(&vdev->queues[i]);
    }
    virtio_features_loaded(vdev);
}

/* ---- configuration -------------------------------------------------------------------------------- */

uint64_t virtio_config_read(VirtioDevice *vdev, uint64_t offset, unsigned size)
{
    uint64_t value;

    if (!range_fits(offset, size, vdev->config_size)) {
        return all_ones(size);
    }
    if (vdev->ops->get_config) {
        vdev->ops->get_config(vdev);
    }
    value = load_le(vdev->config + offset, size);
    trace(virtio_config_read, "%s @0x%" PRIx64 " size %u -> 0x%" PRIx64, vdev->dev.obj.type->name, offset, size, value);
    return value;
}

void virtio_config_write(VirtioDevice *vdev, uint64_t offset, uint64_t value, unsigned size)
{
    g_autofree uint8_t *copy = NULL;

    trace(virtio_config_write, "%s @0x%" PRIx64 " size %u <- 0x%" PRIx64, vdev->dev.obj.type->name, offset, size, value);
    if (!range_fits(offset, size, vdev->config_size) || !vdev->ops->set_config) {
        return;
    }
    if (vdev->ops->get_config) {
        vdev->ops->get_config(vdev);
    }
    copy = g_memdup2(vdev->config, vdev->config_size);
    store_le(copy + offset, value, size);
    vdev->ops->set_config(vdev, copy);
}

/* ---- queues ------------------------------------------------------------------------------------------ */

VirtQueue *virtio_queue(VirtioDevice *vdev, unsigned index) { return index < vdev->n_queues ? &vdev->queues[index] : NULL; }
unsigned virtqueue_index(const VirtQueue *vq) { return vq->index; }
unsigned virtqueue_size(const VirtQueue *vq) { return vq->num_default; }
uint16_t virtio_queue_num(const VirtQueue *vq) { return vq->num; }
bool virtio_queue_enabled(const VirtQueue *vq) { return vq->enabled; }
uint16_t virtio_queue_vector(const VirtQueue *vq) { return vq->vector; }
int virtio_kick_fd(const VirtioDevice *vdev, unsigned index) { return vdev->queues[index].kick_fd; }
void virtio_queue_set_lazy(VirtQueue *vq) { vq->lazy = true; }
void virtio_queue_set_quiet(VirtQueue *vq) { vq->quiet = true; }
Loop *virtio_queue_loop(const VirtQueue *vq) { return vq->loop ? vq->loop : vq->vdev->loop; }

void virtio_queue_set_loop(VirtQueue *vq, Loop *loop)
{
    g_assert(!vq->running);
    vq->loop = loop;
    vq->vdev->spread = true;
}

VirtQueueAreas virtio_queue_areas(const VirtQueue *vq) { return (VirtQueueAreas){vq->desc, vq->avail, vq->used}; }

void virtio_call_fds_changed(VirtioDevice *vdev)
{
    if (vdev->running && vdev->ops->call_fds_changed) {
        vdev->ops->call_fds_changed(vdev);
    }
}

int virtio_call_fd(const VirtQueue *vq)
{
    const VirtioDevice *vdev = vq->vdev;

    return vdev->transport->call_fd ? vdev->transport->call_fd(vdev->transport_opaque, vq->vector) : -1;
}

void virtio_queue_set_vector(VirtQueue *vq, uint16_t vector)
{
    __atomic_store_n(&vq->vector, vector, __ATOMIC_RELAXED);
    virtio_call_fds_changed(vq->vdev);
}

/* Does somebody take buffers from it? */
static bool in_use(const VirtQueue *vq) { return vq->running || vq->kernel; }

void virtio_queue_set_num(VirtQueue *vq, uint64_t num)
{
    if (num && num <= VIRTQUEUE_MAX_SIZE && !in_use(vq)) {
        vq->num = (uint16_t)num;
    }
}

void virtio_queue_resize(VirtQueue *vq, unsigned size)
{
    g_assert(!in_use(vq) && size <= VIRTQUEUE_MAX_SIZE);
    vq->num = vq->num_default = (uint16_t)size;
}

static void start_queue(void *opaque) { virtqueue_start(opaque); }
static void hush_queue(void *opaque) { virtqueue_hush(opaque); }
static void stop_queue(void *opaque) { virtqueue_stop(opaque); }

/* Those that stop together start together, with or without this one. */
static void start_one(VirtQueue *vq)
{
    if (vq->vdev->together) {
        virtio_update(vq->vdev);
    } else if (vq->vdev->running) {
        virtio_call_loop(vq->vdev, virtio_queue_loop(vq), start_queue, vq);
    }
}

static void stop_one(VirtQueue *vq)
{
    if (vq->vdev->together) {
        if (vq->vdev->running) {
            stop(vq->vdev);
        }
    } else if (vq->running) {
        virtio_call_loop(vq->vdev, virtio_queue_loop(vq), hush_queue, vq);
        if (vq->vdev->ops->quiesce) {
            vq->vdev->ops->quiesce(vq->vdev, vq);
        }
        virtqueue_lent_recall(vq->vdev, vq);
        virtio_call_loop(vq->vdev, virtio_queue_loop(vq), stop_queue, vq);
    }
}

void virtio_queue_enable(VirtQueue *vq, VirtQueueAreas areas)
{
    if (in_use(vq)) {
        return;
    }
    stop_one(vq);
    vq->desc = areas.desc;
    vq->avail = areas.avail;
    vq->used = areas.used;
    vq->enabled = true;
    start_one(vq);
}

void virtio_queue_set_legacy(VirtQueue *vq, uint64_t addr)
{
    stop_one(vq);
    vq->desc = addr;
    vq->avail = addr + (uint64_t)vq->num * DESC_SIZE;
    vq->used = align_up(vq->avail + 4 + 2 * (vq->num + 1u), 4096);
    if (addr || vq->vdev->together) {
        start_one(vq);
    }
    if (addr) {
        early_begin(vq);
    }
}

void virtio_queue_reset(VirtQueue *vq)
{
    stop_one(vq);
    if (vq->vdev->ops->queue_reset) {
        vq->vdev->ops->queue_reset(vq->vdev, vq);
    }
    virtqueue_reset(vq);
    if (vq->vdev->together) {
        start_one(vq);
    }
}

/* ---- life ---------------------------------------------------------------------------------------------- */

void virtio_set_transport(VirtioDevice *vdev, const VirtioTransport *transport, void *opaque, Device *dma)
{
    vdev->transport = transport;
    vdev->transport_opaque = opaque;
    vdev->dma = dma;
}

void virtio_init(VirtioDevice *vdev, size_t config_size)
{
    vdev->ops = type_ops(vdev->dev.obj.type);
    vdev->loop = vdev->dev.vm->loop;
    vdev->config_size = config_size;
    vdev->config = g_malloc0(config_size + 1);
    vdev->incoming_config = g_malloc0(config_size + 1);
    vdev->config_vector = VIRTIO_NO_VECTOR;
    vdev->mailbox = g_new(VirtioMailbox, 1);
    *vdev->mailbox = (VirtioMailbox){vdev, 1};
    vdev->vm_running = run_state_is_running(vm_run_state(vdev->dev.vm));
    vm_on_run_state(vdev->dev.vm, on_run_state, vdev);
}

VirtQueue *virtio_add_queue(VirtioDevice *vdev, unsigned size, VirtQueueFn *handler, size_t request_size)
{
    const unsigned n = vdev->n_added;

    g_assert(n < VIRTIO_QUEUES_MAX && size <= VIRTQUEUE_MAX_SIZE);
    if (!vdev->queues) {
        vdev->queues = g_new0(VirtQueue, VIRTIO_QUEUES_MAX); /* they are pointed at; pages that are not used cost nothing */
    }
    virtqueue_init(&vdev->queues[n], vdev, n, (uint16_t)size, handler, request_size);
    vdev->n_queues = ++vdev->n_added;
    return &vdev->queues[n];
}

void virtio_cleanup(VirtioDevice *vdev)
{
    if (!vdev->mailbox) {
        return;
    }
    early_end(vdev);
    if (vdev->running) {
        stop(vdev);
    }
    if (vdev->ops->reset) {
        vdev->ops->reset(vdev);
    }
    vm_off_run_state(vdev->dev.vm, on_run_state, vdev);
    vdev->mailbox->vdev = NULL;
    mailbox_unref(g_steal_pointer(&vdev->mailbox));
    for (unsigned i = 0; i < vdev->n_added; i++) {
        virtqueue_free(&vdev->queues[i]);
    }
    virtqueue_lent_end(vdev);
    g_clear_pointer(&vdev->queues, g_free);
    g_clear_pointer(&vdev->config, g_free);
    vdev->n_queues = vdev->n_added = 0;
    object_unref(g_steal_pointer(&vdev->loop_held));
}

static void virtio_device_reset(Device *dev) { virtio_reset(virtio_device(dev)); }

static void virtio_finalize(Object *obj)
{
    VirtioDevice *vdev = (VirtioDevice *)(void *)obj;

    virtio_incoming_free(vdev);
    g_free(vdev->incoming_config);
}

#define FEATURE(pname, number, on, text)                                                           \
    PROP_BIT64(pname, VirtioDevice, host_features, .bit = (number), .def = (on), .help = text)

static const Property virtio_props[] = {
    FEATURE("indirect_desc", VIRTIO_RING_F_INDIRECT_DESC, 1, "buffers may be tables of descriptors"),
    FEATURE("event_idx", VIRTIO_RING_F_EVENT_IDX, 1, "each side says when it wants to be woken"),
    FEATURE("notify_on_empty", VIRTIO_F_NOTIFY_ON_EMPTY, 1, "an interrupt when a queue runs empty, for old drivers"),
    FEATURE("any_layout", VIRTIO_F_ANY_LAYOUT, 1, "requests may be cut into pieces anywhere"),
    FEATURE("iommu_platform", VIRTIO_F_ACCESS_PLATFORM, 0, "not supported: there is no IOMMU"),
    FEATURE("packed", VIRTIO_F_RING_PACKED, 0, "offer packed rings"),
    FEATURE("queue_reset", VIRTIO_F_RING_RESET, 1, "queues may be reset one by one"),
    FEATURE("in_order", VIRTIO_F_IN_ORDER, 0, "buffers come back in the order in which they were given"),
    PROP_BOOL("use-started", VirtioDevice, use_started, .def = 1, .help = "old drivers may use queues before they say so"),
    PROP_BOOL("use-disabled-flag", VirtioDevice, use_disabled_flag, .def = 1,
              .help = "no queue runs while the bus may not be mastered"),
    PROP_BOOL("x-disable-legacy-check", VirtioDevice, disable_legacy_check,
              .help = "devices that only modern drivers know may be offered to old ones too"),
    {}};

static const BusOps virtio_bus_ops = {.max_devices = 1};

KILN_TYPE(virtio_bus) = {
    .name = "virtio-bus",
    .parent = "bus",
    .abstract = true,
    .size = sizeof(Bus),
    .ops = &virtio_bus_ops,
};

DEVICE_TYPE(virtio_device) = {
    .name = "virtio-device",
    .parent = "device",
    .size = sizeof(VirtioDevice),
    .abstract = true,
    .bus = "virtio-bus",
    .not_user = "it is a part of its transport: make the -pci device",
    .props = virtio_props,
    .reset = virtio_device_reset,
    .finalize = virtio_finalize,
};
