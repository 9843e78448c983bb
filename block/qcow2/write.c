/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writing. A cluster that is allocated and nobody else's is written in place, zero copy. Otherwise an
 * Alloc takes its clusters through: host clusters reserved, the rest of the first and last cluster
 * fetched (when it is not zeros), one write of it all, then the mapping enters the L2 table. Whoever
 * wants the same guest clusters meanwhile waits for the Alloc and decides anew.
 */
#include <stdlib.h>

#include "block/qcow2/qcow2.h"
#include "util/trace.h"

#define FILL_MAX (64 * KIB) /* a cluster that is worth being written as a whole */

struct Alloc {
    Request *r;
    uint64_t first, count; /* guest clusters */
    uint64_t host;         /* of the first */
    bool fresh;            /* these host clusters are new */
    bool blank;            /* ... and read as zeros */
    bool counted;          /* ... and the file has their refcounts */
    uint64_t start, end;   /* guest bytes from the request */
    uint64_t cow_start, cow_end;
    uint8_t *head, *tail;  /* [cow_start, start) and [end, cow_end); NULL: nothing to write there */
    uint64_t packed_entry; /* compressed: the L2 entry */
    size_t packed_len;
    Table *slice; /* pinned */
    unsigned index;
    unsigned pending; /* reads for head and tail */
    unsigned writes;  /* its own, and those of requests that joined */
    GSList *joined;   /* Request *: written, waiting for the mapping */
    int result;
    WaitList waiters;
    GList link;
};

bool alloc_conflict(Request *r, uint64_t first, uint64_t last)
{
    for (GList *l = r->q->allocs.head; l; l = l->next) {
        Alloc *a = l->data;

        if (a->first <= last && first < a->first + a->count) {
            wait_list_add(&a->waiters, &r->wait);
            return true;
        }
    }
    return false;
}

/* ---- publishing ----------------------------------------------------------------------------- */

/* The subclusters of guest cluster i of a that are written. */
static uint32_t written_subs(const Qcow2 *q, const Alloc *a, uint64_t i)
{
    uint64_t base = (a->first + i) << q->cluster_bits;
    uint64_t from = MAX(a->cow_start, base) - base, to = MIN(a->cow_end, base + q->cluster) - base;
    unsigned first = (unsigned)(from >> q->sub_bits);
    unsigned last = (unsigned)((to - 1) >> q->sub_bits);

    return (uint32_t)((UINT64_C(2) << last) - (UINT64_C(1) << first));
}

static void publish(Alloc *a)
{
    Qcow2 *q = a->r->q;

    table_change(a->slice);
    for (uint64_t i = 0; i < a->count; i++) {
        unsigned index = a->index + (unsigned)i;
        uint64_t old = l2_entry(q, a->slice, index), bitmap = l2_bitmap(q, a->slice, index), subs;

        if (a->packed_entry) {
            qcow2_event(q, "l2_update_compressed");
            l2_store(q, a->slice, index, a->packed_entry, 0);
            drop_entry(q, old, DROP_OTHER);
            continue;
        }
        if (a->fresh && (old & (QCOW2_OFFSET_MASK | QCOW2_COMPRESSED))) {
            bitmap = 0;
            drop_entry(q, old, DROP_OTHER);
        }
        if (q->subs > 1) {
            subs = written_subs(q, a, i);
            bitmap = (bitmap | subs) & ~(subs << 32);
        }
        l2_store(q, a->slice, index, (a->host + (i << q->cluster_bits)) | QCOW2_COPIED, bitmap);
    }
    q->l2_names_new |= !a->r->settled || !a->counted;
    a->r->changed = true;
}

static void take_back(Alloc *a)
{
    Qcow2 *q = a->r->q;

    if (a->packed_entry) {
        drop_entry(q, a->packed_entry, DROP_OTHER);
    } else if (a->fresh && q->data == q->file) {
        alloc_undo(q, a->host, a->count);
    }
}

static void alloc_end(Alloc *a, int result)
{
    Request *r = a->r;
    Qcow2 *q = r->q;
    WaitList waiters = a->waiters;
    GSList *joined = a->joined;

    if (result == 0 && q->broken) {
        result = -EIO;
    }
    if (result == 0) {
        publish(a);
    } else {
        take_back(a);
    }
    table_unpin(a->slice);
    g_queue_unlink(&q->allocs, &a->link);
    free(a->head);
    free(a->tail);
    g_free(a);
    wait_list_wake(&waiters, 0);
    for (GSList *l = joined; l; l = l->next) {
        request_release(l->data, result);
    }
    g_slist_free(joined);
    request_release(r, result);
}

/* ---- writing -------------------------------------------------------------------------------- */

static void alloc_written(Part *p, int result)
{
    Alloc *a = p->opaque;

    part_free(p);
    a->result = result;
    if (!--a->writes) {
        alloc_end(a, result);
    }
}

static void alloc_write(Alloc *a)
{
    Request *r = a->r;
    Qcow2 *q = r->q;
    Part *p = part_new(r, request_pieces(r, a->start, a->end - a->start) + 2);
    uint64_t from = a->head ? a->cow_start : a->start, to = a->tail ? a->cow_end : a->end;

    p->opaque = a;
    p->ended = alloc_written;
    a->writes = 1;
    if (a->head || a->tail) {
        qcow2_event(q, "cow_write");
    }
    qcow2_event(q, "write_aio");
    if (a->head) {
        p->iov[p->iov_count++] = (struct iovec){a->head, a->start - a->cow_start};
    }
    part_add_iov(p, a->start, a->end - a->start);
    if (a->tail) {
        p->iov[p->iov_count++] = (struct iovec){a->tail, a->cow_end - a->end};
    }
    part_submit(p, q->data, BLOCK_WRITE, a->host + from - (a->first << q->cluster_bits), to - from);
    request_release(r, 0); /* alloc_start's; the part's stands for it */
}

static void cow_read_done(Request *sub, int result)
{
    Alloc *a = sub->opaque;

    g_free(sub);
    if (result < 0) {
        a->result = result;
    }
    if (--a->pending) {
        return;
    }
    if (a->result < 0) {
        alloc_end(a, a->result);
    } else {
        alloc_write(a);
    }
}

static void cow_read(Alloc *a, uint64_t start, uint64_t len, uint8_t *buf)
{
    Request *sub = g_malloc0(sizeof *sub + sizeof(struct iovec));

    sub->own_iov[0] = (struct iovec){buf, len};
    sub->kind = REQ_READ;
    sub->internal = true;
    sub->start = start;
    sub->end = start + len;
    sub->iov = sub->own_iov;
    sub->iov_count = 1;
    sub->done = cow_read_done;
    sub->opaque = a;
    a->pending++;
    qcow2_event(a->r->q, "cow_read");
    request_submit(a->r->q, sub);
}

/* What has to surround the data: 1: must be read into *buf; 0: *buf is right (NULL: not written). */
static int prepare_edge(Alloc *a, uint64_t start, uint64_t end, uint8_t **buf)
{
    Qcow2 *q = a->r->q;
    unsigned index = a->index + (unsigned)((start >> q->cluster_bits) - a->first);
    uint64_t old, bitmap;
    Mapping m = {0};
    bool zero;

    if (start == end) {
        return 0;
    }
    old = l2_entry(q, a->slice, index);
    bitmap = l2_bitmap(q, a->slice, index);
    m.kind = map_classify(q, old, bitmap, start >> q->sub_bits & (q->subs - 1));
    zero = map_reads_zero(q, &m, start);
    if (end - start > UINT64_C(1) << q->sub_bits) {
        zero = false; /* subclusters of several kinds */
    }
    if (zero && a->blank) {
        return 0;
    }
    *buf = zero ? calloc(1, end - start) : malloc(end - start);
    if (!*buf) {
        return -ENOMEM;
    }
    return !zero;
}

static void alloc_start(Alloc *a)
{
    Request *r = a->r;
    Qcow2 *q = r->q;
    int head, tail;

    a->link.data = a;
    g_queue_push_tail_link(&q->allocs, &a->link);
    table_pin(a->slice);
    request_hold(r);
    head = prepare_edge(a, a->cow_start, a->start, &a->head);
    tail = prepare_edge(a, a->end, a->cow_end, &a->tail);
    if (head < 0 || tail < 0 ||
        !overlap_check_data(q, a->host, a->count << q->cluster_bits)) {
        alloc_end(a, head < 0 || tail < 0 ? -ENOMEM : -EIO);
        return;
    }
    a->pending = 1;
    if (head) {
        cow_read(a, a->cow_start, a->start - a->cow_start, a->head);
    }
    if (tail) {
        cow_read(a, a->end, a->cow_end - a->end, a->tail);
    }
    if (!--a->pending) {
        alloc_write(a);
    }
}

/* ---- joining -------------------------------------------------------------------------------- */

static void joined_written(Part *p, int result)
{
    Alloc *a = p->opaque;
    Request *r = p->r;

    part_free(p);
    if (result < 0) {
        request_release(r, result);
    } else {
        a->joined = g_slist_prepend(a->joined, r);
    }
    if (!--a->writes) {
        alloc_end(a, a->result);
    }
}

/* A neighbour's data goes into the new clusters beside the data that they were made for, when
 * nothing else is written around that; both wait for the one mapping. */
static bool join(Request *r)
{
    Qcow2 *q = r->q;
    uint64_t cluster = r->pos >> q->cluster_bits, len;

    for (GList *l = q->allocs.head; l && q->subs == 1; l = l->next) {
        Alloc *a = l->data;
        Part *p;

        if (cluster < a->first || cluster >= a->first + a->count) {
            continue;
        }
        if (!a->blank || a->head || a->tail || !a->writes) {
            return false;
        }
        len = MIN(r->end, (a->first + a->count) << q->cluster_bits) - r->pos;
        p = part_new(r, request_pieces(r, r->pos, len));
        p->opaque = a;
        p->ended = joined_written;
        a->writes++;
        r->changed = true;
        part_add_iov(p, r->pos, len);
        qcow2_event(q, "write_aio");
        part_submit(p, q->data, BLOCK_WRITE, a->host + r->pos - (a->first << q->cluster_bits), len);
        r->pos += len;
        return true;
    }
    return false;
}

/* ---- deciding ------------------------------------------------------------------------------- */

static bool is_shared(uint64_t entry)
{
    return !(entry & QCOW2_COPIED) && entry & (QCOW2_OFFSET_MASK | QCOW2_COMPRESSED);
}

/* Needs a host cluster of its own before it can be written? */
static bool needs_cluster(const Qcow2 *q, uint64_t entry)
{
    return entry & QCOW2_COMPRESSED || is_shared(entry) ||
           !(entry & QCOW2_OFFSET_MASK || (q->data != q->file && entry & QCOW2_COPIED));
}

/* How many clusters from index on, up to max, need one and are nobody's business. */
static uint64_t count_fresh(const Qcow2 *q, const Table *slice, unsigned index, uint64_t first,
                            uint64_t max)
{
    uint64_t n = 1;

    max = MIN(max, slice_entries(q) - index);
    for (GList *l = q->allocs.head; l; l = l->next) {
        const Alloc *a = l->data;

        if (a->first > first) {
            max = MIN(max, a->first - first);
        }
    }
    while (n < max && needs_cluster(q, l2_entry(q, slice, index + (unsigned)n))) {
        n++;
    }
    return n;
}

/* Copy-on-write reaches to the edges of the clusters; with subclusters, to theirs, when the old
 * cluster has nothing to offer. */
static void set_edges(const Qcow2 *q, Alloc *a)
{
    uint64_t sub = UINT64_C(1) << q->sub_bits, old, last;

    a->cow_start = a->first << q->cluster_bits;
    a->cow_end = (a->first + a->count) << q->cluster_bits;
    if (q->subs == 1) {
        return;
    }
    old = l2_entry(q, a->slice, a->index);
    last = l2_entry(q, a->slice, a->index + (unsigned)a->count - 1);
    if (!a->fresh || !(old & (QCOW2_OFFSET_MASK | QCOW2_COMPRESSED))) {
        a->cow_start = a->start & ~(sub - 1);
    }
    if (!a->fresh || !(last & (QCOW2_OFFSET_MASK | QCOW2_COMPRESSED))) {
        a->cow_end = align_up(a->end, sub);
    }
}

/* In place, subclusters that have data already are not copied onto themselves. */
static void trim_edges(const Qcow2 *q, Alloc *a)
{
    uint64_t old = l2_entry(q, a->slice, a->index), bitmap = l2_bitmap(q, a->slice, a->index);
    unsigned first = a->start >> q->sub_bits & (q->subs - 1);
    unsigned last = (a->end - 1) >> q->sub_bits & (q->subs - 1);

    if (map_classify(q, old, bitmap, first) == MAP_DATA) {
        a->cow_start = a->start;
    }
    if (map_classify(q, old, bitmap, last) == MAP_DATA) {
        a->cow_end = a->end;
    }
}

static Alloc *alloc_new(Request *r, Table *slice, unsigned index, uint64_t count)
{
    Alloc *a = g_new0(Alloc, 1);
    unsigned bits = r->q->cluster_bits;

    a->r = r;
    a->slice = slice;
    a->index = index;
    a->first = r->pos >> bits;
    a->count = count;
    a->start = r->pos;
    a->end = MIN(r->end, (a->first + count) << bits);
    return a;
}

static int write_in_place(Request *r, Table *slice, unsigned index, uint64_t entry)
{
    Qcow2 *q = r->q;
    Alloc *a = alloc_new(r, slice, index, 1);

    a->host = entry & QCOW2_OFFSET_MASK;
    set_edges(q, a);
    if (q->subs > 1) {
        trim_edges(q, a);
    }
    r->pos = a->end;
    r->changed = true;
    alloc_start(a);
    return 1;
}

/* All of a request that is to reach stable storage, and nothing else is under way: a flush would bring nobody else's data there. */
static bool is_settled(const Request *r, const Alloc *a)
{
    const Qcow2 *q = r->q;

    return r->fua && q->data == q->file && a->start == r->start && a->end == r->end && q->active.length == 1 && !q->cycle.stage;
}

static int write_fresh(Request *r, Table *slice, unsigned index)
{
    Qcow2 *q = r->q;
    uint64_t first = r->pos >> q->cluster_bits, file_end = q->file_end, host = r->pos & ~(q->cluster - 1);
    uint64_t wanted = ((r->end - 1) >> q->cluster_bits) - first + 1;
    int64_t got = (int64_t)count_fresh(q, slice, index, first, wanted);
    bool fill;
    Alloc *a;

    if (q->data == q->file) {
        got = alloc_clusters(q, (uint64_t)got, &host, &r->wait);
        if (got <= 0) {
            return (int)got;
        }
    }
    a = alloc_new(r, slice, index, (uint64_t)got);
    a->host = host;
    a->fresh = true;
    r->settled = is_settled(r, a);
    a->counted = q->lazy || ahead_has(q, host >> q->cluster_bits, (uint64_t)got);
    /* Who goes on where the last one ended will do so again: zeros written around it now are room in the file that the next
     * ones need not wait for. */
    fill = r->settled && r->pos == q->write_end && q->cluster <= FILL_MAX;
    a->blank = !q->crypto && q->data == q->file && q->file_grows && host >= file_end && !fill;
    set_edges(q, a);
    r->pos = q->write_end = a->end;
    r->changed = true;
    alloc_start(a);
    return 1;
}

static int write_slow(Request *r)
{
    Qcow2 *q = r->q;
    uint64_t entry, first = r->pos >> q->cluster_bits;
    unsigned index;
    Table *slice;
    int ret;

    if (join(r)) {
        return 1;
    }
    if (alloc_conflict(r, first, first)) {
        return 0;
    }
    ret = map_slice_for_write(q, r->pos, &slice, &index, &r->wait);
    if (ret <= 0) {
        return ret;
    }
    entry = l2_entry(q, slice, index);
    return needs_cluster(q, entry) ? write_fresh(r, slice, index)
                                   : write_in_place(r, slice, index, entry);
}

int write_step(Request *r)
{
    Qcow2 *q = r->q;
    Mapping m;
    int ret = map_lookup(q, r->pos, r->end - r->pos, &m, &r->wait);

    if (ret <= 0) {
        return ret;
    }
    if (m.kind != MAP_DATA || !m.copied) {
        return write_slow(r);
    }
    if (!overlap_check_data(q, m.host, m.len)) {
        return -EIO;
    }
    qcow2_event(q, "write_aio");
    request_child(r, q->data, BLOCK_WRITE, m.host, r->pos, m.len);
    r->pos += m.len;
    q->write_end = r->pos;
    return 1;
}

/* ---- compressed ----------------------------------------------------------------------------- */

static int pack_work(Part *p)
{
    Request *r = p->r;

    return qcow2_pack(r->q->h.compression_type, p->buf, p->buf_len, &r->packed, &r->packed_len);
}

static void packed(Part *p, int result)
{
    Request *r = p->r;

    part_free(p);
    if (result == -E2BIG) {
        r->kind = REQ_WRITE; /* no gain */
        result = 0;
    }
    r->wait.resume(&r->wait, result);
}

static int pack_start(Request *r)
{
    Qcow2 *q = r->q;
    Part *p = part_new(r, 0);

    p->buf_len = q->cluster;
    p->buf = calloc(1, q->cluster);
    if (!p->buf) {
        part_free(p);
        return -ENOMEM;
    }
    iov_to_buf(r->iov, r->iov_count, 0, p->buf, r->end - r->start);
    p->ended = packed;
    part_run_in_thread(p, pack_work);
    return 0;
}

static int write_packed(Request *r, Table *slice, unsigned index)
{
    Qcow2 *q = r->q;
    unsigned offset_bits = 62 - (q->cluster_bits - 8);
    uint64_t host, sectors;
    Alloc *a;
    Part *p;
    int ret = alloc_bytes(q, r->packed_len, &host, &r->wait);

    if (ret <= 0) {
        return ret;
    }
    unpacked_forget(q, host, r->packed_len);
    sectors = ((host + r->packed_len - 1) >> 9) - (host >> 9);
    if ((host + r->packed_len) >> offset_bits) {
        r->kind = REQ_WRITE; /* too far back for a compressed entry */
        drop_clusters(q, host & ~(q->cluster - 1),
                      ((host + r->packed_len - 1) >> q->cluster_bits) - (host >> q->cluster_bits) + 1,
                      DROP_OTHER);
        return 1;
    }
    a = alloc_new(r, slice, index, 1);
    a->packed_entry = QCOW2_COMPRESSED | sectors << offset_bits | host;
    a->link.data = a;
    g_queue_push_tail_link(&q->allocs, &a->link);
    table_pin(slice);
    p = part_new(r, 1);
    p->opaque = a;
    p->ended = alloc_written;
    a->writes = 1;
    p->iov[p->iov_count++] = (struct iovec){r->packed, r->packed_len};
    r->pos = r->end;
    r->changed = true;
    if (!overlap_check_data(q, host, r->packed_len)) {
        part_free(p);
        request_hold(r);
        alloc_end(a, -EIO);
        return 1;
    }
    qcow2_event(q, "write_compressed");
    part_submit(p, q->file, BLOCK_WRITE, host, r->packed_len);
    return 1;
}

int compressed_step(Request *r)
{
    Qcow2 *q = r->q;
    uint64_t cluster = r->pos >> q->cluster_bits;
    unsigned index;
    Table *slice;
    int ret;

    if (q->data != q->file || q->crypto) {
        return -ENOTSUP;
    }
    if (r->start & (q->cluster - 1) ||
        (r->end & (q->cluster - 1) && r->end < q->h.size)) {
        return -EINVAL;
    }
    if (r->end - r->start > q->cluster) {
        uint64_t len = MIN(q->cluster, r->end - r->pos);

        request_spawn(r, REQ_COMPRESSED, r->pos, len, NULL);
        r->pos += len;
        return 1;
    }
    if (!r->packed) {
        return pack_start(r);
    }
    if (alloc_conflict(r, cluster, cluster)) {
        return 0;
    }
    ret = map_slice_for_write(q, r->pos, &slice, &index, &r->wait);
    return ret <= 0 ? ret : write_packed(r, slice, index);
}
