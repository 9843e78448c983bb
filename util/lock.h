/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Mutexes with a rank. A thread takes them in the order of their ranks, so that no two threads can
 * wait for each other; and it never waits for another loop's thread while it holds the VM lock, which
 * that thread may want.
 *
 * Builds with CONFIG_LOCK_CHECKS (meson -Ddebug_locks; automatic in debug and sanitizer builds) check
 * both at each call and abort with the names and places of both locks. They also report a lock with
 * a limit that was held for longer: by which thread, taken where, and in which callback of its loop most of the time
 * went. KILN_LOCK_LIMIT_MS in the environment replaces the limits. Other builds have plain mutexes.
 */
#ifndef UTIL_LOCK_H
#define UTIL_LOCK_H

#include <glib.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Outermost first. A thread that holds one takes only later ones. */
typedef enum LockRank {
    LOCK_RANK_VM,      /* Vm.lock */
    LOCK_RANK_DEVICE,  /* a device's own, for accesses without the VM lock */
    LOCK_RANK_BACKEND, /* a back end's: the block workers' queue */
    LOCK_RANK_ACCEL,   /* the accelerator's tables of interrupts */
    LOCK_RANK_LOOP,    /* a loop's list of posted calls */
    LOCK_RANK_LEAF,    /* nothing is called while one is held */
} LockRank;

/* For pthread_cond_wait, use .mutex. */
typedef struct Lock {
    pthread_mutex_t mutex;
#ifdef CONFIG_LOCK_CHECKS
    const char *name;
    LockRank rank;
    int64_t limit; /* ns that it may be held; 0: any time */
#endif
} Lock;

/* "file:line" of the place where it stands. */
#define LOCK_HERE __FILE__ ":" G_STRINGIFY(__LINE__)

#ifdef CONFIG_LOCK_CHECKS

/* name: kept, not copied. */
void lock_init(Lock *lock, const char *name, LockRank rank);
void lock_limit_hold(Lock *lock, int64_t ns);
void lock_acquire_at(Lock *lock, const char *where);
/* False: another thread has it. */
bool lock_try_at(Lock *lock, const char *where);
void lock_release(Lock *lock);
/* Aborts when this thread holds the VM lock. what: whom it is about to wait for. */
void lock_check_wait(const char *what);
/* Around a callback, so that a lock held too long can be blamed on it. */
int64_t lock_activity_begin(void);
void lock_activity_end(int64_t begin, const void *function);
#define lock_acquire(lock) lock_acquire_at(lock, LOCK_HERE)

#else

static inline void lock_init(Lock *lock, const char *name, LockRank rank) { pthread_mutex_init(&lock->mutex, NULL); }
static inline void lock_limit_hold(Lock *lock, int64_t ns) {}
static inline void lock_acquire_at(Lock *lock, const char *where) { pthread_mutex_lock(&lock->mutex); }
static inline bool lock_try_at(Lock *lock, const char *where) { return !pthread_mutex_trylock(&lock->mutex); }
static inline void lock_acquire(Lock *lock) { pthread_mutex_lock(&lock->mutex); }
static inline void lock_release(Lock *lock) { pthread_mutex_unlock(&lock->mutex); }
static inline void lock_check_wait(const char *what) {}
static inline int64_t lock_activity_begin(void) { return 0; }
static inline void lock_activity_end(int64_t begin, const void *function) {}

#endif

/* Nobody holds it. */
static inline void lock_destroy(Lock *lock) { pthread_mutex_destroy(&lock->mutex); }

#endif
