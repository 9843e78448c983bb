/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The qcow2 header: bytes to struct with every check, and back. Pure functions, no I/O.
 */
#include "block/qcow2/header.h"

#include <inttypes.h>

#include "util/error.h"
#include "util/util.h"

/* ---- features ------------------------------------------------------------------------------- */

typedef struct Feature {
    uint8_t kind, bit; /* kind 0: incompatible, 1: compatible, 2: autoclear */
    const char *name;
} Feature;

static const Feature features[] = {
    {0, 0, "dirty bit"},        {0, 1, "corrupt bit"},
    {0, 2, "external data file"}, {0, 3, "compression type"},
    {0, 4, "extended L2 entries"}, {1, 0, "lazy refcounts"},
    {2, 0, "bitmaps"},          {2, 1, "raw external data"},
};

/* The image's own name table knows features that we do not. NULL: it does not name this one. */
static char *feature_name(const uint8_t *table, uint32_t len, unsigned bit)
{
    for (uint32_t at = 0; len - at >= QCOW2_FEATURE_ENTRY; at += QCOW2_FEATURE_ENTRY) {
        if (table[at] == 0 && table[at + 1] == bit) {
            return table[at + 2] ? g_strndup((const char *)table + at + 2, QCOW2_FEATURE_ENTRY - 2) : NULL;
        }
    }
    return NULL;
}

static bool refuse_features(uint64_t bits, const uint8_t *table, uint32_t len, GError **err)
{
    g_autoptr(GString) names = g_string_new(NULL);
    uint64_t unnamed = 0;

    for (unsigned bit = 0; bit < 64; bit++) {
        g_autofree char *name = bits >> bit & 1 ? feature_name(table, len, bit) : NULL;

        if (name) {
            g_string_append_printf(names, "%s%s", names->len ? ", " : "", name);
        } else {
            unnamed |= bits & UINT64_C(1) << bit;
        }
    }
    if (unnamed) {
        g_string_append_printf(names, "%sUnknown incompatible feature: %" PRIx64, names->len ? ", " : "", unnamed);
    }
    return error_set(err, "Unsupported qcow2 feature(s): %s", names->str);
}

/* ---- extensions ----------------------------------------------------------------------------- */

static void extension_free(void *opaque)
{
    Qcow2Extension *e = opaque;

    g_free(e->data);
    g_free(e);
}

static void keep_extension(Qcow2Header *h, uint32_t type, const uint8_t *data, uint32_t len)
{
    Qcow2Extension *e = g_new0(Qcow2Extension, 1);

    if (!h->unknown) {
        h->unknown = g_ptr_array_new_with_free_func(extension_free);
    }
    e->type = type;
    e->length = len;
    e->data = g_memdup2(data, len);
    g_ptr_array_add(h->unknown, e);
}

static bool take_name(char **name, const uint8_t *data, uint32_t len, const char *what, GError **err)
{
    if (len > QCOW2_MAX_BACKING_NAME || memchr(data, 0, len)) {
        return error_set(err, "qcow2: the header extension '%s' is no name (%u bytes)", what, len);
    }
    g_free(*name);
    *name = g_strndup((const char *)data, len);
    return true;
}

/* What cannot be is noted: a check works without. */
static void take_bitmaps(Qcow2Header *h, const uint8_t *data, uint32_t len)
{
    uint64_t mask = qcow2_cluster_size(h) - 1;

    if (!(h->autoclear & QCOW2_AUTOCLEAR_BITMAPS)) {
        return; /* stale: written by a program that does not know bitmaps */
    }
    if (len != 24 || load32_be(data + 4)) {
        h->bitmaps_lost = true;
        return;
    }
    h->bitmap_count = load32_be(data);
    h->bitmap_dir_size = load64_be(data + 8);
    h->bitmap_dir_offset = load64_be(data + 16);
    if (!h->bitmap_count || h->bitmap_count > QCOW2_MAX_BITMAPS ||
        h->bitmap_dir_size > QCOW2_MAX_BITMAP_DIRECTORY ||
        h->bitmap_dir_size < h->bitmap_count * (uint64_t)QCOW2_BITMAP_FIXED ||
        !h->bitmap_dir_offset || h->bitmap_dir_offset & mask ||
        h->bitmap_dir_offset > QCOW2_OFFSET_MASK) {
        h->bitmaps_lost = true;
        return;
    }
    h->has_bitmaps = true;
}

static bool check_bitmaps(Qcow2Header *h, bool for_repair, GError **err)
{
    h->has_bitmaps &= !h->bitmaps_lost;
    return !h->bitmaps_lost || for_repair ||
           error_set(err, "qcow2: invalid bitmaps extension of the header; repair it (check -r all, which drops all bitmaps)");
}

static bool take_crypto(Qcow2Header *h, const uint8_t *data, uint32_t len, GError **err)
{
    if (h->crypt_method != QCOW2_CRYPT_LUKS) {
        return error_set(err, "qcow2: an encryption header without LUKS encryption");
    }
    if (len != 16) {
        return error_set(err, "qcow2: encryption header extension: invalid length %u", len);
    }
    h->crypto_offset = load64_be(data);
    h->crypto_length = load64_be(data + 8);
    if (h->crypto_offset & (qcow2_cluster_size(h) - 1) || !h->crypto_offset ||
        h->crypto_offset > QCOW2_OFFSET_MASK || h->crypto_length > 64 * MIB) {
        return error_set(err, "qcow2: encryption header at an invalid place (offset %" PRIu64
                              ", length %" PRIu64 ")", h->crypto_offset, h->crypto_length);
    }
    h->has_crypto = true;
    return true;
}

static bool take_extension(Qcow2Header *h, uint32_t type, const uint8_t *data, uint32_t len,
                           GError **err)
{
    switch (type) {
    case QCOW2_EXT_BACKING_FORMAT:
        return take_name(&h->backing_format, data, len, "backing format", err);
    case QCOW2_EXT_DATA_FILE:
        return take_name(&h->data_file, data, len, "data file", err);
    case QCOW2_EXT_BITMAPS:
        take_bitmaps(h, data, len);
        return true;
    case QCOW2_EXT_CRYPTO:
        return take_crypto(h, data, len, err);
    case QCOW2_EXT_FEATURES:
        return true; /* written anew */
    default:
        keep_extension(h, type, data, len);
        return true;
    }
}

/* end: where the extensions must stop. *table: the feature names, when there. */
static bool walk_extensions(Qcow2Header *h, const uint8_t *buf, size_t at, size_t end,
                            const uint8_t **table, uint32_t *table_len, bool take, GError **err)
{
    for (unsigned n = 0; end - at >= 8; n++) {
        uint32_t type = load32_be(buf + at), len = load32_be(buf + at + 4);

        at += 8;
        if (type == QCOW2_EXT_END) {
            return true;
        }
        if (len > end - at || n >= QCOW2_MAX_EXTENSIONS) {
            return error_set(err, "qcow2: header extension too large (type %#x, %u bytes)", type,
                             len);
        }
        if (type == QCOW2_EXT_FEATURES) {
            *table = buf + at;
            *table_len = len;
        }
        if (take && !take_extension(h, type, buf + at, len, err)) {
            return false;
        }
        at += MIN(align_up(len, 8), end - at);
    }
    return true;
}

/* ---- the fixed part ------------------------------------------------------------------------- */

size_t qcow2_header_peek(const uint8_t *buf, size_t len, GError **err)
{
    uint32_t bits;

    if (len < QCOW2_H_V2_LENGTH || load32_be(buf) != QCOW2_MAGIC) {
        error_set(err, "Image is not in qcow2 format");
        return 0;
    }
    if (load32_be(buf + QCOW2_H_VERSION) < 2 || load32_be(buf + QCOW2_H_VERSION) > 3) {
        error_set(err, "Unsupported qcow2 version %u", load32_be(buf + QCOW2_H_VERSION));
        return 0;
    }
    bits = load32_be(buf + QCOW2_H_CLUSTER_BITS);
    if (bits < QCOW2_MIN_CLUSTER_BITS || bits > QCOW2_MAX_CLUSTER_BITS) {
        error_set(err, "Unsupported cluster size: 2^%u", bits);
        return 0;
    }
    return (size_t)1 << bits;
}

static void load_fields(Qcow2Header *h, const uint8_t *buf, size_t len)
{
    h->version = load32_be(buf + QCOW2_H_VERSION);
    h->cluster_bits = load32_be(buf + QCOW2_H_CLUSTER_BITS);
    h->size = load64_be(buf + QCOW2_H_SIZE);
    h->crypt_method = load32_be(buf + QCOW2_H_CRYPT);
    h->l1_size = load32_be(buf + QCOW2_H_L1_SIZE);
    h->l1_offset = load64_be(buf + QCOW2_H_L1_OFFSET);
    h->reftable_offset = load64_be(buf + QCOW2_H_REFTABLE_OFFSET);
    h->reftable_clusters = load32_be(buf + QCOW2_H_REFTABLE_CLUSTERS);
    h->snapshot_count = load32_be(buf + QCOW2_H_SNAPSHOTS);
    h->snapshots_offset = load64_be(buf + QCOW2_H_SNAPSHOTS_OFFSET);
    h->refcount_order = 4;
    h->header_length = QCOW2_H_V2_LENGTH;
    if (h->version >= 3 && len >= QCOW2_H_V3_LENGTH) {
        h->incompatible = load64_be(buf + QCOW2_H_INCOMPATIBLE);
        h->compatible = load64_be(buf + QCOW2_H_COMPATIBLE);
        h->autoclear = load64_be(buf + QCOW2_H_AUTOCLEAR);
        h->refcount_order = load32_be(buf + QCOW2_H_REFCOUNT_ORDER);
        h->header_length = load32_be(buf + QCOW2_H_LENGTH);
        if (h->header_length > QCOW2_H_COMPRESSION && len > QCOW2_H_COMPRESSION) {
            h->compression_type = buf[QCOW2_H_COMPRESSION];
        }
    }
}

static bool check_v3(const Qcow2Header *h, size_t len, GError **err)
{
    bool typed = h->incompatible & QCOW2_INCOMPAT_COMPRESSION;

    if (h->version >= 3 && (len < QCOW2_H_V3_LENGTH || h->header_length < QCOW2_H_V3_LENGTH)) {
        return error_set(err, "qcow2 header too short");
    }
    if (h->header_length > len) {
        return error_set(err, "qcow2 header exceeds cluster size");
    }
    if (h->refcount_order > 6) {
        return error_set(err, "Reference count entry width too large; may not exceed 64 bits");
    }
    if (h->compression_type > QCOW2_COMPRESSION_ZSTD) {
        return error_set(err, "qcow2: unknown compression type: %u", h->compression_type);
    }
    if (typed != (h->compression_type != QCOW2_COMPRESSION_ZLIB)) {
        return error_set(err, "qcow2: Compression type incompatible feature bit must %sbe set",
                         typed ? "not " : "");
    }
    if (qcow2_has_subclusters(h) && h->cluster_bits < 14) {
        return error_set(err, "qcow2: extended L2 entries need clusters of at least 16384 bytes");
    }
    if (h->crypt_method > QCOW2_CRYPT_LUKS) {
        return error_set(err, "Unsupported encryption method %u", h->crypt_method);
    }
    return true;
}

/* A table of len bytes at offset: aligned, within what the format can address and in the file. */
static bool check_place(const Qcow2Header *h, const char *what, uint64_t offset, uint64_t len,
                        uint64_t file_size, GError **err)
{
    if (offset & (qcow2_cluster_size(h) - 1) || !range_fits(offset, len, QCOW2_OFFSET_MASK)) {
        return error_set(err, "Invalid %s offset", what);
    }
    if (len && !offset) {
        return error_set(err, "Invalid %s offset: 0, where the header is", what);
    }
    if (len && offset >= file_size) {
        return error_set(err, "Invalid %s offset: %" PRIu64 " in a file of %" PRIu64 " bytes", what,
                         offset, file_size);
    }
    return true;
}

static bool check_snapshot_place(Qcow2Header *h, uint64_t file_size, bool for_repair, GError **err)
{
    g_autoptr(GError) local = NULL;

    if (!h->snapshot_count && !(h->snapshots_offset & (qcow2_cluster_size(h) - 1))) {
        return true; /* as QEMU, which looks no further either */
    }
    if (h->snapshot_count > QCOW2_MAX_SNAPSHOTS) {
        error_set(&local, "Snapshot table too large");
    } else if (check_place(h, "snapshot table", h->snapshots_offset, h->snapshot_count, file_size, &local)) {
        return true;
    }
    h->snapshots_lost = for_repair;
    if (!for_repair) {
        g_propagate_error(err, g_steal_pointer(&local));
    }
    return for_repair;
}

/* As far as QEMU's goes, a check says that it is nowhere, or on the header. */
static bool check_l1_place(const Qcow2Header *h, uint64_t file_size, bool for_repair, GError **err)
{
    uint64_t len = (uint64_t)h->l1_size * 8;

    if (for_repair && !(h->l1_offset & (qcow2_cluster_size(h) - 1)) && range_fits(h->l1_offset, len, INT64_MAX)) {
        return true;
    }
    return check_place(h, "L1 table", h->l1_offset, len, file_size, err);
}

static bool check_tables(Qcow2Header *h, uint64_t file_size, bool for_repair, GError **err)
{
    uint64_t end = for_repair ? UINT64_MAX : file_size;
    uint64_t reftable = (uint64_t)h->reftable_clusters << h->cluster_bits;

    if (h->size > QCOW2_MAX_SIZE || qcow2_l1_entries(h, h->size) > QCOW2_MAX_L1_BYTES / 8) {
        return error_set(err, "Image is too big (%" PRIu64 " bytes)", h->size);
    }
    if (h->l1_size > QCOW2_MAX_L1_BYTES / 8) {
        return error_set(err, "Active L1 table too large");
    }
    if (h->l1_size < qcow2_l1_entries(h, h->size)) {
        return error_set(err, "L1 table is too small");
    }
    if (reftable > QCOW2_MAX_REFTABLE_BYTES) {
        return error_set(err, "Reference count table too large");
    }
    if (for_repair && !check_place(h, "", h->reftable_offset, reftable, UINT64_MAX, NULL)) {
        h->reftable_offset = h->reftable_clusters = 0; /* the check makes another one */
        reftable = 0;
    }
    if (!reftable && !for_repair) {
        return error_set(err, "Image does not contain a reference count table");
    }
    return check_place(h, "reference count table", h->reftable_offset, reftable, end, err) &&
           check_l1_place(h, end, for_repair, err) &&
           check_snapshot_place(h, file_size, for_repair, err);
}

static bool take_backing(Qcow2Header *h, const uint8_t *buf, size_t len, size_t *ext_end,
                         GError **err)
{
    uint64_t offset = load64_be(buf + QCOW2_H_BACKING_OFFSET);
    uint32_t size = load32_be(buf + QCOW2_H_BACKING_SIZE);

    if (offset > len) {
        return error_set(err, "Invalid backing file offset");
    }
    if (!offset || !size) {
        return true; /* none, as for QEMU */
    }
    if (size > QCOW2_MAX_BACKING_NAME || size > len - offset || offset < h->header_length) {
        return error_set(err, "Backing file name too long");
    }
    if (memchr(buf + offset, 0, size)) {
        return error_set(err, "qcow2: the backing file name contains a NUL byte");
    }
    *ext_end = offset;
    h->backing_file = g_strndup((const char *)buf + offset, size);
    return true;
}

static bool check_all(Qcow2Header *h, const uint8_t *buf, size_t len, uint64_t file_size,
                      bool for_repair, GError **err)
{
    const uint8_t *names = NULL;
    uint32_t names_len = 0;
    size_t end = len;

    if (!check_v3(h, len, err) || !take_backing(h, buf, len, &end, err)) {
        return false;
    }
    if (h->incompatible & ~QCOW2_INCOMPAT_KNOWN) {
        g_autoptr(GError) ignored = NULL;

        walk_extensions(h, buf, h->header_length, end, &names, &names_len, false, &ignored);
        return refuse_features(h->incompatible & ~QCOW2_INCOMPAT_KNOWN, names, names_len, err);
    }
    return check_tables(h, file_size, for_repair, err) &&
           walk_extensions(h, buf, h->header_length, end, &names, &names_len, true, err) && check_bitmaps(h, for_repair, err);
}

bool qcow2_header_check(const uint8_t *buf, size_t len, uint64_t file_size, bool for_repair,
                        Qcow2Header *out, GError **err)
{
    Qcow2Header h = {0};
    size_t cluster = qcow2_header_peek(buf, len, err);

    if (!cluster) {
        return false;
    }
    len = MIN(len, cluster);
    load_fields(&h, buf, len);
    if (!check_all(&h, buf, len, file_size, for_repair, err)) {
        qcow2_header_clear(&h);
        return false;
    }
    *out = h;
    return true;
}

void qcow2_header_clear(Qcow2Header *h)
{
    g_clear_pointer(&h->backing_file, g_free);
    g_clear_pointer(&h->backing_format, g_free);
    g_clear_pointer(&h->data_file, g_free);
    g_clear_pointer(&h->unknown, g_ptr_array_unref);
}

/* ---- struct to bytes ------------------------------------------------------------------------ */

typedef struct Cursor {
    uint8_t *buf;
    size_t len, cap;
    bool full;
} Cursor;

static void put_extension(Cursor *c, uint32_t type, const void *data, size_t len)
{
    size_t padded = align_up(len, 8);

    if (c->full || padded + 8 > c->cap - c->len) {
        c->full = true;
        return;
    }
    store32_be(c->buf + c->len, type);
    store32_be(c->buf + c->len + 4, (uint32_t)len);
    if (len) {
        memcpy(c->buf + c->len + 8, data, len);
    }
    c->len += 8 + padded;
}

static void put_features(Cursor *c)
{
    uint8_t table[G_N_ELEMENTS(features)][QCOW2_FEATURE_ENTRY] = {{0}};

    for (unsigned i = 0; i < G_N_ELEMENTS(features); i++) {
        table[i][0] = features[i].kind;
        table[i][1] = features[i].bit;
        memcpy(table[i] + 2, features[i].name, strlen(features[i].name));
    }
    put_extension(c, QCOW2_EXT_FEATURES, table, sizeof table);
}

static void put_extensions(Cursor *c, const Qcow2Header *h)
{
    uint8_t data[24];

    if (h->backing_format) {
        put_extension(c, QCOW2_EXT_BACKING_FORMAT, h->backing_format, strlen(h->backing_format));
    }
    if (h->data_file && qcow2_has_data_file(h)) {
        put_extension(c, QCOW2_EXT_DATA_FILE, h->data_file, strlen(h->data_file));
    }
    if (h->has_crypto) {
        store64_be(data, h->crypto_offset);
        store64_be(data + 8, h->crypto_length);
        put_extension(c, QCOW2_EXT_CRYPTO, data, 16);
    }
    if (h->has_bitmaps) {
        store32_be(data, h->bitmap_count);
        store32_be(data + 4, 0);
        store64_be(data + 8, h->bitmap_dir_size);
        store64_be(data + 16, h->bitmap_dir_offset);
        put_extension(c, QCOW2_EXT_BITMAPS, data, 24);
    }
    for (unsigned i = 0; h->unknown && i < h->unknown->len; i++) {
        const Qcow2Extension *e = g_ptr_array_index(h->unknown, i);

        put_extension(c, e->type, e->data, e->length);
    }
    /* Only help for humans: left out where the first cluster is small. */
    if (h->version >= 3 && c->cap >= 4096) {
        put_features(c);
    }
    put_extension(c, QCOW2_EXT_END, NULL, 0);
}

static void store_fields(const Qcow2Header *h, uint8_t *buf)
{
    store32_be(buf + QCOW2_H_MAGIC, QCOW2_MAGIC);
    store32_be(buf + QCOW2_H_VERSION, h->version);
    store32_be(buf + QCOW2_H_CLUSTER_BITS, h->cluster_bits);
    store64_be(buf + QCOW2_H_SIZE, h->size);
    store32_be(buf + QCOW2_H_CRYPT, h->crypt_method);
    store32_be(buf + QCOW2_H_L1_SIZE, h->l1_size);
    store64_be(buf + QCOW2_H_L1_OFFSET, h->l1_offset);
    store64_be(buf + QCOW2_H_REFTABLE_OFFSET, h->reftable_offset);
    store32_be(buf + QCOW2_H_REFTABLE_CLUSTERS, h->reftable_clusters);
    store32_be(buf + QCOW2_H_SNAPSHOTS, h->snapshot_count);
    store64_be(buf + QCOW2_H_SNAPSHOTS_OFFSET, h->snapshots_offset);
    if (h->version >= 3) {
        store64_be(buf + QCOW2_H_INCOMPATIBLE, h->incompatible);
        store64_be(buf + QCOW2_H_COMPATIBLE, h->compatible);
        store64_be(buf + QCOW2_H_AUTOCLEAR, h->autoclear);
        store32_be(buf + QCOW2_H_REFCOUNT_ORDER, h->refcount_order);
        store32_be(buf + QCOW2_H_LENGTH, QCOW2_H_OUR_LENGTH);
        buf[QCOW2_H_COMPRESSION] = (uint8_t)h->compression_type;
    }
}

bool qcow2_header_build(const Qcow2Header *h, uint8_t *buf, size_t cluster, size_t *used,
                        GError **err)
{
    Cursor c = {buf, h->version >= 3 ? QCOW2_H_OUR_LENGTH : QCOW2_H_V2_LENGTH, cluster, false};
    size_t name = h->backing_file ? strlen(h->backing_file) : 0;

    memset(buf, 0, cluster);
    store_fields(h, buf);
    put_extensions(&c, h);
    if (name > QCOW2_MAX_BACKING_NAME) {
        return error_set(err, "Backing file name too long (at most %u bytes)",
                         QCOW2_MAX_BACKING_NAME);
    }
    if (c.full || name > c.cap - c.len) {
        return error_set(err, "qcow2: the header with its names does not fit into a cluster of %zu "
                              "bytes; use a larger cluster_size", cluster);
    }
    if (name) {
        store64_be(buf + QCOW2_H_BACKING_OFFSET, c.len);
        store32_be(buf + QCOW2_H_BACKING_SIZE, (uint32_t)name);
        memcpy(buf + c.len, h->backing_file, name);
        c.len += name;
    }
    *used = c.len;
    return true;
}
