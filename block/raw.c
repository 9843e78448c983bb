/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * raw: the bytes of its file, or a window of them (offset=, size=). Requests are handed on in
 * place.
 *
 * When nobody said that the image is raw, a write to its first sector that would make it look like
 * another format is refused, as QEMU does: a later probe would believe the guest.
 */
#include <errno.h>

#include "block/block_int.h"
#include "util/log.h"

typedef struct RawState {
    uint64_t offset; /* of the window in the file */
    uint64_t size;   /* of the window, when has_size */
    bool has_size;
} RawState;

static bool raw_open(BlockNode *node, BlockOpts *opts, GError **err)
{
    RawState *r = node->state;
    uint64_t file_size = node->child->size;

    if (!block_opts_take_size(opts, "offset", &r->offset, NULL, err) ||
        !block_opts_take_size(opts, "size", &r->size, &r->has_size, err)) {
        return false;
    }
    if (r->offset > file_size || (r->has_size && r->size > file_size - r->offset)) {
        return error_set(
            err,
            "The sum of offset (%" PRIu64 ") and size (%" PRIu64
            ") has to be smaller or equal to the actual size of the containing file (%" PRIu64 ")",
            r->offset, r->size, file_size);
    }
    if (r->has_size && r->size % BLOCK_SECTOR) {
        return error_set(err, "Specified size is not multiple of %u", BLOCK_SECTOR);
    }
    node->size = r->has_size ? r->size : file_size - r->offset;
    node->filename = g_strdup(node->child->filename);
    if (node->child->read_only && !node->read_only) {
        if (!node->auto_read_only && !node->child->auto_read_only) {
            return error_set(
                err, "Block node is read-only: '%s' was opened so; use read-only=on here too",
                node->child->name);
        }
        node->read_only = true;
    }
    return true;
}

/* ---- writes to sector 0 of a guessed image -------------------------------------------------- */

typedef struct GuardedWrite {
    BlockIo io;
    BlockIo *outer;
    uint8_t first[BLOCK_SECTOR];
    unsigned count;
    struct iovec iov[];
} GuardedWrite;

static void guarded_done(BlockIo *io, int result)
{
    GuardedWrite *g = container_of(io, GuardedWrite, io);
    BlockIo *outer = g->outer;

    g_free(g);
    outer->done(outer, result);
}

static void outer_finish(BlockIo *io, int result)
{
    io->done(io, result);
}

/* Looks at a private copy of the sector, which is also what gets written: the guest may change its
 * own buffer meanwhile. */
static void guarded_write(BlockNode *node, BlockIo *io)
{
    GuardedWrite *g;
    size_t skip = BLOCK_SECTOR;
    const char *format;

    if (io->len < BLOCK_SECTOR) {
        io->finish = outer_finish;
        block_io_finish_later(node->vm, io, -EINVAL);
        return;
    }
    g = g_malloc0(sizeof *g + (io->iov_count + 1) * sizeof(struct iovec));
    iov_to_buf(io->iov, io->iov_count, 0, g->first, sizeof g->first);
    format = block_probe_format(g->first, sizeof g->first, NULL);
    if (strcmp(format, "raw")) {
        report_warning("A guest tried to write a %s header to sector 0 of '%s', whose format was "
                       "guessed as raw: "
                       "refused (format=raw lifts this)",
                       format, node->filename);
        g_free(g);
        io->finish = outer_finish;
        block_io_finish_later(node->vm, io, -EPERM);
        return;
    }
    g->outer = io;
    g->iov[g->count++] = (struct iovec){g->first, sizeof g->first};
    for (unsigned i = 0; i < io->iov_count; i++) {
        struct iovec part = io->iov[i];

        if (skip >= part.iov_len) {
            skip -= part.iov_len;
            continue;
        }
        g->iov[g->count++] = (struct iovec){(char *)part.iov_base + skip, part.iov_len - skip};
        skip = 0;
    }
    g->io = (BlockIo){.op = BLOCK_WRITE,
                      .fua = io->fua,
                      .offset = io->offset,
                      .len = io->len,
                      .iov = g->iov,
                      .iov_count = g->count,
                      .done = guarded_done};
    block_node_submit(node->child, &g->io);
}

/* ---- requests ------------------------------------------------------------------------------- */

static void raw_submit(BlockNode *node, BlockIo *io)
{
    const RawState *r = node->state;
    bool guarded = node->probed && io->op == BLOCK_WRITE && io->offset < BLOCK_SECTOR && io->len;

    io->offset += io->op == BLOCK_FLUSH ? 0 : r->offset;
    if (guarded) {
        guarded_write(node, io);
    } else {
        block_node_submit(node->child, io);
    }
}

static bool raw_set_perm(BlockNode *node, uint32_t used, uint32_t unshared, GError **err)
{
    return block_node_set_perm(node->child, used, unshared, err);
}

const BlockDriver block_driver_raw = {
    .name = "raw",
    .is_format = true,
    .state_size = sizeof(RawState),
    .open = raw_open,
    .submit = raw_submit,
    .set_perm = raw_set_perm,
};
