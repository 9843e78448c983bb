# SPDX-License-Identifier: GPL-2.0-or-later
"""Small guests: firmware images that enter protected mode, run some code, write K to port e9h and halt."""
import contextlib
import os
import socket
import struct
import time

from qmpclient import LIMIT, Machine

BASE = 0xffff0000  # of an image
SAY_K_AND_HALT = b"\xb0\x4b\xe6\xe9\xf4\xeb\xfd"


def firmware(code, descriptors=()):
    """64 KiB that run code with flat segments (8 code, 16 data, then descriptors); up to f00h it is the caller's."""
    image = bytearray(b"\xff" * 65536)
    table = [0, 0xcf9b000000ffff, 0xcf93000000ffff, *descriptors]
    struct.pack_into("<%dQ" % len(table), image, 0xf00, *table)
    struct.pack_into("<HI", image, 0xf40, 8 * len(table) - 1, BASE + 0xf00)
    real = (b"\xfa\x66\x2e\x0f\x01\x16\x40\x0f"             # cli; lgdtl %cs:0xf40
            b"\x0f\x20\xc0\x0c\x01\x0f\x22\xc0"             # CR0.PE
            b"\x66\xea" + struct.pack("<IH", BASE + 0xe100, 8))
    flat = b"\x66\xb8\x10\x00\x8e\xd8\x8e\xd0\x8e\xc0" + code + SAY_K_AND_HALT  # data segments
    image[0xe000:0xe000 + len(real)] = real
    image[0xe100:0xe100 + len(flat)] = flat
    image[0xfff0:0xfff3] = b"\xe9" + struct.pack("<h", 0xe000 - 0xfff3)
    return image


@contextlib.contextmanager
def running(binary, accel, image, *args):
    """A QMP connection to a machine whose guest has said K."""
    for name in ("qmp", "e9"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
    with open("guest.bin", "wb") as f:
        f.write(image)
    with Machine(binary, "-bios", "guest.bin", "-chardev", "socket,id=e9,path=e9,server=on", "-device", "isa-debugcon,chardev=e9",
                 *args, accel=accel) as m:
        for _ in range(LIMIT * 100):
            try:
                guest = socket.socket(socket.AF_UNIX)
                guest.connect("e9")
                break
            except (FileNotFoundError, ConnectionRefusedError):
                guest.close()
                time.sleep(0.01)
        guest.settimeout(LIMIT)
        with guest:
            c = m.connect()
            assert guest.recv(1) == b"K"
            yield c


def wait_halted(c):
    """The guest has said K some time before it halts."""
    for _ in range(LIMIT * 100):
        if "HLT=1" in c.hmp("info registers"):
            return
        time.sleep(0.01)
    raise AssertionError("the guest does not halt")
