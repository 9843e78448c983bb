/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * isa-debugcon: bytes to a character device, and what reading gives.
 */
#include "tests/qtest/pc.h"

static void test_output(void)
{
    g_autofree char *path = qtest_temp_file(NULL, 0), *text = NULL;
    QTest *qt = qtest_start(PC " -chardev file,id=c,path=%s -device isa-debugcon,iobase=0x402,chardev=c,readback=0x5a", path);

    g_assert_cmphex(qtest_inb(qt, 0x402), ==, 0x5a);
    for (const char *at = "debug"; *at; at++) {
        qtest_outb(qt, 0x402, (uint8_t)*at);
    }
    g_assert_cmphex(qtest_inb(qt, 0xe9), ==, 0xff); /* the usual place is free */
    qtest_end(qt);
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "debug");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/debugcon/output", test_output);
    return g_test_run();
}
