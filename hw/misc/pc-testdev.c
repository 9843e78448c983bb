/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pc-testdev: what the kvm-unit-tests poke at.
 *
 *   ports 0xe0..0xe3, 0xe8..0xeb   one 32-bit cell, readable and writable in any size
 *   port  0xe4                     the page with the written guest address is unmapped and mapped
 * again ports 0x2000..0x200f           ISA interrupt line n gets the level written 0xff000000, 64
 * KiB             memory whose accesses are emulated
 */
#include <sys/mman.h>

#include "hw/isa/isa.h"
#include "util/trace.h"

#define IOMEM_SIZE 0x10000
#define IRQ_PORTS 24         /* decoded; lines above 15 do not exist on ISA */
#define PAGE_SIZE 4096

typedef struct PcTestdev {
    IsaDevice isa;
    Region ioport, flush, ioport_byte, irq_line, iomem;
    uint32_t cell;
    uint8_t *memory;         /* IOMEM_SIZE bytes */
} PcTestdev;

/* ---- the cell ---------------------------------------------------------------------- */

static uint64_t cell_read(void *opaque, uint64_t offset, unsigned size)
{
    PcTestdev *t = opaque;
    uint32_t value = (uint32_t)extract_bits(t->cell, (unsigned)offset * 8, size * 8);

    trace(testdev_cell_read, "offset %u size %u value 0x%x", (unsigned)offset, size, value);
    return value;
}

static void cell_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    PcTestdev *t = opaque;
    uint8_t bytes[4];

    trace(testdev_cell_write, "offset %u size %u value 0x%x", (unsigned)offset, size,
          (unsigned)value);
    store32_le(bytes, t->cell);
    store_le(bytes + offset, value, size);
    t->cell = load32_le(bytes);
}

/* ---- page flush -------------------------------------------------------------------- */

static uint64_t flush_read(void *opaque, uint64_t offset, unsigned size)
{
    trace(testdev_flush_read, "offset %u", (unsigned)offset);
    return 0;
}

/* Changing the protection makes KVM drop its mapping of the page. It stays readable meanwhile. */
static void flush_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    PcTestdev *t = opaque;
    const FlatRange *range = flat_view_find(address_space_view(&t->isa.dev.vm->memory), value);
    uint8_t *page;

    trace(testdev_flush_write, "address 0x%x", (unsigned)value);
    if (!range || range->region->kind != REGION_RAM || range->readonly) {
        guest_error(&t->isa.dev, "flush of 0x%x, which is no RAM", (unsigned)value);
        return;
    }
    page = region_host(range->region) + align_down(value - range->start + range->offset, PAGE_SIZE);
    if (mprotect(page, PAGE_SIZE, PROT_READ) == 0) {
        mprotect(page, PAGE_SIZE, PROT_READ | PROT_WRITE);
    }
}

/* ---- interrupt lines --------------------------------------------------------------- */

static uint64_t irq_read(void *opaque, uint64_t offset, unsigned size)
{
    trace(testdev_irq_read, "line %u", (unsigned)offset);
    return 0;
}

static void irq_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    PcTestdev *t = opaque;

    trace(testdev_irq_write, "line %u level %u", (unsigned)offset, (unsigned)value);
    if (offset >= ISA_NUM_IRQS) {
        guest_error(&t->isa.dev, "line %u: ISA has lines 0 to %d", (unsigned)offset,
                    ISA_NUM_IRQS - 1);
        return;
    }
    irq_set(isa_irq(&t->isa, (unsigned)offset), value != 0);
}

/* ---- emulated memory --------------------------------------------------------------- */

static uint64_t iomem_read(void *opaque, uint64_t offset, unsigned size)
{
    PcTestdev *t = opaque;
    uint64_t value = load_le(t->memory + offset, size);

    trace(testdev_iomem_read, "offset 0x%x size %u value 0x%" PRIx64, (unsigned)offset, size,
          value);
    return value;
}

static void iomem_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    PcTestdev *t = opaque;

    trace(testdev_iomem_write, "offset 0x%x size %u value 0x%" PRIx64, (unsigned)offset, size,
          value);
    store_le(t->memory + offset, value, size);
}

/* ---- lifecycle --------------------------------------------------------------------- */

#define ANY_SIZE(max) .valid = {1, max, true}, .impl = {1, max, true}

static const RegionOps cell_ops = {.read = cell_read, .write = cell_write, ANY_SIZE(4)};
static const RegionOps flush_ops = {.read = flush_read, .write = flush_write, .valid = {1, 4}};
static const RegionOps irq_ops = {
    .read = irq_read, .write = irq_write, .valid = {1, 4}, .impl = {1, 1}};
static const RegionOps iomem_ops = {.read = iomem_read, .write = iomem_write, ANY_SIZE(8)};

static bool testdev_realize(Device *dev, GError **err)
{
    PcTestdev *t = container_of(dev, PcTestdev, isa.dev);
    IsaDevice *isa = &t->isa;

    t->memory = g_malloc0(IOMEM_SIZE);
    region_init_io(&t->ioport, &cell_ops, t, "pc-testdev-ioport", 4);
    region_init_io(&t->flush, &flush_ops, t, "pc-testdev-flush-page", 4);
    region_init_io(&t->ioport_byte, &cell_ops, t, "pc-testdev-ioport-byte", 4);
    region_init_io(&t->irq_line, &irq_ops, t, "pc-testdev-irq-line", IRQ_PORTS);
    region_init_io(&t->iomem, &iomem_ops, t, "pc-testdev-iomem", IOMEM_SIZE);
    isa_map_memory(isa, &t->iomem, 0xff000000);
    /* Constant ports below 64 KiB: these cannot fail. */
    return isa_map_ports(isa, &t->ioport, 0xe0, err) && isa_map_ports(isa, &t->flush, 0xe4, err) &&
           isa_map_ports(isa, &t->ioport_byte, 0xe8, err) &&
           isa_map_ports(isa, &t->irq_line, 0x2000, err);
}

static void testdev_unrealize(Device *dev)
{
    PcTestdev *t = container_of(dev, PcTestdev, isa.dev);
    Region *regions[] = {&t->ioport, &t->flush, &t->ioport_byte, &t->irq_line, &t->iomem};

    for (unsigned i = 0; i < G_N_ELEMENTS(regions); i++) {
        region_remove(regions[i]);
        region_destroy(regions[i]);
    }
    g_free(t->memory);
}

DEVICE_TYPE(pc_testdev) = {
    .name = "pc-testdev",
    .parent = "isa-device",
    .desc = "test device of the kvm-unit-tests",
    .category = "misc",
    .size = sizeof(PcTestdev),
    .realize = testdev_realize,
    .unrealize = testdev_unrealize,
};
