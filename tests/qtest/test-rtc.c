/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The real-time clock: its three interrupts at line 8, and CMOS memory.
 */
#include "tests/qtest/pc.h"

static void cmos_write(QTest *qt, uint8_t reg, uint8_t value)
{
    qtest_outb(qt, 0x70, reg);
    qtest_outb(qt, 0x71, value);
}

static void test_rtc(void)
{
    QTest *qt = qtest_start(PC " -rtc clock=vm");

    qtest_irq_intercept_in(qt, "ioapic");
    pc_pic_init(qt);
    cmos_write(qt, 0x0a, 0x26); /* 1024 Hz */
    cmos_write(qt, 0x0b, 0x42); /* periodic interrupt */
    qtest_clock_step(qt, 2000000);
    g_assert_true(qtest_get_irq(qt, 8));
    g_assert_cmphex(pc_pic_requests(qt) & 0x104, ==, 0x104);
    qtest_outb(qt, 0x70, 0x0c);
    g_assert_cmphex(qtest_inb(qt, 0x71) & 0xc0, ==, 0xc0);
    g_assert_false(qtest_get_irq(qt, 8));
    qtest_end(qt);
}

static uint8_t cmos_read(QTest *qt, uint8_t reg)
{
    qtest_outb(qt, 0x70, reg);
    return qtest_inb(qt, 0x71);
}

#define CLOCK PC " -rtc base=2026-01-31T23:59:50,clock=vm"

/* Nine seconds later; the flag and the line go when register C is read. */
static void test_alarm(void)
{
    QTest *qt = qtest_start(CLOCK);

    qtest_irq_intercept_in(qt, "ioapic");
    cmos_write(qt, 0x01, 0x59);
    cmos_write(qt, 0x03, 0xc0); /* any minute, any hour */
    cmos_write(qt, 0x05, 0xc0);
    cmos_read(qt, 0x0c);
    cmos_write(qt, 0x0b, 0x22);
    qtest_clock_step(qt, INT64_C(8500000000));
    g_assert_false(qtest_get_irq(qt, 8));
    qtest_clock_step(qt, INT64_C(1000000000));
    g_assert_true(qtest_get_irq(qt, 8));
    g_assert_cmphex(cmos_read(qt, 0x0c) & 0xa0, ==, 0xa0);
    g_assert_false(qtest_get_irq(qt, 8));
    qtest_end(qt);
}

/* Each second, over the end of a month. */
static void test_update(void)
{
    static const struct {
        uint8_t reg, value;
    } after[] = {{0, 0x01}, {2, 0x00}, {4, 0x00}, {7, 0x01}, {8, 0x02}, {9, 0x26}, {0x32, 0x20}};
    QTest *qt = qtest_start(CLOCK);

    qtest_irq_intercept_in(qt, "ioapic");
    g_assert_cmphex(cmos_read(qt, 0x07), ==, 0x31);
    cmos_read(qt, 0x0c);
    cmos_write(qt, 0x0b, 0x12);
    for (unsigned i = 0; i < 11; i++) {
        g_assert_false(qtest_get_irq(qt, 8));
        qtest_clock_step(qt, INT64_C(1000000000));
        g_assert_true(qtest_get_irq(qt, 8));
        g_assert_cmphex(cmos_read(qt, 0x0c) & 0x90, ==, 0x90);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(after); i++) {
        g_assert_cmphex(cmos_read(qt, after[i].reg), ==, after[i].value);
    }
    qtest_end(qt);
}

/* Memory has a battery: it outlives a reset; register B does not keep its interrupts. */
static void test_memory(void)
{
    QTest *qt = qtest_start(CLOCK);

    g_assert_cmphex(cmos_read(qt, 0x0d), ==, 0x80);
    g_assert_cmphex(qtest_inb(qt, 0x70), ==, 0xff);
    cmos_write(qt, 0x60, 0xa5);
    cmos_write(qt, 0x0b, 0x42);
    qtest_outb(qt, 0x64, 0xfe);
    while (cmos_read(qt, 0x0b) != 0x02) {
        g_usleep(200);
    }
    g_assert_cmphex(cmos_read(qt, 0x60), ==, 0xa5);
    qtest_end(qt);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/rtc/periodic", test_rtc);
    g_test_add_func("/rtc/alarm", test_alarm);
    g_test_add_func("/rtc/update-ended", test_update);
    g_test_add_func("/rtc/memory", test_memory);
    return g_test_run();
}
