#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-user-busy.py KILN [WORD...]: user networking behind a virtio card, which runs in a thread of its own, while datagrams go to
an echo on the host and back without a pause, and TCP connections both ways. What managers do meanwhile brings the network to the
main loop and back. Each datagram is numbered and filled by its number: none may be damaged or doubled, and where nothing is to be
lost, none lost."""
import os
import socket
import struct
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, ".."), os.path.join(HERE, "..", "state")]
from client import PATIENCE, Host, Machine, Tcp, checksum  # noqa: E402
from tap import main, test  # noqa: E402
from virtio_nic import EJECT, Traffic, VirtioNic, hmp, threads  # noqa: E402

KILN = os.path.abspath(sys.argv[1])
SIZES = (64, 1400, 18, 700, 1472, 100)
WINDOW = 24                 # datagrams on their way: no queue of the kernel or of the card is full


class Echo:
    """A UDP socket of the host's that sends back what comes."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while True:
            data, sender = self.socket.recvfrom(65536)
            if not data:
                return
            try:
                self.socket.sendto(data, sender)
            except OSError:     # who sent it has gone
                pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            while self.thread.is_alive():
                s.sendto(b"", ("127.0.0.1", self.port))
                self.thread.join(0.1)
        self.socket.close()


def content(seed, size):
    return struct.pack(">I", seed) + bytes([seed * 7 & 255, seed >> 3 & 255, 0xA5]) * ((size - 4) // 3) + b"\x5A" * ((size - 4) % 3)


class Guest(Traffic):
    """Who sends datagrams to the echo and gets them back. first: what it counts from."""
    window = WINDOW

    def __init__(self, nic, echo, net=2, first=0):
        self.nic, self.echo = nic, echo
        self.host = Host(nic, f"10.0.{net}.15", f"10.0.{net}.2")
        self.sent = self.base = first       # base: what was sent before may be lost
        self.got = set()
        self.host.find_router()

    def restart(self):
        """The device has been reset."""
        self.nic.start()
        self.base = self.sent
        self.host.find_router()

    def send(self):
        data = content(self.sent, SIZES[self.sent % len(SIZES)])
        self.host.send_udp(self.host.gateway, self.echo.port, 5000, data)
        self.sent += 1

    def take(self, frame):
        """True: it is a datagram sent behind base."""
        if self.host.answer(frame) or frame[12:14] != b"\x08\x00" or frame[23] != 17 or frame[36:38] != b"\x13\x88":
            return False
        assert checksum(frame[14:34]) == 0
        data = frame[42:14 + struct.unpack_from(">H", frame, 16)[0]]
        seed, = struct.unpack_from(">I", data)
        assert data == content(seed, SIZES[seed % len(SIZES)]), f"datagram {seed} is damaged"
        assert seed not in self.got and seed < self.sent, f"datagram {seed} comes twice, or unasked"
        self.got.add(seed)
        return seed >= self.base

    def look(self):
        return sum(self.take(frame) for frame in self.nic.look())

    def left(self):
        return sum(seed not in self.got for seed in range(self.base, self.sent))

    def find(self):
        """What is on its way may be lost; until datagrams come back again."""
        end = time.monotonic() + PATIENCE
        self.base = self.sent
        while not self.look():
            assert time.monotonic() < end, "no datagram comes back"
            self.send()
            time.sleep(0.002)
        quiet = 0
        while quiet < 20:
            quiet = 0 if self.look() else quiet + 1
            time.sleep(0.001)
        self.base = self.sent


def user(options="", *more):
    """Options of a machine with a user network behind a virtio card."""
    return ["-nodefaults", "-netdev", f"user,id=n{options}", "-device", "virtio-net-pci,id=c,netdev=n,addr=4", *more]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@test
def stop():
    """Nothing comes to a guest that stands still, and nothing is lost."""
    with Echo() as echo, Machine(KILN, user()) as m:
        guest = Guest(VirtioNic(m), echo)
        assert threads(m), "the network is in no thread of its own"
        for _ in range(20):
            guest.work()
            m.qmp(("stop", {}))
            used = guest.nic.used(0)
            time.sleep(0.02)
            assert guest.nic.used(0) == used, "a stopped machine's card works"
            m.qmp(("cont", {}))
        guest.work()
        guest.finish()


@test
def commands():
    """Those that bring the network to the main loop, and some that only ask."""
    with Echo() as echo, Machine(KILN, user()) as m:
        guest, port = Guest(VirtioNic(m), echo), free_port()
        for turn in range(20):
            guest.work(30)
            assert "10.0.2.15" in hmp(m, "info usernet")
            guest.work(30)
            assert hmp(m, f"hostfwd_add n tcp:127.0.0.1:{port}-:22") == ""
            assert str(port) in hmp(m, "info usernet")
            guest.work(30)
            assert "removed" in hmp(m, f"hostfwd_remove n tcp:127.0.0.1:{port}")
            m.qmp(("query-rx-filter", {"name": "c"}))
            hmp(m, "info network")
        guest.finish()


@test
def filters():
    with Echo() as echo, Machine(KILN, user("", "-chardev", "null,id=z")) as m:
        guest = Guest(VirtioNic(m), echo)
        for turn in range(20):
            guest.work(30)
            m.qmp(("object-add", {"qom-type": "filter-mirror", "id": "f", "netdev": "n", "outdev": "z"}))
            guest.work(30)
            m.qmp(("object-del", {"id": "f"}))
        guest.finish()


@test
def link():
    """What goes while the cable is out is lost, and no more."""
    with Echo() as echo, Machine(KILN, user()) as m:
        guest = Guest(VirtioNic(m), echo)
        for turn in range(20):
            guest.work(40)
            name = "cn"[turn % 2]
            m.qmp(("set_link", {"name": name, "up": False}))
            for _ in range(10):
                guest.send()
            guest.look()
            m.qmp(("set_link", {"name": name, "up": True}))
            guest.find()
        guest.work()
        guest.finish()


@test
def resets():
    """Of the device and of the machine."""
    with Echo() as echo, Machine(KILN, user()) as m:
        guest = Guest(VirtioNic(m), echo)
        guest.work_between_resets(m, 20)
        guest.finish()


@test
def netdev_gone():
    """Also with a connection that waits for an answer, and a forwarded port."""
    for turn in range(4):
        with Echo() as echo, Machine(KILN, user(f",hostfwd=tcp:127.0.0.1:{free_port()}-:22")) as m:
            guest = Guest(VirtioNic(m), echo)
            guest.work(40)
            m.qmp(("netdev_del", {"id": "n"}))
            for _ in range(5):      # to nobody
                guest.send()
            guest.nic.wait(guest.nic.all_sent, "packets to nobody are not taken")
            if turn % 2:
                m.qmp(("system_reset", {}))


@test
def plug():
    with Echo() as echo, Machine(KILN, ["-nodefaults"]) as m:
        sent = 0
        for _ in range(5):
            m.qmp(("netdev_add", {"type": "user", "id": "n"}),
                  ("device_add", {"driver": "virtio-net-pci", "id": "c", "netdev": "n", "addr": "4"}))
            guest = Guest(VirtioNic(m), echo, first=sent)
            guest.work()
            sent = guest.sent
            m.qmp(("device_del", {"id": "c"}))
            m.outl(EJECT, 1 << 4)           # what the guest's ACPI does
            guest.nic.wait(lambda: not m.qmp(("query-rx-filter", {}))[0], "the card does not go")
            m.qmp(("netdev_del", {"id": "n"}))


@test
def two_networks():
    """Each in a thread, where there are CPUs for two: libslirp keeps some things once for both."""
    more = ["-netdev", "user,id=o,net=10.0.3.0/24", "-device", "virtio-net-pci,netdev=o,addr=5,mac=52:54:00:12:34:57"]
    with Echo() as echo, Machine(KILN, user("", *more)) as m:
        guests = [Guest(VirtioNic(m), echo),
                  Guest(VirtioNic(m, 5, "52:54:00:12:34:57", 0x600000, 0xE0100000), echo, 3)]
        for turn in range(20):
            for guest in guests:
                guest.work(30)
            hmp(m, "info usernet")
        for guest in guests:
            guest.finish()


def interrupt(m, nic, lines, every=25):
    """Commands of the monitor for people, in turn, while a conversation goes on."""
    def meanwhile():
        nic.polls += 1
        if nic.polls % every == 0:
            hmp(m, lines[nic.polls // every % len(lines)])
    nic.meanwhile = meanwhile


@test
def connections():
    """TCP in and out, both ways, while the network moves."""
    port, other = free_port(), free_port()
    with socket.create_server(("127.0.0.1", 0)) as server, Machine(KILN, user(f",hostfwd=tcp:127.0.0.1:{port}-:22")) as m:
        nic = VirtioNic(m)
        host = Host(nic, "10.0.2.15")
        host.find_router()
        interrupt(m, nic, ("info usernet", f"hostfwd_add n tcp:127.0.0.1:{other}-:23", "info network",
                           f"hostfwd_remove n tcp:127.0.0.1:{other}"))
        server.settimeout(PATIENCE)
        data, got = bytes(i * 13 & 255 for i in range(60_000)), []

        def client(connect):
            with connect() as s:
                s.settimeout(PATIENCE)
                s.sendall(data)
                while sum(map(len, got)) < len(data):
                    got.append(s.recv(65536))
                s.sendall(b"done")

        for turn in range(4):
            got.clear()
            tcp = Tcp(host, 22 if turn % 2 else 5000 + turn)
            if turn % 2:
                thread = threading.Thread(target=client, args=(lambda: socket.create_connection(("127.0.0.1", port)),), daemon=True)
                thread.start()
                tcp.accept()
            else:
                thread = threading.Thread(target=client, args=(lambda: server.accept()[0],), daemon=True)
                thread.start()
                tcp.connect("10.0.2.2", server.getsockname()[1])
            assert tcp.read(len(data)) == data
            tcp.write(data)
            assert tcp.read(4) == b"done"
            thread.join(PATIENCE)
            assert b"".join(got) == data


@test
def forward_to_a_command():
    """It is started by the network's thread."""
    with Machine(KILN, user(",guestfwd=tcp:10.0.2.100:7-cmd:cat")) as m:
        nic = VirtioNic(m)
        host = Host(nic, "10.0.2.15")
        host.find_router()
        interrupt(m, nic, ("info usernet",), 10)
        assert threads(m), "the network is in no thread of its own"
        for turn in range(3):
            echo, data = Tcp(host, 5001 + turn), bytes(i * 7 & 255 for i in range(10_000))
            echo.connect("10.0.2.100", 7)
            echo.write(data)
            assert echo.read(len(data)) == data


@test
def forward_to_a_character_device():
    """Such a network stays in the main loop, where character devices are; its card does not."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        server.settimeout(PATIENCE)
        with Machine(KILN, user(f",guestfwd=tcp:10.0.2.100:7-tcp:127.0.0.1:{port}")) as m:
            peer = server.accept()[0]
            peer.settimeout(PATIENCE)
            nic = VirtioNic(m)
            host = Host(nic, "10.0.2.15")
            host.find_router()
            interrupt(m, nic, ("info usernet",), 10)
            assert threads(m), "the card's queues are in no thread of its own"
            tcp = Tcp(host, 5001)
            tcp.connect("10.0.2.100", 7)
            tcp.write(b"from the guest")
            assert peer.recv(100) == b"from the guest"
            peer.sendall(b"from the host")
            assert tcp.read(13) == b"from the host"
            peer.close()


if __name__ == "__main__":
    if "\nuser\n" not in os.popen(f"{KILN} -netdev help").read():
        print("1..0 # SKIP built without libslirp")
        sys.exit(0)
    sys.exit(main("kiln-user-busy."))
