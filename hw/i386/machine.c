/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hw/i386/machine.h"

#include <stdio.h>

typedef struct Search {
    const char *name;
    const Type *found;
    GPtrArray *names; /* for suggestions */
} Search;

static void look_at(const Type *type, void *opaque)
{
    Search *s = opaque;
    const MachineOps *ops = type->ops;

    if (type->abstract || !ops) {
        return;
    }
    g_ptr_array_add(s->names, (void *)(uintptr_t)ops->name);
    if (ops->alias) {
        g_ptr_array_add(s->names, (void *)(uintptr_t)ops->alias);
    }
    if (s->name ? !strcmp(s->name, ops->name) || !g_strcmp0(s->name, ops->alias) : ops->is_default) {
        s->found = type;
    }
}

const Type *machine_type_find(const char *name, GError **err)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    Search s = {.name = name, .names = names};

    type_foreach("machine", look_at, &s);
    if (s.found) {
        return s.found;
    }
    g_ptr_array_add(names, NULL);
    if (g_str_has_prefix(name, "pc-i440fx-") || g_str_has_prefix(name, "pc-0.") || g_str_has_prefix(name, "pc-1.")) {
        error_set(err,
                  "-machine %s: older versions of the pc machine need compatibility tables that are not there yet; "
                  "use pc-i440fx-7.2 (alias pc)",
                  name);
    } else if (!strcmp(name, "q35") || g_str_has_prefix(name, "pc-q35-")) {
        error_set(err, "-machine %s: the q35 machine is not supported yet; use pc", name);
    } else {
        g_autofree char *hint = suggest_names(name, (const char *const *)names->pdata);
        error_set(err, "-machine %s: unsupported machine type%s; -machine help lists them", name, hint);
    }
    return NULL;
}

Machine *machine_new(Vm *vm, const Type *type, GError **err)
{
    Object *obj = object_new(vm, type, err);
    Object *old = object_child(vm->root, "machine");

    if (!obj) {
        return NULL;
    }
    /* Nothing lives below /machine before the machine does. */
    g_assert(!old || !old->children || !old->children->len);
    if (old) {
        object_unparent(old);
    }
    object_add_child(vm->root, "machine", obj);
    object_unref(obj);
    Machine *machine = (Machine *)(void *)obj;
    machine->vm = vm;
    machine->ops = type->ops;
    vm->machine = machine;
    return machine;
}

static void print_machine(const Type *type, void *opaque)
{
    const MachineOps *ops = type->ops;

    if (type->abstract || !ops) {
        return;
    }
    if (ops->alias) {
        printf("%-20s %s (alias of %s)\n", ops->alias, type->desc, ops->name);
    }
    printf("%-20s %s%s\n", ops->name, type->desc, ops->is_default ? " (default)" : "");
}

void machine_help(void)
{
    printf("Supported machines are:\n");
    type_foreach("machine", print_machine, NULL);
}

/* ---- types ------------------------------------------------------------------------------ */

KILN_TYPE(machine) = {.name = "machine", .parent = "object", .size = sizeof(Machine), .abstract = true};

static bool none_init(Machine *machine, GError **err) { return true; }

static const MachineOps none_ops = {.name = "none", .max_cpus = 1, .init = none_init};

KILN_TYPE(none_machine) = {
    .name = "none-machine",
    .parent = "machine",
    .desc = "empty machine",
    .ops = &none_ops,
};
