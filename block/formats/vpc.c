/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vpc: Microsoft's VHD ("Virtual Hard Disk Image Format Specification" 1.0), fixed and dynamic. A
 * fixed image is the disk with a footer behind it; a dynamic one begins with a copy of the footer, has
 * a header that names a table with one sector number a block, and each block is a bitmap of its
 * sectors and the sectors. Numbers are big-endian. Read only; differencing images are refused.
 */
#include "block/formats/mapped.h"

enum {
    VHD_DATA_OFFSET = 16,
    VHD_CREATOR = 28,
    VHD_CURRENT_SIZE = 48,
    VHD_CYLINDERS = 56,
    VHD_HEADS = 58,
    VHD_SECTORS = 59,
    VHD_TYPE = 60,
    VHD_CHECKSUM = 64,
    VHD_FOOTER_SIZE = 512,

    VHD_D_TABLE_OFFSET = 16,
    VHD_D_ENTRIES = 28,
    VHD_D_BLOCK_SIZE = 32,
    VHD_D_CHECKSUM = 36,
    VHD_DYNAMIC_SIZE = 1024,
};

enum { VHD_FIXED = 2, VHD_DYNAMIC = 3, VHD_DIFFERENCING = 4 };

#define VHD_UNUSED 0xffffffff
#define VHD_BLOCK_MAX (64 * MIB)
/* The geometry of a disk that is larger than its fields can say. */
#define VHD_CHS_MAX (UINT64_C(65535) * 16 * 255)

typedef struct Vpc {
    MappedState mapped;
    uint32_t bitmap_size; /* bytes before each block */
} Vpc;

static MappedPiece vpc_map(BlockNode *node, uint64_t offset)
{
    const Vpc *v = node->state;
    uint32_t within, sector;

    if (!v->mapped.table) {
        return (MappedPiece){.kind = MAPPED_DATA,
                             .len = node->size - offset,
                             .file = node->file->node,
                             .offset = offset};
    }
    within = offset % v->mapped.block_size;
    sector = load32_be(v->mapped.table + 4 * (offset / v->mapped.block_size));
    if (sector == VHD_UNUSED) {
        return (MappedPiece){.kind = MAPPED_ZERO, .len = v->mapped.block_size - within};
    }
    return (MappedPiece){.kind = MAPPED_DATA,
                         .len = v->mapped.block_size - within,
                         .file = node->file->node,
                         .offset = (uint64_t)sector * BLOCK_SECTOR + v->bitmap_size + within};
}

static const MappedFormat vpc_format = {.map = vpc_map};

/* The complement of the sum of all bytes but the checksum's own. */
static bool sum_is_right(const uint8_t *buf, size_t len, size_t at)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < len; i++) {
        sum += i >= at && i < at + 4 ? 0 : buf[i];
    }
    return load32_be(buf + at) == ~sum;
}

/* Virtual PC gives the guest the disk that the geometry describes, Hyper-V and most others the size in
 * the footer; who made the image tells which was meant. */
static bool take_size(BlockNode *node, BlockOpts *opts, const uint8_t *footer, GError **err)
{
    static const char *const exact[] = {"win ", "qem2", "d2v ", "CTXS"};
    static const char *const calc[] = {"chs", "current_size", NULL};
    uint64_t chs = (uint64_t)load16_be(footer + VHD_CYLINDERS) * footer[VHD_HEADS] *
                   footer[VHD_SECTORS];
    uint64_t current = load64_be(footer + VHD_CURRENT_SIZE);
    int by_size = !memcmp(footer + VHD_CREATOR, "tap\0", 4);

    for (unsigned i = 0; i < G_N_ELEMENTS(exact); i++) {
        by_size |= !memcmp(footer + VHD_CREATOR, exact[i], 4);
    }
    if (!block_opts_take_enum(opts, "force_size_calc", calc, &by_size, err)) {
        return false;
    }
    node->size = by_size || chs >= VHD_CHS_MAX ? align_down(current, BLOCK_SECTOR)
                                               : chs * BLOCK_SECTOR;
    if (node->size > INT64_MAX) {
        return mapped_damaged(node, err, "its size is %" PRIu64 " bytes", node->size);
    }
    return true;
}

static bool open_dynamic(BlockNode *node, const uint8_t *footer, GError **err)
{
    Vpc *v = node->state;
    uint8_t h[VHD_DYNAMIC_SIZE];
    uint64_t entries;

    if (!mapped_read(node->file->node, load64_be(footer + VHD_DATA_OFFSET), h, sizeof h, "header",
                     err)) {
        return false;
    }
    if (memcmp(h, "cxsparse", 8) || !sum_is_right(h, sizeof h, VHD_D_CHECKSUM)) {
        return mapped_damaged(node, err, "the header of its table is damaged");
    }
    v->mapped.block_size = load32_be(h + VHD_D_BLOCK_SIZE);
    entries = load32_be(h + VHD_D_ENTRIES);
    if (!is_power_of_two(v->mapped.block_size) || v->mapped.block_size < BLOCK_SECTOR ||
        v->mapped.block_size > VHD_BLOCK_MAX) {
        return mapped_damaged(node, err, "its blocks have %u bytes", v->mapped.block_size);
    }
    v->bitmap_size = align_up(v->mapped.block_size / BLOCK_SECTOR / 8, BLOCK_SECTOR);
    if (node->size > entries * v->mapped.block_size) {
        return mapped_damaged(node, err, "a disk of %" PRIu64 " bytes has %" PRIu64 " blocks",
                              node->size, entries);
    }
    v->mapped.table = mapped_read_table(node->file->node, load64_be(h + VHD_D_TABLE_OFFSET), 4 * entries,
                                 "block table", err);
    return v->mapped.table != NULL;
}

/* The footer: in front of a dynamic image, behind a fixed one. */
static bool read_footer(BlockNode *node, uint8_t *footer, GError **err)
{
    BlockNode *file = node->file->node;

    if (!mapped_read(file, 0, footer, VHD_FOOTER_SIZE, "header", err)) {
        return false;
    }
    if (memcmp(footer, "conectix", 8) &&
        !mapped_read(file, align_down(file->size, BLOCK_SECTOR) - VHD_FOOTER_SIZE, footer,
                     VHD_FOOTER_SIZE, "footer", err)) {
        return false;
    }
    if (memcmp(footer, "conectix", 8)) {
        return mapped_damaged(node, err, "it neither begins nor ends with a VHD footer");
    }
    if (!sum_is_right(footer, VHD_FOOTER_SIZE, VHD_CHECKSUM)) {
        return mapped_damaged(node, err, "the checksum of its footer is wrong");
    }
    return true;
}

static bool vpc_open(BlockNode *node, BlockOpts *opts, GError **err)
{
    uint8_t footer[VHD_FOOTER_SIZE];

    if (!mapped_open(node, opts, &vpc_format, err) || !read_footer(node, footer, err) ||
        !take_size(node, opts, footer, err)) {
        return false;
    }
    switch (load32_be(footer + VHD_TYPE)) {
    case VHD_FIXED:
        if (node->size > node->file->node->size) {
            return mapped_damaged(node, err, "it ends before the disk does");
        }
        return true;
    case VHD_DYNAMIC:
        return open_dynamic(node, footer, err);
    case VHD_DIFFERENCING:
        return mapped_damaged(node, err, "it is a difference to a parent image; merge it into the "
                                         "parent first");
    default:
        return mapped_damaged(node, err, "its type is %u", load32_be(footer + VHD_TYPE));
    }
}

const BlockDriver block_driver_vpc = {
    .name = "vpc",
    .is_format = true,
    .state_size = sizeof(Vpc),
    .open = vpc_open,
    .close = mapped_close,
    .submit = mapped_submit,
    .get_info = mapped_get_info,
};
