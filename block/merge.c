/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Neighbours: reads or writes of one file that come in one batch (block_loop_plug) and whose ranges follow each other go to the
 * kernel as one. It sits right above the engines, below all that looks at single requests (statistics, limits, bitmaps,
 * fault injection), so these see nothing of it; and formats, SCSI disks and tools have it as virtio-blk has.
 *
 *   file driver -> held: a run of requests, in order    go of each that stayed alone -> engine
 *                                      |
 *                    unplugged, too many runs, or full -> go of one BlockIo that stands for all -> engine
 *                                                                                               |
 *                finish of each with 0 <- all went well - joined_finish - it failed -> go of each, one by one
 *
 * So a request fails only with its own error. What has succeeded may be written twice then, with the same data.
 */
#include "block/file_int.h"
#include "util/trace.h"

#define RUNS_MAX 16           /* held at the same time; requests in no order go on as fast as engines take batches of them */
#define PARTS_MAX 32          /* of one run */
#define PIECES_MAX 1024       /* of memory: what the kernel takes (IOV_MAX) */
#define RUN_LEN_MAX (1 * MIB) /* longer ones gain nothing, and the first request would wait for the last */

typedef struct Run {
    BlockIo *head, **tail; /* by next */
    unsigned parts, pieces;
    uint64_t len;
    BlockMergeGo *go;
} Run;

struct BlockMerge {
    Run runs[RUNS_MAX]; /* the oldest first */
    unsigned n;
    bool several; /* let go now */
};

/* What stands for the requests of a run. */
typedef struct Joined {
    BlockIo io;
    BlockIo *parts;
    BlockMergeGo *go;
    struct iovec iov[];
} Joined;

/* ---- ending ------------------------------------------------------------------------------------- */

static void try_alone(BlockIo *list, BlockMergeGo *go)
{
    while (list) {
        BlockIo *io = list;

        list = io->next;
        io->progress = 0;
        go(io);
    }
}

static void joined_finish(BlockIo *io, int result)
{
    Joined *j = container_of(io, Joined, io);
    BlockLoop *loop = block_io_loop(io->node, io);
    BlockIo *parts = j->parts;
    BlockMergeGo *go = j->go;

    g_free(j);
    if (result < 0) {
        try_alone(parts, go);
        return;
    }
    for (bool first = true; parts; first = false) {
        BlockIo *part = parts;

        parts = part->next;
        part->joined = !first;
        block_io_finish_done_later(part->node, part, 0);
    }
    block_loop_finish_now(loop);
}

/* ---- starting ----------------------------------------------------------------------------------- */

static BlockIo *join(const Run *run)
{
    const BlockIo *head = run->head;
    Joined *j = g_malloc(sizeof *j + run->pieces * sizeof j->iov[0]);
    unsigned n = 0;

    trace(block_merge_join, "node %s op %d offset %" PRIu64 " len %" PRIu64 " requests %u", head->node->name, head->op,
          head->offset, run->len, run->parts);
    j->io = *head;
    j->io.next = NULL;
    j->io.finish = joined_finish;
    j->io.len = run->len;
    j->io.iov = j->iov;
    j->io.iov_count = run->pieces;
    j->io.brief = run->len <= FILE_BRIEF_MAX;
    j->parts = run->head;
    j->go = run->go;
    for (const BlockIo *part = head; part; part = part->next) {
        memcpy(j->iov + n, part->iov, part->iov_count * sizeof part->iov[0]);
        n += part->iov_count;
    }
    return &j->io;
}

/* The first n runs, after which others come if there is more. go may come back here: they are not held any more then. */
static void let_go(BlockMerge *m, unsigned n, bool more)
{
    Run runs[RUNS_MAX];

    memcpy(runs, m->runs, n * sizeof runs[0]);
    m->n -= n;
    m->several = more || n > 1;
    memmove(m->runs, m->runs + n, m->n * sizeof runs[0]);
    for (unsigned i = 0; i < n; i++) {
        runs[i].go(runs[i].parts > 1 ? join(&runs[i]) : runs[i].head);
    }
    m->several = false;
}

bool block_merge_has_several(const BlockLoop *loop) { return loop->merge && loop->merge->several; }

void block_merge_flush(BlockLoop *loop)
{
    if (loop->merge && loop->merge->n) {
        let_go(loop->merge, loop->merge->n, false);
    }
}

static bool follows(const Run *run, const BlockIo *io)
{
    const BlockIo *head = run->head;

    return head->offset + run->len == io->offset && head->node == io->node && head->op == io->op && head->fua == io->fua &&
           head->lane == io->lane && run->parts < PARTS_MAX && run->pieces + io->iov_count <= PIECES_MAX &&
           run->len + io->len <= RUN_LEN_MAX;
}

bool block_merge_hold(BlockLoop *loop, BlockIo *io, BlockMergeGo *go)
{
    BlockMerge *m = loop->merge;

    if (!loop->plugged || io->alone || io->len >= RUN_LEN_MAX || io->iov_count >= PIECES_MAX) {
        return false;
    }
    if (!m) {
        m = loop->merge = g_new0(BlockMerge, 1);
    }
    io->next = NULL;
    for (unsigned i = m->n; i-- > 0;) {
        Run *run = &m->runs[i];

        if (follows(run, io)) {
            *run->tail = io;
            run->tail = &io->next;
            run->parts++;
            run->pieces += io->iov_count;
            run->len += io->len;
            return true;
        }
    }
    if (m->n >= MIN(block_engine_batch(loop, io, block_loop_in_flight(loop)), RUNS_MAX)) {
        let_go(m, m->n, true);
    }
    m->runs[m->n++] = (Run){.head = io, .tail = &io->next, .parts = 1, .pieces = io->iov_count, .len = io->len, .go = go};
    return true;
}
