/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A QMP connection: greeting, negotiation, requests in order, replies with their id.
 *
 * In-band requests are answered one after the other, and run one at a time among all monitors; requests that came with
 * exec-oob are answered as soon as they are read. Every message ends with CR LF.
 */
#include "monitor/internal.h"

#include <malloc.h>

#include "qapi/qapi-commands.h"
#include "qapi/qapi.h"
#include "util/error.h"
#include "util/json_text.h"
#include "util/trace.h"

#define LARGE_MESSAGE MIB

/* ---- messages out -------------------------------------------------------------------------- */

void qmp_send(Monitor *mon, json_object *message)
{
    GString *text = g_string_sized_new(256);

    json_text_append(text, message, mon->pretty);
    g_string_append(text, "\r\n");
    trace(qmp_send, "%s: %.200s", charport_label(mon->port), text->str);
    monitor_write(mon, text->str, text->len);
    g_string_free(text, true);
}

static json_object *version_json(void)
{
    VersionInfo *info = qmp_version_info();
    json_object *json = qapi_write(&qapi_type_VersionInfo, info);

    qapi_free(&qapi_type_VersionInfo, info);
    return json;
}

static void send_greeting(Monitor *mon)
{
    json_object *greeting = json_object_new_object(), *qmp = json_object_new_object();
    json_object *capabilities = json_object_new_array();

    json_object_array_add(capabilities, json_object_new_string("oob"));
    json_object_object_add(qmp, "version", version_json());
    json_object_object_add(qmp, "capabilities", capabilities);
    json_object_object_add(greeting, "QMP", qmp);
    qmp_send(mon, greeting);
    json_object_put(greeting);
}

/* ---- requests ------------------------------------------------------------------------------- */

static void request_free(QmpRequest *request)
{
    json_object_put(request->message);
    g_clear_error(&request->error);
    g_free(request);
}

/* The reply takes the request's id. Nothing is sent when that connection has gone meanwhile. */
static void answer(Monitor *mon, QmpRequest *request)
{
    unsigned connection = mon->connection;
    json_object *reply =
        request->error ? qmp_error_reply(request->error) : qmp_dispatch(mon->vm, mon, request->message), *id = NULL;
    bool has_id = json_object_is_type(request->message, json_type_object) &&
                  json_object_object_get_ex(request->message, "id", &id);

    if (has_id && reply) {
        json_object_object_add(reply, "id", json_object_get(id));
    } else if (has_id) {
        monitor_later_set_id(mon, id);
    }
    if (reply && connection == mon->connection) {
        qmp_send(mon, reply);
    }
    json_object_put(reply);
    request_free(request);
    if (mon->large && g_queue_is_empty(&mon->requests)) {
        mon->large = false;
        malloc_trim(0); /* a tree of small pieces otherwise stays with the process */
    }
}

/* A value or the reason why there is none. */
static void take_request(Monitor *mon, JsonFrame frame, GError *error)
{
    QmpRequest *request = g_new0(QmpRequest, 1);

    if (frame == JSON_FRAME_ERROR) {
        request->error = error;
    } else {
        GString *text = mon->frames.text;

        mon->large |= text->len > LARGE_MESSAGE;
        trace(qmp_receive, "%s: %.200s", charport_label(mon->port), text->str);
        if (!qapi_parse_json(text->str, text->len, &request->message, &request->error)) {
            request->message = NULL;
        }
    }
    if (request->message && qmp_is_oob(mon, request->message)) {
        answer(mon, request);
    } else {
        g_queue_push_tail(&mon->requests, request);
    }
}

/* Reads input into requests. True when something new is in the queue, or was answered. */
static bool decode(Monitor *mon)
{
    GError *error = NULL;
    unsigned connection = mon->connection;
    size_t used = 0;

    if (!mon->input->len || mon->requests.length >= QMP_QUEUE_LENGTH) {
        return false;
    }
    JsonFrame frame = json_frames_feed(&mon->frames, mon->input->data, mon->input->len, &used, &error);
    g_byte_array_remove_range(mon->input, 0, (guint)used);
    if (frame != JSON_FRAME_NONE) {
        take_request(mon, frame, error);
    }
    return frame != JSON_FRAME_NONE && connection == mon->connection;
}

void qmp_session_hear(Monitor *mon)
{
    while (decode(mon)) {
    }
}

bool qmp_session_step(Monitor *mon)
{
    qmp_session_hear(mon);
    if (!mon->requests.length || mon->later || !monitor_may_command(mon->vm)) {
        return false;
    }
    monitor_begin_command(mon->vm);
    answer(mon, g_queue_pop_head(&mon->requests));
    monitor_end_command(mon->vm);
    return true;
}

/* ---- connections ------------------------------------------------------------------------------ */

void qmp_session_close(Monitor *mon)
{
    QmpRequest *request;

    while ((request = g_queue_pop_head(&mon->requests))) {
        request_free(request);
    }
    json_frames_reset(&mon->frames);
    mon->negotiated = mon->oob = false;
    monitor_close_fds(mon);
}

void qmp_session_open(Monitor *mon)
{
    qmp_session_close(mon);
    send_greeting(mon);
}

/* ---- negotiation ---------------------------------------------------------------------------- */

bool qmp_qmp_capabilities(QmpCall *call, GError **err)
{
    const QmpCapabilitiesArgs *args = call->args;

    if (!call->mon) {
        return error_set_class(err, KILN_ERROR_COMMAND_NOT_FOUND, "qmp_capabilities belongs to a QMP connection");
    }
    for (unsigned i = 0; args->enable && i < args->enable->len; i++) {
        call->mon->oob |= g_array_index(args->enable, QMPCapability, i) == QMP_CAPABILITY_OOB;
    }
    call->mon->negotiated = true;
    return true;
}
