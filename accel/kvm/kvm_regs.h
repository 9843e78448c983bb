/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Registers, MSRs, CPUID and the in-kernel LAPIC of a vCPU: between struct Cpu and the kernel.
 *
 * Order of use by accel/kvm: kvm_cpuid_init (kvm_cpuid.h) once, when /dev/kvm is open;
 * kvm_vcpu_init_regs for each new vCPU fd, after the irqchip was made; cpu_reset_state then
 * kvm_regs_put(full) before the first run; kvm_regs_get/put while it is stopped. All are called
 * by the thread that owns the vCPU or while that thread is not in KVM_RUN.
 */
#ifndef ACCEL_KVM_KVM_REGS_H
#define ACCEL_KVM_KVM_REGS_H

#include <stdio.h>

#include "accel/x86/cpu.h"

struct kvm_cpuid2;

/* KVM_SET_CPUID2, TSC frequency, MCE set-up; the first call of a VM also learns the MSR list and
 * XSAVE size. known: what kvm_cpuid_build said of the CPU that this vCPU ran for before; NULL: it
 * is new. */
bool kvm_vcpu_init_regs(Cpu *cpu, int vm_fd, int vcpu_fd, const struct kvm_cpuid2 *known,
                        GError **err);
void kvm_vcpu_free_regs(Cpu *cpu);
/* Everything that the stream names, and the LAPIC of an in-kernel irqchip, into cpu->env. */
bool kvm_regs_get(Cpu *cpu, int vcpu_fd, GError **err);
/* full: after a reset or a load (also TSC, MP state, clock MSRs, LAPIC); else what a debugger or
 * INIT changes. */
bool kvm_regs_put(Cpu *cpu, int vcpu_fd, bool full, GError **err);
/* General registers, RIP and RFLAGS alone. Also amid an access that userspace serves. */
bool kvm_regs_get_general(Cpu *cpu, int vcpu_fd, GError **err);
bool kvm_regs_put_general(Cpu *cpu, int vcpu_fd, GError **err);
/* The physical address of a virtual one, by the page tables of the registers that the kernel has
 * (SDM vol. 3, chapter 4); false: not mapped. */
bool kvm_regs_translate(int vcpu_fd, uint64_t address, uint64_t *physical);
/* Registers and code bytes at CS:RIP, in the layout of the monitor's "info registers". */
void kvm_regs_dump(Cpu *cpu, int vcpu_fd, FILE *out);

#endif
