/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between file.c (opening, submitting), file_io.c (what workers run) and file_size.c. */
#ifndef BLOCK_FILE_INT_H
#define BLOCK_FILE_INT_H

#include "block/block_int.h"

#define FILE_BRIEF_MAX (64 * KIB) /* BlockIo.brief */
#define FILE_LANES 16

/* Writes of one loop that have to be on stable storage when they end; those that end while a sync is under way share the next
 * one. block/file_sync.c. */
typedef struct FileSync {
    BlockIo *written; /* wait for the next */
    BlockIo *covered; /* by the one under way */
    BlockIo io;       /* which is this */
    void (*finish)(BlockIo *io, int result); /* the file driver's, of each of them */
    unsigned under_way; /* such writes, of O_DIRECT files only those that share */
    bool busy;
} FileSync;

typedef struct FileState {
    int fd;
    BlockAio aio;
    unsigned aio_batch; /* aio-max-batch; 0: the loop's */
    BlockEngine *engine; /* for aligned reads and writes */
    uint32_t align;      /* O_DIRECT: offsets and lengths; 1 without */
    uint32_t mem_align;  /* O_DIRECT: buffers; 1 without */
    bool is_device;      /* block device: BLKDISCARD instead of holes */
    bool is_cdrom;
    bool locking;
    bool in_memory; /* tmpfs: reading and writing never wait for a device */
    bool no_now;    /* atomic; this file cannot be read without waiting */
    unsigned now_skip, now_misses; /* atomic; reads not to try at once any more; misses one after the other */
    BlockNowait nowait[2]; /* of deputed reads, writes */
    unsigned reads; /* in flight in a lone loop (BlockLoop.lone) */
    uint32_t held_used, held_unshared;
    /* With O_DIRECT, where a write that makes the file longer has it to itself and waits for the disk inside the kernel: the
     * file's end, when that lies behind node->size; set by workers, atomic. */
    uint64_t reserved;
    bool reserving, no_reserve; /* atomic; a worker is at it; the file system cannot */
    /* Set by workers, read by workers: the file system cannot do this. */
    int no_punch, no_zero_range;
    uint64_t discards, discards_failed, discarded; /* atomic; bytes */
    /* Atomic. */
    bool promised;   /* a write of the page cache ended before it was synced */
    int flush_error; /* fdatasync failed after that: what the cache lost stays lost */
    int sync_error;  /* -errno, of the last sync that failed */
    unsigned sync_errors; /* how many did */
    /* Of the buffered writes, which the kernel's lock of the file runs singly anyway; of each loop (BlockLoop.index). */
    bool write_lanes[FILE_LANES];
    bool pr_lanes[FILE_LANES]; /* of what goes to pr_manager: it holds up one worker */
    int64_t hurried_ns; /* atomic; file_hurry_sg */
    struct PrManager *pr_manager; /* a reference; NULL: none */
    FileSync *syncs[FILE_LANES]; /* likewise; NULL: none was needed yet */
    pthread_mutex_t lock; /* of all that follows: requests may be in several loops */
    GQueue writes;                    /* BlockIo (link) in flight; kept only with O_DIRECT */
    unsigned serialising;             /* of them */
    BlockIo *waiting, **waiting_tail; /* overlap with a serialising write */
} FileState;

/* Reads, or (in_memory) writes, in the calling thread if that needs no waiting. What is done then is
 * in io->progress. False: there is more to do, or nothing was done. */
bool file_try_now(FileState *f, BlockIo *io);
/* Runs the whole request in the calling thread. */
int file_run(BlockIo *io);
/* The kernel copies up to len bytes between nodes of the file driver, waiting (copy_file_range): bytes, fewer at the end
 * of the source, or -errno. In the owner of both; neither dirty bitmaps nor the size of `to` follow. */
int64_t file_copy_range(const BlockNode *from, uint64_t from_offset, const BlockNode *to, uint64_t to_offset,
                        uint64_t len);
/* The option "aio" of a node of the file driver and its like; NULL: another driver's. */
const char *file_aio_name(const BlockNode *node);
/* Do offset, length and buffers of a read or write suit O_DIRECT? */
bool file_is_aligned(const FileState *f, const BlockIo *io);

/* The descriptor of a node of "file", "host_device" or "host_cdrom". */
static inline int file_fd(const BlockNode *node) { return ((const FileState *)node->state)->fd; }
/* BLOCK_SG, in a worker thread (block/sg.c), and which of these wait for each other. */
int file_run_sg(BlockIo *io);
bool *file_sg_lane(BlockNode *node, const BlockIo *io);
/* Somebody waits for all that is under way. Any thread. */
void file_hurry_sg(BlockNode *node);

/* Is io a write that can share a sync with others? Then file_share_sync, before it is given to an engine: it is not fua any
 * more and ends (io->finish) when a sync has covered it, or it failed. Of the page cache's, file_sync_cached: it shares where
 * that pays. In the loop of io (block/file_sync.c). */
bool file_can_share_sync(const FileState *f, const BlockIo *io);
void file_share_sync(BlockIo *io);
void file_sync_cached(BlockIo *io);
/* A sync has failed with -errno: nothing that is under way is safe. Any thread. */
void file_sync_failed(FileState *f, int error);

/* Driver operations (block/file_size.c). */
bool file_truncate(BlockNode *node, uint64_t size, bool exact, BlockPrealloc prealloc,
                   GError **err);
int64_t file_allocated_size(BlockNode *node);
/* Is io, a write behind the end, better preceded by file_run_reserving? In the owner. */
bool file_should_reserve(const FileState *f, const BlockIo *io);
/* Asks for blocks behind io's as well, then does what file_run does; in a worker. */
int file_run_reserving(BlockIo *io);
/* The file ends where the node does again; while it may be written and nothing is in flight. */
void file_give_back(BlockNode *node);
bool file_create(Vm *vm, const char *filename, BlockOpts *opts, GError **err);

#endif
