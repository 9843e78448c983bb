/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MSRs of a vCPU in one batch (Documentation/virt/kvm/api.rst 4.18, 4.19).
 *
 * The table says index, place in X86State and when the register is there. A register that the
 * kernel refuses is stepped over when it holds its reset value 0, and is an error otherwise: a
 * guest must not lose state silently.
 */
#include "accel/kvm/kvm_msrs.h"

#include <asm/kvm_para.h>
#include <errno.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include "accel/kvm/kvm_cpuid.h"
#include "accel/x86/cpu_config.h"
#include "accel/x86/hyperv.h"
#include "util/log.h"
#include "util/trace.h"

#define MSR_BATCH 224
#define MTRR_VARS 8

typedef enum MsrNeed {
    NEED_NOTHING, /* every KVM has it */
    NEED_LISTED,  /* when KVM_GET_MSR_INDEX_LIST names it */
    NEED_FEATURE, /* listed, and the feature bit is on */
    NEED_HYPERV,  /* the enlightenment is on */
    NEED_HYPERV_VM, /* any one is on; of the VM, so CPU 0 has it */
} MsrNeed;

typedef struct MsrRow {
    uint32_t index;
    uint16_t offset; /* in X86State */
    uint8_t size;
    uint8_t need; /* MsrNeed */
    bool full;    /* written after a reset or load only */
    uint8_t word, bit;
} MsrRow;

#define ROW(msr, field, ...)                                                                       \
    {                                                                                              \
        .index = (msr), .offset = offsetof(X86State, field),                                       \
        .size = sizeof(((X86State *)0)->field), ##__VA_ARGS__                                      \
    }
#define LISTED .need = NEED_LISTED
#define FEATURE(w, b) .need = NEED_FEATURE, .word = FEAT_##w, .bit = (b)
#define HYPERV(f) .need = NEED_HYPERV, .bit = HV_##f
#define FULL .full = true

static const MsrRow msr_rows[] = {
    ROW(0x174, sysenter_cs),
    ROW(0x175, sysenter_esp),
    ROW(0x176, sysenter_eip),
    ROW(0x277, pat),
    ROW(0xc0000081, star),
    ROW(0xc0000082, lstar),
    ROW(0xc0000083, cstar),
    ROW(0xc0000084, fmask),
    ROW(0xc0000102, kernelgsbase),
    ROW(0xc0010117, vm_hsave, LISTED),
    ROW(0xc0000103, tsc_aux, FEATURE(8000_0001_EDX, 27)),
    ROW(0x3b, tsc_adjust, LISTED),
    ROW(0x1a0, msr_ia32_misc_enable, LISTED),
    ROW(0x9e, smbase, LISTED),
    ROW(0x34, msr_smi_count, LISTED),
    ROW(0xd90, msr_bndcfgs, FEATURE(7_0_EBX, 14)),
    ROW(0xda0, xss, FEATURE(XSAVE, 3)),
    ROW(0xe1, umwait, FEATURE(7_0_ECX, 5)),
    ROW(0x6e1, pkrs, FEATURE(7_0_ECX, 31)),
    ROW(0x48, spec_ctrl, LISTED),
    ROW(0xc001011f, virt_ssbd, LISTED),
    ROW(0x122, tsx_ctrl, FEATURE(ARCH_CAPABILITIES, 7)),
    ROW(0xc0000104, amd_tsc_scale_msr, FEATURE(SVM, 4)),
    ROW(0x3a, msr_ia32_feature_control, FEATURE(1_ECX, 5)),
    ROW(0x1c4, msr_xfd, FEATURE(XSAVE, 4)),
    ROW(0x1c5, msr_xfd_err, FEATURE(XSAVE, 4)),
    ROW(0x12, system_time_msr, FULL, FEATURE(KVM, KVM_FEATURE_CLOCKSOURCE)),
    ROW(0x11, wall_clock_msr, FULL, FEATURE(KVM, KVM_FEATURE_CLOCKSOURCE)),
    ROW(MSR_KVM_ASYNC_PF_INT, async_pf_int_msr, FULL, FEATURE(KVM, KVM_FEATURE_ASYNC_PF_INT)),
    ROW(MSR_KVM_ASYNC_PF_EN, async_pf_en_msr, FULL, FEATURE(KVM, KVM_FEATURE_ASYNC_PF)),
    ROW(MSR_KVM_STEAL_TIME, steal_time_msr, FULL, FEATURE(KVM, KVM_FEATURE_STEAL_TIME)),
    ROW(MSR_KVM_PV_EOI_EN, pv_eoi_en_msr, FULL, FEATURE(KVM, KVM_FEATURE_PV_EOI)),
    ROW(MSR_KVM_POLL_CONTROL, poll_control_msr, FULL, FEATURE(KVM, KVM_FEATURE_POLL_CONTROL)),
    ROW(0x2ff, mtrr_deftype, FULL),
    ROW(0x250, mtrr_fixed[0], FULL),
    ROW(0x258, mtrr_fixed[1], FULL),
    ROW(0x259, mtrr_fixed[2], FULL),
    ROW(0x268, mtrr_fixed[3], FULL),
    ROW(0x269, mtrr_fixed[4], FULL),
    ROW(0x26a, mtrr_fixed[5], FULL),
    ROW(0x26b, mtrr_fixed[6], FULL),
    ROW(0x26c, mtrr_fixed[7], FULL),
    ROW(0x26d, mtrr_fixed[8], FULL),
    ROW(0x26e, mtrr_fixed[9], FULL),
    ROW(0x26f, mtrr_fixed[10], FULL),
    ROW(0x40000000, msr_hv_guest_os_id, FULL, .need = NEED_HYPERV_VM), /* before the next */
    ROW(0x40000001, msr_hv_hypercall, FULL, .need = NEED_HYPERV_VM),
    ROW(0x40000073, msr_hv_vapic, FULL, HYPERV(VAPIC)),
    ROW(0x40000021, msr_hv_tsc, FULL, HYPERV(TIME)),
    ROW(0x40000010, msr_hv_runtime, FULL, HYPERV(RUNTIME)),
    ROW(0x40000100, msr_hv_crash_params[0], FULL, HYPERV(CRASH)),
    ROW(0x40000101, msr_hv_crash_params[1], FULL, HYPERV(CRASH)),
    ROW(0x40000102, msr_hv_crash_params[2], FULL, HYPERV(CRASH)),
    ROW(0x40000103, msr_hv_crash_params[3], FULL, HYPERV(CRASH)),
    ROW(0x40000104, msr_hv_crash_params[4], FULL, HYPERV(CRASH)),
    ROW(0x40000080, msr_hv_synic_control, FULL, HYPERV(SYNIC)),
    ROW(0x40000082, msr_hv_synic_evt_page, FULL, HYPERV(SYNIC)),
    ROW(0x40000083, msr_hv_synic_msg_page, FULL, HYPERV(SYNIC)),
    ROW(0x40000090, msr_hv_synic_sint[0], FULL, HYPERV(SYNIC)),
    ROW(0x40000091, msr_hv_synic_sint[1], FULL, HYPERV(SYNIC)),
    ROW(0x40000092, msr_hv_synic_sint[2], FULL, HYPERV(SYNIC)),
    ROW(0x40000093, msr_hv_synic_sint[3], FULL, HYPERV(SYNIC)),
    ROW(0x40000094, msr_hv_synic_sint[4], FULL, HYPERV(SYNIC)),
    ROW(0x40000095, msr_hv_synic_sint[5], FULL, HYPERV(SYNIC)),
    ROW(0x40000096, msr_hv_synic_sint[6], FULL, HYPERV(SYNIC)),
    ROW(0x40000097, msr_hv_synic_sint[7], FULL, HYPERV(SYNIC)),
    ROW(0x40000098, msr_hv_synic_sint[8], FULL, HYPERV(SYNIC)),
    ROW(0x40000099, msr_hv_synic_sint[9], FULL, HYPERV(SYNIC)),
    ROW(0x4000009a, msr_hv_synic_sint[10], FULL, HYPERV(SYNIC)),
    ROW(0x4000009b, msr_hv_synic_sint[11], FULL, HYPERV(SYNIC)),
    ROW(0x4000009c, msr_hv_synic_sint[12], FULL, HYPERV(SYNIC)),
    ROW(0x4000009d, msr_hv_synic_sint[13], FULL, HYPERV(SYNIC)),
    ROW(0x4000009e, msr_hv_synic_sint[14], FULL, HYPERV(SYNIC)),
    ROW(0x4000009f, msr_hv_synic_sint[15], FULL, HYPERV(SYNIC)),
    ROW(0x400000b0, msr_hv_stimer_config[0], FULL, HYPERV(STIMER)),
    ROW(0x400000b1, msr_hv_stimer_count[0], FULL, HYPERV(STIMER)),
    ROW(0x400000b2, msr_hv_stimer_config[1], FULL, HYPERV(STIMER)),
    ROW(0x400000b3, msr_hv_stimer_count[1], FULL, HYPERV(STIMER)),
    ROW(0x400000b4, msr_hv_stimer_config[2], FULL, HYPERV(STIMER)),
    ROW(0x400000b5, msr_hv_stimer_count[2], FULL, HYPERV(STIMER)),
    ROW(0x400000b6, msr_hv_stimer_config[3], FULL, HYPERV(STIMER)),
    ROW(0x400000b7, msr_hv_stimer_count[3], FULL, HYPERV(STIMER)),
    ROW(0x40000106, msr_hv_reenlightenment_control, FULL, HYPERV(REENLIGHTENMENT)),
    ROW(0x40000107, msr_hv_tsc_emulation_control, FULL, HYPERV(REENLIGHTENMENT)),
    ROW(0x40000108, msr_hv_tsc_emulation_status, FULL, HYPERV(REENLIGHTENMENT)),
};

#define DEADLINE_ROW ROW(0x6e0, tsc_deadline, FEATURE(1_ECX, 24))

/* ---- a batch --------------------------------------------------------------------------------- */

typedef struct MsrBatch {
    struct kvm_msrs head;
    struct kvm_msr_entry entries[MSR_BATCH];
    uint64_t *fields[MSR_BATCH]; /* where a value goes when getting; NULL: row */
    const MsrRow *rows[MSR_BATCH];
} MsrBatch;

static void add(MsrBatch *batch, uint32_t index, uint64_t value, uint64_t *field, const MsrRow *row)
{
    unsigned n = batch->head.nmsrs;

    g_assert(n < MSR_BATCH);
    batch->entries[n] = (struct kvm_msr_entry){.index = index, .data = value};
    batch->fields[n] = field;
    batch->rows[n] = row;
    batch->head.nmsrs++;
}

static uint64_t load_row(const X86State *env, const MsrRow *row)
{
    return load_le((const char *)env + row->offset, row->size);
}

static bool listed(const CpuConfig *config, uint32_t index)
{
    for (unsigned i = 0; config->msrs && i < config->msrs->nmsrs; i++) {
        if (config->msrs->indices[i] == index) {
            return true;
        }
    }
    return false;
}

static bool row_exists(const Cpu *cpu, const MsrRow *row)
{
    switch ((MsrNeed)row->need) {
    case NEED_NOTHING: return true;
    case NEED_LISTED: return listed(cpu_config(cpu->dev.vm), row->index);
    case NEED_FEATURE: return cpu_has_feature(cpu, (FeatureWord)row->word, row->bit);
    case NEED_HYPERV: return cpu_has_hyperv(cpu, (HypervFeature)row->bit);
    case NEED_HYPERV_VM: return cpu->index == 0 && hyperv_enabled(cpu);
    }
    return false;
}

/* Bits of a variable MTRR's mask above the guest's physical addresses. */
static uint64_t mtrr_top_bits(const Cpu *cpu)
{
    return cpu->fill_mtrr_mask && cpu->phys_bits < 52
               ? (UINT64_C(1) << 52) - (UINT64_C(1) << cpu->phys_bits)
               : 0;
}

static void add_rows(Cpu *cpu, MsrBatch *batch, bool full)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(msr_rows); i++) {
        const MsrRow *row = &msr_rows[i];

        if ((full || !row->full) && row_exists(cpu, row)) {
            add(batch, row->index, load_row(&cpu->env, row), NULL, row);
        }
    }
}

static void add_field(MsrBatch *batch, uint32_t index, uint64_t *field)
{
    add(batch, index, *field, field, NULL);
}

/* Performance counters, as many as leaf 0Ah tells the guest of. */
static void add_pmu(Cpu *cpu, MsrBatch *batch, bool putting)
{
    X86State *env = &cpu->env;
    uint32_t regs[4];

    cpu_cpuid(cpu, 0xa, 0, regs);
    unsigned version = regs[CPUID_EAX] & 0xff, gp = regs[CPUID_EAX] >> 8 & 0xff,
             fixed = regs[CPUID_EDX] & 0x1f;
    if (!cpu->pmu || !version) {
        return;
    }
    if (version > 1 && putting) { /* stopped while they change */
        add(batch, 0x38d, 0, NULL, NULL);
        add(batch, 0x38f, 0, NULL, NULL);
    }
    for (unsigned i = 0; version > 1 && i < MIN(fixed, X86_PMU_FIXED); i++) {
        add_field(batch, 0x309 + i, &env->msr_fixed_counters[i]);
    }
    for (unsigned i = 0; i < MIN(gp, X86_PMU_GP); i++) {
        add_field(batch, 0xc1 + i, &env->msr_gp_counters[i]);
        add_field(batch, 0x186 + i, &env->msr_gp_evtsel[i]);
    }
    if (version > 1) {
        add_field(batch, 0x38e, &env->msr_global_status);
        add_field(batch, 0x390, &env->msr_global_ovf_ctrl);
        add_field(batch, 0x38d, &env->msr_fixed_ctr_ctrl);
        add_field(batch, 0x38f, &env->msr_global_ctrl);
    }
}

static void add_mtrr_vars(Cpu *cpu, MsrBatch *batch)
{
    uint64_t top = mtrr_top_bits(cpu);

    for (unsigned i = 0; i < MTRR_VARS; i++) {
        X86MtrrVar *var = &cpu->env.mtrr_var[i];

        add_field(batch, 0x200 + 2 * i, &var->base);
        add(batch, 0x201 + 2 * i, var->mask & ~top, &var->mask, NULL);
    }
}

static void add_mce(Cpu *cpu, MsrBatch *batch)
{
    X86State *env = &cpu->env;

    if (!env->mcg_cap) {
        return;
    }
    add_field(batch, 0x17a, &env->mcg_status);
    add_field(batch, 0x17b, &env->mcg_ctl);
    for (unsigned i = 0; i < 4 * MIN(env->mcg_cap & 0xff, X86_MCE_BANKS); i++) {
        add_field(batch, 0x400 + i, &env->mce_banks[i]);
    }
}

/* ---- to and from the kernel ------------------------------------------------------------------ */

static bool set_batch(Cpu *cpu, int vcpu_fd, MsrBatch *batch, GError **err)
{
    unsigned count = batch->head.nmsrs, start = 0;

    while (start < count) {
        batch->head.nmsrs = count - start;
        memmove(batch->entries, batch->entries + (start ? start : 0),
                (count - start) * sizeof batch->entries[0]);
        int done = ioctl(vcpu_fd, KVM_SET_MSRS, batch);
        if (done < 0) {
            return error_set_errno(err, errno, "CPU %u: cannot set MSRs", cpu->index);
        }
        count -= start;
        start = (unsigned)done;
        if (start < count) {
            const struct kvm_msr_entry *e = &batch->entries[start];

            trace(kvm_msr_refused, "cpu %u msr 0x%x value 0x%" PRIx64, cpu->index, e->index,
                  (uint64_t)e->data);
            if (e->data) {
                return error_set(err, "CPU %u: KVM refuses to set MSR 0x%x to 0x%" PRIx64,
                                 cpu->index, e->index, (uint64_t)e->data);
            }
            start++;
        }
    }
    return true;
}

static void store_value(Cpu *cpu, uint64_t *field, const MsrRow *row, uint64_t value)
{
    if (row) {
        store_le((char *)&cpu->env + row->offset, value, row->size);
    } else if (field) {
        *field = value;
    }
}

static bool get_batch(Cpu *cpu, int vcpu_fd, MsrBatch *batch, GError **err)
{
    unsigned count = batch->head.nmsrs, first = 0;

    while (first < count) {
        batch->head.nmsrs = count - first;
        int done = ioctl(vcpu_fd, KVM_GET_MSRS, batch);
        if (done < 0) {
            return error_set_errno(err, errno, "CPU %u: cannot read MSRs", cpu->index);
        }
        for (unsigned i = 0; i < (unsigned)done; i++) {
            store_value(cpu, batch->fields[first + i], batch->rows[first + i],
                        batch->entries[i].data);
        }
        if (first + (unsigned)done < count) { /* this one is not there: keep what we had */
            trace(kvm_msr_absent, "cpu %u msr 0x%x", cpu->index, batch->entries[done].index);
            done++;
        }
        first += (unsigned)done;
        memmove(batch->entries, batch->entries + done, (count - first) * sizeof batch->entries[0]);
    }
    return true;
}

bool kvm_msrs_get(Cpu *cpu, int vcpu_fd, GError **err)
{
    static const MsrRow deadline = DEADLINE_ROW;
    X86State *env = &cpu->env;
    MsrBatch batch;

    batch.head = (struct kvm_msrs){0};
    add_rows(cpu, &batch, true);
    if (row_exists(cpu, &deadline)) {
        add(&batch, deadline.index, 0, NULL, &deadline);
    }
    if (!env->tsc_changed) {
        add_field(&batch, 0x10, &env->tsc);
    }
    add_pmu(cpu, &batch, false);
    add_mtrr_vars(cpu, &batch);
    add_mce(cpu, &batch);
    if (!get_batch(cpu, vcpu_fd, &batch, err)) {
        return false;
    }
    for (unsigned i = 0; i < MTRR_VARS; i++) {
        env->mtrr_var[i].mask |= mtrr_top_bits(cpu);
    }
    return true;
}

bool kvm_msrs_put(Cpu *cpu, int vcpu_fd, bool full, GError **err)
{
    MsrBatch batch;

    batch.head = (struct kvm_msrs){0};
    add_rows(cpu, &batch, full);
    if (full) {
        if (cpu->env.tsc_changed) {
            add(&batch, 0x10, cpu->env.tsc, NULL, NULL);
        }
        add_pmu(cpu, &batch, true);
        add_mtrr_vars(cpu, &batch);
        add_mce(cpu, &batch);
    }
    if (!set_batch(cpu, vcpu_fd, &batch, err)) {
        return false;
    }
    cpu->env.tsc_changed = cpu->env.tsc_changed && !full;
    return true;
}

bool kvm_msrs_put_deadline(Cpu *cpu, int vcpu_fd, GError **err)
{
    static const MsrRow deadline = DEADLINE_ROW;
    MsrBatch batch;

    if (!row_exists(cpu, &deadline)) {
        return true;
    }
    batch.head = (struct kvm_msrs){0};
    add(&batch, deadline.index, cpu->env.tsc_deadline, NULL, &deadline);
    return set_batch(cpu, vcpu_fd, &batch, err);
}

/* ---- once per vCPU --------------------------------------------------------------------------- */

typedef struct OneMsr {
    struct kvm_msrs head;
    struct kvm_msr_entry entry;
} OneMsr;

/* Some kernels let nobody write a capability MSR; their own value does, when its named bits are
 * ours. */
static void init_capability(Cpu *cpu, int vcpu_fd, uint32_t index, FeatureWord word)
{
    OneMsr msr = {.head.nmsrs = 1, .entry = {.index = index, .data = cpu->features[word]}};

    if (ioctl(vcpu_fd, KVM_SET_MSRS, &msr) == 1) {
        return;
    }
    trace(kvm_msr_refused, "cpu %u msr 0x%x value 0x%" PRIx64, cpu->index, index,
          cpu->features[word]);
    msr.entry.data = 0;
    bool known = ioctl(vcpu_fd, KVM_GET_MSRS, &msr) == 1;
    if (cpu->index == 0 &&
        (!known || (msr.entry.data & feature_named(word)) != cpu->features[word])) {
        report_warning("KVM refuses to set MSR 0x%x to 0x%" PRIx64 ": the guest sees 0x%" PRIx64,
                       index, cpu->features[word], (uint64_t)msr.entry.data);
    }
}

/* Controls that are 1 unless a true capability MSR says otherwise (SDM vol. 3, A.3 to A.5). */
static uint64_t vmx_default1(FeatureWord word)
{
    switch (word) {
    case FEAT_VMX_PIN: return 0x16;
    case FEAT_VMX_PROC: return 0x0401e172;
    case FEAT_VMX_EXIT: return 0x00036dff;
    case FEAT_VMX_ENTRY: return 0x000011ff;
    default: return 0;
    }
}

/* A VMX capability MSR: KVM's, with the controls that this CPU's named bits leave. */
static uint64_t vmx_capability(const Cpu *cpu, FeatureWord word)
{
    uint64_t host = kvm_cpuid_feature_msr(cpu->dev.vm, feature_words[word].msr);
    uint64_t named = feature_named(word), have = cpu->features[word] & named;

    if (!feature_word_is_vmx_control(word)) {
        return (host & ~named) | have;
    }
    uint64_t must_be_1 = (uint32_t)host | (vmx_default1(word) & named & ~have);
    uint64_t can_be_1 = (host >> 32 & ~named) | have | must_be_1;
    return can_be_1 << 32 | must_be_1;
}

/* KVM starts a vCPU with all that it has: only what differs is written. */
static bool init_vmx(Cpu *cpu, int vcpu_fd, GError **err)
{
    for (FeatureWord word = FEAT_VMX_BASIC; word <= FEAT_VMX_VMFUNC; word++) {
        uint64_t named = feature_named(word);

        if (!((kvm_cpuid_supported_word(cpu->dev.vm, word) ^ cpu->features[word]) & named)) {
            continue;
        }
        OneMsr msr = {.head.nmsrs = 1,
                      .entry = {.index = feature_words[word].msr,
                                .data = vmx_capability(cpu, word)}};
        if (ioctl(vcpu_fd, KVM_SET_MSRS, &msr) != 1) {
            return error_set(err,
                             "CPU %u: KVM refuses to set the VMX capability MSR 0x%x to "
                             "0x%" PRIx64 "; leave out the vmx-* features, or take -cpu host",
                             cpu->index, feature_words[word].msr, (uint64_t)msr.entry.data);
        }
    }
    return true;
}

static bool enable_cap(int vcpu_fd, uint32_t number, uint64_t arg)
{
    struct kvm_enable_cap cap = {.cap = number, .args[0] = arg};

    return ioctl(vcpu_fd, KVM_ENABLE_CAP, &cap) == 0;
}

/* What the kernel does for a guest only when told so, before its MSRs are there. */
static bool init_hyperv(Cpu *cpu, int vcpu_fd, GError **err)
{
    OneMsr vp_index = {.head.nmsrs = 1, .entry = {.index = 0x40000002, .data = cpu->index}};

    if (cpu->hv_enforce_cpuid && !enable_cap(vcpu_fd, KVM_CAP_HYPERV_ENFORCE_CPUID, 1)) {
        return error_set_errno(err, errno, "-cpu: hv-enforce-cpuid: this host's KVM cannot do it");
    }
    if (cpu_has_hyperv(cpu, HV_VPINDEX) && ioctl(vcpu_fd, KVM_SET_MSRS, &vp_index) != 1) {
        return error_set(err, "-cpu: hv-vpindex: kernel doesn't allow setting HyperV VP_INDEX");
    }
    if (cpu_has_hyperv(cpu, HV_SYNIC) && !enable_cap(vcpu_fd, KVM_CAP_HYPERV_SYNIC2, 0)) {
        return error_set_errno(err, errno,
                               "-cpu: hv-synic: failed to turn on HyperV SynIC in KVM");
    }
    if (cpu_has_hyperv(cpu, HV_TLBFLUSH_DIRECT) &&
        !enable_cap(vcpu_fd, KVM_CAP_HYPERV_DIRECT_TLBFLUSH, 0)) {
        return error_set_errno(err, errno, "-cpu: hv-tlbflush-direct: KVM refuses it");
    }
    return true;
}

bool kvm_msrs_init(Cpu *cpu, int vcpu_fd, GError **err)
{
    OneMsr ucode = {.head.nmsrs = 1, .entry = {.index = 0x8b, .data = cpu->ucode_rev}};

    if (cpu_has_feature(cpu, FEAT_7_0_EDX, 29)) {
        init_capability(cpu, vcpu_fd, 0x10a, FEAT_ARCH_CAPABILITIES);
    }
    if (cpu_has_feature(cpu, FEAT_7_0_EDX, 30)) {
        init_capability(cpu, vcpu_fd, 0xcf, FEAT_CORE_CAPABILITY);
    }
    if (cpu_has_feature(cpu, FEAT_1_ECX, 15) && cpu->pmu) {
        init_capability(cpu, vcpu_fd, 0x345, FEAT_PERF_CAPABILITIES);
    }
    if (cpu->ucode_rev && ioctl(vcpu_fd, KVM_SET_MSRS, &ucode) != 1) {
        trace(kvm_msr_refused, "cpu %u msr 0x8b value 0x%" PRIx64, cpu->index, cpu->ucode_rev);
    }
    return (!cpu_has_feature(cpu, FEAT_1_ECX, 5) || init_vmx(cpu, vcpu_fd, err)) &&
           (!hyperv_enabled(cpu) || init_hyperv(cpu, vcpu_fd, err));
}
