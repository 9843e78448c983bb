/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kvm-i8259: the kernel's 8259, one chip. It answers the ports itself; this device raises its lines
 * and holds its state for reset and migration.
 */
#include <linux/kvm.h>

#include "accel/accel.h"
#include "hw/intc/i8259.h"
#include "util/trace.h"

static IrqchipId chip_id(const I8259 *s)
{
    return s->master ? IRQCHIP_PIC_MASTER : IRQCHIP_PIC_SLAVE;
}

static void kvm_pic_get(void *opaque)
{
    I8259 *s = opaque;
    Vm *vm = s->isa.dev.vm;
    struct kvm_irqchip chip = {0};
    const struct kvm_pic_state *k = &chip.chip.pic;

    if (!vm->accel->ops->irqchip_get(vm->accel, chip_id(s), &chip, sizeof chip)) {
        return; /* not made yet: what we hold is what it will be given */
    }
    s->last_irr = k->last_irr;
    s->irr = k->irr;
    s->imr = k->imr;
    s->isr = k->isr;
    s->priority_add = k->priority_add;
    s->irq_base = k->irq_base;
    s->read_reg_select = k->read_reg_select;
    s->poll = k->poll;
    s->special_mask = k->special_mask;
    s->init_state = k->init_state;
    s->auto_eoi = k->auto_eoi;
    s->rotate_on_auto_eoi = k->rotate_on_auto_eoi;
    s->special_fully_nested_mode = k->special_fully_nested_mode;
    s->init4 = k->init4;
    s->elcr = k->elcr;
}

static bool kvm_pic_put(I8259 *s)
{
    Vm *vm = s->isa.dev.vm;
    struct kvm_irqchip chip = {
        .chip_id = s->master ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE,
    };
    struct kvm_pic_state *k = &chip.chip.pic;

    k->last_irr = s->last_irr;
    k->irr = s->irr;
    k->imr = s->imr;
    k->isr = s->isr;
    k->priority_add = s->priority_add;
    k->irq_base = s->irq_base;
    k->read_reg_select = s->read_reg_select;
    k->poll = s->poll;
    k->special_mask = s->special_mask;
    k->init_state = s->init_state;
    k->auto_eoi = s->auto_eoi;
    k->rotate_on_auto_eoi = s->rotate_on_auto_eoi;
    k->special_fully_nested_mode = s->special_fully_nested_mode;
    k->init4 = s->init4;
    k->elcr = s->elcr;
    k->elcr_mask = s->elcr_mask;
    return vm->accel->ops->irqchip_set(vm->accel, chip_id(s), &chip, sizeof chip);
}

static void kvm_pic_set_input(void *opaque, unsigned n, int level)
{
    I8259 *s = opaque;
    Accel *accel = s->isa.dev.vm->accel;

    trace(kvm_i8259_set_irq, "master %d pin %u level %d", s->master, n, level);
    accel->ops->set_gsi(accel, s->master ? n : n + 8, level);
}

static void kvm_pic_reset(Device *dev)
{
    I8259 *s = container_of(dev, I8259, isa.dev);

    s->elcr = 0;
    i8259_init_state(s);
    kvm_pic_put(s);
}

static bool kvm_pic_realize(Device *dev, GError **err)
{
    I8259 *s = container_of(dev, I8259, isa.dev);

    device_init_irq_in(dev, kvm_pic_set_input, s, 8);
    device_init_irq_out(dev, &s->out, 1);
    return true;
}

static bool kvm_pic_post_load(void *opaque, unsigned version, GError **err)
{
    if (!kvm_pic_put(opaque)) {
        return error_set(err, "kvm-i8259: the kernel refused the state");
    }
    return true;
}

/* ---- tables ----------------------------------------------------------------------------- */

static const StateDesc kvm_i8259_state = {
    .name = "i8259",
    .version = 1,
    .min_version = 1,
    .fields = i8259_fields,
    .pre_save = kvm_pic_get,
    .post_load = kvm_pic_post_load,
};

DEVICE_TYPE(kvm_i8259) = {
    .name = "kvm-i8259",
    .parent = "pic-common",
    .desc = "8259 interrupt controller in the kernel",
    .realize = kvm_pic_realize,
    .reset = kvm_pic_reset,
    .state = &kvm_i8259_state,
};
