/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hw/timer/hpet.h"

#include "tests/unit/device-fixture.h"

enum { CFG = 0x10, STATUS = 0x20, COUNTER = 0xf0, T0 = 0x100, T1 = 0x120, T2 = 0x140, CMP = 8 };
#define PIT_ENABLED 40 /* our line for that output */

static uint32_t rd(Fixture *f, unsigned reg)
{
    return readm(f, HPET_BASE + reg, 4);
}
static void wr(Fixture *f, unsigned reg, uint32_t value)
{
    writem(f, HPET_BASE + reg, 4, value);
}

static Device *open_hpet(Fixture *f)
{
    fixture_open(f);
    Device *dev = device_new(f->vm, "hpet");
    object_set_uint(dev, "hpet-intcap", 4);
    fixture_realize(dev, NULL);
    region_add(&f->vm->system_memory, HPET_BASE, hpet_region(dev));
    for (unsigned i = 0; i < HPET_NUM_GSI; i++) {
        device_connect(dev, i, &f->lines[i]);
    }
    device_connect(dev, HPET_OUT_PIT_ENABLED, &f->lines[PIT_ENABLED]);
    device_reset(dev);
    return dev;
}

/* What QEMU 7.2's pc shows. */
static void test_power_on(void)
{
    Fixture f;

    open_hpet(&f);
    g_assert_cmphex(readm(&f, HPET_BASE, 8), ==, UINT64_C(0x9896808086a201));
    g_assert_cmphex(rd(&f, CFG), ==, 0);
    for (unsigned t = T0; t <= T2; t += 0x20) {
        g_assert_cmphex(readm(&f, HPET_BASE + t, 8), ==, UINT64_C(0x400000030));
        g_assert_cmphex(readm(&f, HPET_BASE + t + CMP, 8), ==, UINT64_MAX);
        g_assert_cmphex(readm(&f, HPET_BASE + t + 0x10, 8), ==, 0);
    }
    g_assert_cmphex(rd(&f, 0x160), ==, 0); /* no fourth timer */
    g_assert_cmpint(f.level[PIT_ENABLED], ==, 1);
    fixture_close(&f);
}

static void test_counter(void)
{
    Fixture f;

    open_hpet(&f);
    step(&f, 1000);
    g_assert_cmphex(rd(&f, COUNTER), ==, 0);
    writem(&f, HPET_BASE + COUNTER, 8, UINT64_C(0x1fffffff0));
    wr(&f, CFG, 1);
    step(&f, 10 * 0x20);
    g_assert_cmphex(readm(&f, HPET_BASE + COUNTER, 8), ==, UINT64_C(0x200000010));
    wr(&f, CFG, 0);
    step(&f, 1000);
    g_assert_cmphex(readm(&f, HPET_BASE + COUNTER, 8), ==, UINT64_C(0x200000010));
    fixture_close(&f);
}

static void test_one_shot(void)
{
    Fixture f;

    open_hpet(&f);
    wr(&f, CFG, 1);
    wr(&f, T2 + CMP, 1000);
    wr(&f, T2 + CMP + 4, 0);
    wr(&f, T2, 2 << 9 | 0x4);
    step(&f, 9990);
    g_assert_cmpuint(f.raised[2], ==, 0);
    step(&f, 10);
    g_assert_cmpuint(f.raised[2], ==, 1);
    g_assert_cmphex(rd(&f, STATUS), ==, 0); /* edge */
    fixture_close(&f);
}

static void test_periodic_level(void)
{
    Fixture f;

    open_hpet(&f);
    wr(&f, T0, 2 << 9 | 0x4 | 0x8 | 0x40 | 0x2);
    wr(&f, T0 + CMP, 100000);
    wr(&f, T0 + CMP + 4, 0); /* SETVAL is gone: the period's high half */
    wr(&f, T0 + CMP, 100000);
    g_assert_cmphex(rd(&f, T0) & 0x40, ==, 0);
    /* QEMU clears the comparator's low half only when told; write all of it as Linux does. */
    wr(&f, T0, 2 << 9 | 0x4 | 0x8 | 0x40 | 0x2);
    wr(&f, T0 + CMP + 4, 0);
    wr(&f, CFG, 1);
    for (unsigned i = 1; i <= 5; i++) {
        step(&f, NSEC_PER_MSEC);
        g_assert_cmpint(f.level[2], ==, 1);
        g_assert_cmphex(rd(&f, STATUS), ==, 1);
        wr(&f, STATUS, 1);
        g_assert_cmpint(f.level[2], ==, 0);
        g_assert_cmpuint(f.raised[2], ==, i);
    }
    fixture_close(&f);
}

static void test_32bit_wraps(void)
{
    Fixture f;

    open_hpet(&f);
    writem(&f, HPET_BASE + COUNTER, 8, 0xfffffff0);
    wr(&f, T1 + CMP, 0x100);
    wr(&f, T1, 2 << 9 | 0x4 | 0x100);
    g_assert_cmphex(rd(&f, T1 + CMP + 4), ==, 0);
    wr(&f, CFG, 1);
    step(&f, 10 * 0x10);
    g_assert_cmpuint(f.raised[2], ==, 1); /* the wrap */
    step(&f, 10 * 0x101);
    g_assert_cmpuint(f.raised[2], ==, 2);
    fixture_close(&f);
}

static void test_legacy(void)
{
    Fixture f;
    Device *dev = open_hpet(&f);
    Irq *pit = device_irq_in(dev, HPET_IN_PIT), *rtc = device_irq_in(dev, HPET_IN_RTC);

    irq_set(pit, 1);
    irq_set(rtc, 1);
    g_assert_cmpint(f.level[0], ==, 1);
    g_assert_cmpint(f.level[8], ==, 1);
    wr(&f, CFG, 3);
    g_assert_cmpint(f.level[PIT_ENABLED], ==, 0);
    g_assert_cmpint(f.level[0], ==, 0);
    g_assert_cmpint(f.level[8], ==, 0);
    irq_set(pit, 1);
    g_assert_cmpint(f.level[0], ==, 0);
    wr(&f, T0, 5 << 9 | 0x4);
    wr(&f, T0 + CMP, 100);
    wr(&f, T0 + CMP + 4, 0);
    step(&f, 2000);
    g_assert_cmpuint(f.raised[0], ==, 2);
    g_assert_cmpuint(f.raised[5], ==, 0);
    wr(&f, CFG, 0);
    g_assert_cmpint(f.level[PIT_ENABLED], ==, 1);
    g_assert_cmpint(f.level[8], ==, 1); /* what the RTC drove meanwhile */
    fixture_close(&f);
}

static void test_state(void)
{
    Fixture a, b;
    Device *from = open_hpet(&a);

    wr(&a, T0, 2 << 9 | 0x4 | 0x8 | 0x40);
    wr(&a, T0 + CMP, 5000);
    wr(&a, T0, 2 << 9 | 0x4 | 0x8 | 0x40);
    wr(&a, T0 + CMP + 4, 0);
    wr(&a, T2, 21 << 9 | 0x6);
    wr(&a, T2 + CMP, 70000);
    wr(&a, T2 + CMP + 4, 0);
    wr(&a, CFG, 3);
    irq_set(device_irq_in(from, HPET_IN_RTC), 1);
    step(&a, 123456);
    GByteArray *bytes = fixture_save(from);
    Device *to = open_hpet(&b);
    step(&b, 123456);
    fixture_load(to, bytes);
    g_assert_cmpint(b.level[PIT_ENABLED], ==, 0);
    a.raised[0] = b.raised[0] = 0;
    for (unsigned i = 0; i < 20; i++) {
        step(&a, 54321);
        step(&b, 54321);
        g_assert_cmpuint(a.raised[0], ==, b.raised[0]);
        g_assert_cmpint(a.level[21], ==, b.level[21]);
        g_assert_cmphex(rd(&a, STATUS), ==, rd(&b, STATUS));
        g_assert_cmphex(rd(&a, COUNTER), ==, rd(&b, COUNTER));
        g_assert_cmphex(rd(&a, T0 + CMP), ==, rd(&b, T0 + CMP));
    }
    fixture_refuses(to, bytes, 24, 200); /* num_timers */
    g_byte_array_unref(bytes);
    fixture_close(&a);
    fixture_close(&b);
}

/* A period of one tick does not become 100 million interrupts a second. */
static void test_tiny_period(void)
{
    Fixture f;

    open_hpet(&f);
    wr(&f, T0, 2 << 9 | 0x4 | 0x8 | 0x40);
    wr(&f, T0 + CMP, 1);
    wr(&f, CFG, 1);
    wr(&f, T0, 2 << 9 | 0x4 | 0x8 | 0x40);
    wr(&f, T0 + CMP + 4, 0);
    step(&f, 100 * NSEC_PER_MSEC);
    g_assert_cmpuint(f.raised[2], >, 1000);
    g_assert_cmpuint(f.raised[2], <=, 10001);
    fixture_close(&f);
}

static void test_bad_guest(void)
{
    Fixture f;

    open_hpet(&f);
    g_autoptr(GRand) rand = g_rand_new_with_seed(5);
    for (unsigned i = 0; i < 50000; i++) {
        unsigned reg = g_rand_int_range(rand, 0, HPET_SIZE),
                 size = 1u << g_rand_int_range(rand, 0, 4);

        if (g_rand_boolean(rand)) {
            writem(&f, HPET_BASE + reg, size, (uint64_t)g_rand_int(rand) << 32 | g_rand_int(rand));
        } else {
            readm(&f, HPET_BASE + reg, size);
        }
        step(&f, g_rand_int_range(rand, 0, 20000));
    }
    fixture_close(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/hpet/power-on", test_power_on);
    g_test_add_func("/hpet/counter", test_counter);
    g_test_add_func("/hpet/one-shot", test_one_shot);
    g_test_add_func("/hpet/periodic-level", test_periodic_level);
    g_test_add_func("/hpet/32bit-wraps", test_32bit_wraps);
    g_test_add_func("/hpet/legacy", test_legacy);
    g_test_add_func("/hpet/state", test_state);
    g_test_add_func("/hpet/tiny-period", test_tiny_period);
    g_test_add_func("/hpet/bad-guest", test_bad_guest);
    return g_test_run();
}
