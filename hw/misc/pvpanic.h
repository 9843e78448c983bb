/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pvpanic, for the ACPI tables: the guest finds its port in the device PEVT. */
#ifndef HW_MISC_PVPANIC_H
#define HW_MISC_PVPANIC_H

#include "core/vm.h"

/* The port of the machine's pvpanic device. False when there is none. */
bool pvpanic_find(Vm *vm, uint16_t *port);

#endif
