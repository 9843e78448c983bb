/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The limits that a blkdebug node pretends to have: align, max-transfer, opt-write-zero, max-write-zero, opt-discard,
 * max-discard. Requests that do not keep them are taken apart as QEMU's block layer does above its blkdebug.
 */
#ifndef BLOCK_BLKDEBUG_H
#define BLOCK_BLKDEBUG_H

#include "block/block_int.h"

typedef struct DebugLimits {
    uint32_t align, max_transfer, opt_zero, max_zero, opt_discard, max_discard; /* bytes; 0: not said (align: 1) */
    bool any;                   /* at least one of them was said */
    unsigned writers;           /* requests that change data, being taken apart */
    bool alone;                 /* one of them reads, changes and writes blocks: no other may run */
    BlockIo *queue, **tail;     /* wait for that */
} DebugLimits;

/* Takes them out of opts; child_align: of the node below. */
bool debug_limits_take(DebugLimits *limits, BlockOpts *opts, uint32_t child_align, GError **err);
/* True: io is taken over, and ends when its parts have. They go to blkdebug_part. Owner. */
bool debug_limits_submit(BlockNode *node, DebugLimits *limits, BlockIo *io);

/* ---- of blkdebug.c ---- */

/* A request that keeps the limits. */
void blkdebug_part(BlockNode *node, BlockIo *io);
/* One of BlkdebugEvent has come. */
void blkdebug_event(BlockNode *node, const char *event);

#endif
