/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The host bridge: configuration by its ports, shadow memory by the PAM registers, SMRAM.
 */
#include "tests/qtest/pc.h"

#define BRIDGE QPCI_DEVFN(0, 0)

static void test_configuration(void)
{
    QTest *qt = qtest_start(PC);

    g_assert_cmphex(qpci_read_config32(qt, BRIDGE, 0), ==, 0x12378086);
    qpci_write_config32(qt, BRIDGE, 0, 0);
    g_assert_cmphex(qpci_read_config32(qt, BRIDGE, 0), ==, 0x12378086);
    qtest_outl(qt, 0xcf8, 0); /* not enabled: the data port is nobody's */
    g_assert_cmphex(qtest_inl(qt, 0xcfc), ==, 0xffffffff);
    g_assert_cmphex(qpci_read_config32(qt, QPCI_DEVFN(31, 0), 0), ==, 0xffffffff);
    qtest_end(qt);
}

/* 0xd0000 as RAM, as RAM that cannot be written, as no RAM. */
static void test_pam(void)
{
    QTest *qt = qtest_start(PC);

    qpci_write_config8(qt, BRIDGE, 0x5c, 0x33);
    qtest_writel(qt, 0xd0000, 0x11111111);
    g_assert_cmphex(qtest_readl(qt, 0xd0000), ==, 0x11111111);
    qpci_write_config8(qt, BRIDGE, 0x5c, 0x31); /* read only */
    qtest_writel(qt, 0xd0000, 0x22222222);
    g_assert_cmphex(qtest_readl(qt, 0xd0000), ==, 0x11111111);
    qpci_write_config8(qt, BRIDGE, 0x5c, 0x30);
    g_assert_cmphex(qtest_readl(qt, 0xd0000), !=, 0x11111111);
    qtest_end(qt);
}

/* SMRAM opened to all: RAM at 0xa0000; a reset closes it. */
static void test_smram(void)
{
    QTest *qt = qtest_start(PC);

    g_assert_cmphex(qpci_read_config8(qt, BRIDGE, 0x72), ==, 0x02);
    qpci_write_config8(qt, BRIDGE, 0x72, 0x4a);
    g_assert_cmphex(qpci_read_config8(qt, BRIDGE, 0x72), ==, 0x4a);
    qtest_writel(qt, 0xa8000, 0xdeadbeef);
    g_assert_cmphex(qtest_readl(qt, 0xa8000), ==, 0xdeadbeef);
    qtest_outb(qt, 0x64, 0xfe);
    while (qpci_read_config8(qt, BRIDGE, 0x72) != 0x02) {
        g_usleep(200);
    }
    qtest_end(qt);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/i440fx/configuration", test_configuration);
    g_test_add_func("/i440fx/pam", test_pam);
    g_test_add_func("/i440fx/smram", test_smram);
    return g_test_run();
}
