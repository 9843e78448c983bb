/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between file.c (opening, submitting) and file_io.c (what workers run). */
#ifndef BLOCK_FILE_INT_H
#define BLOCK_FILE_INT_H

#include "block/block_int.h"

typedef struct FileState {
    int fd;
    BlockAio aio;
    BlockEngine *engine; /* for aligned reads and writes */
    uint32_t align;      /* O_DIRECT: offsets and lengths; 1 without */
    uint32_t mem_align;  /* O_DIRECT: buffers; 1 without */
    bool is_device;      /* block device: BLKDISCARD instead of holes */
    bool is_cdrom;
    bool locking;
    uint32_t held_used, held_unshared;
    /* Set by workers, read by workers: the file system cannot do this. */
    int no_punch, no_zero_range;
    int flush_error;                  /* fdatasync failed once: what the cache lost stays lost */
    GQueue writes;                    /* BlockIo (link) in flight; kept only when align > 512 */
    BlockIo *waiting, **waiting_tail; /* overlap with a serialising write */
} FileState;

/* Runs the whole request in the calling thread. */
int file_run(BlockIo *io);
/* Do offset, length and buffers of a read or write suit O_DIRECT? */
bool file_is_aligned(const FileState *f, const BlockIo *io);

#endif
