/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Overlays in a running VM: a node gets another one over it, which takes the writes from then on. It becomes the other's
 * backing file and is only read (blockdev-snapshot, blockdev-snapshot-sync).
 *
 * All of it: main thread, VM lock.
 */
#ifndef BLOCK_OVERLAY_H
#define BLOCK_OVERLAY_H

#include "block/block_int.h"

typedef struct BlockOverlay BlockOverlay;

/* May base, or the tree that it stands for in a device, get an overlay at all? */
bool block_overlay_check_base(const BlockNode *base, GError **err);
/* What a new overlay's image is made with. */
typedef struct BlockOverlayImage {
    const char *filename, *format;
    const char *node_name; /* NULL: a generated one */
    bool existing;         /* the image is there; else it is made, of the size of base, which it names */
} BlockOverlayImage;
/* Opens it, with the cache mode and engine of base and no backing file. One reference; NULL with *err. */
BlockNode *block_overlay_open(const BlockNode *base, const BlockOverlayImage *image, GError **err);

/* From now on whoever used base uses overlay, which has base as its backing file. What base had in memory is in its file.
 * The tree stays drained until commit or abort. NULL with *err: nothing has changed. */
BlockOverlay *block_overlay_put(BlockNode *base, BlockNode *overlay, GError **err);
/* base is only read from now on. Those that were put first are committed first. */
void block_overlay_commit(BlockOverlay *o);
/* As before block_overlay_put. Those that were put last are taken away first. */
void block_overlay_abort(BlockOverlay *o);

/* node, which has a backing file, calls it so from now on, in its image; what is open stays. */
bool block_overlay_rename_backing(BlockNode *node, const char *filename, GError **err);

/* What overlay itself holds goes into its backing file, which it has; then it is empty, where its format can be
 * (block/commit.c). Waits for all of it. */
bool block_overlay_merge_down(BlockNode *overlay, GError **err);

#endif
