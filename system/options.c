/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command line: finding each word's option in the tables. */
#include <stdio.h>
#include <string.h>

#include "system/config.h"
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
    c->monitors = g_ptr_array_new();
    c->globals = g_ptr_array_new();
    c->data_dirs = g_ptr_array_new();
    c->machine.ram_size = 128 * MIB;
    c->machine.smp = (SmpConfig){1, 1, 1, 1, 1, 1};
    c->machine.boot.splash_time = c->machine.boot.reboot_timeout = -1;
    c->machine.rtc.clock = CLOCK_HOST;
    c->machine.graphics = true;
    c->actions.panic = PANIC_SHUTDOWN;
    return c;
}

static const OptionDef *find_option(const char *name)
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

bool config_parse(Config *config, int argc, char **argv, GError **err)
{
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];

        if (word[0] != '-' || !word[1]) {
            DriveArg drive = {.text = word, .option = "disk image", .index = 0, .is_plain_file = true};

            g_array_append_val(config->drives, drive);
            continue;
        }
        const char *name = word + (word[1] == '-' ? 2 : 1);
        const OptionDef *def = find_option(name);
        if (!def) {
            return unknown_option(word, name, err);
        }
        if (def->arg && i + 1 >= argc) {
            return error_set(err, "%s: requires an argument: %s", word, def->arg);
        }
        if (!def->set(config, word, def->arg ? argv[++i] : NULL, err)) {
            return false;
        }
        if (config->helped) {
            return true;
        }
    }
    return true;
}
