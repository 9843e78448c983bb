/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests and their answers. A request that the export cannot take is answered with an error; one after
 * which the stream cannot be understood any more ends the connection.
 */
#include <errno.h>

#include "nbd/server_int.h"

/* ---- answers --------------------------------------------------------------------------------- */

static void send_answer(NbdServed *served, NbdOut *out)
{
    out->ends_request = true;
    nbd_peer_send(served->peer, out);
    nbd_served_free(served);
}

static void put_done_chunk(NbdOut *out, const NbdServed *served, uint16_t type, uint32_t len)
{
    nbd_put_chunk(out->head, &(NbdChunk){.flags = NBD_REPLY_FLAG_DONE, .type = type,
                                        .cookie = served->request.cookie, .len = len});
    out->head_len = NBD_CHUNK_LEN;
}

/* Must the answer be a chunk? */
static bool is_structured(const NbdServed *served)
{
    return served->peer->structured && (served->request.type == NBD_CMD_READ ||
                                        served->request.type == NBD_CMD_BLOCK_STATUS);
}

void nbd_served_reply(NbdServed *served, int errnum, const char *message)
{
    NbdOut *out = g_new0(NbdOut, 1);
    uint32_t error = errnum ? nbd_error_to_wire(errnum) : 0;
    size_t len = strlen(message);

    if (!is_structured(served)) {
        nbd_put_simple(out->head, error, served->request.cookie);
        out->head_len = NBD_SIMPLE_LEN;
    } else if (!error) {
        put_done_chunk(out, served, NBD_CHUNK_NONE, 0);
    } else {
        put_done_chunk(out, served, NBD_CHUNK_ERROR, (uint32_t)(6 + len));
        store32_be(out->head + NBD_CHUNK_LEN, error);
        store16_be(out->head + NBD_CHUNK_LEN + 4, (uint16_t)len);
        out->head_len += 6;
        out->body = g_memdup2(message, len);
        out->body_len = len;
    }
    send_answer(served, out);
}

static bool is_zero(const uint8_t *p, size_t len)
{
    return len && !p[0] && !memcmp(p, p + 1, len - 1);
}

static void read_ended(NbdServed *served)
{
    const NbdRequest *r = &served->request;
    NbdOut *out;

    if (served->result < 0) {
        nbd_served_reply(served, -served->result, "reading from file failed");
        return;
    }
    out = g_new0(NbdOut, 1);
    if (!served->peer->structured) {
        nbd_put_simple(out->head, 0, r->cookie);
        out->head_len = NBD_SIMPLE_LEN;
    } else if (!(r->flags & NBD_CMD_FLAG_DF) && is_zero(served->data, r->len)) {
        put_done_chunk(out, served, NBD_CHUNK_HOLE, 12);
        store64_be(out->head + NBD_CHUNK_LEN, r->offset);
        store32_be(out->head + NBD_CHUNK_LEN + 8, r->len);
        out->head_len += 12;
        send_answer(served, out);
        return;
    } else {
        put_done_chunk(out, served, NBD_CHUNK_DATA, 8 + r->len);
        store64_be(out->head + NBD_CHUNK_LEN, r->offset);
        out->head_len += 8;
    }
    out->body = g_steal_pointer(&served->data);
    out->body_len = r->len;
    send_answer(served, out);
}

static void flush_after(NbdServed *served)
{
    served->flush_after = false;
    served->io = (BlockIo){.op = BLOCK_FLUSH};
    nbd_served_submit(served);
}

static void simple_ended(NbdServed *served)
{
    if (served->result >= 0 && served->flush_after) {
        flush_after(served);
    } else {
        nbd_served_reply(served, -MIN(served->result, 0), "request failed");
    }
}

/* ---- checking --------------------------------------------------------------------------------- */

static uint16_t flags_allowed(const NbdServed *served)
{
    switch (served->request.type) {
    case NBD_CMD_READ:
        return served->peer->structured ? NBD_CMD_FLAG_DF : 0;
    case NBD_CMD_WRITE_ZEROES:
        return NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO;
    case NBD_CMD_BLOCK_STATUS:
        return NBD_CMD_FLAG_REQ_ONE;
    default:
        return 0;
    }
}

static bool changes_data(const NbdRequest *r)
{
    return r->type == NBD_CMD_WRITE || r->type == NBD_CMD_WRITE_ZEROES || r->type == NBD_CMD_TRIM;
}

/* 0, or the errno that answers it. */
static int judge(const NbdServed *served, const char **why)
{
    const NbdRequest *r = &served->request;
    const NbdExport *export = served->peer->export;

    if (r->type > NBD_CMD_BLOCK_STATUS) {
        *why = "unknown command";
        return EINVAL;
    }
    if (r->flags & ~(NBD_CMD_FLAG_FUA | flags_allowed(served))) {
        *why = "unsupported flags";
        return EINVAL;
    }
    if (changes_data(r) && export->flags & NBD_FLAG_READ_ONLY) {
        *why = "export is read-only";
        return EPERM;
    }
    if (!range_fits(r->offset, r->len, export->size) && r->type != NBD_CMD_FLUSH) {
        *why = "operation past EOF";
        return r->type == NBD_CMD_WRITE || r->type == NBD_CMD_WRITE_ZEROES ? ENOSPC : EINVAL;
    }
    if ((r->type == NBD_CMD_READ || r->type == NBD_CMD_CACHE) && r->len > NBD_MAX_DATA) {
        *why = "request is too long";
        return EINVAL;
    }
    if (r->type == NBD_CMD_BLOCK_STATUS && (!r->len || !served->peer->contexts)) {
        *why = r->len ? "CMD_BLOCK_STATUS not negotiated" : "need non-zero length";
        return EINVAL;
    }
    return 0;
}

/* ---- doing it ------------------------------------------------------------------------------------ */

static void set_data_io(NbdServed *served, BlockOp op)
{
    served->iov = (struct iovec){served->data, served->request.len};
    served->io.op = op;
    served->io.iov = &served->iov;
    served->io.iov_count = 1;
}

static void serve(NbdServed *served)
{
    const NbdRequest *r = &served->request;

    served->io = (BlockIo){.offset = r->offset, .len = r->len, .fua = r->flags & NBD_CMD_FLAG_FUA};
    served->next = simple_ended;
    switch (r->type) {
    case NBD_CMD_READ:
        served->next = read_ended;
        /* fall through */
    case NBD_CMD_CACHE:
        served->io.fua = false;
        served->data = g_malloc(r->len);
        set_data_io(served, BLOCK_READ);
        break;
    case NBD_CMD_WRITE:
        set_data_io(served, BLOCK_WRITE);
        break;
    case NBD_CMD_WRITE_ZEROES:
        served->io.op = BLOCK_ZERO;
        served->io.may_unmap = !(r->flags & NBD_CMD_FLAG_NO_HOLE);
        served->io.no_fallback = r->flags & NBD_CMD_FLAG_FAST_ZERO;
        break;
    case NBD_CMD_TRIM:
        served->io.op = BLOCK_DISCARD;
        served->flush_after = served->io.fua;
        served->io.fua = false;
        break;
    case NBD_CMD_FLUSH:
    default:
        served->io = (BlockIo){.op = BLOCK_FLUSH};
    }
    nbd_served_submit(served);
}

static void start(NbdServed *served)
{
    const char *why = NULL;
    int errnum = judge(served, &why);

    if (errnum) {
        nbd_served_reply(served, errnum, why);
    } else if (served->request.type == NBD_CMD_BLOCK_STATUS) {
        nbd_served_status(served);
    } else if (!served->request.len && served->request.type != NBD_CMD_FLUSH) {
        nbd_served_reply(served, 0, "");
    } else {
        serve(served);
    }
}

void nbd_peer_request(NbdPeer *peer, const NbdRequest *request)
{
    const char *why;
    NbdServed *served;

    if (request->type == NBD_CMD_DISC) {
        peer->state = NBD_PEER_LEAVING;
        return;
    }
    if (request->type == NBD_CMD_WRITE && request->len > NBD_MAX_DATA) {
        nbd_peer_fail(peer, "it sent a write that is too long");
        return;
    }
    served = g_new0(NbdServed, 1);
    served->peer = peer;
    served->server = peer->server;
    served->blk = peer->export->blk;
    served->request = *request;
    peer->active++;
    if (request->type == NBD_CMD_WRITE) {
        served->discard_data = judge(served, &why) != 0;
        served->data = served->discard_data ? NULL : g_malloc(request->len);
        peer->writing = served;
        peer->left = request->len;
        peer->state = NBD_PEER_DATA;
    } else {
        start(served);
    }
}

void nbd_peer_write_data(NbdPeer *peer)
{
    start(g_steal_pointer(&peer->writing));
}
