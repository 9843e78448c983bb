#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-virtio-serial-input.py KILN: what the host sends to a port, whoever reads it, the queue's thread or the main loop: nothing
is lost, doubled or out of order, with guests that are slow, stop, are reset, and hosts that come and go."""
import array
import os
import socket
import sys

from serial_guest import SIZE, Flood, agent, attach, connect, connected, read_some, v
from busy_virtio import modern_common
from machine import Machine
from qmpclient import Connection
from tap import main, test

KILN = os.path.abspath(sys.argv[1])
PCI_SEL, PCI_EJ = 0xAE10, 0xAE08
ROOM = 0x300000         # of the guest's buffers
READABLE, NEXT, WRITE = 0, 1, 2
TRACE = ("-trace", "virtio_serial_reading")


def same(got, sent):
    """Says where they differ rather than all."""
    at = next((i for i, pair in enumerate(zip(got, sent)) if pair[0] != pair[1]), min(len(got), len(sent)))
    assert got == sent, (len(got), len(sent), at, bytes(got[at - 20:at + 20]), bytes(sent[at - 20:at + 20]))


class Thirst:
    """A guest that keeps port 1's queue full of buffers, some of which have two pieces, or no room at all. got is what came."""

    def __init__(self, m, length):
        self.m, self.length, self.got = m, length, bytearray()
        self.begin()

    def begin(self):
        """After start (Flood.begin)."""
        self.given = self.taken = 0

    def take(self):
        """What came back."""
        used, raw = v.used(self.m, 4), self.m.read(v.ring(4) + 0x804, 8 * SIZE)
        while self.taken & 0xFFFF != used:
            entry = raw[8 * (self.taken % SIZE):][:8]
            at, size = int.from_bytes(entry[:4], "little") // 2, int.from_bytes(entry[4:], "little")
            assert self.taken < self.given and size <= self.length and at == self.taken % (SIZE // 2), (at, size, self.taken)
            assert bool(size) == (at % 4 != 3), (at, size)
            self.got += self.m.read(ROOM + at * self.length, size) if size else b""
            self.taken += 1

    def give(self):
        while self.given - self.taken < SIZE // 2:
            at = self.given % (SIZE // 2)
            address, cut = ROOM + at * self.length, self.length // 3
            if at % 4 == 1:
                text = v.descriptor(address, cut, NEXT | WRITE, 2 * at + 1) + v.descriptor(address + cut, self.length - cut, WRITE)
            else:
                text = v.descriptor(address, self.length, READABLE if at % 4 == 3 else WRITE)
            self.m.write(v.ring(4) + 32 * at, text)
            v.put16(self.m, v.ring(4) + 0x404 + 2 * (self.given % SIZE), 2 * at)
            self.given += 1
        v.put16(self.m, v.ring(4) + 0x402, self.given & 0xFFFF)
        self.m.ask(f"writew 0x{v.BAR + 0x3010:x} 4")

    def drink(self):
        self.take()
        self.give()

    def drink_until(self, size):
        def has_all():
            self.drink()
            return len(self.got) >= size
        v.wait(has_all)

    def drink_all(self, sent):
        """What was sent, and nothing else."""
        self.drink_until(len(sent))
        same(self.got, sent)


class Source:
    """The host's end: sends a text that never repeats itself, as much as is taken at once. Its first byte is nowhere else in it."""

    def __init__(self, send, first=b"#"):
        self.send, self.sent, self.number, self.rest = send, bytearray(), 0, first

    def pour(self, most):
        while most > 0:
            while len(self.rest) < 5000:
                self.rest += b"%d\n" % self.number
                self.number += 1
            try:
                n = self.send(self.rest[:min(most, 5000)])
            except BlockingIOError:
                return
            self.sent += self.rest[:n]
            self.rest = self.rest[n:]
            most -= n


def source_of(sock, first=b"#"):
    sock.setblocking(False)
    return Source(sock.send, first)


def begin(m, length):
    """Both of the guest's sides, with the port open."""
    flood = Flood(m, 700)
    return flood, Thirst(m, length)


@test
def both_ways_and_stop():
    """Stopping, going on, saving, while both sides send; the queue's thread reads, and reads again after each stop."""
    for length in (7, 300, 9000):
        with Machine(KILN, agent("agent", TRACE)) as m:
            q = Connection(m.qmp_path).negotiate()
            host, heard = attach(q), bytearray()
            flood, guest = begin(m, length)
            source = source_of(host)
            for turn in range(60):
                source.pour(20 * length)
                flood.feed()
                guest.drink()
                if turn % 3 == 0:
                    q.do("stop")
                    if turn % 2:
                        m.save()
                    guest.take()
                    before = len(guest.got)
                    source.pour(20 * length)
                    q.do("query-status")
                    guest.take()
                    assert len(guest.got) == before, "the guest was given something while it was stopped"
                    q.do("cont")
                read_some(host, heard)
            guest.drink_all(source.sent)
            flood.read_rest(host, heard)
            assert m.last_words().count("port 1: 1") >= 20, m.last_words()
            host.close()
            q.close()


@test
def slow_guest():
    """Who writes is held up as long as the guest gives no buffers, and then all comes."""
    with Machine(KILN, agent("agent")) as m:
        q = Connection(m.qmp_path).negotiate()
        host = attach(q)
        guest = begin(m, 3000)[1]
        source = source_of(host)
        for _ in range(10):
            source.pour(1 << 24)
            stuck = len(source.sent)
            assert stuck < 1 << 23, "nothing holds up the host"
            guest.drink_all(source.sent)
        host.close()
        q.close()


@test
def reset_and_unplug():
    """What was not given to one life of the guest the next one gets; ports that go and come do not lose it either."""
    with Machine(KILN, agent("agent")) as m:
        q = Connection(m.qmp_path).negotiate()
        host, heard = attach(q), bytearray()
        flood, guest = begin(m, 2000)
        source = source_of(host)
        for turn in range(24):
            for _ in range(3):
                source.pour(30000)
                flood.feed()
                guest.drink()
                read_some(host, heard)
            if turn % 4 == 0:
                q.do("system_reset")
                q.wait("RESET")
            elif turn % 4 == 1:
                modern_common(m, 20, 1, 0)
            elif turn % 4 == 2:
                q.do("device_del", id="channel0")
                while q.wait("DEVICE_DELETED").get("device") != "channel0":
                    pass
                q.do("device_add", driver="virtserialport", id="channel0", chardev="c0", nr=1, bus="vs.0")
                modern_common(m, 20, 1, 0)
            else:
                v.say(m, 1, 1, 6, 0)        # the port is closed, and then opened again
            guest.take()
            flood.begin()
            guest.begin()
        guest.drink_all(source.sent)
        q.do("device_del", id="vs")
        source.pour(1 << 16)
        m.outl(PCI_SEL, 0)
        m.outl(PCI_EJ, 1 << 4)
        while q.wait("DEVICE_DELETED").get("device") != "vs":
            pass
        guest.take()
        assert guest.got == source.sent[:len(guest.got)]
        host.close()
        q.close()


@test
def hosts_that_come_and_go():
    """All that a host sent before it went comes, and its end behind that, from the guest's buffers or from the lack of them."""
    with Machine(KILN, agent("agent", TRACE)) as m:
        q = Connection(m.qmp_path).negotiate()
        guest = begin(m, 1000)[1]
        sent = bytearray()
        for turn in range(20):
            host = attach(q)
            source = source_of(host)
            for _ in range(turn % 5):
                source.pour(20000)
                if turn % 3:
                    guest.drink()
            source.pour(turn)
            if turn % 2:
                host.shutdown(socket.SHUT_WR)
            else:
                host.close()
            sent += source.sent
            guest.drink_all(sent)
            if turn % 2:
                host.settimeout(100)
                assert host.recv(1) == b"", "the port is still connected to who said that he has no more to say"
                host.close()
        q.close()


def socket_at(path, **more):
    return {"type": "socket", "data": {"addr": {"type": "unix", "data": {"path": path}}, "server": True, "wait": False, **more}}


@test
def change():
    """Other character devices in the place of the one that is read: the guest gets a beginning of what each host sends."""
    with Machine(KILN, agent("agent")) as m:
        q = Connection(m.qmp_path).negotiate()
        guest = begin(m, 1000)[1]
        sent = []
        for turn in range(24):
            path, close = f"p{turn}", os.close
            if turn % 4 == 2:
                os.mkfifo(path)
                q.do("chardev-change", id="c0", backend={"type": "pipe", "data": {"device": path}})
                host = os.open(path, os.O_RDWR | os.O_NONBLOCK)
                source = Source(lambda data, fd=host: os.write(fd, data), bytes([65 + turn]))
            else:
                q.do("chardev-change", id="c0", backend=socket_at(path, telnet=turn % 4 == 3))
                host, close = connect(path), socket.socket.close
                v.wait(lambda: connected(q))
                source = source_of(host, bytes([65 + turn]))
            for _ in range(5):
                source.pour(10000)
                guest.drink()
            v.wait(lambda: guest.drink() or source.sent[0] in guest.got)
            sent.append(source.sent)
            q.do("chardev-change", id="c0", backend={"type": "null", "data": {}})
            guest.drink()
            close(host)
        at = 0
        for text in sent:
            size = len(os.path.commonprefix([bytes(guest.got[at:]), bytes(text)]))
            assert size, at
            at += size
        assert at == len(guest.got), (at, len(guest.got))
        q.close()


@test
def layers():
    """Where the main loop has to read, through telnet or a mux: stops, and a guest that gives no buffers for a while."""
    for option in ("telnet=on", "mux=on"):
        with Machine(KILN, [arg.replace("wait=off", f"wait=off,{option}") for arg in agent("agent", TRACE)]) as m:
            q = Connection(m.qmp_path).negotiate()
            host = connect("agent")
            guest = begin(m, 500)[1]
            source = source_of(host)
            for turn in range(30):
                source.pour(1000)
                if turn % 5:
                    guest.drink()
                if turn % 6 == 0:
                    q.do("stop")
                    m.save()
                    q.do("cont")
            guest.drink_all(source.sent)
            assert "port 1" not in m.last_words()
            host.close()
            q.close()


@test
def passed_descriptors():
    """Descriptors that come with the text are closed: nobody here wants them."""
    with Machine(KILN, agent("agent")) as m:
        q = Connection(m.qmp_path).negotiate()
        host = attach(q)
        guest = begin(m, 100)[1]
        sent, ends = bytearray(), []
        for turn in range(20):
            reader, writer = os.pipe()
            text = b"%d " % turn
            host.sendmsg([text], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [writer] * 5))])
            os.close(writer)
            ends.append(reader)
            sent += text
            if turn % 2:
                guest.drink_until(len(sent))
        guest.drink_all(sent)
        for reader in ends:
            assert os.read(reader, 1) == b""    # waits until the last one is closed
            os.close(reader)
        host.close()
        q.close()


@test
def terminal():
    """A pseudo terminal whose user goes and comes."""
    with Machine(KILN, agent("agent", TRACE)) as m:
        q = Connection(m.qmp_path).negotiate()
        guest = begin(m, 100)[1]
        path = q.do("chardev-change", id="c0", backend={"type": "pty", "data": {}})["pty"]
        sent = bytearray()
        for turn in range(3):
            fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
            source = Source(lambda data, fd=fd: os.write(fd, data))
            for _ in range(20):
                source.pour(200)
                guest.drink()
            sent += source.sent
            guest.drink_all(sent)
            os.close(fd)
        assert "port 1: 1" in m.last_words()
        q.close()


@test
def yank():
    """The connection is cut by a manager, whether the guest has buffers or not; the next host is read."""
    with Machine(KILN, agent("agent")) as m:
        q = Connection(m.qmp_path).negotiate()
        guest = begin(m, 100)[1]
        for turn in range(8):
            host = attach(q)
            source = source_of(host)
            guest.got.clear()
            source.pour(1000 if turn % 2 else 3000)
            if turn % 2:
                guest.drink_all(source.sent)
            q.do("yank", instances=[{"type": "chardev", "id": "c0"}])
            host.settimeout(100)
            v.wait(lambda: guest.drink() or not connected(q))
            guest.drink()
            assert host.recv(1) == b""
            host.close()
        q.close()


sys.exit(main("kiln-virtio-serial-input."))
