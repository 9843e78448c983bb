/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands dirty_log and dirty_pages of the qtest server: with them a test sees that a device's DMA
 * marks the pages that it wrote, and no others (CVE-2019-14835 was a log that overflowed).
 */
#include "system/qtest_dirty.h"

#include <inttypes.h>

#include "accel/accel.h"

#define PAGE_SIZE_SHIFT 12
#define PAGE_BYTES (1u << PAGE_SIZE_SHIFT)

static void foreach_ram(Vm *vm, void (*fn)(const FlatRange *range, void *opaque), void *opaque)
{
    const FlatView *view = address_space_view(&vm->memory);

    for (unsigned i = 0; i < view->count; i++) {
        if (view->ranges[i].region->kind == REGION_RAM) {
            fn(&view->ranges[i], opaque);
        }
    }
}

static void add_region(const FlatRange *range, void *regions)
{
    if (!g_ptr_array_find(regions, range->region, NULL)) {
        g_ptr_array_add(regions, range->region);
    }
}

void qtest_set_dirty_log(Vm *vm, bool on)
{
    g_autoptr(GPtrArray) regions = g_ptr_array_new(); /* the map changes below */

    foreach_ram(vm, add_region, regions);
    for (unsigned i = 0; i < regions->len; i++) {
        Region *region = regions->pdata[i];
        RamBlock *block = region->ram;

        g_clear_pointer(&block->dirty, g_free);
        if (on) {
            block->dirty = g_new0(unsigned long, (block->size >> PAGE_SIZE_SHIFT) / 64 + 1);
        }
        region_set_dirty_log(region, DIRTY_MIGRATION, on);
    }
}

static void add_pages(const FlatRange *range, void *text)
{
    unsigned long *dirty = range->region->ram->dirty;
    const uint64_t size = range->end - range->start;

    for (uint64_t at = 0; dirty && at < size; at += PAGE_BYTES) {
        const uint64_t page = (range->offset + at) >> PAGE_SIZE_SHIFT;
        const unsigned long bit = 1ul << (page % 64);

        if (__atomic_fetch_and(&dirty[page / 64], ~bit, __ATOMIC_RELAXED) & bit) {
            g_string_append_printf(text, "%s0x%" PRIx64, ((GString *)text)->len ? " " : "",
                                   range->start + at);
        }
    }
}

char *qtest_take_dirty_pages(Vm *vm)
{
    GString *text = g_string_new(NULL);

    vm->accel->ops->dirty_sync(vm->accel);
    address_space_dirty_sync(&vm->memory);
    foreach_ram(vm, add_pages, text);
    return g_string_free(text, false);
}
