/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The PC's pair of 8259 interrupt controllers, with the ELCR of the PIIX: types "isa-i8259" (user
 * space, for split, off and qtest) and "kvm-i8259" (the kernel's; holds its state for migration).
 * One device is one chip; its 8 unnamed inputs are IR0 to IR7 and its output is INT.
 *
 * kvm-i8259's inputs are the kernel's GSIs 0 to 15, which feed its IOAPIC too.
 */
#ifndef HW_INTC_I8259_H
#define HW_INTC_I8259_H

#include "hw/isa/isa.h"

typedef struct I8259 I8259;
struct I8259 {
    IsaDevice isa;
    /* properties */
    uint32_t iobase, elcr_addr;
    uint8_t elcr_mask;           /* lines that can be level-triggered */
    bool master;

    Region regs, elcr_reg;
    Irq *out;                    /* INT */
    I8259 *slave;                /* of the master: the chip at IR2; NULL until the pair is made */

    /* state, as on the wire */
    uint8_t last_irr;            /* level of each input, as the edge sense circuit saw it last */
    uint8_t irr, imr, isr;
    uint8_t priority_add;        /* the input of highest priority, 0 to 7 */
    uint8_t irq_base;            /* vector of IR0 */
    uint8_t read_reg_select;     /* 1: ISR is read at A0 = 0, else IRR */
    uint8_t poll;                /* the next read is a poll */
    uint8_t special_mask;
    uint8_t init_state;          /* ICW that is awaited: 0 none, 1 ICW2, 2 ICW3, 3 ICW4 */
    uint8_t auto_eoi, rotate_on_auto_eoi;
    uint8_t special_fully_nested_mode;
    uint8_t init4;               /* ICW1 announced an ICW4 */
    uint8_t single_mode;         /* ICW1: no ICW3 */
    uint8_t elcr;                /* bit n: IRn is level-triggered */
};

/*
 * Makes master (ports 20h, 21h, ELCR 4d0h) and slave (a0h, a1h, 4d1h) of type "isa-i8259" or
 * "kvm-i8259" on the bus, the slave's INT wired to IR2. inputs gets the pins of ISA lines 0 to 15
 * (number 2 is the cascade and must stay unconnected). intr is the CPU's INTR pin (NULL in the
 * kernel's case). Returns the master, NULL with *err.
 */
I8259 *i8259_create_pair(IsaBus *bus, const char *type, Irq *intr, Irq *inputs[ISA_NUM_IRQS],
                         GError **err);

/* The CPU acknowledges INTR: the vector of the highest request of the pair, or a spurious IR7.
 * opaque: the master. For Accel.pic_ack. VM lock. Intel 8259A, "Interrupt sequence". */
int i8259_ack(void *opaque);

/* ---- between the two implementations ---------------------------------------------------- */

extern const StateField i8259_fields[];
/* Power-on state, but for the ELCR as ICW1 leaves it. */
void i8259_init_state(I8259 *s);

#endif
