/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Block layer: engines and cache modes, options and their errors, locks between programs, odd
 * images. */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/block_int.h"
#include "util/log.h"

#define IMAGE_SIZE (4 * MIB)

typedef struct Fixture {
    Vm *vm;
    char *dir, *image;
} Fixture;

static void setup(Fixture *f, const void *data)
{
    GError *err = NULL;
    FILE *file;

    (void)data;
    f->vm = vm_new(&err);
    g_assert_no_error(err);
    /* Not in /tmp: it may be a file system without O_DIRECT. */
    f->dir = g_strdup("test-block-XXXXXX");
    g_assert_nonnull(g_mkdtemp(f->dir));
    f->image = g_strdup_printf("%s/disk.raw", f->dir);
    file = fopen(f->image, "w");
    g_assert_cmpint(ftruncate(fileno(file), IMAGE_SIZE), ==, 0);
    fclose(file);
}

static void teardown(Fixture *f, const void *data)
{
    GDir *dir;
    const char *name;

    (void)data;
    blk_cleanup(f->vm);
    vm_free(f->vm);
    dir = g_dir_open(f->dir, 0, NULL);
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *path = g_strdup_printf("%s/%s", f->dir, name);

        g_unlink(path);
    }
    g_dir_close(dir);
    g_rmdir(f->dir);
    g_free(f->dir);
    g_free(f->image);
}

/* ---- helpers -------------------------------------------------------------------------------- */

typedef struct Result {
    bool done;
    int value;
} Result;

static void got(void *opaque, int value)
{
    Result *r = opaque;

    g_assert_false(r->done);
    *r = (Result){true, value};
}

static void wait_for(Fixture *f, Result *r)
{
    g_assert_false(r->done); /* never inside the submitting call */
    while (!r->done) {
        loop_run_once(f->vm->loop, -1);
    }
}

static int do_read(Fixture *f, BlockBackend *blk, uint64_t offset, void *buf, size_t len)
{
    struct iovec iov = {buf, len};
    Result r = {0};

    blk_readv(blk, offset, &iov, 1, got, &r);
    wait_for(f, &r);
    return r.value;
}

static int do_write(Fixture *f, BlockBackend *blk, uint64_t offset, const void *buf, size_t len)
{
    struct iovec iov = {(void *)buf, len};
    Result r = {0};

    blk_writev(blk, offset, &iov, 1, false, got, &r);
    wait_for(f, &r);
    return r.value;
}

static int do_flush(Fixture *f, BlockBackend *blk)
{
    Result r = {0};

    blk_flush(blk, got, &r);
    wait_for(f, &r);
    return r.value;
}

static BlockBackend *add_drive(Fixture *f, const char *options)
{
    g_autofree char *text = g_strdup_printf("file=%s,if=none,%s", f->image, options);
    GError *err = NULL;
    DriveInfo *info = NULL;

    blk_add_drive(f->vm, text, NULL, &info, &err);
    g_assert_no_error(err);
    return info->blk;
}

static void expect_refused(Fixture *f, const char *text, const char *part)
{
    GError *err = NULL;

    g_assert_false(blk_add_drive(f->vm, text, NULL, NULL, &err));
    g_assert_nonnull(err);
    if (!strstr(err->message, part)) {
        g_test_message("'%s' gave: %s", text, err->message);
        g_test_fail();
    }
    g_error_free(err);
}

static const BlkDevOps no_ops;

/* ---- data ----------------------------------------------------------------------------------- */

static void pattern(uint8_t *buf, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1103515245 + 12345;
        buf[i] = (uint8_t)(seed >> 16);
    }
}

/* Aligned and misaligned transfers against a model in memory. */
static void test_transfers(Fixture *f, const void *options)
{
    BlockBackend *blk = add_drive(f, options);
    g_autofree uint8_t *model = g_malloc0(IMAGE_SIZE), *raw = g_malloc0(256 * KIB + 8192);
    g_autofree char *contents = NULL;
    gsize length;
    GRand *rand = g_rand_new_with_seed(7);

    for (int i = 0; i < 60; i++) {
        size_t sectors = (size_t)g_rand_int_range(rand, 1, 400);
        uint64_t offset =
            512 * (uint64_t)g_rand_int_range(rand, 0, (int)(IMAGE_SIZE / 512 - sectors));
        uint8_t *buf = raw + (i & 1 ? g_rand_int_range(rand, 0, 100) : 0);

        if (g_rand_int_range(rand, 0, 3)) {
            pattern(buf, sectors * 512, (unsigned)i);
            memcpy(model + offset, buf, sectors * 512);
            g_assert_cmpint(do_write(f, blk, offset, buf, sectors * 512), ==, 0);
        } else {
            g_assert_cmpint(do_read(f, blk, offset, buf, sectors * 512), ==, 0);
            g_assert_true(!memcmp(model + offset, buf, sectors * 512));
        }
    }
    g_assert_cmpint(do_flush(f, blk), ==, 0);
    g_assert_cmpuint(blk_stats(blk)->ops[BLK_STAT_FLUSH], ==, 1);
    g_assert_true(g_file_get_contents(f->image, &contents, &length, NULL));
    g_assert_cmpuint(length, ==, IMAGE_SIZE);
    g_assert_true(!memcmp(contents, model, IMAGE_SIZE));
    g_rand_free(rand);
}

/* Many at once, on odd vectors, ended by drain and not by the loop. */
static void test_parallel(Fixture *f, const void *options)
{
    enum { N = 300 };
    BlockBackend *blk = add_drive(f, options);
    g_autofree uint8_t *buf = g_malloc0((size_t)N * 4096), *back = g_malloc0((size_t)N * 4096);
    g_autofree struct iovec *iov = g_new(struct iovec, (gsize)N * 3);
    Result r[N] = {0};

    pattern(buf, (size_t)N * 4096, 3);
    for (int i = 0; i < N; i++) {
        uint8_t *p = buf + (size_t)i * 4096;

        iov[i * 3] = (struct iovec){p, 512};
        iov[i * 3 + 1] = (struct iovec){p + 512, 3000};
        iov[i * 3 + 2] = (struct iovec){p + 3512, 584};
        blk_writev(blk, (uint64_t)i * 4096, iov + (gsize)i * 3, 3, i % 7 == 0, got, &r[i]);
    }
    blk_drain(blk);
    g_assert_cmpuint(blk_in_flight(blk), ==, 0);
    for (int i = 0; i < N; i++) {
        g_assert_true(r[i].done && r[i].value == 0);
    }
    g_assert_cmpint(do_read(f, blk, 0, back, (size_t)N * 4096), ==, 0);
    g_assert_true(!memcmp(buf, back, (size_t)N * 4096));
    g_assert_cmpuint(blk_stats(blk)->ops[BLK_STAT_WRITE], ==, N);
    g_assert_cmpuint(blk_stats(blk)->bytes[BLK_STAT_WRITE], ==, N * 4096);
}

static void test_discard_zero(Fixture *f, const void *options)
{
    BlockBackend *blk = add_drive(f, options);
    uint8_t buf[8192], back[8192];
    struct stat st;
    Result r = {0};

    pattern(buf, sizeof buf, 9);
    g_assert_cmpint(do_write(f, blk, 0, buf, sizeof buf), ==, 0);
    blk_write_zeroes(blk, 512, 1024, true, got, &r);
    wait_for(f, &r);
    g_assert_cmpint(r.value, ==, 0);
    memset(buf + 512, 0, 1024);
    r.done = false;
    blk_discard(blk, 4096, 4096, got, &r);
    wait_for(f, &r);
    g_assert_cmpint(r.value, ==, 0);
    g_assert_cmpint(do_read(f, blk, 0, back, sizeof back), ==, 0);
    g_assert_true(!memcmp(buf, back, 4096));
    g_assert_cmpint(stat(f->image, &st), ==, 0);
    g_assert_cmpint(st.st_size, ==, IMAGE_SIZE);
}

/* ---- a tool that copies ----------------------------------------------------------------------- */

typedef struct Copy {
    BlockIo io;
    struct iovec iov;
    unsigned *in_flight;
} Copy;

static void copy_done(BlockIo *io, int result)
{
    Copy *c = container_of(io, Copy, io);

    g_assert_cmpint(result, ==, 0);
    --*c->in_flight;
}

/* Long writes are a worker's, which does not tell each that has ended: whoever waits is woken all the same. */
static void test_reads_ahead(Fixture *f, const void *options)
{
    enum { N = 16, LEN = 64 * KIB };
    BlockNode *node = blk_node(add_drive(f, options));
    BlockLoop *loop = block_loop_main(f->vm);
    uint8_t *buf = g_aligned_alloc(N, LEN, 4096);
    int64_t end = g_get_monotonic_time() + 120 * G_USEC_PER_SEC;
    g_autofree Copy *c = g_new0(Copy, N);
    GRand *rand = g_rand_new_with_seed(11);
    unsigned in_flight = 0;

    memset(buf, 0x5a, (size_t)N * LEN);
    loop->lone = loop->reads_ahead = true;
    for (unsigned round = 0; round < 400; round++) {
        unsigned n = (unsigned)g_rand_int_range(rand, 1, N + 1), most = (unsigned)g_rand_int_range(rand, 1, N + 1);

        for (unsigned i = 0; i < n; i++) {
            bool brief = g_rand_int_range(rand, 0, 4) == 0;

            c[i] = (Copy){.iov = {buf + (size_t)i * LEN, brief ? 4 * KIB : LEN}, .in_flight = &in_flight};
            c[i].io = (BlockIo){.op = g_rand_int_range(rand, 0, 4) ? BLOCK_WRITE : BLOCK_READ, .offset = i * LEN,
                                .len = c[i].iov.iov_len, .iov = &c[i].iov, .iov_count = 1, .done = copy_done};
            in_flight++;
            block_node_submit(node, &c[i].io);
            while (in_flight >= most) {
                g_assert_true(block_loop_wait(loop));
            }
        }
        while (in_flight) {
            g_assert_true(block_loop_wait(loop));
            g_assert_cmpint(g_get_monotonic_time(), <, end);
        }
    }
    loop->lone = loop->reads_ahead = false;
    g_aligned_free(buf);
    g_rand_free(rand);
}

/* ---- odd images and errors ------------------------------------------------------------------ */

static void test_short_image(Fixture *f, const void *data)
{
    BlockBackend *blk;
    uint8_t buf[1024];

    (void)data;
    g_assert_cmpint(truncate(f->image, 1000), ==, 0);
    blk = add_drive(f, "format=raw");
    g_assert_cmpuint(blk_size(blk), ==, 1024);
    memset(buf, 0xff, sizeof buf);
    g_assert_cmpint(do_read(f, blk, 0, buf, sizeof buf), ==, 0);
    g_assert_cmpint(buf[1023], ==, 0);
    g_assert_cmpint(do_read(f, blk, 1024, buf, 512), ==, -EIO);
    g_assert_cmpint(do_read(f, blk, UINT64_MAX - 511, buf, 512), ==, -EIO);
    /* Truncated behind our back: zeros, as QEMU gives. */
    g_assert_cmpint(truncate(f->image, 0), ==, 0);
    memset(buf, 0xff, sizeof buf);
    g_assert_cmpint(do_read(f, blk, 0, buf, sizeof buf), ==, 0);
    g_assert_cmpint(buf[0], ==, 0);
    g_assert_cmpuint(blk_stats(blk)->failed[BLK_STAT_READ], ==, 2);
}

/* Guests can name their memory many times over; nobody needs so much at once. */
static void test_too_long(Fixture *f, const void *data)
{
    BlockBackend *blk;
    uint8_t buf[512] = {0};

    (void)data;
    g_assert_cmpint(truncate(f->image, 4 * (off_t)GIB), ==, 0);
    blk = add_drive(f, "format=raw");
    g_assert_cmpint(do_read(f, blk, 0, buf, 2 * GIB), ==, -EIO);
    g_assert_cmpint(do_write(f, blk, 512, buf, 3 * GIB), ==, -EIO);
    g_assert_cmpint(do_read(f, blk, 4 * GIB - 512, buf, 512), ==, 0);
}

static void test_window(Fixture *f, const void *data)
{
    BlockBackend *blk = add_drive(f, "format=raw,offset=1M,size=64k");
    uint8_t buf[512], back[512];
    int fd = open(f->image, O_RDONLY | O_CLOEXEC);

    (void)data;
    pattern(buf, sizeof buf, 5);
    g_assert_cmpuint(blk_size(blk), ==, 64 * KIB);
    g_assert_cmpint(do_write(f, blk, 512, buf, 512), ==, 0);
    g_assert_cmpint(do_write(f, blk, 64 * KIB, buf, 512), ==, -EIO);
    g_assert_cmpint(pread(fd, back, 512, MIB + 512), ==, 512);
    g_assert_true(!memcmp(buf, back, 512));
    close(fd);
}

static void test_guessed_raw(Fixture *f, const void *data)
{
    BlockBackend *blk = add_drive(f, "id=x");
    uint8_t buf[1024] = "QFI\xfb\0\0\0\3", back[1024];

    (void)data;
    g_assert_cmpint(do_write(f, blk, 0, buf, 1024), ==, -EPERM);
    memset(buf, 0x55, sizeof buf);
    g_assert_cmpint(do_write(f, blk, 0, buf, 1024), ==, 0);
    g_assert_cmpint(do_read(f, blk, 0, back, 1024), ==, 0);
    g_assert_true(!memcmp(buf, back, 1024));
}

static void test_refusals(Fixture *f, const void *data)
{
    g_autofree char *vmdk = g_strdup_printf("%s/a.img", f->dir);
    static const char *const bad[][2] = {
        {"file=nope.raw", "Could not open 'nope.raw': No such file or directory"},
        {"file=/,format=raw", "directory"},
        {"file=IMG,format=raw,if=foo", "unsupported bus type 'foo'"},
        {"file=IMG,format=xyz", "Unknown driver 'xyz'"},
        {"file=IMG,format=qed", "format 'qed' is not supported yet"},
        {"file=IMG,format=vmdk", "neither as a sparse extent nor as a descriptor"},
        {"file=IMG,format=raw,aio=native", "requires cache.direct=on"},
        {"file=IMG,format=raw,file.aio-max-batch=-1", "aio-max-batch"},
        {"file=IMG,format=raw,aio=foo", "invalid aio option"},
        {"file=IMG,format=raw,cache=foo", "invalid cache option"},
        {"file=IMG,format=raw,serial=x", "does not support the option 'serial'"},
        {"file=IMG,format=raw,werror=foo", "invalid write error action"},
        {"file=IMG,format=raw,rerror=enospc", "invalid read error action"},
        {"file=IMG,format=raw,media=foo", "invalid media"},
        {"file=IMG,format=raw,force-share=on", "can only be used with read-only images"},
        {"file=IMG,format=raw,snapshot=maybe", "expects 'on' or 'off'"},
        {"file=IMG,format=raw,bps=1,bps_rd=1", "cannot be used at the same time"},
        {"file=IMG,format=raw,throttling.iops-size=8", "iops size requires an iops value"},
        {"file=IMG,format=raw,unit=2", "unit 2 too big (max is 1)"},
        {"file=IMG,format=raw,index=0,unit=1", "index cannot be used"},
        {"file=IMG,format=raw,id=1x", "identifier"},
        {"file=IMG,format=raw,offset=5M", "sum of offset"},
        {"file=ssh://x/y", "Unknown protocol 'ssh'"},
    };

    (void)data;
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        char **parts = g_strsplit(bad[i][0], "IMG", -1);
        g_autofree char *text = g_strjoinv(f->image, parts);

        expect_refused(f, text, bad[i][1]);
        g_strfreev(parts);
    }
    g_assert_true(g_file_set_contents(vmdk, "KDMV\1\0\0\0", 8, NULL));
    {
        g_autofree char *text = g_strdup_printf("file=%s", vmdk);

        expect_refused(f, text, "it ends before byte 512");
    }
    g_assert_cmpuint(f->vm->block->drives->len, ==, 0);
    g_assert_cmpuint(f->vm->block->nodes->len, ==, 0);
}

static void test_places(Fixture *f, const void *data)
{
    GError *err = NULL;
    DriveInfo *a, *b, *c;

    (void)data;
    blk_add_drive(f->vm, "driver=null-co,size=1M", NULL, &a, &err);
    g_assert_no_error(err);
    blk_add_drive(f->vm, "media=cdrom,index=2", NULL, &b, &err);
    g_assert_no_error(err);
    g_assert_cmpstr(a->id, ==, "ide0-hd0");
    g_assert_cmpstr(b->id, ==, "ide1-cd0");
    g_assert_false(blk_is_inserted(b->blk));
    g_assert_true(blk_drive_get(f->vm, "ide", 1, 0) == b);
    expect_refused(f, "driver=null-co,index=0", "drive with bus=0, unit=0 (index=0) exists");
    g_assert_true(blk_find(f->vm, "ide0-hd0") == a->blk);
    blk_add_drive(f->vm, "driver=null-co,if=floppy", NULL, &c, &err);
    g_assert_no_error(err);
    g_assert_cmpstr(c->id, ==, "floppy0");
}

static void test_blockdev(Fixture *f, const void *data)
{
    g_autofree char *json = g_strdup_printf(
        "{\"driver\":\"file\",\"filename\":\"%s\",\"node-name\":\"s\","
        "\"auto-read-only\":true,\"discard\":\"unmap\",\"cache\":{\"direct\":false}}",
        f->image);
    g_autofree char *nested = g_strdup_printf(
        "raw,node-name=n,file.driver=file,file.filename=%s,file.locking=off,read-only=on",
        f->image);
    GError *err = NULL;

    (void)data;
    blk_add_blockdev(f->vm, json, &err);
    g_assert_no_error(err);
    blk_add_blockdev(
        f->vm, "{\"node-name\":\"f\",\"read-only\":false,\"driver\":\"raw\",\"file\":\"s\"}", &err);
    g_assert_no_error(err);
    g_assert_cmpuint(block_node_find(f->vm, "f")->size, ==, IMAGE_SIZE);
    blk_add_blockdev(f->vm, nested, &err);
    g_assert_no_error(err);
    g_assert_true(block_node_find(f->vm, "n")->file->node->read_only);
    g_assert_false(
        blk_add_blockdev(f->vm, "{\"driver\":\"raw\",\"file\":\"zz\",\"node-name\":\"q\"}", &err));
    g_assert_nonnull(strstr(err->message, "node-name='zz'"));
    g_clear_error(&err);
    g_assert_false(blk_add_blockdev(f->vm, "raw,file=s", &err));
    g_assert_nonnull(strstr(err->message, "'node-name' must be specified"));
    g_clear_error(&err);
    g_assert_false(blk_add_blockdev(f->vm, "raw,file=s,node-name=q,bogus=1", &err));
    g_assert_nonnull(strstr(err->message, "'bogus'"));
    g_clear_error(&err);
}

static void test_error_policy(Fixture *f, const void *data)
{
    BlockBackend *blk = add_drive(f, "format=raw,werror=stop,rerror=ignore");

    (void)data;
    g_assert_cmpint(blk_error_action(blk, true, -EIO), ==, BLK_ERROR_IGNORE);
    g_assert_cmpint(blk_error_action(blk, false, -EIO), ==, BLK_ERROR_STOP);
    g_assert_cmpstr(blk_io_status(blk), ==, "failed");
    blk_set_on_error(blk, BLK_ON_ERROR_REPORT, BLK_ON_ERROR_ENOSPC);
    g_assert_cmpint(blk_error_action(blk, true, -EIO), ==, BLK_ERROR_REPORT);
    g_assert_cmpint(blk_error_action(blk, false, -EIO), ==, BLK_ERROR_REPORT);
    g_assert_cmpint(blk_error_action(blk, false, -ENOSPC), ==, BLK_ERROR_STOP);
    g_assert_cmpstr(blk_io_status(blk), ==, "failed"); /* the first error's, until the VM runs */
    g_assert_true(vm_start(f->vm, NULL));
    g_assert_cmpstr(blk_io_status(blk), ==, "ok");
    g_assert_cmpint(blk_error_action(blk, false, -ENOSPC), ==, BLK_ERROR_STOP);
    g_assert_cmpstr(blk_io_status(blk), ==, "nospace");
}

/* ---- locks ---------------------------------------------------------------------------------- */

static int run_tool(char **argv, char **err_text)
{
    int status = -1;

    if (!g_spawn_sync(NULL, argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL, NULL,
                      NULL, NULL, err_text, &status, NULL)) {
        return -1;
    }
    return status;
}

static void test_locks(Fixture *f, const void *data)
{
    BlockBackend *blk = add_drive(f, "format=raw");
    GError *err = NULL;
    g_autofree char *text = NULL;
    g_autofree char *found = g_find_program_in_path("qemu-io");
    char *write_it[] = {(char *)"qemu-io",     (char *)"-f", (char *)"raw", (char *)"-c",
                        (char *)"write 0 512", f->image,     NULL};
    /* Another description of the same file in this process conflicts as another process does. */
    g_autofree char *second = g_strdup_printf("file=%s,format=raw,if=none,id=second", f->image);
    DriveInfo *info;

    (void)data;
    g_assert_true(blk_attach(blk, NULL, &no_ops, NULL, true, &err));
    g_assert_no_error(err);
    g_assert_true(blk_add_drive(f->vm, second, NULL, &info, &err));
    g_assert_false(blk_attach(info->blk, NULL, &no_ops, NULL, true, &err));
    g_assert_nonnull(strstr(err->message, "Failed to get \"write\" lock"));
    g_clear_error(&err);
    if (found) {
        g_assert_cmpint(run_tool(write_it, &text), !=, 0);
        g_assert_nonnull(strstr(text, "lock"));
    }
    blk_detach(blk);
    g_assert_true(blk_attach(info->blk, NULL, &no_ops, NULL, true, &err));
    g_assert_no_error(err);
}

static void test_lock_holder(Fixture *f, const void *data)
{
    g_autofree char *found = g_find_program_in_path("qemu-io");
    char *argv[] = {(char *)"qemu-io", (char *)"-f", (char *)"raw", f->image, NULL};
    GError *err = NULL;
    BlockBackend *blk;
    GPid pid;
    int in, out;
    char greeting[8];
    g_autofree char *expected = NULL;

    (void)data;
    if (!found) {
        g_test_skip("qemu-io is not installed");
        return;
    }
    g_assert_true(g_spawn_async_with_pipes(NULL, argv, NULL,
                                           G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD, NULL,
                                           NULL, &pid, &in, &out, NULL, &err));
    /* Its prompt comes when the image is open. */
    g_assert_cmpint(read(out, greeting, sizeof greeting), >, 0);
    blk = add_drive(f, "format=raw");
    g_assert_false(blk_attach(blk, NULL, &no_ops, NULL, true, &err));
    expected = g_strdup_printf("process %d (qemu-io)", (int)pid);
    g_assert_nonnull(strstr(err->message, expected));
    g_clear_error(&err);
    close(in);
    g_spawn_close_pid(pid);
    close(out);
}

int main(int argc, char **argv)
{
    static const char *const modes[] = {
        "format=raw",
        "format=raw,cache=none",
        "format=raw,cache=none,aio=native",
        "format=raw,aio=io_uring",
        "format=raw,cache=none,aio=io_uring",
        "format=raw,cache=writethrough",
        "format=raw,cache=directsync",
        "format=raw,cache=directsync,aio=native",
        "format=raw,cache=directsync,aio=io_uring",
        "format=raw,cache=unsafe",
    };

    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
        g_autofree char *a = g_strdup_printf("/block/transfers/%s", modes[i]);
        g_autofree char *b = g_strdup_printf("/block/parallel/%s", modes[i]);

        g_test_add(a, Fixture, modes[i], setup, test_transfers, teardown);
        g_test_add(b, Fixture, modes[i], setup, test_parallel, teardown);
    }
    g_test_add("/block/discard/ignore", Fixture, "format=raw", setup, test_discard_zero, teardown);
    g_test_add("/block/discard/unmap", Fixture, "format=raw,discard=unmap", setup,
               test_discard_zero, teardown);
    g_test_add("/block/discard/direct", Fixture, "format=raw,discard=unmap,cache=none", setup,
               test_discard_zero, teardown);
    g_test_add("/block/reads-ahead/cached", Fixture, "format=raw", setup, test_reads_ahead, teardown);
    g_test_add("/block/reads-ahead/direct", Fixture, "format=raw,cache=none", setup, test_reads_ahead, teardown);
    g_test_add("/block/short-image", Fixture, NULL, setup, test_short_image, teardown);
    g_test_add("/block/too-long", Fixture, NULL, setup, test_too_long, teardown);
    g_test_add("/block/window", Fixture, NULL, setup, test_window, teardown);
    g_test_add("/block/guessed-raw", Fixture, NULL, setup, test_guessed_raw, teardown);
    g_test_add("/block/refusals", Fixture, NULL, setup, test_refusals, teardown);
    g_test_add("/block/places", Fixture, NULL, setup, test_places, teardown);
    g_test_add("/block/blockdev", Fixture, NULL, setup, test_blockdev, teardown);
    g_test_add("/block/error-policy", Fixture, NULL, setup, test_error_policy, teardown);
    g_test_add("/block/locks", Fixture, NULL, setup, test_locks, teardown);
    g_test_add("/block/lock-holder", Fixture, NULL, setup, test_lock_holder, teardown);
    return g_test_run();
}
