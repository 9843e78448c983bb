/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The keyboard controller with its keyboard and mouse; answers are those of QEMU 7.2. */
#include "hw/input/i8042.h"
#include "hw/input/ps2.h"

#include "tests/unit/device-fixture.h"

#define IRQ_KBD 1
#define IRQ_MOUSE 12
#define A20 20

static Device *open_kbc(Fixture *f)
{
    fixture_open(f);
    Device *dev = fixture_isa_device(f, "i8042");

    device_connect(dev, I8042_OUT_A20, &f->lines[A20]);
    return dev;
}

/* Everything that waits, as text: a byte of the mouse with an M before it. */
static const char *drain(Fixture *f)
{
    static char text[400];
    size_t len = 0;

    text[0] = 0;
    for (unsigned i = 0; i < 64; i++) {
        uint8_t status = inb(f, 0x64);

        if (!(status & 1)) {
            break;
        }
        len += g_snprintf(text + len, sizeof text - len, "%s%s%02x", len ? " " : "",
                          status & 0x20 ? "M" : "", inb(f, 0x60));
    }
    return text;
}

static const char *kbd(Fixture *f, uint8_t byte)
{
    outb(f, 0x60, byte);
    return drain(f);
}
static const char *mouse(Fixture *f, uint8_t byte)
{
    outb(f, 0x64, 0xd4);
    outb(f, 0x60, byte);
    return drain(f);
}
static const char *command(Fixture *f, uint8_t byte)
{
    outb(f, 0x64, byte);
    return drain(f);
}

static void test_commands(void)
{
    static const struct {
        uint8_t command;
        const char *answer;
    } known[] = {{0x20, "03"}, {0xa9, "00"}, {0xaa, "55"},
                 {0xab, "00"}, {0xc0, "80"}, {0xd0, "cf"}};
    Fixture f;

    open_kbc(&f);
    g_assert_cmphex(inb(&f, 0x64), ==, 0x18);
    g_assert_cmphex(inb(&f, 0x60), ==, 0);
    for (unsigned c = 0; c < 0x100; c++) {
        const char *want = "";

        if (c == 0x60 || (c >= 0xd1 && c <= 0xd4) || (c >= 0xf0 && !(c & 1))) {
            continue; /* they want a byte, or reset */
        }
        for (unsigned i = 0; i < G_N_ELEMENTS(known); i++) {
            want = known[i].command == c ? known[i].answer : want;
        }
        g_assert_cmpstr(command(&f, c), ==, want);
    }
    g_assert_cmphex(inb(&f, 0x64), ==, 0x1c);
    outb(&f, 0x64, 0x60);
    outb(&f, 0x60, 0x61);
    g_assert_cmpstr(command(&f, 0x20), ==, "61");
    outb(&f, 0x64, 0xd2);
    outb(&f, 0x60, 0x12);
    g_assert_cmpstr(drain(&f), ==, "12");
    outb(&f, 0x64, 0xd3);
    outb(&f, 0x60, 0x34);
    g_assert_cmpstr(drain(&f), ==, "M34");
    fixture_close(&f);
}

static void test_keyboard_commands(void)
{
    Fixture f;

    open_kbc(&f);
    outb(&f, 0x64, 0x60);
    outb(&f, 0x60, 0x43);
    for (unsigned c = 0; c < 0x100; c++) {
        const char *want = c == 0x00 || (c >= 0xf4 && c <= 0xf6) || c == 0xfa ? "fa"
                           : c == 0xee                                        ? "ee"
                           : c == 0xf2                                        ? "fa ab 41"
                           : c == 0xff                                        ? "fa aa"
                                                                              : "fe";

        if (c != 0xed && c != 0xf0 && c != 0xf3 && c != 0xfc) {
            g_assert_cmpstr(kbd(&f, c), ==, want);
        }
    }
    static const struct {
        uint8_t byte;
        const char *answer;
    } sets[] = {{0, "fa 41"}, {1, "fa"}, {0, "fa 43"}, {3, "fa"},
                {0, "fa 3f"}, {4, "fe"}, {2, "fa"}};
    for (unsigned i = 0; i < G_N_ELEMENTS(sets); i++) {
        g_assert_cmpstr(kbd(&f, 0xf0), ==, "fa");
        g_assert_cmpstr(kbd(&f, sets[i].byte), ==, sets[i].answer);
    }
    outb(&f, 0x64, 0x60);
    outb(&f, 0x60, 0x03);
    g_assert_cmpstr(kbd(&f, 0xf2), ==, "fa ab 83");
    kbd(&f, 0xf0);
    g_assert_cmpstr(kbd(&f, 0), ==, "fa 02");
    fixture_close(&f);
}

static void test_mouse_commands(void)
{
    static const struct {
        uint8_t byte;
        const char *answer;
    } script[] = {
        {0xff, "Mfa Maa M00"},
        {0xe9, "Mfa M00 M02 M64"},
        {0xee, "Mfa"},
        {0x12, "M12"},
        {0xea, "Mea"},
        {0xec, "Mfa"},
        {0xf4, "Mfa"},
        {0xe9, "Mfa M20 M02 M64"},
        {0xe8, "Mfa"},
        {0x03, "Mfa"},
        {0xe9, "Mfa M20 M03 M64"},
        {0xf3, "Mfa"},
        {200, "Mfa"},
        {0xf3, "Mfa"},
        {100, "Mfa"},
        {0xf3, "Mfa"},
        {80, "Mfa"},
        {0xf2, "Mfa M03"},
        {0xf3, "Mfa"},
        {200, "Mfa"},
        {0xf3, "Mfa"},
        {200, "Mfa"},
        {0xf3, "Mfa"},
        {80, "Mfa"},
        {0xf2, "Mfa M04"},
        {0xeb, "Mfa M08 M00 M00 M00"},
        {0xf0, "Mfa"},
        {0xe9, "Mfa M60 M03 M50"},
        {0xe7, "Mfa"},
        {0xe9, "Mfa M70 M03 M50"},
        {0x55, ""},
        {0xff, "Mfa Maa M00"},
    };
    Fixture f;

    open_kbc(&f);
    for (unsigned i = 0; i < G_N_ELEMENTS(script); i++) {
        g_assert_cmpstr(mouse(&f, script[i].byte), ==, script[i].answer);
    }
    fixture_close(&f);
}

static const char *press(Fixture *f, Device *dev, unsigned qnum, bool down)
{
    ps2_keyboard_key(i8042_keyboard(dev), qnum, down);
    return drain(f);
}

static void test_keys(void)
{
    Fixture f;
    Device *dev = open_kbc(&f);

    g_assert_cmpstr(press(&f, dev, 0x1e, true), ==, "1c"); /* power-on: set 2, not translated */
    kbd(&f, 0xf5);
    g_assert_cmpstr(press(&f, dev, 0x1e, true), ==, "");
    outb(&f, 0x64, 0x60);
    outb(&f, 0x60, 0x43);
    kbd(&f, 0xf4);
    g_assert_cmpstr(press(&f, dev, 0x1e, true), ==, "1e");
    g_assert_cmpstr(press(&f, dev, 0x1e, false), ==, "9e");
    g_assert_cmpstr(press(&f, dev, 0xcb, true), ==, "e0 4b");
    g_assert_cmpstr(press(&f, dev, PS2_KEY_PAUSE, true), ==, "e1 1d 45 e1 9d c5");
    g_assert_cmpstr(press(&f, dev, PS2_KEY_PAUSE, false), ==, "");
    g_assert_cmpstr(press(&f, dev, PS2_KEY_PRINT, true), ==, "e0 2a e0 37");
    g_assert_cmpstr(press(&f, dev, PS2_KEY_PRINT, false), ==, "e0 b7 e0 aa");
    g_assert_cmpstr(press(&f, dev, 0x38, true), ==, "38");
    g_assert_cmpstr(press(&f, dev, PS2_KEY_PRINT, true), ==, "54");
    press(&f, dev, 0x38, false);
    /* Set 2 without translation. */
    outb(&f, 0x64, 0x60);
    outb(&f, 0x60, 0x03);
    g_assert_cmpstr(press(&f, dev, 0x1e, true), ==, "1c");
    g_assert_cmpstr(press(&f, dev, 0x1e, false), ==, "f0 1c");
    g_assert_cmpstr(press(&f, dev, 0xcb, false), ==, "e0 f0 6b");
    g_assert_cmpstr(press(&f, dev, PS2_KEY_PAUSE, true), ==, "e1 14 77 e1 f0 14 f0 77");
    g_assert_cmpstr(press(&f, dev, 0x41, true), ==, "83");
    /* Set 3, translated or not. */
    kbd(&f, 0xf0);
    kbd(&f, 3);
    g_assert_cmpstr(press(&f, dev, 0x1d, true), ==, "11");
    g_assert_cmpstr(press(&f, dev, 0x1d, false), ==, "f0 11");
    outb(&f, 0x64, 0x60);
    outb(&f, 0x60, 0x43);
    g_assert_cmpstr(press(&f, dev, 0x38, true), ==, "71");
    g_assert_cmpstr(press(&f, dev, 0x38, false), ==, "f1");
    g_assert_cmpstr(press(&f, dev, PS2_KEY_PAUSE, true), ==, "77");
    for (unsigned i = 0; i < 600; i++) {
        press(&f, dev, i, true);
    }
    fixture_close(&f);
}

/* A guest that does not read: whole codes are dropped, none is cut. */
static void test_full_queue(void)
{
    Fixture f;
    Device *dev = open_kbc(&f);

    outb(&f, 0x64, 0x60);
    outb(&f, 0x60, 0x43);
    kbd(&f, 0xf4);
    for (unsigned i = 0; i < 100; i++) {
        ps2_keyboard_key(i8042_keyboard(dev), 0xcb, true);
        ps2_keyboard_key(i8042_keyboard(dev), PS2_KEY_PAUSE, true);
    }
    const char *got = drain(&f);
    g_assert_cmpuint(strlen(got), <=, 16 * 3);
    g_assert_true(g_str_has_prefix(got, "e0 4b e1 1d 45 e1 9d c5 e0 4b"));
    /* A reply comes before what is queued, and replaces one that was not read. */
    ps2_keyboard_key(i8042_keyboard(dev), 0x1e, true);
    outb(&f, 0x60, 0xf2);
    outb(&f, 0x60, 0xee);
    g_assert_cmpstr(drain(&f), ==, "ee 1e");
    fixture_close(&f);
}

static void test_mouse_movement(void)
{
    Fixture f;
    Device *dev = open_kbc(&f), *m;

    m = i8042_mouse(dev);
    ps2_mouse_event(m, 5, 5, 0, 0);
    g_assert_cmpstr(drain(&f), ==, "");
    mouse(&f, 0xf4);
    ps2_mouse_event(m, 5, 3, 0, PS2_MOUSE_LEFT);
    g_assert_cmpstr(drain(&f), ==, "M29 M05 Mfd");
    ps2_mouse_event(m, -300, 0, 0, 0);
    g_assert_cmpstr(drain(&f), ==, "M18 M81 M00 M18 M81 M00 M18 Md2 M00");
    ps2_mouse_event(m, INT32_MAX, INT32_MIN, INT32_MAX, 0xff);
    drain(&f);
    for (unsigned i = 0; i < 3; i++) {
        static const uint8_t rates[] = {200, 200, 80};

        mouse(&f, 0xf3);
        mouse(&f, rates[i]);
    }
    mouse(&f, 0xf0); /* remote: only when polled */
    drain(&f);
    ps2_mouse_event(m, 0, 0, -1, PS2_MOUSE_SIDE | PS2_MOUSE_RIGHT);
    g_assert_cmpstr(drain(&f), ==, "");
    fixture_close(&f);
}

static void test_interrupts(void)
{
    Fixture f;

    open_kbc(&f);
    outb(&f, 0x60, 0xf2);
    g_assert_cmpint(f.level[IRQ_KBD], ==, 1);
    inb(&f, 0x60);
    g_assert_cmpuint(f.raised[IRQ_KBD], ==, 2); /* an edge for each byte */
    drain(&f);
    g_assert_cmpint(f.level[IRQ_KBD], ==, 0);
    outb(&f, 0x64, 0xd4);
    outb(&f, 0x60, 0xf2);
    g_assert_cmpint(f.level[IRQ_MOUSE], ==, 1);
    drain(&f);
    outb(&f, 0x64, 0x60);
    outb(&f, 0x60, 0x00);
    outb(&f, 0x60, 0xf2);
    g_assert_cmpint(f.level[IRQ_KBD], ==, 0);
    /* A disabled keyboard's bytes wait. */
    drain(&f);
    outb(&f, 0x60, 0xf2);
    inb(&f, 0x60);
    outb(&f, 0x64, 0xad);
    inb(&f, 0x60);
    g_assert_cmphex(inb(&f, 0x64) & 1, ==, 0);
    g_assert_cmpstr(command(&f, 0xae), ==, "83");
    fixture_close(&f);
}

static void test_a20_and_reset(void)
{
    Fixture f;

    open_kbc(&f);
    outb(&f, 0x64, 0xdd);
    g_assert_cmpint(f.level[A20], ==, 0);
    outb(&f, 0x64, 0xdf);
    g_assert_cmpint(f.level[A20], ==, 1);
    outb(&f, 0x64, 0xd1);
    outb(&f, 0x60, 0xdd);
    g_assert_cmpint(f.level[A20], ==, 0);
    g_assert_cmpstr(command(&f, 0xd0), ==, "dd");
    outb(&f, 0x64, 0xfe);
    fixture_close(&f);
}

/* Waiting bytes of keyboard, mouse and controller, as QEMU names them (its bytes for this state).
 */
static void test_state(void)
{
    static const uint8_t want[] = {0x00, 0x39, 0x33, 0x38};
    Fixture a, b;
    Device *from = open_kbc(&a);

    outb(&a, 0x60, 0xf2);
    inb(&a, 0x60);
    outb(&a, 0x64, 0xd4);
    outb(&a, 0x60, 0xf2);
    outb(&a, 0x64, 0xad);
    outb(&a, 0x64, 0xa7);
    outb(&a, 0x64, 0x20);
    outb(&a, 0x64, 0xd3);
    outb(&a, 0x60, 0x99);
    g_assert_cmphex(inb(&a, 0x60), ==, 0xab);
    GByteArray *bytes = fixture_save(from), *kbd_bytes = fixture_save(i8042_keyboard(from)),
               *mouse_bytes = fixture_save(i8042_mouse(from));
    g_assert_cmpmem(bytes->data, 4, want, 4);
    g_assert_cmpmem(bytes->data + bytes->len - 10, 10, "\0\0\0\0\0\0\0\4\xab\x99", 10);

    Device *to = open_kbc(&b);
    fixture_load(i8042_keyboard(to), kbd_bytes);
    fixture_load(i8042_mouse(to), mouse_bytes);
    fixture_load(to, bytes);
    g_assert_cmphex(inb(&b, 0x64), ==, 0x39);
    g_assert_cmphex(inb(&b, 0x60), ==, 0x99);
    g_assert_cmphex(inb(&b, 0x64), ==, 0x18);
    g_assert_cmpstr(command(&b, 0xa8), ==, "Mfa M00");
    g_assert_cmpstr(command(&b, 0xae), ==, "83");
    fixture_refuses(i8042_keyboard(to), kbd_bytes, 10, 0x02); /* queue.wptr 512 + */
    fixture_refuses(i8042_keyboard(to), kbd_bytes, 4, 0xff);  /* queue.rptr negative */
    fixture_refuses(i8042_keyboard(to), kbd_bytes, kbd_bytes->len - 2, 0x40); /* cwptr */
    g_byte_array_unref(bytes);
    g_byte_array_unref(kbd_bytes);
    g_byte_array_unref(mouse_bytes);
    fixture_close(&a);
    fixture_close(&b);
}

/* The output port's own subsection, whose name has no slash. */
static void test_state_outport(void)
{
    Fixture a, b;
    Device *from = open_kbc(&a);

    outb(&a, 0x64, 0xdd);
    GByteArray *bytes = fixture_save(from);
    Device *to = open_kbc(&b);
    fixture_load(to, bytes);
    g_assert_cmpstr(command(&b, 0xd0), ==, "cd");
    g_byte_array_unref(bytes);
    fixture_close(&a);
    fixture_close(&b);
}

static void test_bad_guest(void)
{
    Fixture f;
    Device *dev = open_kbc(&f);

    g_autoptr(GRand) rand = g_rand_new_with_seed(9);
    for (unsigned i = 0; i < 200000; i++) {
        uint32_t r = g_rand_int(rand);

        switch (r & 7) {
        case 0:
            outb(&f, 0x64, r >> 8);
            break;
        case 1:
            outb(&f, 0x60, r >> 8);
            break;
        case 2:
            ps2_keyboard_key(i8042_keyboard(dev), (r >> 8) & 0x1ff, r & 0x100000);
            break;
        case 3:
            ps2_mouse_event(i8042_mouse(dev), (int8_t)(r >> 8), (int8_t)(r >> 16),
                            (int8_t)(r >> 24), r >> 4);
            break;
        default:
            inb(&f, r & 8 ? 0x60 : 0x64);
        }
    }
    fixture_close(&f);
}

static void test_port92(void)
{
    Fixture f;

    fixture_open(&f);
    Device *dev = fixture_isa_device(&f, "port92");
    device_connect(dev, 0, &f.lines[A20]);
    g_assert_cmphex(inb(&f, 0x92), ==, 0);
    outb(&f, 0x92, 2);
    g_assert_cmpint(f.level[A20], ==, 1);
    g_assert_cmphex(inb(&f, 0x92), ==, 2);
    GByteArray *bytes = fixture_save(dev);
    outb(&f, 0x92, 0);
    g_assert_cmpint(f.level[A20], ==, 0);
    fixture_load(dev, bytes);
    g_assert_cmphex(inb(&f, 0x92), ==, 2);
    g_byte_array_unref(bytes);
    fixture_close(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/i8042/commands", test_commands);
    g_test_add_func("/i8042/keyboard-commands", test_keyboard_commands);
    g_test_add_func("/i8042/mouse-commands", test_mouse_commands);
    g_test_add_func("/i8042/keys", test_keys);
    g_test_add_func("/i8042/full-queue", test_full_queue);
    g_test_add_func("/i8042/mouse-movement", test_mouse_movement);
    g_test_add_func("/i8042/interrupts", test_interrupts);
    g_test_add_func("/i8042/a20-and-reset", test_a20_and_reset);
    g_test_add_func("/i8042/state", test_state);
    g_test_add_func("/i8042/state-outport", test_state_outport);
    g_test_add_func("/i8042/bad-guest", test_bad_guest);
    g_test_add_func("/port92", test_port92);
    return g_test_run();
}
