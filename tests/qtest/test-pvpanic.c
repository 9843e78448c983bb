/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pvpanic: what a guest that crashed says, and what becomes of the process.
 */
#include "tests/qtest/pc.h"

static void test_pvpanic(void)
{
    QTest *qt = qtest_start(PC " -device pvpanic -action panic=exit-failure");

    g_assert_cmphex(qtest_inb(qt, 0x505), ==, 3);
    qtest_outb(qt, 0x505, 0xfc); /* unknown */
    qtest_outb(qt, 0x505, 0x02); /* a crash kernel takes over */
    g_assert_true(qtest_is_alive(qt));
    qtest_outb(qt, 0x505, 0x01);
    g_assert_cmpint(qtest_wait_exit(qt), ==, 1);
    qtest_end(qt);
}

/* What it says it knows is a property, and so is the port. */
static void test_events(void)
{
    QTest *qt = qtest_start(PC " -device pvpanic,ioport=0x510,events=2 -action panic=exit-failure");

    g_assert_cmphex(qtest_inb(qt, 0x505), ==, 0xff);
    g_assert_cmphex(qtest_inb(qt, 0x510), ==, 2);
    qtest_outb(qt, 0x510, 4); /* nothing that it knows */
    g_assert_true(qtest_is_alive(qt));
    qtest_end(qt);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pvpanic/panic", test_pvpanic);
    g_test_add_func("/pvpanic/events", test_events);
    return g_test_run();
}
