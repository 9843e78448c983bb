/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A parallel port that prints.
 */
#include "tests/qtest/pc.h"

#define LPT1 0x378
#define LPT1_IRQ 7

/* A byte is printed: busy, acknowledged, ready, with an interrupt that reading the status ends. */
static void test_parallel(void)
{
    QTest *qt = qtest_start(PC " -parallel null");

    qtest_irq_intercept_in(qt, "ioapic");
    qtest_outb(qt, LPT1, 'k');
    qtest_outb(qt, LPT1 + 2, 0x1d); /* initialized, selected, interrupts, strobe */
    g_assert_cmphex(qtest_inb(qt, LPT1 + 1) & 0x80, ==, 0);
    g_assert_false(qtest_get_irq(qt, LPT1_IRQ));
    qtest_outb(qt, LPT1 + 2, 0x1c);
    g_assert_true(qtest_get_irq(qt, LPT1_IRQ));
    g_assert_cmphex(qtest_inb(qt, LPT1 + 1) & 0xc0, ==, 0x40);
    g_assert_false(qtest_get_irq(qt, LPT1_IRQ));
    g_assert_cmphex(qtest_inb(qt, LPT1 + 1) & 0xc0, ==, 0x00);
    g_assert_cmphex(qtest_inb(qt, LPT1 + 1) & 0xc0, ==, 0xc0);
    for (unsigned epp = 3; epp < 8; epp++) { /* no EPP: nothing is there, nothing happens */
        qtest_outb(qt, LPT1 + epp, 0);
        g_assert_cmphex(qtest_inb(qt, LPT1 + epp), ==, 0xff);
    }
    g_assert_cmphex(qtest_inb(qt, LPT1 + 1) & 0x80, ==, 0x80);
    qtest_end(qt);
}

/* What is printed reaches a file, a byte for each strobe. */
static void test_file(void)
{
    g_autofree char *path = qtest_temp_file(NULL, 0), *text = NULL;
    QTest *qt = qtest_start(PC " -chardev file,id=p,path=%s -parallel chardev:p", path);

    for (const char *at = "printed"; *at; at++) {
        qtest_outb(qt, LPT1, (uint8_t)*at);
        g_assert_cmphex(qtest_inb(qt, LPT1), ==, *at);
        qtest_outb(qt, LPT1 + 2, 0x0d);
        qtest_outb(qt, LPT1 + 2, 0x0c);
        while ((qtest_inb(qt, LPT1 + 1) & 0xc0) != 0xc0) {
        }
    }
    qtest_end(qt);
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "printed");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/parallel/print", test_parallel);
    g_test_add_func("/parallel/file", test_file);
    return g_test_run();
}
