/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Zeros and discards: decisions about L2 entries alone, except for the edges of a zero request that
 * cover part of a (sub)cluster, and for v2 images, which have no zero flag: there zeros are written.
 */
#include <stdlib.h>

#include "block/qcow2/qcow2.h"

#define ZERO_CHUNK (1 * MIB)

static int write_zeros(Request *r, uint64_t len)
{
    void *buf = r->no_fallback ? NULL : calloc(1, len);

    if (!buf) {
        return r->no_fallback ? -ENOTSUP : -ENOMEM;
    }
    request_spawn(r, REQ_WRITE, r->pos, len, buf);
    r->pos += len;
    return 1;
}

/* The end of the disk counts as the end of its last cluster. */
static uint64_t rounded_end(const Request *r, uint64_t unit)
{
    return r->end >= r->q->h.size && !r->internal ? align_up(r->end, unit) : r->end;
}

/* ---- entries -------------------------------------------------------------------------------- */

/* A cluster becomes zeros. keep: its host cluster stays, if it is its own. */
static void zero_entry(Qcow2 *q, Table *t, unsigned index, bool keep, DropKind kind)
{
    uint64_t old = l2_entry(q, t, index), bitmap = l2_bitmap(q, t, index), entry = 0, zeros;

    zeros = q->subs > 1 ? UINT64_C(0xffffffff) << 32 : 0;
    if (keep && old & QCOW2_COPIED && !(old & QCOW2_COMPRESSED)) {
        entry = (old & QCOW2_OFFSET_MASK) | QCOW2_COPIED;
    }
    if (q->subs == 1) {
        entry |= QCOW2_ZERO;
    }
    if (entry == old && zeros == bitmap) {
        return;
    }
    table_change(t);
    l2_store(q, t, index, entry, zeros);
    if (!(entry & QCOW2_COPIED)) {
        drop_entry(q, old, kind);
    }
}

static void clear_entry(Qcow2 *q, Table *t, unsigned index, DropKind kind)
{
    uint64_t old = l2_entry(q, t, index);

    if (!old && !l2_bitmap(q, t, index)) {
        return;
    }
    table_change(t);
    l2_store(q, t, index, 0, 0);
    drop_entry(q, old, kind);
}

/* Clusters of r from pos on, in the slice, whole: up to end. */
static uint64_t whole_clusters(const Qcow2 *q, uint64_t pos, uint64_t end, unsigned index)
{
    return MIN((end - pos) >> q->cluster_bits, slice_entries(q) - index);
}

/* ---- write zeroes --------------------------------------------------------------------------- */

static bool keeps_clusters(const Request *r)
{
    return !r->unmap || qcow2_has_data_file(&r->q->h);
}

/* Frees what a data file has from pos to end. A cluster has its place there for good, so that this may happen before the
 * tables are stable: the same bytes are zeros by either. */
static void punch_data_file(Request *r, uint64_t end)
{
    Qcow2 *q = r->q;

    if (qcow2_has_data_file(&q->h) && q->opt.discard_request) {
        part_submit(part_new(r, 0), q->data, BLOCK_DISCARD, r->pos, MIN(end, r->end) - r->pos);
    }
}

/* Some subclusters of one cluster. */
static int zero_subclusters(Request *r, Table *t, unsigned index, uint64_t end)
{
    Qcow2 *q = r->q;
    uint64_t entry = l2_entry(q, t, index), bitmap = l2_bitmap(q, t, index), mask;
    unsigned first = r->pos >> q->sub_bits & (q->subs - 1);
    uint64_t stop = MIN(end & ~((UINT64_C(1) << q->sub_bits) - 1),
                        (r->pos & ~(q->cluster - 1)) + q->cluster);
    unsigned n = (unsigned)((stop - r->pos) >> q->sub_bits);

    if (entry & QCOW2_COMPRESSED || (entry & QCOW2_OFFSET_MASK && !(entry & QCOW2_COPIED))) {
        return write_zeros(r, stop - r->pos);
    }
    mask = ((UINT64_C(1) << n) - 1) << first;
    table_change(t);
    l2_store(q, t, index, entry, (bitmap & ~mask) | mask << 32);
    r->changed = true;
    r->pos = stop;
    return 1;
}

/* Zeros already, and also when the disk grows over pos? */
static bool stays_zero(const Request *r, const Mapping *m)
{
    const BlockNode *backing = r->q->backing;

    return m->kind == MAP_ZERO || (m->kind == MAP_UNALLOCATED && (!backing || r->pos >= backing->size));
}

/* From pos on to the next border of unit: no table can say that. */
static int zero_edge(Request *r, uint64_t unit)
{
    Qcow2 *q = r->q;
    uint64_t len = MIN(r->end - r->pos, unit - (r->pos & (unit - 1)));
    Mapping m;
    int ret = map_lookup(q, r->pos, len, &m, &r->wait);

    if (ret <= 0) {
        return ret;
    }
    if (stays_zero(r, &m)) {
        /* A write to it may be on its way; this one counts as earlier. */
        r->pos += m.len;
        return 1;
    }
    return write_zeros(r, m.len);
}

/* v2: no flag. */
static int zero_by_writing(Request *r)
{
    Qcow2 *q = r->q;
    Mapping m;
    int ret = map_lookup(q, r->pos, MIN(r->end - r->pos, ZERO_CHUNK), &m, &r->wait);

    if (ret <= 0) {
        return ret;
    }
    if (stays_zero(r, &m)) {
        r->pos += m.len;
        return 1;
    }
    return write_zeros(r, m.len);
}

/* The data file itself must hold the zeros. */
static int zero_raw_data(Request *r)
{
    part_submit(part_new(r, 0), r->q->data, BLOCK_ZERO, r->pos, r->end - r->pos);
    r->changed = true; /* fua: by a flush */
    r->pos = r->end;
    return 1;
}

int zero_step(Request *r)
{
    Qcow2 *q = r->q;
    uint64_t sub = UINT64_C(1) << q->sub_bits, end = rounded_end(r, sub), n;
    uint64_t cluster_end = rounded_end(r, q->cluster);
    unsigned index;
    Table *slice;
    int ret;

    if (qcow2_data_file_is_raw(&q->h) && !q->crypto) {
        return zero_raw_data(r);
    }
    if (q->h.version < 3) {
        return zero_by_writing(r);
    }
    if (r->pos & (sub - 1) || end - r->pos < sub) {
        return zero_edge(r, sub);
    }
    n = MAX((cluster_end - r->pos) >> q->cluster_bits, 1);
    if (alloc_conflict(r, r->pos >> q->cluster_bits, (r->pos >> q->cluster_bits) + n - 1)) {
        return 0;
    }
    ret = map_slice(q, r->pos, &slice, &index, &r->wait);
    if (ret == -ENOENT && !q->backing) {
        uint64_t span = UINT64_C(1) << (q->cluster_bits + q->l2_bits);

        r->pos = MIN(r->end, (r->pos & ~(span - 1)) + span); /* zeros already */
        return 1;
    }
    if (ret > 0 || ret == -ENOENT) {
        ret = map_slice_for_write(q, r->pos, &slice, &index, &r->wait);
    }
    if (ret <= 0) {
        return ret;
    }
    if (r->pos & (q->cluster - 1) || cluster_end - r->pos < q->cluster) {
        return zero_subclusters(r, slice, index, end);
    }
    n = whole_clusters(q, r->pos, cluster_end, index);
    for (uint64_t i = 0; i < n; i++) {
        zero_entry(q, slice, index + (unsigned)i, keeps_clusters(r), DROP_REQUEST);
    }
    if (r->unmap) {
        punch_data_file(r, r->pos + (n << q->cluster_bits));
    }
    r->changed = true;
    r->pos = MIN(r->end, r->pos + (n << q->cluster_bits));
    return 1;
}

/* ---- discard -------------------------------------------------------------------------------- */

/* What was discarded reads as zeros, not as what the backing file has at pos; that is then not copied by who flattens a
 * chain, either. v2 has no flag for it: there nothing changes. */
static bool shows_backing(const Qcow2 *q, uint64_t pos)
{
    return q->backing && pos < q->backing->size && q->h.version >= 3;
}

static void discard_entry(Qcow2 *q, Table *t, unsigned index, uint64_t pos, bool full)
{
    uint64_t entry = l2_entry(q, t, index);
    bool allocated = entry & (QCOW2_OFFSET_MASK | QCOW2_COMPRESSED | QCOW2_COPIED);

    if (full) {
        clear_entry(q, t, index, DROP_REQUEST);
    } else if (q->h.version < 3) {
        if (!q->backing) {
            clear_entry(q, t, index, DROP_REQUEST);
        }
    } else if (allocated || shows_backing(q, pos)) {
        zero_entry(q, t, index, qcow2_has_data_file(&q->h), DROP_REQUEST);
    }
}

int discard_step(Request *r)
{
    Qcow2 *q = r->q;
    uint64_t end = rounded_end(r, q->cluster) & ~(q->cluster - 1), n, first;
    unsigned index;
    Table *slice;
    int ret;

    r->pos = align_up(r->pos, q->cluster);
    if (r->pos >= end) {
        r->pos = r->end;
        return 1;
    }
    if (qcow2_data_file_is_raw(&q->h) && !r->full) {
        r->unmap = q->opt.discard_request;
        return zero_step(r);
    }
    first = r->pos >> q->cluster_bits;
    if (alloc_conflict(r, first, ((end - 1) >> q->cluster_bits))) {
        return 0;
    }
    ret = map_slice(q, r->pos, &slice, &index, &r->wait);
    if (ret == -ENOENT && (r->full || !shows_backing(q, r->pos))) {
        uint64_t span = UINT64_C(1) << (q->cluster_bits + q->l2_bits);

        r->pos = MIN(r->end, (r->pos & ~(span - 1)) + span);
        return 1;
    }
    if (ret > 0 || ret == -ENOENT) {
        ret = map_slice_for_write(q, r->pos, &slice, &index, &r->wait);
    }
    if (ret <= 0) {
        return ret;
    }
    n = whole_clusters(q, r->pos, end, index);
    for (uint64_t i = 0; i < n; i++) {
        discard_entry(q, slice, index + (unsigned)i, r->pos + (i << q->cluster_bits), r->full);
    }
    if (!r->full) {
        punch_data_file(r, r->pos + (n << q->cluster_bits));
    }
    r->changed = true;
    r->pos = MIN(r->end, r->pos + (n << q->cluster_bits));
    return 1;
}
