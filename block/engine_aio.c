/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * aio=native: Linux AIO through libaio, completions by eventfd. Asynchronous only with O_DIRECT, so
 * the file driver demands cache.direct=on. Reads and writes only: the rest goes to the thread pool,
 * and so does the remainder of a short transfer.
 */
#include <errno.h>
#include <libaio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "block/block_int.h"

#define AIO_DEPTH 128

typedef struct AioEngine {
    BlockEngine engine;
    io_context_t context;
    int event_fd;
    LoopFd *source;
    BlockIo *overflow, **overflow_tail; /* submitted while the context was full */
    struct iocb cbs[AIO_DEPTH];
    uint16_t free_cbs[AIO_DEPTH];
    unsigned n_free;
} AioEngine;

static int aio_start(AioEngine *a, BlockIo *io)
{
    struct iocb *cb = &a->cbs[a->free_cbs[a->n_free - 1]];
    int ret;

    if (io->op == BLOCK_WRITE) {
        io_prep_pwritev(cb, io->fd, io->iov, (int)io->iov_count, (long long)io->offset);
        cb->aio_rw_flags = io->fua ? RWF_DSYNC : 0;
    } else {
        io_prep_preadv(cb, io->fd, io->iov, (int)io->iov_count, (long long)io->offset);
    }
    cb->data = io;
    io_set_eventfd(cb, a->event_fd);
    ret = io_submit(a->context, 1, &cb);
    if (ret == 1) {
        a->n_free--;
    }
    return ret;
}

static bool aio_submit(BlockEngine *engine, BlockIo *io)
{
    AioEngine *a = container_of(engine, AioEngine, engine);

    if (!a->n_free || a->overflow) {
        io->next = NULL;
        *a->overflow_tail = io;
        a->overflow_tail = &io->next;
        engine->in_flight++;
        return true;
    }
    if (aio_start(a, io) != 1) {
        return false;
    }
    engine->in_flight++;
    return true;
}

static void aio_refill(AioEngine *a)
{
    while (a->overflow && a->n_free) {
        BlockIo *io = a->overflow;

        a->overflow = io->next;
        if (!a->overflow) {
            a->overflow_tail = &a->overflow;
        }
        if (aio_start(a, io) != 1) {
            a->engine.in_flight--;
            block_io_run_in_thread(a->engine.state->vm, io);
        }
    }
}

static void aio_finish(AioEngine *a, const struct io_event *event)
{
    BlockIo *io = event->data;
    long res = (long)event->res;

    a->free_cbs[a->n_free++] = (uint16_t)(event->obj - a->cbs);
    a->engine.in_flight--;
    if (res >= 0 && (uint64_t)res < io->len) {
        io->progress = (uint64_t)res;
        block_io_run_in_thread(a->engine.state->vm, io);
    } else {
        io->finish(io, res < 0 ? (int)res : 0);
    }
}

/* One event at a time leaves the ring before its callback: a nested drain sees the others. */
static void aio_reap(AioEngine *a, int min)
{
    struct io_event event;
    int ret;

    do {
        ret = io_getevents(a->context, min, 1, &event, min ? NULL : &(struct timespec){0});
        if (ret == 1) {
            aio_finish(a, &event);
            min = 0;
        }
    } while (ret == 1 || ret == -EINTR);
    aio_refill(a);
}

static void aio_event(void *opaque, uint32_t events)
{
    AioEngine *a = opaque;
    eventfd_t count;

    (void)events;
    if (eventfd_read(a->event_fd, &count) == 0) {
        aio_reap(a, 0);
    }
}

static void aio_wait(BlockEngine *engine)
{
    AioEngine *a = container_of(engine, AioEngine, engine);

    aio_refill(a);
    if (a->n_free < AIO_DEPTH) {
        aio_reap(a, 1);
    }
}

/* The kernel cannot cancel disk requests that it was given: they end by themselves. */
static bool aio_cancel(BlockEngine *engine, BlockIo *io)
{
    (void)engine;
    (void)io;
    return false;
}

static void aio_free(BlockEngine *engine)
{
    AioEngine *a = container_of(engine, AioEngine, engine);

    loop_fd_remove(a->source);
    io_destroy(a->context);
    close(a->event_fd);
    g_free(a);
}

static const BlockEngineOps aio_ops = {
    .name = "native",
    .submit = aio_submit,
    .wait = aio_wait,
    .cancel = aio_cancel,
    .free = aio_free,
};

BlockEngine *block_engine_aio_new(BlockState *state, GError **err)
{
    AioEngine *a = g_new0(AioEngine, 1);
    int ret = io_setup(AIO_DEPTH, &a->context);

    a->event_fd = ret == 0 ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
    if (ret == 0 && a->event_fd < 0) {
        ret = -errno;
        io_destroy(a->context);
    }
    if (ret < 0) {
        error_set_errno(err, -ret, "io_setup (see /proc/sys/fs/aio-max-nr)");
        g_free(a);
        return NULL;
    }
    a->engine = (BlockEngine){.ops = &aio_ops, .state = state};
    a->overflow_tail = &a->overflow;
    for (unsigned i = 0; i < AIO_DEPTH; i++) {
        a->free_cbs[a->n_free++] = (uint16_t)i;
    }
    a->source = loop_fd_add(state->vm->loop, a->event_fd, EPOLLIN, aio_event, a);
    return &a->engine;
}
