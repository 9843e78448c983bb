#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-block-beside.py KILN KILN-IMG: ways to give a disk and commands about nodes, good and bad, in the same words to Kiln and, where
it is installed, to QEMU 7.2. What succeeds in one does in the other, and Kiln's refusals begin with QEMU's words."""
import json
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "cli"))
from harness import LIMIT, QTEST, Suite, check, same  # noqa: E402
from oracle import QEMU, programs  # noqa: E402
from qmpclient import Machine  # noqa: E402

KILN, IMG = (os.path.abspath(path) for path in sys.argv[1:3])
MIB = 1 << 20
SECRET = ("-object", "secret,id=s,data=abc")
suite = Suite(KILN)
test = suite.test


def images():
    for name in ("a.raw", "b.raw"):
        with open(name, "wb") as f:
            f.truncate(MIB)
    for words in ([], ["q.qcow2", "4M"], ["-b", "a.raw", "-F", "raw", "o.qcow2"], ["-o", "compat=0.10", "v2.qcow2", "1M"]):
        if words:
            subprocess.run([IMG, "create", "-q", "-f", "qcow2", *words], check=True)


def node(driver, name, **options):
    return {"driver": driver, "node-name": name, **{key.replace("_", "-"): value for key, value in options.items()}}


def file(path, name="f", **options):
    return node("file", name, filename=path, **options)


def add(options):
    return "blockdev-add", options


def reopen(*options):
    return "blockdev-reopen", {"options": list(options)}


def resize(name, size):
    return "block_resize", {"node-name": name, "size": size}


def flat(value):
    """An answer without what differs in any case."""
    return re.sub("#block[0-9]+", "#block", json.dumps(value, sort_keys=True))


def conversation(script, *args):
    """Kiln's replies: True, or the error's words; where an entry has a third part, what that makes of the value. QEMU's are the same."""
    said = []
    for program in programs(KILN):
        if os.path.exists("qmp"):
            os.unlink("qmp")
        images()
        with Machine(program, "-S", *args, accel="tcg" if program == QEMU else "qtest") as m:
            c = m.connect()
            replies = []
            for name, arguments, *pick in script:
                reply = c.ask({"execute": name, "arguments": arguments})
                check(reply is not None, "%s ends at %s %r" % (program, name, arguments))
                replies.append(reply["error"]["desc"] if "error" in reply else pick[0](reply["return"]) if pick else True)
            c.do("quit")
            same(m.process.wait(LIMIT), 0)
        said.append(replies)
    for theirs in said[1:]:
        for entry, mine, other in zip(script, said[0], theirs):
            fits = mine.startswith(other) if isinstance(mine, str) and isinstance(other, str) else flat(mine) == flat(other)
            check(fits, "%s: %r, QEMU %r" % (json.dumps(entry[:2]), mine, other))
    return said[0]


def start(*args):
    """Kiln's exit status, and what it said first. QEMU begins with the same."""
    said = []
    for program in programs(KILN):
        images()
        run = subprocess.run([program, *QTEST[:1], "tcg" if program == QEMU else "qtest", *QTEST[2:], "-S", "-monitor", "stdio", *args],
                             input=b"quit\n", stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=LIMIT, check=False)
        words = re.sub("^[^ ]*: ", "", (run.stderr.decode().splitlines() or [""])[0])
        said.append((run.returncode, words))
    for other in said[1:]:
        check(said[0][0] == other[0] and said[0][1].startswith(other[1]), "%s: %r, QEMU %r" % (" ".join(args), said[0], other))
    return said[0]


def fails(said, index, words):
    check(isinstance(said[index], str) and words in said[index], "%d: %r, expected %s" % (index, said[index], words))


def drive(options, *more):
    return start("-drive", options + ",if=none,id=d", *more)


QCOW2 = [add(file("q.qcow2")), add(node("qcow2", "q", file="f"))]


@test("what stands on a node keeps its size")
def _():
    said = conversation([*QCOW2, resize("f", MIB), resize("q", 8 * MIB), ("query-named-block-nodes", {"flat": True},
                         lambda nodes: {n["node-name"]: n["image"]["virtual-size"] for n in nodes if n["node-name"] == "q"})])
    fails(said, 2, "Permission conflict on node 'f': permissions 'resize' are both required by an unnamed block device")
    same(said[3:], [True, {"q": 8 * MIB}])
    fails(conversation([add(file("b.raw")), add(node("raw", "r", file="f", size=4096)), resize("f", 2 * MIB), resize("r", 8192)]), 2, "resize")
    fails(conversation([resize("f", MIB)], "-drive", "if=none,id=d,file=a.raw,format=raw,file.node-name=n,node-name=f", "-device", "ide-cd,drive=d"),
          0, "unshared by block device 'd'")
    same(conversation([*QCOW2, ("device_add", {"driver": "virtio-blk-pci", "drive": "q"}), resize("q", 2 * MIB)]), [True] * 4)
    # who is gone asks for nothing
    same(conversation([*QCOW2, resize("q", 2 * MIB), ("blockdev-del", {"node-name": "q"}), resize("f", MIB)])[2:], [True] * 3)


@test("a refusal names the devices")
def _():
    said = conversation([add(file("a.raw")), ("device_add", {"driver": "virtio-scsi-pci", "id": "s0"}),
                         ("device_add", {"driver": "scsi-hd", "id": "one", "drive": "f"}),
                         ("device_add", {"driver": "scsi-hd", "id": "two", "drive": "f"}),
                         ("device_add", {"driver": "scsi-hd", "id": "two", "drive": "f", "share-rw": True})])
    fails(said, 3, "required by block device 'one' (uses node 'f' as 'root' child) and unshared by block device 'two'")
    fails(said, 4, "required by block device 'two' (uses node 'f' as 'root' child) and unshared by block device 'one'")


@test("a file that this program has open already is said to be so")
def _():
    images()
    words = []
    for first in ("driver=file,node-name=e,filename=a.raw", "driver=qcow2,node-name=e,file.driver=file,file.filename=o.qcow2"):
        run = refused_at_start("-blockdev", first, "-device", "virtio-blk-pci,drive=e", "-blockdev", "driver=file,node-name=d,filename=a.raw",
                        "-device", "virtio-blk-pci,drive=d")
        words.append(run)
    for text in words:
        check('Failed to get "write" lock' in text and "this process itself" in text and "Remove the other disk or node first" in text, text)


def refused_at_start(*args):
    run = subprocess.run([KILN, *QTEST, "-S", *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=LIMIT,
                         check=False)
    same(run.returncode, 1)
    return run.stderr.decode()


@test("options that an image cannot have")
def _():
    luks = {"format": "luks", "key-secret": "s"}
    said = conversation([*QCOW2, reopen(node("qcow2", "q", file="f", encrypt=luks)), ("blockdev-del", {"node-name": "q"}),
                         add(node("qcow2", "q", file="f", encrypt=luks)), add(file("v2.qcow2", "f2")),
                         add(node("qcow2", "v2", file="f2", lazy_refcounts=True)), add(node("qcow2", "v2", file="f2")),
                         reopen(node("qcow2", "v2", file="f2", lazy_refcounts=True)), reopen(node("qcow2", "v2", file="f2", lazy_refcounts=False))],
                        *SECRET)
    for index in (2, 4):
        fails(said, index, "No encryption in image header, but options specified format 'luks'")
    for index in (6, 8):
        fails(said, index, "Lazy refcounts require")
    same((said[7], said[9]), (True, True))
    for options, words in (("encrypt.format=luks,encrypt.key-secret=s", "No encryption"), ("lazy-refcounts=on", "Lazy refcounts")):
        status, text = drive("file=%s.qcow2,format=qcow2,%s" % ("q" if "enc" in options else "v2", options), *SECRET)
        check(status == 1 and words in text, text)
    same(drive("file=q.qcow2,format=qcow2,lazy-refcounts=on"), (0, ""))


@test("what is read-only below is not written to unasked")
def _():
    said = conversation([add(file("q.qcow2", read_only=True, auto_read_only=True)), add(node("qcow2", "q", file="f")),
                         add(node("qcow2", "q", file="f", read_only=True))])
    fails(said, 1, "Block node is read-only")
    same(said[2], True)
    said = conversation([add(node("copy-on-read", "c", read_only=True, file=node("raw", "r", file=file("a.raw")))),
                         add(node("copy-on-read", "c", file=node("raw", "r", file=file("a.raw"))))])
    fails(said, 0, "Block node is read-only")
    same(said[1], True)


@test("an image is called after the file that it has now")
def _():
    def names(nodes):   # QEMU's filter is a json: that ends in the name
        return {n["node-name"]: re.sub(r'.*"filename": "([^"]*)".*', r"\1", n["image"]["filename"]) for n in nodes}

    said = conversation([add(file("a.raw")), add(node("raw", "r", file="f")), add(file("b.raw", "g")), add(node("copy-on-read", "c", file="r")),
                         reopen(node("raw", "r", file="g")), ("query-named-block-nodes", {"flat": True}, names),
                         reopen(node("raw", "r", file="absent"))])
    same(said[5], {"f": "a.raw", "r": "b.raw", "g": "b.raw", "c": "b.raw"})
    fails(said, 6, "nor node-name='absent'")


@test("a backing file that is taken out of the image")
def _():
    def names(blocks):
        image = blocks[0]["inserted"]["image"]
        return [image.get("backing-filename"), image.get("backing-filename-format"), image.get("full-backing-filename")]

    said = conversation([("query-block", {}, names), ("change-backing-file", {"device": "d", "image-node-name": "o", "backing-file": ""}),
                         ("query-block", {}, names), ("blockdev-del", {"node-name": "b"})],
                        "-blockdev", "driver=raw,node-name=b,read-only=on,file.driver=file,file.filename=a.raw",
                        "-drive", "if=none,id=d,file=o.qcow2,format=qcow2,node-name=o,backing=b")
    same(said[:3], [["a.raw", "raw", "a.raw"], True, [None] * 3])
    fails(said, 3, "Node 'b' is busy: node is used as backing hd of 'o'")
    info = json.loads(subprocess.run([IMG, "info", "--output=json", "o.qcow2"], stdout=subprocess.PIPE, check=True).stdout)
    check("backing-filename" not in info, info)


@test("the graph: who stands on whom, and what each does and shares")
def _():
    def edges(graph):
        names = {n["id"]: n["type"] + " " + re.sub("#block[0-9]+", "#", n["name"]) for n in graph["nodes"]}
        same(len(names), len(graph["nodes"]))
        return sorted([names[e["parent"]], e["name"], names[e["child"]], sorted(e["perm"]), sorted(e["shared-perm"])] for e in graph["edges"])

    asks = ("x-debug-query-block-graph", {}, edges)
    said = conversation([asks, ("device_add", {"driver": "scsi-hd", "id": "hd", "drive": "r", "share-rw": True}), asks, add(file("o.qcow2", "of")),
                         add(node("qcow2", "o", file="of", backing=None, read_only=True)), asks],
                        "-drive", "if=none,id=d,file=q.qcow2,format=qcow2", "-device", "virtio-blk-pci,drive=d", "-device", "virtio-scsi-pci",
                        "-blockdev", "driver=raw,node-name=r,file.driver=file,file.filename=b.raw")
    check(["block-backend d", "root", "block-driver #", ["consistent-read", "write"], ["consistent-read", "resize", "write-unchanged"]]
          in said[0], said[0])
    check(any(edge[:3] == ["block-backend hd", "root", "block-driver r"] and "write" in edge[4] for edge in said[2]), said[2])


@test("names of drives and nodes")
def _():
    fails(conversation([add(node("null-co", "d")), add(node("null-co", "e"))], "-drive", "if=none,id=d"), 0, "is conflicting with a device id")
    fails(conversation([add(node("raw", "r", file="absent"))]), 0, "Cannot find device='absent' nor node-name='absent'")
    for args in (("-drive", "file=a.raw,format=raw,if=none,id=d,node-name=d"), ("-drive", "file=a.raw,format=raw,if=none,id=d,file.node-name=d"),
                 ("-blockdev", "driver=null-co,node-name=d", "-drive", "if=none,id=d")):
        status, text = start(*args)
        check(status == 1 and "Device name 'd' conflicts with an existing node name" in text, text)


@test("-blockdev asks for zeroes to be unmapped only where they may be")
def _():
    fails(conversation([add(file("a.raw", detect_zeroes="unmap")), add(file("a.raw", detect_zeroes="unmap", discard="unmap"))]), 0,
          "setting detect-zeroes to unmap is not allowed without setting discard operation to unmap")


@test("-drive: the format of a backing file, two names, zeroes")
def _():
    same(drive("file=o.qcow2,format=qcow2,backing.driver=raw"), (0, ""))
    images()
    check("Could not open backing file 'a.raw' of 'o.qcow2': Image is not in qcow2 format" in
          refused_at_start("-drive", "if=none,file=o.qcow2,format=qcow2,backing.driver=qcow2"), "not opened as it was said to be")
    status, text = drive("file=q.qcow2,format=qcow2,backing.driver=qcow2")
    check(status == 1, text)
    status, text = drive("file=a.raw,file.filename=b.raw,format=raw")
    check(status == 1 and "at the same time" in text, text)
    for options, found in (("detect-zeroes=unmap", "unmap"), ("detect-zeroes=unmap,discard=unmap", "unmap"), ("detect-zeroes=on", "on")):
        said = conversation([("query-block", {}, lambda blocks: blocks[0]["inserted"]["detect_zeroes"])],
                            "-drive", "file=a.raw,format=raw,if=none,id=d," + options)
        same(said, [found])


@test("zeroes are unmapped only where discarding is allowed")
def _():
    left = []
    for discard in ("ignore", "unmap"):
        with open("z.raw", "wb") as f:
            f.write(b"x" * MIB)
        with Machine(KILN, "-S", "-drive", "file=z.raw,format=raw,if=none,id=d,detect-zeroes=unmap,discard=" + discard) as m:
            c = m.connect()
            c.hmp('qemu-io d "write -P 0 0 1M"')
            c.hmp('qemu-io d "flush"')
        with open("z.raw", "rb") as f:
            same(f.read(), bytes(MIB))
        left.append(os.stat("z.raw").st_blocks * 512)
        os.unlink("z.raw")
    same(left, [MIB, 0])


@test("-drive format=help")
def _():
    run = subprocess.run([KILN, "-drive", "file=absent,format=help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=LIMIT, check=True)
    check(run.stdout.startswith(b"Supported formats:") and b" qcow2" in run.stdout and not run.stderr, run)


sys.exit(suite.run())
