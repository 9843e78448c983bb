/* SPDX-License-Identifier: GPL-2.0-or-later */
/* set-numa-node: -numa while the machine is not made yet. It becomes the option's text, so there is one way in. */
#include "hw/i386/numa.h"
#include "monitor/internal.h"
#include "qapi/qapi-commands.h"
#include "util/error.h"

static void add_int(GString *text, const char *key, bool there, int64_t value)
{
    if (there) {
        g_string_append_printf(text, ",%s=%" G_GINT64_FORMAT, key, value);
    }
}

static void add_node(GString *text, const NumaNodeOptions *node)
{
    add_int(text, "nodeid", node->has_nodeid, node->nodeid);
    for (unsigned i = 0; node->cpus && i < node->cpus->len; i++) {
        add_int(text, "cpus", true, g_array_index(node->cpus, uint16_t, i));
    }
    if (node->memdev) {
        g_auto(GStrv) parts = g_strsplit(node->memdev, ",", -1);
        g_autofree char *doubled = g_strjoinv(",,", parts);

        g_string_append_printf(text, ",memdev=%s", doubled);
    }
    add_int(text, "initiator", node->has_initiator, node->initiator);
}

static void add_lb(GString *text, const NumaHmatLBOptions *lb)
{
    add_int(text, "initiator", true, lb->initiator);
    add_int(text, "target", true, lb->target);
    g_string_append_printf(text, ",hierarchy=%s,data-type=%s",
                           qapi_enum_name(&qapi_type_HmatLBMemoryHierarchy, (int)lb->hierarchy),
                           qapi_enum_name(&qapi_type_HmatLBDataType, (int)lb->data_type));
    if (lb->has_latency) {
        g_string_append_printf(text, ",latency=%" G_GUINT64_FORMAT, lb->latency);
    }
    if (lb->has_bandwidth) {
        g_string_append_printf(text, ",bandwidth=%" G_GUINT64_FORMAT, lb->bandwidth);
    }
}

static void add_cache(GString *text, const NumaHmatCacheOptions *cache)
{
    g_string_append_printf(text, ",node-id=%u,size=%" G_GUINT64_FORMAT ",level=%u,associativity=%s,policy=%s,line=%u",
                           cache->node_id, cache->size, cache->level,
                           qapi_enum_name(&qapi_type_HmatCacheAssociativity, (int)cache->associativity),
                           qapi_enum_name(&qapi_type_HmatCacheWritePolicy, (int)cache->policy), cache->line);
}

static void add_cpu(GString *text, const NumaCpuOptions *cpu)
{
    add_int(text, "node-id", cpu->has_node_id, cpu->node_id);
    add_int(text, "socket-id", cpu->has_socket_id, cpu->socket_id);
    add_int(text, "die-id", cpu->has_die_id, cpu->die_id);
    add_int(text, "core-id", cpu->has_core_id, cpu->core_id);
    add_int(text, "thread-id", cpu->has_thread_id, cpu->thread_id);
}

bool qmp_set_numa_node(QmpCall *call, GError **err)
{
    const NumaOptions *args = call->args;
    g_autoptr(GString) text = g_string_new(qapi_enum_name(&qapi_type_NumaOptionsType, (int)args->type));

    if (!monitor_state(call->vm)->preconfig) {
        return error_set(err, "The command is permitted only before the machine has been created");
    }
    switch (args->type) {
    case NUMA_OPTIONS_TYPE_NODE: add_node(text, &args->u.node); break;
    case NUMA_OPTIONS_TYPE_CPU: add_cpu(text, &args->u.cpu); break;
    case NUMA_OPTIONS_TYPE_DIST:
        add_int(text, "src", true, args->u.dist.src);
        add_int(text, "dst", true, args->u.dist.dst);
        add_int(text, "val", true, args->u.dist.val);
        break;
    case NUMA_OPTIONS_TYPE_HMAT_LB: add_lb(text, &args->u.hmat_lb); break;
    case NUMA_OPTIONS_TYPE_HMAT_CACHE: add_cache(text, &args->u.hmat_cache); break;
    }
    return numa_add_text(&call->vm->machine->config.numa, text->str, err);
}
