#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-virtio.py KILN: what managers do to a virtio disk while its driver uses it: stop and cont, resize, errors that stop
the machine (and go on in another process), plugging in and out."""
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "state"), os.path.join(HERE, "..")]
import busy_virtio as v  # noqa: E402
from machine import Machine  # noqa: E402
from tap import main, test  # noqa: E402

KILN = os.path.abspath(sys.argv[1])
NODE = '{"driver":"%s","node-name":"d"%s}'
GEOMETRY = ",cyls=16,heads=16,secs=63"
PCI_SEL, PCI_EJ = 0xAE10, 0xAE08


def args(node, device=""):
    return ["-nodefaults", "-blockdev", node, "-device", "virtio-blk-pci,id=disk,drive=d,addr=4,werror=stop,rerror=report" + device]


def put(m, number, kind=0):
    v.begin_request(m, kind, number, v.modern_kick(m))


def done(m):
    return v.get16(m, v.USED + 2)


def status(m):
    return m.qmp(("query-status", {}))[0]["status"]


@test
def stop():
    with Machine(KILN, args(NODE % ("null-co", ""))) as m:
        v.modern_start(m, v.VERSION_1)
        for number in range(0, 20, 2):
            put(m, number)
            m.qmp(("stop", {}))
            assert done(m) == number + 1 or done(m) == number, "more than was given"
            before = done(m)
            put(m, number + 1)
            time.sleep(0.01)
            assert done(m) == before, "a stopped machine's disk works"
            m.qmp(("cont", {}))
            v.wait(lambda n=number: done(m) == n + 2)


@test
def resize():
    with Machine(KILN, args(NODE % ("null-co", ',"size":1048576'))) as m:
        v.modern_start(m, v.VERSION_1)
        generation = v.modern_common(m, 21, 1)
        assert int.from_bytes(m.read(v.BAR + 0x2000, 8), "little") == 2048
        m.qmp(("block_resize", {"node-name": "d", "size": 4 << 20}))
        v.wait(lambda: int.from_bytes(m.read(v.BAR + 0x2000, 8), "little") == 8192)
        v.wait(lambda: v.modern_common(m, 21, 1) != generation)
        assert int(m.ask(f"readb 0x{v.BAR + 0x1000:x}"), 16) & 2, "no interrupt of the configuration"


def failing(event, errno):
    """Once. The disk's geometry is to be named: guessing it would read."""
    return ('{"driver":"blkdebug","node-name":"d","image":{"driver":"null-co","read-zeroes":true},"inject-error":[{"event":"%s",'
            '"iotype":"%s","errno":%d,"once":true}]}' % ("none", event, errno))


@test
def error_stop():
    with Machine(KILN, args(failing("write", 28), GEOMETRY)) as m:
        v.modern_start(m, v.VERSION_1)
        put(m, 0, kind=1)
        v.wait(lambda: status(m) == "io-error")
        assert done(m) == 0, "a request that waits has ended"
        ram, state = m.read(v.RAM, 0x10000), m.save()
        m.qmp(("cont", {}))
        v.wait(lambda: done(m) == 1)
        assert m.read(v.DATA + 16, 1) == b"\0", "the second try failed"
    with Machine(KILN, args(failing("read", 5), GEOMETRY)) as m:
        m.write(v.RAM, ram)
        refused = m.load(state)
        assert refused is None, refused
        v.wait(lambda: done(m) == 1)
        assert m.read(v.DATA + 16, 1) == b"\0", "the other machine's try failed"
        put(m, 1)
        v.wait(lambda: done(m) == 2)
        assert m.read(v.DATA + 16, 1) == b"\1", "rerror=report does not report"


@test
def reset_with_waiting():
    with Machine(KILN, args(failing("write", 28), GEOMETRY)) as m:
        v.modern_start(m, v.VERSION_1)
        put(m, 0, kind=1)
        v.wait(lambda: status(m) == "io-error")
        m.qmp(("system_reset", {}))
        m.qmp(("cont", {}))
        m.write(v.DESC, bytes(0x3000))
        v.modern_start(m, v.VERSION_1)
        put(m, 0)
        v.wait(lambda: done(m) == 1)
        assert m.read(v.DATA + 16, 1) == b"\0"


@test
def plug():
    """In and out, requests on their way; queues in threads that come and go too."""
    with Machine(KILN, ["-nodefaults"]) as m:
        for turn in range(6):
            device = {"driver": "virtio-blk-pci", "id": "disk", "drive": "d", "addr": "4"}
            if turn % 2:
                m.qmp(("object-add", {"qom-type": "iothread", "id": "io0", "poll-max-ns": 1000 * turn}))
                device["iothread"] = "io0"
            m.qmp(("blockdev-add", {"driver": "null-co", "node-name": "d", "latency-ns": 2000000}), ("device_add", device))
            m.write(v.DESC, bytes(0x3000))
            v.modern_start(m, v.VERSION_1)
            put(m, 0)
            m.qmp(("device_del", {"id": "disk"}))
            m.outl(PCI_SEL, 0)
            m.outl(PCI_EJ, 1 << 4)
            v.wait(lambda: "disk" not in [o["name"] for o in m.qmp(("qom-list", {"path": "/machine/peripheral"}))[0]])
            assert m.config(v.SLOT, 0) == 0xFFFFFFFF
            m.qmp(("blockdev-del", {"node-name": "d"}))
            if turn % 2:
                m.qmp(("object-del", {"id": "io0"}))


@test
def names():
    """Where managers look."""
    with Machine(KILN, args(NODE % ("null-co", ""), ",serial=abc")) as m:
        info = m.qmp(("query-block", {}))[0][0]
        assert info["qdev"] == "/machine/peripheral/disk/virtio-backend", info
        for path in ("disk", "disk/virtio-backend"):
            got = m.qmp(("qom-get", {"path": f"/machine/peripheral/{path}", "property": "serial"}))[0]
            assert got == "abc", got
        listed = m.qmp(("device-list-properties", {"typename": "virtio-blk-pci"}))[0]
        assert {"drive", "iothread", "disable-legacy", "packed", "addr"} <= {p["name"] for p in listed}
        assert m.qmp(("query-iothreads", {}))[0] == []


sys.exit(main("kiln-virtio."))
