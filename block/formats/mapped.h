/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Image formats of other programs, which Kiln only reads (kiln-img convert brings them home).
 *
 * Such a driver loads its tables when it is opened and then says, for any place of the disk, where
 * its bytes are: that is all that mapped.c needs to answer requests. Images come from strangers: a
 * driver checks each number of a header before it is used, bounds what it allocates by
 * MAPPED_TABLES_MAX, and takes no path out of an image but a plain name of a file beside it.
 */
#ifndef BLOCK_FORMATS_MAPPED_H
#define BLOCK_FORMATS_MAPPED_H

#include "block/block_int.h"

/* Of all tables of one image: a few TiB in 64 KiB pieces. */
#define MAPPED_TABLES_MAX (512 * MIB)

typedef enum MappedKind {
    MAPPED_ZERO,   /* zeros, and this image says so */
    MAPPED_ABSENT, /* this image has nothing: the backing file's bytes, zeros without one */
    MAPPED_DATA,   /* at offset of file */
    MAPPED_PACKED, /* zlib data at offset of file that unpacks to at most unpacked_len bytes */
} MappedKind;

typedef struct MappedPiece {
    MappedKind kind;
    uint64_t len;          /* bytes from the asked place on that have this in common; not 0 */
    BlockNode *file;       /* DATA, PACKED */
    uint64_t offset;       /* DATA, PACKED: bytes, in file */
    uint32_t packed_len;   /* PACKED: bytes that the data takes at most, with its marker */
    uint32_t marker_len;   /* PACKED: bytes before the data; the last four give its length */
    uint32_t unpacked_len; /* PACKED */
    uint32_t skip;         /* PACKED: where the asked place is in what it unpacks to */
} MappedPiece;

typedef struct MappedFormat {
    /* What is at offset (below node->size). Owner; reads nothing. */
    MappedPiece (*map)(BlockNode *node, uint64_t offset);
} MappedFormat;

/* The first member of each such driver's state. */
typedef struct PackedRead PackedRead;
typedef struct MappedState {
    const MappedFormat *format;
    uint8_t *table;      /* as in the file (g_free); NULL: it has none */
    uint32_t block_size; /* bytes, where there is a table */
    uint64_t unpacking;  /* bytes of buffers of compressed pieces that are being read */
    PackedRead *waiting, **waiting_tail; /* for room there; tail NULL: as &waiting */
} MappedState;

/* For open, first of all: such an image is read only; refused (or, with auto-read-only, made so) when
 * it is to be written. Then opens the child "file". */
bool mapped_open(BlockNode *node, BlockOpts *opts, const MappedFormat *format, GError **err);
/* For open: len bytes at offset of file; *what names them in the error ("header"). */
bool mapped_read(BlockNode *file, uint64_t offset, void *buf, size_t len, const char *what,
                 GError **err);
/* As mapped_read, into memory of its own (g_free), when a table of this size may be. */
void *mapped_read_table(BlockNode *file, uint64_t offset, uint64_t len, const char *what,
                        GError **err);
/* "Image 'x' is damaged: ..."; always false. */
bool mapped_damaged(const BlockNode *node, GError **err, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* The drivers' submit; close and get_info for those that have but the one table. */
void mapped_submit(BlockNode *node, BlockIo *io);
void mapped_close(BlockNode *node);
void mapped_get_info(BlockNode *node, BlockInfo *info);

#endif
