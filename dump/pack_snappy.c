/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Snappy for kdump's pages. */
#include <snappy-c.h>

#include "dump/pack.h"

#define BOUND (32 + DUMP_PAGE + DUMP_PAGE / 6) /* snappy_max_compressed_length's formula */

static size_t pack(const uint8_t *page, uint8_t *out, void *work)
{
    size_t len = BOUND;

    return snappy_compress((const char *)page, DUMP_PAGE, (char *)out, &len) == SNAPPY_OK ? len : 0;
}

static const DumpPacker packer = {.flag = 4, .bound = BOUND, .pack = pack};

KILN_TYPE(dump_packer_snappy) = {.name = "dump-packer-snappy", .parent = "object", .abstract = true, .ops = &packer};
