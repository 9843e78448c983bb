/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Run control: what starts, stops, resets and ends the machine. */
#include "accel/accel.h"
#include "dump/dump.h"
#include "hw/timer/mc146818rtc.h"
#include "monitor/internal.h"
#include "qapi/qapi-commands.h"
#include "util/error.h"

bool qmp_query_status(QmpCall *call, GError **err)
{
    StatusInfo *info = call->result = g_new0(StatusInfo, 1);

    info->status = vm_run_state(call->vm);
    info->running = run_state_is_running(info->status);
    return true;
}

/* A machine that does not run keeps its reason. */
bool qmp_stop(QmpCall *call, GError **err)
{
    if (run_state_is_running(vm_run_state(call->vm))) {
        vm_stop(call->vm, RUN_STATE_PAUSED);
    }
    return true;
}

bool qmp_cont(QmpCall *call, GError **err)
{
    return dump_is_active(call->vm) ? error_set(err, "There is a dump in process, please wait.")
                                    : vm_start(call->vm, err);
}

/* The requests that follow take effect, with their events, before the reply. */

bool qmp_quit(QmpCall *call, GError **err)
{
    vm_request_shutdown(call->vm, SHUTDOWN_CAUSE_HOST_QMP_QUIT);
    vm_take_requests(call->vm);
    return true;
}

bool qmp_system_reset(QmpCall *call, GError **err)
{
    vm_request_reset(call->vm, SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET);
    vm_take_requests(call->vm);
    return true;
}

bool qmp_system_powerdown(QmpCall *call, GError **err)
{
    vm_request_powerdown(call->vm);
    vm_take_requests(call->vm);
    return true;
}

bool qmp_system_wakeup(QmpCall *call, GError **err)
{
    if (!vm_can_wakeup(call->vm)) {
        return error_set(err, "wake-up from suspend is not supported by this guest");
    }
    if (vm_run_state(call->vm) != RUN_STATE_SUSPENDED) {
        return error_set(err, "Unable to wake up: guest is not in suspended state");
    }
    vm_request_wakeup(call->vm);
    vm_take_requests(call->vm);
    return true;
}

bool qmp_set_action(QmpCall *call, GError **err)
{
    const SetActionArgs *args = call->args;
    VmActions *actions = vm_actions(call->vm);

    actions->reboot = args->has_reboot ? args->reboot : actions->reboot;
    actions->shutdown = args->has_shutdown ? args->shutdown : actions->shutdown;
    actions->panic = args->has_panic ? args->panic : actions->panic;
    actions->watchdog = args->has_watchdog ? args->watchdog : actions->watchdog;
    return true;
}

bool qmp_watchdog_set_action(QmpCall *call, GError **err)
{
    const WatchdogSetActionArgs *args = call->args;

    vm_actions(call->vm)->watchdog = args->action;
    return true;
}

bool qmp_inject_nmi(QmpCall *call, GError **err)
{
    Vm *vm = call->vm;

    if (!vm->cpus->len) {
        return error_set(err, "this machine has no CPU that could take an NMI");
    }
    vm->accel->ops->inject_nmi(vm->accel, NULL);
    return true;
}

bool qmp_rtc_reset_reinjection(QmpCall *call, GError **err)
{
    for (unsigned i = 0; i < call->vm->devices->len; i++) {
        Device *dev = call->vm->devices->pdata[i];

        if (object_is_a(dev, "mc146818rtc")) {
            rtc_reset_reinjection(dev);
        }
    }
    return true;
}

bool qmp_x_exit_preconfig(QmpCall *call, GError **err)
{
    MonitorState *state = monitor_state(call->vm);

    if (!state->preconfig) {
        return error_set(err, "The command is permitted only before machine initialization");
    }
    state->preconfig = false;
    return true;
}

bool qmp_human_monitor_command(QmpCall *call, GError **err)
{
    const HumanMonitorCommandArgs *args = call->args;
    int cpu_index = 0;

    if (args->has_cpu_index) {
        const GPtrArray *cpus = call->vm->cpus;

        if (args->cpu_index < 0 || args->cpu_index >= cpus->len || !cpus->pdata[args->cpu_index]) {
            return error_set(err, "Parameter 'cpu-index' expects a CPU number, and %" PRId64 " is none; query-cpus-fast "
                                  "lists them", args->cpu_index);
        }
        cpu_index = (int)args->cpu_index;
    }
    call->result = hmp_run_line(call->vm, call->mon, call, &cpu_index, args->command_line);
    return true;
}
