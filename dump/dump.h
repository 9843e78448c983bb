/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A file with the guest's memory and registers, for debuggers: an ELF core (crash, gdb, drgn, volatility) or
 * kdump-compressed in makedumpfile's flattened form.
 *
 * The VM is stopped while a dump is written and goes on afterwards if it ran. A detached dump is written by a thread of
 * its own, which touches nothing but guest memory and its file. VM lock for all of this.
 */
#ifndef DUMP_DUMP_H
#define DUMP_DUMP_H

#include "core/vm.h"
#include "qapi/qapi-dump.h"

typedef struct DumpRequest {
    int fd;             /* open for writing; dump_start closes it in any case */
    const struct DumpPacker *packer; /* how a kdump's pages are compressed (dump/pack.h); NULL: an ELF file */
    bool paging;        /* ELF only: virtual addresses as the guest's page tables have them */
    bool filter;        /* ELF only: physical memory from begin on, length bytes */
    uint64_t begin, length;
    bool detach;        /* returns at once; DUMP_COMPLETED tells the end */
} DumpRequest;

/* False with *err: nothing was begun, or (not detached) writing failed and the file is useless. */
bool dump_start(Vm *vm, const DumpRequest *request, GError **err);
/* How the last one goes. */
DumpQueryResult dump_query(Vm *vm);
/* Is one being written? Then the VM must not run. */
bool dump_is_active(const Vm *vm);

#endif
