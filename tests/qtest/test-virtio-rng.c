/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-rng: bytes from its three sources, and the limit of bytes a period. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libvirtio.h"

#define MACHINE "-machine pc -m 32 -nodefaults "
#define SLOT QPCI_DEVFN(4, 0)

typedef struct Rng {
    QTest *qt;
    QVirtio v;
    QVirtq q;
    uint64_t buffer;
} Rng;

static void rng_start_at(Rng *r, unsigned devfn, bool modern)
{
    qvirtio_open(&r->v, r->qt, devfn, modern);
    g_assert_true(qvirtio_negotiate(&r->v, modern ? QV_BIT(QV_VERSION_1) : 0));
    g_assert_cmpuint(qvirtq_max(&r->v, 0), ==, 8);
    g_assert_cmpuint(qvirtq_max(&r->v, 1), ==, 0);
    qvirtq_setup(&r->v, &r->q, 0, 0);
    qvirtio_driver_ok(&r->v);
    r->buffer = qtest_alloc(r->qt, 4096, 4096);
}

static void rng_start(Rng *r, bool modern) { rng_start_at(r, SLOT, modern); }

static unsigned ask(Rng *r, uint32_t len)
{
    const QPiece piece = {r->buffer, len, true};
    unsigned id = qvirtq_add(&r->q, &piece, 1);

    qvirtq_kick(&r->q);
    return id;
}

/* Reads until len bytes have come; the sources may give less at once. */
static void read_all(Rng *r, uint8_t *data, size_t len)
{
    for (size_t done = 0; done < len;) {
        unsigned id = ask(r, (uint32_t)(len - done));
        uint32_t got = qvirtq_wait(&r->q, id);

        g_assert_cmpuint(got, >, 0);
        g_assert_cmpuint(got, <=, len - done);
        qtest_memread(r->qt, r->buffer, data + done, got);
        done += got;
    }
}

static void test_builtin(const void *data)
{
    Rng r = {.qt = qtest_start(MACHINE "-device virtio-rng-pci,addr=4")};
    uint8_t a[256] = {0}, b[256] = {0};

    rng_start(&r, data != NULL);
    read_all(&r, a, sizeof a);
    read_all(&r, b, sizeof b);
    g_assert_cmpint(memcmp(a, b, sizeof a), !=, 0);
    qtest_end(r.qt);
}

/* A file in place of /dev/urandom: the very bytes. */
static void test_file(void)
{
    uint8_t want[600], got[600];
    g_autofree char *path = NULL;
    Rng r;

    for (unsigned i = 0; i < sizeof want; i++) {
        want[i] = (uint8_t)(i * 7 + i / 256);
    }
    path = qtest_temp_file(want, sizeof want);
    r.qt = qtest_start(MACHINE "-object rng-random,id=r,filename=%s -device virtio-rng-pci,rng=r,addr=4", path);
    rng_start(&r, true);
    read_all(&r, got, sizeof got);
    g_assert_cmpmem(got, sizeof got, want, sizeof want);
    qtest_end(r.qt);
}

/* Two devices that share a file, each in its thread: every byte once. */
static void test_shared(void)
{
    enum { BLOCK = 64, BLOCKS = 64 };
    uint8_t want[BLOCKS * BLOCK], got[BLOCK];
    bool seen[BLOCKS] = {0};
    unsigned ids[2], count = 0;
    g_autofree char *path = NULL;
    Rng r[2];

    for (unsigned i = 0; i < sizeof want; i++) {
        want[i] = (uint8_t)(i / BLOCK);
    }
    path = qtest_temp_file(want, sizeof want);
    r[0].qt = r[1].qt = qtest_start(MACHINE "-smp 2 -object rng-random,id=r,filename=%s -device virtio-rng-pci,rng=r,addr=4 "
                                    "-drive if=none,id=d,driver=null-co,size=1M -device virtio-blk-pci,drive=d,num-queues=2 "
                                    "-device virtio-rng-pci,rng=r,addr=5", path);
    rng_start_at(&r[0], SLOT, true);
    rng_start_at(&r[1], QPCI_DEVFN(5, 0), true);
    for (unsigned round = 0; round < BLOCKS / 2; round++) {
        for (unsigned i = 0; i < 2; i++) {
            ids[i] = ask(&r[i], BLOCK);
        }
        for (unsigned i = 0; i < 2; i++) {
            g_assert_cmpuint(qvirtq_wait(&r[i].q, ids[i]), ==, BLOCK);
            qtest_memread(r[i].qt, r[i].buffer, got, BLOCK);
            for (unsigned k = 1; k < BLOCK; k++) {
                g_assert_cmpuint(got[k], ==, got[0]);
            }
            g_assert_cmpuint(got[0], <, BLOCKS);
            count += !seen[got[0]];
            seen[got[0]] = true;
        }
    }
    g_assert_cmpuint(count, ==, BLOCKS);
    qtest_end(r[0].qt);
}

/* A pipe: bytes that are waited for, through a reset too; its end. */
static void test_pipe(void)
{
    g_autofree char *dir = g_dir_make_tmp("kiln-rng-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "pipe", NULL);
    uint8_t data[3];
    unsigned id;
    int fd;
    Rng r;

    g_assert_cmpint(mkfifo(path, 0600), ==, 0);
    r.qt = qtest_start(MACHINE "-object rng-random,id=r,filename=%s -device virtio-rng-pci,rng=r,addr=4", path);
    rng_start(&r, true);
    ask(&r, 64);
    rng_start(&r, true);
    id = ask(&r, 64);
    fd = open(path, O_WRONLY);
    g_assert_cmpint(write(fd, "abc", 3), ==, 3);
    g_assert_cmpuint(qvirtq_wait(&r.q, id), ==, 3);
    qtest_memread(r.qt, r.buffer, data, 3);
    g_assert_cmpmem(data, 3, "abc", 3);
    ask(&r, 64);
    close(fd);
    rng_start(&r, true);
    ask(&r, 64);
    qtest_end(r.qt);
    unlink(path);
    rmdir(dir);
}

static void test_limit(void)
{
    Rng r = {.qt = qtest_start(MACHINE "-device virtio-rng-pci,addr=4,max-bytes=100,period=1000")};
    uint8_t data[100];
    unsigned id, seen;
    uint32_t len;

    rng_start(&r, true);
    read_all(&r, data, sizeof data);
    id = ask(&r, 64);
    for (unsigned i = 0; i < 20; i++) { /* the clock stands: nothing more comes */
        g_assert_false(qvirtq_poll(&r.q, &seen, &len));
    }
    qtest_clock_step(r.qt, 1000 * INT64_C(1000000));
    g_assert_cmpuint(qvirtq_wait(&r.q, id), ==, 64);
    /* What is left of the period is given, then it waits again. */
    g_assert_cmpuint(qvirtq_wait(&r.q, ask(&r, 64)), ==, 36);
    qtest_end(r.qt);
}

/* A reset, and the end, with a request that waits. */
static void test_reset(void)
{
    Rng r = {.qt = qtest_start(MACHINE "-device virtio-rng-pci,addr=4,max-bytes=10,period=100000")};
    uint8_t data[10];

    rng_start(&r, true);
    read_all(&r, data, sizeof data);
    ask(&r, 64);
    rng_start(&r, true);
    ask(&r, 64);
    qtest_end(r.qt);
}

static void test_bad_options(void)
{
    static const char *const bad[][2] = {
        {"virtio-rng-pci,rng=nobody", "nobody"},
        {"virtio-rng-pci,period=0", "period"},
        {"virtio-rng-pci,max-bytes=9223372036854775808", "max-bytes"},
        {"virtio-rng-device", "virtio-rng-device"},
    };

    qtest_expect_refused("-device ", bad, G_N_ELEMENTS(bad));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/virtio-rng/builtin/modern", "", test_builtin);
    g_test_add_data_func("/virtio-rng/builtin/legacy", NULL, test_builtin);
    g_test_add_func("/virtio-rng/file", test_file);
    g_test_add_func("/virtio-rng/shared", test_shared);
    g_test_add_func("/virtio-rng/pipe", test_pipe);
    g_test_add_func("/virtio-rng/limit", test_limit);
    g_test_add_func("/virtio-rng/reset", test_reset);
    g_test_add_func("/virtio-rng/bad-options", test_bad_options);
    return g_test_run();
}
