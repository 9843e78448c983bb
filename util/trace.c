/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "util/trace.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util/error.h"
#include "util/file.h"
#include "util/log.h"
#include "util/loop.h"
#include "util/module.h"

#define MAX_FILE (1 << 20)

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

/* ---- the points: the program's section and those of modules ---------------------------- */

typedef struct TraceSection {
    TracePoint *const *begin, *const *end;
} TraceSection;

typedef struct TraceWish {
    char *pattern;
    bool on;
} TraceWish;

static GArray *sections; /* TraceSection; main thread */
static GArray *wishes;   /* TraceWish: what -trace said, for modules that come later */

static GArray *all_sections(void)
{
    if (!sections) {
        TraceSection own = {__start_kiln_trace, __stop_kiln_trace};

        sections = g_array_new(false, false, sizeof own);
        g_array_append_val(sections, own);
    }
    return sections;
}

static unsigned set_in(const TraceSection *section, const char *pattern, bool on)
{
    GPatternSpec *spec = g_pattern_spec_new(pattern);
    unsigned matched = 0;

    for (TracePoint *const *p = section->begin; p < section->end; p++) {
        if (g_pattern_spec_match_string(spec, (*p)->name)) {
            (*p)->enabled = on;
            matched++;
        }
    }
    g_pattern_spec_free(spec);
    return matched;
}

void trace_register_module(TracePoint *const *begin, TracePoint *const *end)
{
    TraceSection section = {begin, end};

    g_array_append_val(all_sections(), section);
    for (unsigned i = 0; wishes && i < wishes->len; i++) {
        TraceWish *wish = &g_array_index(wishes, TraceWish, i);

        set_in(&section, wish->pattern, wish->on);
    }
}

unsigned trace_set(const char *pattern, bool on)
{
    TraceWish wish = {g_strdup(pattern), on};
    unsigned matched = 0;

    for (unsigned i = 0; i < all_sections()->len; i++) {
        matched += set_in(&g_array_index(sections, TraceSection, i), pattern, on);
    }
    if (!wishes) {
        wishes = g_array_new(false, false, sizeof wish);
    }
    g_array_append_val(wishes, wish);
    return matched;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(TracePoint *const *)a)->name, (*(TracePoint *const *)b)->name);
}

void trace_list(void (*fn)(const char *name, bool enabled, void *opaque), void *opaque)
{
    g_autoptr(GPtrArray) points = g_ptr_array_new();

    for (unsigned i = 0; i < all_sections()->len; i++) {
        const TraceSection *section = &g_array_index(sections, TraceSection, i);

        for (TracePoint *const *p = section->begin; p < section->end; p++) {
            g_ptr_array_add(points, *p);
        }
    }
    g_ptr_array_sort(points, by_name);
    for (unsigned i = 0; i < points->len; i++) {
        const TracePoint *point = points->pdata[i];

        if (i == 0 || strcmp(point->name, ((TracePoint *)points->pdata[i - 1])->name)) {
            fn(point->name, point->enabled, opaque);
        }
    }
}

/* ---- -trace -------------------------------------------------------------------------------- */

static void print_name(const char *name, bool enabled, void *opaque) { printf("%s\n", name); }

static void collect_name(const char *name, bool enabled, void *opaque) { g_ptr_array_add(opaque, (char *)name); }

void trace_apply(const char *option, const char *pattern)
{
    bool on = pattern[0] != '-';

    unsigned matched = trace_set(pattern + !on, on);
    if (!matched) { /* the name may be a module's */
        module_load_all();
        matched = trace_set(pattern + !on, on);
    }
    if (!matched) {
        g_autoptr(GPtrArray) names = g_ptr_array_new();

        trace_list(collect_name, names);
        g_ptr_array_add(names, NULL);
        g_autofree char *hint = suggest_names(pattern + !on, (const char *const *)names->pdata);
        report_warning("%s%s: no trace point has this name%s; -trace help lists them", option, pattern, hint);
    }
}

static bool trace_apply_file(const char *path, GError **err)
{
    g_autofree char *text = NULL;

    if (!file_read(path, MAX_FILE, &text, NULL, err)) {
        g_prefix_error(err, "-trace events=%s: ", path);
        return false;
    }
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++) {
        g_strstrip(*line);
        if (**line && **line != '#') {
            trace_apply("-trace ", *line);
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
            module_load_all();
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
        } else {
            trace_apply("-trace ", g_str_has_prefix(*word, "enable=") ? *word + 7 : *word);
        }
    }
    return true;
}
