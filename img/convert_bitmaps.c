/* SPDX-License-Identifier: GPL-2.0-or-later */
/* kiln-img convert --bitmaps: the source's persistent dirty bitmaps become the target's, too. */
#include "block/dirty_bitmap.h"
#include "img/img.h"

static bool supports(const BlockNode *node)
{
    return node->drv == &block_driver_qcow2;
}

bool img_bitmaps_check(BlockNode *source, bool skip_broken, GError **err)
{
    if (!supports(source)) {
        return error_set(err, "Source lacks bitmap support");
    }
    for (unsigned i = 0; source->bitmaps && i < source->bitmaps->len; i++) {
        const DirtyBitmap *b = g_ptr_array_index(source->bitmaps, i);

        if (b->persistent && !b->bits && !skip_broken) {
            return error_set(err, "Cannot copy inconsistent bitmap '%s'\nTry --skip-broken-bitmaps, or "
                                  "use 'kiln-img bitmap --remove' to delete it", b->name);
        }
    }
    return true;
}

static bool copy(BlockNode *target, const DirtyBitmap *from, GError **err)
{
    g_autoptr(GError) why = NULL;
    DirtyBitmap *to = block_dirty_bitmap_add(target, from->name, 1ull << from->granularity_bits, true,
                                             false, &why);

    if (!to) {
        return error_set(err, "Failed to create bitmap %s: %s", from->name, why->message);
    }
    if (!block_dirty_bitmap_merge(to, from, &why) ||
        (from->enabled && !block_dirty_bitmap_set_enabled(to, true, &why))) {
        error_set(err, "Failed to populate bitmap %s: %s", from->name, why->message);
        block_dirty_bitmap_remove(to, NULL);
        return false;
    }
    return true;
}

bool img_bitmaps_check_options(const BlockDriver *drv, const BlockOpts *opts, GError **err)
{
    const char *compat = block_opts_peek(opts, "compat");

    if (drv != &block_driver_qcow2) {
        return error_set(err, "Format driver '%s' does not support bitmaps", drv->name);
    }
    return (g_strcmp0(compat, "0.10") && g_strcmp0(compat, "v2")) ||
           error_set(err, "compat=%s has no bitmaps: use compat=1.1, or leave --bitmaps out", compat);
}

bool img_bitmaps_check_target(const BlockNode *target, GError **err)
{
    return supports(target) || error_set(err, "Format driver '%s' does not support bitmaps", target->drv->name);
}

bool img_bitmaps_copy(BlockNode *target, BlockNode *source, GError **err)
{
    /* A node has its newest bitmap first. */
    for (unsigned i = source->bitmaps ? source->bitmaps->len : 0; i-- > 0;) {
        const DirtyBitmap *b = g_ptr_array_index(source->bitmaps, i);

        if (b->persistent && !b->bits) {
            report_warning("Skipping inconsistent bitmap '%s'", b->name);
        } else if (b->persistent && !copy(target, b, err)) {
            return false;
        }
    }
    return true;
}
