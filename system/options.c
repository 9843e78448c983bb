/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command line: finding each word's option in the tables. */
#include <stdio.h>
#include <string.h>

#include "system/config.h"
#include "system/config_file.h"
#include "util/error.h"

static const OptionDef *const tables[] = {machine_option_defs, device_option_defs, process_option_defs,
                                          later_option_defs};

Config *config_new(void)
{
    Config *c = g_new0(Config, 1);

    c->accels = g_array_new(false, false, sizeof(AccelArg));
    c->drives = g_array_new(false, false, sizeof(DriveArg));
    c->machine.fw_cfg_items = g_ptr_array_new();
    c->blockdevs = g_ptr_array_new();
    c->chardevs = g_ptr_array_new();
    c->devices = g_ptr_array_new();
    c->serials = g_ptr_array_new();
    c->parallels = g_ptr_array_new();
    c->monitors = g_array_new(false, false, sizeof(MonitorArg));
    c->netdevs = g_ptr_array_new();
    c->nets = g_array_new(false, false, sizeof(MonitorArg));
    c->add_fds = g_ptr_array_new();
    c->audiodevs = g_ptr_array_new();
    c->globals = g_ptr_array_new();
    c->objects = g_ptr_array_new();
    c->data_dirs = g_ptr_array_new();
    c->uses = g_array_new(false, false, sizeof(OptionUse));
    c->owned = g_ptr_array_new();
    c->place = "";
    c->machine_option = "-machine";
    c->machine.ram_size = 128 * MIB;
    c->machine.smp = (SmpConfig){1, 1, 1, 1, 1, 1};
    c->machine.boot.splash_time = c->machine.boot.reboot_timeout = -1;
    c->machine.rtc.clock = CLOCK_HOST;
    c->machine.graphics = true;
    c->actions.panic = PANIC_ACTION_SHUTDOWN;
    return c;
}

const OptionDef *option_find(const char *name)
{
    for (size_t t = 0; t < G_N_ELEMENTS(tables); t++) {
        for (const OptionDef *def = tables[t]; def->name; def++) {
            if (!strcmp(def->name, name)) {
                return def;
            }
        }
    }
    return NULL;
}

static bool unknown_option(const char *word, const char *name, GError **err)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);

    for (size_t t = 0; t < G_N_ELEMENTS(tables); t++) {
        for (const OptionDef *def = tables[t]; def->name; def++) {
            g_ptr_array_add(names, g_strdup(def->name));
        }
    }
    g_ptr_array_add(names, NULL);
    g_autofree char *hint = suggest_names(name, (const char *const *)names->pdata);
    return error_set(err, "%s: invalid option%s; -help lists them", word, hint);
}

/* QEMU's options that only say that they are not there yet. */
static void print_later(void)
{
    unsigned column = 80;

    printf("\nNot supported yet (each of them says so):");
    for (const OptionDef *def = later_option_defs; def->name; def++) {
        if (column + strlen(def->name) > 76) {
            printf("\n ");
            column = 1;
        }
        column += (unsigned)printf(" -%s", def->name);
    }
    printf("\n");
}

bool options_help(Config *config, const char *option, const char *arg, GError **err)
{
    printf("usage: kiln-system-x86_64 [options] [disk_image]\n\n"
           "'disk_image' is a raw hard disk image for IDE hard disk 0.\n");
    static const char *const titles[] = {"Machine", "Devices and back ends", "Process and debugging"};

    for (size_t t = 0; t < G_N_ELEMENTS(titles); t++) {
        printf("\n%s:\n", titles[t]);
        for (const OptionDef *def = tables[t]; def->name; def++) {
            g_autofree char *left =
                g_strdup_printf("-%s%s%s", def->name, def->arg ? " " : "", def->arg ? def->arg : "");

            printf(strlen(left) < 24 ? "%-24s%s\n" : "%s\n                        %s\n", left, def->help);
        }
    }
    print_later();
    printf("\nDuring emulation with -nographic: C-a h shows the keys, C-a x ends the emulation.\n");
    return config->helped = true;
}

/* ---- reading -------------------------------------------------------------------------------- */

bool config_mistake(Config *c, const char *place, GError *reason, GError **err)
{
    if (!c->mistakes) {
        g_propagate_prefixed_error(err, reason, "%s", place);
        return false;
    }
    g_autofree char *text = error_with_way_out(reason);
    g_ptr_array_add(c->mistakes, g_strconcat(place, text, NULL));
    g_error_free(reason);
    return true;
}

/* word: how the user wrote the option; arg and place live as long as c. */
static bool use(Config *c, const OptionDef *def, const char *word, const char *arg, const char *place, GError **err)
{
    OptionUse entry = {def, arg, place};
    GError *reason = NULL;

    c->place = place;
    bool ok = def->set(c, word, arg, &reason);
    c->place = "";
    if (!ok) {
        return config_mistake(c, place, reason, err);
    }
    if (!c->helped) {
        g_array_append_val(c->uses, entry);
    }
    return true;
}

static const char *own(Config *c, const char *text)
{
    char *copy = g_strdup(text);

    if (copy) {
        g_ptr_array_add(c->owned, copy);
    }
    return copy;
}

bool config_use(Config *c, const char *name, const char *arg, const char *place, GError **err)
{
    const OptionDef *def = option_find(name);
    GError *reason = NULL;

    if (!def) {
        unknown_option(name, name, &reason);
    } else if (!strcmp(name, "config") || !strcmp(name, "readconfig")) {
        error_set(&reason, "%s: a configuration file cannot name another one; give both on the command line", name);
    } else if (!def->arg && arg) {
        error_set(&reason, "%s: takes no value; write true", name);
    } else if (def->arg && !arg) {
        error_set(&reason, "%s: requires a value: %s", name, def->arg);
    } else {
        g_autofree char *word = g_strconcat("-", name, NULL);

        return use(c, def, own(c, word), own(c, arg), own(c, place), err);
    }
    return config_mistake(c, place, reason, err);
}

static bool use_disk(Config *c, const char *path)
{
    DriveArg drive = {.text = path, .option = "disk image", .index = 0, .is_plain_file = true};
    OptionUse entry = {option_find("hda"), path, ""};

    g_array_append_val(c->drives, drive);
    g_array_append_val(c->uses, entry);
    return true;
}

static bool use_word(Config *c, char **argv, int argc, int *i, GError **err)
{
    const char *word = argv[*i], *name = word + (word[1] == '-' ? 2 : 1);
    const OptionDef *def = option_find(name);
    GError *reason = NULL;

    if (!def) {
        unknown_option(word, name, &reason);
        return config_mistake(c, "", reason, err);
    }
    if (def->arg && *i + 1 >= argc) {
        error_set(&reason, "%s: requires an argument: %s", word, def->arg);
        return config_mistake(c, "", reason, err);
    }
    return use(c, def, word, def->arg ? argv[++*i] : NULL, "", err);
}

/* The order of the line does not matter: what changes how the rest is read is looked for first. */
static bool wants_check(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "-check-config") || !strcmp(argv[i], "--check-config")) {
            return true;
        }
    }
    return false;
}

bool config_parse(Config *config, int argc, char **argv, GError **err)
{
    if (wants_check(argc, argv)) {
        config->mistakes = g_ptr_array_new_with_free_func(g_free);
    }
    for (int i = 1; i < argc; i++) {
        bool is_option = argv[i][0] == '-' && argv[i][1];

        if (!(is_option ? use_word(config, argv, argc, &i, err) : use_disk(config, argv[i]))) {
            return false;
        }
        if (config->helped) {
            return true;
        }
    }
    if (config->print_config && !(config->mistakes && config->mistakes->len)) {
        config_print(config);
        config->helped = true;
    }
    return true;
}
