/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log of pages that were written.
 */
#include "tests/qtest/pc.h"

static void test_log(void)
{
    QTest *qt = qtest_start(PC);

    qtest_writeb(qt, 0x3000, 1);
    qtest_dirty_log(qt, true);
    pc_check_pages(qt, 1, 0);
    qtest_writel(qt, 0x3ffe, 1);
    pc_check_pages(qt, 0x3000, 0x4000);
    qtest_memset(qt, 0x1fffffe, 1, 2); /* the last bytes of RAM */
    pc_check_pages(qt, 0x1fff000, 0x1ffffff);
    qtest_readl(qt, 0x5000);
    pc_check_pages(qt, 1, 0);
    qtest_dirty_log(qt, false);
    qtest_writeb(qt, 0x3000, 1);
    pc_check_pages(qt, 1, 0);
    g_autofree char *reply = qtest_request(qt, "dirty_log maybe");
    g_assert_true(g_str_has_prefix(reply, "FAIL"));
    qtest_end(qt);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/dirty-log/all", test_log);
    return g_test_run();
}
