/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening taps: the device, helper programs, scripts. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/vhost.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/fdset.h"
#include "net/tap.h"

#define TUN_DEVICE "/dev/net/tun"
#define VHOST_DEVICE "/dev/vhost-net"

int net_tap_open(char *name, bool *vnet_hdr, bool required, bool multi_queue, GError **err)
{
    struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    unsigned features = 0;
    int fd = open(TUN_DEVICE, O_RDWR | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0) {
        error_set_errno(err, errno, "could not open " TUN_DEVICE);
        return -1;
    }
    ioctl(fd, TUNGETFEATURES, &features);
    if (*vnet_hdr && required && !(features & IFF_VNET_HDR)) {
        error_set(err, "vnet_hdr=1 requested, but no kernel support for IFF_VNET_HDR available");
        close(fd);
        return -1;
    }
    *vnet_hdr = *vnet_hdr && (features & IFF_VNET_HDR);
    ifr.ifr_flags |= (short)((*vnet_hdr ? IFF_VNET_HDR : 0) | (multi_queue ? IFF_MULTI_QUEUE : 0));
    g_strlcpy(ifr.ifr_name, *name ? name : "tap%d", IFNAMSIZ);
    if (ioctl(fd, TUNSETIFF, &ifr) < 0) {
        error_set_errno(err, errno,
                        *name ? "could not configure " TUN_DEVICE " (%s)"
                              : "could not configure " TUN_DEVICE "%s",
                        name);
        close(fd);
        return -1;
    }
    memcpy(name, ifr.ifr_name, IFNAMSIZ);
    return fd;
}

/* ---- vhost ------------------------------------------------------------------------------- */

bool net_tap_own_vhost(int fd, GError **err)
{
    return ioctl(fd, VHOST_SET_OWNER, NULL) >= 0 ||
           error_set_errno(err, errno, "vhost-net: descriptor %d cannot be owned (VHOST_SET_OWNER)", fd);
}

int net_tap_open_vhost(Vm *vm, GError **err)
{
    int fd = vm_open(vm, VHOST_DEVICE, O_RDWR, 0);

    if (fd < 0) {
        error_set_errno(err, errno,
                        "cannot open " VHOST_DEVICE " (the host's kernel module vhost_net makes it)");
    } else if (!net_tap_own_vhost(fd, err)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* ---- programs ---------------------------------------------------------------------------- */

/* In the child: signals as the world expects them, and nothing of ours open but `keep`. */
static void become(char **argv, int keep)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGXFSZ, SIG_DFL);
    /* A manager's descriptors, too, which nothing has taken yet. */
    if (close_range(3, UINT_MAX, CLOSE_RANGE_CLOEXEC)) {
        for (int fd = 3; fd < (int)sysconf(_SC_OPEN_MAX); fd++) { /* Linux before 5.11 */
            fcntl(fd, F_SETFD, FD_CLOEXEC);
        }
    }
    if (keep >= 0) {
        fcntl(keep, F_SETFD, 0);
    }
    execvp(argv[0], argv);
    _exit(127);
}

static int wait_for(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) {
            return -1;
        }
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

bool net_tap_script(const char *script, const char *name, GError **err)
{
    char *argv[] = {(char *)(uintptr_t)script, (char *)(uintptr_t)name, NULL};

    if (access(script, X_OK)) {
        return error_set_errno(
            err, errno, "could not launch network script %s; say script=no,downscript=no for none",
            script);
    }
    pid_t pid = fork();
    if (pid == 0) {
        become(argv, -1);
    }
    int status = pid < 0 ? -1 : wait_for(pid);
    return status == 0 || error_set(err, "network script %s failed with status %d", script, status);
}

static int receive_fd(int sock)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    char byte;
    struct iovec iov = {&byte, 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = sizeof control};
    ssize_t n;
    int fd = -1;

    do {
        n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
        c->cmsg_len >= CMSG_LEN(sizeof fd)) {
        memcpy(&fd, CMSG_DATA(c), sizeof fd);
    }
    return fd;
}

/* "a b" is a command with its arguments, else a program. */
static char **helper_argv(const char *helper, const char *bridge, int sock, bool vnet_hdr)
{
    g_autofree char *fd = g_strdup_printf("--fd=%d", sock),
                    *br = g_strdup_printf("--br=%s", bridge);
    GPtrArray *argv = g_ptr_array_new();

    if (strpbrk(helper, " \t")) {
        g_ptr_array_add(argv, g_strdup("/bin/sh"));
        g_ptr_array_add(argv, g_strdup("-c"));
        g_ptr_array_add(argv, g_strdup_printf("%s %s %s%s", helper, vnet_hdr ? "--use-vnet" : "",
                                              fd, strstr(helper, "--br=") ? "" : " \"$1\""));
        g_ptr_array_add(argv, g_strdup("sh"));
        g_ptr_array_add(argv, g_steal_pointer(&br));
    } else {
        g_ptr_array_add(argv, g_strdup(helper));
        if (vnet_hdr) {
            g_ptr_array_add(argv, g_strdup("--use-vnet"));
        }
        g_ptr_array_add(argv, g_steal_pointer(&fd));
        g_ptr_array_add(argv, g_steal_pointer(&br));
    }
    g_ptr_array_add(argv, NULL);
    return (char **)g_ptr_array_free(argv, false);
}

int net_tap_helper(const char *helper, const char *bridge, bool vnet_hdr, GError **err)
{
    int pair[2], fd = -1;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        error_set_errno(err, errno, "socketpair");
        return -1;
    }
    g_auto(GStrv) argv = helper_argv(helper, bridge, pair[1], vnet_hdr);
    pid_t pid = fork();
    if (pid == 0) {
        become(argv, pair[1]);
    }
    close(pair[1]);
    if (pid > 0) {
        fd = receive_fd(pair[0]);
        int status = wait_for(pid);

        if (status && fd >= 0) {
            close(fd);
            fd = -1;
        }
        if (fd < 0) {
            error_set(err, "bridge helper failed: %s ended with status %d%s", helper, status,
                      status == 127 ? " (it cannot be run)" : " and passed no descriptor");
        }
    } else {
        error_set_errno(err, errno, "fork");
    }
    close(pair[0]);
    if (fd >= 0) {
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    }
    return fd;
}
