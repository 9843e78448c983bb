# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios of busy.py: virtio devices that a driver uses. Their queues run in threads, so what they did is waited for."""
import time

from scenario import RAM, scenario

DISK = ("-nodefaults", "-drive", "if=none,id=d,driver=null-co,read-zeroes=on,size=64M", "-device")
SLOT = 4 << 3
BAR, MSIX_BAR, PORTS = 0xE0000000, 0xE1000000, 0xC000
DESC, AVAIL, USED, DATA = RAM, RAM + 0x1000, RAM + 0x2000, RAM + 0x4000
VERSION_1, PACKED, CACHE = 1 << 32, 1 << 34, 1 << 9 | 1 << 11


def wait(condition):
    """A device that never answers ends the test."""
    end = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < end, "the device does not answer"
        time.sleep(0.001)


def put16(m, address, value):
    m.write(address, value.to_bytes(2, "little"))


def get16(m, address):
    return int.from_bytes(m.read(address, 2), "little")


def modern_common(m, offset, size, value=None):
    letter = {1: "b", 2: "w", 4: "l"}[size]
    if value is None:
        return int(m.ask(f"read{letter} 0x{BAR + offset:x}"), 16)
    return m.ask(f"write{letter} 0x{BAR + offset:x} 0x{value:x}")


def map_function(m):
    m.config(SLOT, 0x10, PORTS)
    m.config(SLOT, 0x14, MSIX_BAR)
    m.config(SLOT, 0x20, BAR)
    m.config(SLOT, 0x04, 7, 2)


def msix_on(m, vectors):
    for vector in range(vectors):
        for word, value in enumerate((0xFEE00000, 0, 0x4040 + vector, 0)):
            m.writel(MSIX_BAR + 16 * vector + 4 * word, value)
    m.config(SLOT, 0x9A, 0x8000, 2)


def start_rings(m, features, rings, size=16, vector=None):
    """A modern driver with these rings: queue -> addresses of descriptors, available ring and used ring."""
    map_function(m)
    if vector is not None:
        msix_on(m, 2)
    modern_common(m, 20, 1, 0)
    modern_common(m, 20, 1, 3)
    for word in range(2):
        modern_common(m, 8, 4, word)
        modern_common(m, 12, 4, features >> 32 * word & 0xFFFFFFFF)
    modern_common(m, 20, 1, 11)
    for queue, areas in rings.items():
        modern_common(m, 22, 2, queue)
        modern_common(m, 24, 2, size)
        if vector is not None:
            modern_common(m, 16, 2, 0)
            modern_common(m, 26, 2, vector)
        for at, address in zip((32, 40, 48), areas):
            modern_common(m, at, 4, address)
            modern_common(m, at + 4, 4, 0)
        modern_common(m, 28, 2, 1)
    modern_common(m, 20, 1, 15)


def modern_start(m, features, size=16, vector=None):
    start_rings(m, features, {0: (DESC, AVAIL, USED)}, size, vector)


def descriptor(address, length, flags, more=0):
    return address.to_bytes(8, "little") + length.to_bytes(4, "little") + flags.to_bytes(2, "little") + more.to_bytes(2, "little")


def put_request(m, kind):
    """Header, 512 bytes and status of a request; its three descriptors' addresses."""
    m.write(DATA, kind.to_bytes(4, "little") + bytes(4) + (7).to_bytes(8, "little"))
    m.write(DATA + 0x400, b"\x55" * 512)
    m.write(DATA + 16, b"\xff")
    return ((DATA, 16, 0), (DATA + 0x400, 512, 0 if kind == 1 else 2), (DATA + 16, 1, 2))


def begin_request(m, kind, number, kick, size=16, avail=AVAIL):
    """The number-th request (from 0)."""
    first = number * 3 % size
    for i, (address, length, flags) in enumerate(put_request(m, kind)):
        at = (first + i) % size
        m.write(DESC + 16 * at, descriptor(address, length, flags | (i < 2), (at + 1) % size))
    put16(m, avail + 4 + 2 * (number % size), first)
    put16(m, avail + 2, number + 1)
    kick()


def split_request(m, kind, number, kick, size=16, avail=AVAIL, used=USED):
    """As begin_request; what came back."""
    begin_request(m, kind, number, kick, size, avail)
    wait(lambda: get16(m, used + 2) == number + 1)
    return [m.read(DATA + 16, 1).hex(), m.read(DATA + 0x400, 16).hex(), m.read(used + 4 + 8 * (number % size), 8).hex()]


def packed_request(m, kind, number, kick, size=16):
    first, wrap = number * 3 % size, not number * 3 // size & 1
    descriptors = []
    for i, (address, length, flags) in enumerate(put_request(m, kind)):
        at, lap = (first + i) % size, wrap ^ (first + i >= size)
        flags |= (i < 2) | (0x80 if lap else 0x8000)
        descriptors.append((DESC + 16 * at, descriptor(address, length, number, flags)))    # packed: id, flags
    for at, raw in reversed(descriptors):
        m.write(at, raw)
    kick()
    expected = 0x8080 if wrap else 0
    wait(lambda: get16(m, DESC + 16 * first + 14) & 0x8080 == expected)
    # Not the flags: QEMU leaves WRITE out, which says that something was written.
    return [m.read(DATA + 16, 1).hex(), m.read(DATA + 0x400, 16).hex(), m.read(DESC + 16 * first + 8, 6).hex()]


def modern_look(m):
    m.ask(f"readb 0x{BAR + 0x1000:x}")
    return [modern_common(m, at, size) for at, size in ((16, 2), (18, 2), (20, 1), (24, 2), (26, 2), (28, 2), (32, 4),
                                                        (40, 4), (48, 4))] + [m.read(BAR + 0x2000 + i, 1).hex() for i in range(57)]


def modern_kick(m):
    return lambda: m.ask(f"writew 0x{BAR + 0x3000:x} 0")


@scenario("virtio-blk with a modern driver, requests done", *DISK, "virtio-blk-pci,drive=d,addr=4,serial=x")
class _:
    def drive(m):
        modern_start(m, VERSION_1 | CACHE)
        modern_look(m)
        for number in range(7):
            split_request(m, 0, number, modern_kick(m))

    def probe(m):
        return [modern_look(m)] + [split_request(m, kind, 7 + i, modern_kick(m)) for i, kind in enumerate((0, 8, 99, 0))]


@scenario("virtio-blk with MSI-X and a packed ring", *DISK, "virtio-blk-pci-non-transitional,drive=d,addr=4,packed=on")
class _:
    def drive(m):
        modern_start(m, VERSION_1 | PACKED | CACHE, vector=1)
        modern_look(m)
        for number in range(7):
            packed_request(m, 0, number, modern_kick(m))

    def probe(m):
        seen = [packed_request(m, kind, 7 + i, modern_kick(m)) for i, kind in enumerate((0, 8, 99, 0))]
        return [modern_look(m), seen] + [m.config(SLOT, at) for at in range(0x40, 0x100, 4)]


@scenario("virtio-blk with a legacy driver", *DISK, "virtio-blk-pci,drive=d,addr=4,disable-modern=on,vectors=0")
class _:
    def drive(m):
        map_function(m)
        for status in (0, 1, 3):
            m.outb(PORTS + 18, status)
        m.outl(PORTS + 4, CACHE)
        m.outw(PORTS + 14, 0)
        m.outl(PORTS + 8, DESC >> 12)
        m.outb(PORTS + 18, 7)
        for at in range(20, 77):
            m.inb(PORTS + at)
        for number in range(5):
            split_request(m, 0, number, lambda: m.outw(PORTS + 16, 0), size=256, avail=DESC + 0x1000, used=DESC + 0x2000)

    def probe(m):
        m.inb(PORTS + 19)
        seen = [m.inl(PORTS), m.inl(PORTS + 4), m.inl(PORTS + 8), m.inw(PORTS + 12), m.inb(PORTS + 18)]
        seen += [m.inb(PORTS + at) for at in range(20, 77)]
        return seen + [split_request(m, kind, 5 + i, lambda: m.outw(PORTS + 16, 0), size=256, avail=DESC + 0x1000,
                                     used=DESC + 0x2000) for i, kind in enumerate((0, 8, 4))]


@scenario("virtio-blk before its driver is ready", *DISK, "virtio-blk-pci,drive=d,addr=4,num-queues=3")
class _:
    def drive(m):
        map_function(m)
        modern_common(m, 20, 1, 3)
        modern_common(m, 8, 4, 1)
        modern_common(m, 12, 4, 1)
        modern_common(m, 22, 2, 2)
        modern_common(m, 24, 2, 64)
        modern_common(m, 32, 4, DESC)
        modern_look(m)

    def probe(m):
        return [modern_look(m), modern_common(m, 12, 4)]


def random_bytes(m, number, length):
    """The number-th buffer (from 0): how many bytes came, not which."""
    m.write(DESC + 16 * (number % 16), descriptor(DATA + 0x1000 * number, length, 2))
    put16(m, AVAIL + 4 + 2 * (number % 16), number % 16)
    put16(m, AVAIL + 2, number + 1)
    modern_kick(m)()
    wait(lambda: get16(m, USED + 2) == number + 1)
    return m.read(USED + 4 + 8 * (number % 16), 8).hex()


@scenario("virtio-rng that filled buffers", "-nodefaults", "-device", "virtio-rng-pci,addr=4")
class _:
    def drive(m):
        modern_start(m, VERSION_1)
        for number in range(5):
            random_bytes(m, number, 16 + number)

    def probe(m):
        return [modern_look(m)[:9]] + [random_bytes(m, number, 100 + number) for number in range(5, 9)]


# ---- virtio-net: transmit, and commands

NET = ("-nodefaults", "-netdev", "hubport,id=n,hubid=0", "-device")
MRG, NET_STATUS, CTRL_VQ, CTRL_RX, CTRL_VLAN, CTRL_MAC, OFFLOADS = 1 << 15, 1 << 16, 1 << 17, 1 << 18, 1 << 19, 1 << 23, 1 << 2
RINGS, PACKET = RAM + 0x8000, RAM + 0x7000


def net_ring(index):
    return RINGS + 0x1000 * index, RINGS + 0x1000 * index + 0x400, RINGS + 0x1000 * index + 0x800


def net_start(m, features, queues=3, size=16):
    start_rings(m, features, {queue: net_ring(queue) for queue in range(queues)}, size)


def net_put(m, queue, number, pieces, size=16):
    """The number-th buffer, of two pieces."""
    desc, avail, _ = net_ring(queue)
    first = number * 2 % size
    for i, (address, length, flags) in enumerate(pieces):
        m.write(desc + 16 * (first + i), descriptor(address, length, flags | (i < 1), first + i + 1))
    put16(m, avail + 4 + 2 * (number % size), first)
    put16(m, avail + 2, number + 1)
    m.ask(f"writew 0x{BAR + 0x3000 + 4 * queue:x} {queue}")


def net_used(m, queue, number):
    wait(lambda: get16(m, net_ring(queue)[2] + 2) == number)


def net_command(m, number, data, queue=2):
    m.write(PACKET, data + bytes(64))
    m.write(PACKET + 0x800, b"\xff")
    net_put(m, queue, number, ((PACKET, len(data), 0), (PACKET + 0x800, 1, 2)))
    net_used(m, queue, number + 1)
    return m.read(PACKET + 0x800, 1).hex()


def net_send(m, number):
    m.write(PACKET, bytes(12) + b"\xff" * 6 + bytes(range(60)))
    net_put(m, 1, number, ((PACKET, 12, 0), (PACKET + 12, 66, 0)))
    net_used(m, 1, number + 1)
    return m.read(net_ring(1)[2], 64).hex()


def net_look(m, queues=3):
    seen = [m.read(BAR + 0x2000 + i, 1).hex() for i in range(8)] + [modern_common(m, at, size) for at, size in ((18, 2), (20, 1))]
    for queue in range(queues):
        modern_common(m, 22, 2, queue)
        seen += [modern_common(m, at, size) for at, size in ((24, 2), (26, 2), (28, 2), (32, 4), (40, 4), (48, 4))]
    return seen


@scenario("virtio-net with filters and buffers to receive", *NET, "virtio-net-pci,netdev=n,addr=4")
class _:
    def drive(m):
        net_start(m, VERSION_1 | MRG | NET_STATUS | CTRL_VQ | CTRL_RX | CTRL_VLAN | CTRL_MAC | OFFLOADS)
        for number in range(5):
            net_put(m, 0, number, ((DATA + 0x400 * number, 12, 2), (DATA + 0x400 * number + 12, 500, 2)))
        for number, data in enumerate((b"\0\0\0", b"\0\1\1", b"\2\0\7\0", b"\2\0\xff\x0f", b"\1\1\2\1\1\1\1\1", b"\1\0\1\0\0\0\2\2\2\2\2\2"
                                       b"\2\0\0\0\1\0\x5e\1\2\3\x33\x33\0\0\0\1", b"\5\0" + bytes(8), b"\4\0\1\0")):
            net_command(m, number, data)
        net_look(m)

    def probe(m):
        seen = [net_look(m), net_command(m, 8, b"\0\0\1"), net_command(m, 9, b"\0\7\1"), net_look(m)]
        return seen + [m.read(net_ring(0)[2], 16).hex()]


@scenario("virtio-net with a choice of queues and hashes", *NET, "virtio-net-pci,netdev=n,addr=4,mq=on,rss=on,rx_queue_size=512")
class _:
    def drive(m):
        net_start(m, VERSION_1 | CTRL_VQ | 1 << 22 | 1 << 60)
        net_command(m, 0, b"\4\1" + b"\x3f\0\0\0" + b"\1\0" + bytes(6) + b"\1\0" + b"\x28" + bytes(range(40)))
        net_look(m)

    def probe(m):
        return [net_look(m), net_command(m, 1, b"\4\0\2\0"), net_command(m, 2, b"\4\0\1\0"), net_look(m)]


@scenario("virtio-net before its driver chose anything", *NET, "virtio-net-pci-non-transitional,netdev=n,addr=4,packed=on,mq=on")
class _:
    def drive(m):
        map_function(m)
        modern_common(m, 20, 1, 3)
        net_look(m)

    def probe(m):
        return [net_look(m)]


@scenario("virtio-net with packets sent and merged buffers", *NET, "virtio-net-pci,netdev=n,addr=4,vectors=0")
class _:
    def drive(m):
        net_start(m, VERSION_1 | MRG | CTRL_VQ)
        net_put(m, 0, 0, ((DATA, 12, 2), (DATA + 12, 100, 2)))
        for number in range(13):
            net_send(m, number)
        net_look(m)

    def probe(m):
        seen = [net_send(m, 13 + i) for i in range(5)] + [net_look(m)]
        return seen + [m.read(net_ring(0)[2], 16).hex()]


# ---- vsock behind vhost: the kernel's queues and ours

@scenario("vhost-vsock with a driver", "-nodefaults", "-device", "vhost-vsock-pci,guest-cid=7,addr=4")
class _:
    def drive(m):
        net_start(m, VERSION_1 | 1 << 29 | 2)
        modern_common(m, 22, 2, 1)
        m.ask(f"readl 0x{BAR + 0x2000:x}")  # QEMU's stream has what was read

    def probe(m):
        return [modern_look(m)[:9]] + [int(m.ask(f"readl 0x{BAR + 0x2000 + at:x}"), 16) for at in (0, 4)]
