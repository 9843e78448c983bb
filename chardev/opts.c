/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command line's forms of character devices: -chardev BACKEND,id=ID,key=value and the short
 * forms of -serial, -parallel, -monitor and -qtest. Both become a list of keys and values for
 * chardev_new.
 *
 * In values a comma is written twice. A bare word is an option set to on ("server"), or with "no"
 * in front of its name set to off ("nowait").
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "chardev/backend.h"
#include "util/keyval.h"

/* Backends of QEMU that are not here: why, and what else to do. */
static const struct {
    const char *name, *reason;
} refused[] = {
    {"vc", "needs a display, which is not there yet; use stdio, pty or a socket"},
    {"parallel", "parallel ports of the host are not supported; use a file or pipe"},
    {"parport", "parallel ports of the host are not supported; use a file or pipe"},
    {"spicevmc", "SPICE is not supported; use a socket"},
    {"spiceport", "SPICE is not supported; use a socket"},
    {"qemu-vdagent", "needs a display, which is not there yet"},
    {"dbus", "needs a D-Bus display, which is not there"},
    {"msmouse", "serial mice are not supported"},
    {"wctablet", "serial tablets are not supported"},
    {"braille", "Braille displays are not supported"},
    {"testdev", "is not supported; use the device isa-debug-exit"},
    {"mux", "is no back end of its own; add mux=on to another one"},
    {"console", "exists on Windows only; use stdio or pty"},
};

static const char *refusal(const char *backend)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(refused); i++) {
        if (!strcmp(refused[i].name, backend)) {
            return refused[i].reason;
        }
    }
    return NULL;
}

static const char *real_name(const char *backend)
{
    return !strcmp(backend, "tty") ? "serial" : !strcmp(backend, "memory") ? "ringbuf" : backend;
}

static const Type *find_backend(const char *backend)
{
    g_autofree char *name = g_strconcat("chardev-", backend, NULL);
    const Type *type = type_find(name);

    return type && !type->abstract && type_is_a(type, "chardev") ? type : NULL;
}

static void collect_backend(const Type *type, void *opaque)
{
    const char *name = type->name + strlen("chardev");

    if (!type->abstract && *name == '-' && !refusal(name + 1)) {
        g_ptr_array_add(opaque, (void *)(name + 1));
    }
}

static GPtrArray *backend_names(void)
{
    GPtrArray *names = g_ptr_array_new();

    type_foreach("chardev", collect_backend, names);
    return names;
}

/* ---- splitting --------------------------------------------------------------------- */

static void add_key(GPtrArray *keys, const char *key, const char *value)
{
    g_ptr_array_add(keys, g_strdup(key));
    g_ptr_array_add(keys, g_strdup(value));
}

static void add_bare_word(GPtrArray *keys, const Type *type, const char *word)
{
    if (!type_property(type, word) && g_str_has_prefix(word, "no") &&
        type_property(type, word + 2)) {
        add_key(keys, word + 2, "off");
    } else {
        add_key(keys, word, "on");
    }
}

static void add_parts(GPtrArray *keys, const Type *type, const char *text)
{
    while (*text) {
        g_autofree char *part = keyval_next_part(&text);
        char *value = strchr(part, '=');

        if (value) {
            *value++ = 0;
            add_key(keys, part, value);
        } else if (*part) {
            add_bare_word(keys, type, part);
        }
    }
}

static void remove_pair(GPtrArray *keys, unsigned i)
{
    g_ptr_array_remove_range(keys, i, 2);
}

/* Takes the last value of key out; the caller frees. NULL: not there. */
static char *take_key(GPtrArray *keys, const char *key)
{
    char *value = NULL;

    for (unsigned i = 0; i + 1 < keys->len;) {
        if (!strcmp(g_ptr_array_index(keys, i), key)) {
            g_free(value);
            value = g_strdup(g_ptr_array_index(keys, i + 1));
            remove_pair(keys, i);
        } else {
            i += 2;
        }
    }
    return value;
}

/* ---- making ------------------------------------------------------------------------ */

static bool take_mux(GPtrArray *keys, bool *mux, GError **err)
{
    g_autofree char *value = take_key(keys, "mux");

    *mux = value && (!strcmp(value, "on") || !strcmp(value, "yes") || !strcmp(value, "true"));
    if (value && !*mux && strcmp(value, "off") && strcmp(value, "no") && strcmp(value, "false")) {
        return error_set(err, "mux=%s is neither on nor off", value);
    }
    return true;
}

static void remove_made(Vm *vm, Chardev *chr)
{
    g_ptr_array_remove(char_state(vm)->chardevs, chr);
    object_unparent(&chr->obj);
    object_unref(&chr->obj);
}

static bool make(Vm *vm, const char *id, const char *backend, GPtrArray *keys, GError **err)
{
    g_autofree char *base = g_strconcat(id, "-base", NULL);
    Chardev *chr;
    bool mux;

    if (!take_mux(keys, &mux, err)) {
        return false;
    }
    if (mux && chardev_find(vm, id)) {
        return error_set(err, "id '%s' is taken by another character device", id);
    }
    chr = chardev_new(vm, mux ? base : id, backend, keys, err);
    if (!chr) {
        return false;
    }
    if (mux && !chardev_new(vm, id, "mux", NULL, err)) {
        remove_made(vm, chr);
        return false;
    }
    return true;
}

static bool id_is_valid(const char *id)
{
    if (!g_ascii_isalpha(*id)) {
        return false;
    }
    for (; *id; id++) {
        if (!g_ascii_isalnum(*id) && !strchr("-._", *id)) {
            return false;
        }
    }
    return true;
}

static bool backend_error(const char *backend, GError **err)
{
    g_autoptr(GPtrArray) names = backend_names();
    g_autofree char *hint = NULL;

    if (refusal(backend)) {
        return error_set(err, "chardev %s %s", backend, refusal(backend));
    }
    g_ptr_array_add(names, NULL);
    hint = suggest_names(backend, (const char *const *)names->pdata);
    return error_set(err, "'%s' is not a character device back end%s; '-chardev help' lists them",
                     backend, hint);
}

bool chardev_add_option(Vm *vm, const char *text, GError **err)
{
    g_autoptr(GPtrArray) keys = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *first = keyval_next_part(&text), *id = NULL;
    const char *backend =
        real_name(g_str_has_prefix(first, "backend=") ? first + strlen("backend=") : first);
    const Type *type = find_backend(backend);

    if (refusal(backend) || !type) {
        return backend_error(backend, err);
    }
    add_parts(keys, type, text);
    id = take_key(keys, "id");
    if (!id) {
        return error_set(err, "id is missing; say -chardev %s,id=NAME", backend);
    }
    if (!id_is_valid(id)) {
        return error_set(
            err, "id=%s is no identifier: a letter, then letters, digits, '-', '.' and '_'", id);
    }
    return make(vm, id, backend, keys, err);
}

/* ---- short forms ------------------------------------------------------------------- */

/* "host:port" or "[v6]:port" into *host and *port. */
static bool split_host_port(const char *text, char **host, char **port, GError **err)
{
    const char *colon = strrchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : 0;

    if (!colon || !colon[1]) {
        return error_set(err, "'%s' is not of the form HOST:PORT", text);
    }
    if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
        text++;
        len -= 2;
    }
    *host = g_strndup(text, len);
    *port = g_strdup(colon + 1);
    return true;
}

static bool parse_tcp(GPtrArray *keys, const char *text, GError **err)
{
    g_autofree char *address = keyval_next_part(&text), *host = NULL, *port = NULL;

    if (!split_host_port(address, &host, &port, err)) {
        return false;
    }
    add_key(keys, "host", host);
    add_key(keys, "port", port);
    add_parts(keys, find_backend("socket"), text);
    return true;
}

static bool parse_unix(GPtrArray *keys, const char *text, GError **err)
{
    g_autofree char *path = keyval_next_part(&text);

    add_key(keys, "path", path);
    add_parts(keys, find_backend("socket"), text);
    return true;
}

static bool parse_telnet(GPtrArray *keys, const char *text, GError **err)
{
    add_key(keys, "telnet", "on");
    return parse_tcp(keys, text, err);
}

static bool parse_tn3270(GPtrArray *keys, const char *text, GError **err)
{
    add_key(keys, "tn3270", "on");
    return parse_tcp(keys, text, err);
}

static bool parse_websocket(GPtrArray *keys, const char *text, GError **err)
{
    add_key(keys, "websocket", "on");
    return parse_tcp(keys, text, err);
}

/* [HOST]:PORT[@[LOCAL]:LOCALPORT] */
static bool parse_udp(GPtrArray *keys, const char *text, GError **err)
{
    g_autofree char *copy = g_strdup(text), *host = NULL, *port = NULL, *local = NULL,
                    *localport = NULL;
    char *at = strchr(copy, '@');

    if (at) {
        *at++ = 0;
        if (!split_host_port(at, &local, &localport, err)) {
            return false;
        }
        add_key(keys, "localaddr", local);
        add_key(keys, "localport", localport);
    }
    if (!split_host_port(copy, &host, &port, err)) {
        return false;
    }
    add_key(keys, "host", host);
    add_key(keys, "port", port);
    return true;
}

static bool parse_path(GPtrArray *keys, const char *text, GError **err)
{
    add_key(keys, "path", text);
    return true;
}

static bool parse_fd(GPtrArray *keys, const char *text, GError **err)
{
    g_autofree char *fd = keyval_next_part(&text);
    int listening = 0;
    socklen_t len = sizeof listening;

    add_key(keys, "fd", fd);
    if (getsockopt(atoi(fd), SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && listening) {
        add_key(keys, "server", "on");
        add_key(keys, "wait", "off");
    }
    add_parts(keys, find_backend("socket"), text);
    return true;
}

static const struct {
    const char *prefix, *backend;
    bool (*parse)(GPtrArray *keys, const char *text, GError **err);
} short_forms[] = {
    {"tcp:", "socket", parse_tcp},
    {"unix:", "socket", parse_unix},
    {"telnet:", "socket", parse_telnet},
    {"tn3270:", "socket", parse_tn3270},
    {"websocket:", "socket", parse_websocket},
    {"udp:", "udp", parse_udp},
    {"file:", "file", parse_path},
    {"pipe:", "pipe", parse_path},
    {"fd:", "socket", parse_fd},
};

/* The back end that a short form stands for, its keys added. NULL with *err. */
static const char *parse_short(GPtrArray *keys, const char *text, GError **err)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(short_forms); i++) {
        if (g_str_has_prefix(text, short_forms[i].prefix)) {
            return short_forms[i].parse(keys, text + strlen(short_forms[i].prefix), err)
                       ? short_forms[i].backend
                       : NULL;
        }
    }
    if (g_str_has_prefix(text, "/dev/parport") || g_str_has_prefix(text, "vc:")) {
        backend_error(text[0] == 'v' ? "vc" : "parport", err);
        return NULL;
    }
    if (g_str_has_prefix(text, "/dev/")) {
        add_key(keys, "path", text);
        return "serial";
    }
    if (g_str_has_prefix(text, "COM")) {
        error_set(err, "'%s': COM ports are Windows'; name the host's serial device, as /dev/ttyS0",
                  text);
        return NULL;
    }
    if (!strcmp(text, "null") || !strcmp(text, "stdio") || !strcmp(text, "pty") ||
        !strcmp(text, "ringbuf")) {
        return text;
    }
    backend_error(text, err);
    return NULL;
}

static bool add_alias(Vm *vm, const char *id, const char *target, GError **err)
{
    Chardev *chr = chardev_find(vm, target);

    if (!chr) {
        return error_set(err,
                         "there is no character device '%s'; make it with -chardev BACKEND,id=%s",
                         target, target);
    }
    g_hash_table_insert(char_state(vm)->aliases, g_strdup(id), g_strdup(chardev_id(chr)));
    return true;
}

bool chardev_add_legacy(Vm *vm, const char *id, const char *text, bool *none, GError **err)
{
    g_autoptr(GPtrArray) keys = g_ptr_array_new_with_free_func(g_free);
    const char *backend;

    if (none) {
        *none = false;
    }
    if (!strcmp(text, "none")) {
        if (none) {
            *none = true;
        }
        return true;
    }
    if (g_str_has_prefix(text, "chardev:")) {
        return add_alias(vm, id, text + strlen("chardev:"), err);
    }
    if (g_str_has_prefix(text, "mon:")) {
        text += strlen("mon:");
        add_key(keys, "mux", "on");
        if (!strcmp(text, "stdio")) {
            add_key(keys, "signal", "off"); /* C-c belongs to the guest: C-a x ends the process */
        }
    }
    backend = parse_short(keys, text, err);
    return backend && make(vm, id, backend, keys, err);
}

/* ---- help -------------------------------------------------------------------------- */

static void print_key(const Type *owner, const Property *prop, void *opaque)
{
    printf("  %s=<%s>%*s- %s\n", prop->name, prop->kind->type,
           MAX(1, 22 - (int)strlen(prop->name) - (int)strlen(prop->kind->type)), "",
           prop->help ? prop->help : "");
}

bool chardev_option_help(const char *text)
{
    g_autofree char *first = keyval_next_part(&text);
    const Type *type = find_backend(real_name(first));

    if (!strcmp(first, "help") || !strcmp(first, "?")) {
        g_autoptr(GPtrArray) names = backend_names();

        printf("Available chardev backend types:\n");
        for (unsigned i = 0; i < names->len; i++) {
            const char *name = g_ptr_array_index(names, i);

            printf("  %-10s %s\n", name, find_backend(name)->desc);
        }
        return true;
    }
    if (type && (!strcmp(text, "help") || !strcmp(text, "?"))) {
        printf("chardev %s: %s\n  id=<str>%*s- its name\n", first, type->desc, 17, "");
        type_foreach_property(type, print_key, NULL);
        return true;
    }
    return false;
}
