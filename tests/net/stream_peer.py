# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbered packets of a guest with a virtio card (virtio_nic.py) to a peer on a stream, who sends them back."""
import contextlib
import socket
import struct
import threading
import time

from client import PATIENCE
from virtio_nic import Traffic, hmp

SIZES = (60, 1514, 200, 2036, 64)
WINDOW = 40


def content(seed, size):
    head = b"\xff" * 6 + b"\x52\x54\0\0\0\1\x88\xb5" + struct.pack(">I", seed)
    return head + bytes([seed * 7 & 255, seed >> 3 & 255, 0xA5]) * ((size - 18) // 3) + b"\x5A" * ((size - 18) % 3)


class Mirror:
    """A peer that sends back whatever comes. slow: in pieces, whose borders are nowhere in particular."""

    def __init__(self, connection, slow=False):
        self.socket, self.slow = connection, slow
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        with contextlib.suppress(OSError):
            while data := self.socket.recv(65536):
                for at in range(0, len(data), 997 if self.slow else 65536):
                    self.socket.sendall(data[at:at + (997 if self.slow else 65536)])
        self.socket.close()

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join(PATIENCE)


class Guest(Traffic):
    window = WINDOW

    def __init__(self, nic, first=0):
        self.nic = nic
        self.sent = self.base = first       # base: what was sent before may be lost
        self.last, self.came = first - 1, 0

    def restart(self):
        self.nic.start()

    def send(self):
        self.nic.send(content(self.sent, SIZES[self.sent % len(SIZES)]))
        self.sent += 1

    def look(self):
        """How many packets came that were sent behind base."""
        count = 0
        for frame in self.nic.look():
            seed, = struct.unpack_from(">I", frame, 14)
            assert frame == content(seed, SIZES[seed % len(SIZES)]), f"packet {seed} of {len(frame)} bytes is damaged"
            assert self.last < seed < self.sent, f"packet {seed} comes behind {self.last}"
            if seed >= self.base:
                assert seed == max(self.last + 1, self.base), f"packet {seed} comes behind {self.last}: some are lost"
                count += 1
            self.last = seed
        return count

    def left(self):
        return self.sent - max(self.base, self.last + 1)

    def find(self):
        """What is on its way may be lost; until packets come back again."""
        end = time.monotonic() + PATIENCE
        while True:
            assert time.monotonic() < end, "no packet comes back"
            self.base = self.sent
            self.send()
            until = time.monotonic() + 0.2
            while time.monotonic() < until:
                if self.look():
                    return
                time.sleep(0.0005)
            self.base = self.sent           # it may be lost, or come late


def card(netdev, *more):
    return ["-nodefaults", "-netdev", netdev, "-device", "virtio-net-pci,id=c,netdev=n,addr=4", *more]


def move(m, turn):
    """Where the links are changes, and back, or the machine stands still for a moment. Needs a character device z."""
    if turn % 4 == 0:
        m.qmp(("stop", {}))
        m.qmp(("cont", {}))
    elif turn % 4 == 1:
        m.qmp(("object-add", {"qom-type": "filter-mirror", "id": "f", "netdev": "n", "outdev": "z"}))
    elif turn % 4 == 2:
        m.qmp(("object-del", {"id": "f"}))
    else:
        hmp(m, "info network")


def wait_info(m, words):
    end = time.monotonic() + PATIENCE
    while words not in hmp(m, "info network"):
        assert time.monotonic() < end, hmp(m, "info network")
        time.sleep(0.001)
