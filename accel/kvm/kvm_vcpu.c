/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vCPU threads: "CPU n/KVM", one per CPU. They are made at rest and run between cpus_start and
 * cpus_stop (kvm_vcpu_life.c makes and frees vCPUs). The protocol of requests is told in kvm_int.h.
 *
 * While a vCPU rests, the thread that holds the VM lock reads and writes its registers itself:
 * KVM serialises the ioctls of a vCPU, so no call has to be sent to its thread.
 */
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "accel/kvm/kvm_int.h"
#include "accel/kvm/kvm_regs.h"
#include "accel/x86/cpu.h"
#include "util/log.h"
#include "util/trace.h"

#define SIG_KICK SIGUSR1
/* What a CPU comes out of KVM_RUN, or of its sleep, for; a reset forgets them. */
#define REQ_EVENTS (REQ_KICK | REQ_INTR | REQ_NMI | REQ_SMI | REQ_HALTED)

static __thread KvmVcpu *current_vcpu;

/* ---- waiting and waking ------------------------------------------------------------- */

static void futex_wait(_Atomic uint32_t *word, uint32_t value)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static void acknowledge(KvmAccel *kvm)
{
    atomic_fetch_add(&kvm->acks, 1);
    futex_wake(&kvm->acks);
}

/* In the vCPU's thread. Async-signal-safe. */
static void on_kick(int sig)
{
    KvmVcpu *vcpu = current_vcpu;
    int saved = errno;

    if (vcpu && !vcpu->in_run && (vcpu->requests & REQ_PAUSE)) {
        acknowledge(vcpu->kvm);
    }
    errno = saved;
}

static inline void set_immediate_exit(KvmVcpu *vcpu, uint8_t value)
{
    __atomic_store_n(&vcpu->run->immediate_exit, value, __ATOMIC_RELAXED);
}

void kvm_vcpu_request(KvmVcpu *vcpu, uint32_t bits)
{
    uint32_t old = atomic_fetch_or(&vcpu->requests, bits);

    if (vcpu == current_vcpu) {
        return; /* it looks before it runs */
    }
    if (vcpu->in_run) {
        set_immediate_exit(vcpu, 1);
        atomic_thread_fence(memory_order_seq_cst);
        pthread_kill(vcpu->thread, SIG_KICK);
    } else if ((old & bits) != bits) {
        futex_wake(&vcpu->requests);
    }
}

void kvm_vcpu_clear_request(KvmVcpu *vcpu, uint32_t bits)
{
    if (atomic_fetch_and(&vcpu->requests, ~bits) & bits) {
        futex_wake(&vcpu->requests);
    }
}

/* The caller may be a vCPU in its exit. Who is parked stays so: starting wants the VM lock. */
void kvm_pause(KvmAccel *kvm)
{
    for (unsigned i = 0; i < kvm->n_vcpus; i++) {
        if (kvm->vcpus[i] != current_vcpu && !(kvm->vcpus[i]->requests & REQ_PARKED)) {
            kvm_vcpu_request(kvm->vcpus[i], REQ_PAUSE);
        }
    }
    for (unsigned i = 0; i < kvm->n_vcpus;) {
        uint32_t acks = kvm->acks;

        if (kvm->vcpus[i]->in_run && kvm->vcpus[i] != current_vcpu) {
            futex_wait(&kvm->acks, acks);
        } else {
            i++;
        }
    }
}

void kvm_resume(KvmAccel *kvm)
{
    for (unsigned i = 0; i < kvm->n_vcpus; i++) {
        kvm_vcpu_clear_request(kvm->vcpus[i], REQ_PAUSE);
    }
}

/* ---- serving requests: the vCPU's own thread ---------------------------------------- */

/* One KVM_RUN. False when it must not enter now. *result: 0 or errno. */
static bool run_once(KvmVcpu *vcpu, uint32_t obstacles, int *result)
{
    atomic_store_explicit(&vcpu->in_run, true, memory_order_seq_cst);
    if (__builtin_expect(atomic_load_explicit(&vcpu->requests, memory_order_seq_cst) & obstacles,
                         0)) {
        vcpu->in_run = false;
        return false;
    }
    *result = __builtin_expect(ioctl(vcpu->fd, KVM_RUN, 0) == 0, 1) ? 0 : errno;
    atomic_store_explicit(&vcpu->in_run, false, memory_order_release);
    if (__builtin_expect(atomic_load_explicit(&vcpu->requests, memory_order_relaxed) & REQ_PAUSE,
                         0)) {
        acknowledge(vcpu->kvm);
    }
    return true;
}

/*
 * Writes that the kernel collected come before this exit. When there are some, one holding of the
 * lock serves both: the usual case is the index of a register and then its data.
 */
static inline void after_run(KvmVcpu *vcpu, bool exited)
{
    KvmAccel *kvm = vcpu->kvm;

    if (__builtin_expect(!kvm_coalesced_pending(kvm), 1)) {
        if (__builtin_expect(exited, 1)) {
            kvm_vcpu_exit(vcpu);
        }
        return;
    }
    const bool access = exited && (vcpu->run->exit_reason == KVM_EXIT_IO ||
                                   vcpu->run->exit_reason == KVM_EXIT_MMIO);

    vm_lock(kvm->accel.vm);
    kvm_coalesced_drain(kvm);
    if (access) {
        kvm_vcpu_exit(vcpu);
    }
    vm_unlock(kvm->accel.vm);
    if (exited && !access) {
        kvm_vcpu_exit(vcpu);
    }
}

/*
 * The instruction of the last exit is completed by the next KVM_RUN only: registers that are read
 * or replaced before that would be wrong. A string instruction may bring further exits.
 */
static bool finish_instruction(KvmVcpu *vcpu)
{
    int error;

    while (vcpu->unfinished) {
        set_immediate_exit(vcpu, 1);
        if (!run_once(vcpu, REQ_PAUSE | REQ_EXIT, &error)) {
            return false;
        }
        set_immediate_exit(vcpu, 0);
        vcpu->unfinished = error == 0;
        after_run(vcpu, error == 0);
    }
    return true;
}

/* PARKED is set together with STOP still being there, so a stop that follows a start at once is
 * answered. */
static void park(KvmVcpu *vcpu)
{
    if (!finish_instruction(vcpu)) {
        return;
    }
    for (;;) {
        uint32_t requests = vcpu->requests;

        if ((requests & (REQ_STOP | REQ_EXIT)) != REQ_STOP) {
            return;
        }
        if (requests & REQ_PARKED) {
            futex_wait(&vcpu->requests, requests);
        } else if (atomic_compare_exchange_strong(&vcpu->requests, &requests,
                                                  requests | REQ_PARKED)) {
            acknowledge(vcpu->kvm);
        }
    }
}

/* The external NMI goes through LINT1 of the local APIC, as on a board. */
static bool nmi_is_wanted(KvmVcpu *vcpu)
{
    struct kvm_lapic_state lapic;
    const Cpu *cpu = vcpu->cpu;

    if (cpu->apic_ops) {
        return cpu->apic_ops->passes_nmi(cpu->apic_opaque);
    }
    if (kvm_mode(vcpu->kvm) == IRQCHIP_OFF || kvm_ioctl(vcpu->fd, KVM_GET_LAPIC, &lapic) < 0) {
        return true;
    }
    uint32_t lvt = load32_le(lapic.regs + 0x360);
    return !(lvt & (1u << 16)) && (lvt >> 8 & 7) == 4;
}

/* Split and off: gives the CPU an interrupt when it can take one, else asks to be told. VM lock. */
static void offer_interrupt(KvmVcpu *vcpu, bool wanted, int (*take)(void *opaque), void *opaque)
{
    struct kvm_run *run = vcpu->run;

    if (wanted && run->ready_for_interrupt_injection) {
        int vector = take(opaque);

        if (vector >= 0) {
            struct kvm_interrupt interrupt = {.irq = (uint32_t)vector};

            trace(kvm_inject, "cpu %u vector 0x%02x", vcpu->cpu->index, (unsigned)vector);
            kvm_ioctl(vcpu->fd, KVM_INTERRUPT, &interrupt);
            run->ready_for_interrupt_injection = 0;
        }
    }
}

/* The 8259's INTR is wired to CPU 0; whether LINT0 lets it in is the kernel's business here. */
static void serve_intr_split(KvmVcpu *vcpu)
{
    KvmAccel *kvm = vcpu->kvm;
    Accel *accel = &kvm->accel;

    vm_lock(accel->vm);
    offer_interrupt(vcpu, kvm->intr_level && accel->pic_ack, accel->pic_ack, accel->pic_opaque);
    vcpu->run->request_interrupt_window = kvm->intr_level;
    vm_unlock(accel->vm);
}

static void serve_events(KvmVcpu *vcpu, uint32_t requests)
{
    if ((requests & REQ_NMI) && nmi_is_wanted(vcpu)) {
        kvm_ioctl(vcpu->fd, KVM_NMI, NULL);
        vcpu->cpu->halted = 0;
    }
    if (requests & REQ_SMI) {
        kvm_ioctl(vcpu->fd, KVM_SMI, NULL);
        vcpu->cpu->halted = 0;
    }
    if ((requests & REQ_INTR) && kvm_mode(vcpu->kvm) == IRQCHIP_SPLIT) {
        serve_intr_split(vcpu);
    }
}

/* False: the thread is to end. */
static bool serve_requests(KvmVcpu *vcpu)
{
    const uint32_t events = REQ_EVENTS & ~REQ_HALTED;
    uint32_t requests = vcpu->requests;

    if (requests & REQ_EXIT) {
        return false;
    }
    if (requests & REQ_PAUSE) {
        acknowledge(vcpu->kvm);
        futex_wait(&vcpu->requests, requests);
        return true;
    }
    if (requests & REQ_STOP) {
        park(vcpu);
        cpu_set_current(vcpu->cpu); /* the old one may have been unplugged meanwhile and this one come in its place */
        return true;
    }
    if (requests & events) {
        requests = atomic_fetch_and(&vcpu->requests, ~REQ_EVENTS);
        serve_events(vcpu, requests & events);
        return true;
    }
    futex_wait(&vcpu->requests, requests); /* halted or dead */
    return true;
}

/* ---- kernel-irqchip=off: the APIC is accel/x86's ------------------------------------ */

/* INIT and start-up IPIs change registers that KVM holds. VM lock. */
static void serve_ipi_off(KvmVcpu *vcpu, uint32_t which)
{
    Cpu *cpu = vcpu->cpu;
    g_autoptr(GError) err = NULL;

    cpu_clear_interrupt(cpu, which);
    if (kvm_regs_get(cpu, vcpu->fd, &err)) {
        if (which == CPU_INTERRUPT_INIT) {
            cpu_do_init(cpu);
        } else {
            cpu_do_sipi(cpu, cpu->apic_ops->take_sipi(cpu->apic_opaque));
        }
        kvm_regs_put(cpu, vcpu->fd, false, &err);
    }
    if (err) {
        report_error("CPU %u: %s: %s", cpu->index, which == CPU_INTERRUPT_INIT ? "INIT" : "SIPI",
                     err->message);
    }
    vcpu->run->if_flag = cpu->env.eflags >> 9 & 1;
    vcpu->run->ready_for_interrupt_injection = 0;
}

/* A CPU without an APIC (-cpu MODEL,-apic) has the 8259 at its INTR pin. VM lock. */
static bool direct_intr(const KvmVcpu *vcpu)
{
    const KvmAccel *kvm = vcpu->kvm;

    return !vcpu->cpu->apic_ops && vcpu->cpu->index == 0 && kvm->intr_level && kvm->accel.pic_ack;
}

/* False: the CPU is halted and nothing wakes it. */
static bool before_run_off(KvmVcpu *vcpu)
{
    Cpu *cpu = vcpu->cpu;
    struct kvm_run *run = vcpu->run;
    Vm *vm = vcpu->kvm->accel.vm;
    bool runs = true;

    vm_lock(vm);
    if (cpu->interrupt_request & CPU_INTERRUPT_NMI) {
        cpu_clear_interrupt(cpu, CPU_INTERRUPT_NMI);
        kvm_ioctl(vcpu->fd, KVM_NMI, NULL);
        cpu->halted = 0;
    }
    if (cpu->interrupt_request & CPU_INTERRUPT_INIT) {
        serve_ipi_off(vcpu, CPU_INTERRUPT_INIT);
    }
    if (cpu->interrupt_request & CPU_INTERRUPT_SIPI) {
        serve_ipi_off(vcpu, CPU_INTERRUPT_SIPI);
    }
    if (cpu->halted && (cpu_has_work(cpu, run->if_flag) || (run->if_flag && direct_intr(vcpu)))) {
        cpu->halted = 0;
    }
    if (cpu->halted) {
        runs = false;
    } else if (!cpu->apic_ops) {
        offer_interrupt(vcpu, direct_intr(vcpu), vcpu->kvm->accel.pic_ack, vcpu->kvm->accel.pic_opaque);
        run->request_interrupt_window = direct_intr(vcpu);
    } else {
        const CpuApicOps *apic = cpu->apic_ops;

        cpu_clear_interrupt(cpu, CPU_INTERRUPT_POLL);
        offer_interrupt(vcpu, apic->has_interrupt(cpu->apic_opaque), apic->take_interrupt,
                        cpu->apic_opaque);
        run->request_interrupt_window = apic->has_interrupt(cpu->apic_opaque);
        run->cr8 = apic->get_tpr(cpu->apic_opaque) >> 4;
        run->apic_base = apic->get_base(cpu->apic_opaque);
    }
    vm_unlock(vm);
    return runs;
}

static void after_run_off(KvmVcpu *vcpu)
{
    Cpu *cpu = vcpu->cpu;
    const CpuApicOps *apic = cpu->apic_ops;

    /* Nobody else changes them while this CPU runs, so looking needs no lock. */
    if (!apic || (apic->get_tpr(cpu->apic_opaque) >> 4 == vcpu->run->cr8 &&
                  apic->get_base(cpu->apic_opaque) == vcpu->run->apic_base)) {
        return;
    }
    vm_lock(vcpu->kvm->accel.vm);
    if (apic->get_tpr(cpu->apic_opaque) >> 4 != vcpu->run->cr8) {
        apic->set_tpr(cpu->apic_opaque, (uint8_t)(vcpu->run->cr8 << 4));
    }
    if (apic->get_base(cpu->apic_opaque) != vcpu->run->apic_base) {
        apic->set_base(cpu->apic_opaque, vcpu->run->apic_base);
    }
    vm_unlock(vcpu->kvm->accel.vm);
}

/* ---- the loop ----------------------------------------------------------------------- */

static void run_loop(KvmVcpu *vcpu)
{
    const bool off = kvm_mode(vcpu->kvm) == IRQCHIP_OFF;
    int error;

    for (;;) {
        if (off && !vcpu->requests && !before_run_off(vcpu)) {
            atomic_fetch_or(&vcpu->requests, REQ_HALTED);
        }
        if (!run_once(vcpu, ~0u, &error)) {
            if (!serve_requests(vcpu)) {
                return;
            }
            continue;
        }
        if (off) {
            after_run_off(vcpu);
        }
        vcpu->unfinished = error == 0;
        after_run(vcpu, error == 0);
        if (__builtin_expect(error == 0, 1)) {
            continue;
        } else if (error == EINTR || error == EAGAIN) {
            set_immediate_exit(vcpu, 0);
        } else {
            kvm_vcpu_run_failed(vcpu, error);
        }
    }
}

static void *vcpu_thread(void *opaque)
{
    KvmVcpu *vcpu = opaque;

    vcpu->tid = gettid();
    current_vcpu = vcpu;
    cpu_set_current(vcpu->cpu);
    run_loop(vcpu);
    return NULL;
}

/* ---- the thread ------------------------------------------------------------------------ */

bool kvm_vcpu_start_thread(KvmVcpu *vcpu, GError **err)
{
    struct sigaction action = {.sa_handler = on_kick, .sa_flags = SA_RESTART};
    char name[16], own_name[16];
    sigset_t all, kept;

    sigaction(SIG_KICK, &action, NULL);
    /* Process signals are the main thread's; a vCPU takes the kick only. */
    sigfillset(&all);
    sigdelset(&all, SIG_KICK);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGSEGV);
    pthread_sigmask(SIG_SETMASK, &all, &kept);
    /* A thread inherits its name; to name another one takes a file of /proc. */
    snprintf(name, sizeof name, "CPU %u/KVM", vcpu->cpu->index);
    pthread_getname_np(pthread_self(), own_name, sizeof own_name);
    pthread_setname_np(pthread_self(), name);
    int r = pthread_create(&vcpu->thread, NULL, vcpu_thread, vcpu);
    pthread_setname_np(pthread_self(), own_name);
    pthread_sigmask(SIG_SETMASK, &kept, NULL);
    if (r) {
        return error_set_errno(err, r, "CPU %u: cannot create its thread", vcpu->cpu->index);
    }
    vcpu->has_thread = true;
    return true;
}

/* ---- starting, stopping, resetting: VM lock ----------------------------------------- */

KvmVcpu *kvm_vcpu_of(Cpu *cpu) { return cpu->accel_data; }

void kvm_vcpu_reset(Cpu *cpu)
{
    KvmVcpu *vcpu = kvm_vcpu_of(cpu);

    cpu_reset_state(cpu);
    if (vcpu) {
        kvm_vcpu_clear_request(vcpu, REQ_EVENTS | REQ_DEAD);
        vcpu->run->ready_for_interrupt_injection = 0;
        vcpu->run->request_interrupt_window = 0;
        vcpu->run->if_flag = 0;
    }
    cpu->env_dirty = true;
}

void kvm_vcpu_wait_parked(const KvmVcpu *vcpu)
{
    KvmAccel *kvm = vcpu->kvm;

    for (;;) {
        uint32_t acks = kvm->acks;

        if (vcpu->requests & REQ_PARKED) {
            return;
        }
        futex_wait(&kvm->acks, acks);
    }
}

/* All CPUs get their registers before the first runs: it may send the others an INIT. */
void kvm_cpus_start(Accel *accel)
{
    KvmAccel *kvm = kvm_accel(accel);

    for (unsigned i = 0; i < kvm->n_vcpus; i++) {
        g_autoptr(GError) err = NULL;

        if (kvm->vcpus[i]->cpu->env_dirty && !kvm_cpu_put_state(kvm->vcpus[i]->cpu, &err)) {
            report_error("%s", err->message);
            vm_request_stop(accel->vm, RUN_STATE_INTERNAL_ERROR);
            return;
        }
    }
    for (unsigned i = 0; i < kvm->n_vcpus; i++) {
        kvm_vcpu_clear_request(kvm->vcpus[i], REQ_STOP | REQ_PARKED | REQ_DEAD);
    }
}

static bool all_parked(const KvmAccel *kvm)
{
    for (unsigned i = 0; i < kvm->n_vcpus; i++) {
        if (!(kvm->vcpus[i]->requests & REQ_PARKED)) {
            return false;
        }
    }
    return true;
}

void kvm_cpus_stop(Accel *accel)
{
    KvmAccel *kvm = kvm_accel(accel);

    g_assert(!current_vcpu);
    for (unsigned i = 0; i < kvm->n_vcpus; i++) {
        kvm_vcpu_request(kvm->vcpus[i], REQ_STOP);
    }
    vm_unlock(accel->vm);
    for (;;) {
        uint32_t acks = kvm->acks;

        if (all_parked(kvm)) {
            break;
        }
        futex_wait(&kvm->acks, acks);
    }
    vm_lock(accel->vm);
    kvm_coalesced_drain(kvm);
}

void kvm_cpus_reset(Accel *accel)
{
    for (unsigned i = 0; i < accel->vm->cpus->len; i++) {
        if (g_ptr_array_index(accel->vm->cpus, i)) {
            kvm_vcpu_reset(g_ptr_array_index(accel->vm->cpus, i));
        }
    }
}

void kvm_cpu_kick(Cpu *cpu)
{
    if (kvm_vcpu_of(cpu)) {
        kvm_vcpu_request(kvm_vcpu_of(cpu), REQ_KICK);
    }
}

bool kvm_cpu_get_state(Cpu *cpu, GError **err)
{
    KvmVcpu *vcpu = kvm_vcpu_of(cpu);

    return !vcpu || cpu->env_dirty || kvm_regs_get(cpu, vcpu->fd, err);
}

bool kvm_cpu_put_state(Cpu *cpu, GError **err)
{
    KvmVcpu *vcpu = kvm_vcpu_of(cpu);

    if (vcpu) {
        if (!kvm_regs_put(cpu, vcpu->fd, true, err)) {
            return false;
        }
        cpu->env_dirty = false;
    }
    return true;
}

int kvm_cpu_thread_id(Cpu *cpu)
{
    KvmVcpu *vcpu = kvm_vcpu_of(cpu);

    while (vcpu && vcpu->has_thread && !vcpu->tid) {
        sched_yield(); /* it was made and is about to begin */
    }
    return vcpu ? vcpu->tid : 0;
}

bool kvm_cpu_translate(Cpu *cpu, uint64_t address, uint64_t *physical)
{
    KvmVcpu *vcpu = kvm_vcpu_of(cpu);

    return vcpu && (!cpu->env_dirty || kvm_cpu_put_state(cpu, NULL)) &&
           kvm_regs_translate(vcpu->fd, address, physical);
}

/*
 * KVM allows both amid an access that it has not finished: it brings its emulator's copy up to date
 * and takes the new one. An IN then puts what it read into the low part of RAX.
 */
bool kvm_exit_regs_get(Cpu *cpu, GError **err)
{
    g_assert(current_vcpu && current_vcpu->cpu == cpu);
    return kvm_regs_get_general(cpu, current_vcpu->fd, err);
}

bool kvm_exit_regs_put(Cpu *cpu, GError **err)
{
    g_assert(current_vcpu && current_vcpu->cpu == cpu);
    return kvm_regs_put_general(cpu, current_vcpu->fd, err);
}

static void inject(Accel *accel, Cpu *cpu, uint32_t request)
{
    KvmAccel *kvm = kvm_accel(accel);

    for (unsigned i = 0; i < kvm->n_vcpus; i++) {
        if (!cpu || kvm->vcpus[i]->cpu == cpu) {
            kvm_vcpu_request(kvm->vcpus[i], request);
        }
    }
}

void kvm_inject_nmi(Accel *accel, Cpu *cpu) { inject(accel, cpu, REQ_NMI); }

void kvm_inject_smi(Accel *accel, Cpu *cpu)
{
    if (kvm_accel(accel)->smm && accel->vm->cpus->len) {
        inject(accel, cpu ? cpu : g_ptr_array_index(accel->vm->cpus, 0), REQ_SMI);
    }
}
