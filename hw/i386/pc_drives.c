/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Drives that the command line gives to the board's own controllers. */
#include <stdio.h>

#include "block/block.h"
#include "hw/i386/pc.h"
#include "hw/ide/ide.h"

/* A drive device on the bus: unit 0 or 1. */
static bool make_drive(PcMachine *pc, const char *type, const char *bus_name, unsigned unit, DriveInfo *drive, GError **err)
{
    Vm *vm = pc->machine.vm;
    Bus *bus = bus_find(vm, bus_name);
    Device *dev = device_new(vm, type);

    object_set_uint(dev, "unit", unit);
    drive->connected = true;
    if (!bus || !object_set(&dev->obj, "drive", drive->id, err) || !device_realize_board(dev, NULL, bus, err)) {
        return bus ? false : error_set(err, "no bus '%s' for a drive of type %s", bus_name, type);
    }
    return true;
}

static bool connect_floppies(PcMachine *pc, GError **err)
{
    for (int unit = 0; unit < 2; unit++) {
        DriveInfo *drive = blk_drive_get(pc->machine.vm, "floppy", 0, unit);

        if (drive && !make_drive(pc, "floppy", "floppy-bus.0", (unsigned)unit, drive, err)) {
            return false;
        }
    }
    return true;
}

/* Drives of if=virtio get their devices after those of -device (system/startup.c). */
static bool refuse_others(PcMachine *pc, GError **err)
{
    for (unsigned n = 0;; n++) {
        DriveInfo *drive = blk_drive_nth(pc->machine.vm, n);

        if (!drive) {
            return true;
        }
        if (!drive->connected && strcmp(drive->interface, "none") && strcmp(drive->interface, "virtio")) {
            return error_set(err, "%s: machine type does not support this interface or place (if=%s,bus=%d,unit=%d); "
                                  "use if=ide, if=virtio or if=none with -device",
                             drive->asked ? drive->asked : "-drive", drive->interface, drive->bus, drive->unit);
        }
    }
}

bool pc_connect_drives(PcMachine *pc, GError **err)
{
    return ide_connect_drives(pc->ide, err) && connect_floppies(pc, err) && refuse_others(pc, err);
}
