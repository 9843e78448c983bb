/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What all accelerators share: making one by name, and the joints to core (run state) and to the
 * user-space I/O APIC. A type "NAME-accel" has parent "accel" and ops = AccelOps.
 */
#include "accel/accel.h"

static __thread Cpu *current_cpu;

Cpu *cpu_current(void) { return current_cpu; }
void cpu_set_current(Cpu *cpu) { current_cpu = cpu; }

/* ---- core asks the vCPUs ------------------------------------------------------------------- */

static void start_cpus(void *opaque) { ((Accel *)opaque)->ops->cpus_start(opaque); }
static void stop_cpus(void *opaque) { ((Accel *)opaque)->ops->cpus_stop(opaque); }
static void reset_cpus(void *opaque) { ((Accel *)opaque)->ops->cpus_reset(opaque); }

/* ---- making one ------------------------------------------------------------------------------ */

static void collect_name(const Type *type, void *opaque)
{
    if (!type->abstract) {
        char *name = g_strndup(type->name, strlen(type->name) - strlen("-accel"));

        g_ptr_array_add(opaque, name);
    }
}

static void nmi_cpus(void *opaque)
{
    Accel *accel = opaque;

    if (accel->vm->cpus->len) {
        accel->ops->inject_nmi(accel, NULL);
    }
}

/* QEMU's others. In a list of several they are passed over. */
static const char *const foreign_accels[] = {"tcg", "xen", "hax", "hvf", "nvmm", "whpx", NULL};

static bool unknown_accel(const char *name, GError **err)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *list = NULL, *near = NULL;

    if (g_strv_contains(foreign_accels, name)) {
        return error_set(err, "-accel %s: Kiln runs guests with KVM only; use -accel kvm", name);
    }
    type_foreach("accel", collect_name, names);
    g_ptr_array_add(names, NULL);
    list = g_strjoinv(", ", (char **)names->pdata);
    near = suggest_names(name, (const char *const *)names->pdata);
    return error_set(err, "-accel %s: invalid accelerator %s%s; there are: %s", name, name, near,
                     list);
}

bool accel_name_check(const char *name, GError **err)
{
    g_autofree char *type_name = g_strconcat(name, "-accel", NULL);
    const Type *type = type_find(type_name);

    return (type && !type->abstract && type_is_a(type, "accel")) || g_strv_contains(foreign_accels, name) || unknown_accel(name, err);
}

bool accel_create(Vm *vm, const char *name, const char *const *options, GError **err)
{
    g_autofree char *type_name = g_strconcat(name, "-accel", NULL);
    const Type *type = type_find(type_name);
    Object *obj;
    Accel *accel;

    if (!type || type->abstract || !type_is_a(type, "accel")) {
        return unknown_accel(name, err);
    }
    obj = object_new(vm, type, err);
    if (!obj) {
        return false;
    }
    accel = container_of(obj, Accel, obj);
    accel->ops = type_ops(type);
    accel->vm = vm;
    for (; options && options[0]; options += 2) {
        if (!object_set(obj, options[0], options[1], err)) {
            g_prefix_error(err, "-accel %s: ", name);
            object_unref(obj);
            return false;
        }
    }
    vm->accel = accel;
    if (!accel->ops->init(accel, err)) {
        vm->accel = NULL;
        object_unref(obj);
        return false;
    }
    vm_set_cpu_control(vm, (CpuControl){
                               .start = start_cpus,
                               .stop = stop_cpus,
                               .reset = reset_cpus,
                               .nmi = nmi_cpus,
                               .opaque = accel,
                           });
    object_add_child(vm->root, "accel", obj); /* which frees it with the VM */
    object_unref(obj);
    return true;
}

void accel_ioapic_route(Vm *vm, unsigned pin, MsiMessage msi, bool masked)
{
    if (vm->accel->ops->ioapic_route) {
        vm->accel->ops->ioapic_route(vm->accel, pin, msi, masked);
    }
}

KILN_TYPE(accel) = {
    .name = "accel",
    .parent = "object",
    .desc = "accelerator",
    .abstract = true,
    .size = sizeof(Accel),
};
