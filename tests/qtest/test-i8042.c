/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keyboard controller with its keyboard and mouse, and port 92h beside it.
 */
#include "tests/qtest/pc.h"

static void test_keyboard(void)
{
    QTest *qt = qtest_start(PC);

    qtest_irq_intercept_in(qt, "ioapic");
    qtest_outb(qt, 0x64, 0x60);
    qtest_outb(qt, 0x60, 0x41); /* interrupt, scan code translation */
    qtest_outb(qt, 0x60, 0xee); /* echo */
    g_assert_true(qtest_get_irq(qt, 1));
    g_assert_cmphex(qtest_inb(qt, 0x60), ==, 0xee);
    g_assert_false(qtest_get_irq(qt, 1));
    qtest_end(qt);
}

static void test_mouse(void)
{
    QTest *qt = qtest_start(PC);

    qtest_irq_intercept_in(qt, "ioapic");
    qtest_outb(qt, 0x64, 0x60);
    qtest_outb(qt, 0x60, 0x43);
    qtest_outb(qt, 0x64, 0xd4);
    qtest_outb(qt, 0x60, 0xf4);
    g_assert_true(qtest_get_irq(qt, 12));
    g_assert_false(qtest_get_irq(qt, 1));
    g_assert_cmphex(qtest_inb(qt, 0x64) & 0x21, ==, 0x21);
    g_assert_cmphex(qtest_inb(qt, 0x60), ==, 0xfa);
    g_assert_false(qtest_get_irq(qt, 12));
    qtest_end(qt);
}

/* A byte that the controller has for the guest, from the device that the status names. */
static uint8_t take(QTest *qt, bool from_mouse)
{
    g_assert_cmphex(qtest_inb(qt, 0x64) & 0x21, ==, from_mouse ? 0x21 : 0x01);
    return qtest_inb(qt, 0x60);
}

/* Self test, and who the devices say they are. */
static void test_identify(void)
{
    QTest *qt = qtest_start(PC);

    qtest_outb(qt, 0x64, 0xaa);
    g_assert_cmphex(take(qt, false), ==, 0x55);
    qtest_outb(qt, 0x64, 0xab);
    g_assert_cmphex(take(qt, false), ==, 0x00);
    qtest_outb(qt, 0x60, 0xf2);
    g_assert_cmphex(take(qt, false), ==, 0xfa);
    g_assert_cmphex(take(qt, false), ==, 0xab);
    g_assert_cmphex(take(qt, false), ==, 0x83);
    qtest_outb(qt, 0x64, 0xd4);
    qtest_outb(qt, 0x60, 0xff);
    g_assert_cmphex(take(qt, true), ==, 0xfa);
    g_assert_cmphex(take(qt, true), ==, 0xaa);
    g_assert_cmphex(take(qt, true), ==, 0x00);
    g_assert_cmphex(qtest_inb(qt, 0x64) & 0x01, ==, 0);
    qtest_end(qt);
}

/* The controller's pulse on the reset line resets the machine: the PM registers are gone. */
static void test_reset_line(void)
{
    QTest *qt = qtest_start(PC);
    const unsigned pm = QPCI_DEVFN(1, 3);

    qpci_write_config32(qt, pm, 0x40, 0x601);
    qpci_write_config8(qt, pm, 0x80, 1);
    qtest_outw(qt, 0x602, 0x0100);
    qtest_outb(qt, 0x64, 0xfe);
    while (qtest_inw(qt, 0x602) != 0xffff) {
        g_usleep(200);
    }
    qtest_end(qt);
}

/* Bit 1 is the A20 line and the controller's output port shows it; a rising bit 0 resets. */
static void test_port92(void)
{
    QTest *qt = qtest_start(PC);

    qtest_outb(qt, 0x92, 0x02);
    g_assert_cmphex(qtest_inb(qt, 0x92), ==, 0x02);
    qtest_outb(qt, 0x92, 0x00);
    g_assert_cmphex(qtest_inb(qt, 0x92), ==, 0x00);
    qpci_write_config32(qt, QPCI_DEVFN(1, 3), 0x40, 0x601);
    qtest_outb(qt, 0x92, 0x01);
    while (qpci_read_config32(qt, QPCI_DEVFN(1, 3), 0x40) != 1) {
        g_usleep(200);
    }
    qtest_end(qt);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/i8042/keyboard", test_keyboard);
    g_test_add_func("/i8042/mouse", test_mouse);
    g_test_add_func("/i8042/identify", test_identify);
    g_test_add_func("/i8042/reset-line", test_reset_line);
    g_test_add_func("/i8042/port-92", test_port92);
    return g_test_run();
}
