#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-io-error-kinds.py KILN: every kind of request of a virtio, SCSI and IDE disk fails, by each policy, again and again: what the
guest and the manager see; and errors that come while the machine stops for something else. Where QEMU 7.2 is installed it has to
say the same."""
import errno
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "state"), os.path.join(HERE, "..")]
import blk_queues as blk  # noqa: E402
import busy_virtio as v  # noqa: E402
import ide_driver as ide  # noqa: E402
from io_errors import (IDE, SCSI, VIRTIO, Manager, device_args, drive_args, failing_image, rules, scsi_command, until_done,  # noqa: E402
                       virtio_writes)
from machine import Machine  # noqa: E402
from oracle import programs, running  # noqa: E402
from tap import main, test  # noqa: E402

KILN = os.path.abspath(sys.argv[1])
EIO, ENOSPC = errno.EIO, errno.ENOSPC

# ---- kinds of requests: each begins one; the function that it gives says how it ended, or None before that ----------------


def virtio(kind, flags=0):
    def begin(m):
        queue = blk.start(m, 1)[0]
        if kind in (blk.DISCARD, blk.ZEROES):
            queue.add_range(kind, 8, 8, flags)
        else:
            if kind == blk.FLUSH:
                queue.one(blk.WRITE, 8, 1)      # else QEMU has nothing to flush
            queue.add(kind, 8, 1 if kind == blk.WRITE else None)
        queue.kick()
        return lambda: queue.statuses()[-1:] if queue.done() else None
    return begin


def cdb(op, flags=0, blocks=1):
    return bytes((op, flags, 0, 0, 0, 8, 0, 0, blocks, 0))


def unmap(*ranges):
    data = b"".join(lba.to_bytes(8, "big") + count.to_bytes(4, "big") + bytes(4) for lba, count in ranges)
    return (len(data) + 6).to_bytes(2, "big") + len(data).to_bytes(2, "big") + bytes(4) + data


def scsi(command, **data):
    return lambda m: scsi_command(m, command, **data)


DISK, BUS_MASTER = 0x3F6, 0xC102


def ide_end(m, port=DISK, bits=0, where=True):
    """It has ended when the disk is not busy and one of these bits is there. QEMU has other sectors than Kiln at the end of a TRIM."""
    def status():
        """Of the disk and of the bus master, and where the disk is at."""
        if m.inb(DISK) & ide.BUSY or (bits and not m.inb(port) & bits):
            return None
        return [m.inb(p) for p in (DISK, BUS_MASTER, 0x1F1, 0x1F2, *((0x1F3, 0x1F4, 0x1F5) if where else ()), 0x1F6)]
    return status


def ide_dma(fill):
    def begin(m):
        ide.dma_start(m, 8, fill)
        return ide_end(m, BUS_MASTER, 4)
    return begin


def ide_trim(m):
    ide.trim_start(m, (16, 8), (32, 8))
    return ide_end(m, BUS_MASTER, 4, where=False)


def ide_pio(command, count, at_once=1, write=False):
    """at_once: sectors of a piece (SET MULTIPLE MODE)."""
    def begin(m):
        ide.bus_master(m)
        if at_once > 1:
            ide.ide_start(m, 0xC6, 0, at_once)
        ide.ide_start(m, command, 8, count)
        for _ in range(256 * at_once if write else 0):
            m.outw(0x1F0, 0x4141)
        return ide_end(m, DISK, ide.DRQ | ide.ERR)
    return begin


def ide_flush(command):
    def begin(m):
        ide.bus_master(m)
        ide.ide_write(m, 5, 1)
        ide.ide_start(m, command, 0)
        return ide_end(m)
    return begin


KINDS = {
    VIRTIO: {"read": ("read", virtio(blk.READ)), "write": ("write", virtio(blk.WRITE)), "flush": ("flush", virtio(blk.FLUSH)),
             "discard": ("discard", virtio(blk.DISCARD)), "zeroes": ("write-zeroes", virtio(blk.ZEROES)),
             "zeroes, unmapped": ("write-zeroes", virtio(blk.ZEROES, blk.UNMAP))},
    SCSI: {"READ": ("read", scsi(cdb(0x28), read=512)), "WRITE": ("write", scsi(cdb(0x2A), out=b"x" * 512)),
           "READ with FUA": ("read", scsi(cdb(0x28, 8), read=512)), "WRITE with FUA": ("write", scsi(cdb(0x2A, 8), out=b"x" * 512)),
           "READ with FUA, which flushes": ("flush", scsi(cdb(0x28, 8), after=cdb(0x2A), read=512)),
           "SYNCHRONIZE CACHE": ("flush", scsi(cdb(0x35), after=cdb(0x2A))),
           "UNMAP": ("discard", scsi(bytes((0x42, 0, 0, 0, 0, 0, 0, 0, 40, 0)), out=unmap((0, 8), (16, 8)))),
           "WRITE SAME": ("write", scsi(cdb(0x41, 0, 8), out=b"y" * 512)),
           "WRITE SAME of zeros": ("write-zeroes", scsi(cdb(0x41, 0, 8), out=bytes(512))),
           "WRITE SAME that unmaps": ("write-zeroes", scsi(cdb(0x41, 8, 8), out=bytes(512)))},
    IDE: {"READ DMA": ("read", ide_dma(None)), "WRITE DMA": ("write", ide_dma(1)), "TRIM": ("discard", ide_trim),
          "READ SECTORS": ("read", ide_pio(0x20, 2)), "READ MULTIPLE": ("read", ide_pio(0xC4, 4, 2)),
          "WRITE SECTORS": ("write", ide_pio(0x30, 2, write=True)), "WRITE MULTIPLE": ("write", ide_pio(0xC5, 4, 2, True)),
          "FLUSH CACHE": ("flush", ide_flush(0xE7)), "FLUSH CACHE EXT": ("flush", ide_flush(0xEA))},
}


def every(policy, codes, check):
    for device, kinds in KINDS.items():
        for name, (iotype, begin) in kinds.items():
            args = drive_args(device, f"rerror={policy},werror={policy}", rules(iotype, codes))
            mine, *others = [until_done(program, args, begin) for program in programs(KILN)]
            assert not others or mine == others[0], f"{device} {name} {policy} {codes}:\n{mine}\nQEMU:\n{others[0]}"
            told = [data for turn in mine for event, data in turn[1] if event == "BLOCK_IO_ERROR"]
            check(f"{device} {name}: {mine}", iotype, mine, told)


@test
def stop():
    """A second failure stops it again."""
    def check(what, iotype, turns, told):
        # A stop flushes, which may be what a rule lets fail.
        assert len(turns) == (3 if iotype != "flush" else 2), what
        assert [t[2] for t in turns] == ["io-error"] * (len(turns) - 1) + ["running"], what
        assert [t[3] for t in turns] == [["failed"], ["nospace"], ["ok"]][:len(turns) - 1] + [["ok"]], what
        assert {d["action"] for d in told} == {"stop"} and len(told) == len(turns) - 1, what
    every("stop", (EIO, ENOSPC), check)


@test
def enospc():
    """It stops when there is no space."""
    def check(what, _, turns, told):
        assert [t[2] for t in turns] == ["io-error", "running"] and turns[0][3] == ["nospace"], what
        assert [d["nospace"] for d in told] == [True], what
    every("enospc", (ENOSPC,), check)


@test
def report():
    def check(what, _, turns, told):
        assert len(turns) == len(told) == 1 and told[0]["action"] == "report", what
    every("report", (EIO,), check)


@test
def ignore():
    def check(what, _, turns, told):
        assert len(turns) == 1 and told and {d["action"] for d in told} == {"ignore"}, what
    every("ignore", (EIO,), check)


# ---- several errors ------------------------------------------------------------------------------------------------------


@test
def first_error_tells_why():
    """The disk's status is that of what stopped the machine, whatever fails after it, until cont."""
    for codes, status in (((EIO, ENOSPC), "failed"), ((ENOSPC, EIO), "nospace")):
        inject = [rule for code, sector in zip(codes, (8, 100)) for rule in rules("write", [code], sector=sector)]
        for program in programs(KILN):
            with running(program, drive_args(VIRTIO, "werror=stop", inject)) as m:
                manager = Manager(m)
                queue = virtio_writes(m, 8, 100)
                manager.wait("io-error")
                told = []
                v.wait(lambda: told.extend(e for e in manager.events() if e[0] == "BLOCK_IO_ERROR") or len(told) == 2)  # pylint: disable=cell-var-from-loop
                assert [d["reason"] for _, d in told] == [os.strerror(code) for code in codes], (program, told)
                assert manager.disks() == [status], (program, codes, manager.disks())
                manager.c.do("cont")
                queue.end()
                assert manager.disks() == ["ok"], (program, manager.disks())
                manager.c.close()


@test
def others_than_what_failed_go_on():
    """Of five writes two fail, each time: cont does these again, and no other."""
    for iothread in ("", ",iothread=io0"):
        device = device_args(VIRTIO + iothread, "werror=stop")
        node = failing_image(rules("write", [EIO, ENOSPC], sector=24) + rules("write", [ENOSPC], sector=56)) | {"node-name": "d"}
        with Machine(KILN, ["-object", "iothread,id=io0", "-blockdev", json.dumps(node), *device]) as m:
            manager = Manager(m)
            queue = virtio_writes(m, 8, 24, 40, 56, 72)
            for done in (3, 4):
                manager.wait("io-error")
                v.wait(lambda: v.get16(m, queue.used + 2) >= done)      # pylint: disable=cell-var-from-loop
                assert v.get16(m, queue.used + 2) == done
                manager.c.do("cont")
            queue.end()
            wrote = manager.c.do("query-blockstats")[0]["stats"]["wr_operations"]
            assert wrote == 5, wrote
            manager.c.close()


# ---- errors while the machine stops, or has stopped, for something else ----------------------------------------------------


def slow_disk(program, **more):
    """Its second request waits for a second, or until it is drained, and fails."""
    inject = rules("write", [ENOSPC], sector=64)
    return running(program, drive_args(VIRTIO, "werror=stop", inject, ",throttling.iops-write=1"), **more)


def begin_slow(m):
    queue = virtio_writes(m, 8, 64)
    v.wait(lambda: v.get16(m, queue.used + 2) == 1)
    return queue


@test
def error_while_stopping():
    """The manager's own stop stays what it is; cont tries again, and no late request to stop ends that."""
    for program in programs(KILN):
        for together in (False, True):
            with slow_disk(program) as m:
                manager = Manager(m)
                queue = begin_slow(m)
                if together:
                    manager.c.send(b'{"execute":"stop"}\n{"execute":"cont"}\n')
                    assert [manager.c.reply() for _ in range(2)] == [{"return": {}}] * 2
                else:
                    manager.c.do("stop")
                    assert (manager.status(), manager.disks()) == ("paused", ["nospace"]), (program, manager.status(), manager.disks())
                    manager.c.do("cont")
                queue.end()
                names = [name for name, _ in manager.events()]
                assert sorted(names) == ["BLOCK_IO_ERROR", "RESUME", "STOP"], (program, together, names)
                assert (manager.status(), manager.disks()) == ("running", ["ok"]), (program, together)
                manager.c.close()


@test
def error_while_suspending():
    """The guest sleeps, can be woken, and its disk's request is done after cont only if somebody says so."""
    with slow_disk(KILN) as m:
        manager = Manager(m)
        begin_slow(m)
        m.config(1 << 3 | 3, 0x40, 0xB001)
        m.config(1 << 3 | 3, 0x80, 1, 1)
        m.outw(0xB004, 1 << 13 | 1 << 10)       # to RAM
        manager.wait("suspended")
        v.wait(lambda: manager.disks() == ["nospace"])
        assert manager.status() == "suspended", manager.status()
        manager.c.do("system_wakeup")
        manager.wait("running")
        manager.c.close()


@test
def quit_while_waiting():
    """What waits for cont is given up with the machine."""
    for device, kinds in KINDS.items():
        for name, (iotype, begin) in kinds.items():
            with Machine(KILN, drive_args(device, "rerror=stop,werror=stop", rules(iotype, [EIO], once=False))) as m:
                manager = Manager(m)
                begin(m)
                manager.wait("io-error")
                manager.c.do("quit")
                assert m.process.wait(100) == 0, (device, name)
                manager.c.close()


sys.exit(main("kiln-io-error-kinds."))
