/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-serial's own part of its state, as QEMU 7.2 has it: cols, rows and max_nr_ports of the configuration; a bit for
 * each port that is there (port 0 always); how many ports; each port's number, guest_open, host_open, and if a buffer of the
 * guest is being written, 1, the piece and the offset in it where that goes on, and the buffer (virtqueue_saved.c).
 */
#include "hw/virtio/virtio_serial.h"

typedef struct LoadedPort {
    uint32_t id;
    bool guest_open, host_open, has_out;
    uint64_t out_done;
    VirtSavedElement out;
} LoadedPort;

static uint32_t map_word(const VirtioSerial *s, unsigned word)
{
    uint32_t bits = word ? 0 : 1;

    for (unsigned i = 0; i < 32 && 32 * word + i < s->max_ports; i++) {
        bits |= s->by_id[32 * word + i] ? 1u << i : 0;
    }
    return bits;
}

static unsigned map_words(const VirtioSerial *s) { return (s->max_ports + 31) / 32; }

static void save_port(const VirtioSerial *s, StateBuf *buf, const SerialPort *port)
{
    uint64_t offset = port->out_done;
    uint32_t piece = 0;

    state_put_be(buf, port->id, 4);
    state_put_be(buf, port->guest_open, 1);
    state_put_be(buf, port->host_open != !!(port->untold & UNTOLD_OPEN), 1); /* as the guest knows it */
    state_put_be(buf, port->out != NULL, 4);
    if (port->out) {
        while (piece + 1 < port->out->out_count && offset >= port->out->out[piece].iov_len) {
            offset -= port->out->out[piece++].iov_len;
        }
        state_put_be(buf, piece, 4);
        state_put_be(buf, offset, 8);
        virt_element_save(&s->vdev, buf, port->out);
    }
}

void virtio_serial_save(VirtioDevice *vdev, StateBuf *buf)
{
    const VirtioSerial *s = virtio_serial(vdev);

    state_put_be(buf, 0, 2);
    state_put_be(buf, 0, 2);
    state_put_be(buf, s->max_ports, 4);
    for (unsigned i = 0; i < map_words(s); i++) {
        state_put_be(buf, map_word(s, i), 4);
    }
    state_put_be(buf, s->ports->len, 4);
    for (unsigned i = 0; i < s->ports->len; i++) {
        save_port(s, buf, g_ptr_array_index(s->ports, i));
    }
}

/* ---- loading ------------------------------------------------------------------------------------------ */

static void clear_port(void *data) { virt_saved_element_clear(&((LoadedPort *)data)->out); }

void virtio_serial_free_loaded(VirtioSerial *s)
{
    if (s->loaded) {
        g_array_free(g_steal_pointer(&s->loaded), true);
    }
}

static bool load_out(const VirtioSerial *s, StateBuf *buf, LoadedPort *port, GError **err)
{
    const uint64_t piece = state_get_be(buf, 4), offset = state_get_be(buf, 8);

    if (!virt_element_load(&s->vdev, buf, &port->out, err)) {
        return false;
    }
    if (piece >= port->out.out || offset > port->out.lens[piece]) {
        return error_set(err, "port %u is at byte %" PRIu64 " of piece %" PRIu64 " of %u", port->id, offset, piece,
                         port->out.out);
    }
    port->out_done = offset;
    for (uint64_t i = 0; i < piece; i++) {
        port->out_done += port->out.lens[i];
    }
    port->has_out = true;
    return true;
}

static bool load_port(const VirtioSerial *s, StateBuf *buf, LoadedPort *port, GError **err)
{
    uint64_t has_out;

    port->id = (uint32_t)state_get_be(buf, 4);
    port->guest_open = state_get_be(buf, 1) & 1;
    port->host_open = state_get_be(buf, 1) & 1;
    has_out = state_get_be(buf, 4);
    if (buf->failed || has_out > 1 || port->id >= s->max_ports || !s->by_id[port->id]) {
        return error_set(err, "port %u is not here", port->id);
    }
    return !has_out || load_out(s, buf, port, err);
}

static bool load_map(const VirtioSerial *s, StateBuf *buf, GError **err)
{
    for (unsigned i = 0; i < map_words(s); i++) {
        const uint32_t theirs = (uint32_t)state_get_be(buf, 4), ours = map_word(s, i);

        if (theirs != ours) {
            return error_set(err, "ports %u to %u are 0x%08x in the state and 0x%08x here (a bit each): plug the same ports",
                             32 * i, 32 * i + 31, theirs, ours);
        }
    }
    return true;
}

static bool is_loaded(const VirtioSerial *s, uint32_t id)
{
    for (unsigned i = 0; i < s->loaded->len; i++) {
        if (g_array_index(s->loaded, LoadedPort, i).id == id) {
            return true;
        }
    }
    return false;
}

bool virtio_serial_load(VirtioDevice *vdev, StateBuf *buf, uint64_t features, GError **err)
{
    VirtioSerial *s = virtio_serial(vdev);
    uint64_t count;

    virtio_serial_free_loaded(s);
    s->loaded = g_array_new(false, true, sizeof(LoadedPort));
    g_array_set_clear_func(s->loaded, clear_port);
    state_get_be(buf, 8); /* of the configuration, which is the device's own */
    if (!load_map(s, buf, err)) {
        return false;
    }
    count = state_get_be(buf, 4);
    if (count > s->ports->len) {
        return error_set(err, "%" PRIu64 " ports in the state, %u here", count, s->ports->len);
    }
    for (uint64_t i = 0; i < count; i++) {
        LoadedPort port = {0};

        if (!load_port(s, buf, &port, err)) {
            clear_port(&port);
            return false;
        }
        if (is_loaded(s, port.id)) {
            clear_port(&port);
            return error_set(err, "port %u comes twice", port.id);
        }
        g_array_append_val(s->loaded, port);
    }
    return true;
}

static void take_port(VirtioSerial *s, const LoadedPort *loaded)
{
    SerialPort *port = s->by_id[loaded->id];
    g_autoptr(GError) why = NULL;

    if (!port) {
        return; /* unplugged since the state was read */
    }
    if (loaded->has_out) {
        port->out = virt_saved_element_adopt(port->from_guest, &loaded->out, &why);
        port->out_done = loaded->out_done;
        if (!port->out) {
            virtio_broken(&s->vdev, "%s", why->message);
        }
    }
    if (loaded->host_open != port->host_open) {
        port->untold |= UNTOLD_OPEN;
    }
    serial_port_set_guest_open(port, loaded->guest_open);
}

void virtio_serial_take_loaded(VirtioDevice *vdev)
{
    VirtioSerial *s = virtio_serial(vdev);

    for (unsigned i = 0; s->loaded && i < s->loaded->len; i++) {
        take_port(s, &g_array_index(s->loaded, LoadedPort, i));
    }
    virtio_serial_free_loaded(s);
}
