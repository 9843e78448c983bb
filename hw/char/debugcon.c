/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * isa-debugcon: one port; what the guest writes goes to a character device. Firmware logs there.
 *
 * The port takes no VM lock: a byte is put into a small buffer, which the main loop hands to the
 * character device when the burst is over. Only a vCPU that fills the buffer takes the lock, to
 * empty it. A reader that is slower than the guest loses bytes, never the guest's time.
 */
#include "chardev/char.h"
#include "hw/isa/isa.h"
#include "util/lock.h"
#include "util/trace.h"

#define BUFFER_SIZE 4096
#define BURST_TIME (1 * NSEC_PER_MSEC)

typedef struct DebugCon {
    IsaDevice isa;
    uint32_t iobase, readback;
    CharPort *chr;
    Region port;
    LoopTimer *flush_timer;
    Lock lock;    /* buffer, len, planned; the innermost of all locks */
    uint8_t buffer[BUFFER_SIZE];
    size_t len;
    bool planned;            /* a flush is posted or its timer runs */
} DebugCon;

/* ---- buffer ------------------------------------------------------------------------ */

/* VM lock. */
static void debugcon_flush(void *opaque)
{
    DebugCon *d = opaque;
    uint8_t copy[BUFFER_SIZE];
    size_t len;

    lock_acquire(&d->lock);
    len = d->len;
    memcpy(copy, d->buffer, len);
    d->len = 0;
    d->planned = false;
    lock_release(&d->lock);
    if (charport_write(d->chr, copy, len) < len) {
        trace(debugcon_lost, "the reader is slow: some of %zu bytes are lost", len);
    }
}

/* Posted by the first byte of a burst: the rest of it comes while the timer runs. */
static void debugcon_burst(void *opaque)
{
    DebugCon *d = opaque;

    loop_timer_arm(d->flush_timer, clock_monotonic_ns() + BURST_TIME);
}

static bool buffer_put(DebugCon *d, uint8_t byte)
{
    bool plan = false, put;

    lock_acquire(&d->lock);
    put = d->len < BUFFER_SIZE;
    if (put) {
        d->buffer[d->len++] = byte;
        plan = !d->planned;
        d->planned = true;
    }
    lock_release(&d->lock);
    if (plan) {
        loop_post(d->isa.dev.vm->loop, debugcon_burst, d);
    }
    return put;
}

/* ---- guest side: no VM lock -------------------------------------------------------- */

static void debugcon_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    DebugCon *d = opaque;
    Vm *vm = d->isa.dev.vm;

    trace(debugcon_write, "value 0x%02x", (unsigned)value);
    if (!buffer_put(d, (uint8_t)value)) {
        bool locked = vm_locked(vm); /* qtest holds it */

        if (!locked) {
            vm_lock(vm);
        }
        debugcon_flush(d);
        charport_flush(d->chr);
        if (!locked) {
            vm_unlock(vm);
        }
        buffer_put(d, (uint8_t)value);
    }
}

static uint64_t debugcon_read(void *opaque, uint64_t offset, unsigned size)
{
    DebugCon *d = opaque;

    trace(debugcon_read, "value 0x%02x", d->readback);
    return d->readback;
}

static const RegionOps debugcon_ops = {
    .read = debugcon_read,
    .write = debugcon_write,
    .valid = {.min_size = 1, .max_size = 1},
    .lockless = true,
};

/* Before the process ends, too: the last words are the ones that count. */
static void debugcon_run_state(void *opaque, bool running, RunState state)
{
    if (!running) {
        debugcon_flush(opaque);
    }
}

/* ---- lifecycle --------------------------------------------------------------------- */

static bool debugcon_realize(Device *dev, GError **err)
{
    DebugCon *d = container_of(dev, DebugCon, isa.dev);

    if (!d->chr) {
        return error_set(
            err, "isa-debugcon: chardev is missing: say which character device gets the output");
    }
    region_init_io(&d->port, &debugcon_ops, d, "isa-debugcon", 1);
    if (!isa_map_ports(&d->isa, &d->port, d->iobase, err)) {
        region_destroy(&d->port);
        return false;
    }
    charport_set_ops(d->chr, NULL, NULL);
    lock_init(&d->lock, "debug console", LOCK_RANK_LEAF);
    d->flush_timer = loop_timer_new(dev->vm->loop, debugcon_flush, d);
    vm_on_run_state(dev->vm, debugcon_run_state, d);
    return true;
}

static void debugcon_unrealize(Device *dev)
{
    DebugCon *d = container_of(dev, DebugCon, isa.dev);

    vm_off_run_state(dev->vm, debugcon_run_state, d);
    region_remove(&d->port);
    region_destroy(&d->port);
    debugcon_flush(d);
    loop_timer_free(d->flush_timer);
    lock_destroy(&d->lock);
}

static const Property debugcon_props[] = {
    PROP_U32("iobase", DebugCon, iobase, .def = 0xe9, .help = "I/O port"),
    PROP_U32("readback", DebugCon, readback, .def = 0xe9, .help = "value that reads give"),
    PROP_CHARDEV("chardev", DebugCon, chr, .help = "character device that gets the output"),
    {}
};

DEVICE_TYPE(debugcon) = {
    .name = "isa-debugcon",
    .parent = "isa-device",
    .desc = "debug console port",
    .category = "input",
    .size = sizeof(DebugCon),
    .props = debugcon_props,
    .realize = debugcon_realize,
    .unrealize = debugcon_unrealize,
};
