/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * isa-pcspk: port 61h, the PC's "NMI status and control": the speaker's two switches and what can
 * be seen of the timer's channel 2. Spec: 82371SB (PIIX3) data sheet, "NMI Status and Control".
 *
 *   bit 0  gate of timer channel 2 (rw)      bit 4  toggles with memory refresh (each read, here)
 *   bit 1  speaker data enable (rw)          bit 5  OUT of timer channel 2 (ro)
 *
 * Bits 2, 3, 6 and 7 (parity and channel check NMIs) read as 0. Nothing is heard: sound back ends
 * are not there yet, and audiodev= is refused. With the kernel's PIT the kernel answers this port,
 * and keeps bit 1 (since Linux 5.18).
 */
#include "hw/isa/isa.h"
#include "hw/timer/i8254.h"
#include "util/trace.h"

#define SPK_GATE     0x01
#define SPK_DATA     0x02
#define SPK_REFRESH  0x10
#define SPK_OUT      0x20

typedef struct PcSpeaker {
    IsaDevice isa;
    uint32_t iobase;
    char *audiodev;
    bool migrate;
    Object *pit;
    Region port;
    uint8_t data_on;             /* bit 1 as written */
    uint8_t dummy_refresh_clock; /* 0 or SPK_REFRESH */
} PcSpeaker;

static Device *pit_of(const PcSpeaker *s) { return container_of(s->pit, Device, obj); }

/* ---- registers -------------------------------------------------------------------------- */

static uint64_t pcspk_read(void *opaque, uint64_t offset, unsigned size)
{
    PcSpeaker *s = opaque;
    PitChannelInfo info;
    uint8_t value;

    pit_channel_info(pit_of(s), 2, &info);
    s->dummy_refresh_clock ^= SPK_REFRESH;
    value = (info.gate ? SPK_GATE : 0) | (s->data_on ? SPK_DATA : 0) | s->dummy_refresh_clock |
            (info.out ? SPK_OUT : 0);
    trace(pcspk_read, "value 0x%02x", value);
    return value;
}

static void pcspk_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    PcSpeaker *s = opaque;

    trace(pcspk_write, "value 0x%02x", (unsigned)value);
    s->data_on = !!(value & SPK_DATA);
    pit_set_gate(pit_of(s), 2, value & SPK_GATE);
}

static const RegionOps pcspk_ops = {
    .read = pcspk_read,
    .write = pcspk_write,
    .valid = {.min_size = 1, .max_size = 1},
    .impl = {.min_size = 1, .max_size = 1},
};

/* ---- lifecycle -------------------------------------------------------------------------- */

static void pcspk_reset(Device *dev)
{
    PcSpeaker *s = container_of(dev, PcSpeaker, isa.dev);

    s->data_on = 0;
    s->dummy_refresh_clock = 0;
}

static bool pcspk_realize(Device *dev, GError **err)
{
    PcSpeaker *s = container_of(dev, PcSpeaker, isa.dev);

    if (s->audiodev && *s->audiodev) {
        return error_set(err,
                         "isa-pcspk: audiodev=%s: there are no sound back ends yet; leave it out",
                         s->audiodev);
    }
    if (!s->pit) {
        return error_set(err, "isa-pcspk: pit: no timer is linked");
    }
    region_init_io(&s->port, &pcspk_ops, s, "pcspk", 1);
    return isa_map_ports(&s->isa, &s->port, s->iobase, err);
}

static void pcspk_unrealize(Device *dev)
{
    region_destroy(&container_of(dev, PcSpeaker, isa.dev)->port);
}

/* ---- tables ----------------------------------------------------------------------------- */

static void pcspk_pre_save(void *opaque)
{
    PcSpeaker *s = opaque;
    bool on;

    if (pit_get_speaker_data(pit_of(s), &on)) {
        s->data_on = on;
    }
}

static bool pcspk_post_load(void *opaque, unsigned version, GError **err)
{
    PcSpeaker *s = opaque;

    pit_set_speaker_data(pit_of(s), s->data_on);
    return true;
}

static bool pcspk_state_needed(void *opaque) { return ((PcSpeaker *)opaque)->migrate; }

static const StateField pcspk_fields[] = {
    STATE_U8(PcSpeaker, data_on, .max = 1),
    STATE_U8(PcSpeaker, dummy_refresh_clock, .max = SPK_REFRESH),
    {}
};

static const StateDesc pcspk_state = {
    .name = "pcspk",
    .version = 1,
    .min_version = 1,
    .fields = pcspk_fields,
    .needed = pcspk_state_needed,
    .pre_save = pcspk_pre_save,
    .post_load = pcspk_post_load,
};

static const Property pcspk_props[] = {
    PROP_U32("iobase", PcSpeaker, iobase, .def = 0x61, .max = 0xffff, .help = "port"),
    PROP_STRING("audiodev", PcSpeaker, audiodev,
                .help = "sound back end (there is none yet: refused)"),
    PROP_BOOL("migrate", PcSpeaker, migrate, .def = true,
              .help = "the state is part of the stream"),
    PROP_LINK("pit", PcSpeaker, pit, .link_type = "pit-common", .help = "the timer"),
    {}
};

DEVICE_TYPE(pcspk) = {
    .name = "isa-pcspk",
    .parent = "isa-device",
    .desc = "PC speaker port",
    .not_user = "it is a part of the board",
    .size = sizeof(PcSpeaker),
    .props = pcspk_props,
    .realize = pcspk_realize,
    .unrealize = pcspk_unrealize,
    .reset = pcspk_reset,
    .state = &pcspk_state,
};
