/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The serial and parallel ports, the debug console and the small ISA test devices, in this process:
 * a VM with an ISA bus and nothing else, time stepped by hand.
 */
#include <sys/socket.h>
#include <unistd.h>

#include "chardev/char.h"
#include "core/state.h"
#include "hw/isa/isa.h"
#include "tests/unit/oracle.h"
#include "util/loop.h"

#define COM1 0x3f8
#define LPT1 0x378

typedef struct Line {
    Irq irq;
    int level;
    unsigned calls, rises;
} Line;

typedef struct Bench {
    Vm *vm;
    IsaBus *isa;
    Line lines[ISA_NUM_IRQS];
    int peer;                /* our end of the serial line */
} Bench;

static void line_set(void *opaque, unsigned n, int level)
{
    Line *line = opaque;

    line->calls++;
    line->rises += level && !line->level;
    line->level = level;
}

static void bench_start(Bench *b)
{
    memset(b, 0, sizeof *b);
    b->vm = vm_new(NULL);
    g_assert_nonnull(b->vm);
    clock_virtual_detach(b->vm);
    b->isa = isa_bus_new(b->vm, NULL, &b->vm->system_memory, &b->vm->system_io);
    for (unsigned i = 0; i < ISA_NUM_IRQS; i++) {
        irq_init(&b->lines[i].irq, line_set, &b->lines[i], i);
        b->isa->irqs[i] = &b->lines[i].irq;
    }
    b->peer = -1;
}

static void bench_end(Bench *b)
{
    chardev_cleanup(b->vm);
    vm_free(b->vm);
    if (b->peer >= 0) {
        close(b->peer);
    }
}

static Device *add_device(Bench *b, const char *type, const char *chardev)
{
    Device *dev = device_new(b->vm, type);
    GError *err = NULL;

    if (chardev) {
        object_set_str(dev, "chardev", chardev);
    }
    g_assert_true(device_realize(dev, &b->isa->bus, &err));
    g_assert_no_error(err);
    device_reset(dev); /* as the machine does */
    return dev;
}

static void add_chardev(Bench *b, const char *text)
{
    GError *err = NULL;

    chardev_add_option(b->vm, text, &err);
    g_assert_no_error(err);
}

/* A serial port whose line ends in b->peer. */
static Device *start_serial(Bench *b)
{
    g_autofree char *text = NULL;
    int fds[2];

    bench_start(b);
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), ==, 0);
    text = g_strdup_printf("socket,id=c,fd=%d", fds[0]);
    add_chardev(b, text);
    b->peer = fds[1];
    return add_device(b, "isa-serial", "c");
}

static uint8_t in8(Bench *b, unsigned port)
{
    uint64_t value = 0;

    address_space_load(&b->vm->io, port, 1, &value);
    return (uint8_t)value;
}

static void out8(Bench *b, unsigned port, uint8_t value)
{
    address_space_store(&b->vm->io, port, 1, value);
}

/* Runs the loop until nothing is left to do at once: a queue with output is looked at every 4 ms at least. */
static void settle(Bench *b)
{
    while (loop_run_once(b->vm->loop, 5 * NSEC_PER_MSEC)) {
    }
}

static void send_text(Bench *b, const char *text)
{
    g_assert_cmpint(write(b->peer, text, strlen(text)), ==, (ssize_t)strlen(text));
    settle(b);
}

static void expect_text(Bench *b, const char *text)
{
    char buf[256];
    ssize_t n;

    settle(b);
    n = read(b->peer, buf, sizeof buf - 1);
    buf[MAX(n, 0)] = 0;
    g_assert_cmpstr(buf, ==, text);
}

/* ---- serial ------------------------------------------------------------------------ */

static void test_reset_values(void)
{
    static const uint8_t values[8] = {0x00, 0x00, 0x01, 0x00, 0x08, 0x60, 0xb0, 0x00};
    Bench b;
    Device *dev = start_serial(&b);

    for (unsigned i = 0; i < 8; i++) {
        g_assert_cmphex(in8(&b, COM1 + i), ==, values[i]);
    }
    out8(&b, COM1 + 7, 0x5a);
    out8(&b, COM1 + 1, 0x0f);
    device_reset(dev);
    for (unsigned i = 0; i < 8; i++) {
        g_assert_cmphex(in8(&b, COM1 + i), ==, values[i]);
    }
    g_assert_cmpint(b.lines[4].level, ==, 0);
    bench_end(&b);
}

/* The description of a busy port in QEMU 7.2's stream, without blanks; ' stands for ". */
#define FIELD(n, type, size) "{'name':'" n "','type':'" type "','size':" size "}"
#define BYTE(n) FIELD(n, "uint8", "1") ","
static const char described[] =
    "[{'name':'state','type':'struct','struct':{'vmsd_name':'serial','version':3,'fields':["
    FIELD("divider", "uint16", "2") "," BYTE("rbr") BYTE("ier") BYTE("iir") BYTE("lcr")
    BYTE("mcr") BYTE("lsr") BYTE("msr") BYTE("scr") FIELD("fcr_vmstate", "uint8", "1")
    "],'subsections':[{'vmsd_name':'serial/recv_fifo','version':1,'fields':["
    "{'name':'recv_fifo','type':'struct','struct':{'vmsd_name':'Fifo8','version':1,'fields':["
    FIELD("data", "buffer", "16") "," FIELD("head", "uint32", "4") ","
    FIELD("num", "uint32", "4") "]},'size':24}]},"
    "{'vmsd_name':'serial/fifo_timeout_timer','version':1,'fields':["
    FIELD("fifo_timeout_timer", "timer", "8") "]}]},'size':96}]";

static void test_state_description(void)
{
    json_object *all, *devices;
    bool found = false;
    Bench b;

    start_serial(&b);
    out8(&b, COM1 + 1, 0x0f);
    out8(&b, COM1 + 2, 0x81);
    out8(&b, COM1 + 4, 0x10);
    in8(&b, COM1 + 2);
    for (unsigned i = 0; i < 3; i++) {
        out8(&b, COM1, 'a');
        in8(&b, COM1 + 2);
    }
    all = state_describe_vm(b.vm);
    devices = json_object_object_get(all, "devices");
    for (size_t i = 0; i < json_object_array_length(devices); i++) {
        json_object *dev = json_object_array_get_idx(devices, i);

        if (!strcmp(json_object_get_string(json_object_object_get(dev, "name")), "serial")) {
            json_object *fields = json_object_object_get(dev, "fields");

            g_autofree char *text = g_strdup(
                json_object_to_json_string_ext(
                    fields, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));

            g_assert_cmpstr(g_strdelimit(text, "\"", '\''), ==, described);
            found = true;
        }
    }
    g_assert_true(found);
    json_object_put(all);
    bench_end(&b);
}

/* What QEMU 7.2 answered to the same random accesses (tests/unit/oracle.h). */
static void replay(Bench *b, unsigned base, const OracleStep *steps, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (steps[i].write) {
            out8(b, base + steps[i].reg, steps[i].value);
        } else {
            uint8_t value = in8(b, base + steps[i].reg);

            if (value != steps[i].value) {
                g_error("step %u: register %u reads 0x%02x, QEMU's 0x%02x", i, steps[i].reg, value,
                        steps[i].value);
            }
        }
    }
}

static void test_serial_like_qemu(void)
{
    Bench b;

    bench_start(&b);
    add_chardev(&b, "null,id=c");
    add_device(&b, "isa-serial", "c");
    replay(&b, COM1, oracle_serial, G_N_ELEMENTS(oracle_serial));
    bench_end(&b);
}

static void test_output_burst(void)
{
    static const char text[] = "Hello, world";
    Bench b;

    start_serial(&b);
    b.lines[4].calls = 0;
    for (const char *p = text; *p; p++) {
        g_assert_cmphex(in8(&b, COM1 + 5) & 0x20, ==, 0x20);
        out8(&b, COM1, (uint8_t)*p);
    }
    /* With its interrupt masked, output costs no call to the interrupt controller. */
    g_assert_cmpuint(b.lines[4].calls, ==, 0);
    expect_text(&b, text);
    bench_end(&b);
}

static void test_transmit_interrupt(void)
{
    Bench b;

    start_serial(&b);
    out8(&b, COM1 + 2, 0x01);
    out8(&b, COM1 + 1, 0x02);
    g_assert_cmpint(b.lines[4].level, ==, 1);
    /* A driver that never reads IIR gets an edge for each byte. */
    b.lines[4].rises = 0;
    out8(&b, COM1, 'a');
    out8(&b, COM1, 'b');
    g_assert_cmpuint(b.lines[4].rises, ==, 2);
    /* One that does gets one for a FIFO full of bytes. */
    g_assert_cmphex(in8(&b, COM1 + 2), ==, 0xc2);
    g_assert_cmpint(b.lines[4].level, ==, 0);
    g_assert_cmphex(in8(&b, COM1 + 2), ==, 0xc1);
    b.lines[4].calls = b.lines[4].rises = 0;
    for (unsigned i = 0; i < 16; i++) {
        out8(&b, COM1, (uint8_t)('0' + i));
    }
    g_assert_cmpuint(b.lines[4].rises, ==, 1);
    g_assert_cmpuint(b.lines[4].calls, ==, 1);
    g_assert_cmpint(b.lines[4].level, ==, 1);
    g_assert_cmphex(in8(&b, COM1 + 2), ==, 0xc2);
    expect_text(&b, "ab0123456789:;<=>?");
    bench_end(&b);
}

static void test_receive_without_fifo(void)
{
    Bench b;

    start_serial(&b);
    out8(&b, COM1 + 1, 0x01);
    send_text(&b, "xy");
    g_assert_cmphex(in8(&b, COM1 + 2), ==, 0x04);
    g_assert_cmpint(b.lines[4].level, ==, 1);
    g_assert_cmphex(in8(&b, COM1 + 5), ==, 0x61);
    g_assert_cmphex(in8(&b, COM1), ==, 'x');
    g_assert_cmpint(b.lines[4].level, ==, 0);
    settle(&b);
    g_assert_cmphex(in8(&b, COM1), ==, 'y');
    settle(&b);
    g_assert_cmphex(in8(&b, COM1 + 5), ==, 0x60);
    bench_end(&b);
}

static void test_receive_fifo_timeout(void)
{
    Bench b;

    start_serial(&b);
    out8(&b, COM1 + 2, 0x81); /* FIFO, trigger level 8 */
    out8(&b, COM1 + 1, 0x01);
    send_text(&b, "abc");
    g_assert_cmphex(in8(&b, COM1 + 2), ==, 0xc1);
    g_assert_cmpint(b.lines[4].level, ==, 0);
    g_assert_cmpint(clock_virtual_deadline(b.vm), <, INT64_MAX);
    /* Four characters of ten bits at 9600 baud. */
    clock_virtual_advance_to(b.vm, clock_now(b.vm, CLOCK_VIRTUAL) + 4 * 10 * (NSEC_PER_SEC / 9600) -
                                       1000);
    g_assert_cmpint(b.lines[4].level, ==, 0);
    clock_virtual_advance_to(b.vm, clock_now(b.vm, CLOCK_VIRTUAL) + 1000);
    g_assert_cmpint(b.lines[4].level, ==, 1);
    g_assert_cmphex(in8(&b, COM1 + 2), ==, 0xcc);
    g_assert_cmphex(in8(&b, COM1), ==, 'a');
    g_assert_cmphex(in8(&b, COM1 + 2), ==, 0xc1);
    send_text(&b, "123456789");
    g_assert_cmphex(in8(&b, COM1 + 2), ==, 0xc4);
    for (const char *p = "bc123456789"; *p; p++) {
        g_assert_cmphex(in8(&b, COM1), ==, (uint8_t)*p);
        settle(&b);
    }
    g_assert_cmphex(in8(&b, COM1 + 5), ==, 0x60);
    g_assert_cmpint(b.lines[4].level, ==, 0);
    bench_end(&b);
}

/* A guest that reads nothing gets 16 bytes; the rest waits outside. */
static void test_receive_flow_control(void)
{
    static const char text[] = "abcdefghijklmnopqrstuvwxyz";
    Bench b;

    start_serial(&b);
    out8(&b, COM1 + 2, 0x01);
    send_text(&b, text);
    g_assert_cmphex(in8(&b, COM1 + 5) & 0x02, ==, 0);
    for (const char *p = text; *p; p++) {
        g_assert_cmphex(in8(&b, COM1 + 5) & 0x01, ==, 0x01);
        g_assert_cmphex(in8(&b, COM1), ==, (uint8_t)*p);
        settle(&b);
    }
    g_assert_cmphex(in8(&b, COM1 + 5) & 0x01, ==, 0);
    bench_end(&b);
}

static void test_loopback(void)
{
    Bench b;

    start_serial(&b);
    out8(&b, COM1 + 4, 0x1a); /* loop, OUT2, RTS */
    g_assert_cmphex(in8(&b, COM1 + 6) & 0xf0, ==, 0x90);
    out8(&b, COM1, 0x41);
    g_assert_cmphex(in8(&b, COM1 + 5), ==, 0x61);
    send_text(&b, "zz"); /* stays outside */
    g_assert_cmphex(in8(&b, COM1), ==, 0x41);
    out8(&b, COM1, 0x42);
    out8(&b, COM1, 0x43); /* overrun */
    g_assert_cmphex(in8(&b, COM1 + 5), ==, 0x63);
    g_assert_cmphex(in8(&b, COM1 + 5), ==, 0x61);
    g_assert_cmphex(in8(&b, COM1), ==, 0x43);
    expect_text(&b, "");
    out8(&b, COM1 + 4, 0x08);
    settle(&b);
    g_assert_cmphex(in8(&b, COM1), ==, 'z');
    bench_end(&b);
}

/* The peer does not read: the transmitter is busy, the guest waits, nothing is lost. */
static void test_slow_reader(void)
{
    Bench b;
    unsigned sent = 0, got = 0;
    uint8_t buf[4096];

    start_serial(&b);
    out8(&b, COM1 + 1, 0x02);
    while (in8(&b, COM1 + 5) & 0x20) {
        out8(&b, COM1, (uint8_t)sent++);
        g_assert_cmpuint(sent, <, 8 * MIB);
        if (sent % 2048 == 0) {
            settle(&b);
        }
    }
    g_assert_cmphex(in8(&b, COM1 + 5) & 0x60, ==, 0x00);
    g_assert_cmpint(b.lines[4].level, ==, 0);
    for (unsigned idle = 0; idle < 3;) {
        ssize_t n = read(b.peer, buf, sizeof buf);

        for (ssize_t i = 0; i < n; i++) {
            g_assert_cmphex(buf[i], ==, (uint8_t)got++);
        }
        idle = n > 0 ? 0 : idle + 1;
        settle(&b);
    }
    g_assert_cmpuint(got, ==, sent);
    g_assert_cmphex(in8(&b, COM1 + 5) & 0x60, ==, 0x60);
    g_assert_cmpint(b.lines[4].level, ==, 1);
    bench_end(&b);
}

/* The peer goes away while the transmitter waits for it: the guest goes on. */
static void test_reader_dies(void)
{
    Bench b;

    start_serial(&b);
    for (unsigned sent = 0; in8(&b, COM1 + 5) & 0x20; sent++) {
        out8(&b, COM1, 'x');
        if (sent % 2048 == 0) {
            settle(&b);
        }
    }
    close(b.peer);
    b.peer = -1;
    settle(&b);
    g_assert_cmphex(in8(&b, COM1 + 5) & 0x60, ==, 0x60);
    out8(&b, COM1, 'y');
    g_assert_cmphex(in8(&b, COM1 + 5) & 0x60, ==, 0x60);
    bench_end(&b);
}

static void test_save_load(void)
{
    g_autoptr(GByteArray) first = g_byte_array_new(), second = g_byte_array_new();
    const StateDesc *desc;
    GError *err = NULL;
    Bench b, c;
    Device *from = start_serial(&b), *to;

    out8(&b, COM1 + 2, 0x81);
    out8(&b, COM1 + 1, 0x03);
    in8(&b, COM1 + 2);
    out8(&b, COM1 + 7, 0x77);
    send_text(&b, "abc");
    clock_virtual_advance_to(b.vm, clock_now(b.vm, CLOCK_VIRTUAL) + 100 * NSEC_PER_MSEC);
    send_text(&b, "d");
    desc = type_state(from->obj.type);
    state_save_fields(desc, from, first);

    to = start_serial(&c);
    clock_virtual_advance_to(c.vm, clock_now(b.vm, CLOCK_VIRTUAL));
    state_load_fields(desc, to, desc->version, first->data, first->len, &err);
    g_assert_no_error(err);
    state_save_fields(desc, to, second);
    g_assert_cmpmem(first->data, first->len, second->data, second->len);
    for (const char *p = "abcd"; *p; p++) {
        g_assert_cmphex(in8(&c, COM1), ==, (uint8_t)*p);
    }
    g_assert_cmphex(in8(&c, COM1 + 7), ==, 0x77);

    /* A FIFO index that does not fit is refused. */
    for (unsigned i = 0; i + 4 <= first->len; i++) {
        g_autoptr(GByteArray) bad = g_byte_array_new();

        g_byte_array_append(bad, first->data, first->len);
        memset(bad->data + i, 0xff, 4);
        state_load_fields(desc, to, desc->version, bad->data, bad->len, NULL);
        for (unsigned n = 0; n < 40; n++) {
            in8(&c, COM1);
        }
    }
    bench_end(&b);
    bench_end(&c);
}

static void test_bad_properties(void)
{
    static const struct {
        const char *type, *prop, *value, *message;
    } cases[] = {
        {"isa-serial", "index", "4", "*index 4*0 to 3*"},
        {"isa-serial", "irq", "77", "*irq 77*0 to 15*"},
        {"isa-serial", "iobase", "0xfffc", "*do not fit*"},
        {"isa-parallel", "index", "0", "*chardev is missing*"},
        {"isa-debugcon", "iobase", "0x402", "*chardev is missing*"},
        {"isa-debug-exit", "iobase", "0xffff", "*do not fit*"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        GError *err = NULL;
        Bench b;
        Device *dev;

        bench_start(&b);
        dev = device_new(b.vm, cases[i].type);
        object_set_str(dev, cases[i].prop, cases[i].value);
        g_assert_false(device_realize(dev, &b.isa->bus, &err));
        if (!g_pattern_match_simple(cases[i].message, err->message)) {
            g_error("%s", err->message);
        }
        g_error_free(err);
        object_unref(dev);
        bench_end(&b);
    }
}

static void test_four_ports(void)
{
    static const uint16_t bases[] = {0x3f8, 0x2f8, 0x3e8, 0x2e8};
    Bench b;

    bench_start(&b);
    for (unsigned i = 0; i < 4; i++) {
        add_device(&b, "isa-serial", NULL);
    }
    for (unsigned i = 0; i < 4; i++) {
        g_assert_cmphex(in8(&b, bases[i] + 5), ==, 0x60);
        out8(&b, bases[i] + 7, (uint8_t)i);
    }
    for (unsigned i = 0; i < 4; i++) {
        g_assert_cmphex(in8(&b, bases[i] + 7), ==, i);
    }
    bench_end(&b);
}

/* ---- the others -------------------------------------------------------------------- */

static void test_parallel_like_qemu(void)
{
    Bench b;

    bench_start(&b);
    add_chardev(&b, "ringbuf,id=c,size=64K");
    add_device(&b, "isa-parallel", "c");
    replay(&b, LPT1, oracle_parallel, G_N_ELEMENTS(oracle_parallel));
    bench_end(&b);
}

static void test_parallel_prints(void)
{
    char buf[16];
    Bench b;

    bench_start(&b);
    add_chardev(&b, "ringbuf,id=c");
    add_device(&b, "isa-parallel", "c");
    out8(&b, LPT1 + 2, 0x1c); /* selected, interrupt enabled */
    for (const char *p = "hi"; *p; p++) {
        out8(&b, LPT1, (uint8_t)*p);
        out8(&b, LPT1 + 2, 0x1d);
        out8(&b, LPT1 + 2, 0x1c);
        g_assert_cmpint(b.lines[7].level, ==, 1);
        in8(&b, LPT1 + 1);
        g_assert_cmpint(b.lines[7].level, ==, 0);
        in8(&b, LPT1 + 1);
        g_assert_cmphex(in8(&b, LPT1 + 1) & 0x80, ==, 0x80);
    }
    g_assert_cmpint(chardev_ringbuf_read(b.vm, "c", buf, sizeof buf, NULL), ==, 2);
    g_assert_cmpmem(buf, 2, "hi", 2);
    bench_end(&b);
}

static void test_debugcon(void)
{
    g_autofree char *buf = g_malloc(20000);
    Bench b;

    bench_start(&b);
    add_chardev(&b, "ringbuf,id=c");
    add_device(&b, "isa-debugcon", "c");
    g_assert_cmphex(in8(&b, 0xe9), ==, 0xe9);
    /* More than the buffer, before the loop runs: nothing is lost. */
    for (unsigned i = 0; i < 10000; i++) {
        out8(&b, 0xe9, (uint8_t)i);
    }
    settle(&b);
    g_assert_cmpint(chardev_ringbuf_read(b.vm, "c", buf, 20000, NULL), ==, 10000);
    for (unsigned i = 0; i < 10000; i++) {
        g_assert_cmphex((uint8_t)buf[i], ==, (uint8_t)i);
    }
    bench_end(&b);
}

static void test_debug_exit(void)
{
    Bench b;

    bench_start(&b);
    add_device(&b, "isa-debug-exit", NULL);
    g_assert_cmphex(in8(&b, 0x501), ==, 0);
    out8(&b, 0x501, 0x10);
    g_assert_cmpint(vm_main_loop(b.vm), ==, 0x21);
    bench_end(&b);
}

static void test_pc_testdev(void)
{
    uint64_t value;
    Bench b;

    bench_start(&b);
    add_device(&b, "pc-testdev", NULL);
    address_space_store(&b.vm->io, 0xe0, 4, 0x11223344);
    address_space_load(&b.vm->io, 0xe9, 2, &value);
    g_assert_cmphex(value, ==, 0x2233);
    out8(&b, 0xe1, 0xcd);
    address_space_load(&b.vm->io, 0xe0, 4, &value);
    g_assert_cmphex(value, ==, 0x1122cd44);
    out8(&b, 0x2005, 1);
    g_assert_cmpint(b.lines[5].level, ==, 1);
    out8(&b, 0x2005, 0);
    g_assert_cmpint(b.lines[5].level, ==, 0);
    out8(&b, 0x2010, 1); /* no such line */
    address_space_store(&b.vm->memory, 0xff000000, 8, 0x1122334455667788);
    address_space_load(&b.vm->memory, 0xff000003, 4, &value);
    g_assert_cmphex(value, ==, 0x22334455);
    address_space_store(&b.vm->io, 0xe4, 4, 0x12345678); /* flushes nothing */
    bench_end(&b);
}

static void test_pvpanic(void)
{
    Bench b;

    bench_start(&b);
    add_device(&b, "pvpanic", NULL);
    g_assert_cmphex(in8(&b, 0x505), ==, 3);
    out8(&b, 0x505, 0xf0); /* unknown events */
    out8(&b, 0x505, 2);    /* a crash kernel takes over */
    settle(&b);
    g_assert_cmpint(b.lines[0].calls, ==, 0);
    out8(&b, 0x505, 1);
    g_assert_cmpint(vm_main_loop(b.vm), ==, 0);
    bench_end(&b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/serial/reset-values", test_reset_values);
    g_test_add_func("/serial/like-qemu", test_serial_like_qemu);
    g_test_add_func("/serial/output-burst", test_output_burst);
    g_test_add_func("/serial/transmit-interrupt", test_transmit_interrupt);
    g_test_add_func("/serial/receive-without-fifo", test_receive_without_fifo);
    g_test_add_func("/serial/receive-fifo-timeout", test_receive_fifo_timeout);
    g_test_add_func("/serial/receive-flow-control", test_receive_flow_control);
    g_test_add_func("/serial/loopback", test_loopback);
    g_test_add_func("/serial/slow-reader", test_slow_reader);
    g_test_add_func("/serial/reader-dies", test_reader_dies);
    g_test_add_func("/serial/save-load", test_save_load);
    g_test_add_func("/serial/state-description", test_state_description);
    g_test_add_func("/serial/bad-properties", test_bad_properties);
    g_test_add_func("/serial/four-ports", test_four_ports);
    g_test_add_func("/parallel/like-qemu", test_parallel_like_qemu);
    g_test_add_func("/parallel/prints", test_parallel_prints);
    g_test_add_func("/debugcon/nothing-lost", test_debugcon);
    g_test_add_func("/debug-exit/status", test_debug_exit);
    g_test_add_func("/pvpanic/events", test_pvpanic);
    g_test_add_func("/pc-testdev/all", test_pc_testdev);
    return g_test_run();
}
