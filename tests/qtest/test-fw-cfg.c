/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fw_cfg by its ports and by DMA.
 */
#include <string.h>

#include "tests/qtest/pc.h"

/* A request at addr; the control word that is left there. */
static uint32_t fw_cfg_dma(QTest *qt, uint64_t addr, uint32_t control, uint32_t len, uint64_t to)
{
    const uint32_t request[4] = {GUINT32_TO_BE(control), GUINT32_TO_BE(len),
                                 GUINT32_TO_BE((uint32_t)(to >> 32)), GUINT32_TO_BE((uint32_t)to)};

    qtest_memwrite(qt, addr, request, sizeof request);
    pc_forget_pages(qt);
    qtest_outl(qt, 0x514, 0);
    qtest_outl(qt, 0x518, GUINT32_TO_BE((uint32_t)addr));
    return GUINT32_FROM_BE(qtest_readl(qt, addr));
}

static void test_fw_cfg(void)
{
    QTest *qt = qtest_start(PC);
    char text[5] = "";

    qtest_dirty_log(qt, true);
    /* Select the signature and read it; the request's own page gets the control word. */
    g_assert_cmphex(fw_cfg_dma(qt, 0x100000, 0x0000000a, 4, 0x200ffe), ==, 0);
    g_autofree char *pages = qtest_dirty_pages(qt);
    g_assert_cmpstr(pages, ==, "0x100000 0x200000 0x201000");
    qtest_memread(qt, 0x200ffe, text, 4);
    g_assert_cmpstr(text, ==, "QEMU");
    /* Skipping writes nothing else; nor does reading to where no memory is, which is an error. */
    g_assert_cmphex(fw_cfg_dma(qt, 0x100000, 0x0000000c, 4, 0x200000), ==, 0);
    pc_check_pages(qt, 0x100000, 0x100fff);
    g_assert_cmphex(fw_cfg_dma(qt, 0x100000, 0x0000000a, 4, 0xfed00000), ==, 1);
    pc_check_pages(qt, 0x100000, 0x100fff);
    /* Past the item's end: zeros, as many as were asked for. */
    g_assert_cmphex(fw_cfg_dma(qt, 0x100000, 0x0000000a, 0x3000, 0x300000), ==, 0);
    pages = (g_free(pages), qtest_dirty_pages(qt));
    g_assert_cmpstr(pages, ==, "0x100000 0x300000 0x301000 0x302000");
    /* The request may lie in its own target. */
    fw_cfg_dma(qt, 0x400000, 0x0000000a, 0x20, 0x400000);
    pc_check_pages(qt, 0x400000, 0x400fff);
    qtest_end(qt);
}

static uint32_t be(QTest *qt, unsigned n)
{
    uint32_t value = 0;

    while (n--) {
        value = value << 8 | qtest_inb(qt, 0x511);
    }
    return value;
}

/* The signature, and the directory: sorted names, whose sizes the items have. */
static void test_ports(void)
{
    QTest *qt = qtest_start(PC " -fw_cfg name=opt/org.test/x,string=hello");
    g_autofree char *last = g_strdup("");
    bool found = false;

    qtest_outw(qt, 0x510, 0);
    g_assert_cmphex(be(qt, 4), ==, 0x51454d55);
    qtest_outw(qt, 0x510, 0x19);
    uint32_t count = be(qt, 4);
    g_assert_cmpuint(count, >, 5);
    for (uint32_t i = 0; i < count; i++) {
        char name[57] = "";

        qtest_outw(qt, 0x510, 0x19);
        for (uint32_t skip = 0; skip < 4 + 64 * i; skip++) {
            qtest_inb(qt, 0x511);
        }
        uint32_t size = be(qt, 4), key = be(qt, 2);
        be(qt, 2);
        for (unsigned at = 0; at < 56; at++) {
            name[at] = (char)qtest_inb(qt, 0x511);
        }
        g_assert_cmpstr(last, <, name);
        g_free(last);
        last = g_strdup(name);
        if (!strcmp(name, "opt/org.test/x")) {
            found = true;
            g_assert_cmpuint(size, ==, 5);
            qtest_outw(qt, 0x510, (uint16_t)key);
            g_assert_cmphex(be(qt, 4), ==, 0x68656c6c);
            g_assert_cmphex(qtest_inb(qt, 0x511), ==, 'o');
            g_assert_cmphex(qtest_inb(qt, 0x511), ==, 0); /* behind the end */
            qtest_outb(qt, 0x511, 'x');                   /* nobody writes */
            qtest_outw(qt, 0x510, (uint16_t)key);
            g_assert_cmphex(qtest_inb(qt, 0x511), ==, 'h');
        }
    }
    g_assert_true(found);
    qtest_end(qt);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/fw-cfg/dma", test_fw_cfg);
    g_test_add_func("/fw-cfg/ports", test_ports);
    return g_test_run();
}
