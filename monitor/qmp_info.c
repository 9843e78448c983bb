/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What this program and this machine are: version, commands, options, machines, name, KVM. */
#include "accel/accel.h"
#include "hw/i386/machine.h"
#include "monitor/internal.h"
#include "qapi/qapi-commands.h"
#include "util/error.h"

VersionInfo *qmp_version_info(void)
{
    VersionInfo *info = g_new0(VersionInfo, 1);

    info->qemu = g_new0(VersionTriple, 1);
    *info->qemu = (VersionTriple){.major = 7, .minor = 2, .micro = 22};
    info->package = g_strdup("Kiln " KILN_VERSION);
    return info;
}

bool qmp_query_version(QmpCall *call, GError **err)
{
    call->result = qmp_version_info();
    return true;
}

bool qmp_query_commands(QmpCall *call, GError **err)
{
    GPtrArray *list = call->result = g_ptr_array_new();

    for (const QapiCommand *const *command = qapi_commands; *command; command++) {
        CommandInfo *info = g_new0(CommandInfo, 1);

        info->name = g_strdup((*command)->name);
        g_ptr_array_add(list, info);
    }
    return true;
}

/* ---- the guest ------------------------------------------------------------------------- */

bool qmp_query_name(QmpCall *call, GError **err)
{
    NameInfo *info = call->result = g_new0(NameInfo, 1);

    info->name = g_strdup(call->vm->name);
    return true;
}

bool qmp_query_uuid(QmpCall *call, GError **err)
{
    UuidInfo *info = call->result = g_new0(UuidInfo, 1);

    info->UUID = monitor_uuid_text(call->vm);
    return true;
}

char *monitor_uuid_text(const Vm *vm)
{
    GString *text = g_string_new(NULL);

    for (unsigned i = 0; i < sizeof vm->uuid; i++) {
        g_string_append_printf(text, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", vm->uuid[i]);
    }
    return g_string_free(text, false);
}

bool qmp_query_kvm(QmpCall *call, GError **err)
{
    KvmInfo *info = call->result = g_new0(KvmInfo, 1);

    info->enabled = call->vm->accel && !strcmp(call->vm->accel->ops->name, "kvm");
    info->present = type_find("kvm-accel") != NULL;
    return true;
}

bool qmp_query_target(QmpCall *call, GError **err)
{
    TargetInfo *info = call->result = g_new0(TargetInfo, 1);

    info->arch = SYS_EMU_TARGET_X86_64;
    return true;
}

/* ---- machines ---------------------------------------------------------------------------- */

static void list_machine(const Type *type, void *opaque)
{
    const MachineOps *ops = type_ops(type);

    if (type->abstract || !ops) {
        return;
    }
    MachineInfo *info = g_new0(MachineInfo, 1);
    info->name = g_strdup(ops->name);
    info->alias = g_strdup(ops->alias);
    info->has_is_default = info->is_default = ops->is_default;
    info->cpu_max = ops->max_cpus;
    info->hotpluggable_cpus = ops->has_ram; /* each machine that has CPUs */
    info->default_cpu_type = ops->default_cpu ? g_strconcat(ops->default_cpu, "-x86_64-cpu", NULL) : NULL;
    info->default_ram_id = g_strdup(ops->default_ram_id);
    g_ptr_array_add(opaque, info);
}

bool qmp_query_machines(QmpCall *call, GError **err)
{
    call->result = g_ptr_array_new();
    type_foreach("machine", list_machine, call->result);
    return true;
}

bool qmp_query_current_machine(QmpCall *call, GError **err)
{
    CurrentMachineParams *info = call->result = g_new0(CurrentMachineParams, 1);

    info->wakeup_suspend_support = vm_can_wakeup(call->vm);
    return true;
}

/* ---- the command line --------------------------------------------------------------------- */

bool qmp_query_command_line_options(QmpCall *call, GError **err)
{
    const QueryCommandLineOptionsArgs *args = call->args;
    MonitorOptionsFn *options = monitor_state(call->vm)->options;
    GPtrArray *list = options ? options(args->option) : g_ptr_array_new();

    if (args->option && !list->len) {
        g_ptr_array_unref(list);
        return error_set(err, "invalid option name: %s", args->option);
    }
    call->result = list;
    return true;
}
