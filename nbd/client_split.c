/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the server does not take as it is: requests that are too long, that do not fit its blocks, that
 * need a command it lacks. They become jobs of several wire requests, a few at a time.
 *
 * Where the server's smallest block is larger than a byte, a write that ends within a block reads the
 * block, changes it and writes it back; meanwhile no other writer is at work.
 */
#include <errno.h>

#include "nbd/client.h"

#define WINDOW 8                   /* wire requests of one job at once */
#define ZEROS_LEN (64 * KIB)
#define ZEROS_PIECE (4 * MIB)      /* of zeros that are written out */
#define TRIM_PIECE (1 * GIB)

typedef struct Job {
    NbdClient *c;
    BlockIo *io;        /* what was submitted */
    uint64_t pos, end;  /* still to be sent; bytes of the export */
    unsigned parts;     /* under way */
    int result;
    bool writer;        /* counted in c->writers */
    bool serial;        /* alone, because it has to read before it writes */
    bool emulate;       /* ZERO: by writing zeros */
    bool flush;         /* the server has no FUA: a flush at the end */
    bool refused;       /* ZERO: the server cannot */
} Job;

/* A block of which only a part is wanted. */
typedef struct Partial {
    Job *job;
    uint8_t *block;
    struct iovec iov;
    uint64_t pos, len; /* the part */
} Partial;

static const uint8_t zeros[ZEROS_LEN];

static uint64_t block_of(const NbdClient *c) { return MAX(c->info.min_block, 1); }

static uint64_t max_data(const NbdClient *c)
{
    uint64_t max = c->info.max_block ? MIN(c->info.max_block, NBD_MAX_DATA) : NBD_MAX_DATA;

    return align_down(max, block_of(c));
}

static void job_run(Job *job);

/* ---- the parts of a job ----------------------------------------------------------------------- */

static void part_ended(Job *job, int result)
{
    job->parts--;
    if (result < 0 && !job->result) {
        job->result = result;
    }
    job_run(job);
}

static void part_done(BlockIo *part, int result)
{
    Job *job = part->opaque;

    if (part->op == BLOCK_ZERO && result == -ENOTSUP && !part->no_fallback) {
        job->refused = true;
        result = 0;
    }
    block_io_free(job->c->node, part);
    part_ended(job, result);
}

static BlockIo *part_new(Job *job, BlockOp op, uint64_t offset, uint64_t len)
{
    BlockIo *part = block_io_new(job->c->node);

    part->op = op;
    part->offset = offset;
    part->len = len;
    part->outer = job->io;
    part->done = part_done;
    part->opaque = job;
    part->fua = job->io->fua && !job->flush;
    part->may_unmap = job->io->may_unmap;
    part->no_fallback = job->io->no_fallback;
    job->parts++;
    return part;
}

static void fill_with_zeros(BlockIo *part)
{
    unsigned n = (unsigned)((part->len + ZEROS_LEN - 1) / ZEROS_LEN);

    part->own_iov = g_new(struct iovec, n);
    part->iov = part->own_iov;
    part->iov_count = n;
    for (unsigned i = 0; i < n; i++) {
        part->own_iov[i] = (struct iovec){(void *)(uintptr_t)zeros,
                                          (size_t)MIN(part->len - i * ZEROS_LEN, ZEROS_LEN)};
    }
}

/* ---- parts of blocks ---------------------------------------------------------------------------- */

static void partial_end(BlockIo *part, Partial *p, int result)
{
    Job *job = p->job;

    g_free(p->block);
    g_free(p);
    block_io_free(job->c->node, part);
    part_ended(job, result);
}

static void partial_written(BlockIo *part, int result)
{
    partial_end(part, part->opaque, result);
}

static void partial_read(BlockIo *part, int result)
{
    Partial *p = part->opaque;
    Job *job = p->job;
    const BlockIo *io = job->io;
    uint8_t *at = p->block + p->pos % block_of(job->c);

    if (result < 0 || io->op == BLOCK_READ) {
        if (result >= 0) {
            iov_from_buf(io->iov, io->iov_count, p->pos - io->offset, at, p->len);
        }
        partial_end(part, p, result);
        return;
    }
    if (io->op == BLOCK_WRITE) {
        iov_to_buf(io->iov, io->iov_count, p->pos - io->offset, at, p->len);
    } else {
        memset(at, 0, p->len);
    }
    part->op = BLOCK_WRITE;
    part->done = partial_written;
    nbd_client_send(job->c, part);
}

static void send_partial(Job *job, uint64_t pos, uint64_t len)
{
    uint64_t block = block_of(job->c);
    BlockIo *part = part_new(job, BLOCK_READ, align_down(pos, block), block);
    Partial *p = g_new0(Partial, 1);

    *p = (Partial){.job = job, .block = g_malloc(block), .pos = pos, .len = len};
    p->iov = (struct iovec){p->block, block};
    part->iov = &p->iov;
    part->iov_count = 1;
    part->done = partial_read;
    part->opaque = p;
    nbd_client_send(job->c, part);
}

/* ---- jobs --------------------------------------------------------------------------------------- */

/* How much of the job the next wire request does, from job->pos. */
static uint64_t next_len(const Job *job)
{
    const NbdClient *c = job->c;
    uint64_t max = job->emulate                  ? MIN(ZEROS_PIECE, max_data(c))
                   : job->io->op == BLOCK_DISCARD ? TRIM_PIECE
                                                  : max_data(c);
    uint64_t left = job->end - job->pos, block = block_of(c);

    if (job->pos % block || left < block) {
        return MIN(left, block - job->pos % block);
    }
    return MIN(align_down(left, block), max);
}

static void send_next(Job *job)
{
    uint64_t pos = job->pos, len = next_len(job), block = block_of(job->c);
    BlockIo *part;

    job->pos += len;
    if (pos % block || len % block) {
        send_partial(job, pos, len);
        return;
    }
    part = part_new(job, job->emulate ? BLOCK_WRITE : job->io->op, pos, len);
    if (job->emulate) {
        fill_with_zeros(part);
    } else if (job->io->op == BLOCK_READ || job->io->op == BLOCK_WRITE) {
        block_io_slice(part, job->io, pos - job->io->offset, len);
    }
    nbd_client_send(job->c, part);
}

static void start_serial(NbdClient *c);

static void job_end(Job *job)
{
    NbdClient *c = job->c;
    BlockIo *io = job->io;
    int result = job->result;

    c->jobs--;
    c->writers -= job->writer;
    c->serialising &= !job->serial;
    g_free(job);
    start_serial(c);
    io->done(io, result);
}

/* Sends what may be sent now; ends the job when all is done. Called by what ends, never by submit alone. */
static void job_run(Job *job)
{
    if (job->refused && !job->parts) {
        /* Once more, in the slow way; what was zeroed already is zero. */
        job->refused = false;
        job->emulate = true;
        job->pos = job->io->offset;
    }
    while (!job->result && !job->refused && job->pos < job->end && job->parts < WINDOW) {
        send_next(job);
    }
    if (job->parts) {
        return;
    }
    if (!job->result && job->flush) {
        job->flush = false;
        nbd_client_send(job->c, part_new(job, BLOCK_FLUSH, 0, 0));
        return;
    }
    job_end(job);
}

static bool is_writer(const BlockIo *io)
{
    return io->op == BLOCK_WRITE || io->op == BLOCK_ZERO || io->op == BLOCK_DISCARD;
}

static bool fits_blocks(const NbdClient *c, const BlockIo *io)
{
    return (io->offset | io->len) % block_of(c) == 0;
}

static void job_start(NbdClient *c, BlockIo *io)
{
    Job *job = g_new0(Job, 1);
    uint64_t end = io->offset + io->len, size = c->info.size;

    job->c = c;
    job->io = io;
    job->pos = io->offset;
    job->end = MIN(end, size);
    job->writer = is_writer(io);
    job->serial = job->writer && io->op != BLOCK_DISCARD && !fits_blocks(c, io);
    job->emulate = io->op == BLOCK_ZERO && !(c->info.flags & NBD_FLAG_SEND_WRITE_ZEROES);
    job->flush = io->fua && !(c->info.flags & NBD_FLAG_SEND_FUA);
    if (io->op == BLOCK_DISCARD) {
        job->pos = align_up(job->pos, block_of(c));
        job->end = align_down(job->end, block_of(c));
    }
    if (io->op == BLOCK_READ && end > size) {
        uint64_t from = MAX(io->offset, size);

        iov_fill(io->iov, io->iov_count, from - io->offset, 0, end - from);
    }
    c->writers += job->writer;
    c->serialising |= job->serial;
    if (job->pos >= job->end) {
        /* Nothing to send, and done must not run inside submit. */
        c->jobs--;
        c->writers -= job->writer;
        c->serialising &= !job->serial;
        g_free(job);
        block_io_finish_later(c->node, io, 0);
        return;
    }
    job_run(job);
}

static bool must_wait(const NbdClient *c, const BlockIo *io)
{
    bool serial = io->op != BLOCK_DISCARD && !fits_blocks(c, io);

    return is_writer(io) && (c->serialising || (serial && c->writers));
}

static void start_serial(NbdClient *c)
{
    while (c->serial_queue && !must_wait(c, c->serial_queue)) {
        BlockIo *io = c->serial_queue;

        c->serial_queue = io->next;
        if (!c->serial_queue) {
            c->serial_tail = &c->serial_queue;
        }
        job_start(c, io);
    }
}

static void submit_job(NbdClient *c, BlockIo *io)
{
    c->jobs++;
    if (is_writer(io) && (c->serial_queue || must_wait(c, io))) {
        io->next = NULL;
        *c->serial_tail = io;
        c->serial_tail = &io->next;
        return;
    }
    job_start(c, io);
}

/* ---- block status -------------------------------------------------------------------------------- */

static void status_done(BlockIo *part, int result)
{
    BlockIo *io = part->outer;
    NbdClient *c = part->opaque;

    if (result == 0) {
        uint64_t before = io->offset - part->offset;

        io->status->bytes = MIN(io->status->bytes - MIN(io->status->bytes - 1, before), io->len);
        io->status->host_offset = io->offset;
    }
    block_io_free(c->node, part);
    c->jobs--;
    io->done(io, result);
}

static void submit_status(NbdClient *c, BlockIo *io)
{
    uint64_t block = block_of(c), size = c->info.size;
    BlockIo *part;

    *io->status = (BlockStatus){.bytes = io->len, .allocated = true, .data = true, .has_offset = true,
                                .host_offset = io->offset, .file = c->node};
    if (!c->info.has_context || io->offset >= size) {
        io->status->data = io->offset < size;
        io->status->zero = io->offset >= size;
        block_io_finish_later(c->node, io, 0);
        return;
    }
    part = block_io_new(c->node);
    part->op = BLOCK_STATUS;
    part->offset = align_down(io->offset, block);
    part->len = MIN(align_up(MIN(io->offset + io->len, size), block), size) - part->offset;
    part->len = MIN(part->len, TRIM_PIECE);
    part->status = io->status;
    part->outer = io;
    part->done = status_done;
    part->opaque = c;
    c->jobs++;
    nbd_client_send(c, part);
}

/* ---- what comes ----------------------------------------------------------------------------------- */

/* 1: the server can do it; 0: nothing to be done; else -errno. */
static int judge(const NbdClient *c, const BlockIo *io)
{
    uint16_t flags = c->info.flags;

    if (is_writer(io) && (flags & NBD_FLAG_READ_ONLY)) {
        return -EROFS;
    }
    if (io->op == BLOCK_FLUSH) {
        return !!(flags & NBD_FLAG_SEND_FLUSH);
    }
    if (io->op == BLOCK_DISCARD && !(c->node->discard_unmap && flags & NBD_FLAG_SEND_TRIM)) {
        return 0;
    }
    if (io->op == BLOCK_ZERO && io->no_fallback &&
        !(flags & NBD_FLAG_SEND_WRITE_ZEROES && flags & NBD_FLAG_SEND_FAST_ZERO)) {
        return -ENOTSUP;
    }
    if ((io->op == BLOCK_WRITE || io->op == BLOCK_ZERO) &&
        !range_fits(io->offset, io->len, c->info.size)) {
        return -ENOSPC; /* an export cannot grow */
    }
    return io->len != 0;
}

bool nbd_client_fits_wire(const NbdClient *c, const BlockIo *io)
{
    switch (io->op) {
    case BLOCK_FLUSH:
        return true;
    case BLOCK_READ:
        return io->len <= max_data(c) && fits_blocks(c, io) &&
               range_fits(io->offset, io->len, c->info.size);
    case BLOCK_WRITE: /* with large blocks, writers are counted */
        return io->len <= max_data(c) && block_of(c) == 1 &&
               (!io->fua || c->info.flags & NBD_FLAG_SEND_FUA);
    default:
        return false;
    }
}

void nbd_client_submit(BlockNode *node, BlockIo *io)
{
    NbdClient *c = node->state;
    int verdict = judge(c, io);

    io->may_unmap &= node->discard_unmap;
    if (verdict <= 0) {
        block_io_finish_later(node, io, verdict);
    } else if (nbd_client_ahead(c, io)) {
        return;
    } else if (io->op == BLOCK_STATUS) {
        submit_status(c, io);
    } else if (nbd_client_fits_wire(c, io)) {
        nbd_client_send(c, io);
    } else {
        submit_job(c, io);
    }
}
