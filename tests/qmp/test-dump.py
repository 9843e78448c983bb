#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""dump-guest-memory, memsave, pmemsave: files that other programs read. test-dump.py BINARY

Debian's QEMU dumps the same machine, stopped before its first instruction, for comparison."""
import os
import random
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from harness import Suite, check  # noqa: E402

import dumpfile  # noqa: E402
from qmpclient import Machine  # noqa: E402

suite = Suite(sys.argv[1])
ARGS = ["-m", "16", "-smp", "2", "-S", "-vga", "none", "-net", "none"]


def machine(*args, accel="qtest"):
    return Machine(suite.binary, *ARGS, *args, accel=accel)


def dump(c, path, **arguments):
    """The file's path; DUMP_COMPLETED has come before the answer."""
    c.names()
    c.do("dump-guest-memory", **{"paging": False, "protocol": "file:" + path, **arguments})
    if not arguments.get("detach"):
        check(c.names() == ["DUMP_COMPLETED"], "no DUMP_COMPLETED")
        check(c.do("query-dump")["status"] == "completed", "not completed")
    return path


def refused(reply, *needles):
    check(reply and "error" in reply, "not refused: %r" % reply)
    for needle in needles:
        check(needle in reply["error"]["desc"], "%r is not in %r" % (needle, reply["error"]["desc"]))


def fill(path, seed):
    """A ROM image with noise, so that memory is not all zero."""
    with open(path, "wb") as out:
        out.write(random.Random(seed).randbytes(65536))


def test_elf():
    fill("rom", 1)
    with machine("-bios", "rom") as m:
        c = m.connect()
        elf = dumpfile.Elf(dump(c, "elf"))
        check(elf.type == 4 and elf.machine == 3, "no core file of an i386: %d %d" % (elf.type, elf.machine))
        memory = {physical: data for physical, _, data in elf.loads}
        with open("rom", "rb") as file:
            check(memory[0xffff0000] == file.read(), "another ROM")
        total = c.do("query-dump")
        check(total["completed"] == total["total"] == sum(map(len, memory.values())), "counts other bytes: %r" % total)
        check(oct(os.stat("elf").st_mode)[-3:] == "400", "others may read the memory")
        # With paging, and before the guest switched it on, everything is where it is.
        paged = dumpfile.Elf(dump(c, "paged", paging=True))
        for physical, virtual, data in paged.loads:
            check(physical == virtual, "mapped from %x to %x" % (virtual, physical))
        check(b"".join(d for _, _, d in paged.loads) == b"".join(d for _, _, d in elf.loads), "other memory")
        # A part.
        part = dumpfile.Elf(dump(c, "part", begin=0xffff1000, length=4097)).loads
        check(part == [(0xffff1000, 0xffff1000, memory[0xffff0000][0x1000:0x2001])], "another part")


def test_kdump():
    fill("rom", 2)
    with open("rom", "r+b") as rom:     # some pages that can be compressed, some that cannot
        rom.write(b"a text that says it again and again " * 500)
    with machine("-bios", "rom") as m:
        c = m.connect()
        elf = dumpfile.Elf(dump(c, "elf"))
        frames = {physical // 4096 + n: data[n * 4096:(n + 1) * 4096]
                  for physical, _, data in elf.loads for n in range(len(data) // 4096)}
        for name, flag in (("zlib", 1), ("lzo", 2), ("snappy", 4)):
            kdump = dumpfile.Kdump(dump(c, "kdump", format="kdump-" + name))
            check(kdump.notes == elf.notes, "other notes")
            check(kdump.pages == frames, "other pages")
            check(kdump.header["status"] == flag and kdump.flags == {0, flag}, "compressed by %r" % kdump.flags)
            check(os.path.getsize("kdump") < 1 << 20, "not compressed")
            os.unlink("kdump")
            check(c.hmp("dump-guest-memory -%s kdump" % name[0]) == "", "%s: HMP" % name)
            check(dumpfile.Kdump("kdump").pages == frames, "HMP: other pages")
            os.unlink("kdump")
        check("only one" in c.hmp("dump-guest-memory -z -l kdump"), "two formats at once")
        check("-w" in c.hmp("dump-guest-memory -w kdump") and not os.path.exists("kdump"), "a Windows dump")


def test_like_qemu():
    lines = '{"execute":"qmp_capabilities"}\n' + "".join(
        '{"execute":"dump-guest-memory","arguments":{"paging":false,"protocol":"file:%s","format":"%s"}}\n' % f
        for f in (("q.elf", "elf"), ("q.kdump", "kdump-zlib"))) + '{"execute":"quit"}\n'
    subprocess.run(["qemu-system-x86_64", "-accel", "tcg", "-display", "none", "-nodefaults", "-qmp", "stdio", *ARGS],
                   input=lines, text=True, capture_output=True, check=True, timeout=120)
    with machine() as m:
        c = m.connect()
        ours, theirs = dumpfile.Elf(dump(c, "k.elf")), dumpfile.Elf("q.elf")
        check([(p, v, len(d)) for p, v, d in ours.loads] == [(p, v, len(d)) for p, v, d in theirs.loads],
              "other segments: %r" % [(p, v, len(d)) for p, v, d in ours.loads])
        check([(n[0], n[1], len(n[2])) for n in ours.notes] == [(n[0], n[1], len(n[2])) for n in theirs.notes], "other notes")
        # The firmware's last bytes and the BIOS data are the same; ROM shadows differ by what is loaded where.
        check(ours.loads[-1] == theirs.loads[-1], "another firmware")
        # Of the registers in QEMU's note, all but RDX (the CPU's signature) are as after power-on.
        a, b = (bytearray(next(n[2] for n in e.notes if n[0] == "QEMU")) for e in (ours, theirs))
        a[32:40] = b[32:40] = bytes(8)
        check(a == b, "other registers:\n%s\n%s" % (a.hex(), b.hex()))
        ours, theirs = dumpfile.Kdump(dump(c, "k.kdump", format="kdump-zlib")), dumpfile.Kdump("q.kdump")
        check(ours.header == theirs.header and ours.sub == theirs.sub, "other headers: %r" % ours.header)
        check(ours.pages.keys() == theirs.pages.keys(), "other frames")


def test_detached():
    with machine() as m:
        c = m.connect()
        reader, writer = os.pipe()
        reply = c.send_fd(b'{"execute":"getfd","arguments":{"fdname":"dump"}}', writer)
        os.close(writer)
        check(reply == {"return": {}}, "getfd: %r" % reply)
        c.do("dump-guest-memory", paging=False, protocol="fd:dump", detach=True)
        # Nobody reads yet: it cannot end, and the monitor answers.
        check(c.do("query-dump")["status"] == "active", "not active")
        refused(c.command("dump-guest-memory", paging=False, protocol="file:second"), "in process")
        check(not os.path.exists("second"), "the refused dump made its file")
        refused(c.command("cont"), "dump")
        with os.fdopen(reader, "rb") as stream, open("copy", "wb") as out:
            out.write(stream.read())
        while "DUMP_COMPLETED" not in c.names():
            c.events.append(c.message())
        check(c.do("query-dump")["status"] == "completed", "not completed")
        dumpfile.Elf("copy")


def test_failing():
    with machine() as m:
        c = m.connect()
        check(c.do("query-dump") == {"status": "none", "completed": 0, "total": 0}, "a dump before the first")
        check(c.do("query-dump-guest-memory-capability") == {"formats": ["elf", "kdump-zlib", "kdump-lzo", "kdump-snappy"]}, "other formats")
        for detach in (False, True):
            c.names()
            reply = c.command("dump-guest-memory", paging=False, protocol="file:/dev/full", detach=detach)
            if not detach:
                refused(reply, "No space left")
            while not c.events:
                c.events.append(c.message())
            event = c.events[0]
            check(event["event"] == "DUMP_COMPLETED" and "No space left" in event["data"]["error"], "%r" % event)
            check(event["data"]["result"]["status"] == "failed", "%r" % event)
            check(c.do("query-dump")["status"] == "failed", "query-dump does not say so")
        for arguments, needle in (
                ({"protocol": "file:/no/such/dir"}, "No such file"),
                ({"protocol": "tcp:1:2"}, "protocol"),
                ({"protocol": "fd:none"}, "not been found"),
                ({"protocol": "file:x", "begin": 5}, "length"),
                ({"protocol": "file:x", "length": 5}, "begin"),
                ({"protocol": "file:x", "begin": 5, "length": 0}, "length"),
                ({"protocol": "file:x", "begin": -5, "length": 5}, "begin"),
                ({"protocol": "file:x", "begin": 1 << 50, "length": 5}, "no memory"),
                ({"protocol": "file:x", "format": "kdump-zlib", "begin": 0, "length": 4096}, "paging or filter"),
                ({"protocol": "file:x", "format": "kdump-zlib", "paging": True}, "paging or filter"),
                ({"protocol": "file:x", "format": "win-dmp"}, "format"),
                ({"protocol": 3}, "protocol")):
            refused(c.command("dump-guest-memory", **{"paging": False, **arguments}), needle)
        descriptors = m.descriptors()
        for _ in range(20):
            dump(c, "again")
            os.unlink("again")
            c.command("dump-guest-memory", paging=False, protocol="file:/dev/full")
        check(m.descriptors() == descriptors, "descriptors leak")


def test_goes_on():
    """A guest that runs (in firmware) runs on afterwards."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return
    with machine(accel="kvm") as m:
        c = m.connect()
        c.do("cont")
        c.names()
        c.do("dump-guest-memory", paging=False, protocol="file:elf")
        check(c.names() == ["STOP", "DUMP_COMPLETED", "RESUME"], "other events")
        check(c.do("query-status")["running"], "does not run")
        check(len(dumpfile.Elf("elf").notes) == 4, "other notes")


def test_memsave():
    fill("rom", 3)
    with machine("-bios", "rom") as m:
        c = m.connect()
        c.do("pmemsave", val=0xffff0000, size=65536, filename="p")
        with open("rom", "rb") as rom, open("p", "rb") as saved:
            check(rom.read() == saved.read(), "other memory")
        c.do("memsave", val=0xffff0100, size=300, filename="v", cpu_index=1)
        with open("rom", "rb") as rom, open("v", "rb") as saved:
            check(rom.read()[0x100:0x100 + 300] == saved.read(), "other memory")
        refused(c.command("memsave", val=0, size=16, filename="v", cpu_index=2), "cpu")
        refused(c.command("pmemsave", val=0, size=16, filename="/no/such/dir"), "No such file")
        refused(c.command("memsave", val=0, size=16, filename="/dev/full"), "No space left")
        refused(c.command("pmemsave", val=0, size=-1, filename="x"), "size")
        refused(c.command("memsave", val=0, size=16), "filename")


suite.add("an ELF core file", test_elf)
suite.add("a kdump with the same contents", test_kdump)
suite.add("both are QEMU's", test_like_qemu)
suite.add("a detached dump to a pipe", test_detached)
suite.add("full disks and wrong arguments", test_failing)
suite.add("the guest goes on", test_goes_on)
suite.add("memsave and pmemsave", test_memsave)
sys.exit(suite.run())
