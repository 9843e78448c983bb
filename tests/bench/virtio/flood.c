/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * flood PID FD RAM-SIZE DESC AVAIL USED DATA NUM KIND LENGTH SECONDS
 *
 * A driver that keeps a queue full, of a ring (ring.h) that was set up before in the RAM of process PID. KIND: 0 has the device
 * fill buffers of LENGTH bytes, 1 gives it such buffers, 2 gives it lists of LENGTH / 4 page numbers, of pages that are touched
 * before, 3 buffers that are such pages, LENGTH / 4 of them. When nothing has come back it sleeps for 50 us.
 * Prints: nanoseconds, buffers.
 */
#include "ring.h"

#define PAGE 4096

enum { FILL, GIVE, LISTS, REPORTS };

typedef struct Flood {
    Ring ring;
    int kind;
    unsigned length;
} Flood;

static uint64_t slot_at(const Flood *f, unsigned s) { return f->ring.data + (uint64_t)s * f->length; }
static uint64_t pages_at(const Flood *f, unsigned s)
{
    return f->ring.data + (uint64_t)f->ring.num * f->length + (uint64_t)s * (f->length / 4) * PAGE;
}

static void submit(Flood *f, unsigned s)
{
    const uint64_t pages = pages_at(f, s);

    for (unsigned i = 0; f->kind >= LISTS && i < f->length / 4; i++) {
        f->ring.ram[pages + (uint64_t)i * PAGE] = 1;
    }
    put(&f->ring, s);
}

static void prepare(Flood *f, unsigned s)
{
    const uint64_t pages = pages_at(f, s);

    if (f->kind == REPORTS) {
        put_desc(&f->ring, s, pages, f->length / 4 * PAGE, 2, 0);
    } else {
        put_desc(&f->ring, s, slot_at(f, s), f->length, f->kind == FILL ? 2 : 0, 0);
    }
    for (unsigned i = 0; f->kind == LISTS && i < f->length / 4; i++) {
        const uint32_t number = (uint32_t)(pages / PAGE) + i;

        memcpy(f->ring.ram + slot_at(f, s) + 4 * (uint64_t)i, &number, 4);
    }
}

int main(int argc, char **argv)
{
    Flood f = {0};
    Ring *r = &f.ring;
    uint64_t done = 0;
    int64_t start, end;

    if (argc != 12) {
        fprintf(stderr, "see the top of the source\n");
        return 2;
    }
    ring_open(r, argv + 1);
    ring_place(r, argv + 4);
    f.kind = atoi(argv[9]);
    f.length = (unsigned)atoi(argv[10]);
    for (unsigned s = 0; s < r->num; s++) {
        prepare(&f, s);
    }
    find_kick(r, 200000000);
    start = now();
    end = start + atol(argv[11]) * 1000000000L;
    for (unsigned s = 0; s < r->num; s++) {
        submit(&f, s);
    }
    publish(r);
    while (now() < end) {
        const uint16_t used = used_now(r);

        if (used == r->used_idx) {
            usleep(50);
            continue;
        }
        for (; r->used_idx != used; done++) {
            submit(&f, take_used(r));
        }
        publish(r);
    }
    printf("%ld %lu\n", (long)(now() - start), (unsigned long)done);
    return 0;
}
