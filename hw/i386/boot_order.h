/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The "bootorder" file: OpenFirmware paths of devices with a bootindex, in its order. */
#ifndef HW_I386_BOOT_ORDER_H
#define HW_I386_BOOT_ORDER_H

#include "core/vm.h"

/* "/pci@i0cf8/ide@1,1/drive@0/disk@0": the parts that buses give, from the root. The caller frees. */
char *device_fw_path(Device *dev);

/*
 * Paths joined with newlines, with option ROMs (names of genroms, may be NULL) first and "HALT" last when
 * strict. False with *err when two devices have the same bootindex.
 */
bool boot_order_build(Vm *vm, const GPtrArray *option_roms, bool strict, GString *out, GError **err);

/* What the user wants firmware to call the disks' cylinders, heads and sectors (the fw_cfg file "bios-geometry"): a
 * line "path cylinders heads sectors" of each disk with lcyls, lheads or lsecs; nothing when there is none. */
void bios_geometry_build(Vm *vm, GString *out);

#endif
