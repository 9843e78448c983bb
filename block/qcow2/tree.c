/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whole L1 trees: what snapshots, resizing and emptying have in common. All of it is synchronous,
 * with the gate closed and everything written out, so tables are read from the file.
 */
#include <stdlib.h>

#include "block/qcow2/qcow2.h"

typedef int TreeFn(Qcow2 *q, uint64_t entry, DropKind kind);

static int add_range(Qcow2 *q, uint64_t host, uint64_t len)
{
    uint64_t last = (host + len - 1) >> q->cluster_bits, value;
    int ret = 0;

    for (uint64_t i = host >> q->cluster_bits; i <= last && ret >= 0; i++) {
        ret = refcount_add_sync(q, i, 1, &value);
        if (q->cycle_wanted) {
            cycle_start(q);
        }
    }
    return ret;
}

static int add_entry(Qcow2 *q, uint64_t entry, DropKind kind)
{
    uint64_t host;
    uint32_t len;

    (void)kind;
    if (entry & QCOW2_COMPRESSED) {
        map_compressed(q, entry, &host, &len);
        return add_range(q, host, len);
    }
    host = entry & QCOW2_OFFSET_MASK;
    return host && q->data == q->file ? add_range(q, host, q->cluster) : 0;
}

static int drop_one(Qcow2 *q, uint64_t entry, DropKind kind)
{
    drop_entry(q, entry, kind);
    return 0;
}

static int for_each(Qcow2 *q, const uint64_t *l1, uint64_t count, TreeFn *fn, DropKind kind)
{
    g_autofree uint8_t *l2 = g_malloc(q->cluster);
    int ret = 0;

    for (uint64_t i = 0; i < count && ret >= 0; i++) {
        uint64_t host = l1[i] & QCOW2_OFFSET_MASK;

        if (!host) {
            continue;
        }
        if (host & (q->cluster - 1)) {
            return qcow2_corrupt(q, "L2 table offset %#" PRIx64 " unaligned (L1 index: %#" PRIx64
                                 ")", host, i);
        }
        qcow2_event(q, "l2_load");
        ret = block_pread(q->file, host, l2, q->cluster);
        for (unsigned e = 0; e < 1u << q->l2_bits && ret >= 0; e++) {
            uint64_t entry = load64_be(l2 + (size_t)e * q->entry_size);

            ret = entry ? fn(q, entry, kind) : 0;
        }
        if (ret >= 0) {
            ret = fn == add_entry ? add_range(q, host, q->cluster) : 0;
        }
        if (ret >= 0 && fn == drop_one) {
            drop_clusters(q, host, 1, kind);
        }
    }
    return ret;
}

int qcow2_tree_add(Qcow2 *q, const uint64_t *l1, uint64_t count)
{
    return for_each(q, l1, count, add_entry, DROP_OTHER);
}

int qcow2_tree_drop(Qcow2 *q, const uint64_t *l1, uint64_t count, DropKind kind)
{
    GArray *before = q->dropped;
    int ret;

    q->dropped = g_array_new(FALSE, FALSE, sizeof(Dropped));
    ret = for_each(q, l1, count, drop_one, kind);
    if (ret >= 0) {
        g_array_append_vals(before, q->dropped->data, q->dropped->len);
    }
    g_array_unref(q->dropped);
    q->dropped = before;
    return ret;
}

/* ---- trees of damaged images ------------------------------------------------------------------ */

/* What is given up, or shared: whole clusters of the file that have a refcount and are no table but, perhaps, one of kind. */
static bool range_sound(Qcow2 *q, uint64_t host, uint64_t len, unsigned kind, const char *what, GError **err)
{
    uint64_t end = align_up(MAX(q->file->size, q->file_end), q->cluster);
    int error = 0;

    if (!range_fits(host, len, end)) {
        return error_set(err, "%s at %#" PRIx64 " is beyond the end of the file", what, host);
    }
    for (uint64_t i = host >> q->cluster_bits; i <= (host + len - 1) >> q->cluster_bits; i++) {
        unsigned is = meta_kind(q, i << q->cluster_bits);

        if (is && is != kind) {
            return error_set(err, "%s at %#" PRIx64 " is the %s", what, host, meta_name(is));
        }
        if (!refcount_sync(q, i, &error)) {
            return error ? error_set_errno(err, -error, "Could not read a refcount")
                         : error_set(err, "%s at %#" PRIx64 " has no refcount", what, host);
        }
    }
    return true;
}

static bool entry_sound(Qcow2 *q, uint64_t entry, GError **err)
{
    uint64_t host = entry & QCOW2_OFFSET_MASK;
    uint32_t len;

    if (entry & QCOW2_COMPRESSED) {
        map_compressed(q, entry, &host, &len);
        return range_sound(q, host, len, 0, "packed data", err);
    }
    if (!host || q->data != q->file) {
        return true;
    }
    if (host & (q->cluster - 1)) {
        return error_set(err, "L2 entry %#" PRIx64 " is not cluster aligned", entry);
    }
    return range_sound(q, host, q->cluster, 0, "data", err);
}

bool qcow2_tree_sound(Qcow2 *q, const uint64_t *l1, uint64_t count, GError **err)
{
    g_autofree uint8_t *l2 = g_malloc(q->cluster);

    for (uint64_t i = 0; i < count; i++) {
        uint64_t host = l1[i] & QCOW2_OFFSET_MASK;
        int ret;

        if (!host) {
            continue;
        }
        if (host & (q->cluster - 1)) {
            return error_set(err, "L1 entry %#" PRIx64 " is not cluster aligned", l1[i]);
        }
        if (!range_sound(q, host, q->cluster, QCOW2_OVERLAP_ACTIVE_L2, "an L2 table", err)) {
            return false;
        }
        ret = block_pread(q->file, host, l2, q->cluster);
        if (ret < 0) {
            return error_set_errno(err, -ret, "Could not read an L2 table");
        }
        for (unsigned e = 0; e < 1u << q->l2_bits; e++) {
            if (!entry_sound(q, load64_be(l2 + (size_t)e * q->entry_size), err)) {
                return false;
            }
        }
    }
    return true;
}

int qcow2_tree_leads_to(Qcow2 *q, const uint64_t *l1, uint64_t count, uint64_t host, uint64_t len)
{
    g_autofree uint8_t *l2 = g_malloc(q->cluster);

    for (uint64_t i = 0; i < count; i++) {
        uint64_t table = l1[i] & QCOW2_OFFSET_MASK;
        int ret = table ? block_pread(q->file, table, l2, q->cluster) : 0;

        if (ret < 0) {
            return ret;
        }
        for (unsigned e = 0; table && e < 1u << q->l2_bits; e++) {
            uint64_t entry = load64_be(l2 + (size_t)e * q->entry_size), at = entry & QCOW2_OFFSET_MASK;
            uint32_t bytes = (uint32_t)q->cluster;

            if (entry & QCOW2_COMPRESSED) {
                map_compressed(q, entry, &at, &bytes);
            }
            if (at && at < host + len && at + bytes > host) {
                return 1;
            }
        }
    }
    return 0;
}

/* ---- another active table --------------------------------------------------------------------- */

static int write_new_l1(Qcow2 *q, const uint64_t *l1, uint64_t count, uint64_t *offset)
{
    uint64_t clusters = MAX((count * 8 + q->cluster - 1) >> q->cluster_bits, 1);
    g_autofree uint64_t *disk = g_malloc0(clusters << q->cluster_bits);
    int ret;

    qcow2_event(q, "l1_grow_alloc_table");
    ret = alloc_contiguous(q, clusters, offset);
    if (ret < 0) {
        return ret;
    }
    for (uint64_t i = 0; i < count; i++) {
        disk[i] = GUINT64_TO_BE(l1[i]);
    }
    qcow2_event(q, "l1_grow_write_table");
    ret = qcow2_pwrite(q->file, *offset, disk, clusters << q->cluster_bits);
    return ret < 0 ? ret : qcow2_sync_all(q); /* its refcounts, too */
}

int qcow2_switch_l1(Qcow2 *q, uint64_t *l1, uint64_t count, uint64_t size)
{
    Qcow2Header old = q->h;
    uint64_t offset, old_bytes = (uint64_t)old.l1_size * 8;
    int ret = count > QCOW2_MAX_L1_BYTES / 8 ? -EFBIG : write_new_l1(q, l1, count, &offset);

    if (ret < 0) {
        g_free(l1);
        return ret;
    }
    q->h.l1_offset = offset;
    q->h.l1_size = (uint32_t)count;
    q->h.size = size;
    qcow2_event(q, "l1_grow_activate_table");
    ret = qcow2_write_header(q, NULL);
    if (ret < 0) { /* which of them is valid is unknown: both stay */
        q->h.l1_offset = old.l1_offset;
        q->h.l1_size = old.l1_size;
        q->h.size = old.size;
        g_free(l1);
        return ret;
    }
    for (uint32_t i = 0; i < q->l1_size; i++) {
        meta_remove(q, q->l1[i] & QCOW2_OFFSET_MASK, q->l1[i] & QCOW2_OFFSET_MASK ? 1 : 0);
    }
    meta_remove(q, old.l1_offset, old_bytes);
    meta_add(q, offset, count * 8, QCOW2_OVERLAP_ACTIVE_L1);
    if (old_bytes) {
        drop_clusters(q, old.l1_offset, (old_bytes + q->cluster - 1) >> q->cluster_bits, DROP_OTHER);
    }
    g_free(q->l1);
    q->l1 = l1;
    q->l1_size = (uint32_t)count;
    dirty_parts_init(&q->l1_dirty, q->l1_size, qcow2_part_bytes(q));
    for (uint32_t i = 0; i < q->l1_size; i++) {
        meta_add(q, q->l1[i] & QCOW2_OFFSET_MASK, q->l1[i] & QCOW2_OFFSET_MASK ? 1 : 0,
                 QCOW2_OVERLAP_ACTIVE_L2);
    }
    table_forget_all(&q->l2);
    return 0;
}
