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

#define ANSWER_LIMIT_NS (30 * NSEC_PER_SEC) /* as for a handshake */

struct BlockSlow {
    Vm *vm;
    uint64_t number;
    GPtrArray *parked;       /* BlockNode *, a reference each */
    BlockNode *reads;        /* whose answer the command waits for, a reference; NULL: none */
    char *reads_what;        /* for messages */
    bool answered;           /* since the command ran last */
    LoopTimer *timer;        /* runs it again, or is the limit; NULL: does not wait for an answer */
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

static bool waits(const BlockSlow *slow) { return slow->wanted || slow->reads; }
bool block_slow_again(Vm *vm) { return vm->block->slow && waits(vm->block->slow); }

/* ---- reads ------------------------------------------------------------------------------------- */

/* Nodes above that have no other parents lead to one that is being opened, or to nothing: a look at what is inside. */
uint64_t block_slow_reads(const BlockNode *node)
{
    const BlockSlow *slow = node->loop->is_main ? node->vm->block->slow : NULL;
    const BlockNode *top = node;

    if (!slow) {
        return 0;
    }
    while (top->parents->len == 1 && ((const BlockChild *)g_ptr_array_index(top->parents, 0))->parent) {
        top = ((const BlockChild *)g_ptr_array_index(top->parents, 0))->parent;
    }
    return !top->parents->len && (top == node || top->opening) ? slow->number : 0;
}

bool block_slow_await(BlockNode *node, uint64_t command, const char *what)
{
    BlockSlow *slow = node->vm->block->slow;

    if (!slow || slow->number != command) {
        return false;
    }
    if (!slow->reads) {
        slow->reads = block_node_ref(node);
        slow->reads_what = g_strdup(what);
    }
    return true;
}

static void answer_came(BlockSlow *slow)
{
    slow->answered = true;
    if (slow->timer) {
        loop_timer_arm(slow->timer, 0); /* not at once: this may be inside a wait of another command */
    }
}

void block_slow_answered(Vm *vm, uint64_t command)
{
    BlockState *s = vm->block;

    if (s->slow && s->slow->number == command) {
        answer_came(s->slow);
    }
    for (unsigned i = 0; i < s->slow_waiting->len; i++) {
        BlockSlow *slow = g_ptr_array_index(s->slow_waiting, i);

        if (slow->number == command) {
            answer_came(slow);
        }
    }
}

bool block_slow_park(BlockNode *node)
{
    BlockState *s = node->vm->block;

    if (!node->slow_key || node->parents->len || node->children->len || !block_slow_again(node->vm)) {
        return false;
    }
    node->refs = 1;
    g_ptr_array_remove(s->nodes, node);
    g_ptr_array_add(s->slow->parked, node);
    return true;
}

BlockNode *block_slow_unpark(Vm *vm, const char *key)
{
    BlockState *s = vm->block;

    for (unsigned i = 0; s->slow && i < s->slow->parked->len; i++) {
        BlockNode *node = g_ptr_array_index(s->slow->parked, i);

        if (!strcmp(node->slow_key, key) && !block_node_find(vm, node->name) && !blk_find(vm, node->name)) {
            g_ptr_array_remove_index(s->slow->parked, i);
            g_ptr_array_add(s->nodes, node);
            return node;
        }
    }
    return NULL;
}

/* Requests of the node end now, whatever its server does. */
static void cut_off(BlockNode *node, const char *why)
{
    if (node->drv->cut_off) {
        node->drv->cut_off(node, why);
    }
}

static void drop_reads(BlockSlow *slow)
{
    block_node_unref(g_steal_pointer(&slow->reads));
    g_clear_pointer(&slow->reads_what, g_free);
}

/* ---- for monitors ----------------------------------------------------------------------------- */

BlockSlow *block_slow_new(Vm *vm)
{
    BlockSlow *slow = g_new0(BlockSlow, 1);

    slow->vm = vm;
    slow->number = ++block_state(vm)->last_slow;
    slow->parked = g_ptr_array_new();
    slow->tasks = g_ptr_array_new_with_free_func((GDestroyNotify)task_free);
    return slow;
}

void block_slow_free(BlockSlow *slow)
{
    task_free(slow->wanted);
    drop_reads(slow);
    for (unsigned i = 0; i < slow->parked->len; i++) {
        block_node_unref(g_ptr_array_index(slow->parked, i));
    }
    g_ptr_array_free(slow->parked, TRUE);
    g_ptr_array_free(slow->tasks, TRUE);
    g_free(slow);
}

void block_slow_begin(BlockSlow *slow)
{
    BlockState *block = block_state(slow->vm);

    g_assert(!block->slow);
    drop_reads(slow);
    slow->answered = false;
    block->slow = slow;
}

bool block_slow_end(BlockSlow *slow)
{
    if (slow->reads && slow->reads->refs == 1 && block_slow_park(slow->reads)) {
        block_node_ref(slow->reads);
    }
    slow->vm->block->slow = NULL;
    return waits(slow);
}

static void wait_ended(BlockSlow *slow, GError *err)
{
    loop_fd_remove(g_steal_pointer(&slow->source));
    loop_timer_free(g_steal_pointer(&slow->timer));
    g_ptr_array_remove(slow->vm->block->slow_waiting, slow);
    slow->done(slow->opaque, err);
}

static void on_done(void *opaque, uint32_t events)
{
    BlockSlow *slow = opaque;

    g_ptr_array_add(slow->tasks, thread_join(g_steal_pointer(&slow->thread)));
    wait_ended(slow, NULL);
}

static void on_timer(void *opaque)
{
    BlockSlow *slow = opaque;
    GError *err = NULL;

    if (!slow->answered) {
        error_set(&err, "%s: no answer for %u seconds; does it still run?", slow->reads_what, (unsigned)(ANSWER_LIMIT_NS / NSEC_PER_SEC));
        cut_off(slow->reads, "it does not answer");
    }
    wait_ended(slow, err);
}

void block_slow_wait(BlockSlow *slow, BlockSlowDone *done, void *opaque)
{
    slow->done = done;
    slow->opaque = opaque;
    if (slow->wanted) {
        slow->thread = thread_start(g_steal_pointer(&slow->wanted));
        slow->source = loop_fd_add(slow->vm->loop, slow->thread->done_fd, EPOLLIN, on_done, slow);
    } else {
        slow->timer = loop_timer_new(slow->vm->loop, on_timer, slow);
        loop_timer_arm(slow->timer, slow->answered ? 0 : clock_monotonic_ns() + ANSWER_LIMIT_NS);
    }
    g_ptr_array_add(slow->vm->block->slow_waiting, slow);
}

static void cancel(BlockSlow *slow, const char *why)
{
    SlowThread *t = g_steal_pointer(&slow->thread);
    GError *err = NULL;

    if (!t) {
        cut_off(slow->reads, why);
    } else {
        tell(t->cancel_fd);
        if (t->task->ops->stops) {
            task_free(thread_join(t));
        } else {
            thread_unref(t);
        }
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
