/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * key=value options as JSON: "a.b=c" goes one level down, keys that are numbers from 0 on make a list. Leaves stay
 * text; what they mean is the reader's to say. The language is that of QEMU 7.2's -blockdev.
 */
#include <json-c/linkhash.h>
#include <string.h>

#include "qapi/qapi.h"

#define KEY_MAX 127

/* Length of a name or number at the start of key, 0 when there is none. */
static size_t part_length(const char *key)
{
    size_t len = 0;

    if (g_ascii_isdigit(key[0])) {
        return strspn(key, "0123456789");
    }
    if (g_ascii_isalpha(key[0]) || key[0] == '_') {
        while (g_ascii_isalnum(key[len]) || key[len] == '_' || key[len] == '-') {
            len++;
        }
    }
    return len;
}

/* Puts value (given away) where key says, making objects on the way. */
static bool insert(json_object *root, const char *key, json_object *value, GError **err)
{
    json_object *at = root;
    char part[KEY_MAX + 1];

    for (const char *p = key;;) {
        size_t len = part_length(p);
        bool last = !p[len];
        json_object *next;

        if (!len || (!last && p[len] != '.') || (p == key && g_ascii_isdigit(*p))) {
            json_object_put(value);
            return error_set(err, "Invalid parameter '%s'", key);
        }
        memcpy(part, p, len);
        part[len] = 0;
        bool there = json_object_object_get_ex(at, part, &next);
        if (there && last != json_object_is_type(next, json_type_string)) {
            json_object_put(value);
            return error_set(err, "Parameters '%.*s.*' used inconsistently", (int)(p + len - key), key);
        }
        if (last) {
            json_object_object_add(at, part, value);
            return true;
        }
        if (!there) {
            json_object_object_add(at, part, next = json_object_new_object());
        }
        at = next;
        p += len + 1;
    }
}

/* Reads one word, leaving *text behind its comma. */
static bool parse_word(json_object *root, const char **text, const char *implied, GError **err)
{
    size_t len = strcspn(*text, "=,");
    char key[KEY_MAX + 1];

    if ((*text)[len] != '=' && implied) {
        json_object *value = json_object_new_string_len(*text, (int)len);

        *text += len + ((*text)[len] == ',');
        return insert(root, implied, value, err);
    }
    if (len > KEY_MAX) {
        return error_set(err, "Invalid parameter '%.*s...': longer than %d characters", 32, *text, KEY_MAX);
    }
    memcpy(key, *text, len);
    key[len] = 0;
    if ((*text)[len] != '=') {
        return error_set(err, "Expected '=' after parameter '%s'", key);
    }
    const char *p = *text + len + 1;
    g_autoptr(GString) value = g_string_new("");
    while (*p && (*p != ',' || p[1] == ',')) {
        p += *p == ',';
        g_string_append_c(value, *p++);
    }
    *text = p + (*p == ',');
    return insert(root, key, json_object_new_string_len(value->str, (int)value->len), err);
}

/* An object whose keys are numbers, as the list that it stands for. NULL with *err. */
static json_object *make_list(json_object *object, const char *place, GError **err)
{
    json_object *list = json_object_new_array();
    int count = json_object_object_length(object);

    for (int i = 0; i < count; i++) {
        char index[16];
        json_object *element;

        g_snprintf(index, sizeof(index), "%d", i);
        if (!json_object_object_get_ex(object, index, &element)) {
            json_object_put(list);
            error_set(err, "Parameter '%s.%d' missing", place, i);
            return NULL;
        }
        json_object_array_add(list, json_object_get(element));
    }
    return list;
}

/* Turns what stands for lists into lists, the innermost first. The new value of object; NULL with *err. */
static json_object *make_lists(json_object *object, const char *place, GError **err)
{
    int numbers = 0;

    json_object_object_foreach(object, key, member) {
        numbers += g_ascii_isdigit(*key) != 0;
        if (!json_object_is_type(member, json_type_object)) {
            continue;
        }
        g_autofree char *inner = g_strdup_printf("%s%s%s", place, *place ? "." : "", key);
        json_object *value = make_lists(member, inner, err);
        if (!value) {
            return NULL;
        }
        if (value != member) {
            json_object_object_add(object, key, value); /* an existing key: the table does not move */
        }
    }
    if (!numbers) {
        return object;
    }
    if (numbers != json_object_object_length(object)) {
        error_set(err, "Parameters '%s.*' used inconsistently", place);
        return NULL;
    }
    return make_list(object, place, err);
}

json_object *qapi_parse_keyval(const char *text, const char *implied, GError **err)
{
    json_object *root = json_object_new_object();
    const char *bad;

    if (!g_utf8_validate(text, -1, &bad)) {
        json_object_put(root);
        error_set(err, "byte %zu is no UTF-8", (size_t)(bad - text));
        return NULL;
    }
    while (*text) {
        if (!parse_word(root, &text, implied, err)) {
            json_object_put(root);
            return NULL;
        }
        implied = NULL;
    }
    if (!make_lists(root, "", err)) {
        json_object_put(root);
        return NULL;
    }
    return root;
}

bool qapi_advise_quoting(GError **err)
{
    if (err) {
        char *text = g_strconcat((*err)->message, "; write all of it in one word for the shell: '{...}'", NULL);

        g_free((*err)->message);
        (*err)->message = text;
    }
    return false;
}

bool qapi_read_option(const QapiType *type, const char *text, const char *implied, void **value, GError **err)
{
    bool is_json = text[0] == '{';
    json_object *json;

    *value = NULL;
    if (is_json) {
        if (!qapi_parse_json(text, strlen(text), &json, err)) {
            return qapi_advise_quoting(err);
        }
    } else if (!(json = qapi_parse_keyval(text, implied, err))) {
        return false;
    }
    bool ok = qapi_read(type, json, is_json ? 0 : QAPI_KEYVAL, value, err);
    json_object_put(json);
    return ok;
}
