/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The timer chip and the speaker port.
 */
#include "tests/qtest/pc.h"

static void test_timer(void)
{
    QTest *qt = qtest_start(PC);

    qtest_irq_intercept_in(qt, "ioapic");
    qtest_outb(qt, 0x43, 0x34);
    qtest_outb(qt, 0x40, 11932 & 0xff);
    qtest_outb(qt, 0x40, 11932 >> 8);
    pc_pic_init(qt);
    qtest_clear_irq_count(qt, 0);
    qtest_clock_step(qt, PIT_TICK(11932) - 2000);
    g_assert_cmpuint(qtest_irq_count(qt, 0), ==, 0);
    g_assert_cmphex(pc_pic_requests(qt) & 1, ==, 0);
    qtest_clock_step(qt, 4000);
    g_assert_cmpuint(qtest_irq_count(qt, 0), ==, 1);
    g_assert_cmphex(pc_pic_requests(qt), ==, 1);
    qtest_clock_step(qt, PIT_TICK(1193200));
    g_assert_cmpuint(qtest_irq_count(qt, 0), ==, 101);
    qtest_end(qt);
}

/* Channel 2 and port 61h, as kernels calibrate by it. */
static void test_speaker_port(void)
{
    QTest *qt = qtest_start(PC);
    int64_t start;

    qtest_outb(qt, 0x61, (qtest_inb(qt, 0x61) & ~2) | 1);
    qtest_outb(qt, 0x43, 0xb0);
    start = qtest_clock_step(qt, 0);
    qtest_outb(qt, 0x42, 59659 & 0xff);
    qtest_outb(qt, 0x42, 59659 >> 8);
    qtest_clock_set(qt, start + PIT_TICK(59659) - 2000);
    g_assert_cmphex(qtest_inb(qt, 0x61) & 0x23, ==, 0x01);
    qtest_clock_set(qt, start + PIT_TICK(59659));
    g_assert_cmphex(qtest_inb(qt, 0x61) & 0x23, ==, 0x21);
    qtest_end(qt);
}

/* Mode 0: one rising edge, at the end of the count. */
static void test_one_shot(void)
{
    QTest *qt = qtest_start(PC);

    qtest_irq_intercept_in(qt, "ioapic");
    qtest_outb(qt, 0x43, 0x30);
    qtest_clear_irq_count(qt, 0);
    qtest_outb(qt, 0x40, 0xe8);
    qtest_outb(qt, 0x40, 0x03);
    g_assert_false(qtest_get_irq(qt, 0));
    qtest_clock_step(qt, PIT_TICK(900));
    g_assert_false(qtest_get_irq(qt, 0));
    qtest_clock_step(qt, PIT_TICK(200));
    g_assert_true(qtest_get_irq(qt, 0));
    qtest_clock_step(qt, PIT_TICK(200000));
    g_assert_cmpuint(qtest_irq_count(qt, 0), ==, 1);
    qtest_end(qt);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/i8254/periodic", test_timer);
    g_test_add_func("/i8254/speaker-port", test_speaker_port);
    g_test_add_func("/i8254/one-shot", test_one_shot);
    return g_test_run();
}
