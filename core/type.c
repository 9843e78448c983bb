/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The registry of types: a linker section of pointers, searched in order. Modules add theirs. */
#include <stdlib.h>

#include "core/object.h"

extern const Type *const __start_kiln_types[] __attribute__((weak));
extern const Type *const __stop_kiln_types[] __attribute__((weak));

typedef struct TypeModule {
    const Type *const *begin, *const *end;
} TypeModule;

static GArray *modules; /* TypeModule; only grows, at start and on module load (main thread) */

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
    const Type *type = find_in(__start_kiln_types, __stop_kiln_types, name);

    for (unsigned i = 0; !type && modules && i < modules->len; i++) {
        TypeModule *m = &g_array_index(modules, TypeModule, i);
        type = find_in(m->begin, m->end, name);
    }
    return type;
}

void type_register_module(const Type *const *begin, const Type *const *end)
{
    TypeModule m = {begin, end};

    if (!modules) {
        modules = g_array_new(false, false, sizeof m);
    }
    g_array_append_val(modules, m);
}

const Type *type_parent(const Type *type) { return type->parent ? type_find(type->parent) : NULL; }

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

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const Type *const *)a)->name, (*(const Type *const *)b)->name);
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

    collect(all, __start_kiln_types, __stop_kiln_types, ancestor);
    for (unsigned i = 0; modules && i < modules->len; i++) {
        TypeModule *m = &g_array_index(modules, TypeModule, i);
        collect(all, m->begin, m->end, ancestor);
    }
    qsort(all->pdata, all->len, sizeof(void *), by_name);
    for (unsigned i = 0; i < all->len; i++) {
        fn(all->pdata[i], opaque);
    }
}

const Property *type_property(const Type *type, const char *name)
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

void type_foreach_property(const Type *type, void (*fn)(const Type *owner, const Property *prop, void *opaque),
                           void *opaque)
{
    for (const Type *owner = type; owner; owner = type_parent(owner)) {
        for (const Property *p = owner->props; p && p->name; p++) {
            if (type_property(type, p->name) == p) { /* not hidden by a child's of the same name */
                fn(owner, p, opaque);
            }
        }
    }
}
