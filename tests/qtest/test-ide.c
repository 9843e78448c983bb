/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The IDE channels of the PIIX3: disks by bus master DMA and PIO, a CD-ROM by packets.
 */
#include "tests/qtest/pc.h"

#define IDE 0x1f0
#define IDE_PIN 14
#define PRD 0x100000

static uint16_t ide_open(QTest *qt)
{
    const unsigned devfn = QPCI_DEVFN(1, 1);

    qtest_irq_intercept_in(qt, "ioapic");
    uint16_t bm = (uint16_t)qpci_map_bar(qt, devfn, 4, NULL);
    qpci_enable(qt, devfn, 5);
    return bm;
}

static uint8_t ide_wait(QTest *qt)
{
    uint8_t status;

    while ((status = qtest_inb(qt, 0x3f6)) & 0x80) {
        g_usleep(200);
    }
    return status;
}

static void ide_command(QTest *qt, uint8_t command, uint32_t lba, uint8_t count)
{
    qtest_outb(qt, IDE + 2, count);
    qtest_outb(qt, IDE + 3, (uint8_t)lba);
    qtest_outb(qt, IDE + 4, (uint8_t)(lba >> 8));
    qtest_outb(qt, IDE + 5, (uint8_t)(lba >> 16));
    qtest_outb(qt, IDE + 6, 0xe0);
    qtest_outb(qt, IDE + 7, command);
}

/* A PRD of each piece; to_memory: the disk is read. */
static uint8_t ide_dma(QTest *qt, uint16_t bm, uint32_t lba, uint8_t count, bool to_memory,
                       const uint32_t pieces[][2], unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        qtest_writel(qt, PRD + 8 * i, pieces[i][0]);
        qtest_writel(qt, PRD + 8 * i + 4, pieces[i][1] | (i + 1 == n ? 1u << 31 : 0));
    }
    pc_forget_pages(qt);
    qtest_outb(qt, bm, 0);
    qtest_outb(qt, bm + 2, 6);
    qtest_outl(qt, bm + 4, PRD);
    qtest_clear_irq_count(qt, IDE_PIN);
    ide_command(qt, to_memory ? 0xc8 : 0xca, lba, count);
    qtest_outb(qt, bm, to_memory ? 9 : 1);
    uint8_t status = ide_wait(qt);
    g_assert_cmpuint(qtest_irq_count(qt, IDE_PIN), ==, 1);
    g_assert_true(qtest_get_irq(qt, IDE_PIN));
    qtest_inb(qt, IDE + 7);
    g_assert_false(qtest_get_irq(qt, IDE_PIN));
    qtest_outb(qt, bm, 0);
    return status;
}

static void test_ide(void)
{
    static const uint32_t across[][2] = {{0x200e00, 0x400}, {0x300ffe, 4}, {0x400000, 0x7fc}},
                          nowhere[][2] = {{0xfed00000, 0x200}}, aligned[][2] = {{0x500000, 0x1000}};
    g_autofree char *image = pc_numbered_image(256);
    QTest *qt = qtest_start(PC " -drive if=ide,index=0,format=raw,file=%s", image);
    uint16_t bm = ide_open(qt);

    qtest_dirty_log(qt, true);
    g_assert_cmphex(ide_dma(qt, bm, 3, 6, true, across, 3), ==, 0x50);
    g_autofree char *pages = qtest_dirty_pages(qt);
    g_assert_cmpstr(pages, ==, "0x200000 0x201000 0x300000 0x301000 0x400000");
    pc_check_sectors(qt, 0x200e00, 3, 0x400);
    pc_check_sectors(qt, 0x400000 + 508, 6, 512);
    g_assert_cmphex(ide_dma(qt, bm, 0, 8, true, aligned, 1), ==, 0x50);
    pc_check_pages(qt, 0x500000, 0x500fff);
    /* To the disk, memory is read only; and what went there comes back by PIO. */
    g_assert_cmphex(ide_dma(qt, bm, 100, 8, false, aligned, 1), ==, 0x50);
    pc_check_pages(qt, 1, 0);
    qtest_clear_irq_count(qt, IDE_PIN);
    ide_command(qt, 0x20, 100, 1);
    g_assert_cmphex(ide_wait(qt), ==, 0x58);
    g_assert_cmpuint(qtest_irq_count(qt, IDE_PIN), ==, 1);
    for (unsigned i = 0; i < 512; i += 2) {
        g_assert_cmphex(qtest_inw(qt, IDE), ==, (i % 251) | (i + 1) % 251 << 8);
    }
    pc_check_pages(qt, 1, 0);
    /* Registers are no memory: the command fails and nothing was written. */
    g_assert_cmphex(ide_dma(qt, bm, 0, 1, true, nowhere, 1) & 0x01, ==, 0x01);
    pc_check_pages(qt, 1, 0);
    /* Beyond the end of the disk. */
    g_assert_cmphex(ide_dma(qt, bm, 250, 8, true, aligned, 1) & 0x01, ==, 0x01);
    g_assert_cmphex(qtest_inb(qt, IDE + 1), ==, 0x04); /* ABRT, as QEMU 7.2 */
    pc_check_pages(qt, 1, 0);
    qtest_end(qt);
}

static void pio_words(QTest *qt, uint16_t port, uint16_t *words, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        words[i] = qtest_inw(qt, port);
    }
}

/* IDENTIFY DEVICE: capacity, serial number, multiword and ultra DMA. */
static void test_identify(void)
{
    g_autofree char *image = pc_numbered_image(256);
    QTest *qt = qtest_start(PC " -drive if=none,id=d,format=raw,file=%s -device ide-hd,drive=d,serial=AB12,bus=ide.0", image);
    uint16_t words[256];

    ide_open(qt);
    qtest_clear_irq_count(qt, IDE_PIN);
    ide_command(qt, 0xec, 0, 0);
    g_assert_cmphex(ide_wait(qt), ==, 0x58);
    g_assert_cmpuint(qtest_irq_count(qt, IDE_PIN), ==, 1);
    pio_words(qt, IDE, words, 256);
    g_assert_cmphex(qtest_inb(qt, 0x3f6), ==, 0x50);
    g_assert_cmpuint(words[60] | words[61] << 16, ==, 256);
    g_assert_cmphex(words[10], ==, 'A' << 8 | 'B');
    g_assert_cmphex(words[11], ==, '1' << 8 | '2');
    g_assert_cmphex(words[63] & 7, ==, 7);
    g_assert_cmphex(words[83] & 0x2400, ==, 0x2400); /* LBA48, FLUSH CACHE EXT */
    qtest_end(qt);
}

/* A CD-ROM on the second channel: a packet, the signature, a sector of 2048 bytes. */
static void test_cd(void)
{
    static const uint8_t read10[12] = {0x28, 0, 0, 0, 0, 1, 0, 0, 1};
    const uint16_t ide = 0x170;
    g_autofree char *image = pc_numbered_image(16);
    QTest *qt = qtest_start(PC " -cdrom %s", image);
    uint16_t words[1024];

    qtest_irq_intercept_in(qt, "ioapic");
    g_assert_cmphex(qtest_inb(qt, ide + 4) | qtest_inb(qt, ide + 5) << 8, ==, 0xeb14);
    for (unsigned tries = 0; tries < 2; tries++) { /* the first one tells of the new medium */
        qtest_outb(qt, ide + 6, 0xa0);
        qtest_outb(qt, ide + 4, 0x00);
        qtest_outb(qt, ide + 5, 0x08);
        qtest_outb(qt, ide + 7, 0xa0);
        g_assert_cmphex(qtest_inb(qt, 0x376) & 0x88, ==, 0x08);
        for (unsigned i = 0; i < 12; i += 2) {
            qtest_outw(qt, ide, (uint16_t)(read10[i] | read10[i + 1] << 8));
        }
        while (qtest_inb(qt, 0x376) & 0x80) {
            g_usleep(200);
        }
        if (!(qtest_inb(qt, 0x376) & 1)) {
            break;
        }
    }
    g_assert_true(qtest_get_irq(qt, 15));
    g_assert_cmphex(qtest_inb(qt, ide + 7) & 0x09, ==, 0x08);
    g_assert_false(qtest_get_irq(qt, 15));
    g_assert_cmpuint(qtest_inb(qt, ide + 4) | qtest_inb(qt, ide + 5) << 8, ==, 2048);
    pio_words(qt, ide, words, 1024);
    for (unsigned i = 0; i < 1024; i++) {
        unsigned at = 2048 + 2 * i;

        g_assert_cmphex(words[i] & 0xff, ==, (uint8_t)(at / 512 * 7 + at % 251));
    }
    qtest_end(qt);
}

/* A channel without drives reads as zeros, and takes commands without an answer. */
static void test_absent(void)
{
    QTest *qt = qtest_start(PC);

    qtest_irq_intercept_in(qt, "ioapic");
    ide_command(qt, 0xec, 0, 0);
    g_assert_cmphex(qtest_inb(qt, IDE + 7), ==, 0);
    g_assert_false(qtest_get_irq(qt, IDE_PIN));
    qtest_end(qt);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ide/disk-dma", test_ide);
    g_test_add_func("/ide/identify", test_identify);
    g_test_add_func("/ide/cd-rom", test_cd);
    g_test_add_func("/ide/absent", test_absent);
    return g_test_run();
}
