/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a serial port, a monitor or qtest holds of a character device: a CharPort, one user's end.
 * (A mux has several ports.)
 *
 * Threads: everything here is for the main loop, or another thread that holds the VM lock, except where it says any thread;
 * so charport_write and its likes are never called without that lock, whatever the back end is. Who writes much can have
 * the descriptor itself for a while instead (charport_borrow_output): nobody but the borrower writes there then, in one thread
 * at a time, which needs no lock; what is borrowed goes back when the main loop wants it. It can be had of sockets without
 * a layer on them (TLS, websocket, telnet), FIFOs and devices of the host, not of files (a disk may be slow), nor of what
 * has users besides (mux) or keeps what it is given (ringbuf, logfile=). So can input (charport_borrow_input), of terminals too.
 */
#ifndef CHARDEV_CHAR_H
#define CHARDEV_CHAR_H

#include "core/object.h"
#include "core/vm.h"
#include "qapi/qapi-char-backends.h"
#include "util/iov.h"

typedef struct Chardev Chardev;
typedef struct CharPort CharPort;

typedef enum CharEvent {
    CHAR_EVENT_OPENED,
    CHAR_EVENT_CLOSED,
    CHAR_EVENT_BREAK,
    CHAR_EVENT_MUX_IN,
    CHAR_EVENT_MUX_OUT
} CharEvent;

typedef struct CharPortOps {
    /* How many bytes receive would take now; 0 stops reading until charport_accept_input. */
    size_t (*can_receive)(void *opaque);
    void (*receive)(void *opaque, const uint8_t *data, size_t len);
    void (*event)(void *opaque, CharEvent event); /* may be NULL */
    /* Who borrows output: gives it back at once, by charport_return_output. */
    void (*return_output)(void *opaque);
    /* Who borrows input: gives it back at once, by charport_return_input. */
    void (*return_input)(void *opaque);
} CharPortOps;

/* The user's end of the chardev with this id. NULL with *err: no such id, or it is in use. */
CharPort *charport_open(Vm *vm, const char *id, GError **err);
/* NULL is fine. Output that is queued is written first, as far as it goes without waiting. */
void charport_close(CharPort *port);
/* ops NULL: nothing is read. An OPENED event follows at once if the other side is there. */
void charport_set_ops(CharPort *port, const CharPortOps *ops, void *opaque);
/* Does the guest listen there? Only for those who know (query-chardev's frontend-open); others count as open. */
void charport_set_open(CharPort *port, bool open);
/* can_receive would say more than before. */
void charport_accept_input(CharPort *port);
/* What has come so far is received now; that the other side has gone is noticed later. */
void charport_read_now(CharPort *port);

/*
 * Queues output; bytes of one burst leave in one write call, from the main loop. Returns the bytes
 * taken: less than len when the other side is slow and the queue (a few KiB) is full; to be told
 * when it has room, use charport_on_writable. NULL port: everything is taken and dropped.
 */
size_t charport_write(CharPort *port, const void *data, size_t len);
/* fn runs once when the queue has room again. */
void charport_on_writable(CharPort *port, void (*fn)(void *opaque), void *opaque);
/* Queues whatever len is (monitor and qtest replies; a peer that never reads is cut off at
 * 16 MiB). */
void charport_write_all(CharPort *port, const void *data, size_t len);
void charport_flush(CharPort *port);
/* Does writing end at once, whether the other side reads or not? Not where a file is behind it, whose disk may be slow. */
bool charport_is_prompt(const CharPort *port);

/* ---- borrowed output: past the queue and the main loop ---- */

typedef struct CharOutput {
    int fd;                  /* the back end's: not to be closed */
    bool is_socket;
} CharOutput;

/*
 * From now on the port's user alone writes to *output, until it says charport_return_output or return_output is called, which
 * comes before anything else happens to the descriptor. False, now at least: bytes wait in the queue, nobody is there, or
 * this back end's output cannot be had.
 */
bool charport_borrow_output(CharPort *port, CharOutput *output);
void charport_return_output(CharPort *port);
/* In one thread, that of the borrower's choice. Bytes taken, without waiting; -1 with errno (EAGAIN: when epoll tells of
 * EPOLLOUT; any other: what is to be done about it the back end sees when the main loop writes). */
ssize_t char_output_write(const CharOutput *output, const struct iovec *iov, unsigned count);

/* ---- borrowed input: past the main loop ---- */

typedef struct CharInput {
    int fd;                  /* the borrower's until it goes back; another number than CharOutput's */
    bool is_socket;
} CharInput;

/*
 * From now on the port's user alone reads from *input, until it says charport_return_input or return_input is called, which
 * comes before anything else happens to the descriptor. Nothing comes by CharPortOps.receive meanwhile; the back end may still
 * notice that the other side has gone, once all that it sent is read. False, now at least: nobody is there, or this back end's
 * input cannot be had.
 */
bool charport_borrow_input(CharPort *port, CharInput *input);
/* charport_accept_input has to follow where the user would take something. */
void charport_return_input(CharPort *port, CharInput *input);
/* In one thread, that of the borrower's choice. Bytes read, without waiting; -1 with errno EAGAIN: when epoll tells of EPOLLIN.
 * 0, the end, or any other error: what is to be done about it the back end sees when the main loop reads. */
ssize_t char_input_read(const CharInput *input, const struct iovec *iov, unsigned count);

/* Bytes of output that wait for the other side to read. */
size_t charport_pending(const CharPort *port);

/* Serial line settings and modem lines, for ports that have them (host serial); others ignore. */
typedef struct CharLine {
    int speed, parity /* 'N' 'E' 'O' */, data_bits, stop_bits;
} CharLine;
void charport_set_line(CharPort *port, const CharLine *line);
void charport_send_break(CharPort *port, bool on);
bool charport_is_connected(const CharPort *port);
/* Modem lines of a host serial line, as TIOCMGET's bits. False (and nothing done) without such a
 * line. */
bool charport_get_modem(CharPort *port, int *lines);
bool charport_set_modem(CharPort *port, int lines);
/* Passes the next descriptor that came with the last data (SCM_RIGHTS), the caller's now;
 * -1: none. */
int charport_take_fd(CharPort *port);
/* Id of the chardev ("serial0"), NULL for a NULL port. */
const char *charport_label(const CharPort *port);

/* PROP_CHARDEV("chardev", Type, field): CharPort * field, opened by id and closed with the
 * object. */
extern const PropKind prop_kind_chardev;
#define PROP_CHARDEV(n, st, f, ...) PROP_ANY(n, &prop_kind_chardev, st, f, ##__VA_ARGS__)

/* ---- making them (command line) ---------------------------------------------------- */

/* -chardev backend,id=...,k=v, or chardev-add's arguments in JSON; the backend opens at once (files, listening sockets). Opening may
 * wait: a server with wait=on for its client, a client for its server. */
bool chardev_add_option(Vm *vm, const char *text, GError **err);
/* Each option of a kind of back end, or of all (NULL), where a name then comes more than once; doc says what it is. */
typedef void ChardevOptionFn(const char *name, const QapiType *type, const char *doc, void *opaque);
void chardev_foreach_option(const char *kind, ChardevOptionFn *fn, void *opaque);
/* Prints help and returns true when text asks for it: "help", "socket,help". */
bool chardev_option_help(const char *text);
/*
 * In a running machine, which does not stop for it: what would wait for a client is refused, and a client connects in
 * the background. made runs once, before these return or later in the main loop (at the VM's end too). err NULL: it is
 * there; then pty is a new pseudo terminal's path, NULL if it is none, and id names it (behind a mux: ID-base). pty and err
 * are the callee's.
 */
typedef void ChardevMadeFn(void *opaque, const char *id, char *pty, GError *err);
/* As -chardev, from the schema's description. An address of type fd holds a descriptor's number, which is the device's
 * from then on, unless this fails; made then runs before this returns. */
void chardev_add(Vm *vm, const char *id, const ChardevBackend *backend, ChardevMadeFn *made, void *opaque);
/* Another device in the place of this one; its user, if any, stays and sees the other side go and come. When this fails
 * the old one is as before. */
void chardev_change(Vm *vm, const char *id, const ChardevBackend *backend, ChardevMadeFn *made, void *opaque);
/* The same with the text of -chardev. The option names no id when another device takes the place of the one with this
 * id. */
void chardev_add_text(Vm *vm, const char *text, ChardevMadeFn *made, void *opaque);
void chardev_change_text(Vm *vm, const char *id, const char *text, ChardevMadeFn *made, void *opaque);
/* Only what nobody uses. */
bool chardev_remove(Vm *vm, const char *id, GError **err);
/* Legacy forms of -serial, -parallel, -monitor, -qtest: "stdio", "mon:stdio",
 * "unix:PATH,server=on,wait=off", "tcp:...", "file:P", "pipe:P", "pty", "null", "none", "vc",
 * "chardev:ID", "COM", "fd:N". Makes a chardev named id. *none (may be NULL) is set for "none"
 * (then no chardev is made). "chardev:ID" makes id another name of ID. A leading "mon:" puts a mux
 * in front; the caller gives the monitor a port of its own by charport_open. Messages do not name
 * the option: the caller does. */
bool chardev_add_legacy(Vm *vm, const char *id, const char *text, bool *none, GError **err);
/* The mux's escape key (-echr): 1 to 26 for C-a to C-z; default 1. */
void chardev_set_escape(Vm *vm, int key);
/* From now on stdio is refused, for this reason ("cannot be used with -daemonize"; kept, not
 * copied). */
void chardev_refuse_stdio(Vm *vm, const char *reason);
/* Each chardev, in order of making: its id, what it is ("pty:/dev/pts/3"), and whether someone uses
 * it. */
void chardev_foreach(Vm *vm,
                     void (*fn)(const char *id, const char *filename, bool in_use, void *opaque),
                     void *opaque);
/* The users of the chardev with this id are told of a break, as if one had come in. False: there is no such
 * chardev. */
bool chardev_send_break_id(Vm *vm, const char *id);
/* Can the connection of this chardev be shut down? False: there is none with this id, or it has no connections. */
bool chardev_can_yank(Vm *vm, const char *id);
/* Shuts its present connection down, if there is one. It must be able to. */
void chardev_yank(Vm *vm, const char *id);
/* Takes up to len bytes out of a ringbuf / puts them in. -1 with *err when id is no ringbuf. */
ssize_t chardev_ringbuf_read(Vm *vm, const char *id, void *data, size_t len, GError **err);
ssize_t chardev_ringbuf_write(Vm *vm, const char *id, const void *data, size_t len, GError **err);
/* stdin's own settings back (exit, crash paths). Any thread, idempotent. */
void chardev_restore_tty(void);
/*
 * Closing leaves listening sockets to the end of the process from now on (their paths go as usual). For a start that
 * failed: a manager that connects meanwhile is queued and sees the end, instead of being refused before it is there.
 */
void chardev_keep_listening(Vm *vm);
/* Closes all: queues flushed as far as possible, unix socket paths unlinked. */
void chardev_cleanup(Vm *vm);

#endif
