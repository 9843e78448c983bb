/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/help.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/device.h"
#include "core/device_list.h"
#include "core/device_names.h"
#include "core/type_help.h"
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

bool device_type_help(const char *name, GError **err)
{
    const Type *type = type_load(device_full_name(name), NULL);

    if (!type || !type_is_a(type, "device") || type->abstract) {
        Device *none = device_new_user(NULL, name, err); /* says what is wrong, and what is near */
        g_assert(!none);
        g_prefix_error(err, "-device %s,help: ", name);
        return false;
    }
    type_print_properties(type);
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
    type_print_properties(type);
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
