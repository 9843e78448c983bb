/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * BlockBackend: what a device holds. Checks each request against the medium, counts it and sends it
 * into the node.
 */
#include <errno.h>

#include "block/backend_int.h"
#include "util/trace.h"

#define REQUEST_POOL_MAX 256
#define DATA_MAX ((uint64_t)INT32_MAX & ~(uint64_t)(BLOCK_SECTOR - 1)) /* of one read or write, as in QEMU */

/* ---- life ----------------------------------------------------------------------------------- */

BlockBackend *blk_new(Vm *vm, const char *name, BlockNode *node, uint32_t used, GError **err)
{
    BlockBackend *blk = g_new0(BlockBackend, 1);

    blk->vm = vm;
    blk->name = g_strdup(name);
    blk->loop = blk->plug_loop = node ? node->loop : block_loop_main(vm);
    blk->queued_tail = &blk->queued;
    blk->write_cache = true;
    blk->on_read_error = BLK_ON_ERROR_REPORT;
    blk->on_write_error = BLK_ON_ERROR_ENOSPC;
    blk->io_status = "ok";
    blk->rules.epoch_ns = clock_monotonic_ns();
    if (node) {
        blk->root = block_attach_child(NULL, blk, node, "root", 0, used, BLOCK_PERM_ALL, err);
        if (!blk->root) {
            g_free(blk->name);
            g_free(blk);
            return NULL;
        }
    }
    g_ptr_array_add(block_state(vm)->backends, blk);
    return blk;
}

BlockNode *blk_node(const BlockBackend *blk)
{
    return blk->root ? blk->root->node : NULL;
}

BlockBackend *blk_new_empty(Vm *vm)
{
    return blk_new(vm, NULL, NULL, 0, NULL);
}

bool blk_is_alive(Vm *vm, const BlockBackend *blk)
{
    return blk && vm->block && g_ptr_array_find(vm->block->backends, blk, NULL);
}

void blk_free(BlockBackend *blk)
{
    if (!blk) {
        return;
    }
    blk_detach(blk);
    g_ptr_array_remove(blk->vm->block->backends, blk);
    throttle_member_free(blk->throttle);
    block_detach_child(blk->root);
    while (blk->pool) {
        BlkRequest *request = blk->pool;

        blk->pool = request->next;
        g_free(request);
    }
    blk_account_clear(&blk->account);
    blk_rules_clear(&blk->rules);
    g_free(blk->name);
    g_free(blk);
}

void blk_set_drive_info(BlockBackend *blk, DriveInfo *info)
{
    blk->info = info;
}

BlockBackend *blk_find(Vm *vm, const char *name)
{
    for (unsigned i = 0; vm->block && i < vm->block->backends->len; i++) {
        BlockBackend *blk = g_ptr_array_index(vm->block->backends, i);

        if (!strcmp(blk->name ? blk->name : blk_node_name(blk), name)) {
            return blk;
        }
    }
    return NULL;
}

/* ---- attaching ------------------------------------------------------------------------------ */

static bool attach(BlockBackend *blk, Device *dev, const BlkDevOps *ops, void *opaque,
                   bool need_write, bool share, GError **err)
{
    uint32_t used = BLOCK_PERM_CONSISTENT_READ | (need_write ? BLOCK_PERM_WRITE : 0);
    uint32_t unshared = (share ? 0 : BLOCK_PERM_WRITE) | (need_write ? 0 : BLOCK_PERM_RESIZE);
    const BlockNode *node = blk_node(blk);

    if (blk->dev || blk->ops) {
        return error_set(
            err,
            blk->info && strcmp(blk->info->interface, "none")
                ? "Drive '%s' is already in use because it has been automatically connected to "
                  "another device (did you need 'if=none' in the drive options?)"
                : "Drive '%s' is already in use by another device; give each its own",
            blk->name ? blk->name : blk_node_name(blk));
    }
    if (need_write && node && node->read_only) {
        return error_set(
            err,
            "Block node is read-only: image '%s' was opened for reading only (asked so, or its "
            "permissions allow no more, or Kiln only reads its format), but the device writes to it",
            blk_filename(blk));
    }
    blk->dev = dev; /* a refusal names it */
    if (blk->root &&
        !block_child_set_perm(blk->root, used, BLOCK_PERM_ALL & ~unshared, err)) {
        blk->dev = NULL;
        return false;
    }
    if (!blk->loop->is_main && !ops->any_loop && !blk_make_home(blk, err)) {
        if (blk->root) {
            block_child_set_perm(blk->root, blk->name ? BLOCK_PERM_CONSISTENT_READ : 0, BLOCK_PERM_ALL, NULL);
        }
        blk->dev = NULL;
        return false;
    }
    blk->plug_loop = blk->loop;
    blk->used = used;
    blk->shared = BLOCK_PERM_ALL & ~unshared;
    blk->ops = ops;
    blk->opaque = opaque;
    if (blk->info) {
        blk->info->connected = true;
    }
    return true;
}

bool blk_attach(BlockBackend *blk, Device *dev, const BlkDevOps *ops, void *opaque, bool need_write,
                GError **err)
{
    return attach(blk, dev, ops, opaque, need_write, false, err);
}

bool blk_attach_shared(BlockBackend *blk, Device *dev, const BlkDevOps *ops, void *opaque,
                       bool need_write, GError **err)
{
    return attach(blk, dev, ops, opaque, need_write, true, err);
}

void blk_detach(BlockBackend *blk)
{
    if (!blk->dev && !blk->ops) {
        return;
    }
    blk_drain(blk);
    blk_gates_free(blk);
    blk->dev = NULL;
    blk->ops = NULL;
    blk->no_merging = false;
    __atomic_store_n(&blk->retry_wanted, false, __ATOMIC_RELAXED);
    if (blk->root) {
        block_child_set_perm(blk->root, blk->name ? BLOCK_PERM_CONSISTENT_READ : 0, BLOCK_PERM_ALL,
                             NULL);
    }
    blk_set_loop(blk, blk->vm->loop, NULL);
}

/* ---- facts ---------------------------------------------------------------------------------- */

const char *blk_name(const BlockBackend *blk)
{
    return blk->name ? blk->name : "";
}
const char *blk_node_name(const BlockBackend *blk)
{
    return blk->root ? blk->root->node->name : "";
}
DriveInfo *blk_drive_info(const BlockBackend *blk)
{
    return blk->info;
}
bool blk_is_inserted(const BlockBackend *blk)
{
    return blk->root != NULL;
}
bool blk_is_read_only(const BlockBackend *blk)
{
    return blk->root && blk->root->node->read_only;
}
bool blk_write_cache(const BlockBackend *blk)
{
    return __atomic_load_n(&blk->write_cache, __ATOMIC_RELAXED);
}
void blk_set_write_cache(BlockBackend *blk, bool on)
{
    __atomic_store_n(&blk->write_cache, on, __ATOMIC_RELAXED);
}
void blk_set_merging(BlockBackend *blk, bool on)
{
    blk->no_merging = !on;
}
unsigned blk_in_flight(const BlockBackend *blk)
{
    return blk->in_flight + blk->n_queued;
}
const char *blk_io_status(const BlockBackend *blk)
{
    return __atomic_load_n(&blk->io_status, __ATOMIC_RELAXED);
}

const char *blk_filename(const BlockBackend *blk)
{
    return blk->root && blk->root->node->filename ? blk->root->node->filename : "";
}

uint64_t blk_size(const BlockBackend *blk)
{
    return blk->root ? block_node_disk_size(blk->root->node) : 0;
}

/* ---- requests ------------------------------------------------------------------------------- */

static BlkRequest *request_new(BlockBackend *blk)
{
    BlkRequest *request = blk->pool;

    if (!request) {
        return g_new(BlkRequest, 1);
    }
    blk->pool = request->next;
    blk->pool_len--;
    return request;
}

static void request_free(BlockBackend *blk, BlkRequest *request)
{
    if (blk->pool_len == REQUEST_POOL_MAX) {
        g_free(request);
        return;
    }
    request->next = blk->pool;
    blk->pool = request;
    blk->pool_len++;
}

static void request_done(BlockIo *io, int result);

/* STATUS in this layer, from where it began. */
static void ask_layer(BlkRequest *request, BlockNode *node)
{
    uint64_t size = block_node_size(node);
    BlockStatus *status = request->io.status;

    request->layer = node;
    request->io = (BlockIo){.op = BLOCK_STATUS, .offset = request->offset, .status = status,
                            .precise = true, .done = request_done};
    if (request->offset >= size) {
        /* What a shorter layer lacks reads as zeros, whatever lies below. */
        *status = (BlockStatus){.bytes = request->bytes, .zero = true, .allocated = true};
        block_loop_finish_later(request->blk->loop, &request->io, 0);
        return;
    }
    request->io.len = MIN(request->bytes, size - request->offset);
    block_node_submit(node, &request->io);
}

/* True: this layer did not decide, the next one is asked. */
static bool ask_next_layer(BlkRequest *request)
{
    BlockStatus *status = request->io.status;
    BlockNode *below = status->allocated ? NULL : block_node_backing(request->layer);

    request->bytes = MIN(request->bytes, status->bytes);
    status->bytes = request->bytes;
    if (below) {
        ++*request->depth;
        ask_layer(request, below);
    } else if (!status->allocated) {
        *request->depth = -1;
        *status = (BlockStatus){.bytes = request->bytes, .zero = true};
    }
    return below != NULL;
}

static void request_done(BlockIo *io, int result)
{
    BlkRequest *request = container_of(io, BlkRequest, io);
    BlockBackend *blk = request->blk;
    BlkDone *done = request->done;
    void *opaque = request->opaque;

    if (request->depth && result >= 0 && ask_next_layer(request)) {
        return;
    }
    trace(blk_done, "blk %s kind %d result %d", blk_name(blk), request->kind, result);
    blk_count_request(&blk->account, request, result);
    blk->in_flight--;
    request_free(blk, request);
    done(opaque, result);
}

int blk_check_request(const BlockBackend *blk, const BlkRequest *request)
{
    if (!blk->root) {
        return -ENOMEDIUM;
    }
    if (request->io.op == BLOCK_FLUSH || request->io.op == BLOCK_SG) {
        return 0;
    }
    if (!range_fits(request->io.offset, request->io.len, blk_size(blk)) ||
        ((request->io.op == BLOCK_READ || request->io.op == BLOCK_WRITE) && request->io.len > DATA_MAX)) {
        return -EIO;
    }
    return request->io.op != BLOCK_READ && request->io.op != BLOCK_STATUS && blk->root->node->read_only
               ? -EACCES
               : 0;
}

void blk_start_request(BlockBackend *blk, BlkRequest *request)
{
    BlockIo *io = &request->io;
    int ret = blk_check_request(blk, request);

    blk->in_flight++;
    if (ret < 0) {
        block_loop_finish_later(blk->loop, io, ret);
        return;
    }
    if (io->op == BLOCK_SG) {
        blk_start_sg(blk, io);
        return;
    }
    if (io->op == BLOCK_STATUS) {
        ask_layer(request, blk->root->node);
        return;
    }
    io->alone = blk->no_merging;
    if (io->op == BLOCK_WRITE || io->op == BLOCK_ZERO) {
        blk->account.stats.wr_highest_offset = MAX(blk->account.stats.wr_highest_offset, io->offset + io->len);
        io->fua |= !blk_write_cache(blk);
    }
    if (!blk->throttle || throttle_member_pass(blk->throttle, io)) {
        block_node_submit(blk->root->node, io);
    }
}

static void throttled_go(void *opaque, BlockIo *io)
{
    block_node_submit(((BlockBackend *)opaque)->root->node, io);
}

static BlkRequest *submit_any(BlockBackend *blk, BlkStatKind kind, const BlockIo *io, int *depth,
                              BlkDone *done, void *opaque)
{
    BlkRequest *request;

    if (blk->home && !depth) {
        return blk_gate_request(blk->home, kind, io, done, opaque);
    }
    request = request_new(blk);
    request->io = *io; /* field by field: a literal would be made elsewhere first, and copied */
    request->io.done = request_done;
    request->blk = blk;
    request->gate = NULL;
    request->kind = kind;
    request->bytes = io->len;
    request->layer = NULL;
    request->depth = depth;
    request->offset = io->offset;
    request->start_ns = clock_monotonic_ns();
    request->done = done;
    request->opaque = opaque;
    request->next = NULL;
    trace(blk_submit, "blk %s kind %d offset %" PRIu64 " len %" PRIu64, blk_name(blk), kind,
          io->offset, io->len);
    if (blk->quiesced) {
        *blk->queued_tail = request;
        blk->queued_tail = &request->next;
        blk->n_queued++;
    } else {
        blk_start_request(blk, request);
    }
    return request;
}

static BlkRequest *submit(BlockBackend *blk, BlkStatKind kind, const BlockIo *io, BlkDone *done,
                          void *opaque)
{
    return submit_any(blk, kind, io, NULL, done, opaque);
}

static BlkRequest *submit_read(BlockBackend *blk, BlkStatKind kind, uint64_t offset, const struct iovec *iov,
                               unsigned count, BlkDone *done, void *opaque)
{
    BlockIo io = {.op = BLOCK_READ,
                  .offset = offset,
                  .len = iov_size(iov, count),
                  .iov = iov,
                  .iov_count = count};

    return submit(blk, kind, &io, done, opaque);
}

BlkRequest *blk_readv(BlockBackend *blk, uint64_t offset, const struct iovec *iov, unsigned count,
                      BlkDone *done, void *opaque)
{
    return submit_read(blk, BLK_STAT_READ, offset, iov, count, done, opaque);
}

BlkRequest *blk_writev(BlockBackend *blk, uint64_t offset, const struct iovec *iov, unsigned count,
                       bool fua, BlkDone *done, void *opaque)
{
    BlockIo io = {.op = BLOCK_WRITE,
                  .offset = offset,
                  .len = iov_size(iov, count),
                  .iov = iov,
                  .iov_count = count,
                  .fua = fua};

    return submit(blk, BLK_STAT_WRITE, &io, done, opaque);
}

BlkRequest *blk_flush(BlockBackend *blk, BlkDone *done, void *opaque)
{
    return submit(blk, BLK_STAT_FLUSH, &(BlockIo){.op = BLOCK_FLUSH}, done, opaque);
}

BlkRequest *blk_discard(BlockBackend *blk, uint64_t offset, uint64_t len, BlkDone *done,
                        void *opaque)
{
    return submit(blk, BLK_STAT_DISCARD,
                  &(BlockIo){.op = BLOCK_DISCARD, .offset = offset, .len = len}, done, opaque);
}

BlkRequest *blk_write_zeroes(BlockBackend *blk, uint64_t offset, uint64_t len, bool may_unmap,
                             BlkDone *done, void *opaque)
{
    BlockIo io = {.op = BLOCK_ZERO, .offset = offset, .len = len, .may_unmap = may_unmap};

    return submit(blk, BLK_STAT_WRITE, &io, done, opaque);
}

BlkStatKind blk_stat_kind(BlockOp op)
{
    static const BlkStatKind kinds[] = {
        [BLOCK_READ] = BLK_STAT_READ,       [BLOCK_WRITE] = BLK_STAT_WRITE, [BLOCK_FLUSH] = BLK_STAT_FLUSH,
        [BLOCK_DISCARD] = BLK_STAT_DISCARD, [BLOCK_ZERO] = BLK_STAT_WRITE,
    };

    g_assert(op < G_N_ELEMENTS(kinds));
    return kinds[op];
}

BlkRequest *blk_submit(BlockBackend *blk, const BlockIo *io, BlkDone *done, void *opaque)
{
    return submit(blk, blk_stat_kind(io->op), io, done, opaque);
}

BlkRequest *blk_submit_sg(BlockBackend *blk, const BlockIo *io, BlkDone *done, void *opaque)
{
    return submit_any(blk, BLK_STAT_KINDS, io, NULL, done, opaque);
}

BlkRequest *blk_status_above(BlockBackend *blk, uint64_t offset, uint64_t len, BlockStatus *status,
                             int *depth, BlkDone *done, void *opaque)
{
    BlockIo io = {.op = BLOCK_STATUS, .offset = offset, .len = len, .status = status};

    *depth = 0;
    return submit_any(blk, BLK_STAT_KINDS, &io, depth, done, opaque);
}

static bool cancel_queued(BlockBackend *blk, BlkRequest *request)
{
    for (BlkRequest **p = &blk->queued; *p; p = &(*p)->next) {
        if (*p == request) {
            *p = request->next;
            if (blk->queued_tail == &request->next) {
                blk->queued_tail = p;
            }
            blk->n_queued--;
            blk->in_flight++;
            block_loop_finish_later(blk->loop, &request->io, -ECANCELED);
            return true;
        }
    }
    return false;
}

void blk_cancel(BlkRequest *request)
{
    if (request->gate) {
        blk_home_cancel(request);
    } else if (!cancel_queued(request->blk, request)) {
        blk_cancel_started(request, request->blk->loop);
    }
}

void blk_cancel_started(BlkRequest *request, BlockLoop *loop)
{
    if (request->blk->throttle && throttle_member_cancel(request->blk->throttle, &request->io)) {
        block_loop_finish_later(loop, &request->io, -ECANCELED);
        return;
    }
    for (unsigned i = 0; i < BLOCK_AIO_KINDS; i++) {
        if (loop->engines[i] && loop->engines[i]->ops->cancel(loop->engines[i], &request->io)) {
            return;
        }
    }
    if (request->io.op == BLOCK_SG) {
        blk_cancel_sg(request->blk, &request->io);
    }
}

void blk_plug(BlockBackend *blk)
{
    if (!blk->home) {
        block_loop_plug(blk->plug_loop);
    }
}

void blk_unplug(BlockBackend *blk)
{
    if (!blk->home) {
        block_loop_unplug(blk->plug_loop);
    }
}

/* ---- drained sections and loops ------------------------------------------------------------- */

bool blk_root_busy(const BlockBackend *blk)
{
    return blk->in_flight || !blk_gates_idle(blk);
}

bool blk_root_gates_busy(const BlockBackend *blk)
{
    return !blk_gates_stopped(blk);
}

void blk_root_drain_begin(BlockBackend *blk)
{
    blk->quiesced++;
    if (blk->throttle) {
        throttle_member_drain_begin(blk->throttle);
    }
    blk_gates_hold(blk);
}

void blk_root_drain_end(BlockBackend *blk)
{
    if (blk->throttle) {
        throttle_member_drain_end(blk->throttle);
    }
    if (blk->quiesced) {
        blk_gates_go(blk);
    }
    if (blk->quiesced && --blk->quiesced == 0) {
        while (blk->queued && !blk->quiesced) {
            BlkRequest *request = blk->queued;

            blk->queued = request->next;
            if (!blk->queued) {
                blk->queued_tail = &blk->queued;
            }
            blk->n_queued--;
            blk_start_request(blk, request);
        }
    }
}

void blk_root_set_loop(BlockBackend *blk, BlockLoop *loop)
{
    blk->loop = loop;
}

void blk_root_detach_loop(BlockBackend *blk)
{
    if (blk->throttle) {
        throttle_member_detach_loop(blk->throttle);
    }
}

void blk_root_attach_loop(BlockBackend *blk)
{
    if (blk->throttle) {
        throttle_member_attach_loop(blk->throttle, blk->loop);
    }
    blk_gates_moved(blk);
}

bool block_tree_has_device(BlockNode *node, const BlockBackend *but)
{
    g_autoptr(GPtrArray) tree = block_node_tree(node);

    for (unsigned i = 0; i < tree->len; i++) {
        const BlockNode *n = g_ptr_array_index(tree, i);

        for (unsigned j = 0; j < n->parents->len; j++) {
            const BlockChild *child = g_ptr_array_index(n->parents, j);

            if (child->blk && child->blk != but && child->blk->ops && !blk_needs_home(child->blk)) {
                return true;
            }
        }
    }
    return false;
}

bool blk_roots_need_homes(BlockNode *node, BlockLoop *loop, GError **err)
{
    g_autoptr(GPtrArray) tree = block_node_tree(node);

    for (unsigned i = 0; i < tree->len; i++) {
        const BlockNode *n = g_ptr_array_index(tree, i);

        for (unsigned j = 0; j < n->parents->len; j++) {
            BlockBackend *blk = ((const BlockChild *)g_ptr_array_index(n->parents, j))->blk;

            if (blk && blk_needs_home(blk) && !loop->is_main && !blk_make_home(blk, err)) {
                return false;
            }
        }
    }
    return true;
}

BlockLoop *blk_device_loop(const BlockBackend *blk)
{
    return blk_needs_home(blk) ? block_loop_main(blk->vm) : blk->loop;
}

static void detach_in_owner(void *opaque)
{
    blk_gates_hold(opaque);
    blk_gates_wait(opaque);
    blk_root_detach_loop(opaque);
}

static void attach_in_owner(void *opaque)
{
    blk_root_attach_loop(opaque);
    blk_gates_go(opaque);
}

/* Without a medium. */
static void set_empty_loop(BlockBackend *blk, BlockLoop *to)
{
    blk_drain(blk);
    block_loop_call(blk->loop, detach_in_owner, blk);
    blk->loop = to;
    block_loop_call(to, attach_in_owner, blk);
}

bool blk_can_set_loop(const BlockBackend *blk, const Loop *loop)
{
    return blk->loop->loop == loop || !blk->root || !block_tree_has_device(blk->root->node, blk);
}

bool blk_set_loop(BlockBackend *blk, Loop *loop, GError **err)
{
    BlockLoop *to;

    if (blk->loop->loop == loop) {
        blk->plug_loop = blk->loop;
        return true;
    }
    to = block_loop_get(blk->vm, loop, err);
    if (!to) {
        return false;
    }
    if (!blk_can_set_loop(blk, loop)) {
        return error_set(err, "Cannot change iothread of active block backend");
    }
    if (blk->root) {
        if (!blk_roots_need_homes(blk->root->node, to, err)) {
            return false;
        }
        block_node_set_loop(blk->root->node, to);
    } else {
        set_empty_loop(blk, to);
    }
    blk->plug_loop = to;
    return true;
}

Loop *blk_loop(const BlockBackend *blk)
{
    return blk->loop->loop;
}

void blk_release_loop(Vm *vm, Loop *loop)
{
    BlockState *s = vm->block;

    for (unsigned i = 0; s && i < s->loops->len; i++) {
        BlockLoop *l = g_ptr_array_index(s->loops, i);

        if (l->loop == loop && !l->is_main) {
            block_loop_release(l);
            return;
        }
    }
}

static void drain_in_owner(void *opaque)
{
    BlockBackend *blk = opaque;

    if (blk->throttle) {
        throttle_member_drain_begin(blk->throttle);
    }
    blk_hurry_sg(blk);
    blk_gates_hold(blk);
    blk_gates_wait(blk);
    blk_gates_go(blk);
    if (blk->throttle) {
        throttle_member_drain_end(blk->throttle);
    }
}

static void limits_off(void *opaque) { throttle_member_drain_begin(((BlockBackend *)opaque)->throttle); }
static void limits_on(void *opaque) { throttle_member_drain_end(((BlockBackend *)opaque)->throttle); }

/* Where the device's requests go through a gate, it submits the next one from the end of the last. */
static void drain_home(void *opaque)
{
    BlockBackend *blk = opaque;
    const bool limited = blk->throttle != NULL;

    if (limited) {
        block_loop_call(blk->loop, limits_off, blk);
    }
    blk_home_drain(blk);
    if (limited) {
        block_loop_call(blk->loop, limits_on, blk);
    }
}

void blk_drain(BlockBackend *blk)
{
    if (blk->home) {
        block_loop_call(block_loop_main(blk->vm), drain_home, blk);
    } else {
        block_loop_call(blk->loop, drain_in_owner, blk);
    }
}

void blk_drain_all(Vm *vm)
{
    BlockState *s = vm->block;

    for (unsigned i = 0; s && i < s->backends->len; i++) {
        blk_drain(g_ptr_array_index(s->backends, i));
    }
    for (unsigned i = 0; s && i < s->nodes->len; i++) {
        BlockNode *node = g_ptr_array_index(s->nodes, i);

        if (!node->parents->len || ((BlockChild *)g_ptr_array_index(node->parents, 0))->blk) {
            block_drain_begin(node);
            block_drain_end(node);
        }
    }
}

/* ---- limits --------------------------------------------------------------------------------- */

/* Nothing new comes meanwhile, so that a device that always has something to do does not keep us. */
static void change_throttle(BlockBackend *blk)
{
    BlockNode *node = blk_node(blk);

    if (node) {
        block_drain_begin(node);
    } else {
        blk_drain(blk);
    }
    g_clear_pointer(&blk->throttle, throttle_member_free);
    if (node) {
        block_drain_end(node);
    }
}

bool blk_set_throttle(BlockBackend *blk, const char *group, const struct ThrottleConfig *config,
                      GError **err)
{
    ThrottleGroup *g;

    if (!throttle_config_check(config, err)) {
        return false;
    }
    if (!throttle_config_is_on(config) ||
        (group && blk->throttle &&
         strcmp(group, throttle_group_name(throttle_member_group(blk->throttle))))) {
        change_throttle(blk);
    }
    if (!throttle_config_is_on(config)) {
        return true;
    }
    if (!blk->throttle) {
        BlockNode *node = blk_node(blk);

        if (node) {
            block_drain_begin(node); /* gates have to learn of it */
        }
        g = throttle_group_get(blk->vm, group ? group : blk_qdev_name(blk));
        blk->throttle = throttle_member_new(g, blk->loop, throttled_go, blk);
        throttle_group_unref(g);
        for (unsigned i = 0; i < blk->quiesced; i++) {
            throttle_member_drain_begin(blk->throttle);
        }
        if (node) {
            block_drain_end(node);
        }
    }
    throttle_group_set_config(throttle_member_group(blk->throttle), config);
    return true;
}

struct ThrottleGroup *blk_throttle_group(const BlockBackend *blk)
{
    return blk->throttle ? throttle_member_group(blk->throttle) : NULL;
}

/* ---- reading at once ------------------------------------------------------------------------ */

typedef struct NowRead {
    BlockBackend *blk;
    uint64_t offset;
    struct iovec iov;
    int result;
} NowRead;

static void now_read_done(void *opaque, int result) { ((NowRead *)opaque)->result = result; }

static void read_in_device_loop(void *opaque)
{
    NowRead *read = opaque;

    submit_read(read->blk, BLK_STAT_KINDS, read->offset, &read->iov, 1, now_read_done, read);
    blk_drain(read->blk);
}

int blk_read_now(BlockBackend *blk, uint64_t offset, void *buf, size_t len)
{
    NowRead read = {blk, offset, {buf, len}, -ECANCELED};

    block_loop_call(blk_device_loop(blk), read_in_device_loop, &read);
    return read.result;
}

/* ---- flushing and sizes --------------------------------------------------------------------- */

static void flush_in_owner(void *opaque)
{
    int *result = ((void **)opaque)[1];

    *result = block_pflush(((void **)opaque)[0]);
}

int blk_flush_all(Vm *vm)
{
    int first_error = 0;

    for (unsigned i = 0; vm->block && i < vm->block->backends->len; i++) {
        BlockBackend *blk = g_ptr_array_index(vm->block->backends, i);

        if (blk->root && !blk->root->node->read_only) {
            int result = 0;
            void *args[] = {blk->root->node, &result};

            block_loop_call(blk->loop, flush_in_owner, args);
            first_error = first_error ? first_error : result;
        }
    }
    return first_error;
}

void blk_root_resized(BlockBackend *blk, uint64_t old_size)
{
    if (align_up(old_size, BLOCK_SECTOR) == blk_size(blk) || !blk->ops || !blk->ops->resized) {
        return;
    }
    if (blk->home) {
        blk_home_resized(blk);
    } else {
        blk->ops->resized(blk->opaque);
    }
}
