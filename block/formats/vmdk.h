/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VMware's disk images ("Virtual Disk Format 5.0"). A descriptor (a text, in a file of its own or
 * inside the only extent) lists the extents that the disk consists of. An extent is flat (bytes as
 * they are), or sparse: a directory of tables of 32-bit sector numbers, one for each grain.
 *
 *     header -> grain directory -> grain tables -> grains (64 KiB, plain or a marker and zlib data)
 *
 * Writing: grains are added at the end of an extent's file; mapped.h says when tables follow. There are two directories,
 * whose tables say the same.
 */
#ifndef BLOCK_FORMATS_VMDK_H
#define BLOCK_FORMATS_VMDK_H

#include "block/formats/mapped.h"

#define VMDK_EXTENTS_MAX 1024
#define VMDK_NO_PARENT 0xffffffff

/* ---- the descriptor (vmdk_descriptor.c) ---------------------------------------------------------- */

/* One line of a descriptor. */
typedef struct VmdkLine {
    char *access;    /* RW, RDONLY, NOACCESS */
    char *type;      /* FLAT, SPARSE, ... */
    char *filename;  /* NULL: ZERO */
    uint64_t len;    /* bytes */
    uint64_t offset; /* bytes, in a flat file */
} VmdkLine;

typedef struct VmdkDescriptor {
    char *text;
    uint32_t cid, parent_cid;
    char *create_type, *parent; /* NULL: not there */
    GPtrArray *lines;           /* VmdkLine * */
} VmdkDescriptor;

/* Reads a descriptor. NULL: *err says what is wrong with it. */
VmdkDescriptor *vmdk_descriptor_parse(const char *text, GError **err);
void vmdk_descriptor_free(VmdkDescriptor *d); /* NULL is fine */
/* A content id that is neither old nor VMDK_NO_PARENT. */
uint32_t vmdk_new_cid(uint32_t old);
bool vmdk_descriptor_has_cid(const VmdkDescriptor *d);
/* d's text, which has one, with this content id; from *at on it differs. */
char *vmdk_descriptor_with_cid(const VmdkDescriptor *d, uint32_t cid, size_t *at);

/* ---- sparse extents (vmdk_sparse.c) --------------------------------------------------------------- */

/* Header of a sparse extent; numbers are little-endian, places are sectors. */
enum {
    KDMV_VERSION = 4,
    KDMV_FLAGS = 8,
    KDMV_CAPACITY = 12,
    KDMV_GRAIN = 20,
    KDMV_DESC_OFFSET = 28,
    KDMV_DESC_SIZE = 36,
    KDMV_GTES = 44,
    KDMV_SECOND_OFFSET = 48,
    KDMV_GD_OFFSET = 56,
    KDMV_GRAINS_OFFSET = 64,
    KDMV_NEWLINES = 73,
    KDMV_COMPRESSION = 77,
};
#define KDMV_FLAG_NEWLINES (1u << 0)
#define KDMV_FLAG_SECOND (1u << 1)
#define KDMV_FLAG_ZEROED (1u << 2)
#define KDMV_FLAG_COMPRESSED (1u << 16)
#define KDMV_FLAG_MARKERS (1u << 17)
/* What all tools make. */
#define VMDK_GRAIN (64 * KIB)
#define VMDK_GTES 512u
#define VMDK_DESCRIPTOR_SECTOR UINT64_C(1)
#define VMDK_DESCRIPTOR_SECTORS UINT64_C(20)
/* A grain marker: its sector, and the length of the data behind it. */
#define VMDK_MARKER_SIZE 12

/* The tables of a sparse extent. */
typedef struct VmdkSparse {
    uint64_t len;   /* bytes of the disk that it holds */
    uint64_t grain; /* bytes */
    uint32_t gtes;  /* entries of a table */
    unsigned entry_len; /* bytes: 4, seSparse: 8 */
    uint64_t count; /* tables */
    uint8_t **tables; /* NULL: no grain of it is there */
    uint8_t *bytes;   /* of all of them, one after the other, which tables point into; NULL: it is only read */
    uint32_t *places; /* sectors: where the tables are; 0: nowhere */
    uint32_t *copies; /* the same of the second directory; NULL: there is none, or it is only read */
    bool zeroed;      /* entry 1 means zeros */
    bool compressed;
    const char *only_read; /* why it is not written; NULL: it may be */
    uint64_t descriptor_offset, descriptor_len; /* bytes; 0: none inside */
    uint64_t directory, copies_directory; /* sectors; copies_directory 0: there is none */
    uint64_t grains_offset; /* seSparse: bytes, what its entries count from */
    /* Writing. */
    uint64_t next; /* bytes, in the file: where the next grain goes */
    MappedRegion *regions[2]; /* of the tables and their copies */
} VmdkSparse;

/* Does file begin as a sparse extent does? Error: false with *err. */
bool vmdk_is_sparse(BlockNode *file, bool *yes, GError **err);
/* Loads the tables of the sparse extent in file; tables_left: bytes that they may still take. */
VmdkSparse *vmdk_sparse_load(BlockNode *file, uint64_t *tables_left, GError **err);
/* The same of a seSparse extent (vmdk_sesparse.c). */
VmdkSparse *vmdk_sesparse_load(BlockNode *file, uint64_t *tables_left, GError **err);
/* What is at a grain whose table this is (NULL: it has none); piece: what is known without it. */
MappedPiece vmdk_sesparse_map(const VmdkSparse *s, MappedPiece piece, const uint8_t *table, uint64_t grain, uint64_t within);
/* What loaders share: "Extent ... is damaged: WHAT is VALUE", false; and room for the tables. */
bool vmdk_sparse_damaged(const BlockNode *file, GError **err, const char *what, uint64_t value);
bool vmdk_sparse_alloc(VmdkSparse *s, const BlockNode *file, uint64_t *tables_left, GError **err);
bool vmdk_sparse_load_table(VmdkSparse *s, BlockNode *file, uint64_t index, uint64_t sector, uint64_t *tables_left,
                            GError **err);
void vmdk_sparse_free(VmdkSparse *s); /* NULL is fine */
/* What is at offset (below s->len) of the extent. */
MappedPiece vmdk_sparse_map(const VmdkSparse *s, BlockNode *file, uint64_t offset);

/* ---- the disk (vmdk.c) ----------------------------------------------------------------------------- */

typedef struct VmdkStream VmdkStream;

typedef struct VmdkExtent {
    BlockChild *child;   /* its file; NULL: zeros */
    VmdkSparse *sparse;  /* NULL: flat */
    uint64_t start, len; /* bytes, of the disk */
    uint64_t offset;     /* bytes, in a flat file */
    char *type;
    bool only_read;      /* the descriptor says so */
} VmdkExtent;

typedef struct Vmdk {
    MappedState mapped;
    VmdkDescriptor *descriptor;
    uint64_t descriptor_offset, descriptor_room; /* bytes, in the child "file"; room 0: as much as it takes */
    VmdkExtent *extents;
    unsigned count;
    uint64_t tables_left; /* bytes */
    bool compressed;
    /* Writing. */
    VmdkStream *stream; /* of a compressed image */
    bool cid_changed;   /* since it is written */
    char *cid_text, *cid_bytes; /* on their way into the file; NULL: none are */
    BlockIo cid_io;
    struct iovec cid_iov;
    uint32_t cid_next;
    BlockIo *cid_waiting, **cid_waiting_tail;
} Vmdk;

/* Index of the extent that has this byte of the disk. */
unsigned vmdk_find_extent(const Vmdk *v, uint64_t offset);
/* The content id of an open image. */
uint32_t vmdk_cid(const BlockNode *node);

/* ---- writing (vmdk_write.c) --------------------------------------------------------------------------- */

/* Members of the driver's MappedFormat. */
bool vmdk_start_writing(BlockNode *node, GError **err);
int vmdk_place(BlockNode *node, uint64_t offset, MappedBlock *block);
void vmdk_enter(BlockNode *node, const MappedBlock *block);
void vmdk_give_back(BlockNode *node, const MappedBlock *block);
void vmdk_enter_zeros(BlockNode *node, const MappedBlock *block);
/* Why such images can only be read; NULL: they may be written, as far as is known before start_writing looks. */
const char *vmdk_why_only_read(const Vmdk *v);
/* Room at the end of the file: bytes, or -ENOSPC: entries hold no larger numbers. */
int64_t vmdk_sparse_take(VmdkSparse *s, uint64_t len);
/* The new entry of a grain of the extent. */
void vmdk_sparse_enter(VmdkSparse *s, uint64_t grain, uint32_t sector);

/* The driver's submit (vmdk_request.c). */
void vmdk_submit(BlockNode *node, BlockIo *io);

/* Compressed images (vmdk_stream.c). io: a WRITE or ZERO; it ends later. */
void vmdk_stream_write(BlockNode *node, BlockIo *io);
VmdkStream *vmdk_stream_new(BlockNode *node);
void vmdk_stream_free(VmdkStream *stream); /* NULL is fine */

/* ---- new images (vmdk_create.c) ----------------------------------------------------------------------- */

extern const BlockCreateOpt vmdk_create_opts[];
bool vmdk_create(Vm *vm, const char *filename, BlockOpts *opts, GError **err);
bool vmdk_driver_format_prepare(BlockFormat *f, BlockOpts *opts, GError **err);
bool vmdk_driver_format(BlockFormat *f, GError **err);
void vmdk_driver_format_free(BlockFormat *f);

#endif
