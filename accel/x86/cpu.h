/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The x86 vCPU as the accelerators and the state stream see it.
 *
 * A Cpu is a device ("qemu64-x86_64-cpu" <- "x86_64-cpu" <- "cpu" <- "device"). What it is able to
 * do (feature words, level, vendor, topology) is fixed when it is realized; what it is doing
 * (X86State) is a copy: the accelerator's own vCPU holds the truth while it runs, and
 * kvm_regs_get/put move it.
 *
 * Feature words are the CPUID registers (and feature MSRs) whose bits have names. They are the
 * properties of the type "x86_64-cpu": one table in x86_features.c, nowhere else.
 */
#ifndef ACCEL_X86_CPU_H
#define ACCEL_X86_CPU_H

#include <stdio.h>

#include "accel/accel.h"
#include "accel/x86/features.h"
#include "core/device.h"

/* ---- registers -------------------------------------------------------------------- */

enum { X86_RAX, X86_RCX, X86_RDX, X86_RBX, X86_RSP, X86_RBP, X86_RSI, X86_RDI, X86_R8 };
enum { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS };

/* Bits of X86Segment.flags: the second dword of a descriptor, base and limit left out. */
#define SEG_TYPE_SHIFT 8
#define SEG_S (1u << 12)
#define SEG_DPL_SHIFT 13
#define SEG_P (1u << 15)
#define SEG_AVL (1u << 20)
#define SEG_L (1u << 21)
#define SEG_DB (1u << 22)
#define SEG_G (1u << 23)

typedef struct X86Segment {
    uint32_t selector;
    uint64_t base;
    uint32_t limit;
    uint32_t flags;
} X86Segment;

typedef struct X86FpReg {
    uint64_t mantissa;
    uint16_t exponent;   /* with the sign */
} X86FpReg;

typedef struct X86MtrrVar {
    uint64_t base, mask;
} X86MtrrVar;

#define X86_MCE_BANKS 10
#define X86_PMU_FIXED 3
#define X86_PMU_GP 18

/* Names are those of QEMU's stream, so that the state table can use them as they are. */
typedef struct X86State {
    uint64_t regs[16];
    uint64_t eip, eflags;
    uint32_t hflags, hflags2;    /* wire only: computed from the registers when saving */

    uint16_t fpuc;
    uint16_t fpus;               /* with TOP in bits 11 to 13 */
    uint8_t fptag;               /* FXSAVE's abridged form: bit set = register in use */
    uint16_t fpop;
    uint64_t fpip, fpdp;
    X86FpReg fpregs[8];          /* ST0 to ST7 */
    uint16_t fpus_vmstate, fptag_vmstate, fpregs_format_vmstate; /* wire only */
    uint32_t mxcsr;
    uint64_t xmm_regs[32][8];    /* ZMM as quadwords: XMM is [0..1], YMM's upper half [2..3] */
    uint64_t opmask_regs[8];
    uint64_t bnd_regs[4][2];     /* MPX: lower, upper bound */
    uint64_t bndcfgu, bndstatus;
    uint32_t pkru;
    uint64_t xstate_bv, xcr0;

    X86Segment segs[6];
    X86Segment ldt, tr, gdt, idt;
    uint64_t cr[5];              /* [1] unused; CR8 is the APIC's TPR */
    uint64_t dr[8];
    int32_t a20_mask;            /* wire only */

    /* MSRs */
    uint64_t efer, star, lstar, cstar, fmask, kernelgsbase;
    uint32_t sysenter_cs;
    uint64_t sysenter_esp, sysenter_eip;
    uint32_t smbase;
    uint64_t pat, vm_hsave;
    uint64_t mtrr_fixed[11], mtrr_deftype;
    X86MtrrVar mtrr_var[8];
    uint64_t tsc, tsc_aux, tsc_adjust, tsc_deadline;
    bool tsc_changed;            /* tsc is to be written (reset, load): else the kernel's goes on */
    int64_t tsc_khz;             /* of the guest's TSC; 0: not known yet */
    uint64_t mcg_cap, mcg_status, mcg_ctl, mce_banks[4 * X86_MCE_BANKS];
    uint64_t system_time_msr, wall_clock_msr, steal_time_msr, async_pf_en_msr, async_pf_int_msr;
    uint64_t pv_eoi_en_msr, poll_control_msr;
    uint64_t msr_ia32_misc_enable, msr_ia32_feature_control, msr_smi_count;
    uint64_t msr_fixed_ctr_ctrl, msr_global_ctrl, msr_global_status, msr_global_ovf_ctrl;
    uint64_t msr_fixed_counters[X86_PMU_FIXED];
    uint64_t msr_gp_counters[X86_PMU_GP], msr_gp_evtsel[X86_PMU_GP];
    uint64_t msr_bndcfgs, xss, umwait, pkrs, spec_ctrl, virt_ssbd, tsx_ctrl, msr_xfd, msr_xfd_err;
    uint64_t amd_tsc_scale_msr;
    uint64_t msr_hv_guest_os_id, msr_hv_hypercall; /* of the VM: CPU 0's count */
    uint64_t msr_hv_vapic, msr_hv_tsc, msr_hv_runtime;
    uint64_t msr_hv_crash_params[5];
    uint64_t msr_hv_synic_control, msr_hv_synic_evt_page, msr_hv_synic_msg_page;
    uint64_t msr_hv_synic_sint[16], msr_hv_stimer_config[4], msr_hv_stimer_count[4];
    uint64_t msr_hv_reenlightenment_control, msr_hv_tsc_emulation_control;
    uint64_t msr_hv_tsc_emulation_status;
    uint64_t pdptrs[4];          /* when PAE paging is on and pdptrs_valid */
    bool pdptrs_valid;

    /* Events in flight */
    int32_t exception_nr;        /* -1: none */
    int32_t interrupt_injected;  /* vector, -1: none */
    uint8_t soft_interrupt, nmi_injected, nmi_pending, has_error_code;
    uint32_t error_code;
    uint8_t exception_pending, exception_injected, exception_has_payload;
    uint64_t exception_payload;
    uint8_t triple_fault_pending;
    uint32_t sipi_vector;
    uint32_t mp_state;           /* KVM_MP_STATE_* */
    bool nmi_masked, smm, smm_inside_nmi, smi_pending, init_latched;
    uint8_t interrupt_shadow;    /* KVM_X86_SHADOW_INT_* */

    /* TCG's SVM emulation on the wire: kept as loaded, 0 otherwise */
    uint64_t vm_vmcb, tsc_offset, intercept;
    uint16_t intercept_cr_read, intercept_cr_write, intercept_dr_read, intercept_dr_write;
    uint32_t intercept_exceptions;
    uint8_t v_tpr;
} X86State;

/* ---- the CPU ---------------------------------------------------------------------- */

/* What -smp says; every figure is at least 1. sockets * dies * cores * threads = maxcpus. */
typedef struct CpuTopology {
    unsigned sockets, dies, cores, threads;
} CpuTopology;

/* Bits of Cpu.interrupt_request, as in the stream. */
#define CPU_INTERRUPT_HARD 0x0002u   /* user-space LAPIC or 8259 has a vector */
#define CPU_INTERRUPT_POLL 0x0010u   /* the user-space LAPIC has work to do */
#define CPU_INTERRUPT_SMI 0x0040u
#define CPU_INTERRUPT_NMI 0x0200u
#define CPU_INTERRUPT_INIT 0x0400u
#define CPU_INTERRUPT_SIPI 0x0800u
#define CPU_INTERRUPT_MCE 0x1000u

/* The CPU's local APIC, as the accelerator needs it when it is not in the kernel. VM lock. */
typedef struct CpuApicOps {
    /* The next vector to deliver, moved from IRR to ISR (or taken from the 8259). -1: none. */
    int (*take_interrupt)(void *apic);
    bool (*has_interrupt)(void *apic);
    uint8_t (*get_tpr)(void *apic);              /* all eight bits; CR8 is its upper four */
    void (*set_tpr)(void *apic, uint8_t tpr);
    uint64_t (*get_base)(void *apic);            /* IA32_APICBASE */
    void (*set_base)(void *apic, uint64_t base);
    /* A level of the 8259's output (set_intr of the accelerator passes it on for CPU 0). */
    void (*set_lint0)(void *apic, int level);
    bool (*passes_nmi)(void *apic);              /* LINT1 lets an NMI from outside in */
    void (*init_reset)(void *apic);              /* INIT reached the CPU */
    uint8_t (*take_sipi)(void *apic);            /* the vector of the last start-up IPI */
} CpuApicOps;

struct Cpu {
    Device dev;
    unsigned index;
    uint32_t apic_id;
    int32_t socket_id, die_id, core_id, thread_id; /* -1: not set yet */
    int32_t node_id;             /* NUMA node, the board's business; -1: none or not set yet */
    bool placed;                 /* index and apic_id are set */
    CpuTopology topology;        /* of the machine */
    void *accel_data;            /* the accelerator's own: thread, vCPU fd, kvm_run */

    /* what it can do */
    uint64_t features[FEATURE_WORDS];
    uint64_t user_set[FEATURE_WORDS];   /* bits that -cpu named, either way */
    uint64_t missing[FEATURE_WORDS];    /* wanted and not there on this host */
    uint64_t dropped[FEATURE_WORDS];    /* -cpu named them, but not what they depend on */
    uint32_t level, xlevel, xlevel2, level_func7; /* UINT32_MAX: from min_* and the features */
    uint32_t min_level, min_xlevel, min_xlevel2;
    char *vendor, *model_id;
    uint32_t family, model, stepping;
    uint32_t phys_bits;
    uint8_t host_phys_bits_limit;
    bool host_phys_bits, l3_cache, expose_kvm, pmu, check, enforce, migratable, host_cache_info;
    bool cpuid_0xb, fill_mtrr_mask, full_cpuid_auto_level, legacy_cache, kvm_pv_enforce_cpuid, lmce;
    bool vmware_cpuid_freq;
    uint64_t hyperv;             /* bits HypervFeature, accel/x86/hyperv.h */
    bool hv_passthrough, hv_enforce_cpuid;
    int hv_no_nonarch_coresharing; /* OnOffAuto */
    uint32_t hv_spinlocks;       /* tries before a guest tells that it waits */
    char *hv_vendor_id;
    uint32_t hv_version_build, hv_version_spack, hv_version_snumber;
    uint16_t hv_version_major, hv_version_minor;
    uint8_t hv_version_sbranch;
    uint16_t hv_evmcs_versions;  /* of the enlightened VMCS: lowest, highest << 8; from the kernel */
    uint64_t tsc_frequency;      /* Hz; 0: the host's */
    uint64_t ucode_rev;          /* MSR 8Bh; 0: the vendor's usual first one */
    uint32_t cpuid_version;      /* leaf 1 EAX, from family, model and stepping */

    /* what it is doing */
    X86State env;
    bool env_dirty;              /* env was changed and must be put before the CPU runs */
    uint32_t halted;
    uint32_t interrupt_request;  /* CPU_INTERRUPT_*; changed atomically */

    Device *apic;                /* its LAPIC device, or NULL */
    const CpuApicOps *apic_ops;  /* NULL while the LAPIC is in the kernel */
    void *apic_opaque;

    void *xsave;                 /* kvm_regs.c: last XSAVE image, for components we do not decode */
    uint8_t *lapic;              /* registers of the kernel's LAPIC (1 KiB); NULL: not there */
    uint64_t apic_base;          /* IA32_APICBASE; of the user-space LAPIC only through apic_ops */
};

/* Tells accel/x86 the shape of the machine, before the first cpu_new. Default: one socket a CPU. */
void cpu_set_topology(Vm *vm, const CpuTopology *topology);
/* The APIC id of CPU index in a machine of this shape (each level rounded up to whole bits). */
uint32_t cpu_topology_apic_id(const CpuTopology *topology, unsigned index);

/* The highest APIC id that a CPU of this machine can have. */
uint32_t cpu_last_apic_id(Vm *vm);

/*
 * Sets interrupt_request bits and ends the CPU's KVM_RUN so that it looks at them. Any thread. The
 * accelerator's loop acts on them: HARD: take_interrupt and inject when the window opens; NMI, SMI:
 * inject; INIT: cpu_do_init; SIPI: cpu_do_sipi (both with the registers fetched and put around).
 */
void cpu_interrupt(Cpu *cpu, uint32_t mask);
void cpu_clear_interrupt(Cpu *cpu, uint32_t mask);
/* A halted CPU would wake up: an interrupt that RFLAGS.IF lets through, NMI, INIT, SIPI, SMI. */
bool cpu_has_work(const Cpu *cpu, bool interrupts_enabled);

/* Power-on state of env (SDM vol. 3, 10.1.1); all but CPU 0 wait. The LAPIC resets itself. */
void cpu_reset_state(Cpu *cpu);
/* Machine check banks as after power-on, for env.mcg_cap. */
void cpu_reset_mce(Cpu *cpu);
/* The synthetic MSRs of Hyper-V as after power-on. */
#define HV_SINT_MASKED UINT64_C(0x10000)
void cpu_reset_hyperv(X86State *env);
/* INIT and start-up IPI act on env; used when the LAPIC is in user space. */
void cpu_do_init(Cpu *cpu);
void cpu_do_sipi(Cpu *cpu, uint8_t vector);

/* cpu->env for people, as "info registers" shows it: general and system registers; x87 and SSE. */
void cpu_print_registers(const Cpu *cpu, FILE *out);
void cpu_print_vectors(const Cpu *cpu, FILE *out);

/* One CPUID leaf as the guest sees it (the kernel's dynamic bits aside). Fills four registers. */
void cpu_cpuid(const Cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t regs[4]);

static inline bool cpu_has_feature(const Cpu *cpu, FeatureWord word, unsigned bit)
{
    return cpu->features[word] >> bit & 1;
}

#endif
