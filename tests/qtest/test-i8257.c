/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The DMA controllers: registers, the flip-flop, page registers. Transfers are in test-fdc.c.
 */
#include "tests/qtest/pc.h"

static void test_registers(void)
{
    QTest *qt = qtest_start(PC);

    qtest_outb(qt, 0x0c, 0);
    qtest_outb(qt, 0x04, 0x34);
    qtest_outb(qt, 0x04, 0x12);
    qtest_outb(qt, 0x05, 0xff);
    qtest_outb(qt, 0x05, 0x01);
    qtest_outb(qt, 0x81, 0x56);
    qtest_outb(qt, 0x0c, 0);
    g_assert_cmphex(qtest_inb(qt, 0x04), ==, 0x34);
    g_assert_cmphex(qtest_inb(qt, 0x04), ==, 0x12);
    g_assert_cmphex(qtest_inb(qt, 0x05), ==, 0xff);
    g_assert_cmphex(qtest_inb(qt, 0x05), ==, 0x01);
    g_assert_cmphex(qtest_inb(qt, 0x81), ==, 0x56);
    qtest_outb(qt, 0xcc, 0xff);
    qtest_outb(qt, 0xd8, 0); /* the second controller: words */
    qtest_outb(qt, 0xc4, 0x78);
    qtest_outb(qt, 0xc4, 0x00);
    qtest_outb(qt, 0xd8, 0);
    g_assert_cmphex(qtest_inb(qt, 0xc4), ==, 0x78);
    qtest_end(qt);
}

/* Master clear masks all channels and clears the requests that software made. */
static void test_clear(void)
{
    QTest *qt = qtest_start(PC);

    qtest_outb(qt, 0x08, 0x04); /* disabled: nothing moves */
    qtest_outb(qt, 0x09, 0x05);
    g_assert_cmphex(qtest_inb(qt, 0x08) & 0x20, ==, 0x20);
    qtest_outb(qt, 0x0d, 0);
    g_assert_cmphex(qtest_inb(qt, 0x08) & 0xf0, ==, 0);
    qtest_end(qt);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/i8257/registers", test_registers);
    g_test_add_func("/i8257/clear", test_clear);
    return g_test_run();
}
