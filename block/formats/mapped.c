/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images of other programs: opening them, and reads, each split into pieces by the driver's map. */
#include <errno.h>
#include <zlib.h>

#include "block/formats/mapped_int.h"
#include "util/log.h"

/* Of one request, and of the buffers of all: a guest may read gigabytes at once. */
#define PIECES_MAX 128
#define UNPACKING_MAX (32 * MIB)

struct PackedRead {
    BlockIo io;
    MappedRequest *read;
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
    if (!format->start_writing && !node->read_only && !node->auto_read_only) {
        return error_set(err,
                         "Images of format '%s' can only be read: add read-only=on, or convert the "
                         "image (kiln-img convert -O qcow2)",
                         node->drv->name);
    }
    node->read_only |= !format->start_writing;
    if (!block_open_child(node, opts, "file",
                          BLOCK_ROLE_PRIMARY | BLOCK_ROLE_DATA | BLOCK_ROLE_METADATA, false, err)) {
        return false;
    }
    node->filename = g_strdup(node->file->node->filename);
    return true;
}

bool mapped_opened(BlockNode *node, GError **err)
{
    if (node->read_only || mapped_start_writer(node, err)) {
        return true;
    }
    mapped_close(node);
    return false;
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

uint64_t mapped_whole_sectors(const BlockNode *file, uint64_t offset, uint64_t len)
{
    uint64_t whole = align_up(len, BLOCK_SECTOR);

    return range_fits(offset, whole, file->size) ? whole : len;
}

/* ---- requests ------------------------------------------------------------------------------- */

static void request_end(MappedRequest *r)
{
    BlockIo *outer = r->outer;
    int result = r->result;

    if (r->end) {
        r->end(r);
        return;
    }
    g_free(r);
    outer->done(outer, result);
}

/* Starts pieces as far as it goes. True: all of them. */
static bool split(MappedRequest *r)
{
    while (r->pos < r->outer->len && !r->result) {
        if (r->pending > PIECES_MAX) {
            r->crowded = true;
            return false;
        }
        if (!r->step(r)) {
            return false;
        }
    }
    return true;
}

void mapped_piece_ended(MappedRequest *r, int result)
{
    if (result < 0 && !r->result) {
        r->result = result;
    }
    --r->pending;
    if (r->crowded && r->pending <= PIECES_MAX / 2) {
        r->crowded = false;
        mapped_request_go(r);
    } else if (!r->pending) {
        request_end(r);
    }
}

void mapped_request_go(MappedRequest *r)
{
    if (split(r)) {
        mapped_piece_ended(r, 0);
    }
}

void mapped_request_start(BlockNode *node, BlockIo *outer, bool (*step)(MappedRequest *r), void (*end)(MappedRequest *r))
{
    MappedRequest *r = g_new0(MappedRequest, 1);

    *r = (MappedRequest){.node = node, .outer = outer, .step = step, .end = end, .pending = 1};
    if (!split(r)) {
        return;
    }
    if (r->pending == 1) { /* nothing is under way: done must not run inside submit */
        int result = r->result;

        g_free(r);
        block_io_finish_later(node, outer, result);
        return;
    }
    mapped_piece_ended(r, 0);
}

static void slice_done(BlockIo *io, int result)
{
    MappedRequest *r = io->opaque;

    block_io_free(r->node, io);
    mapped_piece_ended(r, result);
}

void mapped_request_slice(MappedRequest *r, BlockNode *file, uint64_t offset, uint64_t pos, uint64_t len)
{
    BlockIo *io = block_io_new(r->node), *outer = r->outer;

    io->op = outer->op;
    io->fua = outer->fua && !r->needs_cycle;
    io->may_unmap = outer->may_unmap;
    io->no_fallback = outer->no_fallback;
    io->offset = offset;
    io->len = len;
    io->done = slice_done;
    io->opaque = r;
    if (outer->iov) {
        block_io_slice(io, outer, pos, len);
    }
    r->pending++;
    block_node_submit(file, io);
}

/* ---- compressed pieces ----------------------------------------------------------------------- */

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
    MappedRequest *r = p->read;
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
    mapped_piece_ended(r, result);
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

static void read_packed(MappedRequest *r, const MappedPiece *piece, uint64_t pos, uint64_t len)
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

/* ---- reading -------------------------------------------------------------------------------- */

/* What the backing file has; zeros after its end. */
static void read_backing(MappedRequest *r, uint64_t pos, uint64_t len)
{
    BlockNode *backing = r->node->backing ? r->node->backing->node : NULL;
    uint64_t offset = r->outer->offset + pos;
    uint64_t there = backing && offset < backing->size ? MIN(len, backing->size - offset) : 0;

    if (there) {
        mapped_request_slice(r, backing, offset, pos, there);
    }
    iov_fill(r->outer->iov, r->outer->iov_count, pos + there, 0, len - there);
}

static void read_piece(MappedRequest *r, const MappedPiece *piece, uint64_t pos, uint64_t len)
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
        mapped_request_slice(r, piece->file, piece->offset, pos, len);
        break;
    case MAPPED_PACKED:
        read_packed(r, piece, pos, len);
        break;
    }
}

bool mapped_piece_is_there(const MappedPiece *piece)
{
    uint64_t size = piece->kind >= MAPPED_DATA ? block_node_size(piece->file) : 0;

    return piece->kind < MAPPED_DATA ||
           (piece->kind == MAPPED_DATA ? piece->offset < size
                                       : range_fits(piece->offset, piece->packed_len, size));
}

static bool read_step(MappedRequest *r)
{
    const MappedState *m = r->node->state;
    MappedPiece piece = m->format->map(r->node, r->outer->offset + r->pos);
    uint64_t len = MIN(piece.len, r->outer->len - r->pos), pos = r->pos;

    if (!mapped_piece_is_there(&piece)) {
        r->result = -EIO;
        return true;
    }
    r->pos += len;
    read_piece(r, &piece, pos, len);
    return true;
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

/* Requests that end without a look at the tables. 1: it needs one. */
static int screen(const BlockNode *node, const BlockIo *io)
{
    const MappedState *m = node->state;
    bool changes = io->op == BLOCK_WRITE || io->op == BLOCK_ZERO || io->op == BLOCK_DISCARD;

    if (io->op == BLOCK_FLUSH) {
        return m->writer && !node->read_only;
    }
    if (io->op != BLOCK_READ && io->op != BLOCK_STATUS && (!changes || node->read_only || !m->writer)) {
        return -EPERM;
    }
    if (io->op == BLOCK_STATUS) {
        return io->offset < node->size;
    }
    if (!range_fits(io->offset, io->len, node->size)) {
        return -EIO;
    }
    if (io->compressed) {
        return -ENOTSUP;
    }
    return io->len && (io->op != BLOCK_DISCARD || node->discard_unmap);
}

void mapped_submit(BlockNode *node, BlockIo *io)
{
    const MappedState *m = node->state;
    int verdict = screen(node, io);

    if (verdict <= 0 || io->op == BLOCK_STATUS) {
        if (io->op == BLOCK_STATUS) {
            *io->status = (BlockStatus){0};
        }
        if (verdict > 0) {
            io->len = MIN(io->len, node->size - io->offset);
            find_status(node, io);
        }
        block_io_finish_later(node, io, MIN(verdict, 0));
    } else if (io->op == BLOCK_FLUSH) {
        mapped_join_cycle(m->writer, io);
    } else if (io->op == BLOCK_READ) {
        mapped_request_start(node, io, read_step, NULL);
    } else {
        mapped_submit_change(node, io);
    }
}

/* ---- the image ------------------------------------------------------------------------------- */

void mapped_close(BlockNode *node)
{
    MappedState *m = node->state;
    int ret = m->writer ? block_pflush(node) : 0;

    if (ret < 0) {
        report_error("%s: could not write out '%s' when it was closed: %s", node->drv->name, node->name, g_strerror(-ret));
    }
    mapped_free_writer(node);
    g_clear_pointer(&m->table, g_free);
}

/* From read-write to read-only everything must be on the disk before the file is reopened; the other way, the tables must
 * be such that they can be written. */
bool mapped_reopen_prepare(BlockReopen *reopen, GError **err)
{
    BlockNode *node = reopen->node;
    MappedState *m = node->state;
    int ret = m->writer ? block_pflush(node) : 0;

    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not write out '%s'", node->name);
    }
    if (!m->format->start_writing && !reopen->read_only && reopen->auto_read_only) {
        reopen->read_only = true;
    }
    m->was_shared |= node->force_share;
    if (!reopen->read_only && m->was_shared) {
        return error_set(err, "'%s' was opened with force-share=on, and others may have changed it since: it cannot become "
                              "writable as it is; close it (blockdev-del) and open it again", node->name);
    }
    if (reopen->read_only || m->writer) {
        return true;
    }
    if (!m->format->start_writing) {
        return error_set(err, "Images of format '%s' can only be read", node->drv->name);
    }
    return mapped_start_writer(node, err);
}

void mapped_get_info(BlockNode *node, BlockInfo *info)
{
    const MappedState *m = node->state;

    info->cluster_size = m->table ? m->block_size : 0;
}
