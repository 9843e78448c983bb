/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a Config to a VM that is ready to run, in one fixed order. */
#ifndef SYSTEM_STARTUP_H
#define SYSTEM_STARTUP_H

#include "system/config.h"

/*
 * Opens back ends, the accelerator, builds the machine and its devices, and lets the accelerator put them
 * in place; then resets it all. NULL with *err, whose message names option, value, reason, way out.
 */
Vm *vm_build(Config *config, GError **err);

#endif
