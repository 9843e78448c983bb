/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Standard hot-plug controller: see shpc.h. Commands complete at once, so the controller is never
 * busy. There is one bus speed, 33 MHz, and no power fault, attention button or latch sensor that
 * anybody presses.
 *
 * As in QEMU 7.2, a slot that was powered only does not become enabled by a command.
 */
#include "hw/pci/shpc.h"

#include "hw/pci/msi.h"
#include "util/trace.h"

#define CAP_SIZE 8
#define CAP_SELECT 2 /* dword of the register set ... */
#define CAP_DATA 4   /* ... that is here */

enum {
    REG_SLOTS_33 = 0x04,   /* slots that run at 33 MHz */
    REG_NSLOTS = 0x0c,
    REG_FIRST_DEVICE = 0x0d,
    REG_PHYSICAL_SLOT = 0x0e,
    REG_BUS_SPEED = 0x10,
    REG_PROG_IF = 0x13,
    REG_COMMAND = 0x14,
    REG_TARGET = 0x15,
    REG_STATUS = 0x16,
    REG_INTERRUPTS = 0x18, /* bit 0: command completed; n: slot n has an event */
    REG_ENABLE = 0x20,
    REG_DETECTED = 0x22,
    REG_SLOT = 0x24,       /* four bytes for each slot */
    SLOT_STATE = 0,        /* bits 0-1: state, 2-3: power, 4-5: attention indicator */
    SLOT_SENSORS = 1,
    SLOT_EVENTS = 2,
    SLOT_MASKS = 3,
};

#define PHYSICAL_SLOT_1 0xe001 /* upwards from 1; attention button and latch sensor are there */
#define ENABLE_INTERRUPTS_OFF 0x01
#define ENABLE_COMMAND_OFF 0x04
#define ENABLE_WRITABLE 0x0f
#define DETECTED_COMMAND 0x01
#define DETECTED_CLEARABLE 0x03
#define STATUS_INVALID_COMMAND 0x04
#define STATUS_INVALID_SPEED 0x08
#define COMMAND_SPEED 0x40
#define SENSORS_EMPTY 0x0d /* latch open, no card */
#define EVENT_PRESENCE 0x01
#define EVENT_LATCH 0x08
#define EVENTS 0x1f
#define MASKS 0x7f

enum { STATE_KEEP, STATE_POWERED, STATE_ENABLED, STATE_DISABLED };
enum { INDICATOR_KEEP, INDICATOR_ON, INDICATOR_BLINKS, INDICATOR_OFF };

static uint8_t *slot_of(Shpc *s, unsigned slot) { return s->registers + REG_SLOT + 4 * (slot - 1); }

/* ---- interrupts -------------------------------------------------------------------- */

static void update_interrupt(Shpc *s)
{
    uint8_t *r = s->registers;
    uint32_t which = r[REG_DETECTED] & DETECTED_COMMAND && !(r[REG_ENABLE] & ENABLE_COMMAND_OFF);

    for (unsigned slot = 1; slot <= SHPC_SLOTS; slot++) {
        const uint8_t *p = slot_of(s, slot);

        which |= (uint32_t)!!(p[SLOT_EVENTS] & ~p[SLOT_MASKS] & EVENTS) << slot;
    }
    store32_le(r + REG_INTERRUPTS, which);
    bool wanted = which && !(r[REG_ENABLE] & ENABLE_INTERRUPTS_OFF);
    if (wanted && !s->interrupting && msi_enabled(s->bridge)) {
        msi_notify(s->bridge, 0);
    } else if (!msi_enabled(s->bridge)) {
        pci_set_irq(s->bridge, wanted);
    }
    s->interrupting = wanted;
}

/* What the data register of the capability shows. */
static void update_capability(Shpc *s)
{
    uint8_t *cap = s->bridge->config + s->cap;
    unsigned at = cap[CAP_SELECT] * 4u;

    store32_le(cap + CAP_DATA, at < SHPC_REGISTERS ? load32_le(s->registers + at) : 0);
}

/* ---- commands ---------------------------------------------------------------------- */

/* The slot's devices leave, as if somebody pulled the card. */
static void remove_card(Shpc *s, unsigned slot)
{
    uint8_t *p = slot_of(s, slot);

    trace(shpc_remove, "slot %u", slot);
    for (unsigned function = 0; function < 8; function++) {
        PciDevice *pci = s->bus->devices[PCI_DEVFN(slot, function)];

        if (pci) {
            device_unrealize(&pci->dev); /* frees it */
        }
    }
    p[SLOT_SENSORS] = SENSORS_EMPTY;
    p[SLOT_EVENTS] |= EVENT_PRESENCE | EVENT_LATCH;
}

static void set_indicators(uint8_t *p, unsigned power, unsigned attention)
{
    if (power != INDICATOR_KEEP) {
        p[SLOT_STATE] = (p[SLOT_STATE] & ~0x0c) | power << 2;
    }
    if (attention != INDICATOR_KEEP) {
        p[SLOT_STATE] = (p[SLOT_STATE] & ~0x30) | attention << 4;
    }
}

/* Status bits. */
static uint8_t slot_command(Shpc *s, unsigned slot, unsigned command)
{
    const unsigned wanted = command & 3;

    if (slot < 1 || slot > SHPC_SLOTS) {
        return STATUS_INVALID_COMMAND;
    }
    uint8_t *p = slot_of(s, slot);
    const unsigned state = p[SLOT_STATE] & 3;

    if (state == STATE_ENABLED && wanted == STATE_POWERED) {
        return STATUS_INVALID_COMMAND;
    }
    set_indicators(p, command >> 2 & 3, command >> 4 & 3);
    if (wanted == STATE_KEEP || (state == STATE_POWERED && wanted == STATE_ENABLED)) {
        return 0;
    }
    p[SLOT_STATE] = (p[SLOT_STATE] & ~0x03) | wanted;
    if (wanted == STATE_DISABLED && state != STATE_DISABLED &&
        (p[SLOT_STATE] >> 2 & 3) == INDICATOR_OFF) {
        remove_card(s, slot);
    }
    return 0;
}

static void run_command(Shpc *s)
{
    uint8_t *r = s->registers;
    const unsigned command = r[REG_COMMAND];
    uint8_t status = STATUS_INVALID_COMMAND;

    trace(shpc_command, "command 0x%02x slot %u", command, r[REG_TARGET]);
    if (command < COMMAND_SPEED) {
        status = slot_command(s, r[REG_TARGET], command);
    } else if (command < COMMAND_SPEED + 8) {
        status = command == COMMAND_SPEED ? 0 : STATUS_INVALID_SPEED;
    }
    r[REG_STATUS] = status;
    r[REG_DETECTED] |= DETECTED_COMMAND;
}

/* ---- registers --------------------------------------------------------------------- */

static void write_byte(Shpc *s, unsigned at, uint8_t value)
{
    uint8_t *p = s->registers + at;

    if (at == REG_COMMAND) {
        *p = value;
    } else if (at == REG_TARGET) {
        *p = value & 0x1f;
    } else if (at == REG_ENABLE) {
        *p = value & ENABLE_WRITABLE;
    } else if (at == REG_DETECTED) {
        *p &= ~(value & DETECTED_CLEARABLE);
    } else if (at >= REG_SLOT && (at & 3) == SLOT_EVENTS) {
        *p &= ~(value & EVENTS);
    } else if (at >= REG_SLOT && (at & 3) == SLOT_MASKS) {
        *p = value & MASKS;
    }
}

static void write_registers(Shpc *s, unsigned at, uint32_t value, unsigned size)
{
    for (unsigned i = 0; i < size && at + i < SHPC_REGISTERS; i++) {
        write_byte(s, at + i, value >> (8 * i));
    }
    if (at <= REG_TARGET && at + size > REG_COMMAND) {
        run_command(s);
    }
    update_interrupt(s);
    update_capability(s);
}

static uint64_t shpc_read(void *opaque, uint64_t offset, unsigned size)
{
    const Shpc *s = opaque;
    uint8_t bytes[4] = {0};

    for (unsigned i = 0; i < size && offset + i < SHPC_REGISTERS; i++) {
        bytes[i] = s->registers[offset + i];
    }
    trace(shpc_read, "@0x%02x size %u -> 0x%x", (unsigned)offset, size, load32_le(bytes));
    return load32_le(bytes);
}

static void shpc_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    trace(shpc_write, "@0x%02x size %u <- 0x%x", (unsigned)offset, size, (unsigned)value);
    write_registers(opaque, (unsigned)offset, (uint32_t)value, size);
}

static const RegionOps shpc_ops = {.read = shpc_read, .write = shpc_write};

void shpc_config_written(Shpc *s, uint32_t addr, unsigned size)
{
    const uint8_t *cap = s->bridge->config + s->cap;
    const unsigned data = s->cap + CAP_DATA, at = cap[CAP_SELECT] * 4u;
    const unsigned first = MAX(addr, data), end = MIN(addr + size, data + 4);

    if (first < end && at < SHPC_REGISTERS) {
        uint32_t value = load32_le(cap + CAP_DATA) >> (8 * (first - data));

        write_registers(s, at + first - data, value, end - first);
    }
    if (addr < s->cap + CAP_SIZE + 0u && addr + size > s->cap) {
        update_capability(s);
    }
}

/* ---- lifecycle and state ----------------------------------------------------------- */

bool shpc_init(Shpc *s, PciDevice *bridge, PciBus *bus, GError **err)
{
    s->bridge = bridge;
    s->bus = bus;
    s->cap = pci_add_capability(bridge, PCI_CAP_ID_SHPC, 0, CAP_SIZE);
    if (!s->cap) {
        return error_set(err, "shpc=on: no room for its capability");
    }
    bridge->wmask[s->cap + CAP_SELECT] = 0xff;
    memset(bridge->wmask + s->cap + CAP_DATA, 0xff, 4);
    memset(bridge->cmask + s->cap + CAP_SELECT, 0, CAP_SIZE - CAP_SELECT);
    region_init_container(&s->bar, "shpc-bar", SHPC_BAR_SIZE);
    region_init_io(&s->region, &shpc_ops, s, "shpc-mmio", SHPC_REGISTERS);
    region_set_owner(&s->region, &bridge->dev);
    region_add(&s->bar, 0, &s->region);
    return true;
}

void shpc_cleanup(Shpc *s)
{
    region_remove(&s->region);
    region_destroy(&s->region);
    region_destroy(&s->bar);
}

static bool slot_is_used(const Shpc *s, unsigned slot)
{
    for (unsigned function = 0; function < 8; function++) {
        if (s->bus->devices[PCI_DEVFN(slot, function)]) {
            return true;
        }
    }
    return false;
}

void shpc_reset(Shpc *s)
{
    uint8_t *r = s->registers;

    memset(r, 0, sizeof s->registers);
    r[REG_SLOTS_33] = r[REG_NSLOTS] = SHPC_SLOTS;
    r[REG_FIRST_DEVICE] = 1;
    store16_le(r + REG_PHYSICAL_SLOT, PHYSICAL_SLOT_1);
    r[REG_PROG_IF] = 1;
    r[REG_ENABLE] = ENABLE_WRITABLE;
    for (unsigned slot = 1; slot <= SHPC_SLOTS; slot++) {
        uint8_t *p = slot_of(s, slot);
        bool used = slot_is_used(s, slot);

        p[SLOT_STATE] = used ? STATE_ENABLED : STATE_DISABLED;
        set_indicators(p, used ? INDICATOR_ON : INDICATOR_OFF, INDICATOR_KEEP);
        p[SLOT_SENSORS] = used ? 0 : SENSORS_EMPTY;
        p[SLOT_MASKS] = MASKS;
    }
    s->bridge->config[s->cap + CAP_SELECT] = 0;
    s->interrupting = false;
    update_interrupt(s);
    update_capability(s);
}

void shpc_loaded(Shpc *s)
{
    const uint8_t *r = s->registers;

    s->interrupting =
        load32_le(r + REG_INTERRUPTS) && !(r[REG_ENABLE] & ENABLE_INTERRUPTS_OFF);
    update_capability(s);
}

static void put_registers(StateBuf *buf, const StateField *field, const void *elem, size_t size)
{
    state_put(buf, elem, size);
}

/* What never changes must be as it is here; the rest is as free as the guest made it. */
static bool get_registers(StateBuf *buf, const StateField *field, void *elem, size_t size,
                          GError **err)
{
    static const uint8_t fixed[] = {SHPC_SLOTS, 1, PHYSICAL_SLOT_1 & 0xff, PHYSICAL_SLOT_1 >> 8};
    uint8_t bytes[SHPC_REGISTERS];

    state_get(buf, bytes, sizeof bytes);
    if (!buf->failed && memcmp(bytes + REG_NSLOTS, fixed, sizeof fixed)) {
        return error_set(err, "the hot-plug controller has %u slots from device %u, not %u from 1",
                         bytes[REG_NSLOTS], bytes[REG_FIRST_DEVICE], SHPC_SLOTS);
    }
    memcpy(elem, bytes, sizeof bytes);
    return true;
}

const StateKind shpc_state_kind = {.type = "shpc", .put = put_registers, .get = get_registers};
