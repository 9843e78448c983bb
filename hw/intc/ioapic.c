/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The I/O APIC in user space: used with kernel-irqchip=split and off and by qtest.
 * Spec: Intel 82093AA data sheet (290566); EOI register: version 20h (ICH data sheets).
 *
 * A pin's redirection entry says which message an interrupt becomes:
 *
 *   63..56 destination | 16 mask | 15 level | 14 remote IRR | 13 active low | 11 logical |
 *   10..8 delivery mode | 7..0 vector
 *
 * An edge is sent once. A level is sent, sets remote IRR, and is sent again when an EOI for its
 * vector finds the line still asserted. Delivery mode ExtINT is sent as it is: fetching the
 * vector is the local APIC's affair. The polarity bit is stored and has no effect: lines here carry
 * "asserted", not volts.
 */
#include "hw/intc/ioapic.h"

#include "accel/accel.h"
#include "util/trace.h"

#define REG_SELECT      0x00
#define REG_WINDOW      0x10
#define REG_EOI         0x40     /* version 20h and later */
#define INDEX_ID        0x00
#define INDEX_VERSION   0x01
#define INDEX_ARB       0x02
#define INDEX_REDTBL    0x10

#define ENTRY_LOGICAL   (UINT64_C(1) << 11)
#define ENTRY_STATUS    (UINT64_C(1) << 12)
#define ENTRY_REMOTE    (UINT64_C(1) << 14)
#define ENTRY_LEVEL     (UINT64_C(1) << 15)
#define ENTRY_MASKED    (UINT64_C(1) << 16)
#define ENTRY_READ_ONLY (ENTRY_STATUS | ENTRY_REMOTE)
#define ENTRY_DEST_SHIFT 48      /* bits 49 to 55: the destination's extension that KVM defines */

#define MSI_ADDRESS     0xfee00000u

/* ---- messages --------------------------------------------------------------------------- */

static MsiMessage entry_message(uint64_t entry)
{
    uint32_t dest = (entry >> ENTRY_DEST_SHIFT) & 0xfffe;

    return (MsiMessage){
        .address = MSI_ADDRESS | dest << 4 | (entry & ENTRY_LOGICAL ? 4 : 0),
        .data = (entry & 0x7ff) | (entry & ENTRY_LEVEL ? 0xc000 : 0),
    };
}

/* Tells the kernel what pin n sends (split mode), so that it reports the EOIs of level ones. */
static void update_route(Ioapic *s, unsigned n)
{
    Vm *vm = s->dev.vm;

    if (vm->accel && accel_irqchip(vm) == IRQCHIP_SPLIT) {
        accel_ioapic_route(vm, n, entry_message(s->ioredtbl[n]), s->ioredtbl[n] & ENTRY_MASKED);
    }
}

/* Sends what pin n has to send now, if anything. */
static void service_pin(Ioapic *s, unsigned n)
{
    uint64_t entry = s->ioredtbl[n];
    uint32_t mask = UINT32_C(1) << n;
    Accel *accel = s->dev.vm->accel;
    MsiMessage msi = entry_message(entry);

    if (!(s->irr & mask) || (entry & ENTRY_MASKED)) {
        return;
    }
    if (!(entry & ENTRY_LEVEL)) {
        s->irr &= ~mask;
    } else if (entry & ENTRY_REMOTE) {
        return;
    } else {
        s->ioredtbl[n] |= ENTRY_REMOTE;
    }
    trace(ioapic_send, "pin %u address 0x%" PRIx64 " data 0x%x", n, msi.address, msi.data);
    if (accel) {
        accel->ops->send_msi(accel, msi);
    }
}

static void set_pin(void *opaque, unsigned gsi, int level)
{
    Ioapic *s = opaque;
    unsigned n = gsi == 0 ? 2 : gsi;
    uint32_t mask = UINT32_C(1) << n;
    bool rising = level && !(s->lines & mask);

    trace(ioapic_set_irq, "pin %u level %d", n, level);
    s->lines = level ? s->lines | mask : s->lines & ~mask;
    if (s->ioredtbl[n] & ENTRY_LEVEL) {
        s->irr = level ? s->irr | mask : s->irr & ~mask;
    } else if (rising && !(s->ioredtbl[n] & ENTRY_MASKED)) {
        s->irr |= mask; /* 82093AA 3.2.4: an edge on a masked pin is ignored */
    }
    service_pin(s, n);
}

void ioapic_eoi(void *opaque, uint8_t vector)
{
    Ioapic *s = opaque;

    trace(ioapic_eoi, "vector 0x%02x", vector);
    for (unsigned n = 0; n < IOAPIC_PINS; n++) {
        uint64_t entry = s->ioredtbl[n];

        if ((entry & ENTRY_LEVEL) && (entry & ENTRY_REMOTE) && (entry & 0xff) == vector) {
            s->ioredtbl[n] &= ~ENTRY_REMOTE;
            service_pin(s, n);
        }
    }
}

/* ---- registers -------------------------------------------------------------------------- */

static uint32_t read_window(const Ioapic *s)
{
    unsigned n = (s->ioregsel - INDEX_REDTBL) >> 1;

    switch (s->ioregsel) {
    case INDEX_ID:
    case INDEX_ARB:
        return (uint32_t)s->id << 24;
    case INDEX_VERSION:
        return s->version | (IOAPIC_PINS - 1) << 16;
    default:
        if (s->ioregsel < INDEX_REDTBL || n >= IOAPIC_PINS) {
            return 0;
        }
        return s->ioregsel & 1 ? s->ioredtbl[n] >> 32 : s->ioredtbl[n];
    }
}

static void write_entry(Ioapic *s, unsigned n, bool high, uint32_t value)
{
    uint64_t entry = s->ioredtbl[n];
    uint32_t mask = UINT32_C(1) << n;

    if (high) {
        entry = (entry & UINT32_MAX) | (uint64_t)value << 32;
    } else {
        entry = (entry & (~(uint64_t)UINT32_MAX | ENTRY_READ_ONLY)) | (value & ~ENTRY_READ_ONLY);
    }
    if (!(entry & ENTRY_LEVEL)) {
        entry &= ~ENTRY_REMOTE;
    } else if (!(s->ioredtbl[n] & ENTRY_LEVEL)) {
        /* From now on the request is the line's level. */
        s->irr = s->lines & mask ? s->irr | mask : s->irr & ~mask;
    }
    s->ioredtbl[n] = entry;
    update_route(s, n);
    service_pin(s, n);
}

static void write_window(Ioapic *s, uint32_t value)
{
    unsigned n = (s->ioregsel - INDEX_REDTBL) >> 1;

    if (s->ioregsel == INDEX_ID) {
        s->id = (value >> 24) & 0xf;
    } else if (s->ioregsel >= INDEX_REDTBL && n < IOAPIC_PINS) {
        write_entry(s, n, s->ioregsel & 1, value);
    }
}

static uint64_t ioapic_read(void *opaque, uint64_t offset, unsigned size)
{
    Ioapic *s = opaque;
    uint32_t value = 0;

    if (offset == REG_SELECT) {
        value = s->ioregsel;
    } else if (offset == REG_WINDOW && size == 4) {
        value = read_window(s);
    }
    trace(ioapic_read, "addr 0x%x select 0x%02x value 0x%x", (unsigned)offset, s->ioregsel, value);
    return value;
}

static void ioapic_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Ioapic *s = opaque;

    trace(ioapic_write, "addr 0x%x select 0x%02x value 0x%x", (unsigned)offset, s->ioregsel,
          (unsigned)value);
    if (offset == REG_SELECT) {
        s->ioregsel = value;
    } else if (offset == REG_WINDOW && size == 4) {
        write_window(s, value);
    } else if (offset == REG_EOI && size == 4 && s->version >= 0x20) {
        ioapic_eoi(s, value);
    }
}

static const RegionOps ioapic_ops = {
    .read = ioapic_read,
    .write = ioapic_write,
    .valid = {.min_size = 1, .max_size = 4},
    .impl = {.min_size = 1, .max_size = 4},
};

/* ---- lifecycle -------------------------------------------------------------------------- */

static void ioapic_reset(Device *dev)
{
    Ioapic *s = container_of(dev, Ioapic, dev);

    ioapic_reset_state(s);
    for (unsigned n = 0; n < IOAPIC_PINS; n++) {
        update_route(s, n);
    }
}

static bool ioapic_realize(Device *dev, GError **err)
{
    Ioapic *s = container_of(dev, Ioapic, dev);

    if (s->version != 0x11 && s->version != 0x20) {
        return error_set(err, "ioapic: version: 0x%02x is not supported (0x11 and 0x20 are)",
                         s->version);
    }
    device_init_irq_in(dev, set_pin, s, IOAPIC_PINS);
    region_init_io(&s->regs, &ioapic_ops, s, "ioapic", IOAPIC_SIZE);
    region_set_owner(&s->regs, dev);
    region_add(&dev->vm->system_memory, IOAPIC_BASE, &s->regs);
    return true;
}

static bool ioapic_post_load(void *opaque, unsigned version, GError **err)
{
    Ioapic *s = opaque;

    for (unsigned n = 0; n < IOAPIC_PINS; n++) {
        update_route(s, n);
        if (s->ioredtbl[n] & ENTRY_LEVEL) {
            s->lines = (s->lines & ~(UINT32_C(1) << n)) | (s->irr & UINT32_C(1) << n);
        }
    }
    return true;
}

/* ---- tables ----------------------------------------------------------------------------- */

static const StateDesc ioapic_state = {
    .name = "ioapic",
    .version = 3,
    .min_version = 1,
    .fields = ioapic_fields,
    .post_load = ioapic_post_load,
};

static const Property ioapic_props[] = {
    PROP_U8("version", Ioapic, version, .def = 0x20,
            .help = "version register: 0x11 or 0x20 (has an EOI register)"),
    {}
};

DEVICE_TYPE(ioapic) = {
    .name = "ioapic",
    .parent = "ioapic-common",
    .desc = "I/O APIC",
    .props = ioapic_props,
    .realize = ioapic_realize,
    .reset = ioapic_reset,
    .state = &ioapic_state,
};
