/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vdi: VirtualBox disk images, dynamic and fixed, version 1.1. The file is a header, a table with one
 * 32-bit number a block (which block of the data area holds it), and the blocks. Read only; images
 * that are a difference to a parent are refused.
 */
#include "block/formats/mapped.h"

enum {
    VDI_SIGNATURE = 0x40,
    VDI_VERSION = 0x44,
    VDI_TYPE = 0x4c,
    VDI_OFFSET_BMAP = 0x154,
    VDI_OFFSET_DATA = 0x158,
    VDI_SECTOR_SIZE = 0x168,
    VDI_DISK_SIZE = 0x170,
    VDI_BLOCK_SIZE = 0x178,
    VDI_BLOCKS = 0x180,
    VDI_UUID_LINK = 0x1a8,
    VDI_UUID_PARENT = 0x1b8,
    VDI_HEADER_SIZE = 0x200,
};

#define VDI_MAGIC 0xbeda107f
#define VDI_VERSION_1_1 0x00010001
#define VDI_UNALLOCATED 0xffffffff
#define VDI_DISCARDED 0xfffffffe
#define VDI_BLOCK_MIN (64 * KIB)
#define VDI_BLOCK_MAX (64 * MIB)

enum { VDI_TYPE_DYNAMIC = 1, VDI_TYPE_STATIC = 2 };

typedef struct Vdi {
    MappedState mapped;
    uint64_t data_offset; /* bytes */
    uint32_t blocks;
} Vdi;

static MappedPiece vdi_map(BlockNode *node, uint64_t offset)
{
    const Vdi *v = node->state;
    uint32_t within = offset % v->mapped.block_size;
    uint32_t block = load32_le(v->mapped.table + 4 * (offset / v->mapped.block_size));
    MappedPiece piece = {.len = v->mapped.block_size - within};

    if (block >= VDI_DISCARDED) {
        piece.kind = MAPPED_ZERO;
        return piece;
    }
    piece.kind = MAPPED_DATA;
    piece.file = node->file->node;
    piece.offset = v->data_offset + (uint64_t)block * v->mapped.block_size + within;
    return piece;
}

static const MappedFormat vdi_format = {.map = vdi_map};

static bool check_header(BlockNode *node, const uint8_t *h, GError **err)
{
    static const uint8_t none[16];
    uint32_t type = load32_le(h + VDI_TYPE), block_size = load32_le(h + VDI_BLOCK_SIZE);
    uint64_t blocks = load32_le(h + VDI_BLOCKS), size = load64_le(h + VDI_DISK_SIZE);

    if (load32_le(h + VDI_SIGNATURE) != VDI_MAGIC) {
        return mapped_damaged(node, err, "it does not begin as a VDI image does");
    }
    if (load32_le(h + VDI_VERSION) != VDI_VERSION_1_1) {
        return mapped_damaged(node, err, "its version is %u.%u, known is 1.1",
                              load32_le(h + VDI_VERSION) >> 16,
                              load32_le(h + VDI_VERSION) & 0xffff);
    }
    if (type != VDI_TYPE_DYNAMIC && type != VDI_TYPE_STATIC) {
        return mapped_damaged(node, err, "its type is %u, known are 1 (dynamic) and 2 (fixed)",
                              type);
    }
    if (memcmp(h + VDI_UUID_LINK, none, sizeof none) ||
        memcmp(h + VDI_UUID_PARENT, none, sizeof none)) {
        return mapped_damaged(node, err, "it is a difference to a parent image; merge it into the "
                                         "parent with VirtualBox first");
    }
    if (load32_le(h + VDI_SECTOR_SIZE) != BLOCK_SECTOR) {
        return mapped_damaged(node, err, "its sectors have %u bytes",
                              load32_le(h + VDI_SECTOR_SIZE));
    }
    if (block_size < VDI_BLOCK_MIN || block_size > VDI_BLOCK_MAX ||
        (block_size & (block_size - 1))) {
        return mapped_damaged(node, err, "its blocks have %u bytes", block_size);
    }
    if (blocks > MAPPED_TABLES_MAX / 4 || size > blocks * block_size) {
        return mapped_damaged(node, err, "a disk of %" PRIu64 " bytes has %" PRIu64 " blocks", size,
                              blocks);
    }
    return true;
}

static bool vdi_open(BlockNode *node, BlockOpts *opts, GError **err)
{
    Vdi *v = node->state;
    uint8_t h[VDI_HEADER_SIZE];

    if (!mapped_open(node, opts, &vdi_format, err) ||
        !mapped_read(node->file->node, 0, h, sizeof h, "header", err) ||
        !check_header(node, h, err)) {
        return false;
    }
    v->mapped.block_size = load32_le(h + VDI_BLOCK_SIZE);
    v->blocks = load32_le(h + VDI_BLOCKS);
    v->data_offset = load32_le(h + VDI_OFFSET_DATA);
    v->mapped.table = mapped_read_table(node->file->node, load32_le(h + VDI_OFFSET_BMAP),
                               4 * (uint64_t)v->blocks, "block table", err);
    if (!v->mapped.table) {
        return false;
    }
    /* VirtualBox writes sizes that are no multiples of a sector; the disk's last one is whole. */
    node->size = align_up(load64_le(h + VDI_DISK_SIZE), BLOCK_SECTOR);
    return true;
}

const BlockDriver block_driver_vdi = {
    .name = "vdi",
    .is_format = true,
    .state_size = sizeof(Vdi),
    .open = vdi_open,
    .close = mapped_close,
    .submit = mapped_submit,
    .get_info = mapped_get_info,
};
