/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which thread has which pair of a virtio network card, and how pairs learn what the control queue decided.
 *
 * A message to a pair is posted by the control queue's handler only, and the command is answered when the last pair has read
 * it (virtio 1.2, 5.1.6.5.5: a queue that a command takes out of use gets no packets once that is answered). Stopping makes that
 * queue take no more commands, then calls into each pair's loop and at last into the control queue's, and waits: loops run
 * what was posted in order, so no message is on its way when the queues stand still, and none outlives its card.
 */
#include "backends/iothread.h"
#include "hw/virtio/virtio_net.h"

/* ---- policies ------------------------------------------------------------------------------------- */

static VirtioNetPolicy *policy_new(const VirtioNet *s)
{
    VirtioNetPolicy *policy = g_new(VirtioNetPolicy, 1);

    *policy = (VirtioNetPolicy){
        .refs = 1, .active = s->active, .vnet = s->vnet, .offloads = s->offloads, .filter = s->filter, .rss = s->rss};
    return policy;
}

static void policy_unref(const VirtioNetPolicy *policy)
{
    VirtioNetPolicy *mine = (VirtioNetPolicy *)(uintptr_t)policy;

    if (mine && g_atomic_int_dec_and_test(&mine->refs)) {
        g_free(mine);
    }
}

void virtio_net_take_policy(VirtioNetPair *p)
{
    const VirtioNetPolicy *policy = __atomic_exchange_n(&p->next, NULL, __ATOMIC_ACQ_REL), *old = p->policy;

    if (!policy) {
        return;
    }
    p->policy = policy;
    if (policy->vnet != (old ? old->vnet : 0)) {
        virtio_net_apply_offloads(p, policy->offloads);
    }
    net_set_active(p->port, p->index < policy->active);
    if (p->live && p->index < policy->active) {
        virtqueue_resume(virtio_net_tx(p));
        net_port_ready(p->port);
    }
    policy_unref(old);
}

static void end_posted(void *opaque) { virtio_net_end_command(opaque); }

/* Nobody is awaited any more: the last one says so to the control queue. */
static void one_less(VirtioNet *s)
{
    if (__atomic_sub_fetch(&s->awaited, 1, __ATOMIC_ACQ_REL) == 0) {
        loop_post(s->vdev.loop, end_posted, s);
    }
}

static void take_posted(void *opaque)
{
    VirtioNetPair *p = opaque;

    virtio_net_take_policy(p);
    one_less(p->net);
}

static void put_next(VirtioNetPair *p, VirtioNetPolicy *policy)
{
    g_atomic_int_inc(&policy->refs);
    policy_unref(__atomic_exchange_n(&p->next, policy, __ATOMIC_ACQ_REL));
}

bool virtio_net_publish(VirtioNet *s)
{
    VirtioNetPolicy *policy = policy_new(s);
    unsigned elsewhere = 0;

    for (unsigned i = 0; i < s->max_pairs; i++) {
        elsewhere += s->pairs[i].loop != s->vdev.loop;
    }
    __atomic_store_n(&s->awaited, elsewhere, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < s->max_pairs; i++) {
        VirtioNetPair *p = &s->pairs[i];

        put_next(p, policy);
        if (p->loop == s->vdev.loop) {
            virtio_net_take_policy(p);
        } else {
            loop_post(p->loop, take_posted, p);
        }
    }
    policy_unref(policy);
    return !elsewhere;
}

static void nothing(VirtioNetPair *p) {}

void virtio_net_settle(VirtioNet *s)
{
    virtio_net_each_pair(s, nothing);
    virtio_call(&s->vdev, end_posted, s);
}

void virtio_net_set_policy(VirtioNet *s)
{
    VirtioNetPolicy *policy = policy_new(s);

    for (unsigned i = 0; i < s->max_pairs; i++) {
        put_next(&s->pairs[i], policy);
    }
    policy_unref(policy);
    virtio_net_each_pair(s, virtio_net_take_policy);
}

void virtio_net_drop_policies(VirtioNet *s)
{
    for (unsigned i = 0; i < s->max_pairs; i++) {
        policy_unref(g_steal_pointer(&s->pairs[i].policy));
    }
}

/* ---- loops ---------------------------------------------------------------------------------------- */

typedef struct PairsCall {
    VirtioNet *s;
    void (*fn)(VirtioNetPair *p);
    const Loop *loop;
} PairsCall;

static void call_here(void *opaque)
{
    const PairsCall *call = opaque;

    for (unsigned i = 0; i < call->s->max_pairs; i++) {
        if (call->s->pairs[i].loop == call->loop) {
            call->fn(&call->s->pairs[i]);
        }
    }
}

void virtio_net_each_pair(VirtioNet *s, void (*fn)(VirtioNetPair *p))
{
    for (unsigned i = 0; i < s->max_pairs; i++) {
        Loop *loop = s->pairs[i].loop;
        PairsCall call = {s, fn, loop};
        unsigned first = 0;

        while (s->pairs[first].loop != loop) {
            first++;
        }
        if (first == i) {
            virtio_call_loop(&s->vdev, loop, call_here, &call);
        }
    }
}

void virtio_net_assign_queues(VirtioNet *s)
{
    VirtioDevice *vdev = &s->vdev;

    for (unsigned i = 0; i < vdev->n_queues; i++) {
        VirtQueue *vq = virtio_queue(vdev, i);
        Loop *loop = i < vdev->n_queues - 1 ? s->pairs[i / 2].loop : vdev->loop;

        if (virtio_queue_loop(vq) != loop) {
            virtio_queue_set_loop(vq, loop == vdev->loop ? NULL : loop);
        }
    }
}

static void leave_loop(VirtioNetPair *p) { net_detach(p->port); }
static void enter_loop(VirtioNetPair *p) { net_attach(p->port, p->loop); }

/* Links whose other ends stay in the main loop have relays as long as the pairs are elsewhere. */
static void begin_relays(VirtioNet *s)
{
    for (unsigned i = 0; i < s->max_pairs; i++) {
        VirtioNetPair *p = &s->pairs[i];

        if (p->own_loop != s->vdev.dev.vm->loop && !net_is_movable(p->port)) {
            net_relay_begin(p->port);
        }
    }
}

static void end_relays(VirtioNet *s)
{
    for (unsigned i = 0; i < s->max_pairs; i++) {
        net_relay_end(s->pairs[i].port);
    }
}

static bool are_placed(const VirtioNet *s, bool own)
{
    for (unsigned i = 0; i < s->max_pairs; i++) {
        if (s->pairs[i].loop != (own ? s->pairs[i].own_loop : s->vdev.dev.vm->loop)) {
            return false;
        }
    }
    return true;
}

/* To their own loops, or the main one; they are never between two loops of their own. No queue runs. */
static void place(VirtioNet *s, bool own)
{
    if (own) {
        begin_relays(s);
    }
    virtio_net_each_pair(s, leave_loop);
    for (unsigned i = 0; i < s->max_pairs; i++) {
        s->pairs[i].loop = own ? s->pairs[i].own_loop : s->vdev.dev.vm->loop;
    }
    s->vdev.loop = s->pairs[0].loop;
    virtio_net_assign_queues(s);
    virtio_net_each_pair(s, enter_loop);
    if (!own) {
        end_relays(s);
    }
}

static void move(VirtioNet *s, bool own)
{
    if (!are_placed(s, own)) {
        virtio_stop(&s->vdev);
        place(s, own);
        virtio_update(&s->vdev);
    }
}

/* Kiln's own threads, as far as there can be some: several if nothing ties the pairs together. */
static void find_loops(VirtioNet *s)
{
    const uint64_t offered = s->vdev.host_features;
    const bool several = virtio_net_has_pairs(offered) && !(offered >> VIRTIO_NET_F_RSS & 1);
    unsigned n = several ? MIN(s->max_pairs, iothread_own_max()) : 1;

    for (unsigned i = 0; i < s->max_pairs; i++) {
        VirtioNetPair *p = &s->pairs[i];

        p->own_loop = i < n ? iothread_own_loop(s->vdev.dev.vm, NULL) : s->pairs[i % n].own_loop;
        if (!p->own_loop) { /* without one for the first pair and the control queue, all stay in the main loop */
            p->own_loop = i ? s->pairs[0].own_loop : s->vdev.dev.vm->loop;
            n = i ? n : 1;
        }
    }
}

void virtio_net_place(VirtioNet *s, bool own)
{
    if (own && !s->pairs[0].own_loop) {
        find_loops(s);
    }
    if (!are_placed(s, own)) {
        place(s, own);
    }
}

void virtio_net_choose_loops(VirtioNet *s)
{
    if (s->vhost) {
        return; /* whoever starts the queues learns whether the kernel takes them */
    }
    if (!s->pairs[0].own_loop) {
        find_loops(s);
    }
    move(s, true);
}

void virtio_net_hold(VirtioNet *s)
{
    if (!s->held++) {
        move(s, false);
        virtio_net_vhost_hold(s);
    }
}

void virtio_net_release(VirtioNet *s)
{
    if (!--s->held) {
        virtio_net_vhost_release(s);
        virtio_net_choose_loops(s);
    }
}
