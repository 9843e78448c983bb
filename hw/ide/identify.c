/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * IDENTIFY DEVICE and IDENTIFY PACKET DEVICE data (ATA/ATAPI-7, 6.17 and 6.18), with the values
 * that QEMU 7.2's drives show, and the geometry that a disk claims.
 */
#include "hw/block/geometry.h"
#include "hw/ide/ide.h"

static void set_word(IdeDrive *d, unsigned word, uint16_t value)
{
    store16_le(d->identify_data + 2 * word, value);
}

/* Strings are stored with the bytes of each word swapped, padded with spaces. */
static void set_string(IdeDrive *d, unsigned word, unsigned words, const char *text)
{
    size_t len = strlen(text);

    for (unsigned i = 0; i < words * 2; i++) {
        d->identify_data[2 * word + (i ^ 1)] = i < len ? (uint8_t)text[i] : ' ';
    }
}

static void set_table(IdeDrive *d, const uint16_t (*table)[2], unsigned n)
{
    memset(d->identify_data, 0, sizeof d->identify_data);
    for (unsigned i = 0; i < n; i++) {
        set_word(d, table[i][0], table[i][1]);
    }
    set_string(d, 10, 10, d->serial);
    set_string(d, 23, 4, d->version);
    set_string(d, 27, 20, d->model);
}

static void set_wwn(IdeDrive *d, unsigned features_word)
{
    if (d->wwn) {
        set_word(d, features_word, load16_le(d->identify_data + 2 * features_word) | 0x100);
        set_word(d, 87, load16_le(d->identify_data + 2 * 87) | 0x100);
        for (unsigned i = 0; i < 4; i++) {
            set_word(d, 108 + i, (uint16_t)(d->wwn >> (48 - 16 * i)));
        }
    }
}

void ide_identify_hd(IdeDrive *d)
{
    static const uint16_t table[][2] = {
        {0, 0x0040}, /* fixed disk */
        {5, 512},    /* bytes a sector (obsolete) */
        {20, 3},
        {21, 512}, /* buffer: dual-ported with read-ahead, in sectors (obsolete) */
        {22, 4},   /* vendor bytes of READ LONG (obsolete) */
        {47, 0x8000 | IDE_MAX_MULT}, /* sectors in READ MULTIPLE */
        {48, 1},                     /* 32-bit PIO */
        {49, 0x0b00},                /* IORDY, LBA, DMA */
        {51, 0x0200},
        {52, 0x0200}, /* PIO and DMA timing */
        {53, 7},      /* words 54-58, 64-70, 88 are valid */
        {62, 7},
        {63, 7}, /* single and multiword DMA modes */
        {64, 3}, /* PIO modes 3 and 4 */
        {65, 120},
        {66, 120},
        {67, 120},
        {68, 120},    /* cycle times, ns */
        {80, 0xf0},   /* ATA-4 to ATA-7 */
        {81, 0x16},   /* ATA/ATAPI-6 T13 1410D */
        {82, 0x4021}, /* NOP, write cache, SMART */
        {83, 0x7400}, /* FLUSH EXT, FLUSH, 48-bit */
        {84, 0x4000},
        {85, 0x4021},
        {86, 0x3400},
        {87, 0x4000},
        {88, 0x203f}, /* ultra DMA 5 of 0 to 5 */
        {93, 0x6001}, /* 80-wire cable, reset result */
    };
    uint64_t lba28 = MIN(d->sectors, (1u << 28) - 1);
    uint32_t chs = d->cylinders * d->heads * d->secs;

    set_table(d, table, G_N_ELEMENTS(table));
    set_word(d, 1, (uint16_t)d->cylinders);
    set_word(d, 3, (uint16_t)d->heads);
    set_word(d, 4, (uint16_t)(512 * d->secs));
    set_word(d, 6, (uint16_t)d->secs);
    set_word(d, 54, (uint16_t)d->cylinders);
    set_word(d, 55, (uint16_t)d->heads);
    set_word(d, 56, (uint16_t)d->secs);
    store32_le(d->identify_data + 2 * 57, chs);
    set_word(d, 59, (uint16_t)(d->mult_sectors ? 0x100 | d->mult_sectors : 0));
    store32_le(d->identify_data + 2 * 60, (uint32_t)lba28);
    store64_le(d->identify_data + 2 * 100, d->sectors);
    set_word(d, 85, blk_write_cache(d->blk) ? 0x4021 : 0x4001);
    set_word(d, 106, 0x6000 | d->physical_exponent);
    set_wwn(d, 84);
    if (d->trim) {
        set_word(d, 69, 1 << 14); /* reads after TRIM are deterministic */
        set_word(d, 169, 1);      /* TRIM */
    }
    set_word(d, 217, d->rotation_rate);
    d->identify_set = 1;
}

void ide_identify_cd(IdeDrive *d)
{
    static const uint16_t table[][2] = {
        {0, 0x85c0}, /* packet, CD-ROM, removable, 50 us DRQ, 12-byte packets */
        {20, 3},      {21, 512},   {22, 4},    {48, 1}, {49, 0x0300}, /* DMA and LBA */
        {53, 7},      {62, 7},     {63, 7},    {64, 3}, {65, 0xb4},
        {66, 0xb4},   {67, 0x12c}, {68, 0xb4}, /* cycle times, ns */
        {71, 30},     {72, 30},                /* release times, us */
        {80, 0x1e},                            /* ATA-1 to ATA/ATAPI-4 */
        {88, 0x203f},                          /* ultra DMA 5 of 0 to 5 */
    };

    set_table(d, table, G_N_ELEMENTS(table));
    set_wwn(d, 84);
    d->identify_set = 1;
}

bool ide_cmd_identify(IdeDrive *d, uint8_t cmd)
{
    (void)cmd;
    if (d->kind == IDE_CD) {
        ide_set_signature(d); /* ATA/ATAPI-7, 6.16: and ABRT */
        ide_abort(d);
        return true;
    }
    if (!d->identify_set) {
        ide_identify_hd(d);
    }
    memcpy(d->io_buffer, d->identify_data, sizeof d->identify_data);
    d->status = IDE_DRDY | IDE_DSC;
    ide_start_transfer(d, 0, 512, IDE_NEXT_STOP, false);
    ide_raise_irq(d->bus);
    return false;
}

bool ide_cmd_identify_packet(IdeDrive *d, uint8_t cmd)
{
    (void)cmd;
    if (!d->identify_set) {
        ide_identify_cd(d);
    }
    memcpy(d->io_buffer, d->identify_data, sizeof d->identify_data);
    d->status = IDE_DRDY | IDE_DSC;
    ide_start_transfer(d, 0, 512, IDE_NEXT_STOP, false);
    ide_raise_irq(d->bus);
    return false;
}

/* ---- geometry ------------------------------------------------------------------------------- */

void ide_guess_geometry(IdeDrive *d, uint32_t *cylinders, uint32_t *heads, uint32_t *sectors,
                        int *translation)
{
    DiskGeometry g;
    bool from_mbr = disk_geometry_from_mbr(d->blk, &g);
    int guess = IDE_TRANS_NONE;

    if (from_mbr && g.heads > 16) {
        /* A BIOS translated: the partition table has its heads, not the disk's. */
        guess = (uint64_t)g.cylinders * g.heads <= 131072 ? IDE_TRANS_LARGE : IDE_TRANS_LBA;
    }
    if (!from_mbr || g.heads > 16) {
        g = disk_geometry_by_size(d->sectors * IDE_SECTOR);
        if (!from_mbr) {
            guess = g.cylinders <= 1024 ? IDE_TRANS_NONE : IDE_TRANS_LBA;
        }
    }
    *cylinders = g.cylinders;
    *heads = g.heads;
    *sectors = g.sectors;
    if (*translation == IDE_TRANS_AUTO) {
        *translation = guess;
    }
}
