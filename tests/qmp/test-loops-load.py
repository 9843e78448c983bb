#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-loops-load.py KILN: a virtio disk and a SCSI disk, each in an iothread, whose nodes are in one throttle group: while their
requests wait or are under way, limits and groups change, nodes are reopened and resized, and the virtio disk moves to another
thread, the SCSI disk's too. What was written is read back each time."""
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "state"), os.path.join(HERE, "..")]
import busy_virtio as v  # noqa: E402
import scsi_driver as scsi  # noqa: E402
from blk_queues import AT_ONCE, READ, WRITE, start  # noqa: E402
from machine import Machine  # noqa: E402
from tap import main, test  # noqa: E402

KILN = os.path.abspath(sys.argv[1])
PCI_SEL, PCI_EJ = 0xAE10, 0xAE08
SIZE, COMMANDS = 4 << 20, 4
# The SCSI adapter's place beside the virtio disk's.
scsi.RAM, scsi.BAR, scsi.MSIX_BAR, scsi.PORTS = 0x1800000, 0xE2000000, 0xE3000000, 0xC800
VIRTIO = {"driver": "virtio-blk-pci", "id": "disk", "drive": "t0", "addr": "4", "num-queues": 3}


def file_node(n, direct=False):
    return {"driver": "file", "node-name": f"f{n}", "filename": f"image{n}", "cache": {"direct": direct}}


def filter_node(n, group):
    return {"driver": "throttle", "node-name": f"t{n}", "throttle-group": group, "file": f"f{n}"}


def machine(mapping):
    words = ["-nodefaults", "-object", "throttle-group,id=g,x-iops-total=400", "-object", "throttle-group,id=h,x-iops-total=300"]
    for n in range(2):
        with open(f"image{n}", "wb") as f:
            f.truncate(SIZE)
        words += ["-object", f"iothread,id=io{n}", "-blockdev", json.dumps(file_node(n)), "-blockdev", json.dumps(filter_node(n, "g"))]
    return Machine(KILN, [*words, "-device", json.dumps(VIRTIO | mapping), "-device", "virtio-scsi-pci,id=s,addr=5,iothread=io1",
                          "-device", "scsi-hd,drive=t1"])


class Load:
    """Both disks' drivers; a turn's requests write other bytes than the last one's, to the same sectors."""

    def __init__(self, m):
        self.m, self.seed, self.begun = m, 0, []
        self.scsi = scsi.Driver(m, slot=5 << 3)
        self.scsi.start()
        self.scsi.command(bytes(6))     # it was reset
        self.disk_anew()

    def disk_anew(self):
        self.queues = start(self.m)

    def cdb(self, op, i):
        return bytes((op, 0, 0, 0, 0, 7 * i, 0, 0, 8, 0))

    def places(self):
        return [(q, i, (self.seed + 5 * q.index + i) % 255 + 1) for q in self.queues for i in range(AT_ONCE)]

    def begin(self):
        self.seed += 16
        for q, i, fill in self.places():
            q.add(WRITE, 100 * q.index + 20 * i, fill, publish=i == AT_ONCE - 1)
        for q in self.queues:
            q.kick()
        self.begun = []
        for i in range(COMMANDS):
            cdb, data = self.write(i)
            self.begun.append(self.scsi.begin(cdb, out=data, place=i))

    def write(self, i):
        return self.cdb(0x2A, 2 * i), bytes([(self.seed + i) % 255 + 1]) * 4096

    def end_scsi(self):
        """A command that came after a resize was told of it, and is given again."""
        ring = self.scsi.rings[scsi.COMMANDS]
        v.wait(lambda: v.get16(self.m, ring.used + 2) == ring.given & 0xFFFF)
        for _ in range(COMMANDS):
            ring.take()
        self.scsi.command(bytes(6))
        for i, (_, slots, page, *_) in enumerate(self.begun):
            ring.free += slots
            reply = scsi.Reply(self.m.read(page + 0x200, 12 + 96), b"", 0)
            if reply.status == 2 and scsi.sense_text(reply.sense) == "6/2a/09":
                cdb, data = self.write(i)
                reply = self.scsi.command(cdb, out=data)
            assert (reply.response, reply.status) == (0, 0), reply
        for i in range(COMMANDS):
            got = self.scsi.command(self.cdb(0x28, 2 * i), read=4096)
            assert got.data == self.write(i)[1], f"command {i} wrote {self.write(i)[1][:4].hex()}, read {got.data[:4].hex()}"

    def end(self):
        for q in self.queues:
            q.end()
        for q, i, fill in self.places():
            got = self.queues[(q.index + 1) % 3].one(READ, 100 * q.index + 20 * i)
            assert got == bytes([fill]) * 512, f"queue {q.index} wrote {fill:#x}, read {got[:4].hex()}"
        self.end_scsi()


def limit(m, group, iops):
    m.qmp(("qom-set", {"path": f"/objects/{group}", "property": "limits", "value": {"iops-total": iops}}))


def operations(m):
    """What goes on while the requests of a turn wait, or are under way."""
    yield lambda: limit(m, "g", 0)
    yield lambda: limit(m, "g", 600)
    yield lambda: m.qmp(("stop", {}), ("cont", {}))
    for n in range(2):
        yield lambda n=n: m.qmp(("blockdev-reopen", {"options": [filter_node(n, "h")]}))
        yield lambda n=n: m.qmp(("block_resize", {"node-name": f"t{n}", "size": SIZE + (1 << 20)}))
    yield lambda: m.qmp(("blockdev-reopen", {"options": [filter_node(0, "g"), filter_node(1, "g")]}))
    for direct in (True, False):
        yield lambda d=direct: m.qmp(("blockdev-reopen", {"options": [file_node(n, d) for n in range(2)]}))
    yield lambda: m.qmp(("stop", {}), ("blockdev-reopen", {"options": [filter_node(0, "h")]}), ("cont", {}))
    yield lambda: m.qmp(("blockdev-reopen", {"options": [filter_node(0, "g")]}), ("query-named-block-nodes", {}))


MAPPINGS = ({"iothread": "io0"}, {"iothread": "io1"}, {"iothread-vq-mapping": [{"iothread": "io0"}, {"iothread": "io1"}]}, {})


@test
def managers():
    for mapping in MAPPINGS:
        with machine(mapping) as m:
            load = Load(m)
            for _ in range(2):
                for run in operations(m):
                    load.begin()
                    run()
                    load.end()


@test
def moving():
    """The virtio disk goes with its requests, and comes back in another thread: the other disk loses none of its own."""
    with machine({"iothread": "io0"}) as m:
        load = Load(m)
        for turn in range(8):
            limit(m, "g", 400 * (turn & 1))
            load.begin()
            m.qmp(("device_del", {"id": "disk"}))
            m.outl(PCI_SEL, 0)
            m.outl(PCI_EJ, 1 << 4)
            v.wait(lambda: "disk" not in [o["name"] for o in m.qmp(("qom-list", {"path": "/machine/peripheral"}))[0]])
            load.end_scsi()
            for q in load.queues:
                assert not any(status for status in q.statuses() if status != 0xFF), "a request failed"
            m.qmp(("device_add", VIRTIO | MAPPINGS[turn % len(MAPPINGS)]))
            load.disk_anew()
            load.begin()
            load.end()


sys.exit(main("kiln-loops-load."))
