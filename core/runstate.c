/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Run state and the requests that change it. Requests are set by any thread and taken in the main
 * loop in a fixed order: an end of the process, then suspend, reset, wakeup, power button, stop.
 */
#include "core/runstate.h"

#include <stdatomic.h>
#include <stdio.h>

#include "core/event.h"
#include "core/vm.h"
#include "core/vm_internal.h"
#include "util/log.h"
#include "util/trace.h"

typedef struct Hook {
    void (*fn)(void *opaque);
    RunStateFn *state_fn;
    void *opaque;
} Hook;

enum { HOOK_POWERDOWN, HOOK_SUSPEND, HOOK_WAKEUP, HOOK_END, HOOK_EXIT, HOOK_RESET, HOOK_STATE, HOOK_KINDS };

#define NO_STOP_REQUEST (-1)

struct VmRun {
    RunState state;
    bool exited;                    /* exit hooks have run */
    bool needs_reset;               /* cont is refused until a reset (internal-error, shutdown) */
    bool ended;                     /* the main loop is to end, with end_status */
    int end_status;
    GArray *hooks[HOOK_KINDS];      /* Hook */
    CpuControl cpus;
    VmActions actions;
    /* Requests; any thread. */
    _Atomic int exit_status;        /* -1: none */
    _Atomic int shutdown, reset;    /* ShutdownCause */
    _Atomic int stop;               /* RunState or NO_STOP_REQUEST */
    atomic_bool powerdown, suspend, hibernate, wakeup, panic, crash_loaded, watchdog;
};

const char *run_state_name(RunState state) { return qapi_enum_name(&qapi_type_RunState, (int)state); }
const char *shutdown_cause_name(ShutdownCause cause) { return qapi_enum_name(&qapi_type_ShutdownCause, (int)cause); }

RunState vm_run_state(const Vm *vm) { return vm->run->state; }
VmActions *vm_actions(Vm *vm) { return &vm->run->actions; }
void vm_set_cpu_control(Vm *vm, CpuControl control) { vm->run->cpus = control; }

/* ---- hooks ------------------------------------------------------------------------------- */

static void add_hook(Vm *vm, int kind, Hook hook) { g_array_append_val(vm->run->hooks[kind], hook); }

static void run_hooks(Vm *vm, int kind)
{
    GArray *hooks = vm->run->hooks[kind];

    for (unsigned i = 0; i < hooks->len; i++) {
        Hook hook = g_array_index(hooks, Hook, i);
        hook.fn(hook.opaque);
    }
}

#define DEFINE_ON(name, kind)                                                                      \
    void name(Vm *vm, void (*fn)(void *opaque), void *opaque)                                      \
    {                                                                                              \
        add_hook(vm, kind, (Hook){.fn = fn, .opaque = opaque});                                    \
    }
DEFINE_ON(vm_on_powerdown, HOOK_POWERDOWN)
DEFINE_ON(vm_on_suspend, HOOK_SUSPEND)
DEFINE_ON(vm_on_wakeup, HOOK_WAKEUP)
DEFINE_ON(vm_on_end, HOOK_END)
DEFINE_ON(vm_on_exit, HOOK_EXIT)
DEFINE_ON(vm_on_reset, HOOK_RESET)

void vm_on_run_state(Vm *vm, RunStateFn *fn, void *opaque)
{
    add_hook(vm, HOOK_STATE, (Hook){.state_fn = fn, .opaque = opaque});
}

void vm_off_run_state(Vm *vm, RunStateFn *fn, void *opaque)
{
    GArray *hooks = vm->run->hooks[HOOK_STATE];

    for (unsigned i = 0; i < hooks->len; i++) {
        Hook *hook = &g_array_index(hooks, Hook, i);

        if (hook->state_fn == fn && hook->opaque == opaque) {
            g_array_remove_index(hooks, i);
            return;
        }
    }
}

static void tell_state(Vm *vm, bool running, RunState state)
{
    GArray *hooks = vm->run->hooks[HOOK_STATE];

    for (unsigned i = 0; i < hooks->len; i++) {
        Hook hook = g_array_index(hooks, Hook, running ? i : hooks->len - 1 - i);
        hook.state_fn(hook.opaque, running, state);
    }
}

/* ---- changes --------------------------------------------------------------------------------- */

static void set_state(Vm *vm, RunState state)
{
    trace(runstate_set, "%s -> %s", run_state_name(vm->run->state), run_state_name(state));
    vm->run->state = state;
}

/* False: nothing ran before. */
static bool stop_cpus(Vm *vm, RunState state)
{
    VmRun *run = vm->run;

    if (state == RUN_STATE_INTERNAL_ERROR || state == RUN_STATE_SHUTDOWN || state == RUN_STATE_GUEST_PANICKED) {
        run->needs_reset = state != RUN_STATE_GUEST_PANICKED;
    }
    if (!run_state_is_running(run->state)) {
        set_state(vm, state);
        return false;
    }
    if (run->cpus.stop) {
        run->cpus.stop(run->cpus.opaque);
    }
    clock_virtual_enable(vm, false);
    set_state(vm, state);
    tell_state(vm, false, state);
    return true;
}

void vm_stop(Vm *vm, RunState state)
{
    if (stop_cpus(vm, state)) {
        vm_emit_event(vm, &qapi_event_STOP, NULL);
    }
}

static void start_cpus(Vm *vm)
{
    VmRun *run = vm->run;

    set_state(vm, RUN_STATE_RUNNING);
    clock_virtual_enable(vm, true);
    tell_state(vm, true, RUN_STATE_RUNNING);
    if (run->cpus.start) {
        run->cpus.start(run->cpus.opaque);
    }
}

bool vm_start(Vm *vm, GError **err)
{
    VmRun *run = vm->run;
    int done = RUN_STATE_IO_ERROR;

    if (run_state_is_running(run->state)) {
        if (atomic_load(&run->stop) != RUN_STATE_IO_ERROR) {
            return true;
        }
        /* A manager that has heard of the error is faster than the stop: what failed is tried again only after one. */
        vm_stop(vm, RUN_STATE_IO_ERROR);
    }
    if (run->needs_reset) {
        return error_set(err, "Resetting the Virtual Machine is required");
    }
    /* Requests that failed while the VM stopped have asked for a stop, too. */
    atomic_compare_exchange_strong(&run->stop, &done, NO_STOP_REQUEST);
    vm_emit_event(vm, &qapi_event_RESUME, NULL);
    start_cpus(vm);
    return true;
}

/* As shutdown and reset events say it. */
static bool asked_by_guest(ShutdownCause cause) { return cause >= SHUTDOWN_CAUSE_GUEST_SHUTDOWN; }

static void emit_reset(Vm *vm, ShutdownCause cause)
{
    ResetEvent data = {.guest = asked_by_guest(cause), .reason = cause};

    if (cause != SHUTDOWN_CAUSE_NONE && cause != SHUTDOWN_CAUSE_SUBSYSTEM_RESET &&
        cause != SHUTDOWN_CAUSE_SNAPSHOT_LOAD) {
        vm_emit_event(vm, &qapi_event_RESET, &data);
    }
}

void vm_reset(Vm *vm, ShutdownCause cause)
{
    VmRun *run = vm->run;
    bool was_running = run_state_is_running(run->state);

    trace(vm_reset, "cause %s", shutdown_cause_name(cause));
    if (was_running && run->cpus.stop) {
        run->cpus.stop(run->cpus.opaque);
    }
    /* A guest asks several times until it is heard: what came before the CPUs stood still is one reset. */
    atomic_store(&run->reset, SHUTDOWN_CAUSE_NONE);
    region_begin(vm);
    for (unsigned i = 0; i < vm->devices->len; i++) {
        device_reset(g_ptr_array_index(vm->devices, i));
    }
    run_hooks(vm, HOOK_RESET);
    region_commit(vm);
    if (run->cpus.reset) {
        run->cpus.reset(run->cpus.opaque);
    }
    run->needs_reset = false;
    emit_reset(vm, cause);
    if (was_running && run->cpus.start) {
        run->cpus.start(run->cpus.opaque);
    } else if (!was_running && run->state != RUN_STATE_INMIGRATE && run->state != RUN_STATE_FINISH_MIGRATE) {
        set_state(vm, RUN_STATE_PRELAUNCH); /* it has not run since */
    }
}

/* ---- requests --------------------------------------------------------------------------------- */

void vm_request_exit(Vm *vm, int status)
{
    int none = -1;

    atomic_compare_exchange_strong(&vm->run->exit_status, &none, status & 0xff);
    loop_kick(vm->loop);
}

static void request_cause(Vm *vm, _Atomic int *slot, ShutdownCause cause)
{
    int none = SHUTDOWN_CAUSE_NONE;

    atomic_compare_exchange_strong(slot, &none, (int)cause);
    loop_kick(vm->loop);
}

void vm_request_shutdown(Vm *vm, ShutdownCause cause) { request_cause(vm, &vm->run->shutdown, cause); }

bool vm_can_wakeup(const Vm *vm) { return vm->run->hooks[HOOK_WAKEUP]->len > 0; }

bool vm_end_requested(const Vm *vm)
{
    return vm->run->ended || vm->run->exit_status >= 0 || vm->run->shutdown != SHUTDOWN_CAUSE_NONE;
}

void vm_request_reset(Vm *vm, ShutdownCause cause)
{
    if (vm->run->actions.reboot == REBOOT_ACTION_SHUTDOWN && cause != SHUTDOWN_CAUSE_SUBSYSTEM_RESET) {
        vm_request_shutdown(vm, cause);
    } else {
        request_cause(vm, &vm->run->reset, cause);
    }
}

#define DEFINE_REQUEST(name, field)                                                                \
    void name(Vm *vm)                                                                              \
    {                                                                                              \
        atomic_store(&vm->run->field, true);                                                       \
        loop_kick(vm->loop);                                                                       \
    }
DEFINE_REQUEST(vm_request_powerdown, powerdown)
DEFINE_REQUEST(vm_request_suspend, suspend)
DEFINE_REQUEST(vm_request_wakeup, wakeup)
DEFINE_REQUEST(vm_request_panic, panic)
DEFINE_REQUEST(vm_request_crash_loaded, crash_loaded)
DEFINE_REQUEST(vm_request_watchdog, watchdog)

void vm_request_hibernate(Vm *vm)
{
    atomic_store(&vm->run->hibernate, true);
    vm_request_shutdown(vm, SHUTDOWN_CAUSE_GUEST_SHUTDOWN);
}

void vm_request_stop(Vm *vm, RunState state)
{
    atomic_store(&vm->run->stop, (int)state);
    loop_kick(vm->loop);
}

static void take_panic(Vm *vm)
{
    const VmActions *actions = &vm->run->actions;
    GuestPanickedEvent data = {.action = GUEST_PANIC_ACTION_POWEROFF};

    if (actions->panic == PANIC_ACTION_NONE) {
        data.action = GUEST_PANIC_ACTION_RUN;
    } else if (actions->panic == PANIC_ACTION_PAUSE ||
               (actions->panic == PANIC_ACTION_SHUTDOWN && actions->shutdown == SHUTDOWN_ACTION_PAUSE)) {
        data.action = GUEST_PANIC_ACTION_PAUSE;
    }
    vm_emit_event(vm, &qapi_event_GUEST_PANICKED, &data);
    if (data.action == GUEST_PANIC_ACTION_RUN) {
        return;
    }
    vm_stop(vm, RUN_STATE_GUEST_PANICKED);
    if (actions->panic == PANIC_ACTION_EXIT_FAILURE) {
        vm_request_exit(vm, 1);
    } else if (data.action == GUEST_PANIC_ACTION_POWEROFF) {
        vm_request_shutdown(vm, SHUTDOWN_CAUSE_GUEST_PANIC);
    }
}

/* What is asked for here is taken by the rest of the same turn, after the event. */
static void take_watchdog(Vm *vm)
{
    WatchdogAction action = vm->run->actions.watchdog;

    vm_emit_event(vm, &qapi_event_WATCHDOG, &(WatchdogEvent){.action = action});
    switch (action) {
    case WATCHDOG_ACTION_RESET: vm_request_reset(vm, SHUTDOWN_CAUSE_GUEST_RESET); break;
    case WATCHDOG_ACTION_SHUTDOWN: vm_request_powerdown(vm); break;
    case WATCHDOG_ACTION_POWEROFF: vm_request_exit(vm, 0); break;
    case WATCHDOG_ACTION_PAUSE: vm_request_stop(vm, RUN_STATE_WATCHDOG); break;
    case WATCHDOG_ACTION_DEBUG: fprintf(stderr, "watchdog: timer fired\n"); break;
    case WATCHDOG_ACTION_NONE: break;
    case WATCHDOG_ACTION_INJECT_NMI: vm->run->cpus.nmi(vm->run->cpus.opaque); break;
    }
}

/* -no-shutdown keeps the process: unless it is the process, and not the machine, that was to end. */
static bool ends_machine(ShutdownCause cause)
{
    return asked_by_guest(cause) || cause == SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET;
}

/* True when the process is to end, with *status. */
static bool take_shutdown(Vm *vm, int *status)
{
    VmRun *run = vm->run;
    int exit_status = run->exit_status;

    if (exit_status >= 0) {
        *status = exit_status;
        return true;
    }
    ShutdownCause cause = (ShutdownCause)atomic_exchange(&run->shutdown, SHUTDOWN_CAUSE_NONE);
    if (cause == SHUTDOWN_CAUSE_NONE) {
        return false;
    }
    trace(vm_shutdown, "cause %s", shutdown_cause_name(cause));
    ShutdownEvent data = {.guest = asked_by_guest(cause), .reason = cause};
    vm_emit_event(vm, &qapi_event_SHUTDOWN, &data);
    if (ends_machine(cause) && run->actions.shutdown == SHUTDOWN_ACTION_PAUSE) {
        vm_stop(vm, RUN_STATE_SHUTDOWN);
        return false;
    }
    *status = cause == SHUTDOWN_CAUSE_HOST_ERROR;
    return true;
}

static bool take_requests(Vm *vm, int *status)
{
    VmRun *run = vm->run;

    if (atomic_exchange(&run->crash_loaded, false)) {
        vm_emit_event(vm, &qapi_event_GUEST_CRASHLOADED,
                      &(GuestCrashloadedEvent){.action = GUEST_PANIC_ACTION_RUN});
    }
    if (atomic_exchange(&run->panic, false)) {
        take_panic(vm);
    }
    if (atomic_exchange(&run->watchdog, false)) {
        take_watchdog(vm);
    }
    if (atomic_exchange(&run->hibernate, false)) {
        vm_emit_event(vm, &qapi_event_SUSPEND_DISK, NULL);
    }
    if (take_shutdown(vm, status)) {
        return true;
    }
    if (atomic_exchange(&run->suspend, false)) {
        stop_cpus(vm, RUN_STATE_SUSPENDED);
        run_hooks(vm, HOOK_SUSPEND);
        vm_emit_event(vm, &qapi_event_SUSPEND, NULL);
    }
    ShutdownCause cause = (ShutdownCause)atomic_exchange(&run->reset, SHUTDOWN_CAUSE_NONE);
    if (cause != SHUTDOWN_CAUSE_NONE) {
        vm_reset(vm, cause);
    }
    if (atomic_exchange(&run->wakeup, false) && run->state == RUN_STATE_SUSPENDED) {
        vm_reset(vm, SHUTDOWN_CAUSE_SUBSYSTEM_RESET);
        run_hooks(vm, HOOK_WAKEUP);
        start_cpus(vm);
        vm_emit_event(vm, &qapi_event_WAKEUP, NULL);
    }
    if (atomic_exchange(&run->powerdown, false)) {
        vm_emit_event(vm, &qapi_event_POWERDOWN, NULL);
        run_hooks(vm, HOOK_POWERDOWN);
    }
    int stop = atomic_exchange(&run->stop, NO_STOP_REQUEST);
    /* A VM that was stopped otherwise, or sleeps, stays so when its last requests fail. */
    if (stop != NO_STOP_REQUEST && (stop != RUN_STATE_IO_ERROR || run_state_is_running(run->state))) {
        vm_stop(vm, (RunState)stop);
    }
    return false;
}

void vm_run_exit(Vm *vm)
{
    if (!vm->run->exited) {
        vm->run->exited = true;
        run_hooks(vm, HOOK_EXIT);
    }
}

void vm_take_requests(Vm *vm)
{
    VmRun *run = vm->run;

    if (!run->ended && take_requests(vm, &run->end_status)) {
        run->ended = true;
        loop_kick(vm->loop);
    }
}

int vm_main_loop(Vm *vm)
{
    VmRun *run = vm->run;

    for (vm_take_requests(vm); !run->ended; vm_take_requests(vm)) {
        loop_run_once(vm->loop, -1);
    }
    run_hooks(vm, HOOK_END);
    stop_cpus(vm, run->state == RUN_STATE_RUNNING ? RUN_STATE_SHUTDOWN : run->state);
    vm_run_exit(vm);
    run->ended = false; /* tests run it again */
    return run->end_status;
}

/* ---- life ------------------------------------------------------------------------------------- */

void vm_run_init(Vm *vm)
{
    VmRun *run = vm->run = g_new0(VmRun, 1);

    run->state = RUN_STATE_PRELAUNCH;
    run->exit_status = -1;
    run->stop = NO_STOP_REQUEST;
    run->actions.panic = PANIC_ACTION_SHUTDOWN;
    for (int i = 0; i < HOOK_KINDS; i++) {
        run->hooks[i] = g_array_new(false, false, sizeof(Hook));
    }
}

void vm_run_free(Vm *vm)
{
    for (int i = 0; i < HOOK_KINDS; i++) {
        g_array_free(vm->run->hooks[i], true);
    }
    g_free(vm->run);
}
