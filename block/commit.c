/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commit in a running VM: what an overlay holds is written into its backing file, and the overlay is empty afterwards
 * (HMP's commit, for -snapshot above all). The disk waits meanwhile, and so does the main loop, as in QEMU.
 */
#include <errno.h>

#include "block/overlay.h"

#define PIECE (2 * MIB)

/* What overlay itself has of [offset, end): written to base. *len: bytes dealt with. */
static int copy_piece(BlockNode *overlay, BlockNode *base, uint64_t offset, uint64_t *len, void *buf)
{
    BlockStatus status;
    int ret = block_pstatus(overlay, offset, *len, 0, &status);

    if (ret < 0) {
        return ret;
    }
    *len = MIN(*len, status.bytes);
    if (!*len) {
        return -EIO;
    }
    if (!status.allocated) {
        return 0;
    }
    if (status.zero) {
        return block_pzero(base, offset, *len, BLOCK_FLAG_MAY_UNMAP);
    }
    *len = MIN(*len, PIECE);
    ret = block_pread(overlay, offset, buf, *len);
    return ret < 0 ? ret : block_pwrite(base, offset, buf, *len, 0);
}

static bool copy_all(BlockNode *overlay, BlockNode *base, GError **err)
{
    uint64_t size = block_node_size(overlay), len;
    g_autofree void *buf = g_malloc(PIECE);
    int ret = 0;

    if (block_node_disk_size(base) < size && !block_ptruncate(base, size, true, BLOCK_PREALLOC_OFF, err)) {
        return false;
    }
    for (uint64_t at = 0; at < size && ret >= 0; at += len) {
        len = size - at;
        ret = copy_piece(overlay, base, at, &len, buf);
    }
    ret = ret < 0 ? ret : block_pflush(base); /* the overlay may only be emptied when the base is safe */
    return ret >= 0 || error_set_errno(err, -ret, "Could not write to '%s'", base->name);
}

/* As somebody who writes to base, which the overlay's users allow while nothing of theirs is under way. */
static bool copy_as_writer(BlockNode *overlay, BlockNode *base, GError **err)
{
    BlockChild *backing = overlay->backing;
    BlockBackend *writer;
    bool ok;

    if (!block_child_set_perm(backing, backing->used, BLOCK_PERM_ALL, err)) {
        return false;
    }
    writer = blk_new(base->vm, NULL, base, BLOCK_PERM_CONSISTENT_READ | BLOCK_PERM_WRITE | BLOCK_PERM_RESIZE, err);
    ok = writer && copy_all(overlay, base, err);
    blk_free(writer);
    return block_node_refresh_perm(overlay, ok ? err : NULL) && ok;
}

static bool commit(BlockNode *overlay, void *opaque, GError **err)
{
    BlockNode *base = overlay->backing->node;
    bool read_only = base->read_only, ok;

    if (read_only && !block_reopen_read_only(base, false, err)) {
        return false;
    }
    ok = copy_as_writer(overlay, base, err);
    if (read_only) {
        ok = block_reopen_read_only(base, true, ok ? err : NULL) && ok;
    }
    return ok && (!overlay->drv->make_empty || overlay->read_only || overlay->drv->make_empty(overlay, err));
}

bool block_overlay_merge_down(BlockNode *overlay, GError **err)
{
    return block_in_main(overlay, commit, NULL, err);
}
