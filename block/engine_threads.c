/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The thread pool: requests are run by worker threads (io->run) and finished from the loop, which
 * an eventfd wakes. Also the way by which any request is ended "later".
 *
 * Workers start on demand, at most 64, and leave after five idle seconds. They never take the VM
 * lock, so a drain may wait for them while it holds it.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "block/block_int.h"
#include "util/log.h"

#define MAX_WORKERS 64
#define IDLE_SECONDS 5
#define WORKER_STACK (128 * 1024)

typedef struct IoQueue {
    BlockIo *head, **tail;
} IoQueue;

typedef struct ThreadEngine {
    BlockEngine engine;
    pthread_mutex_t lock; /* all below */
    pthread_cond_t work;  /* todo is not empty, or quit */
    pthread_cond_t ended; /* done is not empty, or a worker has left */
    IoQueue todo, done;
    unsigned workers, idle;
    bool quit;
    int event_fd;
    LoopFd *source;
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
}

static BlockIo *queue_pop(IoQueue *queue)
{
    BlockIo *io = queue->head;

    if (io) {
        queue->head = io->next;
        if (!queue->head) {
            queue->tail = &queue->head;
        }
    }
    return io;
}

static bool queue_remove(IoQueue *queue, BlockIo *io)
{
    for (BlockIo **p = &queue->head; *p; p = &(*p)->next) {
        if (*p == io) {
            *p = io->next;
            if (queue->tail == &io->next) {
                queue->tail = p;
            }
            return true;
        }
    }
    return false;
}

/* ---- workers -------------------------------------------------------------------------------- */

/* Lock held. */
static void push_done(ThreadEngine *t, BlockIo *io)
{
    bool was_empty = !t->done.head;

    queue_push(&t->done, io);
    if (was_empty) {
        eventfd_write(t->event_fd, 1);
        pthread_cond_broadcast(&t->ended);
    }
}

/* Lock held. False: nothing came for IDLE_SECONDS, or the engine ends. */
static bool wait_for_work(ThreadEngine *t)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += IDLE_SECONDS;
    t->idle++;
    while (!t->todo.head && !t->quit) {
        if (pthread_cond_timedwait(&t->work, &t->lock, &until) == ETIMEDOUT) {
            break;
        }
    }
    t->idle--;
    return t->todo.head != NULL;
}

static void *worker(void *opaque)
{
    ThreadEngine *t = opaque;

    pthread_setname_np(pthread_self(), "block-worker");
    pthread_mutex_lock(&t->lock);
    while (t->todo.head || wait_for_work(t)) {
        BlockIo *io = queue_pop(&t->todo);

        io->started = true;
        pthread_mutex_unlock(&t->lock);
        io->result = io->run(io);
        pthread_mutex_lock(&t->lock);
        push_done(t, io);
    }
    t->workers--;
    pthread_cond_broadcast(&t->ended);
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

/* Lock held. */
static bool start_worker(ThreadEngine *t)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, before;
    int ret;

    sigfillset(&all);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, WORKER_STACK);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    ret = pthread_create(&thread, &attr, worker, t);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    if (ret == 0) {
        t->workers++;
    }
    return ret == 0;
}

/* ---- from the loop -------------------------------------------------------------------------- */

static bool threads_submit(BlockEngine *engine, BlockIo *io)
{
    ThreadEngine *t = container_of(engine, ThreadEngine, engine);

    engine->in_flight++;
    io->started = false;
    pthread_mutex_lock(&t->lock);
    queue_push(&t->todo, io);
    if (t->idle) {
        pthread_cond_signal(&t->work);
    }
    /* One that is about to leave, or busy for long, is no help: start another while there is room.
     */
    if ((!t->idle || t->todo.head != io) && t->workers < MAX_WORKERS && !start_worker(t) &&
        !t->workers) {
        queue_remove(&t->todo, io);
        io->result = -EAGAIN;
        push_done(t, io);
    }
    pthread_mutex_unlock(&t->lock);
    return true;
}

/* Finishes what is done, one by one: a finish may drain, and then finds the others here. */
static bool finish_done(ThreadEngine *t)
{
    bool any = false;

    for (;;) {
        BlockIo *io;

        pthread_mutex_lock(&t->lock);
        io = queue_pop(&t->done);
        pthread_mutex_unlock(&t->lock);
        if (!io) {
            return any;
        }
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

static void threads_wait(BlockEngine *engine)
{
    ThreadEngine *t = container_of(engine, ThreadEngine, engine);

    pthread_mutex_lock(&t->lock);
    while (!t->done.head) {
        pthread_cond_wait(&t->ended, &t->lock);
    }
    pthread_mutex_unlock(&t->lock);
    finish_done(t);
}

static bool threads_cancel(BlockEngine *engine, BlockIo *io)
{
    ThreadEngine *t = container_of(engine, ThreadEngine, engine);
    bool removed;

    pthread_mutex_lock(&t->lock);
    removed = !io->started && queue_remove(&t->todo, io);
    if (removed) {
        io->result = -ECANCELED;
        push_done(t, io);
    }
    pthread_mutex_unlock(&t->lock);
    return removed;
}

static void threads_free(BlockEngine *engine)
{
    ThreadEngine *t = container_of(engine, ThreadEngine, engine);

    pthread_mutex_lock(&t->lock);
    t->quit = true;
    pthread_cond_broadcast(&t->work);
    while (t->workers) {
        pthread_cond_wait(&t->ended, &t->lock);
    }
    pthread_mutex_unlock(&t->lock);
    loop_fd_remove(t->source);
    close(t->event_fd);
    pthread_cond_destroy(&t->work);
    pthread_cond_destroy(&t->ended);
    pthread_mutex_destroy(&t->lock);
    g_free(t);
}

static const BlockEngineOps threads_ops = {
    .name = "threads",
    .submit = threads_submit,
    .wait = threads_wait,
    .cancel = threads_cancel,
    .free = threads_free,
};

BlockEngine *block_engine_threads_new(BlockState *state, GError **err)
{
    ThreadEngine *t = g_new0(ThreadEngine, 1);
    pthread_condattr_t attr;

    t->engine = (BlockEngine){.ops = &threads_ops, .state = state};
    t->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (t->event_fd < 0) {
        error_set_errno(err, errno, "Could not create an eventfd for disk requests");
        g_free(t);
        return NULL;
    }
    pthread_mutex_init(&t->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&t->work, &attr);
    pthread_condattr_destroy(&attr);
    pthread_cond_init(&t->ended, NULL);
    queue_init(&t->todo);
    queue_init(&t->done);
    t->source = loop_fd_add(state->vm->loop, t->event_fd, EPOLLIN, threads_event, t);
    return &t->engine;
}

/* ---- for others ----------------------------------------------------------------------------- */

void block_io_finish_later(Vm *vm, BlockIo *io, int result)
{
    ThreadEngine *t = container_of(block_engine(vm, BLOCK_AIO_THREADS, NULL), ThreadEngine, engine);

    t->engine.in_flight++;
    io->started = true;
    io->result = result;
    pthread_mutex_lock(&t->lock);
    push_done(t, io);
    pthread_mutex_unlock(&t->lock);
}

void block_io_run_in_thread(Vm *vm, BlockIo *io)
{
    BlockEngine *engine = block_engine(vm, BLOCK_AIO_THREADS, NULL);

    engine->ops->submit(engine, io);
}
