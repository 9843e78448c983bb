/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -device and -global. VM lock. */
#ifndef SYSTEM_DEVICE_ADD_H
#define SYSTEM_DEVICE_ADD_H

#include "core/vm.h"

/*
 * Makes, configures and realizes a device: text is "driver,id=..,bus=..,prop=value" or a JSON object.
 * NULL with *err, and nothing left behind.
 */
Device *device_add(Vm *vm, const char *text, GError **err);
/* driver.property=value, or driver=..,property=..,value=... Kept in vm->globals; checked when used. */
bool global_add(Vm *vm, const char *text, GError **err);
/* Warns of -global whose driver no device was made of. */
void globals_check_used(Vm *vm);
/* The driver's name in text, without making anything; NULL when it has none. The caller frees. */
char *device_driver_name(const char *text);

#endif
