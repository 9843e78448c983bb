/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Model specific registers of a vCPU. Private to kvm_regs.c. */
#ifndef ACCEL_KVM_KVM_MSRS_H
#define ACCEL_KVM_KVM_MSRS_H

#include "accel/x86/cpu.h"

/* Once per vCPU: what follows from its model (capability MSRs, microcode revision). */
bool kvm_msrs_init(Cpu *cpu, int vcpu_fd, GError **err);
bool kvm_msrs_get(Cpu *cpu, int vcpu_fd, GError **err);
/* full: also the TSC, clocks, MTRRs and machine check banks. */
bool kvm_msrs_put(Cpu *cpu, int vcpu_fd, bool full, GError **err);
/* The deadline timer, which wants the LAPIC to be there already. */
bool kvm_msrs_put_deadline(Cpu *cpu, int vcpu_fd, GError **err);

#endif
