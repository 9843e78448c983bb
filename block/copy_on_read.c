/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * copy-on-read: what is read from a backing file is written into the image above it, so that it is
 * read from there the next time. Whole clusters are copied.
 *
 * A copy must not undo a write that came meanwhile: copies wait for the writes that overlap them, and
 * the other way round. With bottom=NODE, only what that node or one above it decides is copied, not what comes from below.
 * When the copy cannot be written, the read succeeds all the same.
 */
#include <errno.h>

#include "block/block_int.h"

#define COPY_MAX (1 * MIB)

typedef struct CorRequest {
    BlockNode *node;
    BlockIo *outer;
    BlockIo io;
    uint64_t start, end; /* of what must not be touched meanwhile */
    bool is_copy;
    uint64_t chunk_start, chunk_len; /* a copy's present piece */
    BlockStatus status;
    BlockNode *layer; /* of the chain, that status is about */
    bool copies;      /* the present piece */
    uint8_t *buf;
    struct iovec iov;
    GList link;
    struct CorRequest *next;
} CorRequest;

typedef struct CorState {
    GQueue active;                       /* CorRequest (link) */
    CorRequest *waiting, **waiting_tail; /* in order */
    uint64_t cluster;
    BlockNode *bottom; /* a reference; NULL: the whole chain */
} CorState;

static void request_start(CorRequest *r);

static bool overlaps(const CorRequest *a, const CorRequest *b)
{
    return (a->is_copy || b->is_copy) && a->start < b->end && b->start < a->end;
}

static bool must_wait(const CorState *c, const CorRequest *r)
{
    for (GList *l = c->active.head; l; l = l->next) {
        if (overlaps(l->data, r)) {
            return true;
        }
    }
    for (const CorRequest *w = c->waiting; w; w = w->next) {
        if (overlaps(w, r)) {
            return true;
        }
    }
    return false;
}

static void request_enter(CorRequest *r)
{
    CorState *c = r->node->state;

    if (must_wait(c, r)) {
        r->next = NULL;
        *c->waiting_tail = r;
        c->waiting_tail = &r->next;
        return;
    }
    r->link.data = r;
    g_queue_push_tail_link(&c->active, &r->link);
    request_start(r);
}

static void request_end(CorRequest *r, int result)
{
    CorState *c = r->node->state;
    CorRequest *list = c->waiting;
    BlockIo *outer = r->outer;

    g_queue_unlink(&c->active, &r->link);
    c->waiting = NULL;
    c->waiting_tail = &c->waiting;
    while (list) {
        CorRequest *w = list;

        list = w->next;
        request_enter(w);
    }
    free(r->buf);
    g_free(r);
    outer->done(outer, result);
}

/* ---- copying, piece by piece ---------------------------------------------------------------- */

static void copy_next(CorRequest *r);

static void submit_piece(CorRequest *r, BlockOp op, void (*done)(BlockIo *io, int result))
{
    r->iov = (struct iovec){r->buf, r->chunk_len};
    r->io = (BlockIo){.op = op,
                      .unchanged = op == BLOCK_WRITE,
                      .offset = r->chunk_start,
                      .len = r->chunk_len,
                      .iov = &r->iov,
                      .iov_count = 1,
                      .done = done};
    block_node_submit(r->node->file->node, &r->io);
}

static void piece_copied(BlockIo *io, int result)
{
    CorRequest *r = container_of(io, CorRequest, io);

    (void)result; /* the copy is a favour */
    r->chunk_start += r->chunk_len;
    copy_next(r);
}

/* The guest gets its part before anything else is done with the data. */
static void piece_read(BlockIo *io, int result)
{
    CorRequest *r = container_of(io, CorRequest, io);
    uint64_t from = MAX(r->chunk_start, r->outer->offset);
    uint64_t to = MIN(r->chunk_start + r->chunk_len, r->outer->offset + r->outer->len);

    if (result < 0) {
        request_end(r, result);
        return;
    }
    if (from < to) {
        iov_from_buf(r->outer->iov, r->outer->iov_count, from - r->outer->offset,
                     r->buf + (from - r->chunk_start), to - from);
    }
    if (!r->copies) {
        piece_copied(io, 0);
    } else {
        block_debug_event(r->node->file->node, "cor_write");
        submit_piece(r, BLOCK_WRITE, piece_copied);
    }
}

static BlockNode *next_layer(const BlockNode *layer)
{
    return layer->backing ? block_node_skip_filters(layer->backing->node) : NULL;
}

static bool in_chain(const BlockNode *node, const BlockNode *below)
{
    for (BlockNode *layer = block_node_skip_filters(node->file->node); layer; layer = next_layer(layer)) {
        if (layer == below) {
            return true;
        }
    }
    return false;
}

static void ask_layer(CorRequest *r, BlockNode *layer);

/* Asks layer after layer who decides what the piece holds; it may become shorter on the way. */
static void piece_status(BlockIo *io, int result)
{
    CorRequest *r = container_of(io, CorRequest, io);
    const BlockNode *bottom = ((const CorState *)r->node->state)->bottom;
    bool is_top = r->layer == block_node_skip_filters(r->node->file->node);
    BlockNode *next = bottom && r->layer != bottom ? next_layer(r->layer) : NULL;

    if (result < 0 || !r->status.bytes) {
        r->copies = false; /* then it is only read */
    } else {
        r->chunk_len = MIN(r->chunk_len, r->status.bytes);
        if (!r->status.allocated && next) {
            ask_layer(r, next);
            return;
        }
        r->copies = r->status.allocated ? !is_top : !bottom;
    }
    submit_piece(r, BLOCK_READ, piece_read);
}

static void ask_layer(CorRequest *r, BlockNode *layer)
{
    uint64_t size = block_node_size(layer);

    if (r->chunk_start >= size) { /* behind the end of a backing file: its zeros */
        r->copies = true;
        submit_piece(r, BLOCK_READ, piece_read);
        return;
    }
    r->chunk_len = MIN(r->chunk_len, size - r->chunk_start);
    r->layer = layer;
    r->io = (BlockIo){.op = BLOCK_STATUS,
                      .offset = r->chunk_start,
                      .len = r->chunk_len,
                      .status = &r->status,
                      .done = piece_status};
    block_node_submit(layer, &r->io);
}

static void copy_next(CorRequest *r)
{
    if (r->chunk_start >= r->end) {
        request_end(r, 0);
        return;
    }
    r->chunk_len = MIN(r->end - r->chunk_start, COPY_MAX);
    ask_layer(r, block_node_skip_filters(r->node->file->node));
}

/* ---- requests ------------------------------------------------------------------------------- */

static void write_done(BlockIo *io, int result)
{
    request_end(container_of(io, CorRequest, io), result);
}

static void request_start(CorRequest *r)
{
    if (!r->is_copy) {
        r->io = *r->outer;
        r->io.done = write_done;
        block_node_submit(r->node->file->node, &r->io);
    } else if (posix_memalign((void **)&r->buf, 4096, MIN(r->end - r->start, COPY_MAX))) {
        r->buf = NULL;
        r->is_copy = false; /* read it without copying */
        request_start(r);
    } else {
        r->chunk_start = r->start;
        copy_next(r);
    }
}

static void cor_submit(BlockNode *node, BlockIo *io)
{
    const CorState *c = node->state;
    BlockNode *image = block_node_skip_filters(node);
    CorRequest *r;

    if (io->op == BLOCK_FLUSH || io->op == BLOCK_STATUS ||
        (io->op == BLOCK_READ && (!image->backing || (c->bottom && !in_chain(node, c->bottom)))) || !io->len) {
        block_node_submit(node->file->node, io);
        return;
    }
    r = g_new0(CorRequest, 1);
    r->node = node;
    r->outer = io;
    r->is_copy = io->op == BLOCK_READ;
    r->start = r->is_copy ? align_down(io->offset, c->cluster) : io->offset;
    r->end = io->offset + io->len;
    if (r->is_copy) {
        r->end = MAX(r->end, MIN(align_up(r->end, c->cluster), block_node_size(node)));
    }
    request_enter(r);
}

static bool cor_busy(BlockNode *node)
{
    const CorState *c = node->state;

    return c->active.length || c->waiting;
}

/* ---- life ----------------------------------------------------------------------------------- */

static void cor_close(BlockNode *node)
{
    block_node_unref(((CorState *)node->state)->bottom);
}

/* bottom=NAME: a node of the chain, with a reference. */
static bool find_bottom(BlockNode *node, const char *name, BlockNode **bottom, GError **err)
{
    BlockNode *found = block_node_find(node->vm, name);

    if (!found) {
        return error_set(err, "Bottom node '%s' not found", name);
    }
    if (found->drv->is_filter) {
        return error_set(err, "Bottom node '%s' is a filter; name the image below it", name);
    }
    if (!in_chain(node, found)) {
        return error_set(err, "Bottom node '%s' is none of '%s' and its backing files", name, node->file->node->name);
    }
    *bottom = found;
    block_node_ref(found);
    return true;
}

static bool cor_open(BlockNode *node, BlockOpts *opts, GError **err)
{
    CorState *c = node->state;
    g_autofree char *bottom = block_opts_take(opts, "bottom");
    BlockInfo info = {0};
    BlockNode *image;

    if (!block_filter_open_file(node, opts, err) || (bottom && !find_bottom(node, bottom, &c->bottom, err))) {
        return false;
    }
    if (node->file->node->read_only) {
        return error_set(err, "Block node is read-only: '%s' cannot take copies; leave read-only=on or the copy-on-read filter out",
                         node->file->node->name);
    }
    c->waiting_tail = &c->waiting;
    g_queue_init(&c->active);
    image = block_node_skip_filters(node->file->node);
    if (image->drv->get_info) {
        image->drv->get_info(image, &info);
    }
    c->cluster = is_power_of_two(info.cluster_size) ? info.cluster_size : BLOCK_SECTOR;
    return true;
}

/* Copies are written with "write unchanged". */
static void cor_child_perm(BlockNode *node, const BlockChild *child, uint32_t used, uint32_t shared,
                           uint32_t *child_used, uint32_t *child_shared)
{
    *child_used = used | (used && !child->node->read_only ? BLOCK_PERM_WRITE_UNCHANGED : 0);
    *child_shared = shared;
}

const BlockDriver block_driver_copy_on_read = {
    .name = "copy-on-read",
    .is_filter = true,
    .state_size = sizeof(CorState),
    .open = cor_open,
    .close = cor_close,
    .submit = cor_submit,
    .child_perm = cor_child_perm,
    .child_resized = block_filter_child_resized,
    .refresh_limits = block_filter_refresh_limits,
    .drain_busy = cor_busy,
    .truncate = block_filter_truncate,
};
