/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "util/json_text.h"

#include <json-c/json.h>
#include <math.h>

typedef struct Printer {
    GString *out;
    bool pretty;
    int depth;
} Printer;

static void new_line(Printer *p)
{
    if (p->pretty) {
        g_string_append_c(p->out, '\n');
        for (int i = 0; i < p->depth; i++) {
            g_string_append(p->out, "    ");
        }
    }
}

/* Between two members; the first has nothing before it but a line of its own. */
static void separate(Printer *p, bool *first)
{
    if (!*first) {
        g_string_append(p->out, p->pretty ? "," : ", ");
    }
    *first = false;
    new_line(p);
}

static void put_escape(GString *out, gunichar c)
{
    if (c >= 0x10000) {
        g_string_append_printf(out, "\\u%04X\\u%04X", 0xd800 + ((c - 0x10000) >> 10), 0xdc00 + ((c - 0x10000) & 0x3ff));
    } else {
        g_string_append_printf(out, "\\u%04X", c);
    }
}

static void put_string(GString *out, const char *text, size_t len)
{
    static const char plain[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *end = text + len;

    g_string_append_c(out, '"');
    while (text < end) {
        unsigned char byte = (unsigned char)*text;
        const char *special = byte ? memchr(plain, byte, sizeof plain - 1) : NULL;

        if (special) {
            g_string_append_c(out, '\\');
            g_string_append_c(out, letters[special - plain]);
            text++;
        } else if (byte >= 0x20 && byte < 0x7f) {
            g_string_append_c(out, (char)byte);
            text++;
        } else {
            gunichar c = byte < 0x80 ? byte : g_utf8_get_char_validated(text, end - text);
            bool valid = c < 0x110000; /* -1 and -2 mean a broken sequence */

            put_escape(out, valid ? c : 0xfffd);
            text = valid && byte >= 0x80 ? g_utf8_next_char(text) : text + 1;
        }
    }
    g_string_append_c(out, '"');
}

static void put_double(GString *out, double value)
{
    char text[G_ASCII_DTOSTR_BUF_SIZE];

    if (!isfinite(value)) { /* reads back as what it was */
        g_string_append(out, isnan(value) ? "null" : value < 0 ? "-1e999" : "1e999");
        return;
    }
    g_ascii_formatd(text, sizeof text, "%.17g", value);
    for (int digits = 15; digits < 17; digits++) {
        char shorter[G_ASCII_DTOSTR_BUF_SIZE], format[8];

        g_snprintf(format, sizeof format, "%%.%dg", digits);
        g_ascii_formatd(shorter, sizeof shorter, format, value);
        if (g_ascii_strtod(shorter, NULL) == value) {
            g_strlcpy(text, shorter, sizeof text);
            break;
        }
    }
    g_string_append(out, text);
}

static void put_value(Printer *p, json_object *value);

static void put_object(Printer *p, json_object *value)
{
    bool first = true;

    g_string_append_c(p->out, '{');
    p->depth++;
    json_object_object_foreach(value, key, member)
    {
        separate(p, &first);
        put_string(p->out, key, strlen(key));
        g_string_append(p->out, ": ");
        put_value(p, member);
    }
    p->depth--;
    if (!first) {
        new_line(p);
    }
    g_string_append_c(p->out, '}');
}

static void put_array(Printer *p, json_object *value)
{
    bool first = true;

    g_string_append_c(p->out, '[');
    p->depth++;
    for (size_t i = 0; i < json_object_array_length(value); i++) {
        separate(p, &first);
        put_value(p, json_object_array_get_idx(value, i));
    }
    p->depth--;
    if (!first) {
        new_line(p);
    }
    g_string_append_c(p->out, ']');
}

static void put_int(GString *out, json_object *value)
{
    int64_t number = json_object_get_int64(value);

    if (number == INT64_MAX) { /* or more: json-c caps what it gives as signed */
        g_string_append_printf(out, "%" G_GUINT64_FORMAT, (guint64)json_object_get_uint64(value));
    } else {
        g_string_append_printf(out, "%" G_GINT64_FORMAT, (gint64)number);
    }
}

/* Text is kept as it is in the userdata of an object; json-c itself gives userdata to doubles only. */
static void put_made(Printer *p, const char *text)
{
    if (!p->pretty) {
        g_string_append(p->out, text);
        return;
    }
    json_object *tree = json_tokener_parse(text);
    put_value(p, tree);
    json_object_put(tree);
}

static void put_value(Printer *p, json_object *value)
{
    switch (json_object_get_type(value)) {
    case json_type_null:
        g_string_append(p->out, "null");
        break;
    case json_type_boolean:
        g_string_append(p->out, json_object_get_boolean(value) ? "true" : "false");
        break;
    case json_type_int:
        put_int(p->out, value);
        break;
    case json_type_double:
        put_double(p->out, json_object_get_double(value));
        break;
    case json_type_string:
        put_string(p->out, json_object_get_string(value), (size_t)json_object_get_string_len(value));
        break;
    case json_type_object:
        if (json_object_get_userdata(value)) {
            put_made(p, json_object_get_userdata(value));
        } else {
            put_object(p, value);
        }
        break;
    case json_type_array:
        put_array(p, value);
        break;
    }
}

void json_text_append(GString *out, json_object *value, bool pretty)
{
    Printer p = {out, pretty, 0};

    put_value(&p, value);
}

json_object *json_text_made(const char *text)
{
    json_object *value = json_object_new_object();

    json_object_set_userdata(value, (void *)(uintptr_t)text, NULL);
    return value;
}
