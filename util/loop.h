/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The event loop: epoll for descriptors, a heap for timers (CLOCK_MONOTONIC, in ns), and a queue of
 * calls posted by other threads. The main thread has one and each iothread has one.
 *
 * A loop may have a guard, taken around each batch of callbacks and dropped while it waits: the main
 * loop's guard is the VM lock. Only loop_post, loop_kick and loop_quit may be called by threads that
 * neither run the loop nor hold its guard.
 */
#ifndef UTIL_LOOP_H
#define UTIL_LOOP_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct Loop Loop;
typedef struct LoopFd LoopFd;
typedef struct LoopTimer LoopTimer;

typedef void LoopFn(void *opaque);
/* events: EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP bits that are set. */
typedef void LoopFdFn(void *opaque, uint32_t events);

typedef struct LoopGuard {
    void (*lock)(void *opaque);
    void (*unlock)(void *opaque);
    void *opaque;
} LoopGuard;

Loop *loop_new(const char *name, GError **err);
/* The guard's functions are called by the thread that runs the loop. */
void loop_set_guard(Loop *loop, LoopGuard guard);
/* Sources that are still registered are dropped; posted calls that have not run are not run. */
void loop_free(Loop *loop);
/* fn(opaque) runs at the beginning of loop_free, when no thread runs the loop any more, or never if
 * loop_off_free takes it back. Main thread. */
void loop_on_free(Loop *loop, LoopFn *fn, void *opaque);
void loop_off_free(Loop *loop, LoopFn *fn, void *opaque);

/*
 * Busy waiting: before the loop sleeps it looks for events for a while that adapts, at most max_ns (0: never). A wait that
 * caught nothing makes it shorter (divided by shrink, 0: to nothing); one that would have fitted, or had several before it that
 * did catch something, makes it longer (times grow, 0: 2). From nothing it is tried now and then. By the loop's thread, or
 * before it runs.
 */
typedef struct LoopPolling {
    int64_t max_ns, grow, shrink;
} LoopPolling;
void loop_set_polling(Loop *loop, LoopPolling polling);

/* Wishes for whoever does the loop's disk requests (block/'s engines). By the loop's thread, or before it runs. */
typedef struct LoopIoHints {
    unsigned batch;                    /* requests that go to the kernel at once; 0: as the engine likes */
    unsigned workers_min, workers_max; /* threads for requests that block: kept, and at most (0: as the engine likes) */
} LoopIoHints;
void loop_set_io_hints(Loop *loop, LoopIoHints hints);
LoopIoHints loop_io_hints(const Loop *loop);

/*
 * Memory to look at while the loop waits busily, before it asks the kernel: rings whose other side then need not make a
 * system call. By the loop's thread; for loops without a guard (NULL for others: there is no busy looking under a lock).
 */
typedef struct LoopPollOps {
    bool (*look)(void *opaque);           /* does what is to be done; true if there was something */
    void (*begin)(void *opaque);          /* from now on look is called again and again */
    bool (*end)(void *opaque);            /* no more: the other side has to wake the loop; true as look */
} LoopPollOps;
typedef struct LoopPoll LoopPoll;
LoopPoll *loop_poll_add(Loop *loop, const LoopPollOps *ops, void *opaque);
/* NULL is fine. No callback comes any more. */
void loop_poll_remove(LoopPoll *poll);

/* Runs until loop_quit. Takes the guard, which the caller does not hold. */
void loop_run(Loop *loop);
/* One wait (at most timeout_ns; -1 without limit) and what it brought. True if anything ran, or
 * if a kick ended the wait: then whoever waits for something looks again. The guard is
 * held by the caller, and dropped while waiting. May be nested in a callback. */
bool loop_run_once(Loop *loop, int64_t timeout_ns);
/* Any thread. */
void loop_quit(Loop *loop);
/* Any thread: fn(opaque) runs once in the loop's thread, in the order of posting. */
void loop_post(Loop *loop, LoopFn *fn, void *opaque);
/* Any thread: ends a wait, so that deadlines are looked at again. */
void loop_kick(Loop *loop);
/* True in the thread that runs the loop. */
bool loop_is_current(const Loop *loop);
/* Any thread: runs fn(opaque) in the thread that runs the loop and waits for its end. At once when that is the
 * caller's. The caller does not hold the VM lock (debug builds check), and somebody runs the loop. */
void loop_call(Loop *loop, LoopFn *fn, void *opaque);
/* As loop_call, for a caller that may hold the VM lock: only for loops whose callbacks never wait for that lock. */
void loop_call_locked(Loop *loop, LoopFn *fn, void *opaque);

/* events may be 0 (errors and hang-up are still reported). The fd stays the caller's. Never fails
 * for a valid, pollable fd; a regular file is refused with NULL (errno EPERM). */
LoopFd *loop_fd_add(Loop *loop, int fd, uint32_t events, LoopFdFn *fn, void *opaque);
void loop_fd_set_events(LoopFd *source, uint32_t events);
/* The callback will not be called again, not even for what this wait already brought. NULL is fine. */
void loop_fd_remove(LoopFd *source);

/* A timer is disarmed when made and when it fires. deadline: monotonic ns. */
LoopTimer *loop_timer_new(Loop *loop, LoopFn *fn, void *opaque);
void loop_timer_arm(LoopTimer *timer, int64_t deadline_ns);
void loop_timer_cancel(LoopTimer *timer);
bool loop_timer_pending(const LoopTimer *timer);
/* NULL is fine. */
void loop_timer_free(LoopTimer *timer);

/* CLOCK_MONOTONIC and CLOCK_REALTIME in ns. */
int64_t clock_monotonic_ns(void);
int64_t clock_realtime_ns(void);

#endif
