/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ps2-mouse: a three-button PS/2 mouse that becomes an IntelliMouse (wheel, 4-byte packets) or an
 * IntelliMouse Explorer (five buttons) when the guest sets the sample rates 200, 100, 80 or 200,
 * 200, 80.
 *
 * Movement is added up until a packet fits into the queue. The sample rate is kept, not obeyed: a
 * packet is sent when something happened. Scaling 2:1 is reported, not applied.
 */
#include "hw/input/ps2.h"
#include "ui/input.h"
#include "util/trace.h"

#define REPLY_ACK 0xfa
#define REPLY_POWER_ON 0xaa

enum {
    AUX_SCALE11 = 0xe6,
    AUX_SCALE21 = 0xe7,
    AUX_SET_RESOLUTION = 0xe8,
    AUX_GET_STATUS = 0xe9,
    AUX_SET_STREAM = 0xea,
    AUX_POLL = 0xeb,
    AUX_RESET_WRAP = 0xec,
    AUX_SET_WRAP = 0xee,
    AUX_SET_REMOTE = 0xf0,
    AUX_GET_TYPE = 0xf2,
    AUX_SET_RATE = 0xf3,
    AUX_ENABLE = 0xf4,
    AUX_DISABLE = 0xf5,
    AUX_DEFAULTS = 0xf6,
    AUX_RESET = 0xff,
};

#define STATUS_REMOTE 0x40
#define STATUS_ENABLED 0x20
#define STATUS_SCALE21 0x10

enum { TYPE_PLAIN = 0, TYPE_WHEEL = 3, TYPE_EXPLORER = 4 };

typedef struct Ps2Mouse {
    Ps2Device ps2;
    uint8_t status;       /* STATUS_ bits */
    uint8_t resolution;   /* as set, 0 to 3 are 1 to 8 counts per mm */
    uint8_t sample_rate;  /* as set */
    uint8_t wrap;         /* echoes what it gets */
    uint8_t type;         /* TYPE_; also its id */
    uint8_t detect_state; /* how much of a type's magic rates was seen, 0 to 3 */
    int32_t dx, dy, dz;   /* not yet sent; dy upwards */
    uint8_t buttons;      /* PS2_MOUSE_ bits that are down */
    InputDevice *input;
} Ps2Mouse;

#define DELTA_LIMIT 100000 /* movement kept while the guest does not listen */

/* ---- packets ----------------------------------------------------------------------- */

/* The movement that is waiting, as far as it fits a packet; taken off by send_packet. */
static unsigned make_packet(const Ps2Mouse *s, uint8_t packet[4], int *dx, int *dy, int *dz)
{
    *dx = CLAMP(s->dx, -127, 127);
    *dy = CLAMP(s->dy, -127, 127);
    *dz = 0;
    packet[0] = 0x08 | (*dx < 0) << 4 | (*dy < 0) << 5 | (s->buttons & 0x07);
    packet[1] = *dx;
    packet[2] = *dy;
    switch (s->type) {
    case TYPE_WHEEL:
        *dz = CLAMP(s->dz, -127, 127);
        packet[3] = *dz;
        return 4;
    case TYPE_EXPLORER:
        *dz = CLAMP(s->dz, -7, 7);
        packet[3] = (*dz & 0x0f) | (s->buttons & (PS2_MOUSE_SIDE | PS2_MOUSE_EXTRA)) << 1;
        return 4;
    default:
        return 3;
    }
}

static bool send_packet(Ps2Mouse *s)
{
    uint8_t packet[4];
    int dx, dy, dz;
    unsigned n = make_packet(s, packet, &dx, &dy, &dz);

    if (!ps2_queue_event(&s->ps2, packet, n)) {
        return false;
    }
    s->dx -= dx;
    s->dy -= dy;
    s->dz = s->type == TYPE_PLAIN ? 0 : s->dz - dz;
    return true;
}

void ps2_mouse_event(Device *dev, int dx, int dy, int dz, uint8_t buttons)
{
    Ps2Mouse *s = container_of(dev, Ps2Mouse, ps2.dev);

    trace(ps2_mouse_event, "dx %d dy %d dz %d buttons 0x%02x", dx, dy, dz, buttons);
    if (buttons) {
        vm_request_wakeup(dev->vm);
    }
    if (!(s->status & STATUS_ENABLED)) {
        return;
    }
    s->dx = CLAMP((int64_t)s->dx + dx, -DELTA_LIMIT, DELTA_LIMIT);
    s->dy = CLAMP((int64_t)s->dy - dy, -DELTA_LIMIT, DELTA_LIMIT);
    s->dz = CLAMP((int64_t)s->dz + dz, -DELTA_LIMIT, DELTA_LIMIT);
    s->buttons = buttons & 0x1f;
    if (s->status & STATUS_REMOTE) {
        return; /* the guest polls */
    }
    while (send_packet(s) && (s->dx || s->dy || s->dz)) {
        /* a large movement takes several; the queue's size ends this */
    }
}

/* ---- commands ---------------------------------------------------------------------- */

/* Answers queue behind what is there, movement included; only the keyboard has a place for replies.
 */
static void reply(Ps2Mouse *s, uint8_t byte)
{
    ps2_queue_event(&s->ps2, &byte, 1);
}

static uint8_t status_byte(const Ps2Mouse *s)
{
    return s->status | (s->buttons & PS2_MOUSE_LEFT ? 0x04 : 0) |
           (s->buttons & PS2_MOUSE_MIDDLE ? 0x02 : 0) | (s->buttons & PS2_MOUSE_RIGHT ? 0x01 : 0);
}

static void mouse_defaults(Ps2Mouse *s)
{
    s->sample_rate = 100;
    s->resolution = 2;
    s->status = 0;
}

static void mouse_command(Ps2Mouse *s, uint8_t value)
{
    switch (value) {
    case AUX_SCALE11:
        s->status &= ~STATUS_SCALE21;
        break;
    case AUX_SCALE21:
        s->status |= STATUS_SCALE21;
        break;
    case AUX_SET_STREAM:
        s->status &= ~STATUS_REMOTE;
        break;
    case AUX_SET_WRAP:
        s->wrap = 1;
        break;
    case AUX_SET_REMOTE:
        s->status |= STATUS_REMOTE;
        break;
    case AUX_ENABLE:
        s->status |= STATUS_ENABLED;
        break;
    case AUX_DISABLE:
        s->status &= ~STATUS_ENABLED;
        break;
    case AUX_DEFAULTS:
        mouse_defaults(s);
        break;
    case AUX_SET_RESOLUTION:
    case AUX_SET_RATE:
        s->ps2.write_cmd = value;
        break;
    case AUX_GET_TYPE: {
        const uint8_t bytes[] = {REPLY_ACK, s->type};

        ps2_queue_event(&s->ps2, bytes, sizeof bytes);
        return;
    }
    case AUX_GET_STATUS: {
        const uint8_t bytes[] = {REPLY_ACK, status_byte(s), s->resolution, s->sample_rate};

        ps2_queue_event(&s->ps2, bytes, sizeof bytes);
        return;
    }
    case AUX_POLL:
        reply(s, REPLY_ACK);
        send_packet(s);
        return;
    case AUX_RESET: {
        static const uint8_t bytes[] = {REPLY_ACK, REPLY_POWER_ON, TYPE_PLAIN};

        mouse_defaults(s);
        s->type = TYPE_PLAIN;
        s->detect_state = 0;
        s->wrap = 0;
        ps2_queue_clear(&s->ps2);
        ps2_queue_event(&s->ps2, bytes, sizeof bytes);
        return;
    }
    default:
        return; /* no answer */
    }
    reply(s, REPLY_ACK);
}

/* The rates that turn it into something else: 200, 100, 80 and 200, 200, 80. */
static void detect_type(Ps2Mouse *s, uint8_t rate)
{
    switch (s->detect_state) {
    case 1:
        s->detect_state = rate == 100 ? 2 : rate == 200 ? 3 : 0;
        break;
    case 2:
    case 3:
        if (rate == 80) {
            s->type = s->detect_state == 2 ? TYPE_WHEEL : TYPE_EXPLORER;
        }
        s->detect_state = 0;
        break;
    default:
        s->detect_state = rate == 200;
    }
}

void ps2_mouse_write(Device *dev, uint8_t value)
{
    Ps2Mouse *s = container_of(dev, Ps2Mouse, ps2.dev);
    int32_t command = s->ps2.write_cmd;

    trace(ps2_mouse_write, "value 0x%02x", value);
    s->ps2.write_cmd = -1;
    if (command == AUX_SET_RATE) {
        s->sample_rate = value;
        detect_type(s, value);
        reply(s, REPLY_ACK);
    } else if (command == AUX_SET_RESOLUTION) {
        s->resolution = value;
        reply(s, REPLY_ACK);
    } else if (s->wrap && value == AUX_RESET_WRAP) {
        s->wrap = 0;
        reply(s, REPLY_ACK);
    } else if (s->wrap && value != AUX_RESET) {
        reply(s, value);
    } else {
        mouse_command(s, value);
    }
}

/* ---- lifecycle and state ----------------------------------------------------------- */

/* ---- life -------------------------------------------------------------------------- */

static void input_move_event(void *opaque, int dx, int dy, int dz, unsigned buttons)
{
    ps2_mouse_event(opaque, dx, dy, dz, (uint8_t)buttons);
}

static const InputOps mouse_input = {
    .name = "QEMU PS/2 Mouse",
    .kinds = INPUT_RELATIVE,
    .move = input_move_event,
};

/* One set of button bits for both. */
G_STATIC_ASSERT(INPUT_LEFT == PS2_MOUSE_LEFT && INPUT_RIGHT == PS2_MOUSE_RIGHT &&
                INPUT_MIDDLE == PS2_MOUSE_MIDDLE && INPUT_SIDE == PS2_MOUSE_SIDE &&
                INPUT_EXTRA == PS2_MOUSE_EXTRA);

static bool mouse_realize(Device *dev, GError **err)
{
    container_of(dev, Ps2Mouse, ps2.dev)->input = input_add(dev->vm, &mouse_input, dev);
    return true;
}

static void mouse_unrealize(Device *dev)
{
    Ps2Mouse *s = container_of(dev, Ps2Mouse, ps2.dev);

    input_remove(s->input);
    s->input = NULL;
}

static void mouse_reset(Device *dev)
{
    Ps2Mouse *s = container_of(dev, Ps2Mouse, ps2.dev);

    s->status = s->resolution = s->sample_rate = 0;
    s->wrap = s->type = s->detect_state = 0;
    s->dx = s->dy = s->dz = 0;
    s->buttons = 0;
}

static bool mouse_pre_load(void *obj, GError **err)
{
    STATE_KEEP(((Ps2Mouse *)obj)->ps2.queue.cwptr);
    ((Ps2Mouse *)obj)->ps2.queue.cwptr = -1;
    return true;
}

static bool mouse_post_load(void *obj, unsigned version, GError **err)
{
    Ps2Mouse *s = obj;

    if (s->type != TYPE_PLAIN && s->type != TYPE_WHEEL && s->type != TYPE_EXPLORER) {
        return error_set(err, "mouse_type: %u is not 0, 3 or 4", s->type);
    }
    return ps2_queue_check(&s->ps2, err);
}

static const StateField mouse_fields[] = {
    STATE_STRUCT(Ps2Mouse, ps2, &ps2_common_state, .name = "parent_obj"),
    STATE_U8(Ps2Mouse, status, .name = "mouse_status"),
    STATE_U8(Ps2Mouse, resolution, .name = "mouse_resolution"),
    STATE_U8(Ps2Mouse, sample_rate, .name = "mouse_sample_rate"),
    STATE_U8(Ps2Mouse, wrap, .name = "mouse_wrap", .max = 1),
    STATE_U8(Ps2Mouse, type, .name = "mouse_type", .max = TYPE_EXPLORER),
    STATE_U8(Ps2Mouse, detect_state, .name = "mouse_detect_state", .max = 3),
    STATE_I32(Ps2Mouse, dx, .name = "mouse_dx"),
    STATE_I32(Ps2Mouse, dy, .name = "mouse_dy"),
    STATE_I32(Ps2Mouse, dz, .name = "mouse_dz"),
    STATE_U8(Ps2Mouse, buttons, .name = "mouse_buttons"),
    {}};
static const StateDesc mouse_state = {
    .name = "ps2mouse",
    .version = 2,
    .min_version = 2,
    .fields = mouse_fields,
    .pre_load = mouse_pre_load,
    .post_load = mouse_post_load,
};

DEVICE_TYPE(ps2_mouse) = {
    .name = "ps2-mouse",
    .parent = "ps2-device",
    .desc = "PS/2 mouse",
    .size = sizeof(Ps2Mouse),
    .state = &mouse_state,
    .realize = mouse_realize,
    .unrealize = mouse_unrealize,
    .reset = mouse_reset,
};
