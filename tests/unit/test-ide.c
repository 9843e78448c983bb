/* SPDX-License-Identifier: GPL-2.0-or-later */
/* IDE in process: PIIX3 function, disk and CD-ROM, PIO and bus master, errors, resets, state. */
#include <fcntl.h>
#include <glib/gstdio.h>
#include <unistd.h>

#include "hw/ide/ide.h"
#include "hw/isa/isa.h"
#include "hw/pci/pci.h"

#define DISK_SECTORS 131072u /* 64 MiB */
#define CD_SECTORS 512u
#define PRD 0x10000u
#define BUF 0x20000u
#define BM 0xc000u

typedef struct Fixture {
    Vm *vm;
    Region ram;
    PciBus *pci;
    Device *piix;
    Irq irq[2];
    unsigned irqs[2]; /* rising edges seen */
    int level[2];
    char *dir, *disk, *iso;
} Fixture;

/* ---- ports ---------------------------------------------------------------------------------- */

static void out(Fixture *f, uint64_t port, unsigned size, uint64_t value)
{
    address_space_store(&f->vm->io, port, size, value);
}

static uint64_t in(Fixture *f, uint64_t port, unsigned size)
{
    uint64_t value = 0;

    address_space_load(&f->vm->io, port, size, &value);
    return value;
}

static uint8_t inb(Fixture *f, uint64_t port)
{
    return (uint8_t)in(f, port, 1);
}
static void outb(Fixture *f, uint64_t port, uint8_t value)
{
    out(f, port, 1, value);
}

static uint64_t control(uint64_t base)
{
    return base + 0x206;
}

/* Without touching the interrupt. */
static uint8_t wait_ready(Fixture *f, uint64_t base)
{
    uint8_t status;

    while ((status = inb(f, control(base))) & IDE_BSY) {
        loop_run_once(f->vm->loop, -1);
    }
    return status;
}

static void irq_handler(void *opaque, unsigned n, int level)
{
    Fixture *f = opaque;

    f->irqs[n] += level && !f->level[n];
    f->level[n] = level;
}

/* ---- set-up --------------------------------------------------------------------------------- */

static char *make_image(Fixture *f, const char *name, uint64_t sectors, unsigned sector_size)
{
    char *path = g_strdup_printf("%s/%s", f->dir, name);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    uint8_t block[2048];

    g_assert_cmpint(ftruncate(fd, (off_t)(sectors * sector_size)), ==, 0);
    for (unsigned i = 0; i < 256; i++) {
        memset(block, (int)(i + 1), sizeof block);
        g_assert_cmpint(pwrite(fd, block, sector_size, (off_t)i * sector_size), ==, sector_size);
    }
    close(fd);
    return path;
}

static void setup_machine(Fixture *f, const char *disk_options)
{
    GError *err = NULL;
    g_autofree char *drive = g_strdup_printf("file=%s,format=raw,%s", f->disk, disk_options);
    g_autofree char *cdrom = g_strdup_printf("file=%s,format=raw,media=cdrom,index=2", f->iso);
    IsaBus *isa;

    f->vm = vm_new(&err);
    g_assert_no_error(err);
    g_assert_true(region_init_ram(&f->ram, f->vm, "ram", 16 * MIB, &err));
    region_add(&f->vm->system_memory, 0, &f->ram);
    isa = isa_bus_new(f->vm, NULL, &f->vm->system_memory, &f->vm->system_io);
    for (unsigned i = 0; i < 2; i++) {
        irq_init(&f->irq[i], irq_handler, f, i);
        isa->irqs[14 + i] = &f->irq[i];
        f->irqs[i] = 0;
        f->level[i] = 0;
    }
    f->pci = pci_root_bus_new(f->vm, NULL, "pci.0", &f->vm->system_memory, &f->vm->system_io, 0);
    g_assert_true(blk_add_drive(f->vm, drive, NULL, NULL, &err));
    g_assert_true(blk_add_drive(f->vm, cdrom, NULL, NULL, &err));
    f->piix = &pci_create(f->pci, PCI_DEVFN(1, 1), false, "piix3-ide", &err)->dev;
    g_assert_no_error(err);
    g_assert_true(ide_connect_drives(f->piix, &err));
    g_assert_no_error(err);
    device_reset(f->piix);
    pci_config_write((PciDevice *)f->piix, PCI_BASE_ADDRESS_4, BM, 4);
    pci_config_write((PciDevice *)f->piix, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MASTER, 2);
}

static void free_machine(Fixture *f)
{
    blk_cleanup(f->vm);
    region_remove(&f->ram);
    region_destroy(&f->ram);
    vm_free(f->vm);
}

static void setup(Fixture *f, const void *data)
{
    f->dir = g_strdup("test-ide-XXXXXX");
    g_assert_nonnull(g_mkdtemp(f->dir));
    f->disk = make_image(f, "disk.raw", DISK_SECTORS, 512);
    f->iso = make_image(f, "cd.iso", CD_SECTORS, 2048);
    setup_machine(f, data ? data : "index=0");
}

static void teardown(Fixture *f, const void *data)
{
    (void)data;
    free_machine(f);
    g_unlink(f->disk);
    g_unlink(f->iso);
    g_rmdir(f->dir);
    g_free(f->disk);
    g_free(f->iso);
    g_free(f->dir);
}

/* ---- commands ------------------------------------------------------------------------------- */

#define HD_BASE 0x1f0u
#define CD_BASE 0x170u

static void task_file(Fixture *f, uint64_t base, uint8_t features, uint8_t count, uint64_t lba)
{
    outb(f, base + 6, (uint8_t)(0xe0 | ((lba >> 24) & 0xf)));
    outb(f, base + 1, features);
    outb(f, base + 2, count);
    outb(f, base + 3, (uint8_t)lba);
    outb(f, base + 4, (uint8_t)(lba >> 8));
    outb(f, base + 5, (uint8_t)(lba >> 16));
}

static uint8_t command(Fixture *f, uint64_t base, uint8_t cmd)
{
    outb(f, base + 7, cmd);
    return wait_ready(f, base);
}

static void read_data(Fixture *f, uint64_t base, uint8_t *buf, size_t len)
{
    for (size_t i = 0; i < len; i += 2) {
        store16_le(buf + i, (uint16_t)in(f, base, 2));
    }
}

static uint16_t word(const uint8_t *buf, unsigned n)
{
    return load16_le(buf + 2 * n);
}

static void test_identify(Fixture *f, const void *data)
{
    uint8_t id[512];

    (void)data;
    g_assert_cmphex(inb(f, 0x1f7), ==, 0x50);
    g_assert_cmphex(command(f, HD_BASE, 0xec), ==, 0x58);
    g_assert_cmpuint(f->irqs[0], ==, 1);
    g_assert_cmpint(f->level[0], ==, 1);
    inb(f, 0x1f7);
    g_assert_cmpint(f->level[0], ==, 0);
    read_data(f, HD_BASE, id, 512);
    g_assert_cmphex(inb(f, 0x1f7), ==, 0x50);
    g_assert_cmphex(word(id, 0), ==, 0x0040);
    g_assert_cmphex(word(id, 1), ==, 130);
    g_assert_cmphex(word(id, 47), ==, 0x8010);
    g_assert_cmphex(word(id, 49), ==, 0x0b00);
    g_assert_cmphex(word(id, 59), ==, 0x0110);
    g_assert_cmphex(word(id, 82), ==, 0x4021);
    g_assert_cmphex(word(id, 83), ==, 0x7400);
    g_assert_cmphex(word(id, 85), ==, 0x4021);
    g_assert_cmphex(word(id, 88), ==, 0x203f);
    g_assert_cmphex(word(id, 106), ==, 0x6000);
    g_assert_cmphex(word(id, 169), ==, 1);
    g_assert_cmpuint(load32_le(id + 120), ==, DISK_SECTORS);
    g_assert_cmpuint(load64_le(id + 200), ==, DISK_SECTORS);
    g_assert_true(!memcmp(id + 20, "MQ0000 1            ", 20));
    g_assert_true(!memcmp(id + 46, ".2+5    EQUMH RADDSI K", 22));
    /* The absent drive 1. */
    outb(f, 0x1f6, 0xb0);
    g_assert_cmphex(inb(f, 0x1f7), ==, 0);
    g_assert_cmphex(inb(f, 0x1f4), ==, 0xff);
}

static void test_pio(Fixture *f, const void *data)
{
    uint8_t buf[1024];

    (void)data;
    task_file(f, HD_BASE, 0, 2, 5);
    g_assert_cmphex(command(f, HD_BASE, 0x20), ==, 0x58);
    read_data(f, HD_BASE, buf, 512);
    g_assert_cmpint(buf[0], ==, 6);
    inb(f, 0x1f7);
    g_assert_cmphex(wait_ready(f, HD_BASE), ==, 0x58);
    read_data(f, HD_BASE, buf, 512);
    g_assert_cmpint(buf[511], ==, 7);
    g_assert_cmphex(inb(f, 0x1f7), ==, 0x50);
    g_assert_cmpuint(f->irqs[0], ==, 2);
    g_assert_cmpint(inb(f, 0x1f3), ==, 7);
    /* Nothing more comes. */
    g_assert_cmphex(in(f, 0x1f0, 2), ==, 0);

    task_file(f, HD_BASE, 0, 1, 1000);
    g_assert_cmphex(command(f, HD_BASE, 0x30), ==, 0x58);
    for (unsigned i = 0; i < 128; i++) {
        out(f, 0x1f0, 4, 0xa5a5a500 + i);
    }
    g_assert_cmphex(wait_ready(f, HD_BASE), ==, 0x50);
    task_file(f, HD_BASE, 0, 1, 1000);
    command(f, HD_BASE, 0x20);
    g_assert_cmphex(in(f, 0x1f0, 4), ==, 0xa5a5a500);

    /* A command while data is due is not heard. */
    outb(f, 0x1f7, 0xec);
    g_assert_cmphex(in(f, 0x1f0, 4), ==, 0xa5a5a501);
}

static void test_pio_multiple(Fixture *f, const void *data)
{
    uint8_t buf[4096];

    (void)data;
    task_file(f, HD_BASE, 0, 4, 0);
    g_assert_cmphex(command(f, HD_BASE, 0xc6), ==, 0x50);
    task_file(f, HD_BASE, 0, 6, 10);
    g_assert_cmphex(command(f, HD_BASE, 0xc4), ==, 0x58);
    read_data(f, HD_BASE, buf, 2048);
    g_assert_cmphex(wait_ready(f, HD_BASE), ==, 0x58);
    read_data(f, HD_BASE, buf + 2048, 1024);
    g_assert_cmphex(wait_ready(f, HD_BASE), ==, 0x50);
    for (unsigned i = 0; i < 6; i++) {
        g_assert_cmpint(buf[i * 512], ==, (int)i + 11);
    }
    task_file(f, HD_BASE, 0, 3, 0);
    g_assert_cmphex(command(f, HD_BASE, 0xc6), ==, 0x41);
}

static void test_errors(Fixture *f, const void *data)
{
    (void)data;
    task_file(f, HD_BASE, 0, 2, DISK_SECTORS - 1);
    g_assert_cmphex(command(f, HD_BASE, 0x20), ==, 0x58);
    for (unsigned i = 0; i < 256; i++) {
        in(f, 0x1f0, 2);
    }
    g_assert_cmphex(wait_ready(f, HD_BASE), ==, 0x41);
    g_assert_cmphex(inb(f, 0x1f1), ==, 0x04);
    g_assert_cmphex(inb(f, 0x1f2), ==, 1);
    task_file(f, HD_BASE, 0, 1, DISK_SECTORS);
    g_assert_cmphex(command(f, HD_BASE, 0x40), ==, 0x41);
    g_assert_cmphex(command(f, HD_BASE, 0xfe), ==, 0x41);
    g_assert_cmphex(command(f, HD_BASE, 0xe7), ==, 0x50);
    g_assert_cmphex(command(f, HD_BASE, 0xe0), ==, 0x40);
    g_assert_cmphex(command(f, HD_BASE, 0xf8), ==, 0x50);
    g_assert_cmphex(inb(f, 0x1f3), ==, 0xff);
    /* CHS sector 0 does not exist. */
    outb(f, 0x1f6, 0xa0);
    outb(f, 0x1f3, 0);
    outb(f, 0x1f2, 1);
    g_assert_cmphex(command(f, HD_BASE, 0x20), ==, 0x41);
}

static void test_lba48(Fixture *f, const void *data)
{
    (void)data;
    outb(f, 0x1f6, 0xe0);
    outb(f, 0x1f2, 0);
    outb(f, 0x1f2, 1);
    outb(f, 0x1f3, 0);
    outb(f, 0x1f3, 9);
    outb(f, 0x1f4, 0);
    outb(f, 0x1f4, 0);
    outb(f, 0x1f5, 0);
    outb(f, 0x1f5, 0);
    g_assert_cmphex(command(f, HD_BASE, 0x24), ==, 0x58);
    g_assert_cmphex(in(f, 0x1f0, 2), ==, 0x0a0a);
    /* An address that only 48 bits can name. */
    outb(f, control(HD_BASE), IDE_SRST);
    outb(f, control(HD_BASE), 0);
    outb(f, 0x1f6, 0xe0);
    outb(f, 0x1f5, 0xff);
    outb(f, 0x1f5, 0);
    outb(f, 0x1f2, 0);
    outb(f, 0x1f2, 1);
    g_assert_cmphex(command(f, HD_BASE, 0x24), ==, 0x41);
}

/* ---- bus master ----------------------------------------------------------------------------- */

static void store_prd(Fixture *f, unsigned n, uint32_t addr, uint32_t len, bool last)
{
    address_space_store(&f->vm->memory, PRD + 8 * n, 4, addr);
    address_space_store(&f->vm->memory, PRD + 8 * n + 4, 4,
                        (len & 0xffff) | (last ? 0x80000000u : 0));
}

static void wait_dma(Fixture *f, uint64_t base)
{
    while (blk_in_flight(blk_find(f->vm, base == HD_BASE ? "ide0-hd0" : "ide1-cd0"))) {
        loop_run_once(f->vm->loop, -1);
    }
}

static void start_dma(Fixture *f, uint64_t bm, bool to_memory)
{
    out(f, bm + 4, 4, PRD);
    outb(f, bm, to_memory ? 8 : 0);
    outb(f, bm + 2, 6);
    outb(f, bm, (uint8_t)((to_memory ? 8 : 0) | 1));
}

static uint8_t memory_byte(Fixture *f, uint64_t addr)
{
    uint64_t value;

    address_space_load(&f->vm->memory, addr, 1, &value);
    return (uint8_t)value;
}

static void test_dma(Fixture *f, const void *data)
{
    (void)data;
    store_prd(f, 0, BUF, 512, false);
    store_prd(f, 1, BUF + 0x1000, 1024, false);
    store_prd(f, 2, BUF + 0x3000, 512, true);
    task_file(f, HD_BASE, 0, 4, 20);
    outb(f, 0x1f7, 0xc8);
    start_dma(f, BM, true);
    wait_dma(f, HD_BASE);
    g_assert_cmpuint(f->irqs[0], ==, 1);
    g_assert_cmphex(inb(f, BM + 2), ==, 0x04);
    g_assert_cmphex(inb(f, 0x1f7), ==, 0x50);
    g_assert_cmpint(memory_byte(f, BUF), ==, 21);
    g_assert_cmpint(memory_byte(f, BUF + 0x1000), ==, 22);
    g_assert_cmpint(memory_byte(f, BUF + 0x1200), ==, 23);
    g_assert_cmpint(memory_byte(f, BUF + 0x31ff), ==, 24);
    g_assert_cmpint(memory_byte(f, BUF + 0x3200), ==, 0);
    outb(f, BM, 0);

    /* The engine first, then the command; to the disk this time. */
    start_dma(f, BM, false);
    task_file(f, HD_BASE, 0, 4, 40);
    outb(f, 0x1f7, 0xca);
    wait_dma(f, HD_BASE);
    g_assert_cmphex(inb(f, 0x1f7), ==, 0x50);
    outb(f, BM, 0);
    task_file(f, HD_BASE, 0, 1, 43);
    command(f, HD_BASE, 0x20);
    g_assert_cmphex(in(f, 0x1f0, 2), ==, 0x1818);
}

static void test_dma_bad_tables(Fixture *f, const void *data)
{
    (void)data;
    /* Longer than the command: stays active, interrupts. */
    store_prd(f, 0, BUF, 4096, true);
    task_file(f, HD_BASE, 0, 1, 1);
    outb(f, 0x1f7, 0xc8);
    start_dma(f, BM, true);
    wait_dma(f, HD_BASE);
    g_assert_cmphex(inb(f, BM + 2), ==, 0x05);
    g_assert_cmpuint(f->irqs[0], ==, 1);
    outb(f, BM, 0);
    inb(f, 0x1f7);
    /* Shorter: ends, no interrupt. */
    store_prd(f, 0, BUF, 512, true);
    task_file(f, HD_BASE, 0, 2, 1);
    outb(f, 0x1f7, 0xc8);
    start_dma(f, BM, true);
    wait_dma(f, HD_BASE);
    g_assert_cmphex(inb(f, BM + 2), ==, 0x00);
    g_assert_cmpuint(f->irqs[0], ==, 1);
    outb(f, BM, 0);
    /* At no RAM: an error. */
    store_prd(f, 0, 0xe0000000u, 512, true);
    task_file(f, HD_BASE, 0, 1, 1);
    outb(f, 0x1f7, 0xc8);
    start_dma(f, BM, true);
    wait_dma(f, HD_BASE);
    g_assert_cmphex(inb(f, BM + 2), ==, 0x06);
    g_assert_cmphex(inb(f, 0x1f7), ==, 0x41);
    outb(f, BM, 0);
    /* Out of range. */
    store_prd(f, 0, BUF, 512, true);
    task_file(f, HD_BASE, 0, 1, DISK_SECTORS);
    outb(f, 0x1f7, 0xc8);
    start_dma(f, BM, true);
    wait_dma(f, HD_BASE);
    g_assert_cmphex(inb(f, 0x1f7), ==, 0x41);
}

static void test_trim(Fixture *f, const void *data)
{
    BlockBackend *blk = blk_find(f->vm, "ide0-hd0");

    (void)data;
    store_prd(f, 0, BUF, 512, true);
    address_space_store(&f->vm->memory, BUF, 8, UINT64_C(0x0008000000000010));
    task_file(f, HD_BASE, 1, 0, 0);
    task_file(f, HD_BASE, 1, 1, 0);
    outb(f, 0x1f7, 0x06);
    start_dma(f, BM, false);
    wait_dma(f, HD_BASE);
    g_assert_cmphex(inb(f, 0x1f7), ==, 0x50);
    g_assert_cmpuint(blk_stats(blk)->bytes[BLK_STAT_DISCARD], ==, 8 * 512);
    outb(f, BM, 0);
    address_space_store(&f->vm->memory, BUF, 8, UINT64_C(0x000800000001ffff));
    outb(f, 0x1f7, 0x06);
    start_dma(f, BM, false);
    wait_dma(f, HD_BASE);
    g_assert_cmphex(inb(f, 0x1f7), ==, 0x41);
}

/* ---- resets --------------------------------------------------------------------------------- */

static void test_reset_busy(Fixture *f, const void *data)
{
    BlockBackend *blk = blk_find(f->vm, "ide0-hd0");

    (void)data;
    for (unsigned how = 0; how < 4; how++) {
        store_prd(f, 0, BUF, 0, true);
        task_file(f, HD_BASE, 0, 128, 0);
        outb(f, 0x1f7, 0xc8);
        start_dma(f, BM, true);
        g_assert_cmpuint(blk_in_flight(blk), ==, 1);
        if (how == 0) {
            outb(f, control(HD_BASE), IDE_SRST);
            outb(f, control(HD_BASE), 0);
            g_assert_cmphex(inb(f, 0x1f1), ==, 0x01);
            g_assert_cmphex(inb(f, 0x1f2), ==, 0x01);
        } else if (how == 1) {
            device_reset(f->piix);
            pci_config_write((PciDevice *)f->piix, PCI_BASE_ADDRESS_4, BM, 4);
            pci_config_write((PciDevice *)f->piix, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MASTER,
                             2);
        } else if (how == 2) {
            outb(f, BM, 0); /* waits for what is under way */
            g_assert_cmphex(inb(f, BM + 2) & 1, ==, 0);
        } else {
            wait_dma(f, HD_BASE);
        }
        g_assert_cmpuint(blk_in_flight(blk), ==, 0);
        g_assert_cmphex(inb(f, 0x1f7), ==, 0x50);
        outb(f, BM, 0);
    }
}

/* ---- packets -------------------------------------------------------------------------------- */

static uint8_t send_packet(Fixture *f, uint8_t features, uint16_t limit, const uint8_t *cdb)
{
    outb(f, CD_BASE + 1, features);
    outb(f, CD_BASE + 4, (uint8_t)limit);
    outb(f, CD_BASE + 5, (uint8_t)(limit >> 8));
    g_assert_cmphex(command(f, CD_BASE, 0xa0), ==, 0x58);
    g_assert_cmphex(inb(f, CD_BASE + 2), ==, 1);
    for (unsigned i = 0; i < 12; i += 2) {
        out(f, CD_BASE, 2, load16_le(cdb + i));
    }
    return features & 1 ? 0 : wait_ready(f, CD_BASE); /* DMA: busy until the engine runs */
}

/* All pieces of a PIO reply; returns its length. */
static size_t packet(Fixture *f, uint16_t limit, const uint8_t *cdb, uint8_t *reply,
                     uint8_t *status)
{
    size_t len = 0;

    *status = send_packet(f, 0, limit, cdb);
    while (*status & IDE_DRQ) {
        unsigned piece = inb(f, CD_BASE + 4) | (unsigned)inb(f, CD_BASE + 5) << 8;

        g_assert_cmphex(inb(f, CD_BASE + 2) & 7, ==, 2);
        g_assert_cmpuint(piece, <=, limit);
        read_data(f, CD_BASE, reply + len, piece);
        len += piece;
        *status = wait_ready(f, CD_BASE);
    }
    g_assert_cmphex(inb(f, CD_BASE + 2) & 7, ==, 3);
    return len;
}

static void expect_reply(Fixture *f, const char *cdb_hex, const char *reply_hex)
{
    uint8_t cdb[12] = {0}, reply[4096], status;
    g_autoptr(GString) text = g_string_new(NULL);
    size_t len;

    for (unsigned i = 0; cdb_hex[2 * i]; i++) {
        cdb[i] = (uint8_t)(g_ascii_xdigit_value(cdb_hex[2 * i]) << 4 |
                           g_ascii_xdigit_value(cdb_hex[2 * i + 1]));
    }
    len = packet(f, 0xfffe, cdb, reply, &status);
    for (size_t i = 0; i < len; i++) {
        g_string_append_printf(text, "%02x", reply[i]);
    }
    if (*reply_hex == '!') {
        /* "!kk": error with this sense key and code. */
        g_assert_cmphex(status, ==, 0x41);
        reply_hex++;
        g_assert_cmphex(inb(f, CD_BASE + 1) >> 4, ==, (unsigned)g_ascii_xdigit_value(*reply_hex));
        return;
    }
    g_assert_cmphex(status, ==, 0x50);
    g_assert_cmpstr(text->str, ==, reply_hex);
}

/* Replies recorded from QEMU 7.2 with a medium of 512 sectors. */
static void test_packets(Fixture *f, const void *data)
{
    static const char *const table[][2] = {
        {"00", ""},
        {"0300000012", "f00000000000000a00000000000000000000"},
        {"1200000024", "058000211f00000051454d552020202051454d55204456442d524f4d20202020322e352b"},
        {"1200000060", "058000211f00000051454d552020202051454d55204456442d524f4d20202020322e352b"},
        {"1201000060", "050000020083"},
        {"1201830060", "0583001802000014514d303030303320202020202020202020202020"},
        {"1201800060", "!5"},
        {"0300000012", "f00005000000000a00000000240000000000"},
        {"25", "000001ff00000800"},
        {"43000000000000004000", "0012010100140100000000000016aa0000000200"},
        {"43020000000000004000", "0012010100140100000002000016aa000000083e"},
        {"430000000000aa004000", "000a01010016aa0000000200"},
        {"43000000000000004040", "000a01010000000000000000"},
        {"43000000000000004080", "002e0101011400a000000000010000011400a100000000010000011400a200000"
                                 "0000002000114000100000000000000"},
        {"5a000100000000008000", "000e7000000000000106000500000000"},
        {"5a002a00000000008000", "001c7000000000002a143b007160290002c00002020002c0000000000000"},
        {"5a003f00000000008000", "!5"},
        {"4a010000100000000800", "0004041000020000"},
        {"4a000000100000000800", "!5"},
        {"4a010000010000000800", "00008010"},
        {"4600000000000000ff00", "0000001000000008000003080010000000080100"},
        {"bd000000000000000008", "0000000000010000"},
        {"51000000000000004000",
         "00200e01010101200000000000000000000000000000000000000000000000000000"},
        {"ad000000000000000040", "!5"},
        {"ad000000000000ff0040", "001200000040080401400008034000c004400804"},
        {"280000000200000001", "!5"},
        {"0300000012", "f00005000000000a00000000210000000000"},
        {"be000000000100000100", ""},
        {"be000000000100000158", "!5"},
        {"2b", ""},
        {"35", "!5"},
        {"1e00000001", ""},
        {"1b00000002", "!2"},
        {"0300000012", "f00002000000000a00000000530000000000"},
        {"1e00000000", ""},
        {"1b00000002", ""},
        {"00", "!2"},
        {"4a010000100000000800", "0004041000010000"},
        {"1b00000003", ""},
        {"00", ""},
        {"55", "!5"},
    };

    (void)data;
    for (unsigned i = 0; i < G_N_ELEMENTS(table); i++) {
        g_test_message("%s", table[i][0]);
        expect_reply(f, table[i][0], table[i][1]);
    }
}

static void test_cd_identify(Fixture *f, const void *data)
{
    uint8_t id[512];

    (void)data;
    g_assert_cmphex(inb(f, 0x174), ==, 0x14);
    g_assert_cmphex(inb(f, 0x175), ==, 0xeb);
    g_assert_cmphex(command(f, CD_BASE, 0xec), ==, 0x41);
    g_assert_cmphex(command(f, CD_BASE, 0xa1), ==, 0x58);
    read_data(f, CD_BASE, id, 512);
    g_assert_cmphex(word(id, 0), ==, 0x85c0);
    g_assert_cmphex(word(id, 49), ==, 0x0300);
    g_assert_true(!memcmp(id + 54, "EQUMD DVR-MO", 12));
    g_assert_cmphex(command(f, CD_BASE, 0x08), ==, 0x00);
    g_assert_cmphex(inb(f, 0x174), ==, 0x14);
}

static void test_cd_read(Fixture *f, const void *data)
{
    uint8_t cdb[12] = {0x28, 0, 0, 0, 0, 7, 0, 0, 100}, status;
    g_autofree uint8_t *buf = g_malloc(300000);

    (void)data;
    /* More than the buffer holds, in odd pieces. */
    g_assert_cmpuint(packet(f, 3001, cdb, buf, &status), ==, 204800);
    g_assert_cmphex(status, ==, 0x50);
    for (unsigned i = 0; i < 100; i++) {
        g_assert_cmpint(buf[i * 2048], ==, (int)i + 8);
        g_assert_cmpint(buf[i * 2048 + 2047], ==, (int)i + 8);
    }
    cdb[8] = 2;
    memset(buf, 0, 4096);
    store_prd(f, 0, BUF, 2048 + 512, false);
    store_prd(f, 1, BUF + 0x2000, 2048 - 512, true);
    send_packet(f, 1, 0, cdb);
    start_dma(f, BM + 8, true);
    wait_dma(f, CD_BASE);
    g_assert_cmphex(inb(f, 0x177), ==, 0x50);
    g_assert_cmphex(inb(f, BM + 8 + 2), ==, 0x04);
    g_assert_cmpint(memory_byte(f, BUF), ==, 8);
    g_assert_cmpint(memory_byte(f, BUF + 0x2000 + 2047 - 512), ==, 9);
    outb(f, BM + 8, 0);
    /* INQUIRY by DMA. */
    memset(cdb, 0, sizeof cdb);
    cdb[0] = 0x12;
    cdb[4] = 36;
    store_prd(f, 0, BUF, 36, true);
    send_packet(f, 1, 0, cdb);
    start_dma(f, BM + 8, true);
    g_assert_cmphex(wait_ready(f, CD_BASE), ==, 0x50);
    g_assert_cmpint(memory_byte(f, BUF + 8), ==, 'Q');
    outb(f, BM + 8, 0);
    /* A raw frame. */
    memset(cdb, 0, sizeof cdb);
    cdb[0] = 0xbe;
    cdb[5] = 1;
    cdb[8] = 1;
    cdb[9] = 0xf8;
    g_assert_cmpuint(packet(f, 0xfffe, cdb, buf, &status), ==, 2352);
    g_assert_true(!memcmp(buf, "\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\2\1\1\2\2", 18));
}

/* ---- state ---------------------------------------------------------------------------------- */

static void save(Fixture *f, GByteArray *out_bytes)
{
    blk_drain_all(f->vm);
    state_save_fields(type_state(f->piix->obj.type), f->piix, out_bytes);
}

/* In the middle of a PIO read and of a packet reply, into a fresh machine. */
static void test_state(Fixture *f, const void *data)
{
    g_autoptr(GByteArray) first = g_byte_array_new(), second = g_byte_array_new();
    uint8_t cdb[12] = {0x12, 0, 0, 0, 36};
    GError *err = NULL;

    (void)data;
    task_file(f, HD_BASE, 0, 2, 5);
    g_assert_cmphex(command(f, HD_BASE, 0x20), ==, 0x58);
    in(f, 0x1f0, 2);
    g_assert_cmphex(send_packet(f, 0, 20, cdb), ==, 0x58);
    in(f, 0x170, 4);
    in(f, 0x170, 4);
    save(f, first);
    free_machine(f);
    setup_machine(f, "index=0");
    state_load_fields(type_state(f->piix->obj.type), f->piix, 3, first->data, first->len, &err);
    g_assert_no_error(err);
    save(f, second);
    g_assert_cmpmem(first->data, first->len, second->data, second->len);
    for (unsigned i = 1; i < 256; i++) {
        g_assert_cmphex(in(f, 0x1f0, 2), ==, 0x0606);
    }
    g_assert_cmphex(wait_ready(f, HD_BASE), ==, 0x58);
    g_assert_cmphex(in(f, 0x1f0, 2), ==, 0x0707);
    g_assert_cmphex(in(f, 0x170, 4), ==, 0x554d4551); /* "QEMU" */
    for (unsigned i = 0; i < 2; i++) {
        in(f, 0x170, 4);
    }
    g_assert_cmphex(wait_ready(f, CD_BASE), ==, 0x58);
    g_assert_cmphex(inb(f, 0x174), ==, 16);
    /* A window that is not in the buffer is refused. */
    {
        uint8_t *p = first->data;

        for (size_t i = 0; i + 4 < first->len; i++) {
            if (load32_be(p + i) == 512 - 2 && load32_be(p + i - 4) == 2) {
                store32_be(p + i - 4, 131076);
            }
        }
        g_assert_false(
            state_load_fields(type_state(f->piix->obj.type), f->piix, 3, p, first->len, &err));
        g_assert_nonnull(err);
        g_clear_error(&err);
    }
}

/* ---- a guest that does anything ------------------------------------------------------------- */

static void test_random(Fixture *f, const void *data)
{
    static const uint16_t ports[] = {0x1f0, 0x1f1, 0x1f2, 0x1f3,  0x1f4,  0x1f5,  0x1f6,   0x1f7,
                                     0x3f6, 0x170, 0x171, 0x172,  0x173,  0x174,  0x175,   0x176,
                                     0x177, 0x376, BM,    BM + 2, BM + 4, BM + 8, BM + 10, BM + 12};
    /* Half of the commands are known ones, so that they get somewhere. */
    static const uint8_t commands[] = {0x20, 0x24, 0x25, 0x29, 0x30, 0x35, 0x39, 0x06, 0x08,
                                       0x90, 0xa0, 0xa0, 0xa0, 0xa1, 0xc4, 0xc5, 0xc6, 0xc8,
                                       0xca, 0xe7, 0xec, 0xef, 0xb0, 0xce, 0x3d};
    static const uint8_t packets[] = {0x28, 0xa8, 0xbe, 0x12, 0x43, 0x5a,
                                      0x4a, 0x46, 0xad, 0x1b, 0x1e, 0x25};
    GRand *rand = g_rand_new_with_seed(11);

    (void)data;
    for (unsigned i = 0; i < 300000; i++) {
        uint16_t port = ports[g_rand_int_range(rand, 0, G_N_ELEMENTS(ports))];
        unsigned size = 1u << g_rand_int_range(rand, 0, 3);
        uint32_t value = g_rand_int(rand);

        if ((port & 0xf7f) == 0x177 && g_rand_boolean(rand)) {
            value = commands[g_rand_int_range(rand, 0, G_N_ELEMENTS(commands))];
            size = 1;
        }
        if (port == 0x170 && g_rand_boolean(rand)) {
            value = packets[g_rand_int_range(rand, 0, G_N_ELEMENTS(packets))];
        }
        if ((port == BM + 4 || port == BM + 12) && g_rand_boolean(rand)) {
            value = PRD;
        }
        if (i % 64 == 0) {
            store_prd(f, 0, g_rand_boolean(rand) ? BUF : value, value >> 3, value & 4);
            store_prd(f, 1, BUF + 0x4000, 0, true);
        }
        if (g_rand_int_range(rand, 0, 3)) {
            out(f, port, size, value);
        } else {
            in(f, port, size);
        }
        if (i % 16 == 0) {
            loop_run_once(f->vm->loop, 0);
        }
    }
    g_rand_free(rand);
    /* Still alive, and a reset brings it back. */
    device_reset(f->piix);
    g_assert_cmphex(command(f, HD_BASE, 0xec), ==, 0x58);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, fn) g_test_add("/ide/" name, Fixture, NULL, setup, fn, teardown)
    ADD("identify", test_identify);
    ADD("pio", test_pio);
    ADD("pio-multiple", test_pio_multiple);
    ADD("errors", test_errors);
    ADD("lba48", test_lba48);
    ADD("dma", test_dma);
    ADD("dma-bad-tables", test_dma_bad_tables);
    ADD("trim", test_trim);
    ADD("reset-busy", test_reset_busy);
    ADD("cd-identify", test_cd_identify);
    ADD("packets", test_packets);
    ADD("cd-read", test_cd_read);
    ADD("state", test_state);
    ADD("random", test_random);
    g_test_add("/ide/dma/direct", Fixture, "index=0,cache=none", setup, test_dma, teardown);
    g_test_add("/ide/dma/native", Fixture, "index=0,cache=none,aio=native", setup, test_dma,
               teardown);
    g_test_add("/ide/dma/io_uring", Fixture, "index=0,aio=io_uring", setup, test_dma, teardown);
    return g_test_run();
}
