/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests: the gate, the row of decisions, the parts in flight, the end. Which decision is made is
 * in read.c, write.c, zero.c.
 */
#include <stdlib.h>

#include "block/crypto.h"
#include "block/qcow2/qcow2.h"
#include "util/trace.h"

/* Of one request, in flight: a guest may read gigabytes at once, in clusters that lie apart. */
#define PARTS_MAX 128

/* ---- the end -------------------------------------------------------------------------------- */

static void complete_later(BlockIo *io, int result)
{
    Request *r = container_of(io, Request, later);

    r->done(r, result);
}

static void request_end(Request *r)
{
    Qcow2 *q = r->q;

    g_queue_unlink(&q->active, &r->link);
    if (r->inside) {
        r->later.done = complete_later;
        block_io_finish_later(q->node, &r->later, r->result);
    } else {
        r->done(r, r->result);
    }
    if (q->cycle_wanted) {
        cycle_start(q);
    }
    reclaim_run(q);
    if (!q->active.head) {
        wait_list_wake(&q->idle, 0);
    }
}

static void resume_flushed(Waiter *w, int result)
{
    Request *r = container_of(w, Request, wait);

    r->fua = false;
    request_release(r, result);
}

void request_hold(Request *r)
{
    r->holds++;
}

static void request_run(Request *r);

void request_release(Request *r, int result)
{
    if (result < 0 && !r->result) {
        r->result = result;
    }
    if (--r->holds) {
        if (r->crowded && r->holds <= PARTS_MAX / 2) {
            r->crowded = false;
            request_run(r);
        }
        return;
    }
    /* Also when somebody else made the mapping that this request wrote into. */
    if (r->fua && !r->result &&
        (r->changed || map_is_unwritten(r->q, r->start, r->end - r->start))) {
        r->holds = 1;
        r->wait.resume = resume_flushed;
        (r->settled ? cycle_settle : cycle_flush)(r->q, &r->wait);
        return;
    }
    request_end(r);
}

/* ---- decisions ------------------------------------------------------------------------------ */

static int flush_step(Request *r)
{
    r->pos = r->end;
    request_hold(r);
    r->wait.resume = resume_flushed;
    qcow2_event(r->q, "flush_to_os");
    cycle_flush(r->q, &r->wait);
    return 1;
}

static int (*const steps[])(Request *) = {
    [REQ_READ] = read_step,       [REQ_WRITE] = write_step,     [REQ_COMPRESSED] = compressed_step,
    [REQ_ZERO] = zero_step,       [REQ_DISCARD] = discard_step, [REQ_FLUSH] = flush_step,
    [REQ_STATUS] = status_step,
};

/* Decides as far as it goes. The caller's hold is given up at the end. */
static void request_run(Request *r)
{
    while (!r->result && r->pos < r->end) {
        if (r->holds > PARTS_MAX) {
            r->crowded = true;
            return;
        }
        int ret = r->q->broken ? -EIO : steps[r->kind](r);

        if (r->q->cycle_wanted) {
            cycle_start(r->q);
        }
        if (ret == 0) {
            return;
        }
        if (ret < 0) {
            r->result = ret;
        }
    }
    request_release(r, 0);
}

static void request_resumed(Waiter *w, int result)
{
    Request *r = container_of(w, Request, wait);

    if (result < 0 && !r->result) {
        r->result = result;
    }
    request_run(r);
}

static void request_start(Request *r)
{
    Qcow2 *q = r->q;

    r->seq = q->next_seq++;
    r->link.data = r;
    g_queue_push_tail_link(&q->active, &r->link);
    r->wait.resume = request_resumed;
    r->holds = 1;
    r->inside = true;
    /* Stays until this call returns, so that r lives on and inside can be taken back. */
    request_hold(r);
    request_run(r);
    if (r->holds == 1) {
        request_release(r, 0); /* ends it, later */
        return;
    }
    r->inside = false;
    request_release(r, 0);
}

void request_submit(Qcow2 *q, Request *r)
{
    r->q = q;
    r->pos = r->start;
    if (q->gate && !r->internal) {
        r->link.data = r;
        g_queue_push_tail_link(&q->held, &r->link);
        return;
    }
    request_start(r);
}

static void spawned_done(Request *r, int result)
{
    Request *parent = r->opaque;

    free(r->packed);
    g_free(r);
    request_release(parent, result);
}

/* ---- parts ---------------------------------------------------------------------------------- */

static void part_done(BlockIo *io, int result)
{
    Part *p = container_of(io, Part, io);

    if (io->joined && p->r->outer) {
        p->r->outer->joined = true;
    }
    if (p->ended) {
        p->ended(p, result);
        return;
    }
    Request *r = p->r;

    part_free(p);
    request_release(r, result);
}

Part *part_new(Request *r, unsigned iov_count)
{
    Part *p = g_malloc(sizeof *p + iov_count * sizeof(struct iovec));

    *p = (Part){.r = r};
    return p;
}

void part_free(Part *p)
{
    free(p->buf);
    g_free(p);
}

/* Appends the bytes [skip, skip + len) of iov to out; returns how many pieces. */
static unsigned iov_slice(const struct iovec *iov, unsigned count, uint64_t skip, uint64_t len,
                          struct iovec *out)
{
    unsigned n = 0;

    for (unsigned i = 0; i < count && len; i++) {
        size_t piece = iov[i].iov_len;

        if (skip >= piece) {
            skip -= piece;
            continue;
        }
        piece = MIN(piece - skip, len);
        out[n++] = (struct iovec){(char *)iov[i].iov_base + skip, piece};
        len -= piece;
        skip = 0;
    }
    return n;
}

unsigned request_pieces(const Request *r, uint64_t guest, uint64_t len)
{
    uint64_t skip = guest - r->start;
    unsigned n = 0;

    for (unsigned i = 0; i < r->iov_count && len; i++) {
        const size_t piece = r->iov[i].iov_len;

        if (skip >= piece) {
            skip -= piece;
            continue;
        }
        len -= MIN(piece - skip, len);
        skip = 0;
        n++;
    }
    return n;
}

void request_spawn(Request *r, RequestKind kind, uint64_t start, uint64_t len, void *buf)
{
    unsigned pieces = buf ? 1 : request_pieces(r, start, len);
    Request *sub = g_malloc0(sizeof *sub + pieces * sizeof(struct iovec));

    if (buf) {
        sub->own_iov[0] = (struct iovec){buf, len};
        sub->packed = buf;
    } else {
        pieces = iov_slice(r->iov, r->iov_count, start - r->start, len, sub->own_iov);
    }
    sub->kind = kind;
    sub->internal = true;
    sub->fua = r->fua;
    sub->start = start;
    sub->end = start + len;
    sub->iov = sub->own_iov;
    sub->iov_count = pieces;
    sub->done = spawned_done;
    sub->opaque = r;
    request_hold(r);
    request_submit(r->q, sub);
}

void part_add_iov(Part *p, uint64_t guest, uint64_t len)
{
    const Request *r = p->r;

    p->iov_count += iov_slice(r->iov, r->iov_count, guest - r->start, len, p->iov + p->iov_count);
}

/* To the child, encrypted where data is. */
static void child_submit(Qcow2 *q, BlockNode *child, BlockIo *io)
{
    if (q->crypto && child == q->data && (io->op == BLOCK_READ || io->op == BLOCK_WRITE)) {
        block_crypt_submit(q->crypto, q->node, child, io, io->offset / CRYPT_SECTOR);
    } else {
        block_node_submit(child, io);
    }
}

void part_submit(Part *p, BlockNode *child, BlockOp op, uint64_t offset, uint64_t len)
{
    p->io = (BlockIo){.op = op,
                      .offset = offset,
                      .len = len,
                      .iov = p->iov,
                      .iov_count = p->iov_count,
                      .fua = p->r->fua && op == BLOCK_WRITE && (!p->r->changed || p->r->settled),
                      .may_unmap = p->r->unmap,
                      .no_fallback = p->r->no_fallback,
                      .alone = p->r->outer && p->r->outer->alone,
                      .done = part_done};
    request_hold(p->r);
    if (p->map.kind == MAP_COMPRESSED) {
        block_node_submit(child, &p->io); /* packed clusters are not encrypted; QEMU makes such images */
    } else {
        child_submit(p->r->q, child, &p->io);
    }
}

void part_ask(Part *p, BlockNode *child, uint64_t offset, uint64_t len, BlockStatus *answer)
{
    p->io = (BlockIo){.op = BLOCK_STATUS,
                      .offset = offset,
                      .len = len,
                      .precise = true,
                      .status = answer,
                      .alone = p->r->outer->alone,
                      .done = part_done};
    request_hold(p->r);
    block_node_submit(child, &p->io);
}

void request_child(Request *r, BlockNode *child, BlockOp op, uint64_t offset, uint64_t guest,
                   uint64_t len)
{
    bool whole = guest == r->start && len == r->end - r->start;
    Part *p = part_new(r, whole ? 0 : request_pieces(r, guest, len));

    if (whole) {
        p->io = (BlockIo){.op = op,
                          .offset = offset,
                          .len = len,
                          .iov = r->iov,
                          .iov_count = r->iov_count,
                          .fua = r->fua && op == BLOCK_WRITE,
                          .alone = r->outer && r->outer->alone,
                          .done = part_done};
        request_hold(r);
        child_submit(r->q, child, &p->io);
        return;
    }
    part_add_iov(p, guest, len);
    part_submit(p, child, op, offset, len);
}

static int part_run(BlockIo *io)
{
    Part *p = container_of(io, Part, io);

    return p->work(p);
}

static void part_worked(BlockIo *io, int result)
{
    Part *p = container_of(io, Part, io);

    p->ended(p, result);
}

void part_run_in_thread(Part *p, int (*work)(Part *p))
{
    p->work = work;
    p->io = (BlockIo){.op = BLOCK_READ, .run = part_run, .finish = part_worked};
    block_io_run_in_thread(p->r->q->node, &p->io);
}

void request_fill(Request *r, uint64_t guest, uint64_t len)
{
    iov_fill(r->iov, r->iov_count, guest - r->start, 0, len);
}

/* ---- synchronous ---------------------------------------------------------------------------- */

static void sync_resumed(Waiter *w, int result)
{
    SyncWait *s = container_of(w, SyncWait, w);

    s->fired = true;
    s->result = result;
}

void sync_init(SyncWait *s, Qcow2 *q)
{
    *s = (SyncWait){.w.resume = sync_resumed, .loop = q->node->loop};
}

int sync_wait(SyncWait *s)
{
    while (!s->fired) {
        block_loop_wait(s->loop);
    }
    s->fired = false;
    return s->result;
}

void qcow2_quiesce(Qcow2 *q)
{
    SyncWait s;

    q->gate++;
    sync_init(&s, q);
    while (q->active.head) {
        wait_list_add(&q->idle, &s.w);
        sync_wait(&s);
    }
}

void qcow2_resume(Qcow2 *q)
{
    GList *link;

    q->gate--;
    while (!q->gate && (link = g_queue_pop_head_link(&q->held))) {
        request_start(link->data);
    }
}

int qcow2_sync_all(Qcow2 *q)
{
    SyncWait s;
    int ret;

    q->closing = true;
    sync_init(&s, q);
    do {
        cycle_flush(q, &s.w);
        ret = sync_wait(&s);
        if (ret < 0) {
            q->closing = false;
            return ret;
        }
        while (q->reclaims.head || q->reclaiming) {
            wait_list_add(&q->reclaim_idle, &s.w);
            reclaim_run(q);
            sync_wait(&s);
        }
    } while (cycle_is_needed(q) || q->cycle.stage);
    q->closing = false;
    return q->broken ? -EIO : 0;
}

typedef struct SyncRequest {
    bool done;
    int result;
} SyncRequest;

static void sync_request_done(Request *r, int result)
{
    SyncRequest *s = r->opaque;

    s->done = true;
    s->result = result;
    free(r->packed);
    g_free(r);
}

/* May entries go without a trace? Inside the disk that would show what the backing file has there. */
static bool may_clear(const Qcow2 *q, uint64_t offset)
{
    return !q->backing || offset >= q->h.size || q->h.version < 3 || qcow2_has_data_file(&q->h);
}

int qcow2_do(Qcow2 *q, RequestKind kind, uint64_t offset, void *buf, uint64_t len)
{
    struct iovec iov = {buf, len};
    SyncRequest s = {0};
    Request *r = g_new0(Request, 1);

    r->kind = kind;
    r->internal = true;
    r->unmap = true;
    r->full = may_clear(q, offset);
    r->start = offset;
    r->end = offset + len;
    r->iov = &iov;
    r->iov_count = 1;
    r->done = sync_request_done;
    r->opaque = &s;
    request_submit(q, r);
    while (!s.done) {
        block_loop_wait(q->node->loop);
    }
    return s.result;
}
