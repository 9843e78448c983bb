/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Feature words, and the properties of "x86_64-cpu".
 *
 * The property table is the one place where a feature has its name: its row says word and bit by
 * the offset into Cpu.features and the mask. Names are those of QEMU 7.2, registers and bits those
 * of the vendors' manuals (SDM vol. 2 CPUID; APM vol. 3 appendix E;
 * Documentation/virt/kvm/x86/cpuid.rst).
 */
#include "accel/x86/features.h"

#include <stdlib.h>

#include "accel/x86/cpu.h"
#include "accel/x86/hyperv.h"

const FeatureWordInfo feature_words[FEATURE_WORDS] = {
    [FEAT_1_EDX] = {.leaf = 1, .reg = CPUID_EDX, .no_auto = 1u << 28 /* ht: follows from -smp */},
    [FEAT_1_ECX] = {.leaf = 1, .reg = CPUID_ECX},
    [FEAT_7_0_EBX] = {.leaf = 7, .reg = CPUID_EBX, .has_subleaf = true},
    [FEAT_7_0_ECX] = {.leaf = 7, .reg = CPUID_ECX, .has_subleaf = true},
    [FEAT_7_0_EDX] = {.leaf = 7, .reg = CPUID_EDX, .has_subleaf = true},
    [FEAT_7_1_EAX] = {.leaf = 7, .subleaf = 1, .reg = CPUID_EAX, .has_subleaf = true},
    [FEAT_8000_0001_EDX] = {.leaf = 0x80000001, .reg = CPUID_EDX},
    [FEAT_8000_0001_ECX] = {.leaf = 0x80000001,
                            .reg = CPUID_ECX,
                            .no_auto = 1u << 22 /* topoext */},
    [FEAT_8000_0007_EDX] = {.leaf = 0x80000007,
                            .reg = CPUID_EDX,
                            .unmigratable = 1u << 8 /* invtsc */},
    [FEAT_8000_0008_EBX] = {.leaf = 0x80000008, .reg = CPUID_EBX},
    [FEAT_C000_0001_EDX] = {.leaf = 0xc0000001, .reg = CPUID_EDX},
    [FEAT_KVM] = {.leaf = 0x40000001, .reg = CPUID_EAX},
    [FEAT_KVM_HINTS] = {.leaf = 0x40000001, .reg = CPUID_EDX, .no_auto = UINT64_MAX},
    [FEAT_SVM] = {.leaf = 0x8000000a, .reg = CPUID_EDX},
    [FEAT_XSAVE] = {.leaf = 0xd, .subleaf = 1, .reg = CPUID_EAX, .has_subleaf = true},
    [FEAT_6_EAX] = {.leaf = 6, .reg = CPUID_EAX},
    [FEAT_XSAVE_XCR0_LO] = {.leaf = 0xd, .reg = CPUID_EAX, .has_subleaf = true},
    [FEAT_XSAVE_XCR0_HI] = {.leaf = 0xd, .reg = CPUID_EDX, .has_subleaf = true},
    [FEAT_XSAVE_XSS_LO] = {.leaf = 0xd, .subleaf = 1, .reg = CPUID_ECX, .has_subleaf = true},
    [FEAT_XSAVE_XSS_HI] = {.leaf = 0xd, .subleaf = 1, .reg = CPUID_EDX, .has_subleaf = true},
    [FEAT_14_0_ECX] = {.leaf = 0x14, .reg = CPUID_ECX, .has_subleaf = true},
    [FEAT_SGX_12_0_EAX] = {.leaf = 0x12, .reg = CPUID_EAX, .has_subleaf = true},
    [FEAT_SGX_12_0_EBX] = {.leaf = 0x12, .reg = CPUID_EBX, .has_subleaf = true},
    [FEAT_SGX_12_1_EAX] = {.leaf = 0x12, .subleaf = 1, .reg = CPUID_EAX, .has_subleaf = true},
    [FEAT_ARCH_CAPABILITIES] = {.msr = 0x10a},
    [FEAT_CORE_CAPABILITY] = {.msr = 0xcf},
    [FEAT_PERF_CAPABILITIES] = {.msr = 0x345},
    [FEAT_VMX_BASIC] = {.msr = 0x480},
    [FEAT_VMX_MISC] = {.msr = 0x485},
    [FEAT_VMX_SECONDARY] = {.msr = 0x48b},
    [FEAT_VMX_EPT_VPID] = {.msr = 0x48c},
    [FEAT_VMX_PIN] = {.msr = 0x48d},
    [FEAT_VMX_PROC] = {.msr = 0x48e},
    [FEAT_VMX_EXIT] = {.msr = 0x48f},
    [FEAT_VMX_ENTRY] = {.msr = 0x490},
    [FEAT_VMX_VMFUNC] = {.msr = 0x491},
};

/* ---- the kind: .min is the mask in the word, .max is 1 for another spelling of a name -------- */

static FeatureWord property_word(const Property *prop)
{
    return (FeatureWord)((prop->offset - offsetof(Cpu, features)) / sizeof(uint64_t));
}

static bool set_feature(Object *obj, const Property *prop, void *field, const char *text,
                        GError **err)
{
    bool on;

    if (!prop_kind_bool.set(obj, prop, &on, text, err)) {
        return false;
    }
    Cpu *cpu = (Cpu *)(void *)obj;
    uint64_t *word = field;
    *word = on ? *word | prop->min : *word & ~prop->min;
    cpu->user_set[property_word(prop)] |= prop->min;
    return true;
}

static json_object *get_feature(Object *obj, const Property *prop, const void *field)
{
    const uint64_t *word = field;

    return json_object_new_boolean((*word & prop->min) == prop->min);
}

const PropKind prop_kind_cpu_feature = {"bool", json_type_boolean, set_feature, get_feature, NULL,
                                        NULL};

/* ---- the table ------------------------------------------------------------------------------- */

#define FEATURE_MASK(word, first, bits, feature_name_)                                             \
    {                                                                                              \
        .name = (feature_name_), .kind = &prop_kind_cpu_feature,                                   \
        .offset = offsetof(Cpu, features[FEAT_##word]), .bit = (first), .min = (bits)              \
    }
#define FEATURE(word, n, feature_name_) FEATURE_MASK(word, n, UINT64_C(1) << (n), feature_name_)
#define ALIAS(word, n, feature_name_)                                                              \
    {                                                                                              \
        .name = (feature_name_), .kind = &prop_kind_cpu_feature,                                   \
        .offset = offsetof(Cpu, features[FEAT_##word]), .bit = (n), .min = UINT64_C(1) << (n),     \
        .max = 1                                                                                   \
    }

#define HYPERV(prop_name, feature) PROP_BIT64(prop_name, Cpu, hyperv, .bit = HV_##feature)

const Property x86_cpu_props[] = {
    FEATURE(1_EDX, 0, "fpu"),
    FEATURE(1_EDX, 1, "vme"),
    FEATURE(1_EDX, 2, "de"),
    FEATURE(1_EDX, 3, "pse"),
    FEATURE(1_EDX, 4, "tsc"),
    FEATURE(1_EDX, 5, "msr"),
    FEATURE(1_EDX, 6, "pae"),
    FEATURE(1_EDX, 7, "mce"),
    FEATURE(1_EDX, 8, "cx8"),
    FEATURE(1_EDX, 9, "apic"),
    FEATURE(1_EDX, 11, "sep"),
    FEATURE(1_EDX, 12, "mtrr"),
    FEATURE(1_EDX, 13, "pge"),
    FEATURE(1_EDX, 14, "mca"),
    FEATURE(1_EDX, 15, "cmov"),
    FEATURE(1_EDX, 16, "pat"),
    FEATURE(1_EDX, 17, "pse36"),
    FEATURE(1_EDX, 18, "pn"),
    FEATURE(1_EDX, 19, "clflush"),
    FEATURE(1_EDX, 21, "ds"),
    FEATURE(1_EDX, 22, "acpi"),
    FEATURE(1_EDX, 23, "mmx"),
    FEATURE(1_EDX, 24, "fxsr"),
    FEATURE(1_EDX, 25, "sse"),
    FEATURE(1_EDX, 26, "sse2"),
    FEATURE(1_EDX, 27, "ss"),
    FEATURE(1_EDX, 28, "ht"),
    FEATURE(1_EDX, 29, "tm"),
    FEATURE(1_EDX, 30, "ia64"),
    FEATURE(1_EDX, 31, "pbe"),

    FEATURE(1_ECX, 0, "pni"),
    ALIAS(1_ECX, 0, "sse3"),
    FEATURE(1_ECX, 1, "pclmulqdq"),
    ALIAS(1_ECX, 1, "pclmuldq"),
    FEATURE(1_ECX, 2, "dtes64"),
    FEATURE(1_ECX, 3, "monitor"),
    FEATURE(1_ECX, 4, "ds-cpl"),
    ALIAS(1_ECX, 4, "ds_cpl"),
    FEATURE(1_ECX, 5, "vmx"),
    FEATURE(1_ECX, 6, "smx"),
    FEATURE(1_ECX, 7, "est"),
    FEATURE(1_ECX, 8, "tm2"),
    FEATURE(1_ECX, 9, "ssse3"),
    FEATURE(1_ECX, 10, "cid"),
    FEATURE(1_ECX, 12, "fma"),
    FEATURE(1_ECX, 13, "cx16"),
    FEATURE(1_ECX, 14, "xtpr"),
    FEATURE(1_ECX, 15, "pdcm"),
    FEATURE(1_ECX, 17, "pcid"),
    FEATURE(1_ECX, 18, "dca"),
    FEATURE(1_ECX, 19, "sse4.1"),
    ALIAS(1_ECX, 19, "sse4-1"),
    ALIAS(1_ECX, 19, "sse4_1"),
    FEATURE(1_ECX, 20, "sse4.2"),
    ALIAS(1_ECX, 20, "sse4-2"),
    ALIAS(1_ECX, 20, "sse4_2"),
    FEATURE(1_ECX, 21, "x2apic"),
    FEATURE(1_ECX, 22, "movbe"),
    FEATURE(1_ECX, 23, "popcnt"),
    FEATURE(1_ECX, 24, "tsc-deadline"),
    FEATURE(1_ECX, 25, "aes"),
    FEATURE(1_ECX, 26, "xsave"),
    FEATURE(1_ECX, 28, "avx"),
    FEATURE(1_ECX, 29, "f16c"),
    FEATURE(1_ECX, 30, "rdrand"),
    FEATURE(1_ECX, 31, "hypervisor"),

    FEATURE(6_EAX, 2, "arat"),

    FEATURE(7_0_EBX, 0, "fsgsbase"),
    FEATURE(7_0_EBX, 1, "tsc-adjust"),
    ALIAS(7_0_EBX, 1, "tsc_adjust"),
    FEATURE(7_0_EBX, 2, "sgx"),
    FEATURE(7_0_EBX, 3, "bmi1"),
    FEATURE(7_0_EBX, 4, "hle"),
    FEATURE(7_0_EBX, 5, "avx2"),
    FEATURE(7_0_EBX, 7, "smep"),
    FEATURE(7_0_EBX, 8, "bmi2"),
    FEATURE(7_0_EBX, 9, "erms"),
    FEATURE(7_0_EBX, 10, "invpcid"),
    FEATURE(7_0_EBX, 11, "rtm"),
    FEATURE(7_0_EBX, 14, "mpx"),
    FEATURE(7_0_EBX, 16, "avx512f"),
    FEATURE(7_0_EBX, 17, "avx512dq"),
    FEATURE(7_0_EBX, 18, "rdseed"),
    FEATURE(7_0_EBX, 19, "adx"),
    FEATURE(7_0_EBX, 20, "smap"),
    FEATURE(7_0_EBX, 21, "avx512ifma"),
    FEATURE(7_0_EBX, 22, "pcommit"),
    FEATURE(7_0_EBX, 23, "clflushopt"),
    FEATURE(7_0_EBX, 24, "clwb"),
    FEATURE(7_0_EBX, 25, "intel-pt"),
    FEATURE(7_0_EBX, 26, "avx512pf"),
    FEATURE(7_0_EBX, 27, "avx512er"),
    FEATURE(7_0_EBX, 28, "avx512cd"),
    FEATURE(7_0_EBX, 29, "sha-ni"),
    FEATURE(7_0_EBX, 30, "avx512bw"),
    FEATURE(7_0_EBX, 31, "avx512vl"),

    FEATURE(7_0_ECX, 1, "avx512vbmi"),
    FEATURE(7_0_ECX, 2, "umip"),
    FEATURE(7_0_ECX, 3, "pku"),
    FEATURE(7_0_ECX, 5, "waitpkg"),
    FEATURE(7_0_ECX, 6, "avx512vbmi2"),
    FEATURE(7_0_ECX, 8, "gfni"),
    FEATURE(7_0_ECX, 9, "vaes"),
    FEATURE(7_0_ECX, 10, "vpclmulqdq"),
    FEATURE(7_0_ECX, 11, "avx512vnni"),
    FEATURE(7_0_ECX, 12, "avx512bitalg"),
    FEATURE(7_0_ECX, 14, "avx512-vpopcntdq"),
    FEATURE(7_0_ECX, 16, "la57"),
    FEATURE(7_0_ECX, 22, "rdpid"),
    FEATURE(7_0_ECX, 24, "bus-lock-detect"),
    FEATURE(7_0_ECX, 25, "cldemote"),
    FEATURE(7_0_ECX, 27, "movdiri"),
    FEATURE(7_0_ECX, 28, "movdir64b"),
    FEATURE(7_0_ECX, 30, "sgxlc"),
    FEATURE(7_0_ECX, 31, "pks"),

    FEATURE(7_0_EDX, 2, "avx512-4vnniw"),
    FEATURE(7_0_EDX, 3, "avx512-4fmaps"),
    FEATURE(7_0_EDX, 4, "fsrm"),
    FEATURE(7_0_EDX, 8, "avx512-vp2intersect"),
    FEATURE(7_0_EDX, 10, "md-clear"),
    FEATURE(7_0_EDX, 14, "serialize"),
    FEATURE(7_0_EDX, 16, "tsx-ldtrk"),
    FEATURE(7_0_EDX, 19, "arch-lbr"),
    FEATURE(7_0_EDX, 22, "amx-bf16"),
    FEATURE(7_0_EDX, 23, "avx512-fp16"),
    FEATURE(7_0_EDX, 24, "amx-tile"),
    FEATURE(7_0_EDX, 25, "amx-int8"),
    FEATURE(7_0_EDX, 26, "spec-ctrl"),
    FEATURE(7_0_EDX, 27, "stibp"),
    FEATURE(7_0_EDX, 29, "arch-capabilities"),
    FEATURE(7_0_EDX, 30, "core-capability"),
    FEATURE(7_0_EDX, 31, "ssbd"),

    FEATURE(7_1_EAX, 4, "avx-vnni"),
    FEATURE(7_1_EAX, 5, "avx512-bf16"),

    FEATURE(XSAVE, 0, "xsaveopt"),
    FEATURE(XSAVE, 1, "xsavec"),
    FEATURE(XSAVE, 2, "xgetbv1"),
    FEATURE(XSAVE, 3, "xsaves"),
    FEATURE(XSAVE, 4, "xfd"),

    FEATURE(14_0_ECX, 31, "intel-pt-lip"),

    FEATURE(SGX_12_0_EAX, 0, "sgx1"),
    FEATURE(SGX_12_0_EAX, 1, "sgx2"),

    FEATURE(SGX_12_0_EBX, 0, "sgx-exinfo"),

    FEATURE(SGX_12_1_EAX, 1, "sgx-debug"),
    FEATURE(SGX_12_1_EAX, 2, "sgx-mode64"),
    FEATURE(SGX_12_1_EAX, 4, "sgx-provisionkey"),
    FEATURE(SGX_12_1_EAX, 5, "sgx-tokenkey"),
    FEATURE(SGX_12_1_EAX, 7, "sgx-kss"),

    FEATURE(8000_0001_EDX, 11, "syscall"),
    FEATURE(8000_0001_EDX, 20, "nx"),
    ALIAS(8000_0001_EDX, 20, "xd"),
    FEATURE(8000_0001_EDX, 22, "mmxext"),
    FEATURE(8000_0001_EDX, 25, "fxsr-opt"),
    ALIAS(8000_0001_EDX, 25, "ffxsr"),
    ALIAS(8000_0001_EDX, 25, "fxsr_opt"),
    FEATURE(8000_0001_EDX, 26, "pdpe1gb"),
    FEATURE(8000_0001_EDX, 27, "rdtscp"),
    FEATURE(8000_0001_EDX, 29, "lm"),
    ALIAS(8000_0001_EDX, 29, "i64"),
    FEATURE(8000_0001_EDX, 30, "3dnowext"),
    FEATURE(8000_0001_EDX, 31, "3dnow"),

    FEATURE(8000_0001_ECX, 0, "lahf-lm"),
    ALIAS(8000_0001_ECX, 0, "lahf_lm"),
    FEATURE(8000_0001_ECX, 1, "cmp-legacy"),
    ALIAS(8000_0001_ECX, 1, "cmp_legacy"),
    FEATURE(8000_0001_ECX, 2, "svm"),
    FEATURE(8000_0001_ECX, 3, "extapic"),
    FEATURE(8000_0001_ECX, 4, "cr8legacy"),
    FEATURE(8000_0001_ECX, 5, "abm"),
    FEATURE(8000_0001_ECX, 6, "sse4a"),
    FEATURE(8000_0001_ECX, 7, "misalignsse"),
    FEATURE(8000_0001_ECX, 8, "3dnowprefetch"),
    FEATURE(8000_0001_ECX, 9, "osvw"),
    FEATURE(8000_0001_ECX, 10, "ibs"),
    FEATURE(8000_0001_ECX, 11, "xop"),
    FEATURE(8000_0001_ECX, 12, "skinit"),
    FEATURE(8000_0001_ECX, 13, "wdt"),
    FEATURE(8000_0001_ECX, 15, "lwp"),
    FEATURE(8000_0001_ECX, 16, "fma4"),
    FEATURE(8000_0001_ECX, 17, "tce"),
    FEATURE(8000_0001_ECX, 19, "nodeid-msr"),
    ALIAS(8000_0001_ECX, 19, "nodeid_msr"),
    FEATURE(8000_0001_ECX, 21, "tbm"),
    FEATURE(8000_0001_ECX, 22, "topoext"),
    FEATURE(8000_0001_ECX, 23, "perfctr-core"),
    ALIAS(8000_0001_ECX, 23, "perfctr_core"),
    FEATURE(8000_0001_ECX, 24, "perfctr-nb"),
    ALIAS(8000_0001_ECX, 24, "perfctr_nb"),

    FEATURE(8000_0007_EDX, 8, "invtsc"),

    FEATURE(8000_0008_EBX, 0, "clzero"),
    FEATURE(8000_0008_EBX, 2, "xsaveerptr"),
    FEATURE(8000_0008_EBX, 9, "wbnoinvd"),
    FEATURE(8000_0008_EBX, 12, "ibpb"),
    FEATURE(8000_0008_EBX, 14, "ibrs"),
    FEATURE(8000_0008_EBX, 15, "amd-stibp"),
    FEATURE(8000_0008_EBX, 24, "amd-ssbd"),
    FEATURE(8000_0008_EBX, 25, "virt-ssbd"),
    FEATURE(8000_0008_EBX, 26, "amd-no-ssb"),

    FEATURE(SVM, 0, "npt"),
    FEATURE(SVM, 1, "lbrv"),
    FEATURE(SVM, 2, "svm-lock"),
    ALIAS(SVM, 2, "svm_lock"),
    FEATURE(SVM, 3, "nrip-save"),
    ALIAS(SVM, 3, "nrip_save"),
    FEATURE(SVM, 4, "tsc-scale"),
    ALIAS(SVM, 4, "tsc_scale"),
    FEATURE(SVM, 5, "vmcb-clean"),
    ALIAS(SVM, 5, "vmcb_clean"),
    FEATURE(SVM, 6, "flushbyasid"),
    FEATURE(SVM, 7, "decodeassists"),
    FEATURE(SVM, 10, "pause-filter"),
    ALIAS(SVM, 10, "pause_filter"),
    FEATURE(SVM, 12, "pfthreshold"),
    FEATURE(SVM, 13, "avic"),
    FEATURE(SVM, 15, "v-vmsave-vmload"),
    FEATURE(SVM, 16, "vgif"),
    FEATURE(SVM, 28, "svme-addr-chk"),

    FEATURE(C000_0001_EDX, 2, "xstore"),
    FEATURE(C000_0001_EDX, 3, "xstore-en"),
    FEATURE(C000_0001_EDX, 6, "xcrypt"),
    FEATURE(C000_0001_EDX, 7, "xcrypt-en"),
    FEATURE(C000_0001_EDX, 8, "ace2"),
    FEATURE(C000_0001_EDX, 9, "ace2-en"),
    FEATURE(C000_0001_EDX, 10, "phe"),
    FEATURE(C000_0001_EDX, 11, "phe-en"),
    FEATURE(C000_0001_EDX, 12, "pmm"),
    FEATURE(C000_0001_EDX, 13, "pmm-en"),

    FEATURE_MASK(KVM, 0, 0x9, "kvmclock"),
    FEATURE(KVM, 1, "kvm-nopiodelay"),
    ALIAS(KVM, 1, "kvm_nopiodelay"),
    FEATURE(KVM, 2, "kvm-mmu"),
    ALIAS(KVM, 2, "kvm_mmu"),
    FEATURE(KVM, 4, "kvm-asyncpf"),
    ALIAS(KVM, 4, "kvm_asyncpf"),
    FEATURE(KVM, 5, "kvm-steal-time"),
    ALIAS(KVM, 5, "kvm_steal_time"),
    FEATURE(KVM, 6, "kvm-pv-eoi"),
    ALIAS(KVM, 6, "kvm_pv_eoi"),
    FEATURE(KVM, 7, "kvm-pv-unhalt"),
    ALIAS(KVM, 7, "kvm_pv_unhalt"),
    FEATURE(KVM, 9, "kvm-pv-tlb-flush"),
    FEATURE(KVM, 11, "kvm-pv-ipi"),
    FEATURE(KVM, 12, "kvm-poll-control"),
    ALIAS(KVM, 12, "kvm_poll_control"),
    FEATURE(KVM, 13, "kvm-pv-sched-yield"),
    FEATURE(KVM, 14, "kvm-asyncpf-int"),
    ALIAS(KVM, 14, "kvm_asyncpf_int"),
    FEATURE(KVM, 15, "kvm-msi-ext-dest-id"),
    FEATURE(KVM, 24, "kvmclock-stable-bit"),

    FEATURE(KVM_HINTS, 0, "kvm-hint-dedicated"),

    FEATURE(ARCH_CAPABILITIES, 0, "rdctl-no"),
    FEATURE(ARCH_CAPABILITIES, 1, "ibrs-all"),
    FEATURE(ARCH_CAPABILITIES, 2, "rsba"),
    FEATURE(ARCH_CAPABILITIES, 3, "skip-l1dfl-vmentry"),
    FEATURE(ARCH_CAPABILITIES, 4, "ssb-no"),
    FEATURE(ARCH_CAPABILITIES, 5, "mds-no"),
    FEATURE(ARCH_CAPABILITIES, 6, "pschange-mc-no"),
    FEATURE(ARCH_CAPABILITIES, 7, "tsx-ctrl"),
    FEATURE(ARCH_CAPABILITIES, 8, "taa-no"),

    FEATURE(CORE_CAPABILITY, 5, "split-lock-detect"),

    FEATURE(PERF_CAPABILITIES, 13, "full-width-write"),

    FEATURE(VMX_BASIC, 54, "vmx-ins-outs"),
    FEATURE(VMX_BASIC, 55, "vmx-true-ctls"),

    FEATURE(VMX_MISC, 5, "vmx-store-lma"),
    FEATURE(VMX_MISC, 6, "vmx-activity-hlt"),
    FEATURE(VMX_MISC, 7, "vmx-activity-shutdown"),
    FEATURE(VMX_MISC, 8, "vmx-activity-wait-sipi"),
    FEATURE(VMX_MISC, 29, "vmx-vmwrite-vmexit-fields"),
    FEATURE(VMX_MISC, 30, "vmx-zero-len-inject"),

    FEATURE(VMX_SECONDARY, 0, "vmx-apicv-xapic"),
    FEATURE(VMX_SECONDARY, 1, "vmx-ept"),
    FEATURE(VMX_SECONDARY, 2, "vmx-desc-exit"),
    FEATURE(VMX_SECONDARY, 3, "vmx-rdtscp-exit"),
    FEATURE(VMX_SECONDARY, 4, "vmx-apicv-x2apic"),
    FEATURE(VMX_SECONDARY, 5, "vmx-vpid"),
    FEATURE(VMX_SECONDARY, 6, "vmx-wbinvd-exit"),
    FEATURE(VMX_SECONDARY, 7, "vmx-unrestricted-guest"),
    FEATURE(VMX_SECONDARY, 8, "vmx-apicv-register"),
    FEATURE(VMX_SECONDARY, 9, "vmx-apicv-vid"),
    FEATURE(VMX_SECONDARY, 10, "vmx-ple"),
    FEATURE(VMX_SECONDARY, 11, "vmx-rdrand-exit"),
    FEATURE(VMX_SECONDARY, 12, "vmx-invpcid-exit"),
    FEATURE(VMX_SECONDARY, 13, "vmx-vmfunc"),
    FEATURE(VMX_SECONDARY, 14, "vmx-shadow-vmcs"),
    FEATURE(VMX_SECONDARY, 15, "vmx-encls-exit"),
    FEATURE(VMX_SECONDARY, 16, "vmx-rdseed-exit"),
    FEATURE(VMX_SECONDARY, 17, "vmx-pml"),
    FEATURE(VMX_SECONDARY, 20, "vmx-xsaves"),
    FEATURE(VMX_SECONDARY, 25, "vmx-tsc-scaling"),

    FEATURE(VMX_EPT_VPID, 0, "vmx-ept-execonly"),
    FEATURE(VMX_EPT_VPID, 6, "vmx-page-walk-4"),
    FEATURE(VMX_EPT_VPID, 7, "vmx-page-walk-5"),
    FEATURE(VMX_EPT_VPID, 16, "vmx-ept-2mb"),
    FEATURE(VMX_EPT_VPID, 17, "vmx-ept-1gb"),
    FEATURE(VMX_EPT_VPID, 20, "vmx-invept"),
    FEATURE(VMX_EPT_VPID, 21, "vmx-eptad"),
    FEATURE(VMX_EPT_VPID, 22, "vmx-ept-advanced-exitinfo"),
    FEATURE_MASK(VMX_EPT_VPID, 25, UINT64_C(1) << 25 | UINT64_C(1) << 41,
                 "vmx-invept-single-context"), /* bit 41 is INVVPID's, so named in QEMU */
    FEATURE(VMX_EPT_VPID, 26, "vmx-invept-all-context"),
    FEATURE(VMX_EPT_VPID, 32, "vmx-invvpid"),
    FEATURE(VMX_EPT_VPID, 40, "vmx-invvpid-single-addr"),
    FEATURE(VMX_EPT_VPID, 42, "vmx-invvpid-all-context"),
    FEATURE(VMX_EPT_VPID, 43, "vmx-invept-single-context-noglobals"),

    FEATURE(VMX_PIN, 0, "vmx-intr-exit"),
    FEATURE(VMX_PIN, 3, "vmx-nmi-exit"),
    FEATURE(VMX_PIN, 5, "vmx-vnmi"),
    FEATURE(VMX_PIN, 6, "vmx-preemption-timer"),
    FEATURE(VMX_PIN, 7, "vmx-posted-intr"),

    FEATURE(VMX_PROC, 2, "vmx-vintr-pending"),
    FEATURE(VMX_PROC, 3, "vmx-tsc-offset"),
    FEATURE(VMX_PROC, 7, "vmx-hlt-exit"),
    FEATURE(VMX_PROC, 9, "vmx-invlpg-exit"),
    FEATURE(VMX_PROC, 10, "vmx-mwait-exit"),
    FEATURE(VMX_PROC, 11, "vmx-rdpmc-exit"),
    FEATURE(VMX_PROC, 12, "vmx-rdtsc-exit"),
    FEATURE(VMX_PROC, 15, "vmx-cr3-load-noexit"),
    FEATURE(VMX_PROC, 16, "vmx-cr3-store-noexit"),
    FEATURE(VMX_PROC, 19, "vmx-cr8-load-exit"),
    FEATURE(VMX_PROC, 20, "vmx-cr8-store-exit"),
    FEATURE(VMX_PROC, 21, "vmx-flexpriority"),
    FEATURE(VMX_PROC, 22, "vmx-vnmi-pending"),
    FEATURE(VMX_PROC, 23, "vmx-movdr-exit"),
    FEATURE(VMX_PROC, 24, "vmx-io-exit"),
    FEATURE(VMX_PROC, 25, "vmx-io-bitmap"),
    FEATURE(VMX_PROC, 27, "vmx-mtf"),
    FEATURE(VMX_PROC, 28, "vmx-msr-bitmap"),
    FEATURE(VMX_PROC, 29, "vmx-monitor-exit"),
    FEATURE(VMX_PROC, 30, "vmx-pause-exit"),
    FEATURE(VMX_PROC, 31, "vmx-secondary-ctls"),

    FEATURE(VMX_EXIT, 2, "vmx-exit-nosave-debugctl"),
    FEATURE(VMX_EXIT, 12, "vmx-exit-load-perf-global-ctrl"),
    FEATURE(VMX_EXIT, 15, "vmx-exit-ack-intr"),
    FEATURE(VMX_EXIT, 18, "vmx-exit-save-pat"),
    FEATURE(VMX_EXIT, 19, "vmx-exit-load-pat"),
    FEATURE(VMX_EXIT, 20, "vmx-exit-save-efer"),
    FEATURE(VMX_EXIT, 21, "vmx-exit-load-efer"),
    FEATURE(VMX_EXIT, 22, "vmx-exit-save-preemption-timer"),
    FEATURE(VMX_EXIT, 23, "vmx-exit-clear-bndcfgs"),
    FEATURE(VMX_EXIT, 25, "vmx-exit-clear-rtit-ctl"),
    FEATURE(VMX_EXIT, 29, "vmx-exit-load-pkrs"),

    FEATURE(VMX_ENTRY, 2, "vmx-entry-noload-debugctl"),
    FEATURE(VMX_ENTRY, 9, "vmx-entry-ia32e-mode"),
    FEATURE(VMX_ENTRY, 13, "vmx-entry-load-perf-global-ctrl"),
    FEATURE(VMX_ENTRY, 14, "vmx-entry-load-pat"),
    FEATURE(VMX_ENTRY, 15, "vmx-entry-load-efer"),
    FEATURE(VMX_ENTRY, 16, "vmx-entry-load-bndcfgs"),
    FEATURE(VMX_ENTRY, 18, "vmx-entry-load-rtit-ctl"),
    FEATURE(VMX_ENTRY, 22, "vmx-entry-load-pkrs"),

    FEATURE(VMX_VMFUNC, 0, "vmx-eptp-switching"),

    /* what is no feature bit */
    PROP_U32("apic-id", Cpu, apic_id, .def = UINT32_MAX, .help = "local APIC id"),
    PROP_I32("node-id", Cpu, node_id, .def = (uint64_t)-1, .min = (uint64_t)-1, .max = INT32_MAX,
             .help = "NUMA node"),
    PROP_I32("socket-id", Cpu, socket_id, .def = (uint64_t)-1, .min = (uint64_t)-1,
             .max = INT32_MAX),
    PROP_I32("die-id", Cpu, die_id, .def = (uint64_t)-1, .min = (uint64_t)-1, .max = INT32_MAX),
    PROP_I32("core-id", Cpu, core_id, .def = (uint64_t)-1, .min = (uint64_t)-1, .max = INT32_MAX),
    PROP_I32("thread-id", Cpu, thread_id, .def = (uint64_t)-1, .min = (uint64_t)-1,
             .max = INT32_MAX),
    PROP_U32("level", Cpu, level, .def = UINT32_MAX, .help = "highest basic CPUID leaf"),
    PROP_U32("xlevel", Cpu, xlevel, .def = UINT32_MAX, .help = "highest extended CPUID leaf"),
    PROP_U32("xlevel2", Cpu, xlevel2, .def = UINT32_MAX, .help = "highest Centaur CPUID leaf"),
    PROP_U32("level-func7", Cpu, level_func7, .def = UINT32_MAX,
             .help = "highest subleaf of CPUID leaf 7"),
    PROP_U32("min-level", Cpu, min_level),
    PROP_U32("min-xlevel", Cpu, min_xlevel),
    PROP_U32("min-xlevel2", Cpu, min_xlevel2),
    PROP_STRING("vendor", Cpu, vendor, .help = "12 characters; default: the host's"),
    PROP_STRING("model-id", Cpu, model_id, .help = "processor's name, up to 48 characters"),
    PROP_U32("family", Cpu, family, .max = 0xff + 0xf),
    PROP_U32("model", Cpu, model, .max = 0xff),
    PROP_U32("stepping", Cpu, stepping, .max = 0xf),
    PROP_U32("phys-bits", Cpu, phys_bits, .max = 52,
             .help = "physical address bits; 0: 40, or 36 or 32 without long mode"),
    PROP_BOOL("host-phys-bits", Cpu, host_phys_bits, .help = "physical address bits of the host"),
    PROP_U8("host-phys-bits-limit", Cpu, host_phys_bits_limit, .max = 52,
            .help = "upper limit for host-phys-bits; 0: none"),
    PROP_BOOL("fill-mtrr-mask", Cpu, fill_mtrr_mask, .def = true,
              .help = "MTRR masks on the wire as QEMU's"),
    PROP_BOOL("l3-cache", Cpu, l3_cache, .def = true, .help = "show an L3 cache"),
    PROP_BOOL("legacy-cache", Cpu, legacy_cache, .def = true,
              .help = "cache figures of QEMU 2.12 and before"),
    PROP_BOOL("kvm", Cpu, expose_kvm, .def = true, .help = "show KVM's own CPUID leaves"),
    PROP_BOOL("check", Cpu, check, .def = true, .help = "warn of features that the host lacks"),
    PROP_BOOL("enforce", Cpu, enforce, .help = "refuse to start when the host lacks a feature"),
    PROP_BOOL("pmu", Cpu, pmu, .help = "performance counters of the host"),
    PROP_BOOL("cpuid-0xb", Cpu, cpuid_0xb, .def = true, .help = "topology leaf 0Bh"),
    PROP_BOOL("full-cpuid-auto-level", Cpu, full_cpuid_auto_level, .def = true,
              .help = "raise level as features need"),
    PROP_BOOL("vmware-cpuid-freq", Cpu, vmware_cpuid_freq, .def = true,
              .help = "leaf 40000010h with a known TSC"),
    PROP_BOOL("kvm-pv-enforce-cpuid", Cpu, kvm_pv_enforce_cpuid,
              .help = "KVM's features only when their bits show"),
    PROP_BOOL("lmce", Cpu, lmce, .help = "local machine check exceptions"),
    HYPERV("hv-relaxed", RELAXED),
    HYPERV("hv-vapic", VAPIC),
    HYPERV("hv-time", TIME),
    HYPERV("hv-crash", CRASH),
    HYPERV("hv-reset", RESET),
    HYPERV("hv-vpindex", VPINDEX),
    HYPERV("hv-runtime", RUNTIME),
    HYPERV("hv-synic", SYNIC),
    HYPERV("hv-stimer", STIMER),
    HYPERV("hv-frequencies", FREQUENCIES),
    HYPERV("hv-reenlightenment", REENLIGHTENMENT),
    HYPERV("hv-tlbflush", TLBFLUSH),
    HYPERV("hv-evmcs", EVMCS),
    HYPERV("hv-ipi", IPI),
    HYPERV("hv-stimer-direct", STIMER_DIRECT),
    HYPERV("hv-avic", AVIC),
    HYPERV("hv-apicv", AVIC),
    HYPERV("hv-xmm-input", XMM_INPUT),
    HYPERV("hv-tlbflush-ext", TLBFLUSH_EXT),
    HYPERV("hv-tlbflush-direct", TLBFLUSH_DIRECT),
    HYPERV("hv-emsr-bitmap", EMSR_BITMAP),
    PROP_BOOL("hv-passthrough", Cpu, hv_passthrough,
              .help = "all Hyper-V enlightenments of the host's KVM"),
    PROP_BOOL("hv-enforce-cpuid", Cpu, hv_enforce_cpuid,
              .help = "only the enlightenments that CPUID shows work"),
    PROP_ON_OFF_AUTO("hv-no-nonarch-coresharing", Cpu, hv_no_nonarch_coresharing,
                     .def = ON_OFF_AUTO_OFF, .help = "siblings never share a core with others"),
    PROP_U32("hv-spinlocks", Cpu, hv_spinlocks, .def = HYPERV_SPINLOCKS_NEVER,
             .help = "tries before a waiting guest calls; FFFFFFFFh: never"),
    PROP_STRING("hv-vendor-id", Cpu, hv_vendor_id,
                .help = "up to 12 characters; default: Microsoft Hv"),
    PROP_U32("hv-version-id-build", Cpu, hv_version_build, .def = 14393),
    PROP_U16("hv-version-id-major", Cpu, hv_version_major, .def = 10),
    PROP_U16("hv-version-id-minor", Cpu, hv_version_minor),
    PROP_U32("hv-version-id-spack", Cpu, hv_version_spack),
    PROP_U8("hv-version-id-sbranch", Cpu, hv_version_sbranch),
    PROP_U32("hv-version-id-snumber", Cpu, hv_version_snumber),
    PROP_U64("tsc-frequency", Cpu, tsc_frequency, .max = INT64_MAX, .help = "Hz; 0: the host's"),
    PROP_U64("ucode-rev", Cpu, ucode_rev,
             .help = "microcode revision; 0: the host's or a usual one"),
    PROP_ANY("unavailable-features", &prop_kind_cpu_unavailable, Cpu, missing, .read_only = true,
             .help = "features asked for that the host does not have"),
    {}};

/* ---- looking up ------------------------------------------------------------------------------ */

static bool is_feature(const Property *prop) { return prop->kind == &prop_kind_cpu_feature; }

const char *feature_name(FeatureWord word, unsigned bit)
{
    for (const Property *p = x86_cpu_props; p->name; p++) {
        if (is_feature(p) && !p->max && property_word(p) == word && p->min >> bit & 1) {
            return p->name;
        }
    }
    return NULL;
}

bool feature_find(const char *name, FeatureWord *word, unsigned *bit)
{
    for (const Property *p = x86_cpu_props; p->name; p++) {
        if (is_feature(p) && !strcmp(p->name, name)) {
            *word = property_word(p);
            *bit = p->bit;
            return true;
        }
    }
    return false;
}

uint64_t feature_mask(const char *name, size_t len, FeatureWord *word)
{
    for (const Property *p = x86_cpu_props; p->name; p++) {
        if (*p->name == *name && is_feature(p) && !strncmp(p->name, name, len) && !p->name[len]) {
            *word = property_word(p);
            return p->min;
        }
    }
    return 0;
}

uint64_t feature_named(FeatureWord word)
{
    uint64_t bits = 0;

    for (const Property *p = x86_cpu_props; p->name; p++) {
        if (is_feature(p) && property_word(p) == word) {
            bits |= p->min;
        }
    }
    return bits;
}

char *feature_describe(FeatureWord word, unsigned bit)
{
    static const char *const registers[] = {"EAX", "EBX", "ECX", "EDX"};
    const FeatureWordInfo *info = &feature_words[word];
    const char *name = feature_name(word, bit);

    if (info->msr) {
        return g_strdup_printf("MSR(%02XH)%s%s [bit %u]", info->msr, name ? "." : "",
                               name ? name : "", bit);
    }
    return g_strdup_printf("CPUID.%02XH:%s%s%s [bit %u]", info->leaf, registers[info->reg],
                           name ? "." : "", name ? name : "", bit);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void feature_foreach_name(void (*fn)(const char *name, void *opaque), void *opaque)
{
    const char *names[2 * G_N_ELEMENTS(x86_cpu_props)];
    size_t count = 0;

    for (const Property *p = x86_cpu_props; p->name; p++) {
        /* A name of two bits is listed twice, as QEMU does. */
        for (uint64_t bits = is_feature(p) && !p->max ? p->min : 0; bits; bits &= bits - 1) {
            names[count++] = p->name;
        }
    }
    qsort(names, count, sizeof names[0], compare_names);
    for (size_t i = 0; i < count; i++) {
        fn(names[i], opaque);
    }
}
