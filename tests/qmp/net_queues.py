# SPDX-License-Identifier: GPL-2.0-or-later
"""A tap in a network of this process's own, who sends and receives there, and a driver of the virtio card behind it, for tests
of packets that come and go without a pause. Each packet is numbered and filled by its number."""
import ctypes
import fcntl
import os
import socket
import struct
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "state"), os.path.join(HERE, "..")]
import busy_virtio as v  # noqa: E402
from tap import Skip  # noqa: E402

TUNSETIFF, TUNSETPERSIST, TAP_FLAGS, MULTI_QUEUE = 0x400454CA, 0x400454CB, 0x5002, 0x100
SIOCSIFFLAGS, SIOCSIFMTU, SO_RCVBUFFORCE = 0x8914, 0x8922, 33
PROTOCOL = 0x88B5                   # for experiments
NAME = "kilnbusy"
FEATURES = v.VERSION_1 | v.MRG | v.NET_STATUS | v.CTRL_VQ | v.CTRL_RX
MQ, RING_RESET = 1 << 22, 1 << 40
SIZE, BUFFER, HEADER = 64, 2048, 12
MEMORY = 0x400000                   # rings and buffers of pair n: 1 MiB from here + n MiB
SIZES = (64, 200, 1514, 64, 9000, 100, 2036, 2037, 64, 30000)
WINDOW = 60                         # packets on their way at most: no queue of the kernel is full, so none is lost there
PATIENCE = 120                     # seconds, never reached by what works


def enter_namespace():
    """A network of this process's own. None, or why there is none."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x40000000 | (0x10000000 if os.geteuid() else 0)):
        return f"no network namespace can be made: {os.strerror(ctypes.get_errno())}"
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as error:
        return f"/dev/net/tun: {error.strerror}"
    with open("/proc/sys/net/ipv6/conf/default/disable_ipv6", "w", encoding="ascii") as f:
        f.write("1")                # no packets of its own
    return None


WHY_NOT = enter_namespace()


def content(seed, size):
    """A packet: addresses, protocol, its number, a pattern of it."""
    head = b"\xff" * 6 + b"\x52\x54\0\0\0\1" + struct.pack(">HI", PROTOCOL, seed)
    return head + bytes([seed * 7 & 255, seed >> 3 & 255, 0xA5]) * ((size - 18) // 3) + b"\x5A" * ((size - 18) % 3)


def number_of(packet, size=None):
    """Which packet this is; it must be whole."""
    seed = struct.unpack_from(">I", packet, 14)[0]
    want = content(seed, size or len(packet))
    assert packet == want, f"packet {seed} of {len(packet)} bytes is damaged: {packet[:40].hex()}"
    return seed


class Tap:
    """The interface, which outlives the emulator, and who sends and receives there: packets come in all the time, WINDOW of
    them at most not yet seen by the guest."""
    protocol = PROTOCOL

    def __init__(self, queues=1, flood=True):
        if WHY_NOT:
            raise Skip(WHY_NOT)
        self.options = {"type": "tap", "id": "n", "ifname": NAME, "script": "no", "downscript": "no", "queues": queues}
        fd = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH", NAME.encode(), TAP_FLAGS | (MULTI_QUEUE if queues > 1 else 0)))
        fcntl.ioctl(fd, TUNSETPERSIST, 1)
        os.close(fd)                # else its queue would get packets
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(self.protocol))
        fcntl.ioctl(self.socket, SIOCSIFMTU, struct.pack("16si", NAME.encode(), 40000))
        fcntl.ioctl(self.socket, SIOCSIFFLAGS, struct.pack("16sH", NAME.encode(), 0x1043))
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        self.socket.bind((NAME, self.protocol))
        self.socket.settimeout(100)
        self.sent = self.seen = self.heard = 0  # seen: those before it came or are lost
        self.last, self.got = -1, set()     # that came
        self.window, self.over = 1, not flood
        self.thread = threading.Thread(target=self.flood, daemon=True)
        self.thread.start()

    def flood(self):
        while not self.over:
            if self.sent - self.seen < self.window:
                try:
                    self.socket.send(content(self.sent, SIZES[self.sent % len(SIZES)]))
                except OSError:     # nobody holds the interface
                    time.sleep(0.001)
                self.sent += 1
            else:
                time.sleep(0.0002)

    def netdev(self):
        return ",".join(["tap", *(f"{k}={value}" for k, value in self.options.items() if k != "type")])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over = True
        self.thread.join(100)
        self.socket.close()
        fd = os.open("/dev/net/tun", os.O_RDWR)
        flags = TAP_FLAGS | (MULTI_QUEUE if self.options["queues"] > 1 else 0)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH", NAME.encode(), flags))
        fcntl.ioctl(fd, TUNSETPERSIST, 0)
        os.close(fd)


class Pair:
    """Two rings of 64 buffers of 2 KiB, one descriptor each."""
    content, number_of = staticmethod(content), staticmethod(number_of)

    def __init__(self, m, index):
        self.m, self.index, self.base = m, index, MEMORY + (index << 20)
        self.put = 0
        self.clear(0)
        self.clear(1)

    def clear(self, ring):
        if ring == 0:
            self.given = self.taken = 0
            self.parts = []         # of a packet that is not whole yet
            self.want = 0           # buffers that it has
        table = b"".join(v.descriptor(self.buffer(ring, i), BUFFER, 0 if ring else 2) for i in range(SIZE))
        self.m.write(self.ring(ring)[0], table)
        self.m.write(self.ring(ring)[1], bytes(4) + struct.pack(f"<{SIZE}H", *range(SIZE)))
        self.m.write(self.ring(ring)[2], bytes(4 + 8 * SIZE))

    def ring(self, n):
        at = self.base + 0x4000 * n
        return at, at + 0x1000, at + 0x2000

    def buffer(self, ring, i):
        return self.base + 0x10000 + (ring << 18) + BUFFER * i

    def kick(self, ring):
        queue = 2 * self.index + ring
        self.m.ask(f"writew 0x{v.BAR + 0x3000 + 4 * queue:x} {queue}")

    def give(self):
        if self.given < self.taken + SIZE:
            self.given = self.taken + SIZE
            v.put16(self.m, self.ring(0)[1] + 2, self.given & 0xFFFF)
            self.kick(0)

    def poll(self):
        """Numbers of packets that have come whole."""
        used = self.m.read(self.ring(0)[2], 4 + 8 * SIZE)
        numbers = []
        while self.taken & 0xFFFF != struct.unpack_from("<H", used, 2)[0]:
            i, length = struct.unpack_from("<II", used, 4 + 8 * (self.taken % SIZE))
            assert i == self.taken % SIZE, f"buffer {i} is used before its turn, {self.taken % SIZE}"
            data = self.m.read(self.buffer(0, i), length)
            self.taken += 1
            if not self.parts:
                self.want = struct.unpack_from("<H", data, 10)[0]
                assert 1 <= self.want <= SIZE and data[:10] == bytes(10), data[:12].hex()
                data = data[HEADER:]
            self.parts.append(data)
            if len(self.parts) == self.want:
                numbers.append(self.number_of(b"".join(self.parts)))
                self.parts = []
        return numbers

    def send(self, seed, size, kick=True):
        i = self.put % SIZE
        self.m.write(self.buffer(1, i), bytes(HEADER) + self.content(seed, size))
        self.m.write(self.ring(1)[0] + 16 * i + 8, struct.pack("<I", HEADER + size))
        self.put += 1
        if kick:
            v.put16(self.m, self.ring(1)[1] + 2, self.put & 0xFFFF)
            self.kick(1)

    def all_sent(self):
        return v.get16(self.m, self.ring(1)[2] + 2) == self.put & 0xFFFF


class Guest:
    """Driver of a card, and what it has seen."""
    make_pair = Pair

    def __init__(self, m, tap, pairs=1, features=0):
        """Resets the device first. Packets that it had and that were not taken are lost."""
        self.m, self.tap, self.spoken = m, tap, tap.heard
        v.map_function(self.m)
        v.modern_common(self.m, 20, 1, 0)
        self.pairs = [self.make_pair(self.m, i) for i in range(pairs)]
        rings = {2 * p.index + n: p.ring(n) for p in self.pairs for n in range(2)}
        rings[2 * pairs] = v.net_ring(0)
        self.m.write(v.RINGS, bytes(0x1000))
        self.control, self.commands, self.active = 2 * pairs, 0, 1
        v.start_rings(self.m, FEATURES | features, rings, SIZE)
        for p in self.pairs:
            p.give()

    def arrive(self, m, ram, state):
        """In another machine, with what it had in memory, (address, bytes), and the state of the first."""
        for at, data in ram:
            m.write(at, data)
        refused = m.load(state)
        assert refused is None, refused
        self.m = m
        for p in self.pairs:
            p.m = m

    def restart_rx(self, index=0):
        """The receiving queue of a pair, reset while packets come."""
        p = self.pairs[index]
        v.modern_common(self.m, 22, 2, 2 * index)
        v.modern_common(self.m, 58, 2, 1)
        assert v.modern_common(self.m, 28, 2) == 0, "a queue that was reset is enabled"
        p.clear(0)
        v.modern_common(self.m, 24, 2, SIZE)
        for at, address in zip((32, 40, 48), p.ring(0)):
            v.modern_common(self.m, at, 4, address)
        v.modern_common(self.m, 28, 2, 1)
        p.give()

    def command(self, data):
        """By the control queue, whose ring is one of 64 at net_ring(0)."""
        desc, avail, used = v.net_ring(0)
        self.m.write(v.PACKET, data + b"\xff")
        self.m.write(desc, v.descriptor(v.PACKET, len(data), 1, 1) + v.descriptor(v.PACKET + len(data), 1, 2))
        v.put16(self.m, avail + 4 + 2 * (self.commands % SIZE), 0)
        self.commands += 1
        v.put16(self.m, avail + 2, self.commands)
        self.m.ask(f"writew 0x{v.BAR + 0x3000 + 4 * self.control:x} {self.control}")
        v.wait(lambda: v.get16(self.m, used + 2) == self.commands)
        return self.m.read(v.PACKET + len(data), 1)[0]

    def look(self, lossless):
        """Takes what has come. How many packets."""
        count = 0
        for p in self.pairs:
            for number in p.poll():
                last = self.tap.last if self.tap.options["queues"] == 1 else -1     # the kernel chooses a queue for each
                assert number > last and not (lossless and -1 < last < number - 1), f"packet {number} comes behind {last}"
                assert number not in self.tap.got, f"packet {number} comes twice"
                self.tap.got.add(number)
                self.tap.last = max(self.tap.last, number)
                self.tap.seen = max(self.tap.seen, number + 1)
                count += 1
            p.give()
        return count

    def speak(self):
        """A packet, by one pair after the other, if the last one has ended."""
        if all(p.all_sent() for p in self.pairs):
            self.pairs[self.spoken % self.active].send(self.spoken, SIZES[self.spoken % 4])
            self.spoken += 1

    def listen(self):
        """Who hears what was sent: each once, in order."""
        while self.tap.heard < self.spoken:
            number = number_of(self.tap.socket.recv(65536), SIZES[self.tap.heard % 4])
            assert number == self.tap.heard, f"packet {number} is heard where {self.tap.heard} was sent"
            self.tap.heard += 1

    def find_packets(self):
        """Until packets come. Those sent before are lost (or wait in a queue that is not in use) or not; all that are sent
        from now on come."""
        end, again, mark = time.monotonic() + PATIENCE, 0, None
        self.tap.window = 1             # few: no queue may be full of them
        while mark is None or self.tap.last < mark:
            assert time.monotonic() < end, f"packet {mark} does not come: {self.tap.last} was the last"
            if self.look(False):
                mark = mark or self.tap.sent
            elif time.monotonic() > again:
                again = time.monotonic() + 0.05
                self.tap.seen = self.tap.sent
        self.tap.window = WINDOW

    def work(self, packets=150, lossless=True):
        """Until so many packets came and some went. lossless: none sent before is lost."""
        end, got = time.monotonic() + PATIENCE, 0
        if not lossless:
            self.find_packets()
        while got < packets:
            assert time.monotonic() < end, f"{got} of {packets} packets came; {self.tap.sent} sent, {self.tap.seen} seen, " + \
                "; ".join(f"pair {p.index}: {p.given} given {p.taken} taken, {p.put} put" for p in self.pairs)
            got += self.look(True)
            self.speak()
        v.wait(lambda: all(p.all_sent() for p in self.pairs))
        self.listen()


def card(tap, more=""):
    return ["-nodefaults", "-netdev", tap.netdev(), "-device", "virtio-net-pci,id=c,netdev=n,addr=4" + more]

