/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * aio=native: Linux AIO through libaio, completions by eventfd. Asynchronous only with O_DIRECT, so
 * the file driver demands cache.direct=on. Reads and writes only: the rest goes to the thread pool,
 * and so does the remainder of a short transfer.
 *
 * Deputed, it is the pool of threads for O_DIRECT: workers give the requests to the kernel, which may take long there (a file
 * system that finds room for new blocks), but do not wait for the disk. A worker that did would keep the file to itself while it
 * writes to a hole (ext4), and cost several times more. Files whose requests the kernel ends before it takes the next one get a worker each.
 *
 * Yet most requests are for blocks that are there, and need no worker: with RWF_NOWAIT the kernel takes them from the loop's own
 * thread (BlockIo.nowait), or says at once that it would have to wait. Those, and for a while the next ones of that file if there
 * are many, go to a worker as above, which waits for one that is alone: that is one wake-up less.
 */
#include <errno.h>
#include <libaio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "block/block_int.h"
#include "util/thread.h"

#define AIO_DEPTH 128
#define SLOW_NS 200000 /* a request that the kernel takes longer to accept was waited for */
#define SLOW_JOBS 256  /* jobs of one request each, then several are tried again */
#define LONG_NS 50000  /* of the loop's thread, and a 16th of a nanosecond each byte: a request that took longer is for a worker */
#define SKIP_MAX 256   /* requests left to workers after one that would have waited */

typedef struct AioEngine {
    BlockEngine engine;
    io_context_t context;
    int event_fd;
    BlockFd *source;
    BlockIo *queue, **queue_tail; /* not yet given to the kernel */
    unsigned n_queue;
    struct iocb cbs[AIO_DEPTH];
    uint16_t free_cbs[AIO_DEPTH];
    unsigned n_free;
    struct io_event events[AIO_DEPTH]; /* read; from event_pos on not yet finished */
    unsigned n_events, event_pos;
    bool deputed;
    unsigned jobs; /* under way */
    unsigned slow; /* jobs to be short, from now on */
} AioEngine;

/* Requests that a worker gives to the kernel. */
typedef struct Job {
    BlockIo io;
    AioEngine *aio;
    unsigned count, sent;
    int64_t ns; /* it took */
    struct iocb *batch[BLOCK_ENGINE_BATCH];
} Job;

static BlockIo *queue_pop(AioEngine *a)
{
    BlockIo *io = a->queue;

    a->queue = io->next;
    a->n_queue--;
    if (!a->queue) {
        a->queue_tail = &a->queue;
    }
    return io;
}

static void queue_push(AioEngine *a, BlockIo *io)
{
    io->next = NULL;
    *a->queue_tail = io;
    a->queue_tail = &io->next;
    a->n_queue++;
}

static struct iocb *aio_prepare(AioEngine *a, BlockIo *io)
{
    struct iocb *cb = &a->cbs[a->free_cbs[--a->n_free]];

    if (io->op == BLOCK_WRITE) {
        io_prep_pwritev(cb, io->fd, io->iov, (int)io->iov_count, (long long)io->offset);
        cb->aio_rw_flags = io->fua ? RWF_DSYNC : 0;
    } else {
        io_prep_preadv(cb, io->fd, io->iov, (int)io->iov_count, (long long)io->offset);
    }
    cb->aio_rw_flags |= io->nowait ? RWF_NOWAIT : 0;
    cb->data = io;
    io_set_eventfd(cb, a->event_fd);
    return cb;
}

/* The kernel did not take it. */
static void aio_refused(AioEngine *a, const struct iocb *cb)
{
    BlockIo *io = cb->data;

    a->free_cbs[a->n_free++] = (uint16_t)(cb - a->cbs);
    a->engine.in_flight--;
    block_io_run_in_thread(io->node, io);
}

/* ---- deputed -------------------------------------------------------------------------------- */

/* In a worker. What has been sent may have ended before io_submit returns, and its iocb may be in use again. */
static int job_run(BlockIo *io)
{
    Job *job = container_of(io, Job, io);
    int64_t begin = clock_monotonic_ns();
    int ret;

    do {
        ret = io_submit(job->aio->context, (long)(job->count - job->sent), job->batch + job->sent);
        job->sent += ret > 0 ? (unsigned)ret : 0;
    } while (job->sent < job->count && (ret > 0 || ret == -EINTR));
    job->ns = clock_monotonic_ns() - begin;
    return 0;
}

static void job_done(BlockIo *io, int result)
{
    Job *job = container_of(io, Job, io);
    AioEngine *a = job->aio;

    (void)result;
    if (job->ns > (int64_t)job->count * SLOW_NS) {
        a->slow = SLOW_JOBS;
    } else if (a->slow) {
        a->slow--;
    }
    for (unsigned i = job->sent; i < job->count; i++) {
        aio_refused(a, job->batch[i]);
    }
    a->jobs--;
    g_free(job);
}

/* ---- without a worker ------------------------------------------------------------------------ */

/* Who looks at it between load and store counts one request more or less. What was given before the last one failed says nothing new. */
static void note(BlockNowait *n, bool taken)
{
    const unsigned skip = __atomic_load_n(&n->skip, __ATOMIC_RELAXED), next = __atomic_load_n(&n->next, __ATOMIC_RELAXED);

    if (taken && next) {
        __atomic_store_n(&n->next, next / 2, __ATOMIC_RELAXED);
    } else if (!taken && !skip) {
        __atomic_store_n(&n->skip, next, __ATOMIC_RELAXED);
        __atomic_store_n(&n->next, MIN(2 * next + 1, SKIP_MAX), __ATOMIC_RELAXED);
    }
}

/* The kernel would have to wait (-EAGAIN), does not know how not to, or says something else: a worker finds out. */
static void nowait_failed(AioEngine *a, BlockIo *io, int error)
{
    if (error == -EOPNOTSUPP) {
        __atomic_store_n(&io->nowait->skip, BLOCK_NOWAIT_NEVER, __ATOMIC_RELAXED);
    } else {
        note(io->nowait, false);
    }
    io->nowait = NULL;
    a->engine.in_flight--;
    if (block_loop_is_idle(a->engine.loop)) {
        block_io_run_in_thread(io->node, io);
    } else {
        a->engine.in_flight++;
        queue_push(a, io);
    }
}

/* None of them has ended for the loop yet. NULL: the kernel did not take that one. */
static void judge_time(struct iocb *const *batch, unsigned n, int64_t ns)
{
    for (unsigned i = 0; i < n; i++) {
        ns -= batch[i] ? LONG_NS + (int64_t)((const BlockIo *)batch[i]->data)->len / 16 : 0;
    }
    for (unsigned i = 0; i < n && ns > 0; i++) {
        BlockIo *io = batch[i] ? batch[i]->data : NULL;

        if (io) {
            note(io->nowait, false);
            io->nowait = NULL; /* its end is no success */
        }
    }
}

static void submit_now(AioEngine *a, struct iocb **batch, unsigned n)
{
    const int64_t begin = clock_monotonic_ns();
    unsigned sent = 0;

    while (sent < n) {
        int ret = io_submit(a->context, (long)(n - sent), batch + sent);

        if (ret > 0) {
            sent += (unsigned)ret;
        } else if (ret != -EINTR) {
            BlockIo *io = batch[sent]->data;

            a->free_cbs[a->n_free++] = (uint16_t)(batch[sent] - a->cbs);
            batch[sent++] = NULL;
            nowait_failed(a, io, ret);
        }
    }
    judge_time(batch, n, clock_monotonic_ns() - begin);
}

/* Those of the queue that shall not wait, as many as the context has room for. */
static void flush_nowait(AioEngine *a)
{
    struct iocb *batch[AIO_DEPTH];
    BlockIo *list = a->queue, *next;
    unsigned n = 0;

    a->queue = NULL;
    a->queue_tail = &a->queue;
    a->n_queue = 0;
    for (; list; list = next) {
        next = list->next;
        if (list->nowait && a->n_free) {
            batch[n++] = aio_prepare(a, list);
        } else {
            queue_push(a, list);
        }
    }
    if (n) {
        submit_now(a, batch, n);
    }
}

static void depute(AioEngine *a)
{
    BlockEngine *workers = block_engine(a->engine.loop, BLOCK_AIO_THREADS, NULL);

    while (a->queue && a->n_free) {
        Job *job = g_new0(Job, 1);

        job->aio = a;
        while (a->queue && a->n_free && job->count < (a->slow ? 1 : BLOCK_ENGINE_BATCH)) {
            job->batch[job->count++] = aio_prepare(a, queue_pop(a));
        }
        /* As long as many short writes, which is what the pool's thread of tools does itself. */
        job->io = (BlockIo){.op = BLOCK_WRITE, .len = job->count * 16 * KIB, .brief = true, .run = job_run, .finish = job_done};
        a->jobs++;
        workers->ops->submit(workers, &job->io);
    }
}

/* Gives the kernel what the context has room for; what it refuses is done by a worker. */
static void aio_flush(BlockEngine *engine)
{
    AioEngine *a = container_of(engine, AioEngine, engine);
    struct iocb *batch[AIO_DEPTH];
    unsigned n = 0, sent = 0;

    if (a->deputed) {
        flush_nowait(a);
        depute(a);
        return;
    }
    while (a->queue && a->n_free) {
        batch[n++] = aio_prepare(a, queue_pop(a));
    }
    while (sent < n) {
        int ret = io_submit(a->context, (long)(n - sent), batch + sent);

        if (ret > 0) {
            sent += (unsigned)ret;
        } else if (ret != -EINTR) {
            aio_refused(a, batch[sent++]);
        }
    }
}

static bool aio_submit(BlockEngine *engine, BlockIo *io)
{
    AioEngine *a = container_of(engine, AioEngine, engine);
    const unsigned given = engine->in_flight - a->n_queue;

    engine->in_flight++;
    queue_push(a, io);
    if (!engine->loop->plugged || a->n_queue >= block_engine_batch(engine->loop, io, given)) {
        aio_flush(engine);
    }
    return true;
}

static void aio_finish(AioEngine *a, struct io_event event)
{
    BlockIo *io = event.data;
    long res = (long)event.res;

    a->free_cbs[a->n_free++] = (uint16_t)(event.obj - a->cbs);
    if (io->nowait && (res == -EAGAIN || res == -EOPNOTSUPP || res == -EINVAL)) {
        nowait_failed(a, io, (int)res);
        return;
    }
    if (io->nowait) {
        note(io->nowait, true);
    }
    a->engine.in_flight--;
    if (res == -EAGAIN || (res >= 0 && (uint64_t)res < io->len)) {
        io->progress = res > 0 ? (uint64_t)res : 0;
        block_io_run_in_thread(io->node, io);
    } else {
        io->finish(io, res < 0 ? (int)res : 0);
    }
}

/* Events are kept in the engine: a wait that a callback nests goes on with the others. */
static bool aio_poll(BlockEngine *engine)
{
    AioEngine *a = container_of(engine, AioEngine, engine);
    bool any = false;
    int ret;

    block_loop_plug(engine->loop);
    for (;;) {
        if (a->event_pos == a->n_events) {
            ret = io_getevents(a->context, 0, AIO_DEPTH, a->events, &(struct timespec){0});
            a->event_pos = a->n_events = 0;
            if (ret <= 0) {
                break;
            }
            a->n_events = (unsigned)ret;
        }
        aio_finish(a, a->events[a->event_pos++]);
        any = true;
    }
    block_loop_unplug(engine->loop);
    if (a->queue && !engine->loop->plugged) {
        aio_flush(engine);
    }
    return any;
}

static void aio_event(void *opaque, uint32_t events)
{
    AioEngine *a = opaque;
    eventfd_t count;

    (void)events;
    if (eventfd_read(a->event_fd, &count) == 0) {
        aio_poll(&a->engine);
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

    while (a->jobs && block_loop_wait(engine->loop)) {
    }
    block_fd_remove(a->source);
    io_destroy(a->context);
    close(a->event_fd);
    g_free(a);
}

static const BlockEngineOps aio_ops = {
    .name = "native",
    .submit = aio_submit,
    .flush = aio_flush,
    .poll = aio_poll,
    .cancel = aio_cancel,
    .free = aio_free,
};

static BlockEngine *engine_new(BlockLoop *loop, bool deputed, GError **err)
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
    a->engine = (BlockEngine){.ops = &aio_ops, .loop = loop};
    a->deputed = deputed;
    a->queue_tail = &a->queue;
    for (unsigned i = 0; i < AIO_DEPTH; i++) {
        a->free_cbs[a->n_free++] = (uint16_t)i;
    }
    a->source = block_fd_add(loop, a->event_fd, EPOLLIN, aio_event, a);
    return &a->engine;
}

BlockEngine *block_engine_aio_new(BlockLoop *loop, GError **err)
{
    return engine_new(loop, false, err);
}

BlockEngine *block_engine_deputed_new(BlockLoop *loop, GError **err)
{
    return engine_new(loop, true, err);
}
