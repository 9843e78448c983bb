/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Feature words: CPUID registers and feature MSRs whose bits have names. The names are the
 * properties of the type "x86_64-cpu" (features.c holds the one table of them).
 */
#ifndef ACCEL_X86_FEATURES_H
#define ACCEL_X86_FEATURES_H

#include "core/object.h"

typedef enum FeatureWord {
    FEAT_1_EDX,
    FEAT_1_ECX,
    FEAT_7_0_EBX,
    FEAT_7_0_ECX,
    FEAT_7_0_EDX,
    FEAT_7_1_EAX,
    FEAT_8000_0001_EDX,
    FEAT_8000_0001_ECX,
    FEAT_8000_0007_EDX,
    FEAT_8000_0008_EBX,
    FEAT_C000_0001_EDX,
    FEAT_KVM,       /* 4000_0001 EAX */
    FEAT_KVM_HINTS, /* 4000_0001 EDX */
    FEAT_SVM,       /* 8000_000A EDX */
    FEAT_XSAVE,     /* D.1 EAX */
    FEAT_6_EAX,
    FEAT_XSAVE_XCR0_LO, /* D.0 EAX: no names, follows from the features */
    FEAT_XSAVE_XCR0_HI, /* D.0 EDX */
    FEAT_XSAVE_XSS_LO,  /* D.1 ECX */
    FEAT_XSAVE_XSS_HI,  /* D.1 EDX */
    FEAT_14_0_ECX,
    FEAT_SGX_12_0_EAX,
    FEAT_SGX_12_0_EBX,
    FEAT_SGX_12_1_EAX,
    FEAT_ARCH_CAPABILITIES, /* MSR 10Ah */
    FEAT_CORE_CAPABILITY,   /* MSR CFh */
    FEAT_PERF_CAPABILITIES, /* MSR 345h */
    /* Capabilities of nested VMX (SDM vol. 3, appendix A): controls that a guest hypervisor can
     * choose. */
    FEAT_VMX_BASIC,     /* MSR 480h */
    FEAT_VMX_MISC,      /* MSR 485h */
    FEAT_VMX_SECONDARY, /* MSR 48Bh; this and PIN to ENTRY: bits that may be 1 and need not */
    FEAT_VMX_EPT_VPID,  /* MSR 48Ch */
    FEAT_VMX_PIN,       /* MSR 48Dh */
    FEAT_VMX_PROC,      /* MSR 48Eh */
    FEAT_VMX_EXIT,      /* MSR 48Fh */
    FEAT_VMX_ENTRY,     /* MSR 490h */
    FEAT_VMX_VMFUNC,    /* MSR 491h */
    FEATURE_WORDS
} FeatureWord;

enum { CPUID_EAX, CPUID_EBX, CPUID_ECX, CPUID_EDX };

typedef struct FeatureWordInfo {
    uint32_t leaf, subleaf;
    uint8_t reg; /* CPUID_EAX..; unused when msr is set */
    bool has_subleaf;
    uint32_t msr;          /* 0: CPUID */
    uint64_t no_auto;      /* "max" and "host" do not turn these on by themselves */
    uint64_t unmigratable; /* known names that migratable=on leaves out of "max" and "host" */
} FeatureWordInfo;

extern const FeatureWordInfo feature_words[FEATURE_WORDS];

/* The word is a VMX capability MSR of controls: allowed-1 bits above, allowed-0 bits below. */
static inline bool feature_word_is_vmx_control(FeatureWord word)
{
    return word == FEAT_VMX_SECONDARY || (word >= FEAT_VMX_PIN && word <= FEAT_VMX_ENTRY);
}
static inline bool feature_word_is_vmx(FeatureWord word)
{
    return word >= FEAT_VMX_BASIC && word <= FEAT_VMX_VMFUNC;
}

/* The kind of the properties of "x86_64-cpu" that are feature bits. */
extern const PropKind prop_kind_cpu_feature;
/* The list of what is missing (query.c). */
extern const PropKind prop_kind_cpu_unavailable;
/* All properties of "x86_64-cpu": features first, then level, vendor and the like. */
extern const Property x86_cpu_props[];
/* Name of a bit (never an alias), or NULL when it has none. */
const char *feature_name(FeatureWord word, unsigned bit);
/* The word and (first) bit of a name; false when there is no such feature. */
bool feature_find(const char *name, FeatureWord *word, unsigned *bit);
/* The word and all bits of the feature whose name is the first len bytes; 0: there is none. */
uint64_t feature_mask(const char *name, size_t len, FeatureWord *word);
/* Bits of a word that have names. */
uint64_t feature_named(FeatureWord word);

/* What a user reads for a bit: "CPUID.01H:ECX.pni [bit 0]", "MSR(10AH).rdctl-no [bit 0]". The
 * caller frees. */
char *feature_describe(FeatureWord word, unsigned bit);
/* Calls fn with each name that -cpu help lists (no aliases), sorted. */
void feature_foreach_name(void (*fn)(const char *name, void *opaque), void *opaque);

#endif
