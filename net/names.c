/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names of hosts in back ends that are added while the machine runs: a thread looks them up first (util/lookup.h), so that a
 * slow name server stops nothing but the monitor that asked. What a back end then resolves is in NetState.names.
 */
#include "core/user_object.h"
#include "net/backend.h"
#include "net/sockets.h"

typedef struct NetdevAdding {
    Vm *vm;
    NetdevOptions *options;
    NetdevAddedFn *added;
    void *opaque;
} NetdevAdding;

/* ---- which names there are --------------------------------------------------------------------- */

static void add_address(HostNames *names, const SocketAddress *addr)
{
    if (addr && addr->type == SOCKET_ADDRESS_TYPE_INET) {
        host_names_add(names, addr->u.inet.host);
    }
}

static void add_text(HostNames *names, const char *text)
{
    const char *port;
    g_autofree char *host = text ? net_split_text(text, &port) : NULL;

    host_names_add(names, host);
}

static HostNames *collect(const NetdevOptions *o)
{
    HostNames *names = host_names_new();

    if (o->type == NET_CLIENT_DRIVER_STREAM) {
        add_address(names, o->u.stream.addr);
    } else if (o->type == NET_CLIENT_DRIVER_DGRAM) {
        add_address(names, o->u.dgram.local);
        add_address(names, o->u.dgram.remote);
    } else if (o->type == NET_CLIENT_DRIVER_SOCKET) {
        const NetdevSocketOptions *s = &o->u.socket;

        add_text(names, s->listen ? s->listen : s->connect ? s->connect : s->mcast ? s->mcast : s->udp);
        add_text(names, s->udp ? s->localaddr : NULL);
    }
    return names;
}

const char *net_known_host(Vm *vm, const char *host) { return host_names_get(net_state(vm)->names, host); }

/* ---- adding ------------------------------------------------------------------------------------- */

/* err (the callee's): it has failed already. Frees a. */
static void looked_up(void *opaque, const HostNames *names, GError *err)
{
    NetdevAdding *a = opaque;
    NetState *net = net_state(a->vm);

    if (!err) {
        net->names = names;
        netdev_add(a->vm, a->options, &err);
        net->names = NULL;
    }
    a->added(a->opaque, err);
    qapi_free(&qapi_type_NetdevOptions, a->options);
    g_free(a);
}

void netdev_add_later(Vm *vm, const NetdevOptions *options, NetdevAddedFn *added, void *opaque)
{
    NetdevAdding *a = g_new(NetdevAdding, 1);
    GError *err = NULL;

    *a = (NetdevAdding){vm, qapi_clone(&qapi_type_NetdevOptions, options), added, opaque};
    if (netdev_check_new(vm, options->id, &err)) {
        host_wait(vm->loop, collect(a->options), net_state(vm)->waiting, looked_up, a);
    } else {
        looked_up(a, NULL, err);
    }
}
