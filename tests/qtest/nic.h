/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The other end of a card's cable for tests: a unix datagram socket, a packet a datagram; or, after cable_use_taps, a packet
 * socket on a tap with vnet headers.
 */
#ifndef TESTS_QTEST_NIC_H
#define TESTS_QTEST_NIC_H

#include <stddef.h>
#include <stdint.h>

#include "libqtest.h"

#define NIC_MAX 66000

typedef struct Cable {
    char *dir, *mine, *theirs;
    int fd, tap;                  /* tap: -1: none */
} Cable;

/* All cables from now on are taps, in a network of this process's own. False: it may not have one. */
bool cable_use_taps(void);
Cable *cable_new(void);
void cable_free(Cable *cable);
/* "-netdev dgram,id=ID,...", or tap, for the emulator; the caller frees. */
char *cable_netdev(const Cable *cable, const char *id);
void cable_send(const Cable *cable, const void *data, size_t len);
/* Of a tap: from now on packets sent and received have a header of 10 bytes (struct virtio_net_hdr) in front. */
void cable_use_headers(const Cable *cable);
/* Waits for a packet; its length. */
size_t cable_receive(const Cable *cable, void *buf, size_t room);
/* Nothing is waiting now. */
void cable_expect_nothing(const Cable *cable);
/* An Ethernet packet of len bytes to `to`, its content made of seed. */
void make_packet(uint8_t *out, size_t len, const uint8_t to[6], unsigned seed);
/* Adds bytes to a sum of the internet checksum's kind (RFC 1071), folded to 16 bits. */
uint32_t inet_sum(uint32_t sum, const uint8_t *bytes, size_t len);
/* Are the checksums of the IPv4 header and of the TCP segment there right? Its payload's length. */
size_t check_tcp(const uint8_t *ip);
/* Waits until done(qt, opaque) says so. */
void wait_until(QTest *qt, bool (*done)(QTest *qt, void *opaque), void *opaque);

#endif
