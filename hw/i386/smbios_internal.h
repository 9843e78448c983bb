/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What -smbios has set, shared by the parser and the builder of the tables. */
#ifndef HW_I386_SMBIOS_INTERNAL_H
#define HW_I386_SMBIOS_INTERNAL_H

#include "hw/i386/smbios.h"

#define SMBIOS_TYPES 128

struct SmbiosOptions {
    GHashTable *values;     /* "1.serial" -> text, validated */
    bool given[SMBIOS_TYPES]; /* some field of this type was given */
    bool from_file[SMBIOS_TYPES]; /* a structure of this type came from file= */
    GPtrArray *ports;       /* type 8: GHashTable * of key -> text, one per option */
    GPtrArray *oem_strings; /* type 11: char * */
    GPtrArray *onboard;     /* type 41: GHashTable * */
    GByteArray *blobs;      /* structures of files */
    unsigned n_blobs, max_blob;
};

/* Kinds of device of type 41, by their number. */
extern const char *const smbios_onboard_kinds[];

#endif
