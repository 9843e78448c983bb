/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The qtest server itself: every request, malformed ones, chunks, interception, the log. */
#include <string.h>

#include "tests/qtest/libqtest.h"

#define MACHINE "-machine pc -m 32 -nodefaults"

static void check(QTest *qt, const char *line, const char *expected)
{
    g_autofree char *reply = qtest_request(qt, "%s", line);

    if (!g_pattern_match_simple(expected, reply)) {
        g_error("'%s' was answered '%s', not '%s'", line, reply, expected);
    }
}

static void test_ports_and_memory(void)
{
    QTest *qt = qtest_start(MACHINE);
    uint8_t data[3000], back[3000];
    uint64_t at = qtest_alloc(qt, sizeof data, 4096);

    check(qt, "inb 0x71", "OK 0x????");
    check(qt, "inb 0x6000", "OK 0x00ff"); /* nothing there */
    check(qt, "inw 0x6000", "OK 0xffff");
    check(qt, "inl 0x6000", "OK 0xffffffff");
    qtest_outl(qt, 0xcf8, 0x80000000);
    g_assert_cmphex(qtest_inl(qt, 0xcfc), ==, 0x12378086);
    g_assert_cmphex(qtest_inw(qt, 0xcfe), ==, 0x1237);

    check(qt, "writeq 0x100000 0x1122334455667788", "OK");
    check(qt, "readb 0x100001", "OK 0x0000000000000077");
    check(qt, "readw 0x100001", "OK 0x0000000000006677");
    check(qt, "readl 0x100001", "OK 0x0000000044556677");
    check(qt, "readq 1048576", "OK 0x1122334455667788");
    check(qt, "writeb 0x100000 0xfff", "OK"); /* the low byte */
    check(qt, "read 0x100000 3", "OK 0xff7766");
    check(qt, "write 0x100000 4 0xaBCd", "OK"); /* missing bytes are zero */
    check(qt, "read 0x100000 5", "OK 0xabcd000044");
    check(qt, "b64write 0x100000 3 AQID", "OK");
    check(qt, "b64read 0x100000 4", "OK AQIDAA==");
    check(qt, "memset 0x100000 0 1", "OK");
    check(qt, "memset 0x100000 2 0x155", "OK");
    check(qt, "read 0x100000 4", "OK 0x55550300");
    check(qt, "readl 0xd0000000", "OK 0x0000000000000000"); /* nothing there */
    check(qt, "endianness", "OK little");

    for (unsigned i = 0; i < sizeof data; i++) {
        data[i] = i * 7 + i / 256;
    }
    qtest_memwrite(qt, at, data, sizeof data);
    qtest_memread(qt, at, back, sizeof back);
    g_assert_cmpmem(data, sizeof data, back, sizeof back);
    qtest_memread(qt, at + 5, back, 60);
    g_assert_cmpmem(data + 5, 60, back, 60);
    qtest_memset(qt, at, 0xaa, 200000);
    g_assert_cmphex(qtest_readb(qt, at + 199999), ==, 0xaa);
    g_assert_cmphex(qtest_readb(qt, at + 200000), ==, 0);
    qtest_end(qt);
}

static void test_malformed(void)
{
    QTest *qt = qtest_start(MACHINE);

    check(qt, "", "FAIL Unknown command ''");
    check(qt, "frobnicate 1 2", "FAIL Unknown command 'frobnicate'");
    check(qt, " inb 1", "FAIL Unknown command ''");
    check(qt, "rtas x", "FAIL Unknown command 'rtas'");
    check(qt, "outb 1", "FAIL *");
    check(qt, "inb", "FAIL *");
    check(qt, "inb x", "FAIL *");
    check(qt, "inb 0x", "FAIL *");
    check(qt, "inb 12x", "FAIL *");
    check(qt, "inb  1", "FAIL *");
    check(qt, "inb -1", "FAIL *");
    check(qt, "inb 0x10000", "FAIL *");
    check(qt, "readl 0x10000000000000000", "FAIL *");
    check(qt, "read 0x1000 0", "FAIL *");
    check(qt, "read 0x1000 0xffffffffffffffff", "FAIL *");
    check(qt, "b64read 0x1000 0x7fffffffffffffff", "FAIL *");
    check(qt, "write 0x1000 0xffffffffffff 0x00", "FAIL *");
    check(qt, "write 0x1000 2 0x", "ERR invalid argument size");
    check(qt, "write 0x1000 2 0xgg", "FAIL *");
    check(qt, "b64write 0x1000 2 AA", "ERR invalid argument size");
    check(qt, "memset 0x1000 0xffffffffffffffff 0", "FAIL *");
    check(qt, "clock_step -1", "FAIL *");
    check(qt, "clock_step 0xffffffffffffffff", "FAIL *");
    check(qt, "clock_set soon", "FAIL *");
    check(qt, "irq_intercept_in nowhere", "FAIL Unknown device");
    check(qt, "irq_intercept_in /machine", "FAIL Unknown device");
    check(qt, "set_irq_in ioapic unnamed-gpio-in 24 1", "FAIL *");
    check(qt, "set_irq_in ioapic named 0 1", "FAIL *");
    check(qt, "module_load a b", "FAIL *");
    check(qt, "read 0xfffffffffffffff0 0x40", "OK 0x*"); /* past the top: reads as nothing */
    check(qt, "endianness", "OK little");
    qtest_end(qt);
}

/* Lines arrive as a stream: in pieces, several at once, long ones. */
static void test_framing(void)
{
    QTest *qt = qtest_start(MACHINE);
    g_autofree char *big = NULL, *reply = NULL;
    const char *several = "writeb 0x100000 1\nwriteb 0x100001 2\nread 0x100000 2\nendia";
    size_t len = 8 << 20;

    for (const char *p = "endianness\n"; *p; p++) {
        qtest_send_raw(qt, p, 1);
    }
    reply = qtest_read_reply(qt);
    g_assert_cmpstr(reply, ==, "OK little");
    qtest_send_raw(qt, several, strlen(several));
    qtest_send_raw(qt, "nness\n", 6);
    for (unsigned i = 0; i < 4; i++) {
        static const char *const expected[] = {"OK", "OK", "OK 0x0102", "OK little"};

        g_free(reply);
        reply = qtest_read_reply(qt);
        g_assert_cmpstr(reply, ==, expected[i]);
    }
    /* 8 MiB of memory in one line. */
    big = g_strdup_printf("write 0x100000 %zu 0x%*s", len, (int)(2 * len), "");
    memset(strstr(big, "0x ") + 2, '5', 2 * len);
    check(qt, big, "OK");
    g_assert_cmphex(qtest_readq(qt, 0x100000 + len - 8), ==, UINT64_C(0x5555555555555555));
    g_assert_cmphex(qtest_readb(qt, 0x100000 + len), ==, 0);
    qtest_end(qt);
}

/* A line without end is given up, and the connection stays good. */
static void test_endless_line(void)
{
    QTest *qt = qtest_start(MACHINE);
    g_autofree char *junk = g_malloc(1 << 20), *reply = NULL;

    memset(junk, 'x', 1 << 20);
    for (unsigned i = 0; i < 66; i++) {
        qtest_send_raw(qt, junk, 1 << 20);
    }
    qtest_send_raw(qt, "\n", 1);
    reply = qtest_read_reply(qt);
    g_assert_true(g_str_has_prefix(reply, "FAIL line too long"));
    check(qt, "endianness", "OK little");
    qtest_end(qt);
}

static void test_clock(void)
{
    QTest *qt = qtest_start(MACHINE);
    int64_t now = qtest_clock_step(qt, 0), next;

    g_assert_cmpint(now, ==, 0);
    g_assert_cmpint(qtest_clock_step(qt, 100), ==, 100);
    g_assert_cmpint(qtest_clock_set(qt, 1000), ==, 1000);
    g_assert_cmpint(qtest_clock_set(qt, 500), ==, 1000); /* never back */
    next = qtest_clock_step_next(qt); /* the timer chip always has something to do */
    g_assert_cmpint(next, >, 1000);
    g_assert_cmpint(next, <=, 60 * 1000 * 1000);
    qtest_end(qt);
}

static void test_interception(void)
{
    QTest *qt = qtest_start(MACHINE);
    g_autofree char *path = NULL;

    qtest_irq_intercept_in(qt, "ioapic");
    check(qt, "irq_intercept_in ioapic", "OK");
    check(qt, "irq_intercept_out ioapic", "FAIL IRQ intercept already enabled");
    for (unsigned n = 0; n < 24; n++) {
        g_assert_false(qtest_get_irq(qt, n));
        qtest_set_irq_in(qt, "ioapic", NULL, n, 1);
        g_assert_true(qtest_get_irq(qt, n));
        qtest_set_irq_in(qt, "ioapic", NULL, n, 1);
        g_assert_cmpuint(qtest_irq_count(qt, n), ==, 1); /* changes only */
        qtest_set_irq_in(qt, "ioapic", NULL, n, 0);
        g_assert_false(qtest_get_irq(qt, n));
    }
    qtest_end(qt);

    /* Outputs, and the line comes before the reply of the request that moved it. */
    qt = qtest_start(MACHINE);
    for (unsigned i = 0; i < 64 && !path; i++) {
        g_autofree char *candidate = g_strdup_printf("/machine/unattached/device[%u]", i);
        g_autofree char *reply = qtest_request(qt, "set_irq_in %s unnamed-gpio-in 7 0", candidate);
        g_autofree char *reply8 = qtest_request(qt, "set_irq_in %s unnamed-gpio-in 8 0", candidate);

        if (!strcmp(reply, "OK") && g_str_has_prefix(reply8, "FAIL")) {
            /* Eight inputs: the 8259, whose master is made first. */
            path = g_steal_pointer(&candidate);
        }
    }
    g_assert_nonnull(path);
    qtest_irq_intercept_out(qt, path);
    qtest_outb(qt, 0x20, 0x11);
    qtest_outb(qt, 0x21, 0x08);
    qtest_outb(qt, 0x21, 0x04);
    qtest_outb(qt, 0x21, 0x01);
    qtest_send_raw(qt, "set_irq_in ", 11);
    qtest_send_raw(qt, path, strlen(path));
    qtest_send_raw(qt, " unnamed-gpio-in 3 1\n", 21);
    g_free(qtest_read_reply(qt));
    g_assert_true(qtest_get_irq(qt, 0));
    qtest_outb(qt, 0x21, 0xff);
    g_assert_false(qtest_get_irq(qt, 0));
    qtest_end(qt);
}

static void test_log(void)
{
    g_autofree char *path = qtest_temp_file(NULL, 0), *text = NULL;
    QTest *qt = qtest_start(MACHINE " -qtest-log %s", path);

    check(qt, "endianness", "OK little");
    qtest_end(qt);
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_true(g_str_has_prefix(text, "[I ") && strstr(text, "] OPENED\n"));
    g_assert_nonnull(strstr(text, "] endianness\n"));
    g_assert_nonnull(strstr(text, "] OK little\n"));
}

static void test_bad_options(void)
{
    static const struct {
        const char *args, *expected;
    } cases[] = {
        {"-machine pc -accel qtest -display none -qtest unix:/nonexistent/socket",
         "/nonexistent/socket"},
        {"-machine pc -accel qtest -display none -qtest nonsense:x", "nonsense"},
        {"-machine pc -accel qtest -display none -qtest stdio -qtest-log /nonexistent/log",
         "/nonexistent/log"},
        {"-machine pc -accel frobnicate -display none", "frobnicate"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *err = NULL;
        int status = qtest_run(cases[i].args, NULL, &err);

        if (status != 1 || !strstr(err, cases[i].expected)) {
            g_error("'%s': status %d, stderr: %s", cases[i].args, status, err);
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/protocol/ports-and-memory", test_ports_and_memory);
    g_test_add_func("/protocol/malformed", test_malformed);
    g_test_add_func("/protocol/framing", test_framing);
    g_test_add_func("/protocol/endless-line", test_endless_line);
    g_test_add_func("/protocol/clock", test_clock);
    g_test_add_func("/protocol/interception", test_interception);
    g_test_add_func("/protocol/log", test_log);
    g_test_add_func("/protocol/bad-options", test_bad_options);
    return g_test_run();
}
