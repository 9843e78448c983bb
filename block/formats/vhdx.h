/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vhdx: Hyper-V's disk images (MS-VHDX), fixed and dynamic. Two headers (the one with the higher
 * sequence number counts), two region tables that name the block allocation table (BAT) and the
 * metadata, and payload blocks; in the BAT an entry for a block of sector bitmaps follows each
 * chunk of payload entries. Numbers are little-endian, checksums CRC-32C. Differencing images are refused.
 *
 * The BAT is changed through the log (vhdx_log.c): an entry has the sectors that change, and counts while the header
 * has its GUID. A header is written over the older one of the two.
 */
#ifndef BLOCK_FORMATS_VHDX_H
#define BLOCK_FORMATS_VHDX_H

#include "block/formats/mapped.h"

#define VHDX_HEADER_SIZE (4 * KIB)
#define VHDX_TABLE_SIZE (64 * KIB)
#define VHDX_BLOCK_MIN MIB
#define VHDX_BLOCK_MAX (256 * MIB)
#define VHDX_DISK_MAX (64 * 1024 * GIB)
#define VHDX_ENTRIES_MAX 2047
#define VHDX_LOG_SECTOR (4 * KIB)

extern const uint64_t vhdx_header_at[2], vhdx_region_at[2];

enum {
    VHDX_H_CHECKSUM = 4,
    VHDX_H_SEQUENCE = 8,
    VHDX_H_FILE_GUID = 16, /* changes before the file does */
    VHDX_H_DATA_GUID = 32, /* changes before what guests see does */
    VHDX_H_LOG_GUID = 48,
    VHDX_H_VERSION = 66,
    VHDX_H_LOG_LENGTH = 68,
    VHDX_H_LOG_OFFSET = 72,
};

/* States of a payload block; 4 and 5 are reserved. */
enum {
    VHDX_NOT_PRESENT = 0,
    VHDX_UNDEFINED = 1,
    VHDX_ZERO = 2,
    VHDX_UNMAPPED = 3,
    VHDX_FULLY_PRESENT = 6,
    VHDX_PARTIALLY_PRESENT = 7,
};

typedef enum VhdxGuid {
    GUID_BAT,
    GUID_METADATA,
    GUID_FILE_PARAMETERS,
    GUID_DISK_SIZE,
    GUID_PAGE83,
    GUID_LOGICAL_SECTOR,
    GUID_PHYSICAL_SECTOR,
    GUID_PARENT_LOCATOR,
    GUIDS,
} VhdxGuid;
extern const uint8_t vhdx_guids[GUIDS][16];

typedef struct Vhdx {
    MappedState mapped;
    uint8_t header[VHDX_HEADER_SIZE]; /* the one that counts, */
    unsigned slot;                    /* and which one it is */
    uint64_t bat_offset, bat_len, metadata_offset, metadata_len;
    uint64_t other[8][2]; /* regions that need not be understood: offset, length */
    unsigned others;
    uint32_t sector_size;
    uint64_t chunk;  /* payload blocks that one block of sector bitmaps serves */
    uint64_t blocks; /* payload blocks of the disk */
    uint64_t table_len; /* bytes of the BAT that are in memory */
    bool replayed;   /* its log had something to do when it was opened */

    /* Writing. */
    MappedRegion *table_region;
    uint64_t next;         /* where the next block goes */
    unsigned half;         /* of the log, for the next entry: the other one's may still count */
    uint64_t log_sequence; /* of the last entry */
    uint8_t log_guid[16];  /* of the entry that was built last */
    uint8_t pending[VHDX_HEADER_SIZE]; /* the header that is on its way */
    bool renewed;          /* the GUIDs of file and data are new */
} Vhdx;

extern const MappedFormat vhdx_format;
extern const BlockCreateOpt vhdx_create_opts[];

/* Index in the BAT of a payload block's entry. */
static inline uint64_t vhdx_entry(const Vhdx *v, uint64_t block) { return block + block / v->chunk; }
static inline bool vhdx_guid_is_zero(const uint8_t *guid)
{
    static const uint8_t none[16];

    return !memcmp(guid, none, sizeof none);
}

/* CRC-32C (Castagnoli, reflected) over buf, the four bytes at 4 (its own) taken as zeros. */
uint32_t vhdx_crc(const uint8_t *buf, size_t len);
MappedPiece vhdx_map(BlockNode *node, uint64_t offset);
/* What mapped_check_places is to look at; until the next call, of any node. */
MappedPlaces vhdx_places(BlockNode *node);
bool vhdx_create(Vm *vm, const char *filename, BlockOpts *opts, GError **err);
bool vhdx_driver_format_prepare(BlockFormat *f, BlockOpts *opts, GError **err);
bool vhdx_driver_format(BlockFormat *f, GError **err);

/* ---- the log (vhdx_log.c) ------------------------------------------------------------------------ */

/* Where the log lies is sound, and it holds two entries. */
bool vhdx_log_check(BlockNode *node, GError **err);
/* For open: the last complete sequence of entries is applied to the file, then no entry counts any more. */
bool vhdx_log_replay(BlockNode *node, GError **err);
extern const MappedJournal vhdx_journal;

#endif
