/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hw/i386/numa.h"

#include <stdlib.h>

#include "backends/memory.h"
#include "hw/i386/numa_hmat.h"
#include "util/keyval.h"
#include "util/log.h"

#define CPUS_MAX 65536

/* cpus=FIRST-LAST of one node. */
typedef struct CpuRange {
    uint64_t first, last;
    unsigned node;
    char *text;                  /* of the option, for messages */
} CpuRange;

enum { BY_SOCKET, BY_DIE, BY_CORE, BY_THREAD, N_CPU_IDS };
static const char *const cpu_id_names[] = {"socket-id", "die-id", "core-id", "thread-id"};

/* -numa cpu: the CPUs whose ids are these; -1 is any. */
typedef struct CpuBinding {
    int64_t ids[N_CPU_IDS];
    unsigned node;
    char *text;
} CpuBinding;

typedef struct Distance {
    unsigned from, to;
    uint8_t value;
    char *text;
} Distance;

struct NumaConfig {
    unsigned count;
    NumaNode nodes[NUMA_MAX_NODES];
    GArray *ranges;              /* CpuRange */
    GArray *bindings;            /* CpuBinding */
    GArray *distances;           /* Distance */
    Hmat hmat;
    /* Filled by numa_complete. */
    uint8_t (*matrix)[NUMA_MAX_NODES]; /* NULL: no distances */
    int16_t *cpu_nodes;          /* by CPU index */
    unsigned n_cpus;
    bool automatic;              /* one node, made here; the machine's RAM is its memory */
};

/* ---- parsing ------------------------------------------------------------------------------ */

static bool add_cpus(NumaConfig *numa, unsigned node, const char *value, const char *text, GError **err)
{
    CpuRange range = {.node = node};
    char *end;

    if (g_ascii_isdigit(*value)) {
        range.first = range.last = strtoull(value, &end, 10);
        if (*end == '-' && g_ascii_isdigit(end[1])) {
            range.last = strtoull(end + 1, &end, 10);
        }
        if (!*end && range.first <= range.last && range.last < CPUS_MAX) {
            range.text = g_strdup(text);
            g_array_append_val(numa->ranges, range);
            return true;
        }
    }
    return error_set(err, "Parameter 'cpus' expects a CPU index or a range like 0-3, got '%s'", value);
}

typedef struct NodeCpus {
    NumaConfig *numa;
    const char *text;
    unsigned node;
} NodeCpus;

static bool take_cpus(const char *key, const char *value, void *opaque, GError **err)
{
    NodeCpus *n = opaque;

    return strcmp(key, "cpus") || add_cpus(n->numa, n->node, value, n->text, err);
}

static bool refuse_keys(KeyVals *kv, GError **err)
{
    if (keyvals_has(kv, "mem")) {
        return error_set(err, "Parameter -numa node,mem is not supported by this machine type; use -numa node,memdev=ID with "
                              "-object memory-backend-ram,id=ID,size=...");
    }
    return true;
}

static bool add_node(NumaConfig *numa, KeyVals *kv, const char *text, GError **err)
{
    uint64_t id = numa->count, initiator = UINT64_MAX;
    NodeCpus cpus = {.numa = numa, .text = text};

    if (!refuse_keys(kv, err) || !keyvals_uint(kv, "nodeid", 0, UINT64_MAX, &id, err)) {
        return false;
    }
    if (id >= NUMA_MAX_NODES) {
        return error_set(err, "Max number of NUMA nodes reached: %d; number them from 0 on", NUMA_MAX_NODES);
    }
    if (numa->nodes[id].present) {
        return error_set(err, "Duplicate NUMA nodeid: %u; give each node a number of its own", (unsigned)id);
    }
    if (!keyvals_uint(kv, "initiator", 0, UINT16_MAX, &initiator, err)) {
        return false;
    }
    if (initiator != UINT64_MAX && initiator >= NUMA_MAX_NODES) {
        return error_set(err, "The initiator id %u expects an integer between 0 and %d", (unsigned)initiator, NUMA_MAX_NODES - 1);
    }
    keyvals_get(kv, "cpus");
    const char *memdev = keyvals_get(kv, "memdev");
    if (!keyvals_finish(kv, err)) {
        return false;
    }
    cpus.node = (unsigned)id;
    numa->nodes[id] = (NumaNode){.present = true, .memdev = g_strdup(memdev),
                                  .initiator = initiator == UINT64_MAX ? -1 : (int)initiator};
    numa->count++;
    return keyvals_foreach(kv, take_cpus, &cpus, err);
}

static bool need(KeyVals *kv, const char *key, uint64_t max, uint64_t *value, GError **err)
{
    return keyvals_has(kv, key) ? keyvals_uint(kv, key, 0, max, value, err)
                                : error_set(err, "Parameter '%s' is missing; add %s=", key, key);
}

static bool add_distance(NumaConfig *numa, KeyVals *kv, const char *text, GError **err)
{
    uint64_t from, to, value;

    if (!need(kv, "src", NUMA_MAX_NODES - 1, &from, err) || !need(kv, "dst", NUMA_MAX_NODES - 1, &to, err) ||
        !need(kv, "val", UINT8_MAX, &value, err) || !keyvals_finish(kv, err)) {
        return false;
    }
    if (value < NUMA_LOCAL) {
        return error_set(err, "NUMA distance (%u) is invalid, it shouldn't be less than %d.", (unsigned)value, NUMA_LOCAL);
    }
    if (from == to && value != NUMA_LOCAL) {
        return error_set(err, "Local distance of node %u should be %d.", (unsigned)from, NUMA_LOCAL);
    }
    Distance d = {(unsigned)from, (unsigned)to, (uint8_t)value, g_strdup(text)};
    g_array_append_val(numa->distances, d);
    return true;
}

static bool add_binding(NumaConfig *numa, KeyVals *kv, const char *text, GError **err)
{
    CpuBinding b = {.ids = {-1, -1, -1, -1}};
    uint64_t node;

    if (!keyvals_has(kv, "node-id")) {
        return error_set(err, "Missing mandatory node-id property; add node-id=");
    }
    if (!keyvals_uint(kv, "node-id", 0, NUMA_MAX_NODES - 1, &node, err)) {
        return false;
    }
    for (unsigned i = 0; i < N_CPU_IDS; i++) {
        uint64_t id = UINT64_MAX;

        if (!keyvals_uint(kv, cpu_id_names[i], 0, CPUS_MAX, &id, err)) {
            return false;
        }
        b.ids[i] = id == UINT64_MAX ? -1 : (int64_t)id;
    }
    if (!keyvals_finish(kv, err)) {
        return false;
    }
    b.node = (unsigned)node;
    b.text = g_strdup(text);
    g_array_append_val(numa->bindings, b);
    return true;
}

static NumaConfig *numa_new(void)
{
    NumaConfig *numa = g_new0(NumaConfig, 1);

    numa->ranges = g_array_new(false, false, sizeof(CpuRange));
    numa->bindings = g_array_new(false, false, sizeof(CpuBinding));
    numa->distances = g_array_new(false, false, sizeof(Distance));
    return numa;
}

static bool add_lb(NumaConfig *numa, KeyVals *kv, const char *text, GError **err)
{
    return hmat_add_lb(&numa->hmat, kv, text, err);
}

static bool add_cache(NumaConfig *numa, KeyVals *kv, const char *text, GError **err)
{
    return hmat_add_cache(&numa->hmat, kv, text, err);
}

static bool add_option(NumaConfig *numa, KeyVals *kv, const char *text, GError **err)
{
    static const struct {
        const char *type;
        bool (*add)(NumaConfig *numa, KeyVals *kv, const char *text, GError **err);
    } types[] = {{"node", add_node}, {"dist", add_distance}, {"cpu", add_binding}, {"hmat-lb", add_lb}, {"hmat-cache", add_cache}};
    const char *type = keyvals_get(kv, "type");

    for (size_t i = 0; type && i < G_N_ELEMENTS(types); i++) {
        if (!strcmp(types[i].type, type)) {
            return types[i].add(numa, kv, text, err);
        }
    }
    return error_set(err, "Parameter 'type' does not accept value '%s'; it is node, dist, cpu, hmat-lb or hmat-cache", type ? type : "");
}

bool numa_add_text(NumaConfig **numa, const char *text, GError **err)
{
    g_autoptr(KeyVals) kv = keyvals_parse("-numa", text, "type", err);

    if (!kv) {
        return false;
    }
    *numa = *numa ? *numa : numa_new();
    return add_option(*numa, kv, text, err);
}

bool numa_add_option(NumaConfig **numa, const char *text, GError **err)
{
    GError *reason = NULL;

    if (numa_add_text(numa, text, &reason)) {
        return true;
    }
    if (g_str_has_prefix(reason->message, "-numa")) {
        g_propagate_error(err, reason);
    } else {
        g_propagate_prefixed_error(err, reason, "-numa %s: ", text);
    }
    return false;
}

/* ---- memory ----------------------------------------------------------------------------------- */

static bool find_memory(Machine *m, NumaConfig *numa, GError **err)
{
    uint64_t total = 0;

    for (unsigned i = 0; i < numa->count; i++) {
        NumaNode *node = &numa->nodes[i];

        if (!node->present) {
            return error_set(err, "-numa node: Node ID missing: %u; nodes are numbered from 0 without gaps", i);
        }
        if (!node->memdev) {
            continue;
        }
        node->backend = memory_backend_find(m->vm, node->memdev, err);
        if (!node->backend || !memory_backend_claim(node->backend, err)) {
            node->backend = NULL;
            g_prefix_error(err, "-numa node,nodeid=%u,memdev=%s: ", i, node->memdev);
            return false;
        }
        node->size = node->backend->block->size;
        total += node->size;
    }
    return total == m->config.ram_size ||
           error_set(err, "-numa: total memory for NUMA nodes (0x%" PRIx64 ") should equal RAM size (0x%" PRIx64 ") of -m; "
                          "give each node memory with memdev=",
                     total, m->config.ram_size);
}

void numa_init_ram(NumaConfig *numa, Region *ram, uint64_t size)
{
    uint64_t at = 0;

    region_init_container(ram, "pc.ram", size);
    for (unsigned i = 0; i < numa->count; i++) {
        NumaNode *node = &numa->nodes[i];

        if (node->backend) {
            memory_backend_init_region(node->backend, &node->region);
            region_add(ram, at, &node->region);
            at += node->size;
        }
    }
}

/* ---- distances ---------------------------------------------------------------------------------- */

/* One direction is enough as long as no pair has two different ones. */
static bool complete_matrix(NumaConfig *numa, GError **err)
{
    uint8_t(*m)[NUMA_MAX_NODES] = numa->matrix;
    bool asymmetric = false, half = false;

    for (unsigned i = 0; i < numa->count; i++) {
        m[i][i] = NUMA_LOCAL;
        for (unsigned j = i + 1; j < numa->count; j++) {
            if (!m[i][j] && !m[j][i]) {
                return error_set(err, "-numa dist: The distance between node %u and %u is missing, at least one distance "
                                      "value between each nodes should be provided.", i, j);
            }
            half |= !m[i][j] || !m[j][i];
            asymmetric |= m[i][j] && m[j][i] && m[i][j] != m[j][i];
        }
    }
    if (asymmetric && half) {
        return error_set(err, "-numa dist: At least one asymmetrical pair of distances is given, please provide distances "
                              "for both directions of all node pairs.");
    }
    for (unsigned i = 0; i < numa->count; i++) {
        for (unsigned j = 0; j < numa->count; j++) {
            m[i][j] = m[i][j] ? m[i][j] : m[j][i];
        }
    }
    return true;
}

static bool check_distances(NumaConfig *numa, GError **err)
{
    if (!numa->distances->len) {
        return true;
    }
    numa->matrix = g_malloc0(sizeof *numa->matrix * NUMA_MAX_NODES);
    for (unsigned i = 0; i < numa->distances->len; i++) {
        const Distance *d = &g_array_index(numa->distances, Distance, i);

        if (d->from >= numa->count || d->to >= numa->count) {
            return error_set(err, "-numa %s: Source/Destination NUMA node is missing. Please use '-numa node' option to "
                                  "declare it.", d->text);
        }
        numa->matrix[d->from][d->to] = d->value;
    }
    return complete_matrix(numa, err);
}

/* ---- CPUs ------------------------------------------------------------------------------------------ */

static void cpu_ids(const SmpConfig *smp, unsigned index, unsigned ids[N_CPU_IDS])
{
    ids[BY_THREAD] = index % smp->threads;
    ids[BY_CORE] = index / smp->threads % smp->cores;
    ids[BY_DIE] = index / smp->threads / smp->cores % smp->dies;
    ids[BY_SOCKET] = index / smp->threads / smp->cores / smp->dies;
}

static bool assign(NumaConfig *numa, unsigned cpu, unsigned node, const char *text, GError **err)
{
    if (numa->cpu_nodes[cpu] >= 0 && numa->cpu_nodes[cpu] != (int)node) {
        return error_set(err, "-numa %s: CPU is already assigned to node-id: %d; "
                              "name each CPU once", text, numa->cpu_nodes[cpu]);
    }
    numa->cpu_nodes[cpu] = (int16_t)node;
    return true;
}

static bool assign_ranges(NumaConfig *numa, GError **err)
{
    for (unsigned i = 0; i < numa->ranges->len; i++) {
        const CpuRange *r = &g_array_index(numa->ranges, CpuRange, i);

        for (uint64_t cpu = r->first; cpu <= r->last; cpu++) {
            if (cpu >= numa->n_cpus) {
                return error_set(err, "-numa %s: CPU index (%u) should be smaller than maxcpus (%u)", r->text, (unsigned)cpu,
                                 numa->n_cpus);
            }
            if (!assign(numa, (unsigned)cpu, r->node, r->text, err)) {
                return false;
            }
        }
    }
    return true;
}

static bool bind(NumaConfig *numa, const SmpConfig *smp, const CpuBinding *b, GError **err)
{
    bool any = false;

    if (b->node >= numa->count) {
        return error_set(err, "-numa %s: Invalid node-id=%u, NUMA node must be defined with -numa node,nodeid=ID", b->text,
                         b->node);
    }
    if (b->ids[BY_DIE] >= 0 && smp->dies == 1) {
        return error_set(err, "-numa %s: die-id is not supported: -smp has no dies", b->text);
    }
    for (unsigned cpu = 0; cpu < numa->n_cpus; cpu++) {
        unsigned ids[N_CPU_IDS];
        bool matches = true;

        cpu_ids(smp, cpu, ids);
        for (unsigned i = 0; i < N_CPU_IDS; i++) {
            matches = matches && (b->ids[i] < 0 || b->ids[i] == ids[i]);
        }
        any |= matches;
        if (matches && !assign(numa, cpu, b->node, b->text, err)) {
            return false;
        }
    }
    return any || error_set(err, "-numa %s: no match found: there is no such CPU in -smp; "
                                 "'info hotpluggable-cpus' of a monitor lists them", b->text);
}

static char *describe(const SmpConfig *smp, unsigned cpu)
{
    unsigned ids[N_CPU_IDS];

    cpu_ids(smp, cpu, ids);
    g_autofree char *die = smp->dies > 1 ? g_strdup_printf("die-id: %u, ", ids[BY_DIE]) : g_strdup("");
    return g_strdup_printf("CPU %u [socket-id: %u, %score-id: %u, thread-id: %u]", cpu, ids[BY_SOCKET], die, ids[BY_CORE],
                           ids[BY_THREAD]);
}

/* When none was placed: socket after socket, round and round. When some were: the others go to node 0, with a
 * warning. */
static void assign_rest(NumaConfig *numa, const SmpConfig *smp)
{
    const bool none = !numa->ranges->len && !numa->bindings->len;
    g_autoptr(GString) missing = g_string_new(NULL);

    for (unsigned cpu = 0; cpu < numa->n_cpus; cpu++) {
        unsigned ids[N_CPU_IDS];

        if (numa->cpu_nodes[cpu] >= 0) {
            continue;
        }
        cpu_ids(smp, cpu, ids);
        numa->cpu_nodes[cpu] = none ? (int16_t)(ids[BY_SOCKET] % numa->count) : 0;
        if (!none) {
            g_autofree char *text = describe(smp, cpu);
            g_string_append_printf(missing, "%s%s", missing->len ? ", " : "", text);
        }
    }
    if (missing->len) {
        report_warning("CPU(s) not present in any NUMA nodes: %s", missing->str);
        report_warning("All CPU(s) up to maxcpus should be described in NUMA config, ability to start up with partial NUMA "
                       "mappings is obsoleted and will be removed in future");
    }
}

static bool place_cpus(NumaConfig *numa, const SmpConfig *smp, GError **err)
{
    numa->n_cpus = smp->max_cpus;
    numa->cpu_nodes = g_new(int16_t, smp->max_cpus);
    memset(numa->cpu_nodes, 0xff, smp->max_cpus * sizeof *numa->cpu_nodes);
    if (!assign_ranges(numa, err)) {
        return false;
    }
    for (unsigned i = 0; i < numa->bindings->len; i++) {
        if (!bind(numa, smp, &g_array_index(numa->bindings, CpuBinding, i), err)) {
            return false;
        }
    }
    assign_rest(numa, smp);
    return true;
}

/* ---- initiators --------------------------------------------------------------------------------------- */

static bool check_initiator(const NumaConfig *numa, unsigned i, const bool *has_cpus, GError **err)
{
    int initiator = numa->nodes[i].initiator;

    if (initiator < 0) {
        return true;
    }
    if (has_cpus[i] && initiator != (int)i) {
        return error_set(err, "-numa: The initiator of CPU NUMA node %u should be itself (got %d)", i, initiator);
    }
    if ((unsigned)initiator >= numa->count) {
        return error_set(err, "-numa: NUMA node %d is missing, use '-numa node' option to declare it first", initiator);
    }
    return has_cpus[initiator] || error_set(err, "-numa: The initiator of NUMA node %u is invalid: node %d has no CPUs; "
                                                 "name one that has", i, initiator);
}

/* A node with CPUs is its own initiator. */
static bool complete_hmat(Machine *m, NumaConfig *numa, GError **err)
{
    bool has_cpus[NUMA_MAX_NODES], used = hmat_used(&numa->hmat);

    for (unsigned i = 0; i < numa->count; i++) {
        has_cpus[i] = numa_has_cpus(numa, i);
        used |= numa->nodes[i].initiator >= 0;
    }
    if (!m->hmat) {
        return !used || error_set(err, "-numa %s: ACPI Heterogeneous Memory Attribute Table (HMAT) is disabled, enable it with "
                                       "-machine hmat=on before using any of hmat specific options",
                                  hmat_used(&numa->hmat) ? "hmat-lb, hmat-cache" : "node,initiator=");
    }
    for (unsigned i = 0; i < numa->count; i++) {
        if (!check_initiator(numa, i, has_cpus, err)) {
            return false;
        }
        numa->nodes[i].initiator = has_cpus[i] ? (int)i : numa->nodes[i].initiator;
    }
    return hmat_complete(&numa->hmat, numa->count, has_cpus, err);
}

/* ---- all of it ---------------------------------------------------------------------------------------- */

static void make_automatic(Machine *m)
{
    NumaConfig *numa = m->config.numa ? m->config.numa : numa_new();

    numa->nodes[0] = (NumaNode){.present = true, .size = m->config.ram_size, .initiator = -1};
    numa->count = 1;
    numa->automatic = true;
    m->config.numa = numa;
}

bool numa_complete(Machine *m, GError **err)
{
    const MachineConfig *c = &m->config;

    if (m->ops->has_ram && c->max_ram_size > c->ram_size && !numa_node_count(c->numa)) {
        make_automatic(m);
    }
    NumaConfig *numa = m->config.numa;

    if (!numa) {
        return true;
    }
    if (!m->ops->has_ram) {
        return error_set(err, "-numa %s: NUMA is not supported by machine '%s'; leave -numa out, or use -machine pc",
                         numa->count ? "node" : "dist, cpu", m->ops->name);
    }
    if (!numa->count) { /* dist or cpu alone: say what they lack */
        return check_distances(numa, err) && place_cpus(numa, &m->config.smp, err) && complete_hmat(m, numa, err);
    }
    if (numa->automatic) {
        return check_distances(numa, err) && place_cpus(numa, &m->config.smp, err) && complete_hmat(m, numa, err);
    }
    if (m->memory_backend) {
        return error_set(err, "-numa node,memdev=: '-machine memory-backend' and '-numa memdev' are mutually exclusive; "
                              "leave one of them out");
    }
    if (m->config.mem_path) {
        report_warning("-mem-path %s has no effect: each NUMA node has its own memory", m->config.mem_path);
    }
    return find_memory(m, numa, err) && check_distances(numa, err) && place_cpus(numa, &m->config.smp, err) && complete_hmat(m, numa, err);
}

unsigned numa_node_count(const NumaConfig *numa) { return numa ? numa->count : 0; }
bool numa_has_memory(const NumaConfig *numa) { return numa && numa->count && !numa->automatic; }
NumaNode *numa_node(NumaConfig *numa, unsigned node) { return &numa->nodes[node]; }
bool numa_has_distances(const NumaConfig *numa) { return numa && numa->matrix; }
uint8_t numa_distance(const NumaConfig *numa, unsigned from, unsigned to) { return numa->matrix[from][to]; }
int numa_cpu_node(const NumaConfig *numa, unsigned cpu) { return numa && numa->count ? numa->cpu_nodes[cpu] : -1; }

bool numa_has_cpus(const NumaConfig *numa, unsigned node)
{
    for (unsigned cpu = 0; cpu < numa->n_cpus; cpu++) {
        if (numa->cpu_nodes[cpu] == (int)node) {
            return true;
        }
    }
    return false;
}

int numa_initiator(const NumaConfig *numa, unsigned node) { return numa->nodes[node].initiator; }
const Hmat *numa_hmat(const NumaConfig *numa) { return &numa->hmat; }
