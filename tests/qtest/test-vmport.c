/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VMware port: without a CPU there are no registers to answer in, and nothing happens.
 */
#include "tests/qtest/pc.h"

static void test_no_cpu(void)
{
    QTest *qt = qtest_start(PC " -machine vmport=on");

    qtest_inl(qt, 0x5658);
    qtest_outl(qt, 0x5658, 0x564d5868);
    qtest_inb(qt, 0x5658);
    g_assert_true(qtest_is_alive(qt));
    qtest_end(qt);
}

static void test_off(void)
{
    QTest *qt = qtest_start(PC " -machine vmport=off");

    g_assert_cmphex(qtest_inl(qt, 0x5658), ==, 0xffffffff);
    qtest_end(qt);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vmport/no-cpu", test_no_cpu);
    g_test_add_func("/vmport/off", test_off);
    return g_test_run();
}
