/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/data_dirs.h"

#include <sys/stat.h>

#include "core/vm.h"

/* Where distributions put SeaBIOS and option ROMs. */
static const char *const system_dirs[] = {KILN_DATADIR, "/usr/share/kiln", "/usr/share/seabios",
                                          "/usr/share/qemu",
                                          "/usr/lib/ipxe/qemu"};

char **firmware_dirs(const Vm *vm)
{
    GPtrArray *dirs = g_ptr_array_new();

    for (unsigned i = 0; vm->data_dirs && i < vm->data_dirs->len; i++) {
        g_ptr_array_add(dirs, g_strdup(g_ptr_array_index(vm->data_dirs, i)));
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(system_dirs); i++) {
        if (i == 0 || strcmp(system_dirs[i], system_dirs[0])) {
            g_ptr_array_add(dirs, g_strdup(system_dirs[i]));
        }
    }
    g_ptr_array_add(dirs, NULL);
    return (char **)g_ptr_array_free(dirs, FALSE);
}

static bool is_file(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && !S_ISDIR(st.st_mode);
}

char *find_firmware(const Vm *vm, const char *name)
{
    char **dirs, *path = NULL;

    if (!*name) {
        return NULL;
    }
    if (is_file(name)) {
        return g_strdup(name);
    }
    if (g_path_is_absolute(name)) {
        return NULL;
    }
    dirs = firmware_dirs(vm);
    for (char **dir = dirs; *dir && !path; dir++) {
        path = g_build_filename(*dir, name, NULL);
        if (!is_file(path)) {
            g_clear_pointer(&path, g_free);
        }
    }
    g_strfreev(dirs);
    return path;
}
