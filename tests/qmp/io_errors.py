# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks whose requests fail, and what a manager and a driver see of one such request."""
import json
import re

import busy_virtio as v
import scsi_driver as scsi
from blk_queues import WRITE, start
from oracle import running
from qmpclient import Connection

GEOMETRY = "cyls=16,heads=16,secs=63"       # guessing it would read
VIRTIO, SCSI, IDE = "virtio-blk-pci,addr=4", "scsi-hd", "ide-hd,bus=ide.0,unit=0"
EVENTS = ("BLOCK_IO_ERROR", "STOP", "RESUME")


def rules(iotype, codes, once=True, **more):
    """blkdebug's: so many requests of this kind fail, one after the other."""
    return [{"event": "none", "iotype": iotype, "errno": code, "once": once, **more} for code in codes]


def device_args(device, policy):
    adapter = ["-device", "virtio-scsi-pci,id=s,addr=4"] if device == SCSI else []
    return ["-nodefaults", *adapter, "-device", f"{device},id=disk,drive=d,{GEOMETRY},{policy}"]


def failing_image(inject):
    return {"driver": "blkdebug", "image": {"driver": "null-co", "read-zeroes": True, "size": 64 << 20}, "inject-error": inject}


def drive_args(device, policy, inject, more=""):
    """The disk is a -drive: QEMU 7.2 forgets the status of those at cont, and not that of others."""
    image = "json:" + json.dumps(failing_image(inject)).replace(",", ",,")
    return ["-drive", f"if=none,id=d,discard=unmap,file={image}{more}", *device_args(device, policy)]


def scsi_command(m, cdb, after=None, **data):
    """Begins it, after another one has ended; the function gives its end, or None before that."""
    driver = scsi.Driver(m)
    driver.start()
    driver.command(bytes(6))        # it was reset
    if after:
        driver.command(after, out=b"x" * 512)
    begun = driver.begin(cdb, **data)
    ring = driver.rings[scsi.COMMANDS]

    def status():
        if v.get16(m, ring.used + 2) == ring.seen:
            return None
        reply = driver.end(begun)
        return reply.response, reply.status, scsi.sense_text(reply.sense)
    status.driver = driver
    return status


def virtio_writes(m, *sectors):
    """Begins them together; the queue."""
    queue = start(m, 1)[0]
    for sector in sectors:
        queue.add(WRITE, sector, 1)
    queue.kick()
    return queue


class Manager:
    """A monitor's client that notes what comes."""

    def __init__(self, m):
        self.c = Connection(m.qmp_path).negotiate()

    def status(self):
        return self.c.do("query-status")["status"]

    def disks(self):
        return [b.get("io-status") for b in self.c.do("query-block")]

    def events(self):
        """Those since the last time; the names that nodes were given are left out."""
        self.c.do("query-status")
        events = [(e["event"], e.get("data")) for e in self.c.events if e["event"] in EVENTS]
        self.c.events = []
        for _, data in events:
            if data and re.fullmatch("#block[0-9]+", data.get("node-name", "")):
                data["node-name"] = "#block"
        return events

    def wait(self, *states):
        v.wait(lambda: self.status() in states)


def until_done(program, args, begin):
    """All that is seen of a request: it is tried again as often as it stops the machine."""
    seen = []
    with running(program, args) as m:
        manager = Manager(m)
        status = begin(m)
        got = [None]

        def settled():
            got[0] = got[0] or status() if manager.status() == "running" else None
            return got[0] is not None or manager.status() == "io-error"
        while True:
            v.wait(settled)
            seen.append((got[0], manager.events(), manager.status(), manager.disks()))
            if manager.status() != "io-error":
                break
            assert len(seen) < 10, seen
            manager.c.do("cont")
        manager.c.close()
    return seen
