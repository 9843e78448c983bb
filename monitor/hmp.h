/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * HMP, the monitor for people: tables of commands. A subject's commands are one table in
 * monitor/hmp_<subject>.c, ended by {}, and one line in the list of tables in monitor/hmp.c.
 *
 *     static void hmp_nmi(HmpCall *call) { ... }
 *     const HmpCommand hmp_cpu_commands[] = {
 *         {"nmi", .run = hmp_nmi, .help = "inject an NMI into all CPUs"},
 *         {"x|xp", "format:format?,addr:long", .params = "/fmt addr", ...},
 *         {"info registers", "-a:flag,vcpu:int?", .run = ..., .help = "..."},
 *         {}};
 *
 * Arguments are declared as "name:kind" separated by commas, '?' after the kind of one that may be left out:
 *     word    up to the next blank, or in "double quotes" with \n, \t, \", \\ escapes
 *     rest    the rest of the line as it is
 *     int     32 bits, unsigned or signed; 0x for hexadecimal        long     64 bits
 *     size    bytes; a plain number is MiB; suffixes B K M G T
 *     format  /[count][xduoci][bhwg], for x and xp; may be left out always
 *     bool    on or off
 *     flag    its name is "-x": the letter may be given or not
 */
#ifndef MONITOR_HMP_H
#define MONITOR_HMP_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct Vm Vm;
typedef struct Monitor Monitor;
typedef struct HmpArgs HmpArgs;
typedef struct QmpCall QmpCall;
typedef struct MonitorLater MonitorLater;

typedef struct HmpCall {
    Vm *vm;
    Monitor *mon;       /* whose file descriptors and current CPU count; NULL: nobody's */
    HmpArgs *args;
    GString *out;       /* what the user sees; lines end with \n here */
    int *cpu_index;     /* the monitor's current CPU ("cpu N") */
    QmpCall *qmp;       /* the human-monitor-command that runs it; NULL: a person's session */
    MonitorLater *later; /* hmp_later was called */
    unsigned held;      /* hmp_cpu_begin without end: how often, */
    bool was_running;   /* and whether CPUs go on then */
} HmpCall;

typedef struct HmpCompletion HmpCompletion;

typedef struct HmpCommand {
    const char *name;       /* "quit|q"; "info status" is the word status of info */
    const char *args;       /* NULL: none */
    const char *params;     /* as help shows the arguments; NULL: made of args */
    const char *help;       /* one line */
    void (*run)(HmpCall *call);
    /* Offers words for argument number n (from 0) that begin with word. NULL: no completion. */
    void (*complete)(Vm *vm, HmpCompletion *c, unsigned n, const char *word);
} HmpCommand;

void hmp_printf(HmpCall *call, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* "Error: message", as QEMU's monitor says it; frees err. */
void hmp_error(HmpCall *call, GError *err);

/* An argument by its name. Optional ones that were left out: has is false, the value NULL, 0 or false. */
bool hmp_has(const HmpArgs *args, const char *name);
const char *hmp_str(const HmpArgs *args, const char *name);
int64_t hmp_int(const HmpArgs *args, const char *name);
bool hmp_bool(const HmpArgs *args, const char *name);
/* The format argument of x and xp. Values the user left out are 0. */
typedef struct HmpFormat {
    int64_t count;
    bool has_count;
    char format;        /* x d u o c i */
    char size;          /* b h w g */
} HmpFormat;
HmpFormat hmp_format(const HmpArgs *args, const char *name);

/* Offers text as a completion of word; ignored unless text begins with it. */
void hmp_offer(HmpCompletion *c, const char *word, const char *text);

/* As qmp_later: what the command says then is all that it says. */
MonitorLater *hmp_later(HmpCall *call);
/* err (the callee's; NULL: it went well) is what the user is told, or else said (NULL: nothing). */
void hmp_later_end(MonitorLater *later, const char *said, GError *err);

/* Runs one line for this VM and returns what it says ("\r\n" lines), for human-monitor-command (qmp) or a session (NULL).
 * mon may be NULL. *cpu_index as in HmpCall. The caller frees. NULL: the answer comes later. */
char *hmp_run_line(Vm *vm, Monitor *mon, QmpCall *qmp, int *cpu_index, const char *line);

#endif
