/* SPDX-License-Identifier: GPL-2.0-or-later */
/* query-stats, query-stats-schemas: the accelerator's counters. */
#include "accel/accel.h"
#include "monitor/qmp.h"
#include "qapi/qapi-commands.h"

typedef struct Collection {
    GPtrArray *list;                /* Stats or StatsSchemaValue */
    const StatsRequest *request;    /* NULL: all */
} Collection;

static bool is_wanted(const GPtrArray *names, const char *name)
{
    return !names || g_ptr_array_find_with_equal_func((GPtrArray *)(uintptr_t)names, name, g_str_equal, NULL);
}

static void collect(const AccelStat *stat, void *opaque)
{
    Collection *c = opaque;

    if (c->request && !is_wanted(c->request->names, stat->name)) {
        return;
    }
    Stats *stats = g_new0(Stats, 1);
    StatsValue *value = stats->value = g_new0(StatsValue, 1);

    stats->name = g_strdup(stat->name);
    if (stat->count > 1) {
        value->kind = STATS_VALUE_LIST;
        value->u.list = g_array_new(false, false, sizeof(uint64_t));
        g_array_append_vals(value->u.list, stat->values, stat->count);
    } else if (stat->unit == ACCEL_STAT_UNIT_BOOLEAN) {
        value->kind = STATS_VALUE_BOOLEAN;
        value->u.boolean = stat->values[0] != 0;
    } else {
        value->kind = STATS_VALUE_SCALAR;
        value->u.scalar = stat->values[0];
    }
    g_ptr_array_add(c->list, stats);
}

static bool add_result(QmpCall *call, Cpu *cpu, const StatsRequest *request, GError **err)
{
    Accel *accel = call->vm->accel;
    Collection c = {g_ptr_array_new(), request};
    bool ok = !accel || !accel->ops->stats || accel->ops->stats(accel, cpu, collect, &c, err);

    if (!ok || !c.list->len) {
        qapi_free(&qapi_list_Stats, c.list);
        return ok;
    }
    StatsResult *result = g_new0(StatsResult, 1);
    result->provider = STATS_PROVIDER_KVM;
    result->qom_path = cpu ? object_path(cpu) : NULL;
    result->stats = c.list;
    g_ptr_array_add(call->result, result);
    return true;
}

static bool add_cpus(QmpCall *call, const StatsFilter *filter, const StatsRequest *request, GError **err)
{
    for (unsigned i = 0; i < call->vm->cpus->len; i++) {
        Cpu *cpu = g_ptr_array_index(call->vm->cpus, i);
        g_autofree char *path = cpu ? object_path(cpu) : NULL;

        if (cpu && is_wanted(filter->u.vcpu.vcpus, path) && !add_result(call, cpu, request, err)) {
            return false;
        }
    }
    return true;
}

bool qmp_query_stats(QmpCall *call, GError **err)
{
    const StatsFilter *filter = call->args;
    unsigned n = filter->providers ? filter->providers->len : 1;

    call->result = g_ptr_array_new();
    for (unsigned i = 0; i < n; i++) {
        const StatsRequest *request = filter->providers ? g_ptr_array_index(filter->providers, i) : NULL;

        if (!(filter->target == STATS_TARGET_VM ? add_result(call, NULL, request, err)
                                                : add_cpus(call, filter, request, err))) {
            qapi_free(call->command->result, call->result);
            call->result = NULL;
            return false;
        }
    }
    return true;
}

static void describe(const AccelStat *stat, void *opaque)
{
    static const StatsUnit units[] = {
        [ACCEL_STAT_UNIT_BYTES] = STATS_UNIT_BYTES,     [ACCEL_STAT_UNIT_SECONDS] = STATS_UNIT_SECONDS,
        [ACCEL_STAT_UNIT_CYCLES] = STATS_UNIT_CYCLES,   [ACCEL_STAT_UNIT_BOOLEAN] = STATS_UNIT_BOOLEAN,
    };
    Collection *c = opaque;
    StatsSchemaValue *value = g_new0(StatsSchemaValue, 1);

    value->name = g_strdup(stat->name);
    value->type = (StatsType)stat->type; /* in the same order */
    value->has_unit = stat->unit != ACCEL_STAT_UNIT_NONE;
    value->unit = value->has_unit ? units[stat->unit] : STATS_UNIT_BYTES;
    value->has_base = stat->exponent != 0;
    value->base = stat->base;
    value->exponent = stat->exponent;
    value->has_bucket_size = stat->type == ACCEL_STAT_LINEAR_HISTOGRAM;
    value->bucket_size = stat->bucket_size;
    g_ptr_array_add(c->list, value);
}

static bool add_schema(QmpCall *call, StatsTarget target, GError **err)
{
    Accel *accel = call->vm->accel;
    Cpu *cpu = target == STATS_TARGET_VCPU && call->vm->cpus->len ? g_ptr_array_index(call->vm->cpus, 0) : NULL;
    Collection c = {g_ptr_array_new(), NULL};
    bool ok = !accel || !accel->ops->stats || (target == STATS_TARGET_VCPU && !cpu) ||
              accel->ops->stats(accel, cpu, describe, &c, err);

    if (!ok || !c.list->len) {
        qapi_free(&qapi_list_StatsSchemaValue, c.list);
        return ok;
    }
    StatsSchema *schema = g_new0(StatsSchema, 1);
    schema->provider = STATS_PROVIDER_KVM;
    schema->target = target;
    schema->stats = c.list;
    g_ptr_array_add(call->result, schema);
    return true;
}

bool qmp_query_stats_schemas(QmpCall *call, GError **err)
{
    call->result = g_ptr_array_new();
    return add_schema(call, STATS_TARGET_VM, err) && add_schema(call, STATS_TARGET_VCPU, err);
}
