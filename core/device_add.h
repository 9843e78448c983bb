/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -device, device_add, device_del and -global. VM lock. */
#ifndef CORE_DEVICE_ADD_H
#define CORE_DEVICE_ADD_H

#include "core/vm.h"

/*
 * Makes, configures and realizes a device: text is "driver,id=..,bus=..,prop=value" or a JSON object.
 * NULL with *err, and nothing left behind.
 */
Device *device_add(Vm *vm, const char *text, GError **err);
/* device_add: as device_add, with JSON's text or typed values, on a bus that allows it while the VM lives. */
Device *device_hot_add(Vm *vm, json_object *args, GError **err);
/* device_del: asks the guest to let a device go, by id or path. */
bool device_request_unplug(Vm *vm, const char *id, GError **err);
/* driver.property=value, or driver=..,property=..,value=... Kept in vm->globals; checked when used. */
bool global_add(Vm *vm, const char *text, GError **err);
/* Warns of -global whose driver no device was made of. */
void globals_check_used(Vm *vm);
/* The driver's full name in text, without making anything; NULL when it has none. The caller frees. */
char *device_driver_name(const char *text);
/* text in the key=value form, else json. */
typedef void DeviceOptionFn(const char *key, const char *text, json_object *json, void *opaque);
/* Calls fn (which may be NULL) with each property in text; driver, id and bus are left out. False with *err when
 * text is malformed or names no driver. */
bool device_options_foreach(const char *text, DeviceOptionFn *fn, void *opaque, GError **err);

#endif
