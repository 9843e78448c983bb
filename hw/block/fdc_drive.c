/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * floppy: a drive of the controller, and what its medium is like.
 *
 * A raw image has no geometry: its size tells, among the formats that PCs used. A size that is none
 * of them is taken as the largest format of the drive; what is past the image's end reads as zeros.
 */
#include "hw/block/disk_options.h"
#include "hw/block/fdc_internal.h"
#include "util/trace.h"

enum { RATE_500K, RATE_300K, RATE_250K, RATE_1M };

/* The first format of a type is what an unknown medium is taken for. */
static const struct {
    uint8_t type, sectors, tracks, sides, rate;
} formats[] = {
    {FLOPPY_144, 18, 80, 2, RATE_500K}, /* 1.44 MB, 3.5" */
    {FLOPPY_144, 20, 80, 2, RATE_500K},
    {FLOPPY_144, 21, 80, 2, RATE_500K},
    {FLOPPY_144, 21, 82, 2, RATE_500K},
    {FLOPPY_144, 21, 83, 2, RATE_500K},
    {FLOPPY_144, 22, 80, 2, RATE_500K},
    {FLOPPY_144, 23, 80, 2, RATE_500K},
    {FLOPPY_144, 24, 80, 2, RATE_500K},
    {FLOPPY_288, 36, 80, 2, RATE_1M}, /* 2.88 MB */
    {FLOPPY_288, 39, 80, 2, RATE_1M},
    {FLOPPY_288, 40, 80, 2, RATE_1M},
    {FLOPPY_288, 44, 80, 2, RATE_1M},
    {FLOPPY_288, 48, 80, 2, RATE_1M},
    {FLOPPY_144, 9, 80, 2, RATE_250K}, /* 720 kB */
    {FLOPPY_144, 10, 80, 2, RATE_250K},
    {FLOPPY_144, 10, 82, 2, RATE_250K},
    {FLOPPY_144, 10, 83, 2, RATE_250K},
    {FLOPPY_144, 13, 80, 2, RATE_250K},
    {FLOPPY_144, 14, 80, 2, RATE_250K},
    {FLOPPY_120, 15, 80, 2, RATE_500K}, /* 1.2 MB, 5.25" */
    {FLOPPY_120, 18, 82, 2, RATE_500K},
    {FLOPPY_120, 18, 83, 2, RATE_500K},
    {FLOPPY_120, 11, 80, 2, RATE_250K},
    {FLOPPY_120, 9, 40, 2, RATE_300K}, /* 360 kB and less, in a drive that turns at 360 rpm */
    {FLOPPY_120, 9, 40, 1, RATE_300K},
    {FLOPPY_120, 10, 41, 2, RATE_300K},
    {FLOPPY_120, 10, 42, 2, RATE_300K},
    {FLOPPY_120, 8, 40, 2, RATE_250K},
    {FLOPPY_120, 8, 40, 1, RATE_250K},
};

const char *const floppy_type_names[] = {"144", "288", "120", "none", "auto", NULL};

uint8_t fdc_cmos_type(FloppyType type)
{
    switch (type) {
    case FLOPPY_144:
        return 4;
    case FLOPPY_288:
        return 5;
    case FLOPPY_120:
        return 2;
    default:
        return 0;
    }
}

void fdc_type_limits(FloppyType type, uint8_t *cylinder, uint8_t *sector)
{
    *cylinder = *sector = 0;
    for (unsigned i = 0; i < G_N_ELEMENTS(formats); i++) {
        if (formats[i].type == type) {
            *cylinder = MAX(*cylinder, formats[i].tracks - 1);
            *sector = MAX(*sector, formats[i].sectors);
        }
    }
}

/* ---- medium ------------------------------------------------------------------------ */

FdcDrive *fdc_drive(Fdc *s, unsigned number)
{
    return &s->drives[(number & DOR_SELMASK) ^ (s->tdr & 0x04 ? 1 : 0)];
}

bool fdc_drive_inserted(const FdcDrive *drive)
{
    return drive->blk && blk_is_inserted(drive->blk);
}

/* The format of a medium of this many bytes; type AUTO takes any drive's. -1: none has this size.
 */
static int format_of_size(uint64_t bytes, FloppyType type)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(formats); i++) {
        uint64_t size =
            (uint64_t)formats[i].sectors * formats[i].tracks * formats[i].sides * FDC_SECTOR;

        if (size == bytes && (type == FLOPPY_AUTO || formats[i].type == type)) {
            return (int)i;
        }
    }
    return -1;
}

static int first_format(FloppyType type)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(formats); i++) {
        if (formats[i].type == type) {
            return (int)i;
        }
    }
    return -1;
}

void fdc_drive_revalidate(FdcDrive *drive)
{
    FloppyType fallback = (FloppyType)drive->fdc->fallback;
    int found = -1;

    drive->last_sect = drive->max_track = 0;
    drive->sides = 1;
    drive->read_only = true;
    drive->type = !drive->dev                    ? FLOPPY_NONE
                  : drive->wanted == FLOPPY_AUTO ? fallback
                                                 : drive->wanted;
    if (drive->type == FLOPPY_NONE || !fdc_drive_inserted(drive)) {
        return;
    }
    found = format_of_size(blk_size(drive->blk), drive->wanted);
    if (found < 0) {
        found = first_format(drive->type);
    }
    if (drive->wanted == FLOPPY_AUTO) {
        drive->type = (FloppyType)formats[found].type;
    }
    drive->last_sect = formats[found].sectors;
    drive->max_track = formats[found].tracks;
    drive->sides = formats[found].sides;
    drive->media_rate = formats[found].rate;
    drive->read_only = blk_is_read_only(drive->blk);
    trace(fdc_medium, "%u tracks %u sides %u sectors", drive->max_track, drive->sides,
          drive->last_sect);
}

FloppyType fdc_drive_type(Device *fdc, unsigned unit)
{
    Fdc *s = container_of(fdc, Fdc, isa.dev);

    return unit < FDC_DRIVES ? s->drives[unit].type : FLOPPY_NONE;
}

/* ---- position ---------------------------------------------------------------------- */

uint64_t fdc_drive_offset(const FdcDrive *drive, uint8_t head, uint8_t track, uint8_t sect)
{
    if (sect == 0) {
        return UINT64_MAX;
    }
    return (((uint64_t)track * drive->sides + head) * drive->last_sect + sect - 1) * FDC_SECTOR;
}

FdcSeek fdc_drive_seek(FdcDrive *drive, uint8_t head, uint8_t track, uint8_t sect, bool may_move)
{
    FdcSeek result = SEEK_SAME;

    if (track > drive->max_track || head > 1 || (head != 0 && drive->sides < 2)) {
        return SEEK_NO_TRACK;
    }
    if (sect > drive->last_sect) {
        return SEEK_NO_SECTOR;
    }
    if (track != drive->track) {
        if (!may_move) {
            return SEEK_FORBIDDEN;
        }
        if (fdc_drive_inserted(drive)) {
            drive->media_changed = 0; /* a step with a medium in it clears the change line */
        }
        result = SEEK_MOVED;
    }
    drive->head = head;
    drive->track = track;
    drive->sect = sect;
    return result;
}

void fdc_drive_recalibrate(FdcDrive *drive)
{
    fdc_drive_seek(drive, 0, 0, 1, true);
}

/* ---- the device -------------------------------------------------------------------- */

typedef struct Floppy {
    Device dev;
    BlockBackend *blk;
    bool owns_blk; /* made for a drive that began without a medium */
    uint32_t unit;
    int type;
    DiskOptions options; /* no geometry, no policy for errors */
} Floppy;

static FdcDrive *floppy_slot(Floppy *f)
{
    Fdc *s = container_of(f->dev.bus, Fdc, bus);

    return &s->drives[f->unit % FDC_DRIVES];
}

static void floppy_media_changed(void *opaque, bool loaded)
{
    FdcDrive *drive = opaque;

    drive->media_changed = 1;
    fdc_drive_revalidate(drive);
}

static void floppy_resized(void *opaque)
{
    fdc_drive_revalidate(opaque);
}

static const BlkDevOps floppy_blk_ops = {
    .writes_where_it_can = true,
    .media_changed = floppy_media_changed,
    .resized = floppy_resized,
};

/* A free unit, or the one asked for. */
static bool floppy_plug(Bus *bus, Device *dev, GError **err)
{
    Fdc *s = container_of(bus, Fdc, bus);
    Floppy *f = container_of(dev, Floppy, dev);

    if (f->unit == UINT32_MAX) {
        for (f->unit = 0; f->unit < FDC_DRIVES && s->drives[f->unit].dev; f->unit++) {
        }
    }
    if (f->unit >= FDC_DRIVES) {
        return error_set(err, "floppy: unit %u: the controller has units 0 and 1", f->unit);
    }
    if (s->drives[f->unit].dev) {
        return error_set(err, "floppy: unit %u is in use", f->unit);
    }
    return true;
}

static bool check_block_sizes(Floppy *f, GError **err)
{
    DiskOptions *o = &f->options;

    if (!disk_options_check_sizes(o, err)) {
        return false;
    }
    return (o->logical_block_size == 512 && o->physical_block_size == 512) ||
           error_set(err, "floppy: logical_block_size and physical_block_size must be 512");
}

static bool floppy_realize(Device *dev, GError **err)
{
    Floppy *f = container_of(dev, Floppy, dev);
    FdcDrive *drive = floppy_slot(f);
    bool need_write;

    if (f->type == FLOPPY_NONE) {
        return error_set(err, "floppy: drive-type=none: leave the device out instead");
    }
    if (!check_block_sizes(f, err)) {
        return false;
    }
    if (f->blk && !blk_only_reports_errors(f->blk)) {
        return error_set(err, "floppy: drives of this kind report errors to the guest; leave rerror= and werror= of the -drive out");
    }
    f->options.rerror = f->options.werror = BLK_ON_ERROR_AUTO;
    disk_options_need_blk(dev->vm, &f->blk, &f->owns_blk);
    need_write = !blk_is_read_only(f->blk);
    if (!disk_options_attach(&f->options, f->blk, dev, &floppy_blk_ops, drive, need_write, err)) {
        return false;
    }
    drive->dev = dev;
    drive->blk = f->blk;
    drive->wanted = (FloppyType)f->type;
    if (drive->wanted == FLOPPY_AUTO) {
        drive->wanted = (FloppyType)drive->fdc->fdtype[f->unit];
    }
    fdc_drive_revalidate(drive);
    f->type = drive->type; /* what qom-get shows */
    drive->fdc->sra = f->unit == 1 ? drive->fdc->sra & ~0x40 : drive->fdc->sra;
    return true;
}

static void floppy_unrealize(Device *dev)
{
    Floppy *f = container_of(dev, Floppy, dev);
    FdcDrive *drive = floppy_slot(f);

    fdc_abort_transfer(drive->fdc);
    if (f->blk) {
        blk_drain(f->blk);
        blk_detach(f->blk);
    }
    disk_options_drop_empty(dev->vm, &f->blk, &f->owns_blk);
    drive->dev = NULL;
    drive->blk = NULL;
    fdc_drive_revalidate(drive);
}

static char *floppy_fw_path(Bus *bus, Device *dev)
{
    return g_strdup_printf("floppy@%u", container_of(dev, Floppy, dev)->unit);
}

static const Property floppy_props[] = {
    PROP_DRIVE("drive", Floppy, blk, .help = "node name or id of the medium's block device"),
    PROP_U32("unit", Floppy, unit, .def = UINT32_MAX,
             .help = "0 is A:, 1 is B:; default: the first that is free"),
    PROP_ENUM("drive-type", Floppy, type, .type = "FdcDriveType", .def = FLOPPY_AUTO, .values = floppy_type_names,
              .help = "144, 288, 120 or auto (by the medium's size)"),
    DISK_PROPS(Floppy, options, "accepted; floppies know no discard"),
    {}};

DEVICE_TYPE(floppy) = {
    .name = "floppy",
    .parent = "device",
    .desc = "virtual floppy drive",
    .size = sizeof(Floppy),
    .bus = "floppy-bus",
    .category = "storage",
    .props = floppy_props,
    .realize = floppy_realize,
    .unrealize = floppy_unrealize,
};

static const BusOps floppy_bus_ops = {
    .plug = floppy_plug,
    .fw_path = floppy_fw_path,
    .max_devices = FDC_DRIVES,
};

KILN_TYPE(floppy_bus) = {
    .name = "floppy-bus",
    .parent = "bus",
    .desc = "Floppy drives of a controller",
    .size = sizeof(Bus),
    .ops = &floppy_bus_ops,
};
