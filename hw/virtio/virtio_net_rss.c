/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Receive-side scaling of virtio-net (Virtual I/O Device 1.2, 5.1.6.4.3): Toeplitz hashes of addresses and ports. Only the
 * bytes that the caller has are looked at; headers are walked with checked positions, extension headers with a limit.
 */
#include "hw/virtio/virtio_net.h"

#include <netinet/in.h>

#define EXTENSIONS_MAX 8
#define TYPE_IPV4 0x0800
#define TYPE_IPV6 0x86dd
#define TYPE_VLAN 0x8100
#define OPTION_HOME_ADDRESS 0xc9

/* What of a packet goes into its hash. */
typedef struct Parts {
    const uint8_t *src, *dst;         /* addresses */
    unsigned address_len;             /* 4 or 16; 0: neither IPv4 nor IPv6 */
    const uint8_t *home, *final;      /* IPv6: those that extension headers name; NULL: none */
    bool extended;                    /* IPv6: there are extension headers */
    const uint8_t *ports;             /* source, destination; NULL: none */
    uint8_t protocol;
} Parts;

static uint32_t toeplitz(const uint8_t *key, const uint8_t *data, unsigned len, unsigned *at, uint32_t hash)
{
    for (unsigned i = 0; i < len; i++, ++*at) {
        /* The 32 bits of the key from bit 8 * at on, and the 8 behind them. */
        const uint64_t window = (uint64_t)load32_be(key + *at) << 8 | key[*at + 4];

        for (unsigned bit = 0; bit < 8; bit++) {
            if (data[i] & 0x80u >> bit) {
                hash ^= (uint32_t)(window >> (8 - bit));
            }
        }
    }
    return hash;
}

/* ---- parsing -------------------------------------------------------------------------------------- */

static void find_ports(Parts *p, const uint8_t *head, size_t len, size_t at)
{
    if ((p->protocol == IPPROTO_TCP || p->protocol == IPPROTO_UDP) && at + 4 <= len) {
        p->ports = head + at;
    }
}

static void parse_ipv4(Parts *p, const uint8_t *head, size_t len, size_t at)
{
    if (at + 20 > len || (head[at] & 0xf) < 5) {
        return;
    }
    p->src = head + at + 12;
    p->dst = head + at + 16;
    p->address_len = 4;
    p->protocol = head[at + 9];
    if (!(load16_be(head + at + 6) & 0x3fff)) { /* no fragment */
        find_ports(p, head, len, at + 4u * (head[at] & 0xf));
    }
}

/* Options of a destination options header, [at, end). */
static void find_home(Parts *p, const uint8_t *head, size_t at, size_t end)
{
    while (at + 2 <= end) {
        const size_t size = head[at] ? 2u + head[at + 1] : 1; /* 0: padding of one byte */

        if (head[at] == OPTION_HOME_ADDRESS && size == 18 && at + size <= end) {
            p->home = head + at + 2;
        }
        at += size;
    }
}

static void parse_ipv6(Parts *p, const uint8_t *head, size_t len, size_t at)
{
    uint8_t next;

    if (at + 40 > len) {
        return;
    }
    p->src = head + at + 8;
    p->dst = head + at + 24;
    p->address_len = 16;
    next = head[at + 6];
    at += 40;
    for (unsigned i = 0; i < EXTENSIONS_MAX; i++) {
        if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS && next != IPPROTO_FRAGMENT) {
            p->protocol = next;
            find_ports(p, head, len, at);
            return;
        }
        if (at + 8 > len) {
            return;
        }
        const size_t size = next == IPPROTO_FRAGMENT ? 8 : 8 + 8u * head[at + 1];
        p->extended = true;
        if (next == IPPROTO_FRAGMENT && (load16_be(head + at + 2) & ~6u)) {
            return; /* ports are in the first fragment only */
        }
        if (next == IPPROTO_DSTOPTS && at + size <= len) {
            find_home(p, head, at + 2, at + size);
        }
        if (next == IPPROTO_ROUTING && head[at + 2] == 2 && size >= 24 && at + 24 <= len) {
            p->final = head + at + 8;
        }
        next = head[at];
        at += size;
    }
}

static Parts parse(const uint8_t *head, size_t len)
{
    Parts p = {0};
    size_t at = 14;
    uint16_t type = load16_be(head + 12);

    if (type == TYPE_VLAN && len >= 18) {
        type = load16_be(head + 16);
        at = 18;
    }
    if (type == TYPE_IPV4) {
        parse_ipv4(&p, head, len, at);
    } else if (type == TYPE_IPV6) {
        parse_ipv6(&p, head, len, at);
    }
    return p;
}

/* ---- kinds of hashes ------------------------------------------------------------------------------- */

/* In the order in which they are tried. */
static const struct {
    uint32_t type;
    uint8_t address_len, protocol;    /* protocol 0: any, without ports */
    bool extended;                    /* with the addresses of extension headers */
    uint16_t report;
} kinds[] = {
    {VIRTIO_NET_RSS_HASH_TYPE_TCPv4, 4, IPPROTO_TCP, false, VIRTIO_NET_HASH_REPORT_TCPv4},
    {VIRTIO_NET_RSS_HASH_TYPE_UDPv4, 4, IPPROTO_UDP, false, VIRTIO_NET_HASH_REPORT_UDPv4},
    {VIRTIO_NET_RSS_HASH_TYPE_IPv4, 4, 0, false, VIRTIO_NET_HASH_REPORT_IPv4},
    {VIRTIO_NET_RSS_HASH_TYPE_TCP_EX, 16, IPPROTO_TCP, true, VIRTIO_NET_HASH_REPORT_TCPv6_EX},
    {VIRTIO_NET_RSS_HASH_TYPE_UDP_EX, 16, IPPROTO_UDP, true, VIRTIO_NET_HASH_REPORT_UDPv6_EX},
    {VIRTIO_NET_RSS_HASH_TYPE_IP_EX, 16, 0, true, VIRTIO_NET_HASH_REPORT_IPv6_EX},
    {VIRTIO_NET_RSS_HASH_TYPE_TCPv6, 16, IPPROTO_TCP, false, VIRTIO_NET_HASH_REPORT_TCPv6},
    {VIRTIO_NET_RSS_HASH_TYPE_UDPv6, 16, IPPROTO_UDP, false, VIRTIO_NET_HASH_REPORT_UDPv6},
    {VIRTIO_NET_RSS_HASH_TYPE_IPv6, 16, 0, false, VIRTIO_NET_HASH_REPORT_IPv6},
};

uint32_t virtio_net_hash(const VirtioNetRss *rss, const uint8_t *head, size_t len, uint16_t *report)
{
    const Parts p = parse(head, len);

    *report = VIRTIO_NET_HASH_REPORT_NONE;
    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        const bool with_ports = kinds[i].protocol != 0;
        const uint8_t *src = p.src, *dst = p.dst;
        unsigned at = 0;
        uint32_t hash;

        if (!(rss->hash_types & kinds[i].type) || p.address_len != kinds[i].address_len ||
            (kinds[i].extended && !p.extended) || (with_ports && (p.protocol != kinds[i].protocol || !p.ports))) {
            continue;
        }
        if (kinds[i].extended) {
            src = p.home ? p.home : src;
            dst = p.final ? p.final : dst;
        }
        hash = toeplitz(rss->key, src, p.address_len, &at, 0);
        hash = toeplitz(rss->key, dst, p.address_len, &at, hash);
        *report = kinds[i].report;
        return with_ports ? toeplitz(rss->key, p.ports, 4, &at, hash) : hash;
    }
    return 0;
}
