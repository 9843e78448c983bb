/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The least that a program can do for the requests of `tests/bench/images`: what the kernel and the disk leave over for
 * everybody. The same offsets as `qemu-img bench`, no format, nothing between the loop and the kernel.
 *
 *     floor FILE read|old|new SIZE STEP COUNT DEPTH [direct] [sync] [table]
 *     floor FILE copy OTHER
 *     floor FILE read -
 *
 * "new" empties the file before each way. Ways: one thread, two, as many as the depth says, one io_uring. Prints for each
 * how many requests a second it did and its CPU time of each in microseconds. "table": a write to new 64 KiB is followed by one of
 * 4 KiB elsewhere, as a format has to that keeps what is where in the file (one thread only). "copy" and "read" read what the
 * file has in pieces of 64 KiB, and write it to a new one: by one thread, then by two that take 1 MiB in turn, of which one
 * at a time writes. Prints how often a second that could be done, and the CPU time of it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct Work {
    int fd;
    bool is_write;
    bool table;
    size_t size;
    off_t step, file_size;
    long count;
    unsigned depth;
    long next; /* of count: not yet begun */
} Work;

static void check(bool good, const char *what)
{
    if (!good) {
        perror(what);
        exit(1);
    }
}

static void *new_buffer(size_t size)
{
    void *buf = aligned_alloc(4096, size);

    check(buf, "memory");
    memset(buf, 1, size);
    return buf;
}

static off_t offset_of(const Work *w, long n)
{
    return n * w->step % w->file_size;
}

/* ---- ways ------------------------------------------------------------------------------------ */

#define CLUSTER (64 << 10)
#define TABLES (1 << 20) /* where they lie */

/* The write at offset is the first to its cluster, or one of many clusters. */
static bool needs_table(const Work *w, off_t offset)
{
    return w->table && (w->step != (off_t)w->size || offset % CLUSTER == 0);
}

static void *run_thread(void *opaque)
{
    Work *w = opaque;
    void *buf = new_buffer(w->size);
    long n;

    while ((n = __atomic_fetch_add(&w->next, 1, __ATOMIC_RELAXED)) < w->count) {
        ssize_t ret = w->is_write ? pwrite(w->fd, buf, w->size, offset_of(w, n))
                                  : pread(w->fd, buf, w->size, offset_of(w, n));

        check(ret == (ssize_t)w->size, "request");
        if (needs_table(w, offset_of(w, n))) {
            check(pwrite(w->fd, buf, 4096, w->file_size + n * 4096 % TABLES) == 4096, "table");
        }
    }
    free(buf);
    return NULL;
}

static void run_threads(Work *w, unsigned count)
{
    pthread_t threads[count];

    for (unsigned i = 1; i < count; i++) {
        check(pthread_create(&threads[i], NULL, run_thread, w) == 0, "thread");
    }
    run_thread(w);
    for (unsigned i = 1; i < count; i++) {
        pthread_join(threads[i], NULL);
    }
}

static void queue_one(Work *w, struct io_uring *ring, void *buf)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    off_t offset = offset_of(w, w->next++);

    if (w->is_write) {
        io_uring_prep_write(sqe, w->fd, buf, w->size, offset);
    } else {
        io_uring_prep_read(sqe, w->fd, buf, w->size, offset);
    }
    io_uring_sqe_set_data(sqe, buf);
}

static void run_ring(Work *w)
{
    struct io_uring ring;
    long ended = 0;
    char *bufs = new_buffer(w->size * w->depth);

    check(io_uring_queue_init(w->depth, &ring, 0) == 0, "io_uring");
    while (w->next < w->count && w->next < w->depth) {
        queue_one(w, &ring, bufs + w->size * w->next);
    }
    while (ended < w->count) {
        struct io_uring_cqe *cqe;

        check(io_uring_submit_and_wait(&ring, 1) >= 0, "io_uring");
        while (io_uring_peek_cqe(&ring, &cqe) == 0) {
            void *buf = io_uring_cqe_get_data(cqe);

            check(cqe->res == (int)w->size, "request");
            io_uring_cqe_seen(&ring, cqe);
            ended++;
            if (w->next < w->count) {
                queue_one(w, &ring, buf);
            }
        }
    }
    io_uring_queue_exit(&ring);
    free(bufs);
}

/* ---- whole files ----------------------------------------------------------------------------- */

#define PIECE (64 << 10)
#define TURN (1 << 20) /* what a thread reads before it writes, where there are two */

typedef struct Copy {
    int in, out; /* out: -1 to read only */
    off_t size, step;
    off_t next; /* nobody has taken it yet */
    pthread_mutex_t lane;
} Copy;

static void copy_stretch(Copy *c, char *buf, off_t start, off_t end)
{
    for (off_t at = start; at < end; at += PIECE) {
        size_t n = (size_t)(end - at < PIECE ? end - at : PIECE);

        check(pread(c->in, buf + (at - start), n, at) == (ssize_t)n, "read");
    }
    if (c->out < 0) {
        return;
    }
    pthread_mutex_lock(&c->lane);
    for (off_t at = start; at < end; at += PIECE) {
        size_t n = (size_t)(end - at < PIECE ? end - at : PIECE);

        check(pwrite(c->out, buf + (at - start), n, at) == (ssize_t)n, "write");
    }
    pthread_mutex_unlock(&c->lane);
}

static void *run_copy(void *opaque)
{
    Copy *c = opaque;
    char *buf = new_buffer((size_t)c->step);
    off_t start;

    while ((start = __atomic_fetch_add(&c->next, c->step, __ATOMIC_RELAXED)) < c->size) {
        off_t end = start + c->step < c->size ? start + c->step : c->size;
        off_t data = lseek(c->in, start, SEEK_DATA);

        if (data >= 0 && data < end) {
            copy_stretch(c, buf, data, end);
        }
    }
    free(buf);
    return NULL;
}

/* ---- measuring ------------------------------------------------------------------------------- */

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double cpu_us(void)
{
    struct rusage r;

    getrusage(RUSAGE_SELF, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1e6 + (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec);
}

/* threads: 0 for io_uring. */
static void measure(const char *path, int flags, bool is_new, Work w, unsigned threads)
{
    double begin, cpu;
    struct stat st;

    w.fd = open(path, flags);
    check(w.fd >= 0 && fstat(w.fd, &st) == 0, path);
    w.file_size = st.st_size;
    check(!is_new || (ftruncate(w.fd, 0) == 0 && ftruncate(w.fd, st.st_size) == 0), path);
    if (w.table) { /* tables are there */
        void *zeros = new_buffer(TABLES);

        check(pwrite(w.fd, zeros, TABLES, w.file_size) == TABLES && fsync(w.fd) == 0, path);
        free(zeros);
    }
    begin = seconds();
    cpu = cpu_us();
    if (threads) {
        run_threads(&w, threads);
    } else {
        run_ring(&w);
    }
    printf("%u %.0f %.2f\n", threads, (double)w.count / (seconds() - begin), (cpu_us() - cpu) / (double)w.count);
    close(w.fd);
}

/* other: written, or NULL. */
static void measure_copy(const char *path, const char *other, unsigned threads)
{
    Copy c = {.in = open(path, O_RDONLY), .out = -1, .step = threads > 1 ? TURN : PIECE, .lane = PTHREAD_MUTEX_INITIALIZER};
    double begin, cpu;
    pthread_t thread;

    check(c.in >= 0, path);
    c.size = lseek(c.in, 0, SEEK_END);
    if (other) {
        unlink(other);
        c.out = open(other, O_RDWR | O_CREAT, 0600);
        check(c.out >= 0, other);
    }
    begin = seconds();
    cpu = cpu_us();
    if (threads > 1) {
        check(pthread_create(&thread, NULL, run_copy, &c) == 0, "thread");
    }
    run_copy(&c);
    if (threads > 1) {
        pthread_join(thread, NULL);
    }
    printf("%u %.3f %.0f\n", threads, 1 / (seconds() - begin), cpu_us() - cpu);
    close(c.in);
    close(c.out);
}

int main(int argc, char **argv)
{
    int flags = O_RDWR;
    Work w = {0};

    if (argc == 4) {
        measure_copy(argv[1], strcmp(argv[2], "copy") == 0 ? argv[3] : NULL, 1);
        measure_copy(argv[1], strcmp(argv[2], "copy") == 0 ? argv[3] : NULL, 2);
        return 0;
    }
    if (argc < 7) {
        fprintf(stderr, "floor FILE read|old|new SIZE STEP COUNT DEPTH [direct] [sync] [table], or FILE copy OTHER, or FILE read -\n");
        return 1;
    }
    w.is_write = strcmp(argv[2], "read") != 0;
    w.size = strtoul(argv[3], NULL, 10);
    w.step = strtol(argv[4], NULL, 10);
    w.count = strtol(argv[5], NULL, 10);
    w.depth = (unsigned)strtoul(argv[6], NULL, 10);
    for (int i = 7; i < argc; i++) {
        w.table |= strcmp(argv[i], "table") == 0;
        flags |= strcmp(argv[i], "direct") == 0 ? O_DIRECT : strcmp(argv[i], "sync") == 0 ? O_DSYNC : 0;
    }
    for (unsigned i = 0; i < 4; i++) {
        unsigned threads = (unsigned[]){1, 2, w.depth, 0}[i];

        if (i == 0 || (w.depth > 2 && !w.table)) {
            measure(argv[1], flags, strcmp(argv[2], "new") == 0, w, threads);
        }
    }
    return 0;
}
