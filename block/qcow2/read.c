/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading: extents that are alike go to their child in one request, in place; zeros are filled in;
 * compressed clusters are read whole and unpacked by a worker.
 */
#include <stdlib.h>

#include "block/qcow2/qcow2.h"

/* Of all clusters that are being unpacked: more than the workers need to be busy. */
#define UNPACKING_MAX (32 * MIB)

/* ---- compressed clusters -------------------------------------------------------------------- */

/* Behind the packed bytes in p->buf comes room for the unpacked cluster, unless it goes to the cache. */
static uint8_t *unpack_to(const Part *p)
{
    const Unpacked *e = p->opaque;

    return e ? e->data : p->buf + p->buf_len;
}

static int unpack_work(Part *p)
{
    Qcow2 *q = p->r->q;

    return qcow2_unpack(q->h.compression_type, p->buf, p->map.compressed_len, unpack_to(p), q->cluster);
}

static uint64_t buffer_len(const Qcow2 *q, uint64_t packed_len, const Unpacked *e)
{
    return packed_len + (e ? 0 : q->cluster);
}

static void unpacked(Part *p, int result)
{
    Request *r = p->r;
    Qcow2 *q = r->q;
    Unpacked *e = p->opaque;

    if (result == 0) {
        iov_from_buf(r->iov, r->iov_count, p->guest - r->start,
                     unpack_to(p) + (p->guest & (q->cluster - 1)), p->len);
    }
    q->unpacking -= buffer_len(q, p->buf_len, e);
    part_free(p);
    if (e) {
        unpacked_end(e, result);
    }
    wait_list_wake(&q->unpack_room, 0);
    request_release(r, result);
}

static void packed_read(Part *p, int result)
{
    if (result < 0) {
        unpacked(p, result);
        return;
    }
    p->ended = unpacked;
    part_run_in_thread(p, unpack_work);
}

static int start_unpacking(Request *r, const Mapping *m, Unpacked *e)
{
    Qcow2 *q = r->q;
    Part *p = part_new(r, 1);

    p->map = *m;
    p->guest = r->pos;
    p->len = m->len;
    p->opaque = e;
    p->buf_len = align_up(m->compressed_len, 512);
    p->buf = malloc(buffer_len(q, p->buf_len, e));
    if (!p->buf) {
        part_free(p);
        if (e) {
            unpacked_end(e, -ENOMEM);
        }
        return -ENOMEM;
    }
    q->unpacking += buffer_len(q, p->buf_len, e);
    p->iov[0] = (struct iovec){p->buf, m->compressed_len};
    p->iov_count = 1;
    p->ended = packed_read;
    qcow2_event(q, "read_compressed");
    part_submit(p, q->file, BLOCK_READ, m->host, m->compressed_len);
    return 1;
}

static int read_compressed(Request *r, const Mapping *m)
{
    Qcow2 *q = r->q;
    Unpacked *e = unpacked_find(q, m->host);

    if (e && e->loading) {
        wait_list_add(&e->waiters, &r->wait);
        return 0;
    }
    if (e) {
        iov_from_buf(r->iov, r->iov_count, r->pos - r->start, e->data + (r->pos & (q->cluster - 1)),
                     m->len);
        return 1;
    }
    if (q->unpacking > UNPACKING_MAX) {
        wait_list_add(&q->unpack_room, &r->wait);
        return 0;
    }
    /* Who takes all of it will not come back for the rest. */
    return start_unpacking(r, m, m->len < q->cluster ? unpacked_begin(q, m->host) : NULL);
}

/* ---- backing file --------------------------------------------------------------------------- */

static void read_backing(Request *r, uint64_t len)
{
    Qcow2 *q = r->q;
    uint64_t limit = q->backing && r->pos < q->h.size ? q->backing->size : 0;
    uint64_t there = r->pos < limit ? MIN(len, limit - r->pos) : 0;

    if (there) {
        qcow2_event(q, "read_backing_aio");
        request_child(r, q->backing, BLOCK_READ, r->pos, r->pos, there);
    }
    if (there < len) {
        request_fill(r, r->pos + there, len - there);
    }
}

int read_step(Request *r)
{
    Qcow2 *q = r->q;
    Mapping m;
    int ret = map_lookup(q, r->pos, r->end - r->pos, &m, &r->wait);

    if (ret <= 0) {
        return ret;
    }
    switch (m.kind) {
    case MAP_ZERO:
        request_fill(r, r->pos, m.len);
        break;
    case MAP_UNALLOCATED:
        read_backing(r, m.len);
        break;
    case MAP_COMPRESSED:
        ret = read_compressed(r, &m);
        if (ret <= 0) {
            return ret;
        }
        break;
    case MAP_DATA:
        qcow2_event(q, "read_aio");
        request_child(r, q->data, BLOCK_READ, m.host, r->pos, m.len);
        break;
    }
    r->pos += m.len;
    return ret;
}
