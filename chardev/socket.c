/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * socket: options and the connection's life; see the header.
 *
 * Not done: tn3270= is refused (chardev/flat.c).
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "chardev/socket_int.h"
#include "util/log.h"
#include "util/sockaddr.h"
#include "util/trace.h"

#define RECONNECT_MAX 86400  /* seconds */
#define HANDSHAKE_NS (10 * NSEC_PER_SEC) /* TLS, websocket: then the next one gets its turn */

/* ---- the connection ---------------------------------------------------------------- */

static void drop_connection(CharSocket *sock)
{
    chardev_recall(&sock->chr);
    stream_end(sock);
    loop_fd_remove(sock->source);
    sock->source = NULL;
    if (sock->fd >= 0) {
        close(sock->fd);
    }
    sock->fd = -1;
    sock->phase = SOCKET_NOBODY;
    loop_timer_cancel(sock->handshake_timer);
    loop_timer_cancel(sock->pump);
    g_clear_pointer(&sock->peer, g_free);
}

static void disconnect(CharSocket *sock)
{
    if (sock->fd < 0) {
        return;
    }
    drop_connection(sock);
    socket_listen_for_next(sock, true);
    socket_plan_reconnect(sock);
    chardev_event(&sock->chr, CHAR_EVENT_CLOSED);
}

/* While the user takes nothing, only the end of the peer is of interest, and once (EPOLLET). */
static void update_events(CharSocket *sock)
{
    uint32_t write = sock->want_write || stream_wants_write(sock) ? EPOLLOUT : 0;
    bool takes = sock->phase == SOCKET_OPEN && chardev_can_receive(&sock->chr);

    if (sock->phase == SOCKET_HANDSHAKE) {
        loop_fd_set_events(sock->source, stream_wants_write(sock) ? EPOLLOUT : EPOLLIN);
    } else if (sock->source) {
        loop_fd_set_events(sock->source, (takes ? EPOLLIN : EPOLLET | EPOLLRDHUP) | write);
        if (takes && stream_pending(sock)) {
            loop_timer_arm(sock->pump, 0);
        }
    }
}

static void read_connection(CharSocket *sock)
{
    uint8_t buf[CHAR_READ_SIZE];
    size_t room = MIN(chardev_can_receive(&sock->chr), sizeof buf);
    ssize_t n;

    if (room == 0) {
        return;
    }
    n = stream_recv(sock, buf, room);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        disconnect(sock);
    } else if (n > 0) {
        chardev_receive(&sock->chr, buf, (size_t)n);
    }
}

static bool nothing_to_read(const CharSocket *sock) { return !char_fd_has_input(sock->fd) && !stream_pending(sock); }

static void step_handshake(CharSocket *sock)
{
    g_autoptr(GError) err = NULL;
    int ret = stream_handshake(sock, &err);

    if (ret < 0) {
        trace(char_socket_handshake_failed, "%s: %s", chardev_id(&sock->chr), err->message);
        socket_report_failure(sock, err->message);
        disconnect(sock);
    } else if (ret > 0) {
        loop_timer_cancel(sock->handshake_timer);
        sock->phase = SOCKET_OPEN;
        sock->connect_reported = false;
        chardev_event(&sock->chr, CHAR_EVENT_OPENED);
    }
}

static void handle_open(CharSocket *sock, uint32_t events)
{
    if (events & EPOLLOUT) {
        stream_flush(sock);
        chardev_flush(&sock->chr);
    }
    if (sock->fd >= 0 && (events & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP))) {
        if (chardev_can_receive(&sock->chr)) {
            read_connection(sock);
        } else if ((events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)) && nothing_to_read(sock)) {
            disconnect(sock);
        }
    }
}

static void connection_ready(void *opaque, uint32_t events)
{
    CharSocket *sock = opaque;

    object_ref(&sock->chr.obj);
    if (sock->phase == SOCKET_HANDSHAKE) {
        step_handshake(sock);
    } else {
        handle_open(sock, events);
    }
    update_events(sock);
    object_unref(&sock->chr.obj);
}

static void pump_input(void *opaque)
{
    CharSocket *sock = opaque;

    object_ref(&sock->chr.obj);
    if (sock->phase == SOCKET_OPEN) {
        read_connection(sock);
    }
    update_events(sock);
    object_unref(&sock->chr.obj);
}

static void socket_read_now(Chardev *chr)
{
    CharSocket *sock = container_of(chr, CharSocket, chr);

    if (sock->phase == SOCKET_OPEN && !nothing_to_read(sock)) {
        pump_input(sock);
    }
}

static void handshake_timed_out(void *opaque)
{
    CharSocket *sock = opaque;

    trace(char_socket_handshake_failed, "%s: time is over", chardev_id(&sock->chr));
    socket_report_failure(sock, "the handshake was not done in time");
    disconnect(sock);
}

static void set_tcp_options(CharSocket *sock)
{
    int on = 1;

    if (sock->options->nodelay) {
        setsockopt(sock->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    if (sock->inet && sock->inet->keep_alive) {
        setsockopt(sock->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    }
}

void socket_take_connection(CharSocket *sock, int fd)
{
    SockAddr addr = {.len = sizeof addr.addr};
    g_autoptr(GError) err = NULL;

    sock->fd = fd;
    sock->phase = SOCKET_HANDSHAKE;
    socket_listen_for_next(sock, false);
    if (getpeername(fd, (struct sockaddr *)&addr.addr, &addr.len) == 0 &&
        addr.addr.ss_family != AF_UNIX) {
        set_tcp_options(sock);
        g_free(sock->peer);
        sock->peer = sockaddr_text(&addr);
    }
    sock->source = loop_fd_add(sock->chr.obj.vm->loop, fd, EPOLLET | EPOLLRDHUP, connection_ready, sock);
    if (!stream_start(sock, &err)) {
        socket_report_failure(sock, err->message);
        disconnect(sock);
        return;
    }
    object_ref(&sock->chr.obj);
    if (sock->tls || sock->websocket) {
        loop_timer_arm(sock->handshake_timer, clock_monotonic_ns() + HANDSHAKE_NS);
    }
    step_handshake(sock);
    update_events(sock);
    object_unref(&sock->chr.obj);
}

/* ---- output ------------------------------------------------------------------------ */

static ssize_t socket_write(Chardev *chr, const uint8_t *data, size_t len)
{
    CharSocket *sock = char_socket(chr);
    ssize_t n;

    if (sock->phase != SOCKET_OPEN) {
        return (ssize_t)len;
    }
    n = stream_send(sock, data, len);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        /* The peer is gone. What it sent before may still be there to be read: the hang-up
         * tells. */
        if (nothing_to_read(sock)) {
            disconnect(sock);
        }
        return (ssize_t)len;
    }
    if (stream_wants_write(sock)) {
        update_events(sock);
    }
    return n;
}

static void socket_want_write(Chardev *chr, bool on)
{
    CharSocket *sock = char_socket(chr);

    sock->want_write = on;
    update_events(sock);
}

static void socket_update_read(Chardev *chr)
{
    update_events(char_socket(chr));
}

static void socket_cut_off(Chardev *chr)
{
    disconnect(char_socket(chr));
}

static void socket_yank(Chardev *chr)
{
    CharSocket *sock = char_socket(chr);

    if (sock->fd >= 0) {
        shutdown(sock->fd, SHUT_RDWR);
    }
}

static int socket_take_fd(Chardev *chr)
{
    CharSocket *sock = char_socket(chr);
    int fd;

    if (!sock->n_passed) {
        return -1;
    }
    fd = sock->passed[0];
    sock->n_passed--;
    memmove(sock->passed, sock->passed + 1, sock->n_passed * sizeof(int));
    return fd;
}

static int socket_output_fd(const Chardev *chr)
{
    const CharSocket *sock = container_of(chr, CharSocket, chr);

    return sock->phase == SOCKET_OPEN ? sock->fd : -1;
}

static int socket_plain_fd(const Chardev *chr)
{
    const CharSocket *sock = container_of(chr, CharSocket, chr);

    return sock->tls || sock->websocket || sock->options->telnet ? -1 : socket_output_fd(chr);
}

/* ---- options ----------------------------------------------------------------------- */

static bool check_inet(const CharSocket *sock, const InetSocketAddress *inet, GError **err)
{
    if (inet->keep_alive && sock->server) {
        return error_set(err, "keep-alive is for clients; leave it out with server=on");
    }
    if (inet->numeric && *inet->host && !g_hostname_is_ip_address(inet->host)) {
        return error_set(err, "numeric: host '%s' is a name, not an address", inet->host);
    }
    if (inet->has_ipv4 && !inet->ipv4 && inet->has_ipv6 && !inet->ipv6) {
        return error_set(err, "ipv4=off and ipv6=off leave no address family");
    }
    return true;
}

static bool check_tls(const CharSocket *sock, GError **err)
{
    const ChardevSocket *options = sock->options;

    if (options->tls_authz && !options->tls_creds) {
        return error_set(err, "tls-authz requires tls-creds");
    }
    if (!options->tls_creds) {
        return true;
    }
    if (sock->unix_addr || sock->vsock || (sock->fd_text && !sock->server)) {
        return error_set(err, "tls-creds is for TCP: it cannot be used with path or cid, nor with fd as client");
    }
    return sock->server || !options->tls_authz ||
           error_set(err, "tls-authz is for servers: it says who may come; leave it out");
}

static bool check_reconnect(const CharSocket *sock, GError **err)
{
    const ChardevSocket *options = sock->options;

    if (options->reconnect < 0 || options->reconnect > RECONNECT_MAX) {
        return error_set(err, "reconnect=%" G_GINT64_FORMAT " is not between 0 and %d seconds", options->reconnect,
                         RECONNECT_MAX);
    }
    if (sock->server && options->reconnect) {
        return error_set(
            err, "reconnect is for clients; leave it out with server=on (a server takes the next"
                 " client by itself)");
    }
    if (options->reconnect && sock->fd_text) {
        return error_set(
            err, "reconnect cannot be used with fd: there is no address to connect to again");
    }
    return true;
}

static bool check_options(const CharSocket *sock, GError **err)
{
    const ChardevSocket *options = sock->options;

    if (!sock->server && options->has_wait) {
        return error_set(err, "wait is for servers; add server=on or leave it out");
    }
    if (!sock->server && options->websocket) {
        return error_set(err, "websocket is for servers: there is no websocket client; add server=on");
    }
    SockAddr addr;
    return check_reconnect(sock, err) && check_tls(sock, err) && (!sock->inet || check_inet(sock, sock->inet, err)) &&
           (!sock->vsock || sockaddr_vsock(&addr, sock->vsock->cid, sock->vsock->port, err));
}

static void take_options(CharSocket *sock, const ChardevSocket *options)
{
    const SocketAddressLegacy *addr = options->addr;

    sock->options = options;
    sock->server = !options->has_server || options->server;
    sock->inet = addr->type == SOCKET_ADDRESS_TYPE_INET ? addr->u.inet.data : NULL;
    sock->unix_addr = addr->type == SOCKET_ADDRESS_TYPE_UNIX ? addr->u.q_unix.data : NULL;
    sock->vsock = addr->type == SOCKET_ADDRESS_TYPE_VSOCK ? addr->u.vsock.data : NULL;
    sock->fd_text = addr->type == SOCKET_ADDRESS_TYPE_FD ? addr->u.fd.data->str : NULL;
}

/* *creds: borrowed; NULL: no TLS. */
static bool find_creds(Vm *vm, const CharSocket *sock, Object **creds, GError **err)
{
    const ChardevSocket *options = sock->options;

    *creds = options->tls_creds ? tls_creds_find(vm, options->tls_creds, sock->server, err) : NULL;
    if (options->tls_creds && !*creds) {
        return false;
    }
    return !options->tls_authz || tls_creds_have_identity(*creds) ||
           error_set(err, "tls-authz needs credentials that show who a client is: tls-creds-x509 or tls-creds-psk");
}

bool chardev_socket_check(Vm *vm, const ChardevSocket *options, GError **err)
{
    CharSocket sock = {0};
    Object *creds;

    take_options(&sock, options);
    return check_options(&sock, err) && find_creds(vm, &sock, &creds, err);
}

/* ---- life ----------------------------------------------------------------------------- */

static bool socket_open(Chardev *chr, GError **err)
{
    CharSocket *sock = char_socket(chr);
    Object *creds;

    take_options(sock, chr->options->u.socket.data);
    sock->reconnect_timer = loop_timer_new(chr->obj.vm->loop, socket_try_connect, sock);
    sock->handshake_timer = loop_timer_new(chr->obj.vm->loop, handshake_timed_out, sock);
    sock->pump = loop_timer_new(chr->obj.vm->loop, pump_input, sock);
    if (!check_options(sock, err) || !find_creds(chr->obj.vm, sock, &creds, err)) {
        return false;
    }
    sock->creds = creds ? object_ref(creds) : NULL;
    if (sock->fd_text && !socket_open_fd(sock, err)) {
        return false;
    }
    return sock->server ? socket_open_server(sock, err) : sock->fd_text || socket_open_client(sock, err);
}

static void free_timers(CharSocket *sock)
{
    loop_timer_free(sock->reconnect_timer);
    loop_timer_free(sock->handshake_timer);
    loop_timer_free(sock->pump);
    sock->reconnect_timer = sock->handshake_timer = sock->pump = NULL;
}

static void socket_close(Chardev *chr)
{
    CharSocket *sock = char_socket(chr);
    struct stat st;

    char_connect_cancel(sock->attempt);
    sock->attempt = NULL;
    drop_connection(sock);
    socket_close_listeners(sock);
    free_timers(sock);
    if (sock->made_path && lstat(sock->made_path, &st) == 0 &&
        st.st_dev == sock->path_stat.st_dev && st.st_ino == sock->path_stat.st_ino) {
        unlink(sock->made_path);
    }
    g_clear_pointer(&sock->made_path, free);
    g_clear_pointer(&sock->text, g_free);
    if (sock->creds) {
        object_unref(sock->creds);
        sock->creds = NULL;
    }
}

static const char *protocol(const CharSocket *sock)
{
    return sock->unix_addr            ? "unix"
           : sock->fd_text            ? "fd"
           : sock->options->telnet    ? "telnet"
           : sock->options->websocket ? "websocket"
                                      : "tcp";
}

static char *socket_filename(const Chardev *chr)
{
    const CharSocket *sock = container_of(chr, CharSocket, chr);

    if (sock->vsock) { /* as QEMU shows it */
        return g_strdup_printf("%s%s", chr->connected ? "" : "disconnected:", sock->text ? sock->text : "vsock:");
    }
    return g_strdup_printf("%s%s:%s%s%s%s", chr->connected ? "" : "disconnected:", protocol(sock),
                           sock->text ? sock->text : "", sock->server ? ",server=on" : "",
                           sock->peer ? " <-> " : "", sock->peer ? sock->peer : "");
}

static void socket_init(Object *obj)
{
    container_of(obj, CharSocket, chr.obj)->fd = -1;
}

/* ---- tables ------------------------------------------------------------------------ */

static const ChardevOps socket_ops = {
    .prompt = true,
    .open = socket_open,
    .close = socket_close,
    .write = socket_write,
    .want_write = socket_want_write,
    .update_read = socket_update_read,
    .read_now = socket_read_now,
    .cut_off = socket_cut_off,
    .yank = socket_yank,
    .take_fd = socket_take_fd,
    .output_fd = socket_output_fd,
    .plain_fd = socket_plain_fd,
    .plain_input_fd = socket_plain_fd,
    .filename = socket_filename,
};

KILN_TYPE(chardev_socket) = {
    .name = "chardev-socket",
    .parent = "chardev",
    .desc = "a unix or TCP stream, as server or client",
    .size = sizeof(CharSocket),
    .init = socket_init,
    .ops = &socket_ops,
};
