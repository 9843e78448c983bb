/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The I/O APIC of user space: registers and lines.
 */
#include "tests/qtest/pc.h"

static void test_ioapic_registers(void)
{
    QTest *qt = qtest_start(PC);

    qtest_writel(qt, 0xfec00000, 1);
    g_assert_cmphex(qtest_readl(qt, 0xfec00010), ==, 0x00170020);
    for (unsigned i = 0x10; i < 0x40; i++) {
        qtest_writel(qt, 0xfec00000, i);
        g_assert_cmphex(qtest_readl(qt, 0xfec00010), ==, i & 1 ? 0 : 0x10000);
        qtest_writel(qt, 0xfec00010, 0xffffffff);
        g_assert_cmphex(qtest_readl(qt, 0xfec00010), ==, i & 1 ? 0xffffffff : 0xffffafff);
    }
    g_assert_cmphex(qtest_readb(qt, 0xfec00010), ==, 0); /* the window is 32 bits wide */
    qtest_end(qt);
}

/* A reset masks all lines again and keeps nothing of the id. */
static void test_reset(void)
{
    QTest *qt = qtest_start(PC);

    qtest_writel(qt, 0xfec00000, 0x14);
    qtest_writel(qt, 0xfec00010, 0x30);
    qtest_writel(qt, 0xfec00000, 0);
    qtest_writel(qt, 0xfec00010, 0x05000000);
    g_assert_cmphex(qtest_readl(qt, 0xfec00010), ==, 0x05000000);
    qtest_outb(qt, 0x64, 0xfe);
    do {
        qtest_writel(qt, 0xfec00000, 0x14);
    } while (qtest_readl(qt, 0xfec00010) != 0x10000);
    qtest_writel(qt, 0xfec00000, 0);
    g_assert_cmphex(qtest_readl(qt, 0xfec00010), ==, 0);
    qtest_end(qt);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ioapic/registers", test_ioapic_registers);
    g_test_add_func("/ioapic/reset", test_reset);
    return g_test_run();
}
