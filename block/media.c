/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Removable media: trays that the guest or a manager moves, media that are put in and taken out.
 *
 * A device without a tray (floppy) sees its medium change at once; one with a tray sees it when the
 * tray closes.
 *
 * Guests move trays in the device's loop. So commands do there, in one step each, what guests' commands look at too (the
 * tray, its lock, blk->root), and in the main thread what changes the graph, with the medium's tree drained. A device of the
 * main loop whose medium is in an iothread (gates.h: home) has its steps in the main thread, which has the owner set
 * blk->root and waits for it.
 */
#include "block/backend_int.h"
#include "core/event.h"
#include "qapi/qapi-block.h"
#include "util/trace.h"

bool blk_is_removable(const BlockBackend *blk)
{
    return !blk->ops || blk->ops->media_changed;
}

bool blk_check_disk(const BlockBackend *blk, GError **err)
{
    if (!blk->root) {
        return error_set(err, "Device needs media, but drive%s%s%s is empty: give it a file=", blk->name ? " '" : "",
                         blk->name ? blk->name : "", blk->name ? "'" : "");
    }

    uint64_t size = block_node_size(blk->root->node);

    if (blk_is_sg_char(blk)) {
        return error_set(err, "'%s' takes SCSI commands and has no blocks: only scsi-generic can use it; give the disk's block "
                         "device instead", blk_filename(blk));
    }
    if (size == 0 && *blk_filename(blk)) {
        return error_set(err, "image '%s' is empty (0 bytes); "
                              "is it the right file? 'qemu-img create' makes one with a size",
                         blk_filename(blk));
    }
    if (size > 0 && size < BLOCK_SECTOR) {
        return error_set(err, "image '%s' is too short: it has %" PRIu64 " bytes, and a disk has at least one sector of %u. "
                         "Is it the right file, and whole?", blk_filename(blk), size, BLOCK_SECTOR);
    }
    return true;
}

bool blk_has_tray(const BlockBackend *blk)
{
    return blk->ops && blk->ops->is_tray_open;
}

bool blk_tray_is_open(const BlockBackend *blk)
{
    return blk_has_tray(blk) && blk->ops->is_tray_open(blk->opaque);
}

bool blk_medium_is_locked(const BlockBackend *blk)
{
    return __atomic_load_n(&blk->locked, __ATOMIC_RELAXED);
}

char *blk_qdev(const BlockBackend *blk)
{
    return !blk->dev ? NULL : blk->dev->id ? g_strdup(blk->dev->id) : object_path(blk->dev);
}

const char *blk_qdev_name(const BlockBackend *blk)
{
    return blk->name ? blk->name : blk->dev && blk->dev->id ? blk->dev->id : blk_node_name(blk);
}

BlockBackend *blk_by_qdev(Vm *vm, const char *id)
{
    for (unsigned i = 0; vm->block && i < vm->block->backends->len; i++) {
        BlockBackend *blk = g_ptr_array_index(vm->block->backends, i);
        g_autofree char *path = blk->dev ? object_path(blk->dev) : NULL;

        if (blk->dev && (!g_strcmp0(blk->dev->id, id) || !strcmp(path, id))) {
            return blk;
        }
    }
    return NULL;
}

bool blk_is_used(const BlockBackend *blk)
{
    return blk->dev || blk->ops;
}

/* In any thread; vm_emit_posted brings it out at once where a command's answer shall come behind it. */
static void tell_tray(BlockBackend *blk, bool open)
{
    g_autofree char *id = blk_qdev(blk);
    DeviceTrayMovedEvent event = {
        .device = (char *)blk_name(blk), .id = id ? id : (char *)"", .tray_open = open};

    vm_post_event(blk->vm, &qapi_event_DEVICE_TRAY_MOVED, &event);
}

void blk_eject(BlockBackend *blk, bool eject)
{
    trace(blk_eject, "blk %s eject %d", blk_name(blk), eject);
    tell_tray(blk, eject);
}

void blk_lock_medium(BlockBackend *blk, bool locked)
{
    trace(blk_lock_medium, "blk %s locked %d", blk_name(blk), locked);
    __atomic_store_n(&blk->locked, locked, __ATOMIC_RELAXED);
}

/* ---- in the owner ----------------------------------------------------------------------------- */

/* A command's step, in the thread that the guest's commands run in: none of them comes in between. */
typedef struct MediumStep {
    BlockBackend *blk;
    BlockChild *root;        /* to put in */
    bool open, force, close; /* move the tray before, although the guest locked it; after */
    bool was_locked, was_closed; /* it was, so nothing was done */
} MediumStep;

/* The device sees a medium come (tray closed) or go (tray opened). */
static void change_medium(BlockBackend *blk, bool loaded)
{
    bool was_open = blk_tray_is_open(blk);

    if (blk->ops && blk->ops->media_changed) {
        blk->ops->media_changed(blk->opaque, loaded);
        if (blk_tray_is_open(blk) != was_open) {
            tell_tray(blk, !was_open);
        }
    }
}

/* False: it does not stand as it must. */
static bool prepare_tray(MediumStep *step)
{
    BlockBackend *blk = step->blk;
    const bool locked = blk_medium_is_locked(blk);

    if (!blk_has_tray(blk) || blk_tray_is_open(blk)) {
        return true;
    }
    if (!step->open) {
        step->was_closed = true;
        return false;
    }
    if (locked && blk->ops->eject_request) {
        blk->ops->eject_request(blk->opaque, step->force);
    }
    if (locked && !step->force) {
        step->was_locked = true;
        return false;
    }
    change_medium(blk, false);
    return true;
}

static void open_step(void *opaque) { prepare_tray(opaque); }

static void close_step(void *opaque)
{
    BlockBackend *blk = ((MediumStep *)opaque)->blk;

    if (blk_tray_is_open(blk)) {
        change_medium(blk, true);
    }
}

/* The node's drained sections are not blk's any more: what they held ends without a medium. */
static void drop_step(void *opaque)
{
    BlockBackend *blk = ((MediumStep *)opaque)->blk;

    blk->root = NULL;
    while (blk->quiesced) {
        blk_root_drain_end(blk);
    }
}

static void remove_step(void *opaque)
{
    MediumStep *step = opaque;

    if (prepare_tray(step)) {
        block_loop_call(step->blk->loop, drop_step, step);
        if (!blk_has_tray(step->blk)) {
            change_medium(step->blk, false);
        }
    }
}

/* The node's drained sections are blk's now. */
static void put_step(void *opaque)
{
    MediumStep *step = opaque;
    BlockBackend *blk = step->blk;

    blk->root = step->root;
    for (unsigned i = 0; i < step->root->node->quiesced; i++) {
        blk_root_drain_begin(blk);
    }
    blk_gates_wait(blk);
}

static void insert_step(void *opaque)
{
    MediumStep *step = opaque;
    BlockBackend *blk = step->blk;

    if (!prepare_tray(step)) {
        return;
    }
    block_loop_call(blk->loop, put_step, step);
    if (!blk_has_tray(blk) || step->close) {
        change_medium(blk, true);
    }
}

/* ---- what managers do ------------------------------------------------------------------------- */

static bool run_step(LoopFn *fn, MediumStep *step, GError **err)
{
    BlockBackend *blk = step->blk;

    block_loop_call(blk_device_loop(blk), fn, step);
    vm_emit_posted(blk->vm);
    if (step->was_locked) {
        return error_set(err,
                         "Device '%s' is locked and force was not specified, wait for tray to open "
                         "and try again",
                         blk_qdev_name(blk));
    }
    return !step->was_closed || error_set(err, "Tray of device '%s' is not open", blk_qdev_name(blk));
}

/* A tree that no device uses is the main loop's. */
static void come_home(BlockNode *node)
{
    if (!block_tree_has_device(node, NULL)) {
        block_node_set_loop(node, block_loop_main(node->vm));
    }
}

/* An empty drive of the main loop is there only. */
static void leave_loop(BlockBackend *blk)
{
    if (blk_needs_home(blk) && !blk->root) {
        blk_set_loop(blk, blk->vm->loop, NULL);
    }
}

static bool take_out(LoopFn *fn, MediumStep *step, GError **err)
{
    BlockBackend *blk = step->blk;
    BlockChild *root = blk->root;
    BlockNode *node = block_node_ref(root->node);
    GPtrArray *tree = block_drain_tree(node);
    bool ok = run_step(fn, step, err);

    if (ok) {
        block_detach_child(root);
    }
    block_undrain_tree(tree);
    if (ok) {
        leave_loop(blk);
        come_home(node);
    }
    block_node_unref(node);
    return ok;
}

static void drop_only_step(void *opaque) { block_loop_call(((MediumStep *)opaque)->blk->loop, drop_step, opaque); }

void blk_drop_medium(BlockBackend *blk)
{
    if (blk->root) {
        take_out(drop_only_step, &(MediumStep){.blk = blk}, NULL);
    }
}

static bool check_removable(const BlockBackend *blk, GError **err)
{
    return blk_is_removable(blk) ||
           error_set(err, "Device '%s' is not removable", blk_qdev_name(blk));
}

bool blk_open_tray(BlockBackend *blk, bool force, GError **err)
{
    return check_removable(blk, err) && run_step(open_step, &(MediumStep){.blk = blk, .open = true, .force = force}, err);
}

bool blk_close_tray(BlockBackend *blk, GError **err)
{
    return check_removable(blk, err) && run_step(close_step, &(MediumStep){.blk = blk}, err);
}

static bool check_open(const BlockBackend *blk, GError **err)
{
    return !blk_has_tray(blk) || blk_tray_is_open(blk) ||
           error_set(err, "Tray of device '%s' is not open", blk_qdev_name(blk));
}

bool blk_remove_medium(BlockBackend *blk, GError **err)
{
    return check_removable(blk, err) && check_open(blk, err) &&
           (!blk->root || take_out(remove_step, &(MediumStep){.blk = blk}, err));
}

/* The node goes where the device is; where another device keeps it, this one comes to it. */
static bool meet(BlockBackend *blk, BlockNode *node, GError **err)
{
    if (!block_tree_has_device(node, NULL)) {
        if (!blk_roots_need_homes(node, blk->loop, err)) {
            return false;
        }
        block_node_set_loop(node, blk->loop);
    }
    if (node->loop == blk->loop) {
        return true;
    }
    if (blk->ops && blk->ops->follow) {
        return blk->ops->follow(blk->opaque, node->loop->loop, err);
    }
    return (!blk_needs_home(blk) || blk_make_home(blk, err)) && blk_set_loop(blk, node->loop->loop, err);
}

/* What the device asks of this medium. */
static uint32_t wanted_perms(BlockBackend *blk, const BlockNode *node)
{
    if (!blk->ops) {
        return BLOCK_PERM_CONSISTENT_READ;
    }
    if (blk->ops->writes_where_it_can) {
        blk->used = BLOCK_PERM_CONSISTENT_READ | (node->read_only ? 0 : BLOCK_PERM_WRITE);
    }
    return blk->used;
}

static bool put_in(MediumStep *step, BlockNode *node, GError **err)
{
    BlockBackend *blk = step->blk;
    GPtrArray *tree;
    bool ok;

    if (!meet(blk, node, err)) {
        return false;
    }
    tree = block_drain_tree(node);
    step->root = block_attach_child(NULL, blk, node, "root", 0, wanted_perms(blk, node),
                                    blk->ops ? blk->shared : BLOCK_PERM_ALL, err);
    ok = step->root && run_step(insert_step, step, err);
    if (step->root && !ok) {
        block_detach_child(step->root);
    }
    block_undrain_tree(tree);
    if (!ok) {
        leave_loop(blk);
        come_home(node);
    }
    return ok;
}

bool blk_insert_medium(BlockBackend *blk, BlockNode *node, GError **err)
{
    if (!check_removable(blk, err) || !check_open(blk, err)) {
        return false;
    }
    if (blk->root) {
        return error_set(err, "There already is a medium in device '%s'", blk_qdev_name(blk));
    }
    return put_in(&(MediumStep){.blk = blk}, node, err);
}

/* opts: what the operator's name stands for, and it is no path. *probed: nobody said the format. */
static BlockNode *open_named(Vm *vm, BlockOpts *opts, const char *format, const BlockNode *inherit, bool *probed, GError **err)
{
    BlockNode *child = NULL, *node;

    if (block_opts_peek(opts, "driver")) {
        if (format) {
            error_set(err, "Driver specified twice: 'json:' names it, and so does format '%s'", format);
            return NULL;
        }
        *probed = false;
    } else if (format) {
        block_opts_set(opts, "driver", format);
    } else {
        child = block_probe_child(vm, opts, inherit, err);
        if (!child) {
            return NULL;
        }
    }
    node = block_node_open(vm, opts, inherit, err);
    block_node_unref(child);
    return node;
}

static BlockNode *open_medium(Vm *vm, const char *name, const char *format, const BlockNode *inherit, GError **err)
{
    BlockOpts *opts = block_opts_new();
    BlockNode *node = NULL;
    bool probed = !format;

    if (block_opts_set_filename(opts, name, err)) {
        const char *path = block_opts_peek(opts, "file.filename");

        node = path ? block_open_path(vm, path, format, inherit, err) : open_named(vm, opts, format, inherit, &probed, err);
    }
    if (node) {
        node->probed = probed && !strcmp(node->drv->name, "raw") && !node->read_only;
    }
    block_opts_free(opts);
    return node;
}

bool blk_change_medium(BlockBackend *blk, const char *filename, const char *format, bool force,
                       BlkChangeMode mode, GError **err)
{
    BlockNode inherit = {0}, *node;
    const BlockNode *old = blk_node(blk);
    bool ok;

    inherit.auto_read_only = mode != BLK_CHANGE_READ_WRITE;
    inherit.read_only =
        mode == BLK_CHANGE_READ_ONLY ||
        (mode == BLK_CHANGE_RETAIN &&
         (old ? old->read_only : blk->info ? blk->info->is_cdrom : !(blk->used & BLOCK_PERM_WRITE)));
    if (!check_removable(blk, err)) {
        return false;
    }
    node = open_medium(blk->vm, filename, format, &inherit, err);
    if (!node) {
        return false;
    }
    ok = blk_eject_medium(blk, force, err) &&
         put_in(&(MediumStep){.blk = blk, .open = true, .force = true, .close = true}, node, err);
    block_node_unref(node);
    return ok;
}

bool blk_eject_medium(BlockBackend *blk, bool force, GError **err)
{
    MediumStep step = {.blk = blk, .open = true, .force = force};

    return check_removable(blk, err) && (blk->root ? take_out(remove_step, &step, err) : run_step(open_step, &step, err));
}
