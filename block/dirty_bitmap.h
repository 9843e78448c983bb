/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Dirty bitmaps: which parts of a node were written since somebody asked.
 *
 * A bitmap belongs to one node and has a bit for each granularity bytes of it. While it is enabled,
 * requests that change the node's content set bits when they are submitted. So who takes bits away
 * to copy what they stand for does both with the node drained in between: a request that was under way is
 * over then.
 *
 * A persistent bitmap is kept by the node's driver, in the image, when the node is closed. One that
 * was not stored properly (the process died) comes back inconsistent: it can only be removed.
 *
 * Lists and names change in the main thread under the VM lock with the node drained; bits are the
 * owner's. Functions that change either say "drained"; they may be called in the main thread then.
 */
#ifndef BLOCK_DIRTY_BITMAP_H
#define BLOCK_DIRTY_BITMAP_H

#include "block/block_int.h"

#define BLOCK_BITMAP_MAX_NAME 1023

struct DirtyBitmap {
    BlockNode *node;
    char *name;
    uint8_t *bits;  /* malloc; the lowest bit of the first byte is the node's beginning. NULL:
                     * inconsistent */
    uint64_t size;  /* bytes of the node that it covers */
    uint8_t granularity_bits; /* 9 to 31 */
    bool enabled;    /* records */
    bool persistent;
    bool changed;    /* its bits, since the driver loaded or stored it */
    unsigned busy;   /* jobs and exports that use it: nobody else may change it */
    void *stored;    /* the driver's, of a bitmap that is in its image; NULL: it is not there yet */
};

/* node's bitmap of this name, or NULL. */
DirtyBitmap *block_dirty_bitmap_find(const BlockNode *node, const char *name);
/* granularity: bytes, 0 for the default (the cluster size, within 4 KiB and 64 KiB). Drained. */
DirtyBitmap *block_dirty_bitmap_add(BlockNode *node, const char *name, uint64_t granularity,
                                         bool persistent, bool enabled, GError **err);
/* For drivers that load one: no checks but that of the memory (NULL: too large); bits are zero. */
DirtyBitmap *block_dirty_bitmap_restore(BlockNode *node, const char *name,
                                             unsigned granularity_bits);
/* Would its removal be refused? Nothing else can make it fail. */
bool block_dirty_bitmap_check_remove(const DirtyBitmap *b, GError **err);
/* The bitmap is gone; also from the image. Drained. */
bool block_dirty_bitmap_remove(DirtyBitmap *b, GError **err);
/* Frees it, whatever it is. */
void block_dirty_bitmap_free(DirtyBitmap *b);
bool block_dirty_bitmap_clear(DirtyBitmap *b, GError **err);                    /* drained */
bool block_dirty_bitmap_set_enabled(DirtyBitmap *b, bool enabled, GError **err); /* drained */
/* What is dirty in source becomes dirty in target too; granularities may differ. Both drained. */
bool block_dirty_bitmap_merge(DirtyBitmap *target, const DirtyBitmap *source, GError **err);
/* Would a merge be refused? */
bool block_dirty_bitmap_check_merge(const DirtyBitmap *target, const DirtyBitmap *source, GError **err);
/* SHA-256 of its bits, padded to 8 bytes, as QEMU shows it to its tests. The caller frees. Drained. */
char *block_dirty_bitmap_digest(const DirtyBitmap *b);
/* Can its content be used and (change) changed by somebody new? */
bool block_dirty_bitmap_check(const DirtyBitmap *b, bool change, GError **err);

/* Bytes that its dirty bits stand for. Owner. */
uint64_t block_dirty_bitmap_count(const DirtyBitmap *b);
/* The first byte from offset on whose state is this; b->size: there is none. Owner. */
uint64_t block_dirty_bitmap_next(const DirtyBitmap *b, uint64_t offset, bool dirty);
/* Owner. reset: bits that stand for other bytes too stay. */
void block_dirty_bitmap_set(DirtyBitmap *b, uint64_t offset, uint64_t len);
void block_dirty_bitmap_reset(DirtyBitmap *b, uint64_t offset, uint64_t len);
/* Bytes of b->bits. */
uint64_t block_dirty_bitmap_bytes(const DirtyBitmap *b);

/* ---- for block/ ------------------------------------------------------------------------------ */

/* The node's content changes here. Owner. */
void block_dirty_bitmaps_record(BlockNode *node, uint64_t offset, uint64_t len);
/* Could the node become so large? The main thread. */
bool block_dirty_bitmaps_check_resize(const BlockNode *node, uint64_t size, GError **err);
/* It has. Owner. */
void block_dirty_bitmaps_resize(BlockNode *node, uint64_t size);
void block_dirty_bitmaps_free_all(BlockNode *node);

#endif
