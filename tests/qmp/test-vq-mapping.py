#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-vq-mapping.py KILN: a virtio disk whose queues run in several threads (iothread-vq-mapping, and by default): each queue
sees what the others wrote, and what managers and drivers do to the disk meanwhile loses and doubles nothing."""
import json
import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "state"), os.path.join(HERE, "..")]
import busy_virtio as v  # noqa: E402
from blk_queues import FLUSH, QUEUES, READ, WRITE, start  # noqa: E402
from machine import Machine  # noqa: E402
from tap import main, test  # noqa: E402
from vq_mapping import check_refusals  # noqa: E402

KILN = os.path.abspath(sys.argv[1])
IOTHREADS = ["-object", "iothread,id=io0,poll-max-ns=50000", "-object", "iothread,id=io1,poll-max-ns=0"]
NAMED = [{"iothread": "io0", "vqs": [0, 2]}, {"iothread": "io1", "vqs": [1]}]
IN_TURN = [{"iothread": "io1"}, {"iothread": "io0"}]
PCI_SEL, PCI_EJ = 0xAE10, 0xAE08


def device(mapping=None, **more):
    d = {"driver": "virtio-blk-pci", "id": "disk", "drive": "d", "addr": "4", "num-queues": QUEUES, **more}
    if mapping is not None:
        d["iothread-vq-mapping"] = mapping
    return d


def args(node, *dev, **more):
    return ["-nodefaults", *IOTHREADS, "-blockdev", json.dumps(node), "-device", json.dumps(device(*dev, **more))]


class Image:
    """Nodes of all sorts: those that take requests in any loop, and others."""

    def __init__(self):
        self.dir = tempfile.TemporaryDirectory()

    def __enter__(self):
        self.path = os.path.join(self.dir.name, "image")
        with open(self.path, "wb") as f:
            f.truncate(1 << 20)
        raw = {"driver": "raw", "node-name": "d", "file": {"driver": "file", "node-name": "f", "filename": self.path}}
        self.nodes = {"raw": raw, "blkdebug": {"driver": "blkdebug", "node-name": "d", "image": raw["file"]}}
        return self

    def __exit__(self, *_):
        self.dir.cleanup()


def each_sees_all(m):
    queues = start(m)
    for turn in range(9):
        queues[turn % 3].one(WRITE, turn, turn + 1)
        assert queues[(turn + 1) % 3].one(READ, turn) == bytes([turn + 1]) * 512
        queues[(turn + 2) % 3].one(FLUSH, 0)


@test
def data():
    """Through all queues, in threads that are named, given in turn, one, and Kiln's own."""
    with Image() as image:
        for node in image.nodes.values():
            for mapping, more in ((NAMED, {}), (IN_TURN, {}), (None, {"iothread": "io1"}), (None, {})):
                with Machine(KILN, args(node, mapping, **more)) as m:
                    each_sees_all(m)
                    stats = m.qmp(("query-blockstats", {}))[0][0]["stats"]
                    assert (stats["wr_operations"], stats["rd_operations"]) == (9, 9), stats
                    assert stats["wr_bytes"] == 9 * 512 and stats["flush_operations"] == 9, stats


def operations(m, image, node):
    """What is done while requests are on their way."""
    yield lambda: m.qmp(("stop", {}), ("cont", {}))
    yield lambda: m.qmp(("block_resize", {"node-name": "d", "size": 2 << 20}))
    yield lambda: m.qmp(("block-dirty-bitmap-add", {"node": "d", "name": "b"}))
    yield lambda: m.qmp(("query-blockstats", {}), ("query-block", {}))
    yield lambda: m.qmp(("block-dirty-bitmap-remove", {"node": "d", "name": "b"}))
    for iops in (100000, 0):
        limits = {"bps": 0, "bps_rd": 0, "bps_wr": 0, "iops": iops, "iops_rd": 0, "iops_wr": 0}
        yield lambda l=limits: m.qmp(("block_set_io_throttle", {"id": "/machine/peripheral/disk/virtio-backend", **l}))
    for direct in (True, False):
        file = {"driver": "file", "node-name": "f", "filename": image.path, "cache": {"direct": direct}}
        if "node-name" in node.get("file", {}):
            yield lambda f=file: m.qmp(("blockdev-reopen", {"options": [f]}))


@test
def managers():
    with Image() as image:
        for node in image.nodes.values():
            with Machine(KILN, args(node, NAMED)) as m:
                queues = start(m)
                for turn in range(2):
                    for n, run in enumerate(operations(m, image, node)):
                        for q in queues:
                            q.fill(turn * 16 + n)
                        run()
                        for q in queues:
                            q.end()
                each_sees_all(m)


@test
def resets():
    """Of one queue, of the device, of the machine, while all queues work."""
    with Image() as image:
        for node in image.nodes.values():
            with Machine(KILN, args(node, NAMED)) as m:
                for turn in range(12):
                    queues = start(m)
                    for q in queues:
                        q.fill(turn)
                    if turn % 3 == 0:
                        v.modern_common(m, 22, 2, 1)
                        v.modern_common(m, 58, 2, 1)
                        assert v.modern_common(m, 28, 2) == 0
                        for q in queues[::2]:
                            q.end()
                        before = v.get16(m, queues[1].used + 2)
                        queues[0].one(READ, 0)
                        assert v.get16(m, queues[1].used + 2) == before, "a queue that was reset works"
                    elif turn % 3 == 1:
                        m.qmp(("system_reset", {}))
                each_sees_all(m)


@test
def error_stop():
    """A request of the second queue stops the machine and is tried again by its own thread."""
    node = {"driver": "blkdebug", "node-name": "d", "image": {"driver": "null-co", "read-zeroes": True},
            "inject-error": [{"event": "none", "iotype": "write", "errno": 28, "once": True}]}
    with Machine(KILN, args(node, NAMED, werror="stop", cyls=16, heads=16, secs=63)) as m:
        queues = start(m)
        queues[1].begin(WRITE, 3, 1)
        v.wait(lambda: m.qmp(("query-status", {}))[0]["status"] == "io-error")
        assert not queues[1].done()
        queues[0].begin(READ, 0)
        m.qmp(("cont", {}))
        for q in queues[:2]:
            v.wait(q.done)
            assert q.statuses() == [0]
        queues[1].one(WRITE, 4, 2)


@test
def plug():
    """In and out with requests on their way; the iothreads are in use meanwhile, and free afterwards."""
    with Machine(KILN, ["-nodefaults", *IOTHREADS]) as m:
        for turn in range(4):
            m.qmp(("blockdev-add", {"driver": "null-co", "node-name": "d", **({"latency-ns": 2000000} if turn % 2 else {})}),
                  ("device_add", device((NAMED, IN_TURN)[turn // 2])))
            for q in start(m):
                q.fill(turn)
            refused = m.error_of("object-del", id="io0")
            assert "in use" in refused, refused
            m.qmp(("device_del", {"id": "disk"}))
            m.outl(PCI_SEL, 0)
            m.outl(PCI_EJ, 1 << 4)
            v.wait(lambda: "disk" not in [o["name"] for o in m.qmp(("qom-list", {"path": "/machine/peripheral"}))[0]])
            m.qmp(("blockdev-del", {"node-name": "d"}))
        m.qmp(("object-del", {"id": "io0"}), ("object-del", {"id": "io1"}))


@test
def refused():
    with Machine(KILN, ["-nodefaults", *IOTHREADS, "-blockdev", "driver=null-co,node-name=d"]) as m:
        check_refusals(m, device, NAMED, "num-queues")
        m.qmp(("device_add", device(NAMED)))
        for q in start(m):
            q.one(WRITE, 1, 1)


@test
def names():
    """Where managers look."""
    with Machine(KILN, args({"driver": "null-co", "node-name": "d"}, NAMED)) as m:
        for path in ("disk", "disk/virtio-backend"):
            got = m.qmp(("qom-get", {"path": f"/machine/peripheral/{path}", "property": "iothread-vq-mapping"}))[0]
            assert got == NAMED, got
        listed = m.qmp(("device-list-properties", {"typename": "virtio-blk-pci"}))[0]
        kinds = {p["name"]: p["type"] for p in listed}
        assert kinds["iothread-vq-mapping"] == "IOThreadVirtQueueMappingList", kinds
        assert sorted(t["id"] for t in m.qmp(("query-iothreads", {}))[0]) == ["io0", "io1"]
    with Machine(KILN, args({"driver": "null-co", "node-name": "d"})) as m:
        assert m.qmp(("qom-get", {"path": "/machine/peripheral/disk", "property": "iothread-vq-mapping"}))[0] == []
        assert len(m.qmp(("query-iothreads", {}))[0]) == 2


sys.exit(main("kiln-vq-mapping."))
