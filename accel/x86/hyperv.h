/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hyper-V enlightenments (-cpu hv-*): what a Windows guest is told of its hypervisor, and what KVM
 * then does for it. Leaves and MSRs: Hypervisor Top Level Functional Specification, chapters 2, 10
 * to 12.
 */
#ifndef ACCEL_X86_HYPERV_H
#define ACCEL_X86_HYPERV_H

#include "accel/x86/cpu.h"

/* Bits of Cpu.hyperv; the order is that in which they are checked. */
typedef enum HypervFeature {
    HV_RELAXED,
    HV_VAPIC,
    HV_TIME,
    HV_CRASH,
    HV_RESET,
    HV_VPINDEX,
    HV_RUNTIME,
    HV_SYNIC,
    HV_STIMER,
    HV_FREQUENCIES,
    HV_REENLIGHTENMENT,
    HV_TLBFLUSH,
    HV_EVMCS,
    HV_IPI,
    HV_STIMER_DIRECT,
    HV_AVIC,
    HV_XMM_INPUT,
    HV_TLBFLUSH_EXT,
    HV_TLBFLUSH_DIRECT,
    HV_EMSR_BITMAP,
    HYPERV_FEATURES
} HypervFeature;

#define HYPERV_SPINLOCKS_NEVER UINT32_MAX /* hv-spinlocks: never tell the hypervisor */
#define HYPERV_FIRST_LEAF 0x40000000u
#define HYPERV_NESTED_LEAF 0x4000000au
#define HYPERV_KVM_LEAF 0x40000100u /* where KVM's own leaves move */

static inline bool cpu_has_hyperv(const Cpu *cpu, HypervFeature feature)
{
    return cpu->hyperv >> feature & 1;
}

/* The guest sees Hyper-V's leaves. */
bool hyperv_enabled(const Cpu *cpu);
/*
 * hv-passthrough takes what the kernel has; then checks that the kernel has what is on, and that
 * what it needs is on too. Without KVM nothing is checked.
 */
void hyperv_take_host(Cpu *cpu);
bool hyperv_check(const Cpu *cpu, GError **err);
/* One of the leaves 4000_0000h to 4000_000Ah. */
void hyperv_leaf(const Cpu *cpu, uint32_t leaf, uint32_t regs[4]);

#endif
