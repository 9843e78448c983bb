#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""kiln-io beside qemu-io: the same scripts on two copies of an image must print the same, end alike and leave equal images.

    test-io.py KILN-IO [NAME...]      (TAP; names: only the tests whose name contains one of them)
"""
import hashlib
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from tap import main, test

LIMIT = 120  # seconds for what takes a fraction of one: only a hang meets it
KILN = os.path.abspath(sys.argv[1])


def qemu_img(*args):
    subprocess.run(["qemu-img", *args], check=True, stdout=subprocess.DEVNULL, timeout=LIMIT)


def run(tool, args, cwd, stdin):
    done = subprocess.run([tool, *args], cwd=cwd, capture_output=True, text=True, timeout=LIMIT, input=stdin, errors="replace")
    return done.returncode, done.stdout, done.stderr


def plain(text):
    """Without what two runs of one tool differ in, and with one name for both tools."""
    text = re.sub(r"ops; [\d.:]+( sec)? \([\d.]+ \w+/sec and [\d.]+ ops/sec\)", "ops; TIME", text)
    text = re.sub(r"^(\d+,1),\d+:\d\d:\d\d\.\d\d,[\d.]+,[\d.]+$", r"\1,TIME", text, flags=re.M)
    return text.replace("qemu-io", "kiln-io")


def peak_of(args, cwd="."):
    """Runs the tool; its memory at most, in bytes."""
    with open(os.path.join(cwd, "out"), "wb") as out:
        env = dict(os.environ, ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1")
        process = subprocess.Popen([KILN, *args], cwd=cwd, stdout=out, stderr=subprocess.STDOUT, env=env)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    with open(os.path.join(cwd, "out"), encoding="utf-8") as f:
        text = f.read()
    assert process.returncode == 0 and "read 268435456/268435456" in text, (args, text)
    return usage.ru_maxrss * 1024


class Twins:
    """A directory for each tool, with the same images in it."""

    def __init__(self):
        self.ours, self.theirs = (tempfile.mkdtemp(dir=".") for _ in range(2))
        before = os.getcwd()
        os.chdir(self.theirs)
        qemu_img("create", "-q", "-f", "qcow2", "base.qcow2", "4M")
        subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -q -P 9 0 256k", "base.qcow2"], check=True, timeout=LIMIT)
        qemu_img("create", "-q", "-f", "qcow2", "a.qcow2", "4M")
        qemu_img("create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "over.qcow2")
        qemu_img("create", "-q", "-f", "raw", "r.raw", "1M")
        with open("pattern", "wb") as f:
            f.write(bytes(range(200)))
        open("empty", "wb").close()
        os.chdir(before)
        shutil.copytree(self.theirs, self.ours, dirs_exist_ok=True)

    def same(self, *args, stdin="", stderr=True):
        ours, theirs = run(KILN, args, self.ours, stdin), run("qemu-io", args, self.theirs, stdin)
        what = " ".join(args)
        for kind, a, b in (("status", ours[0], theirs[0]), ("stdout", plain(ours[1]), plain(theirs[1])),
                           ("stderr", plain(ours[2]) if stderr else "", plain(theirs[2]) if stderr else "")):
            assert a == b, "%s: %s\n%s\nqemu-io's\n%s" % (what, kind, a, b)
        return ours

    def script(self, image, *commands, fmt="qcow2", options=(), stderr=True):
        return self.same("-f", fmt, *options, *(word for c in commands for word in ("-c", c)), image, stderr=stderr)

    def equal(self, name, fmt="qcow2"):
        qemu_img("compare", "-f", fmt, "-F", fmt, os.path.join(self.ours, name), os.path.join(self.theirs, name))


# ---- reading and writing -----------------------------------------------------------------------

@test
def reads_and_writes():
    t = Twins()
    t.script("a.qcow2", "write -P 1 0 64k", "read -v 65520 32", "read -P 2 0 512", "read -P 1 -s 10 -l 20 0 512", "read -C 0 512")
    t.script("a.qcow2", "read -P 1 -s 10 0 512", "read -v 65530 13", "read -P 1 -q 0 64k", "read -q -v 0 16", "write -q 1M 3", "read -P 205 1M 3")
    t.script("a.qcow2", "w -P 0x41 0 1.5k", "r -v 1500 40", "read -p 0 512", "write -p 1 1", "read 0 -- 512", "write -f 5k 5k")
    t.script("a.qcow2", "write -s pattern 100 1000", "read -v 90 260", "write -C -P 0 3M 64k")
    t.script("r.raw", "write -P 7 1000 1000", "read -v 990 50", "read -P 7 1000 1000", "read -P 7 999 2", "write -f -z 1100 100", fmt="raw")
    t.equal("a.qcow2")
    t.equal("r.raw", "raw")


@test
def zeroes_compressed_and_discard():
    t = Twins()
    t.script("a.qcow2", "write -P 5 0 4M", "write -z 64k 64k", "write -z -u 128k 64k", "write -z -n 192k 64k", "write -z -u -n 256k 64k",
             "write -z 1000 10", "discard 320k 64k", "discard -q 384k 64k", "discard -C 448k 64k", "d 1000 10", "discard 0 0", "map")
    t.equal("a.qcow2")
    t = Twins()
    t.script("a.qcow2", "write -c -P 6 1M 64k", "alloc 1M", "alloc 0 4M", "map", "read -P 6 1M 64k", "write -c 0 512", "write -c 100 512",
             "write -c 0 100", "write -c -z -u 0 64k")
    t.script("r.raw", "write -c 0 64k", "read 0 4k", fmt="raw")  # which has no packed clusters
    t.script("over.qcow2", "alloc 0", "map", "write -z 64k 64k", "write -P 3 128k 1k", "read -P 9 0 64k", "read -P 9 129k 63k", "map", "alloc 130k 10",
             "alloc 5M 1", "alloc 100 100")
    t.equal("a.qcow2")
    t.equal("over.qcow2")


@test
def discards():
    """Over a backing file they hide it; in an external data file they free its space."""
    t = Twins()
    t.script("over.qcow2", "write -P 5 64k 64k", "discard 0 256k", "read -P 0 0 256k", "discard 1M 64k", "discard 300k 100k", "map")
    t.equal("over.qcow2")
    t.script("over.qcow2", "discard 0 4M", "map", options=["-d", "ignore"])
    for raw in ("off", "on"):
        for where in (t.theirs, t.ours):
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file=d%s,data_file_raw=%s" % (raw, raw), raw + ".qcow2", "4M"],
                           cwd=where, check=True, timeout=LIMIT)
        t.script(raw + ".qcow2", "write -P 1 0 2M", "discard 0 512k", "discard 2M 1M", "read -P 0 0 512k", "read -P 1 512k 1536k", "read -P 0 2M 1M",
                 "write -z -u 512k 512k", "read -P 0 0 1M", "write -P 7 600k 4k", "read -P 7 600k 4k", "read -P 0 604k 4k", "write -c 1M 64k")
        blocks = [os.stat("%s/d%s" % (where, raw)).st_blocks for where in (t.ours, t.theirs)]
        assert blocks[0] <= blocks[1] < 3000, blocks
        subprocess.run(["qemu-img", "check", "-q", raw + ".qcow2"], cwd=t.ours, check=True, timeout=LIMIT)
    t.script("off.qcow2", "map", "info")


@test
def zeroes_without_fallback():
    """What no table can say is refused with -n, and written without it."""
    t = Twins()
    for where in (t.theirs, t.ours):
        qemu_img("create", "-q", "-f", "qcow2", "-o", "compat=0.10", where + "/v2.qcow2", "2M")
    t.script("v2.qcow2", "write -P 1 0 1M", "write -z -n 0 64k", "write -z 64k 64k", "read -P 1 0 64k", "read -P 0 64k 64k")
    t.script("a.qcow2", "write -P 1 0 256k", "write -z -n 64k 64k", "write -z -n 1k 1k", "write -z -n 120k 16k", "write -z -n 1M 1k", "read -P 1 0 64k")
    t.equal("v2.qcow2")
    t.equal("a.qcow2")
    t.script("r.raw", "write -z -n 0 3G", "write -n -z 0 64k", "write 0 3G", "read 0 3G", "discard 0 3G", fmt="raw")


@test
def reopened_and_wrong():
    t = Twins()
    for options in ("-r -o read-only=off", "-w -o read-only=on", "-c none -o cache.direct=off", "-c none -o cache.no-flush=on"):
        t.script("a.qcow2", "reopen " + options, "write 0 512")
    t.script("a.qcow2", "read 1e3 512", "write 0 1e3", "remove_break x", "resume x", "break x y")
    t.script("over.qcow2", "read 0 512", options=["-C", "-r"])
    t.script("over.qcow2", "quit now", "read 0 512")


@test
def two_tables_at_one_place_are_not_written():
    """Nor by reopening what was opened to be read."""
    qemu_img("create", "-q", "-f", "qcow2", "a.qcow2", "2M")
    with open("a.qcow2", "r+b") as f:
        refcount_table = f.read(56)[48:]
        f.seek(40)
        f.write(refcount_table)
    before = open("a.qcow2", "rb").read()
    done = subprocess.run([KILN, "-r", "-f", "qcow2", "-c", "reopen -w", "-c", "write 0 512", "a.qcow2"], capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == 1 and "where the refcount table is" in done.stderr, done.stderr
    assert open("a.qcow2", "rb").read() == before


@test
def vectors():
    t = Twins()
    t.script("a.qcow2", "readv -P 0 3M 512 512 512", "writev -P 7 3M 100 200 300", "readv -P 7 3M 600", "readv -v 3145700 16 16", "readv -C 0 5 5",
             "readv 3M 0 512", "readv 3M 0", "writev -f 0 4k 4k", "writev -q 8k 1 2 3 4 5 6 7 8 9", "readv -P 205 8k 45")
    t.equal("a.qcow2")


@test
def asynchronous():
    t = Twins()
    # One at a time: the order in which several end is nobody's business.
    t.script("a.qcow2", "aio_write -P 5 0 64k", "aio_flush", "aio_read -P 6 0 512", "aio_flush", "aio_read -v 0 16", "aio_flush", "aio_read -C 0 16 16",
             "aio_flush", "aio_read -q 0 16", "aio_write -z 0 64k", "aio_flush", "aio_write -z -u 64k 64k", "aio_flush", "aio_write -f 1M 1k 1k",
             "aio_flush", "aio_read 100M 5", "aio_flush", "aio_write 100M 5", "aio_flush", "aio_write -P 1 2M 64k")
    t.equal("a.qcow2")
    for command in ("aio_write -u 0 64k", "aio_write -z 0 512 512", "aio_read x 5", "aio_read -x 0 5", "aio_read 0 x", "aio_write 0"):
        t.script("a.qcow2", command)
    many = run(KILN, ["-f", "qcow2", *(w for i in range(40) for w in ("-c", "aio_write -P %d %dk 100k" % (i + 1, 100 * i))), "a.qcow2"], t.ours, "")
    assert many[0] == 0 and many[1].count("wrote 102400/102400 bytes") == 40, many
    for i in range(40):
        run("qemu-io", ["-f", "qcow2", "-c", "write -P %d %dk 100k" % (i + 1, 100 * i), "a.qcow2"], t.theirs, "")
    t.equal("a.qcow2")


@test
def vm_state():
    t = Twins()
    t.script("a.qcow2", "write -b -P 4 0 512", "read -b -P 4 0 512", "info", "read -b 1 512", "read -b 0 100", "write -b 0 100", "read -P 0 0 512")


# ---- mistakes ----------------------------------------------------------------------------------

@test
def mistakes_are_told_alike():
    t = Twins()
    for command in (
            "readv 100M 5", "writev 100M 5", "read 5M 1k", "read 4194000 1k", "discard 3M 4M", "read 99999999999999999999 5", "read -- -5 5",
            "read 0 99999999999999999999", "alloc x", "alloc 0 x", "alloc 0 99999999999999999999", "discard x 5", "write 0 x", "readv 0 3G",
            "read 0 3G", "discard 0 3G", "readv 0 1G 1G", "discard 0 x", "truncate -x 5", "truncate 99999999999999999999", "alloc -x 5",
            "write -s pattern -P 1 0 5", "write -z -P 1 0 5", "write -z -s pattern 0 5", "write -b -n 0 5", "write -z -b -n 0 5", "write -b -z 0 5",
            "write -f -c 0 512", "write -b -f 0 512", "write -u 0 512", "write -n 0 512", "read -l 5 0 512", "read -s 5 0 512",
            "read -P 1 -l 20 -s 500 0 512", "read -P 1 -l 513 0 512", "read -P 1 -s 600 0 512", "map x", "sleep -5", "sleep", "sleep x", "writev -P 300 0 5",
            "read -P x 0 5", "read -P 256 0 5", "open -x", "flush 1", "info -x", "help a b", "read 0", "read 0 5 6", "read abc 512", "read -5 512",
            "read 0 -512", "read 0 1.5k", "read -z 0 512", "write -s gone 0 512", "write -s empty 0 512", "discard -x 0 1", "discard 0 1 2",
            "readv 3M 4 x", "readv 3M", "writev -z 0 5", "bogus", "help bogus", "", "   ", "write 0 512; read 0 512", "truncate -m bogus 9M",
            "truncate x", "truncate", "sigraise", "sigraise x", "reopen x", "reopen -r -w", "reopen -c bogus", "reopen -o bogus=1", "read -P", "open a b",
            "open a.qcow2", "open -t bogus a.qcow2", "open -d bogus a.qcow2", "read 0x200 0x10", "read 1k 1b", "read 0 1z", "length 1"):
        t.script("a.qcow2", command)


@test
def without_an_image():
    t = Twins()
    for command in ("close", "read 0 512", "length", "length 1", "sleep 1", "sleep", "bogus", "open", "open -f", "open gone", "open a b", "flush",
                    "open -t bogus x", "open -o driver=bogus r.raw", "open -i bogus r.raw", "help length", "quit"):
        t.same("-c", command)
    t.same("-c", "open -r -o driver=raw r.raw", "-c", "length", "-c", "write 0 512", "-c", "close", "-c", "length", "-c", "open -o driver=qcow2 a.qcow2",
           "-c", "info", "-c", "close", "-c", "open -o driver=raw,file.filename=r.raw", "-c", "open r.raw", "-c", "length")
    t.same("-c", "open -n -o driver=raw r.raw", "-c", "write 0 512", "-c", "close", "-c", "open -s -o driver=raw r.raw", "-c", "write -P 3 0 512",
           "-c", "read -P 3 0 512", "-c", "close", "-c", "open -o driver=raw r.raw", "-c", "read -P 205 0 512")


@test
def read_only_images():
    t = Twins()
    t.script("a.qcow2", "write 0 512", "aio_write 0 512", "discard 0 512", "write -z 0 512", "truncate 2M", "flush", "read 0 512", options=["-r"])
    t.script("a.qcow2", "read 0 512", options=["-r", "-U"])
    t.script("a.qcow2", "read 0 512", options=["-U"])
    t.script("r.raw", "reopen -r", "write 0 512", "reopen -w", "write -P 8 0 512", "reopen -c none", "write -P 8 512 512", "reopen -c writeback",
             "read -P 8 0 1k", fmt="raw")
    t.script("a.qcow2", "write -P 1 0 64k", "reopen -r", "write 0 512", "read -P 1 0 64k", "reopen -w", "write -P 2 64k 64k", "read -P 1 0 64k", "map")
    t.script("a.qcow2", "reopen -w", "write -P 3 128k 64k", "truncate 5M", options=["-r"])
    t.script("over.qcow2", "reopen -r", "read -P 9 0 64k", "reopen -w", "write -P 2 64k 64k", "read -P 9 0 64k", "map")
    t.equal("a.qcow2")
    t.equal("over.qcow2")
    t.equal("r.raw", "raw")


@test
def the_size():
    t = Twins()
    t.script("a.qcow2", "length", "truncate 8M", "length", "truncate -m metadata 9M", "truncate 1M", "length", "truncate -m full 10M", "length", "l")
    t.script("r.raw", "length", "t 3000000", "length", "truncate -m falloc 4M", "truncate 1000", "length", "map", "info", "alloc 0 1M", fmt="raw")
    t.equal("a.qcow2")
    t.equal("r.raw", "raw")


# ---- the program -------------------------------------------------------------------------------

@test
def options():
    t = Twins()
    for args in (["-f", "bogus", "r.raw"], ["-t", "bogus", "r.raw"], ["-d", "bogus", "r.raw"], ["-i", "bogus", "r.raw"], ["gone"],
                 ["-c", "read 0 512", "gone"], ["--image-opts", "-c", "length", "driver=raw,file.filename=r.raw"],
                 ["--image-opts", "-f", "raw", "-c", "length", "driver=raw,file.filename=r.raw"], ["--image-opts", "driver=raw,file.filename=gone"],
                 ["-c", "info", "-c", "map", "r.raw"], ["-f", "raw", "-s", "-c", "write -P 3 0 512", "-c", "read -P 3 0 512", "r.raw"],
                 ["-f", "raw", "-c", "read -P 3 0 512", "r.raw"], ["-f", "raw", "-n", "-m", "-c", "read 0 512", "r.raw"],
                 ["-f", "raw", "-n", "-k", "-c", "read 0 512", "r.raw"], ["-f", "raw", "-k", "-c", "read 0 512", "r.raw"],
                 ["-f", "raw", "-i", "threads", "-t", "directsync", "-c", "write 0 512", "r.raw"],
                 ["-f", "raw", "-t", "unsafe", "-d", "ignore", "-c", "write 0 512", "-c", "discard 0 512", "r.raw"],
                 ["-f", "qcow2", "-C", "-c", "info", "-c", "read -P 9 0 64k", "-c", "map", "over.qcow2"],
                 ["--cmd", "length", "--format=raw", "--read-only", "--cache=none", "r.raw"],
                 ["--object", "secret,id=s0,data=abc", "-c", "length", "-f", "raw", "r.raw"],
                 ["--image-opts", "-c", "length", "driver=raw,file.driver=blkdebug,file.image.filename=r.raw"],  # what it lies on: a file
                 ["--image-opts", "-c", "read -P 0 0 64k", "driver=raw,file.driver=blkdebug,file.image.filename=gone"],
                 ["--object", "throttle-group,id=g,limits.iops-total=1000,limits.iops-total-max=2000", "--image-opts", "-c", "length",
                  "driver=throttle,throttle-group=g,file.filename=r.raw"],
                 ['json:{"driver":"raw","file":{"driver":"file","filename":"r.raw"}}', "-c", "length"]):
        t.same(*args)
    assert run(KILN, ["--bogus", "x"], ".", "")[0] == run(KILN, ["-c"], ".", "")[0] == run(KILN, ["-f", "raw", "a", "b"], ".", "")[0] == 1
    qemu_img("create", "-q", "-f", "raw", "r.raw", "1M")
    for limits in ("limits.bps-total=1,limits.bps-read=1", "limits.gone=1", "limits=3", "gone.iops-total=1"):
        status, _, err = run(KILN, ["--object", "throttle-group,id=g," + limits, "-c", "length", "-f", "raw", "r.raw"], ".", "")
        assert status == 1 and "throttle-group,id=g: " in err, (limits, err)
    assert "block_file_done" in run(KILN, ["-T", "block_file_done", "-f", "raw", "-c", "read 0 4k", "r.raw"], ".", "")[2]
    assert run(KILN, ["--trace=gone_*", "r.raw"], ".", "")[0] == 0
    assert run(KILN, ["-V"], ".", "")[1].startswith("kiln-io version ") and "--image-opts" in run(KILN, ["-h"], ".", "")[1]


@test
def lines_from_standard_input():
    t = Twins()
    for text in ("read 0 512\n\nlength\n", "read 0 512\nquit\nlength\n", "read\t0 512\nread \"0\" 512\nlength", "", "q\n", "read -P 1 0 512\n"):
        t.same("-f", "raw", "r.raw", stdin=text)


@test
def help_names_the_commands():
    t = Twins()
    ours, theirs = (run(tool, ["-c", "help"], ".", "")[1].splitlines() for tool in (KILN, "qemu-io"))
    assert sorted(line.split()[0] for line in ours if line) == sorted(line.split()[0] for line in theirs if line)
    assert [line for line in ours if line not in [re.sub("  +", " ", each) for each in theirs]] == []
    t.same("-c", "help bogus")
    for name in {line.split()[0] for line in ours[:-2]}:
        ours_of, theirs_of = (run(tool, ["-c", "help " + name], ".", "")[1] for tool in (KILN, "qemu-io"))
        options = [set(re.findall(r"^ -(\w)", text, re.M)) for text in (ours_of, theirs_of)]
        assert options[0] == options[1] - ({"i"} if name.startswith("aio_") else set()), (name, options)
        assert not options[0] or " %s " % name in ours_of.split("\n", 1)[1], ours_of  # and an example


@test
def break_points():
    qemu_img("create", "-q", "-f", "raw", "r.raw", "4M")
    image = "driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename=r.raw"
    args = ["--image-opts"]
    for command in ("break write_aio A", "aio_write -P 4 0 64k", "wait_break A", "length", "resume A", "aio_flush", "read -P 4 0 64k"):
        args += ["-c", command]
    status, out, err = run(KILN, [*args, image], ".", "")
    assert status == 0 and plain(out).startswith("blkdebug: Suspended request 'A'\n4 MiB\nblkdebug: Resuming request 'A'\n"
                                                 "wrote 65536/65536 bytes at offset 0\n"), (status, out, err)
    assert run(KILN, ["--image-opts", "-c", "break bogus A", image], ".", "")[1] == "Could not set breakpoint: No such file or directory\n"
    assert run(KILN, ["-f", "raw", "-c", "break write_aio A", "r.raw"], ".", "")[:2] == (1, "Could not set breakpoint: Operation not supported\n")
    assert run(KILN, ["--image-opts", "-c", "resume A", image], ".", "")[0] == 1
    assert run(KILN, ["--image-opts", "-c", "break write_aio A", "-c", "remove_break A", "-c", "write 0 64k", image], ".", "")[0] == 0


@test
def events_of_qcow2():
    """qcow2 announces what it is about to do: rules and break points for what does not depend on when tables are
    written have the same effect."""
    image = "driver=qcow2,file.driver=blkdebug,file.image.driver=file,file.image.filename=%s.qcow2"
    for options, commands in (
            ("", ("break write_aio A", "aio_write -P 4 0 64k", "wait_break A", "aio_write -P 5 32k 16k", "resume A", "aio_flush",
                  "read -P 4 0 32k", "read -P 5 32k 16k", "read -P 4 48k 16k")),
            ("l2_load,once=on", ("read 0 32k", "read 0 32k")),
            ("write_compressed,once=on", ("write -c 0 64k", "write -P 3 0 128k", "read -P 3 0 128k")),
            ("read_aio,once=on", ("write -P 3 0 64k", "read 0 64k", "read -P 3 0 64k")),
            ("write_aio,errno=28", ("write 1M 64k", "write 2M 64k")),
            ("flush_to_disk,iotype=flush,once=on", ("write 0 64k", "flush", "flush"))):
        told = []
        for tool, name in ((KILN, "kiln"), ("qemu-io", "qemu")):
            qemu_img("create", "-q", "-f", "qcow2", name + ".qcow2", "4M")
            if options.startswith("l2_load"):
                assert run("qemu-io", ["-f", "qcow2", "-c", "write -P 7 0 64k", name + ".qcow2"], ".", "")[0] == 0
            args = ["--image-opts"]
            for command in commands:
                args += ["-c", command]
            rule = ",".join("file.inject-error.0." + part for part in ("event=" + options).split(",")) if options else ""
            status, out, err = run(tool, [*args, image % name + (rule and "," + rule)], ".", "")
            told.append((status, plain(out)))
            assert "failed" not in out or options, out
            qemu_img("check", "-q", name + ".qcow2")
        assert told[0] == told[1], (options, told)


LIMITS = ("align=512", "align=4096", "align=512,max-transfer=8192", "align=4096,max-transfer=4096", "align=16384,max-transfer=32768",
          "align=512,opt-write-zero=4096,max-write-zero=8192", "align=4096,opt-write-zero=16384,max-write-zero=49152,max-transfer=8192",
          "align=512,opt-discard=4096,max-discard=8192", "align=4096,opt-discard=16384,opt-write-zero=8192", "align=512,opt-discard=512,max-discard=5120,max-write-zero=5120")
LOG_DISCARD = 4


def log_of(path):
    """What was written, in order: sector, sectors, whether it was a discard. Flushes are left out."""
    with open(path, "rb") as f:
        log = f.read()
    magic, version, entries, size = struct.unpack_from("<QQQI", log)
    if not magic:
        return None                     # it did not end well
    assert (magic, version) == (0x6a736677736872, 1), (magic, version)
    at, found = size, []
    for _ in range(entries):
        sector, count, flags, _ = struct.unpack_from("<QQQQ", log, at)
        data = 0 if flags & LOG_DISCARD else count * size
        if count:
            found.append((sector, count, flags & LOG_DISCARD, hashlib.sha1(log[at + size:at + size + data]).hexdigest()))
        at += size + data
    return found


def limits_command(rand, limits):
    """qemu-io 7.2 divides by zero at discards when opt-discard is not there."""
    unit = rand.choice((1, 512, 4096, 16384))
    at, length = (rand.randrange(1, (1 << 17) // unit) * unit for _ in range(2))
    if rand.randrange(8) == 0:
        at = (1 << 20) - length
    return rand.choice(("write -P %d" % rand.randrange(256), "writev -P %d" % rand.randrange(256), "write -z", "write -z -u",
                        "discard" if "opt-discard" in limits else "read", "read", "write -f -P 3")) + " %d %d" % (at, length)


@test
def limits_that_blkdebug_pretends_to_have():
    """The same requests come out below as QEMU's block layer makes of them, in the same order with the same data."""
    for number, limits in enumerate(LIMITS):
        rand = random.Random(number)
        commands = [limits_command(rand, limits) for _ in range(60)]
        told = []
        for tool in (KILN, "qemu-io"):
            with open("a", "wb") as f:
                f.write(random.Random(1).randbytes(1 << 20))
            with open("log", "wb"):
                pass
            image = ("driver=blkdebug,discard=unmap,%s,image.driver=blklogwrites,image.discard=unmap,image.file.driver=file,"
                     "image.file.filename=a,image.file.discard=unmap,image.log.driver=file,image.log.filename=log" % limits)
            status, out, err = run(tool, ["-t", "writeback", "--image-opts", *(w for c in commands for w in ("-c", c)), image], ".", "")
            with open("a", "rb") as f:
                told.append((status, plain(out), err, log_of("log"), hashlib.sha1(f.read()).hexdigest()))
        for kind, ours, theirs in zip(("status", "stdout", "stderr", "requests", "content"), *told):
            if ours != theirs and isinstance(ours, list):
                first = next((i for i in range(min(len(ours), len(theirs))) if ours[i] != theirs[i]), min(len(ours), len(theirs)))
                ours, theirs = ours[first:first + 3], theirs[first:first + 3]
            assert ours == theirs, "%s: %s\n%s\nqemu-io's\n%s\n%s" % (limits, kind, ours, theirs, commands)


@test
def neighbours_in_one_block():
    """Writes that must read and change the same blocks beside each other lose nothing."""
    qemu_img("create", "-q", "-f", "raw", "r.raw", "1M")
    commands = ["aio_write -q -P %d %d 100" % (i + 1, i * 100) for i in range(200)] + ["aio_write -q -P 201 20480 4096", "aio_write -q -z 24576 4096",
                "aio_flush"] + ["read -q -P %d %d 100" % (i + 1, i * 100) for i in range(200)] + ["read -q -P 201 20480 4096"]
    status, out, _ = run(KILN, ["--image-opts", *(w for c in commands for w in ("-c", c)),
                                "driver=blkdebug,align=4096,image.driver=file,image.filename=r.raw"], ".", "")
    assert (status, out) == (0, ""), (status, out)


@test
def limits_that_make_no_sense():
    qemu_img("create", "-q", "-f", "raw", "r.raw", "1M")
    image = "driver=blkdebug,%s,image.driver=file,image.filename=r.raw"
    for limits in ("align=3", "align=2G", "align=4096,max-transfer=1000", "max-transfer=4G", "align=512,opt-write-zero=1000",
                   "opt-write-zero=8192,max-write-zero=4096", "align=512,max-write-zero=1000", "align=512,opt-discard=1000",
                   "opt-discard=8192,max-discard=4096", "align=512,max-discard=1000", "take-child-perms.0=foo", "align=x"):
        ours, theirs = (run(tool, ["--image-opts", "-c", "read 0 512", image % limits], ".", "") for tool in (KILN, "qemu-io"))
        assert ours[0] == theirs[0] == 1, (limits, ours, theirs)
        said = theirs[2].splitlines()[0].replace("qemu-io: can't open: ", "")
        assert said in ours[2] or "perms" in limits or limits == "align=x", (limits, ours, theirs)


@test
def permissions_that_blkdebug_takes():
    """Two on one file: what one uses the other must share."""
    qemu_img("create", "-q", "-f", "raw", "r.raw", "1M")
    image = "driver=blkdebug,%simage.driver=file,image.filename=r.raw"
    for held, other, fine in (("-r unshare-child-perms.0=write,", "-r ", True), ("-r unshare-child-perms.0=write,", "-n ", False),
                              ("-r unshare-child-perms.0=consistent-read,", "-r ", False),
                              ("-r unshare-child-perms.0=write-unchanged,unshare-child-perms.1=resize,", "-n take-child-perms.0=resize,", False),
                              ("-n take-child-perms.0=write-unchanged,", "-r unshare-child-perms.0=write-unchanged,", False)):
        for tool in (KILN, "qemu-io"):
            options, perms = held.split(" ")
            process = subprocess.Popen([tool, "--image-opts", options, image % perms], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       text=True)
            process.stdin.write("read 0 512\n")
            process.stdin.flush()
            while "read 512/512" not in process.stdout.readline():
                assert process.poll() is None, (tool, held)
            options, perms = other.split(" ")
            status = run(tool, ["--image-opts", options, "-c", "read 0 512", image % perms], ".", "")[0]
            process.stdin.close()
            process.stdout.close()
            process.wait(LIMIT)
            assert (status == 0) == fine, (tool, held, other, status)


@test
def ends_by_signals():
    t = Twins()
    for command, status in (("abort", -6), ("sigraise 9", -9), ("sigraise 15", -15)):
        assert [run(tool, ["-f", "raw", "-c", command, "r.raw"], t.ours, "")[0] for tool in (KILN, "qemu-io")] == [status] * 2, command


@test
def a_long_read_of_packed_clusters():
    """Not all of them are unpacked at once; nor are there lists of buffers for each part, however many there are."""
    size = 256 << 20
    with open("a.raw", "wb") as f:
        f.write(b"0123456789abcdef" * (size // 16))
    for args in (("-c", "-O", "qcow2"), ("-c", "-O", "qcow2", "-o", "cluster_size=2M"),
                 ("-O", "vmdk", "-o", "subformat=streamOptimized")):
        qemu_img("convert", "-f", "raw", *args, "a.raw", "b")
        peak = peak_of(("-r", "-f", args[args.index("-O") + 1], "-c", "read 0 256M", "b"))
        assert peak < size + (200 << 20), "%s: %d MiB" % (args, peak >> 20)


if __name__ == "__main__":
    sys.exit(main("kiln-io."))
