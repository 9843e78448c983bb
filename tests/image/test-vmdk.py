#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""VMware's disks that Kiln makes and writes, beside qemu-img and qemu-io: new images are the same byte for byte but for
their content ids, what either wrote the other reads, both sets of tables say the same, and what cannot be written without
damage is refused.

    test-vmdk.py KILN-IMG KILN-IO KILN-SYSTEM      (TAP)
"""
import json
import os
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from imgtest import KILN, LIMIT, SESPARSE_SECTORS, Twins, make_sesparse, ok, qemu, qemu_io, random_commands, refused, run
from tap import main, test

KILN_IO, SYSTEM = (os.path.abspath(path) for path in sys.argv[2:4])
SPARSE = ["", "zeroed_grain=on", "subformat=twoGbMaxExtentSparse", "subformat=twoGbMaxExtentSparse,zeroed_grain=on"]
FLAT = ["subformat=monolithicFlat", "subformat=twoGbMaxExtentFlat"]
STREAM = ["subformat=streamOptimized"]
GRAIN = 65536


def option(options):
    return ["-o", options] if options else []


def without_cid(data):
    """The id's digits, and what a shorter one leaves behind the end of the text, moved up, are chance (qemu-img does not fill up)."""
    end = data.find(b"ddb.toolsVersion")
    end = data.find(b"\n", end) + 1 if end >= 0 else 0
    text = re.sub(rb"\nCID=[0-9a-f]+", b"\nCID=", data[:end], count=1)
    rest = re.sub(rb"\A\0[^\0]{1,6}(?=\0|\Z)", b"", data[end:]) if end else data
    return text, rest.lstrip(b"\0")


def first_difference(ours, theirs):
    for a, b in zip(ours, theirs):
        if a != b:
            at = len(os.path.commonprefix([a, b]))
            return "at %d of %d and %d bytes: %r, not %r" % (at, len(a), len(b), a[max(at - 40, 0):at + 40], b[max(at - 40, 0):at + 40])
    return "in nothing"


def extents(name):
    """Files of an image, the one with the descriptor first."""
    stem, dot, _ = os.path.basename(name).rpartition(".")
    where = os.path.dirname(name) or "."
    return [name] + sorted(os.path.join(where, other) for other in os.listdir(where)
                           if re.fullmatch(re.escape(stem or dot) + r"-(flat|[fs]\d{3})\.vmdk", other))


def remove(name):
    for path in extents(name):
        os.unlink(path)


def read(name, length=-1, offset=0):
    with open(name, "rb") as f:
        f.seek(offset)
        return f.read(length)


def patch(name, offset, data):
    with open(name, "r+b") as f:
        f.seek(offset)
        f.write(data)


def make_raw(name, size, seed):
    rand = random.Random(seed)
    with open(name, "wb") as f:
        f.truncate(size)
        for _ in range(24):
            at = rand.randrange(size)
            length = min(size - at, rand.choice((512, 5000, 70000, 1 << 20)))
            f.seek(at)
            f.write(rand.randbytes(length) if rand.random() < 0.5 else (b"the same again " * length)[:length])


def same_tables(name):
    """The two directories name tables that say the same."""
    for path in extents(name):
        header = read(path, 512)
        if header[:4] != b"KDMV":
            continue
        capacity, = struct.unpack_from("<Q", header, 12)
        second, first = struct.unpack_from("<QQ", header, 48)
        count = (capacity + 128 * 512 - 1) // (128 * 512)
        sets = []
        for directory in (first, second):
            places = struct.unpack("<%dI" % count, read(path, 4 * count, directory * 512))
            sets.append([read(path, 2048, place * 512) for place in places])
        assert sets[0] == sets[1], "%s: the tables of the second directory differ" % path


def same_content(name, raw):
    qemu("compare", "-f", "vmdk", "-F", "raw", name, raw)
    ok("compare", "-f", "vmdk", "-F", "raw", name, raw)
    for tool in (ok, qemu):
        assert "No errors" in tool("check", "-f", "vmdk", name)
    same_tables(name)


def facts(tool, name):
    told = json.loads(tool("info", "-f", "vmdk", "--output=json", name))
    told.pop("actual-size")
    return told


# ---- new images ------------------------------------------------------------------------------------


@test
def new_images_are_qemu_imgs():
    twins = Twins()
    for kind in SPARSE + FLAT + STREAM:
        for size in ("1", "513", "1M", "33554433", "3G", "40G"):
            for more in ("", "adapter_type=lsilogic,compat6=on", "hwversion=9,toolsversion=12", "adapter_type=legacyESX"):
                options = ",".join(part for part in (kind, more) if part)
                twins.same("create", "-f", "vmdk", *option(options), "x.vmdk", size)
                theirs, ours = (extents(os.path.join(where, "x.vmdk")) for where in twins.dirs.values())
                assert [os.path.basename(p) for p in theirs] == [os.path.basename(p) for p in ours], (options, size)
                for a, b in zip(theirs, ours):
                    what = "%s %s: %s" % (options, size, os.path.basename(a))
                    assert read(a, 4) != b"KDMV" or os.path.getsize(a) == os.path.getsize(b), what
                    assert without_cid(read(a, 3 << 20)) == without_cid(read(b, 3 << 20)), what + ": the files differ"
                for where in twins.dirs.values():
                    remove(os.path.join(where, "x.vmdk"))


@test
def children_name_their_parents():
    twins = Twins()
    twins.same("create", "-q", "-f", "vmdk", "base.vmdk", "4M")
    for options in SPARSE + STREAM:
        twins.same("create", "-f", "vmdk", *option(options), "-b", "base.vmdk", "-F", "vmdk", "top.vmdk")
        for where in twins.dirs.values():
            for tool in (ok, qemu):
                cid = facts(tool, os.path.join(where, "base.vmdk"))["format-specific"]["data"]["cid"]
                told = facts(tool, os.path.join(where, "top.vmdk"))
                assert told["backing-filename"] == "base.vmdk" and told["format-specific"]["data"]["parent-cid"] == cid, told
            remove(os.path.join(where, "top.vmdk"))


@test
def what_qemu_img_refuses_is_refused():
    twins = Twins()
    twins.prepare(lambda: [qemu("create", "-q", "-f", fmt, "base." + fmt, "4M") for fmt in ("vmdk", "raw", "qcow2")])
    for options in ("subformat=bogus", "adapter_type=bogus", "compat6=on,hwversion=7",
                    "zeroed_grain=on,subformat=monolithicFlat", "zeroed_grain=on,subformat=twoGbMaxExtentFlat",
                    "encryption=on", "backing_fmt=raw,backing_file=base.raw"):
        twins.same("create", "-f", "vmdk", "-o", options, "x.vmdk", "1M")
    for args in (["-b", "base.raw", "-F", "raw"], ["-b", "base.qcow2", "-F", "qcow2"],
                 ["-b", "base.vmdk", "-F", "vmdk", "-o", "subformat=monolithicFlat"],
                 ["-b", "base.vmdk", "-F", "vmdk", "-o", "subformat=twoGbMaxExtentFlat"]):
        twins.same("create", "-f", "vmdk", *args, "x.vmdk")
    twins.same("create", "-f", "vmdk", "x.vmdk")
    twins.same("create", "-f", "vmdk", "-o", "help", "x.vmdk")
    twins.same("create", "-f", "vmdk", "-o", "help")
    twins.same("convert", "-O", "vmdk", "-c", "-o", "subformat=monolithicFlat", "base.raw", "x.vmdk")
    twins.same("convert", "-O", "vmdk", "-o", "subformat=bogus", "base.raw", "x.vmdk")
    twins.same("measure", "-O", "vmdk", "--size", "10M")
    twins.same("check", "-r", "all", "base.vmdk")
    twins.same("resize", "base.vmdk", "20M", stderr=False)
    twins.same("amend", "-f", "vmdk", "-o", "size=9M", "base.vmdk", stderr=False)


@test
def words_that_would_end_their_quotes_are_refused():
    ok("create", "-q", "-f", "vmdk", "base.vmdk", "1M")
    shutil.copy("base.vmdk", 'b"ase.vmdk')
    before = sorted(os.listdir("."))
    for name in ('a"b.vmdk', 'a\nRW 1 FLAT "b', "a\rb.vmdk"):
        for options in SPARSE + FLAT + STREAM:
            refused("create", "-f", "vmdk", *option(options), name, "1M", text="cannot be written into a vmdk descriptor")
    for options in ('hwversion=4"', 'toolsversion=1\nRW 1 FLAT "b" 0', 'backing_file=b"ase.vmdk,backing_fmt=vmdk'):
        refused("create", "-f", "vmdk", "-o", options, "x.vmdk", "1M", text="cannot be written into a vmdk descriptor")
    refused("create", "-f", "vmdk", "..", "1M", text="")
    refused("create", "-f", "vmdk", "x.vmdk", "300T", text="more tables than can be kept in memory")
    refused("create", "-f", "vmdk", "-o", "subformat=twoGbMaxExtentFlat", "x.vmdk", "9T", text="at most are 1024")
    refused("create", "-f", "vmdk", "nbd:unix:nothing", "1M", text="made in files")
    assert sorted(os.listdir(".")) == before
    os.mkdir("sub")
    ok("create", "-q", "-f", "vmdk", "-o", "subformat=monolithicFlat", "sub/../sub/x.vmdk", "1M")
    assert sorted(os.listdir("sub")) == ["x-flat.vmdk", "x.vmdk"] and b'"x-flat.vmdk"' in read("sub/x.vmdk")


@test
def files_of_extents_that_are_there():
    for tool in (ok, qemu):
        with open("x-flat.vmdk", "wb") as f:
            f.write(b"old" * 5000000)
        tool("create", "-q", "-f", "vmdk", "-o", "subformat=monolithicFlat", "x.vmdk", "1M")
        assert read("x-flat.vmdk") == bytes(1 << 20)
    # The source itself, and a file that somebody has open, are not emptied.
    make_raw("x-flat.vmdk", 1 << 20, 1)
    before = read("x-flat.vmdk")
    status, _, err = run("convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=monolithicFlat", "x-flat.vmdk", "x.vmdk")
    assert status == 1 and "x-flat.vmdk" in err and read("x-flat.vmdk") == before, err
    os.unlink("x-flat.vmdk")
    os.mkdir("x-flat.vmdk")
    status, _, err = run("create", "-f", "vmdk", "-o", "subformat=monolithicFlat", "x.vmdk", "1M")
    assert status == 1 and "x-flat.vmdk" in err, err
    os.rmdir("x-flat.vmdk")


# ---- content -----------------------------------------------------------------------------------------


@test
def converted_images_are_qemu_imgs():
    make_raw("disk.raw", (17 << 20) + 3 * 512, 1)
    twins = Twins()
    for kind in SPARSE + FLAT + STREAM:
        twins.same("convert", "-f", "raw", "-O", "vmdk", *option(kind), "../disk.raw", "image.vmdk")
        theirs, ours = (os.path.join(where, "image.vmdk") for where in twins.dirs.values())
        same_content(ours, "disk.raw")
        a, b = facts(ok, ours), facts(qemu, ours)
        assert a == b, "%s:\n%s\nqemu-img's\n%s" % (kind, a, b)
        for form in ("json", "human"):
            mapped = [run("map", "-f", "vmdk", "--output=" + form, ours, tool=tool) for tool in (KILN, "qemu-img")]
            assert mapped[0][:2] == mapped[1][:2], "%s: map:\n%s\nqemu-img's\n%s" % (kind, *mapped)
        for a, b in zip(extents(theirs), extents(ours)):
            left, right = ([part.rstrip(b"\0") for part in without_cid(read(path))] for path in (a, b))
            assert left == right, "%s: %s differs from qemu-img's: %s" % (kind, os.path.basename(a), first_difference(right, left))
        for more in (["-m", "8", "-W"], ["-t", "none"], ["-S", "0"], ["-m", "1"]):
            ok("convert", "-f", "raw", "-O", "vmdk", *more, *option(kind), "disk.raw", "image.vmdk")
            same_content("image.vmdk", "disk.raw")
        ok("convert", "-f", "vmdk", "-O", "qcow2", "image.vmdk", "image.qcow2")
        qemu("compare", "-f", "qcow2", "-F", "raw", "image.qcow2", "disk.raw")
        if kind not in STREAM:
            make_raw("other.raw", (17 << 20) + 3 * 512, 2)
            ok("convert", "-f", "raw", "-n", "-O", "vmdk", "other.raw", "image.vmdk")
            same_content("image.vmdk", "other.raw")


@test
def both_programs_write_in_turn():
    rand = random.Random(int(os.environ.get("KILN_IMAGE_SEED", "3")))
    make_raw("disk.raw", 9 << 20, 2)
    for kind in SPARSE + FLAT:
        ok("convert", "-f", "raw", "-O", "vmdk", *option(kind), "disk.raw", "image.vmdk")
        qemu("convert", "-f", "vmdk", "-O", "raw", "image.vmdk", "model.raw")
        for turn in range(8):
            commands = random_commands(rand, os.path.getsize("model.raw"))
            words = [word for command in commands for word in ("-c", command)]
            tool = KILN_IO if turn % 2 else "qemu-io"
            ok("-f", "vmdk", *(["-d", "unmap"] if turn % 4 == 3 else []), *words, "image.vmdk", tool=tool)
            qemu_io("model.raw", *commands, fmt="raw")
            same_content("image.vmdk", "model.raw")
        remove("image.vmdk")


@test
def requests_go_across_extents():
    for kind in ("subformat=twoGbMaxExtentFlat", "subformat=twoGbMaxExtentSparse"):
        ok("create", "-q", "-f", "vmdk", *option(kind), "image.vmdk", "5000M")
        ok("-f", "vmdk", "-c", "write -P 7 2147418112 128k", "-c", "aio_write -P 8 4294930432 100352", "-c", "aio_flush",
           "-c", "write -z 2147482624 2k", "image.vmdk", tool=KILN_IO)
        qemu_io("image.vmdk", "read -P 7 2147418112 64512", "read -P 0 2147482624 2k", "read -P 7 2147484672 64512",
                "read -P 8 4294930432 100352", "read -P 0 2147549184 64k", "read -P 0 4295030784 1M", fmt="vmdk")
        qemu("check", "image.vmdk")
        same_tables("image.vmdk")
        remove("image.vmdk")


@test
def old_esx_extents_are_read():
    """COWD: a table of 4096 grains of a sector each."""
    rand = random.Random(12)
    with open("cow.vmdk", "wb") as f:
        f.write(b"COWD" + struct.pack("<IIIIIII", 1, 3, 8000, 1, 4, 2, 200))
        f.seek(4 * 512)
        f.write(struct.pack("<II", 8, 0))
        f.seek(8 * 512)
        f.write(struct.pack("<4096I", *(rand.choice((0, 0, 40 + i % 100)) for i in range(4096))))
        f.seek(40 * 512)
        f.write(rand.randbytes(100 * 512))
    with open("esx.vmdk", "w") as f:
        f.write('# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType="vmfsSparse"\n'
                'RW 8000 VMFSSPARSE "cow.vmdk"\n')
    for tool, out in ((qemu, "theirs.raw"), (ok, "ours.raw")):
        tool("convert", "-f", "vmdk", "-O", "raw", "esx.vmdk", out)
    assert read("theirs.raw") == read("ours.raw") and any(read("ours.raw"))
    status, _, err = run("-f", "vmdk", "-c", "write 0 64k", "esx.vmdk", tool=KILN_IO)
    assert status == 1 and "COWD extents" in err, err


@test
def children_take_writes():
    rand = random.Random(4)
    for kind in SPARSE:
        make_raw("model.raw", (6 << 20) + 512, 5)
        ok("convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=monolithicFlat", "model.raw", "base.vmdk")
        ok("create", "-q", "-f", "vmdk", *option(kind), "-b", "base.vmdk", "-F", "vmdk", "top.vmdk")
        before = read("base-flat.vmdk"), read("base.vmdk")
        for turn in range(6):
            commands = random_commands(rand, os.path.getsize("model.raw"))
            words = [word for command in commands for word in ("-c", command)]
            ok("-f", "vmdk", *words, "top.vmdk", tool=KILN_IO if turn % 2 == 0 else "qemu-io")
            qemu_io("model.raw", *commands, fmt="raw")
            same_content("top.vmdk", "model.raw")
        assert (read("base-flat.vmdk"), read("base.vmdk")) == before
        remove("top.vmdk")


@test
def compressed_grains_are_written_once():
    twins = Twins()
    twins.same("create", "-q", "-f", "vmdk", "-o", "subformat=streamOptimized", "s.vmdk", "4194816")
    script = [("write -P 1 0 64k", True), ("write -P 2 0 64k", False), ("write -P 1 64k 1k", False),
              ("write -P 3 128k 128k", True), ("write -c -P 4 320k 64k", True), ("write -P 5 4M 512", True),
              ("write -P 5 1025k 64k", False), ("write -f -P 6 2M 1M", True)]
    for command, works in script:
        for tool, where in zip(("qemu-io", KILN_IO), twins.dirs.values()):
            status, out, err = run("-f", "vmdk", "-c", command, "s.vmdk", tool=tool, cwd=where)
            assert (status == 0) == works, "%s %s: %s" % (tool, command, out + err)
    images = [os.path.join(where, "s.vmdk") for where in twins.dirs.values()]
    qemu("compare", *images)
    ok("compare", *images)
    same_tables(images[1])
    qemu("check", images[1])


@test
def long_requests_are_packed_in_pieces():
    ok("create", "-q", "-f", "vmdk", "-o", "subformat=streamOptimized", "s.vmdk", "64M")
    ok("-f", "vmdk", "-c", "aio_write -P 1 0 16M", "-c", "aio_write -P 2 16M 16M", "-c", "aio_write -P 3 32M 8M",
       "-c", "aio_flush", "s.vmdk", tool=KILN_IO)
    qemu_io("s.vmdk", "read -P 1 0 16M", "read -P 2 16M 16M", "read -P 3 32M 8M", "read -P 0 40M 24M", fmt="vmdk")


# ---- content ids ----------------------------------------------------------------------------------------


def cid_of(name):
    return facts(qemu, name)["format-specific"]["data"]["cid"]


@test
def the_content_id_changes_when_it_is_first_written():
    for kind in SPARSE + FLAT + STREAM:
        ok("create", "-q", "-f", "vmdk", *option(kind), "x.vmdk", "1M")
        ids = [cid_of("x.vmdk")]
        ok("-f", "vmdk", "-c", "read 0 64k", "-c", "flush", "x.vmdk", tool=KILN_IO)
        assert cid_of("x.vmdk") == ids[0], kind
        for at in ("0", "64k", "128k"):
            ok("-f", "vmdk", "-c", "write -P 1 %s 64k" % at, "x.vmdk", tool=KILN_IO)
            ids.append(cid_of("x.vmdk"))
        assert len(set(ids)) == len(ids), (kind, ids)
        remove("x.vmdk")
    # Ids of other lengths, and descriptors that others wrote.
    for cid, end in (("1", "\n"), ("0000000000000012", "\n"), ("abcdef", "\r\n")):
        with open("y.vmdk", "w", newline="") as f:
            f.write(end.join(["# Disk DescriptorFile", "version=1", "CID=" + cid, "parentCID=ffffffff",
                              'createType="monolithicFlat"', 'RW 2 FLAT "y-flat.vmdk" 0', ""]))
        with open("y-flat.vmdk", "wb") as f:
            f.truncate(1024)
        ok("-f", "vmdk", "-c", "write -P 9 0 1k", "y.vmdk", tool=KILN_IO)
        assert re.search("CID=[0-9a-f]{8}" + end, read("y.vmdk").decode()) and cid_of("y.vmdk") != int(cid, 16), read("y.vmdk")
        qemu_io("y.vmdk", "read -P 9 0 1k", fmt="vmdk")


@test
def a_child_of_what_its_parent_was_is_refused():
    ok("create", "-q", "-f", "vmdk", "base.vmdk", "1M")
    ok("create", "-q", "-f", "vmdk", "-b", "base.vmdk", "-F", "vmdk", "top.vmdk")
    ok("-f", "vmdk", "-c", "read -P 0 0 1M", "top.vmdk", tool=KILN_IO)
    ok("-f", "vmdk", "-c", "write -P 1 0 512", "base.vmdk", tool=KILN_IO)
    for tool in (KILN_IO, "qemu-io"):
        status, out, err = run("-f", "vmdk", "-c", "read 0 64k", "top.vmdk", tool=tool)
        assert status == 1, (tool, out, err)
    assert "was changed after it" in run("-f", "vmdk", "-c", "read 0 64k", "top.vmdk", tool=KILN_IO)[2]
    assert facts(ok, "top.vmdk") == facts(qemu, "top.vmdk")


# ---- images from strangers --------------------------------------------------------------------------------


@test
def what_overlaps_is_not_written():
    make_raw("disk.raw", 40 << 20, 6)
    qemu("convert", "-f", "raw", "-O", "vmdk", "disk.raw", "good.vmdk")
    second, first = struct.unpack("<QQ", read("good.vmdk", 16, 48))
    table = struct.unpack("<I", read("good.vmdk", 4, first * 512))[0]
    grains = [i for i in range(512) if struct.unpack("<I", read("good.vmdk", 4, table * 512 + 4 * i))[0]]
    entry, other = (table * 512 + 4 * i for i in grains[:2])
    taken = struct.unpack("<I", read("good.vmdk", 4, other))[0]
    cases = [(entry, taken, "lies where another one lies"), (entry, taken + 1, "lies where another one lies"),
             (entry, 1, "own header or table"), (entry, table, "own header or table"), (entry, second, "own header or table"),
             (entry, 1 << 24, "behind the end of the file"), (second * 512, table, "lie in each other"),
             (second * 512, first, "lie in each other"), (second * 512 + 4, 0, "copy of a grain table is missing"),
             (first * 512 + 4, 0, "a grain table is missing"), (48, first, "lie in each other"), (4, 3, "version 3")]
    for offset, value, text in cases:
        shutil.copy("good.vmdk", "image.vmdk")
        patch("image.vmdk", offset, struct.pack("<I", value))
        before = read("image.vmdk")
        status, out, err = run("-f", "vmdk", "-c", "write -P 1 0 64k", "image.vmdk", tool=KILN_IO)
        assert status == 1 and text in err, "%x %x: %s%s lacks %r" % (offset, value, out, err, text)
        assert read("image.vmdk") == before, "%x %x: the file has changed" % (offset, value)
        ok("-r", "-f", "vmdk", "-c", "info", "image.vmdk", tool=KILN_IO)
    for lines, text in (('RDONLY 2 FLAT "y-flat.vmdk" 0', "descriptor says so"), ("RW 2 ZERO", "in no file"),
                        ('RW 1 FLAT "y-flat.vmdk" 0\nRW 1 FLAT "y-flat.vmdk" 0', "y-flat.vmdk"),
                        ('RW 1 FLAT "y.vmdk" 0', "y.vmdk")):
        with open("y.vmdk", "w") as f:
            f.write('# Disk DescriptorFile\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\n%s\n' % lines + "#" * 1024)
        with open("y-flat.vmdk", "wb") as f:
            f.truncate(1024)
        before = read("y.vmdk")
        status, out, err = run("-f", "vmdk", "-c", "write -P 1 0 512", "y.vmdk", tool=KILN_IO)
        assert status == 1 and text in err, (lines, out, err)
        assert read("y.vmdk") == before and read("y-flat.vmdk") == bytes(1024), lines


def name_sesparse(name, capacity=SESPARSE_SECTORS):
    with open("se.vmdk", "w") as f:
        f.write('# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType="seSparse"\n'
                'RW %d SESPARSE "%s"\n' % (capacity, name))


@test
def sesparse_extents_are_read():
    rand = random.Random(9)
    grains = {number: rand.choice((None, "unmapped", "zero", 1, 2, 3)) for number in rand.sample(range(12288), 6000)}
    make_sesparse("se-sesparse.vmdk", {**{12287: 8, 4095: 9, 4096: 10}, **grains})
    name_sesparse("se-sesparse.vmdk")
    qemu("convert", "-f", "vmdk", "-O", "raw", "se.vmdk", "theirs.raw")
    ok("convert", "-f", "vmdk", "-O", "raw", "se.vmdk", "ours.raw")
    assert read("theirs.raw") == read("ours.raw") and read("ours.raw").count(bytes([2]) * 4096) > 100
    assert facts(ok, "se.vmdk") == facts(qemu, "se.vmdk")
    ok("check", "-f", "vmdk", "se.vmdk")
    status, _, err = run("-f", "vmdk", "-c", "write 0 64k", "se.vmdk", tool=KILN_IO)
    assert status == 1 and "seSparse extents are only read" in err, err
    cases = [(8, 1, "its version"), (24, 16, "the sectors of a grain"), (32, 1, "the sectors of a table"), (40, 1, "its flags"),
             (56, 1, "a reserved word"), (0, 1, "the mark of its header"), (512, 1, "the mark of its volatile header"),
             (512 + 24, 1, "replayed"), (16, 1 << 60, "capacity"), (128, 1 << 60, "its directory"),
             (136, 0, "size of its directory"), (144, 1 << 60, "place of its tables"), (192, 1 << 60, "place of its grains"),
             (8 * 512, 1 << 59, "an entry of its directory"),
             (8 * 512, 1 << 60 | 0xffffffff, "beyond the end")]
    good = read("se-sesparse.vmdk")
    for offset, value, text in cases:
        patch("se-sesparse.vmdk", offset, struct.pack("<Q", value))
        refused("info", "-f", "vmdk", "se.vmdk", text=text)
        with open("se-sesparse.vmdk", "wb") as f:
            f.write(good)


@test
def a_check_finds_what_qemu_imgs_finds():
    make_raw("disk.raw", 9 << 20, 5)
    qemu("convert", "-f", "raw", "-O", "vmdk", "disk.raw", "image.vmdk")
    first, = struct.unpack("<Q", read("image.vmdk", 8, 56))
    table = struct.unpack("<I", read("image.vmdk", 4, first * 512))[0]
    patch("image.vmdk", table * 512 + 4 * 3, struct.pack("<I", 1 << 24))
    theirs, ours = (run("check", "-f", "vmdk", "image.vmdk", tool=tool) for tool in ("qemu-img", KILN))
    assert theirs[:2] == ours[:2] == (1, ""), (theirs, ours)
    assert all("sector 384" in each[2] for each in (theirs, ours)), (theirs, ours)


# ---- when things go wrong ------------------------------------------------------------------------------------


@test
def writes_that_fail_leave_it_sound():
    """One sector of each kind cannot be written, once: the content id, either set of tables, a grain; then a flush."""
    for kind in SPARSE[:2] + STREAM:
        ok("create", "-q", "-f", "vmdk", *option(kind), "good.vmdk", "8M")
        second, first = struct.unpack("<QQ", read("good.vmdk", 16, 48))
        places = [struct.unpack("<I", read("good.vmdk", 4, at * 512))[0] for at in (first, second)]
        end = os.path.getsize("good.vmdk") // 512
        for rule in (["sector=1"], ["sector=%d" % places[0]], ["sector=%d" % places[1]], ["sector=%d" % end],
                     ["sector=%d" % (end + 1)] if kind not in STREAM else ["sector=%d" % end], ["iotype=flush"]):
            shutil.copy("good.vmdk", "image.vmdk")
            rules = ["event=none", "once=on", "errno=28", *(rule if "iotype" in rule[0] else ["iotype=write", *rule])]
            spec = "driver=vmdk,file.driver=blkdebug,file.image.driver=file,file.image.filename=image.vmdk," + \
                ",".join("file.inject-error.0." + part for part in rules)
            commands = ["write -P 1 0 64k", "flush", "write -P 2 128k 64k", "flush", "write -P 3 1M 128k"]
            status, out, err = run("--image-opts", *[word for c in commands for word in ("-c", c)], spec, tool=KILN_IO)
            assert "No space left" in out + err, "%s %s: nothing failed: %s" % (kind, rule, out + err)
            qemu("check", "image.vmdk")
            same_tables("image.vmdk")
            for at, byte, length in ((0, 1, "64k"), ("128k", 2, "64k"), ("1M", 3, "128k")):
                lost = at == 0 and run("-f", "vmdk", "-c", "read -P 0 0 64k", "image.vmdk", tool="qemu-io")[0] == 0
                if not lost:
                    qemu_io("image.vmdk", "read -P %d %s %s" % (byte, at, length), fmt="vmdk")
                assert not lost or "write failed" in out, "%s %s: what was written is lost: %s" % (kind, rule, out)


@test
def a_full_disk_costs_only_what_failed():
    make_raw("disk.raw", 3 << 20, 7)
    for kind in SPARSE + FLAT + STREAM:
        for limit in (0, 100, 30000, 66000, 70000, 140000, 700000, 1500000):
            words = ["convert", "-f", "raw", "-S", "0", "-O", "vmdk", *option(kind), "disk.raw", "image.vmdk"]
            done = subprocess.run([KILN, *words], capture_output=True, text=True, timeout=LIMIT,
                                  preexec_fn=lambda: (signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
                                                      resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))))
            if done.returncode == 0:  # (streams may be small)
                same_content("image.vmdk", "disk.raw")
                continue
            assert done.returncode == 1 and "File too large" in done.stderr, (kind, limit, done)
            if limit > 66000 and kind not in FLAT:
                qemu("check", "image.vmdk")
                ok("check", "image.vmdk")
                same_tables("image.vmdk")


@test
def a_killed_convert_leaves_no_lies():
    """What the tables name is what the source has, whenever the process ends."""
    rand = random.Random(11)
    make_raw("disk.raw", 48 << 20, 8)
    source = read("disk.raw")
    seen = 0
    for kind in SPARSE[:1] + SPARSE[2:3] + STREAM + FLAT[:1]:
        for turn in range(8):
            words = ["convert", "-f", "raw", "-O", "vmdk", "-t", "writeback", *option(kind), "disk.raw", "image.vmdk"]
            process = subprocess.Popen([KILN, *words])
            time.sleep(rand.uniform(0.001, 0.25 if kind in STREAM else 0.06))
            process.kill()
            process.wait()
            if run("info", "-f", "vmdk", "image.vmdk", tool="qemu-img")[0]:
                continue  # not even made
            qemu("check", "-f", "vmdk", "image.vmdk")
            ok("check", "-f", "vmdk", "image.vmdk")
            same_tables("image.vmdk")
            qemu("convert", "-f", "vmdk", "-O", "raw", "image.vmdk", "now.raw")
            now = read("now.raw")
            for at in range(0, len(source), 4096):
                assert now[at:at + 4096] in (source[at:at + 4096], bytes(4096)), "%s: wrong at %d" % (kind, at)
            seen += now != source
    assert seen, "no process was killed in the midst of it"


# ---- machines ---------------------------------------------------------------------------------------------------


def monitor(commands, drive):
    words = ["-accel", "qtest", "-display", "none", "-monitor", "stdio", "-serial", "null", "-drive", drive]
    typed = "".join(c + "\n" for c in [*commands, "quit"])
    done = subprocess.run([SYSTEM, *words], input=typed, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stderr
    return done.stdout


@test
def a_machine_writes_them():
    for kind in SPARSE + FLAT:
        ok("create", "-q", "-f", "vmdk", *option(kind), "image.vmdk", "20M")
        monitor(['qemu-io d "write -P 7 3M 64k"', 'qemu-io d "write -P 8 9M 512"', "qemu-io d flush"],
                "file=image.vmdk,format=vmdk,if=none,id=d")
        qemu_io("image.vmdk", "read -P 7 3M 64k", "read -P 8 9M 512", "read -P 0 0 3M", fmt="vmdk")
        same_tables("image.vmdk")
        remove("image.vmdk")
    # What can only be read is a read-only drive, as QEMU makes it.
    make_sesparse("se-sesparse.vmdk", {0: 5})
    name_sesparse("se-sesparse.vmdk")
    out = monitor(["info block", 'qemu-io d "read -P 5 0 4k"', 'qemu-io d "write 0 4k"'],
                  "file=se.vmdk,format=vmdk,if=none,id=d")
    assert "read-only" in out and "read 4096/4096" in out and "wrote" not in out, out


@test
def copies_of_tables_that_differ_are_put_right():
    make_raw("disk.raw", 40 << 20, 10)
    ok("convert", "-f", "raw", "-O", "vmdk", "disk.raw", "image.vmdk")
    second, = struct.unpack("<Q", read("image.vmdk", 8, 48))
    table = struct.unpack("<I", read("image.vmdk", 4, second * 512 + 4))[0]
    patch("image.vmdk", table * 512, bytes(2048))
    ok("-r", "-f", "vmdk", "-c", "read 0 64k", "image.vmdk", tool=KILN_IO)
    assert read("image.vmdk", 2048, table * 512) == bytes(2048)
    ok("-f", "vmdk", "-c", "write -P 1 0 512", "image.vmdk", tool=KILN_IO)
    qemu_io("disk.raw", "write -P 1 0 512", fmt="raw")
    same_content("image.vmdk", "disk.raw")


@test
def a_commit_goes_into_the_parent():
    make_raw("model.raw", 4 << 20, 9)
    ok("convert", "-f", "raw", "-O", "vmdk", "model.raw", "base.vmdk")
    ok("create", "-q", "-f", "vmdk", "-b", "base.vmdk", "-F", "vmdk", "top.vmdk")
    commands = ["write -P 5 100k 300k", "write -P 6 2M 1k"]
    ok("-f", "vmdk", *[word for c in commands for word in ("-c", c)], "top.vmdk", tool=KILN_IO)
    qemu_io("model.raw", *commands, fmt="raw")
    before = cid_of("base.vmdk")
    ok("commit", "-d", "-f", "vmdk", "top.vmdk")
    same_content("base.vmdk", "model.raw")
    assert cid_of("base.vmdk") != before


if __name__ == "__main__":
    sys.exit(main("kiln-vmdk."))
