# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios of busy.py: SCSI units that a driver uses through virtio-scsi."""
import scsi_driver as scsi
from scenario import scenario

HD = ("-nodefaults", "-drive", "if=none,id=d,driver=null-co,read-zeroes=on,size=64M", "-device", "virtio-scsi-pci,addr=4,id=s",
      "-device", "scsi-hd,drive=d,serial=x")
DRIVERS = {}


def run(m, *cdbs, unit=(0, 0), room=64):
    driver = DRIVERS[id(m)]
    replies = [driver.command(bytes(cdb), target=unit[0], lun=unit[1], read=room) for cdb in cdbs]
    # QEMU counts memory behind the data, too.
    return [(r.response, r.status, r.sense.hex(), r.data.rstrip(b"\0\xee").hex()) for r in replies]


def driver_of(m, given):
    """A driver that goes on with rings on which so many commands were given."""
    driver = scsi.Driver.__new__(scsi.Driver)
    driver.m, driver.slot, driver.tag = m, scsi.SLOT, 1000
    driver.rings = [scsi.Ring(driver, i) for i in range(3)]
    for ring, count in zip(driver.rings, given):
        ring.given = ring.seen = count
        # Which descriptors are free does not matter to the device; they are reused in turn.
        ring.free = [(2 * count + i) % ring.size for i in range(ring.size)]
    DRIVERS[id(m)] = driver
    return driver


@scenario("scsi-disk behind virtio-scsi, commands done, sense data kept", *HD)
class _:
    def drive(m):
        driver = DRIVERS[id(m)] = scsi.Driver(m)
        driver.start(scsi.VERSION_1 | scsi.HOTPLUG)
        m.read(scsi.BAR + 0x2000, 36)        # QEMU fills what it saves when it is read
        run(m, bytes(6), bytes(6), bytes((0x12, 0, 0, 0, 64, 0)), bytes((0x28, 0, 0xFF, 0, 0, 0, 0, 0, 1, 0)), room=512)
        driver.tmf(5)
        run(m, bytes((0x12, 0, 0, 0, 64, 0)))

    def probe(m):
        driver_of(m, (1, 0, 5))
        return run(m, bytes(6), bytes(6), bytes((0x12, 0, 0, 0, 64, 0)), bytes((0x1A, 0, 8, 0, 64, 0)))


@scenario("scsi-disk of a CD drive, its tray open", *HD, "-device", "scsi-cd,scsi-id=3,id=c")
class _:
    def drive(m):
        DRIVERS[id(m)] = scsi.Driver(m)
        DRIVERS[id(m)].start(scsi.VERSION_1)
        m.read(scsi.BAR + 0x2000, 36)
        run(m, bytes(6), bytes((0x1B, 0, 0, 0, 2, 0)), bytes((0x4A, 1, 0, 0, 0x10, 0, 0, 0, 64, 0)), unit=(3, 0))

    def probe(m):
        driver_of(m, (0, 0, 3))
        return run(m, bytes(6), bytes((0x4A, 1, 0, 0, 0x10, 0, 0, 0, 64, 0)), bytes((0x1E, 0, 0, 0, 1, 0)),
                   bytes((0x1B, 0, 0, 0, 3, 0)), bytes((0x1B, 0, 0, 0, 2, 0)), unit=(3, 0))
