/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/device_list.h"

#include <string.h>

#include "core/device.h"
#include "core/device_names.h"
#include "util/module.h"

static const struct {
    const char *category, *title;
} titles[] = {
    {"bridge", "Controller/Bridge/Hub devices"}, {"storage", "Storage devices"}, {"network", "Network devices"},
    {"input", "Input devices"}, {"display", "Display devices"}, {"sound", "Sound devices"},
    {"cpu", "CPU devices"}, {"watchdog", "Watchdog devices"}, {"misc", "Misc devices"}, {NULL, "Uncategorized devices"},
};

typedef struct Listing {
    const char *category, *title;
    bool all, titled;
    GString *out;
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
    const char *bus = type_bus(type), *short_name = device_short_name(type->name);

    if (type->abstract || (type_not_user(type) && !l->all) ||
        g_strcmp0(has_title(category) ? category : NULL, l->category)) {
        return;
    }
    if (!l->titled) {
        g_string_append_printf(l->out, "%s%s:\n", l->category == titles[0].category ? "" : "\n", l->title);
        l->titled = true;
    }
    g_string_append_printf(l->out, "name \"%s\"", type->name);
    if (bus) {
        g_string_append_printf(l->out, ", bus %s", bus);
    }
    if (short_name) {
        g_string_append_printf(l->out, ", alias \"%s\"", short_name);
    }
    if (type->desc) {
        g_string_append_printf(l->out, ", desc \"%s\"", type->desc);
    }
    g_string_append(l->out, type_not_user(type) ? ", no-user\n" : "\n");
}

void device_list(GString *out, bool all)
{
    module_load_all();
    for (size_t i = 0; i < G_N_ELEMENTS(titles); i++) {
        Listing l = {titles[i].category, titles[i].title, all, false, out};

        type_foreach("device", print_device, &l);
    }
}
