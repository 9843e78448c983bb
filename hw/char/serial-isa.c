/* SPDX-License-Identifier: GPL-2.0-or-later */
/* isa-serial: a 16550A at one of the four places of a PC's serial ports, COM1 to COM4. */
#include "hw/char/serial.h"
#include "hw/isa/isa.h"

#define UNSET UINT32_MAX /* a property that follows from index */
#define ISA_SERIAL_PORTS 4

typedef struct IsaSerial {
    IsaDevice isa;
    uint32_t index, iobase, irq;
    Serial state;
} IsaSerial;

/* ---- lifecycle --------------------------------------------------------------------- */

static uint32_t next_index(Vm *vm)
{
    uint32_t n = 0;

    for (unsigned i = 0; i < vm->devices->len; i++) {
        n += object_is_a(g_ptr_array_index(vm->devices, i), "isa-serial");
    }
    return n;
}

static bool isa_serial_realize(Device *dev, GError **err)
{
    static const struct {
        uint16_t iobase;
        uint8_t irq;
    } places[ISA_SERIAL_PORTS] = {{0x3f8, 4}, {0x2f8, 3}, {0x3e8, 4}, {0x2e8, 3}};
    IsaSerial *serial = container_of(dev, IsaSerial, isa.dev);

    if (serial->index == UNSET) {
        serial->index = next_index(dev->vm);
    }
    if (serial->index >= ISA_SERIAL_PORTS) {
        return error_set(err, "isa-serial: index %u: there are %d ISA serial ports, 0 to %d",
                         serial->index, ISA_SERIAL_PORTS, ISA_SERIAL_PORTS - 1);
    }
    if (serial->iobase == UNSET) {
        serial->iobase = places[serial->index].iobase;
    }
    if (serial->irq == UNSET) {
        serial->irq = places[serial->index].irq;
    }
    if (serial->irq >= ISA_NUM_IRQS) {
        return error_set(err, "isa-serial: irq %u: ISA has interrupt lines 0 to %d", serial->irq,
                         ISA_NUM_IRQS - 1);
    }
    serial->state.irq = isa_irq(&serial->isa, serial->irq);
    serial_realize(&serial->state, dev);
    if (!isa_map_ports(&serial->isa, &serial->state.regs, serial->iobase, err)) {
        serial_unrealize(&serial->state);
        return false;
    }
    return true;
}

static void isa_serial_unrealize(Device *dev)
{
    serial_unrealize(&container_of(dev, IsaSerial, isa.dev)->state);
}

static void isa_serial_reset(Device *dev)
{
    serial_reset(&container_of(dev, IsaSerial, isa.dev)->state);
}

/* ---- tables ------------------------------------------------------------------------ */

static const Property isa_serial_props[] = {
    PROP_U32("index", IsaSerial, index, .def = UNSET,
             .help = "0 to 3: COM1 to COM4; default the next one"),
    PROP_U32("iobase", IsaSerial, iobase, .def = UNSET,
             .help = "first I/O port; default that of index"),
    PROP_U32("irq", IsaSerial, irq, .def = UNSET,
             .help = "ISA interrupt line; default that of index"),
    SERIAL_PROPS(IsaSerial, state),
    {}
};

static const StateField isa_serial_fields[] = {
    STATE_STRUCT(IsaSerial, state, &serial_state),
    {}
};
static const StateDesc isa_serial_state = {
    .name = "serial", .version = 3, .min_version = 2, .fields = isa_serial_fields};

DEVICE_TYPE(isa_serial) = {
    .name = "isa-serial",
    .parent = "isa-device",
    .desc = "16550A serial port",
    .category = "input",
    .size = sizeof(IsaSerial),
    .props = isa_serial_props,
    .state = &isa_serial_state,
    .realize = isa_serial_realize,
    .unrealize = isa_serial_unrealize,
    .reset = isa_serial_reset,
};
