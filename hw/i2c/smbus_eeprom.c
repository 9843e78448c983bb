/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "smbus-eeprom": 256 bytes of memory, as a memory module's SPD. A write sets the offset and then
 * stores; a read goes on from the offset, which wraps.
 *
 * The state is saved once a guest has touched the memory, as in QEMU 7.2; mode, data_len and
 * data_buf are what QEMU keeps of a transfer in progress, and here there never is one between two
 * accesses.
 */
#include "hw/i2c/i2c.h"
#include "util/trace.h"

#define EEPROM_SIZE 256
#define DATA_BUF_SIZE (SMBUS_BLOCK_MAX + 2)

typedef struct SmbusEeprom {
    I2cDevice i2c;
    uint8_t data[EEPROM_SIZE];
    uint8_t offset;
    bool accessed;
    int32_t mode, data_len;          /* wire only */
    uint8_t data_buf[DATA_BUF_SIZE]; /* the last write */
} SmbusEeprom;

static void eeprom_write(I2cDevice *dev, const uint8_t *data, unsigned len)
{
    SmbusEeprom *e = container_of(dev, SmbusEeprom, i2c);

    trace(smbus_eeprom_write, "0x%02x: offset 0x%02x, %u bytes", dev->address, data[0], len - 1);
    e->accessed = true;
    e->offset = data[0];
    for (unsigned i = 1; i < len; i++) {
        e->data[e->offset++] = data[i];
    }
    memcpy(e->data_buf, data, MIN(len, DATA_BUF_SIZE));
}

static uint8_t eeprom_read(I2cDevice *dev)
{
    SmbusEeprom *e = container_of(dev, SmbusEeprom, i2c);

    trace(smbus_eeprom_read, "0x%02x: offset 0x%02x -> 0x%02x", dev->address, e->offset,
          e->data[e->offset]);
    e->accessed = true;
    return e->data[e->offset++];
}

static const SmbusOps eeprom_ops = {.write = eeprom_write, .read = eeprom_read};

static void eeprom_reset(Device *dev)
{
    container_of(dev, SmbusEeprom, i2c.dev)->offset = 0; /* the contents stay: it is an EEPROM */
}

static bool eeprom_needed(void *obj)
{
    return ((const SmbusEeprom *)obj)->accessed;
}

/* QEMU calls it a plain number, but a device does not move to another address. */
static void put_address(StateBuf *buf, const StateField *field, const void *elem, size_t size)
{
    state_put(buf, elem, 1);
}

static bool get_address(StateBuf *buf, const StateField *field, void *elem, size_t size,
                        GError **err)
{
    return state_kind_u8_equal.get(buf, field, elem, size, err);
}

static const StateKind kind_address = {.type = "uint8", .put = put_address, .get = get_address};
static const StateField slave_fields[] = {
    STATE_ANY(I2cDevice, address, &kind_address, 1),
    {}
};
static const StateDesc slave_state = {.name = "I2CSlave", .version = 1, .min_version = 1,
                                      .fields = slave_fields};

static const StateField device_fields[] = {
    STATE_STRUCT(SmbusEeprom, i2c, &slave_state),
    STATE_I32(SmbusEeprom, mode, .max = 3),
    STATE_I32(SmbusEeprom, data_len, .max = DATA_BUF_SIZE),
    STATE_ARRAY(SmbusEeprom, data_buf, u8, DATA_BUF_SIZE),
    {}
};
static const StateDesc device_state = {
    .name = "smbus-device", .version = 1, .min_version = 1, .fields = device_fields};

static const StateField eeprom_fields[] = {
    {.name = "smbusdev", .kind = &state_kind_struct, .offset = 0, .count = 1,
     .desc = &device_state},
    STATE_ARRAY(SmbusEeprom, data, u8, EEPROM_SIZE),
    STATE_U8(SmbusEeprom, offset),
    STATE_BOOL(SmbusEeprom, accessed),
    {}
};
static const StateDesc eeprom_state = {
    .name = "smbus-eeprom", .version = 1, .min_version = 1, .fields = eeprom_fields,
    .needed = eeprom_needed};

bool smbus_eeproms_create(I2cBus *bus, unsigned n, GError **err)
{
    for (unsigned i = 0; i < n; i++) {
        Device *dev = device_new(bus->bus.obj.vm, "smbus-eeprom");

        object_set_uint(dev, "address", 0x50 + i);
        if (!device_realize(dev, &bus->bus, err)) {
            object_unref(dev);
            return false;
        }
    }
    return true;
}

DEVICE_TYPE(smbus_eeprom) = {
    .name = "smbus-eeprom",
    .parent = "i2c-slave",
    .desc = "SMBus EEPROM",
    .size = sizeof(SmbusEeprom),
    .not_user = "it is part of the machine; leave it out",
    .category = "misc",
    .state = &eeprom_state,
    .ops = &eeprom_ops,
    .reset = eeprom_reset,
};
