# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests of virtio-serial share: a guest with an agent's port, which it floods or is flooded through, and the host's side."""
import os
import socket
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "state"), os.path.join(HERE, "..")]
import busy_queues as v  # noqa: E402


def agent(path, more=()):
    """The command line of a guest agent, as users and libvirt write it."""
    return ["-nodefaults", "-device", "virtio-serial-pci,id=vs,addr=4,max_ports=4", "-chardev",
            f"socket,id=c0,path={path},server=on,wait=off", "-device",
            "virtserialport,bus=vs.0,nr=1,chardev=c0,id=channel0,name=org.qemu.guest_agent.0", *more]


def connect(path):
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    return s


def start(m, buffers=15):
    v.start_queues(m, v.VERSION_1 | v.MULTIPORT, range(6))
    for number in range(buffers):
        v.put_buffer(m, 2, number, 64)


def read_all(host, got, size):
    """Until so many bytes are there."""
    host.settimeout(120)
    while len(got) < size:
        got += host.recv(1 << 16)


DATA, SIZE = 0x200000, 16


class Flood:
    """A guest that keeps port 1's queue full of numbered lines of one length, and its readers, which see them in order."""

    def __init__(self, m, length):
        self.m, self.length = m, length
        self.begin()

    def begin(self):
        """After a reset too."""
        self.m.write(v.RAM, bytes(0xA000))
        start(self.m)
        v.say(self.m, 0, 1, 6, 1)
        self.given = self.taken = self.number = 0

    def line(self, number):
        return (b"%08d" % number).ljust(self.length - 1, b".") + b"\n"

    def feed(self):
        """Fills what came back, of which the guest knows that it was taken."""
        used = v.used(self.m, 5)
        assert (used - self.taken) & 0xFFFF <= self.given - self.taken, (used, self.taken, self.given)
        self.taken += (used - self.taken) & 0xFFFF
        while self.given - self.taken < SIZE:
            at = self.given % SIZE
            self.m.write(DATA + at * self.length, self.line(self.number))
            self.m.write(v.ring(5) + 16 * at, v.descriptor(DATA + at * self.length, self.length, 0))
            v.put16(self.m, v.ring(5) + 0x404 + 2 * at, at)
            self.given += 1
            self.number += 1
        v.put16(self.m, v.ring(5) + 0x402, self.given & 0xFFFF)
        self.m.ask(f"writew 0x{v.BAR + 0x3014:x} 5")

    def check(self, got, first=0):
        """Complete lines, in order, none doubled; without a gap. The number behind the last one."""
        lines = got.split(b"\n")[:-1]
        for i, line in enumerate(lines):
            assert line + b"\n" == self.line(first + i), (i, line[:20])
        return first + len(lines)

    def read_rest(self, host, got):
        """Until all that was written is there."""
        read_all(host, got, self.number * self.length)
        assert self.check(got) == self.number


def connected(q):
    """Is there a reader?"""
    return any(c["label"] == "c0" and "disconnected" not in c["filename"] for c in q.do("query-chardev"))


def attach(q):
    """A reader that is alone there, and is known to be."""
    v.wait(lambda: not connected(q))
    host = connect("agent")
    v.wait(lambda: connected(q))
    return host


def read_some(host, got):
    host.setblocking(False)
    try:
        got += host.recv(1 << 14)
    except BlockingIOError:
        pass
