/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names of hosts in back ends that are added while the machine runs: a thread looks them up first (util/lookup.h), so that a
 * slow name server stops nothing but the monitor that asked. What a back end then resolves is in NetState.adding.
 */
#include "core/user_object.h"
#include "net/backend.h"
#include "net/sockets.h"
#include "util/lookup.h"

#define NAMES_MAX 2 /* local and remote */

struct NetdevAdding {
    Vm *vm;
    NetdevOptions *options;
    char *names[NAMES_MAX], *lists[NAMES_MAX]; /* what lists[] was at first, and the addresses that it became */
    unsigned n;
    HostLookup *lookup;
    NetdevAddedFn *added;
    void *opaque;
};

/* ---- which names there are --------------------------------------------------------------------- */

/* Takes host. */
static void add_name(NetdevAdding *a, char *host)
{
    if (host && host_is_name(host) && a->n < NAMES_MAX) {
        a->names[a->n] = host;
        a->lists[a->n++] = g_strdup(host);
    } else {
        g_free(host);
    }
}

static void add_address(NetdevAdding *a, const SocketAddress *addr)
{
    if (addr && addr->type == SOCKET_ADDRESS_TYPE_INET) {
        add_name(a, g_strdup(addr->u.inet.host));
    }
}

static void add_text(NetdevAdding *a, const char *text)
{
    const char *port;

    if (text) {
        add_name(a, net_split_text(text, &port));
    }
}

static void collect(NetdevAdding *a)
{
    const NetdevOptions *o = a->options;

    if (o->type == NET_CLIENT_DRIVER_STREAM) {
        add_address(a, o->u.stream.addr);
    } else if (o->type == NET_CLIENT_DRIVER_DGRAM) {
        add_address(a, o->u.dgram.local);
        add_address(a, o->u.dgram.remote);
    } else if (o->type == NET_CLIENT_DRIVER_SOCKET) {
        const NetdevSocketOptions *s = &o->u.socket;

        add_text(a, s->listen ? s->listen : s->connect ? s->connect : s->mcast ? s->mcast : s->udp);
        add_text(a, s->udp ? s->localaddr : NULL);
    }
}

const char *net_known_host(Vm *vm, const char *host)
{
    const NetdevAdding *a = net_state(vm)->adding;

    for (unsigned i = 0; a && i < a->n; i++) {
        if (!strcmp(a->names[i], host)) {
            return a->lists[i];
        }
    }
    return host;
}

/* ---- adding ------------------------------------------------------------------------------------- */

/* err (the callee's): it has failed already. Frees a. */
static void finish(NetdevAdding *a, GError *err)
{
    NetState *net = net_state(a->vm);

    if (!err) {
        net->adding = a;
        netdev_add(a->vm, a->options, &err);
        net->adding = NULL;
    }
    a->added(a->opaque, err);
    for (unsigned i = 0; i < a->n; i++) {
        g_free(a->names[i]);
        g_free(a->lists[i]);
    }
    qapi_free(&qapi_type_NetdevOptions, a->options);
    g_free(a);
}

static void looked_up(void *opaque, GError *err)
{
    NetdevAdding *a = opaque;

    g_ptr_array_remove(net_state(a->vm)->addings, a);
    finish(a, err);
}

void netdev_add_later(Vm *vm, const NetdevOptions *options, NetdevAddedFn *added, void *opaque)
{
    NetdevAdding *a = g_new0(NetdevAdding, 1);
    char **hosts[NAMES_MAX];
    GError *err = NULL;

    *a = (NetdevAdding){.vm = vm, .added = added, .opaque = opaque,
                        .options = qapi_clone(&qapi_type_NetdevOptions, options)};
    collect(a);
    if (!a->n || !netdev_check_new(vm, options->id, &err)) {
        finish(a, err);
        return;
    }
    for (unsigned i = 0; i < a->n; i++) {
        hosts[i] = &a->lists[i];
    }
    g_ptr_array_add(net_state(vm)->addings, a);
    a->lookup = host_lookup_start(vm->loop, hosts, a->n, looked_up, a);
}

void net_addings_end(Vm *vm)
{
    GPtrArray *addings = net_state(vm)->addings;

    while (addings->len) {
        NetdevAdding *a = g_ptr_array_steal_index(addings, 0);
        GError *err = NULL;

        host_lookup_cancel(a->lookup);
        error_set(&err, "the machine ends");
        finish(a, err);
    }
}
