/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * thread-context: where the threads that preallocate guest memory may run (prealloc-context= of memory back ends). A
 * manager gives CPUs or host NUMA nodes, or sets the affinity of the thread that thread-id names by itself.
 */
#include "backends/thread_context.h"

#include <errno.h>
#include <sched.h>
#include <semaphore.h>
#include <unistd.h>

#include "backends/number_set.h"
#include "qapi/qapi.h"

#define CPUS CPU_SETSIZE
#define NODES 1024

typedef struct ThreadContext {
    Object obj;
    uint64_t cpus[CPUS / 64];    /* as given; the kernel has what counts */
    uint64_t nodes[NODES / 64];
    pthread_t thread;
    pid_t tid;                   /* 0: no thread yet */
    pthread_mutex_t turn;        /* one order at a time */
    sem_t wanted, done;          /* an order is there; it was carried out */
    /* The order; fn NULL: end. */
    pthread_t *created;
    void *(*fn)(void *opaque);
    void *opaque;
    int result;
} ThreadContext;

static ThreadContext *context_of(Object *obj) { return (ThreadContext *)(void *)obj; }

static void await(sem_t *sem)
{
    while (sem_wait(sem) < 0) {
    }
}

/* ---- the thread --------------------------------------------------------------------------- */

static void *serve(void *opaque)
{
    ThreadContext *c = opaque;

    pthread_setname_np(pthread_self(), "thread-context");
    c->tid = gettid();
    sem_post(&c->done);
    for (;;) {
        await(&c->wanted);
        if (!c->fn) {
            return NULL;
        }
        c->result = pthread_create(c->created, NULL, c->fn, c->opaque);
        sem_post(&c->done);
    }
}

int thread_context_create(Object *context, pthread_t *thread, void *(*fn)(void *opaque), void *opaque)
{
    ThreadContext *c = context_of(context);

    pthread_mutex_lock(&c->turn);
    c->created = thread;
    c->fn = fn;
    c->opaque = opaque;
    sem_post(&c->wanted);
    await(&c->done);
    int result = c->result;
    pthread_mutex_unlock(&c->turn);
    return result;
}

/* ---- where it runs ------------------------------------------------------------------------- */

static bool apply_cpus(const ThreadContext *c, const uint64_t *cpus, GError **err)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    for (unsigned i = 0; i < CPUS; i++) {
        if (number_set_has(cpus, i)) {
            CPU_SET(i, &set);
        }
    }
    return !sched_setaffinity(c->tid, sizeof set, &set) || error_set_errno(err, errno, "Setting CPU affinity failed");
}

/* The CPUs of one host node: "0-3,8". */
static void add_node_cpus(uint64_t *cpus, unsigned node)
{
    g_autofree char *path = g_strdup_printf("/sys/devices/system/node/node%u/cpulist", node), *text = NULL;

    if (g_file_get_contents(path, &text, NULL, NULL)) {
        g_auto(GStrv) parts = g_strsplit(g_strstrip(text), ",", -1);

        for (char **part = parts; *part; part++) {
            number_set_add(cpus, CPUS, "cpulist", *part, NULL);
        }
    }
}

static bool apply_nodes(const ThreadContext *c, GError **err)
{
    uint64_t cpus[CPUS / 64] = {0};

    for (unsigned node = 0; node < NODES; node++) {
        if (number_set_has(c->nodes, node)) {
            add_node_cpus(cpus, node);
        }
    }
    return number_set_is_empty(cpus, CPUS) ? error_set(err, "The nodes select no CPUs") : apply_cpus(c, cpus, err);
}

/* ---- properties ----------------------------------------------------------------------------- */

static unsigned count_of(const Property *prop) { return strcmp(prop->name, "cpu-affinity") ? NODES : CPUS; }

static bool set_text(Object *obj, const Property *prop, void *field, const char *text, GError **err)
{
    if (obj->completed) {
        memset(field, 0, count_of(prop) / 8);
    }
    return number_set_add(field, count_of(prop), prop->name, text, err);
}

static bool set_json(Object *obj, const Property *prop, void *field, json_object *value, GError **err)
{
    if (json_object_is_type(value, json_type_array) && !json_object_array_length(value)) {
        return error_set(err, "%s list is empty", strcmp(prop->name, "cpu-affinity") ? "Node" : "CPU");
    }
    return number_set_json(field, count_of(prop), prop->name, value, err);
}

/* What the kernel says: a manager may have changed it. */
static json_object *get_cpus(Object *obj, const Property *prop, const void *field)
{
    json_object *list = json_object_new_array();
    cpu_set_t set;

    if (context_of(obj)->tid && !sched_getaffinity(context_of(obj)->tid, sizeof set, &set)) {
        for (unsigned i = 0; i < CPUS; i++) {
            if (CPU_ISSET(i, &set)) {
                json_object_array_add(list, json_object_new_int((int)i));
            }
        }
    }
    return list;
}

static json_object *get_nodes(Object *obj, const Property *prop, const void *field) { return number_set_list(field, NODES); }

static json_object *get_tid(Object *obj, const Property *prop, const void *field)
{
    return json_object_new_int64(context_of(obj)->tid);
}

static const PropKind prop_kind_cpus = {.type = "int", .json = json_type_array, .set = set_text, .get = get_cpus,
                                        .set_json = set_json, .schema = &qapi_list_uint16};
static const PropKind prop_kind_nodes = {.type = "int", .json = json_type_array, .set = set_text, .get = get_nodes,
                                         .set_json = set_json, .schema = &qapi_list_uint16};
static const PropKind prop_kind_tid = {.type = "int", .json = json_type_int, .get = get_tid};

static bool context_changed(Object *obj, const Property *prop, GError **err)
{
    const ThreadContext *c = context_of(obj);

    return strcmp(prop->name, "cpu-affinity") ? apply_nodes(c, err) : apply_cpus(c, c->cpus, err);
}

/* ---- lifecycle ------------------------------------------------------------------------------- */

static void context_init(Object *obj)
{
    ThreadContext *c = context_of(obj);

    pthread_mutex_init(&c->turn, NULL);
    sem_init(&c->wanted, 0, 0);
    sem_init(&c->done, 0, 0);
}

static bool context_complete(Object *obj, GError **err)
{
    ThreadContext *c = context_of(obj);
    bool cpus = !number_set_is_empty(c->cpus, CPUS), nodes = !number_set_is_empty(c->nodes, NODES);

    if (cpus && nodes) {
        return error_set(err, "Mixing CPU and node affinity not supported");
    }
    int r = pthread_create(&c->thread, NULL, serve, c);
    if (r) {
        return error_set_errno(err, r, "cannot create the thread of thread-context '%s'", obj->name);
    }
    await(&c->done);
    return (!cpus || apply_cpus(c, c->cpus, err)) && (!nodes || apply_nodes(c, err));
}

static void context_finalize(Object *obj)
{
    ThreadContext *c = context_of(obj);

    if (c->tid) {
        c->fn = NULL;
        sem_post(&c->wanted);
        pthread_join(c->thread, NULL);
    }
    sem_destroy(&c->wanted);
    sem_destroy(&c->done);
    pthread_mutex_destroy(&c->turn);
}

static const Property context_props[] = {
    PROP_ANY("cpu-affinity", &prop_kind_cpus, ThreadContext, cpus, .anytime = true, .help = "CPUs of the host, one or FIRST-LAST"),
    PROP_ANY("node-affinity", &prop_kind_nodes, ThreadContext, nodes, .anytime = true,
             .help = "NUMA nodes of the host whose CPUs are taken"),
    PROP_ANY("thread-id", &prop_kind_tid, ThreadContext, tid, .read_only = true, .help = "the thread, as the kernel counts them"),
    {}};

KILN_TYPE(thread_context) = {
    .name = "thread-context",
    .parent = "object",
    .desc = "where threads that allocate memory run",
    .size = sizeof(ThreadContext),
    .user_object = true,
    .props = context_props,
    .init = context_init,
    .complete = context_complete,
    .changed = context_changed,
    .finalize = context_finalize,
};
