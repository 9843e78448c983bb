/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Errors that a user or a manager asked for: a GError whose message says which option or argument,
 * which value, what is wrong and what to do. The code is the QMP error class, or in the domain KILN_ERRNO an errno.
 */
#ifndef UTIL_ERROR_H
#define UTIL_ERROR_H

#include <glib.h>
#include <stdbool.h>

typedef enum KilnErrorClass {
    KILN_ERROR_GENERIC,
    KILN_ERROR_COMMAND_NOT_FOUND,
    KILN_ERROR_DEVICE_NOT_ACTIVE,
    KILN_ERROR_DEVICE_NOT_FOUND,
    KILN_ERROR_KVM_MISSING_CAP,
} KilnErrorClass;

#define KILN_ERROR kiln_error_quark()
GQuark kiln_error_quark(void);
/* A system's reason stands at the message's end, and the message gives no way out yet: KILN_ERROR_GENERIC for QMP. */
#define KILN_ERRNO kiln_errno_quark()
GQuark kiln_errno_quark(void);

/* Sets *err (when err is not NULL). Always returns false, so `return error_set(err, ...)` reads well. */
bool error_set(GError **err, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
bool error_set_class(GError **err, KilnErrorClass class, const char *fmt, ...) G_GNUC_PRINTF(3, 4);
/* As error_set, with ": strerror(errnum)" at the end; the error is of the domain KILN_ERRNO, its code is errnum. */
bool error_set_errno(GError **err, int errnum, const char *fmt, ...) G_GNUC_PRINTF(3, 4);
/* As error_set, for a message that tells cause's in other words: with cause's domain and code. */
bool error_set_from(GError **err, const GError *cause, const char *fmt, ...) G_GNUC_PRINTF(3, 4);

/*
 * The candidates nearest to a mistyped word, as " (did you mean 'a' or 'b'?)", or "" when none is
 * near. names ends with NULL. The caller frees.
 */
char *suggest_names(const char *word, const char *const *names);

/* The message as people shall see it: one of KILN_ERRNO gets what can be done about it. The caller frees. */
char *error_with_way_out(const GError *err);

#endif
