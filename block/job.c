/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Jobs (job.h). */
#include "block/job.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/event.h"
#include "core/user_object.h"
#include "util/thread.h"
#include "util/trace.h"

#define BIT(status) (1u << JOB_STATUS_##status)

/* ---- states ------------------------------------------------------------------------------------ */

static void set_status(BlockJob *job, JobStatus status)
{
    JobStatusChangeEvent event = {.id = job->id, .status = status};

    trace(block_job_status, "job %s status %s", job->id, qapi_enum_name(&qapi_type_JobStatus, status));
    job->status = status;
    vm_emit_event(job->vm, &qapi_event_JOB_STATUS_CHANGE, &event);
}

static void conclude(BlockJob *job)
{
    job->current = job->total;
    if (job->cancelled && !job->err) {
        error_set_errno(&job->err, ECANCELED, "The job was cancelled");
    }
    if (job->err) {
        set_status(job, JOB_STATUS_ABORTING);
    } else {
        set_status(job, JOB_STATUS_WAITING);
        set_status(job, JOB_STATUS_PENDING);
    }
    job->ops->free(job);
    job->opaque = NULL;
    set_status(job, JOB_STATUS_CONCLUDED);
}

static void job_free(void *opaque)
{
    BlockJob *job = opaque;

    if (job->opaque) {
        job->ops->free(job);
    }
    g_clear_error(&job->err);
    g_free(job->id);
    g_free(job);
}

/* ---- the thread --------------------------------------------------------------------------------- */

static void *run(void *opaque)
{
    BlockJob *job = opaque;
    int fd = job->done_fd;

    job->ops->run(job, &job->err);
    eventfd_write(fd, 1); /* the last: job may be gone afterwards */
    return NULL;
}

static void forget_thread(BlockJob *job)
{
    block_fd_remove(job->source);
    job->source = NULL;
    close(job->done_fd);
    job->done_fd = -1;
}

/* Jobs whose thread has ended are concluded: not inside a wait for something else. */
static void conclude_all(void *opaque)
{
    Vm *vm = opaque;
    GPtrArray *jobs = vm->block ? vm->block->jobs : NULL;

    for (unsigned i = 0; jobs && i < jobs->len; i++) {
        BlockJob *job = g_ptr_array_index(jobs, i);

        if (job->done_fd < 0 && job->status == JOB_STATUS_RUNNING) {
            conclude(job);
            i = UINT_MAX; /* a listener may have changed the list: from the beginning */
        }
    }
}

static void thread_ended(void *opaque, uint32_t events)
{
    BlockJob *job = opaque;

    forget_thread(job);
    loop_post(job->vm->loop, conclude_all, job->vm);
}

static bool start_thread(BlockJob *job, GError **err)
{
    int error;

    job->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (job->done_fd < 0) {
        return error_set_errno(err, errno, "Could not start the job");
    }
    job->source = block_fd_add(block_loop_main(job->vm), job->done_fd, EPOLLIN, thread_ended, job);
    error = thread_start_detached(run, job, 0);
    if (error) {
        forget_thread(job);
        return error_set_errno(err, error, "Could not start the job");
    }
    return true;
}

/* ---- making ------------------------------------------------------------------------------------- */

GPtrArray *block_jobs(Vm *vm) { return vm->block ? vm->block->jobs : NULL; }

static BlockJob *find(Vm *vm, const char *id)
{
    GPtrArray *jobs = block_jobs(vm);

    for (unsigned i = 0; jobs && i < jobs->len; i++) {
        BlockJob *job = g_ptr_array_index(jobs, i);

        if (!strcmp(job->id, id)) {
            return job;
        }
    }
    return NULL;
}

bool block_job_check_id(Vm *vm, const char *id, GError **err)
{
    if (!object_id_is_valid(id)) {
        return error_set(err, "Invalid job ID '%s' (letters, digits, '-', '.', '_', starting with a letter)", id);
    }
    return !find(vm, id) || error_set(err, "Job ID '%s' already in use", id);
}

void block_job_start(Vm *vm, const char *id, const BlockJobOps *ops, void *opaque, GError *failed)
{
    BlockState *s = block_state(vm);
    BlockJob *job = g_new(BlockJob, 1);

    *job = (BlockJob){.vm = vm, .id = g_strdup(id), .ops = ops, .opaque = opaque, .total = 1, .err = failed, .done_fd = -1};
    if (!s->jobs) {
        s->jobs = g_ptr_array_new_with_free_func(job_free);
    }
    g_ptr_array_insert(s->jobs, 0, job);
    set_status(job, JOB_STATUS_CREATED);
    set_status(job, JOB_STATUS_RUNNING);
    if (job->err || !start_thread(job, &job->err)) {
        loop_post(vm->loop, conclude_all, vm);
    }
}

const char *block_job_error(const BlockJob *job)
{
    return job->done_fd < 0 && job->err && job->status == JOB_STATUS_CONCLUDED ? job->err->message : NULL;
}

static bool threads_have_requests(const Vm *vm)
{
    for (unsigned i = 0; i < vm->block->nodes->len; i++) {
        if (((const BlockNode *)g_ptr_array_index(vm->block->nodes, i))->extern_flight) {
            return true;
        }
    }
    return false;
}

/* A thread takes the VM lock to start requests, and this one ends them. */
static void wait_for_thread(BlockJob *job)
{
    BlockLoop *loop = block_loop_main(job->vm);

    while (job->source) {
        struct pollfd polled = {.fd = job->done_fd, .events = POLLIN};

        if (threads_have_requests(job->vm)) {
            block_loop_wait(loop);
            continue;
        }
        vm_unlock(job->vm);
        poll(&polled, 1, 1);
        vm_lock(job->vm);
        if (polled.revents) {
            forget_thread(job);
        }
    }
}

void block_jobs_end(Vm *vm)
{
    GPtrArray *jobs = block_jobs(vm);

    for (unsigned i = 0; jobs && i < jobs->len; i++) {
        wait_for_thread(g_ptr_array_index(jobs, i));
    }
    g_clear_pointer(&vm->block->jobs, g_ptr_array_unref);
}

/* ---- commands ----------------------------------------------------------------------------------- */

/* The job, when its status is one of allowed. */
static BlockJob *find_for(Vm *vm, const char *id, const char *verb, unsigned allowed, GError **err)
{
    BlockJob *job = find(vm, id);

    if (!job) {
        error_set(err, "Job not found");
        return NULL;
    }
    if (!(allowed & 1u << job->status)) {
        error_set(err, "Job '%s' in state '%s' cannot accept command verb '%s'", id,
                  qapi_enum_name(&qapi_type_JobStatus, job->status), verb);
        return NULL;
    }
    return job;
}

#define AT_WORK (BIT(CREATED) | BIT(RUNNING) | BIT(PAUSED) | BIT(READY) | BIT(STANDBY))

/* A job that makes images has no place to rest at: it goes on, as in QEMU. */
bool block_job_pause(Vm *vm, const char *id, GError **err)
{
    BlockJob *job = find_for(vm, id, "pause", AT_WORK, err);

    if (!job) {
        return false;
    }
    if (job->user_paused) {
        return error_set(err, "Job is already paused");
    }
    job->user_paused = true;
    return true;
}

bool block_job_resume(Vm *vm, const char *id, GError **err)
{
    BlockJob *job = find_for(vm, id, "resume", AT_WORK, err);

    if (!job) {
        return false;
    }
    if (!job->user_paused) {
        return error_set(err, "Can't resume a job that was not paused");
    }
    job->user_paused = false;
    return true;
}

bool block_job_cancel(Vm *vm, const char *id, GError **err)
{
    BlockJob *job = find_for(vm, id, "cancel", AT_WORK | BIT(WAITING) | BIT(PENDING), err);

    if (job) {
        job->cancelled = true;
    }
    return job != NULL;
}

bool block_job_complete(Vm *vm, const char *id, GError **err)
{
    BlockJob *job = find_for(vm, id, "complete", BIT(READY), err);

    return job && error_set(err, "The active block job '%s' cannot be completed", id);
}

bool block_job_finalize(Vm *vm, const char *id, GError **err)
{
    return find_for(vm, id, "finalize", BIT(PENDING), err) != NULL;
}

bool block_job_dismiss(Vm *vm, const char *id, GError **err)
{
    BlockJob *job = find_for(vm, id, "dismiss", BIT(CONCLUDED), err);

    if (!job) {
        return false;
    }
    set_status(job, JOB_STATUS_NULL);
    g_ptr_array_remove(vm->block->jobs, job);
    return true;
}
