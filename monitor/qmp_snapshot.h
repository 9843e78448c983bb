/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Snapshots, for commands that are about several of them. Main thread, VM lock. */
#ifndef MONITOR_QMP_SNAPSHOT_H
#define MONITOR_QMP_SNAPSHOT_H

#include "block/overlay.h"
#include "qapi/qapi-block.h"

/* The overlay is there; block_overlay_commit or block_overlay_abort ends it. NULL with *err. */
BlockOverlay *qmp_snapshot_put(Vm *vm, const BlockdevSnapshot *args, GError **err);
BlockOverlay *qmp_snapshot_put_new(Vm *vm, const BlockdevSnapshotSync *args, GError **err);

/* An internal snapshot that was made; to be undone or forgotten. */
typedef struct InternalSnapshot {
    BlockNode *node; /* a reference */
    char *id;        /* g_free */
} InternalSnapshot;
bool qmp_snapshot_make(Vm *vm, const BlockdevSnapshotInternal *args, InternalSnapshot *made, GError **err);
void qmp_snapshot_undo(InternalSnapshot *made);
void qmp_snapshot_forget(InternalSnapshot *made);

/* The caller's. */
SnapshotInfo *qmp_snapshot_info(const BlockSnapshot *s);

#endif
