#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-virtio-serial.py KILN: what managers do with virtio-serial ports: who has one open, plugging ports and controllers in
and out, and a state that is saved while a reader is slow."""
import os
import socket
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "state"), os.path.join(HERE, "..")]
import busy_queues as v  # noqa: E402
from busy_virtio import modern_common  # noqa: E402
from machine import Machine  # noqa: E402
from scenario import RAM_SIZE  # noqa: E402
from qmpclient import Connection  # noqa: E402
from serial_guest import SIZE, Flood, agent, attach, connect, read_all, read_some, start  # noqa: E402
from tap import main, test  # noqa: E402

KILN = os.path.abspath(sys.argv[1])
PCI_SEL, PCI_EJ = 0xAE10, 0xAE08
ADD, REMOVE, OPEN = 1, 2, 6


def messages(m, count):
    """(port, event, value) of the first count ones."""
    raw = (bytes.fromhex(text) for text in v.heard(m, count))
    return [(int.from_bytes(r[:4], "little"), r[4], r[6]) for r in raw]


def frontend_open(q, label):
    return [c["frontend-open"] for c in q.do("query-chardev") if c["label"] == label][0]


@test
def agent_comes_and_goes():
    """Opened by the guest, asked by the host, answered, closed."""
    path = "agent"
    with Machine(KILN, agent(path)) as m:
        q = Connection(m.qmp_path).negotiate()
        assert not frontend_open(q, "c0")
        start(m)
        host = connect(path)
        v.say(m, 0, 1, 6, 1)
        assert q.wait("VSERPORT_CHANGE") == {"id": "channel0", "open": True}
        assert frontend_open(q, "c0")
        address = v.put_buffer(m, 4, 0, 64)
        host.sendall(b'{"execute":"guest-ping"}\n')
        v.wait(lambda: v.used(m, 4) == 1)
        assert m.read(address, 25) == b'{"execute":"guest-ping"}\n'
        v.put_buffer(m, 5, 0, 14, b'{"return": {}}')
        assert host.recv(100) == b'{"return": {}}'
        v.say(m, 1, 1, 6, 0)
        assert q.wait("VSERPORT_CHANGE") == {"id": "channel0", "open": False}
        assert not frontend_open(q, "c0")
        host.close()
        q.close()


@test
def plug_port():
    """The guest is told of ports that come and go; their numbers and names are free again."""
    path, other = "agent", "other"
    with Machine(KILN, agent(path)) as m:
        q = Connection(m.qmp_path).negotiate()
        start(m)
        heard = 0
        for turn in range(5):
            q.do("chardev-add", id="c1", backend={"type": "socket", "data": {
                "addr": {"type": "unix", "data": {"path": other}}, "server": True, "wait": False}})
            q.do("device_add", driver="virtserialport", id="p", chardev="c1", name="n", bus="vs.0")
            heard += 1
            assert messages(m, heard)[-1] == (2, ADD, 1)
            if turn % 2:
                with connect(other):
                    heard += 1
                    assert messages(m, heard)[-1] == (2, OPEN, 1)
            q.do("device_del", id="p")
            assert q.wait("DEVICE_DELETED")["device"] == "p"
            got = messages(m, heard + 1)[heard:]
            heard += 1
            if turn % 2 and got == [(2, OPEN, 0)]:
                got = messages(m, heard + 1)[heard:]
                heard += 1
            assert got == [(2, REMOVE, 1)], got
            q.do("chardev-remove", id="c1")
            if heard > 8:               # before the buffers run out
                heard = 0
                modern_common(m, 20, 1, 0)
                m.write(v.RAM, bytes(0xA000))
                start(m)
        for bad, why in (({"nr": 1}, "already exists at id 1"), ({"name": "org.qemu.guest_agent.0"}, "already exists by name"),
                         ({"nr": 4}, "Out-of-range"), ({"bus": "pci.0"}, "can't go on")):
            reply = q.command("device_add", **{"driver": "virtserialport", "bus": "vs.0", **bad})
            assert why in reply["error"]["desc"], (bad, reply)
        q.close()


@test
def plug_controller():
    """With its ports, in use."""
    path = "agent"
    with Machine(KILN, ["-nodefaults", "-chardev", f"socket,id=c0,path={path},server=on,wait=off"]) as m:
        for _ in range(4):
            m.qmp(("device_add", {"driver": "virtio-serial-pci", "id": "vs", "addr": "4", "max_ports": 4}),
                  ("device_add", {"driver": "virtserialport", "id": "p", "chardev": "c0", "nr": 1, "bus": "vs.0"}))
            m.write(v.RAM, bytes(0xA000))
            start(m)
            with connect(path) as host:
                v.wait(lambda: v.used(m, 2) >= 1)
                v.say(m, 0, 1, 6, 1)
                v.put_buffer(m, 4, 0, 64)
                v.put_buffer(m, 5, 0, 4, b"data")
                assert host.recv(10) == b"data"
                m.qmp(("device_del", {"id": "vs"}))
                m.outl(PCI_SEL, 0)
                m.outl(PCI_EJ, 1 << 4)
                v.wait(lambda: not m.qmp(("qom-list", {"path": "/machine/peripheral"}))[0][1:])
            assert m.config(4 << 3, 0) == 0xFFFFFFFF


@test
def slow_save():
    """What the reader of the first machine did not take is written by the second one, from where the first one stopped."""
    path = "agent"
    chunk = bytes(range(256)) * 128
    data = 0x200000
    with Machine(KILN, agent(path)) as m:
        host = connect(path)
        start(m)
        m.write(data, chunk)
        for number in range(15):
            m.write(v.ring(5) + 16 * number, data.to_bytes(8, "little") + len(chunk).to_bytes(4, "little") + bytes(4))
            v.put16(m, v.ring(5) + 0x404 + 2 * number, number)
        v.put16(m, v.ring(5) + 0x402, 15)
        m.ask(f"writew 0x{v.BAR + 0x3014:x} 5")
        v.wait(lambda: v.used(m, 5) > 0)
        m.qmp(("stop", {}))
        before = v.used(m, 5)
        assert before < 15, "the socket took everything"
        state, ram = m.save(), m.read(v.RAM, RAM_SIZE)
        first = bytearray()
        host.setblocking(False)
        silent = 0
        while silent < 3:               # a stopped machine takes no more of the guest's buffers, but writes what it took
            m.qmp(("query-status", {}))
            try:
                first += host.recv(1 << 16)
                silent = 0
            except BlockingIOError:
                silent += 1
        assert v.used(m, 5) == before
        host.close()
    with Machine(KILN, agent(path)) as m:
        m.write(v.RAM, ram)
        m.write(data, chunk)
        q = Connection(m.qmp_path).negotiate()
        host = attach(q)                # data for nobody would be dropped
        refused = m.load(state)
        assert refused is None, refused
        host.settimeout(100)
        second = bytearray()
        while len(first) + len(second) < 15 * len(chunk):
            second += host.recv(1 << 16)
        assert bytes(first + second) == chunk * 15, "bytes are lost, doubled or out of order"
        v.wait(lambda: v.used(m, 5) == 15)
        host.close()
        q.close()


# ---- a flood

@test
def flood_and_stop():
    """Nothing is lost, doubled or out of order, for short lines and long ones, while the machine stops and goes on, and is saved."""
    for length in (40, 3000, 20000):
        with Machine(KILN, agent("agent")) as m:
            q = Connection(m.qmp_path).negotiate()
            host, got = attach(q), bytearray()
            flood = Flood(m, length)
            for turn in range(40):
                flood.feed()
                if turn % 3 == 0:
                    q.do("stop")
                    q.do("query-status")
                    q.do("cont")
                if turn % 5 == 0:
                    q.do("stop")
                    m.save()
                    q.do("cont")
                read_some(host, got)
            flood.read_rest(host, got)
            v.wait(lambda: v.used(m, 5) == flood.given & 0xFFFF)
            host.close()
            q.close()


@test
def flood_and_reset():
    """What comes of each life of the guest is a beginning of what it sent, up to the line that the reset cut."""
    with Machine(KILN, agent("agent")) as m:
        q = Connection(m.qmp_path).negotiate()
        for turn in range(20):
            flood = Flood(m, 3000)
            with attach(q) as host:
                got = bytearray()
                for _ in range(turn % 4 + 1):
                    flood.feed()
                    read_some(host, got)
                if turn % 2:
                    q.do("system_reset")
                    q.wait("RESET")
                else:
                    modern_common(m, 20, 1, 0)
                flood.check(got)
        flood = Flood(m, 3000)
        host, got = attach(q), bytearray()
        flood.feed()
        flood.read_rest(host, got)
        host.close()
        q.close()


@test
def flood_and_unplug():
    """The port goes, and its controller, while buffers are under way; the guest gets them back, or they are gone with it."""
    for what in ("channel0", "vs"):
        with Machine(KILN, agent("agent")) as m:
            q = Connection(m.qmp_path).negotiate()
            host, got = attach(q), bytearray()
            flood = Flood(m, 20000)
            for _ in range(10):
                flood.feed()
                read_some(host, got)
            for number in range(SIZE):
                v.put_buffer(m, 4, number, 64)
            q.do("device_del", id=what)
            if what == "vs":
                m.outl(PCI_SEL, 0)
                m.outl(PCI_EJ, 1 << 4)
            while q.wait("DEVICE_DELETED").get("device") != what:
                pass
            if what == "channel0":
                v.wait(lambda: v.used(m, 5) == flood.given & 0xFFFF)
                assert v.used(m, 4) == 0
                q.do("device_add", driver="virtserialport", id="channel0", chardev="c0", nr=1, bus="vs.0")
            host.close()
            q.close()


@test
def flood_and_change():
    """Another character device in the place of the one that the lines go to, again and again: the guest goes on."""
    with Machine(KILN, agent("agent")) as m:
        q = Connection(m.qmp_path).negotiate()
        flood = Flood(m, 3000)
        for turn in range(12):
            host, got = None, bytearray()
            if turn % 3 == 0:
                backend = {"type": "null", "data": {}}
            elif turn % 3 == 1:
                backend = {"type": "file", "data": {"out": "lines"}}
            else:
                backend = {"type": "socket", "data": {"addr": {"type": "unix", "data": {"path": f"p{turn}"}}, "server": True,
                                                      "wait": False}}
            flood.feed()
            q.do("chardev-change", id="c0", backend=backend)
            if turn % 3 == 2:
                host = connect(f"p{turn}")
            for _ in range(10):
                flood.feed()
                if host:
                    read_some(host, got)
            if host:
                host.close()
        v.wait(lambda: v.used(m, 5) == flood.given & 0xFFFF)
        q.close()


@test
def flood_and_new_readers():
    """Readers come in the middle, read some and go, or say that they read no more: the guest waits for none that is not there."""
    for length in (40, 3000, 20000):
        with Machine(KILN, agent("agent")) as m:
            q = Connection(m.qmp_path).negotiate()
            flood = Flood(m, length)
            for turn in range(12):
                host, got = attach(q), bytearray()
                for _ in range(6):
                    flood.feed()
                    read_some(host, got)
                if turn % 3 == 0:
                    host.shutdown(socket.SHUT_RD)
                    for _ in range(3):
                        flood.feed()
                host.close()
                begin = got.find(b"\n") + 1
                if begin and len(got) > begin + length:
                    flood.check(got[begin:], int(got[begin:begin + 8]))
            v.wait(lambda: v.used(m, 5) == flood.given & 0xFFFF)
            q.close()


@test
def reader_that_stays_deaf():
    """It reads no more, and the guest takes nothing of what it wrote, so it counts as there: what it does not hear is lost."""
    for kind in ("virtserialport", "virtconsole"):
        with Machine(KILN, [arg.replace("virtserialport", kind) for arg in agent("agent")]) as m:
            q = Connection(m.qmp_path).negotiate()
            host = attach(q)
            flood = Flood(m, 3000)
            host.send(b"unread")
            host.shutdown(socket.SHUT_RD)
            for _ in range(20):
                flood.feed()
                v.wait(lambda: v.used(m, 5) == flood.given & 0xFFFF)
            host.close()
            q.close()


@test
def flood_through_fifos():
    """A slow reader of a FIFO gets all."""
    for name in ("lines.in", "lines.out"):
        os.mkfifo(name)
    with Machine(KILN, agent("agent")) as m:
        q = Connection(m.qmp_path).negotiate()
        q.do("chardev-change", id="c0", backend={"type": "pipe", "data": {"device": "lines"}})
        fd = os.open("lines.out", os.O_RDONLY)
        flood, got = Flood(m, 3000), bytearray()
        for turn in range(40):
            flood.feed()
            got += os.read(fd, 1000)
            if turn % 8 == 0:
                q.do("stop")
                q.do("cont")
        while len(got) < flood.number * 3000:
            got += os.read(fd, 1 << 16)
        assert flood.check(got) == flood.number
        os.close(fd)
        q.close()


@test
def console_without_reader():
    """The guest has its buffers back whether anybody reads or not; what is kept comes from the beginning on, with single characters
    of an early kernel in between."""
    console = [arg.replace("virtserialport", "virtconsole").replace(",name=org.qemu.guest_agent.0", "") for arg in agent("agent")]
    with Machine(KILN, console) as m:
        q = Connection(m.qmp_path).negotiate()
        host, got = attach(q), bytearray()
        flood = Flood(m, 3000)
        for _ in range(3):
            flood.feed()
            v.wait(lambda: v.used(m, 5) == flood.given & 0xFFFF)
            m.ask(f"writel 0x{v.BAR + 0x2008:x} {ord('E')}")
        read_all(host, got, 3 * (SIZE * 3000 + 1))
        lines = bytes(got).split(b"E")
        assert [flood.check(part, i * SIZE) for i, part in enumerate(lines[:3])] == [SIZE, 2 * SIZE, 3 * SIZE]
        got.clear()
        for turn in range(20):
            flood.feed()
            v.wait(lambda: v.used(m, 5) == flood.given & 0xFFFF)
            if turn % 4 == 3:
                q.do("stop")
                q.do("cont")
        read_all(host, got, 256 << 10)
        assert flood.check(got, 3 * SIZE) > 3 * SIZE + 80
        host.close()
        q.close()


@test
def other_ports():
    """A state of other ports is refused, and says which."""
    path = "agent"
    with Machine(KILN, agent(path)) as m:
        state = m.save()
    with Machine(KILN, agent(path, ("-device", "virtserialport,bus=vs.0,nr=3"))) as m:
        refused = m.load(state)
        assert refused and "ports 0 to 3" in refused, refused


sys.exit(main("kiln-virtio-serial."))
