/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The short forms of -serial, -parallel, -monitor and -qtest: "unix:PATH,server=on" stands for a -chardev. */
#include <json-c/json.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "chardev/backend.h"
#include "util/keyval.h"

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

static bool parse_tcp(json_object *keys, const char *text, GError **err)
{
    g_autofree char *address = keyval_next_part(&text), *host = NULL, *port = NULL;

    if (!split_host_port(address, &host, &port, err)) {
        return false;
    }
    chardev_add_key(keys, "host", host);
    chardev_add_key(keys, "port", port);
    chardev_add_parts(keys, "socket", text);
    return true;
}

/* vsock:CID:PORT */
static bool parse_vsock(json_object *keys, const char *text, GError **err)
{
    g_autofree char *address = keyval_next_part(&text), *cid = NULL, *port = NULL;

    if (!split_host_port(address, &cid, &port, err)) {
        return false;
    }
    chardev_add_key(keys, "cid", cid);
    chardev_add_key(keys, "port", port);
    chardev_add_parts(keys, "socket", text);
    return true;
}

static bool parse_unix(json_object *keys, const char *text, GError **err)
{
    g_autofree char *path = keyval_next_part(&text);

    chardev_add_key(keys, "path", path);
    chardev_add_parts(keys, "socket", text);
    return true;
}

static bool parse_telnet(json_object *keys, const char *text, GError **err)
{
    chardev_add_key(keys, "telnet", "on");
    return parse_tcp(keys, text, err);
}

static bool parse_tn3270(json_object *keys, const char *text, GError **err)
{
    chardev_add_key(keys, "tn3270", "on");
    return parse_tcp(keys, text, err);
}

static bool parse_websocket(json_object *keys, const char *text, GError **err)
{
    chardev_add_key(keys, "websocket", "on");
    return parse_tcp(keys, text, err);
}

/* [HOST]:PORT[@[LOCAL]:LOCALPORT] */
static bool parse_udp(json_object *keys, const char *text, GError **err)
{
    g_autofree char *copy = g_strdup(text), *host = NULL, *port = NULL, *local = NULL,
                    *localport = NULL;
    char *at = strchr(copy, '@');

    if (at) {
        *at++ = 0;
        if (!split_host_port(at, &local, &localport, err)) {
            return false;
        }
        chardev_add_key(keys, "localaddr", local);
        chardev_add_key(keys, "localport", localport);
    }
    if (!split_host_port(copy, &host, &port, err)) {
        return false;
    }
    chardev_add_key(keys, "host", host);
    chardev_add_key(keys, "port", port);
    return true;
}

static bool parse_path(json_object *keys, const char *text, GError **err)
{
    chardev_add_key(keys, "path", text);
    return true;
}

static bool parse_fd(json_object *keys, const char *text, GError **err)
{
    g_autofree char *fd = keyval_next_part(&text);
    int listening = 0;
    socklen_t len = sizeof listening;

    chardev_add_key(keys, "fd", fd);
    if (getsockopt(atoi(fd), SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && listening) {
        chardev_add_key(keys, "server", "on");
        chardev_add_key(keys, "wait", "off");
    }
    chardev_add_parts(keys, "socket", text);
    return true;
}

static const struct {
    const char *prefix, *backend;
    bool (*parse)(json_object *keys, const char *text, GError **err);
} short_forms[] = {
    {"tcp:", "socket", parse_tcp},
    {"unix:", "socket", parse_unix},
    {"vsock:", "socket", parse_vsock},
    {"telnet:", "socket", parse_telnet},
    {"tn3270:", "socket", parse_tn3270},
    {"websocket:", "socket", parse_websocket},
    {"udp:", "udp", parse_udp},
    {"file:", "file", parse_path},
    {"pipe:", "pipe", parse_path},
    {"fd:", "socket", parse_fd},
};

/* The back end that a short form stands for, its keys added. NULL with *err. */
static const char *parse_short(json_object *keys, const char *text, GError **err)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(short_forms); i++) {
        if (g_str_has_prefix(text, short_forms[i].prefix)) {
            return short_forms[i].parse(keys, text + strlen(short_forms[i].prefix), err)
                       ? short_forms[i].backend
                       : NULL;
        }
    }
    if (g_str_has_prefix(text, "/dev/parport") || g_str_has_prefix(text, "vc:")) {
        chardev_backend_error(text[0] == 'v' ? "vc" : "parport", err);
        return NULL;
    }
    if (g_str_has_prefix(text, "/dev/")) {
        chardev_add_key(keys, "path", text);
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
    chardev_backend_error(text, err);
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

static bool make(Vm *vm, const char *id, const char *text, json_object *keys, GError **err)
{
    const char *kind = parse_short(keys, text, err);
    ChardevText parsed;

    if (!kind || !chardev_read_options(kind, keys, &parsed, err)) {
        return false;
    }
    bool ok = chardev_make(vm, id, &parsed, NULL, err);
    chardev_text_clear(&parsed);
    return ok;
}

bool chardev_add_legacy(Vm *vm, const char *id, const char *text, bool *none, GError **err)
{
    if (none) {
        *none = !strcmp(text, "none");
    }
    if (!strcmp(text, "none")) {
        return true;
    }
    if (g_str_has_prefix(text, "chardev:")) {
        return add_alias(vm, id, text + strlen("chardev:"), err);
    }
    json_object *keys = json_object_new_object();
    if (g_str_has_prefix(text, "mon:")) {
        text += strlen("mon:");
        chardev_add_key(keys, "mux", "on");
        if (!strcmp(text, "stdio")) {
            chardev_add_key(keys, "signal", "off"); /* C-c belongs to the guest: C-a x ends the process */
        }
    }
    bool ok = make(vm, id, text, keys, err);
    json_object_put(keys);
    return ok;
}
