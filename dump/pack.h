/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How pages of a kdump are compressed: zlib's way is in the program, others come with modules. */
#ifndef DUMP_PACK_H
#define DUMP_PACK_H

#include "core/object.h"
#include "qapi/qapi-dump.h"

#define DUMP_PAGE 4096

/* Ops of types "dump-packer-*". Any thread. */
typedef struct DumpPacker {
    uint32_t flag;                  /* in the header's status and in descriptors of compressed pages */
    size_t bound;                   /* bytes that a page can become */
    size_t work;                    /* bytes of memory that pack needs besides */
    bool (*start)(void);            /* once or more before the first page; NULL: nothing is to do */
    /* The length of what page has become in out; 0: it could not be compressed. */
    size_t (*pack)(const uint8_t *page, uint8_t *out, void *work);
} DumpPacker;

/* NULL with *err when its module cannot be loaded, and for ELF files. Main thread. */
const DumpPacker *dump_packer(DumpGuestMemoryFormat format, GError **err);

#endif
