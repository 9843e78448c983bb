/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Internal snapshots. Refcounts and COPIED flags of every cluster change together here, which no
 * order of writes makes safe alone: so the dirty bit is set meanwhile, and whoever opens the image
 * after a power cut counts anew. What names the tables (the header) switches in one sector.
 */
#include <stdlib.h>

#include "block/qcow2/qcow2.h"
#include "util/log.h"

Qcow2Snapshot *qcow2_snapshot_find(Qcow2 *q, const char *id_or_name)
{
    for (int by_name = 0; by_name < 2; by_name++) {
        for (unsigned i = 0; i < q->snapshots->len; i++) {
            Qcow2Snapshot *s = g_ptr_array_index(q->snapshots, i);

            if (!strcmp(by_name ? s->name : s->id, id_or_name)) {
                return s;
            }
        }
    }
    return NULL;
}

uint64_t qcow2_vm_state_offset(const Qcow2 *q)
{
    return qcow2_l1_entries(&q->h, q->h.size) << (q->cluster_bits + q->l2_bits);
}

/* Where the header says that it is, can the snapshot's L1 table be? */
static bool table_place(const Qcow2 *q, const Qcow2Snapshot *s, GError **err)
{
    uint64_t at = s->l1_offset;

    if (at & (q->cluster - 1)) {
        return error_set(err, "The snapshot's L1 table is at %#" PRIx64 ", which is not cluster aligned", at);
    }
    if (!range_fits(at, (uint64_t)s->l1_size * 8, MAX(q->file->size, q->file_end))) {
        return error_set(err, "The snapshot's L1 table is at %#" PRIx64 ", beyond the end of the file", at);
    }
    return !s->l1_is || error_set(err, "The snapshot's L1 table is at %#" PRIx64 ", where the %s is", at, meta_name(s->l1_is));
}

/* The snapshot's L1 table, with room for entries; NULL: it, or what it leads to, is not what only this snapshot can have. */
static uint64_t *load_sound(Qcow2 *q, const Qcow2Snapshot *s, uint64_t entries, GError **err)
{
    uint64_t bytes = (uint64_t)s->l1_size * 8, *l1;
    int ret = 0;

    if (!table_place(q, s, err)) {
        return NULL;
    }
    ret = bytes ? qcow2_tree_leads_to(q, q->l1, q->l1_size, s->l1_offset, bytes) : 0;
    if (ret > 0) {
        error_set(err, "The snapshot's L1 table is at %#" PRIx64 ", where the disk has data", s->l1_offset);
        return NULL;
    }
    l1 = g_new0(uint64_t, MAX(entries, s->l1_size) + 4096);
    ret = ret < 0 || !bytes ? ret : block_pread(q->file, s->l1_offset, l1, bytes);
    for (uint32_t i = 0; i < s->l1_size; i++) {
        l1[i] = GUINT64_FROM_BE(l1[i]) & ~QCOW2_COPIED;
    }
    if (ret < 0) {
        error_set_errno(err, -ret, "Could not read the tables");
    } else if (qcow2_tree_sound(q, l1, s->l1_size, err)) {
        return l1;
    }
    g_free(l1);
    return NULL;
}

/* ---- begin, end, failure -------------------------------------------------------------------- */

static bool begin(Qcow2 *q, GError **err)
{
    int ret;

    if (q->read_only) {
        return error_set(err, "The image is read-only");
    }
    if (qcow2_has_data_file(&q->h)) {
        return error_set(err, "Internal snapshots are not possible with an external data file: the "
                              "data in it would not be part of them");
    }
    qcow2_quiesce(q);
    ret = qcow2_sync_all(q);
    ret = ret < 0 ? ret : qcow2_set_incompatible(q, QCOW2_INCOMPAT_DIRTY, 0);
    if (ret < 0) {
        qcow2_resume(q);
        return error_set_errno(err, -ret, "Could not write out the image");
    }
    return true;
}

/* failed: the refcounts are somewhere in between, so they are counted anew. */
static bool end(Qcow2 *q, bool failed, GError **err)
{
    Qcow2CheckResult result = {0};
    int ret = failed && !q->broken ? qcow2_check(q, BLOCK_FIX_LEAKS | BLOCK_FIX_ERRORS, &result)
                                   : qcow2_sync_all(q);

    if (ret == 0 && !failed && !q->lazy) {
        ret = qcow2_set_incompatible(q, 0, QCOW2_INCOMPAT_DIRTY);
    }
    qcow2_resume(q);
    if (ret < 0 && !failed) {
        return error_set_errno(err, -ret, "Could not write out the image");
    }
    return !failed;
}

/* ---- COPIED --------------------------------------------------------------------------------- */

/* 1: changed. */
static int update_entry(Qcow2 *q, uint64_t *entry)
{
    uint64_t value = *entry & ~QCOW2_COPIED, host = value & QCOW2_OFFSET_MASK;
    int error = 0;

    if (!host || value & QCOW2_COMPRESSED) {
        return 0;
    }
    if (refcount_sync(q, host >> q->cluster_bits, &error) == 1) {
        value |= QCOW2_COPIED;
    }
    if (error < 0 || value == *entry) {
        return error;
    }
    *entry = value;
    return 1;
}

static int update_l2(Qcow2 *q, uint64_t host, uint8_t *l2)
{
    bool changed = false;
    int ret;

    qcow2_event(q, "l2_load");
    ret = block_pread(q->file, host, l2, q->cluster);
    for (unsigned i = 0; i < 1u << q->l2_bits && ret >= 0; i++) {
        uint8_t *p = l2 + (size_t)i * q->entry_size;
        uint64_t entry = load64_be(p);

        ret = update_entry(q, &entry);
        if (ret > 0) {
            store64_be(p, entry);
            changed = true;
        }
    }
    if (ret >= 0 && changed) {
        table_forget(&q->l2, host, q->cluster);
        qcow2_event(q, "l2_update");
        ret = qcow2_pwrite(q->file, host, l2, q->cluster);
    }
    return ret;
}

/* Everywhere in the active tables, from the refcounts. Everything is written out. */
static int update_copied(Qcow2 *q)
{
    g_autofree uint8_t *l2 = g_malloc(q->cluster);
    int ret = 0;

    for (uint32_t i = 0; i < q->l1_size && ret >= 0; i++) {
        uint64_t entry = q->l1[i];

        if (!(entry & QCOW2_OFFSET_MASK)) {
            continue;
        }
        ret = update_l2(q, entry & QCOW2_OFFSET_MASK, l2);
        ret = ret < 0 ? ret : update_entry(q, &entry);
        if (ret > 0) {
            l1_set(q, i, entry);
        }
    }
    return ret < 0 ? ret : qcow2_sync_all(q);
}

/* ---- create --------------------------------------------------------------------------------- */

static char *next_id(const Qcow2 *q)
{
    uint64_t max = 0;

    for (unsigned i = 0; i < q->snapshots->len; i++) {
        const Qcow2Snapshot *s = g_ptr_array_index(q->snapshots, i);

        max = MAX(max, g_ascii_strtoull(s->id, NULL, 10));
    }
    return g_strdup_printf("%" PRIu64, max + 1);
}

static int write_l1_copy(Qcow2 *q, Qcow2Snapshot *s)
{
    uint64_t clusters = ((uint64_t)q->l1_size * 8 + q->cluster - 1) >> q->cluster_bits;
    g_autofree uint64_t *disk = g_malloc0((clusters + 1) << q->cluster_bits);
    int ret;

    s->l1_size = q->l1_size;
    if (!s->l1_size) {
        return 0;
    }
    ret = alloc_contiguous(q, clusters, &s->l1_offset);
    if (ret < 0) {
        return ret;
    }
    for (uint32_t i = 0; i < q->l1_size; i++) {
        disk[i] = GUINT64_TO_BE(q->l1[i] & ~QCOW2_COPIED);
    }
    meta_add(q, s->l1_offset, (uint64_t)s->l1_size * 8, QCOW2_OVERLAP_INACTIVE_L1);
    return qcow2_pwrite(q->file, s->l1_offset, disk, clusters << q->cluster_bits);
}

static bool create(Qcow2 *q, Qcow2Snapshot *s, GError **err)
{
    int ret = qcow2_tree_add(q, q->l1, q->l1_size);

    if (ret == -EOVERFLOW) {
        g_ptr_array_remove(q->snapshots, s);
        return error_set(err, "A cluster would be referenced more than %" PRIu64 " times: the image "
                              "has too few refcount_bits for this snapshot", refcount_max(q));
    }
    ret = ret < 0 ? ret : write_l1_copy(q, s);
    ret = ret < 0 ? ret : qcow2_sync_all(q);
    ret = ret < 0 ? ret : update_copied(q);
    if (ret < 0) {
        g_ptr_array_remove(q->snapshots, s);
        return error_set_errno(err, -ret, "Could not create the snapshot");
    }
    if (!qcow2_snapshots_store(q, err)) {
        g_ptr_array_remove(q->snapshots, s);
        return false;
    }
    return true;
}

bool qcow2_snapshot_create(Qcow2 *q, const Qcow2Snapshot *info, GError **err)
{
    uint64_t state = qcow2_vm_state_offset(q);
    Qcow2Snapshot *s;
    bool ok;

    if (q->snapshots->len >= QCOW2_MAX_SNAPSHOTS) {
        return error_set(err, "The image has %u snapshots already: no more fit",
                         QCOW2_MAX_SNAPSHOTS);
    }
    if (strlen(info->name) > UINT16_MAX) {
        return error_set(err, "The snapshot's name is too long");
    }
    if (!begin(q, err)) {
        return false;
    }
    s = g_memdup2(info, sizeof *info);
    s->id = next_id(q);
    s->name = g_strdup(info->name);
    s->disk_size = q->h.size;
    s->extra = NULL;
    s->extra_unknown = 0;
    s->l1_offset = 0;
    g_ptr_array_add(q->snapshots, s);
    ok = create(q, s, err);
    ok = end(q, !ok, err) && ok;
    if (ok && info->vm_state_size) {
        /* It belongs to the snapshot now. */
        qcow2_do(q, REQ_DISCARD, state, NULL, align_up(info->vm_state_size, q->cluster));
    }
    return ok;
}

/* ---- delete --------------------------------------------------------------------------------- */

bool qcow2_snapshot_delete(Qcow2 *q, const char *id_or_name, GError **err)
{
    Qcow2Snapshot *s = qcow2_snapshot_find(q, id_or_name);
    g_autoptr(GError) unsound = NULL;
    g_autofree uint64_t *l1 = NULL;
    uint64_t offset, count;
    unsigned index;
    bool ok;
    int ret = 0;

    if (!s) {
        return error_set(err, "Can't find the snapshot '%s'", id_or_name);
    }
    if (!begin(q, err)) {
        return false;
    }
    offset = s->l1_offset;
    count = s->l1_size;
    l1 = load_sound(q, s, count, &unsound);
    if (!l1) {
        report_warning("%s; only the entry of the snapshot goes (check -r leaks finds what it had)", unsound->message);
    }
    g_ptr_array_find(q->snapshots, s, &index);
    g_ptr_array_steal_index(q->snapshots, index);
    ok = qcow2_snapshots_store(q, err);
    if (!ok) {
        g_ptr_array_insert(q->snapshots, (int)index, s); /* the file still names it */
    } else {
        qcow2_snapshot_free(s);
        ret = l1 ? qcow2_tree_drop(q, l1, count, DROP_SNAPSHOT) : 0;
        if (ret >= 0 && l1 && count) {
            meta_remove(q, offset, count * 8);
            drop_clusters(q, offset, (count * 8 + q->cluster - 1) >> q->cluster_bits, DROP_SNAPSHOT);
        }
        ret = ret < 0 ? ret : qcow2_sync_all(q);
        ret = ret < 0 ? ret : update_copied(q);
        ok = ret >= 0 || error_set_errno(err, -ret, "Could not free the snapshot's clusters");
    }
    return end(q, !ok, err) && ok;
}

/* ---- apply ---------------------------------------------------------------------------------- */

/* l1 is taken over. */
static int apply(Qcow2 *q, const Qcow2Snapshot *s, uint64_t *l1, uint64_t entries)
{
    uint64_t old_count = q->l1_size;
    g_autofree uint64_t *old = g_memdup2(q->l1, old_count * 8 + 1);
    int ret = qcow2_tree_add(q, l1, entries);

    if (ret < 0) {
        g_free(l1);
        return ret;
    }
    ret = qcow2_switch_l1(q, l1, entries, s->disk_size);
    ret = ret < 0 ? ret : qcow2_tree_drop(q, old, old_count, DROP_SNAPSHOT);
    ret = ret < 0 ? ret : qcow2_sync_all(q);
    return ret < 0 ? ret : update_copied(q);
}

bool qcow2_snapshot_apply(Qcow2 *q, const char *id_or_name, GError **err)
{
    Qcow2Snapshot *s = qcow2_snapshot_find(q, id_or_name);
    uint64_t entries, *l1;
    int ret;

    if (!s) {
        return error_set(err, "Can't find the snapshot '%s'", id_or_name);
    }
    entries = MAX(s->l1_size, qcow2_l1_entries(&q->h, s->disk_size));
    if (s->disk_size > QCOW2_MAX_SIZE || entries > QCOW2_MAX_L1_BYTES / 8) {
        return error_set(err, "The snapshot's disk is too large (%" PRIu64 " bytes)", s->disk_size);
    }
    if (!begin(q, err)) {
        return false;
    }
    l1 = load_sound(q, s, entries, err);
    if (!l1) {
        return end(q, false, NULL) && false;
    }
    ret = apply(q, s, l1, entries);
    if (ret < 0) {
        error_set_errno(err, -ret, "Could not apply snapshot '%s'", id_or_name);
    }
    return end(q, ret < 0, ret < 0 ? NULL : err) && ret >= 0;
}

/* ---- load ----------------------------------------------------------------------------------- */

bool qcow2_snapshot_load(Qcow2 *q, const char *id_or_name, GError **err)
{
    const Qcow2Snapshot *s = qcow2_snapshot_find(q, id_or_name);
    uint64_t *l1;
    int ret;

    if (!s) {
        return error_set(err, "Can't find the snapshot '%s'", id_or_name);
    }
    if (!q->read_only) {
        return error_set(err, "The snapshot '%s' can be shown by an image that is read-only, which this one is not",
                         id_or_name);
    }
    if (!table_place(q, s, err)) {
        return false;
    }
    if (s->disk_size > INT64_MAX || MAX(s->l1_size, qcow2_l1_entries(&q->h, s->disk_size)) > QCOW2_MAX_L1_BYTES / 8) {
        return error_set(err, "The snapshot '%s' has an invalid L1 table or size", id_or_name);
    }
    l1 = qcow2_load_table(q, s->l1_offset, s->l1_size, qcow2_part_bytes(q), &ret);
    if (!l1) {
        return error_set_errno(err, -ret, "Could not read the snapshot's L1 table");
    }
    g_free(q->l1);
    q->l1 = l1;
    q->l1_size = s->l1_size;
    dirty_parts_init(&q->l1_dirty, q->l1_size, qcow2_part_bytes(q));
    q->h.size = s->disk_size;
    return true;
}
