/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Modules of memory: their places, writes to them, their registers, and ejecting them.
 */
#include "tests/qtest/pc.h"

#define REGS 0xa00
#define FIRST 0x100000000
#define BOARD "-machine pc -nodefaults -m 32,slots=3,maxmem=256M "
#define BACKEND(id, size) "-object memory-backend-ram,id=" id ",size=" size " "

static void test_memory(void)
{
    QTest *qt = qtest_start(BOARD BACKEND("a", "16M") BACKEND("b", "4M") "-device pc-dimm,memdev=a "
                            "-device pc-dimm,memdev=b,addr=0x102000000,slot=2");

    qtest_writeq(qt, FIRST, 0x1122334455667788);
    qtest_writeq(qt, FIRST + (16 << 20) - 4, 0x99aabbccddeeff00); /* half of it is nowhere */
    g_assert_cmphex(qtest_readq(qt, FIRST), ==, 0x1122334455667788);
    g_assert_cmphex(qtest_readl(qt, FIRST + (16 << 20) - 4), ==, 0xddeeff00);
    g_assert_cmphex(qtest_readl(qt, FIRST + (16 << 20)), ==, 0);
    qtest_writel(qt, FIRST + (32 << 20), 0x12345678);
    g_assert_cmphex(qtest_readl(qt, FIRST + (32 << 20)), ==, 0x12345678);
    qtest_end(qt);
}

static uint32_t get(QTest *qt, unsigned slot, unsigned reg)
{
    qtest_outl(qt, REGS, slot);
    return qtest_inl(qt, REGS + reg);
}

static void test_registers(void)
{
    QTest *qt = qtest_start(BOARD BACKEND("a", "16M") "-device pc-dimm,memdev=a,slot=1");
    static const uint32_t there[] = {0, 1, 16 << 20, 0, 0, 1};

    for (unsigned i = 0; i < G_N_ELEMENTS(there); i++) {
        g_assert_cmphex(get(qt, 1, i * 4), ==, there[i]);
        g_assert_cmphex(get(qt, 0, i * 4), ==, 0);
        g_assert_cmphex(get(qt, 3, i * 4), ==, 0);
        g_assert_cmphex(get(qt, UINT32_MAX, i * 4), ==, 0);
    }
    /* The guest takes it out, and once more. */
    qtest_writel(qt, FIRST, 0x12345678);
    qtest_outl(qt, REGS, 1);
    for (unsigned i = 0; i < 3; i++) {
        qtest_outb(qt, REGS + 0x14, 8);
        g_assert_cmphex(qtest_inl(qt, REGS + 0x14), ==, 0);
        g_assert_cmphex(qtest_inl(qt, REGS + 8), ==, 0);
    }
    qtest_outl(qt, REGS, 99);
    qtest_outb(qt, REGS + 0x14, 8);
    g_assert_cmphex(qtest_readl(qt, FIRST), ==, 0);
    qtest_end(qt);
}

/* What is written there is seen as any other memory's. */
static void test_dirty(void)
{
    QTest *qt = qtest_start(BOARD BACKEND("a", "4M") "-device pc-dimm,memdev=a,addr=0x100000000");

    qtest_dirty_log(qt, true);
    pc_forget_pages(qt);
    qtest_memset(qt, FIRST + 0x1000, 0x5a, 3 * PC_PAGE);
    pc_check_pages(qt, FIRST + 0x1000, FIRST + 0x3000);
    g_assert_cmphex(qtest_readb(qt, FIRST + 0x3fff), ==, 0x5a);
    qtest_end(qt);
}

static void test_refused(void)
{
    static const char *const bad[][2] = {
        {BOARD "-device pc-dimm", "'memdev' property must be set"},
        {BOARD BACKEND("a", "3M") "-device pc-dimm,memdev=a", "must be multiple of 0x200000"},
        {BOARD BACKEND("a", "256M") "-device pc-dimm,memdev=a", "not enough space"},
        {BOARD BACKEND("a", "4M") BACKEND("b", "4M") "-device pc-dimm,memdev=a,id=one,addr=0x100000000 "
         "-device pc-dimm,memdev=b,addr=0x100200000", "conflicts with memory device id='one'"},
        {"-m 32 -nodefaults " BACKEND("a", "4M") "-device pc-dimm,memdev=a", "please specify the 'slots' option"},
        {BOARD BACKEND("a", "4M") "-device nvdimm,memdev=a", "pc-dimm"},
    };

    qtest_expect_refused("", bad, G_N_ELEMENTS(bad));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/dimm/memory", test_memory);
    g_test_add_func("/dimm/registers", test_registers);
    g_test_add_func("/dimm/dirty", test_dirty);
    g_test_add_func("/dimm/refused", test_refused);
    return g_test_run();
}
