/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The process's pid file; there is one. Main thread. */
#ifndef UTIL_PIDFILE_H
#define UTIL_PIDFILE_H

#include <glib.h>
#include <stdbool.h>

/* Writes our pid and keeps the file locked until the process ends; what is no regular file, or another process's, is
 * refused and stays as it is. option: as the user wrote it, for messages. */
bool pidfile_create(const char *option, const char *path, GError **err);
/* Removes it, if there is one. */
void pidfile_remove(void);

#endif
