/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the host's KVM lets a guest see (KVM_GET_SUPPORTED_CPUID, asked once) and the CPUID table of
 * a vCPU made from it.
 */
#ifndef ACCEL_KVM_KVM_CPUID_H
#define ACCEL_KVM_KVM_CPUID_H

#include <linux/kvm.h>

#include "accel/x86/cpu.h"

/*
 * The accelerator calls this in its init, with /dev/kvm open: keeps kvm_fd (not owned) and the
 * supported CPUID with the VM. Without it (qtest) models have their features unfiltered.
 */
bool kvm_cpuid_init(Vm *vm, int kvm_fd, GError **err);
/* One register of what the host supports, with our knowledge of KVM applied; 0 when absent. */
uint64_t kvm_cpuid_supported_word(Vm *vm, FeatureWord word);
/* A feature MSR as KVM_GET_MSRS on /dev/kvm tells it; 0: there is none. */
uint64_t kvm_cpuid_feature_msr(Vm *vm, uint32_t index);
/* A whole leaf of the host's, zeros when absent. False when KVM was not initialized. */
bool kvm_cpuid_host_leaf(Vm *vm, uint32_t leaf, uint32_t subleaf, uint32_t regs[4]);
/* A leaf of KVM_GET_SUPPORTED_HV_CPUID, asked for when first needed; false: it has none. */
bool kvm_cpuid_hyperv_leaf(Vm *vm, uint32_t leaf, uint32_t regs[4]);
/* The table for KVM_SET_CPUID2; g_free. */
struct kvm_cpuid2 *kvm_cpuid_build(Cpu *cpu);

#endif
