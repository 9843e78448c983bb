/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Size, preallocation, emptying, the name of the backing file. Synchronous; the gate is closed.
 */
#include <stdlib.h>

#include "block/dirty_bitmap.h"
#include "block/qcow2/qcow2.h"
#include "util/log.h"

#define FILL_CHUNK (1 * MIB)
#define LOOKS_MAX (1u << 24) /* clusters, for the last one in use: 1 TiB of 64 KiB each */

bool qcow2_grow_l1(Qcow2 *q, uint64_t entries, GError **err)
{
    uint64_t *l1;
    int ret;

    if (entries <= q->l1_size) {
        return true;
    }
    if (entries > QCOW2_MAX_L1_BYTES / 8) {
        return error_set(err, "The image would be too big for its cluster size of %" PRIu64 " bytes",
                         q->cluster);
    }
    l1 = g_new0(uint64_t, entries + 4096);
    memcpy(l1, q->l1, (uint64_t)q->l1_size * 8);
    ret = qcow2_sync_all(q);
    if (ret < 0) {
        g_free(l1);
    } else {
        ret = qcow2_switch_l1(q, l1, entries, q->h.size);
    }
    return ret >= 0 || error_set_errno(err, -ret, "Could not grow the L1 table");
}

/* ---- preallocation -------------------------------------------------------------------------- */

static int fill(Qcow2 *q, uint64_t host, uint64_t len, bool blank, BlockPrealloc mode)
{
    g_autofree uint8_t *zeros = NULL;
    int ret = 0;

    qcow2_event(q, "cluster_alloc_space");
    if (mode != BLOCK_PREALLOC_FULL) {
        if (blank && mode == BLOCK_PREALLOC_METADATA) {
            uint8_t last[512] = {0};

            return host + len <= q->data->size ? 0 : qcow2_pwrite(q->data, host + len - sizeof last, last, sizeof last);
        }
        return block_pzero(q->data, host, len, 0);
    }
    zeros = g_malloc0(FILL_CHUNK);
    for (uint64_t at = 0; at < len && ret >= 0; at += FILL_CHUNK) {
        ret = qcow2_pwrite(q->data, host + at, zeros, MIN(FILL_CHUNK, len - at));
    }
    return ret;
}

/* As many clusters from guest on as one slice and one allocation give. > 0: bytes. */
static int64_t preallocate_some(Qcow2 *q, uint64_t guest, uint64_t end, BlockPrealloc mode,
                                Waiter *w)
{
    uint64_t host = guest, n = 1, want = ((end - 1) >> q->cluster_bits) - (guest >> q->cluster_bits) + 1;
    uint64_t file_end = q->file_end, flags, bitmap;
    unsigned index;
    Table *t;
    int64_t ret = map_slice_for_write(q, guest, &t, &index, w);

    if (ret <= 0) {
        return ret;
    }
    if (l2_entry(q, t, index) || l2_bitmap(q, t, index)) {
        return (int64_t)q->cluster;
    }
    want = MIN(want, slice_entries(q) - index);
    while (n < want && !l2_entry(q, t, index + (unsigned)n) && !l2_bitmap(q, t, index + (unsigned)n)) {
        n++;
    }
    qcow2_preallocated_bits(&q->h, &flags, &bitmap);
    ret = q->data == q->file ? alloc_clusters(q, n, &host, w) : (int64_t)n;
    if (ret <= 0) {
        return ret;
    }
    table_pin(t);
    n = (uint64_t)ret;
    ret = fill(q, host, n << q->cluster_bits, host >= file_end && q->file_grows, mode);
    if (ret >= 0) {
        table_change(t);
        for (uint64_t i = 0; i < n; i++) {
            l2_store(q, t, index + (unsigned)i, (host + (i << q->cluster_bits)) | flags, bitmap);
        }
        q->l2_names_new = true;
        ret = (int64_t)(n << q->cluster_bits);
    }
    table_unpin(t);
    return ret;
}

/* Metadata only: the file gets its length at once, with room for tables, rather than cluster by cluster. Where it
 * cannot have it, or that was too little, fill() sees to the rest. */
static bool lengthen_file(Qcow2 *q, uint64_t len, BlockPrealloc mode)
{
    uint64_t tables = len / 16 + 64 * q->cluster;

    return mode == BLOCK_PREALLOC_METADATA && q->file_grows && q->data == q->file && len <= INT64_MAX / 4 &&
           q->file_end <= INT64_MAX / 4 &&
           block_ptruncate(q->file, q->file_end + len + tables, false, BLOCK_PREALLOC_OFF, NULL);
}

bool qcow2_preallocate(Qcow2 *q, uint64_t offset, uint64_t len, BlockPrealloc mode, GError **err)
{
    uint64_t at = align_down(offset, q->cluster), end = offset + len;
    SyncWait s;
    int64_t ret = 0;
    bool longer;

    if (mode == BLOCK_PREALLOC_OFF || !len) {
        return true;
    }
    if (q->backing && q->backing->size > at) {
        return error_set(err, "Preallocation is not possible over a backing file: it would hide it");
    }
    qcow2_quiesce(q);
    sync_init(&s, q);
    longer = lengthen_file(q, len, mode);
    while (at < end) {
        ret = preallocate_some(q, at, end, mode, &s.w);
        if (q->cycle_wanted) {
            cycle_start(q);
        }
        if (ret == 0) {
            ret = sync_wait(&s);
        }
        if (ret < 0) {
            break;
        }
        at += (uint64_t)ret;
    }
    ret = ret < 0 ? ret : qcow2_sync_all(q);
    if (longer) {
        block_ptruncate(q->file, q->file_end, true, BLOCK_PREALLOC_OFF, NULL); /* (a hole too many does no harm) */
    }
    qcow2_resume(q);
    return ret >= 0 || error_set_errno(err, (int)-ret, "Could not preallocate");
}

/* ---- resize --------------------------------------------------------------------------------- */

static int set_size(Qcow2 *q, uint64_t size)
{
    uint64_t old = q->h.size;
    int ret = qcow2_sync_all(q);

    q->h.size = size;
    ret = ret < 0 ? ret : qcow2_write_header(q, NULL);
    if (ret < 0) {
        q->h.size = old;
    }
    return ret;
}

/* What becomes visible reads as zeros, whatever the backing file or the last cluster has there. */
static int hide_old(Qcow2 *q, uint64_t old, uint64_t size)
{
    uint64_t end = MIN(size, align_up(old, q->cluster)), backed;
    int ret = old < end ? qcow2_do(q, REQ_ZERO, old, NULL, end - old) : 0;

    if (ret == 0 && q->backing && q->backing->size > end && end < size) {
        backed = align_up(MIN(size, q->backing->size), q->cluster); /* whole clusters cost no data */
        ret = qcow2_do(q, REQ_ZERO, end, NULL, backed - end);
    }
    return ret;
}

/* L2 tables that lie behind the end as a whole. */
static void drop_l2_behind(Qcow2 *q, uint64_t size)
{
    for (uint64_t i = qcow2_l1_entries(&q->h, size); i < q->l1_size; i++) {
        uint64_t host = q->l1[i] & QCOW2_OFFSET_MASK;

        if (host && !(host & (q->cluster - 1))) {
            qcow2_event(q, "l1_shrink_free_l2_clusters");
            table_forget(&q->l2, host, q->cluster);
            meta_remove(q, host, q->cluster);
            l1_set(q, i, 0);
            drop_clusters(q, host, 1, DROP_OTHER);
        }
    }
}

static int shrink(Qcow2 *q, uint64_t size)
{
    uint64_t from = align_up(size, q->cluster), old = align_up(q->h.size, q->cluster);
    int ret = from < old ? qcow2_do(q, REQ_DISCARD, from, NULL, old - from) : 0;

    ret = ret < 0 ? ret : set_size(q, size);
    if (ret == 0) {
        qcow2_event(q, "l1_shrink_write_table");
        drop_l2_behind(q, size); /* not before: a backing file would come to light */
    }
    return ret;
}

/* Where the last cluster ends that is in use, or a later place: a sparse file may be as long as its maker likes. */
static uint64_t used_end(Qcow2 *q, int *error)
{
    uint64_t cluster = MIN(q->file_end >> q->cluster_bits, (uint64_t)q->reftable_size << q->rb_bits);

    *error = 0;
    for (unsigned looks = 0; cluster && looks < LOOKS_MAX; looks++) {
        uint64_t index = (cluster - 1) >> q->rb_bits;

        if (!q->reftable[index]) {
            cluster = index << q->rb_bits; /* none has a refcount there */
        } else if (refcount_sync(q, cluster - 1, error) || *error) {
            break;
        } else {
            cluster--;
        }
    }
    return cluster << q->cluster_bits;
}

/*
 * Nothing that is on stable storage names what lies behind the last cluster in use any more: the file ends there. Before
 * anything is written there again the cut is on stable storage too, since what lies behind file_end is taken for zeros.
 */
static int cut_tail(Qcow2 *q)
{
    int ret;
    uint64_t end = used_end(q, &ret);
    g_autoptr(GError) err = NULL;

    if (ret < 0 || end >= q->file_end) {
        return ret;
    }
    if (!block_ptruncate(q->file, end, false, BLOCK_PREALLOC_OFF, &err)) {
        report_warning("The tail of the image's file stays: %s", err->message);
        return 0;
    }
    ret = block_pflush(q->file);
    if (ret == 0 && q->file->size <= end) {
        q->file_end = end;
    }
    return ret;
}

static bool check_resize(Qcow2 *q, uint64_t size, BlockPrealloc prealloc, GError **err)
{
    if (q->read_only) {
        return error_set(err, "The image is read-only");
    }
    if (size % 512) {
        return error_set(err, "The new size must be a multiple of 512");
    }
    if (size > QCOW2_MAX_SIZE || qcow2_l1_entries(&q->h, size) > QCOW2_MAX_L1_BYTES / 8) {
        return error_set(err, "The image would be too big for its cluster size of %" PRIu64 " bytes",
                         q->cluster);
    }
    if (q->snapshots->len && q->h.version < 3) {
        return error_set(err, "Can't resize a v2 image which has snapshots (amend it to compat=1.1)");
    }
    if (prealloc != BLOCK_PREALLOC_OFF && size < q->h.size) {
        return error_set(err, "Preallocation can't be used for shrinking an image");
    }
    return true;
}

bool qcow2_resize(Qcow2 *q, uint64_t size, BlockPrealloc prealloc, GError **err)
{
    uint64_t old = q->h.size;
    bool ok = true;
    int ret = 0;

    if (!check_resize(q, size, prealloc, err) ||
        !block_dirty_bitmaps_check_resize(q->node, size, err)) {
        return false;
    }
    qcow2_quiesce(q);
    if (size < old) {
        ret = shrink(q, size);
    } else if (size > old) {
        ok = qcow2_grow_l1(q, qcow2_l1_entries(&q->h, size), err);
        ret = ok ? hide_old(q, old, size) : 0;
        ret = ret < 0 || !ok ? ret : set_size(q, size);
    }
    if (ok && ret >= 0 && size > old) {
        ok = qcow2_preallocate(q, old, size - old, prealloc, err);
    }
    if (ok && ret >= 0) {
        ret = qcow2_sync_all(q);
    }
    if (ok && ret >= 0 && size < old) {
        ret = cut_tail(q);
    }
    qcow2_resume(q);
    if (ok && ret < 0) {
        return error_set_errno(err, -ret, "Could not resize the image");
    }
    return ok;
}

/* ---- emptying ------------------------------------------------------------------------------- */

bool qcow2_make_empty(Qcow2 *q, GError **err)
{
    int ret;

    if (q->read_only) {
        return error_set(err, "The image is read-only");
    }
    qcow2_quiesce(q);
    qcow2_event(q, "empty_image_prepare");
    ret = qcow2_sync_all(q);
    ret = ret < 0 ? ret : qcow2_tree_drop(q, q->l1, q->l1_size, DROP_OTHER);
    for (uint32_t i = 0; i < q->l1_size && ret >= 0; i++) {
        uint64_t host = q->l1[i] & QCOW2_OFFSET_MASK;

        if (host) {
            table_forget(&q->l2, host, q->cluster);
            meta_remove(q, host, q->cluster);
            l1_set(q, i, 0);
        }
    }
    ret = ret < 0 ? ret : qcow2_sync_all(q);
    qcow2_resume(q);
    return ret >= 0 || error_set_errno(err, -ret, "Could not empty the image");
}

/* ---- backing file --------------------------------------------------------------------------- */

bool qcow2_change_backing(Qcow2 *q, const char *file, const char *format, GError **err)
{
    char *old_file = q->h.backing_file, *old_format = q->h.backing_format;
    int ret;

    if (q->read_only) {
        return error_set(err, "The image is read-only");
    }
    if (file && qcow2_data_file_is_raw(&q->h)) {
        return error_set(err, "Cannot change the backing file of an image with a raw external data "
                              "file");
    }
    qcow2_quiesce(q);
    q->h.backing_file = g_strdup(file);
    q->h.backing_format = file ? g_strdup(format) : NULL;
    ret = qcow2_write_header(q, err);
    if (ret < 0) {
        g_free(q->h.backing_file);
        g_free(q->h.backing_format);
        q->h.backing_file = old_file;
        q->h.backing_format = old_format;
    } else {
        g_free(old_file);
        g_free(old_format);
    }
    qcow2_resume(q);
    return ret >= 0;
}
