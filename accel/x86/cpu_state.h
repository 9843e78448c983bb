/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The sections "cpu_common" and "cpu" of the stream. */
#ifndef ACCEL_X86_CPU_STATE_H
#define ACCEL_X86_CPU_STATE_H

#include "accel/x86/cpu.h"

extern const StateDesc cpu_state_desc, cpu_common_state_desc;
/* Adds both, in this order, before the local APIC's. */
void cpu_state_register(Cpu *cpu);

#endif
