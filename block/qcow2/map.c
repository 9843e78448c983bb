/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From guest offsets to host clusters: L1, L2 slices, subclusters; and L2 tables that must be made
 * or copied before they can be changed.
 */
#include <stdlib.h>

#include "block/qcow2/qcow2.h"

/* ---- entries -------------------------------------------------------------------------------- */

void map_compressed(const Qcow2 *q, uint64_t entry, uint64_t *host, uint32_t *len)
{
    unsigned offset_bits = 62 - (q->cluster_bits - 8);
    uint64_t sectors = ((entry & ~(QCOW2_COPIED | QCOW2_COMPRESSED)) >> offset_bits) + 1;

    *host = entry & ((UINT64_C(1) << offset_bits) - 1);
    *len = (uint32_t)(sectors * 512 - (*host & 511));
}

static bool entry_has_host(const Qcow2 *q, uint64_t entry)
{
    return entry & QCOW2_OFFSET_MASK || (q->data != q->file && entry & QCOW2_COPIED);
}

MapKind map_classify(const Qcow2 *q, uint64_t entry, uint64_t bitmap, unsigned sub)
{
    if (entry & QCOW2_COMPRESSED) {
        return MAP_COMPRESSED;
    }
    if (q->subs > 1) {
        return bitmap >> (32 + sub) & 1 ? MAP_ZERO : bitmap >> sub & 1 ? MAP_DATA : MAP_UNALLOCATED;
    }
    if (q->h.version >= 3 && entry & QCOW2_ZERO) {
        return MAP_ZERO;
    }
    return entry_has_host(q, entry) ? MAP_DATA : MAP_UNALLOCATED;
}

/* What no sound image has. */
static int check_entry(Qcow2 *q, uint64_t guest, uint64_t entry, uint64_t bitmap)
{
    uint64_t host = entry & QCOW2_OFFSET_MASK;

    if (entry & QCOW2_COMPRESSED) {
        if (q->data != q->file) {
            return qcow2_corrupt(q, "Compressed cluster with an external data file (guest offset %#"
                                 PRIx64 ")", guest);
        }
        return 0;
    }
    if (host & (q->cluster - 1)) {
        return qcow2_corrupt(q, "Cluster allocation offset %#" PRIx64 " unaligned (guest offset %#"
                             PRIx64 ")", host, guest);
    }
    if (q->subs > 1 && ((uint32_t)bitmap & (uint32_t)(bitmap >> 32) ||
                        ((uint32_t)bitmap && !entry_has_host(q, entry)))) {
        return qcow2_corrupt(q, "Invalid subcluster bitmap %#" PRIx64 " (guest offset %#" PRIx64 ")",
                             bitmap, guest);
    }
    if (q->data != q->file && entry_has_host(q, entry) && !(q->subs == 1 && entry & QCOW2_ZERO && !host) &&
        host != (guest & ~(q->cluster - 1))) {
        return qcow2_corrupt(q, "External data file host cluster offset %#" PRIx64
                             " does not match guest cluster offset: %#" PRIx64, host,
                             guest & ~(q->cluster - 1));
    }
    return 0;
}

/* ---- slices --------------------------------------------------------------------------------- */

static uint64_t l1_index(const Qcow2 *q, uint64_t guest)
{
    return guest >> (q->cluster_bits + q->l2_bits);
}

/* Gets the slice of a table that exists. */
static int get_slice(Qcow2 *q, uint64_t guest, Table **slice, unsigned *index, Waiter *w)
{
    uint64_t l2 = q->l1[l1_index(q, guest)] & QCOW2_OFFSET_MASK;
    uint64_t entry = guest >> q->cluster_bits & ((UINT64_C(1) << q->l2_bits) - 1);

    if (l2 & (q->cluster - 1)) {
        return qcow2_corrupt(q, "L2 table offset %#" PRIx64 " unaligned (L1 index: %#" PRIx64 ")",
                             l2, l1_index(q, guest));
    }
    *index = entry & (slice_entries(q) - 1);
    *slice = table_get(&q->l2, l2 + (entry >> q->slice_bits) * q->l2.size, w);
    return *slice != NULL;
}

int map_slice(Qcow2 *q, uint64_t guest, Table **slice, unsigned *index, Waiter *w)
{
    uint64_t i = l1_index(q, guest);

    if (i >= q->l1_size || !(q->l1[i] & QCOW2_OFFSET_MASK)) {
        return -ENOENT;
    }
    return get_slice(q, guest, slice, index, w);
}

bool map_is_unwritten(const Qcow2 *q, uint64_t guest, uint64_t len)
{
    uint64_t span = q->cluster << q->slice_bits, end = guest + len;

    if (q->l1_dirty.any || (q->cycle.stage && q->cycle.l1->len)) {
        return true;
    }
    for (guest = align_down(guest, span); guest < end; guest += span) {
        uint64_t i = l1_index(q, guest), l2 = i < q->l1_size ? q->l1[i] & QCOW2_OFFSET_MASK : 0;
        uint64_t entry = guest >> q->cluster_bits & ((UINT64_C(1) << q->l2_bits) - 1);
        const Table *t = table_peek(&q->l2, l2 + (entry >> q->slice_bits) * q->l2.size);

        if (l2 && t && (t->dirty || t->in_cycle)) {
            return true;
        }
    }
    return false;
}

/* ---- L2 tables: made, copied ------------------------------------------------------------------ */

struct L2Copy {
    Qcow2 *q;
    uint64_t index;  /* in the L1 table */
    uint64_t source; /* host offset */
    uint8_t *buf;
    BlockIo io;
    struct iovec iov;
    Waiter wait; /* for the allocation */
    WaitList waiters;
    GList link;
};

/* All slices of a new table at host, from content (NULL: zeros). */
static void install_l2(Qcow2 *q, uint64_t index, uint64_t host, const uint8_t *content)
{
    for (uint64_t at = 0; at < q->cluster; at += q->l2.size) {
        Table *t = table_new(&q->l2, host + at);

        if (content) {
            memcpy(t->data, content + at, q->l2.size);
        }
    }
    l1_set(q, index, host | QCOW2_COPIED);
    q->l2_names_new = true;
    meta_add(q, host, q->cluster, QCOW2_OVERLAP_ACTIVE_L2);
}

static void copy_end(L2Copy *c, int result)
{
    Qcow2 *q = c->q;
    WaitList waiters = c->waiters;

    g_queue_unlink(&q->copies, &c->link);
    free(c->buf);
    g_free(c);
    wait_list_wake(&waiters, result);
}

static void copy_install(Waiter *w, int result)
{
    L2Copy *c = container_of(w, L2Copy, wait);
    Qcow2 *q = c->q;
    uint64_t host;
    int64_t ret = result < 0 ? result : alloc_clusters(q, 1, &host, w);

    if (ret == 0) {
        return;
    }
    if (ret > 0) {
        table_forget(&q->l2, c->source, q->cluster);
        meta_remove(q, c->source, q->cluster);
        install_l2(q, c->index, host, c->buf);
        drop_clusters(q, c->source, 1, DROP_OTHER);
    }
    copy_end(c, ret < 0 ? (int)ret : 0);
}

static void copy_read(BlockIo *io, int result)
{
    L2Copy *c = container_of(io, L2Copy, io);

    copy_install(&c->wait, result);
}

/* Tables that are not COPIED are never dirty, so the file has them as they are. */
static void copy_l2(Qcow2 *q, uint64_t index, Waiter *w)
{
    L2Copy *c;
    void *buf;

    for (GList *l = q->copies.head; l; l = l->next) {
        c = l->data;
        if (c->index == index) {
            wait_list_add(&c->waiters, w);
            return;
        }
    }
    if (posix_memalign(&buf, 4096, q->cluster)) {
        g_error("qcow2: no memory for an L2 table");
    }
    c = g_new0(L2Copy, 1);
    c->q = q;
    c->index = index;
    c->source = q->l1[index] & QCOW2_OFFSET_MASK;
    c->buf = buf;
    c->link.data = c;
    c->wait.resume = copy_install;
    c->iov = (struct iovec){buf, q->cluster};
    c->io = (BlockIo){.op = BLOCK_READ,
                      .offset = c->source,
                      .len = q->cluster,
                      .iov = &c->iov,
                      .iov_count = 1,
                      .done = copy_read};
    g_queue_push_tail_link(&q->copies, &c->link);
    wait_list_add(&c->waiters, w);
    qcow2_event(q, "l2_alloc_cow_read");
    block_node_submit(q->file, &c->io);
}

int map_slice_for_write(Qcow2 *q, uint64_t guest, Table **slice, unsigned *index, Waiter *w)
{
    uint64_t i = l1_index(q, guest), host;
    int64_t ret;

    if (i >= q->l1_size) {
        return -EFBIG;
    }
    if (!(q->l1[i] & QCOW2_OFFSET_MASK)) {
        ret = alloc_clusters(q, 1, &host, w);
        if (ret <= 0) {
            return (int)ret;
        }
        install_l2(q, i, host, NULL);
    } else if (!(q->l1[i] & QCOW2_COPIED)) {
        if ((q->l1[i] & QCOW2_OFFSET_MASK) & (q->cluster - 1)) {
            return qcow2_corrupt(q, "L2 table offset %#" PRIx64 " unaligned (L1 index: %#" PRIx64
                                 ")", q->l1[i] & QCOW2_OFFSET_MASK, i);
        }
        copy_l2(q, i, w);
        return 0;
    }
    return get_slice(q, guest, slice, index, w);
}

/* ---- lookup --------------------------------------------------------------------------------- */

static void first_extent(const Qcow2 *q, uint64_t guest, uint64_t entry, uint64_t bitmap,
                         Mapping *m)
{
    unsigned sub = guest >> q->sub_bits & (q->subs - 1);

    m->kind = map_classify(q, entry, bitmap, sub);
    m->copied = entry & QCOW2_COPIED;
    m->len = (UINT64_C(1) << q->sub_bits) - (guest & ((UINT64_C(1) << q->sub_bits) - 1));
    if (m->kind == MAP_COMPRESSED) {
        map_compressed(q, entry, &m->host, &m->compressed_len);
        m->len = q->cluster - (guest & (q->cluster - 1));
        return;
    }
    m->has_host = entry_has_host(q, entry);
    m->host = m->has_host ? (entry & QCOW2_OFFSET_MASK) + (guest & (q->cluster - 1)) : 0;
}

/* Does the subcluster at guest go on where m ends? */
static bool extends(const Qcow2 *q, uint64_t guest, uint64_t entry, uint64_t bitmap,
                    const Mapping *m)
{
    unsigned sub = guest >> q->sub_bits & (q->subs - 1);

    if (map_classify(q, entry, bitmap, sub) != m->kind || m->kind == MAP_COMPRESSED ||
        !(entry & QCOW2_COPIED) == m->copied || entry_has_host(q, entry) != m->has_host) {
        return false;
    }
    return !m->has_host ||
           (entry & QCOW2_OFFSET_MASK) + (guest & (q->cluster - 1)) == m->host + m->len;
}

int map_lookup(Qcow2 *q, uint64_t guest, uint64_t len, Mapping *m, Waiter *w)
{
    uint64_t l2_span = UINT64_C(1) << (q->cluster_bits + q->l2_bits);
    unsigned index;
    Table *t;
    int ret = map_slice(q, guest, &t, &index, w);

    *m = (Mapping){.kind = MAP_UNALLOCATED};
    if (ret == -ENOENT) {
        m->len = MIN(len, l2_span - (guest & (l2_span - 1)));
        return 1;
    }
    if (ret <= 0) {
        return ret;
    }
    ret = check_entry(q, guest, l2_entry(q, t, index), l2_bitmap(q, t, index));
    if (ret < 0) {
        return ret;
    }
    first_extent(q, guest, l2_entry(q, t, index), l2_bitmap(q, t, index), m);
    while (m->len < len && m->kind != MAP_COMPRESSED) {
        uint64_t at = guest + m->len;
        unsigned i = index + (unsigned)((at >> q->cluster_bits) - (guest >> q->cluster_bits));

        if (i >= slice_entries(q) ||
            !extends(q, at, l2_entry(q, t, i), l2_bitmap(q, t, i), m)) {
            break;
        }
        ret = at & (q->cluster - 1)
                  ? 0
                  : check_entry(q, at, l2_entry(q, t, i), l2_bitmap(q, t, i));
        if (ret < 0) {
            return ret;
        }
        m->len += UINT64_C(1) << q->sub_bits;
    }
    m->len = MIN(m->len, len);
    return 1;
}

bool map_reads_zero(const Qcow2 *q, const Mapping *m, uint64_t guest)
{
    return m->kind == MAP_ZERO ||
           (m->kind == MAP_UNALLOCATED &&
            (!q->backing || guest >= q->backing->size || guest >= q->h.size));
}

int map_lookup_sync(Qcow2 *q, uint64_t guest, uint64_t len, Mapping *m)
{
    SyncWait s;
    int ret;

    sync_init(&s, q);
    while ((ret = map_lookup(q, guest, len, m, &s.w)) == 0) {
        ret = sync_wait(&s);
        if (ret < 0) {
            return ret;
        }
    }
    return ret;
}
