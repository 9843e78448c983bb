/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Run state, with QEMU's names, and the requests that change it. vm_request_* may come from any
 * thread and take effect in the main loop; the first request that ends the process wins.
 */
#ifndef CORE_RUNSTATE_H
#define CORE_RUNSTATE_H

#include <glib.h>
#include <stdbool.h>

typedef struct Vm Vm;

typedef enum RunState {
    RUN_STATE_DEBUG,
    RUN_STATE_INMIGRATE,
    RUN_STATE_INTERNAL_ERROR,
    RUN_STATE_IO_ERROR,
    RUN_STATE_PAUSED,
    RUN_STATE_POSTMIGRATE,
    RUN_STATE_PRELAUNCH,
    RUN_STATE_FINISH_MIGRATE,
    RUN_STATE_RESTORE_VM,
    RUN_STATE_RUNNING,
    RUN_STATE_SAVE_VM,
    RUN_STATE_SHUTDOWN,
    RUN_STATE_SUSPENDED,
    RUN_STATE_WATCHDOG,
    RUN_STATE_GUEST_PANICKED,
    RUN_STATE_COLO,
} RunState;

typedef enum ShutdownCause {
    SHUTDOWN_CAUSE_NONE,
    SHUTDOWN_CAUSE_HOST_ERROR,
    SHUTDOWN_CAUSE_HOST_QMP_QUIT,
    SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET,
    SHUTDOWN_CAUSE_HOST_SIGNAL,
    SHUTDOWN_CAUSE_HOST_UI,
    SHUTDOWN_CAUSE_GUEST_SHUTDOWN,
    SHUTDOWN_CAUSE_GUEST_RESET,   /* by a port, ACPI or the keyboard controller */
    SHUTDOWN_CAUSE_GUEST_PANIC,
    SHUTDOWN_CAUSE_SUBSYSTEM_RESET,
} ShutdownCause;

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
void vm_request_wakeup(Vm *vm);
/* The guest said that it panicked (pvpanic, crash exits): what -action panic= says happens. */
void vm_request_panic(Vm *vm);
/* Stops the VM in this state at the next turn of the main loop (internal-error, io-error, ...). */
void vm_request_stop(Vm *vm, RunState state);

/* Has something asked for the end of the process? Whoever waits during start-up looks here. */
bool vm_end_requested(const Vm *vm);

/* ---- main thread, VM lock ----------------------------------------------------------- */

/* vCPUs stop at once (waited for), clocks stop, notifiers run. */
void vm_stop(Vm *vm, RunState state);
/* Back to running. Refused (false, *err) in a state that needs a reset first. */
bool vm_start(Vm *vm, GError **err);
/* Resets all devices, then the CPUs, with vCPUs paused meanwhile. */
void vm_reset(Vm *vm, ShutdownCause cause);

/* How run state reaches the CPUs; set by the accelerator. stop waits until all have come to rest. */
typedef struct CpuControl {
    void (*start)(void *opaque);
    void (*stop)(void *opaque);
    void (*reset)(void *opaque);
    void *opaque;
} CpuControl;
void vm_set_cpu_control(Vm *vm, CpuControl control);

/* -action: what the VM does on these events. */
typedef enum RebootAction { REBOOT_RESET, REBOOT_SHUTDOWN } RebootAction;
typedef enum ShutdownAction { SHUTDOWN_POWEROFF, SHUTDOWN_PAUSE } ShutdownAction;
typedef enum PanicAction { PANIC_PAUSE, PANIC_SHUTDOWN, PANIC_EXIT_FAILURE, PANIC_NONE } PanicAction;
typedef struct VmActions {
    RebootAction reboot;
    ShutdownAction shutdown;
    PanicAction panic;
} VmActions;
VmActions *vm_actions(Vm *vm);

typedef void RunStateFn(void *opaque, bool running, RunState state);
/* Called on each change between running and not. Starting: in order of adding; stopping: reverse. */
void vm_on_run_state(Vm *vm, RunStateFn *fn, void *opaque);
void vm_off_run_state(Vm *vm, RunStateFn *fn, void *opaque);
void vm_on_powerdown(Vm *vm, void (*fn)(void *opaque), void *opaque);
void vm_on_suspend(Vm *vm, void (*fn)(void *opaque), void *opaque);
void vm_on_wakeup(Vm *vm, void (*fn)(void *opaque), void *opaque);
/* Runs at the end of the process, VM stopped, before objects are freed. */
void vm_on_exit(Vm *vm, void (*fn)(void *opaque), void *opaque);
/* Reset hooks of what is no device; devices have Type.reset. Run after the devices. */
void vm_on_reset(Vm *vm, void (*fn)(void *opaque), void *opaque);

#endif
