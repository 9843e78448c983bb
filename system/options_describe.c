/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The option tables as query-command-line-options tells them. */
#include "chardev/char.h"
#include "core/object.h"
#include "qapi/qapi-monitor.h"
#include "system/config.h"

static const OptionDef *const tables[] = {machine_option_defs, device_option_defs, process_option_defs};

static CommandLineParameterInfo *parameter_new(const char *name, size_t len)
{
    CommandLineParameterInfo *info = g_new0(CommandLineParameterInfo, 1);

    info->name = g_strndup(name, len);
    return info;
}

static bool has_parameter(const GPtrArray *list, const char *name, size_t len)
{
    for (unsigned i = 0; i < list->len; i++) {
        const CommandLineParameterInfo *info = list->pdata[i];

        if (strlen(info->name) == len && !strncmp(info->name, name, len)) {
            return true;
        }
    }
    return false;
}

/* What stands behind the '=' in the help's text. */
static CommandLineParameterType type_of(const char *value)
{
    return g_str_has_prefix(value, "on|off")                                       ? COMMAND_LINE_PARAMETER_TYPE_BOOLEAN
           : g_str_has_prefix(value, "megs") || g_str_has_prefix(value, "size")    ? COMMAND_LINE_PARAMETER_TYPE_SIZE
           : value[0] == 'n' && !g_ascii_isalpha(value[1])                         ? COMMAND_LINE_PARAMETER_TYPE_NUMBER
                                                                                   : COMMAND_LINE_PARAMETER_TYPE_STRING;
}

/* Each "key=" of "[order=drives][,menu=on|off]", and "[key=]". Words that stand for any key are none. */
static void add_keys(GPtrArray *list, const char *arg)
{
    static const char *const any[] = {"prop", "driver.property", "key", NULL};

    for (const char *equals = arg; (equals = strchr(equals, '=')); equals++) {
        const char *start = equals;

        while (start > arg && (g_ascii_isalnum(start[-1]) || strchr("-_.", start[-1]))) {
            start--;
        }
        size_t len = (size_t)(equals - start);
        g_autofree char *name = g_strndup(start, len);
        if (len && !g_strv_contains(any, name) && !has_parameter(list, start, len)) {
            CommandLineParameterInfo *info = parameter_new(start, len);

            info->type = type_of(equals + 1 + (equals[1] == ']'));
            g_ptr_array_add(list, info);
        }
    }
}

static void add_property(const Type *owner, const Property *prop, void *opaque)
{
    const char *kind = prop->kind->type;

    if (has_parameter(opaque, prop->name, strlen(prop->name))) {
        return;
    }
    CommandLineParameterInfo *info = parameter_new(prop->name, strlen(prop->name));
    info->type = !strcmp(kind, "bool") || !strcmp(kind, "OnOffAuto") ? COMMAND_LINE_PARAMETER_TYPE_BOOLEAN
                 : !strcmp(kind, "size")               ? COMMAND_LINE_PARAMETER_TYPE_SIZE
                 : strstr(kind, "int") == kind || kind[0] == 'u' ? COMMAND_LINE_PARAMETER_TYPE_NUMBER
                                                       : COMMAND_LINE_PARAMETER_TYPE_STRING;
    info->help = g_strdup(prop->help);
    g_ptr_array_add(opaque, info);
}

static void add_type(const Type *type, void *opaque) { type_foreach_property(type, add_property, opaque); }

static void add_chardev_option(const char *name, const QapiType *type, const char *doc, void *opaque)
{
    if (has_parameter(opaque, name, strlen(name))) {
        return;
    }
    CommandLineParameterInfo *info = parameter_new(name, strlen(name));
    info->type = type->kind == QAPI_BOOL   ? COMMAND_LINE_PARAMETER_TYPE_BOOLEAN
                 : type->kind == QAPI_SIZE ? COMMAND_LINE_PARAMETER_TYPE_SIZE
                 : type->kind <= QAPI_UINT ? COMMAND_LINE_PARAMETER_TYPE_NUMBER
                                           : COMMAND_LINE_PARAMETER_TYPE_STRING;
    info->help = g_strdup(doc);
    g_ptr_array_add(opaque, info);
}

/* What managers know these options as. */
static const char *schema_name(const char *option)
{
    return !strcmp(option, "m")      ? "memory"
           : !strcmp(option, "boot") ? "boot-opts"
           : !strcmp(option, "smp")  ? "smp-opts"
                                     : option;
}

GPtrArray *options_describe(const char *option)
{
    GPtrArray *list = g_ptr_array_new();

    for (size_t t = 0; t < G_N_ELEMENTS(tables); t++) {
        for (const OptionDef *def = tables[t]; def->name; def++) {
            if (!def->arg || !strchr(def->arg, '=') || (option && strcmp(schema_name(def->name), option))) {
                continue;
            }
            CommandLineOptionInfo *info = g_new0(CommandLineOptionInfo, 1);
            info->option = g_strdup(schema_name(def->name));
            info->parameters = g_ptr_array_new();
            add_keys(info->parameters, def->arg);
            if (!strcmp(def->name, "machine")) {
                type_foreach(def->name, add_type, info->parameters);
            } else if (!strcmp(def->name, "chardev")) {
                chardev_foreach_option(NULL, add_chardev_option, info->parameters);
            }
            g_ptr_array_add(list, info);
        }
    }
    return list;
}
