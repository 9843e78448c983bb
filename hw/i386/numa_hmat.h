/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -numa hmat-lb and hmat-cache: how fast nodes' CPUs (initiators) reach nodes' memory (targets), and the caches in front
 * of it. ACPI 6.4, 5.2.27 (HMAT). Private to numa.c and the table's builder.
 */
#ifndef HW_I386_NUMA_HMAT_H
#define HW_I386_NUMA_HMAT_H

#include "util/keyval.h"

#define HMAT_LEVELS 4            /* memory, first-, second- and third-level cache */
#define HMAT_TYPES 6             /* access, read and write latency; access, read and write bandwidth */
#define HMAT_FIRST_BANDWIDTH 3
#define HMAT_CACHES 3            /* levels of caches a node can have */

typedef struct HmatLocality {
    bool present;
    uint64_t base;               /* unit of the values: picoseconds, or MiB a second */
    uint16_t *values;            /* [initiator * nodes + target]; 0: not told */
} HmatLocality;

typedef struct HmatCache {
    bool present;
    uint64_t size;               /* bytes */
    int associativity;           /* 0: none, 1: direct, 2: complex */
    int policy;                  /* 0: none, 1: write-back, 2: write-through */
    uint16_t line;               /* bytes */
} HmatCache;

typedef struct Hmat {
    GArray *lbs, *caches;        /* the options, private */
    unsigned nodes;
    HmatLocality localities[HMAT_LEVELS][HMAT_TYPES];
    HmatCache (*node_caches)[HMAT_CACHES]; /* by node */
} Hmat;

/* One option each; text is kept for messages. */
bool hmat_add_lb(Hmat *hmat, KeyVals *kv, const char *text, GError **err);
bool hmat_add_cache(Hmat *hmat, KeyVals *kv, const char *text, GError **err);
/* Was there any? */
bool hmat_used(const Hmat *hmat);
/* Checks them together. has_cpus: by node. */
bool hmat_complete(Hmat *hmat, unsigned nodes, const bool *has_cpus, GError **err);

#endif
