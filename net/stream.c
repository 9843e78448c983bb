/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stream: Ethernet over a unix or TCP stream, as server, client, or over a descriptor of the
 * manager's. */
#include <unistd.h>

#include "core/event.h"
#include "net/sockets.h"

typedef struct NetdevStream {
    Netdev netdev;
    NetStream *stream;
    bool server;
    char *address;          /* where it listens or connects to */
} NetdevStream;

static void stream_changed(void *opaque, const SockAddr *peer)
{
    NetdevStream *s = opaque;
    Vm *vm = s->netdev.obj.vm;

    if (!peer) {
        NetdevStreamDisconnectedEvent data = {.netdev_id = s->netdev.id};

        netdev_set_info(&s->netdev, "%s%s", s->server ? "listening " : "disconnected ", s->address);
        vm_post_event(vm, &qapi_event_NETDEV_STREAM_DISCONNECTED, &data);
        return;
    }
    g_autofree char *text = sockaddr_text(peer);
    NetdevStreamConnectedEvent data = {.netdev_id = s->netdev.id, .addr = net_schema_address(peer)};
    netdev_set_info(&s->netdev, "%s %s", s->server ? "connection from" : "connected to",
                    *text ? text : s->address);
    vm_post_event(vm, &qapi_event_NETDEV_STREAM_CONNECTED, &data);
    qapi_free(&qapi_type_SocketAddress, data.addr);
}

static bool use_fd(NetdevStream *s, const char *text, GError **err)
{
    int fd = net_take_fd(s->netdev.obj.vm, text, err), type;

    if (fd < 0) {
        return false;
    }
    type = net_socket_type(fd, err);
    if (type != SOCK_STREAM) {
        close(fd);
        return type < 0 ? false
                        : error_set(err, "descriptor %d is a datagram socket; use type=dgram", fd);
    }
    s->address = g_strdup_printf("fd=%d", fd);
    if (s->server) {
        net_stream_listen_fd(s->stream, fd);
    } else {
        net_stream_use(s->stream, fd);
    }
    return true;
}

static bool stream_open(Netdev *netdev, const NetdevOptions *options, GError **err)
{
    const NetdevStreamOptions *o = &options->u.stream;
    NetdevStream *s = container_of(netdev, NetdevStream, netdev);

    s->server = o->has_server && o->server;
    s->stream = net_stream_new(netdev, stream_changed, s);
    if (o->addr->type == SOCKET_ADDRESS_TYPE_FD) {
        return use_fd(s, o->addr->u.fd.str, err);
    }
    g_autoptr(GArray) addrs = net_resolve(netdev->obj.vm, o->addr, SOCK_STREAM, s->server, err);
    if (!addrs) {
        return false;
    }
    s->address = sockaddr_text(&g_array_index(addrs, SockAddr, 0));
    netdev_set_info(netdev, "%s%s", s->server ? "listening " : "connecting to ", s->address);
    return s->server ? net_stream_listen(s->stream, addrs, err)
                     : net_stream_connect(s->stream, addrs, err);
}

static void stream_close(Netdev *netdev)
{
    NetdevStream *s = container_of(netdev, NetdevStream, netdev);

    net_stream_free(s->stream);
    s->stream = NULL;
    g_clear_pointer(&s->address, g_free);
}

static const NetdevOps stream_ops = {.open = stream_open, .close = stream_close};

KILN_TYPE(netdev_stream) = {
    .name = "netdev-stream",
    .parent = "netdev",
    .desc = "Ethernet over a stream",
    .size = sizeof(NetdevStream),
    .ops = &stream_ops,
};
