# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest made of a card's driver and a few protocols, through qtest: what goes over the wire of a virtual network."""
import os
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "state"))
from machine import Machine  # noqa: E402  pylint: disable=wrong-import-position,unused-import

PATIENCE = 120      # seconds, for a machine under load; what works never waits so long
BAR = 0xE0000000
TX_RING, RX_RING, TX_DATA, RX_DATA = 0x200000, 0x210000, 0x300000, 0x400000
SLOTS = 32
RCTL, TCTL, RDBAL, RDLEN, RDH, RDT = 0x100, 0x400, 0x2800, 0x2808, 0x2810, 0x2818
TDBAL, TDLEN, TDH, TDT, STATUS, ICR = 0x3800, 0x3808, 0x3810, 0x3818, 0x8, 0xC0
BROADCAST = b"\xff" * 6


class Card:
    """What both drivers have. Heirs have m, poll, which gives a packet that has come or None, and meanwhile, called between two
    polls."""

    def meanwhile(self):
        pass

    def receive(self, wanted=lambda frame: True):
        """The next packet that is wanted; others are dropped. The guest's clock goes on meanwhile."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            frame = self.poll()
            self.meanwhile()
            if frame is None:
                self.m.step(1_000_000)
                time.sleep(0.001)
            elif wanted(frame):
                return frame
        raise AssertionError("no packet came")


class E1000(Card):
    """Driver of the card at this slot."""

    def __init__(self, m, slot=5, mac="52:54:00:12:34:56", bar=BAR):
        self.m, self.devfn, self.bar = m, slot << 3, bar
        self.mac = bytes.fromhex(mac.replace(":", ""))
        m.config(self.devfn, 0x10, bar)
        m.config(self.devfn, 4, 7, 2)
        for i in range(SLOTS):
            m.writeq(RX_RING + i * 16, RX_DATA + i * 0x1000)
            m.writeq(RX_RING + i * 16 + 8, 0)
        for register, value in ((TDBAL, TX_RING), (TDLEN, SLOTS * 16), (TDH, 0), (TDT, 0), (TCTL, 2), (RDBAL, RX_RING),
                                (RDLEN, SLOTS * 16), (RDH, 0), (RDT, SLOTS - 1), (RCTL, 0x8002)):
            self.write(register, value)
        m.step(1_100_000_000)
        self.tx = self.rx = 0

    def read(self, register):
        return self.m.readl(self.bar + register)

    def write(self, register, value):
        self.m.writel(self.bar + register, value)

    def send(self, frame):
        self.m.write(TX_DATA, frame)
        at = TX_RING + self.tx * 16
        self.m.writeq(at, TX_DATA)
        self.m.writeq(at + 8, len(frame) | 0x09000000)
        self.tx = (self.tx + 1) % SLOTS
        self.write(TDT, self.tx)

    def poll(self):
        """A packet that has come, or None."""
        at = RX_RING + self.rx * 16
        if not int(self.m.ask(f"readb 0x{at + 12:x}"), 16) & 1:
            return None
        size = int(self.m.ask(f"readw 0x{at + 8:x}"), 16) - 4
        frame = self.m.read(RX_DATA + self.rx * 0x1000, size)
        self.m.writeq(at + 8, 0)
        self.write(RDT, self.rx)
        self.rx = (self.rx + 1) % SLOTS
        return frame

    def nothing_comes(self, turns=50):
        for _ in range(turns):
            frame = self.poll()
            assert frame is None, frame
            self.m.step(1_000_000)
            time.sleep(0.001)


def checksum(data):
    data += b"\0" * (len(data) & 1)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def address(text):
    return bytes(int(part) for part in text.split("."))


class Host:
    """A guest's IPv4 over a card."""

    def __init__(self, nic, ip="0.0.0.0", gateway="10.0.2.2"):
        self.nic, self.ip, self.gateway, self.router, self.ident = nic, address(ip), address(gateway), BROADCAST, 1

    def arp(self, target):
        """The Ethernet address of target."""
        mac = self.nic.mac
        packet = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1) + mac + self.ip + bytes(6) + address(target)
        self.nic.send((BROADCAST + mac + b"\x08\x06" + packet).ljust(60, b"\0"))
        reply = self.nic.receive(lambda f: f[12:14] == b"\x08\x06" and f[20:22] == b"\0\2" and f[28:32] == address(target))
        return reply[22:28]

    def find_router(self):
        self.router = self.arp(".".join(map(str, self.gateway)))

    def answer(self, frame):
        """Answers those who ask for our Ethernet address. True if that was it."""
        if frame[12:14] == b"\x08\x06" and frame[20:22] == b"\0\1" and frame[38:42] == self.ip:
            packet = frame[14:20] + b"\0\2" + self.nic.mac + self.ip + frame[22:32]
            self.nic.send((frame[6:12] + self.nic.mac + b"\x08\x06" + packet).ljust(60, b"\0"))
            return True
        return False

    def receive(self, protocol, wanted):
        """Payload of the next IPv4 packet of this protocol that is wanted, and its sender."""
        def test(frame):
            if self.answer(frame) or frame[12:14] != b"\x08\x00" or frame[23] != protocol:
                return False
            return wanted(frame[34:14 + struct.unpack_from(">H", frame, 16)[0]])
        frame = self.nic.receive(test)
        assert checksum(frame[14:34]) == 0
        return frame[34:14 + struct.unpack_from(">H", frame, 16)[0]], frame[26:30]

    def send(self, protocol, target, payload):
        self.ident += 1
        head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), self.ident, 0, 64, protocol, 0) + self.ip + target
        head = head[:10] + struct.pack(">H", checksum(head)) + head[12:]
        self.nic.send((self.router + self.nic.mac + b"\x08\x00" + head + payload).ljust(60, b"\0"))

    # ---- UDP

    def send_udp(self, target, port, source, data):
        self.send(17, target, struct.pack(">HHHH", source, port, 8 + len(data), 0) + data)

    def receive_udp(self, port):
        payload, sender = self.receive(17, lambda p: struct.unpack_from(">H", p, 2)[0] == port)
        return payload[8:], sender, struct.unpack_from(">H", payload)[0]

    def dhcp(self, kind, requested=None):
        """Sends a DISCOVER (1) or REQUEST (3); {option: value} of the answer to it, with "address"."""
        self.ident += 1
        options = bytes([53, 1, kind]) + (b"\x32\x04" + requested if requested else b"") + b"\xff"
        bootp = struct.pack(">BBBBIHH", 1, 1, 6, 0, 0x4B494C4E + self.ident, 0, 0x8000) + bytes(16) + self.nic.mac.ljust(16, b"\0")
        bootp = bootp.ljust(236, b"\0") + b"\x63\x82\x53\x63" + options
        self.send_udp(b"\xff" * 4, 67, 68, bootp)
        number = bootp[4:8]
        data = self.receive(17, lambda p: p[2:4] == b"\0\x44" and p[12:16] == number)[0][8:]
        found = {"address": data[16:20], "next": data[20:24], "file": data[108:236].split(b"\0")[0]}
        at = 240
        while data[at] != 255:
            if data[at] == 0:
                at += 1
                continue
            found[data[at]] = data[at + 2:at + 2 + data[at + 1]]
            at += 2 + data[at + 1]
        return found

    def tftp(self, name):
        """A file of the gateway; None when it has none."""
        self.send_udp(self.gateway, 69, 4000, b"\0\1" + name.encode() + b"\0octet\0")
        got, block = b"", 1
        while True:
            data, _, port = self.receive_udp(4000)
            kind, number = struct.unpack_from(">HH", data)
            if kind == 5:
                return None
            if number == block & 0xFFFF:
                got += data[4:]
                self.send_udp(self.gateway, port, 4000, struct.pack(">HH", 4, number))
                block += 1
                if len(data) < 516:
                    return got

    # ---- ICMP, TCP

    def ping(self, target, data=b"hello"):
        packet = struct.pack(">BBHHH", 8, 0, 0, 7, 9) + data
        packet = packet[:2] + struct.pack(">H", checksum(packet)) + packet[4:]
        self.send(1, address(target), packet)
        return self.receive(1, lambda p: p[0] == 0 and p[4:8] == packet[4:8])[0][8:]


class Tcp:
    """One connection: in order, without loss, as a virtual network is."""
    FIN, SYN, PUSH, ACK = 1, 2, 8, 16

    def __init__(self, host, port):
        self.host, self.port, self.sent, self.seen = host, port, 1000, 0
        self.peer = self.peer_port = None

    def segment(self, flags, data=b""):
        head = struct.pack(">HHIIBBHHH", self.port, self.peer_port, self.sent & 0xFFFFFFFF, self.seen & 0xFFFFFFFF, 0x50,
                           flags, 20000, 0, 0)
        pseudo = self.host.ip + self.peer + struct.pack(">HH", 6, len(head) + len(data))
        head = head[:16] + struct.pack(">H", checksum(pseudo + head + data)) + head[18:]
        self.host.send(6, self.peer, head + data)
        self.sent += len(data) + bool(flags & (self.SYN | self.FIN))

    def take(self):
        """Flags and data of the next segment that goes on where we are."""
        def mine(p):
            source, target, seq = struct.unpack_from(">HHI", p)
            size = len(p) - (p[12] >> 4) * 4 + bool(p[13] & 3)
            return target == self.port and source == self.peer_port and (seq == self.seen & 0xFFFFFFFF and size or p[13] & 4)
        p, _ = self.host.receive(6, mine)
        assert not p[13] & 4, "the connection was reset"
        data = p[(p[12] >> 4) * 4:]
        self.seen += len(data) + bool(p[13] & (self.SYN | self.FIN))
        return p[13], data

    def accept(self):
        """Waits for a connection to our port."""
        p, self.peer = self.host.receive(6, lambda p: struct.unpack_from(">H", p, 2)[0] == self.port and p[13] & 0x12 == 2)
        self.peer_port, _, seq = struct.unpack_from(">HHI", p)
        self.seen = seq + 1
        self.segment(self.SYN | self.ACK)

    def connect(self, target, port):
        self.peer, self.peer_port = address(target), port
        self.segment(self.SYN)
        p, _ = self.host.receive(6, lambda p: struct.unpack_from(">HH", p) == (port, self.port))
        assert p[13] & 0x12 == 0x12, f"refused: flags 0x{p[13]:x}"
        self.seen = struct.unpack_from(">I", p, 4)[0] + 1
        self.segment(self.ACK)

    def read(self, size):
        data = b""
        while len(data) < size:
            flags, part = self.take()
            data += part
            self.segment(self.ACK)
            if flags & self.FIN:
                break
        return data

    def write(self, data):
        for at in range(0, len(data), 1400):
            self.segment(self.ACK | self.PUSH, data[at:at + 1400])
            if at % 14000 == 12600:     # the window of the other side
                self.drain()

    def drain(self):
        """Until all that was sent is acknowledged."""
        self.host.receive(6, lambda p: struct.unpack_from(">H", p, 2)[0] == self.port and
                          struct.unpack_from(">I", p, 8)[0] == self.sent & 0xFFFFFFFF)
