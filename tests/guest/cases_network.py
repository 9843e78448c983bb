# SPDX-License-Identifier: GPL-2.0-or-later
"""Cards on user networks and taps; booting from the network."""
import ctypes
import hashlib
import os
import re
import shutil
import socket
import subprocess

from console import GuestError, Vm
from guest import KILN, WORK, Shell, busy_queues, interface, path, receive_from_guest, send_to_guest


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def between_guests(sender, receiver, address, cpu):
    """A file of one guest's to another, sent by this CPU."""
    receiver.ask("(sleep 100000 | nc -l -p 81 > /got &)")
    receiver.until("netstat -ltn | grep -c :81 || true", "1")
    sender.ask(f"taskset {1 << cpu} nc {address} 81 < /data > /dev/null")
    receiver.until("md5sum < /got", sender.ask("md5sum < /data"))


def ssh(port, command, data=b""):
    done = subprocess.run(["ssh", "-p", str(port), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o",
                           "PreferredAuthentications=none", "-o", "LogLevel=ERROR", "root@127.0.0.1", command],
                          input=data, capture_output=True)
    if done.returncode:
        raise GuestError(f"ssh: status {done.returncode}: {done.stderr.decode(errors='replace')}")
    return done.stdout


def check_ssh(guest, port, data):
    guest.ask("mkdir -p /etc/dropbear && dropbear -R -B")
    told = ssh(port, "tee /copied | md5sum | cut -c1-32", data).decode().strip()
    if told != hashlib.md5(data).hexdigest():
        raise GuestError(f"by ssh, the guest got {told}")
    back = ssh(port, "cat /copied")
    if back != data:
        raise GuestError(f"by ssh, {len(back)} bytes came back of {len(data)}")


def ip(command):
    subprocess.run(["ip", *command.split()], check=True)


def bridged_taps():
    """In a network namespace of this process's own, a bridge: options of two cards on it, and what puts their taps there."""
    if ctypes.CDLL(None, use_errno=True).unshare(0x40000000):  # CLONE_NEWNET
        raise GuestError(f"unshare: {os.strerror(ctypes.get_errno())}")
    ip("link set lo up")
    ip("link add kilnbr type bridge")
    ip("addr add 10.0.20.1/24 dev kilnbr")
    ip("link set kilnbr up")
    return [["-netdev", f"tap,id=t,ifname=kilntap{n},script=no,downscript=no{more}", "-device",
             f"virtio-net-pci,netdev=t,mac=52:54:00:00:00:{20 + n}{card}"]
            for n, more, card in ((0, ",queues=2", ",mq=on"), (1, "", ""))]


def join_bridge(guest, number):
    ip(f"link set kilntap{number} master kilnbr")
    ip(f"link set kilntap{number} up")
    name = interface(guest, f"52:54:00:00:00:{20 + number}")
    guest.ask(f"ip addr add 10.0.20.{15 + number}/24 dev {name}; ip link set {name} up; head -c 4194304 /dev/urandom > /data")
    guest.until(f"cat /sys/class/net/{name}/carrier", "1")
    return name


def check_taps(guest, second, data):
    """Two queues of a tap with all its offloads, to the host and to another guest; each CPU has a queue of its own."""
    name, other = join_bridge(guest, 0), Shell(*second, append="kilnquick")
    join_bridge(other, 1)
    send_to_guest(guest, "10.0.20.15", 80, data)
    receive_from_guest(guest, "10.0.20.1", "10.0.20.1", data)
    for cpu in (0, 1):
        between_guests(guest, other, "10.0.20.16", cpu)
        between_guests(other, guest, "10.0.20.15", 0)
    busy = busy_queues(guest, f"/sys/class/net/{name}/device", r"(in|out)put\.[01]$")
    if len(busy) < 3:
        raise GuestError(f"of two pairs of queues, only {busy} had interrupts")
    print(f"# between two guests on a bridge: {4 << 20} bytes both ways, twice")
    other.off()


def test_network():
    """Each card on a user network: an address by DHCP, TCP both ways, through a forwarded port and to the host; ssh.
    Then taps."""
    models, args = ("virtio-net-pci", "e1000", "rtl8139"), ["-smp", "2", "-device", "virtio-rng-pci"]
    taps = bridged_taps() if os.geteuid() == 0 and os.path.exists("/dev/net/tun") else []
    ports, ssh_port = [free_port() for _ in models], free_port()
    for n, (model, port) in enumerate(zip(models, ports), 10):
        more = f",hostfwd=tcp:127.0.0.1:{ssh_port}-:22" if n == 10 else ""
        args += ["-netdev", f"user,id=n{n},net=10.0.{n}.0/24,hostfwd=tcp:127.0.0.1:{port}-:80{more}", "-device",
                 f"{model},netdev=n{n},mac=52:54:00:00:00:{n}"]
    guest = Shell(*args, *(taps[0] if taps else []), initrd="initrd-tools", append="kilnquick")
    guest.ask("printf '#!/bin/sh\\n[ $1 != bound ] || ip addr add $ip/24 dev $interface\\n' > /dhcp; chmod +x /dhcp")
    with open(path("disk.raw"), "rb") as f:
        data = f.read(1 << 20)
    for n, (model, port) in enumerate(zip(models, ports), 10):
        name = interface(guest, f"52:54:00:00:00:{n}")
        guest.ask(f"ip link set {name} up")
        guest.until(f"cat /sys/class/net/{name}/carrier", "1")
        guest.ask(f"udhcpc -n -q -t 20 -i {name} -s /dhcp 2>&1")
        guest.until(f"ip addr show dev {name} | grep -c 'inet 10.0.{n}.15/24' || true", "1")
        send_to_guest(guest, "127.0.0.1", port, data)
        receive_from_guest(guest, f"10.0.{n}.2", "127.0.0.1", data)
        if n == 10:
            check_ssh(guest, ssh_port, data)
        guest.ask(f"ip link set {name} down")
        print(f"# {model} as {name}: {len(data)} bytes both ways")
    if taps:
        check_taps(guest, taps[1], data)
    else:
        print("# only root makes taps: left out")
    guest.off()


def pxe(*args):
    return Vm([KILN, "-enable-kvm", "-m", "64", "-netdev", f"user,id=n,tftp={WORK},bootfile=pxe.bin,restrict=on",
               "-device", "isa-debug-exit,iobase=0x501,iosize=1", "-nographic", *args])


def test_pxe():
    """Cards boot from the user network by their own ROMs: chosen by -boot, and before a disk by bootindex."""
    shutil.copy(path("pxe.bin"), WORK)
    disk = os.path.join(WORK, "empty.raw")
    with open(disk, "wb") as f:
        f.truncate(1 << 20)
    for args in (["-device", "e1000,netdev=n", "-boot", "n"],
                 ["-device", "virtio-net-pci,netdev=n", "-boot", "n"],
                 ["-drive", f"file={disk},format=raw,if=none,id=d", "-device", "ide-hd,drive=d,bootindex=2",
                  "-device", "rtl8139,netdev=n,bootindex=1"]):
        vm = pxe(*args)
        vm.expect(r"PXE program runs")
        status = vm.wait_end()
        if status != 0x21:
            raise GuestError(f"isa-debug-exit gave status {status}, not {0x21}\n" + vm.tail())
    vm = pxe("-device", "e1000,netdev=n,romfile=", "-boot", "n")
    vm.expect(r"No bootable device", bad=re.compile(rb"iPXE|PXE program"))
    vm.process.terminate()
    vm.wait_end()
