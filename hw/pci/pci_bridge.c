/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "base-pci-bridge": header type 1, the secondary bus and its three windows. A window is an alias
 * of the secondary bus's address space on the primary bus, at the same addresses.
 *
 * Not done: the VGA windows (bridge control bits 3 and 4), a bus reset that spares the bridge's
 * descendants' hot-plug state.
 */
#include "hw/pci/pci_bridge.h"

#include "util/trace.h"

#define IO_WINDOW_STEP 0x1000
#define MEM_WINDOW_STEP 0x100000
#define BRIDGE_CONTROL_WRITABLE 0x0bff /* as QEMU 7.2: all of it but the discard timer's status */

static PciBridge *to_bridge(PciDevice *pci) { return container_of(pci, PciBridge, pci); }

PciBus *pci_bridge_secondary(PciDevice *bridge) { return &to_bridge(bridge)->secondary; }

/* First and last address of a window; last < first: closed. */
static void window_bounds(const PciDevice *pci, PciWindow window, uint64_t *first, uint64_t *last)
{
    const uint8_t *config = pci->config;
    uint16_t command = load16_le(config + PCI_COMMAND);

    *first = 1;
    *last = 0;
    if (window == PCI_WINDOW_IO) {
        if (command & PCI_COMMAND_IO) {
            *first = (uint64_t)(config[PCI_IO_BASE] & 0xf0) << 8;
            *last = ((uint64_t)(config[PCI_IO_LIMIT] & 0xf0) << 8) + IO_WINDOW_STEP - 1;
        }
        return;
    }
    if (!(command & PCI_COMMAND_MEMORY)) {
        return;
    }
    if (window == PCI_WINDOW_MEM) {
        *first = (uint64_t)(load16_le(config + PCI_MEMORY_BASE) & 0xfff0) << 16;
        *last = (uint64_t)(load16_le(config + PCI_MEMORY_LIMIT) & 0xfff0) << 16;
        *last += MEM_WINDOW_STEP - 1;
    } else {
        *first = (uint64_t)load32_le(config + PCI_PREF_BASE_UPPER32) << 32 |
                 (uint64_t)(load16_le(config + PCI_PREF_MEMORY_BASE) & 0xfff0) << 16;
        *last = ((uint64_t)load32_le(config + PCI_PREF_LIMIT_UPPER32) << 32 |
                 (uint64_t)(load16_le(config + PCI_PREF_MEMORY_LIMIT) & 0xfff0) << 16) +
                MEM_WINDOW_STEP - 1;
    }
}

static void update_window(PciBridge *bridge, PciWindow window)
{
    static const char *const names[] = {"pci_bridge_io", "pci_bridge_mem", "pci_bridge_pref_mem"};
    PciBus *parent = pci_bus_of(&bridge->pci);
    Region *alias = &bridge->windows[window];
    bool io = window == PCI_WINDOW_IO;
    uint64_t first, last;

    window_bounds(&bridge->pci, window, &first, &last);
    if (bridge->is_open[window]) {
        if (first <= last && alias->addr == first && alias->size == last - first + 1) {
            return;
        }
        region_remove(alias);
        region_destroy(alias);
        bridge->is_open[window] = false;
    }
    if (first > last) {
        return;
    }
    trace(pci_bridge_window, "%02x.%x %s 0x%" PRIx64 "..0x%" PRIx64, PCI_SLOT(bridge->pci.devfn),
          PCI_FUNC(bridge->pci.devfn), names[window], first, last);
    region_init_alias(alias, names[window], io ? &bridge->io : &bridge->memory, first,
                      MIN(last - first, UINT64_MAX - 1) + 1);
    region_add_overlap(io ? parent->io : parent->memory, first, alias, 1);
    bridge->is_open[window] = true;
}

static void reset_secondary(PciBridge *bridge)
{
    for (unsigned devfn = 0; devfn < 256; devfn++) {
        if (bridge->secondary.devices[devfn]) {
            device_reset(&bridge->secondary.devices[devfn]->dev);
        }
    }
}

void pci_bridge_config_written(PciDevice *pci, uint32_t addr, unsigned size)
{
    PciBridge *bridge = to_bridge(pci);
    bool command = addr < PCI_COMMAND + 2 && addr + size > PCI_COMMAND;
    bool window = addr < PCI_IO_LIMIT_UPPER16 + 2 && addr + size > PCI_IO_BASE;

    if (command || window) {
        region_begin(pci->dev.vm);
        for (PciWindow w = 0; w < PCI_WINDOWS; w++) {
            update_window(bridge, w);
        }
        region_commit(pci->dev.vm);
    }
    if (addr <= PCI_BRIDGE_CONTROL && addr + size > PCI_BRIDGE_CONTROL && size < PCI_CONFIG_SIZE &&
        (pci->config[PCI_BRIDGE_CONTROL] & PCI_BRIDGE_CTL_BUS_RESET)) {
        reset_secondary(bridge);
    }
}

static void bridge_init_masks(PciDevice *pci)
{
    memset(pci->wmask + PCI_PRIMARY_BUS, 0xff, 4);
    pci->wmask[PCI_IO_BASE] = pci->wmask[PCI_IO_LIMIT] = 0xf0;
    for (unsigned reg = PCI_MEMORY_BASE; reg <= PCI_PREF_MEMORY_LIMIT; reg += 2) {
        store16_le(pci->wmask + reg, 0xfff0);
    }
    memset(pci->wmask + PCI_PREF_BASE_UPPER32, 0xff, 8);
    store16_le(pci->config + PCI_PREF_MEMORY_BASE, PCI_PREF_RANGE_TYPE_64);
    store16_le(pci->config + PCI_PREF_MEMORY_LIMIT, PCI_PREF_RANGE_TYPE_64);
    store16_le(pci->wmask + PCI_BRIDGE_CONTROL, BRIDGE_CONTROL_WRITABLE);
    store16_le(pci->w1cmask + PCI_BRIDGE_CONTROL, 0x400); /* discard timer status */
    store16_le(pci->config + PCI_SEC_STATUS, PCI_STATUS_66MHZ | PCI_STATUS_FAST_BACK);
    store16_le(pci->w1cmask + PCI_SEC_STATUS, 0xf900);
    store16_le(pci->config + PCI_STATUS,
               load16_le(pci->config + PCI_STATUS) | PCI_STATUS_66MHZ | PCI_STATUS_FAST_BACK);
    store16_le(pci->cmask + PCI_PREF_MEMORY_BASE, PCI_PREF_RANGE_TYPE_MASK);
    store16_le(pci->cmask + PCI_PREF_MEMORY_LIMIT, PCI_PREF_RANGE_TYPE_MASK);
}

/* The bridge's id, as QEMU's does (-device X,bus=ID); without one the first "pci.N" that is free. */
static char *secondary_name(Device *dev)
{
    if (dev->id) {
        return g_strdup(dev->id);
    }
    for (unsigned n = 1;; n++) {
        char *name = g_strdup_printf("pci.%u", n);

        if (!bus_find(dev->vm, name)) {
            return name;
        }
        g_free(name);
    }
}

static bool bridge_realize(Device *dev, GError **err)
{
    PciBridge *bridge = container_of(dev, PciBridge, pci.dev);
    PciBus *bus = &bridge->secondary;
    g_autofree char *name = secondary_name(dev);

    bridge_init_masks(&bridge->pci);
    region_init_container(&bridge->memory, "pci_bridge_pci", UINT64_MAX);
    region_init_container(&bridge->io, "pci_bridge_io", 0x10000);
    pci_bus_init_embedded(bus, dev->vm, dev, name);
    bus->bridge = &bridge->pci;
    bus->memory = &bridge->memory;
    bus->io = &bridge->io;
    bus->map_irq = pci_swizzle_irq;
    return true;
}

static void bridge_unrealize(Device *dev)
{
    PciBridge *bridge = container_of(dev, PciBridge, pci.dev);

    region_begin(dev->vm);
    for (PciWindow w = 0; w < PCI_WINDOWS; w++) {
        if (bridge->is_open[w]) {
            region_remove(&bridge->windows[w]);
            region_destroy(&bridge->windows[w]);
            bridge->is_open[w] = false;
        }
    }
    region_commit(dev->vm);
    pci_bus_cleanup(&bridge->secondary);
    region_destroy(&bridge->memory);
    region_destroy(&bridge->io);
}

static void bridge_reset(Device *dev)
{
    PciDevice *pci = container_of(dev, PciDevice, dev);

    memset(pci->config + PCI_PRIMARY_BUS, 0, 4);
    pci->config[PCI_IO_BASE] = pci->config[PCI_IO_LIMIT] = 0;
    store32_le(pci->config + PCI_MEMORY_BASE, 0);
    store16_le(pci->config + PCI_PREF_MEMORY_BASE, PCI_PREF_RANGE_TYPE_64);
    store16_le(pci->config + PCI_PREF_MEMORY_LIMIT, PCI_PREF_RANGE_TYPE_64);
    store64_le(pci->config + PCI_PREF_BASE_UPPER32, 0);
    store16_le(pci->config + PCI_BRIDGE_CONTROL, 0);
    pci_bridge_config_written(pci, 0, PCI_CONFIG_SIZE);
}

DEVICE_TYPE(base_pci_bridge) = {
    .name = "base-pci-bridge",
    .parent = "pci-device",
    .desc = "PCI-to-PCI bridge",
    .size = sizeof(PciBridge),
    .abstract = true,
    .category = "bridge",
    .realize = bridge_realize,
    .unrealize = bridge_unrealize,
    .reset = bridge_reset,
};
