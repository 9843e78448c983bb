/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The end of values. */
#include "qapi/qapi_internal.h"

static void free_slot(const QapiType *type, void *slot);

static void free_list(const QapiType *type, void *list)
{
    GPtrArray *pointers = list;

    if (qapi_in_place(type->element)) {
        g_array_free(list, true);
        return;
    }
    for (unsigned i = 0; i < pointers->len; i++) {
        free_slot(type->element, &pointers->pdata[i]);
    }
    g_ptr_array_free(pointers, true);
}

/* What a struct, union or alternate holds, not its own memory. */
static void free_members(const QapiType *type, void *value)
{
    if (type->kind == QAPI_ALTERNATE) {
        const QapiMember *branch = &type->members[*(int *)value];

        if (qapi_is_struct(branch->type)) {
            free_members(branch->type, qapi_at(value, branch->offset));
        } else {
            free_slot(branch->type, qapi_at(value, branch->offset));
        }
        return;
    }
    for (uint32_t i = 0; i < type->count; i++) {
        free_slot(type->members[i].type, qapi_at(value, type->members[i].offset));
    }
    const QapiType *variant = qapi_variant(type, value);
    if (variant) {
        free_members(variant, qapi_at(value, type->variant_offset));
    }
}

static void free_slot(const QapiType *type, void *slot)
{
    void *pointer = qapi_in_place(type) ? NULL : *(void **)slot;

    if (!pointer || pointer == QAPI_JSON_NULL) {
        return;
    }
    if (type->kind == QAPI_ANY) {
        json_object_put(pointer);
    } else if (type->kind == QAPI_LIST) {
        free_list(type, pointer);
    } else {
        if (type->kind != QAPI_STR) {
            free_members(type, pointer);
        }
        g_free(pointer);
    }
}

void qapi_free(const QapiType *type, void *value)
{
    if (qapi_in_place(type)) {
        g_free(value);
    } else {
        free_slot(type, &value);
    }
}
