/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands that may open block nodes of NBD servers: the names of these are looked up first, by a thread (util/lookup.h), and then
 * the command runs, with the same arguments. Only the monitor that asked waits. Names that images have inside, and those of a
 * server that is connected again, are the node's own business.
 */
#include <json-c/json.h>
#include <string.h>

#include "block/block_int.h"
#include "monitor/hmp_internal.h"
#include "monitor/internal.h"
#include "monitor/qmp.h"
#include "qapi/qapi-commands.h"
#include "util/lookup.h"

static const char *const qmp_names[] = {"blockdev-add", "blockdev-change-medium", "blockdev-reopen", NULL};
static const char *const hmp_names[] = {"change", "drive_add", NULL};

/* ---- which names there are ------------------------------------------------------------------------ */

static void add_json(HostNames *names, const char *key, json_object *value);

/* What a file name says of itself: an NBD export, or a node's options as JSON. */
static void add_filename(HostNames *names, const char *text)
{
    BlockOpts *opts = block_opts_new();

    if (block_nbd_is_name(text) && block_nbd_parse_name(opts, "", text, NULL)) {
        host_names_add(names, block_opts_peek(opts, "server.host"));
    } else if (g_str_has_prefix(text, "json:")) {
        json_object *inside = json_tokener_parse(text + strlen("json:"));

        add_json(names, "", inside);
        json_object_put(inside);
    }
    block_opts_free(opts);
}

static void add_value(HostNames *names, const char *key, const char *value)
{
    if (!strcmp(key, "host") || g_str_has_suffix(key, ".host")) {
        host_names_add(names, value);
    } else {
        add_filename(names, value);
    }
}

/* json-c bounds how deep it is. */
static void add_json(HostNames *names, const char *key, json_object *value)
{
    if (json_object_is_type(value, json_type_object)) {
        json_object_object_foreach(value, name, member)
        {
            add_json(names, name, member);
        }
    } else if (json_object_is_type(value, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(value); i++) {
            add_json(names, key, json_object_array_get_idx(value, i));
        }
    } else if (json_object_is_type(value, json_type_string)) {
        add_value(names, key, json_object_get_string(value));
    }
}

/* Words, and "key=value" parts of words. */
static HostNames *names_of_line(const char *line)
{
    g_auto(GStrv) parts = g_strsplit_set(line, " \t,\"", -1);
    HostNames *names = host_names_new();

    for (char **part = parts; *part; part++) {
        char *value = strchr(*part, '=');

        add_filename(names, *part);
        if (value && !block_nbd_is_name(*part)) {
            *value++ = 0;
            add_value(names, *part, value);
        }
    }
    return names;
}

/* ---- going on --------------------------------------------------------------------------------------- */

typedef struct NamedCommand {
    Vm *vm;
    MonitorLater *later;
    const QapiCommand *qmp;
    json_object *arguments;  /* qmp's; a reference */
    const HmpCommand *hmp;
    char *rest;              /* hmp's */
} NamedCommand;

static void run_qmp(const NamedCommand *c, GError *err)
{
    QmpCall call = {.vm = c->vm, .command = c->qmp};
    void *args = NULL;

    if (!err && qapi_read(c->qmp->args, c->arguments, 0, &args, &err)) {
        call.args = args;
        c->qmp->handler(&call, &err);
    }
    qapi_free(c->qmp->args, args);
    qmp_later_end(c->later, call.result, err);
}

static void run_hmp(const NamedCommand *c, GError *err)
{
    g_autoptr(GString) out = g_string_new(NULL);
    int cpu_index = 0;
    HmpCall call = {.vm = c->vm, .out = out, .cpu_index = &cpu_index};

    if (!err) {
        call.args = hmp_args_parse(&call, c->hmp->args, c->rest, &err);
    }
    if (!err) {
        c->hmp->run(&call);
        hmp_args_free(call.args);
    }
    hmp_later_end(c->later, out->str, err);
}

static void looked_up(void *opaque, const HostNames *names, GError *err)
{
    NamedCommand *c = opaque;
    BlockState *block = c->vm->block;

    block->names = names;
    (c->qmp ? run_qmp : run_hmp)(c, err);
    block->names = NULL;
    json_object_put(c->arguments);
    g_free(c->rest);
    g_free(c);
}

static void wait_for_names(NamedCommand command, HostNames *names)
{
    host_wait(command.vm->loop, names, block_state(command.vm)->waiting, looked_up,
              g_memdup2(&command, sizeof command));
}

bool qmp_names_first(QmpCall *call, json_object *arguments)
{
    if (!g_strv_contains(qmp_names, call->command->name)) {
        return false;
    }
    HostNames *names = host_names_new();

    add_json(names, "", arguments);
    if (!host_names_any(names)) {
        host_names_free(names);
        return false;
    }
    wait_for_names((NamedCommand){.vm = call->vm, .later = qmp_later(call), .qmp = call->command,
                                  .arguments = json_object_get(arguments)}, names);
    return true;
}

bool hmp_names_first(HmpCall *call, const HmpCommand *command, const char *rest)
{
    if (!g_strv_contains(hmp_names, command->name)) {
        return false;
    }
    HostNames *names = names_of_line(rest);

    if (!host_names_any(names)) {
        host_names_free(names);
        return false;
    }
    wait_for_names((NamedCommand){.vm = call->vm, .later = hmp_later(call), .hmp = command, .rest = g_strdup(rest)}, names);
    return true;
}
