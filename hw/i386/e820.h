/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The memory map in the form of the BIOS call INT 15h, AX=E820h (ACPI 6, chapter 15), given to
 * firmware as the fw_cfg file "etc/e820" and to PVH kernels.
 */
#ifndef HW_I386_E820_H
#define HW_I386_E820_H

#include "util/util.h"

#define E820_RAM 1
#define E820_RESERVED 2
#define E820_ENTRY_SIZE 20 /* bytes of an entry in memory: address, length, type */
#define E820_MAX 32

typedef struct E820Entry {
    uint64_t addr, len;
    uint32_t type;
} E820Entry;

typedef struct E820 {
    unsigned count;
    E820Entry entries[E820_MAX];
} E820;

/* In order of adding, as QEMU's. False when it is full. */
bool e820_add(E820 *map, uint64_t addr, uint64_t len, uint32_t type);
/* Entries in their memory form, appended to out. */
void e820_encode(const E820 *map, GByteArray *out);

#endif
