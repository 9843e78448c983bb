/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests of virtio-blk (Virtual I/O Device 1.2, 5.2.6). A request is
 *
 *   out: u32 type, u32 reserved, u64 sector, data to be written      in: data that was read, u8 status
 *
 * cut into pieces anywhere. Data goes to and from guest memory without a copy. Not done: secure erase, zones, lifetime,
 * SCSI commands; they get "unsupported".
 */
#include "hw/virtio/virtio_blk.h"

#include <errno.h>

#include "util/trace.h"

#define HEADER_SIZE 16
#define BYTES_AT_ONCE (256 * MIB) /* of data, before the loop's others have their turn: zeros are filled in at once */
#define TYPE_BARRIER UINT32_C(0x80000000) /* of the oldest drivers */

/* ---- ending ------------------------------------------------------------------------------------- */

static void finish(VirtioBlkRequest *req, uint8_t status)
{
    trace(virtio_blk_finish, "type %u offset %" PRIu64 " len %" PRIu64 " status %u", req->type, req->offset, req->len, status);
    *req->status = status;
    g_clear_pointer(&req->own_data, g_free);
    virtqueue_push(&req->elem, req->elem.in_size);
}

static VirtioBlkQueue *queue_of(VirtioBlk *s, const VirtQueue *vq) { return &s->queues[virtqueue_index(vq)]; }

/* True: it is over. */
static bool handle_error(VirtioBlkRequest *req, int result)
{
    VirtioBlk *s = req->blk;
    VirtioBlkQueue *q = queue_of(s, req->elem.queue);

    switch (blk_error_action(s->blk, req->is_read, result)) {
    case BLK_ERROR_STOP:
        req->next = q->kept;
        q->kept = req;
        return true;
    case BLK_ERROR_REPORT:
        finish(req, VIRTIO_BLK_S_IOERR);
        return true;
    default:
        return false;
    }
}

static void request_done(void *opaque, int result)
{
    VirtioBlkRequest *req = opaque;

    if (result < 0 && handle_error(req, result)) {
        return;
    }
    finish(req, VIRTIO_BLK_S_OK);
}

/* ---- parsing ------------------------------------------------------------------------------------ */

/* Bytes [skip, skip + len) of iov: where they are whole pieces, else a copy of the list. */
static void find_data(VirtioBlkRequest *req, struct iovec *iov, unsigned count, size_t skip, uint64_t len)
{
    while (count && skip >= iov->iov_len) {
        skip -= iov->iov_len;
        iov++;
        count--;
    }
    for (uint64_t left = len, i = 0; i < count && !skip && left >= iov[i].iov_len; i++) {
        if (iov[i].iov_len == left) {
            req->data = iov;
            req->data_count = (unsigned)i + 1;
            return;
        }
        left -= iov[i].iov_len;
    }
    req->data = req->own_data = g_new(struct iovec, MAX(count, 1u));
    for (req->data_count = 0; len; req->data_count++, iov++) {
        const size_t n = MIN(iov->iov_len - skip, len);

        req->data[req->data_count] = (struct iovec){(char *)iov->iov_base + skip, n};
        len -= n;
        skip = 0;
    }
}

bool virtio_blk_parse(VirtioBlk *s, VirtioBlkRequest *req)
{
    VirtElement *e = &req->elem;
    uint8_t header[HEADER_SIZE];
    const struct iovec *last;

    if (e->in_size < 1 || e->out_size < HEADER_SIZE) {
        virtio_broken(&s->vdev, "a request of %" PRIu64 " bytes to read and %" PRIu64 " to write", e->out_size, e->in_size);
        return false;
    }
    if (e->out[0].iov_len >= HEADER_SIZE) {
        memcpy(header, e->out[0].iov_base, HEADER_SIZE);
    } else {
        virt_element_read(e, 0, header, sizeof header);
    }
    last = &e->in[e->in_count - 1];
    req->blk = s;
    req->type = load32_le(header) & ~TYPE_BARRIER;
    req->offset = load64_le(header + 8);
    req->status = (uint8_t *)last->iov_base + last->iov_len - 1;
    req->is_read = req->type == VIRTIO_BLK_T_IN || req->type == VIRTIO_BLK_T_GET_ID;
    req->len = req->type == VIRTIO_BLK_T_IN ? e->in_size - 1 : e->out_size - HEADER_SIZE;
    req->flags = 0;
    req->own_data = NULL;
    return true;
}

/* ---- kinds ------------------------------------------------------------------------------------- */

/* What is to be told at once instead of being done: a status, or BEHIND, which is VIRTIO_BLK_S_IOERR and counted. */
enum { GO = -1, BEHIND = -2 };

/* Does [sector, ...) lie on the disk and on its blocks? Sets the offset in bytes. */
static bool range_ok(const VirtioBlk *s, VirtioBlkRequest *req)
{
    const uint64_t sector = req->offset;

    if (sector > UINT64_MAX / VIRTIO_BLK_SECTOR) {
        return false;
    }
    req->offset = sector * VIRTIO_BLK_SECTOR;
    return req->offset % s->options.logical_block_size == 0 && req->len % s->options.logical_block_size == 0 &&
           range_fits(req->offset, req->len, __atomic_load_n(&s->capacity, __ATOMIC_RELAXED));
}

static int prepare_data(VirtioBlk *s, VirtioBlkRequest *req)
{
    VirtElement *e = &req->elem;

    if (!range_ok(s, req)) {
        return BEHIND;
    }
    if (!req->is_read && blk_is_read_only(s->blk)) {
        return VIRTIO_BLK_S_IOERR;
    }
    if (!req->len) {
        return VIRTIO_BLK_S_OK;
    }
    if (req->is_read) {
        find_data(req, e->iov + e->out_count, e->in_count, 0, req->len);
    } else {
        find_data(req, e->iov, e->out_count, HEADER_SIZE, req->len);
    }
    return GO;
}

/* One range: that is what the configuration says we take. */
static int prepare_segment(VirtioBlk *s, VirtioBlkRequest *req)
{
    const bool zero = req->type == VIRTIO_BLK_T_WRITE_ZEROES;
    const uint32_t max = zero ? s->max_write_zeroes_sectors : s->max_discard_sectors;
    uint8_t seg[16];
    uint32_t sectors;

    if (req->len != sizeof seg || !((s->vdev.host_features >> (zero ? VIRTIO_BLK_F_WRITE_ZEROES : VIRTIO_BLK_F_DISCARD)) & 1)) {
        return VIRTIO_BLK_S_UNSUPP;
    }
    virt_element_read(&req->elem, HEADER_SIZE, seg, sizeof seg);
    req->offset = load64_le(seg);
    sectors = load32_le(seg + 8);
    req->flags = load32_le(seg + 12);
    req->len = (uint64_t)sectors * VIRTIO_BLK_SECTOR;
    if (req->flags & ~(zero ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0u)) {
        return VIRTIO_BLK_S_UNSUPP;
    }
    if (sectors > max || !range_ok(s, req)) {
        return BEHIND;
    }
    if (blk_is_read_only(s->blk)) {
        return VIRTIO_BLK_S_IOERR;
    }
    return req->len ? GO : VIRTIO_BLK_S_OK;
}

static int give_id(VirtioBlk *s, VirtioBlkRequest *req)
{
    char id[VIRTIO_BLK_ID_BYTES] = {0};

    if (s->serial) {
        memcpy(id, s->serial, MIN(strlen(s->serial), sizeof id));
    }
    /* As QEMU: what lies behind the end of the text stays. */
    virt_element_write(&req->elem, 0, id, MIN(req->elem.in_size - 1, MIN(s->serial ? strlen(s->serial) + 1 : 1, sizeof id)));
    return VIRTIO_BLK_S_OK;
}

/* GO: to be submitted. */
static int prepare(VirtioBlk *s, VirtioBlkRequest *req)
{
    trace(virtio_blk_request, "type %u sector %" PRIu64 " len %" PRIu64, req->type, req->offset, req->len);
    switch (req->type) {
    case VIRTIO_BLK_T_IN:
    case VIRTIO_BLK_T_OUT:
        return prepare_data(s, req);
    case VIRTIO_BLK_T_FLUSH:
        return GO;
    case VIRTIO_BLK_T_GET_ID:
        return give_id(s, req);
    case VIRTIO_BLK_T_DISCARD:
    case VIRTIO_BLK_T_WRITE_ZEROES:
        return prepare_segment(s, req);
    default:
        return VIRTIO_BLK_S_UNSUPP;
    }
}

bool virtio_blk_parse_loaded(VirtioBlk *s, VirtioBlkRequest *req)
{
    return virtio_blk_parse(s, req) && prepare(s, req) == GO;
}

static void submit(VirtioBlk *s, VirtioBlkRequest *req)
{
    BlkGate *gate = queue_of(s, req->elem.queue)->gate;

    switch (req->type) {
    case VIRTIO_BLK_T_IN:
        blk_gate_readv(s->blk, gate, req->offset, req->data, req->data_count, request_done, req);
        break;
    case VIRTIO_BLK_T_OUT:
        blk_gate_writev(s->blk, gate, req->offset, req->data, req->data_count, request_done, req);
        break;
    case VIRTIO_BLK_T_FLUSH:
        blk_gate_flush(s->blk, gate, request_done, req);
        break;
    case VIRTIO_BLK_T_DISCARD:
        blk_gate_discard(s->blk, gate, req->offset, req->len, request_done, req);
        break;
    default:
        blk_gate_write_zeroes(s->blk, gate, req->offset, req->len, req->flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
                              request_done, req);
    }
}

static BlkStatKind kind_of(const VirtioBlkRequest *req)
{
    return req->type == VIRTIO_BLK_T_IN        ? BLK_STAT_READ
           : req->type == VIRTIO_BLK_T_DISCARD ? BLK_STAT_DISCARD
                                               : BLK_STAT_WRITE;
}

static void start(VirtioBlk *s, VirtioBlkRequest *req)
{
    const int status = prepare(s, req);

    if (status == GO) {
        submit(s, req);
    } else if (status == BEHIND) {
        blk_gate_count_invalid(s->blk, queue_of(s, req->elem.queue)->gate, kind_of(req));
        finish(req, VIRTIO_BLK_S_IOERR);
    } else {
        finish(req, (uint8_t)status);
    }
}

/* ---- queues --------------------------------------------------------------------------------------- */

static void submit_kept(VirtioBlk *s, VirtioBlkQueue *q)
{
    VirtioBlkRequest *list = NULL;

    while (q->kept) { /* the one that failed last is its first */
        VirtioBlkRequest *req = q->kept;

        q->kept = req->next;
        req->next = list;
        list = req;
    }
    while (list) {
        VirtioBlkRequest *req = list;

        list = req->next;
        submit(s, req);
    }
}

void virtio_blk_handle(VirtioDevice *vdev, VirtQueue *vq)
{
    VirtioBlk *s = virtio_blk(vdev);
    VirtioBlkQueue *q = queue_of(s, vq);
    uint64_t bytes = 0;
    VirtElement *e;

    blk_gate_plug(s->blk, q->gate);
    if (__atomic_load_n(&q->retry, __ATOMIC_RELAXED) && __atomic_exchange_n(&q->retry, false, __ATOMIC_ACQUIRE)) {
        submit_kept(s, q);
    }
    while (bytes < BYTES_AT_ONCE && (e = virtqueue_pop(vq))) {
        VirtioBlkRequest *req = container_of(e, VirtioBlkRequest, elem);

        if (!virtio_blk_parse(s, req)) {
            virtqueue_drop(e);
            break;
        }
        bytes += e->in_size + e->out_size;
        start(s, req);
    }
    blk_gate_unplug(s->blk, q->gate);
}

void virtio_blk_retry(void *opaque)
{
    VirtioBlk *s = opaque;

    for (unsigned i = 0; i < s->num_queues; i++) {
        __atomic_store_n(&s->queues[i].retry, true, __ATOMIC_RELEASE);
        virtio_kick(virtio_queue(&s->vdev, i)); /* seen when the queues start, if they do not run */
    }
}

void virtio_blk_drop_kept(VirtioBlk *s, VirtQueue *vq)
{
    for (unsigned i = 0; i < s->num_queues; i++) {
        VirtioBlkRequest *list = vq && virtqueue_index(vq) != i ? NULL : g_steal_pointer(&s->queues[i].kept);

        while (list) {
            VirtioBlkRequest *req = list;

            list = req->next;
            g_clear_pointer(&req->own_data, g_free);
            virtqueue_drop(&req->elem);
        }
    }
}
