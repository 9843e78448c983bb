/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * I/O limits. A group has leaky buckets for bytes and operations (total, read, write); its members
 * (back ends, throttle nodes) draw from them together, each in its own loop.
 *
 * A bucket leaks at its limit. Without a burst limit it holds what leaks in a tenth of a second, with
 * one (max, for max_length seconds) max * max_length; a second bucket then keeps the burst itself
 * at max. A request that finds a bucket overfull waits until it is not. Members whose requests wait take turns, one
 * request each; reads and writes have turns of their own.
 */
#ifndef BLOCK_THROTTLE_H
#define BLOCK_THROTTLE_H

#include "block/block_int.h"

enum {
    THROTTLE_BPS_TOTAL,
    THROTTLE_BPS_READ,
    THROTTLE_BPS_WRITE,
    THROTTLE_IOPS_TOTAL,
    THROTTLE_IOPS_READ,
    THROTTLE_IOPS_WRITE,
    THROTTLE_BUCKETS
};

typedef struct ThrottleConfig {
    uint64_t avg[THROTTLE_BUCKETS];    /* per second; 0: no limit */
    uint64_t max[THROTTLE_BUCKETS];    /* burst, per second; 0: none */
    uint64_t length[THROTTLE_BUCKETS]; /* of a burst, seconds; at least 1 */
    uint64_t iops_size;                /* bytes that count as one operation; 0: any number */
} ThrottleConfig;

typedef struct ThrottleGroup ThrottleGroup;
typedef struct ThrottleMember ThrottleMember;

/* "bps-total", ... by bucket: -max and -max-length follow. */
extern const char *const throttle_names[THROTTLE_BUCKETS];

ThrottleConfig throttle_config_default(void);
bool throttle_config_is_on(const ThrottleConfig *config);
bool throttle_config_check(const ThrottleConfig *config, GError **err);
/* Takes "PREFIXbps-total", "PREFIXiops-size" and so on out of opts. */
bool throttle_config_take(ThrottleConfig *config, BlockOpts *opts, const char *prefix, GError **err);

/* The group of this name with one more reference, made when there is none. Main thread, VM lock, like
 * all up to the members. */
ThrottleGroup *throttle_group_get(Vm *vm, const char *name);
ThrottleGroup *throttle_group_find(Vm *vm, const char *name); /* NULL; no reference */
void throttle_group_unref(ThrottleGroup *group);
const char *throttle_group_name(const ThrottleGroup *group);
ThrottleConfig throttle_group_config(ThrottleGroup *group);
/* Valid (throttle_config_check). Members whose requests wait look again. */
void throttle_group_set_config(ThrottleGroup *group, const ThrottleConfig *config);

/* A member holds a reference of its group. go(opaque, io) sends a request on that had to wait. */
ThrottleMember *throttle_member_new(ThrottleGroup *group, BlockLoop *loop,
                                    void (*go)(void *opaque, BlockIo *io), void *opaque);
void throttle_member_free(ThrottleMember *member); /* nothing waits; NULL is fine */
ThrottleGroup *throttle_member_group(const ThrottleMember *member);
/* True: io may go now. False: go comes later. Owner, like the next ones. */
bool throttle_member_pass(ThrottleMember *member, BlockIo *io);
/* While drained (nested) nothing waits: what waited goes at once. */
void throttle_member_drain_begin(ThrottleMember *member);
void throttle_member_drain_end(ThrottleMember *member);
/* Takes io out of those that wait. False: it is not there. */
bool throttle_member_cancel(ThrottleMember *member, BlockIo *io);
/* detach in the old owner, attach in the new one. */
void throttle_member_detach_loop(ThrottleMember *member);
void throttle_member_attach_loop(ThrottleMember *member, BlockLoop *loop);

#endif
