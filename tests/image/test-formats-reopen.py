#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Images of other programs (vdi, vpc, vhdx, vmdk) that are reopened in a running machine and in kiln-io: read-only and back, with
other cache options, with requests waiting, where it has to be refused; and the name of a vmdk's parent, which cannot change.

    test-formats-reopen.py KILN-IMG KILN-IO KILN-SYSTEM      (TAP)
"""
import json
import os
import shutil
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, ".."), os.path.join(HERE, "..", "qmp")]
from imgtest import ok, qemu, qemu_io, run
from qmpclient import Machine
from tap import main, test

KILN_IO, SYSTEM = (os.path.abspath(path) for path in sys.argv[2:4])
KINDS = [("vdi", ""), ("vdi", "static=on"), ("vpc", "force_size=on"), ("vpc", "force_size=on,subformat=fixed"),
         ("vhdx", "block_size=1M"), ("vmdk", ""), ("vmdk", "subformat=monolithicFlat"),
         ("vmdk", "subformat=twoGbMaxExtentSparse"), ("vmdk", "subformat=streamOptimized")]
READ_ONLY = {"read-only": True}


def node(fmt, **more):
    return {"driver": fmt, "node-name": "d", "file": {"driver": "file", "filename": "image"}, **more}


def make(fmt, options):
    for name in [name for name in os.listdir(".") if name.startswith(("image", "model"))]:
        os.unlink(name)
    ok("create", "-q", "-f", fmt, *(["-o", options] if options else []), "image", "20M")
    qemu("create", "-q", "-f", "raw", "model", "20M")


class Disk(Machine):
    """A machine with the image as node d; what it writes is written to the model, too."""

    def __init__(self, options):
        super().__init__(SYSTEM)
        self.qmp = self.connect()
        self.fmt = options["driver"]
        self.qmp.do("blockdev-add", **options)

    def io(self, words, says=""):
        said = self.qmp.hmp('qemu-io d "%s"' % words)
        assert says in said if says else "failed" not in said and "rror" not in said and "read-only" not in said, "%s: %s" % (words, said)

    def write(self, words):
        self.io(words)
        qemu_io("model", words, fmt="raw")

    def reopen(self, *options):
        self.qmp.do("blockdev-reopen", options=list(options))

    def refused(self, text, *options):
        reply = self.qmp.command("blockdev-reopen", options=list(options))
        assert text in reply.get("error", {}).get("desc", ""), "%r lacks %r" % (reply, text)

    def files(self):
        return [n for n in self.qmp.do("query-named-block-nodes", flat=True) if n["drv"] == "file"]

    def end(self):
        self.qmp.do("quit")
        self.process.wait()
        same(self.fmt)


def same(fmt):
    """For a reader that may share, and that looks through the image: it is sound, and has all of the model."""
    qemu("compare", "-U", "-f", fmt, "-F", "raw", "image", "model")
    if fmt != "vpc":
        qemu("check", "-U", "-f", fmt, "image")


@test
def read_only_and_back():
    for fmt, options in KINDS:
        make(fmt, options)
        with Disk(node(fmt, **READ_ONLY)) as m:
            for turn in range(4):
                m.io("write 0 64k", "read-only")
                m.reopen(node(fmt))
                m.write("write -P %d %dM 64k" % (turn + 1, 4 * turn + 1))
                m.write("write -P %d %dM 128k" % (turn + 9, 4 * turn + 3))
                m.reopen(node(fmt, **READ_ONLY))
                assert all(f["ro"] for f in m.files()), m.files()
                same(fmt)  # without a flush, while it is open
                m.io("read -P %d %dM 64k" % (turn + 1, 4 * turn + 1))
            m.reopen(node(fmt, **{"auto-read-only": True}))
            m.write("write -P 77 19M 64k")
            m.end()


@test
def cache_options_reach_every_file():
    for fmt, options in KINDS:
        make(fmt, options)
        with Disk(node(fmt)) as m:
            for turn, cache in enumerate(({"direct": True}, {"no-flush": True}, {"direct": True, "no-flush": True}, {})):
                m.reopen(node(fmt, cache=cache))
                for file in m.files():
                    got = {name for name in ("direct", "no-flush") if file["cache"][name]}
                    assert got == set(cache), "%s %s: %s is %s, not %s" % (fmt, options, file["file"], got, cache)
                m.write("write -P %d %dM 64k" % (turn + 1, turn + 1))
                m.write("write -P %d %dM 64k" % (turn + 5, 10 + turn))
            m.reopen(node(fmt, discard="unmap", **{"detect-zeroes": "unmap"}))
            m.write("write -P 0 18M 64k")
            m.end()


@test
def requests_that_wait_are_done_first():
    for fmt, options in KINDS:
        if "streamOptimized" in options:
            continue  # takes a grain once
        make(fmt, options)
        limited = {"driver": "throttle", "throttle-group": "g", "file": node(fmt)["file"]}
        with Disk({"driver": "null-co", "node-name": "unused"}) as m:
            m.fmt = fmt
            m.qmp.do("object-add", **{"qom-type": "throttle-group", "id": "g", "limits": {"iops-total": 1}})
            m.qmp.do("blockdev-add", **node(fmt, file=limited))
            for turn in range(2):
                words = ["aio_write -q -P %d %dk 4k" % (10 + n, 2000 * n + 512 * turn) for n in range(10)]
                for each in words:
                    m.io(each)
                m.reopen(node(fmt, file=limited, **READ_ONLY))
                qemu_io("model", *words, "aio_flush", fmt="raw")
                same(fmt)
                m.reopen(node(fmt, file=limited))
            m.end()


@test
def what_cannot_be_written_stays_read_only():
    """A table that names a place twice is found when the image is to be written, not before."""
    for fmt, offset, form, value in (("vdi", 0x200, "<I", 1), ("vhdx", 2 << 20, "<Q", 3 << 20 | 6), ("vpc", 0x600, ">I", 3)):
        make(fmt, "block_size=1M" if fmt == "vhdx" else "force_size=on" if fmt == "vpc" else "")
        qemu_io("image", "write -P 1 0 1M", "write -P 2 2M 1M", "write -P 3 4M 1M", fmt=fmt)
        with open("image", "r+b") as f:
            f.seek(offset)
            f.write(struct.pack(form, value))
        shutil.copy("image", "before")
        with Disk(node(fmt, **READ_ONLY)) as m:
            for _ in range(2):
                m.refused("cannot be written without damage", node(fmt))
                m.io("read -P 3 4M 64k")
                m.io("write 0 64k", "read-only")
            m.qmp.do("quit")
            m.process.wait()
        with open("image", "rb") as a, open("before", "rb") as b:
            assert a.read() == b.read(), fmt
    make("vmdk", "")  # all or none: it is ready, the other one is not
    with Disk(node("vmdk", **READ_ONLY)) as m:
        m.qmp.do("blockdev-add", **{"driver": "null-co", "node-name": "other"})
        m.refused("size", node("vmdk"), {"driver": "null-co", "node-name": "other", "size": "x"})
        m.io("write 0 64k", "read-only")
        m.reopen(node("vmdk"))
        m.write("write -P 5 1M 64k")
        m.end()


@test
def a_failed_flush_keeps_it_writable():
    for fmt, options in (("vdi", ""), ("vpc", "force_size=on"), ("vhdx", "block_size=1M"), ("vmdk", "")):
        make(fmt, options)
        first = 3 if fmt == "vhdx" else 1  # its first write begins with a header, between two flushes
        bad = {"driver": "blkdebug", "node-name": "bad", "image": node(fmt)["file"],
               "set-state": [{"event": "flush_to_disk", "state": n, "new_state": n + 1} for n in range(1, first)],
               "inject-error": [{"event": "flush_to_disk", "state": first, "once": True}]}
        with Disk(bad) as m:
            m.fmt = fmt
            m.qmp.do("blockdev-add", **node(fmt, file="bad"))
            m.write("write -P 1 1M 64k")
            m.refused("Could not write out", node(fmt, file="bad", **READ_ONLY))
            m.write("write -P 2 9M 64k")
            m.reopen(node(fmt, file="bad", **READ_ONLY))
            same(fmt)
            m.end()


@test
def what_others_could_write_is_opened_anew():
    """Its tables in memory may be old."""
    for fmt, options in (("vdi", ""), ("vpc", "force_size=on"), ("vhdx", "block_size=1M"), ("vmdk", "")):
        make(fmt, options)
        shared = {"read-only": True, "force-share": True}
        with Disk(node(fmt, **shared)) as m:
            for command in ("write -P 1 1M 64k", "write -P 2 9M 64k"):
                qemu_io("image", command, fmt=fmt)
                qemu_io("model", command, fmt="raw")
            m.refused("force-share", node(fmt))
            m.reopen(node(fmt, **READ_ONLY))
            m.refused("force-share", node(fmt))
            m.qmp.do("blockdev-del", node_name="d")
            m.qmp.do("blockdev-add", **node(fmt))
            m.write("write -P 3 5M 64k")
            m.end()
        with Disk(node(fmt, **READ_ONLY)):  # not shared: nobody else may
            status, _, err = run("-f", fmt, "-c", "write 0 4k", "image", tool="qemu-io")
            assert status and "lock" in err, err


def cid(name):
    return json.loads(qemu("info", "-U", "--output=json", name))["format-specific"]["data"]["cid"]


@test
def a_vmdk_gets_a_content_id_each_time():
    """Children may be made while it is read-only, which what is written later makes unsound."""
    make("vmdk", "")
    with Disk(node("vmdk")) as m:
        seen = {cid("image")}
        for turn in range(3):
            m.write("write -P %d 1M 64k" % (turn + 1))
            m.reopen(node("vmdk", **READ_ONLY))
            seen.add(cid("image"))
            m.reopen(node("vmdk"))
        assert len(seen) == 4, seen
        m.end()


@test
def a_vmdk_keeps_its_parents_name():
    ok("create", "-q", "-f", "vmdk", "base.vmdk", "20M")
    ok("create", "-q", "-f", "vmdk", "-b", "base.vmdk", "-F", "vmdk", "top.vmdk")
    with open("top.vmdk", "rb") as f:
        before = f.read()
    disk = {"driver": "vmdk", "node-name": "t", "file": {"driver": "file", "filename": "top.vmdk"}}
    for options in (disk, {**disk, **READ_ONLY}):
        with Machine(SYSTEM, "-blockdev", json.dumps(options), "-device", "virtio-scsi-pci", "-device", "scsi-hd,drive=t") as m:
            reply = m.connect().command("change-backing-file", device="t", image_node_name="t", backing_file="other.vmdk")
            assert "Could not change backing file to 'other.vmdk': Operation not supported" in reply["error"]["desc"], reply
    with open("top.vmdk", "rb") as f:
        assert f.read() == before


@test
def kiln_io_reopens_them():
    for fmt, options in KINDS:
        make(fmt, options)
        words = ["write -P 1 1M 64k", "reopen -r", "read -P 1 1M 64k", "reopen -w", "write -P 2 3M 64k", "reopen -c none",
                 "write -P 3 5M 64k", "reopen -c writethrough", "write -P 4 7M 64k", "reopen -c writeback -o discard=unmap",
                 "write -P 5 9M 64k"]
        out = ok("-f", fmt, *[word for each in words for word in ("-c", each)], "image", tool=KILN_IO)
        assert out.count("wrote 65536/65536") == 5 and out.count("read 65536/65536") == 1, out
        qemu_io("model", *[each for each in words if each.startswith("write")], fmt="raw")
        same(fmt)
        ok("-r", "-f", fmt, "-c", "reopen -w", "-c", "write -P 6 11M 64k", "image", tool=KILN_IO)
        qemu_io("image", "read -P 6 11M 64k", fmt=fmt)


if __name__ == "__main__":
    sys.exit(main("kiln-formats-reopen."))
