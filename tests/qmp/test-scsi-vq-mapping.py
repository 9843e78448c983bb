#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-scsi-vq-mapping.py KILN: a virtio SCSI adapter whose command queues run in several threads (iothread-vq-mapping): units
are the same seen from each, and task management, resets, plugging and what managers do meanwhile loses and doubles nothing."""
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "state"), os.path.join(HERE, "..")]
import busy_virtio as v  # noqa: E402
import scsi_driver as scsi  # noqa: E402
from machine import Machine  # noqa: E402
from tap import main, test  # noqa: E402
from vq_mapping import check_refusals  # noqa: E402

KILN = os.path.abspath(sys.argv[1])
IOTHREADS = ["-object", "iothread,id=io0,poll-max-ns=50000", "-object", "iothread,id=io1,poll-max-ns=0", "-object", "iothread,id=io2"]
THREE = [{"iothread": "io0", "vqs": [0]}, {"iothread": "io1", "vqs": [1]}, {"iothread": "io2", "vqs": [2]}]
TWO = [{"iothread": "io1", "vqs": [1]}, {"iothread": "io0", "vqs": [0, 2]}]
IN_TURN = [{"iothread": "io2"}, {"iothread": "io0"}]
RINGS, AT_ONCE, RING_RESET = range(2, 5), 4, 1 << 40
READY, INQUIRY, FLUSH, SENSE = bytes(6), bytes((0x12, 0, 0, 0, 36, 0)), bytes((0x35,)) + bytes(9), bytes((3, 0, 0, 0, 18, 0))
CAPACITY = bytes((0x25,)) + bytes(9)
ABORT_TASK, ABORT_SET, CLEAR_SET, NEXUS_RESET, UNIT_RESET, QUERY_TASK, QUERY_SET = 0, 1, 3, 4, 5, 6, 7


def rw(op, lba, blocks=1):
    return bytes((op, 0)) + lba.to_bytes(4, "big") + bytes((0,)) + blocks.to_bytes(2, "big") + bytes(1)


def adapter(mapping, **more):
    return {"driver": "virtio-scsi-pci", "id": "s", "addr": "4", "num_queues": 3, "iothread-vq-mapping": mapping, **more}


def node(name="d", **more):
    return {"driver": "null-co", "node-name": name, "read-zeroes": True, "size": 1 << 20, **more}


def args(n, mapping=None, disk="", **more):
    """A disk, and a CD drive on the same adapter."""
    return ["-nodefaults", *IOTHREADS, "-blockdev", json.dumps(n), "-device", json.dumps(adapter(mapping or THREE, **more)),
            "-device", f"scsi-hd,id=disk,drive={n['node-name']},scsi-id=0,lun=0{disk}", "-device", "scsi-cd,id=cd,scsi-id=1"]


class Images:
    """Nodes that take requests in any loop, and others."""

    def __init__(self):
        with open("image", "wb") as f:
            f.truncate(1 << 20)
        self.file = {"driver": "file", "node-name": "f", "filename": os.path.abspath("image")}
        raw = {"driver": "raw", "node-name": "d", "file": self.file}
        self.nodes = [raw, {"driver": "blkdebug", "node-name": "d", "image": self.file}]


def start(m, greet=True):
    driver = scsi.Driver(m, queues=5)
    driver.start(scsi.VERSION_1 | scsi.CHANGE | RING_RESET)
    if greet:
        sense = scsi.sense_text(driver.command(READY, ring=2).sense)
        assert sense == "6/29/00", sense
    return driver


class Load:
    """Commands of every kind on their way in all queues."""

    def __init__(self, driver, seed, rings=RINGS):
        self.driver, self.begun = driver, {}
        for ring in rings:
            for i in range(AT_ONCE):
                cdb, more = ((rw(0x2A, 100 + 50 * ring + i), {"out": bytes((seed & 0xFF,)) * 512}), (rw(0x28, 7), {"read": 512}),
                             (FLUSH, {}), (INQUIRY, {"read": 36}))[(i + seed) % 4]
                place = (ring - 2) * AT_ONCE + i
                head, *rest = driver.begin(cdb, ring=ring, place=place, **more)
                self.begun[ring, head] = rest

    def replies(self, rings=RINGS):
        """(response, status) of each, when all have ended."""
        got = []
        for ring in rings:
            mine = {head: rest for (r, head), rest in self.begun.items() if r == ring}
            while mine:
                head, _ = self.driver.rings[ring].wait()
                slots, page, *_ = mine.pop(head)
                self.driver.rings[ring].free += slots
                raw = self.driver.m.read(page + 0x200, 12)
                got.append((raw[11], raw[10]))
        return got

    def all_good(self, rings=RINGS):
        got = self.replies(rings)
        assert got and set(got) == {(0, 0)}, got


def each_sees_all(driver):
    for turn in range(9):
        first, second, third = (2 + (turn + i) % 3 for i in range(3))
        data = bytes((turn + 1,)) * 512
        assert driver.command(rw(0x2A, turn), ring=first, out=data).status == 0
        assert driver.command(rw(0x28, turn), ring=second, read=512).data == data
        assert driver.command(FLUSH, ring=third).status == 0


@test
def data():
    """Through all queues, in threads that are named or given in turn; other sizes of commands; what only the adapter's thread does."""
    for n in Images().nodes:
        for mapping in (THREE, TWO, IN_TURN):
            with Machine(KILN, args(n, mapping)) as m:
                driver = start(m)
                each_sees_all(driver)
                stats = m.qmp(("query-blockstats", {}))[0]
                stats = next(s["stats"] for s in stats if s.get("qdev") == "disk")
                assert (stats["wr_operations"], stats["rd_operations"], stats["flush_operations"]) == (9, 9, 9), stats
                for ring in RINGS:
                    big = bytes((ring,)) * 20480
                    assert driver.command(bytes((0x8A, 0)) + (64).to_bytes(8, "big") + (40).to_bytes(4, "big") + bytes(2), ring=ring,
                                          out=big).status == 0
                    assert driver.command(bytes((8, 0, 0, 64, 40, 0)), ring=ring, read=20480 + 512).data[:20480] == big
                    assert driver.command(CAPACITY, ring=ring, read=8).data.hex() == "000007ff00000200"
                    same = bytes((0x41, 0, 0, 0, 0, 80, 0, 0, 8, 0))
                    assert driver.command(same, ring=ring, out=bytes(512)).status == 0
                    assert driver.command(rw(0x28, 87), ring=ring, read=512).data == bytes(512)
                    assert driver.command(INQUIRY, ring=ring, target=1, read=36).data[0] == 5
                    assert driver.command(READY, ring=ring, target=9).response == scsi.BAD_TARGET
                    assert driver.command(rw(0x28, 3, 2), ring=ring, read=512).response == scsi.OVERRUN


@test
def sense():
    """What a unit has to tell is told once, whatever queue asks, and so is why a command failed."""
    with Machine(KILN, args(node())) as m:
        driver = start(m)
        for ring in RINGS:
            reply = driver.command(rw(0x28, 1 << 20), ring=ring, read=512)
            assert scsi.sense_text(reply.sense) == "5/21/00", reply
            other = 2 + (ring - 1) % 3
            kept = driver.command(SENSE, ring=other, read=18).data
            assert scsi.sense_text(kept) == "5/21/00", kept.hex()
            assert driver.command(rw(0x28, 1), ring=other, read=512).status == 0
            m.qmp(("block_resize", {"node-name": "d", "size": ring << 20}))
            got = []
            while "6/2a/09" not in got:     # the resize is told of in the nodes' thread
                got.append(scsi.sense_text(driver.command(rw(0x28, 1), ring=ring, read=512).sense))
                assert len(got) < 100000
            assert driver.command(rw(0x28, (ring << 11) - 1), ring=other, read=512).status == 0
            assert scsi.sense_text(driver.command(rw(0x28, ring << 11), ring=other, read=512).sense) == "5/21/00"


def operations(m, n, file):
    """What is done while commands are on their way."""
    yield lambda: m.qmp(("stop", {}), ("cont", {}))
    yield lambda: m.qmp(("block-dirty-bitmap-add", {"node": "d", "name": "b"}))
    yield lambda: m.qmp(("query-blockstats", {}), ("query-block", {}))
    yield lambda: m.qmp(("block-dirty-bitmap-remove", {"node": "d", "name": "b"}))
    for iops in (100000, 0):
        limits = {"bps": 0, "bps_rd": 0, "bps_wr": 0, "iops": iops, "iops_rd": 0, "iops_wr": 0}
        yield lambda l=limits: m.qmp(("block_set_io_throttle", {"id": "disk", **l}))
    for direct in (True, False):
        if n["driver"] == "raw":
            yield lambda d=direct: m.qmp(("blockdev-reopen", {"options": [{**file, "cache": {"direct": d}}]}))
    yield lambda: m.qmp(("device_add", {"driver": "scsi-cd", "id": "more", "bus": "s.0", "scsi-id": 5}), ("device_del", {"id": "more"}))


@test
def managers():
    images = Images()
    for n in images.nodes:
        with Machine(KILN, args(n)) as m:
            driver = start(m)
            for turn in range(2):
                for number, run in enumerate(operations(m, n, images.file)):
                    load = Load(driver, turn * 16 + number)
                    run()
                    got = load.replies()
                    assert all(r == 0 for r, _ in got) and sum(s == 2 for _, s in got) <= 1, got    # the news of a unit
            driver.command(READY, ring=3)
            each_sees_all(driver)


def give_long(driver):
    """Commands in all queues, which the adapter knows when this returns: (ring, what begin said)."""
    begun = []
    for ring in RINGS:
        for i in range(AT_ONCE):
            tag = 16 * ring + i
            command = driver.begin(rw(0x28, 0, 16), ring=ring, place=(ring - 2) * AT_ONCE + i, read=8192, tag=tag)
            begun.append((ring, command))
            v.wait(lambda t=tag, c=command: driver.tmf(QUERY_TASK, tag=t)[0] == scsi.TMF_SUCCEEDED or
                   driver.m.read(c[2] + 0x200 + 11, 1) != b"\xee")     # it may be over
    return begun


@test
def task_management():
    """Of commands that take long, in all queues: those that a limit keeps are given up at once, others are waited for. When the
    function is answered all are over, and the driver sees it."""
    limited = {"id": "disk", "bps": 512, "bps_rd": 0, "bps_wr": 0, "iops": 0, "iops_rd": 0, "iops_wr": 0}
    for latency in (0, 20000000):
        with Machine(KILN, args(node(**{"latency-ns": latency}))) as m:
            driver = start(m)
            if not latency:
                m.qmp(("block_set_io_throttle", limited))
            for subtype in (ABORT_TASK, ABORT_SET, CLEAR_SET, NEXUS_RESET, UNIT_RESET) * 2:
                begun = give_long(driver)
                tags = [16 * ring + i for ring in RINGS for i in range(AT_ONCE)]
                for tag in tags if subtype == ABORT_TASK else tags[:1]:
                    assert driver.tmf(subtype, tag=tag)[0] == scsi.TMF_COMPLETE
                for ring in RINGS:
                    assert v.get16(m, driver.rings[ring].used + 2) == driver.rings[ring].given, (subtype, ring)
                wanted = {scsi.ABORTED, 0} if subtype < NEXUS_RESET else {scsi.RESET, 0}
                got = [m.read(command[2] + 0x200 + 11, 1)[0] for _, command in begun]
                assert set(got) <= wanted and (latency or got.count(0) <= 1), (subtype, got)
                for ring, command in begun:
                    driver.rings[ring].wait()
                    driver.rings[ring].free += command[1]
                if subtype >= NEXUS_RESET:
                    told = [scsi.sense_text(driver.command(READY, ring=ring).sense) for ring in RINGS]
                    assert told == ["6/29/00", "", ""], told
            assert driver.tmf(ABORT_TASK, lun=1)[0] == 12 and driver.tmf(UNIT_RESET, target=3)[0] == scsi.BAD_TARGET
            assert driver.tmf(2)[0] == scsi.TMF_REJECTED and driver.tmf(99)[0] == scsi.TMF_REJECTED


@test
def queries():
    """Are there commands? Those of all threads count."""
    with Machine(KILN, args(node(**{"latency-ns": 300000000}))) as m:
        driver = start(m)
        for ring in RINGS:
            begun, queue = driver.begin(rw(0x28, 0), ring=ring, read=512, tag=ring), driver.rings[ring]
            v.wait(lambda q=queue: driver.tmf(QUERY_SET)[0] == scsi.TMF_SUCCEEDED or
                   v.get16(m, q.used + 2) == q.given)     # it may be over first, where all is slow
            assert driver.tmf(QUERY_TASK, tag=99)[0] == scsi.TMF_COMPLETE
            assert driver.end(begun, ring).status == 0
            assert driver.tmf(QUERY_TASK, tag=ring)[0] == scsi.TMF_COMPLETE
            assert driver.tmf(QUERY_SET)[0] == scsi.TMF_COMPLETE


@test
def resets():
    """Of one queue, of the device, of the machine, of the unit, while all queues work."""
    for n in Images().nodes:
        with Machine(KILN, args(n)) as m:
            for turn in range(16):
                driver = start(m)
                load = Load(driver, turn)
                if turn % 4 == 0:
                    driver.common(22, 2, 3)
                    driver.common(58, 2, 1)
                    assert driver.common(28, 2) == 0
                    load.all_good((2, 4))
                    before = v.get16(m, driver.rings[3].used + 2)
                    assert driver.command(rw(0x28, 0), ring=4, read=512).status == 0
                    assert v.get16(m, driver.rings[3].used + 2) == before, "a queue that was reset works"
                    driver.rings[3].setup()
                    assert driver.command(rw(0x28, 0), ring=3, read=512).status == 0
                elif turn % 4 == 1:
                    m.qmp(("system_reset", {}))
                elif turn % 4 == 2:
                    for subtype in (UNIT_RESET, NEXUS_RESET):
                        assert driver.tmf(subtype)[0] == scsi.TMF_COMPLETE
                    got = load.replies()
                    assert {r for r, _ in got} <= {0, scsi.RESET}, got
            driver = start(m)
            each_sees_all(driver)


def failing(op, errno, times=1):
    return {"driver": "blkdebug", "node-name": "d", "image": node("null"),
            "inject-error": [{"event": "none", "iotype": op, "errno": errno, "once": True}] * times}


GEOMETRY = ",cyls=16,heads=16,secs=63,werror=stop,rerror=stop"


def stopped(m):
    return m.qmp(("query-status", {}))[0]["status"] == "io-error"


@test
def error_stop():
    """A command of any queue stops the machine and is done when it goes on: here, and in another process that took its state."""
    for ring in RINGS:
        with Machine(KILN, args(failing("write", 28), disk=GEOMETRY)) as m:
            driver = start(m)
            begun = driver.begin(rw(0x2A, 3), ring=ring, out=b"x" * 512)
            v.wait(lambda m=m: stopped(m))
            assert not driver.rings[ring].take(), "a command that waits has ended"
            ram, state = m.read(scsi.RAM, 0x16000), m.save()
            load = Load(driver, ring, [r for r in RINGS if r != ring])
            m.qmp(("cont", {}))
            load.all_good([r for r in RINGS if r != ring])
            reply = driver.end(begun, ring)
            assert (reply.response, reply.status) == (0, 0), reply
            Load(driver, 1).all_good()
        with Machine(KILN, args(failing("read", 5), disk=GEOMETRY)) as m:
            m.qmp(("stop", {}))
            scsi.take_over(m, ram, state)
            m.qmp(("cont", {}))
            queue = driver.rings[ring]
            v.wait(lambda m=m, q=queue: int.from_bytes(m.read(q.used + 2, 2), "little") == (2 if ring == 2 else 1))
            assert m.read(begun[2] + 0x200 + 10, 2) == b"\0\0", "the other machine's try failed"


@test
def waiting_is_dropped():
    """By a reset of the device, of the queue, of the machine; by an abort; with the unit."""
    for ring in (2, 4):
        for way in range(5):
            with Machine(KILN, args(failing("read", 5, 1 + (way == 4)), disk=GEOMETRY)) as m:
                driver = start(m)
                driver.begin(rw(0x28, 3), ring=ring, read=512)
                v.wait(lambda m=m: stopped(m))
                if way == 0:
                    driver.common(20, 1, 0)
                elif way == 1:
                    driver.common(22, 2, ring)
                    driver.common(58, 2, 1)
                elif way == 2:
                    m.qmp(("system_reset", {}))
                elif way == 3:
                    m.qmp(("device_del", {"id": "disk"}))
                elif way == 4:
                    driver.begin(rw(0x28, 3), ring=3, read=512)     # stops it again, beside the first
                m.qmp(("cont", {}))
                if way == 4:
                    v.wait(lambda m=m: m.qmp(("cont", {})) and not stopped(m) and
                           all(v.get16(m, driver.rings[r].used + 2) == driver.rings[r].given for r in RINGS))
                elif way == 3:
                    assert driver.command(READY, ring=3).response == scsi.BAD_TARGET
                else:
                    Load(start(m), way).all_good()


@test
def plug():
    """Units in and out with commands on their way, and the adapter; the iothreads are in use meanwhile, and free afterwards."""
    with Machine(KILN, ["-nodefaults", *IOTHREADS]) as m:
        for turn in range(3):
            m.qmp(("blockdev-add", node()), ("device_add", adapter((THREE, TWO, IN_TURN)[turn])))
            driver = start(m, False)
            for unit in range(6):
                m.qmp(("device_add", {"driver": "scsi-hd", "id": "disk", "drive": "d", "bus": "s.0", "scsi-id": 0}))
                if unit % 2:
                    driver.command(READY, ring=2)
                    driver.command(READY, ring=2)
                loads = Load(driver, unit)
                m.qmp(("device_del", {"id": "disk"}))
                got = loads.replies()
                assert {r for r, _ in got} <= {0, scsi.BAD_TARGET}, got
                assert driver.command(rw(0x28, 0), ring=3, read=512).response == scsi.BAD_TARGET
                if unit == 2:
                    m.qmp(("blockdev-del", {"node-name": "d"}), ("blockdev-add", node(**{"latency-ns": 1000000})))
            m.qmp(("device_add", {"driver": "scsi-hd", "id": "disk", "drive": "d", "bus": "s.0"}))
            refused = m.error_of("object-del", id="io0")
            assert "in use" in refused, refused
            Load(driver, turn)
            m.qmp(("device_del", {"id": "s"}))
            m.outl(0xAE10, 0)
            m.outl(0xAE08, 1 << 4)
            v.wait(lambda: "s" not in [o["name"] for o in m.qmp(("qom-list", {"path": "/machine/peripheral"}))[0]])
            m.qmp(("blockdev-del", {"node-name": "d"}))
        m.qmp(*(("object-del", {"id": f"io{i}"}) for i in range(3)))


@test
def several_units():
    """Commands of a queue for units of both kinds; limits of one do not hold the other."""
    units = [x for i, n in enumerate((node("a"), {"driver": "blkdebug", "node-name": "b", "image": node("null")})) for x in
             ("-blockdev", json.dumps(n), "-device", f"scsi-hd,drive={'ab'[i]},scsi-id={2 + i},cyls=16,heads=16,secs=63")]
    with Machine(KILN, args(node()) + units) as m:
        driver = start(m)
        for target in (2, 3):
            driver.command(READY, target=target, ring=3)
        for turn in range(30):
            begun = [driver.begin(rw(0x28, turn), ring=3, place=i, read=512, target=(0, 2, 3)[i]) for i in range(3)]
            heads = {b[0] for b in begun}
            while heads:
                heads.remove(driver.rings[3].wait()[0])
            for b in begun:
                driver.rings[3].free += b[1]
                assert m.read(b[2] + 0x200 + 10, 2) == b"\0\0"


@test
def refused():
    with Machine(KILN, ["-nodefaults", *IOTHREADS, "-blockdev", json.dumps(node())]) as m:
        check_refusals(m, adapter, THREE, "num_queues")
        m.qmp(("device_add", {"driver": "virtio-blk-pci", "id": "blk", "drive": "d", "addr": "5", "iothread": "io2", "share-rw": True}),
              ("device_add", adapter(THREE)))
        got = m.error_of("device_add", driver="scsi-hd", drive="d", bus="s.0", **{"share-rw": True})
        assert "which iothread-vq-mapping= names" in got, got


@test
def names():
    """Where managers look."""
    with Machine(KILN, args(node())) as m:
        got = m.qmp(("qom-get", {"path": "/machine/peripheral/s", "property": "iothread-vq-mapping"}))[0]
        assert got == THREE, got
        kinds = {p["name"]: p["type"] for p in m.qmp(("device-list-properties", {"typename": "virtio-scsi-pci"}))[0]}
        assert kinds["iothread-vq-mapping"] == "IOThreadVirtQueueMappingList", kinds


sys.exit(main("kiln-scsi-vq-mapping."))
