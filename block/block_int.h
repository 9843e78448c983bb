/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside block/: nodes, drivers, the requests that travel through them.
 *
 * A request enters at the top node (a format: "raw") and is handed down, in place where the driver
 * only moves it, until a protocol driver ("file", "null-co") gives it to an engine. The engine ends
 * it later from the loop, under the VM lock: never inside submit.
 */
#ifndef BLOCK_BLOCK_INT_H
#define BLOCK_BLOCK_INT_H

#include "block/block.h"

#define BLOCK_SECTOR 512
#define BLOCK_PROBE_SIZE 2048

typedef struct BlockDriver BlockDriver;
typedef struct BlockEngine BlockEngine;
typedef struct BlockIo BlockIo;
typedef struct BlockOpts BlockOpts;
typedef struct BlockState BlockState;

/* ---- requests ------------------------------------------------------------------------------- */

typedef enum BlockOp { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_ZERO } BlockOp;

struct BlockIo {
    BlockOp op;
    bool fua;                /* writes: on stable storage when done */
    bool may_unmap;          /* BLOCK_ZERO: a hole will do */
    uint64_t offset, len;    /* bytes, in the node it is at now */
    const struct iovec *iov; /* BLOCK_READ, BLOCK_WRITE: exactly len bytes */
    unsigned iov_count;
    void (*done)(BlockIo *io, int result); /* the submitter's; 0 or -errno */

    /* Of the protocol driver and its engine, from submit to done. */
    int (*run)(BlockIo *io);                 /* does it all at once, in a worker thread */
    void (*finish)(BlockIo *io, int result); /* in the loop; calls done */
    BlockNode *node;
    int fd;
    uint64_t progress; /* bytes that are already done */
    bool serialising;  /* changes more than it was asked to (read-modify-write) */
    bool started;
    int result;
    BlockIo *next;
    GList link; /* in its node's list of writes */
};

/* ---- engines -------------------------------------------------------------------------------- */

typedef enum BlockAio {
    BLOCK_AIO_THREADS,
    BLOCK_AIO_NATIVE,
    BLOCK_AIO_IO_URING,
    BLOCK_AIO_KINDS
} BlockAio;

typedef struct BlockEngineOps {
    const char *name;
    /* io->fd, offset, len, progress, iov are set; io->finish runs later from the loop. False: the
     * engine cannot take it now (ring full), nothing happened. */
    bool (*submit)(BlockEngine *engine, BlockIo *io);
    /* Blocks until at least one request of this engine has been finished. Something is in flight.
     */
    void (*wait)(BlockEngine *engine);
    /* True: it had not started and finishes with -ECANCELED. */
    bool (*cancel)(BlockEngine *engine, BlockIo *io);
    void (*free)(BlockEngine *engine);
} BlockEngineOps;

struct BlockEngine {
    const BlockEngineOps *ops;
    BlockState *state;
    unsigned in_flight;
};

BlockEngine *block_engine_threads_new(BlockState *state, GError **err);
BlockEngine *block_engine_aio_new(BlockState *state, GError **err);
BlockEngine *block_engine_uring_new(BlockState *state, GError **err);
/* The VM's engine of this kind, made when it is first asked for; threads with one warning where the
 * host refuses the kind. */
BlockEngine *block_engine(Vm *vm, BlockAio kind, GError **err);
/* Ends io from the loop with this result, as if an engine had done it. */
void block_io_finish_later(Vm *vm, BlockIo *io, int result);
/* In a worker: io->run. For engines that hand over what they cannot do. */
void block_io_run_in_thread(Vm *vm, BlockIo *io);

/* ---- nodes and drivers ---------------------------------------------------------------------- */

/* QEMU's permission bits: byte 100 + bit is locked when used, byte 200 + bit when not shared. */
enum {
    BLOCK_PERM_CONSISTENT_READ = 1 << 0,
    BLOCK_PERM_WRITE = 1 << 1,
    BLOCK_PERM_WRITE_UNCHANGED = 1 << 2,
    BLOCK_PERM_RESIZE = 1 << 3,
    BLOCK_PERM_ALL = 0xf,
};

struct BlockDriver {
    const char *name;
    bool is_format; /* has a child "file" */
    size_t state_size;
    /* Takes its options out of opts. node has filename-independent fields set. */
    bool (*open)(BlockNode *node, BlockOpts *opts, GError **err);
    void (*close)(BlockNode *node);
    void (*submit)(BlockNode *node, BlockIo *io);
    /* What all users together do, and what they cannot stand others doing. NULL: fine. */
    bool (*set_perm)(BlockNode *node, uint32_t used, uint32_t unshared, GError **err);
};

struct BlockNode {
    Vm *vm;
    const BlockDriver *drv;
    void *state;      /* drv->state_size bytes */
    char *name;       /* node-name, "#block012" for those without */
    char *filename;   /* as the user wrote it; NULL for null-co */
    BlockNode *child; /* role "file" */
    unsigned refs;
    uint64_t size; /* bytes */
    bool read_only;
    bool auto_read_only;   /* read-only will do when it cannot be written */
    bool direct, no_flush; /* cache.direct, cache.no-flush */
    bool discard_unmap;    /* discard=unmap */
    bool probed;           /* nobody said that this is raw */
    bool user_named;
};

extern const BlockDriver block_driver_file, block_driver_host_device, block_driver_host_cdrom,
    block_driver_raw, block_driver_null;

const BlockDriver *block_driver_find(const char *name);
/* Opens a node (and the nodes nested in opts), one reference. option_hint: "-drive" or "-blockdev".
 */
BlockNode *block_node_open(Vm *vm, BlockOpts *opts, const BlockNode *parent_defaults, GError **err);
BlockNode *block_node_find(Vm *vm, const char *name);
BlockNode *block_node_ref(BlockNode *node);
void block_node_unref(BlockNode *node);
bool block_node_set_perm(BlockNode *node, uint32_t used, uint32_t unshared, GError **err);
static inline void block_node_submit(BlockNode *node, BlockIo *io)
{
    node->drv->submit(node, io);
}

/* The name of the format that these first bytes of an image show; "raw" when none is recognised. */
const char *block_probe_format(const uint8_t *buf, size_t len, const char *filename);
/* Formats that Kiln will know: what to say about them instead of "unknown driver". */
bool block_format_is_planned(const char *name);

/* ---- the VM's block layer ------------------------------------------------------------------- */

struct BlockState {
    Vm *vm;
    GPtrArray *nodes;     /* BlockNode *, all */
    GPtrArray *backends;  /* BlockBackend *, all */
    GPtrArray *drives;    /* DriveInfo * */
    GPtrArray *blockdevs; /* BlockNode *, a reference each: made by -blockdev */
    BlockEngine *engines[BLOCK_AIO_KINDS];
    bool engine_warned[BLOCK_AIO_KINDS];
    unsigned next_node; /* for generated names */
};

/* vm->block, made when needed. */
BlockState *block_state(Vm *vm);
/* A back end over node (which may be NULL); takes its own reference. name may be NULL. */
BlockBackend *blk_new(Vm *vm, const char *name, BlockNode *node);
void blk_set_drive_info(BlockBackend *blk, DriveInfo *info);
/* The VM runs again: tells devices whose requests stopped it. */
void blk_retry_all(Vm *vm);
/* Waits until one request anywhere in the VM has ended; false when none is in flight. */
bool block_wait_one(Vm *vm);

/* ---- options -------------------------------------------------------------------------------- */

/* A flat set of dotted keys and values; what is not taken out in the end is refused. */
BlockOpts *block_opts_new(void);
void block_opts_free(BlockOpts *opts);
/* k=v,k2=v2 with ",," for a comma; a first part without "=" is the value of implied_key. */
BlockOpts *block_opts_parse(const char *text, const char *implied_key, GError **err);
BlockOpts *block_opts_parse_json(const char *text, GError **err);
void block_opts_set(BlockOpts *opts, const char *key, const char *value);
const char *block_opts_peek(const BlockOpts *opts, const char *key);
bool block_opts_has_prefix(const BlockOpts *opts, const char *prefix);
/* Taken out; the caller frees. NULL when absent. */
char *block_opts_take(BlockOpts *opts, const char *key);
/* Takes all "prefix.x" as "x". */
BlockOpts *block_opts_take_prefix(BlockOpts *opts, const char *prefix);
/* False with *err for a malformed value; *value unchanged when absent. */
bool block_opts_take_bool(BlockOpts *opts, const char *key, bool *value, GError **err);
bool block_opts_take_size(BlockOpts *opts, const char *key, uint64_t *value, bool *present,
                          GError **err);
/* Index in values (NULL-terminated). */
bool block_opts_take_enum(BlockOpts *opts, const char *key, const char *const *values, int *value,
                          GError **err);
/* Any key that is left, or NULL. */
const char *block_opts_left(const BlockOpts *opts);

/* ---- image locks (block/lock.c) ------------------------------------------------------------- */

/* Takes QEMU's byte locks for these permissions on fd and looks for conflicts; drops what is held
 * beyond them. On failure the locks of held_used/held_unshared remain. */
bool block_lock(int fd, const char *filename, uint32_t held_used, uint32_t held_unshared,
                uint32_t used, uint32_t unshared, GError **err);
/* Does this file system have OFD locks? */
bool block_lock_supported(int fd);

#endif
