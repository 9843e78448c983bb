/* SPDX-License-Identifier: GPL-2.0-or-later */
/* socket: what stream and dgram do, in the notation that came before them. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <unistd.h>

#include "net/sockets.h"

typedef struct NetdevSocket {
    Netdev netdev;
    NetStream *stream;      /* one of the two */
    NetDgram *dgram;
    const char *idle;       /* what info network says without a connection */
} NetdevSocket;

static void stream_changed(void *opaque, const SockAddr *peer)
{
    NetdevSocket *s = opaque;
    g_autofree char *text = peer ? sockaddr_text(peer) : NULL;

    if (peer && *text) {
        netdev_set_info(&s->netdev, "socket: connection %s %s", *s->idle ? "to" : "from", text);
    } else if (!peer) {
        netdev_set_info(&s->netdev, "%s", s->idle);
    }
}

static bool use_fd(NetdevSocket *s, const char *text, GError **err)
{
    int fd = net_take_fd(s->netdev.obj.vm, text, err),
        type = fd < 0 ? -1 : net_socket_type(fd, err);

    if (fd < 0) {
        return false;
    }
    if (type < 0) {
        close(fd);
        return false;
    }
    netdev_set_info(&s->netdev, "socket: fd=%d", fd);
    if (type == SOCK_DGRAM) {
        s->dgram = net_dgram_new(&s->netdev, fd, NULL);
    } else {
        s->stream = net_stream_new(&s->netdev, stream_changed, s);
        net_stream_use(s->stream, fd);
    }
    return true;
}

static bool use_stream(NetdevSocket *s, const char *text, bool server, GError **err)
{
    g_autoptr(GArray) addrs = net_resolve_text(s->netdev.obj.vm, text, AF_UNSPEC, SOCK_STREAM, server, err);

    if (!addrs) {
        return false;
    }
    s->idle = server ? "" : "socket: disconnected";
    s->stream = net_stream_new(&s->netdev, stream_changed, s);
    netdev_set_info(&s->netdev, "%s%s", server ? "" : "socket: connect to ", server ? "" : text);
    return server ? net_stream_listen(s->stream, addrs, err)
                  : net_stream_connect(s->stream, addrs, err);
}

static bool use_multicast(NetdevSocket *s, const NetdevSocketOptions *o, GError **err)
{
    g_autoptr(GArray) addrs = net_resolve_text(s->netdev.obj.vm, o->mcast, AF_INET, SOCK_DGRAM, false, err);
    struct in_addr local;

    if (!addrs) {
        return false;
    }
    if (o->localaddr && !inet_aton(o->localaddr, &local)) {
        return error_set(err, "localaddr '%s' is not a valid IPv4 address", o->localaddr);
    }
    const SockAddr *group = &g_array_index(addrs, SockAddr, 0);
    int fd = net_multicast_socket(group, o->localaddr ? &local : NULL, err);
    if (fd < 0) {
        return false;
    }
    s->dgram = net_dgram_new(&s->netdev, fd, group);
    netdev_set_info(&s->netdev, "socket: mcast=%s", o->mcast);
    return true;
}

static bool use_udp(NetdevSocket *s, const NetdevSocketOptions *o, GError **err)
{
    if (!o->localaddr) {
        return error_set(err, "localaddr= is mandatory with udp=");
    }
    g_autoptr(GArray) local = net_resolve_text(s->netdev.obj.vm, o->localaddr, AF_INET, SOCK_DGRAM, true, err);
    g_autoptr(GArray) remote =
        local ? net_resolve_text(s->netdev.obj.vm, o->udp, AF_INET, SOCK_DGRAM, false, err) : NULL;
    if (!remote) {
        return false;
    }
    int fd = net_bind_dgram(&g_array_index(local, SockAddr, 0), err);
    if (fd < 0) {
        return false;
    }
    s->dgram = net_dgram_new(&s->netdev, fd, &g_array_index(remote, SockAddr, 0));
    netdev_set_info(&s->netdev, "socket: udp=%s", o->udp);
    return true;
}

static bool socket_open(Netdev *netdev, const NetdevOptions *options, GError **err)
{
    const NetdevSocketOptions *o = &options->u.socket;
    NetdevSocket *s = container_of(netdev, NetdevSocket, netdev);

    s->idle = "";
    if (!!o->fd + !!o->listen + !!o->connect + !!o->mcast + !!o->udp != 1) {
        return error_set(err, "exactly one of listen=, connect=, mcast=, udp= or fd= is required");
    }
    if (o->localaddr && !o->mcast && !o->udp) {
        return error_set(err, "localaddr= is only valid with mcast= or udp=");
    }
    if (o->fd) {
        return use_fd(s, o->fd, err);
    }
    if (o->mcast) {
        return use_multicast(s, o, err);
    }
    return o->udp ? use_udp(s, o, err)
                  : use_stream(s, o->listen ? o->listen : o->connect, o->listen != NULL, err);
}

static void socket_close(Netdev *netdev)
{
    NetdevSocket *s = container_of(netdev, NetdevSocket, netdev);

    net_stream_free(s->stream);
    net_dgram_free(s->dgram);
    s->stream = NULL;
    s->dgram = NULL;
}

static const NetdevOps socket_ops = {.open = socket_open, .close = socket_close};

KILN_TYPE(netdev_socket) = {
    .name = "netdev-socket",
    .parent = "netdev",
    .desc = "Ethernet over sockets",
    .size = sizeof(NetdevSocket),
    .ops = &socket_ops,
};
