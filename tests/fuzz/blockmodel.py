# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk in memory beside one that an NBD server has: what each sector may hold, now, at moments that are kept, after a flush."""
import random
import struct
import threading
import time

import nbd

SECTOR = 512
LIMIT = 120  # seconds for what takes a fraction of one: only a hang meets it
ZEROS = bytes(SECTOR)


class Wrong(Exception):
    """The disk holds what it must not."""


def sector(number, generation):
    """What is written there in that generation; 0: nothing, it reads as zeros."""
    return struct.pack("<QQ", number, generation) * (SECTOR // 16) if generation else ZEROS


def content(first, generations):
    return b"".join([sector(first + i, generation) for i, generation in enumerate(generations)])


def generation_of(number, data):
    """Which generation such a sector is of; fails where it is of none, or of another place."""
    at, generation = struct.unpack_from("<QQ", data)
    if data != sector(number, generation) or generation and at != number:
        raise Wrong("sector %d holds %s..., not one of its generations (%d of sector %d)" %
                    (number, data[:16].hex(), generation, at))
    return generation


class Change:
    """Sectors that get a generation; whether the server has said so."""

    def __init__(self, first, count, generation, optional):
        self.first, self.count, self.generation = first, count, generation
        self.optional = optional  # the server may leave it, or have left it
        self.ended = None  # how many changes had ended then


class Moment:
    """What the disk may hold when it is frozen between here and close(): changes that ended before are there, later ones are not,
    those between may be."""

    def __init__(self, model):
        self.model, self.base, self.begin, self.end = model, list(model.generations), len(model.changes), None
        self.under_way = list(model.under_way)

    def close(self):
        with self.model.lock:
            self.end = len(self.model.changes)
        return self

    def check(self, data, what, size=None):
        """data: of a disk that was frozen then; of so many sectors of it, if it has not always had its size."""
        if size:
            self.base = self.base[:size]
            data = data[:len(self.base) * SECTOR]
        if len(data) != len(self.base) * SECTOR:
            raise Wrong("%s: %d bytes, not %d" % (what, len(data), len(self.base) * SECTOR))
        if data == content(0, self.base):
            return
        others = {}
        for change in self.under_way + self.model.changes[self.begin:self.end]:
            for number in range(change.first, change.first + change.count):
                others.setdefault(number, set()).add(change.generation)
        wrong = []
        for number, generation in enumerate(self.base):
            piece = data[number * SECTOR:(number + 1) * SECTOR]
            if piece != sector(number, generation):
                try:
                    found = generation_of(number, piece)
                except Wrong as why:
                    wrong.append(str(why))
                    continue
                allowed = others.get(number, ())
                if found not in allowed:
                    wrong.append("sector %d is of generation %d, not %d or %s" % (number, found, generation, sorted(allowed)))
        if wrong:
            raise Wrong("%s: %d sectors are wrong: %s" % (what, len(wrong), "; ".join(wrong[:5] + wrong[-1:])))


class Model:
    def __init__(self, generations):
        self.lock = threading.RLock()
        self.generations = generations
        self.changes, self.under_way, self.ended = [], [], 0
        self.next = max(generations, default=0) + 1
        self.flushed = Moment(self)  # what an image must hold whatever happens

    def moment(self):
        with self.lock:
            return Moment(self)

    def begin(self, first, count, kind):
        with self.lock:
            change = Change(first, count, self.next if kind == "write" else 0, kind == "trim")
            self.next += 1
            self.changes.append(change)
            self.under_way.append(change)
            return change

    def end(self, change, done=None):
        """done: the generations that the sectors have, if it is not the change's in all."""
        with self.lock:
            self.ended += 1
            change.ended = self.ended
            self.under_way.remove(change)
            self.generations[change.first:change.first + change.count] = done or [change.generation] * change.count

    def resize(self, sectors):
        """Nothing is under way there. What is new reads as zeros."""
        with self.lock:
            self.generations = self.generations[:sectors] + [0] * (sectors - len(self.generations))
            self.flushed = Moment(self)


class Bitmap:
    """The changes that a dirty bitmap must have."""

    def __init__(self, model):
        self.model, self.changes = model, []
        self.start()

    def start(self):
        with self.model.lock:
            self.first = len(self.model.changes)

    def sure(self):
        """What began and ended since."""
        with self.model.lock:
            since = self.model.changes[self.first:] if self.first is not None else []
            return self.changes + [change for change in since if change.ended and not change.optional]

    def stop(self):
        self.changes = self.sure()
        self.first = None

    def forget(self):
        self.changes = []
        if self.first is not None:
            self.start()

    def check(self, handle, what):
        """handle: a connection to an export that has it."""
        dirty, size, at = [], handle.get_size(), 0

        def extents(_context, offset, entries, _error):
            nonlocal at
            for length, flags in zip(entries[::2], entries[1::2]):
                dirty.extend([bool(flags)] * (length // SECTOR))
                offset += length
            at = offset

        while at < size:
            handle.block_status(min(size - at, 1 << 30), at, extents)
        for change in self.changes:
            if not all(dirty[change.first:change.first + change.count]):
                raise Wrong("%s lacks %d sectors at %d, generation %d" % (what, change.count, change.first, change.generation))


class Request:
    def __init__(self, kind, first, count, handle):
        self.kind, self.first, self.count, self.handle = kind, first, count, handle
        self.cookie = self.change = self.buffer = self.moment = None


class Client(threading.Thread):
    """Random requests over two connections, several under way, never two at one place where one of them writes."""
    DEPTH = 12

    def __init__(self, model, seed, uri):
        super().__init__(daemon=True)
        self.model, self.random, self.uri = model, random.Random(seed), uri
        self.handles, self.requests, self.unsure = [], [], []
        self.failure, self.count = None, 0
        self.gate = threading.Lock()  # of these two
        self.want_pause = threading.Event()
        self.paused = threading.Event()
        self.ending = False
        self.gone = False  # connections may end: the export is removed

    # ---- for the other thread ------------------------------------------------------------------

    def pause(self):
        """Returns when nothing is under way."""
        self.want_pause.set()
        if not self.paused.wait(LIMIT):
            raise Wrong("requests hang: %r" % [(r.kind, r.first, r.count) for r in self.requests])
        self.ask()

    def resume(self):
        with self.gate:
            self.want_pause.clear()
            self.paused.clear()

    def ask(self):
        if self.failure:
            raise self.failure

    def stop(self):
        self.pause()
        self.disconnect()
        self.ending = True
        self.resume()
        self.join(LIMIT)

    def connect(self):
        """While it pauses, or before it starts."""
        self.disconnect()
        for _ in range(2):
            handle = nbd.NBD()
            handle.connect_uri(self.uri)
            self.handles.append(handle)
        self.gone = False
        if self.handles[0].get_size() != len(self.model.generations) * SECTOR:
            raise Wrong("the export has %d bytes, not %d" % (self.handles[0].get_size(), len(self.model.generations) * SECTOR))
        for change in self.unsure:
            change.optional = True
            data = bytes(self.handles[0].pread(change.count * SECTOR, change.first * SECTOR))
            self.model.end(change, self.found(change.first, change.count, data, {change.generation}))
        self.unsure = []

    def disconnect(self):
        for handle in self.handles:
            try:
                handle.shutdown()
            except nbd.Error:
                pass
        self.handles = []

    # ---- requests -----------------------------------------------------------------------------------

    def found(self, first, count, data, allowed=()):
        """The generations of what was read."""
        expected = self.model.generations[first:first + count]
        if data == content(first, expected):
            return expected
        generations = [generation_of(first + i, data[i * SECTOR:(i + 1) * SECTOR]) for i in range(count)]
        for i, generation in enumerate(generations):
            if generation != expected[i] and generation not in allowed:
                raise Wrong("sector %d reads as generation %d, not %s" % (first + i, generation, [expected[i], *allowed]))
        return generations

    def place(self):
        total = len(self.model.generations)
        count = self.random.choice([1, 1, 2, 3, 7, 8, 8, 8, 16, 64, 128, 128, 129, 400, 1000])
        first = self.random.randrange(total)
        if self.random.random() < 0.3:
            first &= ~7
        if self.random.random() < 0.3:
            first = min(first & ~127, total - 1)
        return first, min(count, total - first)

    def free(self, first, count, reads):
        return all(r.kind == "flush" or (reads and r.kind == "read") or r.first + r.count <= first or first + count <= r.first
                   for r in self.requests)

    def submit(self):
        kind = self.random.choice(["write"] * 10 + ["read"] * 5 + ["zero"] * 2 + ["trim"] * 2 + ["flush"])
        first, count = self.place() if kind != "flush" else (0, 0)
        if not self.free(first, count, kind == "read"):
            return
        self.begin(Request(kind, first, count, self.random.choice(self.handles)))

    def begin(self, r):
        h, at, length = r.handle, r.first * SECTOR, r.count * SECTOR
        flags = self.random.choice([0, 0, 0, nbd.CMD_FLAG_FUA])
        if r.kind in ("write", "zero", "trim"):
            r.change = self.model.begin(r.first, r.count, r.kind)
        self.requests.append(r)
        try:
            if r.kind == "write":
                r.buffer = bytearray(content(r.first, [r.change.generation] * r.count))
                r.cookie = h.aio_pwrite(r.buffer, at, flags=flags)
            elif r.kind == "zero":
                r.cookie = h.aio_zero(length, at, flags=flags | self.random.choice([0, nbd.CMD_FLAG_NO_HOLE]))
            elif r.kind == "trim":
                r.cookie = h.aio_trim(length, at, flags=flags)
            elif r.kind in ("read", "look"):
                r.buffer = bytearray(length)  # of a Buffer, libnbd 1.14 forgets the memory
                r.cookie = h.aio_pread(r.buffer, at)
            else:
                r.moment = self.model.moment()
                r.cookie = h.aio_flush()
        except nbd.Error as why:
            self.lost(r, why)

    def lost(self, r, why):
        """Its connection ended: that must have a reason, and changes are there, or not."""
        self.requests.remove(r)
        if not self.gone:
            raise Wrong("%s of %d sectors at %d: %s" % (r.kind, r.count, r.first, why))
        if r.change:
            self.unsure.append(r.change)

    def finish(self, r):
        self.requests.remove(r)
        self.count += 1
        if r.kind in ("write", "zero"):
            self.model.end(r.change)
        elif r.kind == "trim":  # what was there, or zeros: a look decides
            again = Request("look", r.first, r.count, r.handle)
            again.change = r.change
            self.begin(again)
        elif r.kind in ("read", "look"):
            generations = self.found(r.first, r.count, r.buffer, (0,) if r.change else ())
            if r.change:
                self.model.end(r.change, generations)
        else:
            with self.model.lock:
                if len(r.moment.base) == len(self.model.generations):
                    self.model.flushed = r.moment

    def turn(self):
        if not self.want_pause.is_set() and not self.gone:
            for _ in range(4):
                if len(self.requests) < self.DEPTH:
                    self.submit()
        for handle in self.handles:
            try:
                if handle.aio_in_flight():
                    handle.poll(1)
            except nbd.Error as why:
                if not self.gone:
                    raise Wrong("the connection: %s" % why) from why
        for r in list(self.requests):
            try:
                if r.handle.aio_command_completed(r.cookie):
                    self.finish(r)
            except nbd.Error as why:
                self.lost(r, why)

    def run(self):
        try:
            while not self.ending:
                with self.gate:
                    idle = (self.want_pause.is_set() or self.gone) and not self.requests
                    if idle:
                        self.paused.set()
                if idle:
                    time.sleep(0.001)
                else:
                    self.turn()
        except Exception as why:  # the other thread tells
            self.failure = why if isinstance(why, Wrong) else Wrong("the client: %r" % why)
            self.requests = []
            self.paused.set()
