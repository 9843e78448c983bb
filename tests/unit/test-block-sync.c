/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes of the page cache that have to be on stable storage when they end (block/file_sync.c): they end after a sync that
 * began when they were written, several share one, and when one fails everybody who was under way does. The kernel's calls
 * are counted here, fail, or wait as long as the test wants.
 */
#include <errno.h>
#include <glib/gstdio.h>
#include <semaphore.h>
#include <sys/uio.h>
#include <unistd.h>

#include "block/file_int.h"

#define LIMIT_US (120 * G_USEC_PER_SEC)
#define MANY 40
#define LEN 4096

typedef struct Request {
    BlockIo io;
    struct iovec iov;
    bool durable;
    unsigned ended;
    int result;
} Request;

typedef struct Fixture {
    Vm *vm;
    BlockLoop *loop;
    BlockNode *node;
    FileState *file;
    char *path;
    Request r[MANY];
} Fixture;

/* ---- the kernel ------------------------------------------------------------------------------------ */

static struct {
    atomic_uint clock;          /* goes on with each call */
    atomic_uint written[MANY];  /* when the block of that number was, 0: not yet */
    atomic_bool self[MANY];     /* it was synced with it */
    atomic_uint synced;         /* when the newest sync began that was successful */
    atomic_uint syncs, self_syncs;
    atomic_bool held;           /* syncs wait */
    sem_t go_on;
    atomic_int error;           /* of the next sync; 0: it is well */
} kernel;

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
ssize_t __real_pwritev64(int fd, const struct iovec *iov, int count, off_t offset);
ssize_t __wrap_pwritev64(int fd, const struct iovec *iov, int count, off_t offset);
ssize_t __real_pwritev64v2(int fd, const struct iovec *iov, int count, off_t offset, int flags);
ssize_t __wrap_pwritev64v2(int fd, const struct iovec *iov, int count, off_t offset, int flags);

int __wrap_fdatasync(int fd)
{
    const unsigned begin = ++kernel.clock;
    int error;

    kernel.syncs++;
    while (kernel.held && sem_wait(&kernel.go_on) != 0) {
    }
    error = atomic_exchange(&kernel.error, 0);
    if (error) {
        errno = error;
        return -1;
    }
    kernel.synced = begin;
    return __real_fdatasync(fd);
}

static void note_write(off_t offset)
{
    const off_t n = offset / (2 * LEN);

    g_assert_cmpint(n, <, MANY);
    kernel.written[n] = ++kernel.clock;
}

ssize_t __wrap_pwritev64(int fd, const struct iovec *iov, int count, off_t offset)
{
    const ssize_t ret = __real_pwritev64(fd, iov, count, offset);

    note_write(offset);
    return ret;
}

ssize_t __wrap_pwritev64v2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
    ssize_t ret;

    if (!(flags & RWF_DSYNC)) {
        ret = __real_pwritev64v2(fd, iov, count, offset, flags);
        note_write(offset);
        return ret;
    }
    kernel.self_syncs++;
    note_write(offset);
    kernel.self[offset / (2 * LEN)] = true;
    return __real_pwritev64v2(fd, iov, count, offset, flags);
}

/* ---- requests -------------------------------------------------------------------------------------- */

static void setup(Fixture *f, const void *data)
{
    GError *err = NULL;
    BlockOpts *opts;
    g_autofree char *text = NULL;
    int fd = g_file_open_tmp("kiln-sync-XXXXXX", &f->path, &err);

    g_assert_no_error(err);
    g_assert_cmpint(ftruncate(fd, 2 * LEN * MANY), ==, 0);
    close(fd);
    text = g_strdup_printf("driver=file,filename=%s", f->path);
    opts = block_opts_parse(text, NULL, NULL);
    f->vm = vm_new(&err);
    g_assert_no_error(err);
    f->loop = block_loop_main(f->vm);
    f->node = block_node_open(f->vm, opts, NULL, &err);
    g_assert_no_error(err);
    block_opts_free(opts);
    f->file = f->node->state;
    f->file->in_memory = false; /* wherever temporary files are */
    f->loop->lone = GPOINTER_TO_INT(data);
    memset(&kernel, 0, sizeof kernel);
    sem_init(&kernel.go_on, 0, 0);
}

static void teardown(Fixture *f, const void *data)
{
    (void)data;
    block_node_unref(f->node);
    blk_cleanup(f->vm);
    vm_free(f->vm);
    g_unlink(f->path);
    g_free(f->path);
    sem_destroy(&kernel.go_on);
}

static void request_done(BlockIo *io, int result)
{
    Request *r = container_of(io, Request, io);
    const uint64_t n = io->offset / (2 * LEN);

    r->ended++;
    r->result = result;
    if (result == 0 && r->durable && !kernel.self[n]) {
        g_assert_cmpuint(kernel.written[n], >, 0);
        g_assert_cmpuint(kernel.synced, >, kernel.written[n]);
    }
}

/* Blocks [first, end), none beside another. */
static void start(Fixture *f, unsigned first, unsigned end, bool fua)
{
    static uint8_t data[LEN];

    block_loop_plug(f->loop);
    for (unsigned i = first; i < end; i++) {
        Request *r = &f->r[i];

        *r = (Request){.iov = {data, LEN}, .durable = fua};
        kernel.written[i] = 0;
        kernel.self[i] = false;
        r->io = (BlockIo){.op = BLOCK_WRITE, .fua = fua, .offset = 2 * LEN * i, .len = LEN, .iov = &r->iov, .iov_count = 1,
                          .done = request_done};
        block_node_submit(f->node, &r->io);
    }
    block_loop_unplug(f->loop);
}

static void flush(Fixture *f)
{
    f->r[0] = (Request){.io = {.op = BLOCK_FLUSH, .done = request_done}};
    block_node_submit(f->node, &f->r[0].io);
}

static void wait_for(Fixture *f, unsigned first, unsigned end, int result)
{
    const int64_t limit = g_get_monotonic_time() + LIMIT_US;

    for (unsigned i = first; i < end; i++) {
        while (!f->r[i].ended) {
            g_assert_true(block_loop_wait(f->loop));
            g_assert_cmpint(g_get_monotonic_time(), <, limit);
        }
        g_assert_cmpuint(f->r[i].ended, ==, 1);
        g_assert_cmpint(f->r[i].result, ==, result);
    }
}

static unsigned count_written(const Fixture *f)
{
    unsigned n = 0;

    for (const BlockIo *io = f->file->syncs[f->loop->index]->written; io; io = io->next) {
        n++;
    }
    return n;
}

static void hold(bool on)
{
    kernel.held = on;
    if (!on) {
        for (unsigned i = 0; i < MANY; i++) {
            sem_post(&kernel.go_on);
        }
    }
}

/* A sync is under way and waits; so many writes wait for the next. */
static void wait_until_written(Fixture *f, unsigned n)
{
    const int64_t limit = g_get_monotonic_time() + LIMIT_US;

    while (!f->file->syncs[f->loop->index]->busy || count_written(f) < n) {
        g_assert_true(block_loop_wait(f->loop));
        g_assert_cmpint(g_get_monotonic_time(), <, limit);
    }
}

/* ---- tests ------------------------------------------------------------------------------------------- */

/* It has nobody to share with; where the thread has nothing else to do, it writes, and a worker syncs. */
static void test_alone(Fixture *f, const void *data)
{
    const bool lone = GPOINTER_TO_INT(data);

    for (unsigned i = 0; i < 5; i++) {
        start(f, i, i + 1, true);
        wait_for(f, i, i + 1, 0);
    }
    g_assert_cmpuint(kernel.self_syncs, ==, lone ? 0 : 5);
    g_assert_cmpuint(kernel.syncs, ==, lone ? 5 : 0);
}

/* While a sync waits, all others are written; one more is enough for them. */
static void test_share(Fixture *f, const void *data)
{
    (void)data;
    hold(true);
    start(f, 0, 4, true);
    wait_until_written(f, 0);
    start(f, 4, MANY, true);
    wait_until_written(f, MANY - 4);
    hold(false);
    wait_for(f, 0, MANY, 0);
    g_assert_cmpuint(kernel.syncs, <=, 4 + 1);
    g_assert_cmpuint(kernel.self_syncs, <=, 1);
    g_assert_cmpuint(f->file->syncs[f->loop->index]->under_way, ==, 0);
}

/* What was written when a sync failed may be what it could not write. */
static void test_failure(Fixture *f, const void *data)
{
    const bool promised = !GPOINTER_TO_INT(data); /* any two will do */

    if (promised) {
        start(f, 0, 1, false);
        wait_for(f, 0, 1, 0);
    }
    hold(true);
    start(f, 0, 4, true);
    wait_until_written(f, 0);
    start(f, 4, MANY, true);
    wait_until_written(f, MANY - 4);
    kernel.error = EIO;
    hold(false);
    wait_for(f, 4, MANY, -EIO); /* the first ones may have had an earlier sync */
    g_assert_true(f->r[3].result == -EIO || f->r[2].result == -EIO || f->r[1].result == -EIO);

    /* Written again they are there, unless somebody was promised what is lost. */
    hold(true);
    start(f, 4, MANY, true);
    if (!promised) {
        wait_until_written(f, 0);
    }
    hold(false);
    if (promised) {
        const int64_t limit = g_get_monotonic_time() + LIMIT_US;

        for (unsigned i = 4; i < MANY; i++) {
            while (!f->r[i].ended && block_loop_wait(f->loop)) {
                g_assert_cmpint(g_get_monotonic_time(), <, limit);
            }
        }
        g_assert_cmpint(f->r[MANY - 1].result, ==, -EIO);
    } else {
        wait_for(f, 4, MANY, 0);
    }
    flush(f);
    wait_for(f, 0, 1, promised ? -EIO : 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (int lone = 0; lone < 2; lone++) {
        const void *data = GINT_TO_POINTER(lone);
        const char *tests[] = {lone ? "/block/sync/alone-in-its-thread" : "/block/sync/alone",
                               lone ? "/block/sync/share-in-its-thread" : "/block/sync/share",
                               lone ? "/block/sync/failure" : "/block/sync/failure-after-promise"};

        g_test_add(tests[0], Fixture, data, setup, test_alone, teardown);
        g_test_add(tests[1], Fixture, data, setup, test_share, teardown);
        g_test_add(tests[2], Fixture, data, setup, test_failure, teardown);
    }
    return g_test_run();
}
