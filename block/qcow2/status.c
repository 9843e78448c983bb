/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Block status: what the tables say of a range; and, of clusters in a file with holes, whether they lie in one.
 *
 * Room made in advance is in the tables as data, while the file has a hole there: only the file knows that it reads as
 * zeros. To ask it costs a call for each stretch, so only files that lack much of their length are asked.
 */
#include "block/qcow2/qcow2.h"

/* Decided once: a file that fills up later is asked in vain, one that gets holes later is said to have data there. */
static bool has_holes(Qcow2 *q)
{
    if (!q->holes_known) {
        int64_t allocated = block_node_allocated_size(q->data);
        uint64_t slack = MAX(q->data->size / 10, 2 * q->cluster); /* metadata has small holes, too */

        q->has_holes = allocated >= 0 && q->data->size > slack && (uint64_t)allocated < q->data->size - slack;
        q->holes_known = true;
    }
    return q->has_holes;
}

static void told_by_file(Part *p, int result)
{
    Request *r = p->r;
    BlockStatus *status = r->outer->status, *below = p->opaque;

    if (result >= 0 && below->bytes) {
        status->bytes = MIN(status->bytes, below->bytes);
        status->zero = below->zero;
    }
    g_free(below);
    part_free(p);
    request_release(r, 0); /* what the tables say is true without it */
}

int status_step(Request *r)
{
    Qcow2 *q = r->q;
    BlockStatus *status = r->outer->status;
    Mapping m;
    int ret = map_lookup(q, r->pos, r->end - r->pos, &m, &r->wait);

    if (ret <= 0) {
        return ret;
    }
    *status = (BlockStatus){.bytes = m.len, .allocated = m.kind != MAP_UNALLOCATED};
    status->compressed = m.kind == MAP_COMPRESSED;
    status->data = m.kind == MAP_DATA || m.kind == MAP_COMPRESSED;
    status->zero = m.kind == MAP_ZERO || (m.kind == MAP_UNALLOCATED && !q->backing);
    status->has_offset = m.has_host && !q->h.crypt_method && (m.kind == MAP_DATA || m.kind == MAP_ZERO);
    status->host_offset = m.host;
    status->file = status->has_offset ? q->data : NULL;
    if (r->outer->precise && m.kind == MAP_DATA && status->has_offset && has_holes(q)) {
        Part *p = part_new(r, 0);

        p->opaque = g_new0(BlockStatus, 1);
        p->ended = told_by_file;
        part_ask(p, q->data, m.host, m.len, p->opaque);
    }
    r->pos = r->end;
    return 1;
}
