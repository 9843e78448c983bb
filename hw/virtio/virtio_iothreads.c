/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The property "iothread-vq-mapping" (virtio_iothreads.h). Names are looked up when the device is realized: what the property
 * is set to before says nothing about which iothreads there are. */
#include "hw/virtio/virtio_iothreads.h"

#include <json-c/json.h>

#include "backends/iothread.h"
#include "util/error.h"

#define PROPERTY "iothread-vq-mapping"

typedef struct Entry {
    char *name;
    GArray *vqs;              /* uint16_t; NULL: none are named */
    Object *iothread;         /* a reference, while the device is realized */
} Entry;

struct VirtioIoThreads {
    GArray *entries;
};

static void entry_clear(void *data)
{
    Entry *e = data;

    g_free(e->name);
    g_clear_pointer(&e->vqs, g_array_unref);
    object_unref(g_steal_pointer(&e->iothread));
}

static Entry *entry_at(const VirtioIoThreads *map, unsigned i) { return &g_array_index(map->entries, Entry, i); }

static void map_free(VirtioIoThreads *map)
{
    if (map) {
        g_array_unref(map->entries);
        g_free(map);
    }
}

/* ---- the property -------------------------------------------------------------------------------- */

static bool parse_vqs(json_object *json, Entry *e, GError **err)
{
    if (!json_object_is_type(json, json_type_array)) {
        return error_set(err, "Invalid parameter type for '" PROPERTY "' member 'vqs', expected: array");
    }
    e->vqs = g_array_new(false, false, sizeof(uint16_t));
    for (size_t i = 0; i < json_object_array_length(json); i++) {
        json_object *item = json_object_array_get_idx(json, i);
        const int64_t n = json_object_get_int64(item);
        const uint16_t vq = (uint16_t)n;

        if (!json_object_is_type(item, json_type_int) || n < 0 || n > UINT16_MAX) {
            return error_set(err, "'" PROPERTY "': 'vqs' of iothread '%s' are numbers of queues, from 0 on", e->name);
        }
        g_array_append_val(e->vqs, vq);
    }
    return true;
}

static bool parse_entry(json_object *json, Entry *e, GError **err)
{
    json_object *name;

    if (!json_object_is_type(json, json_type_object) || !json_object_object_get_ex(json, "iothread", &name) ||
        !json_object_is_type(name, json_type_string)) {
        return error_set(err, "'" PROPERTY "' is a list of objects with 'iothread', the id of an iothread, and 'vqs', its queues");
    }
    e->name = g_strdup(json_object_get_string(name));
    json_object_object_foreach(json, key, value) {
        if (!strcmp(key, "vqs")) {
            if (!parse_vqs(value, e, err)) {
                return false;
            }
        } else if (strcmp(key, "iothread")) {
            return error_set(err, "'" PROPERTY "': parameter '%s' is unexpected; an entry has 'iothread' and 'vqs'", key);
        }
    }
    return true;
}

static bool set_map(Object *obj, const Property *prop, void *field, json_object *value, GError **err)
{
    VirtioIoThreads **slot = field, *map;

    if (!json_object_is_type(value, json_type_array)) {
        return error_set(err, "Invalid parameter type for '%s', expected: array", prop->name);
    }
    map = g_new0(VirtioIoThreads, 1);
    map->entries = g_array_new(false, true, sizeof(Entry));
    g_array_set_clear_func(map->entries, entry_clear);
    for (size_t i = 0; i < json_object_array_length(value); i++) {
        g_array_set_size(map->entries, (unsigned)i + 1);
        if (!parse_entry(json_object_array_get_idx(value, i), entry_at(map, (unsigned)i), err)) {
            map_free(map);
            return false;
        }
    }
    map_free(*slot);
    *slot = map;
    return true;
}

static json_object *get_map(Object *obj, const Property *prop, const void *field)
{
    const VirtioIoThreads *map = *(VirtioIoThreads *const *)field;
    json_object *list = json_object_new_array();

    for (unsigned i = 0; map && i < map->entries->len; i++) {
        const Entry *e = entry_at(map, i);
        json_object *entry = json_object_new_object(), *vqs = e->vqs ? json_object_new_array() : NULL;

        for (unsigned n = 0; e->vqs && n < e->vqs->len; n++) {
            json_object_array_add(vqs, json_object_new_int(g_array_index(e->vqs, uint16_t, n)));
        }
        json_object_object_add(entry, "iothread", json_object_new_string(e->name));
        if (vqs) {
            json_object_object_add(entry, "vqs", vqs);
        }
        json_object_array_add(list, entry);
    }
    return list;
}

static void release_map(Object *obj, const Property *prop, void *field)
{
    map_free(g_steal_pointer((VirtioIoThreads **)field));
}

const PropKind prop_kind_iothread_vq_mapping = {.type = "IOThreadVirtQueueMappingList", .json = json_type_array,
                                                .set_json = set_map, .get = get_map, .release = release_map};

/* ---- assigning ------------------------------------------------------------------------------------- */

static bool find_iothreads(VirtioIoThreads *map, Vm *vm, GError **err)
{
    if (!map->entries->len) {
        return error_set(err, PROPERTY " is empty: name at least one iothread, or leave it out");
    }
    for (unsigned i = 0; i < map->entries->len; i++) {
        Entry *e = entry_at(map, i);
        Object *found = object_resolve(vm, e->name);

        if (!found || !object_is_a(found, "iothread")) {
            return error_set(err, "IOThread \"%s\" object does not exist: make it with -object iothread,id=%s", e->name, e->name);
        }
        for (unsigned j = 0; j < i; j++) {
            if (entry_at(map, j)->iothread == found) {
                return error_set(err, "duplicate IOThread name \"%s\" in " PROPERTY, e->name);
            }
        }
        if (!e->vqs != !entry_at(map, 0)->vqs) {
            return error_set(err, "either all items in " PROPERTY " must have vqs or none of them must have it");
        }
        e->iothread = object_ref(found);
    }
    return true;
}

static Loop *loop_of(Object *iothread) { return ((IoThread *)(void *)iothread)->loop; }

static bool assign_named(const VirtioIoThreads *map, unsigned n_queues, Loop **loops, GError **err)
{
    for (unsigned i = 0; i < map->entries->len; i++) {
        const Entry *e = entry_at(map, i);

        for (unsigned n = 0; n < e->vqs->len; n++) {
            const unsigned vq = g_array_index(e->vqs, uint16_t, n);

            if (vq >= n_queues) {
                return error_set(err, "vq index %u for IOThread \"%s\" must be less than num_queues %u in " PROPERTY, vq,
                                 e->name, n_queues);
            }
            if (loops[vq]) {
                return error_set(err, "cannot assign vq %u to IOThread \"%s\" because it is already assigned", vq, e->name);
            }
            loops[vq] = loop_of(e->iothread);
        }
    }
    for (unsigned vq = 0; vq < n_queues; vq++) {
        if (!loops[vq]) {
            return error_set(err, "missing vq %u IOThread assignment in " PROPERTY, vq);
        }
    }
    return true;
}

static bool assign(VirtioIoThreads *map, Vm *vm, unsigned n_queues, Loop **loops, GError **err)
{
    bool ok = find_iothreads(map, vm, err);

    memset(loops, 0, n_queues * sizeof *loops);
    if (ok && entry_at(map, 0)->vqs) {
        ok = assign_named(map, n_queues, loops, err);
    } else if (ok) {
        for (unsigned vq = 0; vq < n_queues; vq++) {
            loops[vq] = loop_of(entry_at(map, vq % map->entries->len)->iothread);
        }
    }
    if (!ok) {
        virtio_iothreads_release(map);
    }
    return ok;
}

bool virtio_iothreads_choose(Object *iothread, VirtioIoThreads *map, Vm *vm, unsigned n_queues, Loop **loops, GError **err)
{
    if (map && iothread) {
        return error_set(err, "iothread and " PROPERTY " cannot both be given: the latter alone names all iothreads");
    }
    if (map) {
        return assign(map, vm, n_queues, loops, err);
    }
    loops[0] = iothread ? loop_of(iothread) : iothread_own_loop(vm, NULL);
    for (unsigned vq = 1; vq < n_queues; vq++) {
        loops[vq] = loops[0];
    }
    return true;
}

void virtio_iothreads_release(VirtioIoThreads *map)
{
    for (unsigned i = 0; map && i < map->entries->len; i++) {
        object_unref(g_steal_pointer(&entry_at(map, i)->iothread));
    }
}
