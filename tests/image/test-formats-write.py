#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Images of other programs (vdi, vpc, vhdx) that Kiln makes and writes, beside qemu-img and qemu-io: new images are the same byte
for byte, what either wrote the other reads, and images that cannot be written without damage are refused.

    test-formats-write.py KILN-IMG KILN-IO KILN-SYSTEM      (TAP)
"""
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from imgtest import LIMIT, Twins, ok, qemu, qemu_io, random_commands, run, write_recorded
from tap import main, test

KILN_IO, SYSTEM = (os.path.abspath(path) for path in sys.argv[2:4])
KINDS = [("vdi", ""), ("vdi", "static=on"), ("vpc", ""), ("vpc", "subformat=fixed"), ("vpc", "force_size=on"),
         ("vpc", "force_size=on,subformat=fixed"), ("vhdx", ""), ("vhdx", "subformat=fixed"),
         ("vhdx", "subformat=fixed,block_state_zero=off"), ("vhdx", "block_size=1M,log_size=3M"),
         ("vhdx", "block_state_zero=off,block_size=700k")]


def option(options):
    return ["-o", options] if options else []


def without_chance(data, fmt):
    """Without UUIDs, times, and the checksums over them."""
    data = bytearray(data)
    if fmt == "vdi":
        data[0x188:0x1a8] = bytes(32)
    if fmt == "vhdx" and data[:8] == b"vhdxfile":
        data[8:0x10000] = bytes(0x10000 - 8)
        for at in (0x10000, 0x20000):
            data[at + 4:at + 48] = bytes(44)
        at = data.index(b"metadata") + 0x10000 + 16  # page 83
        data[at:at + 16] = bytes(16)
    at = data.find(b"conectix") if fmt == "vpc" else -1
    while at >= 0:
        data[at + 24:at + 28] = bytes(4)
        data[at + 64:at + 84] = bytes(20)
        at = data.find(b"conectix", at + 8)
    return bytes(data)


def ends_of(name, length=24 << 20):
    with open(name, "rb") as f:
        head = f.read(length)
        f.seek(max(0, os.path.getsize(name) - 512))
        return head, f.read()


@test
def new_images_are_qemu_imgs():
    twins = Twins()
    for fmt, options in KINDS:
        for size in ("0", "1", "513", "34816", "10M", "1G", "130G", "2040G", "2041G"):
            if size[-1] == "G" and ("fixed" in options or "static" in options) and int(size[:-1]) > 1000:
                continue
            if fmt == "vhdx" and size == "0":
                continue  # qemu-img makes a BAT of 64 MiB for no block, and cannot open it
            twins.same("create", "-f", fmt, *option(options), "x", size)
            images = [os.path.join(where, "x") for where in twins.dirs.values()]
            if not os.path.exists(images[1]):
                continue  # too large for both
            what = "%s %s %s" % (fmt, options, size)
            sizes = [os.path.getsize(name) for name in images]
            assert sizes[0] == sizes[1], "%s: the file has %d bytes, not %d" % (what, sizes[1], sizes[0])
            theirs, ours = ([without_chance(part, fmt) for part in ends_of(name)] for name in images)
            assert theirs == ours, "%s: the files differ" % what
            for name in images:
                os.unlink(name)


@test
def what_qemu_img_refuses_is_refused():
    twins = Twins()
    twins.same("create", "-q", "-f", "vpc", "-o", "subformat=sparse", "x", "1M", stderr=False)
    twins.same("create", "-q", "-f", "vdi", "-b", "y", "x", "1M")
    for wrong in ("block_size=3M", "log_size=5G", "subformat=sparse"):
        twins.same("create", "-q", "-f", "vhdx", "-o", wrong, "x", "1M", stderr=False)
    twins.same("create", "-q", "-f", "vhdx", "x", "65T")
    for fmt in ("vdi", "vpc", "vhdx"):
        twins.same("create", "-q", "-f", fmt, "x", "10M")
        if fmt != "vhdx":
            twins.same("check", "-r", "all", "-f", fmt, "x")
        twins.same("resize", "-f", fmt, "x", "20M", stderr=False)
        twins.same("measure", "-O", fmt, "--size", "10M")
        twins.same("convert", "-c", "-O", fmt, "x", "y", stderr=False)
        if fmt == "vpc":
            twins.same("check", "-f", "vpc", "x")


def make_raw(name, size, seed):
    rand = random.Random(seed)
    with open(name, "wb") as f:
        f.truncate(size)
        for _ in range(24):
            at = rand.randrange(size)
            f.seek(at)
            f.write(rand.randbytes(min(size - at, rand.choice((512, 5000, 70000, 1 << 20)))))


def same_content(fmt, name, raw):
    qemu("compare", "-f", fmt, "-F", "raw", name, raw)
    ok("compare", "-f", fmt, "-F", "raw", name, raw)
    if fmt != "vpc":
        qemu("check", "-f", fmt, name)
        ok("check", "-f", fmt, name)


@test
def converted_images_are_the_disk():
    make_raw("disk.raw", (17 << 20) + 3 * 512, 1)
    for fmt, options in KINDS:
        for more in ([], ["-m", "8", "-W"]) if options else ([], ["-m", "8", "-W"], ["-t", "none"], ["-S", "0"]):
            ok("convert", "-f", "raw", "-O", fmt, *more, *option(options), "disk.raw", "image")
            same_content(fmt, "image", "disk.raw")
            facts = [json.loads(tool("info", "-f", fmt, "--output=json", "image")) for tool in (ok, qemu)]
            assert facts[0].pop("actual-size") and facts[1].pop("actual-size") and facts[0] == facts[1], facts
        qemu("convert", "-f", fmt, "-O", "raw", "image", "back.raw")
        ok("convert", "-f", "raw", "-n", "-O", fmt, "back.raw", "image")
        same_content(fmt, "image", "disk.raw")


@test
def both_programs_write_in_turn():
    rand = random.Random(3)
    make_raw("disk.raw", 9 << 20, 2)
    for fmt, options in KINDS:
        ok("convert", "-f", "raw", "-O", fmt, *option(options), "disk.raw", "image")
        qemu("convert", "-f", fmt, "-O", "raw", "image", "model.raw")
        for turn in range(5):
            commands = random_commands(rand, os.path.getsize("model.raw"))
            words = [word for command in commands for word in ("-c", command)]
            ok("-f", fmt, *(["-d", "unmap"] if turn % 4 == 1 else []), *words, "image", tool=KILN_IO if turn % 2 else "qemu-io")
            qemu_io("model.raw", *commands, fmt="raw")
            same_content(fmt, "image", "model.raw")


@test
def a_vpc_file_ends_with_its_footer():
    ok("create", "-q", "-f", "vpc", "image", "20M")
    for at in (0, 5 << 20, 12 << 20):
        ok("-f", "vpc", "-c", "write -P 1 %d 64k" % at, "image", tool=KILN_IO)
        head, end = ends_of("image")
        assert end == head[:512], "written at %d, the file does not end with its footer" % at


def patch(name, offset, data):
    with open(name, "r+b") as f:
        f.seek(offset)
        f.write(data)


@test
def places_that_overlap_are_not_written():
    cases = [("vdi", 0x200, "<I", 1, "where another one lies"), ("vdi", 0x200, "<I", 4000, "behind the end of the file"),
             ("vdi", 0x158, "<I", 0x200, "own header or table"), ("vdi", 0x154, "<I", 0x100, "lie in each other"),
             ("vhdx", 2 << 20, "<Q", 1 << 20 | 6, "own header or table"), ("vhdx", 2 << 20, "<Q", 3 << 20 | 6, "own header or table"),
             ("vhdx", 2 << 20, "<Q", 4000 << 20 | 6, "behind the end of the file"), ("vhdx", 2 << 20, "<Q", None, "where another one lies"),
             ("vpc", 0x600, ">I", None, "where another one lies"), ("vpc", 0x600, ">I", 3, "own header or table"),
             ("vpc", 0x600, ">I", 0, "own header or table"), ("vpc", 0x600, ">I", 1 << 20, "behind the end of the file")]
    for fmt, offset, form, value, text in cases:
        make_raw("disk.raw", 9 << 20, 4)
        qemu("convert", "-f", "raw", "-O", fmt, "disk.raw", "image")
        if value is None:  # a place in the midst of the next block
            with open("image", "rb") as f:
                f.seek(offset + struct.calcsize(form))
                value = struct.unpack(form, f.read(struct.calcsize(form)))[0] + (1 << 20 if fmt == "vhdx" else 1)
        patch("image", offset, struct.pack(form, value))
        with open("image", "rb") as f:
            before = f.read()
        status, out, err = run("-f", fmt, "-c", "write -P 1 0 64k", "image", tool=KILN_IO)
        assert status == 1 and text in err, "%s %x: %s%s lacks %r" % (fmt, offset, out, err, text)
        with open("image", "rb") as f:
            assert f.read() == before, "%s %x: the file has changed" % (fmt, offset)
        ok("-r", "-f", fmt, "-c", "info", "image", tool=KILN_IO)


@test
def a_check_finds_what_qemu_imgs_finds():
    twins = Twins()
    make_raw("disk.raw", 9 << 20, 5)
    qemu("convert", "-f", "raw", "-O", "vdi", "disk.raw", "good")
    for offset, value in ((0x200, 1), (0x204, 400), (0x184, 2), (0x184, 99)):
        for where in twins.dirs.values():
            qemu("convert", "-f", "vdi", "-O", "vdi", "good", os.path.join(where, "image"))
            patch(os.path.join(where, "image"), offset, struct.pack("<I", value))
        if value == 99:  # a count that runs ahead costs room only, which qemu-img has no word for
            (theirs, _, _), (ours, _, _) = twins.both("check", "-f", "vdi", "image")
            assert (theirs, ours) == (2, 3), (theirs, ours)
        else:
            twins.same("check", "-f", "vdi", "image")


def power_cuts(rand, before, entries):
    """Images as each write leaves them, and as it might be when some that no flush covers never came; with how many were done."""
    stable, loose = bytearray(before), []

    def apply(image, offset, data):
        image.extend(bytes(max(0, offset + len(data) - len(image))))
        image[offset:offset + len(data)] = data

    for count, (offset, data, flush) in enumerate(entries):
        if flush:
            for write in loose:
                apply(stable, *write)
            loose = []
        elif data:
            loose.append((offset, data))
            for chosen in (loose, [write for write in loose if rand.random() < 0.5]):
                if rand.randrange(3) == 0: # one in three will do
                    image = bytearray(stable)
                    for write in chosen:
                        apply(image, *write)
                    yield count + 1, bytes(image)


def flushed_before(groups, entries):
    """How many groups were flushed when so many entries were done: those before the one whose data is in the last of them."""
    level, levels = 0, [0]
    for _, data, _ in entries:
        number = data[0] if data and len(set(data)) == 1 and 0 < data[0] <= len(groups) else 0
        level = max(level, number - 1)
        levels.append(level)
    return levels


@test
def a_power_cut_leaves_what_was_flushed():
    rand = random.Random(11)
    for fmt, options in (("vhdx", "block_size=1M"), ("vhdx", "block_size=1M,log_size=2M"), ("vdi", ""), ("vpc", "force_size=on")):
        for writer in (KILN_IO, "qemu-io") if fmt == "vhdx" else (KILN_IO,):
            ok("create", "-q", "-f", fmt, *option(options), "image", "24M")
            blocks = rand.sample(range(12), 12)
            groups = [[(blocks[2 * n] * (2 << 20) + 8192 * n, 4096), (blocks[2 * n + 1] * (2 << 20), 12288),
                       (blocks[2 * n] * (2 << 20) + 65536 * (n + 1), 512)] for n in range(6)]
            with open("image", "rb") as f:
                before = f.read()
            entries = write_recorded(writer, fmt, "image", groups)
            if writer != KILN_IO:  # which makes the file longer without a write
                before += bytes(os.path.getsize("image") - len(before))
            levels, replays = flushed_before(groups, entries), 0
            for count, state in power_cuts(rand, before, entries):
                judge, reader = rand.choice((("qemu-img", "qemu-io"), (None, KILN_IO))) if writer == KILN_IO else (None, KILN_IO)
                with open("cut", "wb") as f:
                    f.write(state)
                if fmt == "vhdx":
                    out = ok("check", "-r", "all", "-f", fmt, "cut", **({"tool": judge} if judge else {}))
                    replays += "repaired" in out
                reads = [word for number, places in enumerate(groups[:levels[count]]) for at, length in places
                         for word in ("-c", "read -P %d %d %d" % (number + 1, at, length))]
                out = ok("-f", fmt, *reads, "-c", "read 0 24M", "cut", tool=reader)
                assert "verification failed" not in out, "%s after %d of %d writes: %s" % (fmt, count, len(entries), out)
            assert levels[-1] == 5 and (replays > 1 or fmt != "vhdx"), (fmt, writer, levels[-1], replays)


def counted_ahead(out):
    """Is it all that qemu-img complains of that the header counts more blocks than the table has?"""
    found = re.findall(r"ERROR: (.*)", out)
    count = re.fullmatch(r"allocated blocks mismatch, is (\d+), should be (\d+)", found[0]) if len(found) == 1 else None
    return bool(count) and int(count.group(1)) < int(count.group(2))


@test
def a_vdi_after_a_power_cut_is_sound_or_counts_too_many():
    """A count that is too low would have QEMU write over a block. Opened to be written, it is put right."""
    rand = random.Random(12)
    ok("create", "-q", "-f", "vdi", "image", "24M")
    groups = [[(n * (2 << 20), 4096), (n * (2 << 20) + (1 << 20) + 512, 8192)] for n in range(10)]
    with open("image", "rb") as f:
        before = f.read()
    entries = write_recorded(KILN_IO, "vdi", "image", groups)
    levels, ahead = flushed_before(groups, entries), 0
    for count, state in power_cuts(rand, before, entries):
        with open("cut", "wb") as f:
            f.write(state)
        status, out, err = run("check", "-f", "vdi", "cut", tool="qemu-img")
        ahead += status == 2
        assert status == 0 or (status == 2 and counted_ahead(out + err)), out + err
        reads = ["read -P %d %d %d" % (number + 1, at, length)
                 for number, places in enumerate(groups[:levels[count]]) for at, length in places]
        shutil.copy("cut", "theirs")
        words = [word for each in ["write -P 99 23M 64k", *reads] for word in ("-c", each)]
        assert "verification failed" not in ok("-f", "vdi", *words, "theirs", tool="qemu-io")
        ok("-f", "vdi", "-c", "flush", "cut", tool=KILN_IO)
        qemu("check", "-f", "vdi", "cut")
    assert ahead > 1, ahead


@test
def a_machine_writes_them():
    for fmt in ("vdi", "vpc", "vhdx"):
        ok("create", "-q", "-f", fmt, "image", "20M")
        script = 'qemu-io d "write -P 7 3M 64k"\nqemu-io d "write -P 8 9M 512"\nqemu-io d flush\nquit\n'
        done = subprocess.run([SYSTEM, "-accel", "qtest", "-display", "none", "-monitor", "stdio", "-serial", "null", "-drive",
                               "file=image,format=%s,if=none,id=d" % fmt], input=script, capture_output=True, text=True, timeout=LIMIT)
        assert done.returncode == 0, done.stderr
        qemu_io("image", "read -P 7 3M 64k", "read -P 8 9M 512", "read -P 0 0 3M", fmt=fmt)
        os.unlink("image")


if __name__ == "__main__":
    sys.exit(main("kiln-formats-write."))
