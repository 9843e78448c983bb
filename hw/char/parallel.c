/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * isa-parallel: a PC's printer port (IEEE 1284 compatibility mode), whose printer is a character
 * device: each strobed byte goes there and is acknowledged.
 *
 *   +0 data    +1 status (bits 7..3: not busy, ack, paper out, online, no error)    +2 control
 *
 * Not done: EPP and ECP registers (read as ones): they need a real port of the host.
 */
#include "chardev/char.h"
#include "hw/isa/isa.h"
#include "util/trace.h"

enum {
    STATUS_TIMEOUT = 0x01, STATUS_ERROR = 0x08, STATUS_ONLINE = 0x10, STATUS_ACK = 0x40,
    STATUS_NOT_BUSY = 0x80,
    CONTROL_STROBE = 0x01, CONTROL_INIT = 0x04, CONTROL_SELECT = 0x08, CONTROL_INTEN = 0x10,
    CONTROL_INPUT = 0x20, CONTROL_UNUSED = 0xc0, /* read as ones */
};

#define STATUS_IDLE (STATUS_NOT_BUSY | STATUS_ACK | STATUS_ONLINE | STATUS_ERROR)
#define UNSET UINT32_MAX
#define ISA_PARALLEL_PORTS 3

typedef struct IsaParallel {
    IsaDevice isa;
    uint32_t index, iobase, irq_number;
    CharPort *chr;
    Irq *irq;
    Region regs;
    uint8_t dataw;           /* what the guest wrote */
    uint8_t datar;           /* what it reads in input mode */
    uint8_t status, control;
    int32_t irq_pending;
    int32_t epp_timeout;     /* always 0: wire only */
} IsaParallel;

/* ---- registers --------------------------------------------------------------------- */

static void update_irq(IsaParallel *p)
{
    irq_set_level(p->irq, p->irq_pending != 0);
}

/* The printer takes a byte when strobe rises and is busy until strobe has fallen. */
static void write_control(IsaParallel *p, uint8_t value)
{
    if (!(value & CONTROL_INIT)) {
        p->status = STATUS_IDLE;
    } else if ((value & CONTROL_SELECT) && (value & CONTROL_STROBE)) {
        p->status &= (uint8_t)~STATUS_NOT_BUSY;
        if (!(p->control & CONTROL_STROBE)) {
            charport_write(p->chr, &p->dataw, 1);
        }
    } else if (value & CONTROL_SELECT) {
        p->irq_pending = p->irq_pending || (p->control & CONTROL_INTEN);
    }
    update_irq(p);
    p->control = value | CONTROL_UNUSED;
}

static void parallel_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    IsaParallel *p = opaque;

    trace(parallel_write, "register %u value 0x%02x", (unsigned)offset, (unsigned)value);
    if (offset == 0) {
        p->dataw = (uint8_t)value;
        update_irq(p);
    } else if (offset == 2) {
        write_control(p, (uint8_t)value);
    }
}

/* Reading the status ends the interrupt, and moves the printer on: busy, acknowledging, ready. */
static uint8_t read_status(IsaParallel *p)
{
    uint8_t value = p->status;

    p->irq_pending = 0;
    if (!(p->status & STATUS_NOT_BUSY) && !(p->control & CONTROL_STROBE)) {
        if (p->status & STATUS_ACK) {
            p->status &= (uint8_t)~STATUS_ACK;
        } else {
            p->status |= STATUS_ACK | STATUS_NOT_BUSY;
        }
    }
    update_irq(p);
    return value;
}

static uint64_t parallel_read(void *opaque, uint64_t offset, unsigned size)
{
    IsaParallel *p = opaque;
    uint8_t value = 0xff;

    switch (offset) {
    case 0:
        value = p->control & CONTROL_INPUT ? p->datar : p->dataw;
        break;
    case 1:
        value = read_status(p);
        break;
    case 2:
        value = p->control;
        break;
    default:
        break;
    }
    trace(parallel_read, "register %u value 0x%02x", (unsigned)offset, value);
    return value;
}

static const RegionOps parallel_ops = {
    .read = parallel_read,
    .write = parallel_write,
    .valid = {.min_size = 1, .max_size = 1},
};

/* ---- lifecycle --------------------------------------------------------------------- */

static void isa_parallel_reset(Device *dev)
{
    IsaParallel *p = container_of(dev, IsaParallel, isa.dev);

    p->datar = p->dataw = 0xff;
    p->status = STATUS_IDLE | STATUS_TIMEOUT;
    p->control = CONTROL_SELECT | CONTROL_INIT | CONTROL_UNUSED;
    p->irq_pending = 0;
    p->epp_timeout = 0;
    update_irq(p);
}

static uint32_t next_index(Vm *vm)
{
    uint32_t n = 0;

    for (unsigned i = 0; i < vm->devices->len; i++) {
        n += object_is_a(g_ptr_array_index(vm->devices, i), "isa-parallel");
    }
    return n;
}

static bool isa_parallel_realize(Device *dev, GError **err)
{
    static const uint16_t places[ISA_PARALLEL_PORTS] = {0x378, 0x278, 0x3bc};
    IsaParallel *p = container_of(dev, IsaParallel, isa.dev);

    if (!p->chr) {
        return error_set(err, "isa-parallel: chardev is missing: a printer port needs the "
                              "character device that prints");
    }
    if (p->index == UNSET) {
        p->index = next_index(dev->vm);
    }
    if (p->index >= ISA_PARALLEL_PORTS) {
        return error_set(err, "isa-parallel: index %u: there are %d ISA parallel ports, 0 to %d",
                         p->index, ISA_PARALLEL_PORTS, ISA_PARALLEL_PORTS - 1);
    }
    if (p->irq_number >= ISA_NUM_IRQS) {
        return error_set(err, "isa-parallel: irq %u: ISA has interrupt lines 0 to %d",
                         p->irq_number, ISA_NUM_IRQS - 1);
    }
    if (p->iobase == UNSET) {
        p->iobase = places[p->index];
    }
    p->irq = isa_irq(&p->isa, p->irq_number);
    /* The port at 0x3bc ends before the EGA's registers at 0x3c0. */
    region_init_io(&p->regs, &parallel_ops, p, "parallel", p->iobase == 0x3bc ? 4 : 8);
    if (!isa_map_ports(&p->isa, &p->regs, p->iobase, err)) {
        region_destroy(&p->regs);
        return false;
    }
    charport_set_ops(p->chr, NULL, NULL);
    return true;
}

static void isa_parallel_unrealize(Device *dev)
{
    IsaParallel *p = container_of(dev, IsaParallel, isa.dev);

    region_remove(&p->regs);
    region_destroy(&p->regs);
}

/* ---- tables ------------------------------------------------------------------------ */

static const Property isa_parallel_props[] = {
    PROP_U32("index", IsaParallel, index, .def = UNSET,
             .help = "0 to 2: LPT1 to LPT3; default the next one"),
    PROP_U32("iobase", IsaParallel, iobase, .def = UNSET,
             .help = "first I/O port; default that of index"),
    PROP_U32("irq", IsaParallel, irq_number, .def = 7, .help = "ISA interrupt line"),
    PROP_CHARDEV("chardev", IsaParallel, chr, .help = "character device that prints"),
    {}
};

static const StateField isa_parallel_fields[] = {
    STATE_U8(IsaParallel, dataw, .name = "state.dataw"),
    STATE_U8(IsaParallel, datar, .name = "state.datar"),
    STATE_U8(IsaParallel, status, .name = "state.status"),
    STATE_U8(IsaParallel, control, .name = "state.control"),
    STATE_I32(IsaParallel, irq_pending, .name = "state.irq_pending"),
    STATE_I32(IsaParallel, epp_timeout, .name = "state.epp_timeout"),
    {}
};
static const StateDesc isa_parallel_state = {
    .name = "parallel_isa", .version = 1, .min_version = 1, .fields = isa_parallel_fields};

DEVICE_TYPE(isa_parallel) = {
    .name = "isa-parallel",
    .parent = "isa-device",
    .desc = "parallel port",
    .category = "input",
    .size = sizeof(IsaParallel),
    .props = isa_parallel_props,
    .state = &isa_parallel_state,
    .realize = isa_parallel_realize,
    .unrealize = isa_parallel_unrealize,
    .reset = isa_parallel_reset,
};
