/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mux: one terminal for several users (a serial port and the monitor). Output of all goes out;
 * input goes to the one in focus. C-a (or -echr's key) starts a command; its list is in mux_help.
 *
 * Input for a user that takes none now is kept, a few bytes, so that C-a still works meanwhile.
 */
#include <stdio.h>
#include <time.h>

#include "chardev/backend.h"
#include "util/fifo.h"

#define MUX_PORTS 4
#define MUX_BUFFER 32

typedef struct Mux {
    Chardev chr;
    CharPort *base;          /* our port of the real back end */
    unsigned focus;          /* index of the port that gets input */
    bool escaped;            /* the escape key came */
    bool timestamps, at_line_start;
    bool waits_writable;     /* a charport_on_writable of the base is out */
    int64_t timestamp_zero;  /* when time stamps were switched on, monotonic ns */
    Fifo8 input[MUX_PORTS];
    uint8_t input_data[MUX_PORTS][MUX_BUFFER];
} Mux;

static Mux *mux_of(Chardev *chr) { return container_of(chr, Mux, chr); }

/* ---- output ------------------------------------------------------------------------ */

static void write_timestamp(Mux *mux)
{
    int64_t ms = (clock_monotonic_ns() - mux->timestamp_zero) / NSEC_PER_MSEC;
    char text[40];
    int len = snprintf(text, sizeof text, "[%02d:%02d:%02d.%03d] ", (int)(ms / 3600000),
                       (int)(ms / 60000 % 60), (int)(ms / 1000 % 60), (int)(ms % 1000));

    charport_write_all(mux->base, text, (size_t)len);
}

static ssize_t mux_write(Chardev *chr, const uint8_t *data, size_t len)
{
    Mux *mux = mux_of(chr);

    if (!mux->timestamps) {
        return (ssize_t)charport_write(mux->base, data, len);
    }
    for (size_t i = 0; i < len; i++) {
        if (mux->at_line_start) {
            mux->at_line_start = false;
            write_timestamp(mux);
        }
        if (charport_write(mux->base, &data[i], 1) == 0) {
            return (ssize_t)i;
        }
        mux->at_line_start = data[i] == '\n';
    }
    return (ssize_t)len;
}

static void mux_write_all(Chardev *chr, const uint8_t *data, size_t len)
{
    Mux *mux = mux_of(chr);

    while (len) {
        const uint8_t *end = mux->timestamps ? memchr(data, '\n', len) : NULL;
        size_t n = end ? (size_t)(end - data) + 1 : len;

        if (mux->timestamps && mux->at_line_start) {
            write_timestamp(mux);
        }
        charport_write_all(mux->base, data, n);
        mux->at_line_start = data[n - 1] == '\n';
        data += n;
        len -= n;
    }
}

static size_t mux_pending(const Chardev *chr)
{
    return charport_pending(container_of(chr, const Mux, chr)->base);
}

static void base_writable(void *opaque)
{
    Mux *mux = opaque;

    mux->waits_writable = false;
    chardev_flush(&mux->chr);
}

static void mux_want_write(Chardev *chr, bool on)
{
    Mux *mux = mux_of(chr);

    if (on && !mux->waits_writable) {
        mux->waits_writable = true;
        charport_on_writable(mux->base, base_writable, mux);
    }
}

/* ---- focus and keys ---------------------------------------------------------------- */

static CharPort *focused(Mux *mux)
{
    CharPort *port = mux->chr.ports[mux->focus];

    return port && port->ops ? port : NULL;
}

static void set_focus(Mux *mux, unsigned focus)
{
    if (focus == mux->focus) {
        return;
    }
    charport_event(focused(mux), CHAR_EVENT_MUX_OUT);
    mux->focus = focus;
    charport_event(focused(mux), CHAR_EVENT_MUX_IN);
}

/* False: there is no other user. */
static bool next_focus(Mux *mux)
{
    for (unsigned i = 1; i <= MUX_PORTS; i++) {
        unsigned n = (mux->focus + i) % MUX_PORTS;

        if (mux->chr.ports[n] && mux->chr.ports[n]->ops) {
            set_focus(mux, n);
            return i < MUX_PORTS;
        }
    }
    return false;
}

static void say(Mux *mux, const char *text)
{
    charport_write_all(mux->base, text, strlen(text));
}

static void mux_help(Mux *mux, int key)
{
    static const char *const lines[] = {
        "h    this list", "x    end the emulator", "s    save disk data (not available)",
        "t    console time stamps on or off", "b    send a break (magic SysRq)",
        "c    switch between console and monitor",
    };
    char name[8];

    snprintf(name, sizeof name, "C-%c", key + (key > 26 ? '@' : 'a' - 1)); /* C-a, C-] */
    say(mux, "\r\n");
    for (unsigned i = 0; i < G_N_ELEMENTS(lines); i++) {
        g_autofree char *line = g_strdup_printf("%s %s\r\n", name, lines[i]);

        say(mux, line);
    }
    g_autofree char *last = g_strdup_printf("%s %s  send %s itself\r\n", name, name, name);
    say(mux, last);
}

/* The key after the escape key. True when the byte is for the user. */
static bool mux_command(Mux *mux, uint8_t key, int escape)
{
    if (key == escape) {
        return true;
    }
    switch (key) {
    case '?':
    case 'h':
        mux_help(mux, escape);
        break;
    case 'x':
        say(mux, "\r\nKiln: terminated\r\n");
        vm_request_shutdown(mux->chr.obj.vm, SHUTDOWN_CAUSE_HOST_UI);
        break;
    case 's':
        say(mux, "\r\nSaving disk data is not available: there are no snapshot=on disks yet\r\n");
        break;
    case 'b':
        charport_event(focused(mux), CHAR_EVENT_BREAK);
        break;
    case 'c':
        if (!next_focus(mux)) {
            say(mux, "\r\nThere is nothing to switch to: this console has no monitor\r\n");
        }
        break;
    case 't':
        mux->timestamps = !mux->timestamps;
        mux->at_line_start = false;
        mux->timestamp_zero = clock_monotonic_ns();
        break;
    default:
        break;
    }
    return false;
}

static bool is_for_user(Mux *mux, uint8_t byte)
{
    int escape = char_state(mux->chr.obj.vm)->escape;

    if (mux->escaped) {
        mux->escaped = false;
        return mux_command(mux, byte, escape);
    }
    if (byte == escape) {
        mux->escaped = true;
        return false;
    }
    return true;
}

/* ---- input ------------------------------------------------------------------------- */

static void deliver_input(Mux *mux, unsigned n)
{
    Fifo8 *fifo = &mux->input[n];
    CharPort *port;
    uint8_t byte;

    while (!fifo8_is_empty(fifo) && (port = mux->chr.ports[n]) && port->ops &&
           port->ops->can_receive && port->ops->can_receive(port->opaque) > 0) {
        fifo8_pop(fifo, &byte);
        port->ops->receive(port->opaque, &byte, 1);
    }
}

static size_t base_can_receive(void *opaque)
{
    Mux *mux = opaque;

    return fifo8_free(&mux->input[mux->focus]);
}

static void base_receive(void *opaque, const uint8_t *data, size_t len)
{
    Mux *mux = opaque;

    object_ref(&mux->chr.obj);
    for (size_t i = 0; i < len; i++) {
        if (is_for_user(mux, data[i]) && focused(mux)) {
            fifo8_push(&mux->input[mux->focus], data[i]);
        }
    }
    for (unsigned n = 0; n < MUX_PORTS; n++) {
        deliver_input(mux, n);
    }
    object_unref(&mux->chr.obj);
}

static void base_event(void *opaque, CharEvent event)
{
    Mux *mux = opaque;

    if (event == CHAR_EVENT_BREAK) {
        charport_event(focused(mux), event);
    } else if (event == CHAR_EVENT_OPENED || event == CHAR_EVENT_CLOSED) {
        chardev_event(&mux->chr, event);
    }
}

static void mux_update_read(Chardev *chr)
{
    Mux *mux = mux_of(chr);

    object_ref(&chr->obj);
    for (unsigned n = 0; n < MUX_PORTS; n++) {
        deliver_input(mux, n);
    }
    charport_accept_input(mux->base);
    object_unref(&chr->obj);
}

/* ---- life -------------------------------------------------------------------------- */

static const CharPortOps base_ops = {
    .can_receive = base_can_receive,
    .receive = base_receive,
    .event = base_event,
};

static bool mux_open(Chardev *chr, GError **err)
{
    Mux *mux = mux_of(chr);

    mux->base = charport_open(chr->obj.vm, chr->options->u.mux.data->chardev, err);
    if (!mux->base) {
        return false;
    }
    charport_set_ops(mux->base, &base_ops, mux);
    return true;
}

static void mux_close(Chardev *chr)
{
    Mux *mux = mux_of(chr);

    charport_close(mux->base);
    mux->base = NULL;
}

/* Who begins to listen last has the focus, as with QEMU: a monitor is there before the devices are, so that is the
 * serial port. It goes on when the user who has it leaves. */
static void mux_port_opened(Chardev *chr, CharPort *port, bool opened)
{
    Mux *mux = mux_of(chr);

    if (opened && (port->ops || !chr->ports[mux->focus])) {
        mux->focus = port->index;
    }
    if (!opened) {
        fifo8_reset(&mux->input[port->index]);
        if (port->index == mux->focus) {
            next_focus(mux);
        }
    }
}

static void mux_init(Object *obj)
{
    Mux *mux = container_of(obj, Mux, chr.obj);

    for (unsigned n = 0; n < MUX_PORTS; n++) {
        fifo8_init(&mux->input[n], mux->input_data[n], MUX_BUFFER);
    }
}

static void mux_set_line(Chardev *chr, const CharLine *line)
{
    charport_set_line(mux_of(chr)->base, line);
}
static void mux_send_break(Chardev *chr, bool on) { charport_send_break(mux_of(chr)->base, on); }
static bool mux_get_modem(Chardev *chr, int *lines)
{
    return charport_get_modem(mux_of(chr)->base, lines);
}
static bool mux_set_modem(Chardev *chr, int lines)
{
    return charport_set_modem(mux_of(chr)->base, lines);
}
static int mux_take_fd(Chardev *chr) { return charport_take_fd(mux_of(chr)->base); }

static const ChardevOps mux_ops = {
    .open = mux_open,
    .close = mux_close,
    .write = mux_write,
    .write_all = mux_write_all,
    .pending = mux_pending,
    .want_write = mux_want_write,
    .update_read = mux_update_read,
    .set_line = mux_set_line,
    .send_break = mux_send_break,
    .get_modem = mux_get_modem,
    .set_modem = mux_set_modem,
    .take_fd = mux_take_fd,
    .port_opened = mux_port_opened,
    .max_ports = MUX_PORTS,
    .unqueued = true,
};

KILN_TYPE(chardev_mux) = {
    .name = "chardev-mux",
    .parent = "chardev",
    .desc = "several users of one back end (mux=on)",
    .size = sizeof(Mux),
    .init = mux_init,
    .ops = &mux_ops,
};
