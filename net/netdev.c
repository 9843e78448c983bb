/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Back ends: options, the list of all, making and removing, what monitors print. */
#include "net/backend.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/user_object.h"
#include "util/keyval.h"
#include "util/log.h"

/* ---- reading the option ------------------------------------------------------------------------
 */

/* Keys that may be given several times, each a text more. */
static bool is_list(const char *key)
{
    return !strcmp(key, "hostfwd") || !strcmp(key, "guestfwd") || !strcmp(key, "dnssearch");
}

/* "fec0::/64" is two members of the schema. */
static void add_ipv6_net(json_object *json, const char *value)
{
    const char *slash = strrchr(value, '/');
    g_autofree char *prefix = slash ? g_strndup(value, (size_t)(slash - value)) : g_strdup(value);

    json_object_object_add(json, "ipv6-prefix", json_object_new_string(prefix));
    if (slash) {
        json_object_object_add(json, "ipv6-prefixlen", json_object_new_string(slash + 1));
    }
}

static bool add_pair(const char *key, const char *value, void *opaque, GError **err)
{
    json_object *json = opaque, *list;

    if (!strcmp(key, "ipv6-net")) {
        add_ipv6_net(json, value);
        return true;
    }
    if (!is_list(key)) {
        json_object_object_add(json, key, json_object_new_string(value));
        return true;
    }
    if (!json_object_object_get_ex(json, key, &list)) {
        list = json_object_new_array();
        json_object_object_add(json, key, list);
    }
    json_object *entry = json_object_new_object();
    json_object_object_add(entry, "str", json_object_new_string(value));
    json_object_array_add(list, entry);
    return true;
}

/* stream and dgram have addresses in dotted keys; the others repeat keys. NULL with *err. */
static json_object *parse_text(const char *text, GError **err)
{
    g_autofree char *first = g_strndup(text, strcspn(text, ","));
    const char *kind = g_str_has_prefix(first, "type=") ? first + strlen("type=") : first;

    if (!strcmp(kind, "stream") || !strcmp(kind, "dgram")) {
        return qapi_parse_keyval(text, "type", err);
    }
    g_autoptr(KeyVals) kv = keyvals_parse("-netdev", text, "type", err);
    if (!kv) {
        return NULL;
    }
    json_object *json = json_object_new_object();
    keyvals_foreach(kv, add_pair, json, NULL);
    return json;
}

NetdevOptions *netdev_read_option(const char *text, GError **err)
{
    json_object *json = NULL;
    void *options = NULL;
    bool is_json = *text == '{';

    if (is_json ? !qapi_parse_json(text, strlen(text), &json, err)
                : !(json = parse_text(text, err))) {
        return NULL;
    }
    if (!qapi_read(&qapi_type_NetdevOptions, json, is_json ? 0 : QAPI_KEYVAL, &options, err)) {
        options = NULL;
    }
    json_object_put(json);
    return options;
}

static bool check_id(const char *id, GError **err)
{
    return object_id_is_valid(id) || error_set(err, "Parameter 'id' expects an identifier: a "
                                                    "letter, then letters, digits, '-', '.', '_'");
}

static void prefix(GError **err, const char *text)
{
    if (err && *err && !g_str_has_prefix((*err)->message, "-netdev")) {
        g_prefix_error(err, "-netdev %s: ", text);
    }
}

char *netdev_check_option(const char *text, GError **err)
{
    NetdevOptions *options = netdev_read_option(text, err);
    char *id = options && check_id(options->id, err) ? g_strdup(options->id) : NULL;

    qapi_free(&qapi_type_NetdevOptions, options);
    if (!id) {
        prefix(err, text);
    }
    return id;
}

bool netdev_add_option(Vm *vm, const char *text, GError **err)
{
    NetdevOptions *options = netdev_read_option(text, err);
    bool ok = options && netdev_add(vm, options, err);

    qapi_free(&qapi_type_NetdevOptions, options);
    if (!ok) {
        prefix(err, text);
    }
    return ok;
}

void netdev_help(void)
{
    printf("Available netdev backend types:\n");
    for (unsigned i = 0; i < qapi_type_NetClientDriver.count; i++) {
        const char *name = qapi_enum_name(&qapi_type_NetClientDriver, (int)i);
        g_autofree char *type = g_strdup_printf("netdev-%s", name);

        if (type_load(type, NULL)) {
            printf("%s\n", name);
        }
    }
}

/* ---- making and removing ----------------------------------------------------------------- */

Netdev *netdev_find(Vm *vm, const char *id)
{
    const NetState *net = net_state(vm);

    for (unsigned i = 0; i < net->netdevs->len; i++) {
        Netdev *netdev = net->netdevs->pdata[i];

        if (!strcmp(netdev->id, id)) {
            return netdev;
        }
    }
    return NULL;
}

static const Type *find_kind(const NetdevOptions *options, GError **err)
{
    const char *name = qapi_enum_name(&qapi_type_NetClientDriver, (int)options->type);
    g_autofree char *type_name = g_strdup_printf("netdev-%s", name);
    GError *reason = NULL;
    const Type *type = type_load(type_name, &reason);

    if (reason) {
        g_propagate_error(err, reason);
    } else if (!type) {
        error_set(err,
                  "type=%s is not part of this build: its library (for user: libslirp, Debian's "
                  "libslirp-dev) was "
                  "missing when it was configured; install it and build again, or use tap, bridge "
                  "or stream",
                  name);
    }
    return type;
}

static void close_netdev(Netdev *netdev)
{
    NetState *net = net_state(netdev->obj.vm);

    net_filters_forget(netdev);
    if (netdev->nic) {
        nic_lose_netdev(netdev->nic);
        netdev->nic = NULL;
    }
    netdev->ops->close(netdev);
    for (unsigned i = 0; i < netdev->ports->len; i++) {
        net_port_free(netdev_port(netdev, i));
    }
    g_ptr_array_set_size(netdev->ports, 0);
    g_ptr_array_remove(net->netdevs, netdev);
    object_unref(&netdev->obj);
}

bool netdev_check_new(Vm *vm, const char *id, GError **err)
{
    if (id[0] != '#' && !check_id(id, err)) { /* ours begin with it */
        return false;
    }
    return !netdev_find(vm, id) || error_set(err, "Duplicate ID '%s' for netdev; choose another id", id);
}

bool netdev_add(Vm *vm, const NetdevOptions *options, GError **err)
{
    NetState *net = net_state(vm);

    if (!netdev_check_new(vm, options->id, err)) {
        return false;
    }
    const Type *type = find_kind(options, err);
    Object *obj = type ? object_new(vm, type, err) : NULL;
    if (!obj) {
        return false;
    }
    Netdev *netdev = container_of(obj, Netdev, obj);
    netdev->ops = type_ops(type);
    netdev->id = g_strdup(options->id);
    g_ptr_array_add(net->netdevs, netdev);
    if (!netdev->ops->open(netdev, options, err)) {
        close_netdev(netdev);
        return false;
    }
    g_assert(netdev->ports->len);
    return true;
}

bool netdev_del(Vm *vm, const char *id, GError **err)
{
    Netdev *netdev = netdev_find(vm, id);

    if (!netdev) {
        return error_set_class(err, KILN_ERROR_DEVICE_NOT_FOUND, "Device '%s' not found", id);
    }
    Nic *nic = netdev->nic;
    nic_hold(nic, true); /* its threads have done with the ports that go */
    close_netdev(netdev);
    nic_hold(nic, false);
    return true;
}

void net_cleanup(Vm *vm)
{
    NetState *net = vm->net;

    if (net) {
        host_waits_cancel(net->waiting, "the machine ends");
        g_ptr_array_set_size(net->announcements, 0);
    }
    while (net && net->netdevs->len) {
        Netdev *last = net->netdevs->pdata[net->netdevs->len - 1];

        nic_hold(last->nic, true); /* for good */
        close_netdev(last);
    }
}

/* ---- for back ends ----------------------------------------------------------------------- */

NetPort *netdev_add_port(Netdev *netdev, const NetPortOps *ops, void *opaque)
{
    NetPort *port = net_port_new(netdev->obj.vm, ops, opaque);

    port->netdev = netdev;
    port->index = netdev->ports->len;
    g_ptr_array_add(netdev->ports, port);
    return port;
}

void netdev_set_info(Netdev *netdev, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    char *info = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    lock_acquire(&netdev->info_lock);
    g_free(netdev->info);
    netdev->info = info;
    lock_release(&netdev->info_lock);
}

void net_set_fd_source(Vm *vm, NetFdFn *fn, void *opaque)
{
    NetState *net = net_state(vm);

    net->take_fd = fn;
    net->take_fd_opaque = opaque;
}

int net_take_fd(Vm *vm, const char *text, GError **err)
{
    const NetState *net = net_state(vm);
    char *end;
    long fd;

    if (net->take_fd) {
        return net->take_fd(net->take_fd_opaque, text, err);
    }
    errno = 0;
    fd = strtol(text, &end, 10);
    if (end == text || *end || errno || fd < 3 || fd > INT_MAX || fcntl((int)fd, F_GETFD) < 0) {
        error_set(err,
                  "'%s' is no descriptor that this process inherited; pass an open one's number (3 "
                  "or more)",
                  text);
        return -1;
    }
    fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    return (int)fd;
}

/* ---- what monitors print ----------------------------------------------------------------- */

static void print_netdev(Netdev *netdev, unsigned queue, GString *out)
{
    lock_acquire(&netdev->info_lock);
    g_string_append_printf(out, "%s: index=%u,type=%s,%s\n", netdev->id, queue, netdev_kind(netdev),
                           netdev->info ? netdev->info : "");
    lock_release(&netdev->info_lock);
    if (netdev->filters->len && !queue) {
        net_filters_print(netdev, out);
    }
}

static void print_port(const NetPort *port, GString *out)
{
    if (port->netdev) {
        print_netdev(port->netdev, port->index, out);
    } else {
        nic_print(port->nic, port->index, out);
    }
}

static bool is_hub(const Netdev *netdev) { return netdev->obj.type == type_find("netdev-hubport"); }

static void print_hub_ports(const NetState *net, const char *hub, GString *out)
{
    g_string_append_printf(out, "%s\n", hub);
    for (unsigned i = net->netdevs->len; i-- > 0;) { /* newest first, as QEMU lists them */
        const Netdev *netdev = net->netdevs->pdata[i];
        const NetPort *port = netdev_port(netdev, 0);

        if (is_hub(netdev) && !g_strcmp0(netdev->info, hub)) {
            g_string_append_printf(out, " \\ %s", netdev->id);
            if (port->peer) {
                g_string_append(out, ": ");
                print_port(net_far_end(port), out);
            } else {
                g_string_append(out, "\n");
            }
        }
    }
}

static void print_hubs(const NetState *net, GString *out)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);

    for (unsigned i = 0; i < net->netdevs->len; i++) {
        const Netdev *netdev = net->netdevs->pdata[i];

        if (is_hub(netdev) && g_hash_table_add(seen, netdev->info)) {
            print_hub_ports(net, netdev->info, out);
        }
    }
}

/* Hubs, then back ends without a card, then cards with what they are plugged into. */
void net_print(Vm *vm, GString *out)
{
    const NetState *net = net_state(vm);

    print_hubs(net, out);
    for (unsigned i = 0; i < net->netdevs->len; i++) {
        Netdev *netdev = net->netdevs->pdata[i];

        for (unsigned q = 0; !is_hub(netdev) && q < netdev->ports->len; q++) {
            if (!netdev_port(netdev, q)->peer) {
                print_netdev(netdev, q, out);
            }
        }
    }
    for (unsigned i = 0; i < net->nics->len; i++) {
        Nic *nic = net->nics->pdata[i];

        for (unsigned q = 0; q < nic_queues(nic); q++) {
            const NetPort *peer = net_far_end(nic_port(nic, q));

            if (peer && is_hub(peer->netdev)) {
                continue;
            }
            nic_print(nic, q, out);
            if (peer) {
                g_string_append(out, " \\ ");
                print_netdev(peer->netdev, q, out);
            }
        }
    }
}

bool net_hostfwd(Vm *vm, const char *id, const char *rule, bool add, GError **err)
{
    const NetState *net = net_state(vm);
    Netdev *netdev = id ? netdev_find(vm, id) : NULL;

    for (unsigned i = 0; !id && !netdev && i < net->netdevs->len; i++) {
        Netdev *other = net->netdevs->pdata[i];

        netdev = other->ops->hostfwd ? other : NULL;
    }
    if (!netdev && id) {
        return error_set_class(err, KILN_ERROR_DEVICE_NOT_FOUND, "Device '%s' not found", id);
    }
    if (!netdev || !netdev->ops->hostfwd) {
        return error_set(err, netdev ? "%s is no user network" : "there is no user network", id);
    }
    nic_hold(netdev->nic, true);
    bool ok = netdev->ops->hostfwd(netdev, rule, add, err);
    nic_hold(netdev->nic, false);
    return ok;
}

void net_print_connections(Vm *vm, GString *out)
{
    const NetState *net = net_state(vm);

    for (unsigned i = 0; i < net->netdevs->len; i++) {
        Netdev *netdev = net->netdevs->pdata[i];

        if (netdev->ops->connections) {
            const NetPort *peer = netdev_port(netdev, 0)->peer;
            int hub = peer && peer->netdev && peer->netdev->info
                          ? atoi(peer->netdev->info + strlen("hub "))
                          : -1;
            nic_hold(netdev->nic, true);
            g_autofree char *text = netdev->ops->connections(netdev);
            nic_hold(netdev->nic, false);
            g_string_append_printf(out, "Hub %d (%s):\n%s", hub, netdev->id, text);
        }
    }
}

void net_foreach_name(Vm *vm, bool cards, void (*fn)(const char *name, void *opaque), void *opaque)
{
    const NetState *net = net_state(vm);

    for (unsigned i = 0; i < net->netdevs->len; i++) {
        fn(((const Netdev *)net->netdevs->pdata[i])->id, opaque);
    }
    for (unsigned i = 0; cards && i < net->nics->len; i++) {
        fn(nic_name(net->nics->pdata[i]), opaque);
    }
}

/* ---- the type ---------------------------------------------------------------------------- */

static void netdev_init(Object *obj)
{
    Netdev *netdev = container_of(obj, Netdev, obj);

    netdev->ports = g_ptr_array_new();
    netdev->filters = g_ptr_array_new();
    lock_init(&netdev->info_lock, "what info network says", LOCK_RANK_LEAF);
}

static void netdev_finalize(Object *obj)
{
    Netdev *netdev = container_of(obj, Netdev, obj);

    g_ptr_array_unref(netdev->ports);
    g_ptr_array_unref(netdev->filters);
    g_free(netdev->id);
    g_free(netdev->info);
    lock_destroy(&netdev->info_lock);
}

KILN_TYPE(netdev) = {
    .name = "netdev",
    .parent = "object",
    .desc = "network back end",
    .size = sizeof(Netdev),
    .abstract = true,
    .not_user = "network back ends are made with -netdev",
    .init = netdev_init,
    .finalize = netdev_finalize,
};
