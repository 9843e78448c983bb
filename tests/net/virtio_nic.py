# SPDX-License-Identifier: GPL-2.0-or-later
"""A virtio network card's driver for the guest of client.py: two rings of 64 buffers, in the machine's memory from `memory` on."""
import os
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "state"))
from client import PATIENCE, Card  # noqa: E402  pylint: disable=wrong-import-position

SIZE, BUFFER, HEADER = 64, 2048, 12
VERSION_1, MERGEABLE, STATUS = 1 << 32, 1 << 15, 1 << 16
RESET, EJECT = 0, 0xAE08


def hmp(m, line):
    return m.qmp(("human-monitor-command", {"command-line": line}))[0]


def threads(m):
    """Iothreads that Kiln has started."""
    names = []
    for task in os.listdir(f"/proc/{m.process.pid}/task"):
        with open(f"/proc/{m.process.pid}/task/{task}/comm", encoding="ascii") as f:
            names.append(f.read())
    return sum(name.startswith("IO ") for name in names)


class Traffic:
    """Packets of a guest that come back. Its heirs have find, restart, send, look, which says how many came, and left: how many of sent, from
    the base-th on, did not. At most window are on their way."""
    window = 1

    def work(self, count=60):
        """So many come back; more are on their way afterwards."""
        end, came = time.monotonic() + PATIENCE, 0
        while came < count:
            assert time.monotonic() < end, f"{came} of {count} came back, {self.left()} of {self.sent - self.base} did not"
            for _ in range(self.window - self.left()):
                self.send()
            came += self.look()

    def work_between_resets(self, m, turns):
        """Of the card, and in each second turn of the machine."""
        self.find()
        for turn in range(turns):
            self.work(40)
            if turn % 2:
                m.qmp(("system_reset", {}))
            self.restart()
            self.find()
        self.work()

    def finish(self):
        """All come back."""
        end = time.monotonic() + PATIENCE
        while self.left():
            assert time.monotonic() < end, f"{self.left()} of {self.sent - self.base} did not come back"
            self.look()
            time.sleep(0.001)


class VirtioNic(Card):
    def __init__(self, m, slot=4, mac="52:54:00:12:34:56", memory=0x400000, bar=0xE0000000):
        self.m, self.slot, self.bar, self.memory = m, slot, bar, memory
        self.mac, self.polls = bytes.fromhex(mac.replace(":", "")), 0
        self.start()

    def start(self):
        """Resets the device; packets that were on their way are lost."""
        m = self.m
        for register, value, size in ((0x10, 0xC000 + 0x100 * self.slot, 4), (0x20, self.bar, 4), (0x24, 0, 4), (4, 7, 2)):
            m.config(self.slot << 3, register, value, size)
        self.common(20, RESET)
        self.common(20, 3)
        for word in range(2):
            self.common(8, word, "l")
            self.common(12, (VERSION_1 | MERGEABLE | STATUS) >> 32 * word & 0xFFFFFFFF, "l")
        self.common(20, 11)
        for queue in range(2):
            table = b"".join(struct.pack("<QIHH", self.buffer(queue, i), BUFFER, 0 if queue else 2, 0) for i in range(SIZE))
            m.write(self.ring(queue)[0], table)
            m.write(self.ring(queue)[1], bytes(4) + struct.pack(f"<{SIZE}H", *range(SIZE)))
            m.write(self.ring(queue)[2], bytes(4 + 8 * SIZE))
            self.common(22, queue, "w")
            self.common(24, SIZE, "w")
            for at, address in zip((32, 40, 48), self.ring(queue)):
                self.common(at, address, "l")
                self.common(at + 4, 0, "l")
            self.common(28, 1, "w")
        self.common(20, 15)
        self.put = self.taken = 0
        self.waiting = []
        self.give()

    def common(self, offset, value, letter="b"):
        self.m.ask(f"write{letter} 0x{self.bar + offset:x} 0x{value:x}")

    def ring(self, queue):
        at = self.memory + 0x4000 * queue
        return at, at + 0x1000, at + 0x2000

    def buffer(self, queue, i):
        return self.memory + 0x10000 + (queue << 18) + BUFFER * i

    def publish(self, queue, index):
        self.m.write(self.ring(queue)[1] + 2, struct.pack("<H", index & 0xFFFF))
        self.m.ask(f"writew 0x{self.bar + 0x3000 + 4 * queue:x} {queue}")

    def give(self):
        """All buffers are the card's."""
        self.publish(0, self.taken + SIZE)

    def used(self, queue):
        return struct.unpack("<H", self.m.read(self.ring(queue)[2] + 2, 2))[0]

    def wait(self, condition, what):
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, what
            time.sleep(0.0005)

    def send(self, frame):
        if self.put >= SIZE:
            self.wait(lambda: (self.put - self.used(1)) & 0xFFFF < SIZE, "the card does not send")
        i = self.put % SIZE
        self.m.write(self.buffer(1, i), bytes(HEADER) + frame)
        self.m.write(self.ring(1)[0] + 16 * i + 8, struct.pack("<I", HEADER + len(frame)))
        self.put += 1
        self.publish(1, self.put)

    def all_sent(self):
        return self.used(1) == self.put & 0xFFFF

    def look(self):
        """All packets that have come."""
        used = self.m.read(self.ring(0)[2], 4 + 8 * SIZE)
        count = (struct.unpack_from("<H", used, 2)[0] - self.taken) & 0xFFFF
        frames = []
        for _ in range(count):
            i, length = struct.unpack_from("<II", used, 4 + 8 * (self.taken % SIZE))
            assert i == self.taken % SIZE, f"buffer {i} is used before its turn, {self.taken % SIZE}"
            frames.append(self.m.read(self.buffer(0, i), length)[HEADER:])
            self.taken += 1
        if count:
            self.give()
        return frames

    def poll(self):
        """A packet that has come, or None."""
        self.waiting = self.waiting or self.look()
        return self.waiting.pop(0) if self.waiting else None
