/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vCPU objects: making, topology, interrupt requests, and what power-on, INIT and start-up IPIs
 * do. */
#include "accel/x86/cpu.h"

#include <linux/kvm.h>

#include "accel/x86/cpu_config.h"
#include "accel/x86/cpu_state.h"
#include "util/trace.h"

#define CR0_ET 0x10u
#define CR0_NW_CD 0x60000000u
#define PAT_RESET UINT64_C(0x0007040600070406)
#define MISC_ENABLE_FAST_STRING 1u
#define APIC_REGS 1024

/* ---- topology -------------------------------------------------------------------------------- */

static unsigned bits_for(unsigned count)
{
    return count > 1 ? 32 - (unsigned)__builtin_clz(count - 1) : 0;
}

void cpu_set_topology(Vm *vm, const CpuTopology *topology)
{
    g_assert(topology->sockets && topology->dies && topology->cores && topology->threads);
    cpu_config(vm)->topology = *topology;
}

unsigned cpu_topology_core_shift(const CpuTopology *t) { return bits_for(t->threads); }
unsigned cpu_topology_die_shift(const CpuTopology *t)
{
    return cpu_topology_core_shift(t) + bits_for(t->cores);
}
unsigned cpu_topology_package_shift(const CpuTopology *t)
{
    return cpu_topology_die_shift(t) + bits_for(t->dies);
}

uint32_t cpu_topology_apic_id(const CpuTopology *t, unsigned index)
{
    unsigned thread = index % t->threads;
    unsigned core = index / t->threads % t->cores;
    unsigned die = index / (t->threads * t->cores) % t->dies;
    unsigned package = index / (t->threads * t->cores * t->dies);

    return package << cpu_topology_package_shift(t) | die << cpu_topology_die_shift(t) |
           core << cpu_topology_core_shift(t) | thread;
}

uint32_t cpu_last_apic_id(Vm *vm)
{
    const CpuTopology *t = &cpu_config(vm)->topology;

    return t->sockets ? cpu_topology_apic_id(t, t->sockets * t->dies * t->cores * t->threads - 1)
                      : vm->cpus->len;
}

/* An id that a user gave must be the one that the index has. */
static bool set_topology_id(const Cpu *cpu, int32_t *field, const char *name, unsigned value,
                            GError **err)
{
    if (*field != -1 && *field != (int32_t)value) {
        return error_set(err, "CPU %u: %s is %d, but its place in the -smp topology is %u",
                         cpu->index, name, *field, value);
    }
    *field = (int32_t)value;
    return true;
}

static bool fill_topology(Cpu *cpu, GError **err)
{
    const CpuTopology *t = &cpu_config(cpu->dev.vm)->topology;

    cpu->topology =
        t->sockets ? *t : (CpuTopology){.sockets = 1, .dies = 1, .cores = 1, .threads = 1};
    t = &cpu->topology;
    return set_topology_id(cpu, &cpu->thread_id, "thread-id", cpu->index % t->threads, err) &&
           set_topology_id(cpu, &cpu->core_id, "core-id", cpu->index / t->threads % t->cores,
                           err) &&
           set_topology_id(cpu, &cpu->die_id, "die-id",
                           cpu->index / (t->threads * t->cores) % t->dies, err) &&
           set_topology_id(cpu, &cpu->socket_id, "socket-id",
                           cpu->index / (t->threads * t->cores * t->dies), err);
}

/* ---- interrupts ------------------------------------------------------------------------------ */

void cpu_interrupt(Cpu *cpu, uint32_t mask)
{
    __atomic_fetch_or(&cpu->interrupt_request, mask, __ATOMIC_SEQ_CST);
    cpu->dev.vm->accel->ops->cpu_kick(cpu);
}

void cpu_clear_interrupt(Cpu *cpu, uint32_t mask)
{
    __atomic_fetch_and(&cpu->interrupt_request, ~mask, __ATOMIC_SEQ_CST);
}

bool cpu_has_work(const Cpu *cpu, bool interrupts_enabled)
{
    uint32_t requests = __atomic_load_n(&cpu->interrupt_request, __ATOMIC_SEQ_CST);
    uint32_t waking = CPU_INTERRUPT_NMI | CPU_INTERRUPT_INIT | CPU_INTERRUPT_SIPI |
                      CPU_INTERRUPT_SMI | CPU_INTERRUPT_MCE;

    if (requests & waking) {
        return true;
    }
    return interrupts_enabled &&
           ((requests & CPU_INTERRUPT_HARD) ||
            (cpu->apic_ops && cpu->apic_ops->has_interrupt(cpu->apic_opaque)));
}

/* ---- power-on, INIT, SIPI (SDM vol. 3, table 10-1) ------------------------------------------- */

static X86Segment real_segment(uint32_t selector, uint64_t segment_base, unsigned type)
{
    return (X86Segment){.selector = selector,
                        .base = segment_base,
                        .limit = 0xffff,
                        .flags =
                            type << SEG_TYPE_SHIFT | SEG_P | (type & 0x8 || type == 3 ? SEG_S : 0)};
}

/* What power-on and INIT have in common. */
static void reset_core(Cpu *cpu)
{
    X86State *env = &cpu->env;

    memset(env->regs, 0, sizeof env->regs);
    env->regs[X86_RDX] = cpu->cpuid_version;
    env->eip = 0xfff0;
    env->eflags = 2;
    for (unsigned i = 0; i < 6; i++) {
        env->segs[i] = real_segment(0, 0, 3); /* data, writable, accessed */
    }
    env->segs[SEG_CS] = real_segment(0xf000, 0xffff0000, 0xb); /* code, readable, accessed */
    env->ldt = real_segment(0, 0, 2);
    env->ldt.flags &= ~SEG_S;
    env->tr = real_segment(0, 0, 0xb);
    env->tr.flags &= ~SEG_S;
    env->gdt = (X86Segment){.limit = 0xffff};
    env->idt = (X86Segment){.limit = 0xffff};
    env->cr[2] = env->cr[3] = env->cr[4] = 0;
    memset(env->dr, 0, sizeof env->dr);
    env->dr[6] = 0xffff0ff0;
    env->dr[7] = 0x400;
    env->efer = 0;
    env->exception_nr = env->interrupt_injected = -1;
    env->exception_pending = env->exception_injected = env->exception_has_payload = 0;
    env->has_error_code = env->soft_interrupt = env->nmi_injected = env->nmi_pending = 0;
    env->nmi_masked = env->smm = env->smm_inside_nmi = env->smi_pending = env->init_latched = false;
    env->interrupt_shadow = 0;
    env->triple_fault_pending = 0;
    env->sipi_vector = 0;
}

static void reset_fpu(X86State *env)
{
    env->fpuc = 0x37f;
    env->mxcsr = 0x1f80;
    env->xcr0 = 1;
    env->xstate_bv = 3; /* x87 and SSE, in their reset state */
}

void cpu_reset_mce(Cpu *cpu)
{
    X86State *env = &cpu->env;

    env->mcg_ctl = env->mcg_cap & (1u << 8) ? UINT64_MAX : 0;
    for (unsigned bank = 0; bank < (env->mcg_cap & 0xff) && bank < X86_MCE_BANKS; bank++) {
        env->mce_banks[bank * 4] = UINT64_MAX;
    }
}

void cpu_reset_hyperv(X86State *env)
{
    env->msr_hv_guest_os_id = env->msr_hv_hypercall = env->msr_hv_vapic = env->msr_hv_tsc = 0;
    env->msr_hv_runtime = 0;
    memset(env->msr_hv_crash_params, 0, sizeof env->msr_hv_crash_params);
    env->msr_hv_synic_control = env->msr_hv_synic_evt_page = env->msr_hv_synic_msg_page = 0;
    for (unsigned i = 0; i < G_N_ELEMENTS(env->msr_hv_synic_sint); i++) {
        env->msr_hv_synic_sint[i] = HV_SINT_MASKED;
    }
    memset(env->msr_hv_stimer_config, 0, sizeof env->msr_hv_stimer_config);
    memset(env->msr_hv_stimer_count, 0, sizeof env->msr_hv_stimer_count);
    env->msr_hv_reenlightenment_control = env->msr_hv_tsc_emulation_control = 0;
    env->msr_hv_tsc_emulation_status = 0;
}

void cpu_reset_state(Cpu *cpu)
{
    X86State *env = &cpu->env;
    uint64_t mcg_cap = env->mcg_cap;
    int64_t tsc_khz = env->tsc_khz;

    memset(env, 0, sizeof *env);
    env->mcg_cap = mcg_cap;
    env->tsc_khz = tsc_khz;
    reset_core(cpu);
    env->cr[0] = CR0_NW_CD | CR0_ET;
    reset_fpu(env);
    env->a20_mask = -1;
    env->tsc_changed = true;
    env->smbase = 0x30000;
    env->pat = PAT_RESET;
    env->msr_ia32_misc_enable = MISC_ENABLE_FAST_STRING;
    env->poll_control_msr =
        !cpu->dev.vm->qtest; /* KVM's: the host polls until a guest says otherwise */
    cpu_reset_mce(cpu);
    cpu_reset_hyperv(env);
    cpu->halted = cpu->index != 0;
    env->mp_state = cpu->index ? KVM_MP_STATE_UNINITIALIZED : KVM_MP_STATE_RUNNABLE;
    cpu_clear_interrupt(cpu, UINT32_MAX);
    trace(cpu_reset, "cpu %u", cpu->index);
}

void cpu_do_init(Cpu *cpu)
{
    X86State *env = &cpu->env;
    uint64_t cache_bits = env->cr[0] & CR0_NW_CD;

    reset_core(cpu); /* MSRs, MTRRs, x87, SSE and SMBASE keep their values */
    env->cr[0] = cache_bits | CR0_ET;
    cpu_clear_interrupt(cpu, CPU_INTERRUPT_HARD | CPU_INTERRUPT_POLL | CPU_INTERRUPT_NMI);
    if (cpu->apic_ops) {
        cpu->apic_ops->init_reset(cpu->apic_opaque);
    }
    cpu->halted = cpu->index != 0; /* the bootstrap processor starts over, others wait for a SIPI */
    env->mp_state = KVM_MP_STATE_RUNNABLE;
    trace(cpu_init, "cpu %u", cpu->index);
}

void cpu_do_sipi(Cpu *cpu, uint8_t vector)
{
    X86State *env = &cpu->env;

    env->eip = 0;
    env->segs[SEG_CS] = real_segment((uint32_t)vector << 8, (uint64_t)vector << 12, 0xb);
    cpu->halted = 0;
    env->mp_state = KVM_MP_STATE_RUNNABLE;
    trace(cpu_sipi, "cpu %u vector 0x%02x", cpu->index, vector);
}

/* ---- lifecycle ------------------------------------------------------------------------------- */

unsigned cpu_index(const Cpu *cpu) { return cpu->index; }
uint32_t cpu_apic_id(const Cpu *cpu) { return cpu->apic_id; }

static void x86_cpu_init(Object *obj)
{
    Cpu *cpu = (Cpu *)(void *)obj;
    const CpuModel *model = obj->type->ops;

    if (!model) {
        return;
    }
    cpu_model_features(obj->vm, model, cpu->features);
    cpu->legacy_cache = !model->caches;
    cpu->family = model->family;
    cpu->model = model->model;
    cpu->stepping = model->stepping;
    cpu->min_level = model->min_level;
    cpu->min_xlevel = model->min_xlevel;
    cpu->host_phys_bits = cpu->pmu = model->max;
    if (model->model_id) {
        cpu->model_id = g_strdup(model->model_id);
    }
}

static void x86_cpu_finalize(Object *obj)
{
    Cpu *cpu = (Cpu *)(void *)obj;

    g_free(cpu->lapic);
    g_free(cpu->xsave);
}

static void join_cpus(Cpu *cpu)
{
    GPtrArray *cpus = cpu->dev.vm->cpus;

    if (cpu->index >= cpus->len) {
        g_ptr_array_set_size(cpus, (int)cpu->index + 1);
    }
    g_ptr_array_index(cpus, cpu->index) = cpu;
}

static void leave_cpus(Cpu *cpu)
{
    Vm *vm = cpu->dev.vm;

    if (cpu->index < vm->cpus->len && g_ptr_array_index(vm->cpus, cpu->index) == cpu) {
        g_ptr_array_index(vm->cpus, cpu->index) = NULL;
        while (vm->cpus->len && !g_ptr_array_index(vm->cpus, vm->cpus->len - 1)) {
            g_ptr_array_set_size(vm->cpus, (int)vm->cpus->len - 1);
        }
    }
}

static bool make_apic(Cpu *cpu, GError **err)
{
    Vm *vm = cpu->dev.vm;
    bool in_kernel = !vm->qtest && accel_irqchip(vm) != IRQCHIP_OFF;

    if (!cpu_has_feature(cpu, FEAT_1_EDX, 9) && vm->cpus->len < 2) {
        return true; /* -cpu MODEL,-apic and one CPU: there is none */
    }
    if (in_kernel) {
        cpu->lapic = g_malloc0(APIC_REGS);
    }
    cpu->apic = device_new(vm, in_kernel ? "kvm-apic" : "apic");
    object_set_uint(cpu->apic, "id", cpu->apic_id);
    object_add_child(&cpu->dev.obj, "lapic", &cpu->apic->obj);
    if (!device_realize(cpu->apic, NULL, err)) {
        object_unparent(&cpu->apic->obj);
        object_unref(cpu->apic);
        cpu->apic = NULL;
        return false;
    }
    return true;
}

static bool complete_features(Cpu *cpu, GError **err)
{
    if (!fill_topology(cpu, err) || !cpu_expand_features(cpu, err)) {
        return false;
    }
    cpu_filter_features(cpu);
    return cpu_finish_features(cpu, err);
}

static void drop_apic(Cpu *cpu)
{
    if (cpu->apic) {
        device_unrealize(cpu->apic); /* which frees it */
        cpu->apic = NULL;
    }
}

static bool x86_cpu_realize(Device *dev, GError **err)
{
    Cpu *cpu = container_of(dev, Cpu, dev);
    const Accel *accel = dev->vm->accel;

    if (!cpu->placed) {
        return error_set(err, "Device '%s': this machine has no place for a CPU", dev->obj.type->name);
    }
    join_cpus(cpu);
    if (!complete_features(cpu, err)) {
        leave_cpus(cpu);
        return false;
    }
    cpu_reset_state(cpu);
    dev->state_instance = (int)cpu->index;
    cpu_state_register(cpu);
    if (!make_apic(cpu, err) || (accel && accel->ops->cpu_add && !accel->ops->cpu_add(cpu, err))) {
        drop_apic(cpu);
        state_unregister(dev->vm, cpu);
        leave_cpus(cpu);
        return false;
    }
    return true;
}

static void x86_cpu_unrealize(Device *dev)
{
    Cpu *cpu = container_of(dev, Cpu, dev);

    drop_apic(cpu);
    leave_cpus(cpu);
}

bool cpu_check_type(Vm *vm, const Type *type, GError **err)
{
    const CpuConfig *config = cpu_config(vm);

    return type == config->type ||
           error_set(err, "Invalid CPU type, expected cpu type: '%s'", config->type ? config->type->name : "none");
}

/* The -cpu options, in their order. */
bool cpu_set_options(Cpu *cpu, GError **err)
{
    const CpuConfig *config = cpu_config(cpu->dev.vm);

    for (unsigned i = 0; config->options && i + 1 < config->options->len; i += 2) {
        const char *name = g_ptr_array_index(config->options, i),
                   *value = g_ptr_array_index(config->options, i + 1);

        if (!object_set(&cpu->dev.obj, name, value, err)) {
            g_prefix_error(err, "-cpu: ");
            return false;
        }
    }
    return true;
}

void cpu_set_place(Cpu *cpu, unsigned index, uint32_t apic_id)
{
    cpu->index = index;
    cpu->apic_id = apic_id;
    cpu->placed = true;
}

Cpu *cpu_new(Vm *vm, unsigned index, uint32_t apic_id, GError **err)
{
    CpuConfig *config = cpu_config(vm);

    if (!config->type && !cpu_model_parse(vm, NULL, err)) {
        return NULL;
    }
    Object *obj = object_new(vm, config->type, err);
    if (!obj) {
        return NULL;
    }
    Cpu *cpu = (Cpu *)(void *)obj;
    if (!cpu_set_options(cpu, err)) {
        object_unref(cpu);
        return NULL;
    }
    cpu_set_place(cpu, index, apic_id);
    if (!device_realize(&cpu->dev, NULL, err)) {
        object_unref(cpu);
        return NULL;
    }
    return cpu;
}

DEVICE_TYPE(cpu) = {
    .name = "cpu",
    .parent = "device",
    .desc = "processor",
    .size = sizeof(Cpu),
    .abstract = true,
    .category = "cpu",
};

DEVICE_TYPE(x86_cpu) = {
    .name = "x86_64-cpu",
    .parent = "cpu",
    .desc = "x86 processor",
    .size = sizeof(Cpu),
    .abstract = true,
    .props = x86_cpu_props,
    .init = x86_cpu_init,
    .finalize = x86_cpu_finalize,
    .realize = x86_cpu_realize,
    .unrealize = x86_cpu_unrealize,
};
