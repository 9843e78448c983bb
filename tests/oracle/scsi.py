#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""scsi.py KILN [CONFIG...]: sends SCSI commands, good and bad, to disks, CDs and units that are not there, through virtio-scsi;
status, sense data, counts and data have to be those of QEMU 7.2."""
import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "state"))
import oracle as lib  # noqa: E402
import scsi_driver as scsi  # noqa: E402
from machine import Machine  # noqa: E402

UNITS = [(0, 0), (1, 0), (1, 3), (0, 1), (1, 2), (2, 0), (3, 5), (3, 0)]
HD, CD = "scsi-hd,drive=d,scsi-id=0,lun=0", "scsi-cd,drive=c,scsi-id=1,lun=0"
REST = ["-device", "scsi-cd,scsi-id=1,lun=3", "-device", "scsi-cd,scsi-id=3,lun=5"]
CONFIGS = {
    "plain": ([HD, CD], 20 << 20, 4 << 20, ""),
    "serial": ([HD + ",serial=abc", CD + ",serial=a-serial-number-that-is-longer-than-twenty,ver=9"], 20 << 20, 4 << 20, ""),
    "names": ([HD + ",vendor=maker,product=a long product name,ver=12345,wwn=0x5000000000000001,port_wwn=0x5000000000000002,"
               "port_index=3,device_id=named", CD + ",vendor=v,product=p,wwn=7,port_index=1"], 20 << 20, 4 << 20, ""),
    "sizes": ([HD + ",logical_block_size=4096,physical_block_size=8192,min_io_size=16384,opt_io_size=65536,max_io_size=1048576,"
               "max_unmap_size=65536,discard_granularity=16384,rotation_rate=7200,dpofua=on", CD], 20 << 20, 4 << 20, ""),
    "geometry": ([HD + ",cyls=100,heads=7,secs=9,discard_granularity=0,rotation_rate=1,scsi_version=6", CD], 20 << 20, 4 << 20, ""),
    "read-only": ([HD + ",write-cache=off", CD + ",scsi_version=4"], 20 << 20, 4 << 20, ",readonly=on"),
    "removable": ([HD + ",removable=on,serial=x", CD], 20 << 20, 4 << 20, ""),
    "large": ([HD, CD], 3 << 40, 5 << 30, ""),
}
# Answers that differ on purpose are not compared:
#   ac           an unknown command is refused as such, not for its length
#   ad, format 0 sectors of a DVD are counted from 30000h at both ends
#   12 01 00     the list of pages of a unit that is not there has its length where it belongs
#   93 01        a CD refuses WRITE SAME without data, too
#   03           a unit that is there, and is not unit 0, does not say that it is not
#   4a           QEMU runs it for disks


def inform():
    """Commands that change nothing."""
    yield b"\0" * 6, 0, b""
    yield b"\0" * 6, 0, b""
    yield bytes((0x12, 0, 0, 0, 255, 0)), 255, b""
    yield bytes((0x12, 0, 0, 0, 4, 0)), 4, b""
    for page in (0, 0x80, 0x83, 0x84, 0xB0, 0xB1, 0xB2, 0xB3, 0xFF):
        yield bytes((0x12, 1, page, 0, 255, 0)), 255, b""
    yield bytes((0x12, 0, 1, 0, 255, 0)), 255, b""
    yield bytes((0x03, 0, 0, 0, 255, 0)), 255, b""
    for select in (0, 1, 2, 3):
        yield bytes((0xA0, 0, select, 0, 0, 0, 0, 0, 1, 0, 0, 0)), 256, b""
    yield bytes((0xA0, 0, 0, 0, 0, 0, 0, 0, 0, 15, 0, 0)), 256, b""
    yield bytes((0x25,)) + bytes(9), 8, b""
    yield bytes((0x25, 0, 0, 0, 0, 1, 0, 0, 0, 0)), 8, b""
    yield bytes((0x25, 0, 0, 0, 0, 1, 0, 0, 1, 0)), 8, b""
    yield bytes((0x9E, 0x10)) + bytes(11) + bytes((32, 0, 0)), 32, b""
    yield bytes((0x9E, 0x12)) + bytes(11) + bytes((32, 0, 0)), 32, b""
    for page in (0, 1, 3, 4, 5, 8, 0x0D, 0x0E, 0x1C, 0x2A, 0x30, 0x3F):
        for control in range(4):
            yield bytes((0x1A, 0, page | control << 6, 0, 255, 0)), 255, b""
        yield bytes((0x1A, 8, page, 0, 255, 0)), 255, b""
        yield bytes((0x5A, 0, page, 0, 0, 0, 0, 1, 0, 0)), 256, b""
        yield bytes((0x5A, 8, page, 0, 0, 0, 0, 1, 0, 0)), 256, b""
    yield bytes((0x5E, 0, 0, 0, 0, 0, 0, 1, 0, 0)), 256, b""
    yield bytes((0x5F, 0, 0, 0, 0, 0, 0, 0, 24, 0)), 0, bytes(24)
    for op in (0x37, 0x4D, 0x3C, 0x23):
        yield bytes((op, 0, 0, 0, 0, 0, 0, 0, 64, 0)), 256, b""
    yield bytes((0xA3, 0x0C)) + bytes(4) + bytes((0, 0, 1, 0, 0, 0)), 256, b""
    for op in (0x01, 0x0B, 0xFF, 0x60, 0xC0):
        yield bytes((op, 0, 0, 0, 0, 0)), 0, b""


def media():
    """Those of CDs."""
    for form in (0, 1, 2, 3):
        for msf in (0, 2):
            for start in (0, 1, 2, 0xAA):
                yield bytes((0x43, msf, form, 0, 0, 0, start, 1, 0, 0)), 256, b""
    yield bytes((0x43, 0, 0, 0, 0, 0, 0, 0, 4, 0)), 4, b""
    for kind in (0, 1, 2):
        yield bytes((0x46, kind, 0, 0, 0, 0, 0, 1, 0, 0)), 256, b""
    yield bytes((0x46, 2, 0, 0x10, 0, 0, 0, 1, 0, 0)), 256, b""
    for polled in (1, 0):
        for classes in (0x10, 0x10, 0x40, 0):
            yield bytes((0x4A, polled, 0, 0, classes, 0, 0, 1, 0, 0)), 256, b""
    yield bytes((0xBD, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0)), 256, b""
    for kind in (0, 1):
        yield bytes((0x51, kind, 0, 0, 0, 0, 0, 1, 0, 0)), 256, b""
    for form in (0, 1, 2, 3, 4, 0xFF):
        for layer in (0, 1):
            yield bytes((0xAD, 0, 0, 0, 0, 0, layer, form, 8, 4, 0, 0)), 2052, b""
    yield bytes((0xAD, 1, 0, 0, 0, 0, 0, 0, 8, 4, 0, 0)), 2052, b""
    yield bytes((0xBE, 0, 0, 0, 0, 0, 0, 0, 1, 0x10, 0, 0)), 2048, b""
    yield bytes((0xBB,)) + bytes(11), 0, b""


def move(block):
    """Reads, writes and what else touches the medium; block: its size."""
    data = bytes(range(256)) * (block // 256)
    yield bytes((0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0)), block, b""
    yield bytes((0x28, 8, 0, 0, 0, 1, 0, 0, 1, 0)), block, b""
    yield bytes((0x28, 0x20, 0, 0, 0, 0, 0, 0, 1, 0)), block, b""
    yield bytes((0x28, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 1, 0)), block, b""
    yield bytes((0x28, 0, 0, 0, 0, 0, 0, 0, 0, 0)), 0, b""
    yield bytes((0x08, 0, 0, 0, 1, 0)), block, b""
    yield bytes((0x88,)) + bytes(12) + bytes((1, 0, 0)), block, b""
    yield bytes((0x88,)) + b"\xff" * 8 + bytes((0, 0, 0, 1, 0, 0, 0)), block, b""
    yield bytes((0xA8,)) + bytes(8) + bytes((1, 0, 0)), block, b""
    for op, size in ((0x2A, 10), (0x2E, 10), (0xAA, 12), (0xAE, 12), (0x8A, 16), (0x8E, 16), (0x0A, 6)):
        cdb = bytearray(size)
        cdb[0] = op
        cdb[{6: 4, 10: 8, 12: 9, 16: 13}[size]] = 1
        cdb[{6: 3, 10: 5, 12: 5, 16: 9}[size]] = op & 15
        yield bytes(cdb), 0, data
        yield bytes(cdb), 0, data[:256]
        yield bytes(cdb), block, b""
    yield bytes((0x28, 0, 0, 0, 0, 0, 0, 0, 16, 0)), 16 * block, b""
    for flags in (0, 2, 4, 6):
        yield bytes((0x2F, flags, 0, 0, 0, 0, 0, 0, 1, 0)), 0, data if flags & 2 else b""
    yield bytes((0x8F,)) + bytes(12) + bytes((1, 0, 0)), 0, b""
    yield bytes((0xAF,)) + bytes(8) + bytes((1, 0, 0)), 0, b""
    for op in (0x35, 0x34, 0x91, 0x90):
        yield bytes((op,)) + bytes(15 if op & 0x80 else 9), 0, b""
    for lba, blocks, flags, head, size in ((0, 1, 0, (22, 16), 24), (0xFFFFFFFF, 1, 0, (22, 16), 24), (0, 1, 1, (22, 16), 24),
                                           (0, 1, 0, (21, 16), 24), (0, 1, 0, (22, 15), 24), (0, 1, 0, (40, 16), 24),
                                           (0, 1, 0, (22, 32), 24), (0, 0, 0, (6, 0), 8), (8, 64, 0, (22, 16), 24)):
        parameters = bytes((0, head[0], 0, head[1], 0, 0, 0, 0)) + lba.to_bytes(8, "big") + blocks.to_bytes(4, "big") + bytes(4)
        yield bytes((0x42, flags, 0, 0, 0, 0, 0, 0, size, 0)), 0, parameters[:size]
    yield bytes((0x42,)) + bytes(9), 0, b""
    for flags in (0, 8, 0x10, 2, 4):
        yield bytes((0x41, flags, 0, 0, 0, 32, 0, 0, 3, 0)), 0, data
        yield bytes((0x93, flags)) + bytes(7) + bytes((40, 0, 0, 0, 3, 0, 0)), 0, bytes(block)
    yield bytes((0x41, 0, 0, 0, 0, 0, 0, 0, 0, 0)), 0, data
    yield bytes((0x41, 0, 0xFF, 0, 0, 0, 0, 0, 1, 0)), 0, data
    yield bytes((0x93, 1)) + bytes(7) + bytes((60, 0, 0, 0, 3, 0, 0)), 0, b""
    yield bytes((0x28, 0, 0, 0, 0, 30, 0, 0, 34, 0)), 34 * block, b""
    yield bytes((0x2B,)) + bytes(9), 0, b""
    yield bytes((0x2B, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0)), 0, b""
    for op in (0x16, 0x17):
        yield bytes((op,)) + bytes(5), 0, b""
    for op in (0x56, 0x57):
        yield bytes((op,)) + bytes(9), 0, b""
    yield bytes((0x04,)) + bytes(5), 0, b""


def select():
    """MODE SELECT."""
    page = bytes((8, 18, 4)) + bytes(17)
    for flags, parameters in ((0x10, bytes(4)), (0x10, bytes(4) + page), (0x10, bytes(4) + bytes((8, 18, 0)) + bytes(17)),
                              (0x11, bytes(4) + page), (0, bytes(4) + page), (0x10, bytes(4) + bytes((8, 17, 4)) + bytes(17)),
                              (0x10, bytes(4) + bytes((8, 18, 5)) + bytes(17)), (0x10, bytes(4) + bytes((0x33, 2, 0, 0))),
                              (0x10, bytes(3)), (0x10, bytes((0, 0, 0, 8)) + bytes(8) + page), (0x10, bytes((0, 0, 0, 8)) + bytes(7)),
                              (0x10, bytes((0, 0, 0, 7)) + bytes(7)), (0x10, bytes(4) + page[:12])):
        yield bytes((0x15, flags, 0, 0, len(parameters), 0)), 0, parameters
        yield bytes((0x1A, 0, 8, 0, 255, 0)), 255, b""
    yield bytes((0x55, 0x10, 0, 0, 0, 0, 0, 0, 28, 0)), 0, bytes(8) + page
    yield bytes((0x15, 0x10, 0, 0, 0, 0)), 0, b""


def tray():
    for cdb in ((0x1E, 0, 0, 0, 1, 0), (0x1B, 0, 0, 0, 2, 0), (0x1E, 0, 0, 0, 0, 0), (0x1B, 0, 0, 0, 0, 0), (0x1B, 0, 0, 0, 0x12, 0),
                (0x1B, 0, 0, 0, 2, 0), (0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8, 0), (0, 0, 0, 0, 0, 0), (0x1E, 0, 0, 0, 1, 0),
                (0x1B, 0, 0, 0, 2, 0), (0x1B, 0, 0, 0, 3, 0), (0x1E, 0, 0, 0, 0, 0), (0x1B, 0, 0, 0, 1, 0), (0, 0, 0, 0, 0, 0)):
        yield bytes(cdb), 8 if cdb[0] == 0x4A else 0, b""


def answer(driver, cdb, room, out, unit):
    """What can be compared: QEMU counts guest memory behind the data as written, and its resid is wrong then."""
    reply = driver.command(cdb, target=unit[0], lun=unit[1], read=room, out=out)
    data = b"" if reply.status or reply.response else reply.data.rstrip(b"\0\xee")
    return f"response {reply.response} status {reply.status:02x} sense {scsi.sense_text(reply.sense)} data {data.hex()}"


def is_known(cdb, unit):
    if cdb[0] == 0x03 or cdb[:3] == b"\x12\x01\x00":
        return unit not in ((0, 0), (1, 0))
    if cdb[0] == 0x4A and not unit[0]:
        return True
    return cdb[0] == 0xAC or (cdb[0] == 0xAD and not any(cdb[6:8])) or cdb[:2] == b"\x93\x01"


def session(m, config):
    driver, seen = scsi.Driver(m), []
    block = 4096 if config == "sizes" else 512
    driver.start(scsi.VERSION_1 | scsi.HOTPLUG | scsi.CHANGE)
    seen.append(("features and configuration", f"{driver.features():x} {m.read(scsi.BAR + 0x2000, 36).hex()}"))
    for unit in UNITS:
        # QEMU runs commands of CDs for disks; those here do not know them.
        for group in (inform(), media() if unit[0] else (), move(2048 if unit[0] & 1 else block), select(), tray()):
            for cdb, room, out in group:
                if not is_known(cdb, unit):
                    seen.append((f"unit {unit} {cdb.hex()}", answer(driver, cdb, room, out, unit)))
    for kind, subtypes in ((0, range(10)), (1, (0,)), (2, (0,))):
        for subtype in subtypes:
            for unit in ((0, 0), (1, 1), (9, 0)):
                got = driver.tmf(subtype, *unit, kind=kind)
                seen.append((f"control {kind} {subtype} {unit}", got.hex()))
                seen.append((f"afterwards, unit {unit}", answer(driver, bytes(6), 0, b"", unit)))
    for address in (bytes(8), bytes((1,)) + bytes(7), bytes((1, 0, 0x80)) + bytes(5), bytes((1, 0, 0xC0)) + bytes(5),
                    bytes((0xC1, 1)) + bytes(6), bytes((1, 1, 0x40, 3)) + bytes(4), bytes((1, 1, 0, 3)) + bytes(4)):
        reply = driver.command(bytes(6), address=address)
        seen.append((f"address {address.hex()}", f"{reply.response} {reply.status}"))
    return seen


def compare(kiln, config, work):
    units, disk, cd, options = CONFIGS[config]
    seen = []
    for number, program in enumerate((lib.QEMU, kiln)):
        for name, size in (("hd", disk), ("cd", cd)):
            with open(os.path.join(work, f"{name}{number}"), "wb") as f:
                f.write(bytes(i * 7 & 0xFF for i in range(65536)))
                f.truncate(size)
        args = ["-nodefaults", "-drive", f"if=none,id=d,format=raw,file={work}/hd{number},discard=unmap{options}", "-drive",
                f"if=none,id=c,format=raw,media=cdrom,file={work}/cd{number}", "-device", "virtio-scsi-pci,addr=4"]
        with Machine(program, args + [arg for unit in units for arg in ("-device", unit)] + REST, work, qemu=program == lib.QEMU) as m:
            seen.append(session(m, config))
    return [f"{what}: {ours}\n#   QEMU: {theirs}" for (what, theirs), (_, ours) in zip(*seen) if theirs != ours], len(seen[0])


def main():
    reason = lib.missing_tools(lib.QEMU)
    if reason:
        print(f"1..0 # SKIP {reason}")
        return 0
    chosen, failed = sys.argv[2:] or list(CONFIGS), 0
    print(f"1..{len(chosen)}", flush=True)
    for number, config in enumerate(chosen, 1):
        with tempfile.TemporaryDirectory() as work:
            bad, count = compare(sys.argv[1], config, work)
        for line in bad:
            print(f"# {line}")
        failed += bool(bad)
        print(f"{'not ok' if bad else 'ok'} {number} scsi/{config}: {count} answers", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
