/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "util/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "util/error.h"
#include "util/trace.h"
#include "util/util.h"

uint32_t log_items;
static FILE *log_stream; /* NULL: stderr */
static const char *program = "kiln";
static bool with_timestamp;
static char *guest_name;

void log_set_program(const char *name) { program = name; }

void log_set_prefix(bool timestamp, const char *name)
{
    with_timestamp = timestamp;
    g_free(guest_name);
    guest_name = g_strdup(name);
}

static void report(const char *kind, const char *fmt, va_list ap)
{
    GString *line = g_string_new(NULL);

    if (with_timestamp) {
        g_autoptr(GDateTime) now = g_date_time_new_now_utc();
        g_autofree char *stamp = g_date_time_format(now, "%Y-%m-%dT%H:%M:%S");

        g_string_append_printf(line, "%s.%06dZ ", stamp, g_date_time_get_microsecond(now));
    }
    if (guest_name) {
        g_string_append_printf(line, "%s ", guest_name);
    }
    g_string_append_printf(line, "%s: %s", program, kind);
    g_string_append_vprintf(line, fmt, ap);
    g_string_append_c(line, '\n');
    fputs(line->str, stderr); /* one write: lines of threads do not mix */
    g_string_free(line, true);
}

#define DEFINE_REPORT(name, kind)                                                                  \
    void name(const char *fmt, ...)                                                                \
    {                                                                                              \
        va_list ap;                                                                                \
        va_start(ap, fmt);                                                                         \
        report(kind, fmt, ap);                                                                     \
        va_end(ap);                                                                                \
    }
DEFINE_REPORT(report_error, "")
DEFINE_REPORT(report_warning, "warning: ")
DEFINE_REPORT(report_info, "info: ")

void log_printf(const char *fmt, ...)
{
    va_list ap;
    FILE *out = log_stream ? log_stream : stderr;

    va_start(ap, fmt);
    vfprintf(out, fmt, ap);
    va_end(ap);
}

/* ---- -d and -D ------------------------------------------------------------------------ */

static const struct {
    const char *name;
    uint32_t item;
    const char *help;
} items_table[] = {
    {"int", LOG_INT, "interrupts and exceptions that are injected"},
    {"cpu", LOG_CPU, "CPU registers at stops"},
    {"cpu_reset", LOG_CPU_RESET, "CPU state at resets"},
    {"guest_errors", LOG_GUEST_ERRORS, "what the guest did wrong to a device"},
    {"mmu", LOG_MMU, "changes of memory slots"},
    {"pcall", LOG_PCALL, "unused with hardware virtualization"},
    {"unimp", LOG_UNIMP, "accesses to functions that are not there"},
};

static bool log_enable_one(const char *name, GError **err)
{
    const char *names[G_N_ELEMENTS(items_table) + 3] = {"all", "help"};

    if (g_str_has_prefix(name, "trace:")) {
        trace_apply("-d trace:", name + 6);
        return true;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(items_table); i++) {
        names[i + 2] = items_table[i].name;
        if (!strcmp(name, items_table[i].name) || !strcmp(name, "all")) {
            log_items |= items_table[i].item;
            if (strcmp(name, "all")) {
                return true;
            }
        }
    }
    if (!strcmp(name, "all")) {
        return true;
    }
    g_autofree char *hint = suggest_names(name, names);
    return error_set(err, "-d %s: no such log item%s; -d help lists them", name, hint);
}

void log_foreach_item(void (*fn)(const char *name, const char *help, void *opaque), void *opaque)
{
    for (size_t i = 0; i < G_N_ELEMENTS(items_table); i++) {
        fn(items_table[i].name, items_table[i].help, opaque);
    }
    fn("trace:PATTERN", "trace points by name", opaque);
}

static void print_item(const char *name, const char *help, void *opaque) { printf("%-15s %s\n", name, help); }

bool log_enable(const char *items, bool *helped, GError **err)
{
    g_auto(GStrv) words = g_strsplit(items, ",", -1);

    *helped = false;
    for (char **word = words; *word; word++) {
        if (!strcmp(*word, "help") || !strcmp(*word, "?")) {
            printf("Log items (comma separated):\n");
            log_foreach_item(print_item, NULL);
            *helped = true;
        } else if (!log_enable_one(*word, err)) {
            return false;
        }
    }
    return true;
}

bool log_set_file(const char *path, GError **err)
{
    g_autofree char *real = NULL;
    const char *at = strstr(path, "%d");

    if (strchr(path, '%') && !at) {
        return error_set(err, "-D %s: the only %% sign allowed in a log file's name is %%d (process id)", path);
    }
    real = at ? g_strdup_printf("%.*s%d%s", (int)(at - path), path, (int)getpid(), at + 2) : g_strdup(path);
    FILE *f = fopen(real, "a");
    if (!f) {
        return error_set_errno(err, errno, "-D %s: the log file cannot be opened", path);
    }
    setvbuf(f, NULL, _IOLBF, 0);
    if (log_stream) {
        fclose(log_stream);
    }
    log_stream = f;
    return true;
}
