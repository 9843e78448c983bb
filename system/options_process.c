/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options of the process: names, logs, daemon, what happens at the end. */
#include <stdio.h>
#include <string.h>

#include "qapi/qapi-run-state.h"
#include "system/config.h"
#include "system/config_file.h"
#include "system/help.h"
#include "util/error.h"
#include "util/log.h"
#include "util/trace.h"

static bool set_name(Config *c, const char *option, const char *arg, GError **err)
{
    g_autoptr(KeyVals) kv = keyvals_parse(option, arg, "guest", err);

    if (!kv) {
        return false;
    }
    c->name = g_strdup(keyvals_get(kv, "guest"));
    c->process_name = g_strdup(keyvals_get(kv, "process"));
    return keyvals_bool(kv, "debug-threads", &c->debug_threads, err) && keyvals_finish(kv, err);
}

static bool set_data_dir(Config *c, const char *option, const char *arg, GError **err)
{
    if (!strcmp(arg, "help")) {
        data_dirs_help(c->data_dirs);
        c->helped = true;
        return true;
    }
    g_ptr_array_add(c->data_dirs, (void *)(uintptr_t)arg);
    return true;
}

static bool set_stopped(Config *c, const char *option, const char *arg, GError **err) { return c->start_stopped = true; }
static bool set_preconfig(Config *c, const char *option, const char *arg, GError **err) { return c->preconfig = true; }
static bool set_daemonize(Config *c, const char *option, const char *arg, GError **err) { return c->daemonize = true; }
static bool set_print_state(Config *c, const char *option, const char *arg, GError **err)
{
    return c->print_state = true;
}
static bool set_nothing(Config *c, const char *option, const char *arg, GError **err) { return true; }

static bool set_no_reboot(Config *c, const char *option, const char *arg, GError **err)
{
    c->actions.reboot = REBOOT_ACTION_SHUTDOWN;
    return true;
}

static bool set_no_shutdown(Config *c, const char *option, const char *arg, GError **err)
{
    c->actions.shutdown = SHUTDOWN_ACTION_PAUSE;
    return true;
}

static bool set_action(Config *c, const char *option, const char *arg, GError **err)
{
    g_autoptr(KeyVals) kv = keyvals_parse(option, arg, NULL, err);
    VmActions a = c->actions;
    int reboot = (int)a.reboot, shutdown = (int)a.shutdown, panic = (int)a.panic, watchdog = (int)a.watchdog;

    if (!kv || !keyvals_enum(kv, "reboot", qapi_type_RebootAction.names, &reboot, err) ||
        !keyvals_enum(kv, "shutdown", qapi_type_ShutdownAction.names, &shutdown, err) ||
        !keyvals_enum(kv, "panic", qapi_type_PanicAction.names, &panic, err) ||
        !keyvals_enum(kv, "watchdog", qapi_type_WatchdogAction.names, &watchdog, err)) {
        return false;
    }
    c->actions = (VmActions){(RebootAction)reboot, (ShutdownAction)shutdown, (PanicAction)panic, (WatchdogAction)watchdog};
    return keyvals_finish(kv, err);
}

static bool set_watchdog_action(Config *c, const char *option, const char *arg, GError **err)
{
    int action = (int)c->actions.watchdog;
    g_autofree char *text = g_strconcat("watchdog=", arg, NULL);
    g_autoptr(KeyVals) kv = keyvals_parse(option, text, NULL, err);

    if (!kv || !keyvals_enum(kv, "watchdog", qapi_type_WatchdogAction.names, &action, err)) {
        return false;
    }
    c->actions.watchdog = (WatchdogAction)action;
    return keyvals_finish(kv, err);
}

#define DEFINE_STRING_OPTION(name, place)                                                          \
    static bool name(Config *c, const char *option, const char *arg, GError **err)                 \
    {                                                                                              \
        c->place = arg;                                                                            \
        return true;                                                                               \
    }
DEFINE_STRING_OPTION(set_pidfile, pidfile)
DEFINE_STRING_OPTION(set_run_as, run_as)
DEFINE_STRING_OPTION(set_qtest, qtest)
DEFINE_STRING_OPTION(set_qtest_log, qtest_log)

static bool set_log_file(Config *c, const char *option, const char *arg, GError **err) { return log_set_file(arg, err); }

static bool set_log_items(Config *c, const char *option, const char *arg, GError **err)
{
    return log_enable(arg, &c->helped, err);
}

static bool set_trace(Config *c, const char *option, const char *arg, GError **err)
{
    return trace_parse_option(arg, &c->helped, err);
}

static bool set_msg(Config *c, const char *option, const char *arg, GError **err)
{
    g_autoptr(KeyVals) kv = keyvals_parse(option, arg, NULL, err);
    bool timestamp = false, guest_name = false;

    if (!kv || !keyvals_bool(kv, "timestamp", &timestamp, err) || !keyvals_bool(kv, "guest-name", &guest_name, err) ||
        !keyvals_finish(kv, err)) {
        return false;
    }
    c->msg_timestamp = timestamp;
    c->msg_guest_name = guest_name;
    return true;
}

static bool set_overcommit(Config *c, const char *option, const char *arg, GError **err)
{
    g_autoptr(KeyVals) kv = keyvals_parse(option, arg, NULL, err);
    bool cpu_pm = false;

    if (!kv || !keyvals_bool(kv, "mem-lock", &c->mem_lock, err) || !keyvals_bool(kv, "cpu-pm", &cpu_pm, err) ||
        !keyvals_finish(kv, err)) {
        return false;
    }
    return !cpu_pm || error_set(err, "-overcommit cpu-pm=on: guests cannot have the host's power states yet; leave it out");
}

/* Parsed and checked; the filters themselves are not there yet, which docs/status.md says. */
static bool set_sandbox(Config *c, const char *option, const char *arg, GError **err)
{
    static const char *const keys[] = {"obsolete", "elevateprivileges", "spawn", "resourcecontrol"};
    static const char *const values[] = {"allow", "deny", "children", NULL};
    g_autoptr(KeyVals) kv = keyvals_parse(option, arg, "enable", err);
    bool on = false;
    int value;

    if (!kv || !keyvals_bool(kv, "enable", &on, err)) {
        return false;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (!keyvals_enum(kv, keys[i], values, &value, err)) {
            return false;
        }
    }
    if (on) {
        report_warning("-sandbox %s: no system call is filtered yet; the process runs without a sandbox", arg);
    }
    c->sandbox = on;
    return keyvals_finish(kv, err);
}

static bool read_config(Config *c, const char *option, const char *arg, GError **err)
{
    return config_read_json(c, arg, err);
}

static bool read_ini(Config *c, const char *option, const char *arg, GError **err)
{
    return config_read_ini(c, arg, err);
}

static bool set_print_config(Config *c, const char *option, const char *arg, GError **err)
{
    return c->print_config = true;
}

static bool print_version(Config *c, const char *option, const char *arg, GError **err)
{
    printf("QEMU emulator version 7.2.22 (Kiln " KILN_VERSION ")\n"
           "Kiln is a virtual machine monitor of its own with QEMU 7.2's command line.\n");
    return c->helped = true;
}

const OptionDef process_option_defs[] = {
    {"name", "[guest=]name[,process=name][,debug-threads=on|off]", set_name, "the guest's name",
     OPTION_KEYVAL, "guest"},
    {"S", NULL, set_stopped, "do not start the CPUs"},
    {"preconfig", NULL, set_preconfig, "waits for x-exit-preconfig before the machine is made"},
    {"no-reboot", NULL, set_no_reboot, "end instead of rebooting"},
    {"no-shutdown", NULL, set_no_shutdown, "stop instead of ending"},
    {"action", "reboot=reset|shutdown,shutdown=poweroff|pause,panic=pause|shutdown|exit-failure|none,watchdog=...", set_action,
     "what happens on these events", OPTION_KEYVAL},
    {"watchdog-action", "reset|shutdown|poweroff|inject-nmi|pause|debug|none", set_watchdog_action,
     "what happens when the watchdog's time has run out"},
    {"L", "path", set_data_dir, "where firmware is searched first (-L help lists all)"},
    {"pidfile", "file", set_pidfile, "writes the process id there"},
    {"daemonize", NULL, set_daemonize, "to the background once the machine is ready"},
    {"runas", "user|uid:gid", set_run_as, "changes to this user before the guest runs"},
    {"overcommit", "[mem-lock=on|off]", set_overcommit, "lock guest memory in RAM", OPTION_KEYVAL},
    {"sandbox", "on[,obsolete=...][,elevateprivileges=...][,spawn=...][,resourcecontrol=...]", set_sandbox,
     "parsed; there are no filters yet", OPTION_KEYVAL, "enable"},
    {"D", "file", set_log_file, "log file"},
    {"d", "item[,...]", set_log_items, "what to log (-d help lists it)"},
    {"trace", "[enable=]pattern[,events=file][,file=file]", set_trace, "trace points (-trace help lists them)",
     OPTION_KEYVAL, "enable"},
    {"msg", "[timestamp=on|off][,guest-name=on|off]", set_msg, "what messages begin with",
     OPTION_KEYVAL},
    {"qtest", "chardev", set_qtest, "qtest protocol server"},
    {"qtest-log", "file", set_qtest_log, "log of the qtest server; none: no log"},
    {"print-state", NULL, set_print_state, "prints the description of the machine's state and ends"},
    {"config", "file.json", read_config, "options from a file: {\"option\": value, ...}", OPTION_META},
    {"readconfig", "file", read_ini, "options from a file in QEMU's INI form", OPTION_META},
    {"print-config", NULL, set_print_config, "prints all options as such a file and ends", OPTION_META},
    {"check-config", NULL, set_nothing, "checks all options, lists every mistake and ends", OPTION_META},
    {"no-user-config", NULL, set_nothing, "accepted: there are no user configuration files"},
    {"version", NULL, print_version, "prints the version"},
    {"help", NULL, options_help, "prints this list"},
    {"h", NULL, options_help, "same as -help"},
    {}};

/* ---- what QEMU has and Kiln has not yet: each says so ------------------------------------------- */

#define LATER(name, reason)                                                                        \
    static bool name(Config *c, const char *option, const char *arg, GError **err)                 \
    {                                                                                              \
        return error_set(err, "%s%s%s: " reason, option, arg ? " " : "", arg ? arg : "");          \
    }
LATER(later_screen, "screens are not supported yet; use -display none")
LATER(later_audio, "sound is not supported yet")
LATER(later_usb, "USB is not supported yet")
LATER(later_migration, "migration is not supported yet")
LATER(later_snapshot, "saved snapshots are not supported yet")
LATER(later_gdb, "the debugger stub is not supported yet")
LATER(later_xen, "Xen guests are not supported")
LATER(later_rare, "this option of QEMU is not supported yet")

const OptionDef later_option_defs[] = {
    {"vnc", "", later_screen},
    {"spice", "", later_screen}, {"full-screen", NULL, later_screen}, {"k", "", later_screen},
    {"audio", "", later_audio}, {"usb", NULL, later_usb},
    {"usbdevice", "", later_usb}, {"incoming", "", later_migration},
    {"only-migratable", NULL, later_migration}, {"loadvm", "", later_snapshot},
    {"gdb", "", later_gdb},
    {"s", NULL, later_gdb}, {"acpitable", "", later_rare},
    {"set", "", later_rare}, {"chroot", "", later_rare},
    {"fsdev", "", later_rare}, {"virtfs", "", later_rare},
    {"tpmdev", "", later_rare}, {"option-rom", "", later_rare}, {"icount", "", later_rare},
    {"plugin", "", later_rare}, {"mtdblock", "", later_rare}, {"sd", "", later_rare},
    {"pflash", "", later_rare}, {"iscsi", "", later_rare},
    {"dfilter", "", later_rare}, {"seed", "", later_rare}, {"singlestep", NULL, later_rare},
    {"win2k-hack", NULL, later_rare}, {"no-fd-bootchk", NULL, later_rare},
    {"compat", "", later_rare}, {"rotate", "", later_screen}, {"portrait", NULL, later_screen},
    {"dump-vmstate", "", later_rare}, {"async-teardown", NULL, later_rare},
    {"audio-help", NULL, later_audio}, {"enable-sync-profile", NULL, later_rare},
    {"xen-attach", NULL, later_xen}, {"xen-domid", "", later_xen},
    {"xen-domid-restrict", NULL, later_xen},
    {}};
