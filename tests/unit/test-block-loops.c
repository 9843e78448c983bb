/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Block trees owned by iothreads: requests, drained sections, moving, callers from other threads. Made to be run under
 * the thread sanitizer as well. */
#include <errno.h>
#include <glib/gstdio.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <unistd.h>

#include "block/qcow2/qcow2.h"

#define LOOPS 3
#define DEPTH 8
#define DISK_SIZE (2 * MIB)

typedef struct IoThread {
    Loop *loop;
    pthread_t thread;
} IoThread;

typedef struct Fixture {
    Vm *vm;
    char *dir;
    IoThread io[LOOPS];
} Fixture;

static void *run_loop(void *opaque)
{
    loop_run(((IoThread *)opaque)->loop);
    return NULL;
}

static void setup(Fixture *f, const void *data)
{
    GError *err = NULL;

    (void)data;
    f->vm = vm_new(&err);
    g_assert_no_error(err);
    f->dir = g_strdup("test-block-loops-XXXXXX");
    g_assert_nonnull(g_mkdtemp(f->dir));
    for (unsigned i = 0; i < LOOPS; i++) {
        f->io[i].loop = loop_new("iothread", &err);
        g_assert_no_error(err);
        g_assert_cmpint(pthread_create(&f->io[i].thread, NULL, run_loop, &f->io[i]), ==, 0);
    }
}

static void teardown(Fixture *f, const void *data)
{
    (void)data;
    for (unsigned i = 0; i < LOOPS; i++) {
        blk_release_loop(f->vm, f->io[i].loop);
        loop_quit(f->io[i].loop);
        pthread_join(f->io[i].thread, NULL);
        loop_free(f->io[i].loop);
    }
    blk_cleanup(f->vm);
    vm_free(f->vm);
    for (unsigned i = 0; i < LOOPS; i++) {
        g_autofree char *path = g_strdup_printf("%s/%u", f->dir, i);

        g_unlink(path);
    }
    g_rmdir(f->dir);
    g_free(f->dir);
}

static BlockBackend *add_disk(Fixture *f, unsigned n, const char *options)
{
    g_autofree char *path = g_strdup_printf("%s/%u", f->dir, n);
    g_autofree char *text = g_strdup_printf("file=%s,id=d%u,if=none,format=raw,%s", path, n, options);
    g_autofree char *zeros = g_malloc0(DISK_SIZE);
    GError *err = NULL;
    DriveInfo *info = NULL;

    g_assert_true(g_file_set_contents(path, zeros, DISK_SIZE, NULL));
    blk_add_drive(f->vm, text, NULL, &info, &err);
    g_assert_no_error(err);
    return info->blk;
}

/* ---- a device that works in its loop -------------------------------------------------------- */

typedef struct Slot {
    struct Worker *worker;
    bool writing;
    uint64_t offset, stamp;
    struct iovec iov;
    uint64_t buf[64];
} Slot;

typedef struct Worker {
    BlockBackend *blk;
    Slot slots[DEPTH];
    uint64_t stamps[DISK_SIZE / 512]; /* what the disk has */
    unsigned seed, started;
    atomic_uint ended;
    atomic_bool stop;
} Worker;

static void slot_start(Slot *slot);

static void slot_done(void *opaque, int result)
{
    Slot *slot = opaque;
    Worker *w = slot->worker;

    g_assert_cmpint(result, ==, 0);
    for (unsigned i = 0; i < 64; i++) {
        g_assert_cmpuint(slot->buf[i], ==, slot->stamp);
    }
    atomic_fetch_add(&w->ended, 1);
    if (!atomic_load(&w->stop)) {
        slot_start(slot);
    }
}

/* Each slot has sectors of its own, so what a read finds is known. */
static void slot_start(Slot *slot)
{
    Worker *w = slot->worker;
    unsigned n = (unsigned)(slot - w->slots);
    uint64_t sector;

    w->seed = w->seed * 1103515245 + 12345;
    sector = (w->seed >> 8) % (DISK_SIZE / 512 / DEPTH) * DEPTH + n;
    slot->offset = sector * 512;
    slot->writing = w->seed & 0x40;
    slot->iov = (struct iovec){slot->buf, 512};
    if (slot->writing) {
        w->stamps[sector] = ++w->started;
        for (unsigned i = 0; i < 64; i++) {
            slot->buf[i] = w->started;
        }
    }
    slot->stamp = w->stamps[sector];
    if (slot->writing) {
        blk_writev(w->blk, slot->offset, &slot->iov, 1, false, slot_done, slot);
    } else {
        blk_readv(w->blk, slot->offset, &slot->iov, 1, slot_done, slot);
    }
}

static void worker_start(void *opaque)
{
    Worker *w = opaque;

    blk_plug(w->blk);
    for (unsigned i = 0; i < DEPTH; i++) {
        w->slots[i].worker = w;
        slot_start(&w->slots[i]);
    }
    blk_unplug(w->blk);
}

static const BlkDevOps loop_ops = {.any_loop = true};

static Worker *worker_new(Fixture *f, BlockBackend *blk, Loop *loop)
{
    Worker *w = g_new0(Worker, 1);
    GError *err = NULL;

    w->blk = blk;
    blk_attach(blk, NULL, &loop_ops, w, true, &err);
    g_assert_no_error(err);
    blk_set_loop(blk, loop, &err);
    g_assert_no_error(err);
    loop_post(loop, worker_start, w);
    return w;
}

/* Waits for so many more requests, with or without the VM lock. */
static void let_work(Fixture *f, Worker *w, unsigned requests)
{
    unsigned until = atomic_load(&w->ended) + requests;

    while (atomic_load(&w->ended) < until) {
        if (blk_loop(w->blk) == f->vm->loop) {
            loop_run_once(f->vm->loop, -1);
        } else {
            g_thread_yield();
        }
    }
}

static void worker_end(Fixture *f, Worker *w)
{
    atomic_store(&w->stop, true);
    blk_drain(w->blk);
    g_assert_cmpuint(blk_in_flight(w->blk), ==, 0);
    blk_detach(w->blk);
    g_assert_true(blk_loop(w->blk) == f->vm->loop);
    g_free(w);
}

static void test_parallel(Fixture *f, const void *options)
{
    Worker *w[LOOPS];

    for (unsigned i = 0; i < LOOPS; i++) {
        w[i] = worker_new(f, add_disk(f, i, options), f->io[i].loop);
    }
    for (unsigned i = 0; i < LOOPS; i++) {
        let_work(f, w[i], 200);
    }
    for (unsigned i = 0; i < LOOPS; i++) {
        BlkStats stats;

        blk_get_stats(w[i]->blk, &stats); /* while it works */
        worker_end(f, w[i]);
        g_assert_cmpuint(stats.ops[BLK_STAT_READ] + stats.ops[BLK_STAT_WRITE], >=, 200);
    }
}

/* From loop to loop under load; the data survives (each read is checked). */
static void test_moving(Fixture *f, const void *options)
{
    Worker *w = worker_new(f, add_disk(f, 0, options), f->io[0].loop);
    GError *err = NULL;

    for (unsigned round = 0; round < 12; round++) {
        Loop *to = round % 4 == 3 ? f->vm->loop : f->io[round % LOOPS].loop;

        let_work(f, w, 50);
        blk_set_loop(w->blk, to, &err);
        g_assert_no_error(err);
        g_assert_true(blk_loop(w->blk) == to);
    }
    worker_end(f, w);
}

/* In a drained section nothing moves, afterwards all goes on. */
static void test_drain(Fixture *f, const void *options)
{
    Worker *w = worker_new(f, add_disk(f, 0, options), f->io[0].loop);

    for (unsigned round = 0; round < 10; round++) {
        BlockNode *node = blk_node(w->blk);
        unsigned ended;

        let_work(f, w, 20);
        block_drain_begin(node);
        block_drain_begin(node->file->node);
        ended = atomic_load(&w->ended);
        block_drain_end(node);
        g_usleep(200);
        g_assert_cmpuint(atomic_load(&w->ended), ==, ended);
        block_drain_end(node->file->node);
    }
    let_work(f, w, 20);
    worker_end(f, w);
}

/* ---- threads that are nobody's owner -------------------------------------------------------- */

typedef struct Job {
    BlockNode *node;
    unsigned n;
} Job;

static void *job(void *opaque)
{
    Job *j = opaque;
    uint8_t buf[4096], back[4096];

    for (unsigned i = 0; i < 30; i++) {
        uint64_t offset = (j->n * 64 + i) * 4096;

        memset(buf, (int)(j->n * 31 + i + 1), sizeof buf);
        g_assert_cmpint(block_pwrite(j->node, offset, buf, sizeof buf, 0), ==, 0);
        g_assert_cmpint(block_pread(j->node, offset, back, sizeof back), ==, 0);
        g_assert_true(!memcmp(buf, back, sizeof buf));
    }
    g_assert_cmpint(block_pflush(j->node), ==, 0);
    return NULL;
}

static void test_jobs(Fixture *f, const void *options)
{
    BlockBackend *blk = add_disk(f, 0, options);
    BlockNode *node = blk_node(blk);
    pthread_t threads[4];
    Job jobs[4];
    GError *err = NULL;

    blk_set_loop(blk, f->io[0].loop, &err);
    g_assert_no_error(err);
    for (unsigned i = 0; i < 4; i++) {
        jobs[i] = (Job){node, i};
        g_assert_cmpint(pthread_create(&threads[i], NULL, job, &jobs[i]), ==, 0);
    }
    for (unsigned i = 0; i < 20; i++) {
        block_drain_begin(node);
        block_drain_end(node);
    }
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    /* In the main loop their requests want the VM lock for a moment: it is free. */
    blk_set_loop(blk, f->vm->loop, &err);
    g_assert_no_error(err);
    for (unsigned i = 0; i < 4; i++) {
        g_assert_cmpint(pthread_create(&threads[i], NULL, job, &jobs[i]), ==, 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        while (pthread_tryjoin_np(threads[i], NULL) == EBUSY) {
            loop_run_once(f->vm->loop, NSEC_PER_MSEC);
        }
    }
}

/* ---- a qcow2 image under load ----------------------------------------------------------------- */

#define IMAGE_JOBS 4
#define JOB_BYTES (512 * KIB)

typedef struct ImageJob {
    BlockNode *node;
    unsigned n;
    atomic_bool *stop;
    atomic_uint done;
    uint8_t stamps[JOB_BYTES / 4096]; /* what it wrote last */
} ImageJob;

/* Writes, zeroes and reads its own part of the disk until it is told to stop; what it reads is what it wrote. */
static void *image_job(void *opaque)
{
    ImageJob *j = opaque;
    uint8_t buf[8192], back[8192];
    unsigned seed = j->n + 1;

    while (!atomic_load(j->stop)) {
        unsigned piece = (seed = seed * 1103515245 + 12345) >> 8, count = 1 + (seed >> 7 & 1);
        uint64_t offset;
        int ret;

        piece %= JOB_BYTES / 4096 - 1;
        offset = j->n * JOB_BYTES + piece * 4096;
        memset(buf, seed & 0x100 ? 0 : (int)(seed >> 16 & 0xff) | 1, sizeof buf);
        ret = seed & 0x100 ? block_pzero(j->node, offset, count * 4096, BLOCK_FLAG_MAY_UNMAP)
                           : block_pwrite(j->node, offset, buf, count * 4096, seed & 0x200 ? BLOCK_FLAG_FUA : 0);
        g_assert_cmpint(ret, ==, 0);
        memset(j->stamps + piece, buf[0], count);
        piece = (piece * 7 + 3) % (JOB_BYTES / 4096 - 1);
        g_assert_cmpint(block_pread(j->node, j->n * JOB_BYTES + piece * 4096, back, 8192), ==, 0);
        for (unsigned i = 0; i < 8192; i += 512) {
            g_assert_cmpuint(back[i], ==, j->stamps[piece + i / 4096]);
        }
        if (!(seed >> 20 & 15)) {
            g_assert_cmpint(block_pflush(j->node), ==, 0);
        }
        atomic_fetch_add(&j->done, 1);
    }
    return NULL;
}

static BlockNode *open_qcow2(Fixture *f)
{
    g_autofree char *path = g_strdup_printf("%s/0", f->dir), *size = g_strdup_printf("%u", IMAGE_JOBS * (unsigned)JOB_BYTES);
    GError *err = NULL;
    BlockOpts *opts = block_opts_new();
    BlockNode *node;

    block_opts_set(opts, "size", size);
    block_opts_set(opts, "cluster_size", "4096");
    block_driver_qcow2.create(f->vm, path, opts, &err);
    g_assert_no_error(err);
    block_opts_free(opts);
    opts = block_opts_parse("driver=qcow2,node-name=image,discard=unmap,file.driver=file,file.node-name=proto,"
                            "l2-cache-size=16k,l2-cache-entry-size=512", NULL, &err);
    block_opts_set(opts, "file.filename", path);
    node = block_node_open(f->vm, opts, NULL, &err);
    g_assert_no_error(err);
    block_opts_free(opts);
    return node;
}

static void reopen_image(Fixture *f, const char *options)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func((GDestroyNotify)block_opts_free);
    GError *err = NULL;

    g_ptr_array_add(list, block_opts_parse(options, NULL, &err));
    g_assert_no_error(err);
    block_reopen(f->vm, list, &err);
    g_assert_no_error(err);
}

typedef struct OwnerCall {
    BlockNode *node;
    bool (*fn)(Qcow2 *q, GError **err);
} OwnerCall;

static void in_owner(void *opaque)
{
    OwnerCall *call = opaque;
    GError *err = NULL;

    call->fn(qcow2_of(call->node), &err);
    g_assert_no_error(err);
}

static bool take_snapshot(Qcow2 *q, GError **err)
{
    const Qcow2Snapshot info = {.name = (char *)"s", .icount = UINT64_MAX};

    return qcow2_snapshot_create(q, &info, err);
}

static bool delete_snapshot(Qcow2 *q, GError **err)
{
    return qcow2_snapshot_delete(q, "s", err);
}

static bool check_image(Qcow2 *q, GError **err)
{
    Qcow2CheckResult result = {0};

    return qcow2_check(q, 0, &result) == 0 && !result.n.corruptions && !result.n.leaks
               ? true : error_set(err, "the check fails");
}

static void call_drained(BlockNode *node, bool (*fn)(Qcow2 *q, GError **err))
{
    OwnerCall call = {node, fn};

    block_drain_begin(node);
    block_loop_call(node->loop, in_owner, &call);
    block_drain_end(node);
}

static void image_step(Fixture *f, BlockNode *node, unsigned round)
{
    GError *err = NULL;

    switch (round % 8) {
    case 0:
        block_drain_begin(node);
        block_drain_end(node);
        break;
    case 1:
        call_drained(node, take_snapshot);
        break;
    case 2:
        block_ptruncate(node, IMAGE_JOBS * JOB_BYTES + round * MIB, true, BLOCK_PREALLOC_OFF, &err);
        g_assert_no_error(err);
        break;
    case 3:
        reopen_image(f, "node-name=image,driver=qcow2,file=proto,discard=ignore,l2-cache-size=64k");
        break;
    case 4:
        call_drained(node, delete_snapshot);
        break;
    case 5:
        call_drained(node, check_image);
        break;
    case 6:
        block_node_set_loop(node, block_loop_get(f->vm, f->io[round / 8 % LOOPS].loop, &err));
        g_assert_no_error(err);
        break;
    case 7:
        reopen_image(f, "node-name=image,driver=qcow2,file=proto,discard=unmap,l2-cache-size=16k");
        break;
    }
}

/* Everything that a manager may do to an image while four threads read and write it, in an iothread and moved from one
 * to the other; in the end also to the main loop, and its iothread goes. */
static void test_image(Fixture *f, const void *data)
{
    g_autofree ImageJob *jobs = g_new0(ImageJob, IMAGE_JOBS);
    BlockNode *node = open_qcow2(f);
    pthread_t threads[IMAGE_JOBS];
    atomic_bool stop = false;
    GError *err = NULL;

    (void)data;
    block_node_set_loop(node, block_loop_get(f->vm, f->io[0].loop, &err));
    g_assert_no_error(err);
    for (unsigned i = 0; i < IMAGE_JOBS; i++) {
        jobs[i] = (ImageJob){.node = node, .n = i, .stop = &stop};
        g_assert_cmpint(pthread_create(&threads[i], NULL, image_job, &jobs[i]), ==, 0);
    }
    for (unsigned round = 0; round < 40; round++) {
        unsigned until = atomic_load(&jobs[round % IMAGE_JOBS].done) + 5;

        while (atomic_load(&jobs[round % IMAGE_JOBS].done) < until) {
            loop_run_once(f->vm->loop, 0);
            g_thread_yield();
        }
        image_step(f, node, round);
    }
    blk_release_loop(f->vm, ((Loop *)node->loop->loop));
    g_assert_true(node->loop == block_loop_main(f->vm));
    atomic_store(&stop, true);
    for (unsigned i = 0; i < IMAGE_JOBS; i++) {
        while (pthread_tryjoin_np(threads[i], NULL) == EBUSY) {
            loop_run_once(f->vm->loop, NSEC_PER_MSEC);
        }
    }
    call_drained(node, check_image);
    for (unsigned i = 0; i < IMAGE_JOBS; i++) {
        g_autofree uint8_t *buf = g_malloc(JOB_BYTES);

        g_assert_cmpint(block_pread(node, i * JOB_BYTES, buf, JOB_BYTES), ==, 0);
        for (unsigned at = 0; at < JOB_BYTES; at += 512) {
            g_assert_cmpuint(buf[at], ==, jobs[i].stamps[at / 4096]);
        }
    }
    block_node_unref(node);
}

static void test_refused(Fixture *f, const void *data)
{
    BlockBackend *blk = add_disk(f, 0, "aio=threads"), *other, *third;
    static const BlkDevOps plain_ops, aware = {.any_loop = true};
    GError *err = NULL;

    (void)data;
    blk_attach(blk, NULL, &plain_ops, NULL, false, &err);
    g_assert_no_error(err);
    other = blk_new(f->vm, "other", blk_node(blk), 0, &err);
    g_assert_no_error(err);
    blk_attach(other, NULL, &aware, NULL, false, &err);
    g_assert_no_error(err);
    /* A device of the main loop does not mind. */
    g_assert_true(blk_set_loop(other, f->io[0].loop, &err));
    third = blk_new(f->vm, "third", blk_node(blk), 0, &err);
    blk_attach(third, NULL, &aware, NULL, false, &err);
    g_assert_no_error(err);
    g_assert_false(blk_set_loop(third, f->io[1].loop, &err));
    g_assert_nonnull(strstr(err->message, "Cannot change iothread"));
    g_clear_error(&err);
    blk_detach(blk);
    g_assert_true(blk_attach(blk, NULL, &plain_ops, NULL, false, &err));
}

/* ---- lanes of the workers ----------------------------------------------------------------------- */

#define LANE_REQUESTS 200

typedef struct Lanes {
    sem_t beside; /* a request of no lane has run */
    int inside, ran, finished;
    bool lane;
} Lanes;

static int run_in_lane(BlockIo *io)
{
    Lanes *l = io->opaque;

    g_assert_cmpint(__atomic_add_fetch(&l->inside, 1, __ATOMIC_SEQ_CST), ==, 1);
    if (__atomic_fetch_add(&l->ran, 1, __ATOMIC_SEQ_CST) == 0) {
        while (sem_wait(&l->beside) != 0) {
        }
    }
    sched_yield();
    __atomic_sub_fetch(&l->inside, 1, __ATOMIC_SEQ_CST);
    return 0;
}

static int run_beside(BlockIo *io)
{
    Lanes *l = io->opaque;

    return sem_post(&l->beside);
}

static void lane_finish(BlockIo *io, int result)
{
    g_assert_cmpint(result, ==, 0);
    ((Lanes *)io->opaque)->finished++;
}

/* The first of a lane waits for the last request of all, which has no lane. */
static void test_lanes(Fixture *f, const void *data)
{
    BlockBackend *blk = add_disk(f, 0, "aio=threads");
    BlockIo ios[LANE_REQUESTS + 1] = {0};
    Lanes l = {0};

    (void)data;
    g_assert_cmpint(sem_init(&l.beside, 0, 0), ==, 0);
    for (unsigned i = 0; i <= LANE_REQUESTS; i++) {
        bool last = i == LANE_REQUESTS;

        ios[i] = (BlockIo){.run = last ? run_beside : run_in_lane, .lane = last ? NULL : &l.lane,
                           .finish = lane_finish, .opaque = &l};
        block_io_run_in_thread(blk_node(blk), &ios[i]);
    }
    while (l.finished <= LANE_REQUESTS) {
        g_assert_true(block_loop_wait(blk_node(blk)->loop));
    }
    g_assert_cmpint(l.ran, ==, LANE_REQUESTS);
    g_assert_false(l.lane);
    sem_destroy(&l.beside);
}

int main(int argc, char **argv)
{
    static const char *const kinds[][2] = {
        {"threads", "aio=threads"},
        {"native", "aio=native,cache=none"},
        {"io_uring", "aio=io_uring"},
    };

    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        static const struct {
            const char *name;
            void (*fn)(Fixture *f, const void *options);
        } tests[] = {{"parallel", test_parallel},
                     {"moving", test_moving},
                     {"drain", test_drain},
                     {"jobs", test_jobs}};

        for (unsigned j = 0; j < G_N_ELEMENTS(tests); j++) {
            g_autofree char *path = g_strdup_printf("/block-loops/%s/%s", kinds[i][0], tests[j].name);

            g_test_add(path, Fixture, kinds[i][1], setup, tests[j].fn, teardown);
        }
    }
    g_test_add("/block-loops/lanes", Fixture, NULL, setup, test_lanes, teardown);
    g_test_add("/block-loops/image", Fixture, NULL, setup, test_image, teardown);
    g_test_add("/block-loops/refused", Fixture, NULL, setup, test_refused, teardown);
    return g_test_run();
}
