/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2 inside: what its files share.
 *
 * Everything runs in the loop that owns the node. A *decision* is short sequential code over cached
 * tables: it asks for every table first (a missing one parks the caller on its load and the decision
 * starts again when it is there), then changes them in memory, all at once. So what is in memory
 * between two callbacks is always a consistent image.
 *
 * Tables reach the file in *cycles* (cycle.c): a cycle takes the tables as they are at its start
 * (later changes go to copies) and writes refcount blocks, then the refcount table, then L2 tables,
 * then L1, with a flush between the classes. Data is written before its mapping enters an L2 table.
 * A cluster whose last user has gone keeps its refcount until a cycle has written who dropped it and
 * every request that may still use it has ended (reclaim.c). Refcounts may be in the file before they are
 * needed (ahead.c). A power cut thus leaks clusters at worst.
 */
#ifndef BLOCK_QCOW2_QCOW2_H
#define BLOCK_QCOW2_QCOW2_H

#include <errno.h>

#include "block/block_int.h"
#include "block/qcow2/header.h"
#include "util/error.h"
#include "util/util.h"

typedef struct Qcow2 Qcow2;

/* ---- waiting -------------------------------------------------------------------------------- */

/* Someone parked. resume runs once, from the loop; result < 0: what was waited for failed. */
typedef struct Waiter Waiter;
struct Waiter {
    void (*resume)(Waiter *w, int result);
    Waiter *next;
};
typedef struct WaitList {
    Waiter *head, *last;
} WaitList;
void wait_list_add(WaitList *list, Waiter *w);
void wait_list_wake(WaitList *list, int result);
/* Moves all of from to the end of to. */
void wait_list_move(WaitList *to, WaitList *from);

/* ---- fault injection ------------------------------------------------------------------------- */

/* What is about to be done to the file, in QEMU's words (BlkdebugEvent), before the request or the decision:
 * for rules and break points of a blkdebug node. Requests of others may come in between. */
#define qcow2_event(q, event)                                     \
    do {                                                          \
        if (G_UNLIKELY((q)->file->drv == &block_driver_blkdebug)) { \
            block_debug_event((q)->file, event);                  \
        }                                                         \
    } while (0)

/* ---- child I/O, synchronous: open and operations on the whole image, never in a request's path - */

static inline int qcow2_pwrite(BlockNode *child, uint64_t offset, const void *buf, size_t len)
{
    return block_pwrite(child, offset, buf, len, 0);
}

/* ---- the table cache (table.c) -------------------------------------------------------------- */

typedef struct TableCache TableCache;
typedef struct Table {
    TableCache *cache;
    uint64_t offset;  /* in the file: its key */
    uint8_t *data;    /* what decisions see */
    uint8_t *image;   /* what the running cycle writes, once data has gone on */
    bool ready;       /* loaded */
    bool dirty;       /* data is newer than the file and the running cycle ... */
    size_t from, to;  /* ... here, bytes, whole parts (table_change_part) */
    bool in_cycle;
    size_t cycle_from, cycle_to; /* which the running cycle writes */
    bool forgotten;   /* no longer in the cache: freed with its last pin */
    bool used;        /* since the last tick of cache-clean-interval */
    unsigned pins;    /* stays in memory */
    int error;        /* of the load */
    WaitList waiters; /* for the load */
    GList link;       /* in cache->lru */
    BlockIo io;
    struct iovec iov;
} Table;

struct TableCache {
    Qcow2 *q;
    GHashTable *tables; /* by &offset */
    GQueue lru;         /* ready tables, oldest first */
    size_t size;        /* bytes of a table */
    unsigned limit;     /* tables kept; more while they are dirty */
    unsigned dirty;     /* how many */
    uint64_t hits, misses;
};

void table_cache_init(TableCache *cache, Qcow2 *q, size_t table_size, uint64_t bytes);
void table_cache_clear(TableCache *cache);
/* The table, or NULL: w is parked, call again when it is resumed. */
Table *table_get(TableCache *cache, uint64_t offset, Waiter *w);
/* The table if it is there. */
Table *table_peek(const TableCache *cache, uint64_t offset);
/* A table that is not in the file yet: zeros, dirty. */
Table *table_new(TableCache *cache, uint64_t offset);
/* Before the caller changes t->data; len bytes from from on: no others are written because of it. */
void table_change(Table *t);
void table_change_part(Table *t, size_t from, size_t len);
/* The running cycle writes t->image; what changes from now on is not in it. */
void table_split(Table *t);
void table_pin(Table *t);
void table_unpin(Table *t);
/* Tables in this range of the file are gone: never written again. */
void table_forget(TableCache *cache, uint64_t offset, uint64_t len);
/* All clean tables, as if never read. */
void table_forget_all(TableCache *cache);
/* Drops clean tables that were not used since the last call. */
void table_cache_tick(TableCache *cache);

/* ---- dirty parts of the two tables that are in memory as a whole ------------------------------ */

typedef struct DirtyParts {
    uint8_t *bits;
    unsigned count, shift; /* log2 of entries in a part */
    bool any;
} DirtyParts;

/* ---- ranges --------------------------------------------------------------------------------- */

typedef enum DropKind { DROP_REQUEST, DROP_SNAPSHOT, DROP_OTHER } DropKind;
typedef struct Dropped {
    uint64_t host;  /* cluster-aligned */
    uint64_t count; /* clusters, one reference each */
    DropKind kind;
} Dropped;

/* Dropped ranges whose dropping is on stable storage. */
typedef struct Reclaim {
    GArray *ranges; /* Dropped */
    uint64_t seq;   /* requests before this one may use them */
} Reclaim;

/* ---- write-back cycle (cycle.c) ------------------------------------------------------------- */

/* Entries of a refcount block that the file has as 1, whatever memory has (ahead.c). */
typedef struct Ahead {
    Table *block; /* NULL: none */
    uint64_t index, count;
} Ahead;

typedef struct Cycle {
    unsigned stage; /* 0: none runs */
    unsigned pending;
    int error;
    GPtrArray *refblocks, *l2; /* Table *, pinned */
    GArray *l1, *reftable;     /* TableImage */
    bool new_reftable;         /* header must follow it */
    bool need_barrier;         /* L2 images name clusters that this cycle must make safe first */
    bool settled;              /* who waits for it has his data on stable storage: the tables are missing */
    Ahead ahead;               /* of what it writes */
    GArray *dropped;
    WaitList waiters;
} Cycle;

/* ---- unpacked clusters (unpacked.c) ----------------------------------------------------------- */

#define QCOW2_UNPACKED_MAX 16

/* The content of a compressed cluster, or one that is being unpacked. */
typedef struct Unpacked {
    uint64_t host; /* of the packed bytes: the key; 0: nothing, or no longer to be found */
    uint8_t *data; /* a cluster; malloc */
    bool loading;  /* stays where it is */
    uint64_t used; /* when: the cache's clock */
    WaitList waiters;
} Unpacked;

/* The last ones, for requests that read clusters piece by piece. */
typedef struct UnpackedCache {
    Unpacked entries[QCOW2_UNPACKED_MAX];
    uint64_t clock;
} UnpackedCache;

/* The entry with the cluster packed at host, ready or loading. NULL: none. */
Unpacked *unpacked_find(Qcow2 *q, uint64_t host);
/* An entry to unpack into, loading; NULL: no room now. */
Unpacked *unpacked_begin(Qcow2 *q, uint64_t host);
/* It is loaded (or, result < 0, could not be): wakes those who wait. */
void unpacked_end(Unpacked *e, int result);
/* Something else will be packed in this range. */
void unpacked_forget(Qcow2 *q, uint64_t host, uint64_t len);
/* Frees what is not loading. */
void unpacked_clear(Qcow2 *q);

/* ---- options -------------------------------------------------------------------------------- */

enum {
    QCOW2_OVERLAP_HEADER = 1,
    QCOW2_OVERLAP_ACTIVE_L1 = 2,
    QCOW2_OVERLAP_ACTIVE_L2 = 4,
    QCOW2_OVERLAP_REFBLOCK = 8,
    QCOW2_OVERLAP_REFTABLE = 16,
    QCOW2_OVERLAP_SNAPSHOTS = 32,
    QCOW2_OVERLAP_INACTIVE_L1 = 64,
    QCOW2_OVERLAP_INACTIVE_L2 = 128,
    QCOW2_OVERLAP_BITMAPS = 256,
};

typedef struct Qcow2Options {
    uint64_t l2_cache_size, refcount_cache_size; /* bytes; 0: the default */
    uint64_t l2_entry_size;                      /* bytes of an L2 slice; 0: the default */
    unsigned clean_interval;                     /* s; 0: never */
    int lazy_refcounts;                          /* -1: as the image says */
    bool discard_request, discard_snapshot, discard_other;
    unsigned overlap; /* QCOW2_OVERLAP_* */
    bool for_check;   /* open what is dirty or corrupt, without repair */
    bool no_io;       /* nothing of the content: no key is needed */
    bool facts_only;  /* ... nor the external data file, which is not opened */
    const char *key_secret; /* while it is opened: the id of the passphrase, or NULL */
    struct BlockCrypt **crypt; /* the key once it is known; the caller's. NULL: as no_io */
} Qcow2Options;

typedef struct Qcow2Snapshot {
    uint64_t l1_offset;
    uint32_t l1_size; /* entries */
    char *id, *name;
    uint32_t date_sec, date_nsec;
    uint64_t vm_clock_nsec;
    uint64_t vm_state_size;
    uint64_t disk_size;
    uint64_t icount; /* UINT64_MAX: unknown */
    uint32_t extra_size;
    uint8_t *extra; /* what follows the known extra data: kept */
    uint32_t extra_unknown;
    bool l1_astray; /* a check found that what is there is no L1 table */
    unsigned l1_is; /* QCOW2_OVERLAP_*: its L1 table was found on another table; 0: it was not */
} Qcow2Snapshot;

/* An allocation under way: guest clusters [first, first + count) get host clusters from host on. */
typedef struct Alloc Alloc;
typedef struct Request Request;
typedef struct L2Copy L2Copy;

struct Qcow2 {
    Vm *vm;
    BlockNode *node, *file, *data, *backing; /* data == file without an external data file */
    Qcow2Header h;
    Qcow2Options opt;
    bool read_only;
    bool broken;       /* found corrupt: I/O errors from here on */
    bool warned;       /* has said so */
    bool marking;      /* the corrupt bit is on its way */
    bool lazy;         /* refcounts are not kept in order; the dirty bit says so */
    bool closing;      /* lazy refcounts are written now */
    bool file_grows;   /* what lies after the file's end reads as zeros once written beyond */
    bool holes_known, has_holes; /* of data's file (status.c) */
    bool l2_names_new; /* L2 tables changed since the last cycle name new clusters */

    unsigned cluster_bits, l2_bits, slice_bits, sub_bits, rb_bits;
    unsigned entry_size; /* of an L2 entry: 8 or 16 */
    unsigned subs;       /* subclusters in a cluster: 1 or 32 */
    uint64_t cluster;    /* bytes */

    uint64_t *l1; /* host order; padded to whole parts */
    uint32_t l1_size;
    DirtyParts l1_dirty;
    uint64_t *reftable; /* host order; padded */
    uint32_t reftable_size;
    DirtyParts reftable_dirty;
    bool reftable_moved;
    TableCache l2, rb;

    uint64_t free_hint;      /* cluster index: none is free before it */
    uint64_t file_end;       /* no cluster from here on was ever used */
    uint64_t write_end;      /* guest bytes: where the last write ended */
    UnpackedCache unpacked;
    uint64_t unpacking;      /* bytes of buffers of compressed clusters that are being read */
    WaitList unpack_room;
    uint64_t compressed_pos; /* where the next compressed data may go; 0: in a new cluster */
    GHashTable *meta;        /* cluster index -> QCOW2_OVERLAP_* */

    GArray *dropped; /* Dropped: not yet safe to reuse */
    uint64_t dropped_count;
    GQueue reclaims; /* Reclaim * */
    bool reclaiming;
    bool reclaim_discarding;
    Waiter reclaim_wait;
    WaitList reclaim_idle;
    Cycle cycle;
    bool cycle_wanted;   /* at the end of the present decision */
    bool next_whole;     /* somebody in next_cycle waits for data as well */
    Ahead ahead;         /* pinned */
    WaitList next_cycle; /* flushes that need a whole new cycle */
    WaitList cycle_end;  /* room in a cache */

    GQueue active; /* Request *, oldest first */
    GQueue held;   /* Request *, not started: the gate is closed */
    unsigned gate;
    uint64_t next_seq;
    WaitList idle; /* nothing is active */
    GQueue allocs; /* Alloc * */
    GQueue copies; /* L2Copy * */
    BlockTimer *clean_timer; /* NULL: none */

    GPtrArray *snapshots; /* Qcow2Snapshot * */
    uint64_t snapshot_bytes; /* of their table in the file */
    char *snapshots_error;   /* for_check: why the entries behind those cannot be read, or NULL */
    GPtrArray *bitmaps_removed; /* Qcow2Bitmap *: their clusters are still there */
    bool bitmaps_changed;       /* the list is not what the file has */
    struct Luks *luks;         /* of an encrypted image */
    struct BlockCrypt *crypto; /* *opt.crypt; NULL: not encrypted, or no_io */
};

/* ---- refcounts and allocation (refcount.c) --------------------------------------------------- */

uint64_t refcount_read(const Qcow2 *q, const uint8_t *block, uint64_t index);
void refcount_write(const Qcow2 *q, uint8_t *block, uint64_t index, uint64_t value);
/* Before count entries of t from index on are written. */
void refcount_change(const Qcow2 *q, Table *t, uint64_t index, uint64_t count);
static inline uint64_t refcount_max(const Qcow2 *q)
{
    return q->h.refcount_order == 6 ? UINT64_MAX : (UINT64_C(1) << (1u << q->h.refcount_order)) - 1;
}
/* The block with the refcount of this cluster. 1: *t; 0: parked; -ENOENT: there is none (all 0). */
int refblock_get(Qcow2 *q, uint64_t cluster, Table **t, Waiter *w);
/* Up to want contiguous clusters with refcount 1, at least one. > 0: how many; 0: parked. */
int64_t alloc_clusters(Qcow2 *q, uint64_t want, uint64_t *host, Waiter *w);
/* Exactly count contiguous clusters; synchronous. */
int alloc_contiguous(Qcow2 *q, uint64_t count, uint64_t *host);
/* Room for len bytes of compressed data: 1: *host; 0: parked. */
int alloc_bytes(Qcow2 *q, uint64_t len, uint64_t *host, Waiter *w);
/* Takes back at once what alloc_* gave and nothing ever named. The blocks are in the cache, else
 * the clusters leak. */
void alloc_undo(Qcow2 *q, uint64_t host, uint64_t count);
/* Adds delta (1 or -1) to one cluster's refcount. 1: done, *value; 0: parked. */
int refcount_add(Qcow2 *q, uint64_t cluster, int delta, uint64_t *value, Waiter *w);
/* Synchronous refcount of one cluster, < 0 on error is in *error. */
uint64_t refcount_sync(Qcow2 *q, uint64_t cluster, int *error);
int refcount_add_sync(Qcow2 *q, uint64_t cluster, int delta, uint64_t *value);

/* ---- refcounts that the file has before they are needed (ahead.c) ------------------------------ */

/* Has the file these entries of t already? */
bool ahead_covers(const Qcow2 *q, const Table *t, uint64_t index, uint64_t count);
/* ... those of these clusters? */
bool ahead_has(const Qcow2 *q, uint64_t cluster, uint64_t count);
/* The truth is to be written with the next cycle. No cycle runs. */
void ahead_give_up(Qcow2 *q);
/* It was, or never will be. */
void ahead_forget(Qcow2 *q);
/* The cycle that begins has taken its refcount blocks: what it writes may run ahead. */
void ahead_prepare(Qcow2 *q);
/* ... and it has written them, to stable storage. */
void ahead_written(Qcow2 *q);

/* ---- clusters that are no longer needed (reclaim.c) ------------------------------------------- */

/* One reference less to each of these clusters, as soon as that is safe. */
void drop_clusters(Qcow2 *q, uint64_t host, uint64_t count, DropKind kind);
/* The reference of an L2 entry (any kind). */
void drop_entry(Qcow2 *q, uint64_t entry, DropKind kind);
void reclaim_run(Qcow2 *q);
void reclaim_add(Qcow2 *q, GArray *ranges);

/* ---- write-back (cycle.c) ------------------------------------------------------------------- */

/* w resumes when everything that was done before is on stable storage (or could not be brought
 * there). */
void cycle_flush(Qcow2 *q, Waiter *w);
/* The same for tables: data is on stable storage already. */
void cycle_settle(Qcow2 *q, Waiter *w);
/* Starts a cycle if none runs and there is something to write. */
void cycle_start(Qcow2 *q);
bool cycle_is_needed(const Qcow2 *q);
void dirty_parts_init(DirtyParts *d, unsigned entries, unsigned part_bytes);
void dirty_parts_set(DirtyParts *d, uint64_t entry);
void dirty_parts_all(DirtyParts *d);
static inline unsigned qcow2_part_bytes(const Qcow2 *q) { return MIN(4096u, (unsigned)q->cluster); }
static inline void l1_set(Qcow2 *q, uint64_t index, uint64_t value)
{
    q->l1[index] = value;
    dirty_parts_set(&q->l1_dirty, index);
}
static inline void reftable_set(Qcow2 *q, uint64_t index, uint64_t value)
{
    q->reftable[index] = value;
    dirty_parts_set(&q->reftable_dirty, index);
}

/* ---- mapping (map.c) ------------------------------------------------------------------------ */

typedef enum MapKind {
    MAP_UNALLOCATED,       /* the backing file's content; host may be set (subclusters) */
    MAP_ZERO,              /* zeros; host may be set */
    MAP_DATA,
    MAP_COMPRESSED,
} MapKind;

typedef struct Mapping {
    MapKind kind;
    uint64_t host; /* of the first byte asked for, when has_host. MAP_COMPRESSED: of the data */
    bool has_host; /* MAP_DATA; and a MAP_ZERO or MAP_UNALLOCATED that keeps a cluster */
    uint64_t len;  /* bytes from there on that are alike and contiguous */
    bool copied;   /* nobody else uses the cluster */
    uint32_t compressed_len;
} Mapping;

/* 1: *m; 0: parked; < 0. len > 0. Does not look beyond one slice. */
int map_lookup(Qcow2 *q, uint64_t guest, uint64_t len, Mapping *m, Waiter *w);
/* As map_lookup, but waits. */
int map_lookup_sync(Qcow2 *q, uint64_t guest, uint64_t len, Mapping *m);
/* The slice with guest's L2 entry. 1: *slice and *index; 0: parked; -ENOENT: no L2 table. */
int map_slice(Qcow2 *q, uint64_t guest, Table **slice, unsigned *index, Waiter *w);
/* The same, writable: makes or copies the L2 table. 0: parked. */
int map_slice_for_write(Qcow2 *q, uint64_t guest, Table **slice, unsigned *index, Waiter *w);
/* Does the mapping of these bytes, as requests see it, still have to reach the file? */
bool map_is_unwritten(const Qcow2 *q, uint64_t guest, uint64_t len);
static inline uint64_t l2_entry(const Qcow2 *q, const Table *t, unsigned index)
{
    return load64_be(t->data + (size_t)index * q->entry_size);
}
/* 0 without subclusters. */
static inline uint64_t l2_bitmap(const Qcow2 *q, const Table *t, unsigned index)
{
    return q->subs > 1 ? load64_be(t->data + (size_t)index * q->entry_size + 8) : 0;
}
/* After table_change. */
static inline void l2_store(const Qcow2 *q, Table *t, unsigned index, uint64_t entry, uint64_t bitmap)
{
    store64_be(t->data + (size_t)index * q->entry_size, entry);
    if (q->subs > 1) {
        store64_be(t->data + (size_t)index * q->entry_size + 8, bitmap);
    }
}
static inline unsigned slice_entries(const Qcow2 *q) { return 1u << q->slice_bits; }
/* Kind of subcluster sub of an entry. */
MapKind map_classify(const Qcow2 *q, uint64_t entry, uint64_t bitmap, unsigned sub);
/* Host range of a compressed entry. */
void map_compressed(const Qcow2 *q, uint64_t entry, uint64_t *host, uint32_t *len);

/* ---- overlaps (overlap.c) ------------------------------------------------------------------- */

void meta_add(Qcow2 *q, uint64_t host, uint64_t len, unsigned kind);
void meta_remove(Qcow2 *q, uint64_t host, uint64_t len);
/* QCOW2_OVERLAP_*, of the cluster that holds host; 0: no metadata that is known. */
unsigned meta_kind(const Qcow2 *q, uint64_t host);
const char *meta_name(unsigned kind);
/* What is said to be where the active L1 table is (but for L2 tables: an entry of it is wrong then), or 0. */
unsigned meta_on_active_l1(const Qcow2 *q);
/* Does data at [host, host + len) hit metadata? Then the image is marked corrupt. */
bool overlap_check_data(Qcow2 *q, uint64_t host, uint64_t len);
/* Says what is wrong once, sets the corrupt bit, fails all further requests. Returns -EIO. */
int qcow2_corrupt(Qcow2 *q, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/* ---- requests (request.c) ------------------------------------------------------------------- */

typedef enum RequestKind {
    REQ_READ,
    REQ_WRITE,
    REQ_COMPRESSED,
    REQ_ZERO,
    REQ_DISCARD,
    REQ_FLUSH,
    REQ_STATUS,
} RequestKind;

struct Request {
    Qcow2 *q;
    RequestKind kind;
    bool fua, unmap;
    bool no_fallback; /* REQ_ZERO: -ENOTSUP where the tables alone cannot say it */
    bool changed;    /* tables: fua needs a cycle */
    bool inside;     /* still in submit: completion must wait */
    bool full;       /* REQ_DISCARD: no zero flag stays behind */
    bool settled;    /* its data goes to stable storage by itself: fua needs the tables only */
    bool internal;   /* passes the gate, may reach beyond the disk's end (vm state) */
    bool crowded;    /* so many parts are in flight that it goes on when some have ended */
    uint64_t start, pos, end; /* guest bytes; decided up to pos */
    const struct iovec *iov;
    unsigned iov_count;
    unsigned holds; /* parts in flight, and one while it is being decided */
    int result;
    uint64_t seq;
    Waiter wait;
    GList link;
    BlockIo *outer;
    BlockIo later;
    void (*done)(Request *r, int result);
    void *opaque;
    uint8_t *packed; /* REQ_COMPRESSED: the result, malloc */
    size_t packed_len;
    struct iovec own_iov[]; /* of spawned requests */
};

/* A child request for part of r. */
typedef struct Part {
    BlockIo io;
    Request *r;
    void *opaque;
    void (*ended)(struct Part *part, int result); /* NULL: r takes the result */
    int (*work)(struct Part *part);               /* in a worker */
    uint8_t *buf;                                 /* malloc; freed with it */
    size_t buf_len;
    Mapping map;                                  /* what it is about */
    uint64_t guest, len;
    unsigned iov_count;
    struct iovec iov[];
} Part;

/* done, iov, start, end, kind are set. */
void request_submit(Qcow2 *q, Request *r);
/* A request of its own for [start, start + len) of r's buffers (buf NULL) or of buf, which is freed
 * with it; r waits for it and takes its error. */
void request_spawn(Request *r, RequestKind kind, uint64_t start, uint64_t len, void *buf);
void request_hold(Request *r);
void request_release(Request *r, int result);
Part *part_new(Request *r, unsigned iov_count);
/* Pieces of r's buffers that [guest, guest + len) lies in. */
unsigned request_pieces(const Request *r, uint64_t guest, uint64_t len);
/* Appends [guest, guest + len) of r's buffers. */
void part_add_iov(Part *p, uint64_t guest, uint64_t len);
void part_submit(Part *p, BlockNode *child, BlockOp op, uint64_t offset, uint64_t len);
/* child's block status, precisely, into *answer; then p->ended. */
void part_ask(Part *p, BlockNode *child, uint64_t offset, uint64_t len, BlockStatus *answer);
/* [guest, guest + len) of r from child at offset, in place where possible. */
void request_child(Request *r, BlockNode *child, BlockOp op, uint64_t offset, uint64_t guest,
                   uint64_t len);
/* Runs buf-only work in a worker; then p->ended in the loop. */
void part_run_in_thread(Part *p, int (*run)(Part *p));
void part_free(Part *p);
/* Sliced copies of r's buffers. */
void request_fill(Request *r, uint64_t guest, uint64_t len);

/* One decision each: > 0: pos has moved; 0: parked; < 0: error. */
int read_step(Request *r);
int write_step(Request *r);
int compressed_step(Request *r);
int zero_step(Request *r);
int discard_step(Request *r);
int status_step(Request *r);
/* Parks r (true) while an allocation is under way for a cluster in [first, last]. */
bool alloc_conflict(Request *r, uint64_t first, uint64_t last);
/* Does this mapping of guest read as zeros without looking? */
bool map_reads_zero(const Qcow2 *q, const Mapping *m, uint64_t guest);

/* Closes the gate and waits until nothing is active; nestable. */
void qcow2_quiesce(Qcow2 *q);
void qcow2_resume(Qcow2 *q);
/* With the gate closed: writes everything out, reclaims everything. 0 or -errno. */
int qcow2_sync_all(Qcow2 *q);
/* A guest request of the image's own, synchronous. */
int qcow2_do(Qcow2 *q, RequestKind kind, uint64_t offset, void *buf, uint64_t len);

/* A waiter for synchronous code: init, use, wait; again. */
typedef struct SyncWait {
    Waiter w;
    BlockLoop *loop;
    bool fired;
    int result;
} SyncWait;
void sync_init(SyncWait *s, Qcow2 *q);
/* Runs the loop until resumed; the result. */
int sync_wait(SyncWait *s);

/* ---- compression (compress.c) --------------------------------------------------------------- */

/* Deflates or zstd-compresses a cluster. 0: *out (malloc), *out_len < len; -E2BIG: no gain. */
int qcow2_pack(unsigned type, const uint8_t *in, size_t len, uint8_t **out, size_t *out_len);
int qcow2_unpack(unsigned type, const uint8_t *in, size_t in_len, uint8_t *out, size_t len);

/* ---- the driver (driver.c, driver_create.c) --------------------------------------------------- */

Qcow2 *qcow2_of(const BlockNode *node);
extern const BlockCreateOpt qcow2_create_opts[];
bool qcow2_driver_create(Vm *vm, const char *filename, BlockOpts *opts, GError **err);
bool qcow2_driver_format_prepare(BlockFormat *f, BlockOpts *opts, GError **err);
bool qcow2_driver_format(BlockFormat *f, GError **err);
void qcow2_driver_format_free(BlockFormat *f);
bool qcow2_driver_measure(Vm *vm, BlockOpts *opts, BlockNode *in, BlockMeasure *result, GError **err);
bool qcow2_driver_amend(BlockNode *node, BlockOpts *opts, bool force, GError **err);

/* ---- the image (image.c) -------------------------------------------------------------------- */

/* node->child etc. are open. Loads everything that is needed at once. data and backing may be set
 * later, before the first request. */
Qcow2 *qcow2_open(BlockNode *node, BlockNode *file, const Qcow2Options *options, bool read_only,
                  GError **err);
/* Writes everything out. 0 or -errno. */
int qcow2_close(Qcow2 *q);
void qcow2_options_init(Qcow2Options *o);
/* Other options from now on; cache sizes too. Everything is written out, nothing active. */
/* False: no more may be written to the image than a repair does. */
bool qcow2_may_write(const Qcow2 *q, GError **err);
void qcow2_reopened(Qcow2 *q, const Qcow2Options *options, bool read_only);
/* The timer of cache-clean-interval, in the present loop. */
void qcow2_start_timer(Qcow2 *q);
void qcow2_stop_timer(Qcow2 *q);
/* Writes the header as q->h says; synchronous. */
int qcow2_write_header(Qcow2 *q, GError **err);
/* The header's bytes as they shall be now, cluster-sized buffer of the caller. */
bool qcow2_header_image(Qcow2 *q, uint8_t *buf, size_t *used, GError **err);
int qcow2_set_incompatible(Qcow2 *q, uint64_t set, uint64_t clear);
uint64_t *qcow2_load_table(Qcow2 *q, uint64_t offset, uint64_t entries, unsigned padded, int *error);

/* ---- snapshots (snapshot.c, snapshot_table.c) ------------------------------------------------- */

/* For a check, entries that cannot be read are no error but q->snapshots_error. */
bool qcow2_snapshots_load(Qcow2 *q, GError **err);
/* The table in the file ends behind the snapshots that could be read. < 0. */
int qcow2_snapshots_cut(Qcow2 *q);
void qcow2_snapshot_free(void *snapshot);
Qcow2Snapshot *qcow2_snapshot_find(Qcow2 *q, const char *id_or_name);
bool qcow2_snapshot_create(Qcow2 *q, const Qcow2Snapshot *info, GError **err);
bool qcow2_snapshot_apply(Qcow2 *q, const char *id_or_name, GError **err);
bool qcow2_snapshot_delete(Qcow2 *q, const char *id_or_name, GError **err);
/* In a read-only image, which shows it from then on; the caller changes the node's size. */
bool qcow2_snapshot_load(Qcow2 *q, const char *id_or_name, GError **err);
/* Writes the table anew and switches the header to it. */
bool qcow2_snapshots_store(Qcow2 *q, GError **err);
/* References of all clusters below an L1 table (tables included, not the L1 clusters): +1 at once,
 * or dropped (all or, on failure, none). Quiesced, written out. */
int qcow2_tree_add(Qcow2 *q, const uint64_t *l1, uint64_t count);
int qcow2_tree_drop(Qcow2 *q, const uint64_t *l1, uint64_t count, DropKind kind);
/* Every entry below leads to clusters of the file that may be what it says: else sharing them, or giving them up, would
 * destroy what they are. False, with *err: one does not. */
bool qcow2_tree_sound(Qcow2 *q, const uint64_t *l1, uint64_t count, GError **err);
/* 1: an L2 entry below leads to [host, host + len). < 0. */
int qcow2_tree_leads_to(Qcow2 *q, const uint64_t *l1, uint64_t count, uint64_t host, uint64_t len);
/* Writes l1 (padded) to new clusters, makes it the active table, in one header write with size.
 * Takes over l1 (also on failure). The old table's clusters are dropped. */
int qcow2_switch_l1(Qcow2 *q, uint64_t *l1, uint64_t count, uint64_t size);
uint64_t qcow2_snapshot_table_bytes(const Qcow2 *q);
/* Where the VM state begins, in guest bytes. */
uint64_t qcow2_vm_state_offset(const Qcow2 *q);

/* ---- size (resize.c) ------------------------------------------------------------------------ */

bool qcow2_resize(Qcow2 *q, uint64_t size, BlockPrealloc prealloc, GError **err);
/* At least this many L1 entries. */
bool qcow2_grow_l1(Qcow2 *q, uint64_t entries, GError **err);
bool qcow2_preallocate(Qcow2 *q, uint64_t offset, uint64_t len, BlockPrealloc mode, GError **err);
/* All clusters gone: the image reads as its backing file. */
bool qcow2_make_empty(Qcow2 *q, GError **err);
bool qcow2_change_backing(Qcow2 *q, const char *file, const char *format, GError **err);

/* ---- amend (amend.c) ------------------------------------------------------------------------ */

typedef struct Qcow2Amend {
    unsigned version;       /* 2 or 3; 0: as it is */
    unsigned refcount_bits; /* a power of two up to 64; 0: as it is */
    int lazy_refcounts;     /* -1: as it is */
    const char *data_file;  /* name to be written into the header; "": none; NULL: as it is */
    int data_file_raw;      /* -1: as it is */
} Qcow2Amend;
bool qcow2_amend(Qcow2 *q, const Qcow2Amend *a, GError **err);
/* Writes all refcounts anew (check.c); quiesced, written out. */
bool qcow2_set_refcount_bits(Qcow2 *q, unsigned bits, GError **err);

/* ---- persistent dirty bitmaps (bitmap_list.c) --------------------------------------------------- */

/* What the file has of a bitmap: DirtyBitmap.stored. */
typedef struct Qcow2Bitmap {
    uint64_t table_offset; /* 0: none */
    uint32_t table_entries;
    uint32_t flags; /* as found */
    uint16_t name_size; /* as found: more than the name has, where a NUL ends it; 0: as the name */
    uint8_t *extra; /* kept */
    uint32_t extra_size;
} Qcow2Bitmap;

/* What the header names becomes node's bitmaps; later, when open for writing, qcow2_bitmaps_begin marks
 * them in use. */
bool qcow2_bitmaps_load(Qcow2 *q, GError **err);
int qcow2_bitmaps_begin(Qcow2 *q);
/* Writes them out, no longer in use. Quiesced. */
int qcow2_bitmaps_store(Qcow2 *q);
/* The image has none any more; their clusters are leaks then. < 0. */
int qcow2_bitmaps_drop(Qcow2 *q);
/* node's persistent bitmaps and what is known of the file's are forgotten. */
void qcow2_bitmaps_clear(Qcow2 *q);
void qcow2_bitmap_free(void *stored);
/* For "info": those that the file has. */
json_object *qcow2_bitmaps_info(const Qcow2 *q);
/* node has one that is or will be in the file. */
bool qcow2_has_bitmaps(const Qcow2 *q);
bool qcow2_bitmap_can_store(Qcow2 *q, const char *name, GError **err);
/* BlockDriver.bitmap_forget. */
void qcow2_bitmap_forget(Qcow2 *q, DirtyBitmap *b);

/* ---- check (check.c) ------------------------------------------------------------------------ */

typedef struct Qcow2CheckResult {
    BlockCheck n;
    void (*say)(void *opaque, const char *line); /* NULL: silent */
    void *opaque;
} Qcow2CheckResult;
struct Check;
/* References of the persistent bitmaps. */
int qcow2_bitmaps_count(struct Check *c);
/* 0, or -errno when it could not even look. The gate is closed meanwhile. */
int qcow2_check(Qcow2 *q, unsigned fix, Qcow2CheckResult *result);

/* ---- create (create.c) ---------------------------------------------------------------------- */

typedef struct Qcow2CreateOptions {
    uint64_t size;
    unsigned version; /* 2 or 3 */
    uint64_t cluster_size;
    unsigned refcount_bits;
    bool lazy_refcounts, extended_l2, data_file_raw;
    uint64_t crypto_length; /* bytes of the LUKS header; 0: not encrypted */
    unsigned compression_type;
    const char *backing_file, *backing_format, *data_file;
    BlockPrealloc preallocation;
} Qcow2CreateOptions;
void qcow2_create_options_init(Qcow2CreateOptions *o);
/* Names the option that is wrong. */
bool qcow2_create_options_check(const Qcow2CreateOptions *o, GError **err);
/* Formats file. *crypto (may be NULL): where the caller puts the LUKS header; zeros. Any thread. */
bool qcow2_format(BlockNode *file, const Qcow2CreateOptions *o, uint64_t *crypto, GError **err);
/* What is in the L2 entries of clusters that have their room but were never written. */
void qcow2_preallocated_bits(const Qcow2Header *h, uint64_t *flags, uint64_t *bitmap);
/* Bytes of a fully allocated image; what its metadata alone takes. */
void qcow2_measure(const Qcow2CreateOptions *o, uint64_t data_bytes, uint64_t *required,
                   uint64_t *fully_allocated);

#endif
