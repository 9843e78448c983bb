/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "chardev/connect.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <unistd.h>

#include "qapi/qapi.h"
#include "util/sockaddr.h"
#include "util/thread.h"
#include "util/trace.h"

#define UNIX_WAIT_US 100000  /* how long one attempt waits in the queue of a unix server that is slow to accept */

struct CharConnect {
    int refs;                  /* atomic: the loop's side and the thread */
    SocketAddressLegacy *addr; /* constant while the thread lives */
    int cancel_fd;             /* eventfd, written by the loop's side */
    int done_fd;               /* eventfd, written by the thread as its last act */
    /* ---- the thread's until done_fd tells ---- */
    int fd;                    /* the connection; -1: none */
    GError *err;
    /* ---- the loop's ---- */
    LoopFd *source;
    CharConnectDone *done;
    void *opaque;
};

static void connect_unref(CharConnect *c)
{
    if (!g_atomic_int_dec_and_test(&c->refs)) {
        return;
    }
    if (c->fd >= 0) {
        close(c->fd);
    }
    close(c->cancel_fd);
    close(c->done_fd);
    g_clear_error(&c->err);
    qapi_free(&qapi_type_SocketAddressLegacy, c->addr);
    g_free(c);
}

char *char_address_text(const SocketAddressLegacy *addr)
{
    if (addr->type == SOCKET_ADDRESS_TYPE_UNIX) {
        const UnixSocketAddress *un = addr->u.q_unix.data;

        return g_strconcat(un->abstract ? "@" : "", un->path, NULL);
    }
    if (addr->type == SOCKET_ADDRESS_TYPE_VSOCK) {
        return g_strdup_printf("vsock:%s:%s", addr->u.vsock.data->cid, addr->u.vsock.data->port);
    }
    const InetSocketAddress *inet = addr->u.inet.data;
    return g_strdup_printf(strchr(inet->host, ':') ? "[%s]:%s" : "%s:%s", inet->host, inet->port);
}

/* ---- the thread ------------------------------------------------------------------------------ */

static bool is_cancelled(const CharConnect *c)
{
    struct pollfd wait = {.fd = c->cancel_fd, .events = POLLIN};

    return poll(&wait, 1, 0) > 0;
}

/* Until a pending connection is made or refused. */
static bool await_tcp(CharConnect *c, int fd, const SockAddr *addr)
{
    struct pollfd wait[2] = {{.fd = fd, .events = POLLOUT}, {.fd = c->cancel_fd, .events = POLLIN}};

    while (poll(wait, 2, -1) < 0 && errno == EINTR) {
    }
    if (wait[1].revents) {
        return error_set(&c->err, "was ended");
    }
    return socket_connected(fd, addr, &c->err);
}

static int connect_tcp(CharConnect *c, const SockAddr *addr)
{
    bool pending;
    int fd = socket_connect(addr, &pending, &c->err);

    if (fd >= 0 && pending && !await_tcp(c, fd, addr)) {
        close(fd);
        return -1;
    }
    return fd;
}

/* A unix server whose queue is full is waited for; only a blocking connect can do that. */
static int connect_unix(CharConnect *c, const SockAddr *addr)
{
    const struct timeval limit = {.tv_usec = UNIX_WAIT_US};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;

    if (fd < 0) {
        error_set_errno(&c->err, errno, "no socket could be made");
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    do {
        rc = connect(fd, (const struct sockaddr *)&addr->addr, addr->len);
    } while (rc < 0 && (errno == EAGAIN || errno == EINTR) && !is_cancelled(c));
    if (rc < 0) {
        g_autofree char *text = sockaddr_text(addr);

        error_set_errno(&c->err, errno, "cannot connect to %s", text);
        close(fd);
        return -1;
    }
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    return fd;
}

static int address_family(const InetSocketAddress *inet)
{
    bool no4 = inet->has_ipv4 ? !inet->ipv4 : inet->ipv6;
    bool no6 = inet->has_ipv6 ? !inet->ipv6 : inet->ipv4;

    return no4 ? AF_INET6 : no6 ? AF_INET : AF_UNSPEC;
}

static void connect_inet(CharConnect *c, const InetSocketAddress *inet)
{
    g_autoptr(GArray) addrs = sockaddr_resolve(inet->host, inet->port, address_family(inet), SOCK_STREAM, false, &c->err);

    for (unsigned i = 0; addrs && i < addrs->len && c->fd < 0 && !is_cancelled(c); i++) {
        SockAddr *addr = &g_array_index(addrs, SockAddr, i);

        g_clear_error(&c->err);
        addr->mptcp = inet->mptcp;
        c->fd = connect_tcp(c, addr);
    }
}

static void *connect_thread(void *opaque)
{
    CharConnect *c = opaque;
    const uint64_t one = 1;

    if (c->addr->type == SOCKET_ADDRESS_TYPE_UNIX) {
        const UnixSocketAddress *un = c->addr->u.q_unix.data;
        SockAddr addr;

        if (sockaddr_unix(&addr, un->path, un->abstract, !un->has_tight || un->tight, &c->err)) {
            c->fd = connect_unix(c, &addr);
        }
    } else if (c->addr->type == SOCKET_ADDRESS_TYPE_VSOCK) {
        const VsockSocketAddress *vsock = c->addr->u.vsock.data;
        SockAddr addr;

        if (sockaddr_vsock(&addr, vsock->cid, vsock->port, &c->err)) {
            c->fd = connect_tcp(c, &addr);
        }
    } else {
        connect_inet(c, c->addr->u.inet.data);
    }
    if (c->fd < 0 && !c->err) {
        error_set(&c->err, "was ended");
    }
    if (write(c->done_fd, &one, sizeof one) < 0) {
        trace(char_connect_lost, "%d", errno); /* an eventfd that is open takes it */
    }
    connect_unref(c);
    return NULL;
}

/* ---- the loop's side ---------------------------------------------------------------------------- */

static void connect_ended(void *opaque, uint32_t events)
{
    CharConnect *c = opaque;
    eventfd_t ended;
    int fd;

    eventfd_read(c->done_fd, &ended); /* what the thread wrote before is here */
    loop_fd_remove(c->source);
    fd = c->fd;
    c->fd = -1;
    trace(char_connect_end, "%d: %s", fd, fd < 0 ? c->err->message : "connected");
    c->done(c->opaque, fd, c->err);
    connect_unref(c);
}

CharConnect *char_connect_start(Loop *loop, const SocketAddressLegacy *addr, CharConnectDone *done, void *opaque)
{
    CharConnect *c = g_new0(CharConnect, 1);

    c->refs = 2;
    c->addr = qapi_clone(&qapi_type_SocketAddressLegacy, addr);
    c->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    c->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    c->fd = -1;
    c->done = done;
    c->opaque = opaque;
    c->source = loop_fd_add(loop, c->done_fd, EPOLLIN, connect_ended, c);
    int errnum = thread_start_detached(connect_thread, c, 0);
    if (errnum) {
        const uint64_t one = 1;

        error_set_errno(&c->err, errnum, "no thread to connect with");
        if (write(c->done_fd, &one, sizeof one) < 0) {
            trace(char_connect_lost, "%d", errno);
        }
        connect_unref(c);
    }
    return c;
}

void char_connect_cancel(CharConnect *c)
{
    const uint64_t one = 1;

    if (!c) {
        return;
    }
    loop_fd_remove(c->source);
    if (write(c->cancel_fd, &one, sizeof one) < 0) {
        trace(char_connect_lost, "%d", errno);
    }
    connect_unref(c);
}
