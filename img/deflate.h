/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How the tools pack zlib clusters. */
#ifndef IMG_DEFLATE_H
#define IMG_DEFLATE_H

#include "block/block_int.h"

/* A BlockDeflate, for block_set_deflate. */
bool img_deflate(const uint8_t *in, size_t len, uint8_t *out, size_t *out_len);

#endif
