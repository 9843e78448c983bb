/* SPDX-License-Identifier: GPL-2.0-or-later */
/* "virtserialport" and "virtconsole": data between the queues of one port and its character device. */
#include "core/event.h"
#include "hw/virtio/virtio_serial.h"
#include "qapi/qapi-char.h"
#include "util/trace.h"

#define BUFFERS_AT_ONCE 64 /* of the guest's, before the main loop's others have their turn */
#define BYTES_AT_ONCE (128 * KIB) /* so, too: files take as much as they are given */

static SerialPort *serial_port(Device *dev) { return container_of(dev, SerialPort, dev); }

/* ---- from the guest ------------------------------------------------------------------------------- */

static void writable(void *opaque);

void serial_port_backlog_add(SerialPort *port, const uint8_t *data, size_t len)
{
    if (!port->backlog) {
        port->backlog = g_byte_array_new();
        port->backlog_at = 0;
    }
    g_byte_array_append(port->backlog, data, (guint)MIN(len, VIRTIO_SERIAL_BACKLOG - (port->backlog->len - port->backlog_at)));
}

void serial_port_backlog_took(SerialPort *port, size_t n)
{
    port->backlog_at += n;
    if (port->backlog_at == port->backlog->len) {
        g_clear_pointer(&port->backlog, g_byte_array_unref);
    } else if (port->backlog_at >= VIRTIO_SERIAL_BACKLOG) { /* not each time: the rest has to move */
        g_byte_array_remove_range(port->backlog, 0, (guint)port->backlog_at);
        port->backlog_at = 0;
    }
}

/* What the other side takes of len bytes now. */
static size_t write_now(SerialPort *port, const uint8_t *data, size_t len)
{
    size_t done = charport_write(port->chr, data, len);

    port->failed = false; /* what was wrong is seen here */
    while (done < len) {
        size_t n;

        charport_flush(port->chr);
        n = charport_write(port->chr, data + done, len - done);
        done += n;
        if (!n) {
            break;
        }
    }
    return done;
}

static void wait_writable(SerialPort *port)
{
    trace(virtio_serial_blocked, "port %u", port->id);
    port->blocked = true;
    charport_on_writable(port->chr, writable, port);
}

void serial_port_wait_writable(SerialPort *port)
{
    if (port->out || port->backlog) {
        wait_writable(port);
    }
}

/* A console never waits: what does not go now is kept, and what does not fit there is lost. */
static void console_write(SerialPort *port, const uint8_t *data, size_t len)
{
    size_t done = port->backlog ? 0 : write_now(port, data, len);

    if (done < len) {
        serial_port_backlog_add(port, data + done, len - done);
        wait_writable(port);
    }
}

static void backlog_write(SerialPort *port)
{
    const size_t at = port->backlog_at;

    serial_port_backlog_took(port, write_now(port, port->backlog->data + at, port->backlog->len - at));
    if (port->backlog) {
        wait_writable(port);
    }
}

/* Goes on with port->out, *room bytes at most. False: the rest has to wait. The other side may close the port meanwhile. */
static bool write_out(SerialPort *port, uint64_t *room)
{
    uint64_t at = 0;

    for (unsigned i = 0; i < port->out->out_count; i++) {
        const struct iovec piece = port->out->out[i];
        const uint64_t skip = port->out_done > at ? MIN(port->out_done - at, piece.iov_len) : 0;
        const uint8_t *data = (const uint8_t *)piece.iov_base + skip;
        const size_t len = MIN(piece.iov_len - skip, *room);
        size_t done = len;

        at += piece.iov_len;
        if (skip == piece.iov_len || !port->host_open) {
            continue;
        }
        if (port->is_console) {
            console_write(port, data, len);
        } else {
            done = write_now(port, data, len);
        }
        port->out_done += done;
        *room -= done;
        if (port->out_done < at && port->host_open) {
            if (done < len) {
                wait_writable(port);
            }
            return false;
        }
    }
    return true;
}

/* The next buffer of the guest, or the rest of one, is written as far as it goes. False: there is none, or it has to wait. */
static bool write_next(SerialPort *port, uint64_t *room)
{
    if (!port->out) {
        port->out = virtqueue_pop(port->from_guest);
        port->out_done = 0;
    }
    return port->out && write_out(port, room);
}

/* What the character device keeps of them goes first: a guest that has its buffers back may switch itself off. */
static void give_back(SerialPort *port, VirtElement **elems, unsigned count)
{
    if (count) {
        charport_flush(port->chr);
    }
    for (unsigned i = 0; i < count; i++) {
        virtqueue_push(elems[i], 0);
    }
}

void serial_port_from_guest(SerialPort *port)
{
    uint64_t room = BYTES_AT_ONCE;
    VirtElement *done[BUFFERS_AT_ONCE];
    unsigned count = 0;

    if (port->direct || !port->serial->vdev.running || port->writing || (port->blocked && !port->is_console)) {
        port->again |= port->writing;
        return;
    }
    if (serial_port_go_direct(port)) {
        return;
    }
    port->writing = true;
    while (count < BUFFERS_AT_ONCE && write_next(port, &room)) {
        done[count++] = g_steal_pointer(&port->out);
    }
    give_back(port, done, count);
    port->writing = false;
    if (count == BUFFERS_AT_ONCE || !room || port->again) {
        port->again = false;
        virtqueue_again(port->from_guest);
    }
}

static void writable(void *opaque)
{
    SerialPort *port = opaque;

    if (port->direct) {
        return; /* asked for before */
    }
    trace(virtio_serial_unblocked, "port %u", port->id);
    port->blocked = false;
    if (port->backlog && !serial_port_go_direct(port)) {
        backlog_write(port);
    }
    serial_port_from_guest(port);
}

void serial_port_emergency_write(SerialPort *port, uint8_t byte)
{
    serial_port_go_back(port);
    console_write(port, &byte, 1);
}

/* ---- to the guest ---------------------------------------------------------------------------------- */

static size_t can_receive(void *opaque)
{
    SerialPort *port = opaque;

    if (!port->serial->vdev.running || !port->guest_open || port->reading) {
        return 0;
    }
    while (!port->in) {
        port->in = virtqueue_pop(port->to_guest);
        if (!port->in) {
            return 0;
        }
        if (!port->in->in_size) {
            virtqueue_push(g_steal_pointer(&port->in), 0);
        }
    }
    return port->in->in_size;
}

/* Each burst goes to the guest at once, whether it fills the buffer or not. */
static void receive(void *opaque, const uint8_t *data, size_t len)
{
    SerialPort *port = opaque;

    while (len && can_receive(port)) {
        const size_t n = virt_element_write(port->in, 0, data, len);

        virtqueue_push(g_steal_pointer(&port->in), n);
        data += n;
        len -= n;
    }
    port->input_failed = false; /* nothing is wrong any more */
    serial_port_start_reading(port);
}

void serial_port_to_guest(SerialPort *port)
{
    if (!serial_port_start_reading(port)) {
        charport_accept_input(port->chr);
    }
}

/* ---- open and closed --------------------------------------------------------------------------------- */

void serial_port_set_guest_open(SerialPort *port, bool open)
{
    port->guest_open = open;
    if (!open) {
        serial_port_stop_reading(port);
    }
    if (!port->is_console) {
        charport_set_open(port->chr, open);
    }
    if (port->dev.id) {
        VserportChangeEvent event = {.id = port->dev.id, .open = open};

        vm_emit_event(port->dev.vm, &qapi_event_VSERPORT_CHANGE, &event);
    }
    if (open) {
        serial_port_to_guest(port);
    }
}

/* Data for a side that is not there is dropped. */
void serial_port_set_host_open(SerialPort *port, bool open)
{
    if (port->host_open == open) {
        return;
    }
    serial_port_go_back(port);
    port->host_open = open;
    if (!open) {
        port->blocked = false;
        serial_port_from_guest(port);
    }
    virtio_serial_tell(port->serial, port, UNTOLD_OPEN);
}

/* The host's end of a console is always open. */
static void on_event(void *opaque, CharEvent event)
{
    SerialPort *port = opaque;

    if (!port->is_console && (event == CHAR_EVENT_OPENED || event == CHAR_EVENT_CLOSED)) {
        serial_port_set_host_open(port, event == CHAR_EVENT_OPENED);
    }
    if (event == CHAR_EVENT_OPENED) {
        port->input_failed = false;
        serial_port_start_reading(port);
    }
}

static void return_output(void *opaque) { serial_port_go_back(opaque); }
static void return_input(void *opaque) { serial_port_stop_reading(opaque); }

static const CharPortOps char_ops = {.can_receive = can_receive, .receive = receive, .event = on_event,
                                     .return_output = return_output, .return_input = return_input};

void serial_port_quiesce(SerialPort *port)
{
    if (port->in) {
        virtqueue_unpop(g_steal_pointer(&port->in));
    }
}

void serial_port_drop(SerialPort *port)
{
    if (port->out) {
        virtqueue_drop(g_steal_pointer(&port->out));
    }
    if (!port->backlog) {
        port->blocked = false;
    }
}

/* ---- life ------------------------------------------------------------------------------------------------ */

static bool port_realize(Device *dev, GError **err)
{
    SerialPort *port = serial_port(dev);

    port->is_console = object_is_a(dev, "virtconsole");
    if (!virtio_serial_plug(virtio_serial(virtio_device(dev->bus->owner)), port, err)) {
        return false;
    }
    if (!port->is_console) {
        charport_set_open(port->chr, false);
    }
    charport_set_ops(port->chr, &char_ops, port);
    if (port->is_console) {
        serial_port_set_host_open(port, port->chr != NULL);
    }
    return true;
}

/* The guest has its buffers back. */
static void port_unrealize(Device *dev)
{
    SerialPort *port = serial_port(dev);

    serial_port_go_back(port);
    serial_port_stop_reading(port);
    charport_on_writable(port->chr, NULL, NULL);
    charport_set_ops(port->chr, NULL, NULL);
    port->host_open = port->blocked = false;
    serial_port_from_guest(port);
    serial_port_quiesce(port);
    serial_port_drop(port);
    g_clear_pointer(&port->backlog, g_byte_array_unref);
    virtio_serial_unplug(port);
}

static const Property port_props[] = {
    PROP_U32("nr", SerialPort, id, .def = VIRTIO_SERIAL_NO_ID, .help = "its number, below max_ports; default: the next free one"),
    PROP_STRING("name", SerialPort, name, .help = "how the guest finds it: org.qemu.guest_agent.0"),
    PROP_CHARDEV("chardev", SerialPort, chr, .help = "character device; default: data is dropped"),
    {}};

DEVICE_TYPE(virtio_serial_port) = {
    .name = "virtio-serial-port",
    .parent = "device",
    .abstract = true,
    .bus = "virtio-serial-bus",
    .category = "input",
    .size = sizeof(SerialPort),
    .props = port_props,
    .realize = port_realize,
    .unrealize = port_unrealize,
};

DEVICE_TYPE(virtserialport) = {
    .name = "virtserialport",
    .parent = "virtio-serial-port",
    .desc = "Port of a virtio-serial device that guests find by its name",
};

DEVICE_TYPE(virtconsole) = {
    .name = "virtconsole",
    .parent = "virtserialport",
    .desc = "Console of a virtio-serial device",
};
