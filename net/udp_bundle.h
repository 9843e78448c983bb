/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Several datagrams of one size through the kernel's UDP and IP at once (udp(7), UDP_SEGMENT and UDP_GRO; Linux 4.18 and 5.0).
 * On the wire nothing differs: the kernel cuts a bundle where it leaves the stack, at the latest in the network card; and joins
 * what came together, or had not been cut yet (between two sockets of one host), where the reader says that it can tell them
 * apart.
 *
 *   packets   [60] [60] [60] [42] [1514] [60]
 *   messages  [60   60   60   42] [1514] [60]      the last of a bundle may be shorter
 *
 * Private to net/.
 */
#ifndef NET_UDP_BUNDLE_H
#define NET_UDP_BUNDLE_H

#include <sys/socket.h>

#include "net/backend.h"

/* Room for the control message that says how long each datagram of a bundle is. */
typedef union UdpControl {
    struct cmsghdr header;
    uint8_t bytes[CMSG_SPACE(sizeof(int))];
} UdpControl;

/* Packets made ready for sendmmsg(2). Points into itself and to the packets. */
typedef struct UdpMessages {
    unsigned count;
    struct mmsghdr msgs[NET_BATCH];
    uint8_t packets[NET_BATCH];             /* of each message */
    UdpControl control[NET_BATCH];
    struct iovec iov[4 * NET_BATCH];        /* of bundles */
    unsigned iov_used;
} UdpMessages;

/* Does this socket take bundles? */
bool udp_takes_bundles(int fd);
/* From now on what it gives may be bundles. False: it cannot, and gives one datagram after the other as before. */
bool udp_gives_bundles(int fd);
/* n packets (NET_BATCH at most), as few messages as can be; those of below bytes or more are alone. All but the destination. */
void udp_make_messages(UdpMessages *m, const NetPacket *packets, unsigned n, size_t below);
/* How long each datagram of a message that came is, the last one perhaps not: 0: it is one. */
size_t udp_bundle_size(struct msghdr *msg);

#endif
