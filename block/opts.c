/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Options of nodes: -drive's and -blockdev's text, and JSON, become one flat set of dotted keys
 * ("file.driver", "cache.direct"), from which drivers take what they know. What remains is refused,
 * so a typo is never ignored.
 */
#include <json-c/json.h>

#include "block/block_int.h"
#include "qapi/qapi-block.h"
#include "util/keyval.h"

struct BlockOpts {
    GHashTable *table; /* char * to char * */
    GPtrArray *asked;  /* char *: keys that somebody knows, given or not */
};

BlockOpts *block_opts_new(void)
{
    BlockOpts *opts = g_new0(BlockOpts, 1);

    opts->table = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    opts->asked = g_ptr_array_new_with_free_func(g_free);
    return opts;
}

void block_opts_free(BlockOpts *opts)
{
    if (opts) {
        g_hash_table_destroy(opts->table);
        g_ptr_array_free(opts->asked, true);
        g_free(opts);
    }
}

void block_opts_set(BlockOpts *opts, const char *key, const char *value)
{
    g_hash_table_replace(opts->table, g_strdup(key), g_strdup(value));
}

void block_opts_merge(BlockOpts *to, const BlockOpts *from)
{
    GHashTableIter iter;
    gpointer key, value;

    g_hash_table_iter_init(&iter, from->table);
    while (g_hash_table_iter_next(&iter, &key, &value)) {
        block_opts_set(to, key, value);
    }
}

const char *block_opts_peek(const BlockOpts *opts, const char *key)
{
    return g_hash_table_lookup(opts->table, key);
}

char *block_opts_take(BlockOpts *opts, const char *key)
{
    gpointer stored_key = NULL, value = NULL;

    if (!g_hash_table_size(opts->table)) {
        return NULL; /* nothing will be left over that these keys could be suggested for */
    }
    if (!g_str_has_prefix(key, "x-") && /* a program's own, for nobody to be told of */
        !g_ptr_array_find_with_equal_func(opts->asked, key, g_str_equal, NULL)) {
        g_ptr_array_add(opts->asked, g_strdup(key));
    }
    if (!g_hash_table_steal_extended(opts->table, key, &stored_key, &value)) {
        return NULL;
    }
    g_free(stored_key);
    return value;
}

static bool key_has_prefix(const char *key, const char *prefix)
{
    size_t n = strlen(prefix);

    return strncmp(key, prefix, n) == 0 && key[n] == '.';
}

bool block_opts_has_prefix(const BlockOpts *opts, const char *prefix)
{
    GHashTableIter iter;
    gpointer key;

    g_hash_table_iter_init(&iter, opts->table);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        if (key_has_prefix(key, prefix)) {
            return true;
        }
    }
    return false;
}

BlockOpts *block_opts_take_prefix(BlockOpts *opts, const char *prefix)
{
    BlockOpts *sub = block_opts_new();
    GHashTableIter iter;
    gpointer key, value;

    g_hash_table_iter_init(&iter, opts->table);
    while (g_hash_table_iter_next(&iter, &key, &value)) {
        if (key_has_prefix(key, prefix)) {
            block_opts_set(sub, (char *)key + strlen(prefix) + 1, value);
            g_hash_table_iter_remove(&iter);
        }
    }
    return sub;
}

char *block_opts_text(const BlockOpts *opts)
{
    GList *keys = g_list_sort(g_hash_table_get_keys(opts->table), (GCompareFunc)(void (*)(void))strcmp);
    GString *text = g_string_new(NULL);

    for (const GList *key = keys; key; key = key->next) {
        g_string_append_printf(text, "%s=%s\n", (const char *)key->data, (const char *)g_hash_table_lookup(opts->table, key->data));
    }
    g_list_free(keys);
    return g_string_free(text, FALSE);
}

const char *block_opts_left(const BlockOpts *opts)
{
    const char *first = NULL;
    GHashTableIter iter;
    gpointer key;

    g_hash_table_iter_init(&iter, opts->table);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        if (!first || strcmp(key, first) < 0) {
            first = key; /* the same one in each run */
        }
    }
    return first;
}

char *block_opts_hint(BlockOpts *opts, const char *key)
{
    g_ptr_array_add(opts->asked, NULL);
    char *hint = suggest_names(key, (const char *const *)opts->asked->pdata);
    if (!*hint) {
        g_autofree char *all = g_strjoinv(", ", (char **)opts->asked->pdata);

        g_free(hint);
        hint = g_strconcat("; there are: ", all, NULL);
    }
    g_ptr_array_set_size(opts->asked, (int)opts->asked->len - 1);
    return hint;
}

/* ---- values --------------------------------------------------------------------------------- */

bool block_opts_take_bool(BlockOpts *opts, const char *key, bool *value, GError **err)
{
    g_autofree char *text = block_opts_take(opts, key);

    if (!text) {
        return true;
    }
    if (!strcmp(text, "on") || !strcmp(text, "yes") || !strcmp(text, "true") ||
        !strcmp(text, "y")) {
        *value = true;
    } else if (!strcmp(text, "off") || !strcmp(text, "no") || !strcmp(text, "false") ||
               !strcmp(text, "n")) {
        *value = false;
    } else {
        return error_set(err, "Parameter '%s' expects 'on' or 'off', not '%s'", key, text);
    }
    return true;
}

bool block_opts_take_size(BlockOpts *opts, const char *key, uint64_t *value, bool *present,
                          GError **err)
{
    g_autofree char *text = block_opts_take(opts, key);
    static const char suffixes[] = "bkmgtpe";
    char *end = NULL;
    uint64_t number;
    unsigned shift = 0;

    if (present) {
        *present = text != NULL;
    }
    if (!text) {
        return true;
    }
    errno = 0;
    number = g_ascii_strtoull(text, &end, 0);
    if (end != text && *end) {
        const char *s = strchr(suffixes, g_ascii_tolower(*end));

        shift = s ? 10 * (unsigned)(s - suffixes) : 0;
        end += s != NULL;
    }
    if (end == text || *end || errno || *text == '-' ||
        number > (UINT64_C(0x7fffffffffffffff) >> shift)) {
        return error_set(err,
                         "Parameter '%s' expects a size (a number, with k, M, G or T), not '%s'",
                         key, text);
    }
    *value = number << shift;
    return true;
}

bool block_opts_take_enum(BlockOpts *opts, const char *key, const char *const *values, int *value,
                          GError **err)
{
    g_autofree char *text = block_opts_take(opts, key);
    g_autofree char *all = NULL;

    if (!text) {
        return true;
    }
    for (int i = 0; values[i]; i++) {
        if (!strcmp(values[i], text)) {
            *value = i;
            return true;
        }
    }
    all = g_strjoinv(", ", (char **)values);
    return error_set(err, "Parameter '%s' does not accept value '%s' (possible values: %s)", key,
                     text, all);
}

/* ---- text ----------------------------------------------------------------------------------- */

BlockOpts *block_opts_parse(const char *text, const char *implied_key, GError **err)
{
    BlockOpts *opts = block_opts_new();
    bool first = true;

    while (*text) {
        g_autofree char *part = keyval_next_part(&text);
        char *eq = strchr(part, '=');

        if (!eq && first && implied_key) {
            block_opts_set(opts, implied_key, part);
        } else if (!eq) {
            /* QEMU's short form of a boolean: "readonly" and "noreadonly". */
            block_opts_set(opts, part, "on");
        } else if (eq == part) {
            error_set(err, "Expected parameter before '='");
            block_opts_free(opts);
            return NULL;
        } else {
            *eq = 0;
            block_opts_set(opts, part, eq + 1);
        }
        first = false;
    }
    return opts;
}

static bool flatten(BlockOpts *opts, const char *prefix, json_object *value, unsigned depth, GError **err);

static bool flatten_members(BlockOpts *opts, const char *prefix, json_object *object, unsigned depth, GError **err)
{
    json_object_object_foreach(object, key, member)
    {
        g_autofree char *full = *prefix ? g_strdup_printf("%s.%s", prefix, key) : g_strdup(key);

        if (!flatten(opts, full, member, depth + 1, err)) {
            return false;
        }
    }
    return true;
}

static bool flatten(BlockOpts *opts, const char *prefix, json_object *value, unsigned depth, GError **err)
{
    if (depth > 16) {
        return error_set(err, "Parameter '%s' is nested too deeply", prefix);
    }
    switch (json_object_get_type(value)) {
    case json_type_object:
        return flatten_members(opts, prefix, value, depth, err);
    case json_type_array:
        for (size_t i = 0; i < json_object_array_length(value); i++) {
            g_autofree char *full = g_strdup_printf("%s.%zu", prefix, i);

            if (!flatten(opts, full, json_object_array_get_idx(value, i), depth + 1, err)) {
                return false;
            }
        }
        return true;
    case json_type_boolean:
        block_opts_set(opts, prefix, json_object_get_boolean(value) ? "on" : "off");
        return true;
    case json_type_null: /* "backing": null */
        block_opts_set(opts, prefix, "");
        return true;
    case json_type_string:
    case json_type_int:
        block_opts_set(opts, prefix, json_object_get_string(value));
        return true;
    default:
        return error_set(err, "Parameter '%s' expects a string, a number, a boolean, an array or an object",
                         prefix);
    }
}

bool block_opts_add_json(BlockOpts *opts, const char *prefix, json_object *value, GError **err)
{
    return flatten(opts, prefix, value, 0, err);
}

BlockOpts *block_opts_parse_json(const char *text, GError **err)
{
    enum json_tokener_error why = json_tokener_success;
    json_object *root = json_tokener_parse_verbose(text, &why);
    BlockOpts *opts = NULL;

    if (!root || !json_object_is_type(root, json_type_object)) {
        error_set(err, "JSON parse error: %s",
                  root ? "an object is expected" : json_tokener_error_desc(why));
    } else {
        opts = block_opts_new();
        if (!flatten(opts, "", root, 0, err)) {
            block_opts_free(opts);
            opts = NULL;
        }
    }
    json_object_put(root);
    return opts;
}

BlockOpts *block_opts_from_schema(const BlockdevOptions *options)
{
    json_object *json = qapi_write(&qapi_type_BlockdevOptions, options);
    BlockOpts *opts = block_opts_new();

    flatten(opts, "", json, 0, NULL); /* the schema has no other kinds */
    json_object_put(json);
    return opts;
}
