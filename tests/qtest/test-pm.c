/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PIIX4 power management: its timer, the SCI at the I/O APIC, and S5.
 */
#include "tests/qtest/pc.h"

#define PM_FUNCTION QPCI_DEVFN(1, 3)
#define PM 0x600
#define SCI 9

static QTest *pm_start(void)
{
    QTest *qt = qtest_start(PC);

    qtest_irq_intercept_in(qt, "ioapic");
    qpci_write_config32(qt, PM_FUNCTION, 0x40, PM | 1);
    qpci_write_config8(qt, PM_FUNCTION, 0x80, 1);
    return qt;
}

static void test_pm_timer(void)
{
    QTest *qt = pm_start();

    qtest_outw(qt, PM, 0x0001);     /* set after power on, as in QEMU */
    qtest_outw(qt, PM + 2, 0x0001); /* the timer's overflow interrupts */
    g_assert_false(qtest_get_irq(qt, SCI));
    uint32_t before = qtest_inl(qt, PM + 8);
    qtest_clock_step(qt, 1000000000);
    g_assert_cmpuint((qtest_inl(qt, PM + 8) - before) & 0xffffff, ==, 3579545);
    g_assert_false(qtest_get_irq(qt, SCI));
    qtest_clock_step(qt, 2000000000); /* bit 23 changed */
    g_assert_true(qtest_get_irq(qt, SCI));
    g_assert_cmphex(qtest_inw(qt, PM) & 0x0001, ==, 0x0001);
    qtest_outw(qt, PM, 0x0001);
    g_assert_false(qtest_get_irq(qt, SCI));
    qtest_end(qt);
}

static void test_power_off(void)
{
    QTest *qt = pm_start();

    qtest_outw(qt, PM + 4, 0x2000); /* S5 */
    g_assert_cmpint(qtest_wait_exit(qt), ==, 0);
    qtest_end(qt);
}

/* The registers follow their base, which firmware may move, and go with it. */
static void test_registers(void)
{
    QTest *qt = pm_start();

    qtest_outw(qt, PM + 2, 0x0321);
    g_assert_cmphex(qtest_inw(qt, PM + 2), ==, 0x0321);
    qpci_write_config32(qt, PM_FUNCTION, 0x40, 0x700 | 1);
    g_assert_cmphex(qtest_inw(qt, 0x702), ==, 0x0321);
    g_assert_cmphex(qtest_inw(qt, PM + 2), ==, 0xffff);
    qpci_write_config8(qt, PM_FUNCTION, 0x80, 0);
    g_assert_cmphex(qtest_inw(qt, 0x702), ==, 0xffff);
    qtest_outb(qt, 0xb2, 0xf1); /* ACPI on, by SMI command */
    qpci_write_config8(qt, PM_FUNCTION, 0x80, 1);
    g_assert_cmphex(qtest_inw(qt, 0x704) & 1, ==, 1);
    qtest_outb(qt, 0xb2, 0xf0);
    g_assert_cmphex(qtest_inw(qt, 0x704) & 1, ==, 0);
    qtest_end(qt);
}

/* A reset of the machine takes the registers away until firmware maps them again. */
static void test_reset(void)
{
    QTest *qt = pm_start();

    qtest_outw(qt, PM + 2, 0x0321);
    qtest_outb(qt, 0xcf9, 0x02);
    qtest_outb(qt, 0xcf9, 0x06);
    while (qtest_inw(qt, PM + 2) != 0xffff) {
        g_usleep(200);
    }
    qpci_write_config32(qt, PM_FUNCTION, 0x40, PM | 1);
    qpci_write_config8(qt, PM_FUNCTION, 0x80, 1);
    g_assert_cmphex(qtest_inw(qt, PM + 2), ==, 0);
    qtest_end(qt);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pm/timer", test_pm_timer);
    g_test_add_func("/pm/power-off", test_power_off);
    g_test_add_func("/pm/registers", test_registers);
    g_test_add_func("/pm/reset", test_reset);
    return g_test_run();
}
