# SPDX-License-Identifier: GPL-2.0-or-later
"""A virtio disk that is driven from outside, by drive.c."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import benchlib  # noqa: E402
from emulator import RAM_MIB, Emulator  # noqa: E402

DESC, AVAIL, USED, DATA, NUM = 0x100000, 0x102000, 0x104000, 0x200000, 256
FEATURES = 1 << 32 | 1 << 29


class Disk(Emulator):
    """drive: options of -drive; more: of the command line, which may name the descriptors in pass_fds; scsi: behind
    virtio-scsi."""

    def __init__(self, program, work, drive, iothread=False, more=(), pass_fds=(), scsi=False):
        device = ("virtio-scsi-pci,addr=4" if scsi else "virtio-blk-pci,drive=d,addr=4") + (",iothread=io0" if iothread else "")
        self.scsi = scsi
        super().__init__(program, work, [*(["-object", "iothread,id=io0"] if iothread else []), "-drive", f"if=none,id=d,{drive}",
                                         "-device", device, *(["-device", "scsi-hd,drive=d"] if scsi else []), *more], pass_fds)

    def start(self):
        self.setup(FEATURES, [(2 if self.scsi else 0, DESC, AVAIL, USED)], NUM)

    def driver(self, program, depth, requests, length, sectors, rest=0, kind=0):
        """The command line of drive.c for this disk. rest: microseconds that it sleeps when nothing has come; kind: 0 reads
        from anywhere, 1 reads in order, 2 writes in order."""
        return [program, *map(str, (self.process.pid, self.ram_fd(), RAM_MIB << 20, DESC, AVAIL, USED, DATA, NUM, depth, requests,
                                    length, sectors, int(self.scsi), rest, kind))]

    def drive(self, program, depth, requests, length, sectors, kind=0):
        """Nanoseconds, CPU nanoseconds, notifications; of one request each."""
        before = benchlib.cpu_ns(self.process.pid)
        out = subprocess.run(self.driver(program, depth, requests, length, sectors, kind=kind), capture_output=True, text=True, check=False)
        if out.returncode:
            raise SystemExit(f"{self.process.args[0]}: {out.stderr}")
        ns, count, kicks = map(int, out.stdout.split())
        return ns / count, (benchlib.cpu_ns(self.process.pid) - before) / count, kicks / count


def build_driver(work):
    """Path of the program of drive.c."""
    program = os.path.join(work, "drive")
    subprocess.run(["cc", "-O2", "-Wall", os.path.join(benchlib.HERE, "virtio", "drive.c"), "-o", program], check=True)
    return program
