/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kvm-apic: holds the state of the kernel's local APIC. The register page (KVM_GET_LAPIC's layout: one
 * register every 16 bytes) is in Cpu.lapic and moves with the CPU's other registers.
 */
#include "hw/intc/apic_common.h"

static uint32_t get_reg(const Cpu *cpu, unsigned reg) { return load32_le(cpu->lapic + 16 * reg); }
static void set_reg(Cpu *cpu, unsigned reg, uint32_t value) { store32_le(cpu->lapic + 16 * reg, value); }

/* From our fields to the register page. */
static void apic_to_page(ApicCommon *s)
{
    Cpu *cpu = apic_cpu(s);

    if (!cpu->lapic) {
        return;
    }
    set_reg(cpu, APIC_REG_ID, (uint32_t)s->id << 24);
    set_reg(cpu, APIC_REG_VERSION, APIC_VERSION | (APIC_LVTS - 1) << 16);
    set_reg(cpu, APIC_REG_TPR, s->tpr);
    set_reg(cpu, APIC_REG_LDR, (uint32_t)s->log_dest << 24);
    set_reg(cpu, APIC_REG_DFR, (uint32_t)s->dest_mode << 28 | 0x0fffffff);
    set_reg(cpu, APIC_REG_SVR, s->spurious_vec);
    for (unsigned i = 0; i < 8; i++) {
        set_reg(cpu, APIC_REG_ISR + i, s->isr[i]);
        set_reg(cpu, APIC_REG_TMR + i, s->tmr[i]);
        set_reg(cpu, APIC_REG_IRR + i, s->irr[i]);
    }
    set_reg(cpu, APIC_REG_ESR, s->esr);
    set_reg(cpu, APIC_REG_ICR_LOW, s->icr[0]);
    set_reg(cpu, APIC_REG_ICR_LOW + 1, s->icr[1]);
    for (unsigned i = 0; i < APIC_LVTS; i++) {
        set_reg(cpu, APIC_REG_LVT + i, s->lvt[i]);
    }
    set_reg(cpu, APIC_REG_INITIAL_COUNT, s->initial_count);
    set_reg(cpu, APIC_REG_DIVIDE, s->divide_conf);
}

static void kvm_apic_pre_save(void *obj)
{
    ApicCommon *s = obj;
    const Cpu *cpu = apic_cpu(s);

    if (!cpu->lapic) {
        return;
    }
    s->apicbase = (uint32_t)cpu->apic_base;
    s->id = (uint8_t)(get_reg(cpu, APIC_REG_ID) >> 24);
    s->tpr = (uint8_t)get_reg(cpu, APIC_REG_TPR);
    s->log_dest = (uint8_t)(get_reg(cpu, APIC_REG_LDR) >> 24);
    s->dest_mode = (uint8_t)(get_reg(cpu, APIC_REG_DFR) >> 28);
    s->spurious_vec = get_reg(cpu, APIC_REG_SVR);
    for (unsigned i = 0; i < 8; i++) {
        s->isr[i] = get_reg(cpu, APIC_REG_ISR + i);
        s->tmr[i] = get_reg(cpu, APIC_REG_TMR + i);
        s->irr[i] = get_reg(cpu, APIC_REG_IRR + i);
    }
    s->esr = get_reg(cpu, APIC_REG_ESR);
    s->icr[0] = get_reg(cpu, APIC_REG_ICR_LOW);
    s->icr[1] = get_reg(cpu, APIC_REG_ICR_LOW + 1);
    for (unsigned i = 0; i < APIC_LVTS; i++) {
        s->lvt[i] = get_reg(cpu, APIC_REG_LVT + i);
    }
    s->initial_count = get_reg(cpu, APIC_REG_INITIAL_COUNT);
    s->divide_conf = get_reg(cpu, APIC_REG_DIVIDE) & 0xf;
    s->count_shift = apic_divide_shift(s->divide_conf);
}

static bool kvm_apic_post_load(void *obj, unsigned version, GError **err)
{
    ApicCommon *s = obj;
    Cpu *cpu = apic_cpu(s);

    cpu->apic_base = s->apicbase;
    cpu->env_dirty = true;
    apic_to_page(s);
    return true;
}

static void kvm_apic_reset(Device *dev)
{
    ApicCommon *s = container_of(dev, ApicCommon, dev);

    apic_reset_state(s);
    apic_cpu(s)->apic_base = s->apicbase;
    apic_to_page(s);
}

static uint32_t kvm_apic_current_count(const ApicCommon *s)
{
    const Cpu *cpu = apic_cpu(s);

    return cpu->lapic ? get_reg(cpu, APIC_REG_CURRENT_COUNT) : s->initial_count;
}

static const ApicOps kvm_apic_ops = {.current_count = kvm_apic_current_count};

static const StateDesc kvm_apic_state = {
    .name = "apic",
    .version = 3,
    .min_version = 3,
    .fields = apic_fields,
    .pre_save = kvm_apic_pre_save,
    .post_load = kvm_apic_post_load,
};

DEVICE_TYPE(kvm_apic) = {
    .name = "kvm-apic",
    .parent = "apic-common",
    .desc = "local APIC of the kernel",
    .state = &kvm_apic_state,
    .ops = &kvm_apic_ops,
    .reset = kvm_apic_reset,
};
