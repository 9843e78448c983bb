/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lent queues (virtqueue.h): buffers go from the ring's thread to the main loop, and back. */
#include "hw/virtio/virtqueue_int.h"
#include "util/trace.h"

#define TURN_NS (NSEC_PER_MSEC / 4) /* of the ring's thread, which others share; of the main loop, which has the VM lock */

typedef struct Elements {
    VirtElement *head, **tail; /* by lent_next */
} Elements;

struct VirtLent {
    VirtQueueFn *came;        /* the device's handler */
    VirtBriefFn *brief;       /* NULL: the main loop only calls it */
    unsigned max;             /* buffers that may be lent at once */
    VirtQueueFn *kept;        /* virtio_queue_keep; NULL: they are lent. The thread's, which the main loop waits for to change it */
    Elements here;            /* to be popped; VM lock */
    /* ---- VirtLending.lock ---- */
    Elements coming, going;   /* on their way to the main loop; back */
    bool due, back;           /* it is in VirtLending.due, in .back */
    bool missed;              /* its thread was to look at the ring, and another was there */
    VirtQueue *next_due, *next_back;
};

/* Of a device with such queues. */
typedef struct VirtLending {
    Lock lock;                /* of: */
    VirtQueue *due, **due_tail; /* whose handlers are to be called, oldest first */
    VirtQueue *back;          /* to which buffers go back */
    bool due_posted, back_posted; /* a message says so */
    bool taken;               /* somebody is at the rings */
    bool missed;              /* meanwhile another was to be: there is such a queue, or something in back */
    bool in_turn;             /* the device's handler runs: what goes back is told at its end; VM lock */
} VirtLending;

/* ---- lists ------------------------------------------------------------------------------------------ */

static void clear(Elements *list) { *list = (Elements){NULL, &list->head}; }

static void append(Elements *list, VirtElement *e)
{
    e->lent_next = NULL;
    *list->tail = e;
    list->tail = &e->lent_next;
}

/* Takes all of more. */
static void append_all(Elements *list, Elements *more)
{
    if (more->head) {
        *list->tail = more->head;
        list->tail = more->tail;
        clear(more);
    }
}

static VirtElement *take_first(Elements *list)
{
    VirtElement *e = list->head;

    if (e) {
        list->head = e->lent_next;
        list->tail = list->head ? list->tail : &list->head;
    }
    return e;
}

/* Under the lock. True: the main loop is to be told. */
static bool make_due(VirtLending *all, VirtQueue *vq)
{
    const bool post = !all->due_posted;

    if (!vq->lent->due) {
        vq->lent->due = true;
        vq->lent->next_due = NULL;
        *all->due_tail = vq;
        all->due_tail = &vq->lent->next_due;
    }
    all->due_posted = true;
    return post;
}

/* Under the lock. */
static void make_undue(VirtLending *all, const VirtQueue *vq)
{
    VirtQueue **at = &all->due;

    while (*at) {
        VirtQueue *q = *at;

        if (q == vq) {
            q->lent->due = false;
            *at = q->lent->next_due;
        } else {
            at = &q->lent->next_due;
        }
    }
    all->due_tail = at;
}

/* ---- the rings ------------------------------------------------------------------------------------------- */

/* Those of queues that are lent are touched by one at a time, who never waits: the thread, or who holds the VM lock and gives
 * buffers back. Who holds that lock and waits for the thread has left them. */
static bool rings_enter(VirtLending *all, VirtQueue *vq)
{
    bool ok;

    lock_acquire(&all->lock);
    ok = !all->taken;
    all->taken = true;
    all->missed |= !ok;
    if (!ok && vq) {
        vq->lent->missed = true;
    }
    lock_release(&all->lock);
    return ok;
}

static void take_back(void *opaque);

/* Who was to be there meanwhile tries again. */
static void rings_leave(VirtioDevice *vdev)
{
    VirtLending *all = vdev->lending;
    bool missed, post = false;

    lock_acquire(&all->lock);
    missed = all->missed;
    all->taken = all->missed = false;
    for (unsigned i = 0; missed && i < vdev->n_added; i++) {
        VirtLent *l = vdev->queues[i].lent;

        if (l && l->missed) {
            l->missed = false;
            virtio_kick(&vdev->queues[i]);
        }
    }
    if (missed && all->back) {
        post = !all->back_posted;
        all->back_posted = true;
    }
    lock_release(&all->lock);
    if (post) {
        loop_post(vdev->loop, take_back, vdev);
    }
}

void virtqueue_lent_look(VirtQueue *vq, void (*look)(VirtQueue *vq))
{
    if (vq->lent->kept) {
        look(vq);
    } else if (rings_enter(vq->vdev->lending, vq)) {
        look(vq);
        rings_leave(vq->vdev);
    }
}

static VirtQueue *take_back_queue(VirtLending *all, Elements *list)
{
    VirtQueue *vq;

    clear(list);
    lock_acquire(&all->lock);
    vq = all->back;
    if (vq) {
        all->back = vq->lent->next_back;
        vq->lent->back = false;
        append_all(list, &vq->lent->going);
    }
    lock_release(&all->lock);
    return vq;
}

/* Who is at the rings. The timer that would show what is pushed is the thread's, and not needed. */
static void give_back(VirtioDevice *vdev)
{
    VirtQueue *vq;
    Elements list;

    while ((vq = take_back_queue(vdev->lending, &list))) {
        VirtElement *e;

        vq->flush_armed = true;
        while ((e = take_first(&list))) {
            virtqueue_ring_push(e, e->written);
        }
        vq->flush_armed = false;
        virtqueue_flush(vq);
        if (vq->paused && vq->in_flight <= vq->lent->max / 2) {
            virtqueue_resume(vq);
        }
    }
}

/* ---- in the ring's thread ------------------------------------------------------------------------------- */

static void turn(VirtioDevice *vdev);

static void take_back(void *opaque)
{
    VirtioDevice *vdev = opaque;
    VirtLending *all = vdev->lending;

    lock_acquire(&all->lock);
    all->back_posted = false;
    lock_release(&all->lock);
    if (rings_enter(all, NULL)) {
        give_back(vdev);
        rings_leave(vdev);
    }
}

/* A line for a console is written faster than another thread is woken for it. False: it is for the main loop to do. */
static bool call_here(VirtQueue *vq, uint64_t bytes)
{
    VirtioDevice *vdev = vq->vdev;
    Vm *vm = vdev->dev.vm;
    bool brief;

    if (!vm_try_lock(vm)) {
        return false;
    }
    brief = vq->lent->brief(vdev, vq, bytes);
    if (brief) {
        vdev->lending->in_turn = true;
        vq->lent->came(vdev, vq);
        vdev->lending->in_turn = false;
    }
    vm_unlock(vm);
    if (brief) {
        give_back(vdev);
    }
    return brief;
}

/* Sees to it that the device's handler is called. */
static void deliver(VirtQueue *vq, Elements *some, uint64_t bytes)
{
    VirtLending *all = vq->vdev->lending;
    bool post = false, here;

    lock_acquire(&all->lock);
    here = vq->lent->brief && !all->due_posted; /* nothing is before it */
    append_all(&vq->lent->coming, some);
    lock_release(&all->lock);
    if (here && call_here(vq, bytes)) {
        return;
    }
    lock_acquire(&all->lock);
    post = make_due(all, vq);
    lock_release(&all->lock);
    if (post) {
        virtio_post_main(vq->vdev, turn);
    }
}

/* The ring's handler. */
static void lend(VirtioDevice *vdev, VirtQueue *vq)
{
    VirtLent *l = vq->lent;
    const int64_t end = clock_monotonic_ns() + TURN_NS;
    VirtElement *e;
    uint64_t bytes = 0;
    Elements some;

    if (l->kept) {
        l->kept(vdev, vq);
        return;
    }
    clear(&some);
    while (vq->in_flight < l->max && (e = virtqueue_ring_pop(vq))) {
        append(&some, e);
        bytes += e->out_size;
        if (clock_monotonic_ns() >= end) {
            break;
        }
    }
    if (some.head) {
        deliver(vq, &some, bytes);
    }
    if (vq->in_flight >= l->max) {
        virtqueue_pause(vq); /* until some are back */
    }
}

/* Last first. */
static void unpop_all(Elements *list)
{
    VirtElement *e, *reversed = NULL;

    while ((e = take_first(list))) {
        e->lent_next = reversed;
        reversed = e;
    }
    while ((e = reversed)) {
        reversed = e->lent_next;
        virtqueue_ring_unpop(e);
    }
}

/* The main loop waits. */
static void recall_queue(VirtQueue *vq)
{
    VirtLending *all = vq->vdev->lending;

    lock_acquire(&all->lock);
    make_undue(all, vq);
    append_all(&vq->lent->here, &vq->lent->coming);
    lock_release(&all->lock);
    unpop_all(&vq->lent->here);
}

typedef struct LentCall {
    VirtioDevice *vdev;
    VirtQueue *vq;            /* NULL: all */
    VirtQueueFn *kept;
} LentCall;

static void recall_here(void *opaque)
{
    const LentCall *call = opaque;

    give_back(call->vdev);
    for (unsigned i = 0; i < call->vdev->n_added; i++) {
        VirtQueue *vq = &call->vdev->queues[i];

        if (vq->lent && (!call->vq || vq == call->vq)) {
            recall_queue(vq);
        }
    }
}

static void keep_here(void *opaque)
{
    const LentCall *call = opaque;

    loop_timer_cancel(call->vq->flush_timer); /* of a time when it was kept */
    call->vq->flush_armed = false;
    virtqueue_flush(call->vq);
    recall_here(opaque);
    call->vq->lent->kept = call->kept;
    virtqueue_resume(call->vq);
}

static void look_here(void *opaque)
{
    VirtioDevice *vdev = opaque;

    for (unsigned i = 0; i < vdev->n_added; i++) {
        VirtQueue *vq = &vdev->queues[i];

        if (vq->lent && vq->running) {
            lend(vdev, vq);
        }
    }
}

/* ---- in the main loop ------------------------------------------------------------------------------------- */

/* The queue whose handler is to be called, and what came; NULL: none. */
static VirtQueue *next_due(VirtLending *all)
{
    VirtQueue *vq;

    lock_acquire(&all->lock);
    vq = all->due;
    if (vq) {
        all->due = vq->lent->next_due;
        all->due_tail = all->due ? all->due_tail : &all->due;
        vq->lent->due = false;
        append_all(&vq->lent->here, &vq->lent->coming);
    }
    lock_release(&all->lock);
    return vq;
}

/* Waking the thread for it would cost the guest more than all else. If the thread is at the rings it does so when it leaves. */
static void send_back(VirtioDevice *vdev)
{
    if (rings_enter(vdev->lending, NULL)) {
        give_back(vdev);
        rings_leave(vdev);
    }
}

static void call_device(VirtQueue *vq)
{
    VirtLending *all = vq->vdev->lending;

    all->in_turn = true;
    vq->lent->came(vq->vdev, vq);
    all->in_turn = false;
    send_back(vq->vdev);
}

/* A queue after the other until time is up: then the loop's others have the lock. */
static void turn(VirtioDevice *vdev)
{
    VirtLending *all = vdev->lending;
    const int64_t end = clock_monotonic_ns() + TURN_NS;
    VirtQueue *vq;
    bool more;

    while ((vq = next_due(all))) { /* what becomes due meanwhile needs no message */
        call_device(vq);
        if (clock_monotonic_ns() >= end) {
            break;
        }
    }
    lock_acquire(&all->lock);
    more = all->due_posted = all->due;
    lock_release(&all->lock);
    if (more) {
        virtio_post_main(vdev, turn);
    }
}

void virtqueue_lent_last_look(VirtioDevice *vdev)
{
    bool kept = false; /* just now, and not looked at */

    if (!vdev->lending) {
        return;
    }
    virtio_call(vdev, look_here, vdev);
    for (unsigned i = 0; i < vdev->n_added; i++) {
        VirtQueue *vq = &vdev->queues[i];

        if (vq->lent && vq->running && !vq->lent->kept) {
            call_device(vq);
            kept |= vq->lent->kept != NULL;
        }
    }
    if (kept) {
        virtio_call(vdev, look_here, vdev);
    }
}

void virtqueue_lent_recall(VirtioDevice *vdev, const VirtQueue *vq)
{
    LentCall call = {vdev, (VirtQueue *)(uintptr_t)vq, NULL};

    if (vdev->lending) {
        virtio_call(vdev, recall_here, &call);
    }
}

void virtio_queue_keep(VirtQueue *vq, VirtQueueFn *handler)
{
    LentCall call = {vq->vdev, vq, handler};

    if (vq->running) {
        virtio_call(vq->vdev, keep_here, &call);
    } else {
        vq->lent->kept = handler;
    }
}

void virtqueue_lent_again(VirtQueue *vq)
{
    VirtLending *all = vq->vdev->lending;
    bool post;

    if (vq->lent->kept) {
        virtio_kick(vq);
        return;
    }
    lock_acquire(&all->lock);
    post = make_due(all, vq);
    lock_release(&all->lock);
    if (post) {
        virtio_post_main(vq->vdev, turn);
    }
}

VirtElement *virtqueue_lent_pop(VirtQueue *vq)
{
    VirtLent *l = vq->lent;

    if (l->kept) {
        return virtqueue_ring_pop(vq);
    }
    if (!l->here.head) {
        lock_acquire(&vq->vdev->lending->lock);
        append_all(&l->here, &l->coming);
        lock_release(&vq->vdev->lending->lock);
    }
    return take_first(&l->here);
}

void virtqueue_lent_push(VirtElement *e, uint64_t written)
{
    VirtQueue *vq = e->queue;
    VirtLending *all = vq->vdev->lending;
    VirtLent *l = vq->lent;

    if (!vq->running || l->kept) {
        virtqueue_ring_push(e, written);
        return;
    }
    e->written = (uint32_t)MIN(written, UINT32_MAX);
    lock_acquire(&all->lock);
    append(&l->going, e);
    if (!l->back) {
        l->back = true;
        l->next_back = all->back;
        all->back = vq;
    }
    lock_release(&all->lock);
    if (!all->in_turn) {
        send_back(vq->vdev);
    }
}

static void drop_here(void *elem) { virtqueue_ring_drop(elem); }
void virtqueue_lent_drop(VirtElement *e) { virtio_call(e->queue->vdev, drop_here, e); }

void virtqueue_lent_unpop(VirtElement *e)
{
    Elements *here = &e->queue->lent->here;

    if (e->queue->lent->kept) {
        virtqueue_ring_unpop(e);
        return;
    }
    e->lent_next = here->head;
    here->tail = here->head ? here->tail : &e->lent_next;
    here->head = e;
}

/* ---- life ---------------------------------------------------------------------------------------------------- */

void virtio_queue_lend(VirtQueue *vq, unsigned max)
{
    VirtioDevice *vdev = vq->vdev;

    g_assert(vdev->loop != vdev->dev.vm->loop && !vq->loop);
    if (!vdev->lending) {
        vdev->lending = g_new0(VirtLending, 1);
        lock_init(&vdev->lending->lock, "a device's lent buffers", LOCK_RANK_LEAF);
        vdev->lending->due_tail = &vdev->lending->due;
    }
    vq->lent = g_new0(VirtLent, 1);
    vq->lent->came = vq->handler;
    vq->lent->max = max;
    clear(&vq->lent->here);
    clear(&vq->lent->coming);
    clear(&vq->lent->going);
    vq->handler = lend;
    virtio_queue_set_quiet(vq);
}

void virtio_queue_set_brief(VirtQueue *vq, VirtBriefFn *brief) { vq->lent->brief = brief; }

void virtqueue_lent_end(VirtioDevice *vdev)
{
    if (!vdev->lending) {
        return;
    }
    for (unsigned i = 0; i < vdev->n_added; i++) {
        g_clear_pointer(&vdev->queues[i].lent, g_free);
    }
    lock_destroy(&vdev->lending->lock);
    g_clear_pointer(&vdev->lending, g_free);
}
