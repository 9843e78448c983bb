/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside of the real-time clock: its registers and state, and the half of it that knows time
 * (mc146818rtc_time.c) as the half that a guest and the board touch (mc146818rtc.c) uses it.
 *
 * All functions: VM lock.
 */
#ifndef HW_TIMER_MC146818RTC_INT_H
#define HW_TIMER_MC146818RTC_INT_H

#include "hw/isa/isa.h"
#include "hw/timer/mc146818rtc.h"

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
#define REINJECT_PER_TICK 20 /* lost periodic interrupts repeated between two ticks, at most */

/* In QEMU's LostTickPolicy order. */
enum { LOST_TICK_DISCARD, LOST_TICK_DELAY, LOST_TICK_SLEW };

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

/* ns of the clock that drives it */
static inline int64_t rtc_clock(const Rtc *s)
{
    return clock_now(s->isa.dev.vm, s->source.clock);
}

/* The time is counting: no SET, and the divider chain is not held in reset. */
static inline bool rtc_runs(const Rtc *s)
{
    return !(s->cmos[RTC_B] & B_SET) && (s->cmos[RTC_A] & A_DIVIDER) <= 0x20;
}

/* The clock registers as broken-down time; what a guest wrote may be no valid date. */
void rtc_registers_to_tm(const Rtc *s, struct tm *tm);
/* The guest's time in whole seconds since 1970; rest (or NULL) gets what is left in ns. */
int64_t rtc_guest_seconds(const Rtc *s, int64_t *rest);
/* Brings the clock registers up to date. */
void rtc_update_registers(Rtc *s);
/* The guest changed clock registers: the time goes on from what they say, and RTC_CHANGE tells. */
void rtc_take_registers(Rtc *s);
/* Bit UIP of register A. */
bool rtc_update_in_progress(Rtc *s);
/* Arms the update timer for the next flag of register C that can become set, or not at all. */
void rtc_arm_update(Rtc *s);
/* Ticks of 1/32768 s between periodic interrupts; 0: none are wanted. */
uint32_t rtc_wanted_period(const Rtc *s);
/* The same as a time: ns. */
int64_t rtc_ticks_to_ns(int64_t ticks);
/*
 * Arms the periodic timer one period after the last tick. old_period: the period that was running
 * up to now, whose begun interval counts; 0: it starts now.
 */
void rtc_arm_periodic(Rtc *s, int64_t now, uint32_t old_period);
/* Before and after the device is used: both timers, on the source's clock. */
void rtc_init_timers(Rtc *s);
void rtc_cancel_timers(Rtc *s);
/* What the clock shows at power-on. */
void rtc_set_initial_time(Rtc *s);
/* The VM starts or stops (vm_on_run_state). */
void rtc_run_state(void *opaque, bool running, RunState state);

#endif
