/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/fdset.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "core/vm.h"
#include "util/error.h"
#include "util/keyval.h"

#define FDSET_PATH "/dev/fdset/"

/* Ordered by set; within one, the newest first, as QEMU lists them. */
typedef struct SetFd {
    int64_t set;
    int fd;
    char *opaque;
} SetFd;

static SetFd *set_fd(const Vm *vm, unsigned i) { return &g_array_index(vm->fdsets, SetFd, i); }
static unsigned n_set_fds(const Vm *vm) { return vm->fdsets ? vm->fdsets->len : 0; }

/* ---- opening ----------------------------------------------------------------------------- */

static int open_set(Vm *vm, int64_t set, int flags)
{
    bool found = false;

    for (unsigned i = 0; i < n_set_fds(vm); i++) {
        SetFd *entry = set_fd(vm, i);

        if (entry->set == set) {
            int mode = fcntl(entry->fd, F_GETFL);

            found = true;
            if (mode >= 0 && (mode & O_ACCMODE) == (flags & O_ACCMODE)) {
                return fcntl(entry->fd, F_DUPFD_CLOEXEC, 0);
            }
        }
    }
    errno = found ? EACCES : ENOENT;
    return -1;
}

int vm_open(Vm *vm, const char *path, int flags, mode_t mode)
{
    guint64 set;

    if (!g_str_has_prefix(path, FDSET_PATH)) {
        return open(path, flags | O_CLOEXEC, mode);
    }
    if (!g_ascii_string_to_unsigned(path + strlen(FDSET_PATH), 10, 0, INT64_MAX, &set, NULL)) {
        errno = EINVAL;
        return -1;
    }
    return open_set(vm, (int64_t)set, flags);
}

/* ---- the sets ------------------------------------------------------------------------------ */

static bool set_exists(const Vm *vm, int64_t set)
{
    for (unsigned i = 0; i < n_set_fds(vm); i++) {
        if (set_fd(vm, i)->set == set) {
            return true;
        }
    }
    return false;
}

static void free_entry(gpointer data)
{
    SetFd *entry = data;

    close(entry->fd);
    g_free(entry->opaque);
}

int64_t fdset_add(Vm *vm, int64_t set, int fd, const char *opaque)
{
    SetFd entry = {.set = set, .fd = fd, .opaque = g_strdup(opaque)};
    unsigned i = 0;

    if (!vm->fdsets) {
        vm->fdsets = g_array_new(false, false, sizeof(SetFd));
        g_array_set_clear_func(vm->fdsets, free_entry);
    }
    if (set < 0) {
        for (entry.set = 0; set_exists(vm, entry.set); entry.set++) {
        }
    }
    while (i < vm->fdsets->len && set_fd(vm, i)->set < entry.set) {
        i++;
    }
    g_array_insert_val(vm->fdsets, i, entry);
    return entry.set;
}

bool fdset_remove(Vm *vm, int64_t set, int fd)
{
    bool found = false;

    for (unsigned i = n_set_fds(vm); i-- > 0;) {
        if (set_fd(vm, i)->set == set && (fd < 0 || set_fd(vm, i)->fd == fd)) {
            g_array_remove_index(vm->fdsets, i);
            found = true;
        }
    }
    return found;
}

void fdset_foreach(Vm *vm, void (*fn)(int64_t set, int fd, const char *opaque_text, void *opaque), void *opaque)
{
    for (unsigned i = 0; i < n_set_fds(vm); i++) {
        fn(set_fd(vm, i)->set, set_fd(vm, i)->fd, set_fd(vm, i)->opaque, opaque);
    }
}

bool fdset_add_option(Vm *vm, const char *text, GError **err)
{
    g_autoptr(KeyVals) kv = keyvals_parse("-add-fd", text, NULL, err);
    uint64_t set = 0, fd = 0;

    if (!kv) {
        return false;
    }
    const char *opaque = keyvals_get(kv, "opaque");
    if (!keyvals_has(kv, "set") || !keyvals_has(kv, "fd")) {
        return error_set(err, "-add-fd %s: %s is missing: -add-fd set=NUMBER,fd=NUMBER", text,
                         keyvals_has(kv, "set") ? "fd" : "set");
    }
    if (!keyvals_uint(kv, "set", 0, INT64_MAX, &set, err) || !keyvals_uint(kv, "fd", 0, INT32_MAX, &fd, err) ||
        !keyvals_finish(kv, err)) {
        return false;
    }
    if (fd <= STDERR_FILENO) {
        return error_set(err, "-add-fd %s: fd cannot be stdin, stdout or stderr; pass one of 3 or more", text);
    }
    /* Our own descriptors are all close-on-exec; inherited ones cannot be. */
    int flags = fcntl((int)fd, F_GETFD);
    if (flags < 0 || flags & FD_CLOEXEC) {
        return error_set(err, "-add-fd %s: fd %d is no descriptor that was passed to this process; "
                              "pass an open one's number", text, (int)fd);
    }
    int copy = fcntl((int)fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0) {
        return error_set_errno(err, errno, "-add-fd %s: fd cannot be duplicated", text);
    }
    fdset_add(vm, (int64_t)set, copy, opaque);
    return true;
}

void fdset_cleanup(Vm *vm)
{
    if (vm->fdsets) {
        g_array_free(vm->fdsets, true);
        vm->fdsets = NULL;
    }
}
