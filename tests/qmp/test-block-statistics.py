#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-block-statistics.py KILN: what query-blockstats tells of requests that are done, fail or cannot be made, of times within
intervals and in histograms: an IDE disk, driven by PIO, and a virtio disk with queues in several threads."""
import json
import os
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "state"), os.path.join(HERE, "..")]
import busy_virtio as v  # noqa: E402
import scsi_driver  # noqa: E402
from blk_queues import READ, WRITE, start  # noqa: E402
from busy_drives import bmdma_map  # noqa: E402
from machine import Machine  # noqa: E402
from tap import main, test  # noqa: E402

KILN = os.path.abspath(sys.argv[1])
BAD = 100                       # a sector that cannot be read
BEHIND = 0xFFFFF0
NEVER = 10 ** 15                # ns, longer than any request takes
BUSY, DRQ = 0x80, 8
DISCARD, ZEROES = 11, 13        # kinds of virtio's requests


class Image:
    def __enter__(self):
        self.dir = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.dir.name, "image")
        with open(self.path, "wb") as f:
            f.truncate(4 << 20)
        self.rules = os.path.join(self.dir.name, "rules")
        with open(self.rules, "w", encoding="ascii") as f:
            f.write(f'[inject-error]\nevent = "read_aio"\nsector = "{BAD}"\n')
        return self

    def __exit__(self, *_):
        self.dir.cleanup()

    def machine(self, drive="", device=""):
        return Machine(KILN, ["-nodefaults", "-drive", f"file=blkdebug:{self.rules}:{self.path},format=raw,if=none,id=d{drive}",
                              "-device", f"ide-hd,bus=ide.0,unit=0,drive=d,id=h,rerror=report{device}"])


def stats_of(m):
    return m.qmp(("query-blockstats", {}))[0][0]["stats"]


def status(m):
    return m.inb(0x1F7)


def ide(m, command, sector):
    for port, value in ((0x1F6, 0xE0 | sector >> 24), (0x1F2, 1), (0x1F3, sector & 0xFF), (0x1F4, sector >> 8 & 0xFF),
                        (0x1F5, sector >> 16 & 0xFF), (0x1F7, command)):
        m.outb(port, value)
    v.wait(lambda: not status(m) & BUSY)
    for _ in range(256 if status(m) & DRQ else 0):
        m.ask("outw 0x1f0 0" if command == 0x30 else "inw 0x1f0")
    v.wait(lambda: not status(m) & (BUSY | DRQ))


def one_of_each(m):
    for command, sector in ((0x20, 5), (0x20, BAD), (0x20, BEHIND), (0x30, 7), (0x30, BEHIND), (0xE7, 0), (0x40, BEHIND)):
        ide(m, command, sector)


def histogram(m, name="h", **boundaries):
    m.qmp(("block-latency-histogram-set", {"id": name, **{k.replace("_", "-"): w for k, w in boundaries.items()}}))


def refusal(m, name, **boundaries):
    try:
        histogram(m, name, **boundaries)
    except AssertionError as error:
        return str(error)
    return "taken"


def bins(stats):
    return {kind: stats[f"{kind}_latency_histogram"]["bins"] for kind in ("rd", "wr", "flush") if f"{kind}_latency_histogram" in stats}


@test
def counts():
    """Of what is done, what fails and what cannot be made. A verification is no read."""
    with Image() as image, image.machine() as m:
        histogram(m, boundaries=[1, NEVER])
        one_of_each(m)
        s = stats_of(m)
        assert [s[f"{kind}_operations"] for kind in ("rd", "wr", "flush", "unmap")] == [1, 1, 1, 0], s
        assert [s[f"failed_{kind}_operations"] for kind in ("rd", "wr", "flush", "unmap")] == [1, 0, 0, 0], s
        assert [s[f"invalid_{kind}_operations"] for kind in ("rd", "wr", "flush", "unmap")] == [1, 1, 0, 0], s
        assert s["rd_bytes"] == s["wr_bytes"] == 512 and s["account_failed"] and s["account_invalid"], s
        assert s["timed_stats"] == [] and bins(s) == {"rd": [0, 2, 0], "wr": [0, 1, 0], "flush": [0, 1, 0]}, s


@test
def what_counts():
    """account-failed and account-invalid, of the drive and of the device: which times are counted, and which requests are the
    last ones."""
    with Image() as image:
        for drive, device, failed, invalid in (("", "", True, True), (",stats-account-failed=off", "", False, True),
                                               (",stats-account-invalid=off", ",account-failed=off", False, False),
                                               (",stats-account-failed=off,stats-account-invalid=off", ",account-failed=on", True, False),
                                               (",stats-account-invalid=off", ",account-failed=auto,account-invalid=on", True, True)):
            with image.machine(drive, device) as m:
                ide(m, 0x20, 5)
                first = stats_of(m)
                assert (first["account_failed"], first["account_invalid"]) == (failed, invalid), first
                for sector, counted in ((BEHIND, invalid), (BAD, failed)):
                    before, at = stats_of(m)["idle_time_ns"], time.monotonic_ns()
                    ide(m, 0x20, sector)
                    idle, took = stats_of(m)["idle_time_ns"], time.monotonic_ns() - at
                    assert idle <= took if counted else idle > before, (drive, device, sector, before, idle, took)
                total = stats_of(m)["rd_total_time_ns"]
                assert (total > first["rd_total_time_ns"]) == failed, (first, total)


@test
def intervals():
    with Image() as image, image.machine(",stats-intervals.0=100000,stats-intervals.1=1,stats-intervals.2=7") as m:
        one_of_each(m)
        long, short, last = stats_of(m)["timed_stats"]
        assert (long["interval_length"], short["interval_length"], last["interval_length"]) == (100000, 1, 7)
        for kind in ("rd", "wr", "flush"):
            low, mean, high = (long[f"{which}_{kind}_latency_ns"] for which in ("min", "avg", "max"))
            assert 0 < low <= mean <= high, long
        assert long["max_wr_latency_ns"] == long["min_wr_latency_ns"] and 0 < long["avg_rd_queue_depth"] < 2, long
        want = {"interval_length": 1, **{f"{which}_{kind}_latency_ns": 0 for which in ("min", "avg", "max")
                                         for kind in ("rd", "wr", "flush")}, "avg_rd_queue_depth": 0, "avg_wr_queue_depth": 0}
        v.wait(lambda: stats_of(m)["timed_stats"][1] == want)
        assert stats_of(m)["timed_stats"][0]["max_rd_latency_ns"] == long["max_rd_latency_ns"]
        ide(m, 0x20, 5)
        assert stats_of(m)["timed_stats"][0]["min_rd_latency_ns"] > 0


@test
def histograms():
    """Each kind its own boundaries; what was counted stays where nothing is said; refused ones change nothing."""
    with Image() as image, image.machine() as m:
        assert bins(stats_of(m)) == {}
        histogram(m, boundaries=[1, 2, 3], boundaries_write=[NEVER], boundaries_flush=[])
        one_of_each(m)
        want = {"rd": [0, 0, 0, 2], "wr": [1, 0], "flush": [1]}
        assert bins(stats_of(m)) == want, bins(stats_of(m))
        for wrong in ({"boundaries": [0]}, {"boundaries": [2, 2]}, {"boundaries_write": [1, 9, 8]}, {"boundaries_flush": [5, 4]},
                      {"boundaries": [1], "boundaries_read": [0]}, {"boundaries": list(range(1, 5000))}):
            why = refusal(m, "h", **wrong)
            assert "boundaries" in why and "'h'" in why, why
        for name in ("d", "nothing", "/machine/unattached"):
            assert name in refusal(m, name, boundaries=[1]), name
        assert bins(stats_of(m)) == want, bins(stats_of(m))
        histogram(m, boundaries_read=[4])
        assert bins(stats_of(m)) == {"rd": [0, 0], "wr": [1, 0], "flush": [1]}, bins(stats_of(m))
        histogram(m)
        assert bins(stats_of(m)) == {}
        histogram(m, "/machine/peripheral/h", boundaries=[NEVER])
        ide(m, 0x20, 5)
        assert bins(stats_of(m))["rd"] == [1, 0]


@test
def several_threads():
    """The queues' threads count for themselves; it is one disk that is told of. The counts stay when the device goes."""
    with Image() as image:
        mapping = [{"iothread": f"io{i}", "vqs": [i]} for i in range(3)]
        device = {"driver": "virtio-blk-pci", "id": "h", "drive": "d", "addr": "4", "num-queues": 3, "iothread-vq-mapping": mapping}
        objects = [word for i in range(3) for word in ("-object", f"iothread,id=io{i}")]
        with Machine(KILN, ["-nodefaults", *objects, "-drive", f"file={image.path},format=raw,if=none,id=d,stats-intervals.0=100000",
                            "-device", json.dumps(device)]) as m:
            queues = start(m)
            histogram(m, "/machine/peripheral/h/virtio-backend", boundaries=[1, NEVER])
            for q in queues:
                for i in range(4):
                    q.one(WRITE, i, i)
                q.one(READ, 1)
                q.begin(READ, BEHIND)
                v.wait(q.done)
                assert q.statuses()[-1] == 1
            s = stats_of(m)
            assert (s["rd_operations"], s["wr_operations"], s["invalid_rd_operations"]) == (3, 12, 3), s
            assert bins(s) == {"rd": [0, 3, 0], "wr": [0, 12, 0], "flush": [0, 0, 0]}, s
            t = s["timed_stats"][0]
            assert 0 < t["min_wr_latency_ns"] <= t["avg_wr_latency_ns"] <= t["max_wr_latency_ns"] <= s["wr_total_time_ns"], t


# ---- ranges that cannot be discarded or zeroed; the disk has 2000h sectors

RANGES = ((BEHIND, 8), (0x1FFF, 2), (0, 0x2001))


def plain(image, *device):
    return Machine(KILN, ["-nodefaults", "-drive", f"file={image.path},format=raw,if=none,id=d,discard=unmap", *device])


def invalid(m):
    """Writes and discards; none of them failed, no other kind has any."""
    s = stats_of(m)
    assert not any(s[f"{state}_operations"] for state in ("failed_rd", "failed_wr", "failed_flush", "failed_unmap", "invalid_rd",
                                                          "invalid_flush")), s
    return s["invalid_wr_operations"], s["invalid_unmap_operations"]


def trim(m, sector, count):
    """Status register of DATA SET MANAGEMENT with one range, by DMA."""
    m.write(v.RAM, (v.RAM + 0x1000).to_bytes(4, "little") + (0x80000200).to_bytes(4, "little"))
    m.write(v.RAM + 0x1000, (sector | count << 48).to_bytes(8, "little") + bytes(504))
    m.outb(0xC000, 0)
    m.outb(0xC002, 6)
    m.outl(0xC004, v.RAM)
    for port, value in ((0x1F6, 0xE0), (0x1F1, 1), (0x1F2, 0), (0x1F2, 1), (0x1F7, 6), (0xC000, 1)):     # 48 bits: each twice
        m.outb(port, value)
    v.wait(lambda: not status(m) & (BUSY | DRQ))
    return status(m)


@test
def refused_trims():
    with Image() as image, plain(image, "-device", "ide-hd,bus=ide.0,unit=0,drive=d") as m:
        bmdma_map(m)
        for n, (sector, count) in enumerate(RANGES):
            assert trim(m, sector, count) & 1 and invalid(m) == (0, n + 1), (sector, count, invalid(m))
        assert not trim(m, 8, 8) & 1 and stats_of(m)["unmap_operations"] == 1 and invalid(m) == (0, len(RANGES))


@test
def refused_by_scsi():
    """QEMU counts UNMAP so, and WRITE SAME not at all."""
    def unmap(sector, count):
        return driver.command(bytes((0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0)), out=(22).to_bytes(2, "big") + (16).to_bytes(2, "big") + bytes(4) +
                              sector.to_bytes(8, "big") + count.to_bytes(4, "big") + bytes(4)).status

    def write_same(sector, count, discard):
        return driver.command(bytes((0x93, discard << 3)) + sector.to_bytes(8, "big") + count.to_bytes(4, "big") + bytes(2), out=bytes(512)).status

    with Image() as image, plain(image, "-device", "virtio-scsi-pci,addr=4,num_queues=1", "-device", "scsi-hd,drive=d") as m:
        driver = scsi_driver.Driver(m)
        driver.start()
        driver.command(bytes(6))    # it was reset
        for n, (sector, count) in enumerate(RANGES):
            assert unmap(sector, count) == 2 and invalid(m) == (2 * n, n + 1), (sector, count, invalid(m))
            assert write_same(sector, count, 0) == write_same(sector, count, 1) == 2 and invalid(m) == (2 * n + 2, n + 1), invalid(m)
        assert unmap(8, 8) == write_same(8, 8, 0) == write_same(8, 8, 1) == 0 and invalid(m) == (2 * len(RANGES), len(RANGES))


@test
def refused_by_virtio():
    """QEMU counts zeroes so, and discards not at all."""
    def ask(kind, sector, count):
        """Its status: the range lies where a read's data would."""
        queue.add(kind, sector, publish=False)
        head = 3 * ((queue.put - 1) % 5)
        page = queue.data + 0x4000 * ((queue.put - 1) % 5)
        m.write(page + 512, sector.to_bytes(8, "little") + count.to_bytes(4, "little") + bytes(4))
        m.write(queue.desc + 16 * (head + 1), v.descriptor(page + 512, 16, 1, head + 2))
        queue.publish()
        queue.kick()
        v.wait(queue.done)
        return queue.statuses()[-1]

    with Image() as image, plain(image, "-device", "virtio-blk-pci,drive=d,addr=4,num-queues=1") as m:
        queue, = start(m, 1)
        for n, (sector, count) in enumerate(RANGES):
            assert ask(DISCARD, sector, count) == 1 and invalid(m) == (n, n + 1), (sector, count, invalid(m))
            assert ask(ZEROES, sector, count) == 1 and invalid(m) == (n + 1, n + 1), (sector, count, invalid(m))
        assert ask(DISCARD, 8, 8) == ask(ZEROES, 8, 8) == 0 and invalid(m) == (len(RANGES), len(RANGES))


@test
def drivers():
    """What a node of the file driver counts: discards that the host was asked for."""
    with Image() as image:
        with Machine(KILN, ["-nodefaults", "-blockdev", f"driver=file,node-name=f,filename={image.path},discard=unmap",
                            "-blockdev", "driver=null-co,node-name=n"]) as m:
            m.qmp(("human-monitor-command", {"command-line": 'qemu-io f "discard 0 64k"'}))
            nodes = {e["node-name"]: e for e in m.qmp(("query-blockstats", {"query-nodes": True}))[0]}
            assert nodes["f"]["driver-specific"] == {"driver": "file", "discard-nb-ok": 1, "discard-nb-failed": 0,
                                                     "discard-bytes-ok": 65536}, nodes["f"]
            assert "driver-specific" not in nodes["n"], nodes["n"]


sys.exit(main("kiln-block-statistics."))
