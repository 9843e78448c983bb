/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "PIIX3": function 0 of the 82371SB. Datasheet: Intel 290550.
 *
 * PIRQRC[A:D] (0x60 to 0x63): bit 7 disconnects the PCI line, bits 3..0 choose an ISA interrupt.
 * Several lines may share one interrupt, which is then the OR of them.
 *
 * Reset control (port 0xcf9): bit 2 resets, bit 1 chooses a hard reset (the same here).
 *
 * Not done: everything else of function 0 is stored without effect (ISA timing, DMA and chip select
 * registers, MSTAT, the SMI registers that the PIIX4 of this machine has too).
 */
#include "hw/dma/i8257.h"
#include "hw/isa/piix3.h"

#include "util/trace.h"

#define REG_PIRQ 0x60
#define PIRQ_LINES 4
#define PIRQ_DISABLED 0x80
#define RESET_PORT 0xcf9
#define RCR_HARD 0x02
#define RCR_RESET 0x04

typedef struct Piix3 {
    PciDevice pci;
    IsaBus *isa;
    uint16_t driven;                 /* ISA lines that the router holds high */
    int32_t line_levels[PIRQ_LINES]; /* wire only */
    uint8_t rcr;
    Region reset_port;
} Piix3;

static Piix3 *to_piix3(PciDevice *pci) { return container_of(pci, Piix3, pci); }

/* ---- interrupt router ------------------------------------------------------------------ */

static uint16_t wanted_lines(const Piix3 *p)
{
    const PciBus *bus = pci_bus_of(&p->pci);
    uint16_t wanted = 0;

    for (unsigned line = 0; line < PIRQ_LINES; line++) {
        uint8_t route = p->pci.config[REG_PIRQ + line];

        if (pci_bus_irq_level(bus, line) && route < ISA_NUM_IRQS) {
            wanted |= 1u << route;
        }
    }
    return wanted;
}

static void update_lines(Piix3 *p)
{
    uint16_t wanted = wanted_lines(p), changed = wanted ^ p->driven;

    p->driven = wanted;
    for (; changed; changed &= changed - 1) {
        unsigned irq = __builtin_ctz(changed);

        trace(piix3_irq, "irq %u level %u", irq, (wanted >> irq) & 1);
        irq_set(p->isa->irqs[irq], (wanted >> irq) & 1);
    }
}

static void piix3_set_irq(void *opaque, unsigned line, int level)
{
    update_lines(opaque);
}

/* Pins turn by slot; slot 1, this chip's own, has pin A on line A. */
static unsigned piix3_map_irq(PciDevice *pci, unsigned pin)
{
    return (pin + PCI_SLOT(pci->devfn) - 1) & 3;
}

static void piix3_config_written(PciDevice *pci, uint32_t addr, unsigned size)
{
    if (addr < REG_PIRQ + PIRQ_LINES && addr + size > REG_PIRQ) {
        trace(piix3_route, "A 0x%02x B 0x%02x C 0x%02x D 0x%02x", pci->config[REG_PIRQ],
              pci->config[REG_PIRQ + 1], pci->config[REG_PIRQ + 2], pci->config[REG_PIRQ + 3]);
        update_lines(to_piix3(pci));
    }
}

/* ---- reset control ------------------------------------------------------------------------ */

static uint64_t rcr_read(void *opaque, uint64_t offset, unsigned size)
{
    const Piix3 *p = opaque;

    trace(piix3_rcr_read, "-> 0x%02x", p->rcr);
    return p->rcr;
}

static void rcr_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Piix3 *p = opaque;

    trace(piix3_rcr_write, "<- 0x%02x", (unsigned)value);
    if (value & RCR_RESET) {
        vm_request_reset(p->pci.dev.vm, SHUTDOWN_CAUSE_GUEST_RESET);
        return;
    }
    p->rcr = value & RCR_HARD; /* the reset bit is never seen set */
}

static const RegionOps rcr_ops = {
    .read = rcr_read,
    .write = rcr_write,
    .valid = {.min_size = 1, .max_size = 1},
};

/* ---- lifecycle ------------------------------------------------------------------------------ */

static bool piix3_realize(Device *dev, GError **err)
{
    Piix3 *p = container_of(dev, Piix3, pci.dev);
    PciBus *bus = pci_bus_of(&p->pci);

    p->isa = isa_bus_new(dev->vm, dev, &dev->vm->system_memory, bus->io);
    region_init_io(&p->reset_port, &rcr_ops, p, "piix3-reset-control", 1);
    region_set_owner(&p->reset_port, dev);
    region_add_overlap(bus->io, RESET_PORT, &p->reset_port, 1); /* over CONFIG_ADDRESS */
    pci_bus_set_irqs(bus, piix3_set_irq, piix3_map_irq, p, PIRQ_LINES);
    return isa_dma_create_pair(p->isa, err);
}

static void piix3_unrealize(Device *dev)
{
    Piix3 *p = container_of(dev, Piix3, pci.dev);

    pci_bus_set_irqs(pci_bus_of(&p->pci), NULL, NULL, NULL, 0);
    region_destroy(&p->reset_port);
}

static void piix3_reset(Device *dev)
{
    /* What QEMU 7.2's guest reads after power-on. */
    static const struct {
        uint8_t reg, value;
    } defaults[] = {
        {0x07, 0x02},                                           /* status: medium DEVSEL */
        {0x4c, 0x4d}, {0x4e, 0x03}, {0x4f, 0x00},               /* I/O recovery, chip select */
        {0x60, 0x80}, {0x61, 0x80}, {0x62, 0x80}, {0x63, 0x80}, /* lines not connected */
        {0x69, 0x02}, {0x70, 0x80}, {0x76, 0x0c}, {0x77, 0x0c}, {0x78, 0x02}, {0x79, 0x00},
        {0x80, 0x00}, {0x82, 0x00}, {0xa0, 0x08}, {0xa2, 0x00}, {0xa3, 0x00}, {0xa4, 0x00},
        {0xa5, 0x00}, {0xa6, 0x00}, {0xa7, 0x00}, {0xa8, 0x0f}, {0xaa, 0x00}, {0xab, 0x00},
        {0xac, 0x00}, {0xae, 0x00},
    };
    Piix3 *p = container_of(dev, Piix3, pci.dev);

    for (unsigned i = 0; i < G_N_ELEMENTS(defaults); i++) {
        p->pci.config[defaults[i].reg] = defaults[i].value;
    }
    p->rcr = 0;
    update_lines(p);
}

/* ---- state ----------------------------------------------------------------------------------- */

static void piix3_pre_save(void *obj)
{
    Piix3 *p = obj;

    for (unsigned line = 0; line < PIRQ_LINES; line++) {
        p->line_levels[line] = pci_bus_irq_level(pci_bus_of(&p->pci), line);
    }
}

/* The interrupt controllers bring their own lines' levels. */
static bool piix3_post_load(void *obj, unsigned version, GError **err)
{
    Piix3 *p = obj;

    p->driven = wanted_lines(p);
    return true;
}

static bool rcr_needed(void *obj)
{
    const Piix3 *p = obj;

    return p->rcr != 0;
}

static const StateField rcr_fields[] = {
    STATE_U8(Piix3, rcr, .max = RCR_HARD | RCR_RESET),
    {}
};
static const StateDesc rcr_state = {
    .name = "PIIX3/rcr", .version = 1, .min_version = 1, .fields = rcr_fields,
    .needed = rcr_needed};

static const StateField piix3_fields[] = {
    STATE_PCI_DEVICE(Piix3, pci, .name = "dev"),
    STATE_ARRAY(Piix3, line_levels, i32, PIRQ_LINES, .name = "pci_irq_levels_vmstate", .since = 3),
    {}
};
static const StateDesc piix3_state = {
    .name = "PIIX3",
    .version = 3,
    .min_version = 2,
    .fields = piix3_fields,
    .subsections = (const StateDesc *const[]){&rcr_state, NULL},
    .pre_save = piix3_pre_save,
    .post_load = piix3_post_load,
};

/* ---- what the board uses --------------------------------------------------------------------- */

PciDevice *piix3_create(PciBus *bus, int devfn, GError **err)
{
    return pci_create(bus, devfn, true, "PIIX3", err);
}

IsaBus *piix3_isa_bus(PciDevice *piix3) { return to_piix3(piix3)->isa; }

static const PciInfo piix3_info = {
    .vendor_id = 0x8086,
    .device_id = 0x7000,
    .class_id = PCI_CLASS_BRIDGE_ISA,
    .not_hotpluggable = true,
    .config_written = piix3_config_written,
};

DEVICE_TYPE(piix3) = {
    .name = "PIIX3",
    .parent = "pci-device",
    .desc = "ISA bridge",
    .size = sizeof(Piix3),
    .not_user = "it is part of the machine; leave it out",
    .category = "bridge",
    .state = &piix3_state,
    .ops = &piix3_info,
    .realize = piix3_realize,
    .unrealize = piix3_unrealize,
    .reset = piix3_reset,
};
