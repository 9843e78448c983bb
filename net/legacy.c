/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -nic TYPE,...: a back end with a card of the board's plugged in. -net nic and -net TYPE: cards
 * and back ends on hub 0, in the notation that came before -netdev. Both make netdevs named
 * "#netNNN" and requests that the board fulfils.
 */
#include <stdio.h>
#include <string.h>

#include "core/user_object.h"
#include "net/backend.h"
#include "util/keyval.h"

typedef struct Legacy {
    const char *option;
    char *type;             /* "none", "nic" or a kind of back end */
    char *netdev;           /* netdev= of -net nic */
    char *id;
    GString *rest;          /* the back end's own keys */
    NicRequest *nic;
} Legacy;

static void request_free(NicRequest *r)
{
    g_free(r->model);
    g_free(r->netdev);
    g_free(r->mac);
    g_free(r->addr);
    g_free(r->option);
    g_free(r);
}

static void legacy_clear(Legacy *l)
{
    g_free(l->type);
    g_free(l->netdev);
    g_free(l->id);
    g_string_free(l->rest, true);
    if (l->nic) {
        request_free(l->nic);
    }
}

/* ---- reading ----------------------------------------------------------------------------- */

static bool take_vectors(NicRequest *nic, const char *value, GError **err)
{
    guint64 n;

    if (!g_ascii_string_to_unsigned(value, 10, 0, 0x7ffffff, &n, NULL)) {
        return error_set(err, "vectors=%s: it is a number, at most 134217727", value);
    }
    nic->vectors = (int64_t)n;
    return true;
}

static bool check_mac(const char *value, GError **err)
{
    unsigned m[6];
    int end = 0;

    if ((sscanf(value, "%2x:%2x:%2x:%2x:%2x:%2x%n", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5],
                &end) != 6 &&
         sscanf(value, "%2x-%2x-%2x-%2x-%2x-%2x%n", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5],
                &end) != 6) ||
        value[end]) {
        return error_set(err, "'%s': invalid syntax for ethernet address; write 52:54:00:12:34:56",
                         value);
    }
    return !(m[0] & 1) || error_set(err, "NIC cannot have multicast MAC address (odd 1st byte); "
                                         "make the first byte even, as in 52:54:00:12:34:56");
}

/* True: key is one of the card's. */
static bool take_nic_key(Legacy *l, bool is_nic, const char *key, const char *value, bool *ok,
                         GError **err)
{
    const char *mac = is_nic ? "macaddr" : "mac";

    *ok = true;
    if (!strcmp(key, mac)) {
        *ok = check_mac(value, err);
        g_free(l->nic->mac);
        l->nic->mac = g_strdelimit(g_strdup(value), "-", ':');
    } else if (!strcmp(key, "model")) {
        g_free(l->nic->model);
        l->nic->model = g_strdup(strcmp(value, "virtio") ? value : "virtio-net-pci");
    } else if (!strcmp(key, "addr")) {
        g_free(l->nic->addr);
        l->nic->addr = g_strdup(value);
    } else if (!strcmp(key, "vectors")) {
        *ok = take_vectors(l->nic, value, err);
    } else if (is_nic && !strcmp(key, "netdev")) {
        g_free(l->netdev);
        l->netdev = g_strdup(value);
    } else {
        return false;
    }
    return true;
}

static void append_pair(GString *out, const char *key, const char *value)
{
    g_string_append_printf(out, ",%s=", key);
    for (; *value; value++) {
        g_string_append(out, *value == ',' ? ",," : (char[]){*value, 0});
    }
}

static bool take_pair(const char *key, const char *value, void *opaque, GError **err)
{
    Legacy *l = opaque;
    bool is_net = !strcmp(l->option, "-net"), is_nic = is_net && !strcmp(l->type, "nic"), ok;

    if (!strcmp(key, "type")) {
        return true;
    }
    if ((is_nic || !is_net) && take_nic_key(l, is_nic, key, value, &ok, err)) {
        return ok;
    }
    if (!strcmp(key, "id") || (is_net && !strcmp(key, "name"))) {
        g_free(l->id);
        l->id = g_strdup(value);
        return true;
    }
    if (is_nic || !strcmp(l->type, "none")) {
        return error_set(err, "Invalid parameter '%s'; leave it out", key);
    }
    append_pair(l->rest, key, value);
    return true;
}

static bool parse(Legacy *l, const char *option, const char *text, GError **err)
{
    GError *reason = NULL;

    *l = (Legacy){.option = option, .rest = g_string_new(NULL), .nic = g_new0(NicRequest, 1)};
    l->nic->vectors = -1;
    l->nic->option = g_strdup_printf("%s %s", option, text);
    g_autoptr(KeyVals) kv = keyvals_parse(option, text, "type", &reason);
    const char *type = kv ? keyvals_get(kv, "type") : NULL;
    l->type = g_strdup(type ? type : "user");
    bool known =
        !strcmp(l->type, "none") || (!strcmp(l->type, "nic") && !strcmp(option, "-net")) ||
        (strcmp(l->type, "hubport") && qapi_enum_value(&qapi_type_NetClientDriver, l->type) >= 0);
    if (kv && !known) {
        error_set(&reason,
                  "Parameter 'type' does not accept value '%s'; -netdev help lists the back ends",
                  l->type);
    }
    if (!reason) {
        keyvals_foreach(kv, take_pair, l, &reason);
    }
    if (reason && g_str_has_prefix(reason->message, option)) {
        g_propagate_error(err, reason);
    } else if (reason) {
        g_propagate_prefixed_error(err, reason, "%s %s: ", option, text);
    }
    return !reason;
}

bool net_legacy_wants_help(const char *option, const char *text)
{
    Legacy l;
    bool help = parse(&l, option, text, NULL) && !g_strcmp0(l.nic->model, "help");

    legacy_clear(&l);
    return help;
}

bool net_check_legacy(const char *option, const char *text, GError **err)
{
    Legacy l;
    bool ok = parse(&l, option, text, err);

    if (ok && strcmp(l.type, "none") && strcmp(l.type, "nic")) {
        g_autofree char *netdev = g_strdup_printf("%s,id=n%s", l.type, l.rest->str);
        GError *reason = NULL;

        g_free(netdev_check_option(netdev, &reason));
        if (reason) {
            const char *why = strstr(reason->message, ": ");

            ok = error_set_from(err, reason, "%s %s: %s", option, text, why ? why + 2 : reason->message);
            g_error_free(reason);
        }
    }
    legacy_clear(&l);
    return ok;
}

/* ---- making ------------------------------------------------------------------------------ */

static bool add_netdev(Vm *vm, const char *text, const Legacy *l, GError **err)
{
    GError *reason = NULL;

    if (netdev_add_option(vm, text, &reason)) {
        return true;
    }
    const char *why = reason->message + strlen("-netdev : ") + strlen(text);
    error_set_from(err, reason, "%s: %s", l->nic->option,
                   g_str_has_prefix(reason->message, "-netdev ") ? why : reason->message);
    g_error_free(reason);
    return false;
}

/* A back end, by the name that it gets. NULL with *err. The caller frees. */
static char *make_back_end(Vm *vm, const Legacy *l, GError **err)
{
    char *id = l->id ? g_strdup(l->id) : g_strdup_printf("#net%03u", net_state(vm)->implicit++);
    g_autofree char *text = g_strdup_printf("%s,id=%s%s", l->type, id, l->rest->str);

    if (!add_netdev(vm, text, l, err)) {
        g_clear_pointer(&id, g_free);
    }
    return id;
}

static unsigned count_hub_ports(const NetState *net)
{
    unsigned n = 0;

    for (unsigned i = 0; i < net->netdevs->len; i++) {
        n += g_str_has_prefix(((const Netdev *)net->netdevs->pdata[i])->id, "hub0port");
    }
    return n;
}

/* A port of hub 0, plugged into netdev unless that is NULL. */
static char *make_hub_port(Vm *vm, const Legacy *l, const char *netdev, GError **err)
{
    char *id = g_strdup_printf("hub0port%u", count_hub_ports(net_state(vm)));
    g_autofree char *text = g_strdup_printf("hubport,id=%s,hubid=0%s%s", id,
                                            netdev ? ",netdev=" : "", netdev ? netdev : "");

    if (!add_netdev(vm, text, l, err)) {
        g_clear_pointer(&id, g_free);
    }
    return id;
}

static void add_request(Vm *vm, Legacy *l, char *netdev)
{
    l->nic->netdev = netdev;
    g_ptr_array_add(net_state(vm)->requests, l->nic);
    l->nic = NULL;
}

static bool make(Vm *vm, Legacy *l, GError **err)
{
    if (!strcmp(l->type, "none")) {
        return true;
    }
    if (!strcmp(l->type, "nic")) {
        char *netdev = l->netdev ? g_strdup(l->netdev) : make_hub_port(vm, l, NULL, err);

        if (netdev) {
            add_request(vm, l, netdev);
        }
        return netdev != NULL;
    }
    char *netdev = make_back_end(vm, l, err);
    if (netdev && !strcmp(l->option, "-net")) {
        g_autofree char *port = make_hub_port(vm, l, netdev, err);

        g_free(netdev);
        return port != NULL;
    }
    if (netdev) {
        add_request(vm, l, netdev);
    }
    return netdev != NULL;
}

bool net_add_legacy(Vm *vm, const char *option, const char *text, GError **err)
{
    Legacy l;
    bool ok = parse(&l, option, text, err) && make(vm, &l, err);

    legacy_clear(&l);
    return ok;
}

NicRequest *net_next_nic_request(Vm *vm)
{
    GPtrArray *requests = net_state(vm)->requests;

    for (unsigned i = 0; i < requests->len; i++) {
        NicRequest *r = requests->pdata[i];

        if (!r->taken) {
            r->taken = true;
            return r;
        }
    }
    return NULL;
}
