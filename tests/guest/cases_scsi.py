# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks and CDs behind virtio-scsi, units of the host among them."""
import glob
import hashlib
import os
import subprocess
import time

from console import GuestError
from guest import WORK, Shell, head_md5, path


def host_scsi_disks():
    """Two SCSI disks of this machine that the kernel makes up, with names in /dev of their blocks and their generic devices."""
    if os.geteuid() or subprocess.run(["modprobe", "scsi_debug", "add_host=2", "per_host_store=1", "dev_size_mb=16", "lbpu=1", "opts=2"]).returncode:
        print("# no module scsi_debug, or not root: scsi-block and scsi-generic are left out")
        return []
    for module in ("sd_mod", "sg"):
        subprocess.run(["modprobe", module], check=True)
    deadline = time.monotonic() + 120
    while True:
        found = sorted(d for d in glob.glob("/sys/bus/pseudo/devices/adapter*/host*/target*/*:*:*:*")
                       if glob.glob(d + "/block/*") and glob.glob(d + "/scsi_generic/*"))
        if len(found) == 2:
            return [(os.listdir(d + "/block")[0], os.listdir(d + "/scsi_generic")[0]) for d in found]
        if time.monotonic() > deadline:
            raise GuestError(f"scsi_debug made {found}")
        time.sleep(0.5)


def check_passed_through(guest, disks):
    """The guest's units 6 (scsi-block) and 7 (scsi-generic) are these."""
    for target, (disk, _) in zip((6, 7), disks):
        name = guest.ask(f"ls /sys/class/scsi_disk/*:{target}:0/device/block")
        for command, wanted in ((f"cat /sys/block/{name}/device/model", "scsi_debug"),
                                (f"cat /sys/block/{name}/size", str((16 << 20) // 512)),
                                (f"dd if=/dev/urandom of=/tmp-data bs=64k count=16 2>/dev/null; dd if=/tmp-data of=/dev/{name} bs=256k oflag=direct 2>/dev/null; "
                                 f"dd if=/dev/{name} bs=128k count=8 iflag=direct 2>/dev/null | cmp - /tmp-data && echo same", "same"),
                                # This sector is damaged: the sense data says so.
                                (f"dd if=/dev/{name} of=/dev/null bs=512 skip=4660 count=1 iflag=direct 2>/dev/null || echo failed", "failed"),
                                (f"dmesg | grep -c '{name}.*Sense Key : Medium Error'", "1"),
                                ("dmesg -c > /dev/null", "")):
            got = guest.ask(command).strip()
            if got != wanted:
                raise GuestError(f"unit {target}: {command}: {got!r}, not {wanted!r}\n{guest.ask('dmesg | tail -n 20')}")
        md5 = guest.ask("md5sum < /tmp-data").split()[0]
        with open(f"/dev/{disk}", "rb") as f:
            if hashlib.md5(f.read(1 << 20)).hexdigest() != md5:
                raise GuestError(f"what the guest wrote to unit {target} is not on /dev/{disk}")


def test_scsi():
    """A disk and a CD behind virtio-scsi: read, copied, trimmed; a disk that comes and goes; a medium that changes; units of the host."""
    target = os.path.join(WORK, "starget.raw")
    with open(target, "wb") as f:
        f.truncate(8 << 20)
    source = f"driver=raw,read-only=on,file.driver=file,file.locking=off,file.filename={path('disk.raw')}"
    disks, passed = host_scsi_disks(), []
    if disks:
        passed = ["-blockdev", f"driver=host_device,node-name=h0,filename=/dev/{disks[0][0]}", "-device", "scsi-block,drive=h0,bus=s.0,scsi-id=6",
                  "-blockdev", f"driver=host_device,node-name=h1,filename=/dev/{disks[1][1]}", "-device", "scsi-generic,drive=h1,bus=s.0,scsi-id=7"]
    guest = Shell("-device", "virtio-scsi-pci,id=s", "-blockdev", f"{source},node-name=d0", "-device", "scsi-hd,drive=d0,bus=s.0,serial=one",
                  "-blockdev", f"driver=raw,node-name=d1,discard=unmap,file.driver=file,file.filename={target}", "-device",
                  "scsi-hd,drive=d1,bus=s.0,id=second", "-device", "scsi-cd,bus=s.0,id=cd", *passed)
    with open(path("disk.md5")) as f:
        md5 = f.read().strip()

    def expect(what, command, wanted):
        got = guest.ask(command).strip()
        if got != wanted:
            raise GuestError(f"{what}: {got!r}, not {wanted!r}")

    # The kernel gives names in the order in which disks answered.
    first, second = (guest.ask(f"ls /sys/class/scsi_disk/*:0:{number}:0/device/block") for number in (0, 1))
    expect("the disk's contents differ", f"md5sum < /dev/{first}", f"{md5}  -")
    expect("the copy", f"dd if=/dev/{first} of=/dev/{second} bs=64k oflag=direct 2>/dev/null && sync && "
           f"dd if=/dev/{second} bs=32k iflag=direct 2>/dev/null | md5sum", f"{md5}  -")
    expect("unmapping is not offered", f"cat /sys/block/{second}/queue/discard_granularity", "4096")
    expect("the cache", "cat /sys/class/scsi_disk/*:1:0/cache_type | sort -u", "write back")
    guest.qmp("blockdev-change-medium", id="cd", filename=path("cd.iso"), format="raw")
    guest.until("blockdev --getsize64 /dev/sr0 2>/dev/null || true", str(os.path.getsize(path("cd.iso"))))
    expect("the CD's contents differ", f"dd if=/dev/sr0 bs=2048 count=4096 2>/dev/null | md5sum | cut -d' ' -f1", head_md5("cd.iso", 8 << 20))
    guest.qmp("blockdev-add", **{"driver": "null-co", "node-name": "d2", "size": 4 << 20, "read-zeroes": True})
    guest.qmp("device_add", driver="scsi-hd", drive="d2", id="third", bus="s.0", **{"scsi-id": 5, "lun": 3})
    guest.until("cat /sys/class/scsi_device/*:0:5:3/device/block/*/size 2>/dev/null || true", "8192")
    guest.qmp("device_del", id="third")
    guest.qmp.wait("DEVICE_DELETED", device="third")
    guest.until("ls /sys/class/scsi_device | grep -c :5:3 || true", "0")
    guest.qmp("block_resize", **{"node-name": "d1", "size": 12 << 20})
    guest.until(f"cat /sys/block/{second}/size", str((12 << 20) // 512))
    if disks:
        check_passed_through(guest, disks)
    guest.off()
    with open(target, "rb") as a, open(path("disk.raw"), "rb") as b:
        if a.read(8 << 20) != b.read():
            raise GuestError("what the guest wrote is not what is in the image")
