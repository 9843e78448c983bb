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
    uint64_t file_size;
    bool window = block_opts_peek(opts, "offset") || block_opts_peek(opts, "size");

    /* A window has to keep its place: nobody may resize the file below it. */
    if (!block_open_child(node, opts, "file",
                          BLOCK_ROLE_PRIMARY | (window ? BLOCK_ROLE_DATA : BLOCK_ROLE_FILTERED),
                          false, err)) {
        return false;
    }
    file_size = node->file->node->size;
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
    node->filename = g_strdup(node->file->node->filename);
    return true;
}

/* The window stays. */
static bool raw_reopen_prepare(BlockReopen *reopen, GError **err)
{
    const RawState *r = reopen->node->state;
    uint64_t offset = 0, size = 0;
    bool has_size = false;

    if (reopen->keep) {
        return true;
    }
    if (!block_opts_take_size(reopen->opts, "offset", &offset, NULL, err) ||
        !block_opts_take_size(reopen->opts, "size", &size, &has_size, err)) {
        return false;
    }
    if (offset != r->offset || has_size != r->has_size || size != r->size) {
        return error_set(err, "Cannot change the option '%s'",
                         offset != r->offset ? "offset" : "size");
    }
    return true;
}

static void raw_child_resized(BlockNode *node, BlockChild *child)
{
    const RawState *r = node->state;

    if (!r->has_size) {
        block_node_set_size(node, child->node->size - MIN(child->node->size, r->offset));
    }
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

/* Looks at a private copy of the sector, which is also what gets written: the guest may change its
 * own buffer meanwhile. */
static void guarded_write(BlockNode *node, BlockIo *io)
{
    GuardedWrite *g;
    size_t skip = BLOCK_SECTOR;
    const char *format;

    if (io->len < BLOCK_SECTOR) {
        block_io_finish_later(node, io, -EINVAL);
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
        block_io_finish_later(node, io, -EPERM);
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
                      .alone = io->alone,
                      .offset = io->offset,
                      .len = io->len,
                      .iov = g->iov,
                      .iov_count = g->count,
                      .loop = io->loop,
                      .done = guarded_done};
    block_node_submit(node->file->node, &g->io);
}

bool raw_shows_all(const BlockNode *node)
{
    const RawState *r = node->state;

    return !r->offset && !r->has_size;
}

/* ---- requests ------------------------------------------------------------------------------- */

/* What blkdebug below may wait for. */
static void tell_debug(BlockNode *file, BlockOp op)
{
    if (op == BLOCK_FLUSH) {
        block_debug_event(file, "flush_to_os");
        block_debug_event(file, "flush_to_disk");
    } else if (op == BLOCK_READ || op == BLOCK_WRITE) {
        block_debug_event(file, op == BLOCK_READ ? "read_aio" : "write_aio");
    }
}

static void raw_submit(BlockNode *node, BlockIo *io)
{
    const RawState *r = node->state;
    bool guarded = node->probed && io->op == BLOCK_WRITE && io->offset < BLOCK_SECTOR && io->len;

    if (r->has_size && io->op != BLOCK_FLUSH && !range_fits(io->offset, io->len, r->size)) {
        block_io_finish_later(node, io, -EIO);
        return;
    }
    io->offset += io->op == BLOCK_FLUSH ? 0 : r->offset;
    if (node->file->node->drv == &block_driver_blkdebug) {
        tell_debug(node->file->node, io->op);
    }
    if (guarded) {
        guarded_write(node, io);
    } else {
        block_node_submit(node->file->node, io);
    }
}

static bool raw_any_loop(const BlockNode *node)
{
    (void)node;
    return true;
}

static void raw_refresh_limits(BlockNode *node)
{
    const RawState *r = node->state;

    node->limits = node->file->node->limits;
    if (r->offset & (node->limits.request_align - 1)) {
        node->limits.request_align = 1;
    }
}

static bool raw_truncate(BlockNode *node, uint64_t size, bool exact, BlockPrealloc prealloc,
                         GError **err)
{
    const RawState *r = node->state;

    if (r->has_size) {
        return error_set(err, "Cannot resize fixed-size raw disks");
    }
    if (size > INT64_MAX - r->offset) {
        return error_set(err, "Disk size too large for the chosen offset");
    }
    return block_ptruncate(node->file->node, size + r->offset, exact, prealloc, err);
}

static bool raw_create(Vm *vm, const char *filename, BlockOpts *opts, GError **err)
{
    return block_create_protocol(vm, filename, opts, err);
}

static bool raw_measure(Vm *vm, BlockOpts *opts, BlockNode *in, BlockMeasure *result, GError **err)
{
    uint64_t size = 0;

    (void)vm;
    if (!block_opts_take_size(opts, "size", &size, NULL, err)) {
        return false;
    }
    size = align_up(in ? block_node_size(in) : size, BLOCK_SECTOR);
    *result = (BlockMeasure){.required = size, .fully_allocated = size};
    return true;
}

const BlockDriver block_driver_raw = {
    .name = "raw",
    .is_format = true,
    .state_size = sizeof(RawState),
    .open = raw_open,
    .reopen_prepare = raw_reopen_prepare,
    .submit = raw_submit,
    .any_loop = raw_any_loop,
    .child_resized = raw_child_resized,
    .refresh_limits = raw_refresh_limits,
    .truncate = raw_truncate,
    .create_opts = block_file_create_opts,
    .create = raw_create,
    .measure = raw_measure,
};
