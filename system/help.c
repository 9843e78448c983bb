/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/help.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/device.h"
#include "core/device_list.h"
#include "core/device_names.h"
#include "core/user_object.h"
#include "core/vm.h"
#include "hw/i386/firmware.h"
#include "hw/i386/machine.h"
#include "util/module.h"

/* ---- -device help -------------------------------------------------------------------------- */

void device_help(void)
{
    g_autoptr(GString) text = g_string_new(NULL);

    device_list(text, false);
    fputs(text->str, stdout);
}

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

static void print_properties(const Type *type)
{
    g_autoptr(GPtrArray) props = g_ptr_array_new();

    type_foreach_property(type, collect_property, props);
    g_ptr_array_sort(props, by_name);
    printf(props->len ? "%s options:\n" : "There are no options for %s.\n", type->name);
    for (unsigned i = 0; i < props->len; i++) {
        print_property(type, props->pdata[i]);
    }
}

bool device_type_help(const char *name, GError **err)
{
    const Type *type = type_load(device_full_name(name), NULL);

    if (!type || !type_is_a(type, "device") || type->abstract) {
        Device *none = device_new_user(NULL, name, err); /* says what is wrong, and what is near */
        g_assert(!none);
        g_prefix_error(err, "-device %s,help: ", name);
        return false;
    }
    print_properties(type);
    return true;
}

bool machine_type_help(const char *option, const char *text, GError **err)
{
    g_autofree char *name = g_strndup(text, strcspn(text, ","));
    const Type *type = machine_type_find(g_str_has_prefix(name, "type=") ? name + strlen("type=") : name, err);

    if (!type) {
        g_prefix_error(err, "%s %s: ", option, text);
        return false;
    }
    print_properties(type);
    return true;
}

static void print_model(const Type *type, void *opaque)
{
    if (!type->abstract && !type_not_user(type) && !g_strcmp0(type_category(type), "network")) {
        printf("%s\n", type->name);
    }
}

void nic_models_help(void)
{
    module_load_all();
    printf("Supported NIC models:\n");
    type_foreach("pci-device", print_model, NULL);
}

/* ---- -object help ---------------------------------------------------------------------------- */

static void print_object_type(const Type *type, void *opaque)
{
    if (!type->abstract && type_is_user_object(type)) {
        printf("  %s\n", type->name);
    }
}

void object_help(void)
{
    module_load_all();
    printf("List of user creatable objects:\n");
    type_foreach(NULL, print_object_type, NULL);
}

bool object_type_help(const char *name, GError **err)
{
    const Type *type = user_object_type(name, err);
    g_autoptr(GPtrArray) props = g_ptr_array_new();
    bool any = false;

    if (!type) {
        g_prefix_error(err, "-object %s,help: ", name);
        return false;
    }
    type_foreach_property(type, collect_property, props);
    for (unsigned i = 0; i < props->len; i++) {
        any |= !((const Property *)props->pdata[i])->read_only;
    }
    if (any) {
        print_properties(type);
    } else {
        printf("There are no options for %s.\n", name);
    }
    return true;
}

/* ---- the others ------------------------------------------------------------------------------ */

void accel_help(void) { printf("Accelerators supported in Kiln binary:\nkvm\nqtest\n"); }

void data_dirs_help(GPtrArray *data_dirs)
{
    Vm none = {.data_dirs = data_dirs};
    g_auto(GStrv) dirs = firmware_dirs(&none);

    for (char **dir = dirs; *dir; dir++) {
        printf("%s\n", *dir);
    }
}
