/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the user-space I/O APIC and the holder of the kernel's have in common. */
#include "hw/intc/ioapic.h"

#define ENTRY_MASKED (UINT64_C(1) << 16)

void ioapic_reset_state(Ioapic *s)
{
    s->id = 0;
    s->ioregsel = 0;
    s->irr = 0;
    for (unsigned i = 0; i < IOAPIC_PINS; i++) {
        s->ioredtbl[i] = ENTRY_MASKED;
    }
}

const StateField ioapic_fields[] = {
    STATE_U8(Ioapic, id),
    STATE_U8(Ioapic, ioregsel),
    STATE_UNUSED(8, .since = 2),
    STATE_U32(Ioapic, irr, .since = 2),
    STATE_ARRAY(Ioapic, ioredtbl, u64, IOAPIC_PINS),
    {}
};

static void ioapic_unrealize(Device *dev) { region_destroy(&container_of(dev, Ioapic, dev)->regs); }

DEVICE_TYPE(ioapic_common) = {
    .name = "ioapic-common",
    .parent = "device",
    .desc = "I/O APIC",
    .abstract = true,
    .not_user = "it is a part of the board",
    .size = sizeof(Ioapic),
    .unrealize = ioapic_unrealize,
};
