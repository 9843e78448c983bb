/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Time of the MC146818A: the calendar in its registers, update-ended and alarm interrupts, and
 * the periodic interrupt with the ticks that a guest missed.
 */
#include "hw/timer/mc146818rtc_int.h"

#include "core/event.h"
#include "qapi/qapi-run-control.h"
#include "util/trace.h"

#define UIP_NS                                                                                     \
    ((int64_t)8 * NSEC_PER_SEC / RTC_HZ) /* update in progress: 244 us before the second */

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

void rtc_registers_to_tm(const Rtc *s, struct tm *tm)
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

int64_t rtc_guest_seconds(const Rtc *s, int64_t *rest)
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

void rtc_update_registers(Rtc *s)
{
    time_t seconds = rtc_guest_seconds(s, NULL);
    struct tm tm;

    if (gmtime_r(&seconds, &tm) && tm.tm_year < 9999 - 1900 + 1) {
        rtc_tm_to_registers(s, &tm);
    }
}

void rtc_take_registers(Rtc *s)
{
    struct tm tm;

    rtc_registers_to_tm(s, &tm);
    s->base_rtc = (uint64_t)timegm(&tm);
    s->last_update = rtc_clock(s);
    trace(rtc_set_time, "seconds %lld", (long long)s->base_rtc);
    int64_t now = (int64_t)s->last_update / NSEC_PER_SEC;
    g_autofree char *path = object_path(s);
    RtcChangeEvent event = {
        .offset = (int64_t)(s->base_rtc - (uint64_t)now - (uint64_t)s->reference),
        .qom_path = path,
    };
    vm_post_event(s->isa.dev.vm, &qapi_event_RTC_CHANGE, &event);
    if (s->change_fn) {
        s->change_fn(s->change_opaque, event.offset);
    }
}

bool rtc_update_in_progress(Rtc *s)
{
    int64_t rest;

    if (!rtc_runs(s)) {
        return false;
    }
    if (timer_pending(&s->update_timer) &&
        rtc_clock(s) >= timer_expiry(&s->update_timer) - UIP_NS) {
        return true;
    }
    rtc_guest_seconds(s, &rest);
    return rest >= NSEC_PER_SEC - UIP_NS;
}

/* ---- update-ended and alarm interrupts --------------------------------------------- */

/* Seconds from now until the alarm registers match, 1 to 86400. */
static int64_t rtc_seconds_to_alarm(Rtc *s)
{
    int sec = from_register(s, s->cmos[RTC_SECONDS_ALARM]);
    int min = from_register(s, s->cmos[RTC_MINUTES_ALARM]);
    int hour = hour_from_register(s, s->cmos[RTC_HOURS_ALARM]);
    int64_t now = rtc_guest_seconds(s, NULL) % 86400, t;

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

void rtc_arm_update(Rtc *s)
{
    uint8_t c = s->cmos[RTC_C];
    int64_t rest, next;

    /* The divider in reset stops the clock; SET only stops the update-ended cycles. */
    if ((s->cmos[RTC_A] & 0x60) == 0x60 || ((c & C_UF) && (s->cmos[RTC_B] & B_SET)) ||
        ((c & C_UF) && (c & C_AF))) {
        timer_cancel(&s->update_timer);
        return;
    }
    rtc_guest_seconds(s, &rest);
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

int64_t rtc_ticks_to_ns(int64_t ticks)
{
    return mul_div_u64(ticks, NSEC_PER_SEC, RTC_HZ);
}

uint32_t rtc_wanted_period(const Rtc *s)
{
    unsigned rate = s->cmos[RTC_A] & A_RATE;

    if (!(s->cmos[RTC_B] & B_PIE) || !rate) {
        return 0;
    }
    return 1u << ((rate <= 2 ? rate + 7 : rate) - 1);
}

void rtc_arm_periodic(Rtc *s, int64_t now, uint32_t old_period)
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
    s->next_periodic_time = rtc_ticks_to_ns(tick + period - elapsed) + 1;
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
        int64_t lost = s->period ? (now - s->next_periodic_time) / rtc_ticks_to_ns(s->period) : 0;

        if (lost > 0 && s->lost_tick_policy == LOST_TICK_SLEW) {
            s->irq_coalesced += MIN(lost, 100000);
        }
        lost = MAX(lost, 0) * s->period;
        rtc_arm_periodic(s, s->next_periodic_time + rtc_ticks_to_ns(lost), 0);
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

/* ---- start and stop ----------------------------------------------------------------- */

void rtc_init_timers(Rtc *s)
{
    Vm *vm = s->isa.dev.vm;

    timer_init(&s->periodic_timer, vm, s->source.clock, rtc_periodic_timer, s);
    timer_init(&s->update_timer, vm, s->source.clock, rtc_update_timer, s);
}

void rtc_cancel_timers(Rtc *s)
{
    timer_cancel(&s->periodic_timer);
    timer_cancel(&s->update_timer);
}

void rtc_set_initial_time(Rtc *s)
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

/*
 * The VM starts, perhaps with a state from elsewhere: a deadline of another host's clock, or of
 * this one's before it was set, may lie far away.
 */
void rtc_run_state(void *opaque, bool running, RunState state)
{
    Rtc *s = opaque;
    int64_t now = rtc_clock(s);
    int64_t wait = timer_expiry(&s->periodic_timer) - now;

    if (!running) {
        return;
    }
    if (s->periodic_stalled || s->period != rtc_wanted_period(s) ||
        (s->period && (!timer_pending(&s->periodic_timer) ||
                       wait > 2 * rtc_ticks_to_ns(s->period) || wait < -60 * NSEC_PER_SEC))) {
        s->periodic_stalled = false;
        rtc_arm_periodic(s, now, 0);
    }
    rtc_arm_update(s);
}
