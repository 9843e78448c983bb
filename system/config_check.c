/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Checking a whole configuration at once, without starting it.
 *
 * Option tables have checked each argument by itself. This looks at what only starting would tell:
 * device types, properties and their values, names that refer to other options, files that must be
 * there. Not looked at: what an image contains, whether a socket is free, what the host's KVM can do.
 */
#include "system/config_check.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "block/block.h"
#include "chardev/char.h"
#include "core/device.h"
#include "hw/i386/machine.h"
#include "net/net.h"
#include "core/device_add.h"
#include "util/error.h"
#include "util/log.h"

bool config_check_combinations(const Config *c, GError **err)
{
    if (c->daemonize && c->nographic && !c->no_defaults && !c->serials->len) {
        return error_set(err, "-daemonize: cannot be used with -nographic, whose console is the terminal; "
                              "use -display none");
    }
    if (c->daemonize && c->print_state) {
        return error_set(err, "-print-state: cannot be used with -daemonize, which gives the terminal up; "
                              "leave one of them out");
    }
    return !c->qtest_log || c->qtest ||
           error_set(err, "-qtest-log %s: there is no qtest server to log; add -qtest", c->qtest_log);
}

/* ---- names that other options give ------------------------------------------------------------------ */

typedef struct Check {
    Config *config;
    Vm *vm;                             /* without machine: properties need one */
    GHashTable *drives, *chardevs, *netdevs; /* char *: their ids */
    const OptionUse *use;               /* the option being looked at */
} Check;

static void mistake(const Check *check, GError *reason)
{
    config_mistake(check->config, check->use ? check->use->place : "", reason, NULL);
}

/* The value of key in "k=v,..." or JSON; NULL when it has none. The caller frees. */
static char *value_of(const char *arg, const char *key)
{
    char *value = NULL;

    if (*arg == '{') {
        json_object *json = json_tokener_parse(arg), *member;

        if (json && json_object_is_type(json, json_type_object) && json_object_object_get_ex(json, key, &member)) {
            value = g_strdup(json_object_get_string(member));
        }
        json_object_put(json);
    } else {
        KeyVals *kv = keyvals_parse("", arg, NULL, NULL);

        if (kv) {
            value = g_strdup(keyvals_get(kv, key));
            keyvals_free(kv);
        }
    }
    return value;
}

static void note_name(Check *check, GHashTable *names, const char *key)
{
    char *name = value_of(check->use->arg, key);

    if (name && !g_hash_table_add(names, name)) {
        GError *reason = NULL;

        error_set(&reason, "-%s %s: the name '%s' is taken", check->use->def->name, check->use->arg, name);
        mistake(check, reason);
    }
}

static void collect_names(Check *check)
{
    const GArray *uses = check->config->uses;

    for (unsigned i = 0; i < uses->len; i++) {
        check->use = &g_array_index(uses, OptionUse, i);
        const char *name = check->use->def->name;

        if (!strcmp(name, "drive")) {
            note_name(check, check->drives, "id");
        } else if (!strcmp(name, "blockdev")) {
            note_name(check, check->drives, "node-name");
        } else if (!strcmp(name, "chardev")) {
            note_name(check, check->chardevs, "id");
        } else if (!strcmp(name, "netdev")) {
            note_name(check, check->netdevs, "id");
        }
    }
    check->use = NULL;
}

/* ---- devices ------------------------------------------------------------------------------------------ */

static bool check_reference(const Check *check, const Property *prop, const char *value, GError **err)
{
    bool drive = prop->kind == &prop_kind_drive, net = prop->kind == &prop_kind_netdev;

    return g_hash_table_contains(drive ? check->drives : net ? check->netdevs : check->chardevs, value) ||
           error_set(err, "%s=%s: no %s has this name", prop->name, value,
                     drive ? "-drive or -blockdev" : net ? "-netdev" : "-chardev");
}

typedef struct DeviceCheck {
    const Check *check;
    Device *dev;
} DeviceCheck;

static void check_property(const char *key, const char *text, json_object *json, void *opaque)
{
    DeviceCheck *d = opaque;
    const Property *prop = type_property(d->dev->obj.type, key);
    GError *reason = NULL;

    if (prop && (prop->kind == &prop_kind_drive || prop->kind == &prop_kind_chardev || prop->kind == &prop_kind_netdev)) {
        check_reference(d->check, prop, text ? text : json_object_get_string(json), &reason);
    } else if (prop && prop->kind == &prop_kind_link) {
        return; /* what it names is not there yet */
    } else if (text) {
        object_set(&d->dev->obj, key, text, &reason);
    } else {
        object_set_json(&d->dev->obj, key, json, &reason);
    }
    if (reason) {
        g_prefix_error(&reason, "-device %s: ", d->check->use->arg);
        mistake(d->check, reason);
    }
}

static void check_device(Check *check)
{
    const char *arg = check->use->arg;
    DeviceCheck d = {check, NULL};
    GError *reason = NULL;

    if (device_options_foreach(arg, NULL, NULL, &reason)) {
        g_autofree char *driver = device_driver_name(arg);

        d.dev = device_new_user(check->vm, driver, &reason);
        g_prefix_error(&reason, "-device %s: ", arg);
    }
    if (reason) {
        mistake(check, reason);
        return;
    }
    device_options_foreach(arg, check_property, &d, NULL);
    object_unref(d.dev);
}

/* ---- files and the machine -------------------------------------------------------------------------------- */

static void check_file(const Check *check, const char *path)
{
    GError *reason = NULL;

    if (access(path, R_OK)) {
        error_set_errno(&reason, errno, "-%s %s", check->use->def->name, path);
        mistake(check, reason);
    }
}

static void check_files(Check *check)
{
    static const char *const plain[] = {"hda", "hdb", "hdc", "hdd", "cdrom", "fda", "fdb", "kernel", NULL};
    const char *name = check->use->def->name, *arg = check->use->arg;

    if (g_strv_contains(plain, name)) {
        check_file(check, arg);
    } else if (!strcmp(name, "drive")) {
        g_autofree char *path = value_of(arg, "file");

        if (path && *path && !strstr(path, ":")) {
            check_file(check, path);
        }
    }
}

static bool check_machine_property(const char *key, const char *value, void *opaque, GError **err)
{
    static const char *const elsewhere[] = {"type", "accel", "kernel-irqchip", NULL};
    const Check *check = opaque;
    const Type *type = machine_type_find(check->config->machine_name, NULL);
    GError *reason = NULL;

    if (!g_strv_contains(elsewhere, key) && !type_property(type, key)) {
        error_set(&reason, "-machine %s=%s: machine '%s' has no such property", key, value, type->name);
        mistake(check, reason);
    }
    return true;
}

static void check_machine(Check *check)
{
    const Config *c = check->config;
    GError *reason = NULL;

    if (!machine_type_find(c->machine_name, &reason)) {
        g_prefix_error(&reason, "%s %s: ", c->machine_option, c->machine_name);
        mistake(check, reason);
    } else if (c->machine_options) {
        keyvals_foreach(c->machine_options, check_machine_property, check, NULL);
    }
}

/* ---- all of it ------------------------------------------------------------------------------------------------ */

static void check_uses(Check *check)
{
    const GArray *uses = check->config->uses;

    for (unsigned i = 0; i < uses->len; i++) {
        check->use = &g_array_index(uses, OptionUse, i);
        if (!strcmp(check->use->def->name, "device")) {
            check_device(check);
        } else {
            check_files(check);
        }
    }
    check->use = NULL;
}

int config_check(Config *c)
{
    Check check = {.config = c};
    GError *reason = NULL;

    check.vm = vm_new(&reason);
    if (!check.vm || !config_check_combinations(c, &reason)) {
        mistake(&check, reason);
    }
    if (check.vm) {
        check.drives = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        check.netdevs = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        check.chardevs = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        check_machine(&check);
        collect_names(&check);
        check_uses(&check);
        g_hash_table_destroy(check.drives);
        g_hash_table_destroy(check.chardevs);
        g_hash_table_destroy(check.netdevs);
    }
    for (unsigned i = 0; i < c->mistakes->len; i++) {
        report_error("%s", (char *)c->mistakes->pdata[i]);
    }
    return c->mistakes->len ? 1 : 0;
}
