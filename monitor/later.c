/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Answers that come after their command's handler has returned (qmp_later, hmp_later).
 *
 * The monitor that asked keeps a pointer here and runs nothing more of its own until the answer is there; when its peer
 * goes, the pointer goes and the answer is dropped.
 */
#include "monitor/hmp.h"
#include "monitor/internal.h"
#include "monitor/qmp.h"
#include "qapi/qapi-commands.h"
#include "qapi/qapi.h"
#include "util/error.h"

struct MonitorLater {
    Vm *vm;
    Monitor *mon;               /* who waits; NULL: nobody any more */
    const QapiCommand *command; /* NULL: a line of a person's session */
    json_object *id;            /* the request's; NULL: it has none */
    bool waited_for;            /* the handler has returned */
    bool ended;                 /* the answer is there: */
    json_object *reply;         /* of a command */
    char *text;                 /* of a line */
};

static MonitorLater *later_new(Vm *vm, Monitor *mon, const QapiCommand *command)
{
    MonitorLater *later = g_new0(MonitorLater, 1);

    later->vm = vm;
    later->mon = mon;
    later->command = command;
    if (mon) {
        mon->later = later;
    }
    return later;
}

static void later_free(MonitorLater *later)
{
    if (later->mon) {
        later->mon->later = NULL;
    }
    json_object_put(later->id);
    json_object_put(later->reply);
    g_free(later->text);
    g_free(later);
}

/* The answer is there: it goes out, or waits for the handler's end. */
static void end(MonitorLater *later)
{
    Monitor *mon = later->mon;

    later->ended = true;
    if (!later->waited_for) {
        return;
    }
    if (mon && later->command) {
        if (later->id) {
            json_object_object_add(later->reply, "id", json_object_get(later->id));
        }
        qmp_send(mon, later->reply);
    } else if (mon) {
        hmp_session_answer(mon, later->text);
    }
    later_free(later);
    if (mon) {
        monitor_drain(mon);
    }
}

/* ---- for handlers ------------------------------------------------------------------------- */

MonitorLater *qmp_later(QmpCall *call)
{
    call->later = later_new(call->vm, call->mon, call->command);
    return call->later;
}

void qmp_later_end(MonitorLater *later, void *result, GError *err)
{
    const QapiType *type = later->command->result;

    if (err) {
        later->reply = qmp_error_reply(err);
        g_error_free(err);
    } else {
        later->reply = json_object_new_object();
        json_object_object_add(later->reply, "return", type ? qapi_write(type, result) : json_object_new_object());
    }
    if (type) {
        qapi_free(type, result);
    }
    end(later);
}

MonitorLater *hmp_later(HmpCall *call)
{
    call->later = call->qmp ? qmp_later(call->qmp) : later_new(call->vm, call->mon, NULL);
    return call->later;
}

void hmp_later_end(MonitorLater *later, const char *said, GError *err)
{
    g_autofree char *text = err ? g_strdup_printf("Error: %s\n", err->message) : g_strdup(said ? said : "");

    g_clear_error(&err);
    if (later->command) {
        qmp_later_end(later, hmp_terminal_text(text), NULL);
    } else {
        later->text = hmp_terminal_text(text);
        end(later);
    }
}

/* ---- for sessions -------------------------------------------------------------------------- */

json_object *monitor_later_reply(MonitorLater *later)
{
    json_object *reply = NULL;

    later->waited_for = true;
    if (later->ended) {
        reply = g_steal_pointer(&later->reply);
        later_free(later);
    }
    return reply;
}

char *monitor_later_text(MonitorLater *later)
{
    char *text = NULL;

    later->waited_for = true;
    if (later->ended) {
        text = g_steal_pointer(&later->text);
        later_free(later);
    }
    return text;
}

void monitor_later_set_id(Monitor *mon, json_object *id)
{
    if (mon->later) {
        mon->later->id = json_object_get(id);
    }
}

void monitor_forget_later(Monitor *mon)
{
    if (mon->later) {
        mon->later->mon = NULL;
        mon->later = NULL;
    }
}
