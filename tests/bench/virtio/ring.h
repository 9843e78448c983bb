/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A virtio driver's side of a split ring with event indexes, in the RAM of an emulator that runs as another process: the
 * RAM is one of its file descriptors, and so is the eventfd of the notification, so that a notification is what it is
 * under KVM: one write of an eventfd, and nobody else runs.
 */
#ifndef TESTS_BENCH_VIRTIO_RING_H
#define TESTS_BENCH_VIRTIO_RING_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define FDS_MAX 1024
#define CHECKS 4 /* of an eventfd */

typedef struct Ring {
    uint8_t *ram;
    uint64_t desc, avail, used, data; /* addresses in it */
    unsigned num;
    uint16_t avail_idx, used_idx, kicked_idx;
    int kick_fd;
    uint64_t kicks;
    int pid, pidfd;
} Ring;

static inline void fail(const char *what)
{
    perror(what);
    exit(1);
}

static inline int64_t now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static inline uint16_t *u16(Ring *r, uint64_t at) { return (uint16_t *)(void *)(r->ram + at); }
static inline uint16_t used_now(Ring *r) { return __atomic_load_n(u16(r, r->used + 2), __ATOMIC_ACQUIRE); }

static inline void put_desc(Ring *r, unsigned i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
    uint8_t *p = r->ram + r->desc + 16 * (uint64_t)i;

    memcpy(p, &addr, 8);
    memcpy(p + 8, &len, 4);
    memcpy(p + 12, &flags, 2);
    memcpy(p + 14, &next, 2);
}

/* Into the ring, not published yet. */
static inline void put(Ring *r, unsigned head)
{
    *u16(r, r->avail + 4 + 2 * (uint64_t)(r->avail_idx % r->num)) = (uint16_t)head;
    r->avail_idx++;
}

static inline int kick(int fd)
{
    const uint64_t one = 1;

    return write(fd, &one, 8) == 8;
}

static inline void publish(Ring *r)
{
    uint16_t event;

    __atomic_store_n(u16(r, r->avail + 4 + 2 * (uint64_t)r->num), (uint16_t)(r->avail_idx + 0x7000), __ATOMIC_RELAXED);
    __atomic_store_n(u16(r, r->avail + 2), r->avail_idx, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    event = __atomic_load_n(u16(r, r->used + 4 + 8 * (uint64_t)r->num), __ATOMIC_RELAXED);
    if ((uint16_t)(r->avail_idx - event - 1) < (uint16_t)(r->avail_idx - r->kicked_idx)) {
        r->kicks++;
        if (!kick(r->kick_fd)) {
            fail("kick");
        }
    }
    r->kicked_idx = r->avail_idx;
}

/* The head of the next used buffer, which must be there. */
static inline uint32_t take_used(Ring *r)
{
    uint32_t id;

    memcpy(&id, r->ram + r->used + 4 + 8 * (uint64_t)(r->used_idx % r->num), 4);
    r->used_idx++;
    return id;
}

/* Is anything used within ns? */
static inline int used_within(Ring *r, int64_t ns)
{
    for (const int64_t end = now() + ns; used_now(r) == r->used_idx && now() < end;) {
        usleep(100);
    }
    return used_now(r) != r->used_idx;
}

static inline void no_more_than(int64_t start, unsigned seconds, uint64_t done, uint64_t all)
{
    if (now() - start > seconds * 1000000000LL) {
        fprintf(stderr, "the device hangs at %lu of %lu\n", (unsigned long)done, (unsigned long)all);
        exit(1);
    }
}

/* ---- what is the emulator's --------------------------------------------------------------------- */

static inline int get_fd(Ring *r, int fd) { return (int)syscall(SYS_pidfd_getfd, r->pidfd, fd, 0); }

/* args: PID FD RAM-SIZE. */
static inline void ring_open(Ring *r, char **args)
{
    int fd;

    r->kick_fd = -1;
    r->pid = atoi(args[0]);
    r->pidfd = (int)syscall(SYS_pidfd_open, r->pid, 0);
    fd = r->pidfd < 0 ? -1 : get_fd(r, atoi(args[1]));
    if (fd < 0) {
        fail("descriptors of the emulator");
    }
    r->ram = mmap(NULL, strtoull(args[2], NULL, 0), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (r->ram == MAP_FAILED) {
        fail("guest RAM");
    }
}

/* args: DESC AVAIL USED DATA NUM. */
static inline void ring_place(Ring *r, char **args)
{
    r->desc = strtoull(args[0], NULL, 0);
    r->avail = strtoull(args[1], NULL, 0);
    r->used = strtoull(args[2], NULL, 0);
    r->data = strtoull(args[3], NULL, 0);
    r->num = (unsigned)atoi(args[4]);
    r->avail_idx = *u16(r, r->avail + 2);
    r->used_idx = used_now(r);
}

/* Does fd wake the queue within ns: each time, not because its thread looked at the ring by chance, or late? The buffer of
 * head 0, whose fate does not matter, is put into the ring for it; *waiting: it is still there. */
static inline int wakes(Ring *r, int fd, int64_t ns, int *waiting)
{
    for (int times = 0; times < CHECKS; times++) {
        if (!*waiting) {
            put(r, 0);
            __atomic_store_n(u16(r, r->avail + 2), r->avail_idx, __ATOMIC_RELEASE);
            r->kicked_idx = r->avail_idx;
        }
        *waiting = !kick(fd) || !used_within(r, ns);
        if (*waiting) {
            return 0;
        }
        take_used(r);
        usleep(20000); /* a thread that looks at rings before it sleeps has gone to sleep */
    }
    return 1;
}

/* Finds r->kick_fd among the emulator's eventfds. Others are woken for nothing, which they must stand anyhow. */
static inline void find_kick(Ring *r, int64_t ns)
{
    int waiting = 0;

    for (int fd = 3; fd < FDS_MAX; fd++) {
        char path[64], link[64] = {0};
        int copy;

        snprintf(path, sizeof path, "/proc/%d/fd/%d", r->pid, fd);
        if (readlink(path, link, sizeof link - 1) < 0 || strcmp(link, "anon_inode:[eventfd]")) {
            continue;
        }
        copy = get_fd(r, fd);
        if (copy >= 0 && wakes(r, copy, ns, &waiting)) {
            r->kick_fd = copy;
            return;
        }
        close(copy);
    }
    fprintf(stderr, "no eventfd of process %d wakes the queue\n", r->pid);
    exit(1);
}

#endif
