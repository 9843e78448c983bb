/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mc146818rtc: Motorola MC146818A real-time clock with 128 bytes of CMOS, ports 70h and 71h.
 *
 * No tick runs: the time is computed from the source's clock when somebody looks. A timer exists
 * only while a flag of register C that is clear must become set (update ended, alarm) or while
 * periodic interrupts are on, so an idle guest with an unread register C costs nothing.
 *
 * The stopped VM: the source may go on (clock=host), the timers then fire at most once each, so
 * that a paused guest with a 1024 Hz interrupt does not keep the process awake.
 *
 * Here: ports, the board's side and the state; mc146818rtc_time.c has the time and the interrupts.
 *
 * As in QEMU 7.2: the index port reads as ff, there is no second bank at 72h, daylight saving and
 * the square wave output do not exist, century is byte 32h (37h leads there too).
 */
#include "hw/timer/mc146818rtc_int.h"

#include "util/trace.h"

static const char *const lost_tick_names[] = {"discard", "delay", "slew", NULL};

/* ---- registers --------------------------------------------------------------------- */

static void rtc_write_a(Rtc *s, uint8_t value)
{
    uint8_t old = s->cmos[RTC_A];

    if ((value & 0x60) == 0x60) {
        if (rtc_runs(s)) {
            rtc_update_registers(s);
        }
        old &= ~A_UIP;
    } else if ((old & 0x60) == 0x60 && (value & A_DIVIDER) <= 0x20 && !(s->cmos[RTC_B] & B_SET)) {
        /* Out of divider reset, the first update comes after half a second. */
        s->offset = NSEC_PER_SEC / 2;
        rtc_take_registers(s);
    }
    s->cmos[RTC_A] = (value & ~A_UIP) | (old & A_UIP);
    if ((old ^ value) & A_RATE) {
        rtc_arm_periodic(s, rtc_clock(s), s->period);
    }
    rtc_arm_update(s);
}

static void rtc_write_b(Rtc *s, uint8_t value)
{
    uint8_t old = s->cmos[RTC_B];

    if (value & B_SET) {
        if (rtc_runs(s)) {
            rtc_update_registers(s);
        }
        s->cmos[RTC_A] &= ~A_UIP;
        value &= ~B_UIE;
    } else if ((old & B_SET) && (s->cmos[RTC_A] & A_DIVIDER) <= 0x20) {
        int64_t rest;

        rtc_guest_seconds(s, &rest); /* the fraction of the second went on */
        s->offset = rest;
        rtc_take_registers(s);
    }
    /* A flag that waits becomes an interrupt when it is enabled. */
    if (value & s->cmos[RTC_C] & C_MASK) {
        s->cmos[RTC_C] |= C_IRQF;
        irq_raise(s->irq);
    } else {
        s->cmos[RTC_C] &= ~C_IRQF;
        irq_lower(s->irq);
    }
    s->cmos[RTC_B] = value;
    if ((old ^ value) & B_PIE) {
        rtc_arm_periodic(s, rtc_clock(s), s->period);
    }
    rtc_arm_update(s);
}

static void rtc_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Rtc *s = opaque;
    uint8_t index = s->index;

    trace(rtc_write, "index 0x%02x value 0x%02x", index, (unsigned)value);
    switch (index) {
    case RTC_SECONDS_ALARM:
    case RTC_MINUTES_ALARM:
    case RTC_HOURS_ALARM:
        s->cmos[index] = value;
        rtc_arm_update(s);
        break;
    case RTC_CENTURY_PS2:
        index = RTC_CENTURY;
        /* fall through */
    case RTC_CENTURY:
    case RTC_SECONDS:
    case RTC_MINUTES:
    case RTC_HOURS:
    case RTC_DAY_OF_WEEK:
    case RTC_DAY_OF_MONTH:
    case RTC_MONTH:
    case RTC_YEAR:
        if (rtc_runs(s)) {
            int64_t rest;

            rtc_update_registers(s);
            rtc_guest_seconds(s, &rest);
            s->offset = rest;
            s->cmos[index] = value;
            rtc_take_registers(s);
            rtc_arm_update(s);
        } else {
            s->cmos[index] = value;
        }
        break;
    case RTC_A:
        rtc_write_a(s, value);
        break;
    case RTC_B:
        rtc_write_b(s, value);
        break;
    case RTC_C:
    case RTC_D:
        break; /* read only */
    default:
        s->cmos[index] = value;
    }
}

/* Reading register C acknowledges: it clears all flags, and a lost tick may follow at once. */
static uint8_t rtc_read_c(Rtc *s)
{
    uint8_t value = s->cmos[RTC_C];

    irq_lower(s->irq);
    s->cmos[RTC_C] = 0;
    if (value & (C_UF | C_AF)) {
        rtc_arm_update(s);
    }
    if (s->irq_coalesced && (s->cmos[RTC_B] & B_PIE) && s->reinjected < REINJECT_PER_TICK) {
        s->reinjected++;
        s->irq_coalesced--;
        s->cmos[RTC_C] |= C_IRQF | C_PF;
        irq_raise(s->irq);
    }
    return value;
}

static uint8_t rtc_read_selected(Rtc *s)
{
    switch (s->index) {
    case RTC_SECONDS:
    case RTC_MINUTES:
    case RTC_HOURS:
    case RTC_DAY_OF_WEEK:
    case RTC_DAY_OF_MONTH:
    case RTC_MONTH:
    case RTC_YEAR:
    case RTC_CENTURY:
        if (rtc_runs(s)) {
            rtc_update_registers(s);
        }
        return s->cmos[s->index];
    case RTC_CENTURY_PS2:
        if (rtc_runs(s)) {
            rtc_update_registers(s);
        }
        return s->cmos[RTC_CENTURY];
    case RTC_A:
        return s->cmos[RTC_A] | (rtc_update_in_progress(s) ? A_UIP : 0);
    case RTC_C:
        return rtc_read_c(s);
    default:
        return s->cmos[s->index];
    }
}

static uint64_t rtc_read(void *opaque, uint64_t offset, unsigned size)
{
    Rtc *s = opaque;
    uint8_t value = rtc_read_selected(s);

    trace(rtc_read, "index 0x%02x value 0x%02x", s->index, value);
    return value;
}

static void rtc_index_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Rtc *s = opaque;

    trace(rtc_index, "0x%02x", (unsigned)value & 0x7f);
    s->index = value & 0x7f;
}

static const RegionOps rtc_index_ops = {
    .write = rtc_index_write, /* write only: reads as ff */
    .impl = {.min_size = 1, .max_size = 1},
};

static const RegionOps rtc_data_ops = {
    .read = rtc_read,
    .write = rtc_write,
    .impl = {.min_size = 1, .max_size = 1},
};

/* ---- the board's side -------------------------------------------------------------- */

static Rtc *rtc_from(Device *dev)
{
    return container_of(dev, Rtc, isa.dev);
}

void rtc_set_source(Device *dev, const RtcSource *source)
{
    Rtc *s = rtc_from(dev);

    g_assert(!dev->realized);
    s->source = *source;
    s->source_set = true;
    if (source->slew) {
        s->lost_tick_policy = LOST_TICK_SLEW;
    }
}

void rtc_set_cmos(Device *dev, unsigned index, uint8_t value)
{
    g_assert(index < RTC_SIZE);
    rtc_from(dev)->cmos[index] = value;
}

uint8_t rtc_get_cmos(Device *dev, unsigned index)
{
    g_assert(index < RTC_SIZE);
    return rtc_from(dev)->cmos[index];
}

void rtc_get_time(Device *dev, struct tm *tm)
{
    Rtc *s = rtc_from(dev);

    if (rtc_runs(s)) {
        rtc_update_registers(s);
    }
    rtc_registers_to_tm(s, tm);
}

void rtc_on_change(Device *dev, void (*fn)(void *opaque, int64_t offset), void *opaque)
{
    Rtc *s = rtc_from(dev);

    s->change_fn = fn;
    s->change_opaque = opaque;
}

void rtc_reset_reinjection(Device *dev)
{
    rtc_from(dev)->irq_coalesced = 0;
}

/* ---- lifecycle --------------------------------------------------------------------- */

static bool rtc_realize(Device *dev, GError **err)
{
    Rtc *s = rtc_from(dev);

    if (s->lost_tick_policy == LOST_TICK_DELAY) {
        return error_set(
            err, "mc146818rtc: lost_tick_policy=delay is not supported: use discard or slew");
    }
    if (!s->source_set) {
        s->source.clock = CLOCK_HOST;
    }
    s->cmos[RTC_A] = 0x26;
    s->cmos[RTC_B] = B_24H;
    s->cmos[RTC_C] = 0;
    s->cmos[RTC_D] = 0x80; /* the battery is good */
    rtc_init_timers(s);
    rtc_set_initial_time(s);
    rtc_arm_update(s);
    device_init_irq_out(dev, &s->irq, 1);
    device_connect(dev, 0, isa_irq(&s->isa, s->irq_number));

    region_init_container(&s->ports, "rtc", 2);
    region_init_io(&s->index_port, &rtc_index_ops, s, "rtc-index", 1);
    region_init_io(&s->data_port, &rtc_data_ops, s, "rtc-data", 1);
    region_set_owner(&s->index_port, dev);
    region_set_owner(&s->data_port, dev);
    region_add(&s->ports, 0, &s->index_port);
    region_add(&s->ports, 1, &s->data_port);
    /* Selecting a byte has no effect before the data port is touched. */
    region_set_coalesced(&s->index_port, true);
    if (!isa_map_ports(&s->isa, &s->ports, s->iobase, err)) {
        return false;
    }
    vm_on_run_state(dev->vm, rtc_run_state, s);
    return true;
}

static void rtc_unrealize(Device *dev)
{
    Rtc *s = rtc_from(dev);

    vm_off_run_state(dev->vm, rtc_run_state, s);
    rtc_cancel_timers(s);
    region_remove(&s->ports);
    region_destroy(&s->data_port);
    region_destroy(&s->index_port);
    region_destroy(&s->ports);
}

/* The RESET pin: interrupts off; the clock and the memory have a battery. */
static void rtc_reset(Device *dev)
{
    Rtc *s = rtc_from(dev);

    s->cmos[RTC_B] &= ~(B_PIE | B_AIE | B_SQWE);
    s->cmos[RTC_C] &= ~(C_IRQF | C_MASK);
    rtc_arm_update(s);
    rtc_arm_periodic(s, rtc_clock(s), 0);
    s->irq_coalesced = 0;
    s->reinjected = 0;
    s->periodic_stalled = false;
    irq_lower(s->irq);
}

/* ---- state ------------------------------------------------------------------------- */

static void rtc_pre_save(void *obj)
{
    Rtc *s = obj;

    if (rtc_runs(s)) {
        rtc_update_registers(s);
    }
    if (s->periodic_stalled) {
        /* The other side finds its timer armed. */
        s->periodic_stalled = false;
        rtc_arm_periodic(s, rtc_clock(s), 0);
    }
}

/* The timers' deadlines are checked when the VM starts (rtc_run_state). */
static bool rtc_post_load(void *obj, unsigned version, GError **err)
{
    Rtc *s = obj;

    s->periodic_stalled = false;
    if (version <= 2 || s->source.clock == CLOCK_RT) {
        /* Another host's monotonic clock means nothing here: go on from the registers. */
        s->offset = 0;
        rtc_take_registers(s);
    }
    return true;
}

static bool rtc_reinject_needed(void *obj)
{
    return ((Rtc *)obj)->reinjected != 0;
}

static const StateField rtc_reinject_fields[] = {
    STATE_U16(Rtc, reinjected, .name = "irq_reinject_on_ack_count", .max = REINJECT_PER_TICK), {}};
static const StateDesc rtc_reinject_state = {
    .name = "mc146818rtc/irq_reinject_on_ack_count",
    .version = 1,
    .min_version = 1,
    .needed = rtc_reinject_needed,
    .fields = rtc_reinject_fields,
};
static const StateDesc *const rtc_subsections[] = {&rtc_reinject_state, NULL};

static const StateField rtc_fields[] = {
    STATE_BUFFER(Rtc, cmos, .name = "cmos_data"),
    STATE_U8(Rtc, index, .name = "cmos_index", .max = RTC_SIZE - 1),
    STATE_UNUSED(28),
    STATE_TIMER(Rtc, periodic_timer),
    STATE_I64(Rtc, next_periodic_time),
    STATE_UNUSED(24),
    STATE_U32(Rtc, irq_coalesced, .since = 2),
    STATE_U32(Rtc, period, .since = 2, .max = RTC_HZ),
    STATE_U64(Rtc, base_rtc, .since = 3),
    STATE_U64(Rtc, last_update, .since = 3),
    STATE_I64(Rtc, offset, .since = 3),
    STATE_TIMER(Rtc, update_timer, .since = 3),
    STATE_U64(Rtc, next_alarm_time, .since = 3),
    {}};
static const StateDesc rtc_state = {
    .name = "mc146818rtc",
    .version = 3,
    .min_version = 1,
    .fields = rtc_fields,
    .subsections = rtc_subsections,
    .pre_save = rtc_pre_save,
    .post_load = rtc_post_load,
};

static const Property rtc_props[] = {
    PROP_I32("base_year", Rtc, base_year, .def = 1980, .min = 0, .max = 9999,
             .help = "year that register value 0 (century 0) stands for"),
    PROP_U16("iobase", Rtc, iobase, .def = 0x70, .help = "first I/O port"),
    PROP_U8("irq", Rtc, irq_number, .def = 8, .max = ISA_NUM_IRQS - 1,
            .help = "ISA interrupt line"),
    PROP_ENUM("lost_tick_policy", Rtc, lost_tick_policy, .type = "LostTickPolicy", .def = LOST_TICK_DISCARD,
              .values = lost_tick_names,
              .help = "periodic interrupts that the guest missed: discard them, or slew (deliver "
                      "them later)"),
    {}};

DEVICE_TYPE(rtc) = {
    .name = "mc146818rtc",
    .parent = "isa-device",
    .desc = "MC146818A real-time clock",
    .size = sizeof(Rtc),
    .not_user = "it is part of the board; leave it out",
    .props = rtc_props,
    .state = &rtc_state,
    .realize = rtc_realize,
    .unrealize = rtc_unrealize,
    .reset = rtc_reset,
};
