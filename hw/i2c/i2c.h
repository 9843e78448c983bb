/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The SMBus of the machine, one whole transaction at a time (System Management Bus 2.0, chapter
 * 5): the host controller tells a device what was written and asks for bytes. Bus type "i2c-bus".
 */
#ifndef HW_I2C_I2C_H
#define HW_I2C_I2C_H

#include "core/vm.h"

#define SMBUS_BLOCK_MAX 32

typedef struct I2cBus {
    Bus bus;
    uint8_t saved_address;   /* wire only: 0xff, no transfer is in progress between two accesses */
} I2cBus;

/* Type "i2c-slave": first member of each device's struct. */
typedef struct I2cDevice {
    Device dev;
    uint8_t address;         /* property, 7 bits */
} I2cDevice;

/* A device type's Type.ops. VM lock. */
typedef struct SmbusOps {
    /* Bytes of a write, command first. len 1 to SMBUS_BLOCK_MAX + 2. */
    void (*write)(I2cDevice *dev, const uint8_t *data, unsigned len);
    /* The next byte of a read. */
    uint8_t (*read)(I2cDevice *dev);
} SmbusOps;

/* Bus "i2c" of owner, with QEMU's section "i2c_bus". */
I2cBus *i2c_bus_new(Vm *vm, Device *owner, const char *name);
/* Takes the section out again; the bus goes with its owner. */
void i2c_bus_cleanup(I2cBus *bus);
/* The device at an address, NULL: nobody acknowledges. */
I2cDevice *i2c_find(I2cBus *bus, uint8_t address);

/* Makes n EEPROMs of 256 zero bytes at addresses 0x50 and up, as the pc machine has. */
bool smbus_eeproms_create(I2cBus *bus, unsigned n, GError **err);

#endif
