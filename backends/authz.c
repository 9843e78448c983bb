/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * authz-simple allows one identity; authz-list has rules, the first that matches counts; authz-list-file has the same
 * in a JSON file, which is read again when it has changed. authz_pam.c has one more.
 */
#include "backends/authz.h"

#include <errno.h>
#include <fnmatch.h>
#include <json-c/json.h>
#include <sys/stat.h>

#include "core/user_object.h"
#include "qapi/qapi-object.h"
#include "util/file.h"

#define FILE_MAX (1024 * 1024)

typedef enum Verdict { VERDICT_DENY, VERDICT_ALLOW } Verdict;
static const char *const verdicts[] = {"deny", "allow", NULL};

bool authz_is_allowed(Vm *vm, const char *id, const char *identity, GError **err)
{
    Object *obj = user_object_find(vm, id, "authz");
    const AuthzOps *ops = obj ? type_ops(obj->type) : NULL;

    return ops ? ops->is_allowed(obj, identity, err)
               : error_set(err, "Authorization object '%s' not found; make it with -object authz-list,id=%s", id, id);
}

KILN_TYPE(authz) = {.name = "authz", .parent = "object", .size = sizeof(Object), .abstract = true, .user_object = true};

/* ---- authz-simple ---------------------------------------------------------------------- */

typedef struct AuthzSimple {
    Object obj;
    char *identity;
} AuthzSimple;

static bool simple_is_allowed(Object *obj, const char *identity, GError **err)
{
    return !strcmp(((AuthzSimple *)(void *)obj)->identity, identity);
}

static const Property simple_props[] = {
    PROP_STRING("identity", AuthzSimple, identity, .type = "string", .required = true, .help = "who may"),
    {}};
static const AuthzOps simple_ops = {.is_allowed = simple_is_allowed};

KILN_TYPE(authz_simple) = {
    .name = "authz-simple",
    .parent = "authz",
    .desc = "allows one identity",
    .size = sizeof(AuthzSimple),
    .props = simple_props,
    .ops = &simple_ops,
};

/* ---- rules -------------------------------------------------------------------------------- */

typedef struct Rule {
    char *match;
    Verdict verdict;
    bool glob;          /* match is a pattern */
} Rule;

static void rule_clear(void *item) { g_free(((Rule *)item)->match); }

static bool member_name(json_object *json, const char *key, const char *const *names, int *value, GError **err)
{
    json_object *member;

    if (!json_object_object_get_ex(json, key, &member)) {
        return true;
    }
    for (int i = 0; json_object_is_type(member, json_type_string) && names[i]; i++) {
        if (!strcmp(names[i], json_object_get_string(member))) {
            *value = i;
            return true;
        }
    }
    return error_set(err, "Parameter '%s' does not accept value '%s'; it is '%s' or '%s'", key,
                     json_object_get_string(member), names[0], names[1]);
}

static bool parse_rule(json_object *json, Rule *rule, GError **err)
{
    static const char *const formats[] = {"exact", "glob", NULL};
    json_object *match;
    int verdict = -1, format = 0;

    if (!json_object_is_type(json, json_type_object)) {
        return error_set(err, "Invalid parameter type for 'rules', expected: objects with match, policy, format");
    }
    if (!json_object_object_get_ex(json, "match", &match) || !json_object_is_type(match, json_type_string)) {
        return error_set(err, "Parameter 'match' is missing in a rule");
    }
    if (!member_name(json, "policy", verdicts, &verdict, err) || !member_name(json, "format", formats, &format, err)) {
        return false;
    }
    json_object_object_foreach(json, key, value)
    {
        if (strcmp(key, "match") && strcmp(key, "policy") && strcmp(key, "format")) {
            return error_set(err, "Parameter '%s' is unexpected in a rule", key);
        }
    }
    if (verdict < 0) {
        return error_set(err, "Parameter 'policy' is missing in a rule");
    }
    *rule = (Rule){g_strdup(json_object_get_string(match)), (Verdict)verdict, format == 1};
    return true;
}

/* NULL with *err. */
static GArray *parse_rules(json_object *json, GError **err)
{
    GArray *rules = g_array_new(false, false, sizeof(Rule));

    g_array_set_clear_func(rules, rule_clear);
    if (!json_object_is_type(json, json_type_array)) {
        error_set(err, "Invalid parameter type for 'rules', expected: array");
        g_array_free(rules, true);
        return NULL;
    }
    for (size_t i = 0; i < json_object_array_length(json); i++) {
        Rule rule;

        if (!parse_rule(json_object_array_get_idx(json, i), &rule, err)) {
            g_array_free(rules, true);
            return NULL;
        }
        g_array_append_val(rules, rule);
    }
    return rules;
}

static Verdict judge(const GArray *rules, Verdict otherwise, const char *identity)
{
    for (unsigned i = 0; rules && i < rules->len; i++) {
        const Rule *rule = &g_array_index(rules, Rule, i);

        if (rule->glob ? !fnmatch(rule->match, identity, 0) : !strcmp(rule->match, identity)) {
            return rule->verdict;
        }
    }
    return otherwise;
}

/* ---- authz-list ------------------------------------------------------------------------------ */

typedef struct AuthzList {
    Object obj;
    int policy;         /* Verdict where no rule matches */
    GArray *rules;      /* Rule; NULL: none */
} AuthzList;

static bool set_rules(Object *obj, const Property *prop, void *field, json_object *value, GError **err)
{
    GArray **rules = field, *parsed = parse_rules(value, err);

    if (!parsed) {
        return false;
    }
    g_clear_pointer(rules, g_array_unref);
    *rules = parsed;
    return true;
}

static json_object *get_rules(Object *obj, const Property *prop, const void *field)
{
    const GArray *rules = *(GArray *const *)field;
    json_object *list = json_object_new_array();

    for (unsigned i = 0; rules && i < rules->len; i++) {
        const Rule *rule = &g_array_index(rules, Rule, i);
        json_object *json = json_object_new_object();

        json_object_object_add(json, "match", json_object_new_string(rule->match));
        json_object_object_add(json, "policy", json_object_new_string(verdicts[rule->verdict]));
        json_object_object_add(json, "format", json_object_new_string(rule->glob ? "glob" : "exact"));
        json_object_array_add(list, json);
    }
    return list;
}

static void release_rules(Object *obj, const Property *prop, void *field)
{
    g_clear_pointer((GArray **)field, g_array_unref);
}

static const PropKind prop_kind_rules = {.type = "QAuthZListRule", .json = json_type_array, .get = get_rules,
                                         .release = release_rules, .set_json = set_rules,
                                         .schema = &qapi_list_QAuthZListRule};

static bool list_is_allowed(Object *obj, const char *identity, GError **err)
{
    const AuthzList *list = (AuthzList *)(void *)obj;

    return judge(list->rules, (Verdict)list->policy, identity) == VERDICT_ALLOW;
}

static const Property list_props[] = {
    PROP_ENUM("policy", AuthzList, policy, .type = "QAuthZListPolicy", .values = verdicts, .anytime = true,
              .help = "for those that no rule names"),
    PROP_ANY("rules", &prop_kind_rules, AuthzList, rules, .anytime = true,
             .help = "JSON: [{\"match\": ..., \"policy\": \"allow\", \"format\": \"glob\"}, ...]"),
    {}};
static const AuthzOps list_ops = {.is_allowed = list_is_allowed};

KILN_TYPE(authz_list) = {
    .name = "authz-list",
    .parent = "authz",
    .desc = "allows and denies by a list of rules",
    .size = sizeof(AuthzList),
    .props = list_props,
    .ops = &list_ops,
};

/* ---- authz-list-file ---------------------------------------------------------------------------- */

typedef struct AuthzListFile {
    Object obj;
    char *filename;
    bool refresh;
    Verdict policy;
    GArray *rules;
    struct stat seen;   /* of the file that was read */
} AuthzListFile;

static bool parse_file(AuthzListFile *f, const char *text, GError **err)
{
    g_autoptr(GError) reason = NULL;
    json_object *json = json_tokener_parse(text), *rules = NULL;
    GArray *parsed = NULL;
    int policy = VERDICT_DENY;

    if (!json_object_is_type(json, json_type_object)) {
        json_object_put(json);
        return error_set(err, "%s: is no JSON object", f->filename);
    }
    bool ok = member_name(json, "policy", verdicts, &policy, &reason);
    if (ok && json_object_object_get_ex(json, "rules", &rules)) {
        parsed = parse_rules(rules, &reason);
        ok = parsed != NULL;
    }
    json_object_put(json);
    if (!ok) {
        return error_set_from(err, reason, "%s: %s", f->filename, reason->message);
    }
    g_clear_pointer(&f->rules, g_array_unref);
    f->rules = parsed;
    f->policy = (Verdict)policy;
    return true;
}

static bool read_file(AuthzListFile *f, GError **err)
{
    g_autofree char *text = NULL;

    if (stat(f->filename, &f->seen) < 0) {
        return error_set_errno(err, errno, "Unable to read '%s'", f->filename);
    }
    return file_read(f->filename, FILE_MAX, &text, NULL, err) && parse_file(f, text, err);
}

static bool has_changed(const AuthzListFile *f)
{
    struct stat now;

    return stat(f->filename, &now) < 0 || now.st_ino != f->seen.st_ino || now.st_size != f->seen.st_size ||
           memcmp(&now.st_mtim, &f->seen.st_mtim, sizeof now.st_mtim);
}

static bool file_is_allowed(Object *obj, const char *identity, GError **err)
{
    AuthzListFile *f = (AuthzListFile *)(void *)obj;

    if (f->refresh && has_changed(f) && !read_file(f, err)) {
        return false;
    }
    return judge(f->rules, f->policy, identity) == VERDICT_ALLOW;
}

static bool file_complete(Object *obj, GError **err) { return read_file((AuthzListFile *)(void *)obj, err); }

static void file_finalize(Object *obj) { g_clear_pointer(&((AuthzListFile *)(void *)obj)->rules, g_array_unref); }

static const Property file_props[] = {
    PROP_STRING("filename", AuthzListFile, filename, .type = "string", .required = true,
                .help = "JSON file with policy and rules"),
    PROP_BOOL("refresh", AuthzListFile, refresh, .def = true, .help = "read it again when it has changed"),
    {}};
static const AuthzOps file_ops = {.is_allowed = file_is_allowed};

KILN_TYPE(authz_list_file) = {
    .name = "authz-list-file",
    .parent = "authz",
    .desc = "allows and denies by a file of rules",
    .size = sizeof(AuthzListFile),
    .props = file_props,
    .complete = file_complete,
    .finalize = file_finalize,
    .ops = &file_ops,
};
