/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef UTIL_THREAD_H
#define UTIL_THREAD_H

#include <stddef.h>

/* Starts a thread that nobody joins, with all signals blocked: they are the main thread's. stack: bytes, 0: the
 * system's default. 0, or an errno. Any thread. */
int thread_start_detached(void *(*body)(void *opaque), void *opaque, size_t stack);

#endif
