/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Split rings (Virtual I/O Device 1.2, 2.7). Positions are free-running 16-bit counts. */
#include "hw/virtio/virtqueue_int.h"

enum { AREA_DESC, AREA_AVAIL, AREA_USED };
enum { AVAIL_NO_INTERRUPT = 1, USED_NO_NOTIFY = 1 };

static inline uint8_t *avail_ring(const VirtQueue *vq, unsigned i) { return vq->areas[AREA_AVAIL].host + 4 + 2 * i; }
static inline uint64_t used_ring_offset(unsigned i) { return 4 + UINT64_C(8) * i; }

static bool split_is_empty(VirtQueue *vq)
{
    if (vq->shadow_avail == vq->last_avail) {
        vq->shadow_avail = ring_load16(vq->areas[AREA_AVAIL].host + 2, __ATOMIC_ACQUIRE);
    }
    return vq->shadow_avail == vq->last_avail;
}

/* The chain from head on: entries of the ring, or of the indirect table that its first one names. */
static bool split_walk(VirtQueue *vq, DmaWindow *w, VirtElement *e, unsigned head)
{
    const uint8_t *ring = vq->areas[AREA_DESC].host;
    VirtDesc table = {0}, desc = desc_decode(ring + (size_t)head * DESC_SIZE, false);
    unsigned max = vq->num;

    if (desc.flags & DESC_INDIRECT) {
        table = desc;
        max = virtqueue_indirect_count(vq, &table);
        if (!max || !virtqueue_read_indirect(vq, w, &table, 0, false, &desc)) {
            return false;
        }
    }
    for (unsigned steps = 1;; steps++) {
        if (!virtqueue_add_piece(vq, w, e, &desc)) {
            return false;
        }
        if (!(desc.flags & DESC_NEXT)) {
            return true;
        }
        if (desc.next >= max || steps >= max) {
            virtio_broken(vq->vdev, desc.next >= max ? "queue %u: descriptor %u of %u" : "queue %u: a loop of descriptors (%u, %u)",
                          vq->index, desc.next, max);
            return false;
        }
        if (table.len) {
            if (!virtqueue_read_indirect(vq, w, &table, desc.next, false, &desc)) {
                return false;
            }
            continue;
        }
        desc = desc_decode(ring + (size_t)desc.next * DESC_SIZE, false);
        if (desc.flags & DESC_INDIRECT) {
            virtio_broken(vq->vdev, "queue %u: an indirect table in the middle of a chain", vq->index);
            return false;
        }
    }
}

static bool split_pop(VirtQueue *vq, DmaWindow *w, VirtElement *e)
{
    const uint16_t waiting = vq->shadow_avail - vq->last_avail;
    unsigned head;

    if (waiting > vq->num) {
        virtio_broken(vq->vdev, "queue %u: the available index is %u after %u", vq->index, vq->shadow_avail, vq->last_avail);
        return false;
    }
    head = ring_load16(avail_ring(vq, vq->last_avail % vq->num), __ATOMIC_RELAXED);
    if (head >= vq->num) {
        virtio_broken(vq->vdev, "queue %u: buffer %u of %u", vq->index, head, vq->num);
        return false;
    }
    if (!split_walk(vq, w, e, head)) {
        return false;
    }
    e->id = (uint16_t)head;
    vq->last_avail++;
    return true;
}

static void split_unpop(VirtQueue *vq, const VirtElement *e) { vq->last_avail--; }

static void split_put_used(VirtQueue *vq, const VirtElement *e)
{
    const RingArea *used = &vq->areas[AREA_USED];
    const uint64_t at = used_ring_offset(vq->used_idx % vq->num);

    store32_le(used->host + at, e->id);
    store32_le(used->host + at + 4, e->written);
    virtqueue_area_dirty(used, at, 8);
    vq->used_idx++;
}

static void split_publish(VirtQueue *vq)
{
    const RingArea *used = &vq->areas[AREA_USED];

    ring_store16(used->host + 2, vq->used_idx);
    virtqueue_area_dirty(used, 2, 2);
    vq->published = vq->used_idx;
}

static bool split_wants_interrupt(VirtQueue *vq)
{
    const uint16_t old = vq->signalled, now = vq->used_idx;
    const bool valid = vq->signalled_valid;

    if (virtio_has_feature(vq->vdev, VIRTIO_F_NOTIFY_ON_EMPTY) && !vq->in_flight && split_is_empty(vq)) {
        return true;
    }
    if (!virtio_has_feature(vq->vdev, VIRTIO_RING_F_EVENT_IDX)) {
        return !(ring_load16(vq->areas[AREA_AVAIL].host, __ATOMIC_RELAXED) & AVAIL_NO_INTERRUPT);
    }
    vq->signalled = now;
    vq->signalled_valid = true;
    return !valid || virtqueue_event_passed(ring_load16(avail_ring(vq, vq->num), __ATOMIC_RELAXED), now, old);
}

/* With an event index, "off" is the index staying behind: the driver passes it once only. */
static void split_set_notification(VirtQueue *vq, bool on)
{
    const RingArea *used = &vq->areas[AREA_USED];

    if (virtio_has_feature(vq->vdev, VIRTIO_RING_F_EVENT_IDX)) {
        if (on) {
            ring_store16(used->host + used_ring_offset(vq->num), vq->last_avail);
            virtqueue_area_dirty(used, used_ring_offset(vq->num), 2);
        }
        return;
    }
    ring_store16(used->host, on ? 0 : USED_NO_NOTIFY);
    virtqueue_area_dirty(used, 0, 2);
}

const RingOps virtqueue_split_ops = {
    .is_empty = split_is_empty,
    .pop = split_pop,
    .unpop = split_unpop,
    .put_used = split_put_used,
    .publish = split_publish,
    .wants_interrupt = split_wants_interrupt,
    .set_notification = split_set_notification,
};
