/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "util/keyval.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/error.h"
#include "util/util.h"

typedef struct Pair {
    char *key, *value;
    bool asked;
} Pair;

struct KeyVals {
    char *option;
    GArray *pairs;     /* Pair */
    GPtrArray *known;  /* const char *: keys that were asked for, for suggestions */
};

/* ---- sizes -------------------------------------------------------------------------------- */

bool parse_size(const char *text, uint64_t unit, uint64_t *bytes)
{
    static const char suffixes[] = "BKMGTPE";
    char *end;
    double fraction = 0;
    bool has_fraction;

    text += strspn(text, " \t");
    text += *text == '+';
    if (!g_ascii_isdigit(*text)) {
        return false;
    }
    errno = 0;
    uint64_t v = strtoull(text, &end, 0);
    if (errno) {
        return false;
    }
    has_fraction = *end == '.';
    if (has_fraction && (text[1] == 'x' || text[1] == 'X')) {
        return false;
    }
    if (has_fraction) {
        fraction = strtod(end, &end);
    }
    if (*end) {
        const char *at = strchr(suffixes, g_ascii_toupper(*end));

        if (!at || !*at || end[1]) {
            return false;
        }
        unit = UINT64_C(1) << 10 * (at - suffixes);
    }
    if (has_fraction && unit == 1 && fraction > 0) {
        return false; /* of a byte */
    }
    uint64_t extra = (uint64_t)(fraction * (double)unit);
    if (v && unit > UINT64_MAX / v) {
        return false;
    }
    *bytes = v * unit + extra;
    return *bytes >= extra;
}

/* ---- parsing --------------------------------------------------------------------------------- */

char *keyval_next_part(const char **text)
{
    GString *value = g_string_new(NULL);

    for (; **text; (*text)++) {
        if (**text == ',') {
            if ((*text)[1] != ',') {
                (*text)++;
                break;
            }
            (*text)++;
        }
        g_string_append_c(value, **text);
    }
    return g_string_free(value, false);
}

static void add_pair(KeyVals *kv, char *key, char *value)
{
    Pair pair = {key, value, false};

    g_array_append_val(kv->pairs, pair);
}

KeyVals *keyvals_parse(const char *option, const char *text, const char *implied, GError **err)
{
    KeyVals *kv = g_new0(KeyVals, 1);
    const char *whole = text;

    kv->option = g_strdup(option);
    kv->pairs = g_array_new(false, false, sizeof(Pair));
    kv->known = g_ptr_array_new();
    while (*text) {
        size_t key_len = strcspn(text, "=,");

        if (text[key_len] == '=') {
            char *key = g_strndup(text, key_len);

            text += key_len + 1;
            add_pair(kv, key, keyval_next_part(&text));
            if (!*key) {
                error_set(err, "%s %s: a key is missing before '='; write key=value", option, whole);
                keyvals_free(kv);
                return NULL;
            }
        } else if (text == whole && implied) {
            add_pair(kv, g_strdup(implied), keyval_next_part(&text));
        } else {
            char *word = keyval_next_part(&text);
            bool off = g_str_has_prefix(word, "no") && word[2];

            if (*word) {
                add_pair(kv, g_strdup(off ? word + 2 : word), g_strdup(off ? "off" : "on"));
            }
            g_free(word);
        }
    }
    return kv;
}

void keyvals_merge(KeyVals *kv, KeyVals *other)
{
    g_array_append_vals(kv->pairs, other->pairs->data, other->pairs->len);
    g_array_set_size(other->pairs, 0);
    keyvals_free(other);
}

void keyvals_free(KeyVals *kv)
{
    if (!kv) {
        return;
    }
    for (unsigned i = 0; i < kv->pairs->len; i++) {
        g_free(g_array_index(kv->pairs, Pair, i).key);
        g_free(g_array_index(kv->pairs, Pair, i).value);
    }
    g_array_free(kv->pairs, true);
    g_ptr_array_free(kv->known, true);
    g_free(kv->option);
    g_free(kv);
}

/* ---- values -------------------------------------------------------------------------------------- */

const char *keyvals_get(KeyVals *kv, const char *key)
{
    const char *value = NULL;

    if (!g_ptr_array_find_with_equal_func(kv->known, key, g_str_equal, NULL)) {
        g_ptr_array_add(kv->known, (void *)(uintptr_t)key);
    }
    for (unsigned i = 0; i < kv->pairs->len; i++) {
        Pair *pair = &g_array_index(kv->pairs, Pair, i);

        if (!strcmp(pair->key, key)) {
            pair->asked = true;
            value = pair->value;
        }
    }
    return value;
}

bool keyvals_has(const KeyVals *kv, const char *key)
{
    for (unsigned i = 0; i < kv->pairs->len; i++) {
        if (!strcmp(g_array_index(kv->pairs, Pair, i).key, key)) {
            return true;
        }
    }
    return false;
}

bool keyvals_bool(KeyVals *kv, const char *key, bool *value, GError **err)
{
    const char *text = keyvals_get(kv, key);

    if (!text) {
        return true;
    }
    *value = !strcmp(text, "on") || !strcmp(text, "yes") || !strcmp(text, "true") || !strcmp(text, "y");
    return *value || !strcmp(text, "off") || !strcmp(text, "no") || !strcmp(text, "false") || !strcmp(text, "n") ||
           error_set(err, "%s %s=%s: the value is 'on' or 'off'", kv->option, key, text);
}

bool keyvals_uint(KeyVals *kv, const char *key, uint64_t min, uint64_t max, uint64_t *value, GError **err)
{
    const char *text = keyvals_get(kv, key);
    char *end;

    if (!text) {
        return true;
    }
    errno = 0;
    uint64_t v = strtoull(text, &end, 0);
    if (errno || !g_ascii_isdigit(*text) || *end) {
        return error_set(err, "%s %s=%s: the value is not a number; "
                              "allowed is %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT, kv->option,
                         key, text, min, max);
    }
    if (v < min || v > max) {
        return error_set(err, "%s %s=%s: allowed is %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT, kv->option, key, text,
                         min, max);
    }
    *value = v;
    return true;
}

bool keyvals_size(KeyVals *kv, const char *key, uint64_t unit, uint64_t *value, GError **err)
{
    const char *text = keyvals_get(kv, key);

    return !text || parse_size(text, unit, value) ||
           error_set(err, "%s %s=%s: not a size below 16 EiB; write a number with K, M, G or T behind it", kv->option,
                     key, text);
}

bool keyvals_enum(KeyVals *kv, const char *key, const char *const *values, int *value, GError **err)
{
    const char *text = keyvals_get(kv, key);

    if (!text) {
        return true;
    }
    for (int i = 0; values[i]; i++) {
        if (!strcmp(values[i], text)) {
            *value = i;
            return true;
        }
    }
    g_autofree char *all = g_strjoinv(", ", (char **)(uintptr_t)values);
    return error_set(err, "%s %s=%s: the value is one of: %s", kv->option, key, text, all);
}

bool keyvals_foreach(KeyVals *kv, bool (*fn)(const char *key, const char *value, void *opaque, GError **err),
                     void *opaque, GError **err)
{
    for (unsigned i = 0; i < kv->pairs->len; i++) {
        Pair *pair = &g_array_index(kv->pairs, Pair, i);

        pair->asked = true;
        if (!fn(pair->key, pair->value, opaque, err)) {
            return false;
        }
    }
    return true;
}

bool keyvals_finish(const KeyVals *kv, GError **err)
{
    for (unsigned i = 0; i < kv->pairs->len; i++) {
        Pair *pair = &g_array_index(kv->pairs, Pair, i);

        if (!pair->asked) {
            g_ptr_array_add(kv->known, NULL);
            g_autofree char *hint = suggest_names(pair->key, (const char *const *)kv->known->pdata);
            g_autofree char *all = g_strjoinv(", ", (char **)kv->known->pdata);
            g_ptr_array_remove_index(kv->known, kv->known->len - 1);
            return error_set(err, "%s %s=%s: '%s' is not a key of this option%s; it has: %s", kv->option, pair->key,
                             pair->value, pair->key, hint, all);
        }
    }
    return true;
}
