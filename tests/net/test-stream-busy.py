#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-stream-busy.py KILN [WORD...]: Ethernet over streams behind a virtio card, which runs in a thread of its own, while numbered
packets go to a peer and back without a pause. What managers do meanwhile brings the link to the main loop and back; peers come, go
and send nonsense. No packet may be damaged, doubled or out of order, and where nothing is to be lost, none lost."""
import contextlib
import json
import os
import socket
import struct
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, ".."), os.path.join(HERE, "..", "state")]
from client import PATIENCE, Machine  # noqa: E402
from stream_peer import SIZES, Guest, Mirror, card, content, move, wait_info  # noqa: E402
from tap import main, test  # noqa: E402
from virtio_nic import EJECT, VirtioNic, threads  # noqa: E402

KILN = os.path.abspath(sys.argv[1])
SERVER = "stream,id=n,server=on,addr.type=unix,addr.path=s"


def connect(path="s"):
    """The server may not have heard yet that its last client has gone: it takes one at a time."""
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    return s


@test
def moves():
    """As server and client, over unix sockets and TCP, in both notations."""
    for slow in (False, True):
        for netdev in (SERVER, "stream,id=n,addr.type=unix,addr.path=p", "stream,id=n,addr.type=inet,addr.host=127.0.0.1,addr.port={port}",
                       "socket,id=n,connect=127.0.0.1:{port}"):
            with contextlib.suppress(OSError):
                os.unlink("p")
            with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
                unix.bind("p")
                unix.listen()
                with Machine(KILN, card(netdev.format(port=tcp.getsockname()[1]), "-chardev", "null,id=z")) as m:
                    mirror = Mirror(connect() if netdev == SERVER else (unix if "path" in netdev else tcp).accept()[0], slow)
                    guest = Guest(VirtioNic(m))
                    assert threads(m), "the link is in no thread of its own"
                    wait_info(m, "connection from" if netdev == SERVER else "connect")
                    guest.find()
                    for turn in range(12):
                        guest.work(40)
                        move(m, turn)
                    guest.finish()
                    mirror.close()


@test
def link():
    with Machine(KILN, card(SERVER)) as m:
        mirror, guest = Mirror(connect()), Guest(VirtioNic(m))
        for turn in range(12):
            guest.find()
            guest.work(40)
            m.qmp(("set_link", {"name": "cn"[turn % 2], "up": False}))
            guest.send()
            guest.look()
            m.qmp(("set_link", {"name": "cn"[turn % 2], "up": True}))
        guest.find()
        guest.work()
        guest.finish()
        mirror.close()


@test
def peers():
    """One after the other; some send what is no packet. Managers hear of each."""
    with Machine(KILN, card(SERVER)) as m, socket.socket(socket.AF_UNIX) as s:
        s.connect(m.qmp_path)
        monitor = s.makefile("rw")
        monitor.readline()
        monitor.write('{"execute": "qmp_capabilities"}\n')
        monitor.flush()
        s.settimeout(PATIENCE)
        monitor.readline()
        guest = Guest(VirtioNic(m))
        for turn in range(8):
            client = connect()
            assert json.loads(monitor.readline())["event"] == "NETDEV_STREAM_CONNECTED"
            if turn % 2:
                client.sendall(b"\xff" * 100)
                while True:
                    try:
                        if not client.recv(65536):
                            break
                    except ConnectionError:
                        break
                client.close()
            else:
                mirror = Mirror(client)
                guest.find()
                guest.work(60)
                mirror.close()
            assert json.loads(monitor.readline())["event"] == "NETDEV_STREAM_DISCONNECTED"
            for _ in range(10):             # to nobody
                guest.send()


@test
def full_peer():
    """It does not read until its socket is full, and the ring; what managers do meanwhile loses nothing."""
    with Machine(KILN, card(SERVER, "-chardev", "null,id=z")) as m:
        client, guest = connect(), Guest(VirtioNic(m))
        wait_info(m, "connection from")
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
            reader = client.makefile("rb")
            seed = guest.last + 1
            while seed < guest.sent:
                size, = struct.unpack(">I", reader.read(4))
                assert reader.read(size) == content(seed, SIZES[seed % len(SIZES)]), f"turn {turn}: packet {seed} is another one"
                seed += 1
            guest.last = seed - 1
            guest.nic.wait(guest.nic.all_sent, "what waited does not go")
        client.close()


@test
def resets():
    with Machine(KILN, card(SERVER)) as m:
        mirror, guest = Mirror(connect()), Guest(VirtioNic(m))
        guest.work_between_resets(m, 10)
        mirror.close()


@test
def plug_and_netdev_gone():
    netdev = {"type": "stream", "id": "n", "server": True, "addr": {"type": "unix", "path": "s"}}
    with Machine(KILN, ["-nodefaults"]) as m:
        for turn in range(8):
            m.qmp(("netdev_add", netdev), ("device_add", {"driver": "virtio-net-pci", "id": "c", "netdev": "n", "addr": "4"}))
            mirror, guest = Mirror(connect()), Guest(VirtioNic(m))
            guest.find()
            guest.work()
            if turn % 2:
                m.qmp(("netdev_del", {"id": "n"}))
                for _ in range(5):          # to nobody
                    guest.send()
            m.qmp(("device_del", {"id": "c"}))
            m.outl(EJECT, 1 << 4)           # what the guest's ACPI does
            guest.nic.wait(lambda: not m.qmp(("query-rx-filter", {}))[0], "the card does not go")
            if not turn % 2:
                m.qmp(("netdev_del", {"id": "n"}))
            mirror.close()


if __name__ == "__main__":
    sys.exit(main("kiln-stream-busy."))
