/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Between chardev/char.c and the back ends: a back end is a type "chardev-NAME" whose properties
 * are the keys of -chardev NAME,k=v and whose ops are a ChardevOps. Private to chardev/.
 *
 *   user -- charport_write --> queue of the Chardev -- one ops->write a burst --> file, socket, ...
 *   user <-- CharPortOps.receive -- chardev_receive <-- what the back end read
 *
 * Everything runs in the main loop or under the VM lock.
 */
#ifndef CHARDEV_BACKEND_H
#define CHARDEV_BACKEND_H

#include <sys/types.h>

#include "chardev/char.h"

#define CHAR_QUEUE_SIZE 4096            /* charport_write stops taking here */
#define CHAR_QUEUE_LIMIT (16 * MIB)     /* charport_write_all cuts the peer off here */
#define CHAR_READ_SIZE 4096             /* bytes read at once */

typedef struct ChardevOps {
    /* Properties are set. On failure close is still called. NULL: nothing to open. */
    bool (*open)(Chardev *chr, GError **err);
    /* Releases everything; runs once; the memory stays. */
    void (*close)(Chardev *chr);
    /* Writes what goes without waiting: bytes taken, or -1 with errno (EAGAIN: nothing now). NULL:
     * all is dropped. */
    ssize_t (*write)(Chardev *chr, const uint8_t *data, size_t len);
    /* on: call chardev_flush when ops->write would take something again. */
    void (*want_write)(Chardev *chr, bool on);
    /* What the user takes may have changed: chardev_can_receive is to be asked again. */
    void (*update_read)(Chardev *chr);
    /* The peer never reads and the queue is at its limit. NULL: the queue is dropped. */
    void (*cut_off)(Chardev *chr);
    void (*set_line)(Chardev *chr, const CharLine *line);
    void (*send_break)(Chardev *chr, bool on);
    bool (*get_modem)(Chardev *chr, int *lines);
    bool (*set_modem)(Chardev *chr, int lines);
    int (*take_fd)(Chardev *chr);
    /* The descriptor that output leaves by, to wait for at the end; NULL or -1: nothing to wait
     * for. */
    int (*output_fd)(const Chardev *chr);
    /* A user came or went. */
    void (*port_opened)(Chardev *chr, CharPort *port, bool opened);
    /* What query-chardev and info chardev say; the caller frees. NULL: the back end's name. */
    char *(*filename)(const Chardev *chr);
    unsigned max_ports;  /* users at once; 0: one */
    bool unqueued;       /* write takes everything at once, so there is no queue (null, ringbuf) */
} ChardevOps;

struct Chardev {
    Object obj;
    const ChardevOps *ops;
    CharPort *ports[4];      /* users; muxes have several */
    bool opened, closed;     /* ops->open was called; ops->close was called */
    bool connected;          /* there is an other side: else output is dropped */
    /* ---- output ---- */
    GByteArray *queue;       /* [queue_pos, len) is to be written */
    size_t queue_pos;
    bool want_write;         /* ops->want_write is on */
    LoopTimer *flush_timer;
    /* ---- options of all back ends ---- */
    char *logfile;
    bool logappend;
    bool mux;
    int log_fd;              /* -1: none */
    GByteArray *log;         /* output that goes to the log file at the next flush */
    bool write_failed;       /* an output error was reported */
};

struct CharPort {
    Chardev *chr;            /* a reference */
    unsigned index;          /* in chr->ports */
    const CharPortOps *ops;
    void *opaque;
    void (*writable)(void *opaque);
    void *writable_opaque;
};

typedef struct CharState {
    GHashTable *aliases;     /* char * -> char *: other names of chardevs */
    GPtrArray *chardevs;     /* Chardev *, in order of making; references */
    int escape;              /* the mux's key */
    Chardev *stdio;          /* who has the terminal */
    const char *no_stdio;    /* why nobody may have it; NULL: it is free to take */
} CharState;

CharState *char_state(Vm *vm);
static inline const char *chardev_id(const Chardev *chr) { return chr->obj.name; }

/* Makes, sets and opens one. keys_values: key, value, key, value... NULL with *err. */
Chardev *chardev_new(Vm *vm, const char *id, const char *backend, const GPtrArray *keys_values,
                     GError **err);

/* ---- for back ends ----------------------------------------------------------------- */
Chardev *chardev_find(Vm *vm, const char *id);
/* As charport_open for a chardev that has no id yet in its caller's hands. */
CharPort *chardev_open_port(Chardev *chr, GError **err);
/* How many bytes the user takes now. */
size_t chardev_can_receive(Chardev *chr);
/* At most what chardev_can_receive said; more is dropped. */
void chardev_receive(Chardev *chr, const uint8_t *data, size_t len);
/* OPENED and CLOSED keep chr->connected, and CLOSED drops the queue. */
void chardev_event(Chardev *chr, CharEvent event);
void charport_event(CharPort *port, CharEvent event);
/* Writes the queue as far as it goes. */
void chardev_flush(Chardev *chr);

/* ---- chardev/fd.c: back ends that read one descriptor and write one ---------------- */

typedef struct CharFd {
    Chardev chr;
    int in, out;             /* -1: none; owned, never the same number */
    LoopFd *in_source, *out_source;
    LoopTimer *in_pump;      /* in is a regular file: read by turns of the loop */
    bool eof;
    void (*hangup)(struct CharFd *fd); /* end of input; NULL: CLOSED is told to the user */
} CharFd;

/* Takes the descriptors over and starts. */
void char_fd_start(CharFd *fd, int in, int out);
void char_fd_stop(CharFd *fd);
ssize_t char_fd_write(Chardev *chr, const uint8_t *data, size_t len);
void char_fd_want_write(Chardev *chr, bool on);
void char_fd_update_read(Chardev *chr);
int char_fd_output(const Chardev *chr);
void char_fd_close(Chardev *chr);
/* O_NONBLOCK on. */
bool fd_set_nonblock(int fd, GError **err);
/* 1 byte or more that is there is read and given to the user: false at the end of input. */
bool char_fd_read(CharFd *fd);

#endif
