/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Compressed grains of VMware disks (streamOptimized): each is packed once, in a worker thread, and added at the end of
 * the file in the order in which the grains were written, whatever packing takes. A grain that is there is not written
 * again, and only whole ones are.
 */
#include <errno.h>
#include <zlib.h>

#include "block/formats/vmdk.h"

/* Under way at once; each takes two or three grains of memory. */
#define PACKS_MAX 32

typedef struct StreamWrite StreamWrite;

typedef struct Pack {
    BlockIo io;
    StreamWrite *w;
    uint64_t grain, sector; /* its number; where it begins on the disk */
    uint8_t *in, *out; /* out: marker and data, up to the end of a sector */
    uint32_t in_len, out_len;
    uint64_t place; /* bytes, in the file */
    struct iovec iov;
    bool packed;
    int error; /* of packing */
    GList link;
} Pack;

struct StreamWrite {
    BlockIo *outer;
    uint64_t pos;     /* started up to here */
    unsigned pending; /* packs */
    int result;
    StreamWrite *next;
};

struct VmdkStream {
    BlockNode *node;
    VmdkExtent *extent;
    GQueue packs;   /* Pack *, in the order of their grains in the file; those without a place at the end */
    GList *unplaced; /* the first of those; NULL: all have one */
    StreamWrite *writes, **writes_tail; /* that are not started to their ends */
};

static void advance(VmdkStream *st);

/* ---- one grain ---------------------------------------------------------------------------------- */

/* A part of it has: a grain, or its start. */
static void write_part_ended(VmdkStream *st, StreamWrite *w, int result)
{
    BlockIo *outer = w->outer;

    if (result < 0 && !w->result) {
        w->result = result;
    }
    if (--w->pending) {
        return;
    }
    if (outer->fua && !w->result) {
        outer->op = BLOCK_FLUSH;
        mapped_submit(st->node, outer);
    } else {
        block_io_finish_later(st->node, outer, w->result);
    }
    g_free(w);
}

static void pack_end(VmdkStream *st, Pack *p, int result)
{
    StreamWrite *w = p->w;

    g_queue_unlink(&st->packs, &p->link);
    g_free(p->in);
    g_free(p->out);
    g_free(p);
    write_part_ended(st, w, result);
    advance(st);
}

static void pack_written(BlockIo *io, int result)
{
    VmdkStream *st = io->opaque;
    Pack *p = container_of(io, Pack, io);

    if (result >= 0) {
        vmdk_sparse_enter(st->extent->sparse, p->grain, (uint32_t)(p->place / BLOCK_SECTOR));
    }
    pack_end(st, p, result);
}

/* In a worker thread. */
static int pack(BlockIo *io)
{
    Pack *p = container_of(io, Pack, io);
    uLongf len = compressBound(p->in_len);

    p->out = g_try_malloc(align_up(VMDK_MARKER_SIZE + len, BLOCK_SECTOR));
    if (!p->out) {
        return -ENOMEM;
    }
    if (compress(p->out + VMDK_MARKER_SIZE, &len, p->in, p->in_len) != Z_OK) {
        return -EIO;
    }
    p->out_len = (uint32_t)align_up(VMDK_MARKER_SIZE + len, BLOCK_SECTOR);
    store64_le(p->out, p->sector);
    store32_le(p->out + 8, (uint32_t)len);
    memset(p->out + VMDK_MARKER_SIZE + len, 0, p->out_len - VMDK_MARKER_SIZE - len);
    return 0;
}

/* Those whose turn it is get their places. */
static void place_packs(VmdkStream *st)
{
    while (st->unplaced && ((Pack *)st->unplaced->data)->packed) {
        Pack *p = st->unplaced->data;
        int64_t at = p->error ? p->error : vmdk_sparse_take(st->extent->sparse, p->out_len);

        st->unplaced = p->link.next;
        p->place = (uint64_t)at;
        p->iov = (struct iovec){p->out, p->out_len};
        p->io = (BlockIo){.op = BLOCK_WRITE,
                          .offset = p->place,
                          .len = p->out_len,
                          .iov = &p->iov,
                          .iov_count = 1,
                          .done = pack_written,
                          .opaque = st};
        if (at < 0) {
            block_io_finish_later(st->node, &p->io, (int)at);
        } else {
            block_node_submit(st->extent->child->node, &p->io);
        }
    }
}

static void pack_done(BlockIo *io, int result)
{
    VmdkStream *st = io->opaque;
    Pack *p = container_of(io, Pack, io);

    p->packed = true;
    p->error = MIN(result, 0);
    place_packs(st);
}

static void pack_start(VmdkStream *st, StreamWrite *w, uint64_t grain, uint32_t len)
{
    const BlockIo *outer = w->outer;
    Pack *p = g_new0(Pack, 1);

    p->w = w;
    p->grain = grain;
    p->sector = (outer->offset + w->pos) / BLOCK_SECTOR;
    p->in = g_malloc0(len);
    p->in_len = len;
    p->link.data = p;
    if (outer->op == BLOCK_WRITE) {
        iov_to_buf(outer->iov, outer->iov_count, w->pos, p->in, len);
    }
    g_queue_push_tail_link(&st->packs, &p->link);
    st->unplaced = st->unplaced ? st->unplaced : &p->link;
    w->pending++;
    p->io = (BlockIo){.run = pack, .finish = pack_done, .opaque = st};
    block_io_run_in_thread(st->node, &p->io);
}

/* ---- requests ----------------------------------------------------------------------------------- */

static bool is_being_packed(const VmdkStream *st, uint64_t grain)
{
    for (const GList *l = st->packs.head; l; l = l->next) {
        if (((const Pack *)l->data)->grain == grain) {
            return true;
        }
    }
    return false;
}

/* The grain at w->pos. 0 or -errno. */
static int start_grain(VmdkStream *st, StreamWrite *w)
{
    const BlockIo *outer = w->outer;
    VmdkSparse *s = st->extent->sparse;
    uint64_t offset = outer->offset + w->pos, grain = offset / s->grain;
    MappedKind kind = vmdk_sparse_map(s, st->extent->child->node, offset).kind;

    if (kind == MAPPED_PACKED || is_being_packed(st, grain)) {
        return -EIO;
    }
    if (outer->op == BLOCK_ZERO && (kind == MAPPED_ZERO || !st->node->backing)) {
        return 0;
    }
    if (outer->op == BLOCK_ZERO && s->zeroed) {
        vmdk_sparse_enter(s, grain, 1);
        return 0;
    }
    pack_start(st, w, grain, (uint32_t)MIN(s->grain, st->extent->len - offset));
    return 0;
}

/* Starts what there is room for. */
static void advance(VmdkStream *st)
{
    while (st->writes) {
        StreamWrite *w = st->writes;

        while (w->pos < w->outer->len && !w->result) {
            if (st->packs.length >= PACKS_MAX) {
                return;
            }
            w->result = start_grain(st, w);
            w->pos += st->extent->sparse->grain;
        }
        st->writes = w->next;
        write_part_ended(st, w, 0);
    }
}

void vmdk_stream_write(BlockNode *node, BlockIo *io)
{
    VmdkStream *st = ((Vmdk *)node->state)->stream;
    const VmdkSparse *s = st->extent->sparse;
    uint64_t end = io->offset + io->len;
    StreamWrite *w;

    if (io->op == BLOCK_DISCARD) {
        block_io_finish_later(node, io, 0);
        return;
    }
    if (io->offset % s->grain || (end % s->grain && end != st->extent->len)) {
        block_io_finish_later(node, io, -EINVAL);
        return;
    }
    w = g_new0(StreamWrite, 1);
    w->outer = io;
    w->pending = 1; /* until all is started */
    st->writes_tail = st->writes ? st->writes_tail : &st->writes;
    *st->writes_tail = w;
    st->writes_tail = &w->next;
    if (st->writes == w) {
        advance(st);
    }
}

VmdkStream *vmdk_stream_new(BlockNode *node)
{
    VmdkStream *st = g_new0(VmdkStream, 1);

    st->node = node;
    st->extent = ((Vmdk *)node->state)->extents;
    g_queue_init(&st->packs);
    return st;
}

void vmdk_stream_free(VmdkStream *st)
{
    g_free(st);
}
