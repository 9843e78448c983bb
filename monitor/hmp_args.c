/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The arguments of an HMP command, read as its "name:kind,..." declares (monitor/hmp.h). */
#include "monitor/hmp_internal.h"

#include "util/error.h"
#include "util/util.h"

typedef struct HmpValue {
    char *text;
    int64_t number;
    HmpFormat format;
} HmpValue;

struct HmpArgs {
    GHashTable *values;      /* char * -> HmpValue * */
};

static const char *skip_blanks(const char *p)
{
    while (g_ascii_isspace(*p)) {
        p++;
    }
    return p;
}

/* ---- expressions: + - | ^ & * / % ( ) ~, numbers, 'c', $register --------------------------------------- */

typedef struct Expression {
    HmpCall *call;
    const char *p;
    unsigned depth;          /* open parentheses and signs */
} Expression;

static bool read_sum(Expression *e, int64_t *value, GError **err);

static bool read_number(Expression *e, int64_t *value, GError **err)
{
    char *end;

    if (!*e->p) {
        return error_set(err, "unexpected end of expression");
    }
    if (!g_ascii_isdigit(*e->p)) {
        return error_set(err, "invalid char '%c' in expression", *e->p);
    }
    errno = 0;
    *value = (int64_t)g_ascii_strtoull(e->p, &end, 0);
    if (errno) {
        return error_set(err, "number too large");
    }
    e->p = end;
    return true;
}

static bool read_unary(Expression *e, int64_t *value, GError **err)
{
    char c = *(e->p = skip_blanks(e->p));
    bool ok;

    if (c == '\'' && e->p[1] && e->p[2] == '\'') {
        *value = (unsigned char)e->p[1];
        e->p += 3;
        return true;
    }
    if (c == '$') {
        size_t len = 0;

        for (e->p++; g_ascii_isalnum(e->p[len]) || e->p[len] == '_'; len++) {
        }
        g_autofree char *name = g_strndup(e->p, len);
        e->p += len;
        return hmp_read_register(e->call, name, value, err);
    }
    if (!c || !strchr("+-~(", c)) {
        return read_number(e, value, err);
    }
    if (e->depth == 64) {
        return error_set(err, "expression nested too deep");
    }
    e->depth++;
    e->p++;
    ok = c == '(' ? read_sum(e, value, err) : read_unary(e, value, err);
    e->depth--;
    if (ok && c == '(' && *(e->p = skip_blanks(e->p)) != ')') {
        return error_set(err, "')' expected");
    }
    e->p += ok && c == '(';
    *value = c == '-' ? (int64_t)-(uint64_t)*value : c == '~' ? ~*value : *value;
    return ok;
}

/* A chain of operators of one level. In 64 bits, wrapping, as addresses are. */
static bool read_product(Expression *e, int64_t *value, GError **err)
{
    int64_t right;

    if (!read_unary(e, value, err)) {
        return false;
    }
    for (;;) {
        const char *p = skip_blanks(e->p);
        char op = *p;

        if (!op || !strchr("*/%", op)) {
            return true;
        }
        e->p = p + 1;
        if (!read_unary(e, &right, err)) {
            return false;
        }
        if (op != '*' && (!right || right == -1)) {
            if (!right) {
                return error_set(err, "division by zero");
            }
            *value = op == '/' ? (int64_t)-(uint64_t)*value : 0;
            continue;
        }
        *value = op == '*' ? (int64_t)((uint64_t)*value * (uint64_t)right) : op == '/' ? *value / right : *value % right;
    }
}

static bool read_logic(Expression *e, int64_t *value, GError **err)
{
    int64_t right;

    if (!read_product(e, value, err)) {
        return false;
    }
    for (;;) {
        const char *p = skip_blanks(e->p);
        char op = *p;

        if (!op || !strchr("&|^", op)) {
            return true;
        }
        e->p = p + 1;
        if (!read_product(e, &right, err)) {
            return false;
        }
        *value = op == '&' ? *value & right : op == '|' ? *value | right : *value ^ right;
    }
}

static bool read_sum(Expression *e, int64_t *value, GError **err)
{
    int64_t right;

    if (!read_logic(e, value, err)) {
        return false;
    }
    for (;;) {
        const char *p = skip_blanks(e->p);
        char op = *p;

        if (op != '+' && op != '-') {
            return true;
        }
        e->p = p + 1;
        if (!read_logic(e, &right, err)) {
            return false;
        }
        *value = (int64_t)(op == '+' ? (uint64_t)*value + (uint64_t)right : (uint64_t)*value - (uint64_t)right);
    }
}

/* ---- kinds ----------------------------------------------------------------------------------- */

static bool read_quoted(const char **text, char **word, GError **err)
{
    static const char letters[] = "nrt\\'\"", meaning[] = "\n\r\t\\'\"";
    g_autoptr(GString) s = g_string_new(NULL);
    const char *p = *text + 1;

    for (; *p != '"'; p++) {
        const char *found;

        if (!*p) {
            return error_set(err, "unterminated string");
        }
        if (*p == '\\') {
            p++;
            found = *p ? strchr(letters, *p) : NULL;
            if (!found) {
                return error_set(err, "unsupported escape code: '\\%c'", *p ? *p : ' ');
            }
            g_string_append_c(s, meaning[found - letters]);
        } else {
            g_string_append_c(s, *p);
        }
    }
    *text = p + 1;
    *word = g_strdup(s->str);
    return true;
}

static bool read_word(HmpCall *call, const char **text, HmpValue *value, GError **err)
{
    const char *p = *text;

    if (*p == '"') {
        return read_quoted(text, &value->text, err);
    }
    while (*p && !g_ascii_isspace(*p)) {
        p++;
    }
    if (p == *text) {
        return error_set(err, "string expected");
    }
    value->text = g_strndup(*text, (gsize)(p - *text));
    *text = p;
    return true;
}

static bool read_rest(HmpCall *call, const char **text, HmpValue *value, GError **err)
{
    if (!**text) {
        return error_set(err, "string expected");
    }
    value->text = g_strdup(*text);
    *text += strlen(*text);
    return true;
}

static bool read_long(HmpCall *call, const char **text, HmpValue *value, GError **err)
{
    Expression e = {.call = call, .p = *text};

    if (!read_sum(&e, &value->number, err)) {
        return false;
    }
    *text = e.p;
    return true;
}

static bool read_int(HmpCall *call, const char **text, HmpValue *value, GError **err)
{
    if (!read_long(call, text, value, err)) {
        return false;
    }
    if (value->number < INT32_MIN || value->number > UINT32_MAX) {
        return error_set(err, "integer is for 32-bit values");
    }
    return true;
}

static bool read_size(HmpCall *call, const char **text, HmpValue *value, GError **err)
{
    static const char suffixes[] = "BKMGTPE";
    const char *start = *text, *letter = NULL;
    char *end;
    double number = g_ascii_strtod(start, &end);
    int power = 2;

    if (end == start || !(number >= 0)) {
        return error_set(err, "invalid size");
    }
    if (*end && !g_ascii_isspace(*end)) {
        letter = strchr(suffixes, g_ascii_toupper(*end));
        if (!letter || (end[1] && !g_ascii_isspace(end[1]))) {
            return error_set(err, "invalid size");
        }
        power = (int)(letter - suffixes);
        end++;
    }
    for (; power > 0; power--) {
        number *= 1024;
    }
    if (number >= 9.2e18) {
        return error_set(err, "size is too large");
    }
    value->number = (int64_t)number;
    *text = end;
    return true;
}

static bool read_bool(HmpCall *call, const char **text, HmpValue *value, GError **err)
{
    g_autofree char *word = NULL;
    HmpValue read = {0};

    if (!read_word(call, text, &read, NULL)) {
        return error_set(err, "Expected 'on' or 'off'");
    }
    word = read.text;
    value->number = !strcmp(word, "on");
    return value->number || !strcmp(word, "off") || error_set(err, "Expected 'on' or 'off'");
}

static bool read_format(HmpCall *call, const char **text, HmpValue *value, GError **err)
{
    const char *p = *text;

    if (*p != '/') {
        return true;
    }
    for (p++; g_ascii_isdigit(*p); p++) {
        value->format.has_count = true;
        value->format.count = MIN(value->format.count * 10 + (*p - '0'), 1 << 20);
    }
    for (; *p && !g_ascii_isspace(*p); p++) {
        if (strchr("xduoci", *p)) {
            value->format.format = *p;
        } else if (strchr("bhwg", *p)) {
            value->format.size = *p;
        } else {
            return error_set(err, "invalid char in format: '%c'", *p);
        }
    }
    *text = p;
    return true;
}

static const struct Kind {
    const char *name, *shown;   /* shown: in messages for people who see no declaration */
    bool (*read)(HmpCall *call, const char **text, HmpValue *value, GError **err);
} kinds[] = {
    {"word", "word", read_word}, {"rest", "text", read_rest}, {"int", "number", read_int},
    {"long", "number", read_long}, {"size", "size", read_size}, {"bool", "on|off", read_bool},
    {"format", "/fmt", read_format},
};

static const struct Kind *find_kind(const char *name, size_t len)
{
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        if (strlen(kinds[i].name) == len && !strncmp(kinds[i].name, name, len)) {
            return &kinds[i];
        }
    }
    g_assert_not_reached(); /* a declaration in our own tables */
}

/* ---- all of them ------------------------------------------------------------------------------ */

static void value_free(gpointer data)
{
    HmpValue *value = data;

    g_free(value->text);
    g_free(value);
}

void hmp_args_free(HmpArgs *args)
{
    g_hash_table_unref(args->values);
    g_free(args);
}

static bool is_flag(const char *spec) { return g_str_has_suffix(spec, ":flag"); }

/* Takes "-x" words as long as the command has such flags. */
static bool read_flags(HmpArgs *args, char **specs, const char **text, bool number_next, GError **err)
{
    for (;;) {
        const char *p = skip_blanks(*text);
        bool found = false, any = false;

        if (p[0] != '-' || !g_ascii_isalpha(p[1]) || (p[2] && !g_ascii_isspace(p[2]))) {
            return true;
        }
        for (char **spec = specs; *spec; spec++) {
            any |= is_flag(*spec);
            if (is_flag(*spec) && (*spec)[1] == p[1]) {
                HmpValue *value = g_new0(HmpValue, 1);

                value->number = 1;
                g_hash_table_replace(args->values, g_strndup(*spec, 2), value);
                found = true;
            }
        }
        if (!found) {
            return !any || number_next || error_set(err, "unsupported option -%c", p[1]);
        }
        *text = skip_blanks(p + 2);
    }
}

/* spec: "name:kind" or "name:kind?". */
static bool read_arg(HmpCall *call, HmpArgs *args, const char *spec, const char **text, GError **err)
{
    const char *colon = strchr(spec, ':');
    size_t len = strlen(colon + 1);
    bool optional = colon[len] == '?';
    const struct Kind *kind = find_kind(colon + 1, len - optional);
    HmpValue *value;

    *text = skip_blanks(*text);
    if (!**text && (optional || kind->read == read_format)) {
        return true;
    }
    value = g_new0(HmpValue, 1);
    if (!kind->read(call, text, value, err)) {
        value_free(value);
        return false;
    }
    g_hash_table_replace(args->values, g_strndup(spec, (gsize)(colon - spec)), value);
    return true;
}

HmpArgs *hmp_args_parse(HmpCall *call, const char *declaration, const char *text, GError **err)
{
    HmpArgs *args = g_new0(HmpArgs, 1);
    g_auto(GStrv) specs = g_strsplit(declaration ? declaration : "", ",", -1);
    bool ok = true;

    args->values = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, value_free);
    for (char **spec = specs; ok && *spec; spec++) {
        bool number = strstr(*spec, ":int") || strstr(*spec, ":long");

        ok = read_flags(args, specs, &text, number, err) && (is_flag(*spec) || read_arg(call, args, *spec, &text, err));
    }
    ok = ok && read_flags(args, specs, &text, false, err);
    if (ok && *skip_blanks(text)) {
        ok = error_set(err, "extraneous characters at the end of line");
    }
    if (!ok) {
        hmp_args_free(args);
        return NULL;
    }
    return args;
}

char *hmp_args_describe(const char *declaration)
{
    g_auto(GStrv) specs = g_strsplit(declaration ? declaration : "", ",", -1);
    GString *text = g_string_new(NULL);

    for (char **spec = specs; *spec; spec++) {
        const char *colon = strchr(*spec, ':');
        size_t len = strlen(colon + 1);
        bool optional = is_flag(*spec) || colon[len] == '?';
        const struct Kind *kind = is_flag(*spec) ? NULL : find_kind(colon + 1, len - (colon[len] == '?'));
        bool by_kind = kind && (kind->read == read_bool || kind->read == read_format);

        g_string_append_printf(text, "%s%s%.*s%s", text->len ? " " : "", optional ? "[" : "",
                               by_kind ? 100 : (int)(colon - *spec), by_kind ? kind->shown : *spec,
                               optional ? "]" : "");
    }
    return g_string_free(text, false);
}

/* ---- for handlers -------------------------------------------------------------------------------- */

static const HmpValue *find_value(const HmpArgs *args, const char *name)
{
    static const HmpValue none;
    const HmpValue *value = g_hash_table_lookup(args->values, name);

    return value ? value : &none;
}

bool hmp_has(const HmpArgs *args, const char *name) { return g_hash_table_contains(args->values, name); }
const char *hmp_str(const HmpArgs *args, const char *name) { return find_value(args, name)->text; }
int64_t hmp_int(const HmpArgs *args, const char *name) { return find_value(args, name)->number; }
bool hmp_bool(const HmpArgs *args, const char *name) { return find_value(args, name)->number; }
HmpFormat hmp_format(const HmpArgs *args, const char *name) { return find_value(args, name)->format; }
