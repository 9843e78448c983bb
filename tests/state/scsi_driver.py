# SPDX-License-Identifier: GPL-2.0-or-later
"""A small virtio-scsi driver (modern registers, split rings) over machine.py, for Kiln and for QEMU."""
import time

from machine import differences

RAM = 0x100000          # rings and headers in 48 KiB, data behind them
SLOT = 4 << 3
BAR, MSIX_BAR, PORTS = 0xE0000000, 0xE1000000, 0xC000
CONTROL, EVENTS, COMMANDS = 0, 1, 2
DATA = RAM + 0xC000
VERSION_1, INOUT, HOTPLUG, CHANGE = 1 << 32, 1, 2, 4
# virtio_scsi_cmd_resp.response
OK, OVERRUN, ABORTED, BAD_TARGET, RESET, BUSY, TRANSPORT, TARGET_FAILURE, NEXUS, FAILURE = range(10)
TMF_COMPLETE, TMF_SUCCEEDED, TMF_REJECTED = 0, 10, 11


def lun8(target, lun, flat=True):
    """The 8 bytes of an address."""
    return bytes((1, target, (0x40 if flat else 0) | lun >> 8, lun & 0xFF, 0, 0, 0, 0))


def take_over(m, ram, state):
    """A stopped machine goes on from where another one was: its state of SCSI devices is the same then."""
    m.write(RAM, ram)
    refused = m.load(state)
    assert refused is None, refused
    other = [d for d in differences(state, m.save()) if "scsi" in d]
    assert not other, other


def sense_text(sense):
    """key/asc/ascq."""
    return f"{sense[2] & 15:x}/{sense[12]:02x}/{sense[13]:02x}" if len(sense) >= 14 else ""


class Ring:
    def __init__(self, driver, index, size=16):
        self.driver, self.index, self.size = driver, index, size
        self.base = RAM + 0x4000 * index
        self.desc, self.avail, self.used, self.page = self.base, self.base + 0x400, self.base + 0x800, self.base + 0x1000
        self.given = self.seen = 0
        self.free = list(range(size))

    def setup(self):
        d = self.driver
        d.m.write(self.base, bytes(0x1000))
        self.given = self.seen = 0
        self.free = list(range(self.size))
        d.common(22, 2, self.index)
        d.common(24, 2, self.size)
        for at, address in ((32, self.desc), (40, self.avail), (48, self.used)):
            d.common(at, 4, address)
            d.common(at + 4, 4, 0)
        d.common(28, 2, 1)

    def add(self, pieces):
        """Pieces (address, length, does the device write it). Returns the head."""
        m = self.driver.m
        slots = [self.free.pop(0) for _ in pieces]
        for i, (address, length, write) in enumerate(pieces):
            more = i + 1 < len(pieces)
            m.write(self.desc + 16 * slots[i], address.to_bytes(8, "little") + length.to_bytes(4, "little")
                    + ((2 if write else 0) | more).to_bytes(2, "little") + (slots[i + 1] if more else 0).to_bytes(2, "little"))
        m.write(self.avail + 4 + 2 * (self.given % self.size), slots[0].to_bytes(2, "little"))
        self.given += 1
        m.write(self.avail + 2, (self.given & 0xFFFF).to_bytes(2, "little"))
        self.driver.kick(self.index)
        return slots[0], slots

    def take(self):
        """(head, bytes written) or None."""
        m = self.driver.m
        if int.from_bytes(m.read(self.used + 2, 2), "little") == self.seen & 0xFFFF:
            return None
        entry = m.read(self.used + 4 + 8 * (self.seen % self.size), 8)
        self.seen += 1
        return int.from_bytes(entry[:4], "little"), int.from_bytes(entry[4:], "little")

    def wait(self):
        end = time.monotonic() + 100
        while True:
            got = self.take()
            if got:
                return got
            assert time.monotonic() < end, "the device does not answer"
            time.sleep(0.0005)


class Reply:
    def __init__(self, raw, data, written):
        self.sense = raw[12:12 + int.from_bytes(raw[:4], "little")]
        self.resid = int.from_bytes(raw[4:8], "little")
        self.status, self.response = raw[10], raw[11]
        self.data, self.written = data, written

    def __repr__(self):
        return f"response {self.response} status {self.status:02x} sense {sense_text(self.sense)} resid {self.resid} data {self.data.hex()}"


class Driver:
    data = DATA

    def __init__(self, m, slot=SLOT, queues=3):
        self.m, self.slot = m, slot
        m.config(slot, 0x10, PORTS)
        m.config(slot, 0x14, MSIX_BAR)
        m.config(slot, 0x20, BAR)
        m.config(slot, 0x04, 7, 2)
        self.rings = [Ring(self, i) for i in range(queues)]
        self.data = max(DATA, RAM + 0x4000 * queues)
        self.tag = 0

    def common(self, offset, size, value=None):
        letter = {1: "b", 2: "w", 4: "l"}[size]
        if value is None:
            return int(self.m.ask(f"read{letter} 0x{BAR + offset:x}"), 16)
        return self.m.ask(f"write{letter} 0x{BAR + offset:x} 0x{value:x}")

    def device(self, offset, size):
        return int.from_bytes(self.m.read(BAR + 0x2000 + offset, size), "little")

    def features(self):
        got = 0
        for word in range(2):
            self.common(0, 4, word)
            got |= self.common(4, 4) << 32 * word
        return got

    def kick(self, queue):
        self.m.ask(f"writew 0x{BAR + 0x3000 + 4 * queue:x} {queue}")

    def start(self, features=VERSION_1):
        self.common(20, 1, 0)
        self.common(20, 1, 3)
        for word in range(2):
            self.common(8, 4, word)
            self.common(12, 4, features >> 32 * word & 0xFFFFFFFF)
        self.common(20, 1, 11)
        for ring in self.rings:
            ring.setup()
        self.common(20, 1, 15)

    def begin(self, cdb, target=0, lun=0, out=b"", read=0, ring=COMMANDS, tag=None, address=None, place=0, cdb_size=32,
              sense_size=96):
        """Gives a command. out: data for the device; read: room for what it sends."""
        r, m = self.rings[ring], self.m
        page, data = r.page + 0x400 * place, self.data + 0x100000 * place
        self.tag += 1
        header = (address or lun8(target, lun)) + (self.tag if tag is None else tag).to_bytes(8, "little") + bytes(3)
        m.write(page, header + bytes(cdb) + bytes(cdb_size - len(cdb)))
        m.write(page + 0x200, b"\xee" * (12 + sense_size))
        pieces = [(page, 19 + cdb_size, False)]
        for at in range(0, len(out), 0x8000):
            m.write(data + at, out[at:at + 0x8000])
        if out:
            pieces.append((data, len(out), False))
        pieces.append((page + 0x200, 12 + sense_size, True))
        if read:
            m.write(data, b"\xee" * min(read, 0x1000))
            pieces.append((data, read, True))
        head, slots = r.add(pieces)
        return head, slots, page, data, read, sense_size

    def end(self, begun, ring=COMMANDS):
        head, slots, page, data, read, sense_size = begun
        got, written = self.rings[ring].wait()
        assert got == head, f"request {got} ended before {head}"
        self.rings[ring].free += slots
        raw = self.m.read(page + 0x200, 12 + sense_size)
        room = min(read, max(0, written - 12 - sense_size))
        parts = [self.m.read(data + at, min(0x8000, room - at)) for at in range(0, room, 0x8000)]
        return Reply(raw, b"".join(parts), written)

    def command(self, cdb, **kwargs):
        ring = kwargs.get("ring", COMMANDS)
        return self.end(self.begin(cdb, **kwargs), ring)

    def tmf(self, subtype, target=0, lun=0, tag=0, kind=0, address=None):
        """The response byte of a task management function (kind 0) or an asynchronous query."""
        r = self.rings[CONTROL]
        self.m.write(r.page, kind.to_bytes(4, "little") + subtype.to_bytes(4, "little") + (address or lun8(target, lun))
                     + tag.to_bytes(8, "little"))
        self.m.write(r.page + 0x200, b"\xee" * 8)
        _, slots = r.add([(r.page, 24 if kind == 0 else 16, False), (r.page + 0x200, 1 if kind == 0 else 5, True)])
        r.wait()
        r.free += slots
        return self.m.read(r.page + 0x200, 8)
