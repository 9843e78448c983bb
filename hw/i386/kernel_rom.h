/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The option ROM that loads a kernel (pc-bios/kernel_rom.S): its parameters, and the requests that it
 * runs in order, each a DMA transfer of the firmware configuration device.
 */
#ifndef HW_I386_KERNEL_ROM_H
#define HW_I386_KERNEL_ROM_H

#include "hw/nvram/fw_cfg.h"

#define KERNEL_ROM_NOWHERE 0xffff
#define KERNEL_ROM_MAP_ENTRIES 128 /* of 24 bytes: the room that map_segment must have */

typedef struct KernelRom {
    const char *name;              /* "linuxboot_dma.bin": file genroms/NAME, and in bootorder */
    uint16_t real_segment, real_sp; /* Linux: enter setup code in real mode; 0: protected mode */
    uint32_t entry, entry_eax, entry_ebx;
    uint16_t map_segment;          /* memory map: real mode segment, bytes before each entry's data */
    uint16_t map_prefix;
    uint16_t map_count_at;         /* offsets in map_segment of what the ROM fills in, or _NOWHERE */
    uint16_t map_bytes_at;
    uint16_t rsdp_at;
    GByteArray *requests;
} KernelRom;

void kernel_rom_init(KernelRom *rom, const char *name);
void kernel_rom_clear(KernelRom *rom);
/* Moves [offset, offset + len) of the item with this key to addr; nothing for len 0. */
void kernel_rom_load(KernelRom *rom, uint16_t key, uint32_t offset, uint32_t len, uint64_t addr);
/* Zeros. */
void kernel_rom_zero(KernelRom *rom, uint32_t len, uint64_t addr);
/* The finished image: header, code, requests, checksum. NULL with *err when it would be too large. */
GByteArray *kernel_rom_build(const KernelRom *rom, GError **err);

#endif
