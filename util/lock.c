/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "util/lock.h"

#ifdef CONFIG_LOCK_CHECKS

#include <dlfcn.h>
#include <stdlib.h>

#include "util/log.h"
#include "util/loop.h"
#include "util/util.h"

#define MAX_HELD 8

typedef struct HeldLock {
    Lock *lock;
    const char *where;
    int64_t since;          /* monotonic ns */
    const void *function;   /* the callback that took longest meanwhile */
    int64_t function_ns;
} HeldLock;

static __thread HeldLock held[MAX_HELD]; /* in the order of taking */
static __thread unsigned n_held;

void lock_init(Lock *lock, const char *name, LockRank rank)
{
    pthread_mutex_init(&lock->mutex, NULL);
    lock->name = name;
    lock->rank = rank;
    lock->limit = 0;
}

void lock_limit_hold(Lock *lock, int64_t ns)
{
    const char *ms = g_getenv("KILN_LOCK_LIMIT_MS");

    lock->limit = ms ? (int64_t)strtol(ms, NULL, 10) * NSEC_PER_MSEC : ns;
}

/* A thread may work for two VMs, one inside the other (tests do). */
static bool may_follow(const Lock *outer, const Lock *inner)
{
    return outer->rank < inner->rank || (outer != inner && outer->rank == LOCK_RANK_VM && inner->rank == LOCK_RANK_VM);
}

static void check_order(const Lock *lock, const char *where)
{
    for (unsigned i = 0; i < n_held; i++) {
        if (!may_follow(held[i].lock, lock)) {
            g_error("lock order: '%s' is taken at %s while '%s', taken at %s, is held", lock->name, where,
                    held[i].lock->name, held[i].where);
        }
    }
}

static void note_held(Lock *lock, const char *where)
{
    g_assert(n_held < MAX_HELD);
    held[n_held++] = (HeldLock){.lock = lock, .where = where, .since = clock_monotonic_ns()};
}

void lock_acquire_at(Lock *lock, const char *where)
{
    check_order(lock, where);
    pthread_mutex_lock(&lock->mutex);
    note_held(lock, where);
}

bool lock_try_at(Lock *lock, const char *where)
{
    check_order(lock, where);
    if (pthread_mutex_trylock(&lock->mutex)) {
        return false;
    }
    note_held(lock, where);
    return true;
}

static void report_long_hold(const HeldLock *h, int64_t ns)
{
    char thread[16] = "?";
    Dl_info info = {0};

    pthread_getname_np(pthread_self(), thread, sizeof thread);
    if (h->function && dladdr(h->function, &info) && info.dli_fbase) {
        report_warning("lock '%s' was held for %" G_GINT64_FORMAT " ms by thread '%s', taken at %s; %" G_GINT64_FORMAT
                       " ms of it in %s (%s+0x%zx)",
                       h->lock->name, ns / NSEC_PER_MSEC, thread, h->where, h->function_ns / NSEC_PER_MSEC,
                       info.dli_sname ? info.dli_sname : "a callback", info.dli_fname,
                       (size_t)((const char *)h->function - (const char *)info.dli_fbase));
    } else {
        report_warning("lock '%s' was held for %" G_GINT64_FORMAT " ms by thread '%s', taken at %s", h->lock->name,
                       ns / NSEC_PER_MSEC, thread, h->where);
    }
}

void lock_release(Lock *lock)
{
    unsigned i = n_held;

    while (i > 0 && held[i - 1].lock != lock) {
        i--;
    }
    if (i == 0) {
        g_error("lock '%s' is released by a thread that does not hold it", lock->name);
    }
    const HeldLock h = held[i - 1];
    memmove(&held[i - 1], &held[i], (n_held - i) * sizeof held[0]);
    n_held--;
    const int64_t ns = clock_monotonic_ns() - h.since, limit = lock->limit;
    pthread_mutex_unlock(&lock->mutex);
    if (limit && ns > limit) {
        report_long_hold(&h, ns);
    }
}

void lock_check_wait(const char *what)
{
    for (unsigned i = 0; i < n_held; i++) {
        if (held[i].lock->rank == LOCK_RANK_VM) {
            g_error("waiting for %s while '%s', taken at %s, is held", what, held[i].lock->name, held[i].where);
        }
    }
}

int64_t lock_activity_begin(void) { return clock_monotonic_ns(); }

/* The lock may have been dropped and taken again in between: only what came after counts. */
void lock_activity_end(int64_t begin, const void *function)
{
    if (n_held) {
        HeldLock *h = &held[0];
        const int64_t ns = clock_monotonic_ns() - MAX(begin, h->since);

        if (ns > h->function_ns) {
            h->function = function;
            h->function_ns = ns;
        }
    }
}

#endif
