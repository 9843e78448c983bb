/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * i8042: the keyboard controller of an AT with its PS/2 auxiliary port, ports 60h and 64h (IBM PS/2
 * Technical Reference; the pulse, A20 and reset bits are in output port P2).
 *
 * The output buffer holds one byte, from the controller itself, the keyboard or the mouse, in this
 * order. A device's byte stays in its queue until port 60h is read; the status register only says
 * where it will come from.
 *
 * Not done: commands for the controller's own RAM, keylock and test inputs; port 60h never times
 * out.
 */
#include "hw/input/i8042.h"

#include "hw/input/ps2.h"
#include "hw/isa/isa.h"
#include "util/trace.h"

/* Commands to port 64h. */
enum {
    CMD_READ_MODE = 0x20,
    CMD_WRITE_MODE = 0x60,
    CMD_MOUSE_DISABLE = 0xa7,
    CMD_MOUSE_ENABLE = 0xa8,
    CMD_TEST_MOUSE = 0xa9,
    CMD_SELF_TEST = 0xaa,
    CMD_KBD_TEST = 0xab,
    CMD_KBD_DISABLE = 0xad,
    CMD_KBD_ENABLE = 0xae,
    CMD_READ_INPORT = 0xc0,
    CMD_READ_OUTPORT = 0xd0,
    CMD_WRITE_OUTPORT = 0xd1,
    CMD_WRITE_OBUF = 0xd2,
    CMD_WRITE_AUX_OBUF = 0xd3,
    CMD_WRITE_MOUSE = 0xd4,
    CMD_DISABLE_A20 = 0xdd,
    CMD_ENABLE_A20 = 0xdf,
    CMD_PULSE = 0xf0, /* to ffh: bits 0 to 3 that are clear are pulsed low; bit 0 is reset */
};

#define STATUS_OBF 0x01
#define STATUS_SELFTEST 0x04
#define STATUS_CMD 0x08
#define STATUS_UNLOCKED 0x10
#define STATUS_MOUSE_OBF 0x20

#define MODE_KBD_INT 0x01
#define MODE_MOUSE_INT 0x02
#define MODE_DISABLE_KBD 0x10
#define MODE_DISABLE_MOUSE 0x20
#define MODE_TRANSLATE 0x40

#define OUT_RESET 0x01 /* 0: the CPU is in reset */
#define OUT_A20 0x02
#define OUT_OBF 0x10
#define OUT_MOUSE_OBF 0x20
#define OUT_ONES 0xcc

/* Who has something for the output buffer; the devices' bits are those that disable them in mode.
 */
#define PENDING_CTRL_KBD 0x04
#define PENDING_CTRL_AUX 0x08
#define PENDING_CTRL (PENDING_CTRL_KBD | PENDING_CTRL_AUX)
#define PENDING_KBD MODE_DISABLE_KBD
#define PENDING_AUX MODE_DISABLE_MOUSE
/* The older form, in streams without the extended state. */
#define PENDING_KBD_COMPAT 0x01
#define PENDING_AUX_COMPAT 0x02

#define SOURCE_KBD 0x01
#define SOURCE_MOUSE 0x02
#define SOURCE_CTRL 0x04

#define FLAG_THROTTLED 0x1
#define THROTTLE_NS NSEC_PER_MSEC

enum { IN_KBD, IN_MOUSE };

typedef struct I8042 {
    IsaDevice isa;
    Region data_port, command_port;
    Irq *out[I8042_NUM_OUTPUTS];
    Device *kbd, *mouse;
    uint8_t write_cmd; /* command whose parameter comes to port 60h next; 0: none */
    uint8_t status;    /* STATUS_ bits */
    uint8_t mode;      /* MODE_ bits */
    uint8_t outport;   /* OUT_ bits */
    uint8_t pending;   /* PENDING_ bits */
    uint32_t obsrc;    /* SOURCE_ of the byte in the output buffer */
    uint8_t obdata;    /* what port 60h gave last */
    uint8_t cbdata;    /* the controller's own byte */
    Timer throttle;    /* armed: the keyboard's next byte has to wait */
    /* Wire only. */
    uint8_t pending_tmp;
    uint32_t migration_flags;
    bool extended_loaded, outport_loaded;
    /* Properties. */
    bool extended_state;
    bool kbd_throttle;
    uint8_t kbd_irq, mouse_irq;
} I8042;

/* ---- output buffer ----------------------------------------------------------------- */

static void update_irq_lines(I8042 *s)
{
    int kbd = 0, mouse = 0;

    if (s->status & STATUS_OBF) {
        if (s->status & STATUS_MOUSE_OBF) {
            mouse = !!(s->mode & MODE_MOUSE_INT);
        } else {
            kbd = (s->mode & MODE_KBD_INT) && !(s->mode & MODE_DISABLE_KBD);
        }
    }
    irq_set(s->out[I8042_OUT_KBD], kbd);
    irq_set(s->out[I8042_OUT_MOUSE], mouse);
}

static void empty_buffer(I8042 *s)
{
    s->status &= ~(STATUS_OBF | STATUS_MOUSE_OBF);
    s->outport &= ~(OUT_OBF | OUT_MOUSE_OBF);
    update_irq_lines(s);
}

/* Bytes that may come now: a disabled port's stay where they are. */
static uint8_t ready(const I8042 *s)
{
    return s->pending & (~s->mode | ~(PENDING_KBD | PENDING_AUX));
}

/* Fills the output buffer, if it is empty, from the first who has something. */
static void fill_buffer(I8042 *s)
{
    uint8_t from = ready(s);

    if ((s->status & STATUS_OBF) || !from) {
        return;
    }
    if (from & PENDING_CTRL) {
        s->obsrc = SOURCE_CTRL;
    } else if (from & PENDING_KBD) {
        if (timer_pending(&s->throttle)) {
            return;
        }
        s->obsrc = SOURCE_KBD;
    } else {
        s->obsrc = SOURCE_MOUSE;
    }
    s->status |= STATUS_OBF;
    s->outport |= OUT_OBF;
    if ((from & PENDING_CTRL_AUX) || s->obsrc == SOURCE_MOUSE) {
        s->status |= STATUS_MOUSE_OBF;
        s->outport |= OUT_MOUSE_OBF;
    }
    update_irq_lines(s);
}

static void set_pending(I8042 *s, uint8_t bit, bool on)
{
    s->pending = on ? s->pending | bit : s->pending & ~bit;
    /* A device's line falls between two of its bytes: the other one's turn. */
    fill_buffer(s);
}

static void device_input(void *opaque, unsigned n, int level)
{
    set_pending(opaque, n == IN_KBD ? PENDING_KBD : PENDING_AUX, level);
}

/* The controller's own answer; a second one replaces it. */
static void answer(I8042 *s, uint8_t value, bool aux)
{
    s->cbdata = value;
    s->pending &= ~PENDING_CTRL;
    set_pending(s, aux ? PENDING_CTRL_AUX : PENDING_CTRL_KBD, true);
}

static void throttle_over(void *opaque)
{
    fill_buffer(opaque);
}

/* ---- output port ------------------------------------------------------------------- */

static void write_outport(I8042 *s, uint8_t value)
{
    s->outport = value;
    irq_set(s->out[I8042_OUT_A20], !!(value & OUT_A20));
    if (!(value & OUT_RESET)) {
        vm_request_reset(s->isa.dev.vm, SHUTDOWN_CAUSE_GUEST_RESET);
    }
}

static void set_a20(I8042 *s, bool on)
{
    s->outport = on ? s->outport | OUT_A20 : s->outport & ~OUT_A20;
    irq_set(s->out[I8042_OUT_A20], on);
}

/* ---- port 64h ---------------------------------------------------------------------- */

static uint64_t i8042_read_status(void *opaque, uint64_t offset, unsigned size)
{
    I8042 *s = opaque;

    trace(i8042_read_status, "value 0x%02x", s->status);
    return s->status;
}

static void i8042_command(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    I8042 *s = opaque;

    trace(i8042_command, "command 0x%02x", (unsigned)value);
    switch (value) {
    case CMD_READ_MODE:
        answer(s, s->mode, false);
        break;
    case CMD_WRITE_MODE:
    case CMD_WRITE_OUTPORT:
    case CMD_WRITE_OBUF:
    case CMD_WRITE_AUX_OBUF:
    case CMD_WRITE_MOUSE:
        s->write_cmd = value;
        break;
    case CMD_MOUSE_DISABLE:
        s->mode |= MODE_DISABLE_MOUSE;
        break;
    case CMD_MOUSE_ENABLE:
        s->mode &= ~MODE_DISABLE_MOUSE;
        fill_buffer(s);
        break;
    case CMD_TEST_MOUSE:
    case CMD_KBD_TEST:
        answer(s, 0x00, false);
        break;
    case CMD_SELF_TEST:
        s->status |= STATUS_SELFTEST;
        answer(s, 0x55, false);
        break;
    case CMD_KBD_DISABLE:
        s->mode |= MODE_DISABLE_KBD;
        break;
    case CMD_KBD_ENABLE:
        s->mode &= ~MODE_DISABLE_KBD;
        fill_buffer(s);
        break;
    case CMD_READ_INPORT:
        answer(s, 0x80, false);
        break;
    case CMD_READ_OUTPORT:
        answer(s, s->outport, false);
        break;
    case CMD_DISABLE_A20:
        set_a20(s, false);
        break;
    case CMD_ENABLE_A20:
        set_a20(s, true);
        break;
    default:
        if (value >= CMD_PULSE) {
            if (!(value & 1)) {
                vm_request_reset(s->isa.dev.vm, SHUTDOWN_CAUSE_GUEST_RESET);
            }
        } else {
            guest_error(&s->isa.dev, "unknown command 0x%02x", (unsigned)value);
        }
    }
}

/* ---- port 60h ---------------------------------------------------------------------- */

static uint64_t i8042_read_data(void *opaque, uint64_t offset, unsigned size)
{
    I8042 *s = opaque;

    if (s->status & STATUS_OBF) {
        empty_buffer(s);
        if (s->obsrc & SOURCE_KBD) {
            if (s->kbd_throttle) {
                timer_arm(&s->throttle, clock_now(s->isa.dev.vm, CLOCK_VIRTUAL) + THROTTLE_NS);
            }
            s->obdata = ps2_read(s->kbd);
        } else if (s->obsrc & SOURCE_MOUSE) {
            s->obdata = ps2_read(s->mouse);
        } else if (s->obsrc & SOURCE_CTRL) {
            s->obdata = s->cbdata;
            s->pending &= ~PENDING_CTRL;
        }
        fill_buffer(s);
    }
    trace(i8042_read_data, "value 0x%02x", s->obdata);
    return s->obdata;
}

static void write_mode(I8042 *s, uint8_t value)
{
    s->mode = value;
    ps2_keyboard_set_translation(s->kbd, value & MODE_TRANSLATE);
    update_irq_lines(s); /* the interrupt enables act on the lines at once */
    fill_buffer(s);
}

static void i8042_write_data(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    I8042 *s = opaque;
    uint8_t command = s->write_cmd;

    trace(i8042_write_data, "command 0x%02x value 0x%02x", command, (unsigned)value);
    s->write_cmd = 0;
    switch (command) {
    case CMD_WRITE_MODE:
        write_mode(s, value);
        break;
    case CMD_WRITE_OBUF:
        answer(s, value, false);
        break;
    case CMD_WRITE_AUX_OBUF:
        answer(s, value, true);
        break;
    case CMD_WRITE_OUTPORT:
        write_outport(s, value);
        break;
    case CMD_WRITE_MOUSE:
        ps2_mouse_write(s->mouse, value);
        s->mode &= ~MODE_DISABLE_MOUSE; /* sending to a port enables it */
        fill_buffer(s);
        break;
    default:
        ps2_keyboard_write(s->kbd, value);
        s->mode &= ~MODE_DISABLE_KBD;
        fill_buffer(s);
    }
}

static const RegionOps i8042_data_ops = {
    .read = i8042_read_data,
    .write = i8042_write_data,
    .impl = {.min_size = 1, .max_size = 1},
};
static const RegionOps i8042_command_ops = {
    .read = i8042_read_status,
    .write = i8042_command,
    .impl = {.min_size = 1, .max_size = 1},
};

/* ---- lifecycle --------------------------------------------------------------------- */

Device *i8042_keyboard(Device *dev)
{
    return container_of(dev, I8042, isa.dev)->kbd;
}
Device *i8042_mouse(Device *dev)
{
    return container_of(dev, I8042, isa.dev)->mouse;
}

/* A PS/2 device in our part of the tree, its output wired to our input n. */
static Device *make_ps2(I8042 *s, const char *type, const char *name, unsigned n, GError **err)
{
    Device *ps2 = device_new(s->isa.dev.vm, type);

    object_add_child(&s->isa.dev.obj, name, &ps2->obj);
    if (!device_realize(ps2, NULL, err)) {
        object_unparent(&ps2->obj);
        object_unref(ps2);
        return NULL;
    }
    device_connect(ps2, 0, device_irq_in(&s->isa.dev, n));
    return ps2;
}

static void i8042_unrealize(Device *dev)
{
    I8042 *s = container_of(dev, I8042, isa.dev);

    timer_cancel(&s->throttle);
    if (s->mouse) {
        device_unrealize(s->mouse);
    }
    if (s->kbd) {
        device_unrealize(s->kbd);
    }
    region_remove(&s->data_port);
    region_remove(&s->command_port);
    region_destroy(&s->data_port);
    region_destroy(&s->command_port);
}

static bool i8042_realize(Device *dev, GError **err)
{
    I8042 *s = container_of(dev, I8042, isa.dev);

    timer_init(&s->throttle, dev->vm, CLOCK_VIRTUAL, throttle_over, s);
    device_init_irq_in(dev, device_input, s, 2);
    device_init_irq_out(dev, s->out, I8042_NUM_OUTPUTS);
    device_connect(dev, I8042_OUT_KBD, isa_irq(&s->isa, s->kbd_irq));
    device_connect(dev, I8042_OUT_MOUSE, isa_irq(&s->isa, s->mouse_irq));
    region_init_io(&s->data_port, &i8042_data_ops, s, "i8042-data", 1);
    region_init_io(&s->command_port, &i8042_command_ops, s, "i8042-cmd", 1);
    s->kbd = make_ps2(s, "ps2-kbd", "ps2kbd", IN_KBD, err);
    s->mouse = s->kbd ? make_ps2(s, "ps2-mouse", "ps2mouse", IN_MOUSE, err) : NULL;
    if (!s->mouse || !isa_map_ports(&s->isa, &s->data_port, 0x60, err) ||
        !isa_map_ports(&s->isa, &s->command_port, 0x64, err)) {
        i8042_unrealize(dev);
        return false;
    }
    return true;
}

static void i8042_reset(Device *dev)
{
    I8042 *s = container_of(dev, I8042, isa.dev);

    s->mode = MODE_KBD_INT | MODE_MOUSE_INT;
    s->status = STATUS_CMD | STATUS_UNLOCKED;
    s->outport = OUT_RESET | OUT_A20 | OUT_ONES;
    s->write_cmd = 0;
    s->pending = 0;
    s->obsrc = 0;
    s->obdata = s->cbdata = 0;
    timer_cancel(&s->throttle);
    empty_buffer(s);
}

/* ---- state ------------------------------------------------------------------------- */

/* What the output port holds when nobody wrote it. */
static uint8_t default_outport(const I8042 *s)
{
    return OUT_RESET | OUT_A20 | OUT_ONES | (s->status & STATUS_OBF ? OUT_OBF : 0) |
           (s->status & STATUS_MOUSE_OBF ? OUT_MOUSE_OBF : 0);
}

static void i8042_pre_save(void *obj)
{
    I8042 *s = obj;

    s->migration_flags = timer_pending(&s->throttle) ? FLAG_THROTTLED : 0;
    s->pending_tmp = s->pending;
    if (!s->extended_state) {
        s->pending_tmp = (s->pending & (PENDING_KBD | PENDING_CTRL_KBD) ? PENDING_KBD_COMPAT : 0) |
                         (s->pending & (PENDING_AUX | PENDING_CTRL_AUX) ? PENDING_AUX_COMPAT : 0);
    }
}

static bool i8042_pre_load(void *obj, GError **err)
{
    I8042 *s = obj;

    STATE_KEEP(s->extended_loaded);
    STATE_KEEP(s->outport_loaded);
    s->extended_loaded = s->outport_loaded = false;
    return true;
}

static bool outport_post_load(void *obj, unsigned version, GError **err)
{
    ((I8042 *)obj)->outport_loaded = true;
    return true;
}

static bool extended_post_load(void *obj, unsigned version, GError **err)
{
    I8042 *s = obj;

    s->extended_loaded = true;
    return true;
}

static bool i8042_post_load(void *obj, unsigned version, GError **err)
{
    I8042 *s = obj;

    s->pending = s->pending_tmp;
    if (!s->extended_loaded) {
        /* An old stream does not say whose byte it is: a device's. */
        s->pending = (s->pending_tmp & PENDING_KBD_COMPAT ? PENDING_KBD : 0) |
                     (s->pending_tmp & PENDING_AUX_COMPAT ? PENDING_AUX : 0);
        s->obsrc = !(s->status & STATUS_OBF)      ? 0
                   : s->status & STATUS_MOUSE_OBF ? SOURCE_MOUSE
                                                  : SOURCE_KBD;
        s->migration_flags = 0;
    }
    if (!s->outport_loaded) {
        s->outport = default_outport(s);
    }
    timer_cancel(&s->throttle);
    if (s->kbd_throttle && (s->migration_flags & FLAG_THROTTLED)) {
        timer_arm(&s->throttle, clock_now(s->isa.dev.vm, CLOCK_VIRTUAL) + THROTTLE_NS);
    }
    return true;
}

static bool outport_needed(void *obj)
{
    I8042 *s = obj;

    return s->outport != default_outport(s);
}
static bool extended_needed(void *obj)
{
    return ((I8042 *)obj)->extended_state;
}

static const StateField outport_fields[] = {STATE_U8(I8042, outport), {}};
static const StateDesc outport_state = {
    .name = "pckbd_outport",
    .version = 1,
    .min_version = 1,
    .needed = outport_needed,
    .post_load = outport_post_load,
    .fields = outport_fields,
};
static const StateField extended_fields[] = {
    STATE_U32(I8042, migration_flags),
    STATE_U32(I8042, obsrc, .max = SOURCE_KBD | SOURCE_MOUSE | SOURCE_CTRL),
    STATE_U8(I8042, obdata),
    STATE_U8(I8042, cbdata),
    {}};
static const StateDesc extended_state = {
    .name = "pckbd/extended_state",
    .version = 0,
    .min_version = 0,
    .needed = extended_needed,
    .post_load = extended_post_load,
    .fields = extended_fields,
};
static const StateDesc *const kbd_subsections[] = {&outport_state, &extended_state, NULL};

static const StateField kbd_fields[] = {STATE_U8(I8042, write_cmd),
                                        STATE_U8(I8042, status),
                                        STATE_U8(I8042, mode),
                                        STATE_U8(I8042, pending_tmp),
                                        {}};
static const StateDesc kbd_state = {
    .name = "pckbd",
    .version = 3,
    .min_version = 3,
    .fields = kbd_fields,
    .subsections = kbd_subsections,
    .pre_save = i8042_pre_save,
    .pre_load = i8042_pre_load,
    .post_load = i8042_post_load,
};
/* QEMU's controller is a part of its ISA device, and so is its state. */
static const StateField i8042_fields[] = {
    {.name = "kbd", .kind = &state_kind_struct, .offset = 0, .count = 1, .desc = &kbd_state}, {}};
static const StateDesc i8042_state = {
    .name = "pckbd",
    .version = 3,
    .min_version = 3,
    .fields = i8042_fields,
};

static const Property i8042_props[] = {
    PROP_BOOL("extended-state", I8042, extended_state, .def = true,
              .help = "save the output buffer's source and bytes"),
    PROP_BOOL("kbd-throttle", I8042, kbd_throttle, .def = false,
              .help = "at least 1 ms between two bytes of the keyboard"),
    PROP_U8("kbd-irq", I8042, kbd_irq, .def = 1, .max = ISA_NUM_IRQS - 1,
            .help = "ISA line of the keyboard"),
    PROP_U8("mouse-irq", I8042, mouse_irq, .def = 12, .max = ISA_NUM_IRQS - 1,
            .help = "ISA line of the mouse"),
    {}};

DEVICE_TYPE(i8042) = {
    .name = "i8042",
    .parent = "isa-device",
    .desc = "PS/2 keyboard and mouse controller",
    .size = sizeof(I8042),
    .category = "input",
    .not_user = "it is part of the board; leave it out",
    .props = i8042_props,
    .state = &i8042_state,
    .realize = i8042_realize,
    .unrealize = i8042_unrealize,
    .reset = i8042_reset,
};
