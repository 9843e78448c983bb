/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Refcounts that the file has before they are needed. Who writes one new cluster after the other and waits for each to be
 * on stable storage would have the refcount block written and synced each time, before the table that names the cluster.
 * So when such a cycle writes a block, the file's copy counts the next free clusters as used already: as long as they are
 * taken in this order the block need not be written again. Memory has the truth; a power cut leaks these clusters.
 *
 * One block at a time is ahead. It stays in memory, and its truth is written with the next cycle that writes any refcount
 * block, or that is to bring everything to the file (qcow2_sync_all): before a check, a snapshot, the end.
 */
#include "block/qcow2/qcow2.h"

#define AHEAD_CLUSTERS 32

bool ahead_covers(const Qcow2 *q, const Table *t, uint64_t index, uint64_t count)
{
    const Ahead *a = &q->ahead;

    return a->block == t && index >= a->index && index + count <= a->index + a->count;
}

bool ahead_has(const Qcow2 *q, uint64_t cluster, uint64_t count)
{
    const uint64_t block = cluster >> q->rb_bits;

    return q->ahead.block && block < q->reftable_size && q->reftable[block] == q->ahead.block->offset &&
           ahead_covers(q, q->ahead.block, cluster & ((UINT64_C(1) << q->rb_bits) - 1), count);
}

void ahead_give_up(Qcow2 *q)
{
    Table *t = q->ahead.block;

    if (t) {
        refcount_change(q, t, q->ahead.index, q->ahead.count);
        ahead_forget(q);
    }
}

void ahead_forget(Qcow2 *q)
{
    if (q->ahead.block) {
        table_unpin(q->ahead.block);
        q->ahead.block = NULL;
    }
}

/* Entries of t from index on that are 0 and within what the cycle writes. */
static uint64_t free_entries(const Qcow2 *q, const Table *t, uint64_t index)
{
    const uint64_t bits = UINT64_C(1) << q->h.refcount_order, first = t->cycle_from * 8 / bits;
    const uint64_t end = MIN(t->cycle_to * 8 / bits, UINT64_C(1) << q->rb_bits);
    uint64_t n = 0;

    while (index >= first && n < AHEAD_CLUSTERS && index + n < end && !refcount_read(q, t->data, index + n)) {
        n++;
    }
    return n;
}

void ahead_prepare(Qcow2 *q)
{
    Cycle *c = &q->cycle;
    const uint64_t block = q->free_hint >> q->rb_bits, index = q->free_hint & ((UINT64_C(1) << q->rb_bits) - 1);
    Table *t = c->refblocks->len == 1 ? g_ptr_array_index(c->refblocks, 0) : NULL;

    c->ahead = (Ahead){0};
    if (!t || t->forgotten || !c->settled || q->closing || q->gate || block >= q->reftable_size || q->reftable[block] != t->offset) {
        return;
    }
    c->ahead = (Ahead){t, index, free_entries(q, t, index)};
    if (c->ahead.count) {
        table_split(t);
    }
    for (uint64_t i = 0; i < c->ahead.count; i++) {
        refcount_write(q, t->image, index + i, 1);
    }
}

void ahead_written(Qcow2 *q)
{
    const Ahead a = q->cycle.ahead;

    if (a.count && !a.block->forgotten) {
        q->ahead = a;
        table_pin(a.block);
    }
}
