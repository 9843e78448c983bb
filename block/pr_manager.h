/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Persistent reservation managers: the object pr-manager-helper. PERSISTENT RESERVE commands of guests want privileges that
 * this process should not have; a helper (qemu-pr-helper, or any program that speaks its protocol) has them. It listens on a
 * socket of the UNIX family, gets the command with the descriptor of the device, and answers with status and sense data.
 *
 *   helper -> us: 4 bytes, what it can do       us -> helper: 4 bytes, what we want of it (nothing: none is defined)
 *   us -> helper: 16 bytes, the command, with the descriptor (SCM_RIGHTS); PERSISTENT RESERVE OUT: its parameters
 *   helper -> us: 4 bytes SCSI status, 4 bytes length of the data, 96 bytes of sense data; PERSISTENT RESERVE IN: the data
 *
 * All numbers are big-endian. There is one command at a time; a manager has one connection.
 */
#ifndef BLOCK_PR_MANAGER_H
#define BLOCK_PR_MANAGER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/vm.h"
#include "util/error.h"

typedef struct PrManager PrManager;
struct sg_io_hdr; /* <scsi/sg.h> */

/* The object of this id; object_unref when it is no longer needed. NULL with *err. Main thread, VM lock. */
PrManager *pr_manager_get(Vm *vm, const char *id, GError **err);
bool pr_manager_connected(const PrManager *m);

/* Is it a command for managers? */
bool pr_manager_takes(const struct sg_io_hdr *hdr);
/*
 * Has the helper run it on the device fd. Waits, for others' commands too, but not longer than hdr->timeout from given_ns
 * (CLOCK_MONOTONIC) on, when it came: then it ends as a command that the host gave up (hdr->host_status). cancelled: atomic;
 * nobody wants it any more. hurried_ns: atomic; when somebody last began to wait for such commands.
 * Any thread but those of loops. 0: the answer is in hdr, as from SG_IO; -EINVAL: the command or what the helper said is wrong;
 * -EIO: there is no helper; -ECANCELED.
 */
int pr_manager_run(PrManager *m, int fd, struct sg_io_hdr *hdr, int64_t given_ns, const bool *cancelled,
                   const int64_t *hurried_ns);
/* It was cancelled: if it is running or waits for its turn it ends soon. Any thread. */
void pr_manager_cancelled(PrManager *m, const struct sg_io_hdr *hdr);
/* A hurried_ns has changed. Any thread. */
void pr_manager_hurried(PrManager *m);
/* All commands of the VM's managers end now, and those that come: the machine ends. Main thread, VM lock. */
void pr_managers_end(Vm *vm);

#endif
