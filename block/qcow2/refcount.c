/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Refcounts of 1 to 64 bits and the allocator.
 *
 * A refcount goes up in the cached block when its cluster is handed out, which is long before any
 * table names the cluster; it goes down through reclaim.c only. A range without refcount block is
 * free as a whole, so a new block lies at the beginning of the range that it describes, and a
 * refcount table that has become too small moves there too.
 */
#include <stdlib.h>

#include "block/qcow2/qcow2.h"

/* ---- one entry ------------------------------------------------------------------------------ */

uint64_t refcount_read(const Qcow2 *q, const uint8_t *block, uint64_t index)
{
    unsigned bits = 1u << q->h.refcount_order;

    switch (q->h.refcount_order) {
    case 3:
        return block[index];
    case 4:
        return load16_be(block + 2 * index);
    case 5:
        return load32_be(block + 4 * index);
    case 6:
        return load64_be(block + 8 * index);
    default:
        return block[index * bits / 8] >> (index * bits % 8) & ((1u << bits) - 1);
    }
}

void refcount_write(const Qcow2 *q, uint8_t *block, uint64_t index, uint64_t value)
{
    unsigned bits = 1u << q->h.refcount_order;

    switch (q->h.refcount_order) {
    case 3:
        block[index] = (uint8_t)value;
        return;
    case 4:
        store16_be(block + 2 * index, (uint16_t)value);
        return;
    case 5:
        store32_be(block + 4 * index, (uint32_t)value);
        return;
    case 6:
        store64_be(block + 8 * index, value);
        return;
    default: {
        unsigned shift = index * bits % 8, mask = ((1u << bits) - 1) << shift;
        uint8_t *byte = block + index * bits / 8;

        *byte = (uint8_t)((*byte & ~mask) | (value << shift & mask));
    }
    }
}

void refcount_change(const Qcow2 *q, Table *t, uint64_t index, uint64_t count)
{
    const uint64_t bits = UINT64_C(1) << q->h.refcount_order, from = index * bits / 8;

    table_change_part(t, from, (index + count) * bits / 8 + ((index + count) * bits % 8 != 0) - from);
}

/* ---- blocks --------------------------------------------------------------------------------- */

int refblock_get(Qcow2 *q, uint64_t cluster, Table **t, Waiter *w)
{
    uint64_t index = cluster >> q->rb_bits, entry;

    if (index >= q->reftable_size || !q->reftable[index]) {
        return -ENOENT;
    }
    entry = q->reftable[index];
    if (entry & (q->cluster - 1) || entry > QCOW2_OFFSET_MASK) {
        return qcow2_corrupt(q, "Refblock offset %#" PRIx64 " unaligned (reftable index: %#" PRIx64
                             ")", entry, index);
    }
    *t = table_get(&q->rb, entry, w);
    return *t != NULL;
}

static void use_clusters(Qcow2 *q, Table *t, uint64_t cluster, uint64_t count)
{
    uint64_t mask = (UINT64_C(1) << q->rb_bits) - 1;

    if (!ahead_covers(q, t, cluster & mask, count)) {
        refcount_change(q, t, cluster & mask, count);
    }
    for (uint64_t i = 0; i < count; i++) {
        refcount_write(q, t->data, (cluster + i) & mask, 1);
    }
    q->file_end = MAX(q->file_end, (cluster + count) << q->cluster_bits);
}

/* A bigger refcount table, and as many new blocks as it takes to describe both, from the range
 * `first` on, which the present table does not reach. */
static int grow_reftable(Qcow2 *q, uint64_t first)
{
    uint64_t per_block = UINT64_C(1) << q->rb_bits, per_cluster = q->cluster / 8;
    uint64_t blocks = 1, entries, clusters, base = first << q->rb_bits;
    uint64_t old_offset = q->h.reftable_offset, old_clusters = q->h.reftable_clusters;
    uint64_t *table;

    if (first >= QCOW2_MAX_REFTABLE_BYTES / 8) { /* to find out below takes seconds for the last clusters there can be */
        return -EFBIG;
    }
    do {
        entries = (first + blocks) + (first + blocks) / 2 + 1;
        clusters = (entries + per_cluster - 1) / per_cluster;
    } while (blocks * per_block < blocks + clusters && blocks++);
    if (clusters << q->cluster_bits > QCOW2_MAX_REFTABLE_BYTES) {
        clusters = QCOW2_MAX_REFTABLE_BYTES >> q->cluster_bits;
        if (clusters * per_cluster < first + blocks) {
            return -EFBIG;
        }
    }
    entries = clusters * per_cluster;
    table = g_new0(uint64_t, entries);
    memcpy(table, q->reftable, q->reftable_size * 8);
    g_free(q->reftable);
    q->reftable = table;
    q->reftable_size = (uint32_t)entries;
    q->h.reftable_offset = (base + blocks) << q->cluster_bits;
    q->h.reftable_clusters = (uint32_t)clusters;
    for (uint64_t b = 0; b < blocks; b++) {
        uint64_t start = (first + b) << q->rb_bits, total = blocks + clusters;
        Table *t = table_new(&q->rb, (base + b) << q->cluster_bits);

        if (total > b * per_block) {
            use_clusters(q, t, start, MIN(per_block, total - b * per_block));
        }
        q->reftable[first + b] = t->offset;
    }
    dirty_parts_init(&q->reftable_dirty, q->reftable_size, qcow2_part_bytes(q));
    dirty_parts_all(&q->reftable_dirty);
    q->reftable_moved = true;
    meta_add(q, base << q->cluster_bits, blocks << q->cluster_bits, QCOW2_OVERLAP_REFBLOCK);
    meta_remove(q, old_offset, old_clusters << q->cluster_bits);
    meta_add(q, q->h.reftable_offset, clusters << q->cluster_bits, QCOW2_OVERLAP_REFTABLE);
    drop_clusters(q, old_offset, old_clusters, DROP_OTHER);
    return 1;
}

/* The range of this cluster has no block: makes one. 1 or < 0; 0: a cycle must end first. */
static int make_refblock(Qcow2 *q, uint64_t cluster, Waiter *w)
{
    uint64_t index = cluster >> q->rb_bits, base = index << q->rb_bits;
    Table *t;

    if (base > QCOW2_OFFSET_MASK >> q->cluster_bits) {
        return -EFBIG;
    }
    qcow2_event(q, "refblock_alloc");
    if (index >= q->reftable_size) {
        /* A cycle that writes the old table must not meet the new one. */
        if (q->cycle.stage || q->reftable_moved) {
            wait_list_add(&q->cycle_end, w);
            q->cycle_wanted = true;
            return 0;
        }
        qcow2_event(q, "reftable_grow");
        return grow_reftable(q, index);
    }
    if (g_hash_table_contains(q->meta, GSIZE_TO_POINTER(base))) {
        return qcow2_corrupt(q, "Preventing invalid allocation of refcount block at offset %#" PRIx64,
                             base << q->cluster_bits);
    }
    t = table_new(&q->rb, base << q->cluster_bits);
    use_clusters(q, t, base, 1);
    reftable_set(q, index, t->offset);
    meta_add(q, t->offset, q->cluster, QCOW2_OVERLAP_REFBLOCK);
    return 1;
}

/* ---- allocation ----------------------------------------------------------------------------- */

/* First free run in a block from cluster on, at most want long. */
static uint64_t find_run(const Qcow2 *q, const Table *t, uint64_t *cluster, uint64_t want)
{
    uint64_t mask = (UINT64_C(1) << q->rb_bits) - 1, at = *cluster & mask, n = 0;

    while (at <= mask && refcount_read(q, t->data, at)) {
        at++;
    }
    while (n < want && at + n <= mask && !refcount_read(q, t->data, at + n)) {
        n++;
    }
    *cluster = (*cluster & ~mask) + at;
    return n;
}

int64_t alloc_clusters(Qcow2 *q, uint64_t want, uint64_t *host, Waiter *w)
{
    uint64_t cluster = MAX(q->free_hint, 1);

    qcow2_event(q, "cluster_alloc");
    for (;;) {
        Table *t = NULL;
        uint64_t n;
        int ret = refblock_get(q, cluster, &t, w);

        if (ret == -ENOENT) {
            ret = make_refblock(q, cluster, w);
            if (ret <= 0) {
                return ret;
            }
            continue;
        }
        if (ret <= 0) {
            return ret;
        }
        n = find_run(q, t, &cluster, want);
        if (!n) {
            q->free_hint = cluster; /* the next block's first */
            continue;
        }
        for (uint64_t i = 0; i < n; i++) {
            if (g_hash_table_contains(q->meta, GSIZE_TO_POINTER(cluster + i))) {
                return qcow2_corrupt(q, "Preventing invalid allocation at offset %#" PRIx64
                                     ": metadata with refcount 0", (cluster + i) << q->cluster_bits);
            }
        }
        *host = cluster << q->cluster_bits;
        use_clusters(q, t, cluster, n);
        q->free_hint = cluster + n;
        return (int64_t)n;
    }
}

void alloc_undo(Qcow2 *q, uint64_t host, uint64_t count)
{
    uint64_t cluster = host >> q->cluster_bits, mask = (UINT64_C(1) << q->rb_bits) - 1;

    for (uint64_t i = cluster; i < cluster + count; i++) {
        Table *t = i >> q->rb_bits < q->reftable_size
                       ? table_peek(&q->rb, q->reftable[i >> q->rb_bits])
                       : NULL;

        if (t && refcount_read(q, t->data, i & mask) == 1) {
            refcount_change(q, t, i & mask, 1);
            refcount_write(q, t->data, i & mask, 0);
            q->free_hint = MIN(q->free_hint, i);
        }
    }
}

int refcount_add(Qcow2 *q, uint64_t cluster, int delta, uint64_t *value, Waiter *w)
{
    uint64_t index = cluster & ((UINT64_C(1) << q->rb_bits) - 1);
    Table *t = NULL;
    int ret = refblock_get(q, cluster, &t, w);

    if (ret == -ENOENT && delta > 0) {
        ret = make_refblock(q, cluster, w);
        return ret > 0 ? refcount_add(q, cluster, delta, value, w) : ret;
    }
    if (ret == -ENOENT) {
        return qcow2_corrupt(q, "Cluster %#" PRIx64 " is in use but has refcount 0",
                             cluster << q->cluster_bits);
    }
    if (ret <= 0) {
        return ret;
    }
    *value = refcount_read(q, t->data, index);
    if (delta > 0 ? *value == refcount_max(q) : !*value) {
        return delta > 0 ? -EOVERFLOW
                         : qcow2_corrupt(q, "Refcount of cluster %#" PRIx64 " underflows",
                                         cluster << q->cluster_bits);
    }
    *value += (uint64_t)(int64_t)delta;
    refcount_change(q, t, index, 1);
    refcount_write(q, t->data, index, *value);
    if (!*value) {
        q->free_hint = MIN(q->free_hint, cluster);
    }
    return 1;
}

/* ---- compressed data ------------------------------------------------------------------------ */

/* Behind what was written last, when its cluster still takes another reference; else in a new
 * cluster, and on into the next one when that happens to be free. */
int alloc_bytes(Qcow2 *q, uint64_t len, uint64_t *host, Waiter *w)
{
    uint64_t room = q->compressed_pos ? q->cluster - (q->compressed_pos & (q->cluster - 1)) : 0;
    uint64_t old = q->compressed_pos, fresh = 0, value;
    int64_t ret;

    if (room == q->cluster) {
        room = 0;
    }
    qcow2_event(q, "cluster_alloc_bytes");
    if (room) {
        Table *t = NULL; /* the block must be there before anything changes */

        ret = refblock_get(q, old >> q->cluster_bits, &t, w);
        if (ret == 0) {
            return 0;
        }
        if (ret < 0 || refcount_read(q, t->data, old >> q->cluster_bits &
                                     ((UINT64_C(1) << q->rb_bits) - 1)) - 1 >= refcount_max(q) - 1) {
            room = 0; /* freed meanwhile, or full */
        }
    }
    if (room < len) {
        ret = alloc_clusters(q, 1, &fresh, w);
        if (ret <= 0) {
            return (int)ret;
        }
        if (!room || fresh != old + room) {
            *host = fresh;
            q->compressed_pos = fresh + len;
            return 1;
        }
    }
    ret = refcount_add(q, old >> q->cluster_bits, 1, &value, w);
    if (ret <= 0) {
        if (room < len) {
            alloc_undo(q, fresh, 1);
        }
        return (int)ret;
    }
    *host = old;
    q->compressed_pos = old + len;
    return 1;
}

/* ---- synchronous ---------------------------------------------------------------------------- */

uint64_t refcount_sync(Qcow2 *q, uint64_t cluster, int *error)
{
    SyncWait s;
    Table *t;
    int ret;

    sync_init(&s, q);
    while ((ret = refblock_get(q, cluster, &t, &s.w)) == 0) {
        ret = sync_wait(&s);
        if (ret < 0) {
            break;
        }
    }
    if (ret < 0) {
        *error = ret == -ENOENT ? 0 : ret;
        return 0;
    }
    *error = 0;
    return refcount_read(q, t->data, cluster & ((UINT64_C(1) << q->rb_bits) - 1));
}

int refcount_add_sync(Qcow2 *q, uint64_t cluster, int delta, uint64_t *value)
{
    SyncWait s;
    int ret;

    sync_init(&s, q);
    while ((ret = refcount_add(q, cluster, delta, value, &s.w)) == 0) {
        if (q->cycle_wanted) {
            cycle_start(q);
        }
        ret = sync_wait(&s);
        if (ret < 0) {
            break;
        }
    }
    return ret < 0 ? ret : 0;
}

/* How many clusters from `cluster` on are free, up to want; *taken: the first that is not. */
static int64_t free_run(Qcow2 *q, uint64_t cluster, uint64_t want, uint64_t *taken)
{
    for (uint64_t n = 0; n < want; n++) {
        int error;
        uint64_t value = refcount_sync(q, cluster + n, &error);

        if (error) {
            return error;
        }
        if (value) {
            *taken = cluster + n;
            return (int64_t)n;
        }
    }
    return (int64_t)want;
}

/* How many of the ranges that [cluster, cluster + count) touches have no block. */
static uint64_t blocks_missing(const Qcow2 *q, uint64_t cluster, uint64_t count)
{
    uint64_t n = 0;

    for (uint64_t i = cluster >> q->rb_bits; i <= (cluster + count - 1) >> q->rb_bits; i++) {
        n += i >= q->reftable_size || !q->reftable[i];
    }
    return n;
}

/* Finds count free clusters and, before them, *blocks more for the blocks that their ranges lack. */
static int find_room(Qcow2 *q, uint64_t count, uint64_t *cluster, uint64_t *blocks)
{
    uint64_t taken = 0;
    int64_t n;

    *blocks = 0;
    for (;;) {
        n = free_run(q, *cluster, *blocks + count, &taken);
        if (n < 0) {
            return (int)n;
        }
        if ((uint64_t)n < *blocks + count) {
            *cluster = taken + 1;
            *blocks = 0;
        } else if (blocks_missing(q, *cluster, *blocks + count) > *blocks) {
            *blocks = blocks_missing(q, *cluster, *blocks + count);
        } else {
            return 0;
        }
    }
}

/* The refcount table reaches up to this cluster; it may have moved to free clusters. */
static int reach_cluster(Qcow2 *q, uint64_t cluster)
{
    SyncWait s;
    int ret = 1;

    sync_init(&s, q);
    while (cluster >> q->rb_bits >= q->reftable_size && ret >= 0) {
        ret = make_refblock(q, cluster, &s.w);
        if (ret == 0) {
            cycle_start(q);
            ret = sync_wait(&s);
        }
    }
    return ret < 0 ? ret : 0;
}

/* The first reference to each of these free clusters. *done: how many have got it. */
static int add_references(Qcow2 *q, uint64_t cluster, uint64_t count, uint64_t *done)
{
    uint64_t value;
    int ret;

    for (*done = 0; *done < count; ++*done) {
        if (g_hash_table_contains(q->meta, GSIZE_TO_POINTER(cluster + *done))) {
            return qcow2_corrupt(q, "Preventing invalid allocation at offset %#" PRIx64
                                 ": metadata with refcount 0", (cluster + *done) << q->cluster_bits);
        }
        ret = refcount_add_sync(q, cluster + *done, 1, &value);
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

/* The first `blocks` clusters become the blocks that [cluster, end) lacks. Nothing waits between the change of the
 * table and the blocks' counting of themselves, so no cycle can take one without the other. */
static int make_blocks(Qcow2 *q, uint64_t cluster, uint64_t blocks, uint64_t end)
{
    uint64_t at = cluster, known = cluster, done;
    int ret = 0;

    while (known < cluster + blocks && q->reftable[known >> q->rb_bits]) {
        known++;
    }
    if (known > cluster) { /* these are counted in a block that is there */
        ret = add_references(q, cluster, known - cluster, &done);
        if (ret < 0) {
            return ret;
        }
    }
    for (uint64_t i = cluster >> q->rb_bits; i <= (end - 1) >> q->rb_bits; i++) {
        if (!q->reftable[i]) {
            reftable_set(q, i, table_new(&q->rb, at++ << q->cluster_bits)->offset);
        }
    }
    for (uint64_t i = known; i < cluster + blocks; i++) {
        Table *t = table_peek(&q->rb, q->reftable[i >> q->rb_bits]);

        use_clusters(q, t, i, 1);
    }
    meta_add(q, cluster << q->cluster_bits, blocks << q->cluster_bits, QCOW2_OVERLAP_REFBLOCK);
    return 0;
}

int alloc_contiguous(Qcow2 *q, uint64_t count, uint64_t *host)
{
    uint64_t cluster = MAX(q->free_hint, 1), blocks = 0, done = 0, ignored;
    int ret;

    qcow2_event(q, "cluster_alloc");
    ret = find_room(q, count, &cluster, &blocks);
    while (ret == 0 && (cluster + blocks + count - 1) >> q->rb_bits >= q->reftable_size) {
        ret = reach_cluster(q, cluster + blocks + count - 1);
        ret = ret < 0 ? ret : find_room(q, count, &cluster, &blocks);
    }
    if (ret == 0 && blocks) {
        qcow2_event(q, "refblock_alloc");
        ret = make_blocks(q, cluster, blocks, cluster + blocks + count);
    }
    cluster += blocks;
    ret = ret < 0 ? ret : add_references(q, cluster, count, &done);
    if (ret < 0) {
        while (done--) {
            refcount_add_sync(q, cluster + done, -1, &ignored);
        }
        return ret;
    }
    *host = cluster << q->cluster_bits;
    q->file_end = MAX(q->file_end, (cluster + count) << q->cluster_bits);
    return 0;
}
