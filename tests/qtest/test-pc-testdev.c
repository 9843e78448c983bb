/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The test device of the kvm-unit-tests.
 */
#include "tests/qtest/pc.h"

/* Each ISA line by the port of its number; a cell; memory; a page whose mapping is renewed. */
static void test_pc_testdev(void)
{
    QTest *qt = qtest_start(PC " -device pc-testdev");

    qtest_irq_intercept_in(qt, "ioapic");
    for (unsigned line = 3; line < 8; line++) {
        qtest_outb(qt, 0x2000 + line, 1);
        g_assert_true(qtest_get_irq(qt, line));
        qtest_outb(qt, 0x2000 + line, 0);
        g_assert_false(qtest_get_irq(qt, line));
    }
    qtest_outb(qt, 0x2010, 1); /* ISA has no such line */
    qtest_outl(qt, 0xe0, 0x11223344);
    g_assert_cmphex(qtest_inb(qt, 0xea), ==, 0x22);
    qtest_writel(qt, 0xff000010, 0x55667788);
    g_assert_cmphex(qtest_readb(qt, 0xff000011), ==, 0x77);
    qtest_writel(qt, 0x5000, 0x12345678);
    qtest_outl(qt, 0xe4, 0x5000);
    g_assert_cmphex(qtest_readl(qt, 0x5000), ==, 0x12345678);
    qtest_writel(qt, 0x5000, 0x9abcdef0);
    g_assert_cmphex(qtest_readl(qt, 0x5000), ==, 0x9abcdef0);
    qtest_outl(qt, 0xe4, 0xfffff000); /* no RAM: nothing happens */
    qtest_end(qt);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pc-testdev/all", test_pc_testdev);
    return g_test_run();
}
