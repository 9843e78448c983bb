/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine of the tests of IDE: a PIIX3 function with a disk on its first channel and a CD-ROM on its second, whose
 * first 255 blocks are filled with their number + 1; and what a driver does: task files, bus master, packets.
 */
#ifndef TESTS_UNIT_IDE_FIXTURE_H
#define TESTS_UNIT_IDE_FIXTURE_H

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

static inline void out(Fixture *f, uint64_t port, unsigned size, uint64_t value)
{
    address_space_store(&f->vm->io, port, size, value);
}

static inline uint64_t in(Fixture *f, uint64_t port, unsigned size)
{
    uint64_t value = 0;

    address_space_load(&f->vm->io, port, size, &value);
    return value;
}

static inline uint8_t inb(Fixture *f, uint64_t port)
{
    return (uint8_t)in(f, port, 1);
}
static inline void outb(Fixture *f, uint64_t port, uint8_t value)
{
    out(f, port, 1, value);
}

static inline uint64_t control(uint64_t base)
{
    return base + 0x206;
}

/* Without touching the interrupt. */
static inline uint8_t wait_ready(Fixture *f, uint64_t base)
{
    uint8_t status;

    while ((status = inb(f, control(base))) & IDE_BSY) {
        loop_run_once(f->vm->loop, -1);
    }
    return status;
}

static inline void irq_handler(void *opaque, unsigned n, int level)
{
    Fixture *f = opaque;

    f->irqs[n] += level && !f->level[n];
    f->level[n] = level;
}

/* ---- set-up --------------------------------------------------------------------------------- */

static inline char *make_image(Fixture *f, const char *name, uint64_t sectors, unsigned sector_size)
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

static inline void setup_machine(Fixture *f, const char *disk_options)
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

static inline void free_machine(Fixture *f)
{
    blk_cleanup(f->vm);
    region_remove(&f->ram);
    region_destroy(&f->ram);
    vm_free(f->vm);
}

static inline void ide_setup(Fixture *f, const void *data)
{
    f->dir = g_strdup("test-ide-XXXXXX");
    g_assert_nonnull(g_mkdtemp(f->dir));
    f->disk = make_image(f, "disk.raw", DISK_SECTORS, 512);
    f->iso = make_image(f, "cd.iso", CD_SECTORS, 2048);
    setup_machine(f, data ? data : "index=0");
}

static inline void ide_teardown(Fixture *f, const void *data)
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

static inline void task_file(Fixture *f, uint64_t base, uint8_t features, uint8_t count, uint64_t lba)
{
    outb(f, base + 6, (uint8_t)(0xe0 | ((lba >> 24) & 0xf)));
    outb(f, base + 1, features);
    outb(f, base + 2, count);
    outb(f, base + 3, (uint8_t)lba);
    outb(f, base + 4, (uint8_t)(lba >> 8));
    outb(f, base + 5, (uint8_t)(lba >> 16));
}

static inline uint8_t command(Fixture *f, uint64_t base, uint8_t cmd)
{
    outb(f, base + 7, cmd);
    return wait_ready(f, base);
}

static inline void read_data(Fixture *f, uint64_t base, uint8_t *buf, size_t len)
{
    for (size_t i = 0; i < len; i += 2) {
        store16_le(buf + i, (uint16_t)in(f, base, 2));
    }
}

static inline uint16_t word(const uint8_t *buf, unsigned n)
{
    return load16_le(buf + 2 * n);
}

/* ---- bus master ----------------------------------------------------------------------------- */

static inline void store_prd(Fixture *f, unsigned n, uint32_t addr, uint32_t len, bool last)
{
    address_space_store(&f->vm->memory, PRD + 8 * n, 4, addr);
    address_space_store(&f->vm->memory, PRD + 8 * n + 4, 4,
                        (len & 0xffff) | (last ? 0x80000000u : 0));
}

static inline void wait_dma(Fixture *f, uint64_t base)
{
    while (blk_in_flight(blk_find(f->vm, base == HD_BASE ? "ide0-hd0" : "ide1-cd0"))) {
        loop_run_once(f->vm->loop, -1);
    }
}

static inline void start_dma(Fixture *f, uint64_t bm, bool to_memory)
{
    out(f, bm + 4, 4, PRD);
    outb(f, bm, to_memory ? 8 : 0);
    outb(f, bm + 2, 6);
    outb(f, bm, (uint8_t)((to_memory ? 8 : 0) | 1));
}

static inline uint8_t memory_byte(Fixture *f, uint64_t addr)
{
    uint64_t value;

    address_space_load(&f->vm->memory, addr, 1, &value);
    return (uint8_t)value;
}

/* ---- packets -------------------------------------------------------------------------------- */

static inline uint8_t send_packet(Fixture *f, uint8_t features, uint16_t limit, const uint8_t *cdb)
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
static inline size_t packet(Fixture *f, uint16_t limit, const uint8_t *cdb, uint8_t *reply,
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

#define IDE_ADD(name, fn) g_test_add("/ide/" name, Fixture, NULL, ide_setup, fn, ide_teardown)

#endif
