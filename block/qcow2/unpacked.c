/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The last unpacked clusters. Small reads one after the other (or many at once) of a compressed
 * cluster unpack it once; who comes while that is under way waits for it.
 *
 * The key is the place of the packed bytes: they change only when the place is given to another
 * cluster (unpacked_forget), and that happens only when no request can read the old ones any more.
 */
#include <stdlib.h>

#include "block/qcow2/qcow2.h"

#define UNPACKED_BYTES MIB

static unsigned limit(const Qcow2 *q)
{
    return (unsigned)CLAMP(UNPACKED_BYTES >> q->cluster_bits, 2, QCOW2_UNPACKED_MAX);
}

Unpacked *unpacked_find(Qcow2 *q, uint64_t host)
{
    for (unsigned i = 0; i < QCOW2_UNPACKED_MAX; i++) {
        Unpacked *e = &q->unpacked.entries[i];

        if (e->host == host && host) { /* 0: nothing is there; and only damaged images have packed bytes in the header */
            e->used = ++q->unpacked.clock;
            return e;
        }
    }
    return NULL;
}

Unpacked *unpacked_begin(Qcow2 *q, uint64_t host)
{
    Unpacked *best = NULL;

    for (unsigned i = 0; i < limit(q); i++) {
        Unpacked *e = &q->unpacked.entries[i];

        if (!e->loading && (!best || e->used < best->used)) {
            best = e;
        }
    }
    if (!best || (!best->data && !(best->data = malloc(q->cluster)))) {
        return NULL;
    }
    best->host = host;
    best->loading = true;
    best->used = ++q->unpacked.clock;
    return best;
}

void unpacked_end(Unpacked *e, int result)
{
    e->loading = false;
    if (result < 0) {
        e->host = 0;
    }
    wait_list_wake(&e->waiters, 0);
}

void unpacked_forget(Qcow2 *q, uint64_t host, uint64_t len)
{
    for (unsigned i = 0; i < QCOW2_UNPACKED_MAX; i++) {
        Unpacked *e = &q->unpacked.entries[i];

        if (e->host >= host && e->host - host < len) {
            e->host = 0;
        }
    }
}

void unpacked_clear(Qcow2 *q)
{
    for (unsigned i = 0; i < QCOW2_UNPACKED_MAX; i++) {
        Unpacked *e = &q->unpacked.entries[i];

        if (!e->loading) {
            free(e->data);
            *e = (Unpacked){0};
        }
    }
}
