/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Neighbours that go to the kernel together (block/merge.c): which do, that each ends once with its own result, also when one
 * in the middle fails, and what is counted. Above: an engine that only takes notes. Below: files, all engines; the size that
 * the system allows files to have (RLIMIT_FSIZE) makes writes fail at a byte.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "block/file_int.h"

#define MANY 80
#define LEN 4096

typedef struct Fixture {
    Vm *vm;
    BlockLoop *loop;
    BlockNode *node;
    char *path;
} Fixture;

typedef struct Request {
    BlockIo io;
    struct iovec iov[2];
    unsigned ended;
    int result;
} Request;

static void setup(Fixture *f, const void *data)
{
    BlockOpts *opts = block_opts_parse("driver=null-co,size=1G", NULL, NULL);
    GError *err = NULL;

    (void)data;
    f->vm = vm_new(&err);
    g_assert_no_error(err);
    f->loop = block_loop_main(f->vm);
    f->node = block_node_open(f->vm, opts, NULL, &err);
    g_assert_no_error(err);
    block_opts_free(opts);
}

static void teardown(Fixture *f, const void *data)
{
    (void)data;
    block_node_unref(f->node);
    blk_cleanup(f->vm);
    vm_free(f->vm);
    if (f->path) {
        g_unlink(f->path);
    }
    g_free(f->path);
}

static void request_finish(BlockIo *io, int result)
{
    Request *r = container_of(io, Request, io);

    r->ended++;
    r->result = result;
}

/* ---- an engine that takes notes ------------------------------------------------------------------ */

static struct {
    BlockIo *io[MANY];
    unsigned n;
    const BlockLoop *loop;
    bool several; /* the last one is not the only one that goes now */
} taken;

static void take(BlockIo *io)
{
    taken.io[taken.n++] = io;
    taken.several = block_merge_has_several(taken.loop);
}

static void prepare(const Fixture *f, Request *r, BlockOp op, uint64_t offset)
{
    *r = (Request){.iov = {{r, LEN}}};
    r->io = (BlockIo){.op = op, .offset = offset, .len = LEN, .iov = r->iov, .iov_count = 1, .node = f->node,
                      .finish = request_finish};
}

static void hold(const Fixture *f, Request *r) { g_assert_true(block_merge_hold(f->loop, &r->io, take)); }

static void hold_new(const Fixture *f, Request *r, BlockOp op, uint64_t offset)
{
    prepare(f, r, op, offset);
    hold(f, r);
}

/* The n-th that was taken covers this range and has so many pieces of memory. */
static void check_taken(unsigned n, uint64_t offset, uint64_t len, unsigned pieces)
{
    g_assert_cmpuint(n, <, taken.n);
    g_assert_cmpuint(taken.io[n]->offset, ==, offset);
    g_assert_cmpuint(taken.io[n]->len, ==, len);
    g_assert_cmpuint(taken.io[n]->iov_count, ==, pieces);
    g_assert_cmpuint(iov_size(taken.io[n]->iov, taken.io[n]->iov_count), ==, len);
}

static void begin(Fixture *f)
{
    taken.n = 0;
    taken.loop = f->loop;
    block_loop_plug(f->loop);
}

/* All that was taken ends well, so all of r do. */
static void end(Fixture *f, const Request *r, unsigned n)
{
    while (f->loop->plugged) {
        block_loop_unplug(f->loop);
    }
    for (unsigned i = 0; i < taken.n; i++) {
        taken.io[i]->finish(taken.io[i], 0);
    }
    for (unsigned i = 0; i < n; i++) {
        g_assert_cmpuint(r[i].ended, ==, 1);
        g_assert_cmpint(r[i].result, ==, 0);
    }
}

static void test_neighbours(Fixture *f, const void *data)
{
    Request r[8];

    (void)data;
    begin(f);
    for (unsigned i = 0; i < 3; i++) {
        hold_new(f, &r[i], BLOCK_WRITE, i * LEN);
    }
    hold_new(f, &r[3], BLOCK_WRITE, 4 * LEN); /* a gap before it */
    hold_new(f, &r[4], BLOCK_READ, 5 * LEN);
    hold_new(f, &r[5], BLOCK_READ, 6 * LEN);
    hold_new(f, &r[6], BLOCK_WRITE, 3 * LEN); /* the first run goes on */
    hold_new(f, &r[7], BLOCK_WRITE, 3 * LEN); /* the same again */
    g_assert_cmpuint(taken.n, ==, 0);
    block_loop_unplug(f->loop);
    g_assert_cmpuint(taken.n, ==, 4);
    check_taken(0, 0, 4 * LEN, 4);
    g_assert_true(taken.io[0]->iov[3].iov_base == r[6].iov[0].iov_base);
    check_taken(1, 4 * LEN, LEN, 1);
    g_assert_true(taken.io[1] == &r[3].io); /* itself */
    check_taken(2, 5 * LEN, 2 * LEN, 2);
    g_assert_cmpint(taken.io[2]->op, ==, BLOCK_READ);
    check_taken(3, 3 * LEN, LEN, 1);
    end(f, r, G_N_ELEMENTS(r));
    for (unsigned i = 0; i < G_N_ELEMENTS(r); i++) {
        g_assert_cmpint(r[i].io.joined, ==, i == 1 || i == 2 || i == 5 || i == 6);
    }
}

/* What differs in anything that the kernel is told stays apart. */
static void test_strangers(Fixture *f, const void *data)
{
    bool lane = false;
    Request r[6];

    (void)data;
    begin(f);
    for (unsigned i = 0; i < 6; i++) {
        prepare(f, &r[i], BLOCK_WRITE, i * LEN);
    }
    r[1].io.fua = true;
    r[2].io.lane = &lane;
    r[3].io.alone = true;
    hold(f, &r[0]);
    hold(f, &r[1]);
    hold(f, &r[2]);
    g_assert_false(block_merge_hold(f->loop, &r[3].io, take));
    hold(f, &r[4]);
    block_loop_unplug(f->loop);
    g_assert_cmpuint(taken.n, ==, 4);
    g_assert_false(block_merge_hold(f->loop, &r[5].io, take)); /* not plugged */
    end(f, r, 3);
    g_assert_cmpuint(r[3].ended + r[5].ended, ==, 0);
}

static void test_limits(Fixture *f, const void *data)
{
    g_autofree struct iovec *iov = g_new0(struct iovec, 1024);
    Request r[MANY];

    (void)data;
    begin(f);
    for (unsigned i = 0; i < 40; i++) { /* requests of one */
        hold_new(f, &r[i], BLOCK_READ, i * LEN);
    }
    block_loop_unplug(f->loop);
    g_assert_cmpuint(taken.n, ==, 2);
    check_taken(0, 0, 32 * LEN, 32);
    check_taken(1, 32 * LEN, 8 * LEN, 8);
    end(f, r, 40);

    begin(f);
    for (unsigned i = 0; i < 5; i++) { /* bytes of one: 1 MiB */
        prepare(f, &r[i], BLOCK_READ, i * 300 * KIB);
        r[i].io.len = r[i].iov[0].iov_len = 300 * KIB;
        hold(f, &r[i]);
    }
    block_loop_unplug(f->loop);
    g_assert_cmpuint(taken.n, ==, 2);
    check_taken(0, 0, 900 * KIB, 3);
    end(f, r, 5);

    begin(f);
    for (unsigned i = 0; i < 3; i++) { /* pieces of memory */
        prepare(f, &r[i], BLOCK_READ, i * 512 * 512);
        r[i].io.len = 512 * 512;
        r[i].io.iov = iov;
        r[i].io.iov_count = 512;
        hold(f, &r[i]);
    }
    for (unsigned i = 0; i < 512; i++) {
        iov[i] = (struct iovec){r, 512};
    }
    block_loop_unplug(f->loop);
    g_assert_cmpuint(taken.n, ==, 2);
    check_taken(0, 0, 2 * 512 * 512, 1024);
    end(f, r, 3);
}

/* Requests in no order are not held back longer than the engines' batches; a smaller batch may be asked for. */
static void test_batch(Fixture *f, const void *data)
{
    const BlockEngine *threads = block_engine(f->loop, BLOCK_AIO_THREADS, NULL);
    Request r[20];

    (void)data;
    begin(f);
    for (unsigned i = 0; i < 20; i++) {
        g_assert_cmpuint(taken.n, ==, i ? (i - 1) / BLOCK_ENGINE_BATCH * BLOCK_ENGINE_BATCH : 0);
        hold_new(f, &r[i], BLOCK_READ, 2 * i * LEN);
    }
    end(f, r, 20);
    begin(f);
    for (unsigned i = 0; i < 6; i++) {
        prepare(f, &r[i], BLOCK_READ, 2 * i * LEN);
        r[i].io.batch = 2;
        hold(f, &r[i]);
    }
    g_assert_cmpuint(taken.n, ==, 4);
    end(f, r, 6);
    begin(f);
    for (unsigned i = 0; i < 4; i++) { /* nothing under way: no read waits for another */
        prepare(f, &r[i], BLOCK_READ, 2 * i * LEN);
        r[i].io.engine = block_engine(f->loop, BLOCK_AIO_IO_URING, NULL);
        hold(f, &r[i]);
        g_assert_cmpuint(taken.n, ==, r[i].io.engine == threads ? 0 : i);
        g_assert_true(!taken.n || taken.several); /* nobody may wait for it: this one is behind it */
    }
    block_loop_unplug(f->loop);
    g_assert_cmpuint(taken.n, ==, 4);
    g_assert_true(r[0].io.engine == threads || !taken.several);
    end(f, r, 4);
}

/* Two that write on, by turns. */
static void test_streams(Fixture *f, const void *data)
{
    Request r[20];

    (void)data;
    begin(f);
    for (unsigned i = 0; i < 20; i++) {
        hold_new(f, &r[i], BLOCK_WRITE, (i & 1 ? MIB : 0) + i / 2 * LEN);
    }
    block_loop_unplug(f->loop);
    g_assert_cmpuint(taken.n, ==, 2);
    check_taken(0, 0, 10 * LEN, 10);
    check_taken(1, MIB, 10 * LEN, 10);
    end(f, r, 20);
}

/* The kernel refuses what was joined: each is tried alone, and only who fails then has failed. */
static void test_refused(Fixture *f, const void *data)
{
    Request r[5];
    BlockIo *joined;

    (void)data;
    begin(f);
    for (unsigned i = 0; i < 5; i++) {
        hold_new(f, &r[i], BLOCK_WRITE, i * LEN);
    }
    block_loop_unplug(f->loop);
    g_assert_cmpuint(taken.n, ==, 1);
    joined = taken.io[0];
    taken.n = 0;
    joined->finish(joined, -EIO);
    g_assert_cmpuint(taken.n, ==, 5);
    for (unsigned i = 0; i < 5; i++) {
        g_assert_true(taken.io[i] == &r[i].io);
        g_assert_cmpuint(r[i].ended, ==, 0);
        check_taken(i, i * LEN, LEN, 1);
        taken.io[i]->finish(taken.io[i], i == 2 ? -ENOSPC : 0);
    }
    for (unsigned i = 0; i < 5; i++) {
        g_assert_cmpuint(r[i].ended, ==, 1);
        g_assert_cmpint(r[i].result, ==, i == 2 ? -ENOSPC : 0);
        g_assert_false(r[i].io.joined);
    }
}

/* Who waits in the end of one sees the others end. */
static struct {
    BlockLoop *loop;
    Request *others;
    unsigned n;
} waiter;

static void wait_in_finish(BlockIo *io, int result)
{
    request_finish(io, result);
    for (unsigned i = 0; i < waiter.n; i++) {
        while (!waiter.others[i].ended) {
            g_assert_true(block_loop_wait(waiter.loop));
        }
    }
}

static void test_waits(Fixture *f, const void *data)
{
    Request r[4];

    (void)data;
    begin(f);
    for (unsigned i = 0; i < 4; i++) {
        prepare(f, &r[i], BLOCK_WRITE, i * LEN);
        hold(f, &r[i]);
    }
    r[0].io.finish = wait_in_finish;
    waiter.loop = f->loop;
    waiter.others = r + 1;
    waiter.n = 3;
    end(f, r, 4);
}

/* A wait lets go what is held. */
static void test_flushed(Fixture *f, const void *data)
{
    Request r[2];

    (void)data;
    begin(f);
    hold_new(f, &r[0], BLOCK_WRITE, 0);
    hold_new(f, &r[1], BLOCK_WRITE, LEN);
    block_loop_wait(f->loop);
    g_assert_cmpuint(taken.n, ==, 1);
    end(f, r, 2);
}

/* ---- files ----------------------------------------------------------------------------------------- */

typedef struct Kind {
    const char *name, *options;
} Kind;

static const Kind kinds[] = {
    {"threads", "aio=threads"},
    {"io_uring", "aio=io_uring"},
    {"threads-direct", "aio=threads,cache.direct=on"},
    {"io_uring-direct", "aio=io_uring,cache.direct=on"},
    {"native", "aio=native,cache.direct=on"},
};

static const BlkDevOps device_ops = {.any_loop = true};

/* NULL: the host cannot. Requests are not done at once, as they would be in memory and from the page cache. */
static BlockBackend *open_disk(Fixture *f, const Kind *kind, const char *driver)
{
    int fd = g_file_open_tmp("test-block-merge-XXXXXX", &f->path, NULL);
    g_autofree char *text = g_strdup_printf(driver, f->path, kind->options);
    BlockOpts *opts = block_opts_parse(text, NULL, NULL);
    g_autoptr(GError) err = NULL;
    BlockBackend *blk;
    BlockNode *node, *file;

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, MIB), ==, 0);
    close(fd);
    if (strstr(driver, "qcow2")) {
        BlockOpts *size = block_opts_parse("size=1048576", NULL, NULL);

        g_assert_true(block_driver_qcow2.create(f->vm, f->path, size, &err));
        block_opts_free(size);
    }
    node = block_node_open(f->vm, opts, NULL, &err);
    block_opts_free(opts);
    if (!node) {
        g_test_skip(err->message);
        return NULL;
    }
    blk = blk_new(f->vm, NULL, node, BLOCK_PERM_WRITE | BLOCK_PERM_CONSISTENT_READ, &err);
    g_assert_no_error(err);
    for (file = node; file->file; file = file->file->node) {
    }
    block_node_unref(node);
    ((FileState *)file->state)->no_now = true;
    g_assert_true(blk_attach(blk, NULL, &device_ops, NULL, true, &err));
    return blk;
}

typedef struct Io {
    struct iovec iov;
    uint8_t *buf;
    int result; /* 1: on its way */
} Io;

static void io_done(void *opaque, int result)
{
    Io *io = opaque;

    g_assert_cmpint(io->result, ==, 1);
    io->result = result;
}

/* count blocks from `first` on, in one batch; those that skip names (bits) are left out. */
static void transfer(Fixture *f, BlockBackend *blk, Io *io, bool write, unsigned count, uint64_t skip)
{
    blk_plug(blk);
    for (unsigned i = 0; i < count; i++) {
        io[i].iov = (struct iovec){io[i].buf, LEN};
        io[i].result = skip >> i & 1 ? 0 : 1;
        if (io[i].result && write) {
            blk_writev(blk, (uint64_t)i * LEN, &io[i].iov, 1, false, io_done, &io[i]);
        } else if (io[i].result) {
            blk_readv(blk, (uint64_t)i * LEN, &io[i].iov, 1, io_done, &io[i]);
        }
    }
    blk_unplug(blk);
    while (blk_in_flight(blk)) {
        g_assert_true(block_loop_wait(f->loop));
    }
}

static void fill(Io *io, unsigned count, int add)
{
    for (unsigned i = 0; i < count; i++) {
        memset(io[i].buf, (int)i + add, LEN);
    }
}

static void check(const Io *io, unsigned i, int byte)
{
    for (unsigned at = 0; at < LEN; at++) {
        g_assert_cmpuint(io[i].buf[at], ==, (uint8_t)byte);
    }
}

static uint8_t *buffers(Io *io)
{
    uint8_t *all = g_aligned_alloc0(MANY, LEN, 4096);

    for (unsigned i = 0; i < MANY; i++) {
        io[i].buf = all + (size_t)i * LEN;
    }
    return all;
}

#define SKIPPED UINT64_C(0x10002008) /* blocks 3, 13, 28 */

static void test_contents(Fixture *f, const void *data)
{
    BlockBackend *blk = open_disk(f, data, "driver=raw,file.driver=file,file.filename=%s,file.%s");
    Io io[MANY] = {0};
    uint8_t *all;
    BlkStats stats;

    if (!blk) {
        return;
    }
    all = buffers(io);
    fill(io, 40, 1);
    transfer(f, blk, io, true, 40, SKIPPED);
    blk_get_stats(blk, &stats);
    g_assert_cmpuint(stats.ops[BLK_STAT_WRITE], ==, 37);
    g_assert_cmpuint(stats.merged[BLK_STAT_WRITE], ==, 33); /* four runs */
    fill(io, 40, 100);
    transfer(f, blk, io, false, 40, 0);
    blk_get_stats(blk, &stats);
    g_assert_cmpuint(stats.merged[BLK_STAT_READ], ==, 38); /* 32 and 8 */
    for (unsigned i = 0; i < 40; i++) {
        g_assert_cmpint(io[i].result, ==, 0);
        check(io, i, SKIPPED >> i & 1 ? 0 : (int)i + 1);
    }
    blk_set_merging(blk, false);
    transfer(f, blk, io, false, 40, 0);
    transfer(f, blk, io, true, 40, 0);
    blk_get_stats(blk, &stats);
    g_assert_cmpuint(stats.merged[BLK_STAT_READ] + stats.merged[BLK_STAT_WRITE], ==, 38 + 33);
    g_aligned_free(all);
    blk_free(blk);
}

/* Formats: what lies side by side in the file. */
static void test_qcow2(Fixture *f, const void *data)
{
    BlockBackend *blk = open_disk(f, data, "driver=qcow2,file.driver=file,file.filename=%s,file.%s");
    Io io[MANY] = {0};
    uint8_t *all;
    BlkStats stats;

    if (!blk) {
        return;
    }
    all = buffers(io);
    fill(io, 32, 1);
    transfer(f, blk, io, true, 32, 0); /* finds room */
    fill(io, 32, 2);
    transfer(f, blk, io, true, 32, 0);
    fill(io, 32, 100);
    transfer(f, blk, io, false, 32, 0);
    for (unsigned i = 0; i < 32; i++) {
        g_assert_cmpint(io[i].result, ==, 0);
        check(io, i, (int)i + 2);
    }
    blk_get_stats(blk, &stats);
    g_assert_cmpuint(stats.merged[BLK_STAT_READ], ==, 31);
    g_assert_cmpuint(stats.merged[BLK_STAT_WRITE], >=, 31);
    g_aligned_free(all);
    blk_free(blk);
}

/* A file may not reach beyond block 4: the blocks up to it are written, each of the others fails. */
static void test_fails(Fixture *f, const void *data)
{
    BlockBackend *blk = open_disk(f, data, "driver=raw,file.driver=file,file.filename=%s,file.%s");
    struct rlimit before, small;
    Io io[MANY] = {0};
    uint8_t *all;
    BlkStats stats;

    if (!blk) {
        return;
    }
    signal(SIGXFSZ, SIG_IGN);
    g_assert_cmpint(getrlimit(RLIMIT_FSIZE, &before), ==, 0);
    small = (struct rlimit){5 * LEN, before.rlim_max};
    all = buffers(io);
    for (unsigned round = 0; round < 3; round++) {
        fill(io, 12, 1);
        g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &small), ==, 0);
        transfer(f, blk, io, true, 12, 0);
        g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &before), ==, 0);
        for (unsigned i = 0; i < 12; i++) {
            g_assert_cmpint(io[i].result, ==, i < 5 ? 0 : -EFBIG);
        }
        blk_get_stats(blk, &stats);
        g_assert_cmpuint(stats.failed[BLK_STAT_WRITE], ==, 7 * (round + 1));
        g_assert_cmpuint(stats.ops[BLK_STAT_WRITE], ==, 5 * (round + 1));
        fill(io, 12, 50);
        transfer(f, blk, io, false, 12, 0);
        for (unsigned i = 0; i < 12; i++) {
            g_assert_cmpint(io[i].result, ==, 0);
            check(io, i, i < 5 ? (int)i + 1 : 0);
        }
    }
    g_aligned_free(all);
    blk_free(blk);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/block-merge/neighbours", Fixture, NULL, setup, test_neighbours, teardown);
    g_test_add("/block-merge/strangers", Fixture, NULL, setup, test_strangers, teardown);
    g_test_add("/block-merge/limits", Fixture, NULL, setup, test_limits, teardown);
    g_test_add("/block-merge/batch", Fixture, NULL, setup, test_batch, teardown);
    g_test_add("/block-merge/streams", Fixture, NULL, setup, test_streams, teardown);
    g_test_add("/block-merge/refused", Fixture, NULL, setup, test_refused, teardown);
    g_test_add("/block-merge/waits", Fixture, NULL, setup, test_waits, teardown);
    g_test_add("/block-merge/flushed", Fixture, NULL, setup, test_flushed, teardown);
    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        g_autofree char *contents = g_strconcat("/block-merge/contents/", kinds[i].name, NULL);
        g_autofree char *fails = g_strconcat("/block-merge/fails/", kinds[i].name, NULL);
        g_autofree char *qcow2 = g_strconcat("/block-merge/qcow2/", kinds[i].name, NULL);

        g_test_add(contents, Fixture, &kinds[i], setup, test_contents, teardown);
        g_test_add(fails, Fixture, &kinds[i], setup, test_fails, teardown);
        g_test_add(qcow2, Fixture, &kinds[i], setup, test_qcow2, teardown);
    }
    return g_test_run();
}
