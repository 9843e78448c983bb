# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests of damaged qcow2 images share: where the tables are, and patches."""
import struct

OFFSET = 0x00fffffffffffe00
COPIED = 1 << 63
BITMAPS = 0x23852875    # header extension


def number(name, offset, form):
    with open(name, 'rb') as f:
        f.seek(offset)
        return struct.unpack(form, f.read(struct.calcsize(form)))[0]


def u64(offset, name):
    return number(name, offset, '>Q')


def put(name, offset, form, *values):
    with open(name, 'r+b') as f:
        f.seek(offset)
        f.write(struct.pack(form, *values))


class Tables:
    """Where they are."""

    def __init__(self, name):
        self.name = name
        self.l1, self.reftable, self.snapshots = (u64(at, name) for at in (40, 48, 64))
        self.block = u64(self.reftable, name)
        self.l2 = u64(self.l1, name) & OFFSET
        if self.snapshots:
            self.snapshot_l1 = u64(self.snapshots, name)
            self.snapshot_l2 = u64(self.snapshot_l1, name) & OFFSET
        self.directory = self.bitmaps()
        if self.directory:
            self.bitmap_table = u64(self.directory, name)

    def bitmaps(self):
        """Of the bitmap directory; 0: there is none. self.extension: the data of the header extension."""
        at = number(self.name, 100, '>I')
        while number(self.name, at, '>I'):
            if number(self.name, at, '>I') == BITMAPS:
                self.extension = at + 8
                return u64(at + 8 + 16, self.name)
            at += 8 + (number(self.name, at + 4, '>I') + 7) // 8 * 8
        return 0

    def entry(self, n):
        return u64(self.l2 + 8 * n, self.name)

    def host(self, n):
        return self.entry(n) & OFFSET
