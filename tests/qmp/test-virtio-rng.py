#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-virtio-rng.py KILN: a source of random bytes whose guest wants as many as there are: stop and cont, a state, resets, unplugging."""
import os
import socket
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "state"), os.path.join(HERE, "..")]
import busy_queues as v  # noqa: E402
from busy_virtio import modern_common  # noqa: E402
from machine import Machine  # noqa: E402
from qmpclient import Connection  # noqa: E402
from tap import main, test  # noqa: E402

KILN = os.path.abspath(sys.argv[1])
BUFFER, LENGTH, SIZE = 16 << 20, 1 << 16, 8
SOURCES = {"builtin": [], "random": ["-object", "rng-random,id=r"], "limited": [],
           "egd": ["-chardev", "socket,id=e,path=egd", "-object", "rng-egd,id=r,chardev=e"]}
OPTIONS = {"builtin": "", "random": ",rng=r", "limited": ",max-bytes=300000,period=1000", "egd": ",rng=r"}


def answer(client):
    """An EGD daemon for one client: as many bytes as each command asks for."""
    commands = b""
    while more := client.recv(100):
        commands += more
        while len(commands) >= 2:
            assert commands[0] == 2, commands
            client.sendall(b"\x5a" * commands[1])
            commands = commands[2:]


def listen():
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("egd")
    listener.listen()

    def serve():
        while True:
            threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()


def machine(source):
    if source == "egd" and not os.path.exists("egd"):
        listen()
    return Machine(KILN, ["-nodefaults", *SOURCES[source], "-device", "virtio-rng-pci,id=rng0,addr=4" + OPTIONS[source]])


def begin(m):
    m.write(v.RAM, bytes(v.QUEUE_AREA))
    v.start_queues(m, v.VERSION_1, [0], SIZE)
    m.write(v.ring(0), b"".join(v.descriptor(BUFFER + i * LENGTH, LENGTH, 2) for i in range(SIZE)))
    m.write(v.ring(0) + 0x404, b"".join(i.to_bytes(2, "little") for i in range(SIZE)))


def ask(m, given):
    """All buffers once more."""
    v.put16(m, v.ring(0) + 0x402, given + SIZE)
    m.ask(f"writew 0x{v.BAR + 0x3000:x} 0")
    return given + SIZE


def finish(m, given):
    def done():
        m.step(v.MS * 1001)
        return v.used(m, 0) == given
    v.wait(done)


@test
def stopped_and_saved():
    for source in SOURCES:
        with machine(source) as m, machine(source) as other:
            begin(m)
            given = 0
            for _ in range(5):
                given = ask(m, given)
                for _ in range(3):
                    m.qmp(("stop", {}), ("query-status", {}), ("cont", {}))
                finish(m, given)
            given = ask(m, given)
            m.qmp(("stop", {}))
            state, ring = m.save(), m.read(v.RAM, v.QUEUE_AREA)
            m.qmp(("cont", {}))
            other.write(v.RAM, ring)
            refused = other.load(state)
            assert refused is None, refused
            for side in (m, other):
                finish(side, given)
            assert any(m.read(BUFFER + LENGTH * (SIZE - 1), 32)), source


@test
def reset_and_gone():
    for source in SOURCES:
        with machine(source) as m:
            q = Connection(m.qmp_path).negotiate()
            for _ in range(5):
                begin(m)
                ask(m, 0)
                modern_common(m, 20, 1, 0)
                begin(m)
                ask(m, 0)
                q.do("system_reset")
                begin(m)
                ask(m, 0)
                q.do("device_del", id="rng0")
                m.outl(0xAE08, 1 << 4)          # what the guest's ACPI does
                while q.wait("DEVICE_DELETED").get("device") != "rng0":
                    pass
                q.do("device_add", driver="virtio-rng-pci", id="rng0", addr="4", **({"rng": "r"} if "rng=r" in OPTIONS[source] else {}))
            q.close()


@test
def no_room():
    """Buffers that only the guest writes to, and those of one byte: they come back, and stop does not wait for their end."""
    for source in ("builtin", "random"):
        with machine(source) as m:
            begin(m)
            given = 0
            for length, flags, want in ((LENGTH, 0, 0), (1, 2, 1), (LENGTH, 0, 0), (LENGTH, 2, LENGTH)):
                m.write(v.ring(0), b"".join(v.descriptor(BUFFER + i * LENGTH, length, flags) for i in range(SIZE)))
                for _ in range(50):
                    given = ask(m, given)
                    m.qmp(("stop", {}), ("cont", {}))
                    finish(m, given)
                lengths = [int.from_bytes(m.read(v.ring(0) + 0x808 + 8 * i, 4), "little") for i in range(SIZE)]
                assert all(0 < n <= want if want else n == 0 for n in lengths), f"{lengths} bytes in buffers of {length}, flags {flags}"


sys.exit(main("kiln-virtio-rng."))
