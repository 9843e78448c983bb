/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests to images that are only read: each is split into pieces by the driver's map. */
#include <errno.h>
#include <zlib.h>

#include "block/formats/mapped.h"

/* Of one request, and of the buffers of all: a guest may read gigabytes at once. */
#define PIECES_MAX 128
#define UNPACKING_MAX (32 * MIB)

typedef struct MappedRead {
    BlockNode *node;
    BlockIo *outer;
    uint64_t pos;     /* split up to here */
    unsigned pending; /* pieces, and one for the splitting itself */
    bool crowded;     /* goes on when some pieces have ended */
    int result;
} MappedRead;

struct PackedRead {
    BlockIo io;
    MappedRead *read;
    MappedPiece piece;
    uint64_t pos, len; /* of the part in the request */
    uint8_t *packed, *unpacked;
    struct iovec iov;
    PackedRead *next;
};

/* ---- opening -------------------------------------------------------------------------------- */

bool mapped_damaged(const BlockNode *node, GError **err, const char *format, ...)
{
    g_autofree char *why = NULL;
    va_list ap;

    va_start(ap, format);
    why = g_strdup_vprintf(format, ap);
    va_end(ap);
    return error_set(err, "Image '%s' is no %s image that can be read: %s",
                     node->file && node->file->node->filename ? node->file->node->filename
                                                              : node->name,
                     node->drv->name, why);
}

bool mapped_open(BlockNode *node, BlockOpts *opts, const MappedFormat *format, GError **err)
{
    MappedState *m = node->state;

    m->format = format;
    if (!node->read_only && !node->auto_read_only) {
        return error_set(err,
                         "Images of format '%s' can only be read: add read-only=on, or convert the "
                         "image (kiln-img convert -O qcow2)",
                         node->drv->name);
    }
    node->read_only = true;
    if (!block_open_child(node, opts, "file",
                          BLOCK_ROLE_PRIMARY | BLOCK_ROLE_DATA | BLOCK_ROLE_METADATA, false, err)) {
        return false;
    }
    node->filename = g_strdup(node->file->node->filename);
    return true;
}

bool mapped_read(BlockNode *file, uint64_t offset, void *buf, size_t len, const char *what,
                 GError **err)
{
    int ret;

    if (!range_fits(offset, len, file->size)) {
        return error_set(err, "Could not read the %s of '%s': it ends before byte %" PRIu64, what,
                         file->filename ? file->filename : file->name, offset + len);
    }
    ret = block_pread(file, offset, buf, len);
    if (ret < 0) {
        return error_set(err, "Could not read the %s of '%s': %s", what,
                         file->filename ? file->filename : file->name, strerror(-ret));
    }
    return true;
}

void *mapped_read_table(BlockNode *file, uint64_t offset, uint64_t len, const char *what,
                        GError **err)
{
    g_autofree void *table = NULL;

    if (len > MAPPED_TABLES_MAX) {
        error_set(err, "Could not read the %s of '%s': it is larger than %" PRIu64 " MiB", what,
                  file->filename ? file->filename : file->name, MAPPED_TABLES_MAX / MIB);
        return NULL;
    }
    if (!range_fits(offset, len, file->size)) { /* before memory is spent on it */
        error_set(err, "Could not read the %s of '%s': it lies beyond the end of the file", what,
                  file->filename ? file->filename : file->name);
        return NULL;
    }
    table = g_try_malloc(MAX(len, 1));
    if (!table) {
        error_set(err, "Could not read the %s of '%s': no memory for %" PRIu64 " bytes", what,
                  file->filename ? file->filename : file->name, len);
        return NULL;
    }
    return mapped_read(file, offset, table, len, what, err) ? g_steal_pointer(&table) : NULL;
}

/* ---- reading -------------------------------------------------------------------------------- */

static void read_on(MappedRead *r);

static void part_ended(MappedRead *r, int result)
{
    BlockIo *outer = r->outer;

    if (result < 0 && !r->result) {
        r->result = result;
    }
    --r->pending;
    if (r->crowded && r->pending <= PIECES_MAX / 2) {
        r->crowded = false;
        read_on(r);
    } else if (!r->pending) {
        result = r->result;
        g_free(r);
        outer->done(outer, result);
    }
}

static void slice_done(BlockIo *io, int result)
{
    MappedRead *r = io->opaque;

    block_io_free(r->node, io);
    part_ended(r, result);
}

static void read_slice(MappedRead *r, BlockNode *from, uint64_t offset, uint64_t pos, uint64_t len)
{
    BlockIo *io = block_io_new(r->node);

    io->op = BLOCK_READ;
    io->offset = offset;
    io->len = len;
    io->done = slice_done;
    io->opaque = r;
    block_io_slice(io, r->outer, pos, len);
    r->pending++;
    block_node_submit(from, io);
}

/* In a worker thread. */
static int unpack(BlockIo *io)
{
    PackedRead *p = container_of(io, PackedRead, io);
    uint32_t marker = p->piece.marker_len, len;
    uLongf got = p->piece.unpacked_len;
    int ret;

    if (p->piece.packed_len <= marker) {
        return -EIO;
    }
    len = load32_le(p->packed + marker - 4);
    if (len > p->piece.packed_len - marker) {
        return -EIO;
    }
    ret = uncompress(p->unpacked, &got, p->packed + marker, len);
    /* The last piece of a disk may be cut short. */
    return ret == Z_OK && p->piece.skip + p->len <= got ? 0 : -EIO;
}

static uint64_t buffers_len(const MappedPiece *piece) { return (uint64_t)piece->packed_len + piece->unpacked_len; }

static bool has_room(const MappedState *m, const MappedPiece *piece)
{
    return !m->unpacking || m->unpacking + buffers_len(piece) <= UNPACKING_MAX;
}

static void packed_start(PackedRead *p);

static void packed_free(PackedRead *p, int result)
{
    MappedRead *r = p->read;
    MappedState *m = r->node->state;

    m->unpacking -= buffers_len(&p->piece);
    g_free(p->packed);
    g_free(p->unpacked);
    g_free(p);
    while (m->waiting && has_room(m, &m->waiting->piece)) {
        PackedRead *next = m->waiting;

        m->waiting = next->next;
        packed_start(next);
    }
    part_ended(r, result);
}

static void unpacked(BlockIo *io, int result)
{
    PackedRead *p = container_of(io, PackedRead, io);
    BlockIo *outer = p->read->outer;

    if (result >= 0) {
        iov_from_buf(outer->iov, outer->iov_count, p->pos, p->unpacked + p->piece.skip, p->len);
    }
    packed_free(p, result);
}

static void packed_read(BlockIo *io, int result)
{
    PackedRead *p = container_of(io, PackedRead, io);

    if (result < 0) {
        packed_free(p, result);
        return;
    }
    p->io = (BlockIo){.run = unpack, .finish = unpacked};
    block_io_run_in_thread(p->read->node, &p->io);
}

/* In a loop of its own: it is called from where others end. */
static void packed_fails(BlockIo *io, int result) { packed_free(container_of(io, PackedRead, io), result); }

static void packed_start(PackedRead *p)
{
    const MappedPiece *piece = &p->piece;

    ((MappedState *)p->read->node->state)->unpacking += buffers_len(piece);
    p->packed = g_try_malloc(piece->packed_len);
    p->unpacked = g_try_malloc(piece->unpacked_len);
    if (!p->packed || !p->unpacked) {
        p->io = (BlockIo){.done = packed_fails};
        block_io_finish_later(p->read->node, &p->io, -ENOMEM);
        return;
    }
    p->iov = (struct iovec){p->packed, piece->packed_len};
    p->io = (BlockIo){.op = BLOCK_READ,
                      .offset = piece->offset,
                      .len = piece->packed_len,
                      .iov = &p->iov,
                      .iov_count = 1,
                      .done = packed_read};
    block_node_submit(piece->file, &p->io);
}

static void read_packed(MappedRead *r, const MappedPiece *piece, uint64_t pos, uint64_t len)
{
    MappedState *m = r->node->state;
    PackedRead *p = g_new0(PackedRead, 1);

    p->read = r;
    p->piece = *piece;
    p->pos = pos;
    p->len = len;
    r->pending++;
    if (!m->waiting && has_room(m, piece)) {
        packed_start(p);
        return;
    }
    m->waiting_tail = m->waiting ? m->waiting_tail : &m->waiting;
    *m->waiting_tail = p;
    m->waiting_tail = &p->next;
}

/* What the backing file has; zeros after its end. */
static void read_backing(MappedRead *r, uint64_t pos, uint64_t len)
{
    BlockNode *backing = r->node->backing ? r->node->backing->node : NULL;
    uint64_t offset = r->outer->offset + pos;
    uint64_t there = backing && offset < backing->size ? MIN(len, backing->size - offset) : 0;

    if (there) {
        read_slice(r, backing, offset, pos, there);
    }
    iov_fill(r->outer->iov, r->outer->iov_count, pos + there, 0, len - there);
}

static void read_piece(MappedRead *r, const MappedPiece *piece, uint64_t pos, uint64_t len)
{
    BlockIo *outer = r->outer;

    switch (piece->kind) {
    case MAPPED_ZERO:
        iov_fill(outer->iov, outer->iov_count, pos, 0, len);
        break;
    case MAPPED_ABSENT:
        read_backing(r, pos, len);
        break;
    case MAPPED_DATA:
        read_slice(r, piece->file, piece->offset, pos, len);
        break;
    case MAPPED_PACKED:
        read_packed(r, piece, pos, len);
        break;
    }
}

/* The file may end within a piece (its rest reads as zeros), but not before it. */
static bool piece_is_there(const MappedPiece *piece)
{
    uint64_t size = piece->kind >= MAPPED_DATA ? block_node_size(piece->file) : 0;

    return piece->kind < MAPPED_DATA ||
           (piece->kind == MAPPED_DATA ? piece->offset < size
                                       : range_fits(piece->offset, piece->packed_len, size));
}

/* Splits as far as it goes. True: all of it. */
static bool split(MappedRead *r)
{
    const MappedState *m = r->node->state;
    const BlockIo *io = r->outer;

    while (r->pos < io->len && !r->result) {
        MappedPiece piece = m->format->map(r->node, io->offset + r->pos);
        uint64_t len = MIN(piece.len, io->len - r->pos), pos = r->pos;

        if (r->pending > PIECES_MAX) {
            r->crowded = true;
            return false;
        }
        if (!piece_is_there(&piece)) {
            r->result = -EIO;
            break;
        }
        r->pos += len;
        read_piece(r, &piece, pos, len);
    }
    return true;
}

static void read_on(MappedRead *r)
{
    if (split(r)) {
        part_ended(r, 0);
    }
}

static void read_pieces(BlockNode *node, BlockIo *io)
{
    MappedRead *r = g_new0(MappedRead, 1);

    *r = (MappedRead){.node = node, .outer = io, .pending = 1};
    if (!split(r)) {
        return;
    }
    if (r->pending == 1) { /* nothing is under way: done must not run inside submit */
        int result = r->result;

        g_free(r);
        block_io_finish_later(node, io, result);
        return;
    }
    part_ended(r, 0);
}

/* ---- status --------------------------------------------------------------------------------- */

static bool pieces_join(const MappedPiece *a, uint64_t a_len, const MappedPiece *b)
{
    return a->kind == b->kind &&
           (a->kind != MAPPED_DATA || (a->file == b->file && a->offset + a_len == b->offset));
}

static void find_status(BlockNode *node, BlockIo *io)
{
    const MappedState *m = node->state;
    MappedPiece first = m->format->map(node, io->offset);
    uint64_t len = MIN(first.len, io->len);

    while (len < io->len) {
        MappedPiece next = m->format->map(node, io->offset + len);

        if (!pieces_join(&first, len, &next)) {
            break;
        }
        len += MIN(next.len, io->len - len);
    }
    *io->status = (BlockStatus){.bytes = len,
                                .allocated = first.kind != MAPPED_ABSENT,
                                .data = first.kind >= MAPPED_DATA,
                                .zero = first.kind == MAPPED_ZERO ||
                                        (first.kind == MAPPED_ABSENT && !node->backing),
                                .compressed = first.kind == MAPPED_PACKED,
                                .has_offset = first.kind == MAPPED_DATA,
                                .host_offset = first.kind == MAPPED_DATA ? first.offset : 0,
                                .file = first.kind == MAPPED_DATA ? first.file : NULL};
}

void mapped_submit(BlockNode *node, BlockIo *io)
{
    if (io->op == BLOCK_FLUSH) {
        block_io_finish_later(node, io, 0);
    } else if (io->op != BLOCK_READ && io->op != BLOCK_STATUS) {
        block_io_finish_later(node, io, -EPERM);
    } else if (io->op == BLOCK_STATUS && io->offset >= node->size) {
        *io->status = (BlockStatus){0};
        block_io_finish_later(node, io, 0);
    } else if (io->op == BLOCK_STATUS) {
        io->len = MIN(io->len, node->size - io->offset);
        find_status(node, io);
        block_io_finish_later(node, io, 0);
    } else if (!range_fits(io->offset, io->len, node->size)) {
        block_io_finish_later(node, io, -EIO);
    } else {
        read_pieces(node, io);
    }
}

void mapped_close(BlockNode *node)
{
    MappedState *m = node->state;

    g_clear_pointer(&m->table, g_free);
}

void mapped_get_info(BlockNode *node, BlockInfo *info)
{
    const MappedState *m = node->state;

    info->cluster_size = m->table ? m->block_size : 0;
}
