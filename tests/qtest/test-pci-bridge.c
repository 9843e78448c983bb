/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A bridge with a hot-plug controller: its interrupt line through PIIX3 to the I/O APIC, and slots
 * that a guest switches off.
 */
#include "tests/qtest/pc.h"

/* The hot-plug controller of a bridge at slot 5 asserts pin A, which arrives where PIIX3 routes it. */
static void test_pci_line(void)
{
    QTest *qt = qtest_start(PC " -device pci-bridge,chassis_nr=1,addr=5");
    const unsigned bridge = QPCI_DEVFN(5, 0), piix3 = QPCI_DEVFN(1, 0);

    qtest_irq_intercept_in(qt, "ioapic");
    for (unsigned line = 0; line < 4; line++) {
        qpci_write_config8(qt, piix3, (uint8_t)(0x60 + line), (uint8_t)(line < 2 ? 10 : 11));
    }
    uint64_t shpc = qpci_map_bar(qt, bridge, 0, NULL);
    qpci_enable(qt, bridge, 2);
    qtest_writeb(qt, shpc + 0x20, 0);    /* let interrupts out */
    qtest_writew(qt, shpc + 0x14, 0x40); /* a command: 33 MHz */
    /* slot 5, pin A: line (5 - 1 + 0) mod 4 = 0 */
    g_assert_true(qtest_get_irq(qt, 10));
    g_assert_false(qtest_get_irq(qt, 11));
    g_assert_cmphex(qpci_read_config16(qt, bridge, 0x06) & 8, ==, 8);
    qpci_write_config8(qt, piix3, 0x60, 11); /* the route changes under it */
    g_assert_false(qtest_get_irq(qt, 10));
    g_assert_true(qtest_get_irq(qt, 11));
    qpci_write_config16(qt, bridge, 0x04, 0x402); /* INTx off */
    g_assert_false(qtest_get_irq(qt, 11));
    qpci_write_config16(qt, bridge, 0x04, 0x002);
    g_assert_true(qtest_get_irq(qt, 11));
    qtest_writeb(qt, shpc + 0x22, 1); /* seen */
    g_assert_false(qtest_get_irq(qt, 11));
    qtest_end(qt);
}

/* A guest powers a slot off: its device leaves, and its registers with it. */
static void test_slot_off(void)
{
    QTest *qt = qtest_start(PC " -device pci-bridge,id=b,chassis_nr=1,addr=5 -device pci-testdev,id=t,bus=b,addr=3");
    const unsigned bridge = QPCI_DEVFN(5, 0);
    uint64_t shpc = qpci_map_bar(qt, bridge, 0, NULL);

    qpci_write_config32(qt, bridge, 0x18, 0x00010100); /* bus 1 is behind it */
    qpci_write_config16(qt, bridge, 0x20, 0xf000);
    qpci_write_config16(qt, bridge, 0x22, 0xf000);
    qpci_enable(qt, bridge, 7);
    qtest_outl(qt, 0xcf8, 0x80011810);
    qtest_outl(qt, 0xcfc, 0xf0000000);
    qtest_outl(qt, 0xcf8, 0x80011804);
    qtest_outw(qt, 0xcfc, 2);
    qtest_writeb(qt, 0xf0000000, 0);
    g_assert_cmphex(qtest_readb(qt, 0xf0000000 + 4), !=, 0xff);
    qtest_writew(qt, shpc + 0x14, 0x030f); /* off, and the light as well */
    g_assert_cmphex(qtest_readb(qt, shpc + 0x24 + 4 * 2 + 2), ==, 0x09);
    qtest_outl(qt, 0xcf8, 0x80011800);
    g_assert_cmphex(qtest_inl(qt, 0xcfc), ==, 0xffffffff);
    qtest_readl(qt, 0xf0000000);
    qtest_writel(qt, 0xf0000000, 0);
    qtest_end(qt);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pci-bridge/line", test_pci_line);
    g_test_add_func("/pci-bridge/slot-off", test_slot_off);
    return g_test_run();
}
