/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hyper-V enlightenments: what each one is in CPUID, what it needs, and the leaves.
 *
 * Not here: hv-syndbg (the kernel debugger's channel over a network) and VMBus.
 */
#include "accel/x86/hyperv.h"

#include "accel/kvm/kvm_cpuid.h"
#include "accel/x86/cpu_config.h"

/* TLFS 2.4: which register of which leaf. */
#define FEATURES 0x40000003u
#define RECOMMENDED 0x40000004u

#define HYPERCALL_MSRS (1u << 5)            /* 4000_0003 EAX */
#define POST_AND_SIGNAL (1u << 4 | 1u << 5) /* 4000_0003 EBX: what VMBus would call */
#define CPU_HOTPLUG_EVENTS (1u << 3)        /* 4000_0003 EDX: Windows wants it to take new CPUs */
#define NO_NONARCH_CORESHARING (1u << 18)   /* 4000_0004 EAX */
#define MAX_LOGICAL_PROCESSORS 0x40

typedef struct HypervFlag {
    uint32_t leaf;
    uint8_t reg;
    uint32_t bits;
} HypervFlag;

static const struct {
    const char *title;
    HypervFlag flags[2]; /* leaf 0: no more */
    uint32_t needs;      /* other enlightenments */
} rows[HYPERV_FEATURES] = {
    [HV_RELAXED] = {"relaxed timing (hv-relaxed)", {{RECOMMENDED, CPUID_EAX, 1u << 5}}},
    [HV_VAPIC] = {"virtual APIC (hv-vapic)",
                  {{FEATURES, CPUID_EAX, 1u << 4}, {RECOMMENDED, CPUID_EAX, 1u << 3}}},
    [HV_TIME] = {"clocksources (hv-time)", {{FEATURES, CPUID_EAX, 1u << 1 | 1u << 9}}},
    [HV_CRASH] = {"crash MSRs (hv-crash)", {{FEATURES, CPUID_EDX, 1u << 10}}},
    [HV_RESET] = {"reset MSR (hv-reset)", {{FEATURES, CPUID_EAX, 1u << 7}}},
    [HV_VPINDEX] = {"VP_INDEX MSR (hv-vpindex)", {{FEATURES, CPUID_EAX, 1u << 6}}},
    [HV_RUNTIME] = {"VP_RUNTIME MSR (hv-runtime)", {{FEATURES, CPUID_EAX, 1u << 0}}},
    [HV_SYNIC] = {"synthetic interrupt controller (hv-synic)", {{FEATURES, CPUID_EAX, 1u << 2}}},
    [HV_STIMER] = {"synthetic timers (hv-stimer)",
                   {{FEATURES, CPUID_EAX, 1u << 3}},
                   1u << HV_SYNIC | 1u << HV_TIME},
    [HV_FREQUENCIES] = {"frequency MSRs (hv-frequencies)",
                        {{FEATURES, CPUID_EAX, 1u << 11}, {FEATURES, CPUID_EDX, 1u << 8}}},
    [HV_REENLIGHTENMENT] = {"reenlightenment MSRs (hv-reenlightenment)",
                            {{FEATURES, CPUID_EAX, 1u << 13}}},
    [HV_TLBFLUSH] = {"paravirtualized TLB flush (hv-tlbflush)",
                     {{RECOMMENDED, CPUID_EAX, 1u << 2 | 1u << 11}},
                     1u << HV_VPINDEX},
    [HV_EVMCS] = {"enlightened VMCS (hv-evmcs)",
                  {{RECOMMENDED, CPUID_EAX, 1u << 14}},
                  1u << HV_VAPIC},
    [HV_IPI] = {"paravirtualized IPI (hv-ipi)",
                {{RECOMMENDED, CPUID_EAX, 1u << 10 | 1u << 11}},
                1u << HV_VPINDEX},
    [HV_STIMER_DIRECT] = {"direct mode synthetic timers (hv-stimer-direct)",
                          {{FEATURES, CPUID_EDX, 1u << 19}},
                          1u << HV_STIMER},
    [HV_AVIC] = {"AVIC/APICv support (hv-avic/hv-apicv)", {{RECOMMENDED, CPUID_EAX, 1u << 9}}},
    [HV_XMM_INPUT] = {"XMM fast hypercall input (hv-xmm-input)", {{FEATURES, CPUID_EDX, 1u << 4}}},
    [HV_TLBFLUSH_EXT] = {"Extended gva ranges for TLB flush hypercalls (hv-tlbflush-ext)",
                         {{FEATURES, CPUID_EDX, 1u << 14}},
                         1u << HV_TLBFLUSH},
    [HV_TLBFLUSH_DIRECT] = {"direct TLB flush (hv-tlbflush-direct)",
                            {{HYPERV_NESTED_LEAF, CPUID_EAX, 1u << 17}},
                            1u << HV_VAPIC},
    [HV_EMSR_BITMAP] = {"enlightened MSR-Bitmap (hv-emsr-bitmap)",
                        {{HYPERV_NESTED_LEAF, CPUID_EAX, 1u << 19}}},
};

bool hyperv_enabled(const Cpu *cpu)
{
    return cpu->hyperv || cpu->hv_passthrough || cpu->hv_spinlocks != HYPERV_SPINLOCKS_NEVER;
}

/* ---- against the kernel ---------------------------------------------------------------------- */

static bool kernel_has(const Cpu *cpu, HypervFeature feature)
{
    for (unsigned i = 0; i < 2 && rows[feature].flags[i].leaf; i++) {
        const HypervFlag *flag = &rows[feature].flags[i];
        uint32_t regs[4];

        kvm_cpuid_hyperv_leaf(cpu->dev.vm, flag->leaf, regs);
        if ((regs[flag->reg] & flag->bits) != flag->bits) {
            return false;
        }
    }
    return true;
}

/* Vendor and retry count of the kernel's table, where -cpu did not say. */
static void take_host_identity(Cpu *cpu)
{
    uint32_t regs[4];

    if (!cpu->hv_vendor_id && kvm_cpuid_hyperv_leaf(cpu->dev.vm, HYPERV_FIRST_LEAF, regs)) {
        char text[13] = "";

        store32_le(text, regs[CPUID_EBX]);
        store32_le(text + 4, regs[CPUID_ECX]);
        store32_le(text + 8, regs[CPUID_EDX]);
        cpu->hv_vendor_id = g_strdup(text);
    }
    if (cpu->hv_spinlocks == HYPERV_SPINLOCKS_NEVER &&
        kvm_cpuid_hyperv_leaf(cpu->dev.vm, RECOMMENDED, regs)) {
        cpu->hv_spinlocks = regs[CPUID_EBX];
    }
}

void hyperv_take_host(Cpu *cpu)
{
    if (!cpu->hv_passthrough) {
        return;
    }
    for (HypervFeature f = 0; f < HYPERV_FEATURES; f++) {
        if (kernel_has(cpu, f)) {
            cpu->hyperv |= UINT64_C(1) << f;
        }
    }
    take_host_identity(cpu);
}

static bool check_needs(const Cpu *cpu, HypervFeature feature, GError **err)
{
    for (HypervFeature f = 0; f < HYPERV_FEATURES; f++) {
        if (rows[feature].needs >> f & 1 && !cpu_has_hyperv(cpu, f)) {
            return error_set(err, "-cpu: Hyper-V %s requires Hyper-V %s; switch that on too",
                             rows[feature].title, rows[f].title);
        }
    }
    return true;
}

bool hyperv_check(const Cpu *cpu, GError **err)
{
    uint32_t regs[4];
    bool kvm = kvm_cpuid_host_leaf(cpu->dev.vm, 0, 0, regs);

    if (cpu->hv_vendor_id && strlen(cpu->hv_vendor_id) > 12) {
        return error_set(err, "-cpu: hv-vendor-id=%s: it has more than 12 characters",
                         cpu->hv_vendor_id);
    }
    if (!hyperv_enabled(cpu)) {
        return true;
    }
    if (kvm && !kvm_cpuid_hyperv_leaf(cpu->dev.vm, HYPERV_FIRST_LEAF, regs)) {
        return error_set(err, "-cpu: hv-*: this host's KVM has no Hyper-V enlightenments "
                              "(KVM_CAP_SYS_HYPERV_CPUID, Linux 5.11 and later); leave them out");
    }
    for (HypervFeature f = 0; f < HYPERV_FEATURES; f++) {
        if (!cpu_has_hyperv(cpu, f)) {
            continue;
        }
        /* What came with hv-passthrough may lack its company, as in QEMU. */
        if (!cpu->hv_passthrough && !check_needs(cpu, f, err)) {
            return false;
        }
        if (kvm && !kernel_has(cpu, f)) {
            return error_set(err, "-cpu: Hyper-V %s is not supported by kernel; leave it out",
                             rows[f].title);
        }
    }
    return true;
}

/* ---- leaves ---------------------------------------------------------------------------------- */

/* The bits of all enlightenments that are on, in one register. */
static uint32_t flags_of(const Cpu *cpu, uint32_t leaf, uint8_t reg)
{
    uint32_t bits = 0;

    for (HypervFeature f = 0; f < HYPERV_FEATURES; f++) {
        for (unsigned i = 0; cpu_has_hyperv(cpu, f) && i < 2; i++) {
            const HypervFlag *flag = &rows[f].flags[i];

            bits |= flag->leaf == leaf && flag->reg == reg ? flag->bits : 0;
        }
    }
    return bits;
}

static bool has_nested_leaf(const Cpu *cpu)
{
    return cpu_has_hyperv(cpu, HV_EVMCS) || cpu_has_hyperv(cpu, HV_TLBFLUSH_DIRECT) ||
           cpu_has_hyperv(cpu, HV_EMSR_BITMAP);
}

static uint32_t recommendations(const Cpu *cpu)
{
    uint32_t bits = flags_of(cpu, RECOMMENDED, CPUID_EAX), regs[4];

    if (cpu->hv_no_nonarch_coresharing == ON_OFF_AUTO_ON) {
        bits |= NO_NONARCH_CORESHARING;
    } else if (cpu->hv_no_nonarch_coresharing == ON_OFF_AUTO_AUTO &&
               kvm_cpuid_hyperv_leaf(cpu->dev.vm, RECOMMENDED, regs)) {
        bits |= regs[CPUID_EAX] & NO_NONARCH_CORESHARING;
    }
    return bits;
}

static void leaf_first(const Cpu *cpu, uint32_t regs[4])
{
    char name[12] = "Microsoft Hv";

    if (cpu->hv_vendor_id && *cpu->hv_vendor_id) {
        memset(name, 0, sizeof name);
        memcpy(name, cpu->hv_vendor_id, MIN(strlen(cpu->hv_vendor_id), sizeof name));
    }
    regs[CPUID_EAX] = has_nested_leaf(cpu) ? HYPERV_NESTED_LEAF : 0x40000005;
    regs[CPUID_EBX] = load32_le(name);
    regs[CPUID_ECX] = load32_le(name + 4);
    regs[CPUID_EDX] = load32_le(name + 8);
}

void hyperv_leaf(const Cpu *cpu, uint32_t leaf, uint32_t regs[4])
{
    memset(regs, 0, 4 * sizeof regs[0]);
    switch (leaf) {
    case 0x40000000:
        leaf_first(cpu, regs);
        break;
    case 0x40000001:
        regs[CPUID_EAX] = 0x31237648;
        break; /* "Hv#1" */
    case 0x40000002:
        regs[CPUID_EAX] = cpu->hv_version_build;
        regs[CPUID_EBX] = (uint32_t)cpu->hv_version_major << 16 | cpu->hv_version_minor;
        regs[CPUID_ECX] = cpu->hv_version_spack;
        regs[CPUID_EDX] =
            (uint32_t)cpu->hv_version_sbranch << 24 | (cpu->hv_version_snumber & 0xffffff);
        break;
    case FEATURES:
        regs[CPUID_EAX] = flags_of(cpu, FEATURES, CPUID_EAX) | HYPERCALL_MSRS;
        regs[CPUID_EBX] = cpu_has_hyperv(cpu, HV_SYNIC) ? POST_AND_SIGNAL : 0;
        regs[CPUID_EDX] = flags_of(cpu, FEATURES, CPUID_EDX) | CPU_HOTPLUG_EVENTS;
        break;
    case RECOMMENDED:
        regs[CPUID_EAX] = recommendations(cpu);
        regs[CPUID_EBX] = cpu->hv_spinlocks;
        break;
    case 0x40000005:
        regs[CPUID_EAX] = UINT32_MAX; /* virtual processors: no limit */
        regs[CPUID_EBX] = MAX_LOGICAL_PROCESSORS;
        break;
    case HYPERV_NESTED_LEAF:
        if (has_nested_leaf(cpu)) {
            regs[CPUID_EAX] = flags_of(cpu, HYPERV_NESTED_LEAF, CPUID_EAX) | cpu->hv_evmcs_versions;
        }
        break;
    }
}
