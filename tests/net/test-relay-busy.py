#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-relay-busy.py KILN [WORD...]: virtio cards before what stays in the main loop: hubs, links with filters, user networking that
forwards to a character device. Their queues run in threads of their own, and packets go to a peer and back without a pause
through a relay, which comes and goes with what managers do meanwhile. No packet may be damaged, doubled or out of order, and where
nothing is to be lost, none lost."""
import contextlib
import os
import socket
import struct
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, ".."), os.path.join(HERE, "..", "state")]
from client import PATIENCE, Host, Machine, Tcp  # noqa: E402
from stream_peer import SIZES, Guest, Mirror, card, content, move  # noqa: E402
from tap import main, test  # noqa: E402
from virtio_nic import EJECT, VirtioNic, threads  # noqa: E402

KILN = os.path.abspath(sys.argv[1])
STREAM = "stream,server=on,addr.type=unix,addr.path=s"
DUMP = ["-object", "filter-dump,id=d,netdev=n,file=dump"]
HUB = ["-netdev", STREAM + ",id=far", "-netdev", "hubport,id=h,hubid=0,netdev=far"]
# Where the card is: its netdev, and what else there is.
PLACES = {
    "hub": ("hubport,id=n,hubid=0", HUB),
    "hub with a filter": ("hubport,id=n,hubid=0", [*HUB, "-object", "filter-dump,id=d,netdev=h,file=dump"]),
    "dump": (STREAM + ",id=n", DUMP),
    "mirror": (STREAM + ",id=n", ["-chardev", "null,id=x", "-object", "filter-mirror,id=d,netdev=n,outdev=x"]),
    "buffer": (STREAM + ",id=n", ["-object", "filter-buffer,id=d,netdev=n,interval=1000"]),
}


class Clocked(Guest):
    """The guest's clock goes on while it looks: filter-buffer's intervals are on it."""

    def look(self):
        self.nic.m.step(500_000)
        return super().look()


@contextlib.contextmanager
def busy(place, *more):
    """A machine, a guest whose packets come back, and the peer's socket."""
    netdev, others = PLACES[place]
    with contextlib.suppress(OSError):
        os.unlink("s")
    # A hub's other netdevs are made before its port.
    line = card(netdev, "-chardev", "null,id=z", *more)
    with Machine(KILN, [line[0], *(others if "hub" in place else []), *line[1:], *([] if "hub" in place else others)]) as m:
        peer = socket.socket(socket.AF_UNIX)
        peer.connect("s")
        guest = Clocked(VirtioNic(m))
        assert threads(m), f"{place}: the card's queues are in no thread of their own"
        yield m, guest, peer
        peer.close()


@test
def moves():
    for place in PLACES:
        with busy(place) as (m, guest, peer):
            mirror = Mirror(peer, slow=place == "dump")
            guest.find()
            for turn in range(16):
                guest.work(40)
                move(m, turn)
            guest.work()
            guest.finish()
            mirror.close()


@test
def stop():
    """Nothing comes to a guest that stands still; what it had sent goes."""
    for place in ("hub", "dump"):
        with busy(place) as (m, guest, peer):
            reader, seed = peer.makefile("rb"), 0
            for _ in range(20):
                for _ in range(20):
                    guest.send()
                guest.nic.wait(guest.nic.all_sent, "packets are not taken")
                m.qmp(("stop", {}))
                used = guest.nic.used(0)
                for _ in range(20):
                    size, = struct.unpack(">I", reader.read(4))
                    data = reader.read(size)
                    assert data == content(seed, SIZES[seed % len(SIZES)]), f"packet {seed} is another one"
                    peer.sendall(struct.pack(">I", size) + data)
                    seed += 1
                time.sleep(0.01)
                assert guest.nic.used(0) == used, "a stopped machine's card works"
                m.qmp(("cont", {}))
                guest.finish()


@test
def link():
    """Of the card, its netdev, and the hub's other end."""
    for place, names in (("hub", ("c", "n", "h", "far")), ("dump", "cn"), ("buffer", "cn")):
        with busy(place) as (m, guest, peer):
            mirror = Mirror(peer)
            for turn in range(12):
                guest.find()
                guest.work(40)
                name = names[turn % len(names)]
                m.qmp(("set_link", {"name": name, "up": False}))
                guest.send()
                guest.look()
                m.qmp(("set_link", {"name": name, "up": True}))
            guest.find()
            guest.work()
            guest.finish()
            mirror.close()


@test
def resets():
    for place in ("hub", "mirror", "buffer"):
        with busy(place) as (m, guest, peer):
            mirror = Mirror(peer)
            guest.work_between_resets(m, 10)
            mirror.close()


@test
def full_peer():
    """It does not read until its socket is full, the relay, and the ring; what managers do meanwhile loses nothing. A dump has each
    packet once."""
    with busy("dump") as (m, guest, peer):
        reader, sizes = peer.makefile("rb"), 0
        for turn in range(3):
            last, quiet = guest.nic.used(1), 0
            while quiet < 20:               # until nothing goes any more
                while (guest.nic.put - guest.nic.used(1)) & 0xFFFF < 60:
                    guest.send()
                quiet = quiet + 1 if guest.nic.used(1) == last else 0
                last = guest.nic.used(1)
                time.sleep(0.001)
            for way in range(4):
                move(m, way)
            guest.base = guest.sent
            for seed in range(guest.last + 1, guest.sent):
                size, = struct.unpack(">I", reader.read(4))
                assert reader.read(size) == content(seed, SIZES[seed % len(SIZES)]), f"turn {turn}: packet {seed} is another one"
                sizes += 16 + size
            guest.last = guest.sent - 1
            guest.nic.wait(guest.nic.all_sent, "what waited does not go")
        guest.nic.wait(lambda: os.stat("dump").st_size >= 24 + sizes, "the dump has not all packets")
        assert os.stat("dump").st_size == 24 + sizes, "the dump has packets twice"


@test
def held_often():
    """Each time that the relay goes, what is in it moves to queues: not more and more while nobody takes it, either way."""
    with busy("dump") as (m, guest, peer):
        guest.nic.give = lambda: None
        peer.setblocking(False)
        stream = (struct.pack(">I", 60) + content(0, 60)) * 128
        taken = came = 0
        for turn in range(48):
            quiet = 0
            while quiet < 20:               # until nothing goes any more
                before = guest.nic.used(1), came
                while (guest.nic.put - guest.nic.used(1)) & 0xFFFF < 60:
                    guest.send()
                    taken += 1
                with contextlib.suppress(BlockingIOError):
                    came += peer.send(stream[came % 64:][:64 * 64])
                quiet = quiet + 1 if before == (guest.nic.used(1), came) else 0
                time.sleep(0.001)
            move(m, turn)
        assert taken < 3000, f"{taken} packets are somewhere"
        assert came < 600000, f"{came} bytes are somewhere"


@test
def late_guest():
    """It gives no buffers for a while: what does not fit into its card waits at the peer, and comes in order."""
    with busy("mirror") as (m, guest, peer):
        guest.nic.give = lambda: None       # its 64 buffers, and no more
        count, sent = 4000, [0]

        def send():
            for seed in range(count):
                data = content(seed, SIZES[seed % len(SIZES)])
                peer.sendall(struct.pack(">I", len(data)) + data)
                sent[0] = seed + 1
        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        last, quiet = -1, 0
        while quiet < 50:
            quiet, last = (quiet + 1 if sent[0] == last else 0), sent[0]
            time.sleep(0.002)
        assert sent[0] < count, "a full card takes all"
        for way in range(4):
            move(m, way)
        del guest.nic.give
        guest.sent, guest.base = count, 0
        guest.finish()
        sender.join(PATIENCE)


@test
def unplugged():
    """The netdev, the card, a hub's other port: who is left goes on."""
    for place in ("hub", "dump"):
        for turn in range(4):
            with busy(place) as (m, guest, peer):
                mirror = Mirror(peer)
                guest.find()
                guest.work()
                if turn == 0 and place == "hub":
                    m.qmp(("netdev_del", {"id": "h"}))
                elif turn % 2:
                    m.qmp(("netdev_del", {"id": "n"}))
                for _ in range(5):          # to nobody
                    guest.send()
                guest.nic.wait(guest.nic.all_sent, "packets to nobody are not taken")
                m.qmp(("device_del", {"id": "c"}))
                m.outl(EJECT, 1 << 4)       # what the guest's ACPI does
                guest.nic.wait(lambda: not m.qmp(("query-rx-filter", {}))[0], "the card does not go")
                mirror.close()


@test
def two_cards_on_a_hub():
    """Each in a thread of its own, where there are CPUs for two."""
    more = ["-netdev", "hubport,id=o,hubid=0", "-device", "virtio-net-pci,id=e,netdev=o,addr=5,mac=52:54:00:12:34:57"]
    with Machine(KILN, card("hubport,id=n,hubid=0", "-chardev", "null,id=z", *more)) as m:
        guest, other = Guest(VirtioNic(m)), VirtioNic(m, 5, "52:54:00:12:34:57", 0x600000, 0xE0100000)
        look = guest.look

        def look_twice():
            for frame in other.look():
                other.send(frame)
            return look()
        guest.look = look_twice
        for turn in range(20):
            guest.work(40)
            move(m, turn)
        guest.finish()


def acceptor(path):
    s = socket.socket(socket.AF_UNIX)
    with contextlib.suppress(OSError):
        os.unlink(path)
    s.bind(path)
    s.listen()
    s.settimeout(PATIENCE)
    return s


def connected(m):
    """Names of character devices."""
    return {c["label"] for c in m.qmp(("query-chardev", {}))[0] if not c["filename"].startswith("disconnected")}


def pass_back(out, back, passed):
    with contextlib.suppress(OSError):
        while data := out.recv(65536):
            passed[0] += len(data)
            back.sendall(data)


@test
def redirected():
    """Through two sockets, whose owner sends back what comes; who goes and comes again. Without one packets go to the netdev."""
    more = ["-chardev", "socket,id=o,path=o,server=on,wait=off", "-chardev", "socket,id=i,path=i,server=on,wait=off",
            "-object", "filter-redirector,id=p,netdev=n,queue=rx,outdev=o", "-object", "filter-redirector,id=q,netdev=n,queue=tx,indev=i"]
    with busy("dump", *more) as (m, guest, peer):
        mirror = Mirror(peer)
        guest.find()
        for _ in range(6):
            guest.work(40)                  # by the stream
            guest.finish()
            out, back = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
            back.connect("i")
            out.connect("o")
            guest.nic.wait(lambda: connected(m) >= {"i", "o"}, "the sockets are not connected")
            passed = [0]
            thread = threading.Thread(target=pass_back, args=(out, back, passed), daemon=True)
            thread.start()
            for way in range(4):
                guest.work(40)
                move(m, way)
            guest.finish()
            assert passed[0], "nothing was redirected"
            out.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE)
            out.close()
            back.close()
            guest.nic.wait(lambda: not connected(m) & {"i", "o"}, "the sockets stay connected")
        mirror.close()


@test
def mirrored_to_a_socket():
    """Each packet once, in order, whole; and its reader may go."""
    with contextlib.closing(acceptor("x")) as server:
        with busy("mirror", "-chardev", "socket,id=y,path=x", "-object", "filter-mirror,id=g,netdev=n,queue=rx,outdev=y") as (m, guest, peer):
            mirror, copies = Mirror(peer), server.accept()[0]
            copies.settimeout(PATIENCE)
            reader = copies.makefile("rb")
            guest.work(100)
            guest.finish()
            for seed in range(guest.sent):
                size, = struct.unpack(">I", reader.read(4))
                assert reader.read(size) == content(seed, SIZES[seed % len(SIZES)]), f"copy {seed} is another one"
            guest.work(100)
            reader.close()
            copies.close()
            guest.work(200)
            guest.finish()
            mirror.close()


@test
def another_process_goes_on():
    """With the state of a card that was busy. What was on its way may be lost."""
    for place in ("hub", "dump"):
        arrived = state = ram = None
        for turn in range(3):
            with busy(place) as (m, guest, peer):
                mirror = Mirror(peer)
                if turn:
                    m.qmp(("stop", {}))
                    for at, data in ram:
                        m.write(at, data)
                    m.load(state)
                    m.qmp(("cont", {}))
                    guest, arrived.nic.m = arrived, m
                guest.find()
                guest.work()
                m.qmp(("stop", {}))
                arrived, state = guest, m.save()
                ram = [(at, m.read(at, size)) for queue in range(2) for at, size in
                       ((guest.nic.ring(queue)[0], 0x3000), (guest.nic.buffer(queue, 0), 64 * 2048))]
                mirror.close()


@test
def forwarded():
    """TCP to a character device's socket and back while the relay comes and goes."""
    with contextlib.closing(acceptor("f")) as server:
        if "\nuser\n" not in os.popen(f"{KILN} -netdev help").read():
            return
        with Machine(KILN, card("user,id=n,guestfwd=tcp:10.0.2.100:7-unix:f", "-chardev", "null,id=z")) as m:
            mirror, nic, turn = Mirror(server.accept()[0]), VirtioNic(m), [0]
            host = Host(nic, "10.0.2.15")
            assert threads(m), "the card's queues are in no thread of their own"
            host.find_router()

            def meanwhile():
                turn[0] += 1
                if turn[0] % 20 == 0:
                    move(m, turn[0] // 20)
            nic.meanwhile = meanwhile
            tcp, data = Tcp(host, 5001), bytes(i * 13 & 255 for i in range(40_000))
            tcp.connect("10.0.2.100", 7)
            for at in range(0, len(data), 4000):
                tcp.write(data[at:at + 4000])
                assert tcp.read(4000) == data[at:at + 4000]
            mirror.close()


if __name__ == "__main__":
    sys.exit(main("kiln-relay-busy."))
