/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Between chardev/char.c and the back ends: a back end is a type "chardev-NAME" whose ops are a
 * ChardevOps; its options are the schema's, a branch of ChardevBackend. Private to chardev/.
 *
 *   user -- charport_write --> queue of the Chardev -- one ops->write a burst --> file, socket, ...
 *   user <-- CharPortOps.receive -- chardev_receive <-- what the back end read
 *
 * Everything runs in the main loop or under the VM lock, but for a user that has borrowed the descriptor (char.h): then there
 * is nothing in the queue.
 */
#ifndef CHARDEV_BACKEND_H
#define CHARDEV_BACKEND_H

#include <sys/types.h>

#include "chardev/char.h"

#define CHAR_QUEUE_SIZE (16 * KIB)      /* charport_write stops taking here */
#define CHAR_QUEUE_LIMIT (16 * MIB)     /* charport_write_all cuts the peer off here */
#define CHAR_READ_SIZE 4096             /* bytes read at once */

typedef struct ChardevOps {
    /* chr->options is set. On failure close is still called. NULL: nothing to open. */
    bool (*open)(Chardev *chr, GError **err);
    /* Releases everything; runs once; the memory stays. */
    void (*close)(Chardev *chr);
    /* Writes what goes without waiting: bytes taken, or -1 with errno (EAGAIN: nothing now). NULL:
     * all is dropped. */
    ssize_t (*write)(Chardev *chr, const uint8_t *data, size_t len);
    /* unqueued back ends that stand on another one: charport_write_all and charport_pending are passed on. */
    void (*write_all)(Chardev *chr, const uint8_t *data, size_t len);
    size_t (*pending)(const Chardev *chr);
    /* on: call chardev_flush when ops->write would take something again. */
    void (*want_write)(Chardev *chr, bool on);
    /* What the user takes may have changed: chardev_can_receive is to be asked again. */
    void (*update_read)(Chardev *chr);
    /* Passes on what input has come so far, outside of the loop's turn. NULL: it is read in the loop only. */
    void (*read_now)(Chardev *chr);
    /* The peer never reads and the queue is at its limit. NULL: the queue is dropped. */
    void (*cut_off)(Chardev *chr);
    void (*set_line)(Chardev *chr, const CharLine *line);
    void (*send_break)(Chardev *chr, bool on);
    bool (*get_modem)(Chardev *chr, int *lines);
    bool (*set_modem)(Chardev *chr, int lines);
    /* Shuts the connection down, whoever hangs on it; the end is noticed as the other side's. NULL: there are none. */
    void (*yank)(Chardev *chr);
    int (*take_fd)(Chardev *chr);
    /* The descriptor that output leaves by, to wait for at the end; NULL or -1: nothing to wait
     * for. */
    int (*output_fd)(const Chardev *chr);
    /* The same where bytes of the user go there as they are, and nothing else does: it can be borrowed. NULL, -1: no. */
    int (*plain_fd)(const Chardev *chr);
    /* The same of the descriptor that input comes from, all of which goes to the user as it is; update_read is there then. */
    int (*plain_input_fd)(const Chardev *chr);
    /* A user came or went. */
    void (*port_opened)(Chardev *chr, CharPort *port, bool opened);
    /* What query-chardev and info chardev say; the caller frees. NULL: the back end's name. */
    char *(*filename)(const Chardev *chr);
    unsigned max_ports;  /* users at once; 0: one */
    bool prompt;         /* write is one call into the kernel that never waits for a disk, or less */
    bool unqueued;       /* write takes everything at once, so there is no queue (null, ringbuf) */
} ChardevOps;

/* ---- chardev/burst.c ------------------------------------------------------------------ */

typedef struct CharBurst {
    int64_t char_time;       /* ns that a character takes on the line; 0: there is no line */
    int64_t begin;           /* when its first byte came, monotonic ns */
    int64_t step;            /* ns from the last look to the next; 0: none is to follow it */
    size_t seen;             /* bytes that waited at the last look */
} CharBurst;

void char_burst_set_line(CharBurst *burst, const CharLine *line);
/* A first byte (or several) begins to wait: when to look. Times are monotonic ns. */
int64_t char_burst_begin(CharBurst *burst, int64_t now, size_t waiting);
/* It is to be written at the next look, whatever comes until then. */
static inline void char_burst_end(CharBurst *burst) { burst->step = 0; }
/* When to look again; 0: the burst has ended, or has waited long enough, and is to be written. */
int64_t char_burst_look(CharBurst *burst, int64_t now, size_t waiting);

/* ---- devices ---------------------------------------------------------------------------- */

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
    CharBurst burst;         /* what waits while flush_timer is armed for it */
    ChardevBackend *options; /* what it was made of */
    bool at_start;           /* made by the command line, not by a monitor */
    int ready_fd;            /* the connection that open is to use instead of making one; -1: none */
    int log_fd;              /* -1: none */
    GByteArray *log;         /* output that goes to the log file at the next flush */
    bool write_failed;       /* an output error was reported */
};

struct CharPort {
    Chardev *chr;            /* a reference */
    unsigned index;          /* in chr->ports */
    const CharPortOps *ops;
    void *opaque;
    bool shut;               /* nobody listens: charport_set_open */
    bool output_lent, input_lent; /* the user has borrowed it */
    void (*writable)(void *opaque);
    void *writable_opaque;
};

typedef struct CharState {
    GHashTable *aliases;     /* char * -> char *: other names of chardevs */
    GPtrArray *chardevs;     /* Chardev *, in order of making; references */
    int escape;              /* the mux's key */
    Chardev *stdio;          /* who has the terminal */
    bool keep_listening;     /* listening sockets end with the process */
    const char *no_stdio;    /* why nobody may have it; NULL: it is free to take */
    GPtrArray *makings;      /* struct ChardevMaking *: those that wait for a connection; char_add.c */
    GPtrArray *waiting;      /* HostWait *: of those that wait for names */
} CharState;

CharState *char_state(Vm *vm);
static inline const char *chardev_id(const Chardev *chr) { return chr->obj.name; }

/* Makes and opens one; options are copied. ready_fd: a connection that a client need not make any more, -1: none;
 * NULL for devices of the command line;
 * *ready_fd becomes -1 when it was taken over. NULL with *err. */
Chardev *chardev_new(Vm *vm, const char *id, const ChardevBackend *options, int *ready_fd, GError **err);
/* The opposite, of one that nobody uses: it leaves the list and is closed. */
void chardev_drop(Vm *vm, Chardev *chr);
bool chardev_id_is_valid(const char *id);
/* Ends what waits for connections; who asked for it hears so. */
void chardev_makings_end(Vm *vm);
/* chardev/socket.c: can these options be had, as far as can be said without trying? */
bool chardev_socket_check(Vm *vm, const ChardevSocket *options, GError **err);
/* chardev/socket_client.c: why, and the way out. Always false. */
bool chardev_connect_error(const GError *why, GError **err);

/* ---- the command line's text --------------------------------------------------------- */

typedef struct ChardevText {
    char *id;                /* NULL: none was given */
    bool mux;                /* a mux is to stand before it */
    ChardevBackend *backend;
} ChardevText;

void chardev_text_clear(ChardevText *text);
/* Flat options, an object of texts that gets more of them, as what they say of this kind of back end (an enum value's
 * name). False with *err; *text then needs no clearing. */
bool chardev_read_options(const char *kind, json_object *keys, ChardevText *text, GError **err);
bool chardev_has_option(const char *kind, const char *name);
/* -chardev's text. */
bool chardev_parse_text(const char *text, ChardevText *parsed, GError **err);
/* Adds the options in text, "server=on,nodelay", to keys. */
void chardev_add_parts(json_object *keys, const char *kind, const char *text);
void chardev_add_key(json_object *keys, const char *key, const char *value);
/* Makes what was parsed, with its mux if it wants one. ready_fd as chardev_new's. */
bool chardev_make(Vm *vm, const char *id, const ChardevText *text, int *ready_fd, GError **err);
/* Always false: there is no such back end; *err says what there is, or why it is missing. */
bool chardev_backend_error(const char *backend, GError **err);

/* Closes the back end; its memory stays. Idempotent. */
void chardev_close(Chardev *chr);

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

/* ---- chardev/borrow.c: what is borrowed is wanted back ---- */
void charport_recall_output(CharPort *port);
/* Input too. */
void charport_recall(CharPort *port);
/* Both of all users. Before the descriptors go, or what is written or read there changes. */
void chardev_recall(Chardev *chr);

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
void char_fd_read_now(Chardev *chr);
/* Has anything come that a read would give? */
bool char_fd_has_input(int fd);
int char_fd_output(const Chardev *chr);
int char_fd_input(const Chardev *chr);
void char_fd_close(Chardev *chr);
/* O_NONBLOCK on. */
bool fd_set_nonblock(int fd, GError **err);
/* 1 byte or more that is there is read and given to the user: false at the end of input. */
bool char_fd_read(CharFd *fd);

#endif
