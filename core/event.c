/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/event.h"

#include "core/vm.h"
#include "core/vm_internal.h"
#include "util/lock.h"
#include "util/trace.h"

typedef struct Listener {
    VmEventFn *fn;      /* NULL: removed while events were being emitted */
    void *opaque;
} Listener;

struct VmEvents {
    GArray *listeners;  /* Listener */
    unsigned depth;     /* vm_emit_event calls under way */
    Lock lock;          /* what follows */
    GQueue posted;      /* PostedEvent *, in order */
    bool emitting;      /* a call to emit them is posted */
};

typedef struct PostedEvent {
    const QapiEvent *event;
    void *data;
} PostedEvent;

#define POSTED_MAX 1024 /* from then on each new event takes the place of an older one of its kind */

static void drop_removed(GArray *listeners)
{
    for (unsigned i = listeners->len; i-- > 0;) {
        if (!g_array_index(listeners, Listener, i).fn) {
            g_array_remove_index(listeners, i);
        }
    }
}

void vm_emit_event(Vm *vm, const QapiEvent *event, const void *data)
{
    VmEvents *events = vm->events;
    unsigned count = events->listeners->len; /* who is added meanwhile has missed this one */

    trace(vm_event, "%s", event->name);
    events->depth++;
    for (unsigned i = 0; i < count; i++) {
        Listener listener = g_array_index(events->listeners, Listener, i);

        if (listener.fn) {
            listener.fn(listener.opaque, event, data);
        }
    }
    if (--events->depth == 0) {
        drop_removed(events->listeners);
    }
}

static void posted_free(PostedEvent *posted)
{
    if (posted->data) {
        qapi_free(posted->event->data, posted->data);
    }
    g_free(posted);
}

static PostedEvent *next_posted(VmEvents *events)
{
    lock_acquire(&events->lock);
    PostedEvent *posted = g_queue_pop_head(&events->posted);
    lock_release(&events->lock);
    return posted;
}

static unsigned count_posted(VmEvents *events)
{
    lock_acquire(&events->lock);
    unsigned count = events->posted.length;
    lock_release(&events->lock);
    return count;
}

/* True: something came meanwhile. Else the next one that comes posts the call again. */
static bool go_on(VmEvents *events)
{
    lock_acquire(&events->lock);
    bool more = events->emitting = !g_queue_is_empty(&events->posted);
    lock_release(&events->lock);
    return more;
}

/* What comes meanwhile waits for the next turn of the loop: a guest that always posts must not keep it here. */
void vm_emit_posted(Vm *vm)
{
    PostedEvent *posted;

    for (unsigned n = count_posted(vm->events); n > 0 && (posted = next_posted(vm->events)); n--) {
        vm_emit_event(vm, posted->event, posted->data);
        posted_free(posted);
    }
}

static void emit_posted(void *opaque)
{
    Vm *vm = opaque;

    vm_emit_posted(vm);
    if (go_on(vm->events)) {
        loop_post(vm->loop, emit_posted, vm);
    }
}

/* The newest that waits of this kind leaves the queue; NULL: none does. */
static PostedEvent *take_older(GQueue *queue, const QapiEvent *event)
{
    for (GList *link = queue->tail; link; link = link->prev) {
        PostedEvent *posted = link->data;

        if (posted->event == event) {
            g_queue_delete_link(queue, link);
            return posted;
        }
    }
    return NULL;
}

void vm_post_event(Vm *vm, const QapiEvent *event, const void *data)
{
    PostedEvent *posted = g_new(PostedEvent, 1), *older = NULL;
    GQueue *queue = &vm->events->posted;

    *posted = (PostedEvent){event, data ? qapi_clone(event->data, data) : NULL};
    lock_acquire(&vm->events->lock);
    bool first = !vm->events->emitting;
    vm->events->emitting = true;
    if (queue->length >= POSTED_MAX) {
        older = take_older(queue, event);
    }
    g_queue_push_tail(queue, posted);
    lock_release(&vm->events->lock);
    if (older) {
        trace(vm_event_flood, "%s", event->name);
        posted_free(older);
    }
    if (first) {
        loop_post(vm->loop, emit_posted, vm);
    }
}

void vm_on_event(Vm *vm, VmEventFn *fn, void *opaque)
{
    Listener listener = {fn, opaque};

    g_array_append_val(vm->events->listeners, listener);
}

void vm_off_event(Vm *vm, VmEventFn *fn, void *opaque)
{
    GArray *listeners = vm->events->listeners;

    for (unsigned i = 0; i < listeners->len; i++) {
        Listener *listener = &g_array_index(listeners, Listener, i);

        if (listener->fn == fn && listener->opaque == opaque) {
            listener->fn = NULL;
            break;
        }
    }
    if (!vm->events->depth) {
        drop_removed(listeners);
    }
}

void vm_events_init(Vm *vm)
{
    vm->events = g_new0(VmEvents, 1);
    vm->events->listeners = g_array_new(false, false, sizeof(Listener));
    lock_init(&vm->events->lock, "posted events", LOCK_RANK_LEAF);
    g_queue_init(&vm->events->posted);
}

void vm_events_free(Vm *vm)
{
    for (PostedEvent *posted; (posted = next_posted(vm->events));) {
        posted_free(posted);
    }
    lock_destroy(&vm->events->lock);
    g_array_free(vm->events->listeners, true);
    g_free(vm->events);
}
