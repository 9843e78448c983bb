/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Monitors: sessions on character devices, of programs (QMP, "control") or of people (HMP, "readline"). Main thread,
 * VM lock.
 *
 * A monitor never waits for its peer. Requests that come in are queued to a bound (then its input is left in the
 * socket), no command runs while more than MONITOR_OUTPUT_LIMIT bytes of replies wait to be read, and the character
 * device cuts off a peer that lets events pile up beyond its own limit.
 */
#ifndef MONITOR_MONITOR_H
#define MONITOR_MONITOR_H

#include "chardev/char.h"
#include "monitor/hmp.h"
#include "monitor/qmp.h"

#define MONITOR_OUTPUT_LIMIT (64 * KIB)

/* A monitor on this character device. pretty: QMP's replies over several lines. False with *err: no such
 * character device, or it has a user. */
bool monitor_add_qmp(Vm *vm, const char *chardev, bool pretty, GError **err);
bool monitor_add_hmp(Vm *vm, const char *chardev, GError **err);
/* "[chardev=]ID[,mode=control|readline][,pretty=on|off][,id=..]", the argument of -mon. */
bool monitor_add_option(Vm *vm, const char *text, GError **err);
/* All sessions end; what they still have to say goes out with chardev_cleanup. */
void monitor_cleanup(Vm *vm);

/* Commands wait from hold true to hold false, as for the end of another one: until the machine is made, while what is
 * waited for (a server to connect to) has the loop run. */
void monitor_hold(Vm *vm, bool hold);

/* --preconfig: runs the main loop until x-exit-preconfig, or until the process is to end. */
void monitor_run_preconfig(Vm *vm);

/* The command line's options as query-command-line-options tells them: a new GPtrArray of CommandLineOptionInfo *, of
 * one option or (NULL) of all. Given by system/, which has the table. */
typedef GPtrArray *MonitorOptionsFn(const char *option);
void monitor_set_options_source(Vm *vm, MonitorOptionsFn *fn);

/* What query-qmp-schema answers, modules' objects included: a new GPtrArray of SchemaInfo *. Loads all modules. */
GPtrArray *monitor_make_schema(void);
/* The same as JSON text (borrowed), made when the program was built: then nothing is to be loaded or made. */
void monitor_set_schema_text(Vm *vm, const char *text);

#endif
