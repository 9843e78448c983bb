/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Socket addresses: resolving, listening, connecting. Errors name the address and the reason.
 */
#ifndef UTIL_SOCKADDR_H
#define UTIL_SOCKADDR_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "util/error.h"

typedef struct SockAddr {
    struct sockaddr_storage addr;
    socklen_t len;
    bool mptcp;     /* TCP over several paths: of a stream socket that is made for it */
} SockAddr;

/* A unix socket's; false when the path is too long. */
bool sockaddr_unix(SockAddr *out, const char *path, bool abstract, bool tight, GError **err);
/* A vsock's: the numbers of a context (4294967295: any) and of a port. */
bool sockaddr_vsock(SockAddr *out, const char *cid, const char *port, GError **err);
/* All addresses of host:port (host "" or NULL: any when passive, else loopback; or several addresses with blanks between, as
 * util/lookup.h makes); family AF_UNSPEC: both. A new array of SockAddr, or NULL. A name takes the time that the resolver
 * wants. */
GArray *sockaddr_resolve(const char *host, const char *port, int family, int socktype, bool passive,
                         GError **err);
/* Why what ("host", "host:port") has no addresses: rc is getaddrinfo's answer, or 0. Always false. */
bool sockaddr_unresolved(const char *what, int rc, GError **err);
/* Before a bind: removes a unix socket that nobody listens on. False when the path is somebody's or no socket. */
bool sockaddr_clear_path(const SockAddr *addr, GError **err);
/* "127.0.0.1:4444", "[::1]:4444", "/path", "@abstract", "vsock:2:1234"; the caller frees. */
char *sockaddr_text(const SockAddr *addr);
/* A listening, non-blocking socket (backlog 1: listen(2) again for more); a stale unix socket path is
 * replaced. -1 with *err. */
int socket_listen(const SockAddr *addr, GError **err);
/* Starts to connect; *pending: it is not done yet (EPOLLOUT comes, then socket_connected tells). A
 * non-blocking socket, or -1 with *err. */
int socket_connect(const SockAddr *addr, bool *pending, GError **err);
/* How connecting to addr ended. */
bool socket_connected(int fd, const SockAddr *addr, GError **err);

#endif
