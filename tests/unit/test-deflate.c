/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What qcow2 packs: zlib must unpack it with the window of 4 KiB that readers of images have. */
#include <string.h>
#include <zlib.h>

#include "block/qcow2/qcow2.h"
#include "img/deflate.h"

static void check(const uint8_t *in, size_t len)
{
    size_t packed_len = 2 * len + 1000;
    g_autofree uint8_t *packed = g_malloc(packed_len), *again = g_malloc(len + 1), *tight = NULL;
    z_stream z = {0};

    g_assert_true(img_deflate(in, len, packed, &packed_len));
    g_assert_cmpint(inflateInit2(&z, -12), ==, Z_OK);
    z.next_in = packed;
    z.avail_in = (uInt)packed_len;
    /* In small steps, so that the window counts. */
    z.next_out = again;
    for (int ret = Z_OK; ret != Z_STREAM_END;) {
        z.avail_out = (uInt)MIN(100, len + 1 - z.total_out);
        ret = inflate(&z, Z_NO_FLUSH);
        g_assert_true(ret == Z_OK || ret == Z_STREAM_END);
    }
    g_assert_cmpuint(z.total_out, ==, len);
    g_assert_cmpuint(z.total_in, ==, packed_len);
    inflateEnd(&z);
    g_assert_cmpint(memcmp(in, again, len), ==, 0);
    /* With less room than it takes it says so, and writes no further. */
    tight = g_malloc(packed_len);
    for (size_t room = packed_len; room + 20 > packed_len && room; room--) {
        size_t got = room - 1;

        tight[room - 1] = 0xa5;
        g_assert_true(!img_deflate(in, len, tight, &got) || got < room);
        g_assert_cmpuint(tight[room - 1], ==, 0xa5);
    }
}

/* Bytes of so many values, with repeats of so much before. */
static void fill(GRand *rand, uint8_t *buf, size_t len, unsigned values, unsigned repeat_percent)
{
    for (size_t at = 0; at < len;) {
        size_t n = (size_t)g_rand_int_range(rand, 1, 400), from;

        n = MIN(n, len - at);
        if (at && (unsigned)g_rand_int_range(rand, 0, 100) < repeat_percent) {
            from = at - (size_t)g_rand_int_range(rand, 1, (gint32)MIN(at, 5000) + 1);
            for (size_t i = 0; i < n; i++) {
                buf[at + i] = buf[from + i];
            }
        } else {
            n = MIN(n, 20);
            for (size_t i = 0; i < n; i++) {
                buf[at + i] = (uint8_t)g_rand_int_range(rand, 0, (gint32)values);
            }
        }
        at += n;
    }
}

static void test_round_trip(void)
{
    static const size_t lens[] = {0, 1, 2, 3, 4, 5, 7, 64, 255, 512, 513, 4095, 4096, 4097, 65536, 200001};
    g_autoptr(GRand) rand = g_rand_new_with_seed(7);
    g_autofree uint8_t *buf = g_malloc(200001);

    for (unsigned i = 0; i < G_N_ELEMENTS(lens); i++) {
        memset(buf, 0, lens[i]);
        check(buf, lens[i]);
        for (unsigned values = 1; values <= 256; values *= values < 4 ? 2 : 4) {
            for (unsigned repeat = 0; repeat <= 100; repeat += 33) {
                fill(rand, buf, lens[i], values, repeat);
                check(buf, lens[i]);
            }
        }
    }
}

static void test_all_lengths(void)
{
    g_autoptr(GByteArray) in = g_byte_array_new();

    for (unsigned len = 3; len < 600; len += len < 270 ? 1 : 50) {
        for (unsigned i = 0; i < len; i++) {
            uint8_t byte = (uint8_t)(len * 7 + (i ? 0 : 1));

            g_byte_array_append(in, &byte, 1);
        }
    }
    check(in->data, in->len);
}

/* Not worse than zlib by more than a little, on something like what disks hold. */
static void test_ratio(void)
{
    g_autoptr(GString) text = g_string_new(NULL);
    g_autofree uint8_t *packed = g_malloc(1 << 16), *theirs = g_malloc(1 << 16);
    z_stream z = {0};
    size_t len = 1 << 16;

    for (unsigned i = 0; text->len < 1 << 16; i++) {
        g_string_append_printf(text, "%u: static int member_%x(const char *name, unsigned count)\n{\n    return %d;\n}\n", i,
                               i * 2654435761u, (int)(i * 40503u % 977));
    }
    g_assert_true(img_deflate((uint8_t *)text->str, 1 << 16, packed, &len));
    deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY);
    z.next_in = (Bytef *)text->str;
    z.avail_in = 1 << 16;
    z.next_out = theirs;
    z.avail_out = 1 << 16;
    g_assert_cmpint(deflate(&z, Z_FINISH), ==, Z_STREAM_END);
    g_test_message("%zu bytes, zlib %lu", len, z.total_out);
    g_assert_cmpuint(len * 10, <=, z.total_out * 12);
    deflateEnd(&z);
}

/* Noise is known at once, and nothing else is taken for it. */
static void test_noise(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(11);
    g_autofree uint8_t *buf = g_malloc(1 << 16), *out = NULL;
    size_t len;

    for (unsigned i = 0; i < 1 << 16; i++) {
        buf[i] = (uint8_t)g_rand_int(rand);
    }
    g_assert_cmpint(qcow2_pack(QCOW2_COMPRESSION_ZLIB, buf, 1 << 16, &out, &len), ==, -E2BIG);
    for (unsigned i = 1000; i < 1 << 16; i++) { /* evenly spread, but the same again and again */
        buf[i] = buf[i - 1000];
    }
    g_assert_cmpint(qcow2_pack(QCOW2_COMPRESSION_ZLIB, buf, 1 << 16, &out, &len), ==, 0);
    g_assert_cmpuint(len, <, 4096);
    g_clear_pointer(&out, free);
    for (unsigned i = 0; i < 1 << 16; i++) { /* seven bits of eight */
        buf[i] = g_rand_int(rand) & 0x7f;
    }
    g_assert_cmpint(qcow2_pack(QCOW2_COMPRESSION_ZLIB, buf, 1 << 16, &out, &len), ==, 0);
    g_assert_cmpuint(len, <, 60000);
    g_clear_pointer(&out, free);
}

/* Both packers make what qcow2_unpack unpacks. */
static void test_clusters(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(5);
    g_autofree uint8_t *buf = g_malloc(1 << 16), *back = g_malloc(1 << 16);

    for (unsigned i = 0; i < 20; i++) {
        uint8_t *packed;
        size_t len;

        fill(rand, buf, 1 << 16, 16, 50);
        if (i == 10) {
            block_set_deflate(img_deflate);
        }
        g_assert_cmpint(qcow2_pack(QCOW2_COMPRESSION_ZLIB, buf, 1 << 16, &packed, &len), ==, 0);
        g_assert_cmpint(qcow2_unpack(QCOW2_COMPRESSION_ZLIB, packed, len, back, 1 << 16), ==, 0);
        g_assert_cmpint(memcmp(buf, back, 1 << 16), ==, 0);
        free(packed);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/deflate/round-trip", test_round_trip);
    g_test_add_func("/deflate/lengths", test_all_lengths);
    g_test_add_func("/deflate/ratio", test_ratio);
    g_test_add_func("/deflate/noise", test_noise);
    g_test_add_func("/deflate/clusters", test_clusters);
    return g_test_run();
}
