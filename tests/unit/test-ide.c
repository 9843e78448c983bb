/* SPDX-License-Identifier: GPL-2.0-or-later */
/* IDE disks in process: PIIX3 function, PIO and bus master, errors, resets; a guest that does anything. */
#include "tests/unit/ide-fixture.h"

/* ---- PIO ------------------------------------------------------------------------------------ */

static void test_identify(Fixture *f, const void *data)
{
    uint8_t id[512];

    (void)data;
    g_assert_cmphex(inb(f, 0x1f7), ==, 0x50);
    g_assert_cmphex(command(f, HD_BASE, 0xec), ==, 0x58);
    g_assert_cmpuint(f->irqs[0], ==, 1);
    g_assert_cmpint(f->level[0], ==, 1);
    inb(f, 0x1f7);
    g_assert_cmpint(f->level[0], ==, 0);
    read_data(f, HD_BASE, id, 512);
    g_assert_cmphex(inb(f, 0x1f7), ==, 0x50);
    g_assert_cmphex(word(id, 0), ==, 0x0040);
    g_assert_cmphex(word(id, 1), ==, 130);
    g_assert_cmphex(word(id, 47), ==, 0x8010);
    g_assert_cmphex(word(id, 49), ==, 0x0b00);
    g_assert_cmphex(word(id, 59), ==, 0x0110);
    g_assert_cmphex(word(id, 82), ==, 0x4021);
    g_assert_cmphex(word(id, 83), ==, 0x7400);
    g_assert_cmphex(word(id, 85), ==, 0x4021);
    g_assert_cmphex(word(id, 88), ==, 0x203f);
    g_assert_cmphex(word(id, 106), ==, 0x6000);
    g_assert_cmphex(word(id, 169), ==, 1);
    g_assert_cmpuint(load32_le(id + 120), ==, DISK_SECTORS);
    g_assert_cmpuint(load64_le(id + 200), ==, DISK_SECTORS);
    g_assert_true(!memcmp(id + 20, "MQ0000 1            ", 20));
    g_assert_true(!memcmp(id + 46, ".2+5    EQUMH RADDSI K", 22));
    /* The absent drive 1. */
    outb(f, 0x1f6, 0xb0);
    g_assert_cmphex(inb(f, 0x1f7), ==, 0);
    g_assert_cmphex(inb(f, 0x1f4), ==, 0xff);
}

static void test_pio(Fixture *f, const void *data)
{
    uint8_t buf[1024];

    (void)data;
    task_file(f, HD_BASE, 0, 2, 5);
    g_assert_cmphex(command(f, HD_BASE, 0x20), ==, 0x58);
    read_data(f, HD_BASE, buf, 512);
    g_assert_cmpint(buf[0], ==, 6);
    inb(f, 0x1f7);
    g_assert_cmphex(wait_ready(f, HD_BASE), ==, 0x58);
    read_data(f, HD_BASE, buf, 512);
    g_assert_cmpint(buf[511], ==, 7);
    g_assert_cmphex(inb(f, 0x1f7), ==, 0x50);
    g_assert_cmpuint(f->irqs[0], ==, 2);
    g_assert_cmpint(inb(f, 0x1f3), ==, 7);
    /* Nothing more comes. */
    g_assert_cmphex(in(f, 0x1f0, 2), ==, 0);

    task_file(f, HD_BASE, 0, 1, 1000);
    g_assert_cmphex(command(f, HD_BASE, 0x30), ==, 0x58);
    for (unsigned i = 0; i < 128; i++) {
        out(f, 0x1f0, 4, 0xa5a5a500 + i);
    }
    g_assert_cmphex(wait_ready(f, HD_BASE), ==, 0x50);
    task_file(f, HD_BASE, 0, 1, 1000);
    command(f, HD_BASE, 0x20);
    g_assert_cmphex(in(f, 0x1f0, 4), ==, 0xa5a5a500);

    /* A command while data is due is not heard. */
    outb(f, 0x1f7, 0xec);
    g_assert_cmphex(in(f, 0x1f0, 4), ==, 0xa5a5a501);
}

static void test_pio_multiple(Fixture *f, const void *data)
{
    uint8_t buf[4096];

    (void)data;
    task_file(f, HD_BASE, 0, 4, 0);
    g_assert_cmphex(command(f, HD_BASE, 0xc6), ==, 0x50);
    task_file(f, HD_BASE, 0, 6, 10);
    g_assert_cmphex(command(f, HD_BASE, 0xc4), ==, 0x58);
    read_data(f, HD_BASE, buf, 2048);
    g_assert_cmphex(wait_ready(f, HD_BASE), ==, 0x58);
    read_data(f, HD_BASE, buf + 2048, 1024);
    g_assert_cmphex(wait_ready(f, HD_BASE), ==, 0x50);
    for (unsigned i = 0; i < 6; i++) {
        g_assert_cmpint(buf[i * 512], ==, (int)i + 11);
    }
    task_file(f, HD_BASE, 0, 3, 0);
    g_assert_cmphex(command(f, HD_BASE, 0xc6), ==, 0x41);
}

static void test_errors(Fixture *f, const void *data)
{
    (void)data;
    task_file(f, HD_BASE, 0, 2, DISK_SECTORS - 1);
    g_assert_cmphex(command(f, HD_BASE, 0x20), ==, 0x58);
    for (unsigned i = 0; i < 256; i++) {
        in(f, 0x1f0, 2);
    }
    g_assert_cmphex(wait_ready(f, HD_BASE), ==, 0x41);
    g_assert_cmphex(inb(f, 0x1f1), ==, 0x04);
    g_assert_cmphex(inb(f, 0x1f2), ==, 1);
    task_file(f, HD_BASE, 0, 1, DISK_SECTORS);
    g_assert_cmphex(command(f, HD_BASE, 0x40), ==, 0x41);
    g_assert_cmphex(command(f, HD_BASE, 0xfe), ==, 0x41);
    g_assert_cmphex(command(f, HD_BASE, 0xe7), ==, 0x50);
    g_assert_cmphex(command(f, HD_BASE, 0xe0), ==, 0x40);
    g_assert_cmphex(command(f, HD_BASE, 0xf8), ==, 0x50);
    g_assert_cmphex(inb(f, 0x1f3), ==, 0xff);
    /* CHS sector 0 does not exist. */
    outb(f, 0x1f6, 0xa0);
    outb(f, 0x1f3, 0);
    outb(f, 0x1f2, 1);
    g_assert_cmphex(command(f, HD_BASE, 0x20), ==, 0x41);
}

static void test_lba48(Fixture *f, const void *data)
{
    (void)data;
    outb(f, 0x1f6, 0xe0);
    outb(f, 0x1f2, 0);
    outb(f, 0x1f2, 1);
    outb(f, 0x1f3, 0);
    outb(f, 0x1f3, 9);
    outb(f, 0x1f4, 0);
    outb(f, 0x1f4, 0);
    outb(f, 0x1f5, 0);
    outb(f, 0x1f5, 0);
    g_assert_cmphex(command(f, HD_BASE, 0x24), ==, 0x58);
    g_assert_cmphex(in(f, 0x1f0, 2), ==, 0x0a0a);
    /* An address that only 48 bits can name. */
    outb(f, control(HD_BASE), IDE_SRST);
    outb(f, control(HD_BASE), 0);
    outb(f, 0x1f6, 0xe0);
    outb(f, 0x1f5, 0xff);
    outb(f, 0x1f5, 0);
    outb(f, 0x1f2, 0);
    outb(f, 0x1f2, 1);
    g_assert_cmphex(command(f, HD_BASE, 0x24), ==, 0x41);
}

/* ---- bus master ----------------------------------------------------------------------------- */

static void test_dma(Fixture *f, const void *data)
{
    (void)data;
    store_prd(f, 0, BUF, 512, false);
    store_prd(f, 1, BUF + 0x1000, 1024, false);
    store_prd(f, 2, BUF + 0x3000, 512, true);
    task_file(f, HD_BASE, 0, 4, 20);
    outb(f, 0x1f7, 0xc8);
    start_dma(f, BM, true);
    wait_dma(f, HD_BASE);
    g_assert_cmpuint(f->irqs[0], ==, 1);
    g_assert_cmphex(inb(f, BM + 2), ==, 0x04);
    g_assert_cmphex(inb(f, 0x1f7), ==, 0x50);
    g_assert_cmpint(memory_byte(f, BUF), ==, 21);
    g_assert_cmpint(memory_byte(f, BUF + 0x1000), ==, 22);
    g_assert_cmpint(memory_byte(f, BUF + 0x1200), ==, 23);
    g_assert_cmpint(memory_byte(f, BUF + 0x31ff), ==, 24);
    g_assert_cmpint(memory_byte(f, BUF + 0x3200), ==, 0);
    outb(f, BM, 0);

    /* The engine first, then the command; to the disk this time. */
    start_dma(f, BM, false);
    task_file(f, HD_BASE, 0, 4, 40);
    outb(f, 0x1f7, 0xca);
    wait_dma(f, HD_BASE);
    g_assert_cmphex(inb(f, 0x1f7), ==, 0x50);
    outb(f, BM, 0);
    task_file(f, HD_BASE, 0, 1, 43);
    command(f, HD_BASE, 0x20);
    g_assert_cmphex(in(f, 0x1f0, 2), ==, 0x1818);
}

static void test_dma_bad_tables(Fixture *f, const void *data)
{
    (void)data;
    /* Longer than the command: stays active, interrupts. */
    store_prd(f, 0, BUF, 4096, true);
    task_file(f, HD_BASE, 0, 1, 1);
    outb(f, 0x1f7, 0xc8);
    start_dma(f, BM, true);
    wait_dma(f, HD_BASE);
    g_assert_cmphex(inb(f, BM + 2), ==, 0x05);
    g_assert_cmpuint(f->irqs[0], ==, 1);
    outb(f, BM, 0);
    inb(f, 0x1f7);
    /* Shorter: ends, no interrupt. */
    store_prd(f, 0, BUF, 512, true);
    task_file(f, HD_BASE, 0, 2, 1);
    outb(f, 0x1f7, 0xc8);
    start_dma(f, BM, true);
    wait_dma(f, HD_BASE);
    g_assert_cmphex(inb(f, BM + 2), ==, 0x00);
    g_assert_cmpuint(f->irqs[0], ==, 1);
    outb(f, BM, 0);
    /* At no RAM: an error. */
    store_prd(f, 0, 0xe0000000u, 512, true);
    task_file(f, HD_BASE, 0, 1, 1);
    outb(f, 0x1f7, 0xc8);
    start_dma(f, BM, true);
    wait_dma(f, HD_BASE);
    g_assert_cmphex(inb(f, BM + 2), ==, 0x06);
    g_assert_cmphex(inb(f, 0x1f7), ==, 0x41);
    outb(f, BM, 0);
    /* Out of range. */
    store_prd(f, 0, BUF, 512, true);
    task_file(f, HD_BASE, 0, 1, DISK_SECTORS);
    outb(f, 0x1f7, 0xc8);
    start_dma(f, BM, true);
    wait_dma(f, HD_BASE);
    g_assert_cmphex(inb(f, 0x1f7), ==, 0x41);
}

static void test_trim(Fixture *f, const void *data)
{
    BlockBackend *blk = blk_find(f->vm, "ide0-hd0");

    (void)data;
    store_prd(f, 0, BUF, 512, true);
    address_space_store(&f->vm->memory, BUF, 8, UINT64_C(0x0008000000000010));
    task_file(f, HD_BASE, 1, 0, 0);
    task_file(f, HD_BASE, 1, 1, 0);
    outb(f, 0x1f7, 0x06);
    start_dma(f, BM, false);
    wait_dma(f, HD_BASE);
    g_assert_cmphex(inb(f, 0x1f7), ==, 0x50);
    g_assert_cmpuint(blk_stats(blk)->bytes[BLK_STAT_DISCARD], ==, 8 * 512);
    outb(f, BM, 0);
    address_space_store(&f->vm->memory, BUF, 8, UINT64_C(0x000800000001ffff));
    outb(f, 0x1f7, 0x06);
    start_dma(f, BM, false);
    wait_dma(f, HD_BASE);
    g_assert_cmphex(inb(f, 0x1f7), ==, 0x41);
}

/* ---- resets --------------------------------------------------------------------------------- */

static void test_reset_busy(Fixture *f, const void *data)
{
    BlockBackend *blk = blk_find(f->vm, "ide0-hd0");

    (void)data;
    for (unsigned how = 0; how < 4; how++) {
        store_prd(f, 0, BUF, 0, true);
        task_file(f, HD_BASE, 0, 128, 0);
        outb(f, 0x1f7, 0xc8);
        start_dma(f, BM, true);
        g_assert_cmpuint(blk_in_flight(blk), ==, 1);
        if (how == 0) {
            outb(f, control(HD_BASE), IDE_SRST);
            outb(f, control(HD_BASE), 0);
            g_assert_cmphex(inb(f, 0x1f1), ==, 0x01);
            g_assert_cmphex(inb(f, 0x1f2), ==, 0x01);
        } else if (how == 1) {
            device_reset(f->piix);
            pci_config_write((PciDevice *)f->piix, PCI_BASE_ADDRESS_4, BM, 4);
            pci_config_write((PciDevice *)f->piix, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MASTER,
                             2);
        } else if (how == 2) {
            outb(f, BM, 0); /* waits for what is under way */
            g_assert_cmphex(inb(f, BM + 2) & 1, ==, 0);
        } else {
            wait_dma(f, HD_BASE);
        }
        g_assert_cmpuint(blk_in_flight(blk), ==, 0);
        g_assert_cmphex(inb(f, 0x1f7), ==, 0x50);
        outb(f, BM, 0);
    }
}

/* ---- a guest that does anything ------------------------------------------------------------- */

static void test_random(Fixture *f, const void *data)
{
    static const uint16_t ports[] = {0x1f0, 0x1f1, 0x1f2, 0x1f3,  0x1f4,  0x1f5,  0x1f6,   0x1f7,
                                     0x3f6, 0x170, 0x171, 0x172,  0x173,  0x174,  0x175,   0x176,
                                     0x177, 0x376, BM,    BM + 2, BM + 4, BM + 8, BM + 10, BM + 12};
    /* Half of the commands are known ones, so that they get somewhere. */
    static const uint8_t commands[] = {0x20, 0x24, 0x25, 0x29, 0x30, 0x35, 0x39, 0x06, 0x08,
                                       0x90, 0xa0, 0xa0, 0xa0, 0xa1, 0xc4, 0xc5, 0xc6, 0xc8,
                                       0xca, 0xe7, 0xec, 0xef, 0xb0, 0xce, 0x3d};
    static const uint8_t packets[] = {0x28, 0xa8, 0xbe, 0x12, 0x43, 0x5a,
                                      0x4a, 0x46, 0xad, 0x1b, 0x1e, 0x25};
    GRand *rand = g_rand_new_with_seed(11);

    (void)data;
    for (unsigned i = 0; i < 300000; i++) {
        uint16_t port = ports[g_rand_int_range(rand, 0, G_N_ELEMENTS(ports))];
        unsigned size = 1u << g_rand_int_range(rand, 0, 3);
        uint32_t value = g_rand_int(rand);

        if ((port & 0xf7f) == 0x177 && g_rand_boolean(rand)) {
            value = commands[g_rand_int_range(rand, 0, G_N_ELEMENTS(commands))];
            size = 1;
        }
        if (port == 0x170 && g_rand_boolean(rand)) {
            value = packets[g_rand_int_range(rand, 0, G_N_ELEMENTS(packets))];
        }
        if ((port == BM + 4 || port == BM + 12) && g_rand_boolean(rand)) {
            value = PRD;
        }
        if (i % 64 == 0) {
            store_prd(f, 0, g_rand_boolean(rand) ? BUF : value, value >> 3, value & 4);
            store_prd(f, 1, BUF + 0x4000, 0, true);
        }
        if (g_rand_int_range(rand, 0, 3)) {
            out(f, port, size, value);
        } else {
            in(f, port, size);
        }
        if (i % 16 == 0) {
            loop_run_once(f->vm->loop, 0);
        }
    }
    g_rand_free(rand);
    /* Still alive, and a reset brings it back. */
    device_reset(f->piix);
    g_assert_cmphex(command(f, HD_BASE, 0xec), ==, 0x58);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    IDE_ADD("identify", test_identify);
    IDE_ADD("pio", test_pio);
    IDE_ADD("pio-multiple", test_pio_multiple);
    IDE_ADD("errors", test_errors);
    IDE_ADD("lba48", test_lba48);
    IDE_ADD("dma", test_dma);
    IDE_ADD("dma-bad-tables", test_dma_bad_tables);
    IDE_ADD("trim", test_trim);
    IDE_ADD("reset-busy", test_reset_busy);
    IDE_ADD("random", test_random);
    g_test_add("/ide/dma/direct", Fixture, "index=0,cache=none", ide_setup, test_dma, ide_teardown);
    g_test_add("/ide/dma/native", Fixture, "index=0,cache=none,aio=native", ide_setup, test_dma,
               ide_teardown);
    g_test_add("/ide/dma/io_uring", Fixture, "index=0,aio=io_uring", ide_setup, test_dma, ide_teardown);
    return g_test_run();
}
