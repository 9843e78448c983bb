/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ethernet over sockets: the movers of packets that the back ends socket, stream and dgram share,
 * and addresses. Each has one port, which it makes. Private to net/.
 */
#ifndef NET_SOCKETS_H
#define NET_SOCKETS_H

#include <netinet/in.h>

#include "util/sockaddr.h"
#include "net/backend.h"
#include "qapi/qapi-sockets.h"

/* ---- datagrams: net/dgram_link.c ------------------------------------------------------------- */

typedef struct NetDgram NetDgram;

/* Takes fd (non-blocking from then on). dest NULL: it is connected. Never fails. */
NetDgram *net_dgram_new(Netdev *netdev, int fd, const SockAddr *dest);
/* NULL is fine. Closes the descriptor. */
void net_dgram_free(NetDgram *dgram);

/* A socket that is a member of the group: packets to all. local: the interface's address; NULL: the
 * kernel chooses. */
int net_multicast_socket(const SockAddr *group, const struct in_addr *local, GError **err);
bool net_is_multicast(const SockAddr *addr);

/* ---- streams: net/stream_link.c ---------------------------------------------------------------
 */

typedef struct NetStream NetStream;

/* Told in the main thread's or the link's loop, when the connection is there (peer: its address's
 * text) or gone (NULL). */
typedef void NetStreamFn(void *opaque, const SockAddr *peer);

NetStream *net_stream_new(Netdev *netdev, NetStreamFn *changed, void *opaque);
/* The connection is fd from now on, ours. */
void net_stream_use(NetStream *stream, int fd);
/* Connects; when that takes time it goes on in the background, and a failure is told on stderr. */
bool net_stream_connect(NetStream *stream, const GArray *addrs, GError **err);
/* One client at a time; the next is taken when the present one has gone. */
bool net_stream_listen(NetStream *stream, const GArray *addrs, GError **err);
/* fd: a listening socket, ours. */
void net_stream_listen_fd(NetStream *stream, int fd);
void net_stream_free(NetStream *stream);

/* ---- addresses: net/address.c -------------------------------------------------------------------
 */

/* All that a schema's address stands for: a new array of SockAddr. NULL with *err. Not for type fd.
 */
GArray *net_resolve(Vm *vm, const SocketAddress *addr, int socktype, bool passive, GError **err);
/* "host:port", "[host]:port", ":port". */
GArray *net_resolve_text(Vm *vm, const char *text, int family, int socktype, bool passive, GError **err);
/* The host of such a text, new, and where its port begins in it. NULL: it is none. */
char *net_split_text(const char *text, const char **port);
/* The address in the schema's form, new. */
SocketAddress *net_schema_address(const SockAddr *addr);
bool net_set_nonblock(int fd, GError **err);
/* A datagram socket bound to addr. -1 with *err. */
int net_bind_dgram(const SockAddr *addr, GError **err);
/* SOCK_STREAM or SOCK_DGRAM; -1 with *err for what is no such socket. */
int net_socket_type(int fd, GError **err);

#endif
