/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP: networks. */
#include "monitor/qmp.h"
#include "net/net.h"
#include "qapi/qapi-commands.h"
#include "util/error.h"

static int take_fd(void *opaque, const char *name, GError **err)
{
    return monitor_take_fd(opaque, name, err);
}

static void added(void *opaque, GError *err) { qmp_later_end(opaque, NULL, err); }

/* A back end that waits for a name needs no descriptor. */
bool qmp_netdev_add(QmpCall *call, GError **err)
{
    net_set_fd_source(call->vm, take_fd, call->mon);
    netdev_add_later(call->vm, call->args, added, qmp_later(call));
    net_set_fd_source(call->vm, NULL, NULL);
    return true;
}

bool qmp_netdev_del(QmpCall *call, GError **err)
{
    const NetdevDelArgs *args = call->args;

    return netdev_del(call->vm, args->id, err);
}

bool qmp_set_link(QmpCall *call, GError **err)
{
    const SetLinkArgs *args = call->args;

    return net_set_link(call->vm, args->name, args->up, err);
}

bool qmp_announce_self(QmpCall *call, GError **err)
{
    net_announce(call->vm, call->args);
    return true;
}

typedef struct Query {
    const char *name;       /* NULL: all */
    GPtrArray *list;
    bool found;
} Query;

static void query_nic(Nic *nic, void *opaque)
{
    Query *q = opaque;
    void *card;
    const NicOps *ops = nic_ops(nic, &card);

    if (q->name && strcmp(q->name, nic_name(nic))) {
        return;
    }
    q->found = true;
    if (ops->rx_filter) {
        g_ptr_array_add(q->list, ops->rx_filter(card));
        nic_rx_filter_asked(nic);
    }
}

bool qmp_query_rx_filter(QmpCall *call, GError **err)
{
    const QueryRxFilterArgs *args = call->args;
    Query q = {args->name, g_ptr_array_new(), false};

    nic_foreach(call->vm, query_nic, &q);
    call->result = q.list;
    if (args->name && !q.list->len) {
        g_ptr_array_unref(q.list);
        call->result = NULL;
        return q.found
                   ? error_set(err, "net client(%s) doesn't support rx-filter querying", args->name)
                   : error_set(err, "invalid net client name: %s", args->name);
    }
    return true;
}
