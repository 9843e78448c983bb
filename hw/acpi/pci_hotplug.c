/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ACPI PCI hot-plug. Interface: QEMU's docs/specs/acpi_pci_hotplug. All registers are double words:
 *
 *   00 R  slots that were plugged on the selected bus (reading clears)
 *   04 R  slots that the machine wants ejected
 *   08 W  ejects slots
 *   0c R  slots whose devices may be ejected
 *   10 RW selects a bus (BSEL)
 *   14 W  slots whose index is asked for;  R  acpi-index of the first of them (reading clears)
 */
#include "hw/acpi/pci_hotplug.h"

#include "util/trace.h"

enum { REG_UP = 0x00, REG_DOWN = 0x04, REG_EJECT = 0x08, REG_REMOVABLE = 0x0c, REG_SELECT = 0x10,
      REG_INDEX = 0x14 };

/* ---- buses ----------------------------------------------------------------------------- */

static PciBus *find_bsel(PciBus *bus, int bsel)
{
    if (bus->acpi_bsel == bsel) {
        return bus;
    }
    for (unsigned devfn = 0; bus->bridge_count && devfn < 256; devfn++) {
        PciDevice *pci = bus->devices[devfn];
        PciBus *found = NULL;

        if (pci && pci->info->is_bridge) {
            found = find_bsel(pci_bridge_secondary(pci), bsel);
        }
        if (found) {
            return found;
        }
    }
    return NULL;
}

static bool may_plug(void *opaque, Device *dev, GError **err)
{
    const PciInfo *info = type_ops(dev->obj.type);

    return !info->not_hotpluggable ||
           error_set(err, "Device '%s' does not support hotplugging", dev->obj.type->name);
}

static void plugged(void *opaque, Device *dev) { acpi_pcihp_plugged(opaque, container_of(dev, PciDevice, dev)); }

static bool request_unplug(void *opaque, Device *dev, GError **err)
{
    return acpi_pcihp_request_unplug(opaque, container_of(dev, PciDevice, dev), err);
}

static const HotplugOps hotplug_ops = {.may_plug = may_plug, .plugged = plugged, .request_unplug = request_unplug};

/* In depth-first order, as the AML was built. Ejected bridges take their numbers with them. */
static int assign_bsel(AcpiPciHotplug *hp, PciBus *bus, int next)
{
    bool takes_part = bus->bridge ? hp->bridges : hp->root_bus;

    bus->acpi_bsel = takes_part && next < ACPI_PCIHP_BUSES ? next++ : -1;
    if (bus->acpi_bsel >= 0) {
        bus->bus.hotplug = &hotplug_ops;
        bus->bus.hotplug_opaque = hp;
    }
    for (unsigned devfn = 0; bus->bridge_count && devfn < 256; devfn++) {
        PciDevice *pci = bus->devices[devfn];

        if (pci && pci->info->is_bridge) {
            next = assign_bsel(hp, pci_bridge_secondary(pci), next);
        }
    }
    return next;
}

static bool removable(const PciDevice *pci)
{
    return !pci->info->not_hotpluggable && !(pci->info->is_bridge && !pci->dev.hotplugged);
}

static uint32_t removable_slots(PciBus *bus)
{
    uint32_t slots = UINT32_MAX;

    for (unsigned devfn = 0; bus && devfn < 256; devfn++) {
        if (bus->devices[devfn] && !removable(bus->devices[devfn])) {
            slots &= ~(1u << PCI_SLOT(devfn));
        }
    }
    return slots;
}

static void eject(AcpiPciHotplug *hp, unsigned bsel, uint32_t slots)
{
    PciBus *bus = find_bsel(hp->root, (int)bsel);

    hp->slots[bsel].down &= ~slots;
    hp->slots[bsel].up &= ~slots;
    for (unsigned devfn = 0; bus && devfn < 256; devfn++) {
        PciDevice *pci = bus->devices[devfn];

        if (pci && (slots >> PCI_SLOT(devfn)) & 1 && removable(pci)) {
            trace(acpi_pcihp_eject, "bus %u slot %u.%u", bsel, PCI_SLOT(devfn), PCI_FUNC(devfn));
            device_unrealize(&pci->dev); /* frees it */
        }
    }
}

/* Function 0's, or the first function's that has one. */
static uint32_t find_index(AcpiPciHotplug *hp, uint32_t slots)
{
    PciBus *bus = find_bsel(hp->root, (int)hp->select);

    for (unsigned devfn = 0; bus && devfn < 256; devfn++) {
        const PciDevice *pci = bus->devices[devfn];

        if (pci && (slots >> PCI_SLOT(devfn)) & 1 && pci->acpi_index) {
            return pci->acpi_index;
        }
    }
    return 0;
}

/* ---- registers --------------------------------------------------------------------------- */

/* The select register stores; each access looks again whether there is such a bus. */
static uint32_t read_slots(AcpiPciHotplug *hp, uint64_t offset)
{
    AcpiPciSlots *slots = &hp->slots[hp->select];
    uint32_t value;

    switch (offset) {
    case REG_UP:
        value = slots->up;
        if (hp->bridges) {
            slots->up = 0;
        }
        return value;
    case REG_DOWN:
        return slots->down;
    case REG_REMOVABLE:
        return removable_slots(find_bsel(hp->root, (int)hp->select));
    case REG_SELECT:
        return hp->select;
    case REG_INDEX:
        value = hp->acpi_index;
        hp->acpi_index = 0;
        return value;
    default:
        return 0; /* REG_EJECT: no features */
    }
}

static uint64_t pcihp_read(void *opaque, uint64_t offset, unsigned size)
{
    AcpiPciHotplug *hp = opaque;
    uint32_t value = hp->select < ACPI_PCIHP_BUSES ? read_slots(hp, offset) : 0;

    trace(acpi_pcihp_read, "bus %u @0x%02x -> 0x%x", hp->select, (unsigned)offset, value);
    return value;
}

static void pcihp_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    AcpiPciHotplug *hp = opaque;

    trace(acpi_pcihp_write, "bus %u @0x%02x <- 0x%x", hp->select, (unsigned)offset,
          (unsigned)value);
    switch (offset) {
    case REG_EJECT:
        if (hp->select < ACPI_PCIHP_BUSES) {
            eject(hp, hp->select, value);
        }
        break;
    case REG_SELECT:
        hp->select = !hp->bridges ? 0 : value < ACPI_PCIHP_BUSES ? (uint32_t)value : UINT32_MAX;
        break;
    case REG_INDEX:
        if (hp->select < ACPI_PCIHP_BUSES && hp->bridges) {
            hp->acpi_index = find_index(hp, value);
        }
        break;
    default:
        break;
    }
}

static const RegionOps pcihp_ops = {
    .read = pcihp_read,
    .write = pcihp_write,
    .valid = {.min_size = 4, .max_size = 4},
};

/* ---- what the machine asks ----------------------------------------------------------------- */

void acpi_pcihp_plugged(AcpiPciHotplug *hp, PciDevice *pci)
{
    int bsel = pci_bus_of(pci)->acpi_bsel;

    /* The guest looks at a slot when its function 0 is there. */
    if (pci->dev.hotplugged && PCI_FUNC(pci->devfn) == 0 && bsel >= 0 && bsel < ACPI_PCIHP_BUSES) {
        hp->slots[bsel].up |= 1u << PCI_SLOT(pci->devfn);
        acpi_gpe_raise(hp->regs, ACPI_GPE_PCI_HOTPLUG);
    }
}

bool acpi_pcihp_request_unplug(AcpiPciHotplug *hp, PciDevice *pci, GError **err)
{
    int bsel = pci_bus_of(pci)->acpi_bsel;

    if (bsel < 0 || bsel >= ACPI_PCIHP_BUSES || !removable(pci)) {
        return error_set(err, "Device '%s' does not support hotunplugging",
                         pci->dev.id ? pci->dev.id : pci->dev.obj.type->name);
    }
    hp->slots[bsel].down |= 1u << PCI_SLOT(pci->devfn);
    acpi_gpe_raise(hp->regs, ACPI_GPE_PCI_HOTPLUG);
    return true;
}

/* Devices must not vanish while the machine is walking over them to reset them. */
static void finish_ejects(void *opaque)
{
    AcpiPciHotplug *hp = opaque;

    for (unsigned bsel = 0; bsel < ACPI_PCIHP_BUSES; bsel++) {
        if (hp->slots[bsel].down) {
            eject(hp, bsel, hp->slots[bsel].down);
        }
    }
}

void acpi_pcihp_reset(AcpiPciHotplug *hp)
{
    bool pending = false;

    hp->acpi_index = 0;
    assign_bsel(hp, hp->root, 0);
    for (unsigned bsel = 0; bsel < ACPI_PCIHP_BUSES; bsel++) {
        hp->slots[bsel].up = 0;
        pending |= hp->slots[bsel].down != 0;
    }
    if (pending) {
        loop_post(hp->regs->dev->vm->loop, finish_ejects, hp);
    }
}

void acpi_pcihp_init(AcpiPciHotplug *hp, AcpiRegs *regs, PciBus *root, bool bridges, bool root_bus)
{
    hp->regs = regs;
    hp->root = root;
    hp->bridges = bridges;
    hp->root_bus = root_bus;
    region_init_io(&hp->io, &pcihp_ops, hp, "acpi-pci-hotplug", ACPI_PCIHP_PORTS);
    region_set_owner(&hp->io, regs->dev);
}

static const StateField slots_fields[] = {
    STATE_U32(AcpiPciSlots, up),
    STATE_U32(AcpiPciSlots, down),
    {}
};
const StateDesc acpi_pci_slots_state = {
    .name = "acpi_pcihp_pci_status", .version = 1, .min_version = 1, .fields = slots_fields};
