/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a disk must hold while several threads change it at once. Each sector has the requests whose data may be found in
 * it: the last one that ended, those under way, and those that ended while others were. A request that ends removes all
 * that had ended before it began; a read with no request beside it must find one of them, and leaves only that one.
 *
 * The thread sanitizer shall see the order that the block layer makes, not the one that this makes: the functions here
 * and their lock are hidden from it.
 */
#ifndef TESTS_UNIT_SECTOR_MODEL_H
#define TESTS_UNIT_SECTOR_MODEL_H

#include <glib.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

#include "util/util.h"

#define SECTOR 512u
#define CANDIDATES 24 /* of a sector */
#define OVERLAPS 5    /* requests start only while there are fewer */
#define NOT_SEEN 0    /* a version: something was under way */

#define HIDDEN __attribute__((noinline, no_sanitize_thread))

typedef struct Candidate {
    uint32_t id;
    bool flying;
    uint64_t started, ended; /* by the model's clock */
} Candidate;

typedef struct ModelSector {
    Candidate list[CANDIDATES];
    unsigned count, flying, readers;
    uint32_t version; /* changes with every request that starts or ends; never NOT_SEEN */
} ModelSector;

typedef struct SectorModel {
    ModelSector *sectors;
    unsigned max;
    int lock;
    unsigned limit;   /* sectors that requests may be for */
    bool read_only;
    unsigned writers; /* under way */
    uint64_t clock;
} SectorModel;

/* ---- what is hidden ---------------------------------------------------------------------------- */

HIDDEN static void model_lock(SectorModel *m)
{
    while (__atomic_exchange_n(&m->lock, 1, __ATOMIC_ACQUIRE)) {
        sched_yield();
    }
}

HIDDEN static void model_unlock(SectorModel *m)
{
    __atomic_store_n(&m->lock, 0, __ATOMIC_RELEASE);
}

HIDDEN static void sector_touch(ModelSector *s)
{
    s->version = s->version == UINT32_MAX ? 1 : s->version + 1;
}

HIDDEN static void sector_add(ModelSector *s, uint32_t id, bool flying, uint64_t started, uint64_t ended)
{
    for (unsigned i = 0; !flying && i < s->count; i++) {
        if (s->list[i].id == id && !s->list[i].flying) {
            s->list[i].ended = ended;
            return;
        }
    }
    if (s->count == CANDIDATES) {
        g_error("a sector has too many candidates");
    }
    s->list[s->count].id = id;
    s->list[s->count].flying = flying;
    s->list[s->count].started = started;
    s->list[s->count].ended = ended;
    s->count++;
    s->flying += flying;
    sector_touch(s);
}

/* Those that ended before. */
HIDDEN static void sector_forget(ModelSector *s, uint64_t before)
{
    unsigned left = 0;

    for (unsigned i = 0; i < s->count; i++) {
        if (s->list[i].flying || s->list[i].ended >= before) {
            s->list[left].id = s->list[i].id;
            s->list[left].flying = s->list[i].flying;
            s->list[left].started = s->list[i].started;
            s->list[left].ended = s->list[i].ended;
            left++;
        }
    }
    s->count = left;
}

/* A change of these sectors to id begins; 0: it may not now. beside: others may be under way. Else what model_end wants. */
HIDDEN static uint64_t model_begin(SectorModel *m, unsigned first, unsigned count, uint32_t id, bool beside)
{
    uint64_t started = 0;
    bool ok;

    model_lock(m);
    ok = !m->read_only && first + count <= m->limit;
    for (unsigned s = first; ok && s < first + count; s++) {
        ok = m->sectors[s].count < OVERLAPS && (beside || !m->sectors[s].flying);
    }
    if (ok) {
        started = ++m->clock;
        m->writers++;
        for (unsigned s = first; s < first + count; s++) {
            sector_add(&m->sectors[s], id, true, started, 0);
        }
    }
    model_unlock(m);
    return started;
}

/* maybe: whether it changed anything is not known. */
HIDDEN static void model_end(SectorModel *m, unsigned first, unsigned count, uint64_t started, bool maybe)
{
    uint64_t now;

    model_lock(m);
    now = ++m->clock;
    m->writers--;
    for (unsigned n = first; n < first + count; n++) {
        ModelSector *s = &m->sectors[n];

        for (unsigned i = 0; i < s->count; i++) {
            if (s->list[i].flying && s->list[i].started == started) {
                s->list[i].flying = false;
                s->list[i].ended = now;
            }
        }
        s->flying--;
        sector_touch(s);
        if (!maybe) {
            sector_forget(s, started);
        }
    }
    model_unlock(m);
}

/* A read (or a flush of no sectors) begins; false: not now. seen[i]: for model_read_end. */
HIDDEN static bool model_read_begin(SectorModel *m, unsigned first, unsigned count, uint32_t *seen)
{
    bool ok;

    model_lock(m);
    ok = first + count <= m->limit;
    for (unsigned i = 0; ok && i < count; i++) {
        seen[i] = m->sectors[first + i].flying ? NOT_SEEN : m->sectors[first + i].version;
        m->sectors[first + i].readers++;
    }
    model_unlock(m);
    return ok;
}

/* Is id right there? Asked with the lock held. */
HIDDEN static bool sector_holds(ModelSector *s, uint32_t id, uint32_t seen, uint64_t *checked)
{
    if (seen == NOT_SEEN || s->version != seen) {
        return true;
    }
    ++*checked;
    for (unsigned i = 0; i < s->count; i++) {
        if (s->list[i].id == id) {
            s->list[0].id = id;
            s->list[0].started = s->list[i].started;
            s->list[0].ended = s->list[i].ended;
            s->count = 1;
            return true;
        }
    }
    return false;
}

/* ids[i]: what was found, NULL: it failed or was no read. Returns the first that is wrong, or count. */
HIDDEN static unsigned model_read_end(SectorModel *m, unsigned first, unsigned count, const uint32_t *seen,
                                      const uint32_t *ids, uint64_t *checked)
{
    unsigned wrong = count;

    model_lock(m);
    for (unsigned i = 0; i < count; i++) {
        ModelSector *s = &m->sectors[first + i];

        s->readers--;
        if (ids && wrong == count && !sector_holds(s, ids[i], seen[i], checked)) {
            wrong = i;
        }
    }
    model_unlock(m);
    return wrong;
}

/* All at once: sectors from first on become what from (of the same size; NULL: zeros) holds. */
HIDDEN static void model_replace(SectorModel *m, unsigned first, const ModelSector *from)
{
    uint64_t now;

    model_lock(m);
    now = ++m->clock;
    for (unsigned n = first; n < m->max; n++) {
        ModelSector *s = &m->sectors[n];

        sector_forget(s, now);
        for (unsigned i = 0; from && i < from[n].count; i++) {
            sector_add(s, from[n].list[i].id, false, now, now);
        }
        if (!from) {
            sector_add(s, 0, false, now, now);
        }
    }
    model_unlock(m);
}

HIDDEN static ModelSector *model_copy(SectorModel *m)
{
    ModelSector *copy = g_new0(ModelSector, m->max);

    model_lock(m);
    for (unsigned n = 0; n < m->max; n++) {
        copy[n].count = m->sectors[n].count;
        for (unsigned i = 0; i < copy[n].count; i++) {
            copy[n].list[i].id = m->sectors[n].list[i].id;
        }
    }
    model_unlock(m);
    return copy;
}

/* No request is to begin behind limit from now on. */
HIDDEN static void model_set_limit(SectorModel *m, unsigned limit)
{
    model_lock(m);
    m->limit = limit;
    model_unlock(m);
}

HIDDEN static void model_set_read_only(SectorModel *m, bool on)
{
    model_lock(m);
    m->read_only = on;
    model_unlock(m);
}

/* Is anything under way behind the limit, or any change where none are allowed? */
HIDDEN static bool model_is_busy(SectorModel *m)
{
    bool busy;

    model_lock(m);
    busy = m->read_only && m->writers;
    for (unsigned n = m->limit; !busy && n < m->max; n++) {
        busy = m->sectors[n].flying || m->sectors[n].readers;
    }
    model_unlock(m);
    return busy;
}

/* ---- data -------------------------------------------------------------------------------------- */

/* Sectors tell where they belong, so that none can be found at another place. */
static inline void model_fill(uint64_t *buf, unsigned first, unsigned count, uint32_t id)
{
    for (unsigned i = 0; i < count * (SECTOR / 8); i++) {
        buf[i] = id ? (uint64_t)(first + i / (SECTOR / 8)) << 32 | id : 0;
    }
}

/* UINT32_MAX: nothing that was ever written there. */
static inline uint32_t model_id(const uint64_t *buf, unsigned sector)
{
    for (unsigned i = 1; i < SECTOR / 8; i++) {
        if (buf[i] != buf[0]) {
            return UINT32_MAX;
        }
    }
    return !buf[0] ? 0 : buf[0] >> 32 == sector ? (uint32_t)buf[0] : UINT32_MAX;
}

#endif
