/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The thread pool: requests are run by worker threads (io->run) and finished from the loop, which
 * an eventfd wakes.
 *
 * Workers start on demand, at most 64 or as many as the loop's user wants, and leave after five idle seconds but for those
 * that the user wants to keep. They never take the VM
 * lock, so a drain may wait for them while it holds it. Requests that would wait for each other in the
 * kernel share a lane (BlockIo.lane), of which one worker at a time takes requests.
 *
 * Where the loop's thread has nothing else to serve (BlockLoop.lone) it is a worker too while it waits: it runs a request
 * that is alone, and those that are brief as long as they prove to be. Long reads of these it shares with a worker. A tool
 * that copies (BlockLoop.reads_ahead) leaves its long writes to a worker, and is not woken for each one that has ended.
 */
#include <errno.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "block/block_int.h"
#include "util/lock.h"
#include "util/log.h"
#include "util/thread.h"

#define WORKERS_MAX 64
#define IDLE_SECONDS 5
#define WORKER_STACK (128 * 1024)
#define SHARED_LEN (32 * KIB) /* a read this long is worth waking a worker for the next one */
#define SKIP_MIN 16           /* requests left to workers after one that was not brief */
#define SKIP_MAX 4096

typedef struct IoQueue {
    BlockIo *head, **tail;
    unsigned len;
} IoQueue;

typedef struct ThreadEngine {
    BlockEngine engine;
    Lock lock; /* all below */
    pthread_cond_t work;  /* todo is not empty, or quit */
    pthread_cond_t left; /* a worker has left */
    IoQueue todo, done;
    unsigned workers, idle;
    unsigned workers_min, workers_max;
    bool woken; /* a worker was signalled or started and is not there yet */
    bool held;  /* lone: nobody was woken for what is in todo */
    bool awake; /* lone: the loop's thread will look at done before it sleeps */
    bool called;      /* it was woken for what is in done */
    unsigned call_at; /* it sleeps until so many are left in todo */
    bool quit;
    int event_fd;
    BlockIo *ended; /* the owner's: taken out of done, to be finished next */
    unsigned skip, skip_next; /* the owner's: brief requests that it leaves to workers, now and after the next slow one */
    BlockFd *source;
} ThreadEngine;

static void queue_init(IoQueue *queue)
{
    *queue = (IoQueue){.tail = &queue->head};
}

static void queue_push(IoQueue *queue, BlockIo *io)
{
    io->next = NULL;
    *queue->tail = io;
    queue->tail = &io->next;
    queue->len++;
}

static bool queue_remove(IoQueue *queue, BlockIo *io)
{
    for (BlockIo **p = &queue->head; *p; p = &(*p)->next) {
        if (*p == io) {
            *p = io->next;
            if (queue->tail == &io->next) {
                queue->tail = p;
            }
            queue->len--;
            return true;
        }
    }
    return false;
}

/* ---- lanes (lock held) ---------------------------------------------------------------------- */

static bool may_run(const BlockIo *io)
{
    return !io->lane || !*io->lane;
}

static bool has_work(const ThreadEngine *t)
{
    const BlockIo *io = t->todo.head;

    while (io && !may_run(io)) {
        io = io->next;
    }
    return io;
}

/* The first that may run, or NULL. */
static BlockIo *take_work(ThreadEngine *t)
{
    BlockIo *io = t->todo.head;

    while (io && !may_run(io)) {
        io = io->next;
    }
    if (io) {
        queue_remove(&t->todo, io);
    }
    return io;
}

/* ---- workers -------------------------------------------------------------------------------- */

/* Lock held. True: call the loop's thread when the lock is free, for which it would wait otherwise as soon as it is awake. */
static bool push_done(ThreadEngine *t, BlockIo *io)
{
    bool call = !t->called && !t->awake && t->todo.len <= t->call_at;

    queue_push(&t->done, io);
    t->called |= call;
    return call;
}

static void call_owner(const ThreadEngine *t)
{
    eventfd_write(t->event_fd, 1);
}

/* Lock held. False: nothing came for IDLE_SECONDS and it need not stay, or the engine ends. */
static bool wait_for_work(ThreadEngine *t)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += IDLE_SECONDS;
    t->idle++;
    while (!has_work(t) && !t->quit && t->workers <= t->workers_max) {
        int ret = pthread_cond_timedwait(&t->work, &t->lock.mutex, &until);

        t->woken = false; /* whoever was meant: somebody is awake now and looks */
        if (ret == ETIMEDOUT) {
            if (t->workers > t->workers_min) {
                break;
            }
            clock_gettime(CLOCK_MONOTONIC, &until);
            until.tv_sec += IDLE_SECONDS;
        }
    }
    t->idle--;
    return has_work(t);
}

/* Lock held. body: what a worker runs. */
static bool start_worker(ThreadEngine *t, void *(*body)(void *))
{
    if (thread_start_detached(body, t, WORKER_STACK) != 0) {
        return false;
    }
    t->workers++;
    return true;
}

/* Lock held. There is work: another worker shall come for it, unless one is on its way. Whoever takes a
 * request while others wait calls again, so a slow request holds nothing up; and quick ones are all done
 * by the first worker before a second is awake. False: there is none and none could be started. */
static bool more_workers(ThreadEngine *t, void *(*body)(void *))
{
    if (t->woken) {
        return true;
    }
    if (t->idle) {
        t->woken = true;
        pthread_cond_signal(&t->work);
        return true;
    }
    if (t->workers < t->workers_max && start_worker(t, body)) {
        t->woken = true;
    }
    return t->workers != 0;
}

static void *worker(void *opaque)
{
    ThreadEngine *t = opaque;

    pthread_setname_np(pthread_self(), "block-worker");
    lock_acquire(&t->lock);
    t->woken = false; /* it is here */
    while ((has_work(t) || wait_for_work(t)) && t->workers <= t->workers_max) {
        BlockIo *io = take_work(t);
        bool *lane = io->lane;

        if (lane) {
            __atomic_store_n(lane, true, __ATOMIC_RELAXED); /* the file driver looks at it */
        }
        if (has_work(t)) {
            more_workers(t, worker);
        }
        io->started = true;
        lock_release(&t->lock);
        io->result = io->run(io);
        lock_acquire(&t->lock);
        if (lane) {
            __atomic_store_n(lane, false, __ATOMIC_RELAXED);
        }
        if (push_done(t, io)) {
            lock_release(&t->lock);
            call_owner(t);
            lock_acquire(&t->lock);
        }
    }
    t->workers--;
    if (has_work(t)) {
        more_workers(t, worker); /* this one was one too many; it may have been the one that was woken */
    }
    pthread_cond_broadcast(&t->left);
    lock_release(&t->lock);
    return NULL;
}

/* ---- from the loop -------------------------------------------------------------------------- */

/* Lock held. What the user wants of the loop's workers. */
static void heed_hints(ThreadEngine *t)
{
    LoopIoHints hints = loop_io_hints(t->engine.loop->loop);

    t->workers_max = hints.workers_max ? hints.workers_max : WORKERS_MAX;
    t->workers_min = MIN(hints.workers_min, t->workers_max);
    while (t->workers < t->workers_min && start_worker(t, worker)) {
    }
    if (t->workers > t->workers_max) {
        pthread_cond_broadcast(&t->work); /* idle ones leave */
    }
}

/* Is it one that the loop's thread leaves to workers in any case? */
static bool is_for_worker(const ThreadEngine *t, const BlockIo *io)
{
    return t->engine.loop->reads_ahead && io->op == BLOCK_WRITE && io->len >= SHARED_LEN;
}

/* May the loop's thread itself run it, while it waits? */
static bool may_hold(ThreadEngine *t, const BlockIo *io)
{
    if (!t->engine.loop->lone || is_for_worker(t, io)) {
        return false;
    }
    if (t->engine.in_flight == 1) {
        return true;
    }
    if (!io->brief || t->skip) {
        t->skip -= io->brief;
        return false;
    }
    return true;
}

static bool threads_submit(BlockEngine *engine, BlockIo *io)
{
    ThreadEngine *t = container_of(engine, ThreadEngine, engine);
    bool call = false;

    engine->in_flight++;
    io->started = false;
    lock_acquire(&t->lock);
    heed_hints(t);
    t->awake &= engine->loop->lone; /* it may have been: nobody looks by himself any more */
    queue_push(&t->todo, io);
    if (may_hold(t, io)) {
        t->held = true;
    } else if (may_run(io) && !more_workers(t, worker)) {
        queue_remove(&t->todo, io);
        io->result = -EAGAIN;
        call = push_done(t, io);
    }
    lock_release(&t->lock);
    if (call) {
        call_owner(t);
    }
    return true;
}

/* Finishes what is done, one by one: a finish may drain, and then finds the others here. */
static bool finish_done(ThreadEngine *t)
{
    bool any = false;

    for (;;) {
        BlockIo *io = t->ended;

        if (!io) {
            lock_acquire(&t->lock);
            io = t->done.head;
            queue_init(&t->done);
            t->called = false;
            lock_release(&t->lock);
        }
        if (!io) {
            return any;
        }
        t->ended = io->next;
        any = true;
        t->engine.in_flight--;
        io->finish(io, io->result);
    }
}

static void threads_event(void *opaque, uint32_t events)
{
    ThreadEngine *t = opaque;
    eventfd_t count;

    (void)events;
    if (eventfd_read(t->event_fd, &count) == 0) {
        finish_done(t);
    }
}

/* Lock held. The request that the loop's thread runs next, or NULL: what there is in todo is for workers, who are woken. */
static BlockIo *take_held(ThreadEngine *t)
{
    const BlockIo *first = t->todo.head;
    bool own = t->held && first && may_run(first) && !is_for_worker(t, first) &&
               (t->engine.in_flight == 1 || (first->brief && !t->skip));
    BlockIo *io = own ? take_work(t) : NULL;

    if (io) {
        io->started = true;
        if (io->lane) {
            __atomic_store_n(io->lane, true, __ATOMIC_RELAXED);
        }
    }
    if (has_work(t) && (!io || (io->op == BLOCK_READ && io->len >= SHARED_LEN))) {
        more_workers(t, worker);
    }
    t->held = t->todo.head != NULL;
    t->awake = io != NULL; /* else it is going to sleep */
    /* Who reads ahead has something to do again when several writes have ended, and the worker something left meanwhile. */
    t->call_at = t->engine.loop->reads_ahead ? t->todo.len / 4 : UINT_MAX;
    return io;
}

/* Requests that take longer than copying can are waited for by workers from now on, for a while. */
static void learn(ThreadEngine *t, const BlockIo *io, int64_t ns)
{
    if (ns <= 20000 + (int64_t)io->len) {
        t->skip_next = SKIP_MIN;
    } else {
        t->skip = t->skip_next;
        t->skip_next = MIN(t->skip_next * 2, SKIP_MAX);
    }
}

/* False: there is none for this thread. */
static bool run_held(ThreadEngine *t)
{
    bool alone = t->engine.in_flight == 1;
    int64_t begin;
    BlockIo *io;

    lock_acquire(&t->lock);
    io = t->done.head ? NULL : take_held(t);
    lock_release(&t->lock);
    if (!io) {
        return false;
    }
    begin = alone ? 0 : clock_monotonic_ns();
    io->result = io->run(io);
    if (!alone) {
        learn(t, io, clock_monotonic_ns() - begin);
    }
    if (io->lane) {
        lock_acquire(&t->lock);
        __atomic_store_n(io->lane, false, __ATOMIC_RELAXED);
        lock_release(&t->lock);
    }
    t->engine.in_flight--;
    io->finish(io, io->result);
    return true;
}

static bool threads_poll(BlockEngine *engine)
{
    ThreadEngine *t = container_of(engine, ThreadEngine, engine);

    return finish_done(t) || (engine->loop->lone && run_held(t)) || finish_done(t);
}

static bool threads_cancel(BlockEngine *engine, BlockIo *io)
{
    ThreadEngine *t = container_of(engine, ThreadEngine, engine);
    bool removed, call = false;

    lock_acquire(&t->lock);
    removed = !io->started && queue_remove(&t->todo, io);
    if (removed) {
        io->result = -ECANCELED;
        call = push_done(t, io);
    }
    lock_release(&t->lock);
    if (call) {
        call_owner(t);
    }
    return removed;
}

static void threads_free(BlockEngine *engine)
{
    ThreadEngine *t = container_of(engine, ThreadEngine, engine);

    lock_acquire(&t->lock);
    t->quit = true;
    pthread_cond_broadcast(&t->work);
    while (t->workers) {
        pthread_cond_wait(&t->left, &t->lock.mutex);
    }
    lock_release(&t->lock);
    block_fd_remove(t->source);
    close(t->event_fd);
    pthread_cond_destroy(&t->work);
    pthread_cond_destroy(&t->left);
    lock_destroy(&t->lock);
    g_free(t);
}

static const BlockEngineOps threads_ops = {
    .name = "threads",
    .submit = threads_submit,
    .poll = threads_poll,
    .cancel = threads_cancel,
    .free = threads_free,
};

BlockEngine *block_engine_threads_new(BlockLoop *loop, GError **err)
{
    ThreadEngine *t = g_new0(ThreadEngine, 1);
    pthread_condattr_t attr;

    t->engine = (BlockEngine){.ops = &threads_ops, .loop = loop};
    t->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (t->event_fd < 0) {
        error_set_errno(err, errno, "Could not create an eventfd for disk requests");
        g_free(t);
        return NULL;
    }
    lock_init(&t->lock, "block workers", LOCK_RANK_BACKEND);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&t->work, &attr);
    pthread_condattr_destroy(&attr);
    pthread_cond_init(&t->left, NULL);
    queue_init(&t->todo);
    queue_init(&t->done);
    t->skip_next = SKIP_MIN;
    lock_acquire(&t->lock);
    heed_hints(t);
    lock_release(&t->lock);
    t->call_at = UINT_MAX;
    t->source = block_fd_add(loop, t->event_fd, EPOLLIN, threads_event, t);
    return &t->engine;
}

/* ---- for others ----------------------------------------------------------------------------- */

void block_io_run_in_thread(BlockNode *node, BlockIo *io)
{
    BlockEngine *engine = block_engine(block_io_loop(node, io), BLOCK_AIO_THREADS, NULL);

    io->engine = engine;
    engine->ops->submit(engine, io);
}
