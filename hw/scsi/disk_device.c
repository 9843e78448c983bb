/* SPDX-License-Identifier: GPL-2.0-or-later */
/* "scsi-hd" and "scsi-cd": properties and life of disks and CD drives. */
#include "hw/scsi/disk.h"

#define CD_BLOCK 2048

static ScsiDisk *disk_of(Device *dev) { return scsi_disk(scsi_device(dev)); }

/* ---- back end callbacks --------------------------------------------------------------------------- */

/* In the bus's loop. */
static void resized(void *opaque)
{
    ScsiDisk *s = opaque;

    if (s->sdev.direct) {
        __atomic_store_n(&s->capacity, blk_size(s->sdev.blk), __ATOMIC_RELAXED);
    }
    scsi_set_unit_attention(&s->sdev, SENSE_CAPACITY_CHANGED);
    if (s->sdev.sbus->ops->changed) {
        s->sdev.sbus->ops->changed(s->sdev.sbus, &s->sdev, SENSE_CAPACITY_CHANGED);
    }
}

static void retry(void *opaque)
{
    ScsiDisk *s = opaque;

    if (s->sdev.sbus->ops->is_running(s->sdev.sbus)) {
        scsi_bus_retry(s->sdev.sbus);
    }
}

static void media_changed(void *opaque, bool loaded) { scsi_cd_media_changed(opaque, loaded); }
static bool is_tray_open(void *opaque) { return __atomic_load_n(&((ScsiDisk *)opaque)->tray_open, __ATOMIC_RELAXED); }

static bool follow(void *opaque, Loop *loop, GError **err)
{
    ScsiBus *bus = ((ScsiDisk *)opaque)->sdev.sbus;

    return bus->ops->follow(bus, loop, err);
}

static void eject_request(void *opaque, bool force)
{
    ScsiDisk *s = opaque;

    s->eject_request = true;
    if (force) {
        s->tray_locked = false;
    }
}

static const BlkDevOps disk_blk_ops = {.any_loop = true, .resized = resized, .retry = retry};
static const BlkDevOps removable_blk_ops = {
    .any_loop = true,
    .resized = resized,
    .retry = retry,
    .media_changed = media_changed,
    .is_tray_open = is_tray_open,
    .eject_request = eject_request,
    .follow = follow,
};

/* ---- what the bus asks ------------------------------------------------------------------------------ */

static uint32_t block_size(const ScsiDevice *dev) { return container_of(dev, ScsiDisk, sdev)->block_size; }

static void disk_reset(ScsiDevice *dev)
{
    ScsiDisk *s = scsi_disk(dev);

    s->media_changed = false;
    s->tray_locked = false;
    scsi_disk_set_tray(s, false);
    /* Before the adapter runs, and behind, this is the main thread: the block layer may be gone. */
    if (s->removable && (dev->sbus->ops->is_running(dev->sbus) || blk_is_alive(dev->dev.vm, dev->blk))) {
        blk_lock_medium(dev->blk, false);
    }
}

static void attention_told(ScsiDevice *dev)
{
    ScsiDisk *s = scsi_disk(dev);

    if (s->media_changed) {
        s->media_changed = false;
        scsi_set_unit_attention(dev, SENSE_MEDIUM_CHANGED);
    }
}

/* ---- realize ----------------------------------------------------------------------------------------- */

static bool check_options(const ScsiDisk *s, GError **err)
{
    if (s->quirks) {
        return error_set(err, "the quirk_mode_* properties, for guests of other computers, are not supported; leave them off");
    }
    if (s->scsi_version < 0 || s->scsi_version > 255) {
        return error_set(err, "scsi_version=%d must be between 0 and 255", s->scsi_version);
    }
    return true;
}

static bool find_blk(ScsiDisk *s, GError **err)
{
    ScsiDevice *dev = &s->sdev;

    if (!dev->blk && !s->is_cd) {
        return error_set(err, "drive property not set");
    }
    disk_options_need_blk(dev->dev.vm, &dev->blk, &s->owns_blk);
    if (!s->removable && !blk_is_inserted(dev->blk)) {
        return error_set(err, "Device needs media, but drive is empty");
    }
    return s->removable || blk_check_disk(dev->blk, err);
}

static bool attach(ScsiDisk *s, GError **err)
{
    BlockBackend *blk = s->sdev.blk;

    s->attached = disk_options_attach(&s->options, blk, &s->sdev.dev, s->removable ? &removable_blk_ops : &disk_blk_ops, s,
                                      !s->is_cd && !blk_is_read_only(blk), err);
    return s->attached;
}

static void detach(ScsiDisk *s)
{
    ScsiDevice *dev = &s->sdev;

    if (s->attached && blk_is_alive(dev->dev.vm, dev->blk)) {
        blk_detach(dev->blk);
    }
    disk_options_drop_empty(dev->dev.vm, &dev->blk, &s->owns_blk);
    s->attached = false;
}

static void set_device_id(ScsiDisk *s)
{
    g_clear_pointer(&s->own_device_id, g_free);
    if (s->serial) {
        s->own_device_id = g_strndup(s->serial, 20);
    } else if (*blk_name(s->sdev.blk)) {
        s->own_device_id = g_strdup(blk_name(s->sdev.blk));
    }
}

static bool disk_realize(ScsiDisk *s, GError **err)
{
    ScsiDevice *dev = &s->sdev;

    dev->ops = type_ops(dev->dev.obj.type);
    if (!check_options(s, err) || !disk_options_check_sizes(&s->options, err) || !find_blk(s, err)) {
        detach(s);
        return false;
    }
    dev->direct = !s->removable;
    s->block_size = s->is_cd ? CD_BLOCK : (uint32_t)s->options.logical_block_size;
    if (!attach(s, err) || (!s->is_cd && !disk_options_set_geometry(&s->options, dev->blk, 255, err)) ||
        !dev->sbus->ops->place(dev->sbus, dev, err)) {
        detach(s);
        return false;
    }
    set_device_id(s);
    s->capacity = blk_size(dev->blk);
    s->direct_writes = !blk_is_read_only(dev->blk);
    scsi_device_go(dev);
    return true;
}

static bool hd_realize(Device *dev, GError **err) { return disk_realize(disk_of(dev), err); }

static bool cd_realize(Device *dev, GError **err)
{
    ScsiDisk *s = disk_of(dev);

    s->is_cd = s->removable = true;
    return disk_realize(s, err);
}

static void disk_unrealize(Device *dev)
{
    scsi_device_leave(scsi_device(dev));
    detach(disk_of(dev));
}

static void disk_finalize(Object *obj) { g_free(disk_of((Device *)(void *)obj)->own_device_id); }

/* ---- what users and managers see ----------------------------------------------------------------------- */

#define COMMON_PROPS                                                                               \
    PROP_DRIVE("drive", ScsiDisk, sdev.blk, .help = "Node name or ID of a block device to use as a backend"), \
    DISK_PROPS(ScsiDisk, options, "unmapping works on multiples of it; 0: the guest is not told of unmapping"), \
    DISK_ERROR_PROPS(ScsiDisk, options),                                                           \
    PROP_STRING("ver", ScsiDisk, version, .help = "product revision, 4 characters"),               \
    PROP_STRING("serial", ScsiDisk, serial, .help = "unit serial number"),                         \
    PROP_STRING("vendor", ScsiDisk, vendor, .help = "8 characters"),                               \
    PROP_STRING("product", ScsiDisk, product, .help = "16 characters"),                            \
    PROP_STRING("device_id", ScsiDisk, device_id, .help = "designator in page 83h; default: serial, else the drive's id"), \
    PROP_U64("wwn", ScsiDisk, wwn, .help = "World Wide Name; 0: none"),                            \
    PROP_U64("port_wwn", ScsiDisk, port_wwn, .help = "of its port; 0: none"),                      \
    PROP_U16("port_index", ScsiDisk, port_index, .help = "of its port; 0: none"),                  \
    PROP_U64("max_io_size", ScsiDisk, max_io_size, .def = INT32_MAX, .help = "bytes of a command that the guest is told"), \
    PROP_I32("scsi_version", ScsiDisk, scsi_version, .def = 5, .help = "in INQUIRY; 5: SPC-3"),    \
    PROP_BIT32("quirk_mode_page_vendor_specific_apple", ScsiDisk, quirks, .bit = QUIRK_VENDOR_APPLE, .help = "not supported"), \
    PROP_I32("bootindex", ScsiDisk, bootindex, .def = (uint64_t)-1, .anytime = true,               \
             .help = "place in the boot order; -1: none")

static const Property hd_props[] = {
    COMMON_PROPS,
    PROP_BOOL("removable", ScsiDisk, removable, .help = "its medium may be changed"),
    PROP_BOOL("dpofua", ScsiDisk, dpofua, .help = "the guest is told that writes may go past the cache"),
    PROP_U64("max_unmap_size", ScsiDisk, max_unmap_size, .def = GIB, .help = "bytes of an UNMAP that the guest is told"),
    PROP_U16("rotation_rate", ScsiDisk, rotation_rate, .help = "turns a minute; 1: no rotating parts; 0: not said"),
    DISK_GEOMETRY_PROPS(ScsiDisk, options),
    {}};

static const Property cd_props[] = {
    COMMON_PROPS,
    PROP_BIT32("quirk_mode_sense_rom_use_dbd", ScsiDisk, quirks, .bit = QUIRK_ROM_DBD, .help = "not supported"),
    PROP_BIT32("quirk_mode_page_apple_vendor", ScsiDisk, quirks, .bit = QUIRK_APPLE_VENDOR, .help = "not supported"),
    PROP_BIT32("quirk_mode_page_truncated", ScsiDisk, quirks, .bit = QUIRK_TRUNCATED, .help = "not supported"),
    {}};

static const ScsiDeviceOps hd_ops = {
    .run = scsi_disk_run,
    .retry = scsi_disk_retry,
    .reset = disk_reset,
    .attention_told = attention_told,
    .direct = scsi_disk_direct,
    .failed = scsi_disk_failed,
    .block_size = block_size,
    .type = SCSI_TYPE_DISK,
};
static const ScsiDeviceOps cd_ops = {
    .run = scsi_disk_run,
    .retry = scsi_disk_retry,
    .reset = disk_reset,
    .attention_told = attention_told,
    .block_size = block_size,
    .type = SCSI_TYPE_ROM,
};

DEVICE_TYPE(scsi_hd) = {
    .name = "scsi-hd",
    .parent = "scsi-device",
    .desc = "virtual SCSI disk",
    .size = sizeof(ScsiDisk),
    .props = hd_props,
    .state = &scsi_disk_state,
    .ops = &hd_ops,
    .realize = hd_realize,
    .unrealize = disk_unrealize,
    .finalize = disk_finalize,
};

DEVICE_TYPE(scsi_cd) = {
    .name = "scsi-cd",
    .parent = "scsi-device",
    .desc = "virtual SCSI CD-ROM",
    .size = sizeof(ScsiDisk),
    .props = cd_props,
    .state = &scsi_disk_state,
    .ops = &cd_ops,
    .realize = cd_realize,
    .unrealize = disk_unrealize,
    .finalize = disk_finalize,
};
