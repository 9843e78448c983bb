/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the tests of several of the pc's devices need: a small machine, the 8259s, ticks of the timer
 * chip, pages that were written, and images whose sectors can be told apart.
 */
#ifndef TESTS_QTEST_PC_H
#define TESTS_QTEST_PC_H

#include "tests/qtest/libqtest.h"

#define PC "-machine pc -m 32 -nodefaults"

/* ---- 8254 and 8259 -------------------------------------------------------------------------- */

/* ns that n clocks of the timer chip take, rounded up */
#define PIT_TICK(n) ((n) * INT64_C(1000000000) / 1193182 + 1)

/* Edge-triggered, cascaded at line 2, all lines open; vectors 8 and 70h as a PC's firmware has them. */
static inline void pc_pic_init(QTest *qt)
{
    static const uint8_t words[][2] = {{0x11, 0x08}, {0x11, 0x70}};

    for (unsigned i = 0; i < 2; i++) {
        uint16_t port = i ? 0xa0 : 0x20;

        qtest_outb(qt, port, words[i][0]);
        qtest_outb(qt, port + 1, words[i][1]);
        qtest_outb(qt, port + 1, i ? 2 : 4);
        qtest_outb(qt, port + 1, 1);
    }
}

/* The 8259s' request bits, 16 of them. */
static inline unsigned pc_pic_requests(QTest *qt)
{
    qtest_outb(qt, 0x20, 0x0a);
    qtest_outb(qt, 0xa0, 0x0a);
    return qtest_inb(qt, 0x20) | qtest_inb(qt, 0xa0) << 8;
}

/* ---- memory --------------------------------------------------------------------------------- */

#define PC_PAGE 4096

/* Pages written since the last check are [first, last] by address; first > last: none. */
static inline void pc_check_pages(QTest *qt, uint64_t first, uint64_t last)
{
    g_autofree char *pages = qtest_dirty_pages(qt);
    g_autoptr(GString) want = g_string_new(NULL);

    for (uint64_t at = first & -(uint64_t)PC_PAGE; first <= last && at <= last; at += PC_PAGE) {
        g_string_append_printf(want, "%s0x%" G_GINT64_MODIFIER "x", want->len ? " " : "", at);
    }
    g_assert_cmpstr(pages, ==, want->str);
}

static inline void pc_forget_pages(QTest *qt)
{
    g_free(qtest_dirty_pages(qt));
}

/* Byte n of sector s is 7 s + (its offset in the file) mod 251. The caller frees the path. */
static inline char *pc_numbered_image(size_t sectors)
{
    g_autofree uint8_t *data = g_malloc(sectors * 512);

    for (size_t i = 0; i < sectors * 512; i++) {
        data[i] = (uint8_t)(i / 512 * 7 + i % 251);
    }
    return qtest_temp_file(data, sectors * 512);
}

/* That bytes from first's begin on are at addr. */
static inline void pc_check_sectors(QTest *qt, uint64_t addr, size_t first, size_t bytes)
{
    g_autofree uint8_t *data = g_malloc(bytes);

    qtest_memread(qt, addr, data, bytes);
    for (size_t i = 0; i < bytes; i++) {
        size_t at = first * 512 + i;

        g_assert_cmphex(data[i], ==, (uint8_t)(at / 512 * 7 + at % 251));
    }
}

#endif
