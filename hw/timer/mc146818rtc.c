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
 * As in QEMU 7.2: the index port reads as ff, there is no second bank at 72h, daylight saving and
 * the square wave output do not exist, century is byte 32h (37h leads there too).
 */
#include "hw/timer/mc146818rtc.h"

#include "hw/isa/isa.h"
#include "util/trace.h"

/* Registers. */
enum {
    RTC_SECONDS = 0x00,
    RTC_SECONDS_ALARM = 0x01,
    RTC_MINUTES = 0x02,
    RTC_MINUTES_ALARM = 0x03,
    RTC_HOURS = 0x04,
    RTC_HOURS_ALARM = 0x05,
    RTC_DAY_OF_WEEK = 0x06,
    RTC_DAY_OF_MONTH = 0x07,
    RTC_MONTH = 0x08,
    RTC_YEAR = 0x09,
    RTC_A = 0x0a,
    RTC_B = 0x0b,
    RTC_C = 0x0c,
    RTC_D = 0x0d,
    RTC_CENTURY = 0x32,
    RTC_CENTURY_PS2 = 0x37,
    RTC_SIZE = 128,
};

#define A_UIP 0x80
#define A_RATE 0x0f
#define A_DIVIDER 0x70
#define B_SET 0x80
#define B_PIE 0x40
#define B_AIE 0x20
#define B_UIE 0x10
#define B_SQWE 0x08
#define B_BINARY 0x04
#define B_24H 0x02
#define C_IRQF 0x80
#define C_PF 0x40
#define C_AF 0x20
#define C_UF 0x10
#define C_MASK (C_PF | C_AF | C_UF)
#define HOUR_PM 0x80
#define ALARM_ANY 0xc0 /* an alarm byte with both top bits set matches all values */

#define RTC_HZ 32768
#define UIP_NS                                                                                     \
    ((int64_t)8 * NSEC_PER_SEC / RTC_HZ) /* update in progress: 244 us before the second */
#define REINJECT_PER_TICK 20 /* lost periodic interrupts repeated between two ticks, at most */

/* In QEMU's LostTickPolicy order. */
enum { LOST_TICK_DISCARD, LOST_TICK_DELAY, LOST_TICK_SLEW };
static const char *const lost_tick_names[] = {"discard", "delay", "slew", NULL};

typedef struct Rtc {
    IsaDevice isa;
    Region ports, index_port, data_port;
    Irq *irq;
    uint8_t cmos[RTC_SIZE];
    uint8_t index; /* selected byte, 0 to 127 */
    /* Time: guest ns = base_rtc s + (clock - last_update) + offset. */
    RtcSource source;
    uint64_t base_rtc;    /* seconds since 1970 */
    uint64_t last_update; /* ns of the source's clock at which base_rtc was right */
    int64_t offset;       /* ns */
    int64_t reference;    /* seconds that base_rtc - last_update had at start, for RTC_CHANGE */
    /* Periodic interrupt. */
    Timer periodic_timer;
    int64_t next_periodic_time; /* ns */
    uint32_t period;            /* of the last tick, in 32768ths of a second; 0: off */
    uint32_t irq_coalesced;     /* ticks the guest did not see (slew), in ticks */
    uint16_t reinjected;        /* since the last tick, 0 to REINJECT_PER_TICK */
    bool periodic_stalled;      /* the VM is stopped and the timer fired: armed again at start */
    /* Update and alarm. */
    Timer update_timer;
    uint64_t next_alarm_time; /* ns of the source's clock */
    /* Properties. */
    int32_t base_year;
    uint16_t iobase;
    uint8_t irq_number;
    int lost_tick_policy;
    bool source_set;
    void (*change_fn)(void *opaque, int64_t offset);
    void *change_opaque;
} Rtc;

/* ---- calendar ---------------------------------------------------------------------- */

static uint8_t to_register(const Rtc *s, int value)
{
    return s->cmos[RTC_B] & B_BINARY ? value : (value / 10 % 10) << 4 | value % 10;
}

/* -1 for an alarm byte that matches everything. */
static int from_register(const Rtc *s, uint8_t value)
{
    if ((value & ALARM_ANY) == ALARM_ANY) {
        return -1;
    }
    return s->cmos[RTC_B] & B_BINARY ? value : (value >> 4) * 10 + (value & 0x0f);
}

static uint8_t hour_to_register(const Rtc *s, int hour)
{
    if (s->cmos[RTC_B] & B_24H) {
        return to_register(s, hour);
    }
    return to_register(s, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOUR_PM : 0);
}

static int hour_from_register(const Rtc *s, uint8_t value)
{
    int hour;

    if (s->cmos[RTC_B] & B_24H) {
        return from_register(s, value);
    }
    if ((value & ALARM_ANY) == ALARM_ANY) {
        return -1;
    }
    hour = from_register(s, value & ~HOUR_PM) % 12;
    return value & HOUR_PM ? hour + 12 : hour;
}

/* The clock registers as broken-down time; what a guest wrote may be no valid date. */
static void rtc_registers_to_tm(const Rtc *s, struct tm *tm)
{
    *tm = (struct tm){
        .tm_sec = from_register(s, s->cmos[RTC_SECONDS]),
        .tm_min = from_register(s, s->cmos[RTC_MINUTES]),
        .tm_hour = hour_from_register(s, s->cmos[RTC_HOURS]),
        .tm_wday = from_register(s, s->cmos[RTC_DAY_OF_WEEK]) - 1,
        .tm_mday = from_register(s, s->cmos[RTC_DAY_OF_MONTH]),
        .tm_mon = from_register(s, s->cmos[RTC_MONTH]) - 1,
        .tm_year = from_register(s, s->cmos[RTC_YEAR]) + s->base_year +
                   from_register(s, s->cmos[RTC_CENTURY]) * 100 - 1900,
    };
}

static void rtc_tm_to_registers(Rtc *s, const struct tm *tm)
{
    int year = MAX(tm->tm_year + 1900 - s->base_year, 0);

    s->cmos[RTC_SECONDS] = to_register(s, tm->tm_sec);
    s->cmos[RTC_MINUTES] = to_register(s, tm->tm_min);
    s->cmos[RTC_HOURS] = hour_to_register(s, tm->tm_hour);
    s->cmos[RTC_DAY_OF_WEEK] = to_register(s, tm->tm_wday + 1);
    s->cmos[RTC_DAY_OF_MONTH] = to_register(s, tm->tm_mday);
    s->cmos[RTC_MONTH] = to_register(s, tm->tm_mon + 1);
    s->cmos[RTC_YEAR] = to_register(s, year % 100);
    s->cmos[RTC_CENTURY] = to_register(s, year / 100 % 100);
}

/* ---- time -------------------------------------------------------------------------- */

static int64_t rtc_clock(const Rtc *s)
{
    return clock_now(s->isa.dev.vm, s->source.clock);
}

/* The time is counting: no SET, and the divider chain is not held in reset. */
static bool rtc_runs(const Rtc *s)
{
    return !(s->cmos[RTC_B] & B_SET) && (s->cmos[RTC_A] & A_DIVIDER) <= 0x20;
}

/* The guest's time in whole seconds since 1970 and what is left in ns. */
static int64_t guest_seconds(const Rtc *s, int64_t *rest)
{
    /* Unsigned sums: a stream may name any value. */
    int64_t ns = (int64_t)((uint64_t)rtc_clock(s) - s->last_update + (uint64_t)s->offset);
    int64_t seconds = ns / NSEC_PER_SEC;

    ns -= seconds * NSEC_PER_SEC;
    if (ns < 0) {
        ns += NSEC_PER_SEC;
        seconds--;
    }
    if (rest) {
        *rest = ns;
    }
    return (int64_t)(s->base_rtc + (uint64_t)seconds);
}

/* Brings the clock registers up to date. */
static void rtc_update_registers(Rtc *s)
{
    time_t seconds = guest_seconds(s, NULL);
    struct tm tm;

    if (gmtime_r(&seconds, &tm) && tm.tm_year < 9999 - 1900 + 1) {
        rtc_tm_to_registers(s, &tm);
    }
}

/* The guest changed clock registers: the time goes on from what they say. */
static void rtc_take_registers(Rtc *s)
{
    struct tm tm;

    rtc_registers_to_tm(s, &tm);
    s->base_rtc = (uint64_t)timegm(&tm);
    s->last_update = rtc_clock(s);
    trace(rtc_set_time, "seconds %lld", (long long)s->base_rtc);
    if (s->change_fn) {
        int64_t now = (int64_t)s->last_update / NSEC_PER_SEC;

        s->change_fn(s->change_opaque,
                     (int64_t)(s->base_rtc - (uint64_t)now - (uint64_t)s->reference));
    }
}

static bool rtc_update_in_progress(Rtc *s)
{
    int64_t rest;

    if (!rtc_runs(s)) {
        return false;
    }
    if (timer_pending(&s->update_timer) &&
        rtc_clock(s) >= timer_expiry(&s->update_timer) - UIP_NS) {
        return true;
    }
    guest_seconds(s, &rest);
    return rest >= NSEC_PER_SEC - UIP_NS;
}

/* ---- update-ended and alarm interrupts --------------------------------------------- */

/* Seconds from now until the alarm registers match, 1 to 86400. */
static int64_t rtc_seconds_to_alarm(Rtc *s)
{
    int sec = from_register(s, s->cmos[RTC_SECONDS_ALARM]);
    int min = from_register(s, s->cmos[RTC_MINUTES_ALARM]);
    int hour = hour_from_register(s, s->cmos[RTC_HOURS_ALARM]);
    int64_t now = guest_seconds(s, NULL) % 86400, t;

    if (now < 0) {
        now += 86400;
    }
    for (t = now + 1; t <= now + 86400;) {
        int64_t of_day = t % 86400;

        if (hour >= 0 && of_day / 3600 != hour) {
            t += 3600 - of_day % 3600;
        } else if (min >= 0 && of_day / 60 % 60 != min) {
            t += 60 - of_day % 60;
        } else if (sec >= 0 && of_day % 60 != sec) {
            t++;
        } else {
            return t - now;
        }
    }
    return 86400; /* the bytes are no time of day */
}

/* Arms the update timer for the next flag of register C that can become set, or not at all. */
static void rtc_arm_update(Rtc *s)
{
    uint8_t c = s->cmos[RTC_C];
    int64_t rest, next;

    /* The divider in reset stops the clock; SET only stops the update-ended cycles. */
    if ((s->cmos[RTC_A] & 0x60) == 0x60 || ((c & C_UF) && (s->cmos[RTC_B] & B_SET)) ||
        ((c & C_UF) && (c & C_AF))) {
        timer_cancel(&s->update_timer);
        return;
    }
    guest_seconds(s, &rest);
    next = rtc_clock(s) + NSEC_PER_SEC - rest;
    s->next_alarm_time = next + (rtc_seconds_to_alarm(s) - 1) * NSEC_PER_SEC;
    if (c & C_UF) {
        next = s->next_alarm_time; /* nothing new before the alarm */
    }
    if (timer_expiry(&s->update_timer) != next) {
        timer_arm(&s->update_timer, next);
    }
}

/* Sets flags of register C and, when one of them is new and enabled, the interrupt. */
static void rtc_set_flags(Rtc *s, uint8_t flags)
{
    uint8_t fresh = flags & ~s->cmos[RTC_C];

    s->cmos[RTC_C] |= flags;
    if (fresh & s->cmos[RTC_B]) {
        s->cmos[RTC_C] |= C_IRQF;
        irq_raise(s->irq);
    }
}

static void rtc_update_timer(void *opaque)
{
    Rtc *s = opaque;
    uint8_t flags = C_UF;

    if ((uint64_t)rtc_clock(s) >= s->next_alarm_time) {
        flags |= C_AF;
        if (s->cmos[RTC_B] & B_AIE) {
            vm_request_wakeup(s->isa.dev.vm);
        }
    }
    rtc_set_flags(s, flags);
    trace(rtc_update_ended, "flags 0x%02x", flags);
    rtc_arm_update(s);
}

/* ---- periodic interrupt ------------------------------------------------------------ */

static int64_t ticks_to_ns(int64_t ticks)
{
    return mul_div_u64(ticks, NSEC_PER_SEC, RTC_HZ);
}

/* Ticks of 1/32768 s between periodic interrupts; 0: none are wanted. */
static uint32_t rtc_wanted_period(const Rtc *s)
{
    unsigned rate = s->cmos[RTC_A] & A_RATE;

    if (!(s->cmos[RTC_B] & B_PIE) || !rate) {
        return 0;
    }
    return 1u << ((rate <= 2 ? rate + 7 : rate) - 1);
}

/*
 * Arms the periodic timer one period after the last tick. old_period: the period that was running
 * up to now, whose begun interval counts; 0: it starts now.
 */
static void rtc_arm_periodic(Rtc *s, int64_t now, uint32_t old_period)
{
    uint32_t period = rtc_wanted_period(s);
    int64_t tick = mul_div_u64(now, RTC_HZ, NSEC_PER_SEC), elapsed = 0;

    if (!period) {
        s->irq_coalesced = 0;
        s->period = 0;
        timer_cancel(&s->periodic_timer);
        return;
    }
    if (old_period) {
        int64_t last =
            (int64_t)mul_div_u64(s->next_periodic_time, RTC_HZ, NSEC_PER_SEC) - old_period;

        elapsed = CLAMP(tick - last, 0, (int64_t)period);
        if (s->irq_coalesced && old_period != period) {
            /* The same time, in the new unit. */
            s->irq_coalesced = (uint64_t)s->irq_coalesced * old_period / period;
        }
    }
    s->period = period;
    s->next_periodic_time = ticks_to_ns(tick + period - elapsed) + 1;
    timer_arm(&s->periodic_timer, s->next_periodic_time);
}

static void rtc_periodic_timer(void *opaque)
{
    Rtc *s = opaque;
    int64_t now = rtc_clock(s);

    if (!run_state_is_running(vm_run_state(s->isa.dev.vm)) && s->source.clock != CLOCK_VIRTUAL) {
        s->periodic_stalled = true;
    } else {
        /* The next one keeps the phase; those that are over were lost. */
        int64_t lost = s->period ? (now - s->next_periodic_time) / ticks_to_ns(s->period) : 0;

        if (lost > 0 && s->lost_tick_policy == LOST_TICK_SLEW) {
            s->irq_coalesced += MIN(lost, 100000);
        }
        lost = MAX(lost, 0) * s->period;
        rtc_arm_periodic(s, s->next_periodic_time + ticks_to_ns(lost), 0);
    }
    if (s->lost_tick_policy == LOST_TICK_SLEW && (s->cmos[RTC_C] & C_PF) && s->period) {
        s->irq_coalesced++; /* the guest has not acknowledged the last one */
    }
    s->reinjected = 0;
    s->cmos[RTC_C] |= C_PF;
    if (s->cmos[RTC_B] & B_PIE) {
        s->cmos[RTC_C] |= C_IRQF;
        irq_raise(s->irq);
    }
    trace(rtc_periodic, "lost %u", s->irq_coalesced);
}

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

        guest_seconds(s, &rest); /* the fraction of the second went on */
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
            guest_seconds(s, &rest);
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

/*
 * The VM starts, perhaps with a state from elsewhere: a deadline of another host's clock, or of
 * this one's before it was set, may lie far away.
 */
static void rtc_run_state(void *opaque, bool running, RunState state)
{
    Rtc *s = opaque;
    int64_t now = rtc_clock(s);
    int64_t wait = timer_expiry(&s->periodic_timer) - now;

    if (!running) {
        return;
    }
    if (s->periodic_stalled || s->period != rtc_wanted_period(s) ||
        (s->period && (!timer_pending(&s->periodic_timer) || wait > 2 * ticks_to_ns(s->period) ||
                       wait < -60 * NSEC_PER_SEC))) {
        s->periodic_stalled = false;
        rtc_arm_periodic(s, now, 0);
    }
    rtc_arm_update(s);
}

/* What the clock shows at power-on. */
static void rtc_set_initial_time(Rtc *s)
{
    int64_t now = rtc_clock(s), wall = clock_realtime_ns();

    s->last_update = now;
    s->offset = 0;
    if (s->source.base == RTC_BASE_DATETIME) {
        s->base_rtc = s->source.datetime;
    } else {
        time_t seconds = wall / NSEC_PER_SEC;
        struct tm tm;

        s->base_rtc = seconds;
        if (s->source.base == RTC_BASE_LOCALTIME && localtime_r(&seconds, &tm)) {
            s->base_rtc = (uint64_t)timegm(&tm);
        }
        if (s->source.clock == CLOCK_HOST) {
            s->offset = wall % NSEC_PER_SEC; /* seconds begin when the host's do */
        }
    }
    s->reference = (int64_t)s->base_rtc - now / NSEC_PER_SEC;
}

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
    timer_init(&s->periodic_timer, dev->vm, s->source.clock, rtc_periodic_timer, s);
    timer_init(&s->update_timer, dev->vm, s->source.clock, rtc_update_timer, s);
    rtc_set_initial_time(s);
    rtc_update_registers(s);
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
    timer_cancel(&s->periodic_timer);
    timer_cancel(&s->update_timer);
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
    PROP_ENUM("lost_tick_policy", Rtc, lost_tick_policy, .def = LOST_TICK_DISCARD,
              .values = lost_tick_names,
              .help = "periodic interrupts that the guest missed: discard them, or slew (deliver "
                      "them later)"),
    {}};

DEVICE_TYPE(rtc) = {
    .name = "mc146818rtc",
    .parent = "isa-device",
    .desc = "MC146818A real-time clock",
    .size = sizeof(Rtc),
    .not_user = "it is part of the board",
    .props = rtc_props,
    .state = &rtc_state,
    .realize = rtc_realize,
    .unrealize = rtc_unrealize,
    .reset = rtc_reset,
};
