/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * iothread: the loop runs from complete to finalize. What its properties say reaches the loop, whose thread heeds it from
 * then on; aio-max-batch and the pool's limits are for the block layer's engines.
 */
#include "backends/iothread.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <sched.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "core/vm.h"

typedef struct Start {
    IoThread *iothread;
    sem_t ready;
} Start;

static void *run(void *opaque)
{
    Start *start = opaque;
    IoThread *t = start->iothread;
    char name[16];

    snprintf(name, sizeof name, "IO %s", t->obj.name);
    prctl(PR_SET_NAME, name);
    t->tid = (int)gettid();
    sem_post(&start->ready);
    loop_run(t->loop);
    return NULL;
}

static LoopPolling polling_of(const IoThread *t) { return (LoopPolling){t->poll_max_ns, t->poll_grow, t->poll_shrink}; }

static LoopIoHints io_hints_of(const IoThread *t)
{
    return (LoopIoHints){.batch = (unsigned)MIN(t->aio_max_batch, UINT_MAX),
                         .workers_min = (unsigned)MIN(t->thread_pool_min, UINT_MAX),
                         .workers_max = (unsigned)MIN(t->thread_pool_max, UINT_MAX)};
}

static bool check_pool(const IoThread *t, GError **err)
{
    return (t->thread_pool_max && t->thread_pool_min <= t->thread_pool_max) ||
           error_set(err, "bad thread-pool-min/thread-pool-max values: thread-pool-max is at least 1, thread-pool-min "
                          "at most that");
}

static bool iothread_complete(Object *obj, GError **err)
{
    IoThread *t = (IoThread *)(void *)obj;
    Start start = {.iothread = t};

    if (!check_pool(t, err)) {
        return false;
    }
    t->loop = loop_new(obj->name, err);
    if (!t->loop) {
        return false;
    }
    loop_set_polling(t->loop, polling_of(t));
    loop_set_io_hints(t->loop, io_hints_of(t));
    sem_init(&start.ready, 0, 0);
    int r = pthread_create(&t->thread, NULL, run, &start);
    if (!r) {
        t->running = true;
        while (sem_wait(&start.ready) < 0) {
        }
    }
    sem_destroy(&start.ready);
    return !r || error_set_errno(err, r, "cannot create the thread of iothread '%s'", obj->name);
}

static void quit(void *opaque)
{
    loop_quit(opaque);
}

static void iothread_finalize(Object *obj)
{
    IoThread *t = (IoThread *)(void *)obj;

    if (t->running) {
        loop_post(t->loop, quit, t->loop); /* behind what was posted before, which owns memory */
        pthread_join(t->thread, NULL);
    }
    loop_free(t->loop);
}

/* ---- changes while it runs ------------------------------------------------------------------ */

typedef struct Change {
    Loop *loop;
    LoopPolling polling;
    LoopIoHints io_hints;
} Change;

static void apply_change(void *opaque)
{
    Change *change = opaque;

    loop_set_polling(change->loop, change->polling);
    loop_set_io_hints(change->loop, change->io_hints);
    g_free(change);
}

static bool iothread_changed(Object *obj, const Property *prop, GError **err)
{
    IoThread *t = (IoThread *)(void *)obj;
    Change *change;

    (void)prop;
    if (!check_pool(t, err)) {
        return false;
    }
    change = g_new(Change, 1);
    *change = (Change){t->loop, polling_of(t), io_hints_of(t)};
    loop_post(t->loop, apply_change, change);
    return true;
}

/* ---- Kiln's own ----------------------------------------------------------------------------- */

static void end_own(void *vm_ptr)
{
    Vm *vm = vm_ptr;

    for (unsigned i = 0; i < vm->own_iothreads->len; i++) {
        object_unref(g_ptr_array_index(vm->own_iothreads, i));
    }
    g_clear_pointer(&vm->own_iothreads, g_ptr_array_unref);
}

unsigned iothread_own_max(void)
{
    cpu_set_t set;
    int cpus = sched_getaffinity(0, sizeof set, &set) < 0 ? 1 : CPU_COUNT(&set);

    return (unsigned)CLAMP(cpus, 1, OWN_IOTHREADS_MAX);
}

static IoThread *new_own(Vm *vm, GError **err)
{
    Object *obj = object_new(vm, type_find("iothread"), err);

    if (!obj) {
        return NULL;
    }
    obj->name = g_strdup_printf("own%u", vm->own_iothreads->len);
    if (!iothread_complete(obj, err)) {
        object_unref(obj);
        return NULL;
    }
    obj->completed = true;
    g_ptr_array_add(vm->own_iothreads, obj);
    return (IoThread *)(void *)obj;
}

/* The one that fewest busy devices were given, which counts for ever. NULL: there is none. */
static IoThread *least_used(Vm *vm)
{
    IoThread *t = NULL;

    if (!vm->own_iothreads) {
        vm->own_iothreads = g_ptr_array_new();
        loop_on_free(vm->loop, end_own, vm);
    }
    for (unsigned i = 0; i < vm->own_iothreads->len; i++) {
        IoThread *other = g_ptr_array_index(vm->own_iothreads, i);

        t = !t || other->users < t->users ? other : t;
    }
    return t;
}

Loop *iothread_own_loop(Vm *vm, GError **err)
{
    IoThread *t = least_used(vm);

    if (!t || (t->users && vm->own_iothreads->len < iothread_own_max())) {
        IoThread *fresh = new_own(vm, t ? NULL : err);

        t = fresh ? fresh : t;
    }
    if (!t) {
        return NULL;
    }
    t->users++;
    return t->loop;
}

Loop *iothread_own_guest_loop(Vm *vm, GError **err)
{
    IoThread *t = least_used(vm);

    t = t ? t : new_own(vm, err);
    return t ? t->loop : NULL;
}

Object *iothread_hold(Vm *vm, const Loop *loop)
{
    const Object *all = object_child(vm->root, "objects");

    for (unsigned i = 0; all && all->children && i < all->children->len; i++) {
        Object *obj = g_ptr_array_index(all->children, i);

        if (object_is_a(obj, "iothread") && ((const IoThread *)(void *)obj)->loop == loop) {
            return object_ref(obj);
        }
    }
    return NULL;
}

#define NUMBER(pname, field, ...)                                                                  \
    PROP_I64(pname, IoThread, field, .type = "int", .max = INT64_MAX, .anytime = true, ##__VA_ARGS__)

static const Property iothread_props[] = {
    NUMBER("poll-max-ns", poll_max_ns, .def = 32768, .help = "longest busy waiting before it sleeps; 0: none"),
    NUMBER("poll-grow", poll_grow, .help = "busy waiting grows by this factor; 0: 2"),
    NUMBER("poll-shrink", poll_shrink, .help = "busy waiting shrinks by this divisor; 0: to nothing"),
    NUMBER("aio-max-batch", aio_max_batch, .help = "requests that go to the kernel at once; 0: the engine's default"),
    NUMBER("thread-pool-min", thread_pool_min, .help = "worker threads that are kept"),
    NUMBER("thread-pool-max", thread_pool_max, .def = 64, .help = "worker threads at most"),
    {}};

KILN_TYPE(event_loop_base) = {
    .name = "event-loop-base",
    .parent = "object",
    .abstract = true,
};

KILN_TYPE(iothread) = {
    .name = "iothread",
    .parent = "event-loop-base",
    .desc = "thread with an event loop for devices",
    .size = sizeof(IoThread),
    .user_object = true,
    .props = iothread_props,
    .complete = iothread_complete,
    .changed = iothread_changed,
    .finalize = iothread_finalize,
};
