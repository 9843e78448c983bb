/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the user-space 8259 and the holder of the kernel's have in common: properties, the state on
 * the wire, and the making of the pair.
 */
#include "hw/intc/i8259.h"

void i8259_init_state(I8259 *s)
{
    s->last_irr = 0;
    s->irr &= s->elcr; /* edges are forgotten; a level that still stands is not */
    s->imr = 0;
    s->isr = 0;
    s->priority_add = 0;
    s->irq_base = 0;
    s->read_reg_select = 0;
    s->poll = 0;
    s->special_mask = 0;
    s->init_state = 0;
    s->auto_eoi = 0;
    s->rotate_on_auto_eoi = 0;
    s->special_fully_nested_mode = 0;
    s->init4 = 0;
    s->single_mode = 0;
}

static I8259 *create_chip(IsaBus *bus, const char *type, bool master, GError **err)
{
    Device *dev = device_new(bus->bus.obj.vm, type);

    object_set_uint(dev, "iobase", master ? 0x20 : 0xa0);
    object_set_uint(dev, "elcr_addr", master ? 0x4d0 : 0x4d1);
    object_set_uint(dev, "elcr_mask", master ? 0xf8 : 0xde);
    object_set_bool(dev, "master", master);
    if (!device_realize_board(dev, NULL, &bus->bus, err)) {
        object_unref(dev);
        return NULL;
    }
    return container_of(dev, I8259, isa.dev);
}

I8259 *i8259_create_pair(IsaBus *bus, const char *type, Irq *intr, Irq *inputs[ISA_NUM_IRQS],
                         GError **err)
{
    I8259 *master = create_chip(bus, type, true, err);
    I8259 *slave = master ? create_chip(bus, type, false, err) : NULL;

    if (!slave) {
        return NULL; /* the tree owns the master */
    }
    master->slave = slave;
    device_connect(&master->isa.dev, 0, intr);
    device_connect(&slave->isa.dev, 0, device_irq_in(&master->isa.dev, 2));
    for (unsigned i = 0; i < 8; i++) {
        inputs[i] = device_irq_in(&master->isa.dev, i);
        inputs[i + 8] = device_irq_in(&slave->isa.dev, i);
    }
    return master;
}

/* ---- tables ----------------------------------------------------------------------------- */

const StateField i8259_fields[] = {
    STATE_U8(I8259, last_irr),
    STATE_U8(I8259, irr),
    STATE_U8(I8259, imr),
    STATE_U8(I8259, isr),
    STATE_U8(I8259, priority_add, .max = 7),
    STATE_U8(I8259, irq_base),
    STATE_U8(I8259, read_reg_select, .max = 1),
    STATE_U8(I8259, poll),
    STATE_U8(I8259, special_mask, .max = 1),
    STATE_U8(I8259, init_state, .max = 3),
    STATE_U8(I8259, auto_eoi, .max = 1),
    STATE_U8(I8259, rotate_on_auto_eoi, .max = 1),
    STATE_U8(I8259, special_fully_nested_mode, .max = 1),
    STATE_U8(I8259, init4, .max = 1),
    STATE_U8(I8259, single_mode),
    STATE_U8(I8259, elcr),
    {}
};

static const Property pic_props[] = {
    PROP_U32("iobase", I8259, iobase, .def = UINT32_MAX, .help = "first of the two ports"),
    PROP_U32("elcr_addr", I8259, elcr_addr, .def = UINT32_MAX,
             .help = "port of the edge/level register"),
    PROP_U8("elcr_mask", I8259, elcr_mask, .def = 0xff,
            .help = "lines that can be level-triggered"),
    PROP_BOOL("master", I8259, master, .help = "first of the pair"),
    {}
};

DEVICE_TYPE(pic_common) = {
    .name = "pic-common",
    .parent = "isa-device",
    .desc = "8259 interrupt controller",
    .abstract = true,
    .not_user = "it is a part of the board",
    .size = sizeof(I8259),
    .props = pic_props,
};
