/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Copying between nodes with many requests at once: what convert and commit are made of.
 *
 * The work is cut into pieces, one a slot: a slot reads its data, then writes what is not zero. Reads
 * end in any order. Writes begin in the order of the offsets (in_order), which decides how a growing
 * image is laid out, or as the data comes. All in the main loop; only the copy's own requests run.
 */
#include "block/file_int.h"
#include "img/img.h"

/* Data of the page cache stays in the CPU's between reading and writing, and file systems with large folios find
 * memory for short writes at a quarter of the CPU time that long ones take. */
#define PIECE_CACHED (64 * KIB)
#define PIECE_UNCACHED (1 * MIB)
#define ZERO_MAX (1 * GIB)
#define OFFLOAD_MAX (16 * MIB) /* the tool waits for it */
#define SLOTS_MAX 16

typedef enum SlotState { SLOT_FREE, SLOT_READING, SLOT_READY, SLOT_WRITING } SlotState;

typedef struct Copier Copier;

typedef struct Slot {
    Copier *copier;
    SlotState state;
    uint64_t offset, len;
    uint8_t *buf;     /* buf_size */
    bool zero;        /* nothing was read: zeros */
    unsigned pending; /* requests */
    int read_error;
} Slot;

struct Copier {
    const ImgCopy *copy;
    BlockLoop *loop;
    Slot slots[SLOTS_MAX];
    uint64_t buf_size;
    bool offload;                /* ImgCopy.offload, and it has not been refused yet */
    uint64_t next;               /* offset of the first piece that has no slot */
    uint64_t started, written;   /* pieces in slots; pieces whose writes have begun (in_order) */
    uint64_t done;               /* bytes */
    int64_t begin_us;
    int error;
    uint64_t failed_at;
    bool failed_reading;
};

static void fail_at(Copier *c, int error, uint64_t offset, bool reading)
{
    if (!c->error) {
        c->error = error;
        c->failed_at = offset;
        c->failed_reading = reading;
    }
}

/* ---- writing -------------------------------------------------------------------------------- */

static void slot_end(Slot *slot)
{
    slot->copier->done += slot->len;
    slot->pending = 0;
    slot->state = SLOT_FREE;
}

static void write_done(BlockIo *io, int result)
{
    Slot *slot = io->opaque;
    Copier *c = slot->copier;

    if (result < 0) {
        fail_at(c, result, slot->offset, false);
    }
    block_io_free(c->copy->target, io);
    if (!--slot->pending) {
        slot_end(slot);
    }
}

static void submit_write(Slot *slot, uint64_t pos, uint64_t len, bool zero)
{
    BlockNode *target = slot->copier->copy->target;
    BlockIo *io = block_io_new(target);

    io->op = zero ? BLOCK_ZERO : BLOCK_WRITE;
    io->offset = slot->offset + pos;
    io->len = len;
    io->may_unmap = zero;
    io->compressed = !zero && slot->copier->copy->compressed;
    io->inline_iov[0] = (struct iovec){zero ? NULL : slot->buf + pos, len};
    io->iov = io->inline_iov;
    io->iov_count = zero ? 0 : 1;
    io->done = write_done;
    io->opaque = slot;
    slot->pending++;
    block_node_submit(target, io);
}

static bool is_zero(const uint8_t *buf, uint64_t len)
{
    struct iovec iov = {(void *)buf, len};

    return block_iov_is_zero(&iov, 1);
}

/* How far from pos on it is all zeros, or all not, in steps of the sparse size. */
static uint64_t run_length(const Slot *slot, uint64_t pos, uint64_t step, bool *zero)
{
    uint64_t end = pos;

    for (bool first = true; end < slot->len; first = false) {
        /* The first step ends where the target's does. */
        uint64_t stop = MIN(slot->len, align_down(slot->offset + end, step) + step - slot->offset);
        bool now = is_zero(slot->buf + end, stop - end);

        if (!first && now != *zero) {
            break;
        }
        *zero = now;
        end = stop;
    }
    return end - pos;
}

static void write_data(Slot *slot)
{
    const ImgCopy *copy = slot->copier->copy;
    uint64_t step = copy->sparse, len;
    bool zero = false;

    if (!step || copy->compressed) {
        zero = step && is_zero(slot->buf, slot->len);
        if (!zero || !copy->target_is_zero) {
            submit_write(slot, 0, slot->len, zero);
        }
        return;
    }
    for (uint64_t pos = 0; pos < slot->len; pos += len) {
        len = run_length(slot, pos, step, &zero);
        if (!zero || !copy->target_is_zero) {
            submit_write(slot, pos, len, zero);
        }
    }
}

static void begin_write(Slot *slot)
{
    slot->state = SLOT_WRITING;
    slot->copier->written++;
    slot->pending = 1; /* until all are submitted */
    if (!slot->zero) {
        write_data(slot);
    } else if (!slot->copier->copy->target_is_zero) {
        submit_write(slot, 0, slot->len, true);
    }
    if (!--slot->pending) {
        slot_end(slot);
    }
}

/* ---- reading -------------------------------------------------------------------------------- */

/* Sector by sector; what cannot be read is zeros. */
static void salvage(Slot *slot, BlockNode *source, uint64_t source_offset, uint64_t pos, uint64_t len)
{
    for (uint64_t at = 0; at < len; at += BLOCK_SECTOR) {
        uint64_t n = MIN(len - at, BLOCK_SECTOR);
        int ret = block_pread(source, source_offset + at, slot->buf + pos + at, n);

        if (ret < 0) {
            if (!slot->copier->copy->quiet) {
                report_warning("error while reading offset %" PRIu64 ": %s",
                               slot->offset + pos + at, g_strerror(-ret));
            }
            memset(slot->buf + pos + at, 0, n);
        }
    }
}

typedef struct Part {
    Slot *slot;
    BlockNode *source;
    uint64_t source_offset, pos, len;
    BlockIo *io;
} Part;

static void part_done(BlockIo *io, int result)
{
    Part *part = io->opaque;
    Slot *slot = part->slot;

    block_io_free(part->source, io);
    if (result < 0 && slot->copier->copy->salvage) {
        salvage(slot, part->source, part->source_offset, part->pos, part->len);
    } else if (result < 0) {
        slot->read_error = result;
    }
    g_free(part);
    if (!--slot->pending) {
        slot->state = SLOT_READY;
    }
}

static void submit_read(Slot *slot, BlockNode *source, uint64_t source_offset, uint64_t pos,
                        uint64_t len)
{
    Part *part = g_new(Part, 1);
    BlockIo *io = block_io_new(source);

    *part = (Part){slot, source, source_offset, pos, len, io};
    io->op = BLOCK_READ;
    io->offset = source_offset;
    io->len = len;
    io->inline_iov[0] = (struct iovec){slot->buf + pos, len};
    io->iov = io->inline_iov;
    io->iov_count = 1;
    io->done = part_done;
    io->opaque = part;
    slot->pending++;
    block_node_submit(source, io);
}

/* ---- pieces --------------------------------------------------------------------------------- */

/* One cluster from several stretches. *wanted false: nothing of it is to be written. */
static int fill_cluster(Copier *c, Slot *slot, bool *wanted)
{
    ImgPiece kinds = IMG_PIECE_SKIP;

    *wanted = false;
    for (unsigned pass = 0; pass < 2; pass++) {
        for (uint64_t pos = 0, len; pos < slot->len; pos += len) {
            BlockNode *source = NULL;
            uint64_t source_offset = 0;
            ImgPiece kind;
            int ret;

            len = slot->len - pos;
            ret = c->copy->piece(c->copy->opaque, slot->offset + pos, &len, &kind, &source,
                                 &source_offset);
            if (ret < 0) {
                return ret;
            }
            kinds = MAX(kinds, kind);
            if (pass && kind != IMG_PIECE_ZERO && source) {
                submit_read(slot, source, source_offset, pos, len);
            } else if (pass) {
                memset(slot->buf + pos, 0, len);
            }
        }
        if (kinds == IMG_PIECE_SKIP || (kinds == IMG_PIECE_ZERO && c->copy->target_is_zero)) {
            return 0;
        }
    }
    *wanted = true;
    return 0;
}

/* Where the bytes of a node from offset on lie as they are in a file, *len of them at most. */
static const BlockNode *find_file(BlockNode *node, uint64_t offset, uint64_t *len, uint64_t *host)
{
    BlockStatus status;

    if (block_pstatus_above(node, NULL, offset, *len, 0, &status, NULL) < 0 || !status.bytes ||
        status.zero || !status.has_offset || status.file->drv != &block_driver_file) {
        return NULL;
    }
    *len = MIN(*len, status.bytes);
    *host = status.host_offset;
    return status.file;
}

/* Has the kernel copy: bytes, or 0 where it cannot. Only what says where its bytes go without deciding anything can be
 * written to: a file, alone or as a raw image. */
static uint64_t copy_in_kernel(Copier *c, BlockNode *source, uint64_t source_offset, uint64_t offset, uint64_t len)
{
    BlockNode *target = c->copy->target;
    const BlockNode *from, *to;
    uint64_t from_offset, to_offset;
    int64_t ret;

    len = MIN(len, OFFLOAD_MAX);
    if (target->drv != &block_driver_raw && target->drv != &block_driver_file) {
        c->offload = false;
        return 0;
    }
    from = find_file(source, source_offset, &len, &from_offset);
    to = from ? find_file(target, offset, &len, &to_offset) : NULL;
    ret = to ? file_copy_range(from, from_offset, to, to_offset, len) : 0;
    c->offload = ret >= 0; /* another file system, or an error: the usual way meets it again and tells */
    return ret > 0 ? (uint64_t)ret : 0;
}

static int fill_plain(Copier *c, Slot *slot, bool *wanted)
{
    BlockNode *source = NULL;
    uint64_t source_offset = 0, len = MIN(c->copy->size - slot->offset, ZERO_MAX);
    ImgPiece kind;
    int ret = c->copy->piece(c->copy->opaque, slot->offset, &len, &kind, &source, &source_offset);

    slot->len = len;
    if (ret < 0) {
        return ret;
    }
    *wanted = kind == IMG_PIECE_DATA || (kind == IMG_PIECE_ZERO && !c->copy->target_is_zero);
    slot->zero = kind == IMG_PIECE_ZERO;
    if (kind == IMG_PIECE_DATA && c->offload) {
        slot->len = copy_in_kernel(c, source, source_offset, slot->offset, len);
        *wanted = !slot->len;
    }
    if (*wanted && kind == IMG_PIECE_DATA) {
        /* Pieces end at round offsets, so that clusters are written whole. */
        uint64_t end = align_down(slot->offset, c->buf_size) + c->buf_size;

        slot->len = MIN(len, end - slot->offset);
        submit_read(slot, source, source_offset, 0, slot->len);
    }
    return 0;
}

static void start_piece(Copier *c, Slot *slot)
{
    bool wanted = false;
    int ret;

    *slot = (Slot){.copier = c, .state = SLOT_READING, .offset = c->next, .buf = slot->buf,
                   .pending = 1};
    if (c->copy->compressed) {
        slot->len = MIN(c->copy->size - c->next, c->buf_size);
        ret = fill_cluster(c, slot, &wanted);
    } else {
        ret = fill_plain(c, slot, &wanted);
    }
    if (ret < 0) {
        fail_at(c, ret, c->next, true);
    }
    c->next += slot->len;
    if (!wanted && slot->pending == 1) {
        slot_end(slot);
        return;
    }
    c->started++;
    if (!--slot->pending) {
        slot->state = SLOT_READY;
    }
}

static void limit_rate(const Copier *c)
{
    if (c->copy->rate) {
        int64_t due = c->begin_us + (int64_t)((double)c->next / (double)c->copy->rate * 1e6);
        int64_t now = g_get_monotonic_time();

        if (due > now) {
            g_usleep((gulong)(due - now));
        }
    }
}

/* The next slot whose writes may begin, or NULL. */
static Slot *find_ready(Copier *c)
{
    unsigned count = c->copy->parallel;

    for (unsigned i = 0; i < (c->copy->in_order ? 1 : count); i++) {
        Slot *slot = &c->slots[(c->written + i) % count];

        if (slot->state == SLOT_READY) {
            return slot;
        }
    }
    return NULL;
}

static Slot *find_free(Copier *c)
{
    unsigned count = c->copy->parallel;

    for (unsigned i = 0; i < (c->copy->in_order ? 1 : count); i++) {
        Slot *slot = &c->slots[(c->started + i) % count];

        if (slot->state == SLOT_FREE) {
            return slot;
        }
    }
    return NULL;
}

/* Starts all that can be started. True: something is under way. */
static bool step(Copier *c)
{
    bool busy = false;
    Slot *slot;

    while (!c->error && (slot = find_ready(c))) {
        if (slot->read_error) {
            fail_at(c, slot->read_error, slot->offset, true);
        } else {
            begin_write(slot);
        }
    }
    while (!c->error && c->next < c->copy->size && (slot = find_free(c))) {
        limit_rate(c);
        start_piece(c, slot);
        if (c->offload || c->loop->later) {
            break; /* it was read at once: it is written while the CPU's cache has it (offload: progress) */
        }
    }
    for (unsigned i = 0; i < c->copy->parallel; i++) {
        busy |= c->slots[i].pending > 0;
    }
    img_progress(c->done, c->copy->size);
    return busy;
}

static void run(Copier *c)
{
    for (;;) {
        uint64_t next = c->next, written = c->written;
        bool busy = step(c);

        if (busy) {
            block_loop_wait(c->loop);
        } else if (c->error || (next == c->next && written == c->written)) {
            return;
        }
    }
}

static bool is_cached(const BlockNode *node)
{
    while (node->file) {
        node = node->file->node;
    }
    return node->drv == &block_driver_file && !node->direct;
}

uint64_t img_piece_size(BlockNode *node)
{
    while (node && is_cached(node)) {
        node = block_node_backing(node);
    }
    return node ? PIECE_UNCACHED : PIECE_CACHED;
}

static uint64_t cluster_size(BlockNode *node)
{
    BlockInfo info = {0};

    if (node->drv->get_info) {
        node->drv->get_info(node, &info);
    }
    return info.cluster_size;
}

int img_copy(const ImgCopy *copy, uint64_t *failed_at, bool *failed_reading)
{
    Copier *c = g_new0(Copier, 1);
    ImgCopy own = *copy;
    int ret;

    own.parallel = CLAMP(own.parallel, 1, SLOTS_MAX);
    c->copy = &own;
    c->loop = own.target->loop;
    c->offload = own.offload;
    c->buf_size = cluster_size(own.target);
    if (!own.compressed) {
        c->buf_size = MAX(MAX(c->buf_size, own.piece_size), img_piece_size(own.target));
    }
    if (own.ahead && own.parallel > 1 && !own.compressed && g_get_num_processors() > 1) {
        /* One thread writes while the other reads; short pieces are many, so that they wake each other less often. */
        c->loop->reads_ahead = true;
        own.parallel = c->buf_size == PIECE_CACHED ? SLOTS_MAX : own.parallel;
    }
    c->begin_us = g_get_monotonic_time();
    for (unsigned i = 0; i < own.parallel; i++) {
        c->slots[i].buf = g_aligned_alloc(c->buf_size, 1, 4096);
    }
    run(c);
    c->loop->reads_ahead = false;
    for (unsigned i = 0; i < own.parallel; i++) {
        g_aligned_free(c->slots[i].buf);
    }
    ret = c->error;
    if (failed_at) {
        *failed_at = c->failed_at;
        *failed_reading = c->failed_reading;
    }
    g_free(c);
    return ret;
}
