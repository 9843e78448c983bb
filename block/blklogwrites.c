/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * blklogwrites: a filter that records every write, zeroing, discard and flush of its file in a
 * second one, in the format of Linux's dm-log-writes (Documentation/admin-guide/device-mapper/
 * log-writes.rst), so that a power cut at any point can be replayed.
 *
 * The log: a super block (magic, version, number of entries, sector size) in the first sector, then
 * for each entry a sector with its header (sector, sectors, flags, data length; little endian) and
 * its data. An entry is written when its request has ended, so a flush stands behind the writes that
 * it covers; the request ends when its entry is written. The super block is written after flushes,
 * every log-super-update-interval entries and at the end.
 */
#include <errno.h>

#include "block/block_int.h"

#define LOG_MAGIC UINT64_C(0x6a736677736872)
#define LOG_VERSION 1
enum { ENTRY_FLUSH = 1, ENTRY_FUA = 2, ENTRY_DISCARD = 4 };

typedef struct LogState {
    BlockNode *log;
    uint64_t sector_size, interval;
    uint64_t entries, next_sector; /* in the log */
    uint64_t super_entries;        /* that the super block has */
    unsigned in_flight;
    uint8_t *super;
} LogState;

typedef struct LogRequest {
    BlockNode *node;
    BlockIo io;  /* to the file, then to the log */
    BlockIo *outer;
    uint64_t offset, len;
    unsigned flags;
    bool has_data, is_zero;
    uint8_t *header;
    struct iovec *iov;
} LogRequest;

/* ---- the super block ------------------------------------------------------------------------ */

static void fill_super(LogState *l)
{
    memset(l->super, 0, l->sector_size);
    store64_le(l->super, LOG_MAGIC);
    store64_le(l->super + 8, LOG_VERSION);
    store64_le(l->super + 16, l->entries);
    store32_le(l->super + 24, (uint32_t)l->sector_size);
}

typedef struct SuperWrite {
    BlockIo io;
    LogRequest *after;
    struct iovec iov;
    uint8_t data[];
} SuperWrite;

static void request_end(LogRequest *r, int result)
{
    BlockIo *outer = r->outer;

    ((LogState *)r->node->state)->in_flight--;
    g_free(r->header);
    g_free(r->iov);
    g_free(r);
    outer->done(outer, result);
}

static void super_written(BlockIo *io, int result)
{
    SuperWrite *s = container_of(io, SuperWrite, io);
    LogRequest *after = s->after;

    g_free(s);
    request_end(after, result);
}

static void write_super(LogRequest *r)
{
    LogState *l = r->node->state;
    SuperWrite *s = g_malloc0(sizeof *s + l->sector_size);

    fill_super(l);
    memcpy(s->data, l->super, l->sector_size);
    l->super_entries = l->entries;
    s->after = r;
    s->iov = (struct iovec){s->data, l->sector_size};
    s->io = (BlockIo){.op = BLOCK_WRITE,
                      .len = l->sector_size,
                      .iov = &s->iov,
                      .iov_count = 1,
                      .done = super_written};
    block_node_submit(l->log, &s->io);
}

/* ---- entries -------------------------------------------------------------------------------- */

static void entry_written(BlockIo *io, int result)
{
    LogRequest *r = container_of(io, LogRequest, io);
    LogState *l = r->node->state;

    if (result == 0 && ((r->flags & ENTRY_FLUSH) || l->entries - l->super_entries >= l->interval)) {
        write_super(r);
    } else {
        request_end(r, result);
    }
}

/* Header, data and, for zeroes, zeros: dm-log-writes has no entry for zeroing. */
static void write_entry(LogRequest *r)
{
    LogState *l = r->node->state;
    uint64_t data_len = r->has_data ? r->len : 0;
    unsigned n = r->has_data && !r->is_zero ? r->outer->iov_count : 0;

    r->header = g_malloc0(l->sector_size + (r->is_zero ? data_len : 0));
    store64_le(r->header, r->offset / l->sector_size);
    store64_le(r->header + 8, r->len / l->sector_size);
    store64_le(r->header + 16, r->flags);
    store64_le(r->header + 24, data_len);
    r->iov = g_new(struct iovec, n + 1);
    r->iov[0] = (struct iovec){r->header, l->sector_size + (r->is_zero ? data_len : 0)};
    if (n) {
        memcpy(r->iov + 1, r->outer->iov, n * sizeof(struct iovec));
    }
    r->io = (BlockIo){.op = BLOCK_WRITE,
                      .offset = l->next_sector * l->sector_size,
                      .len = l->sector_size + data_len,
                      .iov = r->iov,
                      .iov_count = n + 1,
                      .done = entry_written};
    l->next_sector += 1 + data_len / l->sector_size;
    l->entries++;
    block_node_submit(l->log, &r->io);
}

static void file_done(BlockIo *io, int result)
{
    LogRequest *r = container_of(io, LogRequest, io);

    if (result < 0) {
        request_end(r, result);
    } else {
        write_entry(r);
    }
}

static void logwrites_submit(BlockNode *node, BlockIo *io)
{
    LogState *l = node->state;
    LogRequest *r;

    if (io->op == BLOCK_READ || io->op == BLOCK_STATUS) {
        block_node_submit(node->file->node, io);
        return;
    }
    if (io->op != BLOCK_FLUSH && (io->offset | io->len) & (l->sector_size - 1)) {
        block_io_finish_later(node, io, -EINVAL); /* the log counts in whole sectors */
        return;
    }
    r = g_new0(LogRequest, 1);
    r->node = node;
    r->outer = io;
    r->offset = io->offset;
    r->len = io->len;
    r->is_zero = io->op == BLOCK_ZERO;
    r->has_data = r->is_zero || io->op == BLOCK_WRITE;
    r->flags = (io->op == BLOCK_FLUSH ? ENTRY_FLUSH : 0) | (io->fua ? ENTRY_FUA : 0) |
               (io->op == BLOCK_DISCARD ? ENTRY_DISCARD : 0);
    r->io = *io;
    r->io.done = file_done;
    l->in_flight++;
    block_node_submit(node->file->node, &r->io);
}

/* ---- life ----------------------------------------------------------------------------------- */

/* log-append=on: behind the entries that are there. */
static bool find_end(LogState *l, GError **err)
{
    g_autofree uint8_t *header = g_malloc(512);
    uint64_t entries;
    int ret = block_pread(l->log, 0, l->super, 512);

    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read log superblock");
    }
    if (load64_le(l->super) != LOG_MAGIC || load64_le(l->super + 8) != LOG_VERSION) {
        return error_set(err, "Could not read log superblock: it is no dm-log-writes log");
    }
    entries = load64_le(l->super + 16);
    l->sector_size = load32_le(l->super + 24);
    if (!is_power_of_two(l->sector_size) || l->sector_size < 512 || l->sector_size > 8 * MIB) {
        return error_set(err, "Invalid sector size in the log superblock: %" PRIu64,
                         l->sector_size);
    }
    for (l->next_sector = 1; ret == 0 && l->entries < entries; l->entries++) {
        uint64_t len;

        ret = block_pread(l->log, l->next_sector * l->sector_size, header, 512);
        len = load64_le(header + 24);
        if (ret == 0 && (len > INT64_MAX / 2 ||
                         l->next_sector + 1 > (INT64_MAX - len) / l->sector_size)) {
            return error_set(err, "The log is damaged at entry %" PRIu64, l->entries);
        }
        l->next_sector += 1 + len / l->sector_size;
    }
    return ret == 0 || error_set_errno(err, -ret, "Could not read the log's entries");
}

static bool logwrites_open(BlockNode *node, BlockOpts *opts, GError **err)
{
    LogState *l = node->state;
    bool append = false, has_sector_size = false, ok;
    BlockChild *log;

    l->sector_size = 512;
    l->interval = 4096;
    l->next_sector = 1;
    if (!block_opts_take_bool(opts, "log-append", &append, err) ||
        !block_opts_take_size(opts, "log-sector-size", &l->sector_size, &has_sector_size, err) ||
        !block_opts_take_size(opts, "log-super-update-interval", &l->interval, NULL, err) ||
        !block_filter_open_file(node, opts, err)) {
        return false;
    }
    log = block_open_child(node, opts, "log", BLOCK_ROLE_METADATA, false, err);
    if (!log) {
        return false;
    }
    if (append && has_sector_size) {
        return error_set(err, "log-append and log-sector-size are mutually exclusive");
    }
    if (!is_power_of_two(l->sector_size) || l->sector_size < 512 || l->sector_size > 8 * MIB) {
        return error_set(err, "Invalid log sector size %" PRIu64, l->sector_size);
    }
    if (!l->interval) {
        return error_set(err, "Invalid log superblock update interval 0");
    }
    l->log = log->node;
    l->super = g_malloc0(8 * MIB);
    ok = !append || find_end(l, err);
    if (!ok) {
        g_free(l->super);
    }
    return ok;
}

static void logwrites_close(BlockNode *node)
{
    LogState *l = node->state;

    fill_super(l);
    block_pwrite(l->log, 0, l->super, l->sector_size, BLOCK_FLAG_FUA);
    g_free(l->super);
}

static bool logwrites_busy(BlockNode *node)
{
    return ((LogState *)node->state)->in_flight != 0;
}

static void logwrites_child_perm(BlockNode *node, const BlockChild *child, uint32_t used,
                                 uint32_t shared, uint32_t *child_used, uint32_t *child_shared)
{
    if (child == node->file || strcmp(child->name, "log")) {
        *child_used = used;
        *child_shared = shared;
        return;
    }
    *child_used = BLOCK_PERM_CONSISTENT_READ | BLOCK_PERM_WRITE | BLOCK_PERM_RESIZE;
    *child_shared = BLOCK_PERM_ALL & ~(uint32_t)(BLOCK_PERM_WRITE | BLOCK_PERM_RESIZE);
}

const BlockDriver block_driver_blklogwrites = {
    .name = "blklogwrites",
    .is_filter = true,
    .state_size = sizeof(LogState),
    .open = logwrites_open,
    .close = logwrites_close,
    .submit = logwrites_submit,
    .child_perm = logwrites_child_perm,
    .child_resized = block_filter_child_resized,
    .refresh_limits = block_filter_refresh_limits,
    .drain_busy = logwrites_busy,
    .truncate = block_filter_truncate,
};
