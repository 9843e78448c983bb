/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The values of -rtc. */
#include <stdio.h>

#include "hw/timer/mc146818rtc.h"

static bool parse_datetime(const char *text, int64_t *seconds)
{
    int year, month, day, hour = 0, minute = 0, second = 0, used = 0;
    struct tm tm;

    if (sscanf(text, "%4d-%2d-%2d%n", &year, &month, &day, &used) != 3) {
        return false;
    }
    if (text[used] == 'T') {
        int more = 0;

        if (sscanf(text + used, "T%2d:%2d:%2d%n", &hour, &minute, &second, &more) != 3) {
            return false;
        }
        used += more;
    }
    if (text[used] || year < 0 || month < 1 || month > 12 || day < 1 || day > 31 || hour < 0 ||
        hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60) {
        return false;
    }
    tm = (struct tm){.tm_year = year - 1900,
                     .tm_mon = month - 1,
                     .tm_mday = day,
                     .tm_hour = hour,
                     .tm_min = minute,
                     .tm_sec = second};
    *seconds = timegm(&tm);
    return true;
}

static bool parse_base(RtcSource *source, const char *base, GError **err)
{
    if (!strcmp(base, "utc")) {
        source->base = RTC_BASE_UTC;
    } else if (!strcmp(base, "localtime")) {
        source->base = RTC_BASE_LOCALTIME;
    } else if (parse_datetime(base, &source->datetime)) {
        source->base = RTC_BASE_DATETIME;
    } else {
        return error_set(err,
                         "-rtc base=%s: neither utc, localtime nor a date such as "
                         "2006-06-17T16:01:21 or 2006-06-17",
                         base);
    }
    return true;
}

bool rtc_source_parse(RtcSource *source, const char *base, const char *clock, const char *driftfix,
                      GError **err)
{
    RtcSource parsed = *source;

    /* An all-zero struct would say CLOCK_VIRTUAL; the default is the host's clock. */
    if (!clock || !strcmp(clock, "host")) {
        parsed.clock = CLOCK_HOST;
    } else if (!strcmp(clock, "rt")) {
        parsed.clock = CLOCK_RT;
    } else if (!strcmp(clock, "vm")) {
        parsed.clock = CLOCK_VIRTUAL;
    } else {
        return error_set(err, "-rtc clock=%s: must be host, rt or vm", clock);
    }
    if (driftfix) {
        if (strcmp(driftfix, "none") && strcmp(driftfix, "slew")) {
            return error_set(err, "-rtc driftfix=%s: must be none or slew", driftfix);
        }
        parsed.slew = !strcmp(driftfix, "slew");
    }
    if (base && !parse_base(&parsed, base, err)) {
        return false;
    }
    *source = parsed;
    return true;
}
