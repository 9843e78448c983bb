/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests that change images of other programs: in place, or into a block that gets its place now.
 * When the tables in the file follow is told in mapped.h; mapped_cycle.c does it.
 */
#include <errno.h>

#include "block/formats/mapped_int.h"

/* What is written at the end of a block at least to make the file so long. */
#define TAIL_MIN (4 * KIB)

/* A block on its way into the image. */
typedef struct Fresh {
    MappedRequest *r; /* whose data it gets */
    MappedBlock block;
    uint64_t from, to;  /* bytes of the disk that r changes */
    uint64_t unwritten; /* nothing was ever written to the file from here on: it reads as zeros */
    uint64_t end;       /* of what is written now */
    unsigned pending;
    int result;
    MappedRequest *waiting; /* for the same block */
    GList link;
} Fresh;

/* A piece of a block beside r's data. */
typedef struct Part {
    BlockIo io;
    Fresh *f;
    struct iovec iov;
    uint64_t offset, len; /* in the file */
    uint8_t *buf;
} Part;

static MappedWriter *writer_of(const BlockNode *node)
{
    return ((MappedState *)node->state)->writer;
}

static const MappedFormat *format_of(const BlockNode *node)
{
    return ((MappedState *)node->state)->format;
}

/* ---- requests that wait ------------------------------------------------------------------------ */

/* Those of a list go on, the oldest, which is its last, first. */
static void resume(MappedRequest *list)
{
    MappedRequest *next, *oldest = NULL;

    for (; list; list = next) {
        next = list->next;
        list->next = oldest;
        oldest = list;
    }
    for (; oldest; oldest = next) {
        next = oldest->next;
        mapped_request_go(oldest);
    }
}

void mapped_resume_held(MappedWriter *w)
{
    MappedRequest *held = w->held;

    w->held = NULL;
    resume(held);
}

/* ---- a new block's parts ------------------------------------------------------------------------ */

static void fresh_end(Fresh *f)
{
    MappedRequest *r = f->r, *waiting = f->waiting;
    int result = f->result;

    if (result < 0) {
        format_of(r->node)->give_back(r->node, &f->block);
    } else {
        format_of(r->node)->enter(r->node, &f->block);
    }
    g_queue_unlink(&writer_of(r->node)->fresh, &f->link);
    g_free(f);
    mapped_piece_ended(r, result);
    resume(waiting);
}

static void fresh_part_ended(Fresh *f, int result)
{
    if (result < 0 && !f->result) {
        f->result = result;
    }
    if (!--f->pending) {
        fresh_end(f);
    }
}

static void part_done(BlockIo *io, int result)
{
    Part *p = container_of(io, Part, io);
    Fresh *f = p->f;

    g_free(p->buf);
    g_free(p);
    fresh_part_ended(f, result);
}

static Part *part_new(Fresh *f, uint64_t offset, uint64_t len)
{
    Part *p = g_new0(Part, 1);

    p->f = f;
    p->offset = offset;
    p->len = len;
    f->pending++;
    f->end = MAX(f->end, offset + len);
    return p;
}

static void part_zero(Fresh *f, uint64_t offset, uint64_t len)
{
    Part *p = part_new(f, offset, len);

    p->io = (BlockIo){.op = BLOCK_ZERO, .offset = offset, .len = len, .may_unmap = true, .done = part_done};
    block_node_submit(f->block.child->node, &p->io);
}

/* Its buffer. */
static void part_write(Part *p)
{
    p->iov = (struct iovec){p->buf, p->len};
    p->io = (BlockIo){
        .op = BLOCK_WRITE, .offset = p->offset, .len = p->len, .iov = &p->iov, .iov_count = 1, .done = part_done};
    block_node_submit(p->f->block.child->node, &p->io);
}

static void write_mark(Fresh *f)
{
    const MappedBlock *b = &f->block;
    Part *p = part_new(f, b->offset - b->marked, b->marked);

    p->buf = g_malloc(b->marked);
    memset(p->buf, 0xff, b->marked);
    part_write(p);
}

static void copy_read(BlockIo *io, int result)
{
    if (result < 0) {
        part_done(io, result);
    } else {
        part_write(container_of(io, Part, io));
    }
}

/* Bytes [from, to) of the disk as the backing file has them, of which there are some. */
static void copy_part(Fresh *f, BlockNode *backing, uint64_t from, uint64_t to)
{
    Part *p = part_new(f, f->block.offset + from - f->block.start, to - from);

    p->buf = g_try_malloc0(p->len);
    if (!p->buf) {
        p->io.done = part_done;
        block_io_finish_later(f->r->node, &p->io, -ENOMEM);
        return;
    }
    p->iov = (struct iovec){p->buf, MIN(p->len, backing->size - from)};
    p->io = (BlockIo){
        .op = BLOCK_READ, .offset = from, .len = p->iov.iov_len, .iov = &p->iov, .iov_count = 1, .done = copy_read};
    block_node_submit(backing, &p->io);
}

/* Bytes [from, to), from block.start on, become zeros where the file has something else. */
static void zero_part(Fresh *f, uint64_t from, uint64_t to)
{
    uint64_t shift = f->block.offset - f->block.start, end = MIN(to + shift, f->unwritten);

    if (from + shift < end) {
        part_zero(f, from + shift, end - from - shift);
    }
}

/* What is around r's data; backing NULL: zeros. */
static void edge(Fresh *f, BlockNode *backing, uint64_t from, uint64_t to)
{
    if (from < to && backing && from < backing->size) {
        copy_part(f, backing, from, to);
    } else if (from < to) {
        zero_part(f, from, to);
    }
}

static void data_done(BlockIo *io, int result)
{
    Fresh *f = io->opaque;

    block_io_free(f->r->node, io);
    fresh_part_ended(f, result);
}

static void write_data(Fresh *f)
{
    const MappedBlock *b = &f->block;
    MappedRequest *r = f->r;
    BlockIo *io = block_io_new(r->node);

    io->op = BLOCK_WRITE;
    io->offset = b->offset + f->from - b->start;
    io->done = data_done;
    io->opaque = f;
    block_io_slice(io, r->outer, f->from - r->outer->offset, f->to - f->from);
    f->pending++;
    f->end = MAX(f->end, io->offset + io->len);
    block_node_submit(b->child->node, io);
}

/* ---- a new block ------------------------------------------------------------------------------- */

/* From where on the file was never written to; from now on it is, up to end. */
static uint64_t take_extent(MappedWriter *w, const BlockChild *child, uint64_t end)
{
    MappedExtent *e = NULL;
    uint64_t before;

    for (unsigned i = 0; i < w->extents->len && (!e || e->child != child); i++) {
        e = &g_array_index(w->extents, MappedExtent, i);
    }
    if (!e || e->child != child) {
        g_array_append_vals(w->extents, &(MappedExtent){.child = child}, 1);
        e = &g_array_index(w->extents, MappedExtent, w->extents->len - 1);
    }
    before = MAX(e->end, block_node_size(child->node));
    e->end = MAX(before, end);
    /* Only files grow, with zeros; what lies behind the end of anything else is anybody's guess. */
    return strcmp(child->node->drv->name, "file") ? UINT64_MAX : before;
}

/* r's data at r->pos, as far as the block goes, with the block around it. */
static void fresh_start(MappedRequest *r, const MappedBlock *b, BlockNode *backing)
{
    MappedWriter *w = writer_of(r->node);
    const BlockIo *outer = r->outer;
    uint64_t end = b->offset + b->file_len, tail;
    Fresh *f = g_new0(Fresh, 1);

    f->r = r;
    f->block = *b;
    f->from = outer->offset + r->pos;
    f->to = MIN(outer->offset + outer->len, b->start + b->len);
    f->unwritten = take_extent(w, b->child, end);
    f->link.data = f;
    g_queue_push_tail_link(&w->fresh, &f->link);
    r->pos += f->to - f->from;
    r->pending++;
    r->needs_cycle |= outer->fua;
    f->pending = 1;
    if (b->marked) {
        write_mark(f);
    }
    edge(f, backing, b->start, f->from);
    if (outer->op == BLOCK_WRITE) {
        write_data(f);
    } else {
        zero_part(f, f->from, f->to);
    }
    edge(f, backing, f->to, b->start + b->len);
    zero_part(f, b->start + b->len, b->start + b->file_len);
    if (f->end < end) { /* what is left are zeros of a longer file */
        tail = MAX(f->end, end - MIN(TAIL_MIN, b->file_len));
        part_zero(f, tail, end - tail);
    }
    f->pending--; /* others are under way: none has ended yet */
}

/* ---- requests ---------------------------------------------------------------------------------- */

static Fresh *fresh_at(const MappedWriter *w, uint64_t offset)
{
    for (GList *l = w->fresh.head; l; l = l->next) {
        Fresh *f = l->data;

        if (offset >= f->block.start && offset - f->block.start < f->block.len) {
            return f;
        }
    }
    return NULL;
}

static bool change_in_place(MappedRequest *r, const MappedPiece *piece, uint64_t len)
{
    uint64_t pos = r->pos;

    if (piece->kind == MAPPED_PACKED || !mapped_piece_is_there(piece)) {
        r->result = -EIO;
        return true;
    }
    r->pos += len;
    r->needs_cycle |= r->outer->fua && mapped_is_dirty(writer_of(r->node));
    mapped_request_slice(r, piece->file, piece->offset, pos, len);
    return true;
}

/* Zeros for the block at r->pos, where a backing file may have something. */
static void zero_block(MappedRequest *r, const MappedBlock *b, BlockNode *backing)
{
    const MappedFormat *format = format_of(r->node);
    const BlockIo *outer = r->outer;
    uint64_t from = outer->offset + r->pos, to = outer->offset + outer->len;

    if (from == b->start && to - from >= b->len && format->enter_zeros) {
        format->give_back(r->node, b);
        format->enter_zeros(r->node, b);
        r->pos += b->len;
        r->needs_cycle |= outer->fua;
    } else if (outer->no_fallback) {
        format->give_back(r->node, b);
        r->result = -ENOTSUP;
    } else {
        fresh_start(r, b, backing);
    }
}

/* Where the image has nothing, len bytes at least as much as it has nothing of. */
static bool change_unplaced(MappedRequest *r, MappedKind kind, uint64_t len)
{
    MappedWriter *w = writer_of(r->node);
    const MappedFormat *format = format_of(r->node);
    BlockNode *backing = kind == MAPPED_ABSENT && r->node->backing ? r->node->backing->node : NULL;
    BlockOp op = r->outer->op;
    MappedBlock block = {0};

    if (op == BLOCK_DISCARD || (op == BLOCK_ZERO && !backing)) {
        r->pos += len;
        return true;
    }
    if (format->settle && w->stage == MAPPED_AHEAD) {
        r->next = w->held;
        w->held = r;
        return false;
    }
    r->result = format->place ? format->place(r->node, r->outer->offset + r->pos, &block) : -EIO;
    if (r->result == 0 && op == BLOCK_ZERO) {
        zero_block(r, &block, backing);
    } else if (r->result == 0) {
        fresh_start(r, &block, backing);
    }
    return true;
}

/* The header that has to go out before the first change is there, or not: requests go on, or fail. */
static void begun(BlockIo *io, int result)
{
    MappedWriter *w = container_of(io, MappedWriter, begin);
    MappedRequest *before = w->before;

    w->before = NULL;
    w->beginning = false;
    for (MappedRequest *r = before; r; r = r->next) {
        r->result = MIN(result, 0);
    }
    resume(before);
}

static void begin(MappedWriter *w, MappedRequest *r)
{
    r->next = w->before;
    w->before = r;
    if (!w->beginning) {
        w->beginning = true;
        w->begin = (BlockIo){.op = BLOCK_FLUSH, .done = begun};
        mapped_join_cycle(w, &w->begin);
    }
}

static bool change_step(MappedRequest *r)
{
    uint64_t offset = r->outer->offset + r->pos, len;
    MappedWriter *w = writer_of(r->node);
    Fresh *f = fresh_at(w, offset);
    MappedPiece piece;

    if (!w->begun && format_of(r->node)->journal) {
        begin(w, r);
        return false;
    }

    if (f) {
        r->next = f->waiting;
        f->waiting = r;
        return false;
    }
    piece = format_of(r->node)->map(r->node, offset);
    len = MIN(piece.len, r->outer->len - r->pos);
    return piece.kind >= MAPPED_DATA ? change_in_place(r, &piece, len) : change_unplaced(r, piece.kind, len);
}

static void change_end(MappedRequest *r)
{
    BlockIo *outer = r->outer;
    int result = r->result;
    MappedWriter *w = r->needs_cycle && !result ? writer_of(r->node) : NULL;

    g_free(r);
    if (w) {
        mapped_join_cycle(w, outer);
    } else {
        outer->done(outer, result);
    }
}

void mapped_submit_change(BlockNode *node, BlockIo *io)
{
    mapped_request_start(node, io, change_step, change_end);
}
