# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios of busy.py: virtio devices with several queues."""
from busy_virtio import BAR, RAM, VERSION_1, descriptor, get16, modern_look, put16, start_rings, wait
from scenario import MS, scenario  # noqa: F401

# ---- virtio-serial

SERIAL = ("-nodefaults", "-chardev", "ringbuf,id=c", "-chardev", "ringbuf,id=d", "-device", "virtio-serial-pci,addr=4,max_ports=3",
          "-device", "virtconsole,chardev=c", "-device", "virtserialport,chardev=d,name=port.1,id=p")
QUEUE_AREA = 0x1800         # of each ring here: descriptors, the available ring at 400h, the used ring at 800h
MULTIPORT, EMERGENCY = 1 << 1, 1 << 2


def ring(queue):
    return RAM + QUEUE_AREA * queue


def start_queues(m, features, queues, size=16):
    start_rings(m, features, {queue: (ring(queue), ring(queue) + 0x400, ring(queue) + 0x800) for queue in queues}, size)


def put_buffer(m, queue, number, length, data=None, size=16):
    """The number-th buffer (from 0) of a queue: data for the device, or room for it. Its address."""
    base, at = ring(queue), number % size
    address = base + 0xC00 + 64 * at
    m.write(address, data or bytes(length))
    m.write(base + 16 * at, descriptor(address, length, 0 if data else 2))
    put16(m, base + 0x400 + 4 + 2 * at, at)
    put16(m, base + 0x400 + 2, number + 1)
    m.ask(f"writew 0x{BAR + 0x3000 + 4 * queue:x} {queue}")
    return address


def used(m, queue):
    return get16(m, ring(queue) + 0x802)


def say(m, number, port, event, value):
    put_buffer(m, 3, number, 8, port.to_bytes(4, "little") + event.to_bytes(2, "little") + value.to_bytes(2, "little"))
    wait(lambda: used(m, 3) == number + 1)


def heard(m, count):
    """The first count messages of the device."""
    wait(lambda: used(m, 2) >= count)
    return [m.read(ring(2) + 0xC00 + 64 * i, 20).hex() for i in range(count)]


@scenario("virtio-serial with open ports", *SERIAL)
class _:
    def drive(m):
        start_queues(m, VERSION_1 | MULTIPORT | EMERGENCY, range(6))
        for number in range(12):
            put_buffer(m, 2, number, 64)
        for number, message in enumerate(((0, 0, 1), (0, 3, 1), (1, 3, 1), (1, 6, 1))):
            say(m, number, *message)
        heard(m, 6)
        put_buffer(m, 4, 0, 64)
        put_buffer(m, 5, 0, 5, b"hello")
        wait(lambda: used(m, 5) == 1)
        m.read(BAR + 0x2000, 12)

    def probe(m):
        seen = [heard(m, 6)]
        say(m, 4, 0, 3, 1)
        say(m, 5, 1, 6, 0)
        put_buffer(m, 5, 1, 5, b"again")
        wait(lambda: used(m, 5) == 2)
        m.ask(f"writel 0x{BAR + 0x2008:x} 0x41")
        return seen + [heard(m, 8), used(m, 4), m.read(BAR + 0x2000, 12).hex()]


@scenario("virtio-serial without control messages", *SERIAL[:-1], "virtserialport,chardev=d,nr=2")
class _:
    def drive(m):
        start_queues(m, VERSION_1 | EMERGENCY, (0, 1))
        put_buffer(m, 1, 0, 3, b"one")
        wait(lambda: used(m, 1) == 1)
        m.read(BAR + 0x2000, 12)

    def probe(m):
        put_buffer(m, 1, 1, 3, b"two")
        wait(lambda: used(m, 1) == 2)
        return [modern_look(m)[:9], used(m, 0)]


# ---- virtio-balloon

OOM, POISON, REPORTING, STATS = 1 << 2, 1 << 4, 1 << 5, 1 << 1


def set_word(m, offset, value):
    m.ask(f"writel 0x{BAR + 0x2000 + offset:x} 0x{value:x}")


def pages(*numbers):
    return b"".join(n.to_bytes(4, "little") for n in numbers)


@scenario("virtio-balloon with pages in it", "-nodefaults", "-device",
          "virtio-balloon-pci,id=balloon,addr=4,deflate-on-oom=on,free-page-reporting=on")
class _:
    def drive(m):
        start_queues(m, VERSION_1 | STATS | OOM | POISON | REPORTING, range(4))
        m.write(0x200000, b"\x55" * 0x8000)
        put_buffer(m, 0, 0, 12, pages(0x200, 0x201, 0x203))
        put_buffer(m, 1, 0, 4, pages(0x201))
        put_buffer(m, 2, 0, 20, b"\x04\x00" + (5).to_bytes(8, "little") + b"\x05\x00" + (6).to_bytes(8, "little"))
        wait(lambda: used(m, 0) == 1 and used(m, 1) == 1)
        wait(lambda: m.qmp(("qom-get", {"path": "/machine/peripheral/balloon", "property": "guest-stats"}))[0]["last-update"])
        set_word(m, 4, 2)
        set_word(m, 12, 0xAA)
        m.read(BAR + 0x2000, 16)

    def probe(m):
        seen = [m.read(BAR + 0x2000, 16).hex(), used(m, 0), used(m, 2), used(m, 3)]
        put_buffer(m, 0, 1, 8, pages(0x204, 0xFFFFFFFF))
        wait(lambda: used(m, 0) == 2)
        set_word(m, 12, 0)
        set_word(m, 4, 3)
        m.write(0x208000, b"\x66" * 0x1000)
        base = ring(3)
        m.write(base, descriptor(0x208000, 0x1000, 2))
        put16(m, base + 0x404, 0)
        put16(m, base + 0x402, 1)
        m.ask(f"writew 0x{BAR + 0x300C:x} 3")
        wait(lambda: used(m, 3) == 1)
        return seen + [m.read(0x208000, 16).hex(), m.read(0x204000, 16).hex(), m.read(BAR + 0x2000, 16).hex()]


# ---- virtio-input

@scenario("virtio-input with buffers given, lights set", "-nodefaults", "-device", "virtio-keyboard-pci,addr=4,serial=x")
class _:
    def drive(m):
        start_queues(m, VERSION_1, range(2))
        for number in range(5):
            put_buffer(m, 0, number, 8)
        put_buffer(m, 1, 0, 8, b"\x11\x00\x01\x00\x01\x00\x00\x00")
        wait(lambda: used(m, 1) == 1)
        m.ask(f"writeb 0x{BAR + 0x2000:x} 1")
        m.read(BAR + 0x2000, 37)

    def probe(m):
        seen = [used(m, 0)]
        put_buffer(m, 1, 1, 8, b"\x11\x00\x01\x00\x00\x00\x00\x00")
        wait(lambda: used(m, 1) == 2)
        for select, subsel in ((1, 0), (0x11, 1), (0x11, 0x11)):
            m.ask(f"writeb 0x{BAR + 0x2000:x} {select}")
            m.ask(f"writeb 0x{BAR + 0x2001:x} {subsel}")
            seen.append(m.read(BAR + 0x2000, 37).hex())
        return seen
