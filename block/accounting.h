/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a back end counts of its requests. Each stream of them, the owner's and each gate's (gates.h), counts for itself in its
 * own thread and without locks; who asks puts the streams together.
 *
 * Times within the last N seconds are kept in halves of N: the running one and the one before. So what is told covers between
 * N/2 and N seconds, as QEMU's windows do. All streams' halves begin at the same moments (BlkRules.epoch_ns).
 */
#ifndef BLOCK_ACCOUNTING_H
#define BLOCK_ACCOUNTING_H

#include "block/block.h"

/* Of a back end. Main thread, VM lock; streams have copies. */
typedef struct BlkRules {
    bool skip_failed;  /* failed requests are counted, but neither their times nor that they were */
    bool skip_invalid; /* likewise requests that could not be made */
    unsigned intervals;
    uint32_t seconds[BLK_INTERVALS_MAX];
    int64_t epoch_ns;                    /* monotonic */
    GArray *boundaries[BLK_TIMED_KINDS]; /* uint64_t, rising; NULL: no histogram */
} BlkRules;

typedef struct BlkTimes BlkTimes;
struct BlockLoop;

/* Of one stream; its thread's. Zeros are an account of nothing by the default rules. */
typedef struct BlkAccount {
    BlkStats stats;
    bool skip_failed, skip_invalid;
    BlkTimes *times; /* NULL: neither intervals nor histograms are wanted */
} BlkAccount;

/* All but the figures so far, which stay; histograms and intervals begin anew where the rules differ. */
void blk_account_follow(BlkAccount *a, const BlkRules *rules);
void blk_account_clear(BlkAccount *a);
/* A request has ended: bytes, and with how many before it it went to the kernel together. result: 0 or -errno. */
void blk_account_request(BlkAccount *a, BlkStatKind kind, int64_t start_ns, uint64_t bytes, unsigned joined, int result);
/* A request could not even be made: it lies behind the end. */
void blk_account_invalid(BlkAccount *a, BlkStatKind kind);
/* What another stream, which ends, has counted. Not its times. */
void blk_account_take_over(BlkAccount *a, const BlkAccount *from);
/* Adds a's to what is told. figures was made by blk_figures_begin, by the rules that a follows. */
void blk_account_tell(const BlkAccount *a, BlkFigures *figures);
void blk_figures_begin(BlkFigures *figures, const BlkRules *rules);

/* fn of account in its thread, where loop runs; waits for it. Main thread, VM lock. */
void blk_account_visit(struct BlockLoop *loop, BlkAccount *account, void (*fn)(BlkAccount *account, void *opaque), void *opaque);

void blk_rules_clear(BlkRules *rules);

#endif
