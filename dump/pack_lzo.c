/* SPDX-License-Identifier: GPL-2.0-or-later */
/* LZO1X-1 for kdump's pages. */
#include <lzo/lzo1x.h>

#include "dump/pack.h"

static size_t pack(const uint8_t *page, uint8_t *out, void *work)
{
    lzo_uint len = 0;

    return lzo1x_1_compress(page, DUMP_PAGE, out, &len, work) == LZO_E_OK ? len : 0;
}

static bool start(void) { return lzo_init() == LZO_E_OK; }

static const DumpPacker packer = {
    .flag = 2, .bound = DUMP_PAGE + DUMP_PAGE / 16 + 64 + 3, .work = LZO1X_1_MEM_COMPRESS, .start = start, .pack = pack};

KILN_TYPE(dump_packer_lzo) = {.name = "dump-packer-lzo", .parent = "object", .abstract = true, .ops = &packer};
