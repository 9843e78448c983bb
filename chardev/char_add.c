/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Character devices that come and go while the machine runs: made from what chardev-add or the text of -chardev describes,
 * put in another one's place (chardev-change), removed. A client's connection is made before anything else is touched.
 */
#include <string.h>
#include <unistd.h>

#include "chardev/backend.h"
#include "chardev/connect.h"
#include "qapi/qapi.h"
#include "util/lookup.h"

/* "/dev/pts/3"; NULL: no pseudo terminal. */
static char *pty_path(const Chardev *chr)
{
    g_autofree char *name = chr->ops->filename ? chr->ops->filename(chr) : NULL;

    return name && g_str_has_prefix(name, "pty:") ? g_strdup(name + strlen("pty:")) : NULL;
}

static bool is_used(const Chardev *chr)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(chr->ports); i++) {
        if (chr->ports[i]) {
            return true;
        }
    }
    return false;
}

static void forget_alias(CharState *state, const char *id)
{
    GHashTableIter iter;
    void *target;

    g_hash_table_iter_init(&iter, state->aliases);
    while (g_hash_table_iter_next(&iter, NULL, &target)) {
        if (!strcmp(target, id)) {
            g_hash_table_iter_remove(&iter);
        }
    }
}

bool chardev_remove(Vm *vm, const char *id, GError **err)
{
    CharState *state = char_state(vm);
    Chardev *chr = chardev_find(vm, id);

    if (!chr) {
        return error_set(err, "Chardev '%s' not found", id);
    }
    if (is_used(chr)) {
        return error_set(err, "Chardev '%s' is busy", id);
    }
    forget_alias(state, chardev_id(chr));
    chardev_drop(vm, chr);
    return true;
}

/* The user goes on with another device, as if the other side had gone and come. */
static void move_port(CharPort *port, Chardev *from, Chardev *to)
{
    charport_recall(port);
    chardev_flush(from);
    if (from->connected) {
        charport_event(port, CHAR_EVENT_CLOSED);
    }
    from->ports[0] = NULL;
    to->ports[0] = port;
    object_ref(&to->obj);
    port->chr = to;
    object_unref(&from->obj);
    if (port->ops) {
        charport_set_ops(port, port->ops, port->opaque);
    }
    if (port->writable) {
        charport_on_writable(port, port->writable, port->writable_opaque);
    }
}

/* NULL with *err: the old one is as before. */
static Chardev *replace(Vm *vm, const char *id, const ChardevBackend *backend, int *ready_fd, GError **err)
{
    CharState *state = char_state(vm);
    Chardev *old = chardev_find(vm, id), *chr;
    g_autofree char *name = g_strdup(chardev_id(old));
    unsigned index = 0;

    g_ptr_array_find(state->chardevs, old, &index);
    g_ptr_array_remove_index(state->chardevs, index);
    object_unparent(&old->obj);
    chr = chardev_new(vm, name, backend, ready_fd, err);
    if (!chr) {
        object_add_child(object_container(vm->root, "chardevs"), name, &old->obj);
        g_ptr_array_insert(state->chardevs, (int)index, old);
        return NULL;
    }
    g_ptr_array_remove(state->chardevs, chr);
    g_ptr_array_insert(state->chardevs, (int)index, chr);
    if (old->ports[0]) {
        move_port(old->ports[0], old, chr);
    }
    chardev_close(old);
    object_unref(&old->obj);
    return chr;
}

/* ---- while the machine runs ------------------------------------------------------------------- */

typedef struct ChardevMaking {
    Vm *vm;
    char *id;
    bool change;             /* in the place of the one with this id */
    ChardevText text;
    CharConnect *attempt;    /* NULL: no connection to wait for */
    ChardevMadeFn *made;
    void *opaque;
} ChardevMaking;

static bool check_new(const ChardevMaking *m, GError **err)
{
    if (!chardev_id_is_valid(m->id)) {
        return error_set(err, "id '%s' is no identifier: a letter, then letters, digits, '-', '.' and '_'", m->id);
    }
    return !chardev_find(m->vm, m->id) || error_set(err, "Chardev with id '%s' already exists; "
                                                         "choose another id", m->id);
}

static bool check_old(const ChardevMaking *m, GError **err)
{
    const Chardev *old = chardev_find(m->vm, m->id);

    if (!old) {
        return error_set(err, "Chardev '%s' does not exist", m->id);
    }
    return old->ops->max_ports <= 1 || error_set(err, "Mux device hotswap not supported yet");
}

/* NULL: it is no socket. */
static const ChardevSocket *socket_of(const ChardevMaking *m)
{
    const ChardevBackend *backend = m->text.backend;

    return backend->type == CHARDEV_BACKEND_KIND_SOCKET ? backend->u.socket.data : NULL;
}

static bool is_client(const ChardevSocket *s) { return s->has_server && !s->server; }

/* In a running machine nothing may wait until somebody comes. */
static bool check(const ChardevMaking *m, GError **err)
{
    const ChardevSocket *s = socket_of(m);

    if (s && !is_client(s) && s->wait) {
        return error_set(err, "a server with wait=true would stop the machine until a client comes; say wait=off");
    }
    return (m->change ? check_old(m, err) : check_new(m, err)) && (!s || chardev_socket_check(m->vm, s, err));
}

static Chardev *make(const ChardevMaking *m, int *ready_fd, GError **err)
{
    if (!check(m, err)) {
        return NULL;
    }
    if (m->change) {
        return replace(m->vm, m->id, m->text.backend, ready_fd, err);
    }
    return chardev_make(m->vm, m->id, &m->text, ready_fd, err) ? chardev_find(m->vm, m->id) : NULL;
}

/* Makes it, or has it fail for a reason that is there already (the callee's), and frees. */
static void finish(ChardevMaking *m, int fd, GError *err)
{
    const Chardev *chr = err ? NULL : make(m, &fd, &err);
    g_autofree char *base = g_strconcat(m->id, m->text.mux ? "-base" : "", NULL);

    if (fd >= 0) {
        close(fd);
    }
    if (chr && m->text.mux) {
        chr = chardev_find(m->vm, base);
    }
    m->made(m->opaque, base, chr ? pty_path(chr) : NULL, err);
    chardev_text_clear(&m->text);
    g_free(m->id);
    g_free(m);
}

static void connected(void *opaque, int fd, const GError *why)
{
    ChardevMaking *m = opaque;
    GError *err = NULL;

    g_ptr_array_remove(char_state(m->vm)->makings, m);
    if (fd < 0) {
        chardev_connect_error(why, &err);
    }
    finish(m, fd, err);
}

void chardev_makings_end(Vm *vm)
{
    GPtrArray *makings = char_state(vm)->makings;

    while (makings->len) {
        ChardevMaking *m = g_ptr_array_steal_index(makings, 0);
        GError *err = NULL;

        char_connect_cancel(m->attempt);
        error_set(&err, "the machine ends");
        finish(m, -1, err);
    }
    host_waits_cancel(char_state(vm)->waiting, "the machine ends");
}

static void add_host(SocketAddressLegacy *addr, char ***hosts, unsigned *n)
{
    if (addr && addr->type == SOCKET_ADDRESS_TYPE_INET) {
        hosts[(*n)++] = &addr->u.inet.data->host;
    }
}

/* Hosts of the device's own or that it only sends to, whose names nobody else looks up in time. */
static unsigned hosts_of(const ChardevMaking *m, char **hosts[2])
{
    const ChardevBackend *backend = m->text.backend;
    unsigned n = 0;

    if (backend->type == CHARDEV_BACKEND_KIND_UDP) {
        add_host(backend->u.udp.data->remote, hosts, &n);
        add_host(backend->u.udp.data->local, hosts, &n);
    } else if (socket_of(m) && !is_client(socket_of(m))) {
        add_host(socket_of(m)->addr, hosts, &n);
    }
    return n;
}

static void looked_up(void *opaque, const HostNames *names, GError *err)
{
    ChardevMaking *m = opaque;
    char **hosts[2];

    for (unsigned i = err ? 0 : hosts_of(m, hosts); i-- > 0;) {
        char *found = g_strdup(host_names_get(names, *hosts[i]));

        g_free(*hosts[i]);
        *hosts[i] = found;
    }
    finish(m, -1, err);
}

static void wait_for_names(ChardevMaking *m)
{
    HostNames *names = host_names_new();
    char **hosts[2];

    for (unsigned i = hosts_of(m, hosts); i-- > 0;) {
        host_names_add(names, *hosts[i]);
    }
    host_wait(m->vm->loop, names, char_state(m->vm)->waiting, looked_up, m);
}

/* Takes m over. */
static void start(ChardevMaking *m)
{
    const ChardevSocket *s = socket_of(m);
    GError *err = NULL;

    if (!check(m, &err)) {
        finish(m, -1, err);
    } else if (s && is_client(s) && (s->reconnect || s->addr->type == SOCKET_ADDRESS_TYPE_FD)) {
        finish(m, -1, NULL);
    } else if (s && is_client(s)) {
        g_ptr_array_add(char_state(m->vm)->makings, m);
        m->attempt = char_connect_start(m->vm->loop, s->addr, connected, m);
    } else {
        wait_for_names(m);
    }
}

static ChardevMaking *making_new(Vm *vm, const char *id, bool change, ChardevMadeFn *made, void *opaque)
{
    ChardevMaking *m = g_new0(ChardevMaking, 1);

    m->vm = vm;
    m->id = g_strdup(id);
    m->change = change;
    m->made = made;
    m->opaque = opaque;
    return m;
}

void chardev_add(Vm *vm, const char *id, const ChardevBackend *backend, ChardevMadeFn *made, void *opaque)
{
    ChardevMaking *m = making_new(vm, id, false, made, opaque);

    m->text.backend = qapi_clone(&qapi_type_ChardevBackend, backend);
    start(m);
}

void chardev_change(Vm *vm, const char *id, const ChardevBackend *backend, ChardevMadeFn *made, void *opaque)
{
    ChardevMaking *m = making_new(vm, id, true, made, opaque);

    m->text.backend = qapi_clone(&qapi_type_ChardevBackend, backend);
    start(m);
}

/* ---- with the text of -chardev ----------------------------------------------------------------- */

static bool need_id(const ChardevText *text, GError **err)
{
    return text->id || error_set(err, "id is missing; say id=NAME");
}

void chardev_add_text(Vm *vm, const char *text, ChardevMadeFn *made, void *opaque)
{
    ChardevMaking *m = making_new(vm, NULL, false, made, opaque);
    GError *err = NULL;

    if (!chardev_parse_text(text, &m->text, &err) || !need_id(&m->text, &err)) {
        finish(m, -1, err);
        return;
    }
    m->id = g_strdup(m->text.id);
    start(m);
}

void chardev_change_text(Vm *vm, const char *id, const char *text, ChardevMadeFn *made, void *opaque)
{
    ChardevMaking *m = making_new(vm, id, true, made, opaque);
    GError *err = NULL;

    if (chardev_parse_text(text, &m->text, &err) && (m->text.id || m->text.mux)) {
        error_set(&err, "another device's place has its id, and takes no mux; leave id and mux out");
    }
    if (err) {
        finish(m, -1, err);
        return;
    }
    start(m);
}

bool chardev_add_option(Vm *vm, const char *text, GError **err)
{
    ChardevText parsed;

    if (!chardev_parse_text(text, &parsed, err)) {
        return false;
    }
    bool ok = need_id(&parsed, err) && chardev_make(vm, parsed.id, &parsed, NULL, err);
    chardev_text_clear(&parsed);
    return ok;
}
