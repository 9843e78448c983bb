/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PCI buses: which device has which slot and function, and who finds it by bus number. Each bus
 * has a section "PCIBUS" in the stream that holds how many devices assert each of its lines.
 */
#include "hw/pci/pci.h"

/* ---- addresses --------------------------------------------------------------------- */

/* Function 0 says whether a slot has others: both orders of plugging are checked. */
static bool check_functions(PciBus *bus, PciDevice *pci, GError **err)
{
    unsigned first = pci->devfn & ~7u;

    if (PCI_FUNC(pci->devfn)) {
        const PciDevice *zero = bus->devices[first];

        if (zero && !zero->multifunction) {
            return error_set(err,
                             "PCI: single function device can't be populated in function %x.%x",
                             PCI_SLOT(pci->devfn), PCI_FUNC(pci->devfn));
        }
        return true;
    }
    for (unsigned n = 1; n < 8 && !pci->multifunction; n++) {
        if (bus->devices[first + n]) {
            return error_set(err,
                             "PCI: %x.0 indicates single function, but %x.%x is already "
                             "populated; set multifunction=on",
                             PCI_SLOT(first), PCI_SLOT(first), n);
        }
    }
    return true;
}

static bool pci_plug(Bus *obj, Device *dev, GError **err)
{
    PciBus *bus = container_of(obj, PciBus, bus);
    PciDevice *pci = container_of(dev, PciDevice, dev);
    const PciDevice *there;

    if (pci->devfn < 0) {
        int devfn = bus->devfn_min;

        while (devfn < 256 && (bus->devices[devfn] ||
                               (bus->slot_reserved >> PCI_SLOT(devfn)) & 1)) {
            devfn += 8;
        }
        if (devfn >= 256) {
            return error_set(err, "PCI: no slot/function available for %s, all in use or reserved",
                             dev->obj.type->name);
        }
        pci->devfn = devfn;
    }
    there = bus->devices[pci->devfn];
    if (there) {
        return error_set(err, "PCI: slot %d function %d not available for %s, in use by %s,id=%s",
                         PCI_SLOT(pci->devfn), PCI_FUNC(pci->devfn), dev->obj.type->name,
                         there->dev.obj.type->name, there->dev.id ? there->dev.id : "");
    }
    if ((bus->slot_reserved >> PCI_SLOT(pci->devfn)) & 1) {
        return error_set(err, "PCI: slot %d is reserved; choose another addr",
                         PCI_SLOT(pci->devfn));
    }
    if (!check_functions(bus, pci, err)) {
        return false;
    }
    bus->devices[pci->devfn] = pci;
    bus->bridge_count += pci->info->is_bridge;
    return true;
}

static void pci_unplug(Bus *obj, Device *dev)
{
    PciBus *bus = container_of(obj, PciBus, bus);
    PciDevice *pci = container_of(dev, PciDevice, dev);

    if (pci->devfn >= 0 && bus->devices[pci->devfn] == pci) {
        bus->devices[pci->devfn] = NULL;
        bus->bridge_count -= pci->info->is_bridge;
    }
}

/* "0000:00" of the root, then slot and function of each bridge on the way. */
static char *pci_state_path(Bus *obj, Device *dev)
{
    PciDevice *pci = container_of(dev, PciDevice, dev);
    g_autofree char *rest = g_strdup("");

    for (; pci; pci = pci_bus_of(pci)->bridge) {
        char *longer = g_strdup_printf(":%02x.%x%s", PCI_SLOT(pci->devfn), PCI_FUNC(pci->devfn),
                                       rest);

        g_free(rest);
        rest = longer;
    }
    return g_strconcat("0000:00", rest, NULL);
}

/* OpenFirmware's generic names, as SeaBIOS expects them in bootorder. */
static char *pci_fw_path(Bus *obj, Device *dev)
{
    static const struct {
        uint16_t class_id;
        const char *name;
    } names[] = {
        {0x0001, "display"}, {0x0100, "scsi"}, {0x0101, "ide"}, {0x0102, "fdc"}, {0x0104, "raid"},
        {0x0200, "ethernet"}, {0x0201, "token-ring"}, {0x0300, "display"}, {0x0600, "host"},
        {0x0601, "isa"}, {0x0604, "pci-bridge"}, {0x0c03, "usb"},
    };
    const PciDevice *pci = container_of(dev, PciDevice, dev);
    uint16_t class_id = load16_le(pci->config + PCI_CLASS_DEVICE);
    g_autofree char *name = NULL;

    for (unsigned i = 0; i < G_N_ELEMENTS(names) && !name; i++) {
        if (names[i].class_id == class_id) {
            name = g_strdup(names[i].name);
        }
    }
    if (!name) {
        name = g_strdup_printf("pci%04x,%04x", load16_le(pci->config), load16_le(pci->config + 2));
    }
    return PCI_FUNC(pci->devfn)
               ? g_strdup_printf("%s@%x,%x", name, PCI_SLOT(pci->devfn), PCI_FUNC(pci->devfn))
               : g_strdup_printf("%s@%x", name, PCI_SLOT(pci->devfn));
}

/* ---- finding --------------------------------------------------------------------------- */

unsigned pci_bus_number(const PciBus *bus)
{
    return bus->bridge ? bus->bridge->config[PCI_SECONDARY_BUS] : 0;
}

static PciBus *find_bus_below(PciBus *bus, unsigned bus_num)
{
    if (!bus->bridge_count) {
        return NULL;
    }
    for (unsigned devfn = 0; devfn < 256; devfn++) {
        PciDevice *pci = bus->devices[devfn];

        if (!pci || !pci->info->is_bridge || bus_num < pci->config[PCI_SECONDARY_BUS] ||
            bus_num > pci->config[PCI_SUBORDINATE_BUS] || !pci->config[PCI_SECONDARY_BUS]) {
            continue;
        }
        if (bus_num == pci->config[PCI_SECONDARY_BUS]) {
            return pci_bridge_secondary(pci);
        }
        return find_bus_below(pci_bridge_secondary(pci), bus_num);
    }
    return NULL;
}

PciDevice *pci_find(PciBus *root, unsigned bus_num, unsigned devfn)
{
    PciBus *bus = root;

    if (__builtin_expect(bus_num != 0, 0)) {
        bus = find_bus_below(root, bus_num);
    }
    return bus && devfn < 256 ? bus->devices[devfn] : NULL;
}

unsigned pci_swizzle_irq(PciDevice *pci, unsigned pin)
{
    return (pin + PCI_SLOT(pci->devfn)) & 3;
}

/* ---- making ---------------------------------------------------------------------------- */

static const StateField bus_fields[] = {
    {.name = "nirq", .kind = &state_kind_i32_equal, .offset = offsetof(PciBus, nirq), .size = 4,
     .stride = 4, .count = 1},
    {.name = "irq_count", .kind = &state_kind_i32, .offset = offsetof(PciBus, irq_count), .size = 4,
     .stride = 4, .count = 8, .array = true, .count_offset = offsetof(PciBus, nirq),
     .count_size = 4},
    {}
};

/* A count is the number of pins that are asserted; there are at most 4 * 256 of them. */
static bool bus_post_load(void *obj, unsigned version, GError **err)
{
    const PciBus *bus = obj;

    for (int i = 0; i < bus->nirq; i++) {
        if (bus->irq_count[i] < 0 || bus->irq_count[i] > 4 * 256 * 256) {
            return error_set(err, "PCI bus line %d is asserted by %d devices", i,
                             bus->irq_count[i]);
        }
    }
    return true;
}

static const StateDesc bus_state = {
    .name = "PCIBUS", .version = 1, .min_version = 1, .fields = bus_fields,
    .post_load = bus_post_load};

static void pci_bus_start(PciBus *bus, Vm *vm)
{
    bus->acpi_bsel = -1;
    state_register(vm, "PCIBUS", -1, &bus_state, bus);
}

void pci_bus_init_embedded(PciBus *bus, Vm *vm, Device *owner, const char *name)
{
    bus_init_embedded(&bus->bus, vm, "PCI", owner, name);
    pci_bus_start(bus, vm);
}

void pci_bus_cleanup(PciBus *bus)
{
    state_unregister(bus->bus.obj.vm, bus);
}

PciBus *pci_root_bus_new(Vm *vm, Device *owner, const char *name, Region *memory, Region *io,
                         uint8_t devfn_min)
{
    PciBus *bus = container_of(bus_new(vm, "PCI", owner, name), PciBus, bus);

    bus->memory = memory;
    bus->io = io;
    bus->devfn_min = devfn_min;
    pci_bus_start(bus, vm);
    return bus;
}

void pci_bus_set_irqs(PciBus *bus, PciSetIrq *set_irq, PciMapIrq *map_irq, void *opaque,
                      unsigned nirq)
{
    g_assert(nirq <= G_N_ELEMENTS(bus->irq_count));
    bus->set_irq = set_irq;
    bus->map_irq = map_irq;
    bus->irq_opaque = opaque;
    bus->nirq = nirq;
}

PciBus *pci_root_bus(Vm *vm)
{
    Bus *bus = bus_find(vm, "pci.0");

    if (!bus) {
        bus = bus_find(vm, "pcie.0");
    }
    return bus ? container_of(bus, PciBus, bus) : NULL;
}

PciDevice *pci_create(PciBus *bus, int devfn, bool multifunction, const char *type, GError **err)
{
    PciDevice *pci = container_of(device_new(bus->bus.obj.vm, type), PciDevice, dev);

    pci->devfn = devfn;
    pci->multifunction = multifunction;
    if (!device_realize(&pci->dev, &bus->bus, err)) {
        object_unref(&pci->dev.obj);
        return NULL;
    }
    return pci;
}

static const BusOps pci_bus_ops = {
    .plug = pci_plug,
    .unplug = pci_unplug,
    .state_path = pci_state_path,
    .fw_path = pci_fw_path,
};

KILN_TYPE(pci_bus) = {
    .name = "PCI",
    .parent = "bus",
    .desc = "PCI bus",
    .size = sizeof(PciBus),
    .ops = &pci_bus_ops,
};
