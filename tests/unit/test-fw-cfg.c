/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The firmware configuration device, through its ports as a guest uses it. */
#include <fcntl.h>
#include <glib/gstdio.h>
#include <unistd.h>

#include "core/state.h"
#include "hw/nvram/fw_cfg.h"

#define RAM_SIZE (4 * MIB)
#define REQUEST 0x1000
#define BUFFER 0x2000

typedef struct Bench {
    Vm *vm;
    Region ram;
    FwCfg *fw;
} Bench;

static void bench_start(Bench *b)
{
    GError *err = NULL;

    memset(b, 0, sizeof *b);
    b->vm = vm_new(&err);
    g_assert_no_error(err);
    g_assert_true(region_init_ram(&b->ram, b->vm, "pc.ram", RAM_SIZE, &err));
    region_add(&b->vm->system_memory, 0, &b->ram);
    b->fw = fw_cfg_io_create(b->vm, &err);
    g_assert_no_error(err);
}

static void bench_end(Bench *b)
{
    region_remove(&b->ram);
    vm_free(b->vm);
    region_destroy(&b->ram);
}

/* ---- as a guest --------------------------------------------------------------------- */

static void select_key(Bench *b, uint16_t key)
{
    address_space_store(&b->vm->io, 0x510, 2, key);
}

static uint8_t read_byte(Bench *b)
{
    uint64_t value;

    g_assert_true(address_space_load(&b->vm->io, 0x511, 1, &value));
    return (uint8_t)value;
}

static void read_bytes(Bench *b, void *buf, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        ((uint8_t *)buf)[i] = read_byte(b);
    }
}

/* Runs a DMA request; returns what the device left in its control word. */
static uint32_t dma(Bench *b, uint32_t control, uint32_t len, uint64_t addr)
{
    uint8_t *request = region_host(&b->ram) + REQUEST;

    store32_be(request, control);
    store32_be(request + 4, len);
    store64_be(request + 8, addr);
    address_space_store(&b->vm->io, 0x514, 4, 0);
    address_space_store(&b->vm->io, 0x518, 4, GUINT32_SWAP_LE_BE(REQUEST));
    return load32_be(request);
}

#define SELECT(key) ((uint32_t)(key) << 16 | 8)
#define READ 2u
#define SKIP 4u
#define WRITE 16u

/* The key of a file by the directory, 0 when it is not there. */
static uint16_t find_file(Bench *b, const char *name, uint32_t *size)
{
    uint8_t raw[64];
    uint32_t count;

    select_key(b, FW_CFG_FILE_DIR);
    read_bytes(b, raw, 4);
    count = load32_be(raw);
    for (uint32_t i = 0; i < count; i++) {
        read_bytes(b, raw, 64);
        if (!strcmp((char *)raw + 8, name)) {
            *size = load32_be(raw);
            return load16_be(raw + 4);
        }
    }
    return 0;
}

/* ---- tests ----------------------------------------------------------------------------- */

static void test_ports(void)
{
    Bench b;
    uint8_t raw[8];
    uint64_t value;

    bench_start(&b);
    select_key(&b, FW_CFG_SIGNATURE);
    read_bytes(&b, raw, 5);
    g_assert_cmpmem(raw, 5, "QEMU", 5);         /* past the end: zero */
    select_key(&b, FW_CFG_ID);
    read_bytes(&b, raw, 4);
    g_assert_cmpint(load32_le(raw), ==, 3);
    g_assert_true(address_space_load(&b.vm->io, 0x514, 4, &value));
    g_assert_cmphex(value, ==, 0x554d4551);     /* "QEMU", big-endian */
    g_assert_true(address_space_load(&b.vm->io, 0x518, 4, &value));
    g_assert_cmphex(value, ==, 0x47464320);
    /* Keys that do not exist read as zero, wherever they lie; the write bit is ignored. */
    static const uint16_t absent[] = {0x1f, 0x20, 0x3f, 0x40, 0x3fff, 0x8000, 0x801f, 0x8020, 0xbfff, 0xffff};
    for (unsigned i = 0; i < G_N_ELEMENTS(absent); i++) {
        select_key(&b, absent[i]);
        g_assert_cmpint(read_byte(&b), ==, 0);
    }
    select_key(&b, FW_CFG_SIGNATURE | 0x4000);
    g_assert_cmpint(read_byte(&b), ==, 'Q');
    /* The data port cannot be written. */
    address_space_store(&b.vm->io, 0x511, 1, 'X');
    select_key(&b, FW_CFG_SIGNATURE);
    g_assert_cmpint(read_byte(&b), ==, 'Q');
    bench_end(&b);
}

static void test_directory(void)
{
    static const char *const names[] = {"opt/z", "bootorder", "etc/e820", "etc/acpi/tables", "a"};
    static const char *const sorted[] = {"a", "bootorder", "etc/acpi/tables", "etc/e820", "opt/z"};
    GError *err = NULL;
    uint8_t raw[64];
    uint32_t size;
    Bench b;

    bench_start(&b);
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        g_assert_true(fw_cfg_add_file(b.fw, names[i], names[i], strlen(names[i]), &err));
    }
    select_key(&b, FW_CFG_FILE_DIR);
    read_bytes(&b, raw, 4);
    g_assert_cmpint(load32_be(raw), ==, G_N_ELEMENTS(sorted));
    for (unsigned i = 0; i < G_N_ELEMENTS(sorted); i++) {
        read_bytes(&b, raw, 64);
        g_assert_cmpstr((char *)raw + 8, ==, sorted[i]);
        g_assert_cmpint(load32_be(raw), ==, strlen(sorted[i]));
        g_assert_cmphex(load16_be(raw + 4), ==, 0x20 + i);
    }
    select_key(&b, find_file(&b, "etc/e820", &size));
    read_bytes(&b, raw, size);
    g_assert_cmpmem(raw, size, "etc/e820", 8);
    /* Names: in use, empty, too long. */
    g_assert_false(fw_cfg_add_file(b.fw, "a", "", 0, NULL));
    g_assert_false(fw_cfg_add_file(b.fw, "", "", 0, NULL));
    g_assert_false(fw_cfg_add_file(b.fw, "12345678901234567890123456789012345678901234567890123456", "", 0, &err));
    g_assert_nonnull(strstr(err->message, "55"));
    g_clear_error(&err);
    g_assert_true(fw_cfg_add_file(b.fw, "1234567890123456789012345678901234567890123456789012345", "", 0, NULL));
    /* All slots taken. */
    for (unsigned i = 6; i < 0x20; i++) {
        char *name = g_strdup_printf("opt/%u", i);
        g_assert_true(fw_cfg_add_file(b.fw, name, "", 0, NULL));
        g_free(name);
    }
    g_assert_false(fw_cfg_add_file(b.fw, "opt/more", "", 0, &err));
    g_assert_nonnull(strstr(err->message, "x-file-slots"));
    g_clear_error(&err);
    bench_end(&b);
}

static void test_dma(void)
{
    Bench b;
    uint8_t *ram;

    bench_start(&b);
    ram = region_host(&b.ram);
    fw_cfg_add_bytes(b.fw, FW_CFG_CMDLINE_DATA, "0123456789", 10);
    memset(ram + BUFFER, 0xee, 64);
    g_assert_cmphex(dma(&b, SELECT(FW_CFG_CMDLINE_DATA) | READ, 4, BUFFER), ==, 0);
    g_assert_cmpmem(ram + BUFFER, 5, "0123\xee", 5);
    g_assert_cmphex(dma(&b, SKIP, 2, 0), ==, 0);
    g_assert_cmphex(dma(&b, READ, 8, BUFFER), ==, 0);    /* 4 are left; then zeros */
    g_assert_cmpmem(ram + BUFFER, 9, "6789\0\0\0\0\xee", 9);
    g_assert_cmphex(dma(&b, SELECT(0x3fff) | READ, 4, BUFFER), ==, 0);
    g_assert_cmpmem(ram + BUFFER, 5, "\0\0\0\0\0", 5);
    /* Select alone, then the data port. */
    g_assert_cmphex(dma(&b, SELECT(FW_CFG_CMDLINE_DATA), 0, 0), ==, 0);
    g_assert_cmpint(read_byte(&b), ==, '0');
    /* Refused: no memory there, its own ports' shadow, too many zeros, writing what cannot be. */
    g_assert_cmphex(dma(&b, SELECT(FW_CFG_CMDLINE_DATA) | READ, 4, RAM_SIZE - 2), ==, 1);
    g_assert_cmphex(dma(&b, SELECT(FW_CFG_CMDLINE_DATA) | READ, 4, UINT64_MAX - 1), ==, 1);
    g_assert_cmphex(dma(&b, SELECT(0x3fff) | READ, UINT32_MAX, 0), ==, 1);
    g_assert_cmphex(dma(&b, SELECT(FW_CFG_CMDLINE_DATA) | WRITE, 4, BUFFER), ==, 1);
    g_assert_cmphex(dma(&b, SKIP, UINT32_MAX, 0), ==, 0);
    g_assert_cmphex(dma(&b, SKIP, UINT32_MAX, 0), ==, 0);
    g_assert_cmpint(read_byte(&b), ==, 0);
    /* A request that is nowhere. */
    address_space_store(&b.vm->io, 0x514, 4, GUINT32_SWAP_LE_BE(0xffu));
    address_space_store(&b.vm->io, 0x518, 4, 0);
    bench_end(&b);
}

typedef struct Content {
    unsigned fills, writes;
    uint64_t offset, len;
    char seen[8];
} Content;

static void content_fill(void *opaque, GByteArray *out)
{
    Content *c = opaque;
    char text[8];

    g_snprintf(text, sizeof text, "fill%03u", ++c->fills);
    g_byte_array_append(out, (guint8 *)text, 7);
}

static void content_written(void *opaque, uint64_t offset, uint64_t len, const uint8_t *data)
{
    Content *c = opaque;

    c->writes++;
    c->offset = offset;
    c->len = len;
    memcpy(c->seen, data, 7);
}

static void test_source(void)
{
    static const FwCfgSource source = {.fill = content_fill, .written = content_written};
    Content c = {0};
    uint8_t raw[8] = {0};
    uint32_t size;
    uint16_t key;
    Bench b;

    bench_start(&b);
    g_assert_true(fw_cfg_add_file_source(b.fw, "etc/lazy", &source, &c, NULL));
    select_key(&b, FW_CFG_SIGNATURE);
    g_assert_cmpint(c.fills, ==, 0);              /* nothing is made before it is asked for */
    key = find_file(&b, "etc/lazy", &size);
    g_assert_cmpint(size, ==, 7);
    g_assert_cmpint(c.fills, ==, 1);
    select_key(&b, key);
    read_bytes(&b, raw, 7);
    g_assert_cmpstr((char *)raw, ==, "fill002"); /* the directory only measured it */
    /* Written by DMA: exact ranges only. */
    memcpy(region_host(&b.ram) + BUFFER, "XY", 2);
    g_assert_cmphex(dma(&b, SELECT(key) | SKIP, 5, 0), ==, 0);
    g_assert_cmphex(dma(&b, WRITE, 2, BUFFER), ==, 0);
    g_assert_cmpint(c.writes, ==, 1);
    g_assert_cmpint(c.offset, ==, 5);
    g_assert_cmpmem(c.seen, 7, "fill0XY", 7);
    g_assert_cmphex(dma(&b, SELECT(key) | WRITE, 8, BUFFER), ==, 1);
    g_assert_cmpint(c.writes, ==, 1);
    select_key(&b, key);
    read_bytes(&b, raw, 7);
    g_assert_cmpstr((char *)raw, ==, "fill0XY");
    /* A reset makes it anew, also in the middle of reading. */
    select_key(&b, key);
    device_reset((Device *)b.fw);
    g_assert_cmpint(read_byte(&b), ==, 'Q');      /* a reset selects the signature */
    select_key(&b, key);
    read_bytes(&b, raw, 7);
    g_assert_cmpstr((char *)raw, ==, "fill003");
    bench_end(&b);
}

static void test_fd(void)
{
    char *path = NULL;
    uint8_t raw[4];
    Bench b;
    int fd = g_file_open_tmp("kiln-fwcfg-XXXXXX", &path, NULL);

    g_assert_cmpint(fd, >=, 0);
    for (unsigned i = 0; i < 3 * 4096; i++) {
        uint8_t byte = (uint8_t)(i / 16);
        g_assert_cmpint(write(fd, &byte, 1), ==, 1);
    }
    bench_start(&b);
    fw_cfg_add_fd(b.fw, FW_CFG_KERNEL_DATA, fd, 16, 3 * 4096 - 16);
    select_key(&b, FW_CFG_KERNEL_DATA);
    g_assert_cmpint(read_byte(&b), ==, 1);
    g_assert_cmphex(dma(&b, SELECT(FW_CFG_KERNEL_DATA) | READ, 3 * 4096 - 16, BUFFER), ==, 0);
    g_assert_cmpint(region_host(&b.ram)[BUFFER + 5000], ==, (uint8_t)(5016 / 16));
    /* The file shrinks under us: zeros, no crash. */
    g_assert_cmpint(ftruncate(fd, 4096), ==, 0);
    g_assert_cmphex(dma(&b, SELECT(FW_CFG_KERNEL_DATA) | SKIP, 8192, 0), ==, 0);
    read_bytes(&b, raw, 1);
    g_assert_cmpint(raw[0], ==, 0);
    g_assert_cmphex(dma(&b, SELECT(FW_CFG_KERNEL_DATA) | READ, 3 * 4096 - 16, BUFFER), ==, 0);
    g_assert_cmpint(region_host(&b.ram)[BUFFER + 5000], ==, 0);
    bench_end(&b);
    close(fd);
    g_unlink(path);
    g_free(path);
}

static void test_options(void)
{
    static const char *const bad[] = {
        "", "name=opt/x", "string=x", "name=opt/x,string=a,file=/dev/null", "name=opt/x,file=/nonexistent",
        "name=opt/x,strnig=a", "name=,string=a", "name=opt/x,gen_id=g", "name=opt/x,file=/",
        "name=opt/12345678901234567890123456789012345678901234567890123456,string=x", "name=opt/ok,string=again",
    };
    GBytes *content;
    GError *err = NULL;
    Bench b;

    bench_start(&b);
    g_assert_true(fw_cfg_add_option(b.fw, "name=opt/ok,string=a,,b=c", &err));
    g_assert_true(fw_cfg_add_option(b.fw, "opt/short,string=", &err));
    content = fw_cfg_file_content(b.fw, "opt/ok");
    g_assert_cmpmem(g_bytes_get_data(content, NULL), g_bytes_get_size(content), "a,b=c", 5);
    g_bytes_unref(content);
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_assert_false(fw_cfg_add_option(b.fw, bad[i], &err));
        g_assert_nonnull(err);
        g_clear_error(&err);
    }
    bench_end(&b);
}

static void test_state(void)
{
    GByteArray *saved = g_byte_array_new();
    const StateDesc *desc;
    GError *err = NULL;
    Bench b;

    bench_start(&b);
    desc = type_state(((Object *)b.fw)->type);
    select_key(&b, FW_CFG_SIGNATURE);
    read_byte(&b);
    address_space_store(&b.vm->io, 0x514, 4, GUINT32_SWAP_LE_BE(0x12u));
    state_save_fields(desc, b.fw, saved);
    select_key(&b, FW_CFG_ID);
    g_assert_true(state_load_fields(desc, b.fw, desc->version, saved->data, saved->len, &err));
    g_assert_no_error(err);
    g_assert_cmpint(read_byte(&b), ==, 'E');
    /* A position far outside reads as nothing. */
    memset(saved->data, 0, 2);
    memset(saved->data + 2, 0xff, 4);
    g_assert_true(state_load_fields(desc, b.fw, desc->version, saved->data, saved->len, &err));
    g_assert_cmpint(read_byte(&b), ==, 0);
    g_assert_cmphex(dma(&b, READ, 4, BUFFER), ==, 0);
    g_byte_array_unref(saved);
    bench_end(&b);
}

/* Random selectors, reads and requests, some of which point at the request itself. */
static void test_random(void)
{
    static const FwCfgSource source = {.fill = content_fill, .written = content_written};
    GRand *rand = g_rand_new_with_seed(1);
    Content c = {0};
    Bench b;

    bench_start(&b);
    fw_cfg_add_bytes(b.fw, FW_CFG_KERNEL_DATA, "kernel", 6);
    g_assert_true(fw_cfg_add_file_source(b.fw, "etc/lazy", &source, &c, NULL));
    for (unsigned i = 0; i < 20000; i++) {
        uint16_t key = (uint16_t)g_rand_int_range(rand, 0, 0x24) | (g_rand_boolean(rand) ? 0 : 0x8000);

        switch (g_rand_int_range(rand, 0, 4)) {
        case 0:
            select_key(&b, (uint16_t)g_rand_int(rand));
            break;
        case 1:
            read_byte(&b);
            break;
        case 2:
            dma(&b, (uint32_t)key << 16 | (g_rand_int(rand) & 0x1f), g_rand_int(rand) & 0xff,
                REQUEST - 8 + (g_rand_int(rand) & 0x1f));
            break;
        default:
            dma(&b, g_rand_int(rand), g_rand_int(rand) & 0xfffff, g_rand_int(rand));
            break;
        }
    }
    g_rand_free(rand);
    bench_end(&b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/fw-cfg/ports", test_ports);
    g_test_add_func("/fw-cfg/directory", test_directory);
    g_test_add_func("/fw-cfg/dma", test_dma);
    g_test_add_func("/fw-cfg/source", test_source);
    g_test_add_func("/fw-cfg/fd", test_fd);
    g_test_add_func("/fw-cfg/options", test_options);
    g_test_add_func("/fw-cfg/state", test_state);
    g_test_add_func("/fw-cfg/random", test_random);
    return g_test_run();
}
