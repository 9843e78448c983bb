/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What new images of other programs' formats have in common. */
#include "block/formats/mapped.h"

bool mapped_create_write(BlockNode *file, uint64_t offset, const void *buf, size_t len, GError **err)
{
    int ret = block_pwrite(file, offset, buf, len, 0);

    return ret >= 0 || error_set_errno(err, -ret, "Could not write to '%s'", file->filename ? file->filename : file->name);
}

bool mapped_create_fill(BlockNode *file, uint64_t offset, uint64_t len, uint8_t byte, GError **err)
{
    size_t piece = (size_t)MIN(len, MIB);
    g_autofree uint8_t *buf = g_malloc(MAX(piece, 1));

    memset(buf, byte, piece);
    for (uint64_t pos = 0; pos < len; pos += MIN(len - pos, piece)) {
        if (!mapped_create_write(file, offset + pos, buf, MIN(len - pos, piece), err)) {
            return false;
        }
    }
    return true;
}

void mapped_make_guid(uint8_t guid[16])
{
    g_autofree char *text = g_uuid_string_random();
    unsigned n = 0;

    for (const char *p = text; n < 16; p += 2) {
        p += *p == '-';
        guid[n++] = (uint8_t)(g_ascii_xdigit_value(p[0]) << 4 | g_ascii_xdigit_value(p[1]));
    }
}

void mapped_format_free(BlockFormat *f) { g_free(f->plan); }
