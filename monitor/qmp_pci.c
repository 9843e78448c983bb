/* SPDX-License-Identifier: GPL-2.0-or-later */
/* query-pci: the PCI buses as firmware and the guest have set them up. Spec: PCI Local Bus 3.0, appendix D (classes). */
#include "hw/pci/pci.h"
#include "monitor/qmp.h"
#include "qapi/qapi-commands.h"

/* In QEMU's words. */
static const struct {
    uint16_t class_id;
    const char *desc;
} classes[] = {
    {0x0100, "SCSI controller"}, {0x0101, "IDE controller"}, {0x0104, "RAID controller"}, {0x0106, "SATA controller"},
    {0x0200, "Ethernet controller"}, {0x0300, "VGA controller"}, {0x0380, "Display controller"},
    {0x0401, "Audio controller"}, {0x0403, "Audio controller"}, {0x0500, "RAM controller"}, {0x0600, "Host bridge"},
    {0x0601, "ISA bridge"}, {0x0604, "PCI bridge"}, {0x0680, "Bridge"}, {0x0700, "Serial port"}, {0x0900, "Keyboard"},
    {0x0c03, "USB controller"},
};

static PciDeviceClass *describe_class(const PciDevice *pci)
{
    PciDeviceClass *info = g_new0(PciDeviceClass, 1);

    info->class = load16_le(pci->config + PCI_CLASS_DEVICE);
    for (size_t i = 0; i < G_N_ELEMENTS(classes); i++) {
        if (classes[i].class_id == info->class) {
            info->desc = g_strdup(classes[i].desc);
        }
    }
    return info;
}

static PciDeviceId *describe_id(const PciDevice *pci)
{
    const uint8_t *config = pci->config;
    PciDeviceId *id = g_new0(PciDeviceId, 1);

    id->vendor = load16_le(config + PCI_VENDOR_ID);
    id->device = load16_le(config + PCI_DEVICE_ID);
    id->has_subsystem = id->has_subsystem_vendor = !pci->info->is_bridge;
    if (id->has_subsystem) {
        id->subsystem = load16_le(config + PCI_SUBSYSTEM_ID);
        id->subsystem_vendor = load16_le(config + PCI_SUBSYSTEM_VENDOR_ID);
    }
    return id;
}

static GPtrArray *describe_bars(const PciDevice *pci)
{
    GPtrArray *list = g_ptr_array_new();

    for (unsigned n = 0; n <= PCI_ROM_SLOT; n++) {
        const PciBar *bar = &pci->bars[n];

        if (!bar->region) {
            continue;
        }
        bool io = bar->type & PCI_BASE_ADDRESS_SPACE_IO;
        PciMemoryRegion *info = g_new0(PciMemoryRegion, 1);
        info->bar = n;
        info->type = g_strdup(io ? "io" : "memory");
        info->address = bar->addr == PCI_BAR_UNMAPPED ? -1 : (int64_t)bar->addr;
        info->size = (int64_t)bar->size;
        info->has_prefetch = info->has_mem_type_64 = !io;
        info->prefetch = !io && bar->type & PCI_BASE_ADDRESS_MEM_PREFETCH;
        info->mem_type_64 = !io && bar->type & PCI_BASE_ADDRESS_MEM_TYPE_64;
        g_ptr_array_add(list, info);
    }
    return list;
}

static PciMemoryRange *new_range(uint64_t base, uint64_t limit)
{
    PciMemoryRange *range = g_new0(PciMemoryRange, 1);

    range->base = (int64_t)base;
    range->limit = (int64_t)limit;
    return range;
}

/* The windows as their registers say, whether the bridge forwards them now or not. */
static PciBusInfo *describe_bus(const PciDevice *pci)
{
    const uint8_t *c = pci->config;
    PciBusInfo *bus = g_new0(PciBusInfo, 1);
    uint64_t high_base = (uint64_t)load32_le(c + PCI_PREF_BASE_UPPER32) << 32;
    uint64_t high_limit = (uint64_t)load32_le(c + PCI_PREF_LIMIT_UPPER32) << 32;

    bus->number = c[PCI_PRIMARY_BUS];
    bus->secondary = c[PCI_SECONDARY_BUS];
    bus->subordinate = c[PCI_SUBORDINATE_BUS];
    bus->io_range = new_range((uint64_t)(c[PCI_IO_BASE] & 0xf0) << 8, (uint64_t)(c[PCI_IO_LIMIT] & 0xf0) << 8 | 0xfff);
    bus->memory_range = new_range((uint64_t)(load16_le(c + PCI_MEMORY_BASE) & 0xfff0) << 16,
                                  (uint64_t)(load16_le(c + PCI_MEMORY_LIMIT) & 0xfff0) << 16 | 0xfffff);
    bus->prefetchable_range = new_range(high_base | (uint64_t)(load16_le(c + PCI_PREF_MEMORY_BASE) & 0xfff0) << 16,
                                        high_limit | (uint64_t)(load16_le(c + PCI_PREF_MEMORY_LIMIT) & 0xfff0) << 16 | 0xfffff);
    return bus;
}

static GPtrArray *describe_devices(PciBus *bus);

static PciDeviceInfo *describe_device(PciDevice *pci)
{
    PciDeviceInfo *info = g_new0(PciDeviceInfo, 1);

    info->bus = pci_bus_number(pci_bus_of(pci));
    info->slot = PCI_SLOT(pci->devfn);
    info->function = PCI_FUNC(pci->devfn);
    info->class_info = describe_class(pci);
    info->id = describe_id(pci);
    info->irq_pin = pci->config[PCI_INTERRUPT_PIN];
    info->has_irq = info->irq_pin != 0;
    info->irq = info->has_irq ? pci->config[PCI_INTERRUPT_LINE] : 0;
    info->qdev_id = g_strdup(pci->dev.id ? pci->dev.id : "");
    info->regions = describe_bars(pci);
    if (pci->info->is_bridge) {
        info->pci_bridge = g_new0(PciBridgeInfo, 1);
        info->pci_bridge->bus = describe_bus(pci);
        if (info->pci_bridge->bus->secondary) {
            info->pci_bridge->devices = describe_devices(pci_bridge_secondary(pci));
        }
    }
    return info;
}

/* Recursion follows our own bridges, as deep as the user nested them. */
static GPtrArray *describe_devices(PciBus *bus)
{
    GPtrArray *list = g_ptr_array_new();

    for (unsigned devfn = 0; devfn < G_N_ELEMENTS(bus->devices); devfn++) {
        if (bus->devices[devfn]) {
            g_ptr_array_add(list, describe_device(bus->devices[devfn]));
        }
    }
    return list;
}

bool qmp_query_pci(QmpCall *call, GError **err)
{
    GPtrArray *list = call->result = g_ptr_array_new();
    PciBus *bus = pci_root_bus(call->vm);

    if (bus) {
        PciRootInfo *root = g_new0(PciRootInfo, 1);

        root->bus = pci_bus_number(bus);
        root->devices = describe_devices(bus);
        g_ptr_array_add(list, root);
    }
    return true;
}
