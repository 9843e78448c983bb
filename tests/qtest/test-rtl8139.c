/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The RTL8139C+ in both of its modes, driven well and badly; packets go through a datagram socket.
 */
#include <string.h>

#include "nic.h"

#define DEVFN QPCI_DEVFN(5, 0)
#define RX_BUF 0x200000
#define TX_DATA 0x300000
#define TX_RING 0x310000
#define RX_RING 0x311000
#define RX_DATA 0x400000

#define OWN 0x80000000u
#define EOR 0x40000000u
#define FS 0x20000000u
#define LS 0x10000000u

static const uint8_t guest[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56},
                     other[6] = {0x52, 0x54, 0, 0, 0, 9};
static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

typedef struct Card {
    QTest *qt;
    Cable *cable;
    uint16_t io;
    unsigned tx;
} Card;

static void reset_card(Card *c)
{
    qtest_outb(c->qt, c->io + 0x37, 0x10);
    g_assert_cmphex(qtest_inb(c->qt, c->io + 0x37) & 0x10, ==, 0);
    c->tx = 0;
}

/* The ring of bytes, 8 KiB, for our address and broadcasts. */
static void start_plain(Card *c, uint32_t config)
{
    reset_card(c);
    qtest_outl(c->qt, c->io + 0x30, RX_BUF);
    qtest_outb(c->qt, c->io + 0x37, 0x0c);
    qtest_outl(c->qt, c->io + 0x44, config);
}

static Card *card_new(void)
{
    Card *c = g_new0(Card, 1);

    c->cable = cable_new();
    g_autofree char *netdev = cable_netdev(c->cable, "n");
    c->qt = qtest_start("-machine pc -m 32 -nodefaults %s -device rtl8139,netdev=n,addr=5", netdev);
    c->io = (uint16_t)qpci_map_bar(c->qt, DEVFN, 0, NULL);
    qpci_enable(c->qt, DEVFN, 7);
    start_plain(c, 0x0a);
    return c;
}

static void card_free(Card *c)
{
    qtest_end(c->qt);
    cable_free(c->cable);
    g_free(c);
}

static void check_send(Card *c, size_t len, unsigned seed)
{
    uint8_t packet[2000], got[NIC_MAX];

    make_packet(packet, len, other, seed);
    qtest_memwrite(c->qt, TX_DATA, packet, len);
    qtest_outl(c->qt, c->io + 0x20 + 4 * c->tx, TX_DATA);
    qtest_outl(c->qt, c->io + 0x10 + 4 * c->tx, (uint32_t)len);
    g_assert_cmphex(qtest_inl(c->qt, c->io + 0x10 + 4 * c->tx) & 0xa000, ==, 0xa000);
    c->tx = (c->tx + 1) % 4;
    g_assert_cmpuint(cable_receive(c->cable, got, sizeof got), ==, len);
    g_assert_cmpmem(got, len, packet, len);
}

static uint16_t port;
static bool has_interrupt(QTest *qt, void *opaque)
{
    return qtest_inw(qt, port + 0x3e) & *(const uint16_t *)opaque;
}

static void wait_interrupt(Card *c, uint16_t bits)
{
    port = c->io;
    wait_until(c->qt, has_interrupt, &bits);
    qtest_outw(c->qt, c->io + 0x3e, bits);
}

static void test_send(void)
{
    Card *c = card_new();

    for (unsigned i = 0; i < 10; i++) {
        check_send(c, 60 + 150 * i, i);
    }
    g_assert_cmphex(qtest_inw(c->qt, c->io + 0x3e) & 4, ==, 4);
    g_assert_cmphex(qtest_inw(c->qt, c->io + 0x60), ==, 0xf00f); /* all done */
    card_free(c);
}

/* Packets one after the other, around the end of the ring. */
static void test_receive(void)
{
    Card *c = card_new();
    uint8_t packet[1400], got[1404];
    uint32_t at = 0;

    for (unsigned i = 0; i < 20; i++) {
        uint8_t header[4];
        size_t len = sizeof packet - i * 3;

        make_packet(packet, len, i % 4 ? guest : all, i);
        cable_send(c->cable, packet, len);
        wait_interrupt(c, 1);
        qtest_memread(c->qt, RX_BUF + at, header, 4);
        g_assert_cmpuint(header[2] | header[3] << 8, ==, len + 4);
        g_assert_cmphex(header[0] | header[1] << 8, ==, i % 4 ? 0x4001 : 0x2001);
        for (size_t k = 0; k < len; k++) {
            got[k] = 0;
        }
        size_t first = MIN(len, 8192 - (at + 4) % 8192);
        qtest_memread(c->qt, RX_BUF + (at + 4) % 8192, got, first);
        if (first < len) {
            qtest_memread(c->qt, RX_BUF, got + first, len - first);
        }
        g_assert_cmpmem(got, len, packet, len);
        at = (at + 4 + (uint32_t)len + 4 + 3) / 4 * 4 % 8192;
        g_assert_cmphex(qtest_inw(c->qt, c->io + 0x3a), ==, at);
        g_assert_cmphex(qtest_inb(c->qt, c->io + 0x37) & 1, ==, 0);
        qtest_outw(c->qt, c->io + 0x38, (uint16_t)(at - 16));
        g_assert_cmphex(qtest_inb(c->qt, c->io + 0x37) & 1, ==, 1); /* empty */
    }
    make_packet(packet, 60, other, 99); /* not for us */
    cable_send(c->cable, packet, 60);
    make_packet(packet, 60, guest, 99);
    cable_send(c->cable, packet, 60);
    wait_interrupt(c, 1);
    g_assert_cmphex(qtest_inw(c->qt, c->io + 0x3a), ==, (at + 68) % 8192);
    card_free(c);
}

/* The driver does not read: overflow is said, and after room was made packets come again. */
static void test_overflow(void)
{
    Card *c = card_new();
    uint8_t packet[1400];

    qtest_outw(c->qt, c->io + 0x3c, 0x10);
    make_packet(packet, sizeof packet, guest, 1);
    for (unsigned i = 0; i < 8; i++) {
        cable_send(c->cable, packet, sizeof packet);
    }
    wait_interrupt(c, 0x10);
    g_assert_cmpuint(qtest_inl(c->qt, c->io + 0x4c), >, 0);
    g_assert_cmpuint(qtest_inw(c->qt, c->io + 0x3a), ==, 5 * 1408);
    qtest_outw(c->qt, c->io + 0x3e, 1);
    qtest_outw(c->qt, c->io + 0x38, (uint16_t)(qtest_inw(c->qt, c->io + 0x3a) - 16));
    cable_send(c->cable, packet, sizeof packet);
    wait_interrupt(c, 1);
    card_free(c);
}

/* Nothing beyond what a driver has room for is written, however long a packet somebody sends. */
static void check_too_long(Card *c, const uint8_t *packet, size_t len, uint32_t room)
{
    uint8_t guard[64], got[sizeof guard];
    const uint16_t at = qtest_inw(c->qt, c->io + 0x3a);

    memset(guard, 0xa5, sizeof guard);
    qtest_memwrite(c->qt, RX_BUF + room, guard, sizeof guard);
    cable_send(c->cable, packet, len);
    wait_interrupt(c, 0x10);
    g_assert_cmpuint(qtest_inw(c->qt, c->io + 0x3a), ==, at);
    qtest_memread(c->qt, RX_BUF + room, got, sizeof got);
    g_assert_cmpmem(got, sizeof got, guard, sizeof guard);
}

static void test_long(void)
{
    Card *c = card_new();
    g_autofree uint8_t *packet = g_malloc(9000);

    make_packet(packet, 9000, guest, 1);
    check_too_long(c, packet, 9000, 8192); /* than the whole ring, which is empty */
    start_plain(c, 0x8a);                  /* packets go over the end, 1536 bytes at most */
    check_too_long(c, packet, 9000, 8192 + 1536);
    for (unsigned i = 0; i < 5; i++) {
        cable_send(c->cable, packet, 1400);
        wait_interrupt(c, 1);
        qtest_outw(c->qt, c->io + 0x38, (uint16_t)(qtest_inw(c->qt, c->io + 0x3a) - 16));
    }
    check_too_long(c, packet, 4000, 8192 + 1536);
    cable_send(c->cable, packet, 1514);
    wait_interrupt(c, 1);
    card_free(c);
}

/* ---- C+ mode ----------------------------------------------------------------------------- */

static void start_cplus(Card *c)
{
    reset_card(c);
    qtest_outw(c->qt, c->io + 0xe0, 0x43); /* both rings, tags */
    qtest_outl(c->qt, c->io + 0x20, TX_RING);
    qtest_outl(c->qt, c->io + 0x24, 0);
    qtest_outl(c->qt, c->io + 0xe4, RX_RING);
    qtest_outl(c->qt, c->io + 0xe8, 0);
    for (unsigned i = 0; i < 4; i++) {
        qtest_writel(c->qt, RX_RING + 16 * i, OWN | (i == 3 ? EOR : 0) | 0x800);
        qtest_writel(c->qt, RX_RING + 16 * i + 4, 0);
        qtest_writeq(c->qt, RX_RING + 16 * i + 8, RX_DATA + 0x1000 * i);
        qtest_writel(c->qt, TX_RING + 16 * i, i == 3 ? EOR : 0);
    }
    qtest_outb(c->qt, c->io + 0x37, 0x0c);
    qtest_outl(c->qt, c->io + 0x44, 0x0a);
}

static void put(Card *c, uint64_t addr, uint32_t word0, uint32_t word1)
{
    uint64_t at = TX_RING + 16 * (c->tx % 4);

    qtest_writel(c->qt, at + 4, word1);
    qtest_writeq(c->qt, at + 8, addr);
    qtest_writel(c->qt, at, word0 | OWN | (c->tx % 4 == 3 ? EOR : 0));
    c->tx++;
}

static void test_cplus(void)
{
    Card *c = card_new();
    uint8_t packet[1000], got[NIC_MAX];

    start_cplus(c);
    for (unsigned i = 0; i < 9; i++) {
        make_packet(packet, sizeof packet, other, i);
        qtest_memwrite(c->qt, TX_DATA, packet, sizeof packet);
        put(c, TX_DATA, FS | 14, 0);
        put(c, TX_DATA + 14, LS | (sizeof packet - 14), i & 1 ? 0x20000 | 0x0510 : 0);
        qtest_outb(c->qt, c->io + 0xd9, 0x40);
        size_t extra = i & 1 ? 4 : 0;
        g_assert_cmpuint(cable_receive(c->cable, got, sizeof got), ==, sizeof packet + extra);
        g_assert_cmpmem(got + 12 + extra, 900, packet + 12, 900);
        if (extra) {
            g_assert_cmpmem(got + 12, 4, "\x81\x00\x10\x05", 4);
        }
        g_assert_cmphex(qtest_readl(c->qt, TX_RING + 16 * ((c->tx - 1) % 4)) & OWN, ==, 0);
    }
    for (unsigned i = 0; i < 9; i++) {
        uint64_t at = RX_RING + 16 * (i % 4);

        make_packet(packet, 200, guest, i);
        cable_send(c->cable, packet, 200);
        wait_interrupt(c, 1);
        g_assert_cmphex(qtest_readl(c->qt, at), ==,
                        FS | LS | 0x02000000 | 204 | (i % 4 == 3 ? EOR : 0));
        qtest_memread(c->qt, RX_DATA + 0x1000 * (i % 4), got, 200);
        g_assert_cmpmem(got, 200, packet, 200);
        qtest_writel(c->qt, at, OWN | (i % 4 == 3 ? EOR : 0) | 0x800);
    }
    card_free(c);
}

/* TCP in segments, with checksums. */
static void test_segmentation(void)
{
    const unsigned payload = 3000, mss = 1400;
    Card *c = card_new();
    uint8_t packet[54 + 3000], got[NIC_MAX];
    unsigned done = 0;

    start_cplus(c);
    make_packet(packet, sizeof packet, other, 2);
    memcpy(
        packet + 12,
        "\x08\x00\x45\x00\x0b\xe0\x10\x00\x40\x00\x40\x06\x00\x00\x0a\x00\x02\x0f\x0a\x00\x02\x02",
        22);
    memcpy(packet + 34,
           "\x12\x34\x00\x50\x00\x01\x00\x00\x00\x00\x00\x00\x50\x19\x20\x00\x00\x00\x00\x00", 20);
    qtest_memwrite(c->qt, TX_DATA, packet, sizeof packet);
    put(c, TX_DATA, FS | LS | 0x08000000 | mss << 16 | sizeof packet, 0);
    qtest_outb(c->qt, c->io + 0xd9, 0x40);
    for (unsigned i = 0; i < 3; i++) {
        size_t len = cable_receive(c->cable, got, sizeof got), part = len - 54;

        g_assert_cmpuint(part, ==, MIN(mss, payload - done));
        g_assert_cmpuint(check_tcp(got + 14), ==, part);
        g_assert_cmpuint((unsigned)got[40] << 8 | got[41], ==, done);
        g_assert_cmphex(got[47], ==, i < 2 ? 0x10 : 0x19);
        g_assert_cmpmem(got + 54, part, packet + 54 + done, part);
        done += (unsigned)part;
    }
    cable_expect_nothing(c->cable);
    card_free(c);
}

/* ---- the rest ---------------------------------------------------------------------------- */

static void test_eeprom(void)
{
    Card *c = card_new();
    uint16_t words[10];

    for (unsigned i = 0; i < 10; i++) {
        unsigned command = 6u << 6 | i, value = 0;

        qtest_outb(c->qt, c->io + 0x50, 0x80);
        qtest_outb(c->qt, c->io + 0x50, 0x88);
        for (int bit = 8; bit >= 0; bit--) {
            uint8_t di = command >> bit & 1 ? 2 : 0;

            qtest_outb(c->qt, c->io + 0x50, 0x88 | di);
            qtest_outb(c->qt, c->io + 0x50, 0x8c | di);
        }
        for (unsigned bit = 0; bit < 16; bit++) {
            qtest_outb(c->qt, c->io + 0x50, 0x88);
            qtest_outb(c->qt, c->io + 0x50, 0x8c);
            value = value << 1 | (qtest_inb(c->qt, c->io + 0x50) & 1);
        }
        words[i] = (uint16_t)value;
    }
    g_assert_cmphex(words[0], ==, 0x8129);
    g_assert_cmphex(words[1], ==, 0x10ec);
    g_assert_cmphex(words[7], ==, 0x5452);
    g_assert_cmphex(words[8], ==, 0x1200);
    g_assert_cmphex(words[9], ==, 0x5634);
    card_free(c);
}

/* TimerInt, in clocks of 30 ns. */
static void test_timer(void)
{
    Card *c = card_new();

    qtest_outl(c->qt, c->io + 0x48, 0);
    qtest_outl(c->qt, c->io + 0x54, 1000);
    qtest_clock_step(c->qt, 29000);
    g_assert_cmphex(qtest_inw(c->qt, c->io + 0x3e) & 0x4000, ==, 0);
    g_assert_cmpuint(qtest_inl(c->qt, c->io + 0x48), ==, 29000 / 30);
    qtest_clock_step(c->qt, 1000);
    g_assert_cmphex(qtest_inw(c->qt, c->io + 0x3e) & 0x4000, ==, 0x4000);
    card_free(c);
}

static void test_hostile(void)
{
    static const uint32_t places[] = {0xe0000000, 0xfffe0000, 0xc0000,
                                      0x1fffff8,  0x2000000,  0xfffffff0};
    Card *c = card_new();
    uint8_t packet[1400];

    make_packet(packet, sizeof packet, guest, 1);
    for (unsigned i = 0; i < G_N_ELEMENTS(places); i++) {
        start_plain(c, i & 1 ? 0x0a : 0x188a); /* 8 KiB; 64 KiB, over the end */
        qtest_outl(c->qt, c->io + 0x30, places[i]);
        for (unsigned n = 0; n < 4; n++) {
            qtest_outl(c->qt, c->io + 0x20 + 4 * n, places[i]);
            qtest_outl(c->qt, c->io + 0x10 + 4 * n, 0x1fff);
            cable_send(c->cable, packet, sizeof packet);
        }
        start_cplus(c);
        qtest_outl(c->qt, c->io + 0x20, places[i]);
        qtest_outl(c->qt, c->io + 0xe4, places[i]);
        qtest_outb(c->qt, c->io + 0xd9, 0x40);
        cable_send(c->cable, packet, sizeof packet);
        start_cplus(c); /* a packet without end; segments of 0 bytes; a header beyond the packet */
        for (unsigned n = 0; n < 8; n++) {
            put(c, places[i], (n < 4 ? FS : 0) | 0x0800ffff | (n == 7 ? LS : 0), 0xffffffff);
            qtest_outb(c->qt, c->io + 0xd9, 0x40);
        }
        qtest_outl(c->qt, c->io + 0x10, places[i] | 8); /* counters */
        qtest_clock_step(c->qt, 1000);
    }
    start_plain(c, 0x0a);
    make_packet(packet, sizeof packet, other, 77); /* packets from above may come first */
    qtest_memwrite(c->qt, TX_DATA, packet, sizeof packet);
    qtest_outl(c->qt, c->io + 0x20, TX_DATA);
    qtest_outl(c->qt, c->io + 0x10, sizeof packet);
    g_autofree uint8_t *got = g_malloc(NIC_MAX);
    while (cable_receive(c->cable, got, NIC_MAX) != sizeof packet ||
           memcmp(got, packet, sizeof packet)) {
    }
    card_free(c);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/rtl8139/send", test_send);
    g_test_add_func("/rtl8139/receive", test_receive);
    g_test_add_func("/rtl8139/overflow", test_overflow);
    g_test_add_func("/rtl8139/long", test_long);
    g_test_add_func("/rtl8139/cplus", test_cplus);
    g_test_add_func("/rtl8139/segmentation", test_segmentation);
    g_test_add_func("/rtl8139/eeprom", test_eeprom);
    g_test_add_func("/rtl8139/timer", test_timer);
    g_test_add_func("/rtl8139/hostile", test_hostile);
    return g_test_run();
}
