/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What all CPUs of a VM share. Private to accel/x86 and to kvm_cpuid.c, kvm_regs.c, kvm_msrs.c. */
#ifndef ACCEL_X86_CPU_CONFIG_H
#define ACCEL_X86_CPU_CONFIG_H

#include <linux/kvm.h>

#include "accel/x86/cpu.h"

typedef struct CpuModel {
    const char *name; /* "qemu64" */
    const char *model_id;
    const char *vendor; /* without KVM; a KVM guest sees the host's */
    uint8_t family, model, stepping;
    uint32_t min_level, min_xlevel;
    bool max;          /* all that the host has: "max" and "host" */
    bool needs_kvm;    /* "host" */
    bool kvm_defaults; /* KVM's usual paravirtual features are on */
    uint64_t features[FEATURE_WORDS];
} CpuModel;

typedef struct CpuConfig {
    /* -cpu */
    const Type *type;     /* NULL: not parsed yet */
    GPtrArray *options;   /* name, value, name, value, ... */
    CpuTopology topology; /* all 0: not said */
    bool warned;          /* missing features were reported */

    /* the host's KVM; supported is NULL without it */
    int kvm_fd;
    struct kvm_cpuid2 *supported;
    uint64_t words[FEATURE_WORDS]; /* of supported, with what KVM does not say of itself */
    bool vm_known;                 /* the fields below are set */
    struct kvm_msr_list *msrs;     /* KVM_GET_MSR_INDEX_LIST */
    size_t xsave_size;             /* bytes of KVM_GET_XSAVE(2); 0: no XSAVE */
    bool has_xsave2, has_sregs2, has_exception_payload, has_triple_fault_event;
    uint64_t mce_supported; /* bits of MCG_CAP */
    unsigned mce_banks;
} CpuConfig;

/* The VM's, made when first asked for. */
CpuConfig *cpu_config(Vm *vm);
/* Completes feature words, levels and identity of a CPU being realized; false: refused
 * (enforce). */
bool cpu_expand_features(Cpu *cpu, GError **err);
/* Intel's vendor string or AMD's (Hygon's counts as AMD's). */
bool cpu_is_intel(const Cpu *cpu);
bool cpu_is_amd(const Cpu *cpu);

/* Bit positions in the APIC id. */
unsigned cpu_topology_core_shift(const CpuTopology *t);
unsigned cpu_topology_die_shift(const CpuTopology *t);
unsigned cpu_topology_package_shift(const CpuTopology *t);

/* Size and offset of the guest's XSAVE components, for cpu->features' XCR0 and XSS bits. */
uint32_t cpu_xsave_size(const Cpu *cpu, bool compacted);

#endif
