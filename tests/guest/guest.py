# SPDX-License-Identifier: GPL-2.0-or-later
"""What all guest tests use: the VM that boots the test kernel, what it reports, files both ways, its shell."""
import hashlib
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading

from console import GuestError, Qmp, Vm

KILN, DIR = sys.argv[1:3] if len(sys.argv) > 2 else (None, None)
DEBIAN = sys.argv[3] if len(sys.argv) > 3 else None
WORK = tempfile.mkdtemp(prefix="guest.") if KILN else None
APPEND = "console=ttyS0 panic=-1 "


def path(name):
    return os.path.join(DIR, name)


def report(vm):
    """The GUEST lines up to the end of guest-init."""
    facts = {}
    while True:
        match = vm.expect(r"GUEST (done|(\w+)=([^\r\n]*)[\r\n])")
        if match.group(1) == b"done":
            return facts
        facts[match.group(2).decode()] = match.group(3).decode().strip()


def want(facts, **expected):
    for key, value in expected.items():
        if facts.get(key) != value:
            raise GuestError(f"in the guest, {key} is {facts.get(key)!r}, not {value!r}; all: {facts}")


def check_facts(facts, cpus, mem_mib):
    want(facts, cpus=str(cpus), interrupts="moving", clocksource="kvm-clock", errors="")
    if not mem_mib * 0.8 < int(facts["memkb"]) / 1024 < mem_mib:
        raise GuestError(f"the guest has {facts['memkb']} kB of {mem_mib} MiB")


def check_guest(vm, cpus, mem_mib, status=0):
    vm.expect(r"Linux version")
    facts = report(vm)
    check_facts(facts, cpus, mem_mib)
    if status is not None and vm.wait_end() != status:
        raise GuestError("poweroff did not end the process with status 0\n" + vm.tail())
    return facts


def linux(*args, kernel="vmlinuz", initrd="initrd", append="", mem=256):
    return Vm([KILN, "-enable-kvm", "-cpu", "host", "-m", str(mem), "-kernel", path(kernel), "-initrd", path(initrd),
               "-append", APPEND + append, "-nic", "none", "-nographic", *args])


def head_md5(name, size):
    with open(path(name), "rb") as f:
        return hashlib.md5(f.read(size)).hexdigest()


def qemu_img(*args):
    done = subprocess.run(["qemu-img", *args], capture_output=True, text=True)
    if done.returncode:
        raise GuestError(f"qemu-img {' '.join(args)}: status {done.returncode}\n{done.stdout}{done.stderr}")


class Shell:
    """A guest whose console takes commands, and its QMP."""

    def __init__(self, *args, append="", initrd="initrd"):
        self.qmp_path = tempfile.mktemp(prefix="qmp.", dir=WORK)
        self.vm = linux(*args, "-qmp", f"unix:{self.qmp_path},server=on,wait=off", initrd=initrd, append=f"kilntest=shell {append}")
        self.qmp = Qmp(self.vm, self.qmp_path)
        self.facts = self.booted()

    def booted(self):
        """What the guest reports until its shell is there."""
        facts = report(self.vm)
        self.vm.expect(r"GUEST shell")
        self.ask("dmesg -n 1")  # what the kernel says would stand in the middle of answers
        return facts

    def ask(self, command):
        return self.vm.command(command).strip()

    def until(self, command, value):
        """Until the command's output is so; the guest is asked, so its own time passes meanwhile."""
        last = None
        for _ in range(120):
            last = self.ask(command)
            if last == value:
                return
            self.ask("sleep 0.5")
        raise GuestError(f"in the guest: {command}: {last!r}, not {value!r}\n{self.ask('dmesg | tail -n 30')}")

    def off(self):
        self.vm.send("poweroff -f")
        if self.vm.wait_end():
            raise GuestError("poweroff did not end the process with status 0\n" + self.vm.tail())


def interface(guest, mac):
    """The card's name in the guest."""
    name = re.search(r"\beth\d+\b", guest.ask(f"grep -l {mac} /sys/class/net/*/address | cut -d/ -f5"))
    if not name:
        raise GuestError(f"the guest has no card {mac}\n{guest.ask('dmesg | tail -n 20')}")
    return name[0]


def send_to_guest(guest, address, port, data):
    """Through the network into a file of the guest's, which has it as it was."""
    guest.ask("(nc -l -p 80 < /dev/null > /got &)")
    guest.until("netstat -ltn | grep -c :80 || true", "1")
    with socket.create_connection((address, port), timeout=300) as s:
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        while s.recv(4096):
            pass
    guest.until("md5sum < /got | cut -c1-32", hashlib.md5(data).hexdigest())


def receive_from_guest(guest, gateway, listen, data):
    """The file that send_to_guest left there."""
    got = []

    def serve():
        connection = server.accept()[0]
        with connection:
            connection.settimeout(300)
            while part := connection.recv(65536):
                got.append(part)

    with socket.create_server((listen, 0)) as server:
        server.settimeout(300)
        thread = threading.Thread(target=serve)
        thread.start()
        guest.ask(f"nc {gateway} {server.getsockname()[1]} < /got > /dev/null")
        thread.join()
    if b"".join(got) != data:
        raise GuestError(f"{len(b''.join(got))} bytes came from the guest, not the {len(data)} that it has")


def interrupts(guest, device):
    """How many each queue of a virtio device has had."""
    name = guest.ask(f"basename $(readlink {device})")
    lines = guest.ask(f"grep '{name}-' /proc/interrupts").splitlines()
    return {line.split()[-1].removeprefix(name + "-"): sum(int(word) for word in line.split()[1:] if word.isdigit()) for line in lines}


def busy_queues(guest, device, wanted):
    """All queues whose names match have had interrupts."""
    found = {queue: count for queue, count in interrupts(guest, device).items() if re.match(wanted, queue)}
    print(f"# interrupts of {device}: {found}")
    return [queue for queue, count in found.items() if count]
