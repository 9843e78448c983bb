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
#include "util/util.h"

#define LOOP_BATCH 64

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

typedef struct Post {
    LoopFn *fn;
    void *opaque;
} Post;

struct Loop {
    int epoll_fd, wake_fd;
    atomic_bool sleeping;      /* a poster must write wake_fd */
    atomic_bool kicked;        /* since the last wait ended: the next one does not block */
    atomic_bool quit;
    pthread_t thread;
    bool running;
    LoopGuard guard;
    GPtrArray *timers;         /* binary heap of LoopTimer * */
    GSList *removed;           /* LoopFd * to free after the batch */
    pthread_mutex_t post_lock;
    GArray *posts, *spare;     /* Post; spare is reused while posts run */
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

    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->epoll_fd < 0 || loop->wake_fd < 0) {
        error_set_errno(err, errno, "cannot make the event loop '%s'", name);
        if (loop->epoll_fd >= 0) {
            close(loop->epoll_fd);
        }
        g_free(loop);
        return NULL;
    }
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &ev);
    loop->timers = g_ptr_array_new();
    loop->posts = g_array_new(false, false, sizeof(Post));
    loop->spare = g_array_new(false, false, sizeof(Post));
    pthread_mutex_init(&loop->post_lock, NULL);
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
    loop_free_removed(loop);
    close(loop->epoll_fd);
    close(loop->wake_fd);
    g_ptr_array_free(loop->timers, true);
    g_array_free(loop->posts, true);
    g_array_free(loop->spare, true);
    pthread_mutex_destroy(&loop->post_lock);
    g_free(loop);
}

bool loop_is_current(const Loop *loop)
{
    return loop->running && pthread_equal(loop->thread, pthread_self());
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

    pthread_mutex_lock(&loop->post_lock);
    g_array_append_val(loop->posts, post);
    pthread_mutex_unlock(&loop->post_lock);
    loop_wake(loop);
}

static bool loop_run_posts(Loop *loop)
{
    pthread_mutex_lock(&loop->post_lock);
    GArray *batch = loop->posts;
    if (batch->len == 0) {
        pthread_mutex_unlock(&loop->post_lock);
        return false;
    }
    loop->posts = loop->spare ? loop->spare : g_array_new(false, false, sizeof(Post));
    loop->spare = NULL;
    pthread_mutex_unlock(&loop->post_lock);

    for (unsigned i = 0; i < batch->len; i++) {
        Post *post = &g_array_index(batch, Post, i);
        post->fn(post->opaque);
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
    pthread_mutex_lock(&loop->post_lock);
    bool some = loop->posts->len > 0;
    pthread_mutex_unlock(&loop->post_lock);
    return some;
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
            timer->fn(timer->opaque);
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

/* *kicked: someone wants deadlines and requests to be looked at again. */
static int loop_wait(Loop *loop, struct epoll_event *events, int64_t timeout_ns, bool *kicked)
{
    struct timespec ts, *limit = NULL;

    if (loop->timers->len) {
        int64_t until = MAX(0, heap_at(loop, 0)->deadline - clock_monotonic_ns());

        timeout_ns = timeout_ns < 0 ? until : MIN(timeout_ns, until);
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
    loop_lock(loop);
    atomic_store(&loop->sleeping, false);
    *kicked = atomic_exchange(&loop->kicked, false);
    return n;
}

bool loop_run_once(Loop *loop, int64_t timeout_ns)
{
    struct epoll_event events[LOOP_BATCH];
    bool ran = false, outer = !loop->running;

    loop->running = true;
    loop->thread = pthread_self();
    int n = loop_wait(loop, events, timeout_ns, &ran);
    for (int i = 0; i < n; i++) {
        LoopFd *source = events[i].data.ptr;

        if (!source) {
            uint64_t count;

            while (read(loop->wake_fd, &count, sizeof count) < 0 && errno == EINTR) {
            }
        } else if (source->fn) {
            source->fn(source->opaque, events[i].events);
            ran = true;
        }
    }
    ran |= loop_run_timers(loop);
    ran |= loop_run_posts(loop);
    if (outer) {
        loop_free_removed(loop); /* a nested call's batch may still name them */
        loop->running = false;
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
