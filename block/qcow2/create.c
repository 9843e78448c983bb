/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A new image: header, refcount blocks, refcount table, L1 table, where it is encrypted LUKS' header, where it is
 * preallocated L2 tables and data, one after the other; the header is written last. Also how large an image will become.
 */
#include <stdlib.h>

#include "block/format.h"
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
        return error_set(err, "data-file-raw requires data-file");
    }
    if (o->data_file_raw && o->backing_file) {
        return error_set(err, "Backing file and data-file-raw cannot be used at the same time");
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

/* Clusters of each, in this order behind the header; what is not said is 0. */
typedef struct Layout {
    uint64_t blocks, table, l1, crypto, l2;
    uint64_t mapped; /* that the L2 tables lead to: in the file, behind it all, or in the data file */
    uint64_t total;  /* clusters of the file that are in use */
    uint64_t l2_offset, data_offset; /* bytes; data_offset 0: there is none in the file */
} Layout;

/* rest: clusters that have refcounts besides header, refcounts and L1 table. */
static Layout count_clusters(const Qcow2Header *h, uint64_t rest)
{
    uint64_t per_block_bits = h->cluster_bits + 3 - h->refcount_order, cluster = qcow2_cluster_size(h);
    Layout l = {.blocks = 1, .table = 1, .l1 = ((uint64_t)h->l1_size * 8 + cluster - 1) / cluster};

    for (uint64_t before = UINT64_MAX; before != l.total;) {
        before = l.total;
        l.total = 1 + l.blocks + l.table + l.l1 + rest;
        l.blocks = (l.total + (UINT64_C(1) << per_block_bits) - 1) >> per_block_bits;
        l.table = (l.blocks * 8 + cluster - 1) / cluster;
        l.total = 1 + l.blocks + l.table + l.l1 + rest;
    }
    return l;
}

static uint64_t crypto_clusters(const Qcow2CreateOptions *o)
{
    return (o->crypto_length + o->cluster_size - 1) / o->cluster_size;
}

static uint64_t l2_tables(const Qcow2Header *h, uint64_t clusters)
{
    return (clusters + (UINT64_C(1) << qcow2_l2_bits(h)) - 1) >> qcow2_l2_bits(h);
}

static Layout find_layout(const Qcow2Header *h, const Qcow2CreateOptions *o)
{
    /* Who reads a raw data file as it is must find the disk there: all of it is mapped. */
    bool mapped = o->preallocation != BLOCK_PREALLOC_OFF || o->data_file_raw;
    uint64_t clusters = mapped ? (o->size + o->cluster_size - 1) >> h->cluster_bits : 0, tables = l2_tables(h, clusters);
    Layout l = count_clusters(h, crypto_clusters(o) + tables + (o->data_file ? 0 : clusters));

    l.crypto = crypto_clusters(o);
    l.l2 = tables;
    l.mapped = clusters;
    l.l2_offset = (1 + l.blocks + l.table + l.l1 + l.crypto) << h->cluster_bits;
    l.data_offset = o->data_file || !clusters ? 0 : l.l2_offset + (l.l2 << h->cluster_bits);
    return l;
}

/* ---- preallocation -------------------------------------------------------------------------- */

void qcow2_preallocated_bits(const Qcow2Header *h, uint64_t *flags, uint64_t *bitmap)
{
    bool subclusters = h->incompatible & QCOW2_INCOMPAT_EXTENDED_L2;

    *flags = QCOW2_COPIED;
    *bitmap = subclusters ? 0xffffffff : 0;
    if (h->backing_file && subclusters) {
        *bitmap = 0; /* room for what will be written; until then, the backing file's */
    } else if (h->crypt_method && subclusters) {
        *bitmap = UINT64_C(0xffffffff) << 32; /* what is there does not decrypt to zeros */
    } else if (h->crypt_method && h->version >= 3) {
        *flags |= QCOW2_ZERO;
    }
}

/* ---- writing -------------------------------------------------------------------------------- */

/* Metadata goes out from one end to the other, in large pieces. */
typedef struct Out {
    BlockNode *file;
    uint8_t *buf;
    uint64_t at;     /* of buf in the file */
    size_t used, room;
    int ret;
} Out;

static void out_flush(Out *o)
{
    if (o->used && o->ret >= 0) {
        o->ret = qcow2_pwrite(o->file, o->at, o->buf, o->used);
    }
    o->at += o->used;
    o->used = 0;
}

/* The next cluster, as zeros, to be filled before the next call. */
static uint8_t *out_cluster(Out *o, size_t cluster)
{
    uint8_t *p;

    if (o->used == o->room) {
        out_flush(o);
    }
    p = o->buf + o->used;
    o->used += cluster;
    return memset(p, 0, cluster);
}

static void out_refcounts(Out *out, const Qcow2Header *h, const Layout *l)
{
    Qcow2 geometry = {.h = *h}; /* for refcount_write */
    uint64_t per_block = UINT64_C(1) << (h->cluster_bits + 3 - h->refcount_order), cluster = qcow2_cluster_size(h);

    for (uint64_t b = 0; b < l->blocks && out->ret >= 0; b++) {
        uint8_t *p = out_cluster(out, cluster);

        for (uint64_t i = 0, n = MIN(per_block, l->total - b * per_block); i < n; i++) {
            refcount_write(&geometry, p, i, 1);
        }
    }
    for (uint64_t t = 0; t < l->table && out->ret >= 0; t++) {
        uint8_t *p = out_cluster(out, cluster);

        for (uint64_t i = 0; i < cluster / 8 && t * cluster / 8 + i < l->blocks; i++) {
            store64_be(p + i * 8, cluster * (1 + t * cluster / 8 + i));
        }
    }
}

static void out_l1(Out *out, const Qcow2Header *h, const Layout *l)
{
    uint64_t cluster = qcow2_cluster_size(h);

    for (uint64_t t = 0; t < l->l1 && out->ret >= 0; t++) {
        uint8_t *p = out_cluster(out, cluster);

        for (uint64_t i = 0; i < cluster / 8 && t * cluster / 8 + i < l->l2; i++) {
            store64_be(p + i * 8, (l->l2_offset + cluster * (t * cluster / 8 + i)) | QCOW2_COPIED);
        }
    }
}

static void out_l2(Out *out, const Qcow2Header *h, const Layout *l)
{
    uint64_t entries = UINT64_C(1) << qcow2_l2_bits(h), cluster = qcow2_cluster_size(h), flags, bitmap;
    size_t entry = cluster / entries;

    qcow2_preallocated_bits(h, &flags, &bitmap);
    for (uint64_t t = 0; t < l->l2 && out->ret >= 0; t++) {
        uint8_t *p = out_cluster(out, cluster);

        for (uint64_t i = 0, n = MIN(entries, l->mapped - t * entries); i < n; i++) {
            store64_be(p + i * entry, (l->data_offset + cluster * (t * entries + i)) | flags);
            if (entry > 8) {
                store64_be(p + i * entry + 8, bitmap);
            }
        }
    }
}

static int write_metadata(BlockNode *file, const Qcow2Header *h, const Layout *l)
{
    uint64_t cluster = qcow2_cluster_size(h);
    Out out = {.file = file, .at = cluster, .room = MAX(cluster, MIB)};

    out.buf = g_malloc(out.room);
    out_refcounts(&out, h, l);
    out_l1(&out, h, l);
    for (uint64_t i = 0; i < l->crypto; i++) {
        out_cluster(&out, cluster);
    }
    out_l2(&out, h, l);
    out_flush(&out);
    g_free(out.buf);
    return out.ret;
}

bool qcow2_format(BlockNode *file, const Qcow2CreateOptions *o, uint64_t *crypto, GError **err)
{
    Qcow2Header h;
    Layout l;
    g_autofree uint8_t *buf = NULL;
    size_t used;
    int ret;

    if (!qcow2_create_options_check(o, err)) {
        return false;
    }
    header_from_options(o, &h);
    l = find_layout(&h, o);
    h.reftable_offset = (1 + l.blocks) << h.cluster_bits;
    h.reftable_clusters = (uint32_t)l.table;
    h.l1_offset = l.l1 ? (1 + l.blocks + l.table) << h.cluster_bits : 0;
    h.crypto_offset = (1 + l.blocks + l.table + l.l1) << h.cluster_bits;
    if (crypto) {
        *crypto = h.crypto_offset;
    }
    buf = g_malloc(o->cluster_size);
    if (!qcow2_header_build(&h, buf, o->cluster_size, &used, err) ||
        (l.data_offset && !block_format_zeros(file, l.data_offset, l.data_offset + (l.mapped << h.cluster_bits), o->preallocation, err))) {
        return false;
    }
    ret = write_metadata(file, &h, &l);
    ret = ret < 0 ? ret : block_pflush(file);
    ret = ret < 0 ? ret : qcow2_pwrite(file, 0, buf, o->cluster_size);
    ret = ret < 0 ? ret : block_pflush(file);
    return ret >= 0 || error_set_errno(err, -ret, "Could not write the new image");
}

/* ---- measure -------------------------------------------------------------------------------- */

void qcow2_measure(const Qcow2CreateOptions *o, uint64_t data_bytes, uint64_t *required,
                   uint64_t *fully_allocated)
{
    Qcow2Header h;
    uint64_t clusters, tables, size = align_up(o->size, o->cluster_size);

    header_from_options(o, &h);
    clusters = size >> h.cluster_bits;
    tables = l2_tables(&h, clusters);
    if (o->data_file) {
        clusters = 0;
        data_bytes = 0;
    }
    *fully_allocated = count_clusters(&h, clusters + tables + crypto_clusters(o)).total << h.cluster_bits;
    *required = *fully_allocated - (clusters << h.cluster_bits) + align_up(data_bytes, o->cluster_size);
}
