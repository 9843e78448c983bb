/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Run state (qapi/schema/run-state.qapi has its names) and the requests that change it. vm_request_* may come from any
 * thread and take effect in the main loop; the first request that ends the process wins.
 */
#ifndef CORE_RUNSTATE_H
#define CORE_RUNSTATE_H

#include <glib.h>
#include <stdbool.h>

#include "qapi/qapi-run-state.h"

typedef struct Vm Vm;

const char *run_state_name(RunState state);      /* "running", "internal-error", ... */
const char *shutdown_cause_name(ShutdownCause cause); /* "guest-shutdown", ... */

RunState vm_run_state(const Vm *vm);
static inline bool run_state_is_running(RunState state) { return state == RUN_STATE_RUNNING; }

/* ---- any thread -------------------------------------------------------------------- */

/* Ends the process with this status (isa-debug-exit). */
void vm_request_exit(Vm *vm, int status);
/* S5, SIGTERM, quit: the process ends with status 0, or stops there with -no-shutdown. */
void vm_request_shutdown(Vm *vm, ShutdownCause cause);
/* A machine reset, or the end with -no-reboot. */
void vm_request_reset(Vm *vm, ShutdownCause cause);
/* The power button is pressed: notifiers of vm_on_powerdown run in the main loop. */
void vm_request_powerdown(Vm *vm);
/* ACPI S3: the machine sleeps until vm_request_wakeup. */
void vm_request_suspend(Vm *vm);
/* ACPI S4: the guest's state is on its disk. SUSPEND_DISK, then as vm_request_shutdown by the guest. */
void vm_request_hibernate(Vm *vm);
void vm_request_wakeup(Vm *vm);
/* The guest said that it panicked (pvpanic, crash exits): what -action panic= says happens. */
void vm_request_panic(Vm *vm);
/* The guest said that it crashed and that its own crash kernel takes over: GUEST_CRASHLOADED, nothing else happens. */
void vm_request_crash_loaded(Vm *vm);
/* A watchdog's time has run out: WATCHDOG, and what -action watchdog= says. */
void vm_request_watchdog(Vm *vm);
/* Stops the VM in this state at the next turn of the main loop (internal-error, io-error, ...). */
void vm_request_stop(Vm *vm, RunState state);

/* Can vm_request_wakeup wake this machine at all? */
bool vm_can_wakeup(const Vm *vm);

/* Has something asked for the end of the process? Whoever waits during start-up looks here. */
bool vm_end_requested(const Vm *vm);

/* ---- main thread, VM lock ----------------------------------------------------------- */

/* vCPUs stop at once (waited for), clocks stop, notifiers run. */
void vm_stop(Vm *vm, RunState state);
/* Back to running. Refused (false, *err) in a state that needs a reset first. */
bool vm_start(Vm *vm, GError **err);
/* Resets all devices, then the CPUs, with vCPUs paused meanwhile. */
void vm_reset(Vm *vm, ShutdownCause cause);

/* What was requested takes effect now, in the main loop's order, instead of at its next turn: for those whose answer
 * comes after the events. An end of the process still waits for that turn. */
void vm_take_requests(Vm *vm);

/* How run state reaches the CPUs; set by the accelerator. stop waits until all have come to rest. */
typedef struct CpuControl {
    void (*start)(void *opaque);
    void (*stop)(void *opaque);
    void (*reset)(void *opaque);
    void (*nmi)(void *opaque);    /* to all CPUs */
    void *opaque;
} CpuControl;
void vm_set_cpu_control(Vm *vm, CpuControl control);

/* -action: what the VM does on these events. */
typedef struct VmActions {
    RebootAction reboot;
    ShutdownAction shutdown;
    PanicAction panic;
    WatchdogAction watchdog;
} VmActions;
VmActions *vm_actions(Vm *vm);

typedef void RunStateFn(void *opaque, bool running, RunState state);
/* Called on each change between running and not. Starting: in order of adding; stopping: reverse. */
void vm_on_run_state(Vm *vm, RunStateFn *fn, void *opaque);
void vm_off_run_state(Vm *vm, RunStateFn *fn, void *opaque);
void vm_on_powerdown(Vm *vm, void (*fn)(void *opaque), void *opaque);
void vm_on_suspend(Vm *vm, void (*fn)(void *opaque), void *opaque);
void vm_on_wakeup(Vm *vm, void (*fn)(void *opaque), void *opaque);
/* Runs when the process is about to end, before the VM is stopped, which waits for what devices do: who may keep them waiting
 * lets go now. */
void vm_on_end(Vm *vm, void (*fn)(void *opaque), void *opaque);
/* Runs at the end of the process, VM stopped, before objects are freed. */
void vm_on_exit(Vm *vm, void (*fn)(void *opaque), void *opaque);
/* Reset hooks of what is no device; devices have Type.reset. Run after the devices. */
void vm_on_reset(Vm *vm, void (*fn)(void *opaque), void *opaque);

#endif
