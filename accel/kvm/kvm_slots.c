/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "accel/kvm/kvm_slots.h"

#include <linux/kvm.h>

/* ---- what a view wants -------------------------------------------------------------- */

static bool range_is_memory(const FlatRange *range)
{
    switch (range->region->kind) {
    case REGION_RAM:
    case REGION_ROM:
        return true;
    case REGION_ROM_DEVICE:
        return range->romd;
    default:
        return false;
    }
}

static uint32_t range_flags(const FlatRange *range)
{
    if (range->readonly || range->region->kind != REGION_RAM) {
        return KVM_MEM_READONLY; /* nothing of it gets dirty */
    }
    return range->dirty_log ? KVM_MEM_LOG_DIRTY_PAGES : 0;
}

/* Grows the last slot by the part, as far as that is one slot. */
static bool merge(GArray *slots, const KvmSlot *part)
{
    if (!slots->len) {
        return false;
    }
    KvmSlot *last = &g_array_index(slots, KvmSlot, slots->len - 1);
    if (last->gpa + last->size != part->gpa || last->block != part->block ||
        last->offset + last->size != part->offset || last->flags != part->flags ||
        last->size + part->size > KVM_SLOT_MAX_SIZE) {
        return false;
    }
    last->size += part->size;
    return true;
}

void kvm_slots_from_view(const FlatView *view, GArray *slots)
{
    for (unsigned i = 0; i < view->count; i++) {
        const FlatRange *range = &view->ranges[i];

        if (!range_is_memory(range)) {
            continue;
        }
        uint64_t start = align_up(range->start, KVM_SLOT_PAGE);
        uint64_t end = align_down(range->end, KVM_SLOT_PAGE);
        uint64_t offset = range->offset + (start - range->start);
        if (start < range->start || start >= end || offset % KVM_SLOT_PAGE) {
            continue;
        }
        for (uint64_t size; start < end; start += size, offset += size) {
            size = MIN(end - start, KVM_SLOT_MAX_SIZE);
            KvmSlot part = {.gpa = start,
                            .size = size,
                            .block = range->region->ram,
                            .offset = offset,
                            .flags = range_flags(range)};
            if (!merge(slots, &part)) {
                g_array_append_val(slots, part);
            }
        }
    }
}

/* ---- from here to there ------------------------------------------------------------- */

static KvmSlot *slot_at(const GArray *slots, unsigned i)
{
    return &g_array_index(slots, KvmSlot, i);
}

/* Same memory at the same place: only dirty logging may differ, KVM changes nothing else in place.
 */
static bool same_slot(const KvmSlot *a, const KvmSlot *b)
{
    return a->gpa == b->gpa && a->size == b->size && a->block == b->block &&
           a->offset == b->offset && !((a->flags ^ b->flags) & KVM_MEM_READONLY);
}

/* Index in slots (sorted) of the one that starts at gpa, or -1. */
static int find_start(const GArray *slots, uint64_t gpa)
{
    unsigned lo = 0, hi = slots->len;

    while (lo < hi) {
        unsigned mid = lo + (hi - lo) / 2;

        if (slot_at(slots, mid)->gpa < gpa) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo < slots->len && slot_at(slots, lo)->gpa == gpa ? (int)lo : -1;
}

static const KvmSlot *find_same(const GArray *slots, const KvmSlot *slot)
{
    int i = find_start(slots, slot->gpa);

    return i >= 0 && same_slot(slot_at(slots, (unsigned)i), slot) ? slot_at(slots, (unsigned)i)
                                                                  : NULL;
}

static void add_op(GArray *ops, KvmSlotOpKind kind, const KvmSlot *slot)
{
    KvmSlotOp op = {.kind = kind, .slot = *slot};

    g_array_append_val(ops, op);
}

static bool overlaps_any(const GArray *slots, const KvmSlot *slot)
{
    for (unsigned i = 0; i < slots->len; i++) {
        const KvmSlot *other = slot_at(slots, i);

        if (slot->gpa < other->gpa + other->size && other->gpa < slot->gpa + slot->size) {
            return true;
        }
    }
    return false;
}

/* Lowest number that is not in used (a byte a slot, grown as needed). */
static unsigned take_free_id(GByteArray *used)
{
    unsigned id = 0;

    while (id < used->len && used->data[id]) {
        id++;
    }
    if (id == used->len) {
        g_byte_array_append(used, (const uint8_t *)"\1", 1);
    }
    used->data[id] = 1;
    return id;
}

static void mark_used(GByteArray *used, unsigned id)
{
    while (used->len <= id) {
        g_byte_array_append(used, (const uint8_t *)"\0", 1);
    }
    used->data[id] = 1;
}

bool kvm_slots_diff(const GArray *old, GArray *new, GArray *ops)
{
    GByteArray *used = g_byte_array_new();
    bool hole = false;

    for (unsigned i = 0; i < old->len; i++) {
        const KvmSlot *slot = slot_at(old, i);

        if (find_same(new, slot)) {
            mark_used(used, slot->id);
        } else {
            add_op(ops, KVM_SLOT_DELETE, slot);
            hole |= overlaps_any(new, slot);
        }
    }
    for (unsigned i = 0; i < new->len; i++) {
        const KvmSlot *before = find_same(old, slot_at(new, i));

        if (before) {
            slot_at(new, i)->id = before->id;
            if (before->flags != slot_at(new, i)->flags) {
                add_op(ops, KVM_SLOT_FLAGS, slot_at(new, i));
            }
        }
    }
    for (unsigned i = 0; i < new->len; i++) {
        if (!find_same(old, slot_at(new, i))) {
            slot_at(new, i)->id = take_free_id(used);
            add_op(ops, KVM_SLOT_CREATE, slot_at(new, i));
        }
    }
    g_byte_array_free(used, true);
    return hole;
}
