/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The process: background, user, locked memory. Main thread, before others exist. */
#ifndef SYSTEM_DAEMON_H
#define SYSTEM_DAEMON_H

#include <glib.h>
#include <stdbool.h>

/* Forks. The parent waits for daemonize_ready and ends with its status; only the child returns. */
bool daemonize_begin(GError **err);
/* The machine runs: lets go of the terminal and releases the parent with status 0. Without daemonize_begin it
 * does nothing. */
bool daemonize_ready(GError **err);

/* "user" or "uid:gid". Drops all groups and capabilities that root's uid gave. */
bool run_as(const char *user, GError **err);
/* All memory, present and future, stays in RAM (-overcommit mem-lock=on). */
bool lock_memory(GError **err);

#endif
