/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the host sends to a port, past the main loop: while the character device's input can be borrowed (chardev/char.h), the
 * thread of the rings waits for it, reads into the guest's buffers and shows them.
 *
 *   main loop, lent buffers --- the guest has the port open, input borrowed ---> thread: port->reading
 *                           <-- the queue stops, the input is wanted back, its end, an error ---
 *
 * The thread waits either for input (port->input_source, and the driver need not tell of buffers) or for buffers, of which it
 * keeps none from one turn to the next. So nothing has to be saved, and a guest that gives no buffers holds up whoever writes
 * at the other side. Ends and errors the main loop sees itself, by reading once more.
 */
#include <errno.h>
#include <sys/epoll.h>

#include "hw/virtio/virtio_serial.h"
#include "util/trace.h"

typedef enum Outcome {
    FILLED,                   /* there may be more to read */
    DRY,                      /* there is not, now */
    STARVED,                  /* the guest has no buffers */
    FAILED                    /* the main loop is told */
} Outcome;

/* ---- a batch: in the thread ---------------------------------------------------------------------------------- */

static void gather(SerialPort *port, SerialBatch *b, unsigned max)
{
    VirtElement *e;

    serial_batch_begin(b);
    while (b->count < max && (e = virtqueue_pop(port->to_guest)) && serial_batch_add(b, e, e->in, e->in_count, 0)) {
    }
}

/* taken bytes were read into it. Buffers that got none go back into the ring, but for those that can get none. */
static void give_back(const SerialBatch *b, size_t taken)
{
    unsigned i;

    for (i = 0; i < b->count; i++) {
        VirtElement *e = b->elems[i];
        const size_t n = MIN(taken, e->in_size);

        if (!n && e->in_size) {
            break;
        }
        taken -= n;
        virtqueue_push(e, n);
    }
    serial_batch_unpop(b, i);
}

/* ---- reading: in the thread ------------------------------------------------------------------------------------ */

static void fall_back(VirtioDevice *vdev)
{
    const VirtioSerial *s = virtio_serial(vdev);

    for (unsigned i = 0; i < s->ports->len; i++) {
        SerialPort *port = g_ptr_array_index(s->ports, i);

        if (port->reading && __atomic_load_n(&port->input_failed, __ATOMIC_RELAXED)) {
            serial_port_stop_reading(port);
            charport_accept_input(port->chr);
        }
    }
}

static void wait_no_more(SerialPort *port) { loop_fd_remove(g_steal_pointer(&port->input_source)); }

/* The main loop is to see what is wrong there. */
static void fail(SerialPort *port, int errnum)
{
    trace(virtio_serial_input_failed, "port %u: %d", port->id, errnum);
    wait_no_more(port);
    virtqueue_pause(port->to_guest);
    if (!__atomic_exchange_n(&port->input_failed, true, __ATOMIC_RELAXED)) {
        virtio_post_main(&port->serial->vdev, fall_back);
    }
}

static Outcome read_batch(SerialPort *port, unsigned max)
{
    SerialBatch b;
    ssize_t n;
    int errnum;

    gather(port, &b, max);
    if (!b.count) {
        return STARVED;
    }
    if (!b.size) { /* nothing that could be written to */
        give_back(&b, 0);
        return FILLED;
    }
    n = char_input_read(&port->input, b.pieces, b.n_pieces);
    errnum = errno;
    trace(virtio_serial_read, "port %u: %zd of %zu", port->id, n, b.size);
    give_back(&b, n > 0 ? (size_t)n : 0);
    if (n > 0) {
        return n == (ssize_t)b.size ? FILLED : DRY;
    }
    if (n < 0 && (errnum == EAGAIN || errnum == EINTR)) {
        return DRY;
    }
    fail(port, n ? errnum : 0);
    return FAILED;
}

/* A key needs one buffer; who sends much gets more and more of them filled by one call. */
static Outcome read_all(SerialPort *port)
{
    const int64_t end = clock_monotonic_ns() + SERIAL_TURN_NS;
    Outcome outcome;

    for (unsigned max = 1; (outcome = read_batch(port, max)) == FILLED; max = MIN(4 * max, SERIAL_BATCH_BUFFERS)) {
        virtqueue_flush(port->to_guest);
        if (clock_monotonic_ns() >= end) {
            break;
        }
    }
    virtqueue_flush(port->to_guest);
    return outcome;
}

static void on_input(void *opaque, uint32_t events)
{
    SerialPort *port = opaque;

    if (read_all(port) == STARVED) {
        wait_no_more(port);
        virtqueue_resume(port->to_guest);
    }
}

/* The guest has buffers. */
static void handle_reading(VirtioDevice *vdev, VirtQueue *vq)
{
    SerialPort *port = virtio_serial_port_of(vdev, vq);
    Outcome outcome = port->input_failed ? FAILED : port->input_source ? DRY : read_all(port);

    if (outcome == STARVED) {
        return;
    }
    if (outcome != FAILED && !port->input_source) {
        port->input_source = loop_fd_add(vdev->loop, port->input.fd, EPOLLIN, on_input, port);
        if (!port->input_source) {
            fail(port, errno);
        }
    }
    virtqueue_pause(vq);
}

/* ---- to and fro: in the main loop ------------------------------------------------------------------------------------ */

static void start_here(void *opaque)
{
    SerialPort *port = opaque;

    port->reading = true;
    virtio_queue_keep(port->to_guest, handle_reading);
    virtqueue_again(port->to_guest);
}

static void stop_here(void *opaque)
{
    SerialPort *port = opaque;

    wait_no_more(port);
    port->reading = false;
    virtio_queue_keep(port->to_guest, NULL);
}

void serial_port_stop_reading(SerialPort *port)
{
    if (port->reading) {
        trace(virtio_serial_reading, "port %u: 0", port->id);
        virtio_call(&port->serial->vdev, stop_here, port);
        charport_return_input(port->chr, &port->input);
    }
}

bool serial_port_start_reading(SerialPort *port)
{
    if (port->reading) {
        return true;
    }
    if (port->input_failed || !port->guest_open || !port->serial->vdev.running || !virtqueue_takes(port->to_guest) ||
        !charport_borrow_input(port->chr, &port->input)) {
        return false;
    }
    trace(virtio_serial_reading, "port %u: 1", port->id);
    serial_port_quiesce(port);
    virtio_call(&port->serial->vdev, start_here, port);
    return true;
}
