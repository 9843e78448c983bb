/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dump/pack.h"

#include <zlib.h>

static size_t pack_zlib(const uint8_t *page, uint8_t *out, void *work)
{
    uLongf len = compressBound(DUMP_PAGE);

    return compress2(out, &len, page, DUMP_PAGE, Z_BEST_SPEED) == Z_OK ? len : 0;
}

/* compressBound's formula. */
static const DumpPacker zlib_packer = {
    .flag = 1, .bound = DUMP_PAGE + (DUMP_PAGE >> 12) + (DUMP_PAGE >> 14) + (DUMP_PAGE >> 25) + 13, .pack = pack_zlib};

const DumpPacker *dump_packer(DumpGuestMemoryFormat format, GError **err)
{
    static const char *const types[] = {
        [DUMP_GUEST_MEMORY_FORMAT_KDUMP_LZO] = "dump-packer-lzo",
        [DUMP_GUEST_MEMORY_FORMAT_KDUMP_SNAPPY] = "dump-packer-snappy",
    };

    if (format == DUMP_GUEST_MEMORY_FORMAT_KDUMP_ZLIB) {
        return &zlib_packer;
    }
    if ((unsigned)format >= G_N_ELEMENTS(types) || !types[format]) {
        error_set(err, "this format compresses nothing");
        return NULL;
    }
    const Type *type = type_load(types[format], err);
    const DumpPacker *packer = type ? type_ops(type) : NULL;
    if (packer && packer->start && !packer->start()) {
        error_set(err, "%s: the library does not work on this host", types[format]);
        return NULL;
    }
    return packer;
}
