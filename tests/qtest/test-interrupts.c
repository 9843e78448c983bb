/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The interrupt controllers, timer and clock together, busy: saved and loaded into a fresh machine.
 */
#include "tests/qtest/pc.h"

/* A busy set of chips, in a fresh machine: the same bytes and the same ticks. */
static void test_state(void)
{
    g_autofree char *first = qtest_temp_file(NULL, 0), *second = qtest_temp_file(NULL, 0);
    g_autofree char *a = NULL, *b = NULL, *reply = NULL;
    gsize a_len, b_len;
    QTest *qt = qtest_start(PC " -rtc clock=vm");

    pc_pic_init(qt);
    qtest_outb(qt, 0x21, 0xfe);
    qtest_outb(qt, 0x43, 0x34);
    qtest_outb(qt, 0x40, 0xe8);
    qtest_outb(qt, 0x40, 0x03); /* every 1000 clocks */
    qtest_outb(qt, 0x61, 3);
    qtest_writel(qt, 0xfec00000, 0x14);
    qtest_writel(qt, 0xfec00010, 0x30);
    qtest_clock_step(qt, PIT_TICK(1500));
    qtest_outb(qt, 0x43, 0x00); /* a latched count, half read */
    qtest_inb(qt, 0x40);
    reply = qtest_request(qt, "state_save %s", first);
    g_assert_true(g_str_has_prefix(reply, "OK"));
    qtest_end(qt);

    qt = qtest_start(PC " -rtc clock=vm");
    g_free(reply);
    reply = qtest_request(qt, "state_load %s", first);
    g_assert_cmpstr(reply, ==, "OK");
    g_free(reply);
    reply = qtest_request(qt, "state_save %s", second);
    g_assert_true(g_str_has_prefix(reply, "OK"));
    g_assert_true(g_file_get_contents(first, &a, &a_len, NULL));
    g_assert_true(g_file_get_contents(second, &b, &b_len, NULL));
    g_assert_cmpmem(a, a_len, b, b_len);

    qtest_irq_intercept_in(qt, "ioapic");
    g_assert_cmphex(qtest_inb(qt, 0x21), ==, 0xfe);
    g_assert_cmphex(pc_pic_requests(qt) & 1, ==, 1);
    g_assert_cmphex(qtest_inb(qt, 0x40), ==, 500 >> 8);
    qtest_clock_step(qt, PIT_TICK(490));
    g_assert_cmpuint(qtest_irq_count(qt, 0), ==, 0);
    qtest_clock_step(qt, PIT_TICK(20));
    g_assert_cmpuint(qtest_irq_count(qt, 0), ==, 1);
    qtest_end(qt);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/interrupts/state", test_state);
    return g_test_run();
}
