/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Configuration files: JSON with comments, QEMU's INI form, and printing.
 *
 * Both readers turn each entry into an option's argument and hand it to config_use; what an option
 * means is known to its table only.
 */
#include "system/config_file.h"

#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "util/error.h"
#include "util/file.h"

#define MAX_FILE (16 << 20)
#define MAX_DEPTH 32

static bool read_file(const char *option, const char *path, char **text, size_t *len, GError **err)
{
    g_autoptr(GError) reason = NULL;

    if (!file_read(path, MAX_FILE, text, len, &reason)) {
        return error_set_from(err, reason, "%s %s: %s", option, path, reason->message);
    }
    if (memchr(*text, 0, *len)) {
        g_clear_pointer(text, g_free);
        return error_set(err, "%s %s: the file contains a zero byte: it is no configuration", option, path);
    }
    return true;
}

/* ---- where things stand in a JSON text ---------------------------------------------------------- */

/* json-c keeps no positions. This notes the line of each key of the outermost object and, behind it,
 * of each element of a list that is its value. The text is known to be well-formed. */
typedef struct Place {
    char *key;
    int index; /* in the list; -1: the key itself */
    unsigned line;
} Place;

typedef struct Scan {
    const char *at;
    unsigned line;
    unsigned depth;
    GArray *places; /* Place */
} Scan;

static void free_place(void *place)
{
    g_free(((Place *)place)->key);
}

static void add_place(Scan *s, const char *key, int index)
{
    Place place = {g_strdup(key), index, s->line};

    g_array_append_val(s->places, place);
}

/* Behind the string at s->at; its text without escapes undone. */
static char *scan_string(Scan *s)
{
    char quote = *s->at++;
    const char *begin = s->at;

    while (*s->at && *s->at != quote) {
        s->at += *s->at == '\\' && s->at[1] ? 2 : 1;
    }
    char *text = g_strndup(begin, (size_t)(s->at - begin));
    s->at += *s->at != 0;
    return text;
}

/* To the next byte that is neither space nor comment. */
static void skip_space(Scan *s)
{
    for (;; s->at++) {
        if (s->at[0] == '/' && (s->at[1] == '/' || s->at[1] == '*')) {
            bool block = s->at[1] == '*';

            for (s->at += 2; *s->at && !(block ? s->at[0] == '*' && s->at[1] == '/' : *s->at == '\n'); s->at++) {
                s->line += *s->at == '\n';
            }
            if (!*s->at) {
                return;
            }
            s->at += block;
        } else if (!g_ascii_isspace(*s->at)) {
            return;
        }
        s->line += *s->at == '\n';
    }
}

/* Over one value, whatever is in it. */
static void skip_value(Scan *s)
{
    unsigned depth = 0;

    do {
        skip_space(s);
        if (*s->at == '"' || *s->at == '\'') {
            g_free(scan_string(s));
        } else if (*s->at) {
            depth += *s->at == '{' || *s->at == '[';
            depth -= (*s->at == '}' || *s->at == ']') && depth;
            s->at++;
        }
        skip_space(s);
    } while (*s->at && (depth || !strchr(",}]", *s->at)));
}

static void scan_list(Scan *s, const char *key)
{
    s->at++;
    skip_space(s);
    for (int index = 0; *s->at && *s->at != ']'; index++) {
        add_place(s, key, index);
        skip_value(s);
        if (*s->at == ',') {
            s->at++;
            skip_space(s);
        }
    }
    s->at += *s->at == ']';
}

/* Place elements; the caller frees the array. */
static GArray *scan_places(const char *text)
{
    Scan s = {.at = text, .line = 1, .places = g_array_new(false, false, sizeof(Place))};

    g_array_set_clear_func(s.places, free_place);
    skip_space(&s);
    s.at += *s.at == '{';
    skip_space(&s);
    while (*s.at == '"' || *s.at == '\'') {
        g_autofree char *key = NULL;

        unsigned line = s.line;
        key = scan_string(&s);
        add_place(&s, key, -1);
        g_array_index(s.places, Place, s.places->len - 1).line = line;
        skip_space(&s);
        s.at += *s.at == ':';
        skip_space(&s);
        if (*s.at == '[') {
            scan_list(&s, key);
            skip_space(&s);
        } else {
            skip_value(&s);
        }
        s.at += *s.at == ',';
        skip_space(&s);
    }
    return s.places;
}

/* "vm.json:12: "; the caller frees. */
static char *place_text(const char *path, const GArray *places, const char *key, int index)
{
    unsigned line = 1;

    for (unsigned i = 0; i < places->len; i++) {
        const Place *p = &g_array_index(places, Place, i);

        if (!strcmp(p->key, key) && (p->index == index || p->index < 0)) {
            line = p->line;
            if (p->index == index) {
                break;
            }
        }
    }
    return g_strdup_printf("%s:%u: ", path, line);
}

/* ---- JSON to arguments ---------------------------------------------------------------------------- */

static void append_value(GString *text, const char *value)
{
    for (; *value; value++) {
        g_string_append_c(text, *value);
        if (*value == ',') {
            g_string_append_c(text, ',');
        }
    }
}

/* NULL with *err for a text with a zero byte in it. */
static const char *plain_text(const char *key, json_object *value, GError **err)
{
    const char *text = json_object_get_string(value);

    if (json_object_is_type(value, json_type_string) && strlen(text) != (size_t)json_object_get_string_len(value)) {
        error_set(err, "%s: the value contains a zero byte", key);
        return NULL;
    }
    return text;
}

static bool append_scalar(GString *text, const char *key, json_object *value, GError **err)
{
    if (!value) {
        return error_set(err, "%s: null is no value here; leave the key out", key);
    }
    const char *plain = plain_text(key, value, err);
    if (!plain) {
        return false;
    }
    g_string_append_printf(text, "%s%s=", text->len ? "," : "", key);
    if (json_object_is_type(value, json_type_boolean)) {
        g_string_append(text, json_object_get_boolean(value) ? "on" : "off");
    } else {
        append_value(text, plain);
    }
    return true;
}

static bool append_pair(GString *text, const char *key, json_object *value, GError **err)
{
    bool ok = true;

    if (json_object_is_type(value, json_type_object)) {
        json_object_object_foreach(value, name, member)
        {
            g_autofree char *dotted = g_strconcat(key, ".", name, NULL);

            ok = ok && append_pair(text, dotted, member, err);
        }
        return ok;
    }
    if (json_object_is_type(value, json_type_array)) {
        for (size_t i = 0; ok && i < json_object_array_length(value); i++) {
            g_autofree char *dotted = g_strdup_printf("%s.%zu", key, i);

            ok = append_pair(text, dotted, json_object_array_get_idx(value, i), err);
        }
        return ok;
    }
    return append_scalar(text, key, value, err);
}

/* Would it, without its key, be taken for a key and its value? */
static bool can_be_bare(json_object *value)
{
    return !json_object_is_type(value, json_type_object) && !json_object_is_type(value, json_type_array) &&
           !(value && strchr(json_object_get_string(value), '='));
}

/* The implied key goes first and bare: some options know it in no other way. */
static char *keyval_text(const OptionDef *def, json_object *object, GError **err)
{
    GString *text = g_string_new(NULL);
    json_object *first = NULL;

    if (def->implied && json_object_object_get_ex(object, def->implied, &first) && can_be_bare(first)) {
        append_value(text, first ? json_object_get_string(first) : "");
    }
    json_object_object_foreach(object, key, value)
    {
        if ((text->len == 0 || value != first) && !append_pair(text, key, value, err)) {
            g_string_free(text, true);
            return NULL;
        }
    }
    return g_string_free(text, false);
}

static bool use_value(Config *c, const char *key, json_object *value, const char *place, GError **err)
{
    const OptionDef *def = option_find(key);
    GError *reason = NULL;
    g_autofree char *text = NULL;

    switch (json_object_get_type(value)) {
    case json_type_boolean:
        if (def && def->arg) {
            text = g_strdup(json_object_get_boolean(value) ? "on" : "off");
        } else if (!json_object_get_boolean(value)) {
            return true;
        }
        break;
    case json_type_object:
        if (def && def->form == OPTION_TEXT) {
            error_set(&reason, "%s: takes %s, not an object", key, def->arg ? "a text" : "true");
        } else if (def && def->form == OPTION_KEYVAL) {
            text = keyval_text(def, value, &reason);
        } else {
            text = g_strdup(json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN));
        }
        break;
    case json_type_string:
    case json_type_int:
    case json_type_double:
        text = g_strdup(plain_text(key, value, &reason));
        break;
    default:
        error_set(&reason, "%s: neither null nor a list in a list is a value", key);
    }
    return reason ? config_mistake(c, place, reason, err) : config_use(c, key, text, place, err);
}

static bool use_member(Config *c, const char *path, const GArray *places, const char *key, json_object *value,
                       GError **err)
{
    if (!json_object_is_type(value, json_type_array)) {
        g_autofree char *place = place_text(path, places, key, -1);

        return use_value(c, key, value, place, err);
    }
    for (size_t i = 0; i < json_object_array_length(value); i++) {
        g_autofree char *place = place_text(path, places, key, (int)i);

        if (!use_value(c, key, json_object_array_get_idx(value, i), place, err)) {
            return false;
        }
    }
    return true;
}

/* json-c lets the last of two equal keys win; here that is a mistake. */
static bool check_duplicates(Config *c, const char *path, const GArray *places, GError **err)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);

    for (unsigned i = 0; i < places->len; i++) {
        const Place *p = &g_array_index(places, Place, i);

        if (p->index < 0 && !g_hash_table_add(seen, p->key)) {
            g_autofree char *place = g_strdup_printf("%s:%u: ", path, p->line);
            GError *reason = NULL;

            error_set(&reason, "%s: stands here twice; several values are a list: \"%s\": [..., ...]", p->key, p->key);
            if (!config_mistake(c, place, reason, err)) {
                return false;
            }
        }
    }
    return true;
}

/* json-c stops behind the value. */
static bool has_rest(const char *text)
{
    Scan s = {.at = text};

    skip_space(&s);
    return *s.at != 0;
}

static json_object *parse_json(const char *path, const char *text, size_t len, GError **err)
{
    json_tokener *tokener = json_tokener_new_ex(MAX_DEPTH);

    /* Not strict: that would refuse comments. */
    json_tokener_set_flags(tokener, JSON_TOKENER_VALIDATE_UTF8);
    json_object *json = json_tokener_parse_ex(tokener, text, (int)len + 1);
    size_t end = json_tokener_get_parse_end(tokener);
    enum json_tokener_error reason = json_tokener_get_error(tokener);
    unsigned line = 1;

    for (size_t i = 0; i < MIN(end, len); i++) {
        line += text[i] == '\n';
    }
    json_tokener_free(tokener);
    if (reason != json_tokener_success) {
        error_set(err, "--config %s:%u: not valid JSON: %s", path, line,
                  reason == json_tokener_continue ? "it ends too early" : json_tokener_error_desc(reason));
    } else if (has_rest(text + end)) {
        error_set(err, "--config %s:%u: not valid JSON: something follows the object", path, line);
    } else if (!json_object_is_type(json, json_type_object)) {
        error_set(err, "--config %s:%u: the file must hold one object: {\"option\": value, ...}", path, line);
    } else {
        return json;
    }
    json_object_put(json);
    return NULL;
}

bool config_read_json(Config *c, const char *path, GError **err)
{
    g_autofree char *text = NULL;
    size_t len;

    if (!read_file("--config", path, &text, &len, err)) {
        return false;
    }
    json_object *json = parse_json(path, text, len, err);
    if (!json) {
        return false;
    }
    g_autoptr(GArray) places = scan_places(text);
    bool ok = check_duplicates(c, path, places, err);
    json_object_object_foreach(json, key, value)
    {
        ok = ok && use_member(c, path, places, key, value, err);
    }
    json_object_put(json);
    return ok;
}

/* ---- INI ------------------------------------------------------------------------------------------- */

typedef struct Group {
    char *name;
    GString *text;  /* key=value,... so far */
    char *place;
} Group;

/* QEMU's names of groups that are not their options' names. */
static const char *option_of_group(const char *group)
{
    static const char *const names[][2] = {
        {"memory", "m"}, {"smp-opts", "smp"}, {"boot-opts", "boot"}, {"add-fd", "add-fd"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        if (!strcmp(names[i][0], group)) {
            return names[i][1];
        }
    }
    return group;
}

static void clear_group(Group *g)
{
    g_clear_pointer(&g->name, g_free);
    g_clear_pointer(&g->place, g_free);
    if (g->text) {
        g_string_free(g->text, true);
        g->text = NULL;
    }
}

static bool finish_group(Config *c, Group *g, GError **err)
{
    if (!g->name) {
        return true;
    }
    const char *name = option_of_group(g->name);
    const OptionDef *def = option_find(name);
    GError *reason = NULL;
    bool ok;

    if (!def || def->form == OPTION_TEXT) {
        error_set(&reason, "[%s]: there is no such group", g->name);
        ok = config_mistake(c, g->place, reason, err);
    } else {
        ok = config_use(c, name, g->text->str, g->place, err);
    }
    clear_group(g);
    return ok;
}

/* [name] or [name "id"]. */
static bool begin_group(Group *g, const char *line, const char *place)
{
    const char *close = strchr(line, ']'), *quote = strchr(line, '"');

    if (!close || close[1 + strspn(close + 1, " \t\r")]) {
        return false;
    }
    g->name = g_strchomp(g_strndup(line + 1, (size_t)((quote && quote < close ? quote : close) - line - 1)));
    g->text = g_string_new(NULL);
    g->place = g_strdup(place);
    if (quote && quote < close) {
        const char *end = strchr(quote + 1, '"');

        if (!end || end > close) {
            return false;
        }
        g_autofree char *id = g_strndup(quote + 1, (size_t)(end - quote - 1));
        g_string_append(g->text, "id=");
        append_value(g->text, id);
    }
    return *g->name != 0;
}

/* key = "value" */
static bool add_line(Group *g, const char *line)
{
    const char *equals = strchr(line, '='), *begin, *end;

    if (!equals || !(begin = strchr(equals, '"')) || !(end = strchr(begin + 1, '"')) ||
        strspn(equals + 1, " \t") != (size_t)(begin - equals - 1) || end[1 + strspn(end + 1, " \t\r")]) {
        return false;
    }
    g_autofree char *key = g_strchomp(g_strndup(line, (size_t)(equals - line)));
    g_autofree char *value = g_strndup(begin + 1, (size_t)(end - begin - 1));
    g_string_append_printf(g->text, "%s%s=", g->text->len ? "," : "", key);
    append_value(g->text, value);
    return *key != 0;
}

static bool read_line(Config *c, Group *g, const char *line, const char *place, GError **err)
{
    GError *reason = NULL;

    line += strspn(line, " \t\r");
    if (!*line || *line == '#') {
        return true;
    }
    if (*line == '[') {
        if (!finish_group(c, g, err)) {
            return false;
        }
        if (begin_group(g, line, place)) {
            return true;
        }
        clear_group(g);
        error_set(&reason, "'%s' is no group: write [name] or [name \"id\"]", line);
    } else if (!g->name) {
        error_set(&reason, "'%s' stands in no group", line);
    } else if (add_line(g, line)) {
        return true;
    } else {
        error_set(&reason, "'%s' is no setting: write key = \"value\"", line);
    }
    return config_mistake(c, place, reason, err);
}

bool config_read_ini(Config *c, const char *path, GError **err)
{
    g_autofree char *text = NULL;
    size_t len;

    if (!read_file("-readconfig", path, &text, &len, err)) {
        return false;
    }
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    Group group = {};
    bool ok = true;
    for (unsigned i = 0; ok && lines[i]; i++) {
        g_autofree char *place = g_strdup_printf("%s:%u: ", path, i + 1);

        ok = read_line(c, &group, lines[i], place, err);
    }
    ok = ok && finish_group(c, &group, err);
    clear_group(&group);
    return ok;
}

/* ---- printing ------------------------------------------------------------------------------------------ */

/* Only the implied key and its value: the value, as it can stand alone; NULL: it is something else. */
static const char *only_implied(const OptionDef *def, const char *arg)
{
    size_t len = def->implied ? strlen(def->implied) : 0;

    if (len && !strncmp(arg, def->implied, len) && arg[len] == '=') {
        arg += len + 1;
    }
    for (const char *comma = strchr(arg, ','); comma; comma = strchr(comma + 2, ',')) {
        if (comma[1] != ',') {
            return NULL;
        }
    }
    return len && *arg && !strchr(arg, '=') ? arg : NULL;
}

/* key=value,... as an object, or NULL where that would lose something. */
static json_object *keyval_object(const OptionDef *def, const char *arg)
{
    const char *at = arg, *alone = only_implied(def, arg);

    if (alone) {
        return json_object_new_string(alone);
    }
    json_object *object = json_object_new_object();
    while (*at) {
        size_t key_len = strcspn(at, "=,");
        bool first = at == arg, bare = at[key_len] != '=';
        g_autofree char *key = bare ? g_strdup(def->implied) : g_strndup(at, key_len);

        at += bare ? 0 : key_len + 1;
        g_autofree char *value = keyval_next_part(&at);
        if (!key || !*key || (bare && !first) || strchr(key, '.') || json_object_object_get_ex(object, key, NULL)) {
            json_object_put(object);
            return NULL;
        }
        json_object_object_add(object, key, json_object_new_string(value));
    }
    return object;
}

static json_object *use_json(const OptionUse *use)
{
    json_object *json = NULL;

    if (!use->arg) {
        return json_object_new_boolean(true);
    }
    if (use->def->form == OPTION_KEYVAL) {
        json = keyval_object(use->def, use->arg);
    } else if (use->def->form == OPTION_KEYVAL_OR_JSON && use->arg[0] == '{') {
        json = json_tokener_parse(use->arg);
    }
    return json ? json : json_object_new_string(use->arg);
}

void config_print(const Config *c)
{
    json_object *all = json_object_new_object();

    for (unsigned i = 0; i < c->uses->len; i++) {
        const OptionUse *use = &g_array_index(c->uses, OptionUse, i);
        json_object *value, *before;

        if (use->def->form == OPTION_META) {
            continue;
        }
        value = use_json(use);
        if (!json_object_object_get_ex(all, use->def->name, &before)) {
            json_object_object_add(all, use->def->name, value);
        } else if (!use->arg) {
            json_object_put(value); /* given twice is given */
        } else if (json_object_is_type(before, json_type_array)) {
            json_object_array_add(before, value);
        } else {
            json_object *list = json_object_new_array();

            json_object_array_add(list, json_object_get(before));
            json_object_array_add(list, value);
            json_object_object_add(all, use->def->name, list);
        }
    }
    puts(json_object_to_json_string_ext(all, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
                                                 JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(all);
}
