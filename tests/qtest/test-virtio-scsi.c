/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-scsi and its units through a driver of our own: commands over every form of ring, task management, bad requests and
 * rings, resets under load. tests/oracle/scsi.py compares what the units answer with QEMU's.
 */
#include <string.h>

#include "libvirtio.h"

#define MACHINE "-machine pc -m 64 -nodefaults "
#define SLOT QPCI_DEVFN(4, 0)
#define BLOCK 512
#define HEADER 51
#define RESPONSE 108
enum { Q_CONTROL, Q_EVENTS, Q_COMMANDS };
enum { S_OK = 0, S_OVERRUN = 1, S_ABORTED = 2, S_BAD_TARGET = 3, S_RESET = 4, S_INCORRECT_LUN = 12, S_REJECTED = 11 };
enum { GOOD = 0, CHECK = 2 };

static const QMode modes[] = {
    {"legacy", "", false, false, 0},
    {"modern", "", true, false, QV_BIT(QV_VERSION_1)},
    {"indirect", "", true, true, QV_BIT(QV_VERSION_1) | QV_BIT(QV_INDIRECT) | QV_BIT(QV_EVENT_IDX)},
    {"packed", ",packed=on", true, false, QV_BIT(QV_VERSION_1) | QV_BIT(QV_PACKED)},
    {"in-order", ",in_order=on,vectors=0", true, true, QV_BIT(QV_VERSION_1) | QV_BIT(QV_INDIRECT) | QV_BIT(QV_IN_ORDER)},
};

typedef struct Adapter {
    QTest *qt;
    QVirtio v;
    QVirtq queues[3];
    uint64_t page;            /* header at 0, response at 128, data at 4096 */
    /* of the last command */
    uint8_t status, response, key, asc;
    uint32_t resid, written;
} Adapter;

static void setup(Adapter *a, const QMode *mode)
{
    g_assert_true(qvirtio_negotiate(&a->v, mode->features));
    for (unsigned i = 0; i < 3; i++) {
        qvirtq_setup(&a->v, &a->queues[i], i, mode->modern ? 16 : 0);
        a->queues[i].indirect = mode->indirect;
    }
    qvirtio_driver_ok(&a->v);
}

static void start(Adapter *a, const QMode *mode, const char *image, const char *more)
{
    a->qt = qtest_start(MACHINE "-device virtio-scsi-pci,id=s,addr=4%s -drive if=none,id=d,format=raw,discard=unmap,file=%s "
                        "-device scsi-hd,drive=d,scsi-id=0,lun=0,serial=a-serial %s", mode->props, image, more);
    qvirtio_open(&a->v, a->qt, SLOT, mode->modern);
    a->page = qtest_alloc(a->qt, 65536, 4096);
    setup(a, mode);
}

/* The parts of a command that is given. in, out: bytes of data. */
static unsigned begin(Adapter *a, uint64_t page, unsigned target, unsigned lun, const uint8_t *cdb, size_t cdb_size, uint32_t out,
                      uint32_t in)
{
    uint8_t header[HEADER] = {1, (uint8_t)target, (uint8_t)(0x40 | lun >> 8), (uint8_t)lun, 0, 0, 0, 0, 0x77};
    QPiece pieces[4];
    unsigned n = 0;

    memcpy(header + 19, cdb, cdb_size);
    qtest_memwrite(a->qt, page, header, sizeof header);
    qtest_memset(a->qt, page + 128, 0xee, RESPONSE);
    pieces[n++] = (QPiece){page, HEADER, false};
    if (out) {
        pieces[n++] = (QPiece){page + 4096, out, false};
    }
    pieces[n++] = (QPiece){page + 128, RESPONSE, true};
    if (in) {
        pieces[n++] = (QPiece){page + 4096, in, true};
    }
    return qvirtq_add(&a->queues[Q_COMMANDS], pieces, n);
}

static void take_response(Adapter *a, uint64_t page)
{
    a->resid = qtest_readl(a->qt, page + 128 + 4);
    a->status = qtest_readb(a->qt, page + 128 + 10);
    a->response = qtest_readb(a->qt, page + 128 + 11);
    a->key = qtest_readl(a->qt, page + 128) ? qtest_readb(a->qt, page + 128 + 14) & 15 : 0;
    a->asc = a->key ? qtest_readb(a->qt, page + 128 + 24) : 0;
}

static void command(Adapter *a, unsigned target, unsigned lun, const uint8_t *cdb, size_t cdb_size, uint32_t out, uint32_t in)
{
    unsigned id = begin(a, a->page, target, lun, cdb, cdb_size, out, in);

    qvirtq_kick(&a->queues[Q_COMMANDS]);
    a->written = qvirtq_wait(&a->queues[Q_COMMANDS], id);
    take_response(a, a->page);
}

#define CDB(...) (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})

static void expect(const Adapter *a, uint8_t response, uint8_t status, uint8_t key, uint8_t asc)
{
    g_assert_cmpuint(a->response, ==, response);
    g_assert_cmphex(a->status, ==, status);
    g_assert_cmphex(a->key, ==, key);
    g_assert_cmphex(a->asc, ==, asc);
}

static void expect_good(const Adapter *a) { expect(a, S_OK, GOOD, 0, 0); }

/* Each unit tells of the reset once. */
static void greet(Adapter *a, unsigned target, unsigned lun)
{
    command(a, target, lun, CDB(0, 0, 0, 0, 0, 0), 0, 0);
    expect(a, S_OK, CHECK, 6, 0x29);
}

static char *numbered_image(size_t blocks)
{
    g_autofree uint8_t *data = g_malloc(blocks * BLOCK);

    for (size_t i = 0; i < blocks * BLOCK; i++) {
        data[i] = (uint8_t)(i / BLOCK * 7 + i % 251);
    }
    return qtest_temp_file(data, blocks * BLOCK);
}

static void check_numbered(Adapter *a, size_t first, size_t bytes)
{
    g_autofree uint8_t *data = g_malloc(bytes);

    qtest_memread(a->qt, a->page + 4096, data, bytes);
    for (size_t i = 0; i < bytes; i++) {
        const size_t at = first * BLOCK + i;

        g_assert_cmphex(data[i], ==, (uint8_t)(at / BLOCK * 7 + at % 251));
    }
}

static void check_filled(Adapter *a, uint8_t value, size_t bytes)
{
    g_autofree uint8_t *data = g_malloc(bytes);

    qtest_memread(a->qt, a->page + 4096, data, bytes);
    for (size_t i = 0; i < bytes; i++) {
        g_assert_cmphex(data[i], ==, value);
    }
}

/* ---- commands ----------------------------------------------------------------------------------- */

static void test_commands(const void *data)
{
    const QMode *mode = data;
    g_autofree char *image = numbered_image(2048);
    Adapter a;

    start(&a, mode, image, "");
    greet(&a, 0, 0);
    command(&a, 0, 0, CDB(0x12, 0, 0, 0, 36, 0), 0, 36);
    expect_good(&a);
    g_assert_cmpuint(a.written, ==, RESPONSE + 36);
    g_assert_cmphex(qtest_readl(a.qt, a.page + 4096), ==, 0x12050000);
    command(&a, 0, 0, CDB(0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0, 8);
    expect_good(&a);
    g_assert_cmphex(qtest_readl(a.qt, a.page + 4096), ==, __builtin_bswap32(2047));
    command(&a, 0, 0, CDB(0x28, 0, 0, 0, 0, 3, 0, 0, 8, 0), 0, 4096);
    expect_good(&a);
    g_assert_cmpuint(a.written, ==, RESPONSE + 4096);
    g_assert_cmpuint(a.resid, ==, 0);
    check_numbered(&a, 3, 4096);
    qtest_memset(a.qt, a.page + 4096, 0x5a, 1024);
    command(&a, 0, 0, CDB(0x8a, 8, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0, 0, 2, 0, 0), 1024, 0);
    expect_good(&a);
    qtest_memset(a.qt, a.page + 4096, 0, 1024);
    command(&a, 0, 0, CDB(0xa8, 0, 0, 0, 0, 100, 0, 0, 0, 2, 0, 0), 0, 1024);
    check_filled(&a, 0x5a, 1024);
    /* More room than data. */
    command(&a, 0, 0, CDB(0x08, 0, 0, 1, 1, 0), 0, 2048);
    expect_good(&a);
    g_assert_cmpuint(a.resid, ==, 1536);
    g_assert_cmpuint(a.written, ==, RESPONSE + 512);
    check_numbered(&a, 1, 512);
    command(&a, 0, 0, CDB(0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0, 0);
    expect_good(&a);
    qtest_end(a.qt);
}

static void test_unmap_and_same(void)
{
    static const uint8_t ranges[] = {0, 38, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0, 0, 0,
                                     0, 0, 0, 0, 0, 0, 0, 32, 0, 0, 0, 16, 0, 0, 0, 0};
    g_autofree char *image = numbered_image(4096);
    Adapter a;

    start(&a, &modes[1], image, "");
    greet(&a, 0, 0);
    qtest_memwrite(a.qt, a.page + 4096, ranges, sizeof ranges);
    command(&a, 0, 0, CDB(0x42, 0, 0, 0, 0, 0, 0, 0, 40, 0), 40, 0);
    expect_good(&a);
    command(&a, 0, 0, CDB(0x28, 0, 0, 0, 0, 16, 0, 0, 8, 0), 0, 4096);
    check_numbered(&a, 16, 4096);
    /* A pattern longer than its buffer: 2000 blocks of 512 bytes; then zeros, with and without unmapping. */
    qtest_memset(a.qt, a.page + 4096, 0x6b, 512);
    command(&a, 0, 0, CDB(0x41, 0, 0, 0, 0, 100, 0, 7, 208, 0), 512, 0);
    expect_good(&a);
    for (unsigned lba = 100; lba < 2100; lba += 100) {
        command(&a, 0, 0, CDB(0x28, 0, 0, 0, (uint8_t)(lba >> 8), (uint8_t)lba, 0, 0, 32, 0), 0, 16384);
        check_filled(&a, 0x6b, 16384);
    }
    command(&a, 0, 0, CDB(0x28, 0, 0, 0, 8, 52, 0, 0, 1, 0), 0, 512);
    check_numbered(&a, 2100, 512);
    qtest_memset(a.qt, a.page + 4096, 0, 512);
    for (unsigned flags = 0; flags <= 8; flags += 8) {
        command(&a, 0, 0, CDB(0x93, (uint8_t)flags, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 16, 0, 0), 512, 0);
        expect_good(&a);
    }
    command(&a, 0, 0, CDB(0x28, 0, 0, 0, 1, 0, 0, 0, 16, 0), 0, 8192);
    check_filled(&a, 0, 8192);
    qtest_end(a.qt);
}

static void test_refused(void)
{
    g_autofree char *image = numbered_image(64);
    Adapter a;

    start(&a, &modes[1], image, "-device scsi-cd,scsi-id=1,lun=2");
    greet(&a, 0, 0);
    command(&a, 0, 0, CDB(0x28, 0, 0, 0, 0, 64, 0, 0, 1, 0), 0, 512);
    expect(&a, S_OK, CHECK, 5, 0x21);
    command(&a, 0, 0, CDB(0x88, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 0), 0, 512);
    expect(&a, S_OK, CHECK, 5, 0x21);
    command(&a, 0, 0, CDB(0x2a, 0, 0, 0, 0, 63, 0, 0, 2, 0), 1024, 0);
    expect(&a, S_OK, CHECK, 5, 0x21);
    command(&a, 0, 0, CDB(0x77, 0, 0, 0, 0, 0), 0, 0);
    expect(&a, S_OK, CHECK, 5, 0x20);
    command(&a, 0, 0, CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0), 0, 512);
    expect(&a, S_OVERRUN, 0, 0, 0);
    command(&a, 0, 0, CDB(0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0), 0, 512);
    expect(&a, S_OVERRUN, 0, 0, 0);
    command(&a, 0, 0, CDB(0x88, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0), 0, 512);
    expect(&a, S_OVERRUN, 0, 0, 0);
    command(&a, 9, 0, CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0), 0, 512);
    expect(&a, S_BAD_TARGET, 0, 0, 0);
    command(&a, 0, 5, CDB(0, 0, 0, 0, 0, 0), 0, 0);
    expect(&a, S_OK, CHECK, 5, 0x25);
    greet(&a, 1, 2);
    command(&a, 1, 2, CDB(0, 0, 0, 0, 0, 0), 0, 0);
    expect(&a, S_OK, CHECK, 2, 0x3a);
    command(&a, 0, 0, CDB(0, 0, 0, 0, 0, 0), 0, 0);
    expect_good(&a);
    qtest_end(a.qt);
}

/* ---- task management --------------------------------------------------------------------------------- */

static uint8_t tmf(Adapter *a, uint32_t subtype, unsigned target, unsigned lun, uint64_t tag)
{
    const uint64_t page = a->page + 2048;
    const QPiece pieces[] = {{page, 24, false}, {page + 64, 1, true}};
    const uint8_t address[8] = {1, (uint8_t)target, (uint8_t)(lun >> 8), (uint8_t)lun};
    unsigned id;

    qtest_writel(a->qt, page, 0);
    qtest_writel(a->qt, page + 4, subtype);
    qtest_memwrite(a->qt, page + 8, address, 8);
    qtest_writeq(a->qt, page + 16, tag);
    id = qvirtq_add(&a->queues[Q_CONTROL], pieces, 2);
    qvirtq_kick(&a->queues[Q_CONTROL]);
    qvirtq_wait(&a->queues[Q_CONTROL], id);
    return qtest_readb(a->qt, page + 64);
}

/* Requests that take long: reads of a slow disk, of 64 KiB/s. */
static void test_abort(const void *data)
{
    const QMode *mode = data;
    Adapter a;
    unsigned ids[3];

    a.qt = qtest_start(MACHINE "-device virtio-scsi-pci,id=s,addr=4%s -drive if=none,id=d,driver=null-co,size=1M,"
                       "throttling.bps-total=512 -device scsi-hd,drive=d,scsi-id=0,lun=0", mode->props);
    qvirtio_open(&a.v, a.qt, SLOT, true);
    a.page = qtest_alloc(a.qt, 65536, 4096);
    setup(&a, mode);
    greet(&a, 0, 0);
    for (uint32_t subtype = 0; subtype <= 5; subtype++) {
        if (subtype == 2) {
            g_assert_cmpuint(tmf(&a, 2, 0, 0, 0x77), ==, S_REJECTED);
            continue;
        }
        for (unsigned i = 0; i < 3; i++) {
            ids[i] = begin(&a, a.page + 16384 * (i + 1), 0, 0, CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 16, 0), 0, 8192);
        }
        qvirtq_kick(&a.queues[Q_COMMANDS]);
        g_assert_cmpuint(tmf(&a, subtype, 0, 0, 0x77), ==, S_OK);
        for (unsigned i = 0; i < 3; i++) {
            qvirtq_wait(&a.queues[Q_COMMANDS], ids[i]);
            take_response(&a, a.page + 16384 * (i + 1));
            /* One may have been done before. */
            g_assert_true(a.response == (subtype >= 4 ? S_RESET : S_ABORTED) || (a.response == S_OK && a.status == GOOD) ||
                          (a.response == S_OK && a.key == 6));
        }
        if (subtype >= 4) {
            greet(&a, 0, 0);
        }
    }
    g_assert_cmpuint(tmf(&a, 6, 0, 0, 0x77), ==, S_OK); /* there is no such command */
    g_assert_cmpuint(tmf(&a, 5, 0, 1, 0), ==, S_INCORRECT_LUN);
    g_assert_cmpuint(tmf(&a, 5, 3, 0, 0), ==, S_BAD_TARGET);
    g_assert_cmpuint(tmf(&a, 99, 0, 0, 0), ==, S_REJECTED);
    qtest_end(a.qt);
}

/* ---- what drivers should not do --------------------------------------------------------------------------- */

static void expect_broken(Adapter *a, const QMode *mode, unsigned queue, const QPiece *pieces, unsigned count)
{
    qvirtq_add(&a->queues[queue], pieces, count);
    qvirtq_kick(&a->queues[queue]);
    qvirtio_wait_broken(&a->v);
    setup(a, mode);
    greet(a, 0, 0);
}

static void test_hostile(const void *data)
{
    const QMode *mode = data;
    g_autofree char *image = numbered_image(64);
    Adapter a;

    start(&a, mode, image, "");
    const QPiece none[] = {{a.page, HEADER, false}}, only_in[] = {{a.page, RESPONSE, true}};
    const QPiece small_header[] = {{a.page, HEADER - 1, false}, {a.page + 128, RESPONSE, true}};
    const QPiece small_response[] = {{a.page, HEADER, false}, {a.page + 128, RESPONSE - 1, true}};
    const QPiece both[] = {{a.page, HEADER, false}, {a.page + 4096, 512, false}, {a.page + 128, RESPONSE, true}, {a.page + 8192, 512, true}};
    const QPiece rom[] = {{a.page, HEADER, false}, {0xffff0000, RESPONSE, true}};
    const QPiece tmf_small[] = {{a.page + 2048, 20, false}, {a.page, 1, true}}, tmf_no_answer[] = {{a.page + 2048, 24, false}};
    const QPiece tiny[] = {{a.page + 2048, 2, false}};

    qtest_memset(a.qt, a.page + 2048, 0, 64);
    expect_broken(&a, mode, Q_COMMANDS, none, 1);
    expect_broken(&a, mode, Q_COMMANDS, only_in, 1);
    expect_broken(&a, mode, Q_COMMANDS, small_header, 2);
    expect_broken(&a, mode, Q_COMMANDS, small_response, 2);
    expect_broken(&a, mode, Q_COMMANDS, both, 4);
    expect_broken(&a, mode, Q_COMMANDS, rom, 2);
    expect_broken(&a, mode, Q_CONTROL, tmf_small, 2);
    expect_broken(&a, mode, Q_CONTROL, tmf_no_answer, 1);
    expect_broken(&a, mode, Q_CONTROL, tiny, 1);
    /* Any bytes as a command: it ends, and the unit lives. */
    for (unsigned i = 0; i < 600; i++) {
        uint8_t cdb[16];

        for (unsigned n = 0; n < sizeof cdb; n++) {
            cdb[n] = (uint8_t)g_test_rand_int();
        }
        cdb[0] = (uint8_t)i;
        if (cdb[0] == 0x1b) {
            cdb[0] = 0; /* not the tray */
        }
        command(&a, 0, 0, cdb, sizeof cdb, i & 1 ? 4096 : 0, i & 1 ? 0 : 4096);
        g_assert_true(a.response == S_OK || a.response == S_OVERRUN);
    }
    qtest_end(a.qt);
}

/* The sizes of CDBs and sense data are the driver's to choose, within limits. */
static void test_sizes(void)
{
    g_autofree char *image = numbered_image(64);
    Adapter a;

    start(&a, &modes[1], image, "");
    g_assert_cmpuint(qvirtio_config(&a.v, 20, 4), ==, 96);
    g_assert_cmpuint(qvirtio_config(&a.v, 24, 4), ==, 32);
    qvirtio_set_config8(&a.v, 24, 16);
    qvirtio_set_config8(&a.v, 20, 10);
    uint8_t header[35] = {1, 0, 0x40, 0};
    const QPiece pieces[] = {{a.page, sizeof header, false}, {a.page + 128, 22, true}};
    qtest_memwrite(a.qt, a.page, header, sizeof header);
    qtest_memset(a.qt, a.page + 128, 0xee, 64);
    unsigned id = qvirtq_add(&a.queues[Q_COMMANDS], pieces, 2);
    qvirtq_kick(&a.queues[Q_COMMANDS]);
    g_assert_cmpuint(qvirtq_wait(&a.queues[Q_COMMANDS], id), ==, 22);
    g_assert_cmpuint(qtest_readl(a.qt, a.page + 128), ==, 10);
    g_assert_cmphex(qtest_readb(a.qt, a.page + 128 + 14), ==, 6);
    g_assert_cmphex(qtest_readb(a.qt, a.page + 128 + 22), ==, 0xee);
    qvirtio_set_config8(&a.v, 25, 1); /* CDBs of 272 bytes */
    qvirtio_wait_broken(&a.v);
    setup(&a, &modes[1]);
    g_assert_cmpuint(qvirtio_config(&a.v, 24, 4), ==, 32);
    greet(&a, 0, 0);
    qtest_end(a.qt);
}

/* Resets of the device while requests are on their way. */
static void test_reset_busy(const void *data)
{
    const QMode *mode = data;
    g_autofree char *image = numbered_image(2048);
    Adapter a;

    start(&a, mode, image, "-device scsi-cd,scsi-id=1");
    for (unsigned i = 0; i < 60; i++) {
        for (unsigned k = 0; k < 3; k++) {
            begin(&a, a.page + 16384 * k, 0, 0, k & 1 ? (const uint8_t[10]){0x2a, 0, 0, 0, 1, 0, 0, 0, 8} :
                  (const uint8_t[10]){0x28, 0, 0, 0, 0, 0, 0, 0, 8}, 10, k & 1 ? 4096 : 0, k & 1 ? 0 : 4096);
        }
        qvirtq_kick(&a.queues[Q_COMMANDS]);
        if (i % 2) {
            qpci_write_config16(a.qt, SLOT, 4, 0);
            qpci_write_config16(a.qt, SLOT, 4, 7);
        }
        qvirtio_set_status(&a.v, 0);
        setup(&a, mode);
        greet(&a, 0, 0);
        greet(&a, 1, 0);
        command(&a, 0, 0, CDB(0x28, 0, 0, 0, 0, 3, 0, 0, 1, 0), 0, 512);
        check_numbered(&a, 3, 512);
    }
    qtest_end(a.qt);
}

/* A command of thousands of block requests: who waits for the disk waits for one of them. */
static void test_reset_long(void)
{
    static const uint8_t unmap[] = {0, 0x56, 0, 0x50, 0, 0, 0, 0};
    Adapter a;

    a.qt = qtest_start(MACHINE "-device virtio-scsi-pci,id=s,addr=4 -drive if=none,id=d,driver=null-co,size=1G,discard=unmap,"
                       "latency-ns=100000000 -device scsi-hd,drive=d,scsi-id=0,lun=0");
    qvirtio_open(&a.v, a.qt, SLOT, true);
    a.page = qtest_alloc(a.qt, 65536, 4096);
    setup(&a, &modes[1]);
    greet(&a, 0, 0);
    qtest_memset(a.qt, a.page + 4096, 0x5a, 512);
    for (unsigned i = 0; i < 4; i++) {
        begin(&a, a.page, 0, 0, CDB(0x93, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0), 512, 0); /* a pattern: 1 GiB */
        qvirtq_kick(&a.queues[Q_COMMANDS]);
        if (i % 2) {
            qpci_write_config16(a.qt, SLOT, 4, 0);
            qpci_write_config16(a.qt, SLOT, 4, 7);
        }
        qvirtio_set_status(&a.v, 0);
        setup(&a, &modes[1]);
        greet(&a, 0, 0);
    }
    qtest_memset(a.qt, a.page + 4096, 0, 4096);
    qtest_memwrite(a.qt, a.page + 4096, unmap, sizeof unmap);
    for (unsigned i = 0; i < 5; i++) {
        qtest_writel(a.qt, a.page + 4096 + 8 + 16 * i + 8, 0x08000000);
    }
    command(&a, 0, 0, CDB(0x42, 0, 0, 0, 0, 0, 0, 0, 88, 0), 88, 0);
    expect_good(&a);
    qtest_end(a.qt);
}

static void test_iothread(void)
{
    g_autofree char *image = numbered_image(64);
    Adapter a;

    a.qt = qtest_start(MACHINE "-object iothread,id=io0 -device virtio-scsi-pci,id=s,addr=4,iothread=io0,num_queues=2 -drive "
                       "if=none,id=d,format=raw,file=%s -device scsi-hd,drive=d -drive if=none,id=e,driver=null-co -device "
                       "scsi-hd,drive=e,lun=1", image);
    qvirtio_open(&a.v, a.qt, SLOT, true);
    a.page = qtest_alloc(a.qt, 65536, 4096);
    setup(&a, &modes[1]);
    greet(&a, 0, 0);
    greet(&a, 0, 1);
    for (unsigned i = 0; i < 50; i++) {
        command(&a, 0, 0, CDB(0x28, 0, 0, 0, 0, (uint8_t)i, 0, 0, 1, 0), 0, 512);
        expect_good(&a);
        check_numbered(&a, i, 512);
    }
    qtest_end(a.qt);
}

static void test_bad_options(void)
{
    static const char *const bad[][2] = {
        {"-device virtio-scsi-pci,num_queues=0", "Invalid number of queues"},
        {"-device virtio-scsi-pci,num_queues=1023", "Invalid number of queues"},
        {"-device virtio-scsi-pci,virtqueue_size=3", "virtqueue_size"},
        {"-device virtio-scsi-pci,iothread=nobody", "nobody"},
        {"-device scsi-hd,drive=d", "No 'SCSI' bus found"},
        {"-device virtio-scsi-pci -device scsi-hd", "drive property not set"},
        {"-device virtio-scsi-pci -device scsi-hd,drive=none", "none"},
        {"-device virtio-scsi-pci -device scsi-hd,drive=d,scsi-id=256", "bad scsi device id: 256"},
        {"-device virtio-scsi-pci -device scsi-hd,drive=d,lun=16384", "bad scsi device lun: 16384"},
        {"-device virtio-scsi-pci -device scsi-hd,drive=d,channel=1", "bad scsi channel id: 1"},
        {"-device virtio-scsi-pci -device scsi-hd,drive=d,lun=1 -device scsi-cd,scsi-id=0,lun=1", "lun already used"},
        {"-device virtio-scsi-pci -device scsi-hd,drive=d,logical_block_size=100", "logical_block_size"},
        {"-device virtio-scsi-pci -device scsi-hd,drive=d,heads=256", "heads"},
        {"-device virtio-scsi-pci -device scsi-hd,drive=d,scsi_version=300", "scsi_version"},
        {"-device virtio-scsi-pci -device scsi-cd,quirk_mode_page_truncated=on", "quirk_mode"},
    };

    qtest_expect_refused("-drive if=none,id=d,driver=null-co ", bad, G_N_ELEMENTS(bad));
}

int main(int argc, char **argv)
{
    static const QModeTest per_mode[] = {
        {"commands", test_commands, false}, {"abort", test_abort, true}, {"hostile", test_hostile, true},
        {"reset-busy", test_reset_busy, false},
    };

    g_test_init(&argc, &argv, NULL);
    qvirtio_add_tests("virtio-scsi", per_mode, G_N_ELEMENTS(per_mode), modes, G_N_ELEMENTS(modes));
    g_test_add_func("/virtio-scsi/unmap-and-same", test_unmap_and_same);
    g_test_add_func("/virtio-scsi/refused", test_refused);
    g_test_add_func("/virtio-scsi/sizes", test_sizes);
    g_test_add_func("/virtio-scsi/reset-long", test_reset_long);
    g_test_add_func("/virtio-scsi/iothread", test_iothread);
    g_test_add_func("/virtio-scsi/bad-options", test_bad_options);
    return g_test_run();
}
