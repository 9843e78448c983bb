/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/error.h"

static int ready_fd = -1; /* child: its end of the pipe to the waiting parent */

/* ---- background -------------------------------------------------------------------------- */

/* The child's one byte means that it is ready; end of file that it died, having said why. */
static void wait_for_child(int fd, pid_t child)
{
    char byte;
    ssize_t n;

    do {
        n = read(fd, &byte, 1);
    } while (n < 0 && errno == EINTR);
    if (n == 1) {
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    _exit(1);
}

bool daemonize_begin(GError **err)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0) {
        return error_set_errno(err, errno, "-daemonize: cannot make a pipe");
    }
    pid_t child = fork();
    if (child < 0) {
        return error_set_errno(err, errno, "-daemonize: cannot fork");
    }
    if (child) {
        close(fds[1]);
        wait_for_child(fds[0], child);
    }
    close(fds[0]);
    ready_fd = fds[1];
    setsid();
    pid_t second = fork(); /* not a session leader: no terminal can become ours by opening it */
    if (second) {
        _exit(second < 0 ? 1 : 0);
    }
    umask(027);
    return true;
}

bool daemonize_ready(GError **err)
{
    if (ready_fd < 0) {
        return true;
    }
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0) {
        return error_set_errno(err, errno, "-daemonize: cannot open /dev/null");
    }
    if (chdir("/") < 0) {
        return error_set_errno(err, errno, "-daemonize: cannot change to the directory /");
    }
    dup2(null, 0);
    dup2(null, 1);
    dup2(null, 2);
    close(null);
    char byte = 0;
    while (write(ready_fd, &byte, 1) < 0 && errno == EINTR) {
    }
    close(ready_fd);
    ready_fd = -1;
    return true;
}

/* ---- rights ----------------------------------------------------------------------------------- */

static bool find_user(const char *text, uid_t *uid, gid_t *gid, const char **name)
{
    struct passwd *pw = getpwnam(text);
    char *end;

    if (pw) {
        *uid = pw->pw_uid;
        *gid = pw->pw_gid;
        *name = pw->pw_name;
        return true;
    }
    *name = NULL;
    errno = 0;
    unsigned long u = strtoul(text, &end, 10);
    if (errno || end == text || *end != ':' || u >= UINT32_MAX) {
        return false;
    }
    const char *second = end + 1;
    unsigned long g = strtoul(second, &end, 10);
    *uid = (uid_t)u;
    *gid = (gid_t)g;
    return !errno && end != second && !*end && g < UINT32_MAX;
}

bool run_as(const char *user, GError **err)
{
    uid_t uid;
    gid_t gid;
    const char *name;

    if (!find_user(user, &uid, &gid, &name)) {
        return error_set(err, "-runas %s: no such user; give a user's name, or uid:gid as numbers", user);
    }
    if (setgid(gid) < 0 || (name ? initgroups(name, gid) : setgroups(1, &gid)) < 0 || setuid(uid) < 0) {
        return error_set_errno(err, errno, "-runas %s: cannot change to uid %u, gid %u", user, uid, gid);
    }
    if (uid && setuid(0) != -1) {
        return error_set(err, "-runas %s: dropping privileges failed", user);
    }
    return true;
}

bool lock_memory(GError **err)
{
    return mlockall(MCL_CURRENT | MCL_FUTURE) == 0 ||
           error_set_errno(err, errno, "-overcommit mem-lock=on: memory cannot be locked (raise the limit: ulimit -l)");
}
