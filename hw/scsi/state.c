/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * State of units in QEMU 7.2's layout. Requests are drained before a save; those that failed and wait for the VM
 * (werror=stop) are a list: 1 (or 2, for one that was started and not done), 16 bytes of CDB, tag, unit number, what the
 * adapter writes, and the unit's part: the next sector of 512 bytes, how many are left, and its buffer, of which there is
 * none here; at the end 0.
 */
#include "hw/scsi/disk.h"

#define WIRE_CDB 16
#define SECTOR 512
#define REQUESTS_MAX 16384

typedef struct LoadedRequest {
    uint8_t cdb[WIRE_CDB];
    uint32_t lun;
    uint64_t tag;
    uint64_t offset, len;         /* bytes */
    void *adapters;               /* its part */
    const ScsiBusOps *ops;
} LoadedRequest;

static void free_loaded(void *data)
{
    LoadedRequest *r = data;

    if (r->adapters) {
        r->ops->free_loaded(r->adapters);
    }
    g_free(r);
}

void scsi_loaded_free(ScsiDevice *dev) { g_clear_pointer(&dev->loaded, g_ptr_array_unref); }

static void put_requests(StateBuf *buf, const StateField *field, const void *elem, size_t size)
{
    const ScsiDevice *dev = elem;

    for (const ScsiRequest *req = dev->requests; req; req = req->next) {
        state_put_be(buf, 1, 1);
        state_put(buf, req->cdb, WIRE_CDB);
        state_put_be(buf, req->tag, 4);
        state_put_be(buf, req->lun, 4);
        dev->sbus->ops->save_request(buf, req);
        state_put_be(buf, req->offset / SECTOR, 8);
        state_put_be(buf, req->len / SECTOR, 4);
        state_put_be(buf, 0, 4);
    }
    state_put_be(buf, 0, 1);
}

/* The unit's part: what a buffer holds is done anew from the CDB. */
static bool get_units_part(StateBuf *buf, LoadedRequest *r, GError **err)
{
    uint32_t len;

    r->offset = state_get_be(buf, 8) * SECTOR;
    r->len = state_get_be(buf, 4) * SECTOR;
    len = (uint32_t)state_get_be(buf, 4);
    if (len > SCSI_REPLY_MAX * 4) {
        return error_set(err, "a SCSI request with a buffer of %u bytes", len);
    }
    if (len) {
        g_autofree uint8_t *data = g_malloc(len);

        state_get(buf, data, len);
    }
    return !buf->failed || error_set(err, "a SCSI request is cut short");
}

static bool get_requests(StateBuf *buf, const StateField *field, void *elem, size_t size, GError **err)
{
    ScsiDevice *dev = elem;
    uint64_t more;

    scsi_loaded_free(dev);
    dev->loaded = g_ptr_array_new_with_free_func(free_loaded);
    while ((more = state_get_be(buf, 1)) == 1 || more == 2) {
        LoadedRequest *r = g_new0(LoadedRequest, 1);

        g_ptr_array_add(dev->loaded, r);
        r->ops = dev->sbus->ops;
        state_get(buf, r->cdb, WIRE_CDB);
        r->tag = state_get_be(buf, 4);
        r->lun = (uint32_t)state_get_be(buf, 4);
        if (buf->failed || dev->loaded->len > REQUESTS_MAX) {
            return error_set(err, "%u SCSI requests, or one is cut short", dev->loaded->len);
        }
        r->adapters = dev->sbus->ops->load_request(dev->sbus, buf, err);
        if (!r->adapters || !get_units_part(buf, r, err)) {
            return false;
        }
    }
    return !more || error_set(err, "a byte %u where a SCSI request begins or the list ends", (unsigned)more);
}

static const StateKind state_kind_requests = {.type = "scsi-requests", .put = put_requests, .get = get_requests};

static const StateField device_fields[] = {
    STATE_U8(ScsiDevice, unit_attention.key, .max = 15),
    STATE_U8(ScsiDevice, unit_attention.asc),
    STATE_U8(ScsiDevice, unit_attention.ascq),
    STATE_BOOL(ScsiDevice, sense_is_ua),
    STATE_ARRAY(ScsiDevice, sense, u8, SCSI_SENSE_SIZE),
    STATE_U32(ScsiDevice, sense_len, .max = SCSI_SENSE_SIZE),
    {.name = "requests", .kind = &state_kind_requests, .offset = 0, .size = 1, .stride = 0, .count = 1},
    {}};
const StateDesc scsi_device_state = {.name = "SCSIDevice", .version = 1, .min_version = 1, .fields = device_fields};

static bool generic_post_load(void *obj, unsigned version, GError **err)
{
    ScsiDevice *dev = obj;
    const unsigned n = dev->loaded ? dev->loaded->len : 0;

    scsi_loaded_free(dev);
    return !n || error_set(err, "%u requests of a unit of the host, which cannot be gone on with", n);
}

const StateDesc scsi_generic_state = {
    .name = "SCSIDevice", .version = 1, .min_version = 1, .fields = device_fields, .post_load = generic_post_load};

/* ---- disks ---------------------------------------------------------------------------------------------- */

static bool disk_pre_load(void *obj, GError **err)
{
    ScsiDevice *dev = obj;

    (void)err;
    while (dev->requests) {
        scsi_request_abort(dev->requests); /* they wait: the VM is stopped */
    }
    return true;
}

static bool disk_post_load(void *obj, unsigned version, GError **err)
{
    ScsiDisk *s = obj;
    ScsiDevice *dev = &s->sdev;
    ScsiRequest **tail = &dev->requests;

    blk_lock_medium(dev->blk, s->tray_locked);
    for (unsigned i = 0; dev->loaded && i < dev->loaded->len; i++) {
        LoadedRequest *r = g_ptr_array_index(dev->loaded, i);
        ScsiRequest *req = dev->sbus->ops->take_loaded(dev->sbus, g_steal_pointer(&r->adapters));

        if (!req) {
            continue;
        }
        req->dev = dev;
        req->lun = r->lun;
        req->tag = r->tag;
        memset(req->cdb, 0, sizeof req->cdb);
        memcpy(req->cdb, r->cdb, WIRE_CDB);
        scsi_request_init(req);
        if (iov_size(req->iov, req->iov_count) < req->xfer ||
            (req->xfer && (req->direction == SCSI_TO_DEVICE) != req->from_guest)) {
            req->cdb[0] = 0xff; /* they do not belong together: it will be refused */
        }
        req->offset = r->offset;
        req->len = r->len;
        req->is_retry = req->anew = true;
        req->link = tail;
        *tail = req;
        tail = &req->next;
        blk_want_retry(dev->blk);
    }
    scsi_loaded_free(dev);
    return true;
}

static const StateField disk_fields[] = {
    STATE_STRUCT(ScsiDisk, sdev, &scsi_device_state, .name = "qdev"),
    STATE_BOOL(ScsiDisk, media_changed),
    STATE_BOOL(ScsiDisk, media_event),
    STATE_BOOL(ScsiDisk, eject_request),
    STATE_BOOL(ScsiDisk, tray_open),
    STATE_BOOL(ScsiDisk, tray_locked),
    {}};
const StateDesc scsi_disk_state = {
    .name = "scsi-disk",
    .version = 1,
    .min_version = 1,
    .fields = disk_fields,
    .pre_load = disk_pre_load,
    .post_load = disk_post_load,
};
