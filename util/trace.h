/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Trace points stand in the code they describe:
 *
 *     trace(serial_write, "addr %u value 0x%02x", (unsigned)offset, value);
 *
 * A trace point that is off costs one predicted branch. Its first argument is its name, for
 * -trace NAME (shell patterns), and, where <sys/sdt.h> exists, the name of a USDT probe of the
 * provider "kiln" with the same arguments. An argument's evaluation must be free of side effects.
 */
#ifndef UTIL_TRACE_H
#define UTIL_TRACE_H

#include <glib.h>
#include <stdbool.h>

#ifdef CONFIG_SDT
#define SDT_USE_VARIADIC 1
#include <sys/sdt.h>
#define TRACE_PROBE(event, ...) STAP_PROBEV(kiln, event, ##__VA_ARGS__)
#else
#define TRACE_PROBE(event, ...) ((void)0)
#endif

typedef struct TracePoint {
    const char *name;
    bool enabled;
} TracePoint;

#define trace(event, fmt, ...)                                                                     \
    do {                                                                                           \
        static TracePoint trace_point_ = {#event, false};                                          \
        static TracePoint *const trace_link_                                                       \
            __attribute__((section("kiln_trace"), used)) = &trace_point_;                          \
        TRACE_PROBE(event, ##__VA_ARGS__);                                                         \
        if (__builtin_expect(trace_point_.enabled, 0)) {                                           \
            trace_emit(&trace_point_, fmt, ##__VA_ARGS__);                                         \
        }                                                                                          \
    } while (0)

void trace_emit(const TracePoint *point, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/* Points of a loaded module: what was asked of names before holds for them. */
void trace_register_module(TracePoint *const *begin, TracePoint *const *end);
/* Turns the points whose name matches the shell pattern on or off. Returns how many points matched. */
unsigned trace_set(const char *pattern, bool on);
/* What the user asks for; a leading "-" turns off. Nothing of that name: a warning, which begins with option. */
void trace_apply(const char *option, const char *pattern);
/* Calls fn with each distinct name, sorted. */
void trace_list(void (*fn)(const char *name, bool enabled, void *opaque), void *opaque);
/* -trace's argument: NAME | enable=PATTERN | events=FILE | file=FILE | help, comma separated. */
bool trace_parse_option(const char *text, bool *helped, GError **err);

#endif
