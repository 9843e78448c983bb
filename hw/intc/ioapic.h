/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The I/O APIC: types "ioapic" (user space, for split, off and qtest) and "kvm-ioapic" (the
 * kernel's). 24 unnamed inputs. A PC's GSI n is connected to input n; input 0 reaches pin 2 inside
 * (the MADT's interrupt source override). Realize maps its page at fec00000h of system memory.
 */
#ifndef HW_INTC_IOAPIC_H
#define HW_INTC_IOAPIC_H

#include "core/vm.h"

#define IOAPIC_PINS 24
#define IOAPIC_BASE 0xfec00000
#define IOAPIC_SIZE 0x1000

typedef struct Ioapic {
    Device dev;
    uint8_t version;             /* property: low byte of the version register, 0x11 or 0x20 */
    uint32_t gsi_base;           /* property of kvm-ioapic */
    Region regs;
    uint32_t lines;              /* level of each pin now; not on the wire */

    /* state, as on the wire */
    uint8_t id;                  /* bits 27:24 of the id register */
    uint8_t ioregsel;
    uint32_t irr;                /* requests that wait */
    uint64_t ioredtbl[IOAPIC_PINS];
} Ioapic;

/* A local APIC got an EOI for this vector. opaque: the Ioapic. For Accel.ioapic_eoi. VM lock. */
void ioapic_eoi(void *opaque, uint8_t vector);

/* ---- between the two implementations ---------------------------------------------------- */

extern const StateField ioapic_fields[];
void ioapic_reset_state(Ioapic *s);

#endif
