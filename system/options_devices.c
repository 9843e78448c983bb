/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options that add devices and back ends. They are kept in order and built by startup.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chardev/char.h"
#include "system/config.h"
#include "system/help.h"
#include "util/error.h"

static bool is_help(const char *arg) { return !strcmp(arg, "help") || !strcmp(arg, "?"); }

#define DEFINE_LIST_OPTION(name, list)                                                             \
    static bool name(Config *c, const char *option, const char *arg, GError **err)                 \
    {                                                                                              \
        g_ptr_array_add(c->list, (void *)(uintptr_t)arg);                                          \
        return true;                                                                               \
    }
DEFINE_LIST_OPTION(set_blockdev, blockdevs)
DEFINE_LIST_OPTION(set_serial, serials)
DEFINE_LIST_OPTION(set_parallel, parallels)

/* ---- drives ---------------------------------------------------------------------------- */

static bool add_drive(Config *c, DriveArg drive)
{
    g_array_append_val(c->drives, drive);
    return true;
}

static bool set_drive(Config *c, const char *option, const char *arg, GError **err)
{
    return add_drive(c, (DriveArg){.text = arg, .option = "-drive", .index = -1});
}

static bool set_disk(Config *c, const char *option, const char *arg, GError **err)
{
    char letter = option[strlen(option) - 1]; /* a..d */

    return add_drive(c, (DriveArg){.text = arg, .option = option, .index = letter - 'a', .is_plain_file = true});
}

static bool set_cdrom(Config *c, const char *option, const char *arg, GError **err)
{
    return add_drive(c, (DriveArg){.text = arg, .option = option, .index = 2, .is_cdrom = true, .is_plain_file = true});
}

static bool set_floppy(Config *c, const char *option, const char *arg, GError **err)
{
    char letter = option[strlen(option) - 1];

    return add_drive(c, (DriveArg){.text = arg, .option = option, .index = letter - 'a', .is_floppy = true,
                                   .is_plain_file = true});
}

/* ---- devices ----------------------------------------------------------------------------- */

static bool set_device(Config *c, const char *option, const char *arg, GError **err)
{
    if (is_help(arg)) {
        device_help();
        c->helped = true;
        return true;
    }
    g_auto(GStrv) words = g_strsplit(arg, ",", 3);
    if (words[0] && words[1] && is_help(words[1])) {
        c->helped = true;
        return device_type_help(words[0], err);
    }
    g_ptr_array_add(c->devices, (void *)(uintptr_t)arg);
    return true;
}

static bool set_chardev(Config *c, const char *option, const char *arg, GError **err)
{
    if (chardev_option_help(arg)) {
        c->helped = true;
        return true;
    }
    g_ptr_array_add(c->chardevs, (void *)(uintptr_t)arg);
    return true;
}

static bool set_global(Config *c, const char *option, const char *arg, GError **err)
{
    const char *dot = strchr(arg, '.'), *equals = strchr(arg, '=');

    if (!g_str_has_prefix(arg, "driver=") && (!dot || !equals || dot > equals)) {
        return error_set(err, "-global %s: write driver.property=value", arg);
    }
    g_ptr_array_add(c->globals, (void *)(uintptr_t)arg);
    return true;
}

static bool set_monitor(Config *c, const char *option, const char *arg, GError **err)
{
    if (strcmp(arg, "none") && strcmp(arg, "null")) {
        return error_set(err, "%s %s: there is no monitor yet; use %s none", option, arg, option);
    }
    g_ptr_array_add(c->monitors, (void *)(uintptr_t)arg);
    return true;
}

static bool set_escape(Config *c, const char *option, const char *arg, GError **err)
{
    char *end;
    long key = strtol(arg, &end, 0);

    if (end == arg || *end || key < 1 || key > 31) {
        return error_set(err, "-echr %s: the key is a number: 1 to 26 for C-a to C-z, 29 for C-]", arg);
    }
    c->escape_key = (int)key;
    return true;
}

static bool set_debugcon(Config *c, const char *option, const char *arg, GError **err)
{
    c->debugcon = arg;
    return true;
}

static bool set_no_defaults(Config *c, const char *option, const char *arg, GError **err)
{
    return c->no_defaults = true;
}

static bool set_nographic(Config *c, const char *option, const char *arg, GError **err)
{
    c->machine.graphics = false;
    return c->nographic = true;
}

static bool set_display(Config *c, const char *option, const char *arg, GError **err)
{
    if (strcmp(arg, "none")) {
        return error_set(err, "-display %s: there are no screens yet; use -display none or -nographic", arg);
    }
    return c->display_none = true;
}

static bool set_vga(Config *c, const char *option, const char *arg, GError **err)
{
    if (strcmp(arg, "none")) {
        return error_set(err, "-vga %s: there are no display adapters yet; use -vga none", arg);
    }
    return c->machine.vga_none = true;
}

static bool set_net_none(Config *c, const char *option, const char *arg, GError **err)
{
    return !strcmp(arg, "none") ||
           error_set(err, "%s %s: there are no network cards yet; use %s none", option, arg, option);
}

const OptionDef device_option_defs[] = {
    {"drive", "[file=path][,format=raw][,if=type][,index=n][,media=disk|cdrom][,id=name]...", set_drive, "a drive"},
    {"blockdev", "driver=...,node-name=...|json", set_blockdev, "a block node, for -device drive="},
    {"hda", "file", set_disk, "IDE hard disk 0: primary master"},
    {"hdb", "file", set_disk, "IDE hard disk 1"},
    {"hdc", "file", set_disk, "IDE hard disk 2"},
    {"hdd", "file", set_disk, "IDE hard disk 3"},
    {"cdrom", "file", set_cdrom, "a CD-ROM image, as IDE secondary master"},
    {"fda", "file", set_floppy, "floppy disk 0"},
    {"fdb", "file", set_floppy, "floppy disk 1"},
    {"device", "driver[,prop=value...]|json", set_device, "a device (-device help, -device driver,help)"},
    {"global", "driver.property=value", set_global, "changes a property's default"},
    {"chardev", "backend,id=name[,key=value...]", set_chardev, "a character device (-chardev help)"},
    {"serial", "dev", set_serial, "serial port to: stdio, mon:stdio, pty, file:path, unix:path, tcp:..., chardev:id, none"},
    {"parallel", "dev", set_parallel, "parallel port, as -serial"},
    {"echr", "n", set_escape, "the console's command key instead of C-a: 1 to 26 for C-a to C-z, 29 for C-]"},
    {"debugcon", "dev", set_debugcon, "debug console (port 0xe9), as -serial"},
    {"monitor", "none", set_monitor, "the monitor: only none so far"},
    {"qmp", "none", set_monitor, "the QMP monitor: only none so far"},
    {"mon", "none", set_monitor, "a monitor on a character device: only none so far"},
    {"nographic", NULL, set_nographic, "no screen; serial port 0 is stdin and stdout"},
    {"display", "none", set_display, "the screen: only none so far"},
    {"vga", "none", set_vga, "the display adapter: only none so far"},
    {"nic", "none", set_net_none, "the network card: only none so far"},
    {"net", "none", set_net_none, "old form of -nic: only none so far"},
    {"nodefaults", NULL, set_no_defaults, "no default devices (serial and parallel port, CD-ROM, floppy)"},
    {}};
