/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Parts of a Vm that core's files own, for core/vm.c only. */
#ifndef CORE_VM_INTERNAL_H
#define CORE_VM_INTERNAL_H

#include "core/vm.h"

void vm_clocks_init(Vm *vm);
void vm_clocks_free(Vm *vm);
void vm_events_init(Vm *vm);
void vm_events_free(Vm *vm);
void vm_run_init(Vm *vm);
/* The hooks of vm_on_exit, unless they have run. */
void vm_run_exit(Vm *vm);
void vm_run_free(Vm *vm);
void vm_states_free(Vm *vm);

#endif
