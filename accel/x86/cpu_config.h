/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What all CPUs of a VM share. Private to accel/x86 and to kvm_cpuid.c, kvm_regs.c, kvm_msrs.c. */
#ifndef ACCEL_X86_CPU_CONFIG_H
#define ACCEL_X86_CPU_CONFIG_H

#include <linux/kvm.h>

#include "accel/x86/cpu.h"

/* Caches of a model that does not show the usual figures: what differs among them. */
typedef struct CpuCaches {
    uint16_t l1i_ways, l1i_sets; /* lines of 64 bytes */
    uint16_t l3_sets;            /* 16 ways */
    uint8_t l1i_descriptor, l3_descriptor; /* of leaf 2, FFh: there is none */
} CpuCaches;

/*
 * One version of a model. Its features are those of base, changed as "+name -name" say; without a
 * base the names stand alone. Names are the properties' own, one blank between them.
 */
typedef struct CpuModel {
    const char *name;    /* "Haswell" */
    unsigned version;    /* 0: the model has no versions (base, max, host) */
    const struct CpuModel *base;
    const char *features;
    const char *model_id;
    const char *vendor; /* without KVM; a KVM guest sees the host's */
    uint8_t family, model, stepping;
    uint32_t min_level, min_xlevel;
    const CpuCaches *caches; /* NULL: the usual figures */
    bool max;                /* all that the host has: "max" and "host" */
    bool needs_kvm;          /* "host" */
} CpuModel;

typedef struct CpuConfig {
    /* -cpu */
    const Type *type;     /* NULL: not parsed yet */
    GPtrArray *options;   /* name, value, name, value, ... */
    CpuTopology topology; /* all 0: not said */
    bool wide_apic_ids;   /* the kernel's LAPIC pages have whole ids in x2APIC mode */
    bool warned;          /* missing features were reported */
    const CpuModel *resolved_model; /* whose features these are; NULL: none yet */
    uint64_t resolved[FEATURE_WORDS];

    /* the host's KVM; supported is NULL without it */
    int kvm_fd;
    struct kvm_cpuid2 *supported;
    struct kvm_cpuid2 *hyperv; /* NULL: not asked for yet */
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
/* The concrete CPU types, sorted as -cpu help lists them. The caller frees the array. */
GPtrArray *cpu_model_types(void);
/* The feature words of a model, KVM's own and the host's left out. */
void cpu_model_features(Vm *vm, const CpuModel *model, uint64_t features[FEATURE_WORDS]);
/* Completes feature words, levels and identity of a CPU, as if the host had all of them. */
bool cpu_expand_features(Cpu *cpu, GError **err);
/* Takes away what the host has not and keeps it in cpu->missing; without KVM nothing is missing. */
void cpu_filter_features(Cpu *cpu);
/* What follows from the features that are left: refused (enforce), levels, address bits. Reports
 * missing features once a VM. */
bool cpu_finish_features(Cpu *cpu, GError **err);
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
