/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/device_add.h"

#include <json-c/json.h>

#include "core/device_names.h"
#include "core/user_object.h"
#include "util/keyval.h"
#include "util/log.h"
#include "util/module.h"

/* ---- reading the option ------------------------------------------------------------------- */

/* One of the two forms. */
typedef struct DeviceArgs {
    const char *text;
    KeyVals *kv;
    json_object *json;
    const char *driver, *id, *bus;
    bool lenient;           /* JSON strings for any value, as scripts of QMP send them */
} DeviceArgs;

static bool take_json(DeviceArgs *a, const char *key, const char **text, GError **err)
{
    json_object *value;

    if (!json_object_object_get_ex(a->json, key, &value)) {
        return true;
    }
    if (!json_object_is_type(value, json_type_string)) {
        return error_set(err, "%s%s%sInvalid parameter type for '%s', expected: string", *a->text ? "-device " : "", a->text,
                         *a->text ? ": " : "", key);
    }
    *text = json_object_get_string(value);
    return true;
}

static bool parse_json(DeviceArgs *a, GError **err)
{
    enum json_tokener_error reason;

    a->json = json_tokener_parse_verbose(a->text, &reason);
    if (!a->json) {
        return error_set(err, "-device %s: not valid JSON: %s; "
                              "write all of it in one word for the shell: '{...}'", a->text,
                         json_tokener_error_desc(reason));
    }
    if (!json_object_is_type(a->json, json_type_object)) {
        return error_set(err, "-device %s: the JSON value must be an object: {\"driver\": ...}", a->text);
    }
    return take_json(a, "driver", &a->driver, err) && take_json(a, "id", &a->id, err) &&
           take_json(a, "bus", &a->bus, err);
}

static bool parse_args(DeviceArgs *a, const char *text, GError **err)
{
    *a = (DeviceArgs){.text = text};
    if (text[0] == '{') {
        if (!parse_json(a, err)) {
            return false;
        }
    } else {
        a->kv = keyvals_parse("-device", text, "driver", err);
        if (!a->kv) {
            return false;
        }
        a->driver = keyvals_get(a->kv, "driver");
        a->id = keyvals_get(a->kv, "id");
        a->bus = keyvals_get(a->kv, "bus");
    }
    return (a->driver && *a->driver) ||
           error_set(err, "-device %s: parameter 'driver' is missing; write -device DRIVER (-device help lists them)", text);
}

static void free_args(DeviceArgs *a)
{
    keyvals_free(a->kv);
    json_object_put(a->json);
}

char *device_driver_name(const char *text)
{
    DeviceArgs a;
    char *name = parse_args(&a, text, NULL) ? g_strdup(device_full_name(a.driver)) : NULL;

    free_args(&a);
    return name;
}

/* ---- properties ------------------------------------------------------------------------------ */

static bool is_ours(const char *key) { return !strcmp(key, "driver") || !strcmp(key, "id") || !strcmp(key, "bus"); }

static bool set_pair(const char *key, const char *value, void *opaque, GError **err)
{
    return is_ours(key) || object_set(opaque, key, value, err);
}

static bool set_properties(Device *dev, DeviceArgs *a, GError **err)
{
    if (a->kv) {
        return keyvals_foreach(a->kv, set_pair, dev, err);
    }
    json_object_object_foreach(a->json, key, value)
    {
        bool text = a->lenient && json_object_is_type(value, json_type_string);

        if (!is_ours(key) && !(text ? object_set(&dev->obj, key, json_object_get_string(value), err)
                                    : object_set_json(&dev->obj, key, value, err))) {
            return false;
        }
    }
    return true;
}

typedef struct OptionFn {
    DeviceOptionFn *fn;
    void *opaque;
} OptionFn;

static bool call_with_pair(const char *key, const char *value, void *opaque, GError **err)
{
    const OptionFn *f = opaque;

    if (!is_ours(key)) {
        f->fn(key, value, NULL, f->opaque);
    }
    return true;
}

bool device_options_foreach(const char *text, DeviceOptionFn *fn, void *opaque, GError **err)
{
    DeviceArgs a;
    OptionFn f = {fn, opaque};
    bool ok = parse_args(&a, text, err);

    if (ok && fn && a.kv) {
        keyvals_foreach(a.kv, call_with_pair, &f, NULL);
    } else if (ok && fn) {
        json_object_object_foreach(a.json, key, value)
        {
            if (!is_ours(key)) {
                fn(key, NULL, value, opaque);
            }
        }
    }
    free_args(&a);
    return ok;
}

/* ---- making ------------------------------------------------------------------------------------- */

static bool find_bus(Vm *vm, const DeviceArgs *a, const Type *type, Bus **bus, GError **err)
{
    const char *wanted = type_bus(type);

    *bus = NULL;
    if (!wanted) {
        return !a->bus || error_set(err, "Device '%s' plugs into no bus; leave bus=%s out", a->driver, a->bus);
    }
    *bus = a->bus ? bus_find(vm, a->bus) : bus_find_by_type(vm, wanted);
    if (!*bus && a->bus) {
        return error_set(err, "Bus '%s' not found; leave bus= out, or name one that 'info qtree' lists", a->bus);
    }
    if (!*bus) {
        const char *controller = device_bus_controller(wanted);

        return error_set(err, "No '%s' bus found for device '%s'%s%s%s", wanted, a->driver, controller ? "; -device " : "",
                         controller ? controller : "", controller ? " gives the machine one" : "");
    }
    return object_is_a(*bus, wanted) ||
           error_set(err, "Device '%s' can't go on %s bus; leave bus= out, or name one of type %s", a->driver,
                     (*bus)->obj.type->name, wanted);
}

/* Who lets a device come and go: its bus, or the board. */
typedef struct Hotplug {
    const HotplugOps *ops;
    void *opaque;
} Hotplug;

static Hotplug hotplug_of(const Vm *vm, const Bus *bus)
{
    return bus ? (Hotplug){bus->hotplug, bus->hotplug_opaque} : (Hotplug){vm->board_hotplug, vm->board_hotplug_opaque};
}

static bool check_hotplug(const DeviceArgs *a, Device *dev, Bus *bus, GError **err)
{
    Hotplug h = hotplug_of(dev->vm, bus);

    if (!h.ops && !bus) {
        return !dev->hotplugged || error_set(err, "Device '%s' can not be hotplugged on this machine", a->driver);
    }
    if (!h.ops && dev->hotplugged) {
        return error_set(err, "Bus '%s' does not support hotplugging", bus->obj.name);
    }
    if (bus && !dev->hotplugged) {
        return true;
    }
    return (!h.ops->may_plug || h.ops->may_plug(h.opaque, dev, err)) &&
           (!h.ops->set_defaults || h.ops->set_defaults(h.opaque, dev, err));
}

static bool pre_plug(Device *dev, Bus *bus, GError **err)
{
    Hotplug h = hotplug_of(dev->vm, bus);

    return !h.ops || !h.ops->pre_plug || h.ops->pre_plug(h.opaque, dev, err);
}

/* The board is told of each of its devices, a bus of those only that come while the VM lives. */
static void tell_plugged(Device *dev)
{
    Hotplug h = hotplug_of(dev->vm, dev->bus);

    if (dev->hotplugged) {
        device_reset(dev);
    }
    if (h.ops && (dev->hotplugged || !dev->bus)) {
        h.ops->plugged(h.opaque, dev);
    }
}

/* hot: the VM lives. */
static Device *make_device(Vm *vm, DeviceArgs *a, bool hot, GError **err)
{
    Bus *bus;

    if (a->id && !object_id_is_valid(a->id)) {
        error_set(err, "Parameter 'id' expects a letter, then letters, digits, '-', '.', '_'; got '%s'", a->id);
        return NULL;
    }
    if (a->id && device_find(vm, a->id)) {
        error_set(err, "Duplicate device ID '%s'; choose another id", a->id);
        return NULL;
    }
    Device *dev = device_new_user(vm, a->driver, err);
    if (!dev) {
        return NULL;
    }
    dev->id = g_strdup(a->id);
    dev->hotplugged = hot;
    if (!find_bus(vm, a, dev->obj.type, &bus, err) || !check_hotplug(a, dev, bus, err) || !set_properties(dev, a, err) ||
        !pre_plug(dev, bus, err)) {
        object_unref(dev);
        return NULL;
    }
    Object *machine = object_container(vm->root, "machine");
    object_add_child(object_container(machine, a->id ? "peripheral" : "peripheral-anon"), a->id ? a->id : "device[*]",
                     &dev->obj);
    if (!device_realize(dev, bus, err)) {
        object_unparent(&dev->obj);
        object_unref(dev);
        return NULL;
    }
    tell_plugged(dev);
    return dev;
}

Device *device_add(Vm *vm, const char *text, GError **err)
{
    DeviceArgs a;
    GError *reason = NULL;
    Device *dev = parse_args(&a, text, &reason) ? make_device(vm, &a, false, &reason) : NULL;

    if (reason) {
        const char *prefix = g_str_has_prefix(reason->message, "-device") ? "" : "-device ";

        g_propagate_prefixed_error(err, reason, "%s%s%s", prefix, *prefix ? text : "", *prefix ? ": " : "");
    }
    free_args(&a);
    return dev;
}

/* ---- while the VM lives ----------------------------------------------------------------------------- */

Device *device_hot_add(Vm *vm, json_object *args, GError **err)
{
    DeviceArgs a = {.text = "", .json = args, .lenient = true};

    if (!take_json(&a, "driver", &a.driver, err) || !take_json(&a, "id", &a.id, err) || !take_json(&a, "bus", &a.bus, err)) {
        return NULL;
    }
    if (!a.driver) {
        error_set(err, "Parameter 'driver' is missing");
        return NULL;
    }
    return make_device(vm, &a, true, err);
}

bool device_request_unplug(Vm *vm, const char *id, GError **err)
{
    Object *obj = id[0] == '/' ? object_resolve(vm, id) : NULL;
    Device *dev = obj && object_is_a(obj, "device") ? (Device *)(void *)obj : id[0] == '/' ? NULL : device_find(vm, id);

    if (!dev || !dev->realized) {
        return error_set_class(err, KILN_ERROR_DEVICE_NOT_FOUND, "Device '%s' not found", id);
    }
    Hotplug h = hotplug_of(vm, dev->bus);
    if (!h.ops) {
        return error_set(err, dev->bus ? "Bus '%s' does not support hotplugging" : "Device '%s' does not support hotplugging",
                         dev->bus ? dev->bus->obj.name : dev->obj.type->name);
    }
    return h.ops->request_unplug(h.opaque, dev, err);
}

/* ---- -global --------------------------------------------------------------------------------------- */

bool global_add(Vm *vm, const char *text, GError **err)
{
    GlobalProp g = {.from_user = true};

    if (g_str_has_prefix(text, "driver=")) {
        g_autoptr(KeyVals) kv = keyvals_parse("-global", text, NULL, err);

        if (!kv) {
            return false;
        }
        g.driver = g_intern_string(keyvals_get(kv, "driver"));
        g.property = g_intern_string(keyvals_get(kv, "property"));
        g.value = g_intern_string(keyvals_get(kv, "value"));
        if (!keyvals_finish(kv, err)) {
            return false;
        }
        if (!g.property || !g.value) {
            return error_set(err, "-global %s: driver=, property= and value= are needed", text);
        }
    } else {
        const char *dot = strchr(text, '.'), *equals = strchr(text, '=');
        g_autofree char *driver = g_strndup(text, (size_t)(dot - text));
        g_autofree char *property = g_strndup(dot + 1, (size_t)(equals - dot - 1));

        g.driver = g_intern_string(driver);
        g.property = g_intern_string(property);
        g.value = g_intern_string(equals + 1);
    }
    g_array_append_val(vm->globals, g);
    return true;
}

static void collect_type(const Type *type, void *names) { g_ptr_array_add(names, (char *)type->name); }

static char *why_unused(const GlobalProp *g)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    const Type *type = type_find(g->driver);

    if (!type) { /* it may be a module's */
        module_load_all();
        type = type_find(g->driver);
    }
    if (!type) {
        type_foreach("device", collect_type, names);
        g_ptr_array_add(names, NULL);
        g_autofree char *hint = suggest_names(g->driver, (const char *const *)names->pdata);
        return g_strconcat("has invalid class name", hint, NULL);
    }
    for (const Type *t = type; t; t = type_parent(t)) {
        for (const Property *p = t->props; p && p->name; p++) {
            if (!strcmp(p->name, g->property)) {
                return g_strdup("has no effect: there is no such device in this VM");
            }
            g_ptr_array_add(names, (char *)p->name);
        }
    }
    g_ptr_array_add(names, NULL);
    g_autofree char *hint = suggest_names(g->property, (const char *const *)names->pdata);
    return g_strconcat("has no effect: it has no such property", hint, NULL);
}

void globals_check_used(Vm *vm)
{
    for (unsigned i = 0; i < vm->globals->len; i++) {
        GlobalProp *g = &g_array_index(vm->globals, GlobalProp, i);

        if (g->from_user && !g->used) {
            g_autofree char *why = why_unused(g);

            report_warning("-global %s.%s=%s %s", g->driver, g->property, g->value, why);
        }
    }
}
