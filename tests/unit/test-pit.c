/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The user-space 8254 and port 61h, driven in-process under the qtest accelerator. */
#include "accel/accel.h"
#include "hw/timer/i8254.h"

typedef struct Fixture {
    Vm *vm;
    Device *pit, *spk;
    Irq line;
    int level;
    unsigned rises;
} Fixture;

static void line_handler(void *opaque, unsigned n, int level)
{
    Fixture *f = opaque;

    f->rises += level && !f->level;
    f->level = level;
}

static void fixture_set_up(Fixture *f)
{
    GError *err = NULL;
    IsaBus *bus;

    *f = (Fixture){0};
    f->vm = vm_new(&err);
    g_assert_no_error(err);
    accel_create(f->vm, "qtest", NULL, &err);
    g_assert_no_error(err);
    bus = isa_bus_new(f->vm, NULL, &f->vm->system_memory, &f->vm->system_io);
    f->pit = device_new(f->vm, "isa-pit");
    device_realize_board(f->pit, NULL, &bus->bus, &err);
    g_assert_no_error(err);
    irq_init(&f->line, line_handler, f, 0);
    device_connect(f->pit, 0, &f->line);
    f->spk = device_new(f->vm, "isa-pcspk");
    g_autofree char *path = object_path(f->pit);
    object_set_str(f->spk, "pit", path);
    device_realize_board(f->spk, NULL, &bus->bus, &err);
    g_assert_no_error(err);
    vm_reset(f->vm, SHUTDOWN_CAUSE_NONE);
    g_assert_cmpuint(f->rises, ==, 0); /* power-on is no tick */
    /* Mode 0, no count: OUT is low. */
    address_space_store(&f->vm->io, 0x43, 1, 0x30);
}

static void fixture_tear_down(Fixture *f) { vm_free(f->vm); }

static void outb(Fixture *f, uint16_t port, uint8_t value)
{
    address_space_store(&f->vm->io, port, 1, value);
}

static uint8_t inb(Fixture *f, uint16_t port)
{
    uint64_t value = 0;

    address_space_load(&f->vm->io, port, 1, &value);
    return value;
}

/* The clock to just after so many PIT clocks from its zero. */
static void to_tick(Fixture *f, int64_t tick)
{
    clock_virtual_advance_to(f->vm, pit_ticks_to_ns(tick));
}

static void program(Fixture *f, unsigned channel, uint8_t control, unsigned count)
{
    outb(f, 0x43, channel << 6 | control);
    if (control & 0x10) {
        outb(f, 0x40 + channel, count);
    }
    if (control & 0x20) {
        outb(f, 0x40 + channel, count >> 8);
    }
}

static unsigned latched(Fixture *f, unsigned channel)
{
    unsigned low;

    outb(f, 0x43, channel << 6);
    low = inb(f, 0x40 + channel);
    return low | inb(f, 0x40 + channel) << 8;
}

/* ---- tests ------------------------------------------------------------------------------ */

static void test_mode0(void)
{
    Fixture f;

    fixture_set_up(&f);
    program(&f, 0, 0x30, 1000);
    g_assert_cmpint(f.level, ==, 0);
    f.rises = 0;
    g_assert_cmpuint(latched(&f, 0), ==, 1000);
    to_tick(&f, 400);
    g_assert_cmpuint(latched(&f, 0), ==, 600);
    to_tick(&f, 999);
    g_assert_cmpint(f.level, ==, 0);
    to_tick(&f, 1000);
    g_assert_cmpint(f.level, ==, 1);
    to_tick(&f, 1001);
    g_assert_cmphex(latched(&f, 0), ==, 0xffff); /* goes on below zero */
    to_tick(&f, 300000);
    g_assert_cmpuint(f.rises, ==, 1);
    /* The first byte of a new count stops it, the second starts it. */
    outb(&f, 0x40, 0);
    g_assert_cmpint(f.level, ==, 0);
    to_tick(&f, 400000);
    g_assert_cmpint(f.level, ==, 0);
    outb(&f, 0x40, 0x10);
    clock_virtual_advance_to(f.vm, clock_now(f.vm, CLOCK_VIRTUAL) + pit_ticks_to_ns(0x1000));
    g_assert_cmpint(f.level, ==, 1);
    fixture_tear_down(&f);
}

static void test_mode2(void)
{
    Fixture f;

    fixture_set_up(&f);
    program(&f, 0, 0x34, 11932);
    f.rises = 0;
    to_tick(&f, 11930);
    g_assert_cmpint(f.level, ==, 1);
    g_assert_cmpuint(latched(&f, 0), ==, 2);
    to_tick(&f, 11931);
    g_assert_cmpuint(latched(&f, 0), ==, 1);
    to_tick(&f, 11932 + 100);
    g_assert_cmpint(f.level, ==, 1);
    g_assert_cmpuint(f.rises, ==, 1);
    g_assert_cmpuint(latched(&f, 0), ==, 11932 - 100);
    to_tick(&f, 11932 * 100 + 50);
    g_assert_cmpuint(f.rises, ==, 100);
    fixture_tear_down(&f);
}

static void test_mode3(void)
{
    Fixture f;

    fixture_set_up(&f);
    program(&f, 0, 0x36, 1001);
    f.rises = 0;
    g_assert_cmpint(f.level, ==, 1);
    g_assert_cmpuint(latched(&f, 0), ==, 1000);
    to_tick(&f, 10);
    g_assert_cmpuint(latched(&f, 0), ==, 980);
    to_tick(&f, 500);
    g_assert_cmpint(f.level, ==, 1);
    to_tick(&f, 501); /* an odd count: one clock more high than low */
    g_assert_cmpint(f.level, ==, 0);
    g_assert_cmpuint(latched(&f, 0), ==, 1000);
    to_tick(&f, 1000);
    g_assert_cmpint(f.level, ==, 0);
    to_tick(&f, 1001);
    g_assert_cmpint(f.level, ==, 1);
    to_tick(&f, 1001 * 10 + 1);
    g_assert_cmpuint(f.rises, ==, 10);
    fixture_tear_down(&f);
}

static void test_mode4(void)
{
    Fixture f;

    fixture_set_up(&f);
    program(&f, 0, 0x38, 500);
    f.rises = 0;
    g_assert_cmpint(f.level, ==, 1);
    to_tick(&f, 2000);
    g_assert_cmpuint(f.rises, ==, 1);
    to_tick(&f, 90000);
    g_assert_cmpuint(f.rises, ==, 1);
    fixture_tear_down(&f);
}

static void test_tiny_counts(void)
{
    Fixture f;

    fixture_set_up(&f);
    /* The shortest square wave: coalesced, and it must not hang. */
    program(&f, 0, 0x36, 2);
    f.rises = 0;
    to_tick(&f, 119318);
    g_assert_cmpuint(f.rises, >, 5000);
    /* Counts that are not legal: nothing moves. */
    program(&f, 0, 0x34, 1);
    f.rises = 0;
    to_tick(&f, 200000);
    g_assert_cmpuint(f.rises, ==, 0);
    program(&f, 0, 0x36, 1);
    f.rises = 0;
    to_tick(&f, 300000);
    g_assert_cmpuint(f.rises, ==, 0);
    fixture_tear_down(&f);
}

static void test_latch_and_readback(void)
{
    Fixture f;

    fixture_set_up(&f);
    program(&f, 1, 0x34, 0x1234);
    outb(&f, 0x43, 0x40);
    to_tick(&f, 0x34);
    outb(&f, 0x43, 0x40); /* already latched: ignored */
    g_assert_cmphex(inb(&f, 0x41), ==, 0x34);
    g_assert_cmphex(inb(&f, 0x41), ==, 0x12);
    g_assert_cmphex(inb(&f, 0x41), ==, 0x00); /* not latched: the counter itself */
    g_assert_cmphex(inb(&f, 0x41), ==, 0x12);
    outb(&f, 0x43, 0xc4);                      /* status and count of channel 1 */
    g_assert_cmphex(inb(&f, 0x41), ==, 0xb4);  /* OUT, word, mode 2 */
    g_assert_cmphex(inb(&f, 0x41), ==, 0x00);
    g_assert_cmphex(inb(&f, 0x41), ==, 0x12);
    /* The null count flag. */
    outb(&f, 0x43, 0x50);
    outb(&f, 0x43, 0xe4);
    g_assert_cmphex(inb(&f, 0x41), ==, 0x50);
    outb(&f, 0x41, 5);
    outb(&f, 0x43, 0xe4);
    g_assert_cmphex(inb(&f, 0x41), ==, 0x10);
    to_tick(&f, 0x100);
    outb(&f, 0x43, 0xe4);
    g_assert_cmphex(inb(&f, 0x41), ==, 0x90);
    /* High byte only. */
    program(&f, 1, 0x24, 0x5600);
    g_assert_cmphex(inb(&f, 0x41), ==, 0x56);
    g_assert_cmphex(inb(&f, 0x41), ==, 0x56);
    fixture_tear_down(&f);
}

static void test_bcd(void)
{
    Fixture f;

    fixture_set_up(&f);
    program(&f, 0, 0x31, 0x1000);
    to_tick(&f, 1);
    g_assert_cmphex(latched(&f, 0), ==, 0x0999);
    to_tick(&f, 1000);
    g_assert_cmpint(f.level, ==, 1);
    to_tick(&f, 1001);
    g_assert_cmphex(latched(&f, 0), ==, 0x9999);
    program(&f, 0, 0x31, 0);
    g_assert_cmphex(latched(&f, 0), ==, 0x0000);
    clock_virtual_advance_to(f.vm, clock_now(f.vm, CLOCK_VIRTUAL) + pit_ticks_to_ns(1));
    g_assert_cmphex(latched(&f, 0), ==, 0x9999);
    program(&f, 0, 0x31, 0xffff); /* no digits: must not trip */
    latched(&f, 0);
    fixture_tear_down(&f);
}

static void test_speaker_port(void)
{
    Fixture f;
    uint8_t first;

    fixture_set_up(&f);
    first = inb(&f, 0x61);
    g_assert_cmphex(first & 0xef, ==, 0x20); /* OUT of a gated square wave is high */
    g_assert_cmphex((first ^ inb(&f, 0x61)) & 0x10, ==, 0x10);
    /* As kernels calibrate: gate on, mode 0, wait for OUT. */
    outb(&f, 0x61, 0x01);
    program(&f, 2, 0x30, 5000);
    g_assert_cmphex(inb(&f, 0x61) & 0x23, ==, 0x01);
    to_tick(&f, 2000);
    outb(&f, 0x61, 0x02); /* the gate holds counting */
    g_assert_cmphex(inb(&f, 0x61) & 0x23, ==, 0x02);
    to_tick(&f, 9000);
    g_assert_cmpuint(latched(&f, 2), ==, 3000);
    outb(&f, 0x61, 0x03);
    to_tick(&f, 11999);
    g_assert_cmphex(inb(&f, 0x61) & 0x23, ==, 0x03);
    to_tick(&f, 12001);
    g_assert_cmphex(inb(&f, 0x61) & 0x23, ==, 0x23);
    /* Mode 1: a one-shot by the gate. */
    program(&f, 2, 0x32, 100);
    g_assert_cmphex(inb(&f, 0x61) & 0x20, ==, 0x20);
    to_tick(&f, 13000);
    g_assert_cmphex(inb(&f, 0x61) & 0x20, ==, 0x20);
    outb(&f, 0x61, 0x00);
    outb(&f, 0x61, 0x01);
    g_assert_cmphex(inb(&f, 0x61) & 0x20, ==, 0x00);
    to_tick(&f, 13101);
    g_assert_cmphex(inb(&f, 0x61) & 0x20, ==, 0x20);
    fixture_tear_down(&f);
}

static void test_speaker_audio(void)
{
    Fixture f;
    GError *err = NULL;
    Device *dev;
    g_autofree char *path = NULL;

    fixture_set_up(&f);
    path = object_path(f.pit);
    dev = device_new(f.vm, "isa-pcspk");
    object_set_str(dev, "pit", path);
    object_set_str(dev, "audiodev", "snd0");
    g_assert_false(device_realize(dev, f.pit->bus, &err));
    g_assert_nonnull(strstr(err->message, "audiodev=snd0"));
    g_clear_error(&err);
    object_unref(dev);
    fixture_tear_down(&f);
}

static void test_hpet_takes_over(void)
{
    Fixture f;

    fixture_set_up(&f);
    program(&f, 0, 0x34, 1000);
    irq_lower(device_irq_in(f.pit, 0));
    g_assert_cmpint(f.level, ==, 0);
    f.rises = 0;
    to_tick(&f, 100500);
    g_assert_cmpuint(f.rises, ==, 0);
    g_assert_cmpuint(latched(&f, 0), ==, 500); /* it counts all the same */
    irq_raise(device_irq_in(f.pit, 0));
    f.rises = 0;
    to_tick(&f, 101500);
    g_assert_cmpuint(f.rises, ==, 1);
    vm_reset(f.vm, SHUTDOWN_CAUSE_NONE);
    fixture_tear_down(&f);
}

static void test_state(void)
{
    Fixture f, g;
    g_autoptr(GByteArray) saved = g_byte_array_new(), again = g_byte_array_new();
    GError *err = NULL;
    const StateDesc *desc = type_state(type_find("isa-pit"));

    fixture_set_up(&f);
    program(&f, 0, 0x34, 1000);
    outb(&f, 0x61, 1);
    program(&f, 2, 0x30, 5000);
    to_tick(&f, 1234);
    outb(&f, 0x61, 0);
    outb(&f, 0x43, 0x40); /* a latch that is half read */
    inb(&f, 0x41);
    to_tick(&f, 2400);
    state_save_fields(desc, f.pit, saved);
    g_assert_cmpuint(saved->len, ==, 4 + 3 * 32 + 8);
    vm_unlock(f.vm); /* a thread holds one VM's lock at a time */
    fixture_set_up(&g);
    clock_virtual_advance_to(g.vm, clock_now(f.vm, CLOCK_VIRTUAL));
    state_load_fields(desc, g.pit, 3, saved->data, saved->len, &err);
    g_assert_no_error(err);
    state_save_fields(desc, g.pit, again);
    g_assert_cmpmem(saved->data, saved->len, again->data, again->len);
    g_assert_cmpuint(latched(&g, 2), ==, 5000 - 1234);
    g.level = 1;
    g.rises = 0;
    to_tick(&g, 3100);
    g_assert_cmpuint(g.rises, ==, 1);
    to_tick(&g, 4100);
    g_assert_cmpuint(g.rises, ==, 2);
    /* A count of 0 would divide by it. */
    memset(saved->data + 4, 0, 4);
    g_assert_false(state_load_fields(desc, g.pit, 3, saved->data, saved->len, &err));
    g_assert_nonnull(err);
    g_clear_error(&err);
    to_tick(&g, 5100);
    g_assert_cmpuint(g.rises, ==, 3);
    fixture_tear_down(&g);
    vm_lock(f.vm);
    fixture_tear_down(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/i8254/mode0", test_mode0);
    g_test_add_func("/i8254/mode2", test_mode2);
    g_test_add_func("/i8254/mode3", test_mode3);
    g_test_add_func("/i8254/mode4", test_mode4);
    g_test_add_func("/i8254/tiny-counts", test_tiny_counts);
    g_test_add_func("/i8254/latch-and-readback", test_latch_and_readback);
    g_test_add_func("/i8254/bcd", test_bcd);
    g_test_add_func("/i8254/hpet", test_hpet_takes_over);
    g_test_add_func("/i8254/state", test_state);
    g_test_add_func("/pcspk/port", test_speaker_port);
    g_test_add_func("/pcspk/audio", test_speaker_audio);
    return g_test_run();
}
