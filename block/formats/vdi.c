/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vdi: VirtualBox disk images, dynamic and fixed, version 1.1. The file is a header, a table with one
 * 32-bit number a block (which block of the data area holds it), and the blocks. Images that are a
 * difference to a parent are refused.
 *
 * The header counts the blocks that have a place. Programs (QEMU's, too) take the count for the next free
 * place, so it runs ahead of the table and is never less than the last place in use and one; free places
 * below are used first. A power cut between the two leaves a count that is too high: count and entries are in
 * different sectors, so one is always first. The next one that opens the image to write puts it right.
 */
#include <stdio.h>

#include "block/formats/mapped.h"

enum {
    VDI_SIGNATURE = 0x40,
    VDI_VERSION = 0x44,
    VDI_LENGTH = 0x48, /* of the header from here on, and more */
    VDI_TYPE = 0x4c,
    VDI_OFFSET_BMAP = 0x154,
    VDI_OFFSET_DATA = 0x158,
    VDI_SECTOR_SIZE = 0x168,
    VDI_DISK_SIZE = 0x170,
    VDI_BLOCK_SIZE = 0x178,
    VDI_BLOCKS = 0x180,
    VDI_ALLOCATED = 0x184,
    VDI_UUID = 0x188,
    VDI_UUID_SNAPSHOT = 0x198,
    VDI_UUID_LINK = 0x1a8,
    VDI_UUID_PARENT = 0x1b8,
    VDI_HEADER_SIZE = 0x200,
};

#define VDI_MAGIC 0xbeda107f
#define VDI_VERSION_1_1 0x00010001
#define VDI_UNALLOCATED 0xffffffff
#define VDI_DISCARDED 0xfffffffe
#define VDI_BLOCK_MIN (64 * KIB)
#define VDI_BLOCK_DEFAULT MIB
#define VDI_BLOCK_MAX (64 * MIB)

enum { VDI_TYPE_DYNAMIC = 1, VDI_TYPE_STATIC = 2 };

typedef struct Vdi {
    MappedState mapped;
    uint64_t data_offset, table_offset, table_len; /* bytes */
    uint32_t blocks;
    uint8_t header[VDI_HEADER_SIZE];

    /* Writing. */
    MappedRegion *header_region, *table_region;
    uint64_t *used;    /* a bit a place; NULL: not yet */
    uint32_t lowest;   /* no free place is below */
    uint32_t past;     /* the last one in use, plus 1 */
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

/* ---- writing --------------------------------------------------------------------------------- */

static uint64_t vdi_place_at(BlockNode *node, uint64_t i, const void *opaque)
{
    const Vdi *v = node->state;
    uint32_t place = load32_le(v->mapped.table + 4 * i);

    (void)opaque;
    return place >= VDI_DISCARDED ? MAPPED_NO_PLACE : v->data_offset + (uint64_t)place * v->mapped.block_size;
}

static bool is_used(const Vdi *v, uint32_t place)
{
    return v->used[place / 64] >> place % 64 & 1;
}

/* What a power cut left of the count is put right with the next flush; with places free in between it has to stay ahead. */
static void vdi_recount(Vdi *v, uint32_t count)
{
    if (count == v->past && load32_le(v->header + VDI_ALLOCATED) > count) {
        store32_le(v->header + VDI_ALLOCATED, count);
        mapped_dirty(v->header_region, VDI_ALLOCATED, 4);
    }
}

static bool vdi_start_writing(BlockNode *node, GError **err)
{
    Vdi *v = node->state;
    uint32_t count = 0;
    BlockChild *file = node->file;
    const uint64_t metadata[][2] = {{0, VDI_HEADER_SIZE}, {v->table_offset, v->table_len}};
    MappedPlaces places = {.file = file->node, .count = v->blocks, .at = vdi_place_at, .len = v->mapped.block_size,
                           .metadata = metadata, .metadata_count = G_N_ELEMENTS(metadata)};

    if (!mapped_check_places(node, &places, err)) {
        return false;
    }
    v->used = g_new0(uint64_t, v->blocks / 64 + 1);
    for (uint32_t i = 0; i < v->blocks; i++) {
        uint32_t place = load32_le(v->mapped.table + 4 * (uint64_t)i);

        if (place < VDI_DISCARDED && place >= v->blocks) {
            g_clear_pointer(&v->used, g_free);
            return mapped_damaged(node, err, "block %u lies in place %u of %u", i, place, v->blocks);
        }
        if (place < VDI_DISCARDED) {
            v->used[place / 64] |= UINT64_C(1) << place % 64;
            v->past = MAX(v->past, place + 1);
            count++;
        }
    }
    v->header_region = mapped_add_region(node, &(MappedRegion){.child = file, .bytes = v->header, .len = VDI_HEADER_SIZE,
                                                               .ahead = true});
    v->table_region = mapped_add_region(node, &(MappedRegion){.child = file, .bytes = v->mapped.table,
                                                              .len = v->table_len, .offset = v->table_offset});
    vdi_recount(v, count);
    return true;
}

/* There are as many places as blocks, so one is free. */
static int vdi_place(BlockNode *node, uint64_t offset, MappedBlock *block)
{
    Vdi *v = node->state;
    uint32_t size = v->mapped.block_size, place = v->lowest;

    while (place < v->blocks && is_used(v, place)) {
        place++;
    }
    if (place == v->blocks) {
        return -EIO;
    }
    v->used[place / 64] |= UINT64_C(1) << place % 64;
    v->lowest = place + 1;
    *block = (MappedBlock){.start = align_down(offset, size), .child = node->file, .file_len = size,
                           .offset = v->data_offset + (uint64_t)place * size, .index = place};
    block->len = MIN(size, node->size - block->start);
    return 0;
}

static void vdi_give_back(BlockNode *node, const MappedBlock *block)
{
    Vdi *v = node->state;

    v->used[block->index / 64] &= ~(UINT64_C(1) << block->index % 64);
    v->lowest = MIN(v->lowest, (uint32_t)block->index);
}

static void vdi_enter(BlockNode *node, const MappedBlock *block)
{
    Vdi *v = node->state;
    uint64_t pos = 4 * (block->start / v->mapped.block_size);

    store32_le(v->mapped.table + pos, (uint32_t)block->index);
    v->past = MAX(v->past, (uint32_t)block->index + 1);
    mapped_dirty(v->table_region, pos, 4);
}

static void vdi_settle(BlockNode *node)
{
    Vdi *v = node->state;

    if (v->table_region->any_dirty && load32_le(v->header + VDI_ALLOCATED) != v->past) {
        store32_le(v->header + VDI_ALLOCATED, v->past);
        mapped_dirty(v->header_region, VDI_ALLOCATED, 4);
    }
}

static const MappedFormat vdi_format = {
    .map = vdi_map,
    .start_writing = vdi_start_writing,
    .place = vdi_place,
    .enter = vdi_enter,
    .give_back = vdi_give_back,
    .settle = vdi_settle,
};

/* ---- opening --------------------------------------------------------------------------------- */

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

    if (!mapped_open(node, opts, &vdi_format, err) ||
        !mapped_read(node->file->node, 0, v->header, sizeof v->header, "header", err) ||
        !check_header(node, v->header, err)) {
        return false;
    }
    v->mapped.block_size = load32_le(v->header + VDI_BLOCK_SIZE);
    v->blocks = load32_le(v->header + VDI_BLOCKS);
    v->data_offset = load32_le(v->header + VDI_OFFSET_DATA);
    v->table_offset = load32_le(v->header + VDI_OFFSET_BMAP);
    v->table_len = mapped_whole_sectors(node->file->node, v->table_offset, 4 * (uint64_t)v->blocks);
    v->mapped.table = mapped_read_table(node->file->node, v->table_offset, v->table_len, "block table", err);
    if (!v->mapped.table) {
        return false;
    }
    /* VirtualBox writes sizes that are no multiples of a sector; the disk's last one is whole. */
    node->size = align_up(load64_le(v->header + VDI_DISK_SIZE), BLOCK_SECTOR);
    return mapped_opened(node, err);
}

static void vdi_close(BlockNode *node)
{
    Vdi *v = node->state;

    mapped_close(node);
    g_clear_pointer(&v->used, g_free);
}

/* ---- check ----------------------------------------------------------------------------------- */

/* As qemu-img says it, to whom a count that runs ahead is damage, too; a power cut leaves it, and what it costs is room. */
static bool vdi_check(BlockNode *node, unsigned fix, BlockCheck *result, GError **err)
{
    const Vdi *v = node->state;
    g_autofree uint32_t *owner = g_try_malloc(4 * (uint64_t)v->blocks + 4);
    uint32_t counted = load32_le(v->header + VDI_ALLOCATED), found = 0;

    (void)fix;
    if (!owner) {
        return error_set(err, "no memory for a table of %u blocks", v->blocks);
    }
    memset(owner, 0xff, 4 * (uint64_t)v->blocks);
    for (uint32_t i = 0; i < v->blocks; i++) {
        uint32_t place = load32_le(v->mapped.table + 4 * (uint64_t)i);

        if (place >= VDI_DISCARDED) {
            continue;
        }
        if (place >= v->blocks) {
            fprintf(stderr, "ERROR: block index %u too large, is %u\n", i, place);
            result->corruptions++;
            continue;
        }
        found++;
        if (owner[place] != UINT32_MAX) {
            fprintf(stderr, "ERROR: block index %u also used by %u\n", place, owner[place]);
            result->corruptions++;
        }
        owner[place] = place;
    }
    if (found != counted) {
        fprintf(stderr, "ERROR: allocated blocks mismatch, is %u, should be %u\n", found, counted);
        *(counted > found && !result->corruptions ? &result->leaks : &result->corruptions) += 1;
    }
    return true;
}

/* ---- create ---------------------------------------------------------------------------------- */

#define VDI_SIZE_MAX (MAPPED_TABLES_MAX / 4 * VDI_BLOCK_DEFAULT)

static const BlockCreateOpt vdi_create_opts[] = {
    {"size", "size", "Virtual disk size"},
    {"static", "bool (on/off)", "VDI static (pre-allocated) image", "off"},
    BLOCK_FORMAT_FILE_OPTS,
    {0},
};

static void make_header(uint8_t *h, uint64_t size, uint32_t blocks, bool is_static)
{
    static const char text[] = "<<< QEMU VM Virtual Disk Image >>>\n";

    memcpy(h, text, sizeof text - 1);
    store32_le(h + VDI_SIGNATURE, VDI_MAGIC);
    store32_le(h + VDI_VERSION, VDI_VERSION_1_1);
    store32_le(h + VDI_LENGTH, 0x180);
    store32_le(h + VDI_TYPE, is_static ? VDI_TYPE_STATIC : VDI_TYPE_DYNAMIC);
    store32_le(h + VDI_OFFSET_BMAP, VDI_HEADER_SIZE);
    store32_le(h + VDI_OFFSET_DATA, (uint32_t)align_up(VDI_HEADER_SIZE + 4 * (uint64_t)blocks, BLOCK_SECTOR));
    store32_le(h + VDI_SECTOR_SIZE, BLOCK_SECTOR);
    store64_le(h + VDI_DISK_SIZE, size);
    store32_le(h + VDI_BLOCK_SIZE, VDI_BLOCK_DEFAULT);
    store32_le(h + VDI_BLOCKS, blocks);
    store32_le(h + VDI_ALLOCATED, is_static ? blocks : 0);
    mapped_make_guid(h + VDI_UUID);
    mapped_make_guid(h + VDI_UUID_SNAPSHOT);
}

typedef struct NewVdi {
    uint64_t size;
    bool is_static;
} NewVdi;

static bool vdi_driver_format_prepare(BlockFormat *f, BlockOpts *opts, GError **err)
{
    NewVdi *n = f->plan = g_new0(NewVdi, 1);

    if (!block_opts_take_size(opts, "size", &n->size, NULL, err) ||
        !block_opts_take_bool(opts, "static", &n->is_static, err)) {
        return false;
    }
    n->size = n->size > INT64_MAX ? n->size : align_up(n->size, BLOCK_SECTOR);
    return n->size <= VDI_SIZE_MAX || error_set(err, "Unsupported VDI image size (size is 0x%" PRIx64 ", max supported is 0x%" PRIx64 ")",
                                                n->size, VDI_SIZE_MAX);
}

static bool vdi_driver_format(BlockFormat *f, GError **err)
{
    const NewVdi *n = f->plan;
    uint32_t blocks = (uint32_t)(align_up(n->size, VDI_BLOCK_DEFAULT) / VDI_BLOCK_DEFAULT);
    uint64_t table_len = align_up(4 * (uint64_t)blocks, BLOCK_SECTOR);
    g_autofree uint8_t *table = g_try_malloc0(MAX(table_len, 1));
    uint8_t h[VDI_HEADER_SIZE] = {0};

    if (!table) {
        return error_set(err, "no memory for a table of %u blocks", blocks);
    }
    make_header(h, n->size, blocks, n->is_static);
    for (uint32_t i = 0; i < blocks; i++) {
        store32_le(table + 4 * (uint64_t)i, n->is_static ? i : VDI_UNALLOCATED);
    }
    return block_format_clear(f->file, sizeof h + table_len + (n->is_static ? blocks * VDI_BLOCK_DEFAULT : 0), err) &&
           (!table_len || mapped_create_write(f->file, sizeof h, table, table_len, err)) &&
           mapped_create_write(f->file, 0, h, sizeof h, err);
}

static bool vdi_create(Vm *vm, const char *filename, BlockOpts *opts, GError **err)
{
    return block_format_new_file(vm, &block_driver_vdi, filename, opts, err);
}

const BlockDriver block_driver_vdi = {
    .name = "vdi",
    .is_format = true,
    .state_size = sizeof(Vdi),
    .create_opts = vdi_create_opts,
    .open = vdi_open,
    .close = vdi_close,
    .reopen_prepare = mapped_reopen_prepare,
    .submit = mapped_submit,
    .get_info = mapped_get_info,
    .create = vdi_create,
    .format_prepare = vdi_driver_format_prepare,
    .format = vdi_driver_format,
    .format_free = mapped_format_free,
    .check = vdi_check,
    .check_only = true,
};
