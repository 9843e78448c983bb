/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between backend.c (requests), backend_errors.c and media.c. */
#ifndef BLOCK_BACKEND_INT_H
#define BLOCK_BACKEND_INT_H

#include "block/accounting.h"
#include "block/block_int.h"
#include "block/throttle.h"

struct BlockBackend {
    Vm *vm;
    char *name;           /* -drive's id; NULL: none */
    BlockLoop *loop;      /* the owner: of the fields from in_flight on too */
    BlockLoop *plug_loop; /* where the device submits: loop, but for the times when nodes are borrowed (block_borrow, reopen) */
    BlockChild *root;     /* NULL: no medium */
    DriveInfo *info;      /* -drive's; NULL: none */
    Device *dev;          /* attached; NULL: none */
    const BlkDevOps *ops; /* the device's; NULL: none */
    void *opaque;
    unsigned in_flight;  /* started and not ended */
    unsigned quiesced;   /* drained sections: what comes waits in queued */
    BlkRequest *queued, **queued_tail;
    unsigned n_queued;
    BlkRequest *pool;
    unsigned pool_len;
    GPtrArray *gates;    /* BlkGate * (gates.h); NULL: none; changes in the main thread, drained */
    unsigned gates_held; /* blk_gates_hold, nested */
    struct BlkGate *home; /* of gates: a main loop's device submits through it; NULL: it has none */
    ThrottleMember *throttle; /* NULL: no limits of its own */
    uint32_t used, shared;    /* permissions that the attached device has asked for */
    bool write_cache;  /* atomic; writes may stay in caches until a flush */
    bool retry_wanted; /* atomic; stopped the VM: tell the device when it runs again */
    bool no_merging;   /* blk_set_merging */
    bool locked;       /* atomic; the guest locked the tray */
    BlkOnError on_read_error, on_write_error;
    const char *io_status; /* atomic */
    BlkRules rules;
    BlkAccount account;
};

struct BlkRequest {
    BlockIo io;
    BlockBackend *blk;
    struct BlkGate *gate; /* it came through; NULL: none */
    BlkStatKind kind; /* BLK_STAT_KINDS: not counted */
    uint64_t bytes;
    BlockNode *layer;     /* STATUS: where it is asked now */
    int *depth;           /* STATUS: the submitter's */
    uint64_t offset;      /* STATUS: where it began */
    int64_t start_ns; /* monotonic */
    BlkDone *done;
    void *opaque;
    BlkRequest *next;
    /* ---- of a gate: its thread's, but for with_owner */
    BlockMail cancel;
    bool straight;        /* it went straight in; else through the owner */
    bool with_owner;      /* it is there, or below. The owner's */
    bool cancelling;      /* cancel is on its way; it ends when that is back */
    bool ended;           /* while cancelling */
};

/* Does a device other than but's, which works in the tree's own loop, use it? Main thread, VM lock. */
bool block_tree_has_device(BlockNode *node, const BlockBackend *but);

/* What a request of BLOCK_READ to BLOCK_ZERO counts as. */
BlkStatKind blk_stat_kind(BlockOp op);
/* 0, or why it cannot be: -errno. */
int blk_check_request(const BlockBackend *blk, const BlkRequest *request);
/* Counted as in flight, checked, limited. Owner; io.done is set. */
void blk_start_request(BlockBackend *blk, BlkRequest *request);
/* Has been started and goes on with io in this loop: ends soon, cancelled, if that is not too late. */
void blk_cancel_started(BlkRequest *request, BlockLoop *loop);
static inline void blk_count_request(BlkAccount *account, const BlkRequest *request, int result)
{
    if (request->kind != BLK_STAT_KINDS) {
        blk_account_request(account, request->kind, request->start_ns, request->bytes, request->io.joined, result);
    }
}

/* ---- gates (gates.c); owner ---- */

/* Gates start nothing more until as many calls of go; nothing without gates. */
void blk_gates_hold(BlockBackend *blk);
void blk_gates_go(BlockBackend *blk);
/* Held: is all that gates handed over in the owner, started? */
bool blk_gates_stopped(const BlockBackend *blk);
/* Held: have they nothing in flight? */
bool blk_gates_idle(const BlockBackend *blk);
/* Waits until neither gates, which are held, nor the owner have anything in flight. */
void blk_gates_wait(BlockBackend *blk);
/* blk has a new owner, which is this. */
void blk_gates_moved(BlockBackend *blk);
/* Main thread, VM lock. Drained. */
void blk_gates_free(BlockBackend *blk);
/* Each gate's, in its thread. Main thread, VM lock. */
void blk_gates_visit_accounts(BlockBackend *blk, void (*fn)(BlkAccount *account, void *opaque), void *opaque);

/* The gate's loop; done never runs inside the call. */
BlkRequest *blk_gate_request(struct BlkGate *g, BlkStatKind kind, const BlockIo *io, BlkDone *done, void *opaque);

/* ---- home: the gate of a device of the main loop; main thread, VM lock ---- */

/* Does a device of the main loop use it? */
bool blk_needs_home(const BlockBackend *blk);
/* From now on it submits through a gate in the main loop, wherever the nodes are. */
bool blk_make_home(BlockBackend *blk, GError **err);
/* As blk_cancel. */
void blk_home_cancel(BlkRequest *request);
/* Waits until its device has nothing under way. */
void blk_home_drain(BlockBackend *blk);
/* Its device shall hear of a new size. Owner. */
void blk_home_resized(BlockBackend *blk);
/* Where the device's callbacks run. */
BlockLoop *blk_device_loop(const BlockBackend *blk);

/* Inside block/: the request as it is, not counted and not throttled. */
BlkRequest *blk_submit_sg(BlockBackend *blk, const BlockIo *io, BlkDone *done, void *opaque);
/* block/sg.c: gives it to the node that can do it. Owner. */
void blk_start_sg(BlockBackend *blk, BlockIo *io);
/* It runs: where that can be, it ends soon. */
void blk_cancel_sg(BlockBackend *blk, BlockIo *io);
/* Somebody waits for all that is under way. */
void blk_hurry_sg(BlockBackend *blk);

#endif
