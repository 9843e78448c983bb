/* SPDX-License-Identifier: GPL-2.0-or-later */
/* HMP: networks. */
#include "monitor/hmp_internal.h"
#include "net/net.h"
#include "qapi/qapi-commands.h"

static int take_fd(void *opaque, const char *name, GError **err)
{
    return monitor_take_fd(opaque, name, err);
}

static void print(HmpCall *call, void (*fn)(Vm *vm, GString *out))
{
    fn(call->vm, call->out);
}

static void info_network(HmpCall *call) { print(call, net_print); }
static void info_usernet(HmpCall *call) { print(call, net_print_connections); }

static void added(void *opaque, GError *err) { hmp_later_end(opaque, NULL, err); }

static void hmp_netdev_add(HmpCall *call)
{
    GError *err = NULL;
    NetdevOptions *options = netdev_read_option(hmp_str(call->args, "netdev"), &err);

    if (!options) {
        hmp_error(call, err);
        return;
    }
    net_set_fd_source(call->vm, take_fd, call->mon);
    netdev_add_later(call->vm, options, added, hmp_later(call));
    net_set_fd_source(call->vm, NULL, NULL);
    qapi_free(&qapi_type_NetdevOptions, options);
}

static void hmp_netdev_del(HmpCall *call)
{
    NetdevDelArgs args = {.id = (char *)(uintptr_t)hmp_str(call->args, "id")};

    hmp_call_qmp(call, qmp_netdev_del, &args);
}

static void hmp_set_link(HmpCall *call)
{
    SetLinkArgs args = {.name = (char *)(uintptr_t)hmp_str(call->args, "name"),
                        .up = hmp_bool(call->args, "up")};

    hmp_call_qmp(call, qmp_set_link, &args);
}

/* [interfaces] [id], with the times of a migration. */
static void hmp_announce_self(HmpCall *call)
{
    const char *names = hmp_str(call->args, "interfaces");
    g_auto(GStrv) list = names && *names ? g_strsplit(names, ",", -1) : NULL;
    g_autoptr(GPtrArray) cards = list ? g_ptr_array_new() : NULL;
    AnnounceParameters args = {.initial = 50, .max = 550, .rounds = 5, .step = 100, .interfaces = cards,
                               .id = (char *)(uintptr_t)hmp_str(call->args, "id")};

    for (char **name = list; name && *name; name++) {
        g_ptr_array_add(cards, *name);
    }
    hmp_call_qmp(call, qmp_announce_self, &args);
}

/* "[netdev_id] rule" */
static void forward(HmpCall *call, bool add)
{
    const char *second = hmp_str(call->args, "rule"), *first = hmp_str(call->args, "netdev");
    GError *err = NULL;

    if (!net_hostfwd(call->vm, second ? first : NULL, second ? second : first, add, &err)) {
        hmp_error(call, err);
    } else if (!add) {
        hmp_printf(call, "host forwarding rule for %s removed\n", second ? second : first);
    }
}

static void hmp_hostfwd_add(HmpCall *call) { forward(call, true); }
static void hmp_hostfwd_remove(HmpCall *call) { forward(call, false); }

typedef struct Offer {
    HmpCompletion *c;
    const char *word;
} Offer;

static void offer_name(const char *name, void *opaque)
{
    Offer *offer = opaque;

    hmp_offer(offer->c, offer->word, name);
}

static void complete_netdev(Vm *vm, HmpCompletion *c, unsigned n, const char *word)
{
    Offer offer = {c, word};

    if (n == 0) {
        net_foreach_name(vm, false, offer_name, &offer);
    }
}

static void complete_link(Vm *vm, HmpCompletion *c, unsigned n, const char *word)
{
    Offer offer = {c, word};

    if (n == 0) {
        net_foreach_name(vm, true, offer_name, &offer);
    } else if (n == 1) {
        hmp_offer(c, word, "on");
        hmp_offer(c, word, "off");
    }
}

const HmpCommand hmp_net_commands[] = {
    {"info network", .run = info_network,
     .help = "cards, network back ends and how they are connected"},
    {"info usernet", .run = info_usernet, .help = "connections of user networks"},
    {"netdev_add", "netdev:rest",
     "[user|tap|socket|stream|dgram|hubport|bridge],id=str[,prop=value]",
     "makes a network back end", hmp_netdev_add},
    {"netdev_del", "id:word", NULL, "removes a network back end", hmp_netdev_del, complete_netdev},
    {"set_link", "name:word,up:bool", "name on|off", "plugs a network cable in or pulls it",
     hmp_set_link, complete_link},
    {"announce_self", "interfaces:word?,id:word?", "[interfaces] [id]",
     "makes cards known to the switches of their networks", hmp_announce_self},
    {"hostfwd_add", "netdev:word,rule:word?",
     "[netdev_id] [tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport",
     "forwards a port of the host to the guest", hmp_hostfwd_add, complete_netdev},
    {"hostfwd_remove", "netdev:word,rule:word?", "[netdev_id] [tcp|udp]:[hostaddr]:hostport",
     "ends the forwarding of a port", hmp_hostfwd_remove, complete_netdev},
    {}};
