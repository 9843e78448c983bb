/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hubport: a port of hub N. What comes in at one port goes out of all others; a port whose other
 * side is busy queues, and drops when its queue is full, so one slow side does not hold up the
 * rest.
 */
#include "net/backend.h"

typedef struct HubPort {
    Netdev netdev;
    int32_t hub;
} HubPort;

static bool is_on(const Netdev *other, const HubPort *port)
{
    return other->obj.type == port->netdev.obj.type && other != &port->netdev &&
           container_of(other, HubPort, netdev)->hub == port->hub && other->ports->len;
}

static bool hub_receive(void *opaque, const NetPacket *packet)
{
    HubPort *port = opaque;
    const NetState *net = net_state(port->netdev.obj.vm);

    for (unsigned i = 0; i < net->netdevs->len; i++) {
        const Netdev *other = net->netdevs->pdata[i];

        if (is_on(other, port)) {
            net_send(netdev_port(other, 0), packet);
        }
    }
    return true;
}

static const NetPortOps hub_port_ops = {.receive = hub_receive};

static bool hub_open(Netdev *netdev, const NetdevOptions *options, GError **err)
{
    const NetdevHubPortOptions *o = &options->u.hubport;
    HubPort *port = container_of(netdev, HubPort, netdev);
    Netdev *other = NULL;

    port->hub = o->hubid;
    if (o->netdev) {
        other = netdev_find(netdev->obj.vm, o->netdev);
        if (!other) {
            return error_set(err, "netdev '%s' not found; make it with -netdev TYPE,id=%s", o->netdev, o->netdev);
        }
        if (other->claimed) {
            return error_set(err, "netdev '%s' is in use; each can be plugged in once", o->netdev);
        }
    }
    netdev_set_info(netdev, "hub %d", port->hub);
    netdev_add_port(netdev, &hub_port_ops, port);
    if (other) {
        other->claimed = netdev->claimed = true;
        net_connect(netdev_port(netdev, 0), netdev_port(other, 0));
    }
    return true;
}

static void hub_close(Netdev *netdev)
{
    NetPort *peer = netdev->ports->len ? netdev_port(netdev, 0)->peer : NULL;

    if (peer && peer->netdev) {
        peer->netdev->claimed = false;
    }
}

static const NetdevOps hub_ops = {.open = hub_open, .close = hub_close};

KILN_TYPE(netdev_hubport) = {
    .name = "netdev-hubport",
    .parent = "netdev",
    .desc = "port of a hub",
    .size = sizeof(HubPort),
    .ops = &hub_ops,
};
