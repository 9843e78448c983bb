/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * null-co, null-aio: a device that keeps nothing: writes vanish, reads leave the buffer as it is (or
 * give zeros with read-zeroes=on). latency-ns delays the end of each request. For measurements and
 * tests; the two names are one thing here.
 */
#include "block/block_int.h"

typedef struct NullState {
    bool read_zeroes;
    uint64_t latency_ns;
    BlockTimer *timer;            /* for the first that waits; NULL without latency */
    BlockIo *waiting, **tail;     /* in order of submitting; io->progress: when it ends */
} NullState;

/* ---- latency -------------------------------------------------------------------------------- */

static void end_delayed(void *opaque)
{
    BlockNode *node = opaque;
    NullState *n = node->state;
    int64_t now = clock_monotonic_ns();

    while (n->waiting && (int64_t)n->waiting->progress <= now) {
        BlockIo *io = n->waiting;

        n->waiting = io->next;
        if (!n->waiting) {
            n->tail = &n->waiting;
        }
        io->done(io, 0);
    }
    if (n->waiting) {
        block_timer_arm(n->timer, (int64_t)n->waiting->progress);
    }
}

static void start_delayed(BlockNode *node, BlockIo *io)
{
    NullState *n = node->state;

    io->progress = (uint64_t)clock_monotonic_ns() + n->latency_ns;
    io->next = NULL;
    if (!n->waiting) {
        block_timer_arm(n->timer, (int64_t)io->progress);
    }
    *n->tail = io;
    n->tail = &io->next;
}

static void null_detach_loop(BlockNode *node)
{
    NullState *n = node->state;

    block_timer_free(n->timer);
    n->timer = NULL;
}

static void null_attach_loop(BlockNode *node)
{
    NullState *n = node->state;

    n->timer = n->latency_ns ? block_timer_new(node->loop, end_delayed, node) : NULL;
}

static bool null_any_loop(const BlockNode *node)
{
    return !((const NullState *)node->state)->latency_ns;
}

static bool null_busy(BlockNode *node)
{
    return ((NullState *)node->state)->waiting != NULL;
}

/* ---- opening and requests ------------------------------------------------------------------- */

static bool null_open(BlockNode *node, BlockOpts *opts, GError **err)
{
    NullState *n = node->state;

    node->size = 1 * GIB;
    n->tail = &n->waiting;
    if (!block_opts_take_size(opts, "size", &node->size, NULL, err) ||
        !block_opts_take_size(opts, "latency-ns", &n->latency_ns, NULL, err) ||
        !block_opts_take_bool(opts, "read-zeroes", &n->read_zeroes, err)) {
        return false;
    }
    if (n->latency_ns > INT64_MAX / 4) {
        return error_set(err, "latency-ns is invalid");
    }
    null_attach_loop(node);
    return true;
}

static void null_close(BlockNode *node)
{
    null_detach_loop(node);
}

static void null_submit(BlockNode *node, BlockIo *io)
{
    const NullState *n = node->state;

    if (io->op == BLOCK_READ && n->read_zeroes) {
        iov_fill(io->iov, io->iov_count, 0, 0, io->len);
    }
    if (io->op == BLOCK_STATUS) {
        *io->status = (BlockStatus){.bytes = io->len,
                                    .allocated = true,
                                    .data = !n->read_zeroes,
                                    .zero = n->read_zeroes,
                                    .has_offset = true,
                                    .host_offset = io->offset,
                                    .file = node};
    }
    if (!n->latency_ns || io->op == BLOCK_STATUS) {
        block_io_finish_later(node, io, 0);
        return;
    }
    start_delayed(node, io);
}

static bool null_truncate(BlockNode *node, uint64_t size, bool exact, BlockPrealloc prealloc,
                          GError **err)
{
    if (prealloc) {
        return error_set(err, "Unsupported preallocation mode '%s'", block_prealloc_names[prealloc]);
    }
    block_node_set_size(node, size);
    return true;
}

static int64_t null_allocated_size(BlockNode *node)
{
    return 0;
}

#define NULL_DRIVER(NAME)                                                                          \
    {                                                                                              \
        .name = NAME, .state_size = sizeof(NullState), .open = null_open, .close = null_close,     \
        .submit = null_submit, .truncate = null_truncate, .drain_busy = null_busy,                 \
        .any_loop = null_any_loop,                                                                 \
        .detach_loop = null_detach_loop, .attach_loop = null_attach_loop,                          \
        .allocated_size = null_allocated_size,                                                     \
    }

const BlockDriver block_driver_null_co = NULL_DRIVER("null-co");
const BlockDriver block_driver_null_aio = NULL_DRIVER("null-aio");
