/* SPDX-License-Identifier: GPL-2.0-or-later */
/* socket: layers between the user's bytes and the descriptor; see the header. */
#include "chardev/socket_int.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backends/authz.h"
#include "util/trace.h"

#define ENCODE_MAX 4096      /* bytes in one websocket frame */

/* ---- the descriptor, with TLS on it ------------------------------------------------ */

void stream_close_passed_fds(CharSocket *sock)
{
    while (sock->n_passed) {
        close(sock->passed[--sock->n_passed]);
    }
}

static void take_passed_fds(CharSocket *sock, struct msghdr *msg)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
            unsigned n = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));

            stream_close_passed_fds(sock);
            sock->n_passed = MIN(n, MAX_PASSED_FDS);
            memcpy(sock->passed, CMSG_DATA(c), sock->n_passed * sizeof(int));
        }
    }
}

static ssize_t receive_plain(CharSocket *sock, uint8_t *buf, size_t room)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int) * MAX_PASSED_FDS)];
        struct cmsghdr align;
    } control;
    struct iovec iov = {buf, room};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = sizeof control};
    ssize_t n = recvmsg(sock->fd, &msg, MSG_CMSG_CLOEXEC);

    if (n > 0) {
        take_passed_fds(sock, &msg);
    }
    return n;
}

/* TLS gives -errno. */
static ssize_t with_errno(ssize_t n)
{
    if (n >= 0) {
        return n;
    }
    errno = (int)-n;
    return -1;
}

static ssize_t receive_bytes(CharSocket *sock, uint8_t *buf, size_t room)
{
    return sock->tls ? with_errno(tls_session_recv(sock->tls, buf, room)) : receive_plain(sock, buf, room);
}

static ssize_t send_bytes(CharSocket *sock, const uint8_t *data, size_t len)
{
    return sock->tls ? with_errno(tls_session_send(sock->tls, data, len))
                     : send(sock->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* ---- websocket --------------------------------------------------------------------- */

void stream_flush(CharSocket *sock)
{
    const uint8_t *out;
    size_t len;

    while (sock->websocket && (out = websocket_output(sock->websocket, &len))) {
        ssize_t n = send_bytes(sock, out, len);

        if (n <= 0) {
            return; /* a connection that broke tells its reader */
        }
        websocket_sent(sock->websocket, (size_t)n);
    }
}

static bool output_waits(const CharSocket *sock)
{
    size_t len = 0;

    return sock->websocket && websocket_output(sock->websocket, &len);
}

/* Reads and decodes: what recv said, but EPROTO for who breaks the rules. */
static ssize_t fill_websocket(CharSocket *sock)
{
    uint8_t buf[CHAR_READ_SIZE];
    const char *why;
    ssize_t n = receive_bytes(sock, buf, sizeof buf);

    if (n <= 0) {
        return n;
    }
    bool ok = websocket_feed(sock->websocket, buf, (size_t)n, &why);
    stream_flush(sock);
    if (!ok) {
        trace(char_socket_websocket, "%s: %s", chardev_id(&sock->chr), why);
        errno = EPROTO;
        return -1;
    }
    return n;
}

static ssize_t receive_websocket(CharSocket *sock, uint8_t *buf, size_t room)
{
    if (!websocket_available(sock->websocket)) {
        ssize_t n = websocket_is_closed(sock->websocket) ? 0 : fill_websocket(sock);

        if (n <= 0) {
            return n;
        }
    }
    size_t n = websocket_take(sock->websocket, buf, room);
    if (n) {
        return (ssize_t)n;
    }
    if (websocket_is_closed(sock->websocket)) {
        return 0;
    }
    errno = EAGAIN;
    return -1;
}

static ssize_t send_layer(CharSocket *sock, const uint8_t *data, size_t len)
{
    if (!sock->websocket) {
        return send_bytes(sock, data, len);
    }
    stream_flush(sock);
    if (output_waits(sock)) {
        errno = EAGAIN;
        return -1;
    }
    size_t take = MIN(len, ENCODE_MAX);
    websocket_encode(sock->websocket, data, take);
    stream_flush(sock);
    return (ssize_t)take;
}

/* ---- telnet ------------------------------------------------------------------------ */

/* Byte 255 goes out twice. Returns the bytes of data that are wholly out. */
static ssize_t send_telnet(CharSocket *sock, const uint8_t *data, size_t len)
{
    static const uint8_t pair[2] = {TELNET_IAC, TELNET_IAC};
    const uint8_t *iac = memchr(data, TELNET_IAC, len);
    ssize_t n;

    if (iac != data) {
        return send_layer(sock, data, iac ? (size_t)(iac - data) : len);
    }
    n = send_layer(sock, pair, sock->half_iac ? 1 : 2);
    if (n == 1 && !sock->half_iac) {
        sock->half_iac = true;
        errno = EAGAIN;
        return -1;
    }
    if (n > 0) {
        sock->half_iac = false;
        return 1;
    }
    return n;
}

static void send_greeting(CharSocket *sock)
{
    size_t len;
    const uint8_t *greeting = telnet_greeting(&len);

    sock->telnet_state = (Telnet){0};
    sock->half_iac = false;
    /* A new connection's buffer is empty: it goes out whole, or the connection is broken. */
    if (send_layer(sock, greeting, len) != (ssize_t)len) {
        trace(char_socket_greeting, "%s: failed: %d", chardev_id(&sock->chr), errno);
    }
}

/* Bytes of data that are left. */
static size_t decode_telnet(CharSocket *sock, uint8_t *buf, size_t len)
{
    size_t kept = telnet_decode(&sock->telnet_state, buf, len);

    for (; sock->telnet_state.breaks; sock->telnet_state.breaks--) {
        chardev_event(&sock->chr, CHAR_EVENT_BREAK);
    }
    return kept;
}

/* ---- all layers ------------------------------------------------------------------------ */

ssize_t stream_recv(CharSocket *sock, uint8_t *buf, size_t room)
{
    ssize_t n = sock->websocket ? receive_websocket(sock, buf, room) : receive_bytes(sock, buf, room);

    if (n > 0 && sock->options->telnet) {
        n = (ssize_t)decode_telnet(sock, buf, (size_t)n);
        if (n == 0) {
            errno = EAGAIN;
            return -1;
        }
    }
    return n;
}

ssize_t stream_send(CharSocket *sock, const uint8_t *data, size_t len)
{
    return sock->options->telnet ? send_telnet(sock, data, len) : send_layer(sock, data, len);
}

bool stream_pending(const CharSocket *sock)
{
    return (sock->tls && sock->tls_ready && tls_session_pending(sock->tls)) ||
           (sock->websocket && (websocket_available(sock->websocket) || websocket_is_closed(sock->websocket)));
}

bool stream_wants_write(const CharSocket *sock)
{
    return output_waits(sock) || (sock->tls && !sock->tls_ready && tls_session_wants_write(sock->tls));
}

/* After the handshake. */
static bool check_peer(CharSocket *sock, GError **err)
{
    g_autofree char *identity = NULL;

    if (!tls_session_check_peer(sock->tls, &identity, err)) {
        return false;
    }
    if (!sock->options->tls_authz) {
        return true;
    }
    GError *cause = NULL;
    bool ok = identity && authz_is_allowed(sock->chr.obj.vm, sock->options->tls_authz, identity, &cause);
    if (cause) {
        g_propagate_error(err, cause);
        return false;
    }
    return ok || error_set(err, "TLS client '%s' is not authorized by '%s'", identity ? identity : "",
                           sock->options->tls_authz);
}

static int handshake_tls(CharSocket *sock, GError **err)
{
    int ret = tls_session_handshake(sock->tls, err);

    if (ret > 0) {
        sock->tls_ready = true;
        return check_peer(sock, err) ? 1 : -1;
    }
    return ret;
}

/* Until the client is let in, or there is nothing more to read. */
static int handshake_websocket(CharSocket *sock, GError **err)
{
    while (!websocket_is_open(sock->websocket)) {
        ssize_t n = fill_websocket(sock);

        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            return 0;
        }
        if (n <= 0) {
            error_set(err, n ? "it is no websocket client" : "it went before it was let in");
            return -1;
        }
    }
    stream_flush(sock);
    return output_waits(sock) ? 0 : 1;
}

int stream_handshake(CharSocket *sock, GError **err)
{
    int ret = sock->tls && !sock->tls_ready ? handshake_tls(sock, err) : 1;

    if (ret > 0 && sock->websocket) {
        ret = handshake_websocket(sock, err);
    }
    if (ret > 0 && sock->options->telnet && sock->server) {
        send_greeting(sock);
    }
    return ret;
}

bool stream_start(CharSocket *sock, GError **err)
{
    if (sock->creds) {
        sock->tls = tls_session_new(sock->creds, sock->fd, sock->server || !sock->inet ? NULL : sock->inet->host, err);
        sock->tls_ready = false;
        if (!sock->tls) {
            return false;
        }
    }
    if (sock->options->websocket) {
        sock->websocket = websocket_new();
    }
    return true;
}

void stream_end(CharSocket *sock)
{
    stream_close_passed_fds(sock);
    websocket_free(sock->websocket);
    sock->websocket = NULL;
    if (sock->tls) {
        tls_session_free(sock->tls);
        sock->tls = NULL;
    }
}
