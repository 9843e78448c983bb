/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The header of a qcow2 image in memory. qcow2_header_check() is the only function that makes one
 * from bytes; whoever holds a Qcow2Header may rely on every range that the comments below state.
 */
#ifndef BLOCK_QCOW2_HEADER_H
#define BLOCK_QCOW2_HEADER_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "block/qcow2/format.h"

typedef struct Qcow2Extension {
    uint32_t type, length;
    uint8_t *data;
} Qcow2Extension;

typedef struct Qcow2Header {
    unsigned version;          /* 2 or 3 */
    unsigned cluster_bits;     /* 9 to 21 */
    unsigned refcount_order;   /* 0 to 6 */
    unsigned compression_type; /* QCOW2_COMPRESSION_* */
    unsigned crypt_method;     /* QCOW2_CRYPT_* */
    unsigned header_length;    /* as found; what is written is QCOW2_H_OUR_LENGTH in v3 */
    uint64_t size;             /* bytes the guest sees */
    uint64_t l1_offset;        /* cluster-aligned; for repair maybe nowhere */
    uint32_t l1_size;          /* entries; enough for size; at most QCOW2_MAX_L1_BYTES / 8 */
    uint64_t reftable_offset;  /* cluster-aligned, not 0 */
    uint32_t reftable_clusters;
    uint32_t snapshot_count;   /* at most QCOW2_MAX_SNAPSHOTS */
    uint64_t snapshots_offset; /* cluster-aligned; within the file, where there are snapshots */
    bool snapshots_lost;       /* for repair only: their table cannot be where the header says */
    uint64_t incompatible, compatible, autoclear;
    char *backing_file, *backing_format, *data_file; /* or NULL */
    bool has_bitmaps;
    uint32_t bitmap_count;
    uint64_t bitmap_dir_size, bitmap_dir_offset;
    bool bitmaps_lost;         /* for repair only: what the header says of them cannot be */
    bool has_crypto;
    uint64_t crypto_offset, crypto_length;
    GPtrArray *unknown; /* Qcow2Extension *, kept as they are; NULL: none */
} Qcow2Header;

/* Bytes that must be read before qcow2_header_check can work: the first cluster. 0 with *err: the
 * first QCOW2_H_V2_LENGTH bytes are no qcow2 header. */
size_t qcow2_header_peek(const uint8_t *buf, size_t len, GError **err);
/* buf: the first cluster (or all of a shorter file). file_size in bytes. *h is made, or untouched
 * with false. for_repair: an L1, refcount or snapshot table outside the file is left to the check, and so are bitmaps that
 * cannot be. */
bool qcow2_header_check(const uint8_t *buf, size_t len, uint64_t file_size, bool for_repair,
                        Qcow2Header *h, GError **err);
void qcow2_header_clear(Qcow2Header *h);
/* Fills the first cluster (cluster bytes at buf, zeroed first); *used is what matters of it. False:
 * the names and extensions do not fit. */
bool qcow2_header_build(const Qcow2Header *h, uint8_t *buf, size_t cluster, size_t *used,
                        GError **err);

static inline uint64_t qcow2_cluster_size(const Qcow2Header *h) { return UINT64_C(1) << h->cluster_bits; }
static inline bool qcow2_has_subclusters(const Qcow2Header *h)
{
    return h->incompatible & QCOW2_INCOMPAT_EXTENDED_L2;
}
static inline bool qcow2_has_data_file(const Qcow2Header *h)
{
    return h->incompatible & QCOW2_INCOMPAT_DATA_FILE;
}
static inline bool qcow2_data_file_is_raw(const Qcow2Header *h)
{
    return qcow2_has_data_file(h) && (h->autoclear & QCOW2_AUTOCLEAR_RAW_DATA_FILE);
}
/* log2 of the entries of an L2 table. */
static inline unsigned qcow2_l2_bits(const Qcow2Header *h)
{
    return h->cluster_bits - (qcow2_has_subclusters(h) ? 4 : 3);
}
/* L1 entries that size bytes need. */
static inline uint64_t qcow2_l1_entries(const Qcow2Header *h, uint64_t size)
{
    unsigned shift = h->cluster_bits + qcow2_l2_bits(h);

    return (size >> shift) + !!(size & ((UINT64_C(1) << shift) - 1));
}

#endif
