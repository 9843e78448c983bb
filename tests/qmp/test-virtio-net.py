#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-virtio-net.py KILN: what managers do to a virtio network card while its driver uses it: stop and cont, the cable, filters
in front of it, a netdev that goes, plugging in and out."""
import os
import socket
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "state"), os.path.join(HERE, "..")]
import busy_virtio as v  # noqa: E402
from machine import Machine  # noqa: E402
from tap import main, test  # noqa: E402

KILN = os.path.abspath(sys.argv[1])
FEATURES = v.VERSION_1 | v.MRG | v.NET_STATUS | v.CTRL_VQ | v.CTRL_RX
HEADER = 12


class Cable:
    """The other end: a datagram a packet."""

    def __init__(self):
        self.mine, self.theirs = "test", "card"
        for path in (self.mine, self.theirs):
            if os.path.exists(path):
                os.unlink(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.mine)
        self.socket.settimeout(100)

    def options(self):
        return {"type": "dgram", "id": "n", "local": {"type": "unix", "path": self.theirs},
                "remote": {"type": "unix", "path": self.mine}}

    def netdev(self):
        return ["-netdev", f"dgram,id=n,local.type=unix,local.path={self.theirs},remote.type=unix,remote.path={self.mine}"]

    def send(self, packet):
        self.socket.sendto(packet, self.theirs)

    def receive(self):
        return self.socket.recv(65536)


class Driver:
    """Its rings have room for 8 buffers of two pieces."""

    def __init__(self, m, features=FEATURES):
        self.m, self.sent, self.given, self.got, self.commands = m, 0, 0, 0, 0
        m.write(v.RINGS, bytes(0x3000))
        v.net_start(m, features)

    def send(self, packet, wait=True):
        self.m.write(v.PACKET, bytes(HEADER) + packet)
        v.net_put(self.m, 1, self.sent, ((v.PACKET, HEADER, 0), (v.PACKET + HEADER, len(packet), 0)))
        self.sent += 1
        if wait:
            v.net_used(self.m, 1, self.sent)

    def give(self):
        at = v.DATA + 0x200 * (self.given % 8)
        v.net_put(self.m, 0, self.given, ((at, HEADER, 2), (at + HEADER, 400, 2)))
        self.given += 1

    def has(self):
        return v.get16(self.m, v.net_ring(0)[2] + 2) - self.got

    def receive(self, size):
        v.wait(lambda: self.has() > 0)
        at = v.DATA + 0x200 * (self.got % 8)
        self.got += 1
        return self.m.read(at + HEADER, size)

    def command(self, data):
        v.net_command(self.m, self.commands, data)
        self.commands += 1

    def link_is_up(self):
        return int.from_bytes(self.m.read(v.BAR + 0x2006, 2), "little") & 1


def packet(seed, size=100):
    return b"\xff" * 6 + bytes((i * 7 + seed) & 255 for i in range(size - 6))


def both_ways(cable, driver, seed):
    driver.send(packet(seed))
    assert cable.receive() == packet(seed), "what was sent is not what came out"
    driver.give()
    cable.send(packet(seed + 1))
    assert driver.receive(100) == packet(seed + 1), "what was sent is not what came in"


def card(cable, *more):
    return ["-nodefaults", *cable.netdev(), "-device", "virtio-net-pci,id=c,netdev=n,addr=4", *more]


def put_many(driver, first, last):
    """Numbered packets, as fast as the ring has room for them; the last 8 may still wait in it."""
    for n in range(first, last):
        v.wait(lambda: (driver.sent - v.get16(driver.m, v.net_ring(1)[2] + 2)) % 65536 < 8)
        at = v.DATA + 0x1000 + 0x200 * (driver.sent % 8)
        driver.m.write(at, bytes(HEADER) + packet(n))
        v.net_put(driver.m, 1, driver.sent, ((at, HEADER, 0), (at + HEADER, len(packet(n)), 0)))
        driver.sent += 1


def holds():
    """Datagrams that wait in a socket at most."""
    with open("/proc/sys/net/unix/max_dgram_qlen") as f:
        return int(f.read()) + 1


@test
def slow_peer():
    """It reads nothing until its socket is full and the ring, too: nothing is lost, and the order stays."""
    cable = Cable()
    with Machine(KILN, card(cable)) as m:
        driver = Driver(m)
        for turn in range(6):
            put_many(driver, 0, holds() + 8)
            if turn % 2:
                m.qmp(("stop", {}))
                m.qmp(("cont", {}))
            for n in range(holds() + 8):
                assert cable.receive() == packet(n), f"turn {turn}: something else than packet {n} came"
            v.net_used(m, 1, driver.sent)
        put_many(driver, 0, holds() + 8)
        m.qmp(("set_link", {"name": "c", "up": False}))
        v.net_used(m, 1, driver.sent)


@test
def other_peer():
    """The one at the address stops reading, and another one comes to stand there: the address counts, not who was there."""
    cable = Cable()
    with Machine(KILN, card(cable)) as m:
        driver = Driver(m)
        for turn in range(3):
            first = driver.sent
            put_many(driver, 0, holds() + 4)
            v.net_used(m, 1, first + holds())
            full, cable.socket = cable.socket, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            os.unlink(cable.mine)
            cable.socket.bind(cable.mine)
            cable.socket.settimeout(100)
            for n in range(holds(), holds() + 4):
                assert cable.receive() == packet(n), f"turn {turn}: something else than packet {n} came"
            v.net_used(m, 1, driver.sent)
            for n in range(holds()):
                assert full.recv(65536) == packet(n)
            full.close()


@test
def reset_while_full():
    """The machine is reset, and the card unplugged, while packets wait in the ring for a peer that does not read."""
    cable = Cable()
    with Machine(KILN, card(cable)) as m:
        for turn in range(3):
            driver = Driver(m)
            put_many(driver, 0, holds() + 4)
            v.net_used(m, 1, holds())
            m.qmp(("system_reset", {}))
            for n in range(holds()):
                assert cable.receive() == packet(n), f"turn {turn}: something else than packet {n} came"
            driver = Driver(m)
            for n in range(3):
                both_ways(cable, driver, 10 * n)
        put_many(driver, driver.sent, driver.sent + holds() + 4)
        m.qmp(("device_del", {"id": "c"}))
        m.outl(0xAE08, 1 << 4)          # what the guest's ACPI does
        v.wait(lambda: not m.qmp(("query-rx-filter", {}))[0])
        m.qmp(("netdev_del", {"id": "n"}))


@test
def stop():
    cable = Cable()
    with Machine(KILN, card(cable)) as m:
        driver = Driver(m)
        for n in range(12):
            both_ways(cable, driver, n)
            m.qmp(("stop", {}))
            driver.give()
            cable.send(packet(n + 2))
            driver.send(packet(n), wait=False)
            time.sleep(0.01)
            assert not driver.has(), "a stopped machine's card works"
            m.qmp(("cont", {}))
            assert cable.receive() == packet(n)
            assert driver.receive(100) == packet(n + 2), "what waited was lost"


@test
def link():
    cable = Cable()
    with Machine(KILN, card(cable)) as m:
        driver = Driver(m)
        for n in range(5):
            assert driver.link_is_up()
            both_ways(cable, driver, n)
            m.qmp(("set_link", {"name": "cn"[n % 2], "up": False}))
            assert not driver.link_is_up()
            driver.send(packet(99))     # into the void
            m.qmp(("set_link", {"name": "cn"[n % 2], "up": True}))


@test
def packet_filter():
    """The queues move to the main loop and back, packets on their way."""
    cable, dump = Cable(), "dump"
    with Machine(KILN, card(cable)) as m:
        driver = Driver(m)
        for n in range(5):
            both_ways(cable, driver, n)
            driver.give()
            m.qmp(("object-add", {"qom-type": "filter-dump", "id": "f", "netdev": "n", "file": dump}))
            cable.send(packet(n + 7))
            assert driver.receive(100) == packet(n + 7)
            both_ways(cable, driver, n + 3)
            m.qmp(("object-del", {"id": "f"}))
            with open(dump, "rb") as f:
                content = f.read()
            for seed in (n + 3, n + 4, n + 7):
                assert packet(seed) in content, "a packet is not in the dump"


@test
def rx_filter():
    cable = Cable()
    with Machine(KILN, card(cable)) as m:
        driver = Driver(m)
        before = m.qmp(("query-rx-filter", {"name": "c"}))[0][0]
        assert before["promiscuous"] and before["vlan"] == "all" and before["main-mac"] == "52:54:00:12:34:56", before
        driver.command(b"\0\0\0")
        driver.command(b"\1\0\1\0\0\0\2\2\2\2\2\2\2\0\0\0\1\0\x5e\1\2\3\x33\x33\0\0\0\1")
        after = m.qmp(("query-rx-filter", {}))[0][0]
        assert not after["promiscuous"], after
        assert after["unicast-table"] == ["02:02:02:02:02:02"], after
        assert sorted(after["multicast-table"]) == ["01:00:5e:01:02:03", "33:33:00:00:00:01"], after


@test
def announce():
    """A RARP packet a round; a driver that can is asked, too."""
    cable = Cable()
    rarp = bytes.fromhex("ffffffffffff5254001234568035000108000604000352540012345600000000525400123456")
    with Machine(KILN, card(cable)) as m:
        m.qmp(("announce-self", {"initial": 1, "max": 5, "rounds": 3, "step": 1}))
        for _ in range(3):
            assert cable.receive()[:38] == rarp
        m.qmp(("announce-self", {"initial": 1, "max": 5, "rounds": 2, "step": 1, "interfaces": ["nobody"], "id": "x"}))
        m.qmp(("announce-self", {"initial": 1, "max": 5, "rounds": 0, "step": 1}))
        driver = Driver(m, FEATURES | 1 << 21)
        m.qmp(("announce-self", {"initial": 1, "max": 5, "rounds": 1, "step": 1, "interfaces": ["c"], "id": "x"}))
        assert cable.receive()[:38] == rarp
        assert m.read(v.BAR + 0x2006, 1) == b"\3", "the driver is not asked"
        driver.command(b"\3\0")
        assert m.read(v.BAR + 0x2006, 1) == b"\1"
        m.qmp(("human-monitor-command", {"command-line": "announce_self c"}))
        assert cable.receive()[:38] == rarp


@test
def netdev_gone():
    cable = Cable()
    with Machine(KILN, card(cable)) as m:
        driver = Driver(m)
        both_ways(cable, driver, 1)
        m.qmp(("netdev_del", {"id": "n"}))
        v.wait(lambda: not driver.link_is_up())
        driver.give()
        for n in range(5):
            driver.send(packet(n))
        m.qmp(("system_reset", {}))
        driver = Driver(m)
        driver.send(packet(1))


@test
def plug():
    cable = Cable()
    with Machine(KILN, ["-nodefaults"]) as m:
        for n in range(5):
            if os.path.exists(cable.theirs):
                os.unlink(cable.theirs)
            m.qmp(("netdev_add", cable.options()), ("device_add", {"driver": "virtio-net-pci", "id": "c", "netdev": "n", "addr": "4"}))
            driver = Driver(m)
            both_ways(cable, driver, n)
            driver.give()
            m.qmp(("device_del", {"id": "c"}))
            m.outl(0xAE08, 1 << 4)      # what the guest's ACPI does
            v.wait(lambda: not m.qmp(("query-rx-filter", {}))[0])
            m.qmp(("netdev_del", {"id": "n"}))


sys.exit(main("kiln-virtio-net."))
