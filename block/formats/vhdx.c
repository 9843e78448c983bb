/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vhdx: opening, and what the tables say. */
#include <stdio.h>

#include "block/formats/vhdx.h"

const uint64_t vhdx_header_at[2] = {64 * KIB, 128 * KIB}, vhdx_region_at[2] = {192 * KIB, 256 * KIB};

/* GUIDs as they stand in the file. */
#define GUID(a, b, c, ...)                                                                         \
    {                                                                                              \
        (a) & 0xff, (a) >> 8 & 0xff, (a) >> 16 & 0xff, (a) >> 24, (b) & 0xff, (b) >> 8, (c) & 0xff,  \
            (c) >> 8, __VA_ARGS__                                                                    \
    }

const uint8_t vhdx_guids[GUIDS][16] = {
    [GUID_BAT] = GUID(0x2dc27766u, 0xf623, 0x4200, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08),
    [GUID_METADATA] = GUID(0x8b7ca206u, 0x4790, 0x4b9a, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e),
    [GUID_FILE_PARAMETERS] = GUID(0xcaa16737u, 0xfa36, 0x4d43, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b),
    [GUID_DISK_SIZE] = GUID(0x2fa54224u, 0xcd1b, 0x4876, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8),
    [GUID_PAGE83] = GUID(0xbeca12abu, 0xb2e6, 0x4523, 0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46),
    [GUID_LOGICAL_SECTOR] = GUID(0x8141bf1du, 0xa96f, 0x4709, 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f),
    [GUID_PHYSICAL_SECTOR] = GUID(0xcda348c7u, 0x445d, 0x4471, 0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56),
    [GUID_PARENT_LOCATOR] = GUID(0xa8d35f2du, 0xb30b, 0x454d, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c),
};

/* Which one this is; GUIDS: none of them. */
static VhdxGuid find_guid(const uint8_t *guid)
{
    VhdxGuid i = 0;

    while (i < GUIDS && memcmp(vhdx_guids[i], guid, sizeof vhdx_guids[i])) {
        i++;
    }
    return i;
}

MappedPiece vhdx_map(BlockNode *node, uint64_t offset)
{
    const Vhdx *v = node->state;
    uint64_t block = offset / v->mapped.block_size, within = offset % v->mapped.block_size;
    uint64_t entry = load64_le(v->mapped.table + 8 * vhdx_entry(v, block));

    if ((entry & 7) != VHDX_FULLY_PRESENT) {
        return (MappedPiece){.kind = MAPPED_ZERO, .len = v->mapped.block_size - within};
    }
    return (MappedPiece){.kind = MAPPED_DATA,
                         .len = v->mapped.block_size - within,
                         .file = node->file->node,
                         .offset = align_down(entry, MIB) + within};
}

/* ---- headers and regions --------------------------------------------------------------------- */

uint32_t vhdx_crc(const uint8_t *buf, size_t len)
{
    uint32_t crc = ~0u;

    for (size_t i = 0; i < len; i++) {
        crc ^= i >= 4 && i < 8 ? 0 : buf[i];
        for (unsigned bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
        }
    }
    return ~crc;
}

static bool crc_is_right(const uint8_t *buf, size_t len)
{
    return load32_le(buf + 4) == vhdx_crc(buf, len);
}

static bool read_headers(BlockNode *node, GError **err)
{
    Vhdx *v = node->state;
    g_autofree uint8_t *h = g_malloc(VHDX_HEADER_SIZE);
    bool found = false;

    if (!mapped_read(node->file->node, 0, h, 8, "file identifier", err)) {
        return false;
    }
    if (memcmp(h, "vhdxfile", 8)) {
        return mapped_damaged(node, err, "it does not begin as a VHDX image does");
    }
    for (unsigned i = 0; i < 2; i++) {
        if (!mapped_read(node->file->node, vhdx_header_at[i], h, VHDX_HEADER_SIZE, "header", err)) {
            return false;
        }
        if (!memcmp(h, "head", 4) && crc_is_right(h, VHDX_HEADER_SIZE) &&
            (!found || load64_le(h + VHDX_H_SEQUENCE) > load64_le(v->header + VHDX_H_SEQUENCE))) {
            memcpy(v->header, h, VHDX_HEADER_SIZE);
            v->slot = i;
            found = true;
        }
    }
    if (!found) {
        return mapped_damaged(node, err, "both of its headers are damaged");
    }
    return load16_le(v->header + VHDX_H_VERSION) == 1 ||
           mapped_damaged(node, err, "its version is %u, known is 1", load16_le(v->header + VHDX_H_VERSION));
}

/* What a log still has to change is brought to the tables first. */
static bool check_log(BlockNode *node, GError **err)
{
    const Vhdx *v = node->state;

    if (vhdx_guid_is_zero(v->header + VHDX_H_LOG_GUID)) {
        return true;
    }
    if (node->read_only) {
        return error_set(err, "VHDX image file '%s' opened read-only, but contains a log that needs to be replayed\n"
                              "To replay the log, run:\nkiln-img check -r all '%s'",
                         node->filename ? node->filename : node->name, node->filename ? node->filename : node->name);
    }
    return vhdx_log_replay(node, err);
}

static bool take_regions(BlockNode *node, const uint8_t *table, GError **err)
{
    Vhdx *v = node->state;
    uint32_t count = load32_le(table + 8);

    if (count > VHDX_ENTRIES_MAX) {
        return mapped_damaged(node, err, "its region table has %u entries", count);
    }
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *e = table + 16 + 32 * i;
        uint64_t offset = load64_le(e + 16), len = load32_le(e + 24);

        if (find_guid(e) == GUID_BAT) {
            v->bat_offset = offset;
            v->bat_len = len;
        } else if (find_guid(e) == GUID_METADATA) {
            v->metadata_offset = offset;
            v->metadata_len = len;
        } else if (load32_le(e + 28) & 1) {
            return mapped_damaged(node, err, "it has a region that must be understood and is not");
        } else if (v->others < G_N_ELEMENTS(v->other)) {
            v->other[v->others][0] = offset;
            v->other[v->others++][1] = len;
        }
    }
    return (v->bat_len && v->metadata_len) ||
           mapped_damaged(node, err, "its region table lacks the BAT or the metadata");
}

static bool read_regions(BlockNode *node, GError **err)
{
    g_autofree uint8_t *table = g_malloc(VHDX_TABLE_SIZE);

    for (unsigned i = 0; i < 2; i++) {
        if (!mapped_read(node->file->node, vhdx_region_at[i], table, VHDX_TABLE_SIZE, "region table",
                         err)) {
            return false;
        }
        if (!memcmp(table, "regi", 4) && crc_is_right(table, VHDX_TABLE_SIZE)) {
            return take_regions(node, table, err);
        }
    }
    return mapped_damaged(node, err, "both of its region tables are damaged");
}

/* ---- metadata -------------------------------------------------------------------------------- */

static bool take_item(BlockNode *node, const uint8_t *guid, const uint8_t *item, uint32_t len,
                      bool required, GError **err)
{
    Vhdx *v = node->state;
    VhdxGuid what = find_guid(guid);

    if (what == GUID_FILE_PARAMETERS && len >= 8) {
        v->mapped.block_size = load32_le(item);
        if (load32_le(item + 4) & 2) {
            return mapped_damaged(node, err, "it is a difference to a parent image; merge it into "
                                             "the parent first");
        }
    } else if (what == GUID_DISK_SIZE && len >= 8) {
        node->size = load64_le(item);
    } else if (what == GUID_LOGICAL_SECTOR && len >= 4) {
        v->sector_size = load32_le(item);
    } else if (required && what != GUID_PAGE83 && what != GUID_PHYSICAL_SECTOR && what != GUID_PARENT_LOCATOR) {
        return mapped_damaged(node, err, "it has metadata that must be understood and is not");
    }
    return true;
}

static bool read_metadata(BlockNode *node, GError **err)
{
    const Vhdx *v = node->state;
    g_autofree uint8_t *table = g_malloc(VHDX_TABLE_SIZE);
    unsigned count;

    if (!mapped_read(node->file->node, v->metadata_offset, table, VHDX_TABLE_SIZE, "metadata",
                     err)) {
        return false;
    }
    count = load16_le(table + 10);
    if (memcmp(table, "metadata", 8) || count > VHDX_ENTRIES_MAX) {
        return mapped_damaged(node, err, "its metadata table is damaged");
    }
    for (unsigned i = 0; i < count; i++) {
        const uint8_t *e = table + 32 + 32 * i;
        uint32_t offset = load32_le(e + 16), len = load32_le(e + 20);
        uint8_t item[8] = {0};

        if (!range_fits(offset, len, v->metadata_len)) {
            return mapped_damaged(node, err, "item %u of its metadata lies outside", i);
        }
        if (!mapped_read(node->file->node, v->metadata_offset + offset, item, MIN(len, sizeof item),
                         "metadata", err) ||
            !take_item(node, e, item, len, load32_le(e + 24) & 4, err)) {
            return false;
        }
    }
    return true;
}

static bool check_metadata(BlockNode *node, GError **err)
{
    Vhdx *v = node->state;

    if (!is_power_of_two(v->mapped.block_size) || v->mapped.block_size < VHDX_BLOCK_MIN ||
        v->mapped.block_size > VHDX_BLOCK_MAX) {
        return mapped_damaged(node, err, "its blocks have %u bytes", v->mapped.block_size);
    }
    if (v->sector_size != 512 && v->sector_size != 4096) {
        return mapped_damaged(node, err, "its sectors have %u bytes", v->sector_size);
    }
    if (!node->size || node->size > VHDX_DISK_MAX || node->size % v->sector_size) {
        return mapped_damaged(node, err, "its size is %" PRIu64 " bytes", node->size);
    }
    v->chunk = (UINT64_C(1) << 23) * v->sector_size / v->mapped.block_size;
    return true;
}

static bool read_bat(BlockNode *node, GError **err)
{
    Vhdx *v = node->state;
    uint64_t blocks = (node->size + v->mapped.block_size - 1) / v->mapped.block_size;
    uint64_t entries = vhdx_entry(v, blocks - 1) + 1;

    if (8 * entries > v->bat_len) {
        return mapped_damaged(node, err, "its table has no room for the %" PRIu64 " blocks of %" PRIu64
                              " bytes", blocks, node->size);
    }
    v->blocks = blocks;
    v->table_len = MIN(align_up(8 * entries, VHDX_LOG_SECTOR), v->bat_len);
    v->mapped.table = mapped_read_table(node->file->node, v->bat_offset, v->table_len, "BAT", err);
    if (!v->mapped.table) {
        return false;
    }
    for (uint64_t i = 0; i < blocks; i++) {
        unsigned state = load64_le(v->mapped.table + 8 * vhdx_entry(v, i)) & 7;

        if (state == VHDX_PARTIALLY_PRESENT || state == 4 || state == 5) {
            mapped_close(node);
            return mapped_damaged(node, err, "block %" PRIu64 " is in state %u, which only images "
                                  "with a parent have", i, state);
        }
    }
    return true;
}

static bool vhdx_open(BlockNode *node, BlockOpts *opts, GError **err)
{
    return mapped_open(node, opts, &vhdx_format, err) && read_headers(node, err) && check_log(node, err) &&
           read_regions(node, err) && read_metadata(node, err) && check_metadata(node, err) && read_bat(node, err) &&
           mapped_opened(node, err);
}

/* A replayed log is what qemu-img counts as repaired. */
static bool vhdx_check(BlockNode *node, unsigned fix, BlockCheck *result, GError **err)
{
    Vhdx *v = node->state;
    MappedPlaces places = vhdx_places(node);
    g_autoptr(GError) why = NULL;

    (void)fix;
    (void)err;
    result->corruptions_fixed = v->replayed;
    v->replayed = false;
    if (!mapped_check_places(node, &places, &why)) {
        fprintf(stderr, "%s\n", why->message);
        result->corruptions++;
    }
    return true;
}

const BlockDriver block_driver_vhdx = {
    .name = "vhdx",
    .is_format = true,
    .state_size = sizeof(Vhdx),
    .create_opts = vhdx_create_opts,
    .open = vhdx_open,
    .close = mapped_close,
    .reopen_prepare = mapped_reopen_prepare,
    .submit = mapped_submit,
    .get_info = mapped_get_info,
    .create = vhdx_create,
    .format_prepare = vhdx_driver_format_prepare,
    .format = vhdx_driver_format,
    .format_free = mapped_format_free,
    .check = vhdx_check,
};
