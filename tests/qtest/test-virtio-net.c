/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-net through a driver of our own: packets both ways over every form of ring, buffers that are merged, missing or too
 * small, commands of the control queue, and rings that are none.
 */
#include <string.h>

#include "libvirtio.h"
#include "nic.h"

#define MACHINE "-machine pc -m 64 -nodefaults "
#define SLOT QPCI_DEVFN(4, 0)
#define BUFFER 2048
enum { F_CSUM, F_GUEST_CSUM, F_OFFLOADS, F_USO4 = 54, F_USO6, F_HOST_USO };
enum { F_MTU = 3, F_MAC = 5, F_MRG = 15, F_STATUS = 16, F_CTRL_VQ = 17, F_CTRL_RX = 18, F_VLAN = 19, F_EXTRA = 20, F_MQ = 22, F_RSS = 60, F_SPEED = 63 };
#define CTRL (QV_BIT(F_CTRL_VQ) | QV_BIT(F_CTRL_RX) | QV_BIT(F_VLAN) | QV_BIT(F_EXTRA) | QV_BIT(F_STATUS) | QV_BIT(F_MAC))

static const uint8_t card_mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56}, broadcast[6] = {255, 255, 255, 255, 255, 255};

static const QMode modes[] = {
    {"legacy", "", false, false, 0},
    {"legacy-merged", ",disable-modern=on,vectors=0", false, true, QV_BIT(QV_INDIRECT) | QV_BIT(QV_EVENT_IDX) | QV_BIT(F_MRG)},
    {"modern", "", true, false, QV_BIT(QV_VERSION_1)},
    {"merged", "", true, false, QV_BIT(QV_VERSION_1) | QV_BIT(F_MRG) | QV_BIT(QV_EVENT_IDX)},
    {"indirect", ",in_order=on", true, true,
     QV_BIT(QV_VERSION_1) | QV_BIT(QV_INDIRECT) | QV_BIT(QV_EVENT_IDX) | QV_BIT(QV_IN_ORDER) | QV_BIT(F_MRG)},
    {"packed", ",packed=on", true, false, QV_BIT(QV_VERSION_1) | QV_BIT(QV_PACKED) | QV_BIT(F_MRG)},
    {"packed-indirect", ",packed=on,in_order=on", true, true,
     QV_BIT(QV_VERSION_1) | QV_BIT(QV_PACKED) | QV_BIT(QV_INDIRECT) | QV_BIT(QV_EVENT_IDX) | QV_BIT(QV_IN_ORDER)},
};

typedef struct Card {
    QTest *qt;
    Cable *cable;
    QVirtio v;
    QVirtq rx, tx, ctrl;
    const QMode *mode;
    unsigned hdr_len;
    uint64_t rx_page, tx_page, ctrl_page;
    unsigned added;           /* receive buffers */
} Card;

static void queues_setup(Card *c)
{
    const unsigned num = c->mode->modern ? 16 : 0;

    qvirtq_setup(&c->v, &c->rx, 0, num);
    qvirtq_setup(&c->v, &c->tx, 1, num);
    qvirtq_setup(&c->v, &c->ctrl, 2, num);
    c->rx.indirect = c->tx.indirect = c->ctrl.indirect = c->mode->indirect;
    c->added = 0;
    qvirtio_driver_ok(&c->v);
}

static void card_start(Card *c, const QMode *mode, const char *props)
{
    *c = (Card){.cable = cable_new(), .mode = mode};
    g_autofree char *netdev = cable_netdev(c->cable, "n");

    c->qt = qtest_start(MACHINE "%s -device virtio-net-pci,id=c,netdev=n,addr=4%s%s", netdev, mode->props, props);
    qvirtio_open(&c->v, c->qt, SLOT, mode->modern);
    g_assert_true(qvirtio_negotiate(&c->v, mode->features | CTRL));
    c->hdr_len = mode->modern || mode->features & QV_BIT(F_MRG) ? 12 : 10;
    c->rx_page = qtest_alloc(c->qt, 64 * BUFFER, 4096);
    c->tx_page = qtest_alloc(c->qt, 70 * 1024, 4096);
    c->ctrl_page = qtest_alloc(c->qt, 4096, 4096);
    queues_setup(c);
}

static void card_end(Card *c)
{
    qtest_end(c->qt);
    cable_free(c->cable);
}

/* The buffer's header is a piece of its own where old devices want that. */
static unsigned add_buffer(Card *c, uint32_t len)
{
    const uint64_t at = c->rx_page + (uint64_t)BUFFER * (c->added % 64);
    const QPiece pieces[] = {{at, c->hdr_len, true}, {at + c->hdr_len, len - c->hdr_len, true}};

    c->added++;
    return qvirtq_add(&c->rx, pieces, 2);
}

static void send_packet(Card *c, const uint8_t *data, size_t len)
{
    const QPiece pieces[] = {{c->tx_page, c->hdr_len, false}, {c->tx_page + c->hdr_len, (uint32_t)len / 2, false},
                             {c->tx_page + c->hdr_len + len / 2, (uint32_t)(len - len / 2), false}};

    qtest_memset(c->qt, c->tx_page, 0, c->hdr_len);
    qtest_memwrite(c->qt, c->tx_page + c->hdr_len, data, len);
    const unsigned id = qvirtq_add(&c->tx, pieces, 3);
    qvirtq_kick(&c->tx);
    qvirtq_wait(&c->tx, id);
}

static void check_sent(Card *c, size_t len, unsigned seed)
{
    static const uint8_t to[6] = {0x52, 0x54, 0, 0, 0, 1};
    g_autofree uint8_t *out = g_malloc(NIC_MAX), *got = g_malloc(NIC_MAX);

    make_packet(out, len, to, seed);
    send_packet(c, out, len);
    g_assert_cmpuint(cable_receive(c->cable, got, NIC_MAX), ==, len);
    g_assert_cmpmem(got, len, out, len);
}

/* The packet of this seed has come into the buffer at `at`, of which len bytes were written. */
static void check_buffer(Card *c, uint64_t at, uint32_t written, size_t len, const uint8_t to[6], unsigned seed)
{
    g_autofree uint8_t *want = g_malloc(NIC_MAX), *got = g_malloc(NIC_MAX);

    make_packet(want, len, to, seed);
    g_assert_cmpuint(written, ==, c->hdr_len + len);
    for (unsigned i = 0; i < 10; i++) {
        g_assert_cmphex(qtest_readb(c->qt, at + i), ==, 0);
    }
    if (c->hdr_len == 12) {
        g_assert_cmpuint(qtest_readw(c->qt, at + 10), ==, 1);
    }
    qtest_memread(c->qt, at + c->hdr_len, got, len);
    g_assert_cmpmem(got, len, want, len);
}

static void throw_packet(Card *c, size_t len, const uint8_t to[6], unsigned seed)
{
    g_autofree uint8_t *data = g_malloc(NIC_MAX);

    make_packet(data, len, to, seed);
    cable_send(c->cable, data, len);
}

static void check_received(Card *c, size_t len, const uint8_t to[6], unsigned seed)
{
    const uint64_t at = c->rx_page + (uint64_t)BUFFER * (c->added % 64);
    const unsigned id = add_buffer(c, BUFFER);

    qvirtq_kick(&c->rx);
    throw_packet(c, len, to, seed);
    check_buffer(c, at, qvirtq_wait(&c->rx, id), len, to, seed);
}

/* ---- packets ------------------------------------------------------------------------------------ */

static void test_packets(const void *data)
{
    Card c;

    card_start(&c, data, "");
    for (unsigned i = 0; i < 40; i++) {
        check_sent(&c, 60 + i * 37, i);
        check_received(&c, 60 + i * 37, card_mac, i);
    }
    card_end(&c);
}

/* Without buffers packets wait, in order, on their side of the card. */
static void test_starved(const void *data)
{
    Card c;

    card_start(&c, data, "");
    for (unsigned i = 0; i < 7; i++) {
        throw_packet(&c, 100 + i, card_mac, i);
    }
    check_sent(&c, 100, 1);
    for (unsigned i = 0; i < 7; i++) {
        const uint64_t at = c.rx_page + (uint64_t)BUFFER * (c.added % 64);
        const unsigned id = add_buffer(&c, BUFFER);

        qvirtq_kick(&c.rx);
        check_buffer(&c, at, qvirtq_wait(&c.rx, id), 100 + i, card_mac, i);
    }
    check_received(&c, 300, card_mac, 9);
    card_end(&c);
}

/* A packet over several buffers, or none where they may not be merged. */
static void test_merged(const void *data)
{
    const QMode *mode = data;
    g_autofree uint8_t *want = g_malloc(NIC_MAX), *got = g_malloc(NIC_MAX);
    unsigned ids[5];
    size_t total = 0;
    Card c;

    card_start(&c, mode, "");
    make_packet(want, 1400, card_mac, 3);
    for (unsigned i = 0; i < 2; i++) {
        ids[i] = add_buffer(&c, 300);
    }
    qvirtq_kick(&c.rx);
    throw_packet(&c, 1400, card_mac, 3);
    if (!(mode->features & QV_BIT(F_MRG))) {
        throw_packet(&c, 200, card_mac, 4); /* the large one is lost, its buffer is not */
        check_buffer(&c, c.rx_page, qvirtq_wait(&c.rx, ids[0]), 200, card_mac, 4);
        card_end(&c);
        return;
    }
    check_sent(&c, 100, 1);
    for (unsigned i = 2; i < 5; i++) {
        ids[i] = add_buffer(&c, 300);
    }
    qvirtq_kick(&c.rx);
    for (unsigned i = 0; i < 5; i++) {
        const uint32_t len = qvirtq_wait(&c.rx, ids[i]);

        g_assert_cmpuint(len, ==, i < 4 ? 300 : 1400 + 12 - 1200);
        qtest_memread(c.qt, c.rx_page + BUFFER * i, got + total, len);
        total += len;
    }
    g_assert_cmpuint(qtest_readw(c.qt, c.rx_page + 10), ==, 5);
    g_assert_cmpmem(got + 12, 1400, want, 1400);
    /* Larger than all of a full ring: lost. */
    for (unsigned i = 0; mode->modern && !mode->indirect && i < 8; i++) {
        add_buffer(&c, 20);
    }
    if (mode->modern && !mode->indirect) {
        qvirtq_kick(&c.rx);
        throw_packet(&c, 1400, card_mac, 5);
        check_sent(&c, 100, 2);
    }
    card_end(&c);
}

/* Long packets among short ones, with just the buffers that they need. */
static void test_sizes(const void *data)
{
    static const unsigned sizes[] = {60, 3000, 60, 9000, 100, 14000, 60, 2036, 2037, 60};
    const QMode *mode = data;
    g_autofree uint8_t *got = g_malloc(NIC_MAX), *want = g_malloc(NIC_MAX);
    Card c;

    card_start(&c, mode, "");
    for (unsigned k = 0; k < 3 * G_N_ELEMENTS(sizes); k++) {
        const unsigned size = mode->features & QV_BIT(F_MRG) ? sizes[k % G_N_ELEMENTS(sizes)] : 60 + k;
        const unsigned n = (c.hdr_len + size + BUFFER - 1) / BUFFER, first = c.added;
        unsigned ids[8];
        size_t total = 0;

        g_assert_cmpuint(n, <=, G_N_ELEMENTS(ids));
        for (unsigned i = 0; i < n; i++) {
            ids[i] = add_buffer(&c, BUFFER);
        }
        qvirtq_kick(&c.rx);
        throw_packet(&c, size, card_mac, k);
        for (unsigned i = 0; i < n; i++) {
            const uint32_t len = qvirtq_wait(&c.rx, ids[i]);

            qtest_memread(c.qt, c.rx_page + BUFFER * ((first + i) % 64), got + total, len);
            total += len;
        }
        make_packet(want, size, card_mac, k);
        g_assert_cmpmem(got + c.hdr_len, total - c.hdr_len, want, size);
        if (c.hdr_len == 12) {
            g_assert_cmpuint(got[10] | got[11] << 8, ==, n);
        }
    }
    card_end(&c);
}

static void test_odd_packets(void)
{
    Card c;

    card_start(&c, &modes[3], "");
    /* Nothing but the header; too large; then one that is whole. */
    const QPiece header[] = {{c.tx_page, 12, false}}, large[] = {{c.tx_page, 12, false}, {c.tx_page, 70 * 1024, false}};
    unsigned id = qvirtq_add(&c.tx, header, 1);
    qvirtq_kick(&c.tx);
    qvirtq_wait(&c.tx, id);
    id = qvirtq_add(&c.tx, large, 2);
    qvirtq_kick(&c.tx);
    qvirtq_wait(&c.tx, id);
    cable_expect_nothing(c.cable);
    check_sent(&c, 65000, 1);
    /* The header's end inside a piece, and in the next one. */
    for (unsigned cut = 3; cut < 40; cut += 9) {
        g_autofree uint8_t *out = g_malloc(NIC_MAX), *got = g_malloc(NIC_MAX);
        const QPiece pieces[] = {{c.tx_page, cut, false}, {c.tx_page + cut, 112 - cut, false}};

        make_packet(out, 100, broadcast, cut);
        qtest_memwrite(c.qt, c.tx_page + 12, out, 100);
        id = qvirtq_add(&c.tx, pieces, 2);
        qvirtq_kick(&c.tx);
        qvirtq_wait(&c.tx, id);
        g_assert_cmpuint(cable_receive(c.cable, got, NIC_MAX), ==, 100);
        g_assert_cmpmem(got, 100, out, 100);
    }
    /* A runt from the network. */
    throw_packet(&c, 14, card_mac, 1);
    cable_send(c.cable, "short", 5);
    id = add_buffer(&c, BUFFER);
    qvirtq_kick(&c.rx);
    check_buffer(&c, c.rx_page, qvirtq_wait(&c.rx, id), 14, card_mac, 1);
    card_end(&c);
}

/* ---- the control queue ----------------------------------------------------------------------------- */

static uint8_t command(Card *c, unsigned class, unsigned cmd, const void *data, uint32_t len)
{
    const uint64_t page = c->ctrl_page;
    const QPiece pieces[] = {{page, 2, false}, {page + 2, len, false}, {page + 4000, 1, true}};
    const QPiece bare[] = {pieces[0], pieces[2]};

    qtest_writeb(c->qt, page, (uint8_t)class);
    qtest_writeb(c->qt, page + 1, (uint8_t)cmd);
    if (len) {
        qtest_memwrite(c->qt, page + 2, data, len);
    }
    qtest_writeb(c->qt, page + 4000, 0xff);
    const unsigned id = qvirtq_add(&c->ctrl, len ? pieces : bare, len ? 3 : 2);
    qvirtq_kick(&c->ctrl);
    qvirtq_wait(&c->ctrl, id);
    return qtest_readb(c->qt, page + 4000);
}

static void set_mode(Card *c, unsigned cmd, uint8_t on) { g_assert_cmpuint(command(c, 0, cmd, &on, 1), ==, 0); }

/* A packet to this address comes in (or not: then one behind it, which does, comes first). */
static void check_filter(Card *c, const uint8_t to[6], bool comes)
{
    const uint64_t at = c->rx_page + (uint64_t)BUFFER * (c->added % 64);
    const unsigned id = add_buffer(c, BUFFER);

    qvirtq_kick(&c->rx);
    throw_packet(c, 80, to, 1);
    throw_packet(c, 81, card_mac, 2);
    if (comes) {
        check_buffer(c, at, qvirtq_wait(&c->rx, id), 80, to, 1);
        const uint64_t next = c->rx_page + (uint64_t)BUFFER * (c->added % 64);
        const unsigned other = add_buffer(c, BUFFER);
        qvirtq_kick(&c->rx);
        check_buffer(c, next, qvirtq_wait(&c->rx, other), 81, card_mac, 2);
    } else {
        check_buffer(c, at, qvirtq_wait(&c->rx, id), 81, card_mac, 2);
    }
}

static void test_filters(const void *data)
{
    static const uint8_t other[6] = {2, 1, 1, 1, 1, 1}, group[6] = {0x33, 0x33, 0, 0, 0, 1}, group2[6] = {1, 0, 0x5e, 1, 2, 3};
    Card c;

    card_start(&c, data, "");
    check_filter(&c, other, true);
    set_mode(&c, 0, 0);
    check_filter(&c, other, false);
    check_filter(&c, broadcast, true);
    check_filter(&c, group, false);
    set_mode(&c, 1, 1);
    check_filter(&c, group, true);
    set_mode(&c, 1, 0);
    set_mode(&c, 2, 1);
    check_filter(&c, other, true);
    set_mode(&c, 2, 0);
    set_mode(&c, 5, 1);
    check_filter(&c, broadcast, false);
    set_mode(&c, 5, 0);
    /* The table: one address, one group. */
    uint8_t table[20] = {1};
    memcpy(table + 4, other, 6);
    table[10] = 1;
    memcpy(table + 14, group, 6);
    g_assert_cmpuint(command(&c, 1, 0, table, 20), ==, 0);
    check_filter(&c, other, true);
    check_filter(&c, group, true);
    check_filter(&c, group2, false);
    set_mode(&c, 3, 1);
    check_filter(&c, group, false);
    set_mode(&c, 3, 0);
    /* Refused tables change nothing. */
    g_assert_cmpuint(command(&c, 1, 0, table, 19), ==, 1);
    memset(table, 0xff, 4);
    g_assert_cmpuint(command(&c, 1, 0, table, 20), ==, 1);
    check_filter(&c, group, true);
    card_end(&c);
}

static void test_long_table(void)
{
    static const uint8_t other[6] = {2, 1, 1, 1, 1, 1};
    uint8_t table[8 + 65 * 6] = {65};
    Card c;

    card_start(&c, &modes[3], "");
    set_mode(&c, 0, 0);
    g_assert_cmpuint(command(&c, 1, 0, table, sizeof table), ==, 0);
    check_filter(&c, other, true); /* too many: all come in */
    card_end(&c);
}

static void test_vlans(void)
{
    uint8_t tagged[80], vlan[2] = {5, 0};
    g_autofree uint8_t *got = g_malloc(NIC_MAX);
    Card c;

    card_start(&c, &modes[3], "");
    set_mode(&c, 0, 0);
    make_packet(tagged, sizeof tagged, card_mac, 1);
    memcpy(tagged + 12, "\x81\0\0\5", 4);
    cable_send(c.cable, tagged, sizeof tagged); /* filtered */
    check_received(&c, 100, card_mac, 1);
    g_assert_cmpuint(command(&c, 2, 0, vlan, 2), ==, 0);
    unsigned id = add_buffer(&c, BUFFER);
    qvirtq_kick(&c.rx);
    cable_send(c.cable, tagged, sizeof tagged);
    g_assert_cmpuint(qvirtq_wait(&c.rx, id), ==, sizeof tagged + 12);
    g_assert_cmpuint(command(&c, 2, 1, vlan, 2), ==, 0);
    cable_send(c.cable, tagged, sizeof tagged);
    check_received(&c, 100, card_mac, 2);
    vlan[1] = 0x10;
    g_assert_cmpuint(command(&c, 2, 0, vlan, 2), ==, 1);
    card_end(&c);
}

static void test_mac(const void *data)
{
    static const uint8_t other[6] = {2, 1, 1, 1, 1, 1};
    Card c;

    card_start(&c, data, "");
    g_assert_cmphex(qvirtio_config(&c.v, 0, 4), ==, 0x12005452);
    g_assert_cmphex(qvirtio_config(&c.v, 6, 2), ==, 1);
    set_mode(&c, 0, 0);
    check_filter(&c, other, false);
    g_assert_cmpuint(command(&c, 1, 1, other, 6), ==, 0);
    g_assert_cmphex(qvirtio_config(&c.v, 0, 4), ==, 0x01010102);
    check_received(&c, 90, other, 1);
    g_assert_cmpuint(command(&c, 1, 1, other, 5), ==, 1);
    g_assert_true(qvirtio_negotiate(&c.v, c.mode->features | CTRL));
    g_assert_cmphex(qvirtio_config(&c.v, 0, 4), ==, 0x12005452);
    card_end(&c);
}

static void test_refused_commands(void)
{
    static const struct {
        unsigned class, cmd;
        uint32_t len;
    } bad[] = {{0, 6, 1}, {0, 0, 0}, {0, 0, 2}, {1, 2, 6}, {2, 2, 2}, {3, 0, 0}, {3, 1, 0}, {4, 0, 2}, {4, 1, 20}, {4, 2, 20},
               {5, 0, 8}, {6, 0, 4}, {255, 255, 0}, {1, 0, 3}, {1, 0, 0}};
    const uint8_t zeros[64] = {0};
    Card c;

    card_start(&c, &modes[3], "");
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_assert_cmpuint(command(&c, bad[i].class, bad[i].cmd, zeros, bad[i].len), ==, 1);
    }
    check_received(&c, 100, card_mac, 1);
    card_end(&c);
}

static void recover(Card *c)
{
    g_assert_true(qvirtio_negotiate(&c->v, c->mode->features | CTRL));
    queues_setup(c);
    check_sent(c, 200, 1);
    check_received(c, 200, card_mac, 2);
}

/* ---- bundles of UDP packets ------------------------------------------------------------------------------ */

#define USO_GUEST (QV_BIT(F_GUEST_CSUM) | QV_BIT(F_USO4) | QV_BIT(F_USO6))
#define USO_ALL (USO_GUEST | QV_BIT(F_CSUM) | QV_BIT(F_OFFLOADS) | QV_BIT(F_HOST_USO))
#define USO_PROPS ",host_uso=on,guest_uso4=on,guest_uso6=on"
#define PART 1000                 /* bytes of each packet's content */
#define PARTS 3
enum { NEEDS_CSUM = 1, GSO_UDP_L4 = 5 };

static void put16_be(uint8_t *at, size_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

/* Header and bundle for the card, over IPv4 or IPv6, each part filled by its number, with the sum of the pseudo header where
 * the checksum belongs. Its length; *udp: where the UDP header is in the packet. */
static size_t make_bundle(uint8_t *out, bool six, size_t *udp)
{
    const size_t ip_len = six ? 40 : 20, size = 8 + PART * PARTS;
    uint8_t *packet = out + 10, *ip = packet + 14;

    *udp = 14 + ip_len;
    memset(out, 0, 10 + *udp + 8);
    memcpy(packet, card_mac, 6);
    packet[6] = 0x52;
    put16_be(packet + 12, six ? 0x86dd : 0x0800);
    ip[0] = six ? 0x60 : 0x45;
    put16_be(ip + (six ? 4 : 2), six ? size : ip_len + size);
    ip[six ? 7 : 8] = 64;
    ip[six ? 6 : 9] = 17;
    memset(ip + (six ? 8 : 12), six ? 0xfd : 10, ip_len - (six ? 8 : 12));
    if (!six) {
        put16_be(ip + 10, ~inet_sum(0, ip, 20) & 0xffff);
    }
    put16_be(packet + *udp, 4000);
    put16_be(packet + *udp + 2, 5000);
    put16_be(packet + *udp + 4, size);
    put16_be(packet + *udp + 6, inet_sum((uint32_t)(17 + size), ip + (six ? 8 : 12), ip_len - (six ? 8 : 12)));
    for (unsigned i = 0; i < PARTS; i++) {
        memset(packet + *udp + 8 + (size_t)PART * i, (int)(0x41 + i), PART);
    }
    const uint8_t header[10] = {NEEDS_CSUM, GSO_UDP_L4, (uint8_t)(*udp + 8), 0, PART & 0xff, PART >> 8, (uint8_t)*udp, 0, 6, 0};
    memcpy(out, header, sizeof header);
    return 10 + *udp + size;
}

/* The guest sends: header[10], a packet behind it. */
static void send_with_header(Card *c, const uint8_t *data, size_t len)
{
    const QPiece pieces[] = {{c->tx_page, c->hdr_len, false}, {c->tx_page + c->hdr_len, (uint32_t)len - 10, false}};

    qtest_memset(c->qt, c->tx_page, 0, c->hdr_len);
    qtest_memwrite(c->qt, c->tx_page, data, 10);
    qtest_memwrite(c->qt, c->tx_page + c->hdr_len, data + 10, len - 10);
    const unsigned id = qvirtq_add(&c->tx, pieces, 2);
    qvirtq_kick(&c->tx);
    qvirtq_wait(&c->tx, id);
}

/* A bundle goes out as one. */
static void check_bundle_sent(Card *c, bool six)
{
    g_autofree uint8_t *out = g_malloc(NIC_MAX), *got = g_malloc(NIC_MAX);
    size_t udp, len = make_bundle(out, six, &udp);

    send_with_header(c, out, len);
    g_assert_cmpuint(cable_receive(c->cable, got, NIC_MAX), ==, len);
    g_assert_cmpuint(got[0] & NEEDS_CSUM, ==, NEEDS_CSUM);
    g_assert_cmpuint(got[1], ==, GSO_UDP_L4);
    g_assert_cmpuint(got[4] | got[5] << 8, ==, PART);
    g_assert_cmpuint(got[6] | got[7] << 8, ==, udp);
    g_assert_cmpmem(got + 10, len - 10, out + 10, len - 10);
}

/* The next n buffers: large enough for a bundle each. */
static void add_large(Card *c, unsigned *ids, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        const uint64_t at = c->rx_page + 8192 * i;
        const QPiece pieces[] = {{at, c->hdr_len, true}, {at + c->hdr_len, 8192 - c->hdr_len, true}};

        ids[i] = qvirtq_add(&c->rx, pieces, 2);
    }
    qvirtq_kick(&c->rx);
}

/* A bundle for the guest comes as one, or as packets that are complete. */
static void check_bundle_received(Card *c, bool six, bool whole)
{
    g_autofree uint8_t *out = g_malloc(NIC_MAX), *got = g_malloc(8192);
    size_t udp, len = make_bundle(out, six, &udp), addresses = six ? 22 : 26;
    unsigned ids[PARTS];

    add_large(c, ids, whole ? 1 : PARTS);
    cable_send(c->cable, out, len);
    for (unsigned i = 0; i < (whole ? 1 : PARTS); i++) {
        const uint32_t written = qvirtq_wait(&c->rx, ids[i]), size = written - c->hdr_len;
        const uint8_t *packet = got + c->hdr_len;

        qtest_memread(c->qt, c->rx_page + 8192 * i, got, written);
        g_assert_cmpuint(got[1], ==, whole ? GSO_UDP_L4 : 0);
        if (whole) {
            g_assert_cmpuint(got[4] | got[5] << 8, ==, PART);
            g_assert_cmpuint(got[6] | got[7] << 8, ==, udp);
            g_assert_cmpmem(packet, size, out + 10, len - 10);
            return;
        }
        g_assert_cmpuint(size, ==, udp + 8 + PART);
        g_assert_cmpmem(packet + udp + 8, PART, out + 10 + udp + 8 + (size_t)PART * i, PART);
        if (!(got[0] & NEEDS_CSUM)) {
            const uint32_t pseudo = inet_sum(17 + 8 + PART, packet + addresses, udp - addresses);

            g_assert_cmphex(inet_sum(pseudo, packet + udp, 8 + PART), ==, 0xffff);
        }
    }
}

static uint8_t set_offloads(Card *c, uint64_t offloads)
{
    uint8_t raw[8];

    for (unsigned i = 0; i < 8; i++) {
        raw[i] = (uint8_t)(offloads >> 8 * i);
    }
    return command(c, 5, 0, raw, sizeof raw);
}

/* Headers that lie: each buffer comes back, what the kernel makes of them is its own affair, and a good packet passes. */
static void send_hostile_headers(Card *c)
{
    static const struct {
        unsigned at;
        uint16_t value;
    } lies[] = {{4, 0}, {4, 1}, {4, 7}, {4, 0xffff}, {4, 3008}, {6, 0}, {6, 13}, {6, 3041}, {6, 0xffff}, {8, 0}, {8, 7}, {8, 0xffff},
                {2, 0}, {2, 1}, {2, 5000}, {2, 0xffff}, {0, GSO_UDP_L4 << 8}, {0, 0}, {0, 0x0201}, {0, 0x0601}, {0, 0x8501},
                {0, 0xff01}, {0, 0x05ff}, {0, 0x0101}, {0, 0x0401}};
    g_autofree uint8_t *out = g_malloc(NIC_MAX), *got = g_malloc(NIC_MAX);
    size_t udp;

    for (unsigned six = 0; six < 2; six++) {
        for (unsigned i = 0; i < G_N_ELEMENTS(lies); i++) {
            const size_t len = make_bundle(out, six, &udp);

            out[lies[i].at] = (uint8_t)lies[i].value;
            out[lies[i].at + 1] = (uint8_t)(lies[i].value >> 8);
            send_with_header(c, out, len);
            for (size_t cut = 10 + udp; i == 0 && cut < 10 + udp + 20; cut++) { /* ends in the UDP header, or behind it */
                make_bundle(out, six, &udp);
                send_with_header(c, out, cut);
            }
        }
    }
    memset(out, 0, 10);
    make_packet(out + 10, 99, broadcast, 7);
    send_with_header(c, out, 109);
    while (cable_receive(c->cable, got, NIC_MAX) != 109 || memcmp(got + 10, out + 10, 99)) {
    }
}

/* Offered only where the netdev can do it; over a tap, bundles pass both ways, and the driver may switch its own. */
static void test_bundles(const void *data)
{
    const QMode *mode = data;
    Card c;

    card_start(&c, mode, USO_PROPS);
    if (!(qvirtio_features(&c.v) & QV_BIT(F_HOST_USO))) {
        g_assert_cmphex(qvirtio_features(&c.v) & USO_ALL & ~QV_BIT(F_CSUM) & ~QV_BIT(F_GUEST_CSUM) & ~QV_BIT(F_OFFLOADS), ==, 0);
        g_assert_false(qvirtio_negotiate(&c.v, mode->features | CTRL | QV_BIT(F_HOST_USO)));
        g_assert_false(qvirtio_negotiate(&c.v, mode->features | CTRL | QV_BIT(F_USO4)));
        recover(&c);
        card_end(&c);
        return;
    }
    for (unsigned round = 0; round < 2; round++) { /* after a reset the driver's features count */
        g_assert_true(qvirtio_negotiate(&c.v, mode->features | CTRL | USO_ALL));
        queues_setup(&c);
        if (!round) {
            check_sent(&c, 100, 1);
            cable_use_headers(c.cable);
        }
        for (unsigned six = 0; six < 2; six++) {
            check_bundle_sent(&c, six);
            check_bundle_received(&c, six, true);
            g_assert_cmpuint(set_offloads(&c, QV_BIT(F_GUEST_CSUM)), ==, 0);
            check_bundle_received(&c, six, false);
            g_assert_cmpuint(set_offloads(&c, USO_GUEST | QV_BIT(F_HOST_USO)), ==, 1);
            g_assert_cmpuint(set_offloads(&c, USO_GUEST), ==, 0);
            check_bundle_received(&c, six, true);
            g_assert_cmpuint(set_offloads(&c, QV_BIT(F_GUEST_CSUM) | QV_BIT(six ? F_USO6 : F_USO4)), ==, 0);
            check_bundle_received(&c, six, false); /* the kernel has both or none */
            g_assert_cmpuint(set_offloads(&c, QV_BIT(F_USO4) | QV_BIT(F_USO6)), ==, 0);
            check_bundle_received(&c, six, false); /* nothing without checksums */
            g_assert_cmpuint(set_offloads(&c, USO_GUEST), ==, 0);
        }
        send_hostile_headers(&c);
    }
    g_assert_true(qvirtio_negotiate(&c.v, mode->features | CTRL | QV_BIT(F_GUEST_CSUM) | QV_BIT(F_OFFLOADS)));
    queues_setup(&c);
    check_bundle_received(&c, false, false);
    g_assert_cmpuint(set_offloads(&c, USO_GUEST), ==, 1);
    card_end(&c);
}

/* ---- options and features ------------------------------------------------------------------------------ */

static void test_config(void)
{
    QTest *qt = qtest_start(MACHINE "-netdev hubport,id=n,hubid=1 -device virtio-net-pci,netdev=n,addr=4,mac=52:54:00:aa:bb:cc,mq=on,"
                            "host_mtu=1400,speed=1000,duplex=full,rss=on,rx_queue_size=512" USO_PROPS);
    QVirtio v;

    qvirtio_open(&v, qt, SLOT, true);
    const uint64_t offered = qvirtio_features(&v);
    g_assert_true(offered & QV_BIT(F_MTU) && offered & QV_BIT(F_MQ) && offered & QV_BIT(F_RSS) && offered & QV_BIT(F_SPEED));
    g_assert_cmphex(offered & 0x7f83, ==, 0); /* offloads need tap */
    g_assert_cmphex(offered & (USO_ALL & ~QV_BIT(F_OFFLOADS)), ==, 0);
    g_assert_cmphex(qvirtio_config(&v, 2, 4), ==, 0xccbbaa00);
    g_assert_cmpuint(qvirtio_config(&v, 8, 2), ==, 1);
    g_assert_cmpuint(qvirtio_config(&v, 10, 2), ==, 1400);
    g_assert_cmpuint(qvirtio_config(&v, 12, 4), ==, 1000);
    g_assert_cmpuint(qvirtio_config(&v, 16, 1), ==, 1);
    g_assert_cmpuint(qvirtio_config(&v, 17, 1), ==, 40);
    g_assert_cmpuint(qvirtio_config(&v, 18, 2), ==, 128);
    g_assert_cmpuint(qvirtio_config(&v, 20, 4), ==, 0x1ff);
    g_assert_cmpuint(qvirtq_max(&v, 0), ==, 512);
    g_assert_cmpuint(qvirtq_max(&v, 1), ==, 256);
    g_assert_cmpuint(qvirtq_max(&v, 2), ==, 64);
    g_assert_cmpuint(qvirtq_max(&v, 3), ==, 0);
    g_assert_false(qvirtio_negotiate(&v, QV_BIT(QV_VERSION_1) | QV_BIT(0)));
    g_assert_true(qvirtio_negotiate(&v, offered));
    qtest_end(qt);
}

/* Hashes choose among queues; with one they all lead there. */
static void test_rss(void)
{
    uint8_t config[8 + 4 + 2 + 1 + 40] = {0x3f, 0, 0, 0, 1, 0};
    Card c;

    card_start(&c, &modes[3], ",rss=on");
    g_assert_true(qvirtio_negotiate(&c.v, c.mode->features | CTRL | QV_BIT(F_RSS)));
    queues_setup(&c);
    config[12] = 1;
    config[14] = 40;
    memset(config + 15, 0x6d, 40);
    g_assert_cmpuint(command(&c, 4, 1, config, sizeof config), ==, 0);
    check_received(&c, 100, card_mac, 1);
    config[4] = 2; /* no power of two less one */
    g_assert_cmpuint(command(&c, 4, 1, config, sizeof config), ==, 1);
    config[4] = 1;
    config[8] = 1; /* a queue that there is not */
    g_assert_cmpuint(command(&c, 4, 1, config, sizeof config), ==, 1);
    config[8] = 0;
    config[12] = 2;
    g_assert_cmpuint(command(&c, 4, 1, config, sizeof config), ==, 1);
    config[12] = 1;
    config[14] = 41;
    g_assert_cmpuint(command(&c, 4, 1, config, sizeof config), ==, 1);
    g_assert_cmpuint(command(&c, 4, 1, config, 14), ==, 1);
    check_received(&c, 100, card_mac, 2);
    card_end(&c);
}

static void test_bad_options(void)
{
    static const char *const bad[][2] = {
        {"rx_queue_size=128", "rx_queue_size"},  {"rx_queue_size=300", "rx_queue_size"}, {"tx_queue_size=2048", "tx_queue_size"},
        {"duplex=some", "duplex"},               {"speed=-2", "speed"},                  {"tx=later", "tx=later"},
        {"failover=on", "failover"},             {"guest_rsc_ext=on", "guest_rsc_ext"},  {"netdev=nobody", "nobody"},
        {"mac=52:54", "mac"},                    {"iommu_platform=on", "iommu_platform"}, {"frobnicate=1", "frobnicate"},
    };

    qtest_expect_refused("-device virtio-net-pci,", bad, G_N_ELEMENTS(bad));
}

/* ---- bad rings, resets ----------------------------------------------------------------------------------- */

static void expect_broken(Card *c, QVirtq *q, const QPiece *pieces, unsigned count)
{
    qvirtq_add(q, pieces, count);
    qvirtq_kick(q);
    if (q == &c->rx) {
        throw_packet(c, 100, card_mac, 1);
    }
    qvirtio_wait_broken(&c->v);
    if (q == &c->rx) { /* what was thrown comes when the card works again */
        g_assert_true(qvirtio_negotiate(&c->v, c->mode->features | CTRL));
    }
    recover(c);
}

/* Every class and command, with every length up to more than any has, tables of every size: each is answered, the card lives. */
static void test_all_commands(void)
{
    uint8_t data[400];
    Card c;

    card_start(&c, &modes[3], ",mq=on,rss=on,hash=on");
    g_assert_true(qvirtio_negotiate(&c.v, c.mode->features | CTRL | QV_BIT(F_RSS)));
    queues_setup(&c);
    for (unsigned class = 0; class < 7; class++) {
        for (unsigned cmd = 0; cmd < 7; cmd++) {
            for (unsigned len = 0; len <= sizeof data; len += len < 60 ? 1 : 37) {
                for (unsigned i = 0; i < len; i++) {
                    data[i] = i % 3 ? 0 : (uint8_t)g_test_rand_int();
                }
                g_assert_cmpuint(command(&c, class, cmd, data, len), <=, 1);
            }
        }
    }
    for (unsigned mask = 0; mask < 190; mask++) {
        for (unsigned queue = 0; queue < 2; queue++) {
            const bool good = mask < 128 && !(mask & (mask + 1)) && !queue;
            const unsigned end = 8 + 2 * (mask + 1);

            memset(data, 0, sizeof data);
            data[4] = (uint8_t)mask;
            data[8 + 2 * mask] = (uint8_t)queue;
            data[end] = 1; /* pairs */
            g_assert_cmpuint(command(&c, 4, 1, data, end + 3), ==, !good);
            g_assert_cmpuint(command(&c, 4, 1, data, end + 2), ==, 1);
        }
    }
    recover(&c);
    card_end(&c);
}

static void test_hostile(const void *data)
{
    Card c;

    card_start(&c, data, "");
    const QPiece shorty[] = {{c.tx_page, c.hdr_len - 1, false}}, in[] = {{c.tx_page, 100, false}, {c.tx_page, 100, true}};
    const QPiece rom[] = {{0xffff0000, 100, false}}, nowhere[] = {{0xe8000000, 100, false}}, high[] = {{UINT64_MAX - 50, 100, false}};
    const QPiece *const tx[] = {shorty, rom, nowhere, high};
    const QPiece ack[] = {{c.ctrl_page, 2, false}}, one[] = {{c.ctrl_page, 1, false}, {c.ctrl_page, 1, true}};

    for (unsigned i = 0; i < G_N_ELEMENTS(tx); i++) {
        expect_broken(&c, &c.tx, tx[i], 1);
    }
    expect_broken(&c, &c.tx, in, 2);
    expect_broken(&c, &c.ctrl, ack, 1);
    expect_broken(&c, &c.ctrl, one, 2);
    card_end(&c);
}

/* Receive buffers that are none: seen when a packet comes. */
static void test_hostile_buffers(void)
{
    Card c;

    card_start(&c, &modes[3], "");
    const QPiece out[] = {{c.rx_page, 100, false}}, small[] = {{c.rx_page, 11, true}}, rom[] = {{0xffff0000, 2048, true}};
    const QPiece *const bad[] = {out, small, rom};

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        qvirtq_add(&c.rx, bad[i], 1);
        qvirtq_kick(&c.rx);
        throw_packet(&c, 100, card_mac, 1);
        qvirtio_wait_broken(&c.v);
        g_assert_true(qvirtio_negotiate(&c.v, c.mode->features | CTRL));
        queues_setup(&c);
        check_sent(&c, 100, 1);
    }
    card_end(&c);
}

/* Resets in the middle of traffic; afterwards everything is as ever. */
static void test_reset_busy(const void *data)
{
    g_autofree uint8_t *out = g_malloc(NIC_MAX);
    Card c;

    card_start(&c, data, "");
    make_packet(out, 1000, broadcast, 1);
    qtest_memwrite(c.qt, c.tx_page + c.hdr_len, out, 1000);
    for (unsigned round = 0; round < 30; round++) {
        const QPiece pieces[] = {{c.tx_page, c.hdr_len, false}, {c.tx_page + c.hdr_len, 1000, false}};

        for (unsigned i = 0; i < 4; i++) {
            add_buffer(&c, BUFFER);
            qvirtq_add(&c.tx, pieces, 2);
            throw_packet(&c, 100, card_mac, i);
        }
        qvirtq_kick(&c.rx);
        qvirtq_kick(&c.tx);
        g_assert_true(qvirtio_negotiate(&c.v, c.mode->features | CTRL));
        queues_setup(&c);
    }
    g_assert_true(qtest_is_alive(c.qt));
    card_end(&c);
}

int main(int argc, char **argv)
{
    static const QModeTest per_mode[] = {
        {"packets", test_packets, false}, {"starved", test_starved, false}, {"merged", test_merged, false}, {"sizes", test_sizes, false},
        {"filters", test_filters, false}, {"mac", test_mac, false}, {"hostile", test_hostile, true},
        {"bundles", test_bundles, true},
        {"reset-busy", test_reset_busy, false},
    };

    g_test_init(&argc, &argv, NULL);
    if (g_getenv("QTEST_TAP") && !cable_use_taps()) {
        g_print("1..0 # SKIP no network namespace with taps can be made\n");
        return 0;
    }
    qvirtio_add_tests("virtio-net", per_mode, G_N_ELEMENTS(per_mode), modes, G_N_ELEMENTS(modes));
    if (!g_getenv("QTEST_TAP")) { /* what Linux sends on its own behalf is never so odd */
        g_test_add_func("/virtio-net/odd-packets", test_odd_packets);
    }
    g_test_add_func("/virtio-net/long-table", test_long_table);
    g_test_add_func("/virtio-net/vlans", test_vlans);
    g_test_add_func("/virtio-net/refused-commands", test_refused_commands);
    g_test_add_func("/virtio-net/config", test_config);
    g_test_add_func("/virtio-net/rss", test_rss);
    g_test_add_func("/virtio-net/all-commands", test_all_commands);
    g_test_add_func("/virtio-net/hostile-buffers", test_hostile_buffers);
    g_test_add_func("/virtio-net/bad-options", test_bad_options);
    return g_test_run();
}
