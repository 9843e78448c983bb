/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Filters: blkdebug's rules and break points, the recorder, throttling, preallocation; limits of a group. */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/throttle.h"
#include "core/event.h"
#include "core/user_object.h"

typedef struct Fixture {
    Vm *vm;
    char *dir, *image;
} Fixture;

static void setup(Fixture *f, const void *data)
{
    g_autofree char *zeros = g_malloc0(MIB);
    GError *err = NULL;

    (void)data;
    f->vm = vm_new(&err);
    g_assert_no_error(err);
    f->dir = g_strdup("test-block-filters-XXXXXX");
    g_assert_nonnull(g_mkdtemp(f->dir));
    f->image = g_strdup_printf("%s/disk", f->dir);
    g_assert_true(g_file_set_contents(f->image, zeros, MIB, NULL));
}

static void teardown(Fixture *f, const void *data)
{
    static const char *const made[] = {"disk", "log", "base", "mid"};

    (void)data;
    blk_cleanup(f->vm);
    vm_free(f->vm);
    for (unsigned i = 0; i < G_N_ELEMENTS(made); i++) {
        g_autofree char *path = g_build_filename(f->dir, made[i], NULL);

        g_unlink(path);
    }
    g_rmdir(f->dir);
    g_free(f->dir);
    g_free(f->image);
}

/* IMG, LOG and DIR in options become paths. */
static BlockNode *open_node(Fixture *f, const char *options, const char *refused)
{
    g_autofree char *log = g_strdup_printf("%s/log", f->dir);
    g_autoptr(GString) text = g_string_new(options);
    g_autoptr(GError) err = NULL;
    BlockOpts *opts;
    BlockNode *node;

    g_string_replace(text, "IMG", f->image, 0);
    g_string_replace(text, "LOG", log, 0);
    g_string_replace(text, "DIR", f->dir, 0);
    opts = block_opts_parse(text->str, "driver", &err);
    g_assert_no_error(err);
    node = block_node_open(f->vm, opts, NULL, &err);
    block_opts_free(opts);
    if (refused) {
        g_assert_null(node);
        g_assert_nonnull(err);
        g_test_message("%s", err->message);
        g_assert_nonnull(strstr(err->message, refused));
    } else {
        g_assert_no_error(err);
    }
    return node;
}

static int read_at(BlockNode *node, uint64_t offset)
{
    uint8_t buf[512];

    return block_pread(node, offset, buf, sizeof buf);
}

static int write_at(BlockNode *node, uint64_t offset, uint8_t value, size_t len)
{
    g_autofree uint8_t *buf = g_malloc(len);

    memset(buf, value, len);
    return block_pwrite(node, offset, buf, len, 0);
}

/* ---- blkdebug ------------------------------------------------------------------------------- */

#define DEBUG "raw,file.driver=blkdebug,file.image.driver=file,file.image.filename=IMG,file."

static void test_inject(Fixture *f, const void *data)
{
    BlockNode *node;

    (void)data;
    node = open_node(f, DEBUG "inject-error.0.event=read_aio,file.inject-error.0.sector=4,"
                              "file.inject-error.0.once=on,file.inject-error.0.iotype=read,file.inject-error.0.errno=28",
                     NULL);
    g_assert_cmpint(read_at(node, 0), ==, 0);
    g_assert_cmpint(write_at(node, 2048, 1, 512), ==, 0);
    g_assert_cmpint(read_at(node, 2048), ==, -ENOSPC);
    g_assert_cmpint(read_at(node, 2048), ==, 0);
    block_node_unref(node);

    node = open_node(f, DEBUG "inject-error.0.event=none,file.inject-error.0.iotype=write", NULL);
    g_assert_cmpint(read_at(node, 0), ==, 0);
    g_assert_cmpint(write_at(node, 0, 1, 512), ==, -EIO);
    g_assert_cmpint(write_at(node, 0, 1, 512), ==, -EIO);
    block_node_unref(node);

    /* The second write changes the state; in state 2 flushes fail. */
    node = open_node(f, DEBUG "set-state.0.event=write_aio,file.set-state.0.state=3,file.set-state.0.new_state=2,"
                              "file.set-state.1.event=write_aio,file.set-state.1.state=1,file.set-state.1.new_state=3,"
                              "file.inject-error.0.event=flush_to_disk,file.inject-error.0.state=2",
                     NULL);
    g_assert_cmpint(write_at(node, 0, 1, 512), ==, 0);
    g_assert_cmpint(block_pflush(node), ==, 0);
    g_assert_cmpint(write_at(node, 0, 1, 512), ==, 0);
    g_assert_cmpint(block_pflush(node), ==, -EIO);
    block_node_unref(node);
}

static void test_config(Fixture *f, const void *data)
{
    g_autofree char *log = g_strdup_printf("%s/log", f->dir);
    BlockNode *node;

    (void)data;
    g_assert_true(g_file_set_contents(log, "# comment\n[inject-error]\nevent = \"write_aio\"\nerrno = \"28\"\n", -1, NULL));
    node = open_node(f, DEBUG "config=LOG", NULL);
    g_assert_cmpint(write_at(node, 0, 1, 512), ==, -ENOSPC);
    block_node_unref(node);
    g_assert_true(g_file_set_contents(log, "[inject-errors]\nevent = \"write_aio\"\n", -1, NULL));
    open_node(f, DEBUG "config=LOG", "no section [inject-errors]");
    open_node(f, DEBUG "config=nowhere", "Could not read blkdebug config file");
    open_node(f, DEBUG "inject-error.0.event=boo", "Invalid event name");
    open_node(f, DEBUG "inject-error.0.errno=5", "Missing event name");
    open_node(f, DEBUG "inject-error.0.event=none,file.inject-error.0.bogus=1", "Invalid parameter 'bogus'");
}

static void note(void *opaque, int result)
{
    *(int *)opaque = result;
}

static void test_break(Fixture *f, const void *data)
{
    BlockNode *node = open_node(f, DEBUG "config=", NULL), *debug = node->file->node;
    BlockBackend *blk = blk_new(f->vm, "b", node, 0, NULL);
    uint8_t buf[512] = {0};
    struct iovec iov = {buf, 512};
    int done[2] = {1, 1};

    (void)data;
    g_assert_false(block_debug_break(node, "write_aio", "A"));
    g_assert_true(block_debug_break(debug, "write_aio", "A"));
    blk_writev(blk, 0, &iov, 1, false, note, &done[0]);
    blk_writev(blk, 512, &iov, 1, false, note, &done[1]);
    while (done[1] == 1) {
        block_loop_wait(node->loop);
    }
    g_assert_true(block_debug_is_suspended(debug, "A"));
    g_assert_cmpint(done[0], ==, 1);
    g_assert_true(block_debug_resume(debug, "A"));
    blk_drain(blk);
    g_assert_cmpint(done[0], ==, 0);
    g_assert_false(block_debug_resume(debug, "A"));
    block_node_unref(node);
}

/* ---- the recorder --------------------------------------------------------------------------- */

static void test_log(Fixture *f, const void *data)
{
    g_autofree char *log = g_strdup_printf("%s/log", f->dir), *text = NULL;
    BlockNode *node;
    const uint8_t *p;
    gsize len;

    (void)data;
    g_assert_true(g_file_set_contents(log, "", 0, NULL));
    node = open_node(f, "blklogwrites,file.driver=file,file.filename=IMG,log.driver=file,log.filename=LOG", NULL);
    g_assert_cmpint(write_at(node, 1024, 0x11, 1024), ==, 0);
    g_assert_cmpint(block_pflush(node), ==, 0);
    g_assert_cmpint(block_pzero(node, 4096, 512, BLOCK_FLAG_FUA), ==, 0);
    g_assert_cmpint(block_pdiscard(node, 8192, 4096), ==, 0);
    g_assert_cmpint(write_at(node, 100, 1, 512), ==, -EINVAL);
    block_node_unref(node);
    g_assert_true(g_file_get_contents(log, &text, &len, NULL));
    p = (uint8_t *)text;
    g_assert_cmpuint(load64_le(p), ==, 0x6a736677736872);
    g_assert_cmpuint(load64_le(p + 16), ==, 4);
    /* 1: header, 2 sectors; 4: flush; 5: zeroes with FUA, 1 sector; 7: discard */
    g_assert_cmpuint(load64_le(p + 512), ==, 2);
    g_assert_cmpuint(load64_le(p + 512 + 24), ==, 1024);
    g_assert_cmpuint(p[1024], ==, 0x11);
    g_assert_cmpuint(load64_le(p + 4 * 512 + 16), ==, 1);
    g_assert_cmpuint(load64_le(p + 5 * 512 + 16), ==, 2);
    g_assert_cmpuint(load64_le(p + 7 * 512), ==, 16);
    g_assert_cmpuint(load64_le(p + 7 * 512 + 8), ==, 8);
    g_assert_cmpuint(load64_le(p + 7 * 512 + 16), ==, 4);
    g_assert_cmpuint(len, ==, 8 * 512);

    node = open_node(f, "blklogwrites,log-append=on,file.driver=file,file.filename=IMG,log.driver=file,log.filename=LOG",
                     NULL);
    g_assert_cmpint(block_pflush(node), ==, 0);
    block_node_unref(node);
    g_clear_pointer(&text, g_free);
    g_assert_true(g_file_get_contents(log, &text, &len, NULL));
    g_assert_cmpuint(load64_le(text + 16), ==, 5);
    g_assert_cmpuint(load64_le(text + 8 * 512 + 16), ==, 1);
    g_assert_true(g_file_set_contents(log, "", 0, NULL));
    open_node(f, "blklogwrites,log-append=on,file.driver=file,file.filename=IMG,log.driver=file,log.filename=LOG",
              "no dm-log-writes log");
    open_node(f, "blklogwrites,file.driver=file,file.filename=IMG", "must be specified for \"log\"");
}

/* ---- throttling ----------------------------------------------------------------------------- */

static void count(void *opaque, int result)
{
    g_assert_cmpint(result, ==, 0);
    ++*(unsigned *)opaque;
}

static void test_throttle(Fixture *f, const void *data)
{
    const char *const pairs[] = {"x-iops-total", "10", NULL};
    GError *err = NULL;
    BlockNode *node;
    BlockBackend *blk;
    uint8_t buf[512];
    struct iovec iov = {buf, 512};
    unsigned done = 0;
    int64_t start;

    (void)data;
    open_node(f, "throttle,throttle-group=tg,file.driver=null-co", "Throttle group 'tg' does not exist");
    g_assert_nonnull(user_object_new(f->vm, "throttle-group", "tg", pairs, &err));
    g_assert_no_error(err);
    node = open_node(f, "throttle,throttle-group=tg,file.driver=null-co", NULL);
    blk = blk_new(f->vm, "t", node, 0, NULL);
    start = clock_monotonic_ns();
    for (unsigned i = 0; i < 6; i++) {
        blk_readv(blk, 0, &iov, 1, count, &done);
    }
    while (done < 3) {
        loop_run_once(f->vm->loop, -1);
    }
    /* A tenth of a second's worth fits; each request more has waited for its share. */
    g_assert_cmpint(clock_monotonic_ns() - start, >=, 50 * NSEC_PER_MSEC);
    /* A drained section lets all of them go. */
    block_drain_begin(node);
    g_assert_cmpuint(done, ==, 6);
    block_drain_end(node);
    /* No limit any more. */
    {
        ThrottleConfig config = throttle_config_default();

        for (unsigned i = 0; i < 50; i++) {
            blk_readv(blk, 0, &iov, 1, count, &done);
        }
        throttle_group_set_config(throttle_group_find(f->vm, "tg"), &config);
        while (done < 56) {
            loop_run_once(f->vm->loop, -1);
        }
    }
    block_node_unref(node);
}

static void test_limits(Fixture *f, const void *data)
{
    static const struct {
        const char *const pairs[5];
        const char *error;
    } bad[] = {
        {{"x-bps-total", "1", "x-bps-read", "1"}, "cannot be used at the same time"},
        {{"x-iops-size", "4096"}, "iops size requires an iops value"},
        {{"x-bps-write-max", "100"}, "require corresponding"},
        {{"x-bps-write", "200", "x-bps-write-max", "100"}, "cannot be lower"},
        {{"x-bps-write", "200", "x-bps-write-max-length", "2"}, "without burst rate"},
        {{"x-bps-write", "200", "x-bps-write-max-length", "0"}, "burst length cannot be 0"},
    };
    json_object *good = json_tokener_parse("{\"qom-type\":\"throttle-group\",\"id\":\"g\",\"limits\":"
                                           "{\"iops-read\":100,\"iops-read-max\":200,\"iops-read-max-length\":3}}");
    json_object *wrong = json_tokener_parse("{\"qom-type\":\"throttle-group\",\"id\":\"w\",\"limits\":{\"iops\":1}}");
    GError *err = NULL;
    ThrottleConfig config;

    (void)data;
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_assert_null(user_object_new(f->vm, "throttle-group", "x", bad[i].pairs, &err));
        g_assert_nonnull(strstr(err->message, bad[i].error));
        g_clear_error(&err);
    }
    g_assert_nonnull(user_object_add(f->vm, good, &err));
    g_assert_no_error(err);
    config = throttle_group_config(throttle_group_find(f->vm, "g"));
    g_assert_cmpuint(config.max[THROTTLE_IOPS_READ], ==, 200);
    g_assert_cmpuint(config.length[THROTTLE_IOPS_READ], ==, 3);
    g_assert_null(user_object_add(f->vm, wrong, &err));
    g_assert_nonnull(strstr(err->message, "limits.iops"));
    g_clear_error(&err);
    json_object_put(good);
    json_object_put(wrong);
}

/* ---- the others ----------------------------------------------------------------------------- */

static void test_preallocate(Fixture *f, const void *data)
{
    BlockNode *node = open_node(f, "preallocate,prealloc-size=2M,file.driver=file,file.filename=IMG", NULL);
    struct stat st;

    (void)data;
    g_assert_cmpint(write_at(node, MIB, 1, 4096), ==, 0);
    g_assert_cmpint(stat(f->image, &st), ==, 0);
    g_assert_cmpint(st.st_size, >=, 3 * MIB);
    g_assert_cmpuint(node->size, ==, MIB + 4096);
    block_node_unref(node);
    g_assert_cmpint(stat(f->image, &st), ==, 0);
    g_assert_cmpint(st.st_size, ==, MIB + 4096);
    open_node(f, "preallocate,prealloc-align=1000,file.driver=file,file.filename=IMG", "not a power of two");
}

/* A file that is slow at making zeros: they are held, and what else comes is counted. */
static const BlockDriver *quick;
static BlockIo *held;
static unsigned passed;

static void slow_zeros(BlockNode *node, BlockIo *io)
{
    if (io->op == BLOCK_ZERO) {
        held = io;
    } else {
        passed++;
        quick->submit(node, io);
    }
}

/* Room that is being made does not become zeros over what is written to it meanwhile. */
static void ended(BlockIo *io, int result)
{
    g_assert_cmpint(result, ==, 0);
    ++*(unsigned *)io->opaque;
}

static void test_preallocate_meanwhile(Fixture *f, const void *data)
{
    static const uint64_t places[] = {MIB, MIB + 65536, 0}; /* behind the end, where room is being made, and before */
    BlockNode *node = open_node(f, "preallocate,prealloc-size=2M,file.driver=file,file.filename=IMG", NULL), *file = node->file->node;
    uint8_t buf[512] = {1};
    struct iovec iov = {buf, 512};
    unsigned done = 0;
    BlockIo io[3];
    BlockDriver slow;

    (void)data;
    quick = file->drv;
    slow = *quick;
    slow.submit = slow_zeros;
    file->drv = &slow;
    for (unsigned i = 0; i < 3; i++) {
        io[i] = (BlockIo){.op = BLOCK_WRITE, .offset = places[i], .len = 512, .iov = &iov, .iov_count = 1, .done = ended, .opaque = &done};
        block_node_submit(node, &io[i]);
    }
    while (done < 1) {
        loop_run_once(f->vm->loop, -1);
    }
    g_assert_cmpuint(passed, ==, 1);
    quick->submit(file, held);
    while (done < 3) {
        loop_run_once(f->vm->loop, -1);
    }
    g_assert_cmpuint(passed, ==, 3);
    file->drv = quick;
    block_node_unref(node);
}

/* What others wrote behind the end that the filter knows is not cut off with it. */
static void test_preallocate_shared(Fixture *f, const void *data)
{
    BlockNode *file = open_node(f, "file,node-name=shared,filename=IMG", NULL);
    BlockNode *filter = open_node(f, "preallocate,prealloc-size=2M,file=shared", NULL);
    uint64_t end = file->size + MIB;
    struct stat st;

    (void)data;
    g_assert_cmpint(write_at(file, end - 4096, 1, 4096), ==, 0);
    block_node_unref(filter);
    g_assert_cmpint(stat(f->image, &st), ==, 0);
    g_assert_cmpint(st.st_size, >=, end);
    block_node_unref(file);
    g_assert_cmpint(stat(f->image, &st), ==, 0);
    g_assert_cmpint(st.st_size, ==, end);
}

static void test_latency(Fixture *f, const void *data)
{
    BlockNode *node = open_node(f, "null-aio,latency-ns=3000000,size=1M", NULL);
    int64_t start = clock_monotonic_ns();

    (void)data;
    g_assert_cmpint(read_at(node, 0), ==, 0);
    g_assert_cmpint(clock_monotonic_ns() - start, >=, 3000000);
    block_node_unref(node);
}

/* What is read through it is in the overlay afterwards, whole clusters of it; what was not read is not. */
static void test_copy_on_read(Fixture *f, const void *data)
{
    g_autofree char *log = g_strdup_printf("%s/log", f->dir);
    BlockOpts *opts = block_opts_new();
    BlockNode *node, *overlay;
    BlockStatus status;
    GError *err = NULL;
    uint8_t buf[512];

    (void)data;
    node = open_node(f, "raw,file.driver=file,file.filename=IMG", NULL);
    g_assert_cmpint(write_at(node, 0, 7, MIB), ==, 0);
    block_node_unref(node);
    block_opts_set(opts, "size", "1M");
    block_driver_find("qcow2")->create(f->vm, log, opts, &err);
    g_assert_no_error(err);
    block_opts_free(opts);
    node = open_node(f, "copy-on-read,file.driver=qcow2,file.file.driver=file,file.file.filename=LOG,"
                        "file.backing.driver=raw,file.backing.file.driver=file,file.backing.file.filename=IMG", NULL);
    overlay = node->file->node;
    g_assert_cmpint(block_pread(node, 65536 + 512, buf, 512), ==, 0);
    g_assert_cmpuint(buf[0], ==, 7);
    g_assert_cmpint(block_pstatus(overlay, 0, MIB, 0, &status), ==, 0);
    g_assert_true(!status.allocated && status.bytes == 65536);
    g_assert_cmpint(block_pstatus(overlay, 65536, MIB, 0, &status), ==, 0);
    g_assert_true(status.allocated && status.bytes == 65536);
    g_assert_cmpint(write_at(node, 65536, 9, 512), ==, 0);
    g_assert_cmpint(block_pread(node, 65536, buf, 512), ==, 0);
    g_assert_cmpuint(buf[0], ==, 9);
    block_node_unref(node);
}

static void make_overlay(Fixture *f, const char *name, const char *size)
{
    g_autofree char *path = g_strdup_printf("%s/%s", f->dir, name);
    BlockOpts *opts = block_opts_new();
    GError *err = NULL;

    block_opts_set(opts, "size", size);
    block_driver_find("qcow2")->create(f->vm, path, opts, &err);
    g_assert_no_error(err);
    block_opts_free(opts);
}

static bool has(BlockNode *node, uint64_t offset)
{
    BlockStatus status;

    g_assert_cmpint(block_pstatus(node, offset, 512, 0, &status), ==, 0);
    return status.allocated;
}

#define CLUSTER 65536

/* With bottom= only what the images down to that one decide is kept: their data and the zeros behind their ends. */
static void test_copy_on_read_bottom(Fixture *f, const void *data)
{
    BlockNode *base, *mid, *top, *cor;
    uint8_t buf[512];

    (void)data;
    make_overlay(f, "base", "1M");
    make_overlay(f, "mid", "128k");
    make_overlay(f, "log", "1M");
    base = open_node(f, "qcow2,node-name=base,file.driver=file,file.filename=DIR/base", NULL);
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmpint(write_at(base, i * CLUSTER, 1, 512), ==, 0);
    }
    mid = open_node(f, "qcow2,node-name=mid,file.driver=file,file.filename=DIR/mid,backing=base", NULL);
    g_assert_cmpint(write_at(mid, CLUSTER, 2, 512), ==, 0);
    top = open_node(f, "qcow2,node-name=top,file.driver=file,file.filename=LOG,backing=mid", NULL);
    open_node(f, "copy-on-read,bottom=none,file=top", "Bottom node 'none' not found");
    cor = open_node(f, "copy-on-read,bottom=mid,file=top", NULL);
    for (unsigned i = 0; i < 3; i++) {
        static const uint8_t wanted[] = {1, 2, 0};

        g_assert_cmpint(block_pread(cor, i * CLUSTER, buf, 512), ==, 0);
        g_assert_cmpuint(buf[0], ==, wanted[i]);
        g_assert_true(has(top, i * CLUSTER) == (i > 0));
    }
    block_node_unref(cor);
    cor = open_node(f, "copy-on-read,node-name=cor,bottom=base,file=top", NULL);
    open_node(f, "copy-on-read,bottom=cor,file=top", "Bottom node 'cor' is a filter");
    open_node(f, "copy-on-read,bottom=top,file=mid", "Bottom node 'top' is none of 'mid' and its backing files");
    g_assert_cmpint(block_pread(cor, 0, buf, 512), ==, 0);
    g_assert_true(has(top, 0) && buf[0] == 1);
    block_node_unref(cor);
    block_node_unref(top);
    block_node_unref(mid);
    block_node_unref(base);
}

typedef struct Heard {
    unsigned count;
    char *text;
} Heard;

static void hear(void *opaque, const QapiEvent *event, const void *data)
{
    Heard *heard = opaque;
    json_object *json = qapi_write(event->data, data);

    heard->count++;
    g_free(heard->text);
    heard->text = g_strdup_printf("%s %s", event->name, json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN));
    json_object_put(json);
}

/* Errors and thresholds are told by events. */
static void test_events(Fixture *f, const void *data)
{
    BlockNode *node = open_node(f, "raw,node-name=n,file.driver=file,file.filename=IMG", NULL);
    BlockBackend *blk = blk_new(f->vm, "b", node, 0, NULL);
    Heard heard = {0};

    (void)data;
    vm_on_event(f->vm, hear, &heard);
    blk_set_on_error(blk, BLK_ON_ERROR_REPORT, BLK_ON_ERROR_ENOSPC);
    g_assert_cmpint(blk_error_action(blk, false, -EIO), ==, BLK_ERROR_REPORT);
    while (heard.count < 1) {
        loop_run_once(f->vm->loop, -1);
    }
    g_assert_cmpstr(heard.text, ==, "BLOCK_IO_ERROR {\"device\":\"b\",\"node-name\":\"n\",\"operation\":\"write\","
                                    "\"action\":\"report\",\"reason\":\"Input\\/output error\"}");
    node->write_threshold = 1024;
    g_assert_cmpint(write_at(node, 512, 1, 512), ==, 0);
    g_assert_cmpint(write_at(node, 1024, 1, 512), ==, 0);
    g_assert_cmpint(write_at(node, 2048, 1, 512), ==, 0);
    while (heard.count < 2) {
        loop_run_once(f->vm->loop, -1);
    }
    g_assert_cmpstr(heard.text, ==, "BLOCK_WRITE_THRESHOLD {\"node-name\":\"n\",\"amount-exceeded\":512,"
                                    "\"write-threshold\":1024}");
    g_assert_cmpuint(node->write_threshold, ==, 0);
    vm_off_event(f->vm, hear, &heard);
    g_free(heard.text);
    block_node_unref(node);
}

static void grown(void *opaque)
{
    ++*(unsigned *)opaque;
}

static void test_resize_told(Fixture *f, const void *data)
{
    static const BlkDevOps ops = {.resized = grown};
    BlockNode *node = open_node(f, "raw,file.driver=file,file.filename=IMG", NULL);
    BlockBackend *blk = blk_new(f->vm, "b", node, 0, NULL);
    GError *err = NULL;
    unsigned told = 0;

    (void)data;
    blk_attach(blk, NULL, &ops, &told, true, &err);
    g_assert_no_error(err);
    g_assert_true(block_ptruncate(node, 2 * MIB, true, BLOCK_PREALLOC_OFF, &err));
    g_assert_cmpuint(told, ==, 1);
    g_assert_cmpuint(blk_size(blk), ==, 2 * MIB);
    block_node_unref(node);
}

static void test_detect_zeroes(Fixture *f, const void *data)
{
    BlockNode *node = open_node(f, "raw,discard=unmap,detect-zeroes=unmap,file.driver=file,file.filename=IMG", NULL);
    BlockStatus status;
    struct stat before, after;

    (void)data;
    g_assert_cmpint(write_at(node, 0, 1, 256 * KIB), ==, 0);
    g_assert_cmpint(stat(f->image, &before), ==, 0);
    g_assert_cmpint(write_at(node, 0, 0, 128 * KIB), ==, 0);
    g_assert_cmpint(stat(f->image, &after), ==, 0);
    if (after.st_blocks == before.st_blocks) {
        g_test_skip("no holes on this file system");
    } else {
        g_assert_cmpint(block_pstatus(node, 0, MIB, BLOCK_FLAG_PRECISE, &status), ==, 0);
        g_assert_true(status.zero && !status.data && status.bytes == 128 * KIB);
        g_assert_cmpint(block_pstatus(node, 128 * KIB, MIB, BLOCK_FLAG_PRECISE, &status), ==, 0);
        g_assert_true(status.data && status.has_offset && status.host_offset == 128 * KIB);
    }
    block_node_unref(node);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*fn)(Fixture *f, const void *data);
    } tests[] = {
        {"blkdebug/inject", test_inject}, {"blkdebug/config", test_config}, {"blkdebug/break", test_break},
        {"blklogwrites", test_log},       {"throttle/node", test_throttle}, {"throttle/limits", test_limits},
        {"preallocate", test_preallocate}, {"preallocate-shared", test_preallocate_shared},
        {"preallocate-meanwhile", test_preallocate_meanwhile}, {"null/latency", test_latency},  {"copy-on-read", test_copy_on_read},
        {"copy-on-read/bottom", test_copy_on_read_bottom},
        {"detect-zeroes", test_detect_zeroes}, {"events", test_events},     {"resize", test_resize_told},
    };

    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(tests); i++) {
        g_autofree char *path = g_strdup_printf("/block-filters/%s", tests[i].name);

        g_test_add(path, Fixture, NULL, setup, tests[i].fn, teardown);
    }
    return g_test_run();
}
