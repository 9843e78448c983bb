/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/object_schema.h"

#include <string.h>

#include "core/object.h"
#include "util/module.h"

struct ObjectSchema {
    GPtrArray *memory;          /* all that was allocated, freed with it */
    const QapiType *type;
};

static void *allocate(ObjectSchema *s, size_t size)
{
    void *memory = g_malloc0(size);

    g_ptr_array_add(s->memory, memory);
    return memory;
}

/* words ends with NULL and outlives the schema. */
static const QapiType *make_enum(ObjectSchema *s, const char *name, const char *const *words)
{
    QapiType *type = allocate(s, sizeof(*type));

    *type = (QapiType){.name = name, .kind = QAPI_ENUM, .size = sizeof(int), .names = words,
                       .count = g_strv_length((char **)words)};
    return type;
}

/* ---- one type's properties ------------------------------------------------------------------ */

static const QapiType *property_type(ObjectSchema *s, const Property *prop)
{
    static const struct {
        const PropKind *kind;
        const QapiType *type;
    } kinds[] = {
        {&prop_kind_bool, &qapi_type_bool},   {&prop_kind_bit32, &qapi_type_bool}, {&prop_kind_bit64, &qapi_type_bool},
        {&prop_kind_u8, &qapi_type_uint8},    {&prop_kind_u16, &qapi_type_uint16}, {&prop_kind_u32, &qapi_type_uint32},
        {&prop_kind_u64, &qapi_type_uint64},  {&prop_kind_i32, &qapi_type_int32},  {&prop_kind_i64, &qapi_type_int64},
        {&prop_kind_size, &qapi_type_size},   {&prop_kind_size32, &qapi_type_size},
    };
    static const char *const on_off_auto[] = {"auto", "on", "off", NULL};

    if (prop->kind->schema) {
        return prop->kind->schema;
    }
    if (prop->kind == &prop_kind_on_off_auto) {
        return make_enum(s, "OnOffAuto", on_off_auto);
    }
    if (prop->values) {
        return make_enum(s, prop->name, prop->values);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        if (prop->kind == kinds[i].kind) {
            return kinds[i].type;
        }
    }
    return &qapi_type_str;
}

typedef struct Collect {
    ObjectSchema *schema;
    GArray *members;    /* QapiMember */
} Collect;

static void add_property(const Type *owner, const Property *prop, void *opaque)
{
    Collect *c = opaque;

    if (!prop->read_only) {
        QapiMember member = {.name = prop->name, .type = property_type(c->schema, prop), .optional = !prop->required,
                             .doc = prop->help};
        g_array_append_val(c->members, member);
    }
}

static const QapiType *make_branch(ObjectSchema *s, const Type *type)
{
    Collect c = {s, g_array_new(false, false, sizeof(QapiMember))};
    QapiType *branch = allocate(s, sizeof(*branch));

    type_foreach_property(type, add_property, &c);
    QapiMember *members = allocate(s, c.members->len * sizeof(QapiMember) + 1);
    if (c.members->len) {
        memcpy(members, c.members->data, c.members->len * sizeof(QapiMember));
    }
    *branch = (QapiType){.name = type->name, .kind = QAPI_STRUCT, .count = c.members->len, .members = members,
                         .doc = type->desc};
    g_array_free(c.members, true);
    return branch;
}

/* ---- the union ---------------------------------------------------------------------------------- */

static void collect_type(const Type *type, void *opaque)
{
    if (!type->abstract && type_is_user_object(type)) {
        g_ptr_array_add(opaque, (void *)type);
    }
}

ObjectSchema *object_schema_new(void)
{
    ObjectSchema *s = g_new0(ObjectSchema, 1);
    g_autoptr(GPtrArray) types = g_ptr_array_new();

    s->memory = g_ptr_array_new_with_free_func(g_free);
    module_load_all();
    type_foreach(NULL, collect_type, types);
    const char **names = allocate(s, (types->len + 1) * sizeof(*names));
    const QapiType **variants = allocate(s, (types->len + 1) * sizeof(*variants));
    for (unsigned i = 0; i < types->len; i++) {
        names[i] = ((const Type *)types->pdata[i])->name;
        variants[i] = make_branch(s, types->pdata[i]);
    }
    QapiMember *members = allocate(s, 2 * sizeof(*members));
    members[0] = (QapiMember){.name = "qom-type", .type = make_enum(s, "ObjectType", names), .doc = "what to make"};
    members[1] = (QapiMember){.name = "id", .type = &qapi_type_str, .doc = "its name in /objects"};
    QapiType *type = allocate(s, sizeof(*type));
    *type = (QapiType){.name = "ObjectOptions", .kind = QAPI_UNION, .count = 2, .members = members, .tag = members,
                       .variants = variants, .doc = "An object and its properties."};
    s->type = type;
    return s;
}

void object_schema_free(ObjectSchema *schema)
{
    if (schema) {
        g_ptr_array_free(schema->memory, true);
        g_free(schema);
    }
}

const QapiType *object_schema_type(const ObjectSchema *schema) { return schema->type; }
