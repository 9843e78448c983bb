/* SPDX-License-Identifier: GPL-2.0-or-later */
/* HMP: the tree of objects, plugging devices, and what back end objects and the board say of memory and CPUs. */
#include "core/user_object.h"
#include "hw/i386/numa.h"
#include "hw/mem/pc_dimm.h"
#include "monitor/hmp_internal.h"
#include "monitor/internal.h"
#include "qapi/qapi-commands.h"
#include "util/json_text.h"
#include "util/keyval.h"
#include "util/module.h"

static char *text_of(HmpCall *call, const char *name) { return (char *)(uintptr_t)hmp_str(call->args, name); }

/* The answer of a QMP command, or NULL and its error printed. */
static void *ask(HmpCall *call, QmpHandler *handler, const void *args)
{
    QmpCall qmp = {.vm = call->vm, .mon = call->mon, .args = args};
    GError *err = NULL;

    if (!handler(&qmp, &err)) {
        hmp_error(call, err);
        return NULL;
    }
    return qmp.result;
}

/* ---- the tree ---------------------------------------------------------------------------------- */

static void hmp_qom_list(HmpCall *call)
{
    QomListArgs args = {.path = text_of(call, "path")};

    if (!args.path) {
        hmp_printf(call, "/\n");
        return;
    }
    GPtrArray *list = ask(call, qmp_qom_list, &args);
    for (unsigned i = 0; list && i < list->len; i++) {
        const ObjectPropertyInfo *info = list->pdata[i];

        hmp_printf(call, "%s (%s)\n", info->name, info->type);
    }
    qapi_free(&qapi_list_ObjectPropertyInfo, list);
}

static void hmp_qom_get(HmpCall *call)
{
    QomGetArgs args = {.path = text_of(call, "path"), .property = text_of(call, "property")};
    QmpCall qmp = {.vm = call->vm, .args = &args};
    GError *err = NULL;

    if (!qmp_qom_get(&qmp, &err)) {
        hmp_error(call, err);
        return;
    }
    json_text_append(call->out, qmp.result, true);
    hmp_printf(call, "\n");
    json_object_put(qmp.result);
}

/* A value is text, as -device takes it, or JSON with -j. */
static void hmp_qom_set(HmpCall *call)
{
    const char *value = hmp_str(call->args, "value");
    QomSetArgs args = {.path = text_of(call, "path"), .property = text_of(call, "property")};
    GError *err = NULL;

    if (hmp_bool(call->args, "-j")) {
        if (!qapi_parse_json(value, strlen(value), &args.value, &err)) {
            hmp_error(call, err);
            return;
        }
        hmp_call_qmp(call, qmp_qom_set, &args);
        json_object_put(args.value);
        return;
    }
    Object *obj = object_resolve(call->vm, args.path);
    if (!obj) {
        hmp_printf(call, "Error: Device '%s' not found\n", args.path);
    } else if (!object_set(obj, args.property, value, &err)) {
        hmp_error(call, err);
    }
}

static gint by_object_name(gconstpointer a, gconstpointer b)
{
    return strcmp((*(Object *const *)a)->name, (*(Object *const *)b)->name);
}

/* Recursion follows our own tree, which is a few levels deep. */
static void print_tree(HmpCall *call, const Object *obj, const char *shown, int indent)
{
    hmp_printf(call, "%*s%s (%s)\n", indent, "", shown, obj->type->name);
    if (!obj->children) {
        return;
    }
    g_autoptr(GPtrArray) sorted = g_ptr_array_new();
    for (unsigned i = 0; i < obj->children->len; i++) {
        g_ptr_array_add(sorted, obj->children->pdata[i]);
    }
    g_ptr_array_sort(sorted, by_object_name);
    for (unsigned i = 0; i < sorted->len; i++) {
        const Object *child = sorted->pdata[i];
        g_autofree char *name = g_strconcat("/", child->name, NULL);

        print_tree(call, child, name, indent + 2);
    }
}

static void info_qom_tree(HmpCall *call)
{
    const char *path = hmp_str(call->args, "path") ? hmp_str(call->args, "path") : "/machine";
    const Object *obj = object_resolve(call->vm, path);

    if (!obj) {
        hmp_printf(call, "Path '%s' could not be resolved.\n", path);
        return;
    }
    g_autofree char *shown = object_path(obj);
    print_tree(call, obj, shown, 0);
}

/* ---- making and removing ---------------------------------------------------------------------------- */

static bool add_pair(const char *key, const char *value, void *opaque, GError **err)
{
    json_object_object_add(opaque, key, json_object_new_string(value));
    return true;
}

/* "driver,key=value" or JSON, as the arguments of QMP's device_add. NULL with *err. */
static json_object *device_json(const char *text, GError **err)
{
    json_object *json = NULL;

    if (text[0] == '{') {
        if (qapi_parse_json(text, strlen(text), &json, err) && !json_object_is_type(json, json_type_object)) {
            error_set(err, "device_add: the JSON value is no object");
            json_object_put(json);
            return NULL;
        }
        return json;
    }
    g_autoptr(KeyVals) kv = keyvals_parse("device_add", text, "driver", err);
    if (!kv) {
        return NULL;
    }
    json = json_object_new_object();
    if (!keyvals_foreach(kv, add_pair, json, err)) {
        json_object_put(json);
        return NULL;
    }
    return json;
}

static void hmp_device_add(HmpCall *call)
{
    GError *err = NULL;
    json_object *args = device_json(hmp_str(call->args, "device"), &err);

    if (!args) {
        hmp_error(call, err);
        return;
    }
    hmp_call_qmp(call, qmp_device_add, args);
    json_object_put(args);
}

static void hmp_device_del(HmpCall *call)
{
    DeviceDelArgs args = {.id = text_of(call, "id")};

    hmp_call_qmp(call, qmp_device_del, &args);
}

static void print_user_type(const Type *type, void *opaque)
{
    if (type_is_user_object(type) && !type->abstract) {
        hmp_printf(opaque, "  %s\n", type->name);
    }
}

static void hmp_object_add(HmpCall *call)
{
    const char *text = hmp_str(call->args, "object");
    GError *err = NULL;

    if (!strcmp(text, "help") || !strcmp(text, "?")) {
        module_load_all();
        hmp_printf(call, "List of user creatable objects:\n");
        type_foreach(NULL, print_user_type, call);
    } else if (!user_object_add_text(call->vm, text, &err)) {
        hmp_error(call, err);
    }
}

static void hmp_object_del(HmpCall *call)
{
    ObjectDelArgs args = {.id = text_of(call, "id")};

    hmp_call_qmp(call, qmp_object_del, &args);
}

/* ---- completion --------------------------------------------------------------------------------------- */

static void offer_children(Vm *vm, HmpCompletion *c, const char *path, const char *word)
{
    const Object *obj = object_resolve(vm, path);

    for (unsigned i = 0; obj && obj->children && i < obj->children->len; i++) {
        hmp_offer(c, word, ((const Object *)obj->children->pdata[i])->name);
    }
}

static void complete_object(Vm *vm, HmpCompletion *c, unsigned n, const char *word)
{
    if (n == 0) {
        offer_children(vm, c, "/objects", word);
    }
}

static void complete_device(Vm *vm, HmpCompletion *c, unsigned n, const char *word)
{
    if (n == 0) {
        offer_children(vm, c, "/machine/peripheral", word);
    }
}

typedef struct Offer {
    HmpCompletion *c;
    const char *word;
    bool devices;       /* else types of -object */
} Offer;

static void offer_type(const Type *type, void *opaque)
{
    Offer *o = opaque;

    if (!type->abstract && (o->devices ? !type_not_user(type) : type_is_user_object(type))) {
        hmp_offer(o->c, o->word, type->name);
    }
}

static void complete_device_add(Vm *vm, HmpCompletion *c, unsigned n, const char *word)
{
    Offer o = {c, word, true};

    if (n == 0) {
        type_foreach("device", offer_type, &o);
    }
}

static void complete_object_add(Vm *vm, HmpCompletion *c, unsigned n, const char *word)
{
    Offer o = {c, word, false};

    if (n == 0) {
        type_foreach(NULL, offer_type, &o);
    }
}

/* ---- memory ----------------------------------------------------------------------------------------------- */

/* "0-2,5" */
static void print_nodes(HmpCall *call, const GArray *nodes)
{
    for (unsigned i = 0; i < nodes->len;) {
        unsigned last = i, from = g_array_index(nodes, uint16_t, i);

        while (last + 1 < nodes->len && g_array_index(nodes, uint16_t, last + 1) == from + (last + 1 - i)) {
            last++;
        }
        hmp_printf(call, last > i ? "%s%u-%u" : "%s%u", i ? "," : "", from, from + (last - i));
        i = last + 1;
    }
}

static void info_memdev(HmpCall *call)
{
    GPtrArray *list = ask(call, qmp_query_memdev, NULL);

    for (unsigned i = 0; list && i < list->len; i++) {
        const Memdev *m = list->pdata[i];
        const struct {
            const char *name;
            bool value;
        } flags[] = {{"merge", m->merge}, {"dump", m->dump}, {"prealloc", m->prealloc}, {"share", m->share},
                     {"reserve", m->reserve}};

        hmp_printf(call, "memory backend: %s\n  size:  %" PRIu64 "\n", m->id, m->size);
        for (unsigned f = 0; f < G_N_ELEMENTS(flags); f++) {
            hmp_printf(call, "  %s: %s\n", flags[f].name, flags[f].value ? "true" : "false");
        }
        hmp_printf(call, "  policy: %s\n  host nodes: ", qapi_type_HostMemPolicy.names[m->policy]);
        print_nodes(call, m->host_nodes);
        hmp_printf(call, "\n");
    }
    hmp_printf(call, "\n");
    qapi_free(&qapi_list_Memdev, list);
}

static void info_memory_size(HmpCall *call)
{
    MemoryInfo *info = ask(call, qmp_query_memory_size_summary, NULL);

    if (info) {
        hmp_printf(call, "base memory: %" PRIu64 "\nplugged memory: %" PRIu64 "\n", info->base_memory,
                   info->plugged_memory);
    }
    qapi_free(&qapi_type_MemoryInfo, info);
}

static void info_numa(HmpCall *call)
{
    NumaConfig *numa = call->vm->machine ? call->vm->machine->config.numa : NULL;
    unsigned count = numa_node_count(numa);

    hmp_printf(call, "%u nodes\n", count);
    for (unsigned n = 0; n < count; n++) {
        hmp_printf(call, "node %u cpus:", n);
        for (unsigned c = 0; c < call->vm->cpus->len; c++) {
            if (g_ptr_array_index(call->vm->cpus, c) && numa_cpu_node(numa, c) == (int)n) {
                hmp_printf(call, " %u", c);
            }
        }
        uint64_t plugged = pc_dimms_size(call->vm, (int)n);
        hmp_printf(call, "\nnode %u size: %" PRIu64 " MB\nnode %u plugged: %" PRIu64 " MB\n", n,
                   (numa_node(numa, n)->size + plugged) >> 20, n, plugged >> 20);
    }
}

bool qmp_x_query_numa(QmpCall *call, GError **err) { return hmp_text_result(call, info_numa); }

/* ---- threads and CPUs ------------------------------------------------------------------------------------- */

static void info_iothreads(HmpCall *call)
{
    GPtrArray *list = ask(call, qmp_query_iothreads, NULL);

    for (unsigned i = 0; list && i < list->len; i++) {
        const IOThreadInfo *t = list->pdata[i];

        hmp_printf(call,
                   "%s:\n  thread_id=%" PRId64 "\n  poll-max-ns=%" PRId64 "\n  poll-grow=%" PRId64 "\n  poll-shrink=%" PRId64
                   "\n  aio-max-batch=%" PRId64 "\n",
                   t->id, t->thread_id, t->poll_max_ns, t->poll_grow, t->poll_shrink, t->aio_max_batch);
    }
    qapi_free(&qapi_list_IOThreadInfo, list);
}

static void print_place(HmpCall *call, const char *name, bool there, int64_t value)
{
    if (there) {
        hmp_printf(call, "    %s: \"%" PRId64 "\"\n", name, value);
    }
}

static void info_hotpluggable_cpus(HmpCall *call)
{
    GPtrArray *list = ask(call, qmp_query_hotpluggable_cpus, NULL);

    if (list) {
        hmp_printf(call, "Hotpluggable CPUs:\n");
    }
    for (unsigned i = 0; list && i < list->len; i++) {
        const HotpluggableCPU *slot = list->pdata[i];
        const CpuInstanceProperties *p = slot->props;

        hmp_printf(call, "  type: \"%s\"\n  vcpus_count: \"%" PRId64 "\"\n", slot->type, slot->vcpus_count);
        if (slot->qom_path) {
            hmp_printf(call, "  qom_path: \"%s\"\n", slot->qom_path);
        }
        hmp_printf(call, "  CPUInstance Properties:\n");
        print_place(call, "node-id", p->has_node_id, p->node_id);
        print_place(call, "socket-id", p->has_socket_id, p->socket_id);
        print_place(call, "die-id", p->has_die_id, p->die_id);
        print_place(call, "core-id", p->has_core_id, p->core_id);
        print_place(call, "thread-id", p->has_thread_id, p->thread_id);
    }
    qapi_free(&qapi_list_HotpluggableCPU, list);
}

static void info_balloon(HmpCall *call)
{
    BalloonInfo *info = ask(call, qmp_query_balloon, NULL);

    if (info) {
        hmp_printf(call, "balloon: actual=%" PRId64 "\n", info->actual >> 20);
    }
    qapi_free(&qapi_type_BalloonInfo, info);
}

static void hmp_balloon(HmpCall *call)
{
    const int64_t mib = CLAMP(hmp_int(call->args, "target"), 0, INT64_MAX >> 20);
    const BalloonArgs args = {.value = mib * (int64_t)MIB};

    hmp_call_qmp(call, qmp_balloon, &args);
}

const HmpCommand hmp_objects_commands[] = {
    {"qom-list", "path:word?", NULL, "properties and children of an object", hmp_qom_list},
    {"qom-get", "path:word,property:word", NULL, "the value of a property", hmp_qom_get},
    {"qom-set", "-j:flag,path:word,property:word,value:rest", NULL, "sets a property (-j: the value is JSON)", hmp_qom_set},
    {"info qom-tree", "path:word?", NULL, "the objects below a path (/machine)", info_qom_tree},
    {"device_add", "device:word", "driver[,prop=value][,...]", "plugs a device in", hmp_device_add, complete_device_add},
    {"device_del", "id:word", "device", "asks the guest to let a device go", hmp_device_del, complete_device},
    {"object_add", "object:word", "[qom-type=]type,id=str[,prop=value][,...]", "makes an object", hmp_object_add,
     complete_object_add},
    {"object_del", "id:word", NULL, "removes an object", hmp_object_del, complete_object},
    {"balloon", "target:int", NULL, "asks the guest to get along with so many MiB", hmp_balloon},
    {"info balloon", .run = info_balloon, .help = "how much memory the guest has without its balloon"},
    {"info memdev", .run = info_memdev, .help = "the memory back ends"},
    {"info memory_size_summary", .run = info_memory_size, .help = "how much memory the guest has"},
    {"info numa", .run = info_numa, .help = "the NUMA nodes"},
    {"info iothreads", .run = info_iothreads, .help = "the iothread objects"},
    {"info hotpluggable-cpus", .run = info_hotpluggable_cpus, .help = "all places for CPUs"},
    {}};
