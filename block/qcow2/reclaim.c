/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Clusters that are no longer needed. A dropped reference goes three ways: it is remembered (the
 * refcount stays), a cycle brings the tables that dropped it to stable storage, and when every
 * request that was active then has ended, the refcount goes down. Only a cluster whose last
 * reference this was is discarded in the file, before anybody can get it again.
 */
#include "block/qcow2/qcow2.h"

#define DROPPED_SOFT_LIMIT 4096 /* clusters; then a cycle is worth its flush */

void drop_clusters(Qcow2 *q, uint64_t host, uint64_t count, DropKind kind)
{
    Dropped *last = q->dropped->len ? &g_array_index(q->dropped, Dropped, q->dropped->len - 1)
                                    : NULL;
    Dropped fresh = {host, count, kind};

    if (!count) {
        return;
    }
    if (q->compressed_pos >= host && q->compressed_pos - host < count << q->cluster_bits) {
        q->compressed_pos = 0; /* nothing is packed into a cluster that is about to go */
    }
    q->dropped_count += count;
    if (q->dropped_count > DROPPED_SOFT_LIMIT) {
        q->cycle_wanted = true;
    }
    if (last && last->kind == kind && last->host + (last->count << q->cluster_bits) == host) {
        last->count += count;
    } else {
        g_array_append_val(q->dropped, fresh);
    }
}

void drop_entry(Qcow2 *q, uint64_t entry, DropKind kind)
{
    uint64_t host;
    uint32_t len;

    if (entry & QCOW2_COMPRESSED) {
        map_compressed(q, entry, &host, &len);
        if (len) {
            uint64_t first = host >> q->cluster_bits, last = (host + len - 1) >> q->cluster_bits;

            drop_clusters(q, first << q->cluster_bits, last - first + 1, kind);
        }
    } else if ((entry & QCOW2_OFFSET_MASK) && q->data == q->file) {
        drop_clusters(q, entry & QCOW2_OFFSET_MASK, 1, kind);
    }
}

void reclaim_add(Qcow2 *q, GArray *ranges)
{
    Reclaim *r = g_new0(Reclaim, 1);

    r->ranges = ranges;
    r->seq = q->next_seq;
    g_queue_push_tail(&q->reclaims, r);
}

/* ---- one range ------------------------------------------------------------------------------ */

typedef struct Discard {
    BlockIo io;
    Qcow2 *q;
} Discard;

static bool wants_discard(const Qcow2 *q, DropKind kind)
{
    return kind == DROP_REQUEST    ? q->opt.discard_request
           : kind == DROP_SNAPSHOT ? q->opt.discard_snapshot
                                   : q->opt.discard_other;
}

/* The refcounts [cluster, cluster + n), all in t, go down by one. */
static void lower(Qcow2 *q, Table *t, uint64_t cluster, uint64_t n)
{
    uint64_t mask = (UINT64_C(1) << q->rb_bits) - 1;

    refcount_change(q, t, cluster & mask, n);
    for (uint64_t i = cluster; i < cluster + n; i++) {
        uint64_t value = refcount_read(q, t->data, i & mask) - 1;

        refcount_write(q, t->data, i & mask, value);
        if (!value) {
            q->free_hint = MIN(q->free_hint, i);
        }
    }
}

/* A run from cluster on within its block whose refcounts are all 1, or all more. */
static uint64_t same_run(const Qcow2 *q, const Table *t, uint64_t cluster, uint64_t max, bool *last)
{
    uint64_t mask = (UINT64_C(1) << q->rb_bits) - 1, n = 0;

    *last = refcount_read(q, t->data, cluster & mask) == 1;
    while (n < max && (n == 0 || (cluster + n) & mask)) {
        uint64_t value = refcount_read(q, t->data, (cluster + n) & mask);

        if (!value || (value == 1) != *last) {
            break;
        }
        n++;
    }
    return n;
}

static void discarded(BlockIo *io, int result)
{
    Discard *d = container_of(io, Discard, io);
    Qcow2 *q = d->q;

    (void)result; /* a hint */
    g_free(d);
    q->reclaiming = false;
    reclaim_run(q);
}

static void discard_host(Qcow2 *q, uint64_t host, uint64_t len)
{
    Discard *d = g_new0(Discard, 1);

    d->q = q;
    d->io = (BlockIo){.op = BLOCK_DISCARD, .offset = host, .len = len, .done = discarded};
    q->reclaiming = true;
    block_node_submit(q->file, &d->io);
}

static void reclaim_resumed(Waiter *w, int result)
{
    Qcow2 *q = container_of(w, Qcow2, reclaim_wait);

    q->reclaiming = false;
    if (result < 0) {
        Reclaim *r = g_queue_pop_head(&q->reclaims); /* these leak */

        g_array_unref(r->ranges);
        g_free(r);
    }
    reclaim_run(q);
}

/* Works on the last range of the head. False: parked. */
static bool reclaim_step(Qcow2 *q, Reclaim *r)
{
    Dropped *d = &g_array_index(r->ranges, Dropped, r->ranges->len - 1);
    uint64_t cluster = d->host >> q->cluster_bits, n;
    bool last, discard_now;
    Table *t;
    int ret;

    q->reclaim_wait.resume = reclaim_resumed;
    ret = refblock_get(q, cluster, &t, &q->reclaim_wait);
    if (ret == 0) {
        q->reclaiming = true;
        return false;
    }
    n = ret > 0 ? same_run(q, t, cluster, d->count, &last) : 0;
    if (!n) {
        if (ret > 0 || ret == -ENOENT) {
            qcow2_corrupt(q, "A cluster that was in use has refcount 0 (offset %#" PRIx64 ")",
                          d->host);
        }
        g_array_set_size(r->ranges, r->ranges->len - 1);
        return true;
    }
    discard_now = last && wants_discard(q, d->kind) && !q->reclaim_discarding && !q->broken;
    if (discard_now) {
        /* The same run comes again when the hole is there. */
        q->reclaim_discarding = true;
        discard_host(q, d->host, n << q->cluster_bits);
        return false;
    }
    q->reclaim_discarding = false;
    qcow2_event(q, "cluster_free");
    lower(q, t, cluster, n);
    d->host += n << q->cluster_bits;
    d->count -= n;
    if (!d->count) {
        g_array_set_size(r->ranges, r->ranges->len - 1);
    }
    return true;
}

static bool is_quiet(const Qcow2 *q, const Reclaim *r)
{
    const Request *oldest = q->active.head ? q->active.head->data : NULL;

    return !oldest || oldest->seq >= r->seq;
}

void reclaim_run(Qcow2 *q)
{
    while (!q->reclaiming && q->reclaims.head) {
        Reclaim *r = q->reclaims.head->data;

        if (!is_quiet(q, r)) {
            return;
        }
        if (!r->ranges->len) {
            g_queue_pop_head(&q->reclaims);
            g_array_unref(r->ranges);
            g_free(r);
        } else if (!reclaim_step(q, r)) {
            return;
        }
    }
    if (!q->reclaims.head) {
        wait_list_wake(&q->reclaim_idle, 0);
    }
}
