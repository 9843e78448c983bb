/* SPDX-License-Identifier: GPL-2.0-or-later */
/* HMP: what the machine is and how it is doing. */
#include "core/region.h"
#include "accel/accel.h"
#include "monitor/hmp_internal.h"
#include "monitor/internal.h"

static void info_status(HmpCall *call)
{
    RunState state = vm_run_state(call->vm);
    bool running = run_state_is_running(state);

    hmp_printf(call, "VM status: %s", running ? "running" : "paused");
    if (!running && state != RUN_STATE_PAUSED) {
        hmp_printf(call, " (%s)", run_state_name(state));
    }
    hmp_printf(call, "\n");
}

static void info_version(HmpCall *call) { hmp_printf(call, "7.2.22 (Kiln %s)\n", KILN_VERSION); }

static void info_name(HmpCall *call)
{
    if (call->vm->name) {
        hmp_printf(call, "%s\n", call->vm->name);
    }
}

static void info_uuid(HmpCall *call)
{
    g_autofree char *text = monitor_uuid_text(call->vm);

    hmp_printf(call, "%s\n", text);
}

static void info_kvm(HmpCall *call)
{
    bool enabled = call->vm->accel && !strcmp(call->vm->accel->ops->name, "kvm");

    hmp_printf(call, "kvm support: %s\n", enabled ? "enabled" : "disabled");
}

/* ---- the device tree --------------------------------------------------------------------- */

static void print_bus(HmpCall *call, const Bus *bus, int indent);

typedef struct PropertyPrinter {
    HmpCall *call;
    Device *dev;
    int indent;
} PropertyPrinter;

static void print_property(const Type *owner, const Property *prop, void *opaque)
{
    PropertyPrinter *p = opaque;
    json_object *value;

    if (prop->read_only || !prop->kind->get) {
        return;
    }
    value = object_get(&p->dev->obj, prop->name, NULL);
    hmp_printf(p->call, "%*s%s = %s\n", p->indent, "", prop->name,
               value ? json_object_to_json_string_ext(value, JSON_C_TO_STRING_NOSLASHESCAPE) : "null");
    json_object_put(value);
}

static void print_device(HmpCall *call, Device *dev, int indent)
{
    PropertyPrinter printer = {call, dev, indent + 2};

    hmp_printf(call, "%*sdev: %s, id \"%s\"\n", indent, "", dev->obj.type->name, dev->id ? dev->id : "");
    type_foreach_property(dev->obj.type, print_property, &printer);
    for (unsigned i = 0; dev->buses && i < dev->buses->len; i++) {
        print_bus(call, dev->buses->pdata[i], indent + 2);
    }
}

static void print_bus(HmpCall *call, const Bus *bus, int indent)
{
    hmp_printf(call, "%*sbus: %s\n%*stype %s\n", indent, "", bus->obj.name ? bus->obj.name : "", indent + 2, "",
               bus->obj.type->name);
    for (unsigned i = 0; bus->devices && i < bus->devices->len; i++) {
        print_device(call, bus->devices->pdata[i], indent + 2);
    }
}

/* Devices of the board that stand on no bus come first, then what hangs on their buses. */
static void info_qtree(HmpCall *call)
{
    hmp_printf(call, "bus: main-system-bus\n  type System\n");
    for (unsigned i = 0; i < call->vm->devices->len; i++) {
        Device *dev = call->vm->devices->pdata[i];

        if (!dev->bus) {
            print_device(call, dev, 2);
        }
    }
}

/* ---- memory ------------------------------------------------------------------------------- */

/* -d: the table that finds an access's region. It is one array here, sorted by address. */
static void print_dispatch(HmpCall *call, AddressSpace *as)
{
    const FlatView *view = address_space_view(as);

    hmp_printf(call, "  Dispatch\n    Physical sections\n");
    for (unsigned i = 0; i < view->count; i++) {
        const FlatRange *range = &view->ranges[i];

        hmp_printf(call, "      #%u @%016" PRIx64 "..%016" PRIx64 " %s\n", i, range->start, range->end - 1, range->region->name);
    }
}

static void print_flat(HmpCall *call, unsigned flags)
{
    bool dispatch = hmp_bool(call->args, "-d");
    unsigned n = 0;

    for (const GSList *l = call->vm->address_spaces; l; l = l->next) {
        AddressSpace *as = l->data;
        g_autoptr(GString) text = g_string_new(NULL);

        address_space_print(as, flags, text);
        hmp_printf(call, "FlatView #%u\n AS \"%s\", root: %s\n Root memory region: %s\n", n++, as->name,
                   as->root->name, text->len ? as->root->name : "(none)");
        g_auto(GStrv) lines = g_strsplit(text->len ? text->str : "No rendered FlatView", "\n", -1);
        for (char **line = lines; *line && **line; line++) {
            hmp_printf(call, "  %s\n", *line);
        }
        if (dispatch) {
            print_dispatch(call, as);
        }
        hmp_printf(call, "\n");
    }
}

static void print_trees(HmpCall *call, unsigned flags)
{
    g_autoptr(GPtrArray) targets = g_ptr_array_new(), roots = g_ptr_array_new();

    for (const GSList *l = call->vm->address_spaces; l; l = l->next) {
        AddressSpace *as = l->data;

        hmp_printf(call, "address-space: %s\n", as->name);
        region_print_tree(as->root, flags, targets, call->out);
        hmp_printf(call, "\n");
        g_ptr_array_add(roots, as->root);
    }
    for (unsigned i = 0; i < targets->len; i++) { /* printing may add more */
        const Region *target = targets->pdata[i];

        if (!g_ptr_array_find(roots, target, NULL)) {
            hmp_printf(call, "memory-region: %s\n", target->name);
            region_print_tree(target, flags, targets, call->out);
            hmp_printf(call, "\n");
        }
    }
}

static void info_mtree(HmpCall *call)
{
    unsigned flags = (hmp_bool(call->args, "-o") ? REGION_PRINT_OWNERS : 0) |
                     (hmp_bool(call->args, "-D") ? REGION_PRINT_DISABLED : 0);

    (hmp_bool(call->args, "-f") ? print_flat : print_trees)(call, flags);
}

const HmpCommand hmp_info_commands[] = {
    {"info status", .run = info_status, .help = "whether the machine runs, and why not"},
    {"info version", .run = info_version, .help = "the release that is running"},
    {"info name", .run = info_name, .help = "the guest's name"},
    {"info uuid", .run = info_uuid, .help = "the machine's UUID"},
    {"info kvm", .run = info_kvm, .help = "whether KVM runs the machine"},
    {"info qtree", .run = info_qtree, .help = "the devices by bus, with their properties"},
    {"info mtree", "-f:flag,-d:flag,-o:flag,-D:flag", "[-f][-d][-o][-D]",
     "address spaces (-f: what an access reaches, flattened; with -d: and how it is found; -o: whose each region is; -D: "
     "regions that are switched off, too)", info_mtree},
    {}};
