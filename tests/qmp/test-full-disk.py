#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-full-disk.py KILN KILN-IMG: a virtio disk of several queues in several threads, a SCSI and an IDE disk whose image lies in a
file system that is full (a small tmpfs, in a mount namespace of this test's own): werror=stop and enospc stop the machine, cont
tries again, and nothing is lost or done twice, whatever happens between the two."""
import ctypes
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "state"), os.path.join(HERE, "..")]
import busy_virtio as v  # noqa: E402
import scsi_driver as scsi  # noqa: E402
from blk_queues import AT_ONCE, QUEUES, READ, SLOT, WRITE, start  # noqa: E402
from ide_driver import DMA_DATA, dma_end, dma_start  # noqa: E402
from machine import Machine  # noqa: E402
from tap import Skip, main, test  # noqa: E402

KILN = os.path.abspath(sys.argv[1])
KILN_IMG = os.path.abspath(sys.argv[2])
SIZE = 4 << 20
REQUEST = 8192                      # two pages of the file system: one may fit and the other not
PLACE = "full"
THREADS = ["-object", "iothread,id=io0", "-object", "iothread,id=io1,poll-max-ns=0"]
NAMED = [{"iothread": "io0", "vqs": [0, 2]}, {"iothread": "io1", "vqs": [1]}]
PCI_SEL, PCI_EJ = 0xAE10, 0xAE08
MS_PRIVATE_REC = 1 << 18 | 1 << 14


def enter_namespace():
    """Mounts of this process's own. None, or why there are none."""
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.geteuid(), os.getegid()
    if libc.unshare(0x00020000 | (0x10000000 if uid else 0)):
        return os.strerror(ctypes.get_errno())
    if uid:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as f:
                f.write(text)
    if libc.mount(b"none", b"/", None, MS_PRIVATE_REC, None):
        return os.strerror(ctypes.get_errno())
    return None


WHY_NOT = enter_namespace()


class FullDisk:
    """A tmpfs of 1 MiB with an image, of which so many pages are free."""

    def __init__(self, kind, free):
        if WHY_NOT:
            raise Skip(f"no mount namespace can be made: {WHY_NOT}")
        self.kind, self.free = kind, free
        self.image, self.ballast = os.path.join(PLACE, "image"), os.path.join(PLACE, "ballast")

    def __enter__(self):
        os.makedirs(PLACE, exist_ok=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "none", PLACE], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Skip(f"no tmpfs can be mounted: {done.stderr.strip()}")
        if self.kind == "qcow2":
            subprocess.run([KILN_IMG, "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", self.image, str(SIZE)], check=True)
        else:
            with open(self.image, "wb") as f:
                f.truncate(SIZE)
        self.fill(self.free)
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", PLACE], check=True)

    def fill(self, free):
        """So many pages are free; what there was is given back first."""
        self.empty()
        with open(self.ballast, "wb", buffering=0) as f:
            space = os.statvfs(PLACE)
            for _ in range(space.f_bavail - free):
                f.write(bytes(4096))

    def empty(self):
        if os.path.exists(self.ballast):
            os.unlink(self.ballast)

    def node(self):
        file = {"driver": "file", "filename": self.image}
        if self.kind == "blkdebug":     # it takes requests in its own thread only
            return {"driver": "blkdebug", "node-name": "d", "image": file}
        return {"driver": self.kind, "node-name": "d", "file": file}


def machine(disk, mapping=NAMED, werror="stop"):
    device = {"driver": "virtio-blk-pci", "id": "disk", "drive": "d", "addr": "4", "num-queues": QUEUES, "werror": werror}
    if mapping is not None:
        device["iothread-vq-mapping"] = mapping
    return Machine(KILN, ["-nodefaults", *THREADS, "-blockdev", json.dumps(disk.node()), "-device", json.dumps(device)])


def status(m):
    return m.qmp(("query-status", {}))[0]["status"]


def wait_stopped(m):
    v.wait(lambda: status(m) == "io-error")
    return m.qmp(("query-block", {}))[0][0]["io-status"]


def sector(q, i):
    return 16 * (QUEUES * i + q.index + 1)


def write_all(queues, seed):
    for q in queues:
        for i in range(AT_ONCE):
            q.add(WRITE, sector(q, i), seed + 16 * q.index + i, REQUEST)
    for q in queues:
        q.kick()


def ended(m, queues):
    """How many requests ended since the queues were empty, none of them badly and none twice."""
    count = 0
    for q in queues:
        before, now = q.put - AT_ONCE, v.get16(m, q.used + 2)
        assert before <= now <= q.put, f"queue {q.index}: {now} of {q.put} requests have ended"
        ids = [int.from_bytes(m.read(q.used + 4 + 8 * (n % 16), 4), "little") for n in range(before, now)]
        assert len(set(ids)) == len(ids), f"queue {q.index}: a request ended twice: {ids}"
        for i in ids:
            assert m.read(q.data + SLOT * (i // 3) + 16, 1) == b"\0", f"queue {q.index}: request {i} failed"
        count += len(ids)
    return count


def check_contents(m, queues, seed):
    """What was written is there, read by the next queue."""
    for q in queues:
        other = queues[(q.index + 1) % QUEUES]
        for i in range(AT_ONCE):
            other.add(READ, sector(q, i), None, REQUEST)
        other.kick()
        other.end()
        for i in range(AT_ONCE):
            page = other.data + SLOT * ((other.put - AT_ONCE + i) % AT_ONCE) + 512
            got, want = m.read(page, REQUEST), bytes([seed + 16 * q.index + i]) * REQUEST
            assert got == want, f"queue {q.index} request {i}: 0x{got[0]:02x}..0x{got[-1]:02x} instead of 0x{want[0]:02x}"


def wait_all(queues):
    for q in queues:
        v.wait(q.done)


def stop_and_go_on(kind, mapping, werror):
    with FullDisk(kind, 7) as disk, machine(disk, mapping, werror) as m:
        queues = start(m)
        write_all(queues, 1)
        assert wait_stopped(m) == "nospace"
        first = ended(m, queues)
        assert first < QUEUES * AT_ONCE, "all was written into a full file system"
        for free in (0, 9):             # still no room; some room
            disk.fill(free)
            m.qmp(("cont", {}))
            wait_stopped(m)
            again = ended(m, queues)
            assert first <= again < QUEUES * AT_ONCE, f"{first} requests had ended, now {again}"
            first = again
        disk.empty()
        m.qmp(("cont", {}))
        wait_all(queues)
        assert ended(m, queues) == QUEUES * AT_ONCE
        assert m.qmp(("query-block", {}))[0][0]["io-status"] == "ok"
        check_contents(m, queues, 1)
        check_contents(m, queues, 1)    # and nothing comes after it


@test
def stop_straight():
    """All queues go straight into the file, each in its thread."""
    for mapping in (NAMED, None):
        for werror in ("stop", "enospc"):
            stop_and_go_on("raw", mapping, werror)


@test
def stop_through_owner():
    """The requests of further queues are handed to the disk's own thread."""
    stop_and_go_on("blkdebug", NAMED, "stop")
    stop_and_go_on("qcow2", NAMED, "enospc")


@test
def default_is_enospc():
    with FullDisk("raw", 3) as disk:
        device = {"driver": "virtio-blk-pci", "id": "disk", "drive": "d", "addr": "4", "num-queues": QUEUES}
        with Machine(KILN, ["-nodefaults", "-blockdev", json.dumps(disk.node()), "-device", json.dumps(device)]) as m:
            queues = start(m)
            write_all(queues, 1)
            wait_stopped(m)
            disk.empty()
            m.qmp(("cont", {}))
            wait_all(queues)
            check_contents(m, queues, 1)


@test
def report():
    """werror=report: the guest hears of each, and the machine runs."""
    with FullDisk("raw", 5) as disk, machine(disk, werror="report") as m:
        queues = start(m)
        write_all(queues, 1)
        wait_all(queues)
        results = [s for q in queues for s in q.statuses()]
        assert set(results) <= {0, 1} and results.count(1) >= QUEUES * AT_ONCE - 5, results
        assert status(m) == "running"
        disk.empty()
        write_all(queues, 3)
        wait_all(queues)
        check_contents(m, queues, 3)


@test
def reset_while_stopped():
    """What waits for a retry is forgotten: it is not written later."""
    for kind in ("raw", "blkdebug"):
        with FullDisk(kind, 0) as disk, machine(disk) as m:
            for turn in range(3):
                queues = start(m)
                write_all(queues, 1)
                wait_stopped(m)
                assert ended(m, queues) == 0
                if turn == 0:
                    m.qmp(("system_reset", {}))
                elif turn == 1:
                    v.modern_common(m, 20, 1, 0)    # the driver's
                else:
                    for q in queues:                # each queue's
                        v.modern_common(m, 22, 2, q.index)
                        v.modern_common(m, 58, 2, 1)
                m.qmp(("cont", {}))
            disk.empty()
            queues = start(m)
            for q in queues:
                for i in range(AT_ONCE):
                    q.add(READ, sector(q, i), None, REQUEST)
                q.kick()
                q.end()
                for i in range(AT_ONCE):
                    got = m.read(q.data + SLOT * i + 512, 512)
                    assert got == bytes(512), "a request of before the reset was done"
            write_all(queues, 5)
            wait_all(queues)
            check_contents(m, queues, 5)


@test
def another_process_goes_on():
    """The state has the requests of all queues that wait; the other process does them."""
    for kind in ("raw", "qcow2"):
        with FullDisk(kind, 5) as disk:
            with machine(disk) as m:
                queues = start(m)
                write_all(queues, 1)
                wait_stopped(m)
                before = ended(m, queues)
                ram, state = m.read(v.RAM, 0x60000), m.save()
                disk.empty()        # what it knows of the image's tables is written at its end
            with machine(disk) as m:
                m.write(v.RAM, ram)
                refused = m.load(state)
                assert refused is None, refused
                for q in queues:
                    q.m = m
                m.qmp(("cont", {}))
                wait_all(queues)
                assert before < ended(m, queues) == QUEUES * AT_ONCE
                check_contents(m, queues, 1)


@test
def unplug_while_stopped():
    with FullDisk("raw", 2) as disk, machine(disk) as m:
        write_all(start(m), 1)
        wait_stopped(m)
        m.qmp(("device_del", {"id": "disk"}))
        m.outl(PCI_SEL, 0)
        m.outl(PCI_EJ, 1 << 4)
        v.wait(lambda: "disk" not in [o["name"] for o in m.qmp(("qom-list", {"path": "/machine/peripheral"}))[0]])
        m.qmp(("cont", {}), ("blockdev-del", {"node-name": "d"}), ("object-del", {"id": "io0"}), ("object-del", {"id": "io1"}))


def other_disk(disk, device, werror, *adapter):
    return Machine(KILN, ["-nodefaults", *THREADS, "-blockdev", json.dumps(disk.node()), *adapter, "-device", f"{device},drive=d,werror={werror}"])


def fill_again(m, disk):
    """cont without space, and with some, stops it again."""
    assert wait_stopped(m) == "nospace"
    for free in (0, 3):
        disk.fill(free)
        m.qmp(("cont", {}))
        assert wait_stopped(m) == "nospace"
    disk.empty()
    m.qmp(("cont", {}))


@test
def scsi_commands():
    """Several are under way, in a named thread and in Kiln's own."""
    def rw(op, i):
        return bytes((op, 0, 0, 0, 0, 16 * i, 0, 0, 16, 0))
    for kind in ("raw", "qcow2", "blkdebug"):
        for threads in (",iothread=io0", ""):
            with FullDisk(kind, 5) as disk, other_disk(disk, "scsi-hd", "enospc", "-device", "virtio-scsi-pci,addr=4" + threads) as m:
                driver = scsi.Driver(m)
                driver.start()
                driver.command(bytes(6))
                ring = driver.rings[scsi.COMMANDS]
                begun = [driver.begin(rw(0x2A, i), out=bytes([i + 1]) * REQUEST, place=i) for i in range(AT_ONCE)]
                fill_again(m, disk)
                heads = [ring.wait()[0] for _ in begun]
                assert sorted(heads) == sorted(head for head, *_ in begun), f"a command ended twice: {heads}"
                for _, slots, page, *_ in begun:
                    ring.free += slots
                    assert m.read(page + 0x200 + 10, 2) == b"\0\0", "a command failed"
                for i in range(AT_ONCE):
                    assert driver.command(rw(0x28, i), read=REQUEST).data == bytes([i + 1]) * REQUEST, f"command {i}"


@test
def ide_transfer():
    """One, of more than there is room for."""
    for kind in ("raw", "qcow2"):
        for werror in ("stop", "enospc"):
            with FullDisk(kind, 5) as disk, other_disk(disk, "ide-hd,bus=ide.0,unit=0", werror) as m:
                dma_start(m, 64, 7, 120)
                fill_again(m, disk)
                dma_end(m)
                m.write(DMA_DATA, bytes(120 * 512))
                dma_start(m, 64, count=120)
                dma_end(m)
                assert m.read(DMA_DATA, 120 * 512) == bytes([7]) * (120 * 512)


sys.exit(main("kiln-full-disk."))
