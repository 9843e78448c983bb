/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a disk device holds: a BlockBackend. Offsets and lengths are bytes. Requests complete in the
 * back end's loop (the main loop under the VM lock, unless blk_set_loop moved it); a completion
 * never runs inside the submitting call. Errors are negative errno values.
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

/* Callbacks to the device that is attached. */
typedef struct BlkDevOps {
    void (*resized)(void *opaque);
    void (*media_changed)(void *opaque, bool loaded);
    bool (*is_tray_open)(void *opaque);
    void (*eject_request)(void *opaque, bool force);
    /* The VM runs again after a stop on error: submit what was kept (werror=stop). */
    void (*retry)(void *opaque);
} BlkDevOps;

/* ---- options -------------------------------------------------------------------------------- */

/* What one -drive (or -hda, -cdrom, ...) asks for. The board connects those whose interface it has.
 */
typedef struct DriveInfo {
    char *id; /* "ide0-hd0" unless the user named it */
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
/* Should the device show a volatile write cache (cache.writeback)? */
bool blk_write_cache(const BlockBackend *blk);
void blk_set_write_cache(BlockBackend *blk, bool on);

/* ---- requests (owner loop) ------------------------------------------------------------------ */

BlkRequest *blk_readv(BlockBackend *blk, uint64_t offset, const struct iovec *iov, unsigned count,
                      BlkDone *done, void *opaque);
/* fua: on stable storage when done. */
BlkRequest *blk_writev(BlockBackend *blk, uint64_t offset, const struct iovec *iov, unsigned count,
                       bool fua, BlkDone *done, void *opaque);
BlkRequest *blk_flush(BlockBackend *blk, BlkDone *done, void *opaque);
BlkRequest *blk_discard(BlockBackend *blk, uint64_t offset, uint64_t len, BlkDone *done,
                        void *opaque);
BlkRequest *blk_write_zeroes(BlockBackend *blk, uint64_t offset, uint64_t len, bool may_unmap,
                             BlkDone *done, void *opaque);
/* The completion still runs, with -ECANCELED if the request had not started. */
void blk_cancel(BlkRequest *request);
/* Waits until nothing is in flight; completions run meanwhile. */
void blk_drain(BlockBackend *blk);
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
/* "ok", "failed" or "nospace", as query-block says it. */
const char *blk_io_status(const BlockBackend *blk);
/* ops->retry shall run when the VM does: a state was loaded that has a request to be retried. */
void blk_want_retry(BlockBackend *blk);

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
    uint64_t max_ns[BLK_STAT_KINDS];
    uint64_t wr_highest_offset;
} BlkStats;
const BlkStats *blk_stats(const BlockBackend *blk);

/* ---- removable media ------------------------------------------------------------------------ */
void blk_eject(BlockBackend *blk, bool eject); /* the guest opened or closed the tray */
void blk_lock_medium(BlockBackend *blk, bool locked);

#endif
