/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest memory as objects: memory-backend-ram, -file and -memfd. Each holds one RamBlock, mapped when the
 * object is complete. Who gives it to the guest claims it first: memory is used once.
 */
#ifndef BACKENDS_MEMORY_H
#define BACKENDS_MEMORY_H

#include "core/object.h"
#include "core/region.h"

#define MEMORY_MAX_NODES 128

typedef enum MemoryPolicy { POLICY_DEFAULT, POLICY_PREFERRED, POLICY_BIND, POLICY_INTERLEAVE } MemoryPolicy;

typedef struct MemoryBackend {
    Object obj;
    uint64_t size;              /* bytes */
    bool share;                 /* other processes see what the guest writes */
    bool merge, dump;           /* for the kernel's same-page merging; part of our core dump */
    bool prealloc;              /* all pages are there before the guest starts */
    bool reserve;               /* the kernel counts it against its commit limit */
    bool canonical_id;          /* the block is called by its path, as before QEMU 4.0 */
    uint32_t prealloc_threads;
    char *prealloc_context;     /* path of a thread-context; NULL: threads of our own */
    int policy;                 /* MemoryPolicy */
    uint64_t nodes[MEMORY_MAX_NODES / 64]; /* host NUMA nodes, one bit each */
    RamBlock *block;            /* NULL until complete */
    uint64_t align;             /* of its place in the guest's memory and of its size there: bytes, a power of two */
    bool pmem;                  /* what is written shall survive a crash of the host, where the file can do so (DAX) */
    bool readonly;              /* the guest may only read (memory-backend-file readonly=on) */
    bool claimed;
} MemoryBackend;

/* What a kind of memory does besides: type ops. */
typedef struct MemoryBackendOps {
    /* Sets backend->block by memory_backend_map. */
    bool (*map)(MemoryBackend *backend, GError **err);
} MemoryBackendOps;

/* The backend of this id; NULL with *err. */
MemoryBackend *memory_backend_find(Vm *vm, const char *id, GError **err);
/* Marks it as used, and keeps it from being deleted. False with *err when it is already. */
bool memory_backend_claim(MemoryBackend *backend, GError **err);
void memory_backend_release(MemoryBackend *backend);
/* The memory as a region of its own, with a reference to the block. */
void memory_backend_init_region(MemoryBackend *backend, Region *region);

/* ---- for the kinds of memory ---- */

/* Maps fd (-1: anonymous memory; taken over) at offset 0. align: of the address, a power of two, 0: the page's;
 * page: the size of the file's pages. */
bool memory_backend_map(MemoryBackend *backend, int fd, uint64_t page, uint64_t align, GError **err);

#endif
