/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Questions about CPU models are answered by a CPU of that model that is made, completed as for a
 * VM, read, and thrown away.
 */
#include "accel/x86/query.h"

#include <json-c/json_object_iterator.h>

#include "accel/kvm/kvm_cpuid.h"
#include "accel/x86/models.h"

GPtrArray *cpu_unavailable_features(const Cpu *cpu)
{
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);

    for (FeatureWord word = 0; word < FEATURE_WORDS; word++) {
        for (unsigned bit = 0; bit < 64 && cpu->missing[word] >> bit; bit++) {
            const char *name = cpu->missing[word] >> bit & 1 ? feature_name(word, bit) : NULL;

            if (name && !g_ptr_array_find_with_equal_func(names, name, g_str_equal, NULL)) {
                g_ptr_array_add(names, g_strdup(name));
            }
        }
    }
    return names;
}

static json_object *get_unavailable(Object *obj, const Property *prop, const void *field)
{
    g_autoptr(GPtrArray) names = cpu_unavailable_features((const Cpu *)(void *)obj);
    json_object *list = json_object_new_array();

    for (unsigned i = 0; i < names->len; i++) {
        json_object_array_add(list, json_object_new_string(names->pdata[i]));
    }
    return list;
}

const PropKind prop_kind_cpu_unavailable = {.type = "strList", .json = json_type_array, .get = get_unavailable};

/* ---- which there are ------------------------------------------------------------------------- */

static char *bare_name(const Type *type)
{
    return g_strndup(type->name, strlen(type->name) - strlen(CPU_TYPE_SUFFIX));
}

static GPtrArray *model_unavailable(Vm *vm, const Type *type)
{
    const CpuModel *model = type->ops;
    uint32_t regs[4];
    g_autoptr(GError) err = NULL;

    if (model->needs_kvm && !kvm_cpuid_host_leaf(vm, 0, 0, regs)) {
        GPtrArray *names = g_ptr_array_new_with_free_func(g_free);

        g_ptr_array_add(names, g_strdup("kvm"));
        return names;
    }
    Object *obj = object_new(vm, type, &err);
    Cpu *cpu = (Cpu *)(void *)obj;
    GPtrArray *names;
    if (obj && cpu_expand_features(cpu, &err)) {
        cpu_filter_features(cpu);
        names = cpu_unavailable_features(cpu);
    } else { /* a -global value that the model refuses */
        names = g_ptr_array_new_with_free_func(g_free);
        g_ptr_array_add(names, g_strdup("type"));
    }
    object_unref(obj);
    return names;
}

static void info_free(void *opaque)
{
    CpuModelDescription *info = opaque;

    g_free(info->name);
    g_free(info->alias_of);
    g_ptr_array_free(info->unavailable, true);
    g_free(info);
}

static CpuModelDescription *model_info(Vm *vm, const Type *type)
{
    const CpuModel *model = type->ops;
    CpuModelDescription *info = g_new0(CpuModelDescription, 1);

    info->name = bare_name(type);
    info->typename = type->name;
    if (model->version) {
        info->alias_of = g_strdup_printf("%s-v%u", model->name, model->version);
        if (!strcmp(info->alias_of, info->name)) {
            g_clear_pointer(&info->alias_of, g_free);
        }
    }
    info->is_static = !model->version && !model->max;
    info->migration_safe = !model->max;
    info->unavailable = model_unavailable(vm, type);
    return info;
}

GPtrArray *cpu_models_query(Vm *vm)
{
    g_autoptr(GPtrArray) types = cpu_model_types();
    GPtrArray *models = g_ptr_array_new_with_free_func(info_free);

    for (unsigned i = 0; i < types->len; i++) {
        g_ptr_array_add(models, model_info(vm, g_ptr_array_index(types, i)));
    }
    return models;
}

/* ---- expansion ------------------------------------------------------------------------------- */

/* What describes a CPU besides its features, in a static expansion. */
static bool is_identity(const char *name)
{
    static const char *const names[] = {"family",    "model",      "stepping", "vendor", "model-id",
                                        "min-level", "min-xlevel", "lmce",     NULL};

    return g_strv_contains(names, name);
}

typedef struct Expansion {
    Object *obj;
    json_object *props;
    bool full;
} Expansion;

static void add_property(const Type *owner, const Property *prop, void *opaque)
{
    Expansion *e = opaque;
    bool feature = prop->kind == &prop_kind_cpu_feature && !prop->max;

    if (prop->read_only || (!e->full && !feature && !is_identity(prop->name))) {
        return;
    }
    json_object *value = object_get(e->obj, prop->name, NULL);
    if (value || prop->kind == &prop_kind_string) { /* a text that was never set is empty */
        json_object_object_add(e->props, prop->name, value ? value : json_object_new_string(""));
    }
}

static bool set_properties(Object *obj, json_object *props, GError **err)
{
    struct json_object_iterator i = json_object_iter_begin(props),
                                end = json_object_iter_end(props);

    for (; !json_object_iter_equal(&i, &end); json_object_iter_next(&i)) {
        const char *name = json_object_iter_peek_name(&i);

        if (!type_property(obj->type, name)) {
            return error_set(err, "Property '%s.%s' not found", obj->type->name, name);
        }
        if (!object_set_json(obj, name, json_object_iter_peek_value(&i), err)) {
            return false;
        }
    }
    return true;
}

bool cpu_model_expand(Vm *vm, const char *name, json_object *props, bool full,
                      json_object **expanded, GError **err)
{
    g_autofree char *type_name = g_strconcat(name, CPU_TYPE_SUFFIX, NULL);
    const Type *type = type_find(type_name);

    if (!type || type->abstract || !type_is_a(type, "x86_64-cpu")) {
        return error_set(err, "CPU model '%s' not found", name);
    }
    Object *obj = object_new(vm, type, err);
    if (!obj) {
        return false;
    }
    bool ok =
        (!props || set_properties(obj, props, err)) && cpu_expand_features((Cpu *)(void *)obj, err);
    if (ok) {
        Expansion e = {.obj = obj, .props = json_object_new_object(), .full = full};

        type_foreach_property(type, add_property, &e);
        *expanded = e.props;
    }
    object_unref(obj);
    return ok;
}
