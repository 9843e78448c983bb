/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ib700: the watchdog of iBASE's IB700 board, as Linux drives it (drivers/watchdog/ib700wdt.c). Writing 443h starts it
 * anew with the time that the low four bits name, in steps of two seconds from 30 down to none; writing 441h stops it.
 * When its time has run out, -action watchdog= says what happens.
 */
#include "hw/isa/isa.h"
#include "util/trace.h"

#define IB700_STOP 0x441
#define IB700_START 0x443
#define IB700_LONGEST 30 /* seconds */

typedef struct Ib700 {
    IsaDevice isa;
    Timer timer;
    Region stop_port, start_port;
} Ib700;

/* ---- guest side ---------------------------------------------------------------------------- */

static void ib700_stop(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Ib700 *w = opaque;

    trace(ib700_stop, "value 0x%02x", (unsigned)value);
    timer_cancel(&w->timer);
}

static void ib700_start(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Ib700 *w = opaque;
    int64_t seconds = IB700_LONGEST - 2 * (int64_t)(value & 0xf);

    trace(ib700_start, "value 0x%02x: %d s", (unsigned)value, (int)seconds);
    timer_arm(&w->timer, clock_now(w->isa.dev.vm, CLOCK_VIRTUAL) + seconds * NSEC_PER_SEC);
}

static void ib700_expired(void *opaque)
{
    Ib700 *w = opaque;

    trace(ib700_expired, "the guest is late");
    vm_request_watchdog(w->isa.dev.vm);
}

static const RegionOps stop_ops = {.write = ib700_stop, .valid = {.min_size = 1, .max_size = 1}};
static const RegionOps start_ops = {.write = ib700_start, .valid = {.min_size = 1, .max_size = 1}};

/* ---- lifecycle ------------------------------------------------------------------------------ */

static void ib700_unmap(Ib700 *w)
{
    region_remove(&w->stop_port);
    region_remove(&w->start_port);
    region_destroy(&w->stop_port);
    region_destroy(&w->start_port);
    timer_cancel(&w->timer);
}

static bool ib700_realize(Device *dev, GError **err)
{
    Ib700 *w = container_of(dev, Ib700, isa.dev);

    timer_init(&w->timer, dev->vm, CLOCK_VIRTUAL, ib700_expired, w);
    region_init_io(&w->stop_port, &stop_ops, w, "ib700-stop", 1);
    region_init_io(&w->start_port, &start_ops, w, "ib700-start", 1);
    if (!isa_map_ports(&w->isa, &w->stop_port, IB700_STOP, err) ||
        !isa_map_ports(&w->isa, &w->start_port, IB700_START, err)) {
        ib700_unmap(w);
        return false;
    }
    return true;
}

static void ib700_unrealize(Device *dev) { ib700_unmap(container_of(dev, Ib700, isa.dev)); }
static void ib700_reset(Device *dev) { timer_cancel(&container_of(dev, Ib700, isa.dev)->timer); }

/* ---- tables ---------------------------------------------------------------------------------- */

static const StateField ib700_fields[] = {
    STATE_TIMER(Ib700, timer),
    {}
};

static const StateDesc ib700_state = {.name = "ib700_wdt", .fields = ib700_fields};

DEVICE_TYPE(ib700) = {
    .name = "ib700",
    .parent = "isa-device",
    .desc = "iBASE 700",
    .category = "watchdog",
    .size = sizeof(Ib700),
    .state = &ib700_state,
    .realize = ib700_realize,
    .unrealize = ib700_unrealize,
    .reset = ib700_reset,
};
