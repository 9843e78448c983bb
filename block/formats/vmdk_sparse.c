/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sparse extents of VMware disks: "KDMV" (hosted products, with or without compression) and "COWD"
 * (ESX). Numbers are little-endian; places are sectors.
 */
#include "block/formats/vmdk.h"

enum {
    COWD_VERSION = 4,
    COWD_CAPACITY = 12,
    COWD_GRAIN = 16,
    COWD_GD_OFFSET = 20,
    COWD_GD_SIZE = 24,

    HEADER_SIZE = 512,
};

#define KDMV_GD_AT_END UINT64_MAX
#define KDMV_GTES_MAX 4096
#define COWD_GTES 4096
#define SECTORS_MAX ((uint64_t)INT64_MAX / BLOCK_SECTOR)
#define GRAIN_MAX (32 * MIB)
#define PACKED_GRAIN_MAX (2 * MIB) /* is unpacked whole; all tools make 64 KiB */
#define DESCRIPTOR_MAX MIB
/* zlib makes nothing much larger. */
#define PACKED_SLACK (4 * KIB)

bool vmdk_sparse_damaged(const BlockNode *file, GError **err, const char *what, uint64_t value)
{
    return error_set(err, "Extent '%s' of a VMware disk is damaged: %s is %" PRIu64,
                     file->filename ? file->filename : file->name, what, value);
}

bool vmdk_is_sparse(BlockNode *file, bool *yes, GError **err)
{
    char magic[4];

    *yes = false;
    if (!mapped_read(file, 0, magic, sizeof magic, "header", err)) {
        return false;
    }
    *yes = !memcmp(magic, "KDMV", 4) || !memcmp(magic, "COWD", 4);
    return true;
}

/* ---- headers --------------------------------------------------------------------------------- */

/* What a header says, in bytes; checked. */
static bool take_numbers(VmdkSparse *s, const BlockNode *file, uint64_t capacity, uint64_t grain,
                         uint64_t gtes, uint64_t gd_offset, GError **err)
{
    if (capacity > SECTORS_MAX) {
        return vmdk_sparse_damaged(file, err, "its capacity in sectors", capacity);
    }
    if (!grain || grain > GRAIN_MAX / BLOCK_SECTOR) {
        return vmdk_sparse_damaged(file, err, "the sectors of a grain", grain);
    }
    if (!gtes || gtes > KDMV_GTES_MAX) {
        return vmdk_sparse_damaged(file, err, "the entries of a table", gtes);
    }
    if (gd_offset > SECTORS_MAX) {
        return vmdk_sparse_damaged(file, err, "the place of its directory", gd_offset);
    }
    s->len = capacity * BLOCK_SECTOR;
    s->grain = grain * BLOCK_SECTOR;
    s->entry_len = 4;
    s->gtes = (uint32_t)gtes;
    s->count = (s->len + s->grain * gtes - 1) / (s->grain * gtes);
    return true;
}

/* A stream has its directory's place in a copy of the header near the end: footer marker, footer,
 * end-of-stream marker, a sector each. */
static bool read_footer(BlockNode *file, uint8_t *h, GError **err)
{
    uint8_t end[3 * BLOCK_SECTOR];

    if (file->size < sizeof end + HEADER_SIZE) {
        return vmdk_sparse_damaged(file, err, "its size", file->size);
    }
    if (!mapped_read(file, align_down(file->size, BLOCK_SECTOR) - sizeof end, end, sizeof end,
                     "footer", err)) {
        return false;
    }
    if (load32_le(end + 8) || load32_le(end + 12) != 3 ||
        memcmp(end + BLOCK_SECTOR, "KDMV", 4)) {
        return error_set(err,
                         "Extent '%s' of a VMware disk has no footer: the stream was cut short",
                         file->filename ? file->filename : file->name);
    }
    memcpy(h, end + BLOCK_SECTOR, HEADER_SIZE);
    return true;
}

static bool take_kdmv(VmdkSparse *s, BlockNode *file, uint8_t *h, uint64_t *gd_offset, GError **err)
{
    uint32_t version = load32_le(h + KDMV_VERSION), flags;
    uint64_t desc_offset = load64_le(h + KDMV_DESC_OFFSET);
    uint64_t desc_size = load64_le(h + KDMV_DESC_SIZE), at_first = load64_le(h + KDMV_GD_OFFSET);

    if (load64_le(h + KDMV_GD_OFFSET) == KDMV_GD_AT_END && !read_footer(file, h, err)) {
        return false;
    }
    if (!version || version > 3) {
        return vmdk_sparse_damaged(file, err, "its version", version);
    }
    flags = load32_le(h + KDMV_FLAGS);
    s->zeroed = flags & KDMV_FLAG_ZEROED;
    s->compressed = flags & KDMV_FLAG_COMPRESSED;
    if (s->compressed && load16_le(h + KDMV_COMPRESSION) != 1) {
        return vmdk_sparse_damaged(file, err, "its kind of compression", load16_le(h + KDMV_COMPRESSION));
    }
    if (s->compressed && load64_le(h + KDMV_GRAIN) > PACKED_GRAIN_MAX / BLOCK_SECTOR) {
        return vmdk_sparse_damaged(file, err, "the sectors of a compressed grain", load64_le(h + KDMV_GRAIN));
    }
    if (desc_offset > SECTORS_MAX || desc_size > DESCRIPTOR_MAX / BLOCK_SECTOR) {
        return vmdk_sparse_damaged(file, err, "the size of its descriptor", desc_size);
    }
    s->descriptor_offset = desc_offset * BLOCK_SECTOR;
    s->descriptor_len = desc_offset ? desc_size * BLOCK_SECTOR : 0;
    *gd_offset = load64_le(h + KDMV_GD_OFFSET);
    s->copies_directory = flags & KDMV_FLAG_SECOND ? load64_le(h + KDMV_SECOND_OFFSET) : 0;
    if (version == 3 && !s->compressed) {
        s->only_read = "version 3 records changed blocks, which Kiln does not";
    } else if (load64_le(h + KDMV_GD_OFFSET) != at_first) {
        s->only_read = "its directory is at the end, where new grains would go";
    } else if (s->compressed && !(flags & KDMV_FLAG_MARKERS)) {
        s->only_read = "its grains have no markers";
    }
    return take_numbers(s, file, load64_le(h + KDMV_CAPACITY), load64_le(h + KDMV_GRAIN),
                        load32_le(h + KDMV_GTES), *gd_offset, err);
}

static bool take_cowd(VmdkSparse *s, const BlockNode *file, const uint8_t *h, uint64_t *gd_offset,
                      GError **err)
{
    if (load32_le(h + COWD_VERSION) != 1) {
        return vmdk_sparse_damaged(file, err, "its version", load32_le(h + COWD_VERSION));
    }
    *gd_offset = load32_le(h + COWD_GD_OFFSET);
    s->only_read = "COWD extents, whose headers say where ESX puts the next grain, are only read";
    if (!take_numbers(s, file, load32_le(h + COWD_CAPACITY), load32_le(h + COWD_GRAIN), COWD_GTES,
                      *gd_offset, err)) {
        return false;
    }
    return load32_le(h + COWD_GD_SIZE) >= s->count ||
           vmdk_sparse_damaged(file, err, "the size of its directory", load32_le(h + COWD_GD_SIZE));
}

/* ---- tables ---------------------------------------------------------------------------------- */

bool vmdk_sparse_alloc(VmdkSparse *s, const BlockNode *file, uint64_t *tables_left, GError **err)
{
    uint64_t each = sizeof *s->tables + sizeof *s->places + s->entry_len;

    if (s->count > *tables_left / each) {
        return vmdk_sparse_damaged(file, err, "the number of its tables", s->count);
    }
    *tables_left -= s->count * each;
    s->tables = g_new0(uint8_t *, s->count);
    s->places = g_new0(uint32_t, s->count);
    return true;
}

bool vmdk_sparse_load_table(VmdkSparse *s, BlockNode *file, uint64_t index, uint64_t sector, uint64_t *tables_left,
                            GError **err)
{
    uint64_t len = s->entry_len * (uint64_t)s->gtes;

    if (*tables_left < len) {
        return vmdk_sparse_damaged(file, err, "the number of its tables", s->count);
    }
    *tables_left -= len;
    s->tables[index] = mapped_read_table(file, sector * BLOCK_SECTOR, len, "grain table", err);
    return s->tables[index] != NULL;
}

static bool load_tables(VmdkSparse *s, BlockNode *file, uint64_t *left, GError **err)
{
    g_autofree uint8_t *gd = NULL;

    if (!vmdk_sparse_alloc(s, file, left, err)) {
        return false;
    }
    gd = mapped_read_table(file, s->directory * BLOCK_SECTOR, 4 * s->count, "grain directory", err);
    for (uint64_t i = 0; gd && i < s->count; i++) {
        s->places[i] = load32_le(gd + 4 * i);
        if (s->places[i] && !vmdk_sparse_load_table(s, file, i, s->places[i], left, err)) {
            return false;
        }
    }
    return gd != NULL;
}

VmdkSparse *vmdk_sparse_load(BlockNode *file, uint64_t *tables_left, GError **err)
{
    VmdkSparse *s = g_new0(VmdkSparse, 1);
    uint8_t h[HEADER_SIZE];
    bool ok = mapped_read(file, 0, h, sizeof h, "header", err);

    if (ok && !memcmp(h, "KDMV", 4)) {
        ok = take_kdmv(s, file, h, &s->directory, err);
    } else if (ok && !memcmp(h, "COWD", 4)) {
        ok = take_cowd(s, file, h, &s->directory, err);
    } else if (ok) {
        ok = error_set(err, "Extent '%s' does not begin as a sparse extent of a VMware disk does",
                       file->filename ? file->filename : file->name);
    }
    if (!ok || !load_tables(s, file, tables_left, err)) {
        vmdk_sparse_free(s);
        return NULL;
    }
    return s;
}

void vmdk_sparse_free(VmdkSparse *s)
{
    if (!s) {
        return;
    }
    for (uint64_t i = 0; s->tables && !s->bytes && i < s->count; i++) {
        g_free(s->tables[i]);
    }
    g_free(s->bytes);
    g_free(s->tables);
    g_free(s->places);
    g_free(s->copies);
    g_free(s);
}

MappedPiece vmdk_sparse_map(const VmdkSparse *s, BlockNode *file, uint64_t offset)
{
    uint64_t grain = offset / s->grain, within = offset % s->grain;
    const uint8_t *table = s->tables[grain / s->gtes];
    MappedPiece piece = {.kind = MAPPED_ABSENT,
                         .len = MIN(s->grain - within, s->len - offset),
                         .file = file};
    uint32_t sector;

    if (s->entry_len == 8) {
        return vmdk_sesparse_map(s, piece, table, grain, within);
    }
    sector = table ? load32_le(table + 4 * (grain % s->gtes)) : 0;
    if (!sector) {
        return piece;
    }
    if (sector == 1 && s->zeroed) {
        piece.kind = MAPPED_ZERO;
        return piece;
    }
    piece.offset = (uint64_t)sector * BLOCK_SECTOR;
    if (s->compressed) {
        uint64_t size = block_node_size(file);
        uint64_t span = VMDK_MARKER_SIZE + s->grain + s->grain / 1000 + PACKED_SLACK;

        piece.kind = MAPPED_PACKED;
        piece.marker_len = VMDK_MARKER_SIZE;
        piece.packed_len = (uint32_t)MIN(span, size - MIN(size, piece.offset));
        piece.unpacked_len = (uint32_t)s->grain;
        piece.skip = (uint32_t)within;
        return piece;
    }
    piece.kind = MAPPED_DATA;
    piece.offset += within;
    return piece;
}
