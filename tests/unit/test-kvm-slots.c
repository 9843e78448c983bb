/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory slots as a function of the map: views are made by hand, no KVM is needed. */
#include <linux/kvm.h>

#include "accel/kvm/kvm_slots.h"

#define RW 0u
#define RO KVM_MEM_READONLY
#define LOG KVM_MEM_LOG_DIRTY_PAGES

static RamBlock ram = {.id = "pc.ram", .size = 64 << 20};
static RamBlock bios = {.id = "pc.bios", .size = 256 << 10};
static Region ram_region = {.kind = REGION_RAM, .ram = &ram};
static Region bios_region = {.kind = REGION_ROM, .ram = &bios};
static Region flash_region = {.kind = REGION_ROM_DEVICE, .ram = &bios};
static Region io_region = {.kind = REGION_IO};

static GArray *wanted(const FlatRange *ranges, unsigned count)
{
    const FlatView view = {.count = count, .ranges = (FlatRange *)ranges};
    GArray *slots = g_array_new(false, false, sizeof(KvmSlot));

    kvm_slots_from_view(&view, slots);
    return slots;
}

static void expect_slot(const GArray *slots, unsigned i, uint64_t gpa, uint64_t size,
                        RamBlock *block, uint64_t offset, uint32_t flags)
{
    g_assert_cmpuint(i, <, slots->len);
    const KvmSlot *slot = &g_array_index(slots, KvmSlot, i);
    g_assert_cmphex(slot->gpa, ==, gpa);
    g_assert_cmphex(slot->size, ==, size);
    g_assert_true(slot->block == block);
    g_assert_cmphex(slot->offset, ==, offset);
    g_assert_cmphex(slot->flags, ==, flags);
}

/* The difference, and the ids that go with it. Frees nothing. */
static GArray *difference(const GArray *old, GArray *new, bool *hole)
{
    GArray *ops = g_array_new(false, false, sizeof(KvmSlotOp));

    *hole = kvm_slots_diff(old, new, ops);
    return ops;
}

static void expect_op(const GArray *ops, unsigned i, KvmSlotOpKind kind, uint64_t gpa, unsigned id)
{
    g_assert_cmpuint(i, <, ops->len);
    const KvmSlotOp *op = &g_array_index(ops, KvmSlotOp, i);
    g_assert_cmpint(op->kind, ==, kind);
    g_assert_cmphex(op->slot.gpa, ==, gpa);
    g_assert_cmpuint(op->slot.id, ==, id);
}

/* ---- what a view wants -------------------------------------------------------------- */

static void test_kinds(void)
{
    const FlatRange ranges[] = {
        {.start = 0, .end = 0xa0000, .region = &ram_region},
        {.start = 0xa0000, .end = 0xc0000, .region = &io_region},
        {.start = 0xc0000,
         .end = 0xe0000,
         .region = &ram_region,
         .offset = 0xc0000,
         .readonly = true},
        {.start = 0x100000,
         .end = 0x200000,
         .region = &ram_region,
         .offset = 0x100000,
         .dirty_log = DIRTY_VGA},
        {.start = 0xfffc0000,
         .end = 0x100000000,
         .region = &bios_region,
         .readonly = true,
         .dirty_log = DIRTY_MIGRATION},
    };
    g_autoptr(GArray) slots = wanted(ranges, G_N_ELEMENTS(ranges));

    g_assert_cmpuint(slots->len, ==, 4);
    expect_slot(slots, 0, 0, 0xa0000, &ram, 0, RW);
    expect_slot(slots, 1, 0xc0000, 0x20000, &ram, 0xc0000, RO);
    expect_slot(slots, 2, 0x100000, 0x100000, &ram, 0x100000, LOG);
    expect_slot(slots, 3, 0xfffc0000, 0x40000, &bios, 0, RO);
}

static void test_flash(void)
{
    FlatRange range = {
        .start = 0xffe00000, .end = 0xffe40000, .region = &flash_region, .romd = true};
    g_autoptr(GArray) reads = wanted(&range, 1);
    range.romd = false;
    g_autoptr(GArray) commands = wanted(&range, 1);

    g_assert_cmpuint(reads->len, ==, 1);
    expect_slot(reads, 0, 0xffe00000, 0x40000, &bios, 0, RO); /* writes are exits */
    g_assert_cmpuint(commands->len, ==, 0);
}

static void test_merge(void)
{
    const FlatRange ranges[] = {
        {.start = 0xc0000,
         .end = 0xc4000,
         .region = &ram_region,
         .offset = 0xc0000,
         .readonly = true},
        {.start = 0xc4000,
         .end = 0xc8000,
         .region = &ram_region,
         .offset = 0xc4000,
         .readonly = true},
        {.start = 0xc8000, .end = 0xcc000, .region = &ram_region, .offset = 0xc8000},
        {.start = 0xcc000,
         .end = 0xd0000,
         .region = &ram_region,
         .offset = 0xf0000}, /* host not contiguous */
        {.start = 0xd0000,
         .end = 0xd4000,
         .region = &bios_region,
         .offset = 0xf4000 & 0x3ffff,
         .readonly = true},
    };
    g_autoptr(GArray) slots = wanted(ranges, G_N_ELEMENTS(ranges));

    g_assert_cmpuint(slots->len, ==, 4);
    expect_slot(slots, 0, 0xc0000, 0x8000, &ram, 0xc0000, RO);
    expect_slot(slots, 1, 0xc8000, 0x4000, &ram, 0xc8000, RW);
    expect_slot(slots, 2, 0xcc000, 0x4000, &ram, 0xf0000, RW);
    expect_slot(slots, 3, 0xd0000, 0x4000, &bios, 0x34000, RO);
}

/* Parts of pages are exits; a whole page whose host side is askew is one, too. */
static void test_alignment(void)
{
    const FlatRange ranges[] = {
        {.start = 0x800, .end = 0x3800, .region = &ram_region, .offset = 0x800},
        {.start = 0x10200, .end = 0x10e00, .region = &ram_region, .offset = 0x10200},
        {.start = 0x20000, .end = 0x22000, .region = &ram_region, .offset = 0x20100},
        {.start = UINT64_MAX - 0x7ff, .end = UINT64_MAX, .region = &ram_region, .offset = 0x30000},
    };
    g_autoptr(GArray) slots = wanted(ranges, G_N_ELEMENTS(ranges));

    g_assert_cmpuint(slots->len, ==, 1);
    expect_slot(slots, 0, 0x1000, 0x2000, &ram, 0x1000, RW);
}

static void test_huge(void)
{
    const FlatRange range = {.start = UINT64_C(1) << 32,
                             .end = (UINT64_C(1) << 32) + 2 * KVM_SLOT_MAX_SIZE + 0x1000,
                             .region = &ram_region};
    g_autoptr(GArray) slots = wanted(&range, 1);

    g_assert_cmpuint(slots->len, ==, 3);
    expect_slot(slots, 1, range.start + KVM_SLOT_MAX_SIZE, KVM_SLOT_MAX_SIZE, &ram,
                KVM_SLOT_MAX_SIZE, RW);
    expect_slot(slots, 2, range.start + 2 * KVM_SLOT_MAX_SIZE, 0x1000, &ram, 2 * KVM_SLOT_MAX_SIZE,
                RW);
}

/* ---- from one to the other ---------------------------------------------------------- */

static const FlatRange shadow_before[] = {
    {.start = 0, .end = 0xa0000, .region = &ram_region},
    {.start = 0xc0000, .end = 0x100000, .region = &ram_region, .offset = 0xc0000, .readonly = true},
    {.start = 0x100000, .end = 0x4000000, .region = &ram_region, .offset = 0x100000},
};

static void test_first(void)
{
    g_autoptr(GArray) none = g_array_new(false, false, sizeof(KvmSlot));
    g_autoptr(GArray) slots = wanted(shadow_before, G_N_ELEMENTS(shadow_before));
    bool hole;
    g_autoptr(GArray) ops = difference(none, slots, &hole);

    g_assert_false(hole);
    g_assert_cmpuint(ops->len, ==, 3);
    for (unsigned i = 0; i < 3; i++) {
        expect_op(ops, i, KVM_SLOT_CREATE, shadow_before[i].start, i);
    }
    g_autoptr(GArray) again = wanted(shadow_before, G_N_ELEMENTS(shadow_before));
    g_autoptr(GArray) nothing = difference(slots, again, &hole);
    g_assert_cmpuint(nothing->len, ==, 0);
    g_assert_cmpuint(g_array_index(again, KvmSlot, 2).id, ==, 2);
}

/* PAM makes 16 KiB of the shadow writable: the slot is split, and nobody may see the hole between.
 */
static void test_split(void)
{
    const FlatRange after[] = {
        shadow_before[0],
        {.start = 0xc0000, .end = 0xc4000, .region = &ram_region, .offset = 0xc0000},
        {.start = 0xc4000,
         .end = 0x100000,
         .region = &ram_region,
         .offset = 0xc4000,
         .readonly = true},
        shadow_before[2],
    };
    g_autoptr(GArray) none = g_array_new(false, false, sizeof(KvmSlot));
    g_autoptr(GArray) old = wanted(shadow_before, G_N_ELEMENTS(shadow_before));
    g_autoptr(GArray) new = wanted(after, G_N_ELEMENTS(after));
    bool hole;
    g_autoptr(GArray) start = difference(none, old, &hole);
    g_autoptr(GArray) ops = difference(old, new, &hole);

    g_assert_true(hole);
    g_assert_cmpuint(start->len, ==, 3);
    g_assert_cmpuint(ops->len, ==, 3);
    expect_op(ops, 0, KVM_SLOT_DELETE, 0xc0000, 1);
    expect_op(ops, 1, KVM_SLOT_CREATE, 0xc0000, 1); /* the number is free again */
    expect_op(ops, 2, KVM_SLOT_CREATE, 0xc4000, 3);
}

static void test_logging(void)
{
    FlatRange range = {.start = 0xe0000000, .end = 0xe1000000, .region = &ram_region};
    g_autoptr(GArray) none = g_array_new(false, false, sizeof(KvmSlot));
    g_autoptr(GArray) old = wanted(&range, 1);
    range.dirty_log = DIRTY_VGA | DIRTY_MIGRATION;
    g_autoptr(GArray) new = wanted(&range, 1);
    bool hole;
    g_autoptr(GArray) start = difference(none, old, &hole);
    g_autoptr(GArray) ops = difference(old, new, &hole);

    g_assert_false(hole); /* switched in place */
    g_assert_cmpuint(ops->len, ==, 1);
    expect_op(ops, 0, KVM_SLOT_FLAGS, 0xe0000000, 0);
    g_assert_cmphex(g_array_index(ops, KvmSlotOp, 0).slot.flags, ==, LOG);
    (void)start;
}

/* A BAR moves: nothing overlaps, CPUs may go on. Read-only cannot be changed in place. */
static void test_move_and_protect(void)
{
    FlatRange range = {.start = 0xe0000000, .end = 0xe1000000, .region = &ram_region};
    g_autoptr(GArray) none = g_array_new(false, false, sizeof(KvmSlot));
    g_autoptr(GArray) here = wanted(&range, 1);
    range.start += 0x2000000, range.end += 0x2000000;
    g_autoptr(GArray) there = wanted(&range, 1);
    range.readonly = true;
    g_autoptr(GArray) protected = wanted(&range, 1);
    bool hole;
    g_autoptr(GArray) start = difference(none, here, &hole);
    g_autoptr(GArray) move = difference(here, there, &hole);

    g_assert_false(hole);
    g_assert_cmpuint(move->len, ==, 2);
    expect_op(move, 0, KVM_SLOT_DELETE, 0xe0000000, 0);
    expect_op(move, 1, KVM_SLOT_CREATE, 0xe2000000, 0);
    g_autoptr(GArray) protect = difference(there, protected, &hole);
    g_assert_true(hole);
    g_assert_cmpuint(protect->len, ==, 2);
    (void)start;
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/kvm-slots/kinds", test_kinds);
    g_test_add_func("/kvm-slots/flash", test_flash);
    g_test_add_func("/kvm-slots/merge", test_merge);
    g_test_add_func("/kvm-slots/alignment", test_alignment);
    g_test_add_func("/kvm-slots/huge", test_huge);
    g_test_add_func("/kvm-slots/first", test_first);
    g_test_add_func("/kvm-slots/split", test_split);
    g_test_add_func("/kvm-slots/logging", test_logging);
    g_test_add_func("/kvm-slots/move-and-protect", test_move_and_protect);
    return g_test_run();
}
