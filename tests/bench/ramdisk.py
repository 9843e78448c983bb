# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk in memory with a file system on it that has O_DIRECT, for benchmarks in which no disk shall be the limit.

"loop": a file in shared memory behind a loop device; as with a real disk requests end later, by a thread of the kernel, which
costs the machine a CPU's time. "zram": the kernel ends a request before it comes back from it; no time passes, so
requests that are under way together gain nothing.
"""
import os
import shutil
import subprocess
import tempfile

ZRAM = "/sys/class/zram-control"


class RamDisk:
    """Made by root, mounted at .path; close() leaves nothing behind."""

    def __init__(self, kind, file_system, size):
        if os.geteuid() != 0:
            raise SystemExit("--ram-disk: only root can make and mount a disk in memory; run this as root, "
                             "or name a directory with --direct-dir")
        self.path = tempfile.mkdtemp(prefix="kiln-ramdisk.")
        self.zram = None
        self.mounted = False
        try:
            if kind == "zram":
                self.make_zram(file_system, size)
            else:
                self.make_loop(file_system, size)
        except BaseException:
            self.close()
            raise

    def make_file_system(self, file_system, device):
        force = "-f" if file_system == "xfs" else "-F"
        subprocess.run(["mkfs." + file_system, "-q", force, device], check=True)

    def mount(self, *line):
        subprocess.run(["mount", *line, self.path], check=True)
        self.mounted = True

    def make_loop(self, file_system, size):
        """Only the loop device has the file, and only the mount the device."""
        with tempfile.NamedTemporaryFile(prefix="kiln-ramdisk.", dir="/dev/shm") as f:
            f.truncate(size)
            self.make_file_system(file_system, f.name)
            self.mount("-o", "loop", f.name)

    def make_zram(self, file_system, size):
        if not os.path.exists(ZRAM):
            raise SystemExit("--ram-disk zram: this kernel has no zram (modprobe zram); try --ram-disk loop")
        with open(ZRAM + "/hot_add") as f:
            self.zram = f.read().strip()
        with open("/sys/block/zram%s/disksize" % self.zram, "w") as f:
            f.write(str(size))
        self.make_file_system(file_system, "/dev/zram" + self.zram)
        self.mount("/dev/zram" + self.zram)

    def close(self):
        if self.mounted:
            subprocess.run(["umount", self.path], check=True)
        if self.zram:
            with open(ZRAM + "/hot_remove", "w") as f:
                f.write(self.zram)
        shutil.rmtree(self.path, ignore_errors=True)
