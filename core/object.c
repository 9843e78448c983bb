/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/object.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/vm.h"

/* ---- life ----------------------------------------------------------------------------- */

static void set_defaults(Object *obj, const Type *type)
{
    const Type *parent = type_parent(type);

    if (parent) {
        set_defaults(obj, parent);
    }
    for (const Property *p = type->props; p && p->name; p++) {
        if (p->kind->set_default) {
            p->kind->set_default(p, (char *)obj + p->offset);
        }
    }
}

static void run_init(Object *obj, const Type *type)
{
    const Type *parent = type_parent(type);

    if (parent) {
        run_init(obj, parent);
    }
    if (type->init) {
        type->init(obj);
    }
}

static bool apply_globals(Object *obj, GError **err)
{
    GArray *globals = obj->vm ? obj->vm->globals : NULL;

    for (unsigned i = 0; globals && i < globals->len; i++) {
        GlobalProp *g = &g_array_index(globals, GlobalProp, i);

        if (!type_is_a(obj->type, g->driver)) {
            continue;
        }
        g->used = true;
        if (!object_set(obj, g->property, g->value, err)) {
            g_prefix_error(err, "-global %s.%s=%s: ", g->driver, g->property, g->value);
            return false;
        }
    }
    return true;
}

static void object_setup(Object *obj, Vm *vm, const Type *type)
{
    obj->type = type;
    obj->vm = vm;
    obj->refs = 1;
    set_defaults(obj, type);
    run_init(obj, type);
}

static size_t type_size(const Type *type)
{
    while (!type->size) {
        type = type_parent(type);
    }
    return type->size;
}

Object *object_new(Vm *vm, const Type *type, GError **err)
{
    g_assert(type && !type->abstract);
    Object *obj = g_malloc0(type_size(type));

    object_setup(obj, vm, type);
    if (!apply_globals(obj, err)) {
        object_unref(obj);
        return NULL;
    }
    return obj;
}

/* Embedded objects never reach zero: their container's reference stands for the struct. */
#define EMBEDDED_REFS 0x40000000u

void object_init_embedded(Object *obj, Vm *vm, const char *type_name)
{
    const Type *type = type_find(type_name);

    g_assert(type);
    object_setup(obj, vm, type);
    obj->refs = EMBEDDED_REFS;
}

Object *object_ref(Object *obj)
{
    obj->refs++;
    return obj;
}

static void object_finalize(Object *obj)
{
    while (obj->children && obj->children->len) {
        object_unparent(g_ptr_array_index(obj->children, obj->children->len - 1));
    }
    for (const Type *t = obj->type; t; t = type_parent(t)) {
        if (t->finalize) {
            t->finalize(obj);
        }
        for (const Property *p = t->props; p && p->name; p++) {
            if (p->kind->release) {
                p->kind->release(obj, p, (char *)obj + p->offset);
            }
        }
    }
    if (obj->children) {
        g_ptr_array_free(obj->children, true);
    }
    g_free(obj->name);
    g_free(obj);
}

void object_unref(void *ptr)
{
    Object *obj = ptr;

    if (obj && --obj->refs == 0) {
        object_finalize(obj);
    }
}

bool object_is_a(const void *obj, const char *type_name)
{
    return obj && type_is_a(((const Object *)obj)->type, type_name);
}

/* ---- the tree --------------------------------------------------------------------------- */

/* STEM[N] with the lowest N that no child has. */
static char *free_name(const Object *parent, const char *stem)
{
    unsigned count = parent->children ? parent->children->len : 0, n = 0;
    g_autofree bool *taken = g_new0(bool, count + 1);
    size_t len = strlen(stem);

    for (unsigned i = 0; i < count; i++) {
        const char *name = ((Object *)g_ptr_array_index(parent->children, i))->name;

        if (!strncmp(name, stem, len) && name[len] == '[') {
            unsigned number = 0;

            for (const char *digit = name + len + 1; g_ascii_isdigit(*digit) && number < count; digit++) {
                number = number * 10 + (unsigned)(*digit - '0');
            }
            taken[MIN(number, count)] = true;
        }
    }
    while (taken[n]) {
        n++;
    }
    return g_strdup_printf("%s[%u]", stem, n);
}

void object_add_child(Object *parent, const char *name, Object *child)
{
    g_assert(!child->parent);
    if (g_str_has_suffix(name, "[*]")) {
        g_autofree char *stem = g_strndup(name, strlen(name) - 3);

        child->name = free_name(parent, stem);
    } else {
        child->name = g_strdup(name);
    }
    if (!parent->children) {
        parent->children = g_ptr_array_new();
    }
    child->parent = parent;
    g_ptr_array_add(parent->children, object_ref(child));
}

void object_unparent(Object *obj)
{
    if (obj->parent) {
        g_ptr_array_remove(obj->parent->children, obj);
        obj->parent = NULL;
        g_clear_pointer(&obj->name, g_free);
        object_unref(obj);
    }
}

Object *object_child(const Object *parent, const char *name)
{
    for (unsigned i = 0; parent->children && i < parent->children->len; i++) {
        Object *child = g_ptr_array_index(parent->children, i);

        if (!strcmp(child->name, name)) {
            return child;
        }
    }
    return NULL;
}

Object *object_container(Object *parent, const char *name)
{
    Object *child = object_child(parent, name);

    if (!child) {
        child = object_new(parent->vm, type_find("container"), NULL);
        object_add_child(parent, name, child);
        object_unref(child);
    }
    return child;
}

char *object_path(const void *ptr)
{
    GString *path = g_string_new(NULL);

    for (const Object *obj = ptr; obj->parent; obj = obj->parent) {
        g_string_prepend(path, obj->name);
        g_string_prepend_c(path, '/');
    }
    if (!path->len) {
        g_string_append_c(path, '/');
    }
    return g_string_free(path, false);
}

static Object *walk(Object *from, char **parts)
{
    for (; from && *parts; parts++) {
        if (**parts) {
            from = object_child(from, *parts);
        }
    }
    return from;
}

/* Every place where the parts match from some object downwards. */
static void search(Object *from, char **parts, Object **found, unsigned *matches)
{
    Object *obj = walk(from, parts);

    if (obj) {
        *found = obj;
        ++*matches;
    }
    for (unsigned i = 0; from->children && i < from->children->len; i++) {
        search(g_ptr_array_index(from->children, i), parts, found, matches);
    }
}

Object *object_resolve(Vm *vm, const char *path)
{
    g_auto(GStrv) parts = g_strsplit(path, "/", -1);
    Object *found = NULL;
    unsigned matches = 0;

    if (path[0] == '/') {
        return walk(vm->root, parts);
    }
    if (path[0]) {
        search(vm->root, parts, &found, &matches);
    }
    return matches == 1 ? found : NULL;
}

/* ---- properties --------------------------------------------------------------------------- */

static void collect_name(const Type *owner, const Property *prop, void *opaque)
{
    g_ptr_array_add(opaque, (void *)prop->name);
}

/* names ends with NULL. The caller frees. */
static char *list_names(const GPtrArray *names)
{
    g_autofree char *all = g_strjoinv(", ", (char **)names->pdata);

    return g_strconcat("; there are: ", all, NULL);
}

static bool unknown_property(Object *obj, const char *name, GError **err)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();

    type_foreach_property(obj->type, collect_name, names);
    g_ptr_array_add(names, NULL);
    const char *type = obj->type->name;
    g_autofree char *near = suggest_names(name, (const char *const *)names->pdata);
    g_autofree char *way_out =
        *near ? g_strdup(near)
        : type_is_a(obj->type, "device") ? g_strdup_printf("; -device %s,help lists what it has", type)
        : type_is_user_object(obj->type) ? g_strdup_printf("; -object %s,help lists what it has", type)
                                         : list_names(names);
    return error_set(err, "Property '%s.%s' not found%s", type, name, way_out);
}

/* The object that has the property: *obj, or its deputy, which *obj then becomes. NULL: nobody has it. */
static const Property *find_property(Object **obj, const char *name)
{
    const Type *type = (*obj)->type;
    const Property *prop = type_own_property(type, name);
    Object *deputy = prop || !type->deputy ? NULL : type->deputy(*obj);

    if (deputy) {
        *obj = deputy;
        return type_own_property(deputy->type, name);
    }
    return prop;
}

static const Property *settable(Object **owner, const char *name, GError **err)
{
    Object *obj = *owner;
    const Property *prop = find_property(owner, name);

    if (!prop) {
        unknown_property(obj, name, err);
        return NULL;
    }
    obj = *owner;
    if (prop->read_only || (!prop->kind->set && !prop->kind->set_json)) {
        error_set(err, "Property '%s.%s' is not writable", obj->type->name, name);
        return NULL;
    }
    if (!prop->anytime && type_is_a(obj->type, "device") && ((Device *)(void *)obj)->realized) {
        error_set(err, "Property '%s.%s' cannot be changed after the device is realized", obj->type->name, name);
        return NULL;
    }
    if (!prop->anytime && obj->completed) {
        error_set(err, "Property '%s.%s' cannot be changed once the object is made", obj->type->name, name);
        return NULL;
    }
    return prop;
}

/* Tells a complete object of its new value. */
static bool tell_changed(Object *obj, const Property *prop, GError **err)
{
    for (const Type *t = obj->type; obj->completed && t; t = type_parent(t)) {
        if (t->changed) {
            return t->changed(obj, prop, err);
        }
    }
    return true;
}

bool object_set(Object *obj, const char *name, const char *text, GError **err)
{
    const Property *prop = settable(&obj, name, err);

    if (prop && !prop->kind->set) {
        return error_set(err, "Property '%s.%s' takes a list or an object: it is set as JSON", obj->type->name, name);
    }
    return prop && prop->kind->set(obj, prop, (char *)obj + prop->offset, text, err) && tell_changed(obj, prop, err);
}

bool object_set_json(Object *obj, const char *name, json_object *value, GError **err)
{
    const Property *prop = settable(&obj, name, err);
    enum json_type type = json_object_get_type(value);

    if (!prop) {
        return false;
    }
    if (prop->kind->set_json) {
        return prop->kind->set_json(obj, prop, (char *)obj + prop->offset, value, err) && tell_changed(obj, prop, err);
    }
    if (type == json_type_boolean) {
        if (prop->kind->json == json_type_boolean) {
            return object_set(obj, name, json_object_get_boolean(value) ? "on" : "off", err);
        }
    } else if (type == json_type_string || type == prop->kind->json) {
        if (type == json_type_string && (prop->kind->json == json_type_boolean || prop->kind->json == json_type_int)) {
            return error_set(err, "Invalid parameter type for '%s', expected: %s", name,
                             prop->kind->json == json_type_int ? "integer" : "boolean");
        }
        return object_set(obj, name, json_object_get_string(value), err);
    }
    return error_set(err, "Invalid parameter type for '%s', expected: %s", name, prop->kind->type);
}

json_object *object_get(Object *obj, const char *name, GError **err)
{
    const Property *prop = find_property(&obj, name);

    if (!prop) {
        unknown_property(obj, name, err);
        return NULL;
    }
    return prop->kind->get ? prop->kind->get(obj, prop, (char *)obj + prop->offset) : NULL;
}

void object_set_str(void *obj, const char *name, const char *value)
{
    g_autoptr(GError) err = NULL;

    if (!object_set(obj, name, value, &err)) {
        g_error("%s", err->message);
    }
}

void object_set_uint(void *obj, const char *name, uint64_t value)
{
    char text[24];

    snprintf(text, sizeof text, "%" G_GUINT64_FORMAT, value);
    object_set_str(obj, name, text);
}

void object_set_bool(void *obj, const char *name, bool value)
{
    object_set_str(obj, name, value ? "on" : "off");
}

static json_object *get_type(Object *obj, const Property *prop, const void *field)
{
    return json_object_new_string(obj->type->name);
}
static const PropKind prop_kind_type_name = {.type = "string", .json = json_type_string, .get = get_type};

static const Property object_props[] = {PROP_ANY("type", &prop_kind_type_name, Object, type, .read_only = true), {}};

KILN_TYPE(object) = {.name = "object", .size = sizeof(Object), .abstract = true, .props = object_props};
KILN_TYPE(container) = {.name = "container", .parent = "object", .size = sizeof(Object)};
