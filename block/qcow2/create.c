/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A new image: header, refcount blocks, refcount table and L1 table one after the other, the header
 * written last. Also how large an image will become.
 */
#include <stdlib.h>

#include "block/qcow2/qcow2.h"

void qcow2_create_options_init(Qcow2CreateOptions *o)
{
    *o = (Qcow2CreateOptions){.version = 3, .cluster_size = 65536, .refcount_bits = 16};
}

/* ---- options -------------------------------------------------------------------------------- */

static bool check_v2(const Qcow2CreateOptions *o, GError **err)
{
    static const char advice[] = "require compatibility level 1.1 or above (use compat=1.1 or "
                                 "greater)";

    if (o->version >= 3) {
        return true;
    }
    if (o->refcount_bits != 16) {
        return error_set(err, "Different refcount widths than 16 bits %s", advice);
    }
    if (o->lazy_refcounts) {
        return error_set(err, "Lazy refcounts %s", advice);
    }
    if (o->extended_l2) {
        return error_set(err, "Extended L2 entries %s", advice);
    }
    if (o->compression_type != QCOW2_COMPRESSION_ZLIB) {
        return error_set(err, "Non-zlib compression types %s", advice);
    }
    if (o->data_file) {
        return error_set(err, "External data files %s", advice);
    }
    return true;
}

static bool check_combinations(const Qcow2CreateOptions *o, GError **err)
{
    if (o->extended_l2 && o->cluster_size < 16384) {
        return error_set(err, "Extended L2 entries are only supported with cluster sizes of at least "
                              "16384 bytes");
    }
    if (o->data_file_raw && !o->data_file) {
        return error_set(err, "data_file_raw requires data_file");
    }
    if (o->data_file_raw && o->backing_file) {
        return error_set(err, "Backing file and data_file_raw cannot be used at the same time");
    }
    if (o->backing_file && o->preallocation != BLOCK_PREALLOC_OFF && !o->extended_l2) {
        return error_set(err, "Backing file and preallocation can only be used at the same time if extended_l2 is on");
    }
    if (o->backing_format && !o->backing_file) {
        return error_set(err, "Backing format cannot be used without backing file");
    }
    if (o->backing_file && !o->backing_format) {
        return error_set(err, "Backing file specified without backing format (use backing_fmt)");
    }
    return true;
}

bool qcow2_create_options_check(const Qcow2CreateOptions *o, GError **err)
{
    Qcow2Header h = {.version = o->version,
                     .incompatible = o->extended_l2 ? QCOW2_INCOMPAT_EXTENDED_L2 : 0};

    if (!is_power_of_two(o->cluster_size) || o->cluster_size < 512 || o->cluster_size > 2 * MIB) {
        return error_set(err, "Cluster size must be a power of two between 512 and 2048k");
    }
    if (!is_power_of_two(o->refcount_bits) || o->refcount_bits > 64) {
        return error_set(err, "Refcount width must be a power of two and may not exceed 64 bits");
    }
    if (o->size & 511) {
        return error_set(err, "Image size must be a multiple of 512 bytes");
    }
    if (!check_v2(o, err) || !check_combinations(o, err)) {
        return false;
    }
    h.cluster_bits = (unsigned)g_bit_nth_msf(o->cluster_size, -1);
    if (o->size > QCOW2_MAX_SIZE || qcow2_l1_entries(&h, o->size) > QCOW2_MAX_L1_BYTES / 8) {
        return error_set(err, "The image size is too large for cluster_size=%" PRIu64
                              " (try using a larger cluster size)", o->cluster_size);
    }
    return true;
}

static void header_from_options(const Qcow2CreateOptions *o, Qcow2Header *h)
{
    *h = (Qcow2Header){
        .version = o->version,
        .cluster_bits = (unsigned)g_bit_nth_msf(o->cluster_size, -1),
        .refcount_order = (unsigned)g_bit_nth_msf(o->refcount_bits, -1),
        .compression_type = o->compression_type,
        .size = o->size,
        .incompatible = (o->extended_l2 ? QCOW2_INCOMPAT_EXTENDED_L2 : 0) |
                        (o->data_file ? QCOW2_INCOMPAT_DATA_FILE : 0) |
                        (o->compression_type ? QCOW2_INCOMPAT_COMPRESSION : 0),
        .compatible = o->lazy_refcounts ? QCOW2_COMPAT_LAZY_REFCOUNTS : 0,
        .autoclear = o->data_file_raw ? QCOW2_AUTOCLEAR_RAW_DATA_FILE : 0,
        .backing_file = (char *)o->backing_file,
        .backing_format = (char *)o->backing_format,
        .data_file = (char *)o->data_file,
        .crypt_method = o->crypto_length ? QCOW2_CRYPT_LUKS : QCOW2_CRYPT_NONE,
        .has_crypto = o->crypto_length,
        .crypto_length = o->crypto_length,
    };
    h->l1_size = (uint32_t)qcow2_l1_entries(h, o->size);
}

/* ---- layout --------------------------------------------------------------------------------- */

typedef struct Layout {
    uint64_t blocks, table, l1; /* clusters of each, in this order behind the header */
    uint64_t total;             /* clusters in all */
} Layout;

/* data: clusters that shall have refcounts besides the metadata. */
static Layout find_layout(const Qcow2Header *h, uint64_t data)
{
    uint64_t per_block_bits = h->cluster_bits + 3 - h->refcount_order, cluster = qcow2_cluster_size(h);
    Layout l = {1, 1, ((uint64_t)h->l1_size * 8 + cluster - 1) / cluster, 0};

    for (uint64_t before = UINT64_MAX; before != l.total;) {
        before = l.total;
        l.total = 1 + l.blocks + l.table + l.l1 + data;
        l.blocks = (l.total + (UINT64_C(1) << per_block_bits) - 1) >> per_block_bits;
        l.table = (l.blocks * 8 + cluster - 1) / cluster;
        l.total = 1 + l.blocks + l.table + l.l1 + data;
    }
    return l;
}

static int write_metadata(BlockNode *file, const Qcow2Header *h, const Layout *l)
{
    Qcow2 geometry = {.h = *h}; /* for refcount_write */
    uint64_t cluster = qcow2_cluster_size(h), at = cluster;
    unsigned per_block_bits = h->cluster_bits + 3 - h->refcount_order;
    g_autofree uint8_t *buf = g_malloc(cluster);
    int ret = 0;

    for (uint64_t b = 0; b < l->blocks && ret >= 0; b++, at += cluster) {
        uint64_t first = b << per_block_bits, n = MIN(UINT64_C(1) << per_block_bits, l->total - first);

        memset(buf, 0, cluster);
        for (uint64_t i = 0; i < n; i++) {
            refcount_write(&geometry, buf, i, 1);
        }
        ret = qcow2_pwrite(file, at, buf, cluster);
    }
    for (uint64_t t = 0; t < l->table && ret >= 0; t++, at += cluster) {
        memset(buf, 0, cluster);
        for (uint64_t i = 0; i < cluster / 8 && t * cluster / 8 + i < l->blocks; i++) {
            store64_be(buf + i * 8, cluster * (1 + t * cluster / 8 + i));
        }
        ret = qcow2_pwrite(file, at, buf, cluster);
    }
    memset(buf, 0, cluster);
    for (uint64_t i = 0; i < l->l1 && ret >= 0; i++, at += cluster) {
        ret = qcow2_pwrite(file, at, buf, cluster);
    }
    return ret < 0 ? ret : block_pflush(file);
}

static uint64_t crypto_clusters(const Qcow2CreateOptions *o)
{
    return (o->crypto_length + o->cluster_size - 1) / o->cluster_size;
}

bool qcow2_format(BlockNode *file, BlockNode *data, const Qcow2CreateOptions *o, uint64_t *crypto,
                  GError **err)
{
    Qcow2Header h;
    Layout l;
    g_autofree uint8_t *buf = NULL;
    size_t used;
    int ret;

    (void)data;
    if (!qcow2_create_options_check(o, err)) {
        return false;
    }
    header_from_options(o, &h);
    l = find_layout(&h, crypto_clusters(o));
    h.reftable_offset = (1 + l.blocks) << h.cluster_bits;
    h.reftable_clusters = (uint32_t)l.table;
    h.l1_offset = l.l1 ? (1 + l.blocks + l.table) << h.cluster_bits : 0;
    h.crypto_offset = (1 + l.blocks + l.table + l.l1) << h.cluster_bits;
    if (crypto) {
        *crypto = h.crypto_offset;
    }
    buf = g_malloc(o->cluster_size);
    if (!qcow2_header_build(&h, buf, o->cluster_size, &used, err)) {
        return false;
    }
    ret = write_metadata(file, &h, &l);
    if (ret >= 0 && h.has_crypto) {
        ret = block_pzero(file, h.crypto_offset, crypto_clusters(o) << h.cluster_bits, 0);
    }
    ret = ret < 0 ? ret : qcow2_pwrite(file, 0, buf, o->cluster_size);
    ret = ret < 0 ? ret : block_pflush(file);
    return ret >= 0 || error_set_errno(err, -ret, "Could not write the new image");
}

/* ---- measure -------------------------------------------------------------------------------- */

void qcow2_measure(const Qcow2CreateOptions *o, uint64_t data_bytes, uint64_t *required,
                   uint64_t *fully_allocated)
{
    Qcow2Header h;
    uint64_t clusters, l2_tables, l2_cover, size = align_up(o->size, o->cluster_size);

    header_from_options(o, &h);
    l2_cover = UINT64_C(1) << qcow2_l2_bits(&h);
    clusters = size >> h.cluster_bits;
    l2_tables = (clusters + l2_cover - 1) / l2_cover;
    if (o->data_file) {
        clusters = 0;
        data_bytes = 0;
    }
    *fully_allocated = find_layout(&h, clusters + l2_tables + crypto_clusters(o)).total << h.cluster_bits;
    *required = *fully_allocated - (clusters << h.cluster_bits) + align_up(data_bytes, o->cluster_size);
}
