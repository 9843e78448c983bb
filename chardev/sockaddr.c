/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Socket addresses. A unix path whose server died is replaced; one whose server lives is refused.
 * Which of both it is tells a connect with a *datagram* socket: the kernel answers EPROTOTYPE when
 * a stream server is there and ECONNREFUSED when nobody is, and that server sees no connection.
 */
#include "chardev/sockaddr.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool sockaddr_unix(SockAddr *out, const char *path, bool abstract, bool tight, GError **err)
{
    struct sockaddr_un *un = (struct sockaddr_un *)&out->addr;
    size_t len = strlen(path), room = sizeof un->sun_path - 1;

    memset(out, 0, sizeof *out);
    if (len == 0 || len > room) {
        return error_set(
            err, "path=%s: a unix socket's name has 1 to %zu bytes, not %zu; choose a shorter one",
            path, room, len);
    }
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path + abstract, path, len);
    out->len = (socklen_t)(abstract && tight ? offsetof(struct sockaddr_un, sun_path) + 1 + len
                                             : sizeof *un);
    return true;
}

GArray *sockaddr_resolve(const char *host, const char *port, int family, int socktype, bool passive,
                         GError **err)
{
    struct addrinfo hints = {
        .ai_family = family, .ai_socktype = socktype, .ai_flags = passive ? AI_PASSIVE : 0};
    struct addrinfo *list = NULL;
    const char *node = host && *host ? host : NULL;
    int rc = getaddrinfo(node, port, &hints, &list);
    GArray *addrs;

    if (rc != 0) {
        error_set(err, "address %s:%s cannot be resolved: %s", node ? node : "", port,
                  gai_strerror(rc));
        return NULL;
    }
    addrs = g_array_new(false, true, sizeof(SockAddr));
    for (const struct addrinfo *ai = list; ai; ai = ai->ai_next) {
        SockAddr addr = {.len = ai->ai_addrlen};

        memcpy(&addr.addr, ai->ai_addr, ai->ai_addrlen);
        g_array_append_val(addrs, addr);
    }
    freeaddrinfo(list);
    return addrs;
}

char *sockaddr_text(const SockAddr *addr)
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)&addr->addr;
    char host[NI_MAXHOST], port[NI_MAXSERV];

    if (addr->addr.ss_family == AF_UNIX) {
        size_t len = addr->len - offsetof(struct sockaddr_un, sun_path);

        if (addr->len <= offsetof(struct sockaddr_un, sun_path)) {
            return g_strdup("");
        }
        return un->sun_path[0] ? g_strndup(un->sun_path, len)
                               : g_strdup_printf("@%.*s", (int)len - 1, un->sun_path + 1);
    }
    if (getnameinfo((const struct sockaddr *)&addr->addr, addr->len, host, sizeof host, port,
                    sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return g_strdup("?");
    }
    return strchr(host, ':') ? g_strdup_printf("[%s]:%s", host, port)
                             : g_strdup_printf("%s:%s", host, port);
}

/* Removes a socket nobody listens on. False with *err when the path is somebody's. */
static bool clear_stale_path(const SockAddr *addr, GError **err)
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)&addr->addr;
    struct stat st;
    int fd, rc, errnum;

    if (un->sun_path[0] == 0 || lstat(un->sun_path, &st) < 0) {
        return true;
    }
    if (!S_ISSOCK(st.st_mode)) {
        return error_set(err, "path=%s exists and is no socket; remove it or choose another path",
                         un->sun_path);
    }
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    rc = fd < 0 ? -1 : connect(fd, (const struct sockaddr *)&addr->addr, addr->len);
    errnum = errno;
    if (fd >= 0) {
        close(fd);
    }
    if (rc == 0 || errnum != ECONNREFUSED) {
        return error_set(
            err, "path=%s is in use: another process listens there; stop it or choose another path",
            un->sun_path);
    }
    if (unlink(un->sun_path) < 0 && errno != ENOENT) {
        return error_set_errno(err, errno,
                               "path=%s is left over from another process and cannot be removed",
                               un->sun_path);
    }
    return true;
}

int socket_listen(const SockAddr *addr, GError **err)
{
    g_autofree char *text = sockaddr_text(addr);
    int family = addr->addr.ss_family, on = 1, fd;

    if (family == AF_UNIX && !clear_stale_path(addr, err)) {
        return -1;
    }
    fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        error_set_errno(err, errno, "no socket for %s could be made", text);
        return -1;
    }
    if (family != AF_UNIX) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    }
    if (family == AF_INET6) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    }
    if (bind(fd, (const struct sockaddr *)&addr->addr, addr->len) < 0 || listen(fd, 1) < 0) {
        error_set_errno(err, errno, "cannot listen on %s%s", text,
                        errno == EADDRINUSE ? " (choose another address, or stop who uses it)"
                                            : "");
        close(fd);
        return -1;
    }
    return fd;
}

/* A blocking connect that a signal interrupted goes on by itself. */
static int finish_connect(int fd)
{
    struct pollfd wait = {.fd = fd, .events = POLLOUT};
    int errnum = 0;
    socklen_t len = sizeof errnum;

    while (poll(&wait, 1, -1) < 0) {
        if (errno != EINTR) {
            return errno;
        }
    }
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &errnum, &len) < 0 ? errno : errnum;
}

int socket_connect(const SockAddr *addr, bool wait, bool *pending, GError **err)
{
    g_autofree char *text = sockaddr_text(addr);
    int fd =
        socket(addr->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | (wait ? 0 : SOCK_NONBLOCK), 0);
    int errnum = 0;

    *pending = false;
    if (fd < 0) {
        error_set_errno(err, errno, "no socket for %s could be made", text);
        return -1;
    }
    if (connect(fd, (const struct sockaddr *)&addr->addr, addr->len) < 0) {
        errnum = errno;
        if (errnum == EINPROGRESS) {
            *pending = true;
            return fd;
        }
        if (errnum == EINTR) {
            errnum = finish_connect(fd);
        }
    }
    if (errnum || fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
        error_set_errno(
            err, errnum ? errnum : errno,
            "cannot connect to %s (start its server first, or say server=on to be the server)",
            text);
        close(fd);
        return -1;
    }
    return fd;
}
