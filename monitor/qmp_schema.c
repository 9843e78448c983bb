/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * query-qmp-schema: what this program understands. The program has the answer as text from its build (print_schema.c), for
 * making it means to load every module, some MiB that would stay; a unit test's monitor makes it from the tables.
 */
#include "core/object_schema.h"
#include "monitor/internal.h"
#include "qapi/introspect.h"
#include "qapi/qapi-commands.h"

GPtrArray *monitor_make_schema(void)
{
    ObjectSchema *objects = object_schema_new();
    const QapiSubstitute substitutes[] = {{"object-add", object_schema_type(objects)}, {0}};
    GPtrArray *infos = qapi_introspect(qapi_commands, qapi_events, substitutes);

    object_schema_free(objects);
    return infos;
}

void monitor_set_schema_text(Vm *vm, const char *text) { monitor_state(vm)->schema_text = text; }

bool qmp_query_qmp_schema(QmpCall *call, GError **err)
{
    call->text = monitor_state(call->vm)->schema_text;
    call->result = call->text ? NULL : monitor_make_schema();
    return true;
}
