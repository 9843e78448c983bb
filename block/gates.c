/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Gates (block/gates.h): requests, and what passes between a back end's owner and its gates when a drained section begins
 * and ends:
 *
 *   owner: hold -->  gate: starts nothing more, stopped -->  owner: all that was handed over is here
 *                    gate: nothing in flight, idle ------->  owner: drained
 *   owner: go ---->  gate: starts what was kept
 */
#include <errno.h>

#include "block/backend_int.h"
#include "block/gates.h"
#include "util/log.h"
#include "util/trace.h"

#define REQUEST_POOL_MAX 256

struct BlkGate {
    BlockBackend *blk;
    BlockLoop *loop;
    BlockMail hold, stopped, idle, go;
    /* ---- of the owner while the gate is idle; else of the gate's thread, which reads them ---- */
    BlockLoop *owner;
    bool straight;       /* into the nodes; else through the owner */
    BlockMail resized; /* home: sent while is_resized */
    bool is_resized;   /* atomic */
    /* ---- of the owner ---- */
    bool is_stopped, is_idle;
    /* ---- of the gate's thread ---- */
    bool held;
    unsigned in_flight;
    BlkRequest *queued, **queued_tail; /* submitted while held */
    unsigned dropped;    /* home: of those, cancelled, and not yet told */
    BlkRequest *pool;
    unsigned pool_len;
    BlkAccount account;
};

/* ---- requests ------------------------------------------------------------------------------- */

static void tell_idle(BlkGate *g)
{
    if (g->held && !g->in_flight) {
        block_loop_send(g->owner, &g->idle);
    }
}

/* done has not been called. */
static void retire(BlkRequest *request, int result)
{
    BlkGate *g = request->gate;

    trace(blk_gate_done, "blk %s kind %d result %d", blk_name(g->blk), request->kind, result);
    blk_count_request(&g->account, request, result);
    if (g->pool_len == REQUEST_POOL_MAX) {
        g_free(request);
    } else {
        request->next = g->pool;
        g->pool = request;
        g->pool_len++;
    }
}

static void end_request(BlkRequest *request, int result)
{
    BlkGate *g = request->gate;
    BlkDone *done = request->done;
    void *opaque = request->opaque;

    retire(request, result);
    if (g == g->blk->home) { /* who waits for the gate does so in this thread, below this call, and may do so in done, too */
        g->in_flight--;
        tell_idle(g);
        done(opaque, result);
        return;
    }
    done(opaque, result);
    g->in_flight--;
    tell_idle(g);
}

static void straight_done(BlockIo *io, int result)
{
    end_request(container_of(io, BlkRequest, io), result);
}

static void hand_back(BlockMail *mail)
{
    BlkRequest *request = container_of(mail, BlkRequest, io.mail);

    if (request->cancelling) {
        request->ended = true;
        return;
    }
    end_request(request, request->io.result);
}

/* In the owner. */
static void handed_done(BlockIo *io, int result)
{
    BlkRequest *request = container_of(io, BlkRequest, io);

    request->blk->in_flight--;
    request->with_owner = false;
    io->result = result;
    if (request->gate->loop == request->blk->loop) {
        end_request(request, result);
        return;
    }
    io->mail = (BlockMail){.fn = hand_back};
    block_loop_send(request->gate->loop, &io->mail);
}

/* In the owner, even when a drained section has begun: it waits for these. */
static void take_over(BlockMail *mail)
{
    BlkRequest *request = container_of(mail, BlkRequest, io.mail);

    request->with_owner = true;
    blk_start_request(request->blk, request);
}

/* What makes the file longer is the owner's. */
static bool goes_straight(const BlkGate *g, const BlockIo *io)
{
    return g->straight && !((io->op == BLOCK_WRITE || io->op == BLOCK_ZERO) &&
                            io->offset + io->len > block_node_size(g->blk->root->node));
}

static void start(BlkGate *g, BlkRequest *request)
{
    BlockBackend *blk = g->blk;
    BlockIo *io = &request->io;
    int ret;

    g->in_flight++;
    if (!goes_straight(g, io)) {
        io->done = handed_done;
        if (g->owner == g->loop) { /* home, and the nodes are there now */
            blk_start_request(blk, request);
            return;
        }
        io->mail = (BlockMail){.fn = take_over, .can_wait = true};
        block_loop_send(g->owner, &io->mail);
        return;
    }
    request->straight = true;
    io->done = straight_done;
    io->loop = g->loop;
    ret = blk_check_request(blk, request);
    if (ret < 0) {
        block_loop_finish_later(g->loop, io, ret);
        return;
    }
    io->alone = blk->no_merging;
    if (io->op == BLOCK_WRITE || io->op == BLOCK_ZERO) {
        g->account.stats.wr_highest_offset = MAX(g->account.stats.wr_highest_offset, io->offset + io->len);
        io->fua |= !blk_write_cache(blk);
    }
    block_node_submit(blk->root->node, io);
}

static void keep(BlkGate *g, BlkRequest *request)
{
    request->next = NULL;
    *g->queued_tail = request;
    g->queued_tail = &request->next;
}

BlkRequest *blk_gate_request(BlkGate *g, BlkStatKind kind, const BlockIo *io, BlkDone *done, void *opaque)
{
    BlkRequest *request = g->pool;

    if (request) {
        g->pool = request->next;
        g->pool_len--;
    } else {
        request = g_new(BlkRequest, 1);
    }
    *request = (BlkRequest){.io = *io,
                            .blk = g->blk,
                            .gate = g,
                            .kind = kind,
                            .bytes = io->len,
                            .offset = io->offset,
                            .done = done,
                            .opaque = opaque,
                            .start_ns = clock_monotonic_ns()};
    trace(blk_gate_submit, "blk %s kind %d offset %" PRIu64 " len %" PRIu64, blk_name(g->blk), kind, io->offset, io->len);
    if (g->held) {
        keep(g, request);
    } else {
        start(g, request);
    }
    return request;
}

BlkRequest *blk_gate_submit(BlockBackend *blk, BlkGate *gate, const BlockIo *io, BlkDone *done, void *opaque)
{
    return gate ? blk_gate_request(gate, blk_stat_kind(io->op), io, done, opaque) : blk_submit(blk, io, done, opaque);
}

BlkRequest *blk_gate_readv(BlockBackend *blk, BlkGate *gate, uint64_t offset, const struct iovec *iov, unsigned count,
                           BlkDone *done, void *opaque)
{
    const BlockIo io = {.op = BLOCK_READ, .offset = offset, .len = iov_size(iov, count), .iov = iov, .iov_count = count};

    return blk_gate_submit(blk, gate, &io, done, opaque);
}

BlkRequest *blk_gate_writev(BlockBackend *blk, BlkGate *gate, uint64_t offset, const struct iovec *iov, unsigned count,
                            BlkDone *done, void *opaque)
{
    const BlockIo io = {.op = BLOCK_WRITE, .offset = offset, .len = iov_size(iov, count), .iov = iov, .iov_count = count};

    return blk_gate_submit(blk, gate, &io, done, opaque);
}

BlkRequest *blk_gate_flush(BlockBackend *blk, BlkGate *gate, BlkDone *done, void *opaque)
{
    return blk_gate_submit(blk, gate, &(BlockIo){.op = BLOCK_FLUSH}, done, opaque);
}

BlkRequest *blk_gate_discard(BlockBackend *blk, BlkGate *gate, uint64_t offset, uint64_t len, BlkDone *done, void *opaque)
{
    return blk_gate_submit(blk, gate, &(BlockIo){.op = BLOCK_DISCARD, .offset = offset, .len = len}, done, opaque);
}

BlkRequest *blk_gate_write_zeroes(BlockBackend *blk, BlkGate *gate, uint64_t offset, uint64_t len, bool may_unmap,
                                  BlkDone *done, void *opaque)
{
    const BlockIo io = {.op = BLOCK_ZERO, .offset = offset, .len = len, .may_unmap = may_unmap};

    return blk_gate_submit(blk, gate, &io, done, opaque);
}

/* ---- cancelling ----------------------------------------------------------------------------- */

/* In the gate's thread. */
static void on_cancelled(BlockMail *mail)
{
    BlkRequest *request = container_of(mail, BlkRequest, cancel);

    request->cancelling = false;
    if (request->ended) {
        end_request(request, request->io.result);
    }
}

/* In the owner, behind take_over. */
static void on_cancel(BlockMail *mail)
{
    BlkRequest *request = container_of(mail, BlkRequest, cancel);

    if (request->with_owner) {
        blk_cancel_started(request, request->blk->loop);
    }
    request->cancel = (BlockMail){.fn = on_cancelled};
    block_loop_send(request->gate->loop, &request->cancel);
}

/* Where the queue names it; *it NULL: it is not kept. */
static BlkRequest **find_kept(BlkGate *g, const BlkRequest *request)
{
    BlkRequest **at = &g->queued;

    while (*at && *at != request) {
        at = &(*at)->next;
    }
    return at;
}

void blk_gate_cancel(BlkRequest *request)
{
    BlkGate *g = request->gate;

    if (request->cancelling || *find_kept(g, request)) {
        return;
    }
    if (request->straight || g->owner == g->loop) { /* home, and the nodes are there now */
        blk_cancel_started(request, g->loop);
        return;
    }
    request->cancelling = true;
    request->cancel = (BlockMail){.fn = on_cancel, .can_wait = true};
    block_loop_send(g->owner, &request->cancel);
}

/* The gate, which is held, may have said that nothing is in flight: this was not. */
static void on_dropped(BlockMail *mail)
{
    BlkRequest *request = container_of(mail, BlkRequest, cancel);
    BlkDone *done = request->done;
    void *opaque = request->opaque;

    request->gate->dropped--;
    retire(request, -ECANCELED);
    done(opaque, -ECANCELED);
}

void blk_home_cancel(BlkRequest *request)
{
    BlkGate *g = request->gate;
    BlkRequest **at = find_kept(g, request);

    if (!*at) {
        blk_gate_cancel(request);
        return;
    }
    *at = request->next;
    if (!*at) {
        g->queued_tail = at;
    }
    g->dropped++;
    request->cancel = (BlockMail){.fn = on_dropped};
    block_loop_send(g->loop, &request->cancel);
}

void blk_gate_count_invalid(BlockBackend *blk, BlkGate *gate, BlkStatKind kind)
{
    if (gate) {
        blk_account_invalid(&gate->account, kind);
    } else {
        blk_count_invalid(blk, kind);
    }
}

void blk_gate_plug(BlockBackend *blk, BlkGate *gate)
{
    if (gate) {
        block_loop_plug(gate->loop);
    } else {
        blk_plug(blk);
    }
}

void blk_gate_unplug(BlockBackend *blk, BlkGate *gate)
{
    if (gate) {
        block_loop_unplug(gate->loop);
    } else {
        blk_unplug(blk);
    }
}

/* ---- drained sections ----------------------------------------------------------------------- */

static void on_hold(BlockMail *mail)
{
    BlkGate *g = container_of(mail, BlkGate, hold);

    g->held = true;
    block_loop_send(g->owner, &g->stopped);
    tell_idle(g);
}

static void on_stopped(BlockMail *mail)
{
    container_of(mail, BlkGate, stopped)->is_stopped = true;
}

static void on_idle(BlockMail *mail)
{
    container_of(mail, BlkGate, idle)->is_idle = true;
}

static void on_go(BlockMail *mail)
{
    BlkGate *g = container_of(mail, BlkGate, go);
    BlkRequest *list = g->queued;

    g->held = false;
    g->queued = NULL;
    g->queued_tail = &g->queued;
    while (list) {
        BlkRequest *request = list;

        list = request->next;
        start(g, request);
    }
}

/* A home gate's device hears of it. */
static void on_resized(BlockMail *mail)
{
    BlkGate *g = container_of(mail, BlkGate, resized);

    __atomic_store_n(&g->is_resized, false, __ATOMIC_SEQ_CST);
    if (g->blk->ops && g->blk->ops->resized) {
        g->blk->ops->resized(g->blk->opaque);
    }
}

void blk_home_resized(BlockBackend *blk)
{
    BlkGate *g = blk->home;

    if (!__atomic_exchange_n(&g->is_resized, true, __ATOMIC_SEQ_CST)) {
        block_loop_send(g->loop, &g->resized);
    }
}

void blk_gates_hold(BlockBackend *blk)
{
    if (!blk->gates || blk->gates_held++) {
        return;
    }
    for (unsigned i = 0; i < blk->gates->len; i++) {
        BlkGate *g = g_ptr_array_index(blk->gates, i);

        g->is_stopped = g->is_idle = false;
        block_loop_send(g->loop, &g->hold);
    }
}

bool blk_gates_stopped(const BlockBackend *blk)
{
    for (unsigned i = 0; blk->gates && i < blk->gates->len; i++) {
        if (!((const BlkGate *)g_ptr_array_index(blk->gates, i))->is_stopped) {
            return false;
        }
    }
    return true;
}

bool blk_gates_idle(const BlockBackend *blk)
{
    for (unsigned i = 0; blk->gates && i < blk->gates->len; i++) {
        if (!((const BlkGate *)g_ptr_array_index(blk->gates, i))->is_idle) {
            return false;
        }
    }
    return true;
}

void blk_gates_wait(BlockBackend *blk)
{
    blk->loop->draining++;
    while (!blk_gates_stopped(blk) || !blk_gates_idle(blk) || blk->in_flight) {
        if (!block_loop_wait(blk->loop)) {
            break;
        }
    }
    blk->loop->draining--;
}

static bool node_any_loop(const BlockNode *node)
{
    if (!node->drv->any_loop || !node->drv->any_loop(node) || node->recording || node->detect_zeroes ||
        node->write_threshold) {
        return false;
    }
    for (unsigned i = 0; i < node->children->len; i++) {
        if (!node_any_loop(((const BlockChild *)g_ptr_array_index(node->children, i))->node)) {
            return false;
        }
    }
    return true;
}

static bool may_go_straight(const BlockBackend *blk)
{
    return blk->root && !blk->throttle && node_any_loop(blk->root->node);
}

void blk_gates_go(BlockBackend *blk)
{
    if (!blk->gates || --blk->gates_held) {
        return;
    }
    for (unsigned i = 0; i < blk->gates->len; i++) {
        BlkGate *g = g_ptr_array_index(blk->gates, i);

        g->owner = blk->loop;
        g->straight = g != blk->home && may_go_straight(blk);
        block_loop_send(g->loop, &g->go);
    }
}

/* ---- life ----------------------------------------------------------------------------------- */

static void ask_any_loop(void *opaque)
{
    void **args = opaque;

    *(bool *)args[1] = may_go_straight(args[0]);
}

bool blk_any_loop(BlockBackend *blk)
{
    bool any;

    block_loop_call(blk->loop, ask_any_loop, (void *[]){blk, &any});
    return any;
}

typedef struct OpenMail {
    BlockLoop *loop;
    GError **err;
    bool ok;
} OpenMail;

static void open_mail_in_loop(void *opaque)
{
    OpenMail *open = opaque;

    open->ok = block_loop_open_mail(open->loop, open->err);
}

static bool open_mail(BlockLoop *loop, GError **err)
{
    OpenMail open = {loop, err, false};

    block_loop_call(loop, open_mail_in_loop, &open);
    return open.ok;
}

/* What the device submitted in this section, as its own loop's owner: from now on it comes through the gate. */
static void take_queued(BlockBackend *blk, BlkGate *g)
{
    while (blk->queued) {
        BlkRequest *request = blk->queued;

        blk->queued = request->next;
        request->gate = g;
        keep(g, request);
    }
    blk->queued_tail = &blk->queued;
    blk->n_queued = 0;
}

/* Drained sections know of gates from their beginning: the tree's are held while one is added. */
static void add_gate(BlockBackend *blk, BlkGate *g)
{
    BlockNode *node = blk_node(blk);

    block_drain_begin(node);
    if (!blk->gates) {
        blk->gates = g_ptr_array_new();
        blk->gates_held = blk->quiesced;
    }
    g_ptr_array_add(blk->gates, g);
    if (g == blk->home) {
        take_queued(blk, g);
    }
    block_drain_end(node);
}

/* Its loop and the owner's take messages. */
static BlkGate *gate_new(BlockBackend *blk, BlockLoop *loop)
{
    BlkGate *g = g_new0(BlkGate, 1);

    *g = (BlkGate){.blk = blk,
                   .loop = loop,
                   .owner = blk->loop,
                   .hold = {.fn = on_hold},
                   .stopped = {.fn = on_stopped},
                   .idle = {.fn = on_idle},
                   .go = {.fn = on_go},
                   .resized = {.fn = on_resized},
                   .is_stopped = true,
                   .is_idle = true,
                   .held = true};
    g->queued_tail = &g->queued;
    blk_account_follow(&g->account, &blk->rules);
    return g;
}

BlkGate *blk_gate(BlockBackend *blk, Loop *loop, GError **err)
{
    BlockLoop *l = block_loop_get(blk->vm, loop, err);
    BlkGate *g;

    if (!l) {
        return NULL;
    }
    for (unsigned i = 0; blk->gates && i < blk->gates->len; i++) {
        g = g_ptr_array_index(blk->gates, i);
        if (g->loop == l) {
            return g;
        }
    }
    g_assert(blk->ops && blk->root && !l->is_main && l != blk->loop);
    if (!open_mail(l, err) || !open_mail(blk->loop, err)) {
        return NULL;
    }
    g = gate_new(blk, l);
    add_gate(blk, g);
    return g;
}

/* ---- home ------------------------------------------------------------------------------------- */

static void go_in_owner(void *opaque) { blk_gates_go(opaque); }

bool blk_make_home(BlockBackend *blk, GError **err)
{
    BlockLoop *main_loop = block_loop_main(blk->vm);

    if (blk->home) {
        return true;
    }
    if (!open_mail(main_loop, err) || !open_mail(blk->loop, err)) {
        return false;
    }
    blk->home = gate_new(blk, main_loop);
    if (blk->root) {
        add_gate(blk, blk->home);
    } else {
        blk->gates = g_ptr_array_new();
        g_ptr_array_add(blk->gates, blk->home);
        blk->gates_held = 1;
        block_loop_call(blk->loop, go_in_owner, blk);
    }
    return true;
}

void blk_home_drain(BlockBackend *blk)
{
    const BlkGate *g = blk->home;

    while (g->in_flight || g->dropped || (g->queued && !blk->quiesced)) {
        if (blk->loop == g->loop) {
            block_loop_wait(g->loop);
        } else {
            block_loop_wait_mail(g->loop);
        }
    }
}

bool blk_needs_home(const BlockBackend *blk)
{
    return blk->ops && !blk->ops->any_loop;
}

/* In the gate's loop. Held, idle; what would tell it to go on was taken. */
static void free_gate(void *opaque)
{
    BlkGate *g = opaque;

    g_assert(!g->in_flight && !g->queued && !g->dropped);
    while (g->pool) {
        BlkRequest *request = g->pool;

        g->pool = request->next;
        g_free(request);
    }
    blk_account_clear(&g->account);
    g_free(g);
}

static void take_over_account(BlkAccount *account, void *opaque)
{
    blk_account_take_over(account, opaque);
}

static void hold_in_owner(void *opaque)
{
    blk_gates_hold(opaque);
}

static void wait_in_owner(void *opaque)
{
    blk_gates_wait(opaque);
}

/* Who frees a loop whose thread has ended stands in for it. */
static void answer_hold(BlkGate *g)
{
    while (block_loop_is_owner(g->loop) && (!g->held || g->in_flight) && block_loop_wait(g->loop)) {
    }
}

void blk_gates_free(BlockBackend *blk)
{
    if (!blk->gates) {
        return;
    }
    block_loop_call(blk->loop, hold_in_owner, blk);
    for (unsigned i = 0; i < blk->gates->len; i++) {
        answer_hold(g_ptr_array_index(blk->gates, i));
    }
    block_loop_call(blk->loop, wait_in_owner, blk);
    for (unsigned i = 0; i < blk->gates->len; i++) {
        BlkGate *g = g_ptr_array_index(blk->gates, i);

        blk_account_visit(blk->loop, &blk->account, take_over_account, &g->account);
        block_loop_call(g->loop, free_gate, g);
    }
    g_clear_pointer(&blk->gates, g_ptr_array_unref);
    blk->home = NULL;
    blk->gates_held = 0;
}

void blk_gates_visit_accounts(BlockBackend *blk, void (*fn)(BlkAccount *account, void *opaque), void *opaque)
{
    for (unsigned i = 0; blk->gates && i < blk->gates->len; i++) {
        BlkGate *g = g_ptr_array_index(blk->gates, i);

        blk_account_visit(g->loop, &g->account, fn, opaque);
    }
}

void blk_gates_moved(BlockBackend *blk)
{
    g_autoptr(GError) err = NULL;

    if (blk->gates && !block_loop_open_mail(blk->loop, &err)) {
        report_error("disk %s: %s; its further queues stand still", blk_name(blk), err->message);
    }
}

void blk_root_release_loop(BlockBackend *blk, BlockLoop *loop)
{
    if (blk->plug_loop == loop) {
        blk->plug_loop = block_loop_main(blk->vm);
    }
    for (unsigned i = 0; blk->gates && !blk->home && i < blk->gates->len; i++) {
        if (blk->loop == loop || ((const BlkGate *)g_ptr_array_index(blk->gates, i))->loop == loop) {
            blk_gates_free(blk); /* its device does not run any more */
        }
    }
}
