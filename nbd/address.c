/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "nbd/address.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "util/sockaddr.h"

#define NO_FD                                                                                                                  \
    "server.str='%s' is no open file descriptor's number (names given to getfd are not known to block devices; use add-fd's or "  \
    "inherited numbers)"

/* ---- options -------------------------------------------------------------------------------- */

static bool take_required(BlockOpts *opts, const char *key, char **value, GError **err)
{
    *value = block_opts_take(opts, key);
    return *value || error_set(err, "Parameter 'server.%s' is missing", key);
}

static bool take_inet(NbdAddress *a, BlockOpts *opts, GError **err)
{
    bool numeric = false, has4 = block_opts_peek(opts, "ipv4"), has6 = block_opts_peek(opts, "ipv6");

    a->ipv4 = a->ipv6 = true;
    if (!take_required(opts, "host", &a->host, err) || !take_required(opts, "port", &a->port, err) ||
        !block_opts_take_bool(opts, "numeric", &numeric, err) ||
        !block_opts_take_bool(opts, "keep-alive", &a->keep_alive, err) ||
        !block_opts_take_bool(opts, "mptcp", &a->mptcp, err) ||
        !block_opts_take_bool(opts, "ipv4", &a->ipv4, err) ||
        !block_opts_take_bool(opts, "ipv6", &a->ipv6, err)) {
        return false;
    }
    /* "ipv4=on" alone asks for IPv4 only. */
    if (has4 && !has6 && a->ipv4) {
        a->ipv6 = false;
    } else if (has6 && !has4 && a->ipv6) {
        a->ipv4 = false;
    }
    return a->ipv4 || a->ipv6 || error_set(err, "server.ipv4=off,server.ipv6=off leave no protocol");
}

static bool take_fd(NbdAddress *a, BlockOpts *opts, GError **err)
{
    g_autofree char *text = NULL;
    char *end;
    long fd;

    if (!take_required(opts, "str", &text, err)) {
        return false;
    }
    fd = strtol(text, &end, 10);
    if (!*text || *end || fd < 0 || fd > INT_MAX) {
        return error_set(err, NO_FD, text);
    }
    a->fd = (int)fd;
    return true;
}

bool nbd_address_take(NbdAddress *a, BlockOpts *opts, GError **err)
{
    static const char *const types[] = {"inet", "unix", "vsock", "fd", NULL};
    int type = -1;

    a->tight = true;
    if (!block_opts_take_enum(opts, "type", types, &type, err)) {
        return false;
    }
    if (type < 0) {
        return error_set(err, "Parameter 'server.type' is missing");
    }
    a->type = (NbdAddressType)type;
    switch (a->type) {
    case NBD_INET:
        return take_inet(a, opts, err);
    case NBD_UNIX:
        return take_required(opts, "path", &a->path, err) &&
               block_opts_take_bool(opts, "abstract", &a->abstract, err) &&
               block_opts_take_bool(opts, "tight", &a->tight, err);
    case NBD_VSOCK:
        return take_required(opts, "cid", &a->host, err) && take_required(opts, "port", &a->port, err);
    case NBD_FD:
    default:
        return take_fd(a, opts, err);
    }
}

void nbd_address_clear(NbdAddress *a)
{
    g_clear_pointer(&a->host, g_free);
    g_clear_pointer(&a->known, g_free);
    g_clear_pointer(&a->port, g_free);
    g_clear_pointer(&a->path, g_free);
}

bool nbd_address_equal(const NbdAddress *a, const NbdAddress *b)
{
    return a->type == b->type && !g_strcmp0(a->host, b->host) && !g_strcmp0(a->port, b->port) && !g_strcmp0(a->path, b->path) &&
           a->abstract == b->abstract && a->tight == b->tight && a->ipv4 == b->ipv4 && a->ipv6 == b->ipv6 &&
           a->keep_alive == b->keep_alive && a->mptcp == b->mptcp && a->fd == b->fd;
}

char *nbd_address_text(const NbdAddress *a)
{
    switch (a->type) {
    case NBD_UNIX:
        return g_strdup_printf("%s%s", a->abstract ? "@" : "", a->path);
    case NBD_FD:
        return g_strdup("a given descriptor");
    case NBD_VSOCK:
        return g_strdup_printf("vsock:%s:%s", a->host, a->port);
    case NBD_INET:
    default:
        return g_strdup_printf(strchr(a->host, ':') ? "[%s]:%s" : "%s:%s", a->host, a->port);
    }
}

/* ---- socket addresses ------------------------------------------------------------------------ */

void nbd_address_known(NbdAddress *a, const HostNames *names)
{
    if (a->type == NBD_INET) {
        g_free(a->known);
        a->known = g_strdup(host_names_get(names, a->host));
    }
}

/* An array of SockAddr, or NULL. */
static GArray *resolve(NbdAddress *a, bool passive, GError **err)
{
    g_autofree char *known = g_steal_pointer(&a->known);
    int family = a->ipv4 && a->ipv6 ? AF_UNSPEC : a->ipv4 ? AF_INET : AF_INET6;
    GArray *list;
    SockAddr one;

    if (a->type == NBD_INET) {
        list = sockaddr_resolve(known ? known : a->host, a->port, family, SOCK_STREAM, passive, err);
        for (unsigned i = 0; list && i < list->len; i++) {
            g_array_index(list, SockAddr, i).mptcp = a->mptcp;
        }
        return list;
    }
    if (!(a->type == NBD_UNIX ? sockaddr_unix(&one, a->path, a->abstract, a->tight, err)
                              : sockaddr_vsock(&one, a->host, a->port, err))) {
        return NULL;
    }
    list = g_array_new(FALSE, FALSE, sizeof one);
    g_array_append_val(list, one);
    return list;
}

/* ---- connecting ------------------------------------------------------------------------------ */

static void tune(const NbdAddress *a, int fd)
{
    int on = 1;

    if (a->type == NBD_INET) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    if (a->keep_alive) {
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    }
}

static int connect_one(const NbdAddress *a, const SockAddr *addr, const NbdWait *wait, GError **err)
{
    bool pending;
    int fd = socket_connect(addr, &pending, err);

    if (fd < 0) {
        return -1;
    }
    if (pending && !(nbd_wait_fd(fd, POLLOUT, wait, err) && socket_connected(fd, addr, err))) {
        close(fd);
        return -1;
    }
    tune(a, fd);
    return fd;
}

static int take_given(NbdAddress *a, GError **err)
{
    g_autofree char *number = g_strdup_printf("%d", a->fd);

    if (a->fd_used) {
        error_set(err, "a descriptor that was given cannot be connected again");
        return -1;
    }
    if (fcntl(a->fd, F_SETFD, FD_CLOEXEC) < 0) {
        error_set(err, NO_FD, number);
        return -1;
    }
    a->fd_used = true;
    return a->fd;
}

int nbd_address_connect(NbdAddress *a, const NbdWait *wait, GError **err)
{
    g_autoptr(GArray) list = NULL;
    int fd = -1;

    if (a->type == NBD_FD) {
        return take_given(a, err);
    }
    list = resolve(a, false, err);
    for (unsigned i = 0; list && i < list->len && fd < 0; i++) {
        g_clear_error(err);
        fd = connect_one(a, &g_array_index(list, SockAddr, i), wait, err);
    }
    return fd;
}

bool nbd_address_listen(NbdAddress *a, int *fds, unsigned max, unsigned *n, GError **err)
{
    g_autoptr(GArray) list = resolve(a, true, err);
    g_autoptr(GError) why = NULL;

    *n = 0;
    for (unsigned i = 0; list && i < list->len && *n < max; i++) {
        int fd;

        g_clear_error(&why);
        fd = socket_listen(&g_array_index(list, SockAddr, i), &why);
        if (fd >= 0) {
            listen(fd, SOMAXCONN);
            fds[(*n)++] = fd;
        }
    }
    if (list && !*n) {
        g_propagate_error(err, g_steal_pointer(&why));
    }
    return *n > 0;
}
