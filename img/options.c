/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Options of the image tools: tables for getopt_long, numbers, and the messages for what is wrong.
 */
#include <getopt.h>
#include <stdlib.h>

#include "core/type_help.h"
#include "core/user_object.h"
#include "img/deflate.h"
#include "img/img.h"
#include "util/json_text.h"
#include "util/keyval.h"
#include "util/trace.h"

#define OPT_HELP 256
#define OPT_OBJECT 257
#define OPT_FIRST 258

const char *img_program_name = "kiln-img";

/* ---- messages ------------------------------------------------------------------------------- */

int img_usage_error(const char *fmt, ...)
{
    va_list args;
    g_autofree char *text = NULL;

    va_start(args, fmt);
    text = g_strdup_vprintf(fmt, args);
    va_end(args);
    report_error("%s\nTry '%s --help' for more information", text, img_program_name);
    return 1;
}

Vm *img_vm_new(GError **err)
{
    Vm *vm = vm_new(err);

    if (vm) {
        lock_limit_hold(&vm->lock, 0);
        block_set_deflate(img_deflate);
    }
    return vm;
}

int img_fail(GError *err)
{
    report_error("%s", err->message);
    g_error_free(err);
    return 1;
}

int img_trace(const char *text)
{
    GError *err = NULL;
    bool helped = false;

    if (text && !trace_parse_option(text, &helped, &err)) {
        return img_fail(err);
    }
    return helped ? 0 : -1;
}

int img_fail_errno(int ret, const char *fmt, ...)
{
    va_list args;
    g_autofree char *text = NULL;

    va_start(args, fmt);
    text = g_strdup_vprintf(fmt, args);
    va_end(args);
    report_error("%s: %s", text, g_strerror(-ret));
    return 1;
}

/* ---- reading options ------------------------------------------------------------------------ */

static bool add_object(Vm *vm, const char *text)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(GPtrArray) list = g_ptr_array_new();
    ObjectArgs *args = NULL;
    bool helped = false, ok = user_object_help(text, &helped, &err);

    if (helped) {
        exit(0);
    }
    if (ok) {
        args = object_args_parse(text, &err);
        ok = args != NULL;
    }
    if (ok) {
        g_ptr_array_add(list, args);
        ok = user_objects_create(vm, list, false, &err) && user_objects_create(vm, list, true, &err);
        object_args_free(args);
    }
    if (!ok) {
        report_error("%s", err->message);
    }
    return ok;
}

static GPtrArray *list_of(void *to)
{
    GPtrArray **list = to;

    if (!*list) {
        *list = g_ptr_array_new();
    }
    return *list;
}

static void store(const ImgOption *o, char *value)
{
    switch (o->kind) {
    case IMG_FLAG:
        *(bool *)o->to = true;
        break;
    case IMG_TEXT:
        *(const char **)o->to = value;
        break;
    case IMG_LIST:
        g_ptr_array_add(list_of(o->to), value);
        break;
    case IMG_ACTION:
        g_ptr_array_add(list_of(o->to), g_strdup(o->name));
        break;
    case IMG_ACTION_VALUE:
        g_ptr_array_add(list_of(o->to), g_strdup_printf("%s=%s", o->name, value));
        break;
    }
}

static bool takes_value(const ImgOption *o)
{
    return o->kind != IMG_FLAG && o->kind != IMG_ACTION;
}

static bool unknown_option(const char *word, const ImgOption *options)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    g_autofree char *near = NULL, *bare = NULL;

    for (; options->letter || options->name; options++) {
        if (options->name) {
            g_ptr_array_add(names, (void *)options->name);
        }
    }
    g_ptr_array_add(names, (void *)"object");
    g_ptr_array_add(names, NULL);
    bare = g_strndup(word + 2 * g_str_has_prefix(word, "--"), strcspn(word, "="));
    near = g_str_has_prefix(word, "--") ? suggest_names(bare, (const char *const *)names->pdata)
                                        : g_strdup("");
    img_usage_error("unrecognized option '%s'%s", word, near);
    return false;
}

/* The option as the user wrote it, for messages. */
static char *option_word(char **argv)
{
    const char *word = argv[optind - 1];

    return g_str_has_prefix(word, "--") || !optopt || optopt >= OPT_HELP ? g_strdup(word)
                                                                         : g_strdup_printf("-%c", optopt);
}

static bool take_option(Vm *vm, int c, char **argv, const ImgOption *options)
{
    g_autofree char *word = NULL;

    if (c == 'h' || c == OPT_HELP) {
        img_help();
        exit(0);
    }
    if (c == OPT_OBJECT) {
        return !vm || add_object(vm, optarg);
    }
    if (c == '?' || c == ':') {
        word = option_word(argv);
        if (c == ':') {
            img_usage_error("missing argument for option '%s'", word);
            return false;
        }
        return unknown_option(word, options);
    }
    for (unsigned i = 0; options[i].letter || options[i].name; i++) {
        if (c == options[i].letter || c == OPT_FIRST + (int)i) {
            store(&options[i], optarg);
        }
    }
    return true;
}

bool img_parse(Vm *vm, int argc, char **argv, const ImgOption *options, int *first)
{
    g_autoptr(GString) letters = g_string_new(":h");
    g_autoptr(GArray) longs = g_array_new(TRUE, TRUE, sizeof(struct option));
    struct option common[] = {{"help", no_argument, NULL, OPT_HELP},
                              {"object", required_argument, NULL, OPT_OBJECT}};
    int c;

    g_array_append_vals(longs, common, G_N_ELEMENTS(common));
    for (unsigned i = 0; options[i].letter || options[i].name; i++) {
        const ImgOption *o = &options[i];
        struct option entry = {o->name, takes_value(o) ? required_argument : no_argument, NULL,
                               OPT_FIRST + (int)i};

        if (o->name) {
            g_array_append_val(longs, entry);
        }
        if (o->letter) {
            g_string_append_printf(letters, "%c%s", o->letter, takes_value(o) ? ":" : "");
        }
    }
    opterr = 0;
    optind = 0; /* GNU: from the beginning */
    while ((c = getopt_long(argc, argv, letters->str, (struct option *)(void *)longs->data, NULL)) !=
           -1) {
        if (!take_option(vm, c, argv, options)) {
            return false;
        }
    }
    *first = optind;
    return true;
}

void img_actions_free(GPtrArray *actions)
{
    if (actions) {
        g_ptr_array_set_free_func(actions, g_free);
        g_ptr_array_free(actions, TRUE);
    }
}

bool img_output_is_json(const char *text, bool *json)
{
    *json = text && !strcmp(text, "json");
    if (text && !*json && strcmp(text, "human")) {
        report_error("--output must be used with human or json as argument.");
        return false;
    }
    return true;
}

bool img_parse_number(const char *what, const char *text, uint64_t max, uint64_t *value)
{
    const char *digits = *text == '-' ? text + 1 : text;
    bool ok = parse_size(digits, 1, value);
    char *end = NULL;
    double about = g_ascii_strtod(digits, &end);

    /* A number that does not fit is not the same mistake as a word. */
    if (*text == '-' || (ok && *value > max) || (!ok && end != digits && about > 1e15)) {
        report_error("Invalid %s specified. Must be between 0 and %" PRIu64 ".", what, max);
        return false;
    }
    if (!ok) {
        report_error("Invalid %s specified. You may use k, M, G, T, P or E suffixes for", what);
        report_error("kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.");
    }
    return ok;
}

/* ---- printing ------------------------------------------------------------------------------- */

void img_print_json(json_object *value)
{
    g_autoptr(GString) text = g_string_new(NULL);

    json_text_append(text, value, true);
    puts(text->str);
    json_object_put(value);
}
