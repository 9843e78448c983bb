/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Numbers of bytes for people. */
#ifndef UTIL_SIZE_TEXT_H
#define UTIL_SIZE_TEXT_H

#include <glib.h>
#include <stdint.h>

/* "196 KiB", "1.5 GiB": three digits; the caller frees. */
char *size_text(uint64_t bytes);

#endif
