/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The page tables of a stopped x86 CPU (Intel SDM volume 3, chapter 4; AMD64 APM volume 2, chapter 5): 32-bit, PAE,
 * 4-level and 5-level, with large pages. Without paging every address is its own physical one.
 *
 * The CPU's registers are those of its env: the caller has fetched them. VM lock.
 */
#ifndef ACCEL_X86_PAGE_WALK_H
#define ACCEL_X86_PAGE_WALK_H

#include "accel/x86/cpu.h"

/* A run of virtual addresses that lies in one run of physical ones. len 0 stands for all 2^64 bytes. */
typedef struct PageRun {
    uint64_t virt, phys, len; /* bytes */
    uint64_t flags;           /* access rights of all levels together, as in an entry: PAGE_* */
    uint64_t entry;           /* the last level's entry as it is; 0 without paging */
} PageRun;

#define PAGE_PRESENT (UINT64_C(1) << 0)
#define PAGE_WRITE (UINT64_C(1) << 1)
#define PAGE_USER (UINT64_C(1) << 2)
#define PAGE_LARGE (UINT64_C(1) << 7)
#define PAGE_NO_EXECUTE (UINT64_C(1) << 63)

/* Called with each present page, ascending. False ends the walk. */
typedef bool PageRunFn(void *opaque, const PageRun *page);

/* False with *err when fn ended it (without *err), or when the guest's tables are more than can be memory's. */
bool page_walk(Cpu *cpu, PageRunFn *fn, void *opaque, GError **err);
/* Physical address of a virtual one. False: it is not mapped. */
bool page_translate(Cpu *cpu, uint64_t virt, uint64_t *phys);

#endif
