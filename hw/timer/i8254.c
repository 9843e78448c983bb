/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * isa-pit: the 8254 interval timer in user space, ports 40h to 43h.
 * Spec: Intel 8254 data sheet (231164). i8254_common.c has the counting.
 *
 * Channel 0 raises ISA line 0, channel 2 is heard and seen through port 61h (pcspk), channel 1
 * (memory refresh) only counts. The gates of 0 and 1 are tied high.
 *
 * A timer waits for channel 0's next transition. When several have passed since the last look, the
 * line makes one pulse for all of them: a VM that was held up does not get a burst of ticks, and a
 * period of some clocks does not keep the main loop busy.
 */
#include "hw/timer/i8254.h"
#include "util/trace.h"

#define PORT_CONTROL     3
#define CONTROL_READBACK 3          /* "channel" of a read-back command */
#define FAST_COUNT       24         /* 20 us: periods below that are looked at ... */
#define FAST_INTERVAL_NS (10 * NSEC_PER_USEC) /* ... this often at most */

/* ---- channel 0's line ------------------------------------------------------------------- */

static void drive_line(Pit *pit, int level)
{
    if (pit->out_level != level) {
        pit->out_level = level;
        irq_set(pit->irq, level);
    }
}

/* Brings the line up to date and arms the timer. */
static void update_line(Pit *pit)
{
    PitChannel *ch = &pit->channels[0];
    int64_t now = clock_now(pit->isa.dev.vm, CLOCK_VIRTUAL), passed;
    int level = pit_out_at(ch, pit_ticks(ch, now));

    ch->next_transition_time = pit_next_transition(ch, now);
    if (pit->irq_disabled) {
        timer_cancel(&pit->timer);
        pit->checked = now;
        drive_line(pit, 0);
        return;
    }
    passed = pit_next_transition(ch, pit->checked);
    if (level == pit->out_level && passed >= 0 && passed <= now) {
        drive_line(pit, !level); /* there and back since we looked */
    }
    pit->checked = now;
    drive_line(pit, level);
    if (ch->next_transition_time < 0) {
        timer_cancel(&pit->timer);
    } else {
        bool fast = ch->count < FAST_COUNT && (pit_mode(ch) == 2 || pit_mode(ch) == 3);

        timer_arm(&pit->timer, fast ? MAX(ch->next_transition_time, now + FAST_INTERVAL_NS)
                                    : ch->next_transition_time);
    }
}

/* The channel was programmed anew: what it did before does not count. */
static void restart_line(Pit *pit, const PitChannel *ch)
{
    if (ch == &pit->channels[0]) {
        pit->checked = clock_now(pit->isa.dev.vm, CLOCK_VIRTUAL);
        update_line(pit);
    }
}

static void pit_timer(void *opaque) { update_line(opaque); }

static void pit_enable_irq(void *opaque, unsigned n, int level)
{
    Pit *pit = opaque;

    trace(pit_enable_irq, "level %d", level);
    if (pit->irq_disabled != !level) {
        pit->irq_disabled = !level;
        restart_line(pit, &pit->channels[0]);
    }
}

/* ---- counters --------------------------------------------------------------------------- */

static int bcd_to_count(unsigned value)
{
    return (value >> 12) * 1000 + (value >> 8 & 15) * 100 + (value >> 4 & 15) * 10 + (value & 15);
}

static unsigned count_to_bcd(unsigned count)
{
    return count / 1000 % 10 << 12 | count / 100 % 10 << 8 | count / 10 % 10 << 4 | count % 10;
}

static void load_count(Pit *pit, PitChannel *ch, unsigned value)
{
    unsigned mode = pit_mode(ch);

    if (ch->bcd) {
        ch->count = value ? bcd_to_count(value) : 10000;
        ch->count = MAX(ch->count, 1);
    } else {
        ch->count = value ? (int)value : 0x10000;
    }
    ch->count_load_time = clock_now(pit->isa.dev.vm, CLOCK_VIRTUAL);
    ch->null_count = false;
    ch->frozen = !ch->gate && (mode == 0 || mode == 4);
    ch->frozen_ticks = 0;
    if (mode == 1 || mode == 5) {
        /* Waits for a trigger, which is how it looks after one has run out. */
        ch->count_load_time -= pit_ticks_to_ns(ch->count + 2);
    }
    restart_line(pit, ch);
}

/* The counting element. */
static unsigned current_count(Pit *pit, const PitChannel *ch)
{
    int64_t ticks = pit_ticks(ch, clock_now(pit->isa.dev.vm, CLOCK_VIRTUAL));
    unsigned modulus = ch->bcd ? 10000 : 0x10000;
    int64_t phase = ticks % ch->count, half = (ch->count + 1) / 2, count;

    switch (pit_mode(ch)) {
    case 2:
        count = ch->count - phase;
        break;
    case 3: /* by two, twice a cycle */
        count = (ch->count & ~1) - 2 * (phase < half ? phase : phase - half);
        break;
    default: /* goes on below zero */
        count = ch->count - ticks % modulus + modulus;
        break;
    }
    count %= modulus;
    return ch->bcd ? count_to_bcd(count) : (unsigned)count;
}

static void set_gate(Pit *pit, unsigned channel, int level)
{
    PitChannel *ch = &pit->channels[channel];
    int64_t now = clock_now(pit->isa.dev.vm, CLOCK_VIRTUAL);
    unsigned mode = pit_mode(ch);

    if (ch->gate == level) {
        return;
    }
    trace(pit_gate, "channel %u level %d", channel, level);
    if (mode == 0 || mode == 4) {
        if (level) {
            ch->count_load_time = now - pit_ticks_to_ns(ch->frozen_ticks);
            ch->frozen = false;
        } else {
            ch->frozen_ticks = pit_ticks(ch, now);
            ch->frozen = true;
        }
    } else if (level) {
        ch->count_load_time = now; /* triggers modes 1 and 5, restarts 2 and 3 */
    }
    ch->gate = level;
    restart_line(pit, ch);
}

static void get_info(Pit *pit, unsigned channel, PitChannelInfo *info)
{
    const PitChannel *ch = &pit->channels[channel];

    info->gate = ch->gate;
    info->mode = pit_mode(ch);
    info->initial_count = ch->count;
    info->out = pit_out_at(ch, pit_ticks(ch, clock_now(pit->isa.dev.vm, CLOCK_VIRTUAL)));
}

/* ---- registers -------------------------------------------------------------------------- */

static void latch_count(Pit *pit, PitChannel *ch)
{
    if (!ch->count_latched) {
        ch->latched_count = current_count(pit, ch);
        ch->count_latched = ch->rw_mode;
    }
}

static void latch_status(Pit *pit, PitChannel *ch)
{
    if (!ch->status_latched) {
        int out = pit_out_at(ch, pit_ticks(ch, clock_now(pit->isa.dev.vm, CLOCK_VIRTUAL)));

        ch->status = out << 7 | ch->null_count << 6 | ch->rw_mode << 4 | ch->mode << 1 | ch->bcd;
        ch->status_latched = 1;
    }
}

static void write_control(Pit *pit, uint8_t value)
{
    unsigned channel = value >> 6, access = (value >> 4) & 3;
    PitChannel *ch;

    if (channel == CONTROL_READBACK) {
        for (unsigned i = 0; i < PIT_CHANNELS; i++) {
            if (value & 2 << i) {
                if (!(value & 0x20)) {
                    latch_count(pit, &pit->channels[i]);
                }
                if (!(value & 0x10)) {
                    latch_status(pit, &pit->channels[i]);
                }
            }
        }
        return;
    }
    ch = &pit->channels[channel];
    if (access == 0) {
        latch_count(pit, ch);
        return;
    }
    ch->rw_mode = access;
    ch->read_state = access;
    ch->write_state = access;
    ch->count_latched = 0;
    ch->status_latched = 0;
    ch->mode = (value >> 1) & 7;
    ch->bcd = value & 1;
    ch->null_count = true;
    ch->frozen = false;
    restart_line(pit, ch);
}

static void write_count(Pit *pit, PitChannel *ch, uint8_t value)
{
    switch (ch->write_state) {
    case PIT_LSB:
        load_count(pit, ch, value);
        break;
    case PIT_MSB:
        load_count(pit, ch, value << 8);
        break;
    case PIT_WORD0:
        ch->write_latch = value;
        ch->write_state = PIT_WORD1;
        if (pit_mode(ch) == 0) {
            ch->null_count = true; /* the first byte stops counting */
            restart_line(pit, ch);
        }
        break;
    case PIT_WORD1:
        ch->write_state = PIT_WORD0;
        load_count(pit, ch, ch->write_latch | value << 8);
        break;
    default: /* never programmed */
        break;
    }
}

static uint8_t read_latched(PitChannel *ch)
{
    switch (ch->count_latched) {
    case PIT_MSB:
        ch->count_latched = 0;
        return ch->latched_count >> 8;
    case PIT_WORD0:
        ch->count_latched = PIT_MSB;
        return ch->latched_count;
    default:
        ch->count_latched = 0;
        return ch->latched_count;
    }
}

static uint8_t read_count(Pit *pit, PitChannel *ch)
{
    unsigned count = current_count(pit, ch);

    switch (ch->read_state) {
    case PIT_MSB:
        return count >> 8;
    case PIT_WORD0:
        ch->read_state = PIT_WORD1;
        return count;
    case PIT_WORD1:
        ch->read_state = PIT_WORD0;
        return count >> 8;
    default:
        return count;
    }
}

static uint64_t pit_read(void *opaque, uint64_t offset, unsigned size)
{
    Pit *pit = opaque;
    uint8_t value = 0; /* the control word cannot be read */

    if (offset != PORT_CONTROL) {
        PitChannel *ch = &pit->channels[offset];

        if (ch->status_latched) {
            ch->status_latched = 0;
            value = ch->status;
        } else if (ch->count_latched) {
            value = read_latched(ch);
        } else {
            value = read_count(pit, ch);
        }
    }
    trace(pit_read, "addr %u value 0x%02x", (unsigned)offset, value);
    return value;
}

static void pit_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Pit *pit = opaque;

    trace(pit_write, "addr %u value 0x%02x", (unsigned)offset, (unsigned)value);
    if (offset == PORT_CONTROL) {
        write_control(pit, value);
    } else {
        write_count(pit, &pit->channels[offset], value);
    }
}

static const RegionOps pit_region_ops = {
    .read = pit_read,
    .write = pit_write,
    .valid = {.min_size = 1, .max_size = 1},
    .impl = {.min_size = 1, .max_size = 1},
};

/* ---- lifecycle -------------------------------------------------------------------------- */

static void pit_reset(Device *dev)
{
    Pit *pit = container_of(dev, Pit, isa.dev);

    pit_reset_channels(pit);
    drive_line(pit, 0);
    /* OUT is high from now on, and that is no edge: the first tick comes in 55 ms. */
    pit->out_level = 1;
    restart_line(pit, &pit->channels[0]);
}

static bool pit_realize(Device *dev, GError **err)
{
    Pit *pit = container_of(dev, Pit, isa.dev);

    timer_init(&pit->timer, dev->vm, CLOCK_VIRTUAL, pit_timer, pit);
    device_init_irq_in(dev, pit_enable_irq, pit, 1);
    device_init_irq_out(dev, &pit->irq, 1);
    pit_reset_channels(pit);
    region_init_io(&pit->regs, &pit_region_ops, pit, "pit", 4);
    return isa_map_ports(&pit->isa, &pit->regs, pit->iobase, err);
}

static void pit_unrealize(Device *dev)
{
    Pit *pit = container_of(dev, Pit, isa.dev);

    timer_cancel(&pit->timer);
    region_destroy(&pit->regs);
}

/* A counter that its gate holds is on the wire as one that was loaded so much later. */
static void pit_pre_save(void *opaque)
{
    Pit *pit = opaque;
    int64_t now = clock_now(pit->isa.dev.vm, CLOCK_VIRTUAL);

    for (unsigned i = 0; i < PIT_CHANNELS; i++) {
        PitChannel *ch = &pit->channels[i];

        if (ch->frozen) {
            ch->count_load_time = now - pit_ticks_to_ns(ch->frozen_ticks);
        }
    }
}

static bool pit_post_load(void *opaque, unsigned version, GError **err)
{
    Pit *pit = opaque;
    PitChannel *ch = &pit->channels[0];
    int64_t now = clock_now(pit->isa.dev.vm, CLOCK_VIRTUAL), next = ch->next_transition_time;

    for (unsigned i = 0; i < PIT_CHANNELS; i++) {
        PitChannel *c = &pit->channels[i];
        unsigned mode = pit_mode(c);

        c->null_count = false;
        c->frozen = false;
        c->frozen_ticks = pit_ticks(c, now);
        c->frozen = !c->gate && (mode == 0 || mode == 4);
    }
    /* What was to happen is acted upon by the timer, not here: the interrupt controllers have
     * their own state of the line. */
    pit->checked = next >= 0 && next <= now ? next - 1 : now;
    pit->out_level = !pit->irq_disabled && pit_out_at(ch, pit_ticks(ch, pit->checked));
    timer_cancel(&pit->timer);
    if (next >= 0 && !pit->irq_disabled) {
        timer_arm(&pit->timer, next);
    }
    return true;
}

/* ---- tables ----------------------------------------------------------------------------- */

static const PitOps pit_device_ops = {.get_info = get_info, .set_gate = set_gate};

static const StateDesc isa_pit_state = {
    .name = "i8254",
    .version = 3,
    .min_version = 2,
    .fields = pit_fields,
    .pre_save = pit_pre_save,
    .post_load = pit_post_load,
};

DEVICE_TYPE(isa_pit) = {
    .name = "isa-pit",
    .parent = "pit-common",
    .desc = "8254 interval timer",
    .ops = &pit_device_ops,
    .realize = pit_realize,
    .unrealize = pit_unrealize,
    .reset = pit_reset,
    .state = &isa_pit_state,
};
