/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP's transaction: several changes of dirty bitmaps and snapshots, all of them or none. The nodes are drained
 * meanwhile, so no write falls between two of the actions. Each is done at once and can be undone; a bitmap
 * that is removed is only taken out of use until all others are done. Jobs are not there yet.
 */
#include <stdlib.h>

#include "monitor/qmp.h"
#include "monitor/qmp_bitmaps.h"
#include "monitor/qmp_snapshot.h"
#include "qapi/qapi-commands.h"
#include "util/error.h"

typedef struct Step {
    DirtyBitmap *b;
    TransactionActionKind kind;
    bool enabled, changed; /* before */
    uint8_t *bits;         /* before; NULL: unchanged. malloc */
    BlockOverlay *overlay;
    InternalSnapshot internal;
} Step;

typedef struct Action {
    Vm *vm;
    const TransactionAction *what;
} Action;

/* ---- what an action is about ------------------------------------------------------------------ */

static const void *arguments(const TransactionAction *a)
{
    switch (a->type) {
    case TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_ADD:
        return a->u.block_dirty_bitmap_add.data;
    case TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_REMOVE:
        return a->u.block_dirty_bitmap_remove.data;
    case TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_CLEAR:
        return a->u.block_dirty_bitmap_clear.data;
    case TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_ENABLE:
        return a->u.block_dirty_bitmap_enable.data;
    case TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_DISABLE:
        return a->u.block_dirty_bitmap_disable.data;
    case TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_MERGE:
        return a->u.block_dirty_bitmap_merge.data;
    case TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT:
        return a->u.blockdev_snapshot.data;
    case TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT_INTERNAL_SYNC:
        return a->u.blockdev_snapshot_internal_sync.data;
    case TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT_SYNC:
        return a->u.blockdev_snapshot_sync.data;
    case TRANSACTION_ACTION_KIND_ABORT:
        break;
    }
    return NULL;
}

static DirtyBitmap *find_target(const Action *a, GError **err)
{
    const void *args = arguments(a->what);

    if (a->what->type == TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_MERGE) {
        const BlockDirtyBitmapMerge *merge = args;

        return qmp_find_bitmap(a->vm, merge->node, merge->target, err);
    }
    if (a->what->type == TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_ADD) {
        const BlockDirtyBitmapAdd *add = args;

        return qmp_find_bitmap(a->vm, add->node, add->name, err);
    }
    return qmp_find_bitmap(a->vm, ((const BlockDirtyBitmap *)args)->node, ((const BlockDirtyBitmap *)args)->name, err);
}

/* ---- doing and undoing ------------------------------------------------------------------------- */

/* Before b's bits change. */
static bool save_bits(Step *s, GError **err)
{
    uint64_t bytes = s->b->bits ? block_dirty_bitmap_bytes(s->b) : 0;

    s->changed = s->b->changed;
    s->bits = bytes ? malloc(bytes) : NULL;
    if (!s->bits) {
        return !bytes || error_set(err, "There is no memory to keep what bitmap '%s' has", s->b->name);
    }
    memcpy(s->bits, s->b->bits, bytes);
    return true;
}

static bool run(const Action *a, QmpHandler *handler, GError **err)
{
    QmpCall call = {.vm = a->vm, .args = arguments(a->what)};

    return handler(&call, err);
}

static bool add(const Action *a, Step *s, GError **err)
{
    if (!run(a, qmp_block_dirty_bitmap_add, err)) {
        return false;
    }
    s->b = find_target(a, NULL);
    return true;
}

static bool take_out_of_use(Step *s, GError **err)
{
    if (!block_dirty_bitmap_check_remove(s->b, err)) {
        return false;
    }
    s->b->busy++;
    return true;
}

static bool change_bitmap(const Action *a, Step *s, GError **err)
{
    s->b = find_target(a, err);
    if (!s->b) {
        return false;
    }
    s->enabled = s->b->enabled;
    switch (s->kind) {
    case TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_REMOVE:
        return take_out_of_use(s, err);
    case TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_CLEAR:
        return save_bits(s, err) && run(a, qmp_block_dirty_bitmap_clear, err);
    case TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_ENABLE:
        return run(a, qmp_block_dirty_bitmap_enable, err);
    case TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_DISABLE:
        return run(a, qmp_block_dirty_bitmap_disable, err);
    default:
        return save_bits(s, err) && run(a, qmp_block_dirty_bitmap_merge, err);
    }
}

static bool do_step(const Action *a, Step *s, GError **err)
{
    s->kind = a->what->type;
    switch (s->kind) {
    case TRANSACTION_ACTION_KIND_ABORT:
        return error_set(err, "Transaction aborted using Abort action");
    case TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_ADD:
        return add(a, s, err);
    case TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT:
        s->overlay = qmp_snapshot_put(a->vm, arguments(a->what), err);
        return s->overlay != NULL;
    case TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT_SYNC:
        s->overlay = qmp_snapshot_put_new(a->vm, arguments(a->what), err);
        return s->overlay != NULL;
    case TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT_INTERNAL_SYNC:
        return qmp_snapshot_make(a->vm, arguments(a->what), &s->internal, err);
    default:
        return change_bitmap(a, s, err);
    }
}

static void undo(Step *s)
{
    switch (s->kind) {
    case TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_ADD:
        block_dirty_bitmap_remove(s->b, NULL);
        break;
    case TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_REMOVE:
        s->b->busy--;
        break;
    case TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_ENABLE:
    case TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_DISABLE:
        block_dirty_bitmap_set_enabled(s->b, s->enabled, NULL);
        break;
    case TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_CLEAR:
    case TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_MERGE:
        memcpy(s->b->bits, s->bits, block_dirty_bitmap_bytes(s->b));
        s->b->changed = s->changed;
        break;
    case TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT:
    case TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT_SYNC:
        block_overlay_abort(s->overlay);
        break;
    case TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT_INTERNAL_SYNC:
        qmp_snapshot_undo(&s->internal);
        break;
    case TRANSACTION_ACTION_KIND_ABORT:
        break;
    }
}

/* All others are done. */
static void finish(Step *s)
{
    switch (s->kind) {
    case TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_REMOVE:
        s->b->busy--;
        block_dirty_bitmap_remove(s->b, NULL); /* checked */
        break;
    case TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT:
    case TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT_SYNC:
        block_overlay_commit(s->overlay);
        break;
    case TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT_INTERNAL_SYNC:
        qmp_snapshot_forget(&s->internal);
        break;
    default:
        break;
    }
}

/* ---- the command ------------------------------------------------------------------------------- */

static bool check_properties(const TransactionArgs *args, GError **err)
{
    const TransactionProperties *p = args->properties;

    if (!args->actions->len || !p || !p->has_completion_mode ||
        p->completion_mode != ACTION_COMPLETION_MODE_GROUPED) {
        return true;
    }
    return error_set(err, "Action '%s' does not support Transaction property completion-mode = grouped",
                     qapi_enum_name(&qapi_type_TransactionActionKind,
                                    ((TransactionAction *)g_ptr_array_index(args->actions, 0))->type));
}

/* All trees that there are, one drained section each: those that grow meanwhile end theirs by themselves. */
static GPtrArray *drain_all(Vm *vm)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);
    GPtrArray *sections = g_ptr_array_new();

    for (unsigned i = 0; vm->block && i < vm->block->nodes->len; i++) {
        BlockNode *node = g_ptr_array_index(vm->block->nodes, i);
        GPtrArray *tree = g_hash_table_contains(seen, node) ? NULL : block_drain_tree(node);

        for (unsigned n = 0; tree && n < tree->len; n++) {
            g_hash_table_add(seen, g_ptr_array_index(tree, n));
        }
        if (tree) {
            g_ptr_array_add(sections, tree);
        }
    }
    return sections;
}

static void undrain_all(GPtrArray *sections)
{
    for (unsigned i = sections->len; i-- > 0;) {
        block_undrain_tree(g_ptr_array_index(sections, i));
    }
    g_ptr_array_free(sections, TRUE);
}

bool qmp_transaction(QmpCall *call, GError **err)
{
    const TransactionArgs *args = call->args;
    unsigned count = args->actions->len, done = 0;
    g_autofree Step *steps = g_new0(Step, count + 1);
    bool ok = check_properties(args, err);
    GPtrArray *sections;

    if (!ok) {
        return false;
    }
    sections = drain_all(call->vm);
    for (; ok && done < count; done += ok) {
        ok = do_step(&(Action){call->vm, g_ptr_array_index(args->actions, done)}, &steps[done], err);
    }
    while (!ok && done) {
        undo(&steps[--done]);
    }
    for (unsigned i = 0; i < count; i++) {
        free(steps[i].bits);
        if (ok) {
            finish(&steps[i]);
        }
    }
    undrain_all(sections);
    return ok;
}
