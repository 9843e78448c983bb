/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "virtio-balloon-device": inflating and deflating, statistics, reports of free pages.
 *
 * The queues run in one thread: iothread='s, or one of Kiln's own, in which a disk may live too. So each turn is short: the
 * kernel takes a millisecond to free some ten megabytes. The main thread has the configuration and the timer of statistics; it asks
 * for new ones through stats_wanted, and takes what came from a copy, of which one message at a time tells it.
 *
 * Reports of free pages are offered unless switched off (QEMU 7.2 offers them when asked to): then there is one more queue
 * and one more feature. A guest whose driver took that feature cannot go on under a QEMU that does not offer it.
 *
 * Free page hints are for migrations, which ask for none here yet: what a driver gives unasked comes back as it is.
 */
#include "hw/virtio/virtio_balloon.h"

#include "backends/iothread.h"
#include "core/event.h"
#include "hw/mem/pc_dimm.h"
#include "hw/virtio/virtio_pci.h"
#include "qapi/qapi-memory.h"
#include "util/trace.h"

#define QUEUE_SIZE 128
#define REPORT_QUEUE_SIZE 32
#define ELEMENTS_AT_ONCE 32   /* before the loop's others have their turn */
#define TURN_NS (NSEC_PER_MSEC / 2) /* so after so long, though not before one of these is done: */
#define PFNS_AT_ONCE 512
#define REPORTED_AT_ONCE (2 * MIB)
#define CONFIG(field) offsetof(struct virtio_balloon_config, field)

static VirtioBalloon *virtio_balloon(VirtioDevice *vdev) { return container_of(vdev, VirtioBalloon, vdev); }
static bool offers(const VirtioBalloon *s, unsigned bit) { return (s->vdev.host_features >> bit) & 1; }

/* ---- for monitors --------------------------------------------------------------------------------- */

VirtioBalloon *virtio_balloon_find(Vm *vm, GError **err)
{
    for (unsigned i = 0; i < vm->devices->len; i++) {
        Device *dev = g_ptr_array_index(vm->devices, i);

        if (object_is_a(dev, "virtio-balloon-device")) {
            return virtio_balloon(virtio_device(dev));
        }
    }
    error_set_class(err, KILN_ERROR_DEVICE_NOT_ACTIVE, "No balloon device has been activated");
    return NULL;
}

static uint64_t all_memory(const VirtioBalloon *s)
{
    Vm *vm = s->vdev.dev.vm;

    return vm->ram_size + pc_dimms_size(vm, -1);
}

uint64_t virtio_balloon_memory(const VirtioBalloon *s)
{
    const uint64_t all = all_memory(s), given = (uint64_t)s->actual * BALLOON_PAGE;

    return all > given ? all - given : 0;
}

void virtio_balloon_set_target(VirtioBalloon *s, uint64_t bytes)
{
    const uint64_t all = all_memory(s);

    s->num_pages = (uint32_t)((all - MIN(bytes, all)) / BALLOON_PAGE);
    trace(virtio_balloon_target, "%u pages of 0x%" PRIx64 " bytes", s->num_pages, all);
    virtio_notify_config(&s->vdev);
}

/* ---- configuration ----------------------------------------------------------------------------------- */

static void get_config(VirtioDevice *vdev)
{
    const VirtioBalloon *s = virtio_balloon(vdev);
    uint8_t full[sizeof(struct virtio_balloon_config)] = {0};
    const uint32_t hint_status = __atomic_load_n(&s->hint_status, __ATOMIC_RELAXED);
    static const uint32_t commands[] = {VIRTIO_BALLOON_CMD_ID_STOP, 0, VIRTIO_BALLOON_CMD_ID_STOP, VIRTIO_BALLOON_CMD_ID_DONE};

    store32_le(full + CONFIG(num_pages), s->num_pages);
    store32_le(full + CONFIG(actual), s->actual);
    store32_le(full + CONFIG(free_page_hint_cmd_id), hint_status == 1 ? s->hint_id : commands[hint_status]);
    store32_le(full + CONFIG(poison_val), s->poison);
    memcpy(vdev->config, full, vdev->config_size);
}

static void set_config(VirtioDevice *vdev, const uint8_t *config)
{
    VirtioBalloon *s = virtio_balloon(vdev);
    const uint32_t actual = load32_le(config + CONFIG(actual));
    const bool poisons = virtio_has_feature(vdev, VIRTIO_BALLOON_F_PAGE_POISON);

    __atomic_store_n(&s->poison, poisons ? load32_le(config + CONFIG(poison_val)) : 0, __ATOMIC_RELAXED);
    if (actual != s->actual) {
        BalloonChangeEvent event;

        s->actual = actual;
        event.actual = (int64_t)virtio_balloon_memory(s);
        vm_emit_event(vdev->dev.vm, &qapi_event_BALLOON_CHANGE, &event);
    }
}

/* ---- in and out -------------------------------------------------------------------------------------- */

typedef void RangeFn(VirtioBalloon *s, uint64_t addr, uint64_t len);

static void give(VirtioBalloon *s, uint64_t addr, uint64_t len)
{
    const uint64_t done = balloon_pages_give(s->pages, s->vdev.dma, addr, len);

    if (done < len) {
        guest_error(&s->vdev.dev, "0x%" PRIx64 " of 0x%" PRIx64 " bytes at 0x%" PRIx64 " are no RAM to give back", len - done, len,
                    addr);
    }
}

static void take(VirtioBalloon *s, uint64_t addr, uint64_t len) { balloon_pages_take(s->pages, s->vdev.dma, addr, len); }

/* count page numbers from the start-th on, of which those of neighbours (in either order) are dealt with in one go. */
static void each_range(VirtioBalloon *s, const VirtElement *e, uint64_t start, uint64_t count, RangeFn *fn)
{
    uint64_t first = 0, n = 0;
    uint32_t raw[256];

    for (uint64_t i = 0; i < count; i++) {
        uint64_t pfn;

        if (i % G_N_ELEMENTS(raw) == 0) {
            virt_element_read(e, 4 * (start + i), raw, sizeof raw);
        }
        pfn = GUINT32_FROM_LE(raw[i % G_N_ELEMENTS(raw)]);
        if (n && pfn == first + n) {
            n++;
        } else if (n && pfn + 1 == first) {
            first--;
            n++;
        } else {
            if (n) {
                fn(s, first * BALLOON_PAGE, n * BALLOON_PAGE);
            }
            first = pfn;
            n = 1;
        }
    }
    if (n) {
        fn(s, first * BALLOON_PAGE, n * BALLOON_PAGE);
    }
}

static int64_t turn_ends(void) { return clock_monotonic_ns() + TURN_NS; }

/* The buffer that was begun, or the next one. False: there is none. */
static bool next_work(BalloonWork *work, VirtQueue *vq)
{
    if (!work->elem) {
        *work = (BalloonWork){virtqueue_pop(vq)};
    }
    return work->elem;
}

static void handle_pages(VirtioBalloon *s, VirtQueue *vq, BalloonWork *work, RangeFn *fn)
{
    const int64_t end = turn_ends();

    for (unsigned i = 0; i < ELEMENTS_AT_ONCE; i++) {
        uint64_t n;

        if (!next_work(work, vq)) {
            return;
        }
        n = MIN(PFNS_AT_ONCE, work->elem->out_size / 4 - work->done);
        each_range(s, work->elem, work->done, n, fn);
        work->done += n;
        if (work->done == work->elem->out_size / 4) {
            virtqueue_push(g_steal_pointer(&work->elem), 0);
        }
        if (clock_monotonic_ns() >= end) {
            break;
        }
    }
    virtio_kick(vq);
}

static void handle_deflate(VirtioDevice *vdev, VirtQueue *vq)
{
    handle_pages(virtio_balloon(vdev), vq, &virtio_balloon(vdev)->taking, take);
}

/* What was taken out before is looked at before. */
static void handle_inflate(VirtioDevice *vdev, VirtQueue *vq)
{
    handle_deflate(vdev, virtio_balloon(vdev)->deflate);
    handle_pages(virtio_balloon(vdev), vq, &virtio_balloon(vdev)->giving, give);
}

/* Some of a buffer that is free pages. They come back as zeros, which is not what the driver expects when it poisons them. */
static void report_some(VirtioBalloon *s, BalloonWork *work)
{
    const VirtElement *e = work->elem;

    if (work->piece < e->in_count && !__atomic_load_n(&s->poison, __ATOMIC_RELAXED)) {
        work->done = virt_element_discard(work->elem, work->piece, work->done, REPORTED_AT_ONCE);
        if (work->done == e->in[work->piece].iov_len) {
            work->done = 0;
            work->piece++;
        }
    } else {
        virtqueue_push(g_steal_pointer(&work->elem), 0);
    }
}

static void handle_reports(VirtioDevice *vdev, VirtQueue *vq)
{
    VirtioBalloon *s = virtio_balloon(vdev);
    const int64_t end = turn_ends();

    do {
        if (!next_work(&s->reporting, vq)) {
            return;
        }
        report_some(s, &s->reporting);
    } while (clock_monotonic_ns() < end);
    virtio_kick(vq);
}

/* A command id that is not the one of now stops what was going on. */
static void handle_hints(VirtioDevice *vdev, VirtQueue *vq)
{
    VirtioBalloon *s = virtio_balloon(vdev);

    for (unsigned i = 0; i < ELEMENTS_AT_ONCE; i++) {
        VirtElement *e = virtqueue_pop(vq);
        uint32_t id;

        if (!e) {
            return;
        }
        if (virt_element_read(e, 0, &id, sizeof id) == sizeof id) {
            __atomic_store_n(&s->hint_status, GUINT32_FROM_LE(id) == s->hint_id ? 2 : 0, __ATOMIC_RELAXED);
        }
        virtqueue_push(e, 0);
    }
    virtio_kick(vq);
}

/* ---- statistics ------------------------------------------------------------------------------------------ */

static void plan_poll(VirtioBalloon *s)
{
    if (s->poll_seconds) {
        timer_arm(&s->poll_timer, clock_now(s->vdev.dev.vm, CLOCK_VIRTUAL) + s->poll_seconds * NSEC_PER_SEC);
    }
}

static void poll_stats(void *opaque)
{
    VirtioBalloon *s = opaque;

    if (s->vdev.running && virtio_has_feature(&s->vdev, VIRTIO_BALLOON_F_STATS_VQ)) {
        __atomic_store_n(&s->stats_wanted, true, __ATOMIC_RELEASE);
        virtio_kick(s->stats_queue);
    }
    plan_poll(s); /* a driver that answers puts it off */
}

static void stats_came(VirtioDevice *vdev)
{
    VirtioBalloon *s = virtio_balloon(vdev);

    __atomic_store_n(&s->fresh_posted, false, __ATOMIC_SEQ_CST); /* what comes from now on is told anew */
    lock_acquire(&s->fresh_lock);
    s->stats = s->fresh;
    lock_release(&s->fresh_lock);
    plan_poll(s);
}

static void read_stats(VirtioBalloon *s, const VirtElement *e)
{
    struct virtio_balloon_stat stat;
    BalloonStats stats;

    memset(&stats, 0xff, sizeof stats);
    for (unsigned i = 0; i < QUEUE_SIZE && virt_element_read(e, i * sizeof stat, &stat, sizeof stat) == sizeof stat; i++) {
        const uint16_t tag = GUINT16_FROM_LE(stat.tag);

        if (tag < VIRTIO_BALLOON_S_NR) {
            stats.value[tag] = GUINT64_FROM_LE(stat.val);
        }
    }
    stats.time = clock_realtime_ns() / NSEC_PER_SEC;
    trace(virtio_balloon_stats, "free 0x%" PRIx64 " of 0x%" PRIx64, stats.value[VIRTIO_BALLOON_S_MEMFREE],
          stats.value[VIRTIO_BALLOON_S_MEMTOT]);
    lock_acquire(&s->fresh_lock);
    s->fresh = stats;
    lock_release(&s->fresh_lock);
    if (!__atomic_exchange_n(&s->fresh_posted, true, __ATOMIC_SEQ_CST)) {
        virtio_post_main(&s->vdev, stats_came);
    }
}

/* The buffer is kept: giving it back asks for the next statistics. */
static void handle_stats(VirtioDevice *vdev, VirtQueue *vq)
{
    VirtioBalloon *s = virtio_balloon(vdev);

    for (unsigned i = 0; i < QUEUE_SIZE; i++) {
        VirtElement *e = virtqueue_pop(vq);

        if (!e) {
            break;
        }
        if (s->stats_elem) {
            virtqueue_push(s->stats_elem, 0); /* a driver gives one only */
        }
        s->stats_elem = e;
        read_stats(s, e);
    }
    if (__atomic_exchange_n(&s->stats_wanted, false, __ATOMIC_ACQUIRE) && s->stats_elem) {
        virtqueue_push(g_steal_pointer(&s->stats_elem), 0);
    }
}

/* ---- running ---------------------------------------------------------------------------------------------- */

static void drop_stats(VirtioBalloon *s)
{
    if (s->stats_elem) {
        virtqueue_drop(g_steal_pointer(&s->stats_elem));
    }
}

static void before_start(VirtioDevice *vdev)
{
    VirtioBalloon *s = virtio_balloon(vdev);

    s->stats_again = s->stats_rewind;
    if (s->stats_rewind) {
        s->stats_rewind = false;
        virtqueue_rewind(s->stats_queue);
    }
}

static void pop_stats(void *opaque)
{
    VirtioBalloon *s = opaque;

    handle_stats(&s->vdev, s->stats_queue);
}

/* At once, so that a state that is saved next has the queue where the loaded one had it. */
static void started(VirtioDevice *vdev)
{
    VirtioBalloon *s = virtio_balloon(vdev);

    if (s->stats_again) {
        virtio_call(vdev, pop_stats, s);
        s->stats_again = false;
    }
}

typedef struct Quiesce {
    VirtioBalloon *s;
    const VirtQueue *vq;      /* NULL: all */
} Quiesce;

/* What is half done is begun anew, or it was not wanted. */
static void quiesce_here(void *opaque)
{
    const Quiesce *q = opaque;
    BalloonWork *const works[] = {&q->s->giving, &q->s->taking, &q->s->reporting};

    for (unsigned i = 0; i < G_N_ELEMENTS(works); i++) {
        if (works[i]->elem && (!q->vq || works[i]->elem->queue == q->vq)) {
            virtqueue_unpop(g_steal_pointer(&works[i]->elem));
        }
    }
}

/* In the queues' thread: when one is stopped, the others go on. */
static void quiesce(VirtioDevice *vdev, VirtQueue *vq)
{
    Quiesce q = {virtio_balloon(vdev), vq};

    virtio_call(vdev, quiesce_here, &q);
}

static void balloon_reset(VirtioDevice *vdev)
{
    VirtioBalloon *s = virtio_balloon(vdev);

    drop_stats(s);
    s->stats_rewind = s->stats_wanted = false;
    s->poison = 0;
    s->hint_status = 0;
    balloon_pages_forget(s->pages);
}

static void queue_reset(VirtioDevice *vdev, VirtQueue *vq)
{
    if (vq == virtio_balloon(vdev)->stats_queue) {
        drop_stats(virtio_balloon(vdev));
    }
}

/* ---- life ---------------------------------------------------------------------------------------------------- */

static size_t config_size(const VirtioBalloon *s)
{
    if (s->full_config || offers(s, VIRTIO_BALLOON_F_PAGE_POISON)) {
        return sizeof(struct virtio_balloon_config);
    }
    return offers(s, VIRTIO_BALLOON_F_FREE_PAGE_HINT) ? CONFIG(poison_val) : CONFIG(free_page_hint_cmd_id);
}

/* Handlers leave what they have no time for, and nobody waits busily for a balloon. */
static VirtQueue *add_queue(VirtioBalloon *s, unsigned size, VirtQueueFn *handler)
{
    VirtQueue *vq = virtio_add_queue(&s->vdev, size, handler, sizeof(VirtElement));

    virtio_queue_set_lazy(vq);
    return vq;
}

static bool balloon_realize(Device *dev, GError **err)
{
    VirtioDevice *vdev = virtio_device(dev);
    VirtioBalloon *s = virtio_balloon(vdev);

    if (virtio_balloon_find(dev->vm, NULL)) {
        return error_set(err, "Only one balloon device is supported");
    }
    if (offers(s, VIRTIO_BALLOON_F_FREE_PAGE_HINT) && !s->iothread) {
        return error_set(err, "'free-page-hint' requires 'iothread' to be set");
    }
    vdev->host_features |= 1u << VIRTIO_BALLOON_F_STATS_VQ;
    s->pages = balloon_pages_new();
    lock_init(&s->fresh_lock, "virtio-balloon's statistics", LOCK_RANK_LEAF);
    virtio_init(vdev, config_size(s));
    vdev->loop = s->iothread ? ((IoThread *)(void *)s->iothread)->loop : iothread_own_guest_loop(dev->vm, NULL);
    vdev->loop = vdev->loop ? vdev->loop : dev->vm->loop;
    s->inflate = add_queue(s, QUEUE_SIZE, handle_inflate);
    s->deflate = add_queue(s, QUEUE_SIZE, handle_deflate);
    s->stats_queue = add_queue(s, QUEUE_SIZE, handle_stats);
    if (offers(s, VIRTIO_BALLOON_F_FREE_PAGE_HINT)) {
        s->hints = add_queue(s, VIRTQUEUE_MAX_SIZE, handle_hints);
    }
    if (offers(s, VIRTIO_BALLOON_F_REPORTING)) {
        s->reports = add_queue(s, REPORT_QUEUE_SIZE, handle_reports);
    }
    memset(s->stats.value, 0xff, sizeof s->stats.value);
    timer_init(&s->poll_timer, dev->vm, CLOCK_VIRTUAL, poll_stats, s);
    plan_poll(s);
    return true;
}

static void balloon_unrealize(Device *dev)
{
    VirtioBalloon *s = virtio_balloon(virtio_device(dev));

    virtio_cleanup(&s->vdev);
    timer_cancel(&s->poll_timer);
    lock_destroy(&s->fresh_lock);
    g_clear_pointer(&s->pages, balloon_pages_free);
}

static void balloon_finalize(Object *obj) { g_free(virtio_balloon(virtio_device((Device *)(void *)obj))->loaded); }

/* ---- what users and managers see ------------------------------------------------------------------------------ */

static bool set_polling(Object *obj, const Property *prop, void *field, const char *text, GError **err)
{
    VirtioBalloon *s = virtio_balloon(virtio_device((Device *)(void *)obj));
    const bool was_on = s->poll_seconds;
    char *end;
    int64_t value;

    errno = 0;
    value = g_ascii_strtoll(text, &end, 0);
    if (!*text || *end || errno) {
        return error_set(err, "Parameter '%s' expects a number of seconds; got '%s'", prop->name, text);
    }
    if (value < 0 || value > UINT32_MAX) {
        return error_set(err, value < 0 ? "timer value must be greater than zero" : "timer value is too big");
    }
    s->poll_seconds = value;
    if (s->vdev.dev.realized) {
        timer_cancel(&s->poll_timer);
        if (value && !was_on) {
            poll_stats(s); /* the first ones at once */
        } else {
            plan_poll(s);
        }
    }
    return true;
}

static json_object *get_polling(Object *obj, const Property *prop, const void *field)
{
    return json_object_new_int64(*(const int64_t *)field);
}

static json_object *get_stats(Object *obj, const Property *prop, const void *field)
{
    const VirtioBalloon *s = virtio_balloon(virtio_device((Device *)(void *)obj));
    static const char *const names[VIRTIO_BALLOON_S_NR] = {
        "stat-swap-in",      "stat-swap-out",    "stat-major-faults",     "stat-minor-faults", "stat-free-memory",
        "stat-total-memory", "stat-available-memory", "stat-disk-caches", "stat-htlb-pgalloc", "stat-htlb-pgfail"};
    json_object *all = json_object_new_object(), *stats = json_object_new_object();

    for (unsigned i = 0; i < VIRTIO_BALLOON_S_NR; i++) {
        json_object_object_add(stats, names[i], json_object_new_uint64(s->stats.value[i]));
    }
    json_object_object_add(all, "stats", stats);
    json_object_object_add(all, "last-update", json_object_new_int64(s->stats.time));
    return all;
}

static const PropKind prop_kind_polling = {.type = "int", .json = json_type_int, .set = set_polling, .get = get_polling};
static const PropKind prop_kind_stats = {.type = "guest statistics", .json = json_type_null, .get = get_stats};

#define FEATURE(pname, number, on, text)                                                           \
    PROP_BIT64(pname, VirtioBalloon, vdev.host_features, .bit = (number), .def = (on), .help = text)

static const Property balloon_props[] = {
    FEATURE("deflate-on-oom", VIRTIO_BALLOON_F_DEFLATE_ON_OOM, 0, "the guest takes pages back when it runs out of memory"),
    FEATURE("free-page-hint", VIRTIO_BALLOON_F_FREE_PAGE_HINT, 0, "the guest names free pages for a migration; needs iothread="),
    FEATURE("page-poison", VIRTIO_BALLOON_F_PAGE_POISON, 1, "the guest says what it fills free pages with"),
    FEATURE("free-page-reporting", VIRTIO_BALLOON_F_REPORTING, 1,
            "free pages of the guest go back to the host by themselves (QEMU: off unless asked for)"),
    PROP_BOOL("qemu-4-0-config-size", VirtioBalloon, full_config, .help = "all fields of the configuration, used or not"),
    PROP_LINK("iothread", VirtioBalloon, iothread, .link_type = "iothread", .type = "link<iothread>",
              .help = "thread of its queues; default: one of Kiln's own"),
    PROP_ANY("guest-stats-polling-interval", &prop_kind_polling, VirtioBalloon, poll_seconds, .anytime = true,
             .help = "seconds between two questions for statistics; 0: none"),
    PROP_ANY("guest-stats", &prop_kind_stats, VirtioBalloon, stats.value, .read_only = true, .help = "the guest's statistics"),
    {}};

static const StateField balloon_fields[] = {STATE_VIRTIO(VirtioBalloon, vdev), {}};
static const StateDesc balloon_state = {
    .name = "virtio-balloon", .version = 1, .min_version = 1, .fields = balloon_fields, .post_load = virtio_post_load};

static const VirtioOps balloon_ops = {
    .device_id = VIRTIO_ID_BALLOON,
    .fewer_queues = true, /* of QEMU's, where reports are off unless asked for */
    .get_config = get_config,
    .set_config = set_config,
    .start = before_start,
    .started = started,
    .quiesce = quiesce,
    .reset = balloon_reset,
    .queue_reset = queue_reset,
    .save = virtio_balloon_save,
    .load = virtio_balloon_load,
    .take_loaded = virtio_balloon_take_loaded,
};

DEVICE_TYPE(virtio_balloon_device) = {
    .name = "virtio-balloon-device",
    .parent = "virtio-device",
    .size = sizeof(VirtioBalloon),
    .category = "misc",
    .props = balloon_props,
    .state = &balloon_state,
    .ops = &balloon_ops,
    .realize = balloon_realize,
    .unrealize = balloon_unrealize,
    .finalize = balloon_finalize,
};

/* ---- on PCI ------------------------------------------------------------------------------------------------------ */

static unsigned pci_vectors(const VirtioPci *pci) { return 0; } /* as QEMU's: INTx */

VIRTIO_PCI_TYPES(virtio_balloon_pci, "virtio-balloon", 0x1002, VIRTIO_ID_BALLOON, PCI_CLASS_OTHERS, "Virtio memory balloon", "misc",
                 NULL, pci_vectors, NULL)
