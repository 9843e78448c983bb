#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Images of other programs (vdi, vpc, vhdx, vmdk), made by qemu-img: what kiln-img reads is what was written, and
damaged ones are refused in words.

    test-formats.py KILN-IMG FUZZ-FORMATS      (TAP)
"""
import json
import os
import random
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from imgtest import make_sesparse
from tap import main, test

LIMIT = 120  # seconds: only a hang meets it
KILN, FUZZ = (os.path.abspath(path) for path in sys.argv[1:3])
KINDS = [("vdi", ""), ("vdi", "static=on"), ("vpc", ""), ("vpc", "subformat=fixed"), ("vpc", "force_size=on"),
         ("vhdx", ""), ("vhdx", "subformat=fixed"), ("vhdx", "block_size=2M"), ("vmdk", ""),
         ("vmdk", "subformat=monolithicFlat"), ("vmdk", "subformat=twoGbMaxExtentSparse"),
         ("vmdk", "subformat=twoGbMaxExtentFlat"), ("vmdk", "subformat=streamOptimized"), ("vmdk", "zeroed_grain=on")]


def run(tool, *args):
    done = subprocess.run([tool, *args], capture_output=True, text=True, timeout=LIMIT)
    return done.returncode, done.stdout, done.stderr


def ok(tool, *args):
    status, out, err = run(tool, *args)
    assert status == 0, "%s %s: status %d: %s" % (tool, " ".join(args), status, out + err)
    return out


def make_raw(name, size, seed):
    """Text, noise and holes of several sizes, so that every kind of block comes up."""
    rand = random.Random(seed)
    with open(name, "wb") as f:
        f.truncate(size)
        for _ in range(24):
            at, length = rand.randrange(size), rand.choice((512, 5000, 70000, 1 << 20))
            length = min(length, size - at)
            f.seek(at)
            f.write(rand.randbytes(length) if rand.random() < 0.5 else (b"the same again " * length)[:length])


def make(fmt, options, raw, name):
    ok("qemu-img", "convert", "-f", "raw", "-O", fmt, *(["-o", options] if options else []), raw, name)


def refused(fmt, name, text):
    status, out, err = run(KILN, "info", "-f", fmt, name)
    assert status == 1 and text in err, "%s: status %d: %r lacks %r" % (name, status, err, text)


def patch(name, offset, data):
    with open(name, "r+b") as f:
        f.seek(offset)
        f.write(data)


@test
def content_is_what_qemu_img_wrote():
    make_raw("disk.raw", (17 << 20) + 3 * 512, 1)
    for fmt, options in KINDS:
        make(fmt, options, "disk.raw", "image")
        # What qemu-img reads is the truth: some formats round the size up.
        ok("qemu-img", "convert", "-f", fmt, "-O", "raw", "image", "theirs.raw")
        ok(KILN, "convert", "-f", fmt, "-O", "raw", "image", "ours.raw")
        ok("cmp", "theirs.raw", "ours.raw")
        ok(KILN, "convert", "-f", fmt, "-O", "qcow2", "image", "ours.qcow2")
        ok("qemu-img", "compare", "-f", "raw", "-F", "qcow2", "theirs.raw", "ours.qcow2")
        ok(KILN, "compare", "-f", fmt, "-F", "raw", "image", "ours.raw")


@test
def facts_are_what_qemu_img_says():
    make_raw("disk.raw", 5 << 20, 2)
    for fmt, options in KINDS:
        make(fmt, options, "disk.raw", "image")
        ours, theirs = (json.loads(ok(tool, "info", "-f", fmt, "--output=json", "image")) for tool in (KILN, "qemu-img"))
        for facts in (ours, theirs):
            facts.pop("actual-size")
        assert ours == theirs, "%s %s:\n%s\nqemu-img's\n%s" % (fmt, options, ours, theirs)


@test
def a_format_is_recognised():
    make_raw("disk.raw", 3 << 20, 3)
    for fmt, options in KINDS:
        if options == "subformat=fixed" and fmt == "vpc":
            continue  # it is the raw disk with a footer
        make(fmt, options, "disk.raw", "image")
        facts = json.loads(ok(KILN, "info", "--output=json", "image"))
        assert facts["format"] == fmt, (fmt, options, facts)


@test
def a_vmware_parent_is_read_through():
    make_raw("base.raw", 4 << 20, 4)
    make("vmdk", "", "base.raw", "base.vmdk")
    ok("qemu-img", "create", "-q", "-f", "vmdk", "-b", "base.vmdk", "-F", "vmdk", "top.vmdk")
    ok("qemu-io", "-f", "vmdk", "-c", "write -P 7 100k 300k", "-c", "write -P 9 3M 64k", "top.vmdk")
    ok("qemu-img", "convert", "-f", "vmdk", "-O", "raw", "top.vmdk", "theirs.raw")
    ok(KILN, "convert", "-f", "vmdk", "-O", "raw", "top.vmdk", "ours.raw")
    ok("cmp", "theirs.raw", "ours.raw")
    # The parent moves on: what the child says about it no longer holds.
    ok("qemu-io", "-f", "vmdk", "-c", "write -P 1 0 64k", "base.vmdk")
    status, _, err = run(KILN, "convert", "-f", "vmdk", "-O", "raw", "top.vmdk", "ours.raw")
    assert status == 1 and "was changed after it" in err, err


@test
def a_descriptor_opens_only_files_beside_it():
    with open("secret", "wb") as f:
        f.write(b"s" * 512)
    for name in ("../2/secret", os.path.abspath("secret"), "..", ""):
        with open("evil.vmdk", "w") as f:
            f.write('# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\nRW 1 FLAT "%s" 0\n' % name)
        refused("vmdk", "evil.vmdk", "no file beside the descriptor")
    with open("evil.vmdk", "w") as f:
        f.write('# Disk DescriptorFile\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\nRW 2 FLAT "secret" 0\n')
    refused("vmdk", "evil.vmdk", "ends before the descriptor says")
    with open("evil.vmdk", "w") as f:
        f.write('# Disk DescriptorFile\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\nRW 1 FLAT "json:{}" 0\n')
    refused("vmdk", "evil.vmdk", "No such file")
    with open("good.vmdk", "w") as f:
        f.write('# Disk DescriptorFile\nCID=1\nparentCID=ffffffff\ncreateType="custom"\nRW 1 FLAT "secret" 0\nRW 7 ZERO\n')
    ok(KILN, "convert", "-f", "vmdk", "-O", "raw", "good.vmdk", "out.raw")
    with open("out.raw", "rb") as f:
        assert f.read() == b"s" * 512 + bytes(7 * 512)


@test
def damage_is_told_in_words():
    make_raw("disk.raw", 3 << 20, 6)
    cases = [
        ("vdi", 0x40, b"xxxx", "does not begin as a VDI image"), ("vdi", 0x44, b"\2\0\2\0", "version is 2.2"),
        ("vdi", 0x4c, struct.pack("<I", 4), "type is 4"), ("vdi", 0x178, struct.pack("<I", 3 << 20), "blocks have"),
        ("vdi", 0x180, struct.pack("<I", 1), "has 1 blocks"), ("vdi", 0x1a8, b"\1", "difference to a parent"),
        ("vdi", 0x170, struct.pack("<Q", 2**63), "disk of 9223372036854775808 bytes"),
        ("vdi", 0x154, struct.pack("<I", 0xffff0000), "beyond the end"),
        ("vpc", 0x30, b"\1", "checksum"), ("vpc", 0x200, b"x", "header of its table"),
        ("vhdx", 0, b"x", "does not begin as a VHDX"), ("vmdk", 4, b"\7", "version is 7"),
        ("vmdk", 12, struct.pack("<Q", 2**60), "capacity"), ("vmdk", 20, bytes(8), "sectors of a grain is 0"),
        ("vmdk", 44, bytes(4), "entries of a table is 0"), ("vmdk", 56, struct.pack("<Q", 2**40), "beyond the end"),
        ("vmdk", 36, struct.pack("<Q", 2**40), "descriptor"), ("vmdk", 512, b"\0", "no createType"),
    ]
    for fmt, offset, data, text in cases:
        make(fmt, "", "disk.raw", "image")
        patch("image", offset, data)
        refused(fmt, "image", text)
    make("vhdx", "", "disk.raw", "image")
    for at in (64 << 10, 128 << 10):
        patch("image", at + 100, b"x")
    refused("vhdx", "image", "both of its headers are damaged")
    make("vhdx", "", "disk.raw", "image")
    patch("image", (192 << 10) + 100, b"x")
    ok(KILN, "info", "-f", "vhdx", "image")  # the second table serves
    patch("image", (256 << 10) + 100, b"x")
    refused("vhdx", "image", "both of its region tables are damaged")
    make("vmdk", "subformat=streamOptimized", "disk.raw", "image")
    patch("image", 20, struct.pack("<Q", 4097))
    patch("image", os.path.getsize("image") - 1024 + 20, struct.pack("<Q", 4097))
    refused("vmdk", "image", "sectors of a compressed grain is 4097")
    make("vmdk", "subformat=streamOptimized", "disk.raw", "image")
    os.truncate("image", os.path.getsize("image") - 512)
    for fmt in ("vdi", "vpc", "vhdx", "vmdk"):
        make(fmt, "", "disk.raw", "image")
        os.truncate("image", 300)
        refused(fmt, "image", "ends before byte")


@test
def what_is_missing_fails_instead_of_reading_zeros():
    make_raw("disk.raw", 3 << 20, 7)
    for fmt in ("vdi", "vpc", "vhdx", "vmdk"):
        make(fmt, "", "disk.raw", "image")
        tables = {"vdi": 2 << 20, "vpc": 1 << 20, "vhdx": 9 << 20, "vmdk": 1 << 20}[fmt]
        os.truncate("image", tables)
        status, _, err = run(KILN, "convert", "-f", fmt, "-O", "raw", "image", "out.raw")
        assert status == 1 and err, (fmt, status, err)


@test
def random_damage_harms_nobody():
    rand = random.Random(8)
    make_raw("disk.raw", 2 << 20, 8)
    inputs = []
    extents = [("vmdk", "subformat=twoGbMaxExtentSparse", "good-s001"), ("seSparse", "", "good")]
    for fmt, options, name in [(*kind, "good") for kind in KINDS] + extents:
        if fmt == "seSparse":
            make_sesparse(name, {number: rand.choice(("unmapped", "zero", 1, 2)) for number in rand.sample(range(12288), 300)})
        else:
            make(fmt, options, "disk.raw", "good")
        with open(name, "rb") as f:
            good = f.read(3 << 20)
        for number in range(25):
            bad = bytearray(good)
            for _ in range(rand.randrange(1, 6)):
                at = rand.randrange(min(len(bad), rand.choice((512, 4096, 1 << 18, len(bad)))))
                value = rand.choice((rand.randbytes(1), b"\xff" * 4, bytes(4), b"\0\0\0\x80", rand.randbytes(8)))
                bad[at:at + len(value)] = value
            if rand.random() < 0.1:
                del bad[rand.randrange(len(bad)):]
            inputs.append("bad-%d" % len(inputs))
            with open(inputs[-1], "wb") as f:
                f.write(bad)
    opened = written = 0
    for start in range(0, len(inputs), 50):
        status, out, err = run(FUZZ, *inputs[start:start + 50])
        assert status == 0, "%s: status %d: %s" % (inputs[start], status, out + err[-3000:])
        opened += int(out.split()[0])
        written += int(out.split()[2])
    assert len(inputs) // 10 < opened < len(inputs), "%d of %d images were opened" % (opened, len(inputs))
    assert len(inputs) // 20 < written, "only %d of %d images were written" % (written, len(inputs))


if __name__ == "__main__":
    sys.exit(main("kiln-formats."))
