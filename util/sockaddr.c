/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Socket addresses. A unix path whose server died is replaced; one whose server lives is refused.
 * Which of both it is tells a connect with a *datagram* socket: the kernel answers EPROTOTYPE when
 * a stream server is there and ECONNREFUSED when nobody is, and that server sees no connection.
 */
#include "util/sockaddr.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

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

bool sockaddr_vsock(SockAddr *out, const char *cid, const char *port, GError **err)
{
    struct sockaddr_vm *vm = (struct sockaddr_vm *)&out->addr;
    guint64 cid_number, port_number;

    if (!g_ascii_string_to_unsigned(cid, 10, 0, G_MAXUINT32, &cid_number, NULL)) {
        return error_set(err, "Failed to parse cid '%s': it is a number of 32 bits", cid);
    }
    if (!g_ascii_string_to_unsigned(port, 10, 0, G_MAXUINT32, &port_number, NULL)) {
        return error_set(err, "Failed to parse port '%s': it is a number of 32 bits", port);
    }
    memset(out, 0, sizeof *out);
    vm->svm_family = AF_VSOCK;
    vm->svm_cid = (unsigned)cid_number;
    vm->svm_port = (unsigned)port_number;
    out->len = sizeof *vm;
    return true;
}

/* The resolver takes a port beyond 65535 without its high bits: another port than was asked for. */
static bool port_is_possible(const char *port)
{
    return !*port || port[strspn(port, "0123456789")] || g_ascii_strtoull(port, NULL, 10) <= G_MAXUINT16;
}

/* Adds all addresses of one name. 0, or getaddrinfo's error. */
static int resolve_one(const char *node, const char *port, int family, int socktype, bool passive, GArray *addrs)
{
    struct addrinfo hints = {
        .ai_family = family, .ai_socktype = socktype, .ai_flags = passive ? AI_PASSIVE : 0};
    struct addrinfo *list = NULL;
    int rc = getaddrinfo(node, port, &hints, &list);

    if (rc != 0) {
        return rc;
    }
    for (const struct addrinfo *ai = list; ai; ai = ai->ai_next) {
        SockAddr addr = {.len = ai->ai_addrlen};

        memcpy(&addr.addr, ai->ai_addr, ai->ai_addrlen);
        g_array_append_val(addrs, addr);
    }
    freeaddrinfo(list);
    return 0;
}

bool sockaddr_unresolved(const char *what, int rc, GError **err)
{
    return error_set(err, "address '%s' cannot be resolved: %s; %s", what, rc ? gai_strerror(rc) : "it has no addresses",
                     rc == EAI_SERVICE ? "give the port as a number"
                                       : "is the name right? an address in numbers needs no name server");
}

GArray *sockaddr_resolve(const char *host, const char *port, int family, int socktype, bool passive,
                         GError **err)
{
    g_auto(GStrv) nodes = g_strsplit(host ? host : "", " ", -1);
    GArray *addrs = g_array_new(false, true, sizeof(SockAddr));
    int rc = 0;

    if (port && !port_is_possible(port)) {
        error_set(err, "address %s:%s: ports are 0 to %u", host ? host : "", port, G_MAXUINT16);
    } else {
        for (char **node = nodes; *node; node++) {
            rc = resolve_one(**node ? *node : NULL, port, family, socktype, passive, addrs);
        }
        if (!*nodes) {
            rc = resolve_one(NULL, port, family, socktype, passive, addrs);
        }
        if (!addrs->len) {
            g_autofree char *text = g_strdup_printf("%s:%s", host ? host : "", port ? port : "");

            sockaddr_unresolved(text, rc, err);
        }
    }
    if (!addrs->len) {
        g_array_free(addrs, true);
        return NULL;
    }
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
    if (addr->addr.ss_family == AF_VSOCK) {
        const struct sockaddr_vm *vm = (const struct sockaddr_vm *)&addr->addr;

        return g_strdup_printf("vsock:%u:%u", vm->svm_cid, vm->svm_port);
    }
    if (getnameinfo((const struct sockaddr *)&addr->addr, addr->len, host, sizeof host, port,
                    sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return g_strdup("?");
    }
    return strchr(host, ':') ? g_strdup_printf("[%s]:%s", host, port)
                             : g_strdup_printf("%s:%s", host, port);
}

bool sockaddr_clear_path(const SockAddr *addr, GError **err)
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)&addr->addr;
    struct stat st;
    int fd, rc, errnum;

    if (addr->addr.ss_family != AF_UNIX || un->sun_path[0] == 0 || lstat(un->sun_path, &st) < 0) {
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

/* A stream; -1 with *err. */
static int make_socket(const SockAddr *addr, GError **err)
{
    int fd = socket(addr->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, addr->mptcp ? IPPROTO_MPTCP : 0);

    if (fd < 0) {
        int errnum = errno;
        g_autofree char *text = sockaddr_text(addr);

        error_set_errno(err, errnum, "no %ssocket for %s could be made", addr->mptcp ? "MPTCP " : "", text);
    }
    return fd;
}

int socket_listen(const SockAddr *addr, GError **err)
{
    g_autofree char *text = sockaddr_text(addr);
    int family = addr->addr.ss_family, on = 1, fd;

    if (!sockaddr_clear_path(addr, err)) {
        return -1;
    }
    fd = make_socket(addr, err);
    if (fd < 0) {
        return -1;
    }
    if (family == AF_INET || family == AF_INET6) {
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

static bool refuse_connect(const SockAddr *addr, int errnum, GError **err)
{
    g_autofree char *text = sockaddr_text(addr);

    return error_set_errno(err, errnum, "cannot connect to %s", text);
}

int socket_connect(const SockAddr *addr, bool *pending, GError **err)
{
    int fd = make_socket(addr, err);

    *pending = false;
    if (fd < 0) {
        return -1;
    }
    if (connect(fd, (const struct sockaddr *)&addr->addr, addr->len) == 0) {
        return fd;
    }
    if (errno == EINPROGRESS) {
        *pending = true;
        return fd;
    }
    refuse_connect(addr, errno, err);
    close(fd);
    return -1;
}

bool socket_connected(int fd, const SockAddr *addr, GError **err)
{
    int errnum = 0;
    socklen_t len = sizeof errnum;

    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &errnum, &len) < 0) {
        errnum = errno;
    }
    return !errnum || refuse_connect(addr, errnum, err);
}
