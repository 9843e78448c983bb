/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Address spaces as text: what "info mtree" of QEMU's monitor prints, for people and tests. */
#include <inttypes.h>

#include "core/device.h"
#include "core/region.h"

/* As QEMU has it; a region that is nobody's is an orphan. */
static void print_owner(const Region *region, unsigned flags, GString *out)
{
    const Device *owner = region->owner;

    if (!(flags & REGION_PRINT_OWNERS)) {
        return;
    }
    if (!owner) {
        g_string_append(out, " orphan");
    } else if (owner->id) {
        g_string_append_printf(out, " owner:{dev id=%s}", owner->id);
    } else {
        g_autofree char *path = object_path(&owner->obj);

        g_string_append_printf(out, " owner:{dev path=%s}", path);
    }
}

static const char *kind_of(const FlatRange *range)
{
    switch (range->region->kind) {
    case REGION_RAM:
        return range->readonly ? "rom" : range->region->ram_device ? "ramd" : "ram";
    case REGION_ROM:
        return "rom";
    case REGION_ROM_DEVICE:
        return range->romd ? "romd" : "i/o";
    default:
        return "i/o";
    }
}

void address_space_print(AddressSpace *as, unsigned flags, GString *out)
{
    const FlatView *view = address_space_view(as);

    for (unsigned i = 0; i < view->count; i++) {
        const FlatRange *range = &view->ranges[i];

        g_string_append_printf(out, "%016" PRIx64 "-%016" PRIx64 " (prio %d, %s): %s", range->start, range->end - 1,
                               range->region->priority, kind_of(range), range->region->name);
        if (range->offset) {
            g_string_append_printf(out, " @%016" PRIx64, range->offset);
        }
        print_owner(range->region, flags, out);
        g_string_append_c(out, '\n');
    }
}

/* ---- the tree ---------------------------------------------------------------------- */

static const char *tree_kind(const Region *region)
{
    switch (region->kind) {
    case REGION_RAM:
        return region->readonly ? "rom" : region->ram_device ? "ramd" : "ram";
    case REGION_ROM:
        return "rom";
    case REGION_ROM_DEVICE:
        return "romd";
    case REGION_ALIAS:
        return tree_kind(region->alias);
    default:
        return "i/o";
    }
}

static gint by_address(gconstpointer a, gconstpointer b)
{
    const Region *x = *(const Region *const *)a, *y = *(const Region *const *)b;

    return x->addr != y->addr ? (x->addr < y->addr ? -1 : 1) : y->priority - x->priority;
}

static uint64_t last_byte(uint64_t start, uint64_t size) { return size == UINT64_MAX ? UINT64_MAX : start + size - 1; }

static const Region *topmost(const Region *region)
{
    while (region->parent) {
        region = region->parent;
    }
    return region;
}

static void print_end(const Region *region, unsigned flags, GString *out)
{
    g_string_append(out, region->enabled ? "" : " [disabled]");
    print_owner(region, flags, out);
    g_string_append_c(out, '\n');
}

static void print_region(const Region *region, uint64_t base, int depth, unsigned flags, GPtrArray *targets, GString *out)
{
    uint64_t start = base + region->addr;

    if (!region->enabled && !(flags & REGION_PRINT_DISABLED)) {
        return;
    }
    g_string_append_printf(out, "%*s%016" PRIx64 "-%016" PRIx64 " (prio %d, %s): ", 2 * depth, "", start,
                           last_byte(start, region->size), region->priority, tree_kind(region));
    if (region->kind == REGION_ALIAS) {
        const Region *target = topmost(region->alias);

        g_string_append_printf(out, "alias %s @%s %016" PRIx64 "-%016" PRIx64, region->name,
                               region->alias->name, region->alias_offset,
                               last_byte(region->alias_offset, region->size));
        print_end(region, flags, out);
        if (!g_ptr_array_find(targets, target, NULL)) {
            g_ptr_array_add(targets, (void *)(uintptr_t)target);
        }
        return;
    }
    g_string_append(out, region->name);
    print_end(region, flags, out);
    if (region->children) {
        g_autoptr(GPtrArray) sorted = g_ptr_array_copy(region->children, NULL, NULL);

        g_ptr_array_sort(sorted, by_address);
        for (unsigned i = 0; i < sorted->len; i++) {
            print_region(sorted->pdata[i], start, depth + 1, flags, targets, out);
        }
    }
}

void region_print_tree(const Region *root, unsigned flags, GPtrArray *targets, GString *out)
{
    print_region(root, 0, 1, flags, targets, out);
}
