/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/type_help.h"

#include <stdio.h>
#include <string.h>

#include "core/user_object.h"
#include "util/module.h"

/* ---- properties ------------------------------------------------------------------------------ */

static void collect_property(const Type *owner, const Property *prop, void *opaque)
{
    if (!prop->read_only && (prop->kind->set || prop->kind->set_json)) {
        g_ptr_array_add(opaque, (void *)prop);
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const Property *const *)a)->name, (*(const Property *const *)b)->name);
}

static void print_property(const Type *type, const Property *prop)
{
    g_autofree char *left = g_strdup_printf("%s=<%s>", prop->name, prop->type ? prop->type : prop->kind->type);

    printf("  %-24s", left);
    printf(" - %s", prop->help ? prop->help : "");
    if (prop->kind->json == json_type_boolean) {
        printf(" (default: %s)", prop->def ? "true" : "false");
    } else if (prop->values) {
        printf(" (default: \"%s\"; one of", prop->values[prop->def]);
        for (const char *const *v = prop->values; *v; v++) {
            printf(" %s", *v);
        }
        printf(")");
    } else if (prop->def_str) {
        printf(" (default: \"%s\")", prop->def_str);
    } else if (prop->kind->json == json_type_int) {
        printf(prop->def > 0xffffffff ? " (default: %" G_GINT64_FORMAT ")" : " (default: %" G_GUINT64_FORMAT ")",
               (int64_t)prop->def);
    }
    printf("\n");
}

void type_print_properties(const Type *type)
{
    g_autoptr(GPtrArray) props = g_ptr_array_new();

    type_foreach_property(type, collect_property, props);
    g_ptr_array_sort(props, by_name);
    printf(props->len ? "%s options:\n" : "There are no options for %s.\n", type->name);
    for (unsigned i = 0; i < props->len; i++) {
        print_property(type, props->pdata[i]);
    }
}

/* ---- -object help ---------------------------------------------------------------------------- */

static void print_object_type(const Type *type, void *opaque)
{
    if (!type->abstract && type_is_user_object(type)) {
        printf("  %s\n", type->name);
    }
}

bool user_object_help(const char *text, bool *helped, GError **err)
{
    g_autofree char *name = g_strndup(text, strcspn(text, ","));
    const char *rest = text + strlen(name);
    const Type *type;

    *helped = !strcmp(text, "help") || !strcmp(text, "?");
    if (*helped) {
        module_load_all();
        printf("List of user creatable objects:\n");
        type_foreach(NULL, print_object_type, NULL);
        return true;
    }
    if (strcmp(rest, ",help") && strcmp(rest, ",?")) {
        return true;
    }
    type = user_object_type(name, err);
    if (!type) {
        g_prefix_error(err, "-object %s,help: ", name);
        return false;
    }
    type_print_properties(type);
    return *helped = true;
}
