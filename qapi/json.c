/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * JSON text, by json-c's strict parser. Around it: limits, UTF-8, single quotes (QEMU takes them, and people type them
 * in shells), and messages that say where.
 */
#include <json-c/json.h>
#include <string.h>

#include "qapi/qapi.h"

/* The text with 'single-quoted' strings double-quoted. Lengths change, so positions count in the new text. */
static GString *double_quotes(const char *text, size_t len)
{
    GString *out = g_string_sized_new(len + 16);
    char quote = 0;

    for (size_t i = 0; i < len; i++) {
        char c = text[i];

        if (c == '\\' && quote && i + 1 < len) {
            if (text[i + 1] != '\'') {
                g_string_append_c(out, c);
            }
            g_string_append_c(out, text[++i]);
            continue;
        }
        if (!quote && (c == '"' || c == '\'')) {
            quote = c;
            c = '"';
        } else if (quote && c == quote) {
            quote = 0;
            c = '"';
        } else if (quote == '\'' && c == '"') {
            g_string_append_c(out, '\\');
        }
        g_string_append_c(out, c);
    }
    return out;
}

/* Of an integer at text: json-c would quietly give the nearest that it knows. *digits: its length without sign. */
static bool integer_fits(const char *text, const char *end, bool negative, size_t *digits)
{
    const char *limit = negative ? "9223372036854775808" : "18446744073709551615";
    size_t len = 0;

    while (text + len < end && g_ascii_isdigit(text[len])) {
        len++;
    }
    *digits = len;
    bool real = text + len < end && strchr(".eE", text[len]);
    return real || len < strlen(limit) || (len == strlen(limit) && strncmp(text, limit, len) <= 0);
}

/* "\uXXXX" at the beginning of text: its number; UINT32_MAX: something else. */
static uint32_t escaped_unit(const char *text, size_t len)
{
    uint32_t unit = 0;

    if (len < 6 || text[0] != '\\' || text[1] != 'u') {
        return UINT32_MAX;
    }
    for (unsigned i = 2; i < 6; i++) {
        if (!g_ascii_isxdigit(text[i])) {
            return UINT32_MAX; /* json-c says so */
        }
        unit = unit * 16 + (uint32_t)g_ascii_xdigit_value(text[i]);
    }
    return unit;
}

/* The bytes of a string's escape at text, of those that need looking at; 0: half of a surrogate pair without the other. */
static size_t escape_length(const char *text, size_t len)
{
    uint32_t unit = escaped_unit(text, len);

    if (unit < 0xd800 || unit > 0xdfff) {
        return 2;
    }
    uint32_t low = unit < 0xdc00 ? escaped_unit(text + 6, len - 6) : 0;
    return low >= 0xdc00 && low <= 0xdfff ? 12 : 0;
}

/* What json-c takes and RFC 8259 does not: control characters in strings, NaN, Infinity; halves of characters; and huge integers.
 * *members: how many members all objects of the text have together (if it is JSON at all). */
static bool check_characters(const char *text, size_t len, size_t *members, GError **err)
{
    bool in_string = false;

    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        size_t digits;

        if (in_string ? (unsigned char)c < 0x20 : g_ascii_isalpha(c) && !strchr("truefalsnE", c)) {
            return error_set(err, "JSON parse error, stray character 0x%02x at byte %zu", (unsigned char)c, i);
        }
        *members += !in_string && c == ':';
        if (in_string && c == '\\') {
            size_t escape = escape_length(text + i, len - i);

            if (!escape) {
                return error_set(err, "JSON parse error, %.6s at byte %zu is not a valid Unicode character", text + i, i);
            }
            i += escape - 1;
        } else if (c == '"') {
            in_string = !in_string;
        } else if (!in_string && g_ascii_isdigit(c)) {
            if (!integer_fits(text + i, text + len, i && text[i - 1] == '-', &digits)) {
                return error_set(err, "JSON parse error, the number at byte %zu needs more than 64 bits", i);
            }
            i += digits - 1;
        }
    }
    return true;
}

/* Of all objects; the depth is bounded by the parser. */
static size_t count_members(json_object *value)
{
    size_t count = 0;

    if (json_object_is_type(value, json_type_object)) {
        json_object_object_foreach(value, key, member)
        {
            (void)key;
            count += 1 + count_members(member);
        }
    } else if (json_object_is_type(value, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(value); i++) {
            count += count_members(json_object_array_get_idx(value, i));
        }
    }
    return count;
}

static bool parse_with(json_tokener *tok, const char *text, size_t len, json_object **json, GError **err)
{
    json_object *value = json_tokener_parse_ex(tok, text, (int)len);
    enum json_tokener_error why = json_tokener_get_error(tok);

    if (why == json_tokener_continue) {
        /* A number or word at the end is complete only when something follows. */
        value = json_tokener_parse_ex(tok, "", 1);
        why = json_tokener_get_error(tok);
        if (why == json_tokener_continue || why == json_tokener_error_parse_eof) {
            return error_set(err, "JSON parse error, the text ends too early");
        }
    }
    size_t end = json_tokener_get_parse_end(tok);
    if (why == json_tokener_error_depth) {
        return error_set(err, "JSON parse error, deeper than %d levels", QAPI_JSON_MAX_DEPTH);
    }
    if (why != json_tokener_success) {
        return error_set(err, "JSON parse error, %s at byte %zu", json_tokener_error_desc(why), end);
    }
    *json = value;
    return true;
}

static bool parse_strict(const char *text, size_t len, json_object **json, GError **err)
{
    const char *bad;
    size_t members = 0;

    if (!g_utf8_validate_len(text, len, &bad)) {
        return error_set(err, "JSON parse error, byte %zu is no UTF-8", (size_t)(bad - text));
    }
    if (!check_characters(text, len, &members, err)) {
        return false;
    }
    while (len && strchr(" \t\r\n", text[len - 1])) {
        len--;
    }
    json_tokener *tok = json_tokener_new_ex(QAPI_JSON_MAX_DEPTH);
    json_tokener_set_flags(tok, JSON_TOKENER_STRICT);
    bool ok = parse_with(tok, text, len, json, err);
    json_tokener_free(tok);
    if (ok && count_members(*json) != members) { /* json-c keeps the last of members with one name */
        json_object_put(*json);
        *json = NULL;
        return error_set(err, "JSON parse error, duplicate key");
    }
    return ok;
}

bool qapi_parse_json(const char *text, size_t len, json_object **json, GError **err)
{
    *json = NULL;
    if (len > QAPI_JSON_MAX_BYTES) {
        return error_set(err, "JSON parse error, longer than %u MiB", QAPI_JSON_MAX_BYTES >> 20);
    }
    if (!memchr(text, '\'', len)) {
        return parse_strict(text, len, json, err);
    }
    GString *quoted = double_quotes(text, len);
    bool ok = parse_strict(quoted->str, quoted->len, json, err);
    g_string_free(quoted, true);
    return ok;
}
