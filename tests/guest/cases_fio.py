# SPDX-License-Identifier: GPL-2.0-or-later
"""fio that verifies what it wrote, on two disks of an unmodified Linux that is reset again and again in the midst of it.

A disk has two slices of 1 MiB and a rest. The rest is under load all the time, and verified meanwhile. A run number n writes
slice n % 2 with blocks that belong to n alone (fio's seed), flushes, and reads it back; the host starts n + 1 when it has seen
n's end. So after a reset one slice holds the last run that ended, whole, which fio shows by repeating it without writing; and
each block of 4 KiB anywhere holds what some run wrote there, not a mixture: fio checks places and checksums."""
import os
import re
import time

from console import BAD, SILENCE, GuestError
from guest import WORK, Shell, qemu_img

RESETS = ("the guest", "QMP", "the guest")
SLICE, SIZE = 1 << 20, 8 << 20
WRONG = re.compile(BAD.pattern + rb"|FIO FAILED[^\r\n]*[\r\n]")
FIO = "fio --name=x --thread --direct=1 --verify=crc32c --verify_interval=4k --verify_fatal=1"
# In the guest: says only how it ended, and what fio said first where it failed.
TELL = ('tell() { what=$1; shift; "$@" > "/log.$$.$what" 2>&1 && echo "FIO ENDED $what" || '
        '{ head -n 15 "/log.$$.$what"; echo "FIO FAILED $what"; }; }')


class Disk:
    """One of the guest's, with its own way through Kiln."""

    def __init__(self, letter, options, drive, blocks, engine):
        self.image = os.path.join(WORK, f"fio-{letter}.qcow2")
        self.name, self.letter = f"d{letter}", letter
        self.fio = f"{FIO} --filename=/dev/vd{letter} --ioengine={engine}"
        self.blocks = blocks
        self.ended = self.started = 0   # runs: the last ones
        qemu_img("create", "-q", "-f", "qcow2", self.image, str(SIZE))
        self.options = ["-drive", f"file={self.image},format=qcow2,if=none,id={self.name}{drive}",
                        "-device", f"virtio-blk-pci,drive={self.name},num-queues=2{options}"]

    def run(self, n):
        return (f"{self.fio} --rw=randrw --rwmixwrite=100 {self.blocks} --iodepth=16 --offset={n % 2 * SLICE} --size={SLICE} "
                f"--randseed={n} --fsync=32 --end_fsync=1")

    def load(self):
        return (f"{self.fio} --rw=randwrite --bs=4k --iodepth=8 --offset={2 * SLICE} --size={SIZE - 2 * SLICE} --loops=100000 "
                "--verify_backlog=256 --fsync=64")

    def start(self, guest):
        """A new run, on the slice that does not hold the one that ended."""
        self.started += 1 + (self.started - self.ended) % 2
        guest.vm.send(f"tell {self.letter}-{self.started} {self.run(self.started)} &")


def done(guest, disk):
    """Reads and writes that Kiln has counted."""
    stats = next(d["stats"] for d in guest.qmp("query-blockstats") if d["device"] == disk.name)
    return stats["rd_operations"], stats["wr_operations"]


def counts(guest, disk):
    """The same, and what the guest's kernel has counted, which rests now."""
    words = guest.ask(f"cat /sys/block/vd{disk.letter}/stat").split()
    return (int(words[0]), int(words[4])), done(guest, disk)


def tell(guest, disks, what, command):
    """command(disk) for each of them, side by side, to their ends."""
    for disk in disks:
        guest.vm.send(f"tell {what}-{disk.letter} {command(disk)} &")
    for _ in disks:
        guest.vm.expect(rf"FIO ENDED {what}-\w[\r\n]", WRONG)


def run_until(guest, disks, wanted):
    """Until each disk has had so many more runs that ended; the next one has begun then."""
    for disk in disks:
        disk.start(guest)
    left = {disk: wanted for disk in disks}
    while any(left.values()):
        match = guest.vm.expect(r"FIO ENDED ([ab])-(\d+)[\r\n]", WRONG)
        disk = next(disk for disk in disks if disk.letter == match[1].decode())
        if int(match[2]) != disk.started:
            raise GuestError(f"disk {disk.letter}: run {int(match[2])} ended, not {disk.started}")
        disk.ended = disk.started
        disk.start(guest)
        left[disk] = max(left[disk] - 1, 0)


def let_write(guest, disks, requests):
    """Until each disk has had so many more writes."""
    now = [done(guest, disk)[1] for disk in disks]
    goal, moved = [count + requests for count in now], time.monotonic()
    while any(count < wanted for count, wanted in zip(now, goal)):
        last, now = now, [done(guest, disk)[1] for disk in disks]
        if now != last:
            moved = time.monotonic()
        elif time.monotonic() > moved + SILENCE:
            raise GuestError(f"no writes for {SILENCE} s: {now} of {goal}\n{guest.vm.where()}\n{guest.vm.tail()}")
        time.sleep(0.1)


def check_counts(guest, disks, before):
    """Nothing was lost and nothing done twice while the guest's kernel waited for all."""
    for disk, (guest_before, kiln_before) in zip(disks, before):
        guest_now, kiln_now = counts(guest, disk)
        saw, did = ([now - then for now, then in zip(*pair)] for pair in ((guest_now, guest_before), (kiln_now, kiln_before)))
        if saw != did:
            raise GuestError(f"disk {disk.letter}: of the guest's reads and writes, {saw}, Kiln has done {did}")
    bad = guest.ask("dmesg | grep -E 'I/O error|is not a head|virtio_blk.*(broken|error)' || true")
    if bad:
        raise GuestError("the guest's kernel says:\n" + bad)


def stress(guest, disks, requests):
    for disk in disks:
        guest.vm.send(f"tell load-{disk.letter} {disk.load()} &")
    run_until(guest, disks, 1)
    let_write(guest, disks, requests)


def begin(guest, disks, first):
    """After a boot: all is as it should be."""
    guest.ask(TELL)
    before = [counts(guest, disk) for disk in disks]
    if first:
        tell(guest, disks, "fill", lambda disk: f"{disk.fio} --rw=write --bs=64k --iodepth=8 --size={SIZE} --end_fsync=1")
    else:
        tell(guest, disks, "exact", lambda disk: f"{disk.run(disk.ended)} --verify_only")
        tell(guest, disks, "all", lambda disk: f"{disk.fio} --rw=read --bs=64k --iodepth=8 --size={SIZE}")
    check_counts(guest, disks, before)


def test_fio_reboots():
    """fio verifies, over resets by the guest and from outside in the midst of its requests: qcow2, two queues each."""
    disks = [Disk("a", "", ",aio=threads", "--bs=4k", "libaio"),
             Disk("b", ",packed=on,iothread=io0", ",aio=io_uring", "--bsrange=4k-64k", "io_uring")]
    guest = Shell("-smp", "2", "-object", "iothread,id=io0", *disks[0].options, *disks[1].options, append="kilnquick", initrd="initrd-fio")
    begin(guest, disks, True)
    for number, who in enumerate(RESETS):
        stress(guest, disks, 50 + 100 * number)
        if who == "QMP":
            guest.qmp("system_reset")
        else:
            guest.vm.send("reboot -n -f")
        guest.booted()
        begin(guest, disks, False)
        print(f"# {guest.vm.seconds():.0f} s: reset {number + 1}, by {who}; runs: {', '.join(str(disk.ended) for disk in disks)}", flush=True)
    guest.off()
    for disk in disks:
        qemu_img("check", "-q", disk.image)
