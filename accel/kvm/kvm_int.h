/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of accel/kvm share. Nothing outside includes this.
 *
 *   kvm.c            /dev/kvm, capabilities, start-up order, the descriptor
 *   kvm_slots.c      memory slots as a function of the map (pure)
 *   kvm_memory.c     listeners, slots, dirty log
 *   kvm_ioeventfd.c  ioeventfds and coalesced zones of both address spaces
 *   kvm_irq.c        irqchips, PIT, routes, MSI, irqfd
 *   kvm_vcpu.c       vCPU threads, requests, stopping and pausing
 *   kvm_vcpu_life.c  vCPUs come and go
 *   kvm_exit.c       what a KVM_RUN came back for
 *   kvm_clock.c      the kvmclock device
 *   kvm_stats.c      the kernel's counters
 *   kvm_regs.c, kvm_cpuid.c   registers and CPUID (kvm_regs.h)
 *
 * How a vCPU is talked to. Each has a word of request bits; its loop looks at it right before
 * KVM_RUN:
 *
 *   vCPU                                     another thread
 *   in_run = true  (full barrier)            requests |= bit  (full barrier)
 *   requests? -> in_run = false, serve       immediate_exit = 1
 *   KVM_RUN                                  in_run? -> signal; else futex wake
 *   in_run = false
 *   PAUSE requested? -> acknowledge
 *
 * The signal's handler does nothing but acknowledge PAUSE when it finds in_run false: a signal
 * reaches the thread wherever it is (in an exit, waiting for the VM lock), so the exit path needs
 * no barrier. After an EINTR the vCPU clears immediate_exit and looks at requests again, so no kick
 * is lost.
 */
#ifndef ACCEL_KVM_KVM_INT_H
#define ACCEL_KVM_KVM_INT_H

#include <errno.h>
#include <linux/kvm.h>
#include <stdatomic.h>
#include <sys/ioctl.h>

#include "accel/accel.h"
#include "accel/kvm/kvm_slots.h"
#include "util/lock.h"

#define KVM_IOAPIC_PINS 24
#define KVM_PIC_PINS 16

typedef struct KvmAccel KvmAccel;
typedef struct KvmVcpu KvmVcpu;

/* ---- vCPUs -------------------------------------------------------------------------- */

enum {
    REQ_STOP = 1 << 0,  /* rest until it is cleared (vm_stop) */
    REQ_PAUSE = 1 << 1, /* stay out of KVM_RUN until it is cleared (slots change) */
    REQ_EXIT = 1 << 2,  /* the thread ends */
    REQ_KICK = 1 << 3,  /* just come out of KVM_RUN */
    REQ_INTR = 1 << 4,  /* split: the 8259's line has news */
    REQ_NMI = 1 << 5,
    REQ_SMI = 1 << 6,
    /* Set by the vCPU itself. */
    REQ_HALTED = 1 << 7, /* off: until a KICK */
    REQ_PARKED = 1 << 8, /* it rests because of STOP; cleared with it */
    REQ_DEAD = 1 << 9,   /* nothing sensible can run: until the next start */
};

struct KvmVcpu {
    struct kvm_run *run;
    KvmAccel *kvm;
    int fd;
    uint32_t id;               /* KVM's, the APIC id */
    int stats_fd;              /* 0 or less: not open */
    struct kvm_cpuid2 *cpuid;  /* of the CPU that it ran for; NULL: it is still there */
    _Atomic uint32_t requests; /* REQ_ bits; also the futex that it sleeps on */
    atomic_bool in_run;        /* may be inside KVM_RUN */
    Cpu *cpu;
    pthread_t thread;
    atomic_int tid;            /* the host's id of it; 0: it has not begun */
    bool has_thread;
    bool unfinished;                  /* the last exit's instruction waits for the next KVM_RUN */
    uint32_t dirty_index;             /* next entry of its dirty ring to be read */
    struct kvm_dirty_gfn *dirty_ring; /* NULL: none */
};

/* ---- memory ------------------------------------------------------------------------- */

/* One of KVM's address spaces: 0, or 1 for system management mode. */
typedef struct KvmMemory {
    KvmAccel *kvm;
    AddressSpace *as; /* NULL: not used */
    unsigned as_id;
    MemoryListener listener;
    GArray *slots; /* KvmSlot, sorted; VM lock */
} KvmMemory;

/* ---- ioeventfds and coalesced zones of one of core's address spaces ----------------- */

typedef struct KvmIoSpace {
    KvmAccel *kvm;
    AddressSpace *as;
    bool is_port;
    MemoryListener listener;
    GArray *eventfds; /* struct kvm_ioeventfd that are installed, sorted */
    GArray *zones;    /* struct kvm_coalesced_mmio_zone that are installed, sorted */
} KvmIoSpace;

/* ---- routes ------------------------------------------------------------------------- */

typedef struct KvmMsiRoute {
    MsiMessage msi;
    bool used;
    bool in_kernel; /* the kernel's table has it in this form */
    unsigned irqfds;
} KvmMsiRoute;

struct KvmAccel {
    Accel accel;
    int fd, vm_fd;   /* -1: closed */
    int stats_fd;    /* of the VM; 0 or less: not open */
    bool chips;      /* the kernel has its irqchip and routes */
    bool done;       /* machine_done is through */
    size_t run_size; /* bytes of a vCPU's mapping */
    /* Options. */
    uint64_t shadow_mem;      /* bytes for the shadow MMU; 0: the kernel's choice */
    uint32_t dirty_ring_size; /* entries; 0: dirty bitmaps */
    int notify_vmexit;        /* NotifyVmexit */
    uint32_t notify_window;   /* TSC cycles added to the hardware's window */
    /* Capabilities. */
    unsigned max_slots, max_vcpus, max_vcpu_id, max_routes;
    bool smm, port_coalescing;
    KvmVcpu **vcpus;    /* the first is CPU 0, the others stand as they came; room for all possible CPUs */
    unsigned n_vcpus;
    GPtrArray *parked;  /* KvmVcpu: of CPUs that were removed; KVM cannot delete them. NULL: none yet */
    _Atomic uint32_t acks; /* futex: a vCPU has parked or left KVM_RUN */
    /* Memory. */
    KvmMemory memory[2];
    KvmIoSpace io[2];                     /* memory, ports */
    GError *memory_error;                 /* first refusal while starting */
    struct kvm_coalesced_mmio_ring *ring; /* NULL: no zone yet */
    /* Interrupts. */
    Lock irq_lock; /* gsi_level, routes */
    uint8_t gsi_level[KVM_IOAPIC_PINS];
    bool pit_wanted, pit_reinject;
    KvmMsiRoute ioapic_pins[KVM_IOAPIC_PINS]; /* split */
    GArray *msi_routes;                       /* KvmMsiRoute; GSI = index + KVM_IOAPIC_PINS */
    bool intr_level;                          /* the user-space 8259's output; VM lock */
    void *early_chips[4];                     /* states set before the chips exist, by IrqchipId */
};

typedef enum NotifyVmexit {
    NOTIFY_VMEXIT_RUN,
    NOTIFY_VMEXIT_INTERNAL_ERROR,
    NOTIFY_VMEXIT_DISABLE
} NotifyVmexit;

static inline KvmAccel *kvm_accel(Accel *accel) { return container_of(accel, KvmAccel, accel); }
static inline IrqchipMode kvm_mode(const KvmAccel *kvm) { return (IrqchipMode)kvm->accel.irqchip; }

/* 0 or a positive result; -errno. Repeated when a signal interrupts. */
int kvm_ioctl(int fd, unsigned long request, void *arg);
int kvm_check(const KvmAccel *kvm, int capability);
int kvm_enable_cap(const KvmAccel *kvm, uint32_t capability, uint64_t arg0);

/* ---- kvm_stats.c; VM lock ----------------------------------------------------------- */
bool kvm_stats(Accel *accel, Cpu *cpu, AccelStatFn *fn, void *opaque, GError **err);

/* ---- kvm_memory.c; VM lock ---------------------------------------------------------- */
bool kvm_memory_start(KvmAccel *kvm, GError **err);
void kvm_memory_stop(KvmAccel *kvm);
void kvm_dirty_sync(Accel *accel);
/* Reads and resets the rings; all vCPUs (their own thread) when theirs is full. */
bool kvm_dirty_ring_map(KvmVcpu *vcpu, GError **err);
void kvm_dirty_ring_unmap(KvmVcpu *vcpu);
void kvm_dirty_ring_reap(KvmAccel *kvm);

/* ---- kvm_ioeventfd.c; VM lock ------------------------------------------------------- */
void kvm_io_start(KvmAccel *kvm);
void kvm_io_stop(KvmAccel *kvm);
/* Finds the ring, once there are a zone and a vCPU whose mapping shows it. */
void kvm_coalesced_start(KvmAccel *kvm);
/* Carries out the writes that the kernel collected. VM lock. */
void kvm_coalesced_drain(KvmAccel *kvm);
static inline bool kvm_coalesced_pending(const KvmAccel *kvm)
{
    const struct kvm_coalesced_mmio_ring *ring = __atomic_load_n(&kvm->ring, __ATOMIC_RELAXED);

    return ring && __atomic_load_n(&ring->first, __ATOMIC_RELAXED) !=
                       __atomic_load_n(&ring->last, __ATOMIC_RELAXED);
}

/* ---- kvm_irq.c ---------------------------------------------------------------------- */
bool kvm_irqchip_create(KvmAccel *kvm, GError **err);
void kvm_irq_free(KvmAccel *kvm);
bool kvm_send_msi(Accel *accel, MsiMessage msi);
void kvm_set_gsi(Accel *accel, unsigned gsi, int level);
void kvm_set_intr(Accel *accel, int level);
int kvm_msi_route_add(Accel *accel, MsiMessage msi, GError **err);
bool kvm_msi_route_update(Accel *accel, int route, MsiMessage msi);
void kvm_msi_route_del(Accel *accel, int route);
bool kvm_irqfd_add(Accel *accel, int route, int fd, int resample_fd, GError **err);
void kvm_irqfd_del(Accel *accel, int route, int fd);
void kvm_ioapic_route(Accel *accel, unsigned pin, MsiMessage msi, bool masked);
bool kvm_irqchip_get(Accel *accel, IrqchipId chip, void *state, size_t size);
bool kvm_irqchip_set(Accel *accel, IrqchipId chip, const void *state, size_t size);
bool kvm_pit_enable(Accel *accel, bool reinject, GError **err);

/* ---- kvm_vcpu_life.c; VM lock -------------------------------------------------------- */
bool kvm_vcpus_create(KvmAccel *kvm, GError **err);
/* with_cpus: the CPUs' objects are still there. */
void kvm_vcpus_destroy(KvmAccel *kvm, bool with_cpus);
bool kvm_cpu_add(Cpu *cpu, GError **err);
void kvm_cpu_run(Cpu *cpu);
void kvm_cpu_remove(Cpu *cpu);

/* ---- kvm_vcpu.c --------------------------------------------------------------------- */
/* NULL: it has none (yet). */
KvmVcpu *kvm_vcpu_of(Cpu *cpu);
/* At rest until REQ_STOP and REQ_PARKED are cleared. */
bool kvm_vcpu_start_thread(KvmVcpu *vcpu, GError **err);
void kvm_vcpu_clear_request(KvmVcpu *vcpu, uint32_t bits);
/* After REQ_STOP; not with the VM lock, which the vCPU may want before. */
void kvm_vcpu_wait_parked(const KvmVcpu *vcpu);
/* At rest: to power-on state. VM lock. */
void kvm_vcpu_reset(Cpu *cpu);
/* Sets request bits and gets the vCPU to look at them. Any thread. */
void kvm_vcpu_request(KvmVcpu *vcpu, uint32_t bits);
/* Keeps all other vCPUs out of KVM_RUN. VM lock; returns when they are out. */
void kvm_pause(KvmAccel *kvm);
void kvm_resume(KvmAccel *kvm);
void kvm_cpus_start(Accel *accel);
void kvm_cpus_stop(Accel *accel);
void kvm_cpus_reset(Accel *accel);
void kvm_cpu_kick(Cpu *cpu);
bool kvm_cpu_get_state(Cpu *cpu, GError **err);
bool kvm_cpu_put_state(Cpu *cpu, GError **err);
int kvm_cpu_thread_id(Cpu *cpu);
bool kvm_cpu_translate(Cpu *cpu, uint64_t address, uint64_t *physical);
bool kvm_exit_regs_get(Cpu *cpu, GError **err);
bool kvm_exit_regs_put(Cpu *cpu, GError **err);
void kvm_inject_nmi(Accel *accel, Cpu *cpu);
void kvm_inject_smi(Accel *accel, Cpu *cpu);

/* ---- kvm_exit.c; the vCPU's own thread, no lock ------------------------------------- */
void kvm_vcpu_exit(KvmVcpu *vcpu);
/* KVM_RUN failed with this errno. */
void kvm_vcpu_run_failed(KvmVcpu *vcpu, int error);

/* ---- kvm_clock.c -------------------------------------------------------------------- */
uint64_t kvm_clock_get(Accel *accel, bool *reliable);
void kvm_clock_set(Accel *accel, uint64_t ns);

#endif
