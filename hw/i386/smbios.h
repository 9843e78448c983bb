/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SMBIOS tables (DMTF DSP0134, 2.8 and 3.0): what a PC says of its manufacturer, serial numbers,
 * processors and memory. Users override it with -smbios.
 */
#ifndef HW_I386_SMBIOS_H
#define HW_I386_SMBIOS_H

#include "hw/i386/pc_info.h"

typedef struct SmbiosOptions SmbiosOptions;

SmbiosOptions *smbios_options_new(void);
void smbios_options_free(SmbiosOptions *options); /* NULL is fine */
/* One -smbios option's text: file=PATH | type=N,key=value,... Later values win; those of types 8, 11 and
 * 41 add up. */
bool smbios_options_add(SmbiosOptions *options, const char *text, GError **err);
/* The UUID of -smbios type=1,uuid=, which is the machine's everywhere. False, and uuid as it was: none. */
bool smbios_options_uuid(const SmbiosOptions *options, uint8_t uuid[16]);
/* What can only be checked when all devices are there (type 41's pcidev). */
bool smbios_options_check(const SmbiosOptions *options, Vm *vm, GError **err);

/*
 * Appends the structures to tables and the entry point (2.8: 31 bytes "_SM_"; 3.0: 24 bytes "_SM3_")
 * to anchor; addresses and checksums in it are filled in by firmware. options may be NULL.
 */
void smbios_build(const SmbiosOptions *options, const PcInfo *info, GByteArray *tables, GByteArray *anchor);

#endif
