/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages for people. report_* go to stderr with the program's name (and with -msg a time stamp and
 * the guest's name); log_mask goes to the log file of -D, when the item is enabled with -d.
 * Any thread.
 */
#ifndef UTIL_LOG_H
#define UTIL_LOG_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

void report_error(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
void report_warning(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
void report_info(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

/* argv[0]'s last part; kept, not copied. */
void log_set_program(const char *name);
/* -msg timestamp=on, guest-name=on (name NULL: off). */
void log_set_prefix(bool timestamp, const char *guest_name);

/* Items of -d, in QEMU's names ("int", "cpu_reset", "guest_errors", "unimp", ...). */
typedef enum LogItem {
    LOG_INT = 1 << 0,
    LOG_CPU_RESET = 1 << 1,
    LOG_GUEST_ERRORS = 1 << 2,
    LOG_UNIMP = 1 << 3,
    LOG_PCALL = 1 << 4,
    LOG_CPU = 1 << 5,
    LOG_MMU = 1 << 6,
    LOG_STRACE = 1 << 7,
} LogItem;

extern uint32_t log_items; /* LogItem bits that are on */
#define log_enabled(item) __builtin_expect(!!(log_items & (item)), 0)
#define log_mask(item, ...)                                                                        \
    do {                                                                                           \
        if (log_enabled(item)) {                                                                   \
            log_printf(__VA_ARGS__);                                                               \
        }                                                                                          \
    } while (0)
/* Writes to the log file, or stderr when there is none. The text carries its own newline. */
void log_printf(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

/* -d item,item,trace:PATTERN; "help" prints the list to stdout and sets *helped. */
bool log_enable(const char *items, bool *helped, GError **err);
/* Calls fn with each item of -d. */
void log_foreach_item(void (*fn)(const char *name, const char *help, void *opaque), void *opaque);
/* -D path: "%d" in it becomes the process id. */
bool log_set_file(const char *path, GError **err);

#endif
