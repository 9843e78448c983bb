/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a KVM_RUN came back for. Ports and memory are the hot path: no lock, no allocation and no
 * system call here; core takes the VM lock for devices that want it.
 *
 * A state that cannot be run is reported once, with registers and code bytes, and stops the VM as
 * internal-error; the vCPU then sleeps until a reset.
 */
#include <inttypes.h>
#include <stdio.h>

#include "accel/kvm/kvm_int.h"
#include "accel/kvm/kvm_regs.h"
#include "accel/x86/cpu.h"
#include "util/log.h"
#include "util/trace.h"

/* ---- ports and memory --------------------------------------------------------------- */

static inline uint64_t load_size(const uint8_t *p, unsigned size)
{
    switch (size) {
    case 1:
        return *p;
    case 2:
        return load16_le(p);
    case 4:
        return load32_le(p);
    default:
        return load64_le(p);
    }
}

static inline void store_size(uint8_t *p, uint64_t value, unsigned size)
{
    switch (size) {
    case 1:
        *p = (uint8_t)value;
        break;
    case 2:
        store16_le(p, (uint16_t)value);
        break;
    case 4:
        store32_le(p, (uint32_t)value);
        break;
    default:
        store64_le(p, value);
        break;
    }
}

/* INS and OUTS come with count elements for the same port. */
static inline void exit_io(KvmVcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;
    AddressSpace *ports = &vcpu->kvm->accel.vm->io;
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    const unsigned size = run->io.size, port = run->io.port;
    uint32_t count = run->io.count;

    for (; count; count--, data += size) {
        if (run->io.direction == KVM_EXIT_IO_OUT) {
            address_space_store(ports, port, size, load_size(data, size));
        } else {
            uint64_t value;

            address_space_load(ports, port, size, &value);
            store_size(data, value, size);
        }
    }
}

static inline void exit_mmio(KvmVcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;
    Accel *accel = &vcpu->kvm->accel;
    AddressSpace *as = &accel->vm->memory;
    const uint64_t addr = run->mmio.phys_addr;
    const unsigned len = run->mmio.len;

    if (__builtin_expect(run->flags & KVM_RUN_X86_SMM, 0) && accel->smm_space) {
        as = accel->smm_space;
    }
    if (__builtin_expect(len & (len - 1), 0) || len > 8) { /* 3, 5, 6, 7: across a page */
        if (run->mmio.is_write) {
            address_space_write(as, addr, run->mmio.data, MIN(len, 8));
        } else {
            address_space_read(as, addr, run->mmio.data, MIN(len, 8));
        }
    } else if (run->mmio.is_write) {
        address_space_store(as, addr, len, load_size(run->mmio.data, len));
    } else {
        uint64_t value;

        address_space_load(as, addr, len, &value);
        store_size(run->mmio.data, value, len);
    }
}

/* ---- what cannot go on -------------------------------------------------------------- */

static void rest_until_start(KvmVcpu *vcpu) { atomic_fetch_or(&vcpu->requests, REQ_DEAD); }

/* Registers to stderr, the VM to internal-error, this vCPU to sleep. */
static void stop_internal_error(KvmVcpu *vcpu)
{
    Vm *vm = vcpu->kvm->accel.vm;
    g_autoptr(GError) err = NULL;

    vm_lock(vm); /* two CPUs must not write at once */
    if (kvm_regs_get(vcpu->cpu, vcpu->fd, &err)) {
        kvm_regs_dump(vcpu->cpu, vcpu->fd, stderr);
    } else {
        fprintf(stderr, "CPU %u: %s\n", vcpu->cpu->index, err->message);
    }
    vm_unlock(vm);
    rest_until_start(vcpu);
    vm_request_stop(vm, RUN_STATE_INTERNAL_ERROR);
}

static void exit_internal_error(KvmVcpu *vcpu)
{
    const struct kvm_run *run = vcpu->run;
    static const char *const suberrors[] = {
        [KVM_INTERNAL_ERROR_EMULATION] = "emulation failure",
        [KVM_INTERNAL_ERROR_SIMUL_EX] = "simultaneous exceptions",
        [KVM_INTERNAL_ERROR_DELIVERY_EV] = "error while delivering an event",
        [KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON] = "unexpected exit reason",
    };
    const uint32_t suberror = run->internal.suberror;

    fprintf(stderr, "KVM internal error. Suberror: %u\n", suberror);
    for (unsigned i = 0; i < MIN(run->internal.ndata, G_N_ELEMENTS(run->internal.data)); i++) {
        fprintf(stderr, "extra data[%u]: 0x%016" PRIx64 "\n", i, (uint64_t)run->internal.data[i]);
    }
    if (suberror < G_N_ELEMENTS(suberrors) && suberrors[suberror]) {
        fprintf(stderr, "%s\n", suberrors[suberror]);
    }
    stop_internal_error(vcpu);
}

static void exit_fail_entry(KvmVcpu *vcpu)
{
    const struct kvm_run *run = vcpu->run;
    const uint64_t reason = run->fail_entry.hardware_entry_failure_reason;

    fprintf(stderr, "KVM: entry failed, hardware error 0x%" PRIx64 "\n", reason);
    if (reason == 0x80000021) { /* SDM vol. 3, 27.8: VM entry with invalid guest state */
        fprintf(
            stderr,
            "The processor refuses this guest state. Intel processors without unrestricted guest "
            "support cannot run some of 16-bit code, and kvm_intel's emulate_invalid_guest_state=1 "
            "helps there.\n");
    }
    stop_internal_error(vcpu);
}

static const char *exit_name(uint32_t reason)
{
#define NAME(x) [KVM_EXIT_##x] = #x
    static const char *const names[] = {
        NAME(UNKNOWN),
        NAME(EXCEPTION),
        NAME(IO),
        NAME(HYPERCALL),
        NAME(DEBUG),
        NAME(HLT),
        NAME(MMIO),
        NAME(IRQ_WINDOW_OPEN),
        NAME(SHUTDOWN),
        NAME(FAIL_ENTRY),
        NAME(INTR),
        NAME(SET_TPR),
        NAME(TPR_ACCESS),
        NAME(NMI),
        NAME(INTERNAL_ERROR),
        NAME(SYSTEM_EVENT),
        NAME(IOAPIC_EOI),
        NAME(HYPERV),
        NAME(X86_RDMSR),
        NAME(X86_WRMSR),
        NAME(DIRTY_RING_FULL),
        NAME(AP_RESET_HOLD),
        NAME(X86_BUS_LOCK),
        NAME(XEN),
        NAME(NOTIFY),
    };
#undef NAME
    return reason < G_N_ELEMENTS(names) && names[reason] ? names[reason] : "no name";
}

static void exit_unknown(KvmVcpu *vcpu)
{
    const struct kvm_run *run = vcpu->run;

    fprintf(stderr, "KVM: unknown exit, reason %u (%s)", run->exit_reason,
            exit_name(run->exit_reason));
    if (run->exit_reason == KVM_EXIT_UNKNOWN) {
        fprintf(stderr, ", hardware reason 0x%" PRIx64, (uint64_t)run->hw.hardware_exit_reason);
    }
    fprintf(stderr, "\n");
    stop_internal_error(vcpu);
}

void kvm_vcpu_run_failed(KvmVcpu *vcpu, int error)
{
    if (error == EFAULT) {
        fprintf(
            stderr,
            "KVM: CPU %u touched guest memory that the host cannot provide (out of memory or huge "
            "pages, or a truncated backing file): %s\n",
            vcpu->cpu->index, strerror(error));
    } else {
        fprintf(stderr, "KVM: running CPU %u failed: %s\n", vcpu->cpu->index, strerror(error));
    }
    stop_internal_error(vcpu);
}

/* ---- events ------------------------------------------------------------------------- */

static void exit_system_event(KvmVcpu *vcpu)
{
    Vm *vm = vcpu->kvm->accel.vm;

    trace(kvm_system_event, "cpu %u type %u", vcpu->cpu->index, vcpu->run->system_event.type);
    switch (vcpu->run->system_event.type) {
    case KVM_SYSTEM_EVENT_SHUTDOWN:
        rest_until_start(vcpu);
        vm_request_shutdown(vm, SHUTDOWN_CAUSE_GUEST_SHUTDOWN);
        break;
    case KVM_SYSTEM_EVENT_RESET:
        rest_until_start(vcpu);
        vm_request_reset(vm, SHUTDOWN_CAUSE_GUEST_RESET);
        break;
    case KVM_SYSTEM_EVENT_CRASH:
        vm_request_panic(vm);
        break;
    default:
        exit_unknown(vcpu);
        break;
    }
}

static void exit_ioapic_eoi(KvmVcpu *vcpu)
{
    Accel *accel = &vcpu->kvm->accel;

    if (accel->ioapic_eoi) {
        vm_lock(accel->vm);
        accel->ioapic_eoi(accel->ioapic_opaque, vcpu->run->eoi.vector);
        vm_unlock(accel->vm);
    }
}

/* The guest kept the processor from taking any event for a whole window. */
static void exit_notify(KvmVcpu *vcpu)
{
    const bool lost = vcpu->run->notify.flags & KVM_NOTIFY_CONTEXT_INVALID;

    if (lost || vcpu->kvm->notify_vmexit == NOTIFY_VMEXIT_INTERNAL_ERROR) {
        fprintf(stderr, "KVM: CPU %u let no event in for a whole notify window%s\n",
                vcpu->cpu->index, lost ? ", and its context is lost" : "");
        stop_internal_error(vcpu);
    } else {
        report_warning("CPU %u let no event in for a whole notify window", vcpu->cpu->index);
    }
}

static void exit_dirty_ring_full(KvmVcpu *vcpu)
{
    vm_lock(vcpu->kvm->accel.vm);
    kvm_dirty_ring_reap(vcpu->kvm);
    vm_unlock(vcpu->kvm->accel.vm);
}

/* There is no VMBus: nobody is at the other end of a message (5Ch) or a signal (5Dh). */
static void exit_hyperv_call(struct kvm_run *run)
{
    const uint16_t code = (uint16_t)run->hyperv.u.hcall.input;

    run->hyperv.u.hcall.result = code == 0x5c || code == 0x5d
                                     ? 0x12 /* HV_STATUS_INVALID_CONNECTION_ID */
                                     : 2 /* HV_STATUS_INVALID_HYPERCALL_CODE */;
}

static void exit_rare(KvmVcpu *vcpu)
{
    Vm *vm = vcpu->kvm->accel.vm;
    struct kvm_run *run = vcpu->run;

    trace(kvm_exit, "cpu %u %s", vcpu->cpu->index, exit_name(run->exit_reason));
    switch (run->exit_reason) {
    case KVM_EXIT_HLT: /* off: its loop sleeps until there is work */
        vcpu->cpu->halted = 1;
        break;
    case KVM_EXIT_IRQ_WINDOW_OPEN:
        atomic_fetch_or(&vcpu->requests, REQ_INTR);
        break;
    case KVM_EXIT_INTR:
    case KVM_EXIT_SET_TPR:    /* CR8 is read after each run when the APIC is ours */
    case KVM_EXIT_TPR_ACCESS: /* reporting is never turned on */
    case KVM_EXIT_NMI:
    case KVM_EXIT_X86_BUS_LOCK:
        break;
    case KVM_EXIT_SHUTDOWN: /* triple fault */
        rest_until_start(vcpu);
        vm_request_reset(vm, SHUTDOWN_CAUSE_GUEST_RESET);
        break;
    case KVM_EXIT_IOAPIC_EOI:
        exit_ioapic_eoi(vcpu);
        break;
    case KVM_EXIT_SYSTEM_EVENT:
        exit_system_event(vcpu);
        break;
    case KVM_EXIT_X86_RDMSR:
    case KVM_EXIT_X86_WRMSR: /* MSRs are never sent here, so this one is unknown: #GP */
        run->msr.error = 1;
        break;
    case KVM_EXIT_HYPERV: /* SynIC's pages need nothing of us */
        if (run->hyperv.type == KVM_EXIT_HYPERV_HCALL) {
            exit_hyperv_call(run);
        }
        break;
    case KVM_EXIT_DEBUG:
        rest_until_start(vcpu);
        vm_request_stop(vm, RUN_STATE_DEBUG);
        break;
    case KVM_EXIT_NOTIFY:
        exit_notify(vcpu);
        break;
    case KVM_EXIT_DIRTY_RING_FULL:
        exit_dirty_ring_full(vcpu);
        break;
    case KVM_EXIT_INTERNAL_ERROR:
        exit_internal_error(vcpu);
        break;
    case KVM_EXIT_FAIL_ENTRY:
        exit_fail_entry(vcpu);
        break;
    default:
        exit_unknown(vcpu);
        break;
    }
}

void kvm_vcpu_exit(KvmVcpu *vcpu)
{
    const uint32_t reason = vcpu->run->exit_reason;

    if (__builtin_expect(reason == KVM_EXIT_IO, 1)) {
        exit_io(vcpu);
    } else if (reason == KVM_EXIT_MMIO) {
        exit_mmio(vcpu);
    } else {
        exit_rare(vcpu);
    }
}
