/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Small files that a user names, read whole. */
#ifndef UTIL_FILE_H
#define UTIL_FILE_H

#include <glib.h>
#include <stdbool.h>

/*
 * All that path has, up to its end: a file, a pipe, a descriptor under /dev/fd. *data is followed by a NUL that *len (may be
 * NULL) does not count, and is the caller's. False with *err, which names path: it cannot be opened or read, or has more than
 * max bytes (a device may never end). Leaves no other copy of the contents in memory.
 */
bool file_read(const char *path, gsize max, char **data, gsize *len, GError **err);

#endif
