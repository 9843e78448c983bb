/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vhdx: new images, laid out as QEMU's tool does: headers, log, BAT, metadata, room, blocks. */
#include "block/formats/vhdx.h"

#define LOG_OFFSET MIB
#define ROOM (4 * MIB) /* between the metadata and the first block */

enum { METADATA_ITEMS = 64 * 1024, ITEM_BYTES = 40 };

const BlockCreateOpt vhdx_create_opts[] = {
    {"size", "size", "Virtual disk size; max of 64TB."},
    {"log_size", "size", "Log size; min 1MB.", "1048576"},
    {"block_size", "size", "Block Size; min 1MB, max 256MB. 0 means auto-calculate based on image size.", "0"},
    {"subformat", "str", "VHDX format type, can be either 'dynamic' or 'fixed'. Default is 'dynamic'."},
    {"block_state_zero", "bool (on/off)",
     "Force use of payload blocks of type 'ZERO'. Non-standard, but default.  Do not set to 'off' when using 'qemu-img "
     "convert' with subformat=dynamic."},
    BLOCK_FORMAT_FILE_OPTS,
    {0},
};

typedef struct Layout {
    uint64_t size, log_len, block_size, blocks, chunk;
    uint64_t bat_offset, bat_len, metadata_offset, data_offset;
    bool zero_blocks;
    int fixed;
} Layout;

/* What would be rounded. */
static bool check_exact(const Layout *l, GError **err)
{
    if (l->log_len % MIB) {
        return error_set(err, "Log size must be a multiple of 1 MB");
    }
    if (l->block_size % MIB) {
        return error_set(err, "Block size must be a multiple of 1 MB");
    }
    return l->block_size <= VHDX_BLOCK_MAX || error_set(err, "Block size must not exceed %" PRIu64, VHDX_BLOCK_MAX);
}

static bool take_layout(BlockOpts *opts, bool exact, Layout *l, GError **err)
{
    static const char *const kinds[] = {"dynamic", "fixed", NULL};

    *l = (Layout){.log_len = MIB, .zero_blocks = true};
    if (!block_opts_take_size(opts, "size", &l->size, NULL, err) ||
        !block_opts_take_size(opts, "log_size", &l->log_len, NULL, err) ||
        !block_opts_take_size(opts, "block_size", &l->block_size, NULL, err) ||
        !block_opts_take_enum(opts, "subformat", kinds, &l->fixed, err) ||
        !block_opts_take_bool(opts, "block_state_zero", &l->zero_blocks, err)) {
        return false;
    }
    if (l->size > VHDX_DISK_MAX) {
        return error_set(err, "Image size too large; max of 64TB");
    }
    if (!l->size) {
        return error_set(err, "A vhdx image of no bytes cannot be: give it a size");
    }
    if (l->log_len >= 4 * GIB) {
        return error_set(err, "Log size must be smaller than 4 GB");
    }
    if (exact && !check_exact(l, err)) {
        return false;
    }
    if (!l->block_size) {
        l->block_size = l->size > 32 * 1024 * GIB ? 64 * MIB : l->size > 100 * GIB ? 32 * MIB : l->size > GIB ? 16 * MIB : 8 * MIB;
    }
    l->block_size = align_up(MIN(l->block_size, VHDX_BLOCK_MAX), MIB);
    return is_power_of_two(l->block_size) || error_set(err, "Block size must be a power of two");
}

static void place_regions(Layout *l)
{
    l->size = align_up(l->size, BLOCK_SECTOR);
    l->log_len = MIN(align_up(MAX(l->log_len, MIB), MIB), 4 * GIB - MIB);
    l->blocks = (l->size + l->block_size - 1) / l->block_size;
    l->chunk = (UINT64_C(1) << 23) * BLOCK_SECTOR / l->block_size;
    l->bat_offset = LOG_OFFSET + l->log_len;
    l->bat_len = align_up(8 * (l->blocks + (l->blocks - 1) / l->chunk), MIB);
    l->metadata_offset = l->bat_offset + l->bat_len;
    l->data_offset = l->metadata_offset + MIB + ROOM;
}

static bool write_headers(BlockNode *file, const Layout *l, GError **err)
{
    static const char creator[] = "Kiln";
    g_autofree uint8_t *h = g_malloc0(VHDX_HEADER_SIZE);
    uint64_t sequence = g_random_int();
    uint8_t identifier[64] = "vhdxfile";

    for (unsigned i = 0; i < sizeof creator; i++) {
        identifier[8 + 2 * i] = (uint8_t)creator[i];
    }
    if (!mapped_create_write(file, 0, identifier, sizeof identifier, err)) {
        return false;
    }
    memcpy(h, "head", 4);
    mapped_make_guid(h + VHDX_H_FILE_GUID);
    mapped_make_guid(h + VHDX_H_DATA_GUID);
    store16_le(h + VHDX_H_VERSION, 1);
    store32_le(h + VHDX_H_LOG_LENGTH, (uint32_t)l->log_len);
    store64_le(h + VHDX_H_LOG_OFFSET, LOG_OFFSET);
    for (unsigned i = 0; i < 2; i++) {
        store64_le(h + VHDX_H_SEQUENCE, sequence + i);
        store32_le(h + VHDX_H_CHECKSUM, vhdx_crc(h, VHDX_HEADER_SIZE));
        if (!mapped_create_write(file, vhdx_header_at[i], h, VHDX_HEADER_SIZE, err)) {
            return false;
        }
    }
    return true;
}

static void put_region(uint8_t *e, VhdxGuid guid, uint64_t offset, uint64_t len)
{
    memcpy(e, vhdx_guids[guid], 16);
    store64_le(e + 16, offset);
    store32_le(e + 24, (uint32_t)len);
}

static bool write_regions(BlockNode *file, const Layout *l, GError **err)
{
    g_autofree uint8_t *table = g_malloc0(VHDX_TABLE_SIZE);

    memcpy(table, "regi", 4);
    store32_le(table + 8, 2);
    put_region(table + 16, GUID_BAT, l->bat_offset, l->bat_len);
    put_region(table + 48, GUID_METADATA, l->metadata_offset, MIB);
    store32_le(table + 4, vhdx_crc(table, VHDX_TABLE_SIZE));
    return mapped_create_write(file, vhdx_region_at[0], table, VHDX_TABLE_SIZE, err) &&
           mapped_create_write(file, vhdx_region_at[1], table, VHDX_TABLE_SIZE, err);
}

static bool write_metadata(BlockNode *file, const Layout *l, GError **err)
{
    static const struct {
        VhdxGuid guid;
        uint32_t offset, len, flags; /* flags: 2 of the disk, not the file; 4 must be understood */
    } items[] = {
        {GUID_FILE_PARAMETERS, 0, 8, 4}, {GUID_DISK_SIZE, 8, 8, 6},       {GUID_PAGE83, 16, 16, 6},
        {GUID_LOGICAL_SECTOR, 32, 4, 6}, {GUID_PHYSICAL_SECTOR, 36, 4, 6},
    };
    uint8_t table[32 + 32 * G_N_ELEMENTS(items)] = "metadata", values[ITEM_BYTES] = {0};

    store16_le(table + 10, G_N_ELEMENTS(items));
    for (unsigned i = 0; i < G_N_ELEMENTS(items); i++) {
        uint8_t *e = table + 32 + 32 * i;

        memcpy(e, vhdx_guids[items[i].guid], 16);
        store32_le(e + 16, METADATA_ITEMS + items[i].offset);
        store32_le(e + 20, items[i].len);
        store32_le(e + 24, items[i].flags);
    }
    store32_le(values, (uint32_t)l->block_size);
    store32_le(values + 4, l->fixed ? 1 : 0); /* blocks stay allocated */
    store64_le(values + 8, l->size);
    mapped_make_guid(values + 16);
    store32_le(values + 32, BLOCK_SECTOR);
    store32_le(values + 36, BLOCK_SECTOR);
    return mapped_create_write(file, l->metadata_offset, table, sizeof table, err) &&
           mapped_create_write(file, l->metadata_offset + METADATA_ITEMS, values, sizeof values, err);
}

/* Zero blocks have no place, not even in a fixed image: QEMU's choice, which reads without its blocks being written. */
static bool write_bat(BlockNode *file, const Layout *l, GError **err)
{
    g_autofree uint8_t *bat = NULL;

    if (!l->zero_blocks && !l->fixed) {
        return true; /* NOT_PRESENT is 0 */
    }
    bat = g_try_malloc0(l->bat_len);
    if (!bat) {
        return error_set(err, "no memory for a table of %" PRIu64 " bytes", l->bat_len);
    }
    for (uint64_t i = 0; i < l->blocks; i++) {
        store64_le(bat + 8 * (i + i / l->chunk),
                   l->zero_blocks ? VHDX_ZERO : (l->data_offset + i * l->block_size) | VHDX_FULLY_PRESENT);
    }
    return mapped_create_write(file, l->bat_offset, bat, 8 * (l->blocks + (l->blocks - 1) / l->chunk), err);
}

bool vhdx_driver_format_prepare(BlockFormat *f, BlockOpts *opts, GError **err)
{
    Layout *l = f->plan = g_new0(Layout, 1);

    if (!take_layout(opts, f->exact, l, err)) {
        return false;
    }
    place_regions(l);
    return true;
}

bool vhdx_driver_format(BlockFormat *f, GError **err)
{
    const Layout *l = f->plan;

    return block_format_clear(f->file, l->data_offset + (l->fixed ? l->size : 0), err) && write_regions(f->file, l, err) &&
           write_metadata(f->file, l, err) && write_bat(f->file, l, err) && write_headers(f->file, l, err);
}

bool vhdx_create(Vm *vm, const char *filename, BlockOpts *opts, GError **err)
{
    return block_format_new_file(vm, &block_driver_vhdx, filename, opts, err);
}
