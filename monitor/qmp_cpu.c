/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CPUs and CPU models for managers. accel/x86/query.h has the answers about models. */
#include "accel/x86/cpu_config.h"
#include "accel/x86/query.h"
#include "hw/acpi/piix4_pm.h"
#include "hw/i386/numa.h"
#include "monitor/qmp.h"
#include "qapi/qapi-commands.h"
#include "util/error.h"

/* ---- CPUs -------------------------------------------------------------------------------------- */

/* The place of CPU number index; the die only where packages have several, as in QEMU. */
static CpuInstanceProperties *place(Vm *vm, const CpuTopology *t, unsigned index)
{
    CpuInstanceProperties *p = g_new0(CpuInstanceProperties, 1);
    int node = vm->machine ? numa_cpu_node(vm->machine->config.numa, index) : -1;

    p->has_node_id = node >= 0;
    p->node_id = p->has_node_id ? node : 0;
    p->has_socket_id = p->has_core_id = p->has_thread_id = true;
    p->has_die_id = t->dies > 1;
    p->thread_id = index % t->threads;
    p->core_id = index / t->threads % t->cores;
    p->die_id = index / (t->threads * t->cores) % t->dies;
    p->socket_id = index / (t->threads * t->cores * t->dies);
    return p;
}

static Cpu *cpu_at(Vm *vm, unsigned index)
{
    return index < vm->cpus->len ? g_ptr_array_index(vm->cpus, index) : NULL;
}

bool qmp_query_cpus_fast(QmpCall *call, GError **err)
{
    GPtrArray *list = call->result = g_ptr_array_new();

    for (unsigned i = 0; i < call->vm->cpus->len; i++) {
        Cpu *cpu = cpu_at(call->vm, i);

        if (cpu) {
            CpuInfoFast *info = g_new0(CpuInfoFast, 1);

            info->cpu_index = i;
            info->qom_path = object_path(cpu);
            info->thread_id = call->vm->accel->ops->cpu_thread_id(cpu);
            info->props = place(call->vm, &cpu->topology, i);
            info->target = SYS_EMU_TARGET_X86_64;
            g_ptr_array_add(list, info);
        }
    }
    return true;
}

bool qmp_query_hotpluggable_cpus(QmpCall *call, GError **err)
{
    const CpuConfig *config = cpu_config(call->vm);
    const CpuTopology *t = &config->topology;

    if (!config->type || !t->sockets) {
        return error_set(err, "machine does not support hot-plugging CPUs");
    }
    GPtrArray *list = call->result = g_ptr_array_new();
    for (unsigned n = t->sockets * t->dies * t->cores * t->threads; n--;) {
        HotpluggableCPU *slot = g_new0(HotpluggableCPU, 1);
        const Cpu *cpu = cpu_at(call->vm, n);

        slot->type = g_strdup(config->type->name);
        slot->vcpus_count = 1;
        slot->props = place(call->vm, t, n);
        slot->qom_path = cpu ? object_path(cpu) : NULL;
        g_ptr_array_add(list, slot);
    }
    return true;
}

bool qmp_query_acpi_ospm_status(QmpCall *call, GError **err)
{
    for (unsigned i = 0; i < call->vm->devices->len; i++) {
        Device *dev = g_ptr_array_index(call->vm->devices, i);

        if (object_is_a(dev, "PIIX4_PM")) {
            const AcpiMemHotplug *memory = piix4_pm_memory_hotplug(container_of(dev, PciDevice, dev));
            const AcpiCpuHotplug *hp = piix4_pm_cpu_hotplug(container_of(dev, PciDevice, dev));
            GPtrArray *list = call->result = g_ptr_array_new();

            for (unsigned n = 0; n < memory->dev_count; n++) {
                g_ptr_array_add(list, acpi_memhp_status(memory, n));
            }
            for (unsigned n = 0; hp->modern && n < hp->dev_count; n++) {
                g_ptr_array_add(list, acpi_cpuhp_status(hp, n));
            }
            return true;
        }
    }
    return error_set(err, "this machine has no ACPI");
}

/* ---- models ------------------------------------------------------------------------------------ */

static GPtrArray *copy_names(const GPtrArray *names)
{
    GPtrArray *copy = g_ptr_array_new();

    for (unsigned i = 0; i < names->len; i++) {
        g_ptr_array_add(copy, g_strdup(g_ptr_array_index(names, i)));
    }
    return copy;
}

bool qmp_query_cpu_definitions(QmpCall *call, GError **err)
{
    g_autoptr(GPtrArray) models = cpu_models_query(call->vm);
    GPtrArray *list = call->result = g_ptr_array_new();

    for (unsigned i = 0; i < models->len; i++) {
        const CpuModelDescription *model = g_ptr_array_index(models, i);
        CpuDefinitionInfo *info = g_new0(CpuDefinitionInfo, 1);

        info->name = g_strdup(model->name);
        info->typename = g_strdup(model->typename);
        info->alias_of = g_strdup(model->alias_of);
        info->q_static = model->is_static;
        info->has_migration_safe = true;
        info->migration_safe = model->migration_safe;
        info->unavailable_features = copy_names(model->unavailable);
        g_ptr_array_add(list, info);
    }
    return true;
}

/* arg: what the command calls the model. */
static bool expand(Vm *vm, const CpuModelInfo *model, const char *arg, bool full, json_object **expanded, GError **err)
{
    if (model->props && !json_object_is_type(model->props, json_type_object)) {
        return error_set(err, "Invalid parameter type for '%s.props', expected: object", arg);
    }
    return cpu_model_expand(vm, model->name, model->props, full, expanded, err);
}

static CpuModelInfo *model_info(const char *name, json_object *props)
{
    CpuModelInfo *info = g_new0(CpuModelInfo, 1);

    info->name = g_strdup(name);
    info->props = props;
    return info;
}

bool qmp_query_cpu_model_expansion(QmpCall *call, GError **err)
{
    const QueryCpuModelExpansionArgs *args = call->args;
    bool full = args->type == CPU_MODEL_EXPANSION_TYPE_FULL;
    json_object *expanded = NULL;

    if (!expand(call->vm, args->model, "model", full, &expanded, err)) {
        return false;
    }
    CpuModelExpansionInfo *info = call->result = g_new0(CpuModelExpansionInfo, 1);
    info->model = model_info(full ? args->model->name : "base", expanded);
    return true;
}

_Static_assert((int)CPU_MODEL_INCOMPATIBLE == (int)CPU_MODEL_COMPARE_RESULT_INCOMPATIBLE &&
                   (int)CPU_MODEL_IDENTICAL == (int)CPU_MODEL_COMPARE_RESULT_IDENTICAL &&
                   (int)CPU_MODEL_SUPERSET == (int)CPU_MODEL_COMPARE_RESULT_SUPERSET &&
                   (int)CPU_MODEL_SUBSET == (int)CPU_MODEL_COMPARE_RESULT_SUBSET,
               "the answers are QAPI's");

bool qmp_query_cpu_model_comparison(QmpCall *call, GError **err)
{
    const QueryCpuModelComparisonArgs *args = call->args;
    json_object *a = NULL, *b = NULL;
    bool ok = expand(call->vm, args->modela, "modela", false, &a, err) &&
              expand(call->vm, args->modelb, "modelb", false, &b, err);

    if (ok) {
        CpuModelCompareInfo *info = call->result = g_new0(CpuModelCompareInfo, 1);

        info->responsible_properties = g_ptr_array_new();
        info->result = (CpuModelCompareResult)cpu_models_compare(a, b, info->responsible_properties);
    }
    json_object_put(a);
    json_object_put(b);
    return ok;
}

bool qmp_query_cpu_model_baseline(QmpCall *call, GError **err)
{
    const QueryCpuModelBaselineArgs *args = call->args;
    json_object *a = NULL, *b = NULL, *common = NULL;

    if (expand(call->vm, args->modela, "modela", false, &a, err) && expand(call->vm, args->modelb, "modelb", false, &b, err) &&
        (common = cpu_models_baseline(a, b, err))) {
        CpuModelBaselineInfo *info = call->result = g_new0(CpuModelBaselineInfo, 1);

        info->model = model_info("base", common);
    }
    json_object_put(a);
    json_object_put(b);
    return common;
}
