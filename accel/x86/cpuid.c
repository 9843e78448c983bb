/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The CPUID leaves of a CPU, as the guest reads them (SDM vol. 2 CPUID, APM vol. 3 appendix E).
 *
 * Cache figures are QEMU 7.2's (observed), for most models: 32 KiB L1, 4 MiB L2 and 16 MiB L3
 * in Intel's leaves, 64 KiB, 512 KiB and 16 MiB in AMD's. Models with CpuCaches have theirs. SGX, PT, AMX and SEV leaves read as zero.
 */
#include "accel/kvm/kvm_cpuid.h"
#include "accel/x86/cpu_config.h"
#include "accel/x86/hyperv.h"

#define LOGICAL_PER_PACKAGE(t) ((t)->cores * (t)->threads)

static void put(uint32_t regs[4], uint32_t eax, uint32_t ebx, uint32_t ecx, uint32_t edx)
{
    regs[CPUID_EAX] = eax;
    regs[CPUID_EBX] = ebx;
    regs[CPUID_ECX] = ecx;
    regs[CPUID_EDX] = edx;
}

/* QEMU 7.2's rule (x-vendor-cpuid-only): AMD models do not have Intel's cache leaves. */
static bool host_caches(const Cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t regs[4])
{
    return cpu->host_cache_info && kvm_cpuid_host_leaf(cpu->dev.vm, leaf, subleaf, regs);
}

/* The figures of the CPU's model, or NULL for the usual ones. */
static const CpuCaches *own_caches(const Cpu *cpu)
{
    return cpu->legacy_cache ? NULL : ((const CpuModel *)cpu->dev.obj.type->ops)->caches;
}

/* ---- basic leaves ---------------------------------------------------------------------------- */

static void leaf_vendor(const Cpu *cpu, uint32_t level, uint32_t regs[4])
{
    const char *v = cpu->vendor ? cpu->vendor : "\0\0\0\0\0\0\0\0\0\0\0";

    put(regs, level, load32_le(v), load32_le(v + 8), load32_le(v + 4));
}

static void leaf_1(const Cpu *cpu, uint32_t regs[4])
{
    uint32_t count = LOGICAL_PER_PACKAGE(&cpu->topology);

    put(regs, cpu->cpuid_version,
        cpu->apic_id << 24 | 8 << 8 | (count > 1 ? MIN(count, 255) << 16 : 0),
        (uint32_t)cpu->features[FEAT_1_ECX],
        (uint32_t)cpu->features[FEAT_1_EDX] |
            (count > 1 ? 1u << 28 : 0)); /* HTT: EBX has a count */
}

static void leaf_2(const Cpu *cpu, uint32_t regs[4])
{
    if (host_caches(cpu, 2, 0, regs)) {
        return;
    }
    if (cpu_is_amd(cpu)) {
        return;
    }
    const CpuCaches *own = own_caches(cpu);
    uint32_t l3 = own ? own->l3_descriptor : 0x4d;

    put(regs, 1, 0, cpu->l3_cache ? l3 : 0,
        own ? 0x2c0080u | (uint32_t)own->l1i_descriptor << 8 : 0x2c307d);
}

/* Type and level, sharing threads and cores filled in; ways, line and sets as given. */
static void leaf_4_entry(const Cpu *cpu, uint32_t regs[4], uint32_t type_level, uint32_t sharing,
                         uint32_t ways, uint32_t sets, uint32_t flags)
{
    put(regs, type_level | 1 << 8 | (sharing - 1) << 14 | (cpu->topology.cores - 1) << 26,
        (ways - 1) << 22 | 63, sets - 1, flags);
}

static void leaf_4(const Cpu *cpu, uint32_t subleaf, uint32_t regs[4])
{
    const CpuTopology *t = &cpu->topology;

    if (host_caches(cpu, 4, subleaf, regs)) {
        if (regs[CPUID_EAX] & 0x1f) {
            regs[CPUID_EAX] = (regs[CPUID_EAX] & ~0xfc000000u) | (t->cores - 1) << 26;
        }
        return;
    }
    if (cpu_is_amd(cpu)) {
        return;
    }
    const CpuCaches *own = own_caches(cpu);

    switch (subleaf) {
    case 0: leaf_4_entry(cpu, regs, 0x21, 1, 8, 64, 1); break; /* L1 data */
    case 1:                                                    /* L1 code */
        leaf_4_entry(cpu, regs, 0x22, 1, own ? own->l1i_ways : 8, own ? own->l1i_sets : 64, 1);
        break;
    case 2: /* L2 */
        if (own) {
            leaf_4_entry(cpu, regs, 0x43, t->threads, 8, 1024, 0);
            regs[CPUID_EAX] &= ~(1u << 8); /* not self-initializing */
        } else {
            leaf_4_entry(cpu, regs, 0x43, t->threads, 16, 4096, 1);
        }
        break;
    case 3: /* L3 */
        if (cpu->l3_cache) {
            leaf_4_entry(cpu, regs, 0x63, 1u << cpu_topology_die_shift(t), 16,
                         own ? own->l3_sets : 16384, 6);
        }
        break;
    }
}

static void leaf_7(const Cpu *cpu, uint32_t subleaf, uint32_t regs[4])
{
    if (subleaf == 0) {
        put(regs, cpu->level_func7, (uint32_t)cpu->features[FEAT_7_0_EBX],
            (uint32_t)cpu->features[FEAT_7_0_ECX], (uint32_t)cpu->features[FEAT_7_0_EDX]);
    } else if (subleaf == 1) {
        put(regs, (uint32_t)cpu->features[FEAT_7_1_EAX], 0, 0, 0);
    }
}

/* Extended topology. */
static void leaf_b(const Cpu *cpu, uint32_t subleaf, uint32_t regs[4])
{
    const CpuTopology *t = &cpu->topology;

    if (!cpu->cpuid_0xb) {
        return;
    }
    put(regs, 0, 0, subleaf & 0xff, cpu->apic_id);
    if (subleaf == 0) {
        put(regs, cpu_topology_core_shift(t), t->threads, 1 << 8, cpu->apic_id);
    } else if (subleaf == 1) {
        put(regs, cpu_topology_package_shift(t), LOGICAL_PER_PACKAGE(t), 2 << 8 | 1, cpu->apic_id);
    }
}

/* The same with dies; only where there are several. */
static void leaf_1f(const Cpu *cpu, uint32_t subleaf, uint32_t regs[4])
{
    const CpuTopology *t = &cpu->topology;

    if (t->dies < 2) {
        return;
    }
    put(regs, 0, 0, subleaf & 0xff, cpu->apic_id);
    switch (subleaf) {
    case 0: put(regs, cpu_topology_core_shift(t), t->threads, 1 << 8, cpu->apic_id); break;
    case 1:
        put(regs, cpu_topology_die_shift(t), LOGICAL_PER_PACKAGE(t), 2 << 8 | 1, cpu->apic_id);
        break;
    case 2:
        put(regs, cpu_topology_package_shift(t), t->dies * LOGICAL_PER_PACKAGE(t), 5 << 8 | 2,
            cpu->apic_id);
        break;
    }
}

/* ---- XSAVE ----------------------------------------------------------------------------------- */

#define XSAVE_LEGACY_AND_HEADER 576

static uint64_t xsave_components(const Cpu *cpu)
{
    return cpu->features[FEAT_XSAVE_XCR0_LO] | cpu->features[FEAT_XSAVE_XCR0_HI] << 32 |
           cpu->features[FEAT_XSAVE_XSS_LO] | cpu->features[FEAT_XSAVE_XSS_HI] << 32;
}

uint32_t cpu_xsave_size(const Cpu *cpu, bool compacted)
{
    uint64_t xcr0 = cpu->features[FEAT_XSAVE_XCR0_LO] | cpu->features[FEAT_XSAVE_XCR0_HI] << 32;
    uint64_t components = compacted ? xsave_components(cpu) : xcr0;
    uint32_t size = XSAVE_LEGACY_AND_HEADER, regs[4];

    for (unsigned i = 2; i < 64; i++) {
        if (!(components >> i & 1) || !kvm_cpuid_host_leaf(cpu->dev.vm, 0xd, i, regs)) {
            continue;
        }
        if (compacted) {
            size = (regs[CPUID_ECX] & 2 ? (uint32_t)align_up(size, 64) : size) + regs[CPUID_EAX];
        } else {
            size = MAX(size, regs[CPUID_EBX] + regs[CPUID_EAX]);
        }
    }
    return size;
}

static void leaf_d(const Cpu *cpu, uint32_t subleaf, uint32_t regs[4])
{
    if (!cpu_has_feature(cpu, FEAT_1_ECX, 26)) {
        return;
    }
    if (subleaf == 0) { /* EBX follows XCR0: the kernel keeps it */
        uint32_t size = cpu_xsave_size(cpu, false);

        put(regs, (uint32_t)cpu->features[FEAT_XSAVE_XCR0_LO], XSAVE_LEGACY_AND_HEADER, size,
            (uint32_t)cpu->features[FEAT_XSAVE_XCR0_HI]);
    } else if (subleaf == 1) {
        put(regs, (uint32_t)cpu->features[FEAT_XSAVE],
            cpu->features[FEAT_XSAVE] & 0xa ? cpu_xsave_size(cpu, true) : 0,
            (uint32_t)cpu->features[FEAT_XSAVE_XSS_LO], (uint32_t)cpu->features[FEAT_XSAVE_XSS_HI]);
    } else if (subleaf < 64 && xsave_components(cpu) >> subleaf & 1) {
        kvm_cpuid_host_leaf(cpu->dev.vm, 0xd, subleaf, regs);
        regs[CPUID_EDX] = 0;
    }
}

/* ---- extended leaves ------------------------------------------------------------------------- */

#define AMD_COPIED_FROM_LEAF_1 0x0183f3ffu

static void leaf_8000_0001(const Cpu *cpu, uint32_t regs[4])
{
    uint32_t ecx = (uint32_t)cpu->features[FEAT_8000_0001_ECX],
             edx = (uint32_t)cpu->features[FEAT_8000_0001_EDX];

    if (!cpu_is_intel(cpu) && LOGICAL_PER_PACKAGE(&cpu->topology) > 1) {
        ecx |= 1u << 1; /* CmpLegacy: they are cores */
    }
    if (cpu_is_amd(cpu)) {
        edx |= (uint32_t)cpu->features[FEAT_1_EDX] & AMD_COPIED_FROM_LEAF_1;
    }
    put(regs, cpu->cpuid_version, 0, ecx, edx);
}

static void leaf_name(const Cpu *cpu, unsigned part, uint32_t regs[4])
{
    char name[48] = "";

    if (cpu->model_id) {
        memcpy(name, cpu->model_id, MIN(strlen(cpu->model_id), sizeof name));
    }
    memcpy(regs, name + 16 * part, 16);
}

static void leaf_8000_0005(const Cpu *cpu, uint32_t regs[4])
{
    if (host_caches(cpu, 0x80000005, 0, regs)) {
        return;
    }
    const CpuCaches *own = own_caches(cpu);
    uint32_t l1i = own ? own->l1i_ways * own->l1i_sets * 64u / 1024u << 24 |
                             (uint32_t)own->l1i_ways << 16 | 0x140
                       : 0x40020140;

    put(regs, 0x01ff01ff, 0x01ff01ff, own ? 0x20080140 : 0x40020140, l1i);
}

static void leaf_8000_0006(const Cpu *cpu, uint32_t regs[4])
{
    if (host_caches(cpu, 0x80000006, 0, regs)) {
        return;
    }
    const CpuCaches *own = own_caches(cpu);
    uint32_t l3_half_mb = own ? own->l3_sets / 512u : 32; /* 16 ways of 64 bytes */

    put(regs, 0, 0x42004200, own ? 0x02006140 : 0x02008140,
        cpu->l3_cache ? l3_half_mb << 18 | 0x8140 : 0);
}

static void leaf_8000_0008(const Cpu *cpu, uint32_t regs[4])
{
    const CpuTopology *t = &cpu->topology;
    uint32_t linear = cpu_has_feature(cpu, FEAT_7_0_ECX, 16) ? 57 : 48; /* la57 */
    bool lm = cpu_has_feature(cpu, FEAT_8000_0001_EDX, 29);
    uint32_t count = LOGICAL_PER_PACKAGE(t);

    put(regs, cpu->phys_bits | (lm ? linear << 8 : 0), (uint32_t)cpu->features[FEAT_8000_0008_EBX],
        count > 1 ? cpu_topology_package_shift(t) << 12 | (count - 1) : 0, 0);
}

/* AMD's cache topology. */
static void leaf_8000_001d(const Cpu *cpu, uint32_t subleaf, uint32_t regs[4])
{
    uint32_t threads = (cpu->topology.threads - 1) << 14,
             all = (LOGICAL_PER_PACKAGE(&cpu->topology) - 1) << 14;

    if (host_caches(cpu, 0x8000001d, subleaf, regs)) {
        return;
    }
    const CpuCaches *own = own_caches(cpu);

    switch (subleaf) {
    case 0: put(regs, 0x121 | threads, (own ? 7 : 1) << 22 | 63, own ? 63 : 511, 1); break;
    case 1:
        put(regs, 0x122 | threads, (own ? own->l1i_ways - 1u : 1) << 22 | 63,
            own ? own->l1i_sets - 1u : 511, 1);
        break;
    case 2: put(regs, 0x043 | threads, (own ? 7 : 15) << 22 | 63, own ? 1023 : 511, 0); break;
    case 3: put(regs, 0x163 | all, 15 << 22 | 63, own ? own->l3_sets - 1u : 16383, 6); break;
    }
}

static void leaf_8000_001e(const Cpu *cpu, uint32_t regs[4])
{
    const CpuTopology *t = &cpu->topology;
    uint32_t core = (uint32_t)cpu->core_id, node = cpu->apic_id >> cpu_topology_die_shift(t);

    if (core > 255) {
        return; /* it has no room for this shape */
    }
    put(regs, cpu->apic_id, (t->threads - 1) << 8 | core, (t->dies - 1) << 8 | node, 0);
}

/* ---- KVM's own ------------------------------------------------------------------------------- */

/* Leaf 4000_0010 says the TSC's and the APIC bus' kHz, where they are known and stay. */
static bool has_frequency_leaf(const Cpu *cpu)
{
    bool stable = cpu_has_feature(cpu, FEAT_8000_0007_EDX, 8) || cpu->tsc_frequency; /* invtsc */

    return cpu->vmware_cpuid_freq && !hyperv_enabled(cpu) && cpu->env.tsc_khz > 0 && stable;
}

static void leaf_kvm(const Cpu *cpu, uint32_t leaf, uint32_t regs[4])
{
    uint32_t first = 0x40000000;

    if (hyperv_enabled(cpu)) {
        if (leaf < HYPERV_KVM_LEAF) {
            hyperv_leaf(cpu, leaf, regs);
            return;
        }
        leaf -= HYPERV_KVM_LEAF - first;
        first = HYPERV_KVM_LEAF;
    }
    if (!cpu->expose_kvm) {
        return;
    }
    switch (leaf) {
    case 0x40000000: /* "KVMKVMKVM\0\0\0" */
        put(regs, has_frequency_leaf(cpu) ? 0x40000010 : first + 1, 0x4b4d564b, 0x564b4d56, 0x4d);
        break;
    case 0x40000001:
        put(regs, (uint32_t)cpu->features[FEAT_KVM], 0, 0, (uint32_t)cpu->features[FEAT_KVM_HINTS]);
        break;
    case 0x40000010:
        if (has_frequency_leaf(cpu)) {
            put(regs, (uint32_t)cpu->env.tsc_khz, 1000000, 0, 0);
        }
        break;
    }
}

/* ---- the table ------------------------------------------------------------------------------- */

static void basic(const Cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t regs[4])
{
    switch (leaf) {
    case 0: leaf_vendor(cpu, cpu->level, regs); break;
    case 1: leaf_1(cpu, regs); break;
    case 2: leaf_2(cpu, regs); break;
    case 4: leaf_4(cpu, subleaf, regs); break;
    case 5: put(regs, 0, 0, 3, 0); break; /* MONITOR: extensions enumerated, interrupts break */
    case 6: put(regs, (uint32_t)cpu->features[FEAT_6_EAX], 0, 0, 0); break;
    case 7: leaf_7(cpu, subleaf, regs); break;
    case 0xa:
        if (cpu->pmu) {
            kvm_cpuid_host_leaf(cpu->dev.vm, 0xa, 0, regs);
        }
        break;
    case 0xb: leaf_b(cpu, subleaf, regs); break;
    case 0xd: leaf_d(cpu, subleaf, regs); break;
    case 0x1f: leaf_1f(cpu, subleaf, regs); break;
    }
}

static void extended(const Cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t regs[4])
{
    switch (leaf) {
    case 0x80000000: leaf_vendor(cpu, cpu->xlevel, regs); break;
    case 0x80000001: leaf_8000_0001(cpu, regs); break;
    case 0x80000002 ... 0x80000004: leaf_name(cpu, leaf - 0x80000002, regs); break;
    case 0x80000005: leaf_8000_0005(cpu, regs); break;
    case 0x80000006: leaf_8000_0006(cpu, regs); break;
    case 0x80000007: regs[CPUID_EDX] = (uint32_t)cpu->features[FEAT_8000_0007_EDX]; break;
    case 0x80000008: leaf_8000_0008(cpu, regs); break;
    case 0x8000000a:
        if (cpu_has_feature(cpu, FEAT_8000_0001_ECX, 2)) { /* svm: revision 1, 16 ASIDs */
            put(regs, 1, 16, 0, (uint32_t)cpu->features[FEAT_SVM]);
        }
        break;
    case 0x8000001d: leaf_8000_001d(cpu, subleaf, regs); break;
    case 0x8000001e: leaf_8000_001e(cpu, regs); break;
    }
}

void cpu_cpuid(const Cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t regs[4])
{
    put(regs, 0, 0, 0, 0);
    if (leaf <= cpu->level) {
        basic(cpu, leaf, subleaf, regs);
    } else if (leaf >> 16 == 0x4000) {
        leaf_kvm(cpu, leaf, regs);
    } else if (leaf >= 0x80000000 && leaf <= cpu->xlevel) {
        extended(cpu, leaf, subleaf, regs);
    } else if (leaf == 0xc0000000 && cpu->xlevel2) {
        regs[CPUID_EAX] = cpu->xlevel2;
    } else if (leaf == 0xc0000001 && leaf <= cpu->xlevel2) {
        regs[CPUID_EDX] = (uint32_t)cpu->features[FEAT_C000_0001_EDX];
    }
}
