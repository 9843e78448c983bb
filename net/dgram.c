/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * dgram: Ethernet over datagrams.
 *   remote=multicast[,local=interface]   a bus: all members get all packets
 *   local=address,remote=address         two ends
 *   local=fd                             a connected datagram socket of the manager's
 */
#include <netinet/in.h>
#include <unistd.h>

#include "net/sockets.h"

typedef struct NetdevDgram {
    Netdev netdev;
    NetDgram *dgram;
    char *made_path;        /* unix socket that we made; NULL: none */
} NetdevDgram;

/* The first address that it stands for. */
static bool first_address(Vm *vm, const SocketAddress *addr, bool passive, SockAddr *out, GError **err)
{
    g_autoptr(GArray) all = net_resolve(vm, addr, SOCK_DGRAM, passive, err);

    if (all) {
        *out = g_array_index(all, SockAddr, 0);
    }
    return all != NULL;
}

static bool open_fd(NetdevDgram *d, const char *text, GError **err)
{
    int fd = net_take_fd(d->netdev.obj.vm, text, err), type;

    if (fd < 0) {
        return false;
    }
    type = net_socket_type(fd, err);
    if (type != SOCK_DGRAM) {
        close(fd);
        return type < 0 ? false
                        : error_set(err, "descriptor %d is a stream socket; use type=stream", fd);
    }
    d->dgram = net_dgram_new(&d->netdev, fd, NULL);
    netdev_set_info(&d->netdev, "fd=%d unix", fd);
    return true;
}

static bool open_multicast(NetdevDgram *d, const NetdevDgramOptions *o, const SockAddr *group,
                           GError **err)
{
    SockAddr local;
    int fd;

    if (o->local && o->local->type != SOCKET_ADDRESS_TYPE_INET) {
        return error_set(err, "multicast only support inet local type; use local.type=inet");
    }
    if (o->local && !first_address(d->netdev.obj.vm, o->local, true, &local, err)) {
        return false;
    }
    fd = net_multicast_socket(
        group, o->local ? &((struct sockaddr_in *)&local.addr)->sin_addr : NULL, err);
    if (fd < 0) {
        return false;
    }
    g_autofree char *text = sockaddr_text(group);
    d->dgram = net_dgram_new(&d->netdev, fd, group);
    netdev_set_info(&d->netdev, "mcast=%s", text);
    return true;
}

static bool open_pair(NetdevDgram *d, const NetdevDgramOptions *o, const SockAddr *remote,
                      GError **err)
{
    SockAddr local;

    if (!o->local) {
        return error_set(err, "dgram requires local= address, unless remote is a multicast group");
    }
    if (o->local->type != o->remote->type) {
        return error_set(err, "remote and local types must be the same; change one of them");
    }
    if (!first_address(d->netdev.obj.vm, o->local, true, &local, err)) {
        return false;
    }
    int fd = net_bind_dgram(&local, err);
    if (fd < 0) {
        return false;
    }
    g_autofree char *from = sockaddr_text(&local), *to = sockaddr_text(remote);
    if (local.addr.ss_family == AF_UNIX && from[0] == '/') {
        d->made_path = g_strdup(from);
    }
    d->dgram = net_dgram_new(&d->netdev, fd, remote);
    netdev_set_info(&d->netdev, "udp=%s/%s", from, to);
    return true;
}

static bool dgram_open(Netdev *netdev, const NetdevOptions *options, GError **err)
{
    const NetdevDgramOptions *o = &options->u.dgram;
    NetdevDgram *d = container_of(netdev, NetdevDgram, netdev);
    SockAddr remote;

    if (o->local && o->local->type == SOCKET_ADDRESS_TYPE_FD) {
        return o->remote ? error_set(err, "don't set remote with local.fd: the socket is connected")
                         : open_fd(d, o->local->u.fd.str, err);
    }
    if (!o->remote) {
        return error_set(err, "dgram requires remote= address, unless local is a descriptor");
    }
    if (o->remote->type == SOCKET_ADDRESS_TYPE_FD) {
        return error_set(err, "don't support remote type fd; give the descriptor as local");
    }
    if (!first_address(d->netdev.obj.vm, o->remote, false, &remote, err)) {
        return false;
    }
    return net_is_multicast(&remote) ? open_multicast(d, o, &remote, err)
                                     : open_pair(d, o, &remote, err);
}

static void dgram_close(Netdev *netdev)
{
    NetdevDgram *d = container_of(netdev, NetdevDgram, netdev);

    net_dgram_free(d->dgram);
    d->dgram = NULL;
    if (d->made_path) {
        unlink(d->made_path);
    }
    g_clear_pointer(&d->made_path, g_free);
}

static const NetdevOps dgram_ops = {.open = dgram_open, .close = dgram_close};

KILN_TYPE(netdev_dgram) = {
    .name = "netdev-dgram",
    .parent = "netdev",
    .desc = "Ethernet over datagrams",
    .size = sizeof(NetdevDgram),
    .ops = &dgram_ops,
};
