/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One connection: a non-blocking socket, plain or with TLS on it. Used by one thread at a time.
 */
#ifndef NBD_CONN_H
#define NBD_CONN_H

#include <sys/uio.h>

#include "backends/tls.h"

typedef struct NbdConn {
    int fd;          /* its own */
    TlsSession *tls; /* NULL: plain */
} NbdConn;

/* What a waiting call may be ended by. */
typedef struct NbdWait {
    int64_t deadline_ns; /* monotonic; 0: none */
    int cancel_fd;       /* readable: give up; -1: none */
} NbdWait;

void nbd_set_nonblocking(int fd);
/* Takes fd over and makes it non-blocking. */
NbdConn *nbd_conn_new(int fd);
/* Ends TLS and closes. NULL is fine. */
void nbd_conn_free(NbdConn *conn);

/* Bytes moved (less than asked is usual), 0 (reading only) at the end, -EAGAIN, or another -errno. What a
 * write with TLS did not take must be tried again from there. */
ssize_t nbd_conn_readv(NbdConn *conn, const struct iovec *iov, unsigned count);
ssize_t nbd_conn_writev(NbdConn *conn, const struct iovec *iov, unsigned count);
/* Bytes that can be read without the socket becoming readable. */
size_t nbd_conn_pending(NbdConn *conn);

/* Waiting forms, all or nothing; for threads that may block. */
bool nbd_conn_read_all(NbdConn *conn, void *buf, size_t len, const NbdWait *wait, GError **err);
bool nbd_conn_write_all(NbdConn *conn, const void *buf, size_t len, const NbdWait *wait, GError **err);
/* events: POLLIN, POLLOUT. False: deadline or cancelled. */
bool nbd_wait_fd(int fd, short events, const NbdWait *wait, GError **err);
/* TLS as client; the session is the connection's, also on failure. */
bool nbd_conn_start_tls(NbdConn *conn, TlsSession *tls, const NbdWait *wait, GError **err);

#endif
