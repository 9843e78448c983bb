/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * netdrive PID FD RAM-SIZE tx|rx DESC AVAIL USED DATA NUM LENGTH PACKETS MINE THEIRS
 *
 * A virtio-net driver for benchmarks, and the other end of the card's cable: packets of LENGTH bytes through one queue, a
 * ring (ring.h) that was set up before, and the unix datagram sockets MINE and THEIRS, or (THEIRS: tap) the tap MINE.
 * PID is the emulator. Packets longer than 1514 bytes are segments for a tap to be left together.
 * Prints: nanoseconds until the last packet had come, packets, notifications.
 */
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "ring.h"

#define HEADER 12
#define STRIDE 2048 /* of DATA: a buffer */
#define LONG_STRIDE (68 * 1024) /* of packets to be sent that are longer */
#define TAP_HEADER 10
#define SEGMENT 1448
#define WINDOW 128  /* packets to a tap, which drops what is too many, ahead of the ring */
#define BATCH 32

typedef struct Drive {
    Ring ring;
    unsigned length;
    int rx, tap;
    unsigned stride, buffers;    /* of the ring; of a packet to be received */
    uint64_t packets, seen;      /* seen: by the other end, atomic */
    int sock;
    struct sockaddr_un theirs;
    uint8_t packet[LONG_STRIDE];
    struct virtio_net_hdr header;
    struct iovec iov[2];
    struct mmsghdr msgs[BATCH];
} Drive;

/* ---- the other end ---------------------------------------------------------------------------- */

static void *sink(void *opaque)
{
    static uint8_t buffers[BATCH][LONG_STRIDE];
    struct mmsghdr msgs[BATCH] = {0};
    struct iovec iov[BATCH];
    Drive *d = opaque;

    for (int i = 0; i < BATCH; i++) {
        iov[i] = (struct iovec){buffers[i], LONG_STRIDE};
        msgs[i].msg_hdr.msg_iov = &iov[i];
        msgs[i].msg_hdr.msg_iovlen = 1;
    }
    for (int n; (n = recvmmsg(d->sock, msgs, BATCH, MSG_WAITFORONE, NULL)) >= 0;) {
        __atomic_add_fetch(&d->seen, (uint64_t)n, __ATOMIC_RELEASE);
    }
    fail("recvmmsg");
    return NULL;
}

/* To a card that has this address; what is long is TCP, to be cut by whoever cannot take it so. */
static void fill_packet(uint8_t *packet, unsigned length)
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

static void fill_header(struct virtio_net_hdr *h, unsigned length)
{
    memset(h, 0, sizeof *h);
    if (length > 1514) {
        *h = (struct virtio_net_hdr){.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .hdr_len = 54,
                                     .gso_size = SEGMENT, .csum_start = 34, .csum_offset = 16};
    }
}

static void prepare(Drive *d, unsigned length)
{
    fill_packet(d->packet, length);
    fill_header(&d->header, length);
    d->iov[0] = (struct iovec){&d->header, TAP_HEADER};
    d->iov[1] = (struct iovec){d->packet, length};
    for (int i = 0; i < BATCH; i++) {
        d->msgs[i].msg_hdr = (struct msghdr){.msg_name = d->tap ? NULL : &d->theirs, .msg_namelen = d->tap ? 0 : sizeof d->theirs,
                                             .msg_iov = d->tap ? d->iov : d->iov + 1, .msg_iovlen = d->tap ? 2 : 1};
    }
}

/* At most count packets: how many went. */
static uint64_t send_some(Drive *d, uint64_t count)
{
    const int n = sendmmsg(d->sock, d->msgs, count < BATCH ? (unsigned)count : BATCH, 0);

    if (n < 0) {
        fail("sendmmsg");
    }
    return (uint64_t)n;
}

static void send_packets(Drive *d, unsigned length, uint64_t count)
{
    prepare(d, length);
    while (count) {
        count -= send_some(d, count);
    }
}

static void *source(void *opaque)
{
    Drive *d = opaque;

    send_packets(d, d->length, d->packets);
    return NULL;
}

/* ---- the ring ----------------------------------------------------------------------------------- */

static void make_desc(Drive *d, unsigned i)
{
    Ring *r = &d->ring;
    const uint64_t addr = r->data + (uint64_t)i * d->stride;

    memset(r->ram + addr, 0, HEADER);
    if (!d->rx) {
        fill_header((struct virtio_net_hdr *)(void *)(r->ram + addr), d->length);
        fill_packet(r->ram + addr + HEADER, d->length);
    }
    memset(r->ram + addr + HEADER, 0xff, 6);
    put_desc(r, i, addr, d->rx ? d->stride : HEADER + d->length, d->rx ? 2 : 0, 0);
}

static void run(Drive *d)
{
    Ring *r = &d->ring;
    const uint64_t first = __atomic_load_n(&d->seen, __ATOMIC_ACQUIRE);
    const uint64_t all = d->rx ? d->packets * d->buffers : d->packets;
    uint64_t put_count = 0, done = 0, sent = d->rx && d->tap ? 0 : d->packets;
    const int64_t start = now();

    for (unsigned i = 0; i < r->num && (d->rx || put_count < all); i++, put_count++) {
        put(r, i);
    }
    publish(r);
    while (done < all) {
        const uint16_t end = used_now(r), before = r->avail_idx;

        if (sent < d->packets && sent < done / d->buffers + WINDOW) {
            sent += send_some(d, d->packets - sent);
        } else if (end == r->used_idx) {
            sched_yield();
            no_more_than(start, 120, done, all);
        }
        for (; r->used_idx != end; done++) {
            const unsigned i = take_used(r) % r->num;

            if (d->rx || put_count < all) {
                put(r, i);
                put_count++;
            }
        }
        if (r->avail_idx != before) {
            publish(r);
        }
    }
    while (!d->rx && __atomic_load_n(&d->seen, __ATOMIC_ACQUIRE) < first + d->packets) {
        sched_yield();
        no_more_than(start, 120, d->seen, d->packets);
    }
    printf("%ld %lu %lu\n", (long)(now() - start), (unsigned long)d->packets, (unsigned long)r->kicks);
}

static void open_socket(Drive *d, const char *mine, const char *theirs)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int size = 4 << 20;

    d->theirs.sun_family = AF_UNIX;
    strncpy(un.sun_path, mine, sizeof un.sun_path - 1);
    strncpy(d->theirs.sun_path, theirs, sizeof d->theirs.sun_path - 1);
    unlink(mine);
    d->sock = socket(AF_UNIX, SOCK_DGRAM, 0);
    if (d->sock < 0 || bind(d->sock, (struct sockaddr *)&un, sizeof un) < 0) {
        fail(mine);
    }
    setsockopt(d->sock, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
}

static void open_tap(Drive *d, const char *name)
{
    struct sockaddr_ll ll = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)if_nametoindex(name)};
    const int size = 64 << 20, on = 1;

    d->tap = 1;
    d->sock = socket(AF_PACKET, SOCK_RAW, 0);
    if (d->sock < 0 || setsockopt(d->sock, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on) < 0 ||
        bind(d->sock, (struct sockaddr *)&ll, sizeof ll) < 0) {
        fail(name);
    }
    setsockopt(d->sock, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on);
    setsockopt(d->sock, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    setsockopt(d->sock, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
}

int main(int argc, char **argv)
{
    static Drive d;
    pthread_t thread;

    if (argc != 14) {
        fprintf(stderr, "see the top of the source\n");
        return 2;
    }
    ring_open(&d.ring, argv + 1);
    ring_place(&d.ring, argv + 5);
    d.rx = !strcmp(argv[4], "rx");
    d.length = (unsigned)atoi(argv[10]);
    d.packets = strtoull(argv[11], NULL, 0);
    d.stride = !d.rx && d.length > STRIDE - HEADER ? LONG_STRIDE : STRIDE;
    d.buffers = (HEADER + d.length + STRIDE - 1) / STRIDE;
    if (!strcmp(argv[13], "tap")) {
        open_tap(&d, argv[12]);
    } else {
        open_socket(&d, argv[12], argv[13]);
    }
    for (unsigned i = 0; i < d.ring.num; i++) {
        make_desc(&d, i);
    }
    if (d.rx) {
        send_packets(&d, 64, CHECKS + 4); /* each takes one buffer */
    } else if (pthread_create(&thread, NULL, sink, &d)) {
        fail("thread");
    }
    find_kick(&d.ring, 700000000);
    prepare(&d, d.length);
    if (d.rx && !d.tap && pthread_create(&thread, NULL, source, &d)) {
        fail("thread");
    }
    run(&d);
    return 0;
}
