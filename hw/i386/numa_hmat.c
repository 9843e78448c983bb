/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The options are recorded and checked together, in their order, so that it does not matter whether nodes come before them.
 *
 * ACPI gives values 16 bits and a common unit. Latencies share the largest power of ten that divides all of them, bandwidths
 * the largest power of two. Values that do not fit even then are refused (QEMU 7.2 cuts off the first one).
 */
#include "hw/i386/numa_hmat.h"

#include <inttypes.h>

#include "util/error.h"
#include "util/util.h"

#define VALUE_MAX 65534          /* 65535 is "cannot be reached" */
#define PS_PER_NS 1000

typedef struct Lb {
    uint64_t initiator, target;
    int level, type;
    uint64_t value;              /* ns, or bytes a second */
    char *text;
} Lb;

typedef struct Cache {
    uint64_t node, level;
    HmatCache cache;
    char *text;
} Cache;

static bool is_bandwidth(const Lb *lb) { return lb->type >= HMAT_FIRST_BANDWIDTH; }
static const char *kind(const Lb *lb) { return is_bandwidth(lb) ? "bandwidth" : "latency"; }

/* ---- parsing ------------------------------------------------------------------------------- */

static bool need(const KeyVals *kv, const char *key, GError **err)
{
    return keyvals_has(kv, key) || error_set(err, "Parameter '%s' is missing; add %s=", key, key);
}

static bool need_uint(KeyVals *kv, const char *key, uint64_t max, uint64_t *value, GError **err)
{
    return need(kv, key, err) && keyvals_uint(kv, key, 0, max, value, err);
}

static bool need_enum(KeyVals *kv, const char *key, const char *const *values, int *value, GError **err)
{
    return need(kv, key, err) && keyvals_enum(kv, key, values, value, err);
}

static bool take_value(KeyVals *kv, Lb *lb, GError **err)
{
    const char *wanted = kind(lb), *other = is_bandwidth(lb) ? "latency" : "bandwidth";

    if (!keyvals_has(kv, wanted)) {
        return error_set(err, "Missing '%s' option; add %s=", wanted, wanted);
    }
    if (keyvals_has(kv, other)) {
        return error_set(err, "Invalid option '%s' since the data type is %s; leave it out", other, wanted);
    }
    return is_bandwidth(lb) ? keyvals_size(kv, wanted, 1, &lb->value, err)
                            : keyvals_uint(kv, wanted, 0, UINT64_MAX / PS_PER_NS, &lb->value, err);
}

bool hmat_add_lb(Hmat *hmat, KeyVals *kv, const char *text, GError **err)
{
    static const char *const levels[] = {"memory", "first-level", "second-level", "third-level", NULL};
    static const char *const types[] = {"access-latency", "read-latency", "write-latency",
                                        "access-bandwidth", "read-bandwidth", "write-bandwidth", NULL};
    Lb lb = {0};

    if (!need_uint(kv, "initiator", UINT16_MAX, &lb.initiator, err) || !need_uint(kv, "target", UINT16_MAX, &lb.target, err) ||
        !need_enum(kv, "hierarchy", levels, &lb.level, err) || !need_enum(kv, "data-type", types, &lb.type, err) ||
        !take_value(kv, &lb, err) || !keyvals_finish(kv, err)) {
        return false;
    }
    if (is_bandwidth(&lb) && lb.value % MIB) {
        return error_set(err, "Bandwidth %" PRIu64 " between initiator=%" PRIu64 " and target=%" PRIu64 " should be 1MB aligned; "
                              "give a multiple of 1M",
                         lb.value, lb.initiator, lb.target);
    }
    lb.text = g_strdup(text);
    hmat->lbs = hmat->lbs ? hmat->lbs : g_array_new(false, false, sizeof(Lb));
    g_array_append_val(hmat->lbs, lb);
    return true;
}

bool hmat_add_cache(Hmat *hmat, KeyVals *kv, const char *text, GError **err)
{
    static const char *const kinds[] = {"none", "direct", "complex", NULL};
    static const char *const policies[] = {"none", "write-back", "write-through", NULL};
    Cache c = {0};
    uint64_t line = 0;

    if (!need_uint(kv, "node-id", UINT32_MAX, &c.node, err) || !need(kv, "size", err) ||
        !keyvals_size(kv, "size", 1, &c.cache.size, err) || !need_uint(kv, "level", UINT8_MAX, &c.level, err) ||
        !need_enum(kv, "associativity", kinds, &c.cache.associativity, err) ||
        !need_enum(kv, "policy", policies, &c.cache.policy, err) || !need_uint(kv, "line", UINT16_MAX, &line, err) ||
        !keyvals_finish(kv, err)) {
        return false;
    }
    if (c.level < 1 || c.level > HMAT_CACHES) {
        return error_set(err, "Invalid level=%" PRIu64 ", it should be larger than 0 and less than or equal to %d", c.level,
                         HMAT_CACHES);
    }
    c.cache.present = true;
    c.cache.line = (uint16_t)line;
    c.text = g_strdup(text);
    hmat->caches = hmat->caches ? hmat->caches : g_array_new(false, false, sizeof(Cache));
    g_array_append_val(hmat->caches, c);
    return true;
}

bool hmat_used(const Hmat *hmat) { return hmat->lbs || hmat->caches; }

/* ---- checking: latency and bandwidth ---------------------------------------------------------- */

/* The largest unit that every value of its kind is a multiple of. */
static uint64_t unit_of(const Lb *lb, uint64_t unit)
{
    uint64_t own = 1;

    if (!lb->value) {
        return unit;
    }
    if (is_bandwidth(lb)) {
        own = lb->value & -lb->value;
    } else {
        for (uint64_t rest = lb->value; rest % 10 == 0; rest /= 10) {
            own *= 10;
        }
    }
    return unit ? MIN(unit, own) : own;
}

static bool check_lb(const Hmat *hmat, const Lb *lb, unsigned index, const bool *has_cpus, GError **err)
{
    if (lb->initiator >= hmat->nodes || !has_cpus[lb->initiator]) {
        return error_set(err, "-numa %s: Invalid initiator=%" PRIu64 ", it isn't an initiator proximity domain; "
                              "name a node with CPUs", lb->text,
                         lb->initiator);
    }
    if (lb->target >= hmat->nodes) {
        return error_set(err, "-numa %s: The target=%" PRIu64 " should point to an existing node; "
                              "declare it with -numa node", lb->text, lb->target);
    }
    for (unsigned i = 0; i < index; i++) {
        const Lb *o = &g_array_index(hmat->lbs, Lb, i);

        if (o->initiator == lb->initiator && o->target == lb->target && o->level == lb->level && o->type == lb->type) {
            return error_set(err, "-numa %s: Duplicate configuration of the %s for initiator=%" PRIu64 " and target=%" PRIu64 "; "
                                  "give it once",
                             lb->text, kind(lb), lb->initiator, lb->target);
        }
    }
    return true;
}

static bool set_value(Hmat *hmat, const Lb *lb, GError **err)
{
    HmatLocality *l = &hmat->localities[lb->level][lb->type];
    uint64_t value = lb->value / l->base;

    if (value > VALUE_MAX) {
        return error_set(err, "-numa %s: %s %" PRIu64 " between initiator=%" PRIu64 " and target=%" PRIu64 " should not differ "
                              "from the others %son more than %d: all are told in the largest unit that divides them",
                         lb->text, is_bandwidth(lb) ? "Bandwidth" : "Latency", lb->value, lb->initiator, lb->target,
                         is_bandwidth(lb) ? "" : "in their min or max values ", VALUE_MAX);
    }
    l->values[lb->initiator * hmat->nodes + lb->target] = (uint16_t)value;
    return true;
}

static bool complete_lbs(Hmat *hmat, const bool *has_cpus, GError **err)
{
    unsigned count = hmat->lbs ? hmat->lbs->len : 0;

    for (unsigned i = 0; i < count; i++) {
        const Lb *lb = &g_array_index(hmat->lbs, Lb, i);
        HmatLocality *l = &hmat->localities[lb->level][lb->type];

        if (!check_lb(hmat, lb, i, has_cpus, err)) {
            return false;
        }
        l->base = unit_of(lb, l->base);
        if (!l->present) {
            l->present = true;
            l->values = g_new0(uint16_t, (size_t)hmat->nodes * hmat->nodes);
        }
    }
    for (unsigned i = 0; i < count; i++) {
        const Lb *lb = &g_array_index(hmat->lbs, Lb, i);

        if (lb->value && !set_value(hmat, lb, err)) {
            return false;
        }
    }
    for (unsigned i = 0; i < HMAT_LEVELS * HMAT_TYPES; i++) {
        HmatLocality *l = &hmat->localities[i / HMAT_TYPES][i % HMAT_TYPES];

        l->base = i % HMAT_TYPES < HMAT_FIRST_BANDWIDTH ? MAX(l->base, 1) * PS_PER_NS : l->base / MIB;
    }
    return true;
}

/* ---- checking: caches ----------------------------------------------------------------------------- */

/* Does any option tell this kind of value of the node's memory? */
static bool is_told(const Hmat *hmat, uint64_t node, bool bandwidth)
{
    for (unsigned i = 0; hmat->lbs && i < hmat->lbs->len; i++) {
        const Lb *lb = &g_array_index(hmat->lbs, Lb, i);

        if (lb->target == node && lb->value && is_bandwidth(lb) == bandwidth) {
            return true;
        }
    }
    return false;
}

static bool add_cache(Hmat *hmat, const Cache *c, GError **err)
{
    if (c->node >= hmat->nodes) {
        return error_set(err, "-numa %s: Invalid node-id=%" PRIu64 ", it should be less than %u", c->text, c->node, hmat->nodes);
    }
    HmatCache *caches = hmat->node_caches[c->node], *cache = &caches[c->level - 1];
    if (!is_told(hmat, c->node, false) || !is_told(hmat, c->node, true)) {
        return error_set(err, "-numa %s: The latency and bandwidth information of node-id=%" PRIu64 " should be provided before "
                              "memory side cache attributes", c->text, c->node);
    }
    if (cache->present) {
        return error_set(err, "-numa %s: Duplicate configuration of the side cache for node-id=%" PRIu64 " and level=%" PRIu64 "; "
                              "give it once",
                         c->text, c->node, c->level);
    }
    if (c->level > 1 && !cache[-1].present) {
        return error_set(err, "-numa %s: Cache level=%" PRIu64 " shall be defined first", c->text, c->level - 1);
    }
    if (c->level > 1 && c->cache.size <= cache[-1].size) {
        return error_set(err, "-numa %s: Invalid size=%" PRIu64 ", the size of level=%" PRIu64 " should be larger than the size(%"
                              PRIu64 ") of level=%" PRIu64, c->text, c->cache.size, c->level, cache[-1].size, c->level - 1);
    }
    *cache = c->cache;
    return true;
}

bool hmat_complete(Hmat *hmat, unsigned nodes, const bool *has_cpus, GError **err)
{
    hmat->nodes = nodes;
    hmat->node_caches = g_malloc0_n(MAX(nodes, 1), sizeof *hmat->node_caches);
    if (!complete_lbs(hmat, has_cpus, err)) {
        return false;
    }
    for (unsigned i = 0; hmat->caches && i < hmat->caches->len; i++) {
        if (!add_cache(hmat, &g_array_index(hmat->caches, Cache, i), err)) {
            return false;
        }
    }
    return true;
}
