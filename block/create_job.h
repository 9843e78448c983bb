/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The job that makes images (blockdev-create). */
#ifndef BLOCK_CREATE_JOB_H
#define BLOCK_CREATE_JOB_H

#include "block/job.h"
#include "qapi/qapi-block.h"

/* Starts it; what cannot be made is the job's error. False with *err: its name cannot be. Main thread, VM lock. */
bool block_create_job_start(Vm *vm, const char *id, const BlockdevCreateOptions *options, GError **err);

#endif
