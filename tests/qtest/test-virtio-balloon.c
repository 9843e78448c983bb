/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-balloon: pages in and out, reports of free pages, statistics, pages that are none, bad options. */
#include <string.h>
#include <sys/stat.h>

#include <glib/gstdio.h>

#include "libvirtio.h"

#define MACHINE "-machine pc -m 32 -nodefaults "
#define SLOT QPCI_DEVFN(4, 0)
#define PAGE 4096
enum { STATS = 1, OOM = 2, HINT = 3, POISON = 4, REPORTING = 5 };
enum { NUM_PAGES = 0, ACTUAL = 4, HINT_ID = 8, POISON_VAL = 12 };

typedef struct Balloon {
    QTest *qt;
    QVirtio v;
    QVirtq inflate, deflate, stats, reports;
    uint64_t list;           /* of page numbers */
    uint64_t area;           /* memory to be given */
} Balloon;

#define AREA (8 * 1024 * 1024)

static void balloon_start(Balloon *b, uint64_t features)
{
    qvirtio_open(&b->v, b->qt, SLOT, features & QV_BIT(QV_VERSION_1));
    g_assert_true(qvirtio_negotiate(&b->v, features));
    qvirtq_setup(&b->v, &b->inflate, 0, 0);
    qvirtq_setup(&b->v, &b->deflate, 1, 0);
    qvirtq_setup(&b->v, &b->stats, 2, 0);
    if (features & QV_BIT(REPORTING)) {
        qvirtq_setup(&b->v, &b->reports, 3, 0);
    }
    qvirtio_driver_ok(&b->v);
    b->list = qtest_alloc(b->qt, 4 * PAGE, PAGE);
    b->area = qtest_alloc(b->qt, AREA, PAGE);
}

static unsigned send(Balloon *b, QVirtq *q, const uint32_t *pages, unsigned count)
{
    const QPiece piece = {b->list, 4 * count, false};
    unsigned id;

    qtest_memwrite(b->qt, b->list, pages, 4 * count);
    id = qvirtq_add(q, &piece, 1);
    qvirtq_kick(q);
    return id;
}

static void give(Balloon *b, QVirtq *q, const uint32_t *pages, unsigned count) { qvirtq_wait(q, send(b, q, pages, count)); }

static bool is_zero(Balloon *b, uint64_t addr)
{
    uint8_t page[PAGE];

    qtest_memread(b->qt, addr, page, sizeof page);
    for (unsigned i = 0; i < PAGE; i++) {
        if (page[i]) {
            return false;
        }
    }
    return true;
}

/* Runs of pages up and down, single ones, and the same one twice; their neighbours keep their contents. */
static void inflate_some(Balloon *b)
{
    static const unsigned wanted[] = {0, 1, 2, 9, 8, 7, 20, 20, 22, 40};
    uint32_t pages[G_N_ELEMENTS(wanted)];
    const uint32_t first = (uint32_t)(b->area / PAGE);
    bool given[48] = {0};

    qtest_memset(b->qt, b->area, 0x77, 48 * PAGE);
    for (unsigned i = 0; i < G_N_ELEMENTS(wanted); i++) {
        pages[i] = first + wanted[i];
        given[wanted[i]] = true;
    }
    give(b, &b->inflate, pages, G_N_ELEMENTS(pages));
    for (unsigned i = 0; i < 48; i++) {
        g_assert_cmpint(is_zero(b, b->area + i * PAGE), ==, given[i]);
    }
    give(b, &b->deflate, pages, G_N_ELEMENTS(pages));
    qtest_memset(b->qt, b->area, 0x78, 48 * PAGE);
    g_assert_cmpuint(qtest_readb(b->qt, b->area), ==, 0x78);
}

static void test_inflate(const void *modern)
{
    Balloon b = {.qt = qtest_start(MACHINE "-device virtio-balloon-pci,addr=4")};

    balloon_start(&b, modern ? QV_BIT(QV_VERSION_1) : 0);
    for (unsigned round = 0; round < 3; round++) {
        inflate_some(&b);
    }
    qtest_end(b.qt);
}

/* More page numbers than are looked at in one go, most of them of nothing; the device is reset amid another such list. */
static void test_long_list(void)
{
    const unsigned n = 60000;
    g_autofree uint32_t *pages = g_new(uint32_t, n);
    Balloon b = {.qt = qtest_start(MACHINE "-device virtio-balloon-pci,addr=4")};

    for (unsigned round = 0; round < 2; round++) {
        balloon_start(&b, QV_BIT(QV_VERSION_1));
        for (unsigned i = 0; i < n; i++) { /* beyond RAM, in the firmware, in the local APIC; sometimes one that is there */
            pages[i] = i % 30 ? i % 3 ? 0xfffffff0 - 2 * i : i % 2 ? 0xfffff : 0xfee00 : (uint32_t)(b.area / PAGE) + i / 30;
        }
        b.list = qtest_alloc(b.qt, 4 * n, PAGE);
        qtest_memset(b.qt, b.area, 0x77, AREA);
        give(&b, &b.inflate, pages, n);
        for (unsigned i = 0; i < AREA / PAGE; i += 97) {
            g_assert_cmpint(is_zero(&b, b.area + i * PAGE), ==, i < n / 30);
        }
        give(&b, &b.deflate, pages, n);
        send(&b, &b.inflate, pages, n);
        send(&b, &b.deflate, pages, n);
        qvirtio_set_status(&b.v, 0);
    }
    qtest_end(b.qt);
}

/* Memory in a file: its blocks go. */
static void test_file(void)
{
    g_autofree char *path = qtest_temp_file(NULL, 32 * 1024 * 1024);
    Balloon b = {.qt = qtest_start(MACHINE "-object memory-backend-file,id=m,size=32M,share=on,mem-path=%s -machine "
                                   "memory-backend=m -device virtio-balloon-pci,addr=4", path)};
    uint32_t pages[AREA / PAGE];
    struct stat full, empty;

    balloon_start(&b, QV_BIT(QV_VERSION_1));
    inflate_some(&b);
    qtest_memset(b.qt, b.area, 0x55, AREA);
    for (unsigned i = 0; i < G_N_ELEMENTS(pages); i++) {
        pages[i] = (uint32_t)(b.area / PAGE) + i;
    }
    g_assert_cmpint(g_stat(path, &full), ==, 0);
    give(&b, &b.inflate, pages, G_N_ELEMENTS(pages));
    g_assert_cmpint(g_stat(path, &empty), ==, 0);
    g_assert_cmpint((full.st_blocks - empty.st_blocks) * 512, >=, AREA / 2); /* the host counts late */
    g_assert_true(is_zero(&b, b.area));
    qtest_end(b.qt);
}

/* A private mapping of a file would show the file's contents: it keeps its pages. */
static void test_private_file(void)
{
    g_autofree char *path = qtest_temp_file(NULL, 32 * 1024 * 1024);
    Balloon b = {.qt = qtest_start(MACHINE "-object memory-backend-file,id=m,size=32M,mem-path=%s -machine memory-backend=m "
                                   "-device virtio-balloon-pci,addr=4", path)};
    uint32_t page;

    balloon_start(&b, QV_BIT(QV_VERSION_1));
    page = (uint32_t)(b.area / PAGE);
    qtest_memset(b.qt, b.area, 0x55, PAGE);
    give(&b, &b.inflate, &page, 1);
    g_assert_cmpuint(qtest_readb(b.qt, b.area), ==, 0x55);
    qtest_end(b.qt);
}

static void give_piece(Balloon *b, uint64_t addr, uint32_t len, bool write)
{
    const QPiece piece = {addr, len, write};
    unsigned id = qvirtq_add(&b->inflate, &piece, 1);

    qvirtq_kick(&b->inflate);
    qvirtq_wait(&b->inflate, id);
}

/* ROM, holes, registers, the end of everything; a list that is half a number, or far too long. */
static void test_no_ram(void)
{
    Balloon b = {.qt = qtest_start(MACHINE "-device virtio-balloon-pci,addr=4")};
    static const uint32_t none[] = {0xfffff, 0xf0, 0xa0, 0xfec00, 0xffffffff, 0x80000000, 0x2000, 0xe0000};
    const uint32_t rom = qtest_readl(b.qt, 0xfffffff0);
    const QPiece nowhere = {0x80000000, PAGE, false};

    balloon_start(&b, QV_BIT(QV_VERSION_1));
    give(&b, &b.inflate, none, G_N_ELEMENTS(none));
    give(&b, &b.deflate, none, G_N_ELEMENTS(none));
    g_assert_cmphex(qtest_readl(b.qt, 0xfffffff0), ==, rom);
    give_piece(&b, b.list, 3, false);
    give_piece(&b, b.list, PAGE, true);
    qtest_memset(b.qt, b.area, 0xff, AREA);
    give_piece(&b, b.area, AREA, false);
    inflate_some(&b);
    qvirtq_add(&b.deflate, &nowhere, 1);
    qvirtq_kick(&b.deflate);
    qvirtio_wait_broken(&b.v);
    qtest_end(b.qt);
}

/* ---- reports --------------------------------------------------------------------------------------- */

static void report(Balloon *b, const QPiece *pieces, unsigned count)
{
    unsigned id = qvirtq_add(&b->reports, pieces, count);

    qvirtq_kick(&b->reports);
    g_assert_cmpuint(qvirtq_wait(&b->reports, id), ==, 0);
}

static void test_reports(void)
{
    Balloon b = {.qt = qtest_start(MACHINE "-device virtio-balloon-pci,addr=4")};
    QPiece pieces[2];

    balloon_start(&b, QV_BIT(QV_VERSION_1) | QV_BIT(REPORTING) | QV_BIT(POISON));
    g_assert_cmpuint(qvirtq_max(&b.v, 3), ==, 32);
    qtest_memset(b.qt, b.area, 0x77, 64 * PAGE);
    pieces[0] = (QPiece){b.area + PAGE, 4 * PAGE, true};
    pieces[1] = (QPiece){b.area + 10 * PAGE + 1, 2 * PAGE, true}; /* one whole page lies in it */
    report(&b, pieces, 2);
    g_assert_cmpuint(qtest_readb(b.qt, b.area + PAGE - 1), ==, 0x77);
    g_assert_cmpuint(qtest_readb(b.qt, b.area + 5 * PAGE), ==, 0x77);
    g_assert_cmpuint(qtest_readb(b.qt, b.area + 11 * PAGE - 1), ==, 0x77);
    g_assert_cmpuint(qtest_readb(b.qt, b.area + 12 * PAGE), ==, 0x77);
    for (unsigned i = 1; i < 5; i++) {
        g_assert_true(is_zero(&b, b.area + i * PAGE));
    }
    g_assert_true(is_zero(&b, b.area + 11 * PAGE));
    /* A driver that fills free pages wants to find that again. */
    qvirtio_set_config8(&b.v, POISON_VAL, 0xaa);
    pieces[0] = (QPiece){b.area + 20 * PAGE, PAGE, true};
    report(&b, pieces, 1);
    g_assert_cmpuint(qtest_readb(b.qt, b.area + 20 * PAGE), ==, 0x77);
    qvirtio_set_config8(&b.v, POISON_VAL, 0);
    report(&b, pieces, 1);
    g_assert_true(is_zero(&b, b.area + 20 * PAGE));
    qtest_end(b.qt);
}

static void test_features(void)
{
    static const struct {
        const char *options;
        uint64_t features;
        unsigned queues;
    } cases[] = {
        {"", QV_BIT(STATS) | QV_BIT(POISON) | QV_BIT(REPORTING), 4},
        {",free-page-reporting=off,page-poison=off,deflate-on-oom=on", QV_BIT(STATS) | QV_BIT(OOM), 3},
        {",free-page-hint=on,iothread=i", QV_BIT(STATS) | QV_BIT(HINT) | QV_BIT(POISON) | QV_BIT(REPORTING), 5},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        Balloon b = {.qt = qtest_start(MACHINE "-object iothread,id=i -device virtio-balloon-pci,addr=4%s", cases[i].options)};

        qvirtio_open(&b.v, b.qt, SLOT, true);
        g_assert_cmphex(qvirtio_features(&b.v) & 0x3f, ==, cases[i].features);
        g_assert_cmpuint(qvirtq_max(&b.v, cases[i].queues - 1), >, 0);
        g_assert_cmpuint(qvirtq_max(&b.v, cases[i].queues), ==, 0);
        if (cases[i].queues == 5) { /* hints that nobody asked for come back as they are */
            QVirtq q;
            QPiece pieces[2];

            g_assert_true(qvirtio_negotiate(&b.v, QV_BIT(QV_VERSION_1) | QV_BIT(HINT)));
            qvirtq_setup(&b.v, &q, 3, 0);
            g_assert_cmpuint(q.num, ==, 1024);
            qvirtio_driver_ok(&b.v);
            g_assert_cmpuint(qvirtio_config(&b.v, HINT_ID, 4), ==, 0);
            b.area = qtest_alloc(b.qt, 2 * PAGE, PAGE);
            qtest_memset(b.qt, b.area, 0x77, 2 * PAGE);
            pieces[0] = (QPiece){b.area, 4, false};
            pieces[1] = (QPiece){b.area + PAGE, PAGE, true};
            qvirtq_add(&q, pieces, 1);
            qvirtq_kick(&q);
            qvirtq_wait(&q, 0);
            qvirtq_add(&q, pieces + 1, 1);
            qvirtq_kick(&q);
            qvirtq_wait(&q, 1);
            g_assert_cmpuint(qtest_readb(b.qt, b.area + PAGE), ==, 0x77);
        }
        qtest_end(b.qt);
    }
}

/* ---- statistics, resets --------------------------------------------------------------------------------- */

/* Steps of the clock, half a second each, until the buffer is given back. */
static unsigned wait_stats(Balloon *b, unsigned id)
{
    const int64_t end = g_get_monotonic_time() + 120 * G_USEC_PER_SEC;
    unsigned steps = 0, seen = 0;
    uint32_t len = 0;

    do {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        qtest_clock_step(b->qt, 500 * INT64_C(1000000));
        steps++;
    } while (!qvirtq_poll(&b->stats, &seen, &len));
    g_assert_cmpuint(seen, ==, id);
    g_assert_cmpuint(len, ==, 0);
    return steps;
}

/* The driver's buffer is kept until new statistics are wanted. */
static void test_stats(void)
{
    Balloon b = {.qt = qtest_start(MACHINE "-device virtio-balloon-pci,addr=4,guest-stats-polling-interval=3")};
    QPiece piece;
    unsigned id, steps;

    balloon_start(&b, QV_BIT(QV_VERSION_1) | QV_BIT(STATS));
    piece = (QPiece){b.list, 10, false};
    for (unsigned round = 0; round < 3; round++) {
        id = qvirtq_add(&b.stats, &piece, 1);
        qvirtq_kick(&b.stats);
        steps = wait_stats(&b, id);
        g_assert_cmpuint(steps, >=, round ? 1 : 6);
    }
    qvirtq_add(&b.stats, &piece, 1);
    qvirtq_kick(&b.stats);
    balloon_start(&b, QV_BIT(QV_VERSION_1) | QV_BIT(STATS)); /* a reset with the buffer kept */
    id = qvirtq_add(&b.stats, &piece, 1);
    qvirtq_kick(&b.stats);
    qvirtq_add(&b.stats, &piece, 1); /* two of them: the first one comes back */
    qvirtq_kick(&b.stats);
    qvirtq_wait(&b.stats, id);
    qtest_end(b.qt);
}

static void test_reset(void)
{
    Balloon b = {.qt = qtest_start(MACHINE "-device virtio-balloon-pci,addr=4")};
    const uint32_t page = 0x1000;

    qvirtio_open(&b.v, b.qt, SLOT, true);
    for (unsigned round = 0; round < 100; round++) {
        uint64_t list = b.list, area = b.area;

        if (!round) {
            balloon_start(&b, QV_BIT(QV_VERSION_1));
            continue;
        }
        g_assert_true(qvirtio_negotiate(&b.v, QV_BIT(QV_VERSION_1)));
        qvirtq_setup(&b.v, &b.inflate, 0, 16);
        qvirtq_setup(&b.v, &b.deflate, 1, 16);
        qvirtq_setup(&b.v, &b.stats, 2, 16);
        qvirtio_driver_ok(&b.v);
        b.list = list;
        b.area = area;
        for (unsigned i = 0; i < 10; i++) {
            send(&b, i & 1 ? &b.inflate : &b.stats, &page, 1);
        }
    }
    qvirtio_set_status(&b.v, 0);
    qtest_end(b.qt);
}

static void test_bad_options(void)
{
    static const char *const bad[][2] = {
        {"-device virtio-balloon-pci -device virtio-balloon-pci", "Only one balloon"},
        {"-device virtio-balloon-pci,free-page-hint=on", "iothread"},
        {"-device virtio-balloon-pci,iothread=nobody", "nobody"},
        {"-device virtio-balloon-pci,guest-stats-polling-interval=-1", "greater than zero"},
        {"-device virtio-balloon-pci,guest-stats-polling-interval=4294967296", "too big"},
        {"-device virtio-balloon-pci,guest-stats-polling-interval=soon", "seconds"},
        {"-device virtio-balloon-pci,guest-stats=1", "guest-stats"},
        {"-device virtio-balloon-device", "virtio-balloon-device"},
    };

    qtest_expect_refused("", bad, G_N_ELEMENTS(bad));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/virtio-balloon/inflate/modern", "", test_inflate);
    g_test_add_data_func("/virtio-balloon/inflate/legacy", NULL, test_inflate);
    g_test_add_func("/virtio-balloon/long-list", test_long_list);
    g_test_add_func("/virtio-balloon/file", test_file);
    g_test_add_func("/virtio-balloon/private-file", test_private_file);
    g_test_add_func("/virtio-balloon/no-ram", test_no_ram);
    g_test_add_func("/virtio-balloon/reports", test_reports);
    g_test_add_func("/virtio-balloon/features", test_features);
    g_test_add_func("/virtio-balloon/stats", test_stats);
    g_test_add_func("/virtio-balloon/reset", test_reset);
    g_test_add_func("/virtio-balloon/bad-options", test_bad_options);
    return g_test_run();
}
