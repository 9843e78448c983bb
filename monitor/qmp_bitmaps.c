/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP: dirty bitmaps of nodes. */
#include "block/dirty_bitmap.h"
#include "monitor/qmp.h"
#include "monitor/qmp_bitmaps.h"
#include "qapi/qapi-commands.h"
#include "util/error.h"

/* ---- which one ------------------------------------------------------------------------------ */

static BlockNode *find_node(Vm *vm, const char *name, GError **err)
{
    BlockBackend *blk = blk_find(vm, name);
    BlockNode *node = blk && *blk_name(blk) ? block_node_skip_implicit(blk_node(blk)) : block_node_find(vm, name);

    if (!node) {
        error_set(err, "Cannot find device='%s' nor node-name='%s'", name, name);
    }
    return node;
}

DirtyBitmap *qmp_find_bitmap(Vm *vm, const char *node_name, const char *name, GError **err)
{
    BlockNode *node = find_node(vm, node_name, NULL);
    DirtyBitmap *b = node ? block_dirty_bitmap_find(node, name) : NULL;

    if (!node) {
        error_set(err, "Node '%s' not found", node_name);
    } else if (!b) {
        error_set(err, "Dirty bitmap '%s' not found", name);
    }
    return b;
}

typedef bool Change(DirtyBitmap *b, GError **err);

static bool change(QmpCall *call, Change *fn, GError **err)
{
    const BlockDirtyBitmap *args = call->args;
    DirtyBitmap *b = qmp_find_bitmap(call->vm, args->node, args->name, err);
    BlockNode *node;
    bool ok;

    if (!b) {
        return false;
    }
    node = b->node; /* b may go */
    block_drain_begin(node);
    ok = fn(b, err);
    block_drain_end(node);
    return ok;
}

/* ---- commands ------------------------------------------------------------------------------- */

bool qmp_block_dirty_bitmap_add(QmpCall *call, GError **err)
{
    const BlockDirtyBitmapAdd *args = call->args;
    BlockNode *node = find_node(call->vm, args->node, err);
    uint32_t granularity = args->has_granularity ? args->granularity : 0;
    bool ok;

    if (!node) {
        return false;
    }
    if (args->has_granularity && !granularity) {
        granularity = 1; /* refused like any other that is too small; 0 means the default inside */
    }
    block_drain_begin(node);
    ok = block_dirty_bitmap_add(node, args->name, granularity, args->persistent, !args->disabled, err);
    block_drain_end(node);
    return ok;
}

bool qmp_block_dirty_bitmap_remove(QmpCall *call, GError **err)
{
    return change(call, block_dirty_bitmap_remove, err);
}

bool qmp_block_dirty_bitmap_clear(QmpCall *call, GError **err)
{
    return change(call, block_dirty_bitmap_clear, err);
}

static bool enable(DirtyBitmap *b, GError **err)
{
    return block_dirty_bitmap_set_enabled(b, true, err);
}

static bool disable(DirtyBitmap *b, GError **err)
{
    return block_dirty_bitmap_set_enabled(b, false, err);
}

bool qmp_block_dirty_bitmap_enable(QmpCall *call, GError **err)
{
    return change(call, enable, err);
}

bool qmp_block_dirty_bitmap_disable(QmpCall *call, GError **err)
{
    return change(call, disable, err);
}

static DirtyBitmap *merge_source(Vm *vm, const DirtyBitmap *target, const BlockDirtyBitmapOrStr *what,
                                 GError **err)
{
    BlockNode *node = target->node;
    const char *name = what->u.local;
    DirtyBitmap *b;

    if (what->kind == BLOCK_DIRTY_BITMAP_OR_STR_EXTERNAL) {
        name = what->u.external.name;
        node = block_node_find(vm, what->u.external.node);
        if (!node) {
            error_set(err, "Node '%s' not found", what->u.external.node);
            return NULL;
        }
    }
    b = block_dirty_bitmap_find(node, name);
    if (!b) {
        error_set(err, "Dirty bitmap '%s' not found", name);
    }
    return b && block_dirty_bitmap_check_merge(target, b, err) ? b : NULL;
}

bool qmp_block_dirty_bitmap_merge(QmpCall *call, GError **err)
{
    const BlockDirtyBitmapMerge *args = call->args;
    DirtyBitmap *target = qmp_find_bitmap(call->vm, args->node, args->target, err);
    g_autoptr(GPtrArray) sources = g_ptr_array_new();

    for (unsigned i = 0; target && i < args->bitmaps->len; i++) {
        DirtyBitmap *b = merge_source(call->vm, target, g_ptr_array_index(args->bitmaps, i), err);

        if (!b) {
            return false;
        }
        g_ptr_array_add(sources, b);
    }
    for (unsigned i = 0; target && i < sources->len; i++) {
        DirtyBitmap *b = g_ptr_array_index(sources, i);

        block_drain_begin(b->node);
        block_drain_begin(target->node);
        block_dirty_bitmap_merge(target, b, NULL); /* checked */
        block_drain_end(target->node);
        block_drain_end(b->node);
    }
    return target != NULL;
}

bool qmp_x_debug_block_dirty_bitmap_sha256(QmpCall *call, GError **err)
{
    const BlockDirtyBitmap *args = call->args;
    DirtyBitmap *b = qmp_find_bitmap(call->vm, args->node, args->name, err);
    BlockDirtyBitmapSha256 *result;

    if (!b || !block_dirty_bitmap_check(b, false, err)) {
        return false;
    }
    result = g_new0(BlockDirtyBitmapSha256, 1);
    block_drain_begin(b->node);
    result->sha256 = block_dirty_bitmap_digest(b);
    block_drain_end(b->node);
    call->result = result;
    return true;
}
