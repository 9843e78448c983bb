/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPU models beside each other. Both come as static expansions, which have the same properties: features, which a CPU has
 * or has not; the levels of CPUID; and what the CPU is called (vendor, family, model, stepping, model-id).
 */
#include "accel/x86/query.h"

#include <json-c/json.h>

#include "util/error.h"

static json_object *get(json_object *model, const char *name)
{
    return json_object_object_get(model, name);
}

static const char *text(json_object *model, const char *name)
{
    json_object *value = get(model, name);

    return value ? json_object_get_string(value) : "";
}

static bool is_level(const char *name)
{
    return g_str_has_prefix(name, "min-");
}

/* Above 0: a has more of it; below: b has; 0: they are alike, or it is nothing that one has more of. */
static int more(const char *name, json_object *a, json_object *b)
{
    if (!json_object_is_type(a, json_type_boolean) && !is_level(name)) {
        return 0;
    }
    int64_t in_a = json_object_get_int64(a), in_b = json_object_get_int64(b);

    return (in_a > in_b) - (in_a < in_b);
}

CpuModelOrder cpu_models_compare(json_object *a, json_object *b, GPtrArray *differing)
{
    bool a_more = false, b_more = false;

    json_object_object_foreach(a, name, value)
    {
        json_object *other = get(b, name);

        if (!json_object_equal(value, other)) {
            g_ptr_array_add(differing, g_strdup(name));
            a_more |= more(name, value, other) > 0;
            b_more |= more(name, value, other) < 0;
        }
    }
    if ((a_more && b_more) || strcmp(text(a, "vendor"), text(b, "vendor"))) {
        return CPU_MODEL_INCOMPATIBLE;
    }
    return b_more ? CPU_MODEL_SUBSET : differing->len ? CPU_MODEL_SUPERSET : CPU_MODEL_IDENTICAL;
}

/* Is a the older one, by its family, model and stepping? */
static bool is_older(json_object *a, json_object *b)
{
    static const char *const names[] = {"family", "model", "stepping"};

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        int64_t in_a = json_object_get_int64(get(a, names[i])), in_b = json_object_get_int64(get(b, names[i]));

        if (in_a != in_b) {
            return in_a < in_b;
        }
    }
    return true;
}

json_object *cpu_models_baseline(json_object *a, json_object *b, GError **err)
{
    json_object *older = is_older(a, b) ? a : b, *common;

    if (strcmp(text(a, "vendor"), text(b, "vendor"))) {
        error_set(err, "There is no CPU model that both can stand in for: their vendors are '%s' and '%s'", text(a, "vendor"),
                  text(b, "vendor"));
        return NULL;
    }
    common = json_object_new_object();
    json_object_object_foreach(a, name, value)
    {
        json_object *other = get(b, name);
        json_object *least = more(name, value, other) > 0 ? other : value;

        if (!json_object_is_type(value, json_type_boolean) && !is_level(name)) {
            least = get(older, name);
        }
        json_object_object_add(common, name, json_object_get(least));
    }
    return common;
}
