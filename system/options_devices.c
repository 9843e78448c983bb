/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options that add devices and back ends. They are kept in order and built by startup.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/block.h"
#include "chardev/char.h"
#include "core/type_help.h"
#include "net/net.h"
#include "qapi/qapi-audio.h"
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
static bool set_snapshot(Config *c, const char *option, const char *arg, GError **err) { return c->snapshot = true; }
DEFINE_LIST_OPTION(set_serial, serials)
DEFINE_LIST_OPTION(set_parallel, parallels)
DEFINE_LIST_OPTION(set_add_fd, add_fds)

/* ---- drives ---------------------------------------------------------------------------- */

static bool add_drive(Config *c, DriveArg drive)
{
    g_array_append_val(c->drives, drive);
    return true;
}

static bool set_drive(Config *c, const char *option, const char *arg, GError **err)
{
    g_auto(GStrv) words = g_strsplit(arg, ",", -1);

    for (char **word = words; *word; word++) {
        if (g_str_has_prefix(*word, "format=") && is_help(*word + strlen("format="))) {
            blk_drivers_help();
            return c->helped = true;
        }
    }
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
    MonitorArg monitor = {option, arg};

    g_array_append_val(c->monitors, monitor);
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

static bool set_netdev(Config *c, const char *option, const char *arg, GError **err)
{
    if (is_help(arg)) {
        netdev_help();
        return c->helped = true;
    }
    g_autofree char *id = netdev_check_option(arg, err);
    g_ptr_array_add(c->netdevs, (void *)(uintptr_t)arg);
    return id != NULL;
}

static bool set_net(Config *c, const char *option, const char *arg, GError **err)
{
    const char *name = option + strspn(option, "-");
    MonitorArg net = {!strcmp(name, "nic") ? "-nic" : "-net", arg};

    if (net_legacy_wants_help(net.option, arg)) {
        nic_models_help();
        return c->helped = true;
    }
    g_array_append_val(c->nets, net);
    return net_check_legacy(net.option, arg, err);
}

static bool set_object(Config *c, const char *option, const char *arg, GError **err)
{
    bool helped;

    if (!user_object_help(arg, &helped, err)) {
        return false;
    }
    if (helped) {
        return c->helped = true;
    }
    ObjectArgs *args = object_args_parse(arg, err);
    if (args) {
        g_ptr_array_add(c->objects, args);
    }
    return args != NULL;
}

/* Sound goes nowhere, so there is nothing to make; but a name may be given once only. */
static bool set_audiodev(Config *c, const char *option, const char *arg, GError **err)
{
    void *value;

    if (is_help(arg)) {
        puts("Sound back ends:\nnone");
        return c->helped = true;
    }
    if (!qapi_read_option(&qapi_type_Audiodev, arg, "driver", &value, err)) {
        g_prefix_error(err, "-audiodev %s: ", arg);
        return false;
    }
    const char *id = ((Audiodev *)value)->id;
    bool ok = !g_ptr_array_find_with_equal_func(c->audiodevs, id, g_str_equal, NULL) ||
              error_set(err, "-audiodev %s: there is a sound back end '%s' already; choose another id", arg, id);
    g_ptr_array_add(c->audiodevs, g_strdup(id));
    qapi_free(&qapi_type_Audiodev, value);
    return ok;
}

const OptionDef device_option_defs[] = {
    {"drive", "[file=path][,format=raw][,if=type][,index=n][,media=disk|cdrom][,id=name]...", set_drive, "a drive",
     OPTION_KEYVAL},
    {"snapshot", NULL, set_snapshot, "drives (not -blockdev) write to temporary files"},
    {"blockdev", "driver=...,node-name=...|json", set_blockdev, "a block node, for -device drive=",
     OPTION_KEYVAL_OR_JSON},
    {"hda", "file", set_disk, "IDE hard disk 0: primary master"},
    {"hdb", "file", set_disk, "IDE hard disk 1"},
    {"hdc", "file", set_disk, "IDE hard disk 2"},
    {"hdd", "file", set_disk, "IDE hard disk 3"},
    {"cdrom", "file", set_cdrom, "a CD-ROM image, as IDE secondary master"},
    {"fda", "file", set_floppy, "floppy disk 0"},
    {"fdb", "file", set_floppy, "floppy disk 1"},
    {"device", "driver[,prop=value...]|json", set_device, "a device (-device help, -device driver,help)",
     OPTION_KEYVAL_OR_JSON},
    {"object", "type,id=name[,prop=value...]|json", set_object, "a back end (-object help, -object type,help)",
     OPTION_KEYVAL_OR_JSON},
    {"global", "driver.property=value", set_global, "changes a property's default"},
    {"chardev", "backend,id=name[,key=value...]", set_chardev, "a character device (-chardev help)",
     OPTION_KEYVAL, "backend"},
    {"serial", "dev", set_serial, "serial port to: stdio, mon:stdio, pty, file:path, unix:path, tcp:..., chardev:id, none"},
    {"parallel", "dev", set_parallel, "parallel port, as -serial"},
    {"echr", "n", set_escape, "the console's command key instead of C-a: 1 to 26 for C-a to C-z, 29 for C-]"},
    {"debugcon", "dev", set_debugcon, "debug console (port 0xe9), as -serial"},
    {"monitor", "dev", set_monitor, "the monitor for people, on a device as of -serial; none: no default one either"},
    {"qmp", "dev", set_monitor, "a QMP monitor, for programs, on a device as of -serial"},
    {"qmp-pretty", "dev", set_monitor, "as -qmp, with replies over several lines"},
    {"mon", "[chardev=]name[,mode=readline|control][,pretty=on|off]", set_monitor, "a monitor on a character device"},
    {"add-fd", "set=set,fd=fd[,opaque=opaque]", set_add_fd, "puts an inherited descriptor into a set: /dev/fdset/SET"},
    {"audiodev", "[driver=]none,id=name[,timer-period=us]|json", set_audiodev,
     "a sound back end: only none so far (-audiodev help lists them)", OPTION_KEYVAL_OR_JSON, "driver"},
    {"nographic", NULL, set_nographic, "no screen; serial port 0 is stdin and stdout"},
    {"display", "none", set_display, "the screen: only none so far"},
    {"vga", "none", set_vga, "the display adapter: only none so far"},
    {"netdev", "type,id=name[,key=value...]|json", set_netdev, "a network back end (-netdev help lists them)",
     OPTION_KEYVAL_OR_JSON, "type"},
    {"nic", "type[,mac=mac][,model=name][,key=value...]|none", set_net,
     "a card of the machine's with its back end; none: no default one (-nic model=help lists the cards)", OPTION_KEYVAL, "type"},
    {"net", "nic[,...]|type[,...]|none", set_net, "a card or a back end on hub 0: old form of -nic", OPTION_KEYVAL, "type"},
    {"nodefaults", NULL, set_no_defaults, "no default devices (serial and parallel port, CD-ROM, floppy)"},
    {}};
