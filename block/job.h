/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Jobs: work on nodes that takes its time, done by a thread of its own, which managers start, watch and forget. The
 * states, and which command a state allows, are QEMU's:
 *
 *     created -> running -> waiting -> pending -> concluded -> null
 *                   |------> aborting ------------^
 *
 * A job is concluded until job-dismiss, so that its error can be read.
 */
#ifndef BLOCK_JOB_H
#define BLOCK_JOB_H

#include "block/block_int.h"
#include "qapi/qapi-job.h"

typedef struct BlockJob BlockJob;

typedef struct BlockJobOps {
    JobType type;
    /* In a thread, without the VM lock; block_p* of nodes may be used. False with *err. */
    bool (*run)(BlockJob *job, GError **err);
    /* Main thread, VM lock; the thread is gone: frees job->opaque. */
    void (*free)(BlockJob *job);
} BlockJobOps;

struct BlockJob {
    Vm *vm;
    char *id;
    const BlockJobOps *ops;
    void *opaque; /* the job's own */
    JobStatus status;
    bool user_paused, cancelled;
    uint64_t current, total; /* of its progress */
    GError *err;             /* why it failed; NULL: it did not */
    int done_fd;             /* eventfd, the thread's last word; -1: there is no thread */
    BlockFd *source;
};

/* All of it: main thread, VM lock. */

/* May a new job have this name? */
bool block_job_check_id(Vm *vm, const char *id, GError **err);
/* Starts one of a name that was checked. failed (taken over): it fails at once, with this; NULL: its thread runs. */
void block_job_start(Vm *vm, const char *id, const BlockJobOps *ops, void *opaque, GError *failed);
/* Why it failed in words; NULL: it did not. */
const char *block_job_error(const BlockJob *job);
GPtrArray *block_jobs(Vm *vm); /* BlockJob *, the newest first; NULL: there never was one */

/* The commands. False with *err: there is no such job, or its state does not allow it. */
bool block_job_pause(Vm *vm, const char *id, GError **err);
bool block_job_resume(Vm *vm, const char *id, GError **err);
bool block_job_cancel(Vm *vm, const char *id, GError **err);
bool block_job_complete(Vm *vm, const char *id, GError **err);
bool block_job_finalize(Vm *vm, const char *id, GError **err);
bool block_job_dismiss(Vm *vm, const char *id, GError **err);

/* For blk_cleanup: waits for all threads and forgets all jobs. */
void block_jobs_end(Vm *vm);

#endif
