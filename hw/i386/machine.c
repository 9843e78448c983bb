/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hw/i386/machine.h"

#include <stdio.h>

#include "backends/memory.h"

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
                  "older versions of the pc machine need compatibility tables that are not there yet; "
                  "use pc-i440fx-7.2 (alias pc)");
    } else if (!strcmp(name, "q35") || g_str_has_prefix(name, "pc-q35-")) {
        error_set(err, "the q35 machine is not supported yet; use pc");
    } else {
        g_autofree char *hint = suggest_names(name, (const char *const *)names->pdata);
        error_set(err, "unsupported machine type%s; -machine help lists them", hint);
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
    object_container(obj, "peripheral"); /* managers list them even when they are empty */
    object_container(obj, "peripheral-anon");
    object_container(obj, "unattached");
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

static json_object *get_backend(Object *obj, const Property *prop, const void *field)
{
    const Machine *machine = (Machine *)(void *)obj;
    g_autofree char *path = machine->ram_backend ? object_path(machine->ram_backend) : NULL;

    return json_object_new_string(path ? path : "");
}

static bool set_backend(Object *obj, const Property *prop, void *field, const char *text, GError **err)
{
    return prop_kind_string.set(obj, prop, field, text, err);
}

static void release_backend(Object *obj, const Property *prop, void *field) { g_clear_pointer((char **)field, g_free); }

/* An id, looked up when the objects are there. */
static const PropKind prop_kind_backend = {
    .type = "link<memory-backend>", .json = json_type_string, .set = set_backend, .get = get_backend,
    .release = release_backend};

/* What managers turn off by name although it is not there: turning it on is refused. */
static bool set_absent(Object *obj, const Property *prop, void *field, const char *text, GError **err)
{
    bool on = false;

    return prop_kind_bool.set(obj, prop, &on, text, err) &&
           (!on || error_set(err, "'%s' is not supported yet; leave it out or turn it off", prop->name));
}

static json_object *get_absent(Object *obj, const Property *prop, const void *field)
{
    return json_object_new_boolean(false);
}

static const PropKind prop_kind_absent = {
    .type = "bool", .json = json_type_boolean, .set = set_absent, .get = get_absent};

static void machine_finalize(Object *obj)
{
    Machine *machine = (Machine *)(void *)obj;

    if (machine->ram_backend) {
        memory_backend_release(machine->ram_backend);
    }
}

static const Property machine_props[] = {
    PROP_ANY("memory-backend", &prop_kind_backend, Machine, memory_backend, .help = "id of the back end of its RAM"),
    PROP_BOOL("mem-merge", Machine, mem_merge, .def = true, .help = "let the kernel merge equal pages of guests"),
    PROP_BOOL("dump-guest-core", Machine, dump_guest_core, .def = true,
              .help = "guest memory is part of the emulator's core dump"),
    PROP_ANY("usb", &prop_kind_absent, Machine, obj, .help = "only off: there is no USB yet"),
    PROP_ANY("nvdimm", &prop_kind_absent, Machine, obj, .help = "only off: there are no NVDIMMs yet"),
    PROP_BOOL("hmat", Machine, hmat, .help = "ACPI's table of how fast memory is (-numa hmat-lb, hmat-cache, initiator=)"),
    PROP_ANY("suppress-vmdesc", &prop_kind_absent, Machine, obj, .help = "only off: streams describe themselves"),
    {}};

KILN_TYPE(machine) = {
    .name = "machine",
    .parent = "object",
    .size = sizeof(Machine),
    .abstract = true,
    .props = machine_props,
    .finalize = machine_finalize,
};

static bool none_init(Machine *machine, GError **err) { return true; }

static const MachineOps none_ops = {.name = "none", .max_cpus = 1, .init = none_init};

KILN_TYPE(none_machine) = {
    .name = "none-machine",
    .parent = "machine",
    .desc = "empty machine",
    .ops = &none_ops,
};
