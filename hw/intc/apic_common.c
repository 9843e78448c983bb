/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hw/intc/apic_common.h"



Cpu *apic_cpu(const ApicCommon *apic) { return (Cpu *)(void *)apic->dev.obj.parent; }

/* What power-on and INIT have in common; INIT leaves the base, the id and the arbitration id. */
void apic_init_state(ApicCommon *apic)
{
    apic->tpr = 0;
    apic->spurious_vec = 0xff;
    apic->log_dest = 0;
    apic->dest_mode = 0xf;
    memset(apic->isr, 0, sizeof apic->isr);
    memset(apic->tmr, 0, sizeof apic->tmr);
    memset(apic->irr, 0, sizeof apic->irr);
    for (unsigned i = 0; i < APIC_LVTS; i++) {
        apic->lvt[i] = APIC_LVT_MASKED;
    }
    apic->esr = 0;
    memset(apic->icr, 0, sizeof apic->icr);
    apic->divide_conf = 0;
    apic->count_shift = 0;
    apic->initial_count = 0;
    apic->initial_count_load_time = apic->next_time = 0;
    apic->timer_expiry = -1;
    apic->sipi_vector = 0;
    apic->wait_for_sipi = apic_cpu(apic)->index != 0;
}

void apic_reset_state(ApicCommon *apic)
{
    const Cpu *cpu = apic_cpu(apic);

    apic->apicbase = APIC_DEFAULT_BASE | APIC_BASE_ENABLE | (cpu->index == 0 ? APIC_BASE_BSP : 0);
    apic->id = (uint8_t)cpu->apic_id;
    apic->arb_id = 0;
    apic_init_state(apic);
}

int32_t apic_divide_shift(uint32_t divide_conf)
{
    return (int32_t)((((divide_conf & 3) | (divide_conf >> 1 & 4)) + 1) & 7);
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
    STATE_I64(ApicCommon, initial_count_load_time, .min = 0, .max = APIC_TIME_MAX),
    STATE_I64(ApicCommon, next_time),
    STATE_I64(ApicCommon, timer_expiry),
    {}
};

static bool apic_common_realize(Device *dev, GError **err)
{
    ApicCommon *apic = container_of(dev, ApicCommon, dev);

    apic->id = (uint8_t)apic->initial_id;
    dev->state_instance = (int)apic->initial_id;
    return true;
}

static const Property apic_props[] = {
    PROP_U32("id", ApicCommon, initial_id, .help = "initial APIC id"),
    {}
};

DEVICE_TYPE(apic_common) = {
    .name = "apic-common",
    .parent = "device",
    .abstract = true,
    .size = sizeof(ApicCommon),
    .not_user = "it is part of a CPU",
    .props = apic_props,
    .realize = apic_common_realize,
};
