/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The flat options of -chardev in words of the schema: socket's host= is data.addr.data.host of a ChardevBackend. This
 * table holds names and places only; types, documentation and what must be there are the schema's.
 *
 * The options are first read as one flat struct, so that messages name what the user typed, and their values are then
 * put where they belong.
 */
#include <json-c/json.h>
#include <string.h>

#include "chardev/backend.h"
#include "qapi/qapi.h"

typedef struct FlatOption {
    const char *kind;       /* who takes it; NULL: all */
    const char *name;
    const char *path;       /* the member that it is, below ChardevBackend; NULL: none */
    const char *address;    /* kind of the address whose member it is; NULL: not an address's */
    const QapiType *type;   /* as the user writes it; NULL: as the member's */
    const char *otherwise;  /* when it is left out and the option beside (NULL: always) is not; NULL: nothing */
    const char *beside;
    const char *unless;     /* no default beside this one */
    const char *also;       /* another kind of address that has the same member */
    const char *refusal;    /* why it cannot be had; NULL: it can */
    bool inverted;          /* on means the member's off */
} FlatOption;

#define NO_TN3270 "there are no 3270 terminals on a PC; use telnet=on"

static const FlatOption options[] = {
    {NULL, "id", NULL, NULL, &qapi_type_str},
    {NULL, "mux", NULL, NULL, &qapi_type_bool},
    {NULL, "logfile", "data.logfile"},
    {NULL, "logappend", "data.logappend"},
    {"file", "path", "data.out"},
    {"file", "append", "data.append"},
    {"pipe", "path", "data.device"},
    {"serial", "path", "data.device"},
    {"stdio", "signal", "data.signal"},
    {"ringbuf", "size", "data.size", .type = &qapi_type_size},
    {"mux", "chardev", "data.chardev"},
    {"socket", "path", "data.addr.data.path", "unix"},
    {"socket", "abstract", "data.addr.data.abstract", "unix"},
    {"socket", "tight", "data.addr.data.tight", "unix"},
    {"socket", "cid", "data.addr.data.cid", "vsock"},
    {"socket", "host", "data.addr.data.host", "inet", .otherwise = "", .beside = "port", .unless = "cid"},
    {"socket", "port", "data.addr.data.port", "inet", .also = "vsock"},
    {"socket", "to", "data.addr.data.to", "inet"},
    {"socket", "ipv4", "data.addr.data.ipv4", "inet"},
    {"socket", "ipv6", "data.addr.data.ipv6", "inet"},
    {"socket", "mptcp", "data.addr.data.mptcp", "inet"},
    {"socket", "fd", "data.addr.data.str", "fd"},
    {"socket", "server", "data.server", .otherwise = "off"},
    {"socket", "wait", "data.wait"},
    {"socket", "nodelay", "data.nodelay"},
    {"socket", "delay", "data.nodelay", .inverted = true},
    {"socket", "telnet", "data.telnet"},
    {"socket", "reconnect", "data.reconnect"},
    {"socket", "websocket", "data.websocket"},
    {"socket", "tn3270", NULL, NULL, &qapi_type_bool, .refusal = NO_TN3270},
    {"socket", "tls-creds", "data.tls-creds"},
    {"socket", "tls-authz", "data.tls-authz"},
    {"udp", "host", "data.remote.data.host", "inet", .otherwise = "localhost"},
    {"udp", "port", "data.remote.data.port", "inet"},
    {"udp", "ipv4", "data.remote.data.ipv4", "inet"},
    {"udp", "ipv6", "data.remote.data.ipv6", "inet"},
    {"udp", "localaddr", "data.local.data.host", "inet", .otherwise = "", .beside = "localport"},
    {"udp", "localport", "data.local.data.port", "inet", .otherwise = "0", .beside = "localaddr"},
};

static bool applies(const FlatOption *option, const char *kind)
{
    return !option->kind || !kind || !strcmp(option->kind, kind);
}

static const FlatOption *find_option(const char *kind, const char *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(options); i++) {
        if (applies(&options[i], kind) && !strcmp(options[i].name, name)) {
            return &options[i];
        }
    }
    return NULL;
}

/* ---- the schema's view ------------------------------------------------------------------- */

/* name is the first len characters of a text. */
static const QapiMember *find_member(const QapiType *type, const char *name, size_t len, const char *branch)
{
    for (uint32_t i = 0; i < type->count; i++) {
        if (!strncmp(type->members[i].name, name, len) && !type->members[i].name[len]) {
            return &type->members[i];
        }
    }
    return type->kind == QAPI_UNION
               ? find_member(type->variants[qapi_enum_value(type->tag->type, branch)], name, len, NULL)
               : NULL;
}

/* The member that an option stands for; NULL: none. */
static const QapiMember *member_of(const FlatOption *option)
{
    const QapiType *type = &qapi_type_ChardevBackend;
    const char *part = option->path, *branch = option->kind ? option->kind : "null";
    const QapiMember *member = NULL;

    while (part) {
        size_t len = strcspn(part, ".");

        member = find_member(type, part, len, branch);
        type = member->type;
        branch = option->address;
        part = part[len] ? part + len + 1 : NULL;
    }
    return member;
}

static const QapiType *type_of(const FlatOption *option)
{
    return option->type ? option->type : member_of(option)->type;
}

void chardev_foreach_option(const char *kind, ChardevOptionFn *fn, void *opaque)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(options); i++) {
        const FlatOption *o = &options[i];
        const QapiMember *member = member_of(o);

        if (applies(o, kind) && !o->refusal) {
            fn(o->name, type_of(o),
               member                    ? member->doc
               : !strcmp(o->name, "mux") ? "several users share it; C-a c switches between them"
                                         : "its name",
               opaque);
        }
    }
}

bool chardev_has_option(const char *kind, const char *name) { return find_option(kind, name) != NULL; }

/* ---- flat -------------------------------------------------------------------------------- */

typedef struct Slot {
    uint64_t value;     /* or a pointer to it */
    bool there;         /* of values in place */
} Slot;

static bool is_there(const FlatOption *option, const Slot *slot)
{
    return slot->value || (slot->there && qapi_in_place(type_of(option)));
}

static bool check_names(const char *kind, json_object *keys, GError **err)
{
    json_object_object_foreach(keys, key, value) {
        (void)value;
        if (!find_option(kind, key)) {
            g_autoptr(GPtrArray) names = g_ptr_array_new();

            for (unsigned i = 0; i < G_N_ELEMENTS(options); i++) {
                if (applies(&options[i], kind)) {
                    g_ptr_array_add(names, (void *)(uintptr_t)options[i].name);
                }
            }
            g_ptr_array_add(names, NULL);
            g_autofree char *hint = suggest_names(key, (const char *const *)names->pdata);
            return error_set(err, "chardev %s has no option '%s'%s; "
                                  "-chardev %s,help lists them", kind, key, hint, kind);
        }
    }
    return true;
}

static void add_defaults(const char *kind, json_object *keys)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(options); i++) {
        const FlatOption *o = &options[i];

        if (o->otherwise && applies(o, kind) && !json_object_object_get_ex(keys, o->name, NULL) &&
            (!o->beside || json_object_object_get_ex(keys, o->beside, NULL)) &&
            (!o->unless || !json_object_object_get_ex(keys, o->unless, NULL))) {
            json_object_object_add(keys, o->name, json_object_new_string(o->otherwise));
        }
    }
}

/* A struct with all options; slot i is that of options[i], those of other kinds are no members. */
static Slot *read_flat(const char *kind, json_object *keys, QapiType *type, QapiMember *members, GError **err)
{
    void *values;

    *type = (QapiType){.name = "chardev", .kind = QAPI_STRUCT, .members = members,
                       .size = G_N_ELEMENTS(options) * sizeof(Slot)};
    for (unsigned i = 0; i < G_N_ELEMENTS(options); i++) {
        if (applies(&options[i], kind)) {
            members[type->count++] = (QapiMember){
                .name = options[i].name, .type = type_of(&options[i]), .optional = true,
                .offset = (uint32_t)(i * sizeof(Slot) + offsetof(Slot, value)),
                .has_offset = (uint32_t)(i * sizeof(Slot) + offsetof(Slot, there))};
        }
    }
    return qapi_read(type, keys, QAPI_KEYVAL, &values, err) ? values : NULL;
}

/* ---- nested ------------------------------------------------------------------------------ */

/* The object that holds the option's member. NULL: not there (make false), or another kind of address is. */
static json_object *parent_of(json_object *root, const FlatOption *option, char **parts, bool make)
{
    json_object *at = root, *next, *type;

    for (unsigned i = 0; parts[i + 1]; i++) {
        if (!json_object_object_get_ex(at, parts[i], &next)) {
            if (!make) {
                return NULL;
            }
            json_object_object_add(at, parts[i], next = json_object_new_object());
        }
        if (i > 0 && !strcmp(parts[i], "data")) { /* at is an address */
            if (!json_object_object_get_ex(at, "type", &type)) {
                json_object_object_add(at, "type", json_object_new_string(option->address));
            } else if (strcmp(json_object_get_string(type), option->address) &&
                       g_strcmp0(json_object_get_string(type), option->also)) {
                return NULL;
            }
        }
        at = next;
    }
    return at;
}

static bool put(json_object *root, const FlatOption *option, const Slot *slot, GError **err)
{
    g_auto(GStrv) parts = g_strsplit(option->path, ".", -1);
    json_object *parent = parent_of(root, option, parts, true);
    const QapiType *type = type_of(option);

    if (!parent) {
        return error_set(err, "path, host, cid and fd exclude each other; give one of them");
    }
    json_object *value = qapi_write(type, qapi_in_place(type) ? (const void *)slot : (const void *)(uintptr_t)slot->value);
    if (option->inverted) {
        json_object_set_boolean(value, !json_object_get_boolean(value));
    }
    json_object_object_add(parent, parts[g_strv_length(parts) - 1], value);
    return true;
}

/* What the schema wants of the objects that are there. */
static bool check_missing(const char *kind, json_object *root, GError **err)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(options); i++) {
        const FlatOption *o = &options[i];

        if (!o->path || !applies(o, kind) || member_of(o)->optional) {
            continue;
        }
        g_auto(GStrv) parts = g_strsplit(o->path, ".", -1);
        json_object *parent = parent_of(root, o, parts, false);
        if (parent && !json_object_object_get_ex(parent, parts[g_strv_length(parts) - 1], NULL)) {
            return error_set(err, "%s is missing; say %s=...", o->name, o->name);
        }
    }
    return true;
}

static bool put_all(json_object *root, const char *kind, const Slot *slots, GError **err)
{
    json_object *data = json_object_new_object();

    json_object_object_add(root, "type", json_object_new_string(kind));
    json_object_object_add(root, "data", data);
    for (unsigned i = 0; i < G_N_ELEMENTS(options); i++) {
        const FlatOption *o = &options[i];

        if (!applies(o, kind) || !is_there(o, &slots[i])) {
            continue;
        }
        if (o->refusal && (o->type != &qapi_type_bool || *(const bool *)&slots[i].value)) {
            return error_set(err, "%s: %s", o->name, o->refusal);
        }
        if (o->path && !put(root, o, &slots[i], err)) {
            return false;
        }
    }
    if (!strcmp(kind, "socket") && !json_object_object_get_ex(data, "addr", NULL)) {
        return error_set(err, "an address is missing; give path=, host= and port=, cid= and port=, or fd=");
    }
    return check_missing(kind, root, err);
}

/* ---- both -------------------------------------------------------------------------------- */

static ChardevBackend *read_backend(const char *kind, const Slot *slots, GError **err)
{
    json_object *root = json_object_new_object();
    void *backend = NULL;

    if (put_all(root, kind, slots, err)) {
        qapi_read(&qapi_type_ChardevBackend, root, 0, &backend, err);
    }
    json_object_put(root);
    return backend;
}

/* The slot's own, which the flat struct then has no more. */
static char *take_id(Slot *slots)
{
    Slot *slot = &slots[find_option(NULL, "id") - options];
    char *id = (char *)(uintptr_t)slot->value;

    slot->value = 0;
    return id;
}

bool chardev_read_options(const char *kind, json_object *keys, ChardevText *text, GError **err)
{
    QapiMember members[G_N_ELEMENTS(options)];
    QapiType type;
    GError *cause = NULL;

    *text = (ChardevText){0};
    if (!check_names(kind, keys, err)) {
        return false;
    }
    add_defaults(kind, keys);
    Slot *slots = read_flat(kind, keys, &type, members, &cause);
    if (slots) {
        const Slot *mux = &slots[find_option(NULL, "mux") - options];

        text->id = take_id(slots);
        text->mux = *(const bool *)&mux->value;
        text->backend = read_backend(kind, slots, &cause);
        qapi_free(&type, slots);
    }
    if (!text->backend) {
        chardev_text_clear(text);
        g_propagate_prefixed_error(err, cause, "chardev %s: ", kind);
        return false;
    }
    if (text->backend->type == CHARDEV_BACKEND_KIND_SOCKET) {
        ChardevSocket *s = text->backend->u.socket.data;

        s->wait = s->has_wait ? s->wait : s->server; /* unlike a server that QMP makes */
        s->has_wait |= s->server;
    }
    return true;
}

void chardev_text_clear(ChardevText *text)
{
    g_clear_pointer(&text->id, g_free);
    qapi_free(&qapi_type_ChardevBackend, text->backend);
    text->backend = NULL;
}
