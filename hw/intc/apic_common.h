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

/* Registers: 32 bits every 16 bytes; in KVM's page, too. */
enum {
    APIC_REG_ID = 0x02,
    APIC_REG_VERSION = 0x03,
    APIC_REG_TPR = 0x08,
    APIC_REG_APR = 0x09,
    APIC_REG_PPR = 0x0a,
    APIC_REG_EOI = 0x0b,
    APIC_REG_LDR = 0x0d,
    APIC_REG_DFR = 0x0e,
    APIC_REG_SVR = 0x0f,
    APIC_REG_ISR = 0x10,
    APIC_REG_TMR = 0x18,
    APIC_REG_IRR = 0x20,
    APIC_REG_ESR = 0x28,
    APIC_REG_ICR_LOW = 0x30,
    APIC_REG_ICR_HIGH = 0x31,
    APIC_REG_LVT = 0x32,
    APIC_REG_INITIAL_COUNT = 0x38,
    APIC_REG_CURRENT_COUNT = 0x39,
    APIC_REG_DIVIDE = 0x3e,
};

/* Latest time of the virtual clock, in ns, that a stream may name (146 years). */
#define APIC_TIME_MAX (INT64_MAX / 2)

enum {
    APIC_LVT_TIMER,
    APIC_LVT_THERMAL,
    APIC_LVT_PERFORM,
    APIC_LVT_LINT0,
    APIC_LVT_LINT1,
    APIC_LVT_ERROR,
    APIC_LVTS
};

typedef struct ApicCommon {
    Device dev;
    uint32_t initial_id;         /* property */
    uint8_t id;                  /* its low 8 bits, or what the guest wrote */
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
    int32_t sipi_vector;         /* of the last start-up IPI; user space only, as the next */
    int32_t wait_for_sipi;       /* 1: after INIT, nothing but a start-up IPI moves this CPU */
} ApicCommon;

/* What both types' ops are. */
typedef struct ApicOps {
    uint32_t (*current_count)(const ApicCommon *apic); /* of the timer, as the register shows it */
} ApicOps;

/* The CPU that it belongs to. */
Cpu *apic_cpu(const ApicCommon *apic);
/* Power-on state; the property id is the CPU's again. */
void apic_reset_state(ApicCommon *apic);
/* State after INIT (SDM vol. 3, 11.4.7.3). */
void apic_init_state(ApicCommon *apic);
/* What the divide configuration register divides 1 GHz by, as a shift. */
int32_t apic_divide_shift(uint32_t divide_conf);
extern const StateField apic_fields[];

#endif
