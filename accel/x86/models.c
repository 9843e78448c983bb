/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPU models, and -cpu.
 *
 * A model is a Type "NAME-x86_64-cpu" whose ops is its CpuModel. Figures of the named models were
 * observed on QEMU 7.2. The big named models of real processors (Skylake-Server, EPYC, ...) are not
 * here yet.
 */
#include <stdio.h>

#include "accel/x86/cpu_config.h"
#include "util/log.h"

#define TYPE_SUFFIX "-x86_64-cpu"

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

/* ---- -cpu ------------------------------------------------------------------------------------ */

static void collect_model(const Type *type, void *opaque)
{
    if (!type->abstract) {
        g_ptr_array_add(opaque, g_strndup(type->name, strlen(type->name) - strlen(TYPE_SUFFIX)));
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
    if (g_str_has_prefix(name, "hv-") || g_str_has_prefix(name, "hv_")) {
        return error_set(
            err, "-cpu: '%s': Hyper-V enlightenments are not implemented; leave it out", name);
    }
    if (g_str_has_prefix(name, "vmx-")) {
        return error_set(err,
                         "-cpu: '%s': single controls of nested VMX cannot be chosen; vmx=on gives "
                         "all that KVM has",
                         name);
    }
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
    type_name = g_str_has_suffix(words[0], TYPE_SUFFIX) ? g_strdup(words[0])
                                                        : g_strconcat(words[0], TYPE_SUFFIX, NULL);
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

static void print_model(const Type *type, void *opaque)
{
    if (!type->abstract) {
        printf("x86 %-20.*s  %s\n", (int)(strlen(type->name) - strlen(TYPE_SUFFIX)), type->name,
               type->desc ? type->desc : "");
    }
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
    size_t column = 0;

    printf("Available CPUs:\n");
    type_foreach("x86_64-cpu", print_model, NULL);
    printf("\nRecognized CPUID flags:\n");
    feature_foreach_name(print_flag, &column);
    printf("\n");
}

/* ---- the models ------------------------------------------------------------------------------ */

#define HYPERVISOR (1u << 31)
#define VIRTUAL_CPU "QEMU Virtual CPU version 2.5+"

static const CpuModel qemu64 = {
    .name = "qemu64",
    .model_id = VIRTUAL_CPU,
    .vendor = "AuthenticAMD",
    .family = 15,
    .model = 107,
    .stepping = 1,
    .min_level = 0xd,
    .min_xlevel = 0x8000000a,
    .kvm_defaults = true,
    .features =
        {
            [FEAT_1_EDX] = 0x078bfbfd,
            [FEAT_1_ECX] = HYPERVISOR | 1u << 13 /* cx16 */ | 1u /* pni */,
            [FEAT_8000_0001_EDX] = 0x20100800, /* lm, nx, syscall */
            [FEAT_8000_0001_ECX] = 0x5,        /* lahf-lm, svm (off under KVM) */
        },
};

static const CpuModel qemu32 = {
    .name = "qemu32",
    .model_id = VIRTUAL_CPU,
    .vendor = "GenuineIntel",
    .family = 6,
    .model = 6,
    .stepping = 3,
    .min_level = 4,
    .min_xlevel = 0x80000004,
    .kvm_defaults = true,
    .features = {[FEAT_1_EDX] = 0x0781abfd, [FEAT_1_ECX] = HYPERVISOR | 1u},
};

static const CpuModel kvm64 = {
    .name = "kvm64",
    .model_id = "Common KVM processor",
    .vendor = "GenuineIntel",
    .family = 15,
    .model = 6,
    .stepping = 1,
    .min_level = 0xd,
    .min_xlevel = 0x80000008,
    .kvm_defaults = true,
    .features =
        {
            [FEAT_1_EDX] = 0x078bfbff,
            [FEAT_1_ECX] = HYPERVISOR | 1u << 13 | 1u,
            [FEAT_8000_0001_EDX] = 0x20100800,
        },
};

static const CpuModel kvm32 = {
    .name = "kvm32",
    .model_id = "Common 32-bit KVM processor",
    .vendor = "GenuineIntel",
    .family = 15,
    .model = 6,
    .stepping = 1,
    .min_level = 5,
    .min_xlevel = 0x80000008,
    .kvm_defaults = true,
    .features = {[FEAT_1_EDX] = 0x078bfbff, [FEAT_1_ECX] = HYPERVISOR | 1u},
};

static const CpuModel base = {.name = "base"};
static const CpuModel max = {.name = "max", .max = true};
static const CpuModel host = {.name = "host", .max = true, .needs_kvm = true};

#define CPU_TYPE(ident, description)                                                               \
    DEVICE_TYPE(cpu_##ident) = {.name = #ident TYPE_SUFFIX,                                        \
                                .parent = "x86_64-cpu",                                            \
                                .desc = (description),                                             \
                                .ops = &(ident)}

CPU_TYPE(qemu64, VIRTUAL_CPU);
CPU_TYPE(qemu32, VIRTUAL_CPU);
CPU_TYPE(kvm64, "Common KVM processor");
CPU_TYPE(kvm32, "Common 32-bit KVM processor");
CPU_TYPE(base, "base CPU model type with no features enabled");
CPU_TYPE(max, "Enables all features supported by the accelerator in the current host");
CPU_TYPE(host, "processor with all supported host features");
