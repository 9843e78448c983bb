/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside of the user-space local APIC: what its registers and timer (apic.c) share with what goes
 * over the bus of the APICs into a CPU (apic_bus.c). Spec: SDM vol. 3, chapter 11.
 *
 * All functions: VM lock, but for apic_send_msi.
 */
#ifndef HW_INTC_APIC_INT_H
#define HW_INTC_APIC_INT_H

#include "hw/intc/apic_common.h"

typedef enum Delivery {
    DELIVER_FIXED,
    DELIVER_LOWEST,
    DELIVER_SMI,
    DELIVER_RESERVED,
    DELIVER_NMI,
    DELIVER_INIT,
    DELIVER_SIPI,
    DELIVER_EXTINT,
} Delivery;

#define ESR_SEND_VECTOR (1u << 5)
#define ESR_RECEIVE_VECTOR (1u << 6)
#define ESR_REGISTER (1u << 7)
#define SVR_ENABLE (1u << 8)
#define SVR_WRITABLE 0x3ffu
#define LVT_REMOTE_IRR (1u << 14)
#define LVT_LEVEL (1u << 15)
#define LVT_PERIODIC (1u << 17)
#define ICR_LEVEL_ASSERT (1u << 14)
#define ICR_WRITABLE 0x000ccfffu
#define FIRST_VECTOR 16 /* lower ones are illegal */

typedef struct Apic {
    ApicCommon common;
    Timer timer;
    Region regs; /* of CPU 0's only: one window for all */
    bool lint0;  /* level of the 8259's output */
} Apic;

/* ---- bit maps of vectors: ISR, TMR, IRR ---- */

static inline bool vector_test(const uint32_t map[8], uint8_t vector)
{
    return map[vector / 32] >> vector % 32 & 1;
}

static inline void vector_clear(uint32_t map[8], uint8_t vector)
{
    map[vector / 32] &= ~(1u << vector % 32);
}

/* The highest one, -1: none. */
int vector_highest(const uint32_t map[8]);

/* ---- state ---- */

static inline bool is_on(const ApicCommon *s)
{
    return s->apicbase & APIC_BASE_ENABLE;
}
static inline bool is_enabled(const ApicCommon *s)
{
    return is_on(s) && s->spurious_vec & SVR_ENABLE;
}
static inline Delivery lvt_mode(uint32_t lvt)
{
    return (Delivery)(lvt >> 8 & 7);
}

/* The user-space APIC of a CPU; NULL: it has none. */
Apic *apic_of(const Cpu *cpu);
/* Processor priority (11.8.3.1): the class of what is in service, unless the task's is higher. */
uint8_t apic_ppr(const ApicCommon *s);

/* ---- into the CPU ---- */

/* CpuApicOps: is there an interrupt for the CPU; takes it (-1: none after all). */
bool apic_has_interrupt(void *opaque);
int apic_take_interrupt(void *opaque);
/* Tells the CPU whether there is something for it. After every change of IRR, ISR, TPR or LINT0. */
void apic_update(Apic *apic);
/* Sets a bit of ESR and, when it is new, the error interrupt. */
void apic_set_error(Apic *apic, uint32_t bit);
/* The event of a local vector table entry happened. */
void apic_deliver_local(Apic *apic, unsigned entry);

/* ---- onto the bus ---- */

/* Accel.apic_send_msi: a write to the interrupt message addresses (11.11). Any thread. */
bool apic_send_msi(Vm *vm, MsiMessage msi);
/* ICR was written (11.6.1): an interrupt for other CPUs, or for this one. */
void apic_send_ipi(Apic *apic);

#endif
