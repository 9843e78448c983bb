/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside block/ (and img/): nodes, their children, drivers, and the requests that travel through
 * them.
 *
 * Threads. All nodes that are connected with each other belong to one BlockLoop: the main loop's
 * (then "in the owner" means: with the VM lock held, in any thread) or an iothread's (then it means:
 * in that thread; no lock is held). Requests are submitted and end in the owner, node state is
 * touched there only. Opening, closing, permissions and everything else that changes the graph
 * happen in the main thread under the VM lock while the tree is drained. Nothing that runs in an
 * iothread's owner waits for the VM lock, so the main thread may wait for an owner while it holds it.
 *
 * Requests. A request enters at the top node and is handed down, in place where the driver only
 * moves it, until a protocol driver ("file", "null-co") gives it to an engine, which ends it later:
 * io->done never runs inside submit. From submit to done all fields but done and opaque belong to
 * the drivers; offset, op and flags may have changed when done runs.
 */
#ifndef BLOCK_BLOCK_INT_H
#define BLOCK_BLOCK_INT_H

#include <json-c/json.h>
#include <stdatomic.h>

#include "block/block.h"

#define BLOCK_SECTOR 512
#define BLOCK_PROBE_SIZE 2048

typedef struct BlockChild BlockChild;
typedef struct BlockDriver BlockDriver;
typedef struct BlockFormat BlockFormat;
typedef struct BlockEngine BlockEngine;
typedef struct BlockIo BlockIo;
typedef struct BlockLoop BlockLoop;
typedef struct BlockOpts BlockOpts;
typedef struct BlockState BlockState;
typedef struct BlockTimer BlockTimer;
typedef struct BlockFd BlockFd;
typedef struct BlockReopen BlockReopen;
typedef struct BlockMail BlockMail;
typedef struct BlockMerge BlockMerge;
typedef struct DirtyBitmap DirtyBitmap;

/* ---- requests ------------------------------------------------------------------------------- */

typedef enum BlockOp {
    BLOCK_READ,
    BLOCK_WRITE,
    BLOCK_FLUSH,
    BLOCK_DISCARD,
    BLOCK_ZERO,
    BLOCK_STATUS,
    BLOCK_SG, /* a SCSI command (block/sg.c); "host_device" only */
} BlockOp;

/* What BLOCK_STATUS finds: the first bytes from io->offset on that have all of this in common. */
typedef struct BlockStatus {
    uint64_t bytes;   /* 1 to io->len (0 only at or after the end of the node) */
    bool allocated;   /* this node decides the content, not its backing file */
    bool data;        /* stored somewhere; reading gives what is there */
    bool zero;        /* reads as zeros */
    bool compressed;
    bool has_offset;  /* host_offset and file are set: the bytes lie there as they are */
    uint64_t host_offset;
    BlockNode *file;  /* the node that host_offset counts in */
} BlockStatus;

/* A message to a loop, part of who sends it: fn runs there once, in the order of sending, also while somebody waits in
 * block_loop_wait; it may send it again. */
struct BlockMail {
    void (*fn)(BlockMail *mail);
    bool can_wait; /* until nobody waits there but a drain: what a driver does not expect inside a wait of its own */
    BlockMail *next;
};

/* What became of requests of a kind, of one file, that were to wait for nothing but the disk (RWF_NOWAIT): how many are not given to the
 * kernel so now, and after the next that would have waited. Atomic: several loops. */
typedef struct BlockNowait {
    unsigned skip, next;
} BlockNowait;
#define BLOCK_NOWAIT_NEVER UINT_MAX /* skip: the kernel does not know how for this file */

struct BlockIo {
    BlockOp op;
    bool fua;        /* WRITE, ZERO: on stable storage when done */
    bool may_unmap;  /* ZERO: a hole will do */
    bool no_fallback; /* ZERO: -ENOTSUP rather than writing buffers of zeros */
    bool compressed; /* WRITE: as compressed clusters where the format has them */
    bool unchanged;  /* WRITE: the content stays the same (copy on read): WRITE_UNCHANGED is enough */
    bool precise;    /* STATUS: take the time to find zeros and holes */
    bool alone;      /* READ, WRITE: shall not be joined with its neighbours (block_merge_hold) */
    bool joined;     /* READ, WRITE, when done: was, with one that came before */
    bool cancelled;  /* SG: atomic; nobody wants it any more */
    uint64_t offset, len;    /* bytes, in the node it is at now */
    const struct iovec *iov; /* READ, WRITE: exactly len bytes */
    unsigned iov_count;
    union {
        BlockStatus *status;               /* STATUS: the answer; the submitter's */
        struct {
            struct sg_io_hdr *sg;          /* SG: the command and its answer; the submitter's */
            int64_t sg_given_ns;           /* when it came */
        };
    };
    void (*done)(BlockIo *io, int result); /* the submitter's; 0 or -errno */
    void *opaque;                          /* the submitter's */

    BlockLoop *loop; /* it is in, when that is not the owner's: only with drivers that say any_loop */

    /* Of block_io_new and block_io_slice. */
    BlockIo *outer;             /* the request that this one is a part of; the submitter's */
    struct iovec inline_iov[4];
    struct iovec *own_iov;      /* longer lists; NULL: none */

    /* Of the protocol driver and its engine, from submit to done. A driver that uses
     * block_io_run_in_thread on a BlockIo of its own sets run and finish. */
    int (*run)(BlockIo *io);                 /* does it all at once, in a worker thread */
    void (*finish)(BlockIo *io, int result); /* in the owner */
    BlockNode *node;
    BlockEngine *engine; /* it was given to; for cancelling */
    int fd;
    uint64_t progress; /* bytes that are already done */
    bool *lane;        /* workers run those that share it one after the other; NULL: beside all others */
    bool serialising;  /* changes more than it was asked to (read-modify-write) */
    bool started;
    bool brief;        /* seldom takes longer than copying its bytes does */
    unsigned batch;    /* aio-max-batch of its file; 0: none */
    BlockNowait *nowait; /* deputed: the loop's thread gives it to the kernel, and tells here what became of it; NULL: a worker does */
    unsigned sync_errors; /* FileState.sync_errors when it began */
    bool via_finish; /* on the loop's list of what ends later: by finish, not done */
    int result;
    BlockIo *next;
    GList link; /* in its node's list of writes */
    BlockMail mail; /* on its way between loops */
};

/* A zeroed request from the pool of node's loop; in the owner. block_io_free in its done. */
BlockIo *block_io_new(BlockNode *node);
void block_io_free(BlockNode *node, BlockIo *io);
/* part's buffers (and len, not offset) become bytes [pos, pos + len) of whole's, without copying
 * them. part comes from block_io_new. */
void block_io_slice(BlockIo *part, const BlockIo *whole, uint64_t pos, uint64_t len);
/* Ends io (io->done) from the loop with this result, soon; in the loop that io is in. */
void block_io_finish_later(BlockNode *node, BlockIo *io, int result);
void block_loop_finish_later(BlockLoop *loop, BlockIo *io, int result);
/* The same by io->finish: for a driver that did the request inside submit. */
void block_io_finish_done_later(BlockNode *node, BlockIo *io, int result);
/* io->run in a worker thread, then io->finish in the owner. For what blocks or computes long. */
void block_io_run_in_thread(BlockNode *node, BlockIo *io);
/* Ends what shall end later now; in the loop, not inside a submit. */
void block_loop_finish_now(BlockLoop *loop);
/* True when all bytes are zeros. */
bool block_iov_is_zero(const struct iovec *iov, unsigned count);

/* ---- loops and engines ---------------------------------------------------------------------- */

typedef enum BlockAio {
    BLOCK_AIO_THREADS,
    BLOCK_AIO_NATIVE,
    BLOCK_AIO_IO_URING,
    BLOCK_AIO_DEPUTED, /* native, given to the kernel by workers: "threads" for O_DIRECT */
    BLOCK_AIO_KINDS
} BlockAio;

typedef struct BlockEngineOps {
    const char *name;
    /* io->fd, offset, len, progress, iov are set; io->finish runs later from the loop. False: the
     * engine cannot take it now, nothing happened. */
    bool (*submit)(BlockEngine *engine, BlockIo *io);
    /* Sends what submit held back while the loop was plugged. NULL: it holds nothing back. */
    void (*flush)(BlockEngine *engine);
    /* Finishes what has ended, without blocking. True: there was something. */
    bool (*poll)(BlockEngine *engine);
    /* True: it had not started and finishes with -ECANCELED. */
    bool (*cancel)(BlockEngine *engine, BlockIo *io);
    void (*free)(BlockEngine *engine);
} BlockEngineOps;

struct BlockEngine {
    const BlockEngineOps *ops;
    BlockLoop *loop;
    unsigned in_flight;
};

/* The block layer's part of one event loop. All of it belongs to the owner. */
struct BlockLoop {
    BlockState *state;
    Loop *loop;
    bool is_main;
    bool lone;        /* its thread serves these requests only and waits for them in block_loop_wait
                         (tools): it may run one that is alone itself */
    bool reads_ahead; /* lone: it prepares what is written next meanwhile: long buffered writes are for a worker */
    pthread_t thread; /* an iothread's */
    BlockEngine *engines[BLOCK_AIO_KINDS];
    bool engine_refused[BLOCK_AIO_KINDS];
    unsigned plugged;
    BlockIo *later, **later_tail; /* block_io_finish_later */
    LoopTimer *later_timer;       /* runs them from the loop */
    bool ending;                  /* it does, and will look for more */
    BlockMerge *merge;            /* NULL: nothing was held yet */
    GPtrArray *fds, *timers;      /* BlockFd *, BlockTimer * (armed ones) */
    BlockIo *pool;
    unsigned pool_len;
    unsigned index;  /* small, one loop's only while it lives */
    BlockMail *mail; /* atomic; sent, the last one first */
    BlockMail *mail_in; /* taken, in order */
    BlockFd *mail_source; /* NULL: it takes none */
    LoopPoll *mail_poll;
    bool mail_looks; /* atomic; it looks by itself: nobody needs to wake it */
    unsigned waiting; /* block_loop_wait, nested */
    unsigned draining; /* waits of drains, which take all messages */
    int64_t heard; /* the main loop's: when a wait last looked for commands that cut it short */
    bool stood_in_for; /* its thread has ended: the main thread does what it did */
    GError *error; /* why it could not be made */
};

BlockEngine *block_engine_threads_new(BlockLoop *loop, GError **err);
BlockEngine *block_engine_aio_new(BlockLoop *loop, GError **err);
BlockEngine *block_engine_deputed_new(BlockLoop *loop, GError **err);
BlockEngine *block_engine_uring_new(BlockLoop *loop, GError **err);
/* The loop's engine of this kind, made when it is first asked for, in the owner; threads, with one
 * warning of all loops, where the host refuses the kind (none for BLOCK_AIO_DEPUTED, which nobody asks for). */
BlockEngine *block_engine(BlockLoop *loop, BlockAio kind, GError **err);
/* What its engines have to do, gathered requests, too. */
unsigned block_loop_in_flight(const BlockLoop *loop);
bool block_loop_is_idle(const BlockLoop *loop);
/* Between plug and unplug (nested) engines may gather requests, so many at most unless the user wants another number
 * (block_engine_batch): the device shall have something to do meanwhile. In the owner. */
#define BLOCK_ENGINE_BATCH 8
void block_loop_plug(BlockLoop *loop);
void block_loop_unplug(BlockLoop *loop);

/* How many requests may be held back, io the last of them: the smaller of the loop's and the file's wishes (aio-max-batch), else
 * what suits a device that was given so many others. */
unsigned block_engine_batch(const BlockLoop *loop, const BlockIo *io, unsigned given);

/* Starts a request, which ends later. */
typedef void BlockMergeGo(BlockIo *io);
/* While the loop is plugged: keeps io, a read or write that has all an engine needs (and finish, node, progress 0), and
 * joins it with its neighbours. go gets it soon, or one that stands for it and others; io->finish then runs with the result
 * of io alone. False: go on with it as it is. In the loop (block/merge.c). */
bool block_merge_hold(BlockLoop *loop, BlockIo *io, BlockMergeGo *go);
/* Lets go what is held; unplugging and waiting do. */
void block_merge_flush(BlockLoop *loop);
/* In go: it is one of several that are let go together, which are no neighbours. */
bool block_merge_has_several(const BlockLoop *loop);

/* From now on the loop takes messages. In the owner. */
bool block_loop_open_mail(BlockLoop *loop, GError **err);
/* Any thread; the loop's mail is open. */
void block_loop_send(BlockLoop *loop, BlockMail *mail);
/* Waits for messages and takes them: no requests of the loop itself. In the owner; the loop's mail is open. */
void block_loop_wait_mail(BlockLoop *loop);
/* As pthread_cond_wait, for what another loop's thread does; who holds the VM lock hears monitors meanwhile (vm->hear). It may
 * end early. */
void block_cond_wait(Vm *vm, pthread_cond_t *cond, pthread_mutex_t *lock);

/* The BlockLoop of an event loop whose thread runs, made when needed. Main thread, VM lock. */
BlockLoop *block_loop_get(Vm *vm, Loop *loop, GError **err);
BlockLoop *block_loop_main(Vm *vm);
/* Is this the owner? */
bool block_loop_is_owner(const BlockLoop *loop);
/* Blocks until something has happened in this loop's requests, descriptors or timers (and in nothing
 * else); in the owner. False: there is nothing to wait for. */
bool block_loop_wait(BlockLoop *loop);
/* Runs fn(opaque) in the owner and waits for it; at once when this is the owner. */
void block_loop_call(BlockLoop *loop, LoopFn *fn, void *opaque);
/* Trees in it move to the main loop, then it is freed. Main thread, VM lock; its thread still runs. */
void block_loop_release(BlockLoop *loop);

/* Descriptors and timers of drivers: also served while somebody waits in block_loop_wait. In the
 * owner; removed and made anew when the node moves (detach_loop, attach_loop). events: EPOLLIN... */
BlockFd *block_fd_add(BlockLoop *loop, int fd, uint32_t events, LoopFdFn *fn, void *opaque);
void block_fd_set_events(BlockFd *source, uint32_t events);
void block_fd_remove(BlockFd *source); /* NULL is fine */
BlockTimer *block_timer_new(BlockLoop *loop, LoopFn *fn, void *opaque);
void block_timer_arm(BlockTimer *timer, int64_t deadline_ns); /* monotonic */
void block_timer_cancel(BlockTimer *timer);
void block_timer_free(BlockTimer *timer); /* NULL is fine */

/* ---- children and permissions ---------------------------------------------------------------- */

/* QEMU's permission bits: byte 100 + bit is locked when used, byte 200 + bit when not shared. */
enum {
    BLOCK_PERM_CONSISTENT_READ = 1 << 0,
    BLOCK_PERM_WRITE = 1 << 1,
    BLOCK_PERM_WRITE_UNCHANGED = 1 << 2,
    BLOCK_PERM_RESIZE = 1 << 3,
    BLOCK_PERM_ALL = 0xf,
};

/* What a child is for; decides its permissions (block_child_default_perm). */
typedef enum BlockRole {
    BLOCK_ROLE_DATA = 1 << 0,     /* guest data is stored in it */
    BLOCK_ROLE_METADATA = 1 << 1, /* tables of the format are stored in it */
    BLOCK_ROLE_FILTERED = 1 << 2, /* its content is the parent's */
    BLOCK_ROLE_COW = 1 << 3,      /* gives what the parent does not have (backing) */
    BLOCK_ROLE_PRIMARY = 1 << 4,  /* names the parent, in its file name */
} BlockRole;

struct BlockChild {
    BlockNode *node;      /* a reference */
    BlockNode *parent;    /* NULL: a back end's */
    BlockBackend *blk;    /* NULL: a node's */
    char *name;           /* "file", "backing", "data-file", "root" */
    unsigned role;        /* BlockRole bits */
    uint32_t used, shared; /* BLOCK_PERM_* that the parent uses, and lets others use */
};

/* For open: opens or finds the node that opts name ("NAME" is a node's name, "NAME.x" its options)
 * and makes it a child. Takes its options out. NULL: error, or (optional) there is none: then *err
 * is not set. read-only, cache and discard are inherited; a COW child is opened read-only. */
BlockChild *block_open_child(BlockNode *node, BlockOpts *opts, const char *name, unsigned role,
                             bool optional, GError **err);
/* For open of a format with backing files: what opts say ("backing"), else the plain path (relative
 * to the image's directory) and format that the image names; NULL filename: none. No protocol, no
 * json: a path. False: error. The child (if any) becomes node->backing. */
bool block_open_backing(BlockNode *node, BlockOpts *opts, const char *filename, const char *format,
                        GError **err);
/* Do both paths lead to the same file? False when one leads nowhere. */
bool block_same_file(const char *a, const char *b);
/* The path of filename as written in an image at base. The caller frees. */
char *block_path_beside(const char *base, const char *filename);
/* A new child over an open node (takes its own reference). Refused when permissions conflict. */
BlockChild *block_attach_child(BlockNode *parent, BlockBackend *blk, BlockNode *node,
                               const char *name, unsigned role, uint32_t used, uint32_t shared,
                               GError **err);
/* Drops the child with its permissions and its reference. NULL is fine. */
void block_detach_child(BlockChild *child);
/* The child shows another node (snapshots, commit, reopen). Refused: nothing changed. */
bool block_replace_child(BlockChild *child, BlockNode *node, GError **err);
/* Is node the same, or somewhere below? */
bool block_node_reaches(const BlockNode *from, const BlockNode *node);
BlockChild *block_child_find(const BlockNode *node, const char *name);
/* Changes what the parent uses and shares; checks against the other parents and, in the file
 * driver, against other processes. On failure all is as before. */
bool block_child_set_perm(BlockChild *child, uint32_t used, uint32_t shared, GError **err);
/* Computes the permissions below node anew (its read_only or children changed). */
bool block_node_refresh_perm(BlockNode *node, GError **err);
/* What a node whose users together use and share this needs of this child. The drivers' default. */
void block_child_default_perm(BlockNode *node, const BlockChild *child, uint32_t used,
                              uint32_t shared, uint32_t *child_used, uint32_t *child_shared);

/* ---- nodes and drivers ---------------------------------------------------------------------- */

/* Facts, for whoever makes large or aligned requests; any request is accepted. */
typedef struct BlockLimits {
    uint32_t request_align; /* bytes; offsets and lengths that are no multiples cost a copy */
    uint32_t mem_align;     /* of buffers, likewise */
    uint32_t zero_align;    /* 0: any; ZERO and DISCARD work best on such pieces (clusters) */
} BlockLimits;

/* get_info: what QEMU's "info" and query-named-block-nodes tell of a format. */
typedef struct BlockInfo {
    uint32_t cluster_size; /* bytes; 0: none */
    int64_t vm_state_offset;
    bool is_dirty;
    bool unallocated_is_zero; /* and there is no backing file */
    bool encrypted;
    bool needs_packing; /* whole clusters can be written, compressed and once, nothing else */
} BlockInfo;

/* discard_stats: discards that the host was asked for. */
typedef struct BlockDiscardStats {
    uint64_t ok, failed, bytes_ok;
} BlockDiscardStats;

typedef enum BlockPrealloc {
    BLOCK_PREALLOC_OFF,
    BLOCK_PREALLOC_METADATA,
    BLOCK_PREALLOC_FALLOC,
    BLOCK_PREALLOC_FULL,
} BlockPrealloc;
extern const char *const block_prealloc_names[]; /* NULL-terminated */

typedef struct BlockMeasure {
    uint64_t required, fully_allocated, bitmaps;
    bool has_bitmaps;
} BlockMeasure;

enum { BLOCK_FIX_LEAKS = 1, BLOCK_FIX_ERRORS = 2 };
typedef struct BlockCheck {
    uint64_t corruptions, leaks, check_errors, corruptions_fixed, leaks_fixed;
    uint64_t image_end_offset, total_clusters, allocated_clusters, fragmented_clusters,
        compressed_clusters;
} BlockCheck;

typedef struct BlockSnapshot {
    char *id, *name;
    uint64_t vm_state_size, date_sec, date_nsec, vm_clock_ns, icount, disk_size;
    bool has_icount, has_disk_size;
} BlockSnapshot;

/* One option of create and amend; block_driver.create_opts. */
typedef struct BlockCreateOpt {
    const char *name, *type; /* type: "str", "size", "bool (on/off)", "num" */
    const char *help, *def;  /* def NULL: none */
    bool amendable, amend_only;
} BlockCreateOpt;

/* What a reopen changes; node's own fields stay until commit. */
struct BlockReopen {
    BlockNode *node;
    bool prepared; /* the driver's prepare has run */
    bool read_only, auto_read_only, direct, no_flush, discard_unmap, force_share;
    int detect_zeroes;
    BlockOpts *opts; /* the driver's own options; what it does not take out is refused */
    bool keep;       /* the driver's own options stay as they are; opts is empty */
    void *state;     /* the driver's, from prepare to commit or abort */
};

/* A driver. "Main": main thread, VM lock, the node is in the main loop. "Owner": in the owner's
 * thread, and unless said otherwise with the tree drained: block_pread and its like may be used.
 * NULL members: not supported, or nothing to do. */
struct BlockDriver {
    const char *name;
    bool is_format; /* -drive format=NAME: a child "file" holds it */
    bool is_filter; /* shows its child's content */
    bool packs;     /* takes BlockIo.compressed */
    bool check_only; /* check repairs nothing */
    size_t state_size;
    const BlockCreateOpt *create_opts; /* ends with name NULL */

    /* Main. Takes its options out of opts, opens its children, sets node->size, node->filename (its
     * own copy), read_only when only that is possible. On failure it frees what it made (children
     * that were attached are detached by the caller). */
    bool (*open)(BlockNode *node, BlockOpts *opts, GError **err);
    /* Main, nothing in flight. Writes out what caches hold. Children are detached afterwards. */
    void (*close)(BlockNode *node);

    /* prepare: can it be? Makes what will be needed; changes nothing visible. Then either commit,
     * which cannot fail, or abort. Main, drained. NULL prepare: only the common fields change. */
    bool (*reopen_prepare)(BlockReopen *reopen, GError **err);
    void (*reopen_commit)(BlockReopen *reopen);
    void (*reopen_abort)(BlockReopen *reopen);

    /* Owner, at any time. Takes over io until io->done. */
    void (*submit)(BlockNode *node, BlockIo *io);

    /* Owner. Does submit take requests in any loop (io->loop), several at the same time? Asked again at the end of each
     * drained section. NULL: no. */
    bool (*any_loop)(const BlockNode *node);

    /* Main. What all users together do, and what they cannot stand others doing: locks. */
    bool (*set_perm)(BlockNode *node, uint32_t used, uint32_t unshared, GError **err);
    /* Main. NULL: block_child_default_perm. */
    void (*child_perm)(BlockNode *node, const BlockChild *child, uint32_t used, uint32_t shared,
                       uint32_t *child_used, uint32_t *child_shared);
    /* Owner. The child's size changed; set the own one with block_node_set_size. */
    void (*child_resized)(BlockNode *node, BlockChild *child);
    void (*refresh_limits)(BlockNode *node);

    /* Owner, not drained. begin: start nothing in the background any more, go on with what is on
     * its way (the tree's users submit nothing new). busy: is there any? end: as before. */
    void (*drain_begin)(BlockNode *node);
    bool (*drain_busy)(BlockNode *node);
    void (*drain_end)(BlockNode *node);
    /* Any thread of the monitor's (VM lock): cuts the connection off for good; requests fail from now on. NULL: there is none. */
    void (*yank)(BlockNode *node);
    /* Main. The machine ends: a server that stays silent while requests wait for it is cut off soon. NULL: nothing waits for ever. */
    void (*vm_ends)(BlockNode *node);
    /* Main, owner. The present connection ends, requests fail. A node of such a driver, which is a leaf, can be parked (slow.h). */
    void (*cut_off)(BlockNode *node, const char *why);
    /* Drained. detach in the old owner, then attach in the new one: engines, timers, descriptors. */
    void (*detach_loop)(BlockNode *node);
    void (*attach_loop)(BlockNode *node);

    /* Owner. exact: not larger either (a block device is what it is). */
    bool (*truncate)(BlockNode *node, uint64_t size, bool exact, BlockPrealloc prealloc,
                     GError **err);
    void (*get_info)(BlockNode *node, BlockInfo *info);
    void (*discard_stats)(const BlockNode *node, BlockDiscardStats *stats); /* any thread */
    /* Bytes that the image takes on the host; negative: unknown. NULL: the child "file" 's. */
    int64_t (*allocated_size)(BlockNode *node);
    /* QAPI's ImageInfoSpecific as JSON {"type":..., "data":{...}}; the caller puts it. */
    json_object *(*specific_info)(BlockNode *node);

    /* Main. A new image at filename (as block_create_check_name takes it); opts: create_opts by name, "size" among them. */
    bool (*create)(Vm *vm, const char *filename, BlockOpts *opts, GError **err);
    /* A new image on open nodes (format.h); opts as create's. prepare: main; false: format_free is still called. format: any
     * thread. */
    bool (*format_prepare)(BlockFormat *f, BlockOpts *opts, GError **err);
    bool (*format)(BlockFormat *f, GError **err);
    void (*format_free)(BlockFormat *f);
    /* in (may be NULL): what would be converted; else opts has "size". */
    bool (*measure)(Vm *vm, BlockOpts *opts, BlockNode *in, BlockMeasure *result, GError **err);
    /* Owner. fix: BLOCK_FIX_*. False only when the check could not be done. */
    bool (*check)(BlockNode *node, unsigned fix, BlockCheck *result, GError **err);
    bool (*amend)(BlockNode *node, BlockOpts *opts, bool force, GError **err);
    /* Everything unallocated again (commit). */
    bool (*make_empty)(BlockNode *node, GError **err);
    bool (*change_backing_file)(BlockNode *node, const char *filename, const char *format,
                                GError **err);

    /* Owner. Internal snapshots; id_or_name as QEMU: the id first. */
    bool (*snapshot_create)(BlockNode *node, BlockSnapshot *snapshot, GError **err);
    GPtrArray *(*snapshot_list)(BlockNode *node, GError **err); /* BlockSnapshot *, with free func */
    bool (*snapshot_apply)(BlockNode *node, const char *id_or_name, GError **err);
    bool (*snapshot_delete)(BlockNode *node, const char *id_or_name, GError **err);
    /* A read-only node that nobody uses yet has that snapshot's content and size from now on. */
    bool (*snapshot_load)(BlockNode *node, const char *id_or_name, GError **err);
    int (*vm_state_pread)(BlockNode *node, uint64_t offset, void *buf, size_t len);
    int (*vm_state_pwrite)(BlockNode *node, uint64_t offset, const void *buf, size_t len);

    /* Main, drained. Persistent dirty bitmaps (block/dirty_bitmap.h): can one more of this name be
     * stored in the image? NULL: none can. The driver restores them when it opens (node->size is set
     * before) and stores those of node->bitmaps when it closes. */
    bool (*bitmap_can_store)(BlockNode *node, const char *name, GError **err);
    /* bitmap is removed: what is stored of it goes too. */
    void (*bitmap_forget)(BlockNode *node, DirtyBitmap *bitmap);

    /* Owner. Migration: inactivate writes all out, drops locks and what is cached; activate reads
     * it again. */
    bool (*inactivate)(BlockNode *node, GError **err);
    bool (*activate)(BlockNode *node, GError **err);
};

typedef enum BlockDetectZeroes {
    BLOCK_DETECT_ZEROES_OFF,
    BLOCK_DETECT_ZEROES_ON,
    BLOCK_DETECT_ZEROES_UNMAP,
} BlockDetectZeroes;

struct BlockNode {
    Vm *vm;
    BlockLoop *loop; /* the owner; changes in the old owner, under BlockState.loops_lock */
    const BlockDriver *drv;
    void *state;    /* drv->state_size bytes */
    char *name;     /* node-name, "#block012" for those without */
    char *filename; /* as the user wrote it; NULL for null-co */
    GPtrArray *children; /* BlockChild *, its own */
    GPtrArray *parents;  /* BlockChild *, theirs */
    BlockChild *file, *backing; /* those of these names; NULL: none */
    unsigned refs;
    uint64_t size; /* bytes; owner writes, also read by others with block_node_size */
    BlockLimits limits;
    bool read_only;
    bool auto_read_only;   /* read-only will do when it cannot be written */
    bool direct, no_flush; /* cache.direct, cache.no-flush */
    bool discard_unmap;    /* discard=unmap */
    bool force_share;      /* others may do what they like */
    BlockDetectZeroes detect_zeroes;
    bool probed;           /* nobody said that this is raw */
    bool implicit;         /* a filter that an option of a drive put in: managers are told of what is below it */
    bool user_named;
    bool inactive;         /* handed over to another process */
    bool backing_implicit; /* backing is what the image names, not what the user said */
    char *backing_filename, *backing_format; /* as the image names them; NULL: none */
    bool opening;          /* its driver opens it */
    char *slow_key;        /* what it was opened with, while a command that may run again opens nodes (block/slow.h); NULL: not */
    const BlockNode *opened_for; /* while it is opened: the node that it will be a child of */
    uint64_t serial;         /* no other node of the VM ever has it */
    uint64_t made_for;       /* serial of the node among whose options its own stood; 0: none */
    unsigned quiesced;       /* drained sections; owner */
    unsigned extern_flight;  /* block_p* of other threads under way; owner */
    BlockIo *extern_waiting; /* those that wait for the end of a drained section; owner */
    uint64_t write_threshold; /* 0: none */
    GPtrArray *bitmaps;       /* DirtyBitmap *, the newest first; NULL: none */
    bool recording;           /* one of them records; owner */
    uint64_t wr_highest;      /* end of the farthest write; protocol drivers; owner writes */
};

extern const BlockDriver block_driver_qcow2;
extern const BlockDriver block_driver_vdi, block_driver_vhdx, block_driver_vmdk, block_driver_vpc;
extern const BlockDriver block_driver_file, block_driver_host_device, block_driver_host_cdrom,
    block_driver_nbd, block_driver_raw, block_driver_null_co, block_driver_null_aio, block_driver_blkdebug,
    block_driver_blklogwrites, block_driver_copy_on_read, block_driver_preallocate,
    block_driver_throttle, block_driver_luks;

/* "size", "preallocation": what file, and raw with it, are created with. */
extern const BlockCreateOpt block_file_create_opts[];

const BlockDriver *block_driver_find(const char *name);
/* All, NULL-terminated. */
const BlockDriver *const *block_drivers(void);
/* Opens a node (and the nodes nested in opts), one reference. parent: whose options it inherits. */
BlockNode *block_node_open(Vm *vm, BlockOpts *opts, const BlockNode *parent, GError **err);
/* An image by plain path; format NULL: probed. inherit (may be NULL): whose options it starts from. */
BlockNode *block_open_path(Vm *vm, const char *path, const char *format, const BlockNode *inherit,
                           GError **err);
/* A temporary overlay over node (whose reference it takes) that takes the writes; NULL with *err. */
BlockNode *block_add_snapshot(Vm *vm, BlockNode *node, GError **err);
/* A copy-on-read filter over node, likewise; with a warning node itself when it is read-only. */
BlockNode *block_add_copy_on_read(Vm *vm, BlockNode *node, GError **err);
/* The operator's own words for an image: a path, "file:path", "json:{...}" or "nbd:...": opts gets
 * "file.driver", "file.filename" and the like (json: the tree itself). Never for names in images. */
bool block_opts_set_filename(BlockOpts *opts, const char *text, GError **err);
/* Does this name an NBD export? Its parts become "server.type", "export" and so on, behind prefix. */
bool block_nbd_is_name(const char *text);
bool block_nbd_parse_name(BlockOpts *opts, const char *prefix, const char *text, GError **err);
/* text without "file:". */
const char *block_local_path(const char *text);
/* May a new image have this name: is it a path, "file:path" or an NBD name? */
bool block_create_check_name(const char *text, GError **err);
/* What a new image is written to (names as above; opts: "size" and what the driver "file" knows): a file is made, an NBD
 * export must be there and be large enough. */
bool block_create_protocol(Vm *vm, const char *text, BlockOpts *opts, GError **err);
/* Does block_create_protocol make a file of it, which is zeros all over? */
bool block_create_makes_file(const char *text);
/* Options of the protocol driver behind prefix, for such a name; and the node itself, for writing. */
bool block_opts_set_protocol(BlockOpts *opts, const char *prefix, const char *text, GError **err);
BlockNode *block_open_protocol(Vm *vm, const char *text, GError **err);
/* Which protocol driver a path wants: "file", "host_device" or "host_cdrom". */
const char *block_path_driver(const char *path);
/* The format of the image at this path, from its first bytes; "raw" when it cannot be read. */
const char *block_probe_path(const char *path);
/* For images that are no paths and whose format nobody said: opens the node that "file.*" describes and
 * looks into it; opts then has "driver" and "file". The caller drops the reference when the image is
 * open. inherit: whose options the node starts from. NULL with *err. */
BlockNode *block_probe_child(Vm *vm, BlockOpts *opts, const BlockNode *inherit, GError **err);
BlockNode *block_node_find(Vm *vm, const char *name);
BlockNode *block_node_ref(BlockNode *node);
void block_node_unref(BlockNode *node);
/* Does it, or what it filters, take BlockIo.compressed? */
bool block_node_packs(BlockNode *node);
/* Of a raw node: does it show its file from the first byte to the last? */
bool raw_shows_all(const BlockNode *node);
static inline uint64_t block_node_size(const BlockNode *node)
{
    return __atomic_load_n(&node->size, __ATOMIC_RELAXED);
}
/* The disk that users see, in whole sectors: a raw file may end inside one, whose rest reads as zeros. Bytes. */
static inline uint64_t block_node_disk_size(const BlockNode *node)
{
    return align_up(block_node_size(node), BLOCK_SECTOR);
}
/* Tells the parents; owner. */
void block_node_set_size(BlockNode *node, uint64_t size);

/* The loop that io, which node got, is in. */
static inline BlockLoop *block_io_loop(const BlockNode *node, const BlockIo *io)
{
    return G_UNLIKELY(io->loop) ? io->loop : node->loop;
}
/* What block_node_submit does when something looks at writes; owner. */
void block_node_submit_hooked(BlockNode *node, BlockIo *io);
/* A write reached beyond node->write_threshold by so many bytes: tells managers, once; owner. */
void block_write_threshold_exceeded(BlockNode *node, uint64_t bytes);
/* Gives io to the node; owner. */
static inline void block_node_submit(BlockNode *node, BlockIo *io)
{
    if (G_UNLIKELY(node->recording) ||
        G_UNLIKELY(io->op == BLOCK_WRITE && (node->detect_zeroes || node->write_threshold))) {
        block_node_submit_hooked(node, io);
        return;
    }
    node->drv->submit(node, io);
}

/* Drained section around the whole tree of node (nested): new requests of back ends and of block_p*
 * from other threads wait until the end. Main thread, VM lock, or the owner. */
void block_drain_begin(BlockNode *node);
void block_drain_end(BlockNode *node);
/* The same for changes of the graph: the nodes that were connected at the beginning (references are
 * held) are those whose section ends, in whatever trees they are then. */
GPtrArray *block_drain_tree(BlockNode *node);
void block_undrain_tree(GPtrArray *tree);
/* Moves the tree into loop, drained meanwhile. Main thread, VM lock. */
void block_node_set_loop(BlockNode *node, BlockLoop *loop);
/* Runs fn, which opens files of node's tree anew, writes and reads: drained, the tree in the main loop. Its result. Main
 * thread, VM lock. */
typedef bool BlockInMainFn(BlockNode *node, void *opaque, GError **err);
bool block_in_main(BlockNode *node, BlockInMainFn *fn, void *opaque, GError **err);
/* Drivers are opened and closed in the main thread: a tree that devices use in an iothread comes there, drained, from
 * block_borrow (if need be) until the last block_change_end. but: one that will be gone then; NULL: none. False with *err:
 * another loop's tree was borrowed before. */
void block_change_begin(Vm *vm);
bool block_borrow(BlockNode *node, BlockNode *but, GError **err);
void block_change_end(Vm *vm);
/* Requests of other threads that a drained section held up; owner. */
void block_node_start_extern(BlockNode *node);
/* All nodes connected to node, node among them. The caller frees the array. */
GPtrArray *block_node_tree(BlockNode *node);

/* ---- reopening (block/reopen.c) -------------------------------------------------------------- */

/* Gives nodes new options, all or none: opts (of BlockOpts *) name an open node ("node-name") and are
 * complete; "file" and "backing" may name other nodes. Main thread, VM lock. */
bool block_reopen(Vm *vm, GPtrArray *opts, GError **err);
/* node, and the nodes below that were opened from options nested in its own, are read only, or may be written; all else of
 * them stays as it is. Main thread, VM lock; the tree is drained and in the main loop. */
bool block_reopen_read_only(BlockNode *node, bool read_only, GError **err);

/* ---- compression ------------------------------------------------------------------------------ */

/* Deflates (RFC 1951, matches reach back 4 KiB at most) into out, *out_len bytes at most, which becomes
 * what it took. False: it takes more. Any thread. */
typedef bool BlockDeflate(const uint8_t *in, size_t len, uint8_t *out, size_t *out_len);
/* What packs zlib clusters from now on; zlib does when nobody says so. The tools have a faster
 * library, which programs that pack nothing need not load. Before any image is opened. */
void block_set_deflate(BlockDeflate *deflate);

/* ---- synchronous forms (open, jobs, tools) --------------------------------------------------- */

enum {
    BLOCK_FLAG_FUA = 1,
    BLOCK_FLAG_MAY_UNMAP = 2,
    BLOCK_FLAG_NO_FALLBACK = 4,
    BLOCK_FLAG_COMPRESSED = 8,
    BLOCK_FLAG_PRECISE = 16,
};
/* 0 or -errno. In the owner the request is driven until it is done (nested block_loop_wait); any
 * other thread posts it and waits: such a thread holds no VM lock unless the owner is an iothread. */
int block_pread(BlockNode *node, uint64_t offset, void *buf, size_t len);
int block_pwrite(BlockNode *node, uint64_t offset, const void *buf, size_t len, unsigned flags);
int block_pzero(BlockNode *node, uint64_t offset, uint64_t len, unsigned flags);
int block_pdiscard(BlockNode *node, uint64_t offset, uint64_t len);
int block_pflush(BlockNode *node);
int block_pstatus(BlockNode *node, uint64_t offset, uint64_t len, unsigned flags,
                  BlockStatus *status);
/* As block_pstatus, through backing files down to base (excluded; NULL: the whole chain). *depth:
 * in which layer (0: node) it was decided; -1: in none. */
int block_pstatus_above(BlockNode *node, BlockNode *base, uint64_t offset, uint64_t len,
                        unsigned flags, BlockStatus *status, int *depth);
/* Any BlockIo (op, offset, len, iov, flags set), likewise. */
int block_psubmit(BlockNode *node, BlockIo *io);
bool block_ptruncate(BlockNode *node, uint64_t size, bool exact, BlockPrealloc prealloc,
                     GError **err);
/* The backing node below filters, or NULL. */
BlockNode *block_node_backing(BlockNode *node);
/* The first node that is no filter that an option put in. */
BlockNode *block_node_skip_implicit(BlockNode *node);
/* The first node that is no filter. */
BlockNode *block_node_skip_filters(BlockNode *node);
int64_t block_node_allocated_size(BlockNode *node);

/* The name of the format that these first bytes of an image show; "raw" when none is recognised. */
const char *block_probe_format(const uint8_t *buf, size_t len, const char *filename);
/* Formats that Kiln will know: what to say about them instead of "unknown driver". */
bool block_format_is_planned(const char *name);

/* ---- fault injection (block/blkdebug.c); owner ------------------------------------------------ */

/* A driver is about to do this ("l2_update", ...) on its child node: nothing unless that is blkdebug. */
void block_debug_event(BlockNode *node, const char *event);
/* The first request after the next such event stops in this blkdebug node until it is resumed (a
 * drained section resumes it). False: no blkdebug node, no such event or tag. */
bool block_debug_break(BlockNode *node, const char *event, const char *tag);
bool block_debug_resume(BlockNode *node, const char *tag);
/* How many requests this blkdebug node has made fail. */
unsigned block_debug_failed(const BlockNode *node);
bool block_debug_is_suspended(const BlockNode *node, const char *tag);

/* ---- filters that several files share --------------------------------------------------------- */

/* The operations of a filter whose only child is node->file. */
void block_filter_child_resized(BlockNode *node, BlockChild *child);
void block_filter_refresh_limits(BlockNode *node);
bool block_filter_truncate(BlockNode *node, uint64_t size, bool exact, BlockPrealloc prealloc,
                           GError **err);
/* Opens "file" for such a filter and takes over its size and name. */
bool block_filter_open_file(BlockNode *node, BlockOpts *opts, GError **err);

/* ---- the VM's block layer ------------------------------------------------------------------- */

struct BlockState {
    Vm *vm;
    GPtrArray *nodes;     /* BlockNode *, all */
    GPtrArray *backends;  /* BlockBackend *, all */
    GPtrArray *drives;    /* DriveInfo * */
    GPtrArray *blockdevs; /* BlockNode *, a reference each: made by -blockdev */
    GPtrArray *loops;     /* BlockLoop *; the main loop's first */
    pthread_mutex_t loops_lock; /* for threads that are no owner and ask who is */
    GPtrArray *throttle_groups; /* ThrottleGroup * (block/throttle.h) */
    bool engine_said[BLOCK_AIO_KINDS]; /* atomic; the user was told that the host refuses it */
    unsigned next_node;   /* for generated names */
    uint64_t last_serial; /* of nodes */
    unsigned changing;    /* nodes are being opened or closed, nested */
    GPtrArray *borrowed;  /* trees that are in the main loop for that long (block_borrow) */
    bool snapshot;        /* -snapshot */
    struct BlockSlow *slow;          /* of the command that is making nodes (block/slow.h); NULL: none, or nothing waits */
    uint64_t last_slow;              /* number of the last one */
    GPtrArray *slow_waiting;         /* struct BlockSlow *: of commands that wait */
    struct NbdServer *nbd_server;    /* that nbd-server-start made (nbd/server.h); NULL: none */
    GPtrArray *jobs;                 /* struct BlockJob * (block/job.h), the newest first; NULL: there never was one */
    void (*close_exports)(Vm *vm);   /* what blk_cleanup begins with; NULL: nothing */
};

/* vm->block, made when needed. */
BlockState *block_state(Vm *vm);
/* A back end over node (which may be NULL), which uses these permissions and shares all; takes its
 * own reference. name may be NULL. */
BlockBackend *blk_new(Vm *vm, const char *name, BlockNode *node, uint32_t used, GError **err);
/* Any request but STATUS: op, offset, len, iov, fua and so on are io's. Owner. */
BlkRequest *blk_submit(BlockBackend *blk, const BlockIo *io, BlkDone *done, void *opaque);
struct BlkGate;
/* The same through a gate (block/gates.h), in its loop; gate NULL: in the owner's. */
BlkRequest *blk_gate_submit(BlockBackend *blk, struct BlkGate *gate, const BlockIo *io, BlkDone *done, void *opaque);
/* Block status through all backing files; *depth: in which layer (0: the uppermost) it was decided; -1: in
 * none. Both are the caller's until done. Owner. */
BlkRequest *blk_status_above(BlockBackend *blk, uint64_t offset, uint64_t len, BlockStatus *status,
                             int *depth, BlkDone *done, void *opaque);
void blk_set_drive_info(BlockBackend *blk, DriveInfo *info);
BlockNode *blk_node(const BlockBackend *blk); /* NULL: no medium */
/* Has a device attached? */
bool blk_is_used(const BlockBackend *blk);
/* Takes the node away from a device that goes on: requests fail with -ENOMEDIUM. */
void blk_drop_medium(BlockBackend *blk);
/* The VM runs again: tells devices whose requests stopped it. */
void blk_retry_all(Vm *vm);
/* Of the graph: the root's size changed (owner); a drained section begins and ends (owner). */
void blk_root_resized(BlockBackend *blk, uint64_t old_size);
/* The tree is about to go to loop: its devices of the main loop get gates (block/gates.h). Main thread, VM lock. */
bool blk_roots_need_homes(BlockNode *node, BlockLoop *loop, GError **err);
void blk_root_drain_begin(BlockBackend *blk);
void blk_root_drain_end(BlockBackend *blk);
bool blk_root_busy(const BlockBackend *blk);
bool blk_root_gates_busy(const BlockBackend *blk); /* they may still hand something over */
void blk_root_set_loop(BlockBackend *blk, BlockLoop *loop);
void blk_root_release_loop(BlockBackend *blk, BlockLoop *loop); /* whose thread ends */
void blk_root_detach_loop(BlockBackend *blk); /* in the old owner */
void blk_root_attach_loop(BlockBackend *blk); /* in the new one */

/* ---- options -------------------------------------------------------------------------------- */

/* A flat set of dotted keys and values; what is not taken out in the end is refused. */
BlockOpts *block_opts_new(void);
void block_opts_free(BlockOpts *opts);
/* k=v,k2=v2 with ",," for a comma; a first part without "=" is the value of implied_key. */
BlockOpts *block_opts_parse(const char *text, const char *implied_key, GError **err);
BlockOpts *block_opts_parse_json(const char *text, GError **err);
/* -blockdev's and QMP's options, which the schema has checked. */
struct BlockdevOptions;
BlockOpts *block_opts_from_schema(const struct BlockdevOptions *options);
/* Adds to opts; nested members become dotted keys below prefix ("" for none). */
bool block_opts_add_json(BlockOpts *opts, const char *prefix, json_object *value, GError **err);
void block_opts_set(BlockOpts *opts, const char *key, const char *value);
/* Sets in to all that from has. */
void block_opts_merge(BlockOpts *to, const BlockOpts *from);
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
/* All of it, in one order. The caller frees. */
char *block_opts_text(const BlockOpts *opts);
/* Any key that is left, or NULL. */
const char *block_opts_left(const BlockOpts *opts);
/* The keys nearest to a mistyped one among those that were asked for, as suggest_names. The caller frees. */
char *block_opts_hint(BlockOpts *opts, const char *key);

/* ---- image locks (block/lock.c) ------------------------------------------------------------- */

/* Takes QEMU's byte locks for these permissions on fd and looks for conflicts; drops what is held
 * beyond them. On failure the locks of held_used/held_unshared remain. */
bool block_lock(int fd, const char *filename, uint32_t held_used, uint32_t held_unshared,
                uint32_t used, uint32_t unshared, GError **err);
/* Takes these locks on another description of the same file without looking for conflicts. */
bool block_lock_copy(int fd, const char *filename, uint32_t used, uint32_t unshared, GError **err);
/* Does this file system have OFD locks? */
bool block_lock_supported(int fd);

#endif
