/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "nbd/conn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/loop.h"
#include "util/util.h"

void nbd_set_nonblocking(int fd)
{
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

NbdConn *nbd_conn_new(int fd)
{
    NbdConn *conn = g_new0(NbdConn, 1);

    nbd_set_nonblocking(fd);
    conn->fd = fd;
    return conn;
}

void nbd_conn_free(NbdConn *conn)
{
    if (conn) {
        if (conn->tls) {
            tls_session_free(conn->tls);
        }
        close(conn->fd);
        g_free(conn);
    }
}

/* ---- moving bytes --------------------------------------------------------------------------- */

/* With TLS: piece by piece. */
static ssize_t tls_move(NbdConn *conn, const struct iovec *iov, unsigned count, bool write)
{
    ssize_t done = 0;

    for (unsigned i = 0; i < count; i++) {
        size_t at = 0;

        while (at < iov[i].iov_len) {
            char *p = (char *)iov[i].iov_base + at;
            size_t n = iov[i].iov_len - at;
            ssize_t ret = write ? tls_session_send(conn->tls, p, n) : tls_session_recv(conn->tls, p, n);

            if (ret <= 0) {
                return done ? done : ret;
            }
            at += (size_t)ret;
            done += ret;
        }
    }
    return done;
}

ssize_t nbd_conn_readv(NbdConn *conn, const struct iovec *iov, unsigned count)
{
    ssize_t ret;

    if (conn->tls) {
        return tls_move(conn, iov, count, false);
    }
    do {
        ret = readv(conn->fd, iov, (int)MIN(count, IOV_MAX));
    } while (ret < 0 && errno == EINTR);
    return ret < 0 ? -errno : ret;
}

ssize_t nbd_conn_writev(NbdConn *conn, const struct iovec *iov, unsigned count)
{
    struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = MIN(count, IOV_MAX)};
    ssize_t ret;

    if (conn->tls) {
        return tls_move(conn, iov, count, true);
    }
    do {
        ret = sendmsg(conn->fd, &msg, MSG_NOSIGNAL);
    } while (ret < 0 && errno == EINTR);
    return ret < 0 ? -errno : ret;
}

size_t nbd_conn_pending(NbdConn *conn)
{
    return conn->tls ? tls_session_pending(conn->tls) : 0;
}

/* ---- waiting -------------------------------------------------------------------------------- */

bool nbd_wait_fd(int fd, short events, const NbdWait *wait, GError **err)
{
    struct pollfd polled[2] = {{.fd = fd, .events = events}, {.fd = wait->cancel_fd, .events = POLLIN}};

    for (;;) {
        int64_t left = wait->deadline_ns ? wait->deadline_ns - clock_monotonic_ns() : 0;
        int timeout = wait->deadline_ns
                          ? (int)MIN((MAX(left, 0) + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC, INT_MAX)
                          : -1;
        int n = poll(polled, wait->cancel_fd >= 0 ? 2 : 1, timeout);

        if (n > 0 && wait->cancel_fd >= 0 && polled[1].revents) {
            return error_set(err, "was ended");
        }
        if (n > 0) {
            return true;
        }
        if (n == 0) {
            return error_set(err, "the other side does not answer in time");
        }
        if (errno != EINTR) {
            return error_set_errno(err, errno, "poll");
        }
    }
}

static bool move_all(NbdConn *conn, void *buf, size_t len, bool write, const NbdWait *wait, GError **err)
{
    size_t done = 0;

    while (done < len) {
        struct iovec iov = {(char *)buf + done, len - done};
        ssize_t ret = write ? nbd_conn_writev(conn, &iov, 1) : nbd_conn_readv(conn, &iov, 1);

        if (ret == -EAGAIN) {
            short events = write ? POLLOUT : POLLIN;

            if (conn->tls) {
                events = tls_session_wants_write(conn->tls) ? POLLOUT : POLLIN;
            }
            if (!nbd_wait_fd(conn->fd, events, wait, err)) {
                return false;
            }
        } else if (ret == 0 && !write) {
            return error_set(err, "the other side closed the connection");
        } else if (ret < 0) {
            return error_set_errno(err, (int)-ret, "%s", write ? "cannot send" : "cannot receive");
        } else {
            done += (size_t)ret;
        }
    }
    return true;
}

bool nbd_conn_read_all(NbdConn *conn, void *buf, size_t len, const NbdWait *wait, GError **err)
{
    return move_all(conn, buf, len, false, wait, err);
}

bool nbd_conn_write_all(NbdConn *conn, const void *buf, size_t len, const NbdWait *wait, GError **err)
{
    return move_all(conn, (void *)(uintptr_t)buf, len, true, wait, err);
}

bool nbd_conn_start_tls(NbdConn *conn, TlsSession *tls, const NbdWait *wait, GError **err)
{
    int ret;

    conn->tls = tls;
    while ((ret = tls_session_handshake(tls, err)) == 0) {
        if (!nbd_wait_fd(conn->fd, tls_session_wants_write(tls) ? POLLOUT : POLLIN, wait, err)) {
            return false;
        }
    }
    return ret > 0 && tls_session_check_peer(tls, NULL, err);
}
