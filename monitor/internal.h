/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between the files of monitor/. */
#ifndef MONITOR_INTERNAL_H
#define MONITOR_INTERNAL_H

#include <json-c/json.h>

#include "monitor/json_frames.h"
#include "monitor/monitor.h"
#include "monitor/readline.h"
#include "qapi/qapi-control.h"

#define QMP_QUEUE_LENGTH 8   /* requests that wait, as QEMU's */

/* A message of the peer's, decoded or refused, that waits for its turn. */
typedef struct QmpRequest {
    json_object *message;    /* NULL: error */
    GError *error;           /* why there is no message */
} QmpRequest;

struct Monitor {
    Vm *vm;
    CharPort *port;
    bool control;            /* QMP, else HMP */
    bool pretty;
    bool output_full;        /* more than MONITOR_OUTPUT_LIMIT waits; a charport_on_writable is out */
    bool draining;           /* requests are being answered further down the stack */
    unsigned connection;     /* counts connections: replies of an older one are dropped */
    GByteArray *input;       /* read from the port, not looked at yet */
    GHashTable *fds;         /* char * -> int + 1: getfd's names */
    MonitorLater *later;     /* the answer that the next command waits for; NULL: none */

    /* ---- QMP ---- */
    bool negotiated, oob;
    bool large;              /* a message of more than LARGE_MESSAGE bytes was decoded: its memory goes back */
    JsonFrames frames;
    GQueue requests;         /* QmpRequest * */

    /* ---- HMP ---- */
    Readline *readline;
    int cpu_index;
};

/* vm->monitors */
typedef struct MonitorState {
    GPtrArray *monitors;     /* Monitor * */
    unsigned n_commands;     /* of qapi_commands */
    bool in_command;         /* an in-band command of some monitor runs: one at a time */
    bool refused;            /* another one had to wait for its end */
    bool hearing;            /* inside of a wait: what comes is read, commands out of band alone run */
    bool preconfig;          /* between the back ends and the machine */
    GHashTable *throttles;   /* monitor/events.c */
    MonitorOptionsFn *options;
    const char *schema_text; /* NULL: query-qmp-schema makes it */
    char hmp_format, hmp_size; /* what x, print and i use when the user names none: their last; 0: none yet */
    bool migration_events;   /* migrate-set-capabilities */
} MonitorState;

MonitorState *monitor_state(Vm *vm);

/* Queues bytes and notes whether too many wait. */
void monitor_write(Monitor *mon, const char *data, size_t len);
/* Answers what waits, as far as it may go now: after input, room for output, the end of another's command. */
void monitor_drain(Monitor *mon);
/* All that have something to do. */
void monitor_drain_all(Vm *vm);

/* May an in-band command run now? If not, the monitors are drained when the present one has ended. */
bool monitor_may_command(Vm *vm);
void monitor_begin_command(Vm *vm);
void monitor_end_command(Vm *vm);

/* ---- monitor/later.c ---- */
/* The handler has returned: its reply without the id, and later is gone; or NULL: qmp_dispatch's caller waits. */
json_object *monitor_later_reply(MonitorLater *later);
/* The same for a line of a session: what it says, the caller's. */
char *monitor_later_text(MonitorLater *later);
/* The reply that is waited for takes this id. */
void monitor_later_set_id(Monitor *mon, json_object *id);
/* Whoever asked has gone. */
void monitor_forget_later(Monitor *mon);

/* ---- monitor/qmp_session.c ---- */
void qmp_session_open(Monitor *mon);
void qmp_session_close(Monitor *mon);
/* One step of monitor_drain: decodes or answers. False: nothing to do now. */
bool qmp_session_step(Monitor *mon);
/* Reads what has come; only commands out of band run. */
void qmp_session_hear(Monitor *mon);
/* Writes a message and its line end. */
void qmp_send(Monitor *mon, json_object *message);

/* ---- monitor/slow.c ---- */

/* Calls the command's handler; arguments: what call->args was read from. What it must wait for, it does later (qmp_later is
 * called). */
bool qmp_run(struct QmpCall *call, json_object *arguments, GError **err);

/* ---- monitor/qmp_dispatch.c ---- */
/* The reply to a message, without its id: {"return"} or {"error"}. NULL: mon->later tells it. mon NULL: nobody's. */
json_object *qmp_dispatch(Vm *vm, Monitor *mon, json_object *message);
json_object *qmp_error_reply(const GError *err);
/* Is this a request to be answered at once? */
bool qmp_is_oob(const Monitor *mon, json_object *message);

/* ---- monitor/qmp_info.c ---- */
VersionInfo *qmp_version_info(void);
char *monitor_uuid_text(const Vm *vm);

/* ---- monitor/events.c ---- */
void monitor_events_init(Vm *vm);
void monitor_events_cleanup(Vm *vm);

/* ---- monitor/fds.c ---- */
void monitor_close_fds(Monitor *mon);

/* ---- monitor/hmp.c ---- */
/* What a line of a session said, and the next prompt. */
void hmp_session_answer(Monitor *mon, const char *text);
/* With the line ends of terminals; the caller frees. */
char *hmp_terminal_text(const char *text);
Readline *hmp_readline_new(Monitor *mon);
void hmp_session_open(Monitor *mon);
bool hmp_session_step(Monitor *mon);

#endif
