/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes that have to be on stable storage when they end. One that is alone says so to the kernel (RWF_DSYNC: on many disks
 * one command). Where others are under way, each would cost a commit of the file system's journal, or wait for the others'
 * in the kernel; so they are written first, and those that ended while a sync was under way share the next one:
 *
 *   write 1 .. 3  --> page cache or disk --> sync --> 1 .. 3 end
 *   write 4 .. 9         --> page cache or disk  ...  --> sync --> 4 .. 9 end
 *
 * The kernel tells of what it could not write once, to the first sync that asks. So when one fails, all who were under way
 * then fail with it (FileState.sync_errors): whoever asked may write again.
 *
 * All in the loop that the requests are in, except that FileState.syncs is filled by several loops, each at its index.
 */
#include "block/file_int.h"

static FileSync *sync_of(const BlockIo *io)
{
    FileState *f = io->node->state;
    FileSync **slot = &f->syncs[block_io_loop(io->node, io)->index];

    if (!*slot) {
        *slot = g_new0(FileSync, 1);
    }
    return *slot;
}

bool file_can_share_sync(const FileState *f, const BlockIo *io)
{
    return io->op == BLOCK_WRITE && io->fua && !f->is_device && !f->in_memory &&
           block_io_loop(io->node, io)->index < FILE_LANES;
}

/* ---- ending ------------------------------------------------------------------------------------- */

static int result_now(const BlockIo *io, int result)
{
    const FileState *f = io->node->state;

    if (result < 0 || __atomic_load_n(&f->sync_errors, __ATOMIC_ACQUIRE) == io->sync_errors) {
        return result;
    }
    return __atomic_load_n(&f->sync_error, __ATOMIC_RELAXED);
}

void file_sync_failed(FileState *f, int error)
{
    __atomic_store_n(&f->sync_error, error, __ATOMIC_RELAXED);
    __atomic_add_fetch(&f->sync_errors, 1, __ATOMIC_RELEASE);
}

static void leave(FileSync *s, BlockIo *io)
{
    s->under_way--;
    io->finish = s->finish;
}

/* ---- sharing ------------------------------------------------------------------------------------ */

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
        leave(s, io);
        block_io_finish_done_later(io->node, io, result_now(io, result));
    }
}

static void written(BlockIo *io, int result)
{
    FileSync *s = sync_of(io);

    if (result < 0) {
        leave(s, io);
        io->finish(io, result);
        return;
    }
    io->next = s->written;
    s->written = io;
    if (!s->busy) {
        sync_start(s, sync_done);
    }
}

/* It has synced itself. */
static void synced(BlockIo *io, int result)
{
    if (result < 0) {
        file_sync_failed(io->node->state, result);
    }
    leave(sync_of(io), io);
    io->finish(io, result_now(io, result));
}

static void enter(FileSync *s, BlockIo *io, bool shares)
{
    const FileState *f = io->node->state;

    s->under_way++;
    s->finish = io->finish;
    io->sync_errors = __atomic_load_n(&f->sync_errors, __ATOMIC_ACQUIRE);
    io->finish = shares ? written : synced;
    io->fua = !shares;
}

void file_share_sync(BlockIo *io) { enter(sync_of(io), io, true); }

void file_sync_cached(BlockIo *io)
{
    FileSync *s = sync_of(io);

    enter(s, io, s->under_way || block_io_loop(io->node, io)->lone);
}
