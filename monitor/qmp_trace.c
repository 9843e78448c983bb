/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Trace points over QMP. */
#include "monitor/internal.h"
#include "qapi/qapi-commands.h"
#include "util/error.h"
#include "util/trace.h"

typedef struct TraceQuery {
    const char *pattern;
    GPtrArray *found;        /* TraceEventInfo * */
} TraceQuery;

static void list_point(const char *name, bool enabled, void *opaque)
{
    TraceQuery *query = opaque;

    if (g_pattern_match_simple(query->pattern, name)) {
        TraceEventInfo *info = g_new0(TraceEventInfo, 1);

        info->name = g_strdup(name);
        info->state = enabled ? TRACE_EVENT_STATE_ENABLED : TRACE_EVENT_STATE_DISABLED;
        g_ptr_array_add(query->found, info);
    }
}

static bool is_pattern(const char *name) { return strpbrk(name, "*?") != NULL; }

static bool refuse_vcpu(bool has_vcpu, GError **err)
{
    return !has_vcpu || error_set(err, "Parameter 'vcpu' is not supported: trace points are switched for all CPUs");
}

bool qmp_trace_event_get_state(QmpCall *call, GError **err)
{
    const TraceEventGetStateArgs *args = call->args;
    TraceQuery query = {args->name, g_ptr_array_new()};

    call->result = query.found;
    if (!refuse_vcpu(args->has_vcpu, err)) {
        return false;
    }
    trace_list(list_point, &query);
    return query.found->len || is_pattern(args->name) || error_set(err, "unknown event \"%s\"", args->name);
}

bool qmp_trace_event_set_state(QmpCall *call, GError **err)
{
    const TraceEventSetStateArgs *args = call->args;

    if (!refuse_vcpu(args->has_vcpu, err)) {
        return false;
    }
    return trace_set(args->name, args->enable) || is_pattern(args->name) || args->ignore_unavailable ||
           error_set(err, "unknown event \"%s\"", args->name);
}
