/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What mapped.c (reads) and mapped_write.c share: requests that are done piece by piece. */
#ifndef BLOCK_FORMATS_MAPPED_INT_H
#define BLOCK_FORMATS_MAPPED_INT_H

#include "block/formats/mapped.h"

/* A request on its way: pieces are started one after the other and go on beside each other. */
typedef struct MappedRequest MappedRequest;
struct MappedRequest {
    BlockNode *node;
    BlockIo *outer;
    /* Starts the next piece, at pos, which it moves on; sets result on failure. False: it has to wait, and
     * mapped_request_go goes on with it. */
    bool (*step)(MappedRequest *r);
    /* All of it is done: ends it (not within submit). NULL: outer->done is all. */
    void (*end)(MappedRequest *r);
    uint64_t pos;        /* started up to here */
    unsigned pending;    /* pieces, and one for the splitting itself */
    bool crowded;        /* goes on when some pieces have ended */
    bool needs_cycle;    /* writes: they are on disk after the next cycle */
    int result;          /* of the first piece that failed */
    MappedRequest *next; /* that waits for the same */
};

/* For submit. */
void mapped_request_start(BlockNode *node, BlockIo *outer, bool (*step)(MappedRequest *r), void (*end)(MappedRequest *r));
/* Not within submit; it may end, and be freed. */
void mapped_request_go(MappedRequest *r);
/* A piece that was counted in pending has ended. */
void mapped_piece_ended(MappedRequest *r, int result);
/* [pos, pos + len) of the request is done (outer's op, with these flags) at offset of file. */
void mapped_request_slice(MappedRequest *r, BlockNode *file, uint64_t offset, uint64_t pos, uint64_t len);

/* The file may end within a piece (its rest reads as zeros), but not before it. */
bool mapped_piece_is_there(const MappedPiece *piece);

/* ---- writing ---------------------------------------------------------------------------------- */

typedef enum MappedStage {
    MAPPED_IDLE,
    MAPPED_AHEAD,  /* what runs ahead is written */
    MAPPED_BLOCKS, /* flushed, with all blocks that entries will name */
    MAPPED_HEADER, /* with a journal: the header that makes its entry count */
    MAPPED_LOGGED, /* flushed */
    MAPPED_TABLES, /* entries are written */
    MAPPED_LAST,   /* flushed */
    MAPPED_CLEAN,  /* with a journal: the header that says that nothing is left to do */
} MappedStage;

/* How far a file was ever written to, or will be by what is in flight. */
typedef struct MappedExtent {
    const BlockChild *child;
    uint64_t end;
} MappedExtent;

struct MappedWriter {
    BlockNode *node;
    GQueue fresh;        /* of mapped_write.c: blocks on their way */
    GArray *extents;     /* MappedExtent, of files that had a new block */
    GPtrArray *regions;  /* MappedRegion * */
    MappedRequest *held; /* that need a place when the stage allows it */

    MappedStage stage;
    unsigned pending;    /* requests of the stage, and one for its start */
    int result;
    GPtrArray *ahead, *tables;  /* of mapped_cycle.c: what this cycle writes */
    bool more;                  /* dirty sectors were left for another one */
    BlockIo *running, *waiting; /* requests that end with this cycle, or with the next one */

    bool begun, beginning;  /* with a journal: the first header is written; is on its way */
    BlockIo begin;          /* the request that brings that about */
    MappedRequest *before;  /* that wait for it */
};

void mapped_submit_change(BlockNode *node, BlockIo *io);
/* io, which is done but for that, ends when what is dirty now is on disk. Within submit or not. */
void mapped_join_cycle(MappedWriter *w, BlockIo *io);
/* Is anything not on disk yet that entries say, or will say? */
bool mapped_is_dirty(const MappedWriter *w);
/* Requests that waited for a place go on. */
void mapped_resume_held(MappedWriter *w);
bool mapped_start_writer(BlockNode *node, GError **err);
void mapped_free_writer(BlockNode *node); /* none is fine */

#endif
