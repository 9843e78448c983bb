/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/vm.h"

#include <urcu-bp.h>

#include "core/fdset.h"
#include "core/vm_internal.h"

/* Which VM's lock this thread holds: a thread works for one VM at a time. */
static __thread const Vm *locked_vm;

/* Longer than a VM should stand still; a build with checks on a busy machine is slow. */
#define LOCK_LIMIT_NS (5 * NSEC_PER_SEC)

void vm_lock_at(Vm *vm, const char *where)
{
    lock_acquire_at(&vm->lock, where);
    locked_vm = vm;
}

bool vm_try_lock(Vm *vm)
{
    if (!lock_try_at(&vm->lock, LOCK_HERE)) {
        return false;
    }
    locked_vm = vm;
    return true;
}

void vm_unlock(Vm *vm)
{
    locked_vm = NULL;
    lock_release(&vm->lock);
}

bool vm_locked(const Vm *vm) { return locked_vm == vm; }

static void guard_lock(void *opaque) { vm_lock(opaque); }
static void guard_unlock(void *opaque) { vm_unlock(opaque); }

Vm *vm_new(GError **err)
{
    Loop *loop = loop_new("main", err);

    if (!loop) {
        return NULL;
    }
    Vm *vm = g_new0(Vm, 1);
    lock_init(&vm->lock, "VM", LOCK_RANK_VM);
    lock_limit_hold(&vm->lock, LOCK_LIMIT_NS);
    vm->loop = loop;
    loop_set_guard(loop, (LoopGuard){guard_lock, guard_unlock, vm});
    vm_lock(vm);
    vm->globals = g_array_new(false, false, sizeof(GlobalProp));
    vm->devices = g_ptr_array_new();
    vm->cpus = g_ptr_array_new();
    vm->autostart = true;
    vm->root = object_new(vm, type_find("container"), NULL);
    vm_clocks_init(vm);
    vm_events_init(vm);
    vm_run_init(vm);
    region_init_container(&vm->system_memory, "system", UINT64_MAX);
    region_init_container(&vm->system_io, "io", 0x10000);
    address_space_init(&vm->memory, vm, &vm->system_memory, "memory");
    address_space_init(&vm->io, vm, &vm->system_io, "I/O");
    vm->io.is_io = true;
    return vm;
}

static void release_device(gpointer dev, gpointer unused) { object_unref(dev); }

void vm_free(Vm *vm)
{
    if (!vm) {
        return;
    }
    vm_run_exit(vm);
    region_begin(vm); /* nobody is told of a house that is being torn down */
    /* Devices hold the regions that are in the tree: they go after it. */
    GPtrArray *held = g_ptr_array_new();
    for (unsigned i = 0; i < vm->devices->len; i++) {
        g_ptr_array_add(held, object_ref(g_ptr_array_index(vm->devices, i)));
    }
    while (vm->devices->len) {
        device_unrealize(g_ptr_array_index(vm->devices, vm->devices->len - 1));
    }
    address_space_destroy(&vm->memory);
    address_space_destroy(&vm->io);
    region_destroy(&vm->system_memory);
    region_destroy(&vm->system_io);
    g_ptr_array_foreach(held, release_device, NULL);
    g_ptr_array_free(held, true);
    object_unref(vm->root);
    vm->region_changed = false;
    vm->region_depth = 0;
    fdset_cleanup(vm);
    vm_states_free(vm);
    vm_run_free(vm);
    vm_events_free(vm);
    vm_clocks_free(vm);
    g_array_free(vm->globals, true);
    g_ptr_array_free(vm->devices, true);
    g_ptr_array_free(vm->cpus, true);
    vm_unlock(vm);
    loop_free(vm->loop);
    lock_destroy(&vm->lock);
    g_free(vm->name);
    g_free(vm);
}
