#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-scsi.py KILN: what managers do to SCSI units while their driver uses them: plugging in and out, new sizes, new media,
errors that stop the machine (and go on in another process). test-scsi-media.py has media under load."""
import json
import os
import socket
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "state"), os.path.join(HERE, "..")]
import scsi_driver as scsi  # noqa: E402
from machine import Machine  # noqa: E402
from tap import main, test  # noqa: E402

KILN = os.path.abspath(sys.argv[1])
ADAPTER = ["-nodefaults", "-device", "virtio-scsi-pci,id=s,addr=4"]
READ, WRITE = bytes((0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0)), bytes((0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0))
READY, INQUIRY, CAPACITY = bytes(6), bytes((0x12, 0, 0, 0, 36, 0)), bytes((0x25,)) + bytes(9)


def disk(name, **options):
    return ["-blockdev", json.dumps({"driver": "null-co", "node-name": name, "read-zeroes": True, **options})]


def wait(condition, what="the device does not answer"):
    end = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.001)


def sense(driver, cdb, unit, **kwargs):
    return scsi.sense_text(driver.command(cdb, target=unit[0], lun=unit[1], **kwargs).sense)


def give_events(driver, count=4):
    ring = driver.rings[scsi.EVENTS]
    for _ in range(count):
        ring.add([(ring.page + 64 * ring.free[0], 16, True)])


def next_event(driver):
    ring = driver.rings[scsi.EVENTS]
    head, written = ring.wait()
    assert written == 16, written
    ring.free.append(head)
    raw = driver.m.read(ring.page + 64 * head, 16)
    return int.from_bytes(raw[:4], "little"), raw[4:12].hex(), int.from_bytes(raw[12:], "little")


@test
def plug():
    with Machine(KILN, ADAPTER + disk("a") + ["-device", "scsi-hd,drive=a,scsi-id=0,lun=0"]) as m:
        driver = scsi.Driver(m)
        driver.start(scsi.VERSION_1 | scsi.HOTPLUG)
        give_events(driver)
        assert sense(driver, READY, (0, 0)) == "6/29/00"
        for turn in range(3):
            m.qmp(("blockdev-add", {"driver": "null-co", "node-name": "b", "size": 1 << 20, "latency-ns": 1000000}),
                  ("device_add", {"driver": "scsi-hd", "id": "disk", "drive": "b", "bus": "s.0", "scsi-id": 2, "lun": 300}))
            assert next_event(driver) == (1, "0102412c00000000", 1)
            assert sense(driver, READY, (0, 0)) == "6/3f/0e", "the others do not tell of the new unit"
            assert sense(driver, READY, (2, 300)) == "6/29/00"
            assert driver.command(CAPACITY, target=2, lun=300, read=8).data.hex() == "000007ff00000200"
            luns = driver.command(bytes((0xA0,)) + bytes(8) + bytes((64, 0, 0)), target=2, lun=0, read=64).data
            assert luns[16:24].hex() == "412c000000000000", luns.hex()
            begun = driver.begin(READ, target=2, lun=300, read=512)
            m.qmp(("device_del", {"id": "disk"}), ("blockdev-del", {"node-name": "b"}))
            driver.end(begun)
            assert next_event(driver) == (1, "0102412c00000000", 2)
            assert driver.command(READY, target=2, lun=300).response == scsi.BAD_TARGET
            give_events(driver, 2)
            assert sense(driver, READY, (0, 0)) == "6/3f/0e"
            if turn == 1:
                m.qmp(("device_add", {"driver": "scsi-cd", "id": "cd", "bus": "s.0", "scsi-id": 1}))
                next_event(driver)
                m.qmp(("device_del", {"id": "cd"}))
                next_event(driver)
                assert sense(driver, READY, (0, 0)) == "6/3f/0e"
                give_events(driver, 2)
            assert driver.command(READ, read=512).status == 0


@test
def no_buffers():
    """Events that find none are told of as missed."""
    with Machine(KILN, ADAPTER) as m:
        driver = scsi.Driver(m)
        driver.start(scsi.VERSION_1 | scsi.HOTPLUG)
        m.qmp(("device_add", {"driver": "scsi-cd", "id": "cd", "bus": "s.0"}))
        give_events(driver)
        event = next_event(driver)
        assert event == (0x80000000, "0000000000000000", 0), event


@test
def resize():
    with Machine(KILN, ADAPTER + disk("a", size=1 << 20) + ["-device", "scsi-hd,drive=a"]) as m:
        driver = scsi.Driver(m)
        driver.start(scsi.VERSION_1 | scsi.CHANGE)
        give_events(driver)
        assert sense(driver, READY, (0, 0)) == "6/29/00"
        m.qmp(("block_resize", {"node-name": "a", "size": 4 << 20}))
        assert next_event(driver) == (3, "0100000000000000", 0x092A)
        assert sense(driver, READY, (0, 0)) == "6/2a/09"
        assert driver.command(CAPACITY, read=8).data.hex() == "00001fff00000200"


def events_of(m, *commands):
    """Names and data of the events that these commands bring."""
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(m.qmp_path)
        f = s.makefile("rw")
        f.readline()
        seen = []
        for command, arguments in (("qmp_capabilities", {}), *commands):
            f.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
            f.flush()
            while True:
                reply = json.loads(f.readline())
                if "event" in reply:
                    seen.append((reply["event"], reply["data"]))
                else:
                    break
            assert "error" not in reply, reply
        return seen


@test
def media():
    for name, size in (("one", 1 << 20), ("two", 3 << 20)):
        with open(name, "wb") as f:
            f.write(name.encode() * 1000)
            f.truncate(size)
    with Machine(KILN, ADAPTER + ["-device", "scsi-cd,id=cd,scsi-id=3"]) as m:
        driver, unit = scsi.Driver(m), (3, 0)
        driver.start()
        read = {"target": 3, "read": 2048}
        first = bytes((0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0))
        assert sense(driver, READY, unit) == "6/29/00"
        assert sense(driver, READY, unit) == "2/3a/00"
        for name, last in (("one", 511), ("two", 1535), ("one", 511)):
            moved = events_of(m, ("blockdev-change-medium", {"id": "cd", "filename": name, "format": "raw"}))
            assert [data["tray-open"] for event, data in moved if event == "DEVICE_TRAY_MOVED"] == [True, False], moved
            assert sense(driver, READY, unit) == "6/3a/00"
            assert sense(driver, READY, unit) == "6/28/00"
            assert driver.command(CAPACITY, target=3, read=8).data[:4] == last.to_bytes(4, "big")
            assert driver.command(first, **read).data[:3] == name.encode()
        driver.command(bytes((0x1E, 0, 0, 0, 1, 0)), target=3)
        assert m.qmp(("query-block", {}))[0][0]["locked"] is True
        try:
            m.qmp(("eject", {"id": "cd"}))
            raise RuntimeError("a locked tray opened")
        except AssertionError as error:
            assert "is locked" in str(error), error
        status = driver.command(bytes((0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8, 0)), target=3, read=8).data
        status = driver.command(bytes((0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8, 0)), target=3, read=8).data
        assert status[4] == 1 and status[5] == 2, "no request to eject"
        driver.command(bytes((0x1E, 0, 0, 0, 0, 0)), target=3)
        m.qmp(("eject", {"id": "cd"}))
        assert sense(driver, READY, unit) == "6/3a/00"
        assert sense(driver, READY, unit) == "2/3a/00"


def failing(event, errno):
    """Once. The disk's geometry is to be named: guessing it would read."""
    return ["-blockdev", json.dumps({
        "driver": "blkdebug", "node-name": "a", "image": {"driver": "null-co", "read-zeroes": True},
        "inject-error": [{"event": "none", "iotype": event, "errno": errno, "once": True}]}), "-device",
        "scsi-hd,drive=a,cyls=16,heads=16,secs=63,werror=stop,rerror=report"]


@test
def error_stop():
    """A request that waits is done when the machine goes on: here, and in another process that took its state."""
    with Machine(KILN, ADAPTER + failing("write", 28)) as m:
        driver = scsi.Driver(m)
        driver.start()
        driver.command(READY)
        begun = driver.begin(WRITE, out=b"x" * 512)
        wait(lambda: m.qmp(("query-status", {}))[0]["status"] == "io-error")
        assert not driver.rings[scsi.COMMANDS].take(), "a request that waits has ended"
        ram, state = m.read(scsi.RAM, 0x10000), m.save()
        m.qmp(("cont", {}))
        reply = driver.end(begun)
        assert (reply.response, reply.status) == (0, 0), reply
    with Machine(KILN, ADAPTER + failing("read", 5)) as m:
        m.qmp(("stop", {}))
        scsi.take_over(m, ram, state)
        ring = driver.rings[scsi.COMMANDS]
        driver.m = m
        m.qmp(("cont", {}))
        wait(lambda: int.from_bytes(m.read(ring.used + 2, 2), "little") == ring.seen)
        assert m.read(begun[2] + 0x200 + 10, 2) == b"\0\0", "the other machine's try failed"
        assert sense(driver, READ, (0, 0), read=512) == "b/00/06", "rerror=report does not report"
        assert driver.command(READ, read=512).status == 0


@test
def reset_with_waiting():
    with Machine(KILN, ADAPTER + failing("write", 28)) as m:
        driver = scsi.Driver(m)
        driver.start()
        driver.command(READY)
        driver.begin(WRITE, out=b"x" * 512)
        wait(lambda: m.qmp(("query-status", {}))[0]["status"] == "io-error")
        m.qmp(("system_reset", {}), ("cont", {}))
        driver = scsi.Driver(m)
        driver.start()
        assert sense(driver, READY, (0, 0)) == "6/29/00"
        assert driver.command(WRITE, out=b"x" * 512).status == 0


@test
def plug_while_busy():
    """A CD drive comes while the controller's disk works."""
    for more, objects in (("", []), (",iothread=io", ["-object", "iothread,id=io"])):
        args = objects + ["-nodefaults", "-device", "virtio-scsi-pci,id=s,addr=4" + more]
        with Machine(KILN, args + disk("a", **{"latency-ns": 2000000}) + ["-device", "scsi-hd,drive=a,scsi-id=0"]) as m:
            driver = scsi.Driver(m)
            driver.start(scsi.VERSION_1)
            driver.command(READY)
            begun = [driver.begin(READ, read=512, place=i) for i in range(3)]
            m.qmp(("device_add", {"driver": "scsi-cd", "id": "cd", "scsi-id": 4, "bus": "s.0"}))
            for b in begun:
                assert driver.end(b).status == 0
            assert sense(driver, READY, (0, 0)) == "6/3f/0e"
            assert driver.command(READ, read=512).status == 0
            assert sense(driver, READY, (4, 0)) == "6/29/00"


@test
def stop():
    with Machine(KILN, ADAPTER + disk("a") + ["-device", "scsi-hd,drive=a"]) as m:
        driver = scsi.Driver(m)
        driver.start()
        driver.command(READY)
        for _ in range(8):
            m.qmp(("stop", {}))
            begun = driver.begin(READ, read=512)
            time.sleep(0.005)
            assert not driver.rings[scsi.COMMANDS].take(), "a stopped machine's disk works"
            m.qmp(("cont", {}))
            assert driver.end(begun).status == 0


@test
def names():
    """Where managers look."""
    with Machine(KILN, ADAPTER + disk("a") + ["-device", "scsi-hd,drive=a,id=disk,bus=s.0,serial=abc"]) as m:
        info = m.qmp(("query-block", {}))[0][0]
        assert info["qdev"] == "disk", info
        assert m.qmp(("qom-get", {"path": "/machine/peripheral/disk", "property": "serial"}))[0] == "abc"
        assert m.qmp(("qom-get", {"path": "/machine/peripheral/s", "property": "num_queues"}))[0] == 1
        listed = {p["name"] for p in m.qmp(("device-list-properties", {"typename": "scsi-hd"}))[0]}
        assert {"drive", "scsi-id", "lun", "channel", "dpofua", "wwn", "rotation_rate"} <= listed, listed


sys.exit(main("kiln-scsi."))
