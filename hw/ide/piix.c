/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * piix3-ide: the IDE function of the PIIX3 (82371SB datasheet, section 2.3): two channels at the
 * legacy ports and interrupts 14 and 15, bus master at BAR 4.
 *
 * The timing registers (IDETIM, SIDETIM) store what is written; channels decode whether or not
 * they are enabled there, as in QEMU.
 */
#include "hw/ide/bmdma.h"
#include "hw/ide/ide.h"
#include "hw/isa/isa.h"
#include "hw/pci/pci.h"

typedef struct PiixIde {
    PciDevice pci;
    IdeBus bus[2];
    BmDma bmdma[2];
    Region bmdma_bar;
} PiixIde;

static const struct {
    uint16_t command, control;
    unsigned irq;
} channels[2] = {{0x1f0, 0x3f6, 14}, {0x170, 0x376, 15}};

IdeBus *ide_pci_bus(Device *piix, unsigned n)
{
    PiixIde *s = container_of(piix, PiixIde, pci.dev);

    g_assert(n < 2);
    return &s->bus[n];
}

/* ---- lifecycle ------------------------------------------------------------------------------ */

static bool piix_realize(Device *dev, GError **err)
{
    PiixIde *s = container_of(dev, PiixIde, pci.dev);
    IsaBus *isa = isa_bus_find(dev->vm);

    if (!isa) {
        return error_set(
            err, "piix3-ide needs an ISA bus for its ports and interrupts; this machine has none");
    }
    s->pci.config[PCI_CLASS_PROG] = 0x80; /* legacy mode, bus master */
    region_init_container(&s->bmdma_bar, "piix-bmdma-container", 16);
    for (unsigned i = 0; i < 2; i++) {
        ide_bus_init(&s->bus[i], dev->vm, dev, i);
        bmdma_init(&s->bmdma[i], &s->bus[i], dev, &s->bmdma_bar, i * 8);
        ide_bus_map_ports(&s->bus[i], isa->io, dev, channels[i].command, channels[i].control);
        s->bus[i].irq = isa->irqs[channels[i].irq];
    }
    pci_register_bar(&s->pci, 4, PCI_BASE_ADDRESS_SPACE_IO, &s->bmdma_bar);
    return true;
}

static void piix_unrealize(Device *dev)
{
    PiixIde *s = container_of(dev, PiixIde, pci.dev);

    for (unsigned i = 0; i < 2; i++) {
        ide_bus_cleanup(&s->bus[i]);
        region_remove(&s->bmdma[i].regs);
        region_remove(&s->bmdma[i].addr_regs);
    }
}

static void piix_reset(Device *dev)
{
    PiixIde *s = container_of(dev, PiixIde, pci.dev);
    const IsaBus *isa = isa_bus_find(dev->vm);

    for (unsigned i = 0; i < 2; i++) {
        s->bus[i].irq = isa->irqs[channels[i].irq]; /* a board may have filled them since */
    }

    ide_bus_reset(&s->bus[0]);
    ide_bus_reset(&s->bus[1]);
    store16_le(s->pci.config + PCI_COMMAND, 0);
    store16_le(s->pci.config + PCI_STATUS, PCI_STATUS_DEVSEL_MEDIUM | PCI_STATUS_FAST_BACK);
    store32_le(s->pci.config + PCI_BASE_ADDRESS_4, PCI_BASE_ADDRESS_SPACE_IO);
    store32_le(s->pci.config + 0x40, 0); /* IDETIM */
    s->pci.config[0x44] = 0;             /* SIDETIM */
    pci_update_mappings(&s->pci);
}

/* ---- state ---------------------------------------------------------------------------------- */

static bool piix_post_load(void *obj, unsigned version, GError **err)
{
    PiixIde *s = obj;

    (void)version;
    for (unsigned i = 0; i < 2; i++) {
        IdeBus *bus = &s->bus[i];

        if (!bus->error_status) {
            continue;
        }
        if (bus->retry_unit > 1 || bus->ifs[bus->retry_unit].kind == IDE_NONE) {
            return error_set(
                err, "ide: channel %u has a request to be retried on unit %u, but no drive there",
                i, bus->retry_unit);
        }
        blk_want_retry(bus->ifs[bus->retry_unit].blk);
    }
    return true;
}

static const StateField piix_fields[] = {
    STATE_PCI_DEVICE(PiixIde, pci, .name = "parent_obj"),
    STATE_STRUCT_ARRAY(PiixIde, bmdma, &bmdma_state, 2),
    STATE_STRUCT_ARRAY(PiixIde, bus, &ide_bus_state, 2),
    STATE_STRUCT_ARRAY(PiixIde, bus[0].ifs, &ide_drive_state, 2),
    STATE_STRUCT_ARRAY(PiixIde, bus[1].ifs, &ide_drive_state, 2),
    {}};
static const StateDesc piix_state = {
    .name = "ide",
    .version = 3,
    .fields = piix_fields,
    .post_load = piix_post_load,
};

/* ---- what users and managers see ------------------------------------------------------------ */

static const PciInfo piix_info = {
    .vendor_id = 0x8086,
    .device_id = 0x7010,
    .class_id = PCI_CLASS_STORAGE_IDE,
    .not_hotpluggable = true,
};

DEVICE_TYPE(piix3_ide) = {
    .name = "piix3-ide",
    .parent = "pci-device",
    .desc = "PIIX3 IDE controller",
    .size = sizeof(PiixIde),
    .category = "storage",
    .state = &piix_state,
    .ops = &piix_info,
    .realize = piix_realize,
    .unrealize = piix_unrealize,
    .reset = piix_reset,
};
