/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The 8259A interrupt controller in user space: used with kernel-irqchip=split and off and by
 * qtest. Spec: Intel 8259A data sheet (231468); ELCR: 82371SB (PIIX3) data sheet, "Edge/Level
 * Control".
 *
 * Each input has a bit in IRR (requested), ISR (in service) and IMR (masked). INT is high while a
 * request that is not masked has a higher priority than everything in service:
 *
 *      IRn --> edge/level sense --> IRR --& ~IMR--> priority resolver <-- ISR
 *                                                         |
 *                                                        INT --> CPU, or IR2 of the master
 *
 * As in the PIIX, ICW1's LTIM bit does nothing: the ELCR decides for each line. As in KVM's chip
 * and QEMU's, an edge stays requested when its line falls before it is taken (the data sheet makes
 * it a spurious IR7), and ICW1 lets a line that already stands high count as a new edge when it is
 * driven again.
 *
 * Not done: 8080/8085 mode (ICW4 bit 0 clear is taken as 8086 mode) and buffered mode.
 */
#include "hw/intc/i8259.h"
#include "util/trace.h"

#define ICW1            0x10 /* at A0 = 0 */
#define ICW1_IC4        0x01
#define ICW1_SINGLE     0x02
#define OCW3            0x08
#define OCW3_READ_ISR   0x01
#define OCW3_READ       0x02
#define OCW3_POLL       0x04
#define OCW3_SMM        0x20
#define OCW3_SMM_SET    0x40
#define ICW4_AUTO_EOI   0x02
#define ICW4_SFNM       0x10
#define CASCADE         2
#define SPURIOUS        7

/* ---- priority --------------------------------------------------------------------------- */

/* The distance of the highest set bit from the top of the rotated order; 8: none is set. */
static unsigned top_rank(const I8259 *s, uint8_t mask)
{
    unsigned rank = 0;

    while (rank < 8 && !(mask & 1 << ((rank + s->priority_add) & 7))) {
        rank++;
    }
    return rank;
}

/* The request that INT stands for, or -1. */
static int pending_irq(const I8259 *s)
{
    uint8_t in_service = s->isr;
    unsigned rank = top_rank(s, s->irr & ~s->imr);

    if (s->special_mask) {
        in_service &= ~s->imr;
    }
    if (s->special_fully_nested_mode && s->master) {
        in_service &= ~(1 << CASCADE); /* the slave has sorted out its own */
    }
    return rank < top_rank(s, in_service) ? (int)((rank + s->priority_add) & 7) : -1;
}

static void update_output(I8259 *s)
{
    irq_set_level(s->out, pending_irq(s) >= 0);
}

/* ---- inputs and acknowledge ------------------------------------------------------------- */

static void set_input(void *opaque, unsigned n, int level)
{
    I8259 *s = opaque;
    uint8_t mask = 1 << n;

    trace(i8259_set_irq, "master %d pin %u level %d", s->master, n, level);
    if (level) {
        if ((s->elcr & mask) || !(s->last_irr & mask)) {
            s->irr |= mask;
        }
        s->last_irr |= mask;
    } else {
        if (s->elcr & mask) {
            s->irr &= ~mask;
        }
        s->last_irr &= ~mask;
    }
    update_output(s);
}

static void take_irq(I8259 *s, unsigned n)
{
    uint8_t mask = 1 << n;

    if (!s->auto_eoi) {
        s->isr |= mask;
    } else if (s->rotate_on_auto_eoi) {
        s->priority_add = (n + 1) & 7;
    }
    if (!(s->elcr & mask)) {
        s->irr &= ~mask;
    }
    irq_set_level(s->out, 0); /* so that the next request is an edge for the master */
    update_output(s);
}

int i8259_ack(void *opaque)
{
    I8259 *s = opaque;
    int n = pending_irq(s);

    if (n == CASCADE && s->slave) {
        I8259 *slave = s->slave;
        int slave_n = pending_irq(slave);

        /* First the master: the slave's INT may rise again at once. */
        take_irq(s, CASCADE);
        if (slave_n >= 0) {
            take_irq(slave, slave_n);
        } else {
            slave_n = SPURIOUS;
        }
        trace(i8259_ack, "irq %d vector 0x%02x", 8 + slave_n, slave->irq_base + slave_n);
        return (slave->irq_base + slave_n) & 0xff;
    }
    if (n >= 0) {
        take_irq(s, n);
    } else {
        n = SPURIOUS;
    }
    trace(i8259_ack, "irq %d vector 0x%02x", n, s->irq_base + n);
    return (s->irq_base + n) & 0xff;
}

/* ---- commands --------------------------------------------------------------------------- */

static void end_of_interrupt(I8259 *s, unsigned n, bool rotate)
{
    s->isr &= ~(1 << n);
    if (rotate) {
        s->priority_add = (n + 1) & 7;
    }
}

static void write_ocw2(I8259 *s, uint8_t value)
{
    unsigned n = value & 7, rank;

    switch (value >> 5) {
    case 0:
    case 4:
        s->rotate_on_auto_eoi = value >> 7;
        break;
    case 1:
    case 5: /* not specific; special mask mode spares what is masked */
        rank = top_rank(s, s->special_mask ? s->isr & ~s->imr : s->isr);
        if (rank < 8) {
            end_of_interrupt(s, (rank + s->priority_add) & 7, value >> 7);
        }
        break;
    case 3:
    case 7:
        end_of_interrupt(s, n, value >> 7);
        break;
    case 6:
        s->priority_add = (n + 1) & 7;
        break;
    default:
        break;
    }
    update_output(s);
}

static void write_ocw3(I8259 *s, uint8_t value)
{
    if (value & OCW3_POLL) {
        s->poll = 1;
    }
    if (value & OCW3_READ) {
        s->read_reg_select = value & OCW3_READ_ISR;
    }
    if (value & OCW3_SMM_SET) {
        s->special_mask = !!(value & OCW3_SMM);
        update_output(s);
    }
}

static void write_icw1(I8259 *s, uint8_t value)
{
    i8259_init_state(s);
    s->init_state = 1;
    s->init4 = value & ICW1_IC4;
    s->single_mode = value & ICW1_SINGLE;
    update_output(s);
}

/* A0 = 1: OCW1, or the ICW that is awaited. */
static void write_data(I8259 *s, uint8_t value)
{
    switch (s->init_state) {
    case 0:
        s->imr = value;
        update_output(s);
        break;
    case 1:
        s->irq_base = value & 0xf8;
        s->init_state = !s->single_mode ? 2 : s->init4 ? 3 : 0;
        break;
    case 2: /* the cascade is wired: ICW3 has nothing to tell us */
        s->init_state = s->init4 ? 3 : 0;
        break;
    default:
        s->special_fully_nested_mode = !!(value & ICW4_SFNM);
        s->auto_eoi = !!(value & ICW4_AUTO_EOI);
        s->init_state = 0;
        break;
    }
}

static uint8_t read_poll(I8259 *s)
{
    int n = pending_irq(s);

    s->poll = 0;
    if (n < 0) {
        return 0;
    }
    take_irq(s, n);
    return 0x80 | n;
}

/* ---- registers -------------------------------------------------------------------------- */

static uint64_t pic_read(void *opaque, uint64_t offset, unsigned size)
{
    I8259 *s = opaque;
    uint8_t value;

    if (s->poll) {
        value = read_poll(s);
    } else if (offset == 1) {
        value = s->imr;
    } else {
        value = s->read_reg_select ? s->isr : s->irr;
    }
    trace(i8259_read, "master %d addr %u value 0x%02x", s->master, (unsigned)offset, value);
    return value;
}

static void pic_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    I8259 *s = opaque;

    trace(i8259_write, "master %d addr %u value 0x%02x", s->master, (unsigned)offset,
          (unsigned)value);
    if (offset == 1) {
        write_data(s, value);
    } else if (value & ICW1) {
        write_icw1(s, value);
    } else if (value & OCW3) {
        write_ocw3(s, value);
    } else {
        write_ocw2(s, value);
    }
}

static const RegionOps pic_ops = {
    .read = pic_read,
    .write = pic_write,
    .valid = {.min_size = 1, .max_size = 1},
    .impl = {.min_size = 1, .max_size = 1},
};

static uint64_t elcr_read(void *opaque, uint64_t offset, unsigned size)
{
    I8259 *s = opaque;

    trace(i8259_elcr_read, "master %d value 0x%02x", s->master, s->elcr);
    return s->elcr;
}

static void elcr_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    I8259 *s = opaque;

    trace(i8259_elcr_write, "master %d value 0x%02x", s->master, (unsigned)value);
    s->elcr = value & s->elcr_mask;
}

static const RegionOps elcr_ops = {
    .read = elcr_read,
    .write = elcr_write,
    .valid = {.min_size = 1, .max_size = 1},
    .impl = {.min_size = 1, .max_size = 1},
};

/* ---- lifecycle -------------------------------------------------------------------------- */

static void pic_reset(Device *dev)
{
    I8259 *s = container_of(dev, I8259, isa.dev);

    s->elcr = 0;
    i8259_init_state(s);
    update_output(s);
}

static bool pic_realize(Device *dev, GError **err)
{
    I8259 *s = container_of(dev, I8259, isa.dev);

    device_init_irq_in(dev, set_input, s, 8);
    device_init_irq_out(dev, &s->out, 1);
    region_init_io(&s->regs, &pic_ops, s, "pic", 2);
    region_init_io(&s->elcr_reg, &elcr_ops, s, "elcr", 1);
    return isa_map_ports(&s->isa, &s->regs, s->iobase, err) &&
           (s->elcr_addr == UINT32_MAX || isa_map_ports(&s->isa, &s->elcr_reg, s->elcr_addr, err));
}

static void pic_unrealize(Device *dev)
{
    I8259 *s = container_of(dev, I8259, isa.dev);

    region_destroy(&s->regs);
    region_destroy(&s->elcr_reg);
}

static bool pic_post_load(void *opaque, unsigned version, GError **err)
{
    update_output(opaque);
    return true;
}

/* ---- tables ----------------------------------------------------------------------------- */

static const StateDesc isa_i8259_state = {
    .name = "i8259",
    .version = 1,
    .min_version = 1,
    .fields = i8259_fields,
    .post_load = pic_post_load,
};

DEVICE_TYPE(isa_i8259) = {
    .name = "isa-i8259",
    .parent = "pic-common",
    .desc = "8259 interrupt controller",
    .realize = pic_realize,
    .unrealize = pic_unrealize,
    .reset = pic_reset,
    .state = &isa_i8259_state,
};
