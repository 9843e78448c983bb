/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The floppy controller and its DMA channel.
 */
#include "tests/qtest/pc.h"

#define FDC_PIN 6

static void fdc_bytes(QTest *qt, const uint8_t *bytes, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        g_assert_cmphex(qtest_inb(qt, 0x3f4) & 0xc0, ==, 0x80);
        qtest_outb(qt, 0x3f5, bytes[i]);
    }
}

/* READ or WRITE DATA of one sector of track 0, by DMA channel 2; then the result phase. */
static void fdc_sector(QTest *qt, bool read, uint32_t addr, uint8_t sector, uint8_t result[7])
{
    const uint8_t command[] = {read ? 0xe6 : 0xc5, 0, 0, 0, sector, 2, sector, 0x1b, 0xff};

    qtest_outb(qt, 0x0a, 6);
    qtest_outb(qt, 0x0c, 0);
    qtest_outb(qt, 0x04, (uint8_t)addr);
    qtest_outb(qt, 0x04, (uint8_t)(addr >> 8));
    qtest_outb(qt, 0x81, (uint8_t)(addr >> 16));
    qtest_outb(qt, 0x05, 0xff);
    qtest_outb(qt, 0x05, 0x01);
    qtest_outb(qt, 0x0b, read ? 0x46 : 0x4a);
    qtest_outb(qt, 0x0a, 2);
    qtest_clear_irq_count(qt, FDC_PIN);
    fdc_bytes(qt, command, sizeof command);
    while ((qtest_inb(qt, 0x3f4) & 0xc0) != 0xc0) {
        qtest_clock_step(qt, 1000000);
        g_usleep(200);
    }
    g_assert_cmpuint(qtest_irq_count(qt, FDC_PIN), ==, 1);
    for (unsigned i = 0; i < 7; i++) {
        result[i] = qtest_inb(qt, 0x3f5);
    }
    g_assert_false(qtest_get_irq(qt, FDC_PIN));
}

static void test_floppy(void)
{
    g_autofree char *image = pc_numbered_image(2880);
    QTest *qt = qtest_start(PC " -drive if=floppy,format=raw,file=%s", image);
    static const uint8_t recalibrate[] = {0x07, 0}, sense[] = {0x08};
    uint8_t result[7];

    qtest_irq_intercept_in(qt, "ioapic");
    qtest_outb(qt, 0xd6, 0xc0); /* cascade, as firmware does */
    qtest_outb(qt, 0xd4, 0x00);
    qtest_outb(qt, 0x3f2, 0x1c);
    for (unsigned i = 0; i < 4; i++) {
        fdc_bytes(qt, sense, 1);
        qtest_inb(qt, 0x3f5);
        qtest_inb(qt, 0x3f5);
    }
    fdc_bytes(qt, recalibrate, 2);
    qtest_clock_step(qt, 100000000);
    fdc_bytes(qt, sense, 1);
    g_assert_cmphex(qtest_inb(qt, 0x3f5) & 0xe0, ==, 0x20);
    qtest_inb(qt, 0x3f5);
    qtest_dirty_log(qt, true);
    fdc_sector(qt, true, 0x20ff00, 5, result);
    g_assert_cmphex(result[0] & 0xc0, ==, 0);
    pc_check_pages(qt, 0x20ff00, 0x2100ff); /* across 64 KiB: as in QEMU, the address does not wrap */
    fdc_sector(qt, true, 0x212f00, 5, result);
    g_assert_cmphex(result[0] & 0xc0, ==, 0);
    pc_check_pages(qt, 0x212f00, 0x2130ff);
    pc_check_sectors(qt, 0x212f00, 4, 512);
    fdc_sector(qt, false, 0x212f00, 9, result);
    g_assert_cmphex(result[0] & 0xc0, ==, 0);
    pc_check_pages(qt, 1, 0);
    /* No such sector on a track: an abnormal end, and nothing is written. */
    fdc_sector(qt, true, 0x230000, 19, result);
    g_assert_cmphex(result[0] & 0xc0, ==, 0x40);
    pc_check_pages(qt, 1, 0);
    qtest_end(qt);
}

/* Without a medium the controller is there, and the drive is not ready for a transfer. */
static void test_no_medium(void)
{
    QTest *qt = qtest_start(PC);
    static const uint8_t version[] = {0x10}, lock[] = {0x94};

    qtest_irq_intercept_in(qt, "ioapic");
    qtest_outb(qt, 0x3f2, 0x0c);
    g_assert_cmphex(qtest_inb(qt, 0x3f4), ==, 0x80);
    fdc_bytes(qt, version, 1);
    g_assert_cmphex(qtest_inb(qt, 0x3f5), ==, 0x90); /* an 82078 */
    fdc_bytes(qt, lock, 1);
    g_assert_cmphex(qtest_inb(qt, 0x3f5), ==, 0x10);
    g_assert_cmphex(qtest_inb(qt, 0x3f7) & 0x80, ==, 0x80); /* the medium changed: there is none */
    qtest_end(qt);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/fdc/dma", test_floppy);
    g_test_add_func("/fdc/no-medium", test_no_medium);
    return g_test_run();
}
