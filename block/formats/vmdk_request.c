/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a disk's requests need besides its tables: a flat extent's file knows best where its holes are, and the content id,
 * which children remember, changes before the first write after opening, so that none of them can be taken for a child of
 * what the disk has become. Writes wait for it.
 */
#include <errno.h>

#include "block/formats/vmdk.h"

/* ---- the content id ------------------------------------------------------------------------------ */

static void go_on(BlockNode *node, BlockIo *io)
{
    const Vmdk *v = node->state;

    if (v->stream) {
        vmdk_stream_write(node, io);
        return;
    }
    io->compressed = false; /* such grains are written as they are */
    mapped_submit(node, io);
}

static void release(BlockNode *node, int result)
{
    Vmdk *v = node->state;
    BlockIo *list = v->cid_waiting;

    v->cid_waiting = NULL;
    while (list) {
        BlockIo *io = list;

        list = io->next;
        if (result < 0) {
            block_io_finish_later(node, io, result);
        } else {
            go_on(node, io);
        }
    }
}

static void cid_done(BlockIo *io, int result)
{
    BlockNode *node = io->opaque;
    Vmdk *v = node->state;

    if (result >= 0) {
        g_free(v->descriptor->text);
        v->descriptor->text = g_steal_pointer(&v->cid_text);
        v->descriptor->cid = v->cid_next;
        v->cid_changed = true;
    }
    g_clear_pointer(&v->cid_bytes, g_free);
    g_clear_pointer(&v->cid_text, g_free);
    release(node, result);
}

/* Writes what differs. Zeros end a text that became shorter. */
static int change_cid(BlockNode *node)
{
    Vmdk *v = node->state;
    size_t at = 0, old = strlen(v->descriptor->text), len, end;

    v->cid_next = vmdk_new_cid(v->descriptor->cid);
    v->cid_text = vmdk_descriptor_with_cid(v->descriptor, v->cid_next, &at);
    len = strlen(v->cid_text);
    if (v->descriptor_room && len > v->descriptor_room) {
        g_clear_pointer(&v->cid_text, g_free);
        return -ENOSPC;
    }
    end = len == old ? at + 8 : MAX(len, old);
    v->cid_bytes = g_malloc0(end - at);
    memcpy(v->cid_bytes, v->cid_text + at, MIN(end, len) - at);
    v->cid_iov = (struct iovec){v->cid_bytes, end - at};
    v->cid_io = (BlockIo){.op = BLOCK_WRITE,
                          .offset = v->descriptor_offset + at,
                          .len = end - at,
                          .iov = &v->cid_iov,
                          .iov_count = 1,
                          .done = cid_done,
                          .opaque = node};
    block_node_submit(node->file->node, &v->cid_io);
    return 0;
}

static void wait_for_cid(BlockNode *node, BlockIo *io)
{
    Vmdk *v = node->state;
    bool first = !v->cid_waiting;
    int ret;

    io->next = NULL;
    v->cid_waiting_tail = first ? &v->cid_waiting : v->cid_waiting_tail;
    *v->cid_waiting_tail = io;
    v->cid_waiting_tail = &io->next;
    ret = first ? change_cid(node) : 0;
    if (ret < 0) {
        release(node, ret);
    }
}

/* ---- flat extents ------------------------------------------------------------------------------- */

static void flat_status_done(BlockIo *io, int result)
{
    BlockNode *node = io->opaque;
    BlockIo *outer = io->outer;
    BlockStatus *status = outer->status;

    if (!status->bytes) { /* the file does not say */
        *status = (BlockStatus){.bytes = io->len};
    }
    status->allocated = status->data = true; /* as QEMU says it, of what its file has a hole for, too */
    block_io_free(node, io);
    outer->done(outer, result);
}

/* A flat extent's file knows best. False: it is in none. */
static bool ask_flat(BlockNode *node, BlockIo *io)
{
    const Vmdk *v = node->state;
    const VmdkExtent *e = v->count && io->offset < node->size ? &v->extents[vmdk_find_extent(v, io->offset)] : NULL;
    uint64_t within = e ? io->offset - e->start : 0;
    BlockIo *sub;

    if (!e || e->sparse || !e->child) {
        return false;
    }
    sub = block_io_new(node);
    sub->op = BLOCK_STATUS;
    sub->precise = io->precise;
    sub->offset = e->offset + within;
    sub->len = MIN(io->len, e->len - within);
    sub->status = io->status;
    sub->outer = io;
    sub->done = flat_status_done;
    sub->opaque = node;
    block_node_submit(e->child->node, sub);
    return true;
}

/* ---- the driver's submit -------------------------------------------------------------------------- */

void vmdk_submit(BlockNode *node, BlockIo *io)
{
    Vmdk *v = node->state;
    bool discards = io->op == BLOCK_DISCARD && node->discard_unmap;
    bool changes = (io->op == BLOCK_WRITE || io->op == BLOCK_ZERO || discards) && io->len;

    if (io->op == BLOCK_STATUS && ask_flat(node, io)) {
        return;
    }
    if (!changes || node->read_only) {
        mapped_submit(node, io);
    } else if (!range_fits(io->offset, io->len, node->size)) {
        block_io_finish_later(node, io, -EIO);
    } else if (!v->cid_changed && vmdk_descriptor_has_cid(v->descriptor)) {
        wait_for_cid(node, io);
    } else {
        go_on(node, io);
    }
}
