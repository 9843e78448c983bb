/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPU models, and -cpu.
 *
 * A model is a Type "NAME-x86_64-cpu" whose ops is its CpuModel; models_*.c hold the tables. A
 * name without version stands for version 1, as the machine pc-i440fx-7.2 has it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "accel/x86/models.h"
#include "util/log.h"

/* ---- per VM ---------------------------------------------------------------------------------- */

static void config_free(void *opaque)
{
    Vm *vm = opaque;
    CpuConfig *config = vm->cpu_config;

    vm->cpu_config = NULL;
    if (config->options) {
        g_ptr_array_free(config->options, true);
    }
    g_free(config->supported);
    g_free(config->hyperv);
    g_free(config->msrs);
    g_free(config);
}

CpuConfig *cpu_config(Vm *vm)
{
    if (!vm->cpu_config) {
        vm->cpu_config = g_new0(CpuConfig, 1);
        vm->cpu_config->kvm_fd = -1;
        vm_on_exit(vm, config_free, vm);
    }
    return vm->cpu_config;
}

/* ---- the features of a model ------------------------------------------------------------------ */

/* One "name", "+name" or "-name" of a model's list. */
static void apply_word(uint64_t features[FEATURE_WORDS], const char *text, size_t length)
{
    bool off = *text == '-';
    FeatureWord word = 0;

    if (off || *text == '+') {
        text++;
        length--;
    }
    uint64_t mask = feature_mask(text, length, &word);
    g_assert(mask); /* our own tables */
    features[word] = off ? features[word] & ~mask : features[word] | mask;
}

static void apply_model(uint64_t features[FEATURE_WORDS], const CpuModel *model)
{
    if (model->base) {
        apply_model(features, model->base);
    }
    for (const char *p = model->features ? model->features : ""; *p;) {
        size_t length = strcspn(p, " ");

        apply_word(features, p, length);
        p += length + (p[length] == ' ');
    }
}

void cpu_model_features(Vm *vm, const CpuModel *model, uint64_t features[FEATURE_WORDS])
{
    CpuConfig *config = cpu_config(vm);

    if (config->resolved_model != model) { /* all CPUs of a VM are of one model */
        memset(config->resolved, 0, sizeof config->resolved);
        apply_model(config->resolved, model);
        if (model->version) {
            config->resolved[FEAT_1_ECX] |= 1u << 31; /* hypervisor */
        }
        config->resolved_model = model;
    }
    memcpy(features, config->resolved, sizeof config->resolved);
}

/* ---- -cpu ------------------------------------------------------------------------------------ */

static void collect_model(const Type *type, void *opaque)
{
    if (!type->abstract) {
        g_ptr_array_add(opaque, g_strndup(type->name, strlen(type->name) - strlen(CPU_TYPE_SUFFIX)));
    }
}

static bool unknown_model(const char *name, GError **err)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);

    type_foreach("x86_64-cpu", collect_model, names);
    g_ptr_array_add(names, NULL);
    g_autofree char *hint = suggest_names(name, (const char *const *)names->pdata);
    return error_set(err, "-cpu %s: unable to find CPU model '%s'%s; -cpu help lists them", name,
                     name, hint);
}

static void collect_property(const Type *owner, const Property *prop, void *opaque)
{
    g_ptr_array_add(opaque, (void *)prop->name);
}

static bool unknown_option(const Type *type, const char *name, GError **err)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();

    type_foreach_property(type, collect_property, names);
    g_ptr_array_add(names, NULL);
    g_autofree char *hint = suggest_names(name, (const char *const *)names->pdata);
    return error_set(err, "-cpu %s: property not found%s; -cpu help lists the features", name,
                     hint);
}

static void add_option(CpuConfig *config, char *name, const char *value)
{
    g_ptr_array_add(config->options, name);
    g_ptr_array_add(config->options, g_strdup(value));
}

/* One of "+name", "-name", "name", "name=value". The signed forms win over the others, as in
 * QEMU. */
static bool parse_option(CpuConfig *config, GPtrArray *last, const char *text, GError **err)
{
    const char *value = strchr(text, '='), *name = text;
    bool sign = (*text == '+' || *text == '-') && !value;

    if (sign) {
        name++;
        value = *text == '+' ? "on" : "off";
    }
    g_autofree char *key =
        sign || !value ? g_strdup(name) : g_strndup(name, (size_t)(value - name));
    g_strdelimit(key, "_", '-');
    if (!*key) {
        return error_set(err, "-cpu: '%s' names no property", text);
    }
    if (!type_property(config->type, key)) {
        return unknown_option(config->type, key, err);
    }
    if (sign) {
        g_ptr_array_add(last, g_steal_pointer(&key));
        g_ptr_array_add(last, g_strdup(value));
    } else {
        add_option(config, g_steal_pointer(&key), value ? value + 1 : "on");
    }
    return true;
}

static bool parse_options(CpuConfig *config, char **words, GError **err)
{
    g_autoptr(GPtrArray) last = g_ptr_array_new();
    bool ok = true;

    for (; ok && *words; words++) {
        if (**words) {
            ok = parse_option(config, last, *words, err);
        }
    }
    for (unsigned i = 0; i < last->len; i++) {
        g_ptr_array_add(config->options, last->pdata[i]);
    }
    return ok;
}

bool cpu_model_parse(Vm *vm, const char *text, GError **err)
{
    CpuConfig *config = cpu_config(vm);
    g_auto(GStrv) words = g_strsplit(text ? text : "qemu64", ",", -1);
    g_autofree char *type_name = NULL;

    if (!words[0] || !*words[0]) {
        return error_set(err, "-cpu '%s': the model's name is missing; -cpu help lists them", text);
    }
    /* A full type name is taken too, as libvirt may write it. */
    type_name = g_str_has_suffix(words[0], CPU_TYPE_SUFFIX) ? g_strdup(words[0])
                                                        : g_strconcat(words[0], CPU_TYPE_SUFFIX, NULL);
    const Type *type = type_find(type_name);
    if (!type || type->abstract || !type_is_a(type, "x86_64-cpu")) {
        return unknown_model(words[0], err);
    }
    config->type = type;
    if (config->options) {
        g_ptr_array_free(config->options, true);
    }
    config->options = g_ptr_array_new_with_free_func(g_free);
    return parse_options(config, words + 1, err);
}

/* By name; the models that are none of their own (no version) come last. */
static int compare_models(const void *a, const void *b)
{
    const Type *one = *(const Type *const *)a, *two = *(const Type *const *)b;
    bool one_special = !((const CpuModel *)one->ops)->version,
         two_special = !((const CpuModel *)two->ops)->version;
    size_t one_length = strlen(one->name) - strlen(CPU_TYPE_SUFFIX),
           two_length = strlen(two->name) - strlen(CPU_TYPE_SUFFIX);

    if (one_special != two_special) {
        return one_special - two_special;
    }
    int order = memcmp(one->name, two->name, MIN(one_length, two_length));
    return order ? order : (one_length > two_length) - (one_length < two_length);
}

static void collect_type(const Type *type, void *opaque)
{
    if (!type->abstract) {
        g_ptr_array_add(opaque, (void *)type);
    }
}

GPtrArray *cpu_model_types(void)
{
    GPtrArray *types = g_ptr_array_new();

    type_foreach("x86_64-cpu", collect_type, types);
    g_ptr_array_sort(types, compare_models);
    return types;
}

static void print_flag(const char *name, void *opaque)
{
    size_t *column = opaque;

    if (*column + strlen(name) + 1 > 75) {
        printf("\n");
        *column = 0;
    }
    printf("%s%s", *column ? " " : "  ", name);
    *column += strlen(name) + (*column ? 1 : 2);
}

void cpu_model_help(void)
{
    g_autoptr(GPtrArray) types = cpu_model_types();
    size_t column = 0;

    printf("Available CPUs:\n");
    for (unsigned i = 0; i < types->len; i++) {
        const Type *type = g_ptr_array_index(types, i);
        int length = (int)(strlen(type->name) - strlen(CPU_TYPE_SUFFIX));

        printf("x86 %-*.*s  %s\n", 20, length, type->name, type->desc);
    }
    printf("\nRecognized CPUID flags:\n");
    feature_foreach_name(print_flag, &column);
    printf("\n\n");
}

/* ---- max and host ---------------------------------------------------------------------------- */

static const CpuModel max = {.name = "max", .max = true};
static const CpuModel host = {.name = "host", .max = true, .needs_kvm = true};

static const Property max_props[] = {
    PROP_BOOL("migratable", Cpu, migratable, .def = true,
              .help = "only features that can be migrated"),
    PROP_BOOL("host-cache-info", Cpu, host_cache_info, .help = "cache figures of the host"),
    {}};

KILN_TYPE(cpu_max) = {
    .name = "max" CPU_TYPE_SUFFIX,
    .parent = "x86_64-cpu",
    .desc = "Enables all features supported by the accelerator in the current host",
    .props = max_props,
    .ops = &max};

KILN_TYPE(cpu_host) = {.name = "host" CPU_TYPE_SUFFIX,
                       .parent = "max" CPU_TYPE_SUFFIX,
                       .desc = "processor with all supported host features ",
                       .ops = &host};
