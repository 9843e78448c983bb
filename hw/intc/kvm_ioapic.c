/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kvm-ioapic: the kernel's I/O APIC. It answers its page itself; this device raises its lines and
 * holds its state for reset and migration.
 */
#include <linux/kvm.h>

#include "accel/accel.h"
#include "hw/intc/ioapic.h"
#include "util/trace.h"

static void kvm_ioapic_get(void *opaque)
{
    Ioapic *s = opaque;
    Vm *vm = s->dev.vm;
    struct kvm_irqchip chip = {0};
    const struct kvm_ioapic_state *k = &chip.chip.ioapic;

    if (!vm->accel->ops->irqchip_get(vm->accel, IRQCHIP_IOAPIC, &chip, sizeof chip)) {
        return; /* not made yet: what we hold is what it will be given */
    }
    s->id = k->id;
    s->ioregsel = k->ioregsel;
    s->irr = k->irr;
    for (unsigned i = 0; i < IOAPIC_PINS; i++) {
        s->ioredtbl[i] = k->redirtbl[i].bits;
    }
}

static bool kvm_ioapic_put(Ioapic *s)
{
    Vm *vm = s->dev.vm;
    struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_IOAPIC};
    struct kvm_ioapic_state *k = &chip.chip.ioapic;

    k->base_address = IOAPIC_BASE;
    k->id = s->id;
    k->ioregsel = s->ioregsel;
    k->irr = s->irr;
    for (unsigned i = 0; i < IOAPIC_PINS; i++) {
        k->redirtbl[i].bits = s->ioredtbl[i];
    }
    return vm->accel->ops->irqchip_set(vm->accel, IRQCHIP_IOAPIC, &chip, sizeof chip);
}

static void kvm_ioapic_set_pin(void *opaque, unsigned n, int level)
{
    Ioapic *s = opaque;
    Accel *accel = s->dev.vm->accel;

    trace(kvm_ioapic_set_irq, "pin %u level %d", n, level);
    accel->ops->set_gsi(accel, s->gsi_base + n, level);
}

static void kvm_ioapic_reset(Device *dev)
{
    Ioapic *s = container_of(dev, Ioapic, dev);

    ioapic_reset_state(s);
    kvm_ioapic_put(s);
}

static bool kvm_ioapic_realize(Device *dev, GError **err)
{
    Ioapic *s = container_of(dev, Ioapic, dev);
    static const RegionOps in_kernel; /* nothing reaches it */

    s->version = 0x11; /* KVM's */
    device_init_irq_in(dev, kvm_ioapic_set_pin, s, IOAPIC_PINS);
    region_init_io(&s->regs, &in_kernel, s, "kvm-ioapic", IOAPIC_SIZE);
    region_set_owner(&s->regs, dev);
    region_add(&dev->vm->system_memory, IOAPIC_BASE, &s->regs);
    return true;
}

static bool kvm_ioapic_post_load(void *opaque, unsigned version, GError **err)
{
    if (!kvm_ioapic_put(opaque)) {
        return error_set(err, "kvm-ioapic: the kernel refused the state");
    }
    return true;
}

/* ---- tables ----------------------------------------------------------------------------- */

static const StateDesc kvm_ioapic_state = {
    .name = "ioapic",
    .version = 3,
    .min_version = 1,
    .fields = ioapic_fields,
    .pre_save = kvm_ioapic_get,
    .post_load = kvm_ioapic_post_load,
};

static const Property kvm_ioapic_props[] = {
    PROP_U32("gsi_base", Ioapic, gsi_base, .max = 0xfff, .help = "GSI of input 0"),
    {}
};

DEVICE_TYPE(kvm_ioapic) = {
    .name = "kvm-ioapic",
    .parent = "ioapic-common",
    .desc = "I/O APIC in the kernel",
    .props = kvm_ioapic_props,
    .realize = kvm_ioapic_realize,
    .reset = kvm_ioapic_reset,
    .state = &kvm_ioapic_state,
};
