/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vpc: Microsoft's VHD ("Virtual Hard Disk Image Format Specification" 1.0), fixed and dynamic. A
 * fixed image is the disk with a footer behind it; a dynamic one begins with a copy of the footer, has
 * a header that names a table with one sector number a block, and each block is a bitmap of its
 * sectors and the sectors. A footer ends this, too, and moves with the end: a new block is written over
 * it, and the next cycle writes it behind the last block; in between the copy in front serves. Numbers are
 * big-endian. Differencing images are refused.
 */
#include <errno.h>

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
    uint64_t header_offset, table_offset, table_len, entries;
    uint8_t footer[VHD_FOOTER_SIZE];

    /* Writing. */
    MappedRegion *footer_region, *table_region;
    uint64_t next;      /* bytes: where the next block goes */
    bool grown;         /* it was moved since the footer was */
    uint64_t footer_end; /* 0: the footer is where it was */
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

/* ---- writing --------------------------------------------------------------------------------- */

static uint64_t vpc_place_at(BlockNode *node, uint64_t i, const void *opaque)
{
    const Vpc *v = node->state;
    uint32_t sector = load32_be(v->mapped.table + 4 * i);

    (void)opaque;
    return sector == VHD_UNUSED ? MAPPED_NO_PLACE : (uint64_t)sector * BLOCK_SECTOR;
}

static bool vpc_start_writing(BlockNode *node, GError **err)
{
    Vpc *v = node->state;
    BlockNode *file = node->file->node;
    const uint64_t metadata[][2] = {{0, VHD_FOOTER_SIZE}, {v->header_offset, VHD_DYNAMIC_SIZE},
                                    {v->table_offset, v->table_len}};
    MappedPlaces places = {.file = file, .count = v->entries, .at = vpc_place_at, .len = v->bitmap_size + (uint64_t)v->mapped.block_size,
                           .metadata = metadata, .metadata_count = G_N_ELEMENTS(metadata)};

    if (!v->mapped.table) {
        return node->size <= align_down(file->size, BLOCK_SECTOR) - VHD_FOOTER_SIZE ||
               mapped_damaged(node, err, "its footer lies within the disk");
    }
    if (!mapped_check_places(node, &places, err)) {
        return false;
    }
    v->next = align_up(places.end, BLOCK_SECTOR);
    v->table_region = mapped_add_region(node, &(MappedRegion){.child = node->file, .bytes = v->mapped.table,
                                                              .len = v->table_len, .offset = v->table_offset});
    v->footer_region = mapped_add_region(node, &(MappedRegion){.child = node->file, .bytes = v->footer,
                                                               .len = VHD_FOOTER_SIZE, .ahead = true});
    return true;
}

static int vpc_place(BlockNode *node, uint64_t offset, MappedBlock *block)
{
    Vpc *v = node->state;
    uint32_t size = v->mapped.block_size;

    if (v->next / BLOCK_SECTOR >= VHD_UNUSED) {
        return -ENOSPC;
    }
    *block = (MappedBlock){.start = align_down(offset, size), .child = node->file, .offset = v->next + v->bitmap_size,
                           .file_len = size, .marked = v->bitmap_size};
    block->len = MIN(size, node->size - block->start);
    v->next = block->offset + size;
    v->grown = true;
    return 0;
}

/* Only the last one leaves no hole; a hole is room that nobody names. */
static void vpc_give_back(BlockNode *node, const MappedBlock *block)
{
    Vpc *v = node->state;

    if (v->next == block->offset + block->file_len) {
        v->next = block->offset - v->bitmap_size;
    }
}

static void vpc_enter(BlockNode *node, const MappedBlock *block)
{
    Vpc *v = node->state;
    uint64_t pos = 4 * (block->start / v->mapped.block_size);

    store32_be(v->mapped.table + pos, (uint32_t)((block->offset - v->bitmap_size) / BLOCK_SECTOR));
    mapped_dirty(v->table_region, pos, 4);
}

static void vpc_settle(BlockNode *node)
{
    Vpc *v = node->state;

    if (v->grown) {
        v->footer_region->offset = v->next;
        mapped_dirty(v->footer_region, 0, VHD_FOOTER_SIZE);
        v->footer_end = v->next + VHD_FOOTER_SIZE;
        v->grown = false;
    }
}

static const MappedFormat vpc_format = {
    .map = vpc_map,
    .start_writing = vpc_start_writing,
    .place = vpc_place,
    .enter = vpc_enter,
    .give_back = vpc_give_back,
    .settle = vpc_settle,
};

/* ---- opening --------------------------------------------------------------------------------- */

/* The complement of the sum of all bytes but the checksum's own, which is at at. */
static uint32_t checksum(const uint8_t *buf, size_t len, size_t at)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < len; i++) {
        sum += i >= at && i < at + 4 ? 0 : buf[i];
    }
    return ~sum;
}

static bool sum_is_right(const uint8_t *buf, size_t len, size_t at)
{
    return load32_be(buf + at) == checksum(buf, len, at);
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

    v->header_offset = load64_be(footer + VHD_DATA_OFFSET);
    if (!mapped_read(node->file->node, v->header_offset, h, sizeof h, "header",
                     err)) {
        return false;
    }
    if (memcmp(h, "cxsparse", 8) || !sum_is_right(h, sizeof h, VHD_D_CHECKSUM)) {
        return mapped_damaged(node, err, "the header of its table is damaged");
    }
    v->mapped.block_size = load32_be(h + VHD_D_BLOCK_SIZE);
    v->entries = entries = load32_be(h + VHD_D_ENTRIES);
    v->table_offset = load64_be(h + VHD_D_TABLE_OFFSET);
    if (!is_power_of_two(v->mapped.block_size) || v->mapped.block_size < BLOCK_SECTOR ||
        v->mapped.block_size > VHD_BLOCK_MAX) {
        return mapped_damaged(node, err, "its blocks have %u bytes", v->mapped.block_size);
    }
    v->bitmap_size = align_up(v->mapped.block_size / BLOCK_SECTOR / 8, BLOCK_SECTOR);
    if (node->size > entries * v->mapped.block_size) {
        return mapped_damaged(node, err, "a disk of %" PRIu64 " bytes has %" PRIu64 " blocks",
                              node->size, entries);
    }
    v->table_len = mapped_whole_sectors(node->file->node, v->table_offset, 4 * entries);
    v->mapped.table = mapped_read_table(node->file->node, v->table_offset, v->table_len,
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

static bool open_kind(BlockNode *node, const uint8_t *footer, GError **err)
{
    switch (load32_be(footer + VHD_TYPE)) {
    case VHD_FIXED:
        return node->size <= node->file->node->size || mapped_damaged(node, err, "it ends before the disk does");
    case VHD_DYNAMIC:
        return open_dynamic(node, footer, err);
    case VHD_DIFFERENCING:
        return mapped_damaged(node, err, "it is a difference to a parent image; merge it into the "
                                         "parent first");
    default:
        return mapped_damaged(node, err, "its type is %u", load32_be(footer + VHD_TYPE));
    }
}

static bool vpc_open(BlockNode *node, BlockOpts *opts, GError **err)
{
    uint8_t *footer = ((Vpc *)node->state)->footer;

    return mapped_open(node, opts, &vpc_format, err) && read_footer(node, footer, err) &&
           take_size(node, opts, footer, err) && open_kind(node, footer, err) && mapped_opened(node, err);
}

/* A place that was given back may have left the file longer than its footer's end, where others look for it. */
static void vpc_close(BlockNode *node)
{
    const Vpc *v = node->state;

    mapped_close(node);
    if (v->footer_end && v->footer_end < node->file->node->size && !node->read_only) {
        block_ptruncate(node->file->node, v->footer_end, true, BLOCK_PREALLOC_OFF, NULL);
    }
}

/* ---- create ---------------------------------------------------------------------------------- */

#define VHD_BLOCK_DEFAULT (2 * MIB)
#define VHD_TABLE_OFFSET (VHD_FOOTER_SIZE + VHD_DYNAMIC_SIZE)
#define VHD_SECTORS_MAX UINT64_C(0xff000000) /* of a disk whose size the geometry does not say */
#define VHD_EPOCH INT64_C(946684800)         /* 2000-01-01, in Unix time */

enum {
    VHD_FEATURES = 8,
    VHD_FORMAT_VERSION = 12,
    VHD_TIMESTAMP = 24,
    VHD_CREATOR_VERSION = 32,
    VHD_CREATOR_HOST = 36,
    VHD_ORIGINAL_SIZE = 40,
    VHD_UUID = 68,

    VHD_D_NEXT = 8,
    VHD_D_VERSION = 24,
};

static const BlockCreateOpt vpc_create_opts[] = {
    {"size", "size", "Virtual disk size"},
    {"subformat", "str", "Type of virtual hard disk format. Supported formats are {dynamic (default) | fixed} "},
    {"force_size", "bool (on/off)", "Force disk size calculation to use the actual size specified, rather than using the "
                                    "nearest CHS-based calculation"},
    BLOCK_FORMAT_FILE_OPTS,
    {0},
};

typedef struct Geometry {
    uint64_t cylinders;
    unsigned heads, sectors;
} Geometry;

/* As the specification's appendix has it: what a BIOS of the time would make of so many sectors. */
static Geometry geometry_of(uint64_t total)
{
    Geometry g = {.heads = 16, .sectors = 255};
    uint64_t tracks;

    total = MIN(total, VHD_CHS_MAX);
    if (total >= UINT64_C(65535) * 16 * 63) {
        g.cylinders = total / 255 / 16;
        return g;
    }
    g.sectors = 17;
    tracks = total / 17;
    g.heads = MAX((unsigned)((tracks + 1023) / 1024), 4);
    if (tracks >= g.heads * UINT64_C(1024) || g.heads > 16) {
        g.sectors = 31;
        g.heads = 16;
        tracks = total / 31;
    }
    if (tracks >= g.heads * UINT64_C(1024)) {
        g.sectors = 63;
        g.heads = 16;
        tracks = total / 63;
    }
    g.cylinders = tracks / g.heads;
    return g;
}

static uint64_t geometry_sectors(const Geometry *g)
{
    return g->cylinders * g->heads * g->sectors;
}

/* The smallest disk that a geometry describes and that holds so many sectors; *sectors becomes its size. */
static bool fit_geometry(uint64_t *sectors, bool exact, Geometry *g, GError **err)
{
    const Geometry largest = {65535, 16, 255};
    uint64_t wanted = MIN(*sectors, VHD_CHS_MAX);

    *g = (Geometry){0};
    if (exact) {
        *g = largest;
    }
    for (uint64_t more = 0; geometry_sectors(g) < wanted; more++) {
        *g = geometry_of(wanted + more);
    }
    if (geometry_sectors(g) < VHD_CHS_MAX) {
        *sectors = geometry_sectors(g);
    }
    return *sectors <= VHD_SECTORS_MAX || error_set(err, "The image size is too large for file format 'vpc'");
}

static void make_footer(uint8_t *f, uint64_t size, const Geometry *g, bool exact, bool fixed)
{
    memcpy(f, "conectix", 8);
    store32_be(f + VHD_FEATURES, 2); /* reserved, always set */
    store32_be(f + VHD_FORMAT_VERSION, 0x10000);
    store64_be(f + VHD_DATA_OFFSET, fixed ? UINT64_MAX : VHD_FOOTER_SIZE);
    store32_be(f + VHD_TIMESTAMP, (uint32_t)(g_get_real_time() / 1000000 - VHD_EPOCH));
    memcpy(f + VHD_CREATOR, exact ? "qem2" : "qemu", 4); /* which tells whether size or geometry counts */
    store32_be(f + VHD_CREATOR_VERSION, 0x50003);
    memcpy(f + VHD_CREATOR_HOST, "Wi2k", 4);
    store64_be(f + VHD_ORIGINAL_SIZE, size);
    store64_be(f + VHD_CURRENT_SIZE, size);
    store16_be(f + VHD_CYLINDERS, (uint16_t)g->cylinders);
    f[VHD_HEADS] = (uint8_t)g->heads;
    f[VHD_SECTORS] = (uint8_t)g->sectors;
    store32_be(f + VHD_TYPE, fixed ? VHD_FIXED : VHD_DYNAMIC);
    mapped_make_guid(f + VHD_UUID);
    store32_be(f + VHD_CHECKSUM, checksum(f, VHD_FOOTER_SIZE, VHD_CHECKSUM));
}

static bool write_dynamic(BlockNode *file, const uint8_t *footer, uint64_t size, GError **err)
{
    uint32_t entries = (uint32_t)(align_up(size, VHD_BLOCK_DEFAULT) / VHD_BLOCK_DEFAULT);
    uint64_t table_len = align_up(4 * (uint64_t)entries, BLOCK_SECTOR);
    uint8_t h[VHD_DYNAMIC_SIZE] = {0};

    memcpy(h, "cxsparse", 8);
    store64_be(h + VHD_D_NEXT, UINT64_MAX);
    store64_be(h + VHD_D_TABLE_OFFSET, VHD_TABLE_OFFSET);
    store32_be(h + VHD_D_VERSION, 0x10000);
    store32_be(h + VHD_D_ENTRIES, entries);
    store32_be(h + VHD_D_BLOCK_SIZE, VHD_BLOCK_DEFAULT);
    store32_be(h + VHD_D_CHECKSUM, checksum(h, sizeof h, VHD_D_CHECKSUM));
    return block_format_clear(file, VHD_TABLE_OFFSET + table_len + VHD_FOOTER_SIZE, err) &&
           mapped_create_write(file, VHD_FOOTER_SIZE, h, sizeof h, err) &&
           mapped_create_fill(file, VHD_TABLE_OFFSET, table_len, 0xff, err) &&
           mapped_create_write(file, VHD_TABLE_OFFSET + table_len, footer, VHD_FOOTER_SIZE, err) &&
           mapped_create_write(file, 0, footer, VHD_FOOTER_SIZE, err);
}

static bool write_fixed(BlockNode *file, const uint8_t *footer, uint64_t size, GError **err)
{
    return block_format_clear(file, size + VHD_FOOTER_SIZE, err) &&
           mapped_create_write(file, size, footer, VHD_FOOTER_SIZE, err);
}

typedef struct NewVpc {
    uint64_t size;
    bool force_size;
    int fixed;
    Geometry geometry;
} NewVpc;

static bool vpc_driver_format_prepare(BlockFormat *f, BlockOpts *opts, GError **err)
{
    static const char *const kinds[] = {"dynamic", "fixed", NULL};
    NewVpc *n = f->plan = g_new0(NewVpc, 1);
    uint64_t sectors, size;

    if (!block_opts_take_size(opts, "size", &size, NULL, err) ||
        !block_opts_take_bool(opts, "force_size", &n->force_size, err) ||
        !block_opts_take_enum(opts, "subformat", kinds, &n->fixed, err)) {
        return false;
    }
    sectors = size / BLOCK_SECTOR + (size % BLOCK_SECTOR != 0);
    if (!fit_geometry(&sectors, n->force_size, &n->geometry, err)) {
        return false;
    }
    n->size = sectors * BLOCK_SECTOR;
    return !f->exact || n->size == size ||
           error_set(err, "The requested image size cannot be represented in CHS geometry: the next one that can is %" PRIu64 " bytes%s",
                     n->size, n->force_size || size % BLOCK_SECTOR ? "" : ", or take force-size");
}

static bool vpc_driver_format(BlockFormat *f, GError **err)
{
    const NewVpc *n = f->plan;
    uint8_t footer[VHD_FOOTER_SIZE] = {0};

    make_footer(footer, n->size, &n->geometry, n->force_size, n->fixed);
    return (n->fixed ? write_fixed : write_dynamic)(f->file, footer, n->size, err);
}

static bool vpc_create(Vm *vm, const char *filename, BlockOpts *opts, GError **err)
{
    return block_format_new_file(vm, &block_driver_vpc, filename, opts, err);
}

const BlockDriver block_driver_vpc = {
    .name = "vpc",
    .is_format = true,
    .state_size = sizeof(Vpc),
    .create_opts = vpc_create_opts,
    .open = vpc_open,
    .close = vpc_close,
    .reopen_prepare = mapped_reopen_prepare,
    .submit = mapped_submit,
    .get_info = mapped_get_info,
    .create = vpc_create,
    .format_prepare = vpc_driver_format_prepare,
    .format = vpc_driver_format,
    .format_free = mapped_format_free,
};
