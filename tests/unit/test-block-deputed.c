/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * aio=threads with O_DIRECT, where workers give requests to Linux AIO (block/engine_aio.c, deputed), on files where that
 * is not asynchronous: pipes, whose reads end inside io_submit or wait there as long as the test wants, descriptors that
 * io_submit refuses, and shared memory, where O_DIRECT copies; files that end, or may not grow, within a request; a host that
 * refuses Linux AIO; and who waits for a request that is alone. And requests that the loop's thread gives to the kernel itself
 * (BlockIo.nowait): on pipes, which tell whether they would wait, on files that cannot be asked, on a file with holes, and with a
 * kernel that takes its time: io_submit and clock_gettime are this program's.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <libaio.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "block/file_int.h"

#define LIMIT_US (120 * G_USEC_PER_SEC)
#define READS 20 /* more than two jobs */
#define READ_LEN 16

/* ---- a kernel that takes its time ----------------------------------------------------------- */

static struct {
    int64_t ns; /* by this thread's clock, each time requests are given to the kernel */
    unsigned calls;
} submission;
static __thread int64_t frozen_ns; /* what this thread's clock says; 0: it goes */

/* Instead of the C library's and libaio's. */
int clock_gettime(clockid_t id, struct timespec *ts)
{
    if (!frozen_ns || id != CLOCK_MONOTONIC) {
        return (int)syscall(SYS_clock_gettime, id, ts);
    }
    *ts = (struct timespec){frozen_ns / NSEC_PER_SEC, frozen_ns % NSEC_PER_SEC};
    return 0;
}

int io_submit(io_context_t context, long n, struct iocb **list)
{
    long ret = syscall(SYS_io_submit, context, n, list);

    if (frozen_ns) {
        frozen_ns += submission.ns;
        submission.calls++;
    }
    return ret < 0 ? -errno : (int)ret;
}

/* Until thaw: this thread's clock goes on only while it gives requests to the kernel, by ns each time. */
static void freeze(int64_t ns)
{
    submission.ns = ns;
    submission.calls = 0;
    frozen_ns = clock_monotonic_ns();
}

/* So many times it did. */
static unsigned thaw(void)
{
    frozen_ns = 0;
    return submission.calls;
}

/* ---- the fixture ---------------------------------------------------------------------------- */

typedef struct Fixture {
    Vm *vm;
    BlockLoop *loop;
    BlockEngine *engine;
    int pipe[2];
} Fixture;

typedef struct Request {
    BlockIo io;
    struct iovec iov;
    uint8_t buf[READ_LEN];
    unsigned ended, ran;
    int result;
} Request;

static void setup(Fixture *f, const void *data)
{
    GError *err = NULL;

    (void)data;
    f->vm = vm_new(&err);
    g_assert_no_error(err);
    f->loop = block_loop_main(f->vm);
    f->engine = block_engine(f->loop, BLOCK_AIO_DEPUTED, &err);
    g_assert_no_error(err);
    g_assert_cmpint(pipe(f->pipe), ==, 0);
}

static void teardown(Fixture *f, const void *data)
{
    (void)data;
    close(f->pipe[0]);
    close(f->pipe[1]);
    blk_cleanup(f->vm);
    vm_free(f->vm);
}

/* The host may refuse Linux AIO: then it is the pool of threads. */
static bool is_deputed(const Fixture *f)
{
    if (f->engine == f->loop->engines[BLOCK_AIO_DEPUTED]) {
        return true;
    }
    g_test_skip("no Linux AIO here");
    return false;
}

/* ---- requests of the engine ----------------------------------------------------------------- */

static void request_ended(BlockIo *io, int result)
{
    Request *r = container_of(io, Request, io);

    r->ended++;
    r->result = result;
}

/* What the pool does with a request that the kernel did not take, or did in part. */
static int request_run(BlockIo *io)
{
    Request *r = container_of(io, Request, io);
    const uint64_t pos = io->progress;
    ssize_t n = io->op == BLOCK_WRITE ? pwrite(io->fd, r->buf + pos, io->len - pos, (off_t)(io->offset + pos))
                                      : read(io->fd, r->buf + pos, io->len - pos);

    r->ran++;
    return n < 0 ? -errno : 0;
}

static void request_start(Fixture *f, Request *r, int fd)
{
    r->iov = (struct iovec){r->buf, READ_LEN};
    r->io = (BlockIo){.op = r->io.op, .offset = r->io.offset, .nowait = r->io.nowait, .loop = f->loop, .fd = fd, .len = READ_LEN, .iov = &r->iov, .iov_count = 1,
                      .run = request_run, .finish = request_ended, .engine = f->engine};
    g_assert_true(f->engine->ops->submit(f->engine, &r->io));
}

static unsigned count_ended(const Request *r, unsigned n)
{
    unsigned ended = 0;

    for (unsigned i = 0; i < n; i++) {
        g_assert_cmpuint(r[i].ended, <=, 1);
        ended += r[i].ended;
    }
    return ended;
}

static void wait_for_all(Fixture *f, const Request *r, unsigned n)
{
    int64_t end = g_get_monotonic_time() + LIMIT_US;

    while (count_ended(r, n) < n) {
        g_assert_true(block_loop_wait(f->loop));
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
    g_assert_cmpuint(f->engine->in_flight, ==, 0);
}

static void start_all(Fixture *f, Request *r, unsigned n, int fd)
{
    block_loop_plug(f->loop);
    for (unsigned i = 0; i < n; i++) {
        request_start(f, &r[i], fd);
    }
    block_loop_unplug(f->loop);
}

/* READS * READ_LEN bytes, each READ_LEN of them one letter. */
static void fill_pipe(Fixture *f)
{
    for (unsigned i = 0; i < READS; i++) {
        uint8_t text[READ_LEN];

        memset(text, 'a' + (int)i, sizeof text);
        g_assert_cmpint(write(f->pipe[1], text, sizeof text), ==, (ssize_t)sizeof text);
    }
}

/* Each request got one letter, and no two the same: several workers read, in any order. */
static void check_letters(const Request *r)
{
    unsigned seen = 0;

    for (unsigned i = 0; i < READS; i++) {
        g_assert_cmpint(r[i].result, ==, 0);
        g_assert_cmpuint(r[i].ran, ==, 0);
        for (unsigned k = 1; k < READ_LEN; k++) {
            g_assert_cmpuint(r[i].buf[k], ==, r[i].buf[0]);
        }
        seen |= 1U << (r[i].buf[0] - 'a');
    }
    g_assert_cmpuint(seen, ==, (1U << READS) - 1);
}

/* All end inside io_submit, while it still works on the others of their job. */
static void test_ends_at_once(Fixture *f, const void *data)
{
    (void)data;
    for (unsigned round = 0; is_deputed(f) && round < 50; round++) {
        g_autofree Request *r = g_new0(Request, READS);

        fill_pipe(f);
        start_all(f, r, READS, f->pipe[0]);
        wait_for_all(f, r, READS);
        check_letters(r);
    }
}

/* io_submit waits: whoever submitted does not, other files are served, and what ended is told before the others end. */
static void test_waits_in_submit(Fixture *f, const void *data)
{
    g_autofree Request *r = g_new0(Request, READS);
    Request other = {0};
    int64_t end = g_get_monotonic_time() + LIMIT_US;
    int fd = open("/dev/zero", O_RDONLY);

    (void)data;
    if (is_deputed(f)) {
        start_all(f, r, READS, f->pipe[0]);
        request_start(f, &other, fd);
        while (!other.ended) {
            g_assert_true(block_loop_wait(f->loop));
            g_assert_cmpint(g_get_monotonic_time(), <, end);
        }
        g_assert_cmpint(other.result, ==, 0);
        g_assert_cmpuint(count_ended(r, READS), ==, 0);
        fill_pipe(f);
        wait_for_all(f, r, READS);
        check_letters(r);
        /* Slow ones from now on go singly: the same again, many jobs at once. */
        memset(r, 0, READS * sizeof *r);
        start_all(f, r, READS, f->pipe[0]);
        fill_pipe(f);
        wait_for_all(f, r, READS);
        check_letters(r);
    }
    close(fd);
}

/* The engine goes while a worker is inside io_submit: it waits for that one. */
static void *feed(void *opaque)
{
    fill_pipe(opaque);
    return NULL;
}

static void test_freed_meanwhile(Fixture *f, const void *data)
{
    g_autofree Request *r = g_new0(Request, READS);
    GThread *feeder;

    (void)data;
    if (!is_deputed(f)) {
        return;
    }
    start_all(f, r, READS, f->pipe[0]);
    feeder = g_thread_new("feeder", feed, f);
    f->loop->engines[BLOCK_AIO_DEPUTED] = NULL; /* nobody else frees it */
    f->engine->ops->free(f->engine);
    g_thread_join(feeder);
}

/* One of a job is refused (EBADF): it is done by the pool, as are those behind it, which were not tried. */
static void test_refused(Fixture *f, const void *data)
{
    int zero = open("/dev/zero", O_RDONLY), closed = open("/dev/null", O_WRONLY);

    (void)data;
    for (unsigned bad = 0; is_deputed(f) && bad < BLOCK_ENGINE_BATCH; bad++) {
        g_autofree Request *r = g_new0(Request, READS);

        block_loop_plug(f->loop);
        for (unsigned i = 0; i < BLOCK_ENGINE_BATCH; i++) {
            request_start(f, &r[i], i == bad ? closed : zero);
        }
        block_loop_unplug(f->loop);
        wait_for_all(f, r, BLOCK_ENGINE_BATCH);
        for (unsigned i = 0; i < BLOCK_ENGINE_BATCH; i++) {
            g_assert_cmpint(r[i].result, ==, i == bad ? -EBADF : 0);
            if (i <= bad) { /* those behind it are in its job unless a slow one was before */
                g_assert_cmpuint(r[i].ran, ==, i == bad);
            }
        }
    }
    close(zero);
    close(closed);
}

/* The letters of a file of READS requests, the last of which is cut off after half of it: the pool does the rest. */
static void test_short(Fixture *f, const void *data)
{
    g_autofree Request *r = g_new0(Request, READS);
    int fd = memfd_create("short", MFD_CLOEXEC);
    uint8_t text[READ_LEN];

    (void)data;
    g_assert_cmpint(fd, >=, 0);
    for (unsigned i = 0; i < READS; i++) {
        memset(text, 'a' + (int)i, sizeof text);
        g_assert_cmpint(write(fd, text, i == READS - 1 ? READ_LEN / 2 : READ_LEN), >, 0);
    }
    if (is_deputed(f)) {
        block_loop_plug(f->loop);
        for (unsigned i = 0; i < READS; i++) {
            r[i].io.offset = (uint64_t)i * READ_LEN;
            request_start(f, &r[i], fd);
        }
        block_loop_unplug(f->loop);
        wait_for_all(f, r, READS);
        for (unsigned i = 0; i < READS; i++) {
            g_assert_cmpint(r[i].result, ==, 0);
            g_assert_cmpuint(r[i].ran, ==, i == READS - 1);
            g_assert_cmpuint(r[i].io.progress, ==, i == READS - 1 ? READ_LEN / 2 : 0);
            g_assert_cmpuint(r[i].buf[READ_LEN / 2 - 1], ==, 'a' + i);
        }
    }
    close(fd);
}

/* Writes that reach where the file may not: those before it are written, the one across it in part, the others fail. */
static void test_some_fail(Fixture *f, const void *data)
{
    enum { GOOD = 5 };
    g_autofree Request *r = g_new0(Request, BLOCK_ENGINE_BATCH);
    int fd = memfd_create("small", MFD_CLOEXEC);
    struct rlimit before, small;
    uint8_t text[READ_LEN];

    (void)data;
    signal(SIGXFSZ, SIG_IGN);
    g_assert_cmpint(getrlimit(RLIMIT_FSIZE, &before), ==, 0);
    small = (struct rlimit){GOOD * READ_LEN + READ_LEN / 2, before.rlim_max};
    if (is_deputed(f)) {
        g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &small), ==, 0);
        block_loop_plug(f->loop);
        for (unsigned i = 0; i < BLOCK_ENGINE_BATCH; i++) {
            memset(r[i].buf, 'a' + (int)i, READ_LEN);
            r[i].io.op = BLOCK_WRITE;
            r[i].io.offset = (uint64_t)i * READ_LEN;
            request_start(f, &r[i], fd);
        }
        block_loop_unplug(f->loop);
        wait_for_all(f, r, BLOCK_ENGINE_BATCH);
        g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &before), ==, 0);
        for (unsigned i = 0; i < BLOCK_ENGINE_BATCH; i++) {
            g_assert_cmpint(r[i].result, ==, i < GOOD ? 0 : -EFBIG);
            if (i <= GOOD) {
                g_assert_cmpint(pread(fd, text, READ_LEN, (off_t)i * READ_LEN), ==, i < GOOD ? READ_LEN : READ_LEN / 2);
                g_assert_cmpint(memcmp(text, r[i].buf, READ_LEN / 2), ==, 0);
            }
        }
    }
    close(fd);
}

/* ---- requests that shall not wait ------------------------------------------------------------- */

static void start_nowait(Fixture *f, Request *r, unsigned n, BlockNowait *nowait)
{
    for (unsigned i = 0; i < n; i++) {
        r[i].io.nowait = nowait;
    }
    start_all(f, r, n, f->pipe[0]);
}

static unsigned count_threads(void)
{
    GDir *dir = g_dir_open("/proc/self/task", 0, NULL);
    unsigned n = 0;

    while (dir && g_dir_read_name(dir)) {
        n++;
    }
    g_dir_close(dir);
    return n;
}

/* What the kernel can do at once needs no worker. */
static void test_nowait(Fixture *f, const void *data)
{
    const unsigned threads = count_threads();
    BlockNowait nowait = {0};

    (void)data;
    for (unsigned round = 0; is_deputed(f) && round < 50; round++) {
        g_autofree Request *r = g_new0(Request, READS);

        fill_pipe(f);
        start_nowait(f, r, READS, &nowait);
        wait_for_all(f, r, READS);
        check_letters(r);
        if (nowait.skip == BLOCK_NOWAIT_NEVER) {
            g_test_skip("pipes cannot be asked here");
            return;
        }
        if (nowait.next == 0) { /* else this thread was not let run, which took it too long */
            g_assert_cmpuint(count_threads(), ==, threads);
        }
    }
}

/* The kernel would wait: workers do, others are served meanwhile, and nobody sees the error. The next ones are not tried. */
static void test_nowait_waits(Fixture *f, const void *data)
{
    g_autofree Request *r = g_new0(Request, READS);
    int64_t end = g_get_monotonic_time() + LIMIT_US;
    int fd = open("/dev/zero", O_RDONLY);
    BlockNowait nowait = {0};

    (void)data;
    for (unsigned round = 0; is_deputed(f) && round < 20; round++) {
        Request other = {0};

        memset(r, 0, READS * sizeof *r);
        nowait = (BlockNowait){0};
        start_nowait(f, r, READS, &nowait);
        request_start(f, &other, fd);
        while (!other.ended) {
            g_assert_true(block_loop_wait(f->loop));
            g_assert_cmpint(g_get_monotonic_time(), <, end);
        }
        g_assert_cmpint(other.result, ==, 0);
        fill_pipe(f);
        wait_for_all(f, r, READS);
        check_letters(r);
        g_assert_cmpuint(nowait.skip, !=, 0);
    }
    close(fd);
}

/* One that is alone is waited for by a worker then, and so is the rest of one that was done in part. */
static void test_nowait_alone(Fixture *f, const void *part)
{
    const unsigned before = part ? READ_LEN / 2 : 0;
    uint8_t text[READ_LEN];

    memset(text, 'x', sizeof text);
    for (unsigned round = 0; is_deputed(f) && round < 20; round++) {
        BlockNowait nowait = {0};
        Request r = {.io = {.nowait = &nowait}};

        g_assert_cmpint(write(f->pipe[1], text, before), ==, before);
        request_start(f, &r, f->pipe[0]);
        while (f->engine->in_flight) { /* until a worker has it */
            g_assert_true(block_loop_wait(f->loop));
        }
        g_assert_cmpint(write(f->pipe[1], text, READ_LEN - before), ==, READ_LEN - before);
        if (nowait.skip == BLOCK_NOWAIT_NEVER) {
            wait_for_all(f, &r, 1);
            g_test_skip("pipes cannot be asked here");
            return;
        }
        g_assert_cmpuint(r.ended, ==, 0);
        g_assert_cmpuint(r.io.progress, ==, before);
        wait_for_all(f, &r, 1);
        g_assert_cmpint(r.result, ==, 0);
        g_assert_cmpuint(r.ran, ==, 1);
        g_assert_cmpint(memcmp(r.buf, text, READ_LEN), ==, 0);
    }
}

/* A file that the kernel knows no such requests of is not asked again. */
static void test_nowait_unknown(Fixture *f, const void *data)
{
    int fd = memfd_create("memory", MFD_CLOEXEC), direct = open("/dev/null", O_WRONLY);
    BlockNowait nowait = {0};

    (void)data;
    g_assert_cmpint(ftruncate(fd, READ_LEN), ==, 0);
    for (unsigned count = 1; is_deputed(f) && count <= READS; count++) {
        g_autofree Request *r = g_new0(Request, READS);

        nowait = (BlockNowait){0};
        block_loop_plug(f->loop);
        for (unsigned i = 0; i < count; i++) {
            r[i].io.nowait = &nowait;
            request_start(f, &r[i], i == 5 ? direct : fd); /* EBADF */
        }
        block_loop_unplug(f->loop);
        wait_for_all(f, r, count);
        for (unsigned i = 0; i < count; i++) {
            g_assert_cmpint(r[i].result, ==, i == 5 ? -EBADF : 0);
        }
    }
    close(fd);
    close(direct);
}

/* ---- requests whose submission takes long ------------------------------------------------------ */

#define LONG_NS 50000 /* what it may take, and a 16th of a nanosecond each byte */
#define LONG_READ 32768
#define TOGETHER_MAX 3

/* So many reads of len bytes, given to the kernel at once, which takes ns for it. False: it cannot be asked. */
static bool submit_in(Fixture *f, BlockNowait *nowait, unsigned count, unsigned len, int64_t ns)
{
    static uint8_t bufs[TOGETHER_MAX][LONG_READ];
    struct iovec iov[TOGETHER_MAX];
    Request r[TOGETHER_MAX] = {0};

    for (unsigned i = 0; i < count; i++) {
        g_assert_cmpint(write(f->pipe[1], bufs[i], len), ==, len);
    }
    freeze(ns);
    block_loop_plug(f->loop);
    for (unsigned i = 0; i < count; i++) {
        iov[i] = (struct iovec){bufs[i], len};
        r[i].io = (BlockIo){.nowait = nowait, .loop = f->loop, .fd = f->pipe[0], .len = len, .iov = &iov[i], .iov_count = 1,
                            .run = request_run, .finish = request_ended, .engine = f->engine};
        g_assert_true(f->engine->ops->submit(f->engine, &r[i].io));
    }
    block_loop_unplug(f->loop);
    g_assert_cmpuint(thaw(), ==, 1);
    wait_for_all(f, r, count);
    return nowait->skip != BLOCK_NOWAIT_NEVER;
}

static void check_judgement(const BlockNowait *n, unsigned skip, unsigned next)
{
    g_assert_cmpuint(n->skip, ==, skip);
    g_assert_cmpuint(n->next, ==, next);
}

/* One that took long counts as one that would have waited: the second one in a row leaves the next ones to workers, more and more. */
static void test_long(Fixture *f, const void *data)
{
    BlockNowait n = {0};

    (void)data;
    if (!is_deputed(f)) {
        return;
    }
    if (!submit_in(f, &n, 1, READ_LEN, LONG_NS + READ_LEN / 16)) {
        g_test_skip("pipes cannot be asked here");
        return;
    }
    check_judgement(&n, 0, 0);
    submit_in(f, &n, 1, READ_LEN, LONG_NS + READ_LEN / 16 + 1);
    check_judgement(&n, 0, 1); /* and its end is no success */
    submit_in(f, &n, 1, READ_LEN, 10 * LONG_NS);
    check_judgement(&n, 1, 3);
    submit_in(f, &n, 1, READ_LEN, 10 * LONG_NS); /* was given before the last one: says nothing new */
    check_judgement(&n, 1, 3);
    for (unsigned skip = 3; skip < 256; skip = 2 * skip + 1) {
        n.skip = 0; /* so many went to workers */
        submit_in(f, &n, 1, READ_LEN, 10 * LONG_NS);
        check_judgement(&n, skip, MIN(2 * skip + 1, 256));
    }
    for (unsigned next = 128; next; next /= 2) {
        n.skip = 0;
        submit_in(f, &n, 1, READ_LEN, 0);
        check_judgement(&n, 0, next);
    }
}

/* What may take longer: long requests, and several of them. */
static void test_long_allowed(Fixture *f, const void *data)
{
    BlockNowait n = {0};

    (void)data;
    if (!is_deputed(f)) {
        return;
    }
    if (!submit_in(f, &n, 1, LONG_READ, LONG_NS + LONG_READ / 16)) {
        g_test_skip("pipes cannot be asked here");
        return;
    }
    check_judgement(&n, 0, 0);
    submit_in(f, &n, 1, LONG_READ, LONG_NS + LONG_READ / 16 + 1);
    check_judgement(&n, 0, 1);
    n.next = 0;
    submit_in(f, &n, 3, READ_LEN, 3 * (LONG_NS + READ_LEN / 16));
    check_judgement(&n, 0, 0);
    submit_in(f, &n, 3, READ_LEN, 3 * (LONG_NS + READ_LEN / 16) + 1); /* any of them may have been it: all were */
    check_judgement(&n, 1, 3);
}

/* ---- a file whose AIO is synchronous --------------------------------------------------------- */

#define DISK_SIZE (2 * MIB)
#define BLOCK 4096
#define DEPTH 32

typedef struct Disk {
    BlockNode *node;
    uint8_t *model, *buf; /* DISK_SIZE; DEPTH blocks */
    BlockIo io[DEPTH];
    struct iovec iov[DEPTH];
    bool busy[DEPTH], in_use[DISK_SIZE / BLOCK];
    unsigned in_flight, left;
    GRand *rand;
} Disk;

static Disk disk;

static void disk_done(BlockIo *io, int result)
{
    const unsigned i = (unsigned)(io - disk.io);

    g_assert_cmpint(result, ==, 0);
    if (io->op == BLOCK_READ) {
        g_assert_cmpint(memcmp(disk.buf + (size_t)i * BLOCK, disk.model + io->offset, BLOCK), ==, 0);
    }
    disk.in_use[io->offset / BLOCK] = disk.busy[i] = false;
    disk.in_flight--;
    disk.node->extern_flight--;
}

/* A block that no other request is at, read or written anew. */
static void disk_start(unsigned i)
{
    unsigned block;

    do {
        block = (unsigned)g_rand_int_range(disk.rand, 0, DISK_SIZE / BLOCK);
    } while (disk.in_use[block]);
    disk.in_use[block] = disk.busy[i] = true;
    disk.iov[i] = (struct iovec){disk.buf + (size_t)i * BLOCK, BLOCK};
    disk.io[i] = (BlockIo){.op = g_rand_boolean(disk.rand) ? BLOCK_READ : BLOCK_WRITE, .offset = (uint64_t)block * BLOCK,
                           .len = BLOCK, .iov = &disk.iov[i], .iov_count = 1, .done = disk_done};
    if (disk.io[i].op == BLOCK_WRITE) {
        disk.io[i].fua = g_rand_int_range(disk.rand, 0, 16) == 0;
        memset(disk.iov[i].iov_base, g_rand_int_range(disk.rand, 1, 256), BLOCK);
        memcpy(disk.model + disk.io[i].offset, disk.iov[i].iov_base, BLOCK);
    }
    disk.in_flight++;
    disk.node->extern_flight++; /* drains wait for it */
    disk.left--;
    block_node_submit(disk.node, &disk.io[i]);
}

static void disk_drain(void)
{
    block_drain_begin(disk.node);
    g_assert_cmpuint(disk.in_flight, ==, 0);
    block_drain_end(disk.node);
}

/* Now and then all is waited for in the midst of it. */
static void disk_run(BlockLoop *loop, unsigned count)
{
    int64_t end = g_get_monotonic_time() + LIMIT_US;

    for (disk.left = count; disk.left || disk.in_flight;) {
        block_loop_plug(loop);
        for (unsigned i = 0; i < DEPTH && disk.left; i++) {
            if (!disk.busy[i]) {
                disk_start(i);
            }
        }
        block_loop_unplug(loop);
        if (g_rand_int_range(disk.rand, 0, 64) == 0) {
            disk_drain();
        } else {
            g_assert_true(block_loop_wait(loop));
        }
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
}

/* A disk in this directory, served as any other file with O_DIRECT is (shared memory: Linux 6.6); false: not here. */
static bool disk_open_in(Fixture *f, const char *where)
{
    g_autofree char *path = g_build_filename(where, "kiln-deputed-XXXXXX", NULL);
    int fd = mkstemp(path), direct;
    g_autofree char *options = g_strdup_printf("file=%s,if=none,format=raw,cache=none", path);
    GError *err = NULL;
    DriveInfo *info = NULL;
    FileState *state;

    if (fd < 0) {
        g_test_skip("nothing can be written there");
        return false;
    }
    g_assert_cmpint(ftruncate(fd, DISK_SIZE), ==, 0);
    close(fd);
    direct = open(path, O_RDWR | O_DIRECT);
    if (direct < 0) {
        g_unlink(path);
        g_test_skip("no O_DIRECT there");
        return false;
    }
    close(direct);
    blk_add_drive(f->vm, options, NULL, &info, &err);
    g_unlink(path);
    g_assert_no_error(err);
    disk = (Disk){.node = blk_node(info->blk)->file->node, .model = g_malloc0(DISK_SIZE),
                  .rand = g_rand_new_with_seed(5), .buf = g_aligned_alloc(DEPTH, BLOCK, BLOCK)};
    state = disk.node->state;
    state->in_memory = false;
    state->engine = f->engine;
    return true;
}

static bool disk_open(Fixture *f) { return disk_open_in(f, "/dev/shm"); }

static void disk_close(void)
{
    g_assert_cmpuint(disk.node->size, ==, DISK_SIZE);
    g_free(disk.model);
    g_aligned_free(disk.buf);
    g_rand_free(disk.rand);
}

static void test_shared_memory(Fixture *f, const void *data)
{
    (void)data;
    if (is_deputed(f) && disk_open(f)) {
        disk_run(f->loop, 20000);
        disk_close();
    }
}

/* Blocks that are there, holes, and what becomes one again: some writes have to wait, others not. */
static void test_holes(Fixture *f, const void *data)
{
    const FileState *state;

    (void)data;
    if (!is_deputed(f) || !disk_open_in(f, g_get_tmp_dir())) {
        return;
    }
    state = disk.node->state;
    for (unsigned round = 0; round < 20; round++) {
        const unsigned at = round * 7919 % 400 * BLOCK, len = 100 * BLOCK;

        if (fallocate(state->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, len) == 0) {
            memset(disk.model + at, 0, len);
        }
        disk_run(f->loop, 200);
        disk_drain();
    }
    disk_close();
}

/* One read whose submission takes so long, where it is this thread's. Was it? */
static bool read_here(Fixture *f, int64_t ns)
{
    unsigned calls;

    disk.iov[0] = (struct iovec){disk.buf, BLOCK};
    disk.io[0] = (BlockIo){.op = BLOCK_READ, .len = BLOCK, .iov = &disk.iov[0], .iov_count = 1, .done = disk_done};
    disk.in_use[0] = disk.busy[0] = true;
    disk.in_flight++;
    disk.node->extern_flight++;
    freeze(ns);
    block_node_submit(disk.node, &disk.io[0]);
    calls = thaw();
    disk_drain();
    while (!block_loop_is_idle(f->loop)) {
        g_assert_true(block_loop_wait(f->loop));
    }
    return calls;
}

/* Who gives a file's reads to the kernel, while that takes long, and when it does no more. */
static void test_long_file(Fixture *f, const void *data)
{
    static const char slow[] = "hhwhwwwhwwwwwwwhw", quick[] = "wwwwwwwwwwwwwwhhhhhh";
    const FileState *state;

    (void)data;
    if (!is_deputed(f) || !disk_open_in(f, g_get_tmp_dir())) {
        return;
    }
    state = disk.node->state;
    for (unsigned i = 0; i < 10; i++) {
        if (!read_here(f, 0) || state->nowait[0].next) {
            g_test_skip("the file system there does not read at once");
            disk_close();
            return;
        }
    }
    for (unsigned i = 0; slow[i]; i++) { /* here or a worker */
        g_assert_cmpint(read_here(f, 10 * LONG_NS) ? 'h' : 'w', ==, slow[i]);
    }
    for (unsigned i = 0; quick[i]; i++) {
        g_assert_cmpint(read_here(f, 0) ? 'h' : 'w', ==, quick[i]);
    }
    g_assert_cmpuint(state->nowait[0].next, ==, 0);
    disk_close();
}

/* What ran each of count requests, all submitted at once, is told by the engine that it is in. */
static void check_engines(Fixture *f, BlockAio kind, unsigned count, bool plugged, bool waited_for)
{
    GError *err = NULL;
    FileState *state = disk.node->state;
    BlockEngine *engine = block_engine(f->loop, kind, &err), *threads = f->loop->engines[BLOCK_AIO_THREADS];

    g_assert_no_error(err);
    if (engine != f->loop->engines[kind]) {
        return; /* the host refuses it */
    }
    state->engine = engine;
    if (plugged) {
        block_loop_plug(f->loop);
    }
    disk.left = count;
    for (unsigned i = 0; i < count; i++) {
        disk_start(i);
    }
    if (plugged) {
        block_loop_unplug(f->loop);
    }
    for (unsigned i = 0; i < count; i++) {
        g_assert_true(disk.io[i].engine == (waited_for && i == 0 ? threads : engine));
    }
    disk_drain();
    while (!block_loop_is_idle(f->loop)) { /* jobs, whose requests have ended */
        g_assert_true(block_loop_wait(f->loop));
    }
}

/* A request that is alone is waited for: by a worker, or in a tool by its thread, whatever engine it asked for. One of
 * several that come together is not. */
static void test_alone(Fixture *f, const void *lone)
{
    f->loop->lone = lone;
    if (!is_deputed(f) || !disk_open(f)) {
        return;
    }
    for (unsigned round = 0; round < 20; round++) {
        check_engines(f, BLOCK_AIO_DEPUTED, 1, false, true);
        check_engines(f, BLOCK_AIO_DEPUTED, 3, false, true);
        check_engines(f, BLOCK_AIO_DEPUTED, 1, true, true);
        check_engines(f, BLOCK_AIO_IO_URING, 1, round & 1, lone);
        check_engines(f, BLOCK_AIO_NATIVE, 1, round & 1, lone);
    }
    disk_close();
}

/* ---- a host without Linux AIO ----------------------------------------------------------------- */

/* io_setup fails in this process from now on, as where all contexts are in use (aio-max-nr). */
static bool refuse_io_setup(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAGAIN),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {G_N_ELEMENTS(filter), filter};

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* It says nothing and does the same with workers that wait. */
static void test_no_aio(void)
{
    Fixture f = {0};

    if (!g_test_subprocess()) {
        g_test_trap_subprocess(NULL, LIMIT_US, G_TEST_SUBPROCESS_DEFAULT);
        g_test_trap_assert_passed();
        g_test_trap_assert_stderr("");
        return;
    }
    if (!refuse_io_setup()) {
        return;
    }
    setup(&f, NULL);
    g_assert_null(f.loop->engines[BLOCK_AIO_DEPUTED]);
    g_assert_true(f.engine == f.loop->engines[BLOCK_AIO_THREADS]);
    if (disk_open(&f)) {
        disk_run(f.loop, 2000);
        disk_close();
    }
    teardown(&f, NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/block/deputed/ends-at-once", Fixture, NULL, setup, test_ends_at_once, teardown);
    g_test_add("/block/deputed/waits-in-submit", Fixture, NULL, setup, test_waits_in_submit, teardown);
    g_test_add("/block/deputed/freed-meanwhile", Fixture, NULL, setup, test_freed_meanwhile, teardown);
    g_test_add("/block/deputed/refused", Fixture, NULL, setup, test_refused, teardown);
    g_test_add("/block/deputed/short", Fixture, NULL, setup, test_short, teardown);
    g_test_add("/block/deputed/some-fail", Fixture, NULL, setup, test_some_fail, teardown);
    g_test_add("/block/deputed/nowait", Fixture, NULL, setup, test_nowait, teardown);
    g_test_add("/block/deputed/nowait-waits", Fixture, NULL, setup, test_nowait_waits, teardown);
    g_test_add("/block/deputed/nowait-alone", Fixture, NULL, setup, test_nowait_alone, teardown);
    g_test_add("/block/deputed/nowait-part", Fixture, "", setup, test_nowait_alone, teardown);
    g_test_add("/block/deputed/nowait-unknown", Fixture, NULL, setup, test_nowait_unknown, teardown);
    g_test_add("/block/deputed/long", Fixture, NULL, setup, test_long, teardown);
    g_test_add("/block/deputed/long-allowed", Fixture, NULL, setup, test_long_allowed, teardown);
    g_test_add("/block/deputed/long-file", Fixture, NULL, setup, test_long_file, teardown);
    g_test_add("/block/deputed/holes", Fixture, NULL, setup, test_holes, teardown);
    g_test_add("/block/deputed/alone", Fixture, NULL, setup, test_alone, teardown);
    g_test_add("/block/deputed/alone-in-tool", Fixture, "", setup, test_alone, teardown);
    g_test_add_func("/block/deputed/no-aio", test_no_aio);
    g_test_add("/block/deputed/shared-memory", Fixture, NULL, setup, test_shared_memory, teardown);
    return g_test_run();
}
