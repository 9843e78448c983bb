/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between check.c (refcounts) and check_tables.c (who refers to clusters). */
#ifndef BLOCK_QCOW2_CHECK_H
#define BLOCK_QCOW2_CHECK_H

#include "block/qcow2/qcow2.h"

typedef struct Check {
    Qcow2 *q;
    unsigned fix;
    Qcow2CheckResult *result;
    uint64_t file_size;
    uint64_t snapshot_bytes;
    uint32_t *refs; /* references counted, by cluster */
    uint64_t count, room;
    bool rebuild;       /* the refcount blocks cannot be patched */
    uint64_t missing;   /* clusters in use without refcount block */
    bool l1_changed;
    bool fix_flags;     /* COPIED flags may be repaired */
    uint64_t unfixed;   /* errors that no repair can remove */
    uint64_t next_host; /* where the next data cluster would lie without fragmentation */
} Check;

void check_say(Check *c, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* One more reference to each cluster of the range. 1: beyond the end of the file (counted as a
 * corruption); < 0. */
int check_count(Check *c, uint64_t host, uint64_t len);
/* The active L1 table and what it leads to; repairs entries that cannot be. */
int check_active(Check *c);
int check_snapshots(Check *c);
/* After the refcounts are right (or known): the COPIED flags of the active tables. */
int check_copied(Check *c);

#endif
