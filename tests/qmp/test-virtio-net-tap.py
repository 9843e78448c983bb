#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-virtio-net-tap.py KILN: a virtio card on a tap, whose packets the kernel writes straight to the guest's buffers, while
packets come and go without a pause: stop and cont, filters, the cable, a netdev that goes, plugging, resets of the device and
of a queue, more and fewer pairs of queues, and a state that another process goes on from. Each packet is numbered and filled
by its number: none may be damaged, doubled or out of order, and where nothing is to be lost, none lost. Nobody writes to the
guest's memory while it stands still."""
import fcntl
import os
import socket
import struct
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "state"), os.path.join(HERE, "..")]
import busy_virtio as v  # noqa: E402
from machine import Machine  # noqa: E402
from net_queues import (BUFFER, HEADER, MQ, NAME, PROTOCOL, RING_RESET, SIZE, SO_RCVBUFFORCE, Guest, Tap, card,  # noqa: E402
                        content)
from tap import Skip, main, test  # noqa: E402

KILN = os.path.abspath(sys.argv[1])
PCI_EJ = 0xAE08


@test
def stop():
    """A stopped machine's memory does not change, and nothing is lost."""
    with Tap() as tap, Machine(KILN, card(tap)) as m:
        guest = Guest(m, tap)
        guest.work(lossless=False)
        for _ in range(8):
            guest.speak()
            m.qmp(("stop", {}))
            p = guest.pairs[0]
            before = m.read(p.base, 0x4000), m.read(p.buffer(0, 0), BUFFER * SIZE)
            time.sleep(0.02)
            assert before == (m.read(p.base, 0x4000), m.read(p.buffer(0, 0), BUFFER * SIZE)), "a stopped machine's memory changed"
            m.qmp(("cont", {}))
            guest.work()


@test
def moves():
    """The queues go to the main loop and back, and nothing is lost on the way."""
    with Tap() as tap, Machine(KILN, card(tap)) as m:
        guest = Guest(m, tap)
        guest.work(lossless=False)
        for turn in range(8):
            guest.speak()
            m.qmp(("object-add", {"qom-type": "filter-dump", "id": "f", "netdev": "n", "file": "dump", "maxlen": 64}))
            if turn % 2:
                guest.work(60)
            m.qmp(("object-del", {"id": "f"}))
            m.qmp(("query-rx-filter", {"name": "c"}))
            guest.work(60)


@test
def link():
    """What comes while the cable is out is lost, and no more."""
    with Tap() as tap, Machine(KILN, card(tap)) as m:
        guest = Guest(m, tap)
        guest.work(lossless=False)
        for turn in range(8):
            name = "cn"[turn % 2]
            m.qmp(("set_link", {"name": name, "up": False}))
            guest.look(False)
            m.qmp(("set_link", {"name": name, "up": True}))
            guest.work(lossless=False)
            guest.work(20)


@test
def resets():
    """Of the device, of the machine and of the receiving queue. A new ring takes what comes from then on."""
    with Tap() as tap, Machine(KILN, card(tap)) as m:
        for turn in range(12):
            guest = Guest(m, tap, features=RING_RESET)
            guest.work(60, lossless=False)
            if turn % 3 == 0:
                m.qmp(("system_reset", {}))
            elif turn % 3 == 1:
                guest.look(False)
                guest.restart_rx()
                guest.work(60, lossless=False)


@test
def netdev_gone():
    with Tap() as tap:
        for _ in range(4):
            with Machine(KILN, card(tap)) as m:
                Guest(m, tap).work(60, lossless=False)
                m.qmp(("netdev_del", {"id": "n"}))
                guest = Guest(m, tap)
                for i in range(5):      # to nobody
                    guest.pairs[0].send(i, 100)
                    v.wait(guest.pairs[0].all_sent)


@test
def plug():
    with Tap() as tap, Machine(KILN, ["-nodefaults"]) as m:
        for _ in range(6):
            m.qmp(("netdev_add", tap.options), ("device_add", {"driver": "virtio-net-pci", "id": "c", "netdev": "n", "addr": "4"}))
            Guest(m, tap).work(60, lossless=False)
            m.qmp(("device_del", {"id": "c"}))
            m.outl(PCI_EJ, 1 << 4)
            v.wait(lambda: not m.qmp(("query-rx-filter", {}))[0])
            m.qmp(("netdev_del", {"id": "n"}))


@test
def pairs():
    """More and fewer of them, while packets come by all; stop and moves meanwhile."""
    with Tap(queues=3) as tap, Machine(KILN, card(tap, ",mq=on,vectors=8")) as m:
        guest = Guest(m, tap, 3, MQ)
        for turn, active in enumerate((3, 1, 2, 3, 2, 1, 3)):
            assert guest.command(b"\4\0" + struct.pack("<H", active)) == 0
            guest.active = active
            guest.work(60, lossless=False)
            if turn % 2:
                m.qmp(("stop", {}), ("cont", {}))
            else:
                m.qmp(("set_link", {"name": "n", "up": False}), ("set_link", {"name": "n", "up": True}))
            guest.work(60, lossless=False)
        m.qmp(("system_reset", {}))
        Guest(m, tap).work(60, lossless=False)


@test
def another_process_goes_on():
    """With the state of a card that was busy; the packets that waited in the kernel come to it."""
    with Tap() as tap:
        guest = ram = state = None
        for turn in range(4):
            with Machine(KILN, card(tap)) as m:
                if turn:
                    guest.arrive(m, ram, state)
                    m.qmp(("cont", {}))
                else:
                    guest = Guest(m, tap)
                guest.work(lossless=False)
                guest.speak()
                m.qmp(("stop", {}))
                state = m.save()
                p = guest.pairs[0]
                ram = [(at, m.read(at, size)) for at, size in ((p.base, 0x8000), (p.buffer(0, 0), BUFFER * SIZE),
                                                               (p.buffer(1, 0), BUFFER * SIZE), (v.RINGS, 0x1000))]


def inet_sum(data):
    data += b"\0" * (len(data) & 1)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def udp_packet(body, size=None, source=67, target=68, ihl=5, protocol=17, kind=0x0800):
    """With the sum of the pseudo header where the checksum belongs, as the host leaves it."""
    addresses = b"\x0a\0\0\1\xff\xff\xff\xff"
    size = 8 + len(body) if size is None else size
    pseudo = inet_sum(addresses + struct.pack(">HH", 17, size))
    head = struct.pack(">BBHHHBBH", 0x40 | ihl, 0, 4 * ihl + 8 + len(body), 1, 0, 64, protocol, 0) + addresses + bytes(4 * (ihl - 5))
    head = head[:10] + struct.pack(">H", ~inet_sum(head) & 0xFFFF) + head[12:]
    return b"\xff" * 6 + b"\x52\x54\0\0\0\1" + struct.pack(">H", kind) + head + struct.pack(">HHHH", source, target, size, pseudo) + body


def zero_sum(body):
    """The body, changed so that the checksum of its packet comes out as 0."""
    packet = udp_packet(body + bytes(2))
    pseudo = packet[26:34] + struct.pack(">HH", 17, len(packet) - 34)
    return body + struct.pack(">H", 0xFFFF - inet_sum(pseudo + packet[34:40] + bytes(2) + packet[42:]))


@test
def dhcp_checksums():
    """Old clients read DHCP's packets as they are, with checksums: what the host left out is filled in, and nothing else is
    touched, whatever the lengths in the packet say."""
    bodies = [bytes(i * 7 & 255 for i in range(n)) for n in (300, 301, 548, 22, 1400)]
    good = [udp_packet(body) for body in bodies + [zero_sum(bodies[0])]]
    bad = [udp_packet(bodies[0], size) for size in (0, 1, 7, 309, 1000, 65535)]
    bad += [udp_packet(bodies[0], **other) for other in ({"source": 68}, {"target": 67}, {"ihl": 6}, {"protocol": 6}, {"kind": 0x86DD})]
    bad += [udp_packet(bytes(n)) for n in (0, 8, 21, 1470)]
    short = udp_packet(bodies[0], 100)      # the checksum is of the 100 bytes that UDP's header speaks of
    with Tap(flood=False) as tap, Machine(KILN, card(tap)) as m, socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as out:
        out.setsockopt(263, 15, 1)          # SOL_PACKET, PACKET_VNET_HDR
        out.bind((NAME, 0))
        for turn in range(2):
            guest = Guest(m, tap, features=2)           # checksums may be left to the guest
            p = guest.pairs[0]
            out.send(bytes(10) + content(0, 64))        # until the interface is up these are lost
            while v.get16(m, p.ring(0)[2] + 2) == 0:
                out.send(bytes(10) + content(0, 64))
                time.sleep(0.01)
            for packet in [*good, short, *bad]:
                used = None
                out.send(struct.pack("<BBHHHH", 1, 0, 0, 0, 34, 6) + packet)
                while used is None or used[HEADER + 12:HEADER + 14] == struct.pack(">H", PROTOCOL):
                    v.wait(lambda: v.get16(m, p.ring(0)[2] + 2) != p.taken & 0xFFFF)
                    i, length = struct.unpack("<II", m.read(p.ring(0)[2] + 4 + 8 * (p.taken % SIZE), 8))
                    used = m.read(p.buffer(0, i), length)
                    p.taken += 1
                    p.give()
                assert used[10:12] == b"\1\0", used[:12].hex()
                got, size = used[HEADER:], struct.unpack_from(">H", packet, 38)[0]
                if packet in bad:
                    assert used[0] == 1 and got == packet, f"UDP length {size}: changed: {used[:60].hex()}"
                    continue
                assert not used[0] & 1, "the guest is told that the checksum is not there"
                assert got[:40] + got[42:] == packet[:40] + packet[42:], "more than the checksum was changed"
                pseudo = packet[26:34] + struct.pack(">HH", 17, size)
                assert inet_sum(pseudo + got[34:34 + size]) == 0xFFFF and got[40:42] != bytes(2), f"checksum {got[40:42].hex()}"
            m.qmp(("object-add", {"qom-type": "filter-dump", "id": f"f{turn}", "netdev": "n", "file": "dump"}))  # copies, then


USO4, USO6, HOST_USO, OFFLOADS = 1 << 54, 1 << 55, 1 << 56, 1 << 2
BUNDLES = ",host_uso=on,guest_uso4=on,guest_uso6=on"
SIOCSIFADDR, SIOCSIFNETMASK, SIOCSARP, UDP_SEGMENT = 0x8916, 0x891C, 0x8955, 103
HOST_IP, GUEST_IP, GUEST_MAC = "10.77.0.1", "10.77.0.2", b"\x52\x54\0\x12\x34\x56"
PART, PARTS = 700, 20


def inet(address, port=0):
    return struct.pack("=HH4s8x", socket.AF_INET, socket.htons(port), socket.inet_aton(address))


def udp_socket():
    """Of the host, which has an address on the interface and knows the guest's."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    fcntl.ioctl(s, SIOCSIFADDR, struct.pack("16s16s", NAME.encode(), inet(HOST_IP)))
    fcntl.ioctl(s, SIOCSIFNETMASK, struct.pack("16s16s", NAME.encode(), inet("255.255.255.0")))
    hardware = struct.pack("=H6s8x", 1, GUEST_MAC)
    fcntl.ioctl(s, SIOCSARP, inet(GUEST_IP) + hardware + struct.pack("=i16s16s", 6, bytes(16), NAME.encode()))
    s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
    s.settimeout(100)
    s.bind((HOST_IP, 5000))
    return s


def host_mac(s):
    return fcntl.ioctl(s, 0x8927, struct.pack("16s16x", NAME.encode()))[18:24]


def bundle(seed):
    return b"".join(bytes([seed, i]) * (PART // 2) for i in range(PARTS))


def send_bundle(guest, s, seed):
    """The guest's, with header: UDP packets of PART bytes to the host's socket, in one."""
    p, body = guest.pairs[0], bundle(seed)
    packet = udp_packet(body, source=4000, target=5000)
    ip = packet[14:24] + bytes(2) + socket.inet_aton(GUEST_IP) + socket.inet_aton(HOST_IP)
    ip = ip[:10] + struct.pack(">H", ~inet_sum(ip) & 0xFFFF) + ip[12:]
    pseudo = inet_sum(ip[12:20] + struct.pack(">HH", 17, 8 + len(body)))
    packet = host_mac(s) + GUEST_MAC + packet[12:14] + ip + packet[34:40] + struct.pack(">H", pseudo) + body
    data = struct.pack("<BBHHHHH", 1, 5, 42, PART, 34, 6, 0) + packet
    i = p.put % SIZE                    # the buffer reaches over the next ones, which are not in use
    guest.m.write(p.buffer(1, 0), data)
    guest.m.write(p.ring(1)[0] + 16 * i, v.descriptor(p.buffer(1, 0), len(data), 0))
    p.put += 1
    v.put16(guest.m, p.ring(1)[1] + 2, p.put & 0xFFFF)
    p.kick(1)
    v.wait(p.all_sent)
    for part in range(PARTS):
        got = s.recv(65536)
        assert got == body[PART * part:PART * (part + 1)], f"datagram {part}: {len(got)} bytes, {got[:4].hex()}"


def receive_udp(guest):
    """The next packet of UDP that comes to the guest: GSO type and size, content."""
    p = guest.pairs[0]
    while True:
        parts, want = [], 1
        while len(parts) < want:
            used = p.ring(0)[2]
            v.wait(lambda: v.get16(guest.m, used + 2) != p.taken & 0xFFFF)
            i, length = struct.unpack("<II", guest.m.read(used + 4 + 8 * (p.taken % SIZE), 8))
            parts.append(guest.m.read(p.buffer(0, i), length))
            p.taken += 1
            want = struct.unpack_from("<H", parts[0], 10)[0]
        p.give()
        data = b"".join(parts)
        if data[HEADER + 12:HEADER + 14] == b"\x08\0" and data[HEADER + 23] == 17:
            return data[1], struct.unpack_from("<H", data, 4)[0], data[HEADER + 42:]


def find_guest(guest, s):
    """Until the interface is up packets are lost. From then on the socket sends bundles."""
    p = guest.pairs[0]
    s.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)
    while v.get16(guest.m, p.ring(0)[2] + 2) == p.taken & 0xFFFF:
        s.sendto(b"hello", (GUEST_IP, 4000))
        time.sleep(0.01)
    s.sendto(b"the last hello", (GUEST_IP, 4000))
    while receive_udp(guest)[2] != b"the last hello":
        pass
    s.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, PART)


def check_bundles(guest, s, whole, seed):
    """Both ways between a socket of the host and the guest."""
    send_bundle(guest, s, seed)
    s.sendto(bundle(seed + 1), (GUEST_IP, 4000))
    if whole:
        assert receive_udp(guest) == (5, PART, bundle(seed + 1))
        return
    for part in range(PARTS):
        kind, _, content_of = receive_udp(guest)
        assert (kind, content_of) == (0, bundle(seed + 1)[PART * part:PART * (part + 1)]), f"packet {part} of type {kind}"


@test
def bundles_of_datagrams():
    """UDP_SEGMENT's, between a socket of the host and the guest, who switches them off and on; and by another process, whose
    card must offer them, too."""
    features = USO4 | USO6 | HOST_USO | OFFLOADS | 3
    with Tap(flood=False) as tap, udp_socket() as s:
        with Machine(KILN, card(tap, BUNDLES)) as m:
            v.map_function(m)
            v.modern_common(m, 0, 4, 1)
            if not v.modern_common(m, 4, 4) >> 24 & 1:
                raise Skip("the kernel's taps do not know bundles of UDP packets")
            guest = Guest(m, tap, features=features)
            find_guest(guest, s)
            for seed in range(0, 12, 4):
                check_bundles(guest, s, True, seed)
                assert guest.command(b"\5\0" + struct.pack("<Q", 2)) == 0
                check_bundles(guest, s, False, seed + 2)
                assert guest.command(b"\5\0" + struct.pack("<Q", 2 | USO4 | USO6 | HOST_USO)) == 1
                assert guest.command(b"\5\0" + struct.pack("<Q", 2 | USO4 | USO6)) == 0
            m.qmp(("stop", {}))
            state, p = m.save(), guest.pairs[0]
            ram = [(at, m.read(at, size)) for at, size in ((p.base, 0x8000), (v.RINGS, 0x1000))]
        offloads = struct.pack(">Q", 2 | USO4 | USO6)
        assert state.count(offloads) == 1, "the state has the offloads elsewhere"
        with Machine(KILN, card(tap)) as m:
            refused = m.load(state)
            assert refused and "not offered" in refused, refused
        with Machine(KILN, card(tap, BUNDLES)) as m:
            refused = m.load(state.replace(offloads, struct.pack(">Q", 2 | USO4 | USO6 | HOST_USO)))
            assert refused and "not negotiated" in refused, refused
            for at, data in ram:
                m.write(at, data)
            refused = m.load(state)
            assert refused is None, refused
            guest.m = p.m = m
            m.qmp(("cont", {}))
            find_guest(guest, s)
            check_bundles(guest, s, True, 100)


def next_udp(guest, s, data):
    """What comes next; until something does, this is sent again and again."""
    p = guest.pairs[0]
    while v.get16(guest.m, p.ring(0)[2] + 2) == p.taken & 0xFFFF:
        s.sendto(data, (GUEST_IP, 4000))
        time.sleep(0.005)
    return receive_udp(guest)


@test
def bundles_behind_a_filter():
    """The tap hears of changed offloads a little later than the card, since it is in another thread: what comes in the old form
    meanwhile is lost, and none in that form comes behind the command's answer. The dump has packets without headers."""
    with Tap(flood=False) as tap, udp_socket() as s, Machine(KILN, card(tap, BUNDLES)) as m:
        v.map_function(m)
        v.modern_common(m, 0, 4, 1)
        if not v.modern_common(m, 4, 4) >> 24 & 1:
            raise Skip("the kernel's taps do not know bundles of UDP packets")
        m.qmp(("object-add", {"qom-type": "filter-dump", "id": "f", "netdev": "n", "file": "dump"}))
        guest = Guest(m, tap, features=USO4 | USO6 | HOST_USO | OFFLOADS | 3)
        find_guest(guest, s)
        p = guest.pairs[0]
        for seed in range(12):
            s.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, PART)
            while next_udp(guest, s, bundle(seed)) != (5, PART, bundle(seed)):
                pass
            send_bundle(guest, s, seed)
            s.sendto(bundle(seed), (GUEST_IP, 4000))
            assert guest.command(b"\5\0" + struct.pack("<Q", 2)) == 0
            came, content_of = v.get16(m, p.ring(0)[2] + 2), None
            while p.taken & 0xFFFF != came:         # before the answer
                receive_udp(guest)
            while content_of != bundle(seed)[:PART]:
                kind, _, content_of = next_udp(guest, s, bundle(seed))
                assert kind == 0, "a bundle comes to a guest that takes none any more"
            s.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)
            while next_udp(guest, s, b"the last of %d" % seed)[2] != b"the last of %d" % seed:
                pass
            assert guest.command(b"\5\0" + struct.pack("<Q", 2 | USO4 | USO6)) == 0
        with open("dump", "rb") as f:
            dump = f.read()
        kinds, at = set(), 24
        while at < len(dump):
            kinds.add(dump[at + 28:at + 30])
            at += 16 + struct.unpack_from("<I", dump, at + 8)[0]
        assert b"\x08\0" in kinds and len(kinds) < 5, f"packets do not begin with their Ethernet header: {kinds}"


sys.exit(main("kiln-virtio-net-tap."))
