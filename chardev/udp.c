/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * udp: each burst of output is one datagram to host:port; datagrams that come to
 * localaddr:localport are input. There is no connection, so it counts as always connected.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "chardev/backend.h"
#include "qapi/qapi-sockets.h"
#include "util/sockaddr.h"

#define UDP_MAX_PAYLOAD 4096

typedef struct CharUdp {
    Chardev chr;
    int fd;
    LoopFd *source;
    uint8_t data[UDP_MAX_PAYLOAD]; /* the datagram being given to the user: [pos, len) */
    size_t pos, len;
    bool want_write;
} CharUdp;

static CharUdp *char_udp(Chardev *chr) { return container_of(chr, CharUdp, chr); }

static void update_events(CharUdp *udp)
{
    if (udp->source) {
        loop_fd_set_events(udp->source, (chardev_can_receive(&udp->chr) ? EPOLLIN : EPOLLET) |
                                            (udp->want_write ? EPOLLOUT : 0));
    }
}

static void deliver(CharUdp *udp)
{
    size_t room;

    while (udp->pos < udp->len && (room = chardev_can_receive(&udp->chr)) > 0) {
        size_t n = MIN(room, udp->len - udp->pos);

        udp->pos += n;
        chardev_receive(&udp->chr, udp->data + udp->pos - n, n);
    }
}

static void udp_ready(void *opaque, uint32_t events)
{
    CharUdp *udp = opaque;

    object_ref(&udp->chr.obj);
    if (events & EPOLLOUT) {
        chardev_flush(&udp->chr);
    }
    deliver(udp);
    if (udp->fd >= 0 && udp->pos == udp->len && (events & (EPOLLIN | EPOLLERR))) {
        ssize_t n = recv(udp->fd, udp->data, sizeof udp->data, MSG_DONTWAIT);

        udp->pos = 0;
        udp->len = n > 0 ? (size_t)n : 0;
        deliver(udp);
    }
    update_events(udp);
    object_unref(&udp->chr.obj);
}

static ssize_t udp_write(Chardev *chr, const uint8_t *data, size_t len)
{
    CharUdp *udp = char_udp(chr);
    size_t part = MIN(len, UDP_MAX_PAYLOAD);
    ssize_t n = send(udp->fd, data, part, MSG_DONTWAIT | MSG_NOSIGNAL);

    /* Nobody there: datagrams are allowed to get lost. */
    return n < 0 && errno != EAGAIN && errno != EINTR ? (ssize_t)part : n;
}

static void udp_want_write(Chardev *chr, bool on)
{
    char_udp(chr)->want_write = on;
    update_events(char_udp(chr));
}

static void udp_update_read(Chardev *chr)
{
    deliver(char_udp(chr));
    update_events(char_udp(chr));
}

static bool check_address(const SocketAddressLegacy *addr, GError **err)
{
    if (addr->type != SOCKET_ADDRESS_TYPE_INET) {
        return error_set(err, "udp needs addresses of type inet");
    }
    const InetSocketAddress *inet = addr->u.inet.data;
    return !(inet->numeric || inet->keep_alive || inet->to) ||
           error_set(err, "numeric, keep-alive and to are not for udp; leave them out");
}

static bool udp_open(Chardev *chr, GError **err)
{
    CharUdp *udp = char_udp(chr);
    const ChardevUdp *options = chr->options->u.udp.data;
    g_autoptr(GArray) peers = NULL, locals = NULL;
    SockAddr *peer, *local;

    if (!check_address(options->remote, err) || (options->local && !check_address(options->local, err))) {
        return false;
    }
    const InetSocketAddress *to = options->remote->u.inet.data;
    const InetSocketAddress *from = options->local ? options->local->u.inet.data : NULL;
    if (from && (from->has_ipv4 || from->has_ipv6)) {
        return error_set(err, "ipv4 and ipv6 belong to the remote address");
    }
    peers = sockaddr_resolve(*to->host ? to->host : "localhost", to->port,
                             to->ipv4   ? AF_INET
                             : to->ipv6 ? AF_INET6
                                        : AF_UNSPEC,
                             SOCK_DGRAM, false, err);
    if (!peers) {
        return false;
    }
    peer = &g_array_index(peers, SockAddr, 0);
    locals = sockaddr_resolve(from ? from->host : "", from && *from->port ? from->port : "0",
                              peer->addr.ss_family, SOCK_DGRAM, true, err);
    if (!locals) {
        return false;
    }
    local = &g_array_index(locals, SockAddr, 0);
    udp->fd = socket(peer->addr.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (udp->fd < 0 || bind(udp->fd, (struct sockaddr *)&local->addr, local->len) < 0 ||
        connect(udp->fd, (struct sockaddr *)&peer->addr, peer->len) < 0) {
        return error_set_errno(err, errno, "host=%s,port=%s,localport=%s", to->host, to->port, from ? from->port : "0");
    }
    udp->source = loop_fd_add(chr->obj.vm->loop, udp->fd, EPOLLET, udp_ready, udp);
    chardev_event(chr, CHAR_EVENT_OPENED);
    return true;
}

static void udp_close(Chardev *chr)
{
    CharUdp *udp = char_udp(chr);

    loop_fd_remove(udp->source);
    udp->source = NULL;
    if (udp->fd >= 0) {
        close(udp->fd);
    }
    udp->fd = -1;
}

static void udp_init(Object *obj)
{
    container_of(obj, CharUdp, chr.obj)->fd = -1;
}

static const ChardevOps udp_ops = {
    .prompt = true,
    .open = udp_open,
    .close = udp_close,
    .write = udp_write,
    .want_write = udp_want_write,
    .update_read = udp_update_read,
};

KILN_TYPE(chardev_udp) = {
    .name = "chardev-udp",
    .parent = "chardev",
    .desc = "datagrams to and from another host",
    .size = sizeof(CharUdp),
    .init = udp_init,
    .ops = &udp_ops,
};
