/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP for those who write handlers.
 *
 * A command of the schema is answered by the function qmp_<name> ('-' as '_'). Handlers live in
 * monitor/qmp_<subject>.c, one file a subject, and are thin: they read their arguments, call the room that
 * knows, and set the result. They run in the main thread under the VM lock, one at a time. What a command
 * emits by vm_emit_event reaches every monitor before the command's reply.
 *
 *     bool qmp_query_status(QmpCall *call, GError **err)
 *     {
 *         StatusInfo *info = g_new0(StatusInfo, 1);
 *
 *         info->status = vm_run_state(call->vm);
 *         info->running = run_state_is_running(info->status);
 *         call->result = info;
 *         return true;
 *     }
 */
#ifndef MONITOR_QMP_H
#define MONITOR_QMP_H

#include <glib.h>
#include <stdbool.h>

typedef struct Vm Vm;
typedef struct Monitor Monitor;
typedef struct QapiCommand QapiCommand;
typedef struct MonitorLater MonitorLater;

typedef struct QmpCall {
    Vm *vm;
    Monitor *mon;               /* who asks; NULL: a command that did not come over a monitor */
    const QapiCommand *command;
    const void *args;           /* the command's argument struct, all of it valid by the schema; NULL: none */
    /* The handler's, allocated with g_new0 as the schema's result type wants it; freed by the caller. Left NULL
     * by commands that return nothing. Nothing is kept of it when the handler fails. */
    void *result;
    /* Instead of result: its JSON, as util/json_text.h writes it. It outlives the process's monitors. */
    const char *text;
    MonitorLater *later;        /* qmp_later was called */
} QmpCall;

/* False with *err, whose code is the error class and whose message is the error's desc. */
typedef bool QmpHandler(QmpCall *call, GError **err);

/*
 * For what takes its time: the reply comes when qmp_later_end is called, from the handler itself or later in the main
 * loop; the handler returns true. Until then the monitor's next commands wait; its out-of-band commands, other monitors and
 * the machine do not. The arguments are gone by then. qmp_later_end must be called once, also when the VM ends.
 */
MonitorLater *qmp_later(QmpCall *call);
/* result: as QmpCall.result. err (NULL: it went well) and result are the callee's. */
void qmp_later_end(MonitorLater *later, void *result, GError *err);

/*
 * The descriptor that a manager gave this name with getfd, or, when name is a number, that descriptor of the
 * process. It is the caller's now and the name is gone. -1 with *err: there is none. mon NULL: numbers only.
 */
int monitor_take_fd(Monitor *mon, const char *name, GError **err);

#endif
