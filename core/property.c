/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kinds of properties that every room uses. Texts are QEMU's forms (on/off, 0x10, 64K). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/object.h"
#include "core/vm.h"
#include "util/keyval.h"

/* ---- numbers --------------------------------------------------------------------------- */

static uint64_t load_field(const void *field, unsigned size)
{
    uint64_t v = 0;

    memcpy(&v, field, size); /* x86: little-endian hosts only */
    return v;
}

static bool bad_value(const Property *p, const char *text, const char *expects, GError **err)
{
    return error_set(err, "Parameter '%s' expects %s, got '%s'", p->name, expects, text);
}

static bool set_unsigned(const Property *p, void *field, unsigned size, const char *text, GError **err)
{
    uint64_t max = p->max ? p->max : all_ones(size);
    char *end;

    errno = 0;
    const char *start = text + strspn(text, " \t");
    uint64_t v = strtoull(start, &end, 0);
    if (errno || end == start || *end || *start == '-') {
        return bad_value(p, text, "a number", err);
    }
    if (v < p->min || v > max) {
        return error_set(err, "Parameter '%s' is %s, allowed is %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT,
                         p->name, text, p->min, max);
    }
    memcpy(field, &v, size);
    return true;
}

static bool set_signed(const Property *p, void *field, unsigned size, const char *text, GError **err)
{
    int64_t max = p->max ? (int64_t)p->max : (int64_t)(all_ones(size) >> 1);
    int64_t min = p->min ? (int64_t)p->min : p->max ? 0 : -max - 1;
    char *end;

    errno = 0;
    int64_t v = strtoll(text, &end, 0);
    if (errno || end == text || *end) {
        return bad_value(p, text, "a number", err);
    }
    if (v < min || v > max) {
        return error_set(err, "Parameter '%s' is %s, allowed is %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT, p->name,
                         text, min, max);
    }
    memcpy(field, &v, size);
    return true;
}

static inline json_object *new_u64(uint64_t v) { return json_object_new_uint64(v); }
static inline json_object *new_i64(int64_t v) { return json_object_new_int64(v); }
#define DEFINE_NUMBER(bits, letter, type_name, setter, make, ctype)                                \
    static bool set_##letter##bits(Object *o, const Property *p, void *f, const char *t, GError **e) \
    {                                                                                              \
        return setter(p, f, bits / 8, t, e);                                                       \
    }                                                                                              \
    static json_object *get_##letter##bits(Object *o, const Property *p, const void *f)            \
    {                                                                                              \
        return make((ctype)load_field(f, bits / 8));                                               \
    }                                                                                              \
    static void def_##letter##bits(const Property *p, void *f) { memcpy(f, &p->def, bits / 8); }   \
    const PropKind prop_kind_##letter##bits = {                                                    \
        type_name, json_type_int, set_##letter##bits, get_##letter##bits, def_##letter##bits, NULL};
DEFINE_NUMBER(8, u, "uint8", set_unsigned, new_u64, uint8_t)
DEFINE_NUMBER(16, u, "uint16", set_unsigned, new_u64, uint16_t)
DEFINE_NUMBER(32, u, "uint32", set_unsigned, new_u64, uint32_t)
DEFINE_NUMBER(64, u, "uint64", set_unsigned, new_u64, uint64_t)
DEFINE_NUMBER(32, i, "int32", set_signed, new_i64, int32_t)
DEFINE_NUMBER(64, i, "int64", set_signed, new_i64, int64_t)

/* ---- sizes with suffixes ------------------------------------------------------------------ */

static bool set_size_bytes(const Property *p, void *f, unsigned size, const char *text, GError **err)
{
    uint64_t v, max = p->max ? p->max : all_ones(size);

    if (!parse_size(text, 1, &v)) {
        return bad_value(p, text, "a size: a number with K, M, G, T or nothing for bytes", err);
    }
    if (v < p->min || v > max) {
        return error_set(err, "Parameter '%s' is %s, allowed is %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT " bytes",
                         p->name, text, p->min, max);
    }
    memcpy(f, &v, size);
    return true;
}

static bool set_size(Object *o, const Property *p, void *f, const char *t, GError **e)
{
    return set_size_bytes(p, f, 8, t, e);
}
static bool set_size32(Object *o, const Property *p, void *f, const char *t, GError **e)
{
    return set_size_bytes(p, f, 4, t, e);
}
const PropKind prop_kind_size = {"size", json_type_int, set_size, get_u64, def_u64, NULL};
const PropKind prop_kind_size32 = {"size", json_type_int, set_size32, get_u32, def_u32, NULL};

/* ---- truth values ---------------------------------------------------------------------------- */

static bool parse_bool(const Property *p, const char *text, bool *v, GError **err)
{
    static const char *const yes[] = {"on", "yes", "true", "y", NULL};
    static const char *const no[] = {"off", "no", "false", "n", NULL};

    *v = g_strv_contains(yes, text);
    return *v || g_strv_contains(no, text) || bad_value(p, text, "'on' or 'off'", err);
}

static bool set_bool(Object *o, const Property *p, void *field, const char *text, GError **err)
{
    return parse_bool(p, text, field, err);
}
static json_object *get_bool(Object *o, const Property *p, const void *field)
{
    return json_object_new_boolean(*(const bool *)field);
}
static void def_bool(const Property *p, void *field) { *(bool *)field = p->def != 0; }
const PropKind prop_kind_bool = {"bool", json_type_boolean, set_bool, get_bool, def_bool, NULL};

static void put_bit(const Property *p, void *field, unsigned size, bool on)
{
    uint64_t v = load_field(field, size), mask = UINT64_C(1) << p->bit;

    v = on ? v | mask : v & ~mask;
    memcpy(field, &v, size);
}
#define DEFINE_BIT(bits)                                                                           \
    static bool set_bit##bits(Object *o, const Property *p, void *field, const char *t, GError **e) \
    {                                                                                              \
        bool on;                                                                                   \
        if (!parse_bool(p, t, &on, e)) {                                                           \
            return false;                                                                          \
        }                                                                                          \
        put_bit(p, field, bits / 8, on);                                                           \
        return true;                                                                               \
    }                                                                                              \
    static json_object *get_bit##bits(Object *o, const Property *p, const void *field)             \
    {                                                                                              \
        return json_object_new_boolean(load_field(field, bits / 8) >> p->bit & 1);                 \
    }                                                                                              \
    static void def_bit##bits(const Property *p, void *field) { put_bit(p, field, bits / 8, p->def != 0); } \
    const PropKind prop_kind_bit##bits = {                                                         \
        "bool", json_type_boolean, set_bit##bits, get_bit##bits, def_bit##bits, NULL};
DEFINE_BIT(32)
DEFINE_BIT(64)

/* ---- names ----------------------------------------------------------------------------------- */

static bool set_name(const Property *p, const char *const *values, void *field, const char *text, GError **err)
{
    for (int i = 0; values[i]; i++) {
        if (!strcmp(values[i], text)) {
            *(int *)field = i;
            return true;
        }
    }
    g_autofree char *all = g_strjoinv(", ", (char **)(uintptr_t)values);
    return error_set(err, "Parameter '%s' does not accept value '%s'; it is one of: %s", p->name, text, all);
}
static bool set_enum(Object *o, const Property *p, void *field, const char *text, GError **err)
{
    return set_name(p, p->values, field, text, err);
}
static json_object *get_enum(Object *o, const Property *p, const void *field)
{
    return json_object_new_string(p->values[*(const int *)field]);
}
static void def_enum(const Property *p, void *field) { *(int *)field = (int)p->def; }
const PropKind prop_kind_enum = {"str", json_type_string, set_enum, get_enum, def_enum, NULL};

static const char *const on_off_auto_names[] = {"auto", "on", "off", NULL};

static bool set_on_off_auto(Object *o, const Property *p, void *field, const char *text, GError **err)
{
    return set_name(p, on_off_auto_names, field, text, err);
}
static json_object *get_on_off_auto(Object *o, const Property *p, const void *field)
{
    return json_object_new_string(on_off_auto_names[*(const int *)field]);
}
const PropKind prop_kind_on_off_auto = {"OnOffAuto", json_type_string, set_on_off_auto, get_on_off_auto, def_enum, NULL};

/* ---- strings, addresses, ids ------------------------------------------------------------------- */

static bool set_string(Object *o, const Property *p, void *field, const char *text, GError **err)
{
    char **s = field;

    g_free(*s);
    *s = g_strdup(text);
    return true;
}
static json_object *get_string(Object *o, const Property *p, const void *field)
{
    const char *s = *(char *const *)field;

    return json_object_new_string(s ? s : "");
}
static void def_string(const Property *p, void *field) { *(char **)field = g_strdup(p->def_str); }
static void release_string(Object *o, const Property *p, void *field) { g_clear_pointer((char **)field, g_free); }
const PropKind prop_kind_string = {"str", json_type_string, set_string, get_string, def_string, release_string};

const PropKind prop_kind_object_id = {"string", json_type_string, set_string, get_string, def_string, release_string};

static bool set_mac(Object *o, const Property *p, void *field, const char *text, GError **err)
{
    uint8_t mac[6];

    for (int i = 0; i < 6; i++) {
        char *end;

        if (!g_ascii_isxdigit(text[0]) || !g_ascii_isxdigit(text[1])) {
            return bad_value(p, text, "a MAC address (52:54:00:12:34:56)", err);
        }
        mac[i] = (uint8_t)strtoul(text, &end, 16);
        if (end != text + 2 || (i < 5 && *end != ':' && *end != '-') || (i == 5 && *end)) {
            return bad_value(p, text, "a MAC address (52:54:00:12:34:56)", err);
        }
        text = end + 1;
    }
    memcpy(field, mac, 6);
    return true;
}
static json_object *get_mac(Object *o, const Property *p, const void *field)
{
    const uint8_t *m = field;
    char text[18];

    snprintf(text, sizeof text, "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
    return json_object_new_string(text);
}
const PropKind prop_kind_mac = {"str", json_type_string, set_mac, get_mac, NULL, NULL};

static bool set_uuid(Object *o, const Property *p, void *field, const char *text, GError **err)
{
    uint8_t uuid[16];
    unsigned n = 0;

    if (!g_uuid_string_is_valid(text)) {
        return bad_value(p, text, "a UUID (11a12737-df26-48b3-8f81-1fa39cb470a9)", err);
    }
    for (const char *c = text; *c && n < 16; c += 2) {
        c += *c == '-';
        uuid[n++] = (uint8_t)(g_ascii_xdigit_value(c[0]) << 4 | g_ascii_xdigit_value(c[1]));
    }
    memcpy(field, uuid, 16);
    return true;
}
static json_object *get_uuid(Object *o, const Property *p, const void *field)
{
    const uint8_t *u = field;
    GString *text = g_string_new(NULL);

    for (int i = 0; i < 16; i++) {
        g_string_append_printf(text, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", u[i]);
    }
    json_object *json = json_object_new_string(text->str);
    g_string_free(text, true);
    return json;
}
const PropKind prop_kind_uuid = {"str", json_type_string, set_uuid, get_uuid, NULL, NULL};

/* ---- links ------------------------------------------------------------------------------------- */

static bool set_link(Object *obj, const Property *p, void *field, const char *text, GError **err)
{
    Object *target = object_resolve(obj->vm, text);

    if (!target) {
        return error_set_class(err, KILN_ERROR_DEVICE_NOT_FOUND, "Device '%s' not found; %s= takes the id of an object%s%s that there is",
                               text, p->name, p->link_type ? " of type " : "", p->link_type ? p->link_type : "");
    }
    if (p->link_type && !object_is_a(target, p->link_type)) {
        return error_set(err, "Invalid parameter type for '%s', expected: %s", p->name, p->link_type);
    }
    object_ref(target);
    object_unref(*(Object **)field);
    *(Object **)field = target;
    return true;
}
static json_object *get_link(Object *o, const Property *p, const void *field)
{
    Object *target = *(Object *const *)field;
    g_autofree char *path = target ? object_path(target) : NULL;

    return json_object_new_string(path ? path : "");
}
static void release_link(Object *o, const Property *p, void *field)
{
    object_unref(g_steal_pointer((Object **)field));
}
const PropKind prop_kind_link = {"link", json_type_string, set_link, get_link, NULL, release_link};
