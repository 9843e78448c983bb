/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Address spaces as text: what "info mtree -f" of QEMU's monitor prints, for people and tests. */
#include <inttypes.h>

#include "core/region.h"

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

void address_space_print(AddressSpace *as, GString *out)
{
    const FlatView *view = address_space_view(as);

    for (unsigned i = 0; i < view->count; i++) {
        const FlatRange *range = &view->ranges[i];

        g_string_append_printf(out, "%016" PRIx64 "-%016" PRIx64 " (prio %d, %s): %s", range->start, range->end - 1,
                               range->region->priority, kind_of(range), range->region->name);
        if (range->offset) {
            g_string_append_printf(out, " @%016" PRIx64, range->offset);
        }
        g_string_append_c(out, '\n');
    }
}
