/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a Config to a VM that is ready to run, in one fixed order. */
#ifndef SYSTEM_STARTUP_H
#define SYSTEM_STARTUP_H

#include "system/config.h"

/*
 * Opens back ends, the accelerator, builds the machine and its devices, and lets the accelerator put them
 * in place; then resets it all. False with *err, whose message names option, value, reason, way out.
 */
bool vm_build(Vm *vm, Config *config, GError **err);

#endif
