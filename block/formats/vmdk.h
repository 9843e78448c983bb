/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VMware's disk images ("Virtual Disk Format 5.0"). A descriptor (a text, in a file of its own or
 * inside the only extent) lists the extents that the disk consists of. An extent is flat (bytes as
 * they are), or sparse: a directory of tables of 32-bit sector numbers, one for each grain.
 *
 *     header -> grain directory -> grain tables -> grains (64 KiB, plain or a marker and zlib data)
 */
#ifndef BLOCK_FORMATS_VMDK_H
#define BLOCK_FORMATS_VMDK_H

#include "block/formats/mapped.h"

#define VMDK_EXTENTS_MAX 1024
#define VMDK_NO_PARENT 0xffffffff

/* One line of a descriptor. */
typedef struct VmdkLine {
    char *type;      /* FLAT, SPARSE, ... */
    char *filename;  /* NULL: ZERO */
    uint64_t len;    /* bytes */
    uint64_t offset; /* bytes, in a flat file */
} VmdkLine;

typedef struct VmdkDescriptor {
    uint32_t cid, parent_cid;
    char *create_type, *parent; /* NULL: not there */
    GPtrArray *lines;           /* VmdkLine * */
} VmdkDescriptor;

/* Reads a descriptor. NULL: *err says what is wrong with it. */
VmdkDescriptor *vmdk_descriptor_parse(const char *text, GError **err);
void vmdk_descriptor_free(VmdkDescriptor *d); /* NULL is fine */

/* The tables of a sparse extent. */
typedef struct VmdkSparse {
    uint64_t len;   /* bytes of the disk that it holds */
    uint64_t grain; /* bytes */
    uint32_t gtes;  /* entries of a table */
    uint64_t count; /* tables */
    uint8_t **tables; /* NULL: no grain of it is there */
    bool zeroed;      /* entry 1 means zeros */
    bool compressed;
    uint64_t descriptor_offset, descriptor_len; /* bytes; 0: none inside */
} VmdkSparse;

/* Does file begin as a sparse extent does? Error: false with *err. */
bool vmdk_is_sparse(BlockNode *file, bool *yes, GError **err);
/* Loads the tables of the sparse extent in file; tables_left: bytes that they may still take. */
VmdkSparse *vmdk_sparse_load(BlockNode *file, uint64_t *tables_left, GError **err);
void vmdk_sparse_free(VmdkSparse *s); /* NULL is fine */
/* What is at offset (below s->len) of the extent. */
MappedPiece vmdk_sparse_map(const VmdkSparse *s, BlockNode *file, uint64_t offset);

#endif
