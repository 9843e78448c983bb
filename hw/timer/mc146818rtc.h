/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The real-time clock and CMOS memory of a PC, as a board uses it.
 *
 * The board makes a "mc146818rtc", tells it where time comes from (rtc_set_source), realizes it on
 * the ISA bus (which connects its output to the line of its "irq" property) and fills the CMOS
 * bytes that firmware reads. A board with a HPET connects output 0 to the HPET's RTC input instead.
 */
#ifndef HW_TIMER_MC146818RTC_H
#define HW_TIMER_MC146818RTC_H

#include <time.h>

#include "core/vm.h"

typedef enum RtcBase { RTC_BASE_UTC, RTC_BASE_LOCALTIME, RTC_BASE_DATETIME } RtcBase;

/* -rtc: which clock drives it and what it shows at start. */
typedef struct RtcSource {
    ClockKind clock; /* clock=host|rt|vm */
    RtcBase base;
    int64_t datetime; /* RTC_BASE_DATETIME: seconds since 1970, UTC */
    bool slew;        /* driftfix=slew: for the property lost_tick_policy */
} RtcSource;

/* Reads the values of -rtc; NULL ones keep what *source has ({} is QEMU's default: host, utc). */
bool rtc_source_parse(RtcSource *source, const char *base, const char *clock, const char *driftfix,
                      GError **err);

/* All of these: VM lock; dev is a "mc146818rtc". */

/* Before realize. */
void rtc_set_source(Device *dev, const RtcSource *source);
/* CMOS bytes, index 0 to 127: the board's, not clock registers. */
void rtc_set_cmos(Device *dev, unsigned index, uint8_t value);
uint8_t rtc_get_cmos(Device *dev, unsigned index);
/* What the guest's clock shows now (QEMU's /machine property rtc-time). */
void rtc_get_time(Device *dev, struct tm *tm);
/*
 * Called when the guest set its clock: seconds that it is now ahead of what the source gives
 * (the event RTC_CHANGE).
 */
void rtc_on_change(Device *dev, void (*fn)(void *opaque, int64_t offset), void *opaque);
/* Forgets periodic interrupts that were lost and not yet injected again (rtc-reset-reinjection). */
void rtc_reset_reinjection(Device *dev);

#endif
