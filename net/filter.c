/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Filters of a netdev: objects that see the packets of its link, in the order of the list those
 * that come from the netdev
 * ("tx"), in reverse order those that go to it ("rx"). A back end with filters stays in
 * the main loop, and so do they; a virtio card in a thread is behind a relay.
 */
#include "core/user_object.h"
#include "net/backend.h"

static bool wants(const NetFilter *f, bool to_netdev)
{
    return !f->off && f->queue != (to_netdev ? FILTER_TX : FILTER_RX);
}

/* From filter number `at` on, in the packet's direction. */
static bool run_from(Netdev *netdev, int at, NetPort *from, const NetPacket *packet, bool to_netdev)
{
    GPtrArray *filters = netdev->filters;

    for (int i = at; i >= 0 && i < (int)filters->len; i += to_netdev ? -1 : 1) {
        NetFilter *f = filters->pdata[i];

        if (wants(f, to_netdev) && f->ops->receive(f, from, packet, to_netdev)) {
            return true;
        }
    }
    return false;
}

static Netdev *netdev_of(const NetPort *from)
{
    return from->netdev && from->netdev->filters->len ? from->netdev
           : from->peer                               ? from->peer->netdev
                                                      : NULL;
}

bool net_filters_receive(NetPort *from, const NetPacket *packet)
{
    Netdev *netdev = netdev_of(from);
    bool to_netdev = netdev && from->netdev != netdev;

    return netdev &&
           run_from(netdev, to_netdev ? (int)netdev->filters->len - 1 : 0, from, packet, to_netdev);
}

void net_filter_pass(NetFilter *f, NetPort *from, const NetPacket *packet)
{
    bool to_netdev = from->netdev != f->netdev;
    guint at;

    if (g_ptr_array_find(f->netdev->filters, f, &at) &&
        !run_from(f->netdev, (int)at + (to_netdev ? -1 : 1), from, packet, to_netdev)) {
        net_deliver(from, packet);
    }
}

void net_filters_forget(Netdev *netdev)
{
    while (netdev->filters->len) {
        NetFilter *f = netdev->filters->pdata[0];

        f->ops->close(f);
        f->netdev = NULL;
        g_ptr_array_remove_index(netdev->filters, 0);
    }
}

/* ---- info network ------------------------------------------------------------------------ */

static void print_property(const Type *owner, const Property *prop, void *opaque)
{
    GPtrArray *props = opaque;

    g_ptr_array_add(props, (void *)prop);
}

void net_filters_print(const Netdev *netdev, GString *out)
{
    g_string_append(out, "filters:\n");
    for (unsigned i = 0; i < netdev->filters->len; i++) {
        NetFilter *f = netdev->filters->pdata[i];
        g_autoptr(GPtrArray) props = g_ptr_array_new();

        type_foreach_property(f->obj.type, print_property, props);
        g_string_append_printf(out, "  - %s: type=%s", f->obj.name, f->obj.type->name);
        for (unsigned p = 0; p < props->len; p++) {
            const Property *prop = props->pdata[p];
            json_object *value = prop->read_only ? NULL : object_get(&f->obj, prop->name, NULL);

            if (value) {
                g_string_append_printf(out, ",%s=%s", prop->name, json_object_get_string(value));
            }
            json_object_put(value);
        }
        g_string_append(out, "\n");
    }
}

/* ---- life -------------------------------------------------------------------------------- */

/* Where position= and insert= put it. */
static bool find_place(const NetFilter *f, Netdev *netdev, unsigned *place, GError **err)
{
    if (!f->position || !strcmp(f->position, "tail") || !strcmp(f->position, "head")) {
        *place = f->position && *f->position == 'h' ? 0 : netdev->filters->len;
        return true;
    }
    if (!g_str_has_prefix(f->position, "id=")) {
        return error_set(err, "position=%s: it is 'head', 'tail' or 'id=' and another filter's id",
                         f->position);
    }
    for (unsigned i = 0; i < netdev->filters->len; i++) {
        const NetFilter *other = netdev->filters->pdata[i];

        if (!strcmp(other->obj.name, f->position + 3)) {
            *place = i + (unsigned)f->insert;
            return true;
        }
    }
    return error_set(err, "position=%s: netdev '%s' has no such filter; "
                          "make it first, or use head or tail", f->position, netdev->id);
}

static bool read_status(NetFilter *f, GError **err)
{
    if (strcmp(f->status_text, "on") && strcmp(f->status_text, "off")) {
        return error_set(err, "Invalid value for netfilter status, should be 'on' or 'off'");
    }
    f->off = !strcmp(f->status_text, "off");
    return true;
}

static bool filter_complete(Object *obj, GError **err)
{
    NetFilter *f = container_of(obj, NetFilter, obj);
    Netdev *netdev = netdev_find(obj->vm, f->netdev_id);
    unsigned place = 0;

    f->ops = type_ops(obj->type);
    if (!netdev) {
        return error_set(err, "netdev=%s: there is no such network back end; "
                              "make it with -netdev TYPE,id=%s", f->netdev_id, f->netdev_id);
    }
    if (netdev_has_vhost(netdev)) {
        return error_set(err, "netdev=%s: Vhost is not supported: filters do not see packets that the kernel moves; make "
                              "the netdev with vhost=off", f->netdev_id);
    }
    if (netdev->ports->len > 1) {
        return error_set(err, "netdev=%s: multiqueue is not supported; leave the netdev's queues= out", f->netdev_id);
    }
    if (!read_status(f, err) || !find_place(f, netdev, &place, err)) {
        return false;
    }
    f->netdev = netdev;
    if (f->ops->open && !f->ops->open(f, err)) {
        f->netdev = NULL;
        return false;
    }
    nic_hold(netdev->nic, true);
    g_ptr_array_insert(netdev->filters, (int)place, f);
    nic_hold(netdev->nic, false);
    return true;
}

static bool filter_changed(Object *obj, const Property *prop, GError **err)
{
    NetFilter *f = container_of(obj, NetFilter, obj);

    if (strcmp(prop->name, "status")) {
        return true;
    }
    if (!read_status(f, err)) {
        g_free(f->status_text);
        f->status_text = g_strdup(f->off ? "off" : "on");
        return false;
    }
    if (f->netdev && f->ops->status) {
        f->ops->status(f);
    }
    return true;
}

static void filter_finalize(Object *obj)
{
    NetFilter *f = container_of(obj, NetFilter, obj);

    if (f->netdev) {
        nic_hold(f->netdev->nic, true);
        f->ops->close(f);
        g_ptr_array_remove(f->netdev->filters, f);
        nic_hold(f->netdev->nic, false);
    }
}

static const char *const queues[] = {"all", "rx", "tx", NULL}, *const inserts[] = {"before",
                                                                                   "behind", NULL};

static const Property filter_props[] = {
    PROP_STRING("position", NetFilter, position, .def_str = "tail",
                .help = "head, tail, or id= and another filter's id"),
    PROP_STRING("status", NetFilter, status_text, .def_str = "on", .anytime = true,
                .help = "off: packets pass by"),
    PROP_ENUM("insert", NetFilter, insert, .values = inserts, .def = 1,
              .help = "where beside position=id=...: before or behind"),
    PROP_STRING("netdev", NetFilter, netdev_id, .required = true, .help = "id of the -netdev"),
    PROP_ENUM("queue", NetFilter, queue, .values = queues,
              .help = "rx: packets to the netdev; tx: from it; all: both"),
    {}};

KILN_TYPE(netfilter) = {
    .name = "netfilter",
    .parent = "object",
    .desc = "filter of a network back end",
    .size = sizeof(NetFilter),
    .abstract = true,
    .user_object = true,
    .late = true,
    .props = filter_props,
    .finalize = filter_finalize,
    .complete = filter_complete,
    .changed = filter_changed,
};
