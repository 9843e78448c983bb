/* SPDX-License-Identifier: GPL-2.0-or-later */
/* HMP: mce, a machine check put into a CPU. */
#include "accel/x86/mce.h"
#include "core/runstate.h"
#include "monitor/hmp_internal.h"
#include "util/error.h"

static Cpu *cpu_by_index(const Vm *vm, int64_t index)
{
    return index >= 0 && index < vm->cpus->len ? g_ptr_array_index(vm->cpus, (unsigned)index) : NULL;
}

/* False, and said so. */
static bool inject(HmpCall *call, Cpu *cpu, const MachineCheck *mce)
{
    const AccelOps *ops = call->vm->accel->ops;
    g_autoptr(GError) err = NULL;

    if ((ops->cpu_get_state && !ops->cpu_get_state(cpu, &err)) || !x86_mce_check(cpu, mce, &err)) {
        hmp_printf(call, "%s\n", err->message);
        return false;
    }
    switch (x86_mce_inject(cpu, mce)) {
    case MCE_IGNORED:
        hmp_printf(call, "CPU %u: Uncorrected error reporting disabled\n", cpu->index);
        break;
    case MCE_TRIPLE_FAULT:
        hmp_printf(call, "CPU %u: no machine check can be taken now, raising triple fault\n", cpu->index);
        vm_request_reset(call->vm, SHUTDOWN_CAUSE_GUEST_RESET);
        break;
    case MCE_LOGGED:
    case MCE_RAISED:
        if (ops->cpu_put_state && !ops->cpu_put_state(cpu, &err)) {
            hmp_error(call, g_steal_pointer(&err));
            return false;
        }
        break;
    }
    return true;
}

/* What the others of a broadcast see: they are told, the error is not theirs. */
static void inject_others(HmpCall *call, const Cpu *first)
{
    static const MachineCheck note = {.bank = 1, .status = MCI_STATUS_VAL | MCI_STATUS_UC,
                                      .mcg_status = MCG_STATUS_MCIP | MCG_STATUS_RIPV};

    for (unsigned i = 0; i < call->vm->cpus->len; i++) {
        Cpu *cpu = g_ptr_array_index(call->vm->cpus, i);

        if (cpu && cpu != first && !inject(call, cpu, &note)) {
            return;
        }
    }
}

static void hmp_mce(HmpCall *call)
{
    Vm *vm = call->vm;
    const AccelOps *ops = vm->accel->ops;
    int64_t index = hmp_int(call->args, "cpu"), bank = hmp_int(call->args, "bank");
    const MachineCheck mce = {
        .bank = bank >= 0 ? (unsigned)bank : UINT_MAX,
        .status = (uint64_t)hmp_int(call->args, "status"), .mcg_status = (uint64_t)hmp_int(call->args, "mcgstatus"),
        .addr = (uint64_t)hmp_int(call->args, "addr"), .misc = (uint64_t)hmp_int(call->args, "misc")};
    bool broadcast = hmp_bool(call->args, "-b"), was_running = run_state_is_running(vm_run_state(vm));
    Cpu *cpu = cpu_by_index(vm, index);

    if (!cpu) {
        hmp_printf(call, "CPU#%d not available\n", (int)index);
        return;
    }
    if (broadcast && !x86_mce_broadcasts(cpu)) {
        hmp_printf(call, "Guest CPU does not support MCA broadcast\n");
        return;
    }
    if (was_running) {
        ops->cpus_stop(vm->accel);
    }
    if (inject(call, cpu, &mce) && broadcast) {
        inject_others(call, cpu);
    }
    if (was_running) {
        ops->cpus_start(vm->accel);
    }
}

const HmpCommand hmp_mce_commands[] = {
    {"mce", "-b:flag,cpu:int,bank:int,status:long,mcgstatus:long,addr:long,misc:long",
     "[-b] cpu bank status mcgstatus addr misc", "reports a machine check to a CPU; -b: the others hear of it", hmp_mce},
    {}};
