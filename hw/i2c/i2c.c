/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The SMBus as a bus of devices. See i2c.h. */
#include "hw/i2c/i2c.h"

I2cDevice *i2c_find(I2cBus *bus, uint8_t address)
{
    for (unsigned i = 0; bus->bus.devices && i < bus->bus.devices->len; i++) {
        Device *dev = g_ptr_array_index(bus->bus.devices, i);
        I2cDevice *i2c = container_of(dev, I2cDevice, dev);

        if (i2c->address == address && type_ops(dev->obj.type)) {
            return i2c;
        }
    }
    return NULL;
}

static const StateField i2c_fields[] = {
    STATE_U8(I2cBus, saved_address),
    {}
};
static const StateDesc i2c_state = {.name = "i2c_bus", .version = 1, .min_version = 1,
                                    .fields = i2c_fields};

I2cBus *i2c_bus_new(Vm *vm, Device *owner, const char *name)
{
    I2cBus *bus = container_of(bus_new(vm, "i2c-bus", owner, name), I2cBus, bus);

    bus->saved_address = 0xff;
    state_register(vm, "i2c_bus", -1, &i2c_state, bus);
    return bus;
}

void i2c_bus_cleanup(I2cBus *bus)
{
    state_unregister(bus->bus.obj.vm, bus);
}

KILN_TYPE(i2c_bus) = {
    .name = "i2c-bus",
    .parent = "bus",
    .desc = "SMBus",
    .size = sizeof(I2cBus),
};

static const Property i2c_props[] = {
    PROP_U8("address", I2cDevice, address, .max = 0x7f, .help = "7-bit address on the bus"),
    {}
};

DEVICE_TYPE(i2c_device) = {
    .name = "i2c-slave",
    .parent = "device",
    .desc = "device on the SMBus",
    .size = sizeof(I2cDevice),
    .abstract = true,
    .bus = "i2c-bus",
    .props = i2c_props,
};
