/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The Internet checksum (RFC 1071), for cards that compute or check it. Bytes in wire order. */
#ifndef NET_CHECKSUM_H
#define NET_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* Adds len bytes to a running sum. */
uint32_t net_sum(uint32_t sum, const void *data, size_t len);
/* The checksum field's value, host order: store16_be it. */
uint16_t net_sum_finish(uint32_t sum);
/* CRC-32 of an Ethernet address (IEEE 802.3), as multicast hashes use it. */
uint32_t net_crc32(const void *data, size_t len);

#endif
