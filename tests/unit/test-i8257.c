/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hw/dma/i8257.h"

#include "tests/unit/device-fixture.h"

static Device *open_dma(Fixture *f)
{
    fixture_open(f);
    for (unsigned i = 0; i < 2; i++) {
        Device *dev = device_new(f->vm, "i8257");

        object_set_str(dev, "pageh-base", i ? "0x488" : "0x480");
        object_set_uint(dev, "dshift", i);
        object_set_uint(dev, "base", i ? 0xc0 : 0);
        object_set_uint(dev, "page-base", i ? 0x88 : 0x80);
        fixture_realize(dev, &f->isa->bus);
    }
    return g_ptr_array_index(f->vm->devices, 0);
}

static void test_registers(void)
{
    Fixture f;

    open_dma(&f);
    g_assert_cmphex(inb(&f, 9), ==, 0xff);
    g_assert_cmphex(inb(&f, 8), ==, 0);
    outb(&f, 4, 0x34);
    outb(&f, 4, 0x12);
    outb(&f, 5, 0xff);
    outb(&f, 5, 0x01);
    g_assert_cmphex(inb(&f, 4), ==, 0x34);
    g_assert_cmphex(inb(&f, 4), ==, 0x12);
    outb(&f, 0xc, 0);
    outb(&f, 4, 0x78); /* half of a register does not reach the current address */
    g_assert_cmphex(inb(&f, 4), ==, 0x12);
    g_assert_cmphex(inb(&f, 4), ==, 0x34);
    outb(&f, 0xc4, 0x34);
    outb(&f, 0xc4, 0x12);
    g_assert_cmphex(inb(&f, 0xc5), ==, 0x34);
    g_assert_cmphex(inb(&f, 0xc5), ==, 0x12);
    /* Software request, masks, master clear: QEMU 7.2's answers. */
    outb(&f, 0xb, 0x46);
    outb(&f, 9, 6);
    g_assert_cmphex(inb(&f, 8), ==, 0x40);
    outb(&f, 0xa, 2);
    g_assert_cmphex(inb(&f, 9), ==, 0xfb);
    g_assert_cmphex(inb(&f, 0xf), ==, 0);
    outb(&f, 0xf, 5);
    g_assert_cmphex(inb(&f, 9), ==, 5);
    outb(&f, 0xe, 0);
    g_assert_cmphex(inb(&f, 9), ==, 0);
    outb(&f, 0xd, 0);
    g_assert_cmphex(inb(&f, 9), ==, 0xff);
    g_assert_cmphex(inb(&f, 8), ==, 0);
    static const uint8_t pages[] = {0x81, 0x82, 0x83, 0x87, 0x89, 0x8a, 0x8b, 0x8f};
    for (unsigned i = 0; i < sizeof pages; i++) {
        outb(&f, pages[i], 0x40 + i);
    }
    for (unsigned i = 0; i < sizeof pages; i++) {
        g_assert_cmphex(inb(&f, pages[i]), ==, 0x40 + i);
        g_assert_cmphex(inb(&f, pages[i] + 0x400), ==, 0);
    }
    g_assert_cmphex(inb(&f, 0x84), ==, 0xff);
    fixture_close(&f);
}

typedef struct Card {
    Fixture *f;
    unsigned channel, calls, step; /* step: bytes a call; 0: it is not ready */
} Card;

static uint32_t card_transfer(void *opaque, unsigned channel, uint32_t pos, uint32_t len)
{
    Card *card = opaque;
    uint32_t n = MIN(card->step, len - pos);
    uint8_t data[512];

    g_assert_cmpuint(channel, ==, card->channel);
    card->calls++;
    for (unsigned i = 0; i < n; i++) {
        data[i] = pos + i;
    }
    if (isa_dma_direction(card->f->isa, channel) == ISA_DMA_TO_MEMORY) {
        isa_dma_write(card->f->isa, channel, data, pos, n);
    } else {
        isa_dma_read(card->f->isa, channel, data, pos, n);
    }
    if (pos + n == len) {
        isa_dma_release(card->f->isa, channel);
    }
    return pos + n;
}

static void program(Fixture *f, uint32_t addr, uint16_t count, uint8_t mode)
{
    outb(f, 0xc, 0);
    outb(f, 4, addr);
    outb(f, 4, addr >> 8);
    outb(f, 0x81, addr >> 16);
    outb(f, 5, count);
    outb(f, 5, count >> 8);
    outb(f, 0xb, mode | 2);
}

static void test_transfer(void)
{
    Fixture f;

    open_dma(&f);
    Card card = {.f = &f, .channel = 2};
    g_assert_true(isa_dma_register(f.isa, 2, card_transfer, &card));
    program(&f, 0x12345, 299, 0x44);
    isa_dma_hold(f.isa, 2);
    g_assert_cmpuint(card.calls, ==, 0); /* masked */
    g_assert_cmphex(inb(&f, 8), ==, 0x40);
    outb(&f, 0xa, 2);
    g_assert_cmpuint(card.calls, ==, 1); /* and nobody calls again before it says so */
    step(&f, NSEC_PER_SEC);
    g_assert_cmpuint(card.calls, ==, 1);
    card.step = 200;
    isa_dma_kick(f.isa, 2);
    outb(&f, 0xc, 0);
    g_assert_cmphex(inb(&f, 4), ==, 0x0d);
    g_assert_cmphex(inb(&f, 4), ==, 0x24);
    g_assert_cmphex(inb(&f, 5), ==, 99);
    g_assert_cmphex(inb(&f, 5), ==, 0);
    isa_dma_kick(f.isa, 2);
    g_assert_cmphex(inb(&f, 8), ==, 0x04);
    g_assert_cmphex(inb(&f, 8), ==, 0);
    for (unsigned i = 0; i < 300; i++) {
        g_assert_cmphex(region_host(&f.ram)[0x12345 + i], ==, (uint8_t)i);
    }
    g_assert_cmphex(region_host(&f.ram)[0x12345 + 300], ==, 0);
    /* Downwards. */
    card.step = 64;
    program(&f, 0x20010, 63, 0x64);
    isa_dma_hold(f.isa, 2);
    for (unsigned i = 0; i < 64; i++) {
        g_assert_cmphex(region_host(&f.ram)[0x20010 - i], ==, i);
    }
    fixture_close(&f);
}

/* Addresses that are no RAM, and directions that do not fit, harm nobody. */
static void test_bad_guest(void)
{
    Fixture f;

    open_dma(&f);
    Card card = {.f = &f, .channel = 2, .step = 512};
    isa_dma_register(f.isa, 2, card_transfer, &card);
    g_autoptr(GRand) rand = g_rand_new_with_seed(3);
    for (unsigned i = 0; i < 20000; i++) {
        uint32_t r = g_rand_int(rand);
        unsigned port = (r & 0x7f) < 0x20   ? r & 0x1f
                        : (r & 0x7f) < 0x40 ? 0x80 + (r & 0xf)
                                            : 0xc0 + (r & 0x1f);

        if (r & 0x100) {
            outb(&f, port, r >> 16);
        } else {
            inb(&f, port);
        }
        if (!(i % 7)) {
            isa_dma_hold(f.isa, 2);
        }
    }
    fixture_close(&f);
}

static void test_state(void)
{
    Fixture f;
    Device *dev = open_dma(&f);

    Card card = {.f = &f, .channel = 2, .step = 100};
    isa_dma_register(f.isa, 2, card_transfer, &card);
    program(&f, 0x12345, 299, 0x44);
    outb(&f, 0xa, 2);
    isa_dma_hold(f.isa, 2);
    outb(&f, 4, 0x55);
    GByteArray *bytes = fixture_save(dev);
    g_assert_cmpuint(bytes->len, ==, 7 + 4 * 17);
    device_reset(dev);
    outb(&f, 5, 1);
    outb(&f, 5, 1);
    fixture_load(dev, bytes);
    isa_dma_hold(f.isa, 2);
    isa_dma_kick(f.isa, 2);
    g_assert_cmphex(inb(&f, 8), ==, 0x04);
    g_assert_cmphex(region_host(&f.ram)[0x12345 + 299], ==, 299 & 0xff);
    fixture_refuses(dev, bytes, 2, 2);    /* flip_flop */
    fixture_refuses(dev, bytes, 6, 1);    /* dshift of the other controller */
    fixture_refuses(dev, bytes, 7, 0x80); /* a negative address */
    g_byte_array_unref(bytes);
    fixture_close(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/i8257/registers", test_registers);
    g_test_add_func("/i8257/transfer", test_transfer);
    g_test_add_func("/i8257/bad-guest", test_bad_guest);
    g_test_add_func("/i8257/state", test_state);
    return g_test_run();
}
