/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Block status: for base:allocation and qemu:allocation-depth the node is asked, and where it does not
 * decide its backing files, piece by piece until the range is covered; bitmaps are looked up at the end.
 * Each context of the client's gets one chunk.
 */
#include <errno.h>

#include "nbd/server_int.h"

#define MAX_EXTENTS 2048 /* in one chunk */
#define PIECE_MAX (1 * GIB)

/* ---- extents ---------------------------------------------------------------------------------- */

static void add_extent(GByteArray *extents, uint32_t len, uint32_t flags)
{
    uint8_t buf[NBD_EXTENT_LEN];

    if (extents->len >= NBD_EXTENT_LEN) {
        uint8_t *last = extents->data + extents->len - NBD_EXTENT_LEN;

        if (load32_be(last + 4) == flags && load32_be(last) <= UINT32_MAX - len) {
            store32_be(last, load32_be(last) + len);
            return;
        }
    }
    store32_be(buf, len);
    store32_be(buf + 4, flags);
    g_byte_array_append(extents, buf, sizeof buf);
}

static bool is_full(const NbdServed *served, const GByteArray *extents)
{
    unsigned max = served->request.flags & NBD_CMD_FLAG_REQ_ONE ? 1 : MAX_EXTENTS;

    /* One more extent than allowed tells that the last allowed one is complete. */
    return extents->len > max * NBD_EXTENT_LEN;
}

static void send_extents(NbdServed *served, unsigned context, GByteArray *extents, bool last)
{
    unsigned max = served->request.flags & NBD_CMD_FLAG_REQ_ONE ? 1 : MAX_EXTENTS;
    NbdOut *out = g_new0(NbdOut, 1);

    g_byte_array_set_size(extents, MIN(extents->len, max * NBD_EXTENT_LEN));
    nbd_put_chunk(out->head, &(NbdChunk){.flags = last ? NBD_REPLY_FLAG_DONE : 0,
                                        .type = NBD_CHUNK_STATUS,
                                        .cookie = served->request.cookie,
                                        .len = 4 + extents->len});
    store32_be(out->head + NBD_CHUNK_LEN, context);
    out->head_len = NBD_CHUNK_LEN + 4;
    out->body_len = extents->len;
    out->body = g_byte_array_free(extents, FALSE);
    out->ends_request = last;
    nbd_peer_send(served->peer, out);
}

/* ---- bitmaps ----------------------------------------------------------------------------------- */

typedef struct BitmapCall {
    const DirtyBitmap *bitmap;
    const NbdServed *served;
    GByteArray *extents;
} BitmapCall;

/* In the owner of the bitmap's bits. */
static void read_bitmap(void *opaque)
{
    const BitmapCall *call = opaque;
    const DirtyBitmap *b = call->bitmap;
    uint64_t pos = call->served->request.offset, end = pos + call->served->request.len;

    while (pos < end && !is_full(call->served, call->extents)) {
        bool dirty = pos < b->size && block_dirty_bitmap_next(b, pos, true) == pos;
        uint64_t next = pos < b->size ? block_dirty_bitmap_next(b, pos, !dirty) : end;

        next = MIN(MAX(next, pos + 1), end);
        add_extent(call->extents, (uint32_t)(next - pos), dirty);
        pos = next;
    }
}

static GByteArray *bitmap_extents(NbdServed *served, const DirtyBitmap *b)
{
    BitmapCall call = {b, served, g_byte_array_new()};

    block_loop_call(b->node->loop, read_bitmap, &call);
    return call.extents;
}

/* ---- the node's --------------------------------------------------------------------------------- */

static void finish(NbdServed *served)
{
    NbdExport *export = served->peer->export;
    uint64_t left = served->peer->contexts;

    for (unsigned i = 0; left; i++) {
        uint64_t bit = UINT64_C(1) << i;

        if (left & bit) {
            GByteArray *extents =
                i < NBD_CONTEXT_BITMAPS
                    ? g_steal_pointer(&served->extents[i])
                    : bitmap_extents(served, g_ptr_array_index(export->bitmaps, i - NBD_CONTEXT_BITMAPS));

            left &= ~bit;
            send_extents(served, i, extents, !left);
        }
    }
    nbd_served_free(served);
}

static void ask_node(NbdServed *served);

/* Depth: 0, no layer has it; 1, the uppermost; ... */
static void take_status(NbdServed *served)
{
    const BlockStatus *st = &served->status;
    uint32_t flags = (st->data ? 0 : NBD_STATE_HOLE) | (st->zero ? NBD_STATE_ZERO : 0);
    uint32_t len = (uint32_t)st->bytes;

    if (served->extents[NBD_CONTEXT_ALLOCATION]) {
        add_extent(served->extents[NBD_CONTEXT_ALLOCATION], len, flags);
    }
    if (served->extents[NBD_CONTEXT_DEPTH]) {
        add_extent(served->extents[NBD_CONTEXT_DEPTH], len, (uint32_t)(served->depth + 1));
    }
    served->pos += len;
}

static bool is_covered(const NbdServed *served)
{
    bool full = true;

    for (unsigned i = 0; i < G_N_ELEMENTS(served->extents); i++) {
        full &= !served->extents[i] || is_full(served, served->extents[i]);
    }
    return full || served->pos >= served->request.offset + served->request.len;
}

static void status_ended(NbdServed *served)
{
    if (served->result < 0 || !served->status.bytes) {
        nbd_served_reply(served, served->result < 0 ? -served->result : EIO, "can't get block status");
        return;
    }
    take_status(served);
    if (is_covered(served)) {
        finish(served);
    } else {
        ask_node(served);
    }
}

static void ask_node(NbdServed *served)
{
    uint64_t end = served->request.offset + served->request.len;

    served->io = (BlockIo){.op = BLOCK_STATUS,
                           .offset = served->pos,
                           .len = MIN(end - served->pos, PIECE_MAX),
                           .status = &served->status};
    served->next = status_ended;
    nbd_served_submit(served);
}

void nbd_served_status(NbdServed *served)
{
    uint64_t contexts = served->peer->contexts;

    served->pos = served->request.offset;
    for (unsigned i = 0; i < NBD_CONTEXT_BITMAPS; i++) {
        if (contexts & UINT64_C(1) << i) {
            served->extents[i] = g_byte_array_new();
        }
    }
    if (contexts & ((UINT64_C(1) << NBD_CONTEXT_BITMAPS) - 1)) {
        ask_node(served);
    } else {
        finish(served);
    }
}
