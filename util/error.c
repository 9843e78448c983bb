/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "util/error.h"

#include <errno.h>
#include <string.h>

#include "util/util.h"

G_DEFINE_QUARK(kiln-error-quark, kiln_error)
G_DEFINE_QUARK(kiln-errno-quark, kiln_errno)

static bool set_va(GError **err, int code, const char *fmt, va_list ap)
{
    if (err) {
        g_autofree char *text = g_strdup_vprintf(fmt, ap);

        g_set_error_literal(err, KILN_ERROR, code, text);
    }
    return false;
}

bool error_set(GError **err, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    set_va(err, KILN_ERROR_GENERIC, fmt, ap);
    va_end(ap);
    return false;
}

bool error_set_class(GError **err, KilnErrorClass class, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    set_va(err, class, fmt, ap);
    va_end(ap);
    return false;
}

bool error_set_errno(GError **err, int errnum, const char *fmt, ...)
{
    va_list ap;

    if (err) {
        va_start(ap, fmt);
        g_autofree char *text = g_strdup_vprintf(fmt, ap);
        va_end(ap);
        g_set_error(err, KILN_ERRNO, errnum, "%s: %s", text, g_strerror(errnum));
    }
    return false;
}

bool error_set_from(GError **err, const GError *cause, const char *fmt, ...)
{
    va_list ap;

    if (err) {
        va_start(ap, fmt);
        g_autofree char *text = g_strdup_vprintf(fmt, ap);
        va_end(ap);
        g_set_error_literal(err, cause->domain, cause->code, text);
    }
    return false;
}

/* ---- the way out --------------------------------------------------------------------- */

static const struct {
    int errnum;
    const char *way_out;
} system_ways_out[] = {
    {ENOENT, "is the path right, and has each of its directories been made?"},
    {ENOTDIR, "a part of the path is a file: is it right?"},
    {EISDIR, "name a file in it"},
    {EACCES, "give the user who runs this the right to it, or run this as another user"},
    {EPERM, "give the user who runs this the right to it, or run this as another user"},
    {EROFS, "choose a place that can be written"},
    {ENOSPC, "make room there, or choose another place"},
    {EDQUOT, "make room there, or choose another place"},
    {EBUSY, "end what uses it first"},
    {ETXTBSY, "end what uses it first"},
    {EADDRINUSE, "end what uses it first, or choose another address"},
    {EADDRNOTAVAIL, "choose an address of this host"},
    {ECONNREFUSED, "start the server first; is the address right?"},
    {EHOSTUNREACH, "is the address right, and the network up?"},
    {ENETUNREACH, "is the address right, and the network up?"},
    {ETIMEDOUT, "is the address right, and the server alive?"},
    {ENAMETOOLONG, "choose a shorter path"},
    {ELOOP, "its symbolic links lead in a circle: name the file itself"},
    {ENXIO, "nothing is behind it: name another"},
    {ENODEV, "nothing is behind it: name another"},
    {ENOTTY, "it is of another kind: name another"},
    {EMFILE, "raise the limit of open files (ulimit -n)"},
    {ENFILE, "raise the limit of open files (fs.file-max)"},
    {ENOMEM, "give the guest less memory, or free some"},
};

char *error_with_way_out(const GError *err)
{
    for (size_t i = 0; i < G_N_ELEMENTS(system_ways_out); i++) {
        if (g_error_matches(err, KILN_ERRNO, system_ways_out[i].errnum)) {
            return g_strconcat(err->message, "; ", system_ways_out[i].way_out, NULL);
        }
    }
    return g_strdup(err->message);
}

/* ---- nearest names ----------------------------------------------------------------- */

/* Edits (insert, delete, replace, swap neighbours) that turn a into b; both under 64 bytes. */
static unsigned edit_distance(const char *a, const char *b)
{
    unsigned rows[3][65];
    size_t la = strlen(a), lb = strlen(b);

    if (la > 63 || lb > 63) {
        return 64;
    }
    for (size_t j = 0; j <= lb; j++) {
        rows[0][j] = (unsigned)j;
    }
    for (size_t i = 1; i <= la; i++) {
        unsigned *cur = rows[i % 3], *prev = rows[(i - 1) % 3], *prev2 = rows[(i + 1) % 3];

        cur[0] = (unsigned)i;
        for (size_t j = 1; j <= lb; j++) {
            unsigned cost = a[i - 1] != b[j - 1];
            unsigned best = MIN(MIN(prev[j] + 1, cur[j - 1] + 1), prev[j - 1] + cost);

            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                best = MIN(best, prev2[j - 2] + 1);
            }
            cur[j] = best;
        }
    }
    return rows[la % 3][lb];
}

char *suggest_names(const char *word, const char *const *names)
{
    const char *best[3];
    unsigned best_distance[3], count = 0;
    size_t limit = MAX(1, strlen(word) / 3);

    for (; *names; names++) {
        bool prefix = strlen(word) >= 3 && g_str_has_prefix(*names, word);
        unsigned distance = prefix ? 1 : edit_distance(word, *names);
        unsigned at;

        if (distance > limit) {
            continue;
        }
        for (at = count; at > 0 && best_distance[at - 1] > distance; at--) {
            if (at < 3) {
                best[at] = best[at - 1];
                best_distance[at] = best_distance[at - 1];
            }
        }
        if (at < 3) {
            best[at] = *names;
            best_distance[at] = distance;
            count = MIN(count + 1, 3);
        }
    }
    if (!count) {
        return g_strdup("");
    }
    GString *text = g_string_new(" (did you mean ");
    for (unsigned i = 0; i < count; i++) {
        g_string_append_printf(text, "%s'%s'", i == 0 ? "" : i + 1 == count ? " or " : ", ", best[i]);
    }
    g_string_append(text, "?)");
    return g_string_free(text, false);
}
