/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Packed rings (Virtual I/O Device 1.2, 2.8). A position is an index and the number of its lap mod 2 (wrap), 1 at first.
 */
#include "hw/virtio/virtqueue_int.h"

enum { AREA_DESC, AREA_DRIVER, AREA_DEVICE };
enum { EVENT_ENABLE, EVENT_DISABLE, EVENT_DESC };
#define EVENT_WRAP 0x8000

static inline uint8_t *desc_at(const VirtQueue *vq, unsigned i) { return vq->areas[AREA_DESC].host + (size_t)i * DESC_SIZE; }

static inline bool is_available(uint16_t flags, bool wrap)
{
    return !!(flags & DESC_AVAIL) == wrap && !!(flags & DESC_USED) != wrap;
}

static bool packed_is_empty(VirtQueue *vq)
{
    return !is_available(ring_load16(desc_at(vq, vq->last_avail) + 14, __ATOMIC_ACQUIRE), vq->avail_wrap);
}

static bool walk_indirect(VirtQueue *vq, DmaWindow *w, VirtElement *e, const VirtDesc *table)
{
    const unsigned count = virtqueue_indirect_count(vq, table);

    for (unsigned i = 0; i < count; i++) {
        VirtDesc desc;

        /* More than VIRTQUEUE_MAX_SIZE pieces are refused there, which bounds this. */
        if (!virtqueue_read_indirect(vq, w, table, i, true, &desc) || !virtqueue_add_piece(vq, w, e, &desc)) {
            return false;
        }
    }
    return count != 0;
}

static bool packed_pop(VirtQueue *vq, DmaWindow *w, VirtElement *e)
{
    unsigned at = vq->last_avail, slots = 0;
    bool wrap = vq->avail_wrap;
    VirtDesc desc;

    do {
        desc = desc_decode(desc_at(vq, at), true);
        slots++;
        if (desc.flags & DESC_INDIRECT) {
            if (slots > 1) {
                virtio_broken(vq->vdev, "queue %u: an indirect table in the middle of a chain", vq->index);
                return false;
            }
            if (!walk_indirect(vq, w, e, &desc)) {
                return false;
            }
            desc.flags = 0;
        } else if (!virtqueue_add_piece(vq, w, e, &desc)) {
            return false;
        }
        if (vq->slots_in_flight + slots > vq->num) {
            virtio_broken(vq->vdev, "queue %u: chains of more than %u descriptors", vq->index, vq->num);
            return false;
        }
        if (++at == vq->num) {
            at = 0;
            wrap = !wrap;
        }
    } while (desc.flags & DESC_NEXT);
    e->id = desc.next;
    e->slots = (uint16_t)slots;
    vq->last_avail = (uint16_t)at;
    vq->avail_wrap = wrap;
    return true;
}

static void packed_unpop(VirtQueue *vq, const VirtElement *e)
{
    if (vq->last_avail < e->slots) {
        vq->last_avail = (uint16_t)(vq->last_avail + vq->num);
        vq->avail_wrap = !vq->avail_wrap;
    }
    vq->last_avail = (uint16_t)(vq->last_avail - e->slots);
}

static void packed_put_used(VirtQueue *vq, const VirtElement *e)
{
    const RingArea *ring = &vq->areas[AREA_DESC];
    uint8_t *desc = desc_at(vq, vq->used_idx);
    uint16_t flags = (vq->used_wrap ? DESC_AVAIL | DESC_USED : 0) | (e->written ? DESC_WRITE : 0);

    store32_le(desc + 8, e->written);
    store16_le(desc + 12, e->id);
    ring_store16(desc + 14, flags);
    virtqueue_area_dirty(ring, (uint64_t)vq->used_idx * DESC_SIZE, DESC_SIZE);
    vq->used_idx = (uint16_t)(vq->used_idx + e->slots);
    vq->slots_since += e->slots;
    if (vq->used_idx >= vq->num) {
        vq->used_idx = (uint16_t)(vq->used_idx - vq->num);
        vq->used_wrap = !vq->used_wrap;
    }
}

static void packed_publish(VirtQueue *vq) {} /* put_used has shown them */

static bool packed_wants_interrupt(VirtQueue *vq)
{
    const uint8_t *event = vq->areas[AREA_DRIVER].host;
    const uint16_t flags = ring_load16(event + 2, __ATOMIC_ACQUIRE), off_wrap = ring_load16(event, __ATOMIC_RELAXED);
    const uint16_t now = vq->used_idx, old = (uint16_t)(now - vq->slots_since);
    const bool valid = vq->signalled_valid;
    int off = off_wrap & ~EVENT_WRAP;

    vq->slots_since = 0;
    vq->signalled_valid = true;
    if (flags != EVENT_DESC) {
        return flags != EVENT_DISABLE;
    }
    if (!!(off_wrap & EVENT_WRAP) != vq->used_wrap) {
        off -= vq->num;
    }
    /* Positions of the last lap count below 0, as old does then. */
    return !valid || virtqueue_event_passed((uint16_t)off, now, old);
}

static void packed_set_notification(VirtQueue *vq, bool on)
{
    const RingArea *event = &vq->areas[AREA_DEVICE];
    uint16_t flags = on ? EVENT_ENABLE : EVENT_DISABLE;

    if (on && virtio_has_feature(vq->vdev, VIRTIO_RING_F_EVENT_IDX)) {
        ring_store16(event->host, (uint16_t)(vq->last_avail | (vq->avail_wrap ? EVENT_WRAP : 0)));
        flags = EVENT_DESC;
    }
    ring_store16(event->host + 2, flags);
    virtqueue_area_dirty(event, 0, 4);
}

const RingOps virtqueue_packed_ops = {
    .is_empty = packed_is_empty,
    .pop = packed_pop,
    .unpop = packed_unpop,
    .put_used = packed_put_used,
    .publish = packed_publish,
    .wants_interrupt = packed_wants_interrupt,
    .set_notification = packed_set_notification,
};
