/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-serial: consoles and named ports over one device (Virtual I/O Device 1.2, 5.3).
 *
 *   virtio-serial-device --- bus "virtio-serial-bus" --- virtconsole, virtserialport --- CharPort
 *
 *   queue 0, 1      port 0: to the guest, from the guest (always there; consoles only)
 *   queue 2, 3      control messages: to the guest, from the guest (drivers with MULTIPORT)
 *   queue 2n+2, 2n+3   port n
 *
 * Data of the guest stays in its buffer until the other side has taken it, so a slow reader holds up its own port and
 * nothing else; consoles, whose drivers wait for each buffer with a lock held, give theirs back at once and what the
 * reader is slow for is kept in a bounded backlog. Data for the guest is read when it has a buffer for it.
 *
 * Control messages that the guest has no buffer for are not queued: each port remembers what the guest is still to be told.
 *
 * Character devices and the table of ports are in the main loop, and so is all of this. The rings are not: their thread, which
 * disks and cards share, lends the buffers (virtqueue.h), or writes and reads itself while it has the character device's output
 * and input (virtio_serial_output.c, virtio_serial_input.c). So the main loop has no more to do for a port than its character
 * device makes it do, in turns that end by time.
 */
#ifndef HW_VIRTIO_VIRTIO_SERIAL_H
#define HW_VIRTIO_VIRTIO_SERIAL_H

#include <linux/virtio_console.h>

#include "chardev/char.h"
#include "hw/virtio/virtio.h"

#define VIRTIO_SERIAL_PORTS_MAX (VIRTIO_QUEUES_MAX / 2 - 1)
#define VIRTIO_SERIAL_NO_ID UINT32_MAX
#define VIRTIO_SERIAL_BACKLOG (256 * KIB) /* of a console */

typedef struct VirtioSerial VirtioSerial;

/* Type "virtio-serial-port". */
typedef struct SerialPort {
    Device dev;
    VirtioSerial *serial;     /* NULL: not plugged */
    uint32_t id;              /* property nr */
    char *name;               /* property; NULL: none */
    CharPort *chr;            /* property chardev; NULL: data is dropped */
    bool is_console;
    VirtQueue *to_guest, *from_guest;
    bool guest_open, host_open;
    unsigned untold;          /* UNTOLD_*: what the guest has had no message of yet */
    VirtElement *out;         /* a buffer of the guest that is being written; NULL: none */
    uint64_t out_done;        /* bytes of it that were taken */
    bool writing;             /* chr may close the port meanwhile ... */
    bool again;               /* ... which is seen to afterwards */
    bool blocked;             /* until chr is writable */
    VirtElement *in;          /* a buffer to be filled; only while the queues run; NULL: none */
    GByteArray *backlog;      /* consoles: what chr has not taken yet, from byte backlog_at on; NULL: none */
    size_t backlog_at;
    /* ---- virtio_serial_output.c ---- */
    bool direct;              /* the queue's thread writes: out, out_done, blocked, backlog and what follows are its own */
    CharOutput output;        /* borrowed */
    LoopFd *full;             /* waits until output takes something; NULL: it does not wait */
    bool failed;              /* atomic: output had an error, and the main loop is told to write instead, once at least */
    /* ---- virtio_serial_input.c ---- */
    bool reading;             /* the queue's thread reads: what follows is its own, and in is NULL */
    CharInput input;          /* borrowed */
    LoopFd *input_source;     /* waits for input; NULL: for the guest's buffers */
    bool input_failed;        /* atomic: its end or an error, and the main loop is told to read instead, once at least */
} SerialPort;

enum { UNTOLD_ADD = 1, UNTOLD_CONSOLE = 2, UNTOLD_NAME = 4, UNTOLD_OPEN = 8 };

struct VirtioSerial {
    VirtioDevice vdev;
    uint32_t max_ports;       /* property, 1 to VIRTIO_SERIAL_PORTS_MAX */
    Bus *bus;
    GPtrArray *ports;         /* SerialPort *, in order of plugging */
    SerialPort **by_id;       /* max_ports of them */
    uint8_t *removed;         /* max_ports: the guest is to be told that this port has gone */
    VirtQueue *control_in, *control_out;
    GArray *loaded;           /* LoadedPort: of a stream, until it is taken; NULL: none */
};

static inline VirtioSerial *virtio_serial(VirtioDevice *vdev) { return container_of(vdev, VirtioSerial, vdev); }
static inline bool virtio_serial_multiport(const VirtioSerial *s)
{
    return virtio_has_feature(&s->vdev, VIRTIO_CONSOLE_F_MULTIPORT);
}

/* ---- virtio_serial.c ---- */

/* Remembers that the guest is to be told this of the port, and tells it if it can be told now. */
void virtio_serial_tell(VirtioSerial *s, SerialPort *port, unsigned what);
/* Finds the port a place and an id; checks both and its name. */
bool virtio_serial_plug(VirtioSerial *s, SerialPort *port, GError **err);
void virtio_serial_unplug(SerialPort *port);

/* Whose queue it is; NULL: there is no port. */
static inline SerialPort *virtio_serial_port_of(VirtioDevice *vdev, const VirtQueue *vq)
{
    const unsigned pair = virtqueue_index(vq) / 2;

    return virtio_serial(vdev)->by_id[pair ? pair - 1 : 0];
}

/* ---- virtio_serial_port.c ---- */

void serial_port_from_guest(SerialPort *port);
/* The guest has buffers, or opened the port: there may be something to read. */
void serial_port_to_guest(SerialPort *port);
void serial_port_set_guest_open(SerialPort *port, bool open);
void serial_port_set_host_open(SerialPort *port, bool open);
/* A byte outside the queues, from a kernel that has no memory to use them. */
void serial_port_emergency_write(SerialPort *port, uint8_t byte);
/* len bytes at most are kept until chr takes them. */
void serial_port_backlog_add(SerialPort *port, const uint8_t *data, size_t len);
/* chr took n bytes of the backlog. */
void serial_port_backlog_took(SerialPort *port, size_t n);
/* Goes on with what is kept of the guest's bytes, if there is something, when chr takes more. */
void serial_port_wait_writable(SerialPort *port);
/* Puts the buffer of to_guest back. Before the queues stop. */
void serial_port_quiesce(SerialPort *port);
/* The driver has gone: drops what is kept of its buffers. Stopped. */
void serial_port_drop(SerialPort *port);

/* ---- virtio_serial_batch.c: in the queue's thread ---- */

#define SERIAL_TURN_NS (NSEC_PER_MSEC / 8) /* others wait for the thread */
#define SERIAL_BATCH_BUFFERS 64
#define SERIAL_BATCH_PIECES 128
#define SERIAL_BATCH_BYTES (256 * KIB)

/* Buffers that one call fills or writes. */
typedef struct SerialBatch {
    VirtElement *elems[SERIAL_BATCH_BUFFERS];
    unsigned count, n_pieces;
    struct iovec pieces[SERIAL_BATCH_PIECES];
    size_t size;              /* of pieces */
} SerialBatch;

void serial_batch_begin(SerialBatch *b);
/* One buffer more, of which there are fewer than SERIAL_BATCH_BUFFERS: its pieces (of one direction, count of them) from byte skip
 * on. False: there is no room for all of them. */
bool serial_batch_add(SerialBatch *b, VirtElement *e, const struct iovec *pieces, unsigned count, uint64_t skip);
/* The buffers from the first-th on go back into the ring. */
void serial_batch_unpop(const SerialBatch *b, unsigned first);

/* ---- virtio_serial_output.c ---- */

/* Has the queue's thread write. False: it cannot, now at least, and the main loop has to. */
bool serial_port_go_direct(SerialPort *port);
/* The main loop writes again. */
void serial_port_go_back(SerialPort *port);

/* ---- virtio_serial_input.c ---- */

/* Has the queue's thread read. False: it cannot, now at least, and the main loop has to. */
bool serial_port_start_reading(SerialPort *port);
/* The main loop may read again. */
void serial_port_stop_reading(SerialPort *port);

/* ---- virtio_serial_state.c ---- */

void virtio_serial_save(VirtioDevice *vdev, StateBuf *buf);
bool virtio_serial_load(VirtioDevice *vdev, StateBuf *buf, uint64_t features, GError **err);
void virtio_serial_take_loaded(VirtioDevice *vdev);
void virtio_serial_free_loaded(VirtioSerial *s);

#endif
