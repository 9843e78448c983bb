/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between check.c (refcounts), check_tables.c (who refers to clusters) and check_places.c (L1 tables that are something else). */
#ifndef BLOCK_QCOW2_CHECK_H
#define BLOCK_QCOW2_CHECK_H

#include "block/qcow2/qcow2.h"

enum { CHECK_META = 1, CHECK_L2 = 2, CHECK_DATA = 4, CHECK_BITMAP = 8 };

typedef struct Check {
    Qcow2 *q;
    unsigned fix;
    Qcow2CheckResult *result;
    uint64_t file_size;
    uint64_t snapshot_bytes;
    uint32_t *refs; /* references counted, by cluster */
    uint64_t count, room;
    uint8_t *uses;      /* what each cluster of the file is said to be: CHECK_*; NULL: not asked */
    uint64_t uses_clusters;
    unsigned use;       /* of what is counted now, to be noted there; 0: not */
    bool rebuild;       /* the refcount blocks cannot be patched */
    uint64_t missing;   /* clusters in use without refcount block */
    bool l1_lost;       /* the active L1 table is nowhere, or astray */
    bool l1_astray;     /* it lies on something else: see check_places() */
    uint64_t place, place_bytes; /* asked for: does the table of a bitmap lie there? */
    bool place_taken;
    GArray *astray;     /* uint64_t: hosts that entries of bitmap tables wrongly share */
    bool bitmaps_shared; /* the table of a bitmap lies on something else */
    bool l1_changed;
    bool fix_flags;     /* COPIED flags may be repaired */
    uint64_t unfixed;   /* errors that no repair can remove */
    bool lost;          /* a table or an entry leads nowhere and stays so: what seems leaked may be what it led to */
    uint64_t next_host; /* where the next data cluster would lie without fragmentation */
} Check;

void check_say(Check *c, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* One more reference to each cluster of the range. 1: beyond the end of the file (counted as a
 * corruption); < 0. */
int check_count(Check *c, uint64_t host, uint64_t len);
/* Entries at host may be written: nobody says that the cluster is anything but use (and it is asked only while repairing). */
bool check_may_fix(const Check *c, uint64_t host, unsigned use);
/* L1 tables, of the disk or snapshots, that lie on something else: they are said, counted as corruptions and not followed by
 * the rest of the check, which then must not change anything. True: there are such. */
bool check_places(Check *c);
/* Does the directory of bitmaps name a table that has something in common with this range? */
bool qcow2_bitmaps_lie_on(Check *c, uint64_t host, uint64_t len);
/* The active L1 table and what it leads to; repairs entries that cannot be. */
int check_active(Check *c);
int check_snapshots(Check *c);
/* After the refcounts are right (or known): the COPIED flags of the active tables. */
int check_copied(Check *c);

#endif
