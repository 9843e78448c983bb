/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a disk device holds: a BlockBackend. Offsets and lengths are bytes. Requests are submitted and
 * complete in the device's loop (the main loop: any thread that holds the VM lock; after
 * blk_set_loop: the iothread, without a lock); a completion never runs inside the submitting call. Errors are negative errno values.
 *
 * A device that submits keeps the iovec and its memory valid until the completion. blk_drain waits
 * for all of them; the machine's reset and stop call it where devices need it.
 */
#ifndef BLOCK_BLOCK_H
#define BLOCK_BLOCK_H

#include "core/object.h"
#include "core/vm.h"
#include "util/iov.h"

typedef struct BlockBackend BlockBackend;
typedef struct BlockNode BlockNode;
typedef struct BlkRequest BlkRequest;           /* in flight */
typedef void BlkDone(void *opaque, int result); /* 0 or -errno */

typedef enum BlkErrorAction { BLK_ERROR_REPORT, BLK_ERROR_IGNORE, BLK_ERROR_STOP } BlkErrorAction;

/* Callbacks to the device that is attached, in its loop (without the VM lock in an iothread); is_tray_open also,
 * and follow only, in the main thread. */
typedef struct BlkDevOps {
    /* The device submits from an iothread: it calls blk_set_loop after attaching, and nothing that
     * its completions do waits for the VM lock. False: from the main loop, wherever the nodes are (block/gates.h). */
    bool any_loop;
    bool writes_where_it_can; /* whether it asks to write is each new medium's matter */
    void (*resized)(void *opaque);
    void (*media_changed)(void *opaque, bool loaded);
    bool (*is_tray_open)(void *opaque);
    void (*eject_request)(void *opaque, bool force);
    /* A new medium's nodes have to stay in this loop: the device goes there, with blk_set_loop. NULL: it never does. */
    bool (*follow)(void *opaque, Loop *loop, GError **err);
    /* The VM runs again after a stop on error: submit what was kept (werror=stop). */
    void (*retry)(void *opaque);
} BlkDevOps;

/* ---- options -------------------------------------------------------------------------------- */

/* What one -drive (or -hda, -cdrom, ...) asks for. The board connects those whose interface it has.
 */
typedef struct DriveInfo {
    char *id; /* "ide0-hd0" unless the user named it */
    char *asked; /* for messages: "-hda disk.img"; NULL: by no option */
    const char
        *interface;  /* "ide", "floppy", "scsi", "virtio", "pflash", "none", "sd", "mtd", "xen" */
    bool is_cdrom;   /* media=cdrom */
    bool is_default; /* an empty drive that the board itself asked for */
    int bus, unit;
    BlockBackend *blk;
    bool connected; /* set by who attached a device to it */
} DriveInfo;

/* What -hda, -cdrom, -fda and -drive without if= start from. */
typedef struct DriveDefaults {
    const char *option;    /* as the user typed it, for messages: "-drive", "-hda" */
    const char *interface; /* if= when the text has none; NULL: "ide" */
    int index;             /* -1: the first free place */
    bool is_cdrom;
    bool read_only; /* -snapshot and the like do not come here */
} DriveDefaults;

/* text: QEMU's -drive syntax. defaults NULL: plain -drive. *info (may be NULL) stays the VM's. */
bool blk_add_drive(Vm *vm, const char *text, const DriveDefaults *defaults, DriveInfo **info,
                   GError **err);
/* An image by plain name (commas and all): -hda FILE, -cdrom FILE, -fda FILE. */
bool blk_add_disk(Vm *vm, const char *filename, const DriveDefaults *defaults, DriveInfo **info,
                  GError **err);
/* -blockdev: JSON, or driver=raw,node-name=x,file.driver=file,file.filename=y. */
bool blk_add_blockdev(Vm *vm, const char *json_or_keyval, GError **err);
/* -drive format=help: what there is, on standard output. */
void blk_drivers_help(void);
/* As blk_add_blockdev, with -drive's syntax: drive_add -n. */
bool blk_add_node(Vm *vm, const char *keyval, GError **err);
/* blockdev-add and blockdev-del. */
struct BlockdevOptions; /* qapi/qapi-block.h */
bool blk_blockdev_add(Vm *vm, const struct BlockdevOptions *options, GError **err);
bool blk_blockdev_del(Vm *vm, const char *node_name, GError **err);
/* Frees a drive: its device may still hold it until it goes (drive_del). */
bool blk_drive_del(Vm *vm, const char *id, GError **err);
/* -snapshot: drives that come after it write to temporary overlays unless they say snapshot=off. */
void blk_set_snapshot(Vm *vm, bool on);
/* The drive at this place, or NULL; NULL interface: any. n counts from 0 over all drives. */
DriveInfo *blk_drive_get(Vm *vm, const char *interface, int bus, int unit);
DriveInfo *blk_drive_nth(Vm *vm, unsigned n);
/* Waits for all back ends; writes out what caches hold. The VM's stop does this by itself. */
void blk_drain_all(Vm *vm);
int blk_flush_all(Vm *vm);
/* Closes all nodes and releases all locks; also run by vm_on_exit. Back ends are gone afterwards.
 */
void blk_cleanup(Vm *vm);

/* ---- finding and attaching ------------------------------------------------------------------ */

/* By -drive id or -blockdev node name; NULL when there is none. */
BlockBackend *blk_find(Vm *vm, const char *name);
/* One device a back end. False when it is taken, or read-only and the device must write. */
bool blk_attach(BlockBackend *blk, Device *dev, const BlkDevOps *ops, void *opaque, bool need_write,
                GError **err);
void blk_detach(BlockBackend *blk);
/* As blk_attach, but other processes may write too (share-rw=on). */
bool blk_attach_shared(BlockBackend *blk, Device *dev, const BlkDevOps *ops, void *opaque,
                       bool need_write, GError **err);
/* -drive id, or "" for the back end of a -blockdev node. */
const char *blk_name(const BlockBackend *blk);
const char *blk_node_name(const BlockBackend *blk);
const char *blk_filename(const BlockBackend *blk);
/* The DriveInfo it came with; NULL for -blockdev. */
DriveInfo *blk_drive_info(const BlockBackend *blk);
/* A back end without medium (an empty CD-ROM or floppy drive); blk_free when it is no drive's. */
BlockBackend *blk_new_empty(Vm *vm);
/* False once blk_cleanup has run: what devices ask when they go after it. */
bool blk_is_alive(Vm *vm, const BlockBackend *blk);
void blk_free(BlockBackend *blk);

/* PROP_DRIVE("drive", Type, field): BlockBackend * field, by name. */
extern const PropKind prop_kind_drive;
#define PROP_DRIVE(n, st, f, ...) PROP_ANY(n, &prop_kind_drive, st, f, ##__VA_ARGS__)

/* ---- facts ---------------------------------------------------------------------------------- */

/* Bytes, a multiple of 512 (the last sector is zero-padded). 0 without medium. */
uint64_t blk_size(const BlockBackend *blk);
bool blk_is_read_only(const BlockBackend *blk);
bool blk_is_inserted(const BlockBackend *blk);
/* Can a device without removable media work on it? Refused: no medium, and one of 1 to 511 bytes, which is
 * no disk but the stump of one. An image of 0 bytes may grow later: devices that mind say so themselves. */
bool blk_check_disk(const BlockBackend *blk, GError **err);
/* Should the device show a volatile write cache (cache.writeback)? */
bool blk_write_cache(const BlockBackend *blk);
void blk_set_write_cache(BlockBackend *blk, bool on);
/* May reads and writes go to the kernel together with their neighbours? So it is from blk_attach on. Before requests come. */
void blk_set_merging(BlockBackend *blk, bool on);

/* ---- requests (owner loop) ------------------------------------------------------------------ */

BlkRequest *blk_readv(BlockBackend *blk, uint64_t offset, const struct iovec *iov, unsigned count,
                      BlkDone *done, void *opaque);
/* A read that no guest asked for, so that statistics do not tell of it: waits for the end of all requests of blk. 0 or
 * -errno. Main thread, VM lock. */
int blk_read_now(BlockBackend *blk, uint64_t offset, void *buf, size_t len);
/* fua: on stable storage when done. */
BlkRequest *blk_writev(BlockBackend *blk, uint64_t offset, const struct iovec *iov, unsigned count,
                       bool fua, BlkDone *done, void *opaque);
BlkRequest *blk_flush(BlockBackend *blk, BlkDone *done, void *opaque);
BlkRequest *blk_discard(BlockBackend *blk, uint64_t offset, uint64_t len, BlkDone *done,
                        void *opaque);
BlkRequest *blk_write_zeroes(BlockBackend *blk, uint64_t offset, uint64_t len, bool may_unmap,
                             BlkDone *done, void *opaque);
/* The completion still runs, later, with -ECANCELED if the request had not started. Who needs it to have run drains. */
void blk_cancel(BlkRequest *request);
/* Waits until nothing is in flight; completions run meanwhile. The owner, or the main thread under
 * the VM lock. */
void blk_drain(BlockBackend *blk);
/* Between these (nested) requests may be held back, to be given to the kernel in one go. */
void blk_plug(BlockBackend *blk);
void blk_unplug(BlockBackend *blk);

/* Moves blk and all nodes below it into the loop of an iothread that runs, or back to vm->loop;
 * drained meanwhile. Refused when another device that is not the main loop's uses the same nodes. Main thread, VM lock. A
 * detach moves it back. */
bool blk_set_loop(BlockBackend *blk, Loop *loop, GError **err);
/* False: another device, not one of the main loop, uses the nodes. */
bool blk_can_set_loop(const BlockBackend *blk, const Loop *loop);
Loop *blk_loop(const BlockBackend *blk);
/* Before the thread of an iothread ends: everything leaves its loop. Main thread, VM lock. */
void blk_release_loop(Vm *vm, Loop *loop);
unsigned blk_in_flight(const BlockBackend *blk);

/* What rerror/werror say about this error; STOP has already asked for vm_request_stop(IO_ERROR):
 * the device keeps the request and submits it again from ops->retry. */
BlkErrorAction blk_error_action(BlockBackend *blk, bool is_read, int error);

/* rerror=, werror= of -device; "auto" leaves what -drive said. */
typedef enum BlkOnError {
    BLK_ON_ERROR_REPORT,
    BLK_ON_ERROR_IGNORE,
    BLK_ON_ERROR_ENOSPC,
    BLK_ON_ERROR_STOP,
    BLK_ON_ERROR_AUTO,
} BlkOnError;
void blk_set_on_error(BlockBackend *blk, BlkOnError on_read, BlkOnError on_write);
/* Do its policies ask for no more than telling the guest of errors? (enospc, the default, is taken for that.) */
bool blk_only_reports_errors(const BlockBackend *blk);
/* Does its device stop the VM on some errors? */
bool blk_may_stop(const BlockBackend *blk);
/* "ok", "failed" or "nospace", as query-block says it. */
const char *blk_io_status(const BlockBackend *blk);
/* ops->retry shall run when the VM does: a state was loaded that has a request to be retried. */
void blk_want_retry(BlockBackend *blk);

/* ---- SCSI commands (owner loop) --------------------------------------------------------------- */

struct sg_io_hdr; /* <scsi/sg.h> */
/* Can SCSI commands go to the host device below blk? Main thread, VM lock, as the next two. */
bool blk_check_sg(const BlockBackend *blk, GError **err);
/* Is it a character device /dev/sgN, which has no blocks to read? */
bool blk_is_sg_char(const BlockBackend *blk);
/* Bytes that one command can move at most. */
uint32_t blk_sg_max_transfer(const BlockBackend *blk);
/* Sends a command; the result is ioctl SG_IO's, the command's own is in hdr. hdr and the memory that it names stay as they are
 * until the end; at most IOV_MAX pieces. Once started it cannot be cancelled, unless it is one for a pr-manager. */
BlkRequest *blk_sg_io(BlockBackend *blk, struct sg_io_hdr *hdr, BlkDone *done, void *opaque);
/* The same, waiting. Main thread, VM lock. */
int blk_sg_io_wait(BlockBackend *blk, struct sg_io_hdr *hdr);

typedef enum BlkStatKind {
    BLK_STAT_READ,
    BLK_STAT_WRITE,
    BLK_STAT_FLUSH,
    BLK_STAT_DISCARD,
    BLK_STAT_KINDS
} BlkStatKind;
typedef struct BlkStats {
    uint64_t ops[BLK_STAT_KINDS], bytes[BLK_STAT_KINDS], failed[BLK_STAT_KINDS],
        total_ns[BLK_STAT_KINDS];
    uint64_t invalid[BLK_STAT_KINDS]; /* could not be made: behind the end */
    uint64_t merged[BLK_STAT_KINDS]; /* of ops: went to the kernel together with the one before */
    uint64_t max_ns[BLK_STAT_KINDS];
    int64_t last_ns; /* end of the last request, monotonic; 0: none yet */
    uint64_t wr_highest_offset;
} BlkStats;
const BlkStats *blk_stats(const BlockBackend *blk); /* owner */
/* A copy that belongs together. Main thread, VM lock. */
void blk_get_stats(BlockBackend *blk, BlkStats *stats);
/* The guest asked for what lies behind the end, and the device refused it. Owner loop. */
void blk_count_invalid(BlockBackend *blk, BlkStatKind kind);

#define BLK_INTERVALS_MAX 16
#define BLK_TIMED_KINDS BLK_STAT_DISCARD /* kinds before it have their times kept: read, write, flush */
/* Of requests whose end lies in some time before now. */
typedef struct BlkTimed {
    uint64_t min_ns, max_ns, sum_ns, count;
} BlkTimed;
typedef struct BlkInterval {
    uint32_t seconds;
    int64_t covers_ns; /* of time: between half the seconds and all of them; less at the beginning */
    BlkTimed kinds[BLK_TIMED_KINDS];
} BlkInterval;
typedef struct BlkFigures {
    BlkStats stats;
    bool skip_failed, skip_invalid; /* their times are not counted */
    int64_t since_epoch_ns;         /* for those who put it together */
    unsigned intervals;
    BlkInterval interval[BLK_INTERVALS_MAX];
    GArray *boundaries[BLK_TIMED_KINDS]; /* uint64_t; NULL: no histogram */
    uint64_t *bins[BLK_TIMED_KINDS];     /* one more */
} BlkFigures;
/* Main thread, VM lock: these and all that follow. figures: the caller's, to be cleared. */
void blk_get_figures(BlockBackend *blk, BlkFigures *figures);
void blk_figures_clear(BlkFigures *figures);
/* Whether requests that fail, and those that cannot be made, count as the last ones, and the former's times. Default: yes. */
void blk_set_account(BlockBackend *blk, bool failed, bool invalid);
bool blk_accounts_failed(const BlockBackend *blk);
bool blk_accounts_invalid(const BlockBackend *blk);
/* Keeps times within each of these; at most BLK_INTERVALS_MAX, of 1 s or more. */
void blk_set_intervals(BlockBackend *blk, const uint32_t *seconds, unsigned count);
/* Keeps how many times lay between each two of these (uint64_t ns, rising, the first above 0); NULL: does not. kind: of
 * BLK_TIMED_KINDS. Counts from now on. */
void blk_set_boundaries(BlockBackend *blk, BlkStatKind kind, const GArray *boundaries);

/* ---- removable media ------------------------------------------------------------------------- */

/* The guest did it. Owner loop. */
void blk_eject(BlockBackend *blk, bool eject); /* it opened or closed the tray */
void blk_lock_medium(BlockBackend *blk, bool locked);

/* Main thread, VM lock: these and all that follow. */

bool blk_is_removable(const BlockBackend *blk);
bool blk_has_tray(const BlockBackend *blk);
bool blk_tray_is_open(const BlockBackend *blk);
bool blk_medium_is_locked(const BlockBackend *blk);
/* The attached device's id, or its path; NULL without device. The caller frees. */
char *blk_qdev(const BlockBackend *blk);
/* For messages: drive, device or node. */
const char *blk_qdev_name(const BlockBackend *blk);
BlockBackend *blk_by_qdev(Vm *vm, const char *id_or_path);

/* What a manager does. force: although the guest locked the tray. */
bool blk_open_tray(BlockBackend *blk, bool force, GError **err);
bool blk_close_tray(BlockBackend *blk, GError **err);
bool blk_remove_medium(BlockBackend *blk, GError **err);
bool blk_insert_medium(BlockBackend *blk, BlockNode *node, GError **err);
typedef enum BlkChangeMode {
    BLK_CHANGE_RETAIN,
    BLK_CHANGE_READ_ONLY,
    BLK_CHANGE_READ_WRITE
} BlkChangeMode;
/* format NULL: guessed. */
bool blk_change_medium(BlockBackend *blk, const char *filename, const char *format, bool force,
                       BlkChangeMode mode, GError **err);
bool blk_eject_medium(BlockBackend *blk, bool force, GError **err);

/* ---- limits; main thread, VM lock ------------------------------------------------------------ */

struct ThrottleConfig; /* block/throttle.h */
struct ThrottleGroup;
/* Limits of blk, which joins the group of this name (NULL: one of its own). All zero: none. */
bool blk_set_throttle(BlockBackend *blk, const char *group, const struct ThrottleConfig *config,
                      GError **err);
/* NULL: no limits. */
struct ThrottleGroup *blk_throttle_group(const BlockBackend *blk);

#endif
