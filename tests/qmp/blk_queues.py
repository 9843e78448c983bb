# SPDX-License-Identifier: GPL-2.0-or-later
"""A driver of a virtio disk with several queues, through qtest."""
import busy_virtio as v

QUEUES, AT_ONCE, SLOT = 3, 5, 0x4000
RING_RESET = 1 << 40
READ, WRITE, FLUSH, DISCARD, ZEROES = 0, 1, 4, 11, 13
UNMAP = 1        # ZEROES may


class Queue:
    """Requests of a sector, or up to 15 KiB, each; slot i of queue n has descriptors 3i to 3i + 2 and 16 KiB of its own."""

    def __init__(self, m, index):
        self.m, self.index, self.put, self.taken = m, index, 0, 0
        base = v.RAM + 0x20000 * index
        self.desc, self.avail, self.used, self.data = (base + 0x4000 * i for i in range(4))

    def areas(self):
        return self.desc, self.avail, self.used

    def add(self, kind, sector, fill=None, size=512, publish=True):
        slot = self.put % AT_ONCE
        page = self.data + SLOT * slot
        self.m.write(page, kind.to_bytes(4, "little") + bytes(4) + sector.to_bytes(8, "little") + b"\xff")
        if fill is not None:
            self.m.write(page + 512, bytes([fill]) * size)
        pieces = [(page, 16, 0), (page + 512, size, 0 if kind in (WRITE, DISCARD, ZEROES) else 2), (page + 16, 1, 2)]
        if kind == FLUSH:
            del pieces[1]
        for i, (address, length, flags) in enumerate(pieces):
            last = i == len(pieces) - 1
            self.m.write(self.desc + 16 * (3 * slot + i), v.descriptor(address, length, flags | (not last), 0 if last else 3 * slot + i + 1))
        v.put16(self.m, self.avail + 4 + 2 * (self.put % 16), 3 * slot)
        self.put += 1
        if publish:
            self.publish()

    def add_range(self, kind, sector, count, flags=0):
        """DISCARD or ZEROES."""
        page = self.data + SLOT * (self.put % AT_ONCE)
        self.add(kind, 0, None, 16, publish=False)
        self.m.write(page + 512, sector.to_bytes(8, "little") + count.to_bytes(4, "little") + flags.to_bytes(4, "little"))
        self.publish()

    def publish(self):
        v.put16(self.m, self.avail + 2, self.put)

    def kick(self):
        self.m.ask(f"writew 0x{v.BAR + 0x3000 + 4 * self.index:x} {self.index}")

    def done(self):
        return v.get16(self.m, self.used + 2) == self.put

    def statuses(self):
        return [self.m.read(self.data + SLOT * (n % AT_ONCE) + 16, 1)[0] for n in range(max(0, self.put - AT_ONCE), self.put)]

    def begin(self, kind, sector, fill=None):
        self.add(kind, sector, fill)
        self.kick()

    def end(self):
        """All of them, well."""
        v.wait(self.done)
        assert not any(self.statuses()), f"queue {self.index}: {self.statuses()}"

    def one(self, kind, sector, fill=None):
        self.begin(kind, sector, fill)
        v.wait(self.done)
        assert self.statuses()[-1] == 0, f"queue {self.index}: status {self.statuses()[-1]}"
        return self.m.read(self.data + SLOT * ((self.put - 1) % AT_ONCE) + 512, 512)

    def fill(self, seed):
        """As many requests as go at once, of every kind."""
        for i in range(AT_ONCE):
            kind = (WRITE, READ, WRITE, FLUSH, READ)[i]
            self.add(kind, 100 + 50 * self.index + i, seed & 0xFF if kind == WRITE else None)
        self.kick()


def start(m, count=QUEUES):
    queues = [Queue(m, i) for i in range(count)]
    for q in queues:
        m.write(q.desc, bytes(0xC000))
    v.start_rings(m, v.VERSION_1 | v.CACHE | 1 << 12 | RING_RESET, {q.index: q.areas() for q in queues})
    return queues
