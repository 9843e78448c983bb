/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the rest of the machine asks of an accelerator (kvm, qtest). Devices include this and no
 * accelerator's own header. Every call exists for every accelerator: an operation that it lacks
 * answers so by its return value.
 */
#ifndef ACCEL_ACCEL_H
#define ACCEL_ACCEL_H

#include "core/vm.h"

typedef enum IrqchipMode { IRQCHIP_ON, IRQCHIP_SPLIT, IRQCHIP_OFF } IrqchipMode;

typedef struct MsiMessage {
    uint64_t address;
    uint32_t data;
} MsiMessage;

/* State of the in-kernel chips, in the kernel's layout (struct kvm_irqchip, kvm_pit_state2). */
typedef enum IrqchipId {
    IRQCHIP_PIC_MASTER,
    IRQCHIP_PIC_SLAVE,
    IRQCHIP_IOAPIC,
    IRQCHIP_PIT,
} IrqchipId;

/* ---- counters ------------------------------------------------------------------------- */

typedef enum AccelStatType {
    ACCEL_STAT_CUMULATIVE,
    ACCEL_STAT_INSTANT,
    ACCEL_STAT_PEAK,
    ACCEL_STAT_LINEAR_HISTOGRAM,
    ACCEL_STAT_LOG2_HISTOGRAM
} AccelStatType;

typedef enum AccelStatUnit {
    ACCEL_STAT_UNIT_NONE,
    ACCEL_STAT_UNIT_BYTES,
    ACCEL_STAT_UNIT_SECONDS,
    ACCEL_STAT_UNIT_CYCLES,
    ACCEL_STAT_UNIT_BOOLEAN
} AccelStatUnit;

typedef struct AccelStat {
    const char *name;
    AccelStatType type;
    AccelStatUnit unit;
    int8_t base;             /* values are in units of base to the power of exponent: 10 or 2 */
    int16_t exponent;
    uint32_t bucket_size;    /* of linear histograms */
    const uint64_t *values;
    unsigned count;          /* of values; several: a histogram */
} AccelStat;

/* stat is only valid during the call. */
typedef void AccelStatFn(const AccelStat *stat, void *opaque);

struct AccelOps {
    const char *name;        /* "kvm" */
    /* ---- life; VM lock ---- */
    /* Options are set as properties on the accel object before. Opens /dev/kvm, makes the VM fd. */
    bool (*init)(Accel *accel, GError **err);
    /* All memory, ports and devices exist: installs slots, ioeventfds, irqchip, routes, vCPUs, in
     * the order that the kernel likes. CPUs are made but do not run. */
    bool (*machine_done)(Accel *accel, GError **err);
    void (*shutdown)(Accel *accel);
    /* vCPUs run / have come to rest (waited for; the lock is dropped meanwhile). */
    void (*cpus_start)(Accel *accel);
    void (*cpus_stop)(Accel *accel);
    /* vCPUs are stopped: to power-on state. */
    void (*cpus_reset)(Accel *accel);
    /*
     * A CPU that comes while the VM lives: cpu_add makes it, at rest; cpu_run lets it run with the others once it was
     * reset. Before machine_done both do nothing. cpu_remove brings it to rest for good (the lock is dropped meanwhile;
     * main thread), then the object may go. NULL: nothing to do.
     */
    bool (*cpu_add)(Cpu *cpu, GError **err);
    void (*cpu_run)(Cpu *cpu);
    void (*cpu_remove)(Cpu *cpu);
    /* Ends the KVM_RUN of a CPU (any thread); it looks at its requests. */
    void (*cpu_kick)(Cpu *cpu);
    /* ---- registers of a stopped CPU, with the kernel's copy ---- */
    bool (*cpu_get_state)(Cpu *cpu, GError **err);
    bool (*cpu_put_state)(Cpu *cpu, GError **err);
    /* General registers of the CPU whose access the calling thread is serving (cpu_current()), from
     * and to its env.regs: for devices that answer in registers. */
    bool (*exit_regs_get)(Cpu *cpu, GError **err);
    bool (*exit_regs_put)(Cpu *cpu, GError **err);
    /* The host's id of the thread that runs a CPU; 0: the machine is not made yet. */
    int (*cpu_thread_id)(Cpu *cpu);
    /* Where a virtual address of a stopped CPU is, by its page tables; false: nowhere. With paging
     * off it is the address itself. */
    bool (*cpu_translate)(Cpu *cpu, uint64_t address, uint64_t *physical);
    /* ---- interrupts; any thread ---- */
    void (*set_gsi)(Accel *accel, unsigned gsi, int level);       /* IRQCHIP_ON */
    bool (*send_msi)(Accel *accel, MsiMessage msi);
    /* The output of the user-space 8259 (split, off): CPU 0's INTR pin. */
    void (*set_intr)(Accel *accel, int level);
    void (*inject_nmi)(Accel *accel, Cpu *cpu);                   /* cpu NULL: all */
    void (*inject_smi)(Accel *accel, Cpu *cpu);                   /* cpu NULL: CPU 0 */
    /* As accel_ioapic_route. NULL: not needed. */
    void (*ioapic_route)(Accel *accel, unsigned pin, MsiMessage msi, bool masked);
    /* A route for a message, to be used with irqfds. -1 with *err. */
    int (*msi_route_add)(Accel *accel, MsiMessage msi, GError **err);
    bool (*msi_route_update)(Accel *accel, int route, MsiMessage msi);
    void (*msi_route_del)(Accel *accel, int route);
    bool (*irqfd_add)(Accel *accel, int route, int fd, int resample_fd, GError **err);
    void (*irqfd_del)(Accel *accel, int route, int fd);
    /* ---- in-kernel chips; false: there are none ---- */
    bool (*irqchip_get)(Accel *accel, IrqchipId chip, void *state, size_t size);
    bool (*irqchip_set)(Accel *accel, IrqchipId chip, const void *state, size_t size);
    /* The machine wants the kernel's PIT (call before machine_done); reinject: ticks that were
     * missed are made up for (lost_tick_policy=delay), else discarded. False with *err: no PIT. */
    bool (*pit_enable)(Accel *accel, bool reinject, GError **err);
    bool (*has_smm)(Accel *accel);
    /* Brings the pages that CPUs wrote since the last call into RamBlock.dirty. VM lock. */
    void (*dirty_sync)(Accel *accel);
    /* Highest vCPU count the host can run. */
    unsigned (*max_cpus)(Accel *accel);
    /* Tells fn all counters of a CPU, or of the VM (cpu NULL); none if the host counts nothing. VM lock. NULL: there are
     * none. */
    bool (*stats)(Accel *accel, Cpu *cpu, AccelStatFn *fn, void *opaque, GError **err);
    uint64_t (*clock_get)(Accel *accel, bool *reliable);  /* kvmclock, ns */
    void (*clock_set)(Accel *accel, uint64_t ns);
};

struct Accel {
    Object obj;
    const AccelOps *ops;
    Vm *vm;
    int irqchip;             /* IrqchipMode; property "kernel-irqchip" */
    /* The user-space 8259 pair: the vector to inject when INTR is taken (split, off). Set by the
     * board. Called by vCPU 0's thread under the VM lock. */
    int (*pic_ack)(void *opaque);
    void *pic_opaque;
    /* Split and off: EOI of a vector reached the LAPIC, for level-triggered pins of the IOAPIC.
     * VM lock. */
    void (*ioapic_eoi)(void *opaque, uint8_t vector);
    void *ioapic_opaque;
    /* Off: a message for the user-space APICs (accel/x86), any thread. NULL: there are none. */
    bool (*apic_send_msi)(Vm *vm, MsiMessage msi);
    /* Guest pages that the accelerator keeps for itself, known after init: reserved in E820, first
     * of its entries as in QEMU. size 0: none. */
    uint64_t reserved_addr, reserved_size;
    /* What a CPU in system management mode sees; set by the board before machine_done; NULL: as
     * others. */
    AddressSpace *smm_space;
};

/* Is this the name of an accelerator, if perhaps of one that only QEMU has? */
bool accel_name_check(const char *name, GError **err);
/* Makes the accelerator named ("kvm", "qtest"), sets its options (k, v, ..., NULL), opens it and puts
 * it in vm->accel. */
bool accel_create(Vm *vm, const char *name, const char *const *options, GError **err);

static inline IrqchipMode accel_irqchip(const Vm *vm) { return (IrqchipMode)vm->accel->irqchip; }

/* Split mode: tells the accelerator what pin n of the IOAPIC now sends (so the kernel knows which
 * vectors are level-triggered and need an EOI exit). masked: no message. VM lock. */
void accel_ioapic_route(Vm *vm, unsigned pin, MsiMessage msi, bool masked);

/* ---- CPUs --------------------------------------------------------------------------- */

/*
 * A vCPU: accel/x86/cpu.h has the registers. Types are "<model>-x86_64-cpu" with -cpu's features as
 * properties. Made by the board, run by the accelerator.
 */
/* Resolves -cpu's text (NULL: the machine's default) for all CPUs. Once, before cpu_new. */
bool cpu_model_parse(Vm *vm, const char *text, GError **err);
/* The CPU with this index, APIC id and topology ids, realized and in the tree. */
Cpu *cpu_new(Vm *vm, unsigned index, uint32_t apic_id, GError **err);
/* For a CPU that a user makes: is it of -cpu's model? */
bool cpu_check_type(Vm *vm, const Type *type, GError **err);
/* Then sets -cpu's features, before its own properties; and its place, before it is realized. */
bool cpu_set_options(Cpu *cpu, GError **err);
void cpu_set_place(Cpu *cpu, unsigned index, uint32_t apic_id);
Cpu *cpu_current(void); /* of this thread, NULL outside vCPU threads */
void cpu_set_current(Cpu *cpu); /* accelerators: this thread runs this CPU */
unsigned cpu_index(const Cpu *cpu);
uint32_t cpu_apic_id(const Cpu *cpu);
/* Prints what -cpu help prints. */
void cpu_model_help(void);

#endif
