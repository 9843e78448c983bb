/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * i8257: one of the two DMA controllers of a PC/AT (Intel 8237A, datasheet 231466) with its page
 * registers. A board makes two: ports 00h-0fh for bytes, and with dshift 1, c0h-dfh for words.
 *
 * As QEMU 7.2: a channel that reached its terminal count is not masked and not loaded again;
 * register 9 reads the mask. Not done: automatic reloading (no device here wants it),
 * memory-to-memory, cascading of priorities, compressed timing and the other bits of the command
 * register (a write that sets them is refused).
 */
#include "hw/dma/i8257.h"

#include "core/dma.h"
#include "util/trace.h"

#define MODE_CHANNEL 0x03
#define MODE_DIRECTION_SHIFT 2
#define MODE_AUTOINIT 0x10
#define MODE_DECREMENT 0x20

#define COMMAND_DISABLE 0x04
#define COMMAND_UNSUPPORTED 0xfb /* all but DISABLE */

enum { NOW_ADDR, NOW_COUNT };

typedef struct DmaChannel {
    int32_t now[2];   /* bytes: address within the page's bank, bytes done */
    uint16_t base[2]; /* as programmed: address and count - 1, in units of the controller */
    uint8_t mode;
    uint8_t page;      /* address bits 16 to 23 */
    uint8_t pageh;     /* 24 to 30 */
    uint8_t dack, eop; /* in QEMU's state; unused there */
    IsaDmaTransfer *transfer;
    void *opaque;
} DmaChannel;

struct IsaDma {
    IsaDevice isa;
    Region channel_ports, control_ports;
    Region page_ports[4], pageh_ports[4];
    uint8_t status; /* terminal counts in bits 0 to 3, requests in bits 4 to 7 */
    uint8_t command;
    uint8_t mask;      /* a bit a channel; all bits of the byte are kept */
    uint8_t flip_flop; /* next byte of a 16-bit register: 0 low, 1 high */
    int32_t dshift;    /* 0 bytes, 1 words */
    DmaChannel regs[4];
    bool running;         /* in transfer callbacks */
    int32_t saved_dshift; /* wire only: what the section belongs to */
    /* Properties. */
    int32_t base, page_base, pageh_base;
};

/* ---- transfers --------------------------------------------------------------------- */

static bool channel_ready(const IsaDma *s, unsigned n)
{
    return !(s->command & COMMAND_DISABLE) && !(s->mask & (1u << n)) && (s->status & (0x10u << n));
}

static unsigned channel_number(const IsaDma *s, unsigned n)
{
    return n + (s->dshift ? 4 : 0);
}

static uint32_t channel_length(const IsaDma *s, const DmaChannel *c)
{
    return ((uint32_t)c->base[NOW_COUNT] + 1) << s->dshift;
}

static void run_channel(IsaDma *s, unsigned n)
{
    DmaChannel *c = &s->regs[n];
    uint32_t len = channel_length(s, c);
    uint32_t pos = (uint32_t)c->now[NOW_COUNT];

    if (s->running || !c->transfer || !channel_ready(s, n)) {
        return;
    }
    s->running = true;
    pos = c->transfer(c->opaque, channel_number(s, n), MIN(pos, len), len);
    s->running = false;
    c->now[NOW_COUNT] = (int32_t)MIN(pos, len);
    if (pos >= len) {
        s->status |= 1u << n; /* terminal count */
    }
    trace(i8257_run, "channel %u done %u of %u", channel_number(s, n), pos, len);
}

static void run_all(IsaDma *s)
{
    for (unsigned n = 0; n < 4; n++) {
        run_channel(s, n);
    }
}

/* ---- channel registers ------------------------------------------------------------- */

static unsigned toggle_flip_flop(IsaDma *s)
{
    unsigned high = s->flip_flop;

    s->flip_flop = !high;
    return high;
}

static uint64_t channel_read(void *opaque, uint64_t offset, unsigned size)
{
    IsaDma *s = opaque;
    unsigned reg = (offset >> s->dshift) & 7, high = toggle_flip_flop(s);
    DmaChannel *c = &s->regs[reg >> 1];
    uint32_t value;

    if (reg & 1) {
        value = ((uint32_t)c->base[NOW_COUNT] << s->dshift) - (uint32_t)c->now[NOW_COUNT];
    } else {
        uint32_t done = (uint32_t)c->now[NOW_COUNT];

        value = (uint32_t)c->now[NOW_ADDR] + (c->mode & MODE_DECREMENT ? 0 - done : done);
    }
    value = (value >> (s->dshift + 8 * high)) & 0xff;
    trace(i8257_channel_read, "register %u value 0x%02x", reg, value);
    return value;
}

static void channel_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    IsaDma *s = opaque;
    unsigned reg = (offset >> s->dshift) & 7;
    DmaChannel *c = &s->regs[reg >> 1];
    uint16_t *base = &c->base[reg & 1];

    trace(i8257_channel_write, "register %u value 0x%02x", reg, (unsigned)value);
    if (toggle_flip_flop(s)) {
        *base = (*base & 0x00ff) | (uint16_t)(value << 8);
        /* The second byte loads the current registers. */
        c->now[NOW_ADDR] = (int32_t)((uint32_t)c->base[NOW_ADDR] << s->dshift);
        c->now[NOW_COUNT] = 0;
    } else {
        *base = (*base & 0xff00) | (uint8_t)value;
    }
}

/* ---- control registers ------------------------------------------------------------- */

static void master_clear(IsaDma *s)
{
    s->flip_flop = 0;
    s->mask = 0xff;
    s->status = 0;
    s->command = 0;
}

static void control_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    IsaDma *s = opaque;
    unsigned reg = (offset >> s->dshift) & 7, n = value & MODE_CHANNEL;

    trace(i8257_control_write, "register %u value 0x%02x", reg + 8, (unsigned)value);
    switch (reg) {
    case 0:
        if (value & COMMAND_UNSUPPORTED) {
            guest_error(&s->isa.dev, "command register 0x%02x is not supported", (unsigned)value);
        } else {
            s->command = value;
        }
        break;
    case 1: /* software request */
        if (value & 4) {
            s->status |= 0x10u << n;
        } else {
            s->status &= ~(0x10u << n);
        }
        s->status &= ~(1u << n);
        break;
    case 2: /* one mask bit */
        if (value & 4) {
            s->mask |= 1u << n;
        } else {
            s->mask &= ~(1u << n);
        }
        break;
    case 3:
        s->regs[n].mode = value;
        break;
    case 4:
        s->flip_flop = 0;
        break;
    case 5:
        master_clear(s);
        break;
    case 6:
        s->mask = 0;
        break;
    case 7:
        s->mask = value;
        break;
    }
    if (reg != 4) {
        run_all(s); /* something may have been unmasked or requested */
    }
}

static uint64_t control_read(void *opaque, uint64_t offset, unsigned size)
{
    IsaDma *s = opaque;
    unsigned reg = (offset >> s->dshift) & 7;
    uint8_t value = 0;

    if (reg == 0) {
        value = s->status;
        s->status &= 0xf0;
    } else if (reg == 1) {
        value = s->mask;
    }
    trace(i8257_control_read, "register %u value 0x%02x", reg + 8, value);
    return value;
}

/* ---- page registers ---------------------------------------------------------------- */

/* Offsets from page_base, in the order of the ports: 1 is channel 2, 2 is 3, 3 is 1, 7 is 0. */
static const struct {
    uint8_t offset, channel;
} pages[4] = {{1, 2}, {2, 3}, {3, 1}, {7, 0}};

static uint64_t page_read(void *opaque, uint64_t offset, unsigned size)
{
    DmaChannel *c = opaque;

    trace(i8257_page_read, "value 0x%02x", c->page);
    return c->page;
}
static void page_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    DmaChannel *c = opaque;

    trace(i8257_page_write, "value 0x%02x", (unsigned)value);
    c->page = value;
}
static uint64_t pageh_read(void *opaque, uint64_t offset, unsigned size)
{
    DmaChannel *c = opaque;

    trace(i8257_pageh_read, "value 0x%02x", c->pageh);
    return c->pageh;
}
static void pageh_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    DmaChannel *c = opaque;

    trace(i8257_pageh_write, "value 0x%02x", (unsigned)value);
    c->pageh = value & 0x7f;
}

#define BYTE_OPS(r, w)                                                                             \
    {                                                                                              \
        .read = (r), .write = (w), .impl = {.min_size = 1, .max_size = 1 }                         \
    }
static const RegionOps channel_ops = BYTE_OPS(channel_read, channel_write);
static const RegionOps control_ops = BYTE_OPS(control_read, control_write);
static const RegionOps page_ops = BYTE_OPS(page_read, page_write);
static const RegionOps pageh_ops = BYTE_OPS(pageh_read, pageh_write);

/* ---- the devices' side ------------------------------------------------------------- */

/* The controller of a channel, and its number there. */
static IsaDma *find_controller(IsaBus *bus, unsigned channel, unsigned *n)
{
    *n = channel & 3;
    return channel < ISA_DMA_CHANNELS ? bus->dma[channel >> 2] : NULL;
}

bool isa_dma_register(IsaBus *bus, unsigned channel, IsaDmaTransfer *fn, void *opaque)
{
    unsigned n;
    IsaDma *s = find_controller(bus, channel, &n);

    if (s) {
        s->regs[n].transfer = fn;
        s->regs[n].opaque = opaque;
    }
    return s;
}

void isa_dma_hold(IsaBus *bus, unsigned channel)
{
    unsigned n;
    IsaDma *s = find_controller(bus, channel, &n);

    if (s) {
        s->status |= 0x10u << n;
        run_channel(s, n);
    }
}

void isa_dma_release(IsaBus *bus, unsigned channel)
{
    unsigned n;
    IsaDma *s = find_controller(bus, channel, &n);

    if (s) {
        s->status &= ~(0x10u << n);
    }
}

void isa_dma_kick(IsaBus *bus, unsigned channel)
{
    unsigned n;
    IsaDma *s = find_controller(bus, channel, &n);

    if (s) {
        run_channel(s, n);
    }
}

IsaDmaDirection isa_dma_direction(IsaBus *bus, unsigned channel)
{
    unsigned n;
    IsaDma *s = find_controller(bus, channel, &n);

    return s ? (IsaDmaDirection)((s->regs[n].mode >> MODE_DIRECTION_SHIFT) & 3) : ISA_DMA_VERIFY;
}

bool isa_dma_autoinit(IsaBus *bus, unsigned channel)
{
    unsigned n;
    IsaDma *s = find_controller(bus, channel, &n);

    return s && (s->regs[n].mode & MODE_AUTOINIT);
}

/*
 * The memory of [pos, pos + len): upwards it is as it lies, downwards the block's last byte comes
 * first.
 */
static bool transfer_memory(IsaDma *s, unsigned n, uint8_t *buf, uint32_t pos, uint32_t len,
                            bool to_memory)
{
    const DmaChannel *c = &s->regs[n];
    uint64_t addr = (uint64_t)(c->pageh & 0x7f) << 24 | (uint64_t)c->page << 16;
    bool ok = true;

    addr |= (uint32_t)c->now[NOW_ADDR] & 0x1ffff;
    if (!(c->mode & MODE_DECREMENT)) {
        return to_memory ? dma_write(&s->isa.dev, addr + pos, buf, len)
                         : dma_read(&s->isa.dev, addr + pos, buf, len);
    }
    for (uint32_t i = 0; i < len; i++) {
        uint64_t at = addr - pos - i;

        ok &= at <= addr && (to_memory ? dma_write(&s->isa.dev, at, buf + i, 1)
                                       : dma_read(&s->isa.dev, at, buf + i, 1));
    }
    return ok;
}

bool isa_dma_read(IsaBus *bus, unsigned channel, void *buf, uint32_t pos, uint32_t len)
{
    unsigned n;
    IsaDma *s = find_controller(bus, channel, &n);

    memset(buf, 0, len);
    return s && transfer_memory(s, n, buf, pos, len, false);
}

bool isa_dma_write(IsaBus *bus, unsigned channel, const void *buf, uint32_t pos, uint32_t len)
{
    unsigned n;
    IsaDma *s = find_controller(bus, channel, &n);

    return s && transfer_memory(s, n, (uint8_t *)(uintptr_t)buf, pos, len, true);
}

/* ---- the board's side -------------------------------------------------------------- */

bool isa_dma_create_pair(IsaBus *bus, GError **err)
{
    for (unsigned i = 0; i < 2; i++) {
        Device *dev = device_new(bus->bus.obj.vm, "i8257");
        IsaDma *s = container_of(dev, IsaDma, isa.dev);

        s->dshift = (int32_t)i;
        s->base = i ? 0xc0 : 0x00;
        s->page_base = i ? 0x88 : 0x80;
        s->pageh_base = -1;
        if (!device_realize_board(dev, NULL, &bus->bus, err)) {
            return false;
        }
    }
    return true;
}

/* ---- lifecycle --------------------------------------------------------------------- */

static bool dma_realize(Device *dev, GError **err)
{
    IsaDma *s = container_of(dev, IsaDma, isa.dev);
    IsaBus *bus = isa_bus(&s->isa);
    unsigned slot = s->dshift ? 1 : 0;

    if (bus->dma[slot]) {
        return error_set(err, "i8257: the bus has a %s DMA controller already",
                         slot ? "16-bit" : "8-bit");
    }
    region_init_io(&s->channel_ports, &channel_ops, s, "dma-chan", 8u << s->dshift);
    region_init_io(&s->control_ports, &control_ops, s, "dma-cont", 8u << s->dshift);
    if (!isa_map_ports(&s->isa, &s->channel_ports, s->base, err) ||
        !isa_map_ports(&s->isa, &s->control_ports, s->base + (8u << s->dshift), err)) {
        return false;
    }
    for (unsigned i = 0; i < 4; i++) {
        DmaChannel *c = &s->regs[pages[i].channel];

        region_init_io(&s->page_ports[i], &page_ops, c, "dma-page", 1);
        region_init_io(&s->pageh_ports[i], &pageh_ops, c, "dma-pageh", 1);
        if ((s->page_base >= 0 &&
             !isa_map_ports(&s->isa, &s->page_ports[i], s->page_base + pages[i].offset, err)) ||
            (s->pageh_base >= 0 &&
             !isa_map_ports(&s->isa, &s->pageh_ports[i], s->pageh_base + pages[i].offset, err))) {
            return false;
        }
    }
    bus->dma[slot] = s;
    return true;
}

static void dma_unrealize(Device *dev)
{
    IsaDma *s = container_of(dev, IsaDma, isa.dev);

    isa_bus(&s->isa)->dma[s->dshift ? 1 : 0] = NULL;
    for (unsigned i = 0; i < 4; i++) {
        region_remove(&s->page_ports[i]);
        region_remove(&s->pageh_ports[i]);
        region_destroy(&s->page_ports[i]);
        region_destroy(&s->pageh_ports[i]);
    }
    region_remove(&s->channel_ports);
    region_remove(&s->control_ports);
    region_destroy(&s->channel_ports);
    region_destroy(&s->control_ports);
}

static void dma_reset(Device *dev)
{
    master_clear(container_of(dev, IsaDma, isa.dev));
}

/* ---- state ------------------------------------------------------------------------- */

static void dma_pre_save(void *obj)
{
    IsaDma *s = obj;

    s->saved_dshift = s->dshift;
}

static bool dma_post_load(void *obj, unsigned version, GError **err)
{
    IsaDma *s = obj;

    if (s->saved_dshift != s->dshift) {
        return error_set(err, "field 'dshift' is %d, this controller has %d", s->saved_dshift,
                         s->dshift);
    }
    for (unsigned i = 0; i < 4; i++) {
        s->regs[i].pageh &= 0x7f;
    }
    /* Requests are no part of the state: devices that hold theirs say so again. */
    s->status = 0;
    return true;
}

static const StateField channel_fields[] = {STATE_ARRAY(DmaChannel, now, i32, 2, .max = 0x20000),
                                            STATE_ARRAY(DmaChannel, base, u16, 2),
                                            STATE_U8(DmaChannel, mode),
                                            STATE_U8(DmaChannel, page),
                                            STATE_U8(DmaChannel, pageh),
                                            STATE_U8(DmaChannel, dack),
                                            STATE_U8(DmaChannel, eop),
                                            {}};
static const StateDesc channel_state = {
    .name = "dma_regs",
    .version = 1,
    .min_version = 1,
    .fields = channel_fields,
};
static const StateField dma_fields[] = {STATE_U8(IsaDma, command),
                                        STATE_U8(IsaDma, mask),
                                        STATE_U8(IsaDma, flip_flop, .max = 1),
                                        STATE_I32(IsaDma, saved_dshift, .name = "dshift"),
                                        STATE_STRUCT_ARRAY(IsaDma, regs, &channel_state, 4),
                                        {}};
static const StateDesc dma_state = {
    .name = "dma",
    .version = 1,
    .min_version = 1,
    .fields = dma_fields,
    .pre_save = dma_pre_save,
    .post_load = dma_post_load,
};

static const Property dma_props[] = {
    PROP_I32("base", IsaDma, base, .def = 0x00, .min = 0, .max = 0xffff, .help = "first I/O port"),
    PROP_I32("page-base", IsaDma, page_base, .def = 0x80, .min = (uint64_t)-1, .max = 0xffff,
             .help = "port before the page registers; -1: none"),
    PROP_I32("pageh-base", IsaDma, pageh_base, .def = 0x480, .min = (uint64_t)-1, .max = 0xffff,
             .help = "port before the high page registers; -1: none"),
    PROP_I32("dshift", IsaDma, dshift, .def = 0, .min = 0, .max = 1, .help = "0: bytes; 1: words"),
    {}};

DEVICE_TYPE(i8257) = {
    .name = "i8257",
    .parent = "isa-device",
    .desc = "8237 DMA controller",
    .size = sizeof(IsaDma),
    .not_user = "it is part of the board; leave it out",
    .props = dma_props,
    .state = &dma_state,
    .realize = dma_realize,
    .unrealize = dma_unrealize,
    .reset = dma_reset,
};
