/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The SMBus host of the PIIX4, with the EEPROMs of the memory modules on it.
 */
#include "tests/qtest/pc.h"

#define PM_FUNCTION QPCI_DEVFN(1, 3)
#define SMB 0xb100

/* Byte of a memory module's EEPROM; an address where nothing answers is an error. */
static void test_smbus(void)
{
    QTest *qt = qtest_start(PC);

    qpci_write_config32(qt, PM_FUNCTION, 0x90, SMB | 1);
    qpci_write_config8(qt, PM_FUNCTION, 0xd2, 0x09);
    qtest_outb(qt, SMB, 0xff);
    qtest_outb(qt, SMB + 4, 0x50 << 1 | 1);
    qtest_outb(qt, SMB + 3, 2);
    qtest_outb(qt, SMB + 2, 0x48); /* byte data, start */
    g_assert_cmphex(qtest_inb(qt, SMB) & 1, ==, 1); /* busy is seen once */
    g_assert_cmphex(qtest_inb(qt, SMB) & 0x1e, ==, 0x02);
    qtest_outb(qt, SMB, 0xff);
    qtest_outb(qt, SMB + 4, 0x20 << 1 | 1);
    qtest_outb(qt, SMB + 2, 0x48);
    qtest_inb(qt, SMB);
    g_assert_cmphex(qtest_inb(qt, SMB) & 0x1e, ==, 0x04);
    qtest_end(qt);
}

static void transfer(QTest *qt, uint8_t address, uint8_t command, uint8_t data)
{
    qtest_outb(qt, SMB, 0xff);
    qtest_outb(qt, SMB + 4, address);
    qtest_outb(qt, SMB + 3, command);
    qtest_outb(qt, SMB + 5, data);
    qtest_outb(qt, SMB + 2, 0x48);
    qtest_inb(qt, SMB);
    g_assert_cmphex(qtest_inb(qt, SMB) & 0x1e, ==, 0x02);
}

/* Each of the eight modules keeps what is written to it. */
static void test_memory(void)
{
    QTest *qt = qtest_start(PC);

    qpci_write_config32(qt, PM_FUNCTION, 0x90, SMB | 1);
    qpci_write_config8(qt, PM_FUNCTION, 0xd2, 0x09);
    for (uint8_t module = 0; module < 8; module++) {
        transfer(qt, (uint8_t)((0x50 + module) << 1), 0x80, (uint8_t)(0xa0 + module));
    }
    for (uint8_t module = 0; module < 8; module++) {
        transfer(qt, (uint8_t)((0x50 + module) << 1 | 1), 0x80, 0);
        g_assert_cmphex(qtest_inb(qt, SMB + 5), ==, 0xa0 + module);
    }
    qtest_end(qt);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/smbus/byte-data", test_smbus);
    g_test_add_func("/smbus/memory", test_memory);
    return g_test_run();
}
