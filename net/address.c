/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Addresses of network sockets. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <unistd.h>

#include "net/sockets.h"

static int family_of(const InetSocketAddress *inet)
{
    bool v4 = inet->has_ipv4 ? inet->ipv4 : !(inet->has_ipv6 && inet->ipv6);
    bool v6 = inet->has_ipv6 ? inet->ipv6 : !(inet->has_ipv4 && inet->ipv4);

    return v4 == v6 ? AF_UNSPEC : v4 ? AF_INET : AF_INET6;
}

GArray *net_resolve(Vm *vm, const SocketAddress *addr, int socktype, bool passive, GError **err)
{
    if (addr->type == SOCKET_ADDRESS_TYPE_UNIX) {
        const UnixSocketAddress *u = &addr->u.q_unix;
        SockAddr one;

        if (!sockaddr_unix(&one, u->path, u->has_abstract && u->abstract, !u->has_tight || u->tight,
                           err)) {
            return NULL;
        }
        GArray *addrs = g_array_new(false, true, sizeof(SockAddr));
        g_array_append_val(addrs, one);
        return addrs;
    }
    if (addr->type != SOCKET_ADDRESS_TYPE_INET) {
        error_set(err, "only support inet, unix or fd type");
        return NULL;
    }
    const InetSocketAddress *inet = &addr->u.inet;
    if (inet->has_to || inet->has_keep_alive || inet->has_numeric || inet->has_mptcp) {
        error_set(err, "to, keep-alive, numeric and mptcp are not supported for network back ends yet; "
                       "leave them out");
        return NULL;
    }
    return sockaddr_resolve(net_known_host(vm, inet->host), inet->port, family_of(inet), socktype, passive, err);
}

char *net_split_text(const char *text, const char **port)
{
    const char *colon = strrchr(text, ':');

    if (!colon || !colon[1]) {
        return NULL;
    }
    bool bracketed = *text == '[' && colon > text && colon[-1] == ']';
    *port = colon + 1;
    return bracketed ? g_strndup(text + 1, (size_t)(colon - text - 2)) : g_strndup(text, (size_t)(colon - text));
}

GArray *net_resolve_text(Vm *vm, const char *text, int family, int socktype, bool passive, GError **err)
{
    const char *port;
    g_autofree char *host = net_split_text(text, &port);

    if (!host) {
        error_set(err, "'%s' is no address; write host:port", text);
        return NULL;
    }
    return sockaddr_resolve(net_known_host(vm, host), port, family, socktype, passive, err);
}

SocketAddress *net_schema_address(const SockAddr *addr)
{
    SocketAddress *out = g_new0(SocketAddress, 1);
    char host[NI_MAXHOST], port[NI_MAXSERV];

    if (addr->addr.ss_family == AF_UNIX) {
        const struct sockaddr_un *un = (const struct sockaddr_un *)&addr->addr;
        size_t len = addr->len > offsetof(struct sockaddr_un, sun_path)
                         ? addr->len - offsetof(struct sockaddr_un, sun_path)
                         : 0;

        out->type = SOCKET_ADDRESS_TYPE_UNIX;
        out->u.q_unix.has_abstract = out->u.q_unix.abstract = len && !un->sun_path[0];
        out->u.q_unix.path = out->u.q_unix.abstract ? g_strndup(un->sun_path + 1, len - 1)
                                                    : g_strndup(un->sun_path, len);
        return out;
    }
    if (getnameinfo((const struct sockaddr *)&addr->addr, addr->len, host, sizeof host, port,
                    sizeof port, NI_NUMERICHOST | NI_NUMERICSERV)) {
        strcpy(host, "?");
        strcpy(port, "0");
    }
    out->type = SOCKET_ADDRESS_TYPE_INET;
    out->u.inet.host = g_strdup(host);
    out->u.inet.port = g_strdup(port);
    return out;
}

bool net_set_nonblock(int fd, GError **err)
{
    int flags = fcntl(fd, F_GETFL);

    return (flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) >= 0) ||
           error_set_errno(err, errno, "descriptor %d cannot be made non-blocking", fd);
}

int net_bind_dgram(const SockAddr *addr, GError **err)
{
    g_autofree char *text = sockaddr_text(addr);
    int on = 1, fd = socket(addr->addr.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0) {
        error_set_errno(err, errno, "no socket for %s could be made", text);
        return -1;
    }
    if (!sockaddr_clear_path(addr, err)) {
        close(fd);
        return -1;
    }
    if (addr->addr.ss_family != AF_UNIX) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    }
    if (bind(fd, (const struct sockaddr *)&addr->addr, addr->len) < 0) {
        error_set_errno(err, errno, "can't bind ip=%s to socket", text);
        close(fd);
        return -1;
    }
    return fd;
}

int net_socket_type(int fd, GError **err)
{
    int type;
    socklen_t len = sizeof type;

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ||
        (type != SOCK_STREAM && type != SOCK_DGRAM)) {
        error_set(err, "descriptor %d is no stream or datagram socket", fd);
        return -1;
    }
    return type;
}
