/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CMOS bytes that firmware reads: memory sizes, boot order, floppy and disk types. Layout: the AT's,
 * with the additions that SeaBIOS knows (its src/hw/rtc.h names them).
 */
#include "block/block.h"
#include "hw/block/fdc.h"
#include "hw/i386/pc.h"
#include "hw/ide/ide.h"
#include "hw/timer/mc146818rtc.h"

enum {
    CMOS_FLOPPY_TYPES = 0x10,
    CMOS_DISK_TYPES = 0x12,
    CMOS_EQUIPMENT = 0x14,
    CMOS_BASE_MEMORY = 0x15,     /* KiB, 2 bytes */
    CMOS_EXTENDED_MEMORY = 0x17, /* KiB above 1 MiB, 2 bytes; 0x30 again */
    CMOS_DISK_TYPE_0 = 0x19,
    CMOS_DISK_TYPE_1 = 0x1a,
    CMOS_DISK_0 = 0x1b,          /* cylinders, heads, precompensation, control, landing zone, sectors */
    CMOS_DISK_1 = 0x24,
    CMOS_EXTENDED_MEMORY_2 = 0x30,
    CMOS_MEMORY_ABOVE_16M = 0x34, /* 64 KiB units, 2 bytes */
    CMOS_BOOT_FLAGS = 0x38,      /* bit 0: no floppy signature check; bits 7:4: third boot device */
    CMOS_DISK_TRANSLATIONS = 0x39, /* 2 bits a disk: 0 none, 1 LBA, 2 large, 3 revised large */
    CMOS_BOOT_DEVICES = 0x3d,    /* first, second */
    CMOS_MEMORY_ABOVE_4G = 0x5b, /* 64 KiB units, 3 bytes */
    CMOS_CPU_COUNT = 0x5f,       /* minus 1 */
};

static void put16(PcMachine *pc, unsigned index, uint64_t value)
{
    rtc_set_cmos(pc->rtc, index, (uint8_t)value);
    rtc_set_cmos(pc->rtc, index + 1, (uint8_t)(value >> 8));
}

static void fill_memory(PcMachine *pc)
{
    uint64_t below = pc->info.below_4g, above = pc->info.above_4g;
    uint64_t extended = below > MIB ? MIN(below / KIB - 1024, 65535) : 0;

    put16(pc, CMOS_BASE_MEMORY, MIN(below / KIB, 640));
    put16(pc, CMOS_EXTENDED_MEMORY, extended);
    put16(pc, CMOS_EXTENDED_MEMORY_2, extended);
    put16(pc, CMOS_MEMORY_ABOVE_16M, below > 16 * MIB ? MIN((below - 16 * MIB) / (64 * KIB), 65535) : 0);
    rtc_set_cmos(pc->rtc, CMOS_MEMORY_ABOVE_4G, (uint8_t)(above >> 16));
    rtc_set_cmos(pc->rtc, CMOS_MEMORY_ABOVE_4G + 1, (uint8_t)(above >> 24));
    rtc_set_cmos(pc->rtc, CMOS_MEMORY_ABOVE_4G + 2, (uint8_t)(above >> 32));
}

/* a and b: 1, c: 2, d: 3, n: 4; others are not known to a BIOS of that age. */
static uint8_t boot_code(char drive)
{
    static const char codes[] = "acdn";
    const char *at = drive ? strchr(codes, drive == 'b' ? 'a' : drive) : NULL;

    return at ? (uint8_t)(at - codes + 1) : 0;
}

static void fill_boot_order(PcMachine *pc)
{
    const char *order = pc->info.boot_order;
    uint8_t codes[3] = {0};

    for (unsigned i = 0; i < 3 && order[i]; i++) {
        codes[i] = boot_code(order[i]);
    }
    rtc_set_cmos(pc->rtc, CMOS_BOOT_DEVICES, (uint8_t)(codes[1] << 4 | codes[0]));
    rtc_set_cmos(pc->rtc, CMOS_BOOT_FLAGS, (uint8_t)(codes[2] << 4 | 0)); /* signature is checked */
}

/* Types of A: and B:, and how many there are. */
static void fill_floppies(PcMachine *pc)
{
    uint8_t a = fdc_cmos_type(fdc_drive_type(pc->fdc, 0)), b = fdc_cmos_type(fdc_drive_type(pc->fdc, 1));
    unsigned count = (a != 0) + (b != 0);
    uint8_t equipment = 0x06; /* FPU, PS/2 mouse */

    if (count) {
        equipment |= (uint8_t)(0x01 | (count - 1) << 6);
    }
    rtc_set_cmos(pc->rtc, CMOS_FLOPPY_TYPES, (uint8_t)(a << 4 | b));
    rtc_set_cmos(pc->rtc, CMOS_EQUIPMENT, equipment);
}

/* Type 47 ("look below") of the first two disks with their geometry, and how the BIOS translates each of the four. */
static void fill_disks(PcMachine *pc)
{
    uint8_t types = 0, translations = 0;

    for (unsigned n = 0; n < 4; n++) {
        uint32_t cylinders, heads, sectors;
        IdeTranslation translation;

        if (!ide_get_geometry(ide_pci_bus(pc->ide, n / 2), n % 2, &cylinders, &heads, &sectors, &translation)) {
            continue;
        }
        translations |= (uint8_t)((translation - 1) << 2 * n);
        if (n < 2) {
            unsigned at = n ? CMOS_DISK_1 : CMOS_DISK_0;

            types |= n ? 0x0f : 0xf0;
            rtc_set_cmos(pc->rtc, n ? CMOS_DISK_TYPE_1 : CMOS_DISK_TYPE_0, 47);
            put16(pc, at, cylinders);
            rtc_set_cmos(pc->rtc, at + 2, (uint8_t)heads);
            put16(pc, at + 3, 0xffff);   /* no write precompensation */
            rtc_set_cmos(pc->rtc, at + 5, 0xc0 | (heads > 8 ? 0x08 : 0)); /* no retries */
            put16(pc, at + 6, cylinders); /* landing zone */
            rtc_set_cmos(pc->rtc, at + 8, (uint8_t)sectors);
        }
    }
    rtc_set_cmos(pc->rtc, CMOS_DISK_TYPES, types);
    rtc_set_cmos(pc->rtc, CMOS_DISK_TRANSLATIONS, translations);
}

void pc_fill_cmos_cpus(PcMachine *pc)
{
    rtc_set_cmos(pc->rtc, CMOS_CPU_COUNT, (uint8_t)(pc->info.n_cpus - 1));
}

void pc_fill_cmos(PcMachine *pc)
{
    fill_memory(pc);
    fill_boot_order(pc);
    pc_fill_cmos_cpus(pc);
    fill_floppies(pc);
    fill_disks(pc);
}
