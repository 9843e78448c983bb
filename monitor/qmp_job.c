/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP: jobs, and those that make images. */
#include "block/create_job.h"
#include "monitor/qmp.h"
#include "qapi/qapi-commands.h"

bool qmp_query_jobs(QmpCall *call, GError **err)
{
    const GPtrArray *jobs = block_jobs(call->vm);
    GPtrArray *list = g_ptr_array_new();

    for (unsigned i = 0; jobs && i < jobs->len; i++) {
        const BlockJob *job = g_ptr_array_index(jobs, i);
        JobInfo *info = g_new0(JobInfo, 1);

        info->id = g_strdup(job->id);
        info->type = job->ops->type;
        info->status = job->status;
        info->current_progress = (int64_t)job->current;
        info->total_progress = (int64_t)job->total;
        info->error = g_strdup(block_job_error(job));
        g_ptr_array_add(list, info);
    }
    call->result = list;
    return true;
}

/* None of what blocks' jobs do is there: jobs that make images are in query-jobs only. */
bool qmp_query_block_jobs(QmpCall *call, GError **err)
{
    call->result = g_ptr_array_new();
    return true;
}

bool qmp_job_pause(QmpCall *call, GError **err)
{
    return block_job_pause(call->vm, ((const JobPauseArgs *)call->args)->id, err);
}

bool qmp_job_resume(QmpCall *call, GError **err)
{
    return block_job_resume(call->vm, ((const JobResumeArgs *)call->args)->id, err);
}

bool qmp_job_cancel(QmpCall *call, GError **err)
{
    return block_job_cancel(call->vm, ((const JobCancelArgs *)call->args)->id, err);
}

bool qmp_job_complete(QmpCall *call, GError **err)
{
    return block_job_complete(call->vm, ((const JobCompleteArgs *)call->args)->id, err);
}

bool qmp_job_finalize(QmpCall *call, GError **err)
{
    return block_job_finalize(call->vm, ((const JobFinalizeArgs *)call->args)->id, err);
}

bool qmp_job_dismiss(QmpCall *call, GError **err)
{
    return block_job_dismiss(call->vm, ((const JobDismissArgs *)call->args)->id, err);
}

bool qmp_blockdev_create(QmpCall *call, GError **err)
{
    const BlockdevCreateArgs *args = call->args;

    return block_create_job_start(call->vm, args->job_id, args->options, err);
}
