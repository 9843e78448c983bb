/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Registers of a vCPU: X86State <-> KVM's structs (Documentation/virt/kvm/api.rst, "vcpu ioctls").
 *
 * Here: general, system and debug registers, events, activity, LAPIC; kvm_fpu.c has what XSAVE
 * holds, kvm_msrs.c the MSRs.
 *
 * Not done: nested guests' state (KVM_GET_NESTED_STATE): a VM with running nested guests cannot be
 * saved.
 */
#include "accel/kvm/kvm_regs.h"

#include <inttypes.h>
#include <linux/kvm.h>

#include "accel/kvm/kvm_cpuid.h"
#include "accel/kvm/kvm_msrs.h"
#include "accel/kvm/kvm_vcpu_state.h"
#include "accel/x86/cpu_config.h"
#include "accel/x86/hyperv.h"
#include "util/log.h"
#include "util/trace.h"

#define XSAVE_SIZE 4096
#define MSR_LIST_GUESS 256
#define MCG_CTL_P (UINT64_C(1) << 8)
#define MCG_SER_P (UINT64_C(1) << 24)
#define MCG_LMCE_P (UINT64_C(1) << 27)

/* ---- once per VM and vCPU -------------------------------------------------------------------- */

static struct kvm_msr_list *ask_msr_list(int kvm_fd)
{
    for (unsigned n = MSR_LIST_GUESS; n <= 4096; n *= 2) {
        struct kvm_msr_list *list = g_malloc0(sizeof *list + n * sizeof list->indices[0]);

        list->nmsrs = n;
        if (ioctl(kvm_fd, KVM_GET_MSR_INDEX_LIST, list) == 0) {
            return list;
        }
        g_free(list);
    }
    return g_malloc0(sizeof(struct kvm_msr_list));
}

static void learn_vm(CpuConfig *config, int vm_fd)
{
    struct kvm_enable_cap payload = {.cap = KVM_CAP_EXCEPTION_PAYLOAD, .args[0] = 1};
    struct kvm_enable_cap triple = {.cap = KVM_CAP_X86_TRIPLE_FAULT_EVENT, .args[0] = 1};
    int size;

    config->msrs = ask_msr_list(config->kvm_fd);
    if (ioctl(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE) > 0) {
        size = ioctl(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
        config->has_xsave2 = size > 0;
        config->xsave_size = size > XSAVE_SIZE ? (size_t)size : XSAVE_SIZE;
    }
    config->has_sregs2 = ioctl(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_SREGS2) > 0;
    config->has_exception_payload = ioctl(vm_fd, KVM_ENABLE_CAP, &payload) == 0;
    config->has_triple_fault_event = ioctl(vm_fd, KVM_ENABLE_CAP, &triple) == 0;
    int banks = ioctl(config->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MCE);
    config->mce_banks = banks > 0 ? (unsigned)banks : 0;
    if (config->mce_banks &&
        ioctl(config->kvm_fd, KVM_X86_GET_MCE_CAP_SUPPORTED, &config->mce_supported) < 0) {
        config->mce_banks = 0;
    }
    config->vm_known = true;
}

/* What time keeping corrects anyway, +-250 ppm, is taken from a host that cannot scale, too. */
static bool tsc_is_settable(const CpuConfig *config, int64_t khz, int64_t host_khz)
{
    int64_t tolerance = host_khz / 4000;

    return ioctl(config->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_CONTROL) > 0 ||
           (khz >= host_khz - tolerance && khz <= host_khz + tolerance);
}

static bool init_tsc(Cpu *cpu, int vcpu_fd, GError **err)
{
    int host_khz = ioctl(vcpu_fd, KVM_GET_TSC_KHZ, NULL);
    int64_t khz = (int64_t)(cpu->tsc_frequency / 1000);

    if (khz && khz != host_khz &&
        (!tsc_is_settable(cpu_config(cpu->dev.vm), khz, host_khz) ||
         ioctl(vcpu_fd, KVM_SET_TSC_KHZ, (unsigned long)khz) < 0)) {
        return error_set(err,
                         "-cpu: tsc-frequency=%" PRIu64 ": the host cannot scale its TSC of %d kHz",
                         cpu->tsc_frequency, host_khz);
    }
    cpu->env.tsc_khz = khz ? khz : MAX(host_khz, 0);
    return true;
}

static bool init_mce(Cpu *cpu, const CpuConfig *config, int vcpu_fd, GError **err)
{
    X86State *env = &cpu->env;
    uint64_t wanted = MCG_CTL_P | MCG_SER_P | (cpu->lmce ? MCG_LMCE_P : 0);

    /* mce and mca, and a family that has them in its MSRs */
    if (!cpu_has_feature(cpu, FEAT_1_EDX, 7) || !cpu_has_feature(cpu, FEAT_1_EDX, 14) ||
        cpu->family < 6 || !config->mce_banks) {
        return true;
    }
    if (cpu->lmce && !(config->mce_supported & MCG_LMCE_P)) {
        return error_set(
            err, "-cpu: lmce=on: this host's KVM has no local machine checks; leave it out");
    }
    env->mcg_cap = (wanted & config->mce_supported) | MIN(config->mce_banks, X86_MCE_BANKS);
    if (!CALL(cpu, vcpu_fd, KVM_X86_SETUP_MCE, &env->mcg_cap, err)) {
        return false;
    }
    cpu_reset_mce(cpu);
    return true;
}

/* Once a vCPU has run, KVM wants it to stay the same (api.rst 4.69). */
static bool set_cpuid(Cpu *cpu, int vcpu_fd, const struct kvm_cpuid2 *known, GError **err)
{
    g_autofree struct kvm_cpuid2 *table = kvm_cpuid_build(cpu);

    if (!known) {
        return CALL(cpu, vcpu_fd, KVM_SET_CPUID2, table, err);
    }
    return (table->nent == known->nent &&
            !memcmp(table->entries, known->entries, table->nent * sizeof *table->entries)) ||
           error_set(err,
                     "CPU %u had other features when it was removed, which KVM cannot change while "
                     "the VM lives; give it the same ones",
                     cpu->index);
}

bool kvm_vcpu_init_regs(Cpu *cpu, int vm_fd, int vcpu_fd, const struct kvm_cpuid2 *known,
                        GError **err)
{
    CpuConfig *config = cpu_config(cpu->dev.vm);

    if (!config->vm_known) {
        learn_vm(config, vm_fd);
    }
    if (!init_tsc(cpu, vcpu_fd, err)) {
        return false;
    }
    if (cpu_has_hyperv(cpu, HV_EVMCS)) { /* the kernel says which versions; a leaf shows them */
        struct kvm_enable_cap evmcs = {.cap = KVM_CAP_HYPERV_ENLIGHTENED_VMCS,
                                       .args[0] = (uintptr_t)&cpu->hv_evmcs_versions};

        if (!CALL(cpu, vcpu_fd, KVM_ENABLE_CAP, &evmcs, err)) {
            return false;
        }
    }
    if (!set_cpuid(cpu, vcpu_fd, known, err) || !init_mce(cpu, config, vcpu_fd, err)) {
        return false;
    }
    if (cpu->kvm_pv_enforce_cpuid) {
        struct kvm_enable_cap cap = {.cap = KVM_CAP_ENFORCE_PV_FEATURE_CPUID, .args[0] = 1};

        if (!CALL(cpu, vcpu_fd, KVM_ENABLE_CAP, &cap, err)) {
            return false;
        }
    }
    return kvm_msrs_init(cpu, vcpu_fd, err);
}

void kvm_vcpu_free_regs(Cpu *cpu)
{
    g_free(cpu->xsave);
    cpu->xsave = NULL;
}

/* ---- general and system registers ------------------------------------------------------------ */

bool kvm_regs_get_general(Cpu *cpu, int fd, GError **err)
{
    struct kvm_regs r;
    X86State *env = &cpu->env;

    if (!CALL(cpu, fd, KVM_GET_REGS, &r, err)) {
        return false;
    }
    const uint64_t values[16] = {r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi,
                                 r.r8,  r.r9,  r.r10, r.r11, r.r12, r.r13, r.r14, r.r15};
    memcpy(env->regs, values, sizeof values);
    env->eip = r.rip;
    env->eflags = r.rflags;
    return true;
}

bool kvm_regs_put_general(Cpu *cpu, int fd, GError **err)
{
    const uint64_t *v = cpu->env.regs;
    struct kvm_regs r = {.rax = v[0],
                         .rcx = v[1],
                         .rdx = v[2],
                         .rbx = v[3],
                         .rsp = v[4],
                         .rbp = v[5],
                         .rsi = v[6],
                         .rdi = v[7],
                         .r8 = v[8],
                         .r9 = v[9],
                         .r10 = v[10],
                         .r11 = v[11],
                         .r12 = v[12],
                         .r13 = v[13],
                         .r14 = v[14],
                         .r15 = v[15],
                         .rip = cpu->env.eip,
                         .rflags = cpu->env.eflags};

    return CALL(cpu, fd, KVM_SET_REGS, &r, err);
}

static X86Segment segment_from_kvm(const struct kvm_segment *s)
{
    return (X86Segment){.selector = s->selector,
                        .base = s->base,
                        .limit = s->limit,
                        .flags = (uint32_t)s->type << SEG_TYPE_SHIFT | (s->s ? SEG_S : 0) |
                                 (uint32_t)s->dpl << SEG_DPL_SHIFT |
                                 (s->present && !s->unusable ? SEG_P : 0) | (s->avl ? SEG_AVL : 0) |
                                 (s->l ? SEG_L : 0) | (s->db ? SEG_DB : 0) | (s->g ? SEG_G : 0)};
}

static struct kvm_segment segment_to_kvm(const X86Segment *s)
{
    return (struct kvm_segment){.base = s->base,
                                .limit = s->limit,
                                .selector = (uint16_t)s->selector,
                                .type = s->flags >> SEG_TYPE_SHIFT & 15,
                                .s = !!(s->flags & SEG_S),
                                .dpl = s->flags >> SEG_DPL_SHIFT & 3,
                                .present = !!(s->flags & SEG_P),
                                .avl = !!(s->flags & SEG_AVL),
                                .l = !!(s->flags & SEG_L),
                                .db = !!(s->flags & SEG_DB),
                                .g = !!(s->flags & SEG_G),
                                .unusable = !(s->flags & SEG_P)};
}

/* Virtual 8086 mode: what a descriptor cache holds by definition (SDM vol. 3, 20.1.1). */
static struct kvm_segment segment_vm86(const X86Segment *s)
{
    return (struct kvm_segment){.base = s->base,
                                .limit = s->limit,
                                .selector = (uint16_t)s->selector,
                                .type = 3,
                                .present = 1,
                                .dpl = 3,
                                .s = 1};
}

/* kvm_sregs and kvm_sregs2 begin alike, up to apic_base. */
#define SREGS_COMMON (offsetof(struct kvm_sregs, apic_base) + 8)
_Static_assert(SREGS_COMMON == offsetof(struct kvm_sregs2, apic_base) + 8,
               "sregs and sregs2 begin alike");

static bool get_sregs(Cpu *cpu, int fd, GError **err)
{
    X86State *env = &cpu->env;
    struct kvm_sregs2 s = {0};
    struct kvm_sregs old;

    if (cpu_config(cpu->dev.vm)->has_sregs2) {
        if (!CALL(cpu, fd, KVM_GET_SREGS2, &s, err)) {
            return false;
        }
    } else if (CALL(cpu, fd, KVM_GET_SREGS, &old, err)) {
        memcpy(&s, &old, SREGS_COMMON);
    } else {
        return false;
    }
    const struct kvm_segment *segments[6] = {&s.es, &s.cs, &s.ss, &s.ds, &s.fs, &s.gs};
    for (unsigned i = 0; i < 6; i++) {
        env->segs[i] = segment_from_kvm(segments[i]);
    }
    env->tr = segment_from_kvm(&s.tr);
    env->ldt = segment_from_kvm(&s.ldt);
    env->gdt = (X86Segment){.base = s.gdt.base, .limit = s.gdt.limit};
    env->idt = (X86Segment){.base = s.idt.base, .limit = s.idt.limit};
    env->cr[0] = s.cr0;
    env->cr[2] = s.cr2;
    env->cr[3] = s.cr3;
    env->cr[4] = s.cr4;
    env->efer = s.efer;
    env->pdptrs_valid = s.flags & KVM_SREGS2_FLAGS_PDPTRS_VALID;
    memcpy(env->pdptrs, s.pdptrs, sizeof env->pdptrs);
    if (!cpu->apic_ops) {
        cpu->apic_base = s.apic_base;
    }
    return true;
}

static bool put_sregs(Cpu *cpu, int fd, GError **err)
{
    const X86State *env = &cpu->env;
    bool vm86 = env->eflags >> 17 & 1;
    struct kvm_sregs2 s = {.tr = segment_to_kvm(&env->tr),
                           .ldt = segment_to_kvm(&env->ldt),
                           .gdt = {.base = env->gdt.base, .limit = (uint16_t)env->gdt.limit},
                           .idt = {.base = env->idt.base, .limit = (uint16_t)env->idt.limit},
                           .cr0 = env->cr[0],
                           .cr2 = env->cr[2],
                           .cr3 = env->cr[3],
                           .cr4 = env->cr[4],
                           .efer = env->efer};
    struct kvm_segment *segments[6] = {&s.es, &s.cs, &s.ss, &s.ds, &s.fs, &s.gs};

    for (unsigned i = 0; i < 6; i++) {
        *segments[i] = vm86 ? segment_vm86(&env->segs[i]) : segment_to_kvm(&env->segs[i]);
    }
    if (cpu->apic_ops) {
        s.apic_base = cpu->apic_ops->get_base(cpu->apic_opaque);
        s.cr8 = cpu->apic_ops->get_tpr(cpu->apic_opaque) >> 4;
    } else {
        s.apic_base = cpu->apic_base;
        s.cr8 = cpu->lapic ? cpu->lapic[0x80] >> 4 : 0;
    }
    if (cpu_config(cpu->dev.vm)->has_sregs2) {
        if (env->pdptrs_valid) {
            s.flags = KVM_SREGS2_FLAGS_PDPTRS_VALID;
            memcpy(s.pdptrs, env->pdptrs, sizeof s.pdptrs);
        }
        return CALL(cpu, fd, KVM_SET_SREGS2, &s, err);
    }
    struct kvm_sregs old = {0};
    memcpy(&old, &s, SREGS_COMMON);
    if (env->interrupt_injected >= 0) {
        old.interrupt_bitmap[env->interrupt_injected / 64] = UINT64_C(1)
                                                             << env->interrupt_injected % 64;
    }
    return CALL(cpu, fd, KVM_SET_SREGS, &old, err);
}

/* ---- debug registers, events, activity ------------------------------------------------------- */

static bool get_debugregs(Cpu *cpu, int fd, GError **err)
{
    struct kvm_debugregs d;
    X86State *env = &cpu->env;

    if (!CALL(cpu, fd, KVM_GET_DEBUGREGS, &d, err)) {
        return false;
    }
    memcpy(env->dr, d.db, sizeof d.db);
    env->dr[4] = env->dr[6] = d.dr6;
    env->dr[5] = env->dr[7] = d.dr7;
    return true;
}

static bool put_debugregs(Cpu *cpu, int fd, GError **err)
{
    struct kvm_debugregs d = {.dr6 = cpu->env.dr[6], .dr7 = cpu->env.dr[7]};

    memcpy(d.db, cpu->env.dr, sizeof d.db);
    return CALL(cpu, fd, KVM_SET_DEBUGREGS, &d, err);
}

static bool get_events(Cpu *cpu, int fd, GError **err)
{
    struct kvm_vcpu_events e = {0};
    X86State *env = &cpu->env;

    if (!CALL(cpu, fd, KVM_GET_VCPU_EVENTS, &e, err)) {
        return false;
    }
    if (e.flags & KVM_VCPUEVENT_VALID_PAYLOAD) {
        env->exception_pending = e.exception.pending;
        env->exception_has_payload = e.exception_has_payload;
        env->exception_payload = e.exception_payload;
    } else {
        env->exception_pending = env->exception_has_payload = 0;
    }
    env->exception_injected = e.exception.injected;
    env->exception_nr = e.exception.injected || env->exception_pending ? e.exception.nr : -1;
    env->has_error_code = e.exception.has_error_code;
    env->error_code = e.exception.error_code;
    env->interrupt_injected = e.interrupt.injected ? e.interrupt.nr : -1;
    env->soft_interrupt = e.interrupt.soft;
    env->interrupt_shadow = e.interrupt.shadow;
    env->nmi_injected = e.nmi.injected;
    env->nmi_pending = e.nmi.pending;
    env->nmi_masked = e.nmi.masked;
    env->sipi_vector = e.sipi_vector;
    if (e.flags & KVM_VCPUEVENT_VALID_SMM) {
        env->smm = e.smi.smm;
        env->smi_pending = e.smi.pending;
        env->smm_inside_nmi = e.smi.smm_inside_nmi;
        env->init_latched = e.smi.latched_init;
    }
    env->triple_fault_pending =
        e.flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT ? e.triple_fault.pending : 0;
    return true;
}

static bool put_events(Cpu *cpu, int fd, bool full, GError **err)
{
    const X86State *env = &cpu->env;
    const CpuConfig *config = cpu_config(cpu->dev.vm);
    struct kvm_vcpu_events e = {
        .exception = {.injected = env->exception_injected,
                      .nr = env->exception_nr >= 0 ? (uint8_t)env->exception_nr : 0,
                      .has_error_code = env->has_error_code,
                      .pending = env->exception_pending,
                      .error_code = env->error_code},
        .interrupt = {.injected = env->interrupt_injected >= 0,
                      .nr = env->interrupt_injected >= 0 ? (uint8_t)env->interrupt_injected : 0,
                      .soft = env->soft_interrupt,
                      .shadow = env->interrupt_shadow},
        .nmi = {.injected = env->nmi_injected,
                .pending = env->nmi_pending,
                .masked = env->nmi_masked},
        .sipi_vector = env->sipi_vector,
        .flags = KVM_VCPUEVENT_VALID_SHADOW,
    };
    bool has_smm = cpu->dev.vm->accel->ops->has_smm(cpu->dev.vm->accel);

    if (config->has_exception_payload) {
        e.flags |= KVM_VCPUEVENT_VALID_PAYLOAD;
        e.exception_has_payload = env->exception_has_payload;
        e.exception_payload = env->exception_payload;
    }
    if (has_smm) {
        e.flags |= KVM_VCPUEVENT_VALID_SMM;
        e.smi.smm = env->smm;
        e.smi.smm_inside_nmi = env->smm_inside_nmi;
        e.smi.pending = env->smi_pending;
        e.smi.latched_init = env->init_latched;
    }
    if (config->has_triple_fault_event) {
        e.flags |= KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
        e.triple_fault.pending = env->triple_fault_pending;
    }
    if (full) {
        e.flags |= KVM_VCPUEVENT_VALID_NMI_PENDING;
        if (env->mp_state == KVM_MP_STATE_SIPI_RECEIVED) {
            e.flags |= KVM_VCPUEVENT_VALID_SIPI_VECTOR;
        }
    }
    return CALL(cpu, fd, KVM_SET_VCPU_EVENTS, &e, err);
}

static bool get_mp_state(Cpu *cpu, int fd, GError **err)
{
    struct kvm_mp_state m;

    if (!cpu->apic_ops) { /* with a user-space LAPIC the CPU's halted flag is ours */
        if (!CALL(cpu, fd, KVM_GET_MP_STATE, &m, err)) {
            return false;
        }
        cpu->env.mp_state = m.mp_state;
        cpu->halted = m.mp_state == KVM_MP_STATE_HALTED;
    }
    return true;
}

static bool put_mp_state(Cpu *cpu, int fd, GError **err)
{
    struct kvm_mp_state m = {.mp_state = cpu->env.mp_state};

    return cpu->apic_ops || CALL(cpu, fd, KVM_SET_MP_STATE, &m, err);
}

#define LAPIC_ID 0x20
#define APIC_BASE_X2APIC (1u << 10)

/* In x2APIC mode the kernel's page has the whole id; everybody else has its low byte on top. */
static bool has_wide_id(const Cpu *cpu)
{
    return cpu_config(cpu->dev.vm)->wide_apic_ids && cpu->apic_base & APIC_BASE_X2APIC;
}

static bool get_lapic(Cpu *cpu, int fd, GError **err)
{
    if (cpu->lapic && !CALL(cpu, fd, KVM_GET_LAPIC, cpu->lapic, err)) {
        return false;
    }
    if (cpu->lapic && has_wide_id(cpu)) {
        store32_le(cpu->lapic + LAPIC_ID, cpu->apic_id << 24);
    }
    return true;
}

static bool put_lapic(Cpu *cpu, int fd, GError **err)
{
    if (cpu->lapic && has_wide_id(cpu)) {
        store32_le(cpu->lapic + LAPIC_ID, cpu->apic_id);
    }
    bool ok = !cpu->lapic || CALL(cpu, fd, KVM_SET_LAPIC, cpu->lapic, err);
    if (cpu->lapic && has_wide_id(cpu)) {
        store32_le(cpu->lapic + LAPIC_ID, cpu->apic_id << 24);
    }
    return ok;
}

/* ---- all of it ------------------------------------------------------------------------------- */

bool kvm_regs_get(Cpu *cpu, int fd, GError **err)
{
    /* Events first: they may still change registers when the kernel settles them. */
    return get_mp_state(cpu, fd, err) && get_events(cpu, fd, err) &&
           kvm_regs_get_general(cpu, fd, err) && kvm_get_fpu(cpu, fd, err) &&
           kvm_get_xcrs(cpu, fd, err) && get_sregs(cpu, fd, err) && kvm_msrs_get(cpu, fd, err) &&
           get_lapic(cpu, fd, err) && get_debugregs(cpu, fd, err);
}

/* A loaded state may count at another rate than this host does. */
static void put_tsc_rate(Cpu *cpu, int fd)
{
    int64_t khz = cpu->env.tsc_khz;

    if (!cpu->env.tsc_changed || !khz || ioctl(fd, KVM_GET_TSC_KHZ, NULL) == khz) {
        return;
    }
    if (khz > UINT32_MAX || ioctl(fd, KVM_SET_TSC_KHZ, (unsigned long)khz) < 0) {
        report_warning("CPU %u: its TSC ran at %" PRId64
                       " kHz and this host cannot scale its own: guest time may drift",
                       cpu->index, khz);
    }
}

bool kvm_regs_put(Cpu *cpu, int fd, bool full, GError **err)
{
    if (full) {
        put_tsc_rate(cpu, fd);
    }
    /* SREGS before MSRs (EFER decides what they may hold) and before REGS (vm86 and long mode). */
    bool ok = put_sregs(cpu, fd, err) && kvm_regs_put_general(cpu, fd, err) &&
              kvm_put_xcrs(cpu, fd, err) && kvm_put_fpu(cpu, fd, err) &&
              kvm_msrs_put(cpu, fd, full, err);

    if (ok && full) {
        ok = put_mp_state(cpu, fd, err) && put_lapic(cpu, fd, err) &&
             kvm_msrs_put_deadline(cpu, fd, err);
    }
    return ok && put_events(cpu, fd, full, err) && put_debugregs(cpu, fd, err);
}

/* ---- for people ------------------------------------------------------------------------------ */

bool kvm_regs_translate(int vcpu_fd, uint64_t address, uint64_t *physical)
{
    struct kvm_translation t = {.linear_address = address};

    if (ioctl(vcpu_fd, KVM_TRANSLATE, &t) < 0 || !t.valid) {
        return false;
    }
    *physical = t.physical_address;
    return true;
}

/* A byte of RAM or ROM at a virtual address; -1: there is none. */
static int code_byte(const Cpu *cpu, int vcpu_fd, uint64_t address)
{
    AddressSpace *memory = &cpu->dev.vm->memory;
    uint64_t value = 0, at = address;

    if (cpu->env.cr[0] >> 31 && !kvm_regs_translate(vcpu_fd, address, &at)) {
        return -1;
    }
    const FlatRange *range = flat_view_find(address_space_view(memory), at);
    return range && range->region->ram && address_space_load(memory, at, 1, &value) ? (int)value
                                                                                    : -1;
}

static void dump_code(const Cpu *cpu, int vcpu_fd, FILE *out)
{
    uint64_t address = cpu->env.segs[SEG_CS].base + cpu->env.eip, start = address - 43;

    fprintf(out, "Code=");
    for (uint64_t at = start; at != start + 64; at++) {
        int value = code_byte(cpu, vcpu_fd, at);
        char text[3] = {'?', '?', 0};

        if (value >= 0) {
            g_snprintf(text, sizeof text, "%02x", (unsigned)value);
        }
        fprintf(out, at == address ? "<%s> " : "%s ", text);
    }
    fprintf(out, "\n");
}

void kvm_regs_dump(Cpu *cpu, int vcpu_fd, FILE *out)
{
    cpu_print_registers(cpu, out);
    dump_code(cpu, vcpu_fd, out);
}
