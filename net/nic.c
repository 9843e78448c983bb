/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Cards: names, addresses, the property netdev=, receive filters' event. */
#include "net/backend.h"
#include "core/event.h"
#include "util/trace.h"

struct Nic {
    Device *dev, *event_dev;
    const NicOps *ops;
    void *opaque;
    Netdev *netdev;
    char *name, *model;
    uint8_t mac[6];
    GPtrArray *ports;
    bool filter_told;       /* NIC_RX_FILTER_CHANGED was emitted and nobody asked since */
};

static const uint8_t mac_base[5] = {0x52, 0x54, 0x00, 0x12, 0x34};

/* ---- addresses --------------------------------------------------------------------------- */

/* The last byte of an address of ours, else -1. */
static int mac_index(const uint8_t mac[6])
{
    return memcmp(mac, mac_base, sizeof mac_base) ? -1 : mac[5];
}

/* 52:54:00:12:34:56 and up; the addresses that others have are left out. */
static void assign_mac(NetState *net, uint8_t mac[6])
{
    static const uint8_t none[6];
    int index;

    if (!memcmp(mac, none, 6)) {
        unsigned n = 0x56;

        while (n < 0xff && net->mac_used[n]) {
            n++;
        }
        memcpy(mac, mac_base, sizeof mac_base);
        mac[5] = (uint8_t)n;
    }
    index = mac_index(mac);
    if (index >= 0) {
        net->mac_used[index] = true;
    }
}

/* ---- making ------------------------------------------------------------------------------ */

static char *make_name(NetState *net, const Device *dev)
{
    const char *model = dev->obj.type->name;
    unsigned n;

    if (dev->id) {
        return g_strdup(dev->id);
    }
    n = GPOINTER_TO_UINT(g_hash_table_lookup(net->models, model));
    g_hash_table_insert(net->models, g_strdup(model), GUINT_TO_POINTER(n + 1));
    return g_strdup_printf("%s.%u", model, n);
}

Nic *nic_new(Device *dev, NicConf *conf, const NicOps *ops, void *opaque, unsigned n_queues)
{
    NetState *net = net_state(dev->vm);
    Nic *nic = g_new0(Nic, 1);

    assign_mac(net, conf->mac);
    nic->dev = nic->event_dev = dev;
    nic->ops = ops;
    nic->opaque = opaque;
    nic->name = make_name(net, dev);
    nic->model = g_strdup(dev->obj.type->name);
    memcpy(nic->mac, conf->mac, 6);
    nic->netdev = conf->netdev;
    nic->ports = g_ptr_array_new();
    for (unsigned i = 0; i < n_queues; i++) {
        NetPort *port = net_port_new(dev->vm, &ops->port,
                                     ops->queue_opaque ? ops->queue_opaque(opaque, i) : opaque);

        port->nic = nic;
        port->index = i;
        g_ptr_array_add(nic->ports, port);
        if (nic->netdev && i < nic->netdev->ports->len) {
            NetPort *other = netdev_port(nic->netdev, i);

            port->link_down = other->link_down;
            net_connect(port, other);
        }
    }
    if (nic->netdev) {
        nic->netdev->nic = nic;
    }
    g_ptr_array_add(net->nics, nic);
    for (unsigned i = 0; nic->netdev && i < nic->netdev->ports->len; i++) {
        NetPort *other = netdev_port(nic->netdev, i);

        if (other->ops->link_changed) {
            other->ops->link_changed(other->opaque, true);
        }
    }
    return nic;
}

void nic_free(Nic *nic)
{
    if (!nic) {
        return;
    }
    NetState *net = net_state(nic->dev->vm);
    int index = mac_index(nic->mac);

    for (unsigned i = 0; i < nic->ports->len; i++) {
        net_port_free(nic->ports->pdata[i]);
    }
    if (nic->netdev) {
        nic->netdev->nic = NULL;
    }
    if (index >= 0) {
        net->mac_used[index] = false;
    }
    g_ptr_array_remove(net->nics, nic);
    g_ptr_array_unref(nic->ports);
    g_free(nic->name);
    g_free(nic->model);
    g_free(nic);
}

/* Its netdev goes. */
void nic_lose_netdev(Nic *nic)
{
    for (unsigned i = 0; i < nic->ports->len; i++) {
        NetPort *port = nic->ports->pdata[i];

        net_disconnect(port);
        if (port->ops->link_changed) {
            port->link_down = true;
            port->ops->link_changed(port->opaque, false);
        }
    }
    nic->netdev = NULL;
}

unsigned nic_queues(const Nic *nic) { return nic->ports->len; }
NetPort *nic_port(Nic *nic, unsigned queue) { return g_ptr_array_index(nic->ports, queue); }
const char *nic_name(const Nic *nic) { return nic->name; }
void nic_set_mac(Nic *nic, const uint8_t mac[6]) { memcpy(nic->mac, mac, 6); }
const uint8_t *nic_mac(const Nic *nic) { return nic->mac; }
bool nic_cable_pulled(const Nic *nic)
{
    return ((const NetPort *)g_ptr_array_index(nic->ports, 0))->link_down;
}

void nic_set_cable(Nic *nic, bool plugged)
{
    for (unsigned i = 0; i < nic->ports->len; i++) {
        nic_port(nic, i)->link_down = !plugged;
    }
}

unsigned netdev_queues(const Netdev *netdev) { return netdev ? netdev->ports->len : 1; }

const NicOps *nic_ops(const Nic *nic, void **opaque)
{
    *opaque = nic->opaque;
    return nic->ops;
}

void nic_hold(Nic *nic, bool on)
{
    void (*fn)(void *opaque) = !nic ? NULL : on ? nic->ops->hold : nic->ops->release;

    if (fn) {
        fn(nic->opaque);
    }
}

void nic_foreach(Vm *vm, void (*fn)(Nic *nic, void *opaque), void *opaque)
{
    NetState *net = net_state(vm);

    for (unsigned i = 0; i < net->nics->len; i++) {
        fn(net->nics->pdata[i], opaque);
    }
}

void nic_print(const Nic *nic, unsigned queue, GString *out)
{
    const uint8_t *m = nic->mac;

    g_string_append_printf(out,
                           "%s: index=%u,type=nic,model=%s,macaddr=%02x:%02x:%02x:%02x:%02x:%02x\n",
                           nic->name, queue, nic->model, m[0], m[1], m[2], m[3], m[4], m[5]);
}

/* ---- receive filters --------------------------------------------------------------------- */

void nic_set_event_device(Nic *nic, Device *dev) { nic->event_dev = dev; }

void nic_rx_filter_changed(Nic *nic)
{
    if (nic->filter_told) {
        return;
    }
    nic->filter_told = true;
    g_autofree char *path = object_path(nic->event_dev);
    NicRxFilterChangedEvent data = {.name = nic->dev->id, .path = path};
    vm_emit_event(nic->dev->vm, &qapi_event_NIC_RX_FILTER_CHANGED, &data);
}

void nic_rx_filter_asked(Nic *nic) { nic->filter_told = false; }

/* ---- netdev= ----------------------------------------------------------------------------- */

static bool set_netdev(Object *obj, const Property *prop, void *field, const char *text,
                       GError **err)
{
    Netdev **slot = field, *netdev = NULL;

    if (*text) {
        netdev = netdev_find(obj->vm, text);
        if (!netdev) {
            return error_set(
                err, "Property '%s.%s' can't find value '%s'; make it with -netdev TYPE,id=%s",
                obj->type->name, prop->name, text, text);
        }
        if (netdev->claimed && netdev != *slot) {
            return error_set(err, "Property '%s.%s' can't take value '%s', it's in use; give each card its own",
                             obj->type->name, prop->name, text);
        }
        netdev->claimed = true;
        object_ref(&netdev->obj);
    }
    prop->kind->release(obj, prop, field);
    *slot = netdev;
    if (netdev) {
        netdev->claimed = true;
    }
    return true;
}

static json_object *get_netdev(Object *obj, const Property *prop, const void *field)
{
    const Netdev *netdev = *(Netdev *const *)field;

    return json_object_new_string(netdev ? netdev->id : "");
}

static void release_netdev(Object *obj, const Property *prop, void *field)
{
    Netdev **slot = field;

    if (*slot) {
        (*slot)->claimed = false;
        object_unref(&(*slot)->obj);
        *slot = NULL;
    }
}

const PropKind prop_kind_netdev = {.type = "str",
                                   .json = json_type_null,
                                   .set = set_netdev,
                                   .get = get_netdev,
                                   .release = release_netdev};
