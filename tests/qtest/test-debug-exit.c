/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * isa-debug-exit: the status that a guest ends the process with.
 */
#include "tests/qtest/pc.h"

static void test_debug_exit(void)
{
    QTest *qt = qtest_start(PC " -device isa-debug-exit,iobase=0xf4,iosize=4");

    qtest_outl(qt, 0xf4, 21);
    g_assert_cmpint(qtest_wait_exit(qt), ==, 43);
    qtest_end(qt);
}

/* Bytes and words count; ports beside it do not. */
static void test_sizes(void)
{
    QTest *qt = qtest_start(PC " -device isa-debug-exit,iobase=0x501,iosize=2");

    g_assert_cmphex(qtest_inb(qt, 0x501), ==, 0);
    qtest_outb(qt, 0x503, 1);
    g_assert_true(qtest_is_alive(qt));
    qtest_outb(qt, 0x502, 0);
    g_assert_cmpint(qtest_wait_exit(qt), ==, 1);
    qtest_end(qt);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/debug-exit/exit", test_debug_exit);
    g_test_add_func("/debug-exit/sizes", test_sizes);
    return g_test_run();
}
