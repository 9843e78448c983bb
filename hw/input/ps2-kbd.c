/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ps2-kbd: an MF2 keyboard with scan code sets 1, 2 and 3.
 *
 * A real keyboard sends set 2 and its controller translates. Here the keyboard knows whether the
 * controller translates, and queues what the controller would hand to the guest; replies to
 * commands are the translated bytes too (QEMU's saved state holds the queue in this form).
 *
 * Not done: typematic repeat (the user's screen does it), key-by-key make/break modes of set 3.
 */
#include "hw/input/ps2.h"
#include "ui/input.h"
#include "util/trace.h"

#define REPLY_ACK 0xfa
#define REPLY_POWER_ON 0xaa
#define REPLY_RESEND 0xfe
#define REPLY_ID 0xab

enum {
    KBD_SET_LEDS = 0xed,
    KBD_ECHO = 0xee,
    KBD_SCANCODE_SET = 0xf0,
    KBD_GET_ID = 0xf2,
    KBD_SET_RATE = 0xf3,
    KBD_ENABLE = 0xf4,
    KBD_DISABLE = 0xf5, /* and defaults */
    KBD_DEFAULTS = 0xf6,
    KBD_ALL_TYPEMATIC = 0xfa,
    KBD_MAKE_BREAK = 0xfc,
    KBD_RESET = 0xff,
};

enum { MOD_CTRL = 0x03, MOD_SHIFT = 0x0c, MOD_ALT = 0x30 };

typedef struct Ps2Keyboard {
    Ps2Device ps2;
    int32_t scan_enabled; /* keys are reported */
    int32_t translate;    /* the controller wants set 1 */
    int32_t scancode_set; /* 1 to 3 */
    int32_t ledstate;     /* bit 0 scroll, 1 num, 2 caps */
    bool need_high_bit;   /* QEMU's: an 0xF0 is waiting; written when it came with a stream */
    unsigned modifiers;   /* MOD_ bits of keys that are down */
    InputDevice *input;
} Ps2Keyboard;

/* ---- scan codes -------------------------------------------------------------------- */

/* Sets 2 and 3 by qnum; 0: the set has no such key. Set 2 has the prefix E0 where qnum has bit 7.
 */
static const struct {
    uint8_t set2, set3;
} key_codes[256] = {
    /* clang-format off */
    /* 00 */ {0x00, 0x00}, {0x76, 0x08}, {0x16, 0x16}, {0x1e, 0x1e},
             {0x26, 0x26}, {0x25, 0x25}, {0x2e, 0x2e}, {0x36, 0x36},
    /* 08 */ {0x3d, 0x3d}, {0x3e, 0x3e}, {0x46, 0x46}, {0x45, 0x45},
             {0x4e, 0x4e}, {0x55, 0x55}, {0x66, 0x66}, {0x0d, 0x0d},
    /* 10 */ {0x15, 0x15}, {0x1d, 0x1d}, {0x24, 0x24}, {0x2d, 0x2d},
             {0x2c, 0x2c}, {0x35, 0x35}, {0x3c, 0x3c}, {0x43, 0x43},
    /* 18 */ {0x44, 0x44}, {0x4d, 0x4d}, {0x54, 0x54}, {0x5b, 0x5b},
             {0x5a, 0x5a}, {0x14, 0x11}, {0x1c, 0x1c}, {0x1b, 0x1b},
    /* 20 */ {0x23, 0x23}, {0x2b, 0x2b}, {0x34, 0x34}, {0x33, 0x33},
             {0x3b, 0x3b}, {0x42, 0x42}, {0x4b, 0x4b}, {0x4c, 0x4c},
    /* 28 */ {0x52, 0x52}, {0x0e, 0x0e}, {0x12, 0x12}, {0x5d, 0x5c},
             {0x1a, 0x1a}, {0x22, 0x22}, {0x21, 0x21}, {0x2a, 0x2a},
    /* 30 */ {0x32, 0x32}, {0x31, 0x31}, {0x3a, 0x3a}, {0x41, 0x41},
             {0x49, 0x49}, {0x4a, 0x4a}, {0x59, 0x59}, {0x7c, 0x7e},
    /* 38 */ {0x11, 0x19}, {0x29, 0x29}, {0x58, 0x14}, {0x05, 0x07},
             {0x06, 0x0f}, {0x04, 0x17}, {0x0c, 0x1f}, {0x03, 0x27},
    /* 40 */ {0x0b, 0x2f}, {0x83, 0x37}, {0x0a, 0x3f}, {0x01, 0x47},
             {0x09, 0x4f}, {0x77, 0x76}, {0x7e, 0x5f}, {0x6c, 0x6c},
    /* 48 */ {0x75, 0x75}, {0x7d, 0x7d}, {0x7b, 0x4e}, {0x6b, 0x6b},
             {0x73, 0x73}, {0x74, 0x74}, {0x79, 0x7c}, {0x69, 0x69},
    /* 50 */ {0x72, 0x72}, {0x7a, 0x7a}, {0x70, 0x70}, {0x71, 0x71},
             {0x00, 0x00}, {0x00, 0x00}, {0x61, 0x13}, {0x78, 0x56},
    /* 58 */ {0x07, 0x5e}, {0x0f, 0x00}, {0x00, 0x00}, {0x00, 0x00},
             {0x00, 0x00}, {0x00, 0x00}, {0x00, 0x00}, {0x00, 0x00},
    /* 60 */ {0x00, 0x00}, {0x00, 0x00}, {0x00, 0x00}, {0x00, 0x00},
             {0x00, 0x20}, {0x00, 0x28}, {0x00, 0x00}, {0x00, 0x00},
    /* 68 */ {0x00, 0x00}, {0x00, 0x00}, {0x00, 0x00}, {0x00, 0x00},
             {0x00, 0x00}, {0x00, 0x00}, {0x00, 0x00}, {0x00, 0x00},
    /* 70 */ {0x13, 0x87}, {0x00, 0x00}, {0x00, 0x00}, {0x51, 0x00},
             {0x00, 0x00}, {0x00, 0x00}, {0x00, 0x00}, {0x62, 0x87},
    /* 78 */ {0x00, 0x00}, {0x64, 0x86}, {0x00, 0x00}, {0x67, 0x85},
             {0x00, 0x00}, {0x6a, 0x5d}, {0x6d, 0x00}, {0x00, 0x00},
    /* 80 */ {0x00, 0x00}, {0x00, 0x00}, {0x00, 0x00}, {0x00, 0x00},
             {0x00, 0x00}, {0x00, 0x0b}, {0x00, 0x0c}, {0x00, 0x10},
    /* 88 */ {0x00, 0x00}, {0x00, 0x00}, {0x00, 0x00}, {0x00, 0x00},
             {0x00, 0x00}, {0x00, 0x00}, {0x00, 0x00}, {0x00, 0x00},
    /* 90 */ {0x15, 0x94}, {0x00, 0x00}, {0x00, 0x00}, {0x00, 0x00},
             {0x00, 0x00}, {0x00, 0x00}, {0x00, 0x00}, {0x00, 0x00},
    /* 98 */ {0x00, 0x00}, {0x4d, 0x93}, {0x00, 0x00}, {0x00, 0x00},
             {0x5a, 0x79}, {0x14, 0x58}, {0x00, 0x91}, {0x00, 0x00},
    /* a0 */ {0x23, 0x9c}, {0x2b, 0xa3}, {0x34, 0x00}, {0x00, 0x00},
             {0x3b, 0x98}, {0x00, 0x00}, {0x00, 0x00}, {0x00, 0x00},
    /* a8 */ {0x00, 0x00}, {0x00, 0x00}, {0x00, 0x00}, {0x00, 0x00},
             {0x00, 0x00}, {0x00, 0x00}, {0x21, 0x9d}, {0x00, 0x00},
    /* b0 */ {0x32, 0x95}, {0x00, 0x00}, {0x3a, 0x97}, {0x00, 0x00},
             {0x00, 0x00}, {0x4a, 0x4a}, {0x00, 0x00}, {0x00, 0x00},
    /* b8 */ {0x11, 0x39}, {0x00, 0x00}, {0x00, 0x00}, {0x00, 0x00},
             {0x00, 0x38}, {0x00, 0x00}, {0x00, 0x00}, {0x00, 0x00},
    /* c0 */ {0x00, 0x00}, {0x00, 0x30}, {0x00, 0x00}, {0x00, 0x00},
             {0x00, 0x00}, {0x00, 0x00}, {0x00, 0x00}, {0x6c, 0x6e},
    /* c8 */ {0x75, 0x63}, {0x7d, 0x6f}, {0x00, 0x00}, {0x6b, 0x61},
             {0x00, 0x00}, {0x74, 0x6a}, {0x00, 0x00}, {0x69, 0x65},
    /* d0 */ {0x72, 0x60}, {0x7a, 0x6d}, {0x70, 0x67}, {0x71, 0x64},
             {0x00, 0x00}, {0x00, 0x00}, {0x00, 0x00}, {0x00, 0x00},
    /* d8 */ {0x00, 0x00}, {0x00, 0x00}, {0x00, 0x00}, {0x1f, 0x8b},
             {0x27, 0x8c}, {0x2f, 0x8d}, {0x37, 0x00}, {0x3f, 0x00},
    /* e0 */ {0x00, 0x00}, {0x00, 0x00}, {0x00, 0x00}, {0x5e, 0x00},
             {0x00, 0x00}, {0x00, 0x00}, {0x18, 0x00}, {0x20, 0x00},
    /* e8 */ {0x28, 0x0a}, {0x30, 0x00}, {0x38, 0x00}, {0x40, 0x00},
             {0x48, 0x00}, {0x50, 0x00}, {0x00, 0x00}, {0x00, 0x00},
    /* f0 */ {0x00, 0x00}, {0x00, 0x00}, {0x00, 0x00}, {0x00, 0x00},
             {0x00, 0x00}, {0x00, 0x09}, {0x00, 0x00}, {0x00, 0x00},
    /* f8 */ {0x00, 0x18}, {0x00, 0x00}, {0x00, 0x00}, {0x00, 0x00},
             {0x00, 0x00}, {0x00, 0x00}, {0x00, 0x00}, {0x00, 0x00},
    /* clang-format on */
};

/* What a controller makes of set 2 (8042 translation); from 80h on codes stay, but for 83h and 84h.
 */
static const uint8_t translation[128] = {
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59,
    0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b,
    0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f,
    0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61,
    0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f,
    0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,
};

static uint8_t translated(uint8_t code)
{
    return code < 128 ? translation[code] : code == 0x83 ? 0x41 : code == 0x84 ? 0x54 : code;
}

/* A packet being put together: the longest is Pause with 8 bytes. */
typedef struct Packet {
    uint8_t bytes[PS2_QUEUE_SIZE];
    size_t len;
} Packet;

static void add(Packet *p, uint8_t byte)
{
    buf_append(p->bytes, sizeof p->bytes, &p->len, &byte, 1);
}

/* One code of set 1 (code is its make code). */
static void add_set1(Packet *p, uint8_t code, bool extended, bool down)
{
    if (extended) {
        add(p, 0xe0);
    }
    add(p, down ? code : code | 0x80);
}

static void add_set2(Packet *p, uint8_t code, bool extended, bool down)
{
    if (extended) {
        add(p, 0xe0);
    }
    if (!down) {
        add(p, 0xf0);
    }
    add(p, code);
}

/* Set 3, as the controller passes it on. */
static void add_set3(Packet *p, uint8_t code, bool translate, bool down)
{
    if (!translate) {
        add_set2(p, code, false, down);
    } else if (code < 0x80) {
        add(p, translated(code) | (down ? 0 : 0x80));
    } else {
        add(p, code);
    }
}

/* Sets 1 and 2 have sequences for keys that older keyboards had in other places. */
static void add_code(Packet *p, bool set1, uint8_t set1_code, uint8_t set2_code, bool extended,
                     bool down)
{
    if (set1) {
        add_set1(p, set1_code, extended, down);
    } else {
        add_set2(p, set2_code, extended, down);
    }
}

static void add_pause(Packet *p, const Ps2Keyboard *s, bool set1, bool down)
{
    static const uint8_t pause1[] = {0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5};
    static const uint8_t pause2[] = {0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77};

    if (!down) {
        return; /* make and break come together */
    }
    if (s->modifiers & MOD_CTRL) { /* Break */
        add_code(p, set1, 0x46, 0x7e, true, true);
        add_code(p, set1, 0x46, 0x7e, true, false);
    } else if (set1) {
        buf_append(p->bytes, sizeof p->bytes, &p->len, pause1, sizeof pause1);
    } else {
        buf_append(p->bytes, sizeof p->bytes, &p->len, pause2, sizeof pause2);
    }
}

static void add_print(Packet *p, const Ps2Keyboard *s, bool set1, bool down)
{
    bool shifted = s->modifiers & (MOD_CTRL | MOD_SHIFT);

    if (s->modifiers & MOD_ALT) { /* SysRq */
        add_code(p, set1, 0x54, 0x84, false, down);
        return;
    }
    if (down && !shifted) {
        add_code(p, set1, 0x2a, 0x12, true, true);
    }
    add_code(p, set1, 0x37, 0x7c, true, down);
    if (!down && !shifted) {
        add_code(p, set1, 0x2a, 0x12, true, false);
    }
}

static void track_modifiers(Ps2Keyboard *s, unsigned qnum, bool down)
{
    static const uint8_t keys[] = {0x1d, 0x9d, 0x2a,
                                   0x36, 0x38, 0xb8}; /* in the order of the bits */

    for (unsigned i = 0; i < sizeof keys; i++) {
        if (keys[i] == qnum) {
            s->modifiers = down ? s->modifiers | 1u << i : s->modifiers & ~(1u << i);
        }
    }
}

void ps2_keyboard_key(Device *dev, unsigned qnum, bool down)
{
    Ps2Keyboard *s = container_of(dev, Ps2Keyboard, ps2.dev);
    /* Under translation set 2 becomes set 1. Set 1 is never translated. */
    bool set1 = s->scancode_set == 1 || (s->scancode_set == 2 && s->translate);
    bool extended = qnum & 0x80;
    Packet p = {.len = 0};

    if (qnum == 0 || qnum > 255) {
        return;
    }
    trace(ps2_key, "key 0x%02x down %d", qnum, down);
    vm_request_wakeup(dev->vm);
    track_modifiers(s, qnum, down);
    if (!s->scan_enabled) {
        return;
    }
    if (s->scancode_set == 3) {
        uint8_t code = qnum == PS2_KEY_PAUSE                            ? 0x62
                       : qnum == PS2_KEY_PRINT || qnum == PS2_KEY_SYSRQ ? 0x57
                                                                        : key_codes[qnum].set3;

        if (code) {
            add_set3(&p, code, s->translate, down);
        }
    } else if (qnum == PS2_KEY_PAUSE) {
        add_pause(&p, s, set1, down);
    } else if (qnum == PS2_KEY_PRINT || qnum == PS2_KEY_SYSRQ) {
        add_print(&p, s, set1, down);
    } else if (key_codes[qnum].set2) {
        add_code(&p, set1, qnum & 0x7f, key_codes[qnum].set2, extended, down);
    } else if (s->scancode_set == 1) {
        add_set1(&p, qnum & 0x7f, extended, down); /* keys that only set 1 has */
    }
    if (p.len && !ps2_queue_event(&s->ps2, p.bytes, p.len)) {
        trace(ps2_key_dropped, "key 0x%02x", qnum);
    }
}

/* ---- commands ---------------------------------------------------------------------- */

static void reply(Ps2Keyboard *s, uint8_t byte)
{
    ps2_queue_reply(&s->ps2, &byte, 1);
}

static void reply_two(Ps2Keyboard *s, uint8_t first, uint8_t second)
{
    const uint8_t bytes[] = {first, second};

    ps2_queue_reply(&s->ps2, bytes, sizeof bytes);
}

static void keyboard_defaults(Ps2Keyboard *s)
{
    s->scan_enabled = 1;
    s->scancode_set = 2;
    s->ledstate = 0;
    ps2_queue_clear(&s->ps2);
}

static void keyboard_command(Ps2Keyboard *s, uint8_t value)
{
    switch (value) {
    case 0x00:
    case KBD_ALL_TYPEMATIC:
        reply(s, REPLY_ACK);
        break;
    case KBD_ECHO:
        reply(s, KBD_ECHO);
        break;
    case KBD_GET_ID: {
        const uint8_t id[] = {REPLY_ACK, REPLY_ID, s->translate ? 0x41 : 0x83};

        ps2_queue_reply(&s->ps2, id, sizeof id);
        break;
    }
    case KBD_ENABLE:
        s->scan_enabled = 1;
        reply(s, REPLY_ACK);
        break;
    case KBD_SET_LEDS:
    case KBD_SCANCODE_SET:
    case KBD_SET_RATE:
    case KBD_MAKE_BREAK:
        s->ps2.write_cmd = value;
        reply(s, REPLY_ACK);
        break;
    case KBD_DISABLE:
        keyboard_defaults(s);
        s->scan_enabled = 0;
        reply(s, REPLY_ACK);
        break;
    case KBD_DEFAULTS:
        keyboard_defaults(s);
        reply(s, REPLY_ACK);
        break;
    case KBD_RESET:
        keyboard_defaults(s);
        reply_two(s, REPLY_ACK, REPLY_POWER_ON);
        break;
    default:
        reply(s, REPLY_RESEND);
    }
}

static void keyboard_parameter(Ps2Keyboard *s, uint8_t command, uint8_t value)
{
    switch (command) {
    case KBD_SET_LEDS:
        s->ledstate = value;
        reply(s, REPLY_ACK);
        break;
    case KBD_SCANCODE_SET:
        if (value == 0) {
            reply_two(s, REPLY_ACK, s->translate ? translated(s->scancode_set) : s->scancode_set);
        } else if (value <= 3) {
            s->scancode_set = value;
            reply(s, REPLY_ACK);
        } else {
            reply(s, REPLY_RESEND);
        }
        break;
    default: /* rate, make/break mode: taken and ignored */
        reply(s, REPLY_ACK);
    }
}

void ps2_keyboard_write(Device *dev, uint8_t value)
{
    Ps2Keyboard *s = container_of(dev, Ps2Keyboard, ps2.dev);
    int32_t command = s->ps2.write_cmd;

    trace(ps2_keyboard_write, "value 0x%02x", value);
    s->ps2.write_cmd = -1;
    if (command < 0) {
        keyboard_command(s, value);
    } else {
        keyboard_parameter(s, command, value);
    }
}

void ps2_keyboard_set_translation(Device *dev, bool on)
{
    container_of(dev, Ps2Keyboard, ps2.dev)->translate = on;
}

/* ---- lifecycle and state ----------------------------------------------------------- */

static void keyboard_reset(Device *dev)
{
    Ps2Keyboard *s = container_of(dev, Ps2Keyboard, ps2.dev);

    s->scan_enabled = 1;
    s->translate = 0;
    s->scancode_set = 2;
    s->ledstate = 0;
    s->need_high_bit = false;
    s->modifiers = 0;
}

static void input_key_event(void *opaque, unsigned qnum, bool down)
{
    ps2_keyboard_key(opaque, qnum, down);
}

static const InputOps keyboard_input = {
    .name = "QEMU PS/2 Keyboard",
    .kinds = INPUT_KEYS,
    .key = input_key_event,
};

static bool keyboard_realize(Device *dev, GError **err)
{
    keyboard_reset(dev);
    container_of(dev, Ps2Keyboard, ps2.dev)->input = input_add(dev->vm, &keyboard_input, dev);
    return true;
}

static void keyboard_unrealize(Device *dev)
{
    Ps2Keyboard *s = container_of(dev, Ps2Keyboard, ps2.dev);

    input_remove(s->input);
    s->input = NULL;
}

static bool keyboard_pre_load(void *obj, GError **err)
{
    Ps2Keyboard *s = obj;

    STATE_KEEP(s->ledstate);
    STATE_KEEP(s->need_high_bit);
    STATE_KEEP(s->ps2.queue.cwptr);
    /* Subsections that are absent stand for these. */
    s->ledstate = 0;
    s->need_high_bit = false;
    s->ps2.queue.cwptr = -1;
    return true;
}

static bool keyboard_post_load(void *obj, unsigned version, GError **err)
{
    Ps2Keyboard *s = obj;

    if (version < 3) {
        s->scancode_set = 2;
    }
    return ps2_queue_check(&s->ps2, err);
}

static bool ledstate_needed(void *obj)
{
    return ((Ps2Keyboard *)obj)->ledstate != 0;
}
static bool high_bit_needed(void *obj)
{
    return ((Ps2Keyboard *)obj)->need_high_bit;
}
static bool reply_needed(void *obj)
{
    return ps2_reply_pending(&((Ps2Keyboard *)obj)->ps2);
}

static const StateField ledstate_fields[] = {STATE_I32(Ps2Keyboard, ledstate, .max = 255), {}};
static const StateDesc ledstate_state = {
    .name = "ps2kbd/ledstate",
    .version = 3,
    .min_version = 2,
    .needed = ledstate_needed,
    .fields = ledstate_fields,
};
static const StateField high_bit_fields[] = {STATE_BOOL(Ps2Keyboard, need_high_bit), {}};
static const StateDesc high_bit_state = {
    .name = "ps2kbd/need_high_bit",
    .version = 1,
    .min_version = 1,
    .needed = high_bit_needed,
    .fields = high_bit_fields,
};
static const StateField keyboard_reply_fields[] = {STATE_I32(Ps2Keyboard, ps2.queue.cwptr,
                                                             .name = "parent_obj.queue.cwptr",
                                                             .max = PS2_BUFFER_SIZE - 1),
                                                   {}};
static const StateDesc keyboard_reply_state = {
    .name = "ps2kbd/command_reply_queue",
    .version = 0,
    .min_version = 0,
    .needed = reply_needed,
    .fields = keyboard_reply_fields,
};
static const StateDesc *const keyboard_subsections[] = {&ledstate_state, &high_bit_state,
                                                        &keyboard_reply_state, NULL};

static const StateField keyboard_fields[] = {
    STATE_STRUCT(Ps2Keyboard, ps2, &ps2_common_state, .name = "parent_obj"),
    STATE_I32(Ps2Keyboard, scan_enabled, .max = 1),
    STATE_I32(Ps2Keyboard, translate, .max = 1),
    STATE_I32(Ps2Keyboard, scancode_set, .since = 3, .min = 1, .max = 3),
    {}};
static const StateDesc keyboard_state = {
    .name = "ps2kbd",
    .version = 3,
    .min_version = 2,
    .fields = keyboard_fields,
    .subsections = keyboard_subsections,
    .pre_load = keyboard_pre_load,
    .post_load = keyboard_post_load,
};

DEVICE_TYPE(ps2_keyboard) = {
    .name = "ps2-kbd",
    .parent = "ps2-device",
    .desc = "PS/2 keyboard",
    .size = sizeof(Ps2Keyboard),
    .state = &keyboard_state,
    .realize = keyboard_realize,
    .unrealize = keyboard_unrealize,
    .reset = keyboard_reset,
};
