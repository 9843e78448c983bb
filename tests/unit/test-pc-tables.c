/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a pc tells its firmware: the AML assembler, ACPI tables (installed by running their loader script,
 * as firmware does), SMBIOS, E820, boot order, and the firmware image. The comparison with QEMU's tables is
 * tests/qtest/test-tables.c.
 */
#include <glib/gstdio.h>
#include <unistd.h>

#include "hw/acpi/piix4_pm.h"
#include "hw/i386/acpi_build.h"
#include "hw/i386/aml.h"
#include "hw/i386/boot_order.h"
#include "hw/i386/firmware.h"
#include "hw/i386/smbios.h"
#include "hw/isa/isa.h"
#include "hw/pci/i440fx.h"

/* ---- the assembler ------------------------------------------------------------------- */

static void check_aml(const char *text, const char *hex)
{
    GByteArray *out = g_byte_array_new();
    GString *got = g_string_new(NULL);

    aml_assemble(text, out);
    for (unsigned i = 0; i < out->len; i++) {
        g_string_append_printf(got, "%02x", out->data[i]);
    }
    g_assert_cmpstr(got->str, ==, hex);
    g_string_free(got, TRUE);
    g_byte_array_unref(out);
}

static void test_aml(void)
{
    check_aml("(return 0)", "a400");
    check_aml("(return 1)", "a401");
    check_aml("(return 0xff)", "a40aff");
    check_aml("(return 0x100)", "a40b0001");
    check_aml("(return 0x10000)", "a40c00000100");
    check_aml("(return 0x100000000)", "a40e0000000001000000");
    check_aml("(name _HID (eisaid PNP0A03))", "085f4849440c41d00a03");
    check_aml("(name AB 'x')", "0841425f5f0d7800");
    check_aml("(store Arg0 \\A.B)", "70685c2e415f5f5f425f5f5f");
    check_aml("(store Local7 ^A.B.C)", "70675e2f03415f5f5f425f5f5f435f5f5f");
    check_aml("(scope \\ (mutex M 0))", "100a5c005b014d5f5f5f00");
    check_aml("(if (equal 1 Arg1) (break)) (else (release M))", "a005930169a5a1075b274d5f5f5f");
    check_aml("(add 1 Local0)", "72016000");
    check_aml("(add 1 Local0 Local1)", "72016061");
    check_aml("(method M 2 serialized (return Arg1))", "14084d5f5f5f0aa469");
    check_aml("(buffer 4 1 2)", "11070a0401020000");
    check_aml("(field R byte nolock zeros (offset 4) (A 1) (B 1) (offset 5) (C 8))",
              "5b8119525f5f5f410020415f5f5f01425f5f5f010006435f5f5f08");
    check_aml("(resources (io 0x60 0x64 1 2) (irq 9) (dma 2))", "11130a1047016000640001022200022a04007900");
}

/* Lengths of 63, 64, 4095 and 4096 bytes need one byte more each time. */
static void test_aml_lengths(void)
{
    static const struct {
        unsigned content;
        const char *head;
    } cases[] = {{62 - 5, "103f"}, {62 - 4, "104104"}, {4093 - 5, "104fff"}, {4093 - 4, "10810001"}};

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        GByteArray *out = g_byte_array_new();
        GString *text = g_string_new("(scope \\A"), *head = g_string_new(NULL);

        for (unsigned n = 0; n < cases[i].content; n++) {
            g_string_append(text, " (break)");
        }
        g_string_append(text, ")");
        aml_assemble(text->str, out);
        for (size_t n = 0; n < strlen(cases[i].head) / 2; n++) {
            g_string_append_printf(head, "%02x", out->data[n]);
        }
        g_assert_cmpstr(head->str, ==, cases[i].head);
        g_string_free(text, TRUE);
        g_string_free(head, TRUE);
        g_byte_array_unref(out);
    }
}

/* ---- a small pc ------------------------------------------------------------------------- */

#define MAX_CPUS 300

typedef struct Bench {
    Vm *vm;
    Region ram, pci;
    PcInfo info;
    PcCpuSlot cpus[MAX_CPUS];
    PcNumaNode nodes[3];
} Bench;

static void bench_start(Bench *b, uint64_t ram_size, unsigned cpus)
{
    GError *err = NULL;
    PcInfo *info = &b->info;
    I440fxParams params;
    PciBus *bus;

    memset(b, 0, sizeof *b);
    b->vm = vm_new(&err);
    g_assert_no_error(err);
    b->vm->ram_size = ram_size;
    *info = (PcInfo){.vm = b->vm, .machine_name = "pc-i440fx-7.2", .machine_desc = "Standard PC (i440FX + PIIX, 1996)",
                     .below_4g = MIN(ram_size, 3 * GIB), .pci_hole64_size = 2 * GIB, .n_cpus = cpus,
                     .max_cpus = cpus, .sockets = 1, .dies = 1, .cores = cpus, .threads = 1, .cpus = b->cpus,
                     .apic_id_limit = cpus, .smm = true, .acpi = true, .boot_splash_time = -1, .reboot_timeout = -1};
    info->above_4g = ram_size - info->below_4g;
    info->above_4g_base = 4 * GIB;
    info->hole64_start = align_up(4 * GIB + info->above_4g, GIB);
    for (unsigned i = 0; i < cpus; i++) {
        b->cpus[i] = (PcCpuSlot){.apic_id = i, .node = -1, .present = true};
    }
    e820_add(&info->e820, 0, info->below_4g, E820_RAM);
    if (info->above_4g) {
        e820_add(&info->e820, 4 * GIB, info->above_4g, E820_RAM);
    }
    info->fw_cfg = fw_cfg_io_create(b->vm, &err);
    g_assert_no_error(err);
    region_init_ram(&b->ram, b->vm, "pc.ram", ram_size, &err);
    region_init_container(&b->pci, "pci", UINT64_MAX);
    params = (I440fxParams){.ram = &b->ram, .pci_memory = &b->pci, .ram_size = ram_size,
                            .below_4g = info->below_4g, .hole64_start = info->hole64_start};
    bus = i440fx_bus(i440fx_create(b->vm, &params, &err));
    g_assert_nonnull(pci_create(bus, 8, true, "PIIX3", &err));
    g_assert_nonnull(piix4_pm_create(bus, 11, 0xb100, true, &err));
    for (unsigned i = 0; i < b->vm->devices->len; i++) {
        device_reset(g_ptr_array_index(b->vm->devices, i));
    }
}

static void bench_end(Bench *b)
{
    if (b->info.option_roms) {
        g_ptr_array_unref(b->info.option_roms);
    }
    vm_free(b->vm);
    region_destroy(&b->ram);
    region_destroy(&b->pci);
}

/* ---- ACPI ---------------------------------------------------------------------------------- */

#define TABLES_AT 0x7ff00000u
#define RSDP_AT 0xf0000u

static GByteArray *file_bytes(Bench *b, const char *name)
{
    GBytes *bytes = fw_cfg_file_content(b->info.fw_cfg, name);

    g_assert_nonnull(bytes);
    return g_bytes_unref_to_array(bytes);
}

static uint8_t sum(const uint8_t *data, size_t len)
{
    uint8_t total = 0;

    while (len--) {
        total += *data++;
    }
    return total;
}

/* Runs the loader script over the two files, as firmware does. */
static void run_loader(const GByteArray *script, GByteArray *tables, GByteArray *rsdp)
{
    unsigned allocations = 0;

    for (unsigned at = 0; at + 128 <= script->len; at += 128) {
        const uint8_t *cmd = script->data + at;
        const char *file = (const char *)cmd + 4;
        GByteArray *target = strcmp(file, ACPI_FILE_RSDP) ? tables : rsdp;

        switch (load32_le(cmd)) {
        case 0:
            break;
        case 1:
            allocations++;
            break;
        case 2: {
            uint32_t offset = load32_le(cmd + 116), size = cmd[120];
            g_assert_cmpstr((const char *)cmd + 60, ==, ACPI_FILE_TABLES);
            g_assert_true(range_fits(offset, size, target->len));
            store_le(target->data + offset, load_le(target->data + offset, size) + TABLES_AT, size);
            break;
        }
        case 3: {
            uint32_t offset = load32_le(cmd + 60), start = load32_le(cmd + 64), length = load32_le(cmd + 68);
            g_assert_true(range_fits(start, length, target->len));
            g_assert_cmpint(target->data[offset], ==, 0);
            target->data[offset] = (uint8_t)-sum(target->data + start, length);
            break;
        }
        default:
            g_assert_not_reached();
        }
    }
    g_assert_cmpint(allocations, ==, 2);
}

typedef struct Tables {
    GByteArray *blob, *rsdp;
} Tables;

static const uint8_t *table_find(const Tables *t, const char *signature, uint32_t *length)
{
    uint32_t rsdt = load32_le(t->rsdp->data + 16) - TABLES_AT, count;

    g_assert_cmpmem(t->blob->data + rsdt, 4, "RSDT", 4);
    count = (load32_le(t->blob->data + rsdt + 4) - 36) / 4;
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *table = t->blob->data + load32_le(t->blob->data + rsdt + 36 + 4 * i) - TABLES_AT;

        *length = load32_le(table + 4);
        g_assert_cmpint(sum(table, *length), ==, 0);
        if (!memcmp(table, signature, 4)) {
            return table;
        }
    }
    return NULL;
}

static void tables_install(Bench *b, Tables *t)
{
    GByteArray *script;
    GError *err = NULL;

    g_assert_true(pc_fw_cfg_populate(&b->info, &err));
    g_assert_no_error(err);
    script = file_bytes(b, ACPI_FILE_LOADER);
    t->blob = file_bytes(b, ACPI_FILE_TABLES);
    t->rsdp = file_bytes(b, ACPI_FILE_RSDP);
    run_loader(script, t->blob, t->rsdp);
    g_byte_array_unref(script);
    g_assert_cmpint(sum(t->rsdp->data, 20), ==, 0);
}

static void tables_free(Tables *t)
{
    g_byte_array_unref(t->blob);
    g_byte_array_unref(t->rsdp);
}

static void test_acpi(void)
{
    const uint8_t *fadt, *dsdt;
    uint32_t length;
    Tables t;
    Bench b;

    bench_start(&b, 64 * MIB, 2);
    tables_install(&b, &t);
    fadt = table_find(&t, "FACP", &length);
    g_assert_nonnull(fadt);
    dsdt = t.blob->data + load32_le(fadt + 40) - TABLES_AT;
    g_assert_cmpmem(dsdt, 4, "DSDT", 4);
    g_assert_cmpint(sum(dsdt, load32_le(dsdt + 4)), ==, 0);
    g_assert_cmpmem(t.blob->data + load32_le(fadt + 36) - TABLES_AT, 4, "FACS", 4);
    g_assert_nonnull(table_find(&t, "WAET", &length));
    g_assert_null(table_find(&t, "HPET", &length));      /* this machine has none */
    g_assert_null(table_find(&t, "SRAT", &length));
    g_assert_nonnull(table_find(&t, "APIC", &length));
    g_assert_cmpint(length, ==, 128);
    tables_free(&t);
    bench_end(&b);
}

/* APIC ids that do not fit into 8 bits; processors that are not there yet. */
static void test_acpi_many_cpus(void)
{
    const uint8_t *madt;
    unsigned apic = 0, x2apic = 0, enabled = 0;
    uint32_t length;
    Tables t;
    Bench b;

    bench_start(&b, 64 * MIB, MAX_CPUS);
    b.cpus[299].present = false;
    tables_install(&b, &t);
    madt = table_find(&t, "APIC", &length);
    for (uint32_t at = 44; at < length; at += madt[at + 1]) {
        g_assert_cmpint(madt[at + 1], >=, 2);
        apic += madt[at] == 0;
        x2apic += madt[at] == 9;
        enabled += (madt[at] == 0 && madt[at + 4]) || (madt[at] == 9 && madt[at + 8]);
    }
    g_assert_cmpint(apic, ==, 255);
    g_assert_cmpint(x2apic, ==, MAX_CPUS - 255);
    g_assert_cmpint(enabled, ==, MAX_CPUS - 1);
    g_assert_cmphex(load32_le(table_find(&t, "FACP", &length) + 112) & 1 << 18, !=, 0);
    tables_free(&t);
    bench_end(&b);
}

/* Memory of all nodes, without the holes, adds up; distances are a matrix. */
static void test_acpi_numa(void)
{
    static const uint64_t sizes[] = {2 * GIB, 2 * GIB, 512 * MIB};
    const uint8_t *srat, *slit;
    uint64_t total[3] = {0};
    uint32_t length;
    Tables t;
    Bench b;

    bench_start(&b, 4 * GIB + 512 * MIB, 3);
    b.info.n_nodes = 3;
    b.info.nodes = b.nodes;
    b.info.has_distances = true;
    for (unsigned i = 0; i < 3; i++) {
        b.nodes[i].mem = sizes[i];
        b.cpus[i].node = (int)i;
        for (unsigned n = 0; n < 3; n++) {
            b.nodes[i].distance[n] = i == n ? 10 : (uint8_t)(20 + i + n);
        }
    }
    tables_install(&b, &t);
    srat = table_find(&t, "SRAT", &length);
    for (uint32_t at = 48; at < length; at += srat[at + 1]) {
        g_assert_cmpint(srat[at + 1], >=, 2);
        if (srat[at] == 1 && load32_le(srat + at + 28) & 1) {
            total[load32_le(srat + at + 2)] += load64_le(srat + at + 16);
        }
    }
    g_assert_cmpint(total[0], ==, sizes[0] - 384 * KIB);  /* without 640 KiB to 1 MiB */
    g_assert_cmpint(total[1], ==, sizes[1]);
    g_assert_cmpint(total[2], ==, sizes[2]);
    slit = table_find(&t, "SLIT", &length);
    g_assert_cmpint(length, ==, 36 + 8 + 9);
    g_assert_cmpint(slit[44 + 3 * 1 + 2], ==, 23);
    tables_free(&t);
    bench_end(&b);
}

/* After a reset the three files are made anew, and still belong together. */
static void test_acpi_reset(void)
{
    Tables t;
    Bench b;
    uint32_t length;

    bench_start(&b, 64 * MIB, 2);
    b.cpus[1].present = false;
    tables_install(&b, &t);
    g_assert_cmpint(table_find(&t, "APIC", &length)[44 + 8 + 4], ==, 0);
    tables_free(&t);
    b.cpus[1].present = true;
    device_reset((Device *)b.info.fw_cfg);
    t.blob = file_bytes(&b, ACPI_FILE_TABLES);
    t.rsdp = file_bytes(&b, ACPI_FILE_RSDP);
    GByteArray *script = file_bytes(&b, ACPI_FILE_LOADER);
    run_loader(script, t.blob, t.rsdp);
    g_assert_cmpint(table_find(&t, "APIC", &length)[44 + 8 + 4], ==, 1);
    g_byte_array_unref(script);
    tables_free(&t);
    bench_end(&b);
}

/* ---- SMBIOS ----------------------------------------------------------------------------------- */

static const uint8_t *structure_find(const GByteArray *tables, uint8_t type)
{
    for (unsigned at = 0; at + 4 < tables->len;) {
        const uint8_t *p = tables->data + at;

        if (p[0] == type) {
            return p;
        }
        for (at += p[1]; tables->data[at] || tables->data[at + 1]; at++) {
        }
        at += 2;
    }
    return NULL;
}

static const char *structure_string(const uint8_t *structure, unsigned offset)
{
    const char *text = (const char *)structure + structure[1];

    for (unsigned n = structure[offset]; n > 1; n--) {
        text += strlen(text) + 1;
    }
    return structure[offset] ? text : "";
}

static void test_smbios(void)
{
    static const char *const good[] = {
        "type=0,vendor=V,version=1,date=01/02/2003,release=5.6,uefi=on", "type=1,serial=S,uuid=11223344-5566-7788-99aa-bbccddeeff00",
        "type=1,serial=last,,one", "type=2,asset=A", "type=3,sku=K", "type=4,max-speed=65535,processor-id=0x10",
        "type=8,internal_reference=I,connector_type=3", "type=11,value=one,value=two", "type=17,speed=2400", "type=41,designation=D,kind=ethernet",
    };
    GByteArray *tables = g_byte_array_new(), *anchor = g_byte_array_new();
    SmbiosOptions *options = smbios_options_new();
    GError *err = NULL;
    Bench b;

    bench_start(&b, 64 * MIB, 2);
    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
        g_assert_true(smbios_options_add(options, good[i], &err));
        g_assert_no_error(err);
    }
    g_assert_true(smbios_options_check(options, b.vm, &err));
    smbios_build(options, &b.info, tables, anchor);
    g_assert_cmpint(anchor->len, ==, 31);
    g_assert_cmpint(load16_le(anchor->data + 22), ==, tables->len);
    g_assert_cmpstr(structure_string(structure_find(tables, 0), 4), ==, "V");
    g_assert_cmpstr(structure_string(structure_find(tables, 1), 7), ==, "last,one");
    g_assert_cmpmem(structure_find(tables, 1) + 8, 8, "\x44\x33\x22\x11\x66\x55\x88\x77", 8);
    g_assert_cmpstr(structure_string(structure_find(tables, 1), 4), ==, "QEMU");
    g_assert_cmpint(structure_find(tables, 11)[4], ==, 2);
    g_assert_cmpint(structure_find(tables, 41)[5], ==, 0x85);
    g_assert_cmpint(load16_le(structure_find(tables, 17) + 12), ==, 64);
    g_assert_nonnull(structure_find(tables, 127));
    /* The 3.0 entry point, and a machine of 2 TiB. */
    g_byte_array_set_size(tables, 0);
    g_byte_array_set_size(anchor, 0);
    b.info.smbios_ep64 = true;
    b.vm->ram_size = UINT64_C(2) << 40;
    smbios_build(NULL, &b.info, tables, anchor);
    g_assert_cmpmem(anchor->data, 5, "_SM3_", 5);
    g_assert_cmpint(load32_le(anchor->data + 12), ==, tables->len);
    g_assert_cmphex(load32_le(structure_find(tables, 16) + 7), ==, 0x80000000);
    g_assert_cmpint(structure_find(tables, 4)[1], ==, 0x30);
    g_assert_null(structure_find(tables, 0));
    smbios_options_free(options);
    g_byte_array_unref(tables);
    g_byte_array_unref(anchor);
    bench_end(&b);
}

static void test_smbios_bad(void)
{
    static const char *const bad[] = {
        "", "foo=1", "type=99", "type=5,x=y", "type=x", "type=1,foo=2", "type=1,uuid=zz", "type=0,release=5",
        "type=0,release=5.256", "type=0,uefi=maybe", "type=4,max-speed=65536", "file=/nonexistent", "file=/dev/null",
        "type=41,kind=foo", "type=8,port_type=256", "type=1,file=x", "type=1,serail=x", "type=128",
    };
    static const char structure[] = "\x0b\x05\x00\x0e\x01one\0";
    SmbiosOptions *options = smbios_options_new();
    char *path = NULL, *option;
    GError *err = NULL;
    int fd = g_file_open_tmp("kiln-smbios-XXXXXX", &path, NULL);

    g_assert_cmpint(fd, >=, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_assert_false(smbios_options_add(options, bad[i], &err));
        g_assert_true(g_str_has_prefix(err->message, "-smbios"));
        g_clear_error(&err);
    }
    /* A structure from a file; truncated ones; the same type both ways. */
    option = g_strdup_printf("file=%s", path);
    for (size_t len = 0; len < sizeof structure; len++) {
        g_assert_true(g_file_set_contents(path, structure, (gssize)len, NULL));
        g_assert_false(smbios_options_add(options, option, NULL));
    }
    g_assert_true(g_file_set_contents(path, structure, sizeof structure, NULL));
    g_assert_true(smbios_options_add(options, option, &err));
    g_assert_no_error(err);
    g_assert_false(smbios_options_add(options, "type=11,value=x", NULL));
    smbios_options_free(options);
    close(fd);
    g_unlink(path);
    g_free(path);
    g_free(option);
}

/* ---- the rest ----------------------------------------------------------------------------------- */

static void test_files(void)
{
    GByteArray *bytes;
    GError *err = NULL;
    Bench b;

    bench_start(&b, 64 * MIB, 2);
    b.info.boot_strict = true;
    b.info.boot_splash_time = 100;
    g_assert_true(pc_fw_cfg_populate(&b.info, &err));
    bytes = file_bytes(&b, "etc/e820");
    g_assert_cmpint(bytes->len, ==, 20);
    g_assert_cmphex(load64_le(bytes->data + 8), ==, 64 * MIB);
    g_byte_array_unref(bytes);
    bytes = file_bytes(&b, "bootorder");
    g_assert_cmpmem(bytes->data, bytes->len, "HALT", 5);
    g_byte_array_unref(bytes);
    bytes = file_bytes(&b, "etc/boot-menu-wait");
    g_assert_cmpmem(bytes->data, bytes->len, "\x64\0", 2);
    g_byte_array_unref(bytes);
    bench_end(&b);
    /* What cannot be. */
    bench_start(&b, 64 * MIB, 1);
    b.info.initrd = "/dev/null";
    g_assert_false(pc_fw_cfg_populate(&b.info, &err));
    g_assert_nonnull(strstr(err->message, "-kernel"));
    g_clear_error(&err);
    bench_end(&b);
    bench_start(&b, 64 * MIB, 1);
    b.info.kernel = "/nonexistent";
    g_assert_false(pc_fw_cfg_populate(&b.info, &err));
    g_assert_nonnull(strstr(err->message, "/nonexistent"));
    g_clear_error(&err);
    bench_end(&b);
    bench_start(&b, 64 * MIB, 1);
    b.info.kernel = "/bin/sh";                   /* an ELF program, not a kernel */
    g_assert_false(pc_fw_cfg_populate(&b.info, &err));
    g_assert_true(g_str_has_prefix(err->message, "-kernel '/bin/sh'"));
    g_clear_error(&err);
    bench_end(&b);
}

static void test_firmware(void)
{
    static const struct {
        gssize size;
        const char *word;
    } cases[] = {{0, "empty"}, {1000, "64 KiB"}, {65537, "64 KiB"}, {17 << 20, "16 MiB"}};
    char *dir = g_dir_make_tmp("kiln-firmware-XXXXXX", NULL), *path = g_build_filename(dir, "kiln-test.bin", NULL);
    char *data = g_malloc0(17 << 20);
    GPtrArray *dirs = g_ptr_array_new();
    PcFirmware firmware = {0};
    GError *err = NULL;
    uint64_t value;
    Bench b;

    bench_start(&b, 64 * MIB, 1);
    g_ptr_array_add(dirs, dir);
    b.vm->data_dirs = dirs;
    g_assert_false(firmware_load(&firmware, b.vm, "kiln-test.bin", &b.pci, &err));
    g_assert_nonnull(strstr(err->message, "-L"));
    g_clear_error(&err);
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_assert_true(g_file_set_contents(path, data, cases[i].size, NULL));
        g_assert_false(firmware_load(&firmware, b.vm, "kiln-test.bin", &b.pci, &err));
        g_assert_nonnull(strstr(err->message, cases[i].word));
        g_clear_error(&err);
    }
    data[0] = 1;
    data[0x20000] = 2;
    memcpy(data + 0x3fff0, "RESET", 5);
    g_assert_true(g_file_set_contents(path, data, 0x40000, NULL));
    g_assert_true(firmware_load(&firmware, b.vm, "kiln-test.bin", &b.pci, &err));
    g_assert_no_error(err);
    g_assert_true(address_space_load(&b.vm->memory, 0xfffffff0, 4, &value));
    g_assert_cmphex(value, ==, 0x45534552);
    g_assert_true(address_space_load(&b.vm->memory, 0xfffc0000, 1, &value));
    g_assert_cmphex(value, ==, 1);
    g_assert_true(address_space_load(&b.vm->memory, 0xe0000, 1, &value));
    g_assert_cmphex(value, ==, 2);
    address_space_store(&b.vm->memory, 0xfffc0000, 1, 0xee);     /* a ROM */
    g_assert_true(address_space_load(&b.vm->memory, 0xfffc0000, 1, &value));
    g_assert_cmphex(value, ==, 1);
    firmware_unload(&firmware);
    b.vm->data_dirs = NULL;
    g_ptr_array_unref(dirs);
    bench_end(&b);
    g_unlink(path);
    g_rmdir(dir);
    g_free(data);
    g_free(path);
    g_free(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pc-tables/aml", test_aml);
    g_test_add_func("/pc-tables/aml-lengths", test_aml_lengths);
    g_test_add_func("/pc-tables/acpi", test_acpi);
    g_test_add_func("/pc-tables/acpi-many-cpus", test_acpi_many_cpus);
    g_test_add_func("/pc-tables/acpi-numa", test_acpi_numa);
    g_test_add_func("/pc-tables/acpi-reset", test_acpi_reset);
    g_test_add_func("/pc-tables/smbios", test_smbios);
    g_test_add_func("/pc-tables/smbios-bad", test_smbios_bad);
    g_test_add_func("/pc-tables/files", test_files);
    g_test_add_func("/pc-tables/firmware", test_firmware);
    return g_test_run();
}
