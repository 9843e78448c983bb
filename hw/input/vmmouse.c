/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmmouse: VMware's absolute pointer. Events are queued as packets of four words (buttons, x, y,
 * wheel) that the guest takes through three commands of the vmport; a movement of the PS/2 mouse
 * tells it by interrupt that there is something. The drivers of Linux and X.org are the published
 * description.
 *
 * As in QEMU 7.2, packets of relative movement do not carry VMware's flag for it.
 */
#include "hw/input/vmmouse.h"
#include "ui/input.h"

#include "core/vm.h"
#include "hw/input/i8042.h"
#include "hw/input/ps2.h"
#include "hw/isa/isa.h"
#include "hw/misc/vmport.h"
#include "util/trace.h"

#define QUEUE_WORDS 1024 /* its size is in the saved state */
#define PACKET_WORDS 4
#define VERSION_WORD 0x3442554a
#define STATUS_ERROR 0xffff

/* Parameters of VMPORT_MOUSE_COMMAND. */
#define COMMAND_READ_ID 0x45414552
#define COMMAND_DISABLE 0x000000f5
#define COMMAND_RELATIVE 0x4c455252
#define COMMAND_ABSOLUTE 0x53424152

#define BUTTON_LEFT 0x20
#define BUTTON_RIGHT 0x10
#define BUTTON_MIDDLE 0x08

typedef struct Vmmouse {
    IsaDevice isa;
    Object *i8042, *vmport;       /* links: where the PS/2 mouse is, and the commands */
    int32_t queue_size;           /* QUEUE_WORDS, as the stream has it */
    uint32_t queue[QUEUE_WORDS];  /* the oldest first */
    uint16_t nb_queue;            /* words in it */
    uint16_t status;              /* 0, or STATUS_ERROR until the guest reads the id (again) */
    uint8_t absolute;             /* what the guest asked for last */
    bool listens;                 /* the guest asked for events */
    InputDevice *input;           /* while the guest listens */
} Vmmouse;

/* ---- the user's side --------------------------------------------------------------- */

VmmouseMode vmmouse_mode(Device *dev)
{
    const Vmmouse *s = container_of(dev, Vmmouse, isa.dev);

    return !s->listens ? VMMOUSE_OFF : s->absolute ? VMMOUSE_ABSOLUTE : VMMOUSE_RELATIVE;
}

static void queue_word(Vmmouse *s, uint32_t word)
{
    s->queue[s->nb_queue++] = word;
}

void vmmouse_event(Device *dev, int x, int y, int dz, uint8_t buttons)
{
    Vmmouse *s = container_of(dev, Vmmouse, isa.dev);

    trace(vmmouse_event, "x %d y %d dz %d buttons 0x%02x", x, y, dz, buttons);
    if (!s->listens || s->nb_queue > QUEUE_WORDS - PACKET_WORDS) {
        return;
    }
    if (s->absolute) { /* the guest's scale is 0 to FFFFh */
        x = CLAMP(x, 0, 0x7fff) * 2;
        y = CLAMP(y, 0, 0x7fff) * 2;
    }
    queue_word(s, (buttons & PS2_MOUSE_LEFT ? BUTTON_LEFT : 0) |
                      (buttons & PS2_MOUSE_RIGHT ? BUTTON_RIGHT : 0) |
                      (buttons & PS2_MOUSE_MIDDLE ? BUTTON_MIDDLE : 0));
    queue_word(s, (uint32_t)x);
    queue_word(s, (uint32_t)y);
    queue_word(s, (uint32_t)dz);
    if (buttons) {
        vm_request_wakeup(dev->vm);
    }
    ps2_mouse_event(i8042_mouse((Device *)(void *)s->i8042), 1, 0, 0, 0); /* for its interrupt */
}

/* ---- the router of input ------------------------------------------------------------ */

static void input_event(void *opaque, int x, int y, int dz, unsigned buttons)
{
    vmmouse_event(opaque, x, y, dz, (uint8_t)buttons);
}

static const InputOps relative_input = {.name = "vmmouse", .kinds = INPUT_RELATIVE, .move = input_event};
static const InputOps absolute_input = {.name = "vmmouse", .kinds = INPUT_ABSOLUTE, .point = input_event};

/* While the guest listens here, the PS/2 mouse gets nothing. */
static void set_mode(Vmmouse *s, bool listens, bool absolute)
{
    bool same = s->listens == listens && s->absolute == absolute;

    s->listens = listens;
    s->absolute = absolute;
    if (same) {
        return;
    }
    input_remove(s->input);
    s->input = NULL;
    if (listens) {
        s->input = input_add(s->isa.dev.vm, absolute ? &absolute_input : &relative_input, &s->isa.dev);
        input_activate(s->input, true);
    }
}

/* ---- commands ---------------------------------------------------------------------- */

static void get_status(void *opaque, uint32_t regs[VMPORT_NUM_REGS])
{
    const Vmmouse *s = opaque;

    regs[VMPORT_EAX] = (uint32_t)s->status << 16 | s->nb_queue;
}

/* EBX words of the queue, into EAX and the registers after it. */
static void get_data(void *opaque, uint32_t regs[VMPORT_NUM_REGS])
{
    Vmmouse *s = opaque;
    const uint32_t words = regs[VMPORT_EBX];

    if (!words || words > VMPORT_NUM_REGS || words > s->nb_queue) {
        guest_error(&s->isa.dev, "%u words asked for, %u are there", words, s->nb_queue);
        s->status = STATUS_ERROR;
        return;
    }
    memcpy(regs, s->queue, words * sizeof regs[0]);
    s->nb_queue -= words;
    memmove(s->queue, s->queue + words, s->nb_queue * sizeof s->queue[0]);
}

static void command(void *opaque, uint32_t regs[VMPORT_NUM_REGS])
{
    Vmmouse *s = opaque;

    switch (regs[VMPORT_EBX]) {
    case COMMAND_READ_ID:
        if (s->nb_queue < QUEUE_WORDS) {
            queue_word(s, VERSION_WORD);
        }
        s->status = 0;
        break;
    case COMMAND_DISABLE:
        s->status = STATUS_ERROR;
        set_mode(s, false, s->absolute);
        break;
    case COMMAND_RELATIVE:
        set_mode(s, true, false);
        break;
    case COMMAND_ABSOLUTE:
        set_mode(s, true, true);
        break;
    default:
        guest_error(&s->isa.dev, "unknown command 0x%x", regs[VMPORT_EBX]);
        break;
    }
}

/* ---- lifecycle and state ----------------------------------------------------------- */

static bool vmmouse_realize(Device *dev, GError **err)
{
    Vmmouse *s = container_of(dev, Vmmouse, isa.dev);

    if (!s->i8042 || !s->vmport) {
        return error_set(err, "vmmouse: the %s link is not set", s->i8042 ? "vmport" : "i8042");
    }
    Device *port = (Device *)(void *)s->vmport;
    vmport_register(port, VMPORT_MOUSE_STATUS, get_status, s);
    vmport_register(port, VMPORT_MOUSE_COMMAND, command, s);
    vmport_register(port, VMPORT_MOUSE_DATA, get_data, s);
    return true;
}

static void vmmouse_unrealize(Device *dev)
{
    set_mode(container_of(dev, Vmmouse, isa.dev), false, false);
}

static void vmmouse_reset(Device *dev)
{
    Vmmouse *s = container_of(dev, Vmmouse, isa.dev);

    s->queue_size = QUEUE_WORDS;
    s->nb_queue = 0;
    s->status = STATUS_ERROR;
    set_mode(s, false, s->absolute);
}

static bool vmmouse_post_load(void *obj, unsigned version, GError **err)
{
    Vmmouse *s = obj;

    /* The stream does not say whether the guest asked for events; a guest without an error did. */
    bool absolute = s->absolute;
    s->absolute = !absolute; /* whatever was there before the load, the mode is a new one */
    set_mode(s, s->status != STATUS_ERROR, absolute);
    return true;
}

static const StateField vmmouse_fields[] = {
    STATE_I32_EQUAL(Vmmouse, queue_size),
    STATE_ARRAY(Vmmouse, queue, u32, QUEUE_WORDS),
    STATE_U16(Vmmouse, nb_queue, .max = QUEUE_WORDS),
    STATE_U16(Vmmouse, status),
    STATE_U8(Vmmouse, absolute, .max = 1),
    {}};
static const StateDesc vmmouse_state = {
    .name = "vmmouse",
    .version = 0,
    .min_version = 0,
    .fields = vmmouse_fields,
    .post_load = vmmouse_post_load,
};

static const Property vmmouse_props[] = {
    PROP_LINK("i8042", Vmmouse, i8042, .link_type = "i8042", .help = "controller of the PS/2 mouse"),
    PROP_LINK("vmport", Vmmouse, vmport, .link_type = "vmport", .help = "port of the commands"),
    {}};

DEVICE_TYPE(vmmouse) = {
    .name = "vmmouse",
    .parent = "isa-device",
    .desc = "VMware's absolute pointer",
    .category = "input",
    .not_user = "it is part of the board: -machine vmport=on",
    .size = sizeof(Vmmouse),
    .props = vmmouse_props,
    .state = &vmmouse_state,
    .realize = vmmouse_realize,
    .unrealize = vmmouse_unrealize,
    .reset = vmmouse_reset,
};
