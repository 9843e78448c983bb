#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What copies content in kiln-img, beside qemu-img: the same commands in two directories must give the same output,
exit status and images.

    test-convert.py KILN-IMG [NAME...]      (TAP; names: only the tests whose name contains one of them)
"""
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from imgtest import KILN, LIMIT, Twins, make_chain, ok, qemu, qemu_io, refused, run
from tap import Skip, main, test

# ---- convert, measure, dd ----------------------------------------------------------------------

@test
def convert_gives_the_same_content():
    make_chain()
    for number, args in enumerate((
            ["-O", "raw"], ["-O", "qcow2"], ["-O", "qcow2", "-c"], ["-O", "qcow2", "-c", "-o", "compression_type=zstd"],
            ["-O", "qcow2", "-o", "cluster_size=4k,preallocation=metadata"], ["-O", "qcow2", "-W", "-m", "16"],
            ["-O", "raw", "-S", "0"], ["-O", "raw", "-S", "64k", "-m", "1"], ["-O", "qcow2", "-c", "-W", "-o", "cluster_size=4k"],
            ["-p", "-O", "qcow2", "-t", "none", "-T", "none"], ["-C", "-O", "raw"], ["-q", "-O", "qcow2", "-r", "1G"],
            ["-O", "qcow2", "-o", "extended_l2=on,refcount_bits=1"])):
        out = "out%d" % number
        said = ok("convert", *args, "top.qcow2", out)
        assert said.endswith("(100.00/100%)\n") if "-p" in args else not said, said
        fmt = args[args.index("-O") + 1]
        qemu("compare", "-F", fmt, "top.qcow2", out)
        if fmt == "qcow2":
            qemu("check", out)
        if "-c" in args:
            assert json.loads(qemu("check", "--output=json", out))["compressed-clusters"] > 0
    assert os.stat("out0").st_blocks < os.stat("out6").st_blocks == 66 * 2048, "sparse, and all of it"


@test
def convert_into_what_is_there_and_over_a_backing_file():
    make_chain()
    ok("convert", "-O", "qcow2", "-B", "base.qcow2", "-F", "qcow2", "mid.qcow2", "over.qcow2")
    assert json.loads(qemu("info", "--output=json", "over.qcow2"))["backing-filename"] == "base.qcow2"
    qemu("compare", "mid.qcow2", "over.qcow2")
    qemu("create", "-q", "-f", "qcow2", "there.qcow2", "70M")
    qemu_io("there.qcow2", "write -P 77 0 70M")  # what was there must go
    ok("convert", "-n", "-O", "qcow2", "top.qcow2", "there.qcow2")
    qemu("compare", "--image-opts", "driver=qcow2,file.filename=top.qcow2",
         "driver=raw,size=66M,file.driver=qcow2,file.file.filename=there.qcow2")
    qemu_io("there.qcow2", "read -P 77 66M 4M")  # behind the source's end nothing is ours
    with open("there.raw", "wb") as f:
        f.write(b"\xff" * 10485760)
    ok("convert", "-n", "--image-opts", "--target-image-opts", "driver=raw,file.filename=r.raw", "driver=raw,file.filename=there.raw")
    qemu("compare", "-f", "raw", "-F", "raw", "r.raw", "there.raw")
    qemu("create", "-q", "zero.raw", "66M")
    ok("convert", "-n", "--target-is-zero", "-O", "raw", "top.qcow2", "zero.raw")
    qemu("compare", "-F", "raw", "top.qcow2", "zero.raw")
    ok("convert", "-f", "raw", "-O", "qcow2", "r.raw", "r.raw", "both.qcow2")
    qemu("convert", "-f", "raw", "-O", "raw", "r.raw", "r.raw", "both.raw")
    qemu("compare", "-F", "raw", "both.qcow2", "both.raw")


def facts_of(name):
    return json.loads(qemu("info", "--output=json", name))


@test
def convert_leaves_alone_what_is_not_its_own():
    make_chain()
    # A target that is larger keeps its end,
    with open("large.raw", "wb") as f:
        f.write(b"\xff" * 12582912)
    ok("convert", "-n", "-f", "raw", "-O", "raw", "r.raw", "large.raw")
    with open("large.raw", "rb") as f, open("r.raw", "rb") as source:
        assert f.read(10485760) == source.read() and f.read() == b"\xff" * 2097152
    # and one with a backing file of its own gets all that the source shows; with -B what differs from it.
    qemu("create", "-q", "-f", "qcow2", "below.qcow2", "66M")
    qemu_io("below.qcow2", "write -P 88 0 66M")
    for args in ((), ("-S", "0")):
        qemu("create", "-q", "-f", "qcow2", "-b", "below.qcow2", "-F", "qcow2", "above.qcow2")
        ok("convert", "-n", "-O", "qcow2", *args, "top.qcow2", "above.qcow2")
        qemu("compare", "top.qcow2", "above.qcow2")
    for args in ((), ("-S", "0")):
        for tool, name in ((KILN, "ours"), ("qemu-img", "theirs")):
            ok("convert", "-O", "qcow2", *args, "-B", "base.qcow2", "-F", "qcow2", "mid.qcow2", name, tool=tool)
        qemu("compare", "ours", "theirs")
        maps = [[(e["start"], e["length"], e["depth"]) for e in json.loads(qemu("map", "--output=json", name))] for name in ("ours", "theirs")]
        assert maps[0] == maps[1], "%s\n%s" % (args, maps)
    # The size is the source's.
    for size in ("1M", "100M"):
        ok("convert", "-O", "qcow2", "-o", "size=" + size, "top.qcow2", "sized.qcow2")
        assert facts_of("sized.qcow2")["virtual-size"] == facts_of("top.qcow2")["virtual-size"]


@test
def images_of_no_size():
    open("empty.raw", "wb").close()
    ok("convert", "-f", "raw", "-O", "qcow2", "empty.raw", "a.qcow2")
    ok("create", "-q", "-f", "qcow2", "b.qcow2", "0")
    for name in ("a.qcow2", "b.qcow2"):
        qemu("check", name)
        ok("resize", "-q", name, "1M")
        qemu_io(name, "write 0 1M")
        qemu("check", name)


@test
def convert_lets_the_kernel_copy():
    """-C: the same content, most of it by copy_file_range; what that cannot do is copied."""
    make_chain()
    ok("convert", "-O", "qcow2", "-o", "extended_l2=on", "top.qcow2", "subs.qcow2")
    qemu_io("subs.qcow2", "write -P 4 10M 2k", "write -z 5M 64k", "discard 0 32k")
    qemu("create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", "none.qcow2", "3M")  # its file may be shorter
    with open("odd.raw", "wb") as f:
        f.write(os.urandom(3 << 20) + bytes(1 << 20) + b"end" * 171)
    for source, fmt in (("base.qcow2", "qcow2"), ("top.qcow2", "qcow2"), ("subs.qcow2", "qcow2"), ("none.qcow2", "qcow2"),
                        ("odd.raw", "raw"), ("r.raw", "raw")):
        for args in ([], ["-t", "none", "-T", "none"], ["-r", "1G", "-p"]):
            ok("convert", "-C", *args, "-f", fmt, "-O", "raw", source, "out.raw")
            qemu("compare", "-f", fmt, "-F", "raw", source, "out.raw")
    ok("convert", "-C", "-f", "raw", "-O", "raw", "odd.raw", "r.raw", "odd.raw", "out.raw")
    qemu("convert", "-f", "raw", "-O", "raw", "odd.raw", "r.raw", "odd.raw", "expected.raw")
    assert open("out.raw", "rb").read() == open("expected.raw", "rb").read()
    ok("convert", "-C", "-f", "raw", "-O", "qcow2", "odd.raw", "out.qcow2")
    qemu("compare", "-f", "raw", "odd.raw", "out.qcow2")
    with open("there.raw", "wb") as f:  # what is there must go
        f.write(b"\xff" * (66 << 20))
    ok("convert", "-C", "-n", "-O", "raw", "top.qcow2", "there.raw")
    qemu("compare", "-F", "raw", "top.qcow2", "there.raw")
    if shutil.which("strace"):
        run("-f", "-e", "trace=copy_file_range", "-o", "calls", KILN, "convert", "-C", "-O", "raw", "base.qcow2", "out.raw", tool="strace")
        with open("calls") as f:
            calls = f.read()
        assert "copy_file_range(" in calls or not calls, calls  # (empty: nobody may trace here)


FULL_DISK = r"""
set -e
mount -t tmpfs -o size=8m none small || exit 77
cp base.qcow2 small/base.qcow2
qemu-img create -q -f qcow2 -b "$PWD/small/base.qcow2" -F qcow2 over.qcow2
qemu-io -c "write -P 7 0 6M" -c "write -P 8 20M 64k" over.qcow2 > /dev/null
qemu-img convert -O raw over.qcow2 expected.raw
cat /dev/zero > small/ballast 2> /dev/null || true
truncate -s -1M small/ballast
! "$0" commit -q over.qcow2 2> said || exit 1
grep -q "No space left on device" said
qemu-img check -q small/base.qcow2 > /dev/null || [ $? = 3 ]
qemu-img compare -q -F raw over.qcow2 expected.raw
truncate -s -1M small/ballast
! "$0" convert -O qcow2 expected.raw small/new.qcow2 2> said || exit 1
grep -q "No space left on device" said
qemu-img check -q small/new.qcow2 > /dev/null || [ $? = 3 ]
rm small/ballast small/new.qcow2
"$0" commit -q over.qcow2
qemu-img compare -q -F raw small/base.qcow2 expected.raw
qemu-img compare -q -F raw over.qcow2 expected.raw
qemu-img check -q small/base.qcow2 > /dev/null || [ $? = 3 ]
"""


@test
def commit_and_convert_meet_a_full_disk():
    """A tmpfs of 8 MiB: what was there stays sound and whole, and once there is room the commit goes through."""
    make_chain()
    os.mkdir("small")
    if run("--user", "--map-root-user", "--mount", "true", tool="unshare")[0]:
        raise Skip("no user and mount namespaces here")
    status, out, err = run("--user", "--map-root-user", "--mount", "sh", "-c", FULL_DISK, KILN, tool="unshare")
    if status == 77:
        raise Skip("mounting a tmpfs in a namespace is refused: " + err.strip())
    said = open("said").read() if os.path.exists("said") else ""
    assert status == 0, "status %d: %s%s%s" % (status, out, err, said)


@test
def convert_refuses():
    t = Twins()
    t.prepare(make_chain)
    for args in (["base.qcow2"], ["-O", "bogus", "base.qcow2", "x"], ["-c", "-O", "raw", "base.qcow2", "x"],
                 ["-O", "qcow2", "-m", "99", "base.qcow2", "x"], ["-O", "qcow2", "-S", "5", "base.qcow2", "x"],
                 ["-O", "qcow2", "-o", "cluster_size=3", "base.qcow2", "x"], ["-t", "bogus", "-O", "qcow2", "base.qcow2", "x"],
                 ["-T", "bogus", "-O", "qcow2", "base.qcow2", "x"], ["-n", "-f", "raw", "-O", "raw", "top.qcow2", "r.raw"],
                 ["--target-is-zero", "-O", "raw", "base.qcow2", "x"], ["-C", "-c", "r.raw", "x"], ["-C", "-S", "0", "r.raw", "x"],
                 ["-r", "abc", "r.raw", "x"], ["--image-opts", "-f", "raw", "r.raw", "x"],
                 ["-O", "qcow2", "-B", "base.qcow2", "mid.qcow2", "x"],
                 ["-O", "qcow2", "-c", "-o", "preallocation=metadata", "base.qcow2", "x"]):
        t.same("convert", *args)
    for option in ("compat=0.10", "compat=v2"):  # before anything is copied, or emptied
        refused("convert", "--bitmaps", "-O", "qcow2", "-o", option, os.path.join(t.dirs[KILN], "base.qcow2"), "old", text="has no bitmaps")
    assert not os.path.exists("old")
    refused("convert", "gone", "y", text="Could not open 'gone'")
    before = open(os.path.join(t.dirs[KILN], "r.raw"), "rb").read()
    refused("convert", "-f", "raw", os.path.join(t.dirs[KILN], "r.raw"), os.path.join(t.dirs[KILN], "r.raw"), text="part of the source")
    refused("convert", "-O", "qcow2", os.path.join(t.dirs[KILN], "top.qcow2"), os.path.join(t.dirs[KILN], "base.qcow2"), text="source")
    refused("dd", "if=" + os.path.join(t.dirs[KILN], "r.raw"), "of=" + os.path.join(t.dirs[KILN], "r.raw"), text="source")
    refused("create", "-f", "qcow2", "-b", os.path.join("..", t.dirs[KILN], "r.raw"), "-F", "raw",
            os.path.join(t.dirs[KILN], "r.raw"), text="same file")
    assert open(os.path.join(t.dirs[KILN], "r.raw"), "rb").read() == before, "converting onto itself emptied it"


@test
def convert_reads_internal_snapshots():
    t = Twins()
    t.prepare(make_snapshots)
    for fmt, snapshot in (("raw", "one"), ("raw", "1"), ("qcow2", "snapshot.id=2"), ("raw", "snapshot.name=two"),
                          ("raw", "snapshot.id=1,snapshot.name=one"), ("qcow2", "two")):
        t.same("convert", "-l", snapshot, "-O", fmt, "a.qcow2", "out")
        t.equal("out", fmts=(fmt, fmt))
        t.same("measure", "-l", snapshot, "-O", "qcow2", "a.qcow2")
    assert open(os.path.join(t.dirs[KILN], "out"), "rb").read(4) == b"QFI\xfb"
    t.same("convert", "-c", "-l", "one", "-O", "qcow2", "-B", "base.raw", "-F", "raw", "a.qcow2", "over")
    t.equal("over")
    os.chdir(t.dirs[KILN])
    for args, text in ((["-l", "three"], "Failed to load snapshot: Can't find snapshot"), (["-l", "snapshot.id=1,snapshot.name=two"], "Can't find"),
                       (["-l", "snapshot.nam=two"], "'snapshot.nam=two' is neither snapshot.id= nor snapshot.name="),
                       (["-f", "raw", "-l", "one"], "has no internal snapshots"), (["-l", "one", "a.qcow2"], "multiple snapshot"),
                       (["--bitmaps", "-l", "one"], "mutually exclusive")):
        refused("convert", *args, "a.qcow2", "x", text=text)
        if "snapshot" in text and "multiple" not in text and "neither" not in text:
            refused("measure", *args, "a.qcow2", text=text)
    # The size is the snapshot's own.
    ok("resize", "-q", "--shrink", "a.qcow2", "1M")
    ok("convert", "-l", "one", "-O", "raw", "a.qcow2", "small")
    assert os.path.getsize("small") == 4 << 20
    qemu_io("small", "read -P 1 0 1M", "read -P 9 1M 512", fmt="raw")
    # A snapshot's table that lies.
    with open("a.qcow2", "r+b") as f:
        f.seek(64)
        at = struct.unpack(">Q", f.read(8))[0]
        for offset, value in ((at, 512), (at + 48, 1 << 63), (at + 48, 1 << 62)):
            f.seek(offset)
            before = f.read(8)
            f.seek(offset)
            f.write(struct.pack(">Q", value))
            f.flush()
            status, out, err = run("convert", "-l", "one", "-O", "raw", "a.qcow2", "x")
            assert status == 1 and "kiln-img: " in err, (offset, value, out, err)
            f.seek(offset)
            f.write(before)


def make_snapshots():
    with open("base.raw", "wb") as f:
        f.write(b"\x09" * (3 << 20))
    qemu("create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", "a.qcow2", "4M")
    for name, value in (("one", 1), ("two", 2), (None, 3)):
        qemu_io("a.qcow2", "write -P %d 0 1M" % value, "write -z %dk 64k" % (1024 * value + 64))
        if name:
            qemu("snapshot", "-c", name, "a.qcow2")


def bitmaps_of(name):
    data = json.loads(qemu("info", "--output=json", name))["format-specific"]["data"]
    return sorted(data.get("bitmaps", []), key=lambda b: b["name"])


@test
def convert_copies_dirty_bitmaps():
    t = Twins()

    def make():
        qemu("create", "-q", "-f", "qcow2", "a.qcow2", "4M")
        qemu("bitmap", "--add", "-g", "128k", "a.qcow2", "b0")
        qemu("bitmap", "--add", "--disable", "a.qcow2", "b1")
        qemu("bitmap", "--add", "-g", "64k", "a.qcow2", "b2")
        qemu_io("a.qcow2", "write 1M 64k")
        qemu("bitmap", "--disable", "a.qcow2", "b2")
        qemu("create", "-q", "-f", "qcow2", "n.qcow2", "4M")
        qemu("create", "-q", "r.raw", "4M")
        shutil.copy("a.qcow2", "broken.qcow2")
        with open("broken.qcow2", "r+b") as f:
            data = f.read()
            at = struct.unpack(">I", data[100:104])[0]
            while struct.unpack(">I", data[at:at + 4])[0] != 0x23852875:
                at += 8 + (struct.unpack(">I", data[at + 4:at + 8])[0] + 7) // 8 * 8
            flags = struct.unpack(">Q", data[at + 24:at + 32])[0] + 12
            f.seek(flags)
            f.write(struct.pack(">I", struct.unpack(">I", data[flags:flags + 4])[0] | 1))  # in use
    t.prepare(make)
    for args in (["--bitmaps", "-O", "qcow2", "a.qcow2", "o.qcow2"], ["--bitmaps", "-O", "raw", "a.qcow2", "o.raw"],
                 ["--skip-broken-bitmaps", "-O", "raw", "a.qcow2", "o.raw"], ["--bitmaps", "-O", "qcow2", "n.qcow2", "o2.qcow2"],
                 ["--bitmaps", "-f", "raw", "-O", "qcow2", "r.raw", "o3.qcow2"], ["--bitmaps", "-O", "qcow2", "a.qcow2", "n.qcow2", "o3.qcow2"],
                 ["--bitmaps", "-O", "qcow2", "broken.qcow2", "o4.qcow2"]):
        t.same("convert", *args)
    t.same("convert", "--bitmaps", "--skip-broken-bitmaps", "-O", "qcow2", "broken.qcow2", "o4.qcow2", stderr=False)
    for name in ("o.qcow2", "o2.qcow2", "o4.qcow2"):
        a, b = (bitmaps_of(os.path.join(where, name)) for where in t.dirs.values())
        assert a == b and (len(a) == 3) == (name == "o.qcow2"), (name, a, b)
        qemu("check", os.path.join(t.dirs[KILN], name))
    assert [b["name"] for b in facts_of(os.path.join(t.dirs[KILN], "o.qcow2"))["format-specific"]["data"]["bitmaps"]] == ["b0", "b1", "b2"]
    assert not os.path.exists(os.path.join(t.dirs[KILN], "o.raw")), "a target was made before bitmaps were found to be impossible"
    assert "already exists" in run("convert", "--bitmaps", "-n", "-O", "qcow2", os.path.join(t.dirs[KILN], "a.qcow2"),
                                   os.path.join(t.dirs[KILN], "o.qcow2"))[2]


@test
def progress_is_told_when_asked():
    qemu("create", "-q", "r.raw", "64M")
    qemu_io("r.raw", "write -P 1 0 64M", fmt="raw")
    # Slow enough to be asked; asking goes on until there is an answer.
    process = subprocess.Popen([KILN, "convert", "-r", "4M", "-f", "raw", "-O", "qcow2", "r.raw", "o.qcow2"], stderr=subprocess.PIPE, text=True)
    try:
        caught = 0
        while not caught & 1 << (signal.SIGUSR1 - 1) and process.poll() is None:
            with open("/proc/%d/status" % process.pid) as f:
                caught = int(re.search(r"SigCgt:\s*(\w+)", f.read())[1], 16)
        process.send_signal(signal.SIGUSR1)
        line = process.stderr.readline()
        assert re.fullmatch(r" +\(\d+\.\d\d/100%\)\n", line), line
    finally:
        process.kill()
        process.wait(LIMIT)
        process.stderr.close()


@test
def convert_salvages_what_can_be_read():
    qemu("create", "-q", "-f", "qcow2", "bad.qcow2", "4M")
    qemu_io("bad.qcow2", "write -P 1 0 2M")
    with open("rules", "w") as f:
        f.write('[inject-error]\nevent = "read_aio"\nerrno = "5"\nsector = "2048"\n')
    qemu("convert", "-O", "raw", "bad.qcow2", "bad.raw")
    source = "json:" + json.dumps({"driver": "raw", "file": {"driver": "blkdebug", "config": "rules",
                                                             "image": {"driver": "file", "filename": "bad.raw"}}})
    refused("convert", "-O", "raw", source, "x", text="error while reading at byte 1048576: Input/output error")
    ok("convert", "--salvage", "-O", "raw", source, "x")
    refused("convert", "--salvage", "-C", "-O", "raw", source, "y", text="Cannot use copy offloading in salvaging mode")
    with open("x", "rb") as f:
        content = f.read()
    assert content[:1 << 20] == b"\1" * (1 << 20) and content[1 << 20:(1 << 20) + 512] == bytes(512)
    assert content[(1 << 20) + 512:2 << 20] == b"\1" * ((1 << 20) - 512)


@test
def measure_predicts():
    t = Twins()
    t.prepare(make_chain)
    for args in (["-O", "qcow2", "base.qcow2"], ["-O", "qcow2", "top.qcow2"], ["-O", "qcow2", "--size", "1G", "-o", "cluster_size=4k"],
                 ["-f", "raw", "-O", "raw", "r.raw"], ["--size", "1000"],
                 ["-O", "qcow2", "-o", "backing_file=base.qcow2,backing_fmt=qcow2", "top.qcow2"]):
        theirs, ours = t.both("measure", "--output=json", *args)
        a, b = json.loads(ours[1]), json.loads(theirs[1])
        assert a == b, (args, a, b)
    assert ok("measure", "--size", "1M") == qemu("measure", "--size", "1M")
    t.prepare(lambda: [qemu("bitmap", "--add", "-g", g, "base.qcow2", name) for g, name in (("64k", "b0"), ("512", "a-longer-name"))])
    for opts in ("size=8M", "cluster_size=4k", "compat=0.10"):
        t.same("measure", "-O", "qcow2", "-o", opts, "base.qcow2")
    t.same("measure", "-O", "raw", "base.qcow2")
    for args in (["-O", "bogus", "base.qcow2"], ["--size", "1G", "base.qcow2"], [], ["--size", "1Z"]):
        t.same("measure", *args)
    refused("measure", "-O", "qcow2", "gone", text="Could not open 'gone'")
    refused("measure", "-O", "qcow2", "-o", "cluster_syze=1", "--size", "1M", text="did you mean 'cluster_size'?")


@test
def dd_copies_parts():
    t = Twins()
    t.prepare(make_chain)
    for args in (["if=r.raw", "of=a", "bs=1k", "skip=1020"], ["if=base.qcow2", "of=b", "-O", "qcow2", "bs=1M", "count=2"],
                 ["-f", "raw", "if=r.raw", "of=c", "bs=3k"], ["if=r.raw", "of=d", "skip=1000000"],
                 ["if=r.raw", "of=f", "bs=1M", "skip=10"]):  # to its end: nothing is left, nothing is wrong
        t.same("dd", *args)
        name = next(word for word in args if word.startswith("of="))[3:]
        t.equal(name, fmts=("qcow2", "qcow2") if name == "b" else ("raw", "raw"))
    ok("dd", "-f", "raw", "bs=1k", "skip=1020", "count=10", "if=" + os.path.join(t.dirs[KILN], "r.raw"), "of=e")
    assert os.path.getsize("e") == 10240  # qemu-img 7.2 counts what it skipped
    for args in (["if=r.raw", "of=x", "bs=0"], ["if=r.raw", "of=x", "foo=1"], ["if=r.raw", "of=x", "foo"], ["if=r.raw"],
                 ["-O", "bogus", "if=r.raw", "of=x"], ["if=r.raw", "of=x", "count=x"]):
        t.same("dd", *args)


# ---- commit, rebase ----------------------------------------------------------------------------

@test
def commit_moves_content_down():
    t = Twins()
    t.prepare(make_chain)
    qemu("convert", "-O", "raw", os.path.join(t.dirs[KILN], "top.qcow2"), "flat.raw")
    t.same("commit", "top.qcow2")
    t.same("commit", "-q", "-b", "base.qcow2", "mid.qcow2")
    for name in ("top.qcow2", "mid.qcow2", "base.qcow2"):
        t.equal(name)
        qemu("compare", "-F", "raw", os.path.join(t.dirs[KILN], name), "flat.raw")
        qemu("check", os.path.join(t.dirs[KILN], name))
    t.prepare(make_chain)
    t.same("commit", "-d", "-p", "mid.qcow2", clean=lambda text: text.strip().split("\n")[-1])
    t.same_json("map", "--output=json", "mid.qcow2")
    t.prepare(make_chain)
    t.same("commit", "-b", "base.qcow2", "top.qcow2")
    t.equal("base.qcow2")
    for args in (["-f", "raw", "r.raw"], ["base.qcow2"], ["-b", "none", "top.qcow2"], [], ["-t", "bogus", "top.qcow2"]):
        t.same("commit", *args)
    refused("commit", "gone", text="Could not open 'gone'")


@test
def commit_into_a_base_that_is_named():
    t = Twins()
    t.prepare(make_chain)
    tops = [os.path.join(where, "top.qcow2") for where in t.dirs.values()]
    t.same("commit", "-b", "mid.qcow2", "top.qcow2")   # which leaves the overlay as it is
    a, b = (json.loads(qemu("map", "--output=json", top)) for top in tops)
    assert a == b, "%s\n%s" % (a, b)
    for where in t.dirs.values():
        os.symlink("base.qcow2", os.path.join(where, "link.qcow2"))
    theirs, ours = (run("commit", "-b", os.path.join(os.path.abspath(where), "base.qcow2"), os.path.join(where, "top.qcow2"), tool=tool)
                    for tool, where in t.dirs.items())
    assert theirs[:2] == ours[:2] == (0, "Image committed.\n"), (theirs, ours)
    assert run("commit", "-b", "link.qcow2", "top.qcow2", cwd=t.dirs[KILN])[0] == 0
    qemu("compare", tops[1], os.path.join(t.dirs[KILN], "base.qcow2"))


@test
def a_device_is_written_in_place():
    """As LVM's volumes are: it stays as long as it is, and what was on it shows nowhere."""
    with open("disk", "wb") as f:
        f.write(os.urandom(8 << 20))
    made = subprocess.run(["losetup", "-f", "--show", "disk"], capture_output=True, text=True)
    if made.returncode:
        raise Skip("no loop device can be made here: " + made.stderr.strip())
    device = made.stdout.strip()
    try:
        with open("in.raw", "wb") as f:
            f.write(b"7" * 100000)
            f.truncate(3 << 20)
        for more in ([], ["-m", "8", "-W"], ["-t", "none"]):
            with open(device, "r+b") as f:
                f.write(os.urandom(8 << 20))
            ok("convert", "-f", "raw", "-O", "raw", *more, "in.raw", device)
            with open(device, "rb") as there, open("in.raw", "rb") as wanted:
                assert there.read(3 << 20) == wanted.read(), more
        ok("create", "-q", "-f", "qcow2", device, "20M")
        ok("convert", "-n", "-f", "raw", "-O", "qcow2", "in.raw", device)
        qemu("check", device)
        ok("create", "-f", "raw", device, "8M")
        assert "file format: raw" in qemu("info", device)
        refused("create", "-f", "raw", device, "9M", text="Cannot grow device files: this one has 8388608 bytes, needed are 9437184")
        refused("convert", "-O", "raw", "in.raw", "/dev/null", text="Cannot grow device files")
        refused("create", "-f", "raw", "-o", "preallocation=full", device, "1M", text="non-regular file")
    finally:
        subprocess.run(["losetup", "-d", device], check=True)
    assert "virtual size: 0 B" in ok("info", "/dev/null")
    qemu("create", "-q", "empty.raw", "0")
    ok("convert", "-O", "raw", "empty.raw", "/dev/null")


@test
def rebase_keeps_the_content():
    make_chain()
    qemu("convert", "-O", "raw", "top.qcow2", "flat.raw")
    qemu("create", "-q", "-f", "qcow2", "other.qcow2", "80M")
    qemu_io("other.qcow2", "write -P 99 0 80M")
    for args in (["-b", "base.qcow2", "-F", "qcow2"], ["-b", "other.qcow2", "-F", "qcow2", "-p"], ["-b", "", "-q"],
                 ["-b", "mid.qcow2", "-F", "qcow2"]):
        ok("rebase", *args, "top.qcow2")
        assert json.loads(qemu("info", "--output=json", "top.qcow2")).get("backing-filename", "") == args[1], args
        qemu("compare", "-F", "raw", "top.qcow2", "flat.raw")
        qemu("check", "top.qcow2")
    ok("rebase", "-u", "-b", "gone", "-F", "raw", "top.qcow2")
    assert json.loads(qemu("info", "--output=json", "top.qcow2"))["backing-filename"] == "gone"
    ok("rebase", "-u", "-b", "mid.qcow2", "-F", "qcow2", "top.qcow2")
    qemu("compare", "-F", "raw", "top.qcow2", "flat.raw")


@test
def rebase_onto_what_was_not_there():
    """Zeros that no backing file hid before must be written: the new one has data there."""
    t = Twins()

    def make():
        for name, size in (("alone.qcow2", "4M"), ("short.qcow2", "1M")):
            qemu("create", "-q", "-f", "qcow2", name, size)
            qemu_io(name, "write -P 1 100k 100k")
        qemu("create", "-q", "-f", "qcow2", "-b", "short.qcow2", "-F", "qcow2", "over.qcow2", "4M")
        qemu("create", "-q", "-f", "raw", "new.raw", "3M")
        qemu_io("new.raw", "write -P 7 0 3M", "write -P 0 1M 70k", fmt="raw")
        for name in ("alone.qcow2", "over.qcow2"):
            qemu("convert", "-O", "raw", name, name + ".raw")
    t.prepare(make)
    for args in (("-b", "new.raw", "-F", "raw", "alone.qcow2"), ("-U", "-b", "new.raw", "-F", "raw", "over.qcow2")):
        t.same("rebase", *args)
        for where in t.dirs.values():
            qemu("compare", os.path.join(where, args[-1]), os.path.join(where, args[-1] + ".raw"))
    t.same("rebase", "-U", "-u", "-b", "short.qcow2", "-F", "qcow2", "over.qcow2")


@test
def rebase_refuses():
    t = Twins()
    t.prepare(make_chain)
    for args in (["top.qcow2"], ["-b", "base.qcow2", "top.qcow2"], ["-T", "bogus", "-b", "base.qcow2", "-F", "qcow2", "top.qcow2"],
                 ["-f", "raw", "-b", "", "r.raw"]):
        t.same("rebase", *args)
    top = os.path.join(t.dirs[KILN], "top.qcow2")
    refused("rebase", "-b", "gone", "-F", "raw", top, text="Could not open new backing file 'gone': ")
    refused("rebase", "-b", "top.qcow2", "-F", "qcow2", os.path.join(t.dirs[KILN], "base.qcow2"), text="Could not open new backing file")
    for mode in ([], ["-u"]):
        refused("rebase", *mode, "-b", "base.qcow2", "-F", "bogus", top, text="Invalid format name: 'bogus'")


if __name__ == "__main__":
    sys.exit(main("kiln-img."))
