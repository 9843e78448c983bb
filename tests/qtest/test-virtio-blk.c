/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-blk through a driver of our own: every kind of request over every form of ring, its configuration, and resets. */
#include <string.h>

#include "libvirtio.h"

#define MACHINE "-machine pc -m 64 -nodefaults "
#define SLOT QPCI_DEVFN(4, 0)
#define SECTOR 512
enum { T_IN = 0, T_OUT = 1, T_SCSI = 2, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13, T_SECURE_ERASE = 14 };
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2 };
enum { F_SEG_MAX = 2, F_RO = 5, F_BLK_SIZE = 6, F_FLUSH = 9, F_TOPOLOGY = 10, F_CONFIG_WCE = 11, F_MQ = 12, F_DISCARD = 13, F_WRITE_ZEROES = 14 };

static const QMode modes[] = {
    {"legacy", "", false, false, 0},
    {"legacy-only", ",disable-modern=on,vectors=0", false, true, QV_BIT(QV_INDIRECT) | QV_BIT(QV_EVENT_IDX)},
    {"modern", "", true, false, QV_BIT(QV_VERSION_1)},
    {"indirect", "", true, true, QV_BIT(QV_VERSION_1) | QV_BIT(QV_INDIRECT) | QV_BIT(QV_EVENT_IDX)},
    {"in-order", ",in_order=on", true, true, QV_BIT(QV_VERSION_1) | QV_BIT(QV_INDIRECT) | QV_BIT(QV_IN_ORDER)},
    {"notification-data", ",notification_data=on,ioeventfd=off", true, false, QV_BIT(QV_VERSION_1) | QV_BIT(QV_NOTIFICATION_DATA)},
    {"packed", ",packed=on", true, false, QV_BIT(QV_VERSION_1) | QV_BIT(QV_PACKED)},
    {"packed-indirect", ",packed=on,in_order=on,page-per-vq=on", true, true,
     QV_BIT(QV_VERSION_1) | QV_BIT(QV_PACKED) | QV_BIT(QV_INDIRECT) | QV_BIT(QV_EVENT_IDX) | QV_BIT(QV_IN_ORDER)},
};

typedef struct Disk {
    QTest *qt;
    QVirtio v;
    QVirtq q;
    uint64_t page;            /* header at 0, status at 16, data at 512 */
} Disk;

static void disk_start(Disk *d, const QMode *mode, const char *image, const char *more)
{
    d->qt = qtest_start(MACHINE "-drive if=none,id=d,format=raw,discard=unmap,file=%s "
                        "-device virtio-blk-pci,drive=d,addr=4,serial=a-serial%s%s", image, mode->props, more);
    qvirtio_open(&d->v, d->qt, SLOT, mode->modern);
    g_assert_true(qvirtio_negotiate(&d->v, mode->features | (qvirtio_features(&d->v) & 0x7fff & ~QV_BIT(7))));
    qvirtq_setup(&d->v, &d->q, 0, mode->modern ? 16 : 0);
    d->q.indirect = mode->indirect;
    qvirtio_driver_ok(&d->v);
    d->page = qtest_alloc(d->qt, 65536 + 4096, 4096);
}

static unsigned request_add(Disk *d, uint64_t page, uint32_t type, uint64_t sector, uint32_t len, bool write)
{
    QPiece pieces[3] = {{page, 16, false}, {page + 512, len, write}, {page + 16, 1, true}};

    qtest_writel(d->qt, page, type);
    qtest_writel(d->qt, page + 4, 0);
    qtest_writeq(d->qt, page + 8, sector);
    qtest_writeb(d->qt, page + 16, 0xff);
    if (!len) {
        pieces[1] = pieces[2];
    }
    return qvirtq_add(&d->q, pieces, len ? 3 : 2);
}

static uint8_t request(Disk *d, uint32_t type, uint64_t sector, uint32_t len, bool write)
{
    unsigned id = request_add(d, d->page, type, sector, len, write);

    qvirtq_kick(&d->q);
    g_assert_cmpuint(qvirtq_wait(&d->q, id), ==, (write ? len : 0) + 1);
    return qtest_readb(d->qt, d->page + 16);
}

static char *numbered_image(size_t sectors)
{
    g_autofree uint8_t *data = g_malloc(sectors * SECTOR);

    for (size_t i = 0; i < sectors * SECTOR; i++) {
        data[i] = (uint8_t)(i / SECTOR * 7 + i % 251);
    }
    return qtest_temp_file(data, sectors * SECTOR);
}

static void check_numbered(Disk *d, uint64_t addr, size_t first, size_t bytes)
{
    g_autofree uint8_t *data = g_malloc(bytes);

    qtest_memread(d->qt, addr, data, bytes);
    for (size_t i = 0; i < bytes; i++) {
        size_t at = first * SECTOR + i;

        g_assert_cmphex(data[i], ==, (uint8_t)(at / SECTOR * 7 + at % 251));
    }
}

static void check_filled(Disk *d, uint8_t value, size_t bytes)
{
    g_autofree uint8_t *data = g_malloc(bytes);

    qtest_memread(d->qt, d->page + 512, data, bytes);
    for (size_t i = 0; i < bytes; i++) {
        g_assert_cmphex(data[i], ==, value);
    }
}

/* ---- requests -------------------------------------------------------------------------------- */

static void segment(Disk *d, uint64_t sector, uint32_t sectors, uint32_t flags)
{
    qtest_writeq(d->qt, d->page + 512, sector);
    qtest_writel(d->qt, d->page + 520, sectors);
    qtest_writel(d->qt, d->page + 524, flags);
}

static void test_requests(const void *data)
{
    const QMode *mode = data;
    g_autofree char *image = numbered_image(2048);
    Disk d;
    char id[21] = {0};

    disk_start(&d, mode, image, "");
    g_assert_cmpuint(request(&d, T_IN, 3, 4096, true), ==, S_OK);
    check_numbered(&d, d.page + 512, 3, 4096);
    qtest_memset(d.qt, d.page + 512, 0x5a, 1024);
    g_assert_cmpuint(request(&d, T_OUT, 100, 1024, false), ==, S_OK);
    qtest_memset(d.qt, d.page + 512, 0, 1024);
    g_assert_cmpuint(request(&d, T_IN, 100, 1024, true), ==, S_OK);
    check_filled(&d, 0x5a, 1024);
    g_assert_cmpuint(request(&d, T_FLUSH, 0, 0, false), ==, S_OK);
    g_assert_cmpuint(request(&d, T_GET_ID, 0, 20, true), ==, S_OK);
    qtest_memread(d.qt, d.page + 512, id, 20);
    g_assert_cmpstr(id, ==, "a-serial");
    segment(&d, 100, 2, 0);
    g_assert_cmpuint(request(&d, T_DISCARD, 0, 16, false), ==, S_OK);
    segment(&d, 200, 4, 1);
    g_assert_cmpuint(request(&d, T_WRITE_ZEROES, 0, 16, false), ==, S_OK);
    g_assert_cmpuint(request(&d, T_IN, 200, 2048, true), ==, S_OK);
    check_filled(&d, 0, 2048);
    g_assert_cmpuint(request(&d, T_IN, 204, 512, true), ==, S_OK);
    check_numbered(&d, d.page + 512, 204, 512);
    qtest_end(d.qt);
}

static void test_refused(const void *data)
{
    const QMode *mode = data;
    g_autofree char *image = numbered_image(64);
    Disk d;

    disk_start(&d, mode, image, "");
    g_assert_cmpuint(request(&d, T_IN, 64, 512, true), ==, S_IOERR);
    g_assert_cmpuint(request(&d, T_OUT, 63, 1024, false), ==, S_IOERR);
    g_assert_cmpuint(request(&d, T_IN, UINT64_MAX, 512, true), ==, S_IOERR);
    g_assert_cmpuint(request(&d, T_IN, UINT64_MAX / 512, 512, true), ==, S_IOERR);
    g_assert_cmpuint(request(&d, T_IN, 0, 511, true), ==, S_IOERR);
    g_assert_cmpuint(request(&d, T_SCSI, 0, 512, true), ==, S_UNSUPP);
    g_assert_cmpuint(request(&d, T_SECURE_ERASE, 0, 16, false), ==, S_UNSUPP);
    g_assert_cmpuint(request(&d, 0x7777, 0, 0, false), ==, S_UNSUPP);
    segment(&d, 0, 1, 1);
    g_assert_cmpuint(request(&d, T_DISCARD, 0, 16, false), ==, S_UNSUPP);
    segment(&d, 0, 1, 2);
    g_assert_cmpuint(request(&d, T_WRITE_ZEROES, 0, 16, false), ==, S_UNSUPP);
    segment(&d, 60, 5, 0);
    g_assert_cmpuint(request(&d, T_WRITE_ZEROES, 0, 16, false), ==, S_IOERR);
    segment(&d, 0, 0xffffffff, 0);
    g_assert_cmpuint(request(&d, T_DISCARD, 0, 16, false), ==, S_IOERR);
    g_assert_cmpuint(request(&d, T_DISCARD, 0, 32, false), ==, S_UNSUPP);
    g_assert_cmpuint(request(&d, T_IN, 1, 512, true), ==, S_OK);
    check_numbered(&d, d.page + 512, 1, 512);
    qtest_end(d.qt);
}

/* Many laps of the ring, several requests at once; each comes back once. */
static void test_many(const void *data)
{
    const QMode *mode = data;
    g_autofree char *image = numbered_image(2048);
    Disk d;

    disk_start(&d, mode, image, "");
    for (unsigned round = 0; round < 40; round++) {
        bool seen[1024] = {false};
        unsigned ids[4];

        for (unsigned i = 0; i < 4; i++) {
            ids[i] = request_add(&d, d.page + 4096 * i, T_IN, round * 4 + i, 1024, true);
        }
        qvirtq_kick(&d.q);
        for (unsigned i = 0; i < 4; i++) {
            unsigned id;
            uint32_t len;

            while (!qvirtq_poll(&d.q, &id, &len)) {
                g_usleep(100);
            }
            g_assert_cmpuint(len, ==, 1025);
            g_assert_false(seen[id]);
            g_assert_true(!(mode->features & QV_BIT(QV_IN_ORDER)) || id == ids[i]);
            seen[id] = true;
        }
        for (unsigned i = 0; i < 4; i++) {
            g_assert_true(seen[ids[i]]);
            g_assert_cmpuint(qtest_readb(d.qt, d.page + 4096 * i + 16), ==, S_OK);
            check_numbered(&d, d.page + 4096 * i + 512, round * 4 + i, 1024);
        }
    }
    qtest_end(d.qt);
}

/* Pieces cut anywhere: header, data and status share some. */
static void test_layout(void)
{
    g_autofree char *image = numbered_image(64);
    Disk d;

    disk_start(&d, &modes[2], image, "");
    qtest_writel(d.qt, d.page, T_OUT);
    qtest_writeq(d.qt, d.page + 8, 5);
    qtest_memset(d.qt, d.page + 16, 0x77, 512);
    QPiece out[] = {{d.page, 10, false}, {d.page + 10, 300, false}, {d.page + 310, 218, false}, {d.page + 4096, 1, true}};
    unsigned id = qvirtq_add(&d.q, out, 4);
    qvirtq_kick(&d.q);
    g_assert_cmpuint(qvirtq_wait(&d.q, id), ==, 1);
    g_assert_cmpuint(qtest_readb(d.qt, d.page + 4096), ==, S_OK);
    qtest_writel(d.qt, d.page, T_IN);
    QPiece in[] = {{d.page, 16, false}, {d.page + 8192, 100, true}, {d.page + 12288, 413, true}};
    id = qvirtq_add(&d.q, in, 3);
    qvirtq_kick(&d.q);
    g_assert_cmpuint(qvirtq_wait(&d.q, id), ==, 513);
    g_assert_cmphex(qtest_readb(d.qt, d.page + 8192 + 99), ==, 0x77);
    g_assert_cmphex(qtest_readb(d.qt, d.page + 12288 + 411), ==, 0x77);
    g_assert_cmphex(qtest_readb(d.qt, d.page + 12288 + 412), ==, S_OK);
    qtest_end(d.qt);
}

/* ---- configuration ------------------------------------------------------------------------------ */

static void test_config(const void *data)
{
    const QMode *mode = data;
    g_autofree char *image = numbered_image(2048 * 63);
    Disk d;

    disk_start(&d, mode, image, ",logical_block_size=1024,physical_block_size=4096,num-queues=3,min_io_size=8K,opt_io_size=64K,discard_granularity=16K");
    g_assert_cmpuint(qvirtio_config(&d.v, 0, 8), ==, 2048 * 63);
    g_assert_cmpuint(qvirtio_config(&d.v, 12, 4), ==, 254);
    g_assert_cmpuint(qvirtio_config(&d.v, 16, 2), ==, 128);
    g_assert_cmpuint(qvirtio_config(&d.v, 20, 4), ==, 1024);
    g_assert_cmpuint(qvirtio_config(&d.v, 24, 1), ==, 2);
    g_assert_cmpuint(qvirtio_config(&d.v, 26, 2), ==, 8);
    g_assert_cmpuint(qvirtio_config(&d.v, 28, 4), ==, 64);
    g_assert_cmpuint(qvirtio_config(&d.v, 32, 1), ==, 1);
    g_assert_cmpuint(qvirtio_config(&d.v, 34, 2), ==, 3);
    g_assert_cmpuint(qvirtio_config(&d.v, 36, 4), ==, 4194303);
    g_assert_cmpuint(qvirtio_config(&d.v, 44, 4), ==, 32);
    g_assert_cmpuint(qvirtq_max(&d.v, 2), ==, 256);
    g_assert_cmpuint(qvirtq_max(&d.v, 3), ==, 0);
    /* The write cache is the guest's to switch. */
    qvirtio_set_config8(&d.v, 32, 0);
    g_assert_cmpuint(qvirtio_config(&d.v, 32, 1), ==, 0);
    qvirtio_set_config8(&d.v, 32, 1);
    g_assert_cmpuint(qvirtio_config(&d.v, 32, 1), ==, 1);
    qvirtio_set_config8(&d.v, 0, 9);
    g_assert_cmpuint(qvirtio_config(&d.v, 0, 8), ==, 2048 * 63);
    /* A request that is no multiple of the block. */
    g_assert_cmpuint(request(&d, T_IN, 0, 512, true), ==, S_IOERR);
    g_assert_cmpuint(request(&d, T_IN, 1, 1024, true), ==, S_IOERR);
    g_assert_cmpuint(request(&d, T_IN, 2, 1024, true), ==, S_OK);
    qtest_end(d.qt);
}

static void test_features(void)
{
    g_autofree char *image = numbered_image(64);
    QTest *qt = qtest_start(MACHINE "-drive if=none,id=d,format=raw,readonly=on,file=%s -device virtio-blk-pci,drive=d,addr=4,"
                            "discard=off,queue_reset=off", image);
    QVirtio v;

    qvirtio_open(&v, qt, SLOT, true);
    const uint64_t offered = qvirtio_features(&v);
    g_assert_true(offered & QV_BIT(F_RO));
    g_assert_false(offered & (QV_BIT(F_DISCARD) | QV_BIT(QV_RING_RESET) | QV_BIT(QV_PACKED) | QV_BIT(F_MQ)));
    g_assert_true(qvirtio_negotiate(&v, QV_BIT(QV_VERSION_1)));
    g_assert_false(qvirtio_negotiate(&v, QV_BIT(QV_VERSION_1) | QV_BIT(F_DISCARD)));
    g_assert_false(qvirtio_negotiate(&v, QV_BIT(F_BLK_SIZE)));
    g_assert_true(qvirtio_negotiate(&v, offered));
    qtest_end(qt);
}

/* The partition table says what the disk was made with, unless no disk can have that. */
static void test_geometry(void)
{
    static const struct {
        uint8_t head, sector;
        unsigned sectors;         /* of the disk */
        unsigned cylinders, heads, secs;
        const char *props;
    } cases[] = {
        {0, 0, 20160, 20, 16, 63, ""},
        {7, 32, 20160, 78, 8, 32, ""},
        {254, 63, 20160, 20, 16, 63, ""},      /* a BIOS's heads */
        {7, 0, 20160, 20, 16, 63, ""},
        {15, 63, 100, 2, 16, 63, ""},          /* not even one cylinder */
        {7, 32, 20160, 7, 3, 9, ",cyls=7,heads=3,secs=9"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree uint8_t *data = g_malloc0((size_t)cases[i].sectors * SECTOR);
        g_autofree char *image = NULL;
        QVirtio v;
        QTest *qt;

        data[510] = 0x55;
        data[511] = 0xaa;
        data[0x1be + 16 + 5] = cases[i].head;
        data[0x1be + 16 + 6] = cases[i].sector | 0xc0;
        data[0x1be + 16 + 12] = 1;
        image = qtest_temp_file(data, (uint64_t)cases[i].sectors * SECTOR);
        qt = qtest_start(MACHINE "-drive if=none,id=d,format=raw,file=%s -device virtio-blk-pci,drive=d,addr=4%s", image,
                         cases[i].props);
        qvirtio_open(&v, qt, SLOT, true);
        g_assert_cmpuint(qvirtio_config(&v, 16, 2), ==, cases[i].cylinders);
        g_assert_cmpuint(qvirtio_config(&v, 18, 1), ==, cases[i].heads);
        g_assert_cmpuint(qvirtio_config(&v, 19, 1), ==, cases[i].secs);
        qtest_end(qt);
    }
}

/* ---- bad rings, resets ---------------------------------------------------------------------------- */

/* After a reset it works as ever. */
static void recover(Disk *d, const QMode *mode)
{
    g_assert_true(qvirtio_negotiate(&d->v, mode->features));
    qvirtq_setup(&d->v, &d->q, 0, 16);
    qvirtio_driver_ok(&d->v);
    d->q.indirect = mode->indirect;
    g_assert_cmpuint(request(d, T_IN, 3, 512, true), ==, S_OK);
    check_numbered(d, d->page + 512, 3, 512);
}

static void expect_broken(Disk *d, const QMode *mode, const QPiece *pieces, unsigned count)
{
    qvirtq_add(&d->q, pieces, count);
    qvirtq_kick(&d->q);
    qvirtio_wait_broken(&d->v);
    recover(d, mode);
}

static void test_hostile(const void *data)
{
    const QMode *mode = data;
    g_autofree char *image = numbered_image(64);
    Disk d;

    disk_start(&d, mode, image, "");
    const QPiece no_status[] = {{d.page, 16, false}}, no_header[] = {{d.page, 512, true}};
    const QPiece rom[] = {{d.page, 16, false}, {0xffff0000, 512, true}}, high[] = {{UINT64_MAX - 7, 16, false}, {d.page, 1, true}};
    const QPiece empty[] = {{d.page, 0, false}, {d.page, 1, true}}, order[] = {{d.page, 1, true}, {d.page, 16, false}};
    const QPiece mmio[] = {{0xfee00000, 16, false}, {d.page, 1, true}}, end[] = {{64 * 1024 * 1024 - 8, 16, false}, {d.page, 1, true}};

    expect_broken(&d, mode, no_status, 1);
    expect_broken(&d, mode, no_header, 1);
    expect_broken(&d, mode, rom, 2);
    expect_broken(&d, mode, high, 2);
    expect_broken(&d, mode, empty, 2);
    expect_broken(&d, mode, order, 2);
    expect_broken(&d, mode, mmio, 2);
    expect_broken(&d, mode, end, 2);
    qtest_end(d.qt);
}

/* Rings that are no rings. */
static void test_hostile_rings(void)
{
    const QMode *mode = &modes[3];
    g_autofree char *image = numbered_image(64);
    Disk d;

    disk_start(&d, mode, image, "");
    QTest *qt = d.qt;
    /* The available index runs away. */
    qtest_writew(qt, d.q.avail + 2, 1000);
    qvirtq_kick(&d.q);
    qvirtio_wait_broken(&d.v);
    recover(&d, mode);
    /* A head that there is not. */
    qtest_writew(qt, d.q.avail + 4 + 2 * d.q.avail_idx, 16);
    qtest_writew(qt, d.q.avail + 2, (uint16_t)(d.q.avail_idx + 1));
    qvirtq_kick(&d.q);
    qvirtio_wait_broken(&d.v);
    recover(&d, mode);
    /* A chain that is a loop. */
    d.q.indirect = false;
    const QPiece two[] = {{d.page, 16, false}, {d.page + 64, 16, false}};
    qvirtq_add(&d.q, two, 2);
    qtest_writew(qt, d.q.desc + 16 * 2 + 12, 1);
    qtest_writew(qt, d.q.desc + 16 * 2 + 14, 1);
    qvirtq_kick(&d.q);
    qvirtio_wait_broken(&d.v);
    recover(&d, mode);
    /* Indirect tables: inside a table, of an odd size, nowhere. */
    for (unsigned i = 0; i < 3; i++) {
        const uint64_t table = qtest_alloc(qt, 64, 16);

        d.q.indirect = true;
        const QPiece bad[] = {{d.page, 16, false}, {d.page + 16, 1, true}};
        qvirtq_add(&d.q, bad, 2);
        const uint64_t at = d.q.desc + 16 * ((d.q.next_desc + 15) % 16);
        if (i == 0) {
            qtest_writeq(qt, table, d.page);
            qtest_writel(qt, table + 8, 16);
            qtest_writel(qt, table + 12, 4);
            qtest_writeq(qt, at, table);
        } else {
            qtest_writeq(qt, at, i == 1 ? table : 0xf0000000);
            qtest_writel(qt, at + 8, i == 1 ? 24 : 32);
        }
        qvirtq_kick(&d.q);
        qvirtio_wait_broken(&d.v);
        recover(&d, mode);
    }
    qtest_end(qt);
}

/* Areas in ROM, registers, nowhere, over the end of RAM, crooked. */
static void test_hostile_areas(void)
{
    static const uint64_t places[] = {0xfffe0000, 0xfee00000, 0x80000000, 64 * 1024 * 1024 - 16, 0x100008, UINT64_MAX - 15};
    const QMode *mode = &modes[2];
    g_autofree char *image = numbered_image(64);
    Disk d;

    disk_start(&d, mode, image, "");
    for (unsigned i = 0; i < G_N_ELEMENTS(places) * 3; i++) {
        const unsigned area = i % 3;
        uint64_t addr = places[i / 3];

        if (i / 3 == 4) {
            addr = area == 0 ? addr : addr + 1; /* of 16, 2 and 4 bytes */
        }
        g_assert_true(qvirtio_negotiate(&d.v, mode->features));
        qtest_writew(d.qt, d.v.common + 22, 0);
        qtest_writew(d.qt, d.v.common + 24, 16);
        for (unsigned k = 0; k < 3; k++) {
            const uint64_t at = k == area ? addr : d.page + 4096 * (k + 1);

            qtest_writel(d.qt, d.v.common + 32 + 8 * k, (uint32_t)at);
            qtest_writel(d.qt, d.v.common + 36 + 8 * k, (uint32_t)(at >> 32));
        }
        qtest_writew(d.qt, d.v.common + 28, 1);
        qvirtio_driver_ok(&d.v);
        qtest_writew(d.qt, d.v.notify, 0);
        qvirtio_wait_broken(&d.v);
    }
    recover(&d, mode);
    /* Sizes that are none are not taken. */
    g_assert_true(qvirtio_negotiate(&d.v, mode->features));
    qtest_writew(d.qt, d.v.common + 22, 0);
    qtest_writew(d.qt, d.v.common + 24, 0);
    g_assert_cmpuint(qtest_readw(d.qt, d.v.common + 24), ==, 256);
    qtest_writew(d.qt, d.v.common + 24, 32768);
    g_assert_cmpuint(qtest_readw(d.qt, d.v.common + 24), ==, 256);
    qtest_end(d.qt);
}

static void test_ring_reset(void)
{
    const QMode mode = {"", "", true, false, QV_BIT(QV_VERSION_1) | QV_BIT(QV_RING_RESET)};
    g_autofree char *image = numbered_image(64);
    Disk d;

    disk_start(&d, &mode, image, "");
    g_assert_cmpuint(request(&d, T_IN, 0, 512, true), ==, S_OK);
    for (unsigned i = 0; i < 3; i++) {
        qtest_writew(d.qt, d.v.common + 22, 0);
        qtest_writew(d.qt, d.v.common + 58, 1);
        g_assert_cmpuint(qtest_readw(d.qt, d.v.common + 28), ==, 0);
        qvirtq_setup(&d.v, &d.q, 0, 8 << i);
        g_assert_cmpuint(request(&d, T_IN, i, 512, true), ==, S_OK);
        check_numbered(&d, d.page + 512, i, 512);
    }
    qtest_end(d.qt);
}

/* The driver begins anew on the same memory: an allocator without an end would run out. */
static void restart(Disk *d, const QMode *mode)
{
    const uint64_t desc = d->q.desc, avail = d->q.avail, used = d->q.used;

    g_assert_true(qvirtio_negotiate(&d->v, mode->features));
    qtest_memset(d->qt, desc, 0, 32768);
    d->q = (QVirtq){.v = &d->v, .num = d->q.num, .desc = desc, .avail = avail, .used = used, .wrap = true, .used_wrap = true,
                    .indirect = mode->indirect};
    if (mode->modern) {
        qtest_writew(d->qt, d->v.common + 22, 0);
        qtest_writew(d->qt, d->v.common + 24, 16);
        qtest_writeq(d->qt, d->v.common + 32, desc);
        qtest_writeq(d->qt, d->v.common + 40, avail);
        qtest_writeq(d->qt, d->v.common + 48, used);
        qtest_writew(d->qt, d->v.common + 28, 1);
    } else {
        qtest_outl(d->qt, (uint16_t)(d->v.io + 8), (uint32_t)(desc >> 12));
    }
    qvirtio_driver_ok(&d->v);
}

/* As a guest's write to port cf9h; what firmware does afterwards. */
static void reboot(Disk *d)
{
    uint32_t bars[6];

    for (unsigned i = 0; i < 6; i++) {
        bars[i] = qpci_read_config32(d->qt, SLOT, (uint8_t)(16 + 4 * i));
    }
    qtest_outb(d->qt, 0xcf9, 6);
    while (qpci_read_config16(d->qt, SLOT, 4) & 7) {
        g_usleep(100);
    }
    for (unsigned i = 0; i < 6; i++) {
        qpci_write_config32(d->qt, SLOT, (uint8_t)(16 + 4 * i), bars[i]);
    }
    qpci_write_config16(d->qt, SLOT, 4, 7);
}

/* Four requests are on their way. */
static void storm_begin(Disk *d, uint64_t page, uint8_t value)
{
    for (unsigned k = 0; k < 4; k++) {
        qtest_memset(d->qt, page + 4096 * k + 512, value, 2048);
        request_add(d, page + 4096 * k, k & 1 ? T_OUT : T_IN, 1000 + 8 * k, 2048, !(k & 1));
    }
    qvirtq_kick(&d->q);
}

static void storm_reset(Disk *d, const QMode *mode, unsigned i)
{
    switch (i % 4) {
    case 1:
        qpci_write_config16(d->qt, SLOT, 4, 0);
        qpci_write_config16(d->qt, SLOT, 4, 7);
        break;
    case 2:
        if (mode->modern) {
            qtest_memset(d->qt, d->q.desc, 0xff, 4096);
        }
        break;
    case 3:
        reboot(d);
        break;
    default:
        break;
    }
    qvirtio_set_status(&d->v, 0);
    g_assert_cmpuint(qvirtio_status(&d->v), ==, 0);
}

/* A thousand resets of device, function and machine in all, requests on their way. After each the device works, memory that
 * it was given before is the guest's again, and each written block holds one of the values that were written to it. */
static void test_reset_busy(const void *data)
{
    const QMode *mode = data;
    g_autofree char *image = numbered_image(2048);
    uint8_t block[2048];
    uint64_t page;
    Disk d;

    disk_start(&d, mode, image, "");
    page = qtest_alloc(d.qt, 2 * 16384, 4096);
    for (unsigned i = 0; i < 130; i++) {
        const uint64_t mine = page + 16384 * (i & 1), before = page + 16384 * !(i & 1);

        storm_begin(&d, mine, (uint8_t)(1 + i));
        storm_reset(&d, mode, i);
        qtest_memset(d.qt, mine, 0xc5, 16384);
        restart(&d, mode);
        for (unsigned k = 1; i > 0 && k < 4; k += 2) {
            g_assert_cmpuint(request(&d, T_IN, 1000 + 8 * k, 2048, true), ==, S_OK);
            qtest_memread(d.qt, d.page + 512, block, sizeof block);
            for (unsigned n = 1; n < sizeof block; n++) {
                g_assert_true(n % SECTOR == 0 || block[n] == block[n - 1]);
            }
        }
        g_assert_cmpuint(request(&d, T_IN, 3, 512, true), ==, S_OK);
        check_numbered(&d, d.page + 512, 3, 512);
        for (unsigned at = 0; i > 0 && at < 16384; at += 2048) {
            qtest_memread(d.qt, before + at, block, sizeof block);
            for (unsigned n = 0; n < sizeof block; n++) {
                g_assert_cmphex(block[n], ==, 0xc5);
            }
        }
    }
    qtest_end(d.qt);
}

/* ---- interrupts, iothreads ----------------------------------------------------------------------- */

static bool irq_is_up(void *opaque) { return qtest_get_irq(opaque, 11) || qtest_get_irq(opaque, 10); }

static void test_intx(void)
{
    g_autofree char *image = numbered_image(64);
    Disk d;

    disk_start(&d, &modes[2], image, "");
    qtest_irq_intercept_in(d.qt, "ioapic");
    for (unsigned link = 0x60; link < 0x64; link++) {
        qpci_write_config8(d.qt, QPCI_DEVFN(1, 0), (uint8_t)link, 11);
    }
    g_assert_cmpuint(request(&d, T_IN, 0, 512, true), ==, S_OK);
    qvirtio_wait_for(irq_is_up, d.qt);
    g_assert_cmpuint(qvirtio_read_isr(&d.v) & 1, ==, 1);
    g_assert_false(irq_is_up(d.qt));
    g_assert_cmpuint(qvirtio_read_isr(&d.v), ==, 0);
    /* A driver that wants none gets none. */
    qtest_writew(d.qt, d.q.avail, 1);
    qtest_clear_irq_count(d.qt, 11);
    for (unsigned i = 0; i < 20; i++) {
        g_assert_cmpuint(request(&d, T_IN, 0, 512, true), ==, S_OK);
    }
    g_assert_cmpuint(qtest_irq_count(d.qt, 11), ==, 0);
    qtest_end(d.qt);
}

static void test_iothreads(void)
{
    g_autofree char *image = numbered_image(64);
    Disk d;

    d.qt = qtest_start(MACHINE "-object iothread,id=io0,poll-max-ns=100000 -object iothread,id=io1,poll-max-ns=0 "
                       "-drive if=none,id=d,format=raw,file=%s -device virtio-blk-pci,drive=d,addr=4,iothread=io0,num-queues=2 "
                       "-drive if=none,id=e,driver=null-co -device virtio-blk-pci,drive=e,addr=5,iothread=io1 "
                       "-drive if=none,id=f,driver=null-co -device virtio-blk-pci,drive=f,addr=6", image);
    for (unsigned slot = 4; slot < 7; slot++) {
        qvirtio_open(&d.v, d.qt, QPCI_DEVFN(slot, 0), true);
        g_assert_true(qvirtio_negotiate(&d.v, QV_BIT(QV_VERSION_1)));
        qvirtq_setup(&d.v, &d.q, slot == 4, 16);
        qvirtio_driver_ok(&d.v);
        d.page = qtest_alloc(d.qt, 65536, 4096);
        for (unsigned i = 0; i < 50; i++) {
            g_assert_cmpuint(request(&d, T_IN, i, 512, true), ==, S_OK);
        }
    }
    qtest_end(d.qt);
}

static void test_bad_options(void)
{
    static const char *const bad[][2] = {
        {"", "drive property not set"},
        {",drive=d,num-queues=0", "num-queues"},
        {",drive=d,num-queues=2000", "num-queues"},
        {",drive=d,queue-size=3", "queue-size"},
        {",drive=d,queue-size=2048", "queue-size"},
        {",drive=d,logical_block_size=700", "logical_block_size"},
        {",drive=d,logical_block_size=4096,physical_block_size=512", "physical_block_size"},
        {",drive=d,iommu_platform=on", "iommu_platform"},
        {",drive=d,disable-legacy=on,disable-modern=on", "neither modern nor legacy"},
        {",drive=d,vectors=5000", "vectors=5000"},
        {",drive=d,scsi=on", "scsi"},
        {",drive=d,iothread=nobody", "nobody"},
        {",drive=d,heads=300", "heads"},
        {",drive=d,max-discard-sectors=0", "max-discard-sectors"},
        {",drive=d,min_io_size=100", "min_io_size"},
        {",drive=d,frobnicate=1", "frobnicate"},
    };

    qtest_expect_refused("-drive if=none,id=d,driver=null-co -device virtio-blk-pci", bad, G_N_ELEMENTS(bad));
}

int main(int argc, char **argv)
{
    static const QModeTest per_mode[] = {
        {"requests", test_requests, false}, {"refused", test_refused, false}, {"many", test_many, false},
        {"config", test_config, false}, {"reset-busy", test_reset_busy, false}, {"hostile", test_hostile, true},
    };

    g_test_init(&argc, &argv, NULL);
    qvirtio_add_tests("virtio-blk", per_mode, G_N_ELEMENTS(per_mode), modes, G_N_ELEMENTS(modes));
    g_test_add_func("/virtio-blk/layout", test_layout);
    g_test_add_func("/virtio-blk/features", test_features);
    g_test_add_func("/virtio-blk/hostile-rings", test_hostile_rings);
    g_test_add_func("/virtio-blk/hostile-areas", test_hostile_areas);
    g_test_add_func("/virtio-blk/ring-reset", test_ring_reset);
    g_test_add_func("/virtio-blk/geometry", test_geometry);
    g_test_add_func("/virtio-blk/intx", test_intx);
    g_test_add_func("/virtio-blk/iothreads", test_iothreads);
    g_test_add_func("/virtio-blk/bad-options", test_bad_options);
    return g_test_run();
}
