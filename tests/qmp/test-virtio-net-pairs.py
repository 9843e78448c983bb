#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-virtio-net-pairs.py KILN: a virtio card whose pairs of queues run in several threads, while 64 flows come by all of them
and each pair sends. What managers do, and commands of the driver, change what all threads look at. Each packet is numbered: none
may be damaged, doubled or out of its flow's order, and none lost but by what loses packets."""
import os
import random
import struct
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "state"), os.path.join(HERE, "..")]
import busy_virtio as v  # noqa: E402
from machine import Machine  # noqa: E402
from net_queues import BUFFER, MQ, PATIENCE, RING_RESET, SIZE, SIZES, WINDOW, Guest, Pair, Tap, card  # noqa: E402
from tap import main, test  # noqa: E402

KILN = os.path.abspath(sys.argv[1])
FLOWS, PAIRS = 64, 3
PCI_EJ = 0xAE08
MQ_CARD = ",mq=on,vectors=8"
RX_EXTRA, VLAN, MAC_ADDR, OFFLOADS = 1 << 20, 1 << 19, 1 << 23, 1 << 2
COMMANDS = MQ | RX_EXTRA | VLAN | MAC_ADDR | OFFLOADS | RING_RESET | 2
PROMISC, ALLMULTI = b"\0\0", b"\0\1"


def fill(seed, size, port):
    head = b"\xff" * 6 + b"\x52\x54\0\0\0\1\x08\0" + struct.pack(">BBHHHBBH4s4s", 0x45, 0, size - 14, 0, 0, 64, 17, 0, b"\x0a\x09\0\1",
                                                                 b"\x0a\x09\0\2")
    head += struct.pack(">HHHHI", port, 2000, size - 34, 0, seed)
    return (head + bytes([seed * 7 & 255, seed >> 3 & 255, 0xA5]) * (size // 3))[:size]


def to_guest(seed, size):
    """A packet of the flow that its number says; the kernel chooses a queue by the flow."""
    return fill(seed, size, 1000 + seed % FLOWS)


def from_guest(seed, size):
    """One that pair seed >> 24 sends. Its flow is another: the kernel would have answers come by this pair."""
    return fill(seed, size, 3000 + (seed >> 24))


def number_of(packet, make=to_guest):
    seed = struct.unpack_from(">I", packet, 42)[0]
    assert packet == make(seed, len(packet)), f"packet {seed} of {len(packet)} bytes is damaged: {packet[:60].hex()}"
    return seed


class FlowPair(Pair):
    content, number_of = staticmethod(from_guest), staticmethod(number_of)


class FlowGuest(Guest):
    make_pair = FlowPair


class Flood(Tap):
    """Numbers below base are of the time before the last loss: they may be missing."""
    protocol = 0x0800

    def __init__(self):
        self.lock, self.going, self.lossy = threading.Lock(), False, True
        self.base = self.came = 0
        self.last, self.got, self.by_pair = {}, set(), [0] * PAIRS
        self.said, self.heard_of = [0] * PAIRS, [0] * PAIRS
        super().__init__(PAIRS)
        self.last, self.got = {}, set()

    def put(self):
        size = SIZES[self.sent % len(SIZES)] if self.going else 64
        try:
            self.socket.send(to_guest(self.sent, max(size, 64)))
        except OSError:             # nobody holds the interface
            time.sleep(0.001)
        self.sent += 1

    def flood(self):
        while not self.over:
            with self.lock:
                wait = not self.going or (not self.lossy and self.sent - self.base - self.came >= WINDOW)
                if not wait:
                    self.put()
            if wait or self.lossy:
                time.sleep(0.0002)

    def set_going(self, going, lossy=False):
        with self.lock:
            self.going, self.lossy = going, lossy

    def take(self, guest):
        for p in guest.pairs:
            for number in p.poll():
                assert number not in self.got, f"packet {number} comes twice"
                self.got.add(number)
                self.by_pair[p.index] += 1
                if number >= self.base and not self.lossy:
                    last = self.last.get(number % FLOWS)
                    assert number == last + FLOWS, f"packet {number} comes behind {last}, by pair {p.index}"
                    self.last[number % FLOWS] = number
                    self.came += 1
            p.give()

    def listen(self, guest):
        """What the pairs sent is heard, each pair's in order."""
        while sum(self.heard_of) < sum(self.said):
            number = number_of(self.socket.recv(65536), from_guest)
            pair, count = number >> 24, number & 0xFFFFFF
            assert count == self.heard_of[pair], f"packet {count} of pair {pair} is heard where {self.heard_of[pair]} was sent"
            self.heard_of[pair] += 1

    def speak(self, guest):
        for p in guest.pairs[:guest.active]:
            if p.all_sent():
                p.send(p.index << 24 | self.said[p.index], SIZES[self.said[p.index] % 4])
                self.said[p.index] += 1

    def sync(self, guest):
        """Behind a loss: until a packet of each flow comes. From then on all must come."""
        self.set_going(False, True)
        end, missing = time.monotonic() + PATIENCE, True
        while missing:
            assert time.monotonic() < end, f"flows {sorted(missing)} do not come"
            while self.sent % FLOWS:
                self.sent += 1
            mark = self.sent
            for _ in range(FLOWS):
                self.put()
            again = time.monotonic() + 2
            while missing and time.monotonic() < again:
                self.take(guest)
                missing = {n % FLOWS for n in range(mark, mark + FLOWS)} - {n % FLOWS for n in self.got if n >= mark}
        self.base, self.came = self.sent, 0
        self.last = {n % FLOWS: n for n in range(mark, mark + FLOWS)}
        self.set_going(True)

    def work(self, guest, packets=120):
        """So many packets come, and each pair sends."""
        end, goal = time.monotonic() + PATIENCE, self.came + packets
        while self.came < goal:
            assert time.monotonic() < end, f"{self.came} of {self.sent - self.base} packets came"
            self.take(guest)
            self.speak(guest)

    def settle(self, guest):
        """All that was sent has come, and was heard."""
        end = time.monotonic() + PATIENCE
        self.set_going(False)
        while self.came < self.sent - self.base or not all(p.all_sent() for p in guest.pairs):
            assert time.monotonic() < end, f"{self.came} of {self.sent - self.base} packets came; sent {[(p.put, v.get16(guest.m, p.ring(1)[2] + 2)) for p in guest.pairs]}"
            self.take(guest)
        self.listen(guest)
        self.set_going(True)


def begin(m, tap, active=PAIRS):
    guest = FlowGuest(m, tap, PAIRS, COMMANDS)
    assert guest.command(b"\4\0" + struct.pack("<H", active)) == 0
    guest.active = active
    tap.sync(guest)
    return guest


def epolls(m):
    """Which epoll descriptors wait for which taps."""
    home = f"/proc/{m.process.pid}"
    links, found = {}, {}
    for fd in os.listdir(f"{home}/fd"):
        try:
            links[fd] = os.readlink(f"{home}/fd/{fd}")
        except FileNotFoundError:   # the monitor's
            pass
    for fd, link in links.items():
        if "eventpoll" in link:
            with open(f"{home}/fdinfo/{fd}", encoding="ascii") as f:
                waits = [line.split()[1] for line in f if line.startswith("tfd:")]
            taps = [t for t in waits if links.get(t) == "/dev/net/tun"]
            if taps:
                found[fd] = len(taps)
    return found


@test
def threads():
    """As many as there are processors for pairs that a driver may use; one where hashes lead from one pair to another."""
    most = min(PAIRS, len(os.sched_getaffinity(0)), 8)
    with Flood() as tap:
        for props, wanted in ((MQ_CARD, most), (MQ_CARD + ",hash=on", most), (MQ_CARD + ",rss=on", 1), (",vectors=8", 1)):
            with Machine(KILN, card(tap, props)) as m:
                for _ in range(3):
                    m.qmp(("set_link", {"name": "n", "up": True}))      # to the main thread, and back
                    found = epolls(m)
                    assert len(found) == wanted and sum(found.values()) == PAIRS, (props, found)


def lossless(guest, m):
    """What loses nothing, whatever the threads are at."""
    yield lambda: m.qmp(("stop", {}), ("cont", {}))
    yield lambda: guest.command(PROMISC + b"\0")
    yield lambda: m.qmp(("query-rx-filter", {"name": "c"}))
    yield lambda: guest.command(b"\1\0" + struct.pack("<I", 2) + b"\2\2\2\2\2\2\2\2\2\2\2\3" + struct.pack("<I", 0))
    yield lambda: guest.command(b"\2\0\7\0")
    yield lambda: m.qmp(("set_link", {"name": "n", "up": True}))        # to the main thread, and back
    yield lambda: guest.command(ALLMULTI + b"\1")
    yield lambda: guest.command(b"\2\1\7\0")
    yield lambda: guest.command(b"\1\1\x52\x54\0\1\2\3")
    yield lambda: guest.command(PROMISC + b"\1")


@test
def managers():
    """And commands that change the filters. Nothing is lost."""
    with Flood() as tap, Machine(KILN, card(tap, MQ_CARD)) as m:
        guest = begin(m, tap)
        for _ in range(2):
            for run in lossless(guest, m):
                tap.work(guest, 40)
                assert run() != 1
                tap.work(guest, 40)
        tap.settle(guest)
        assert all(tap.by_pair), f"packets by pair: {tap.by_pair}"


@test
def filters():
    """What a filter keeps out comes by no pair, in whatever thread, soon after the command was answered."""
    with Flood() as tap, Machine(KILN, card(tap, MQ_CARD)) as m:
        guest = begin(m, tap)
        for _ in range(6):
            tap.work(guest, 60)
            assert guest.command(PROMISC + b"\0") == 0 and guest.command(b"\0\5\1") == 0    # no broadcasts
            tap.set_going(True, True)
            end, quiet = time.monotonic() + PATIENCE, 0
            while quiet < 50:           # packets are sent all the time
                assert time.monotonic() < end, "packets come that were to be kept out"
                before, sent = len(tap.got), tap.sent
                while tap.sent < sent + 20:
                    tap.take(guest)
                quiet = quiet + 1 if len(tap.got) == before else 0
            assert guest.command(b"\0\5\0") == 0
            tap.sync(guest)
        tap.settle(guest)


def used_by(pair):
    return v.get16(pair.m, pair.ring(0)[2] + 2)


@test
def numbers_of_pairs():
    """More and fewer of them, with stops and moves between."""
    with Flood() as tap, Machine(KILN, card(tap, MQ_CARD)) as m:
        guest = begin(m, tap)
        for turn, active in enumerate((1, 3, 2, 1, 2, 3, 2, 3)):
            tap.settle(guest)           # what waits in a queue that goes is lost
            tap.set_going(True, True)
            assert guest.command(b"\4\0" + struct.pack("<H", active)) == 0
            guest.active = active
            unused, sent = [used_by(p) for p in guest.pairs[active:]], tap.sent
            while tap.sent < sent + 40:
                time.sleep(0.001)
            tap.sync(guest)
            before = list(tap.by_pair)
            tap.work(guest, 200)
            assert unused == [used_by(p) for p in guest.pairs[active:]], "packets come by pairs that a command took out of use"
            if turn % 2:
                m.qmp(("stop", {}), ("cont", {}))
            else:
                m.qmp(("set_link", {"name": "c", "up": True}))
            tap.work(guest, 100)
            tap.settle(guest)
            used = [now > then for now, then in zip(tap.by_pair, before)]
            assert used == [i < active for i in range(PAIRS)], f"{active} pairs: {before} -> {tap.by_pair}"


@test
def storm():
    """Commands without a pause, as fast as they are answered: the last one counts, in all threads."""
    rng = random.Random(7)
    with Flood() as tap, Machine(KILN, card(tap, MQ_CARD)) as m:
        guest = begin(m, tap)
        for turn in range(4):
            tap.settle(guest)
            tap.set_going(True, True)
            for n in range(150):
                active = rng.randint(1, PAIRS)
                command = rng.choice((b"\4\0" + struct.pack("<H", active), b"\4\0" + struct.pack("<H", active), PROMISC + bytes([n & 1]),
                                      b"\0\5" + bytes([n & 1]), b"\2\0" + struct.pack("<H", n), b"\5\0" + struct.pack("<Q", 2 * (n & 1))))
                assert guest.command(command) == 0
                if n % 10 == 0:
                    tap.take(guest)
                if n % 50 == 49:
                    m.qmp(*((("stop", {}), ("cont", {})), (("set_link", {"name": "n", "up": False}), ("set_link", {"name": "n", "up": True})))
                          [turn & 1])
            guest.active = 1 + turn % PAIRS
            for command in (PROMISC + b"\1", b"\0\5\0", b"\5\0" + struct.pack("<Q", 0), b"\4\0" + struct.pack("<H", guest.active)):
                assert guest.command(command) == 0
            tap.sync(guest)
            before = list(tap.by_pair)
            tap.work(guest, 300)
            tap.settle(guest)
            used = [now > then for now, then in zip(tap.by_pair, before)]
            assert used == [i < guest.active for i in range(PAIRS)], f"{guest.active} pairs: {before} -> {tap.by_pair}"


@test
def losses():
    """The cable, resets of each pair's queue, of the device and of the machine; then a netdev that goes."""
    with Flood() as tap:
        with Machine(KILN, card(tap, MQ_CARD)) as m:
            for turn in range(12):
                guest = begin(m, tap, 1 + turn % PAIRS)
                tap.work(guest, 60)
                tap.settle(guest)
                tap.set_going(True, True)
                if turn % 4 == 0:
                    m.qmp(("set_link", {"name": "c", "up": False}), ("set_link", {"name": "c", "up": True}))
                elif turn % 4 == 1:
                    for index in range(PAIRS):
                        tap.take(guest)
                        guest.restart_rx(index)
                elif turn % 4 == 2:
                    m.qmp(("system_reset", {}))
                    continue
                tap.sync(guest)
                tap.work(guest, 60)
                tap.settle(guest)
                tap.set_going(True, True)       # the next driver's reset comes while packets do
            guest = begin(m, tap)
            m.qmp(("netdev_del", {"id": "n"}))
            tap.set_going(False, True)
            for p in guest.pairs:
                p.send(p.index << 24, 100)      # to nobody
                v.wait(p.all_sent)


@test
def plug():
    with Flood() as tap, Machine(KILN, ["-nodefaults"]) as m:
        for _ in range(6):
            m.qmp(("netdev_add", tap.options), ("device_add", {"driver": "virtio-net-pci", "id": "c", "netdev": "n", "addr": "4",
                                                               "mq": True, "vectors": 8}))
            guest = begin(m, tap)
            tap.work(guest, 60)
            tap.settle(guest)
            guest.command(b"\4\0\1\0")
            m.qmp(("device_del", {"id": "c"}))
            m.outl(PCI_EJ, 1 << 4)
            v.wait(lambda: not m.qmp(("query-rx-filter", {}))[0])
            m.qmp(("netdev_del", {"id": "n"}))
            tap.set_going(False, True)


@test
def another_process_goes_on():
    """With the state of a card whose pairs were busy, and whose filter counts there, too."""
    with Flood() as tap:
        guest = ram = state = None
        for turn in range(3):
            with Machine(KILN, card(tap, MQ_CARD)) as m:
                if turn:
                    guest.arrive(m, ram, state)
                    before = m.qmp(("query-rx-filter", {"name": "c"}))[0][0]
                    assert before["unicast-table"] == ["02:02:02:02:02:02"] and not before["promiscuous"], before
                    m.qmp(("cont", {}))
                    tap.sync(guest)
                else:
                    guest = begin(m, tap, 2)
                    assert guest.command(PROMISC + b"\0") == 0
                    assert guest.command(b"\1\0" + struct.pack("<I", 1) + b"\2\2\2\2\2\2" + struct.pack("<I", 0)) == 0
                by_pair = list(tap.by_pair)
                tap.work(guest, 200)
                tap.settle(guest)
                assert [now > then for now, then in zip(tap.by_pair, by_pair)] == [True, True, False], (by_pair, tap.by_pair)
                m.qmp(("stop", {}))
                state = m.save()
                ram = [(at, m.read(at, size)) for p in guest.pairs for at, size in ((p.base, 0x8000), (p.buffer(0, 0), BUFFER * SIZE),
                                                                                   (p.buffer(1, 0), BUFFER * SIZE))]
                ram.append((v.RINGS, m.read(v.RINGS, 0x1000)))
                tap.set_going(False, True)


sys.exit(main("kiln-virtio-net-pairs."))
