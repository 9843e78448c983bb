/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "util/trace.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util/error.h"
#include "util/log.h"
#include "util/loop.h"

extern TracePoint *const __start_kiln_trace[] __attribute__((weak));
extern TracePoint *const __stop_kiln_trace[] __attribute__((weak));

void trace_emit(const TracePoint *point, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    int64_t now = clock_realtime_ns();

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    log_printf("%ld@%" G_GINT64_FORMAT ".%06d:%s %s\n", syscall(SYS_gettid), now / 1000000000,
               (int)(now / 1000 % 1000000), point->name, text);
}

unsigned trace_set(const char *pattern, bool on)
{
    GPatternSpec *spec = g_pattern_spec_new(pattern);
    unsigned matched = 0;

    for (TracePoint *const *p = __start_kiln_trace; p < __stop_kiln_trace; p++) {
        if (g_pattern_spec_match_string(spec, (*p)->name)) {
            (*p)->enabled = on;
            matched++;
        }
    }
    g_pattern_spec_free(spec);
    return matched;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(TracePoint *const *)a)->name, (*(TracePoint *const *)b)->name);
}

void trace_list(void (*fn)(const char *name, bool enabled, void *opaque), void *opaque)
{
    size_t n = (size_t)(__stop_kiln_trace - __start_kiln_trace);
    TracePoint **sorted = g_memdup2(__start_kiln_trace, n * sizeof *sorted);

    qsort(sorted, n, sizeof *sorted, by_name);
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || strcmp(sorted[i]->name, sorted[i - 1]->name)) {
            fn(sorted[i]->name, sorted[i]->enabled, opaque);
        }
    }
    g_free(sorted);
}

static void print_name(const char *name, bool enabled, void *opaque) { printf("%s\n", name); }

/* A pattern; a leading "-" turns off. */
static bool trace_apply(const char *pattern, GError **err)
{
    bool on = pattern[0] != '-';

    if (!trace_set(on ? pattern : pattern + 1, on)) {
        return error_set(err, "-trace %s: no trace point has this name (-trace help lists them)", pattern);
    }
    return true;
}

static bool trace_apply_file(const char *path, GError **err)
{
    g_autofree char *text = NULL;

    if (!g_file_get_contents(path, &text, NULL, err)) {
        g_prefix_error(err, "-trace events=%s: ", path);
        return false;
    }
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++) {
        g_strstrip(*line);
        if (**line && **line != '#' && !trace_apply(*line, err)) {
            return false;
        }
    }
    return true;
}

bool trace_parse_option(const char *text, bool *helped, GError **err)
{
    g_auto(GStrv) words = g_strsplit(text, ",", -1);

    *helped = false;
    for (char **word = words; *word; word++) {
        if (!strcmp(*word, "help") || !strcmp(*word, "?")) {
            trace_list(print_name, NULL);
            *helped = true;
        } else if (g_str_has_prefix(*word, "events=")) {
            if (!trace_apply_file(*word + 7, err)) {
                return false;
            }
        } else if (g_str_has_prefix(*word, "file=")) {
            if (!log_set_file(*word + 5, err)) {
                return false;
            }
        } else if (!trace_apply(g_str_has_prefix(*word, "enable=") ? *word + 7 : *word, err)) {
            return false;
        }
    }
    return true;
}
