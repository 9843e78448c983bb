/* SPDX-License-Identifier: GPL-2.0-or-later */
/* File descriptors that come over a monitor's socket: by name (getfd), or in sets (core/fdset.h). */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "core/fdset.h"
#include "monitor/internal.h"
#include "qapi/qapi-commands.h"
#include "util/error.h"

/* ---- by name --------------------------------------------------------------------------- */

static int stored_fd(gpointer value) { return GPOINTER_TO_INT(value) - 1; }

void monitor_close_fds(Monitor *mon)
{
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, mon->fds);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        close(stored_fd(value));
    }
    g_hash_table_remove_all(mon->fds);
}

int monitor_take_fd(Monitor *mon, const char *name, GError **err)
{
    gpointer value = mon ? g_hash_table_lookup(mon->fds, name) : NULL;
    guint64 number;

    if (value) {
        g_hash_table_remove(mon->fds, name);
        return stored_fd(value);
    }
    if (!g_ascii_isdigit(*name)) {
        error_set(err, "File descriptor named '%s' has not been found", name);
        return -1;
    }
    if (!g_ascii_string_to_unsigned(name, 10, 0, INT32_MAX, &number, NULL) || fcntl((int)number, F_GETFD) < 0) {
        error_set(err, "Invalid file descriptor number '%s'", name);
        return -1;
    }
    return (int)number;
}

static int receive_fd(QmpCall *call, GError **err)
{
    int fd = call->mon ? charport_take_fd(call->mon->port) : -1;

    if (fd < 0) {
        error_set(err, "No file descriptor supplied via SCM_RIGHTS");
    }
    return fd;
}

bool qmp_getfd(QmpCall *call, GError **err)
{
    const GetfdArgs *args = call->args;
    int fd = receive_fd(call, err);

    if (fd < 0) {
        return false;
    }
    if (g_ascii_isdigit(args->fdname[0])) {
        close(fd);
        return error_set(err, "Parameter 'fdname' expects a name not starting with a digit");
    }
    gpointer old = g_hash_table_lookup(call->mon->fds, args->fdname);
    if (old) {
        close(stored_fd(old));
    }
    g_hash_table_replace(call->mon->fds, g_strdup(args->fdname), GINT_TO_POINTER(fd + 1));
    return true;
}

bool qmp_closefd(QmpCall *call, GError **err)
{
    const ClosefdArgs *args = call->args;
    gpointer value = call->mon ? g_hash_table_lookup(call->mon->fds, args->fdname) : NULL;

    if (!value) {
        return error_set(err, "File descriptor named '%s' not found", args->fdname);
    }
    close(stored_fd(value));
    g_hash_table_remove(call->mon->fds, args->fdname);
    return true;
}

/* ---- sets -------------------------------------------------------------------------------- */

bool qmp_add_fd(QmpCall *call, GError **err)
{
    const AddFdArgs *args = call->args;
    int fd = receive_fd(call, err);

    if (fd < 0) {
        return false;
    }
    if (args->has_fdset_id && args->fdset_id < 0) {
        close(fd);
        return error_set(err, "Parameter 'fdset-id' expects a non-negative value");
    }
    AddfdInfo *info = g_new0(AddfdInfo, 1);
    info->fd = fd;
    info->fdset_id = fdset_add(call->vm, args->has_fdset_id ? args->fdset_id : -1, fd, args->opaque);
    call->result = info;
    return true;
}

bool qmp_remove_fd(QmpCall *call, GError **err)
{
    const RemoveFdArgs *args = call->args;
    bool valid = !args->has_fd || (args->fd >= 0 && args->fd <= INT32_MAX);

    if (valid && fdset_remove(call->vm, args->fdset_id, args->has_fd ? (int)args->fd : -1)) {
        return true;
    }
    g_autofree char *fd = args->has_fd ? g_strdup_printf(", fd:%" G_GINT64_FORMAT, (gint64)args->fd) : g_strdup("");
    return error_set(err, "File descriptor named 'fdset-id:%" G_GINT64_FORMAT "%s' not found", (gint64)args->fdset_id,
                     fd);
}

static void list_fd(int64_t set, int fd, const char *opaque_text, void *opaque)
{
    GPtrArray *sets = opaque;
    FdsetInfo *info = sets->len ? sets->pdata[sets->len - 1] : NULL;
    FdsetFdInfo *entry = g_new0(FdsetFdInfo, 1);

    if (!info || info->fdset_id != set) {
        info = g_new0(FdsetInfo, 1);
        info->fdset_id = set;
        info->fds = g_ptr_array_new();
        g_ptr_array_add(sets, info);
    }
    entry->fd = fd;
    entry->opaque = g_strdup(opaque_text);
    g_ptr_array_add(info->fds, entry);
}

bool qmp_query_fdsets(QmpCall *call, GError **err)
{
    call->result = g_ptr_array_new();
    fdset_foreach(call->vm, list_fd, call->result);
    return true;
}
