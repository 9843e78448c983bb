/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lists for people: -device help, -device X,help, -accel help, -L help. To stdout. */
#ifndef SYSTEM_HELP_H
#define SYSTEM_HELP_H

#include <glib.h>
#include <stdbool.h>

void device_help(void);
/* False with *err when there is no such type. */
bool device_type_help(const char *name, GError **err);
/* -machine TEXT, which ends with ",help"; option: as it was written. */
bool machine_type_help(const char *option, const char *text, GError **err);
void accel_help(void);
/* The cards that -nic and -net take. */
void nic_models_help(void);
void data_dirs_help(GPtrArray *data_dirs);

#endif
