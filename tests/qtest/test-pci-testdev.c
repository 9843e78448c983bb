/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The test device of PCI accesses.
 */
#include "tests/qtest/pc.h"

/* The tests of both BARs: how a test describes itself, and what it counts. */
static void test_pci_testdev(void)
{
    QTest *qt = qtest_start(PC " -device pci-testdev,addr=5");
    const unsigned devfn = QPCI_DEVFN(5, 0);
    uint64_t memory = qpci_map_bar(qt, devfn, 0, NULL);
    uint16_t ports = (uint16_t)qpci_map_bar(qt, devfn, 1, NULL);

    qtest_writeb(qt, memory, 0);
    uint32_t offset = qtest_readl(qt, memory + 4);
    uint8_t value = (uint8_t)qtest_readl(qt, memory + 8);
    qtest_writeb(qt, memory + offset, value);
    qtest_writeb(qt, memory + offset, (uint8_t)(value + 1)); /* not the value */
    qtest_writeb(qt, memory + offset + 1, value);            /* not the place */
    g_assert_cmpuint(qtest_readl(qt, memory + 12), ==, 1);
    g_assert_cmphex(qtest_readb(qt, memory + 16), ==, 'm');
    qtest_outb(qt, ports, 0);
    offset = qtest_inl(qt, ports + 4);
    value = (uint8_t)qtest_inl(qt, ports + 8);
    qtest_outb(qt, (uint16_t)(ports + offset), value);
    qtest_outb(qt, (uint16_t)(ports + offset), value);
    g_assert_cmpuint(qtest_inl(qt, ports + 12), ==, 2);
    qtest_outb(qt, ports, 3); /* there is no such test */
    g_assert_cmpuint(qtest_inb(qt, ports + 1), ==, 0);
    qtest_end(qt);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pci-testdev/both-bars", test_pci_testdev);
    return g_test_run();
}
