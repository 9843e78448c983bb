/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The write-back cycle: brings a consistent set of tables to the file, class after class, with a
 * flush where the next class relies on the one before:
 *
 *   refcount blocks | refcount table | header (when the table moved) | L2 | L1 | final flush
 *
 * A write to new clusters that is alone and has to be on stable storage when it ends (Request.settled) takes its data there
 * itself; when its refcounts are in the file already (ahead.c), the L2 table is all there is to write, and no flush is needed.
 *
 * Flush requests join the next cycle that starts. When one fails, its tables are dirty again and
 * what was dropped stays dropped-but-not-reusable; the next cycle tries once more.
 *
 * With lazy refcounts the dirty bit is in the header before the first L2 table is written, and the
 * refcount blocks stay in memory until their cache is full or the image is closed: whoever opens a
 * dirty image counts anew.
 */
#include <stdlib.h>

#include "block/qcow2/qcow2.h"
#include "util/trace.h"

enum {
    STAGE_NONE,
    STAGE_REFBLOCKS,
    STAGE_FLUSH_REFBLOCKS,
    STAGE_REFTABLE,
    STAGE_FLUSH_REFTABLE,
    STAGE_HEADER,
    STAGE_BARRIER,
    STAGE_L2,
    STAGE_FLUSH_L2,
    STAGE_L1,
    STAGE_FINAL_FLUSH,
    STAGE_END,
};

typedef struct TableImage {
    uint64_t offset;
    uint8_t *data;
    size_t len;
} TableImage;

typedef struct CycleIo {
    BlockIo io;
    Qcow2 *q;
    uint8_t *buf; /* freed with it */
    struct iovec iov[];
} CycleIo;

/* ---- dirty parts ---------------------------------------------------------------------------- */

void dirty_parts_init(DirtyParts *d, unsigned entries, unsigned part_bytes)
{
    g_free(d->bits);
    d->shift = (unsigned)g_bit_nth_msf(part_bytes, -1) - 3;
    d->count = (entries >> d->shift) + 1;
    d->bits = g_malloc0(d->count);
    d->any = false;
}

void dirty_parts_set(DirtyParts *d, uint64_t entry)
{
    d->bits[entry >> d->shift] = 1;
    d->any = true;
}

void dirty_parts_all(DirtyParts *d)
{
    memset(d->bits, 1, d->count);
    d->any = true;
}

/* Copies of the dirty parts of an in-memory table of `entries` entries at offset. */
static GArray *take_parts(DirtyParts *d, const uint64_t *table, uint64_t entries, uint64_t offset)
{
    GArray *images = g_array_new(FALSE, FALSE, sizeof(TableImage));
    uint64_t part = UINT64_C(1) << d->shift;

    for (unsigned i = 0; d->any && i < d->count; i++) {
        uint64_t first = i * part, end = MIN(align_up(entries, part), first + part);
        TableImage image = {offset + first * 8, NULL, (end - first) * 8};

        if (!d->bits[i] || first >= entries) {
            continue;
        }
        image.data = g_malloc(image.len);
        for (uint64_t e = first; e < end; e++) {
            store64_be(image.data + (e - first) * 8, table[e]);
        }
        g_array_append_val(images, image);
    }
    memset(d->bits, 0, d->count);
    d->any = false;
    return images;
}

static void free_images(GArray **images)
{
    for (unsigned i = 0; *images && i < (*images)->len; i++) {
        g_free(g_array_index(*images, TableImage, i).data);
    }
    g_clear_pointer(images, g_array_unref);
}

/* ---- I/O of a stage ------------------------------------------------------------------------- */

static void cycle_advance(Qcow2 *q);

static void cycle_io_done(BlockIo *io, int result)
{
    CycleIo *c = container_of(io, CycleIo, io);
    Qcow2 *q = c->q;

    if (result < 0 && !q->cycle.error) {
        q->cycle.error = result;
    }
    g_free(c->buf);
    g_free(c);
    if (!--q->cycle.pending) {
        cycle_advance(q);
    }
}

static void cycle_submit(Qcow2 *q, BlockNode *child, BlockOp op, bool fua, uint64_t offset, const struct iovec *iov, unsigned count,
                         uint8_t *buf)
{
    CycleIo *c = g_malloc0(sizeof *c + count * sizeof *iov);

    c->q = q;
    c->buf = buf;
    if (count) {
        memcpy(c->iov, iov, count * sizeof *iov);
    }
    c->io = (BlockIo){.op = op,
                      .fua = fua,
                      .offset = offset,
                      .len = iov_size(c->iov, count),
                      .iov = c->iov,
                      .iov_count = count,
                      .done = cycle_io_done};
    q->cycle.pending++;
    block_node_submit(child, &c->io);
}

static void submit_flush(Qcow2 *q)
{
    qcow2_event(q, "flush_to_disk");
    cycle_submit(q, q->file, BLOCK_FLUSH, false, 0, NULL, 0, NULL);
    if (q->data != q->file) {
        cycle_submit(q, q->data, BLOCK_FLUSH, false, 0, NULL, 0, NULL);
    }
}

static void submit_images(Qcow2 *q, GArray *images)
{
    for (unsigned i = 0; i < images->len; i++) {
        TableImage *image = &g_array_index(images, TableImage, i);
        struct iovec iov = {image->data, image->len};

        cycle_submit(q, q->file, BLOCK_WRITE, false, image->offset, &iov, 1, NULL);
    }
}

/* What changed of them. Neighbours in the file go out in one request. */
static void submit_tables(Qcow2 *q, GPtrArray *tables, bool fua)
{
    struct iovec iov[64];
    uint64_t start = 0, end = 0;
    unsigned n = 0;

    for (unsigned i = 0; i < tables->len; i++) {
        Table *t = g_ptr_array_index(tables, i);

        if (t->forgotten) {
            continue;
        }
        if (n && (t->offset + t->cycle_from != end || n == G_N_ELEMENTS(iov))) {
            cycle_submit(q, q->file, BLOCK_WRITE, fua, start, iov, n, NULL);
            n = 0;
        }
        if (!n) {
            start = t->offset + t->cycle_from;
        }
        iov[n++] = (struct iovec){(t->image ? t->image : t->data) + t->cycle_from, t->cycle_to - t->cycle_from};
        end = t->offset + t->cycle_to;
    }
    if (n) {
        cycle_submit(q, q->file, BLOCK_WRITE, fua, start, iov, n, NULL);
    }
}

static void submit_header(Qcow2 *q)
{
    g_autoptr(GError) err = NULL;
    uint8_t *buf = g_malloc(q->cluster);
    struct iovec iov = {buf, 0};

    if (!qcow2_header_image(q, buf, &iov.iov_len, &err)) {
        g_free(buf);
        q->cycle.error = -EFBIG;
        return;
    }
    cycle_submit(q, q->file, BLOCK_WRITE, false, 0, &iov, 1, buf);
}

/* ---- begin and end -------------------------------------------------------------------------- */

static int by_offset(const void *a, const void *b)
{
    const Table *x = *(Table *const *)a, *y = *(Table *const *)b;

    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static GPtrArray *take_dirty(TableCache *cache)
{
    GPtrArray *tables = g_ptr_array_new();

    for (GList *l = cache->lru.head; l && cache->dirty; l = l->next) {
        Table *t = l->data;

        if (t->dirty) {
            t->dirty = false;
            cache->dirty--;
            t->in_cycle = true;
            t->cycle_from = t->from;
            t->cycle_to = t->to;
            table_pin(t);
            g_ptr_array_add(tables, t);
        }
    }
    g_ptr_array_sort(tables, by_offset);
    return tables;
}

static void release_tables(GPtrArray **tables, bool failed)
{
    for (unsigned i = 0; *tables && i < (*tables)->len; i++) {
        Table *t = g_ptr_array_index(*tables, i);

        t->in_cycle = false;
        free(t->image);
        t->image = NULL;
        if (failed) {
            table_change_part(t, t->cycle_from, t->cycle_to - t->cycle_from);
        }
        table_unpin(t);
    }
    g_clear_pointer(tables, g_ptr_array_unref);
}

static void set_dirty_again(DirtyParts *d, GArray *images, uint64_t offset)
{
    for (unsigned i = 0; i < images->len; i++) {
        dirty_parts_set(d, (g_array_index(images, TableImage, i).offset - offset) / 8);
    }
}

static void cycle_failed(Qcow2 *q)
{
    Cycle *c = &q->cycle;

    set_dirty_again(&q->l1_dirty, c->l1, q->h.l1_offset);
    set_dirty_again(&q->reftable_dirty, c->reftable, q->h.reftable_offset);
    q->reftable_moved |= c->new_reftable;
    q->l2_names_new |= c->need_barrier;
    g_array_append_vals(c->dropped, q->dropped->data, q->dropped->len);
    g_array_unref(q->dropped);
    q->dropped = g_steal_pointer(&c->dropped);
}

static void cycle_end(Qcow2 *q)
{
    Cycle *c = &q->cycle;
    WaitList waiters = c->waiters, room = q->cycle_end;
    int error = c->error;

    trace(block_qcow2_cycle_end, "node %s error %d", q->node->name, error);
    c->waiters.head = q->cycle_end.head = NULL;
    if (!error) {
        ahead_written(q);
    }
    release_tables(&c->refblocks, error != 0);
    release_tables(&c->l2, error != 0);
    if (error) {
        cycle_failed(q);
    } else if (c->dropped->len) {
        reclaim_add(q, g_steal_pointer(&c->dropped));
    }
    free_images(&c->l1);
    free_images(&c->reftable);
    g_clear_pointer(&c->dropped, g_array_unref);
    c->stage = STAGE_NONE;
    c->error = 0;
    /* Before the waiters: what they start may not use up the queue's turn. */
    if (q->next_cycle.head) {
        cycle_start(q);
    }
    wait_list_wake(&waiters, error);
    wait_list_wake(&room, error);
    reclaim_run(q);
}

/* ---- stages --------------------------------------------------------------------------------- */

static bool must_write_dirty_bit(const Qcow2 *q)
{
    return q->lazy && !(q->h.incompatible & QCOW2_INCOMPAT_DIRTY) &&
           (q->cycle.l2->len || q->cycle.l1->len);
}

/* One table is all that is missing: it goes by itself, and no flush is needed behind it. */
static bool is_one_table(const Cycle *c)
{
    return c->settled && c->l2->len == 1 && !c->l1->len && !c->refblocks->len && !c->reftable->len;
}

static void announce_refblocks(Qcow2 *q)
{
    const Cycle *c = &q->cycle;

    if (c->refblocks->len && c->reftable->len) {
        qcow2_event(q, c->new_reftable ? "refblock_alloc_write_blocks" : "refblock_alloc_write");
    }
    if (c->refblocks->len) {
        qcow2_event(q, "refblock_update_part");
    }
}

static void run_stage(Qcow2 *q)
{
    Cycle *c = &q->cycle;
    bool later = c->l2->len || c->l1->len;

    switch (c->stage) {
    case STAGE_REFBLOCKS:
        announce_refblocks(q);
        submit_tables(q, c->refblocks, false);
        break;
    case STAGE_FLUSH_REFBLOCKS:
        if (c->reftable->len) {
            submit_flush(q);
        }
        break;
    case STAGE_REFTABLE:
        if (c->reftable->len) {
            qcow2_event(q, c->new_reftable ? "refblock_alloc_write_table" : "refblock_alloc_hookup");
        }
        submit_images(q, c->reftable);
        break;
    case STAGE_FLUSH_REFTABLE:
        if (c->new_reftable) {
            submit_flush(q);
        }
        break;
    case STAGE_HEADER:
        if (c->new_reftable) {
            qcow2_event(q, "refblock_alloc_switch_table");
        }
        if (must_write_dirty_bit(q)) {
            q->h.incompatible |= QCOW2_INCOMPAT_DIRTY;
            c->need_barrier = true;
            submit_header(q);
        } else if (c->new_reftable) {
            submit_header(q);
        }
        break;
    case STAGE_BARRIER:
        if (later && c->need_barrier) {
            submit_flush(q);
        }
        break;
    case STAGE_L2:
        if (c->l2->len && c->l1->len) {
            qcow2_event(q, "l2_alloc_write");
        }
        if (c->l2->len) {
            qcow2_event(q, "l2_update");
        }
        submit_tables(q, c->l2, is_one_table(c));
        break;
    case STAGE_FLUSH_L2:
        if (c->l1->len && c->l2->len) {
            submit_flush(q);
        }
        break;
    case STAGE_L1:
        if (c->l1->len) {
            qcow2_event(q, "l1_update");
        }
        submit_images(q, c->l1);
        break;
    case STAGE_FINAL_FLUSH:
        if (!is_one_table(c)) {
            submit_flush(q);
        }
        break;
    }
}

/* One call may go through several stages that have nothing to do. pending is held up meanwhile, so
 * that nothing comes back into here. */
static void cycle_advance(Qcow2 *q)
{
    Cycle *c = &q->cycle;

    do {
        if (q->broken && !c->error) {
            c->error = -EIO;
        }
        if (c->error || ++c->stage == STAGE_END) {
            cycle_end(q);
            return;
        }
        c->pending++;
        run_stage(q);
    } while (!--c->pending);
}

bool cycle_is_needed(const Qcow2 *q)
{
    return q->l2.dirty || (q->rb.dirty && (!q->lazy || q->closing)) || q->l1_dirty.any || q->reftable_dirty.any ||
           q->dropped->len || q->next_cycle.head || (q->ahead.block && q->closing);
}

void cycle_start(Qcow2 *q)
{
    Cycle *c = &q->cycle;

    q->cycle_wanted = false;
    if (c->stage || !cycle_is_needed(q)) {
        return;
    }
    if (q->broken) {
        wait_list_wake(&q->next_cycle, -EIO);
        wait_list_wake(&q->cycle_end, -EIO);
        return;
    }
    trace(block_qcow2_cycle, "node %s refblocks %u l2 %u", q->node->name, q->rb.dirty, q->l2.dirty);
    if (q->rb.dirty || q->closing) {
        ahead_give_up(q);
    }
    c->refblocks = q->lazy && !q->closing && q->rb.dirty * 2 <= q->rb.limit && !q->reftable_dirty.any
                       ? g_ptr_array_new()
                       : take_dirty(&q->rb);
    c->l2 = take_dirty(&q->l2);
    c->l1 = take_parts(&q->l1_dirty, q->l1, q->l1_size, q->h.l1_offset);
    c->reftable = take_parts(&q->reftable_dirty, q->reftable, q->reftable_size,
                             q->h.reftable_offset);
    c->new_reftable = q->reftable_moved;
    c->need_barrier = q->l2_names_new;
    q->reftable_moved = q->l2_names_new = false;
    c->dropped = q->dropped;
    q->dropped = g_array_new(FALSE, FALSE, sizeof(Dropped));
    q->dropped_count = 0;
    c->settled = q->next_cycle.head && !q->next_whole;
    q->next_whole = false;
    wait_list_move(&c->waiters, &q->next_cycle);
    ahead_prepare(q);
    c->stage = STAGE_NONE;
    c->pending = 0;
    /* Even a cycle that has nothing but a flush to do takes this way. */
    cycle_advance(q);
}

void cycle_flush(Qcow2 *q, Waiter *w)
{
    q->next_whole = true;
    cycle_settle(q, w);
}

void cycle_settle(Qcow2 *q, Waiter *w)
{
    wait_list_add(&q->next_cycle, w);
    cycle_start(q);
}
