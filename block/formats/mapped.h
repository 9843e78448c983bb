/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Image formats of other programs: tables say for each block of the disk where in a file it lies.
 *
 * Such a driver loads its tables when it is opened and then says, for any place of the disk, where
 * its bytes are: that is all that mapped.c needs to answer reads. Images come from strangers: a
 * driver checks each number of a header before it is used, bounds what it allocates by
 * MAPPED_TABLES_MAX, and takes no path out of an image but a plain name of a file beside it.
 *
 * Writing (mapped_write.c). What has a place is written there. A block without one gets it once: the
 * driver names a free place (place), the whole block is written there, zeros or the backing file's
 * bytes around what the guest wrote, and then the driver changes its tables in memory (enter).
 * Requests to the same block wait meanwhile. Tables go to the file in cycles, which flush requests
 * (and writes that must be on disk) start and share:
 *
 *     what runs ahead (counts, a footer) -> flush -> the table sectors that were dirty when the cycle
 *     began -> flush
 *
 * So no entry in the file ever names a block whose bytes are not there, whenever the power fails; what
 * is lost at worst is the room of blocks that nobody names. A cycle that fails leaves its sectors dirty:
 * the next one writes them.
 */
#ifndef BLOCK_FORMATS_MAPPED_H
#define BLOCK_FORMATS_MAPPED_H

#include "block/format.h"

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

/* A block of the disk that gets a place in a file. */
typedef struct MappedBlock {
    uint64_t start, len; /* bytes of the disk that it holds */
    BlockChild *child;   /* whose node is the file */
    uint64_t offset;     /* bytes, in the file, of what is at start */
    uint64_t file_len;   /* bytes from there on that have to be in the file; behind len they are zeros */
    uint32_t marked;     /* bytes before offset that become 0xff */
    uint64_t index;      /* the driver's own */
} MappedBlock;

/* Bytes that are to be written. */
typedef struct MappedBytes {
    BlockChild *child; /* whose node is the file */
    uint64_t offset, len;
    uint8_t *bytes;    /* g_malloc'd; NULL: nothing */
} MappedBytes;

/*
 * Formats whose tables are changed through a log of their own. A cycle then is
 *
 *     what runs ahead, with the log entry -> flush -> a header that makes the entry count -> flush ->
 *     table sectors -> flush -> a header that says that nothing is left to do
 *
 * and is repeated when the log takes no more at once. Owner, all of them.
 */
typedef struct MappedJournal {
    /* How many sectors (of BLOCK_SECTOR) of tables go into one entry; at most. */
    uint64_t (*room)(const BlockNode *node);
    /* The entry for these runs (MappedBytes *). */
    MappedBytes (*entry)(BlockNode *node, const GPtrArray *runs);
    /* A header: entry tells whether there is one that counts from now on. Asked for when what comes before is on disk. */
    MappedBytes (*header)(BlockNode *node, bool entry);
    /* It is written (not flushed yet). */
    void (*header_done)(BlockNode *node);
} MappedJournal;

/* Owner, all of them; they neither read nor write, but for start_writing. */
typedef struct MappedFormat {
    /* What is at offset (below node->size). */
    MappedPiece (*map)(BlockNode *node, uint64_t offset);
    /* The image is to be written from now on; nothing is in flight. Refuses images where that would
     * do harm (mapped_check_places), and names the tables (mapped_add_region). NULL: such images are
     * only read. */
    bool (*start_writing)(BlockNode *node, GError **err);
    /* A free place for the block at offset, where map finds neither DATA nor PACKED. map does not show
     * it before enter. 0 or -errno (-ENOSPC: the format holds no more). NULL: there are no such blocks. */
    int (*place)(BlockNode *node, uint64_t offset, MappedBlock *block);
    /* The block's bytes are written: map shows it from now on, mapped_dirty tells what of the tables changed. */
    void (*enter)(BlockNode *node, const MappedBlock *block);
    /* It could not be written: its place is free again. */
    void (*give_back)(BlockNode *node, const MappedBlock *block);
    /* The block of that entry reads as zeros from now on, whatever the backing file has. Its place is not
     * used. NULL: the format has no such entry. */
    void (*enter_zeros)(BlockNode *node, const MappedBlock *block);
    /* A cycle begins: brings up to date what runs ahead (regions with .ahead); place is not called until
     * that is written. NULL: nothing does. */
    void (*settle)(BlockNode *node);
    /* NULL: tables are written where they lie. With a journal, a header goes out before the first change of anything. */
    const MappedJournal *journal;
} MappedFormat;

/* Bytes of a file that the driver keeps in memory and changes: a table, a header. */
typedef struct MappedRegion MappedRegion;
struct MappedRegion {
    BlockChild *child; /* whose node is the file */
    uint8_t *bytes;    /* the driver's; as in the file */
    uint64_t len;
    uint64_t offset;   /* of bytes, in the file */
    /* Where in the file the sector at pos (a multiple of BLOCK_SECTOR) of bytes lies, when they are not in
     * one piece there. NULL: at offset + pos. */
    uint64_t (*sector_at)(const MappedRegion *region, uint64_t pos);
    void *opaque;      /* the driver's */
    bool ahead;        /* written before blocks are flushed, entries come after */

    uint64_t *dirty; /* the writer's from here on: a bit a sector */
    bool any_dirty;
};

/* The first member of each such driver's state. */
typedef struct MappedWriter MappedWriter;
typedef struct PackedRead PackedRead;
typedef struct MappedState {
    const MappedFormat *format;
    uint8_t *table;      /* as in the file (g_free); NULL: it has none */
    uint32_t block_size; /* bytes, where there is a table */
    uint64_t unpacking;  /* bytes of buffers of compressed pieces that are being read */
    PackedRead *waiting, **waiting_tail; /* for room there; tail NULL: as &waiting */
    MappedWriter *writer; /* NULL: it was never to be written */
    bool was_shared;      /* others could write it while its tables were in memory */
} MappedState;

/* For open, first of all: opens the child "file". What is only read is refused (or, with auto-read-only,
 * made read-only) when it is to be written. */
bool mapped_open(BlockNode *node, BlockOpts *opts, const MappedFormat *format, GError **err);
/* For open, last of all: gets ready to write, unless the node is read-only. Then, as on any failure of
 * open, mapped_close frees what is common. */
bool mapped_opened(BlockNode *node, GError **err);
/* For open: len bytes at offset of file; *what names them in the error ("header"). */
bool mapped_read(BlockNode *file, uint64_t offset, void *buf, size_t len, const char *what,
                 GError **err);
/* As mapped_read, into memory of its own (g_free), when a table of this size may be. */
void *mapped_read_table(BlockNode *file, uint64_t offset, uint64_t len, const char *what,
                        GError **err);
/* len or, where the file has them, up to a whole number of sectors: how a table is best written. */
uint64_t mapped_whole_sectors(const BlockNode *file, uint64_t offset, uint64_t len);
/* "Image 'x' is damaged: ..."; always false. */
bool mapped_damaged(const BlockNode *node, GError **err, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* ---- for start_writing ------------------------------------------------------------------------ */

/* Adds a region, a copy of *shape; it lives as long as the node is open. */
MappedRegion *mapped_add_region(BlockNode *node, const MappedRegion *shape);
/* [pos, pos + len) of the region has changed. */
void mapped_dirty(MappedRegion *region, uint64_t pos, uint64_t len);

/* What a table says about places. */
typedef struct MappedPlaces {
    BlockNode *file;
    uint64_t count; /* entries */
    /* Where what entry i names begins (bytes in file, with what belongs to it before its data);
     * MAPPED_NO_PLACE: it names nothing. */
    uint64_t (*at)(BlockNode *node, uint64_t i, const void *opaque);
    const void *opaque;
    uint64_t len;           /* bytes that each takes */
    const uint64_t (*metadata)[2]; /* offsets and lengths of headers and tables, where no block may lie */
    unsigned metadata_count;
    uint64_t end;           /* result: where the last one of blocks and metadata ends */
} MappedPlaces;
#define MAPPED_NO_PLACE UINT64_MAX
/* Can it be written? Not when blocks lie in metadata, in each other, or begin behind the end of the file, or metadata in itself. */
bool mapped_check_places(BlockNode *node, MappedPlaces *places, GError **err);

/* ---- for create ------------------------------------------------------------------------------- */

bool mapped_create_write(BlockNode *file, uint64_t offset, const void *buf, size_t len, GError **err);
/* len bytes, each as byte. */
bool mapped_create_fill(BlockNode *file, uint64_t offset, uint64_t len, uint8_t byte, GError **err);
/* format_free of a plan that is one piece of memory. */
void mapped_format_free(BlockFormat *f);
/* A random one (version 4), in the order of its text. */
void mapped_make_guid(uint8_t guid[16]);

/* ---- operations of the drivers ----------------------------------------------------------------- */

void mapped_submit(BlockNode *node, BlockIo *io);
/* Writes out what is dirty, then frees what is common: also what start_writing made, and the table. */
void mapped_close(BlockNode *node);
bool mapped_reopen_prepare(BlockReopen *reopen, GError **err);
void mapped_get_info(BlockNode *node, BlockInfo *info);

#endif
