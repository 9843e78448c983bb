/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * socket: a unix or TCP stream, as server (one client at a time; the next one waits until the
 * present one has gone) or client (with reconnect=, it tries again for ever).
 *
 * Not done: websocket=, tls-creds=, tn3270= are refused.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chardev/backend.h"
#include "chardev/sockaddr.h"
#include "chardev/telnet.h"
#include "util/log.h"
#include "util/trace.h"

#define MAX_LISTENERS 4      /* addresses that a host name stands for */
#define MAX_PASSED_FDS 16    /* descriptors in one message */

typedef struct CharSocket {
    Chardev chr;
    /* ---- options ---- */
    char *path, *host, *port, *fd_text, *tls_creds, *tls_authz;
    uint16_t to;             /* last port to try */
    bool server, nodelay, telnet, tn3270, websocket, abstract, tight;
    int wait, delay, ipv4, ipv6; /* OnOffAuto */
    uint32_t reconnect;      /* seconds; 0: never */
    /* ---- state ---- */
    int listeners[MAX_LISTENERS];
    LoopFd *listen_sources[MAX_LISTENERS];
    unsigned n_listeners;
    char *made_path;         /* absolute: the path that we made; NULL: none */
    struct stat path_stat;   /* as we made it */
    GArray *addrs;           /* client: SockAddr to try, in turn */
    unsigned next_addr;
    int fd;                  /* connection, or one being made; -1: none */
    LoopFd *source;
    bool connecting;
    bool want_write;

    LoopTimer *reconnect_timer;
    char *text;              /* address for people */
    char *peer;              /* TCP: the client's, while connected */
    Telnet telnet_state;
    bool half_iac;           /* telnet: one of two IAC bytes is out */
    int passed[MAX_PASSED_FDS];
    unsigned n_passed;
} CharSocket;

static CharSocket *char_socket(Chardev *chr) { return container_of(chr, CharSocket, chr); }

/* ---- the connection ---------------------------------------------------------------- */

static void close_passed_fds(CharSocket *sock)
{
    while (sock->n_passed) {
        close(sock->passed[--sock->n_passed]);
    }
}

static void listen_for_next(CharSocket *sock, bool on)
{
    for (unsigned i = 0; i < sock->n_listeners; i++) {
        if (sock->listen_sources[i]) {
            loop_fd_set_events(sock->listen_sources[i], on ? EPOLLIN : 0);
        }
    }
}

static void plan_reconnect(CharSocket *sock)
{
    if (sock->reconnect && !sock->server) {
        loop_timer_arm(sock->reconnect_timer,
                       clock_monotonic_ns() + sock->reconnect * NSEC_PER_SEC);
    }
}

static void drop_connection(CharSocket *sock)
{
    loop_fd_remove(sock->source);
    sock->source = NULL;
    if (sock->fd >= 0) {
        close(sock->fd);
    }
    sock->fd = -1;
    sock->connecting = false;
    close_passed_fds(sock);
    g_clear_pointer(&sock->peer, g_free);
}

static void disconnect(CharSocket *sock)
{
    if (sock->fd < 0) {
        return;
    }
    drop_connection(sock);
    listen_for_next(sock, true);
    plan_reconnect(sock);
    chardev_event(&sock->chr, CHAR_EVENT_CLOSED);
}

/* While the user takes nothing, only the end of the peer is of interest, and once (EPOLLET). */
static void update_events(CharSocket *sock)
{
    uint32_t events = chardev_can_receive(&sock->chr) ? EPOLLIN : EPOLLET | EPOLLRDHUP;

    if (sock->source && !sock->connecting) {
        loop_fd_set_events(sock->source, events | (sock->want_write ? EPOLLOUT : 0));
    }
}

static void take_passed_fds(CharSocket *sock, struct msghdr *msg)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
            unsigned n = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));

            close_passed_fds(sock);
            sock->n_passed = MIN(n, MAX_PASSED_FDS);
            memcpy(sock->passed, CMSG_DATA(c), sock->n_passed * sizeof(int));
        }
    }
}

static ssize_t receive_bytes(CharSocket *sock, uint8_t *buf, size_t room)
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

static void read_connection(CharSocket *sock)
{
    uint8_t buf[CHAR_READ_SIZE];
    size_t room = MIN(chardev_can_receive(&sock->chr), sizeof buf), len;
    ssize_t n;

    if (room == 0) {
        return;
    }
    n = receive_bytes(sock, buf, room);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        disconnect(sock);
    } else if (n > 0) {
        len = sock->telnet ? telnet_decode(&sock->telnet_state, buf, (size_t)n) : (size_t)n;
        for (; sock->telnet_state.breaks; sock->telnet_state.breaks--) {
            chardev_event(&sock->chr, CHAR_EVENT_BREAK);
        }
        if (len) {
            chardev_receive(&sock->chr, buf, len);
        }
    }
}

static bool nothing_to_read(const CharSocket *sock)
{
    int pending = 0;

    return ioctl(sock->fd, FIONREAD, &pending) < 0 || pending == 0;
}

static void connection_ready(void *opaque, uint32_t events)
{
    CharSocket *sock = opaque;

    object_ref(&sock->chr.obj);
    if (events & EPOLLOUT) {
        chardev_flush(&sock->chr);
    }
    if (sock->fd >= 0 && (events & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP))) {
        if (chardev_can_receive(&sock->chr)) {
            read_connection(sock);
        } else if ((events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)) && nothing_to_read(sock)) {
            disconnect(sock);
        }
    }
    update_events(sock);
    object_unref(&sock->chr.obj);
}

static void send_greeting(CharSocket *sock)
{
    size_t len;
    const uint8_t *greeting = telnet_greeting(&len);

    sock->telnet_state = (Telnet){0};
    sock->half_iac = false;
    /* A new connection's buffer is empty: it goes out whole, or the connection is broken. */
    if (send(sock->fd, greeting, len, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)len) {
        trace(char_socket_greeting, "%s: failed: %d", chardev_id(&sock->chr), errno);
    }
}

/* fd is connected and ours. */
static void connection_start(CharSocket *sock, int fd)
{
    SockAddr addr = {.len = sizeof addr.addr};

    loop_fd_remove(sock->source);
    sock->fd = fd;
    sock->connecting = false;
    listen_for_next(sock, false);
    if (getpeername(fd, (struct sockaddr *)&addr.addr, &addr.len) == 0 &&
        addr.addr.ss_family != AF_UNIX) {
        int on = 1;

        if (sock->nodelay || sock->delay == ON_OFF_AUTO_OFF) {
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        }
        g_free(sock->peer);
        sock->peer = sockaddr_text(&addr);
    }
    if (sock->telnet && sock->server) {
        send_greeting(sock);
    }
    sock->source =
        loop_fd_add(sock->chr.obj.vm->loop, fd, EPOLLET | EPOLLRDHUP, connection_ready, sock);
    chardev_event(&sock->chr, CHAR_EVENT_OPENED);
    update_events(sock);
}

/* ---- output ------------------------------------------------------------------------ */

static ssize_t send_bytes(CharSocket *sock, const uint8_t *data, size_t len)
{
    return send(sock->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Byte 255 goes out twice. Returns the bytes of data that are wholly out. */
static ssize_t send_telnet(CharSocket *sock, const uint8_t *data, size_t len)
{
    static const uint8_t pair[2] = {TELNET_IAC, TELNET_IAC};
    const uint8_t *iac = memchr(data, TELNET_IAC, len);
    ssize_t n;

    if (iac != data) {
        return send_bytes(sock, data, iac ? (size_t)(iac - data) : len);
    }
    n = send_bytes(sock, pair, sock->half_iac ? 1 : 2);
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

static ssize_t socket_write(Chardev *chr, const uint8_t *data, size_t len)
{
    CharSocket *sock = char_socket(chr);
    ssize_t n;

    if (sock->fd < 0 || sock->connecting) {
        return (ssize_t)len;
    }
    n = sock->telnet ? send_telnet(sock, data, len) : send_bytes(sock, data, len);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        /* The peer is gone. What it sent before may still be there to be read: the hang-up
         * tells. */
        if (nothing_to_read(sock)) {
            disconnect(sock);
        }
        return (ssize_t)len;
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

    return sock->connecting ? -1 : sock->fd;
}

/* ---- client ------------------------------------------------------------------------ */

static void connect_ready(void *opaque, uint32_t events)
{
    CharSocket *sock = opaque;
    int errnum = 0, fd = sock->fd;
    socklen_t len = sizeof errnum;

    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &errnum, &len) < 0 || errnum) {
        trace(char_socket_connect_failed, "%s: %d", chardev_id(&sock->chr), errnum);
        drop_connection(sock);
        plan_reconnect(sock);
        return;
    }
    connection_start(sock, fd);
}

/* One attempt, at the next address; a failure is followed by another one later. */
static void try_connect(void *opaque)
{
    CharSocket *sock = opaque;
    const SockAddr *addr =
        &g_array_index(sock->addrs, SockAddr, sock->next_addr++ % sock->addrs->len);
    bool pending;
    int fd = socket_connect(addr, false, &pending, NULL);

    if (fd < 0) {
        plan_reconnect(sock);
    } else if (!pending) {
        connection_start(sock, fd);
    } else {
        sock->fd = fd;
        sock->connecting = true;
        sock->source = loop_fd_add(sock->chr.obj.vm->loop, fd, EPOLLOUT, connect_ready, sock);
    }
}

static bool connect_now(CharSocket *sock, GError **err)
{
    for (unsigned i = 0; i < sock->addrs->len; i++) {
        bool pending;
        int fd;

        g_clear_error(err);
        fd = socket_connect(&g_array_index(sock->addrs, SockAddr, i), true, &pending, err);
        if (fd >= 0) {
            connection_start(sock, fd);
            return true;
        }
    }
    return false;
}

/* ---- server ------------------------------------------------------------------------ */

static bool accept_client(CharSocket *sock, int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0) {
        return false;
    }
    connection_start(sock, fd);
    return true;
}

static void listener_ready(void *opaque, uint32_t events)
{
    CharSocket *sock = opaque;

    for (unsigned i = 0; i < sock->n_listeners && sock->fd < 0; i++) {
        accept_client(sock, sock->listeners[i]);
    }
}

/* wait=on: true when the first client has come. The loop runs meanwhile, so that a signal ends the
 * wait. */
static bool wait_for_client(CharSocket *sock, GError **err)
{
    Vm *vm = sock->chr.obj.vm;

    report_info("chardev '%s': waiting for a connection to %s", chardev_id(&sock->chr), sock->text);
    while (sock->fd < 0) {
        if (vm_end_requested(vm)) {
            return error_set(err, "the wait for a client of %s was ended", sock->text);
        }
        loop_run_once(vm->loop, -1);
    }
    return true;
}

static void listener_add(CharSocket *sock, int fd)
{
    unsigned i = sock->n_listeners++;

    sock->listeners[i] = fd;
    sock->listen_sources[i] =
        loop_fd_add(sock->chr.obj.vm->loop, fd, EPOLLIN, listener_ready, sock);
}

static void close_listeners(CharSocket *sock)
{
    for (unsigned i = 0; i < sock->n_listeners; i++) {
        loop_fd_remove(sock->listen_sources[i]);
        close(sock->listeners[i]);
    }
    sock->n_listeners = 0;
}

static uint16_t *sockaddr_port(SockAddr *addr)
{
    return addr->addr.ss_family == AF_INET6 ? &((struct sockaddr_in6 *)&addr->addr)->sin6_port
                                            : &((struct sockaddr_in *)&addr->addr)->sin_port;
}

/* All addresses of the name at one port. port 0: the first one gets a free port, the others the
 * same. */
static bool listen_at(CharSocket *sock, unsigned port, GError **err)
{
    uint16_t net_port = htons((uint16_t)port);

    for (unsigned i = 0; i < sock->addrs->len && sock->n_listeners < MAX_LISTENERS; i++) {
        SockAddr *addr = &g_array_index(sock->addrs, SockAddr, i);
        int fd;

        *sockaddr_port(addr) = net_port;
        fd = socket_listen(addr, sock->n_listeners ? NULL : err);
        if (fd < 0 && sock->n_listeners == 0 && i + 1 < sock->addrs->len) {
            g_clear_error(err);
        } else if (fd >= 0) {
            SockAddr bound = {.len = sizeof bound.addr};

            listener_add(sock, fd);
            if (getsockname(fd, (struct sockaddr *)&bound.addr, &bound.len) == 0) {
                net_port = *sockaddr_port(&bound);
                if (sock->n_listeners == 1) {
                    g_free(sock->text);
                    sock->text = sockaddr_text(&bound);
                }
            }
        }
    }
    return sock->n_listeners > 0;
}

static bool listen_tcp(CharSocket *sock, GError **err)
{
    SockAddr *first = &g_array_index(sock->addrs, SockAddr, 0);
    unsigned port = ntohs(*sockaddr_port(first)), last = MAX(port, sock->to);

    for (; port <= last; port++) {
        g_clear_error(err);
        if (listen_at(sock, port, err)) {
            return true;
        }
    }
    return false;
}

static bool listen_unix(CharSocket *sock, GError **err)
{
    const SockAddr *addr = &g_array_index(sock->addrs, SockAddr, 0);
    int fd = socket_listen(addr, err);

    if (fd < 0) {
        return false;
    }
    listener_add(sock, fd);
    if (!sock->abstract && lstat(sock->path, &sock->path_stat) == 0) {
        sock->made_path = realpath(sock->path, NULL); /* -daemonize changes the directory */
    }
    return true;
}

/* ---- options ----------------------------------------------------------------------- */

static bool refuse_missing(const CharSocket *sock, GError **err)
{
    if (sock->websocket) {
        return error_set(err, "websocket=on: websocket consoles are not supported yet; use a plain "
                              "or telnet=on socket");
    }
    if (sock->tn3270) {
        return error_set(err, "tn3270=on: there are no 3270 terminals on a PC; use telnet=on");
    }
    if (sock->tls_creds || sock->tls_authz) {
        return error_set(err, "%s: TLS is not supported yet; use a unix socket, or a tunnel of ssh",
                         sock->tls_creds ? "tls-creds" : "tls-authz");
    }
    return true;
}

static bool check_options(const CharSocket *sock, GError **err)
{
    unsigned ways = !!sock->path + (sock->host || sock->port) + !!sock->fd_text;

    if (!refuse_missing(sock, err)) {
        return false;
    }
    if (ways != 1) {
        return error_set(err, ways ? "path, host and fd exclude each other; give one of them"
                                   : "an address is missing; give path=, host= and port=, or fd=");
    }
    if ((sock->host || sock->port) && !sock->port) {
        return error_set(err,
                         "port is missing; say port=NUMBER (with server=on, 0 takes a free one)");
    }
    if (!sock->server && sock->wait != ON_OFF_AUTO_AUTO) {
        return error_set(err, "wait is for servers; add server=on or leave it out");
    }
    if (sock->server && sock->reconnect) {
        return error_set(
            err, "reconnect is for clients; leave it out with server=on (a server takes the next"
                 " client by itself)");
    }
    if (sock->reconnect && sock->fd_text) {
        return error_set(
            err, "reconnect cannot be used with fd: there is no address to connect to again");
    }
    if ((sock->abstract || !sock->tight) && !sock->path) {
        return error_set(err, "abstract and tight are for unix sockets; give path=");
    }
    if (sock->ipv4 == ON_OFF_AUTO_OFF && sock->ipv6 == ON_OFF_AUTO_OFF) {
        return error_set(err, "ipv4=off and ipv6=off leave no address family");
    }
    return true;
}

static int address_family(const CharSocket *sock)
{
    bool no4 = sock->ipv4 == ON_OFF_AUTO_OFF ||
               (sock->ipv6 == ON_OFF_AUTO_ON && sock->ipv4 != ON_OFF_AUTO_ON);
    bool no6 = sock->ipv6 == ON_OFF_AUTO_OFF ||
               (sock->ipv4 == ON_OFF_AUTO_ON && sock->ipv6 != ON_OFF_AUTO_ON);

    return no4 ? AF_INET6 : no6 ? AF_INET : AF_UNSPEC;
}

static bool resolve(CharSocket *sock, GError **err)
{
    if (sock->path) {
        SockAddr addr;

        if (!sockaddr_unix(&addr, sock->path, sock->abstract, sock->tight, err)) {
            return false;
        }
        sock->addrs = g_array_new(false, true, sizeof(SockAddr));
        g_array_append_val(sock->addrs, addr);
    } else {
        sock->addrs = sockaddr_resolve(sock->host, sock->port, address_family(sock), SOCK_STREAM,
                                       sock->server, err);
        if (!sock->addrs) {
            return false;
        }
    }
    sock->text = sockaddr_text(&g_array_index(sock->addrs, SockAddr, 0));
    return true;
}

static bool open_passed_fd(CharSocket *sock, GError **err)
{
    int listening = 0;
    socklen_t len = sizeof listening;
    guint64 fd;

    if (!g_ascii_string_to_unsigned(sock->fd_text, 10, 0, INT32_MAX, &fd, NULL)) {
        return error_set(err, "fd=%s is no descriptor number", sock->fd_text);
    }
    if (getsockopt((int)fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0) {
        return error_set_errno(err, errno, "fd=%s is no socket that was passed to this process",
                               sock->fd_text);
    }
    if (sock->server != !!listening) {
        return error_set(err, sock->server ? "fd=%s does not listen; leave server=on out"
                                           : "fd=%s listens; add server=on", sock->fd_text);
    }
    if (!fd_set_nonblock((int)fd, err)) {
        return false;
    }
    fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    sock->text = g_strdup_printf("fd %s", sock->fd_text);
    if (sock->server) {
        listener_add(sock, (int)fd);
    } else {
        connection_start(sock, (int)fd);
    }
    return true;
}

static bool open_server(CharSocket *sock, GError **err)
{
    if (!sock->fd_text && !(sock->path ? listen_unix(sock, err) : listen_tcp(sock, err))) {
        return false;
    }
    return sock->wait == ON_OFF_AUTO_OFF || wait_for_client(sock, err);
}

static bool socket_open(Chardev *chr, GError **err)
{
    CharSocket *sock = char_socket(chr);

    if (!check_options(sock, err)) {
        return false;
    }
    sock->reconnect_timer = loop_timer_new(chr->obj.vm->loop, try_connect, sock);
    if (!(sock->fd_text ? open_passed_fd(sock, err) : resolve(sock, err))) {
        return false;
    }
    if (sock->server) {
        return open_server(sock, err);
    }
    if (sock->reconnect) {
        try_connect(sock);
        return true;
    }
    if (!sock->fd_text) {
        GError *cause = NULL;

        if (!connect_now(sock, &cause)) {
            g_propagate_error(err, cause);
            return false;
        }
    }
    return true;
}

static void socket_close(Chardev *chr)
{
    CharSocket *sock = char_socket(chr);
    struct stat st;

    drop_connection(sock);
    close_listeners(sock);
    loop_timer_free(sock->reconnect_timer);
    sock->reconnect_timer = NULL;
    if (sock->made_path && lstat(sock->made_path, &st) == 0 &&
        st.st_dev == sock->path_stat.st_dev && st.st_ino == sock->path_stat.st_ino) {
        unlink(sock->made_path);
    }
    g_clear_pointer(&sock->made_path, free);
    if (sock->addrs) {
        g_array_unref(sock->addrs);
        sock->addrs = NULL;
    }
    g_clear_pointer(&sock->text, g_free);
}

static char *socket_filename(const Chardev *chr)
{
    const CharSocket *sock = container_of(chr, CharSocket, chr);
    const char *kind = sock->path ? "unix" : sock->fd_text ? "fd" : sock->telnet ? "telnet" : "tcp";

    return g_strdup_printf("%s%s:%s%s%s%s", chr->connected ? "" : "disconnected:", kind,
                           sock->text ? sock->text : "", sock->server ? ",server=on" : "",
                           sock->peer ? " <-> " : "", sock->peer ? sock->peer : "");
}

static void socket_init(Object *obj)
{
    container_of(obj, CharSocket, chr.obj)->fd = -1;
}

/* ---- tables ------------------------------------------------------------------------ */

static const Property socket_props[] = {
    PROP_STRING("path", CharSocket, path, .help = "unix socket"),
    PROP_BOOL("abstract", CharSocket, abstract,
              .help = "path is a name in Linux' abstract namespace"),
    PROP_BOOL("tight", CharSocket, tight, .def = 1,
              .help = "the abstract name is not padded with zeros"),
    PROP_STRING("host", CharSocket, host, .help = "TCP: name or address (empty: any)"),
    PROP_STRING("port", CharSocket, port, .help = "TCP: port number or service name"),
    PROP_U16("to", CharSocket, to, .help = "server: last port to try when port is taken"),
    PROP_ON_OFF_AUTO("ipv4", CharSocket, ipv4, .help = "TCP: use IPv4 addresses"),
    PROP_ON_OFF_AUTO("ipv6", CharSocket, ipv6, .help = "TCP: use IPv6 addresses"),
    PROP_STRING("fd", CharSocket, fd_text,
                .help = "number of a socket passed by the parent process"),
    PROP_BOOL("server", CharSocket, server, .help = "listen instead of connecting"),
    PROP_ON_OFF_AUTO("wait", CharSocket, wait,
                     .help = "server: start only when a client is there (default on)"),
    PROP_BOOL("nodelay", CharSocket, nodelay, .help = "TCP: small packets are sent at once"),
    PROP_ON_OFF_AUTO("delay", CharSocket, delay, .help = "TCP: delay=off is nodelay=on"),
    PROP_U32("reconnect", CharSocket, reconnect, .max = 86400,
             .help = "client: seconds until the next attempt (0: none)"),
    PROP_BOOL("telnet", CharSocket, telnet, .help = "speak the telnet protocol"),
    PROP_BOOL("tn3270", CharSocket, tn3270, .help = "not supported"),
    PROP_BOOL("websocket", CharSocket, websocket, .help = "not supported yet"),
    PROP_STRING("tls-creds", CharSocket, tls_creds, .help = "not supported yet"),
    PROP_STRING("tls-authz", CharSocket, tls_authz, .help = "not supported yet"),
    {}
};

static const ChardevOps socket_ops = {
    .open = socket_open,
    .close = socket_close,
    .write = socket_write,
    .want_write = socket_want_write,
    .update_read = socket_update_read,
    .cut_off = socket_cut_off,
    .take_fd = socket_take_fd,
    .output_fd = socket_output_fd,
    .filename = socket_filename,
};

KILN_TYPE(chardev_socket) = {
    .name = "chardev-socket",
    .parent = "chardev",
    .desc = "a unix or TCP stream, as server or client",
    .size = sizeof(CharSocket),
    .props = socket_props,
    .init = socket_init,
    .ops = &socket_ops,
};
