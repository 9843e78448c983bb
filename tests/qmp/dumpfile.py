# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads memory dumps: ELF core files, and kdump in makedumpfile's flattened form."""
import ctypes
import struct
import zlib

BLOCK = 4096


class Elf:
    """type, machine, notes [(owner, type, bytes)], loads [(physical, virtual, bytes)]."""

    def __init__(self, path):
        with open(path, "rb") as file:
            data = file.read()
        if data[:7] != b"\x7fELF\x02\x01\x01":
            raise ValueError("no 64-bit ELF file: %r" % data[:8])
        self.type, self.machine, _, _, start = struct.unpack_from("<HHIQQ", data, 16)
        size, count = struct.unpack_from("<HH", data, 54)
        self.notes, self.loads = [], []
        for n in range(count):
            kind, _, offset, virtual, physical, length, _, _ = struct.unpack_from("<IIQQQQQQ", data, start + n * size)
            part = data[offset:offset + length]
            if len(part) != length:
                raise ValueError("segment %d is cut" % n)
            if kind == 4:
                self.notes += list(notes(part))
            elif kind == 1:
                self.loads.append((physical, virtual, part))


def notes(data):
    at = 0
    while at < len(data):
        owner, length, kind = struct.unpack_from("<III", data, at)
        at += 12
        name = data[at:at + owner].rstrip(b"\0").decode()
        at += owner + 3 & ~3
        yield name, kind, data[at:at + length]
        at += length + 3 & ~3


def unpack_lzo(page):
    out, length = ctypes.create_string_buffer(BLOCK), ctypes.c_ulong(BLOCK)
    if ctypes.CDLL("liblzo2.so.2").lzo1x_decompress_safe(page, ctypes.c_ulong(len(page)), out, ctypes.byref(length), None):
        raise ValueError("damaged LZO data")
    return out.raw[:length.value]


def unpack_snappy(page):
    out, length = ctypes.create_string_buffer(BLOCK), ctypes.c_size_t(BLOCK)
    if ctypes.CDLL("libsnappy.so.1").snappy_uncompress(page, ctypes.c_size_t(len(page)), out, ctypes.byref(length)):
        raise ValueError("damaged Snappy data")
    return out.raw[:length.value]


UNPACK = {0: bytes, 1: zlib.decompress, 2: unpack_lzo, 4: unpack_snappy}


class Kdump:
    """header and sub-header as dicts, notes, pages {frame number: 4096 bytes}."""

    def __init__(self, path):
        image = self.unflatten(path)
        signature, version = struct.unpack_from("<8sI", image)
        if signature != b"KDUMP   ":
            raise ValueError("no kdump: %r" % signature)
        names = "status block_size sub_hdr_size bitmap_blocks max_mapnr total_ram_blocks device_blocks written_blocks " \
                "current_cpu nr_cpus".split()
        self.header = dict(zip(names, struct.unpack_from("<10I", image, 8 + 4 + 390 + 22)), version=version,
                           machine=image[12 + 4 * 65:12 + 5 * 65].rstrip(b"\0"))
        names = "phys_base dump_level split start_pfn end_pfn offset_vmcoreinfo size_vmcoreinfo offset_note note_size " \
                "offset_eraseinfo size_eraseinfo start_pfn_64 end_pfn_64 max_mapnr_64".split()
        self.sub = dict(zip(names, struct.unpack_from("<QII11Q", image, BLOCK)))
        self.notes = list(notes(image[self.sub["offset_note"]:self.sub["offset_note"] + self.sub["note_size"]]))
        self.read_pages(image)

    @staticmethod
    def unflatten(path):
        image = bytearray()
        with open(path, "rb") as file:
            head = file.read(BLOCK)
            if head[:16] != b"makedumpfile\0\0\0\0" or struct.unpack_from(">qq", head, 16) != (1, 1):
                raise ValueError("not flattened: %r" % head[:32])
            while True:
                offset, size = struct.unpack(">qq", file.read(16))
                if (offset, size) == (-1, -1):
                    break
                if len(image) < offset + size:
                    image.extend(bytes(offset + size - len(image)))
                image[offset:offset + size] = file.read(size)
            if file.read():
                raise ValueError("something follows the end")
        return image

    def read_pages(self, image):
        start = BLOCK * (1 + self.header["sub_hdr_size"])
        half = self.header["bitmap_blocks"] // 2 * BLOCK
        bitmap = image[start + half:start + 2 * half]
        if image[start:start + half] != bitmap:
            raise ValueError("the bitmaps differ")
        frames = [n * 8 + bit for n, byte in enumerate(bitmap) if byte for bit in range(8) if byte >> bit & 1]
        self.pages, self.offsets, self.flags = {}, set(), set()
        for n, frame in enumerate(frames):
            offset, size, flags, _ = struct.unpack_from("<QIIQ", image, start + 2 * half + n * 24)
            page = bytes(image[offset:offset + size])
            self.offsets.add(offset)
            self.pages[frame] = UNPACK[flags](page)
            self.flags.add(flags)
            if len(self.pages[frame]) != BLOCK:
                raise ValueError("page %d has %d bytes" % (frame, len(self.pages[frame])))
