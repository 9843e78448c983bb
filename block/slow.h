/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What takes its time while nodes are opened: looking names up, connecting to servers, deriving keys. A node is opened in
 * one go under the VM lock, so waiting there would hold up the whole VM.
 *
 * A monitor's command that opens nodes therefore runs between block_slow_begin and block_slow_end. A driver that needs
 * such a thing asks block_slow_get for it, and fails the first time; a thread does what was asked for, then the command runs
 * again from its beginning and finds the result. Nothing stays of an opening that failed, so this may happen as often as
 * there is something to wait for. Everywhere else (start-up, tools) block_slow_get does it at once.
 *
 * The same goes for what a format reads while it is opened, from a node whose server may be silent (nbd/client_ahead.c): the
 * driver makes such a read fail after a moment, goes on with it by itself, and the command runs again when the answer is there.
 * Such nodes are parked meanwhile rather than closed: in no list, so that nobody else finds them.
 *
 * Main thread, under the VM lock, but for BlockSlowOps.run.
 */
#ifndef BLOCK_SLOW_H
#define BLOCK_SLOW_H

#include <stdbool.h>

#include "block/block.h"
#include "core/vm.h"
#include "util/error.h"

typedef struct BlockSlowTask BlockSlowTask;

typedef struct BlockSlowOps {
    /* Does it, and may wait; in a thread of its own. cancel_fd: readable: nobody wants it any more; -1: none. */
    bool (*run)(BlockSlowTask *task, int cancel_fd, GError **err);
    /* Is what a was asked for what b (with the same ops) is to do? */
    bool (*same)(const BlockSlowTask *a, const BlockSlowTask *b);
    /* With its results. If !stops: any thread. */
    void (*free)(BlockSlowTask *task);
    /* run ends soon once it is cancelled: the main thread waits for it. Others are left alone then. */
    bool stops;
} BlockSlowOps;

/* Within a driver's own struct. */
struct BlockSlowTask {
    const BlockSlowOps *ops;
    GError *err; /* why it failed */
};

/* ---- for drivers ------------------------------------------------------------------------------ */

/*
 * task (taken over; .err NULL) or one that is the same, done: the caller's. NULL with *err: it failed, or a thread will do it.
 */
BlockSlowTask *block_slow_get(Vm *vm, BlockSlowTask *task, GError **err);
/* Gives a task that is done, with its results, back for the next time that the command runs, or frees it. */
void block_slow_keep(Vm *vm, BlockSlowTask *task);
/* Will the present command run again? */
bool block_slow_again(Vm *vm);

/* Is a read of this node, which just came, one that the present command waits for to open a format, and of nobody else? The
 * command's number, never 0; 0: no. */
uint64_t block_slow_reads(const BlockNode *node);
/* That read, described by what, fails and goes on by itself. False: the command has ended. */
bool block_slow_await(BlockNode *node, uint64_t command, const char *what);
/* It has its answer, which the next run will ask for. Main loop. */
void block_slow_answered(Vm *vm, uint64_t command);

/* ---- for block/node.c ------------------------------------------------------------------------- */

/* The last reference has gone: true: parked, for the command runs again. */
bool block_slow_park(BlockNode *node);
/* The node that was parked as this (BlockNode.slow_key), the caller's now; NULL: none, or its name is taken. */
BlockNode *block_slow_unpark(Vm *vm, const char *key);

/* ---- for monitors ----------------------------------------------------------------------------- */

typedef struct BlockSlow BlockSlow;
/* err NULL: run the command again; else the callee's, and the end. */
typedef void BlockSlowDone(void *opaque, GError *err);

/* The nodes of one command. */
BlockSlow *block_slow_new(Vm *vm);
void block_slow_free(BlockSlow *slow); /* nothing is being done */
/* The command runs now. They do not nest. */
void block_slow_begin(BlockSlow *slow);
/* It has run. True: it must wait for something (and failed), and run again: block_slow_wait. */
bool block_slow_end(BlockSlow *slow);
/* Has a thread do what the command needs. done runs later in the main loop. */
void block_slow_wait(BlockSlow *slow, BlockSlowDone *done, void *opaque);
/* All of the VM's end now, with this error. */
void block_slow_cancel_all(Vm *vm, const char *why);

#endif
