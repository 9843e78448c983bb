/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a serial port, a monitor or qtest holds of a character device: a CharPort, one user's end.
 * (A mux has several ports.) Main loop and VM lock, except where it says any thread.
 */
#ifndef CHARDEV_CHAR_H
#define CHARDEV_CHAR_H

#include "core/object.h"
#include "core/vm.h"

typedef struct Chardev Chardev;
typedef struct CharPort CharPort;

typedef enum CharEvent { CHAR_EVENT_OPENED, CHAR_EVENT_CLOSED, CHAR_EVENT_BREAK, CHAR_EVENT_MUX_IN, CHAR_EVENT_MUX_OUT } CharEvent;

typedef struct CharPortOps {
    /* How many bytes receive would take now; 0 stops reading until charport_accept_input. */
    size_t (*can_receive)(void *opaque);
    void (*receive)(void *opaque, const uint8_t *data, size_t len);
    void (*event)(void *opaque, CharEvent event); /* may be NULL */
} CharPortOps;

/* The user's end of the chardev with this id. NULL with *err: no such id, or it is in use. */
CharPort *charport_open(Vm *vm, const char *id, GError **err);
/* NULL is fine. Output that is queued is written first, as far as it goes without waiting. */
void charport_close(CharPort *port);
/* ops NULL: nothing is read. An OPENED event follows at once if the other side is there. */
void charport_set_ops(CharPort *port, const CharPortOps *ops, void *opaque);
/* can_receive would say more than before. */
void charport_accept_input(CharPort *port);

/*
 * Queues output; bytes of one burst leave in one write call, from the main loop. Returns the bytes
 * taken: less than len when the other side is slow and the queue (a few KiB) is full; then ops.writable
 * is not called: use charport_on_writable. NULL port: everything is taken and dropped.
 */
size_t charport_write(CharPort *port, const void *data, size_t len);
/* fn runs once when the queue has room again. */
void charport_on_writable(CharPort *port, void (*fn)(void *opaque), void *opaque);
/* Queues whatever len is (monitor and qtest replies; a peer that never reads is cut off at 16 MiB). */
void charport_write_all(CharPort *port, const void *data, size_t len);
void charport_flush(CharPort *port);

/* Serial line settings and modem lines, for ports that have them (host serial); others ignore. */
typedef struct CharLine {
    int speed, parity /* 'N' 'E' 'O' */, data_bits, stop_bits;
} CharLine;
void charport_set_line(CharPort *port, const CharLine *line);
void charport_send_break(CharPort *port, bool on);
bool charport_is_connected(const CharPort *port);
/* Passes a descriptor that came with the last data (SCM_RIGHTS); -1: none. */
int charport_take_fd(CharPort *port);

/* PROP_CHARDEV("chardev", Type, field): CharPort * field, opened by id and closed with the object. */
extern const PropKind prop_kind_chardev;
#define PROP_CHARDEV(n, st, f, ...) PROP_ANY(n, &prop_kind_chardev, st, f, ##__VA_ARGS__)

/* ---- making them (command line) ------------------------------------------------------------------ */

/* -chardev backend,id=...,k=v; the backend opens at once (files, listening sockets). */
bool chardev_add_option(Vm *vm, const char *text, GError **err);
/* Legacy forms of -serial, -parallel, -monitor, -qtest: "stdio", "mon:stdio", "unix:PATH,server=on,wait=off",
 * "tcp:...", "file:P", "pipe:P", "pty", "null", "none", "vc", "chardev:ID", "COM", "fd:N". Makes a chardev named id.
 * *none is set for "none" (then no chardev is made). */
bool chardev_add_legacy(Vm *vm, const char *id, const char *text, bool *none, GError **err);
/* stdin's own settings back (exit, crash paths). Any thread, idempotent. */
void chardev_restore_tty(void);
/* Closes all: queues flushed as far as possible, unix socket paths unlinked. */
void chardev_cleanup(Vm *vm);

#endif
