# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices whose rings the host's kernel serves."""
import contextlib
import ctypes
import glob
import hashlib
import os
import re
import socket
import subprocess
import threading

from console import GuestError, Skipped
from guest import Shell, interface, path, receive_from_guest, send_to_guest

VSOCK_CID = 4242


def vsock_to_guest(guest, port, data):
    """A connection from the host: data into a file of the guest's."""
    guest.ask(f"{{ vsock - {port} < /dev/null > /got & }}")
    for _ in range(120):
        with socket.socket(socket.AF_VSOCK) as s:
            s.settimeout(300)
            try:
                s.connect((VSOCK_CID, port))
            except ConnectionResetError:  # nobody listens yet
                guest.ask("sleep 0.5")
                continue
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            while s.recv(4096):
                pass
            break
    guest.until("md5sum < /got | cut -c1-32", hashlib.md5(data).hexdigest())


def vsock_from_guest(guest, data):
    """A connection of the guest's to the host, with what vsock_to_guest left there, and an answer."""
    got, answer = [], b"answer" * 5000

    def serve():
        connection, peer = server.accept()
        with connection:
            connection.settimeout(300)
            got.append(peer[0])
            while part := connection.recv(65536):
                got.append(part)
            connection.sendall(answer)

    with socket.socket(socket.AF_VSOCK) as server:
        server.settimeout(300)
        server.bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY))
        server.listen(1)
        thread = threading.Thread(target=serve)
        thread.start()
        told = guest.ask(f"vsock 2 {server.getsockname()[1]} < /got | md5sum | cut -c1-32")
        thread.join()
    if got[:1] != [VSOCK_CID] or b"".join(got[1:]) != data:
        raise GuestError(f"{sum(map(len, got[1:]))} bytes came from the guest {got[:1]}, not the {len(data)} that it has; it said {told}")
    if told != hashlib.md5(answer).hexdigest():
        raise GuestError(f"the host's answer came as {told}")


@contextlib.contextmanager
def own_network():
    """This thread, and what it starts, in a network namespace of its own."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as old:
        if libc.unshare(0x40000000):
            raise GuestError(f"unshare: {os.strerror(ctypes.get_errno())}")
        try:
            yield
        finally:
            libc.setns(old.fileno(), 0)


def vhost_workers(guest):
    """How often each of the kernel's threads for this VM slept."""
    found = []
    for status in glob.glob("/proc/[0-9]*/task/*/status"):
        try:
            with open(status) as f:
                text = f.read()
        except OSError:
            continue
        if text.startswith(f"Name:\tvhost-{guest.vm.process.pid}\n"):
            found.append(int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", text, re.M)[1]))
    return found


def vhost_packets(guest, data):
    """Pings and TCP both ways, from start to end through the kernel: before and after a stop and a link that was down."""
    for command in ("addr add 10.0.30.1/24 dev kilnvhost", "link set kilnvhost up"):
        subprocess.run(["ip", *command.split()], check=True)
    name = interface(guest, "52:54:00:00:00:30")
    guest.ask(f"ip addr add 10.0.30.15/24 dev {name}; ip link set {name} up")
    for turn in range(2):
        guest.until(f"cat /sys/class/net/{name}/carrier", "1")
        guest.ask("ping -c 2 -W 60 10.0.30.1")
        send_to_guest(guest, "10.0.30.15", 80, data)
        receive_from_guest(guest, "10.0.30.1", "10.0.30.1", data)
        if not turn:
            guest.qmp("stop")
            guest.qmp("cont")
            guest.qmp("set_link", name="n", up=False)
            guest.until(f"cat /sys/class/net/{name}/carrier", "0")
            guest.qmp("set_link", name="n", up=True)


def test_vhost():
    """The host's kernel serves the rings: sockets to and from the guest, packets of a tap with two queues."""
    if not all(map(os.path.exists, ("/dev/vhost-vsock", "/dev/vhost-net", "/dev/net/tun"))):
        raise Skipped("no /dev/vhost-vsock, /dev/vhost-net or /dev/net/tun")
    with own_network(), open(path("disk.raw"), "rb") as f:
        guest = Shell("-device", f"vhost-vsock-pci,guest-cid={VSOCK_CID}", "-netdev",
                      "tap,id=n,ifname=kilnvhost,script=no,downscript=no,queues=2,vhost=on,vhostforce=on", "-device",
                      "virtio-net-pci,netdev=n,mq=on,mac=52:54:00:00:00:30")
        guest.ask("for m in $(cat /mod/vsock); do insmod /mod/$m; done 2>/dev/null; true")
        data = f.read(1 << 20)
        for port in (1001, 1002):
            vsock_to_guest(guest, port, data)
            vsock_from_guest(guest, data)
            guest.qmp("stop")
            guest.qmp("cont")
        print("# vsock: 1 MiB both ways, twice", flush=True)
        vhost_packets(guest, data)
        workers = vhost_workers(guest)
        print(f"# the kernel's threads slept {workers} times")
        if len([n for n in workers if n > 10]) < 2:
            raise GuestError("the kernel's threads had nothing to do")
        guest.off()
