#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What kiln-img says and does, beside qemu-img: the same commands in two directories must give the same output, exit
status and images.

    test-img.py KILN-IMG [NAME...]      (TAP; names: only the tests whose name contains one of them)
"""
import errno
import fcntl
import json
import os
import re
import shutil
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from imgtest import KILN, LIMIT, Twins, make_chain, no_sizes, ok, qemu, qemu_io, refused, run
from tap import main, test

# ---- create ------------------------------------------------------------------------------------

@test
def create_says_and_makes_what_qemu_img_does():
    t = Twins()
    for args in (["r.raw", "10M"], ["-f", "raw", "-o", "size=1M", "s.raw"], ["-f", "qcow2", "a.qcow2", "64M"],
                 ["-f", "qcow2", "-o", "cluster_size=128k,compat=1.1,refcount_bits=8,lazy_refcounts=on", "b.qcow2", "1.5G"],
                 ["-f", "qcow2", "-o", "preallocation=metadata,extended_l2=on,compression_type=zstd", "c.qcow2", "3M"],
                 ["-f", "qcow2", "-o", "compat=0.10", "-o", "size=7M", "d.qcow2"],
                 ["-f", "qcow2", "-b", "a.qcow2", "-F", "qcow2", "e.qcow2"],
                 ["-f", "qcow2", "-o", "backing_file=r.raw,backing_fmt=raw", "f.qcow2", "20M"],
                 ["-f", "qcow2", "-u", "-b", "gone", "-F", "raw", "g.qcow2", "1M"],
                 ["-f", "qcow2", "-o", "data_file=h.data,data_file_raw=on", "h.qcow2", "2M"],
                 ["-f", "qcow2", "-b", "a.qcow2", "-F", "qcow2", "-o", "preallocation=metadata,extended_l2=on", "k.qcow2"],
                 ["-q", "-f", "qcow2", "i.qcow2", "1025"]):
        t.same("create", *args)
        name = next(a for a in args if re.fullmatch(r"\w\.(raw|qcow2)", a) and a not in ("r.raw", "a.qcow2") or
                    a in ("r.raw", "a.qcow2") and a == args[-2])
        if name not in ("g.qcow2",):
            t.same_json("info", "--output=json", name, without=("actual-size",))


def attributes(path):
    """What the file system was asked for: fsxattr, in hexadecimal; or that it has none."""
    with open(path, "rb") as f:
        try:
            return fcntl.ioctl(f, 0x801c581f, bytes(28)).hex()  # FS_IOC_FSGETXATTR
        except OSError as why:
            return errno.errorcode[why.errno]


@test
def create_asks_the_file_system_for_what_qemu_img_asks():
    t = Twins()
    for n, (fmt, options) in enumerate((("raw", []), ("raw", ["-o", "nocow=on,extent_size_hint=2M"]), ("raw", ["-o", "extent_size_hint=0"]),
                                        ("qcow2", ["-o", "nocow=on"]), ("qcow2", ["-o", "extent_size_hint=64k,nocow=off"]))):
        name = "%d.img" % n
        t.same("create", "-f", fmt, *options, name, "1M")
        theirs, ours = (attributes(os.path.join(directory, name)) for directory in t.dirs.values())
        assert theirs == ours, (fmt, options, theirs, ours)
    refused("create", "-o", "extent_size_hint=4G", "x", "1M", text="Extent size hint is too large")
    refused("create", "-o", "nocow=maybe", "x", "1M", text="Parameter 'nocow' expects 'on' or 'off', not 'maybe'")
    ok("create", "-q", "-f", "qcow2", "a.qcow2", "1M")
    refused("amend", "-o", "nocow=on", "a.qcow2", text="nocow")


@test
def create_help_lists_options():
    for fmt, names in (("qcow2", ("cluster_size", "backing_fmt", "refcount_bits")), ("raw", ("size",))):
        out = ok("create", "-f", fmt, "-o", "help")
        theirs = qemu("create", "-f", fmt, "-o", "help")
        assert out.startswith("Supported %s options:\n" % fmt), out
        for line in out.splitlines()[1:]:
            if not line.startswith("  encrypt."):  # without the old AES encryption
                assert line in theirs, line  # what there is reads as qemu-img's
        assert all(name in out for name in names), out


@test
def names_with_a_protocol():
    t = Twins()
    for args in (["create", "-f", "raw", "file:a:b.raw", "1M"], ["create", "-f", "qcow2", "file:c.qcow2", "1M"],
                 ["create", "-f", "qcow2", "-o", "data_file=d.raw", "file:d.qcow2", "1M"],
                 ["convert", "-O", "qcow2", "c.qcow2", "file:e.qcow2"], ["dd", "if=c.qcow2", "of=file:f.raw", "bs=64k"]):
        t.same(*args)
    t.same("info", "file:a:b.raw", clean=no_sizes)
    for words, text in (("json:{", "'json:{': JSON parse error"), ("json:", "'json:': JSON parse error"),
                        ('json:{"driver":"null-co"} x', "JSON parse error"), ("json:[]", "'json:[]' are no object")):
        refused("info", words, text=text)
    names = [sorted(os.listdir(where)) for where in t.dirs.values()]
    assert names[0] == names[1] == ["a:b.raw", "c.qcow2", "d.qcow2", "d.raw", "e.qcow2", "f.raw"], names
    where = os.path.join(t.dirs[KILN], "c.qcow2")
    qemu_io(where, "write -P 7 0 64k")
    refused("convert", "-O", "raw", where, "file:" + where, text="is part of the source")
    qemu_io(where, "read -P 7 0 64k")
    for args in (["create", "foo:x", "1M"], ["create", "-f", "qcow2", "json:{}", "1M"], ["convert", "-O", "raw", where, "foo:x"]):
        refused(*args, text="Unknown protocol")
    refused("dd", "if=" + where, "of=foo:x", text="Unknown protocol")
    assert not os.path.exists("foo:x") and not os.path.exists("json:{}")


@test
def room_in_advance_over_a_backing_file():
    qemu("create", "-q", "-f", "raw", "back.raw", "3M")
    qemu_io("back.raw", "write -P 6 0 3M", fmt="raw")
    for mode in ("metadata", "falloc", "full"):
        ok("create", "-q", "-f", "qcow2", "-o", "extended_l2=on,cluster_size=32k,preallocation=" + mode, "-b", "back.raw", "-F", "raw", "o")
        end = os.path.getsize("o")
        qemu_io("o", "read -P 6 0 3M")
        ok("-f", "qcow2", "-c", "write -P 8 100k 3k", "-c", "write -z 1M 40k", "o", tool=KILN[:-len("img")] + "io")
        qemu_io("o", "read -P 6 0 100k", "read -P 8 100k 3k", "read -P 6 103k 921k", "read -P 0 1M 40k", "read -P 6 1064k 2008k")
        ok("compare", "-f", "qcow2", "-F", "qcow2", "o", "o")
        qemu("check", "o")
        assert os.path.getsize("o") == end > 3 << 20, (end, os.path.getsize("o"))
    refused("create", "-f", "qcow2", "-o", "preallocation=metadata", "-b", "back.raw", "-F", "raw", "p", text="extended_l2")


@test
def create_refuses():
    t = Twins()
    t.prepare(lambda: qemu("create", "-q", "-f", "qcow2", "a.qcow2", "1M"))
    for args in (["-f", "bogus", "x", "1M"], ["-f", "qcow2", "x"], ["x", "1Z"], ["x", "99999999999999999999"], [],
                 ["x", "1M", "y"], ["-f", "raw", "-b", "a.qcow2", "x", "1M"], ["-q", "-f", "qcow2", "-F", "qcow2", "x", "1M"],
                 ["-q", "-f", "qcow2", "-b", "", "x", "1M"], ["x", "+1M"], ["x", " 1M"], ["x", "+ 1M"],
                 ["-f", "raw", "-o", "help", "x", "1x"]):
        t.same("create", *args)
    for args in (["-f", "qcow2", "-o", "cluster_size=3k", "x", "1M"], ["-f", "qcow2", "-o", "lazy_refcounts=maybe", "x", "1M"],
                 ["-f", "qcow2", "-o", "preallocation=abc", "x", "1M"], ["-f", "qcow2", "-b", "a.qcow2", "x"],
                 ["-f", "qcow2", "-b", "gone", "-F", "raw", "x"], ["-f", "raw", "x", "7E"], ["x", "-1"],
                 ["-f", "qcow2", "-b", "a.qcow2", "-F", "bogus", "x", "1M"]):
        theirs, ours = t.both("create", *args)
        assert theirs[0] == ours[0] == 1 and ours[2].startswith("kiln-img: "), (args, ours, theirs)
    refused("create", "-f", "qcow2", "-o", "cluster_sise=64k", "x", "1M", text="Invalid parameter 'cluster_sise' (did you mean 'cluster_size'?)")
    refused("create", "-f", "parallels", "x", "1M", text="parallels")
    for fmt in ("qcow2", "vdi", "vhdx", "vpc"):  # it takes all that is written and keeps nothing
        refused("create", "-f", fmt, "/dev/null", "1M", text="A device of 0 bytes has no room for an image")
    t.same("create", "-f", "qcow2", "-u", "-b", "gone", "x", "1M")  # has no format to guess
    refused("create", "-f", "qcow2", "-o", "size=3M", "x", "5M", text="The image size must be specified only once")
    for words in (",", "", "size=1M,", "size=1M,,,"):
        refused("create", "-f", "qcow2", "-o", words, "x", "1M", text="Invalid option list: " + words)
        refused("amend", "-o", words, os.path.join(t.dirs[KILN], "a.qcow2"), text="Invalid option list: " + words)
    refused("create", "x", "1.5", text="Invalid image size specified")
    refused("create", "x", "0x1.8k", text="Invalid image size specified")
    refused("create", "--quite", "x", "1M", text="unrecognized option '--quite'")


# ---- info --------------------------------------------------------------------------------------

@test
def info_reads_as_qemu_img_s():
    t = Twins()
    t.prepare(make_chain)
    t.prepare(lambda: open("odd.raw", "wb").write(b"x" * 1000))
    for args in (["map", "odd.raw"], ["map", "--output=json", "odd.raw"], ["compare", "odd.raw", "r.raw"], ["measure", "-O", "raw", "odd.raw"],
                 ["resize", "-f", "raw", "odd.raw", "1023"], ["create", "-q", "-f", "qcow2", "-b", "odd.raw", "-F", "raw", "odd.qcow2"]):
        t.same(*args, stderr=args[0] != "resize")
    for name in ("base.qcow2", "mid.qcow2", "top.qcow2", "r.raw", "odd.raw", "odd.qcow2"):
        t.same("info", name, clean=no_sizes)
        t.same_json("info", "--output=json", name, without=("actual-size",))
        t.same("check", name) if name.endswith("qcow2") else None
    t.prepare(lambda: qemu("bitmap", "--add", "base.qcow2", "bm"))
    t.same("info", "base.qcow2", clean=no_sizes)
    t.same("info", "--backing-chain", "top.qcow2", clean=no_sizes)
    t.same_json("info", "--backing-chain", "--output=json", "top.qcow2", without=("actual-size",))
    t.same_json("info", "-U", "--output=json", "--image-opts", "driver=qcow2,file.filename=mid.qcow2", without=("actual-size",))
    t.same("info", 'json:{"driver":"qcow2","file":{"driver":"file","filename":"base.qcow2"}}', clean=no_sizes)
    t.same("info", "null-co://", clean=no_sizes)
    qemu("snapshot", "-c", "one", os.path.join(t.dirs[KILN], "base.qcow2"))
    shutil.copy(os.path.join(t.dirs[KILN], "base.qcow2"), t.dirs["qemu-img"])
    t.same("info", "base.qcow2", clean=no_sizes)
    t.same_json("info", "--output=json", "base.qcow2", without=("actual-size",))


@test
def info_refuses():
    t = Twins()
    t.prepare(make_chain)
    for args in ([], ["r.raw", "base.qcow2"], ["--output=foo", "r.raw"], ["-f", "bogus", "r.raw"], ["-f", "qcow2", "r.raw"],
                 ["-f", "qcow2", "--image-opts", "driver=qcow2,file.filename=base.qcow2"],
                 ["--image-opts", "driver=qcow2,file.filename=base.qcow2,bogus=1"]):
        t.same("info", *args)
    refused("info", "gone", text="Could not open 'gone': ")
    refused("info", ".", text="Could not open '.'")
    qemu("create", "-q", "-f", "qcow2", "-u", "-b", "b.qcow2", "-F", "qcow2", "a.qcow2", "1M")
    qemu("create", "-q", "-f", "qcow2", "-u", "-b", "a.qcow2", "-F", "qcow2", "b.qcow2", "1M")
    refused("info", "--backing-chain", "a.qcow2", text="Backing file 'a.qcow2' creates an infinite loop.")
    assert run("info", "--backing-chain", "a.qcow2")[1] == ""  # nobody takes the beginning of a chain for all of it
    assert run("map", "a.qcow2")[0] == 1  # and opening such a chain ends
    with open("short.qcow2", "wb") as f:
        f.write(b"QFI\xfb\0\0\0\3")
    refused("info", "short.qcow2", text="short.qcow2")


@test
def locked_images_name_their_holder():
    qemu("create", "-q", "-f", "qcow2", "a.qcow2", "1M")
    holder = subprocess.Popen(["qemu-io", "-f", "qcow2", "a.qcow2"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        holder.stdin.write("read 0 512\n")
        holder.stdin.flush()
        holder.stdout.readline()  # it answers: the image is open
        refused("info", "a.qcow2", text="process %d (qemu-io)" % holder.pid)
        refused("resize", "a.qcow2", "+1M", text="process %d (qemu-io)" % holder.pid)
        refused("create", "-f", "qcow2", "a.qcow2", "1M", text="process %d (qemu-io)" % holder.pid)
        ok("info", "-U", "a.qcow2")
        assert "this process" not in run("info", "a.qcow2")[2]
    finally:
        holder.stdin.close()
        holder.wait(LIMIT)
        holder.stdout.close()
    ok("info", "a.qcow2")
    # Nobody is sent to look for another process who names one file twice.
    qemu("create", "-q", "-f", "qcow2", "-b", "a.qcow2", "-F", "qcow2", "b.qcow2")
    for backing, name in (("a.qcow2", "a.qcow2"), ("b.qcow2", "a.qcow2"), ("b.qcow2", "b.qcow2")):
        refused("rebase", "-b", backing, "-F", "qcow2", name, text="image '%s' is in use by this process itself" % name)


# ---- check -------------------------------------------------------------------------------------

def first_refcount_block(image):
    image.seek(48)
    image.seek(struct.unpack(">Q", image.read(8))[0])
    return struct.unpack(">Q", image.read(8))[0]


def make_damaged():
    qemu("create", "-q", "-f", "qcow2", "good.qcow2", "64M")
    qemu_io("good.qcow2", "write 0 1M", "write -P 3 4M 64k", "write -c 8M 64k")
    shutil.copy("good.qcow2", "leak.qcow2")
    with open("leak.qcow2", "r+b") as f:
        block = first_refcount_block(f)
        free = os.path.getsize("leak.qcow2") // 65536 + 2
        f.truncate((free + 2) * 65536)
        f.seek(block + 2 * free)
        f.write(b"\0\1")
    shutil.copy("good.qcow2", "bad.qcow2")
    with open("bad.qcow2", "r+b") as f:
        f.seek(first_refcount_block(f) + 2 * 6)
        f.write(b"\0\0")
    qemu("create", "-q", "-f", "raw", "r.raw", "1M")


@test
def check_finds_and_repairs_as_qemu_img_does():
    t = Twins()
    t.prepare(make_damaged)
    for name in ("good", "leak", "bad"):
        t.same("check", name + ".qcow2", stderr=False)
        t.same("check", "-q", name + ".qcow2", stderr=False)
        t.same("check", "-q", "--output=json", name + ".qcow2", stderr=False)
        t.same_json("check", "--output=json", name + ".qcow2")
    assert run("check", os.path.join(t.dirs[KILN], "bad.qcow2"))[0] == 2
    assert run("check", os.path.join(t.dirs[KILN], "leak.qcow2"))[0] == 3
    t.same("check", "-r", "leaks", "leak.qcow2", stderr=False)
    status, out, err = run("check", "-r", "all", os.path.join(t.dirs[KILN], "bad.qcow2"))
    assert status == 0 and "inconsistencies were found and repaired" in out, (status, out, err)
    qemu("check", os.path.join(t.dirs[KILN], "bad.qcow2"))
    qemu("check", os.path.join(t.dirs[KILN], "leak.qcow2"))
    qemu("compare", os.path.join(t.dirs[KILN], "bad.qcow2"), os.path.join(t.dirs[KILN], "good.qcow2"))


@test
def check_refuses():
    t = Twins()
    t.prepare(make_damaged)
    t.same("check", "-f", "raw", "r.raw")
    t.same("check", "-r", "bogus", "good.qcow2")
    t.same("check")
    refused("check", "gone", text="Could not open 'gone'")


# ---- resize, snapshot, map, compare ------------------------------------------------------------

@test
def resize_grows_and_shrinks():
    t = Twins()
    t.prepare(make_chain)
    for args in (["base.qcow2", "+16M"], ["base.qcow2", "128M"], ["--shrink", "base.qcow2", "-60M"], ["-q", "base.qcow2", "+1k"],
                 ["-f", "raw", "r.raw", "+1M"], ["-f", "raw", "--shrink", "r.raw", "2M"],
                 ["--preallocation=metadata", "base.qcow2", "+4M"], ["--preallocation=full", "-f", "raw", "r.raw", "+1M"],
                 # Over a backing file, where that has ended:
                 ["top.qcow2", "200M"], ["--preallocation=full", "top.qcow2", "+1M"], ["--preallocation=metadata", "top.qcow2", "+1M"]):
        t.same("resize", *args)
    ours, theirs = (json.loads(qemu("map", "--output=json", "top.qcow2", cwd=t.dirs[tool]))[-1] for tool in (KILN, "qemu-img"))
    assert (ours["start"], ours["length"]) == (theirs["start"], theirs["length"]), (ours, theirs)
    t.same_json("info", "--output=json", "base.qcow2", without=("actual-size",))
    t.equal("base.qcow2")
    t.equal("r.raw", fmts=("raw", "raw"))
    qemu("check", os.path.join(t.dirs[KILN], "base.qcow2"))
    for args in (["base.qcow2", "1M"], ["base.qcow2", "-100G"], ["base.qcow2"], [], ["base.qcow2", "+1x"],
                 ["--preallocation=bogus", "base.qcow2", "+1M"]):
        t.same("resize", *args)
    refused("resize", "gone", "+1M", text="Could not open 'gone'")
    refused("resize", os.path.join(t.dirs[KILN], "base.qcow2"), "+8E", text="too large")


@test
def snapshots_go_and_come():
    qemu("create", "-q", "-f", "qcow2", "a.qcow2", "8M")
    qemu_io("a.qcow2", "write -P 1 0 1M")
    ok("snapshot", "-c", "one", "a.qcow2")
    qemu_io("a.qcow2", "write -P 2 0 1M")
    ok("snapshot", "-c", "two", "a.qcow2")
    assert ok("snapshot", "-l", "a.qcow2") == qemu("snapshot", "-l", "a.qcow2")
    assert ok("snapshot", "a.qcow2") == qemu("snapshot", "a.qcow2")
    ok("snapshot", "-a", "one", "a.qcow2")
    qemu_io("a.qcow2", "read -P 1 0 1M")
    refused("snapshot", "-d", "1", "a.qcow2", text="snapshot not found")  # an id: another one may have it as its name
    ok("snapshot", "-d", "one", "a.qcow2")
    ok("snapshot", "-c", "2", "a.qcow2")  # beside the one whose id is 2
    ok("snapshot", "-d", "2", "a.qcow2")
    ok("snapshot", "-a", "two", "a.qcow2")
    qemu("snapshot", "-d", "two", "a.qcow2")
    qemu("check", "a.qcow2")
    ok("check", "a.qcow2")
    refused("snapshot", "-a", "gone", "a.qcow2", text="Could not apply snapshot 'gone'")
    refused("snapshot", "-d", "gone", "a.qcow2", text="Could not delete snapshot 'gone': snapshot not found")
    refused("snapshot", "-c", "x", "-l", "a.qcow2", text="Cannot mix '-l', '-a', '-c', '-d'")
    refused("snapshot", "-d", "x", "-d", "y", "a.qcow2", text="Cannot mix '-l', '-a', '-c', '-d'")
    refused("snapshot", text="Expecting one image file name")
    qemu("create", "-q", "r.raw", "1M")
    refused("snapshot", "-c", "x", "r.raw", text="Could not create snapshot 'x'")


def make_room_in_advance():
    """What the tables call data is a hole in the file, here and in the next layer."""
    qemu("create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", "room.qcow2", "64M")
    qemu_io("room.qcow2", "write -P 5 1M 64k", "write -P 6 40M 1M")
    qemu("create", "-q", "-f", "qcow2", "-b", "room.qcow2", "-F", "qcow2", "over.qcow2")


@test
def map_shows_what_qemu_img_shows():
    t = Twins()
    t.prepare(make_chain)
    for name in ("base.qcow2", "mid.qcow2", "top.qcow2", "r.raw"):
        t.same_json("map", "--output=json", name)
        if name == "r.raw":
            t.same("map", "-f", "raw", name)
    for args in (["--start-offset=100k", "--max-length=1M"], ["--start-offset=130k"], ["--max-length=200k"], ["--start-offset=100G"]):
        t.same("map", "--output=json", *args, "top.qcow2")
    t.same("map", "--max-length=8M", "top.qcow2")
    t.same("map", "base.qcow2")
    t.same("map")
    t.prepare(make_room_in_advance)
    for name in ("room.qcow2", "over.qcow2"):
        assert '"zero": true, "data": true' in t.same("map", "--output=json", name)
        t.same("map", name)
        t.same("measure", "-O", "qcow2", name)
    t.same("compare", "room.qcow2", "over.qcow2")
    refused("map", "--start-offset=x", "gone", text="Invalid start offset specified.")


@test
def compare_agrees_with_qemu_img():
    t = Twins()
    t.prepare(make_chain)

    def more():
        qemu("create", "-q", "q1", "1M")
        qemu("create", "-q", "q2", "2M")
        qemu("convert", "-O", "raw", "top.qcow2", "flat.raw")
        shutil.copy("q2", "q3")
        qemu_io("q3", "write -P 1 1536k 4k", fmt="raw")
    t.prepare(more)
    for args in (["base.qcow2", "mid.qcow2"], ["top.qcow2", "flat.raw"], ["-F", "raw", "top.qcow2", "flat.raw"], ["q1", "q2"],
                 ["-s", "q1", "q2"], ["q1", "q3"], ["-q", "q1", "q3"], ["-s", "base.qcow2", "mid.qcow2"], ["q1"],
                 ["-T", "bogus", "q1", "q2"]):
        t.same("compare", *args, stderr=args != ["q1", "gone"])
    refused("compare", "gone", "gone", status=2, text="Could not open 'gone'")


# ---- amend, bench, bitmap ----------------------------------------------------------------------

@test
def amend_changes_options():
    qemu("create", "-q", "-f", "qcow2", "-o", "compat=0.10", "a.qcow2", "8M")
    qemu_io("a.qcow2", "write -P 1 0 1M")
    ok("amend", "-o", "compat=1.1,lazy_refcounts=on", "a.qcow2")
    data = json.loads(qemu("info", "--output=json", "a.qcow2"))["format-specific"]["data"]
    assert data["compat"] == "1.1" and data["lazy-refcounts"], data
    ok("amend", "-o", "size=16M", "-p", "a.qcow2")
    qemu_io("a.qcow2", "read -P 1 0 1M", "read -P 0 8M 8M")
    qemu("check", "a.qcow2")
    assert ok("amend", "-f", "qcow2", "-o", "help").startswith("Amend options for 'qcow2':\n")
    assert ok("amend", "-o", "lazy_refcounts=on,?", "a.qcow2").startswith("Amend options for 'qcow2':\n")
    qemu("create", "-q", "-f", "qcow2", "-o", "data_file=data.raw,data_file_raw=on", "d.qcow2", "1M")
    ok("amend", "-o", "data_file=moved.raw,data_file_raw=off", "d.qcow2")
    os.rename("data.raw", "moved.raw")
    text = qemu("info", "d.qcow2")
    assert "data file: moved.raw" in text and "data file raw: false" in text, text
    qemu("check", "d.qcow2")
    ok("amend", "-o", "data_file=", "d.qcow2")  # then each user names it
    refused("map", "d.qcow2", text="data-file")
    assert "data file raw: false" in ok("info", "d.qcow2")
    qemu_io("a.qcow2", "write -P 5 0 4k")
    refused("amend", "a.qcow2", text="Must specify options (-o)")
    refused("amend", "-o", "bogus=1", "a.qcow2", text="Invalid parameter 'bogus'")
    refused("amend", "-o", "cluster_size=4k", "a.qcow2", text="Cannot amend option 'cluster_size'")
    qemu("create", "-q", "r.raw", "1M")
    refused("amend", "-f", "raw", "-o", "size=2M", "r.raw", text="Format driver 'raw' does not support option amendment")
    for args in (["-f", "raw", "-o", "help"], ["-f", "vmdk", "-o", "help"], ["-f", "bogus", "-o", "help"]):
        Twins().same("amend", *args)
    refused("amend", "-o", "encrypt.format=luks", "a.qcow2", text="'a.qcow2' is not encrypted")


@test
def bench_runs():
    t = Twins()
    t.prepare(make_chain)

    def untimed(text):
        return re.sub(r"completed in [\d.]+ seconds", "completed", text)
    for args in (["-c", "100", "r.raw"], ["-c", "100", "-w", "-f", "raw", "--pattern", "7", "-d", "8", "-s", "64k", "r.raw"],
                 ["-c", "200", "-w", "-f", "raw", "--flush-interval=64", "r.raw"], ["-c", "50", "-o", "4k", "-S", "8k", "base.qcow2"],
                 ["-c", "50", "-S", "0", "base.qcow2"], ["-c", "50", "-s", "0", "base.qcow2"],
                 ["-c", "200", "-w", "-f", "raw", "-t", "directsync", "-i", "threads", "-d", "2", "r.raw"],
                 ["-c", "x", "r.raw"], ["--pattern", "300", "-w", "r.raw"], ["--flush-interval=64", "r.raw"],
                 ["-w", "--flush-interval=10", "r.raw"], []):
        t.same("bench", *args, clean=untimed)
    t.equal("r.raw", fmts=("raw", "raw"))
    refused("bench", "-d", "0", "x", text="Invalid queue depth")
    refused("bench", "-i", "bogus", "x", text="Invalid aio option")


@test
def bitmap_says_what_it_wants():
    qemu("create", "-q", "-f", "qcow2", "a.qcow2", "8M")
    t = Twins()
    for args in (["a.qcow2", "b0"], ["--add", "a.qcow2"], ["-g", "64k", "--remove", "a.qcow2", "b0"], ["-F", "raw", "--add", "a", "b"]):
        t.same("bitmap", *args)
    refused("bitmap", "--add", "gone", "b0", text="Could not open 'gone'")
    refused("bitmap", "--remove", "a.qcow2", "b9", text="Operation remove on bitmap b9 failed: ")


def end_of(image):
    return int(re.search(r"Image end offset: (\d+)", qemu("check", image))[1])


@test
def an_image_grows_ahead_and_ends_where_its_clusters_do():
    for engine in ("threads", "native", "io_uring"):
        qemu("create", "-q", "-f", "qcow2", "a.qcow2", "64M")
        status, _, err = run("bench", "-q", "-f", "qcow2", "-t", "none", "-i", engine, "-w", "-c", "200", "-d", "32", "-s", "64k", "a.qcow2")
        if "O_DIRECT" in err:
            return  # this file system has none
        assert status == 0, err
        assert os.path.getsize("a.qcow2") == end_of("a.qcow2"), engine
        ok("bench", "-q", "-f", "qcow2", "-t", "directsync", "-i", engine, "-w", "--pattern", "7", "-c", "300", "-d", "32", "-s", "4k",
           "-o", "20M", "a.qcow2")
        assert "Pattern verification failed" not in ok("-f", "qcow2", "-c", "read -P 7 20M 1200k", "a.qcow2", tool="qemu-io")
        assert 0 <= end_of("a.qcow2") - os.path.getsize("a.qcow2") < 65536, engine  # the last cluster is not full


# ---- the tool as such --------------------------------------------------------------------------

@test
def the_command_line():
    qemu("create", "-q", "-f", "qcow2", "a.qcow2", "8M")
    for words in (["-T", "block_file_*"], ["--trace=enable=block_file_*"], ["--trace", "block_file_done,block_file_submit"]):
        assert "block_file_done" in run(*words, "compare", "a.qcow2", "a.qcow2")[2], words
    assert "block_file_done" in ok("-T", "help")
    refused("-T", text="option '-T' needs an argument")
    ok("-T", "gone_*", "info", "a.qcow2")  # a warning only
    t = Twins()
    t.same()
    t.same("bogus")
    assert "usage: kiln-img" in ok("--help") and "kiln-img version" in ok("--version")
    for command in re.findall(r"^  (\w+) ", ok("--help"), re.M):
        refused(command, "--bogus", "x", text="--bogus")
        assert "usage: kiln-img" in ok(command, "--help"), command


@test
def output_that_nobody_takes():
    ok("create", "-q", "-f", "qcow2", "a.qcow2", "1M")
    for args in (["info", "a.qcow2"], ["create", "-f", "raw", "b.raw", "1M"], ["measure", "-O", "qcow2", "--size", "1G"]):
        with open("/dev/full", "w", encoding="utf-8") as full:
            done = subprocess.run([KILN, *args], stdout=full, stderr=subprocess.PIPE, text=True, timeout=LIMIT, check=False)
        assert done.returncode == 1 and "Could not write to standard output" in done.stderr and "Success" not in done.stderr, done
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([KILN, "map", "--output=json", "a.qcow2"], stdout=writer, stderr=subprocess.PIPE, timeout=LIMIT, check=False)
    os.close(writer)
    assert done.returncode == 1, "a pipe that is closed is no signal's end"


if __name__ == "__main__":
    sys.exit(main("kiln-img."))
