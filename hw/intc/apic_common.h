/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The local APIC of one CPU, as far as the kernel's and the user-space one are alike: properties and
 * the state on the wire. Spec: SDM vol. 3, chapter 11.
 */
#ifndef HW_INTC_APIC_COMMON_H
#define HW_INTC_APIC_COMMON_H

#include "accel/x86/cpu.h"

#define APIC_DEFAULT_BASE 0xfee00000u
#define APIC_BASE_BSP (1u << 8)
#define APIC_BASE_ENABLE (1u << 11)
#define APIC_VERSION 0x14
#define APIC_LVT_MASKED (1u << 16)

enum { APIC_LVT_TIMER, APIC_LVT_THERMAL, APIC_LVT_PERFORM, APIC_LVT_LINT0, APIC_LVT_LINT1, APIC_LVT_ERROR, APIC_LVTS };

typedef struct ApicCommon {
    Device dev;
    uint8_t id;                  /* property: initial APIC id, low 8 bits */
    /* state, as on the wire */
    uint32_t apicbase;
    uint8_t arb_id, tpr;
    uint32_t spurious_vec;
    uint8_t log_dest, dest_mode; /* logical destination; 0xf flat, 0 cluster */
    uint32_t isr[8], tmr[8], irr[8];
    uint32_t lvt[APIC_LVTS];
    uint32_t esr, icr[2];
    uint32_t divide_conf;
    int32_t count_shift;
    uint32_t initial_count;
    int64_t initial_count_load_time, next_time, timer_expiry; /* virtual ns; -1: none */
} ApicCommon;

/* The CPU that it belongs to. */
Cpu *apic_cpu(const ApicCommon *apic);
/* Power-on state. */
void apic_reset_state(ApicCommon *apic);
extern const StateField apic_fields[];

#endif
