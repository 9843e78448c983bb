/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the guest writes to a port, past the main loop: while the character device's output can be borrowed (chardev/char.h),
 * the thread of the rings takes buffers and writes them itself, as many at once as there are, and waits for the reader.
 *
 *   main loop, lent buffers --- all was written, output borrowed ---> thread: port->direct
 *                           <-- the queue stops, the output is wanted back, or writing failed ---
 *
 * The way back begins in the main loop, which waits for the thread and then finds the port as it would have left it itself: a
 * buffer that is half written, a console's backlog. So states, resets and errors know nothing of this.
 */
#include <errno.h>
#include <sys/epoll.h>

#include "hw/virtio/virtio_serial.h"
#include "util/trace.h"

/* ---- a batch: in the thread ---------------------------------------------------------------------------------- */

/* From port->out_done of the first on. True: that was begun, it is port->out. */
static bool gather(SerialPort *port, SerialBatch *b)
{
    VirtElement *e = g_steal_pointer(&port->out);
    const bool begun = e != NULL;
    uint64_t skip = begun ? port->out_done : 0;

    serial_batch_begin(b);
    if (!e) {
        port->out_done = 0;
        e = virtqueue_pop(port->from_guest);
    }
    while (e) {
        const bool room = serial_batch_add(b, e, e->out, e->out_count, skip);
        skip = 0;
        e = room && b->count < SERIAL_BATCH_BUFFERS ? virtqueue_pop(port->from_guest) : NULL;
    }
    return begun;
}

/* taken bytes of it need not be kept. What was not begun goes back into the ring. */
static void give_back(SerialPort *port, const SerialBatch *b, bool begun, uint64_t taken)
{
    unsigned i, rest;

    for (i = 0; i < b->count; i++) {
        const uint64_t left = b->elems[i]->out_size - port->out_done;

        if (taken < left) {
            break;
        }
        taken -= left;
        port->out_done = 0;
        virtqueue_push(b->elems[i], 0);
    }
    rest = i;
    if (i < b->count && (taken || (begun && !i))) {
        port->out = b->elems[rest++];
        port->out_done += taken;
    }
    serial_batch_unpop(b, rest);
}

/* ---- waiting: in the thread ------------------------------------------------------------------------------------ */

static void write_all(SerialPort *port);

static void fall_back(VirtioDevice *vdev)
{
    const VirtioSerial *s = virtio_serial(vdev);

    for (unsigned i = 0; i < s->ports->len; i++) {
        SerialPort *port = g_ptr_array_index(s->ports, i);

        if (__atomic_load_n(&port->failed, __ATOMIC_RELAXED)) {
            serial_port_go_back(port);
        }
    }
}

static void wait_no_more(SerialPort *port)
{
    loop_fd_remove(g_steal_pointer(&port->full));
    port->blocked = false;
}

/* The main loop is to see what is wrong there. */
static void fail(SerialPort *port, int errnum)
{
    trace(virtio_serial_direct_failed, "port %u: %d", port->id, errnum);
    wait_no_more(port);
    port->blocked = true;
    virtqueue_pause(port->from_guest);
    if (!__atomic_exchange_n(&port->failed, true, __ATOMIC_RELAXED)) {
        virtio_post_main(&port->serial->vdev, fall_back);
    }
}

static void on_room(void *opaque, uint32_t events)
{
    SerialPort *port = opaque;

    trace(virtio_serial_unblocked, "port %u", port->id);
    wait_no_more(port);
    write_all(port);
    virtqueue_flush(port->from_guest);
    if (!port->blocked) {
        virtqueue_resume(port->from_guest);
    }
}

static void wait_for_room(SerialPort *port)
{
    trace(virtio_serial_blocked, "port %u", port->id);
    port->full = loop_fd_add(port->serial->vdev.loop, port->output.fd, EPOLLOUT, on_room, port);
    if (!port->full) {
        fail(port, errno);
        return;
    }
    port->blocked = true;
    if (!port->is_console) {
        virtqueue_pause(port->from_guest);
    }
}

/* ---- writing: in the thread -------------------------------------------------------------------------------------- */

/* Bytes taken; fewer: port->blocked, or it failed, which looks like it. A console tries again whenever the guest says something
 * more: the reader may have been faster than the loop that tells of it. */
static size_t write_now(SerialPort *port, const struct iovec *pieces, unsigned count, size_t size)
{
    ssize_t n;

    if (!size || port->failed) {
        return 0;
    }
    do {
        n = char_output_write(&port->output, pieces, count);
    } while (n < 0 && errno == EINTR);
    if (n == 0 || (n < 0 && errno != EAGAIN)) {
        fail(port, n ? errno : EIO);
    } else if (n == (ssize_t)size) {
        wait_no_more(port);
    } else if (!port->blocked) {
        wait_for_room(port);
    }
    return n > 0 ? (size_t)n : 0;
}

static void keep_in_backlog(SerialPort *port, const SerialBatch *b, size_t done)
{
    for (unsigned i = 0; i < b->n_pieces; i++) {
        const struct iovec piece = b->pieces[i];
        const size_t skip = MIN(done, piece.iov_len);

        done -= skip;
        if (skip < piece.iov_len) {
            serial_port_backlog_add(port, (const uint8_t *)piece.iov_base + skip, piece.iov_len - skip);
        }
    }
}

/* False: it is full there, or fails. */
static bool write_backlog(SerialPort *port)
{
    if (port->backlog) {
        const struct iovec piece = {port->backlog->data + port->backlog_at, port->backlog->len - port->backlog_at};

        serial_port_backlog_took(port, write_now(port, &piece, 1, piece.iov_len));
    }
    return !port->backlog;
}

/* False: there is no more, or it has to wait. */
static bool write_batch(SerialPort *port)
{
    SerialBatch b;
    size_t taken;
    bool begun;

    if (port->failed || (port->blocked && !port->is_console)) {
        return false;
    }
    begun = gather(port, &b);
    taken = write_backlog(port) ? write_now(port, b.pieces, b.n_pieces, b.size) : 0;
    if (taken < b.size && port->is_console) { /* whose driver does not wait */
        keep_in_backlog(port, &b, taken);
        taken = b.size;
    }
    give_back(port, &b, begun, taken);
    return b.count && taken == b.size;
}

static void write_all(SerialPort *port)
{
    const int64_t end = clock_monotonic_ns() + SERIAL_TURN_NS;

    while (write_batch(port)) {
        virtqueue_flush(port->from_guest);
        if (clock_monotonic_ns() >= end) {
            virtqueue_again(port->from_guest);
            break;
        }
    }
}

static void handle_kept(VirtioDevice *vdev, VirtQueue *vq) { write_all(virtio_serial_port_of(vdev, vq)); }

/* ---- to and fro: in the main loop ------------------------------------------------------------------------------------ */

static void go_here(void *opaque)
{
    SerialPort *port = opaque;

    port->direct = true;
    virtio_queue_keep(port->from_guest, handle_kept);
    virtqueue_again(port->from_guest);
}

static void go_back_here(void *opaque)
{
    SerialPort *port = opaque;

    wait_no_more(port);
    port->direct = false;
    virtio_queue_keep(port->from_guest, NULL);
}

void serial_port_go_back(SerialPort *port)
{
    if (port->direct) {
        trace(virtio_serial_direct, "port %u: 0", port->id);
        virtio_call(&port->serial->vdev, go_back_here, port);
        charport_return_output(port->chr);
        serial_port_wait_writable(port);
    }
}

bool serial_port_go_direct(SerialPort *port)
{
    if (port->failed || port->writing || port->blocked || !port->host_open || !port->serial->vdev.running ||
        !virtqueue_takes(port->from_guest) || !charport_borrow_output(port->chr, &port->output)) {
        return false;
    }
    trace(virtio_serial_direct, "port %u: 1", port->id);
    virtio_call(&port->serial->vdev, go_here, port);
    return true;
}
