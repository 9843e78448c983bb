/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -kernel: a Linux bzImage, an ELF kernel with a PVH entry, or a Multiboot image is described to one
 * of our option ROMs (pc-bios/) through fw_cfg. The parsers are pure functions over the first bytes of
 * a file, so they can be tested and fuzzed without a VM.
 */
#ifndef HW_I386_KERNEL_LOADER_H
#define HW_I386_KERNEL_LOADER_H

#include "hw/i386/pc_info.h"

/* Opens, checks and describes info->kernel (not NULL), initrd and append to info->fw_cfg. */
bool kernel_load(PcInfo *info, GError **err);

#endif
