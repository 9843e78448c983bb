/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One QMP message: {"execute": NAME, "arguments": {...}, "id": ...} becomes a call of the schema's handler and a
 * reply. Wording and error classes are what QEMU 7.2 answers, because managers show and compare them.
 */
#include "monitor/internal.h"

#include "qapi/qapi-commands.h"
#include "qapi/qapi.h"
#include "util/error.h"
#include "util/json_text.h"
#include "util/trace.h"

/* ---- replies --------------------------------------------------------------------------- */

static const char *error_class(const GError *err)
{
    static const char *const names[] = {
        [KILN_ERROR_GENERIC] = "GenericError",
        [KILN_ERROR_COMMAND_NOT_FOUND] = "CommandNotFound",
        [KILN_ERROR_DEVICE_NOT_ACTIVE] = "DeviceNotActive",
        [KILN_ERROR_DEVICE_NOT_FOUND] = "DeviceNotFound",
        [KILN_ERROR_KVM_MISSING_CAP] = "KVMMissingCap",
    };
    bool ours = err->domain == KILN_ERROR && (size_t)err->code < G_N_ELEMENTS(names);

    return names[ours ? err->code : KILN_ERROR_GENERIC];
}

json_object *qmp_error_reply(const GError *err)
{
    json_object *reply = json_object_new_object(), *error = json_object_new_object();
    g_autofree char *text = g_utf8_make_valid(err->message, -1);

    json_object_object_add(error, "class", json_object_new_string(error_class(err)));
    json_object_object_add(error, "desc", json_object_new_string(text));
    json_object_object_add(reply, "error", error);
    return reply;
}

/* ---- the message ------------------------------------------------------------------------ */

typedef struct Message {
    const char *name;
    json_object *arguments;      /* NULL: none */
    bool oob;
} Message;

static bool read_member(Message *m, const Monitor *mon, const char *key, json_object *value, GError **err)
{
    bool is_oob = !strcmp(key, "exec-oob") && (!mon || mon->oob);

    if (!strcmp(key, "execute") || is_oob) {
        if (m->name) {
            return error_set(err, "QMP input member 'execute' clashes with 'exec-oob'");
        }
        if (!json_object_is_type(value, json_type_string)) {
            return error_set(err, "QMP input member '%s' must be a string", key);
        }
        m->name = json_object_get_string(value);
        m->oob = is_oob;
    } else if (!strcmp(key, "arguments")) {
        if (!json_object_is_type(value, json_type_object)) {
            return error_set(err, "QMP input member 'arguments' must be an object");
        }
        m->arguments = value;
    } else if (strcmp(key, "id")) {
        return error_set(err, "QMP input member '%s' is unexpected", key);
    }
    return true;
}

static bool read_message(Message *m, const Monitor *mon, json_object *message, GError **err)
{
    if (!json_object_is_type(message, json_type_object)) {
        return error_set(err, "QMP input must be a JSON object");
    }
    json_object_object_foreach(message, key, value)
    {
        if (!read_member(m, mon, key, value, err)) {
            return false;
        }
    }
    return m->name || error_set(err, "QMP input lacks member 'execute'");
}

bool qmp_is_oob(const Monitor *mon, json_object *message)
{
    return mon->oob && json_object_is_type(message, json_type_object) &&
           json_object_object_get_ex(message, "exec-oob", NULL);
}

/* ---- the command ------------------------------------------------------------------------- */

/* The table is sorted by name. */
static const QapiCommand *find_command(MonitorState *state, const char *name)
{
    unsigned low = 0, high = state->n_commands;

    while (low < high) {
        unsigned middle = (low + high) / 2;
        int order = strcmp(name, qapi_commands[middle]->name);

        if (order == 0) {
            return qapi_commands[middle];
        }
        low = order > 0 ? middle + 1 : low;
        high = order > 0 ? high : middle;
    }
    return NULL;
}

/* May this command run here and now? */
static bool check_command(Vm *vm, const Monitor *mon, const Message *m, const QapiCommand *command, GError **err)
{
    bool is_negotiation = !strcmp(m->name, "qmp_capabilities");

    if (mon && !mon->negotiated && !is_negotiation) {
        return error_set_class(err, KILN_ERROR_COMMAND_NOT_FOUND,
                               "Expecting capabilities negotiation with 'qmp_capabilities'");
    }
    if (mon && mon->negotiated && is_negotiation) {
        return error_set_class(err, KILN_ERROR_COMMAND_NOT_FOUND,
                               "Capabilities negotiation is already complete, command ignored");
    }
    if (!command) {
        return error_set_class(err, KILN_ERROR_COMMAND_NOT_FOUND, "The command %s has not been found", m->name);
    }
    if (m->oob && !command->oob) {
        return error_set(err, "The command %s does not support OOB", m->name);
    }
    if (monitor_state(vm)->preconfig && !command->preconfig) {
        return error_set(err, "The command '%s' is permitted only after machine initialization has completed", m->name);
    }
    return true;
}

static const QapiType no_arguments = {.name = "no arguments", .kind = QAPI_STRUCT, .size = 1};

/* No arguments at all are an empty object to commands that take some. */
static bool read_arguments(const QapiCommand *command, json_object *arguments, void **args, GError **err)
{
    json_object *empty = arguments ? NULL : json_object_new_object();
    bool ok = qapi_read(command->args ? command->args : &no_arguments, arguments ? arguments : empty, 0, args, err);

    json_object_put(empty);
    return ok;
}

/* *reply: {"return"}; NULL: it comes later. */
static bool run_command(Vm *vm, Monitor *mon, const QapiCommand *command, json_object *arguments, json_object **reply,
                        GError **err)
{
    QmpCall call = {.vm = vm, .mon = mon, .command = command};
    void *args = NULL;

    if (!command->raw && !read_arguments(command, arguments, &args, err)) {
        return false;
    }
    call.args = command->raw ? arguments : args;
    trace(qmp_command, "%s", command->name);
    bool ok = qmp_run(&call, arguments, err);
    if (call.later) {
        *reply = monitor_later_reply(call.later);
    } else if (ok) {
        *reply = json_object_new_object();
        json_object_object_add(*reply, "return",
                               call.text         ? json_text_made(call.text)
                               : command->result ? qapi_write(command->result, call.result)
                                                 : json_object_new_object());
    }
    if (command->result) {
        qapi_free(command->result, call.result);
    }
    qapi_free(command->args ? command->args : &no_arguments, args);
    return ok;
}

json_object *qmp_dispatch(Vm *vm, Monitor *mon, json_object *message)
{
    g_autoptr(GError) err = NULL;
    Message m = {0};
    json_object *reply = NULL;

    if (read_message(&m, mon, message, &err)) {
        const QapiCommand *command = find_command(monitor_state(vm), m.name);

        if (check_command(vm, mon, &m, command, &err) &&
            run_command(vm, mon, command, m.arguments, &reply, &err)) {
            return reply;
        }
    }
    return qmp_error_reply(err);
}
