# SPDX-License-Identifier: GPL-2.0-or-later
"""virtio disks, the agent, the balloon; resets under load."""
import base64
import hashlib
import json
import os
import re
import shutil
import socket

from console import GuestError
from guest import WORK, Shell, busy_queues, check_facts, check_guest, linux, path, qemu_img, want


def test_virtio_split():
    """Old registers, no MSI-X, interrupts by the user-space IOAPIC."""
    source = os.path.join(WORK, "vsource.raw")
    shutil.copy(path("disk.raw"), source)
    vm = linux("-machine", "pc,kernel-irqchip=split", "-drive", f"file={source},format=raw,if=none,id=d0", "-device",
               "virtio-blk-pci,drive=d0,disable-modern=on,vectors=0")
    with open(path("disk.md5")) as f:
        md5 = f.read().strip()
    want(check_guest(vm, 1, 256), vdisk=md5)


class Agent:
    """The guest agent behind a socket."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(300)
        self.socket.connect(path)
        self.file = self.socket.makefile("rb")
        self.socket.sendall(b'\xff{"execute": "guest-sync-delimited", "arguments": {"id": 4711}}\n')
        while self.socket.recv(1) != b"\xff":
            pass
        if json.loads(self.file.readline()) != {"return": 4711}:
            raise GuestError("the agent does not synchronize")

    def __call__(self, command, **arguments):
        self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        reply = json.loads(self.file.readline())
        if "return" not in reply:
            raise GuestError(f"the agent's {command}: {reply}")
        return reply["return"]


def check_agent(guest, path):
    guest.ask("port=$(grep -l org.qemu.guest_agent.0 /sys/class/virtio-ports/*/name | cut -d/ -f5); mkdir -p /run")
    guest.ask("(qemu-ga -p /dev/$port -t /run -f /run/ga.pid > /ga.log 2>&1 &)")
    agent = Agent(path)
    if agent("guest-ping") != {} or len(agent("guest-get-vcpus")) != 2:
        raise GuestError("the agent does not say what it should")
    data = base64.b64encode(os.urandom(30000)).decode()
    handle = agent("guest-file-open", path="/from-agent", mode="w")
    for start in range(0, len(data), 4000):
        agent("guest-file-write", handle=handle, **{"buf-b64": data[start:start + 4000]})
    agent("guest-file-close", handle=handle)
    told = guest.ask("md5sum < /from-agent | cut -c1-32")
    if told != hashlib.md5(base64.b64decode(data)).hexdigest():
        raise GuestError(f"what the agent wrote has the sum {told}")
    print("# the agent answers")


def check_balloon(guest):
    """96 MiB down and up, by what the guest has."""
    before = int(guest.ask("free -m | awk '/Mem/ {print $2}'"))
    for target, wanted in ((160, before - 96), (256, before)):
        guest.qmp("balloon", value=target << 20)
        for _ in range(240):
            if guest.qmp("query-balloon")["actual"] == target << 20:
                break
            guest.ask("sleep 0.5")
        found = int(guest.ask("free -m | awk '/Mem/ {print $2}'"))
        print(f"# balloon to {target} MiB: the guest has {found}")
        if abs(found - wanted) > 1:
            raise GuestError(f"with a balloon to {target} MiB the guest has {found} MiB, not {wanted}")


def own_memory(vm, ram_mib):
    """KiB that are private to the process and written, without guest RAM."""
    total, ram = 0, False
    with open(f"/proc/{vm.process.pid}/smaps") as f:
        for line in f:
            if span := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
                ram = int(span[2], 16) - int(span[1], 16) >= ram_mib << 20
            elif line.startswith("Private_Dirty:") and not ram:
                total += int(line.split()[1])
    return total


def test_virtio():
    """From a transitional disk to one that only modern drivers find, on two CPUs; random bytes; then the agent, the
    balloon, each CPU's queue of a disk, and what the process has taken for all that."""
    source, target, agent = (os.path.join(WORK, name) for name in ("vsource.raw", "vtarget.qcow2", "agent"))
    shutil.copy(path("disk.raw"), source)
    qemu_img("create", "-q", "-f", "qcow2", target, "8M")
    guest = Shell("-smp", "2", "-drive", f"file={source},format=raw,if=none,id=d0", "-device", "virtio-blk-pci,drive=d0,serial=number-1",
                  "-object", "iothread,id=io0", "-drive", f"file={target},format=qcow2,if=none,id=d1", "-device",
                  "virtio-blk-pci-non-transitional,drive=d1,iothread=io0,packed=on", "-device", "virtio-rng-pci", "-device",
                  "virtio-serial-pci", "-chardev", f"socket,id=ga,path={agent},server=on,wait=off", "-device",
                  "virtserialport,chardev=ga,name=org.qemu.guest_agent.0", "-device", "virtio-balloon-pci", "-netdev", "user,id=n",
                  "-device", "virtio-net-pci,netdev=n", initrd="initrd-tools")
    with open(path("disk.md5")) as f:
        md5 = f.read().strip()
    check_facts(guest.facts, 2, 256)
    want(guest.facts, vdisk=md5, vcopy=md5, vserial="number-1", vqueues="2", hwrng="64")
    for disk in ("vda", "vdb"):
        for cpu in (0, 1):
            guest.ask(f"taskset {1 << cpu} dd if=/dev/{disk} of=/dev/null bs=64k count=32 iflag=direct 2>/dev/null")
        if len(busy := busy_queues(guest, f"/sys/block/{disk}/device", r"req\.")) != 2:
            raise GuestError(f"of {disk}'s two queues, {busy} had interrupts")
    check_agent(guest, agent)
    check_balloon(guest)
    print(f"# the process's own memory: {own_memory(guest.vm, 256)} KiB")
    guest.off()
    qemu_img("check", "-q", target)
    qemu_img("compare", "-q", "-f", "raw", "-F", "qcow2", path("disk.raw"), target)


WRITERS, REGION = 4, 64  # blocks of 64 KiB; a writer's region gets the source's first and second half in turn
JOURNAL = WRITERS * REGION * 128  # sector 0 of the journal; entry n is sector n


def journal(first, last):
    return b"".join(b"%0511d\n" % n for n in range(first, last + 1))


def write_until(guest, first, reset_at):
    """Writers on all of the disk, and a journal that says on the console what was written and flushed."""
    for w in range(WRITERS):
        halves = " ".join(f"dd if=/dev/vda of=/dev/vdb bs=64k count={REGION} skip={half * REGION} seek={w * REGION} oflag=direct "
                          "conv=notrunc 2>/dev/null;" for half in (0, 1))
        guest.ask(f"(while :; do {halves} done &)")
    guest.vm.send(f"n={first}; while :; do printf '%0511d\\n' $n | dd of=/dev/vdb bs=512 seek=$(({JOURNAL}+n)) "
                  f"conv=notrunc,fsync 2>/dev/null; echo ACK $n; {reset_at}; n=$((n+1)); done")


def check_journal(guest, last):
    told = guest.ask(f"dd if=/dev/vdb bs=512 skip={JOURNAL + 1} count={last} 2>/dev/null | md5sum | cut -c1-32")
    if told != hashlib.md5(journal(1, last)).hexdigest():
        raise GuestError(f"of {last} flushed sectors, not all are there after the reset")


def check_regions(target):
    """Each sector is that of one half of the source, or was not written yet."""
    raw = os.path.join(WORK, "after.raw")
    qemu_img("convert", "-O", "raw", target, raw)
    with open(raw, "rb") as f, open(path("disk.raw"), "rb") as g:
        source, size = g.read(), REGION << 16
        for w in range(WRITERS):
            found = f.read(size)
            for at in range(0, size, 512):
                if found[at:at + 512] not in (source[at:at + 512], source[size + at:size + at + 512], bytes(512)):
                    raise GuestError(f"sector {(w * size + at) // 512} was written by nobody")


def test_reset_io():
    """Resets in the middle of four writers' requests, by the guest and from outside: what was flushed is there, what was
    under way is there or is not, sector by sector, and the disk works on."""
    source, target = os.path.join(WORK, "rsource.raw"), os.path.join(WORK, "rtarget.qcow2")
    shutil.copy(path("disk.raw"), source)
    qemu_img("create", "-q", "-f", "qcow2", target, "17M")
    guest = Shell("-smp", "2", "-drive", f"file={source},format=raw,if=none,id=d0", "-device", "virtio-blk-pci,drive=d0",
                  "-drive", f"file={target},format=qcow2,if=none,id=d1", "-device", "virtio-blk-pci,drive=d1", append="kilnquick")
    write_until(guest, 1, "[ $n != 40 ] || reboot -n -f")
    guest.vm.expect(r"ACK 40\b")
    guest.booted()
    check_journal(guest, 40)
    write_until(guest, 41, ":")
    guest.vm.expect(r"ACK 80\b")
    guest.qmp("system_reset")
    guest.booted()
    check_journal(guest, 80)
    guest.ask(f"dd if=/dev/vdb of=/dev/null bs=64k count={WRITERS * REGION} iflag=direct 2>/dev/null")
    guest.vm.process.terminate()
    if guest.vm.wait_end():
        raise GuestError("SIGTERM did not end the process with status 0\n" + guest.vm.tail())
    qemu_img("check", "-q", target)
    check_regions(target)
