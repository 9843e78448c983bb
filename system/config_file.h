/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VM's configuration as a file: the command line's options in another dress, read through the same
 * tables.
 *
 *   {
 *       "machine": {"type": "pc", "kernel-irqchip": "split"},   // an object: key=value,...
 *       "m": "1G",                                              // a text or number: the argument
 *       "enable-kvm": true,                                     // an option without argument
 *       "drive": [{"file": "a.raw"}, {"file": "b.raw"}]         // a list: the option several times
 *   }
 *
 * Comments are allowed. Nested objects and lists become dotted keys ("file": {"driver": "file"} is
 * file.driver=file); options that take JSON get the object as it is.
 */
#ifndef SYSTEM_CONFIG_FILE_H
#define SYSTEM_CONFIG_FILE_H

#include "system/config.h"

/* --config FILE. False with *err naming the file, the line and the option. */
bool config_read_json(Config *config, const char *path, GError **err);
/* -readconfig FILE: QEMU's INI form, [group "id"] and key = "value". Fails likewise. */
bool config_read_ini(Config *config, const char *path, GError **err);
/* --print-config: all options so far as such a file, to stdout. */
void config_print(const Config *config);

#endif
