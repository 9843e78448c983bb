/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP: snapshots of disks that are in use, by overlays and inside images. */
#include "monitor/qmp_snapshot.h"

#include <time.h>

#include "core/clock.h"
#include "monitor/qmp.h"
#include "monitor/qmp_nodes.h"
#include "qapi/qapi-commands.h"
#include "util/log.h"

/* ---- overlays ------------------------------------------------------------------------------------- */

/* What a drive's overlay goes over: filters that came with the drive's own options stay above. */
static BlockNode *below_own_filters(BlockNode *node)
{
    while (node->drv->is_filter && !node->user_named && node->file) {
        node = node->file->node;
    }
    return node;
}

BlockOverlay *qmp_snapshot_put(Vm *vm, const BlockdevSnapshot *args, GError **err)
{
    BlockNode *base = qmp_find_node(vm, args->node, args->node, err), *overlay;

    if (!base) {
        return NULL;
    }
    base = below_own_filters(base);
    if (!block_overlay_check_base(base, err)) {
        return NULL;
    }
    overlay = qmp_find_node(vm, args->overlay, args->overlay, err);
    return overlay ? block_overlay_put(base, overlay, err) : NULL;
}

static bool check_new(Vm *vm, const BlockdevSnapshotSync *args, GError **err)
{
    if (args->node_name && !args->snapshot_node_name) {
        return error_set(err, "New overlay node-name missing");
    }
    if (args->snapshot_node_name &&
        (block_node_find(vm, args->snapshot_node_name) || blk_find(vm, args->snapshot_node_name))) {
        return error_set(err, "New overlay node-name already in use");
    }
    return true;
}

BlockOverlay *qmp_snapshot_put_new(Vm *vm, const BlockdevSnapshotSync *args, GError **err)
{
    BlockOverlayImage image = {.filename = args->snapshot_file,
                               .format = args->format ? args->format : "qcow2",
                               .node_name = args->snapshot_node_name,
                               .existing = args->has_mode && args->mode == NEW_IMAGE_MODE_EXISTING};
    BlockNode *base = qmp_find_node(vm, args->device, args->node_name, err), *overlay;
    BlockOverlay *o;

    if (!base || !check_new(vm, args, err)) {
        return NULL;
    }
    base = below_own_filters(base);
    if (!block_overlay_check_base(base, err)) {
        return NULL;
    }
    overlay = block_overlay_open(base, &image, err);
    if (!overlay) {
        return NULL;
    }
    o = block_overlay_put(base, overlay, err);
    block_node_unref(overlay);
    return o;
}

static bool commit(BlockOverlay *o)
{
    if (o) {
        block_overlay_commit(o);
    }
    return o != NULL;
}

bool qmp_blockdev_snapshot(QmpCall *call, GError **err)
{
    return commit(qmp_snapshot_put(call->vm, call->args, err));
}

bool qmp_blockdev_snapshot_sync(QmpCall *call, GError **err)
{
    return commit(qmp_snapshot_put_new(call->vm, call->args, err));
}

/* ---- inside images -------------------------------------------------------------------------------- */

SnapshotInfo *qmp_snapshot_info(const BlockSnapshot *s)
{
    SnapshotInfo *info = g_new0(SnapshotInfo, 1);

    info->id = g_strdup(s->id);
    info->name = g_strdup(s->name);
    info->vm_state_size = (int64_t)s->vm_state_size;
    info->date_sec = (int64_t)s->date_sec;
    info->date_nsec = (int64_t)s->date_nsec;
    info->vm_clock_sec = (int64_t)s->vm_clock_ns / NSEC_PER_SEC;
    info->vm_clock_nsec = (int64_t)s->vm_clock_ns % NSEC_PER_SEC;
    info->has_icount = s->has_icount;
    info->icount = (int64_t)s->icount;
    return info;
}

/* What a device, or somebody else, holds: not what is somewhere below. */
static BlockNode *find_root(Vm *vm, const char *device, GError **err)
{
    BlockNode *node = qmp_find_node(vm, device, device, err);

    for (unsigned i = 0; node && i < node->parents->len; i++) {
        if (((const BlockChild *)g_ptr_array_index(node->parents, i))->blk) {
            return node;
        }
    }
    if (node && node->parents->len) {
        error_set(err, "Need a root block node");
        return NULL;
    }
    return node;
}

/* Work on the internal snapshots of one node; runs in the owner, drained. */
typedef struct Work {
    BlockNode *node;
    const char *device, *id, *name;
    BlockSnapshot *snapshot; /* to make */
    SnapshotInfo *info;      /* of what was deleted */
    GError **err;
    bool ok;
} Work;

static const BlockSnapshot *find(const GPtrArray *list, const char *id, const char *name)
{
    for (unsigned i = 0; i < list->len; i++) {
        const BlockSnapshot *s = g_ptr_array_index(list, i);

        if ((!id || !strcmp(s->id, id)) && (!name || !strcmp(s->name, name))) {
            return s;
        }
    }
    return NULL;
}

static void make(void *opaque)
{
    Work *w = opaque;
    g_autoptr(GPtrArray) list = w->node->drv->snapshot_list(w->node, w->err);

    if (list && find(list, NULL, w->name)) {
        error_set(w->err, "Snapshot with name '%s' already exists on device '%s'", w->name, w->device);
    } else if (list) {
        w->ok = w->node->drv->snapshot_create(w->node, w->snapshot, w->err);
    }
}

static void delete(void *opaque)
{
    Work *w = opaque;
    g_autoptr(GPtrArray) list = w->node->drv->snapshot_list(w->node, w->err);
    const BlockSnapshot *s = list ? find(list, w->id, w->name) : NULL;

    if (list && !s) {
        error_set(w->err, "Snapshot with id '%s' and name '%s' does not exist on device '%s'", w->id ? w->id : "null",
                  w->name ? w->name : "null", w->device);
    }
    w->ok = s && w->node->drv->snapshot_delete(w->node, s->id, w->err);
    w->info = w->ok ? qmp_snapshot_info(s) : NULL;
}

static bool do_work(Work *w, LoopFn *fn)
{
    GPtrArray *section = block_drain_tree(w->node);

    block_loop_call(w->node->loop, fn, w);
    block_undrain_tree(section);
    return w->ok;
}

bool qmp_snapshot_make(Vm *vm, const BlockdevSnapshotInternal *args, InternalSnapshot *made, GError **err)
{
    BlockNode *node = find_root(vm, args->device, err);
    BlockSnapshot s = {.name = args->name};
    struct timespec now;

    if (!node) {
        return false;
    }
    node = block_node_skip_filters(node);
    if (!node->drv->snapshot_create || node->read_only) {
        return error_set(err, "Block format '%s' used by device '%s' does not support internal snapshots%s", node->drv->name,
                         args->device, node->drv->snapshot_create ? " while it is read only" : "");
    }
    if (!*args->name) {
        return error_set(err, "Name is empty");
    }
    clock_gettime(CLOCK_REALTIME, &now);
    s.date_sec = (uint64_t)now.tv_sec;
    s.date_nsec = (uint64_t)now.tv_nsec;
    s.vm_clock_ns = (uint64_t)clock_now(vm, CLOCK_VIRTUAL);
    if (!do_work(&(Work){.node = node, .device = args->device, .name = args->name, .snapshot = &s, .err = err}, make)) {
        return false;
    }
    *made = (InternalSnapshot){block_node_ref(node), s.id};
    return true;
}

void qmp_snapshot_forget(InternalSnapshot *made)
{
    block_node_unref(made->node);
    g_free(made->id);
}

void qmp_snapshot_undo(InternalSnapshot *made)
{
    g_autoptr(GError) err = NULL;
    Work w = {.node = made->node, .device = made->node->name, .id = made->id, .err = &err};

    if (!do_work(&w, delete)) {
        report_error("Could not take back the internal snapshot %s of '%s': %s", made->id, made->node->name, err->message);
    }
    qapi_free(&qapi_type_SnapshotInfo, w.info);
    qmp_snapshot_forget(made);
}

bool qmp_blockdev_snapshot_internal_sync(QmpCall *call, GError **err)
{
    InternalSnapshot made;
    bool ok = qmp_snapshot_make(call->vm, call->args, &made, err);

    if (ok) {
        qmp_snapshot_forget(&made);
    }
    return ok;
}

bool qmp_blockdev_snapshot_delete_internal_sync(QmpCall *call, GError **err)
{
    const BlockdevSnapshotDeleteInternalSyncArgs *args = call->args;
    BlockNode *node = find_root(call->vm, args->device, err);
    Work w = {.device = args->device, .id = args->id, .name = args->name, .err = err};

    if (!node) {
        return false;
    }
    if (!args->id && !args->name) {
        return error_set(err, "Name or id must be provided");
    }
    w.node = block_node_skip_filters(node);
    if (!w.node->drv->snapshot_delete || w.node->read_only) {
        return error_set(err, "Failed to get a snapshot list: %s", w.node->read_only ? "it is read only" : "Operation not supported");
    }
    if (!do_work(&w, delete)) {
        return false;
    }
    call->result = w.info;
    return true;
}

/* ---- names of backing files ----------------------------------------------------------------------- */

static bool chain_has(BlockNode *node, const BlockNode *image)
{
    while (node && node != image) {
        BlockNode *bare = block_node_skip_filters(node);

        node = bare != node ? bare : block_node_backing(node);
    }
    return node != NULL;
}

bool qmp_change_backing_file(QmpCall *call, GError **err)
{
    const ChangeBackingFileArgs *args = call->args;
    BlockNode *node = find_root(call->vm, args->device, err), *image;

    if (!node) {
        return false;
    }
    image = qmp_find_node(call->vm, NULL, args->image_node_name, err);
    if (!image) {
        return false;
    }
    if (!image->backing) {
        return error_set(err, "not allowing backing file change on an image without a backing file");
    }
    if (!chain_has(node, image)) {
        return error_set(err, "'%s' and image file are not in the same chain", args->device);
    }
    return block_overlay_rename_backing(image, args->backing_file, err);
}
