/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a Multiboot kernel is told (specification 0.6.96, 3.3): information, modules, strings. */
#ifndef HW_I386_MULTIBOOT_H
#define HW_I386_MULTIBOOT_H

#include "hw/nvram/fw_cfg.h"

#define MULTIBOOT_MAX_MODULES 24
#define MULTIBOOT_INFO_MMAP_LENGTH 44 /* offset of mmap_length in the information */

typedef struct MultibootModule {
    char *path;              /* file */
    char *string;            /* path and arguments, as the kernel sees them */
    uint32_t start, end;     /* addresses */
} MultibootModule;

typedef struct MultibootModules {
    unsigned count;
    MultibootModule modules[MULTIBOOT_MAX_MODULES];
} MultibootModules;

/* -initrd "file1 arguments,file2 arguments"; ",," stands for a comma. */
bool multiboot_modules_parse(const char *text, MultibootModules *modules, GError **err);
void multiboot_modules_clear(MultibootModules *modules);

/* Information, module list and strings, to be placed at addr; the memory map will be at map_addr. */
void multiboot_info_build(GByteArray *out, uint32_t addr, uint32_t map_addr, uint64_t below_4g, const char *kernel,
                          const char *append, const MultibootModules *modules);

#endif
