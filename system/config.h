/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command line, parsed and checked, before anything is made. Options only fill this struct, so
 * their order does not matter; startup.c then builds from it in one fixed order.
 *
 * Strings point into argv or are owned by the Config, which lives as long as the process.
 */
#ifndef SYSTEM_CONFIG_H
#define SYSTEM_CONFIG_H

#include "core/user_object.h"
#include "core/vm.h"
#include "hw/i386/machine.h"
#include "util/keyval.h"

/* -drive and its short forms, in the order of the line. */
typedef struct DriveArg {
    const char *text;
    const char *option;   /* "-drive", "-hda" */
    int index;            /* short forms: 0..3; -1 for -drive */
    bool is_cdrom, is_floppy, is_plain_file;
} DriveArg;

/* -monitor, -qmp, -qmp-pretty, -mon, in the order of the line. */
typedef struct MonitorArg {
    const char *option, *text;
} MonitorArg;

/* -accel, or one name of -machine accel=a:b, in the order of preference. */
typedef struct AccelArg {
    char *name;
    KeyVals *options;     /* NULL: none */
} AccelArg;

typedef struct OptionDef OptionDef;

/* One option as it was given: what -print-config shows and -check-config looks at. */
typedef struct OptionUse {
    const OptionDef *def;
    const char *arg;             /* NULL: it takes none */
    const char *place;           /* "vm.json:12: "; "" on the command line */
} OptionUse;

typedef struct Config {
    /* The board. */
    const char *machine_name;    /* NULL: default */
    const char *machine_option;  /* how -machine was written */
    KeyVals *machine_options;    /* all but type and accel; NULL: none */
    GArray *accels;              /* AccelArg */
    MachineConfig machine;
    bool no_acpi, no_hpet;
    bool snapshot;               /* drives write to temporary files */

    /* Devices and back ends, in the order of the line. */
    GArray *drives;              /* DriveArg */
    GPtrArray *blockdevs, *chardevs, *devices, *serials, *parallels; /* const char * */
    GArray *monitors;            /* MonitorArg */
    GPtrArray *netdevs;          /* const char * */
    GArray *nets;                /* MonitorArg: -nic and -net */
    GPtrArray *add_fds;          /* const char * */
    GPtrArray *audiodevs;        /* char *: ids */
    GPtrArray *globals;          /* const char *: driver.property=value */
    GPtrArray *objects;          /* ObjectArgs * */
    const char *debugcon;
    bool no_defaults;
    bool nographic;
    bool display_none;
    int escape_key;              /* -echr; 0: the default, C-a */

    /* The process. */
    char *name, *process_name;
    bool debug_threads;
    bool has_uuid;
    uint8_t uuid[16];
    GPtrArray *data_dirs;        /* char * */
    const char *pidfile, *run_as;
    bool daemonize, mem_lock;
    bool start_stopped;          /* -S */
    bool preconfig;              /* --preconfig */
    const char *qtest, *qtest_log;
    VmActions actions;
    bool print_state;
    bool msg_timestamp, msg_guest_name;
    bool sandbox;                /* -sandbox on: parsed only, so far */

    /* Where it all came from. */
    GArray *uses;                /* OptionUse, in order */
    GPtrArray *owned;            /* char *: arguments that files brought */
    const char *place;           /* of the option that is being read; "" on the command line */
    GPtrArray *mistakes;         /* char *, with -check-config only: it goes on after a mistake */
    bool print_config;

    /* Something was printed on request: end with status 0. */
    bool helped;
} Config;

Config *config_new(void);
/* Reads argv and the files that it names. False with *err naming the option, the value, the reason and the way
 * out; with -check-config mistakes are collected in config->mistakes instead. */
bool config_parse(Config *config, int argc, char **argv, GError **err);
/* One option from a file; place ("vm.json:12: ") begins what is said of it. arg is copied. Fails as config_parse. */
bool config_use(Config *config, const char *name, const char *arg, const char *place, GError **err);
/* -check-config: a mistake is kept and true returned; without it *err is set to reason. Takes reason. */
bool config_mistake(Config *config, const char *place, GError *reason, GError **err);

/* How an option's argument is built, for configuration files. */
typedef enum OptionForm {
    OPTION_TEXT,                 /* one word with a meaning of its own */
    OPTION_KEYVAL,               /* key=value,... */
    OPTION_KEYVAL_OR_JSON,       /* key=value,... or a JSON object */
    OPTION_META,                 /* about the configuration: no part of it */
} OptionForm;

/* One option of the command line: system/options*.c hold the tables. */
struct OptionDef {
    const char *name;            /* without the dash */
    const char *arg;             /* how -help shows its argument; NULL: it takes none */
    bool (*set)(Config *config, const char *option, const char *arg, GError **err);
    const char *help;            /* NULL in later_option_defs only */
    OptionForm form;
    const char *implied;         /* OPTION_KEYVAL: the key of a first word without one; NULL: none */
};

const OptionDef *option_find(const char *name);

/* What query-command-line-options tells: CommandLineOptionInfo *, of one option or (NULL) of all that have parameters. */
GPtrArray *options_describe(const char *option);

/* -help. */
bool options_help(Config *config, const char *option, const char *arg, GError **err);

extern const OptionDef machine_option_defs[], device_option_defs[], process_option_defs[], later_option_defs[];

#endif
