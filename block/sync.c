/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests that the caller waits for: what open, jobs and tools are written with. And what walks
 * along backing files.
 */
#include <errno.h>

#include "block/dirty_bitmap.h"

typedef struct SyncRequest {
    BlockNode *node;
    BlockIo *io;
    int result;
    bool done;
    bool from_outside; /* another thread waits on cond */
    BlockLoop *loop;   /* that it was given to */
    pthread_mutex_t lock;
    pthread_cond_t cond;
} SyncRequest;

static void sync_done(BlockIo *io, int result)
{
    SyncRequest *r = io->opaque;

    if (!r->from_outside) {
        r->result = result;
        r->done = true;
        return;
    }
    r->node->extern_flight--;
    pthread_mutex_lock(&r->lock);
    r->result = result;
    r->done = true;
    pthread_cond_signal(&r->cond);
    pthread_mutex_unlock(&r->lock);
}

/* In the owner, or in who was it when the request was posted. Only an owner gives its nodes away, so here node->loop is
 * either this thread's, and stays, or another's, to whom the request follows. */
static void start_extern(void *opaque)
{
    SyncRequest *r = opaque;
    BlockNode *node = r->node;
    BlockState *s = r->loop->state;

    pthread_mutex_lock(&s->loops_lock);
    if (node->loop != r->loop) {
        r->loop = node->loop;
        loop_post(r->loop->loop, start_extern, r);
        pthread_mutex_unlock(&s->loops_lock);
        return;
    }
    pthread_mutex_unlock(&s->loops_lock);
    if (node->quiesced) {
        r->io->next = node->extern_waiting;
        node->extern_waiting = r->io;
    } else {
        node->extern_flight++;
        block_node_submit(node, r->io);
    }
}

void block_node_start_extern(BlockNode *node)
{
    BlockIo *list = node->extern_waiting;

    node->extern_waiting = NULL;
    while (list) {
        BlockIo *io = list;

        list = io->next;
        start_extern(io->opaque);
    }
}

/* Gives r to the owner. The main loop's may be any thread that holds the VM lock: this one. */
static void post_extern(SyncRequest *r)
{
    Vm *vm = r->node->vm;
    BlockState *s = block_state(vm);

    for (;;) {
        BlockLoop *loop;
        bool is_main;

        pthread_mutex_lock(&s->loops_lock);
        loop = r->loop = r->node->loop;
        is_main = loop->is_main;
        if (!is_main) {
            loop_post(loop->loop, start_extern, r); /* under the lock: the loop lives as long as it owns nodes */
        }
        pthread_mutex_unlock(&s->loops_lock);
        if (!is_main) {
            return;
        }
        vm_lock(vm);
        if (r->node->loop == loop) {
            start_extern(r);
            vm_unlock(vm);
            return;
        }
        vm_unlock(vm);
    }
}

static int submit_from_outside(SyncRequest *r)
{
    r->from_outside = true;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->cond, NULL);
    post_extern(r);
    pthread_mutex_lock(&r->lock);
    while (!r->done) {
        block_cond_wait(r->node->vm, &r->cond, &r->lock);
    }
    pthread_mutex_unlock(&r->lock);
    pthread_cond_destroy(&r->cond);
    pthread_mutex_destroy(&r->lock);
    return r->result;
}

static bool is_owner(BlockNode *node)
{
    BlockState *s = block_state(node->vm);
    bool owner;

    pthread_mutex_lock(&s->loops_lock);
    owner = block_loop_is_owner(node->loop);
    pthread_mutex_unlock(&s->loops_lock);
    return owner;
}

int block_psubmit(BlockNode *node, BlockIo *io)
{
    SyncRequest r = {.node = node, .io = io};

    io->done = sync_done;
    io->opaque = &r;
    if (!is_owner(node)) {
        return submit_from_outside(&r);
    }
    block_node_submit(node, io);
    while (!r.done) {
        bool waited = block_loop_wait(node->loop);

        g_assert(r.done || waited); /* a request that nothing will end */
    }
    return r.result;
}

/* ---- the usual ones ------------------------------------------------------------------------- */

static BlockIo with_flags(BlockOp op, uint64_t offset, uint64_t len, unsigned flags)
{
    return (BlockIo){.op = op,
                     .offset = offset,
                     .len = len,
                     .fua = flags & BLOCK_FLAG_FUA,
                     .may_unmap = flags & BLOCK_FLAG_MAY_UNMAP,
                     .no_fallback = flags & BLOCK_FLAG_NO_FALLBACK,
                     .compressed = flags & BLOCK_FLAG_COMPRESSED,
                     .precise = flags & BLOCK_FLAG_PRECISE};
}

int block_pread(BlockNode *node, uint64_t offset, void *buf, size_t len)
{
    struct iovec iov = {buf, len};
    BlockIo io = with_flags(BLOCK_READ, offset, len, 0);

    io.iov = &iov;
    io.iov_count = 1;
    return len ? block_psubmit(node, &io) : 0;
}

int block_pwrite(BlockNode *node, uint64_t offset, const void *buf, size_t len, unsigned flags)
{
    struct iovec iov = {(void *)buf, len};
    BlockIo io = with_flags(BLOCK_WRITE, offset, len, flags);

    io.iov = &iov;
    io.iov_count = 1;
    return len ? block_psubmit(node, &io) : 0;
}

int block_pzero(BlockNode *node, uint64_t offset, uint64_t len, unsigned flags)
{
    BlockIo io = with_flags(BLOCK_ZERO, offset, len, flags);

    return len ? block_psubmit(node, &io) : 0;
}

int block_pdiscard(BlockNode *node, uint64_t offset, uint64_t len)
{
    BlockIo io = with_flags(BLOCK_DISCARD, offset, len, 0);

    return len ? block_psubmit(node, &io) : 0;
}

int block_pflush(BlockNode *node)
{
    BlockIo io = with_flags(BLOCK_FLUSH, 0, 0, 0);

    return block_psubmit(node, &io);
}

int block_pstatus(BlockNode *node, uint64_t offset, uint64_t len, unsigned flags,
                  BlockStatus *status)
{
    uint64_t size = block_node_size(node);
    BlockIo io;

    *status = (BlockStatus){.zero = true};
    if (offset >= size || !len) {
        return 0;
    }
    io = with_flags(BLOCK_STATUS, offset, MIN(len, size - offset), flags);
    io.status = status;
    return block_psubmit(node, &io);
}

int block_pstatus_above(BlockNode *node, BlockNode *base, uint64_t offset, uint64_t len,
                        unsigned flags, BlockStatus *status, int *depth)
{
    BlockNode *at = node;
    int layer = 0, found = -1, ret;

    for (; at && at != base; at = block_node_backing(at), layer++) {
        uint64_t size = block_node_size(at);

        if (offset >= size) {
            /* A shorter layer: the rest of it reads as zeros, and nothing below counts. */
            *status = (BlockStatus){.bytes = len, .zero = true, .allocated = layer > 0};
            found = layer ? layer : -1;
            break;
        }
        ret = block_pstatus(at, offset, len, flags, status);
        if (ret < 0) {
            return ret;
        }
        len = MIN(len, status->bytes);
        if (status->allocated) {
            found = layer;
            break;
        }
    }
    if (found < 0) {
        *status = (BlockStatus){.bytes = status->bytes, .zero = !at || status->zero};
    }
    status->bytes = MIN(status->bytes, len);
    if (depth) {
        *depth = found;
    }
    return 0;
}

/* ---- sizes and layers ----------------------------------------------------------------------- */

typedef struct TruncateCall {
    BlockNode *node;
    uint64_t size;
    bool exact, ok;
    BlockPrealloc prealloc;
    GError **err;
} TruncateCall;

static void truncate_in_owner(void *opaque)
{
    TruncateCall *t = opaque;

    t->ok = t->node->drv->truncate(t->node, t->size, t->exact, t->prealloc, t->err);
}

bool block_ptruncate(BlockNode *node, uint64_t size, bool exact, BlockPrealloc prealloc,
                     GError **err)
{
    TruncateCall t = {node, size, exact, false, prealloc, err};

    if (!node->drv->truncate) {
        return error_set(err, "Image format driver '%s' does not support resize", node->drv->name);
    }
    if (node->read_only) {
        return error_set(err, "Image is read-only");
    }
    if (size > INT64_MAX) {
        return error_set(err, "Required too big image size, it must be not greater than %" PRId64,
                         INT64_MAX);
    }
    if (!block_dirty_bitmaps_check_resize(node, size, err)) {
        return false;
    }
    block_drain_begin(node);
    block_loop_call(node->loop, truncate_in_owner, &t);
    block_drain_end(node);
    return t.ok;
}

BlockNode *block_node_skip_filters(BlockNode *node)
{
    while (node && node->drv->is_filter && node->children->len) {
        node = ((BlockChild *)g_ptr_array_index(node->children, 0))->node;
    }
    return node;
}

bool block_node_packs(BlockNode *node)
{
    return block_node_skip_filters(node)->drv->packs;
}

BlockNode *block_node_skip_implicit(BlockNode *node)
{
    while (node && node->implicit) {
        node = node->file->node;
    }
    return node;
}

BlockNode *block_node_backing(BlockNode *node)
{
    node = block_node_skip_filters(node);
    return node && node->backing ? node->backing->node : NULL;
}

int64_t block_node_allocated_size(BlockNode *node)
{
    int64_t sum = 0;

    if (node->drv->allocated_size) {
        return node->drv->allocated_size(node);
    }
    if (node->drv->is_filter && node->children->len) {
        return block_node_allocated_size(
            ((BlockChild *)g_ptr_array_index(node->children, 0))->node);
    }
    for (unsigned i = 0; i < node->children->len; i++) {
        const BlockChild *child = g_ptr_array_index(node->children, i);
        int64_t size = child->role & (BLOCK_ROLE_DATA | BLOCK_ROLE_METADATA | BLOCK_ROLE_FILTERED)
                           ? block_node_allocated_size(child->node) : 0;

        if (size < 0) {
            return -1;
        }
        sum += size;
    }
    return node->children->len ? sum : -1;
}
