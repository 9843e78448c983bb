/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What memory a dump holds, and at which addresses. */
#include <string.h>

#include "accel/x86/page_walk.h"
#include "dump/dump_int.h"

/* Runs of pages that a guest's tables can describe before a dump of them is given up. */
#define MAX_MAPPINGS (1u << 20)

/* ---- physical memory ----------------------------------------------------------------------------- */

static bool is_memory(const FlatRange *range)
{
    const Region *region = range->region;

    return region->ram && !region->ram_device && (region->kind != REGION_ROM_DEVICE || range->romd);
}

GArray *dump_find_blocks(Vm *vm, bool filter, uint64_t begin, uint64_t length)
{
    const FlatView *view = address_space_view(&vm->memory);
    GArray *blocks = g_array_new(false, false, sizeof(DumpBlock));
    uint64_t limit = filter ? begin + MIN(length, UINT64_MAX - begin) : UINT64_MAX;

    for (unsigned i = 0; i < view->count; i++) {
        const FlatRange *r = &view->ranges[i];
        uint64_t start = filter ? MAX(r->start, begin) : r->start, end = MIN(r->end, limit);

        if (is_memory(r) && start < end) {
            DumpBlock block = {
                .start = start,
                .len = end - start,
                .host = r->region->ram->host + r->offset + (start - r->start),
                .ram = ram_block_ref(r->region->ram),
            };
            g_array_append_val(blocks, block);
        }
    }
    return blocks;
}

const uint8_t *dump_memory(const Dump *dump, uint64_t addr, uint64_t *len)
{
    unsigned low = 0, high = dump->blocks->len;

    while (low < high) {
        unsigned middle = (low + high) / 2;
        const DumpBlock *b = &g_array_index(dump->blocks, DumpBlock, middle);

        if (addr < b->start) {
            high = middle;
        } else if (addr - b->start >= b->len) {
            low = middle + 1;
        } else {
            *len = MIN(*len, b->len - (addr - b->start));
            return b->host + (addr - b->start);
        }
    }
    return NULL;
}

/* ---- virtual memory -------------------------------------------------------------------------------- */

typedef struct Finder {
    const Dump *dump;
    GArray *found; /* DumpMapping */
    bool too_many;
} Finder;

/* Joined with the mapping before it when both go on without a gap. */
static bool add_mapping(Finder *f, DumpMapping m)
{
    if (f->found->len) {
        DumpMapping *last = &g_array_index(f->found, DumpMapping, f->found->len - 1);

        if (last->virt + last->len == m.virt && last->phys + last->len == m.phys) {
            last->len += m.len;
            return true;
        }
    }
    f->too_many = f->found->len >= MAX_MAPPINGS;
    if (!f->too_many) {
        g_array_append_val(f->found, m);
    }
    return !f->too_many;
}

/* The parts of a page run that are memory. */
static bool take_page(void *opaque, const PageRun *page)
{
    Finder *f = opaque;

    for (unsigned i = 0; i < f->dump->blocks->len; i++) {
        const DumpBlock *b = &g_array_index(f->dump->blocks, DumpBlock, i);
        uint64_t last = page->phys + page->len - 1; /* len 0: everything */
        uint64_t start = MAX(b->start, page->phys), end = MIN(b->start + b->len - 1, last);

        if (start <= end &&
            !add_mapping(f, (DumpMapping){start, page->virt + (start - page->phys), end - start + 1})) {
            return false;
        }
    }
    return true;
}

static int by_phys(const void *a, const void *b)
{
    const DumpMapping *x = a, *y = b;

    if (x->phys != y->phys) {
        return x->phys < y->phys ? -1 : 1;
    }
    return x->virt < y->virt ? -1 : x->virt > y->virt;
}

/* Memory that no page table maps stands at virtual address 0, as in a dump without paging. mappings
 * are sorted by physical address. */
static void add_unmapped(const Dump *dump, GArray *mappings)
{
    GArray *holes = g_array_new(false, false, sizeof(DumpMapping));

    uint64_t covered = 0; /* the end of what the mappings so far reach */

    for (unsigned i = 0, m = 0; i < dump->blocks->len; i++) {
        const DumpBlock *b = &g_array_index(dump->blocks, DumpBlock, i);
        uint64_t at = MAX(b->start, covered), end = b->start + b->len;

        for (; m < mappings->len && g_array_index(mappings, DumpMapping, m).phys < end; m++) {
            const DumpMapping *map = &g_array_index(mappings, DumpMapping, m);

            if (map->phys > at) {
                DumpMapping hole = {at, 0, map->phys - at};
                g_array_append_val(holes, hole);
            }
            at = MAX(at, map->phys + map->len);
            covered = at;
        }
        if (at < end) {
            DumpMapping hole = {at, 0, end - at};
            g_array_append_val(holes, hole);
        }
    }
    g_array_append_vals(mappings, holes->data, holes->len);
    g_array_free(holes, true);
}

GArray *dump_find_mappings(const Dump *dump, GError **err)
{
    Finder f = {.dump = dump, .found = g_array_new(false, false, sizeof(DumpMapping))};

    /* The kernel's half is the same in all CPUs; what a process of CPU 0 has is as good as any other's. */
    if (!page_walk(dump->vm->cpus->pdata[0], take_page, &f, err)) {
        if (f.too_many) {
            error_set(err, "the guest's page tables have more than %u separate runs; dump without paging", MAX_MAPPINGS);
        }
        g_array_free(f.found, true);
        return NULL;
    }
    g_array_sort(f.found, by_phys);
    add_unmapped(dump, f.found);
    return f.found;
}
