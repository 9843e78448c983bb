/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * x87, SSE, AVX and what follows, and XCR0: X86State <-> KVM's structs.
 *
 * They travel in one XSAVE image of the host's size; components that X86State does not know (AMX
 * tiles) stay in the image as they are. A kernel without XSAVE has KVM_GET_FPU.
 */
#include "accel/kvm/kvm_vcpu_state.h"

#include <linux/kvm.h>

#include "accel/kvm/kvm_cpuid.h"
#include "accel/x86/cpu_config.h"

/* ---- x87, SSE and the rest of XSAVE (SDM vol. 1, 13.4) --------------------------------------- */

/* Offset of a component in the host's standard format; 0: the host has none. */
static uint32_t component_offset(const Cpu *cpu, unsigned component, uint32_t need)
{
    const CpuConfig *config = cpu_config(cpu->dev.vm);
    uint32_t regs[4];

    if (component == 2) {
        return 576;
    }
    kvm_cpuid_host_leaf(cpu->dev.vm, 0xd, component, regs);
    return regs[CPUID_EAX] >= need && range_fits(regs[CPUID_EBX], need, config->xsave_size)
               ? regs[CPUID_EBX]
               : 0;
}

typedef struct XsaveField {
    uint8_t component;
    uint16_t first, count; /* registers */
    uint16_t from, size;   /* bytes of each, taken from its byte `from` on */
} XsaveField;

/* Parts of the 32 ZMM registers. */
static const XsaveField vector_fields[] = {
    {2, 0, 16, 16, 16}, /* YMM, upper half */
    {6, 0, 16, 32, 32}, /* ZMM0 to 15, upper half */
    {7, 16, 16, 0, 64}, /* ZMM16 to 31 */
};

static void decode_fxsave(X86State *env, const uint8_t *x)
{
    env->fpuc = load16_le(x);
    env->fpus = load16_le(x + 2);
    env->fptag = x[4];
    env->fpop = load16_le(x + 6);
    env->fpip = load64_le(x + 8);
    env->fpdp = load64_le(x + 16);
    env->mxcsr = load32_le(x + 24);
    for (unsigned i = 0; i < 8; i++) {
        env->fpregs[i].mantissa = load64_le(x + 32 + 16 * i);
        env->fpregs[i].exponent = load16_le(x + 32 + 16 * i + 8);
    }
    for (unsigned i = 0; i < 16; i++) {
        memcpy(env->xmm_regs[i], x + 160 + 16 * i, 16);
    }
}

static void encode_fxsave(const X86State *env, uint8_t *x)
{
    store16_le(x, env->fpuc);
    store16_le(x + 2, env->fpus);
    x[4] = env->fptag;
    x[5] = 0;
    store16_le(x + 6, env->fpop);
    store64_le(x + 8, env->fpip);
    store64_le(x + 16, env->fpdp);
    store32_le(x + 24, env->mxcsr);
    for (unsigned i = 0; i < 8; i++) {
        memset(x + 32 + 16 * i, 0, 16);
        store64_le(x + 32 + 16 * i, env->fpregs[i].mantissa);
        store16_le(x + 32 + 16 * i + 8, env->fpregs[i].exponent);
    }
    for (unsigned i = 0; i < 16; i++) {
        memcpy(x + 160 + 16 * i, env->xmm_regs[i], 16);
    }
}

/* Small components: mask registers, PKRU, MPX. to_image says the direction. */
static void move_small(const Cpu *cpu, X86State *env, uint8_t *image, bool to_image)
{
    const struct {
        uint8_t component;
        void *field;
        uint32_t size;
    } parts[] = {
        {5, env->opmask_regs, sizeof env->opmask_regs},
        {9, &env->pkru, sizeof env->pkru},
        {3, env->bnd_regs, sizeof env->bnd_regs},
        {4, &env->bndcfgu, 2 * sizeof env->bndcfgu}, /* and bndstatus after it */
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(parts); i++) {
        uint32_t offset = component_offset(cpu, parts[i].component, parts[i].size);

        if (!offset) {
            continue;
        }
        memcpy(to_image ? (void *)(image + offset) : parts[i].field,
               to_image ? parts[i].field : (void *)(image + offset), parts[i].size);
    }
}
_Static_assert(offsetof(X86State, bndstatus) == offsetof(X86State, bndcfgu) + 8, "moved together");

static void move_vectors(const Cpu *cpu, X86State *env, uint8_t *image, bool to_image)
{
    for (unsigned f = 0; f < G_N_ELEMENTS(vector_fields); f++) {
        const XsaveField *v = &vector_fields[f];
        uint32_t offset = component_offset(cpu, v->component, (uint32_t)v->count * v->size);

        for (unsigned i = 0; offset && i < v->count; i++) {
            uint8_t *reg = (uint8_t *)env->xmm_regs[v->first + i] + v->from,
                    *part = image + offset + i * v->size;

            memcpy(to_image ? part : reg, to_image ? reg : part, v->size);
        }
    }
}

static bool get_fpu_legacy(Cpu *cpu, int fd, GError **err)
{
    struct kvm_fpu f;
    X86State *env = &cpu->env;

    if (!CALL(cpu, fd, KVM_GET_FPU, &f, err)) {
        return false;
    }
    env->fpuc = f.fcw;
    env->fpus = f.fsw;
    env->fptag = f.ftwx;
    env->fpop = f.last_opcode;
    env->fpip = f.last_ip;
    env->fpdp = f.last_dp;
    env->mxcsr = f.mxcsr;
    for (unsigned i = 0; i < 8; i++) {
        env->fpregs[i].mantissa = load64_le(f.fpr[i]);
        env->fpregs[i].exponent = load16_le(f.fpr[i] + 8);
    }
    for (unsigned i = 0; i < 16; i++) {
        memcpy(env->xmm_regs[i], f.xmm[i], 16);
    }
    return true;
}

static bool put_fpu_legacy(Cpu *cpu, int fd, GError **err)
{
    const X86State *env = &cpu->env;
    struct kvm_fpu f = {.fcw = env->fpuc,
                        .fsw = env->fpus,
                        .ftwx = env->fptag,
                        .last_opcode = env->fpop,
                        .last_ip = env->fpip,
                        .last_dp = env->fpdp,
                        .mxcsr = env->mxcsr};

    for (unsigned i = 0; i < 8; i++) {
        store64_le(f.fpr[i], env->fpregs[i].mantissa);
        store16_le(f.fpr[i] + 8, env->fpregs[i].exponent);
    }
    for (unsigned i = 0; i < 16; i++) {
        memcpy(f.xmm[i], env->xmm_regs[i], 16);
    }
    return CALL(cpu, fd, KVM_SET_FPU, &f, err);
}

bool kvm_get_fpu(Cpu *cpu, int fd, GError **err)
{
    const CpuConfig *config = cpu_config(cpu->dev.vm);

    if (!config->xsave_size) {
        return get_fpu_legacy(cpu, fd, err);
    }
    if (!cpu->xsave) {
        cpu->xsave = g_malloc0(config->xsave_size);
    }
    if (config->has_xsave2 ? !CALL(cpu, fd, KVM_GET_XSAVE2, cpu->xsave, err)
                           : !CALL(cpu, fd, KVM_GET_XSAVE, cpu->xsave, err)) {
        return false;
    }
    uint8_t *image = cpu->xsave;
    decode_fxsave(&cpu->env, image);
    cpu->env.xstate_bv = load64_le(image + 512);
    move_vectors(cpu, &cpu->env, image, false);
    move_small(cpu, &cpu->env, image, false);
    return true;
}

bool kvm_put_fpu(Cpu *cpu, int fd, GError **err)
{
    const CpuConfig *config = cpu_config(cpu->dev.vm);

    if (!config->xsave_size) {
        return put_fpu_legacy(cpu, fd, err);
    }
    if (!cpu->xsave) {
        cpu->xsave = g_malloc0(config->xsave_size);
    }
    uint8_t *image = cpu->xsave;
    encode_fxsave(&cpu->env, image);
    store64_le(image + 512, cpu->env.xstate_bv);
    move_vectors(cpu, &cpu->env, image, true);
    move_small(cpu, &cpu->env, image, true);
    return CALL(cpu, fd, KVM_SET_XSAVE, image, err);
}

static bool has_xcr0(const Cpu *cpu)
{
    return cpu_has_feature(cpu, FEAT_1_ECX, 26);
}

bool kvm_get_xcrs(Cpu *cpu, int fd, GError **err)
{
    struct kvm_xcrs x;

    if (!has_xcr0(cpu)) {
        return true;
    }
    if (!CALL(cpu, fd, KVM_GET_XCRS, &x, err)) {
        return false;
    }
    for (unsigned i = 0; i < MIN(x.nr_xcrs, G_N_ELEMENTS(x.xcrs)); i++) {
        if (x.xcrs[i].xcr == 0) {
            cpu->env.xcr0 = x.xcrs[i].value;
        }
    }
    return true;
}

bool kvm_put_xcrs(Cpu *cpu, int fd, GError **err)
{
    struct kvm_xcrs x = {.nr_xcrs = 1, .xcrs[0].value = cpu->env.xcr0};

    return !has_xcr0(cpu) || CALL(cpu, fd, KVM_SET_XCRS, &x, err);
}
