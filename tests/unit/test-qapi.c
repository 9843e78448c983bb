/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The schema's reader, writer and parsers: on a sample with one of each thing, then on the whole schema. */
#include <json-c/json_tokener.h>
#include <json-c/linkhash.h>
#include <math.h>
#include <string.h>

#include "core/event.h"
#include "core/object_schema.h"
#include "core/vm.h"
#include "qapi/introspect.h"
#include "qapi/qapi-commands.h"
#include "qapi/qapi_internal.h"
#include "tests/unit/qapi-sample.h"

/* ---- helpers ------------------------------------------------------------------------------ */

static json_object *parse(const char *text)
{
    json_object *json;
    GError *err = NULL;
    bool ok = qapi_parse_json(text, strlen(text), &json, &err);

    g_assert_no_error(err);
    g_assert_true(ok);
    return json;
}

/* Reads text as this type, writes it again and expects the same; then the same of a clone. */
static void round_trip(const QapiType *type, json_object *json)
{
    GError *err = NULL;
    void *value;
    bool ok = qapi_read(type, json, 0, &value, &err);

    g_assert_no_error(err);
    g_assert_true(ok);
    void *copy = qapi_clone(type, value);
    json_object *again = qapi_write(type, value);
    if (!json_object_equal(json, again)) {
        g_error("%s: %s became %s", type->name, json_object_to_json_string(json), json_object_to_json_string(again));
    }
    json_object_put(again);
    qapi_free(type, value);
    again = qapi_write(type, copy);
    g_assert_true(json_object_equal(json, again));
    json_object_put(again);
    qapi_free(type, copy);
}

/* The reading fails, and says so. */
static void assert_refused(const QapiType *type, json_object *json, unsigned flags, const char *message)
{
    g_autoptr(GError) err = NULL;
    void *value = (void *)1;

    g_assert_false(qapi_read(type, json, flags, &value, &err));
    g_assert_null(value);
    g_assert_error(err, KILN_ERROR, KILN_ERROR_GENERIC);
    g_assert_cmpstr(err->message, ==, message);
}

static void refused(const QapiType *type, const char *text, const char *message)
{
    json_object *json = parse(text);

    assert_refused(type, json, 0, message);
    json_object_put(json);
}

static void option_refused(const QapiType *type, const char *text, const char *message)
{
    g_autoptr(GError) err = NULL;
    void *value;

    g_assert_false(qapi_read_option(type, text, "kind", &value, &err));
    g_assert_cmpstr(err->message, ==, message);
}

/* ---- random values ------------------------------------------------------------------------ */

static json_object *random_value(GRand *rand, const QapiType *type, unsigned depth);

static json_object *random_int(GRand *rand, const QapiType *type)
{
    unsigned bits = type->size * 8;
    uint64_t value = (uint64_t)g_rand_int(rand) << 32 | g_rand_int(rand);

    value >>= g_rand_int_range(rand, 0, 64);
    if (type->kind != QAPI_INT) {
        return json_object_new_uint64(bits < 64 ? value & ((UINT64_C(1) << bits) - 1) : value);
    }
    return json_object_new_int64((int64_t)(value << (64 - bits)) >> (64 - bits));
}

static json_object *random_text(GRand *rand)
{
    static const char *const samples[] = {"", "a", "\xc3\xa4\xe2\x82\xac", "\"\\/\b\n", "\xf0\x9f\x90\xa7", "' ,="};

    return json_object_new_string(samples[g_rand_int_range(rand, 0, G_N_ELEMENTS(samples))]);
}

static json_object *random_list(GRand *rand, const QapiType *type, unsigned depth)
{
    json_object *list = json_object_new_array();

    for (int i = depth ? g_rand_int_range(rand, 0, 4) : 0; i > 0; i--) {
        json_object_array_add(list, random_value(rand, type->element, depth - 1));
    }
    return list;
}

static void random_members(GRand *rand, const QapiType *type, json_object *object, unsigned depth)
{
    int tag = -1;

    for (uint32_t i = 0; i < type->count; i++) {
        const QapiMember *m = &type->members[i];

        if (m->optional && (!depth || g_rand_boolean(rand))) {
            continue;
        }
        /* A null that may be left out is written as nothing at all. */
        json_object *value = random_value(rand, m->type, depth ? depth - 1 : 0);
        if (type->kind == QAPI_UNION && m == type->tag) {
            tag = qapi_enum_value(m->type, json_object_get_string(value));
        }
        json_object_object_add(object, m->name, value);
    }
    if (tag >= 0 && type->variants[tag]) {
        random_members(rand, type->variants[tag], object, depth ? depth - 1 : 0);
    }
}

static json_object *random_value(GRand *rand, const QapiType *type, unsigned depth)
{
    json_object *object;

    switch (type->kind) {
    case QAPI_INT:
    case QAPI_UINT:
    case QAPI_SIZE:
        return random_int(rand, type);
    case QAPI_NUMBER:
        return json_object_new_double(g_rand_double_range(rand, -1e9, 1e9));
    case QAPI_BOOL:
        return json_object_new_boolean(g_rand_boolean(rand));
    case QAPI_ENUM:
        return json_object_new_string(type->names[g_rand_int_range(rand, 0, (int)type->count)]);
    case QAPI_NULL:
        return NULL;
    case QAPI_STR:
    case QAPI_ANY:
        return random_text(rand);
    case QAPI_LIST:
        return random_list(rand, type, depth);
    case QAPI_ALTERNATE:
        /* The last branch ends what would go on for ever. */
        return random_value(rand, type->members[depth ? g_rand_int_range(rand, 0, (int)type->count)
                                                      : (int)type->count - 1].type, depth ? depth - 1 : 0);
    case QAPI_STRUCT:
    case QAPI_UNION:
        object = json_object_new_object();
        random_members(rand, type, object, depth);
        return object;
    }
    return NULL;
}

static void random_round_trips(const QapiType *type, unsigned count)
{
    GRand *rand = g_rand_new_with_seed(g_str_hash(type->name));

    for (unsigned i = 0; i < count; i++) {
        json_object *json = random_value(rand, type, 6);

        round_trip(type, json);
        json_object_put(json);
    }
    g_rand_free(rand);
}

/* Puts something else where a random member or element was. */
static void spoil(GRand *rand, json_object *json)
{
    static const char *const others[] = {"null", "3", "-1", "1e300", "true", "\"x\"", "[]", "{}", "[null]",
                                         "18446744073709551615", "{\"a\":{\"b\":[1]}}"};
    json_object *other = parse(others[g_rand_int_range(rand, 0, G_N_ELEMENTS(others))]);

    if (json_object_is_type(json, json_type_array) && json_object_array_length(json)) {
        json_object_array_put_idx(json, 0, other);
    } else if (json_object_is_type(json, json_type_object)) {
        int skip = g_rand_int_range(rand, 0, json_object_object_length(json) + 1);
        json_object_object_foreach(json, key, member) {
            if (!skip--) {
                if (member && g_rand_boolean(rand)) {
                    spoil(rand, member);
                    json_object_put(other);
                } else if (g_rand_int_range(rand, 0, 4)) {
                    json_object_object_add(json, key, other);
                } else {
                    json_object_object_del(json, key);
                    json_object_put(other);
                }
                return;
            }
        }
        json_object_object_add(json, "stray", other);
    } else {
        json_object_put(other);
    }
}

/* Whatever comes is either read or refused with a message; nothing is lost (ASan looks). */
static void random_mistakes(const QapiType *type, unsigned count)
{
    GRand *rand = g_rand_new_with_seed(g_str_hash(type->name) + 1);

    for (unsigned i = 0; i < count; i++) {
        json_object *json = random_value(rand, type, 5);
        g_autoptr(GError) err = NULL;
        void *value;

        spoil(rand, json);
        if (qapi_read(type, json, i & 1 ? QAPI_KEYVAL : 0, &value, &err)) {
            json_object_put(qapi_write(type, value));
            qapi_free(type, value);
        } else {
            g_assert_nonnull(err);
            g_assert_null(value);
        }
        json_object_put(json);
    }
    g_rand_free(rand);
}

static void test_whole_schema(void)
{
    g_assert_cmpuint(qapi_type_count, >, 10);
    for (unsigned i = 0; i < qapi_type_count; i++) {
        g_assert_true(i == 0 || strcmp(qapi_types[i - 1]->name, qapi_types[i]->name) < 0);
        random_round_trips(qapi_types[i], 30);
        random_mistakes(qapi_types[i], 60);
    }
}

/* ---- reader and writer ---------------------------------------------------------------------- */

static void test_round_trips(void)
{
    static const QapiType *const types[] = {
        &qapi_type_Colour, &qapi_type_Scalars, &qapi_type_Optional, &qapi_type_Lists, &qapi_type_Shape,
        &qapi_type_ShapeRef, &qapi_type_Value, &qapi_type_Values, &qapi_type_Empty, &qapi_list_Shape, &qapi_list_int,
        &qapi_type_str, &qapi_type_number, &qapi_type_any, &qapi_list_ShapeRef};

    for (unsigned i = 0; i < G_N_ELEMENTS(types); i++) {
        random_round_trips(types[i], 300);
        random_mistakes(types[i], 600);
    }
}

static void test_values_in_c(void)
{
    json_object *json = parse("{\"kind\":\"group\",\"colour\":\"dark-green\",\"first\":\"a\",\"others\":"
                              "[{\"kind\":\"square\",\"side\":-3,\"default\":true},\"b\"]}");
    void *value;

    g_assert_true(qapi_read(&qapi_type_Shape, json, 0, &value, NULL));
    json_object_put(json);
    const Shape *shape = value;
    g_assert_cmpint(shape->kind, ==, SHAPE_KIND_GROUP);
    g_assert_null(shape->node_name);
    g_assert_true(shape->has_colour);
    g_assert_cmpint(shape->colour, ==, COLOUR_DARK_GREEN);
    g_assert_cmpint(shape->u.group.first->kind, ==, SHAPE_REF_REFERENCE);
    g_assert_cmpstr(shape->u.group.first->u.reference, ==, "a");
    g_assert_cmpuint(shape->u.group.others->len, ==, 2);
    const ShapeRef *other = shape->u.group.others->pdata[0];
    g_assert_cmpint(other->kind, ==, SHAPE_REF_DEFINITION);
    g_assert_cmpint(other->u.definition.u.square.side, ==, -3);
    g_assert_true(other->u.definition.u.square.q_default);
    g_assert_cmpint(COLOUR__COUNT, ==, 3);
    g_assert_cmpstr(qapi_enum_name(&qapi_type_ShapeKind, SHAPE_KIND_3D), ==, "3d");
    qapi_free(&qapi_type_Shape, value);
}

static void test_limits(void)
{
    refused(&qapi_list_int8, "[1,128]", "Parameter '[1]' expects int8_t, a number from -128 to 127");
    refused(&qapi_list_int8, "[-129]", "Parameter '[0]' expects int8_t, a number from -128 to 127");
    refused(&qapi_list_uint8, "[256]", "Parameter '[0]' expects uint8_t, a number from 0 to 255");
    refused(&qapi_list_uint16, "[65536]", "Parameter '[0]' expects uint16_t, a number from 0 to 65535");
    refused(&qapi_list_uint64, "[-1]", "Parameter '[0]' expects uint64_t, a number from 0 to 18446744073709551615");
    refused(&qapi_list_int, "[9223372036854775808]", "Parameter '[0]' expects int64_t, a number from -9223372036854775808 to 9223372036854775807");
    refused(&qapi_list_int, "[1.0]", "Invalid parameter type for '[0]', expected: integer");
    refused(&qapi_list_number, "[1e999]", "Parameter '[0]' expects a finite number");
    refused(&qapi_list_str, "[\"a\\u0000b\"]", "Invalid parameter type for '[0]', expected: string");
    json_object *json = parse("[-128,127,0]");
    round_trip(&qapi_list_int8, json);
    json_object_put(json);
    json = parse("[18446744073709551615]");
    round_trip(&qapi_list_uint64, json);
    json_object_put(json);
    json = parse("[-9223372036854775808,9223372036854775807]");
    round_trip(&qapi_list_int, json);
    json_object_put(json);
}

static void test_messages(void)
{
    const QapiType *shape = &qapi_type_Shape;

    refused(shape, "[]", "Invalid parameter type for 'null', expected: object");
    refused(shape, "{}", "Parameter 'kind' is missing");
    refused(shape, "{\"kind\":null}", "Invalid parameter type for 'kind', expected: string");
    refused(shape, "{\"kind\":\"squares\"}",
            "Parameter 'kind' does not accept value 'squares' (did you mean 'square'?); it is one of: circle, "
            "square, group, nothing, 3d");
    refused(shape, "{\"kind\":\"square\"}", "Parameter 'side' is missing");
    refused(shape, "{\"kind\":\"square\",\"side\":\"3\"}", "Invalid parameter type for 'side', expected: integer");
    refused(shape, "{\"kind\":\"square\",\"side\":3,\"colur\":\"red\"}",
            "Parameter 'colur' is unexpected (did you mean 'colour'?)");
    refused(shape, "{\"kind\":\"circle\",\"radius\":3,\"side\":3}",
            "Parameter 'side' is unexpected; there are: node-name, kind, colour, radius");
    refused(shape, "{\"kind\":\"circle\",\"radius\":true}", "Invalid parameter type for 'radius', expected: number");
    refused(shape, "{\"kind\":\"group\",\"first\":3}", "Invalid parameter type for 'first', expected: ShapeRef");
    refused(shape, "{\"kind\":\"group\",\"first\":\"a\",\"others\":{}}",
            "Invalid parameter type for 'others', expected: array");
    refused(shape, "{\"kind\":\"group\",\"first\":\"a\",\"others\":[\"a\",{\"kind\":\"square\",\"zork\":1}]}",
            "Parameter 'others[1].side' is missing");
    refused(shape, "{\"kind\":\"group\",\"first\":{\"kind\":\"square\",\"side\":1,\"default\":0}}",
            "Invalid parameter type for 'first.default', expected: boolean");
    refused(&qapi_type_Values, "{\"value\":{}}", "Invalid parameter type for 'value', expected: Value");
    refused(&qapi_type_Empty, "{\"a\":1}", "Parameter 'a' is unexpected");
}

static void test_broken_text_is_repaired(void)
{
    Named named = {.node_name = (char *)"a\xff"};
    json_object *json = qapi_write(&qapi_type_Named, &named);

    g_assert_cmpstr(json_object_get_string(json_object_object_get(json, "node-name")), ==, "a\xef\xbf\xbd");
    json_object_put(json);
}

/* ---- JSON text -------------------------------------------------------------------------------- */

static void json_refused(const char *text, size_t len, const char *part)
{
    g_autoptr(GError) err = NULL;
    json_object *json = (json_object *)1;

    if (qapi_parse_json(text, len, &json, &err)) {
        g_error("%.*s was taken", (int)len, text);
    }
    g_assert_null(json);
    if (!strstr(err->message, part)) {
        g_error("%.*s: '%s' does not say '%s'", (int)len, text, err->message, part);
    }
}

static void test_malformed_json(void)
{
    static const struct {
        const char *text, *part;
    } bad[] = {
        {"", "ends too early"}, {" ", "ends too early"}, {"{", "ends too early"}, {"{\"a\":1", "ends too early"},
        {"\"abc", "ends too early"}, {"nul", "ends too early"}, {"[1,2", "ends too early"}, {"{\"a\"", "ends too early"},
        {"{} {}", "byte"}, {"{}x", "byte"}, {"[1,]", "byte"}, {"{\"a\":1,}", "byte"}, {"{a:1}", "byte"},
        {"[01]", "byte"}, {"[NaN]", "byte"}, {"[Infinity]", "byte"}, {"[-]", "byte"}, {"[nan]", "byte"}, {"[nUll]", "byte"}, {"TRUE", "byte"},
        {"\"\\q\"", "byte"}, {"\"\\u12\"", "byte"}, {"{\"a\" 1}", "byte"}, {"/* x */ 1", "byte"},
        {"\"a\tb\"", "stray character 0x09"}, {"\"\xff\"", "UTF-8"}, {"\"\xc0\x80\"", "UTF-8"},
        {"\"\xed\xa0\x80\"", "UTF-8"}, {"\xfe\xff", "UTF-8"}, {"'a", "ends too early"}, {"+1", "byte"},
        {"[18446744073709551616]", "64 bits"}, {"[-9223372036854775809]", "64 bits"},
        {"{\"a\":100000000000000000000}", "64 bits"},
        {"\"\\ud800\"", "Unicode"}, {"\"x\\udc00\"", "Unicode"}, {"\"\\ud800\\u0041\"", "Unicode"}, {"\"\\ud800\\ud800\"", "Unicode"},
        {"\"\\ud800\\n\"", "Unicode"}, {"\"\\udc00\\ud800\"", "Unicode"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        json_refused(bad[i].text, strlen(bad[i].text), bad[i].part);
    }
    json_refused("\"a\0b\"", 5, "UTF-8");
}

static void test_truncated_json(void)
{
    const char *text = "{\"a\":[1,-2.5e3,true,null,\"x\\u00e4\\ud83d\\ude00\\\\ud800\\n\",{\"b\":{}}],\"c\":'q\"\\''}";
    json_object *json = parse(text);

    g_assert_cmpstr(json_object_get_string(json_object_object_get(json, "c")), ==, "q\"'");
    json_object_put(json);
    for (size_t len = 0; len < strlen(text); len++) {
        g_autofree char *part = g_memdup2(text, len + 1); /* ASan sees one byte too many */
        json_refused(part, len, "JSON parse error");
    }
}

static void test_huge_json(void)
{
    g_autoptr(GString) text = g_string_new("");
    json_object *json;

    for (unsigned i = 0; i < 100000; i++) {
        g_string_append_c(text, '[');
    }
    json_refused(text->str, text->len, "deeper than 1024 levels");
    g_string_truncate(text, 500);
    for (unsigned i = 0; i < 500; i++) {
        g_string_append_c(text, ']');
    }
    json_object_put(parse(text->str));
    /* 100 MB: refused before a byte is copied; 1 MB of it is fine. */
    g_string_set_size(text, 100u << 20);
    memset(text->str, 'a', text->len);
    text->str[0] = '"';
    text->str[text->len - 1] = '"';
    json_refused(text->str, text->len, "longer than 64 MiB");
    text->str[(1u << 20) - 1] = '"';
    g_assert_true(qapi_parse_json(text->str, 1u << 20, &json, NULL));
    g_assert_cmpint(json_object_get_string_len(json), ==, (1 << 20) - 2);
    json_object_put(json);
}

static void test_scalars_at_top(void)
{
    json_object *json;

    g_assert_true(qapi_parse_json("null", 4, &json, NULL));
    g_assert_null(json);
    g_assert_true(qapi_parse_json(" 12 \n", 5, &json, NULL));
    g_assert_cmpint(json_object_get_int64(json), ==, 12);
    json_object_put(json);
    g_assert_true(qapi_parse_json("true", 4, &json, NULL));
    g_assert_true(json_object_get_boolean(json));
    json_object_put(json);
}

/* ---- key=value ------------------------------------------------------------------------------------ */

static void keyval_gives(const char *text, const char *implied, const char *expected)
{
    GError *err = NULL;
    json_object *json = qapi_parse_keyval(text, implied, &err), *want = parse(expected);

    g_assert_no_error(err);
    if (!json_object_equal(json, want)) {
        g_error("%s gave %s", text, json_object_to_json_string(json));
    }
    json_object_put(json);
    json_object_put(want);
}

static void keyval_refused(const char *text, const char *message)
{
    g_autoptr(GError) err = NULL;

    g_assert_null(qapi_parse_keyval(text, NULL, &err));
    g_assert_cmpstr(err->message, ==, message);
}

static void test_keyval(void)
{
    keyval_gives("", NULL, "{}");
    keyval_gives("a=1,b=x,a=2", NULL, "{'a':'2','b':'x'}");
    keyval_gives("file,x=", "driver", "{'driver':'file','x':''}");
    keyval_gives("driver=file", "driver", "{'driver':'file'}");
    keyval_gives("a=1,,2,b=,,", NULL, "{'a':'1,2','b':','}");
    keyval_gives("a.b.c=1,a.b.d=2,e=3,", NULL, "{'a':{'b':{'c':'1','d':'2'}},'e':'3'}");
    keyval_gives("a.1=y,a.0=x", NULL, "{'a':['x','y']}");
    keyval_gives("a.0.b=x,a.1.c.0=y", NULL, "{'a':[{'b':'x'},{'c':['y']}]}");
    keyval_gives("x=a=b", NULL, "{'x':'a=b'}");
    keyval_refused("a", "Expected '=' after parameter 'a'");
    keyval_refused("=x", "Invalid parameter ''");
    keyval_refused(".a=x", "Invalid parameter '.a'");
    keyval_refused("a..b=x", "Invalid parameter 'a..b'");
    keyval_refused("a.=x", "Invalid parameter 'a.'");
    keyval_refused("0=x", "Invalid parameter '0'");
    keyval_refused("a b=x", "Invalid parameter 'a b'");
    keyval_refused("a.b=x,a=y", "Parameters 'a.*' used inconsistently");
    keyval_refused("a=x,a.b=y", "Parameters 'a.*' used inconsistently");
    keyval_refused("a.b=x,a.0=y", "Parameters 'a.*' used inconsistently");
    keyval_refused("a.b.1=x", "Parameter 'a.b.0' missing");
    keyval_refused("a=\xff", "byte 2 is no UTF-8");
    g_autofree char *lengthy = g_strnfill(200, 'k');
    g_autofree char *text = g_strconcat(lengthy, "=1", NULL);
    keyval_refused(text, "Invalid parameter 'kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk...': longer than 127 characters");
}

static void test_options(void)
{
    static const char *const texts[] = {
        "group,colour=blue,first.kind=square,first.side=0x10,first.default=on,others.0=a,others.1.kind=nothing",
        "{\"kind\":\"group\",\"colour\":\"blue\",\"first\":{\"kind\":\"square\",\"side\":16,\"default\":true},"
        "\"others\":[\"a\",{\"kind\":\"nothing\"}]}"};

    for (unsigned i = 0; i < G_N_ELEMENTS(texts); i++) {
        GError *err = NULL;
        void *value;

        qapi_read_option(&qapi_type_Shape, texts[i], "kind", &value, &err);
        g_assert_no_error(err);
        json_object *json = qapi_write(&qapi_type_Shape, value), *want = parse(texts[1]);
        g_assert_true(json_object_equal(json, want));
        json_object_put(json);
        json_object_put(want);
        qapi_free(&qapi_type_Shape, value);
    }
    option_refused(&qapi_type_Shape, "square,side=abc", "Parameter 'side' expects integer");
    option_refused(&qapi_type_Shape, "square,side=99999999999999999999", "Parameter 'side' expects int64_t, a number from -9223372036854775808 to 9223372036854775807");
    option_refused(&qapi_type_Shape, "square,side=1,default=maybe", "Parameter 'default' expects 'on' or 'off'");
    option_refused(&qapi_type_Shape, "square,side.a=1", "Invalid parameter type for 'side', expected: integer");
    option_refused(&qapi_type_Shape, "group,first=x,others.0.kind=square", "Parameter 'others.0.side' is missing; add others.0.side=");
    option_refused(&qapi_type_Shape, "square,side=1,sid=2", "Parameter 'sid' is unexpected (did you mean 'side'?); there are: "
                   "node-name, kind, colour, side, default");
    option_refused(&qapi_type_Shape, "", "Parameter 'kind' is missing; add kind=");
    option_refused(&qapi_type_Shape, "{\"kind\"",
                   "JSON parse error, the text ends too early; write all of it in one word for the shell: '{...}'");
    option_refused(&qapi_type_Optional, "u8=-1,i=1", "Parameter 'u8' expects uint8_t, a number from 0 to 255");
    option_refused(&qapi_type_Optional, "size=-1", "Parameter 'size' expects uint64_t, a number from 0 to 18446744073709551615");
    option_refused(&qapi_type_Optional, "size=1X",
                   "Parameter 'size' expects a size: a number, perhaps with K, M, G, T, P or E");
    option_refused(&qapi_type_Values, "value=green", "Parameter 'value' expects 'on' or 'off'");
}

static void test_option_words(void)
{
    GError *err = NULL;
    void *value;

    qapi_read_option(&qapi_type_Optional, "size=1.5G,u8=0xff,flag=off,number=-2.5e3,any=x,list.0=a", NULL, &value, &err);
    g_assert_no_error(err);
    const Optional *o = value;
    g_assert_cmpuint(o->size, ==, UINT64_C(3) << 29);
    g_assert_cmpuint(o->u8, ==, 255);
    g_assert_true(o->has_flag && !o->flag);
    g_assert_cmpfloat(o->number, ==, -2500);
    g_assert_cmpstr(json_object_get_string(o->any), ==, "x");
    g_assert_false(o->has_i);
    qapi_free(&qapi_type_Optional, value);

    qapi_read_option(&qapi_type_Values, "value=5,other=red", NULL, &value, &err);
    g_assert_no_error(err);
    const Values *v = value;
    g_assert_cmpint(v->value->kind, ==, VALUE_NUMBER);
    g_assert_cmpint(v->value->u.number, ==, 5);
    g_assert_cmpint(v->other->kind, ==, VALUE_COLOUR);
    qapi_free(&qapi_type_Values, value);
}

/* ---- events ---------------------------------------------------------------------------------------- */

typedef struct Heard {
    Vm *vm;
    GString *text;
} Heard;

static void hear(void *opaque, const QapiEvent *event, const void *data)
{
    Heard *heard = opaque;
    json_object *json = data ? qapi_write(event->data, data) : NULL;

    g_string_append_printf(heard->text, "%s %s;", event->name,
                           data ? json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN) : "-");
    json_object_put(json);
}

static void hear_once(void *opaque, const QapiEvent *event, const void *data)
{
    Heard *heard = opaque;

    hear(opaque, event, data);
    vm_off_event(heard->vm, hear_once, opaque);
}

static gpointer post_from_thread(gpointer vm)
{
    ShutdownEvent data = {.guest = true, .reason = SHUTDOWN_CAUSE_GUEST_RESET};

    vm_post_event(vm, &qapi_event_SHUTDOWN, &data);
    vm_post_event(vm, &qapi_event_STOP, NULL);
    return NULL;
}

static void test_events(void)
{
    Vm *vm = vm_new(NULL);
    Heard one = {vm, g_string_new("")}, two = {vm, g_string_new("")};

    vm_emit_event(vm, &qapi_event_STOP, NULL); /* nobody listens */
    vm_on_event(vm, hear_once, &one);
    vm_on_event(vm, hear, &two);
    vm_emit_event(vm, &qapi_event_RESUME, NULL);
    g_thread_join(g_thread_new("poster", post_from_thread, vm));
    loop_run_once(vm->loop, 0);
    g_assert_cmpstr(one.text->str, ==, "RESUME -;");
    g_assert_cmpstr(two.text->str, ==,
                    "RESUME -;SHUTDOWN {\"guest\":true,\"reason\":\"guest-reset\"};STOP -;");
    vm_off_event(vm, hear, &two);
    vm_off_event(vm, hear, &two);
    vm_emit_event(vm, &qapi_event_STOP, NULL);
    g_assert_cmpuint(two.text->len, ==, strlen("RESUME -;SHUTDOWN {\"guest\":true,\"reason\":\"guest-reset\"};STOP -;"));
    vm_free(vm);
    g_string_free(one.text, true);
    g_string_free(two.text, true);
}

/* Requests of disks to stop the VM, which come late. */
static void test_io_error_stop(void)
{
    Vm *vm = vm_new(NULL);
    Heard heard = {vm, g_string_new("")};

    vm_on_event(vm, hear, &heard);
    g_assert_true(vm_start(vm, NULL));
    vm_request_stop(vm, RUN_STATE_IO_ERROR);
    g_assert_true(vm_start(vm, NULL)); /* the manager is faster: it stops and runs again */
    vm_take_requests(vm);
    g_assert_cmpint(vm_run_state(vm), ==, RUN_STATE_RUNNING);
    g_assert_cmpstr(heard.text->str, ==, "RESUME -;STOP -;RESUME -;");

    vm_stop(vm, RUN_STATE_PAUSED);
    vm_request_stop(vm, RUN_STATE_IO_ERROR);
    vm_take_requests(vm);
    g_assert_cmpint(vm_run_state(vm), ==, RUN_STATE_PAUSED);
    vm_request_stop(vm, RUN_STATE_IO_ERROR);
    g_assert_true(vm_start(vm, NULL));
    vm_take_requests(vm);
    g_assert_cmpint(vm_run_state(vm), ==, RUN_STATE_RUNNING);
    vm_request_stop(vm, RUN_STATE_WATCHDOG); /* others are no errors that cont takes back */
    g_assert_true(vm_start(vm, NULL));
    vm_take_requests(vm);
    g_assert_cmpint(vm_run_state(vm), ==, RUN_STATE_WATCHDOG);
    vm_free(vm);
    g_string_free(heard.text, true);
}

static void test_run_state_events(void)
{
    Vm *vm = vm_new(NULL);
    Heard heard = {vm, g_string_new("")};

    vm_on_event(vm, hear, &heard);
    g_assert_true(vm_start(vm, NULL));
    vm_stop(vm, RUN_STATE_PAUSED);
    vm_stop(vm, RUN_STATE_PAUSED); /* stopped already: no event */
    vm_reset(vm, SHUTDOWN_CAUSE_NONE);
    vm_reset(vm, SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET);
    g_assert_true(vm_start(vm, NULL));
    vm_actions(vm)->panic = PANIC_ACTION_NONE;
    vm_request_crash_loaded(vm);
    vm_request_panic(vm);
    vm_request_powerdown(vm);
    vm_request_shutdown(vm, SHUTDOWN_CAUSE_HOST_SIGNAL);
    g_assert_cmpint(vm_main_loop(vm), ==, 0);
    g_assert_cmpstr(heard.text->str, ==,
                    "RESUME -;STOP -;RESET {\"guest\":false,\"reason\":\"host-qmp-system-reset\"};RESUME -;"
                    "GUEST_CRASHLOADED {\"action\":\"run\"};GUEST_PANICKED {\"action\":\"run\"};"
                    "SHUTDOWN {\"guest\":false,\"reason\":\"host-signal\"};");
    vm_free(vm);
    g_string_free(heard.text, true);
}

/* ---- introspection --------------------------------------------------------------------------------- */

static json_object *member(json_object *object, const char *name)
{
    json_object *value = NULL;

    g_assert_true(json_object_object_get_ex(object, name, &value));
    return value;
}

static const char *text(json_object *object, const char *name) { return json_object_get_string(member(object, name)); }

/* The object of the array whose member has this value. */
static json_object *with(json_object *array, const char *key, const char *value)
{
    for (size_t i = 0; i < json_object_array_length(array); i++) {
        json_object *object = json_object_array_get_idx(array, i);

        if (strcmp(text(object, key), value) == 0) {
            return object;
        }
    }
    g_error("no %s '%s' in %s", key, value, json_object_to_json_string(array));
}

/* Each name of a type in the answer is an entry of it, once. */
static void assert_closed(json_object *all, json_object *json)
{
    if (json_object_is_type(json, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(json); i++) {
            assert_closed(all, json_object_array_get_idx(json, i));
        }
    } else if (json_object_is_type(json, json_type_object)) {
        json_object_object_foreach(json, key, value) {
            if (!strcmp(key, "type") || !strcmp(key, "element-type") || !strcmp(key, "arg-type") ||
                !strcmp(key, "ret-type")) {
                with(all, "name", json_object_get_string(value));
            } else {
                assert_closed(all, value);
            }
        }
    }
}

static void test_introspection(void)
{
    static const char *const unstable[] = {"unstable", NULL};
    static const QapiCommand draw = {.name = "draw", .args = &qapi_type_Shape, .result = &qapi_list_ShapeRef,
                                     .oob = true, .features = unstable};
    static const QapiCommand nothing = {.name = "nothing"}, object_add = {.name = "object-add", .raw = true};
    static const QapiCommand *const commands[] = {&draw, &nothing, &object_add, NULL};
    ObjectSchema *objects = object_schema_new();
    const QapiSubstitute substitutes[] = {{"object-add", object_schema_type(objects)}, {0}};
    GPtrArray *infos = qapi_introspect(commands, qapi_events, substitutes);
    json_object *all = qapi_write(&qapi_list_SchemaInfo, infos);

    assert_closed(all, all);
    json_object *command = with(all, "name", "draw");
    g_assert_cmpstr(json_object_get_string(member(command, "features")), ==, "[ \"unstable\" ]");
    g_assert_true(json_object_get_boolean(member(command, "allow-oob")));
    json_object *shape = with(all, "name", text(command, "arg-type"));
    g_assert_cmpstr(text(shape, "tag"), ==, "kind");
    g_assert_null(member(with(member(shape, "members"), "name", "colour"), "default"));
    g_assert_false(json_object_object_get_ex(with(member(shape, "members"), "name", "kind"), "default", NULL));
    g_assert_cmpuint(json_object_array_length(member(shape, "variants")), ==, 5);
    json_object *ref = with(all, "name", text(with(all, "name", text(command, "ret-type")), "element-type"));
    g_assert_cmpstr(text(ref, "meta-type"), ==, "alternate");

    command = with(all, "name", "nothing");
    g_assert_cmpstr(text(command, "arg-type"), ==, text(command, "ret-type"));
    g_assert_cmpuint(json_object_array_length(member(with(all, "name", text(command, "arg-type")), "members")), ==, 0);
    json_object *options = with(all, "name", text(with(all, "name", "object-add"), "arg-type"));
    json_object *secret = with(all, "name", text(with(member(options, "variants"), "case", "secret"), "type"));
    g_assert_cmpstr(text(with(member(secret, "members"), "name", "data"), "type"), ==, "str");
    json_object *data = with(all, "name", text(with(all, "name", "SHUTDOWN"), "arg-type"));
    g_assert_cmpstr(text(with(member(data, "members"), "name", "guest"), "type"), ==, "bool");
    json_object_put(all);
    qapi_free(&qapi_list_SchemaInfo, infos);
    object_schema_free(objects);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/qapi/round-trips", test_round_trips);
    g_test_add_func("/qapi/whole-schema", test_whole_schema);
    g_test_add_func("/qapi/values-in-c", test_values_in_c);
    g_test_add_func("/qapi/limits", test_limits);
    g_test_add_func("/qapi/messages", test_messages);
    g_test_add_func("/qapi/broken-text", test_broken_text_is_repaired);
    g_test_add_func("/qapi/json/malformed", test_malformed_json);
    g_test_add_func("/qapi/json/truncated", test_truncated_json);
    g_test_add_func("/qapi/json/huge", test_huge_json);
    g_test_add_func("/qapi/json/scalars", test_scalars_at_top);
    g_test_add_func("/qapi/keyval", test_keyval);
    g_test_add_func("/qapi/options", test_options);
    g_test_add_func("/qapi/option-words", test_option_words);
    g_test_add_func("/qapi/events", test_events);
    g_test_add_func("/qapi/run-state-events", test_run_state_events);
    g_test_add_func("/qapi/io-error-stop", test_io_error_stop);
    g_test_add_func("/qapi/introspection", test_introspection);
    return g_test_run();
}
