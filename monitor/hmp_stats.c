/* SPDX-License-Identifier: GPL-2.0-or-later */
/* HMP: info stats, the kernel's counters, in QEMU's layout. */
#include <inttypes.h>

#include "accel/accel.h"
#include "monitor/hmp_internal.h"
#include "qapi/qapi-commands.h"
#include "qapi/qapi.h"
#include "util/error.h"

/* "ns", "KiB", "cycles"; the caller frees. NULL: just numbers. */
static char *unit_text(const StatsSchemaValue *value)
{
    static const char *const decimal[] = {"n", "u", "m", "", "K", "M", "G"}, *const binary[] = {"", "Ki", "Mi", "Gi", "Ti"};
    static const char *const units[] = {[STATS_UNIT_BYTES] = "B", [STATS_UNIT_SECONDS] = "s", [STATS_UNIT_CYCLES] = "cycles",
                                        [STATS_UNIT_BOOLEAN] = "boolean"};
    const char *unit = value->has_unit ? units[value->unit] : "";
    int exponent = value->exponent, base = value->has_base ? value->base : 10;

    if (!value->has_unit && !exponent) {
        return NULL;
    }
    if (base == 10 && exponent % 3 == 0 && exponent >= -9 && exponent <= 9) {
        return g_strconcat(decimal[exponent / 3 + 3], unit, NULL);
    }
    if (base == 2 && exponent % 10 == 0 && exponent >= 0 && exponent <= 40) {
        return g_strconcat(binary[exponent / 10], unit, NULL);
    }
    return g_strdup_printf("* %d^%d%s%s", base, exponent, *unit ? " " : "", unit);
}

static void print_value(HmpCall *call, const StatsSchemaValue *meaning, const StatsValue *value)
{
    g_autofree char *unit = unit_text(meaning);

    hmp_printf(call, "    %s (%s%s%s", meaning->name, qapi_enum_name(&qapi_type_StatsType, (int)meaning->type),
               unit ? ", " : "", unit ? unit : "");
    if (meaning->has_bucket_size && meaning->bucket_size) {
        hmp_printf(call, ", bucket size=%" PRIu32, meaning->bucket_size);
    }
    hmp_printf(call, "):");
    if (value->kind == STATS_VALUE_LIST) {
        for (unsigned i = 0; i < value->u.list->len; i++) {
            hmp_printf(call, " [%u]=%" PRIu64, i + 1, g_array_index(value->u.list, uint64_t, i));
        }
        hmp_printf(call, " ");
    } else if (value->kind == STATS_VALUE_BOOLEAN) {
        hmp_printf(call, " %s", value->u.boolean ? "yes" : "no");
    } else {
        hmp_printf(call, " %" PRIu64, value->u.scalar);
    }
    hmp_printf(call, "\n");
}

static void print_result(HmpCall *call, const StatsSchema *schema, const StatsResult *result, bool with_provider)
{
    if (with_provider) {
        hmp_printf(call, "provider: %s\n", qapi_enum_name(&qapi_type_StatsProvider, (int)result->provider));
    }
    /* What some names were asked for is in the schema's order, as all of it is. */
    for (unsigned i = 0, at = 0; i < result->stats->len; i++) {
        const Stats *stats = g_ptr_array_index(result->stats, i);

        for (; at < schema->stats->len; at++) {
            const StatsSchemaValue *meaning = g_ptr_array_index(schema->stats, at);

            if (!strcmp(meaning->name, stats->name)) {
                print_value(call, meaning, stats->value);
                break;
            }
        }
    }
}

static void print_all(HmpCall *call, const StatsFilter *filter, bool with_provider)
{
    QmpCall results = {.vm = call->vm, .args = filter}, schemas = {.vm = call->vm};
    GError *err = NULL;

    if (!qmp_query_stats(&results, &err) || !qmp_query_stats_schemas(&schemas, &err)) {
        hmp_error(call, err);
    } else {
        const GPtrArray *list = results.result, *meanings = schemas.result;

        for (unsigned i = 0; i < list->len; i++) {
            for (unsigned m = 0; m < meanings->len; m++) {
                const StatsSchema *schema = g_ptr_array_index(meanings, m);

                if (schema->target == filter->target) {
                    print_result(call, schema, g_ptr_array_index(list, i), with_provider);
                }
            }
        }
    }
    qapi_free(&qapi_list_StatsResult, results.result);
    qapi_free(&qapi_list_StatsSchema, schemas.result);
}

/* "a,b"; "*" and nothing mean all (NULL). */
static GPtrArray *names_of(HmpCall *call)
{
    const char *text = hmp_str(call->args, "names");

    if (!text || !strcmp(text, "*")) {
        return NULL;
    }
    g_auto(GStrv) words = g_strsplit(text, ",", -1);
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    for (char **word = words; *word; word++) {
        g_ptr_array_add(names, g_strdup(*word));
    }
    return names;
}

static void info_stats(HmpCall *call)
{
    const char *target = hmp_str(call->args, "target"), *provider = hmp_str(call->args, "provider");
    int value = qapi_enum_value(&qapi_type_StatsTarget, target);
    int by = provider ? qapi_enum_value(&qapi_type_StatsProvider, provider) : STATS_PROVIDER_KVM;
    const GPtrArray *cpus = call->vm->cpus;

    if (value < 0) {
        hmp_printf(call, "invalid stats target %s\n", target);
        return;
    }
    if (by < 0) {
        hmp_printf(call, "invalid stats provider %s\n", provider);
        return;
    }
    Cpu *cpu = (unsigned)*call->cpu_index < cpus->len ? g_ptr_array_index(cpus, *call->cpu_index) : NULL;
    if (value == STATS_TARGET_VCPU && !cpu) {
        hmp_printf(call, "No CPU available\n");
        return;
    }
    g_autofree char *path = cpu ? object_path(cpu) : NULL;
    g_autoptr(GPtrArray) names = names_of(call), paths = g_ptr_array_new(), requests = g_ptr_array_new();
    StatsRequest request = {.provider = (StatsProvider)by, .names = names};
    StatsFilter filter = {.target = (StatsTarget)value, .providers = requests};
    g_ptr_array_add(requests, &request);
    if (value == STATS_TARGET_VCPU) {
        g_ptr_array_add(paths, path);
        filter.u.vcpu.vcpus = paths;
    }
    print_all(call, &filter, !provider);
}

const HmpCommand hmp_stats_commands[] = {
    {"info stats", "target:word,names:word?,provider:word?", "target [names] [provider]",
     "the kernel's counters of the machine (vm) or the current CPU (vcpu); names: separated by commas, * for all", info_stats},
    {}};
