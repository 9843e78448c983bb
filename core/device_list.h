/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The list of all devices, for -device help, device_add help and info qdm. */
#ifndef CORE_DEVICE_LIST_H
#define CORE_DEVICE_LIST_H

#include <glib.h>
#include <stdbool.h>

/* Appends the devices of all modules by category: name, bus, description; all: also those that only machines make. */
void device_list(GString *out, bool all);

#endif
