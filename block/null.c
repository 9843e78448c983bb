/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * null-co: a device that keeps nothing: writes vanish, reads leave the buffer as it is (or give
 * zeros with read-zeroes=on). For measurements and tests. Latency is not simulated.
 */
#include "block/block_int.h"

typedef struct NullState {
    bool read_zeroes;
} NullState;

static bool null_open(BlockNode *node, BlockOpts *opts, GError **err)
{
    NullState *n = node->state;

    node->size = 1 * GIB;
    return block_opts_take_size(opts, "size", &node->size, NULL, err) &&
           block_opts_take_bool(opts, "read-zeroes", &n->read_zeroes, err);
}

static void null_finish(BlockIo *io, int result)
{
    io->done(io, result);
}

static void null_submit(BlockNode *node, BlockIo *io)
{
    const NullState *n = node->state;

    if (io->op == BLOCK_READ && n->read_zeroes) {
        iov_fill(io->iov, io->iov_count, 0, 0, io->len);
    }
    io->finish = null_finish;
    block_io_finish_later(node->vm, io, 0);
}

const BlockDriver block_driver_null = {
    .name = "null-co",
    .state_size = sizeof(NullState),
    .open = null_open,
    .submit = null_submit,
};
