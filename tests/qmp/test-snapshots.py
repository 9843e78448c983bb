#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Snapshots of disks that are in use: overlays (blockdev-snapshot, blockdev-snapshot-sync), internal ones, both in transactions, and
names of backing files. Answers beside QEMU 7.2's where it is installed; what the images then hold, as qemu-img sees it.

    test-snapshots.py KILN-SYSTEM"""
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "cli"), os.path.join(HERE, "..", "state")]
import busy_virtio as v  # noqa: E402
import machine as qtest  # noqa: E402
from blk_queues import QUEUES, READ, WRITE, start  # noqa: E402
from harness import Suite, check, same  # noqa: E402
from oracle import QEMU, version_is_7_2  # noqa: E402
from qmpclient import Machine  # noqa: E402

BINARY = os.path.abspath(sys.argv[1])
suite = Suite(BINARY)
test = suite.test
OVERLAY, NEW = "blockdev-snapshot", "blockdev-snapshot-sync"
MAKE, DELETE = "blockdev-snapshot-internal-sync", "blockdev-snapshot-delete-internal-sync"
RENAME = "change-backing-file"


def img(*words):
    return subprocess.run(["qemu-img", *words], stdout=subprocess.PIPE, check=True, text=True).stdout


def create(*names, size="8M"):
    for name in names:
        img("create", "-q", "-f", "qcow2", name, size)


def info(name, **more):
    return json.loads(img("info", "--output=json", *(["-U"] if more.get("shared") else []), name))


def chain(name):
    return [(image["filename"], image.get("backing-filename")) for image in json.loads(img("info", "--output=json", "--backing-chain", name))]


def node(name, path, **more):
    return "-blockdev", json.dumps({"driver": "qcow2", "node-name": name, "file": {"driver": "file", "filename": path}, **more})


def whole(*actions):
    return "transaction", {"actions": [{"type": kind, "data": data} for kind, data in actions]}


# ---- answers --------------------------------------------------------------------------------------

DISKS = ("-drive", "if=none,id=dr,file=d.qcow2,format=qcow2", "-device", "virtio-blk-pci,drive=dr,id=vd",
         *node("n", "n.qcow2"), "-device", "virtio-blk-pci,drive=n,id=vn", *node("over", "over.qcow2", backing=None),
         "-drive", "if=none,id=raw,file=r.raw,format=raw", "-drive", "if=none,id=cd,media=cdrom", "-device", "ide-cd,drive=cd,id=cdd",
         "-blockdev", "null-co,node-name=null,size=1048576,read-zeroes=on")
NOT_FOUND, NO_MEDIUM = "Cannot find device='nope' nor node-name='%s'", "Device 'cd' has no medium"
SCRIPT = [
    (NEW, {"device": "nope", "snapshot-file": "x"}, NOT_FOUND % ""),
    (NEW, {"snapshot-file": "x"}, "Cannot find device='' nor node-name=''"),
    (NEW, {"node-name": "n", "snapshot-file": "x"}, "New overlay node-name missing"),
    (NEW, {"device": "cd", "snapshot-file": "x"}, NO_MEDIUM),
    (NEW, {"device": "dr", "snapshot-file": "/nowhere/x"}, "Could not create '/nowhere/x'"),
    (NEW, {"device": "dr", "snapshot-file": "x", "format": "nofmt"}, "Unknown file format 'nofmt'"),
    (NEW, {"device": "dr", "snapshot-file": "x", "format": "raw"}, "Backing file not supported for file format 'raw'"),
    (NEW, {"device": "dr", "snapshot-file": "x", "snapshot-node-name": "n"}, "New overlay node-name already in use"),
    (NEW, {"device": "dr", "snapshot-file": "x", "snapshot-node-name": "1bad"}, "Invalid node-name: '1bad'"),
    (NEW, {"device": "dr", "snapshot-file": "y", "mode": "existing"}, "Could not open 'y'"),
    (NEW, {"device": "dr", "snapshot-file": "d.qcow2", "mode": "existing"}, 'Failed to get "write" lock'),
    (NEW, {"device": "dr", "snapshot-file": "d.qcow2"}, "Error: Trying to create an image with the same filename"),
    (NEW, {"device": "dr", "snapshot-file": "s1.qcow2"}, {}),
    (NEW, {"device": "dr", "snapshot-file": "s2.qcow2", "snapshot-node-name": "s2"}, {}),
    (NEW, {"node-name": "s2", "snapshot-file": "s3.qcow2", "snapshot-node-name": "s3", "format": "qcow2"}, {}),
    (NEW, {"node-name": "n", "snapshot-file": "s4.qcow2", "snapshot-node-name": "s4"}, {}),
    (NEW, {"node-name": "n", "snapshot-file": "x", "snapshot-node-name": "x"}, "Node 'n' is busy: node is used as backing hd of 's4'"),
    (OVERLAY, {"node": "nope", "overlay": "over"}, NOT_FOUND % "nope"),
    (OVERLAY, {"node": "dr", "overlay": "nope"}, NOT_FOUND % "nope"),
    (OVERLAY, {"node": "dr", "overlay": "n"}, "The overlay is already in use"),
    (OVERLAY, {"node": "dr", "overlay": "dr"}, "The overlay is already in use"),
    (OVERLAY, {"node": "dr", "overlay": "null"}, "The overlay does not support backing images"),
    (OVERLAY, {"node": "cd", "overlay": "over"}, NO_MEDIUM),
    (OVERLAY, {"node": "over", "overlay": "over"}, "Making 'over' a backing child of 'over' would create a cycle"),
    (OVERLAY, {"node": "n", "overlay": "over"}, "Node 'n' is busy: node is used as backing hd of 's4'"),
    (OVERLAY, {"node": "s4", "overlay": "over"}, {}),
    (OVERLAY, {"node": "dr", "overlay": "over"}, "The overlay is already in use"),
    (MAKE, {"device": "nope", "name": "a"}, NOT_FOUND % "nope"),
    (MAKE, {"device": "cd", "name": "a"}, NO_MEDIUM),
    (MAKE, {"device": "raw", "name": "a"}, "Block format 'raw' used by device 'raw' does not support internal snapshots"),
    (MAKE, {"device": "dr", "name": ""}, "Name is empty"),
    (MAKE, {"device": "n", "name": "a"}, "Need a root block node"),
    (MAKE, {"device": "dr", "name": "a"}, {}),
    (MAKE, {"device": "dr", "name": "a"}, "Snapshot with name 'a' already exists on device 'dr'"),
    (MAKE, {"device": "dr", "name": "5"}, {}),
    (DELETE, {"device": "dr"}, "Name or id must be provided"),
    (DELETE, {"device": "nope", "id": "1"}, NOT_FOUND % "nope"),
    (DELETE, {"device": "dr", "name": "zz"}, "Snapshot with id 'null' and name 'zz' does not exist on device 'dr'"),
    (DELETE, {"device": "dr", "id": "1", "name": "5"}, "Snapshot with id '1' and name '5' does not exist on device 'dr'"),
    (DELETE, {"device": "cd", "name": "a"}, NO_MEDIUM),
    (DELETE, {"device": "raw", "name": "a"}, "Failed to get a snapshot list"),
    (DELETE, {"device": "dr", "name": "a"}, ("1", "a")),
    (DELETE, {"device": "dr", "id": "2"}, ("2", "5")),
    (*whole((NEW, {"device": "dr", "snapshot-file": "t1.qcow2", "snapshot-node-name": "t1"}), ("abort", {})), "Transaction aborted"),
    (*whole((MAKE, {"device": "dr", "name": "t"}), ("abort", {})), "Transaction aborted"),
    (*whole((MAKE, {"device": "dr", "name": "t"}), (NEW, {"device": "dr", "snapshot-file": "t2.qcow2", "snapshot-node-name": "t2"})), {}),
    (*whole(*((NEW, {"device": "dr", "snapshot-file": t + ".qcow2", "snapshot-node-name": t}) for t in ("t3", "t4"))), {}),
]
NAMES = [
    (RENAME, {"device": "dr", "image-node-name": "nope", "backing-file": "x"}, "Cannot find device='' nor node-name='nope'"),
    (RENAME, {"device": "nope", "image-node-name": "t4", "backing-file": "x"}, NOT_FOUND % "nope"),
    (RENAME, {"device": "dr", "image-node-name": "null", "backing-file": "x"}, "not allowing backing file change on an image without"),
    (RENAME, {"device": "raw", "image-node-name": "t4", "backing-file": "x"}, "'raw' and image file are not in the same chain"),
    (RENAME, {"device": "dr", "image-node-name": "t4", "backing-file": "./t3.qcow2"}, {}),
    (RENAME, {"device": "dr", "image-node-name": "s3", "backing-file": "./s2.qcow2"}, {}),
]


def disks():
    create("d.qcow2", "n.qcow2", "over.qcow2")
    for name in ("r.raw", "x"):
        with open(name, "wb") as f:
            f.truncate(8 << 20)


def outcome(reply):
    """A value that can be compared: {}, what was deleted, or the error's text."""
    if "error" in reply:
        check(reply["error"]["class"] == "GenericError", "%r" % reply)
        return reply["error"]["desc"]
    return (reply["return"]["id"], reply["return"]["name"]) if reply["return"] else reply["return"]


def tell(binary, accel):
    """[outcome] of SCRIPT, and how the nodes then lie over each other."""
    disks()
    if os.path.exists("qmp"):
        os.unlink("qmp")
    with Machine(binary, "-S", *DISKS, accel=accel) as m:
        c = m.connect()
        ask = lambda script: [outcome(c.ask({"execute": name, "arguments": arguments})) for name, arguments, _ in script]
        said = ask(SCRIPT)
        nodes = {(n["file"], n["ro"], n["drv"], n.get("backing_file")) for n in c.do("query-named-block-nodes", flat=True)
                 if "null" not in n["drv"]}
        said += ask(NAMES)
    images = {name: (info(name).get("backing-filename"), [s["name"] for s in info(name).get("snapshots", [])])
              for name in sorted(os.listdir(".")) if name.endswith(".qcow2")}
    return said, nodes, images


@test("answers, and what is open and stored then, are QEMU's")
def _():
    mine, nodes, images = tell(BINARY, "qtest")
    for (name, arguments, wanted), got in zip(SCRIPT + NAMES, mine):
        check(got.startswith(wanted) if isinstance(wanted, str) and isinstance(got, str) else got == wanted,
              "%s %r: %r" % (name, arguments, got))
    same(chain("t4.qcow2")[:4], [("t4.qcow2", "./t3.qcow2"), ("./t3.qcow2", "t2.qcow2"), ("./t2.qcow2", "s3.qcow2"), ("./s3.qcow2", "./s2.qcow2")])
    for name in images:
        img("check", "-q", name)
    if version_is_7_2():
        theirs, their_nodes, their_images = tell(QEMU, "tcg")
        for (name, arguments, _), got, other in zip(SCRIPT + NAMES, mine, theirs):
            check(got.startswith(other) if isinstance(other, str) else got == other, "%s %r: %r, QEMU %r" % (name, arguments, got, other))
        same({n for n in nodes if n[0] != "over.qcow2" or n[2] == "file"},  # whose image names no backing file: QEMU shows json:
             {n for n in their_nodes if not n[0].startswith("json:")})
        same({n: i for n, i in images.items() if n != "x1.qcow2"}, {n: i for n, i in their_images.items() if n != "x1.qcow2"})


@test("HMP")
def _():
    disks()
    with Machine(BINARY, "-S", *DISKS) as m:
        c = m.connect()
        same(c.hmp("snapshot_blkdev dr h1.qcow2"), "")
        same(info("h1.qcow2", shared=True)["backing-filename"], "d.qcow2")
        create("h2.qcow2")
        same(c.hmp("snapshot_blkdev -n dr h2.qcow2 qcow2"), "")
        check("backing-filename" not in info("h2.qcow2", shared=True), "an image that was there is left as it is")
        check("'snapshot-file' is missing" in c.hmp("snapshot_blkdev dr"), "without a file")
        check("'nope'" in c.hmp("snapshot_blkdev nope x"), "without a drive")
        same(c.hmp("snapshot_blkdev_internal dr one"), "")
        check("already exists" in c.hmp("snapshot_blkdev_internal dr one"), "twice")
        check("does not exist" in c.hmp("snapshot_delete_blkdev_internal dr one 9"), "another id")
        same(c.hmp("snapshot_delete_blkdev_internal dr one 1"), "")
        check("does not exist" in c.hmp("snapshot_delete_blkdev_internal dr one"), "gone")


# ---- what new images are like ---------------------------------------------------------------------

@test("an overlay names its backing file so that it is found, or is not made")
def _():
    os.makedirs("sub")
    create("sub/base.qcow2", "a.qcow2", "b.qcow2", "./e:f.qcow2")
    with open("window.raw", "wb") as f:
        f.truncate(1 << 20)
    part = {"driver": "raw", "node-name": "part", "offset": 4096, "file": {"driver": "file", "filename": "window.raw"}}
    with Machine(BINARY, "-S", *node("base", "sub/base.qcow2"), *node("a", "a.qcow2"), *node("b", "b.qcow2", backing="a"),
                 *node("colon", "e:f.qcow2"), "-blockdev", json.dumps(part)) as m:
        c = m.connect()
        c.do(NEW, **{"node-name": "colon", "snapshot-file": "g.qcow2", "snapshot-node-name": "g"})
        c.do(NEW, **{"node-name": "base", "snapshot-file": "sub/over.qcow2", "snapshot-node-name": "o1"})
        for name in ("b", "part"):
            reply = c.command(NEW, **{"node-name": name, "snapshot-file": "no.qcow2", "snapshot-node-name": "no"})
            check("cannot name '%s'" % name in reply["error"]["desc"], reply)
        reply = c.command(NEW, **{"node-name": "a", "snapshot-file": "nbd://localhost/", "snapshot-node-name": "no"})
        check("error" in reply, reply)
        check(not os.path.exists("no.qcow2"), "nothing is made then")
    same(chain("g.qcow2")[1][0], os.path.abspath("e:f.qcow2"))
    same(chain("sub/over.qcow2")[1][0], os.path.abspath("sub/base.qcow2"))


@test("cache mode, discard and engine go on above")
def _():
    create("d.qcow2")
    with Machine(BINARY, "-S", "-drive", "if=none,id=dr,file=d.qcow2,format=qcow2,cache=none,aio=native,discard=unmap,copy-on-read=on",
                 "-device", "virtio-blk-pci,drive=dr") as m:
        c = m.connect()
        c.do(NEW, device="dr", **{"snapshot-file": "o.qcow2", "snapshot-node-name": "o"})
        nodes = {n["node-name"]: n for n in c.do("query-named-block-nodes", flat=True)}
        same(nodes["o"]["cache"], {"writeback": True, "direct": True, "no-flush": False})
        file = next(n for n in nodes.values() if n["file"] == "o.qcow2" and n["drv"] == "file")
        reply = c.command("blockdev-reopen", options=[{"driver": "file", "node-name": file["node-name"], "filename": "o.qcow2",
                                                       "aio": "native"}])
        check("cache.direct" in reply["error"]["desc"], reply)
        same(c.hmp("qemu-io o \"read -P 0 0 64k\"").splitlines()[0], "read 65536/65536 bytes at offset 0")


@test("an overlay of another size, and one that somebody only writes to")
def _():
    create("d.qcow2")
    create("large.qcow2", size="16M")
    create("idle.qcow2")
    with Machine(BINARY, "-S", *node("d", "d.qcow2"), "-device", "virtio-blk-pci,drive=d,id=v", *node("large", "large.qcow2", backing=None),
                 *node("idle", "idle.qcow2", backing=None), "-object", "throttle-group,id=g",
                 "-blockdev", "throttle,node-name=t,file=idle,throttle-group=g") as m:
        c = m.connect()
        below = next(n["node-name"] for n in c.do("query-named-block-nodes", flat=True)
                     if n["file"] == "large.qcow2" and n["drv"] == "file")
        reply = c.command(OVERLAY, node=below, overlay="large")
        check("is below the overlay 'large' already" in reply["error"]["desc"], reply)
        c.do(OVERLAY, node="d", overlay="large")
        same(c.do("query-block")[0]["inserted"]["image"]["virtual-size"], 16 << 20)
        c.do(OVERLAY, node="large", overlay="idle")
        same(c.do("query-block")[0]["inserted"]["node-name"], "idle")


# ---- what is in them ------------------------------------------------------------------------------

def io(c, name, words):
    said = c.hmp("qemu-io %s \"%s\"" % (name, words))
    check("failed" not in said and "rror" not in said, said)


@test("what was written before is below, what comes after above; other processes may read what is below")
def _():
    create("d.qcow2")
    with Machine(BINARY, "-S", "-drive", "if=none,id=dr,file=d.qcow2,format=qcow2", "-device", "virtio-blk-pci,drive=dr") as m:
        c = m.connect()
        for layer in range(4):
            io(c, "dr", "write -P %d %dk 128k" % (layer + 1, 64 * layer))
            c.do(NEW, device="dr", **{"snapshot-file": "s%d.qcow2" % layer, "snapshot-node-name": "s%d" % layer})
            below = ["d.qcow2", "s0.qcow2", "s1.qcow2", "s2.qcow2"][layer]
            img("check", "-q", below)   # nobody writes there any more
            out = subprocess.run(["qemu-io", "-f", "qcow2", "-r", "-c", "read -P %d %dk 128k" % (layer + 1, 64 * layer), below],
                                 stdout=subprocess.PIPE, text=True, check=True).stdout
            check("Pattern" not in out and "128 KiB" in out, out)
        for layer in range(4):
            io(c, "dr", "read -P %d %dk 64k" % (layer + 1, 64 * layer))
        reply = c.command("blockdev-add", driver="qcow2", **{"node-name": "z", "file": {"driver": "file", "filename": "s2.qcow2"}})
        check("lock" in reply["error"]["desc"], reply)
        c.do(MAKE, device="dr", name="inside")
        io(c, "dr", "write -P 9 0 512k")
        io(c, "dr", "flush")
        c.do("quit")
        m.process.wait(60)
    img("check", "-q", "s3.qcow2")
    img("snapshot", "-q", "-a", "inside", "s3.qcow2")
    for layer in range(4):
        out = subprocess.run(["qemu-io", "-r", "-f", "qcow2", "-c", "read -P %d %dk 64k" % (layer + 1, 64 * layer), "s3.qcow2"],
                             stdout=subprocess.PIPE, text=True, check=True).stdout
        check("Pattern" not in out, out)


@test("a transaction that fails leaves disks as they were, and they go on")
def _():
    create("d.qcow2", "e.qcow2")
    with Machine(BINARY, "-S", "-object", "iothread,id=io", *node("d", "d.qcow2"), "-device", "virtio-blk-pci,drive=d,iothread=io,id=vd",
                 *node("e", "e.qcow2"), "-device", "virtio-blk-pci,drive=e,id=ve") as m:
        c = m.connect()
        io(c, "d", "write -P 1 0 64k")
        before = c.do("query-named-block-nodes", flat=True)
        actions = [(NEW, {"node-name": n, "snapshot-file": n + "1.qcow2", "snapshot-node-name": n + "1"}) for n in "de"]
        reply = c.ask({"execute": "transaction", "arguments": whole(*actions, (MAKE, {"device": "d1", "name": "s"}), ("abort", {}))[1]})
        check("aborted" in reply["error"]["desc"], reply)
        # QEMU 7.2 ends with a failed assertion here.
        reply = c.ask({"execute": "transaction", "arguments": whole(*actions, (OVERLAY, {"node": "d1", "overlay": "e"}))[1]})
        check("already in use" in reply["error"]["desc"], reply)
        same([(n["node-name"], n["ro"]) for n in c.do("query-named-block-nodes", flat=True)], [(n["node-name"], n["ro"]) for n in before])
        io(c, "d", "write -P 2 64k 64k")
        io(c, "e", "write -P 2 64k 64k")
        same(c.ask({"execute": "transaction", "arguments": whole(*actions)[1]}), {"return": {}})
        io(c, "d1", "read -P 1 0 64k")
        io(c, "d1", "write -P 3 0 64k")
        c.do("quit")
        m.process.wait(60)
    for name in ("d.qcow2", "e.qcow2", "d1.qcow2", "e1.qcow2"):
        img("check", "-q", name)


@test("HMP commit: what temporary and other overlays hold goes down, and they are empty")
def _():
    for size in ("8M", "4M"):
        create("d.qcow2", "e.qcow2", size=size)
        create("top.qcow2", "free.qcow2")
        img("rebase", "-q", "-u", "-b", "e.qcow2", "-F", "qcow2", "top.qcow2")
        with open("r.raw", "wb") as f:
            f.write(b"\7" * (1 << 20))
        with Machine(BINARY, "-S", "-object", "iothread,id=io", "-drive", "if=none,id=d,file=d.qcow2,format=qcow2,snapshot=on",
                     "-device", "virtio-blk-pci,drive=d,iothread=io", "-drive", "if=none,id=r,file=r.raw,format=raw,snapshot=on",
                     "-drive", "if=none,id=top,file=top.qcow2,format=qcow2,copy-on-read=on", "-device", "virtio-blk-pci,drive=top",
                     "-drive", "if=none,id=free,file=free.qcow2,format=qcow2", "-drive", "if=none,id=cd,media=cdrom") as m:
            c = m.connect()
            nodes = sorted((n["node-name"], n["ro"]) for n in c.do("query-named-block-nodes", flat=True))
            same(c.hmp("commit nope"), "Device 'nope' not found\r\n")
            same(c.hmp("commit cd"), "Device 'cd' has no medium\r\n")
            check(c.hmp("commit free").startswith("'commit' error for 'free': Operation not supported"), "without a backing file")
            io(c, "d", "write -P 1 0 3M")
            io(c, "d", "write -z 64k 64k")
            io(c, "r", "write -P 2 4k 4k")
            io(c, "r", "write -z 8k 4k")
            io(c, "top", "write -P 3 4M 64k" if size == "8M" else "write -P 3 3M 64k")
            same(c.hmp("commit d"), "")
            io(c, "d", "write -P 4 2M 64k")
            same(c.hmp("commit all"), "")
            for name in ("d", "r", "top"):
                io(c, name, "write -P 9 0 4k")  # stays above
            same(sorted((n["node-name"], n["ro"]) for n in c.do("query-named-block-nodes", flat=True)), nodes)
            c.do("quit")
            m.process.wait(60)
        for name, reads in (("d.qcow2", ("1 0 64k", "0 64k 64k", "1 128k 1920k", "4 2M 64k")), ("e.qcow2", ("3 %s 64k" % ("4M" if size == "8M" else "3M"),)),
                            ("r.raw", ("7 0 4k", "2 4k 4k", "0 8k 4k", "7 12k 64k"))):
            words = [w for read in reads for w in ("-c", "read -P " + read)]
            said = subprocess.run(["qemu-io", "-r", *words, name], stdout=subprocess.PIPE, text=True, check=True).stdout
            check("Pattern" not in said, "%s: %s" % (name, said))
        img("check", "-q", "d.qcow2")
        same(info("e.qcow2")["virtual-size"], 8 << 20)


@test("a backing file of two overlays is not written")
def _():
    create("d.qcow2")
    with Machine(BINARY, "-S", "-drive", "if=none,id=a,file=d.qcow2,format=qcow2,snapshot=on", "-device", "virtio-blk-pci,drive=a",
                 "-drive", "if=none,id=b,file=d.qcow2,format=qcow2,snapshot=on", "-device", "virtio-blk-pci,drive=b") as m:
        c = m.connect()
        io(c, "a", "write -P 1 0 64k")
        check("'commit' error for 'a'" in c.hmp("commit a"), "while b reads it")
        io(c, "a", "read -P 1 0 64k")
        io(c, "b", "read -P 0 0 64k")


# ---- while the guest works ------------------------------------------------------------------------

def busy(m, rounds):
    """All queues have requests under way when each snapshot is taken; each sees what the others wrote, through all overlays."""
    queues = start(m)
    contents = {}
    for turn in range(rounds):
        queues[turn % QUEUES].one(WRITE, turn, turn + 1)
        for q in queues:
            q.fill(turn + 1)
        m.qmp((NEW, {"device": "dr", "snapshot-file": "l%d.qcow2" % turn, "snapshot-node-name": "l%d" % turn}))
        for q in queues:
            q.end()
        below = "l%d.qcow2" % (turn - 1) if turn else "d.qcow2"
        img("convert", "-O", "raw", below, "out.raw")
        with open("out.raw", "rb") as f:
            contents[below] = f.read()
        for sector in range(turn + 1):
            same(queues[(turn + sector) % QUEUES].one(READ, sector), bytes([sector + 1]) * 512)
    return contents


@test("in the middle of requests of several queues, whose threads differ")
def _():
    create("d.qcow2")
    threads = ["-object", "iothread,id=io0", "-object", "iothread,id=io1"]
    disk = {"driver": "virtio-blk-pci", "id": "disk", "drive": "dr", "addr": "4", "num-queues": QUEUES}
    for more in ({}, {"iothread": "io0"}, {"iothread-vq-mapping": [{"iothread": "io0"}, {"iothread": "io1"}]}):
        create("d.qcow2")
        with qtest.Machine(BINARY, ["-nodefaults", *threads, "-drive", "if=none,id=dr,file=d.qcow2,format=qcow2",
                                    "-device", json.dumps({**disk, **more})]) as m:
            contents = busy(m, 6)
        for name, content in contents.items():
            img("check", "-q", name)
            img("convert", "-O", "raw", name, "out.raw")
            with open("out.raw", "rb") as f:
                check(f.read() == content, "%s changed after it had become a backing file" % name)
        img("check", "-q", "l5.qcow2")


sys.exit(suite.run())
