/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * isa-debug-exit: a port the guest writes to end the process.
 *
 * The exit status is (value << 1) | 1, so a guest can never report 0, which means "the guest
 * powered off by itself". Firmware and kernel test suites use it.
 */
#include "hw/isa/isa.h"
#include "util/trace.h"

typedef struct DebugExit {
    IsaDevice isa;
    uint32_t iobase;         /* first I/O port */
    uint32_t iosize;         /* ports decoded, 1 to 4 */
    Region port;
} DebugExit;

/* ---- guest side -------------------------------------------------------------------- */

static uint64_t debug_exit_read(void *opaque, uint64_t offset, unsigned size)
{
    trace(debug_exit_read, "offset %u", (unsigned)offset);
    return 0;
}

static void debug_exit_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    DebugExit *d = opaque;

    trace(debug_exit_write, "offset %u value 0x%x", (unsigned)offset, (unsigned)value);
    vm_request_exit(d->isa.dev.vm, (int)(((uint32_t)value << 1) | 1));
}

static const RegionOps debug_exit_ops = {
    .read = debug_exit_read,
    .write = debug_exit_write,
    .valid = {.min_size = 1, .max_size = 4},
};

/* ---- lifecycle --------------------------------------------------------------------- */

static bool debug_exit_realize(Device *dev, GError **err)
{
    DebugExit *d = container_of(dev, DebugExit, isa.dev);

    region_init_io(&d->port, &debug_exit_ops, d, "isa-debug-exit", d->iosize);
    if (!isa_map_ports(&d->isa, &d->port, d->iobase, err)) {
        region_destroy(&d->port);
        return false;
    }
    return true;
}

static void debug_exit_unrealize(Device *dev)
{
    DebugExit *d = container_of(dev, DebugExit, isa.dev);

    region_remove(&d->port);
    region_destroy(&d->port);
}

static const Property debug_exit_props[] = {
    PROP_U32("iobase", DebugExit, iobase, .def = 0x501, .help = "first I/O port"),
    PROP_U32("iosize", DebugExit, iosize, .def = 2, .min = 1, .max = 4, .help = "ports decoded"),
    {}
};

DEVICE_TYPE(debug_exit) = {
    .name = "isa-debug-exit",
    .parent = "isa-device",
    .desc = "ISA debug exit port",
    .category = "misc",
    .size = sizeof(DebugExit),
    .props = debug_exit_props,
    .realize = debug_exit_realize,
    .unrealize = debug_exit_unrealize,
};
