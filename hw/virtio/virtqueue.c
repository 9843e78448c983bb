/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What both forms of rings share: their areas in host memory, buffers and their pieces, order, waking and interrupts.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "hw/virtio/balloon_pages.h"
#include "hw/virtio/virtqueue_int.h"
#include "util/trace.h"

#define FREE_ELEMS_MAX 128
#define DISCARD_ALIGN (2 * MIB) /* so that no huge page is cut in two */
#define ROUNDS_MAX 16 /* of the handler, before the loop's others have their turn */
#define ROUNDS_TIME (2 * NSEC_PER_MSEC) /* after so long, no round begins before that either */
#define SHORT_ROUNDS_TIME (NSEC_PER_MSEC / 4) /* in the main loop, which has the VM lock meanwhile; of quiet queues */

/* ---- areas ----------------------------------------------------------------------------------- */

static void unmap_areas(VirtQueue *vq)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(vq->areas); i++) {
        ram_block_unref(vq->areas[i].block);
        vq->areas[i] = (RingArea){0};
    }
    vq->mapped = false;
}

static bool map_area(VirtQueue *vq, DmaWindow *w, unsigned i, uint64_t addr, uint64_t len, bool to_guest, uint64_t align)
{
    RingArea *area = &vq->areas[i];
    RamBlock *block;
    uint64_t n;
    uint8_t *host = addr % align || addr + len < addr ? NULL : dma_window_get(w, addr, len, to_guest, &n, &block);

    if (!host || n < len) {
        static const char *const names[] = {"descriptors", "available ring", "used ring"};

        virtio_broken(vq->vdev, "queue %u: the %s at 0x%" PRIx64 " (%" PRIu64 " bytes) %s", vq->index, names[i], addr, len,
                      addr % align ? "are not aligned" : "do not lie in RAM");
        return false;
    }
    *area = (RingArea){host, ram_block_ref(block), (uint64_t)(host - block->host)};
    return true;
}

/* Positions in a packed ring are indexes: a driver that has made the ring smaller, or a state, can leave them outside. */
static bool position_ok(VirtQueue *vq)
{
    if (vq->last_avail < vq->num && vq->used_idx < vq->num && vq->slots_in_flight <= vq->num) {
        return true;
    }
    virtio_broken(vq->vdev, "queue %u: it is at %u and %u with %u in flight, and has %u descriptors", vq->index, vq->last_avail,
                  vq->used_idx, vq->slots_in_flight, vq->num);
    return false;
}

static bool map_areas(VirtQueue *vq)
{
    const bool packed = virtio_has_feature(vq->vdev, VIRTIO_F_RING_PACKED);
    const bool event = virtio_has_feature(vq->vdev, VIRTIO_RING_F_EVENT_IDX);
    const unsigned num = vq->num;
    DmaWindow w;
    bool ok;

    unmap_areas(vq);
    if (packed && !position_ok(vq)) {
        return false;
    }
    vq->map_generation = __atomic_load_n(&vq->vdev->dma->dma_as->generation, __ATOMIC_ACQUIRE);
    dma_enter(&w, vq->vdev->dma);
    if (packed) {
        ok = map_area(vq, &w, 0, vq->desc, (uint64_t)num * DESC_SIZE, true, 16) && map_area(vq, &w, 1, vq->avail, 4, false, 4) &&
             map_area(vq, &w, 2, vq->used, 4, true, 4);
    } else {
        ok = map_area(vq, &w, 0, vq->desc, (uint64_t)num * DESC_SIZE, false, 16) &&
             map_area(vq, &w, 1, vq->avail, 4 + 2 * num + (event ? 2 : 0), false, 2) &&
             map_area(vq, &w, 2, vq->used, 4 + 8 * num + (event ? 2 : 0), true, 4);
    }
    dma_leave(&w);
    if (!ok) {
        unmap_areas(vq);
        return false;
    }
    vq->ops = packed ? &virtqueue_packed_ops : &virtqueue_split_ops;
    vq->mapped = true;
    return true;
}

/* Can the ring be used now? */
static bool ring_ready(VirtQueue *vq)
{
    const Device *dma = vq->vdev->dma;

    if (__atomic_load_n(&vq->vdev->broken, __ATOMIC_RELAXED) || !vq->running ||
        __atomic_load_n(&dma->dma_off, __ATOMIC_RELAXED)) {
        return false;
    }
    return (vq->mapped && vq->map_generation == __atomic_load_n(&dma->dma_as->generation, __ATOMIC_ACQUIRE)) || map_areas(vq);
}

bool virtqueue_map(VirtQueue *vq) { return map_areas(vq); }
void virtqueue_unmap(VirtQueue *vq) { unmap_areas(vq); }

bool virtqueue_is_ready(const VirtQueue *vq)
{
    return vq->num && vq->desc && (vq->enabled || !virtio_has_feature(vq->vdev, VIRTIO_F_VERSION_1));
}

/* ---- buffers ----------------------------------------------------------------------------------- */

static VirtElement *elem_new(VirtQueue *vq)
{
    VirtElement *e = vq->free_elems;

    if (e) {
        vq->free_elems = e->next;
        vq->n_free--;
    } else {
        e = g_malloc(vq->request_size);
        e->capacity = VIRTQUEUE_INLINE_PIECES;
        e->iov = e->inline_iov;
        e->addrs = e->inline_addrs;
        e->block = NULL;
        e->more_blocks = NULL;
        e->queue = vq;
    }
    e->out_count = e->in_count = 0;
    e->out_size = e->in_size = 0;
    e->slots = 0;
    e->done = false;
    e->next = NULL;
    return e;
}

static void elem_destroy(VirtElement *e)
{
    if (e->iov != e->inline_iov) {
        g_free(e->iov);
        g_free(e->addrs);
    }
    g_free(e);
}

static void unpin(void *block) { ram_block_unref(block); }

static void elem_free(VirtQueue *vq, VirtElement *e)
{
    ram_block_unref(g_steal_pointer(&e->block));
    g_clear_pointer(&e->more_blocks, g_ptr_array_unref);
    if (vq->n_free == FREE_ELEMS_MAX) {
        elem_destroy(e);
        return;
    }
    e->next = vq->free_elems;
    vq->free_elems = e;
    vq->n_free++;
}

static void pin(VirtElement *e, RamBlock *block)
{
    if (e->block == block) {
        return;
    }
    if (!e->block) {
        e->block = ram_block_ref(block);
        return;
    }
    if (!e->more_blocks) {
        e->more_blocks = g_ptr_array_new_with_free_func(unpin);
    }
    if (!g_ptr_array_find(e->more_blocks, block, NULL)) {
        g_ptr_array_add(e->more_blocks, ram_block_ref(block));
    }
}

static void grow(VirtElement *e)
{
    const size_t n = e->capacity;
    struct iovec *iov = g_new(struct iovec, n * 4);
    uint64_t *addrs = g_new(uint64_t, n * 4);

    memcpy(iov, e->iov, n * sizeof *iov);
    memcpy(addrs, e->addrs, n * sizeof *addrs);
    if (e->iov != e->inline_iov) {
        g_free(e->iov);
        g_free(e->addrs);
    }
    e->iov = iov;
    e->addrs = addrs;
    e->capacity *= 4;
}

bool virtqueue_add_piece(VirtQueue *vq, DmaWindow *w, VirtElement *e, const VirtDesc *desc)
{
    const bool to_guest = desc->flags & DESC_WRITE;
    uint64_t addr = desc->addr, left = desc->len;

    if (!left || addr + left < addr) {
        virtio_broken(vq->vdev, "queue %u: a descriptor of %u bytes at 0x%" PRIx64, vq->index, desc->len, addr);
        return false;
    }
    if (!to_guest && e->in_count) {
        virtio_broken(vq->vdev, "queue %u: a buffer to be read follows one to be written", vq->index);
        return false;
    }
    while (left) {
        RamBlock *block;
        uint64_t n;
        uint8_t *host = dma_window_get(w, addr, left, to_guest, &n, &block);
        const unsigned at = e->out_count + e->in_count;

        if (!host || at == VIRTQUEUE_MAX_SIZE) {
            virtio_broken(vq->vdev, host ? "queue %u: a buffer of more than 1024 pieces (0x%" PRIx64 ")"
                                         : "queue %u: a descriptor points at 0x%" PRIx64 ", where no RAM is", vq->index, addr);
            return false;
        }
        if (at == e->capacity) {
            grow(e);
        }
        pin(e, block);
        e->iov[at] = (struct iovec){host, n};
        e->addrs[at] = addr;
        *(to_guest ? &e->in_count : &e->out_count) += 1;
        *(to_guest ? &e->in_size : &e->out_size) += n;
        addr += n;
        left -= n;
    }
    return true;
}

unsigned virtqueue_indirect_count(VirtQueue *vq, const VirtDesc *table)
{
    if (!table->len || table->len % DESC_SIZE || table->addr + table->len < table->addr) {
        virtio_broken(vq->vdev, "queue %u: an indirect table of %u bytes at 0x%" PRIx64, vq->index, table->len, table->addr);
        return 0;
    }
    return table->len / DESC_SIZE;
}

bool virtqueue_read_indirect(VirtQueue *vq, DmaWindow *w, const VirtDesc *table, unsigned i, bool packed, VirtDesc *desc)
{
    uint8_t raw[DESC_SIZE];

    for (unsigned done = 0; done < DESC_SIZE;) {
        uint64_t addr = table->addr + (uint64_t)i * DESC_SIZE + done, n;
        RamBlock *block;
        const uint8_t *host = dma_window_get(w, addr, DESC_SIZE - done, false, &n, &block);

        if (!host) {
            virtio_broken(vq->vdev, "queue %u: an indirect table at 0x%" PRIx64 ", where no RAM is", vq->index, addr);
            return false;
        }
        memcpy(raw + done, host, n);
        done += (unsigned)n;
    }
    *desc = desc_decode(raw, packed);
    if (desc->flags & DESC_INDIRECT) {
        virtio_broken(vq->vdev, "queue %u: an indirect table inside an indirect table", vq->index);
        return false;
    }
    return true;
}

static void elem_ready(VirtQueue *vq, VirtElement *e)
{
    e->out = e->iov;
    e->in = e->iov + e->out_count;
    vq->in_flight++;
    vq->slots_in_flight += e->slots;
    if (virtio_has_feature(vq->vdev, VIRTIO_F_IN_ORDER)) {
        *vq->order_tail = e;
        vq->order_tail = &e->next;
    }
}

VirtElement *virtqueue_ring_pop(VirtQueue *vq)
{
    VirtElement *e;
    DmaWindow w;
    bool ok;

    if (vq->hushed || !vq->budget || !ring_ready(vq) || vq->ops->is_empty(vq)) {
        return NULL;
    }
    if (vq->in_flight >= vq->num) {
        virtio_broken(vq->vdev, "queue %u: more than %u requests at once", vq->index, vq->num);
        return NULL;
    }
    e = elem_new(vq);
    dma_enter(&w, vq->vdev->dma);
    ok = vq->ops->pop(vq, &w, e);
    dma_leave(&w);
    if (!ok) {
        elem_free(vq, e);
        return NULL;
    }
    elem_ready(vq, e);
    vq->budget -= vq->budget != VIRTQUEUE_NO_BUDGET;
    trace(virtqueue_pop, "%s queue %u id %u out %u in %u", vq->vdev->dev.obj.type->name, vq->index, e->id, e->out_count,
          e->in_count);
    return e;
}

VirtElement *virtqueue_adopt(VirtQueue *vq, uint16_t id, uint16_t slots, const uint64_t *addrs, const uint64_t *lens,
                             unsigned out_count, unsigned in_count, GError **err)
{
    VirtElement *e = elem_new(vq);
    Device probe = *vq->vdev->dma;
    DmaWindow w;

    probe.dma_off = false; /* its command register may not be loaded yet */
    dma_enter(&w, &probe);
    for (unsigned i = 0; i < out_count + in_count; i++) {
        uint64_t n;
        RamBlock *block;
        uint8_t *host = lens[i] ? dma_window_get(&w, addrs[i], lens[i], i >= out_count, &n, &block) : NULL;

        if (!host || n != lens[i] || i == VIRTQUEUE_MAX_SIZE) {
            dma_leave(&w);
            elem_free(vq, e);
            error_set(err, "a request names 0x%" PRIx64 " (%" PRIu64 " bytes), where no RAM is", addrs[i], lens[i]);
            return NULL;
        }
        if (i == e->capacity) {
            grow(e);
        }
        pin(e, block);
        e->iov[i] = (struct iovec){host, n};
        e->addrs[i] = addrs[i];
        *(i < out_count ? &e->out_size : &e->in_size) += n;
    }
    dma_leave(&w);
    e->id = id;
    e->slots = slots;
    e->out_count = out_count;
    e->in_count = in_count;
    elem_ready(vq, e);
    return e;
}

/* ---- giving back ----------------------------------------------------------------------------- */

static const RamBlock *block_of(const VirtElement *e, const uint8_t *host)
{
    const RamBlock *block = e->block;

    for (unsigned i = 0; host < block->host || host >= block->host + block->size; i++) {
        block = g_ptr_array_index(e->more_blocks, i);
    }
    return block;
}

static void mark_dirty(const VirtElement *e, uint64_t written)
{
    for (unsigned i = 0; i < e->in_count && written; i++) {
        const uint64_t n = MIN(written, e->in[i].iov_len);
        RamBlock *block = (RamBlock *)(uintptr_t)block_of(e, e->in[i].iov_base);

        ram_block_set_dirty(block, (uint64_t)((uint8_t *)e->in[i].iov_base - block->host), n);
        written -= n;
    }
}

static void flush_now(void *opaque)
{
    VirtQueue *vq = opaque;

    vq->flush_armed = false;
    virtqueue_flush(vq);
}

static void put_used(VirtQueue *vq, VirtElement *e)
{
    if (vq->running && ring_ready(vq)) {
        vq->ops->put_used(vq, e);
        vq->unpublished++;
    }
    vq->in_flight--;
    vq->slots_in_flight -= e->slots;
    elem_free(vq, e);
}

static void put_in_order(VirtQueue *vq)
{
    while (vq->order_head && vq->order_head->done) {
        VirtElement *e = vq->order_head;

        vq->order_head = e->next;
        if (!vq->order_head) {
            vq->order_tail = &vq->order_head;
        }
        put_used(vq, e);
    }
}

void virtqueue_ring_push(VirtElement *e, uint64_t written)
{
    VirtQueue *vq = e->queue;

    trace(virtqueue_push, "%s queue %u id %u written %" PRIu64, vq->vdev->dev.obj.type->name, vq->index, e->id, written);
    e->written = (uint32_t)MIN(written, MIN(e->in_size, UINT32_MAX));
    mark_dirty(e, written);
    if (virtio_has_feature(vq->vdev, VIRTIO_F_IN_ORDER)) {
        e->done = true;
        put_in_order(vq);
    } else {
        put_used(vq, e);
    }
    if (!vq->flush_armed && vq->flush_timer && vq->unpublished) {
        vq->flush_armed = true;
        loop_timer_arm(vq->flush_timer, 0);
    }
}

void virtqueue_ring_drop(VirtElement *e)
{
    VirtQueue *vq = e->queue;

    if (virtio_has_feature(vq->vdev, VIRTIO_F_IN_ORDER)) {
        for (VirtElement **p = &vq->order_head; *p; p = &(*p)->next) {
            if (*p == e) {
                *p = e->next;
                vq->order_tail = *p ? vq->order_tail : p;
                break;
            }
        }
    }
    vq->in_flight--;
    vq->slots_in_flight -= e->slots;
    elem_free(vq, e);
    put_in_order(vq); /* those that waited for it */
}

void virtqueue_ring_unpop(VirtElement *e)
{
    VirtQueue *vq = e->queue;

    vq->ops->unpop(vq, e);
    vq->budget += vq->budget != VIRTQUEUE_NO_BUDGET;
    virtqueue_ring_drop(e);
}

VirtElement *virtqueue_pop(VirtQueue *vq) { return vq->lent ? virtqueue_lent_pop(vq) : virtqueue_ring_pop(vq); }

void virtqueue_push(VirtElement *e, uint64_t written)
{
    (e->queue->lent ? virtqueue_lent_push : virtqueue_ring_push)(e, written);
}

void virtqueue_drop(VirtElement *e) { (e->queue->lent ? virtqueue_lent_drop : virtqueue_ring_drop)(e); }
void virtqueue_unpop(VirtElement *e) { (e->queue->lent ? virtqueue_lent_unpop : virtqueue_ring_unpop)(e); }
void virtqueue_again(VirtQueue *vq) { (vq->lent ? virtqueue_lent_again : virtio_kick)(vq); }

void virtqueue_flush(VirtQueue *vq)
{
    if (!vq->unpublished || !ring_ready(vq)) {
        return;
    }
    vq->unpublished = 0;
    vq->ops->publish(vq);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* before the driver's wish is read */
    if (vq->ops->wants_interrupt(vq)) {
        trace(virtqueue_interrupt, "%s queue %u", vq->vdev->dev.obj.type->name, vq->index);
        virtio_notify_queue(vq);
    }
}

bool virtqueue_is_empty(VirtQueue *vq) { return !ring_ready(vq) || vq->ops->is_empty(vq); }
bool virtqueue_takes(const VirtQueue *vq) { return vq->running && !vq->hushed; }
unsigned virtqueue_in_flight(const VirtQueue *vq) { return vq->in_flight; }

size_t virt_element_write(VirtElement *e, uint64_t offset, const void *buf, size_t len)
{
    return iov_from_buf(e->in, e->in_count, offset, buf, len);
}

size_t virt_element_read(const VirtElement *e, uint64_t offset, void *buf, size_t len)
{
    return iov_to_buf(e->out, e->out_count, offset, buf, len);
}

uint64_t virt_element_discard(VirtElement *e, unsigned i, uint64_t at, uint64_t max)
{
    RamBlock *block = (RamBlock *)(uintptr_t)block_of(e, e->in[i].iov_base);
    const uint64_t base = (uint64_t)((uint8_t *)e->in[i].iov_base - block->host), end = base + e->in[i].iov_len;
    const uint64_t next = MIN(end, align_up(base + at + max, MAX(block->page, DISCARD_ALIGN)));

    balloon_block_discard(block, base + at, next - (base + at));
    return next - base;
}

void virtqueue_rewind(VirtQueue *vq)
{
    vq->last_avail = vq->shadow_avail = vq->used_idx;
    vq->avail_wrap = vq->used_wrap;
}

/* ---- waking ------------------------------------------------------------------------------------ */

/*
 * A driver on another processor can add buffers as fast as the handler takes them; so it gets no more than the ring holds,
 * and others have their turn. False: it may have left some for that reason.
 */
static bool call_handler(VirtQueue *vq)
{
    bool done;

    vq->budget = vq->num;
    vq->handler(vq->vdev, vq);
    done = vq->budget;
    vq->budget = VIRTQUEUE_NO_BUDGET;
    return done;
}

/*
 * A queue whose buffers wait for something else than the driver: it says so each time, and is asked once. A handler that
 * left nothing is asked again about what came before the event index followed.
 */
static void run_lazy(VirtQueue *vq)
{
    bool was_empty;

    if (!vq->notification) {
        vq->notification = true;
        vq->ops->set_notification(vq, true);
    }
    if (!call_handler(vq)) {
        virtio_kick(vq);
    }
    if (!vq->running || !ring_ready(vq)) {
        return;
    }
    was_empty = vq->ops->is_empty(vq);
    vq->ops->set_notification(vq, true);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (was_empty && !vq->ops->is_empty(vq)) {
        virtio_kick(vq);
    }
}

static void set_notification(VirtQueue *vq, bool on)
{
    if (vq->notification != on) {
        vq->notification = on;
        vq->ops->set_notification(vq, on);
    }
}

void virtqueue_pause(VirtQueue *vq)
{
    vq->paused = true;
    if (vq->running && ring_ready(vq)) {
        set_notification(vq, false);
    }
}

void virtqueue_resume(VirtQueue *vq)
{
    vq->paused = false;
    if (!vq->running || vq->hushed || vq->polling || !ring_ready(vq)) {
        return;
    }
    vq->notification = true;
    vq->ops->set_notification(vq, true);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!vq->ops->is_empty(vq)) {
        virtio_kick(vq);
    }
}

/* Notifications are off while the handler works; who adds a buffer meanwhile is seen by the look after they are on again. */
static void run_handler(VirtQueue *vq)
{
    const bool brief = vq->quiet || virtio_queue_loop(vq) == vq->vdev->dev.vm->loop;
    int64_t end = 0, now;

    for (unsigned round = 0; vq->running && !vq->paused && ring_ready(vq); round++) {
        set_notification(vq, false);
        call_handler(vq);
        if (vq->polling || vq->paused || !vq->running || !ring_ready(vq)) {
            return;
        }
        vq->notification = true;
        vq->ops->set_notification(vq, true);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if (vq->ops->is_empty(vq)) {
            return;
        }
        now = clock_monotonic_ns();
        end = end ? end : now + (brief ? SHORT_ROUNDS_TIME : ROUNDS_TIME);
        if (round == ROUNDS_MAX || now > end) {
            virtio_kick(vq); /* later */
            return;
        }
    }
}

static void on_kick(void *opaque, uint32_t events)
{
    VirtQueue *vq = opaque;
    uint64_t count;

    if (read(vq->kick_fd, &count, sizeof count) == sizeof count) {
        trace(virtqueue_kick, "%s queue %u", vq->vdev->dev.obj.type->name, vq->index);
        if (vq->lent) {
            virtqueue_lent_look(vq, run_handler);
        } else if (vq->lazy && ring_ready(vq)) {
            run_lazy(vq);
        } else {
            run_handler(vq);
        }
    }
}

static bool poll_look(void *opaque)
{
    VirtQueue *vq = opaque;

    if (vq->paused || !ring_ready(vq) || vq->ops->is_empty(vq)) {
        return false;
    }
    run_handler(vq);
    return true;
}

static void poll_begin(void *opaque)
{
    VirtQueue *vq = opaque;

    vq->polling = true;
    if (ring_ready(vq)) {
        set_notification(vq, false);
    }
}

static bool poll_end(void *opaque)
{
    VirtQueue *vq = opaque;

    vq->polling = false;
    if (vq->paused || !ring_ready(vq)) {
        return false;
    }
    vq->notification = true;
    vq->ops->set_notification(vq, true);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return poll_look(vq);
}

static const LoopPollOps poll_ops = {.look = poll_look, .begin = poll_begin, .end = poll_end};

void virtqueue_start(VirtQueue *vq)
{
    if (vq->running || vq->kernel || !virtqueue_is_ready(vq)) {
        return;
    }
    vq->running = true;
    vq->notification = vq->paused = false;
    vq->signalled_valid = false;
    vq->slots_since = 0;
    vq->flush_timer = loop_timer_new(virtio_queue_loop(vq), flush_now, vq);
    vq->kick_source = loop_fd_add(virtio_queue_loop(vq), vq->kick_fd, EPOLLIN, on_kick, vq);
    vq->poll = vq->lazy || vq->quiet ? NULL : loop_poll_add(virtio_queue_loop(vq), &poll_ops, vq);
    virtio_kick(vq); /* what the driver gave before */
}

void virtqueue_hush(VirtQueue *vq)
{
    vq->hushed = vq->running;
    vq->polling = false;
    loop_fd_remove(g_steal_pointer(&vq->kick_source));
    loop_poll_remove(g_steal_pointer(&vq->poll));
}

void virtqueue_stop(VirtQueue *vq)
{
    if (!vq->running) {
        return;
    }
    virtqueue_flush(vq);
    loop_timer_free(g_steal_pointer(&vq->flush_timer));
    vq->flush_armed = vq->hushed = vq->running = false;
    vq->unpublished = 0;
    unmap_areas(vq);
}

/* ---- life -------------------------------------------------------------------------------------- */

void virtqueue_init(VirtQueue *vq, VirtioDevice *vdev, unsigned index, uint16_t size, VirtQueueFn *handler, size_t request_size)
{
    *vq = (VirtQueue){.vdev = vdev, .index = index, .handler = handler, .request_size = request_size, .num_default = size,
                      .budget = VIRTQUEUE_NO_BUDGET};
    vq->kick_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    virtqueue_reset(vq);
}

void virtqueue_reset(VirtQueue *vq)
{
    g_assert(!vq->running && !vq->in_flight);
    vq->num = vq->num_default;
    vq->desc = vq->avail = vq->used = 0;
    vq->enabled = false;
    vq->vector = VIRTIO_NO_VECTOR;
    vq->last_avail = vq->shadow_avail = vq->used_idx = vq->published = vq->signalled = 0;
    vq->signalled_valid = false;
    vq->avail_wrap = vq->used_wrap = true;
    vq->slots_in_flight = vq->slots_since = vq->unpublished = 0;
    vq->order_head = NULL;
    vq->order_tail = &vq->order_head;
}

void virtqueue_free(VirtQueue *vq)
{
    while (vq->free_elems) {
        VirtElement *e = vq->free_elems;

        vq->free_elems = e->next;
        elem_destroy(e);
    }
    if (vq->kick_fd >= 0) {
        close(vq->kick_fd);
    }
}
