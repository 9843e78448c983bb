/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * aio=io_uring: one ring a loop, whose descriptor the loop polls. Reads, writes and flushes; the
 * rest, and the remainder of a short transfer, goes to the thread pool.
 */
#include <errno.h>
#include <liburing.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "block/block_int.h"

#define URING_DEPTH 128

typedef struct UringEngine {
    BlockEngine engine;
    struct io_uring ring;
    BlockFd *source;
    unsigned in_ring;
    BlockIo *overflow, **overflow_tail; /* submitted while the ring was full */
} UringEngine;

/* False: the ring is full. */
static bool uring_prepare(UringEngine *u, BlockIo *io)
{
    struct io_uring_sqe *sqe = u->in_ring < URING_DEPTH ? io_uring_get_sqe(&u->ring) : NULL;

    if (!sqe) {
        return false;
    }
    switch (io->op) {
    case BLOCK_READ:
        io_uring_prep_readv(sqe, io->fd, io->iov, io->iov_count, io->offset);
        break;
    case BLOCK_WRITE:
        io_uring_prep_writev(sqe, io->fd, io->iov, io->iov_count, io->offset);
        sqe->rw_flags = io->fua ? RWF_DSYNC : 0;
        break;
    default:
        io_uring_prep_fsync(sqe, io->fd, IORING_FSYNC_DATASYNC);
        break;
    }
    io_uring_sqe_set_data(sqe, io);
    u->in_ring++;
    return true;
}

/* What the kernel does not take now stays in the ring and goes with the next call. */
static void uring_flush(BlockEngine *engine)
{
    UringEngine *u = container_of(engine, UringEngine, engine);

    if (io_uring_sq_ready(&u->ring)) {
        while (io_uring_submit(&u->ring) == -EINTR) {
        }
    }
}

static bool uring_submit(BlockEngine *engine, BlockIo *io)
{
    UringEngine *u = container_of(engine, UringEngine, engine);

    engine->in_flight++;
    if (u->overflow || !uring_prepare(u, io)) {
        io->next = NULL;
        *u->overflow_tail = io;
        u->overflow_tail = &io->next;
    } else if (!engine->loop->plugged || io_uring_sq_ready(&u->ring) >= block_engine_batch(engine->loop, io, u->in_ring - io_uring_sq_ready(&u->ring))) {
        uring_flush(engine);
    }
    return true;
}

static void uring_refill(UringEngine *u)
{
    while (u->overflow) {
        BlockIo *io = u->overflow, *next = io->next;

        if (!uring_prepare(u, io)) {
            break;
        }
        u->overflow = next;
        if (!next) {
            u->overflow_tail = &u->overflow;
        }
    }
}

/* One entry leaves the ring before its callback: a nested wait sees the others. */
static bool uring_finish_one(UringEngine *u)
{
    struct io_uring_cqe *cqe;
    BlockIo *io;
    int res;

    if (io_uring_peek_cqe(&u->ring, &cqe) != 0 || !cqe) {
        return false;
    }
    io = io_uring_cqe_get_data(cqe);
    res = cqe->res;
    io_uring_cqe_seen(&u->ring, cqe);
    u->in_ring--;
    u->engine.in_flight--;
    if (res == -EINTR || res == -EAGAIN ||
        (io->op != BLOCK_FLUSH && res >= 0 && (uint64_t)res < io->len)) {
        io->progress = res > 0 ? (uint64_t)res : 0;
        block_io_run_in_thread(io->node, io);
    } else {
        io->finish(io, res < 0 ? res : 0);
    }
    return true;
}

static bool uring_poll(BlockEngine *engine)
{
    UringEngine *u = container_of(engine, UringEngine, engine);
    bool any = false;

    block_loop_plug(engine->loop);
    while (uring_finish_one(u)) {
        any = true;
    }
    uring_refill(u);
    block_loop_unplug(engine->loop);
    return any;
}

static void uring_event(void *opaque, uint32_t events)
{
    UringEngine *u = opaque;

    (void)events;
    uring_poll(&u->engine);
}

/* The kernel cannot cancel disk requests that it was given: they end by themselves. */
static bool uring_cancel(BlockEngine *engine, BlockIo *io)
{
    (void)engine;
    (void)io;
    return false;
}

static void uring_free(BlockEngine *engine)
{
    UringEngine *u = container_of(engine, UringEngine, engine);

    block_fd_remove(u->source);
    io_uring_queue_exit(&u->ring);
    g_free(u);
}

static const BlockEngineOps uring_ops = {
    .name = "io_uring",
    .submit = uring_submit,
    .flush = uring_flush,
    .poll = uring_poll,
    .cancel = uring_cancel,
    .free = uring_free,
};

BlockEngine *block_engine_uring_new(BlockLoop *loop, GError **err)
{
    UringEngine *u = g_new0(UringEngine, 1);
    int ret = io_uring_queue_init(URING_DEPTH, &u->ring, 0);

    if (ret < 0) {
        error_set_errno(err, -ret, "io_uring_queue_init (see /proc/sys/kernel/io_uring_disabled)");
        g_free(u);
        return NULL;
    }
    u->engine = (BlockEngine){.ops = &uring_ops, .loop = loop};
    u->overflow_tail = &u->overflow;
    u->source = block_fd_add(loop, u->ring.ring_fd, EPOLLIN, uring_event, u);
    return &u->engine;
}
