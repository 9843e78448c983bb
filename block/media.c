/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Removable media: trays that the guest or a manager moves, media that are put in and taken out.
 *
 * A device without a tray (floppy) sees its medium change at once; one with a tray sees it when the
 * tray closes.
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
    return blk->locked;
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

void blk_drop_medium(BlockBackend *blk)
{
    if (blk->root) {
        blk_drain(blk);
        block_detach_child(blk->root);
        blk->root = NULL;
    }
}

/* by_guest: in any thread. */
static void tell_tray(BlockBackend *blk, bool open, bool by_guest)
{
    g_autofree char *id = blk_qdev(blk);
    DeviceTrayMovedEvent event = {
        .device = (char *)blk_name(blk), .id = id ? id : (char *)"", .tray_open = open};

    (by_guest ? vm_post_event : vm_emit_event)(blk->vm, &qapi_event_DEVICE_TRAY_MOVED, &event);
}

void blk_eject(BlockBackend *blk, bool eject)
{
    trace(blk_eject, "blk %s eject %d", blk_name(blk), eject);
    tell_tray(blk, eject, true);
}

void blk_lock_medium(BlockBackend *blk, bool locked)
{
    trace(blk_lock_medium, "blk %s locked %d", blk_name(blk), locked);
    blk->locked = locked;
}

/* The device sees a medium come (tray closed) or go (tray opened). */
static void change_medium(BlockBackend *blk, bool loaded)
{
    bool was_open = blk_tray_is_open(blk);

    if (blk->ops && blk->ops->media_changed) {
        blk->ops->media_changed(blk->opaque, loaded);
        if (blk_tray_is_open(blk) != was_open) {
            tell_tray(blk, !was_open, false);
        }
    }
}

static bool check_removable(const BlockBackend *blk, GError **err)
{
    return blk_is_removable(blk) ||
           error_set(err, "Device '%s' is not removable", blk_qdev_name(blk));
}

bool blk_open_tray(BlockBackend *blk, bool force, GError **err)
{
    bool locked = blk->locked;

    if (!check_removable(blk, err)) {
        return false;
    }
    if (!blk_has_tray(blk) || blk_tray_is_open(blk)) {
        return true;
    }
    if (locked && blk->ops->eject_request) {
        blk->ops->eject_request(blk->opaque, force);
    }
    if (locked && !force) {
        return error_set(err,
                         "Device '%s' is locked and force was not specified, wait for tray to open "
                         "and try again",
                         blk_qdev_name(blk));
    }
    change_medium(blk, false);
    return true;
}

bool blk_close_tray(BlockBackend *blk, GError **err)
{
    if (!check_removable(blk, err)) {
        return false;
    }
    if (blk_tray_is_open(blk)) {
        change_medium(blk, true);
    }
    return true;
}

static bool check_open(const BlockBackend *blk, GError **err)
{
    return !blk_has_tray(blk) || blk_tray_is_open(blk) ||
           error_set(err, "Tray of device '%s' is not open", blk_qdev_name(blk));
}

bool blk_remove_medium(BlockBackend *blk, GError **err)
{
    if (!check_removable(blk, err) || !check_open(blk, err)) {
        return false;
    }
    if (blk->root) {
        blk_drop_medium(blk);
        if (!blk_has_tray(blk)) {
            change_medium(blk, false);
        }
    }
    return true;
}

bool blk_insert_medium(BlockBackend *blk, BlockNode *node, GError **err)
{
    if (!check_removable(blk, err) || !check_open(blk, err)) {
        return false;
    }
    if (blk->root) {
        return error_set(err, "There already is a medium in device '%s'", blk_qdev_name(blk));
    }
    blk_drain(blk);
    block_node_set_loop(node, blk->loop);
    blk->root = block_attach_child(NULL, blk, node, "root", 0,
                                   blk->ops ? blk->used : BLOCK_PERM_CONSISTENT_READ,
                                   blk->ops ? blk->shared : BLOCK_PERM_ALL, err);
    if (!blk->root) {
        return false;
    }
    if (!blk_has_tray(blk)) {
        change_medium(blk, true);
    }
    return true;
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
    ok = blk_open_tray(blk, force, err) && blk_remove_medium(blk, err) &&
         blk_insert_medium(blk, node, err) && blk_close_tray(blk, err);
    block_node_unref(node);
    return ok;
}

bool blk_eject_medium(BlockBackend *blk, bool force, GError **err)
{
    return blk_open_tray(blk, force, err) && blk_remove_medium(blk, err);
}
