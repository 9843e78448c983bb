/* SPDX-License-Identifier: GPL-2.0-or-later */
/* socket: the server's side, and descriptors that were passed to us. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "chardev/socket_int.h"
#include "util/log.h"
#include "util/sockaddr.h"

void socket_listen_for_next(CharSocket *sock, bool on)
{
    for (unsigned i = 0; i < sock->n_listeners; i++) {
        if (sock->listen_sources[i]) {
            loop_fd_set_events(sock->listen_sources[i], on ? EPOLLIN : 0);
        }
    }
}

static bool accept_client(CharSocket *sock, int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0) {
        return false;
    }
    socket_take_connection(sock, fd);
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
    while (sock->phase != SOCKET_OPEN) {
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

void socket_close_listeners(CharSocket *sock)
{
    for (unsigned i = 0; i < sock->n_listeners; i++) {
        loop_fd_remove(sock->listen_sources[i]);
        if (!char_state(sock->chr.obj.vm)->keep_listening) {
            close(sock->listeners[i]);
        }
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
static bool listen_at(CharSocket *sock, GArray *addrs, unsigned port, GError **err)
{
    uint16_t net_port = htons((uint16_t)port);

    for (unsigned i = 0; i < addrs->len && sock->n_listeners < MAX_LISTENERS; i++) {
        SockAddr *addr = &g_array_index(addrs, SockAddr, i);
        int fd;

        *sockaddr_port(addr) = net_port;
        addr->mptcp = sock->inet->mptcp;
        fd = socket_listen(addr, sock->n_listeners ? NULL : err);
        if (fd < 0 && sock->n_listeners == 0 && i + 1 < addrs->len) {
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

static int address_family(const InetSocketAddress *inet)
{
    bool no4 = inet->has_ipv4 ? !inet->ipv4 : inet->ipv6;
    bool no6 = inet->has_ipv6 ? !inet->ipv6 : inet->ipv4;

    return no4 ? AF_INET6 : no6 ? AF_INET : AF_UNSPEC;
}

static bool listen_tcp(CharSocket *sock, GError **err)
{
    g_autoptr(GArray) addrs = sockaddr_resolve(sock->inet->host, sock->inet->port, address_family(sock->inet),
                                               SOCK_STREAM, true, err);

    if (!addrs) {
        return false;
    }
    unsigned port = ntohs(*sockaddr_port(&g_array_index(addrs, SockAddr, 0))), last = MAX(port, sock->inet->to);
    for (; port <= last; port++) {
        g_clear_error(err);
        if (listen_at(sock, addrs, port, err)) {
            return true;
        }
    }
    return false;
}

static bool listen_unix(CharSocket *sock, GError **err)
{
    const UnixSocketAddress *un = sock->unix_addr;
    SockAddr addr;
    int fd;

    if (!sockaddr_unix(&addr, un->path, un->abstract, !un->has_tight || un->tight, err)) {
        return false;
    }
    fd = socket_listen(&addr, err);
    if (fd < 0) {
        return false;
    }
    sock->text = sockaddr_text(&addr);
    listener_add(sock, fd);
    if (!un->abstract && lstat(un->path, &sock->path_stat) == 0) {
        sock->made_path = realpath(un->path, NULL); /* -daemonize changes the directory */
    }
    return true;
}

static bool listen_vsock(CharSocket *sock, GError **err)
{
    SockAddr addr;

    if (!sockaddr_vsock(&addr, sock->vsock->cid, sock->vsock->port, err)) {
        return false;
    }
    int fd = socket_listen(&addr, err);
    if (fd < 0) {
        return false;
    }
    sock->text = sockaddr_text(&addr);
    listener_add(sock, fd);
    return true;
}

/* Not one that was passed to us. */
static bool listen_new(CharSocket *sock, GError **err)
{
    return sock->unix_addr ? listen_unix(sock, err) : sock->vsock ? listen_vsock(sock, err) : listen_tcp(sock, err);
}

bool socket_open_fd(CharSocket *sock, GError **err)
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
        socket_take_connection(sock, (int)fd);
    }
    return true;
}

bool socket_open_server(CharSocket *sock, GError **err)
{
    if (!sock->fd_text && !listen_new(sock, err)) {
        return false;
    }
    /* Who has connected to an inherited socket need not wait until the machine is made: a monitor greets it now. */
    if (sock->fd_text) {
        listener_ready(sock, 0);
    }
    return !sock->options->wait || wait_for_client(sock, err);
}
