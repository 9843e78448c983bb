/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Table headers and the loader script; see the header. */
#include "hw/i386/acpi_table.h"

#define HEADER_LENGTH_AT 4
#define HEADER_CHECKSUM_AT 9
#define LOADER_COMMAND_SIZE 128
#define LOADER_FILE_SIZE 56

enum { LOADER_ALLOCATE = 1, LOADER_POINTER = 2, LOADER_CHECKSUM = 3, LOADER_WRITE_POINTER = 4 };

void acpi_tables_init(AcpiTables *t)
{
    *t = (AcpiTables){.oem_id = "BOCHS ", .oem_table_id = "BXPC    "};
    t->blob = g_byte_array_new();
    t->rsdp = g_byte_array_new();
    t->loader = g_byte_array_new();
    t->offsets = g_array_new(FALSE, FALSE, sizeof(uint32_t));
}

void acpi_tables_clear(AcpiTables *t)
{
    g_clear_pointer(&t->blob, g_byte_array_unref);
    g_clear_pointer(&t->rsdp, g_byte_array_unref);
    g_clear_pointer(&t->loader, g_byte_array_unref);
    g_clear_pointer(&t->offsets, g_array_unref);
}

void acpi_put_bytes(AcpiTables *t, const void *data, unsigned len)
{
    g_byte_array_append(t->blob, data, len);
}

void acpi_put(AcpiTables *t, uint64_t value, unsigned size)
{
    uint8_t raw[8];

    store64_le(raw, value);
    acpi_put_bytes(t, raw, size);
}

void acpi_begin(AcpiTables *t, const char signature[4], uint8_t revision, bool listed)
{
    uint32_t at = t->blob->len;

    if (listed) {
        g_array_append_val(t->offsets, at);
    }
    t->open = at;
    acpi_put_bytes(t, signature, 4);
    acpi_put(t, 0, 4);                 /* length */
    acpi_put(t, revision, 1);
    acpi_put(t, 0, 1);                 /* checksum */
    acpi_put_bytes(t, t->oem_id, 6);
    acpi_put_bytes(t, t->oem_table_id, 8);
    acpi_put(t, 1, 4);                 /* OEM revision */
    acpi_put_bytes(t, "BXPC", 4);      /* creator */
    acpi_put(t, 1, 4);
}

void acpi_end(AcpiTables *t)
{
    uint32_t length = t->blob->len - t->open;

    store32_le(t->blob->data + t->open + HEADER_LENGTH_AT, length);
    acpi_loader_checksum(t, ACPI_FILE_TABLES, t->open + HEADER_CHECKSUM_AT, t->open, length);
}

/* A new command of zeros; the caller fills it in at once. */
static uint8_t *loader_command(AcpiTables *t, uint32_t command)
{
    unsigned at = t->loader->len;

    g_byte_array_set_size(t->loader, at + LOADER_COMMAND_SIZE);
    memset(t->loader->data + at, 0, LOADER_COMMAND_SIZE);
    store32_le(t->loader->data + at, command);
    return t->loader->data + at + 4;
}

static uint8_t *put_file(uint8_t *p, const char *file)
{
    g_strlcpy((char *)p, file, LOADER_FILE_SIZE);
    return p + LOADER_FILE_SIZE;
}

void acpi_loader_allocate(AcpiTables *t, const char *file, uint32_t align, AcpiZone zone)
{
    uint8_t *p = put_file(loader_command(t, LOADER_ALLOCATE), file);

    store32_le(p, align);
    p[4] = (uint8_t)zone;
}

void acpi_loader_pointer(AcpiTables *t, const char *file, uint32_t offset, uint8_t size, const char *target)
{
    uint8_t *p = put_file(put_file(loader_command(t, LOADER_POINTER), file), target);

    store32_le(p, offset);
    p[4] = size;
}

void acpi_loader_checksum(AcpiTables *t, const char *file, uint32_t offset, uint32_t start, uint32_t length)
{
    uint8_t *p = put_file(loader_command(t, LOADER_CHECKSUM), file);

    store32_le(p, offset);
    store32_le(p + 4, start);
    store32_le(p + 8, length);
}

void acpi_loader_write_pointer(AcpiTables *t, const char *file, uint32_t offset, uint8_t size, const char *target,
                               uint32_t src_offset)
{
    uint8_t *p = put_file(put_file(loader_command(t, LOADER_WRITE_POINTER), file), target);

    store32_le(p, offset);
    store32_le(p + 4, src_offset);
    p[8] = size;
}
