/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * seSparse extents of VMware disks (ESXi's snapshots of VMFS 6), which are only read. Numbers are little-endian, places
 * are sectors. Both directory and tables have entries of 8 bytes, whose first digit says what they are:
 *
 *     directory: 0: no table; 1: the low half is the table's number, counted in tables from grain_tables_offset on
 *     table: 0: not there; 1: unmapped; 2: zeros; 3: the grain's number, its two parts swapped, from grains_offset on
 *
 * An unmapped grain reads as zeros, as in QEMU. An image with a journal that was not replayed is refused.
 */
#include "block/formats/vmdk.h"

/* The header that stays; all of it are 64-bit numbers. */
enum {
    SE_MAGIC = 0,
    SE_VERSION = 8,
    SE_CAPACITY = 16,
    SE_GRAIN = 24,
    SE_TABLE_SECTORS = 32,
    SE_FLAGS = 40,
    SE_RESERVED = 48, /* four of them */
    SE_VOLATILE_OFFSET = 80,
    SE_GD_OFFSET = 128,
    SE_GD_SIZE = 136,
    SE_TABLES_OFFSET = 144,
    SE_GRAINS_OFFSET = 192,
    /* The header that changes. */
    SE_REPLAY = 24,

    HEADER_SIZE = 512,
};

#define MAGIC 0xcafebabeu
#define VOLATILE_MAGIC 0xcafecafeu
#define VERSION UINT64_C(0x0000000200000001)
#define GRAIN_SECTORS 8
#define TABLE_SECTORS 64
#define SECTORS_MAX ((uint64_t)INT64_MAX / BLOCK_SECTOR)
#define TABLE_THERE 0x10000000u /* the upper half of a directory's entry */

static bool check_volatile_header(BlockNode *file, uint64_t sector, GError **err)
{
    uint8_t h[HEADER_SIZE];

    if (sector > SECTORS_MAX) {
        return vmdk_sparse_damaged(file, err, "the place of its volatile header", sector);
    }
    if (!mapped_read(file, sector * BLOCK_SECTOR, h, sizeof h, "volatile header", err)) {
        return false;
    }
    if (load64_le(h) != VOLATILE_MAGIC) {
        return vmdk_sparse_damaged(file, err, "the mark of its volatile header", load64_le(h));
    }
    return !h[SE_REPLAY] ||
           error_set(err, "Extent '%s' of a VMware disk has a journal that must be replayed first: let VMware's tools open it",
                     file->filename ? file->filename : file->name);
}

static bool take_header(VmdkSparse *s, BlockNode *file, const uint8_t *h, uint64_t *directory_len, GError **err)
{
    static const struct {
        unsigned offset;
        uint64_t value;
        const char *what;
    } fixed[] = {
        {SE_MAGIC, MAGIC, "the mark of its header"}, {SE_VERSION, VERSION, "its version"},
        {SE_GRAIN, GRAIN_SECTORS, "the sectors of a grain"}, {SE_TABLE_SECTORS, TABLE_SECTORS, "the sectors of a table"},
        {SE_FLAGS, 0, "the word of its flags"}, {SE_RESERVED, 0, "a reserved word"}, {SE_RESERVED + 8, 0, "a reserved word"},
        {SE_RESERVED + 16, 0, "a reserved word"}, {SE_RESERVED + 24, 0, "a reserved word"},
    };
    uint64_t capacity = load64_le(h + SE_CAPACITY), grains = load64_le(h + SE_GRAINS_OFFSET);

    for (unsigned i = 0; i < G_N_ELEMENTS(fixed); i++) {
        if (load64_le(h + fixed[i].offset) != fixed[i].value) {
            return vmdk_sparse_damaged(file, err, fixed[i].what, load64_le(h + fixed[i].offset));
        }
    }
    s->directory = load64_le(h + SE_GD_OFFSET);
    *directory_len = load64_le(h + SE_GD_SIZE);
    if (capacity > SECTORS_MAX) {
        return vmdk_sparse_damaged(file, err, "its capacity in sectors", capacity);
    }
    if (s->directory > SECTORS_MAX || *directory_len > SECTORS_MAX) {
        return vmdk_sparse_damaged(file, err, "the place of its directory", s->directory);
    }
    if (grains > SECTORS_MAX) {
        return vmdk_sparse_damaged(file, err, "the place of its grains", grains);
    }
    s->grains_offset = grains * BLOCK_SECTOR;
    s->len = capacity * BLOCK_SECTOR;
    s->grain = GRAIN_SECTORS * BLOCK_SECTOR;
    s->entry_len = 8;
    s->gtes = TABLE_SECTORS * BLOCK_SECTOR / 8;
    s->count = (s->len + s->grain * s->gtes - 1) / (s->grain * s->gtes);
    s->zeroed = true;
    s->only_read = "seSparse extents are only read";
    return s->count <= *directory_len * BLOCK_SECTOR / 8 ||
           vmdk_sparse_damaged(file, err, "the size of its directory in sectors", *directory_len);
}

static bool load_tables(VmdkSparse *s, BlockNode *file, uint64_t tables_offset, uint64_t *left, GError **err)
{
    g_autofree uint8_t *gd = NULL;

    if (!vmdk_sparse_alloc(s, file, left, err)) {
        return false;
    }
    gd = mapped_read_table(file, s->directory * BLOCK_SECTOR, 8 * s->count, "grain directory", err);
    for (uint64_t i = 0; gd && i < s->count; i++) {
        uint64_t entry = load64_le(gd + 8 * i), number = entry & UINT32_MAX;

        if (!entry) {
            continue;
        }
        if (entry >> 32 != TABLE_THERE) {
            return vmdk_sparse_damaged(file, err, "an entry of its directory", entry);
        }
        if (tables_offset > SECTORS_MAX - number * TABLE_SECTORS) {
            return vmdk_sparse_damaged(file, err, "the place of its tables", tables_offset);
        }
        if (!vmdk_sparse_load_table(s, file, i, tables_offset + number * TABLE_SECTORS, left, err)) {
            return false;
        }
    }
    return gd != NULL;
}

VmdkSparse *vmdk_sesparse_load(BlockNode *file, uint64_t *tables_left, GError **err)
{
    VmdkSparse *s = g_new0(VmdkSparse, 1);
    uint64_t directory_len;
    uint8_t h[HEADER_SIZE];

    if (!mapped_read(file, 0, h, sizeof h, "header", err) || !take_header(s, file, h, &directory_len, err) ||
        !check_volatile_header(file, load64_le(h + SE_VOLATILE_OFFSET), err) ||
        !load_tables(s, file, load64_le(h + SE_TABLES_OFFSET), tables_left, err)) {
        vmdk_sparse_free(s);
        return NULL;
    }
    return s;
}

MappedPiece vmdk_sesparse_map(const VmdkSparse *s, MappedPiece piece, const uint8_t *table, uint64_t grain, uint64_t within)
{
    uint64_t entry = table ? load64_le(table + 8 * (grain % s->gtes)) : 0, number;

    switch (entry >> 60) {
    case 1:
    case 2:
        piece.kind = MAPPED_ZERO;
        break;
    case 3:
        number = (entry >> 48 & 0xfff) | (entry & UINT64_C(0xffffffffffff)) << 12;
        piece.kind = MAPPED_DATA;
        /* Of a damaged entry: a place that is in no file, which reads as an error. */
        piece.offset = number > (INT64_MAX - s->grains_offset) / s->grain - 1 ? INT64_MAX
                                                                              : s->grains_offset + number * s->grain + within;
        break;
    default:
        if (entry) {
            piece.kind = MAPPED_DATA;
            piece.offset = INT64_MAX;
        }
        break;
    }
    return piece;
}
