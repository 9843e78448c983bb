/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From a model, -cpu's words and the host to the features of one CPU, when it is realized: "max"
 * and "host" take what the host has; named models get KVM's usual paravirtual features; what the
 * host lacks is reported (check), refused (enforce) and left out; level and xlevel rise as the
 * features need.
 */
#include <cpuid.h>

#include "accel/kvm/kvm_cpuid.h"
#include "accel/x86/cpu_config.h"
#include "accel/x86/hyperv.h"
#include "util/log.h"

static void set_bit_default(Cpu *cpu, FeatureWord word, unsigned bit, bool on)
{
    uint64_t mask = UINT64_C(1) << bit;

    if (!(cpu->user_set[word] & mask)) {
        cpu->features[word] = on ? cpu->features[word] | mask : cpu->features[word] & ~mask;
    }
}

/* kvmclock (both MSR pairs), nopiodelay, asyncpf, steal-time, pv-eoi, kvmclock-stable-bit. */
#define KVM_DEFAULT_FEATURES (1u << 0 | 1u << 1 | 1u << 3 | 1u << 4 | 1u << 5 | 1u << 6 | 1u << 24)

static void apply_kvm_defaults(Cpu *cpu)
{
    for (unsigned bit = 0; bit < 32; bit++) {
        if (KVM_DEFAULT_FEATURES >> bit & 1) {
            set_bit_default(cpu, FEAT_KVM, bit, true);
        }
    }
    set_bit_default(cpu, FEAT_1_ECX, 21, accel_irqchip(cpu->dev.vm) != IRQCHIP_OFF); /* x2apic */
    set_bit_default(cpu, FEAT_1_ECX, 3, false);                                      /* monitor */
    set_bit_default(cpu, FEAT_1_EDX, 22, false);                                     /* acpi */
    set_bit_default(cpu, FEAT_8000_0001_ECX, 2, false);                              /* svm */
}

/* "max" and "host": every bit that -cpu did not name. */
static void take_host_features(Cpu *cpu)
{
    for (FeatureWord word = 0; word < FEATURE_WORDS; word++) {
        uint64_t have = kvm_cpuid_supported_word(cpu->dev.vm, word) & ~feature_words[word].no_auto;

        if (cpu->migratable && word != FEAT_XSAVE_XCR0_LO && word != FEAT_XSAVE_XCR0_HI) {
            have &= feature_named(word) & ~feature_words[word].unmigratable;
        }
        cpu->features[word] =
            (have & ~cpu->user_set[word]) | (cpu->features[word] & cpu->user_set[word]);
    }
}

/* ---- identity -------------------------------------------------------------------------------- */

static void vendor_of(const uint32_t regs[4], char vendor[13])
{
    store32_le(vendor, regs[CPUID_EBX]);
    store32_le(vendor + 4, regs[CPUID_EDX]);
    store32_le(vendor + 8, regs[CPUID_ECX]);
    vendor[12] = 0;
}

static void host_identity(Cpu *cpu)
{
    uint32_t regs[4] = {0};
    char name[49] = "";

    if (__get_cpuid(1, &regs[0], &regs[1], &regs[2], &regs[3])) {
        uint32_t family = regs[0] >> 8 & 0xf;

        cpu->family = cpu->family     ? cpu->family
                      : family == 0xf ? 0xf + (regs[0] >> 20 & 0xff)
                                      : family;
        cpu->model = cpu->model ? cpu->model : (regs[0] >> 4 & 0xf) | (regs[0] >> 12 & 0xf0);
        cpu->stepping = cpu->stepping ? cpu->stepping : regs[0] & 0xf;
    }
    for (uint32_t i = 0; !cpu->model_id && i < 3; i++) {
        if (__get_cpuid(0x80000002 + i, &regs[0], &regs[1], &regs[2], &regs[3])) {
            memcpy(name + 16 * i, regs, 16);
        }
    }
    if (!cpu->model_id) {
        cpu->model_id = g_strdup(name);
    }
    kvm_cpuid_host_leaf(cpu->dev.vm, 0, 0, regs);
    cpu->min_level = MAX(cpu->min_level, regs[CPUID_EAX]);
    kvm_cpuid_host_leaf(cpu->dev.vm, 0x80000000, 0, regs);
    cpu->min_xlevel = MAX(cpu->min_xlevel, regs[CPUID_EAX]);
}

static bool fill_vendor(Cpu *cpu, const CpuModel *model, bool kvm, GError **err)
{
    uint32_t regs[4];

    if (cpu->vendor && strlen(cpu->vendor) != 12) {
        return error_set(err, "Property 'vendor' is '%s': it must have 12 characters", cpu->vendor);
    }
    if (!cpu->vendor && kvm && (model->max || model->vendor)) {
        char vendor[13];

        kvm_cpuid_host_leaf(cpu->dev.vm, 0, 0, regs);
        vendor_of(regs, vendor);
        cpu->vendor = g_strdup(vendor);
    } else if (!cpu->vendor && model->vendor) {
        cpu->vendor = g_strdup(model->vendor);
    }
    return true;
}

bool cpu_is_intel(const Cpu *cpu) { return !g_strcmp0(cpu->vendor, "GenuineIntel"); }
bool cpu_is_amd(const Cpu *cpu)
{
    return !g_strcmp0(cpu->vendor, "AuthenticAMD") || !g_strcmp0(cpu->vendor, "HygonGenuine");
}

static void fill_version(Cpu *cpu)
{
    uint32_t family = MIN(cpu->family, 0xf);

    cpu->cpuid_version = (cpu->family - family) << 20 | family << 8 | (cpu->model & 0xf) << 4 |
                         (cpu->model >> 4) << 16 | cpu->stepping;
}

/* ---- features that mean nothing without another one ------------------------------------------ */

#define WHOLE_WORD UINT64_MAX

/* Parents before children: what goes away takes its own dependents along. */
static const struct {
    FeatureWord from;
    uint8_t bit;
    FeatureWord to;
    uint64_t mask;
} dependencies[] = {
    {FEAT_7_0_EDX, 29 /* arch-capabilities */, FEAT_ARCH_CAPABILITIES, WHOLE_WORD},
    {FEAT_7_0_EDX, 30 /* core-capability */, FEAT_CORE_CAPABILITY, WHOLE_WORD},
    {FEAT_1_ECX, 15 /* pdcm */, FEAT_PERF_CAPABILITIES, WHOLE_WORD},
    {FEAT_7_0_EBX, 25 /* intel-pt */, FEAT_14_0_ECX, WHOLE_WORD},
    {FEAT_8000_0001_ECX, 2 /* svm */, FEAT_SVM, WHOLE_WORD},
    {FEAT_1_ECX, 5 /* vmx */, FEAT_VMX_BASIC, WHOLE_WORD},
    {FEAT_1_ECX, 5, FEAT_VMX_MISC, WHOLE_WORD},
    {FEAT_1_ECX, 5, FEAT_VMX_SECONDARY, WHOLE_WORD},
    {FEAT_1_ECX, 5, FEAT_VMX_EPT_VPID, WHOLE_WORD},
    {FEAT_1_ECX, 5, FEAT_VMX_PIN, WHOLE_WORD},
    {FEAT_1_ECX, 5, FEAT_VMX_PROC, WHOLE_WORD},
    {FEAT_1_ECX, 5, FEAT_VMX_EXIT, WHOLE_WORD},
    {FEAT_1_ECX, 5, FEAT_VMX_ENTRY, WHOLE_WORD},
    {FEAT_1_ECX, 5, FEAT_VMX_VMFUNC, WHOLE_WORD},
    {FEAT_8000_0001_EDX, 29 /* lm */, FEAT_VMX_ENTRY, 1u << 9},
    {FEAT_7_0_EBX, 14 /* mpx */, FEAT_VMX_EXIT, 1u << 23},
    {FEAT_7_0_EBX, 14, FEAT_VMX_ENTRY, 1u << 16},
    {FEAT_8000_0001_EDX, 27 /* rdtscp */, FEAT_VMX_SECONDARY, 1u << 3},
    {FEAT_1_ECX, 30 /* rdrand */, FEAT_VMX_SECONDARY, 1u << 11},
    {FEAT_7_0_EBX, 10 /* invpcid */, FEAT_VMX_SECONDARY, 1u << 12},
    {FEAT_7_0_EBX, 18 /* rdseed */, FEAT_VMX_SECONDARY, 1u << 16},
    {FEAT_XSAVE, 3 /* xsaves */, FEAT_VMX_SECONDARY, 1u << 20},
    {FEAT_VMX_PROC, 31 /* vmx-secondary-ctls */, FEAT_VMX_SECONDARY, WHOLE_WORD},
    {FEAT_VMX_SECONDARY, 1 /* vmx-ept */, FEAT_VMX_SECONDARY, 1u << 7 /* unrestricted-guest */},
    {FEAT_VMX_SECONDARY, 1, FEAT_VMX_EPT_VPID, UINT32_MAX},
    {FEAT_VMX_SECONDARY, 5 /* vmx-vpid */, FEAT_VMX_EPT_VPID, UINT64_C(0xffffffff) << 32},
    {FEAT_VMX_SECONDARY, 13 /* vmx-vmfunc */, FEAT_VMX_VMFUNC, WHOLE_WORD},
};

static void drop_dependents(Cpu *cpu)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(dependencies); i++) {
        uint64_t *to = &cpu->features[dependencies[i].to];

        if (!cpu_has_feature(cpu, dependencies[i].from, dependencies[i].bit)) {
            cpu->dropped[dependencies[i].to] |=
                *to & dependencies[i].mask & cpu->user_set[dependencies[i].to];
            *to &= ~dependencies[i].mask;
        }
    }
}

/* ---- what the host lacks --------------------------------------------------------------------- */

void cpu_filter_features(Cpu *cpu)
{
    uint32_t regs[4];

    if (!kvm_cpuid_host_leaf(cpu->dev.vm, 0, 0, regs)) {
        return;
    }
    for (FeatureWord word = 0; word < FEATURE_WORDS; word++) {
        cpu->missing[word] = cpu->features[word] & ~kvm_cpuid_supported_word(cpu->dev.vm, word);
        cpu->features[word] &= ~cpu->missing[word];
    }
}

static bool report_bits(const uint64_t words[FEATURE_WORDS], const char *complaint)
{
    bool any = false;

    for (FeatureWord word = 0; word < FEATURE_WORDS; word++) {
        any |= words[word] != 0;
        for (unsigned bit = 0; complaint && words[word] >> bit && bit < 64; bit++) {
            if (words[word] >> bit & 1) {
                g_autofree char *what = feature_describe(word, bit);

                report_warning("%s: %s", complaint, what);
            }
        }
    }
    return any;
}

static bool check_missing(Cpu *cpu, GError **err)
{
    CpuConfig *config = cpu_config(cpu->dev.vm);
    bool report = (cpu->check || cpu->enforce) && !config->warned;

    report_bits(cpu->dropped,
                config->warned
                    ? NULL
                    : "This feature depends on other features that were not requested");
    bool any =
        report_bits(cpu->missing, report ? "host doesn't support requested feature" : NULL);
    config->warned = true;
    if (any && cpu->enforce) {
        return error_set(
            err, "-cpu: Host doesn't support requested features (the warnings before name them); "
                 "leave out enforce, or switch them off with FEATURE=off");
    }
    return true;
}

/* ---- XSAVE ----------------------------------------------------------------------------------- */

/* Which feature brings a component of XCR0 (SDM vol. 1, 13.1). */
static const struct {
    uint8_t component;
    FeatureWord word;
    uint8_t bit;
} xsave_needs[] = {
    {2, FEAT_1_ECX, 28} /* avx */,  {3, FEAT_7_0_EBX, 14} /* mpx */,
    {4, FEAT_7_0_EBX, 14},          {5, FEAT_7_0_EBX, 16} /* avx512f */,
    {6, FEAT_7_0_EBX, 16},          {7, FEAT_7_0_EBX, 16},
    {9, FEAT_7_0_ECX, 3} /* pku */, {17, FEAT_7_0_EDX, 24} /* amx */,
    {18, FEAT_7_0_EDX, 24},
};

static void fill_xsave(Cpu *cpu)
{
    uint64_t xcr0 = 3;

    if (!cpu_has_feature(cpu, FEAT_1_ECX, 26)) { /* xsave */
        for (FeatureWord word = FEAT_XSAVE_XCR0_LO; word <= FEAT_XSAVE_XSS_HI; word++) {
            cpu->features[word] = 0;
        }
        return; /* bits of leaf Dh that -cpu names stay, and are reported when the host has none */
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(xsave_needs); i++) {
        if (cpu_has_feature(cpu, xsave_needs[i].word, xsave_needs[i].bit)) {
            xcr0 |= UINT64_C(1) << xsave_needs[i].component;
        }
    }
    cpu->features[FEAT_XSAVE_XCR0_LO] = (uint32_t)xcr0;
    cpu->features[FEAT_XSAVE_XCR0_HI] = xcr0 >> 32;
    cpu->features[FEAT_XSAVE_XSS_LO] = cpu->features[FEAT_XSAVE_XSS_HI] = 0;
}

/* ---- levels ---------------------------------------------------------------------------------- */

static void raise_level(const Cpu *cpu, uint32_t *min, FeatureWord word, uint32_t leaf)
{
    if (cpu->features[word]) {
        *min = MAX(*min, leaf);
    }
}

static void fill_levels(Cpu *cpu)
{
    uint32_t func7 = 0;

    if (cpu->full_cpuid_auto_level) {
        static const FeatureWord basic[] = {FEAT_1_EDX,   FEAT_1_ECX,   FEAT_6_EAX, FEAT_7_0_EBX,
                                            FEAT_7_0_ECX, FEAT_7_0_EDX, FEAT_XSAVE};
        static const FeatureWord extended[] = {FEAT_8000_0001_EDX, FEAT_8000_0001_ECX,
                                               FEAT_8000_0007_EDX, FEAT_8000_0008_EBX, FEAT_SVM};

        for (unsigned i = 0; i < G_N_ELEMENTS(basic); i++) {
            raise_level(cpu, &cpu->min_level, basic[i], feature_words[basic[i]].leaf);
        }
        for (unsigned i = 0; i < G_N_ELEMENTS(extended); i++) {
            raise_level(cpu, &cpu->min_xlevel, extended[i], feature_words[extended[i]].leaf);
        }
        raise_level(cpu, &cpu->min_xlevel2, FEAT_C000_0001_EDX, 0xc0000001);
        raise_level(cpu, &cpu->min_level, FEAT_7_1_EAX, 7);
        if (cpu_has_feature(cpu, FEAT_8000_0001_ECX, 2)) { /* svm */
            cpu->min_xlevel = MAX(cpu->min_xlevel, 0x8000000a);
        }
        if (cpu->features[FEAT_7_1_EAX]) {
            func7 = 1;
        }
        if (cpu->topology.dies > 1 && !cpu_is_amd(cpu)) {
            cpu->min_level = MAX(cpu->min_level, 0x1f);
        }
        if (cpu_has_feature(cpu, FEAT_7_0_EBX, 25)) { /* intel-pt */
            cpu->min_level = MAX(cpu->min_level, 0x14);
        }
        if (cpu_has_feature(cpu, FEAT_7_0_EBX, 2)) { /* sgx */
            cpu->min_level = MAX(cpu->min_level, 0x12);
        }
    }
    cpu->level_func7 = cpu->level_func7 == UINT32_MAX ? func7 : cpu->level_func7;
    cpu->level = cpu->level == UINT32_MAX ? cpu->min_level : cpu->level;
    cpu->xlevel = cpu->xlevel == UINT32_MAX ? cpu->min_xlevel : cpu->xlevel;
    cpu->xlevel2 = cpu->xlevel2 == UINT32_MAX ? cpu->min_xlevel2 : cpu->xlevel2;
}

/* ---- address bits ---------------------------------------------------------------------------- */

static bool fill_phys_bits(Cpu *cpu, GError **err)
{
    bool lm = cpu_has_feature(cpu, FEAT_8000_0001_EDX, 29);
    uint32_t regs[4];

    if (!lm) {
        if (cpu->phys_bits && !cpu->host_phys_bits) {
            return error_set(err,
                             "Property 'phys-bits' is %u: a CPU without long mode (lm) has a fixed "
                             "size; leave it out",
                             cpu->phys_bits);
        }
        cpu->phys_bits = cpu_has_feature(cpu, FEAT_1_EDX, 17) ? 36 : 32; /* pse36 */
        return true;
    }
    if (cpu->host_phys_bits && kvm_cpuid_host_leaf(cpu->dev.vm, 0x80000008, 0, regs) &&
        (regs[CPUID_EAX] & 0xff)) {
        cpu->phys_bits = regs[CPUID_EAX] & 0xff;
        if (cpu->host_phys_bits_limit && cpu->phys_bits > cpu->host_phys_bits_limit) {
            cpu->phys_bits = cpu->host_phys_bits_limit;
        }
    }
    if (!cpu->phys_bits) {
        cpu->phys_bits = 40;
    }
    if (cpu->phys_bits < 32 || cpu->phys_bits > 52) {
        return error_set(
            err, "Property 'phys-bits' is %u: it must be between 32 and 52, or 0 for the default",
            cpu->phys_bits);
    }
    return true;
}

/* ---- all of it ------------------------------------------------------------------------------- */

bool cpu_expand_features(Cpu *cpu, GError **err)
{
    const CpuModel *model = cpu->dev.obj.type->ops;
    const char *accel = cpu->dev.vm->accel ? cpu->dev.vm->accel->ops->name : "no accelerator";
    uint32_t regs[4];
    bool kvm = kvm_cpuid_host_leaf(cpu->dev.vm, 0, 0, regs);

    if (model->needs_kvm && !kvm) {
        return error_set(
            err, "-cpu %s: CPU model '%s' requires KVM, this is %s; use -accel kvm, or -cpu max",
            model->name, model->name, accel);
    }
    if (!fill_vendor(cpu, model, kvm, err)) {
        return false;
    }
    if (model->max && kvm) {
        host_identity(cpu);
        take_host_features(cpu);
    } else if (model->version && kvm) {
        apply_kvm_defaults(cpu);
    }
    drop_dependents(cpu);
    if (!cpu->expose_kvm) {
        cpu->features[FEAT_KVM] = cpu->features[FEAT_KVM_HINTS] = 0;
    }
    fill_xsave(cpu);
    fill_levels(cpu);
    hyperv_take_host(cpu);
    return true;
}

bool cpu_finish_features(Cpu *cpu, GError **err)
{
    fill_version(cpu);
    if (!cpu->ucode_rev) {
        cpu->ucode_rev = cpu_is_amd(cpu) ? 0x01000065 : UINT64_C(0x100000000);
    }
    return check_missing(cpu, err) && hyperv_check(cpu, err) && fill_phys_bits(cpu, err);
}
