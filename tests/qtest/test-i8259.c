/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The two 8259s: a line from the ISA bus to a request, priorities, end of interrupt, edge and level.
 */
#include "tests/qtest/pc.h"

/* The ELCR decides at the 8259s what a level is. */
static void test_elcr(void)
{
    QTest *qt = qtest_start(PC);

    g_assert_cmphex(qtest_inb(qt, 0x4d0), ==, 0);
    qtest_outb(qt, 0x4d0, 0xff);
    qtest_outb(qt, 0x4d1, 0xff);
    g_assert_cmphex(qtest_inb(qt, 0x4d0), ==, 0xf8);
    g_assert_cmphex(qtest_inb(qt, 0x4d1), ==, 0xde);
    qtest_end(qt);
}

#define LINES PC " -device pc-testdev"

/* The test device's port of an ISA line's number drives the line. */
static void line(QTest *qt, unsigned n, int level)
{
    qtest_outb(qt, (uint16_t)(0x2000 + n), (uint8_t)level);
}

/* What a CPU's acknowledgement would be: poll mode takes the request of the highest priority. */
static int poll(QTest *qt, uint16_t port)
{
    qtest_outb(qt, port, 0x0c);
    uint8_t value = qtest_inb(qt, port);

    return value & 0x80 ? value & 7 : -1;
}

/* A masked request waits; lines are edge-triggered, so one that stays high asks once. */
static void test_mask(void)
{
    QTest *qt = qtest_start(LINES);

    pc_pic_init(qt);
    qtest_outb(qt, 0x21, 0xff);
    line(qt, 5, 1);
    g_assert_cmphex(pc_pic_requests(qt) & 0x20, ==, 0x20);
    g_assert_cmpint(poll(qt, 0x20), ==, -1);
    qtest_outb(qt, 0x21, 0xdf);
    g_assert_cmpint(poll(qt, 0x20), ==, 5);
    qtest_outb(qt, 0x20, 0x20);
    g_assert_cmpint(poll(qt, 0x20), ==, -1);
    line(qt, 5, 0);
    line(qt, 5, 1);
    g_assert_cmpint(poll(qt, 0x20), ==, 5);
    qtest_end(qt);
}

/* What is in service holds back lower priorities until it ends; the second chip asks through line 2. */
static void test_service(void)
{
    QTest *qt = qtest_start(LINES);

    pc_pic_init(qt);
    qtest_outb(qt, 0x21, 0x00);
    qtest_outb(qt, 0xa1, 0x00);
    line(qt, 6, 1);
    line(qt, 3, 1);
    g_assert_cmpint(poll(qt, 0x20), ==, 3);
    qtest_outb(qt, 0x20, 0x0b);
    g_assert_cmphex(qtest_inb(qt, 0x20), ==, 0x08);
    g_assert_cmpint(poll(qt, 0x20), ==, -1);
    qtest_outb(qt, 0x20, 0x63); /* specific end */
    g_assert_cmpint(poll(qt, 0x20), ==, 6);
    qtest_outb(qt, 0x20, 0x20);
    line(qt, 11, 1);
    g_assert_cmphex(pc_pic_requests(qt), ==, 0x0804);
    g_assert_cmpint(poll(qt, 0x20), ==, 2);
    g_assert_cmpint(poll(qt, 0xa0), ==, 3);
    qtest_end(qt);
}

/* A line that the ELCR makes a level asks again until the device lets go of it. */
static void test_level(void)
{
    QTest *qt = qtest_start(LINES);

    pc_pic_init(qt);
    qtest_outb(qt, 0x4d0, 0x20);
    qtest_outb(qt, 0x21, 0x00);
    line(qt, 5, 1);
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmpint(poll(qt, 0x20), ==, 5);
        qtest_outb(qt, 0x20, 0x20);
    }
    line(qt, 5, 0);
    g_assert_cmpint(poll(qt, 0x20), ==, -1);
    qtest_end(qt);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/i8259/elcr", test_elcr);
    g_test_add_func("/i8259/mask", test_mask);
    g_test_add_func("/i8259/in-service", test_service);
    g_test_add_func("/i8259/level", test_level);
    return g_test_run();
}
