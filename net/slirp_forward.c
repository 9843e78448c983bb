/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ports of the host that lead to the guest, and addresses of the guest's network that lead to
 * programs of the host. */
#include <stdlib.h>

#include "chardev/char.h"
#include "net/slirp_int.h"

/* The text up to separator (0: the end); *text moves behind it. NULL when there is none. The caller
 * frees. */
static char *take_part(const char **text, char separator)
{
    const char *end = separator ? strchr(*text, separator) : *text + strlen(*text);

    if (!end) {
        return NULL;
    }
    char *part = g_strndup(*text, (size_t)(end - *text));
    *text = end + (separator != 0);
    return part;
}

static bool parse_port(const char *text, int min, int *port)
{
    char *end;
    long n = strtol(text, &end, 0);

    *port = (int)n;
    return *text && !*end && n >= min && n <= 65535;
}

/* Empty: any. */
static bool parse_address(const char *text, struct in_addr *addr)
{
    addr->s_addr = INADDR_ANY;
    return !*text || inet_aton(text, addr);
}

typedef struct Rule {
    bool udp;
    struct in_addr host, guest;
    int host_port, guest_port;
} Rule;

/* What is wrong; NULL: nothing. */
static const char *parse_rule(const char *text, bool add, Rule *rule)
{
    g_autofree char *protocol = take_part(&text, ':');

    if (!protocol) {
        return "No : separators";
    }
    if (*protocol && strcmp(protocol, "tcp") && strcmp(protocol, "udp")) {
        return "Bad protocol name";
    }
    rule->udp = *protocol == 'u';
    g_autofree char *host = take_part(&text, ':');
    if (!host) {
        return "Missing : separator";
    }
    if (!parse_address(host, &rule->host)) {
        return "Bad host address";
    }
    g_autofree char *host_port = take_part(&text, add ? '-' : 0);
    if (!host_port) {
        return "Bad host port separator";
    }
    if (!parse_port(host_port, 0, &rule->host_port)) {
        return "Bad host port";
    }
    if (!add) {
        return NULL;
    }
    g_autofree char *guest = take_part(&text, ':');
    if (!guest) {
        return "Missing guest port";
    }
    if (!parse_address(guest, &rule->guest)) {
        return "Bad guest address";
    }
    return parse_port(text, 1, &rule->guest_port) ? NULL : "Bad guest port";
}

bool user_hostfwd(UserNet *u, const char *text, bool add, GError **err)
{
    Rule rule;
    const char *wrong = parse_rule(text, add, &rule);

    if (wrong) {
        return error_set(err, "Invalid host forwarding rule '%s' (%s); write %s", text, wrong,
                         add ? "[tcp|udp]:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT"
                             : "[tcp|udp]:[HOSTADDR]:HOSTPORT");
    }
    user_lock();
    int rc = add ? slirp_add_hostfwd(u->slirp, rule.udp, rule.host, rule.host_port, rule.guest, rule.guest_port)
                 : slirp_remove_hostfwd(u->slirp, rule.udp, rule.host, rule.host_port);
    user_unlock();
    if (!rc) {
        return true;
    }
    return add ? error_set(err, "Could not set up host forwarding rule '%s' (is the host's port in use?)", text)
               : error_set(err, "host forwarding rule for %s not found", text);
}

/* ---- guestfwd to a character device ------------------------------------------------------ */

typedef struct Forward {
    UserNet *user;
    CharPort *port;
    struct in_addr server;
    int number;
} Forward;

static size_t forward_can_receive(void *opaque)
{
    Forward *f = opaque;

    user_lock();
    const size_t room = slirp_socket_can_recv(f->user->slirp, f->server, f->number);
    user_unlock();
    return room;
}

static void forward_receive(void *opaque, const uint8_t *data, size_t len)
{
    Forward *f = opaque;

    user_lock();
    slirp_socket_recv(f->user->slirp, f->server, f->number, data, (int)len);
    user_unlock();
    user_pump_soon(f->user);
}

static const CharPortOps forward_ops = {.can_receive = forward_can_receive,
                                        .receive = forward_receive};

static ssize_t forward_write(const void *data, size_t len, void *opaque)
{
    Forward *f = opaque;

    user_unlock();
    charport_write_all(f->port, data, len);
    charport_accept_input(f->port);
    user_lock();
    return (ssize_t)len;
}

static bool forward_to_chardev(UserNet *u, const char *text, struct in_addr server, int port,
                               GError **err)
{
    Vm *vm = u->netdev.obj.vm;
    g_autofree char *id = g_strdup_printf("guestfwd.tcp.%d", port);
    bool none = false;

    if (!chardev_add_legacy(vm, id, text, &none, err) || none) {
        return none ? error_set(err, "the character device may not be none") : false;
    }
    Forward *f = g_new0(Forward, 1);
    *f = (Forward){u, charport_open(vm, id, err), server, port};
    if (!f->port) {
        g_free(f);
        return false;
    }
    g_ptr_array_add(u->forwards, f);
    if (slirp_add_guestfwd(u->slirp, forward_write, f, &f->server, port) < 0) {
        return error_set(err, "the address is taken, or not in the network");
    }
    charport_set_ops(f->port, &forward_ops, f);
    return true;
}

void user_close_forwards(UserNet *u)
{
    for (unsigned i = 0; i < u->forwards->len; i++) {
        Forward *f = u->forwards->pdata[i];

        charport_close(f->port);
        g_free(f);
    }
    g_ptr_array_unref(u->forwards);
    u->forwards = NULL;
}

/* ---- guestfwd ---------------------------------------------------------------------------- */

bool user_guestfwd(UserNet *u, const char *rule, GError **err)
{
    const char *rest = rule;
    g_autofree char *protocol = take_part(&rest, ':'),
                    *address = protocol ? take_part(&rest, ':') : NULL;
    g_autofree char *number = address ? take_part(&rest, '-') : NULL;
    struct in_addr server;
    int port;

    if (!number || (*protocol && strcmp(protocol, "tcp")) || !parse_address(address, &server) ||
        !parse_port(number, 1, &port) || !*rest) {
        return error_set(
            err, "Invalid guest forwarding rule '%s'; write tcp:server:port-cmd:command", rule);
    }
    if (!g_str_has_prefix(rest, "cmd:")) {
        GError *reason = NULL;

        if (!forward_to_chardev(u, rest, server, port, &reason)) {
            g_propagate_prefixed_error(err, reason, "guest forwarding rule '%s': ", rule);
            return false;
        }
        return true;
    }
    return slirp_add_exec(u->slirp, rest + strlen("cmd:"), &server, port) == 0 ||
           error_set(err, "Conflicting/invalid host:port in guest forwarding rule '%s'", rule);
}
