/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table of internal snapshots: bytes to list with every check, and back.
 */
#include <stdlib.h>

#include "block/qcow2/qcow2.h"

void qcow2_snapshot_free(void *opaque)
{
    Qcow2Snapshot *s = opaque;

    g_free(s->id);
    g_free(s->name);
    g_free(s->extra);
    g_free(s);
}

/* ---- bytes to list -------------------------------------------------------------------------- */

static bool load_extra(Qcow2 *q, Qcow2Snapshot *s, uint64_t at, GError **err)
{
    g_autofree uint8_t *extra = g_malloc(s->extra_size + 1);
    int ret = s->extra_size ? block_pread(q->file, at, extra, s->extra_size) : 0;

    if (ret < 0) {
        return error_set_errno(err, -ret, "Failed to read snapshot table");
    }
    s->icount = UINT64_MAX;
    s->disk_size = q->h.size;
    if (s->extra_size >= 8) {
        s->vm_state_size = load64_be(extra);
    }
    if (s->extra_size >= 16) {
        s->disk_size = load64_be(extra + 8);
    }
    if (s->extra_size >= 24) {
        s->icount = load64_be(extra + 16);
        s->extra_unknown = s->extra_size - 24;
        s->extra = g_memdup2(extra + 24, s->extra_unknown);
    }
    return true;
}

/* One entry; *at moves behind it. */
static bool load_entry(Qcow2 *q, Qcow2Snapshot *s, uint64_t *at, GError **err)
{
    uint8_t fixed[QCOW2_SNAPSHOT_FIXED];
    unsigned id_len, name_len;
    int ret = block_pread(q->file, *at, fixed, sizeof fixed);

    if (ret < 0) {
        return error_set_errno(err, -ret, "Failed to read snapshot table");
    }
    s->l1_offset = load64_be(fixed);
    s->l1_size = load32_be(fixed + 8);
    id_len = load16_be(fixed + 12);
    name_len = load16_be(fixed + 14);
    s->date_sec = load32_be(fixed + 16);
    s->date_nsec = load32_be(fixed + 20);
    s->vm_clock_nsec = load64_be(fixed + 24);
    s->vm_state_size = load32_be(fixed + 32);
    s->extra_size = load32_be(fixed + 36);
    if (s->extra_size > QCOW2_MAX_SNAPSHOT_EXTRA) {
        return error_set(err, "Too much extra metadata in snapshot table entry (%u bytes)",
                         s->extra_size);
    }
    *at += sizeof fixed;
    if (!load_extra(q, s, *at, err)) {
        return false;
    }
    *at += s->extra_size;
    s->id = g_malloc0(id_len + 1);
    s->name = g_malloc0(name_len + 1);
    ret = id_len ? block_pread(q->file, *at, s->id, id_len) : 0;
    ret = ret < 0 || !name_len ? ret : block_pread(q->file, *at + id_len, s->name, name_len);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Failed to read snapshot table");
    }
    *at = align_up(*at + id_len + name_len, 8);
    if (!q->opt.for_check && s->l1_size > QCOW2_MAX_L1_BYTES / 8) {
        return error_set(err, "Snapshot %s: L1 table too large", s->id);
    }
    return true;
}

/* The L1 table joins the metadata, unless it is said to lie on some of it, which then stays what it is. */
static void add_l1(Qcow2 *q, Qcow2Snapshot *s)
{
    uint64_t bytes = (uint64_t)s->l1_size * 8;

    for (uint64_t at = 0; at < bytes && !s->l1_is; at += q->cluster) {
        s->l1_is = meta_kind(q, s->l1_offset + at);
    }
    if (!s->l1_is) {
        meta_add(q, s->l1_offset, bytes, QCOW2_OVERLAP_INACTIVE_L1);
    }
}

static bool load_all(Qcow2 *q, uint64_t *end, GError **err)
{
    uint64_t at = q->h.snapshots_offset;

    if (q->h.snapshots_lost) {
        return error_set(err, "Snapshot table too large, or nowhere (%u entries at %#" PRIx64 ")",
                         q->h.snapshot_count, q->h.snapshots_offset);
    }
    for (uint32_t i = 0; i < q->h.snapshot_count; i++) {
        Qcow2Snapshot *s = g_new0(Qcow2Snapshot, 1);

        if (!load_entry(q, s, &at, err)) {
            qcow2_snapshot_free(s);
            return false;
        }
        if (at - q->h.snapshots_offset > QCOW2_MAX_SNAPSHOT_TABLE || at > q->file->size + 8) {
            qcow2_snapshot_free(s);
            return error_set(err, "Snapshot table too large, or beyond the end of the file");
        }
        g_ptr_array_add(q->snapshots, s);
        *end = at;
    }
    return true;
}

bool qcow2_snapshots_load(Qcow2 *q, GError **err)
{
    g_autoptr(GError) local = NULL;
    uint64_t end = q->h.snapshots_offset;

    if (!load_all(q, &end, &local)) {
        if (!q->opt.for_check) {
            g_propagate_error(err, g_steal_pointer(&local));
            return false;
        }
        q->snapshots_error = g_strdup(local->message);
    }
    q->snapshot_bytes = end - q->h.snapshots_offset;
    if (q->snapshot_bytes) {
        meta_add(q, q->h.snapshots_offset, q->snapshot_bytes, QCOW2_OVERLAP_SNAPSHOTS);
    }
    for (unsigned i = 0; i < q->snapshots->len; i++) {
        add_l1(q, g_ptr_array_index(q->snapshots, i));
    }
    return true;
}

int qcow2_snapshots_cut(Qcow2 *q)
{
    Qcow2Header before = q->h;
    int ret;

    q->h.snapshots_lost = false;
    q->h.snapshot_count = q->snapshots->len;
    q->h.snapshots_offset = q->snapshots->len ? q->h.snapshots_offset : 0;
    ret = qcow2_write_header(q, NULL);
    if (ret < 0) {
        q->h.snapshots_lost = before.snapshots_lost;
        q->h.snapshot_count = before.snapshot_count;
        q->h.snapshots_offset = before.snapshots_offset;
        return ret;
    }
    g_clear_pointer(&q->snapshots_error, g_free);
    return 0;
}

/* ---- list to bytes -------------------------------------------------------------------------- */

static uint64_t entry_bytes(const Qcow2Snapshot *s)
{
    return align_up(QCOW2_SNAPSHOT_FIXED + 24 + s->extra_unknown + strlen(s->id) + strlen(s->name),
                    8);
}

uint64_t qcow2_snapshot_table_bytes(const Qcow2 *q)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < q->snapshots->len; i++) {
        bytes += entry_bytes(g_ptr_array_index(q->snapshots, i));
    }
    return bytes;
}

static uint8_t *store_entry(const Qcow2Snapshot *s, uint8_t *p)
{
    size_t id = strlen(s->id), name = strlen(s->name);
    uint8_t *start = p;

    store64_be(p, s->l1_offset);
    store32_be(p + 8, s->l1_size);
    store16_be(p + 12, (uint16_t)id);
    store16_be(p + 14, (uint16_t)name);
    store32_be(p + 16, s->date_sec);
    store32_be(p + 20, s->date_nsec);
    store64_be(p + 24, s->vm_clock_nsec);
    store32_be(p + 32, s->vm_state_size <= UINT32_MAX ? (uint32_t)s->vm_state_size : 0);
    store32_be(p + 36, 24 + s->extra_unknown);
    store64_be(p + 40, s->vm_state_size);
    store64_be(p + 48, s->disk_size);
    store64_be(p + 56, s->icount);
    p += 64;
    memcpy(p, s->extra ? s->extra : (const uint8_t *)"", s->extra_unknown);
    p += s->extra_unknown;
    memcpy(p, s->id, id);
    memcpy(p + id, s->name, name);
    return start + entry_bytes(s);
}

bool qcow2_snapshots_store(Qcow2 *q, GError **err)
{
    uint64_t bytes = qcow2_snapshot_table_bytes(q), offset = 0;
    uint64_t old = q->h.snapshots_offset, old_bytes = q->snapshot_bytes;
    uint32_t old_count = q->h.snapshot_count;
    g_autofree uint8_t *buf = g_malloc0(bytes + 1);
    uint8_t *p = buf;
    int ret = 0;

    for (unsigned i = 0; i < q->snapshots->len; i++) {
        p = store_entry(g_ptr_array_index(q->snapshots, i), p);
    }
    if (bytes > QCOW2_MAX_SNAPSHOT_TABLE || q->snapshots->len > QCOW2_MAX_SNAPSHOTS) {
        return error_set(err, "Snapshot table too large");
    }
    if (bytes) {
        ret = alloc_contiguous(q, (bytes + q->cluster - 1) >> q->cluster_bits, &offset);
        ret = ret < 0 ? ret : qcow2_pwrite(q->file, offset, buf, bytes);
    }
    ret = ret < 0 ? ret : qcow2_sync_all(q);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not write the snapshot table");
    }
    q->h.snapshots_offset = offset;
    q->h.snapshot_count = q->snapshots->len;
    if (qcow2_write_header(q, err) < 0) {
        q->h.snapshots_offset = old;
        q->h.snapshot_count = old_count;
        return false;
    }
    if (old_bytes) {
        meta_remove(q, old, old_bytes);
        drop_clusters(q, old, (old_bytes + q->cluster - 1) >> q->cluster_bits, DROP_SNAPSHOT);
    }
    meta_add(q, offset, bytes, QCOW2_OVERLAP_SNAPSHOTS);
    q->snapshot_bytes = bytes;
    return true;
}
