/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One epoll descriptor, one eventfd to be woken by, one heap of timers. Removed sources are kept until
 * the batch that may still name them is over: removal during dispatch is common and must be cheap.
 *
 * Waking: a poster writes the eventfd only when the loop is (about to be) asleep, so posts from the
 * loop's own thread and bursts from others cost no system call.
 */
#include "util/loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "util/error.h"
#include "util/lock.h"
#include "util/util.h"

#define LOOP_BATCH 64
#define WORTH_CAUGHT 4 /* events that busy waiting has caught pay for a wait that caught none */
#define TRY_WITHIN 8   /* busy waiting is tried after sleeps of up to so many times polling.max_ns: what they waited for may fit */
#define TRY_FIRST 4    /* so many of them, and after each try that did not pay twice as many, */
#define TRY_MAX 64     /* at most */
#define LOOKS_PER_SYSCALL 32 /* how often memory is looked at before the kernel is asked again */
#define BUSY_TURNS 4 /* of them one looks at what is polled */

struct LoopFd {
    Loop *loop;
    int fd;
    uint32_t events;
    LoopFdFn *fn; /* NULL: removed */
    void *opaque;
};

struct LoopTimer {
    Loop *loop;
    LoopFn *fn;
    void *opaque;
    int64_t deadline;
    int index; /* in the heap; -1: not armed */
};

struct LoopPoll {
    Loop *loop;
    const LoopPollOps *ops; /* NULL: removed */
    void *opaque;
    bool begun;
};

typedef struct Post {
    LoopFn *fn;
    void *opaque;
} Post;

struct Loop {
    char *name;
    int epoll_fd, wake_fd;
    atomic_bool sleeping;      /* a poster must write wake_fd */
    atomic_bool kicked;        /* since the last wait ended: the next one does not block */
    atomic_bool quit;
    _Atomic(pthread_t) runner; /* the thread that runs it now; 0: none */
    LoopGuard guard;
    GPtrArray *timers;         /* binary heap of LoopTimer * */
    GSList *removed;           /* LoopFd * to free after the batch */
    Lock post_lock;
    GArray *on_free;           /* Post */
    GArray *posts, *spare;     /* Post; spare is reused while posts run */
    GPtrArray *polls;          /* LoopPoll * */
    LoopPolling polling;
    LoopIoHints io_hints;
    int64_t poll_ns;           /* busy waiting now, 0 to polling.max_ns */
    unsigned caught;           /* by busy waiting, since the last sleep */
    unsigned untried, try_after; /* short sleeps since a try; how many there shall be */
    unsigned poll_first;       /* of polls: where the next look begins */
    unsigned busy_turns;       /* without waiting */
};

static int64_t clock_ns(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}
int64_t clock_monotonic_ns(void) { return clock_ns(CLOCK_MONOTONIC); }
int64_t clock_realtime_ns(void) { return clock_ns(CLOCK_REALTIME); }

/* ---- life ------------------------------------------------------------------------------ */

Loop *loop_new(const char *name, GError **err)
{
    Loop *loop = g_new0(Loop, 1);

    loop->name = g_strdup(name);
    loop->try_after = TRY_FIRST;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->epoll_fd < 0 || loop->wake_fd < 0) {
        error_set_errno(err, errno, "cannot make the event loop '%s'", name);
        if (loop->epoll_fd >= 0) {
            close(loop->epoll_fd);
        }
        g_free(loop->name);
        g_free(loop);
        return NULL;
    }
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &ev);
    loop->timers = g_ptr_array_new();
    loop->polls = g_ptr_array_new_with_free_func(g_free);
    loop->on_free = g_array_new(false, false, sizeof(Post));
    loop->posts = g_array_new(false, false, sizeof(Post));
    loop->spare = g_array_new(false, false, sizeof(Post));
    lock_init(&loop->post_lock, "a loop's posts", LOCK_RANK_LOOP);
    return loop;
}

void loop_set_guard(Loop *loop, LoopGuard guard) { loop->guard = guard; }

static void loop_free_removed(Loop *loop)
{
    g_slist_free_full(g_steal_pointer(&loop->removed), g_free);
}

void loop_free(Loop *loop)
{
    if (!loop) {
        return;
    }
    while (loop->on_free->len) {
        Post call = g_array_index(loop->on_free, Post, loop->on_free->len - 1);

        g_array_set_size(loop->on_free, loop->on_free->len - 1);
        call.fn(call.opaque);
    }
    g_array_free(loop->on_free, true);
    loop_free_removed(loop);
    close(loop->epoll_fd);
    close(loop->wake_fd);
    g_ptr_array_free(loop->timers, true);
    g_ptr_array_free(loop->polls, true);
    g_array_free(loop->posts, true);
    g_array_free(loop->spare, true);
    lock_destroy(&loop->post_lock);
    g_free(loop->name);
    g_free(loop);
}

void loop_on_free(Loop *loop, LoopFn *fn, void *opaque)
{
    g_array_append_val(loop->on_free, ((Post){fn, opaque}));
}

void loop_off_free(Loop *loop, LoopFn *fn, void *opaque)
{
    for (unsigned i = 0; i < loop->on_free->len; i++) {
        const Post *call = &g_array_index(loop->on_free, Post, i);

        if (call->fn == fn && call->opaque == opaque) {
            g_array_remove_index(loop->on_free, i);
            return;
        }
    }
}

bool loop_is_current(const Loop *loop)
{
    return pthread_equal(atomic_load(&loop->runner), pthread_self());
}

/* ---- waking and posting ------------------------------------------------------------------- */

/* Ends a wait that is under way. A loop that is about to wait sees by itself what its caller changed. */
static void loop_wake(Loop *loop)
{
    if (atomic_exchange(&loop->sleeping, false)) {
        uint64_t one = 1;

        while (write(loop->wake_fd, &one, sizeof one) < 0 && errno == EINTR) {
        }
    }
}

void loop_kick(Loop *loop)
{
    /* Pairs with loop_wait: either it sees the kick before it sleeps, or we see it asleep. */
    atomic_store(&loop->kicked, true);
    loop_wake(loop);
}

void loop_quit(Loop *loop)
{
    atomic_store(&loop->quit, true);
    loop_wake(loop);
}

void loop_post(Loop *loop, LoopFn *fn, void *opaque)
{
    Post post = {fn, opaque};

    lock_acquire(&loop->post_lock);
    g_array_append_val(loop->posts, post);
    lock_release(&loop->post_lock);
    loop_wake(loop);
}

static void loop_callback(LoopFn *fn, void *opaque)
{
    int64_t begin = lock_activity_begin();

    fn(opaque);
    lock_activity_end(begin, (const void *)(uintptr_t)fn);
}

static bool loop_run_posts(Loop *loop)
{
    lock_acquire(&loop->post_lock);
    GArray *batch = loop->posts;
    if (batch->len == 0) {
        lock_release(&loop->post_lock);
        return false;
    }
    loop->posts = loop->spare ? loop->spare : g_array_new(false, false, sizeof(Post));
    loop->spare = NULL;
    lock_release(&loop->post_lock);

    for (unsigned i = 0; i < batch->len; i++) {
        Post *post = &g_array_index(batch, Post, i);
        loop_callback(post->fn, post->opaque);
    }
    g_array_set_size(batch, 0);
    if (loop->spare) { /* a nested loop_run_once gave one back already */
        g_array_free(batch, true);
    } else {
        loop->spare = batch;
    }
    return true;
}

static bool loop_has_posts(Loop *loop)
{
    lock_acquire(&loop->post_lock);
    bool some = loop->posts->len > 0;
    lock_release(&loop->post_lock);
    return some;
}

typedef struct Call {
    LoopFn *fn;
    void *opaque;
    Lock lock; /* done */
    pthread_cond_t ended;
    bool done;
} Call;

static void run_call(void *opaque)
{
    Call *call = opaque;

    call->fn(call->opaque);
    lock_acquire(&call->lock);
    call->done = true;
    pthread_cond_signal(&call->ended);
    lock_release(&call->lock);
}

void loop_call_locked(Loop *loop, LoopFn *fn, void *opaque)
{
    Call call = {.fn = fn, .opaque = opaque, .ended = PTHREAD_COND_INITIALIZER};

    if (loop_is_current(loop)) {
        fn(opaque);
        return;
    }
    lock_init(&call.lock, "a call to a loop", LOCK_RANK_LEAF);
    loop_post(loop, run_call, &call);
    lock_acquire(&call.lock);
    while (!call.done) {
        pthread_cond_wait(&call.ended, &call.lock.mutex);
    }
    lock_release(&call.lock);
    lock_destroy(&call.lock);
    pthread_cond_destroy(&call.ended);
}

void loop_call(Loop *loop, LoopFn *fn, void *opaque)
{
    if (!loop_is_current(loop)) {
        lock_check_wait(loop->name);
    }
    loop_call_locked(loop, fn, opaque);
}

/* ---- descriptors ---------------------------------------------------------------------------- */

LoopFd *loop_fd_add(Loop *loop, int fd, uint32_t events, LoopFdFn *fn, void *opaque)
{
    LoopFd *source = g_new0(LoopFd, 1);
    struct epoll_event ev = {.events = events, .data.ptr = source};

    *source = (LoopFd){.loop = loop, .fd = fd, .events = events, .fn = fn, .opaque = opaque};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
        int saved = errno;

        g_free(source);
        errno = saved;
        return NULL;
    }
    return source;
}

void loop_fd_set_events(LoopFd *source, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = source};

    if (source->events != events) {
        source->events = events;
        epoll_ctl(source->loop->epoll_fd, EPOLL_CTL_MOD, source->fd, &ev);
    }
}

void loop_fd_remove(LoopFd *source)
{
    if (source && source->fn) {
        epoll_ctl(source->loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
        source->fn = NULL;
        source->loop->removed = g_slist_prepend(source->loop->removed, source);
    }
}

/* ---- timers: a binary heap by deadline ---------------------------------------------------------- */

static LoopTimer *heap_at(Loop *loop, unsigned i) { return g_ptr_array_index(loop->timers, i); }

static void heap_place(Loop *loop, unsigned i, LoopTimer *timer)
{
    loop->timers->pdata[i] = timer;
    timer->index = (int)i;
}

static void heap_up(Loop *loop, unsigned i)
{
    LoopTimer *timer = heap_at(loop, i);

    for (; i > 0 && timer->deadline < heap_at(loop, (i - 1) / 2)->deadline; i = (i - 1) / 2) {
        heap_place(loop, i, heap_at(loop, (i - 1) / 2));
    }
    heap_place(loop, i, timer);
}

static void heap_down(Loop *loop, unsigned i)
{
    LoopTimer *timer = heap_at(loop, i);
    unsigned n = loop->timers->len;

    for (unsigned child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && heap_at(loop, child + 1)->deadline < heap_at(loop, child)->deadline) {
            child++;
        }
        if (heap_at(loop, child)->deadline >= timer->deadline) {
            break;
        }
        heap_place(loop, i, heap_at(loop, child));
    }
    heap_place(loop, i, timer);
}

LoopTimer *loop_timer_new(Loop *loop, LoopFn *fn, void *opaque)
{
    LoopTimer *timer = g_new0(LoopTimer, 1);

    *timer = (LoopTimer){.loop = loop, .fn = fn, .opaque = opaque, .index = -1};
    return timer;
}

void loop_timer_cancel(LoopTimer *timer)
{
    Loop *loop = timer->loop;
    int i = timer->index;

    if (i < 0) {
        return;
    }
    LoopTimer *last = heap_at(loop, loop->timers->len - 1);
    g_ptr_array_set_size(loop->timers, (int)loop->timers->len - 1);
    timer->index = -1;
    if (last != timer) {
        heap_place(loop, (unsigned)i, last);
        heap_up(loop, (unsigned)last->index);
        heap_down(loop, (unsigned)last->index);
    }
}

void loop_timer_arm(LoopTimer *timer, int64_t deadline_ns)
{
    Loop *loop = timer->loop;

    loop_timer_cancel(timer);
    timer->deadline = deadline_ns;
    g_ptr_array_add(loop->timers, timer);
    heap_up(loop, loop->timers->len - 1);
    if (timer->index == 0 && !loop_is_current(loop)) {
        loop_wake(loop); /* the sleeper waits for a later deadline */
    }
}

bool loop_timer_pending(const LoopTimer *timer) { return timer->index >= 0; }

void loop_timer_free(LoopTimer *timer)
{
    if (timer) {
        loop_timer_cancel(timer);
        g_free(timer);
    }
}

static bool loop_run_timers(Loop *loop)
{
    bool ran = false;

    if (loop->timers->len) {
        int64_t now = clock_monotonic_ns();

        while (loop->timers->len && heap_at(loop, 0)->deadline <= now) {
            LoopTimer *timer = heap_at(loop, 0);

            loop_timer_cancel(timer);
            loop_callback(timer->fn, timer->opaque);
            ran = true;
        }
    }
    return ran;
}

/* ---- running ------------------------------------------------------------------------------------ */

static void loop_lock(Loop *loop)
{
    if (loop->guard.lock) {
        loop->guard.lock(loop->guard.opaque);
    }
}

static void loop_unlock(Loop *loop)
{
    if (loop->guard.unlock) {
        loop->guard.unlock(loop->guard.opaque);
    }
}

void loop_set_polling(Loop *loop, LoopPolling polling)
{
    loop->polling = polling;
    loop->poll_ns = MIN(loop->poll_ns, polling.max_ns);
}

void loop_set_io_hints(Loop *loop, LoopIoHints hints)
{
    loop->io_hints = hints;
}

LoopIoHints loop_io_hints(const Loop *loop)
{
    return loop->io_hints;
}

LoopPoll *loop_poll_add(Loop *loop, const LoopPollOps *ops, void *opaque)
{
    LoopPoll *poll;

    if (loop->guard.lock) {
        return NULL;
    }
    poll = g_new(LoopPoll, 1);
    *poll = (LoopPoll){loop, ops, opaque, false};
    g_ptr_array_add(loop->polls, poll);
    return poll;
}

void loop_poll_remove(LoopPoll *poll)
{
    if (poll) {
        poll->ops = NULL; /* freed when nobody walks over the list */
    }
}

static LoopPoll *poll_at(Loop *loop, unsigned *i)
{
    for (; *i < loop->polls->len; ++*i) {
        LoopPoll *poll = g_ptr_array_index(loop->polls, *i);

        if (poll->ops) {
            return poll;
        }
        g_ptr_array_remove_index_fast(loop->polls, *i);
    }
    return NULL;
}

static bool polls_look_from(Loop *loop, unsigned i, unsigned end)
{
    LoopPoll *poll;

    for (; i < end && (poll = poll_at(loop, &i)); i++) {
        if (poll->begun && poll->ops->look(poll->opaque)) {
            loop->poll_first = i + 1;
            return true;
        }
    }
    return false;
}

/* Stops at the first that had something: what it began may have to be finished before more is taken. The next time begins
 * behind it. */
static bool polls_look(Loop *loop)
{
    const unsigned first = loop->poll_first;

    return polls_look_from(loop, first, UINT_MAX) || polls_look_from(loop, 0, first);
}

static void polls_begin(Loop *loop)
{
    LoopPoll *poll;

    for (unsigned i = 0; (poll = poll_at(loop, &i)); i++) {
        if (!poll->begun) {
            poll->begun = true;
            poll->ops->begin(poll->opaque);
        }
    }
}

static bool polls_end(Loop *loop)
{
    LoopPoll *poll;
    bool any = false;

    for (unsigned i = 0; (poll = poll_at(loop, &i)); i++) {
        if (poll->begun) {
            poll->begun = false;
            any |= poll->ops->end(poll->opaque);
        }
    }
    return any;
}

/* Looks for events until there are some, or for poll_ns. The guard is not held. *ran: a LoopPoll had something to do. */
static int loop_poll(Loop *loop, struct epoll_event *events, int64_t timeout_ns, bool *ran)
{
    const int64_t length = timeout_ns < 0 ? loop->poll_ns : MIN(loop->poll_ns, timeout_ns);
    const int64_t end = clock_monotonic_ns() + length;
    int n = 0;

    polls_begin(loop);
    do {
        for (unsigned i = loop->polls->len ? LOOKS_PER_SYSCALL : 0; i > 0; i--) {
            if (polls_look(loop)) {
                *ran = true;
                return 0; /* still begun: the next wait goes on, or ends it */
            }
            __builtin_ia32_pause();
        }
        n = epoll_wait(loop->epoll_fd, events, LOOP_BATCH, 0);
    } while (n == 0 && !atomic_load(&loop->kicked) && !atomic_load(&loop->quit) && !loop_has_posts(loop) &&
             clock_monotonic_ns() < end);
    return n;
}

/* Busy waiting does nothing; shall it be tried? */
static bool is_time_to_try(Loop *loop, int64_t slept_ns)
{
    if (slept_ns / TRY_WITHIN > loop->polling.max_ns || ++loop->untried < loop->try_after) {
        return false;
    }
    loop->untried = 0;
    loop->try_after = MIN(loop->try_after * 2, TRY_MAX);
    return true;
}

/*
 * What the last sleep teaches about busy waiting. Its length says little: waking can take longer than what was waited for (a
 * processor that has to be woken first, all the more a virtual one), and it can be short because we slept: where the other side
 * waits for our processor, busy waiting catches nothing, however long. So what counts is what was caught since the sleep before.
 */
static void loop_adapt_polling(Loop *loop, int64_t slept_ns)
{
    const LoopPolling *p = &loop->polling;
    const bool paid = loop->caught >= WORTH_CAUGHT;

    if (slept_ns <= loop->poll_ns) {
        return;
    }
    loop->caught = 0;
    if (paid) {
        loop->try_after = TRY_FIRST;
    }
    if (loop->poll_ns && (paid || slept_ns <= p->max_ns)) {
        int64_t grow = p->grow ? p->grow : 2;

        loop->poll_ns = loop->poll_ns > p->max_ns / grow ? p->max_ns : loop->poll_ns * grow;
        return;
    }
    loop->poll_ns = p->shrink ? loop->poll_ns / p->shrink : 0;
    if (!loop->poll_ns && is_time_to_try(loop, slept_ns)) {
        loop->poll_ns = p->max_ns;
    }
}

/* How long to wait: until the first timer is due, and not for longer than limit_ns (-1: without limit). */
static int64_t loop_timeout(Loop *loop, int64_t limit_ns)
{
    if (!loop->timers->len) {
        return limit_ns;
    }
    const int64_t until = heap_at(loop, 0)->deadline - clock_monotonic_ns(); /* read once: MAX reads it twice */

    return until <= 0 ? 0 : limit_ns < 0 ? until : MIN(until, limit_ns);
}

/* *kicked: someone wants deadlines and requests to be looked at again. */
static int loop_wait(Loop *loop, struct epoll_event *events, int64_t limit_ns, bool *kicked)
{
    int64_t timeout_ns = loop_timeout(loop, limit_ns), start = 0;
    struct timespec ts, *limit = NULL;

    if (loop->polling.max_ns && timeout_ns) {
        start = clock_monotonic_ns();
        if (loop->poll_ns) {
            loop_unlock(loop);
            int found = loop_poll(loop, events, timeout_ns, kicked);
            loop_lock(loop);
            if (found > 0 || *kicked) {
                loop->caught++;
                return found;
            }
            timeout_ns = loop_timeout(loop, limit_ns);
        }
    }
    if (timeout_ns) {
        loop->busy_turns = 0;
    } else if (++loop->busy_turns % BUSY_TURNS == 0) {
        polls_look(loop); /* those that have begun are woken by nobody */
    }
    if (loop->polls->len && timeout_ns && polls_end(loop)) {
        *kicked = true;
        return 0;
    }
    atomic_store(&loop->sleeping, true);
    if (atomic_load(&loop->kicked) || loop_has_posts(loop) || atomic_load(&loop->quit)) {
        timeout_ns = 0;
    }
    if (timeout_ns >= 0) {
        ts = (struct timespec){timeout_ns / NSEC_PER_SEC, timeout_ns % NSEC_PER_SEC};
        limit = &ts;
    }
    loop_unlock(loop);
    int n = epoll_pwait2(loop->epoll_fd, events, LOOP_BATCH, limit, NULL);
    if (n < 0 && errno == ENOSYS) { /* before Linux 5.11 */
        int64_t ms = (timeout_ns + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC;
        n = epoll_wait(loop->epoll_fd, events, LOOP_BATCH, timeout_ns < 0 ? -1 : (int)MIN(ms, INT32_MAX));
    }
    if (start) {
        loop_adapt_polling(loop, clock_monotonic_ns() - start);
    }
    loop_lock(loop);
    atomic_store(&loop->sleeping, false);
    *kicked = atomic_exchange(&loop->kicked, false);
    return n;
}

bool loop_run_once(Loop *loop, int64_t timeout_ns)
{
    struct epoll_event events[LOOP_BATCH];
    bool ran = false, outer = !loop_is_current(loop);

    atomic_store_explicit(&loop->runner, pthread_self(), memory_order_release);
    int n = loop_wait(loop, events, timeout_ns, &ran);
    for (int i = 0; i < n; i++) {
        LoopFd *source = events[i].data.ptr;

        if (!source) {
            uint64_t count;

            while (read(loop->wake_fd, &count, sizeof count) < 0 && errno == EINTR) {
            }
        } else if (source->fn) {
            LoopFdFn *fn = source->fn;
            int64_t begin = lock_activity_begin();

            fn(source->opaque, events[i].events);
            lock_activity_end(begin, (const void *)(uintptr_t)fn);
            ran = true;
        }
    }
    ran |= loop_run_timers(loop);
    ran |= loop_run_posts(loop);
    if (outer) {
        loop_free_removed(loop); /* a nested call's batch may still name them */
        atomic_store_explicit(&loop->runner, 0, memory_order_release);
    }
    return ran;
}

void loop_run(Loop *loop)
{
    loop_lock(loop);
    while (!atomic_load(&loop->quit)) {
        loop_run_once(loop, -1);
    }
    atomic_store(&loop->quit, false);
    loop_unlock(loop);
}
