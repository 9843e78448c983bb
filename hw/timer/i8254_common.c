/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The counting of an 8254, as arithmetic: nothing runs between two looks at a counter; what it
 * shows follows from the time that its count was loaded. Spec: Intel 8254 data sheet (231164),
 * "Mode Definitions".
 *
 *   mode                          OUT, by clocks d since the count N was loaded
 *   0 interrupt on terminal count low until d = N, then high
 *   1 one-shot (by the gate)      low until d = N, then high
 *   2 rate generator              low for the last clock of each N
 *   3 square wave                 high for (N + 1) / 2 clocks, low for the rest of each N
 *   4 software strobe             low for the clock d = N
 *   5 hardware strobe (gate)      low for the clock d = N
 *
 * A new count takes effect at once in all modes; the data sheet has modes 1, 2, 3 and 5 finish the
 * running cycle first. The state on the wire has no room for a second count, and QEMU and KVM
 * restart too.
 */
#include "hw/timer/i8254.h"

unsigned pit_mode(const PitChannel *ch) { return ch->mode > 5 ? ch->mode & 3 : ch->mode; }

int64_t pit_ticks(const PitChannel *ch, int64_t now)
{
    if (ch->frozen) {
        return ch->frozen_ticks;
    }
    if (now <= ch->count_load_time) {
        return 0; /* a state that was loaded may come from a clock ahead of ours */
    }
    return mul_div_u64((uint64_t)now - (uint64_t)ch->count_load_time, PIT_FREQ, NSEC_PER_SEC);
}

int64_t pit_ticks_to_ns(int64_t ticks)
{
    return ((unsigned __int128)ticks * NSEC_PER_SEC + PIT_FREQ - 1) / PIT_FREQ;
}

int pit_out_at(const PitChannel *ch, int64_t ticks)
{
    unsigned mode = pit_mode(ch);

    if (ch->null_count) {
        return mode != 0;
    }
    switch (mode) {
    case 0:
    case 1:
        return ticks >= ch->count;
    case 2:
        return !ch->gate || ticks % ch->count != ch->count - 1;
    case 3:
        return !ch->gate || ticks % ch->count < (ch->count + 1) / 2;
    default:
        return ticks != ch->count;
    }
}

/* The first d > ticks at which OUT changes, or -1. */
static int64_t next_change(const PitChannel *ch, int64_t ticks)
{
    int64_t n = ch->count, base = ticks - ticks % n, half;

    switch (pit_mode(ch)) {
    case 0:
    case 1:
        return ticks < n ? n : -1;
    case 2:
        if (n == 1) {
            return -1; /* not a legal count: OUT stays low */
        }
        return ticks - base < n - 1 ? base + n - 1 : base + n;
    case 3:
        half = (n + 1) / 2;
        if (half == n) {
            return -1; /* a count of 1: always high */
        }
        return ticks - base < half ? base + half : base + n;
    default:
        return ticks < n ? n : ticks == n ? n + 1 : -1;
    }
}

int64_t pit_next_transition(const PitChannel *ch, int64_t now)
{
    int64_t ticks = pit_ticks(ch, now), change;
    unsigned mode = pit_mode(ch);
    int64_t ns;

    if (ch->null_count || ch->frozen || ((mode == 2 || mode == 3) && !ch->gate)) {
        return -1;
    }
    change = next_change(ch, ticks);
    if (change < 0) {
        return -1;
    }
    return __builtin_add_overflow(ch->count_load_time, pit_ticks_to_ns(change), &ns) ? -1 : ns;
}

void pit_reset_channels(Pit *pit)
{
    int64_t now = clock_now(pit->isa.dev.vm, CLOCK_VIRTUAL);

    for (unsigned i = 0; i < PIT_CHANNELS; i++) {
        PitChannel *ch = &pit->channels[i];

        *ch = (PitChannel){
            .count = 0x10000,
            .mode = 3,
            .gate = i != 2,
            .count_load_time = now,
            .next_transition_time = -1,
        };
    }
    pit->irq_disabled = 0;
}

static const PitOps *pit_ops(const Pit *pit) { return type_ops(pit->isa.dev.obj.type); }

void pit_channel_info(Device *dev, unsigned channel, PitChannelInfo *info)
{
    Pit *pit = container_of(dev, Pit, isa.dev);

    g_assert(channel < PIT_CHANNELS);
    pit_ops(pit)->get_info(pit, channel, info);
}

void pit_set_gate(Device *dev, unsigned channel, int level)
{
    Pit *pit = container_of(dev, Pit, isa.dev);

    g_assert(channel < PIT_CHANNELS);
    pit_ops(pit)->set_gate(pit, channel, !!level);
}

bool pit_get_speaker_data(Device *dev, bool *on)
{
    Pit *pit = container_of(dev, Pit, isa.dev);

    if (!pit_ops(pit)->get_speaker_data) {
        return false;
    }
    *on = pit_ops(pit)->get_speaker_data(pit);
    return true;
}

void pit_set_speaker_data(Device *dev, bool on)
{
    Pit *pit = container_of(dev, Pit, isa.dev);

    if (pit_ops(pit)->set_speaker_data) {
        pit_ops(pit)->set_speaker_data(pit, on);
    }
}

/* ---- tables ----------------------------------------------------------------------------- */

static const StateField channel_fields[] = {
    STATE_I32(PitChannel, count, .min = 1, .max = 0x10000),
    STATE_U16(PitChannel, latched_count),
    STATE_U8(PitChannel, count_latched, .max = PIT_WORD1),
    STATE_U8(PitChannel, status_latched),
    STATE_U8(PitChannel, status),
    STATE_U8(PitChannel, read_state, .max = PIT_WORD1),
    STATE_U8(PitChannel, write_state, .max = PIT_WORD1),
    STATE_U8(PitChannel, write_latch),
    STATE_U8(PitChannel, rw_mode, .max = 3),
    STATE_U8(PitChannel, mode, .max = 7),
    STATE_U8(PitChannel, bcd, .max = 1),
    STATE_U8(PitChannel, gate, .max = 1),
    STATE_I64(PitChannel, count_load_time),
    STATE_I64(PitChannel, next_transition_time),
    {}
};

static const StateDesc channel_state = {
    .name = "pit channel",
    .version = 2,
    .min_version = 2,
    .fields = channel_fields,
};

const StateField pit_fields[] = {
    STATE_U32(Pit, irq_disabled, .name = "channels[0].irq_disabled", .since = 3),
    STATE_STRUCT_ARRAY(Pit, channels, &channel_state, PIT_CHANNELS),
    STATE_I64(Pit, channels[0].next_transition_time),
    {}
};

static const Property pit_props[] = {
    PROP_U32("iobase", Pit, iobase, .def = 0x40, .help = "first of the four ports"),
    {}
};

DEVICE_TYPE(pit_common) = {
    .name = "pit-common",
    .parent = "isa-device",
    .desc = "8254 interval timer",
    .abstract = true,
    .not_user = "it is a part of the board",
    .size = sizeof(Pit),
    .props = pit_props,
};
