/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -numa: which memory and which CPUs of the guest belong together, and how far the nodes are from each other.
 *
 * Options are only recorded; numa_complete checks them together, so their order does not matter. Each node's memory is
 * a back end of its own (memdev=): pc machines since 5.1 refuse mem=.
 */
#ifndef HW_I386_NUMA_H
#define HW_I386_NUMA_H

#include "core/region.h"
#include "hw/i386/machine.h"

#define NUMA_MAX_NODES 128
#define NUMA_LOCAL 10            /* ACPI 6.4, 5.2.17: a node's distance to itself */

struct MemoryBackend;

typedef struct NumaNode {
    bool present;
    char *memdev;                /* NULL: the node has no memory */
    struct MemoryBackend *backend;
    uint64_t size;               /* bytes */
    int initiator;               /* node whose CPUs are next to its memory; -1: not told */
    Region region;               /* its memory */
} NumaNode;

typedef struct NumaConfig NumaConfig;

/* One -numa. Makes *numa with the first. False with *err, which names the option. */
bool numa_add_option(NumaConfig **numa, const char *text, GError **err);
/* The same without the option's name in the message. */
bool numa_add_text(NumaConfig **numa, const char *text, GError **err);
/* After machine->config and all objects: finds and claims the memory, checks the sum, the distances and the CPUs. Makes
 * one node for all when memory may be added and there is no -numa: ACPI's tables then say where it will be. */
bool numa_complete(Machine *machine, GError **err);

/* ---- afterwards; numa NULL: no nodes ---- */

unsigned numa_node_count(const NumaConfig *numa);
NumaNode *numa_node(NumaConfig *numa, unsigned node);
/* False: no -numa dist was given. */
bool numa_has_distances(const NumaConfig *numa);
uint8_t numa_distance(const NumaConfig *numa, unsigned from, unsigned to);
/* The node of a possible CPU; -1 without nodes. */
int numa_cpu_node(const NumaConfig *numa, unsigned cpu_index);
/* Do any of the possible CPUs belong to it? */
bool numa_has_cpus(const NumaConfig *numa, unsigned node);
/* The node whose CPUs are next to this one's memory; -1: not told. */
int numa_initiator(const NumaConfig *numa, unsigned node);
const struct Hmat *numa_hmat(const NumaConfig *numa);
/* Its nodes have memory of their own; the only one of a machine that has slots for memory and no -numa has not. */
bool numa_has_memory(const NumaConfig *numa);
/* All nodes' memory behind each other, in a container that is not initialized yet. */
void numa_init_ram(NumaConfig *numa, Region *ram, uint64_t size);

#endif
