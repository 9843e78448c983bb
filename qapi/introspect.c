/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * query-qmp-schema from the tables. Clients follow names from commands to types, so a type is listed when something
 * reaches it; types other than builtin ones are called by numbers, as nobody may rely on their names. All integers
 * are "int", as JSON has no others.
 */
#include "qapi/introspect.h"

#include <string.h>

typedef struct Walk {
    GPtrArray *infos;       /* SchemaInfo, the result */
    GPtrArray *queue;       /* QapiType, in the order of their numbers; a number is an index here */
    GHashTable *numbers;    /* QapiType -> number + 1 */
    GHashTable *builtins;   /* names of builtin types that were listed */
    GHashTable *lists;      /* char *: names of lists that are in the queue */
} Walk;

static const QapiType empty_object = {.name = "nothing", .kind = QAPI_STRUCT};

static GPtrArray *copy_words(const char *const *words)
{
    GPtrArray *copy = words ? g_ptr_array_new() : NULL;

    for (; words && *words; words++) {
        g_ptr_array_add(copy, g_strdup(*words));
    }
    return copy;
}

static SchemaInfo *add_info(Walk *w, const char *name, SchemaMetaType meta_type, const char *const *features)
{
    SchemaInfo *info = g_new0(SchemaInfo, 1);

    info->name = g_strdup(name);
    info->meta_type = meta_type;
    info->features = copy_words(features);
    g_ptr_array_add(w->infos, info);
    return info;
}

/* ---- names of types --------------------------------------------------------------------- */

static const char *builtin_name(const QapiType *type, JSONType *json)
{
    static const struct {
        const char *name;
        JSONType json;
    } names[] = {
        [QAPI_INT] = {"int", JSON_TYPE_INT},          [QAPI_UINT] = {"int", JSON_TYPE_INT},
        [QAPI_SIZE] = {"int", JSON_TYPE_INT},         [QAPI_NUMBER] = {"number", JSON_TYPE_NUMBER},
        [QAPI_BOOL] = {"bool", JSON_TYPE_BOOLEAN},    [QAPI_NULL] = {"null", JSON_TYPE_NULL},
        [QAPI_STR] = {"str", JSON_TYPE_STRING},       [QAPI_ANY] = {"any", JSON_TYPE_VALUE},
    };
    *json = names[type->kind].json;
    return names[type->kind].name;
}

static bool is_builtin(const QapiType *type) { return type->kind <= QAPI_ANY && type->kind != QAPI_ENUM; }

static unsigned number_of(Walk *w, const QapiType *type)
{
    unsigned known = GPOINTER_TO_UINT(g_hash_table_lookup(w->numbers, type));

    if (!known) {
        g_ptr_array_add(w->queue, (void *)type);
        known = w->queue->len;
        g_hash_table_insert(w->numbers, (void *)type, GUINT_TO_POINTER(known));
    }
    return known - 1;
}

/* The name by which the answer calls this type; it will be listed. */
static char *type_name(Walk *w, const QapiType *type)
{
    JSONType json;

    if (!type) {
        type = &empty_object;
    }
    if (type->kind == QAPI_LIST) {
        g_autofree char *element = type_name(w, type->element);
        char *name = g_strdup_printf("[%s]", element);

        /* Lists of integers of several sizes are one. */
        if (!g_hash_table_contains(w->lists, name)) {
            g_hash_table_add(w->lists, g_strdup(name));
            number_of(w, type);
        }
        return name;
    }
    if (!is_builtin(type)) {
        return g_strdup_printf("%u", number_of(w, type));
    }
    const char *name = builtin_name(type, &json);
    if (g_hash_table_add(w->builtins, (void *)name)) {
        add_info(w, name, SCHEMA_META_TYPE_BUILTIN, NULL)->u.builtin.json_type = json;
    }
    return g_strdup(name);
}

/* ---- types ---------------------------------------------------------------------------------- */

static void describe_enum(const QapiType *type, SchemaInfoEnum *info)
{
    info->members = g_ptr_array_new();
    info->values = copy_words(type->names);
    for (uint32_t i = 0; i < type->count; i++) {
        SchemaInfoEnumMember *member = g_new0(SchemaInfoEnumMember, 1);

        member->name = g_strdup(type->names[i]);
        member->features = copy_words(type->value_features ? type->value_features[i] : NULL);
        g_ptr_array_add(info->members, member);
    }
}

static void describe_object(Walk *w, const QapiType *type, SchemaInfoObject *info)
{
    info->members = g_ptr_array_new();
    for (uint32_t i = 0; i < type->count; i++) {
        const QapiMember *m = &type->members[i];
        SchemaInfoObjectMember *member = g_new0(SchemaInfoObjectMember, 1);

        member->name = g_strdup(m->name);
        member->type = type_name(w, m->type);
        member->q_default = m->optional ? QAPI_JSON_NULL : NULL;
        member->features = copy_words(m->features);
        g_ptr_array_add(info->members, member);
    }
    if (type->kind != QAPI_UNION) {
        return;
    }
    info->tag = g_strdup(type->tag->name);
    info->variants = g_ptr_array_new();
    for (uint32_t i = 0; i < type->tag->type->count; i++) {
        SchemaInfoObjectVariant *variant = g_new0(SchemaInfoObjectVariant, 1);

        variant->q_case = g_strdup(type->tag->type->names[i]);
        variant->type = type_name(w, type->variants[i]);
        g_ptr_array_add(info->variants, variant);
    }
}

static void describe_alternate(Walk *w, const QapiType *type, SchemaInfoAlternate *info)
{
    info->members = g_ptr_array_new();
    for (uint32_t i = 0; i < type->count; i++) {
        SchemaInfoAlternateMember *member = g_new0(SchemaInfoAlternateMember, 1);

        member->type = type_name(w, type->members[i].type);
        g_ptr_array_add(info->members, member);
    }
}

static void describe_type(Walk *w, const QapiType *type)
{
    g_autofree char *name = type_name(w, type);

    switch (type->kind) {
    case QAPI_LIST:
        add_info(w, name, SCHEMA_META_TYPE_ARRAY, NULL)->u.array.element_type = type_name(w, type->element);
        break;
    case QAPI_ENUM:
        describe_enum(type, &add_info(w, name, SCHEMA_META_TYPE_ENUM, type->features)->u.q_enum);
        break;
    case QAPI_ALTERNATE:
        describe_alternate(w, type, &add_info(w, name, SCHEMA_META_TYPE_ALTERNATE, type->features)->u.alternate);
        break;
    default:
        describe_object(w, type, &add_info(w, name, SCHEMA_META_TYPE_OBJECT, type->features)->u.object);
        break;
    }
}

/* ---- the whole -------------------------------------------------------------------------------- */

static void describe_command(Walk *w, const QapiCommand *command, const QapiSubstitute *substitutes)
{
    SchemaInfo *info = add_info(w, command->name, SCHEMA_META_TYPE_COMMAND, command->features);
    const QapiType *args = command->args;

    for (; substitutes && substitutes->command; substitutes++) {
        if (strcmp(substitutes->command, command->name) == 0) {
            args = substitutes->args;
        }
    }
    info->u.command.arg_type = type_name(w, args);
    info->u.command.ret_type = type_name(w, command->result);
    info->u.command.has_allow_oob = info->u.command.allow_oob = command->oob;
}

GPtrArray *qapi_introspect(const QapiCommand *const *commands, const QapiEvent *const *events,
                           const QapiSubstitute *substitutes)
{
    Walk w = {g_ptr_array_new(), g_ptr_array_new(), g_hash_table_new(NULL, NULL),
              g_hash_table_new(g_str_hash, g_str_equal),
              g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL)};

    for (; *commands; commands++) {
        describe_command(&w, *commands, substitutes);
    }
    for (; *events; events++) {
        SchemaInfo *info = add_info(&w, (*events)->name, SCHEMA_META_TYPE_EVENT, (*events)->features);

        info->u.event.arg_type = type_name(&w, (*events)->data);
    }
    /* Describing a type names others: the queue grows until all that is reached is there. */
    for (unsigned i = 0; i < w.queue->len; i++) {
        describe_type(&w, g_ptr_array_index(w.queue, i));
    }
    g_ptr_array_free(w.queue, true);
    g_hash_table_destroy(w.numbers);
    g_hash_table_destroy(w.builtins);
    g_hash_table_destroy(w.lists);
    return w.infos;
}
