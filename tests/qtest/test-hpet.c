/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The HPET: comparators at the I/O APIC, and the legacy lines.
 */
#include "tests/qtest/pc.h"

/* The HPET in legacy mode takes line 0 from the timer chip, and gives it back. */
static void test_hpet_legacy(void)
{
    QTest *qt = qtest_start(PC);

    qtest_irq_intercept_in(qt, "ioapic");
    qtest_outb(qt, 0x43, 0x34);
    qtest_outb(qt, 0x40, 0x00);
    qtest_outb(qt, 0x40, 0x10);
    qtest_writel(qt, 0xfed00010, 3); /* legacy replacement, enabled; no comparator is */
    qtest_clear_irq_count(qt, 0);
    qtest_clock_step(qt, 100000000);
    g_assert_cmpuint(qtest_irq_count(qt, 0), ==, 0);
    qtest_writel(qt, 0xfed00010, 0);
    qtest_clear_irq_count(qt, 0);
    qtest_clock_step(qt, 100000000);
    g_assert_cmpuint(qtest_irq_count(qt, 0), >, 20);
    qtest_end(qt);
}

#define HPET 0xfed00000
#define HPET_PIN 2 /* the only one that the comparators may choose */
#define PERIOD_NS 10

/* Comparator 0 at I/O APIC pin 2, level: high until the status bit is cleared. */
static void test_one_shot(void)
{
    QTest *qt = qtest_start(PC);

    qtest_irq_intercept_in(qt, "ioapic");
    g_assert_cmphex(qtest_readl(qt, HPET + 4), ==, 10000000); /* femtoseconds */
    qtest_writel(qt, HPET + 0x100, HPET_PIN << 9 | 1 << 2 | 1 << 1);
    qtest_writeq(qt, HPET + 0x108, 1000);
    qtest_writel(qt, HPET + 0x10, 1);
    qtest_clock_step(qt, 900 * PERIOD_NS);
    g_assert_false(qtest_get_irq(qt, HPET_PIN));
    qtest_clock_step(qt, 200 * PERIOD_NS);
    g_assert_true(qtest_get_irq(qt, HPET_PIN));
    g_assert_cmphex(qtest_readl(qt, HPET + 0x20), ==, 1);
    qtest_writel(qt, HPET + 0x20, 1);
    g_assert_false(qtest_get_irq(qt, HPET_PIN));
    g_assert_cmpuint(qtest_readq(qt, HPET + 0xf0), ==, 1100);
    qtest_end(qt);
}

/* 32 bits, edge, every 100,000 periods; disabled it stands still. */
static void test_periodic(void)
{
    QTest *qt = qtest_start(PC);

    qtest_irq_intercept_in(qt, "ioapic");
    qtest_writel(qt, HPET + 0x100, HPET_PIN << 9 | 1 << 8 | 1 << 6 | 1 << 3 | 1 << 2);
    qtest_writel(qt, HPET + 0x108, 100000);
    qtest_writel(qt, HPET + 0x10, 1);
    qtest_clear_irq_count(qt, HPET_PIN);
    qtest_clock_step(qt, INT64_C(1000050) * PERIOD_NS);
    g_assert_cmpuint(qtest_irq_count(qt, HPET_PIN), ==, 10);
    qtest_writel(qt, HPET + 0x10, 0);
    qtest_clock_step(qt, INT64_C(1000000) * PERIOD_NS);
    g_assert_cmpuint(qtest_irq_count(qt, HPET_PIN), ==, 10);
    g_assert_cmpuint(qtest_readq(qt, HPET + 0xf0), ==, 1000050);
    qtest_end(qt);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/hpet/legacy", test_hpet_legacy);
    g_test_add_func("/hpet/one-shot", test_one_shot);
    g_test_add_func("/hpet/periodic", test_periodic);
    return g_test_run();
}
