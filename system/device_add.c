/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/device_add.h"

#include <json-c/json.h>

#include "util/keyval.h"
#include "util/log.h"

/* ---- reading the option ------------------------------------------------------------------- */

/* One of the two forms. */
typedef struct DeviceArgs {
    const char *text;
    KeyVals *kv;
    json_object *json;
    const char *driver, *id, *bus;
} DeviceArgs;

static bool take_json(DeviceArgs *a, const char *key, const char **text, GError **err)
{
    json_object *value;

    if (!json_object_object_get_ex(a->json, key, &value)) {
        return true;
    }
    if (!json_object_is_type(value, json_type_string)) {
        return error_set(err, "-device %s: Invalid parameter type for '%s', expected: string", a->text, key);
    }
    *text = json_object_get_string(value);
    return true;
}

static bool parse_json(DeviceArgs *a, GError **err)
{
    enum json_tokener_error reason;

    a->json = json_tokener_parse_verbose(a->text, &reason);
    if (!a->json) {
        return error_set(err, "-device %s: not valid JSON: %s", a->text, json_tokener_error_desc(reason));
    }
    if (!json_object_is_type(a->json, json_type_object)) {
        return error_set(err, "-device %s: the JSON value must be an object", a->text);
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
    char *name = parse_args(&a, text, NULL) ? g_strdup(a.driver) : NULL;

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
        if (!is_ours(key) && !object_set_json(&dev->obj, key, value, err)) {
            return false;
        }
    }
    return true;
}

/* ---- making ------------------------------------------------------------------------------------- */

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

static bool find_bus(Vm *vm, const DeviceArgs *a, const Type *type, Bus **bus, GError **err)
{
    const char *wanted = type_bus(type);

    *bus = NULL;
    if (!wanted) {
        return !a->bus || error_set(err, "Device '%s' plugs into no bus; leave bus=%s out", a->driver, a->bus);
    }
    *bus = a->bus ? bus_find(vm, a->bus) : bus_find_by_type(vm, wanted);
    if (!*bus && a->bus) {
        return error_set(err, "Bus '%s' not found", a->bus);
    }
    if (!*bus) {
        return error_set(err, "No '%s' bus found for device '%s'", wanted, a->driver);
    }
    return object_is_a(*bus, wanted) ||
           error_set(err, "Device '%s' can't go on %s bus", a->driver, (*bus)->obj.type->name);
}

static Device *make_device(Vm *vm, DeviceArgs *a, GError **err)
{
    Bus *bus;

    if (a->id && !id_is_valid(a->id)) {
        error_set(err, "Parameter 'id' expects a letter, then letters, digits, '-', '.', '_'; got '%s'", a->id);
        return NULL;
    }
    if (a->id && device_find(vm, a->id)) {
        error_set(err, "Duplicate device ID '%s'", a->id);
        return NULL;
    }
    Device *dev = device_new_user(vm, a->driver, err);
    if (!dev) {
        return NULL;
    }
    dev->id = g_strdup(a->id);
    if (!set_properties(dev, a, err) || !find_bus(vm, a, dev->obj.type, &bus, err)) {
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
    return dev;
}

Device *device_add(Vm *vm, const char *text, GError **err)
{
    DeviceArgs a;
    GError *reason = NULL;
    Device *dev = parse_args(&a, text, &reason) ? make_device(vm, &a, &reason) : NULL;

    if (reason) {
        const char *prefix = g_str_has_prefix(reason->message, "-device") ? "" : "-device ";

        g_propagate_prefixed_error(err, reason, "%s%s%s", prefix, *prefix ? text : "", *prefix ? ": " : "");
    }
    free_args(&a);
    return dev;
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

void globals_check_used(Vm *vm)
{
    for (unsigned i = 0; i < vm->globals->len; i++) {
        GlobalProp *g = &g_array_index(vm->globals, GlobalProp, i);

        if (g->from_user && !g->used) {
            report_warning(type_find(g->driver) ? "-global %s.%s=%s has no effect: there is no such device in this VM"
                                                : "-global %s.%s=%s has invalid class name",
                           g->driver, g->property, g->value);
        }
    }
}
