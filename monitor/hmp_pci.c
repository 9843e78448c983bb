/* SPDX-License-Identifier: GPL-2.0-or-later */
/* HMP: info pci. */
#include <inttypes.h>

#include "core/vm.h"
#include "monitor/hmp_internal.h"
#include "qapi/qapi-commands.h"

static void print_devices(HmpCall *call, const GPtrArray *devices);

static void print_window(HmpCall *call, const char *name, int digits, const PciMemoryRange *range)
{
    hmp_printf(call, "      %s range [0x%0*" PRIx64 ", 0x%0*" PRIx64 "]\n", name, digits, (uint64_t)range->base, digits,
               (uint64_t)range->limit);
}

static void print_bridge(HmpCall *call, const PciBusInfo *bus)
{
    hmp_printf(call, "      BUS %" PRId64 ".\n      secondary bus %" PRId64 ".\n      subordinate bus %" PRId64 ".\n",
               bus->number, bus->secondary, bus->subordinate);
    print_window(call, "IO", 4, bus->io_range);
    print_window(call, "memory", 8, bus->memory_range);
    print_window(call, "prefetchable memory", 8, bus->prefetchable_range);
}

/* An address of -1 is a register that decodes nothing; the last address is then as odd, as QEMU prints it. */
static void print_bar(HmpCall *call, const PciMemoryRegion *bar)
{
    uint64_t first = (uint64_t)bar->address, last = first + (uint64_t)bar->size - 1;

    hmp_printf(call, "      BAR%" PRId64 ": ", bar->bar);
    if (!strcmp(bar->type, "io")) {
        hmp_printf(call, "I/O at 0x%04" PRIx64 " [0x%04" PRIx64 "].\n", first, last);
    } else {
        hmp_printf(call, "%d bit%s memory at 0x%08" PRIx64 " [0x%08" PRIx64 "].\n", bar->mem_type_64 ? 64 : 32,
                   bar->prefetch ? " prefetchable" : "", first, last);
    }
}

static void print_device(HmpCall *call, const PciDeviceInfo *dev)
{
    hmp_printf(call, "  Bus %2" PRId64 ", device %3" PRId64 ", function %" PRId64 ":\n    ", dev->bus, dev->slot, dev->function);
    if (dev->class_info->desc) {
        hmp_printf(call, "%s", dev->class_info->desc);
    } else {
        hmp_printf(call, "Class %04" PRId64, dev->class_info->class);
    }
    hmp_printf(call, ": PCI device %04" PRIx64 ":%04" PRIx64 "\n", (uint64_t)dev->id->vendor, (uint64_t)dev->id->device);
    if (dev->id->has_subsystem) {
        hmp_printf(call, "      PCI subsystem %04" PRIx64 ":%04" PRIx64 "\n", (uint64_t)dev->id->subsystem_vendor,
                   (uint64_t)dev->id->subsystem);
    }
    if (dev->has_irq) {
        hmp_printf(call, "      IRQ %" PRId64 ", pin %c\n", dev->irq, (char)('A' + dev->irq_pin - 1));
    }
    if (dev->pci_bridge) {
        print_bridge(call, dev->pci_bridge->bus);
    }
    for (unsigned i = 0; i < dev->regions->len; i++) {
        print_bar(call, dev->regions->pdata[i]);
    }
    hmp_printf(call, "      id \"%s\"\n", dev->qdev_id);
    if (dev->pci_bridge && dev->pci_bridge->devices) {
        print_devices(call, dev->pci_bridge->devices);
    }
}

static void print_devices(HmpCall *call, const GPtrArray *devices)
{
    for (unsigned i = 0; i < devices->len; i++) {
        print_device(call, devices->pdata[i]);
    }
}

static void info_pci(HmpCall *call)
{
    QmpCall qmp = {.vm = call->vm};

    qmp_query_pci(&qmp, NULL);
    GPtrArray *roots = qmp.result;
    if (!roots->len) {
        hmp_printf(call, "No PCI buses\n");
    }
    for (unsigned i = 0; i < roots->len; i++) {
        print_devices(call, ((const PciRootInfo *)roots->pdata[i])->devices);
    }
    qapi_free(&qapi_list_PciRootInfo, roots);
}

const HmpCommand hmp_pci_commands[] = {
    {"info pci", .run = info_pci, .help = "the PCI devices, as firmware and the guest have set them up"},
    {}};
