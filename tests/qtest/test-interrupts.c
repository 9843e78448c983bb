/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interrupts of a pc's devices, seen at the I/O APIC's inputs, and the interrupt controllers and the
 * timer as they stand in the machine. What each chip does in detail is tested in tests/unit.
 */
#include "tests/qtest/libqtest.h"

#define MACHINE "-machine pc -m 32 -nodefaults"
#define TICK(n) ((n) * INT64_C(1000000000) / 1193182 + 1)

static void pic_init(QTest *qt)
{
    static const uint8_t words[][2] = {{0x11, 0x08}, {0x11, 0x70}};

    for (unsigned i = 0; i < 2; i++) {
        uint16_t port = i ? 0xa0 : 0x20;

        qtest_outb(qt, port, words[i][0]);
        qtest_outb(qt, port + 1, words[i][1]);
        qtest_outb(qt, port + 1, i ? 2 : 4);
        qtest_outb(qt, port + 1, 1);
    }
}

/* The 8259s' request bits, 16 of them. */
static unsigned pic_requests(QTest *qt)
{
    qtest_outb(qt, 0x20, 0x0a);
    qtest_outb(qt, 0xa0, 0x0a);
    return qtest_inb(qt, 0x20) | qtest_inb(qt, 0xa0) << 8;
}

static void test_timer(void)
{
    QTest *qt = qtest_start(MACHINE);

    qtest_irq_intercept_in(qt, "ioapic");
    qtest_outb(qt, 0x43, 0x34);
    qtest_outb(qt, 0x40, 11932 & 0xff);
    qtest_outb(qt, 0x40, 11932 >> 8);
    pic_init(qt);
    qtest_clear_irq_count(qt, 0);
    qtest_clock_step(qt, TICK(11932) - 2000);
    g_assert_cmpuint(qtest_irq_count(qt, 0), ==, 0);
    g_assert_cmphex(pic_requests(qt) & 1, ==, 0);
    qtest_clock_step(qt, 4000);
    g_assert_cmpuint(qtest_irq_count(qt, 0), ==, 1);
    g_assert_cmphex(pic_requests(qt), ==, 1);
    qtest_clock_step(qt, TICK(1193200));
    g_assert_cmpuint(qtest_irq_count(qt, 0), ==, 101);
    qtest_end(qt);
}

/* The HPET in legacy mode takes line 0 from the timer chip, and gives it back. */
static void test_hpet_legacy(void)
{
    QTest *qt = qtest_start(MACHINE);

    qtest_irq_intercept_in(qt, "ioapic");
    qtest_outb(qt, 0x43, 0x34);
    qtest_outb(qt, 0x40, 0x00);
    qtest_outb(qt, 0x40, 0x10);
    qtest_writel(qt, 0xfed00010, 3); /* legacy replacement, enabled; no comparator is */
    qtest_clear_irq_count(qt, 0);
    qtest_clock_step(qt, 100000000);
    g_assert_cmpuint(qtest_irq_count(qt, 0), ==, 0);
    qtest_writel(qt, 0xfed00010, 0);
    qtest_clear_irq_count(qt, 0);
    qtest_clock_step(qt, 100000000);
    g_assert_cmpuint(qtest_irq_count(qt, 0), >, 20);
    qtest_end(qt);
}

static void cmos_write(QTest *qt, uint8_t reg, uint8_t value)
{
    qtest_outb(qt, 0x70, reg);
    qtest_outb(qt, 0x71, value);
}

static void test_rtc(void)
{
    QTest *qt = qtest_start(MACHINE " -rtc clock=vm");

    qtest_irq_intercept_in(qt, "ioapic");
    pic_init(qt);
    cmos_write(qt, 0x0a, 0x26); /* 1024 Hz */
    cmos_write(qt, 0x0b, 0x42); /* periodic interrupt */
    qtest_clock_step(qt, 2000000);
    g_assert_true(qtest_get_irq(qt, 8));
    g_assert_cmphex(pic_requests(qt) & 0x104, ==, 0x104);
    qtest_outb(qt, 0x70, 0x0c);
    g_assert_cmphex(qtest_inb(qt, 0x71) & 0xc0, ==, 0xc0);
    g_assert_false(qtest_get_irq(qt, 8));
    qtest_end(qt);
}

static void test_serial(void)
{
    QTest *qt = qtest_start(MACHINE " -serial null");

    qtest_irq_intercept_in(qt, "ioapic");
    qtest_outb(qt, 0x3fc, 0x08); /* OUT2: the line is driven */
    qtest_outb(qt, 0x3f9, 0x02); /* transmitter empty */
    g_assert_true(qtest_get_irq(qt, 4));
    qtest_inb(qt, 0x3fa);
    g_assert_false(qtest_get_irq(qt, 4));
    qtest_end(qt);
}

static void test_keyboard(void)
{
    QTest *qt = qtest_start(MACHINE);

    qtest_irq_intercept_in(qt, "ioapic");
    qtest_outb(qt, 0x64, 0x60);
    qtest_outb(qt, 0x60, 0x41); /* interrupt, scan code translation */
    qtest_outb(qt, 0x60, 0xee); /* echo */
    g_assert_true(qtest_get_irq(qt, 1));
    g_assert_cmphex(qtest_inb(qt, 0x60), ==, 0xee);
    g_assert_false(qtest_get_irq(qt, 1));
    qtest_end(qt);
}

/* The ELCR decides at the 8259s what a level is. */
static void test_elcr(void)
{
    QTest *qt = qtest_start(MACHINE);

    g_assert_cmphex(qtest_inb(qt, 0x4d0), ==, 0);
    qtest_outb(qt, 0x4d0, 0xff);
    qtest_outb(qt, 0x4d1, 0xff);
    g_assert_cmphex(qtest_inb(qt, 0x4d0), ==, 0xf8);
    g_assert_cmphex(qtest_inb(qt, 0x4d1), ==, 0xde);
    qtest_end(qt);
}

static void test_ioapic_registers(void)
{
    QTest *qt = qtest_start(MACHINE);

    qtest_writel(qt, 0xfec00000, 1);
    g_assert_cmphex(qtest_readl(qt, 0xfec00010), ==, 0x00170020);
    for (unsigned i = 0x10; i < 0x40; i++) {
        qtest_writel(qt, 0xfec00000, i);
        g_assert_cmphex(qtest_readl(qt, 0xfec00010), ==, i & 1 ? 0 : 0x10000);
        qtest_writel(qt, 0xfec00010, 0xffffffff);
        g_assert_cmphex(qtest_readl(qt, 0xfec00010), ==, i & 1 ? 0xffffffff : 0xffffafff);
    }
    g_assert_cmphex(qtest_readb(qt, 0xfec00010), ==, 0); /* the window is 32 bits wide */
    qtest_end(qt);
}

/* Channel 2 and port 61h, as kernels calibrate by it. */
static void test_speaker_port(void)
{
    QTest *qt = qtest_start(MACHINE);
    int64_t start;

    qtest_outb(qt, 0x61, (qtest_inb(qt, 0x61) & ~2) | 1);
    qtest_outb(qt, 0x43, 0xb0);
    start = qtest_clock_step(qt, 0);
    qtest_outb(qt, 0x42, 59659 & 0xff);
    qtest_outb(qt, 0x42, 59659 >> 8);
    qtest_clock_set(qt, start + TICK(59659) - 2000);
    g_assert_cmphex(qtest_inb(qt, 0x61) & 0x23, ==, 0x01);
    qtest_clock_set(qt, start + TICK(59659));
    g_assert_cmphex(qtest_inb(qt, 0x61) & 0x23, ==, 0x21);
    qtest_end(qt);
}

/* A busy set of chips, in a fresh machine: the same bytes and the same ticks. */
static void test_state(void)
{
    g_autofree char *first = qtest_temp_file(NULL, 0), *second = qtest_temp_file(NULL, 0);
    g_autofree char *a = NULL, *b = NULL, *reply = NULL;
    gsize a_len, b_len;
    QTest *qt = qtest_start(MACHINE " -rtc clock=vm");

    pic_init(qt);
    qtest_outb(qt, 0x21, 0xfe);
    qtest_outb(qt, 0x43, 0x34);
    qtest_outb(qt, 0x40, 0xe8);
    qtest_outb(qt, 0x40, 0x03); /* every 1000 clocks */
    qtest_outb(qt, 0x61, 3);
    qtest_writel(qt, 0xfec00000, 0x14);
    qtest_writel(qt, 0xfec00010, 0x30);
    qtest_clock_step(qt, TICK(1500));
    qtest_outb(qt, 0x43, 0x00); /* a latched count, half read */
    qtest_inb(qt, 0x40);
    reply = qtest_request(qt, "state_save %s", first);
    g_assert_true(g_str_has_prefix(reply, "OK"));
    qtest_end(qt);

    qt = qtest_start(MACHINE " -rtc clock=vm");
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
    g_assert_cmphex(pic_requests(qt) & 1, ==, 1);
    g_assert_cmphex(qtest_inb(qt, 0x40), ==, 500 >> 8);
    qtest_clock_step(qt, TICK(490));
    g_assert_cmpuint(qtest_irq_count(qt, 0), ==, 0);
    qtest_clock_step(qt, TICK(20));
    g_assert_cmpuint(qtest_irq_count(qt, 0), ==, 1);
    qtest_end(qt);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/interrupts/timer", test_timer);
    g_test_add_func("/interrupts/hpet-legacy", test_hpet_legacy);
    g_test_add_func("/interrupts/rtc", test_rtc);
    g_test_add_func("/interrupts/serial", test_serial);
    g_test_add_func("/interrupts/keyboard", test_keyboard);
    g_test_add_func("/interrupts/elcr", test_elcr);
    g_test_add_func("/interrupts/ioapic-registers", test_ioapic_registers);
    g_test_add_func("/interrupts/speaker-port", test_speaker_port);
    g_test_add_func("/interrupts/state", test_state);
    return g_test_run();
}
