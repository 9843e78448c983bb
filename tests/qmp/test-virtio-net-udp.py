#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-virtio-net-udp.py KILN: a virtio card whose packets are UDP datagrams. Those of one size pass the kernel in bundles, both
ways, and are the same datagrams on the wire: none is damaged, joined, cut, doubled or out of order, whatever their sizes, where
the way is too narrow for a bundle, and where the guest has room for a part of one."""
import os
import socket
import struct
import subprocess
import sys
import time

import net_queues
from net_queues import SIZE, Guest, content, number_of  # noqa: E402
from machine import Machine  # noqa: E402
import busy_virtio as v  # noqa: E402
from tap import Skip, main, test  # noqa: E402

KILN = os.path.abspath(sys.argv[1])
UDP_SEGMENT, UDP_GRO = 103, 104
LONGEST = 65507
SIZES = (60, 60, 60, 42, 1400, 1400, 60, 100, 2000, 2000, 2000, 2001, 1999, 60)


class Wire:
    """The other end, in a network of this test's own."""
    options = {"queues": 1}

    def __init__(self, family=socket.AF_INET, mtu=65536, joined=False):
        if net_queues.WHY_NOT:
            raise Skip(net_queues.WHY_NOT)
        subprocess.run(["ip", "link", "set", "lo", "up", "mtu", str(mtu)], check=True)
        if family == socket.AF_INET6:
            with open("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "w", encoding="ascii") as f:
                f.write("0")
        self.host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
        self.family, self.joined, self.heard, self.last, self.got, self.seen = family, joined, 0, -1, set(), 0
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind((self.host, 0))
        self.socket.settimeout(100)
        self.socket.setsockopt(socket.SOL_SOCKET, net_queues.SO_RCVBUFFORCE, 16 << 20)
        with socket.socket(family, socket.SOCK_DGRAM) as other:
            other.bind((self.host, 0))
            self.theirs = other.getsockname()[:2]
        self.bundles = 0
        if joined:
            self.socket.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def netdev(self):
        port = self.socket.getsockname()[1]
        return (f"dgram,id=n,local.type=inet,local.host={self.host},local.port={self.theirs[1]},"
                f"remote.type=inet,remote.host={self.host},remote.port={port}")

    def receive(self):
        """The next datagrams."""
        data, control, _, _ = self.socket.recvmsg(1 << 17, 64)
        size = next((struct.unpack("i", value[:4])[0] for level, kind, value in control if (level, kind) == (socket.IPPROTO_UDP, UDP_GRO)), 0)
        if not size:
            return [data]
        self.bundles += 1
        return [data[at:at + size] for at in range(0, len(data), size)]

    def send(self, packets, bundle=True):
        """Of one size, the last one perhaps shorter."""
        if bundle:
            self.socket.sendmsg([b"".join(packets)], [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("H", len(packets[0])))], 0, self.theirs)
        else:
            for packet in packets:
                self.socket.sendto(packet, self.theirs)


def card(wire):
    return ["-nodefaults", "-netdev", wire.netdev(), "-device", "virtio-net-pci,id=c,netdev=n,addr=4"]


def speak(pair, first, sizes):
    """All with one notification."""
    for i, size in enumerate(sizes):
        pair.send(first + i, size, kick=i == len(sizes) - 1)
    v.wait(pair.all_sent)


def listen(wire, first, sizes):
    got = []
    while len(got) < len(sizes):
        got += wire.receive()
    for i, (packet, size) in enumerate(zip(got, sizes, strict=True)):
        assert number_of(packet, size) == first + i, f"packet {first + i} is something else: {packet[:40].hex()}"


def hear(pair, numbers, give=True):
    """The guest gets these."""
    end, got = time.monotonic() + net_queues.PATIENCE, []
    while len(got) < len(numbers):
        assert time.monotonic() < end, f"{len(got)} of {len(numbers)} packets came"
        got += pair.poll()
        if give:
            pair.give()
    assert got == numbers, f"{got} came, not {numbers}"


def out(wire, turns=6):
    with Machine(KILN, card(wire)) as m:
        pair = Guest(m, wire).pairs[0]
        for turn in range(turns):
            sizes = [SIZES[(turn * 5 + i) % len(SIZES)] for i in range(50)] if turn % 2 else [60 + 300 * turn] * 64
            speak(pair, 100 * turn, sizes)
            listen(wire, 100 * turn, sizes)


@test
def to_one_who_takes_datagrams():
    with Wire() as wire:
        out(wire)


@test
def to_one_who_takes_bundles():
    with Wire(joined=True) as wire:
        out(wire)
        assert wire.bundles, "nothing came in bundles"


@test
def ipv6():
    with Wire(socket.AF_INET6, joined=True) as wire:
        out(wire)
        assert wire.bundles, "nothing came in bundles"


@test
def narrow_way():
    """Packets longer than it go alone, and what is shorter in bundles still."""
    with Wire(mtu=1300, joined=True) as wire, Machine(KILN, card(wire)) as m:
        pair = Guest(m, wire).pairs[0]
        for turn, sizes in enumerate(([1400] * 20, [1000] * 20, [60, 60, 1400, 1400, 1400, 60, 60], [1272] * 10, [1273] * 10, [60] * 64)):
            wire.bundles = 0
            speak(pair, 100 * turn, sizes)
            listen(wire, 100 * turn, sizes)
            assert bool(wire.bundles) == (max(sizes) <= 1272 or turn == 2), f"{wire.bundles} bundles of {sizes}"


@test
def from_one_who_sends_bundles():
    with Wire() as wire, Machine(KILN, card(wire)) as m:
        pair, number = Guest(m, wire).pairs[0], 0
        for count, size, last in ((2, 60, 60), (40, 60, 42), (20, 1400, 1399), (3, 9000, 100), (64, 1000, 18), (2, 30000, 20000)):
            packets = [content(number + i, size) for i in range(count - 1)] + [content(number + count - 1, last)]
            wire.send(packets)
            hear(pair, list(range(number, number + count)))
            number += count
            wire.send(packets[:1], bundle=False)
            hear(pair, [number - count])


@test
def little_room():
    """A bundle of 60 for a guest with fewer buffers: the others come when there are new ones, across a stop and a move to the main
    loop and back."""
    with Wire() as wire, Machine(KILN, card(wire)) as m:
        pair = Guest(m, wire).pairs[0]
        for turn in range(4):
            number = 1000 * turn
            wire.send([content(number + i, 600) for i in range(60)])
            wire.send([content(number + 60 + i, 600) for i in range(60)])
            hear(pair, list(range(number, number + SIZE)), give=False)
            if turn == 1:
                m.qmp(("stop", {}), ("cont", {}))
            elif turn == 2:
                m.qmp(("object-add", {"qom-type": "filter-dump", "id": "f", "netdev": "n", "file": "dump"}), ("object-del", {"id": "f"}))
            elif turn == 3:
                m.qmp(("query-rx-filter", {"name": "c"}))
            pair.give()
            hear(pair, list(range(number + SIZE, number + 120)))


@test
def strange_datagrams():
    """Empty, too short for Ethernet and as long as can be; alone and in bundles. The guest may get them or not; the link lives."""
    with Wire() as wire, Machine(KILN, card(wire)) as m:
        pair = Guest(m, wire).pairs[0]
        pair.number_of = lambda packet: number_of(packet) if len(packet) == 77 else None
        for number in range(20):
            wire.send([b"", b"x"], bundle=False)
            wire.send([bytes(1)] * 64)
            wire.send([bytes(13)] * 3 + [bytes(1)])
            wire.send([bytes(LONGEST)], bundle=False)
            wire.send([bytes(32000), bytes(32000)])
            wire.send([content(number, 77)], bundle=False)
            end, got = time.monotonic() + net_queues.PATIENCE, []
            while number not in got:
                assert time.monotonic() < end, f"packet {number} does not come"
                got += pair.poll()
                pair.give()


@test
def nobody_there():
    """What is lost is lost, and no more."""
    with Wire() as wire, Machine(KILN, card(wire)) as m:
        pair, port = Guest(m, wire).pairs[0], wire.socket.getsockname()[1]
        for turn in range(3):
            wire.socket.close()
            speak(pair, 0, [60] * 30)
            wire.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            wire.socket.bind((wire.host, port))
            wire.socket.settimeout(100)
            speak(pair, 100 + turn, [60] * 30)
            listen(wire, 100 + turn, [60] * 30)


if __name__ == "__main__":
    sys.exit(main("kiln-net-udp-"))
