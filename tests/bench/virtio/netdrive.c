/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * netdrive PID FD RAM-SIZE tx|rx DESC AVAIL USED DATA NUM LENGTH PACKETS SLEEP KIND MINE THEIRS
 * netdrive LENGTH PACKETS KIND MINE THEIRS CPU
 *
 * A virtio-net driver for benchmarks, and the other end of the card's cable: packets of LENGTH bytes through one queue, a
 * ring (ring.h) that was set up before, and a cable (cable.h). PID is the emulator. SLEEP: where there is nothing to do the
 * driver sleeps for so many microseconds, about as a CPU halts until an interrupt that is put off; 0: it spins.
 * Prints: nanoseconds until the last packet had come, packets, notifications.
 *
 * The second form is what the kernel allows: instead of an emulator a thread sends a packet that it has, up to 64 with a
 * system call, by UDP as one bundle, and polls where there is no room. It stays on CPU, if that is not -1.
 */
#include <netinet/udp.h>
#include <pthread.h>
#include <sys/prctl.h>

#include "cable.h"

#define HEADER 12
#define STRIDE 2048     /* of DATA: a buffer */
#define TAP_WINDOW 128  /* packets to a tap, which drops what is too many, ahead of the ring ... */
#define INET_WINDOW 32  /* ... and to a socket that does */
#define SINK_WINDOW 16384 /* packets that our own UDP socket holds */
#define BOUND_BATCH 64
#define BOUND_BYTES 65000

typedef struct Drive {
    Ring ring;
    Cable cable;
    unsigned length, sleep_us;
    unsigned port;               /* of a user network's host */
    int rx;
    unsigned stride, buffers;    /* of the ring; of a packet to be received */
    uint64_t packets;
    uint16_t first_used;         /* where the ring stood */
} Drive;

static void idle(unsigned sleep_us)
{
    if (sleep_us) {
        nanosleep(&(struct timespec){.tv_nsec = sleep_us * 1000L}, NULL);
    } else {
        sched_yield();
    }
}

/* Nothing is to be done in the ring. What came from a pair is read at once then: to look for each packet would hold up who sends it. */
static void pause_driver(Drive *d)
{
    idle(d->sleep_us);
    if (!d->rx && d->cable.kind == KIND_PAIR) {
        drain(&d->cable);
    }
}

/* ---- the other end, sending -------------------------------------------------------------------- */

static void *source(void *opaque)
{
    Drive *d = opaque;

    for (uint64_t sent = 0; sent < d->packets;) {
        const int16_t ahead = (int16_t)(uint16_t)(sent - (uint16_t)(used_now(&d->ring) - d->first_used)); /* -: of before */

        if ((d->cable.kind != KIND_INET && d->cable.kind != KIND_USER) || ahead < INET_WINDOW) {
            sent += send_some(&d->cable, d->packets - sent);
        } else {
            sched_yield();
        }
    }
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
    if (!d->rx && d->cable.kind == KIND_USER) {
        fill_user_packet(r->ram + addr + HEADER, d->length, d->port);
    } else {
        memset(r->ram + addr + HEADER, 0xff, 6);
    }
    put_desc(r, i, addr, d->rx ? d->stride : HEADER + d->length, d->rx ? 2 : 0, 0);
}

static void wait_for_sink(Drive *d, uint64_t last, int64_t start)
{
    while (d->cable.kind != KIND_DROP && seen_now(&d->cable) < last) {
        pause_driver(d);
        no_more_than(start, 120, d->cable.seen, last);
    }
}

/* UDP drops what its receiver does not take in time. NULL: another's. */
static void wait_for_room(Cable *c, uint64_t first, uint64_t sent)
{
    while (c && c->kind == KIND_INET && sent > seen_now(c) - first + SINK_WINDOW) {
        idle(50);
    }
}

static void run(Drive *d)
{
    Ring *r = &d->ring;
    const int sends = d->rx && d->cable.kind == KIND_TAP; /* itself */
    const uint64_t first = seen_now(&d->cable), all = d->rx ? d->packets * d->buffers : d->packets;
    uint64_t put_count = 0, done = 0, sent = sends ? 0 : d->packets;
    const int64_t start = now();

    for (unsigned i = 0; i < r->num && (d->rx || put_count < all); i++, put_count++) {
        put(r, i);
    }
    publish(r);
    while (done < all) {
        const uint16_t end = used_now(r), before = r->avail_idx;

        if (sent < d->packets && sent < done / d->buffers + TAP_WINDOW) {
            sent += send_some(&d->cable, d->packets - sent);
        } else if (end == r->used_idx) {
            pause_driver(d);
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
            wait_for_room(d->rx ? NULL : &d->cable, first, put_count);
            publish(r);
        }
    }
    if (!d->rx) {
        wait_for_sink(d, first + d->packets, start);
    }
    printf("%ld %lu %lu\n", (long)(now() - start), (unsigned long)d->packets, (unsigned long)r->kicks);
}

static int drive(char **argv)
{
    static Drive d;
    pthread_t thread;

    ring_open(&d.ring, argv + 1);
    ring_place(&d.ring, argv + 5);
    d.rx = !strcmp(argv[4], "rx");
    d.length = d.cable.length = (unsigned)atoi(argv[10]);
    d.port = (unsigned)atoi(argv[14]);
    d.packets = strtoull(argv[11], NULL, 0);
    d.sleep_us = (unsigned)atoi(argv[12]);
    d.stride = !d.rx && d.length > STRIDE - HEADER ? LONG_STRIDE : STRIDE;
    d.buffers = (HEADER + d.length + STRIDE - 1) / STRIDE;
    cable_open(&d.cable, argv + 13);
    for (unsigned i = 0; i < d.ring.num; i++) {
        make_desc(&d, i);
    }
    if (d.rx) {
        send_packets(&d.cable, 64, CHECKS + 4); /* each takes one buffer */
    } else if (d.cable.kind != KIND_PAIR && pthread_create(&thread, NULL, sink, &d.cable)) {
        fail("thread");
    }
    find_kick(&d.ring, 200000000);
    cable_prepare(&d.cable, d.length);
    d.first_used = d.ring.used_idx;
    prctl(PR_SET_TIMERSLACK, 1000);
    if (d.rx && d.cable.kind != KIND_TAP && pthread_create(&thread, NULL, source, &d)) {
        fail("thread");
    }
    run(&d);
    return 0;
}

/* ---- what the kernel allows ---------------------------------------------------------------------- */

typedef struct Bound {
    Cable in, out;
    uint64_t packets;
    int room; /* to be polled */
    int cpu;  /* of the thread that sends */
} Bound;

/* count packets of a socket that cuts messages (UDP_SEGMENT): one message. */
static int send_bundle(Bound *b, unsigned count)
{
    struct iovec iov[BOUND_BATCH];
    struct msghdr msg = b->out.msgs[0].msg_hdr;

    count = count * b->out.length > BOUND_BYTES ? BOUND_BYTES / b->out.length : count;
    for (unsigned i = 0; i < count; i++) {
        iov[i] = msg.msg_iov[0];
    }
    msg.msg_iov = iov;
    msg.msg_iovlen = count;
    return sendmsg(b->out.sock, &msg, MSG_DONTWAIT) < 0 ? -1 : (int)count;
}

static void send_datagrams(Bound *b)
{
    struct mmsghdr msgs[BOUND_BATCH];

    for (unsigned i = 0; i < BOUND_BATCH; i++) {
        msgs[i] = b->out.msgs[i % BATCH];
    }
    for (uint64_t left = b->packets; left;) {
        const unsigned count = left < BOUND_BATCH ? (unsigned)left : BOUND_BATCH;
        const int n = b->out.kind == KIND_INET ? send_bundle(b, count) : sendmmsg(b->out.sock, msgs, count, MSG_DONTWAIT);

        if (n < 0 && errno != EAGAIN) {
            fail("sendmmsg");
        }
        if (n < 0) {
            poll(&(struct pollfd){.fd = b->room, .events = POLLOUT}, 1, -1);
        }
        left -= n > 0 ? (uint64_t)n : 0;
        wait_for_room(&b->in, 0, b->packets - left);
    }
}

static void stay_on(int cpu)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    if (sched_setaffinity(0, sizeof one, &one) < 0) {
        fail("sched_setaffinity");
    }
}

static void *send_all(void *opaque)
{
    Bound *b = opaque;

    if (b->cpu >= 0) {
        stay_on(b->cpu);
    }
    if (b->out.kind != KIND_STREAM) {
        send_datagrams(b);
        return NULL;
    }
    for (uint64_t left = b->packets; left;) {
        left -= send_stream(&b->out, left, MSG_DONTWAIT);
    }
    return NULL;
}

static int bound(char **argv)
{
    static Bound b;
    char *back[] = {argv[3], argv[5], argv[4]};
    pthread_t threads[2];
    int64_t start;

    b.packets = strtoull(argv[2], NULL, 0);
    b.cpu = atoi(argv[6]);
    prctl(PR_SET_TIMERSLACK, 1000);
    cable_open(&b.in, argv + 3);
    cable_open(&b.out, back);
    b.in.length = (unsigned)atoi(argv[1]);
    cable_prepare(&b.out, b.in.length);
    b.room = b.out.sock;
    if (b.out.kind == KIND_INET && setsockopt(b.out.sock, IPPROTO_UDP, UDP_SEGMENT, &(int){(int)b.in.length}, sizeof(int)) < 0) {
        fail("UDP_SEGMENT");
    }
    if (b.out.kind == KIND_UNIX) {
        b.room = socket(AF_UNIX, SOCK_DGRAM, 0);
        if (connect(b.room, (struct sockaddr *)&b.out.theirs, b.out.theirs_len) < 0) {
            fail("connect");
        }
    }
    start = now();
    if ((b.in.kind != KIND_PAIR && pthread_create(&threads[0], NULL, sink, &b.in)) || pthread_create(&threads[1], NULL, send_all, &b)) {
        fail("thread");
    }
    if (b.in.kind == KIND_DROP) {
        pthread_join(threads[1], NULL);
        b.in.seen = b.packets;
    }
    while (seen_now(&b.in) < b.packets) {
        idle(50);
        if (b.in.kind == KIND_PAIR) {
            drain(&b.in);
        }
        no_more_than(start, 120, b.in.seen, b.packets);
    }
    printf("%ld %lu 0\n", (long)(now() - start), (unsigned long)b.packets);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 16 && argc != 7) {
        fprintf(stderr, "see the top of the source\n");
        return 2;
    }
    return argc == 7 ? bound(argv) : drive(argv);
}
