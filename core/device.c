/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/device.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/device_names.h"
#include "core/event.h"
#include "core/vm.h"
#include "qapi/qapi-qom.h"
#include "util/log.h"
#include "util/module.h"

/* ---- making --------------------------------------------------------------------------- */

static void device_init(Object *obj)
{
    Device *dev = (Device *)(void *)obj;

    dev->vm = obj->vm;
    dev->state_instance = -1;
    dev->dma_as = obj->vm ? &obj->vm->memory : NULL;
}

static void device_finalize(Object *obj)
{
    Device *dev = (Device *)(void *)obj;

    g_free(dev->id);
    g_free(dev->irq_in);
    if (dev->buses) {
        g_ptr_array_free(dev->buses, true);
    }
}

Device *device_new(Vm *vm, const char *type_name)
{
    g_autoptr(GError) err = NULL;
    const Type *type = type_load(type_name, &err);

    if (!type && !err) {
        g_error("type '%s' is not built in", type_name);
    }
    Object *obj = type ? object_new(vm, type, &err) : NULL;
    if (!obj) {
        report_error("%s", err->message);
        exit(1);
    }
    return (Device *)(void *)obj;
}

static void collect_user_type(const Type *type, void *opaque)
{
    if (!type->abstract && !type_not_user(type)) {
        g_ptr_array_add(opaque, (void *)type->name);
    }
}

/* Types of QEMU's whose absence needs more than "no such type". */
static const char *why_absent(const char *type_name)
{
    return strcmp(type_name, "nvdimm") ? NULL : "persistent memory is not supported; pc-dimm is memory that can be plugged in";
}

Device *device_new_user(Vm *vm, const char *type_name, GError **err)
{
    GError *why = NULL;
    const Type *type = type_load(device_full_name(type_name), &why);

    if (why) {
        g_propagate_error(err, why);
        return NULL;
    }
    if (why_absent(type_name)) {
        error_set(err, "'%s' cannot be made with -device: %s", type_name, why_absent(type_name));
        return NULL;
    }
    if (!type && device_error_qemu_only(type_name, err)) {
        return NULL;
    }
    if (!type || !type_is_a(type, "device")) {
        g_autoptr(GPtrArray) names = g_ptr_array_new();

        module_load_all();
        type_foreach("device", collect_user_type, names);
        g_ptr_array_add(names, NULL);
        g_autofree char *hint = suggest_names(type_name, (const char *const *)names->pdata);
        error_set(err, "'%s' is not a valid device model name%s; -device help lists them", type_name, hint);
        return NULL;
    }
    if (type->abstract || type_not_user(type)) {
        error_set(err, "'%s' cannot be made with -device: %s", type_name,
                  type->abstract ? "it is an abstract type" : type_not_user(type));
        return NULL;
    }
    return (Device *)(void *)object_new(vm, type, err);
}

/* ---- realize ---------------------------------------------------------------------------- */

static void state_add(Device *dev)
{
    const StateDesc *desc = type_state(dev->obj.type);

    if (desc) {
        const BusOps *ops = dev->bus ? type_ops(dev->bus->obj.type) : NULL;
        g_autofree char *path = ops && ops->state_path ? ops->state_path(dev->bus, dev) : NULL;
        const char *name = dev->state_name ? dev->state_name : desc->name;
        g_autofree char *full = path ? g_strdup_printf("%s/%s", path, name) : NULL;

        dev->state_instance = state_register(dev->vm, full ? full : name, dev->state_instance, desc, dev);
    }
}

/* Root to leaf; on failure what was realized above is undone. */
static bool realize_chain(Device *dev, const Type *type, GError **err)
{
    const Type *parent = type_parent(type);

    if (parent && !realize_chain(dev, parent, err)) {
        return false;
    }
    if (type->realize && !type->realize(dev, err)) {
        for (; parent; parent = type_parent(parent)) {
            if (parent->unrealize) {
                parent->unrealize(dev);
            }
        }
        return false;
    }
    return true;
}

static bool plug(Device *dev, Bus *bus, GError **err)
{
    const BusOps *ops = type_ops(bus->obj.type);

    if (ops && ops->max_devices && bus->devices && bus->devices->len >= ops->max_devices) {
        return error_set(err, "Bus '%s' is full: it takes %u device%s", bus->obj.name, ops->max_devices,
                         ops->max_devices == 1 ? "" : "s");
    }
    dev->bus = bus;
    if (ops && ops->plug && !ops->plug(bus, dev, err)) {
        dev->bus = NULL;
        return false;
    }
    if (!bus->devices) {
        bus->devices = g_ptr_array_new();
    }
    g_ptr_array_add(bus->devices, dev);
    return true;
}

static void unplug(Device *dev)
{
    const BusOps *ops = dev->bus ? type_ops(dev->bus->obj.type) : NULL;

    if (dev->bus) {
        if (ops && ops->unplug) {
            ops->unplug(dev->bus, dev);
        }
        g_ptr_array_remove(dev->bus->devices, dev);
        dev->bus = NULL;
    }
}

bool device_realize(Device *dev, Bus *bus, GError **err)
{
    bool placed = false;

    g_assert(!dev->realized);
    if (bus && !plug(dev, bus, err)) {
        return false;
    }
    if (!dev->obj.parent) {
        Object *machine = object_container(dev->vm->root, "machine");

        object_add_child(object_container(machine, "unattached"), "device[*]", &dev->obj);
        placed = true;
    }
    region_begin(dev->vm);
    bool ok = realize_chain(dev, dev->obj.type, err);
    region_commit(dev->vm);
    if (!ok) {
        unplug(dev);
        if (placed) {
            object_unparent(&dev->obj);
        }
        return false;
    }
    dev->realized = true;
    state_add(dev);
    g_ptr_array_add(dev->vm->devices, dev);
    object_unref(dev); /* the tree holds it */
    return true;
}

bool device_realize_board(Device *dev, const char *name, Bus *bus, GError **err)
{
    if (name) {
        object_add_child(object_container(dev->vm->root, "machine"), name, &dev->obj);
    }
    if (!device_realize(dev, bus, err)) {
        object_unparent(&dev->obj);
        object_unref(dev);
        return false;
    }
    return true;
}

static void tell_deleted(const Device *dev)
{
    g_autofree char *path = object_path(dev);
    DeviceDeletedEvent event = {.device = dev->id, .path = path};

    vm_emit_event(dev->vm, &qapi_event_DEVICE_DELETED, &event);
}

void device_unrealize(Device *dev)
{
    if (!dev->realized) {
        return;
    }
    for (const Type *t = dev->obj.type; t; t = type_parent(t)) {
        if (t->leave) {
            t->leave(dev);
        }
    }
    for (unsigned b = 0; dev->buses && b < dev->buses->len; b++) {
        Bus *bus = g_ptr_array_index(dev->buses, b);

        while (bus->devices && bus->devices->len) {
            device_unrealize(g_ptr_array_index(bus->devices, bus->devices->len - 1));
        }
    }
    state_unregister(dev->vm, dev);
    region_begin(dev->vm);
    for (const Type *t = dev->obj.type; t; t = type_parent(t)) {
        if (t->unrealize) {
            t->unrealize(dev);
        }
    }
    region_commit(dev->vm);
    unplug(dev);
    g_ptr_array_remove(dev->vm->devices, dev);
    dev->realized = false;
    tell_deleted(dev);
    object_unparent(&dev->obj);
}

static void reset_chain(Device *dev, const Type *type)
{
    const Type *parent = type_parent(type);

    if (parent) {
        reset_chain(dev, parent);
    }
    if (type->reset) {
        type->reset(dev);
    }
}

void device_reset(Device *dev) { reset_chain(dev, dev->obj.type); }

Device *device_find(Vm *vm, const char *id)
{
    for (unsigned i = 0; i < vm->devices->len; i++) {
        Device *dev = g_ptr_array_index(vm->devices, i);

        if (dev->id && !strcmp(dev->id, id)) {
            return dev;
        }
    }
    return NULL;
}

/* ---- pins ---------------------------------------------------------------------------------- */

void device_init_irq_in(Device *dev, IrqHandler *handler, void *opaque, unsigned n)
{
    unsigned first = dev->n_irq_in;

    /* Pins are pointed at once they are given out, so all of them are made before. */
    g_assert(first == 0 || !dev->realized);
    dev->irq_in = g_renew(Irq, dev->irq_in, first + n);
    for (unsigned i = 0; i < n; i++) {
        irq_init(&dev->irq_in[first + i], handler, opaque, i);
    }
    dev->n_irq_in = first + n;
}

void device_init_irq_out(Device *dev, Irq **slots, unsigned n)
{
    dev->irq_out = slots;
    dev->n_irq_out = n;
}

Irq *device_irq_in(Device *dev, unsigned n)
{
    g_assert(n < dev->n_irq_in);
    return &dev->irq_in[n];
}

void device_connect(Device *dev, unsigned n, Irq *irq)
{
    g_assert(n < dev->n_irq_out);
    dev->irq_out[n] = irq;
}

/* ---- guest errors ------------------------------------------------------------------------------ */

#define GUEST_ERRORS_PER_SECOND 10

void guest_error(Device *dev, const char *fmt, ...)
{
    va_list ap;
    char text[256];

    if (!log_enabled(LOG_GUEST_ERRORS)) {
        return;
    }
    int64_t now = clock_monotonic_ns();
    if (now - dev->guest_error_since > NSEC_PER_SEC) {
        dev->guest_error_since = now;
        dev->guest_errors = 0;
    }
    if (dev->guest_errors++ >= GUEST_ERRORS_PER_SECOND) {
        return;
    }
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    g_autofree char *path = object_path(dev);
    log_printf("guest error: %s (%s): %s\n", dev->obj.type->name, dev->id ? dev->id : path, text);
}

/* ---- buses ---------------------------------------------------------------------------------------- */

static void bus_place(Bus *bus, Vm *vm, Device *owner, const char *name)
{
    bus->owner = owner;
    if (owner) {
        object_add_child(&owner->obj, name, &bus->obj);
        if (!owner->buses) {
            owner->buses = g_ptr_array_new();
        }
        g_ptr_array_add(owner->buses, bus);
    } else {
        Object *machine = object_container(vm->root, "machine");

        object_add_child(object_container(machine, "unattached"), name, &bus->obj);
    }
}

Bus *bus_new(Vm *vm, const char *type_name, Device *owner, const char *name)
{
    const Type *type = type_find(type_name);

    g_assert(type && type_is_a(type, "bus"));
    Bus *bus = (Bus *)(void *)object_new(vm, type, NULL);
    bus_place(bus, vm, owner, name);
    object_unref(bus); /* the tree holds it */
    return bus;
}

void bus_init_embedded(Bus *bus, Vm *vm, const char *type_name, Device *owner, const char *name)
{
    object_init_embedded(&bus->obj, vm, type_name);
    bus_place(bus, vm, owner, name);
}

static void bus_finalize(Object *obj)
{
    Bus *bus = (Bus *)(void *)obj;

    if (bus->devices) {
        g_ptr_array_free(bus->devices, true);
    }
}

/* By name, or any of the type that no device provides. */
static Bus *bus_search(Object *from, const char *name, const char *type_name)
{
    for (unsigned i = 0; from->children && i < from->children->len; i++) {
        Object *child = g_ptr_array_index(from->children, i);
        Bus *below;

        if (object_is_a(child, type_name) &&
            (name ? !strcmp(child->name, name) : !((Bus *)(void *)child)->owner)) {
            return (Bus *)(void *)child;
        }
        below = bus_search(child, name, type_name);
        if (below) {
            return below;
        }
    }
    return NULL;
}

Bus *bus_find(Vm *vm, const char *name) { return bus_search(vm->root, name, "bus"); }

static bool bus_has_room(const Bus *bus)
{
    const BusOps *ops = type_ops(bus->obj.type);

    return !ops || !ops->max_devices || !bus->devices || bus->devices->len < ops->max_devices;
}

/* Depth first, a bus before what is plugged into it, the latest of neighbours first. */
static Bus *bus_search_type(Device *dev, const char *type_name)
{
    for (unsigned i = dev->buses ? dev->buses->len : 0; i-- > 0;) {
        Bus *bus = g_ptr_array_index(dev->buses, i);

        if (object_is_a(bus, type_name) && bus_has_room(bus)) {
            return bus;
        }
        for (unsigned n = bus->devices ? bus->devices->len : 0; n-- > 0;) {
            Bus *below = bus_search_type(g_ptr_array_index(bus->devices, n), type_name);

            if (below) {
                return below;
            }
        }
    }
    return NULL;
}

Bus *bus_find_by_type(Vm *vm, const char *type_name)
{
    Bus *found = NULL;

    for (unsigned i = vm->devices->len; i-- > 0 && !found;) {
        Device *dev = g_ptr_array_index(vm->devices, i);

        found = dev->bus ? NULL : bus_search_type(dev, type_name);
    }
    return found ? found : bus_search(vm->root, NULL, type_name);
}

/* ---- types ------------------------------------------------------------------------------------------ */

static json_object *get_parent_bus(Object *obj, const Property *prop, const void *field)
{
    const Device *dev = (Device *)(void *)obj;
    g_autofree char *path = dev->bus ? object_path(dev->bus) : NULL;

    return json_object_new_string(path ? path : "");
}
static const PropKind prop_kind_parent_bus = {.type = "link<bus>", .json = json_type_string, .get = get_parent_bus};

static json_object *get_hotpluggable(Object *obj, const Property *prop, const void *field)
{
    Device *dev = (Device *)(void *)obj;
    const HotplugOps *board = dev->vm ? dev->vm->board_hotplug : NULL;

    return json_object_new_boolean(dev->bus ? dev->bus->hotplug != NULL
                                            : board && board->may_plug(dev->vm->board_hotplug_opaque, dev, NULL));
}
static const PropKind prop_kind_hotpluggable = {.type = "bool", .json = json_type_boolean, .get = get_hotpluggable};

static const Property device_props[] = {
    PROP_ANY("parent_bus", &prop_kind_parent_bus, Device, bus, .read_only = true, .help = "where it is plugged in"),
    PROP_BOOL("realized", Device, realized, .read_only = true, .help = "it is complete"),
    PROP_BOOL("hotplugged", Device, hotplugged, .read_only = true, .help = "it came while the VM lived"),
    PROP_ANY("hotpluggable", &prop_kind_hotpluggable, Device, bus, .read_only = true, .help = "it may go while the VM lives"),
    {}};

KILN_TYPE(device) = {
    .name = "device",
    .props = device_props,
    .parent = "object",
    .size = sizeof(Device),
    .abstract = true,
    .init = device_init,
    .finalize = device_finalize,
};

KILN_TYPE(bus) = {
    .name = "bus",
    .parent = "object",
    .size = sizeof(Bus),
    .abstract = true,
    .finalize = bus_finalize,
};
