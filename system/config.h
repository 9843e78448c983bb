/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command line, parsed and checked, before anything is made. Options only fill this struct, so
 * their order does not matter; startup.c then builds from it in one fixed order.
 *
 * Strings point into argv or are owned by the Config, which lives as long as the process.
 */
#ifndef SYSTEM_CONFIG_H
#define SYSTEM_CONFIG_H

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

/* -accel, or one name of -machine accel=a:b, in the order of preference. */
typedef struct AccelArg {
    char *name;
    KeyVals *options;     /* NULL: none */
} AccelArg;

typedef struct Config {
    /* The board. */
    const char *machine_name;    /* NULL: default */
    KeyVals *machine_options;    /* all but type and accel; NULL: none */
    GArray *accels;              /* AccelArg */
    MachineConfig machine;
    bool no_acpi, no_hpet;

    /* Devices and back ends, in the order of the line. */
    GArray *drives;              /* DriveArg */
    GPtrArray *blockdevs, *chardevs, *devices, *serials, *parallels, *monitors; /* const char * */
    GPtrArray *globals;          /* const char *: driver.property=value */
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
    const char *qtest, *qtest_log;
    VmActions actions;
    bool print_state;
    bool msg_timestamp, msg_guest_name;
    bool sandbox;                /* -sandbox on: parsed only, so far */

    /* Something was printed on request: end with status 0. */
    bool helped;
} Config;

Config *config_new(void);
/* Reads argv. False with *err naming the option, the value, the reason and the way out. */
bool config_parse(Config *config, int argc, char **argv, GError **err);

/* One option of the command line: system/options*.c hold the tables. */
typedef struct OptionDef {
    const char *name;            /* without the dash */
    const char *arg;             /* how -help shows its argument; NULL: it takes none */
    bool (*set)(Config *config, const char *option, const char *arg, GError **err);
    const char *help;            /* NULL in later_option_defs only */
} OptionDef;

/* -help. */
bool options_help(Config *config, const char *option, const char *arg, GError **err);

extern const OptionDef machine_option_defs[], device_option_defs[], process_option_defs[], later_option_defs[];

#endif
