/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Compressed clusters: raw deflate and zstd. Called by worker threads; no state but zstd's working memory,
 * which each thread keeps: making it costs as much as packing a cluster of noise.
 *
 * The length in an L2 entry is rounded up to sectors, so what follows the end of a stream is not
 * looked at. Other programs inflate with a window of 4 KiB: libdeflate unpacks, but it cannot be told
 * how far matches may reach back, so zlib packs, or what the program set (block_set_deflate).
 */
#include <libdeflate.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#include "block/qcow2/qcow2.h"
#include "util/util.h"

/* ---- what cannot be packed ------------------------------------------------------------------- */

#define SAMPLE (8 * KIB)
#define REPEATS_HASH 11

/* Are byte values as evenly spread as in noise? The sum of their squares is n * n / 256 + n there. */
static bool is_even(const uint8_t *in)
{
    uint32_t count[4][256] = {{0}};
    uint64_t squares = 0;

    for (unsigned i = 0; i < SAMPLE; i += 4) {
        count[0][in[i]]++;
        count[1][in[i + 1]]++;
        count[2][in[i + 2]]++;
        count[3][in[i + 3]]++;
    }
    for (unsigned i = 0; i < 256; i++) {
        uint64_t n = count[0][i] + count[1][i] + count[2][i] + count[3][i];

        squares += n * n;
    }
    return squares < SAMPLE * SAMPLE / 256 * 11 / 10;
}

/* Does anything of four bytes come again within reach? */
static bool repeats(const uint8_t *in)
{
    uint16_t at[1 << REPEATS_HASH] = {0};
    unsigned found = 0;

    for (unsigned i = 0; i + 4 <= SAMPLE; i++) {
        uint32_t value, before;
        unsigned hash;

        memcpy(&value, in + i, 4);
        hash = (value * 0x9e3779b1u) >> (32 - REPEATS_HASH);
        memcpy(&before, in + at[hash], 4);
        found += before == value && at[hash] != i;
        at[hash] = (uint16_t)i;
    }
    return found > SAMPLE / 256;
}

/* Noise, by samples: packing it would take the most time of all, for nothing. */
static bool is_noise(const uint8_t *in, size_t len)
{
    size_t step = align_down(len / 4, 16);

    if (len < 4 * SAMPLE) {
        return false;
    }
    for (size_t at = 0; at + SAMPLE <= len; at += step) {
        if (!is_even(in + at) || repeats(in + at)) {
            return false;
        }
    }
    return true;
}

/* ---- deflate -------------------------------------------------------------------------------- */

#define WINDOW_BITS 12

static bool pack_zlib(const uint8_t *in, size_t len, uint8_t *out, size_t *out_len)
{
    z_stream z = {.next_in = (Bytef *)in, .avail_in = (uInt)len, .next_out = out,
                  .avail_out = (uInt)*out_len};
    int ret = deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -WINDOW_BITS, MAX_MEM_LEVEL,
                           Z_DEFAULT_STRATEGY);

    if (ret == Z_OK) {
        ret = deflate(&z, Z_FINISH);
        *out_len = z.total_out;
        deflateEnd(&z);
    }
    return ret == Z_STREAM_END;
}

static BlockDeflate *pack_deflate = pack_zlib;

void block_set_deflate(BlockDeflate *deflate)
{
    pack_deflate = deflate;
}

static int unpack_deflate(const uint8_t *in, size_t in_len, uint8_t *out, size_t len)
{
    struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
    size_t used, got = 0;
    enum libdeflate_result ret;

    if (!d) {
        return -ENOMEM;
    }
    ret = libdeflate_deflate_decompress_ex(d, in, in_len, out, len, &used, &got);
    libdeflate_free_decompressor(d);
    return ret == LIBDEFLATE_SUCCESS && got == len ? 0 : -EIO;
}

/* ---- zstd ----------------------------------------------------------------------------------- */

/* One below the library's default: as small within a hundredth, at two thirds of the CPU time. */
#define ZSTD_LEVEL 2

static void free_packer(void *packer)
{
    ZSTD_freeCCtx(packer);
}

static void free_unpacker(void *unpacker)
{
    ZSTD_freeDCtx(unpacker);
}

static GPrivate zstd_packer = G_PRIVATE_INIT(free_packer), zstd_unpacker = G_PRIVATE_INIT(free_unpacker);

static int pack_zstd(const uint8_t *in, size_t len, uint8_t *out, size_t *out_len)
{
    ZSTD_CCtx *packer = g_private_get(&zstd_packer);
    size_t ret;

    if (!packer) {
        packer = ZSTD_createCCtx();
        if (!packer) {
            return -ENOMEM;
        }
        g_private_set(&zstd_packer, packer);
    }
    ret = ZSTD_compressCCtx(packer, out, *out_len, in, len, ZSTD_LEVEL);
    if (ZSTD_isError(ret)) {
        return -E2BIG;
    }
    *out_len = ret;
    return 0;
}

static int unpack_zstd(const uint8_t *in, size_t in_len, uint8_t *out, size_t len)
{
    ZSTD_DCtx *unpacker = g_private_get(&zstd_unpacker);
    ZSTD_inBuffer src = {in, in_len, 0};
    ZSTD_outBuffer dst = {out, len, 0};

    if (!unpacker) {
        unpacker = ZSTD_createDCtx();
        if (!unpacker) {
            return -ENOMEM;
        }
        g_private_set(&zstd_unpacker, unpacker);
    }
    ZSTD_DCtx_reset(unpacker, ZSTD_reset_session_only);
    while (dst.pos < len) {
        size_t before = src.pos + dst.pos, ret = ZSTD_decompressStream(unpacker, &dst, &src);

        if (ZSTD_isError(ret) || src.pos + dst.pos == before) {
            break;
        }
    }
    return dst.pos == len ? 0 : -EIO;
}

/* ---- for the paths -------------------------------------------------------------------------- */

int qcow2_pack(unsigned type, const uint8_t *in, size_t len, uint8_t **out, size_t *out_len)
{
    int ret;

    if (type != QCOW2_COMPRESSION_ZSTD && is_noise(in, len)) {
        return -E2BIG; /* (zstd finds out itself, faster) */
    }
    *out_len = len - 1;
    *out = malloc(len);
    if (!*out) {
        return -ENOMEM;
    }
    ret = type == QCOW2_COMPRESSION_ZSTD             ? pack_zstd(in, len, *out, out_len)
          : pack_deflate(in, len, *out, out_len) ? 0
                                                 : -E2BIG;
    if (ret < 0) {
        free(*out);
        *out = NULL;
    }
    return ret;
}

int qcow2_unpack(unsigned type, const uint8_t *in, size_t in_len, uint8_t *out, size_t len)
{
    return type == QCOW2_COMPRESSION_ZSTD ? unpack_zstd(in, in_len, out, len)
                                          : unpack_deflate(in, in_len, out, len);
}
