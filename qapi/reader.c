/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * JSON as values, one table-driven reader for all of the schema. With QAPI_KEYVAL the leaves are text, as key=value
 * options have them. Messages are QEMU 7.2's, with the whole path of the member.
 */
#include <errno.h>
#include <json-c/linkhash.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "qapi/qapi_internal.h"
#include "util/keyval.h"

/* Where the reader is, for messages: name, or an index of a list. */
typedef struct Place {
    const struct Place *up;
    const char *name;           /* NULL: index counts */
    unsigned index;
} Place;

typedef struct Reader {
    bool keyval;
    GError **err;
} Reader;

static bool read_slot(const Reader *r, const QapiType *type, json_object *json, const Place *at, void *slot);

/* ---- messages ------------------------------------------------------------------------- */

static void append_place(GString *text, const Reader *r, const Place *at)
{
    if (!at) {
        return;
    }
    append_place(text, r, at->up);
    if (at->name) {
        g_string_append_printf(text, "%s%s", text->len ? "." : "", at->name);
    } else {
        g_string_append_printf(text, r->keyval ? ".%u" : "[%u]", at->index);
    }
}

static char *place_text(const Reader *r, const Place *at)
{
    GString *text = g_string_new("");

    append_place(text, r, at);
    if (!text->len) {
        g_string_append(text, "null");
    }
    return g_string_free(text, false);
}

static bool wrong_type(const Reader *r, const Place *at, const char *expected)
{
    g_autofree char *place = place_text(r, at);

    return error_set(r->err, "Invalid parameter type for '%s', expected: %s", place, expected);
}

static bool wrong_value(const Reader *r, const Place *at, const char *expects)
{
    g_autofree char *place = place_text(r, at);

    return error_set(r->err, "Parameter '%s' expects %s", place, expects);
}

/* json: where it should be, perhaps under a mistyped name. */
static bool missing(const Reader *r, const Place *up, const QapiMember *m, json_object *json)
{
    const char *const wanted[] = {m->name, NULL};
    g_autofree char *place = place_text(r, &(Place){.up = up, .name = m->name});

    json_object_object_foreach(json, key, member) {
        (void)member;
        g_autofree char *hint = suggest_names(key, wanted);
        if (strlen(key) > 2 && *hint) {
            return error_set(r->err, "Parameter '%s' is missing; is '%s' meant for it?", place, key);
        }
    }
    return error_set(r->err, r->keyval ? "Parameter '%s' is missing; "
                                         "add %s=" : "Parameter '%s' is missing", place, place);
}

static bool unexpected(const Reader *r, const Place *up, const char *name, const char *const *known)
{
    g_autofree char *place = place_text(r, &(Place){.up = up, .name = name});
    g_autofree char *hint = suggest_names(name, known);
    g_autofree char *all = g_strjoinv(", ", (char **)(uintptr_t)known);

    return error_set(r->err, "Parameter '%s' is unexpected%s%s%s", place, hint, !*all ? "" : r->keyval || !*hint ? "; "
                             "there are: " : "",
                     r->keyval || !*hint ? all : "");
}

/* ---- values in place ----------------------------------------------------------------------- */

/* The text of a string without NUL bytes, NULL for anything else. */
static const char *text_of(json_object *json)
{
    if (!json_object_is_type(json, json_type_string)) {
        return NULL;
    }
    const char *text = json_object_get_string(json);
    return strlen(text) == (size_t)json_object_get_string_len(json) ? text : NULL;
}

static bool store_int(const QapiType *type, int64_t value, void *slot)
{
    unsigned bits = type->size * 8;

    if (bits < 64 && (value < -(INT64_C(1) << (bits - 1)) || value >= INT64_C(1) << (bits - 1))) {
        return false;
    }
    memcpy(slot, &value, type->size); /* x86: the low bytes come first */
    return true;
}

static bool store_uint(const QapiType *type, uint64_t value, void *slot)
{
    if (type->size < 8 && value >> (type->size * 8)) {
        return false;
    }
    memcpy(slot, &value, type->size);
    return true;
}

/* An integer that is there, in whatever form. False: it is none; *fits false: out of 64 bits. */
static bool integer_of(const Reader *r, json_object *json, bool is_signed, uint64_t *value, bool *fits)
{
    const char *text = r->keyval ? text_of(json) : NULL;

    *fits = true;
    if (text) {
        char *end;

        errno = 0;
        *value = is_signed ? (uint64_t)strtoll(text, &end, 0) : strtoull(text, &end, 0);
        *fits = !errno && (is_signed || !strchr(text, '-'));
        return end != text && !*end && !g_ascii_isspace(*text);
    }
    if (!json_object_is_type(json, json_type_int)) {
        return false;
    }
    int64_t low = json_object_get_int64(json);
    uint64_t high = json_object_get_uint64(json);
    bool above = low == INT64_MAX && high > INT64_MAX;
    *fits = is_signed ? !above : low >= 0;
    *value = is_signed ? (uint64_t)low : high;
    return true;
}

static bool out_of_range(const Reader *r, const QapiType *type, const Place *at)
{
    bool is_signed = type->kind == QAPI_INT;
    unsigned bits = type->size * 8;
    uint64_t max = UINT64_MAX >> (64 - bits + is_signed);
    g_autofree char *range = g_strdup_printf("%sint%u_t, a number from %" PRId64 " to %" PRIu64, is_signed ? "" : "u", bits,
                                             is_signed ? -(int64_t)max - 1 : 0, max);

    return wrong_value(r, at, range);
}

static bool read_int(const Reader *r, const QapiType *type, json_object *json, const Place *at, void *slot)
{
    bool is_signed = type->kind == QAPI_INT, fits;
    uint64_t value;

    if (!integer_of(r, json, is_signed, &value, &fits)) {
        return r->keyval && text_of(json) ? wrong_value(r, at, "integer") : wrong_type(r, at, "integer");
    }
    if (fits && (is_signed ? store_int(type, (int64_t)value, slot) : store_uint(type, value, slot))) {
        return true;
    }
    return out_of_range(r, type, at);
}

static bool read_size(const Reader *r, const QapiType *type, json_object *json, const Place *at, void *slot)
{
    const char *text = r->keyval ? text_of(json) : NULL;

    if (text && !strchr(text, '-')) {
        return parse_size(text, 1, slot) || wrong_value(r, at, "a size: a number, perhaps with K, M, G, T, P or E");
    }
    return read_int(r, type, json, at, slot);
}

static bool read_number(const Reader *r, json_object *json, const Place *at, double *slot)
{
    const char *text = r->keyval ? text_of(json) : NULL;

    if (text) {
        char *end;

        *slot = g_ascii_strtod(text, &end);
        return (end != text && !*end && isfinite(*slot)) || wrong_value(r, at, "number");
    }
    if (!json_object_is_type(json, json_type_double) && !json_object_is_type(json, json_type_int)) {
        return wrong_type(r, at, "number");
    }
    *slot = json_object_get_double(json);
    return isfinite(*slot) || wrong_value(r, at, "a finite number");
}

static bool read_bool(const Reader *r, json_object *json, const Place *at, bool *slot)
{
    static const char *const words[] = {"off", "no", "false", "n", "on", "yes", "true", "y"};
    const char *text = r->keyval ? text_of(json) : NULL;

    for (unsigned i = 0; text && i < G_N_ELEMENTS(words); i++) {
        if (strcmp(text, words[i]) == 0) {
            *slot = i >= G_N_ELEMENTS(words) / 2;
            return true;
        }
    }
    if (text) {
        return wrong_value(r, at, "'on' or 'off'");
    }
    *slot = json_object_get_boolean(json);
    return json_object_is_type(json, json_type_boolean) || wrong_type(r, at, "boolean");
}

static bool read_enum(const Reader *r, const QapiType *type, json_object *json, const Place *at, int *slot)
{
    const char *text = text_of(json);
    int value = text ? qapi_enum_value(type, text) : -1;

    if (!text) {
        return wrong_type(r, at, "string");
    }
    if (value < 0) {
        g_autofree char *place = place_text(r, at);
        g_autofree char *hint = suggest_names(text, type->names);
        g_autofree char *all = g_strjoinv(", ", (char **)(uintptr_t)type->names);

        return error_set(r->err, "Parameter '%s' does not accept value '%s'%s; "
                                 "it is one of: %s", place, text, hint, all);
    }
    *slot = value;
    return true;
}

static bool read_in_place(const Reader *r, const QapiType *type, json_object *json, const Place *at, void *slot)
{
    switch (type->kind) {
    case QAPI_SIZE:
        return read_size(r, type, json, at, slot);
    case QAPI_NUMBER:
        return read_number(r, json, at, slot);
    case QAPI_BOOL:
        return read_bool(r, json, at, slot);
    case QAPI_ENUM:
        return read_enum(r, type, json, at, slot);
    case QAPI_NULL:
        return !json || wrong_type(r, at, "null");
    default:
        return read_int(r, type, json, at, slot);
    }
}

/* ---- structs, unions, alternates, lists ------------------------------------------------------- */

/* Names of all members that may stand here: those of the type, then of the branch that its tag chose. */
static const char *const *known_names(const QapiType *type, const void *value, GPtrArray *names)
{
    for (uint32_t i = 0; i < type->count; i++) {
        g_ptr_array_add(names, (char *)type->members[i].name);
    }
    const QapiType *variant = qapi_variant(type, value);
    if (variant) {
        return known_names(variant, qapi_at(value, type->variant_offset), names);
    }
    g_ptr_array_add(names, NULL);
    return (const char *const *)names->pdata;
}

static bool refuse_unknown(const Reader *r, const QapiType *type, json_object *json, const Place *at, const void *value)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    const char *const *known = known_names(type, value, names);

    json_object_object_foreach(json, key, member) {
        (void)member;
        if (!g_strv_contains(known, key)) {
            return unexpected(r, at, key, known);
        }
    }
    return true;
}

/* *found counts the members that are there. */
static bool read_members(const Reader *r, const QapiType *type, json_object *json, const Place *at, void *value,
                         int *found)
{
    for (uint32_t i = 0; i < type->count; i++) {
        const QapiMember *m = &type->members[i];
        json_object *member;

        if (!json_object_object_get_ex(json, m->name, &member)) {
            if (m->optional) {
                continue;
            }
            return missing(r, at, m, json);
        }
        ++*found;
        if (!read_slot(r, m->type, member, &(Place){.up = at, .name = m->name}, qapi_at(value, m->offset))) {
            return false;
        }
        if (m->optional && qapi_in_place(m->type)) {
            *(bool *)qapi_at(value, m->has_offset) = true;
        }
    }
    const QapiType *variant = qapi_variant(type, value);
    return !variant || read_members(r, variant, json, at, qapi_at(value, type->variant_offset), found);
}

/* Text in an option may mean a number or a word where the type has no text. */
static unsigned branch_fits_text(const Reader *r, const QapiType *type, json_object *json)
{
    const char *text = json_object_get_string(json);

    if (type->kind == QAPI_STR) {
        return 3;
    }
    if (type->kind == QAPI_ENUM) {
        return qapi_enum_value(type, text) >= 0 ? 3 : 1;
    }
    if (!r->keyval || type->kind > QAPI_BOOL) {
        return 0;
    }
    return g_ascii_isalpha(*text) == (type->kind == QAPI_BOOL) ? 2 : 0;
}

/* How well a branch fits this value; 0: not at all. */
static unsigned branch_fits(const Reader *r, const QapiType *type, json_object *json)
{
    switch (json_object_get_type(json)) {
    case json_type_null:
        return type->kind == QAPI_NULL;
    case json_type_boolean:
        return type->kind == QAPI_BOOL;
    case json_type_int:
    case json_type_double:
        return type->kind <= QAPI_NUMBER;
    case json_type_object:
        return type->kind == QAPI_STRUCT || type->kind == QAPI_UNION;
    case json_type_array:
        return type->kind == QAPI_LIST;
    case json_type_string:
        return branch_fits_text(r, type, json);
    }
    return 0;
}

static bool read_struct(const Reader *r, const QapiType *type, json_object *json, const Place *at, void *value);

static bool read_alternate(const Reader *r, const QapiType *type, json_object *json, const Place *at, void *value)
{
    unsigned best = 0;
    uint32_t kind = 0;

    for (uint32_t i = 0; i < type->count; i++) {
        unsigned fit = branch_fits(r, type->members[i].type, json);

        if (fit > best) {
            best = fit;
            kind = i;
        }
    }
    if (!best) {
        return wrong_type(r, at, type->name);
    }
    *(int *)value = (int)kind;
    const QapiMember *branch = &type->members[kind];
    void *slot = qapi_at(value, branch->offset);
    return qapi_is_struct(branch->type) ? read_struct(r, branch->type, json, at, slot)
                                        : read_slot(r, branch->type, json, at, slot);
}

static bool read_struct(const Reader *r, const QapiType *type, json_object *json, const Place *at, void *value)
{
    int found = 0;

    if (type->kind == QAPI_ALTERNATE) {
        return read_alternate(r, type, json, at, value);
    }
    if (!json_object_is_type(json, json_type_object)) {
        return wrong_type(r, at, "object");
    }
    if (!read_members(r, type, json, at, value, &found)) {
        return false;
    }
    return found == json_object_object_length(json) || refuse_unknown(r, type, json, at, value);
}

/* Elements are added before they are read, so that what is half read is freed with the list. */
static bool read_list(const Reader *r, const QapiType *type, json_object *json, const Place *at, void **slot)
{
    const QapiType *element = type->element;
    bool in_place = qapi_in_place(element);

    if (!json_object_is_type(json, json_type_array)) {
        return wrong_type(r, at, "array");
    }
    unsigned count = (unsigned)json_object_array_length(json);
    if (in_place) {
        *slot = g_array_set_size(g_array_sized_new(false, true, element->size, count), count);
    } else {
        *slot = g_ptr_array_sized_new(count);
        g_ptr_array_set_size(*slot, (int)count);
    }
    char *data = ((GArray *)*slot)->data; /* both kinds of array begin with it */
    size_t step = in_place ? element->size : sizeof(void *);
    for (unsigned i = 0; i < count; i++) {
        if (!read_slot(r, element, json_object_array_get_idx(json, i), &(Place){.up = at, .index = i},
                       data + i * step)) {
            return false;
        }
    }
    return true;
}

static bool read_slot(const Reader *r, const QapiType *type, json_object *json, const Place *at, void *slot)
{
    if (qapi_in_place(type)) {
        return read_in_place(r, type, json, at, slot);
    }
    if (type->kind == QAPI_ANY) {
        *(json_object **)slot = json_object_get(json);
        return true;
    }
    if (type->kind == QAPI_LIST) {
        return read_list(r, type, json, at, slot);
    }
    if (type->kind == QAPI_STR) {
        const char *text = text_of(json);

        *(char **)slot = g_strdup(text);
        return text || wrong_type(r, at, "string");
    }
    *(void **)slot = g_malloc0(type->size);
    return read_struct(r, type, json, at, *(void **)slot);
}

bool qapi_read(const QapiType *type, json_object *json, unsigned flags, void **value, GError **err)
{
    const Reader r = {.keyval = flags & QAPI_KEYVAL, .err = err};
    void *made = qapi_in_place(type) ? g_malloc0(type->size) : NULL;

    if (!read_slot(&r, type, json, NULL, made ? made : &made)) {
        qapi_free(type, made);
        *value = NULL;
        return false;
    }
    *value = made;
    return true;
}
