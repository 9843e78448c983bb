/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Small files that options name, read whole into memory. */
#ifndef HW_NVRAM_OPTION_FILE_H
#define HW_NVRAM_OPTION_FILE_H

#include <glib.h>
#include <stdbool.h>

/* At most max bytes; *data gets a zero byte behind them and is the caller's. Messages begin with option. */
bool option_read_file(const char *option, const char *path, gsize max, char **data, gsize *len, GError **err);

#endif
