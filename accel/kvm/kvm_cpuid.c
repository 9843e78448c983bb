/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * KVM_GET_SUPPORTED_CPUID and KVM_SET_CPUID2 (Documentation/virt/kvm/api.rst 4.46, 4.20).
 *
 * The supported table is asked for when the first CPU is realized, once per VM: it costs the kernel
 * some hundred CPUID instructions.
 */
#include <asm/kvm_para.h>
#include "accel/kvm/kvm_cpuid.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "accel/x86/cpu_config.h"
#include "util/log.h"

#define FIRST_GUESS 100
#define MAX_ENTRIES 1024
#define ARCH_REQ_XCOMP_GUEST_PERM 0x1025
#define XSTATE_TILE_DATA 18

/* ---- asking ---------------------------------------------------------------------------------- */

bool kvm_cpuid_init(Vm *vm, int kvm_fd, GError **err)
{
    cpu_config(vm)->kvm_fd = kvm_fd;
    return true;
}

static bool wants_amx(const CpuConfig *config)
{
    const CpuModel *model = config->type ? config->type->ops : NULL;

    if (model && model->max) {
        return true;
    }
    for (unsigned i = 0; config->options && i < config->options->len; i += 2) {
        if (g_str_has_prefix(g_ptr_array_index(config->options, i), "amx")) {
            return true;
        }
    }
    return false;
}

/* The kernel shows AMX only to who asked for its big XSAVE area
 * (Documentation/arch/x86/xstate.rst). */
static void request_amx(const CpuConfig *config)
{
    uint64_t components = 0;
    struct kvm_device_attr attr = {.group = 0,
                                   .attr = 0 /* KVM_X86_XCOMP_GUEST_SUPP */,
                                   .addr = (uint64_t)(uintptr_t)&components};

    if (wants_amx(config) && ioctl(config->kvm_fd, KVM_GET_DEVICE_ATTR, &attr) == 0 &&
        components >> XSTATE_TILE_DATA & 1) {
        syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_GUEST_PERM,
                XSTATE_TILE_DATA); /* refused: then there is no AMX */
    }
}

static struct kvm_cpuid2 *ask_supported(int kvm_fd)
{
    for (unsigned n = FIRST_GUESS; n <= MAX_ENTRIES; n *= 2) {
        struct kvm_cpuid2 *table = g_malloc0(sizeof *table + n * sizeof table->entries[0]);

        table->nent = n;
        if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, table) == 0) {
            return table;
        }
        int error = errno;
        g_free(table);
        if (error != E2BIG) {
            report_warning("KVM_GET_SUPPORTED_CPUID: %s; the guest sees no optional feature",
                           g_strerror(error));
            break;
        }
    }
    return g_malloc0(sizeof(struct kvm_cpuid2));
}

static const struct kvm_cpuid_entry2 *find(const struct kvm_cpuid2 *table, uint32_t leaf,
                                           uint32_t subleaf)
{
    for (unsigned i = 0; i < table->nent; i++) {
        const struct kvm_cpuid_entry2 *e = &table->entries[i];

        if (e->function == leaf &&
            (e->index == subleaf || !(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX))) {
            return e;
        }
    }
    return NULL;
}

static uint64_t feature_msr(const CpuConfig *config, uint32_t index)
{
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry;
    } msr = {.head.nmsrs = 1, .entry.index = index};

    return ioctl(config->kvm_fd, KVM_GET_MSRS, &msr) == 1 ? msr.entry.data : 0;
}

static uint32_t entry_register(const struct kvm_cpuid_entry2 *e, uint8_t reg)
{
    switch (reg) {
    case CPUID_EAX: return e->eax;
    case CPUID_EBX: return e->ebx;
    case CPUID_ECX: return e->ecx;
    default: return e->edx;
    }
}

static uint64_t raw_word(const CpuConfig *config, FeatureWord word)
{
    const FeatureWordInfo *info = &feature_words[word];

    if (feature_word_is_vmx(word)) {
        bool vmx = config->words[FEAT_1_ECX] >> 5 & 1; /* an earlier word */
        uint64_t value = vmx ? feature_msr(config, info->msr) : 0;

        return feature_word_is_vmx_control(word) ? value >> 32 & ~value : value;
    }
    if (info->msr) {
        return feature_msr(config, info->msr);
    }
    const struct kvm_cpuid_entry2 *e = find(config->supported, info->leaf, info->subleaf);
    return e ? entry_register(e, info->reg) : 0;
}

/* What KVM can do but its table does not say, and the other way round. */
static void correct_words(Vm *vm, CpuConfig *config)
{
    uint64_t *words = config->words;
    bool in_kernel = accel_irqchip(vm) != IRQCHIP_OFF;

    words[FEAT_1_EDX] |= 1u << 28; /* ht only says that EBX has a count */
    words[FEAT_1_ECX] |= 1u << 31; /* hypervisor */
    words[FEAT_1_ECX] &=
        ~(1ull << 24 | 1ull << 21); /* tsc-deadline, x2apic: the in-kernel LAPIC's */
    if (in_kernel) {
        words[FEAT_1_ECX] |= 1u << 21;
        if (ioctl(config->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0) {
            words[FEAT_1_ECX] |= 1u << 24;
        }
    } else {
        /* Hypercalls and interrupts that end in the kernel's APICs; a guest's IPIs would be lost. */
        words[FEAT_KVM] &= ~(1ull << KVM_FEATURE_PV_UNHALT | 1ull << KVM_FEATURE_ASYNC_PF_INT |
                             1ull << KVM_FEATURE_PV_SEND_IPI);
    }
    words[FEAT_6_EAX] |= 1u << 2;                      /* arat */
    words[FEAT_KVM_HINTS] |= 1u << KVM_HINTS_REALTIME; /* a promise of the user's */
    if (!(words[FEAT_7_0_EDX] >> 29 & 1)) {
        words[FEAT_ARCH_CAPABILITIES] = 0;
    } else if (!words[FEAT_ARCH_CAPABILITIES]) {
        words[FEAT_7_0_EDX] &= ~(1ull << 29);
    }
    if (!(words[FEAT_1_ECX] >> 15 & 1)) { /* pdcm */
        words[FEAT_PERF_CAPABILITIES] = 0;
    }
}

/* The host's table, or NULL without KVM. */
static const CpuConfig *host(Vm *vm)
{
    CpuConfig *config = cpu_config(vm);

    if (config->kvm_fd < 0) {
        return NULL;
    }
    if (!config->supported) {
        request_amx(config);
        config->supported = ask_supported(config->kvm_fd);
        for (FeatureWord word = 0; word < FEATURE_WORDS; word++) {
            config->words[word] = raw_word(config, word);
        }
        correct_words(vm, config);
    }
    return config;
}

uint64_t kvm_cpuid_supported_word(Vm *vm, FeatureWord word)
{
    const CpuConfig *config = host(vm);

    return config ? config->words[word] : 0;
}

uint64_t kvm_cpuid_feature_msr(Vm *vm, uint32_t index)
{
    const CpuConfig *config = host(vm);

    return config ? feature_msr(config, index) : 0;
}

bool kvm_cpuid_host_leaf(Vm *vm, uint32_t leaf, uint32_t subleaf, uint32_t regs[4])
{
    const CpuConfig *config = host(vm);
    const struct kvm_cpuid_entry2 *e = config ? find(config->supported, leaf, subleaf) : NULL;

    for (uint8_t reg = 0; reg < 4; reg++) {
        regs[reg] = e ? entry_register(e, reg) : 0;
    }
    return config != NULL;
}

/* ---- Hyper-V's leaves ------------------------------------------------------------------------ */

#define HYPERV_ENTRIES 32

static struct kvm_cpuid2 *ask_hyperv(int kvm_fd)
{
    struct kvm_cpuid2 *table =
        g_malloc0(sizeof *table + HYPERV_ENTRIES * sizeof table->entries[0]);

    table->nent = HYPERV_ENTRIES;
    if (ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_SYS_HYPERV_CPUID) <= 0 ||
        ioctl(kvm_fd, KVM_GET_SUPPORTED_HV_CPUID, table) < 0) {
        table->nent = 0;
    }
    return table;
}

bool kvm_cpuid_hyperv_leaf(Vm *vm, uint32_t leaf, uint32_t regs[4])
{
    CpuConfig *config = cpu_config(vm);

    if (!config->hyperv && config->kvm_fd >= 0) {
        config->hyperv = ask_hyperv(config->kvm_fd);
    }
    const struct kvm_cpuid_entry2 *e = config->hyperv ? find(config->hyperv, leaf, 0) : NULL;
    for (uint8_t reg = 0; reg < 4; reg++) {
        regs[reg] = e ? entry_register(e, reg) : 0;
    }
    return e != NULL;
}

/* ---- the guest's table ----------------------------------------------------------------------- */

/* Subleaves that a leaf has; 1: it has no index. */
static unsigned subleaves(const Cpu *cpu, uint32_t leaf)
{
    switch (leaf) {
    case 4: return 5;
    case 7: return cpu->level_func7 + 1 < 3 ? cpu->level_func7 + 1 : 3;
    case 0xb: return 3;
    case 0xd: return 64;
    case 0x1f: return 4;
    case 0x8000001d: return 5;
    default: return 1;
    }
}

static bool has_index(uint32_t leaf)
{
    return leaf == 4 || leaf == 7 || leaf == 0xb || leaf == 0xd || leaf == 0x1f ||
           leaf == 0x8000001d;
}

static void add_leaf(const Cpu *cpu, GArray *entries, uint32_t leaf)
{
    for (unsigned i = 0; i < subleaves(cpu, leaf); i++) {
        uint32_t regs[4];

        cpu_cpuid(cpu, leaf, i, regs);
        if (!(regs[0] | regs[1] | regs[2] | regs[3]) && leaf != 0) {
            continue; /* the kernel answers zeros for what is not in the table */
        }
        struct kvm_cpuid_entry2 e = {.function = leaf,
                                     .index = i,
                                     .flags = has_index(leaf) ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
                                     .eax = regs[CPUID_EAX],
                                     .ebx = regs[CPUID_EBX],
                                     .ecx = regs[CPUID_ECX],
                                     .edx = regs[CPUID_EDX]};
        g_array_append_val(entries, e);
    }
}

struct kvm_cpuid2 *kvm_cpuid_build(Cpu *cpu)
{
    g_autoptr(GArray) entries = g_array_sized_new(false, true, sizeof(struct kvm_cpuid_entry2), 48);
    static const uint32_t kvm_leaves[] = {0x40000000, 0x40000001, 0x40000002, 0x40000003,
                                          0x40000004, 0x40000005, 0x4000000a, 0x40000010,
                                          0x40000100, 0x40000101, 0xc0000000, 0xc0000001};

    /* Above these levels nothing is defined here, whatever -cpu level= says. */
    for (uint32_t leaf = 0; leaf <= MIN(cpu->level, 0x20); leaf++) {
        add_leaf(cpu, entries, leaf);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(kvm_leaves); i++) {
        add_leaf(cpu, entries, kvm_leaves[i]);
    }
    for (uint32_t leaf = 0x80000000; leaf <= MIN(cpu->xlevel, 0x80000020); leaf++) {
        add_leaf(cpu, entries, leaf);
    }
    struct kvm_cpuid2 *table = g_malloc0(sizeof *table + entries->len * sizeof table->entries[0]);
    table->nent = entries->len;
    memcpy(table->entries, entries->data, entries->len * sizeof table->entries[0]);
    return table;
}
