/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ISA bus and the root of all ISA device types.
 *
 * The bus has no configuration mechanism: a device claims the ports and the line that its
 * properties say. Two devices on the same ports is the user's mistake and is not detected, as on
 * real hardware.
 */
#include "hw/isa/isa.h"

#define ISA_IO_SIZE 0x10000

IsaBus *isa_bus_new(Vm *vm, Device *owner, Region *memory, Region *io)
{
    Bus *bus = bus_new(vm, "ISA", owner, "isa.0");
    IsaBus *isa = container_of(bus, IsaBus, bus);

    isa->memory = memory;
    isa->io = io;
    return isa;
}

IsaBus *isa_bus_find(Vm *vm)
{
    Bus *bus = bus_find_by_type(vm, "ISA");

    return bus ? container_of(bus, IsaBus, bus) : NULL;
}

Irq *isa_irq(IsaDevice *isa, unsigned irq)
{
    return irq < ISA_NUM_IRQS ? isa_bus(isa)->irqs[irq] : NULL;
}

bool isa_map_ports(IsaDevice *isa, Region *region, uint32_t base, GError **err)
{
    if (!range_fits(base, region->size, ISA_IO_SIZE)) {
        return error_set(err,
                         "device '%s': ports 0x%x to 0x%" PRIx64
                         " do not fit below 0x10000; choose a lower I/O port",
                         isa->dev.obj.type->name, base, base + region->size - 1);
    }
    if (!isa->has_ports) {
        isa->has_ports = true;
        isa->first_port = (uint16_t)base;
    }
    region_set_owner(region, &isa->dev);
    region_add(isa_bus(isa)->io, base, region);
    return true;
}

void isa_map_memory(IsaDevice *isa, Region *region, uint32_t base)
{
    region_set_owner(region, &isa->dev);
    region_add(isa_bus(isa)->memory, base, region);
}

/* OpenFirmware names leave the bus's own prefix out: "isa-fdc" is fdc@03f0. */
static char *isa_fw_path(Bus *bus, Device *dev)
{
    const IsaDevice *isa = container_of(dev, IsaDevice, dev);
    const char *name = dev->obj.type->name;

    if (g_str_has_prefix(name, "isa-")) {
        name += strlen("isa-");
    }
    if (!isa->has_ports) {
        return g_strdup(name);
    }
    return g_strdup_printf("%s@%04x", name, isa->first_port);
}

static const BusOps isa_bus_ops = {
    .fw_path = isa_fw_path,
};

KILN_TYPE(isa_bus) = {
    .name = "ISA",
    .parent = "bus",
    .desc = "ISA bus",
    .size = sizeof(IsaBus),
    .ops = &isa_bus_ops,
};

DEVICE_TYPE(isa_device) = {
    .name = "isa-device",
    .parent = "device",
    .desc = "ISA device",
    .size = sizeof(IsaDevice),
    .abstract = true,
    .bus = "ISA",
};
