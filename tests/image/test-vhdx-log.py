#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The log of vhdx images: in which order Kiln writes entries, headers, the block table and blocks, recorded by blklogwrites; what
it replays of crafted logs, beside qemu-img; and blocks behind the first entry of sector bitmaps.

    test-vhdx-log.py KILN-IMG KILN-IO      (TAP)
"""
import os
import shutil
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from imgtest import ok, qemu, run, with_sum, write_recorded
from tap import main, test

KILN_IO = os.path.abspath(sys.argv[2])
HEADERS, MIB, SECTOR = (0x10000, 0x20000), 1 << 20, 4096
NONE = bytes(16)


class Header:
    def __init__(self, data):
        self.sound = data[:4] == b"head" and with_sum(data) == data
        self.sequence, = struct.unpack_from("<Q", data, 8)
        self.file, self.data, self.log = data[16:32], data[32:48], data[48:64]
        self.log_len, self.log_at = struct.unpack_from("<IQ", data, 68)


def header_of(content):
    """The one that counts, and where it is."""
    found = [(Header(content[at:at + SECTOR]), at) for at in HEADERS]
    return max((h for h in found if h[0].sound), key=lambda h: h[0].sequence)


class Entry:
    """Of the log, sound: what it has the file get."""

    def __init__(self, data):
        self.guid = data[32:48]
        magic, _, length, self.tail, self.sequence, count = struct.unpack_from("<4sIIIQI", data)
        assert magic == b"loge" and length == len(data) and with_sum(data) == data, "an entry that does not count"
        self.flushed, self.last = struct.unpack_from("<QQ", data, 48)
        front = (64 + 32 * count + SECTOR - 1) // SECTOR * SECTOR
        assert len(data) == front + count * SECTOR
        self.writes = {}
        for n in range(count):
            name, trailing, leading, offset, sequence = struct.unpack_from("<4s4s8sQQ", data, 64 + 32 * n)
            sector = data[front + n * SECTOR:front + (n + 1) * SECTOR]
            high, low = struct.unpack_from("<I", sector, 4)[0], struct.unpack_from("<I", sector, SECTOR - 4)[0]
            assert (name, sector[:4], sequence, high << 32 | low) == (b"desc", b"data", self.sequence, self.sequence)
            self.writes[offset] = leading + sector[8:-4] + trailing


class Order:
    """What was written and when, judged write by write."""

    def __init__(self, content, table_len):
        self.file = bytearray(content)
        self.table_end = 2 * MIB + table_len
        self.header, self.header_at = header_of(content)
        self.first = self.header
        self.renewed = False
        self.loose = []         # written since the last flush: "entry", "header", "table", "block"
        self.entry, self.entry_at = None, None
        self.counting = None    # the entry that the header names
        self.entries = 0

    def flush(self):
        self.loose = []

    def write(self, offset, data):
        end = offset + len(data)
        if offset in HEADERS:
            self.write_header(offset, Header(data))
        elif self.header.log_at <= offset < self.header.log_at + self.header.log_len:
            assert self.renewed
            self.write_entry(offset, data)
        elif 2 * MIB <= offset < self.table_end:
            self.write_table(offset, data)
        else:
            assert self.renewed, "a block before the first header"
            self.loose.append("block")
        self.file.extend(bytes(max(0, end - len(self.file))))
        self.file[offset:end] = data

    def write_header(self, offset, new):
        assert new.sound and offset != self.header_at and new.sequence > self.header.sequence
        assert "header" not in self.loose, "both headers under way"
        assert (new.log_at, new.log_len) == (self.header.log_at, self.header.log_len)
        if new.log == NONE:
            assert "table" not in self.loose and (not self.counting or self.applied()), "the log ends before the table is there"
            self.counting = None
        else:
            assert self.entry and new.log == self.entry.guid and not self.loose, "an entry counts before it and its blocks are there"
            self.counting = self.entry
        if not self.renewed:
            assert new.file != self.first.file and new.data != self.first.data, "a header for writing has new GUIDs"
        self.renewed = True
        self.header, self.header_at = new, offset
        self.loose.append("header")

    def write_entry(self, offset, data):
        new = Entry(data)
        assert not self.counting, "an entry while another one counts"
        assert new.tail == offset - self.header.log_at, "its tail is itself"
        assert offset + len(data) <= self.header.log_at + self.header.log_len
        if self.entry:
            assert new.sequence > self.entry.sequence and new.guid != self.entry.guid
            assert not (offset < self.entry_at[1] and self.entry_at[0] < offset + len(data)), "over one that may still count"
        assert new.flushed <= len(self.file) and new.last <= len(self.file), "of a file that is longer than it is"
        for content in new.writes.values():
            for value, in struct.iter_unpack("<Q", content):
                assert value & 7 != 6 or (value & ~0xfffff) + MIB <= new.last, "a block behind the end of the file"
        self.entry, self.entry_at = new, (offset, offset + len(data))
        self.entries += 1
        self.loose.append("entry")

    def write_table(self, offset, data):
        assert self.counting and "header" not in self.loose, "the table changes before its log is there"
        assert offset % SECTOR == 0 and len(data) % SECTOR == 0
        for at in range(0, len(data), SECTOR):
            assert self.counting.writes[offset + at] == data[at:at + SECTOR], "not what the log says"
        self.loose.append("table")

    def applied(self):
        return all(self.file[at:at + SECTOR] == data for at, data in self.counting.writes.items())


def judge_writes(size, table_len, groups):
    """How many log entries it took."""
    ok("create", "-q", "-f", "vhdx", "-o", "block_size=1M", "image", size)
    with open("image", "rb") as f:
        order = Order(f.read(), table_len)
    for offset, data, flush in write_recorded(KILN_IO, "vhdx", "image", groups):
        if flush:
            order.flush()
        else:
            order.write(offset, data)
    assert not order.counting and order.header.log == NONE
    with open("image", "rb") as f:
        assert f.read() == order.file, "what was not recorded"
    return order.entries


@test
def writes_come_in_order():
    groups = [[(3 * MIB * n, 4096), (3 * MIB * n + MIB + 512, 8192)] for n in range(8)] + [[(0, 512), (3 * MIB, 512)], [(23 * MIB, 512)]]
    assert judge_writes("24064k", MIB, groups) == 9  # the last block is whole in the file only


@test
def more_than_an_entry_takes():
    """Each of these blocks has its entry in another sector of the table."""
    places = [512 * MIB * n for n in range(280)]
    assert judge_writes("140G", 2 * MIB, [[(at, 4096) for at in places], [(at + MIB, 512) for at in places[::100]]]) == 4
    words = [word for at in places for word in ("-c", "read -P 1 %d 4k" % at)]
    assert "failed" not in ok("-f", "vhdx", *words, "image", tool="qemu-io")


# ---- crafted logs --------------------------------------------------------------------------------


def vhdx_image(name, log="1M"):
    ok("create", "-q", "-f", "vhdx", "-o", "log_size=" + log, name, "20M")
    ok("-f", "vhdx", "-c", "write -P 1 1M 64k", name, tool=KILN_IO)
    return name


def log_entry(size, descriptors, guid=b"g" * 16, sequence=7, tail=0, flushed=0, last=0):
    """For a file of so many bytes. descriptors are (offset, byte) of a sector of data or (offset, None, length) of zeros."""
    table = b"".join(struct.pack("<4s4sQQQ", b"zero", b"", d[2], d[0], sequence) if d[1] is None else
                     struct.pack("<4s4s8sQQ", b"desc", bytes([d[1]]) * 4, bytes([d[1]]) * 8, d[0], sequence) for d in descriptors)
    sectors = b"".join(b"data" + struct.pack("<I", sequence >> 32) + bytes([d[1]]) * 4084 + struct.pack("<I", sequence & 0xffffffff)
                       for d in descriptors if d[1] is not None)
    front = (64 + len(table) + SECTOR - 1) // SECTOR * SECTOR
    entry = struct.pack("<4sIIIQII16sQQ", b"loge", 0, front + len(sectors), tail, sequence, len(descriptors), 0, guid,
                        flushed or size, last or size) + table
    return with_sum(entry.ljust(front, b"\0") + sectors)


def put_log(name, *entries):
    """Entries, each with its place in the log, that count when their GUID is the header's; an end behind the log's is at its beginning."""
    with open(name, "r+b") as f:
        content = f.read(1 << 20)
        header, at = header_of(content)
        f.seek(at)
        f.write(with_sum(content[at:at + 48] + b"g" * 16 + content[at + 64:at + SECTOR]))
        for place, entry in entries:
            first = entry[:header.log_len - place]
            f.seek(header.log_at + place)
            f.write(first)
            f.seek(header.log_at)
            f.write(entry[len(first):] or f.read(0))


def write_log(name, descriptors, spoil=lambda entry: entry, **more):
    """One entry at the log's beginning; spoil changes it behind its sum. How large the file is."""
    size = os.path.getsize(name)
    put_log(name, (0, spoil(log_entry(size, descriptors, **more))))
    return size


def end_of(name, sectors):
    """The last ones, by their bytes."""
    with open(name, "rb") as f:
        f.seek(-sectors * SECTOR, os.SEEK_END)
        data = f.read()
    return [data[at] if len(set(data[at:at + SECTOR])) == 1 else None for at in range(0, len(data), SECTOR)]


@test
def a_vhdx_log_does_what_it_may():
    """Whole entries are replayed when the image is written, as qemu-img does; those that do not count are left; those that would write
    where none may are refused, and nothing is written then."""
    end = os.path.getsize(vhdx_image("image")) - 4096
    write_log("image", [(end, 0x55), (end - 4096, None, 4096)])
    with open("image", "rb") as a, open("theirs", "wb") as b:
        b.write(a.read())
    ok("-f", "vhdx", "-c", "read -P 1 1M 64k", "image", tool=KILN_IO)
    qemu("check", "-q", "-r", "all", "-f", "vhdx", "theirs")
    for name in ("image", "theirs"):
        with open(name, "rb") as f:
            f.seek(end - 4096)
            assert f.read() == bytes(4096) + b"\x55" * 4096, name
    for spoil in (lambda e: e[:4] + b"\1" + e[5:], lambda e: e[:8] + struct.pack("<I", 0xfffff000) + e[12:], lambda e: e[:12] +
                  struct.pack("<I", 4096) + e[16:], lambda e: with_sum(e[:24] + struct.pack("<I", 0xffffffff) + e[28:]),
                  lambda e: with_sum(e[:16] + bytes(8) + e[24:]), lambda e: with_sum(e[:64] + b"what" + e[68:]), lambda e: e[:100]):
        write_log(vhdx_image("image"), [(end, 0x55)], spoil=spoil)
        ok("-f", "vhdx", "-c", "read -P 1 1M 64k", "image", tool=KILN_IO)
        with open("image", "rb") as f:
            f.seek(end)
            assert f.read() != b"\x55" * 4096
    for descriptors, more in (([(0, 0x55)], {}), ([(0x10000, 0x55)], {}), ([(1 << 40, 0x55)], {}), ([(end, None, 1 << 62)], {}),
                              ([(end, None, 4096)] * 70000, {}), ([(MIB, None, end - MIB)] * 40, {}), ([(end, 0x55)], {"flushed": 1 << 50}),
                              ([(end, 0x55)], {"last": 1 << 62})):
        size = write_log(vhdx_image("image", "8M"), descriptors, **more)
        status, _, err = run("-f", "vhdx", "-c", "read 0 512", "image", tool=KILN_IO)
        assert status == 1 and "Could not replay the log" in err, (descriptors[:1], more, err)
        assert os.path.getsize("image") == size
        with open("image", "rb") as f:
            assert f.read(8) == b"vhdxfile", descriptors[:1]


# QEMU 7.2 does not read around the log's end, looks at no tail, and takes what is behind a gap.
UNLIKE_QEMU = ("around the end", "around the end, which cuts one in two", "its tail is elsewhere", "a gap")


@test
def several_entries():
    """The last whole sequence counts: from the entry that the newest one names as its tail, without a gap, around the log's end too."""
    size = os.path.getsize(vhdx_image("image"))
    places = [size - (4 - n) * SECTOR for n in range(4)]

    def entry(sequence, sector, tail=0, **more):
        return log_entry(size, [(places[sector], sequence)], sequence=sequence, tail=tail, **more)

    step = 2 * SECTOR
    for what, entries, found in (
            ("two in a row", [(0, entry(7, 0)), (step, entry(8, 1))], [7, 8, 0, 0]),
            ("the later one wins", [(0, entry(7, 0)), (step, entry(8, 0))], [8, 0, 0, 0]),
            ("zeros over it", [(0, log_entry(size, [(places[0], 7), (places[1], 7)])),
                               (3 * SECTOR, log_entry(size, [(places[0], None, SECTOR)], sequence=8))], [0, 7, 0, 0]),
            ("around the end", [(MIB - step, entry(7, 0, MIB - step)), (0, entry(8, 1, MIB - step))], [7, 8, 0, 0]),
            ("around the end, which cuts one in two", [(MIB - SECTOR, entry(7, 0, MIB - SECTOR)), (SECTOR, entry(8, 1, MIB - SECTOR))], [7, 8, 0, 0]),
            ("an older one", [(0, entry(3, 0)), (16 * step, entry(9, 1, 16 * step))], [0, 9, 0, 0]),
            ("an older one behind", [(0, entry(9, 0)), (16 * step, entry(3, 1, 16 * step))], [9, 0, 0, 0]),
            ("a gap", [(0, entry(7, 0)), (step, entry(9, 1))], [7, 0, 0, 0]),
            ("its tail is elsewhere", [(0, entry(7, 0, 8 * step))], [0, 0, 0, 0]),
            ("another log's", [(0, entry(7, 0, guid=b"h" * 16))], [0, 0, 0, 0]),
            ("another log's behind it", [(0, entry(7, 0)), (step, entry(8, 1, guid=b"h" * 16))], [7, 0, 0, 0])):
        with open(vhdx_image("image"), "r+b") as f:
            f.seek(places[0])
            f.write(bytes(4 * SECTOR))
        put_log("image", *entries)
        shutil.copy("image", "theirs")
        ok("-f", "vhdx", "-c", "read -P 1 1M 64k", "image", tool=KILN_IO)
        ok("check", "-q", "-r", "all", "-f", "vhdx", "theirs", tool="qemu-img")
        ours, theirs = (end_of(name, 4) for name in ("image", "theirs"))
        assert ours == found, "%s: %s, not %s" % (what, ours, found)
        assert theirs == ours or what in UNLIKE_QEMU, "%s: QEMU: %s" % (what, theirs)
        with open("image", "rb") as f:
            assert header_of(f.read(MIB))[0].log == NONE, "%s: it still has its log" % what


@test
def a_replay_is_on_disk_before_its_log_ends():
    size = os.path.getsize(vhdx_image("image"))
    write_log("image", [(size - SECTOR, 0x55), (size - 2 * SECTOR, 0x66)])
    entries = write_recorded(KILN_IO, "vhdx", "image", [])
    first = next(n for n, (offset, _, _) in enumerate(entries) if offset in HEADERS)
    done = [(offset, flush) for offset, _, flush in entries[:first]]
    assert sorted(offset for offset, flush in done if not flush) == [size - 2 * SECTOR, size - SECTOR] and done[-1][1], done
    assert Header(entries[first][1]).log == NONE


@test
def a_replay_makes_the_file_longer():
    size = os.path.getsize(vhdx_image("image"))
    write_log("image", [(size + MIB, 0x55)], last=size + 2 * MIB)
    ok("-f", "vhdx", "-c", "read -P 1 1M 64k", "image", tool=KILN_IO)
    assert os.path.getsize("image") == size + 2 * MIB
    with open("image", "rb") as f:
        f.seek(size + MIB)
        assert f.read(SECTOR) == b"\x55" * SECTOR


# ---- the table ------------------------------------------------------------------------------------


@test
def blocks_behind_a_sector_bitmaps_entry():
    """One stands behind each 4 GiB of blocks (in images of 512 bytes a sector), used or not."""
    places = [n * 4096 * MIB + d * MIB for n in (1, 2) for d in (-1, 0, 1)]
    for options in ("block_size=1M", "block_size=8M"):
        ok("create", "-q", "-f", "vhdx", "-o", options, "image", "9G")
        for turn, tool in enumerate((KILN_IO, "qemu-io", KILN_IO)):
            writes = ["write -P %d %d 4k" % (16 * turn + n + 1, at + turn * 8192) for n, at in enumerate(places)]
            reads = ["read -P %d %d 4k" % (16 * t + n + 1, at + t * 8192) for t in range(turn + 1) for n, at in enumerate(places)]
            ok("-f", "vhdx", *[word for each in writes for word in ("-c", each)], "image", tool=tool)
            for reader in (KILN_IO, "qemu-io"):
                out = ok("-f", "vhdx", *[word for each in reads for word in ("-c", each)], "image", tool=reader)
                assert "failed" not in out, out
        qemu("check", "-q", "-f", "vhdx", "image")


@test
def a_place_behind_4_gib_of_the_file():
    """The last entry of a sector of the table: its upper half lies in the descriptor."""
    ok("create", "-q", "-f", "vhdx", "-o", "block_size=1M", "image", "600M")
    with open("image", "r+b") as f:
        f.seek(2 * MIB)
        f.write(struct.pack("<Q", 5 << 30 | 6))
        f.truncate((5 << 30) + MIB)
    logged = {}
    for offset, data, flush in write_recorded(KILN_IO, "vhdx", "image", [[(511 * MIB, 4096)]]):
        if not flush and MIB <= offset < 2 * MIB:
            logged = Entry(data).writes
    with open("image", "rb") as f:
        f.seek(2 * MIB)
        table = f.read(SECTOR)
    assert struct.unpack("<Q", table[-8:])[0] > 5 << 30
    assert logged == {2 * MIB: table}, logged.keys()


if __name__ == "__main__":
    sys.exit(main("kiln-vhdx-log."))
