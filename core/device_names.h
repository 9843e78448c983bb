/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names of devices that users know from QEMU: short ones, and those of devices that are not here. Any thread. */
#ifndef CORE_DEVICE_NAMES_H
#define CORE_DEVICE_NAMES_H

#include "util/util.h"

/* The type that name is short for ("virtio-net"); name itself when it is not a short one. */
const char *device_full_name(const char *name);
/* The short name of a type, as "-device help" shows it; NULL: it has none. */
const char *device_short_name(const char *type_name);
/* Sets *err for the name of a device of QEMU's, which names the nearest that is here. False: QEMU 7.2 has none of that name
 * either. Whether Kiln has the device is the caller's to know: the registry of types says so. */
bool device_error_qemu_only(const char *name, GError **err);
/* The device that gives a machine a bus of this type; NULL: the board has it or nothing gives one. */
const char *device_bus_controller(const char *bus_type);

#endif
