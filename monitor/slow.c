/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands that open block nodes or make objects, which may have to wait for servers, keys or helpers: a thread does that (block/slow.h), and the
 * command runs again, with the same arguments, until it needs no more. Only the monitor that asked waits. A peer that goes
 * meanwhile takes nothing back, as with commands that answer at once.
 */
#include <json-c/json.h>

#include "block/slow.h"
#include "monitor/hmp_internal.h"
#include "monitor/internal.h"
#include "monitor/qmp.h"
#include "qapi/qapi-commands.h"

static const char *const qmp_slow[] = {"blockdev-add", "blockdev-change-medium", "blockdev-reopen", "object-add", NULL};
static const char *const hmp_slow[] = {"change", "drive_add", "object_add", NULL};

typedef struct SlowCommand {
    Vm *vm;
    BlockSlow *slow;
    MonitorLater *later;
    const QapiCommand *qmp;
    json_object *arguments;  /* qmp's; a reference */
    const HmpCommand *hmp;
    char *rest;              /* hmp's: the line behind the command */
} SlowCommand;

static void command_free(SlowCommand *c)
{
    block_slow_free(c->slow);
    json_object_put(c->arguments);
    g_free(c->rest);
    g_free(c);
}

static void go_on(void *opaque, GError *err);

/* ---- QMP ------------------------------------------------------------------------------------------ */

/* True: it must wait for something. */
static bool try_qmp(BlockSlow *slow, QmpCall *call, bool *ok, GError **err)
{
    GError *why = NULL;
    bool waits;

    block_slow_begin(slow);
    *ok = call->command->handler(call, &why);
    waits = block_slow_end(slow) && !*ok;
    if (waits) {
        g_clear_error(&why);
    } else if (why) {
        g_propagate_error(err, why);
    }
    return waits;
}

bool qmp_run(QmpCall *call, json_object *arguments, GError **err)
{
    BlockSlow *slow;
    bool ok = true;

    if (!g_strv_contains(qmp_slow, call->command->name)) {
        return call->command->handler(call, err);
    }
    slow = block_slow_new(call->vm);
    if (try_qmp(slow, call, &ok, err)) {
        SlowCommand *c = g_new(SlowCommand, 1);

        *c = (SlowCommand){.vm = call->vm, .slow = slow, .later = qmp_later(call), .qmp = call->command,
                           .arguments = json_object_get(arguments)};
        block_slow_wait(slow, go_on, c);
        return true;
    }
    block_slow_free(slow);
    return ok;
}

static bool run_qmp_again(SlowCommand *c, GError *err)
{
    QmpCall call = {.vm = c->vm, .command = c->qmp};
    void *args = NULL;
    bool ok, waits = false;

    if (!err && (c->qmp->raw || qapi_read(c->qmp->args, c->arguments, 0, &args, &err))) {
        call.args = c->qmp->raw ? (const void *)c->arguments : args;
        waits = try_qmp(c->slow, &call, &ok, &err);
    }
    if (!c->qmp->raw) {
        qapi_free(c->qmp->args, args);
    }
    if (!waits) {
        qmp_later_end(c->later, call.result, err);
    }
    return waits;
}

/* ---- HMP ------------------------------------------------------------------------------------------- */

/* True: it must wait for something, and what it said does not count. */
static bool try_hmp(BlockSlow *slow, HmpCall *call, const HmpCommand *command)
{
    gsize said = call->out->len;

    block_slow_begin(slow);
    command->run(call);
    if (!block_slow_end(slow)) {
        return false;
    }
    g_string_truncate(call->out, said);
    return true;
}

void hmp_run(HmpCall *call, const HmpCommand *command, const char *rest)
{
    BlockSlow *slow;

    if (!g_strv_contains(hmp_slow, command->name)) {
        command->run(call);
        return;
    }
    slow = block_slow_new(call->vm);
    if (try_hmp(slow, call, command)) {
        SlowCommand *c = g_new(SlowCommand, 1);

        *c = (SlowCommand){.vm = call->vm, .slow = slow, .later = hmp_later(call), .hmp = command, .rest = g_strdup(rest)};
        block_slow_wait(slow, go_on, c);
    } else {
        block_slow_free(slow);
    }
}

static bool run_hmp_again(SlowCommand *c, GError *err)
{
    g_autoptr(GString) out = g_string_new(NULL);
    int cpu_index = 0;
    HmpCall call = {.vm = c->vm, .out = out, .cpu_index = &cpu_index};
    bool waits = false;

    if (!err) {
        call.args = hmp_args_parse(&call, c->hmp->args, c->rest, &err);
    }
    if (!err) {
        waits = try_hmp(c->slow, &call, c->hmp);
        hmp_args_free(call.args);
    }
    if (!waits) {
        hmp_later_end(c->later, out->str, err);
    }
    return waits;
}

/* ---- both ------------------------------------------------------------------------------------------- */

static void go_on(void *opaque, GError *err)
{
    SlowCommand *c = opaque;

    if ((c->qmp ? run_qmp_again : run_hmp_again)(c, err)) {
        block_slow_wait(c->slow, go_on, c);
    } else {
        command_free(c);
    }
}
