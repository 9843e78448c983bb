/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An open image: what is loaded at once (header, L1, refcount table, snapshot list), caches, the
 * dirty and corrupt bits, and the end.
 */
#include <stdlib.h>

#include "block/crypto.h"
#include "block/qcow2/qcow2.h"
#include "util/log.h"

#define DEFAULT_L2_CACHE_MAX (32 * MIB)
#define DEFAULT_REFCOUNT_TABLES UINT64_C(16)

void qcow2_options_init(Qcow2Options *o)
{
    *o = (Qcow2Options){.clean_interval = 600,
                        .lazy_refcounts = -1,
                        .discard_snapshot = true,
                        .overlap = 0x1ff & ~QCOW2_OVERLAP_INACTIVE_L2};
}

/* ---- header --------------------------------------------------------------------------------- */

bool qcow2_header_image(Qcow2 *q, uint8_t *buf, size_t *used, GError **err)
{
    if (!qcow2_header_build(&q->h, buf, q->cluster, used, err)) {
        return false;
    }
    /* Whole sectors, so that no write has to read first; the rest of the cluster is never used. */
    *used = MIN(align_up(*used, 512), q->cluster);
    return true;
}

int qcow2_write_header(Qcow2 *q, GError **err)
{
    g_autofree uint8_t *buf = g_malloc(q->cluster);
    size_t used;
    int ret;

    if (!qcow2_header_image(q, buf, &used, err)) {
        return -EFBIG;
    }
    ret = qcow2_pwrite(q->file, 0, buf, used);
    ret = ret < 0 ? ret : block_pflush(q->file);
    if (ret < 0) {
        error_set_errno(err, -ret, "Could not write the qcow2 header");
    }
    return ret;
}

int qcow2_set_incompatible(Qcow2 *q, uint64_t set, uint64_t clear)
{
    uint64_t before = q->h.incompatible;
    int ret;

    q->h.incompatible = (before | set) & ~clear;
    if (q->h.version < 3 || q->h.incompatible == before) {
        q->h.incompatible = before;
        return 0;
    }
    ret = qcow2_write_header(q, NULL);
    if (ret < 0) {
        q->h.incompatible = before;
    }
    return ret;
}

static bool load_header(Qcow2 *q, bool for_check, GError **err)
{
    uint8_t first[QCOW2_H_V2_LENGTH];
    uint64_t file_size = q->file->size;
    g_autofree uint8_t *buf = NULL;
    size_t cluster;
    int ret;

    if (file_size < sizeof first) {
        return error_set(err, "Image is not in qcow2 format");
    }
    ret = block_pread(q->file, 0, first, sizeof first);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read qcow2 header");
    }
    cluster = qcow2_header_peek(first, sizeof first, err);
    if (!cluster) {
        return false;
    }
    cluster = MIN(cluster, file_size);
    buf = g_malloc(cluster);
    ret = block_pread(q->file, 0, buf, cluster);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read qcow2 header");
    }
    return qcow2_header_check(buf, cluster, file_size, for_check, &q->h, err);
}

static void set_geometry(Qcow2 *q)
{
    const Qcow2Header *h = &q->h;
    uint64_t slice = q->opt.l2_entry_size ? q->opt.l2_entry_size : 4 * KIB;

    q->cluster_bits = h->cluster_bits;
    q->cluster = UINT64_C(1) << q->cluster_bits;
    q->l2_bits = qcow2_l2_bits(h);
    q->entry_size = qcow2_has_subclusters(h) ? 16 : 8;
    q->subs = qcow2_has_subclusters(h) ? QCOW2_SUBCLUSTERS : 1;
    q->sub_bits = q->cluster_bits - (q->subs > 1 ? 5 : 0);
    q->rb_bits = q->cluster_bits + 3 - h->refcount_order;
    slice = MIN(slice, q->cluster);
    q->slice_bits = (unsigned)g_bit_nth_msf(slice / q->entry_size, -1);
}

/* ---- tables --------------------------------------------------------------------------------- */

uint64_t *qcow2_load_table(Qcow2 *q, uint64_t offset, uint64_t entries, unsigned padded, int *error)
{
    uint64_t *table = g_new0(uint64_t, align_up(entries, padded / 8) + padded / 8);

    *error = entries ? block_pread(q->file, offset, table, entries * 8) : 0;
    if (*error < 0) {
        g_free(table);
        return NULL;
    }
    for (uint64_t i = 0; i < entries; i++) {
        table[i] = GUINT64_FROM_BE(table[i]);
    }
    return table;
}

static bool load_tables(Qcow2 *q, GError **err)
{
    unsigned part = qcow2_part_bytes(q);
    int error;

    q->l1_size = q->h.l1_size;
    q->l1 = qcow2_load_table(q, q->h.l1_offset, q->l1_size, part, &error);
    if (!q->l1) {
        return error_set_errno(err, -error, "Could not read L1 table");
    }
    dirty_parts_init(&q->l1_dirty, q->l1_size, part);
    q->reftable_size = (uint32_t)(((uint64_t)q->h.reftable_clusters << q->cluster_bits) / 8);
    qcow2_event(q, "reftable_load");
    q->reftable = qcow2_load_table(q, q->h.reftable_offset, q->reftable_size, part, &error);
    if (!q->reftable) {
        return error_set_errno(err, -error, "Could not read refcount table");
    }
    dirty_parts_init(&q->reftable_dirty, q->reftable_size, part);
    return true;
}

/* The set of metadata clusters; *bad: a table that lies on another, or nowhere. */
static void collect_meta(Qcow2 *q)
{
    meta_add(q, 0, q->cluster, QCOW2_OVERLAP_HEADER);
    if (q->l1_size) {
        meta_add(q, q->h.l1_offset, (uint64_t)q->l1_size * 8, QCOW2_OVERLAP_ACTIVE_L1);
    }
    meta_add(q, q->h.reftable_offset, (uint64_t)q->reftable_size * 8, QCOW2_OVERLAP_REFTABLE);
    for (uint32_t i = 0; i < q->reftable_size; i++) {
        if (q->reftable[i]) {
            meta_add(q, q->reftable[i] & ~(q->cluster - 1), q->cluster, QCOW2_OVERLAP_REFBLOCK);
        }
    }
    for (uint32_t i = 0; i < q->l1_size; i++) {
        if (q->l1[i] & QCOW2_OFFSET_MASK) {
            meta_add(q, q->l1[i] & QCOW2_OFFSET_MASK, q->cluster, QCOW2_OVERLAP_ACTIVE_L2);
        }
    }
    if (q->h.has_crypto) {
        meta_add(q, q->h.crypto_offset, q->h.crypto_length, QCOW2_OVERLAP_HEADER);
    }
    if (q->h.has_bitmaps) {
        meta_add(q, q->h.bitmap_dir_offset, q->h.bitmap_dir_size, QCOW2_OVERLAP_BITMAPS);
    }
}

/* ---- caches --------------------------------------------------------------------------------- */

static void cache_bytes(const Qcow2 *q, uint64_t *l2, uint64_t *rb)
{
    uint64_t all_l2 = (uint64_t)MAX(q->l1_size, 1) << q->cluster_bits;
    size_t slice = (size_t)q->entry_size << q->slice_bits;

    /* More than the whole disk's tables is no use. */
    *l2 = MIN(q->opt.l2_cache_size ? q->opt.l2_cache_size : DEFAULT_L2_CACHE_MAX,
              all_l2 + 4 * slice);
    *rb = q->opt.refcount_cache_size ? q->opt.refcount_cache_size
                                     : DEFAULT_REFCOUNT_TABLES << q->cluster_bits;
}

static void set_cache_limits(Qcow2 *q)
{
    uint64_t l2, rb;

    cache_bytes(q, &l2, &rb);
    q->l2.limit = (unsigned)MAX(l2 / q->l2.size, 4);
    q->rb.limit = (unsigned)MAX(rb / q->rb.size, 4);
}

static void init_caches(Qcow2 *q)
{
    uint64_t l2, rb;

    cache_bytes(q, &l2, &rb);
    table_cache_init(&q->l2, q, (size_t)q->entry_size << q->slice_bits, l2);
    table_cache_init(&q->rb, q, q->cluster, rb);
}

static void clean_tick(void *opaque)
{
    Qcow2 *q = opaque;

    table_cache_tick(&q->l2);
    table_cache_tick(&q->rb);
    unpacked_clear(q);
    block_timer_arm(q->clean_timer,
                    clock_monotonic_ns() + (int64_t)q->opt.clean_interval * NSEC_PER_SEC);
}

void qcow2_start_timer(Qcow2 *q)
{
    if (q->opt.clean_interval) {
        q->clean_timer = block_timer_new(q->node->loop, clean_tick, q);
        block_timer_arm(q->clean_timer,
                        clock_monotonic_ns() + (int64_t)q->opt.clean_interval * NSEC_PER_SEC);
    }
}

void qcow2_stop_timer(Qcow2 *q)
{
    block_timer_free(q->clean_timer);
    q->clean_timer = NULL;
}

/* ---- opening -------------------------------------------------------------------------------- */

static bool check_openable(Qcow2 *q, GError **err)
{
    if (q->h.incompatible & QCOW2_INCOMPAT_CORRUPT && !q->read_only && !q->opt.for_check) {
        return error_set(err, "qcow2: Image is corrupt; cannot be opened read/write (repair it with "
                              "check -r all, or open it with read-only=on)");
    }
    if (q->h.crypt_method == QCOW2_CRYPT_AES) {
        return error_set(err, "qcow2: the old AES encryption is not supported; convert the image with "
                              "QEMU's tool: qemu-img convert");
    }
    if (q->h.crypt_method && !q->h.has_crypto) {
        return error_set(err, "qcow2: an encrypted image without an encryption header");
    }
    if (q->opt.l2_entry_size &&
        (!is_power_of_two(q->opt.l2_entry_size) || q->opt.l2_entry_size < 512 ||
         q->opt.l2_entry_size > qcow2_cluster_size(&q->h))) {
        return error_set(err, "L2 cache entry size must be a power of two between 512 and the "
                              "cluster size (%" PRIu64 ")", qcow2_cluster_size(&q->h));
    }
    return true;
}

/* What this program does not keep up to date must not be believed later. */
static bool clear_autoclear(Qcow2 *q, GError **err)
{
    uint64_t unknown = q->h.autoclear & ~QCOW2_AUTOCLEAR_KNOWN;

    if (q->h.version < 3 || q->read_only || q->opt.for_check) {
        return true;
    }
    if (!unknown) {
        return true;
    }
    q->h.autoclear &= ~unknown;
    return qcow2_write_header(q, err) == 0;
}

static bool repair_if_dirty(Qcow2 *q, GError **err)
{
    Qcow2CheckResult result = {0};
    int ret;

    if (!(q->h.incompatible & QCOW2_INCOMPAT_DIRTY) || q->read_only || q->opt.for_check) {
        return true;
    }
    report_warning("qcow2: '%s' was not closed cleanly; its refcounts are counted anew",
                   q->node->filename ? q->node->filename : q->node->name);
    ret = qcow2_check(q, BLOCK_FIX_LEAKS | BLOCK_FIX_ERRORS, &result);
    if (ret < 0 || result.n.check_errors ||
        result.n.corruptions > result.n.corruptions_fixed) {
        return error_set(err, "qcow2: Could not repair dirty image: %s (check -r all says more)",
                         ret < 0 ? g_strerror(-ret) : "errors remain");
    }
    return true;
}

/* Before anything is written. */
static bool open_bitmaps(Qcow2 *q, GError **err)
{
    g_autoptr(GError) local = NULL;
    int ret;

    q->node->size = q->h.size;
    if (!qcow2_bitmaps_load(q, &local)) {
        if (!q->read_only && !q->opt.for_check) {
            return error_set(err, "%s; repair it (check -r all), or open the image with read-only=on", local->message);
        }
        qcow2_bitmaps_clear(q);
        report_warning("%s", local->message);
        return true;
    }
    if (q->read_only || q->opt.for_check) {
        return true;
    }
    ret = qcow2_bitmaps_begin(q);
    return ret >= 0 || error_set_errno(err, -ret, "Could not mark the dirty bitmaps as in use");
}

static bool open_encryption(Qcow2 *q, GError **err)
{
    LuksArea area = {q->file, q->h.crypto_offset, q->h.crypto_length};

    if (!q->h.crypt_method) {
        return true;
    }
    q->luks = g_new0(Luks, 1);
    if (!luks_load(&area, q->luks, err)) {
        return false;
    }
    if (!q->opt.crypt) {
        return true;
    }
    if (!*q->opt.crypt && !q->opt.no_io) {
        *q->opt.crypt = luks_unlock_secret(&area, q->luks, "encrypt.", q->opt.key_secret, err);
    }
    q->crypto = *q->opt.crypt;
    return q->crypto || q->opt.no_io;
}

static void init_containers(Qcow2 *q)
{
    q->bitmaps_removed = g_ptr_array_new_with_free_func(qcow2_bitmap_free);
    q->meta = g_hash_table_new(NULL, NULL);
    q->dropped = g_array_new(FALSE, FALSE, sizeof(Dropped));
    q->snapshots = g_ptr_array_new_with_free_func(qcow2_snapshot_free);
    g_queue_init(&q->reclaims);
    g_queue_init(&q->active);
    g_queue_init(&q->held);
    g_queue_init(&q->allocs);
    g_queue_init(&q->copies);
}

static void image_free(Qcow2 *q)
{
    qcow2_stop_timer(q);
    table_cache_clear(&q->l2);
    ahead_forget(q);
    table_cache_clear(&q->rb);
    unpacked_clear(q);
    g_free(q->l1);
    g_free(q->reftable);
    g_free(q->l1_dirty.bits);
    g_free(q->reftable_dirty.bits);
    g_hash_table_unref(q->meta);
    g_array_unref(q->dropped);
    g_ptr_array_unref(q->snapshots);
    g_free(q->snapshots_error);
    qcow2_bitmaps_clear(q);
    g_ptr_array_unref(q->bitmaps_removed);
    qcow2_header_clear(&q->h);
    g_free(q->luks);
    g_free(q);
}

/* Whichever of the two is wrong: writing to one of them would write to the other. */
bool qcow2_may_write(const Qcow2 *q, GError **err)
{
    unsigned is = meta_on_active_l1(q);

    return !is || error_set(err, "qcow2: Image is corrupt: its L1 table is at %#" PRIx64 ", where the %s is; kiln-img check "
                                 "says which of them is wrong, read-only=on opens the image", q->h.l1_offset, meta_name(is));
}

static bool load_image(Qcow2 *q, GError **err)
{
    if (!load_header(q, q->opt.for_check, err) || !check_openable(q, err) || !open_encryption(q, err)) {
        return false;
    }
    set_geometry(q);
    q->lazy = !q->read_only && q->h.version >= 3 &&
              (q->opt.lazy_refcounts >= 0 ? q->opt.lazy_refcounts
                                          : !!(q->h.compatible & QCOW2_COMPAT_LAZY_REFCOUNTS));
    if (!load_tables(q, err)) {
        return false;
    }
    init_caches(q);
    collect_meta(q);
    q->file_end = align_up(q->file->size, q->cluster);
    return qcow2_snapshots_load(q, err) && (q->read_only || q->opt.for_check || qcow2_may_write(q, err)) &&
           clear_autoclear(q, err) && repair_if_dirty(q, err) && open_bitmaps(q, err);
}

Qcow2 *qcow2_open(BlockNode *node, BlockNode *file, const Qcow2Options *options, bool read_only,
                  GError **err)
{
    Qcow2 *q = g_new0(Qcow2, 1);

    q->vm = node->vm;
    q->node = node;
    q->file = q->data = file;
    q->opt = *options;
    q->read_only = read_only;
    q->file_grows = !strcmp(file->drv->name, "file");
    init_containers(q);
    if (!load_image(q, err)) {
        image_free(q);
        return NULL;
    }
    qcow2_start_timer(q);
    return q;
}

void qcow2_reopened(Qcow2 *q, const Qcow2Options *options, bool read_only)
{
    Qcow2Options old = q->opt;
    bool was_read_only = q->read_only;

    qcow2_stop_timer(q);
    q->opt = *options;
    q->opt.l2_entry_size = old.l2_entry_size; /* slices keep their size */
    q->opt.for_check = old.for_check;
    q->opt.crypt = old.crypt;
    q->read_only = read_only;
    q->lazy = !read_only && q->h.version >= 3 &&
              (options->lazy_refcounts >= 0 ? options->lazy_refcounts
                                            : !!(q->h.compatible & QCOW2_COMPAT_LAZY_REFCOUNTS));
    set_cache_limits(q);
    if (was_read_only && !read_only) {
        clear_autoclear(q, NULL);
        if (qcow2_bitmaps_begin(q) < 0) {
            report_error("qcow2: could not mark the dirty bitmaps of '%s' as in use", q->node->name);
        }
    }
    qcow2_start_timer(q);
}

/* ---- the end -------------------------------------------------------------------------------- */

int qcow2_close(Qcow2 *q)
{
    int ret = 0;

    qcow2_quiesce(q);
    while (q->marking || q->cycle.stage || q->reclaiming) {
        block_loop_wait(q->node->loop);
    }
    if (!q->read_only && !q->broken) {
        ret = q->opt.for_check ? 0 : qcow2_bitmaps_store(q);
        ret = ret < 0 ? ret : qcow2_sync_all(q);
        if (ret == 0 && !q->opt.for_check) { /* what a check leaves dirty is dirty */
            ret = qcow2_set_incompatible(q, 0, QCOW2_INCOMPAT_DIRTY);
        }
    }
    while (q->cycle.stage || q->reclaiming) {
        block_loop_wait(q->node->loop);
    }
    for (Reclaim *r; (r = g_queue_pop_head(&q->reclaims));) {
        g_array_unref(r->ranges);
        g_free(r);
    }
    image_free(q);
    return ret;
}
