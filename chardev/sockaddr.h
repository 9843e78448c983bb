/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Socket addresses of character devices: resolving, listening, connecting. Errors name the option,
 * the value, the reason and a way out. Private to chardev/.
 */
#ifndef CHARDEV_SOCKADDR_H
#define CHARDEV_SOCKADDR_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "util/error.h"

typedef struct SockAddr {
    struct sockaddr_storage addr;
    socklen_t len;
} SockAddr;

/* A unix socket's; false when the path is too long. */
bool sockaddr_unix(SockAddr *out, const char *path, bool abstract, bool tight, GError **err);
/* All addresses of host:port (host "" or NULL: any when passive, else loopback); family AF_UNSPEC:
 * both. A new array of SockAddr, or NULL. */
GArray *sockaddr_resolve(const char *host, const char *port, int family, int socktype, bool passive,
                         GError **err);
/* "127.0.0.1:4444", "[::1]:4444", "/path", "@abstract"; the caller frees. */
char *sockaddr_text(const SockAddr *addr);
/* A listening, non-blocking socket; a stale unix socket path is replaced. -1 with *err. */
int socket_listen(const SockAddr *addr, GError **err);
/* Starts to connect; *pending: it is not done yet (then EPOLLOUT comes). wait: returns when it is.
 * -1 with *err. */
int socket_connect(const SockAddr *addr, bool wait, bool *pending, GError **err);

#endif
