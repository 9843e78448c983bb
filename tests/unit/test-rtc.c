/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hw/timer/mc146818rtc.h"

#include "tests/unit/device-fixture.h"

#define IRQ 8

static Device *open_rtc(Fixture *f, const char *date, const char *policy)
{
    RtcSource source = {0};

    fixture_open(f);
    Device *dev = device_new(f->vm, "mc146818rtc");
    g_assert_true(rtc_source_parse(&source, date, "vm", policy, NULL));
    rtc_set_source(dev, &source);
    object_set_uint(dev, "base_year", 0);
    return fixture_realize(dev, &f->isa->bus);
}

static uint8_t cmos(Fixture *f, uint8_t index)
{
    outb(f, 0x70, index);
    return inb(f, 0x71);
}
static void set_cmos(Fixture *f, uint8_t index, uint8_t value)
{
    outb(f, 0x70, index);
    outb(f, 0x71, value);
}

/* The bytes QEMU 7.2 shows for -rtc base=2020-01-02T03:04:05,clock=vm before anything ran. */
static void test_power_on(void)
{
    static const uint8_t want[14] = {0x05, 0,    0x04, 0,    0x03, 0, 0x05,
                                     0x02, 0x01, 0x20, 0x26, 0x02, 0, 0x80};
    Fixture f;

    open_rtc(&f, "2020-01-02T03:04:05", NULL);
    for (unsigned i = 0; i < sizeof want; i++) {
        g_assert_cmphex(cmos(&f, i), ==, want[i]);
    }
    g_assert_cmphex(cmos(&f, 0x32), ==, 0x20);
    g_assert_cmphex(cmos(&f, 0x37), ==, 0x20);
    g_assert_cmphex(inb(&f, 0x70), ==, 0xff);
    g_assert_cmphex(inb(&f, 0x72), ==, 0xff);
    set_cmos(&f, 0x7f, 0xa5);
    g_assert_cmphex(cmos(&f, 0xff), ==, 0xa5); /* bit 7 of the index is the NMI mask */
    fixture_close(&f);
}

static void test_time_goes_on(void)
{
    Fixture f;

    open_rtc(&f, "2023-12-31T23:59:58", NULL);
    step(&f, 2 * NSEC_PER_SEC);
    g_assert_cmphex(cmos(&f, 0), ==, 0);
    g_assert_cmphex(cmos(&f, 4), ==, 0);
    g_assert_cmphex(cmos(&f, 6), ==, 2); /* a Monday */
    g_assert_cmphex(cmos(&f, 7), ==, 1);
    g_assert_cmphex(cmos(&f, 8), ==, 1);
    g_assert_cmphex(cmos(&f, 9), ==, 0x24);
    /* Binary, 12 hours: 15:30 is 3 PM. */
    set_cmos(&f, 0xb, 0x84);
    set_cmos(&f, 4, 0x80 | 3);
    set_cmos(&f, 2, 30);
    set_cmos(&f, 0, 15);
    set_cmos(&f, 0xb, 0x04);
    step(&f, 30 * NSEC_PER_SEC);
    g_assert_cmphex(cmos(&f, 0), ==, 45);
    g_assert_cmphex(cmos(&f, 2), ==, 30);
    g_assert_cmphex(cmos(&f, 4), ==, 0x83);
    set_cmos(&f, 0xb, 0x02);
    g_assert_cmphex(cmos(&f, 4), ==, 0x15);
    fixture_close(&f);
}

static void test_update_in_progress(void)
{
    Fixture f;

    open_rtc(&f, "2020-01-01", NULL);
    g_assert_cmphex(cmos(&f, 0xa), ==, 0x26);
    step(&f, NSEC_PER_SEC - 245 * NSEC_PER_USEC);
    g_assert_cmphex(cmos(&f, 0xa), ==, 0x26);
    step(&f, 2 * NSEC_PER_USEC);
    g_assert_cmphex(cmos(&f, 0xa), ==, 0xa6);
    step(&f, 250 * NSEC_PER_USEC);
    g_assert_cmphex(cmos(&f, 0xa), ==, 0x26);
    /* SET: no update, the time stands. */
    set_cmos(&f, 0xb, 0x82);
    step(&f, 10 * NSEC_PER_SEC - 100 * NSEC_PER_USEC);
    g_assert_cmphex(cmos(&f, 0xa), ==, 0x26);
    g_assert_cmphex(cmos(&f, 0), ==, 0x01);
    fixture_close(&f);
}

static void test_update_interrupt(void)
{
    Fixture f;

    open_rtc(&f, "2020-01-01", NULL);
    set_cmos(&f, 0xb, 0x12);
    step(&f, NSEC_PER_SEC);
    g_assert_cmpint(f.level[IRQ], ==, 1);
    g_assert_cmphex(cmos(&f, 0xc), ==, 0x90);
    g_assert_cmpint(f.level[IRQ], ==, 0);
    g_assert_cmphex(cmos(&f, 0xc), ==, 0);
    step(&f, 3 * NSEC_PER_SEC); /* not acknowledged: one */
    g_assert_cmpuint(f.raised[IRQ], ==, 2);
    /* SET takes the enable away. */
    set_cmos(&f, 0xb, 0x92);
    g_assert_cmphex(cmos(&f, 0xb), ==, 0x82);
    fixture_close(&f);
}

static void test_alarm(void)
{
    Fixture f;

    open_rtc(&f, "2020-01-01T10:20:30", NULL);
    set_cmos(&f, 1, 0x00);
    set_cmos(&f, 3, 0x25);
    set_cmos(&f, 5, 0xff);
    set_cmos(&f, 0xb, 0x22);
    step(&f, 269 * NSEC_PER_SEC);
    g_assert_cmpint(f.level[IRQ], ==, 0);
    step(&f, NSEC_PER_SEC);
    g_assert_cmpint(f.level[IRQ], ==, 1);
    g_assert_cmphex(cmos(&f, 0xc), ==, 0xb0);
    step(&f, 3599 * NSEC_PER_SEC);
    g_assert_cmpint(f.level[IRQ], ==, 0);
    step(&f, NSEC_PER_SEC); /* each hour */
    g_assert_cmpint(f.level[IRQ], ==, 1);
    fixture_close(&f);
}

/* A guest that looks at nothing must not cost a wakeup a second: once UF is set, nothing is armed
 * before the next alarm. */
static void test_idle_has_no_timer(void)
{
    Fixture f;

    open_rtc(&f, "2020-01-01T00:00:00", NULL);
    step(&f, 2 * NSEC_PER_SEC);
    g_assert_cmpint(clock_virtual_deadline(f.vm), >, 80000 * NSEC_PER_SEC);
    fixture_close(&f);
}

static void test_periodic(void)
{
    Fixture f;

    open_rtc(&f, "2020-01-01", NULL);
    set_cmos(&f, 0xb, 0x42); /* rate 6: 1024 Hz */
    for (unsigned i = 0; i < 1024; i++) {
        step(&f, NSEC_PER_SEC / 1024 + 1);
        g_assert_cmpint(f.level[IRQ], ==, 1);
        g_assert_cmphex(cmos(&f, 0xc) & 0xc0, ==, 0xc0);
    }
    g_assert_cmpuint(f.raised[IRQ], ==, 1024);
    set_cmos(&f, 0xa, 0x2f); /* 2 Hz */
    step(&f, NSEC_PER_SEC);
    g_assert_cmphex(cmos(&f, 0xc) & 0x40, ==, 0x40);
    set_cmos(&f, 0xb, 0x02);
    step(&f, 10 * NSEC_PER_SEC);
    g_assert_cmphex(cmos(&f, 0xc) & 0x80, ==, 0);
    fixture_close(&f);
}

/* driftfix=slew: ticks that the guest did not take come with its acknowledgements. */
static void test_slew(void)
{
    Fixture f;
    unsigned got = 0;

    open_rtc(&f, "2020-01-01", "slew");
    set_cmos(&f, 0xb, 0x42);
    step(&f, NSEC_PER_SEC / 1024 * 10 + 1000);
    for (; got < 100 && (cmos(&f, 0xc) & 0x40); got++) {
    }
    g_assert_cmpuint(got, ==, 10);
    fixture_close(&f);
}

static void test_reset_keeps_time(void)
{
    Fixture f;
    Device *dev = open_rtc(&f, "2020-01-01T00:00:00", NULL);

    set_cmos(&f, 0xb, 0x72);
    set_cmos(&f, 0x40, 0x77);
    step(&f, 5 * NSEC_PER_SEC);
    device_reset(dev);
    g_assert_cmpint(f.level[IRQ], ==, 0);
    g_assert_cmphex(cmos(&f, 0xb), ==, 0x12);
    g_assert_cmphex(cmos(&f, 0x40), ==, 0x77);
    g_assert_cmphex(cmos(&f, 0), ==, 5);
    fixture_close(&f);
}

static void test_change_event_cb(void *opaque, int64_t offset)
{
    *(int64_t *)opaque = offset;
}

static void test_change_event(void)
{
    Fixture f;
    int64_t offset = 0;
    struct tm tm;
    Device *dev = open_rtc(&f, "2020-01-01T00:00:00", NULL);

    rtc_on_change(dev, test_change_event_cb, &offset);
    set_cmos(&f, 4, 0x02);
    g_assert_cmpint(offset, ==, 7200);
    rtc_get_time(dev, &tm);
    g_assert_cmpint(tm.tm_hour, ==, 2);
    g_assert_cmpint(tm.tm_year, ==, 120);
    fixture_close(&f);
}

static void test_state(void)
{
    Fixture a, b;
    Device *from = open_rtc(&a, "2020-01-01T00:00:00", NULL);

    set_cmos(&a, 0xa, 0x28);
    set_cmos(&a, 0xb, 0x72);
    step(&a, 1234567890);
    set_cmos(&a, 1, 0x30);
    outb(&a, 0x70, 0x0c);
    GByteArray *bytes = fixture_save(from);
    g_assert_cmpuint(bytes->len, ==, 128 + 1 + 28 + 8 + 8 + 24 + 4 + 4 + 8 + 8 + 8 + 8 + 8);

    Device *to = open_rtc(&b, "1999-01-01", NULL);
    step(&b, 1234567890);
    fixture_load(to, bytes);
    g_assert_cmphex(inb(&b, 0x71), ==, inb(&a, 0x71));
    for (unsigned i = 0; i < 40; i++) {
        step(&a, NSEC_PER_SEC);
        step(&b, NSEC_PER_SEC);
        g_assert_cmphex(cmos(&a, 0xc), ==, cmos(&b, 0xc));
        g_assert_cmphex(cmos(&a, 0), ==, cmos(&b, 0));
    }
    fixture_refuses(to, bytes, 128, 0x80); /* cmos_index */
    g_byte_array_unref(bytes);
    fixture_close(&a);
    fixture_close(&b);
}

/* Whatever a guest writes, time included, nothing breaks. */
static void test_bad_guest(void)
{
    Fixture f;

    open_rtc(&f, "2020-01-01", "slew");
    g_autoptr(GRand) rand = g_rand_new_with_seed(7);
    for (unsigned i = 0; i < 20000; i++) {
        uint8_t index = g_rand_int_range(rand, 0, 16);

        if (g_rand_boolean(rand)) {
            set_cmos(&f, index == 15 ? 0x32 : index, g_rand_int(rand));
        } else {
            cmos(&f, index);
        }
        step(&f, g_rand_int_range(rand, 0, 1 << 24));
    }
    fixture_close(&f);
}

static void test_options(void)
{
    static const char *const bad[] = {
        "", "now", "2020-13-01", "2020-01-01T25:00:00", "2020-01-01x", "2020-01"};
    RtcSource source = {0};
    GError *err = NULL;

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_assert_false(rtc_source_parse(&source, bad[i], NULL, NULL, &err));
        g_assert_true(strstr(err->message, "-rtc base=") != NULL);
        g_clear_error(&err);
    }
    g_assert_false(rtc_source_parse(&source, NULL, "guest", NULL, &err));
    g_clear_error(&err);
    g_assert_false(rtc_source_parse(&source, NULL, NULL, "fast", &err));
    g_clear_error(&err);
    g_assert_true(rtc_source_parse(&source, "2006-06-17T16:01:21", "rt", "none", NULL));
    g_assert_cmpint(source.datetime, ==, 1150560081);
    g_assert_cmpint(source.clock, ==, CLOCK_RT);
    g_assert_true(rtc_source_parse(&source, "localtime", NULL, "slew", NULL));
    g_assert_cmpint(source.clock, ==, CLOCK_HOST);
    g_assert_true(source.slew);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/rtc/power-on", test_power_on);
    g_test_add_func("/rtc/time", test_time_goes_on);
    g_test_add_func("/rtc/update-in-progress", test_update_in_progress);
    g_test_add_func("/rtc/update-interrupt", test_update_interrupt);
    g_test_add_func("/rtc/alarm", test_alarm);
    g_test_add_func("/rtc/idle", test_idle_has_no_timer);
    g_test_add_func("/rtc/periodic", test_periodic);
    g_test_add_func("/rtc/slew", test_slew);
    g_test_add_func("/rtc/reset", test_reset_keeps_time);
    g_test_add_func("/rtc/change-event", test_change_event);
    g_test_add_func("/rtc/state", test_state);
    g_test_add_func("/rtc/bad-guest", test_bad_guest);
    g_test_add_func("/rtc/options", test_options);
    return g_test_run();
}
