/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ACPI tables (ACPI 6.4, chapter 5) in one blob, and the script that tells firmware how to install them:
 * allocate memory for the files, patch pointers between them, compute checksums (QEMU's "table
 * loader" interface; a script is a sequence of commands of 128 bytes).
 */
#ifndef HW_I386_ACPI_TABLE_H
#define HW_I386_ACPI_TABLE_H

#include "util/util.h"

#define ACPI_FILE_TABLES "etc/acpi/tables"
#define ACPI_FILE_RSDP "etc/acpi/rsdp"
#define ACPI_FILE_LOADER "etc/table-loader"

typedef enum AcpiZone { ACPI_ZONE_HIGH = 1, ACPI_ZONE_FSEG = 2 } AcpiZone;

typedef struct AcpiTables {
    GByteArray *blob;       /* the tables, one after another */
    GByteArray *rsdp;
    GByteArray *loader;     /* the script */
    GArray *offsets;        /* uint32_t: tables that the RSDT points at */
    char oem_id[7], oem_table_id[9];
    unsigned open;          /* offset of the table that is being written */
} AcpiTables;

void acpi_tables_init(AcpiTables *t);
void acpi_tables_clear(AcpiTables *t);

/* Appends size bytes of value (little-endian) to the blob. */
void acpi_put(AcpiTables *t, uint64_t value, unsigned size);
void acpi_put_bytes(AcpiTables *t, const void *data, unsigned len);

/* A table with the common header; listed: the RSDT points at it. */
void acpi_begin(AcpiTables *t, const char signature[4], uint8_t revision, bool listed);
/* Fills in the length and asks firmware for the checksum. */
void acpi_end(AcpiTables *t);

void acpi_loader_allocate(AcpiTables *t, const char *file, uint32_t align, AcpiZone zone);
/* The field of size bytes at offset of file holds an offset in target: becomes an address. */
void acpi_loader_pointer(AcpiTables *t, const char *file, uint32_t offset, uint8_t size, const char *target);
/* The byte at offset becomes such that [start, start + length) sums up to 0. */
void acpi_loader_checksum(AcpiTables *t, const char *file, uint32_t offset, uint32_t start, uint32_t length);
/* Firmware writes the address of target + src_offset into file (written back by DMA). */
void acpi_loader_write_pointer(AcpiTables *t, const char *file, uint32_t offset, uint8_t size, const char *target,
                               uint32_t src_offset);

#endif
