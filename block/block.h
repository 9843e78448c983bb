/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a disk device holds: a BlockBackend. Offsets and lengths are bytes. Requests complete in the
 * back end's loop (the main loop under the VM lock, unless blk_set_loop moved it); a completion never
 * runs inside the submitting call. Errors are negative errno values.
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
typedef struct BlkRequest BlkRequest; /* in flight */
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

/* ---- finding and attaching ---------------------------------------------------------------- */

/* By -drive id or -blockdev node name; NULL when there is none. */
BlockBackend *blk_find(Vm *vm, const char *name);
/* One device a back end. False when it is taken, or read-only and the device must write. */
bool blk_attach(BlockBackend *blk, Device *dev, const BlkDevOps *ops, void *opaque, bool need_write, GError **err);
void blk_detach(BlockBackend *blk);
const char *blk_name(const BlockBackend *blk);

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

BlkRequest *blk_readv(BlockBackend *blk, uint64_t offset, const struct iovec *iov, unsigned count, BlkDone *done,
                      void *opaque);
/* fua: on stable storage when done. */
BlkRequest *blk_writev(BlockBackend *blk, uint64_t offset, const struct iovec *iov, unsigned count, bool fua,
                       BlkDone *done, void *opaque);
BlkRequest *blk_flush(BlockBackend *blk, BlkDone *done, void *opaque);
BlkRequest *blk_discard(BlockBackend *blk, uint64_t offset, uint64_t len, BlkDone *done, void *opaque);
BlkRequest *blk_write_zeroes(BlockBackend *blk, uint64_t offset, uint64_t len, bool may_unmap, BlkDone *done,
                             void *opaque);
/* The completion still runs, with -ECANCELED if the request had not started. */
void blk_cancel(BlkRequest *request);
/* Waits until nothing is in flight; completions run meanwhile. */
void blk_drain(BlockBackend *blk);
unsigned blk_in_flight(const BlockBackend *blk);

/* What rerror/werror say about this error; STOP has already asked for vm_request_stop(IO_ERROR): the
 * device keeps the request and submits it again from ops->retry. */
BlkErrorAction blk_error_action(BlockBackend *blk, bool is_read, int error);

/* ---- removable media --------------------------------------------------------------------------- */
void blk_eject(BlockBackend *blk, bool eject);          /* the guest opened or closed the tray */
void blk_lock_medium(BlockBackend *blk, bool locked);

#endif
