/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interrupt controllers of a PC. A GSI is a line that a device drives: 0 to 15 reach an 8259 input and
 * the IOAPIC's input of the same number, 16 to 23 the IOAPIC only. With all chips in the kernel
 * one call sets a GSI there; otherwise they are devices here.
 */
#include "hw/i386/pc.h"
#include "hw/intc/i8259.h"

static void count(PcMachine *pc, unsigned n, int level)
{
    uint32_t mask = UINT32_C(1) << n;

    pc->gsi_count[n] += level && !(pc->gsi_level & mask);
    pc->gsi_level = level ? pc->gsi_level | mask : pc->gsi_level & ~mask;
}

const uint64_t *pc_irq_counts(Machine *machine, unsigned *n)
{
    *n = PC_NUM_GSIS;
    return pc_of(machine)->gsi_count;
}

/* Both controllers are here: the line goes to each. */
static void set_gsi_split(void *opaque, unsigned n, int level)
{
    PcMachine *pc = opaque;

    count(pc, n, level);
    if (n < ISA_NUM_IRQS) {
        irq_set(pc->pic_in[n], level);
    }
    irq_set(device_irq_in(pc->ioapic, n), level);
}

/* The kernel's controllers: its GSI feeds both. */
static void set_gsi_kernel(void *opaque, unsigned n, int level)
{
    PcMachine *pc = opaque;
    Accel *accel = pc->machine.vm->accel;

    count(pc, n, level);
    accel->ops->set_gsi(accel, n, level);
}

/* INTR of the 8259 pair: the wire to CPU 0's LINT0. */
static void set_intr(void *opaque, unsigned n, int level)
{
    PcMachine *pc = opaque;
    Accel *accel = pc->machine.vm->accel;

    accel->ops->set_intr(accel, level);
}

bool pc_create_irqchips(PcMachine *pc, GError **err)
{
    Vm *vm = pc->machine.vm;
    bool in_kernel = accel_irqchip(vm) == IRQCHIP_ON;
    static const char *const pics[] = {"isa-i8259", "kvm-i8259"}, *const ioapics[] = {"ioapic", "kvm-ioapic"};
    Irq *intr = in_kernel ? NULL : g_new0(Irq, 1); /* lives as long as the board */

    if (intr) {
        irq_init(intr, set_intr, pc, 0);
    }
    I8259 *pic = i8259_create_pair(pc->isa, pics[in_kernel], intr, pc->pic_in, err);
    if (!pic) {
        return false;
    }
    pc->ioapic = device_new(vm, ioapics[in_kernel]);
    if (!device_realize_board(pc->ioapic, "ioapic", NULL, err)) {
        return false;
    }
    if (!in_kernel) {
        vm->accel->pic_ack = i8259_ack;
        vm->accel->pic_opaque = pic;
        vm->accel->ioapic_eoi = ioapic_eoi;
        vm->accel->ioapic_opaque = pc->ioapic;
    }
    for (unsigned n = 0; n < PC_NUM_GSIS; n++) {
        irq_init(&pc->gsi[n], in_kernel ? set_gsi_kernel : set_gsi_split, pc, n);
    }
    for (unsigned n = 0; n < ISA_NUM_IRQS; n++) {
        pc->isa->irqs[n] = &pc->gsi[n];
    }
    return true;
}
