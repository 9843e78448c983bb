/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2 against a model: random requests, many at once, ending in any order; power cuts; failing
 * reads, writes and flushes. qemu-img, where it is installed, judges every image too.
 */
#include <glib/gstdio.h>

#include "block/dirty_bitmap.h"
#include "tests/unit/qcow2-disk.h"
#include "tests/unit/qcow2-image.h"

#define MAX_SECTORS 8192

/* Every sector holds the number of the write that it comes from; 0: zeros. */
typedef struct Model {
    uint32_t now[MAX_SECTORS];
    uint32_t flushed[MAX_SECTORS]; /* what a power cut must leave, or something newer */
    GArray *newer[MAX_SECTORS];    /* uint32_t: since then; NULL: none */
    bool busy[MAX_SECTORS];
    unsigned sectors;
} Model;

typedef struct World {
    Vm *vm;
    Disk *disk;
    BlockNode *node;
    const Config *config;
    Model model;
    Model *snapshot; /* "s1", or NULL */
    GRand *rand;
    uint32_t next_id;
    unsigned in_flight;
    bool failing; /* errors are expected */
    bool looking; /* at a cut: what ends meanwhile came after it */
    bool overlay; /* node has a backing file, which a discard may bring to light */
    char *dir, *file;
} World;

/* ---- images --------------------------------------------------------------------------------- */

static BlockNode *open_image(World *w, const char *file_node, const char *more, GError **err)
{
    g_autofree char *text = g_strdup_printf("driver=qcow2,file=%s,discard=unmap%s%s%s", file_node,
                                            w->config->luks ? ",encrypt.key-secret=s" : "", *more ? "," : "", more);
    BlockOpts *opts = block_opts_parse(text, NULL, err);
    BlockNode *node = opts ? block_node_open(w->vm, opts, NULL, err) : NULL;

    if (opts) {
        block_opts_free(opts);
    }
    return node;
}

static void must_open(World *w)
{
    GError *err = NULL;

    w->node = open_image(w, "disk", w->config->tiny_cache
                             ? "l2-cache-size=2048,l2-cache-entry-size=512,refcount-cache-size=2048"
                             : "", &err);
    g_assert_no_error(err);
}

static void save(World *w, const GByteArray *content)
{
    g_assert_true(g_file_set_contents(w->file, (const char *)content->data, content->len, NULL));
}

/* Leaks are no corruption. */
static void judge(World *w, const GByteArray *content, bool leaks_allowed, bool repair)
{
    g_autofree char *program = g_find_program_in_path("qemu-img");
    g_autofree char *out = NULL, *err = NULL, *repaired = NULL, *complaint = NULL;
    int status;

    if (!program) {
        return;
    }
    save(w, content);
    if (repair) {
        const char *argv[] = {program, "check", "-r", "all", "-f", "qcow2", w->file, NULL};

        run_program(argv, &repaired, &complaint);
    }
    g_autofree char *where = g_strdup_printf("driver=qcow2,file.filename=%s,encrypt.key-secret=s", w->file);
    const char *plain[] = {program, "check", "-f", "qcow2", w->file, NULL};
    const char *locked[] = {program, "check", "--object", SECRET, "--image-opts", where, NULL};
    const char **argv = w->config->luks ? locked : plain;

    status = run_program(argv, &out, &err);
    if (status != 0 && !(leaks_allowed && status == 3)) {
        g_test_message("qemu-img check: %d\n%s%s", status, out, err);
        g_assert_not_reached();
    }
}

/* What w->file has (judge has just written it) equals the model for qemu-img too. */
static void compare_with_qemu(World *w)
{
    g_autofree char *program = g_find_program_in_path("qemu-img"), *raw = g_strdup_printf("%s/raw", w->dir);
    g_autofree char *image = g_strdup_printf("driver=qcow2,file.filename=%s%s", w->file,
                                             w->config->luks ? ",encrypt.key-secret=s" : "");
    g_autofree char *plain = g_strdup_printf("driver=raw,file.filename=%s", raw), *out = NULL, *err = NULL;
    g_autofree uint8_t *buf = g_malloc(w->model.sectors * SECTOR);
    const char *argv[] = {program, "compare", "--object", SECRET, "--image-opts", image, plain, NULL};
    int status = 0;

    for (unsigned s = 0; s < w->model.sectors; s++) {
        fill_sectors(buf + s * SECTOR, SECTOR, w->model.now[s]);
    }
    if (program) {
        g_assert_true(g_file_set_contents(raw, (char *)buf, w->model.sectors * SECTOR, NULL));
        status = run_program(argv, &out, &err);
        g_unlink(raw);
        if (status) {
            g_error("qemu-img compare: %s%s", out, err);
        }
    }
}

/* ---- the model ------------------------------------------------------------------------------ */

static void model_set(World *w, unsigned sector, uint32_t id)
{
    Model *m = &w->model;

    m->now[sector] = id;
    if (!m->newer[sector]) {
        m->newer[sector] = g_array_new(FALSE, FALSE, sizeof id);
    }
    g_array_append_val(m->newer[sector], id);
}

/* All that has ended before is stable. Nothing is in flight. */
static void model_flushed(World *w)
{
    for (unsigned s = 0; s < MAX_SECTORS; s++) {
        w->model.flushed[s] = w->model.now[s];
        g_clear_pointer(&w->model.newer[s], g_array_unref);
    }
}

static void compare_all(World *w)
{
    g_autofree uint8_t *buf = g_malloc(w->model.sectors * SECTOR);

    g_assert_cmpint(block_pread(w->node, 0, buf, w->model.sectors * SECTOR), ==, 0);
    for (unsigned s = 0; s < w->model.sectors; s++) {
        g_assert_cmphex(sector_id(buf + s * SECTOR), ==, w->model.now[s]);
    }
}

/* ---- requests ------------------------------------------------------------------------------- */

typedef struct Op {
    World *w;
    BlockIo io;
    struct iovec iov[2];
    unsigned first, count;
    uint32_t id;
    uint8_t *buf;
    bool fua;
    bool clusters_only; /* discard: only whole clusters turn to zeros */
    uint32_t *expected; /* read */
} Op;

static void op_done(BlockIo *io, int result)
{
    Op *op = container_of(io, Op, io);
    World *w = op->w;
    unsigned per = MAX((unsigned)(w->config->cluster / SECTOR), 1);
    unsigned first = op->first, end = op->first + op->count;

    w->in_flight--;
    if (!w->failing) {
        g_assert_cmpint(result, ==, 0);
    }
    if (op->clusters_only) {
        first = (first + per - 1) / per * per;
        end = end == w->model.sectors ? end : end / per * per;
    }
    for (unsigned s = op->first; s < op->first + op->count; s++) {
        w->model.busy[s] = false;
        if (op->expected && result == 0 && !w->failing) {
            g_assert_cmphex(sector_id(op->buf + (s - op->first) * SECTOR), ==,
                            op->expected[s - op->first]);
        } else if (!op->expected && result == 0 && s >= first && s < end) {
            w->model.now[s] = op->id;
            if (op->fua && !w->looking) {
                w->model.flushed[s] = op->id;
                g_clear_pointer(&w->model.newer[s], g_array_unref);
            }
        }
    }
    g_free(op->expected);
    g_free(op->buf);
    g_free(op);
}

static bool range_is_free(World *w, unsigned first, unsigned count)
{
    for (unsigned s = first; s < first + count; s++) {
        if (w->model.busy[s]) {
            return false;
        }
    }
    return true;
}

static void start_op(World *w, BlockOp kind, unsigned first, unsigned count, bool compressed)
{
    Op *op = g_new0(Op, 1);
    size_t split;

    op->w = w;
    op->first = first;
    op->count = count;
    op->buf = g_malloc0(count * SECTOR);
    op->id = kind == BLOCK_WRITE ? ++w->next_id : 0;
    op->clusters_only = kind == BLOCK_DISCARD;
    op->fua = (kind == BLOCK_WRITE || kind == BLOCK_ZERO) && (g_rand_int_range(w->rand, 0, 10) == 0) != w->config->synced;
    fill_sectors(op->buf, count * SECTOR, op->id);
    if (kind == BLOCK_READ) {
        op->expected = g_memdup2(w->model.now + first, count * sizeof *op->expected);
    }
    for (unsigned s = first; s < first + count; s++) {
        w->model.busy[s] = true;
        if (kind != BLOCK_READ) {
            uint32_t now = w->model.now[s];

            model_set(w, s, op->id); /* a power cut may show it from now on */
            w->model.now[s] = now;
        }
    }
    split = (size_t)g_rand_int_range(w->rand, 0, (gint32)count * SECTOR);
    op->iov[0] = (struct iovec){op->buf, split};
    op->iov[1] = (struct iovec){op->buf + split, count * SECTOR - split};
    op->io = sectors_io(kind, first, count, op->iov, 2);
    op->io.compressed = compressed;
    op->io.may_unmap = g_rand_boolean(w->rand);
    op->io.fua = op->fua;
    op->io.done = op_done;
    w->in_flight++;
    block_node_submit(w->node, &op->io);
}

static void random_op(World *w)
{
    unsigned per = MAX((unsigned)(w->config->cluster / SECTOR), 1);
    unsigned kind = (unsigned)g_rand_int_range(w->rand, 0, 20);
    unsigned first = (unsigned)g_rand_int_range(w->rand, 0, (gint32)w->model.sectors);
    unsigned count = (unsigned)g_rand_int_range(w->rand, 1, (gint32)MAX(per * 3, 8));

    if (kind >= 18 && !w->config->luks) { /* compressed */
        first = first / per * per;
        count = per * (kind - 17);
    }
    count = MIN(count, w->model.sectors - first);
    if (!range_is_free(w, first, count)) {
        return;
    }
    if (kind < 9) {
        start_op(w, BLOCK_WRITE, first, count, false);
    } else if (kind < 12) {
        start_op(w, BLOCK_READ, first, count, false);
    } else if (kind < 15) {
        start_op(w, BLOCK_ZERO, first, count, false);
    } else if (kind < 18) {
        start_op(w, w->overlay ? BLOCK_ZERO : BLOCK_DISCARD, first, count, false);
    } else {
        start_op(w, BLOCK_WRITE, first, count, !w->config->luks);
    }
}

static void wait_all(World *w, unsigned left)
{
    wait_in_flight(w->node, &w->in_flight, left);
}

static void run_ops(World *w, unsigned n, unsigned depth)
{
    for (unsigned i = 0; i < n; i++) {
        random_op(w);
        wait_all(w, w->config->synced ? 0 : depth);
    }
}

/* ---- building up, tearing down ---------------------------------------------------------------- */

static void setup(World *w, const Config *config, unsigned seed, uint64_t size)
{
    GError *err = NULL;

    memset(w, 0, sizeof *w);
    w->config = config;
    w->vm = vm_new(&err);
    g_assert_no_error(err);
    w->dir = g_strdup("test-qcow2-XXXXXX");
    g_assert_nonnull(g_mkdtemp(w->dir));
    w->file = g_strdup_printf("%s/image", w->dir);
    w->rand = g_rand_new_with_seed(seed);
    w->disk = disk_new(w->vm, "disk", NULL, seed);
    format_image(w->vm, config, w->disk->node, NULL, size);
    w->disk->node->size = w->disk->content->len;
    w->model.sectors = (unsigned)(size / SECTOR);
    must_open(w);
    if (config->bitmap) {
        g_assert_nonnull(block_dirty_bitmap_add(w->node, "b", 4096, true, true, &err));
        block_node_unref(w->node);
        w->disk->node->size = w->disk->content->len;
        must_open(w);
    }
}

static void close_image(World *w)
{
    wait_all(w, 0);
    block_node_unref(w->node);
    w->node = NULL;
    w->disk->node->size = w->disk->content->len;
}

static void teardown(World *w)
{
    if (w->node) {
        close_image(w);
    }
    disk_free(w->disk);
    model_flushed(w);
    g_free(w->snapshot);
    g_rand_free(w->rand);
    blk_cleanup(w->vm);
    vm_free(w->vm);
    g_unlink(w->file);
    g_rmdir(w->dir);
    g_free(w->dir);
    g_free(w->file);
}

/* ---- the model test ------------------------------------------------------------------------- */

static void snapshot_step(World *w)
{
    Qcow2 *q = qcow2_of(w->node);
    GError *err = NULL;

    if (w->config->refcount_bits < 2) {
        return;
    }
    if (!w->snapshot) {
        Qcow2Snapshot info = {.name = (char *)"s1", .icount = UINT64_MAX};

        if (!qcow2_snapshot_create(q, &info, &err)) {
            /* Clusters that several compressed ones share may have no room for as many again. */
            g_assert_cmpuint(w->config->refcount_bits, ==, 2);
            g_assert_nonnull(strstr(err->message, "refcount_bits"));
            g_error_free(err);
            return;
        }
        w->snapshot = g_memdup2(&w->model, sizeof w->model);
    } else if (g_rand_boolean(w->rand)) {
        g_assert_true(qcow2_snapshot_apply(q, "s1", &err));
        memcpy(w->model.now, w->snapshot->now, sizeof w->model.now);
        w->model.sectors = w->snapshot->sectors;
        block_node_set_size(w->node, q->h.size);
    } else {
        qcow2_snapshot_delete(q, "s1", &err);
        g_assert_no_error(err);
        g_clear_pointer(&w->snapshot, g_free);
    }
    g_assert_no_error(err);
}

static void resize_step(World *w)
{
    unsigned sectors = (unsigned)g_rand_int_range(w->rand, 64, MAX_SECTORS);
    GError *err = NULL;

    if (w->config->v2 && w->snapshot) {
        return;
    }
    g_assert_true(block_ptruncate(w->node, (uint64_t)sectors * SECTOR, true, BLOCK_PREALLOC_OFF,
                                  &err));
    for (unsigned s = MIN(sectors, w->model.sectors); s < MAX_SECTORS; s++) {
        w->model.now[s] = 0;
    }
    w->model.sectors = sectors;
}

static void own_check(World *w)
{
    Qcow2CheckResult r = {0};

    g_assert_cmpint(qcow2_check(qcow2_of(w->node), 0, &r), ==, 0);
    g_assert_cmpuint(r.n.corruptions, ==, 0);
    g_assert_cmpuint(r.n.leaks, ==, 0);
    g_assert_cmpuint(r.n.check_errors, ==, 0);
}

static BlockNode *open_overlay(World *w, Disk *disk)
{
    g_autofree char *more = g_strdup_printf("backing=%s", w->node->name);
    Config plain = *w->config; /* v2 cannot hide what lies below */
    const Config *config = w->config;
    GError *err = NULL;
    BlockNode *node;

    plain.v2 = plain.luks = plain.bitmap = false;
    format_image(w->vm, &plain, disk->node, NULL, (uint64_t)w->model.sectors * SECTOR);
    disk->node->size = disk->content->len;
    w->config = &plain;
    node = open_image(w, "top", more, &err);
    w->config = config;
    g_assert_no_error(err);
    return node;
}

/* Goes on in an overlay, commits it (twice: an emptied one is as good as new) and drops it. */
static void commit_step(World *w)
{
    Disk *disk = disk_new(w->vm, "top", NULL, g_rand_int(w->rand));
    BlockNode *base = w->node;
    GError *err = NULL;

    w->node = open_overlay(w, disk);
    w->overlay = true;
    for (unsigned turn = 0; turn < 2; turn++) {
        run_ops(w, 60, 24);
        wait_all(w, 0);
        compare_all(w);
        own_check(w);
        g_assert_cmpint(copy_down(w->node, base), ==, 0);
        g_assert_true(qcow2_make_empty(qcow2_of(w->node), &err));
        g_assert_no_error(err);
        compare_all(w);
    }
    block_node_unref(w->node);
    disk_free(disk);
    w->node = base;
    w->overlay = false;
    compare_all(w);
}

static void test_model(const void *data)
{
    const Config *config = data;
    World w;

    setup(&w, config, image_seed(1234), 3 * MIB + 512);
    judge(&w, w.disk->content, false, false);
    /* KILN_IMAGE_FACTOR=14 makes a million operations of it, over all images. */
    for (unsigned round = 0; round < 12 * factor(); round++) {
        run_ops(&w, 400, round % 3 == 0 ? 0 : 24);
        wait_all(&w, 0);
        if (round % 3 == 1) {
            g_assert_cmpint(block_pflush(w.node), ==, 0);
        }
        compare_all(&w);
        if (round % 2) {
            snapshot_step(&w);
            compare_all(&w);
        }
        if (round % 4 == 2) {
            resize_step(&w);
            compare_all(&w);
        }
        if (round % 4 == 3) {
            commit_step(&w);
        }
        own_check(&w);
        compare_all(&w);
        close_image(&w);
        judge(&w, w.disk->content, false, false);
        compare_with_qemu(&w);
        must_open(&w);
        compare_all(&w);
        model_flushed(&w);
    }
    teardown(&w);
}

/* ---- power cuts ----------------------------------------------------------------------------- */

/* What a cut left must hold, sector by sector, what was flushed or something newer. */
static void check_cut(World *w, GByteArray *content)
{
    Disk *after = disk_new(w->vm, "after", content, 1);
    g_autofree uint8_t *buf = g_malloc(w->model.sectors * SECTOR);
    GError *err = NULL;
    BlockNode *node = open_image(w, "after", "", &err);

    g_assert_no_error(err);
    g_assert_cmpint(block_pread(node, 0, buf, w->model.sectors * SECTOR), ==, 0);
    for (unsigned s = 0; s < w->model.sectors; s++) {
        uint32_t id = sector_id(buf + s * SECTOR);
        bool ok = id == w->model.flushed[s];

        for (unsigned i = 0; !ok && w->model.newer[s] && i < w->model.newer[s]->len; i++) {
            ok = id == g_array_index(w->model.newer[s], uint32_t, i);
        }
        if (!ok) {
            g_test_message("sector %u: %x, flushed %x", s, id, w->model.flushed[s]);
        }
        g_assert_true(ok);
    }
    if (w->config->bitmap && w->node) { /* whoever was cut off has not stored what it recorded */
        g_assert_null(block_dirty_bitmap_find(node, "b")->bits);
    }
    block_node_unref(node);
    disk_free(after);
}

static void cut_here(World *w)
{
    GByteArray *content = disk_cut(w->disk);

    judge(w, content, true, w->config->lazy);
    w->looking = true;
    check_cut(w, content);
    w->looking = false;
    g_byte_array_unref(content);
}

static void test_power(const void *data)
{
    const Config *config = data;
    World w;

    setup(&w, config, 77, 2 * MIB);
    for (unsigned round = 0; round < 16; round++) {
        run_ops(&w, 30 + round * 6, 24);
        cut_here(&w); /* with requests on their way */
        if (round % 2) {
            wait_all(&w, 0);
            g_assert_cmpint(block_pflush(w.node), ==, 0);
            model_flushed(&w);
            cut_here(&w);
        }
    }
    wait_all(&w, 0);
    compare_all(&w);
    teardown(&w);
}

/* ---- failing disks -------------------------------------------------------------------------- */

/* After every single failure the image is sound, and what was not touched by the failed requests is
 * as it was. */
static void fail_once(const Config *config, unsigned which, unsigned n)
{
    unsigned *counters[3];
    World w;

    setup(&w, config, 5 + n, 1 * MIB);
    run_ops(&w, 40, 8);
    wait_all(&w, 0);
    g_assert_cmpint(block_pflush(w.node), ==, 0);
    model_flushed(&w);
    close_image(&w);
    must_open(&w);
    counters[0] = &w.disk->fail_write;
    counters[1] = &w.disk->fail_read;
    counters[2] = &w.disk->fail_flush;
    *counters[which] = n;
    w.failing = true;
    for (unsigned i = 0; i < 4; i++) {
        run_ops(&w, 20, 8);
        wait_all(&w, 0);
        block_pflush(w.node);
    }
    w.disk->fail_write = w.disk->fail_read = w.disk->fail_flush = 0;
    g_assert_cmpint(block_pflush(w.node), ==, 0);
    close_image(&w);
    judge(&w, w.disk->content, true, false);
    check_cut(&w, w.disk->content);
    teardown(&w);
}

static void test_failures(const void *data)
{
    for (unsigned which = 0; which < 3; which++) {
        for (unsigned n = 1; n <= 10; n++) {
            fail_once(data, which, n * (which == 2 ? 1 : 2));
        }
    }
}

/* Each write and flush of the closing fails once: the bitmap that is found then either has all that was
 * written or says that it does not. */
static void store_fails(const Config *config, bool flush, unsigned n)
{
    g_autofree bool *written = NULL;
    GError *err = NULL;
    DirtyBitmap *b;
    World w;

    setup(&w, config, 100 + n, MIB);
    written = g_new0(bool, MAX_SECTORS);
    run_ops(&w, 30, 0);
    for (unsigned s = 0; s < w.model.sectors; s++) {
        written[s] = w.model.newer[s] != NULL;
    }
    w.failing = true;
    *(flush ? &w.disk->fail_flush : &w.disk->fail_write) = n;
    close_image(&w);
    w.disk->fail_write = w.disk->fail_flush = 0;
    judge(&w, w.disk->content, true, false);
    must_open(&w);
    b = block_dirty_bitmap_find(w.node, "b");
    g_assert_nonnull(b);
    for (unsigned s = 0; b->bits && s < w.model.sectors; s++) {
        g_assert_true(!written[s] || block_dirty_bitmap_next(b, s * SECTOR, true) == s * SECTOR);
    }
    if (!b->bits) {
        block_dirty_bitmap_remove(b, &err);
        g_assert_no_error(err);
    }
    close_image(&w);
    judge(&w, w.disk->content, true, false);
    teardown(&w);
}

static void test_store_fails(const void *data)
{
    for (unsigned n = 1; n <= 30; n++) {
        store_fails(data, false, n);
        if (n <= 8) {
            store_fails(data, true, n);
        }
    }
}

/* ---- what is written ------------------------------------------------------------------------ */

/* A cluster more, and a flush: the largest write of what is not the cluster itself. */
static uint64_t largest_table_write(World *w, uint64_t offset)
{
    g_autofree uint8_t *data = g_malloc(w->config->cluster);
    GPtrArray *log = disk_log_new();
    uint64_t largest = 0;
    bool whole = false;

    memset(data, 0x5a, w->config->cluster);
    w->disk->log = log;
    g_assert_cmpint(block_pwrite(w->node, offset, data, w->config->cluster, 0), ==, 0);
    g_assert_cmpint(block_pflush(w->node), ==, 0);
    w->disk->log = NULL;
    for (unsigned i = 0; i < log->len; i++) {
        const DiskEvent *e = g_ptr_array_index(log, i);

        if (e->kind == DISK_SUBMIT && e->write->data && e->write->data[0] == 0x5a) {
            whole = true;
        } else if (e->kind == DISK_SUBMIT) {
            largest = MAX(largest, e->write->len);
        }
    }
    g_assert_true(whole);
    g_ptr_array_free(log, TRUE);
    return largest;
}

/* Of a table of reference counts goes to the file what changed, not the whole of it: also after a write that failed, which
 * goes again with what changed since. */
static void test_parts(void)
{
    static const Config config = {"parts", 65536, 16};
    World w;

    setup(&w, &config, 3, 4 * MIB);
    largest_table_write(&w, 0); /* the L2 table */
    for (unsigned i = 1; i < 8; i++) {
        g_assert_cmpuint(largest_table_write(&w, i * config.cluster), ==, 4096);
    }
    w.disk->fail_write = 2;
    uint8_t sector[SECTOR] = {1};
    const int written = block_pwrite(w.node, 20 * config.cluster, sector, SECTOR, 0);
    g_assert_cmpint(written < 0 ? written : block_pflush(w.node), <, 0);
    w.disk->fail_write = 0;
    g_assert_cmpuint(largest_table_write(&w, 9 * config.cluster), ==, 4096);
    close_image(&w);
    judge(&w, w.disk->content, true, false);
    teardown(&w);
}

/* Writes that each make a cluster and wait for stable storage, one after the other: the data and the entry that names it, and
 * no more, but for once in a while the reference counts of those to come. A killed process leaks these, a closed image none. */
static void test_synced(void)
{
    static const Config config = {"synced", 65536, 16};
    const unsigned clusters = 60;
    g_autofree uint8_t *data = g_malloc0(config.cluster);
    unsigned writes, flushes;
    World w;

    setup(&w, &config, 5, 4 * MIB);
    g_assert_cmpint(block_pwrite(w.node, 0, data, config.cluster, BLOCK_FLAG_FUA), ==, 0); /* the L2 table */
    writes = w.disk->writes;
    flushes = w.disk->flushes;
    for (unsigned i = 1; i <= clusters; i++) {
        g_assert_cmpint(block_pwrite(w.node, i * config.cluster, data, i % 2 ? config.cluster : SECTOR, BLOCK_FLAG_FUA), ==, 0);
        judge(&w, w.disk->stable, true, false);
    }
    g_assert_cmpuint(w.disk->writes - writes, <=, 2 * clusters + 2);
    g_assert_cmpuint(w.disk->flushes - flushes, <=, 2 * 2);
    writes = w.disk->writes;
    g_assert_cmpint(block_pflush(w.node), ==, 0);
    g_assert_cmpuint(w.disk->writes, ==, writes);
    close_image(&w);
    judge(&w, w.disk->content, false, false);
    must_open(&w);
    teardown(&w);
}

static const Config configs[] = {
    {"64k", 65536, 16},
    {"4k", 4096, 16},
    {"512", 512, 16, .tiny_cache = true},
    {"512-64bit", 512, 64},
    {"1bit", 4096, 1},
    {"2bit", 2048, 2},
    {"v2", 4096, 16, .v2 = true},
    {"subclusters", 16384, 16, .extended = true},
    {"subclusters-64k-zstd", 65536, 8, .extended = true, .zstd = true},
    {"lazy", 4096, 16, .lazy = true},
    {"zstd", 16384, 32, .zstd = true},
    {"synced", 4096, 16, .synced = true},
    {"synced-64k-zstd", 65536, 64, .synced = true, .zstd = true},
    {"synced-subclusters", 16384, 1, .synced = true, .extended = true},
    {"luks", 4096, 16, .luks = true},
    {"luks-subclusters", 16384, 16, .luks = true, .extended = true},
    {"bitmap", 4096, 16, .bitmap = true},
    {"bitmap-512", 512, 8, .bitmap = true, .tiny_cache = true},
};

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/qcow2/parts", test_parts);
    g_test_add_func("/qcow2/synced", test_synced);
    for (unsigned i = 0; i < G_N_ELEMENTS(configs); i++) {
        g_autofree char *model = g_strdup_printf("/qcow2/model/%s", configs[i].name);
        g_autofree char *power = g_strdup_printf("/qcow2/power-cut/%s", configs[i].name);
        g_autofree char *fail = g_strdup_printf("/qcow2/failures/%s", configs[i].name);

        g_test_add_data_func(model, &configs[i], test_model);
        g_test_add_data_func(power, &configs[i], test_power);
        g_test_add_data_func(fail, &configs[i], test_failures);
        if (configs[i].bitmap) {
            g_autofree char *store = g_strdup_printf("/qcow2/bitmap-store/%s", configs[i].name);

            g_test_add_data_func(store, &configs[i], test_store_fails);
        }
    }
    return g_test_run();
}
