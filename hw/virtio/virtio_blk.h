/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between virtio_blk.c (requests), virtio_blk_state.c and virtio_blk_device.c (properties, configuration, life). */
#ifndef HW_VIRTIO_VIRTIO_BLK_H
#define HW_VIRTIO_VIRTIO_BLK_H

#include <linux/virtio_blk.h>

#include "block/gates.h"
#include "hw/block/disk_options.h"
#include "hw/virtio/virtio.h"
#include "hw/virtio/virtio_iothreads.h"

#define VIRTIO_BLK_SECTOR 512
#define VIRTIO_BLK_CONFIG_SIZE 57 /* up to write_zeroes_may_unmap */

typedef struct VirtioBlk VirtioBlk;

typedef struct VirtioBlkRequest {
    VirtElement elem;
    VirtioBlk *blk;
    uint32_t type;
    uint64_t offset, len;      /* bytes */
    uint32_t flags;            /* write zeroes: the driver's */
    uint8_t *status;           /* last byte of in, host address */
    bool is_read;
    struct iovec *data;        /* data_count pieces: of elem.iov, or own_data */
    unsigned data_count;
    struct iovec *own_data;    /* NULL: none */
    struct VirtioBlkRequest *next; /* that wait for a retry */
} VirtioBlkRequest;

/* Of the queue's thread. */
typedef struct VirtioBlkQueue {
    BlkGate *gate;             /* NULL: it runs in the block nodes' loop */
    VirtioBlkRequest *kept;    /* failed, to be tried again when the VM runs (werror=stop) */
    bool retry;                /* atomic; it does: now */
} VirtioBlkQueue;

/* "virtio-blk-device" */
struct VirtioBlk {
    VirtioDevice vdev;
    BlockBackend *blk;         /* property "drive" */
    bool attached;
    uint64_t capacity;         /* bytes; atomic */
    VirtioBlkQueue *queues;    /* num_queues */
    struct BlkLoaded *loaded;  /* virtio_blk_state.c */
    /* ---- properties ---- */
    Object *iothread;
    VirtioIoThreads *mapping;
    char *serial;
    uint64_t features_prop;    /* those that properties switch */
    DiskOptions options;
    uint32_t max_discard_sectors, max_write_zeroes_sectors;
    uint16_t num_queues, queue_size;
    bool scsi, request_merging, seg_max_adjust, report_discard_granularity, wce_if_config_wce;
    int32_t bootindex;
};

static inline VirtioBlk *virtio_blk(VirtioDevice *vdev) { return container_of(vdev, VirtioBlk, vdev); }

/* Reads the header of a request whose memory is there and finds its parts. False: the device is broken. */
bool virtio_blk_parse(VirtioBlk *s, VirtioBlkRequest *req);
void virtio_blk_handle(VirtioDevice *vdev, VirtQueue *vq);
/* As virtio_blk_parse, for a request that was started before: its range is read again. */
bool virtio_blk_parse_loaded(VirtioBlk *s, VirtioBlkRequest *req);
/* Has queues try again what they keep, soon. Any thread. */
void virtio_blk_retry(void *opaque);
/* Drops what is kept (of vq; NULL: of all). Stopped. */
void virtio_blk_drop_kept(VirtioBlk *s, VirtQueue *vq);

/* VirtioOps.save, load, take_loaded. */
void virtio_blk_save(VirtioDevice *vdev, StateBuf *buf);
bool virtio_blk_load(VirtioDevice *vdev, StateBuf *buf, uint64_t features, GError **err);
void virtio_blk_take_loaded(VirtioDevice *vdev);
void virtio_blk_free_loaded(VirtioBlk *s);

#endif
