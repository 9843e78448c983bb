/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What can be said against a configuration without starting it. */
#ifndef SYSTEM_CONFIG_CHECK_H
#define SYSTEM_CONFIG_CHECK_H

#include "system/config.h"

/* Options that exclude or need each other. False with *err. */
bool config_check_combinations(const Config *config, GError **err);
/*
 * --check-config: reports every mistake, those that reading found included, and returns the exit status:
 * 0 when there is none. No image, socket or /dev/kvm is opened and no file changed.
 */
int config_check(Config *config);

#endif
