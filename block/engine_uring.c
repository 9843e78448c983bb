/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * aio=io_uring: one ring, completions by eventfd. Reads, writes and flushes; the rest, and the
 * remainder of a short transfer, goes to the thread pool.
 */
#include <errno.h>
#include <liburing.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "block/block_int.h"

#define URING_DEPTH 128

typedef struct UringEngine {
    BlockEngine engine;
    struct io_uring ring;
    int event_fd;
    LoopFd *source;
    unsigned in_ring;
    BlockIo *overflow, **overflow_tail;
} UringEngine;

static bool uring_start(UringEngine *u, BlockIo *io)
{
    struct io_uring_sqe *sqe = u->in_ring < URING_DEPTH ? io_uring_get_sqe(&u->ring) : NULL;
    int ret;

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
    do {
        ret = io_uring_submit(&u->ring);
    } while (ret == -EINTR);
    u->in_ring++; /* the kernel takes it now or with the next submit */
    return true;
}

static bool uring_submit(BlockEngine *engine, BlockIo *io)
{
    UringEngine *u = container_of(engine, UringEngine, engine);

    engine->in_flight++;
    if (u->overflow || !uring_start(u, io)) {
        io->next = NULL;
        *u->overflow_tail = io;
        u->overflow_tail = &io->next;
    }
    return true;
}

static void uring_refill(UringEngine *u)
{
    while (u->overflow) {
        BlockIo *io = u->overflow, *next = io->next;

        if (!uring_start(u, io)) {
            break;
        }
        u->overflow = next;
        if (!next) {
            u->overflow_tail = &u->overflow;
        }
    }
    if (io_uring_sq_ready(&u->ring)) {
        io_uring_submit(&u->ring);
    }
}

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
        block_io_run_in_thread(u->engine.state->vm, io);
    } else {
        io->finish(io, res < 0 ? res : 0);
    }
    return true;
}

static void uring_event(void *opaque, uint32_t events)
{
    UringEngine *u = opaque;
    eventfd_t count;

    (void)events;
    if (eventfd_read(u->event_fd, &count) == 0) {
        while (uring_finish_one(u)) {
        }
        uring_refill(u);
    }
}

static void uring_wait(BlockEngine *engine)
{
    UringEngine *u = container_of(engine, UringEngine, engine);
    struct io_uring_cqe *cqe;

    uring_refill(u);
    if (u->in_ring) {
        while (io_uring_wait_cqe(&u->ring, &cqe) == -EINTR) {
        }
        while (uring_finish_one(u)) {
        }
        uring_refill(u);
    }
}

static bool uring_cancel(BlockEngine *engine, BlockIo *io)
{
    (void)engine;
    (void)io;
    return false;
}

static void uring_free(BlockEngine *engine)
{
    UringEngine *u = container_of(engine, UringEngine, engine);

    loop_fd_remove(u->source);
    io_uring_queue_exit(&u->ring);
    close(u->event_fd);
    g_free(u);
}

static const BlockEngineOps uring_ops = {
    .name = "io_uring",
    .submit = uring_submit,
    .wait = uring_wait,
    .cancel = uring_cancel,
    .free = uring_free,
};

BlockEngine *block_engine_uring_new(BlockState *state, GError **err)
{
    UringEngine *u = g_new0(UringEngine, 1);
    int ret = io_uring_queue_init(URING_DEPTH, &u->ring, 0);

    if (ret == 0) {
        u->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        ret = u->event_fd < 0 ? -errno : io_uring_register_eventfd(&u->ring, u->event_fd);
        if (ret < 0) {
            if (u->event_fd >= 0) {
                close(u->event_fd);
            }
            io_uring_queue_exit(&u->ring);
        }
    }
    if (ret < 0) {
        error_set_errno(err, -ret, "io_uring_queue_init (see /proc/sys/kernel/io_uring_disabled)");
        g_free(u);
        return NULL;
    }
    u->engine = (BlockEngine){.ops = &uring_ops, .state = state};
    u->overflow_tail = &u->overflow;
    u->source = loop_fd_add(state->vm->loop, u->event_fd, EPOLLIN, uring_event, u);
    return &u->engine;
}
