/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside dump/: what is dumped, and the two formats that write it. */
#ifndef DUMP_DUMP_INT_H
#define DUMP_DUMP_INT_H

#include "core/region.h"
#include "dump/dump.h"
#include "dump/pack.h"

/* Physical memory with its bytes; the block is referenced. */
typedef struct DumpBlock {
    uint64_t start, len;
    const uint8_t *host;
    RamBlock *ram;
} DumpBlock;

/* ELF segments: part of a block, and where it is mapped. */
typedef struct DumpMapping {
    uint64_t phys, virt, len;
} DumpMapping;

typedef struct Dump {
    Vm *vm;
    int fd;
    const DumpPacker *packer; /* NULL: an ELF file */
    bool long_mode;        /* CPU 0 is in it: notes are of 64-bit processes */
    unsigned cpus;
    GArray *blocks;        /* DumpBlock, ascending */
    GArray *mappings;      /* DumpMapping, ascending; NULL: a segment per block */
    GByteArray *notes;
    uint64_t total;        /* bytes of memory to write */
    _Atomic uint64_t done; /* of these */
    bool was_running;
    bool detached;
    int error;             /* errno of writing; 0: none */
} Dump;

/* RAM and ROM that CPUs see, cut to [begin, begin + length) when filter is set. */
GArray *dump_find_blocks(Vm *vm, bool filter, uint64_t begin, uint64_t length);
/* What the CPUs' page tables map, and all else at its physical address. NULL with *err. */
GArray *dump_find_mappings(const Dump *dump, GError **err);
/* The host address of physical memory from addr on; *len (in: wanted) is cut to what is there in one piece; NULL: none. */
const uint8_t *dump_memory(const Dump *dump, uint64_t addr, uint64_t *len);
/* CORE and QEMU notes of all CPUs, whose registers are fetched. */
bool dump_make_notes(Dump *dump, GError **err);

/* All of buf; false with dump->error set. */
bool dump_write(Dump *dump, const void *buf, uint64_t len);
bool dump_write_elf(Dump *dump);
bool dump_write_kdump(Dump *dump);

#endif
