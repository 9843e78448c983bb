/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The registry of types: a linker section of pointers, hashed. Modules add theirs. */
#include <stdlib.h>

#include "core/object.h"
#include "util/module.h"

extern const Type *const __start_kiln_types[] __attribute__((weak));
extern const Type *const __stop_kiln_types[] __attribute__((weak));

typedef struct TypeModule {
    const Type *const *begin, *const *end;
} TypeModule;

static GArray *modules; /* TypeModule; only grows, at start and on module load (main thread) */

/* ---- finding ----------------------------------------------------------------------------------
 *
 * The program's own types are found through tables of hashes: one by name, one by address, which
 * leads to what is known about a type besides its descriptor: its parent, once it was looked for
 * (each object that is made or asked for its kind goes up its parents). Modules have few types and
 * are searched in order. Types have numbers from 1 on, 0 is none.
 */
static uint16_t *name_buckets, *address_buckets; /* numbers; made at the first search */
static uint16_t *parents;              /* by number; 0: not looked for yet. All threads would write the same. */
static unsigned bucket_mask;

static void put(uint16_t *buckets, unsigned hash, size_t number)
{
    unsigned at = hash & bucket_mask;

    while (buckets[at]) {
        at = (at + 1) & bucket_mask;
    }
    buckets[at] = (uint16_t)number;
}

static unsigned name_hash(const char *name)
{
    unsigned hash = 5381;

    for (; *name; name++) {
        hash = hash * 33 + (unsigned char)*name;
    }
    return hash;
}

static unsigned address_hash(const Type *type) { return (unsigned)((uintptr_t)type / 32); }

static void make_buckets(void)
{
    size_t count = (size_t)(__stop_kiln_types - __start_kiln_types), size = 64;

    g_assert(count < UINT16_MAX);
    while (size < 2 * count) {
        size *= 2;
    }
    bucket_mask = (unsigned)size - 1;
    name_buckets = g_new0(uint16_t, size);
    address_buckets = g_new0(uint16_t, size);
    parents = g_new0(uint16_t, count + 1);
    for (size_t i = 0; i < count; i++) {
        put(name_buckets, name_hash(__start_kiln_types[i]->name), i + 1);
        put(address_buckets, address_hash(__start_kiln_types[i]), i + 1);
    }
}

static const Type *type_at(unsigned number) { return __start_kiln_types[number - 1]; }

static const Type *find_own(const char *name)
{
    if (!name_buckets) {
        make_buckets();
    }
    for (unsigned at = name_hash(name) & bucket_mask; name_buckets[at]; at = (at + 1) & bucket_mask) {
        if (!strcmp(type_at(name_buckets[at])->name, name)) {
            return type_at(name_buckets[at]);
        }
    }
    return NULL;
}

/* 0: it is a module's. */
static unsigned number_of(const Type *type)
{
    if (!address_buckets) {
        make_buckets();
    }
    unsigned at = address_hash(type) & bucket_mask;
    while (address_buckets[at] && type_at(address_buckets[at]) != type) {
        at = (at + 1) & bucket_mask;
    }
    return address_buckets[at];
}

static const Type *find_in(const Type *const *begin, const Type *const *end, const char *name)
{
    for (; begin < end; begin++) {
        if (!strcmp((*begin)->name, name)) {
            return *begin;
        }
    }
    return NULL;
}

const Type *type_find(const char *name)
{
    const Type *type = find_own(name);

    for (unsigned i = 0; !type && modules && i < modules->len; i++) {
        TypeModule *m = &g_array_index(modules, TypeModule, i);
        type = find_in(m->begin, m->end, name);
    }
    return type;
}

const Type *type_load(const char *name, GError **err)
{
    const Type *type = type_find(name);
    const char *module = type ? NULL : module_of_type(name);
    g_autofree char *what = NULL;

    if (!module) {
        return type;
    }
    what = g_strdup_printf("'%s'", name);
    return module_load(module, what, err) ? type_find(name) : NULL;
}

void type_register_module(const Type *const *begin, const Type *const *end)
{
    TypeModule m = {begin, end};

    if (!modules) {
        modules = g_array_new(false, false, sizeof m);
    }
    g_array_append_val(modules, m);
}

/* Of an own type; 0: it has none. */
static unsigned parent_number(unsigned number)
{
    const char *name = type_at(number)->parent;
    unsigned parent = __atomic_load_n(&parents[number], __ATOMIC_RELAXED);

    if (!parent && name) {
        parent = number_of(find_own(name));
        __atomic_store_n(&parents[number], (uint16_t)parent, __ATOMIC_RELAXED);
    }
    return parent;
}

const Type *type_parent(const Type *type)
{
    unsigned number = number_of(type);

    if (!number) {
        return type->parent ? type_find(type->parent) : NULL;
    }
    number = parent_number(number);
    return number ? type_at(number) : NULL;
}

bool type_is_a(const Type *type, const char *ancestor)
{
    for (; type; type = type_parent(type)) {
        if (!strcmp(type->name, ancestor)) {
            return true;
        }
    }
    return false;
}

#define DEFINE_INHERITED(ctype, function, field)                                                   \
    ctype function(const Type *type)                                                               \
    {                                                                                              \
        while (type && !type->field) {                                                             \
            type = type_parent(type);                                                              \
        }                                                                                          \
        return type ? type->field : NULL;                                                          \
    }
DEFINE_INHERITED(const char *, type_bus, bus)
DEFINE_INHERITED(const char *, type_category, category)
DEFINE_INHERITED(const char *, type_not_user, not_user)
DEFINE_INHERITED(const void *, type_ops, ops)
DEFINE_INHERITED(const StateDesc *, type_state, state)

#define DEFINE_INHERITED_FLAG(function, field)                                                     \
    bool function(const Type *type)                                                                \
    {                                                                                              \
        while (type && !type->field) {                                                             \
            type = type_parent(type);                                                              \
        }                                                                                          \
        return type != NULL;                                                                       \
    }
DEFINE_INHERITED_FLAG(type_is_user_object, user_object)
DEFINE_INHERITED_FLAG(type_is_late, late)

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const Type *const *)a)->name, (*(const Type *const *)b)->name);
}

static void collect_own(GPtrArray *all, const Type *ancestor)
{
    unsigned count = (unsigned)(__stop_kiln_types - __start_kiln_types), wanted = number_of(ancestor);

    for (unsigned i = 1; i <= count; i++) {
        unsigned number = i;

        while (number && number != wanted) {
            number = parent_number(number);
        }
        if (number) {
            g_ptr_array_add(all, (void *)(uintptr_t)type_at(i));
        }
    }
}

static void collect(GPtrArray *all, const Type *const *begin, const Type *const *end, const char *ancestor)
{
    for (; begin < end; begin++) {
        if (!ancestor || type_is_a(*begin, ancestor)) {
            g_ptr_array_add(all, (void *)*begin);
        }
    }
}

void type_foreach(const char *ancestor, void (*fn)(const Type *type, void *opaque), void *opaque)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new();
    const Type *own = find_own(ancestor ? ancestor : "object");

    if (own) {
        collect_own(all, own);
    }
    for (unsigned i = 0; modules && i < modules->len; i++) {
        TypeModule *m = &g_array_index(modules, TypeModule, i);
        collect(all, m->begin, m->end, ancestor);
    }
    g_ptr_array_sort(all, by_name);
    for (unsigned i = 0; i < all->len; i++) {
        fn(all->pdata[i], opaque);
    }
}

const Property *type_own_property(const Type *type, const char *name)
{
    for (; type; type = type_parent(type)) {
        for (const Property *p = type->props; p && p->name; p++) {
            if (!strcmp(p->name, name)) {
                return p;
            }
        }
    }
    return NULL;
}

const Property *type_property(const Type *type, const char *name)
{
    const Property *prop = type_own_property(type, name);

    return prop || !type || !type->deputy_type ? prop : type_own_property(type_find(type->deputy_type), name);
}

static void foreach_property(const Type *from, const Type *of, void (*fn)(const Type *, const Property *, void *), void *opaque)
{
    for (const Type *owner = from; owner; owner = type_parent(owner)) {
        for (const Property *p = owner->props; p && p->name; p++) {
            if (type_property(of, p->name) == p) { /* not hidden by a child's of the same name */
                fn(owner, p, opaque);
            }
        }
    }
}

void type_foreach_property(const Type *type, void (*fn)(const Type *owner, const Property *prop, void *opaque),
                           void *opaque)
{
    foreach_property(type, type, fn, opaque);
    if (type->deputy_type) {
        foreach_property(type_find(type->deputy_type), type, fn, opaque);
    }
}
