/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -chardev BACKEND,id=ID,key=value: text as what the schema describes (chardev/flat.c knows the names), and what is made
 * of it. Text that begins with '{' is chardev-add's arguments.
 *
 * In values a comma is written twice. A bare word is an option set to on ("server"), or with "no" in front of its name
 * set to off ("nowait").
 */
#include <json-c/json.h>
#include <stdio.h>

#include "chardev/backend.h"
#include "qapi/qapi-char.h"
#include "qapi/qapi.h"
#include "util/keyval.h"

#define NO_PARPORT                                                                                 \
    "is not supported: guests get no parallel port of the host, neither SPP nor EPP; the emulated "   \
    "port prints to a file, pipe or socket"

/* Backends of QEMU that are not here: why, and what else to do. */
static const struct {
    const char *name, *reason;
} refused[] = {
    {"vc", "needs a display, which is not there yet; use stdio, pty or a socket"},
    {"parallel", NO_PARPORT},
    {"parport", NO_PARPORT},
    {"spicevmc", "SPICE is not supported; use a socket"},
    {"spiceport", "SPICE is not supported; use a socket"},
    {"qemu-vdagent", "needs a display, which is not there yet"},
    {"dbus", "needs a D-Bus display, which is not there"},
    {"msmouse", "serial mice are not supported"},
    {"wctablet", "serial tablets are not supported"},
    {"braille", "Braille displays are not supported"},
    {"testdev", "is not supported; use the device isa-debug-exit"},
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

/* The schema's word for a back end; NULL: there is none. */
static const char *find_backend(const char *backend)
{
    const char *const *names = qapi_type_ChardevBackendKind.names;
    const char *real = !strcmp(backend, "tty") ? "serial" : !strcmp(backend, "memory") ? "ringbuf" : backend;
    int value = qapi_enum_value(&qapi_type_ChardevBackendKind, real);

    return value < 0 ? NULL : names[value];
}

bool chardev_backend_error(const char *backend, GError **err)
{
    if (refusal(backend)) {
        return error_set(err, "chardev %s %s", backend, refusal(backend));
    }
    g_autofree char *hint = suggest_names(backend, qapi_type_ChardevBackendKind.names);
    return error_set(err, "'%s' is not a character device back end%s; '-chardev help' lists them",
                     backend, hint);
}

/* ---- splitting --------------------------------------------------------------------- */

void chardev_add_key(json_object *keys, const char *key, const char *value)
{
    json_object_object_add(keys, key, json_object_new_string(value));
}

static void add_bare_word(json_object *keys, const char *kind, const char *word)
{
    if (!chardev_has_option(kind, word) && g_str_has_prefix(word, "no") && chardev_has_option(kind, word + 2)) {
        chardev_add_key(keys, word + 2, "off");
    } else {
        chardev_add_key(keys, word, "on");
    }
}

void chardev_add_parts(json_object *keys, const char *kind, const char *text)
{
    while (*text) {
        g_autofree char *part = keyval_next_part(&text);
        char *value = strchr(part, '=');

        if (value) {
            *value++ = 0;
            chardev_add_key(keys, part, value);
        } else if (*part) {
            add_bare_word(keys, kind, part);
        }
    }
}

static bool parse_json(const char *text, ChardevText *parsed, GError **err)
{
    void *value;

    if (!qapi_read_option(&qapi_type_ChardevAddArgs, text, NULL, &value, err)) {
        return false;
    }
    ChardevAddArgs *args = value;
    *parsed = (ChardevText){.id = g_steal_pointer(&args->id), .backend = g_steal_pointer(&args->backend)};
    qapi_free(&qapi_type_ChardevAddArgs, args);
    return true;
}

bool chardev_parse_text(const char *text, ChardevText *parsed, GError **err)
{
    if (*text == '{') {
        return parse_json(text, parsed, err);
    }
    g_autofree char *first = keyval_next_part(&text);
    const char *name = g_str_has_prefix(first, "backend=") ? first + strlen("backend=") : first;
    const char *kind = find_backend(name);
    if (refusal(name) || !kind) {
        return chardev_backend_error(name, err);
    }
    json_object *keys = json_object_new_object();
    chardev_add_parts(keys, kind, text);
    bool ok = chardev_read_options(kind, keys, parsed, err);
    json_object_put(keys);
    return ok;
}

/* ---- making ------------------------------------------------------------------------ */

bool chardev_id_is_valid(const char *id)
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

/* The real one is called ID-base then. */
static bool make_with_mux(Vm *vm, const char *id, const ChardevBackend *backend, int *ready_fd, GError **err)
{
    g_autofree char *base = g_strconcat(id, "-base", NULL);
    ChardevMux shared = {.chardev = base};
    const ChardevBackend mux = {.type = CHARDEV_BACKEND_KIND_MUX, .u.mux.data = &shared};

    if (chardev_find(vm, id)) {
        return error_set(err, "id '%s' is taken by another character device; choose another", id);
    }
    Chardev *chr = chardev_new(vm, base, backend, ready_fd, err);
    if (!chr) {
        return false;
    }
    if (!chardev_new(vm, id, &mux, NULL, err)) {
        chardev_drop(vm, chr);
        return false;
    }
    return true;
}

bool chardev_make(Vm *vm, const char *id, const ChardevText *text, int *ready_fd, GError **err)
{
    if (!chardev_id_is_valid(id)) {
        return error_set(
            err, "id=%s is no identifier: a letter, then letters, digits, '-', '.' and '_'", id);
    }
    return text->mux ? make_with_mux(vm, id, text->backend, ready_fd, err)
                     : chardev_new(vm, id, text->backend, ready_fd, err) != NULL;
}

/* ---- help -------------------------------------------------------------------------- */

static void print_option(const char *name, const QapiType *type, const char *doc, void *opaque)
{
    printf("  %s=<%s>%*s- %s\n", name, type->name, MAX(1, 22 - (int)strlen(name) - (int)strlen(type->name)), "", doc);
}

static const char *description(const char *kind)
{
    g_autofree char *name = g_strconcat("chardev-", kind, NULL);

    return type_find(name)->desc;
}

bool chardev_option_help(const char *text)
{
    g_autofree char *first = keyval_next_part(&text);
    const char *kind = find_backend(first);

    if (!strcmp(first, "help") || !strcmp(first, "?")) {
        printf("Available chardev backend types:\n");
        for (const char *const *name = qapi_type_ChardevBackendKind.names; *name; name++) {
            if (find_backend(*name) == *name) {
                printf("  %-10s %s\n", *name, description(*name));
            }
        }
        return true;
    }
    if (kind && (!strcmp(text, "help") || !strcmp(text, "?"))) {
        printf("chardev %s: %s\n", first, description(kind));
        chardev_foreach_option(kind, print_option, NULL);
        return true;
    }
    return false;
}
