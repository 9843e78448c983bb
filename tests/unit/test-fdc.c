/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The floppy controller. The answers are those that QEMU 7.2 gives to the same bytes. */
#include "hw/block/fdc.h"

#include <glib/gstdio.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "block/block_int.h"
#include "hw/dma/i8257.h"
#include "tests/unit/device-fixture.h"

#define IRQ 6
#define MEMORY 0x80000

typedef struct Floppy {
    Fixture f;
    Device *fdc, *dma;
    char *image;
} Floppy;

/* Sector n holds n, little-endian, 256 times. */
static char *make_image(unsigned kib)
{
    char *name = g_build_filename(g_get_tmp_dir(), "test-fdc-XXXXXX", NULL);
    int fd = g_mkstemp(name);
    uint8_t sector[512];

    for (unsigned i = 0; i < kib * 2; i++) {
        for (unsigned b = 0; b < sizeof sector; b += 2) {
            store16_le(sector + b, i);
        }
        g_assert_cmpint(write(fd, sector, sizeof sector), ==, sizeof sector);
    }
    close(fd);
    return name;
}

static void add_drive(Floppy *t, const char *image, const char *options)
{
    g_autofree char *text = g_strdup_printf("file=%s,format=raw,if=floppy%s", image, options);
    DriveInfo *info = NULL;
    GError *err = NULL;

    if (!blk_add_drive(t->f.vm, text, NULL, &info, &err)) {
        g_error("drive: %s", err->message);
    }
    Device *floppy = device_new(t->f.vm, "floppy");
    object_set_str(floppy, "drive", info->id);
    fixture_realize(floppy, bus_find(t->f.vm, "floppy-bus.0"));
}

/* image NULL: a controller without drives. */
static void open_fdc(Floppy *t, const char *image, const char *options)
{
    fixture_open(&t->f);
    t->image = NULL;
    t->dma = fixture_isa_device(&t->f, "i8257");
    t->fdc = fixture_isa_device(&t->f, "isa-fdc");
    if (image) {
        add_drive(t, image, options);
    }
    device_reset(t->fdc);
}

static void close_fdc(Floppy *t)
{
    fixture_enter(&t->f);
    blk_drain_all(t->f.vm);
    while (t->f.vm->devices->len) {
        device_unrealize(g_ptr_array_index(t->f.vm->devices, t->f.vm->devices->len - 1));
    }
    blk_cleanup(t->f.vm);
    fixture_close(&t->f);
}

/* Lets the medium and the timers do their work. */
static void settle(Floppy *t)
{
    fixture_enter(&t->f);
    blk_drain_all(t->f.vm);
    step(&t->f, 50 * NSEC_PER_MSEC);
    blk_drain_all(t->f.vm);
}

static uint8_t msr(Floppy *t)
{
    return inb(&t->f, 0x3f4);
}

/* The result bytes as text, or "" when there is no result. */
static const char *result(Floppy *t)
{
    static char text[128];
    size_t len = 0;

    text[0] = 0;
    while ((msr(t) & 0xf0) == 0xd0 && len < 100) {
        len +=
            g_snprintf(text + len, sizeof text - len, "%s%02x", len ? " " : "", inb(&t->f, 0x3f5));
    }
    return text;
}

static void send(Floppy *t, const char *bytes)
{
    g_auto(GStrv) part = g_strsplit(bytes, " ", -1);

    for (unsigned i = 0; part[i]; i++) {
        g_assert_cmphex(msr(t) & 0xe0, ==, 0x80);
        outb(&t->f, 0x3f5, strtoul(part[i], NULL, 16));
    }
}

static const char *command(Floppy *t, const char *bytes)
{
    send(t, bytes);
    settle(t);
    return result(t);
}

static void reset(Floppy *t)
{
    outb(&t->f, 0x3f2, 0x00);
    outb(&t->f, 0x3f2, 0x1c);
    for (unsigned i = 0; i < 4; i++) {
        command(t, "08");
    }
    outb(&t->f, 0x3f7, 0);
    command(t, "03 df 02");
}

static void program_dma(Floppy *t, bool to_memory, unsigned len)
{
    Fixture *f = &t->f;

    outb(f, 0xa, 6);
    outb(f, 0xc, 0);
    outb(f, 4, MEMORY & 0xff);
    outb(f, 4, (MEMORY >> 8) & 0xff);
    outb(f, 0x81, MEMORY >> 16);
    outb(f, 5, (len - 1) & 0xff);
    outb(f, 5, (len - 1) >> 8);
    outb(f, 0xb, to_memory ? 0x46 : 0x4a);
    outb(f, 0xa, 2);
}

/* ---- registers and commands without data ------------------------------------------------------
 */

static void test_power_on(void)
{
    Floppy t;
    g_autofree char *image = make_image(1440);

    open_fdc(&t, image, "");
    g_assert_cmphex(inb(&t.f, 0x3f0), ==, 0xff);
    g_assert_cmphex(inb(&t.f, 0x3f1), ==, 0xc0);
    g_assert_cmphex(inb(&t.f, 0x3f2), ==, 0x0c);
    g_assert_cmphex(inb(&t.f, 0x3f3), ==, 0x00);
    g_assert_cmphex(inb(&t.f, 0x3f4), ==, 0x80);
    g_assert_cmphex(inb(&t.f, 0x3f5), ==, 0x00);
    g_assert_cmphex(inb(&t.f, 0x3f6), ==, 0xff);
    g_assert_cmphex(inb(&t.f, 0x3f7), ==, 0x80);
    g_assert_cmpint(fdc_drive_type(t.fdc, 0), ==, FLOPPY_144);
    g_assert_cmpint(fdc_drive_type(t.fdc, 1), ==, FLOPPY_NONE);
    close_fdc(&t);
    g_unlink(image);
}

typedef struct Exchange {
    const char *command, *result;
} Exchange;

static void exchange(Floppy *t, const Exchange *script, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        const char *got = command(t, script[i].command);

        if (strcmp(got, script[i].result)) {
            g_error("step %u: '%s' gave '%s', not '%s'", i, script[i].command, got,
                    script[i].result);
        }
    }
}

static void test_commands(void)
{
    static const Exchange after_reset[] = {
        {"08", "c0 00"}, {"08", "c1 00"}, {"08", "c2 00"}, {"08", "c3 00"}, {"08", "80"},
    };
    static const Exchange script[] = {
        {"10", "90"},
        {"18", "41"},
        {"0e", "00 00 00 00 00 01 12 00 60 00"},
        {"03 df 02", ""},
        {"13 00 57 00", ""},
        {"0e", "00 00 00 00 0d 03 12 00 57 00"},
        {"94", "10"},
        {"0e", "00 00 00 00 0d 03 12 80 57 00"},
        {"14", "00"},
        {"12 84", ""},
        {"12 00", ""},
        {"04 00", "38"},
        {"04 01", "79"},
        {"04 04", "3c"},
        {"07 00", ""},
        {"08", "20 00"},
        {"08", "80"},
        {"0f 00 05", ""},
        {"08", "20 05"},
        {"04 00", "28"},
        {"0e", "05 00 00 00 0d 03 12 10 57 00"},
        {"8f 00 03", ""},
        {"08", "20 02"},
        {"cf 04 02", ""},
        {"08", "20 04"},
        {"0e", "04 00 00 00 0d 03 12 10 57 00"},
        {"17 00 8e", "00"},
        {"33 00", ""},
        {"8e c0 10 20 30 c0", "c0 c0 00 00"},
        {"4e 11 11 11 11 11 11 11 11 11 11 11 11 11 11 11 11 11", ""},
        {"0f 00 5a", ""},
        {"08", "20 11"},
        {"0e", "11 11 00 00 11 23 12 10 11 11"},
        {"0f 01 03", ""},
        {"08", "21 11"},
        {"07 01", ""},
        {"08", "21 11"},
        {"0f 04 07", ""},
        {"08", "20 07"},
        {"04 00", "28"},
        {"04 04", "2c"},
        {"cf 00 64", ""},
        {"08", "20 4f"},
        {"8f 00 64", ""},
        {"08", "20 00"},
        {"00", "80"},
        {"cd 0 0 0 0 0 0 0 0 0 0", "80"},
    };
    Floppy t;
    g_autofree char *image = make_image(1440);

    open_fdc(&t, image, "");
    outb(&t.f, 0x3f2, 0x00);
    outb(&t.f, 0x3f2, 0x1c);
    g_assert_cmpint(t.f.level[IRQ], ==, 1);
    exchange(&t, after_reset, G_N_ELEMENTS(after_reset));
    g_assert_cmpint(t.f.level[IRQ], ==, 0);
    exchange(&t, script, G_N_ELEMENTS(script));
    /* READ ID sees the next sector each time; a wrong data rate sees none. */
    static const Exchange ids[] = {{"4a 00", "00 00 00 00 00 02 02"},
                                   {"4a 04", "04 00 00 00 01 03 02"},
                                   {"4a 01", "00 00 00 00 00 04 02"}};
    reset(&t);
    exchange(&t, ids, G_N_ELEMENTS(ids));
    outb(&t.f, 0x3f7, 2);
    g_assert_cmpstr(command(&t, "4a 00"), ==, "40 01 00 00 00 05 02");
    close_fdc(&t);
    g_unlink(image);
}

/* How many parameters each opcode takes. */
static void test_parameter_counts(void)
{
    Floppy t;

    open_fdc(&t, NULL, NULL);
    for (unsigned op = 0; op < 256; op++) {
        unsigned low = op & 0x1f, n = 0, want = 0;

        if (low == 0x06 || low == 0x05 || low == 0x0c || low == 0x11 || low == 0x16 ||
            low == 0x19 || low == 0x1d || (op & 0x3f) == 0x09 || (op & 0xbf) == 0x02) {
            want = 8;
        }
        want =
            (op & 0xbf) == 0x0a || op == 0x07 || op == 0x12 || op == 0x33 || op == 0x04 ? 1 : want;
        want = op == 0x03 || op == 0x0f || op == 0x8f || op == 0xcf || op == 0x17 ? 2 : want;
        want = op == 0x13                          ? 3
               : op == 0x8e || (op & 0xbf) == 0x0d ? 5
               : op == 0xcd                        ? 10
               : op == 0x4e                        ? 17
                                                   : want;
        reset(&t);
        outb(&t.f, 0x3f5, op);
        while (msr(&t) == 0x90) {
            outb(&t.f, 0x3f5, 0x80);
            n++;
        }
        if (n != want) {
            g_error("opcode 0x%02x took %u parameters, not %u", op, n, want);
        }
        settle(&t);
        result(&t);
    }
    close_fdc(&t);
}

static void test_reset(void)
{
    Floppy t;
    g_autofree char *image = make_image(1440);

    open_fdc(&t, image, "");
    reset(&t);
    command(&t, "0f 00 05");
    command(&t, "08");
    outb(&t.f, 0x3f4, 0x80); /* DSR */
    g_assert_cmphex(inb(&t.f, 0x3f2), ==, 0x0c);
    g_assert_cmphex(inb(&t.f, 0x3f1), ==, 0xc0);
    /* Another command may come first. */
    g_assert_cmpstr(command(&t, "10"), ==, "90");
    g_assert_cmpstr(command(&t, "08"), ==, "c0 00");
    outb(&t.f, 0x3f3, 0xff);
    g_assert_cmphex(inb(&t.f, 0x3f3), ==, 0x04);
    g_assert_cmpstr(command(&t, "04 01"), ==, "39"); /* the drives are exchanged */
    g_assert_cmpstr(command(&t, "04 00"), ==, "78");
    outb(&t.f, 0x3f2, 0xff);
    g_assert_cmphex(inb(&t.f, 0x3f2), ==, 0xff);
    g_assert_cmphex(inb(&t.f, 0x3f1), ==, 0xe3);
    close_fdc(&t);
    g_unlink(image);
}

/* ---- transfers by DMA
 * ----------------------------------------------------------------------------- */

typedef struct Transfer {
    const char *command;
    unsigned len;     /* of the DMA channel */
    bool from_memory; /* memory is full of 5ah */
    const char *result;
    unsigned bytes;  /* that changed in memory */
    int first, last; /* sectors that they came from */
    uint16_t count;  /* the channel's count register afterwards */
} Transfer;

static const Transfer transfers[] = {
    {"e6 00 00 00 01 02 12 1b ff", 512, false, "00 00 00 00 00 02 02", 512, 0, 0, 0xffff},
    {"e6 00 00 00 01 02 12 1b ff", 9216, false, "04 00 00 00 01 01 02", 9216, 0, 17, 0xffff},
    {"e6 00 00 00 01 02 12 1b ff", 10240, false, "04 00 00 00 01 03 02", 10240, 0, 19, 0xffff},
    {"66 00 00 00 01 02 12 1b ff", 10240, false, "20 00 00 01 00 01 02", 9216, 0, 17, 0x03ff},
    {"66 00 00 00 01 02 09 1b ff", 4608, false, "20 00 00 01 00 01 02", 4608, 0, 8, 0xffff},
    {"66 00 00 00 01 02 09 1b ff", 6144, false, "20 00 00 01 00 01 02", 4608, 0, 8, 0x05ff},
    {"e6 00 00 00 01 02 12 1b ff", 100, false, "20 00 00 00 00 01 02", 100, 0, 0, 0xffff},
    {"e6 04 00 01 03 02 12 1b ff", 512, false, "04 00 00 00 01 04 02", 512, 20, 20, 0xffff},
    {"e6 00 03 00 03 02 12 1b ff", 512, false, "20 00 00 03 00 04 02", 512, 110, 110, 0xffff},
    {"e6 00 51 00 03 02 12 1b ff", 512, false, "40 00 00 51 00 03 02", 0, 0, 0, 0x01ff},
    {"e6 00 50 00 03 02 12 1b ff", 512, false, "20 00 00 50 00 04 02", 512, 0, 0,
     0xffff}, /* zeros */
    {"e6 00 00 00 13 02 12 1b ff", 512, false, "40 80 00 00 00 13 02", 0, 0, 0, 0x01ff},
    {"e6 00 00 00 00 02 12 1b ff", 512, false, "20 00 00 00 00 01 02", 512, 0, 0,
     0xffff}, /* zeros */
    {"e6 00 00 01 01 02 12 1b ff", 512, false, "04 00 00 00 01 02 02", 512, 18, 18, 0xffff},
    {"e6 00 00 00 05 02 03 1b ff", 512, false, "40 01 00 00 00 05 02", 0, 0, 0, 0x01ff},
    {"e6 00 00 00 01 00 12 1b 80", 512, false, "00 00 00 00 00 01 02", 128, 0, 0, 0x017f},
    {"e6 00 00 00 01 00 12 1b 80", 128, false, "00 00 00 00 00 01 02", 128, 0, 0, 0xffff},
    {"e6 00 00 00 01 03 12 1b ff", 2048, false, "00 00 00 00 00 05 02", 2048, 0, 3, 0xffff},
    {"e6 01 00 00 01 02 12 1b ff", 512, false, "41 80 00 00 00 01 02", 0, 0, 0, 0x01ff},
    {"c5 00 02 00 01 02 12 1b ff", 1024, true, "20 00 00 02 00 03 02", 0, 0, 0, 0xffff},
    {"c9 00 02 00 04 02 12 1b ff", 512, true, "60 00 00 02 00 03 02", 0, 0, 0, 0x01ff},
    {"cc 00 02 00 04 02 12 1b ff", 512, false, "60 00 00 02 00 03 02", 0, 0, 0, 0x01ff},
    {"42 00 02 00 04 02 03 1b ff", 1536, false, "00 00 00 02 00 04 02", 0, 0, 0, 0x05ff},
    {"42 00 02 00 04 02 12 1b ff", 9216, false, "20 00 00 03 00 01 02", 7680, 75, 89, 0x05ff},
    {"d6 00 02 00 04 02 12 1b ff", 512, false, "20 00 00 03 00 01 02", 0, 0, 0, 0x01ff},
    {"d1 00 02 00 01 02 12 1b 01", 512, true, "20 00 08 02 00 01 02", 0, 0, 0, 0x01ff},
    {"d1 00 02 00 05 02 12 1b 01", 512, true, "00 00 08 02 00 06 02", 0, 0, 0, 0xffff},
    {"d9 00 02 00 05 02 12 1b 01", 512, true, "00 00 08 02 00 06 02", 0, 0, 0, 0xffff},
    {"dd 00 02 00 05 02 12 1b 01", 512, true, "00 00 08 02 00 05 02", 0, 0, 0, 0x01ff},
    {"e6 00 00 01 12 02 12 1b ff", 1024, false, "20 00 00 01 00 02 02", 1024, 35, 36, 0xffff},
};

static void run_transfer(Floppy *t, const Transfer *x, unsigned i)
{
    uint8_t *memory = region_host(&t->f.ram) + MEMORY;
    unsigned raised = t->f.raised[IRQ], bytes = 0;

    memset(memory, x->from_memory ? 0x5a : 0xee, 32768);
    program_dma(t, !x->from_memory, x->len);
    const char *got = command(t, x->command);
    if (strcmp(got, x->result)) {
        g_error("transfer %u: '%s' gave '%s', not '%s'", i, x->command, got, x->result);
    }
    g_assert_cmpuint(t->f.raised[IRQ], ==, raised + 1);
    while (!x->from_memory && bytes < 32768 &&
           (memory[bytes] != 0xee || memory[bytes + 1] != 0xee)) {
        bytes++;
    }
    g_assert_cmpuint(bytes, ==, x->bytes);
    for (unsigned b = 0; b + 1 < bytes; b += 2) {
        g_assert_cmphex(load16_le(memory + b), ==, x->first + (int)b / 512);
    }
    g_assert_true(!bytes || load16_le(memory + (bytes - 1) / 2 * 2) == x->last);
    outb(&t->f, 0xc, 0);
    unsigned low = inb(&t->f, 5);
    g_assert_cmphex(low | (unsigned)inb(&t->f, 5) << 8, ==, x->count);
    g_assert_cmphex(inb(&t->f, 8), ==, x->count == 0xffff ? 0x04 : 0);
}

static void test_dma(void)
{
    Floppy t;
    g_autofree char *image = make_image(1440);

    open_fdc(&t, image, "");
    reset(&t);
    for (unsigned i = 0; i < G_N_ELEMENTS(transfers); i++) {
        run_transfer(&t, &transfers[i], i);
    }
    /* What was written is there, and only that. */
    static const Transfer written = {"e6 00 02 00 01 02 12 1b ff",
                                     1024,
                                     false,
                                     "20 00 00 02 00 03 02",
                                     1024,
                                     0x5a5a,
                                     0x5a5a,
                                     0xffff};
    memset(region_host(&t.f.ram) + MEMORY, 0xee, 32768);
    program_dma(&t, true, 1536);
    command(&t, written.command);
    g_assert_cmphex(load16_le(region_host(&t.f.ram) + MEMORY + 1022), ==, 0x5a5a);
    g_assert_cmphex(load16_le(region_host(&t.f.ram) + MEMORY + 1024), ==, 74);
    /* A write of a part of a sector keeps the rest. */
    memset(region_host(&t.f.ram) + MEMORY, 0x11, 512);
    program_dma(&t, false, 100);
    command(&t, "c5 00 02 00 05 02 12 1b ff");
    program_dma(&t, true, 512);
    command(&t, "e6 00 02 00 05 02 12 1b ff");
    g_assert_cmphex(load16_le(region_host(&t.f.ram) + MEMORY + 98), ==, 0x1111);
    g_assert_cmphex(load16_le(region_host(&t.f.ram) + MEMORY + 100), ==, 76);
    /* There are two heads, whatever the address says. */
    program_dma(&t, true, 512);
    g_assert_cmpstr(command(&t, "e6 00 00 7d 01 02 12 1b ff"), ==, "40 00 00 00 7d 01 02");
    close_fdc(&t);
    g_unlink(image);
}

static void test_format(void)
{
    Floppy t;
    g_autofree char *image = make_image(1440);

    open_fdc(&t, image, "");
    reset(&t);
    command(&t, "0f 00 05");
    command(&t, "08");
    uint8_t *memory = region_host(&t.f.ram) + MEMORY;
    for (unsigned i = 0; i < 18; i++) {
        memcpy(memory + 4 * i, (uint8_t[]){5, 0, i + 1, 2}, 4);
    }
    program_dma(&t, false, 72);
    g_assert_true(g_str_has_prefix(command(&t, "4d 00 02 12 54 66"), "00 00 00 05 00"));
    program_dma(&t, true, 9728);
    command(&t, "e6 00 05 00 01 02 12 1b ff");
    g_assert_cmphex(load16_le(memory), ==, 0x6666);
    g_assert_cmphex(load16_le(memory + 9214), ==, 0x6666);
    g_assert_cmphex(load16_le(memory + 9216), ==, 198);
    memory[2] = 99; /* no such sector */
    program_dma(&t, false, 72);
    g_assert_true(g_str_has_prefix(command(&t, "4d 00 02 12 54 66"), "40 01"));
    close_fdc(&t);
    g_unlink(image);
}

static void test_read_only(void)
{
    Floppy t;
    g_autofree char *image = make_image(1440);

    open_fdc(&t, image, ",readonly=on");
    reset(&t);
    g_assert_cmpstr(command(&t, "04 00"), ==, "78");
    program_dma(&t, false, 512);
    g_assert_true(g_str_has_prefix(command(&t, "c5 00 00 00 01 02 12 1b ff"), "60 02"));
    g_assert_true(g_str_has_prefix(command(&t, "4d 00 02 12 54 66"), "60 02"));
    close_fdc(&t);
    g_unlink(image);
}

/* A channel that is masked when the command comes; memory that is no RAM. */
static void test_dma_later(void)
{
    Floppy t;
    g_autofree char *image = make_image(1440);

    open_fdc(&t, image, "");
    reset(&t);
    program_dma(&t, true, 512);
    outb(&t.f, 0xa, 6);
    send(&t, "e6 00 00 00 02 02 12 1b ff");
    settle(&t);
    g_assert_cmphex(msr(&t), ==, 0x10);
    outb(&t.f, 0xa, 2);
    settle(&t);
    g_assert_cmpstr(result(&t), ==, "00 00 00 00 00 03 02");
    program_dma(&t, true, 512);
    outb(&t.f, 0x81, 0xff);
    g_assert_cmpstr(command(&t, "e6 00 00 00 02 02 12 1b ff"), ==, "00 00 00 00 00 03 02");
    /* A reset while a sector is on its way: nothing arrives. */
    program_dma(&t, true, 512);
    memset(region_host(&t.f.ram) + MEMORY, 0xee, 512);
    send(&t, "e6 00 00 00 02 02 12 1b ff");
    reset(&t);
    settle(&t);
    g_assert_cmphex(load16_le(region_host(&t.f.ram) + MEMORY), ==, 0xeeee);
    g_assert_cmphex(msr(&t), ==, 0x80);
    close_fdc(&t);
    g_unlink(image);
}

/* ---- transfers through the data register
 * ---------------------------------------------------------------- */

static void wait_ready(Floppy *t)
{
    for (unsigned i = 0; i < 100 && !(msr(t) & 0x80); i++) {
        settle(t);
    }
    g_assert_cmphex(msr(t) & 0x80, ==, 0x80);
}

static void test_pio(void)
{
    Floppy t;
    g_autofree char *image = make_image(1440);

    open_fdc(&t, image, "");
    reset(&t);
    command(&t, "03 df 03");
    g_assert_cmphex(inb(&t.f, 0x3f2), ==, 0x14);
    unsigned raised = t.f.raised[IRQ];
    send(&t, "66 00 01 00 11 02 12 1b ff");
    for (unsigned i = 0; i < 1024; i++) {
        wait_ready(&t);
        g_assert_cmphex(msr(&t), ==, 0xf0);
        g_assert_cmphex(inb(&t.f, 0x3f5), ==, i & 1 ? 0 : 52 + i / 512);
    }
    g_assert_cmpuint(t.f.raised[IRQ], ==, raised + 1);
    g_assert_cmpstr(result(&t), ==, "20 00 00 01 00 12 02");
    send(&t, "45 00 01 00 10 02 11 1b ff");
    for (unsigned i = 0; i < 1024; i++) {
        wait_ready(&t);
        g_assert_cmphex(msr(&t), ==, 0xb0);
        outb(&t.f, 0x3f5, 0x40 + i / 512);
    }
    settle(&t);
    g_assert_cmpstr(result(&t), ==, "20 00 00 02 00 01 02");
    send(&t, "66 00 01 00 11 00 12 1b 64"); /* a hundred bytes */
    for (unsigned i = 0; i < 100; i++) {
        wait_ready(&t);
        g_assert_cmphex(inb(&t.f, 0x3f5), ==, 0x41);
    }
    g_assert_cmpstr(result(&t), ==, "20 00 00 01 00 11 02");
    close_fdc(&t);
    g_unlink(image);
}

/* ---- media
 * --------------------------------------------------------------------------------------------------
 */

static void test_geometries(void)
{
    static const struct {
        unsigned kib;
        FloppyType type;
        uint8_t sectors, last_track, rate;
    } media[] = {
        {1440, FLOPPY_144, 18, 79, 0}, {2880, FLOPPY_288, 36, 79, 3}, {720, FLOPPY_144, 9, 79, 2},
        {1200, FLOPPY_120, 15, 79, 0}, {360, FLOPPY_120, 9, 39, 1},   {320, FLOPPY_120, 8, 39, 2},
        {180, FLOPPY_120, 9, 39, 1},   {160, FLOPPY_120, 8, 39, 2},   {1680, FLOPPY_144, 21, 79, 0},
        {1722, FLOPPY_144, 21, 81, 0}, {1600, FLOPPY_144, 20, 79, 0}, {800, FLOPPY_144, 10, 79, 2},
        {1760, FLOPPY_144, 22, 79, 0}, {1920, FLOPPY_144, 24, 79, 0}, {100, FLOPPY_288, 36, 79, 3},
        {3000, FLOPPY_288, 36, 79, 3},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(media); i++) {
        Floppy t;
        g_autofree char *image = make_image(media[i].kib);
        unsigned track;

        open_fdc(&t, image, "");
        g_assert_cmpint(fdc_drive_type(t.fdc, 0), ==, media[i].type);
        reset(&t);
        g_assert_cmpuint(strtoul(command(&t, "0e") + 18, NULL, 16), ==, media[i].sectors);
        command(&t, "cf 00 c8");
        g_assert_cmpint(sscanf(command(&t, "08"), "20 %x", &track), ==, 1);
        g_assert_cmpuint(track, ==, media[i].last_track);
        for (unsigned rate = 0; rate < 4; rate++) {
            outb(&t.f, 0x3f7, rate);
            g_assert_cmpint(command(&t, "4a 00")[0] == '0', ==, rate == media[i].rate);
        }
        close_fdc(&t);
        g_unlink(image);
    }
    g_assert_cmpuint(fdc_cmos_type(FLOPPY_144), ==, 4);
    g_assert_cmpuint(fdc_cmos_type(FLOPPY_288), ==, 5);
    g_assert_cmpuint(fdc_cmos_type(FLOPPY_120), ==, 2);
    g_assert_cmpuint(fdc_cmos_type(FLOPPY_NONE), ==, 0);
}

static void test_two_drives(void)
{
    Floppy t;
    g_autofree char *a = make_image(1440), *b = make_image(720);
    GError *err = NULL;

    open_fdc(&t, a, "");
    add_drive(&t, b, "");
    Device *third = device_new(t.f.vm, "floppy");
    g_assert_false(device_realize(third, bus_find(t.f.vm, "floppy-bus.0"), &err));
    g_clear_error(&err);
    object_unref(third);
    reset(&t);
    outb(&t.f, 0x3f7, 2);
    program_dma(&t, true, 512);
    g_assert_cmpstr(command(&t, "e6 01 01 00 01 02 09 1b ff"), ==, "21 00 00 01 00 02 02");
    g_assert_cmphex(load16_le(region_host(&t.f.ram) + MEMORY), ==, 18);
    /* The change line falls with a step. */
    outb(&t.f, 0x3f2, 0x2d);
    g_assert_cmphex(inb(&t.f, 0x3f7), ==, 0);
    outb(&t.f, 0x3f2, 0x1c);
    g_assert_cmphex(inb(&t.f, 0x3f7), ==, 0x80);
    close_fdc(&t);
    g_unlink(a);
    g_unlink(b);
}

/* ---- state
 * ----------------------------------------------------------------------------------------------------
 */

static void test_state_pio(void)
{
    Floppy a, b;
    g_autofree char *image = make_image(1440);

    open_fdc(&a, image, ",readonly=on");
    reset(&a);
    command(&a, "03 df 03");
    send(&a, "66 00 01 00 10 02 12 1b ff");
    for (unsigned i = 0; i < 512; i++) {
        wait_ready(&a);
        inb(&a.f, 0x3f5);
    }
    wait_ready(&a);
    GByteArray *bytes = fixture_save(a.fdc);
    open_fdc(&b, image, ",readonly=on");
    fixture_load(b.fdc, bytes);
    /* At a sector's end the next one has to come again. */
    vm_start(b.f.vm, NULL);
    for (unsigned i = 512; i < 1536; i++) {
        wait_ready(&b);
        g_assert_cmphex(inb(&b.f, 0x3f5), ==, i & 1 ? 0 : 51 + i / 512);
    }
    g_assert_cmpstr(result(&b), ==, "20 00 00 01 00 12 02");
    fixture_refuses(b.fdc, bytes, 9 + 512, 0xff);          /* data_pos */
    fixture_refuses(b.fdc, bytes, 9 + 512 + 4 + 4 + 1, 6); /* data_dir */
    g_byte_array_unref(bytes);
    close_fdc(&a);
    close_fdc(&b);
    g_unlink(image);
}

static void test_state_dma(void)
{
    Floppy a, b;
    g_autofree char *image = make_image(1440);

    open_fdc(&a, image, ",readonly=on");
    reset(&a);
    program_dma(&a, true, 1024);
    outb(&a.f, 0xa, 6);
    send(&a, "e6 00 01 00 11 02 12 1b ff");
    GByteArray *bytes = fixture_save(a.fdc), *dma = fixture_save(a.dma);
    open_fdc(&b, image, ",readonly=on");
    fixture_load(b.dma, dma);
    fixture_load(b.fdc, bytes);
    vm_start(b.f.vm, NULL);
    g_assert_cmphex(msr(&b), ==, 0x10);
    outb(&b.f, 0xa, 2);
    settle(&b);
    g_assert_cmpstr(result(&b), ==, "24 00 00 01 01 01 02");
    g_assert_cmphex(load16_le(region_host(&b.f.ram) + MEMORY + 512), ==, 53);
    g_byte_array_unref(bytes);
    g_byte_array_unref(dma);
    close_fdc(&a);
    close_fdc(&b);
    g_unlink(image);
}

/* READ ID and the interrupts of a reset, half done. */
static void test_state_subsections(void)
{
    Floppy a, b;
    g_autofree char *image = make_image(1440);

    open_fdc(&a, image, ",readonly=on");
    outb(&a.f, 0x3f2, 0);
    outb(&a.f, 0x3f2, 0x0c);
    command(&a, "12 84");
    send(&a, "08");
    result(&a);
    send(&a, "4a 00");
    GByteArray *bytes = fixture_save(a.fdc);
    g_assert_nonnull(memmem(bytes->data, bytes->len, "fdc/reset_sensei", 16));
    g_assert_nonnull(memmem(bytes->data, bytes->len, "fdc/result_timer", 16));
    g_assert_nonnull(memmem(bytes->data, bytes->len, "fdrive/perpendicular", 20));
    g_assert_null(memmem(bytes->data, bytes->len, "fdc/phase", 9));
    open_fdc(&b, image, ",readonly=on");
    step(&b.f, clock_now(a.f.vm, CLOCK_VIRTUAL));
    fixture_load(b.fdc, bytes);
    settle(&b);
    g_assert_cmpstr(result(&b), ==, "00 00 00 00 00 02 02");
    g_byte_array_unref(bytes);
    close_fdc(&a);
    close_fdc(&b);
    g_unlink(image);
}

/* ---- bad guests
 * -------------------------------------------------------------------------------------------------
 */

static void test_fifo_flood(void)
{
    Floppy t;
    g_autofree char *image = make_image(1440);

    /* CVE-2015-3456: bytes without end for each command, at any place. */
    open_fdc(&t, image, "");
    for (unsigned op = 0; op < 256; op++) {
        outb(&t.f, 0x3f2, 0);
        outb(&t.f, 0x3f2, 0x1c);
        outb(&t.f, 0x3f5, op);
        for (unsigned i = 0; i < 1200; i++) {
            outb(&t.f, 0x3f5, 0x7f);
        }
        settle(&t);
        for (unsigned i = 0; i < 1200; i++) {
            inb(&t.f, 0x3f5);
        }
    }
    close_fdc(&t);
    g_unlink(image);
}

static void test_random(void)
{
    Floppy t;
    g_autofree char *image = make_image(1440);

    open_fdc(&t, image, "");
    g_autoptr(GRand) rand = g_rand_new_with_seed(11);
    for (unsigned i = 0; i < 60000; i++) {
        uint32_t r = g_rand_int(rand);
        unsigned port = r & 8 ? 0x3f5 : 0x3f0 + (r & 7);

        if (r & 0x80) {
            outb(&t.f, port == 0x3f2 && (r & 0x700) ? 0x3f5 : port, r >> 16);
        } else {
            inb(&t.f, port);
        }
        if (!(i % 16)) {
            settle(&t);
        }
        if (!(i % 200)) {
            program_dma(&t, r & 0x800, (r >> 8) % 65536 + 1);
        }
    }
    close_fdc(&t);
    g_unlink(image);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/fdc/power-on", test_power_on);
    g_test_add_func("/fdc/commands", test_commands);
    g_test_add_func("/fdc/parameter-counts", test_parameter_counts);
    g_test_add_func("/fdc/reset", test_reset);
    g_test_add_func("/fdc/dma", test_dma);
    g_test_add_func("/fdc/format", test_format);
    g_test_add_func("/fdc/read-only", test_read_only);
    g_test_add_func("/fdc/dma-later", test_dma_later);
    g_test_add_func("/fdc/pio", test_pio);
    g_test_add_func("/fdc/geometries", test_geometries);
    g_test_add_func("/fdc/two-drives", test_two_drives);
    g_test_add_func("/fdc/state-pio", test_state_pio);
    g_test_add_func("/fdc/state-dma", test_state_dma);
    g_test_add_func("/fdc/state-subsections", test_state_subsections);
    g_test_add_func("/fdc/fifo-flood", test_fifo_flood);
    g_test_add_func("/fdc/random", test_random);
    return g_test_run();
}
