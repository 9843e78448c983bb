/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Values as JSON, and copies of values. */
#include <string.h>

#include "qapi/qapi_internal.h"

static json_object *write_slot(const QapiType *type, const void *slot);

static int64_t load_int(const QapiType *type, const void *slot)
{
    switch (type->size) {
    case 1:
        return *(const int8_t *)slot;
    case 2:
        return *(const int16_t *)slot;
    case 4:
        return *(const int32_t *)slot;
    default:
        return *(const int64_t *)slot;
    }
}

static uint64_t load_uint(const QapiType *type, const void *slot)
{
    switch (type->size) {
    case 1:
        return *(const uint8_t *)slot;
    case 2:
        return *(const uint16_t *)slot;
    case 4:
        return *(const uint32_t *)slot;
    default:
        return *(const uint64_t *)slot;
    }
}

static json_object *write_string(const char *text)
{
    if (g_utf8_validate(text, -1, NULL)) {
        return json_object_new_string(text);
    }
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    return json_object_new_string(valid);
}

static json_object *write_list(const QapiType *type, const GArray *list)
{
    json_object *array = json_object_new_array_ext((int)list->len);
    size_t step = qapi_in_place(type->element) ? type->element->size : sizeof(void *);

    /* GPtrArray and GArray both begin with the data and the length. */
    for (unsigned i = 0; i < list->len; i++) {
        json_object_array_add(array, write_slot(type->element, list->data + i * step));
    }
    return array;
}

/* Member names are constants of the tables: no copy is needed. */
static void write_members(const QapiType *type, const void *value, json_object *object)
{
    for (uint32_t i = 0; i < type->count; i++) {
        const QapiMember *m = &type->members[i];

        if (qapi_has(m, value)) {
            json_object_object_add_ex(object, m->name, write_slot(m->type, qapi_at(value, m->offset)),
                                      JSON_C_OBJECT_ADD_KEY_IS_NEW | JSON_C_OBJECT_ADD_CONSTANT_KEY);
        }
    }
    const QapiType *variant = qapi_variant(type, value);
    if (variant) {
        write_members(variant, qapi_at(value, type->variant_offset), object);
    }
}

static json_object *write_struct(const QapiType *type, const void *value)
{
    if (type->kind == QAPI_ALTERNATE) {
        const QapiMember *branch = &type->members[*(const int *)value];
        const void *slot = qapi_at(value, branch->offset);

        return qapi_is_struct(branch->type) ? write_struct(branch->type, slot) : write_slot(branch->type, slot);
    }
    json_object *object = json_object_new_object();
    write_members(type, value, object);
    return object;
}

static json_object *write_slot(const QapiType *type, const void *slot)
{
    switch (type->kind) {
    case QAPI_INT:
        return json_object_new_int64(load_int(type, slot));
    case QAPI_UINT:
    case QAPI_SIZE:
        return json_object_new_uint64(load_uint(type, slot));
    case QAPI_NUMBER:
        return json_object_new_double(*(const double *)slot);
    case QAPI_BOOL:
        return json_object_new_boolean(*(const bool *)slot);
    case QAPI_ENUM:
        return json_object_new_string(type->names[*(const int *)slot]);
    case QAPI_NULL:
        return NULL;
    default:
        break;
    }
    void *pointer = *(void *const *)slot;
    /* A handler that left a mandatory text or list out means the empty one. */
    if (type->kind == QAPI_STR) {
        return write_string(pointer ? pointer : "");
    }
    if (type->kind == QAPI_LIST && !pointer) {
        return json_object_new_array();
    }
    if (!pointer || pointer == QAPI_JSON_NULL) {
        return NULL;
    }
    if (type->kind == QAPI_ANY) {
        return json_object_get(pointer);
    }
    return type->kind == QAPI_LIST ? write_list(type, pointer) : write_struct(type, pointer);
}

json_object *qapi_write(const QapiType *type, const void *value)
{
    return qapi_in_place(type) ? write_slot(type, value) : write_slot(type, &value);
}

/* ---- copies ---------------------------------------------------------------------------- */

static void *clone_value(const QapiType *type, const void *value);

/* Both slots hold the same bytes: what they point to becomes the second's own. */
static void own_slot(const QapiType *type, void *slot)
{
    if (!qapi_in_place(type)) {
        *(void **)slot = clone_value(type, *(void **)slot);
    }
}

static void own_members(const QapiType *type, void *value)
{
    if (type->kind == QAPI_ALTERNATE) {
        const QapiMember *branch = &type->members[*(int *)value];
        void *slot = qapi_at(value, branch->offset);

        if (qapi_is_struct(branch->type)) {
            own_members(branch->type, slot);
        } else {
            own_slot(branch->type, slot);
        }
        return;
    }
    for (uint32_t i = 0; i < type->count; i++) {
        own_slot(type->members[i].type, qapi_at(value, type->members[i].offset));
    }
    const QapiType *variant = qapi_variant(type, value);
    if (variant) {
        own_members(variant, qapi_at(value, type->variant_offset));
    }
}

static void *clone_list(const QapiType *type, const GArray *list)
{
    if (qapi_in_place(type->element)) {
        GArray *copy = g_array_sized_new(false, false, type->element->size, list->len);

        return g_array_append_vals(copy, list->data, list->len);
    }
    GPtrArray *copy = g_ptr_array_sized_new(list->len);
    for (unsigned i = 0; i < list->len; i++) {
        g_ptr_array_add(copy, clone_value(type->element, ((void **)(void *)list->data)[i]));
    }
    return copy;
}

static void *clone_value(const QapiType *type, const void *value)
{
    if (!value || value == QAPI_JSON_NULL) {
        return (void *)value;
    }
    if (type->kind == QAPI_STR) {
        return g_strdup(value);
    }
    if (type->kind == QAPI_ANY) {
        return json_object_get((json_object *)value);
    }
    if (type->kind == QAPI_LIST) {
        return clone_list(type, value);
    }
    void *copy = g_memdup2(value, type->size);
    if (qapi_is_struct(type)) {
        own_members(type, copy);
    }
    return copy;
}

void *qapi_clone(const QapiType *type, const void *value) { return clone_value(type, value); }
