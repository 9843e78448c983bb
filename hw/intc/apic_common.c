/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hw/intc/apic_common.h"

Cpu *apic_cpu(const ApicCommon *apic) { return (Cpu *)(void *)apic->dev.obj.parent; }

void apic_reset_state(ApicCommon *apic)
{
    bool bsp = apic_cpu(apic)->index == 0;

    apic->apicbase = APIC_DEFAULT_BASE | APIC_BASE_ENABLE | (bsp ? APIC_BASE_BSP : 0);
    apic->arb_id = apic->tpr = 0;
    apic->spurious_vec = 0xff;
    apic->log_dest = 0;
    apic->dest_mode = 0xf;
    memset(apic->isr, 0, sizeof apic->isr);
    memset(apic->tmr, 0, sizeof apic->tmr);
    memset(apic->irr, 0, sizeof apic->irr);
    for (unsigned i = 0; i < APIC_LVTS; i++) {
        apic->lvt[i] = APIC_LVT_MASKED;
    }
    if (bsp) {
        apic->lvt[APIC_LVT_LINT0] = 0x700; /* ExtINT: the 8259 works before any software looks at the APIC */
    }
    apic->esr = 0;
    memset(apic->icr, 0, sizeof apic->icr);
    apic->divide_conf = 0;
    apic->count_shift = 0;
    apic->initial_count = 0;
    apic->initial_count_load_time = apic->next_time = 0;
    apic->timer_expiry = -1;
}

const StateField apic_fields[] = {
    STATE_U32(ApicCommon, apicbase),
    STATE_U8(ApicCommon, id),
    STATE_U8(ApicCommon, arb_id),
    STATE_U8(ApicCommon, tpr),
    STATE_U32(ApicCommon, spurious_vec),
    STATE_U8(ApicCommon, log_dest),
    STATE_U8(ApicCommon, dest_mode, .max = 0xf),
    STATE_ARRAY(ApicCommon, isr, u32, 8),
    STATE_ARRAY(ApicCommon, tmr, u32, 8),
    STATE_ARRAY(ApicCommon, irr, u32, 8),
    STATE_ARRAY(ApicCommon, lvt, u32, APIC_LVTS),
    STATE_U32(ApicCommon, esr),
    STATE_ARRAY(ApicCommon, icr, u32, 2),
    STATE_U32(ApicCommon, divide_conf, .max = 0xf),
    STATE_I32(ApicCommon, count_shift, .min = 0, .max = 7),
    STATE_U32(ApicCommon, initial_count),
    STATE_I64(ApicCommon, initial_count_load_time),
    STATE_I64(ApicCommon, next_time),
    STATE_I64(ApicCommon, timer_expiry),
    {}};

static const Property apic_props[] = {
    PROP_U8("id", ApicCommon, id, .max = 0xff, .help = "initial APIC id"),
    {}};

DEVICE_TYPE(apic_common) = {
    .name = "apic-common",
    .parent = "device",
    .abstract = true,
    .size = sizeof(ApicCommon),
    .not_user = "it is part of a CPU",
    .props = apic_props,
};
