/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vhdx: where new blocks go, and how the BAT tells of them. */
#include <errno.h>

#include "block/formats/vhdx.h"

static uint64_t place_at(BlockNode *node, uint64_t i, const void *opaque)
{
    const Vhdx *v = node->state;
    uint64_t entry = load64_le(v->mapped.table + 8 * vhdx_entry(v, i));

    (void)opaque;
    return (entry & 7) == VHDX_FULLY_PRESENT ? align_down(entry, MIB) : MAPPED_NO_PLACE;
}

MappedPlaces vhdx_places(BlockNode *node)
{
    static uint64_t metadata[G_N_ELEMENTS(((Vhdx *)NULL)->other) + 4][2];
    const Vhdx *v = node->state;
    unsigned n = 0;

    metadata[n][0] = 0; /* file identifier, headers, region tables */
    metadata[n++][1] = MIB;
    metadata[n][0] = load64_le(v->header + VHDX_H_LOG_OFFSET);
    metadata[n++][1] = load32_le(v->header + VHDX_H_LOG_LENGTH);
    metadata[n][0] = v->bat_offset;
    metadata[n++][1] = v->bat_len;
    metadata[n][0] = v->metadata_offset;
    metadata[n++][1] = v->metadata_len;
    memcpy(metadata[n], v->other, v->others * sizeof v->other[0]);
    return (MappedPlaces){.file = node->file->node, .count = v->blocks, .at = place_at, .len = v->mapped.block_size,
                          .metadata = (const uint64_t (*)[2])metadata, .metadata_count = n + v->others};
}

static bool vhdx_start_writing(BlockNode *node, GError **err)
{
    Vhdx *v = node->state;
    MappedPlaces places = vhdx_places(node);

    if (!vhdx_log_check(node, err) || !mapped_check_places(node, &places, err)) {
        return false;
    }
    if (v->table_len % VHDX_LOG_SECTOR || v->bat_offset % VHDX_LOG_SECTOR) {
        return mapped_damaged(node, err, "its BAT is no whole number of 4 KiB");
    }
    v->next = align_up(places.end, MIB);
    v->table_region = mapped_add_region(node, &(MappedRegion){.child = node->file, .bytes = v->mapped.table,
                                                              .len = v->table_len, .offset = v->bat_offset});
    return true;
}

static int vhdx_place(BlockNode *node, uint64_t offset, MappedBlock *block)
{
    Vhdx *v = node->state;
    uint32_t size = v->mapped.block_size;

    if (v->next > INT64_MAX - 2 * VHDX_BLOCK_MAX) {
        return -ENOSPC;
    }
    *block = (MappedBlock){.start = align_down(offset, size), .child = node->file, .offset = v->next, .file_len = size};
    block->len = MIN(size, node->size - block->start);
    v->next += size;
    return 0;
}

/* Only the last one leaves no hole; a hole is room that nobody names. */
static void vhdx_give_back(BlockNode *node, const MappedBlock *block)
{
    Vhdx *v = node->state;

    if (v->next == block->offset + block->file_len) {
        v->next = block->offset;
    }
}

/* The log takes whole sectors of its own size. */
static void vhdx_enter(BlockNode *node, const MappedBlock *block)
{
    Vhdx *v = node->state;
    uint64_t pos = 8 * vhdx_entry(v, block->start / v->mapped.block_size);

    store64_le(v->mapped.table + pos, block->offset | VHDX_FULLY_PRESENT);
    mapped_dirty(v->table_region, align_down(pos, VHDX_LOG_SECTOR), VHDX_LOG_SECTOR);
}

const MappedFormat vhdx_format = {
    .map = vhdx_map,
    .start_writing = vhdx_start_writing,
    .place = vhdx_place,
    .enter = vhdx_enter,
    .give_back = vhdx_give_back,
    .journal = &vhdx_journal,
};
