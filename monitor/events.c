/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Events to every QMP session that has negotiated.
 *
 * Guests can make some events come in floods. Of those, so many per second and key leave: the first ones at once, and at
 * the end of the second the newest of what came meanwhile, with the time at which it happened. Where QEMU has a limit it is
 * one; where it has none the limit is far above what happens in good order.
 */
#include "core/event.h"
#include "monitor/internal.h"
#include "qapi/qapi.h"
#include "util/trace.h"

#define THROTTLE_TIME NSEC_PER_SEC

#define MANY 64 /* events a second */

/* Rate-limited events: how many a second, and the members of their data (of its member, if that is named) that make the
 * key. */
static const struct Limit {
    const char *event;
    unsigned most;
    const char *member, *keys[3];
} limits[] = {
    {"RTC_CHANGE", 1},
    {"WATCHDOG", 1},
    {"BALLOON_CHANGE", 1},
    {"QUORUM_REPORT_BAD", 1, NULL, {"node-name"}},
    {"QUORUM_FAILURE", 1},
    {"VSERPORT_CHANGE", 1, NULL, {"id"}},
    {"MEMORY_DEVICE_SIZE_CHANGE", 1, NULL, {"id", "qom-path"}},
    {"ACPI_DEVICE_OST", MANY, "info", {"slot-type", "slot"}},
    {"PR_MANAGER_STATUS_CHANGED", MANY, NULL, {"id"}},
    {"BLOCK_IO_ERROR", MANY, NULL, {"node-name", "operation", "action"}},
    {"DEVICE_TRAY_MOVED", MANY, NULL, {"id"}},
};

typedef struct Throttle {
    Vm *vm;
    char *key;               /* in the table */
    unsigned passed;         /* in this second */
    LoopTimer *timer;
    json_object *waiting;    /* the newest that may not leave yet; NULL: none */
} Throttle;

static void broadcast(Vm *vm, json_object *message)
{
    GPtrArray *monitors = monitor_state(vm)->monitors;

    for (unsigned i = 0; i < monitors->len; i++) {
        Monitor *mon = monitors->pdata[i];

        if (mon->control && mon->negotiated) {
            qmp_send(mon, message);
        }
    }
}

/* ---- rate limits ------------------------------------------------------------------------- */

static void throttle_fired(void *opaque)
{
    Throttle *t = opaque;

    if (t->waiting) {
        json_object *message = t->waiting;

        t->waiting = NULL;
        t->passed = 1;
        loop_timer_arm(t->timer, clock_monotonic_ns() + THROTTLE_TIME);
        broadcast(t->vm, message);
        json_object_put(message);
    } else {
        g_hash_table_remove(monitor_state(t->vm)->throttles, t->key);
    }
}

static void throttle_free(gpointer data)
{
    Throttle *t = data;

    loop_timer_free(t->timer);
    json_object_put(t->waiting);
    g_free(t->key);
    g_free(t);
}

static Throttle *throttle_new(Vm *vm, const char *key)
{
    Throttle *t = g_new0(Throttle, 1);

    t->vm = vm;
    t->key = g_strdup(key);
    t->timer = loop_timer_new(vm->loop, throttle_fired, t);
    g_hash_table_insert(monitor_state(vm)->throttles, t->key, t);
    return t;
}

/* NULL: this event has none. */
static const struct Limit *find_limit(const char *event)
{
    for (size_t i = 0; i < G_N_ELEMENTS(limits); i++) {
        if (!strcmp(limits[i].event, event)) {
            return &limits[i];
        }
    }
    return NULL;
}

/* The caller frees. */
static char *throttle_key(const struct Limit *limit, json_object *data)
{
    json_object *from = limit->member && data ? json_object_object_get(data, limit->member) : data;
    GString *key = g_string_new(limit->event);

    for (int k = 0; k < 3 && limit->keys[k]; k++) {
        json_object *value = from ? json_object_object_get(from, limit->keys[k]) : NULL;

        g_string_append_printf(key, "/%s", value ? json_object_get_string(value) : "");
    }
    return g_string_free(key, false);
}

/* May this message leave now? Else it is kept. */
static bool pass_throttle(Vm *vm, const char *event, json_object *data, json_object *message)
{
    const struct Limit *limit = find_limit(event);

    if (!limit) {
        return true;
    }
    g_autofree char *key = throttle_key(limit, data);
    Throttle *t = g_hash_table_lookup(monitor_state(vm)->throttles, key);
    if (!t) {
        t = throttle_new(vm, key);
        loop_timer_arm(t->timer, clock_monotonic_ns() + THROTTLE_TIME);
    }
    if (t->passed < limit->most) {
        t->passed++;
        return true;
    }
    json_object_put(t->waiting);
    t->waiting = json_object_get(message);
    return false;
}

/* ---- events --------------------------------------------------------------------------------- */

static json_object *timestamp(void)
{
    json_object *json = json_object_new_object();
    int64_t now = clock_realtime_ns();

    json_object_object_add(json, "seconds", json_object_new_int64(now / NSEC_PER_SEC));
    json_object_object_add(json, "microseconds", json_object_new_int64(now % NSEC_PER_SEC / NSEC_PER_USEC));
    return json;
}

static void on_event(void *opaque, const QapiEvent *event, const void *value)
{
    Vm *vm = opaque;
    json_object *message = json_object_new_object();
    json_object *data = event->data && value ? qapi_write(event->data, value) : NULL;

    trace(monitor_event, "%s", event->name);
    json_object_object_add(message, "timestamp", timestamp());
    json_object_object_add(message, "event", json_object_new_string(event->name));
    if (data) {
        json_object_object_add(message, "data", data);
    }
    if (pass_throttle(vm, event->name, data, message)) {
        broadcast(vm, message);
    }
    json_object_put(message);
}

void monitor_events_init(Vm *vm)
{
    monitor_state(vm)->throttles = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, throttle_free);
    vm_on_event(vm, on_event, vm);
}

void monitor_events_cleanup(Vm *vm)
{
    vm_off_event(vm, on_event, vm);
    g_hash_table_unref(monitor_state(vm)->throttles);
}
