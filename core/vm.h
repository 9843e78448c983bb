/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Vm: the one context that is passed down. It owns the object tree, the clocks, the address spaces
 * and the VM lock. Two of them can live in one process.
 *
 * The VM lock: configuration, QMP, the main loop's callbacks and devices run under it. vCPU threads
 * take it for accesses to regions that are not lockless. Nobody waits for another loop while holding
 * it (debug builds check); vm_stop drops it while vCPUs come to rest. It is the outermost lock.
 */
#ifndef CORE_VM_H
#define CORE_VM_H

#include "core/clock.h"
#include "core/device.h"
#include "core/object.h"
#include "core/region.h"
#include "core/runstate.h"
#include "util/lock.h"
#include "util/loop.h"

typedef struct AccelOps AccelOps;
typedef struct Accel Accel;
typedef struct Cpu Cpu;
typedef struct Machine Machine;
typedef struct VmClocks VmClocks;
typedef struct VmEvents VmEvents;
typedef struct VmRun VmRun;
typedef struct VmStates VmStates;

/* -global driver.property=value, and machine compatibility defaults. */
typedef struct GlobalProp {
    const char *driver, *property, *value;
    bool from_user; /* a refused one is an error; compatibility values are ours */
    bool used;
} GlobalProp;

struct Vm {
    Object *root;            /* "/" */
    Loop *loop;              /* the main loop */
    Lock lock;
    VmClocks *clocks;        /* core/clock.c */
    VmEvents *events;        /* core/event.c */
    VmRun *run;              /* core/runstate.c */
    VmStates *states;        /* core/state.c */
    unsigned region_depth;   /* core/region.c: open region_begin pairs */
    bool region_changed;
    GSList *address_spaces;
    GArray *globals;         /* GlobalProp, strings owned by the command line; later wins */
    GPtrArray *devices;      /* realized Device *, in order */

    AddressSpace memory;     /* what CPUs see (SMM aside) */
    AddressSpace io;         /* ports */
    Region system_memory;    /* root of memory */
    Region system_io;        /* root of io, 64 KiB */
    uint64_t ram_size;

    Accel *accel;            /* accel/: set before the machine is made */
    Machine *machine;        /* hw/i386/: set by machine creation */
    const HotplugOps *board_hotplug; /* for devices of no bus; NULL: what the machine makes is all */
    void *board_hotplug_opaque;
    GPtrArray *cpus;         /* Cpu *, by index; accel/ */
    struct CpuConfig *cpu_config; /* accel/x86: -cpu, topology, host CPUID; NULL until asked */
    struct BlockState *block;     /* block/: NULL until the first back end */
    struct CharState *chardevs;   /* chardev/: NULL until the first */
    struct InputState *input;     /* ui/: NULL until the first device */
    struct NetState *net;         /* net/: NULL until the first */
    struct MonitorState *monitors; /* monitor/: NULL until the first */
    void (*hear)(struct Vm *vm);  /* monitor/: commands that cut waits short; asked now and then by whoever waits long with the VM lock; NULL: nobody */
    GPtrArray *own_iothreads;     /* backends/iothread.c: NULL until the first */
    struct DumpState *dump;       /* dump/: NULL until the first */
    GArray *fdsets;               /* core/fdset.c; NULL while there is none */

    /* Options that many look at. */
    char *name;              /* -name; NULL: none */
    uint8_t uuid[16];
    bool has_uuid;
    bool no_hpet, no_acpi;
    GPtrArray *data_dirs;    /* -L, char *, in order; NULL: none given */
    bool autostart;          /* no -S */
    bool qtest;              /* the accelerator is qtest */
};

/* A VM with its loop, clocks and empty address spaces. Held lock: yes (the caller has the VM lock). */
Vm *vm_new(GError **err);
/* Unrealizes, frees everything. Called with the lock held. */
void vm_free(Vm *vm);

void vm_lock_at(Vm *vm, const char *where);
#define vm_lock(vm) vm_lock_at(vm, LOCK_HERE)
/* False: another thread has it, and this one did not wait. */
bool vm_try_lock(Vm *vm);
void vm_unlock(Vm *vm);
/* Does this thread hold it? */
bool vm_locked(const Vm *vm);

/* ---- reading guest state in the main thread ---------------------------------------------- */

/* Runs the main loop until a request ends the process; returns the exit status. Lock held on entry
 * and return, dropped while waiting. */
int vm_main_loop(Vm *vm);

#endif
