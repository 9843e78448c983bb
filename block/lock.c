/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Image locks, as QEMU 7.2 takes them, so that Kiln, QEMU and qemu-img refuse each other's images.
 *
 * Open-file-description locks of one byte each: byte 100 + n is read-locked by who uses permission
 * n (0 consistent read, 1 write, 2 write unchanged, 3 resize); byte 200 + n by who does not let
 * others have it. After locking, each user looks whether the opposite byte is locked by somebody
 * else.
 *
 * A refusal names the process: the kernel gives no pid for these locks, so /proc/PID/fdinfo is
 * searched for the lock's line (only processes that we may look at).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/block_int.h"

#define LOCK_USED_BASE 100
#define LOCK_UNSHARED_BASE 200
#define LOCK_BITS 4

static int lock_byte(int fd, off_t byte, short type)
{
    struct flock fl = {.l_whence = SEEK_SET, .l_start = byte, .l_len = 1, .l_type = type};

    return fcntl(fd, F_OFD_SETLK, &fl) == 0 ? 0 : -errno;
}

/* Would a write lock be refused: does somebody else hold this byte? */
static bool byte_is_held(int fd, off_t byte)
{
    struct flock fl = {.l_whence = SEEK_SET, .l_start = byte, .l_len = 1, .l_type = F_WRLCK};

    return fcntl(fd, F_OFD_GETLK, &fl) == 0 && fl.l_type != F_UNLCK;
}

bool block_lock_supported(int fd)
{
    struct flock fl = {.l_whence = SEEK_SET, .l_start = 0, .l_len = 1, .l_type = F_WRLCK};

    return fcntl(fd, F_OFD_GETLK, &fl) == 0;
}

/* ---- who holds it --------------------------------------------------------------------------- */

/* Does this fdinfo file show an OFD lock that covers byte? */
static bool fdinfo_holds(const char *path, off_t byte)
{
    FILE *file = fopen(path, "re");
    char line[256];
    bool found = false;

    if (!file) {
        return false;
    }
    while (!found && fgets(line, sizeof line, file)) {
        /* "lock:\t1: OFDLCK  ADVISORY  READ -1 fe:00:10952865 100 101" */
        char kind[16], mode[16], type[16], where[64], end[32];
        long long start;

        if (sscanf(line, "lock: %*[^:]: %15s %15s %15s %*s %63s %lld %31s", kind, mode, type, where,
                   &start, end) == 6 &&
            !strcmp(kind, "OFDLCK")) {
            found =
                start <= byte && (!strcmp(end, "EOF") || g_ascii_strtoll(end, NULL, 10) >= byte);
        }
    }
    fclose(file);
    return found;
}

/* ours: a descriptor of this process whose own locks do not count; -1 for other processes. */
static bool process_holds(const char *pid, const struct stat *image, off_t byte, int ours)
{
    g_autofree char *dir_name = g_strdup_printf("/proc/%s/fd", pid);
    DIR *dir = opendir(dir_name);
    const struct dirent *entry;
    bool found = false;

    while (dir && !found && (entry = readdir(dir))) {
        g_autofree char *path = g_strdup_printf("%s/%s", dir_name, entry->d_name);
        struct stat st;

        if (entry->d_name[0] != '.' && (ours < 0 || atoi(entry->d_name) != ours) && stat(path, &st) == 0 && st.st_dev == image->st_dev &&
            st.st_ino == image->st_ino) {
            g_autofree char *info = g_strdup_printf("/proc/%s/fdinfo/%s", pid, entry->d_name);

            found = fdinfo_holds(info, byte);
        }
    }
    if (dir) {
        closedir(dir);
    }
    return found;
}

/* "process 123 (qemu-system-x86_64)", or NULL when it cannot be found out. The caller frees. */
static char *lock_holder(int fd, off_t byte)
{
    DIR *proc = opendir("/proc");
    const struct dirent *entry;
    struct stat image;
    char *who = NULL;

    while (proc && !who && fstat(fd, &image) == 0 && (entry = readdir(proc))) {
        if (g_ascii_isdigit(entry->d_name[0]) && (long)atol(entry->d_name) != (long)getpid() &&
            process_holds(entry->d_name, &image, byte, -1)) {
            g_autofree char *link = g_strdup_printf("/proc/%s/exe", entry->d_name);
            g_autofree char *exe = g_file_read_link(link, NULL);
            g_autofree char *base = exe ? g_path_get_basename(exe) : NULL;

            who =
                g_strdup_printf("process %s (%s)", entry->d_name, base ? base : "program unknown");
        }
    }
    if (proc) {
        closedir(proc);
    }
    return who;
}

static bool lock_refused(int fd, const char *filename, const char *perm, bool wants_exclusive,
                         off_t byte, GError **err)
{
    g_autofree char *who = lock_holder(fd, byte);
    struct stat image;
    bool own = !who && fstat(fd, &image) == 0 && process_holds("self", &image, byte, fd);

    return error_set(err,
                     "Failed to get %s\"%s\" lock: image '%s' is in use by %s. %s first, or share the "
                     "image on purpose with %s",
                     wants_exclusive ? "shared " : "", perm, filename,
                     who ? who : own ? "this process itself, which has it open once more"
                                     : "another process (which one cannot be seen from here)",
                     own ? "Remove the other disk or node" : "End that process",
                     wants_exclusive ? "share-rw=on on the device, or file.locking=off"
                                     : "read-only=on, or file.locking=off");
}

/* ---- taking and dropping -------------------------------------------------------------------- */

static void drop_locks(int fd, uint32_t used, uint32_t unshared)
{
    for (unsigned bit = 0; bit < LOCK_BITS; bit++) {
        if (used & (1u << bit)) {
            lock_byte(fd, LOCK_USED_BASE + bit, F_UNLCK);
        }
        if (unshared & (1u << bit)) {
            lock_byte(fd, LOCK_UNSHARED_BASE + bit, F_UNLCK);
        }
    }
}

static bool take_locks(int fd, const char *filename, uint32_t used, uint32_t unshared, GError **err)
{
    for (unsigned bit = 0; bit < LOCK_BITS; bit++) {
        int ret = 0;

        if (used & (1u << bit)) {
            ret = lock_byte(fd, LOCK_USED_BASE + bit, F_RDLCK);
        }
        if (!ret && (unshared & (1u << bit))) {
            ret = lock_byte(fd, LOCK_UNSHARED_BASE + bit, F_RDLCK);
        }
        if (ret) {
            return error_set_errno(
                err, -ret, "Failed to lock image '%s' (file.locking=off does without)", filename);
        }
    }
    return true;
}

static bool check_locks(int fd, const char *filename, uint32_t used, uint32_t unshared,
                        GError **err)
{
    static const char *const names[LOCK_BITS] = {"consistent read", "write", "write unchanged",
                                                 "resize"};

    for (unsigned bit = 0; bit < LOCK_BITS; bit++) {
        if ((used & (1u << bit)) && byte_is_held(fd, LOCK_UNSHARED_BASE + bit)) {
            return lock_refused(fd, filename, names[bit], false, LOCK_UNSHARED_BASE + bit, err);
        }
        if ((unshared & (1u << bit)) && byte_is_held(fd, LOCK_USED_BASE + bit)) {
            return lock_refused(fd, filename, names[bit], true, LOCK_USED_BASE + bit, err);
        }
    }
    return true;
}

bool block_lock(int fd, const char *filename, uint32_t held_used, uint32_t held_unshared,
                uint32_t used, uint32_t unshared, GError **err)
{
    uint32_t new_used = used & ~held_used, new_unshared = unshared & ~held_unshared;

    if (!take_locks(fd, filename, new_used, new_unshared, err) ||
        !check_locks(fd, filename, used, unshared, err)) {
        drop_locks(fd, new_used, new_unshared);
        return false;
    }
    drop_locks(fd, held_used & ~used, held_unshared & ~unshared);
    return true;
}

bool block_lock_copy(int fd, const char *filename, uint32_t used, uint32_t unshared, GError **err)
{
    return take_locks(fd, filename, used, unshared, err);
}
