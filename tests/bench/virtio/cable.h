/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The other end of a network card's cable, for benchmarks. KIND, and what MINE and THEIRS are then:
 *   unix     datagrams between two bound sockets of these paths
 *   pair     datagrams: a connected pair of unix sockets, both inherited
 *   drop     such a pair, to the network only: the kernel drops what comes, so that nobody else works than who sends
 *   inet     datagrams: UDP over loopback, ports
 *   stream   a connected pair of unix stream sockets, inherited; each packet behind its length
 *   user     UDP over loopback: MINE is sent to by the guest, through user networking, THEIRS leads to the guest's port MINE
 *   tap      the tap MINE, by a packet socket; packets longer than 1514 bytes are segments to be left together
 */
#ifndef TESTS_BENCH_VIRTIO_CABLE_H
#define TESTS_BENCH_VIRTIO_CABLE_H

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "ring.h"

#define LONG_STRIDE (68 * 1024) /* of packets to be sent that are longer than an Ethernet frame */
#define TAP_HEADER 10
#define STREAM_HEADER 4
#define UDP_HEADERS 42 /* of Ethernet, IPv4 and UDP */
#define SEGMENT 1448
#define BATCH 32
#define DRAIN_BATCH 512 /* more than a pair holds */
#define STREAM_BYTES (64 * 1024) /* at once: who sends a packet at a time has no time to be fast */

typedef enum Kind { KIND_UNIX, KIND_PAIR, KIND_DROP, KIND_INET, KIND_STREAM, KIND_USER, KIND_TAP, KINDS } Kind;

typedef struct Cable {
    Kind kind;
    int sock;
    unsigned length;             /* of the packets in msgs, and of those that come */
    uint64_t seen;               /* packets that came; atomic */
    struct sockaddr_storage theirs;
    socklen_t theirs_len;        /* 0: the socket is connected */
    struct virtio_net_hdr header;
    uint8_t packet[LONG_STRIDE];
    struct iovec iov[2 * BATCH]; /* datagrams: the first two, of each */
    struct mmsghdr msgs[BATCH];
    uint8_t stream[STREAM_BYTES]; /* packets, each behind its length */
    unsigned stream_count;
} Cable;

/* ---- packets ------------------------------------------------------------------------------------ */

/* To a card that has this address; what is long is TCP, to be cut by whoever cannot take it so. */
static inline void fill_packet(uint8_t *packet, unsigned length)
{
    static const uint8_t mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};
    const uint16_t ip_len = htons((uint16_t)(length - 14));

    memcpy(packet, mac, sizeof mac);
    if (length > 1514) {
        packet[12] = 8;
        packet[14] = 0x45;
        memcpy(packet + 16, &ip_len, 2);
        packet[22] = 64;
        packet[23] = 6;
        packet[46] = 0x50;
    }
}

static inline void put16_be(uint8_t *p, unsigned value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

/* From 10.0.2.15 to this port of the host of a user network. */
static inline void fill_user_packet(uint8_t *packet, unsigned length, unsigned port)
{
    static const uint8_t head[] = {0x52, 0x55, 10, 0, 2, 2, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 8, 0, 0x45, 0,
                                   0,    0,    0,  0, 0, 0, 64,   17,   0, 0,    10,   0,    2, 15, 10,  0, 2, 2};
    uint32_t sum = 0;

    memset(packet, 0, length);
    memcpy(packet, head, sizeof head);
    put16_be(packet + 16, length - 14);
    for (unsigned i = 14; i < 34; i += 2) {
        sum += (uint32_t)packet[i] << 8 | packet[i + 1];
    }
    put16_be(packet + 24, ~((sum & 0xffff) + (sum >> 16)));
    put16_be(packet + 34, port);
    put16_be(packet + 36, port);
    put16_be(packet + 38, length - 34);
}

static inline void fill_header(struct virtio_net_hdr *h, unsigned length)
{
    memset(h, 0, sizeof *h);
    if (length > 1514) {
        *h = (struct virtio_net_hdr){.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .hdr_len = 54,
                                     .gso_size = SEGMENT, .csum_start = 34, .csum_offset = 16};
    }
}

static inline void fill_stream(Cable *c)
{
    const uint32_t wire = htonl(c->length);
    const unsigned whole = STREAM_HEADER + c->length;

    c->stream_count = STREAM_BYTES / whole;
    for (unsigned i = 0; i < c->stream_count; i++) {
        memcpy(c->stream + i * whole, &wire, sizeof wire);
        memcpy(c->stream + i * whole + sizeof wire, c->packet, c->length);
    }
}

/* What is sent from now on. */
static inline void cable_prepare(Cable *c, unsigned length)
{
    const unsigned head = c->kind == KIND_TAP;

    c->length = length;
    fill_packet(c->packet, length);
    fill_header(&c->header, length);
    fill_stream(c);
    for (unsigned i = 0; i < BATCH; i++) {
        c->iov[2 * i] = (struct iovec){&c->header, TAP_HEADER};
        c->iov[2 * i + 1] = (struct iovec){c->packet, c->kind == KIND_USER ? length - UDP_HEADERS : length};
        c->msgs[i].msg_hdr = (struct msghdr){.msg_name = c->theirs_len ? &c->theirs : NULL, .msg_namelen = c->theirs_len,
                                             .msg_iov = c->iov + !head, .msg_iovlen = 1 + head};
    }
}

/* ---- sending -------------------------------------------------------------------------------------- */

/* At most count packets: how many went. A stream waits for room. */
static inline uint64_t send_stream(Cable *c, uint64_t count, int wait_flag)
{
    const uint64_t batch = count < c->stream_count ? count : c->stream_count;
    const size_t all = batch * (size_t)(STREAM_HEADER + c->length);

    for (size_t sent = 0; sent < all;) {
        const ssize_t n = send(c->sock, c->stream + sent, all - sent, wait_flag | MSG_NOSIGNAL);

        if (n < 0 && errno != EAGAIN) {
            fail("send");
        }
        if (n < 0) {
            poll(&(struct pollfd){.fd = c->sock, .events = POLLOUT}, 1, -1);
        }
        sent += n > 0 ? (size_t)n : 0;
    }
    return batch;
}

static inline uint64_t send_some(Cable *c, uint64_t count)
{
    int n;

    if (c->kind == KIND_STREAM) {
        return send_stream(c, count, 0);
    }
    n = sendmmsg(c->sock, c->msgs, count < BATCH ? (unsigned)count : BATCH, 0);
    if (n < 0) {
        fail("sendmmsg");
    }
    return (uint64_t)n;
}

static inline void send_packets(Cable *c, unsigned length, uint64_t count)
{
    cable_prepare(c, length);
    while (count) {
        count -= send_some(c, count);
    }
}

/* ---- receiving -------------------------------------------------------------------------------------- */

static inline void came(Cable *c, uint64_t n) { __atomic_add_fetch(&c->seen, n, __ATOMIC_RELEASE); }
static inline uint64_t seen_now(Cable *c) { return __atomic_load_n(&c->seen, __ATOMIC_ACQUIRE); }

/* All packets of a stream have the same length. */
static inline void sink_stream(Cable *c)
{
    static uint8_t buffer[256 * 1024];
    const uint64_t whole = STREAM_HEADER + c->length;
    uint64_t bytes = 0;

    for (ssize_t n; (n = recv(c->sock, buffer, sizeof buffer, 0)) > 0;) {
        came(c, (bytes + (uint64_t)n) / whole - bytes / whole);
        bytes += (uint64_t)n;
    }
    fail("recv");
}

/* A pair's reader, at the least cost that there is: it looks at no byte, and nobody has to wake it, for it is the driver's thread. So who sends
 * is what is measured, and not how three threads take turns on two CPUs. */
static inline void drain(Cable *c)
{
    static struct mmsghdr msgs[DRAIN_BATCH];
    struct iovec none = {c->packet, 0};
    int n;

    for (unsigned i = 0; i < DRAIN_BATCH; i++) {
        msgs[i].msg_hdr = (struct msghdr){.msg_iov = &none, .msg_iovlen = 1};
    }
    n = recvmmsg(c->sock, msgs, DRAIN_BATCH, MSG_DONTWAIT, NULL);
    if (n < 0 && errno != EAGAIN) {
        fail("recvmmsg");
    }
    came(c, n > 0 ? (uint64_t)n : 0);
}

/* A thread. opaque: the cable. */
static inline void *sink(void *opaque)
{
    static uint8_t buffers[BATCH][LONG_STRIDE];
    struct mmsghdr msgs[BATCH] = {0};
    struct iovec iov[BATCH];
    Cable *c = opaque;

    if (c->kind == KIND_DROP) {
        return NULL;
    }
    if (c->kind == KIND_STREAM) {
        sink_stream(c);
    }
    for (int i = 0; i < BATCH; i++) {
        iov[i] = (struct iovec){buffers[i], LONG_STRIDE};
        msgs[i].msg_hdr.msg_iov = &iov[i];
        msgs[i].msg_hdr.msg_iovlen = 1;
    }
    for (int n; (n = recvmmsg(c->sock, msgs, BATCH, MSG_WAITFORONE, NULL)) >= 0;) {
        came(c, (uint64_t)n);
    }
    fail("recvmmsg");
    return NULL;
}

/* ---- opening ---------------------------------------------------------------------------------------- */

static inline socklen_t cable_address(Kind kind, const char *text, struct sockaddr_storage *addr)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    if (kind != KIND_UNIX) {
        in.sin_port = htons((uint16_t)atoi(text));
        memcpy(addr, &in, sizeof in);
        return sizeof in;
    }
    strncpy(un.sun_path, text, sizeof un.sun_path - 1);
    memcpy(addr, &un, sizeof un);
    return sizeof un;
}

/* Datagrams from MINE to THEIRS. */
static inline int open_socket(Kind kind, const char *mine, const char *theirs, struct sockaddr_storage *addr, socklen_t *len)
{
    const int fd = socket(kind == KIND_UNIX ? AF_UNIX : AF_INET, SOCK_DGRAM, 0), size = 4 << 20, large = 64 << 20;

    if (kind == KIND_UNIX) {
        unlink(mine);
    }
    *len = cable_address(kind, mine, addr);
    if (fd < 0 || bind(fd, (struct sockaddr *)addr, *len) < 0) {
        fail(mine);
    }
    *len = cable_address(kind, theirs, addr);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &large, sizeof large);
    return fd;
}

static inline int open_tap(const char *name)
{
    struct sockaddr_ll ll = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)if_nametoindex(name)};
    const int size = 64 << 20, on = 1, fd = socket(AF_PACKET, SOCK_RAW, 0);

    if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on) < 0 || bind(fd, (struct sockaddr *)&ll, sizeof ll) < 0) {
        fail(name);
    }
    setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
    return fd;
}

/* What is sent to it is dropped by the sender's call, which succeeds. */
static inline void drop_all(int sock)
{
    struct sock_filter nothing = BPF_STMT(BPF_RET | BPF_K, 0);
    const struct sock_fprog program = {1, &nothing};

    if (setsockopt(sock, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) < 0) {
        fail("SO_ATTACH_FILTER");
    }
}

/* args: KIND MINE THEIRS. */
static inline void cable_open(Cable *c, char **args)
{
    static const char *const names[KINDS] = {"unix", "pair", "drop", "inet", "stream", "user", "tap"};

    while (c->kind < KINDS && strcmp(args[0], names[c->kind])) {
        c->kind++;
    }
    if (c->kind == KINDS) {
        fail(args[0]);
    }
    if (c->kind == KIND_TAP) {
        c->sock = open_tap(args[1]);
    } else if (c->kind == KIND_UNIX || c->kind == KIND_INET || c->kind == KIND_USER) {
        c->sock = open_socket(c->kind, args[1], args[2], &c->theirs, &c->theirs_len);
    } else {
        c->sock = atoi(args[1]);
    }
    if (c->kind == KIND_DROP) {
        drop_all(c->sock);
    }
}

#endif
