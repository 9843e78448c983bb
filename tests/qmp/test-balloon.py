#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-balloon.py KILN: a balloon as managers see it: how large it should be and is, events, statistics, what is refused."""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "state"), os.path.join(HERE, "..")]
import busy_queues as v  # noqa: E402
from busy_virtio import modern_common  # noqa: E402
from machine import Machine  # noqa: E402
from qmpclient import Connection  # noqa: E402
from tap import main, test  # noqa: E402

KILN = os.path.abspath(sys.argv[1])
MIB = 1 << 20
ARGS = ["-nodefaults", "-device", "virtio-balloon-pci,id=balloon0,addr=4"]
BALLOON = "/machine/peripheral/balloon0"


def config(m):
    raw = m.read(v.BAR + 0x2000, 8)
    return int.from_bytes(raw[:4], "little"), int.from_bytes(raw[4:], "little")


@test
def target():
    with Machine(KILN, ARGS) as m:
        q = Connection(m.qmp_path).negotiate()
        assert q.do("query-balloon") == {"actual": 64 * MIB}
        q.do("balloon", value=16 * MIB)             # before there is a driver
        v.start_queues(m, v.VERSION_1, range(3))
        assert config(m) == (48 * MIB // 4096, 0)
        m.ask(f"readb 0x{v.BAR + 0x1000:x}")
        q.do("balloon", value=20 * MIB)
        assert config(m) == (44 * MIB // 4096, 0)
        assert int(m.ask(f"readb 0x{v.BAR + 0x1000:x}"), 16) & 2, "no interrupt of the configuration"
        v.set_word(m, 4, 44 * MIB // 4096)
        assert q.wait("BALLOON_CHANGE") == {"actual": 20 * MIB}
        assert q.do("query-balloon") == {"actual": 20 * MIB}
        assert q.hmp("info balloon") == "balloon: actual=20\r\n"
        v.set_word(m, 4, 1000000)                   # more than there is
        assert q.do("query-balloon") == {"actual": 0}
        assert q.wait("BALLOON_CHANGE") == {"actual": 0}
        assert q.hmp("balloon 30") == ""
        assert config(m)[0] == 34 * MIB // 4096
        q.do("balloon", value=1 << 62)
        assert config(m)[0] == 0
        for bad in (0, -1):
            assert "expects a size" in q.command("balloon", value=bad)["error"]["desc"]
        assert "expects a size" in q.hmp("balloon -5")
        q.close()


@test
def none():
    with Machine(KILN, ["-nodefaults"]) as m:
        q = Connection(m.qmp_path).negotiate()
        for reply in (q.command("query-balloon"), q.command("balloon", value=1 << 20)):
            assert reply["error"]["class"] == "DeviceNotActive", reply
        assert "No balloon device" in q.hmp("info balloon")
        q.do("device_add", driver="virtio-balloon-pci", id="balloon0", addr="4")
        assert q.do("query-balloon") == {"actual": 64 * MIB}
        assert "Only one" in q.command("device_add", driver="virtio-balloon-pci", id="b1")["error"]["desc"]
        q.close()


@test
def stats():
    unknown = (1 << 64) - 1
    with Machine(KILN, ARGS) as m:
        q = Connection(m.qmp_path).negotiate()

        def get(name):
            return q.do("qom-get", path=BALLOON, property=name)

        listed = {p["name"]: p["type"] for p in q.do("qom-list", path=BALLOON)}
        assert listed["guest-stats"] == "guest statistics" and listed["guest-stats-polling-interval"] == "int", listed
        assert get("guest-stats")["last-update"] == 0 and set(get("guest-stats")["stats"].values()) == {unknown}
        v.start_queues(m, v.VERSION_1 | v.STATS, range(3))
        v.put_buffer(m, 2, 0, 30, b"".join(tag.to_bytes(2, "little") + value.to_bytes(8, "little") for tag, value in
                                           ((4, 12345), (5, 1 << 40), (99, 7))))
        q.do("qom-set", path=BALLOON, property="guest-stats-polling-interval", value=2)
        v.wait(lambda: v.used(m, 2) == 1)           # given back at once: fresh ones are wanted
        assert get("guest-stats-polling-interval") == 2
        stats = get("guest-stats")
        assert stats["last-update"] > 1600000000, stats
        assert stats["stats"]["stat-free-memory"] == 12345 and stats["stats"]["stat-total-memory"] == 1 << 40
        assert stats["stats"]["stat-disk-caches"] == unknown and len(stats["stats"]) == 10
        v.put_buffer(m, 2, 1, 10, b"\x08\x00" + (5).to_bytes(8, "little"))
        v.wait(lambda: get("guest-stats")["stats"]["stat-htlb-pgalloc"] == 5)
        assert get("guest-stats")["stats"]["stat-free-memory"] == unknown
        m.step(1999 * v.MS)
        assert v.used(m, 2) == 1
        m.step(2 * v.MS)
        v.wait(lambda: v.used(m, 2) == 2)
        q.do("qom-set", path=BALLOON, property="guest-stats-polling-interval", value=0)
        v.put_buffer(m, 2, 2, 10, b"\x08\x00" + bytes(8))
        m.step(10000 * v.MS)
        assert v.used(m, 2) == 2
        for bad in (-1, 1 << 32, "x"):
            assert "error" in q.command("qom-set", path=BALLOON, property="guest-stats-polling-interval", value=bad), bad
        assert "error" in q.command("qom-set", path=BALLOON, property="guest-stats", value={})
        q.close()


@test
def state():
    """The statistics' buffer, which no state names, is asked for again; a state without the queue of reports is taken."""
    with Machine(KILN, ARGS) as m:
        v.start_queues(m, v.VERSION_1 | v.STATS, range(3))
        v.put_buffer(m, 2, 0, 10, b"\x04\x00" + (77).to_bytes(8, "little"))
        v.set_word(m, 4, 16)
        v.wait(lambda: m.qmp(("qom-get", {"path": BALLOON, "property": "guest-stats"}))[0]["last-update"])
        state, ram = m.save(), m.read(v.RAM, 0x10000)
        m.qmp(("qom-set", {"path": BALLOON, "property": "guest-stats-polling-interval", "value": 1}))
        v.wait(lambda: v.used(m, 2) == 1)
    with Machine(KILN, [*ARGS[:2], ARGS[2] + ",guest-stats-polling-interval=1"]) as m:
        m.write(v.RAM, ram)
        refused = m.load(state)
        assert refused is None, refused
        v.wait(lambda: m.qmp(("qom-get", {"path": BALLOON, "property": "guest-stats"}))[0]["stats"]["stat-free-memory"] == 77)
        m.step(1001 * v.MS)
        v.wait(lambda: v.used(m, 2) == 1)
        assert m.qmp(("query-balloon", {}))[0] == {"actual": 64 * MIB - 16 * 4096}
    with Machine(KILN, [*ARGS[:2], ARGS[2] + ",free-page-reporting=off"]) as m:
        old = m.save()
        refused = m.load(state)
        assert refused and "4 queues in the state, 3 here" in refused, refused
    with Machine(KILN, ARGS) as m:
        refused = m.load(old)
        assert refused is None, refused


# ---- while its thread has much to do

RING_RESET = 1 << 40
LIST, GIVEN, PAGES, SIZE = 32 * MIB, 16 * MIB, 4096, 16  # page numbers, their pages (neighbours far apart), buffers in a ring
MODULE = 1 << 32


def busy(m, given=GIVEN):
    """The driver gives full rings of long lists and large reports, and has not waited for anything."""
    m.write(v.RAM, bytes(4 * v.QUEUE_AREA))
    m.write(LIST, v.pages(*(given // 4096 + (i * 2053) % PAGES for i in range(PAGES))))
    v.start_queues(m, v.VERSION_1 | RING_RESET | v.STATS | v.REPORTING, range(4), SIZE)
    for queue in (0, 1, 3):
        buffer = v.descriptor(given, PAGES * 4096, 2) if queue == 3 else v.descriptor(LIST, 4 * PAGES, 0)
        m.write(v.ring(queue), buffer * SIZE)
        m.write(v.ring(queue) + 0x404, b"".join(i.to_bytes(2, "little") for i in range(SIZE)))
        v.put16(m, v.ring(queue) + 0x402, SIZE)
        m.ask(f"writew 0x{v.BAR + 0x3000 + 4 * queue:x} {queue}")
    v.put_buffer(m, 2, 0, 10, b"\x04\x00" + (77).to_bytes(8, "little"))


def done(m):
    return all(v.used(m, queue) == SIZE for queue in (0, 1, 3))


@test
def stopped_and_saved():
    with Machine(KILN, ARGS) as m, Machine(KILN, ARGS) as other:
        for turn in range(3):
            busy(m)
            for _ in range(10):
                m.qmp(("stop", {}), ("query-balloon", {}), ("cont", {}))
            m.qmp(("stop", {}))
            state, rings, pages = m.save(), m.read(v.RAM, 0x10000), m.read(LIST, 4 * PAGES)
            m.qmp(("cont", {}))
            v.wait(lambda: done(m))
            other.write(v.RAM, rings)
            other.write(LIST, pages)
            refused = other.load(state)
            assert refused is None, refused
            v.wait(lambda: done(other))
            for machine in (m, other):
                v.wait(lambda machine=machine: machine.qmp(("qom-get", {"path": BALLOON, "property": "guest-stats"}))[0]["last-update"])
                assert not any(machine.read(GIVEN, 4096)), turn


@test
def reset_and_gone():
    with Machine(KILN, ARGS) as m:
        q = Connection(m.qmp_path).negotiate()
        for _ in range(3):
            busy(m)
            modern_common(m, 20, 1, 0)        # the driver's reset
            busy(m)
            modern_common(m, 22, 2, 1)        # of the deflate queue alone
            modern_common(m, 58, 2, 1)
            v.wait(lambda: v.used(m, 0) == SIZE and v.used(m, 3) == SIZE)
            busy(m)
            q.do("system_reset")
        for _ in range(3):
            busy(m)
            q.do("device_del", id="balloon0")
            m.outl(0xAE08, 1 << 4)              # what the guest's ACPI does
            while q.wait("DEVICE_DELETED").get("device") != "balloon0":
                pass
            assert q.command("query-balloon")["error"]["class"] == "DeviceNotActive"
            q.do("device_add", driver="virtio-balloon-pci", id="balloon0", addr="4")
        q.close()


@test
def module_goes():
    """Its memory is taken out of the machine while pages of it are given back."""
    backend = {"qom_type": "memory-backend-memfd", "id": "module", "size": 64 * MIB}
    with Machine(KILN, [*ARGS, "-m", "64,slots=1,maxmem=1G"]) as m:
        q = Connection(m.qmp_path).negotiate()
        for _ in range(5):
            q.do("object-add", **backend)
            q.do("device_add", driver="pc-dimm", id="dimm", memdev="module")
            busy(m, MODULE)
            q.do("device_del", id="dimm")
            m.ask("outl 0xa00 0")
            m.ask("outb 0xa14 8")
            while q.wait("DEVICE_DELETED").get("device") != "dimm":
                pass
            q.do("object-del", id="module")
            # Page numbers of nothing are dropped; a report of what is no RAM is a malformed buffer.
            v.wait(lambda: done(m) or modern_common(m, 20, 1) & 0x40)
        q.close()


sys.exit(main("kiln-balloon."))
