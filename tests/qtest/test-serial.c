/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A 16550A: interrupts at line 4, loop-back, and bytes that reach a file.
 */
#include "tests/qtest/pc.h"

static void test_serial(void)
{
    QTest *qt = qtest_start(PC " -serial null");

    qtest_irq_intercept_in(qt, "ioapic");
    qtest_outb(qt, 0x3fc, 0x08); /* OUT2: the line is driven */
    qtest_outb(qt, 0x3f9, 0x02); /* transmitter empty */
    g_assert_true(qtest_get_irq(qt, 4));
    qtest_inb(qt, 0x3fa);
    g_assert_false(qtest_get_irq(qt, 4));
    qtest_end(qt);
}

#define COM1 0x3f8

/* Looped back, the port reads what it sends, with a received-data interrupt. */
static void test_loop(void)
{
    QTest *qt = qtest_start(PC " -serial null");

    qtest_irq_intercept_in(qt, "ioapic");
    qtest_outb(qt, COM1 + 4, 0x18);
    qtest_outb(qt, COM1 + 1, 0x01);
    g_assert_false(qtest_get_irq(qt, 4));
    qtest_outb(qt, COM1, 0x5a);
    while (!(qtest_inb(qt, COM1 + 5) & 1)) {
        qtest_clock_step(qt, 100000);
    }
    g_assert_true(qtest_get_irq(qt, 4));
    g_assert_cmphex(qtest_inb(qt, COM1 + 2) & 0x0f, ==, 0x04);
    g_assert_cmphex(qtest_inb(qt, COM1), ==, 0x5a);
    g_assert_false(qtest_get_irq(qt, 4));
    qtest_end(qt);
}

/* Through a FIFO into a file; the scratch register keeps what it gets; COM2 is another device. */
static void test_output(void)
{
    g_autofree char *path = qtest_temp_file(NULL, 0), *text = NULL;
    QTest *qt = qtest_start(PC " -serial file:%s -serial null", path);

    qtest_outb(qt, COM1 + 7, 0x77);
    qtest_outb(qt, 0x2f8 + 7, 0x22);
    g_assert_cmphex(qtest_inb(qt, COM1 + 7), ==, 0x77);
    g_assert_cmphex(qtest_inb(qt, 0x2f8 + 7), ==, 0x22);
    qtest_outb(qt, COM1 + 2, 0x07);
    g_assert_cmphex(qtest_inb(qt, COM1 + 2) & 0xc0, ==, 0xc0);
    for (const char *at = "sent"; *at; at++) {
        while (!(qtest_inb(qt, COM1 + 5) & 0x20)) {
            qtest_clock_step(qt, 100000);
        }
        qtest_outb(qt, COM1, (uint8_t)*at);
    }
    qtest_end(qt);
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "sent");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/serial/interrupt", test_serial);
    g_test_add_func("/serial/loop-back", test_loop);
    g_test_add_func("/serial/output", test_output);
    return g_test_run();
}
