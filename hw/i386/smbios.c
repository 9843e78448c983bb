/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SMBIOS structures, chapter 7 of the specification, with the defaults of QEMU 7.2's pc machine.
 * Handles are TYPE << 8 | number, and TYPE is written in decimal digits (type 16's first is 0x1000).
 */
#include <stdlib.h>

#include "hw/i386/smbios_internal.h"
#include "hw/pci/pci.h"

#define HANDLE_MEMORY_ARRAY 0x1000
#define HANDLE_NONE 0xfffe
#define DIMM_MAX (16 * GIB)      /* memory is shown in modules of this size */

typedef struct Smbios {
    const SmbiosOptions *options;
    const PcInfo *info;
    GByteArray *out;
    GPtrArray *strings;          /* const char *, of the structure that is being written */
    unsigned start;              /* offset of that structure */
    unsigned count, largest;     /* structures so far; bytes of the largest */
} Smbios;

/* ---- writing ---------------------------------------------------------------------- */

static void put(Smbios *s, uint64_t value, unsigned size)
{
    uint8_t raw[8];

    store64_le(raw, value);
    g_byte_array_append(s->out, raw, size);
}

/* A string's number; 0 stands for none. */
static void put_string(Smbios *s, const char *text)
{
    if (text && *text) {
        g_ptr_array_add(s->strings, g_strdup(text));
        put(s, s->strings->len, 1);
    } else {
        put(s, 0, 1);
    }
}

static void begin(Smbios *s, uint8_t type, uint16_t handle)
{
    s->start = s->out->len;
    g_ptr_array_set_size(s->strings, 0);
    put(s, type, 1);
    put(s, 0, 1);
    put(s, handle, 2);
}

static void end(Smbios *s)
{
    s->out->data[s->start + 1] = (uint8_t)(s->out->len - s->start);
    for (unsigned i = 0; i < s->strings->len; i++) {
        const char *text = g_ptr_array_index(s->strings, i);
        g_byte_array_append(s->out, (const guint8 *)text, (guint)strlen(text) + 1);
    }
    put(s, 0, s->strings->len ? 1 : 2);
    s->count++;
    s->largest = MAX(s->largest, s->out->len - s->start);
}

/* What -smbios says of a field, else the default. */
static const char *text_of(const Smbios *s, const char *key, const char *def)
{
    const char *value = s->options ? g_hash_table_lookup(s->options->values, key) : NULL;

    return value ? value : def;
}

static uint64_t number_of(const Smbios *s, const char *key, uint64_t def)
{
    const char *value = text_of(s, key, NULL);

    return value ? g_ascii_strtoull(value, NULL, 0) : def;
}

/* Is a structure of this type wanted: because it always is, or because some field was given? */
static bool wanted(const Smbios *s, unsigned type, bool always)
{
    if (!s->options) {
        return always;
    }
    return !s->options->from_file[type] && (always || s->options->given[type]);
}

/* ---- types 0 to 3: BIOS, system, board, chassis ------------------------------------------ */

static void put_bios(Smbios *s)
{
    const char *release = text_of(s, "0.release", NULL), *uefi = text_of(s, "0.uefi", "off");
    unsigned major = release ? (unsigned)strtoul(release, NULL, 10) : 0;
    unsigned minor = release ? (unsigned)strtoul(strchr(release, '.') + 1, NULL, 10) : 0;

    begin(s, 0, 0);
    put_string(s, text_of(s, "0.vendor", NULL));
    put_string(s, text_of(s, "0.version", NULL));
    put(s, 0xe800, 2);           /* segment */
    put_string(s, text_of(s, "0.date", NULL));
    put(s, 0, 1);                /* ROM size */
    put(s, 0x08, 8);             /* characteristics: not supported */
    put(s, 0, 1);
    put(s, 0x14 | (*uefi == 'o' && uefi[1] == 'n' ? 8 : *uefi == 'y' ? 8 : 0), 1); /* virtual machine */
    put(s, major, 1);
    put(s, minor, 1);
    put(s, 0xffff, 2);           /* no embedded controller */
    end(s);
}

/* The first three groups of a UUID are little-endian (7.2.1). */
static void put_uuid(Smbios *s, const uint8_t uuid[16])
{
    static const uint8_t order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};

    for (unsigned i = 0; i < 16; i++) {
        put(s, uuid[order[i]], 1);
    }
}

static void put_system(Smbios *s)
{
    uint8_t uuid[16];

    memcpy(uuid, s->info->vm->uuid, sizeof uuid);
    smbios_options_uuid(s->options, uuid);
    begin(s, 1, 0x100);
    put_string(s, text_of(s, "1.manufacturer", "QEMU"));
    put_string(s, text_of(s, "1.product", s->info->machine_desc));
    put_string(s, text_of(s, "1.version", s->info->machine_name));
    put_string(s, text_of(s, "1.serial", NULL));
    put_uuid(s, uuid);
    put(s, 6, 1);                /* woken by the power switch */
    put_string(s, text_of(s, "1.sku", NULL));
    put_string(s, text_of(s, "1.family", NULL));
    end(s);
}

static void put_board(Smbios *s)
{
    begin(s, 2, 0x200);
    put_string(s, text_of(s, "2.manufacturer", "QEMU"));
    put_string(s, text_of(s, "2.product", s->info->machine_desc));
    put_string(s, text_of(s, "2.version", s->info->machine_name));
    put_string(s, text_of(s, "2.serial", NULL));
    put_string(s, text_of(s, "2.asset", NULL));
    put(s, 1, 1);                /* a hosting board */
    put_string(s, text_of(s, "2.location", NULL));
    put(s, 0x300, 2);            /* its chassis */
    put(s, 0x0a, 1);             /* motherboard */
    put(s, 0, 1);
    end(s);
}

static void put_chassis(Smbios *s)
{
    begin(s, 3, 0x300);
    put_string(s, text_of(s, "3.manufacturer", "QEMU"));
    put(s, 1, 1);                /* type: other */
    put_string(s, text_of(s, "3.version", s->info->machine_name));
    put_string(s, text_of(s, "3.serial", NULL));
    put_string(s, text_of(s, "3.asset", NULL));
    put(s, 0x030303, 3);         /* boot, power and thermal state: safe */
    put(s, 2, 1);                /* security: unknown */
    put(s, 0, 4);
    put(s, 0, 4);                /* height, power cords, contained elements */
    put_string(s, text_of(s, "3.sku", NULL));
    end(s);
}

/* ---- type 4: processors --------------------------------------------------------------------- */

static void put_processor(Smbios *s, unsigned socket)
{
    const PcInfo *info = s->info;
    unsigned cores = info->dies * info->cores, threads = cores * info->threads;
    uint64_t id = number_of(s, "4.processor-id", info->cpuid_1_eax | (uint64_t)info->cpuid_1_edx << 32);
    char *name = g_strdup_printf("%s %x", text_of(s, "4.sock_pfx", "CPU"), socket);

    begin(s, 4, (uint16_t)(0x400 + socket));
    put_string(s, name);
    put(s, 3, 1);                /* central processor */
    put(s, 1, 1);                /* family: other */
    put_string(s, text_of(s, "4.manufacturer", "QEMU"));
    put(s, id, 8);
    put_string(s, text_of(s, "4.version", info->machine_name));
    put(s, 0, 1);                /* voltage */
    put(s, 0, 2);                /* external clock: unknown */
    put(s, number_of(s, "4.max-speed", 2000), 2);
    put(s, number_of(s, "4.current-speed", 2000), 2);
    put(s, 0x41, 1);             /* populated and enabled */
    put(s, 1, 1);                /* upgrade: other */
    put(s, 0xffff, 2);           /* no cache information */
    put(s, 0xffff, 2);
    put(s, 0xffff, 2);
    put_string(s, text_of(s, "4.serial", NULL));
    put_string(s, text_of(s, "4.asset", NULL));
    put_string(s, text_of(s, "4.part", NULL));
    put(s, MIN(cores, 0xff), 1);
    put(s, MIN(cores, 0xff), 1);
    put(s, MIN(threads, 0xff), 1);
    put(s, 2, 2);                /* characteristics: unknown */
    put(s, 1, 2);                /* family 2 */
    if (info->smbios_ep64) {
        put(s, cores, 2);
        put(s, cores, 2);
        put(s, threads, 2);
    }
    end(s);
    g_free(name);
}

/* ---- types 8, 11 and 41: what only users ask for ------------------------------------------------ */

static void put_ports(Smbios *s)
{
    for (unsigned i = 0; s->options && i < s->options->ports->len; i++) {
        GHashTable *group = g_ptr_array_index(s->options->ports, i);
        const char *connector = g_hash_table_lookup(group, "connector_type");
        const char *port = g_hash_table_lookup(group, "port_type");

        begin(s, 8, (uint16_t)i);    /* QEMU 7.2 numbers these handles from 0 */
        put_string(s, g_hash_table_lookup(group, "internal_reference"));
        put(s, 0, 1);            /* no internal connector */
        put_string(s, g_hash_table_lookup(group, "external_reference"));
        put(s, connector ? g_ascii_strtoull(connector, NULL, 0) : 0, 1);
        put(s, port ? g_ascii_strtoull(port, NULL, 0) : 0, 1);
        end(s);
    }
}

static void put_oem_strings(Smbios *s)
{
    unsigned count = s->options ? s->options->oem_strings->len : 0;

    if (count) {
        begin(s, 11, 0xe00);
        put(s, count, 1);
        for (unsigned i = 0; i < count; i++) {
            const char *text = g_ptr_array_index(s->options->oem_strings, i);
            /* An empty string would end the list: a space keeps the numbers of the others. */
            g_ptr_array_add(s->strings, g_strdup(*text ? text : " "));
        }
        end(s);
    }
}

static void put_onboard(Smbios *s)
{
    for (unsigned i = 0; s->options && i < s->options->onboard->len; i++) {
        GHashTable *group = g_ptr_array_index(s->options->onboard, i);
        const char *kind = g_hash_table_lookup(group, "kind"), *id = g_hash_table_lookup(group, "pcidev");
        const char *instance = g_hash_table_lookup(group, "instance");
        Device *dev = id ? device_find(s->info->vm, id) : NULL;
        uint8_t type = 2, bus = 0, devfn = 0;

        for (uint8_t n = 1; kind && smbios_onboard_kinds[n]; n++) {
            type = strcmp(kind, smbios_onboard_kinds[n]) ? type : n;
        }
        if (dev) {
            PciDevice *pci = container_of(dev, PciDevice, dev);
            bus = (uint8_t)pci_bus_number(pci_bus_of(pci));
            devfn = (uint8_t)pci->devfn;
        }
        begin(s, 41, (uint16_t)(0x2900 + i));
        put_string(s, g_hash_table_lookup(group, "designation"));
        put(s, type | 0x80, 1);  /* enabled */
        put(s, instance ? g_ascii_strtoull(instance, NULL, 0) : 1, 1);
        put(s, 0, 2);            /* segment */
        put(s, bus, 1);
        put(s, devfn, 1);
        end(s);
    }
}

/* ---- types 16, 17 and 19: memory --------------------------------------------------------------------- */

static void put_memory_array(Smbios *s, unsigned dimms)
{
    uint64_t kib = s->info->vm->ram_size / KIB;
    bool extended = kib >= 0x80000000;

    begin(s, 16, HANDLE_MEMORY_ARRAY);
    put(s, 1, 1);                /* location: other */
    put(s, 3, 1);                /* system memory */
    put(s, 6, 1);                /* multi-bit ECC */
    put(s, extended ? 0x80000000 : kib, 4);
    put(s, HANDLE_NONE, 2);
    put(s, dimms, 2);
    put(s, extended ? s->info->vm->ram_size : 0, 8);
    end(s);
}

static void put_memory_device(Smbios *s, unsigned number, uint64_t size)
{
    uint64_t mib = align_up(size, MIB) / MIB, speed = number_of(s, "17.speed", 0);
    bool extended = mib >= 0x7fff;
    char *name = g_strdup_printf("%s %u", text_of(s, "17.loc_pfx", "DIMM"), number);

    begin(s, 17, (uint16_t)(0x1100 + number));
    put(s, HANDLE_MEMORY_ARRAY, 2);
    put(s, HANDLE_NONE, 2);
    put(s, 0xffff, 2);           /* widths: unknown */
    put(s, 0xffff, 2);
    put(s, extended ? 0x7fff : mib, 2);
    put(s, 9, 1);                /* DIMM */
    put(s, 0, 1);
    put_string(s, name);
    put_string(s, text_of(s, "17.bank", NULL));
    put(s, 7, 1);                /* RAM */
    put(s, 2, 2);
    put(s, speed, 2);
    put_string(s, text_of(s, "17.manufacturer", "QEMU"));
    put_string(s, text_of(s, "17.serial", NULL));
    put_string(s, text_of(s, "17.asset", NULL));
    put_string(s, text_of(s, "17.part", NULL));
    put(s, 0, 1);
    put(s, extended ? mib : 0, 4);
    put(s, speed, 2);
    put(s, 0, 6);                /* voltages: unknown */
    end(s);
    g_free(name);
}

static void put_memory_range(Smbios *s, unsigned number, const E820Entry *range)
{
    uint64_t first = range->addr / KIB, last = (range->addr + range->len - 1) / KIB;
    bool extended = last >= 0xffffffff;

    begin(s, 19, (uint16_t)(0x1300 + number));
    put(s, extended ? 0xffffffff : first, 4);
    put(s, extended ? 0xffffffff : last, 4);
    put(s, HANDLE_MEMORY_ARRAY, 2);
    put(s, 1, 1);
    put(s, extended ? range->addr : 0, 8);
    put(s, extended ? range->addr + range->len - 1 : 0, 8);
    end(s);
}

static void put_memory(Smbios *s)
{
    uint64_t left = s->info->vm->ram_size;
    unsigned dimms = (unsigned)((left + DIMM_MAX - 1) / DIMM_MAX), ranges = 0;

    if (wanted(s, 16, true)) {
        put_memory_array(s, dimms);
    }
    for (unsigned i = 0; i < dimms && wanted(s, 17, true); i++) {
        put_memory_device(s, i, MIN(left, DIMM_MAX));
        left -= MIN(left, DIMM_MAX);
    }
    for (unsigned i = 0; i < s->info->e820.count && wanted(s, 19, true); i++) {
        if (s->info->e820.entries[i].type == E820_RAM) {
            put_memory_range(s, ranges++, &s->info->e820.entries[i]);
        }
    }
}

/* ---- all of it ------------------------------------------------------------------------------------------- */

static void put_anchor(const Smbios *s, GByteArray *anchor)
{
    uint8_t raw[31] = {0};

    if (s->info->smbios_ep64) {          /* 5.2.2 */
        memcpy(raw, "_SM3_", 5);
        raw[6] = 24;
        raw[7] = 3;
        raw[10] = 1;
        store32_le(raw + 12, s->out->len);
        g_byte_array_append(anchor, raw, 24);
        return;
    }
    memcpy(raw, "_SM_", 4);              /* 5.2.1 */
    raw[5] = 31;
    raw[6] = 2;
    raw[7] = 8;
    store16_le(raw + 8, (uint16_t)MIN(s->largest, 0xffff));
    memcpy(raw + 16, "_DMI_", 5);
    store16_le(raw + 22, (uint16_t)MIN(s->out->len, 0xffff));
    store16_le(raw + 28, (uint16_t)s->count);
    raw[30] = 0x28;
    g_byte_array_append(anchor, raw, sizeof raw);
}

static void put_structures(Smbios *s)
{
    if (wanted(s, 0, false)) {
        put_bios(s);
    }
    if (wanted(s, 1, true)) {
        put_system(s);
    }
    if (wanted(s, 2, false)) {
        put_board(s);
    }
    if (wanted(s, 3, true)) {
        put_chassis(s);
    }
    for (unsigned i = 0; i < s->info->sockets && wanted(s, 4, true); i++) {
        put_processor(s, i);
    }
    put_ports(s);
    put_oem_strings(s);
    put_memory(s);
    begin(s, 32, 0x2000);
    put(s, 0, 7);                        /* booted without errors */
    end(s);
    put_onboard(s);
    begin(s, 127, 0x7f00);
    end(s);
}

void smbios_build(const SmbiosOptions *options, const PcInfo *info, GByteArray *tables, GByteArray *anchor)
{
    Smbios s = {.options = options, .info = info, .out = tables, .strings = g_ptr_array_new_with_free_func(g_free)};

    if (options) {
        g_byte_array_append(tables, options->blobs->data, options->blobs->len);
        s.count = options->n_blobs;
        s.largest = options->max_blob;
    }
    put_structures(&s);
    put_anchor(&s, anchor);
    g_ptr_array_unref(s.strings);
}
