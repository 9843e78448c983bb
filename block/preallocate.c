/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * preallocate: a filter below a format that makes the file grow in large pieces: a write that reaches
 * its end first allocates prealloc-size bytes beyond it, up to a multiple of prealloc-align. What is
 * left over is cut off when the node is closed.
 */
#include <errno.h>

#include "block/block_int.h"

typedef struct PreallocState {
    uint64_t align, size;
    uint64_t data_end;  /* what was written, or there from the beginning */
    uint64_t file_end;  /* the file's real end */
    BlockIo grow;       /* under way while growing */
    uint64_t grow_from; /* it makes zeros behind this: nothing else writes there meanwhile */
    bool growing, refused;
    BlockIo *waiting, **waiting_tail;
    BlockNode *node;
} PreallocState;

static void pass_on(BlockNode *node, BlockIo *io)
{
    PreallocState *p = node->state;

    if (io->op == BLOCK_WRITE || io->op == BLOCK_ZERO) {
        uint64_t end = io->offset + io->len;

        if (end > p->data_end) {
            p->data_end = end;
            block_node_set_size(node, end);
        }
        p->file_end = MAX(p->file_end, end);
    }
    block_node_submit(node->file->node, io);
}

static void grow_done(BlockIo *io, int result)
{
    PreallocState *p = container_of(io, PreallocState, grow);
    BlockIo *list = p->waiting;

    p->growing = false;
    if (result < 0) {
        p->refused = true; /* the file system cannot: as without this filter */
    }
    p->waiting = NULL;
    p->waiting_tail = &p->waiting;
    while (list) {
        BlockIo *next = list->next;

        pass_on(p->node, list);
        list = next;
    }
}

/* Who else has the file may have made it longer: what is there then is data. */
static void look_at_file(BlockNode *node)
{
    PreallocState *p = node->state;
    uint64_t size = block_node_size(node->file->node);

    if (size > p->file_end) {
        p->data_end = p->file_end = size;
    }
}

static void prealloc_submit(BlockNode *node, BlockIo *io)
{
    PreallocState *p = node->state;
    uint64_t end = io->offset + io->len;
    uint64_t ready; /* up to here the file is there, and nobody makes zeros of what is written */

    look_at_file(node);
    ready = p->growing ? p->grow_from : p->file_end;

    if ((io->op != BLOCK_WRITE && io->op != BLOCK_ZERO) || end <= ready || (p->refused && !p->growing)) {
        pass_on(node, io);
        return;
    }
    io->next = NULL;
    *p->waiting_tail = io;
    p->waiting_tail = &io->next;
    if (!p->growing) {
        uint64_t from = p->file_end, to = align_up(end + p->size, p->align);

        p->growing = true;
        p->grow_from = from;
        p->file_end = to;
        p->grow = (BlockIo){.op = BLOCK_ZERO,
                            .no_fallback = true,
                            .offset = from,
                            .len = to - from,
                            .done = grow_done};
        block_node_submit(node->file->node, &p->grow);
    }
}

static bool prealloc_busy(BlockNode *node)
{
    return ((PreallocState *)node->state)->growing;
}

/* ---- life ----------------------------------------------------------------------------------- */

static bool prealloc_open(BlockNode *node, BlockOpts *opts, GError **err)
{
    PreallocState *p = node->state;

    p->align = 1 * MIB;
    p->size = 128 * MIB;
    p->node = node;
    p->waiting_tail = &p->waiting;
    if (!block_opts_take_size(opts, "prealloc-align", &p->align, NULL, err) ||
        !block_opts_take_size(opts, "prealloc-size", &p->size, NULL, err)) {
        return false;
    }
    if (!is_power_of_two(p->align) || p->align < BLOCK_SECTOR || p->size > INT64_MAX / 4) {
        return error_set(err, "prealloc-align parameter of preallocate filter is not a power of "
                              "two of at least 512, or prealloc-size too large");
    }
    if (!block_filter_open_file(node, opts, err)) {
        return false;
    }
    p->data_end = p->file_end = node->size;
    return true;
}

static bool prealloc_truncate(BlockNode *node, uint64_t size, bool exact, BlockPrealloc prealloc,
                              GError **err)
{
    PreallocState *p = node->state;

    if (!block_ptruncate(node->file->node, size, exact, prealloc, err)) {
        return false;
    }
    p->data_end = p->file_end = size;
    block_node_set_size(node, size);
    return true;
}

/* Only what was allocated here is cut off: while somebody else has the file, what lies behind our end may be theirs. */
static void prealloc_close(BlockNode *node)
{
    PreallocState *p = node->state;
    bool is_ours;

    look_at_file(node);
    is_ours = p->data_end < block_node_size(node->file->node) && node->file->node->parents->len == 1;
    if (is_ours && !node->read_only) {
        block_ptruncate(node->file->node, p->data_end, true, BLOCK_PREALLOC_OFF, NULL);
    }
}

/* It resizes whenever somebody writes. */
static void prealloc_child_perm(BlockNode *node, const BlockChild *child, uint32_t used,
                                uint32_t shared, uint32_t *child_used, uint32_t *child_shared)
{
    *child_used = used | (used & BLOCK_PERM_WRITE ? BLOCK_PERM_RESIZE : 0);
    *child_shared = shared;
}

const BlockDriver block_driver_preallocate = {
    .name = "preallocate",
    .is_filter = true,
    .state_size = sizeof(PreallocState),
    .open = prealloc_open,
    .close = prealloc_close,
    .submit = prealloc_submit,
    .child_perm = prealloc_child_perm,
    .refresh_limits = block_filter_refresh_limits,
    .drain_busy = prealloc_busy,
    .truncate = prealloc_truncate,
};
