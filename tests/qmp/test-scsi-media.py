#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-scsi-media.py KILN: media of SCSI units that change while the adapter's thread works, by managers and by the guest."""
import json
import os
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "state"), os.path.join(HERE, "..")]
import scsi_driver as scsi  # noqa: E402
from machine import Machine  # noqa: E402
from tap import main, test  # noqa: E402

KILN = os.path.abspath(sys.argv[1])
LIMIT = 120
CD, DISK, BUSY = (3, 0), (0, 0), (1, 0)
READY, EVENTS = bytes(6), bytes((0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8, 0))
READ, READ_ON = bytes((0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0)), bytes((0x28, 8, 0, 0, 0, 0, 0, 0, 1, 0))
CAPACITY, EJECT, LOAD = bytes((0x25,)) + bytes(9), bytes((0x1B, 0, 0, 0, 2, 0)), bytes((0x1B, 0, 0, 0, 3, 0))
PREVENT, ALLOW = bytes((0x1E, 0, 0, 0, 1, 0)), bytes(6)
SAME = bytes((0x93,)) + bytes(9) + (8192).to_bytes(4, "big") + bytes(2)      # 4 MiB, in 64 parts
IN_THREAD = ["-object", "iothread,id=io,poll-max-ns=0"]
# What a drive may say while its medium changes.
CHANGES = {"", "2/3a/00", "6/3a/00", "6/28/00", "6/29/00", "6/3f/0e", "5/21/00", "6/2a/09", "5/53/02", "2/53/02"}


def image(name, size=1 << 20):
    with open(name, "wb") as f:
        f.write(name.encode() * (2048 // len(name)))
        f.truncate(size)


def null(name, **options):
    return ["-blockdev", json.dumps({"driver": "null-co", "node-name": name, "read-zeroes": True, "size": 64 << 20, **options})]


def adapter(more=""):
    return ["-nodefaults", "-device", "virtio-scsi-pci,id=s,addr=4" + more]


def threads(m):
    """Name: directory in /proc of each thread of the machine."""
    root, found = "/proc/%d/task" % m.process.pid, {}
    for task in os.listdir(root):
        with open(os.path.join(root, task, "comm")) as f:
            found[f.read().strip()] = os.path.join(root, task)
    return found


def sleeps(m, name):
    """How often a thread of the machine has begun to wait."""
    with open(os.path.join(threads(m)[name], "status")) as f:
        return int(f.read().split("\nvoluntary_ctxt_switches:")[1].split()[0])


def own_threads(m):
    """Kiln's own threads for queues: as many as devices use, and the host has processors."""
    return [name for name in threads(m) if name.startswith("IO own")]


def sense(driver, cdb, unit=CD, **kwargs):
    return scsi.sense_text(driver.command(cdb, target=unit[0], lun=unit[1], **kwargs).sense)


def works_in(m, driver, thread, unit):
    """Commands of this unit are done in that thread: it waits for each."""
    before = sleeps(m, thread)
    for _ in range(100):
        assert driver.command(READY, target=unit[0]).status in (0, 2)
    return sleeps(m, thread) - before >= 50


@test
def thread():
    """A drive keeps nothing from running in the adapter's thread: empty, with a medium, plugged in later."""
    image("one")
    for more, objects, name in (("", [], "IO own0"), (",iothread=io", IN_THREAD, "IO io")):
        for medium in ([], ["-drive", "if=none,id=m,file=one,format=raw,read-only=on"]):
            drive = ["-device", "scsi-cd,id=cd,scsi-id=3" + (",drive=m" if medium else "")]
            with Machine(KILN, objects + adapter(more) + null("a") + ["-device", "scsi-hd,drive=a,scsi-id=0"] + medium
                         + drive) as m:
                driver = scsi.Driver(m)
                driver.start()
                for unit in (CD, DISK):
                    assert works_in(m, driver, name, unit), f"{more} {medium}: {unit} is served elsewhere"
                if not medium:
                    m.qmp(("device_del", {"id": "cd"}),
                          ("device_add", {"driver": "scsi-cd", "id": "cd", "scsi-id": 3, "bus": "s.0"}),
                          ("blockdev-change-medium", {"id": "cd", "filename": "one", "format": "raw"}))
                    assert works_in(m, driver, name, CD) and works_in(m, driver, name, DISK)
                assert driver.command(READ, target=3, read=2048).data[:3] == b"one"


@test
def removed_medium_is_free():
    """A node that was in a drive may then be any device's."""
    image("one")
    with Machine(KILN, adapter() + ["-blockdev", "driver=raw,node-name=m,read-only=on,file.driver=file,file.filename=one",
                                    "-device", "scsi-cd,id=cd,scsi-id=3,drive=m", "-device", "ide-cd,id=ide"]) as m:
        for _ in range(3):
            m.qmp(("blockdev-open-tray", {"id": "cd"}), ("blockdev-remove-medium", {"id": "cd"}),
                  ("blockdev-open-tray", {"id": "ide"}), ("blockdev-insert-medium", {"id": "ide", "node-name": "m"}),
                  ("blockdev-close-tray", {"id": "ide"}), ("blockdev-open-tray", {"id": "ide"}),
                  ("blockdev-remove-medium", {"id": "ide"}), ("blockdev-insert-medium", {"id": "cd", "node-name": "m"}),
                  ("blockdev-close-tray", {"id": "cd"}))
        driver = scsi.Driver(m)
        driver.start()
        driver.command(READY, target=3)
        assert driver.command(READ, target=3, read=2048).data[:3] == b"one"


@test
def shared():
    """A medium that another device's thread has: the adapter goes there, if it may."""
    image("one")
    file = ["-blockdev", "driver=file,node-name=f,filename=one,read-only=on"]
    nodes = file + [part for n in "mn" for part in ("-blockdev", f"driver=raw,node-name={n},file=f,read-only=on")]
    for first, more, ok in (("scsi-cd,drive=n,bus=t.0", "", True), ("ide-cd,drive=n", "", True),
                            ("virtio-blk-pci,drive=n,addr=6,iothread=io", "", True),
                            ("virtio-blk-pci,drive=n,addr=6", ",iothread=io", False), ("ide-cd,drive=n", ",iothread=io", True)):
        with Machine(KILN, IN_THREAD + adapter(more) + ["-device", "virtio-scsi-pci,id=t,addr=5"] + nodes + null("a") +
                     ["-device", "scsi-cd,id=cd,scsi-id=3,bus=s.0", "-device", first + ",id=other", "-device",
                      "scsi-hd,drive=a,scsi-id=0,bus=s.0"]) as m:
            driver = scsi.Driver(m)
            driver.start()
            driver.command(READY, target=3)
            m.qmp(("blockdev-open-tray", {"id": "cd"}))
            if ok:
                m.qmp(("blockdev-insert-medium", {"id": "cd", "node-name": "m"}), ("blockdev-close-tray", {"id": "cd"}))
                sense(driver, READY), sense(driver, READY)
                assert driver.command(READ, target=3, read=2048).data[:3] == b"one"
                if "iothread=io" in first:
                    m.qmp(("device_del", {"id": "other"}))
                    assert "in use" in m.error_of("object-del", id="io")
                    assert works_in(m, driver, "IO io", CD)
                m.qmp(("eject", {"id": "cd"}))
            else:
                error = m.error_of("blockdev-insert-medium", **{"id": "cd", "node-name": "m"})
                assert "Cannot change iothread of active block backend" in error, error
            assert driver.command(READ, read=512).status in (0, 2)
            assert driver.command(READ, read=512).status == 0


@test
def shared_disks():
    """Two devices write to one node: the second one's queues go where the first one's are."""
    for kind in ("virtio-blk-pci,addr=6", "scsi-hd,bus=t.0"):
        with Machine(KILN, adapter() + ["-device", "virtio-scsi-pci,id=t,addr=5"] + null("a") + null("b") + [
                "-device", kind + ",drive=a,share-rw=on", "-device", "scsi-hd,drive=b,scsi-id=1,bus=s.0",
                "-device", "scsi-hd,drive=a,share-rw=on,scsi-id=0,bus=s.0"]) as m:
            driver = scsi.Driver(m)
            driver.start()
            for unit in (0, 1):
                driver.command(READY, target=unit)
                assert driver.command(READ, target=unit, read=512).status == 0
            assert any(works_in(m, driver, name, DISK) for name in own_threads(m))


# ---- under load ------------------------------------------------------------------------------------------------------


class Load(threading.Thread):
    """Keeps commands under way to two disks and the drive until it is told to end; looks at every answer."""
    PLACES = 10

    def __init__(self, m, guest_moves):
        super().__init__()
        self.driver = scsi.Driver(m)
        self.driver.rings[scsi.COMMANDS] = scsi.Ring(self.driver, scsi.COMMANDS, 64)
        self.driver.start(scsi.VERSION_1)
        for unit in (DISK, BUSY, CD):
            self.driver.command(READY, target=unit[0])
        for unit in (DISK, BUSY):
            self.driver.command(READY, target=unit[0])
        self.guest_moves = guest_moves
        self.ended = threading.Event()
        self.error = None
        self.done = {unit: 0 for unit in (DISK, BUSY, CD)}

    def next_command(self, n):
        drive = [(READ, 2048), (READ_ON, 2048), (READY, 0), (EVENTS, 8), (CAPACITY, 8)]
        moves = [(EJECT, 0), (LOAD, 0), (PREVENT, 0), (bytes((0x1E, 0, 0, 0, 0, 0)), 0)]
        if n % 2 == 0:
            return DISK, READ, 512, b""
        if n % 11 == 0:
            return BUSY, SAME, 0, b"pattern!" * 64
        cdb, read = (drive + (moves if self.guest_moves else []))[n // 2 % (9 if self.guest_moves else 5)]
        return CD, cdb, read, b""

    def look(self, unit, cdb, reply):
        said = scsi.sense_text(reply.sense)
        assert reply.response == 0, (unit, cdb, reply)
        if unit == CD:
            assert said in CHANGES, (cdb, reply)
        else:
            assert reply.status == 0 or said == "6/3f/0e", (unit, cdb, reply)
        if unit == CD and cdb in (READ, READ_ON) and not reply.status:
            assert reply.data[:3] in (b"one", b"two"), reply.data[:8]
            assert reply.data == reply.data[:3] * (2048 // 3) + bytes(2048 % 3), "a sector of two media"
        if unit == DISK and not reply.status:
            assert reply.data == bytes(512)
        self.done[unit] += 1

    def run(self):
        try:
            self.go()
        except BaseException as error:  # noqa: B036: the test's thread tells of it
            self.error = error

    def go(self):
        d, places, under_way, n = self.driver, list(range(self.PLACES)), {}, 0
        ring = d.rings[scsi.COMMANDS]
        quiet = time.monotonic() + LIMIT
        while under_way or not self.ended.is_set():
            while places and not self.ended.is_set():
                place = places.pop()
                unit, cdb, read, out = self.next_command(n)
                n += 1
                begun = d.begin(cdb, target=unit[0], read=read, out=out, place=place)
                under_way[begun[0]] = (place, unit, cdb, begun)
            got = ring.take()
            if not got:
                assert time.monotonic() < quiet, f"{len(under_way)} commands are not answered"
                time.sleep(0.0002)
                continue
            quiet = time.monotonic() + LIMIT
            place, unit, cdb, begun = under_way.pop(got[0])
            ring.seen -= 1      # end() takes it once more
            self.look(unit, cdb, d.end(begun))
            places.append(place)


def loaded(guest_moves, turns, act, more="", objects=()):
    for name in ("one", "two"):
        image(name)
    with Machine(KILN, [*objects, *adapter(more), *null("a", **{"latency-ns": 300000}), *null("b"),
                        "-device", "scsi-hd,drive=a,scsi-id=0,bus=s.0", "-device", "scsi-hd,drive=b,scsi-id=1,bus=s.0",
                        "-device", "scsi-cd,id=cd,scsi-id=3,bus=s.0"]) as m:
        load = Load(m, guest_moves)
        load.start()
        try:
            for turn in range(turns):
                before = dict(load.done)
                act(m, turn)
                end = time.monotonic() + LIMIT
                while load.is_alive() and any(load.done[u] == before[u] for u in before):
                    assert time.monotonic() < end, f"a unit stands still: {before} {load.done}"
                    time.sleep(0.001)
        finally:
            load.ended.set()
            load.join(LIMIT)
        assert not load.error, load.error
        assert not load.is_alive(), "commands are not answered"
        assert all(load.done.values()), load.done


def change(m, turn):
    name = ("one", "two")[turn % 2]
    if turn % 3 == 0:
        m.qmp(("human-monitor-command", {"command-line": f"change cd {name} raw"}))
    else:
        m.qmp(("blockdev-change-medium", {"id": "cd", "filename": name, "format": "raw", "force": True}))
    if turn % 5 == 4:
        m.qmp(("eject", {"id": "cd", "force": True}), ("query-block", {}))
    if turn % 7 == 6:
        m.qmp(("stop", {}), ("cont", {}))


@test
def changes():
    loaded(False, 40, change)
    loaded(False, 20, change, ",iothread=io", IN_THREAD)


@test
def changes_while_the_guest_moves_the_tray():
    loaded(True, 40, change)


def nodes(m, turn):
    """What libvirt does."""
    name = ("one", "two")[turn % 2]
    m.qmp(("blockdev-add", {"driver": "raw", "node-name": "m", "read-only": True, "file": {
        "driver": "file", "node-name": "f", "filename": name, "read-only": True}}),
          ("blockdev-open-tray", {"id": "cd", "force": True}), ("blockdev-insert-medium", {"id": "cd", "node-name": "m"}),
          ("blockdev-close-tray", {"id": "cd"}), ("query-named-block-nodes", {}), ("query-blockstats", {}))
    if turn % 3 == 0:
        m.qmp(("blockdev-reopen", {"options": [{"driver": "raw", "node-name": "m", "read-only": True, "file": "f",
                                                "detect-zeroes": "off"}]}))
    m.qmp(("block_set_io_throttle", {"id": "cd", "bps": 0, "bps_rd": 0, "bps_wr": 0, "iops": 1000 * (turn % 2), "iops_rd": 0,
                                     "iops_wr": 0}))
    m.qmp(("blockdev-open-tray", {"id": "cd", "force": True}), ("blockdev-remove-medium", {"id": "cd"}),
          ("blockdev-del", {"node-name": "m"}))


@test
def nodes_come_and_go():
    loaded(False, 25, nodes)


def plug(m, turn):
    m.qmp(("device_add", {"driver": "scsi-cd", "id": "two", "scsi-id": 5, "bus": "s.0"}),
          ("blockdev-change-medium", {"id": "two", "filename": "two", "format": "raw"}), ("device_del", {"id": "two"}))


@test
def drives_come_and_go():
    loaded(False, 25, plug)


def resize(m, turn):
    """A removable disk's medium that can be written to."""
    m.qmp(("blockdev-add", {"driver": "raw", "node-name": "m", "file": {"driver": "file", "filename": "two"}}),
          ("device_add", {"driver": "scsi-hd", "removable": True, "id": "stick", "scsi-id": 6, "bus": "s.0", "drive": "m"}),
          ("block_resize", {"node-name": "m", "size": (2 + turn % 2) << 20}), ("eject", {"id": "stick"}),
          ("device_del", {"id": "stick"}), ("blockdev-del", {"node-name": "m"}))


@test
def removable_disks():
    loaded(False, 25, resize)


sys.exit(main("kiln-scsi-media."))
