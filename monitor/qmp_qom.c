/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qom-*, device-list-properties, object-add, object-del, device_add, device_del: the tree of objects as managers walk it. */
#include "core/device_add.h"
#include "core/user_object.h"
#include "core/vm.h"
#include "monitor/qmp.h"
#include "net/net.h"
#include "qapi/qapi-commands.h"
#include "util/module.h"

static Object *find_object(Vm *vm, const char *path, GError **err)
{
    Object *obj = *path ? object_resolve(vm, path) : NULL;

    if (!obj) {
        error_set_class(err, KILN_ERROR_DEVICE_NOT_FOUND, "Device '%s' not found", path);
    }
    return obj;
}

/* ---- describing properties ----------------------------------------------------------------- */

static ObjectPropertyInfo *new_info(GPtrArray *list, const char *name, char *type)
{
    ObjectPropertyInfo *info = g_new0(ObjectPropertyInfo, 1);

    info->name = g_strdup(name);
    info->type = type;
    g_ptr_array_add(list, info);
    return info;
}

/* What users and managers of QEMU know it as. */
static char *type_text(const Property *prop)
{
    if (prop->type) {
        return g_strdup(prop->type);
    }
    return prop->link_type ? g_strdup_printf("link<%s>", prop->link_type) : g_strdup(prop->kind->type);
}

static json_object *default_of(const Property *prop)
{
    if (prop->kind->json == json_type_boolean) {
        return json_object_new_boolean(prop->def != 0);
    }
    if (prop->values) {
        return json_object_new_string(prop->values[prop->def]);
    }
    if (prop->kind->json != json_type_int) {
        return NULL;
    }
    bool is_signed = prop->kind == &prop_kind_i32 || prop->kind == &prop_kind_i64;
    return is_signed ? json_object_new_int64((int64_t)prop->def) : json_object_new_uint64(prop->def);
}

typedef struct Listing {
    GPtrArray *list;
    bool device;        /* only what -device takes, with defaults */
    bool described;
} Listing;

static void add_property(const Type *owner, const Property *prop, void *opaque)
{
    Listing *l = opaque;

    if (l->device && (!strcmp(owner->name, "device") || !strcmp(owner->name, "object"))) {
        return;
    }
    ObjectPropertyInfo *info = new_info(l->list, prop->name, type_text(prop));
    info->description = l->described ? g_strdup(prop->help) : NULL;
    info->default_value = l->device ? default_of(prop) : NULL;
}

bool qmp_qom_list_properties(QmpCall *call, GError **err)
{
    const QomListPropertiesArgs *args = call->args;
    const Type *type = type_load(args->typename, NULL);
    Listing l = {.described = true};

    if (!type) {
        return error_set_class(err, KILN_ERROR_DEVICE_NOT_FOUND, "Class '%s' not found", args->typename);
    }
    l.list = g_ptr_array_new();
    type_foreach_property(type, add_property, &l);
    call->result = l.list;
    return true;
}

bool qmp_device_list_properties(QmpCall *call, GError **err)
{
    const DeviceListPropertiesArgs *args = call->args;
    const Type *type = type_load(args->typename, NULL);
    Listing l = {.device = true, .described = true};

    if (!type) {
        return error_set_class(err, KILN_ERROR_DEVICE_NOT_FOUND, "Device '%s' not found", args->typename);
    }
    if (!type_is_a(type, "device") || type->abstract) {
        return error_set(err, "Parameter 'typename' expects a non-abstract device type");
    }
    l.list = g_ptr_array_new();
    type_foreach_property(type, add_property, &l);
    call->result = l.list;
    return true;
}

/* ---- types --------------------------------------------------------------------------------------- */

typedef struct TypeListing {
    GPtrArray *list;
    bool abstract;
} TypeListing;

static void add_type(const Type *type, void *opaque)
{
    TypeListing *l = opaque;

    if (type->abstract && !l->abstract) {
        return;
    }
    ObjectTypeInfo *info = g_new0(ObjectTypeInfo, 1);
    info->name = g_strdup(type->name);
    info->parent = g_strdup(type->parent);
    info->has_abstract = info->abstract = type->abstract;
    g_ptr_array_add(l->list, info);
}

static void add_user_type(const Type *type, void *opaque)
{
    if (type_is_user_object(type)) {
        add_type(type, opaque);
    }
}

bool qmp_qom_list_types(QmpCall *call, GError **err)
{
    const QomListTypesArgs *args = call->args;
    TypeListing l = {.list = g_ptr_array_new(), .abstract = args->has_abstract && args->abstract};

    module_load_all();
    if (args->implements && !strcmp(args->implements, "user-creatable")) {
        type_foreach(NULL, add_user_type, &l);
    } else {
        type_foreach(args->implements, add_type, &l);
    }
    call->result = l.list;
    return true;
}

/* ---- objects --------------------------------------------------------------------------------------- */

bool qmp_qom_list(QmpCall *call, GError **err)
{
    const QomListArgs *args = call->args;
    Object *obj = find_object(call->vm, args->path, err);
    Listing l = {0};

    if (!obj) {
        return false;
    }
    l.list = g_ptr_array_new();
    type_foreach_property(obj->type, add_property, &l);
    for (unsigned i = 0; obj->children && i < obj->children->len; i++) {
        const Object *child = g_ptr_array_index(obj->children, i);

        new_info(l.list, child->name, g_strdup_printf("child<%s>", child->type->name));
    }
    call->result = l.list;
    return true;
}

bool qmp_qom_get(QmpCall *call, GError **err)
{
    const QomGetArgs *args = call->args;
    Object *obj = find_object(call->vm, args->path, err);
    g_autoptr(GError) reason = NULL;

    if (!obj) {
        return false;
    }
    const Object *child = object_child(obj, args->property);
    if (child) {
        g_autofree char *path = object_path(child);

        call->result = json_object_new_string(path);
        return true;
    }
    call->result = object_get(obj, args->property, &reason);
    if (reason) {
        g_propagate_error(err, g_steal_pointer(&reason));
        return false;
    }
    return true;
}

bool qmp_qom_set(QmpCall *call, GError **err)
{
    const QomSetArgs *args = call->args;
    Object *obj = find_object(call->vm, args->path, err);

    return obj && object_set_json(obj, args->property, args->value, err);
}

/* ---- objects of the user ------------------------------------------------------------------------------ */

bool qmp_object_add(QmpCall *call, GError **err)
{
    return user_object_add(call->vm, (json_object *)(uintptr_t)call->args, err) != NULL;
}

bool qmp_object_del(QmpCall *call, GError **err)
{
    const ObjectDelArgs *args = call->args;

    return user_object_del(call->vm, args->id, err);
}

/* ---- devices --------------------------------------------------------------------------------------------- */

static int take_fd(void *opaque, const char *name, GError **err) { return monitor_take_fd(opaque, name, err); }

/* Some devices take descriptors (vhostfd=). */
bool qmp_device_add(QmpCall *call, GError **err)
{
    net_set_fd_source(call->vm, take_fd, call->mon);
    const bool ok = device_hot_add(call->vm, (json_object *)(uintptr_t)call->args, err) != NULL;
    net_set_fd_source(call->vm, NULL, NULL);
    return ok;
}

bool qmp_device_del(QmpCall *call, GError **err)
{
    const DeviceDelArgs *args = call->args;

    return device_request_unplug(call->vm, args->id, err);
}
