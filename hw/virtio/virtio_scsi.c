/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands of virtio-scsi (Virtual I/O Device 1.2, 5.6.6.1). A request is
 *
 *   out: u8 lun[8], u64 tag, 3 bytes, u8 cdb[cdb_size], data for the unit
 *   in:  u32 sense_len, u32 resid, u16, u8 status, u8 response, u8 sense[sense_size], data of the unit
 *
 * cut into pieces anywhere. Data goes to and from guest memory without a copy. Not done: both directions at once,
 * protection information, priorities.
 */
#include "hw/virtio/virtio_scsi.h"

#include "util/trace.h"

#define CDB_MAX 255
#define BYTES_AT_ONCE (256 * MIB) /* of data, before the loop's others have their turn: zeros are filled in at once */

/* ---- ending ---------------------------------------------------------------------------------------- */

uint64_t virtio_scsi_respond(VirtioScsiRequest *r, uint8_t response)
{
    ScsiRequest *req = &r->req;
    const uint32_t sense_len = response == VIRTIO_SCSI_S_OK ? MIN(req->sense_len, r->sense_size) : 0;
    const bool good = response == VIRTIO_SCSI_S_OK && req->status == SCSI_GOOD;
    uint8_t raw[VIRTIO_SCSI_RESPONSE + sizeof req->sense] = {0};
    uint64_t written = VIRTIO_SCSI_RESPONSE + (uint64_t)r->sense_size;

    store32_le(raw, sense_len);
    if (good && req->direction != SCSI_NO_DATA) {
        store32_le(raw + 4, (uint32_t)(r->room - req->moved));
    }
    if (response == VIRTIO_SCSI_S_OK) {
        raw[10] = req->status;
    }
    raw[11] = response;
    memcpy(raw + VIRTIO_SCSI_RESPONSE, req->sense, sense_len);
    virt_element_write(&r->elem, 0, raw, VIRTIO_SCSI_RESPONSE + sense_len);
    if (req->direction == SCSI_FROM_DEVICE) {
        written += req->moved;
    }
    trace(virtio_scsi_finish, "tag 0x%" PRIx64 " op %02x response %u status %02x", req->tag, req->cdb[0], response, req->status);
    g_clear_pointer(&r->own_data, g_free);
    return written;
}

static void finish(VirtioScsiRequest *r, uint8_t response)
{
    const uint64_t written = virtio_scsi_respond(r, response);
    GSList *waiters = r->waiters;

    if (r->lane) {
        virtio_scsi_lane_push(r, written);
    } else {
        virtqueue_push(&r->elem, written);
    }
    virtio_scsi_tell_waiters(waiters);
}

static void drop(VirtioScsiRequest *r)
{
    g_clear_pointer(&r->own_data, g_free);
    virtio_scsi_tell_waiters(r->waiters);
    virtqueue_drop(&r->elem);
}

void virtio_scsi_end_orphans(VirtioScsi *s)
{
    while (s->orphans) {
        VirtioScsiRequest *r = s->orphans->data;

        s->orphans = g_slist_delete_link(s->orphans, s->orphans);
        finish(r, VIRTIO_SCSI_S_ABORTED);
    }
}

void virtio_scsi_drop_orphans(VirtioScsi *s, const VirtQueue *vq)
{
    for (GSList *l = s->orphans, *next; l; l = next) {
        VirtioScsiRequest *r = l->data;

        next = l->next;
        if (!vq || r->elem.queue == vq) {
            s->orphans = g_slist_delete_link(s->orphans, l);
            drop(r);
        }
    }
}

void virtio_scsi_complete(ScsiRequest *req)
{
    VirtioScsiRequest *r = virtio_scsi_request(req);
    VirtioDevice *vdev = &r->s->vdev;

    scsi_request_clear(req);
    if (!req->aborted) {
        finish(r, VIRTIO_SCSI_S_OK);
    } else if (vdev->running) {
        req->moved = 0;
        finish(r, r->reset ? VIRTIO_SCSI_S_RESET : VIRTIO_SCSI_S_ABORTED);
    } else if (!vdev->vm_running && (vdev->status & VIRTIO_CONFIG_S_DRIVER_OK)) {
        r->s->orphans = g_slist_append(r->s->orphans, r);
    } else { /* the driver has gone */
        drop(r);
    }
}

/* ---- parsing ----------------------------------------------------------------------------------------- */

bool virtio_scsi_lun(const uint8_t *raw, unsigned *target, unsigned *lun)
{
    *target = raw[1];
    *lun = load16_be(raw + 2) & 0x3fff;
    /* Peripheral or flat addresses. */
    return raw[0] == 1 && (raw[2] == 0 || (raw[2] & 0xc0) == 0x40);
}

/* What lies behind the first skip bytes of iov. */
static void find_data(VirtioScsiRequest *r, const struct iovec *iov, unsigned count, size_t skip)
{
    while (count && skip >= iov->iov_len) {
        skip -= iov->iov_len;
        iov++;
        count--;
    }
    if (skip) {
        r->own_data = g_memdup2(iov, count * sizeof *iov);
        r->own_data->iov_base = (char *)r->own_data->iov_base + skip;
        r->own_data->iov_len -= skip;
        iov = r->own_data;
    }
    r->req.iov = iov;
    r->req.iov_count = count;
}

/* Finds the parts of a request whose memory is there. False: the device is broken. */
static bool parse(VirtioScsi *s, VirtioScsiRequest *r)
{
    VirtElement *e = &r->elem;
    const uint32_t cdb_size = __atomic_load_n(&s->cdb_size, __ATOMIC_RELAXED);
    const uint64_t header = VIRTIO_SCSI_HEADER + cdb_size;
    const uint32_t sense_size = __atomic_load_n(&s->sense_size, __ATOMIC_RELAXED);
    const uint64_t response = VIRTIO_SCSI_RESPONSE + (uint64_t)sense_size;
    uint8_t raw[VIRTIO_SCSI_HEADER + CDB_MAX];

    r->s = s;
    r->req = (ScsiRequest){0};
    r->room = 0;
    r->sense_size = sense_size;
    r->own_data = NULL;
    r->waiters = NULL;
    r->reset = false;
    r->lane = s->lanes ? s->queue_lanes[virtqueue_index(e->queue) - VIRTIO_SCSI_QUEUES_FIXED] : NULL;
    if (e->out_size < header || e->in_size < response || (e->out_size > header && e->in_size > response)) {
        virtio_broken(&s->vdev, "a request of %" PRIu64 " bytes to read and %" PRIu64 " to write", e->out_size, e->in_size);
        return false;
    }
    virt_element_read(e, 0, raw, header);
    memcpy(r->address, raw, sizeof r->address);
    r->req.tag = load64_le(raw + 8);
    memcpy(r->req.cdb, raw + VIRTIO_SCSI_HEADER, MIN(cdb_size, SCSI_CDB_SIZE));
    if (e->out_size > header) {
        find_data(r, e->out, e->out_count, header);
        r->room = e->out_size - header;
        r->req.from_guest = true;
    } else if (e->in_size > response) {
        find_data(r, e->in, e->in_count, response);
        r->room = e->in_size - response;
    }
    return true;
}

void virtio_scsi_start(VirtioScsiRequest *r)
{
    ScsiRequest *req = &r->req;
    unsigned target, lun;

    if (virtio_scsi_lun(r->address, &target, &lun)) {
        req->dev = scsi_find(&r->s->bus, 0, target, lun);
    }
    if (!req->dev) {
        finish(r, VIRTIO_SCSI_S_BAD_TARGET);
        return;
    }
    req->lun = lun;
    scsi_request_init(req);
    if (req->direction != SCSI_NO_DATA &&
        (req->xfer > r->room || (req->direction == SCSI_TO_DEVICE) != req->from_guest)) {
        req->direction = SCSI_NO_DATA;
        finish(r, VIRTIO_SCSI_S_OVERRUN);
        return;
    }
    scsi_request_start(req);
}

static void handle(VirtioScsi *s, VirtQueue *vq)
{
    uint64_t bytes = 0;
    VirtElement *e;

    while (bytes < BYTES_AT_ONCE && (e = virtqueue_pop(vq))) {
        VirtioScsiRequest *r = container_of(e, VirtioScsiRequest, elem);

        if (!parse(s, r)) {
            virtqueue_drop(e);
            break;
        }
        bytes += r->room;
        if (r->lane) {
            virtio_scsi_lane_start(r->lane, r);
        } else {
            virtio_scsi_start(r);
        }
    }
}

void virtio_scsi_handle_commands(VirtioDevice *vdev, VirtQueue *vq)
{
    VirtioScsi *s = virtio_scsi(vdev);
    VirtioScsiLane *lane = s->lanes ? s->queue_lanes[virtqueue_index(vq) - VIRTIO_SCSI_QUEUES_FIXED] : NULL;
    ScsiDevice *any = lane ? NULL : scsi_nth(&s->bus, 0); /* their back ends share a loop */
    struct BlkGate *gate = lane ? virtio_scsi_lane_plug(lane) : NULL;

    if (any) {
        blk_plug(any->blk);
    }
    handle(s, vq);
    if (any) {
        blk_unplug(any->blk);
    }
    if (gate) {
        virtio_scsi_lane_unplug(lane, gate);
    }
}

/* ---- state --------------------------------------------------------------------------------------------- */

typedef struct LoadedRequest {
    uint32_t queue;
    VirtSavedElement elem;
} LoadedRequest;

void virtio_scsi_save_request(StateBuf *buf, const ScsiRequest *req)
{
    const VirtioScsiRequest *r = virtio_scsi_request(req);

    state_put_be(buf, virtqueue_index(r->elem.queue) - VIRTIO_SCSI_QUEUES_FIXED, 4);
    virt_element_save(&r->s->vdev, buf, &r->elem);
}

void virtio_scsi_free_loaded(void *loaded)
{
    virt_saved_element_clear(&((LoadedRequest *)loaded)->elem);
    g_free(loaded);
}

void *virtio_scsi_load_request(ScsiBus *bus, StateBuf *buf, GError **err)
{
    VirtioScsi *s = bus->opaque;
    g_autofree LoadedRequest *r = g_new0(LoadedRequest, 1);

    r->queue = (uint32_t)state_get_be(buf, 4);
    if (r->queue >= s->num_queues) {
        error_set(err, "a SCSI request of queue %u", r->queue);
        return NULL;
    }
    return virt_element_load(&s->vdev, buf, &r->elem, err) ? g_steal_pointer(&r) : NULL;
}

/* A request that the queue or the memory does not have is the stream's fault: the device is broken then. */
ScsiRequest *virtio_scsi_take_loaded(ScsiBus *bus, void *loaded)
{
    VirtioScsi *s = bus->opaque;
    LoadedRequest *l = loaded;
    g_autoptr(GError) why = NULL;
    VirtElement *e = virt_saved_element_adopt(virtio_queue(&s->vdev, l->queue + VIRTIO_SCSI_QUEUES_FIXED), &l->elem, &why);
    VirtioScsiRequest *r = e ? container_of(e, VirtioScsiRequest, elem) : NULL;

    virtio_scsi_free_loaded(loaded);
    if (!e) {
        virtio_broken(&s->vdev, "%s", why->message);
        return NULL;
    }
    if (!parse(s, r)) {
        virtqueue_drop(e);
        return NULL;
    }
    return &r->req;
}
