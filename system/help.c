/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/help.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/device.h"
#include "core/vm.h"
#include "hw/i386/firmware.h"

/* ---- -device help -------------------------------------------------------------------------- */

static const struct {
    const char *category, *title;
} titles[] = {
    {"bridge", "Controller/Bridge/Hub devices"}, {"storage", "Storage devices"}, {"network", "Network devices"},
    {"input", "Input devices"}, {"display", "Display devices"}, {"sound", "Sound devices"},
    {"cpu", "CPU devices"}, {"watchdog", "Watchdog devices"}, {"misc", "Misc devices"}, {NULL, "Uncategorized devices"},
};

typedef struct Listing {
    const char *category, *title;
    bool titled;
} Listing;

static bool has_title(const char *category)
{
    for (size_t i = 0; category && titles[i].category; i++) {
        if (!strcmp(titles[i].category, category)) {
            return true;
        }
    }
    return false;
}

static void print_device(const Type *type, void *opaque)
{
    Listing *l = opaque;
    const char *category = type_category(type);
    const char *bus = type_bus(type);

    if (type->abstract || type_not_user(type) ||
        g_strcmp0(has_title(category) ? category : NULL, l->category)) {
        return;
    }
    if (!l->titled) {
        printf("%s%s:\n", l->category == titles[0].category ? "" : "\n", l->title);
        l->titled = true;
    }
    printf("name \"%s\"", type->name);
    if (bus) {
        printf(", bus %s", bus);
    }
    if (type->desc) {
        printf(", desc \"%s\"", type->desc);
    }
    printf("\n");
}

void device_help(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(titles); i++) {
        Listing l = {titles[i].category, titles[i].title, false};

        type_foreach("device", print_device, &l);
    }
}

static void collect_property(const Type *owner, const Property *prop, void *opaque) { g_ptr_array_add(opaque, (void *)prop); }

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const Property *const *)a)->name, (*(const Property *const *)b)->name);
}

static void print_property(const Type *type, const Property *prop)
{
    g_autofree char *left = g_strdup_printf("%s=<%s>", prop->name, prop->kind->type);

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

bool device_type_help(const char *name, GError **err)
{
    const Type *type = type_find(name);
    g_autoptr(GPtrArray) props = g_ptr_array_new();

    if (!type || !type_is_a(type, "device") || type->abstract) {
        Device *none = device_new_user(NULL, name, err); /* says what is wrong, and what is near */
        g_assert(!none);
        return false;
    }
    type_foreach_property(type, collect_property, props);
    qsort(props->pdata, props->len, sizeof(void *), by_name);
    printf("%s options:\n", name);
    for (unsigned i = 0; i < props->len; i++) {
        const Property *prop = props->pdata[i];

        if (!prop->read_only && prop->kind->set) {
            print_property(type, prop);
        }
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
