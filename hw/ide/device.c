/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The IDE bus and what plugs into it: ide-hd and ide-cd. And the board's way from -drive if=ide to
 * drives.
 */
#include "hw/ide/ide.h"
#include "util/log.h"

/* ---- the bus -------------------------------------------------------------------------------- */

static IdeDevice *ide_device(Device *dev)
{
    return container_of(dev, IdeDevice, dev);
}

static bool bus_plug(Bus *bus, Device *dev, GError **err)
{
    IdeBus *ide = container_of(bus, IdeBus, bus);
    IdeDevice *device = ide_device(dev);

    if (device->unit == UINT32_MAX) {
        device->unit = ide->ifs[0].device ? 1 : 0;
    }
    if (device->unit > 1) {
        return error_set(err, "Can't create IDE unit %u, bus supports only 2 units", device->unit);
    }
    if (ide->ifs[device->unit].device) {
        return error_set(err, "IDE unit %u is in use", device->unit);
    }
    return true;
}

static char *bus_fw_path(Bus *bus, Device *dev)
{
    return g_strdup_printf("drive@%x/disk@%x", container_of(bus, IdeBus, bus)->index,
                           ide_device(dev)->unit);
}

static const BusOps bus_ops = {.plug = bus_plug, .fw_path = bus_fw_path, .max_devices = 2};

/* ---- back end callbacks --------------------------------------------------------------------- */

static void resized(void *opaque)
{
    IdeDrive *d = opaque;

    d->sectors = blk_size(d->blk) / IDE_SECTOR;
    d->identify_set = 0; /* made anew when it is asked for */
}

static void media_changed(void *opaque, bool loaded)
{
    ide_atapi_media_changed(opaque, loaded);
}
static bool is_tray_open(void *opaque)
{
    return ((IdeDrive *)opaque)->tray_open;
}

static void eject_request(void *opaque, bool force)
{
    IdeDrive *d = opaque;

    d->eject_request = true;
    if (force) {
        d->tray_locked = false;
    }
}

static const BlkDevOps disk_ops = {.resized = resized, .retry = ide_retry};
static const BlkDevOps cdrom_ops = {
    .resized = resized,
    .media_changed = media_changed,
    .is_tray_open = is_tray_open,
    .eject_request = eject_request,
    .retry = ide_retry,
};

/* ---- realize -------------------------------------------------------------------------------- */

static bool set_geometry(IdeDevice *device, IdeDrive *d, GError **err)
{
    DiskOptions *o = &device->options;

    if (!o->cyls && !o->heads && !o->secs) {
        ide_guess_geometry(d, &o->cyls, &o->heads, &o->secs, &device->chs_trans);
    } else if (device->chs_trans == IDE_TRANS_AUTO) {
        device->chs_trans =
            o->cyls <= 1024 && o->heads <= 16 && o->secs <= 63 ? IDE_TRANS_NONE : IDE_TRANS_LBA;
    }
    d->cylinders = o->cyls;
    d->heads = o->heads;
    d->secs = o->secs;
    return disk_options_set_geometry(o, d->blk, 16, err);
}

static bool set_block_sizes(IdeDevice *device, IdeDrive *d, GError **err)
{
    if (!disk_options_check_sizes(&device->options, err)) {
        return false;
    }
    if (device->options.logical_block_size != IDE_SECTOR) {
        return error_set(err, "logical_block_size must be 512 for IDE");
    }
    d->physical_exponent = (uint8_t)__builtin_ctzll(device->options.physical_block_size / IDE_SECTOR);
    return true;
}

static bool set_names(IdeDevice *device, IdeDrive *d, GError **err)
{
    const char *model = device->model       ? device->model
                        : d->kind == IDE_CD ? "QEMU DVD-ROM"
                                            : "QEMU HARDDISK";

    if (device->serial && strlen(device->serial) > 20) {
        return error_set(err, "serial='%s' is longer than 20 characters", device->serial);
    }
    if (device->serial) {
        g_strlcpy(d->serial, device->serial, sizeof d->serial);
    } else {
        g_snprintf(d->serial, sizeof d->serial, "QM%05u", d->bus->index * 2u + d->unit + 1);
    }
    g_strlcpy(d->model, model, sizeof d->model);
    g_strlcpy(d->version, device->version ? device->version : "2.5+", sizeof d->version);
    d->wwn = device->wwn;
    d->rotation_rate = device->rotation_rate_prop;
    return true;
}

static void unplug_drive(IdeDevice *device)
{
    IdeBus *bus = container_of(device->dev.bus, IdeBus, bus);
    IdeDrive *d = &bus->ifs[device->unit];

    if (blk_is_alive(device->dev.vm, d->blk)) {
        ide_cancel(d);
        blk_detach(d->blk);
    }
    d->request = NULL;
    iov_vec_clear(&d->dma_vec);
    g_free(d->io_buffer);
    *d = (IdeDrive){.bus = bus, .unit = (uint8_t)device->unit};
    ide_drive_reset(d);
}

static bool attach(IdeDevice *device, IdeDrive *d, GError **err)
{
    const bool is_disk = d->kind == IDE_HD;

    if (!disk_options_attach(&device->options, device->blk, &device->dev, is_disk ? &disk_ops : &cdrom_ops, d, is_disk,
                             err)) {
        return false;
    }
    d->blk = device->blk;
    return true;
}

static bool plug_drive(IdeDevice *device, IdeKind kind, GError **err)
{
    IdeBus *bus = container_of(device->dev.bus, IdeBus, bus);
    IdeDrive *d = &bus->ifs[device->unit];

    if (!device->blk && kind == IDE_HD) {
        return error_set(err, "No drive specified: ide-hd needs drive=ID of a -drive or -blockdev");
    }
    disk_options_need_blk(device->dev.vm, &device->blk, &device->owns_blk);
    if (kind == IDE_HD && !blk_check_disk(device->blk, err)) {
        return false;
    }
    if (kind == IDE_HD && blk_size(device->blk) == 0) {
        return error_set(err, "Device needs media, but image '%s' is empty (0 bytes); "
                              "is it the right file? 'qemu-img create' makes one with a size", blk_filename(device->blk));
    }
    d->kind = kind;
    if (!attach(device, d, err)) {
        d->kind = IDE_NONE;
        return false;
    }
    d->device = device;
    d->sectors = blk_size(d->blk) / IDE_SECTOR;
    d->io_buffer = g_malloc0(IDE_BUFFER_SIZE);
    d->trim = kind == IDE_HD && device->options.discard_granularity != 0;
    if (!set_block_sizes(device, d, err) || !set_names(device, d, err) ||
        (kind == IDE_HD && !set_geometry(device, d, err))) {
        unplug_drive(device);
        return false;
    }
    ide_drive_reset(d);
    return true;
}

static bool hd_realize(Device *dev, GError **err)
{
    return plug_drive(ide_device(dev), IDE_HD, err);
}
static bool cd_realize(Device *dev, GError **err)
{
    return plug_drive(ide_device(dev), IDE_CD, err);
}

static void ide_unrealize(Device *dev)
{
    IdeDevice *device = ide_device(dev);

    unplug_drive(device);
    disk_options_drop_empty(dev->vm, &device->blk, &device->owns_blk);
}

/* ---- for boards ----------------------------------------------------------------------------- */

bool ide_get_geometry(IdeBus *bus, unsigned unit, uint32_t *cylinders, uint32_t *heads,
                      uint32_t *sectors, IdeTranslation *translation)
{
    const IdeDrive *d = &bus->ifs[unit];

    if (d->kind != IDE_HD) {
        return false;
    }
    *cylinders = d->cylinders;
    *heads = d->heads;
    *sectors = d->secs;
    *translation = (IdeTranslation)d->device->chs_trans;
    return true;
}

static bool connect_drive(Device *piix, DriveInfo *info, GError **err)
{
    Device *dev;

    if (info->bus > 1 || info->unit > 1) {
        return error_set(
            err,
            "%s: bus %d, unit %d: this machine has two IDE buses of two drives; use index=0 to 3",
            info->asked ? info->asked : "-drive", info->bus, info->unit);
    }
    dev = device_new(piix->vm, info->is_cdrom ? "ide-cd" : "ide-hd");
    object_set_uint(dev, "unit", (uint64_t)info->unit);
    object_set_str(dev, "drive", info->id);
    if (!device_realize(dev, &ide_pci_bus(piix, (unsigned)info->bus)->bus, err)) {
        g_prefix_error(err, "%s: ", info->asked ? info->asked : info->id);
        object_unref(dev);
        return false;
    }
    return true;
}

bool ide_connect_drives(Device *piix, GError **err)
{
    DriveInfo *info;

    /* In order of their places, whatever the order on the command line; then those that have none. */
    for (int place = 0; place < 4; place++) {
        info = blk_drive_get(piix->vm, "ide", place / 2, place % 2);
        if (info && !info->connected && !connect_drive(piix, info, err)) {
            return false;
        }
    }
    for (unsigned i = 0; (info = blk_drive_nth(piix->vm, i)); i++) {
        if (!strcmp(info->interface, "ide") && !info->connected &&
            !connect_drive(piix, info, err)) {
            return false;
        }
    }
    return true;
}

/* ---- what users and managers see ------------------------------------------------------------ */

static const char *const translation_names[] = {"auto", "none", "lba", "large", "rechs", NULL};

static const Property ide_props[] = {
    PROP_DRIVE("drive", IdeDevice, blk,
               .help = "Node name or ID of a block device to use as a backend"),
    PROP_U32("unit", IdeDevice, unit, .def = UINT32_MAX,
             .help = "0 or 1; default: the first that is free"),
    DISK_PROPS(IdeDevice, options, "0: no TRIM"),
    DISK_ERROR_PROPS(IdeDevice, options),
    PROP_STRING("ver", IdeDevice, version, .help = "firmware version, up to 8 characters"),
    PROP_U64("wwn", IdeDevice, wwn, .help = "World Wide Name; 0: none"),
    PROP_STRING("serial", IdeDevice, serial, .help = "up to 20 characters"),
    PROP_STRING("model", IdeDevice, model, .help = "up to 40 characters"),
    PROP_I32("bootindex", IdeDevice, bootindex, .def = (uint64_t)-1, .anytime = true,
             .help = "place in the boot order; -1: none"),
    {}};

static const Property hd_props[] = {
    DISK_GEOMETRY_PROPS(IdeDevice, options),
    PROP_ENUM("bios-chs-trans", IdeDevice, chs_trans, .type = "BiosAtaTranslation", .values = translation_names,
              .help = "Logical CHS translation algorithm, auto/none/lba/large/rechs"),
    PROP_U16("rotation_rate", IdeDevice, rotation_rate_prop,
             .help = "turns a minute; 1: no rotating parts; 0: not said"),
    {}};

KILN_TYPE(ide_bus) = {
    .name = "IDE",
    .parent = "bus",
    .size = sizeof(Bus),
    .ops = &bus_ops,
};

DEVICE_TYPE(ide_device) = {
    .name = "ide-device",
    .parent = "device",
    .size = sizeof(IdeDevice),
    .abstract = true,
    .bus = "IDE",
    .category = "storage",
    .props = ide_props,
    .unrealize = ide_unrealize,
};

DEVICE_TYPE(ide_hd) = {
    .name = "ide-hd",
    .parent = "ide-device",
    .desc = "virtual IDE disk",
    .props = hd_props,
    .realize = hd_realize,
};

DEVICE_TYPE(ide_cd) = {
    .name = "ide-cd",
    .parent = "ide-device",
    .desc = "virtual IDE CD-ROM",
    .realize = cd_realize,
};
