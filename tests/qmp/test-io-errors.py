#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-io-errors.py KILN: requests that fail, with each policy (rerror=, werror=), and what managers do to a machine that stopped
because of them: what the guest and the manager see. Where QEMU 7.2 is installed it is asked the same, and has to say the same."""
import errno
import json
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "state"), os.path.join(HERE, "..")]
import blk_queues as blk  # noqa: E402
import busy_virtio as v  # noqa: E402
import ide_driver as ide  # noqa: E402
import scsi_driver as scsi  # noqa: E402
from io_errors import IDE, SCSI, VIRTIO, Manager, device_args, failing_image, rules, scsi_command, until_done  # noqa: E402
from oracle import QEMU, programs, running  # noqa: E402
from tap import main, test  # noqa: E402

KILN = os.path.abspath(sys.argv[1])
READ, WRITE = bytes((0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0)), bytes((0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0))


def args(device, policy, iotype, code):
    node = failing_image(rules(iotype, [code])) | {"node-name": "d"}
    return ["-blockdev", json.dumps(node), *device_args(device, policy)]


def virtio_disk(m, iotype):
    """Makes a request; the function gives its status, or None before it has ended."""
    queue = blk.start(m, 1)[0]
    queue.begin(blk.READ if iotype == "read" else blk.WRITE, 8, None if iotype == "read" else 1)
    return lambda: queue.statuses()[-1] if queue.done() else None


def scsi_disk(m, iotype):
    return scsi_command(m, READ, read=512) if iotype == "read" else scsi_command(m, WRITE, out=b"x" * 512)


def ide_disk(m, iotype):
    ide.dma_start(m, 8, None if iotype == "read" else 1)

    def status():
        """Of the disk, and of the bus master."""
        if m.inb(0x3F6) & ide.BUSY or not m.inb(0xC102) & 4:
            return None
        return m.inb(0x3F6), m.inb(0xC102)
    return status


DISKS = {VIRTIO: virtio_disk, SCSI: scsi_disk, IDE: ide_disk}


def one_request(program, device, policy, iotype, code):
    """All that is seen of a request that fails once, and is tried again if the machine stopped. QEMU 7.2 forgets the status of
    disks of -blockdev only when they are reset."""
    turns = until_done(program, args(device, policy, iotype, code), lambda m: DISKS[device](m, iotype))
    return [[ended, events, state, *([disks] if i == 0 else [])] for i, (ended, events, state, disks) in enumerate(turns)]


@test
def policies():
    """The guest's answer, the events with all their members, the run state and the disk's."""
    for device in DISKS:
        for iotype, names in (("read", ("report", "ignore", "stop")), ("write", ("report", "ignore", "enospc", "stop"))):
            for name in names:
                for code in (errno.EIO, errno.ENOSPC):
                    policy = f"{'rerror' if iotype == 'read' else 'werror'}={name}"
                    mine, *others = [one_request(program, device, policy, iotype, code) for program in programs(KILN)]
                    assert not others or mine == others[0], f"{device} {policy} errno {code}:\n{mine}\nQEMU:\n{others[0]}"
                    told = mine[0][1][0][1]
                    stops = name == "stop" or (name == "enospc" and code == errno.ENOSPC)
                    assert told == {"device": "", "node-name": "d", "operation": iotype, "reason": os.strerror(code),
                                    "action": "stop" if stops else "report" if name == "enospc" else name,
                                    # It tells whenever the disk has a policy that may stop: writes have it by default.
                                    **({} if iotype == "write" and name in ("report", "ignore") else {"nospace": code == errno.ENOSPC})}, mine
                    assert ("STOP", None) in mine[0][1] or not stops, mine


@test
def bus_master():
    """A drive's error is none of the bus master, whose status would make drivers believe in one of the host's bus."""
    for program in programs(KILN):
        for iotype in ("read", "write"):
            assert one_request(program, IDE, f"{iotype[0]}error=report", iotype, errno.EIO)[0][0] == (0x41, 4), (program, iotype)


@test
def scsi_unplug_while_stopped():
    """What waited for cont is over when its unit has gone, and the driver is told as soon as the machine runs."""
    for program in programs(KILN):
        with running(program, args(SCSI, "werror=stop", "write", errno.ENOSPC)) as m:
            manager = Manager(m)
            status = scsi_disk(m, "write")
            manager.wait("io-error")
            manager.c.do("device_del", id="disk")
            v.wait(lambda: not manager.c.do("query-block"))     # pylint: disable=cell-var-from-loop
            manager.c.do("blockdev-del", node_name="d")
            manager.c.do("cont")
            ended = []
            v.wait(lambda: ended or ended.extend([s for s in [status()] if s]) or ended)    # pylint: disable=cell-var-from-loop
            assert ended == [(2, 0, "")], (program, ended)      # VIRTIO_SCSI_S_ABORTED
            assert status.driver.command(bytes(6)).response == scsi.BAD_TARGET
            manager.c.close()


@test
def scsi_unplug_and_reset():
    """A driver that begins anew hears nothing of it."""
    with running(KILN, args(SCSI, "werror=stop", "write", errno.ENOSPC)) as m:
        for turn in range(2):
            manager = Manager(m)
            scsi_disk(m, "write")
            manager.wait("io-error")
            manager.c.do("device_del", id="disk")
            manager.c.do("blockdev-del", node_name="d")
            if turn:
                v.modern_common(m, 20, 1, 0)    # the driver's
            else:
                manager.c.do("system_reset")
            manager.c.do("cont")
            time.sleep(0.05)
            driver = scsi.Driver(m)
            driver.start()
            assert driver.command(bytes(6)).response == scsi.BAD_TARGET
            assert not driver.rings[scsi.COMMANDS].take(), "a request of before the reset has ended"
            node = json.loads(args(SCSI, "", "write", errno.ENOSPC)[1])
            manager.c.ask({"execute": "blockdev-add", "arguments": node})
            manager.c.do("device_add", driver="scsi-hd", drive="d", id="disk", werror="stop", cyls=16, heads=16, secs=63)
            manager.c.close()


@test
def floppies_report():
    """They know no other way: what a drive asks for more is refused, not forgotten."""
    with open("floppy", "wb") as f:
        f.truncate(1440 << 10)
    for policy, good in (("werror=stop", False), ("rerror=ignore", False), ("werror=enospc", True), ("rerror=report", True)):
        for program in programs(KILN):
            said = subprocess.run([program, "-accel", "tcg" if program == QEMU else "qtest", "-S", "-display", "none", "-nodefaults", "-drive",
                                   f"if=none,id=d,file=floppy,format=raw,{policy}", "-device", "floppy,drive=d", "-qmp", "stdio"],
                                  input='{"execute":"qmp_capabilities"}{"execute":"quit"}', capture_output=True, text=True, check=False, timeout=100)
            assert (said.returncode == 0) == good, (program, policy, said.stderr)
            assert good or policy[:6] in said.stderr, said.stderr


sys.exit(main("kiln-io-errors."))
