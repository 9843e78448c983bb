/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 82540EM, driven as a driver would, and as none should; packets go through a datagram socket.
 */
#include <string.h>

#include "nic.h"

#define DEVFN QPCI_DEVFN(5, 0)
#define TX_RING 0x200000
#define RX_RING 0x210000
#define TX_DATA 0x300000
#define RX_DATA 0x400000
#define RX_STEP 0x4000
#define RING 16

enum {
    CTRL = 0x0,
    STATUS = 0x8,
    EECD = 0x10,
    EERD = 0x14,
    MDIC = 0x20,
    ICR = 0xc0,
    ICS = 0xc8,
    IMS = 0xd0,
    IMC = 0xd8,
    RCTL = 0x100,
    TCTL = 0x400,
    RDBAL = 0x2800,
    RDBAH = 0x2804,
    RDLEN = 0x2808,
    RDH = 0x2810,
    RDT = 0x2818,
    TDBAL = 0x3800,
    TDBAH = 0x3804,
    TDLEN = 0x3808,
    TDH = 0x3810,
    TDT = 0x3818,
    MPC = 0x4010,
    GPRC = 0x4074,
    TPT = 0x40d4,
    RA = 0x5400,
    MTA = 0x5200,
    VFTA = 0x5600,
};

#define EOP 0x01000000u
#define RS 0x08000000u
#define DEXT 0x20000000u
#define DATA 0x00100000u
#define TSE 0x04000000u
#define VLE 0x40000000u

static const uint8_t guest[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56},
                     other[6] = {0x52, 0x54, 0, 0, 0, 9};
static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

typedef struct Card {
    QTest *qt;
    Cable *cable;
    uint64_t bar;
    unsigned tail; /* next transmit descriptor */
} Card;

static void wr(Card *c, unsigned reg, uint32_t value) { qtest_writel(c->qt, c->bar + reg, value); }
static uint32_t rd(Card *c, unsigned reg) { return qtest_readl(c->qt, c->bar + reg); }

static void setup_rings(Card *c, unsigned ring)
{
    wr(c, RCTL, 0);
    wr(c, TCTL, 0);
    wr(c, TDBAL, TX_RING);
    wr(c, TDBAH, 0);
    wr(c, TDLEN, ring * 16);
    wr(c, TDH, 0);
    wr(c, TDT, 0);
    wr(c, TCTL, 2);
    for (unsigned i = 0; i < ring; i++) {
        qtest_writeq(c->qt, RX_RING + i * 16, RX_DATA + i * RX_STEP);
        qtest_writeq(c->qt, RX_RING + i * 16 + 8, 0);
    }
    wr(c, RDBAL, RX_RING);
    wr(c, RDBAH, 0);
    wr(c, RDLEN, ring * 16);
    wr(c, RDH, 0);
    wr(c, RDT, ring - 1);
    wr(c, RCTL, 0x8002); /* on, broadcasts */
    qtest_clock_step(c->qt, 1100000000);
    c->tail = 0;
}

static Card *card_new(const char *more)
{
    Card *c = g_new0(Card, 1);

    c->cable = cable_new();
    g_autofree char *netdev = cable_netdev(c->cable, "n");
    c->qt = qtest_start("-machine pc -m 32 -nodefaults %s -device e1000,netdev=n,addr=5%s", netdev,
                        more);
    c->bar = qpci_map_bar(c->qt, DEVFN, 0, NULL);
    qpci_enable(c->qt, DEVFN, 7);
    setup_rings(c, RING);
    return c;
}

static void card_free(Card *c)
{
    qtest_end(c->qt);
    cable_free(c->cable);
    g_free(c);
}

static void put(Card *c, uint64_t addr, uint32_t lower, uint32_t upper)
{
    uint64_t at = TX_RING + c->tail * 16;

    qtest_writeq(c->qt, at, addr);
    qtest_writel(c->qt, at + 8, lower);
    qtest_writel(c->qt, at + 12, upper);
    c->tail = (c->tail + 1) % RING;
}

static void go(Card *c) { wr(c, TDT, c->tail); }

/* A packet in a legacy descriptor, and what comes out. */
static void check_send(Card *c, size_t len, unsigned seed)
{
    uint8_t packet[NIC_MAX], got[NIC_MAX];

    make_packet(packet, len, other, seed);
    qtest_memwrite(c->qt, TX_DATA, packet, len);
    put(c, TX_DATA, (uint32_t)len | EOP | RS, 0);
    go(c);
    g_assert_cmpuint(cable_receive(c->cable, got, sizeof got), ==, len);
    g_assert_cmpmem(got, len, packet, len);
}

static bool head_moved(QTest *qt, void *opaque)
{
    const unsigned *p = opaque;

    return qtest_readl(qt, UINT64_C(0xe0000000) + RDH) != *p;
}

/* Waits until RDH is no longer `from`. */
static void wait_head(Card *c, unsigned from)
{
    g_assert_cmphex(c->bar, ==, 0xe0000000);
    wait_until(c->qt, head_moved, &from);
}

/* ---- tests ------------------------------------------------------------------------------- */

static void test_send(void)
{
    Card *c = card_new("");

    rd(c, ICR);
    check_send(c, 60, 1);
    g_assert_cmphex(qtest_readl(c->qt, TX_RING + 12) & 1, ==, 1); /* done */
    g_assert_cmphex(rd(c, ICR) & 3, ==, 3);
    for (unsigned i = 0; i < 3 * RING; i++) {
        check_send(c, 60 + i * 29, i);
    }
    g_assert_cmpuint(rd(c, TPT), ==, 3 * RING + 1);
    g_assert_cmpuint(rd(c, TPT), ==, 0); /* reading clears */
    card_free(c);
}

/* A packet in three parts, two of them of two kinds. */
static void test_gather(void)
{
    Card *c = card_new("");
    uint8_t packet[1000], got[NIC_MAX];

    make_packet(packet, sizeof packet, other, 3);
    qtest_memwrite(c->qt, TX_DATA, packet, sizeof packet);
    put(c, TX_DATA, 14 | DEXT | DATA, 0);
    put(c, TX_DATA + 14, 500 | DEXT | DATA, 0);
    put(c, TX_DATA + 514, (sizeof packet - 514) | DEXT | DATA | EOP | RS, 0);
    go(c);
    g_assert_cmpuint(cable_receive(c->cable, got, sizeof got), ==, sizeof packet);
    g_assert_cmpmem(got, sizeof packet, packet, sizeof packet);
    card_free(c);
}

static void check_received(Card *c, unsigned slot, const uint8_t *packet, size_t len,
                           uint8_t status)
{
    uint8_t desc[16], got[0x4000];

    qtest_memread(c->qt, RX_RING + slot * 16, desc, sizeof desc);
    g_assert_cmphex(desc[12], ==, status);
    g_assert_cmpuint(desc[8] | desc[9] << 8, ==, len + 4);
    qtest_memread(c->qt, RX_DATA + slot * RX_STEP, got, len);
    g_assert_cmpmem(got, len, packet, len);
}

static void test_receive(void)
{
    Card *c = card_new("");
    uint8_t packet[1514] = {0};

    rd(c, ICR);
    make_packet(packet, sizeof packet, guest, 5);
    cable_send(c->cable, packet, sizeof packet);
    wait_head(c, 0);
    check_received(c, 0, packet, sizeof packet, 7);
    g_assert_cmphex(rd(c, ICR) & 0x80, ==, 0x80);
    memset(packet, 0, 60);
    make_packet(packet, 20, all, 6); /* short ones are filled up */
    cable_send(c->cable, packet, 20);
    wait_head(c, 1);
    memset(packet + 20, 0, 40);
    check_received(c, 1, packet, 60, 7);
    make_packet(packet, 64, other, 7); /* not for us */
    cable_send(c->cable, packet, 64);
    make_packet(packet, 64, guest, 8);
    cable_send(c->cable, packet, 64);
    wait_head(c, 2);
    check_received(c, 2, packet, 64, 7);
    g_assert_cmpuint(rd(c, RDH), ==, 3);
    g_assert_cmpuint(rd(c, GPRC), ==, 3);
    card_free(c);
}

/* Buffers of 256 bytes: one packet in several descriptors; then none is left, and packets wait. */
static void test_small_buffers(void)
{
    Card *c = card_new("");
    uint8_t packet[1000], got[256];

    wr(c, RCTL, 0x8002 | 3 << 16);
    make_packet(packet, sizeof packet, guest, 9);
    cable_send(c->cable, packet, sizeof packet);
    wait_head(c, 0);
    g_assert_cmpuint(rd(c, RDH), ==, 4); /* 1004 bytes with the FCS */
    for (unsigned i = 0; i < 4; i++) {
        unsigned len = i < 3 ? 256 : 1000 - 768;

        g_assert_cmphex(qtest_readb(c->qt, RX_RING + i * 16 + 12), ==, i < 3 ? 1 : 7);
        qtest_memread(c->qt, RX_DATA + i * RX_STEP, got, len);
        g_assert_cmpmem(got, len, packet + i * 256, len);
    }
    wr(c, RDT, 4); /* no descriptor is ours */
    make_packet(packet, 100, guest, 10);
    cable_send(c->cable, packet, 100);
    check_send(c, 60, 1);
    g_assert_cmpuint(rd(c, RDH), ==, 4);
    wr(c, RDT, 8);
    wait_head(c, 4);
    qtest_memread(c->qt, RX_DATA + 4 * RX_STEP, got, 100);
    g_assert_cmpmem(got, 100, packet, 100);
    card_free(c);
}

static void test_filters(void)
{
    Card *c = card_new("");
    uint8_t packet[64], group[6] = {0x01, 0x00, 0x5e, 0x00, 0x00, 0xfb};
    unsigned hash = (0xfbu << 8 | 0x00) >> 4;

    make_packet(packet, sizeof packet, group, 1);
    cable_send(c->cable, packet, sizeof packet); /* lost */
    make_packet(packet, sizeof packet, guest, 2);
    cable_send(c->cable, packet, sizeof packet);
    wait_head(c, 0);
    g_assert_cmpuint(rd(c, RDH), ==, 1);
    wr(c, MTA + hash / 32 * 4, 1u << hash % 32);
    make_packet(packet, sizeof packet, group, 3);
    cable_send(c->cable, packet, sizeof packet);
    wait_head(c, 1);
    wr(c, RCTL, 0x800a); /* promiscuous */
    make_packet(packet, sizeof packet, other, 4);
    cable_send(c->cable, packet, sizeof packet);
    wait_head(c, 2);
    check_received(c, 2, packet, sizeof packet, 7);
    card_free(c);
}

/* Tags are put in and taken off, and filtered by number. */
static void test_vlan(void)
{
    Card *c = card_new("");
    uint8_t packet[100], tagged[104], got[NIC_MAX];

    wr(c, CTRL, rd(c, CTRL) | 0x40000000);
    make_packet(packet, sizeof packet, other, 1);
    qtest_memwrite(c->qt, TX_DATA, packet, sizeof packet);
    put(c, TX_DATA, sizeof packet | EOP | RS | VLE, 0x1234u << 16);
    go(c);
    g_assert_cmpuint(cable_receive(c->cable, got, sizeof got), ==, 104);
    g_assert_cmpmem(got, 12, packet, 12);
    g_assert_cmpmem(got + 12, 4, "\x81\x00\x12\x34", 4);
    g_assert_cmpmem(got + 16, 88, packet + 12, 88);
    make_packet(packet, sizeof packet, guest, 2);
    memcpy(tagged, packet, 12);
    memcpy(tagged + 12, "\x81\x00\x20\x05", 4);
    memcpy(tagged + 16, packet + 12, 88);
    wr(c, RCTL, 0x48002); /* filter */
    cable_send(c->cable, tagged, sizeof tagged); /* lost */
    cable_send(c->cable, packet, sizeof packet);
    wait_head(c, 0);
    check_received(c, 0, packet, sizeof packet, 7);
    wr(c, VFTA, 1u << 5);
    cable_send(c->cable, tagged, sizeof tagged);
    wait_head(c, 1);
    check_received(c, 1, packet, sizeof packet, 0xf);
    g_assert_cmphex(qtest_readw(c->qt, RX_RING + 16 + 14), ==, 0x2005);
    card_free(c);
}

/* ---- offloads ---------------------------------------------------------------------------- */

/* Ethernet, IPv4 and TCP headers without checksums, but for the pseudo header's without the length.
 */
static void make_tcp(uint8_t *p, size_t payload)
{
    uint32_t s;

    make_packet(p, 54 + payload, other, 2);
    p[12] = 8;
    p[13] = 0;
    memcpy(p + 14,
           "\x45\x00\x00\x00\x10\x00\x40\x00\x40\x06\x00\x00\x0a\x00\x02\x0f\x0a\x00\x02\x02", 20);
    memcpy(p + 34,
           "\x12\x34\x00\x50\x00\x01\x00\x00\x00\x00\x00\x00\x50\x19\x20\x00\x00\x00\x00\x00", 20);
    s = inet_sum(6, p + 26, 8);
    p[50] = (uint8_t)(s >> 8);
    p[51] = (uint8_t)s;
}

static void put_context(Card *c, uint32_t paylen, unsigned hdr_len, unsigned mss, uint32_t tse)
{
    uint64_t at = TX_RING + c->tail * 16;

    qtest_writel(c->qt, at, 14 | 24 << 8 | 33 << 16);
    qtest_writel(c->qt, at + 4, 34 | 50 << 8);
    qtest_writel(c->qt, at + 8, paylen | DEXT | tse | 0x03000000);
    qtest_writel(c->qt, at + 12, hdr_len << 8 | mss << 16);
    c->tail = (c->tail + 1) % RING;
}

static void test_segmentation(void)
{
    const unsigned payload = 3500, mss = 1460;
    Card *c = card_new("");
    uint8_t packet[54 + 3500], got[NIC_MAX];
    size_t done = 0;

    make_tcp(packet, payload);
    qtest_memwrite(c->qt, TX_DATA, packet, sizeof packet);
    put_context(c, payload, 54, mss, TSE);
    put(c, TX_DATA, 1000 | DEXT | DATA | TSE, 0x300);
    put(c, TX_DATA + 1000, (sizeof packet - 1000) | DEXT | DATA | TSE | EOP | RS, 0);
    go(c);
    for (unsigned i = 0; i < 3; i++) {
        size_t len = cable_receive(c->cable, got, sizeof got), part = check_tcp(got + 14);

        g_assert_cmpuint(len, ==, 54 + part);
        g_assert_cmpuint(part, ==, i < 2 ? mss : payload - 2 * mss);
        g_assert_cmpmem(got + 54, part, packet + 54 + done, part);
        g_assert_cmpuint((unsigned)got[18] << 8 | got[19], ==,
                         0x1000 + i); /* IP's identification */
        g_assert_cmpuint((unsigned)got[40] << 8 | got[41], ==, done);               /* sequence */
        g_assert_cmphex(got[47], ==, i < 2 ? 0x10 : 0x19); /* PSH and FIN at the end only */
        done += part;
    }
    cable_expect_nothing(c->cable);
    card_free(c);
}

static void test_checksum(void)
{
    Card *c = card_new("");
    uint8_t packet[154], got[NIC_MAX];

    make_tcp(packet, 100);
    packet[16] = 0;
    packet[17] = 140;
    uint32_t s = inet_sum(6 + 120, packet + 26, 8);
    packet[50] = (uint8_t)(s >> 8);
    packet[51] = (uint8_t)s;
    qtest_memwrite(c->qt, TX_DATA, packet, sizeof packet);
    put_context(c, 0, 0, 0, 0);
    put(c, TX_DATA, sizeof packet | DEXT | DATA | EOP | RS, 0x300);
    go(c);
    g_assert_cmpuint(cable_receive(c->cable, got, sizeof got), ==, sizeof packet);
    g_assert_cmpuint(check_tcp(got + 14), ==, 100);
    card_free(c);
}

/* ---- the rest ---------------------------------------------------------------------------- */

/* The EEPROM bit by bit and by EERD. */
static void test_eeprom(void)
{
    Card *c = card_new(",mac=52:54:00:aa:bb:cc");
    uint16_t words[64], total = 0;

    for (unsigned i = 0; i < 64; i++) {
        unsigned command = 6u << 6 | i, value = 0;

        wr(c, EECD, 0);
        wr(c, EECD, 2);
        for (int bit = 8; bit >= 0; bit--) {
            unsigned di = command >> bit & 1 ? 4 : 0;

            wr(c, EECD, 2 | di);
            wr(c, EECD, 3 | di);
            wr(c, EECD, 2 | di);
        }
        for (unsigned bit = 0; bit < 16; bit++) {
            wr(c, EECD, 3);
            value = value << 1 | !!(rd(c, EECD) & 8);
            wr(c, EECD, 2);
        }
        wr(c, EERD, i << 8 | 1);
        g_assert_cmphex(rd(c, EERD), ==, value << 16 | i << 8 | 0x10);
        words[i] = (uint16_t)value;
        total = (uint16_t)(total + value);
    }
    g_assert_cmphex(words[0], ==, 0x5452);
    g_assert_cmphex(words[1], ==, 0xaa00);
    g_assert_cmphex(words[2], ==, 0xccbb);
    g_assert_cmphex(total, ==, 0xbaba);
    g_assert_cmphex(rd(c, RA), ==, 0xaa005452);
    card_free(c);
}

/* The link goes down for half a second when the PHY negotiates. */
static void test_autonegotiation(void)
{
    Card *c = card_new("");

    rd(c, ICR);
    g_assert_cmphex(rd(c, STATUS) & 2, ==, 2);
    wr(c, MDIC, 1u << 26 | 1 << 21 | 0x1340);
    g_assert_cmphex(rd(c, MDIC) >> 28, ==, 1);
    g_assert_cmphex(rd(c, STATUS) & 2, ==, 0);
    qtest_clock_step(c->qt, 600000000);
    g_assert_cmphex(rd(c, STATUS) & 2, ==, 2);
    g_assert_cmphex(rd(c, ICR) & 4, ==, 4);
    wr(c, MDIC, 2u << 26 | 1 << 21 | 1 << 16);
    g_assert_cmphex(rd(c, MDIC) & 0x24, ==, 0x24);
    card_free(c);
}

/* An interrupt, then none for the time that ITR asks for. */
static void test_mitigation(void)
{
    Card *c = card_new("");
    const unsigned pin = 11;

    qtest_irq_intercept_in(c->qt, "ioapic");
    qpci_write_config8(c->qt, QPCI_DEVFN(1, 0), 0x60, 11); /* INTA of slot 5 is PIRQA */
    qtest_clock_step(c->qt, 1000000000);
    rd(c, ICR);
    wr(c, IMC, UINT32_MAX);
    wr(c, 0xc4, 1000); /* 256 us */
    wr(c, IMS, 0x80);
    wr(c, ICS, 0x80);
    g_assert_true(qtest_get_irq(c->qt, pin));
    rd(c, ICR);
    g_assert_false(qtest_get_irq(c->qt, pin));
    wr(c, ICS, 0x80);
    g_assert_false(qtest_get_irq(c->qt, pin));
    qtest_clock_step(c->qt, 255000);
    g_assert_false(qtest_get_irq(c->qt, pin));
    qtest_clock_step(c->qt, 2000);
    g_assert_true(qtest_get_irq(c->qt, pin));
    card_free(c);
}

/* Rings and buffers where none should be; sizes and numbers that do not fit. The card works again
 * afterwards. */
static void test_hostile(void)
{
    static const uint64_t places[] = {0xe0000000, 0xfffe0000, 0xc0000,
                                      0x1fffff8,  0x2000000,  UINT64_C(0xfffffffffffffff0)};
    Card *c = card_new("");
    uint8_t packet[200];

    make_packet(packet, sizeof packet, guest, 1);
    for (unsigned i = 0; i < G_N_ELEMENTS(places); i++) {
        wr(c, TDBAL, (uint32_t)places[i]);
        wr(c, TDBAH, (uint32_t)(places[i] >> 32));
        wr(c, RDBAL, (uint32_t)places[i]);
        wr(c, RDBAH, (uint32_t)(places[i] >> 32));
        wr(c, TDT, 5);
        cable_send(c->cable, packet, sizeof packet);
        qtest_clock_step(c->qt, 1000000);
    }
    for (unsigned len = 0; len < 4; len++) { /* ring sizes 0, 8, 65528 and heads and tails beyond */
        setup_rings(c, RING);
        wr(c, TDLEN, len == 0 ? 0 : len == 1 ? 128 : UINT32_MAX);
        wr(c, RDLEN, len == 0 ? 0 : len == 1 ? 128 : UINT32_MAX);
        wr(c, TDH, len == 3 ? 0xffff : 100);
        wr(c, RDH, len == 3 ? 0xffff : 100);
        wr(c, RDT, 0x7fff);
        wr(c, TDT, 0xffff);
        cable_send(c->cable, packet, sizeof packet);
        qtest_clock_step(c->qt, 10000000);
    }
    setup_rings(c, RING); /* segments of 0 and 1 byte, headers longer than packets, a megabyte in
                             one descriptor */
    for (unsigned mss = 0; mss < 3; mss++) {
        put_context(c, 0xfffff, mss * 127, mss == 2 ? 0xffff : mss, TSE);
        put(c, TX_DATA, 0xfffff | DEXT | DATA | TSE, 0xffffffff);
        put(c, TX_DATA, 0xfffff | DEXT | DATA | TSE | EOP | RS, 0xffffffff);
        go(c);
    }
    for (unsigned i = 0; i < RING; i++) { /* buffers nowhere, everywhere; null ones */
        qtest_writeq(c->qt, RX_RING + i * 16, i & 1 ? 0 : places[i / 2 % G_N_ELEMENTS(places)]);
    }
    for (unsigned i = 0; i < 3; i++) {
        cable_send(c->cable, packet, sizeof packet);
    }
    qtest_clock_step(c->qt, 10000000);
    put(c, UINT64_C(0xffffffffffffff00), 0xffff | EOP,
        0xffffffff); /* the end of the address space */
    go(c);
    setup_rings(c, RING);
    g_autofree uint8_t *got = g_malloc(NIC_MAX);
    make_packet(packet, sizeof packet, other, 77); /* packets from above may come first */
    qtest_memwrite(c->qt, TX_DATA, packet, sizeof packet);
    put(c, TX_DATA, sizeof packet | EOP | RS, 0);
    go(c);
    while (cable_receive(c->cable, got, NIC_MAX) != sizeof packet ||
           memcmp(got, packet, sizeof packet)) {
    }
    card_free(c);
}

/* A ring of 4096 full packets: sent in portions, completely. */
static void test_long_ring(void)
{
    const unsigned n = 4000;
    Card *c = card_new("");
    uint8_t packet[60], *got = g_malloc(NIC_MAX);
    g_autofree uint64_t *ring = g_new(uint64_t, 2 * n);

    make_packet(packet, sizeof packet, other, 1);
    qtest_memwrite(c->qt, TX_DATA, packet, sizeof packet);
    for (unsigned i = 0; i < n; i++) {
        ring[2 * i] = TX_DATA;
        ring[2 * i + 1] = sizeof packet | EOP;
    }
    setup_rings(c, RING);
    wr(c, TDBAL, 0x800000);
    wr(c, TDLEN, 4096 * 16);
    qtest_memwrite(c->qt, 0x800000, ring, n * 16);
    wr(c, TDT, n);
    g_assert_cmpuint(rd(c, TDH), <, n);
    for (unsigned i = 0; i < 16 && rd(c, TDH) != n; i++) {
        qtest_clock_step(c->qt, 1000);
    }
    g_assert_cmpuint(rd(c, TDH), ==, n);
    g_assert_cmpuint(rd(c, TPT), ==, n);
    g_free(got);
    card_free(c);
}

/* One descriptor of 65533 packets: in portions, too, and all of them; a reset or a new ring ends that. */
static void test_long_segmentation(void)
{
    const unsigned len = 0xfffff, head = 54, mss = 16, n = (len - head + mss - 1) / mss;
    g_autofree uint8_t *packet = g_malloc(len), *got = g_malloc(NIC_MAX);

    make_tcp(packet, len - head);
    for (unsigned round = 0; round < 3; round++) {
        Card *c = card_new("");

        setup_rings(c, RING);
        qtest_memwrite(c->qt, 0x800000, packet, len);
        put_context(c, len - head, head, mss, TSE);
        put(c, 0x800000, len | DEXT | DATA | TSE | EOP | RS, 0x300);
        go(c);
        g_assert_cmpuint(rd(c, TDH), ==, 1);
        uint32_t sent = rd(c, TPT); /* from now on it counts anew */
        g_assert_cmpuint(sent, <, 10000);
        g_assert_cmpuint(cable_receive(c->cable, got, NIC_MAX), ==, head + mss);
        g_assert_cmpmem(got + head, mss, packet + head, mss);
        if (round == 1) {
            qtest_outb(c->qt, 0xcf9, 6);
        } else if (round == 2) {
            setup_rings(c, RING);
        }
        for (unsigned i = 0; i < 200 && !round && rd(c, TDH) != 2; i++) {
            qtest_clock_step(c->qt, 1000);
        }
        qtest_clock_step(c->qt, 100000);
        if (!round) {
            g_assert_cmpuint(rd(c, TDH), ==, 2);
            g_assert_cmpuint(sent + rd(c, TPT), ==, n);
            g_assert_cmphex(qtest_readl(c->qt, TX_RING + 16 + 12) & 1, ==, 1);
        }
        card_free(c);
    }
}

/* What a test of the state's format does not see: the card goes on with the ring where it was. */
static void test_reset(void)
{
    Card *c = card_new("");

    check_send(c, 100, 1);
    qtest_outb(c->qt, 0xcf9, 6);
    c->bar = qpci_map_bar(c->qt, DEVFN, 0, NULL);
    qpci_enable(c->qt, DEVFN, 7);
    g_assert_cmphex(rd(c, RCTL), ==, 0);
    g_assert_cmphex(rd(c, TDLEN), ==, 0);
    c->bar = UINT64_C(0xe0000000);
    card_free(c);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/e1000/send", test_send);
    g_test_add_func("/e1000/gather", test_gather);
    g_test_add_func("/e1000/receive", test_receive);
    g_test_add_func("/e1000/small-buffers", test_small_buffers);
    g_test_add_func("/e1000/filters", test_filters);
    g_test_add_func("/e1000/vlan", test_vlan);
    g_test_add_func("/e1000/segmentation", test_segmentation);
    g_test_add_func("/e1000/checksum", test_checksum);
    g_test_add_func("/e1000/eeprom", test_eeprom);
    g_test_add_func("/e1000/autonegotiation", test_autonegotiation);
    g_test_add_func("/e1000/mitigation", test_mitigation);
    g_test_add_func("/e1000/hostile", test_hostile);
    g_test_add_func("/e1000/long-ring", test_long_ring);
    g_test_add_func("/e1000/long-segmentation", test_long_segmentation);
    g_test_add_func("/e1000/reset", test_reset);
    return g_test_run();
}
