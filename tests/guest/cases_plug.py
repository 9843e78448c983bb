# SPDX-License-Identifier: GPL-2.0-or-later
"""CPUs, memory and PCI devices that come and go."""
from console import GuestError
from guest import Shell, path

CPUS = "grep -c ^processor /proc/cpuinfo"
MEMORY = "awk '/MemTotal/ {print int($2 / 1024)}' /proc/meminfo"


def test_plug_cpus():
    guest = Shell("-smp", "1,maxcpus=3,sockets=3")
    model = guest.qmp("query-hotpluggable-cpus")[0]["type"]
    for number in (1, 2):
        guest.qmp("device_add", driver=model, id=f"cpu{number}", **{"socket-id": number, "core-id": 0, "thread-id": 0})
        path = f"/sys/devices/system/cpu/cpu{number}"
        guest.until(f"test -e {path}/online && echo here || true", "here")
        guest.ask(f"test $(cat {path}/online) = 1 || echo 1 > {path}/online")
        guest.until(CPUS, str(number + 1))
    guest.ask("taskset 4 true")  # it works
    for number in (2, 1):
        guest.qmp("device_del", id=f"cpu{number}")
        guest.qmp.wait("DEVICE_DELETED", device=f"cpu{number}")
        guest.until(CPUS, str(number))
        guest.until(f"test -e /sys/devices/system/cpu/cpu{number} && echo here || true", "")
    # Its place can be taken again.
    guest.qmp("device_add", driver=model, id="again", **{"socket-id": 1, "core-id": 0, "thread-id": 0})
    guest.until("test -e /sys/devices/system/cpu/cpu1/online && echo here || true", "here")
    guest.ask("test $(cat /sys/devices/system/cpu/cpu1/online) = 1 || echo 1 > /sys/devices/system/cpu/cpu1/online")
    guest.until(CPUS, "2")
    guest.off()


def test_plug_memory():
    guest = Shell("-m", "slots=2,maxmem=1G", append="memhp_default_state=offline")
    before = int(guest.ask(MEMORY))
    blocks = "/sys/devices/system/memory"
    present = set(guest.ask(f"ls {blocks}").split())
    guest.qmp("object-add", **{"qom-type": "memory-backend-ram", "id": "m0", "size": 256 << 20})
    guest.qmp("device_add", driver="pc-dimm", id="dimm0", memdev="m0")
    size = int(guest.ask(f"cat {blocks}/block_size_bytes"), 16)
    count = (256 << 20) // size
    guest.until(f"ls {blocks} | grep -c memory", str(sum(name.startswith("memory") for name in present) + count))
    added = sorted(set(guest.ask(f"ls {blocks}").split()) - present)
    for block in added:
        guest.ask(f"echo online_movable > {blocks}/{block}/state")
    guest.until(MEMORY, str(before + 256))
    # All of it is memory: a file system larger than what there was is filled.
    guest.ask("mkdir -p /big && mount -t tmpfs -o size=90% big /big")
    guest.ask(f"dd if=/dev/zero of=/big/file bs=1M count={before + 64} 2>/dev/null && rm /big/file && umount /big")
    guest.qmp("device_del", id="dimm0")
    guest.qmp.wait("DEVICE_DELETED", device="dimm0")
    guest.until(MEMORY, str(before))
    guest.qmp("object-del", id="m0")
    report = [event["data"]["info"] for event in guest.qmp.events if event["event"] == "ACPI_DEVICE_OST"]
    if not any(info["slot-type"] == "DIMM" and info["status"] == 0 for info in report):
        raise GuestError(f"the guest reported {report}")
    guest.off()


def test_plug_pci():
    guest = Shell("-blockdev", f"driver=raw,node-name=d0,read-only=on,file.driver=file,file.locking=off,file.filename={path('disk.raw')}")
    guest.qmp("device_add", driver="virtio-blk-pci", drive="d0", id="disk", addr="9")
    guest.until("test -b /dev/vda && echo here || true", "here")
    with open(path("disk.md5")) as f:
        md5 = f.read().strip()
    if guest.ask("md5sum < /dev/vda").split()[0] != md5:
        raise GuestError("the disk's contents differ")
    guest.qmp("device_del", id="disk")
    guest.qmp.wait("DEVICE_DELETED", device="disk")
    guest.until("test -b /dev/vda && echo here || true", "")
    guest.qmp("device_add", driver="virtio-blk-pci", drive="d0", id="disk", addr="9")
    guest.until("test -b /dev/vda && echo here || true", "here")
    guest.off()
