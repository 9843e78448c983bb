/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Firmware images: where they are searched and how the BIOS is mapped.
 *
 * The image lies directly below 4 GiB (region "pc.bios"); its last 128 KiB (or all of a smaller one)
 * also appear below 1 MiB (alias "isa-bios"), where the PAM registers of the chipset may hide it.
 */
#ifndef HW_I386_FIRMWARE_H
#define HW_I386_FIRMWARE_H

#include "core/data_dirs.h"
#include "core/vm.h"

#define FIRMWARE_DEFAULT "bios-256k.bin"
#define FIRMWARE_ALIGN 0x10000u       /* an image is a multiple of this ... */
#define FIRMWARE_MAX (16u << 20)      /* ... and not larger */

/* The regions of the loaded BIOS; the board keeps it. */
typedef struct PcFirmware {
    Region bios;                      /* "pc.bios", ROM */
    Region isa_bios;                  /* "isa-bios", alias of its end */
    char *path;
} PcFirmware;

/*
 * Loads -bios NAME (NULL: the default) and maps it into memory below
 * 4 GiB and below 1 MiB. memory: where the chipset decodes ROM, for pc the PCI address space.
 */
bool firmware_load(PcFirmware *fw, Vm *vm, const char *name, Region *memory, GError **err);
void firmware_unload(PcFirmware *fw);

#endif
