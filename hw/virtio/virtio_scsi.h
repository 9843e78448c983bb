/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Between virtio_scsi.c (commands), virtio_scsi_control.c (task management, events) and virtio_scsi_device.c (properties,
 * configuration, life).
 */
#ifndef HW_VIRTIO_VIRTIO_SCSI_H
#define HW_VIRTIO_VIRTIO_SCSI_H

#include <linux/virtio_scsi.h>

#include "hw/scsi/scsi.h"
#include "hw/virtio/virtio.h"

#define VIRTIO_SCSI_QUEUES_FIXED 2    /* control, events */
#define VIRTIO_SCSI_MAX_CHANNEL 0
#define VIRTIO_SCSI_MAX_TARGET 255
#define VIRTIO_SCSI_MAX_LUN 16383
#define VIRTIO_SCSI_CONFIG_SIZE 36
#define VIRTIO_SCSI_HEADER 19         /* of a command, before the CDB */
#define VIRTIO_SCSI_RESPONSE 12       /* before the sense data */

typedef struct VirtioScsi VirtioScsi;

typedef struct VirtioScsiRequest {
    VirtElement elem;
    VirtioScsi *s;
    ScsiRequest req;
    uint64_t room;                /* bytes of guest memory for data */
    uint32_t sense_size;          /* when it came: data begins behind it */
    struct iovec *own_data;       /* pieces of the data, where they do not begin with a piece; NULL: none */
    GSList *waiters;              /* VirtioScsiTmf * that wait for its end */
    bool reset;                   /* it is aborted by a reset */
} VirtioScsiRequest;

/* A task management function that waits for requests to end. */
typedef struct VirtioScsiTmf {
    VirtElement elem;
    unsigned remaining;
} VirtioScsiTmf;

/* "virtio-scsi-device" */
struct VirtioScsi {
    VirtioDevice vdev;
    ScsiBus bus;
    uint32_t sense_size, cdb_size; /* as the driver set them; atomic */
    bool events_dropped;          /* an event found no buffer */
    /* ---- properties ---- */
    Object *iothread;
    uint32_t num_queues, queue_size, max_sectors, cmd_per_lun;
    uint64_t features_prop;
    bool seg_max_adjust;
};

static inline VirtioScsi *virtio_scsi(VirtioDevice *vdev) { return container_of(vdev, VirtioScsi, vdev); }
static inline VirtioScsiRequest *virtio_scsi_request(const ScsiRequest *req)
{
    return container_of((ScsiRequest *)(uintptr_t)req, VirtioScsiRequest, req);
}
static inline VirtQueue *virtio_scsi_events(VirtioScsi *s) { return virtio_queue(&s->vdev, 1); }

/* A unit number of the guest's 8 bytes; false: not one of ours. */
bool virtio_scsi_lun(const uint8_t *raw, unsigned *target, unsigned *lun);

/* ---- the queues' thread ---- */

void virtio_scsi_handle_commands(VirtioDevice *vdev, VirtQueue *vq);
void virtio_scsi_handle_control(VirtioDevice *vdev, VirtQueue *vq);
void virtio_scsi_handle_events(VirtioDevice *vdev, VirtQueue *vq);
/* Tells the driver, if it took the feature: VIRTIO_SCSI_T_*. dev NULL: of no unit. */
void virtio_scsi_push_event(VirtioScsi *s, const ScsiDevice *dev, uint32_t event, uint32_t reason);
/* The request that they wait for has ended. */
void virtio_scsi_tell_waiters(VirtioScsiRequest *r);

/* ScsiBusOps.complete, save_request and so on. */
void virtio_scsi_complete(ScsiRequest *req);
void virtio_scsi_save_request(StateBuf *buf, const ScsiRequest *req);
void *virtio_scsi_load_request(ScsiBus *bus, StateBuf *buf, GError **err);
ScsiRequest *virtio_scsi_take_loaded(ScsiBus *bus, void *loaded);
void virtio_scsi_free_loaded(void *loaded);

#endif
