/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The engines of block/: how many requests they hold back, how many workers they have, as the loop's user wants it. */
#include <dirent.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <semaphore.h>
#include <unistd.h>

#include "block/block_int.h"

#define REQUESTS 48
#define READ_BATCH 16 /* of short reads, at most */

typedef struct Fixture {
    Vm *vm;
} Fixture;

static void setup(Fixture *f, const void *data)
{
    GError *err = NULL;

    (void)data;
    f->vm = vm_new(&err);
    g_assert_no_error(err);
}

static void teardown(Fixture *f, const void *data)
{
    (void)data;
    blk_cleanup(f->vm);
    vm_free(f->vm);
}

static unsigned ended;

static void count(BlockIo *io, int result)
{
    (void)io;
    g_assert_cmpint(result, >=, 0);
    ended++;
}

/* ---- batches ------------------------------------------------------------------------------------- */

typedef struct Reads {
    BlockIo io[REQUESTS];
    struct iovec iov;
    _Alignas(4096) uint8_t buf[64 * KIB];
    int fd;
} Reads;

static void submit(BlockEngine *engine, Reads *r, unsigned n, BlockOp op, size_t len, unsigned batch)
{
    r->iov = (struct iovec){r->buf, len};
    r->io[n] = (BlockIo){.op = op, .len = len, .iov = &r->iov, .iov_count = 1, .fd = r->fd, .engine = engine,
                         .finish = count, .batch = batch};
    g_assert_true(engine->ops->submit(engine, &r->io[n]));
}

/* While the loop is plugged, requests are held back until there are so many: before that none can end. */
static void check_batch(BlockEngine *engine, Reads *r, BlockOp op, size_t len, unsigned of_file, unsigned expected)
{
    ended = 0;
    block_loop_plug(engine->loop);
    for (unsigned n = 0; n < expected; n++) {
        g_assert_cmpuint(ended, ==, 0);
        submit(engine, r, n, op, len, of_file);
        for (unsigned i = 0; n + 1 < expected && i < 50; i++) {
            engine->ops->poll(engine);
        }
    }
    while (ended < expected) {
        engine->ops->poll(engine);
    }
    block_loop_unplug(engine->loop);
}

/* Short reads: of so many, as many are given to the kernel, none of which has ended for the loop. */
static void check_growth(BlockEngine *engine, Reads *r, unsigned many, unsigned expected)
{
    ended = 0;
    block_loop_plug(engine->loop);
    for (unsigned n = 0; n < many; n++) {
        submit(engine, r, n, BLOCK_READ, 4096, 0);
    }
    while (ended < expected) {
        engine->ops->poll(engine);
    }
    for (unsigned i = 0; i < 50; i++) {
        engine->ops->poll(engine);
    }
    g_assert_cmpuint(ended, ==, expected);
    block_loop_unplug(engine->loop);
    while (ended < many) {
        engine->ops->poll(engine);
    }
}

static void test_batch(Fixture *f, const void *data)
{
    BlockAio kind = (BlockAio)GPOINTER_TO_INT(data);
    g_autofree Reads *r = aligned_alloc(4096, align_up(sizeof *r, 4096));
    BlockEngine *engine;
    char path[] = "test-block-engines-XXXXXX";

    memset(r, 0, sizeof *r);
    r->fd = g_mkstemp(path);
    g_assert_cmpint(r->fd, >=, 0);
    g_unlink(path);
    g_assert_cmpint(ftruncate(r->fd, sizeof r->buf), ==, 0);
    engine = block_engine(block_loop_main(f->vm), kind, NULL);
    if (engine == block_engine(engine->loop, BLOCK_AIO_THREADS, NULL)) {
        g_test_skip("this host does not have that engine");
    } else {
        check_growth(engine, r, 1, 1);
        for (unsigned n = 2; n < 2 * READ_BATCH; n++) { /* one, then as many as there are: a power of two each time */
            check_growth(engine, r, n, 1u << (31 - __builtin_clz(n)));
        }
        check_growth(engine, r, 2 * READ_BATCH, 2 * READ_BATCH);
        check_growth(engine, r, 3 * READ_BATCH - 1, 2 * READ_BATCH);
        check_growth(engine, r, 3 * READ_BATCH, 3 * READ_BATCH);
        check_batch(engine, r, BLOCK_WRITE, 4096, 0, BLOCK_ENGINE_BATCH);
        check_batch(engine, r, BLOCK_READ, sizeof r->buf, 0, BLOCK_ENGINE_BATCH);
        check_batch(engine, r, BLOCK_READ, 4096, 3, 3);
        loop_set_io_hints(f->vm->loop, (LoopIoHints){.batch = 2});
        check_batch(engine, r, BLOCK_READ, 4096, 0, 2);
        check_batch(engine, r, BLOCK_READ, 4096, 3, 2); /* the smaller one */
        check_batch(engine, r, BLOCK_READ, 4096, 1, 1);
        loop_set_io_hints(f->vm->loop, (LoopIoHints){.batch = REQUESTS});
        check_batch(engine, r, BLOCK_READ, 4096, 0, REQUESTS);
    }
    close(r->fd);
}

/* ---- workers ------------------------------------------------------------------------------------- */

static struct {
    sem_t begun, go_on;
    atomic_uint running, most;
} jobs;

static int job(BlockIo *io)
{
    unsigned now = atomic_fetch_add(&jobs.running, 1) + 1, most = atomic_load(&jobs.most);

    (void)io;
    while (now > most && !atomic_compare_exchange_weak(&jobs.most, &most, now)) {
    }
    sem_post(&jobs.begun);
    while (sem_wait(&jobs.go_on) != 0) {
    }
    atomic_fetch_sub(&jobs.running, 1);
    return 0;
}

/* Gives the pool more than it may have workers for; that many begin at the same time, no more ever. */
static void check_workers(BlockEngine *engine, unsigned expected)
{
    BlockIo io[REQUESTS];

    ended = 0;
    atomic_store(&jobs.most, 0);
    for (unsigned i = 0; i < REQUESTS; i++) {
        io[i] = (BlockIo){.op = BLOCK_WRITE, .run = job, .finish = count};
        engine->ops->submit(engine, &io[i]);
    }
    for (unsigned i = 0; i < expected; i++) {
        while (sem_wait(&jobs.begun) != 0) {
        }
    }
    for (unsigned i = 0; i < REQUESTS; i++) {
        sem_post(&jobs.go_on);
    }
    while (ended < REQUESTS) {
        engine->ops->poll(engine);
    }
    g_assert_cmpuint(atomic_load(&jobs.most), ==, expected);
    while (sem_trywait(&jobs.begun) == 0) {
    }
}

static unsigned threads(void)
{
    GDir *dir = g_dir_open("/proc/self/task", 0, NULL);
    unsigned n = 0;

    while (g_dir_read_name(dir)) {
        n++;
    }
    g_dir_close(dir);
    return n;
}

static void test_workers(Fixture *f, const void *data)
{
    unsigned before = threads();
    BlockEngine *engine;

    (void)data;
    sem_init(&jobs.begun, 0, 0);
    sem_init(&jobs.go_on, 0, 0);
    loop_set_io_hints(f->vm->loop, (LoopIoHints){.workers_min = 2, .workers_max = 3});
    engine = block_engine(block_loop_main(f->vm), BLOCK_AIO_THREADS, NULL);
    g_assert_cmpuint(threads(), >=, before + 2); /* there before there is work */
    check_workers(engine, 3);
    loop_set_io_hints(f->vm->loop, (LoopIoHints){0});
    check_workers(engine, REQUESTS);
    loop_set_io_hints(f->vm->loop, (LoopIoHints){.workers_max = 1});
    check_workers(engine, 1);
    sem_destroy(&jobs.begun);
    sem_destroy(&jobs.go_on);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/block-engines/batch/native", Fixture, GINT_TO_POINTER(BLOCK_AIO_NATIVE), setup, test_batch, teardown);
    g_test_add("/block-engines/batch/io_uring", Fixture, GINT_TO_POINTER(BLOCK_AIO_IO_URING), setup, test_batch, teardown);
    g_test_add("/block-engines/workers", Fixture, NULL, setup, test_workers, teardown);
    return g_test_run();
}
