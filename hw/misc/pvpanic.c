/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pvpanic: the guest's kernel writes what happened to it. One port: reading gives the events that
 * are understood, writing reports them. Spec: QEMU's docs/specs/pvpanic. The board tells firmware
 * and guest the port (fw_cfg file etc/pvpanic-port, ACPI device PEVT).
 */
#include "hw/isa/isa.h"
#include "util/trace.h"

enum {
    PVPANIC_PANICKED = 1 << 0, /* the kernel panicked */
    PVPANIC_CRASH_LOADED =
        1 << 1, /* it did, and a crash kernel will handle it: the machine goes on */
};
#define PVPANIC_EVENTS (PVPANIC_PANICKED | PVPANIC_CRASH_LOADED)

typedef struct Pvpanic {
    IsaDevice isa;
    uint16_t ioport;
    uint8_t events;          /* what the guest is told we understand */
    Region port;
} Pvpanic;

/* ---- guest side -------------------------------------------------------------------- */

static uint64_t pvpanic_read(void *opaque, uint64_t offset, unsigned size)
{
    Pvpanic *p = opaque;

    trace(pvpanic_read, "value 0x%02x", p->events);
    return p->events;
}

static void pvpanic_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Pvpanic *p = opaque;

    trace(pvpanic_write, "value 0x%02x", (unsigned)value);
    if (value & ~(uint64_t)PVPANIC_EVENTS) {
        guest_error(&p->isa.dev, "unknown events 0x%02x", (unsigned)value & ~PVPANIC_EVENTS);
    }
    if (value & PVPANIC_PANICKED) {
        vm_request_panic(p->isa.dev.vm);
    } else if (value & PVPANIC_CRASH_LOADED) {
        vm_request_crash_loaded(p->isa.dev.vm);
    }
}

static const RegionOps pvpanic_ops = {
    .read = pvpanic_read,
    .write = pvpanic_write,
    .valid = {.min_size = 1, .max_size = 1},
};

/* ---- lifecycle --------------------------------------------------------------------- */

static bool pvpanic_realize(Device *dev, GError **err)
{
    Pvpanic *p = container_of(dev, Pvpanic, isa.dev);

    region_init_io(&p->port, &pvpanic_ops, p, "pvpanic", 1);
    if (!isa_map_ports(&p->isa, &p->port, p->ioport, err)) {
        region_destroy(&p->port);
        return false;
    }
    return true;
}

static void pvpanic_unrealize(Device *dev)
{
    Pvpanic *p = container_of(dev, Pvpanic, isa.dev);

    region_remove(&p->port);
    region_destroy(&p->port);
}

static const Property pvpanic_props[] = {
    PROP_U16("ioport", Pvpanic, ioport, .def = 0x505, .help = "I/O port"),
    PROP_U8("events", Pvpanic, events, .def = PVPANIC_EVENTS,
            .help = "events the guest may report: 1 panicked, 2 crash loaded"),
    {}
};

DEVICE_TYPE(pvpanic) = {
    .name = "pvpanic",
    .parent = "isa-device",
    .desc = "paravirtual panic notifier",
    .category = "misc",
    .size = sizeof(Pvpanic),
    .props = pvpanic_props,
    .realize = pvpanic_realize,
    .unrealize = pvpanic_unrealize,
};
