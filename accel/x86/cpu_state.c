/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The stream's sections "cpu_common" version 1 and "cpu" version 12, with QEMU 7.2's subsections.
 *
 * hflags and hflags2 are QEMU's digests of registers (facts observed on its streams); they are
 * computed when saving and not looked at when loading. Not sent: SGX, PT, LBR, AMX tiles and nested
 * guests.
 */
#include "accel/x86/cpu_state.h"

#include "accel/x86/cpu_config.h"
#include "util/log.h"

#define MP_STATE_MAX 9

/* ---- conversions ----------------------------------------------------------------------------- */

enum {
    HF_INHIBIT_IRQ = 1 << 3,
    HF_CS32 = 1 << 4,
    HF_SS32 = 1 << 5,
    HF_ADDSEG = 1 << 6,
    HF_PE = 1 << 7,
    HF_LMA = 1 << 14,
    HF_CS64 = 1 << 15,
    HF_SMM = 1 << 19,
    HF_OSFXSR = 1 << 22,
    HF2_GIF = 1 << 0,
    HF2_NMI = 1 << 2,
    HF2_SMM_INSIDE_NMI = 1 << 4,
    HF2_VGIF = 1 << 8,
};
#define HF_MP_EM_TS_SHIFT 8   /* CR0 bits 1 to 3 go to bits 9 to 11 */
#define EFLAGS_IN_HF 0x23100u /* TF, IOPL, VM: at the same bits */

static uint32_t segment_hflags(const X86State *env)
{
    uint32_t flags = 0;
    bool real = !(env->cr[0] & 1) || env->eflags >> 17 & 1;

    if (env->efer >> 10 & 1 && env->segs[SEG_CS].flags & SEG_L) {
        return HF_LMA | HF_CS32 | HF_SS32 | HF_CS64;
    }
    flags |= env->efer >> 10 & 1 ? HF_LMA : 0;
    flags |= env->segs[SEG_CS].flags & SEG_DB ? HF_CS32 : 0;
    flags |= env->segs[SEG_SS].flags & SEG_DB ? HF_SS32 : 0;
    if (real || !(flags & HF_CS32) || env->segs[SEG_DS].base || env->segs[SEG_ES].base ||
        env->segs[SEG_SS].base) {
        flags |= HF_ADDSEG;
    }
    return flags;
}

static uint32_t compute_hflags(const X86State *env)
{
    uint32_t flags = segment_hflags(env);

    flags |= env->segs[SEG_SS].flags >> SEG_DPL_SHIFT & 3;
    flags |= env->cr[0] & 1 ? HF_PE : 0;
    flags |= (uint32_t)(env->cr[0] & 0xe) << HF_MP_EM_TS_SHIFT;
    flags |= (uint32_t)env->eflags & EFLAGS_IN_HF;
    flags |= env->cr[4] & 1u << 9 ? HF_OSFXSR : 0;
    flags |= env->interrupt_shadow ? HF_INHIBIT_IRQ : 0;
    flags |= env->smm ? HF_SMM : 0;
    return flags;
}

static void cpu_pre_save(void *obj)
{
    Cpu *cpu = obj;
    X86State *env = &cpu->env;

    env->hflags = compute_hflags(env);
    env->hflags2 = HF2_GIF | HF2_VGIF | (env->nmi_masked ? HF2_NMI : 0) |
                   (env->smm_inside_nmi ? HF2_SMM_INSIDE_NMI : 0);
    env->fpus_vmstate = env->fpus;
    env->fptag_vmstate = env->fptag;
    env->fpregs_format_vmstate = 0;
    env->a20_mask = -1;
    env->dr[4] = env->dr[6]; /* aliases, without CR4.DE */
    env->dr[5] = env->dr[7];
}

static bool cpu_post_load(void *obj, unsigned version, GError **err)
{
    Cpu *cpu = obj;
    X86State *env = &cpu->env;

    if (env->fpregs_format_vmstate) {
        return error_set(err,
                         "env.fpregs_format_vmstate is %u: only 80-bit registers (0) are known",
                         env->fpregs_format_vmstate);
    }
    if (env->interrupt_injected < -1 || env->interrupt_injected > 255) {
        return error_set(err, "env.interrupt_injected is %d: no vector", env->interrupt_injected);
    }
    if (env->exception_nr < -1 || env->exception_nr > 31) {
        return error_set(err, "env.exception_nr is %d: no exception", env->exception_nr);
    }
    if ((env->mcg_cap & 0xff) > X86_MCE_BANKS) {
        return error_set(err, "env.mcg_cap has %u banks, at most %u are known",
                         (unsigned)(env->mcg_cap & 0xff), X86_MCE_BANKS);
    }
    env->fpus = env->fpus_vmstate;
    env->fptag = (uint8_t)env->fptag_vmstate;
    env->nmi_masked = env->hflags2 & HF2_NMI;
    env->smm = env->hflags & HF_SMM;
    env->smm_inside_nmi = env->hflags2 & HF2_SMM_INSIDE_NMI;
    env->interrupt_shadow = env->hflags & HF_INHIBIT_IRQ ? 3 : 0;
    env->exception_injected = env->exception_nr >= 0 && !env->exception_pending;
    env->tsc_changed = true;
    cpu->env_dirty = true;
    return true;
}

/* A stream without the subsection means its default. */
static bool cpu_pre_load(void *obj, GError **err)
{
    X86State *env = &((Cpu *)obj)->env;

    state_keep(env, sizeof *env);
    env->poll_control_msr = 1;
    env->msr_ia32_misc_enable = 1;
    env->pdptrs_valid = false;
    env->exception_pending = env->exception_has_payload = env->triple_fault_pending = 0;
    env->async_pf_en_msr = env->async_pf_int_msr = env->pv_eoi_en_msr = env->steal_time_msr = 0;
    env->tsc_adjust = env->tsc_deadline = env->msr_smi_count = env->msr_ia32_feature_control = 0;
    env->xss = env->umwait = env->spec_ctrl = env->virt_ssbd = env->tsx_ctrl = env->pkrs = 0;
    env->amd_tsc_scale_msr = env->msr_xfd = env->msr_xfd_err = env->fpip = env->fpdp = 0;
    env->fpop = 0;
    env->pkru = 0;
    cpu_reset_hyperv(env);
    return true;
}

/* ---- the kinds of the wire ------------------------------------------------------------------- */

/* An 80-bit register: mantissa, then sign and exponent. */
static void put_fpreg(StateBuf *buf, const StateField *field, const void *elem, size_t size)
{
    const X86FpReg *r = elem;

    state_put_be(buf, r->mantissa, 8);
    state_put_be(buf, r->exponent, 2);
}

static bool get_fpreg(StateBuf *buf, const StateField *field, void *elem, size_t size, GError **err)
{
    X86FpReg r = {.mantissa = state_get_be(buf, 8)};

    r.exponent = (uint16_t)state_get_be(buf, 2);
    *(X86FpReg *)elem = r;
    return true;
}

static const StateKind kind_fpreg = {.type = "tmp", .put = put_fpreg, .get = get_fpreg};

static const StateField fpreg_fields[] = {
    {.name = "tmp", .kind = &kind_fpreg, .size = 10, .stride = 10, .count = 1}, {}};
static const StateDesc fpreg_desc = {.name = "fpreg", .fields = fpreg_fields};

static const StateField segment_fields[] = {
    STATE_U32(X86Segment, selector),
    STATE_U64(X86Segment, base),
    STATE_U32(X86Segment, limit),
    STATE_U32(X86Segment, flags),
    {},
};
static const StateDesc segment_desc = {
    .name = "segment", .version = 1, .min_version = 1, .fields = segment_fields};

static const StateField mtrr_fields[] = {
    STATE_U64(X86MtrrVar, base),
    STATE_U64(X86MtrrVar, mask),
    {},
};
static const StateDesc mtrr_desc = {
    .name = "mtrr_var", .version = 1, .min_version = 1, .fields = mtrr_fields};

/* Quadwords of a ZMM register; the struct is uint64_t[8]. */
#define QUAD(n)                                                                                    \
    {                                                                                              \
        .name = "_q_ZMMReg[" #n "]", .kind = &state_kind_u64, .offset = (n)*8, .size = 8,          \
        .stride = 8, .count = 1                                                                    \
    }
static const StateField xmm_fields[] = {QUAD(0), QUAD(1), {}};
static const StateDesc xmm_desc = {
    .name = "xmm_reg", .version = 1, .min_version = 1, .fields = xmm_fields};
static const StateField ymmh_fields[] = {QUAD(2), QUAD(3), {}};
static const StateDesc ymmh_desc = {
    .name = "ymmh_reg", .version = 1, .min_version = 1, .fields = ymmh_fields};
static const StateField zmmh_fields[] = {QUAD(4), QUAD(5), QUAD(6), QUAD(7), {}};
static const StateDesc zmmh_desc = {
    .name = "zmmh_reg", .version = 1, .min_version = 1, .fields = zmmh_fields};
static const StateField zmm_fields[] = {QUAD(0), QUAD(1), QUAD(2), QUAD(3), QUAD(4),
                                        QUAD(5), QUAD(6), QUAD(7), {}};
static const StateDesc zmm_desc = {
    .name = "Hi16_ZMM_reg", .version = 1, .min_version = 1, .fields = zmm_fields};

#define VECTORS(first, field_name, d)                                                              \
    {                                                                                              \
        .name = (field_name), .kind = &state_kind_struct,                                          \
        .offset = offsetof(Cpu, env.xmm_regs[first]),                                              \
        .stride = sizeof(((Cpu *)0)->env.xmm_regs[0]), .count = 16, .array = true, .desc = (d)     \
    }

/* ---- subsections ----------------------------------------------------------------------------- */

#define SUBSECTION(ident, section, condition, ...)                                                 \
    static bool ident##_needed(void *obj)                                                          \
    {                                                                                              \
        const X86State *env = &((const Cpu *)obj)->env;                                            \
        return condition;                                                                          \
    }                                                                                              \
    static const StateField ident##_fields[] = {__VA_ARGS__, {}};                                  \
    static const StateDesc ident##_desc = {.name = (section),                                      \
                                           .version = 1,                                           \
                                           .min_version = 1,                                       \
                                           .fields = ident##_fields,                               \
                                           .needed = ident##_needed}

static bool any_nonzero(const void *p, size_t n)
{
    const uint8_t *bytes = p;

    return n && (bytes[0] || memcmp(bytes, bytes + 1, n - 1));
}

static bool avx512_used(const X86State *env)
{
    bool used = any_nonzero(env->opmask_regs, sizeof env->opmask_regs) ||
                any_nonzero(env->xmm_regs[16], 16 * sizeof env->xmm_regs[0]);

    for (unsigned i = 0; i < 16 && !used; i++) {
        used = any_nonzero(&env->xmm_regs[i][4], 32);
    }
    return used;
}

static bool pmu_used(const X86State *env)
{
    return env->msr_fixed_ctr_ctrl || env->msr_global_ctrl || env->msr_global_status ||
           env->msr_global_ovf_ctrl ||
           any_nonzero(env->msr_fixed_counters, sizeof env->msr_fixed_counters) ||
           any_nonzero(env->msr_gp_counters, sizeof env->msr_gp_counters) ||
           any_nonzero(env->msr_gp_evtsel, sizeof env->msr_gp_evtsel);
}

SUBSECTION(exception_info, "cpu/exception_info", env->exception_pending,
           STATE_U8(Cpu, env.exception_pending, .max = 1),
           STATE_U8(Cpu, env.exception_injected, .max = 1),
           STATE_U8(Cpu, env.exception_has_payload, .max = 1),
           STATE_U64(Cpu, env.exception_payload));
SUBSECTION(async_pf, "cpu/async_pf_msr", env->async_pf_en_msr, STATE_U64(Cpu, env.async_pf_en_msr));
SUBSECTION(async_pf_int, "cpu/async_pf_int_msr", env->async_pf_int_msr,
           STATE_U64(Cpu, env.async_pf_int_msr));
SUBSECTION(pv_eoi, "cpu/async_pv_eoi_msr", env->pv_eoi_en_msr, STATE_U64(Cpu, env.pv_eoi_en_msr));
SUBSECTION(steal_time, "cpu/steal_time_msr", env->steal_time_msr,
           STATE_U64(Cpu, env.steal_time_msr));
SUBSECTION(poll_control, "cpu/poll_control_msr", env->poll_control_msr != 1,
           STATE_U64(Cpu, env.poll_control_msr));
SUBSECTION(fpop, "cpu/fpop_ip_dp", env->fpop || env->fpip || env->fpdp, STATE_U16(Cpu, env.fpop),
           STATE_U64(Cpu, env.fpip), STATE_U64(Cpu, env.fpdp));
SUBSECTION(tsc_adjust, "cpu/msr_tsc_adjust", env->tsc_adjust, STATE_U64(Cpu, env.tsc_adjust));
SUBSECTION(smi_count, "cpu/msr_smi_count", env->msr_smi_count, STATE_U64(Cpu, env.msr_smi_count));
SUBSECTION(tscdeadline, "cpu/msr_tscdeadline", env->tsc_deadline, STATE_U64(Cpu, env.tsc_deadline));
SUBSECTION(misc_enable, "cpu/msr_ia32_misc_enable", env->msr_ia32_misc_enable != 1,
           STATE_U64(Cpu, env.msr_ia32_misc_enable));
SUBSECTION(feature_control, "cpu/msr_ia32_feature_control", env->msr_ia32_feature_control,
           STATE_U64(Cpu, env.msr_ia32_feature_control));
SUBSECTION(pmu, "cpu/msr_architectural_pmu", pmu_used(env), STATE_U64(Cpu, env.msr_fixed_ctr_ctrl),
           STATE_U64(Cpu, env.msr_global_ctrl), STATE_U64(Cpu, env.msr_global_status),
           STATE_U64(Cpu, env.msr_global_ovf_ctrl),
           STATE_ARRAY(Cpu, env.msr_fixed_counters, u64, X86_PMU_FIXED),
           STATE_ARRAY(Cpu, env.msr_gp_counters, u64, X86_PMU_GP),
           STATE_ARRAY(Cpu, env.msr_gp_evtsel, u64, X86_PMU_GP));

static const StateField bnd_fields[] = {
    {.name = "lb", .kind = &state_kind_u64, .offset = 0, .size = 8, .stride = 8, .count = 1},
    {.name = "ub", .kind = &state_kind_u64, .offset = 8, .size = 8, .stride = 8, .count = 1},
    {},
};
static const StateDesc bnd_desc = {
    .name = "bnd_regs", .version = 1, .min_version = 1, .fields = bnd_fields};
SUBSECTION(mpx, "cpu/mpx",
           any_nonzero(env->bnd_regs, sizeof env->bnd_regs) || env->bndcfgu || env->bndstatus ||
               env->msr_bndcfgs,
           STATE_STRUCT_ARRAY(Cpu, env.bnd_regs, &bnd_desc, 4),
           STATE_U64(Cpu, env.bndcfgu, .name = "env.bndcs_regs.cfgu"),
           STATE_U64(Cpu, env.bndstatus, .name = "env.bndcs_regs.sts"),
           STATE_U64(Cpu, env.msr_bndcfgs));
SUBSECTION(hv_hypercall, "cpu/msr_hyperv_hypercall",
           env->msr_hv_hypercall || env->msr_hv_guest_os_id, STATE_U64(Cpu, env.msr_hv_guest_os_id),
           STATE_U64(Cpu, env.msr_hv_hypercall));
SUBSECTION(hv_vapic, "cpu/msr_hyperv_vapic", env->msr_hv_vapic, STATE_U64(Cpu, env.msr_hv_vapic));
SUBSECTION(hv_time, "cpu/msr_hyperv_time", env->msr_hv_tsc, STATE_U64(Cpu, env.msr_hv_tsc));
SUBSECTION(hv_crash, "cpu/msr_hyperv_crash",
           any_nonzero(env->msr_hv_crash_params, sizeof env->msr_hv_crash_params),
           STATE_ARRAY(Cpu, env.msr_hv_crash_params, u64, 5));
SUBSECTION(hv_runtime, "cpu/msr_hyperv_runtime", env->msr_hv_runtime,
           STATE_U64(Cpu, env.msr_hv_runtime));

static bool synic_used(const X86State *env)
{
    bool used = env->msr_hv_synic_control || env->msr_hv_synic_evt_page ||
                env->msr_hv_synic_msg_page;

    for (unsigned i = 0; i < G_N_ELEMENTS(env->msr_hv_synic_sint) && !used; i++) {
        used = env->msr_hv_synic_sint[i] && env->msr_hv_synic_sint[i] != HV_SINT_MASKED;
    }
    return used;
}

SUBSECTION(hv_synic, "cpu/msr_hyperv_synic", synic_used(env),
           STATE_U64(Cpu, env.msr_hv_synic_control), STATE_U64(Cpu, env.msr_hv_synic_evt_page),
           STATE_U64(Cpu, env.msr_hv_synic_msg_page),
           STATE_ARRAY(Cpu, env.msr_hv_synic_sint, u64, 16));
SUBSECTION(hv_stimer, "cpu/msr_hyperv_stimer",
           any_nonzero(env->msr_hv_stimer_config, sizeof env->msr_hv_stimer_config) ||
               any_nonzero(env->msr_hv_stimer_count, sizeof env->msr_hv_stimer_count),
           STATE_ARRAY(Cpu, env.msr_hv_stimer_config, u64, 4),
           STATE_ARRAY(Cpu, env.msr_hv_stimer_count, u64, 4));
SUBSECTION(hv_reenlightenment, "cpu/msr_hyperv_reenlightenment",
           env->msr_hv_reenlightenment_control || env->msr_hv_tsc_emulation_control ||
               env->msr_hv_tsc_emulation_status,
           STATE_U64(Cpu, env.msr_hv_reenlightenment_control),
           STATE_U64(Cpu, env.msr_hv_tsc_emulation_control),
           STATE_U64(Cpu, env.msr_hv_tsc_emulation_status));
SUBSECTION(avx512, "cpu/avx512", avx512_used(env), STATE_ARRAY(Cpu, env.opmask_regs, u64, 8),
           VECTORS(0, "env.xmm_regs", &zmmh_desc), VECTORS(16, "env.xmm_regs", &zmm_desc));
SUBSECTION(xss, "cpu/xss", env->xss, STATE_U64(Cpu, env.xss));
SUBSECTION(umwait, "cpu/umwait", env->umwait, STATE_U32(Cpu, env.umwait));
SUBSECTION(tsc_khz, "cpu/tsc_khz", env->tsc_khz, STATE_I64(Cpu, env.tsc_khz));
SUBSECTION(pkru, "cpu/pkru", env->pkru, STATE_U32(Cpu, env.pkru));
SUBSECTION(pkrs, "cpu/pkrs", env->pkrs, STATE_U32(Cpu, env.pkrs));
SUBSECTION(spec_ctrl, "cpu/spec_ctrl", env->spec_ctrl, STATE_U64(Cpu, env.spec_ctrl));
SUBSECTION(tsc_scale, "cpu/amd_tsc_scale_msr",
           env->amd_tsc_scale_msr && env->amd_tsc_scale_msr != UINT64_C(1) << 32,
           STATE_U64(Cpu, env.amd_tsc_scale_msr));
SUBSECTION(virt_ssbd, "cpu/virt_ssbd", env->virt_ssbd, STATE_U64(Cpu, env.virt_ssbd));
SUBSECTION(tsx_ctrl, "cpu/msr_tsx_ctrl", env->tsx_ctrl, STATE_U32(Cpu, env.tsx_ctrl));
SUBSECTION(xfd, "cpu/msr_xfd", env->msr_xfd || env->msr_xfd_err, STATE_U64(Cpu, env.msr_xfd),
           STATE_U64(Cpu, env.msr_xfd_err));
SUBSECTION(triple_fault, "cpu/triple_fault", env->triple_fault_pending,
           STATE_U8(Cpu, env.triple_fault_pending, .max = 1));

static bool pdptrs_needed(void *obj) { return ((const Cpu *)obj)->env.pdptrs_valid; }
static bool pdptrs_post_load(void *obj, unsigned version, GError **err)
{
    ((Cpu *)obj)->env.pdptrs_valid = true;
    return true;
}
static const StateField pdptrs_fields[] = {STATE_ARRAY(Cpu, env.pdptrs, u64, 4), {}};
static const StateDesc pdptrs_desc = {.name = "cpu/pdptrs",
                                      .version = 1,
                                      .min_version = 1,
                                      .fields = pdptrs_fields,
                                      .needed = pdptrs_needed,
                                      .post_load = pdptrs_post_load};

static const StateDesc *const cpu_subsections[] = {
    &exception_info_desc,
    &async_pf_desc,
    &async_pf_int_desc,
    &pv_eoi_desc,
    &steal_time_desc,
    &poll_control_desc,
    &fpop_desc,
    &tsc_adjust_desc,
    &smi_count_desc,
    &tscdeadline_desc,
    &misc_enable_desc,
    &feature_control_desc,
    &pmu_desc,
    &mpx_desc,
    &hv_hypercall_desc,
    &hv_vapic_desc,
    &hv_time_desc,
    &hv_crash_desc,
    &hv_runtime_desc,
    &hv_synic_desc,
    &hv_stimer_desc,
    &hv_reenlightenment_desc,
    &avx512_desc,
    &xss_desc,
    &umwait_desc,
    &tsc_khz_desc,
    &pkru_desc,
    &pkrs_desc,
    &spec_ctrl_desc,
    &tsc_scale_desc,
    &virt_ssbd_desc,
    &tsx_ctrl_desc,
    &pdptrs_desc,
    &xfd_desc,
    &triple_fault_desc,
    NULL,
};

/* ---- the sections ---------------------------------------------------------------------------- */

static const StateField cpu_fields[] = {
    STATE_ARRAY(Cpu, env.regs, u64, 16),
    STATE_U64(Cpu, env.eip),
    STATE_U64(Cpu, env.eflags),
    STATE_U32(Cpu, env.hflags),
    STATE_U16(Cpu, env.fpuc),
    STATE_U16(Cpu, env.fpus_vmstate),
    STATE_U16(Cpu, env.fptag_vmstate, .max = 0xff),
    STATE_U16(Cpu, env.fpregs_format_vmstate),
    STATE_STRUCT_ARRAY(Cpu, env.fpregs, &fpreg_desc, 8),
    STATE_STRUCT_ARRAY(Cpu, env.segs, &segment_desc, 6),
    STATE_STRUCT(Cpu, env.ldt, &segment_desc),
    STATE_STRUCT(Cpu, env.tr, &segment_desc),
    STATE_STRUCT(Cpu, env.gdt, &segment_desc),
    STATE_STRUCT(Cpu, env.idt, &segment_desc),
    STATE_U32(Cpu, env.sysenter_cs),
    STATE_U64(Cpu, env.sysenter_esp),
    STATE_U64(Cpu, env.sysenter_eip),
    STATE_U64(Cpu, env.cr[0]),
    STATE_U64(Cpu, env.cr[2]),
    STATE_U64(Cpu, env.cr[3]),
    STATE_U64(Cpu, env.cr[4]),
    STATE_ARRAY(Cpu, env.dr, u64, 8),
    STATE_I32(Cpu, env.a20_mask),
    STATE_U32(Cpu, env.mxcsr),
    VECTORS(0, "env.xmm_regs[0]", &xmm_desc),
    STATE_U64(Cpu, env.efer),
    STATE_U64(Cpu, env.star),
    STATE_U64(Cpu, env.lstar),
    STATE_U64(Cpu, env.cstar),
    STATE_U64(Cpu, env.fmask),
    STATE_U64(Cpu, env.kernelgsbase),
    STATE_U32(Cpu, env.smbase),
    STATE_U64(Cpu, env.pat),
    STATE_U32(Cpu, env.hflags2),
    STATE_U64(Cpu, env.vm_hsave),
    STATE_U64(Cpu, env.vm_vmcb),
    STATE_U64(Cpu, env.tsc_offset),
    STATE_U64(Cpu, env.intercept),
    STATE_U16(Cpu, env.intercept_cr_read),
    STATE_U16(Cpu, env.intercept_cr_write),
    STATE_U16(Cpu, env.intercept_dr_read),
    STATE_U16(Cpu, env.intercept_dr_write),
    STATE_U32(Cpu, env.intercept_exceptions),
    STATE_U8(Cpu, env.v_tpr),
    STATE_ARRAY(Cpu, env.mtrr_fixed, u64, 11),
    STATE_U64(Cpu, env.mtrr_deftype),
    STATE_STRUCT_ARRAY(Cpu, env.mtrr_var, &mtrr_desc, 8),
    STATE_I32(Cpu, env.interrupt_injected),
    STATE_U32(Cpu, env.mp_state, .max = MP_STATE_MAX),
    STATE_U64(Cpu, env.tsc),
    STATE_I32(Cpu, env.exception_nr),
    STATE_U8(Cpu, env.soft_interrupt, .max = 1),
    STATE_U8(Cpu, env.nmi_injected, .max = 1),
    STATE_U8(Cpu, env.nmi_pending),
    STATE_U8(Cpu, env.has_error_code, .max = 1),
    STATE_U32(Cpu, env.sipi_vector, .max = 0xff),
    STATE_U64(Cpu, env.mcg_cap),
    STATE_U64(Cpu, env.mcg_status),
    STATE_U64(Cpu, env.mcg_ctl),
    STATE_ARRAY(Cpu, env.mce_banks, u64, 4 * X86_MCE_BANKS),
    STATE_U64(Cpu, env.tsc_aux),
    STATE_U64(Cpu, env.system_time_msr),
    STATE_U64(Cpu, env.wall_clock_msr),
    STATE_U64(Cpu, env.xcr0),
    STATE_U64(Cpu, env.xstate_bv),
    VECTORS(0, "env.xmm_regs[1]", &ymmh_desc),
    {},
};

const StateDesc cpu_state_desc = {
    .name = "cpu",
    .version = 12,
    .min_version = 12,
    .fields = cpu_fields,
    .subsections = cpu_subsections,
    .pre_save = cpu_pre_save,
    .pre_load = cpu_pre_load,
    .post_load = cpu_post_load,
};

/* The first section of a CPU: fetches what the kernel has, for the others too. */
static void common_pre_save(void *obj)
{
    Cpu *cpu = obj;
    g_autoptr(GError) err = NULL;
    const AccelOps *ops = cpu->dev.vm->accel ? cpu->dev.vm->accel->ops : NULL;

    if (ops && !ops->cpu_get_state(cpu, &err)) {
        report_error("saving CPU %u: %s", cpu->index, err->message);
    }
}

static const StateField common_fields[] = {
    STATE_U32(Cpu, halted, .max = 1), STATE_U32(Cpu, interrupt_request), {}};

const StateDesc cpu_common_state_desc = {
    .name = "cpu_common",
    .version = 1,
    .min_version = 1,
    .fields = common_fields,
    .pre_save = common_pre_save,
};

void cpu_state_register(Cpu *cpu)
{
    state_register(cpu->dev.vm, "cpu_common", (int)cpu->index, &cpu_common_state_desc, cpu);
    state_register(cpu->dev.vm, cpu_state_desc.name, (int)cpu->index, &cpu_state_desc, cpu);
}
