/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vCPUs come and go: opened with the machine, added and removed while it lives, closed with it.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "accel/kvm/kvm_cpuid.h"
#include "accel/kvm/kvm_int.h"
#include "accel/kvm/kvm_regs.h"
#include "accel/x86/cpu_config.h"
#include "util/log.h"

/* ---- with the machine --------------------------------------------------------------------- */

static bool open_vcpu(KvmVcpu *vcpu, GError **err)
{
    KvmAccel *kvm = vcpu->kvm;
    Cpu *cpu = vcpu->cpu;

    vcpu->id = cpu->apic_id;
    vcpu->fd = kvm_ioctl(kvm->vm_fd, KVM_CREATE_VCPU, (void *)(uintptr_t)vcpu->id);
    if (vcpu->fd < 0) {
        return error_set_errno(err, -vcpu->fd, "-smp: KVM cannot create CPU %u (APIC id %u)",
                               cpu->index, cpu->apic_id);
    }
    vcpu->run = mmap(NULL, kvm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
    if (vcpu->run == MAP_FAILED) {
        vcpu->run = NULL;
        return error_set_errno(err, errno, "CPU %u: cannot map its run state", cpu->index);
    }
    return kvm_dirty_ring_map(vcpu, err) && kvm_vcpu_init_regs(cpu, kvm->vm_fd, vcpu->fd, NULL, err);
}

static bool check_limits(KvmAccel *kvm, const GPtrArray *cpus, GError **err)
{
    if (cpus->len > kvm->max_vcpus) { /* also of places that are empty: they are counted by number */
        return error_set(err, "-smp %u: this host's KVM runs at most %u CPUs in a VM", cpus->len,
                         kvm->max_vcpus);
    }
    for (unsigned i = 0; i < cpus->len; i++) {
        const Cpu *cpu = g_ptr_array_index(cpus, i);

        if (cpu && cpu->apic_id >= kvm->max_vcpu_id) {
            return error_set(err, "-smp: CPU %u has APIC id %u, this host's KVM takes ids below %u",
                             i, cpu->apic_id, kvm->max_vcpu_id);
        }
    }
    return true;
}

static unsigned possible_cpus(Vm *vm)
{
    const CpuTopology *t = &cpu_config(vm)->topology;

    return t->sockets * t->dies * t->cores * t->threads;
}

/* At rest, in the list. */
static KvmVcpu *new_vcpu(KvmAccel *kvm, Cpu *cpu)
{
    KvmVcpu *vcpu = g_new0(KvmVcpu, 1);

    *vcpu = (KvmVcpu){.kvm = kvm, .cpu = cpu, .fd = -1, .requests = REQ_STOP | REQ_PARKED};
    kvm->vcpus[kvm->n_vcpus++] = vcpu;
    return vcpu;
}

bool kvm_vcpus_create(KvmAccel *kvm, GError **err)
{
    const GPtrArray *cpus = kvm->accel.vm->cpus;

    if (!check_limits(kvm, cpus, err)) {
        return false;
    }
    kvm->vcpus = g_new0(KvmVcpu *, MAX(cpus->len, possible_cpus(kvm->accel.vm)));
    for (unsigned i = 0; i < cpus->len; i++) {
        KvmVcpu *vcpu = g_ptr_array_index(cpus, i) ? new_vcpu(kvm, g_ptr_array_index(cpus, i)) : NULL;

        if (vcpu && !open_vcpu(vcpu, err)) {
            return false;
        }
        if (vcpu) {
            vcpu->cpu->accel_data = vcpu;
            vcpu->cpu->env_dirty = true;
        }
    }
    for (unsigned i = 0; i < kvm->n_vcpus; i++) {
        if (!kvm_vcpu_start_thread(kvm->vcpus[i], err)) {
            return false;
        }
    }
    return true;
}

static void free_vcpu(KvmVcpu *vcpu)
{
    if (vcpu->has_thread) {
        kvm_vcpu_request(vcpu, REQ_EXIT);
        pthread_join(vcpu->thread, NULL);
    }
    kvm_dirty_ring_unmap(vcpu);
    if (vcpu->run) {
        munmap(vcpu->run, vcpu->kvm->run_size);
    }
    if (vcpu->stats_fd > 0) {
        close(vcpu->stats_fd);
    }
    if (vcpu->fd >= 0) {
        close(vcpu->fd);
    }
    g_free(vcpu->cpuid);
    g_free(vcpu);
}

void kvm_vcpus_destroy(KvmAccel *kvm, bool with_cpus)
{
    __atomic_store_n(&kvm->ring, NULL, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < kvm->n_vcpus; i++) {
        Cpu *cpu = kvm->vcpus[i]->cpu;

        free_vcpu(kvm->vcpus[i]);
        if (with_cpus) {
            kvm_vcpu_free_regs(cpu);
            cpu->accel_data = NULL;
        }
    }
    for (unsigned i = 0; kvm->parked && i < kvm->parked->len; i++) {
        free_vcpu(g_ptr_array_index(kvm->parked, i));
    }
    g_clear_pointer(&kvm->parked, g_ptr_array_unref);
    g_free(kvm->vcpus);
    kvm->vcpus = NULL;
    kvm->n_vcpus = 0;
}

/* ---- CPUs that come and go: main thread, VM lock ---------------------------------------- */

/*
 * A vCPU stays in the kernel as long as its VM. The one of a CPU that goes is kept at rest with its thread, and taken
 * again for the next CPU with its APIC id.
 */
static KvmVcpu *take_parked(KvmAccel *kvm, Cpu *cpu)
{
    for (unsigned i = 0; kvm->parked && i < kvm->parked->len; i++) {
        KvmVcpu *vcpu = g_ptr_array_index(kvm->parked, i);

        if (vcpu->id == cpu->apic_id && vcpu->run) {
            g_ptr_array_remove_index(kvm->parked, i);
            vcpu->cpu = cpu;
            kvm->vcpus[kvm->n_vcpus++] = vcpu;
            return vcpu;
        }
    }
    return NULL;
}

static void set_aside(KvmVcpu *vcpu)
{
    KvmAccel *kvm = vcpu->kvm;
    unsigned at = 0;

    while (kvm->vcpus[at] != vcpu) {
        at++;
    }
    memmove(kvm->vcpus + at, kvm->vcpus + at + 1, (kvm->n_vcpus - at - 1) * sizeof *kvm->vcpus);
    kvm->n_vcpus--;
    vcpu->cpu->accel_data = NULL;
    if (vcpu->fd < 0) {
        free_vcpu(vcpu);
        return;
    }
    if (!kvm->parked) {
        kvm->parked = g_ptr_array_new();
    }
    g_ptr_array_add(kvm->parked, vcpu);
}

bool kvm_cpu_add(Cpu *cpu, GError **err)
{
    KvmAccel *kvm = kvm_accel(cpu->dev.vm->accel);

    if (!kvm->done) {
        return true; /* machine_done makes all of them */
    }
    if (cpu->apic_id >= kvm->max_vcpu_id) {
        return error_set(err, "CPU %u has APIC id %u, this host's KVM takes ids below %u", cpu->index, cpu->apic_id,
                         kvm->max_vcpu_id);
    }
    KvmVcpu *vcpu = take_parked(kvm, cpu);
    bool ok = vcpu ? kvm_vcpu_init_regs(cpu, kvm->vm_fd, vcpu->fd, vcpu->cpuid, err) : open_vcpu(vcpu = new_vcpu(kvm, cpu), err);

    cpu->accel_data = vcpu;
    if (!ok || (!vcpu->has_thread && !kvm_vcpu_start_thread(vcpu, err))) {
        kvm_vcpu_free_regs(cpu);
        set_aside(vcpu);
        return false;
    }
    cpu->env_dirty = true;
    return true;
}

void kvm_cpu_run(Cpu *cpu)
{
    KvmVcpu *vcpu = kvm_vcpu_of(cpu);
    Vm *vm = cpu->dev.vm;
    g_autoptr(GError) err = NULL;

    if (!vcpu || !run_state_is_running(vm_run_state(vm))) {
        return; /* cpus_start does it */
    }
    if (!kvm_cpu_put_state(cpu, &err)) {
        report_error("%s", err->message);
        vm_request_stop(vm, RUN_STATE_INTERNAL_ERROR);
        return;
    }
    kvm_vcpu_clear_request(vcpu, REQ_STOP | REQ_PARKED | REQ_DEAD);
}

/* Its local APIC stays in the kernel: reset, no interrupt for others can get lost there. */
void kvm_cpu_remove(Cpu *cpu)
{
    KvmVcpu *vcpu = kvm_vcpu_of(cpu);
    Vm *vm = cpu->dev.vm;
    g_autoptr(GError) err = NULL;

    g_assert(!cpu_current());
    if (!vcpu) {
        return;
    }
    kvm_vcpu_request(vcpu, REQ_STOP);
    vm_unlock(vm);
    kvm_vcpu_wait_parked(vcpu);
    vm_lock(vm);
    kvm_coalesced_drain(vcpu->kvm);
    kvm_dirty_ring_reap(vcpu->kvm);
    kvm_vcpu_reset(cpu);
    if (cpu->apic) {
        device_reset(cpu->apic);
    }
    if (!kvm_cpu_put_state(cpu, &err)) {
        report_warning("CPU %u, which was removed: %s", cpu->index, err->message);
    }
    kvm_vcpu_free_regs(cpu);
    g_free(vcpu->cpuid);
    vcpu->cpuid = kvm_cpuid_build(cpu);
    set_aside(vcpu);
}
