/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "util/pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/error.h"

static char *pidfile;
static int pidfile_fd = -1;

/* fd is locked and still what path names: whoever had it before us removed it otherwise. */
static bool is_current(int fd, const char *path)
{
    struct stat ours, named;

    return fstat(fd, &ours) == 0 && stat(path, &named) == 0 && ours.st_dev == named.st_dev &&
           ours.st_ino == named.st_ino;
}

static bool is_regular(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

static bool lock_pidfile(int fd, const char *option, const char *path, GError **err)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char text[32];

    if (fcntl(fd, F_SETLK, &lock) == 0) {
        return true;
    }
    if (errno != EAGAIN && errno != EACCES) {
        return error_set_errno(err, errno, "%s %s: cannot lock PID file", option, path);
    }
    ssize_t n = read(fd, text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    g_strchomp(text);
    return error_set(err, "%s %s: cannot lock PID file: process %s uses it; choose another file", option, path,
                     *text ? text : "(unknown)");
}

bool pidfile_create(const char *option, const char *path, GError **err)
{
    char text[32];
    int fd = -1;

    do {
        if (fd >= 0) {
            close(fd);
        }
        fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
        if (fd < 0) {
            return error_set_errno(err, errno, "%s %s: cannot create PID file", option, path);
        }
        if (!is_regular(fd)) { /* it would be removed at the end */
            close(fd);
            return error_set(err, "%s %s: is no regular file; choose a name that is free", option, path);
        }
        if (!lock_pidfile(fd, option, path, err)) {
            close(fd);
            return false;
        }
    } while (!is_current(fd, path));
    int n = snprintf(text, sizeof text, "%d\n", (int)getpid());
    if (ftruncate(fd, 0) < 0 || write(fd, text, (size_t)n) != n) {
        int saved = errno;

        unlink(path);
        close(fd);
        return error_set_errno(err, saved, "%s %s: cannot write PID file", option, path);
    }
    pidfile = realpath(path, NULL); /* -daemonize changes the directory */
    pidfile_fd = fd;                /* held: closing would drop the lock */
    return true;
}

void pidfile_remove(void)
{
    if (pidfile) {
        unlink(pidfile);
        free(pidfile);
        pidfile = NULL;
        close(pidfile_fd);
    }
}
