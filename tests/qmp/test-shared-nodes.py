#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-shared-nodes.py KILN: a virtio disk in its thread and drives of the main loop (IDE disk, IDE CD, floppy) on one node:
who comes first does not matter, each sees what the others wrote, and what managers and drivers do to one of them meanwhile
loses nothing of the other's."""
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "state"), os.path.join(HERE, "..")]
import busy_virtio as v  # noqa: E402
from blk_queues import FLUSH, QUEUES, READ, WRITE, start  # noqa: E402
from ide_driver import BUSY, DMA_DATA, DRQ, ERR, dma_end, dma_start, ide_read, ide_start, ide_wait, ide_write  # noqa: E402
from machine import Machine  # noqa: E402
from tap import main, test  # noqa: E402

KILN = os.path.abspath(sys.argv[1])
PCI_SEL, PCI_EJ = 0xAE10, 0xAE08
MANY = 128      # sectors that one entry of the table has room for
MINE = 1000     # the IDE disk's own sectors begin here; QUEUES and their fill() stay below
IOTHREAD = ["-object", "iothread,id=io0"]
VIRTIO = {"driver": "virtio-blk-pci", "id": "disk", "drive": "d", "addr": "4", "num-queues": QUEUES, "share-rw": True}
IDE = {"driver": "ide-hd", "id": "ide", "drive": "d", "bus": "ide.0", "unit": 0, "share-rw": True}


def node(kind="raw"):
    with open("image", "wb") as f:
        f.truncate(4 << 20)
    file = {"driver": "file", "node-name": "f", "filename": "image"}
    return {"driver": kind, "node-name": "d", "image" if kind == "blkdebug" else "file": file}


def machine(devices, nodes=None):
    words = ["-nodefaults", *IOTHREAD, "-blockdev", json.dumps(nodes or node())]
    for device in devices:
        words += ["-device", json.dumps(device)]
    return Machine(KILN, words)


# ---- a driver of the CD drive ------------------------------------------------------------------------------------------


def cd_packet(m, *words):
    """The first two bytes are a word. What it answers; nothing when it fails."""
    for port, value in ((0x176, 0xA0), (0x171, 0), (0x174, 0), (0x175, 8), (0x177, 0xA0)):
        m.outb(port, value)
    v.wait(lambda: m.inb(0x376) & (BUSY | DRQ) == DRQ)
    for word in words:
        m.outw(0x170, word)
    data = b""
    while True:
        v.wait(lambda: not m.inb(0x376) & BUSY)
        if not m.inb(0x376) & DRQ:
            return data
        data += m.inw(0x170).to_bytes(2, "little")


def cd_read(m):
    """The CD's first block; nothing: there is no medium."""
    data = cd_packet(m, 0x28, 0, 0, 0, 1, 0)
    if not data:
        cd_packet(m, 3, 0, 18, 0, 0, 0)     # REQUEST SENSE: what had to be told
    return data


def eject(m, name, slot):
    m.qmp(("device_del", {"id": name}))
    m.outl(PCI_SEL, 0)
    m.outl(PCI_EJ, 1 << slot)
    v.wait(lambda: name not in [o["name"] for o in m.qmp(("qom-list", {"path": "/machine/peripheral"}))[0]])


# ---- tests ---------------------------------------------------------------------------------------------------------------


def see_each_other(m, queues, turn=0):
    for n in range(3):
        queues[n].one(WRITE, n, turn + n + 1)
        assert ide_read(m, n) == bytes([turn + n + 1]) * 512
        ide_write(m, MINE + n, turn + 7 * n + 1)
        assert queues[n].one(READ, MINE + n) == bytes([turn + 7 * n + 1]) * 512
        queues[n].one(FLUSH, 0)
    dma_start(m, MINE + 100, turn + 50)
    dma_end(m)
    assert queues[1].one(READ, MINE + 107) == bytes([turn + 50]) * 512


@test
def both_orders():
    """Whoever comes first, with a thread that is named or Kiln's own, on nodes that take requests in any loop and others."""
    for kind in ("raw", "blkdebug"):
        for order in ((VIRTIO, IDE), (IDE, VIRTIO)):
            for more in ({}, {"iothread": "io0"}):
                with machine([d | more if d is VIRTIO else d for d in order], node(kind)) as m:
                    see_each_other(m, start(m))
                    for stats in m.qmp(("query-blockstats", {}))[0]:
                        assert stats["stats"]["wr_operations"] in (3, 4), stats
                    if more:
                        assert "in use" in m.error_of("object-del", id="io0")


def operations(m):
    yield lambda: m.qmp(("stop", {}), ("cont", {}))
    yield lambda: m.qmp(("blockdev-add", {"driver": "raw", "node-name": "g", "file": "f"}), ("blockdev-del", {"node-name": "g"}))
    yield lambda: m.qmp(("block_resize", {"node-name": "d", "size": 5 << 20}))
    yield lambda: m.qmp(("block-dirty-bitmap-add", {"node": "d", "name": "b"}), ("query-block", {}), ("query-blockstats", {}))
    yield lambda: m.qmp(("block-dirty-bitmap-remove", {"node": "d", "name": "b"}))
    for name in ("disk/virtio-backend", "ide"):
        for iops in (100000, 0):
            limits = {"bps": 0, "bps_rd": 0, "bps_wr": 0, "iops": iops, "iops_rd": 0, "iops_wr": 0}
            yield lambda l=limits, n=name: m.qmp(("block_set_io_throttle", {"id": "/machine/peripheral/" + n, **l}))
    for direct in (True, False):
        file = {"driver": "file", "node-name": "f", "filename": "image", "cache": {"direct": direct}}
        yield lambda f=file: m.qmp(("blockdev-reopen", {"options": [f]}))


@test
def managers():
    """Traffic on both while managers stop, resize, record, limit and reopen."""
    with machine([VIRTIO, IDE]) as m:
        queues = start(m)
        for turn in range(2):
            for n, run in enumerate(operations(m)):
                for q in queues:
                    q.fill(turn * 16 + n)
                dma_start(m, MINE + 8 * n, turn * 16 + n + 1, MANY)
                run()
                dma_end(m)
                for q in queues:
                    q.end()
                dma_start(m, MINE + 8 * n, count=MANY)
                dma_end(m)
                assert m.read(DMA_DATA, MANY * 512) == bytes([turn * 16 + n + 1]) * (MANY * 512)
        see_each_other(m, queues)
        assert not ide_wait(m) & ERR
        ide_start(m, 0xEC, 0)   # IDENTIFY tells the new size
        ide_wait(m)
        words = [m.inw(0x1F0) for _ in range(256)]
        assert words[60] | words[61] << 16 == 5 << 11, words[60:62]


@test
def two_threads():
    """A node over nodes that are in two iothreads is refused; one over one of them is made, and the disks go on."""
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "over", "4M"], check=True)
    with open("image", "wb") as f:
        f.truncate(4 << 20)
    words = ["-nodefaults", *IOTHREAD, "-object", "iothread,id=io1"]
    for name, file, disk in (("d", "image", {**VIRTIO, "iothread": "io0"}),
                             ("e", "over", {"driver": "virtio-blk-pci", "drive": "e", "iothread": "io1", "share-rw": True})):
        words += ["-blockdev", json.dumps({"driver": "file", "node-name": name, "filename": file, "read-only": True}),
                  "-device", json.dumps(disk)]
    with Machine(KILN, words) as m:
        queues = start(m)
        for _ in range(20):
            for q in queues:
                q.begin(READ, 0)
            why = m.error_of("blockdev-add", driver="qcow2", backing="d", file="e", **{"node-name": "q", "read-only": True})
            assert "'d' is in use in another iothread" in why, why
            m.qmp(("blockdev-add", {"driver": "raw", "node-name": "q", "file": "d", "read-only": True}),
                  ("blockdev-del", {"node-name": "q"}))
            for q in queues:
                q.end()


@test
def overlays():
    """Both disks go over to an overlay while they work, in one thread and in two, and with transactions that fail."""
    for kind in ("raw", "blkdebug"):
        for thread in ({}, {"iothread": "io0"}):
            with machine([VIRTIO | thread, IDE], node(kind)) as m:
                queues, top = start(m), "d"
                for turn in range(4):
                    over = f"o{turn}"
                    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", over, "4M"], check=True)
                    m.qmp(("blockdev-add", {"driver": "qcow2", "node-name": over, "backing": None,
                                            "file": {"driver": "file", "filename": over}}))
                    step = {"type": "blockdev-snapshot", "data": {"node": top, "overlay": over}}
                    for fails in (True, False):
                        for q in queues:
                            q.fill(turn + 1)
                        dma_start(m, MINE + 8 * turn, turn + 1, MANY)
                        if fails:
                            why = m.error_of("transaction", actions=[step, {"type": "abort", "data": {}}])
                            assert "aborted" in why, why
                        else:
                            m.qmp(("transaction", {"actions": [step]}))
                        dma_end(m)
                        for q in queues:
                            q.end()
                    dma_start(m, MINE + 8 * turn, count=MANY)
                    dma_end(m)
                    assert m.read(DMA_DATA, MANY * 512) == bytes([turn + 1]) * (MANY * 512)
                    see_each_other(m, queues, 10 * turn)
                    top = over


@test
def resets():
    """Of either disk and of the machine, in the middle."""
    with machine([VIRTIO, IDE]) as m:
        for turn in range(12):
            queues = start(m)
            for q in queues:
                q.fill(turn)
            dma_start(m, MINE, turn + 1, MANY)
            if turn % 4 == 0:
                m.outb(0x3F6, 4)
                m.outb(0x3F6, 0)
            elif turn % 4 == 1:
                m.outb(0xC100, 0)   # the bus master stops
                m.outb(0x3F6, 4)
                m.outb(0x3F6, 0)
            elif turn % 4 == 2:
                v.modern_common(m, 20, 1, 0)
                dma_end(m)
                assert ide_read(m, MINE + MANY - 1) == bytes([turn + 1]) * 512
            else:
                m.qmp(("system_reset", {}))
            if turn % 4 < 2:
                for q in queues:
                    q.end()
        see_each_other(m, start(m))


@test
def plugging():
    """The virtio disk comes and goes under the IDE disk's traffic, and its iothread with it; the IDE disk's drive goes."""
    with machine([IDE]) as m:
        for turn in range(4):
            if turn:
                m.qmp(("object-add", {"qom-type": "iothread", "id": "io0"}))
            dma_start(m, MINE, turn + 1, MANY)
            m.qmp(("device_add", VIRTIO | ({"iothread": "io0"} if turn % 2 == 0 else {})))
            dma_end(m)
            queues = start(m)
            see_each_other(m, queues, turn)
            for q in queues:
                q.fill(turn)
            dma_start(m, MINE, turn + 1, MANY)
            eject(m, "disk", 4)
            dma_end(m)
            assert ide_read(m, MINE + MANY - 1) == bytes([turn + 1]) * 512
            m.qmp(("object-del", {"id": "io0"}))


@test
def drive_goes():
    """drive_del takes the medium from the IDE disk; the virtio disk goes on."""
    with open("image", "wb") as f:
        f.truncate(4 << 20)
    words = ["-nodefaults", "-drive", "if=none,id=e,format=raw,file.driver=file,file.filename=image,file.node-name=f",
             "-device", json.dumps(IDE | {"drive": "e"})]
    with Machine(KILN, words) as m:
        m.qmp(("blockdev-add", {"driver": "raw", "node-name": "d", "file": "f"}), ("device_add", VIRTIO))
        queues = start(m)
        see_each_other(m, queues)
        for q in queues:
            q.fill(3)
        dma_start(m, MINE, 9, MANY)
        m.qmp(("human-monitor-command", {"command-line": "drive_del e"}))
        for q in queues:
            q.end()
        ide_start(m, 0x20, 5)
        assert ide_wait(m) & ERR
        assert queues[0].one(READ, MINE + MANY - 1) in (bytes(512), bytes([9]) * 512)


@test
def error_stop():
    """A write of the IDE disk stops the machine, and is tried again in the main loop."""
    file = {"driver": "null-co", "read-zeroes": True, "size": 1 << 20}
    nodes = {"driver": "blkdebug", "node-name": "d", "image": file,
             "inject-error": [{"event": "none", "iotype": "write", "errno": 28, "once": True}]}
    with machine([VIRTIO, IDE | {"werror": "stop"}], nodes) as m:
        queues = start(m)
        dma_start(m, MINE, 1)
        v.wait(lambda: m.qmp(("query-status", {}))[0]["status"] == "io-error")
        m.qmp(("cont", {}))
        dma_end(m)
        queues[0].one(WRITE, 4, 2)
        ide_write(m, MINE, 3)


@test
def states():
    """A state saved in the middle goes on in another machine, where the order was the other one."""
    with machine([VIRTIO, IDE]) as m, machine([IDE, VIRTIO]) as n:
        queues = start(m)
        queues[0].one(WRITE, 1, 11)
        ide_start(m, 0x20, 1, 2)
        ide_wait(m)
        first = [m.inw(0x1F0) for _ in range(100)]
        m.qmp(("stop", {}))
        n.qmp(("stop", {}))
        refused = n.load(m.save())
        assert refused is None, refused
        n.qmp(("cont", {}))
        assert first + [n.inw(0x1F0) for _ in range(156)] == [0x0B0B] * 256
        ide_wait(n)
        assert [n.inw(0x1F0) for _ in range(256)] == [0] * 256
        ide_write(n, MINE, 5)


@test
def media():
    """A floppy and a CD whose medium a virtio disk has in its thread: in, out, changed."""
    with open("image", "wb") as f:
        f.write(b"\1" * 512 + bytes(1474560 - 512))
    words = ["-nodefaults", "-blockdev", "driver=file,node-name=f,filename=image",
             "-blockdev", "driver=raw,node-name=d,file=f", "-blockdev", "driver=raw,node-name=e,file=f,read-only=on",
             "-blockdev", "driver=raw,node-name=h,file=f",
             "-device", json.dumps(VIRTIO), "-device", "ide-cd,id=cd,bus=ide.1,drive=e,share-rw=on", "-device", "floppy,id=fd,share-rw=on"]
    with Machine(KILN, words) as m:
        queues = start(m)
        for turn in range(4):
            for q in queues:
                q.begin(READ, 0)
            m.qmp(("blockdev-open-tray", {"id": "cd"}), ("blockdev-remove-medium", {"id": "cd"}),
                  ("blockdev-insert-medium", {"id": "fd", "node-name": "h"}), ("query-block", {}))
            for q in queues:
                q.end()
            if turn == 1:
                m.qmp(("blockdev-add", {"driver": "raw", "node-name": "g", "file": "f", "read-only": True}))
            m.qmp(("eject", {"id": "fd"}), ("blockdev-insert-medium", {"id": "cd", "node-name": "e"}),
                  ("blockdev-close-tray", {"id": "cd"}))
            queues[turn % 3].one(WRITE, 1, turn)
            v.wait(lambda: cd_read(m))
            assert cd_read(m)[:1024] == b"\1" * 512 + bytes([turn]) * 512
        eject(m, "disk", 4)
        m.qmp(("eject", {"id": "cd", "force": True}))


sys.exit(main("kiln-shared-nodes."))
