/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "util/module.h"

#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

#include "module-abi.h"
#include "module-table.h"
#include "util/error.h"
#include "util/util.h"

/* From meson.build's kiln_modules; empty when everything is linked in. */
static const struct {
    const char *type, *module;
} module_types[] = {MODULE_TYPES{NULL, NULL}};

static GPtrArray *loaded; /* names; main thread */

static bool is_loaded(const char *name)
{
    return loaded && g_ptr_array_find_with_equal_func(loaded, name, g_str_equal, NULL);
}

/* The caller frees. */
static char *program_directory(void)
{
    g_autofree char *program = g_file_read_link("/proc/self/exe", NULL);

    return program ? g_path_get_dirname(program) : NULL;
}

/* Where it is, or should be. The caller frees. */
static char *module_path(const char *name)
{
    const char *only = g_getenv("KILN_MODULE_DIR");
    g_autofree char *file = g_strdup_printf("kiln-%s.so", name);
    g_autofree char *beside = program_directory();

    if (only && *only) {
        return g_build_filename(only, file, NULL);
    }
    if (beside) {
        g_autofree char *path = g_build_filename(beside, file, NULL);

        if (access(path, F_OK) == 0) {
            return g_steal_pointer(&path);
        }
        if (g_str_has_suffix(beside, "/img")) { /* the image tools of an uninstalled build */
            g_autofree char *above = g_path_get_dirname(beside);

            g_free(path);
            path = g_build_filename(above, file, NULL);
            if (access(path, F_OK) == 0) {
                return g_steal_pointer(&path);
            }
        }
    }
    return g_build_filename(KILN_MODDIR, file, NULL);
}

/* What dlopen says begins with the path, which the caller's message has already. */
static const char *without_path(const char *text, const char *path)
{
    size_t n = strlen(path);

    return g_str_has_prefix(text, path) && text[n] == ':' ? text + n + 2 : text;
}

static bool check_info(const ModuleInfo *info, const char *name, const char *what, const char *path, GError **err)
{
    if (!info) {
        return error_set(err, "%s needs the module '%s', but %s is no module of Kiln", what, name, path);
    }
    if (strcmp(info->abi, MODULE_ABI) || strcmp(info->name, name)) {
        return error_set(err,
                         "%s needs the module '%s', but %s is module '%s' of another build (%s, this program is %s); "
                         "install both from one build",
                         what, name, path, info->name, info->abi, MODULE_ABI);
    }
    return true;
}

bool module_load(const char *name, const char *what, GError **err)
{
    if (is_loaded(name)) {
        return true;
    }
    g_autofree char *path = module_path(name);
    if (access(path, F_OK) < 0) {
        return error_set(err,
                         "%s needs the module '%s', which is not installed: there is no %s; install Kiln's modules "
                         "('ninja install'), name their directory in KILN_MODULE_DIR, or build with -Dmodules=disabled",
                         what, name, path);
    }
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        return error_set(err, "%s needs the module '%s', but %s cannot be loaded: %s", what, name, path,
                         without_path(dlerror(), path));
    }
    const ModuleInfo *info = dlsym(handle, "kiln_module");
    if (!check_info(info, name, what, path, err)) {
        dlclose(handle);
        return false;
    }
    info->init();
    if (!loaded) {
        loaded = g_ptr_array_new_with_free_func(g_free);
    }
    g_ptr_array_add(loaded, g_strdup(name));
    return true;
}

const char *module_of_type(const char *type)
{
    for (size_t i = 0; module_types[i].type; i++) {
        if (!strcmp(module_types[i].type, type)) {
            return module_types[i].module;
        }
    }
    return NULL;
}

void module_load_all(void)
{
    for (size_t i = 0; module_types[i].type; i++) {
        module_load(module_types[i].module, "a list", NULL);
    }
}
