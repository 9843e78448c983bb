/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * console PID FD RAM-SIZE DESC AVAIL USED DATA NUM KIND SOCKET COUNT REST
 *
 * How long one byte takes through a console, of a ring (ring.h) that was set up before in the RAM of process PID; SOCKET is the
 * other end of its character device. KIND: 0 from the socket to the used ring, 1 from the notification to the socket, 2 from the
 * notification to the used ring.
 * REST: microseconds from one byte to the next.
 * Prints: nanoseconds, median and 99 %.
 */
#include <sys/socket.h>

#include "ring.h"

enum { TO_GUEST, FROM_GUEST, BACK };
#define FIRST 40 /* bytes that find_kick may use */

static void give(Ring *r)
{
    put(r, 0);
    publish(r);
}

static void wait_used(Ring *r)
{
    while (used_now(r) == r->used_idx) {
    }
    take_used(r);
}

static int64_t once(Ring *r, int kind, int fd, useconds_t rest)
{
    int64_t start;
    char byte = 0;

    if (kind == TO_GUEST) {
        give(r);
        usleep(rest); /* the buffer has arrived, and all sleep */
        start = now();
        if (write(fd, &byte, 1) != 1) {
            fail("write");
        }
        wait_used(r);
        return now() - start;
    }
    usleep(rest);
    start = now();
    give(r);
    if (kind == BACK) {
        wait_used(r);
        start = now() - start;
        return read(fd, &byte, 1) == 1 ? start : 0;
    }
    if (read(fd, &byte, 1) != 1) {
        fail("read");
    }
    start = now() - start;
    wait_used(r);
    return start;
}

static int compare(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
    char bytes[FIRST] = {0};
    Ring r = {0};
    int kind, fd, count;
    int64_t *times;

    if (argc != 13) {
        fprintf(stderr, "see the top of the source\n");
        return 2;
    }
    ring_open(&r, argv + 1);
    ring_place(&r, argv + 4);
    kind = atoi(argv[9]);
    fd = atoi(argv[10]);
    count = atoi(argv[11]);
    put_desc(&r, 0, r.data, 1, kind == TO_GUEST ? 2 : 0, 0);
    if (kind == TO_GUEST && write(fd, bytes, sizeof bytes) != sizeof bytes) {
        fail("write");
    }
    find_kick(&r, 200000000);
    if (kind == TO_GUEST) {
        while (r.used_idx < FIRST) {
            give(&r);
            wait_used(&r);
        }
    } else {
        while (recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0) {
        }
    }
    times = calloc((size_t)count, sizeof *times);
    for (int i = 0; i < count; i++) {
        times[i] = once(&r, kind, fd, (useconds_t)atoi(argv[12]));
    }
    qsort(times, (size_t)count, sizeof *times, compare);
    printf("%ld %ld\n", (long)times[count / 2], (long)times[count * 99 / 100]);
    return 0;
}
