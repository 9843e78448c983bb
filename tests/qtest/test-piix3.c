/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PIIX3: which ISA line a PCI line reaches is in test-pci-bridge.c; here its registers and the reset port.
 */
#include "tests/qtest/pc.h"

#define PIIX3 QPCI_DEVFN(1, 0)

static void test_registers(void)
{
    QTest *qt = qtest_start(PC);

    g_assert_cmphex(qpci_read_config32(qt, PIIX3, 0), ==, 0x70008086);
    for (uint8_t line = 0; line < 4; line++) {
        g_assert_cmphex(qpci_read_config8(qt, PIIX3, (uint8_t)(0x60 + line)), ==, 0x80);
        qpci_write_config8(qt, PIIX3, (uint8_t)(0x60 + line), 0x0b);
        g_assert_cmphex(qpci_read_config8(qt, PIIX3, (uint8_t)(0x60 + line)), ==, 0x0b);
    }
    qtest_end(qt);
}

/* Port cf9h: bit 1 is kept, bit 2 resets; the routes are closed again. */
static void test_reset(void)
{
    QTest *qt = qtest_start(PC);

    qpci_write_config8(qt, PIIX3, 0x60, 0x0b);
    qtest_outb(qt, 0xcf9, 0x02);
    g_assert_cmphex(qtest_inb(qt, 0xcf9), ==, 0x02);
    g_assert_cmphex(qpci_read_config8(qt, PIIX3, 0x60), ==, 0x0b);
    qtest_outb(qt, 0xcf9, 0x06);
    while (qpci_read_config8(qt, PIIX3, 0x60) != 0x80) {
        g_usleep(200);
    }
    g_assert_cmphex(qtest_inb(qt, 0xcf9), ==, 0);
    qtest_end(qt);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/piix3/registers", test_registers);
    g_test_add_func("/piix3/reset", test_reset);
    return g_test_run();
}
