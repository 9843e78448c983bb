/* SPDX-License-Identifier: GPL-2.0-or-later */
/* HMAT, revision 2: ACPI 6.4, chapter 5.2.27. Which node's CPUs are next to which memory, how fast all of them reach it, and
 * what caches stand in front of it. */
#include "hw/i386/acpi_build.h"
#include "hw/i386/numa.h"
#include "hw/i386/numa_hmat.h"

enum { HMAT_PROXIMITY = 0, HMAT_LOCALITY = 1, HMAT_CACHE = 2 };

static void begin(AcpiTables *t, unsigned type, uint32_t length)
{
    acpi_put(t, type, 2);
    acpi_put(t, 0, 2);
    acpi_put(t, length, 4);
}

static void put_proximity(AcpiTables *t, const NumaConfig *numa, unsigned node)
{
    int initiator = numa_initiator(numa, node);

    begin(t, HMAT_PROXIMITY, 40);
    acpi_put(t, initiator >= 0, 2);      /* flags: there is an initiator */
    acpi_put(t, 0, 2);
    acpi_put(t, initiator >= 0 ? (uint32_t)initiator : NUMA_MAX_NODES, 4);
    acpi_put(t, node, 4);
    acpi_put(t, 0, 4);
    acpi_put(t, 0, 8);
    acpi_put(t, 0, 8);
}

static void put_locality(AcpiTables *t, const NumaConfig *numa, const HmatLocality *l, unsigned level, unsigned type)
{
    unsigned nodes = numa_node_count(numa), initiators = 0;

    for (unsigned i = 0; i < nodes; i++) {
        initiators += numa_has_cpus(numa, i);
    }
    begin(t, HMAT_LOCALITY, 32 + 4 * initiators + 4 * nodes + 2 * initiators * nodes);
    acpi_put(t, level, 1);
    acpi_put(t, type, 1);
    acpi_put(t, 0, 2);
    acpi_put(t, initiators, 4);
    acpi_put(t, nodes, 4);
    acpi_put(t, 0, 4);
    acpi_put(t, l->base, 8);
    for (unsigned i = 0; i < nodes; i++) {
        if (numa_has_cpus(numa, i)) {
            acpi_put(t, i, 4);
        }
    }
    for (unsigned i = 0; i < nodes; i++) {
        acpi_put(t, i, 4);
    }
    for (unsigned i = 0; i < nodes; i++) {
        for (unsigned j = 0; numa_has_cpus(numa, i) && j < nodes; j++) {
            acpi_put(t, l->values[i * nodes + j], 2);
        }
    }
}

static void put_caches(AcpiTables *t, const HmatCache caches[HMAT_CACHES], unsigned node)
{
    uint32_t levels = 0;

    while (levels < HMAT_CACHES && caches[levels].present) {
        levels++;
    }
    for (uint32_t i = 0; i < levels; i++) {
        const HmatCache *c = &caches[i];

        begin(t, HMAT_CACHE, 32);
        acpi_put(t, node, 4);
        acpi_put(t, 0, 4);
        acpi_put(t, c->size, 8);
        acpi_put(t, levels | (i + 1) << 4 | (uint32_t)c->associativity << 8 | (uint32_t)c->policy << 12 | (uint32_t)c->line << 16,
                 4);
        acpi_put(t, 0, 4);               /* no SMBIOS handles */
    }
}

void acpi_put_hmat(const PcInfo *info, AcpiTables *t)
{
    const Hmat *hmat = numa_hmat(info->numa);

    acpi_begin(t, "HMAT", 2, true);
    acpi_put(t, 0, 4);
    for (unsigned node = 0; node < hmat->nodes; node++) {
        put_proximity(t, info->numa, node);
    }
    for (unsigned level = 0; level < HMAT_LEVELS; level++) {
        for (unsigned type = 0; type < HMAT_TYPES; type++) {
            if (hmat->localities[level][type].present) {
                put_locality(t, info->numa, &hmat->localities[level][type], level, type);
            }
        }
    }
    for (unsigned node = 0; node < hmat->nodes; node++) {
        put_caches(t, hmat->node_caches[node], node);
    }
    acpi_end(t);
}
