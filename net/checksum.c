/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "net/checksum.h"

#include "util/util.h"

uint32_t net_sum(uint32_t start, const void *data, size_t len)
{
    const uint8_t *p = data;
    uint64_t sum = start;

    for (; len >= 4; p += 4, len -= 4) {
        sum += load32_be(p);
    }
    if (len >= 2) {
        sum += load16_be(p);
        p += 2;
        len -= 2;
    }
    if (len) {
        sum += (uint32_t)*p << 8;
    }
    while (sum >> 16) { /* 2^16 is 1 here, and so is 2^32 */
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return (uint32_t)sum;
}

uint16_t net_sum_finish(uint32_t sum)
{
    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return (uint16_t)~sum;
}

uint32_t net_crc32(const void *data, size_t len)
{
    const uint8_t *p = data;
    uint32_t crc = 0xffffffff;

    for (size_t i = 0; i < len; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            uint32_t carry = (crc >> 31) ^ ((p[i] >> bit) & 1);

            crc = crc << 1 ^ (carry ? 0x04c11db7 : 0);
        }
    }
    return crc;
}
