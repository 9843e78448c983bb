/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "block/slow.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "block/block_int.h"
#include "util/thread.h"
#include "util/trace.h"

/* What a thread works on. */
typedef struct SlowThread {
    int refs;                /* atomic: the main thread and the other one */
    int cancel_fd, done_fd;  /* eventfds; done_fd is written by the thread when it lets go of the task */
    BlockSlowTask *task;
} SlowThread;

struct BlockSlow {
    Vm *vm;
    GPtrArray *tasks;        /* BlockSlowTask *: done, nobody's */
    BlockSlowTask *wanted;   /* what the command must wait for; NULL: nothing */
    SlowThread *thread;      /* does it; NULL: none */
    LoopFd *source;
    BlockSlowDone *done;
    void *opaque;
};

static void task_free(BlockSlowTask *task)
{
    if (task) {
        g_clear_error(&task->err);
        task->ops->free(task);
    }
}

/* ---- the thread ------------------------------------------------------------------------------- */

static void thread_unref(SlowThread *t)
{
    if (!g_atomic_int_dec_and_test(&t->refs)) {
        return;
    }
    task_free(t->task);
    close(t->cancel_fd);
    close(t->done_fd);
    g_free(t);
}

static void tell(int fd)
{
    const uint64_t one = 1;

    if (write(fd, &one, sizeof one) < 0) {
        trace(block_slow_lost, "%d", errno); /* an eventfd that is open takes it */
    }
}

static void *slow_thread(void *opaque)
{
    SlowThread *t = opaque;

    t->task->ops->run(t->task, t->cancel_fd, &t->task->err);
    tell(t->done_fd);
    thread_unref(t);
    return NULL;
}

static SlowThread *thread_start(BlockSlowTask *task)
{
    SlowThread *t = g_new(SlowThread, 1);

    *t = (SlowThread){.refs = 2,
                      .cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                      .done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                      .task = task};
    int errnum = thread_start_detached(slow_thread, t, 0);
    if (errnum) {
        error_set_errno(&task->err, errnum, "no thread for what takes its time");
        tell(t->done_fd);
        thread_unref(t);
    }
    return t;
}

/* Takes the task back when it is done. */
static BlockSlowTask *thread_join(SlowThread *t)
{
    struct pollfd wait = {.fd = t->done_fd, .events = POLLIN};
    BlockSlowTask *task;
    eventfd_t n;

    while (poll(&wait, 1, -1) < 0 && errno == EINTR) {
    }
    eventfd_read(t->done_fd, &n); /* what the thread wrote before is here */
    task = g_steal_pointer(&t->task);
    thread_unref(t);
    return task;
}

/* ---- for drivers ------------------------------------------------------------------------------ */

static BlockSlowTask *find(BlockSlow *slow, const BlockSlowTask *like)
{
    for (unsigned i = 0; i < slow->tasks->len; i++) {
        const BlockSlowTask *task = slow->tasks->pdata[i];

        if (task->ops == like->ops && task->ops->same(task, like)) {
            return g_ptr_array_steal_index(slow->tasks, i);
        }
    }
    return NULL;
}

/* A failed one stays: asked for again it fails again. */
static BlockSlowTask *take_result(BlockSlow *slow, BlockSlowTask *task, GError **err)
{
    if (!task->err) {
        return task;
    }
    g_propagate_error(err, g_error_copy(task->err));
    g_ptr_array_add(slow->tasks, task);
    return NULL;
}

BlockSlowTask *block_slow_get(Vm *vm, BlockSlowTask *task, GError **err)
{
    BlockSlow *slow = vm->block->slow;
    BlockSlowTask *have = slow ? find(slow, task) : NULL;

    if (have) {
        task_free(task);
        return take_result(slow, have, err);
    }
    if (!slow) {
        if (task->ops->run(task, -1, err)) {
            return task;
        }
    } else {
        error_set(err, "it takes its time");
        if (!slow->wanted) {
            slow->wanted = g_steal_pointer(&task);
        }
    }
    task_free(task);
    return NULL;
}

void block_slow_keep(Vm *vm, BlockSlowTask *task)
{
    BlockSlow *slow = vm->block->slow;

    if (slow) {
        g_ptr_array_add(slow->tasks, task);
    } else {
        task_free(task);
    }
}

bool block_slow_again(Vm *vm) { return vm->block->slow && vm->block->slow->wanted; }

/* ---- for monitors ----------------------------------------------------------------------------- */

BlockSlow *block_slow_new(Vm *vm)
{
    BlockSlow *slow = g_new0(BlockSlow, 1);

    slow->vm = vm;
    slow->tasks = g_ptr_array_new_with_free_func((GDestroyNotify)task_free);
    return slow;
}

void block_slow_free(BlockSlow *slow)
{
    task_free(slow->wanted);
    g_ptr_array_free(slow->tasks, TRUE);
    g_free(slow);
}

void block_slow_begin(BlockSlow *slow)
{
    BlockState *block = block_state(slow->vm);

    g_assert(!block->slow);
    block->slow = slow;
}

bool block_slow_end(BlockSlow *slow)
{
    slow->vm->block->slow = NULL;
    return slow->wanted != NULL;
}

static void wait_ended(BlockSlow *slow, GError *err)
{
    loop_fd_remove(slow->source);
    g_ptr_array_remove(slow->vm->block->slow_waiting, slow);
    slow->done(slow->opaque, err);
}

static void on_done(void *opaque, uint32_t events)
{
    BlockSlow *slow = opaque;

    g_ptr_array_add(slow->tasks, thread_join(g_steal_pointer(&slow->thread)));
    wait_ended(slow, NULL);
}

void block_slow_wait(BlockSlow *slow, BlockSlowDone *done, void *opaque)
{
    slow->done = done;
    slow->opaque = opaque;
    slow->thread = thread_start(g_steal_pointer(&slow->wanted));
    slow->source = loop_fd_add(slow->vm->loop, slow->thread->done_fd, EPOLLIN, on_done, slow);
    g_ptr_array_add(slow->vm->block->slow_waiting, slow);
}

static void cancel(BlockSlow *slow, const char *why)
{
    SlowThread *t = g_steal_pointer(&slow->thread);
    GError *err = NULL;

    tell(t->cancel_fd);
    if (t->task->ops->stops) {
        task_free(thread_join(t));
    } else {
        thread_unref(t);
    }
    error_set(&err, "%s", why);
    wait_ended(slow, err);
}

void block_slow_cancel_all(Vm *vm, const char *why)
{
    const GPtrArray *waiting = vm->block->slow_waiting;

    while (waiting->len) {
        cancel(waiting->pdata[0], why);
    }
}
