/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * iothread objects: a thread each that runs a Loop. Devices link to one (PROP_LINK, link_type "iothread") and run
 * their queues there.
 */
#ifndef BACKENDS_IOTHREAD_H
#define BACKENDS_IOTHREAD_H

#include "core/object.h"
#include "util/loop.h"

typedef struct IoThread {
    Object obj;
    int64_t poll_max_ns, poll_grow, poll_shrink;    /* LoopPolling */
    int64_t aio_max_batch;                          /* requests for one submission; 0: the engine's default */
    int64_t thread_pool_min, thread_pool_max;       /* workers of the loop's blocking requests */
    Loop *loop;
    pthread_t thread;
    int tid;                                        /* as the kernel and managers know it */
    bool running;
    unsigned users;                                 /* busy devices that it was given to */
} IoThread;

/*
 * The loop of one of Kiln's own threads, for a device whose user names none: at most as many threads as this process has
 * CPUs (and OWN_IOTHREADS_MAX), given out in turn. They are no objects, end with the VM, and stay until then. NULL with
 * *err when there can be no thread. Main thread, VM lock.
 */
#define OWN_IOTHREADS_MAX 8
typedef struct Vm Vm;
/* So many threads there can be. */
unsigned iothread_own_max(void);
Loop *iothread_own_loop(Vm *vm, GError **err);
/*
 * The same for a device that is seldom busy, and then for a moment at a time: it is a guest in a thread that there is anyway,
 * keeps no busy device from having one of its own, and starts one only where there is none.
 */
Loop *iothread_own_guest_loop(Vm *vm, GError **err);
/* A reference to the user's object whose loop this is, which thereby stays; NULL: the loop lasts as long as the VM does. */
Object *iothread_hold(Vm *vm, const Loop *loop);

#endif
