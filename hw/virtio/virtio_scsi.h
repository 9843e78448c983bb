/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Between virtio_scsi.c (commands), virtio_scsi_control.c (task management, events), virtio_scsi_lanes.c (threads of further
 * queues) and virtio_scsi_device.c (properties, configuration, life).
 */
#ifndef HW_VIRTIO_VIRTIO_SCSI_H
#define HW_VIRTIO_VIRTIO_SCSI_H

#include <linux/virtio_scsi.h>

#include "hw/scsi/scsi.h"
#include "hw/virtio/virtio.h"
#include "hw/virtio/virtio_iothreads.h"

#define VIRTIO_SCSI_QUEUES_FIXED 2    /* control, events */
#define VIRTIO_SCSI_MAX_CHANNEL 0
#define VIRTIO_SCSI_MAX_TARGET 255
#define VIRTIO_SCSI_MAX_LUN 16383
#define VIRTIO_SCSI_CONFIG_SIZE 36
#define VIRTIO_SCSI_HEADER 19         /* of a command, before the CDB */
#define VIRTIO_SCSI_RESPONSE 12       /* before the sense data */

typedef struct VirtioScsi VirtioScsi;
typedef struct VirtioScsiLane VirtioScsiLane;
typedef struct VirtioScsiMail VirtioScsiMail;

/* A message between the adapter's thread and a lane's: fn runs there; the memory is the sender's choice. */
struct VirtioScsiMail {
    void (*fn)(VirtioScsiMail *mail);
    VirtioScsiMail *next;
};

typedef struct VirtioScsiBox {
    VirtioScsi *s;
    Loop *loop;
    VirtioScsiMail *list;         /* the last one first; atomic */
} VirtioScsiBox;

typedef struct VirtioScsiRequest {
    VirtElement elem;
    VirtioScsi *s;
    ScsiRequest req;
    uint64_t room;                /* bytes of guest memory for data */
    uint32_t sense_size;          /* when it came: data begins behind it */
    struct iovec *own_data;       /* pieces of the data, where they do not begin with a piece; NULL: none */
    GSList *waiters;              /* VirtioScsiTmf *, or LaneTmf * while a lane does it, that wait for its end */
    bool reset;                   /* it is aborted by a reset */
    uint8_t address[8];           /* of the unit */
    /* ---- of other queues than the adapter's thread has ---- */
    VirtioScsiLane *lane;         /* its queue's; NULL: none */
    VirtioScsiMail mail;
    BlkRequest *lane_request;     /* that the lane waits for */
    int result;                   /* of its block request, which failed there */
    uint64_t written;             /* bytes, when it is over */
} VirtioScsiRequest;

/* A task management function that waits for requests to end. */
typedef struct VirtioScsiTmf {
    VirtElement elem;
    VirtioScsi *s;
    uint8_t raw[24];              /* what is asked for */
    unsigned remaining;
    unsigned lanes;               /* that have not answered */
    bool found;                   /* a lane has a request that was asked for */
    uint8_t response;
} VirtioScsiTmf;

/* "virtio-scsi-device" */
struct VirtioScsi {
    VirtioDevice vdev;
    ScsiBus bus;
    uint32_t sense_size, cdb_size; /* as the driver set them; atomic */
    bool events_dropped;          /* an event found no buffer */
    GSList *orphans;              /* VirtioScsiRequest *: of units that left while the VM was stopped; told of when it goes on */
    VirtioScsiBox box;            /* of the adapter's thread */
    GPtrArray *lanes;             /* VirtioScsiLane *; NULL: all queues run in the adapter's thread */
    VirtioScsiLane **queue_lanes; /* of num_queues; NULL: no lanes */
    uint64_t sent, handled;       /* messages to and from lanes; atomic */
    /* ---- properties ---- */
    Object *iothread;
    VirtioIoThreads *mapping;
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
void virtio_scsi_tell_waiters(GSList *waiters);
/* All lanes have done their part of it: the rest. */
void virtio_scsi_run_tmf(VirtioScsiTmf *t);
/* What was over before is in the rings of lanes. */
void virtio_scsi_answer_tmf(VirtioScsiTmf *t);
/* A command for any unit, in the adapter's thread. */
void virtio_scsi_start(VirtioScsiRequest *r);
/* As aborted, when the VM runs again. */
void virtio_scsi_end_orphans(VirtioScsi *s);
/* Nobody is told: those of vq; NULL: all. */
void virtio_scsi_drop_orphans(VirtioScsi *s, const VirtQueue *vq);
/* Fills in the response; returns how many bytes were written. */
uint64_t virtio_scsi_respond(VirtioScsiRequest *r, uint8_t response);

/* ---- virtio_scsi_lanes.c ---- */

/* In realize: where each command queue runs, the first in vdev->loop; they are there. The adapter's end. Stopped. */
void virtio_scsi_make_lanes(VirtioScsi *s, Loop *const *loops);
void virtio_scsi_free_lanes(VirtioScsi *s);
/* A unit comes; makes its gates, first. Then lanes know it; no longer; and have forgotten it. Main thread, VM lock. */
bool virtio_scsi_lanes_gates(VirtioScsi *s, ScsiDevice *dev, GError **err);
void virtio_scsi_lanes_add(VirtioScsi *s, ScsiDevice *dev);
void virtio_scsi_lanes_close(VirtioScsi *s, ScsiDevice *dev);
void virtio_scsi_lanes_remove(VirtioScsi *s, ScsiDevice *dev);
/* No requests and messages are under way any more. No queue takes buffers. Main thread, VM lock. */
void virtio_scsi_lanes_settle(VirtioScsi *s);
/* What lanes have handed over. The adapter's thread. */
void virtio_scsi_take_mail(VirtioScsi *s);
/* Has lanes do their part of t, then virtio_scsi_run_tmf; show the driver all that is over, then virtio_scsi_answer_tmf. The
 * adapter's thread. */
void virtio_scsi_ask_lanes(VirtioScsiTmf *t);
void virtio_scsi_flush_lanes(VirtioScsiTmf *t);
/* The command queues of a lane (NULL: of the adapter's thread): the driver sees what was pushed. There. */
void virtio_scsi_flush_queues(VirtioScsi *s, const VirtioScsiLane *lane);
/* A command of a lane's queue is over, but for the queue: the lane gives it back, soon. The adapter's thread. */
void virtio_scsi_lane_push(VirtioScsiRequest *r, uint64_t written);
/* A command; around several. The lane's thread. */
void virtio_scsi_lane_start(VirtioScsiLane *lane, VirtioScsiRequest *r);
struct BlkGate *virtio_scsi_lane_plug(VirtioScsiLane *lane);
void virtio_scsi_lane_unplug(VirtioScsiLane *lane, struct BlkGate *plugged);

/* ScsiBusOps.complete, save_request and so on. */
void virtio_scsi_complete(ScsiRequest *req);
void virtio_scsi_save_request(StateBuf *buf, const ScsiRequest *req);
void *virtio_scsi_load_request(ScsiBus *bus, StateBuf *buf, GError **err);
ScsiRequest *virtio_scsi_take_loaded(ScsiBus *bus, void *loaded);
void virtio_scsi_free_loaded(void *loaded);

#endif
