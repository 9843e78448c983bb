/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes to O_DIRECT files that have to be on stable storage when they end. One that is alone says so to the kernel
 * (RWF_DSYNC: on many disks one command). Where others are under way, each new block would cost a commit of the file
 * system's journal; so they are written first, and those that ended while a sync was under way share the next one.
 *
 * All in the loop that the requests are in, except that FileState.syncs is filled by several loops, each at its index.
 */
#include "block/file_int.h"

bool file_can_share_sync(const FileState *f, const BlockIo *io)
{
    return io->op == BLOCK_WRITE && io->fua && f->align > 1 && !f->is_device && !f->in_memory &&
           block_io_loop(io->node, io)->index < FILE_LANES;
}

static FileSync *sync_of(const BlockIo *io)
{
    FileState *f = io->node->state;
    FileSync **slot = &f->syncs[block_io_loop(io->node, io)->index];

    if (!*slot) {
        *slot = g_new0(FileSync, 1);
    }
    return *slot;
}

/* Nothing is under way, something is written. done ends it. */
static void sync_start(FileSync *s, void (*done)(BlockIo *io, int result))
{
    const BlockIo *first = s->written;

    s->io = (BlockIo){.op = BLOCK_FLUSH, .node = first->node, .loop = first->loop, .fd = first->fd, .run = file_run,
                      .finish = done};
    s->busy = true;
    s->covered = g_steal_pointer(&s->written);
    block_io_run_in_thread(s->io.node, &s->io);
}

static void sync_done(BlockIo *sync, int result)
{
    FileSync *s = container_of(sync, FileSync, io);
    BlockIo *list = g_steal_pointer(&s->covered);

    s->busy = false;
    if (s->written) {
        sync_start(s, sync_done);
    }
    while (list) {
        BlockIo *io = list;

        list = io->next;
        io->finish = s->finish;
        block_io_finish_done_later(io->node, io, result);
    }
}

static void written(BlockIo *io, int result)
{
    FileSync *s = sync_of(io);

    if (result < 0) {
        io->finish = s->finish;
        io->finish(io, result);
        return;
    }
    io->next = s->written;
    s->written = io;
    if (!s->busy) {
        sync_start(s, sync_done);
    }
}

void file_share_sync(BlockIo *io)
{
    sync_of(io)->finish = io->finish;
    io->finish = written;
    io->fua = false;
}
