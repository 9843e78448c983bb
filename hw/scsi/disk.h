/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between disk.c (dispatch, medium), disk_inform.c (INQUIRY and capacity), disk_mode.c (mode pages), cd.c, disk_device.c. */
#ifndef HW_SCSI_DISK_H
#define HW_SCSI_DISK_H

#include "hw/block/disk_options.h"
#include "hw/scsi/scsi.h"

/* "scsi-hd" and "scsi-cd" */
typedef struct ScsiDisk {
    ScsiDevice sdev;
    bool is_cd;
    bool attached, owns_blk;
    uint32_t block_size;           /* of the medium, as the guest sees it */
    uint64_t capacity;             /* bytes, of a direct unit; atomic */
    bool direct_writes;            /* could be written to when it was plugged */
    /* ---- of the state */
    bool media_changed, media_event, eject_request, tray_locked;
    bool tray_open;                /* atomic where it is not the loop that reads it, and to write */
    /* ---- properties */
    DiskOptions options;
    uint64_t max_unmap_size, max_io_size, wwn, port_wwn;
    char *serial, *vendor, *product, *version, *device_id;
    char *own_device_id;           /* when the user named none; NULL: has none */
    uint16_t port_index, rotation_rate;
    int32_t scsi_version, bootindex;
    bool removable, dpofua;
    uint32_t quirks;               /* properties of no effect; QUIRK_* */
} ScsiDisk;

enum { QUIRK_ROM_DBD, QUIRK_APPLE_VENDOR, QUIRK_TRUNCATED, QUIRK_VENDOR_APPLE };

static inline ScsiDisk *scsi_disk(ScsiDevice *dev) { return container_of(dev, ScsiDisk, sdev); }
static inline void scsi_disk_set_tray(ScsiDisk *s, bool open) { __atomic_store_n(&s->tray_open, open, __ATOMIC_RELAXED); }
static inline bool scsi_disk_has_medium(const ScsiDisk *s) { return !s->tray_open && blk_is_inserted(s->sdev.blk); }
/* In blocks. */
static inline uint64_t scsi_disk_blocks(const ScsiDisk *s) { return blk_size(s->sdev.blk) / s->block_size; }
/* As mode pages and VPD say it; 0: the guest is told of no unmapping. */
static inline uint64_t scsi_disk_unmap_granularity(const ScsiDisk *s)
{
    const DiskOptions *o = &s->options;

    return o->discard_granularity == UINT32_MAX ? MAX(o->logical_block_size, 4096) : o->discard_granularity;
}
static inline const char *scsi_disk_device_id(const ScsiDisk *s) { return s->device_id ? s->device_id : s->own_device_id; }

typedef void ScsiCommandFn(ScsiDisk *s, ScsiRequest *req);
enum {
    SCSI_FOR_DISK = 1,
    SCSI_FOR_CD = 2,
    SCSI_WITHOUT_MEDIUM = 4,       /* runs although there is none */
};
typedef struct ScsiCommand {
    ScsiCommandFn *fn;
    uint8_t flags;
} ScsiCommand;

/* A reply that is as long as the guest asked for, zeros behind data. */
void scsi_disk_reply_padded(ScsiRequest *req, const void *data, size_t len);
ScsiCommandFn scsi_disk_inquiry, scsi_disk_read_capacity_10, scsi_disk_service_action_in_16;
ScsiCommandFn scsi_disk_mode_sense, scsi_disk_mode_select;
ScsiCommandFn scsi_cd_read_toc, scsi_cd_get_configuration, scsi_cd_get_event_status, scsi_cd_mechanism_status,
    scsi_cd_read_disc_information, scsi_cd_read_disc_structure, scsi_cd_prevent_removal, scsi_cd_start_stop;
void scsi_cd_media_changed(ScsiDisk *s, bool loaded);

void scsi_disk_run(ScsiRequest *req);
void scsi_disk_retry(ScsiRequest *req);
ScsiDirect scsi_disk_direct(ScsiRequest *req);
void scsi_disk_failed(ScsiRequest *req, int result);

/* state.c */
extern const StateDesc scsi_disk_state;

#endif
