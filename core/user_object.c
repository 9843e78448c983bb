/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/user_object.h"

#include <json-c/json.h>

#include "core/vm.h"
#include "qapi/qapi.h"
#include "util/keyval.h"

/* ---- reading the option ------------------------------------------------------------------- */

typedef enum Progress { PENDING, ENTERED, MADE } Progress;

/* Exactly one of kv, json and pairs is there. */
struct ObjectArgs {
    KeyVals *kv;
    json_object *json;
    const char *const *pairs;
    const Type *type;
    char *id;
    Progress progress; /* while all of the line are made */
};

bool object_id_is_valid(const char *id)
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

static void collect_name(const Type *type, void *opaque)
{
    if (!type->abstract && type_is_user_object(type)) {
        g_ptr_array_add(opaque, (void *)(uintptr_t)type->name);
    }
}

const Type *user_object_type(const char *name, GError **err)
{
    GError *reason = NULL;
    const Type *type = type_load(name, &reason);

    if (reason) {
        g_propagate_error(err, reason);
        return NULL;
    }
    if (type && !type->abstract && type_is_user_object(type)) {
        return type;
    }
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    type_foreach(NULL, collect_name, names);
    g_ptr_array_add(names, NULL);
    g_autofree char *hint = suggest_names(name, (const char *const *)names->pdata);
    error_set(err, "Parameter 'qom-type' does not accept value '%s'%s; -object help lists the types", name, hint);
    return NULL;
}

static bool take_type(ObjectArgs *a, const char *name, GError **err)
{
    if (!name) {
        return error_set(err, "Parameter 'qom-type' is missing; -object help lists the types");
    }
    a->type = user_object_type(name, err);
    return a->type != NULL;
}

static bool take_id(ObjectArgs *a, const char *id, GError **err)
{
    if (!id) {
        return error_set(err, "Parameter 'id' is missing; give the object a name with it");
    }
    a->id = g_strdup(id);
    return object_id_is_valid(id) ||
           error_set(err, "Parameter 'id' expects an identifier: a letter, then letters, digits, '-', '.', '_'");
}

static bool json_text(json_object *json, const char *key, const char **text, GError **err)
{
    json_object *value;

    *text = NULL;
    if (!json_object_object_get_ex(json, key, &value)) {
        return true;
    }
    if (!json_object_is_type(value, json_type_string)) {
        return error_set(err, "Invalid parameter type for '%s', expected: string", key);
    }
    *text = json_object_get_string(value);
    return true;
}

/* Takes its own reference of json. */
static bool take_json(ObjectArgs *a, json_object *json, GError **err)
{
    const char *type, *id;

    a->json = json_object_get(json);
    if (!json_object_is_type(json, json_type_object)) {
        return error_set(err, "the JSON value must be an object");
    }
    return json_text(json, "qom-type", &type, err) && json_text(json, "id", &id, err) && take_type(a, type, err) &&
           take_id(a, id, err);
}

static bool parse_json(ObjectArgs *a, const char *text, GError **err)
{
    json_object *json;

    if (!qapi_parse_json(text, strlen(text), &json, err)) {
        return qapi_advise_quoting(err);
    }
    bool ok = take_json(a, json, err);
    json_object_put(json);
    return ok;
}

static bool parse_keyvals(ObjectArgs *a, const char *text, GError **err)
{
    a->kv = keyvals_parse("-object", text, "qom-type", err);
    return a->kv && take_type(a, keyvals_get(a->kv, "qom-type"), err) && take_id(a, keyvals_get(a->kv, "id"), err);
}

ObjectArgs *object_args_parse(const char *text, GError **err)
{
    ObjectArgs *a = g_new0(ObjectArgs, 1);
    GError *reason = NULL;

    if (text[0] == '{' ? parse_json(a, text, &reason) : parse_keyvals(a, text, &reason)) {
        return a;
    }
    /* Values may be secrets: only what stands before them is repeated. */
    g_autofree char *shown = a->type && a->id ? g_strdup_printf("%s,id=%s", a->type->name, a->id)
                                              : g_strndup(text, strcspn(text, ","));
    if (g_str_has_prefix(reason->message, "-object")) {
        g_propagate_error(err, reason);
    } else {
        g_propagate_prefixed_error(err, reason, "-object %s: ", shown);
    }
    object_args_free(a);
    return NULL;
}

void object_args_free(ObjectArgs *a)
{
    if (a) {
        keyvals_free(a->kv);
        json_object_put(a->json);
        g_free(a->id);
        g_free(a);
    }
}

/* ---- each parameter ------------------------------------------------------------------------------- */

typedef bool ParamFn(const char *key, const char *text, json_object *json, void *opaque, GError **err);

typedef struct ParamCall {
    ParamFn *fn;
    void *opaque;
    json_object *nested; /* "limits.iops-total=1": {"limits": {"iops-total": "1"}} */
} ParamCall;

static bool is_ours(const char *key) { return !strcmp(key, "qom-type") || !strcmp(key, "id"); }

static void add_nested(json_object *all, const char *key, const char *dot, const char *value)
{
    g_autofree char *name = g_strndup(key, (gsize)(dot - key));
    json_object *members;

    if (!json_object_object_get_ex(all, name, &members)) {
        members = json_object_new_object();
        json_object_object_add(all, name, members);
    }
    json_object_object_add(members, dot + 1, json_object_new_string(value));
}

static bool call_pair(const char *key, const char *value, void *opaque, GError **err)
{
    ParamCall *call = opaque;
    const char *dot = strchr(key, '.');

    if (dot) {
        add_nested(call->nested, key, dot, value);
        return true;
    }
    return is_ours(key) || call->fn(key, value, NULL, call->opaque, err);
}

/* Calls fn with each parameter but type and id until it returns false. */
static bool foreach_param(const ObjectArgs *a, ParamFn *fn, void *opaque, GError **err)
{
    if (a->kv) {
        ParamCall call = {fn, opaque, json_object_new_object()};
        bool ok = keyvals_foreach(a->kv, call_pair, &call, err);

        json_object_object_foreach(call.nested, name, members)
        {
            ok = ok && fn(name, NULL, members, opaque, err);
        }
        json_object_put(call.nested);
        return ok;
    }
    for (const char *const *p = a->pairs; p && *p; p += 2) {
        if (!fn(p[0], p[1], NULL, opaque, err)) {
            return false;
        }
    }
    if (a->json) {
        json_object_object_foreach(a->json, key, value)
        {
            if (!is_ours(key) && !fn(key, NULL, value, opaque, err)) {
                return false;
            }
        }
    }
    return true;
}

/* ---- making ------------------------------------------------------------------------------------------ */

static bool set_param(const char *key, const char *text, json_object *json, void *opaque, GError **err)
{
    return text ? object_set(opaque, key, text, err) : object_set_json(opaque, key, json, err);
}

typedef struct Missing {
    const char *name;
    bool given;
    const char *instead; /* a key that may be a mistyped name; NULL: none */
} Missing;

static bool look_for(const char *key, const char *text, json_object *json, void *opaque, GError **err)
{
    Missing *m = opaque;

    const char *const wanted[] = {m->name, NULL};
    g_autofree char *hint = suggest_names(key, wanted);

    m->given |= !strcmp(key, m->name);
    if (strlen(key) > 2 && *hint) {
        m->instead = key;
    }
    return true;
}

static bool check_required(const ObjectArgs *a, GError **err)
{
    for (const Type *t = a->type; t; t = type_parent(t)) {
        for (const Property *p = t->props; p && p->name; p++) {
            Missing m = {.name = p->name};

            if (p->required && foreach_param(a, look_for, &m, NULL) && !m.given) {
                return m.instead ? error_set(err, "Parameter '%s' is missing; is '%s' meant for it?", p->name, m.instead)
                                 : error_set(err, "Parameter '%s' is missing; add %s=", p->name, p->name);
            }
        }
    }
    return true;
}

static bool run_complete(Object *obj, const Type *type, GError **err)
{
    const Type *parent = type_parent(type);

    return (!parent || run_complete(obj, parent, err)) && (!type->complete || type->complete(obj, err));
}

static Object *objects(Vm *vm) { return object_container(vm->root, "objects"); }

bool user_object_place(Vm *vm, Object *obj, const char *id, GError **err)
{
    if (object_child(objects(vm), id)) {
        return error_set(err, "Duplicate ID '%s' for object; choose another id", id);
    }
    object_add_child(objects(vm), id, obj);
    if (!run_complete(obj, obj->type, err)) {
        object_unparent(obj);
        return false;
    }
    obj->completed = true;
    return true;
}

static Object *create(Vm *vm, const ObjectArgs *a, GError **err)
{
    if (object_child(objects(vm), a->id)) {
        error_set(err, "Duplicate ID '%s' for object; choose another id", a->id);
        return NULL;
    }
    if (!check_required(a, err)) {
        return NULL;
    }
    Object *obj = object_new(vm, a->type, err);
    if (!obj) {
        return NULL;
    }
    bool ok = foreach_param(a, set_param, obj, err) && user_object_place(vm, obj, a->id, err);
    object_unref(obj);
    return ok ? obj : NULL;
}

Object *user_object_new(Vm *vm, const char *type_name, const char *id, const char *const *pairs, GError **err)
{
    ObjectArgs a = {.pairs = pairs, .type = type_find(type_name), .id = (char *)(uintptr_t)id};

    g_assert(a.type);
    return create(vm, &a, err);
}

Object *user_object_add(Vm *vm, json_object *json, GError **err)
{
    ObjectArgs a = {0};
    Object *obj = take_json(&a, json, err) ? create(vm, &a, err) : NULL;

    g_free(a.id);
    json_object_put(a.json);
    return obj;
}

Object *user_object_add_text(Vm *vm, const char *text, GError **err)
{
    ObjectArgs *a = g_new0(ObjectArgs, 1);
    bool parsed = text[0] == '{' ? parse_json(a, text, err) : parse_keyvals(a, text, err);
    Object *obj = parsed ? create(vm, a, err) : NULL;

    object_args_free(a);
    return obj;
}

/* ---- all of the command line ------------------------------------------------------------------------------ */

typedef struct Batch {
    Vm *vm;
    GPtrArray *args;
    bool late;
    const ObjectArgs *now; /* whose parameters are looked at */
} Batch;

static bool make(Batch *b, ObjectArgs *a, GError **err);

/* An object of the line that this value names is made first. A circle ends where it was entered: then the link is
 * not found, which is what the user is told. */
static bool make_named(const char *key, const char *text, json_object *json, void *opaque, GError **err)
{
    Batch *b = opaque;
    const Property *prop = type_property(b->now->type, key);

    if (!prop || (prop->kind != &prop_kind_link && prop->kind != &prop_kind_object_id && !prop->link_type)) {
        return true;
    }
    const char *id = text ? text : json_object_is_type(json, json_type_string) ? json_object_get_string(json) : "";
    for (unsigned i = 0; i < b->args->len; i++) {
        ObjectArgs *other = b->args->pdata[i];

        if (!strcmp(other->id, id) && other->progress == PENDING && type_is_late(other->type) == b->late) {
            return make(b, other, err);
        }
    }
    return true;
}

static bool make(Batch *b, ObjectArgs *a, GError **err)
{
    const ObjectArgs *outer = b->now;
    GError *reason = NULL;

    a->progress = ENTERED;
    b->now = a;
    bool ok = foreach_param(a, make_named, b, err);
    b->now = outer;
    if (!ok) {
        return false;
    }
    if (!create(b->vm, a, &reason)) {
        g_propagate_prefixed_error(err, reason, "-object %s,id=%s: ", a->type->name, a->id);
        return false;
    }
    a->progress = MADE;
    return true;
}

bool user_objects_create(Vm *vm, GPtrArray *args, bool late, GError **err)
{
    Batch b = {.vm = vm, .args = args, .late = late};

    for (unsigned i = 0; i < args->len; i++) {
        ObjectArgs *a = args->pdata[i];

        if (a->progress == PENDING && type_is_late(a->type) == late && !make(&b, a, err)) {
            return false;
        }
    }
    return true;
}

/* ---- afterwards ------------------------------------------------------------------------------------------------ */

Object *user_object_find(Vm *vm, const char *id, const char *type_name)
{
    Object *all = object_child(vm->root, "objects");
    Object *obj = all ? object_child(all, id) : NULL;

    return obj && (!type_name || object_is_a(obj, type_name)) ? obj : NULL;
}

bool user_object_del(Vm *vm, const char *id, GError **err)
{
    Object *obj = user_object_find(vm, id, NULL);

    if (!obj) {
        return error_set(err, "object '%s' not found", id);
    }
    if (obj->refs > 1 || (obj->type->is_used && obj->type->is_used(obj))) {
        return error_set(err, "object '%s' is in use, can not be deleted", id);
    }
    object_unparent(obj);
    return true;
}
