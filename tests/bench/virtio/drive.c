/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * drive PID FD RAM-SIZE DESC AVAIL USED DATA NUM DEPTH REQUESTS LENGTH SECTORS SCSI REST KIND
 *
 * A driver of virtio-blk (SCSI 0) or virtio-scsi (1) for benchmarks: DEPTH requests on their way, on a ring (ring.h) that
 * was set up before, in the RAM of process PID. KIND: 0 reads from anywhere, 1 reads in order, 2 writes in order. When
 * nothing has come it spins, or sleeps for REST microseconds.
 * Prints: nanoseconds, requests, notifications.
 */
#include "ring.h"

#define HEAD 4096 /* of a slot of DATA: header, status or response; then data */
#define BLK_STATUS 16
#define BLK_WRITE 1
#define WRITE_10 0x2a
#define SCSI_HEADER 51
#define SCSI_CDB 19
#define SCSI_RESPONSE 64
#define SCSI_RESPONSE_SIZE 108

enum { RANDOM_READ, READ_ON, WRITE_ON };

typedef struct Drive {
    Ring ring;
    unsigned length;
    int scsi;
    struct timespec rest;
    uint64_t sectors;
    uint32_t random;
    int kind;
    uint64_t next;          /* sector, where it goes in order */
} Drive;

/* ---- requests ------------------------------------------------------------------------------- */

static uint64_t slot_at(const Drive *d, unsigned s) { return d->ring.data + (uint64_t)s * (HEAD + d->length); }

static uint64_t next_sector(Drive *d)
{
    const unsigned per = d->length / 512;
    uint64_t sector = d->next;

    if (d->kind == RANDOM_READ) {
        d->random = d->random * 1664525 + 1013904223;
        return (uint64_t)(d->random >> 8) % (d->sectors / per) * per;
    }
    d->next = sector + 2 * per <= d->sectors ? sector + per : 0;
    return sector;
}

/* Request slot s: descriptors 3s to 3s + 2. */
static void submit(Drive *d, unsigned s)
{
    uint8_t *p = d->ring.ram + slot_at(d, s);
    const uint32_t type = d->kind == WRITE_ON ? BLK_WRITE : 0;
    const uint64_t sector = next_sector(d);

    if (d->scsi) { /* READ (10), WRITE (10) */
        const uint32_t lba = __builtin_bswap32((uint32_t)sector);

        memcpy(p + SCSI_CDB + 2, &lba, 4);
    } else {
        memcpy(p, &type, 4);
        memcpy(p + 8, &sector, 8);
    }
    put(&d->ring, 3 * s);
}

static int is_good(const uint8_t *p, int scsi) { return scsi ? !p[SCSI_RESPONSE + 10] && !p[SCSI_RESPONSE + 11] : !p[BLK_STATUS]; }

static void run(Drive *d, unsigned depth, uint64_t requests)
{
    Ring *r = &d->ring;
    uint64_t submitted = 0, done = 0;
    const int64_t start = now();

    for (; submitted < depth && submitted < requests; submitted++) {
        submit(d, (unsigned)submitted);
    }
    publish(r);
    while (done < requests) {
        const uint16_t end = used_now(r);
        const uint16_t before = r->avail_idx;

        if (end == r->used_idx) {
            if (d->rest.tv_nsec) {
                nanosleep(&d->rest, NULL);
            } else {
                __builtin_ia32_pause();
            }
            no_more_than(start, 300, done, requests);
            continue;
        }
        while (r->used_idx != end) {
            const unsigned slot = take_used(r) / 3;

            if (!is_good(r->ram + slot_at(d, slot), d->scsi)) {
                fprintf(stderr, "a request of slot %u failed\n", slot);
                exit(1);
            }
            done++;
            if (submitted < requests) {
                submit(d, slot);
                submitted++;
            }
        }
        if (r->avail_idx != before) {
            publish(r);
        }
    }
    printf("%ld %lu %lu\n", (long)(now() - start), (unsigned long)requests, (unsigned long)r->kicks);
}

/* Three descriptors; what stays the same of a request. */
static void prepare(Drive *d, unsigned s)
{
    Ring *r = &d->ring;
    const uint64_t at = slot_at(d, s);
    const int writes = d->kind == WRITE_ON;
    uint8_t *p = r->ram + at;

    memset(p, 0, HEAD);
    if (d->scsi) {
        p[0] = 1; /* target 0, unit 0 */
        p[2] = 0x40;
        p[SCSI_CDB] = writes ? WRITE_10 : 0x28;
        p[SCSI_CDB + 8] = (uint8_t)(d->length / 512);
        put_desc(r, 3 * s, at, SCSI_HEADER, 1, (uint16_t)(3 * s + 1));
        if (writes) {
            put_desc(r, 3 * s + 1, at + HEAD, d->length, 1, (uint16_t)(3 * s + 2));
            put_desc(r, 3 * s + 2, at + SCSI_RESPONSE, SCSI_RESPONSE_SIZE, 2, 0);
            return;
        }
        put_desc(r, 3 * s + 1, at + SCSI_RESPONSE, SCSI_RESPONSE_SIZE, 3, (uint16_t)(3 * s + 2));
        put_desc(r, 3 * s + 2, at + HEAD, d->length, 2, 0);
    } else {
        put_desc(r, 3 * s, at, 16, 1, (uint16_t)(3 * s + 1));
        put_desc(r, 3 * s + 1, at + HEAD, d->length, writes ? 1 : 3, (uint16_t)(3 * s + 2));
        put_desc(r, 3 * s + 2, at + BLK_STATUS, 1, 2, 0);
    }
}

int main(int argc, char **argv)
{
    Drive d = {.random = 1};
    unsigned depth;

    if (argc != 16) {
        fprintf(stderr, "see the top of the source\n");
        return 2;
    }
    ring_open(&d.ring, argv + 1);
    ring_place(&d.ring, argv + 4);
    depth = (unsigned)atoi(argv[9]);
    d.length = (unsigned)atoi(argv[11]);
    d.sectors = strtoull(argv[12], NULL, 0);
    d.scsi = atoi(argv[13]);
    d.rest.tv_nsec = atol(argv[14]) * 1000;
    d.kind = atoi(argv[15]);
    for (unsigned s = 0; s < depth; s++) {
        prepare(&d, s);
    }
    find_kick(&d.ring, 200000000); /* a SCSI disk's first request tells of the reset */
    run(&d, depth, strtoull(argv[10], NULL, 0));
    return 0;
}
