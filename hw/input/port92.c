/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * port92: the PS/2's system control port A at 92h. Bit 1 is the fast A20 gate (output pin 0 here),
 * a rising bit 0 resets the machine.
 */
#include "hw/isa/isa.h"
#include "util/trace.h"

#define PORT92_RESET 0x01
#define PORT92_A20 0x02

typedef struct Port92 {
    IsaDevice isa;
    Region port;
    Irq *a20;
    uint8_t outport; /* what was written last */
} Port92;

static uint64_t port92_read(void *opaque, uint64_t offset, unsigned size)
{
    Port92 *s = opaque;

    trace(port92_read, "value 0x%02x", s->outport);
    return s->outport;
}

static void port92_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Port92 *s = opaque;
    uint8_t old = s->outport;

    trace(port92_write, "value 0x%02x", (unsigned)value);
    s->outport = value;
    irq_set(s->a20, !!(value & PORT92_A20));
    if ((value & PORT92_RESET) && !(old & PORT92_RESET)) {
        vm_request_reset(s->isa.dev.vm, SHUTDOWN_CAUSE_GUEST_RESET);
    }
}

static const RegionOps port92_ops = {
    .read = port92_read,
    .write = port92_write,
    .impl = {.min_size = 1, .max_size = 1},
};

static bool port92_realize(Device *dev, GError **err)
{
    Port92 *s = container_of(dev, Port92, isa.dev);

    device_init_irq_out(dev, &s->a20, 1);
    region_init_io(&s->port, &port92_ops, s, "port92", 1);
    return isa_map_ports(&s->isa, &s->port, 0x92, err);
}

static void port92_unrealize(Device *dev)
{
    Port92 *s = container_of(dev, Port92, isa.dev);

    region_remove(&s->port);
    region_destroy(&s->port);
}

static void port92_reset(Device *dev)
{
    container_of(dev, Port92, isa.dev)->outport = 0;
}

static const StateField port92_fields[] = {STATE_U8(Port92, outport), {}};
static const StateDesc port92_state = {
    .name = "port92",
    .version = 1,
    .min_version = 1,
    .fields = port92_fields,
};

DEVICE_TYPE(port92) = {
    .name = "port92",
    .parent = "isa-device",
    .desc = "System control port A: fast A20 gate and reset",
    .size = sizeof(Port92),
    .not_user = "it is part of the board; leave it out",
    .state = &port92_state,
    .realize = port92_realize,
    .unrealize = port92_unrealize,
    .reset = port92_reset,
};
